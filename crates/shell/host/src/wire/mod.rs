//! The network between two regions, as a process that can be cut.
//!
//! On one machine every region can reach every other, so a partition has to be made. Processes of region
//! A know the hosts of region B only by *door* addresses of their own; behind those doors stands one wire,
//! which carries every connection to its host and does to it what distance and faults demand. A wire
//! belongs to no host: it goes on when both its regions are dead, because silence is what it is for.
//!
//! What departs from the spec is a *condition* with a deadline on the boot-time clock. It is on disk
//! before it takes effect, so a wire that is killed comes back as cut as it was, and it ends by itself,
//! whoever set it and whatever became of them.

mod condition;
mod control;
mod door;
mod relay;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_record::process::{
    VERSION, WireAnswer, WireCondition, WireRequest, WireSpec, WireState, WireStatus,
};
use mainstay_rt::{clock, files};
use mainstay_units::Instant;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

pub use control::{WireError, clear_condition, read_state, set_condition, status};

use crate::identity;
use crate::shim::{self, EXIT_FAILED, EXIT_LOCKED};
use condition::{DoorView, Doorplate};
use relay::Counters;

const FILE_LIMIT: u64 = 1 << 20;
/// Faults that may hold on one wire at once.
const CONDITION_LIMIT: usize = 64;
const REQUEST_QUEUE: usize = 16;
/// Between two looks whether the control socket is still there.
const CONTROL_LOOK: Duration = Duration::from_secs(1);

/// `mainstay wire SPEC.json`: relays until SIGTERM.
pub fn run(spec_path: &Path) -> ExitCode {
    match run_spec(spec_path) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            tracing::error!(spec = %spec_path.display(), "another wire serves these doors");
            ExitCode::from(EXIT_LOCKED)
        }
        Err(error) => {
            tracing::error!(%error, spec = %spec_path.display(), "wire failed");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Whether the wire was ours to serve.
fn run_spec(spec_path: &Path) -> io::Result<bool> {
    rustix::process::setsid().ok();
    let spec: WireSpec = serde_json::from_slice(&files::read_limited(spec_path, FILE_LIMIT)?)?;
    if spec.version != VERSION {
        let problem = format!(
            "wire spec version {} is not known here, only {VERSION}",
            spec.version
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    let Some(_lock) = shim::try_lock(&shim::lock_path(&spec.state))? else {
        return Ok(false);
    };
    take_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async { Wire::new(spec)?.serve().await })?;
    Ok(true)
}

struct Door {
    host: String,
    port: u16,
    view: watch::Sender<DoorView>,
}

struct Wire {
    spec: WireSpec,
    state: WireState,
    boot_id: String,
    doors: Vec<Door>,
    counters: Arc<Counters>,
    /// Doors that could not be opened yet, with the reason.
    closed: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Wire {
    fn new(spec: WireSpec) -> io::Result<Self> {
        let boot_id = clock::boot_id()?;
        let conditions = read_state(&spec.state)
            .map(|state| state.conditions)
            .unwrap_or_default();
        let state = WireState {
            version: VERSION,
            from: spec.from.clone(),
            to: spec.to.clone(),
            wire: Some(identity::this()?),
            conditions,
        };
        let mut wire = Self {
            spec,
            state,
            boot_id,
            doors: Vec::new(),
            counters: Arc::default(),
            closed: Arc::default(),
        };
        wire.forget_what_is_over();
        wire.write_state()?;
        Ok(wire)
    }

    async fn serve(mut self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let _hangup = signal(SignalKind::hangup())?;
        let listener = open_control(&self.spec.control)?;
        let (sender, mut requests) = mpsc::channel(REQUEST_QUEUE);
        let mut hearing = tokio::spawn(control::serve(listener, sender.clone()));
        let mut look = tokio::time::interval(CONTROL_LOOK);
        self.open_doors();
        loop {
            let next = self.next_end();
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                request = requests.recv() => {
                    let Some((request, reply)) = request else { break };
                    // Whoever asked may have gone; the answer is then of no interest.
                    reply.send(self.handle(request)).ok();
                }
                () = sleep_until(next) => self.end_conditions(),
                _ = look.tick() => {
                    if let Some(listener) = self.opened_anew() {
                        hearing.abort();
                        hearing = tokio::spawn(control::serve(listener, sender.clone()));
                    }
                }
            }
        }
        // Best effort: a stale socket is replaced by the next wire.
        std::fs::remove_file(&self.spec.control).ok();
        Ok(())
    }

    /// A socket in the place of one that somebody took away: nobody could set or end a fault on this wire any more, nor take
    /// its place while it lives.
    fn opened_anew(&self) -> Option<UnixListener> {
        let path = &self.spec.control;
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) | Err(_) => return None,
        }
        match open_control(path) {
            Ok(listener) => {
                tracing::warn!(path = %path.display(), "the wire's socket was gone and is there again");
                Some(listener)
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the wire's socket is gone and cannot be made");
                None
            }
        }
    }

    fn open_doors(&mut self) {
        for door in self.spec.doors.clone() {
            let (view, watched) = watch::channel(self.view(&door.host, door.listen.port()));
            self.doors.push(Door {
                host: door.host.clone(),
                port: door.listen.port(),
                view,
            });
            tokio::spawn(door::serve(
                door,
                watched,
                Arc::clone(&self.counters),
                Arc::clone(&self.closed),
            ));
        }
    }

    fn view(&self, host: &str, port: u16) -> DoorView {
        let plate = Doorplate { host, port };
        DoorView::of(self.spec.shape, &self.state.conditions, plate)
    }

    /// Tells the doors what holds now.
    fn apply(&self) {
        for door in &self.doors {
            let view = self.view(&door.host, door.port);
            door.view
                .send_if_modified(|current| std::mem::replace(current, view) != view);
        }
    }

    fn handle(&mut self, request: WireRequest) -> WireAnswer {
        let done = match request {
            WireRequest::Status => Ok(()),
            WireRequest::Set(condition) => self.set(condition),
            WireRequest::Clear { id } => {
                self.clear(&id);
                Ok(())
            }
        };
        match done {
            Ok(()) => WireAnswer::Status(self.status()),
            Err(reason) => WireAnswer::Refused { reason },
        }
    }

    /// On disk first: a condition that would not survive this process is refused.
    fn set(&mut self, condition: WireCondition) -> Result<(), String> {
        let before = self.state.conditions.clone();
        condition::insert(&mut self.state.conditions, condition, CONDITION_LIMIT)?;
        self.forget_what_is_over();
        if let Err(error) = self.write_state() {
            self.state.conditions = before;
            return Err(format!("write {}: {error}", self.spec.state.display()));
        }
        self.apply();
        Ok(())
    }

    /// Takes effect first: mending must work on a full disk, and a condition left on disk has a deadline.
    fn clear(&mut self, id: &str) {
        let before = self.state.conditions.len();
        self.state.conditions.retain(|condition| condition.id != id);
        self.apply();
        if self.state.conditions.len() != before
            && let Err(error) = self.write_state()
        {
            tracing::warn!(%error, "could not write the wire's state");
        }
    }

    fn end_conditions(&mut self) {
        let before = self.state.conditions.len();
        self.forget_what_is_over();
        if self.state.conditions.len() != before {
            self.apply();
            if let Err(error) = self.write_state() {
                tracing::warn!(%error, "could not write the wire's state");
            }
        }
    }

    fn forget_what_is_over(&mut self) {
        let now = clock::now();
        self.state
            .conditions
            .retain(|held| condition::is_in_force(held, now, &self.boot_id));
    }

    fn next_end(&self) -> Option<Instant> {
        self.state
            .conditions
            .iter()
            .map(|held| Instant::from_nanos(held.deadline_boottime_ns))
            .min()
    }

    fn write_state(&self) -> io::Result<()> {
        files::write_atomic_mode(&self.spec.state, &serde_json::to_vec(&self.state)?, 0o644)
    }

    fn status(&self) -> WireStatus {
        let counts = self.counters.read();
        WireStatus {
            state: self.state.clone(),
            connections: counts.connections,
            accepted: counts.accepted,
            bytes_forward: counts.bytes_forward,
            bytes_backward: counts.bytes_backward,
            closed_doors: self
                .closed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

/// Each connection that is carried needs two descriptors, and a shell gives a process a thousand as a rule.
fn take_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::warn!(%error, "a wire goes on with as many descriptors as it was given");
    }
}

/// The lock says that no other wire lives, so a socket that is there is a dead one's.
fn open_control(path: &PathBuf) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline - clock::now()).await,
        None => std::future::pending().await,
    }
}
