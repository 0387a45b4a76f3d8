//! Mending. Every step may be done twice, by different processes, at the same time.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use mainstay_record::process::{FaultRecord, FaultUndo, ProcessIdentity};
use mainstay_rt::clock;
use mainstay_units::Instant;
use rustix::process::Signal;

use super::apply::pause;
use super::{FaultError, records, scope, stress};
use crate::{identity, launch, shim, wire};

/// How long a node may take to say that it runs.
const START_LIMIT: Duration = Duration::from_secs(10);
const START_PERIOD: Duration = Duration::from_millis(10);

/// Does every step; the first error is returned after the others were tried.
pub(crate) fn undo(data: &Path, record: &FaultRecord) -> Result<(), FaultError> {
    let mut result = Ok(());
    for step in &record.undo {
        let done = match step {
            FaultUndo::HealWire { state, control } => {
                wire::clear_condition(state, control, &record.id).map_err(FaultError::from)
            }
            FaultUndo::Thaw { processes } => {
                let held = held_by_others(data, record);
                let stopped = processes.iter().copied();
                thaw(stopped.filter(|process| !held.contains(process)))
            }
            FaultUndo::ThawHost { host } => thaw_host(data, record, host),
            FaultUndo::End { processes } => end(data, record, processes),
            // What holds it down is that this record is in force.
            FaultUndo::Release { .. } => Ok(()),
            FaultUndo::StartNode { launch } => {
                start_node(launch).map_err(|source| FaultError::StartNode {
                    launch: launch.clone(),
                    source,
                })
            }
        };
        if result.is_ok() {
            result = done;
        }
    }
    result
}

fn thaw(processes: impl Iterator<Item = ProcessIdentity>) -> Result<(), FaultError> {
    for process in processes {
        identity::signal(process, Signal::CONT).map_err(FaultError::Signal)?;
    }
    Ok(())
}

/// With the worker that the record may not have come to name.
fn end(data: &Path, record: &FaultRecord, processes: &[ProcessIdentity]) -> Result<(), FaultError> {
    let worker = stress::worker_of(data, &record.id);
    for process in processes.iter().copied().chain(worker) {
        identity::signal(process, Signal::KILL).map_err(FaultError::Signal)?;
    }
    stress::forget(data, &record.id);
    Ok(())
}

/// Processes that another fault wants to stand still. One that is over itself, and not undone yet, wants nothing: of two
/// that end together, each would leave them to the other.
fn held_by_others(data: &Path, record: &FaultRecord) -> BTreeSet<ProcessIdentity> {
    let now = clock::now();
    let Ok(boot_id) = clock::boot_id() else {
        return BTreeSet::new();
    };
    let others = records::all(data).into_iter();
    let others =
        others.filter(|other| other.id != record.id && records::holds(data, other, now, &boot_id));
    others.flat_map(|other| frozen(&other)).collect()
}

/// Whatever of the host stands still, unless another fault wants it to.
fn thaw_host(data: &Path, record: &FaultRecord, host: &str) -> Result<(), FaultError> {
    let held = held_by_others(data, record);
    let stopped = scope::processes(data, host)
        .map_err(FaultError::Unseen)?
        .into_iter()
        .filter(crate::identity::ProcessRow::is_stopped);
    thaw(
        stopped
            .map(|row| row.identity)
            .filter(|process| !held.contains(process)),
    )
}

/// The processes that a record says it has stopped.
pub(crate) fn frozen(record: &FaultRecord) -> Vec<ProcessIdentity> {
    let processes = |step: &FaultUndo| match step {
        FaultUndo::Thaw { processes } => processes.clone(),
        FaultUndo::HealWire { .. }
        | FaultUndo::ThawHost { .. }
        | FaultUndo::StartNode { .. }
        | FaultUndo::End { .. }
        | FaultUndo::Release { .. } => Vec::new(),
    };
    record.undo.iter().flat_map(processes).collect()
}

/// Under a lock, so that of two who mend only one starts it and the other waits for what comes of it.
/// Somebody else may start it as well; the node that wins writes the launch record, and any living node
/// will do.
fn start_node(path: &Path) -> io::Result<()> {
    let deadline = clock::now() + START_LIMIT;
    loop {
        let record = launch::read_launch(path)?;
        // Who cannot be seen may be dead, and nobody would start it.
        if identity::is_seen(record.process)? {
            return Ok(());
        }
        if let Some(_lock) = shim::try_lock(&path.with_file_name("start.lock"))? {
            let started = launch::spawn_detached_in(
                &record.command,
                &record.environment,
                &record.directory,
                Some(&record.log),
            )?;
            return await_node(path, started, deadline);
        }
        if clock::now() >= deadline {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "somebody else is starting it",
            ));
        }
        pause(START_PERIOD);
    }
}

fn await_node(path: &Path, started: ProcessIdentity, deadline: Instant) -> io::Result<()> {
    loop {
        let is_starting = identity::is_alive(started);
        if launch::read_launch(path).is_ok_and(|record| identity::is_alive(record.process)) {
            return Ok(());
        }
        if !is_starting {
            return Err(io::Error::other("the node left at once; its log says why"));
        }
        if clock::now() >= deadline {
            // It lives, so it will say so; a busy machine is no reason to start another.
            return Ok(());
        }
        pause(START_PERIOD);
    }
}
