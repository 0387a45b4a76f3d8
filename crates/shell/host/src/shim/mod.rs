//! The small process that stands between a node and one workload.
//!
//! Think of a guardian who signs for a child: the node may come and go, the shim stays, and whoever wants
//! to know about the child asks the shim's papers. It leads a session of its own, inherits every orphan
//! of its child (subreaper), takes exit statuses at once (the zombie of a postmaster would block its
//! successor), owns the log, and leaves only when the whole family is gone and that fact is on disk.
//!
//! There is at most one shim per state file: it holds a lock beside it for as long as it lives. A shim
//! that finds the lock taken leaves with [`EXIT_LOCKED`]. One that finds what a killed predecessor left
//! running ends that first, so a workload never runs twice.
//!
//! A workload may start a shim of its own for something that must outlive it, and marks it by
//! [`OUTLIVES`]; that one and its family are then left alone.
//!
//! SIGTERM or SIGINT: the child gets its stop signal, then, after the grace, the family gets SIGKILL.

mod log;
mod tree;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, PipeWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use mainstay_record::process::{
    ProcessExit, ProcessIdentity, SecretVariable, ShimPhase, ShimSpec, ShimState, StopSignal,
    VERSION,
};
use mainstay_rt::{clock, entropy, files};
use mainstay_units::Instant;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Signal, WaitStatus, set_child_subreaper, setsid};
use tokio::signal::unix::{SignalKind, signal};

pub use tree::OUTLIVES;

use crate::identity;
use crate::user;
use log::Log;

/// Left with when another shim holds the lock of the same state file.
pub const EXIT_LOCKED: u8 = 75;
/// Left with when the shim itself could not work.
pub const EXIT_FAILED: u8 = 70;

/// In the environment of every process of a family; its value is drawn for each launch.
pub(crate) const MARK: &str = "MAINSTAY_LAUNCH";
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Largest spec or state file that is read.
const FILE_LIMIT: u64 = 1 << 20;
const SECRET_LIMIT: u64 = 4 << 10;
/// How often the process table is read while a family is ended.
const FAMILY_PERIOD: Duration = Duration::from_millis(5);
/// A process that SIGKILL does not end in this time hangs in the kernel; the shim reports and leaves.
const FAMILY_LIMIT: Duration = Duration::from_secs(30);
const LOG_LIMIT: Duration = Duration::from_secs(2);
/// How long a lock is waited for whose holder may be dying.
const LOCK_LIMIT: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    #[error("read shim spec {}", path.display())]
    ReadSpec { path: PathBuf, source: io::Error },
    #[error("shim spec {}: {problem}", path.display())]
    BadSpec { path: PathBuf, problem: String },
    #[error("take the lock {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("another shim holds {}", path.display())]
    Locked { path: PathBuf },
    #[error("write shim state {}", path.display())]
    WriteState { path: PathBuf, source: io::Error },
    #[error("{operation}")]
    System {
        operation: &'static str,
        source: io::Error,
    },
    #[error("processes of a killed predecessor do not end: {0:?}")]
    Leftovers(Vec<ProcessIdentity>),
}

impl ShimError {
    const fn code(&self) -> u8 {
        match self {
            Self::Locked { .. } => EXIT_LOCKED,
            Self::ReadSpec { .. }
            | Self::BadSpec { .. }
            | Self::Lock { .. }
            | Self::WriteState { .. }
            | Self::System { .. }
            | Self::Leftovers(_) => EXIT_FAILED,
        }
    }
}

/// `mainstay shim SPEC.json`: runs until the family of the child is gone.
pub fn run(spec_path: &Path) -> ExitCode {
    match run_spec(spec_path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = error_chain(&error), spec = %spec_path.display(), "shim failed");
            ExitCode::from(error.code())
        }
    }
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn run_spec(spec_path: &Path) -> Result<(), ShimError> {
    // Already a leader when started by hand from a shell; then the session is the shell's, which does no harm.
    setsid().ok();
    let spec = read_spec(spec_path)?;
    set_child_subreaper(Some(rustix::process::getpid())).map_err(|source| ShimError::System {
        operation: "become a subreaper",
        source: source.into(),
    })?;
    let _lock = lock(&spec.state)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ShimError::System {
            operation: "start the event loop",
            source,
        })?;
    runtime.block_on(async {
        end_leftovers(&spec.state).await?;
        Shim::new(spec)?.live().await
    })
}

/// Reads and checks a spec.
///
/// # Errors
/// When it cannot be read, is no spec, or is one of a later version.
pub fn read_spec(path: &Path) -> Result<ShimSpec, ShimError> {
    let bytes = files::read_limited(path, FILE_LIMIT).map_err(|source| ShimError::ReadSpec {
        path: path.into(),
        source,
    })?;
    let bad = |problem: String| ShimError::BadSpec {
        path: path.into(),
        problem,
    };
    let spec: ShimSpec = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    if spec.version != VERSION {
        return Err(bad(format!(
            "version {} is not known here, only {VERSION}",
            spec.version
        )));
    }
    if spec.command.is_empty() {
        return Err(bad("the command is empty".into()));
    }
    Ok(spec)
}

/// The last state a shim wrote; `None` if there is none or it cannot be understood.
pub fn read_state(path: &Path) -> Option<ShimState> {
    serde_json::from_slice(&files::read_limited(path, FILE_LIMIT).ok()?).ok()
}

/// `path` with `.lock` appended.
pub(crate) fn lock_path(state: &Path) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// A shim that was just killed is no process any more to whoever looks, while its last thread still holds its files.
fn lock(state: &Path) -> Result<File, ShimError> {
    let path = lock_path(state);
    let deadline = clock::now() + LOCK_LIMIT;
    loop {
        match try_lock(&path) {
            Ok(Some(file)) => return Ok(file),
            Ok(None) if clock::now() < deadline => std::thread::park_timeout(LOCK_PAUSE),
            Ok(None) => return Err(ShimError::Locked { path }),
            Err(source) => return Err(ShimError::Lock { path, source }),
        }
    }
}

/// The lock, or `None` if a living process holds it. It goes with its holder, and no child inherits it.
pub(crate) fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Ends what a shim that was killed left behind: its child with everything below, and everything that
/// carries the mark of that launch wherever it went.
pub(crate) async fn end_leftovers(state: &Path) -> Result<(), ShimError> {
    let Some(state) = read_state(state) else {
        return Ok(());
    };
    let deadline = clock::now() + FAMILY_LIMIT;
    loop {
        let rows = leftovers(&state);
        if rows.as_ref().is_ok_and(Vec::is_empty) {
            return Ok(());
        }
        let is_late = clock::now() > deadline;
        match rows {
            Ok(rows) if is_late => {
                return Err(ShimError::Leftovers(
                    rows.iter().map(|row| row.identity).collect(),
                ));
            }
            Err(source) if is_late => {
                return Err(ShimError::System {
                    operation: "see what a killed predecessor left running",
                    source,
                });
            }
            Ok(rows) => tree::kill(&rows),
            // Asked again: who cannot be seen is not gone.
            Err(_) => {}
        }
        tokio::time::sleep(FAMILY_PERIOD).await;
    }
}

/// SIGKILL for everything below exactly this process, but not for itself.
pub(crate) fn kill_below(ancestor: ProcessIdentity) {
    match tree::living_below(ancestor) {
        Ok(rows) => tree::kill(&rows),
        Err(error) => {
            tracing::warn!(pid = ancestor.pid, %error, "who is below a process cannot be seen");
        }
    }
}

fn leftovers(state: &ShimState) -> io::Result<Vec<identity::ProcessRow>> {
    let mut rows = Vec::new();
    if let Some(child) = state.child
        && let Some(row) = identity::row_of(child)?
    {
        rows.extend(tree::living_below(child)?);
        rows.push(row);
    }
    if let Some(mark) = &state.launch {
        rows.extend(identity::marked(MARK, mark)?);
    }
    let this = std::process::id();
    rows.retain(|row| row.is_alive() && row.identity.pid != this);
    Ok(rows)
}

/// What the shim waits for next.
enum Wake {
    Stop,
    Child,
    Deadline,
}

struct Shim {
    spec: ShimSpec,
    state: ShimState,
    log: Log,
    /// The child's end of the log, until the child has it.
    output: Option<PipeWriter>,
    /// When the stop signal gives way to SIGKILL.
    kill_at: Option<Instant>,
}

impl Shim {
    fn new(spec: ShimSpec) -> Result<Self, ShimError> {
        let system = |operation| move |source| ShimError::System { operation, source };
        let (reader, writer) = io::pipe().map_err(system("make a pipe"))?;
        let log = Log::start(reader, &spec.log).map_err(system("start the log"))?;
        let state = ShimState {
            version: VERSION,
            instance: spec.instance.clone(),
            shim: identity::this().map_err(system("read /proc"))?,
            child: None,
            phase: ShimPhase::Starting,
            exit: None,
            started_wall_ms: clock::wall_ms(),
            exited_wall_ms: None,
            generation: spec.generation,
            log_dropped_bytes: 0,
            launch: Some(format!("{:032x}", entropy::u128())),
        };
        Ok(Self {
            spec,
            state,
            log,
            output: Some(writer),
            kill_at: None,
        })
    }

    async fn live(mut self) -> Result<(), ShimError> {
        let system = |source| ShimError::System {
            operation: "listen for signals",
            source,
        };
        let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
        let mut children = signal(SignalKind::child()).map_err(system)?;
        // Taken and ignored: a terminal that closes is no reason to stop a database.
        let _hangup = signal(SignalKind::hangup()).map_err(system)?;
        self.write_state()?;
        self.start();
        self.write_state()?;
        while self.state.exit.is_none() {
            let wake = tokio::select! {
                _ = terminate.recv() => Wake::Stop,
                _ = interrupt.recv() => Wake::Stop,
                _ = children.recv() => Wake::Child,
                () = until(self.kill_at) => Wake::Deadline,
            };
            match wake {
                Wake::Stop => self.stop()?,
                Wake::Child => self.reap(),
                Wake::Deadline => {
                    self.kill_at = None;
                    self.end_family().await;
                    self.reap();
                }
            }
        }
        self.end_family().await;
        self.log.finish(LOG_LIMIT);
        self.state.phase = ShimPhase::Exited;
        self.state.exited_wall_ms = Some(clock::wall_ms());
        self.write_state()
    }

    fn start(&mut self) {
        let started = self.spawn();
        self.output = None;
        match started {
            Ok(child) => {
                self.state.child = Some(child);
                self.state.phase = ShimPhase::Running;
            }
            Err(error) => {
                self.state.exit = Some(ProcessExit::Failed(format!(
                    "start {:?}: {error}",
                    self.spec.command
                )));
            }
        }
    }

    fn spawn(&mut self) -> io::Result<ProcessIdentity> {
        let (program, arguments) = self
            .spec
            .command
            .split_first()
            .ok_or(io::ErrorKind::InvalidInput)?;
        let output = self.output.take().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(environment(
                &self.spec.environment,
                self.state.launch.as_deref(),
            ))
            .envs(with_secrets(&self.spec.secrets)?)
            .current_dir(&self.spec.directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        if let Some(name) = &self.spec.user {
            let user = user::find(name)?;
            if user.user != rustix::process::geteuid().as_raw() {
                // Started by root, the standard library empties the list of further groups as well.
                command.uid(user.user).gid(user.group);
            }
        }
        // Nobody waits on this handle: the loop takes the status of every child, this one included, and
        // until it does the pid belongs to the child.
        let pid = command.spawn()?.id();
        let row = identity::row(pid)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(row.identity)
    }

    fn stop(&mut self) -> Result<(), ShimError> {
        let Some(child) = self.state.child else {
            return Ok(());
        };
        if self.state.phase == ShimPhase::Stopping {
            return Ok(());
        }
        self.state.phase = ShimPhase::Stopping;
        self.kill_at = Some(clock::now() + Duration::from_millis(self.spec.stop.grace_ms));
        let number = match self.spec.stop.signal {
            StopSignal::Term => Signal::TERM,
            StopSignal::Int => Signal::INT,
            StopSignal::Quit => Signal::QUIT,
        };
        if let Err(error) = identity::signal(child, number) {
            tracing::warn!(pid = child.pid, %error, "could not send the stop signal");
            self.kill_at = Some(clock::now());
        }
        self.write_state()
    }

    fn reap(&mut self) {
        if let Some(status) = tree::reap(self.state.child) {
            self.state.exit = Some(exit_of(status));
        }
    }

    /// SIGKILL for everything below, again and again until nothing is left.
    async fn end_family(&mut self) {
        let deadline = clock::now() + FAMILY_LIMIT;
        loop {
            self.reap();
            let is_late = clock::now() > deadline;
            match tree::family() {
                Ok(rows) if rows.is_empty() => return,
                Ok(rows) if is_late => {
                    tracing::error!(left = rows.len(), "processes do not end by SIGKILL");
                    return;
                }
                Err(error) if is_late => {
                    tracing::error!(%error, "whether processes have ended cannot be seen");
                    return;
                }
                Ok(rows) => tree::kill(&rows),
                Err(_) => {}
            }
            tokio::time::sleep(FAMILY_PERIOD).await;
        }
    }

    fn write_state(&mut self) -> Result<(), ShimError> {
        self.state.log_dropped_bytes = self.log.dropped_bytes();
        let path = &self.spec.state;
        let failed = |source| ShimError::WriteState {
            path: path.clone(),
            source,
        };
        let bytes = serde_json::to_vec(&self.state).map_err(|error| failed(error.into()))?;
        // Only the exit must survive the machine: with the machine, everything that runs is gone.
        let written = match self.state.phase {
            ShimPhase::Exited => files::write_atomic_mode(path, &bytes, 0o644),
            ShimPhase::Starting | ShimPhase::Running | ShimPhase::Stopping => replace(path, &bytes),
        };
        match written {
            Ok(()) => Ok(()),
            // A full disk must not take a running workload with it: the identity in the last state holds.
            Err(error) if self.state.child.is_some() => {
                tracing::error!(%error, path = %path.display(), "could not write the state");
                Ok(())
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// Readers see the old file or the new one; nothing waits for the disk.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Under the lock of the state, so nobody else writes this name.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&temporary)?;
    file.write_all(bytes)?;
    std::fs::rename(&temporary, path)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline - clock::now()).await,
        None => std::future::pending().await,
    }
}

fn exit_of(status: WaitStatus) -> ProcessExit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ProcessExit::Code(code),
        (None, Some(signal)) => ProcessExit::Signal(signal),
        (None, None) => ProcessExit::Failed(format!("left with status {:#x}", status.as_raw())),
    }
}

fn environment(wanted: &BTreeMap<String, String>, mark: Option<&str>) -> BTreeMap<String, String> {
    let mut environment = wanted.clone();
    environment
        .entry("PATH".into())
        .or_insert_with(|| DEFAULT_PATH.into());
    if let Some(mark) = mark {
        environment.insert(MARK.into(), mark.into());
    }
    environment
}

fn with_secrets(wanted: &BTreeMap<String, SecretVariable>) -> io::Result<BTreeMap<String, String>> {
    let each = wanted
        .iter()
        .map(|(name, variable)| Ok((name.clone(), with_secret(variable)?)));
    each.collect()
}

fn with_secret(variable: &SecretVariable) -> io::Result<String> {
    let file = &variable.file;
    let read = files::read_limited(file, SECRET_LIMIT);
    let text = read.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    let secret = text.map_err(|error| {
        let what = format!("read {}: {error}", file.display());
        io::Error::new(error.kind(), what)
    })?;
    let (before, after) = (&variable.before, &variable.after);
    Ok(format!("{before}{}{after}", secret.trim_end()))
}
