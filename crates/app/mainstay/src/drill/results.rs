//! Everything that was measured of a run, and what of it is a deficiency.

use std::collections::BTreeSet;

use mainstay_drill::document::{Document, Load, Loss, Source, written};
use mainstay_record::drill::{DeficiencyRecord, MeasuredWord, MeasurementRecord};
use mainstay_record::keeper::KeeperStatus;
use mainstay_recovery::interruption::{Request, Service, interruption};
use mainstay_rt::clock;

use super::audit::ledger;
use super::load::{Client, requests};
use super::measure::{Hurt, Stay, keepers, micros, recovery, secondary};
use super::step::Stage;
use crate::client::look;
use crate::exit::Failure;

pub struct Results {
    pub measurements: Vec<MeasurementRecord>,
}

impl Results {
    pub fn of(stage: &mut Stage<'_>) -> Result<Self, Failure> {
        let end_us = clock::wall_us();
        let starts: Vec<u64> = stage.hurts.iter().map(|hurt| hurt.at_us).collect();
        for (index, hurt) in stage.hurts.iter_mut().enumerate() {
            hurt.until_us = starts.get(index + 1).copied().unwrap_or(end_us);
        }
        let mut measurements = std::mem::take(&mut stage.archives.measured);
        for (index, load) in stage.document.loads.iter().enumerate() {
            measurements.extend(of_load(stage, index, load)?);
        }
        Ok(Self { measurements })
    }
}

fn of_load(
    stage: &Stage<'_>,
    index: usize,
    load: &Load,
) -> Result<Vec<MeasurementRecord>, Failure> {
    let clients: Vec<&Client> = stage
        .clients
        .iter()
        .filter(|client| client.load == index)
        .collect();
    // Clients that were lost with their region cannot be served again.
    let mut seen: Vec<Request> = Vec::new();
    for client in clients.iter().filter(|client| !client.is_lost) {
        seen.extend(requests(&client.notes()?));
    }
    let remembered = remembered(stage, load);
    let mut found = Vec::new();
    let faults = stage.hurts.iter().filter(|hurt| !hurt.is_planned);
    for hurt in faults.clone() {
        found.push(recovery(load, &seen, hurt, &remembered));
    }
    let first_us = faults.map(|hurt| hurt.at_us).min();
    found.push(ledger(stage.field, load, &clients, first_us));
    let database = database_of(load);
    for stay in &stage.stays {
        if database == Some(stay.database.as_str()) {
            found.push(away(stage, load, stay, &seen, &remembered));
        }
    }
    Ok(found)
}

fn database_of(load: &Load) -> Option<&str> {
    match (&load.source, &load.audit) {
        (Source::Probe { database, .. }, _) => Some(database),
        (Source::Program { .. }, Some(audit)) => Some(&audit.database),
        (Source::Program { .. }, None) => None,
    }
}

/// What keepers of the load's database remember; nothing if nobody can be asked.
fn remembered(stage: &Stage<'_>, load: &Load) -> Vec<(String, KeeperStatus)> {
    let Some(database) = database_of(load) else {
        return Vec::new();
    };
    look(stage.field.layout).map_or_else(|_| Vec::new(), |gathered| keepers(&gathered, database))
}

/// From the promotion elsewhere to the way back.
fn away(
    stage: &Stage<'_>,
    load: &Load,
    stay: &Stay,
    seen: &[Request],
    remembered: &[(String, KeeperStatus)],
) -> MeasurementRecord {
    let fault = stage.hurts.iter().find(|hurt| !hurt.is_planned);
    let back = stage.hurts.iter().rfind(|hurt| hurt.is_planned);
    let opened = |hurt: &Hurt| {
        let events = remembered.iter().flat_map(|(_, status)| &status.events);
        let opened = events.filter(|event| event.kind == "primary");
        let at_us = opened.map(|event| event.wall_ms.saturating_mul(1_000));
        at_us
            .filter(|at_us| (hurt.at_us..hurt.until_us).contains(at_us))
            .min()
    };
    let gap = back.and_then(|hurt| {
        let service = Service {
            within_us: micros(load.within),
            in_a_row: load.in_a_row,
        };
        interruption(seen, hurt.at_us, hurt.until_us, service)
            .gap
            .map(|(from, to)| to - from)
    });
    let stay = Stay {
        database: stay.database.clone(),
        from_us: fault.and_then(opened),
        until_us: back.and_then(opened),
        failed_back: stay.failed_back,
    };
    secondary(&stay, load.services.clone(), seen, gap)
}

/// What was found wanting: objectives that were missed or not measured, phases without a time, steps that failed.
pub fn deficiencies(
    document: &Document,
    measurements: &[MeasurementRecord],
    failed: &[String],
    now_ms: u64,
) -> Vec<DeficiencyRecord> {
    let mut found: BTreeSet<String> = failed.iter().cloned().collect();
    for objective in &document.objectives {
        let service = &objective.service;
        if objective.unmeasured.is_some() {
            continue;
        }
        let worst = |kinds: &[MeasuredWord], name: &str| worst(measurements, kinds, service, name);
        if let Some(limit) = objective.rto {
            let kinds = [MeasuredWord::Recovery, MeasuredWord::Restore];
            found.extend(lacks(
                service,
                "RTO",
                worst(&kinds, "rto"),
                micros(limit),
                &written(limit),
            ));
        }
        let kinds = [MeasuredWord::Ledger, MeasuredWord::Restore];
        match objective.rpo {
            Some(Loss::Transactions(limit)) => {
                let shown = format!("{limit} transactions");
                found.extend(lacks(service, "RPO", worst(&kinds, "lost"), limit, &shown));
            }
            Some(Loss::Time(limit)) => {
                let shown = written(limit);
                found.extend(lacks(
                    service,
                    "RPO",
                    worst(&kinds, "lost_time"),
                    micros(limit),
                    &shown,
                ));
            }
            None => {}
        }
    }
    found.extend(measurements.iter().flat_map(wrong));
    for measurement in measurements {
        let is_recovery = measurement.measured == MeasuredWord::Recovery;
        let blanks = measurement
            .values
            .iter()
            .filter(|value| value.value.is_none());
        for value in blanks.filter(|_| is_recovery) {
            found.insert(format!(
                "{}: {} was not measured: {}",
                measurement.subject, value.name, value.why
            ));
        }
    }
    let retest_ms = u64::try_from(document.retest.as_millis()).unwrap_or(u64::MAX);
    found
        .into_iter()
        .map(|what| DeficiencyRecord {
            what,
            owner: document.owner.clone(),
            retest_by_ms: now_ms.saturating_add(retest_ms),
        })
        .collect()
}

/// What stands in books that must not, whatever the objectives say.
fn wrong(measurement: &MeasurementRecord) -> impl Iterator<Item = String> {
    let is_of_books = matches!(
        measurement.measured,
        MeasuredWord::Ledger | MeasuredWord::Restore
    );
    let values = measurement.values.iter().filter(move |value| {
        let names = ["duplicated", "altered", "invented", "unsound"];
        is_of_books && names.contains(&value.name.as_str())
    });
    values.filter_map(|value| match value.value {
        Some(0) => None,
        Some(count) => Some(format!(
            "books of {}: {count} {}",
            measurement.subject, value.name
        )),
        None => Some(format!(
            "books of {}: what is {} was not counted: {}",
            measurement.subject, value.name, value.why
        )),
    })
}

/// The largest figure, `None` where one is missing.
fn worst(
    measurements: &[MeasurementRecord],
    kinds: &[MeasuredWord],
    service: &str,
    name: &str,
) -> Option<u64> {
    let about = measurements.iter().filter(|found| {
        kinds.contains(&found.measured) && found.services.iter().any(|s| s == service)
    });
    let values: Option<Vec<u64>> = about
        .map(|found| {
            let mut values = found.values.iter();
            values
                .find(|value| value.name == name)
                .and_then(|value| value.value)
        })
        .collect();
    values?.into_iter().max()
}

fn lacks(service: &str, what: &str, found: Option<u64>, limit: u64, shown: &str) -> Option<String> {
    match found {
        None => Some(format!("{service}: {what} was not measured")),
        Some(found) if found >= limit => {
            Some(format!("{service}: {what} is not less than {shown}"))
        }
        Some(_) => None,
    }
}
