//! Items that are made of figures: recovery, transactions, the secondary, a restore.

use serde_json::{Value, json};

use super::items::{DAY_MS, Part, Status, missing, shown};
use super::scope::{Scope, Subject};
use crate::entry::Entry;
use crate::story::{Moment, Story};
use crate::time::{day_and_time, span};

/// A backup's proof is of yesterday's backup tomorrow.
const RESTORE_MS: u64 = 31 * DAY_MS;
const PHASES: [&str; 6] = [
    "detect", "decide", "fence", "promote", "reroute", "restored",
];

/// Figures of a drill about one matter, each with its entry.
fn measurements<'e>(
    scope: &'e Scope<'e>,
    of: &'e str,
) -> impl Iterator<Item = (&'e Entry, &'e Value)> {
    let measured = scope.own_of("drill.measured");
    let measured = measured.map(|entry| (entry, &entry.body["measurement"]));
    measured.filter(move |(_, measurement)| measurement["measured"] == *of)
}

/// One figure of a measurement: its value in words, or why there is none.
fn figure(measurement: &Value, name: &str) -> Result<String, String> {
    let values = measurement["values"].as_array().into_iter().flatten();
    let mut named = values.filter(|value| value["name"] == *name);
    let Some(value) = named.next() else {
        return Err(format!("{name} is not among the figures"));
    };
    let Some(number) = value["value"].as_u64() else {
        let why = value["why"].as_str().unwrap_or("no reason is given");
        return Err(format!("{name} was not measured: {why}"));
    };
    Ok(match value["unit"].as_str() {
        Some("us") => format!("{name} {}", micros(number)),
        Some("wall_us") => format!("{name} {}", day_and_time(number / 1_000)),
        Some(unit) => format!("{name} {number} {unit}"),
        None => format!("{name} {number}"),
    })
}

fn micros(us: u64) -> String {
    match us {
        0..=9_999 => format!("{}.{:03} ms", us / 1_000, us % 1_000),
        _ => span(us / 1_000),
    }
}

/// All figures that are wanted, or the reasons of those that are not there.
fn part(name: &'static str, entry: &Entry, measurement: &Value, wanted: &[&str]) -> Part {
    let told: Vec<Result<String, String>> = wanted
        .iter()
        .map(|wanted| figure(measurement, wanted))
        .collect();
    let good: Vec<String> = told.iter().filter_map(|told| told.clone().ok()).collect();
    let bad: Vec<String> = told.into_iter().filter_map(Result::err).collect();
    let services = super::items::strings(&measurement["services"]).join(", ");
    let subject = measurement["subject"].as_str().unwrap_or("?");
    let mut part = shown(
        name,
        format!("{subject} ({services}): {}", good.join(", ")),
        &[entry],
    )
    .with(measurement["values"].clone());
    if !bad.is_empty() {
        part.status = Status::Missing;
        part.told = format!("{}; {}", part.told, bad.join("; "));
    }
    part
}

pub(crate) fn recovery(scope: &Scope) -> Vec<Part> {
    match scope.subject {
        Subject::Incident(id) => return intervals(scope, id),
        Subject::Experiment(_) => {
            return vec![missing(
                "recovery time",
                "an experiment measures conditions, not a recovery",
            )];
        }
        Subject::Drill(_) => {}
    }
    let mut wanted = vec!["fault_at", "rto"];
    wanted.extend(PHASES);
    let mut parts: Vec<Part> = measurements(scope, "recovery")
        .map(|(entry, measurement)| part("recovery time by phase", entry, measurement, &wanted))
        .collect();
    if parts.is_empty() {
        parts.push(missing(
            "recovery time by phase",
            "no recovery was measured",
        ));
    }
    parts.push(match scope.ended {
        Some(ended) => verdicts(ended),
        None => missing("verdict on each service", "it has not ended"),
    });
    parts
}

fn verdicts(ended: &Entry) -> Part {
    let services = ended.body["services"].as_array().into_iter().flatten();
    let told: Vec<String> = services
        .map(|service| {
            let word = |name: &str| service[name].as_str().unwrap_or("?").replace('_', " ");
            format!(
                "{}: recovery time {}, recovery point {}",
                service["objective"]["service"].as_str().unwrap_or("?"),
                word("rto"),
                word("rpo")
            )
        })
        .collect();
    let end = &ended.body["end"];
    let told = format!(
        "{}: {}. {}",
        end["verdict"].as_str().unwrap_or("?"),
        end["why"].as_str().unwrap_or("?"),
        told.join("; ")
    );
    shown("verdict on each service", told, &[ended])
        .with(json!({"verdict": end["verdict"], "services": ended.body["services"]}))
}

/// Of an incident: from the fault to its end, as the log has them.
fn intervals(scope: &Scope, id: &str) -> Vec<Part> {
    let Ok(story) = Story::of(scope.all, id) else {
        return Vec::new();
    };
    let moments = &story.moments;
    let between = |name: &'static str, from: &Option<Moment>, to: &Option<Moment>| match (from, to)
    {
        (Some(from), Some(to)) if to.at_ms >= from.at_ms => Part {
            entries: vec![from.position, to.position],
            ..shown(name, span(to.at_ms - from.at_ms), &[])
                .with(json!({"ms": to.at_ms - from.at_ms}))
        },
        _ => missing(name, "the log does not have both ends"),
    };
    vec![
        between("fault to noticed", &moments.began, &moments.detected),
        between("noticed to first action", &moments.detected, &moments.acted),
        between("fault to mitigated", &moments.began, &moments.mitigated),
    ]
}

pub(crate) fn ledger(scope: &Scope) -> Vec<Part> {
    let wanted = [
        "acknowledged",
        "acknowledged_present",
        "lost",
        "duplicated",
        "invented",
        "unknown",
    ];
    let mut parts = Vec::new();
    for (entry, measurement) in measurements(scope, "ledger") {
        parts.push(part("reconciliation", entry, measurement, &wanted));
        let lists = measurement["lists"].as_object();
        let lists = lists.map_or(String::new(), |lists| {
            let lists = lists
                .iter()
                .map(|(name, list)| format!("{name} ({})", list.as_array().map_or(0, Vec::len)));
            lists.collect::<Vec<_>>().join(", ")
        });
        let counted = [
            "lost",
            "duplicated",
            "altered",
            "invented",
            "unsound",
            "unknown",
        ]
        .iter()
        .any(|name| {
            let values = measurement["values"].as_array().into_iter().flatten();
            values.into_iter().any(|value| {
                value["name"] == **name && value["value"].as_u64().is_some_and(|count| count > 0)
            })
        });
        parts.push(match (lists.is_empty(), counted) {
            (false, _) => shown(
                "lists of what is lost, duplicated or unknown",
                lists,
                &[entry],
            )
            .with(measurement["lists"].clone()),
            (true, false) => shown(
                "lists of what is lost, duplicated or unknown",
                "nothing is to be listed",
                &[entry],
            ),
            (true, true) => missing(
                "lists of what is lost, duplicated or unknown",
                "some were counted, and none is named",
            ),
        });
    }
    if parts.is_empty() {
        parts.push(missing("reconciliation", "no transactions were counted"));
    }
    parts
}

pub(crate) fn secondary(scope: &Scope) -> Vec<Part> {
    let wanted = ["served", "acknowledged", "failed_back"];
    let found = measurements(scope, "secondary").map(|(entry, measurement)| {
        part(
            "time on the secondary, load, way back",
            entry,
            measurement,
            &wanted,
        )
    });
    let found: Vec<Part> = found.collect();
    match found.is_empty() {
        true => vec![missing(
            "time on the secondary, load, way back",
            "it was not measured that another place served",
        )],
        false => found,
    }
}

pub(crate) fn restore(scope: &Scope) -> Vec<Part> {
    let wanted = ["rto", "lost"];
    let mut parts: Vec<Part> = measurements(scope, "restore")
        .map(|(entry, measurement)| part("restore", entry, measurement, &wanted))
        .collect();
    if parts.is_empty() {
        // Each database has backups of its own: one that was proven says nothing of another.
        let databases = databases(scope);
        parts.extend(databases.iter().map(|database| proof(scope, database)));
        if databases.is_empty() {
            parts.push(missing(
                "restore",
                "the log does not say which databases there are",
            ));
        }
    }
    parts.push(stood(scope));
    parts
}

/// Those of the platform file that was in force.
fn databases<'a>(scope: &'a Scope) -> Vec<&'a str> {
    let platform = scope.platform();
    let databases = platform.and_then(|entry| entry.body["desired"]["databases"].as_object());
    let databases = databases.into_iter().flat_map(|all| all.keys());
    databases.map(String::as_str).collect()
}

/// Apart by its folder and its server always; by its machine only where no replica runs.
fn stood(scope: &Scope) -> Part {
    let name = "on a segregated system";
    let Some(entry) = proven(scope, None) else {
        return missing(name, "no proof of a backup says where a copy stood");
    };
    let stood = &deed_of(entry)["stood"];
    let Some(host) = stood["host"].as_str() else {
        return missing(
            name,
            "the proof was made before proofs said where they stand",
        );
    };
    let machine = match stood["beside_replica"].as_bool() {
        Some(false) => "no replica of the database runs there",
        Some(true) | None => {
            "a replica of the database runs there too, so it was not a machine apart"
        }
    };
    let told = format!(
        "on {host}, in an empty folder, by a server of its own that only a socket reached; {machine}"
    );
    aged(
        scope,
        entry,
        shown(name, told, &[entry]).with(stood.clone()),
    )
}

/// The newest proof of a backup before the end, of one database or of any.
fn proven<'a>(scope: &'a Scope, database: Option<&str>) -> Option<&'a Entry> {
    let end = scope.ended.map_or(u64::MAX, |ended| ended.position);
    let mut proven = scope.all.iter().filter(|entry| {
        let of = entry.body["reflex"]["archived"]["database"].as_str();
        let is_of_it = database.is_none() || of == database;
        let is_proof = entry.kind == "reflex.recorded" && deed_of(entry).is_object();
        entry.position <= end && is_proof && is_of_it
    });
    proven.next_back()
}

fn deed_of(entry: &Entry) -> &Value {
    &entry.body["reflex"]["archived"]["deed"]["backup_proven"]
}

fn proof(scope: &Scope, database: &str) -> Part {
    let Some(entry) = proven(scope, Some(database)) else {
        return missing(
            "restore",
            format!("{database}: no backup was restored in it, and none was proven before"),
        );
    };
    let deed = deed_of(entry);
    let told = format!(
        "not of this {}: backup {} of {database} was restored in {} and proven on {}",
        scope.subject.kind(),
        deed["backup"].as_str().unwrap_or("?"),
        span(deed["rto_ms"].as_u64().unwrap_or_default()),
        day_and_time(entry.at_ms)
    );
    aged(
        scope,
        entry,
        shown("restore", told, &[entry]).with(deed.clone()),
    )
}

fn aged(scope: &Scope, proof: &Entry, part: Part) -> Part {
    match scope.made_ms.saturating_sub(proof.at_ms) > RESTORE_MS {
        true => part.stale("that is more than a month before this pack was made"),
        false => part,
    }
}
