//! Looking after faults whose guardians are gone, and for traces that no record explains.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use mainstay_record::process::{FaultRecord, FaultState, FaultUndo, ProcessIdentity};
use mainstay_rt::clock;
use mainstay_units::Instant;

use super::{records, scope, stress, undo};
use crate::{identity, wire};

/// How long a living guardian has for its work before others help.
const GUARDIAN_GRACE: Duration = Duration::from_secs(3);

/// What a sweep did and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Ids of overdue faults that were undone.
    pub undone: Vec<String>,
    /// Ids of overdue faults that could not be undone yet, with the reason.
    pub failed: Vec<(String, String)>,
}

/// A trace of a fault that no record in force explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Residue {
    StoppedProcess {
        host: String,
        process: ProcessIdentity,
    },
    WireCondition {
        from: String,
        to: String,
        id: String,
    },
    /// A process that was started to make stress.
    Worker {
        id: String,
        process: ProcessIdentity,
    },
}

impl std::fmt::Display for Residue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StoppedProcess { host, process } => {
                write!(
                    f,
                    "process {} of host {host} is stopped, and no fault in force says so",
                    process.pid
                )
            }
            Self::WireCondition { from, to, id } => {
                write!(
                    f,
                    "the wire from {from} to {to} holds a condition of fault {id}, which is not in force"
                )
            }
            Self::Worker { id, process } => {
                write!(
                    f,
                    "process {} works for fault {id}, which is not in force",
                    process.pid
                )
            }
        }
    }
}

/// Undoes what is overdue at `now` and was not undone by its guardian; any node does this at its start
/// and every few seconds.
pub fn sweep(data: &Path, now: Instant) -> SweepReport {
    let mut report = SweepReport::default();
    let Ok(boot_id) = clock::boot_id() else {
        return report;
    };
    for mut record in records::all(data) {
        if record.state == FaultState::Undone || !is_ours_to_undo(data, &record, now, &boot_id) {
            continue;
        }
        // After a reboot no process of the fault is left and no condition holds.
        let undone = if record.boot_id == boot_id {
            undo(data, &record)
        } else {
            Ok(())
        };
        let closed = undone
            .map_err(|error| error.to_string())
            .and_then(|()| records::close(data, &mut record).map_err(|error| error.to_string()));
        match closed {
            Ok(()) => report.undone.push(record.id),
            Err(problem) => report.failed.push((record.id, problem)),
        }
    }
    records::prune(data);
    report
}

fn is_ours_to_undo(data: &Path, record: &FaultRecord, now: Instant, boot_id: &str) -> bool {
    if record.boot_id != boot_id {
        return true;
    }
    let deadline = Instant::from_nanos(record.deadline_boottime_ns);
    let is_guarded = record.guardian.is_some_and(identity::is_alive);
    let grace = match is_guarded {
        true => GUARDIAN_GRACE,
        false => Duration::ZERO,
    };
    now >= deadline + grace || (!is_guarded && records::is_to_end(data, &record.id))
}

/// Stopped processes and wire conditions that no record in force explains. Reads every process of the machine.
///
/// # Errors
/// When they cannot be seen: what was not looked for is not known to be gone.
pub fn residue(data: &Path) -> io::Result<Vec<Residue>> {
    let open: Vec<FaultRecord> = records::all(data)
        .into_iter()
        .filter(|record| record.state != FaultState::Undone)
        .collect();
    let ids: BTreeSet<&str> = open.iter().map(|record| record.id.as_str()).collect();
    let frozen: BTreeSet<ProcessIdentity> = open.iter().flat_map(super::undo::frozen).collect();
    let thaws = |host: &str| {
        let names =
            |step: &FaultUndo| matches!(step, FaultUndo::ThawHost { host: name } if name == host);
        open.iter().any(|record| record.undo.iter().any(names))
    };
    let mut found = Vec::new();
    let living = scope::Living::look(data)?;
    for host in scope::hosts(data) {
        if thaws(&host.host) {
            continue;
        }
        for row in living.of(data, &host.host)? {
            if row.is_stopped() && !frozen.contains(&row.identity) {
                found.push(Residue::StoppedProcess {
                    host: host.host.clone(),
                    process: row.identity,
                });
            }
        }
    }
    let now = clock::now();
    for spec in scope::wires(data) {
        for condition in wire::read_state(&spec.state)
            .map(|state| state.conditions)
            .unwrap_or_default()
        {
            let is_over = Instant::from_nanos(condition.deadline_boottime_ns) <= now;
            if !is_over && !ids.contains(condition.id.as_str()) {
                found.push(Residue::WireCondition {
                    from: spec.from.clone(),
                    to: spec.to.clone(),
                    id: condition.id,
                });
            }
        }
    }
    for id in stress::noted(data) {
        match stress::worker_of(data, &id) {
            Some(process) if !ids.contains(id.as_str()) => {
                found.push(Residue::Worker { id, process });
            }
            Some(_) => {}
            None if !ids.contains(id.as_str()) => stress::forget(data, &id),
            None => {}
        }
    }
    Ok(found)
}
