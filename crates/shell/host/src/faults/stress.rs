//! Work that nobody needs: a process that keeps processors busy and holds memory.
//!
//! It is started by the fault's guardian, belongs to no host, and ends by itself when its time is over or its record
//! says so; its guardian and every sweep end it besides. What it is, stands beside the record: `DATA/faults/ID.worker`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use mainstay_record::process::{FaultRecord, FaultState, FaultUndo, ProcessIdentity};
use mainstay_rt::{clock, files};
use mainstay_units::Instant;

use super::{FaultError, apply, records};
use crate::shim::EXIT_FAILED;
use crate::{identity, launch};

/// A worker is busy and idle in turns of this length together.
const TURN: Duration = Duration::from_millis(100);
/// How often it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(250);
const FILE_LIMIT: u64 = 4 << 10;
const PAGE: usize = 4_096;

fn beside(record: &Path) -> PathBuf {
    record.with_extension("worker")
}

/// Starts the process that works, and notes it among what has to be ended.
pub(super) fn start(data: &Path, record: &mut FaultRecord) -> Result<(), FaultError> {
    let path = records::path_of(data, &record.id);
    let keep = |source| FaultError::Record {
        id: record.id.clone(),
        source,
    };
    let program = std::env::current_exe().map_err(keep)?;
    let argv = [
        program.to_string_lossy().into_owned(),
        "stress".to_owned(),
        path.to_string_lossy().into_owned(),
    ];
    let log = path.with_extension("worker-log");
    let worker = launch::spawn_detached(&argv, Some(&log)).map_err(keep)?;
    let noted = serde_json::to_vec(&worker).map_err(io::Error::from);
    noted
        .and_then(|bytes| files::write_atomic(&beside(&path), &bytes))
        .map_err(keep)?;
    for step in &mut record.undo {
        if let FaultUndo::End { processes } = step {
            processes.push(worker);
        }
    }
    records::write(data, record).map_err(|source| FaultError::Record {
        id: record.id.clone(),
        source,
    })
}

/// The living worker of a record, if it has one.
pub(super) fn worker_of(data: &Path, id: &str) -> Option<ProcessIdentity> {
    let path = beside(&records::path_of(data, id));
    let bytes = files::read_limited(&path, FILE_LIMIT).ok()?;
    let worker: ProcessIdentity = serde_json::from_slice(&bytes).ok()?;
    identity::is_alive(worker).then_some(worker)
}

/// Ids with a note of a worker beside them.
pub(super) fn noted(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data.join("faults")).into_iter().flatten();
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "worker"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect()
}

pub(super) fn forget(data: &Path, id: &str) {
    let path = records::path_of(data, id);
    for path in [beside(&path), path.with_extension("worker-log")] {
        // Another sweep may have been faster.
        std::fs::remove_file(path).ok();
    }
}

/// `mainstay stress RECORD.json`: works until the record's deadline, or until it says that the fault is over.
pub fn run(path: &Path) -> ExitCode {
    match work(path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, record = %path.display(), "stress failed");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn work(path: &Path) -> io::Result<()> {
    rustix::process::setsid().ok();
    let record = records::read(path)?;
    let detail = &record.parameters.detail;
    let load = detail
        .cpu_load_percent
        .filter(|load| *load > 0)
        .unwrap_or(100);
    for number in 0..detail.cpu_workers.unwrap_or_default() {
        std::thread::Builder::new()
            .name(format!("busy-{number}"))
            .spawn(move || be_busy(u32::from(load.min(100))))?;
    }
    let bytes = usize::try_from(detail.memory_bytes.unwrap_or_default())
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut held: Vec<u8> = Vec::new();
    held.try_reserve_exact(bytes)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    held.resize(bytes, 1);
    loop {
        let left = Instant::from_nanos(record.deadline_boottime_ns) - clock::now();
        let is_over = records::read(path).is_ok_and(|current| current.state == FaultState::Undone);
        if left.is_zero() || is_over {
            return Ok(());
        }
        // Written to, so that it stays in memory.
        for page in held.iter_mut().step_by(PAGE) {
            *page = page.wrapping_add(1);
        }
        apply::pause(LOOK.min(left));
    }
}

/// The share of each turn that is work.
fn be_busy(load_percent: u32) {
    let busy = TURN * load_percent / 100;
    loop {
        let until = clock::now() + busy;
        while clock::now() < until {
            std::hint::spin_loop();
        }
        if busy < TURN {
            apply::pause(TURN - busy);
        }
    }
}
