//! Ending a whole family of processes.
//!
//! A subreaper inherits every orphan below it, whatever sessions and groups they made for themselves, so
//! the process table always shows the whole family under the shim. New members may be born while the old
//! ones are being ended; so it is done until the table is empty, and everything is stopped first, because
//! what stands still has no children.
//!
//! One kind of descendant is not family: a shim that one of the family started for a workload that must
//! outlive it, as a keeper does for its PostgreSQL. It says so by [`OUTLIVES`] in its environment.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;

use mainstay_record::process::ProcessIdentity;
use rustix::process::{Signal, WaitOptions, WaitStatus, wait};

use crate::identity::{self, ProcessRow};

/// In the environment of a shim that must not end with the family it was started from.
pub const OUTLIVES: &str = "MAINSTAY_OUTLIVES";

/// The living below this process.
///
/// # Errors
/// When `/proc` cannot be asked: that is no family that is gone.
pub fn family() -> io::Result<Vec<ProcessRow>> {
    below(&identity::table()?, std::process::id())
}

/// The living below exactly this process, without it and without those that outlive it; nobody if it has left, whoever
/// has its pid by then.
///
/// # Errors
/// As [`family`].
pub fn living_below(ancestor: ProcessIdentity) -> io::Result<Vec<ProcessRow>> {
    let table = identity::table()?;
    let is_it = |row: &ProcessRow| row.identity == ancestor;
    match table.get(&ancestor.pid).is_some_and(is_it) {
        true => below(&table, ancestor.pid),
        false => Ok(Vec::new()),
    }
}

fn below(table: &BTreeMap<u32, ProcessRow>, ancestor: u32) -> io::Result<Vec<ProcessRow>> {
    let unasked = Cell::new(None);
    let outlives = |row: &ProcessRow| match identity::variable(row.identity.pid, OUTLIVES) {
        Ok(found) => found.is_some(),
        Err(error) => {
            unasked.set(Some(error));
            true
        }
    };
    let mut rows = identity::descendants_unless(table, ancestor, outlives);
    rows.retain(ProcessRow::is_alive);
    match unasked.into_inner() {
        Some(error) => Err(error),
        None => Ok(rows),
    }
}

/// SIGKILL for each, after SIGSTOP for all. Errors are of no use here: whoever calls looks again.
pub fn kill(rows: &[ProcessRow]) {
    for signal in [Signal::STOP, Signal::KILL] {
        for row in rows {
            if let Err(error) = identity::signal(row.identity, signal) {
                tracing::warn!(pid = row.identity.pid, %error, "could not signal");
            }
        }
    }
}

/// Takes the exit status of every child that has left; the status of `child` if it was among them.
pub fn reap(child: Option<ProcessIdentity>) -> Option<WaitStatus> {
    let mut found = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let pid = u32::try_from(pid.as_raw_pid()).ok();
                if child.is_some_and(|child| Some(child.pid) == pid) {
                    found = Some(status);
                }
            }
            Ok(None) => return found,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return found,
        }
    }
}
