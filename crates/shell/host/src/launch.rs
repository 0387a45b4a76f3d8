//! Starting processes that stay when their starter goes, and finding them again.
//!
//! The starter waits for nobody: a thread takes the exit status if the starter is still there, otherwise
//! the system's first process does. What was started is known by its [`ProcessIdentity`] from then on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mainstay_record::process::{LaunchRecord, ProcessIdentity, ShimPhase, ShimState, VERSION};
use mainstay_rt::files;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::identity;
use crate::shim;

/// Variables that a detached process takes over; everything else stays behind.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "MAINSTAY_LOG"];
/// What a node was started from, in the words of whoever started it: the record of its host may say something else by the time
/// that it reads it. Nodes have it, and hand it to nobody but the one that is started in their place.
pub const NODE_PROGRAM: &str = "MAINSTAY_PROGRAM";
const FILE_LIMIT: u64 = 1 << 20;

/// Starts a program that begins a session of its own, without terminal, its output in `log` or nowhere.
///
/// # Errors
/// When the program cannot be started.
pub fn spawn_detached(argv: &[String], log: Option<&Path>) -> io::Result<ProcessIdentity> {
    let child = detached(argv, log)?.spawn()?;
    adopt_child(child)
}

/// As [`spawn_detached`], with further variables and a folder.
///
/// # Errors
/// When the program cannot be started.
pub fn spawn_detached_in(
    argv: &[String],
    environment: &BTreeMap<String, String>,
    directory: &Path,
    log: Option<&Path>,
) -> io::Result<ProcessIdentity> {
    let child = detached(argv, log)?
        .envs(environment)
        .current_dir(directory)
        .spawn()?;
    adopt_child(child)
}

/// A command that will not hang on this process; for those who want pipes as well.
pub(crate) fn detached(argv: &[String], log: Option<&Path>) -> io::Result<Command> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // The program begins a session of its own, which a leader of a group cannot. That keeps the terminal's signals away,
    // and gives it a share of a busy machine that is its own, not a part of the terminal's.
    command.stdin(Stdio::null());
    match log {
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path)?;
            command.stdout(file.try_clone()?).stderr(file);
        }
        None => {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
    }
    Ok(command)
}

/// The identity of a child, whose exit status a thread will take.
pub(crate) fn adopt_child(mut child: Child) -> io::Result<ProcessIdentity> {
    // Unreaped, the pid is the child's, also if it has already left.
    let row = identity::row(child.id()).and_then(|row| {
        row.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "/proc does not show the new process",
            )
        })
    });
    let row = match row {
        Ok(row) => row,
        Err(error) => {
            // Nobody would know it: what is said not to have started must not run.
            child.kill().and_then(|()| child.wait()).ok();
            return Err(error);
        }
    };
    std::thread::Builder::new()
        .name("reaper".into())
        .stack_size(64 << 10)
        .spawn(move || child.wait().map(|_| ()).ok())?;
    Ok(row.identity)
}

/// What is left of an instance that some earlier process started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// Its shim lives and looks after it.
    Alive(ShimState),
    /// Its shim was killed, but the child still runs; a new shim for the same state ends it first.
    Orphaned(ShimState),
    /// It ended, as the state says, or with its shim.
    Gone(ShimState),
    /// No state was ever written.
    Never,
}

/// Looks at a shim's state file and at the process table.
pub fn adopt(state_path: &Path) -> Adoption {
    let Some(state) = shim::read_state(state_path) else {
        return Adoption::Never;
    };
    if identity::is_alive(state.shim) {
        Adoption::Alive(state)
    } else if state.phase != ShimPhase::Exited && state.child.is_some_and(identity::is_alive) {
        Adoption::Orphaned(state)
    } else {
        Adoption::Gone(state)
    }
}

/// Waits until exactly this process has left (a zombie has).
///
/// # Errors
/// When the kernel gives no handle for another reason than that the process is gone.
pub async fn wait_gone(process: ProcessIdentity) -> io::Result<()> {
    let Some(handle) = identity::open(process)? else {
        return Ok(());
    };
    #[expect(
        deprecated,
        reason = "its successor is unsafe because of types that do not own their descriptor; OwnedFd does"
    )]
    let handle: AsyncFd<OwnedFd> = AsyncFd::with_interest(handle, Interest::READABLE)?;
    handle.readable().await.map(|_| ())
}

/// The right to be the node of a host, for as long as the file is kept open; `None` if a living process
/// has it. Taken before [`record_launch`], so that the launch record always names the node.
///
/// # Errors
/// When the lock file cannot be made.
pub fn lock_node(launch: &Path) -> io::Result<Option<File>> {
    shim::try_lock(&launch.with_file_name("node.lock"))
}

/// Notes how this node was started, for whoever has to start it again.
///
/// # Errors
/// When the file cannot be written.
pub fn record_launch(
    path: &Path,
    host: &str,
    region: &str,
    log: &Path,
) -> io::Result<LaunchRecord> {
    let mut command: Vec<String> = std::env::args().collect();
    if let Some(program) = command.first_mut() {
        *program = std::env::current_exe()?.to_string_lossy().into_owned();
    }
    let environment = INHERITED
        .iter()
        .chain(&[NODE_PROGRAM])
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    let record = LaunchRecord {
        version: VERSION,
        host: host.to_owned(),
        region: region.to_owned(),
        command,
        environment,
        directory: std::env::current_dir()?,
        process: identity::this()?,
        log: log.to_owned(),
    };
    write_launch(path, &record)?;
    Ok(record)
}

pub(crate) fn write_launch(path: &Path, record: &LaunchRecord) -> io::Result<()> {
    files::write_atomic(path, &serde_json::to_vec(record)?)
}

/// # Errors
/// When the file cannot be read or understood.
pub fn read_launch(path: &Path) -> io::Result<LaunchRecord> {
    Ok(serde_json::from_slice(&files::read_limited(
        path, FILE_LIMIT,
    )?)?)
}
