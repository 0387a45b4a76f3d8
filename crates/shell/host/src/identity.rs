//! Who a process is, and how it is signalled without ever hitting another.
//!
//! A pid is a seat number: once its holder has left, anyone may sit there. A pid with the tick at which
//! the process started is a person. Signals go through a pidfd that is opened first and checked against
//! that tick afterwards, so between the check and the signal the seat cannot change hands.
//!
//! Whoever cannot be asked about (no descriptor is left, say) is not known to be gone, and nobody may take it for dead: a
//! question to `/proc` has an answer or an error, and `None` is an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use mainstay_record::process::ProcessIdentity;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const PROC: &str = "/proc";
/// A generation of descendants deeper than this is not a workload but a fork bomb.
const DESCENT_LIMIT: usize = 10_000;

/// One line of the process table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRow {
    pub identity: ProcessIdentity,
    pub parent: u32,
    /// As in `/proc/PID/stat`: `R`, `S`, `T` (stopped), `Z` (zombie), …
    pub state: char,
}

impl ProcessRow {
    /// A zombie holds nothing but its exit status.
    pub const fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    pub const fn is_stopped(&self) -> bool {
        matches!(self.state, 'T')
    }
}

/// This process.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn this() -> io::Result<ProcessIdentity> {
    row(std::process::id())?
        .map(|row| row.identity)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "/proc does not show this process"))
}

/// What `/proc` says of a pid now; `None` if it says that there is no such process.
///
/// # Errors
/// When it cannot be asked.
pub fn row(pid: u32) -> io::Result<Option<ProcessRow>> {
    row_in(Path::new(PROC), pid)
}

fn row_in(proc: &Path, pid: u32) -> io::Result<Option<ProcessRow>> {
    let stat = unless_gone(fs::read(proc.join(pid.to_string()).join("stat")))?;
    Ok(stat.and_then(|stat| parse_stat(pid, &String::from_utf8_lossy(&stat))))
}

/// `None` of a process that has left; one that leaves while its file is read says so too.
fn unless_gone<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The row of exactly this process, also if it is a zombie.
///
/// # Errors
/// When `/proc` cannot be asked.
pub fn row_of(identity: ProcessIdentity) -> io::Result<Option<ProcessRow>> {
    Ok(row(identity.pid)?.filter(|row| row.identity == identity))
}

/// Whether this very process still runs (stopped counts, zombie does not), or may do so for all that is known.
pub fn is_alive(identity: ProcessIdentity) -> bool {
    is_seen(identity).unwrap_or(true)
}

/// Whether this very process is seen to run, as [`is_alive`].
///
/// # Errors
/// When `/proc` cannot be asked.
pub fn is_seen(identity: ProcessIdentity) -> io::Result<bool> {
    Ok(row_of(identity)?.is_some_and(|row| row.is_alive()))
}

/// The name in parentheses may hold anything, also parentheses: the fields start after the last one.
fn parse_stat(pid: u32, stat: &str) -> Option<ProcessRow> {
    let fields: Vec<&str> = stat
        .get(stat.rfind(')')? + 1..)?
        .split_ascii_whitespace()
        .collect();
    Some(ProcessRow {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        // Field 22 of the file; the first field after the name is field 3.
        identity: ProcessIdentity {
            pid,
            start_ticks: fields.get(19)?.parse().ok()?,
        },
    })
}

/// All processes, by pid. Not a moment's picture: rows are read one after the other.
///
/// # Errors
/// When one of them cannot be asked about: who is not in the table must not be there.
pub fn table() -> io::Result<BTreeMap<u32, ProcessRow>> {
    table_in(Path::new(PROC))
}

fn table_in(proc: &Path) -> io::Result<BTreeMap<u32, ProcessRow>> {
    let mut rows = BTreeMap::new();
    for entry in fs::read_dir(proc)? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some(pid) = pid
            && let Some(row) = row_in(proc, pid)?
        {
            rows.insert(pid, row);
        }
    }
    Ok(rows)
}

/// Everything below `ancestor` in `table`, without it.
pub fn descendants(table: &BTreeMap<u32, ProcessRow>, ancestor: u32) -> Vec<ProcessRow> {
    descendants_unless(table, ancestor, |_| false)
}

/// As [`descendants`], without those (and what is below them) for which `is_apart` holds.
pub fn descendants_unless(
    table: &BTreeMap<u32, ProcessRow>,
    ancestor: u32,
    is_apart: impl Fn(&ProcessRow) -> bool,
) -> Vec<ProcessRow> {
    let mut children: BTreeMap<u32, Vec<&ProcessRow>> = BTreeMap::new();
    for row in table.values() {
        children.entry(row.parent).or_default().push(row);
    }
    let mut seen = BTreeSet::from([ancestor]);
    let mut queue = vec![ancestor];
    let mut found = Vec::new();
    while let Some(parent) = queue.pop() {
        for row in children.get(&parent).into_iter().flatten() {
            let pid = row.identity.pid;
            if found.len() < DESCENT_LIMIT && seen.insert(pid) && !is_apart(row) {
                queue.push(pid);
                found.push(**row);
            }
        }
    }
    found
}

/// A handle on exactly this process; `None` if it has left (a zombie still has a handle).
///
/// # Errors
/// When the kernel refuses for another reason: too many open files, no pidfd at all.
pub fn open(identity: ProcessIdentity) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(identity.pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        // The pid cannot be given away while a zombie holds it, and the handle pins the process it was
        // opened for; so if the row still matches, the handle is of this process.
        Ok(handle) => Ok(row_of(identity)?.map(|_| handle)),
        Err(Errno::SRCH | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Signals exactly this process; `false` if it has left.
///
/// # Errors
/// When the kernel refuses: not ours, too many open files.
pub fn signal(identity: ProcessIdentity, signal: Signal) -> io::Result<bool> {
    let Some(handle) = open(identity)? else {
        return Ok(false);
    };
    match pidfd_send_signal(&handle, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Processes that carry `NAME=value` in the environment they were started with.
///
/// # Errors
/// When `/proc` cannot be asked.
pub fn marked(name: &str, value: &str) -> io::Result<Vec<ProcessRow>> {
    let mut found = Vec::new();
    for row in table()?.into_values() {
        let carried = variable(row.identity.pid, name)?;
        if carried.is_some_and(|carried| carried == value.as_bytes()) {
            found.push(row);
        }
    }
    Ok(found)
}

/// A variable of the environment a process was started with; `None` as well of a process that is another user's.
///
/// # Errors
/// When `/proc` cannot be asked.
pub fn variable(pid: u32, name: &str) -> io::Result<Option<Vec<u8>>> {
    let environment = match fs::read(Path::new(PROC).join(pid.to_string()).join("environ")) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        read => unless_gone(read)?,
    };
    let environment = environment.unwrap_or_default();
    let mut entries = environment.split(|byte| *byte == 0);
    Ok(entries.find_map(|entry| {
        entry
            .strip_prefix(name.as_bytes())?
            .strip_prefix(b"=")
            .map(<[u8]>::to_vec)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read() {
        let stat = "42 (a) R (b c)) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 1 1";
        let row = parse_stat(42, stat).unwrap();
        assert_eq!((row.parent, row.state), (7, 'S'));
        assert_eq!(row.identity.start_ticks, 987_654);
        assert_eq!(parse_stat(42, "42 (short) S 1"), None);
        assert_eq!(parse_stat(42, ""), None);
    }

    #[test]
    fn who_cannot_be_asked_about_is_not_taken_for_gone() {
        let proc = tempfile::tempdir().unwrap();
        assert!(table_in(&proc.path().join("none")).is_err());
        assert_eq!(row_in(proc.path(), 4_711).unwrap(), None, "it has left");
        let own = proc.path().join("4711");
        std::fs::create_dir_all(own.join("stat")).unwrap();
        assert!(
            row_in(proc.path(), 4_711).is_err(),
            "there, and not to be read"
        );
        assert!(table_in(proc.path()).is_err());
        std::fs::remove_dir(own.join("stat")).unwrap();
        assert_eq!(table_in(proc.path()).unwrap(), BTreeMap::new());
    }

    #[test]
    fn another_start_time_is_another_process() {
        let me = this().unwrap();
        assert!(is_alive(me));
        let earlier = ProcessIdentity {
            start_ticks: me.start_ticks - 1,
            ..me
        };
        assert!(!is_alive(earlier) && !is_seen(earlier).unwrap());
        assert!(open(earlier).unwrap().is_none());
        assert!(!signal(earlier, Signal::KILL).unwrap(), "nobody was hit");
    }

    #[test]
    fn descent_follows_parents_and_ends_in_circles() {
        let entry = |pid, parent| {
            let identity = ProcessIdentity {
                pid,
                start_ticks: 1,
            };
            (
                pid,
                ProcessRow {
                    identity,
                    parent,
                    state: 'S',
                },
            )
        };
        let table = BTreeMap::from([
            entry(1, 0),
            entry(2, 1),
            entry(3, 2),
            entry(4, 3),
            entry(9, 9),
            entry(5, 1),
        ]);
        let below = |pid| {
            let mut pids: Vec<u32> = descendants(&table, pid)
                .iter()
                .map(|row| row.identity.pid)
                .collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(below(2), [3, 4]);
        assert_eq!(below(1), [2, 3, 4, 5]);
        assert!(below(9).is_empty());
    }
}
