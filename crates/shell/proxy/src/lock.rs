//! One living gateway per name and host.
//!
//! With SO_REUSEPORT a second process can bind the same addresses, and a frozen first one silently keeps
//! taking its share of connections. So the lock file names its owner by pid and start time. A starting
//! gateway that finds a living owner asks it over its control socket; one that answers is respected, one
//! that does not is killed, by exactly that identity. Who cannot be asked about, for want of something of our own, is
//! neither: the starting one gives up, and says why.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use mainstay_record::gateway::GatewayLock;
use mainstay_rt::http::RequestError;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::descriptors::is_own_want;

const LOCK_BYTES_LIMIT: u64 = 4096;
/// A gateway that does not answer within this is taken for frozen.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const DEATH_TIMEOUT: Duration = Duration::from_secs(5);
const DEATH_POLL: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("gateway process {0} serves this name already; stop it first, or reload it")]
    Served(i32),
    #[error("kill the frozen gateway process {0}")]
    Kill(i32, #[source] io::Error),
    #[error("the frozen gateway process {0} does not go away")]
    Undead(i32),
    #[error("read lock {path}, which may name a living gateway", path = .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("look whether gateway process {0} lives")]
    Look(i32, #[source] io::Error),
    #[error("ask gateway process {0} whether it serves")]
    Ask(i32, #[source] io::Error),
    #[error("write lock {path}", path = .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("read own start time")]
    Identity(#[source] io::Error),
}

pub fn lock_path(run_folder: &Path, name: &str) -> PathBuf {
    run_folder.join(format!("gateway-{name}.lock"))
}

pub fn socket_path(run_folder: &Path, name: &str) -> PathBuf {
    run_folder.join(format!("gateway-{name}.sock"))
}

/// Makes this process the owner. Returns when nobody else can be.
pub async fn take(run_folder: &Path, name: &str) -> Result<(), LockError> {
    let path = lock_path(run_folder, name);
    let bytes = match mainstay_rt::files::read_limited(&path, LOCK_BYTES_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if is_absence(&error) || error.kind() == io::ErrorKind::FileTooLarge => {
            Vec::new()
        }
        Err(error) => return Err(LockError::Read(path, error)),
    };
    // A torn or missing lock names nobody; its owner, if there was one, wrote it before it listened.
    let owner = serde_json::from_slice::<GatewayLock>(&bytes).ok();
    let owner = owner.filter(|owner| owner.pid != own_pid());
    if let Some(owner) = owner
        && lives(&owner)?
    {
        let socket = socket_path(run_folder, name);
        let asked = mainstay_rt::http::request_unix(
            &socket,
            Method::GET,
            "/v1/status",
            vec![],
            ANSWER_TIMEOUT,
        );
        match asked.await {
            Ok(_) => return Err(LockError::Served(owner.pid)),
            Err(RequestError::Connect(_, error)) if is_own_trouble(&error) => {
                return Err(LockError::Ask(owner.pid, error));
            }
            Err(_) => kill(&owner).await?,
        }
    }
    let own = GatewayLock {
        pid: own_pid(),
        start_ticks: start_ticks(own_pid()).map_err(LockError::Identity)?,
    };
    let text = serde_json::json!({ "pid": own.pid, "start_ticks": own.start_ticks }).to_string();
    mainstay_rt::files::write_atomic(&path, text.as_bytes()).map_err(|e| LockError::Write(path, e))
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

async fn kill(owner: &GatewayLock) -> Result<(), LockError> {
    tracing::warn!(
        pid = owner.pid,
        "the gateway that holds the lock does not answer: killing it"
    );
    let failed = |errno: rustix::io::Errno| LockError::Kill(owner.pid, errno.into());
    let Some(pid) = Pid::from_raw(owner.pid) else {
        return Ok(());
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        // The descriptor is of this process only; the identity is checked once more under it.
        Ok(descriptor) if lives(owner)? => {
            pidfd_send_signal(&descriptor, Signal::KILL).map_err(failed)?;
        }
        Ok(_) | Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    }
    let mut waited = Duration::ZERO;
    while lives(owner)? {
        if waited >= DEATH_TIMEOUT {
            return Err(LockError::Undead(owner.pid));
        }
        tokio::time::sleep(DEATH_POLL).await;
        waited += DEATH_POLL;
    }
    Ok(())
}

/// Alive: the pid exists, began at the noted time, and is neither a zombie nor dead.
fn lives(owner: &GatewayLock) -> Result<bool, LockError> {
    judge(owner, stat(owner.pid)).map_err(|error| LockError::Look(owner.pid, error))
}

/// Dead is only who is seen not to be there.
fn judge(owner: &GatewayLock, seen: io::Result<(char, u64)>) -> io::Result<bool> {
    match seen {
        Ok((state, ticks)) => Ok(ticks == owner.start_ticks && !"ZX".contains(state)),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// There is no such file; of a process that ends while its file is read, no such process.
fn is_absence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Says nothing about who was to be asked.
fn is_own_trouble(error: &io::Error) -> bool {
    is_own_want(error) || error.kind() == io::ErrorKind::PermissionDenied
}

fn start_ticks(pid: i32) -> io::Result<u64> {
    stat(pid).map(|(_, ticks)| ticks)
}

/// State and start time (fields 3 and 22 of `/proc/PID/stat`; the name before them may hold anything).
fn stat(pid: i32) -> io::Result<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let garbled = || io::Error::from(io::ErrorKind::InvalidData);
    let (_, rest) = text.rsplit_once(')').ok_or_else(garbled)?;
    let mut fields = rest.split_whitespace();
    let state = fields
        .next()
        .and_then(|field| field.chars().next())
        .ok_or_else(garbled)?;
    let ticks = fields
        .nth(18)
        .and_then(|field| field.parse().ok())
        .ok_or_else(garbled)?;
    Ok((state, ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_no_other_has_its_identity() {
        let own = GatewayLock {
            pid: own_pid(),
            start_ticks: start_ticks(own_pid()).expect("own stat"),
        };
        assert!(lives(&own).expect("it can be looked at"));
        let other = GatewayLock {
            start_ticks: own.start_ticks + 1,
            ..own
        };
        assert!(!lives(&other).expect("it can be looked at"));
    }

    #[test]
    fn who_cannot_be_looked_at_is_not_taken_for_dead() {
        use rustix::io::Errno;
        let owner = GatewayLock {
            pid: 7,
            start_ticks: 9,
        };
        let failed = |errno: Errno| Err(io::Error::from(errno));
        for (seen, expected) in [
            (Ok(('S', 9)), Some(true)),
            (Ok(('T', 9)), Some(true)),
            (Ok(('Z', 9)), Some(false)),
            (Ok(('S', 8)), Some(false)),
            (failed(Errno::NOENT), Some(false)),
            (failed(Errno::SRCH), Some(false)),
            (failed(Errno::MFILE), None),
            (failed(Errno::NFILE), None),
            (failed(Errno::ACCESS), None),
            (failed(Errno::IO), None),
        ] {
            let shown = format!("{seen:?}");
            assert_eq!(judge(&owner, seen).ok(), expected, "{shown}");
        }
        assert!(is_own_trouble(&Errno::MFILE.into()));
        assert!(is_own_trouble(&Errno::ACCESS.into()));
        assert!(
            !is_own_trouble(&Errno::CONNREFUSED.into()),
            "nobody listens"
        );
    }
}
