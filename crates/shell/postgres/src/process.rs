//! Who is alive: processes by identity and by the folder they stand in, never by name.
//!
//! A pid alone proves nothing, since it is reused; together with the tick at which the process started it
//! does. A zombie counts as dead. Every process of a PostgreSQL server has the data folder as its working
//! folder, so what is left of a server whose postmaster was killed is found by looking at `/proc/*/cwd`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use mainstay_record::process::ProcessIdentity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::oneshot;

use crate::wait::until;

const PROC: &str = "/proc";

/// The identity of a living process, `None` if it is dead or a zombie.
///
/// # Errors
/// When that cannot be seen, as without a free descriptor: it must not be taken for dead.
pub fn identify(pid: u32) -> io::Result<Option<ProcessIdentity>> {
    identify_in(Path::new(PROC), pid)
}

fn identify_in(proc: &Path, pid: u32) -> io::Result<Option<ProcessIdentity>> {
    let stat = unless_gone(std::fs::read_to_string(
        proc.join(pid.to_string()).join("stat"),
    ))?;
    let start_ticks = stat.and_then(|stat| parse_stat(&stat));
    Ok(start_ticks.map(|start_ticks| ProcessIdentity { pid, start_ticks }))
}

/// The name of a program may contain anything, so fields are counted from the last parenthesis.
fn parse_stat(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    // The state is field 3; the start is field 22.
    fields.nth(18)?.parse().ok()
}

/// Whether it lives, or may do so for all that is known.
pub fn is_alive(process: ProcessIdentity) -> bool {
    identify(process.pid).map_or(true, |found| found == Some(process))
}

/// A descriptor that becomes readable when the process ends; `None` if it has already.
///
/// # Errors
/// As [`identify`].
pub fn watch(process: ProcessIdentity) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = to_pid(process.pid) else {
        return Ok(None);
    };
    let descriptor = match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(descriptor) => descriptor,
        Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Opened first, compared second: the descriptor is of the process compared with.
    Ok((identify(process.pid)? == Some(process)).then_some(descriptor))
}

/// Of a process, as the kernel tells it.
pub struct Death {
    descriptor: OwnedFd,
    news: oneshot::Receiver<()>,
}

impl Death {
    /// Whether it has come, by now.
    pub fn has_come(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut watched = [PollFd::new(&self.descriptor, PollFlags::IN)];
        // Who cannot be asked is not taken for alive.
        poll(&mut watched, Some(&now)) != Ok(0)
    }

    /// Resolves once, when it comes.
    pub async fn comes(&mut self) {
        if self.news.is_terminated() {
            return std::future::pending().await;
        }
        // Sent or dropped: the watcher is done either way, and the next look finds out.
        let _ = (&mut self.news).await;
    }
}

/// The death that a process will die; `None` if it has already. A thread waits in the kernel for it.
///
/// # Errors
/// When it cannot be watched.
pub fn death(process: ProcessIdentity) -> io::Result<Option<Death>> {
    let Some(own) = watch(process)? else {
        return Ok(None);
    };
    let descriptor = own.try_clone()?;
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("death-watch".to_owned())
        .spawn(move || {
            let mut watched = [PollFd::new(&descriptor, PollFlags::IN)];
            while poll(&mut watched, None) == Err(rustix::io::Errno::INTR) {}
            sender.send(()).ok();
        })?;
    Ok(Some(Death {
        descriptor: own,
        news: receiver,
    }))
}

/// Sends a signal to this very process, not to a later one with its pid.
pub fn signal(process: ProcessIdentity, signal: Signal) {
    match watch(process) {
        Ok(Some(descriptor)) => {
            // A process that is gone needs no signal.
            rustix::process::pidfd_send_signal(descriptor, signal).ok();
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(pid = process.pid, %error, "a process is not signalled"),
    }
}

/// Living processes whose working folder is `folder`, or was before it was deleted.
///
/// # Errors
/// When that cannot be seen, as without a free descriptor: it must not be taken for nobody.
pub fn standing_in(folder: &Path) -> io::Result<Vec<ProcessIdentity>> {
    seen_standing(Path::new(PROC), folder)
}

fn seen_standing(proc: &Path, folder: &Path) -> io::Result<Vec<ProcessIdentity>> {
    let deleted = format!("{} (deleted)", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(proc)? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let own = proc.join(name);
        let stands = unless_gone(std::fs::read_link(own.join("cwd")))?
            .is_some_and(|link| link == folder || link.as_os_str() == deleted.as_str());
        if !stands {
            continue;
        }
        let stat = unless_gone(std::fs::read_to_string(own.join("stat")))?;
        if let Some(start_ticks) = stat.and_then(|stat| parse_stat(&stat)) {
            found.push(ProcessIdentity { pid, start_ticks });
        }
    }
    Ok(found)
}

/// `None` of a process that ended meanwhile, or is another user's and none of ours.
pub(crate) fn unless_gone<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) || error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether an error says nothing of what was asked for: this process or this machine could not ask.
pub(crate) fn is_unasked(error: &io::Error) -> bool {
    let unasked = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    let number = error.raw_os_error();
    unasked
        .iter()
        .any(|errno| number == Some(errno.raw_os_error()))
}

/// Whether everybody has left `folder`, as far as can be seen.
pub fn is_deserted(folder: &Path) -> bool {
    standing_in(folder).is_ok_and(|left| left.is_empty())
}

/// Kills everything that stands in `folder` and waits until nothing does; says whether that came true.
pub async fn clear(folder: &Path, limit: Duration) -> bool {
    let mut unseen = None;
    let cleared = until(limit, Duration::from_millis(5), || {
        match standing_in(folder) {
            Ok(left) => {
                for process in &left {
                    signal(*process, Signal::KILL);
                }
                left.is_empty()
            }
            Err(error) => {
                unseen = Some(error);
                false
            }
        }
    })
    .await;
    if let (false, Some(error)) = (cleared, unseen) {
        tracing::error!(folder = %folder.display(), %error, "who works in a folder cannot be seen in {PROC}");
    }
    cleared
}

/// How often a process has gone to sleep of its own accord.
pub fn sleeps(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_mislead() {
        let fields = "R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_stat(&format!("12 (a) Z b) {fields}")), Some(4711));
        assert_eq!(
            parse_stat(&format!("12 (x) {}", fields.replace('R', "Z"))),
            None
        );
        assert_eq!(parse_stat("12 (x"), None);
    }

    #[test]
    fn this_process_is_alive_and_stands_where_it_stands() {
        let me = identify(std::process::id()).unwrap().unwrap();
        assert!(is_alive(me));
        assert!(watch(me).unwrap().is_some());
        let stranger = ProcessIdentity {
            start_ticks: me.start_ticks + 1,
            ..me
        };
        assert!(!is_alive(stranger) && watch(stranger).unwrap().is_none());
        let standing = standing_in(&std::env::current_dir().unwrap()).unwrap();
        assert!(standing.contains(&me));
    }

    #[test]
    fn who_cannot_be_seen_is_not_taken_for_gone() {
        let proc = tempfile::tempdir().unwrap();
        let folder = Path::new("/where/a/server/stands");
        assert!(seen_standing(&proc.path().join("none"), folder).is_err());
        let own = proc.path().join("4711");
        std::fs::create_dir(&own).unwrap();
        std::os::unix::fs::symlink(folder, own.join("cwd")).unwrap();
        assert_eq!(seen_standing(proc.path(), folder).unwrap(), [], "it ended");
        assert_eq!(identify_in(proc.path(), 4_711).unwrap(), None);
        // There, and not to be read.
        std::fs::create_dir(own.join("stat")).unwrap();
        assert!(seen_standing(proc.path(), folder).is_err());
        assert!(identify_in(proc.path(), 4_711).is_err());
        std::fs::remove_file(own.join("cwd")).unwrap();
        std::os::unix::fs::symlink("/elsewhere", own.join("cwd")).unwrap();
        assert_eq!(seen_standing(proc.path(), folder).unwrap(), []);
    }
}
