//! Figures of a drill: what the clients' notes and the keepers' memories say together.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_drill::document::Load;
use mainstay_record::drill::{MeasureRecord, MeasuredWord, MeasurementRecord, UnitWord};
use mainstay_record::keeper::{KeeperEvent, KeeperStatus};
use mainstay_record::node::{Gathered, NodeFacts};
use mainstay_recovery::interruption::{Interruption, Request, Service, interruption};
use mainstay_recovery::split::{Ends, Length, Phase, split};

const CLIENTS: &str = "clients";
const KEEPERS: &str = "keepers";

pub fn value(name: &str, value: u64, unit: UnitWord, source: &str) -> MeasureRecord {
    MeasureRecord {
        name: name.to_owned(),
        value: Some(value),
        unit,
        source: source.to_owned(),
        why: String::new(),
    }
}

pub fn missing(name: &str, unit: UnitWord, source: &str, why: &str) -> MeasureRecord {
    MeasureRecord {
        name: name.to_owned(),
        value: None,
        unit,
        source: source.to_owned(),
        why: why.to_owned(),
    }
}

pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A stretch of a drill in which something hurt.
#[derive(Clone, Debug)]
pub struct Hurt {
    pub step: String,
    /// When the fault was set, by whoever set it, or when it was ordered.
    pub at_us: u64,
    /// Whatever hurt next, or the end of the load.
    pub until_us: u64,
    /// A planned move, or the way back.
    pub is_planned: bool,
}

/// What the clients of a load saw of it, joined with what keepers remember.
pub fn recovery(
    load: &Load,
    requests: &[Request],
    hurt: &Hurt,
    keepers: &[(String, KeeperStatus)],
) -> MeasurementRecord {
    let service = Service {
        within_us: micros(load.within),
        in_a_row: load.in_a_row,
    };
    let seen = interruption(requests, hurt.at_us, hurt.until_us, service);
    let mut values = vec![
        value(
            "fault_at",
            hurt.at_us,
            UnitWord::WallUs,
            "whoever set the fault",
        ),
        rto(&seen, hurt),
        optional(
            "first_success",
            since(seen.first_success_us, hurt.at_us),
            "nobody was hurt, or answered after it",
        ),
        optional(
            "longest_gap",
            seen.gap.map(|(from, to)| to - from),
            "nothing was acknowledged",
        ),
    ];
    values.extend(phases(&seen, hurt, keepers));
    values.extend([
        value("slo", micros(load.within), UnitWord::Us, "the document"),
        value("of", load.in_a_row as u64, UnitWord::Count, "the document"),
        value("sent", seen.requests, UnitWord::Requests, CLIENTS),
        value(
            "acknowledged",
            seen.acknowledged,
            UnitWord::Requests,
            CLIENTS,
        ),
        value("failed", seen.failed, UnitWord::Requests, CLIENTS),
    ]);
    MeasurementRecord {
        measured: MeasuredWord::Recovery,
        services: load.services.clone(),
        subject: format!("{} after {}", load.name, hurt.step),
        values,
        lists: BTreeMap::new(),
    }
}

fn since(at_us: Option<u64>, fault_us: u64) -> Option<u64> {
    at_us.map(|at_us| at_us.saturating_sub(fault_us))
}

fn optional(name: &str, found: Option<u64>, why: &str) -> MeasureRecord {
    match found {
        Some(found) => value(name, found, UnitWord::Us, CLIENTS),
        None => missing(name, UnitWord::Us, CLIENTS, why),
    }
}

fn rto(seen: &Interruption, hurt: &Hurt) -> MeasureRecord {
    if !seen.was_served {
        let why = "there was no service before the fault that could be interrupted";
        return missing("rto", UnitWord::Us, CLIENTS, why);
    }
    let found = seen.rto_us(hurt.at_us);
    optional(
        "rto",
        found,
        "service did not come back while the load lasted",
    )
}

fn phases(
    seen: &Interruption,
    hurt: &Hurt,
    keepers: &[(String, KeeperStatus)],
) -> Vec<MeasureRecord> {
    let ends = Ends {
        reroute: seen.first_success_us,
        restored: seen.restored_us,
        ..promotion(hurt, keepers)
    };
    let source = |phase: Phase| match phase {
        Phase::Detect | Phase::Decide | Phase::Fence | Phase::Promote => KEEPERS,
        Phase::Reroute | Phase::Restored => CLIENTS,
    };
    let lengths = split(hurt.at_us, &ends).into_iter();
    lengths
        .map(|(phase, length)| match length {
            Length::Lasted { us } => value(phase.as_str(), us, UnitWord::Us, source(phase)),
            Length::Unknown(why) => {
                missing(phase.as_str(), UnitWord::Us, source(phase), why.as_str())
            }
        })
        .collect()
}

/// When keepers noticed, decided, fenced and promoted, by what they remember of it.
fn promotion(hurt: &Hurt, keepers: &[(String, KeeperStatus)]) -> Ends {
    let within = |event: &&KeeperEvent| {
        let at_us = event.wall_ms.saturating_mul(1_000);
        (hurt.at_us.saturating_sub(1_000)..hurt.until_us).contains(&at_us)
    };
    let at_us = |event: &KeeperEvent| event.wall_ms.saturating_mul(1_000);
    let is_open = |event: &&KeeperEvent| event.kind == "primary";
    let winner = keepers
        .iter()
        .filter_map(|(_, status)| {
            let mut events = status.events.iter().filter(within);
            Some((status, events.find(is_open)?))
        })
        .min_by_key(|(_, open)| open.wall_ms);
    let Some((status, open)) = winner else {
        return Ends::default();
    };
    let fenced = status.events.iter().filter(within);
    let fenced = fenced
        .filter(|event| event.wall_ms <= open.wall_ms && event.detail == "being promoted")
        .max_by_key(|event| event.wall_ms);
    // Whoever asks for the new term need not be the one that is promoted: that is whose log reaches furthest.
    let all = || {
        keepers
            .iter()
            .flat_map(|(_, status)| status.events.iter().filter(within))
    };
    let asked = all().filter(|event| {
        let before = fenced.is_some_and(|fenced| event.wall_ms <= fenced.wall_ms);
        before && event.detail == "recruiting"
    });
    let noticed =
        all().filter(|event| event.kind == "standby" && event.detail != "following the primary");
    Ends {
        detect: noticed.map(at_us).min(),
        decide: asked.map(at_us).max(),
        fence: fenced.map(at_us),
        promote: Some(at_us(open)),
        ..Ends::default()
    }
}

/// Every keeper of a database that can be asked, by its host.
pub fn keepers(gathered: &Gathered, database: &str) -> Vec<(String, KeeperStatus)> {
    nodes(gathered)
        .filter_map(|node| {
            let status = node.keepers.get(database)?.value.clone()?;
            Some((node.host.clone(), status))
        })
        .collect()
}

pub fn nodes(gathered: &Gathered) -> impl Iterator<Item = &NodeFacts> {
    let others = gathered.others.values();
    let others = others.filter_map(|seen| seen.value.as_ref());
    others.chain([&gathered.own])
}

/// How long the primary of a database was elsewhere, and what it carried there.
pub struct Stay {
    pub database: String,
    pub from_us: Option<u64>,
    pub until_us: Option<u64>,
    /// How long the ordered way back took.
    pub failed_back: Option<Duration>,
}

pub fn secondary(
    stay: &Stay,
    services: Vec<String>,
    requests: &[Request],
    gap: Option<u64>,
) -> MeasurementRecord {
    use mainstay_recovery::interruption::Fate;
    let served = match (stay.from_us, stay.until_us) {
        (Some(from), Some(until)) if until >= from => Some((from, until)),
        _ => None,
    };
    let carried = served.map(|(from, until)| {
        let within = |request: &&Request| match request.fate {
            Fate::Acknowledged { at_us } => (from..until).contains(&at_us),
            Fate::Failed { .. } | Fate::Open => false,
        };
        requests.iter().filter(within).count() as u64
    });
    let instant = |name: &str, at: Option<u64>| match at {
        Some(at) => value(name, at, UnitWord::WallUs, KEEPERS),
        None => missing(name, UnitWord::WallUs, KEEPERS, "no keeper remembers it"),
    };
    let values = vec![
        instant("served_from", stay.from_us),
        instant("served_until", stay.until_us),
        match served {
            Some((from, until)) => value("served", until - from, UnitWord::Us, KEEPERS),
            None => missing(
                "served",
                UnitWord::Us,
                KEEPERS,
                "its beginning or its end is not known",
            ),
        },
        match carried {
            Some(count) => value("acknowledged", count, UnitWord::Transactions, CLIENTS),
            None => missing(
                "acknowledged",
                UnitWord::Transactions,
                CLIENTS,
                "when it served is not known",
            ),
        },
        match stay.failed_back {
            Some(time) => value("failed_back", micros(time), UnitWord::Us, "the command"),
            None => missing(
                "failed_back",
                UnitWord::Us,
                "the command",
                "there was no way back",
            ),
        },
        optional("failback_gap", gap, "there was no way back"),
    ];
    MeasurementRecord {
        measured: MeasuredWord::Secondary,
        services,
        subject: stay.database.clone(),
        values,
        lists: BTreeMap::new(),
    }
}
