//! Breaking things on purpose, so that they are sure to be mended.
//!
//! A fault is like an operation on a patient: consent and the way back are on paper before the first cut.
//! The paper is a durable record with every step of the undoing; the surgeon is a *guardian*, a process
//! that belongs to no host and is already standing there when the fault is set, because it is the
//! guardian that sets it. Whoever asked for the fault may be its victim. If the guardian is killed too,
//! wires heal by their own deadline and the first [`sweep`] of any node does the rest; what no record
//! explains is [`Residue`] and is reported.
//!
//! Everything is found through files and the process table: shim states and launch records below
//! `DATA/hosts`, wire specs below `DATA/wires`. Nothing is found by name.
//!
//! All functions block (two seconds per silent wire, a few seconds for a guardian) and belong on a
//! blocking thread, not in an event loop.

mod apply;
mod records;
mod scope;
mod shape;
pub mod stress;
mod sweep;
mod undo;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

use mainstay_record::process::{
    FaultKind, FaultParameters, FaultRecord, FaultState, FaultUndo, ProcessIdentity, VERSION,
};
use mainstay_rt::clock;
use mainstay_units::Instant;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

pub use records::{find, host_down, in_force, instances_down};
pub use sweep::{Residue, SweepReport, residue, sweep};

use crate::{identity, launch, wire};

pub(crate) use apply::apply;
pub(crate) use records::{close, data_of, is_to_end, path_of, read, write};
pub(crate) use undo::undo;

/// What the guardian says when it stands ready, and when the fault is set.
pub(crate) const GUARDING: &str = "guarding";
pub(crate) const SET: &str = "set";
pub(crate) const FAILED: &str = "failed: ";
/// What it is told.
pub(crate) const GO: &str = "go";

/// A fault that lasts longer is an outage.
pub const LONGEST: Duration = Duration::from_secs(3_600);
const GUARDIAN_PATIENCE: Duration = Duration::from_secs(5);
const SET_PATIENCE: Duration = Duration::from_secs(30);
/// What a guardian that has begun to set a fault needs to undo it, and between two looks whether it has.
const END_PATIENCE: Duration = Duration::from_secs(15);
const END_PAUSE: Duration = Duration::from_millis(10);
const ANSWER_LIMIT: usize = 4 << 10;

/// Where faults are kept and how a guardian is started.
#[derive(Clone, Debug)]
pub struct Place {
    /// `DATA`.
    pub data: PathBuf,
    /// The command that runs a guardian; the path of the record is appended.
    pub guardian: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct FaultRequest {
    /// Unique; letters, digits and dashes.
    pub id: String,
    pub kind: FaultKind,
    /// `HOST/INSTANCE` (or `HOST/node`), `HOST` or `REGION`.
    pub target: String,
    pub parameters: FaultParameters,
    pub lasting: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    #[error("{what} is not known: {name:?}; known are {known:?}")]
    UnknownTarget {
        what: &'static str,
        name: String,
        known: Vec<String>,
    },
    #[error("not available here: {0}")]
    NotAvailable(String),
    #[error("bad fault request: {0}")]
    BadRequest(String),
    #[error("keep the record of fault {id}")]
    Record { id: String, source: io::Error },
    #[error("no fault has the id {0:?}")]
    UnknownFault(String),
    #[error("start the guardian of fault {id}; nothing was broken")]
    Guardian { id: String, source: io::Error },
    #[error("set fault {id}: {reason}; what had been done was undone")]
    Set { id: String, reason: String },
    #[error("speak to a wire")]
    Wire(#[from] wire::WireError),
    #[error("signal a process")]
    Signal(#[source] io::Error),
    #[error("see which processes there are")]
    Unseen(#[source] io::Error),
    #[error("start the node again, as {} says", launch.display())]
    StartNode { launch: PathBuf, source: io::Error },
}

/// Sets a fault under the eyes of a guardian.
///
/// Returns when it is set, unless the caller is among its victims.
///
/// # Errors
/// When the target is unknown, the kind is not possible here, or the fault could not be set; nothing is
/// then broken, or it has been undone.
pub fn inject(place: &Place, request: &FaultRequest) -> Result<FaultRecord, FaultError> {
    check(request)?;
    let now = clock::now();
    let keep = |source| FaultError::Record {
        id: request.id.clone(),
        source,
    };
    let mut record = FaultRecord {
        version: VERSION,
        id: request.id.clone(),
        kind: request.kind,
        target: request.target.clone(),
        parameters: request.parameters.clone(),
        injected_wall_ms: clock::wall_ms(),
        deadline_boottime_ns: (now + request.lasting).as_nanos(),
        deadline_wall_ms: clock::wall_ms().saturating_add(millis(request.lasting)),
        boot_id: clock::boot_id().map_err(keep)?,
        state: FaultState::Prepared,
        undo: Vec::new(),
        guardian: None,
        problem: None,
        set_wall_ms: None,
        undone_wall_ms: None,
    };
    record.undo = apply::plan(&place.data, &record)?;
    let is_new = !path_of(&place.data, &record.id).exists();
    if is_new && records::is_to_end(&place.data, &record.id) {
        let reason = "somebody ended it before it was set".to_owned();
        return Err(FaultError::NotAvailable(reason));
    }
    records::publish(&place.data, &record).map_err(keep)?;
    match guard(place, &mut record) {
        Ok(()) => read(&path_of(&place.data, &record.id)).map_err(keep),
        Err(error) => {
            abandon(&place.data, &mut record, &error);
            Err(error)
        }
    }
}

fn check(request: &FaultRequest) -> Result<(), FaultError> {
    let bad = |text: &str| Err(FaultError::BadRequest(text.into()));
    if !is_plain(&request.id) {
        return bad("an id has 1 to 64 letters, digits and dashes");
    }
    if request.lasting.is_zero() || request.lasting > LONGEST {
        return bad("a fault lasts longer than nothing and at most an hour");
    }
    if request.kind == FaultKind::Delay && request.parameters.delay_us == 0 {
        return bad("a delay needs its length");
    }
    Ok(())
}

fn is_plain(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !id.is_empty() && id.len() <= 64 && id.bytes().all(plain)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Starts the guardian, waits until it stands ready, lets it set the fault, waits for its word.
fn guard(place: &Place, record: &mut FaultRecord) -> Result<(), FaultError> {
    let id = record.id.clone();
    let failed = |source| FaultError::Guardian {
        id: id.clone(),
        source,
    };
    let path = path_of(&place.data, &id);
    let mut argv = place.guardian.clone();
    argv.push(path.to_string_lossy().into_owned());
    let mut child = launch::detached(&argv, Some(&path.with_extension("log")))
        .and_then(|mut command| command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn())
        .map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let guardian = launch::adopt_child(child).map_err(failed)?;
    let (Some(mut stdin), Some(mut stdout)) = (stdin, stdout) else {
        return Err(failed(io::ErrorKind::BrokenPipe.into()));
    };
    let ready = read_line(&mut stdout, GUARDIAN_PATIENCE);
    let ready = ready.and_then(|line| match line.as_str() {
        GUARDING => Ok(()),
        _ => Err(io::Error::other(format!("it said {line:?}"))),
    });
    if let Err(source) = ready {
        dismiss(guardian);
        return Err(failed(source));
    }
    record.guardian = Some(guardian);
    write(&place.data, record).map_err(|source| FaultError::Record {
        id: id.clone(),
        source,
    })?;
    stdin
        .write_all(format!("{GO}\n").as_bytes())
        .map_err(failed)?;
    match read_line(&mut stdout, SET_PATIENCE) {
        Ok(line) if line == SET => Ok(()),
        Ok(line) => Err(FaultError::Set {
            id: id.clone(),
            reason: line.strip_prefix(FAILED).unwrap_or(&line).to_owned(),
        }),
        Err(source) => Err(FaultError::Set {
            id: id.clone(),
            reason: source.to_string(),
        }),
    }
}

/// A guardian that did not get as far as guarding.
fn dismiss(guardian: ProcessIdentity) {
    if let Err(error) = identity::signal(guardian, Signal::KILL) {
        tracing::error!(pid = guardian.pid, %error, "could not end a guardian that is of no use");
    }
}

/// Whatever had been done, and whatever a guardian that is late still does, is undone by its guardian; if that is dead, here.
fn abandon(data: &Path, record: &mut FaultRecord, error: &FaultError) {
    let current = read(&path_of(data, &record.id));
    if current.is_ok_and(|current| current.state == FaultState::Undone) {
        return;
    }
    record.problem = Some(error.to_string());
    tell_over(data, &record.id);
    if record.guardian.is_some_and(identity::is_alive) {
        return;
    }
    if let Err(error) = undo(data, record).and_then(|()| {
        records::close(data, record).map_err(|source| FaultError::Record {
            id: record.id.clone(),
            source,
        })
    }) {
        tracing::error!(id = record.id, %error, "a fault that was not fully set could not be undone yet");
    }
}

fn tell_over(data: &Path, id: &str) {
    if let Err(error) = records::end(data, id) {
        // On a full disk, say. What can be undone is undone all the same.
        tracing::warn!(id, %error, "that a fault is to be over cannot be written down");
    }
}

/// Ends a fault before its time, also one that is just being set, or about to be. Ending one that is over does nothing.
///
/// # Errors
/// When there is no such fault (none will then be set under this name) or it could not be undone; its guardian then goes
/// on trying.
pub fn clear(data: &Path, id: &str) -> Result<FaultRecord, FaultError> {
    let unknown = || FaultError::UnknownFault(id.to_owned());
    if !is_plain(id) {
        return Err(unknown());
    }
    // First of all, and before its record is looked for: whoever is about to write that meets the word.
    tell_over(data, id);
    let record = find(data, id).ok_or_else(unknown)?;
    if record.state == FaultState::Undone {
        return Ok(record);
    }
    if let Some(guardian) = record.guardian
        && let Err(error) = identity::signal(guardian, Signal::TERM)
    {
        tracing::debug!(id, %error, "its guardian sees for itself that the fault is to be over");
    }
    if let Some(over) = await_guardian(data, id) {
        return Ok(over);
    }
    let mut record = find(data, id).ok_or_else(unknown)?;
    undo(data, &record)?;
    close_as_over(data, &mut record)
}

fn close_as_over(data: &Path, record: &mut FaultRecord) -> Result<FaultRecord, FaultError> {
    records::close(data, record).map_err(|source| FaultError::Record {
        id: record.id.clone(),
        source,
    })?;
    Ok(record.clone())
}

/// The record of a fault that its guardian has undone. While it sets the fault nobody else can undo all of it: what is
/// done next would stay. One that is dead, stands still or has trouble is not waited for.
fn await_guardian(data: &Path, id: &str) -> Option<FaultRecord> {
    let begun = clock::now();
    loop {
        let record = find(data, id)?;
        if record.state == FaultState::Undone {
            return Some(record);
        }
        let waited = clock::now().since(begun);
        let is_at_it = match record.guardian {
            // Whoever wrote the record down is about to start it, or died over it.
            None => waited < GUARDIAN_PATIENCE,
            Some(guardian) => {
                let row = identity::row_of(guardian).ok().flatten();
                row.is_some_and(|row| row.is_alive() && !row.is_stopped()) && waited < END_PATIENCE
            }
        };
        if !is_at_it || record.problem.is_some() {
            return None;
        }
        apply::pause(END_PAUSE);
    }
}

/// Ends a fault of a platform that is being stopped: what it took down stays down.
///
/// # Errors
/// As [`clear`].
pub fn end_for_good(data: &Path, id: &str) -> Result<FaultRecord, FaultError> {
    let unknown = || FaultError::UnknownFault(id.to_owned());
    let record = find(data, id).ok_or_else(unknown)?;
    if record.state == FaultState::Undone {
        return Ok(record);
    }
    tell_over(data, id);
    // It would start nodes as long as it lives.
    if let Some(guardian) = record.guardian {
        identity::signal(guardian, Signal::KILL).map_err(FaultError::Signal)?;
        let begun = clock::now();
        while identity::is_alive(guardian) && clock::now().since(begun) < GUARDIAN_PATIENCE {
            apply::pause(END_PAUSE);
        }
    }
    let mut record = find(data, id).ok_or_else(unknown)?;
    let starts = |step: &FaultUndo| matches!(step, FaultUndo::StartNode { .. });
    let mut rest = record.clone();
    rest.undo.retain(|step| !starts(step));
    undo(data, &rest)?;
    close_as_over(data, &mut record)
}

/// One line from a pipe, within a time.
fn read_line(pipe: &mut ChildStdout, patience: Duration) -> io::Result<String> {
    let deadline: Instant = clock::now() + patience;
    let mut line = Vec::new();
    loop {
        let left = deadline - clock::now();
        let timeout = rustix::time::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = [PollFd::new(pipe, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut byte = [0];
        match io::Read::read(pipe, &mut byte)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if byte == *b"\n" => return Ok(String::from_utf8_lossy(&line).into_owned()),
            _ if line.len() >= ANSWER_LIMIT => return Err(io::ErrorKind::FileTooLarge.into()),
            _ => line.extend_from_slice(&byte),
        }
    }
}
