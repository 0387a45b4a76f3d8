//! Ending a whole family of processes.
//!
//! A subreaper inherits every orphan below it, whatever sessions and groups they made for themselves, so
//! the process table always shows the whole family under the shim. New members may be born while the old
//! ones are being ended; so it is done until the table is empty, and everything is stopped first, because
//! what stands still has no children.
//!
//! One kind of descendant is not family: a shim that one of the family started for a workload that must
//! outlive it, as a keeper does for its PostgreSQL. It says so by [`OUTLIVES`] in its environment.

use std::io;

use mainstay_record::process::ProcessIdentity;
use rustix::process::{Signal, WaitOptions, WaitStatus, wait};

use crate::identity::{self, ProcessRow};

/// In the environment of a shim that must not end with the family it was started from.
pub const OUTLIVES: &str = "MAINSTAY_OUTLIVES";

/// The living below this process.
pub fn family() -> Vec<ProcessRow> {
    living_below(std::process::id())
}

/// The living below a process, without it and without those that outlive it.
pub fn living_below(ancestor: u32) -> Vec<ProcessRow> {
    let outlives = |row: &ProcessRow| identity::variable(row.identity.pid, OUTLIVES).is_some();
    let mut rows = identity::descendants_unless(&identity::table(), ancestor, outlives);
    rows.retain(ProcessRow::is_alive);
    rows
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
