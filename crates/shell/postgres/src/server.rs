//! The local server as a process: start, stop, tell.
//!
//! PostgreSQL runs under a shim and outlives its keeper. A keeper that starts beside a running server
//! adopts it: the pid in `postmaster.pid` counts only if that process lives and stands in the data
//! folder. Stopping is always immediate and ends with a look at `/proc`: the server is stopped when no
//! process stands in its folder any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_record::process::{
    LogSpec, ProcessIdentity, ShimPhase, ShimSpec, ShimState, StopSignal, StopSpec, VERSION,
};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use crate::certificate::Certificate;
use crate::commands::chain;
use crate::data::{self, DataError};
use crate::history::{self, HistoryError};
use crate::parameters;
use crate::process;
use crate::programs::ProgramError;
use crate::recovering::{self, Patience, STALL_LIMIT};
use crate::replication::{Connection, Identity, ReplicationError};
use crate::settings::{SUPERUSER, Stance};
use crate::setup::Setup;
use crate::sql::{Login, Session, SqlError};
use crate::wait::until;

const VERSION_LIMIT: Duration = Duration::from_secs(2);
/// After this an immediate shutdown is helped with SIGKILL.
const QUIT_LIMIT: Duration = Duration::from_millis(200);
/// A shutdown in order writes what is left of a restart point.
const ORDER_LIMIT: Duration = Duration::from_secs(10);
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// For a shim to end what is left of its family, which is nothing, and to say so.
const SHIM_LIMIT: Duration = Duration::from_secs(3);
/// For a setting to become effective, for a receiver to leave.
pub const EFFECT_LIMIT: Duration = Duration::from_secs(5);
/// For one answer of the local server.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(4);
/// Every knock at a starting server costs it a process.
const START_PAUSE: Duration = Duration::from_millis(15);
const LOG_BYTES: u64 = 8 * 1024 * 1024;
const LOGS_KEPT: u32 = 3;
const STATE_LIMIT: u64 = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Sql(#[from] SqlError),
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    #[error("write the shim's specification {}", path.display())]
    Spec {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("start the shim {}", program)]
    Shim {
        program: String,
        source: std::io::Error,
    },
    #[error("start the server: it ended; its log says why: {}", log.display())]
    Ended { log: PathBuf },
    #[error("start the server: its program does not run; install it again")]
    Broken(#[source] ProgramError),
    #[error("{action}: no server runs")]
    NotRunning { action: &'static str },
    #[error("{action}: not done within {limit:?}")]
    Late {
        action: &'static str,
        limit: Duration,
    },
    #[error("start the server: processes of its predecessor do not end")]
    Leftovers,
    #[error("see whether a server runs")]
    Unseen(#[source] std::io::Error),
    #[error("follow {source_name}: {why}")]
    Diverged { source_name: String, why: String },
}

/// The postmaster that stands in the data folder, if one lives.
///
/// # Errors
/// When that cannot be seen, as without a free descriptor: a server that runs must not be taken for stopped.
pub fn postmaster(setup: &Setup) -> std::io::Result<Option<ProcessIdentity>> {
    let pgdata = &setup.layout.pgdata;
    let text = match std::fs::read_to_string(pgdata.join("postmaster.pid")) {
        Err(error) if process::is_unasked(&error) => return Err(error),
        // A folder without the file, or on a disk that does not read it, names nobody.
        read => read.unwrap_or_default(),
    };
    let pid = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse::<u32>().ok());
    let Some(pid) = pid else {
        return Ok(None);
    };
    let Some(identity) = process::identify(pid)? else {
        return Ok(None);
    };
    let stands = process::unless_gone(std::fs::read_link(format!("/proc/{pid}/cwd")))?;
    Ok((stands.as_ref() == Some(pgdata)).then_some(identity))
}

/// As [`postmaster`], for whoever has an order for it.
///
/// # Errors
/// When none runs, or none can be seen.
pub fn running(setup: &Setup, action: &'static str) -> Result<ProcessIdentity, ServerError> {
    let found = postmaster(setup).map_err(ServerError::Unseen)?;
    found.ok_or(ServerError::NotRunning { action })
}

/// A new session of the keeper's role on the local server.
///
/// # Errors
/// When the server does not let the keeper in.
pub async fn login(setup: &Setup, limit: Duration) -> Result<Session, SqlError> {
    let login = Login {
        socket: &setup.socket(),
        database: "postgres",
        user: SUPERUSER,
        password: &setup.secrets.superuser,
    };
    Session::open(login, limit).await
}

/// The hands' view of the server: what it was told last, and the session to ask it.
pub struct Local {
    pub setup: Rc<Setup>,
    pub stance: Stance,
    /// The room that the last filling would have needed.
    pub lacking: Option<u64>,
    session: Option<Rc<Session>>,
    /// Kept through an election, in which every log-in counts.
    replication: Option<Connection>,
    /// The shim's, so that its exit status is taken.
    shims: Vec<tokio::process::Child>,
}

impl Local {
    pub fn new(setup: Rc<Setup>) -> Self {
        // Left by a predecessor that died in the middle of a promotion: the next signal that any child sends
        // the postmaster would promote a server that by then follows somebody. A start removes it too.
        std::fs::remove_file(setup.layout.pgdata.join(data::PROMOTE_SIGNAL)).ok();
        let stance = data::read_stance(&setup).unwrap_or_else(Stance::alone);
        Self {
            setup,
            stance,
            lacking: None,
            session: None,
            replication: None,
            shims: Vec::new(),
        }
    }

    /// The session that is kept; opened if there is none.
    ///
    /// # Errors
    /// When the server does not let the keeper in.
    pub async fn session(&mut self) -> Result<Rc<Session>, SqlError> {
        match &self.session {
            Some(session) if !session.is_closed() => Ok(Rc::clone(session)),
            _ => {
                let session = Rc::new(login(&self.setup, ANSWER_LIMIT).await?);
                self.session = Some(Rc::clone(&session));
                Ok(session)
            }
        }
    }

    /// Who the server is and how far its log reaches. The connection is out of place while it is asked: one
    /// whose answer was not waited for is not used again.
    ///
    /// # Errors
    /// When the server does not let the keeper in.
    pub async fn identify(&mut self) -> Result<Identity, ReplicationError> {
        if let Some(mut kept) = self.replication.take()
            && let Ok(identity) = kept.identify().await
        {
            self.replication = Some(kept);
            return Ok(identity);
        }
        let server = self.setup.local();
        let mut fresh = self.setup.replication(&server).await?;
        let identity = fresh.identify().await?;
        self.replication = Some(fresh);
        Ok(identity)
    }

    /// Up to PostgreSQL 15 every flush of the log wakes whoever serves such a connection, on standbys too: commits pay
    /// for it.
    pub fn end_replication(&mut self) {
        self.replication = None;
    }

    fn hang_up(&mut self) {
        self.session = None;
        self.replication = None;
    }

    /// Starts the server as a standby that follows nobody, and waits until it lets the keeper in.
    ///
    /// # Errors
    /// When something of a predecessor does not end, or the server does not start.
    pub async fn start(&mut self) -> Result<(), ServerError> {
        self.start_as(Stance::alone()).await
    }

    /// As [`Local::start`], with a stance: a rewound server becomes consistent only while it streams.
    ///
    /// # Errors
    /// As [`Local::start`].
    pub async fn start_as(&mut self, stance: Stance) -> Result<(), ServerError> {
        let parameters = Arc::clone(&self.setup.parameters);
        parameters::note_demand(&self.setup).await;
        self.try_program().await?;
        match self.start_once(stance.clone()).await {
            Ok(()) => {
                parameters.note_started();
                Ok(())
            }
            Err(error @ ServerError::Ended { .. }) => {
                let Some(tried) = parameters.fall_back() else {
                    return Err(error);
                };
                tracing::warn!(error = chain(&error), "starting with the parameters before");
                parameters::note_demand(&self.setup).await;
                let started = self.start_once(stance).await;
                if started.is_ok() {
                    let log = self.setup.layout.server_log.display();
                    let why = format!("the server does not start with it; {log} says why");
                    parameters.refuse(tried, why);
                } else {
                    // It starts with neither, so it is not for these parameters that it does not.
                    parameters.go_back(tried);
                }
                started
            }
            Err(error) => Err(error),
        }
    }

    /// What does not even print its version is no reason to doubt the data folder.
    async fn try_program(&self) -> Result<(), ServerError> {
        let programs = &self.setup.programs;
        let version = ["--version".to_owned()];
        match programs.output("postgres", &version, VERSION_LIMIT).await {
            Ok(_) | Err(ProgramError::Late { .. }) => Ok(()),
            Err(error) => Err(ServerError::Broken(error)),
        }
    }

    async fn start_once(&mut self, stance: Stance) -> Result<(), ServerError> {
        self.hang_up();
        let setup = Rc::clone(&self.setup);
        let pgdata = &setup.layout.pgdata;
        if !process::clear(pgdata, KILL_LIMIT).await {
            return Err(ServerError::Leftovers);
        }
        self.await_predecessor().await;
        // Nobody stands in the folder, so locks in it are of the dead; their pids may be others' by now.
        let port = setup.config.listen.postgres.port();
        let socket_lock = setup.layout.sockets.join(format!(".s.PGSQL.{port}.lock"));
        for stale in [pgdata.join("postmaster.pid"), socket_lock] {
            std::fs::remove_file(stale).ok();
        }
        history::forget_dangling(pgdata)?;
        // The last one that could be used may have ended meanwhile.
        Certificate::of(&setup).look().await;
        self.stance = stance;
        data::write_settings(&setup, &self.stance)?;
        data::put(&setup, "postgresql.auto.conf", b"")?;
        data::put(&setup, data::STANDBY_SIGNAL, b"")?;
        self.launch()?;
        self.await_start().await
    }

    /// The shim of a server that died is still writing down how it died, and holds the lock that the next one needs.
    async fn await_predecessor(&self) {
        let lock = self.setup.layout.shim_state.with_extension("json.lock");
        if !until(SHIM_LIMIT, PAUSE, || is_free(&lock)).await {
            tracing::warn!(lock = %lock.display(), "the shim of the server before does not leave");
        }
    }

    fn launch(&mut self) -> Result<(), ServerError> {
        let setup = &self.setup;
        let path = setup.layout.shim_spec.clone();
        let spec = serde_json::to_vec_pretty(&shim_spec(setup)).map_err(std::io::Error::from);
        spec.and_then(|bytes| mainstay_rt::files::write_atomic(&path, &bytes))
            .map_err(|source| ServerError::Spec {
                path: path.clone(),
                source,
            })?;
        let Some((program, arguments)) = setup.config.shim.split_first() else {
            return Err(ServerError::NotRunning {
                action: "start the shim",
            });
        };
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .arg(&path)
            // Nothing of the keeper's own launch, by which its shim would take this one for its family.
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env(OUTLIVES, "1")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let shim = command.spawn().map_err(|source| ServerError::Shim {
            program: program.clone(),
            source,
        })?;
        self.shims
            .retain_mut(|shim| shim.try_wait().is_ok_and(|s| s.is_none()));
        self.shims.push(shim);
        Ok(())
    }

    /// A standby accepts connections when what it has is consistent; crash recovery may come first, and is waited for as
    /// long as it goes on: who ends it has it begin anew.
    async fn await_start(&mut self) -> Result<(), ServerError> {
        let launched = mainstay_rt::clock::now();
        let mut patience = Patience::new(launched);
        let pgdata = self.setup.layout.pgdata.clone();
        loop {
            match login(&self.setup, ANSWER_LIMIT).await {
                Ok(session) => {
                    self.session = Some(Rc::new(session));
                    return Ok(());
                }
                Err(error) => tracing::debug!(%error, "the server does not answer yet"),
            }
            let now = mainstay_rt::clock::now();
            if self.has_ended(now.since(launched)) {
                let log = self.setup.layout.server_log.clone();
                return Err(ServerError::Ended { log });
            }
            if patience.is_over(now, || recovering::place(&pgdata)) {
                return Err(ServerError::Late {
                    action: "start the server, or come any further in its log",
                    limit: STALL_LIMIT,
                });
            }
            tokio::time::sleep(START_PAUSE).await;
        }
    }

    /// The shim left, or says that its child did.
    fn has_ended(&mut self, running: Duration) -> bool {
        let shim_left = self
            .shims
            .last_mut()
            .is_some_and(|shim| !shim.try_wait().is_ok_and(|status| status.is_none()));
        let state = shim_state(&self.setup);
        let exited = state.is_some_and(|state| state.phase == ShimPhase::Exited);
        // The state of a predecessor stays until the new shim has written its own.
        shim_left || (exited && running > Duration::from_secs(2))
    }

    /// Ends every process of the server, without a checkpoint.
    ///
    /// # Errors
    /// When one does not end.
    pub async fn stop(&mut self) -> Result<(), ServerError> {
        self.hang_up();
        let pgdata = self.setup.layout.pgdata.clone();
        if let Ok(Some(postmaster)) = postmaster(&self.setup) {
            process::signal(postmaster, Signal::QUIT);
            until(QUIT_LIMIT, PAUSE, || process::is_deserted(&pgdata)).await;
        }
        let stopped = process::clear(&pgdata, KILL_LIMIT).await;
        self.dismiss_shims().await;
        // What a shim was about to start when it was dismissed.
        if stopped && process::clear(&pgdata, KILL_LIMIT).await {
            return Ok(());
        }
        Err(ServerError::Late {
            action: "stop the server",
            limit: KILL_LIMIT,
        })
    }

    /// Ends a standby in order, and whatever does not end in time without.
    ///
    /// # Errors
    /// When something of it does not end at all.
    pub async fn stop_in_order(&mut self) -> Result<(), ServerError> {
        self.hang_up();
        let pgdata = self.setup.layout.pgdata.clone();
        if let Ok(Some(postmaster)) = postmaster(&self.setup) {
            process::signal(postmaster, Signal::INT);
            until(ORDER_LIMIT, PAUSE, || process::is_deserted(&pgdata)).await;
        }
        self.stop().await
    }

    /// The shim of a start that was cut short may be about to start the server.
    async fn dismiss_shims(&mut self) {
        for mut shim in self.shims.drain(..) {
            if let Some(Ok(Some(identity))) = shim.id().map(process::identify) {
                process::signal(identity, Signal::TERM);
            }
            if tokio::time::timeout(SHIM_LIMIT, shim.wait()).await.is_err() {
                shim.kill().await.ok();
            }
        }
    }

    /// Writes a changed stance and has the server read it; does nothing if nothing changes.
    ///
    /// # Errors
    /// When the files cannot be written or no server runs.
    pub fn change(
        &mut self,
        action: &'static str,
        change: impl FnOnce(&mut Stance),
    ) -> Result<(), ServerError> {
        let mut stance = self.stance.clone();
        change(&mut stance);
        data::write_settings(&self.setup, &stance)?;
        self.stance = stance;
        let postmaster = running(&self.setup, action)?;
        process::signal(postmaster, Signal::HUP);
        Ok(())
    }

    /// Tries parameters that are new, and has the server read them if it would take them.
    pub async fn renew_parameters(&mut self) {
        let setup = Rc::clone(&self.setup);
        if !parameters::renew(&setup, &self.stance).await {
            return;
        }
        match self.change("take new parameters", |_| {}) {
            // Who is not there reads them when it starts.
            Ok(()) | Err(ServerError::NotRunning { .. }) => {}
            Err(error) => tracing::warn!(error = chain(&error), "new parameters are not written"),
        }
    }

    /// Has a server that runs read its certificate again; a server that starts reads it by itself. One that a version
    /// before TLS left running is told about TLS by the same files.
    pub fn show_certificate(&mut self) {
        if matches!(postmaster(&self.setup), Ok(None)) {
            return;
        }
        let setup = Rc::clone(&self.setup);
        let told = self.change("show another certificate", |stance| {
            let Some(following) = &mut stance.following else {
                return;
            };
            if following.proof.is_none() {
                following.proof = setup.proof_at(following.primary);
            }
        });
        match told {
            Ok(()) | Err(ServerError::NotRunning { .. }) => {}
            Err(error) => tracing::warn!(
                error = chain(&error),
                "the server does not know its new certificate"
            ),
        }
    }

    /// Waits until new sessions see `value` for a setting. The postmaster reads its files before it tells
    /// its children, and a session started later has what it read: so everybody has been told by then.
    ///
    /// # Errors
    /// When it is not so in time.
    pub async fn await_setting(
        &mut self,
        action: &'static str,
        name: &str,
        value: &str,
    ) -> Result<(), ServerError> {
        let deadline = mainstay_rt::clock::now() + EFFECT_LIMIT;
        let question = format!("SHOW {name}");
        loop {
            let session = self.session().await?;
            let shown = session.ask(action, &question, ANSWER_LIMIT).await?;
            let shown = shown.into_iter().flatten().flatten().next();
            if shown.as_deref() == Some(value) {
                return Ok(());
            }
            if mainstay_rt::clock::now() >= deadline {
                let limit = EFFECT_LIMIT;
                return Err(ServerError::Late { action, limit });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// In the environment of a shim that must not end with the family it was started from.
const OUTLIVES: &str = "MAINSTAY_OUTLIVES";

fn shim_spec(setup: &Setup) -> ShimSpec {
    let layout = &setup.layout;
    ShimSpec {
        version: VERSION,
        instance: format!("{}/postgres-{}", host(setup), setup.config.database),
        command: vec![
            setup.programs.path("postgres").display().to_string(),
            "-D".to_owned(),
            layout.pgdata.display().to_string(),
        ],
        environment: setup
            .programs
            .environment()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        secrets: BTreeMap::new(),
        directory: layout.pgdata.clone(),
        user: setup
            .programs
            .owner
            .as_ref()
            .map(|owner| owner.name.clone()),
        log: LogSpec {
            path: layout.server_log.clone(),
            max_bytes: LOG_BYTES,
            keep: LOGS_KEPT,
        },
        state: layout.shim_state.clone(),
        stop: StopSpec {
            signal: StopSignal::Quit,
            grace_ms: 2_000,
        },
        generation: mainstay_rt::clock::wall_ms(),
    }
}

/// Whether no shim holds its lock; one that is not there is held by nobody.
fn is_free(lock: &Path) -> bool {
    std::fs::File::open(lock).map_or(true, |file| {
        flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
    })
}

fn shim_state(setup: &Setup) -> Option<ShimState> {
    let bytes = mainstay_rt::files::read_limited(&setup.layout.shim_state, STATE_LIMIT).ok()?;
    serde_json::from_slice(&bytes).ok()
}

pub fn host(setup: &Setup) -> &str {
    setup
        .replica(setup.core.me)
        .map_or("?", |replica| replica.host.as_str())
}
