//! The gateway process: listeners, connections and upstream pools around the gateway core.
//!
//! | thread  | does                                                                                   |
//! |---------|----------------------------------------------------------------------------------------|
//! | main    | reads the snapshot, takes the host's lock, starts the others, waits for the end        |
//! | eyes    | keepers' streams, probes, control socket, signals; publishes the picture of the world  |
//! | workers | one per processor: everything a request touches                                        |
//!
//! Start reading at `world` (what threads share), then `client` and `forward` (the way of a request),
//! `gate` (where it waits) and `eyes` (why it may go on). The decisions are in `mainstay-gateway`.

mod admin;
mod answer;
mod caller;
mod client;
mod config;
mod counted;
mod descriptors;
mod door;
mod eyes;
mod forward;
mod framed;
mod gate;
mod headers;
mod listen;
mod lock;
mod metrics;
mod ramp;
mod room;
mod sessions;
mod stats;
mod streaming;
mod upstream;
mod watch;
mod worker;
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use admin::{Admin, Rights, chain};
use caller::Caller;
use config::Config;
use worker::Worker;
use world::{Shared, Suspicion};

/// The snapshot on disk, and its last good copy, cannot be served.
const EXIT_SNAPSHOT: u8 = 2;
/// Another living gateway serves this name, or the process could not set itself up.
const EXIT_START: u8 = 3;
/// A worker broke. Whoever supervises starts the gateway again.
const EXIT_BROKEN: u8 = 4;

/// Serves the snapshot at `config_path` until SIGTERM or SIGINT.
pub fn run(config_path: &Path) -> ExitCode {
    let (config, snapshot_error) = match config::load_or_last_good(config_path) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!(
                error = chain(&error),
                "no snapshot that can be served, and no last good copy"
            );
            return ExitCode::from(EXIT_SNAPSHOT);
        }
    };
    let snapshot_error = snapshot_error.map(|error| chain(&error));
    if let Some(error) = &snapshot_error {
        tracing::error!(error, "the snapshot is refused; serving its last good copy");
    }
    match serve(Arc::new(config), config_path, snapshot_error) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!(error = failure.message, "the gateway ends");
            ExitCode::from(failure.code)
        }
    }
}

struct Ending {
    code: u8,
    message: String,
}

fn cannot_start(error: &dyn std::error::Error) -> Ending {
    Ending {
        code: EXIT_START,
        message: chain(error),
    }
}

fn runtime() -> Result<Runtime, Ending> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot_start(&error))
}

fn serve(
    config: Arc<Config>,
    config_path: &Path,
    snapshot_error: Option<String>,
) -> Result<(), Ending> {
    let snapshot = &config.snapshot;
    let run_folder = Path::new(&snapshot.run_folder).to_owned();
    descriptors::raise(&config);
    std::fs::create_dir_all(&run_folder).map_err(|error| cannot_start(&error))?;
    let own = runtime()?;
    own.block_on(lock::take(&run_folder, &snapshot.gateway))
        .map_err(|error| cannot_start(&error))?;
    let (suspicions, suspected) = mpsc::unbounded_channel::<Suspicion>();
    let first = eyes::first_view(mainstay_rt::clock::now(), &config);
    let caller = Arc::new(Caller::new(snapshot.identity.clone()));
    let shared = Arc::new(Shared::new(Arc::clone(&config), first, suspicions, caller));
    let (ended, mut endings) = mpsc::unbounded_channel::<Result<(), String>>();
    for index in 0..usize::from(config.workers()) {
        start_worker(index, Arc::clone(&shared), ended.clone())?;
    }
    let (configs, new_configs) = mpsc::unbounded_channel();
    let admin = Rc::new(Admin {
        shared: Arc::clone(&shared),
        config_path: config_path.to_owned(),
        configs,
        shown: std::cell::RefCell::default(),
        snapshot_error: std::cell::RefCell::new(snapshot_error),
        facts: eyes::Facts::default(),
    });
    tracing::info!(
        gateway = snapshot.gateway,
        generation = snapshot.generation,
        workers = config.workers(),
        "the gateway serves"
    );
    let workers = config.workers();
    LocalSet::new().block_on(&own, async move {
        let eyes = spawn_local(eyes::run(
            Arc::clone(&shared),
            Arc::clone(&config),
            Rc::clone(&admin.facts),
            suspected,
            new_configs,
        ));
        let socket = lock::socket_path(&run_folder, &config.snapshot.gateway);
        start_admin(&admin, socket, config.admin);
        follow_signals(&shared)?;
        let mut eyes = std::pin::pin!(eyes);
        for _ in 0..workers {
            let ending = tokio::select! {
                ending = endings.recv() => ending.unwrap_or(Ok(())),
                _ = &mut eyes => Err("the eyes broke".to_owned()),
            };
            ending.map_err(|message| Ending {
                code: EXIT_BROKEN,
                message,
            })?;
        }
        tracing::info!("the gateway has finished what it had begun");
        Ok(())
    })
}

/// A worker on a thread of its own. However the thread ends, its ending is told.
fn start_worker(
    index: usize,
    shared: Arc<Shared>,
    ended: mpsc::UnboundedSender<Result<(), String>>,
) -> Result<(), Ending> {
    struct Told(
        mpsc::UnboundedSender<Result<(), String>>,
        Result<(), String>,
    );
    impl Drop for Told {
        fn drop(&mut self) {
            // Nobody listens any more when the process is ending anyway.
            self.0.send(std::mem::replace(&mut self.1, Ok(()))).ok();
        }
    }
    let runtime = runtime()?;
    let work = move || {
        let mut told = Told(ended, Err(format!("worker {index} broke")));
        LocalSet::new().block_on(&runtime, Worker::new(index, shared).run());
        told.1 = Ok(());
    };
    std::thread::Builder::new()
        .name(format!("gateway-{index}"))
        .spawn(work)
        .map(drop)
        .map_err(|error| cannot_start(&error))
}

fn start_admin(
    admin: &Rc<Admin>,
    socket: std::path::PathBuf,
    address: Option<std::net::SocketAddr>,
) {
    let of_socket = Rc::clone(admin);
    spawn_local(mainstay_rt::http::serve_unix(socket, move |call| {
        let admin = Rc::clone(&of_socket);
        async move { admin.answer(Rights::LookAndAct, call).await }
    }));
    admin.show_at(address);
}

fn follow_signals(shared: &Arc<Shared>) -> Result<(), Ending> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).map_err(|error| cannot_start(&error))?;
        let shared = Arc::clone(shared);
        spawn_local(async move {
            while signals.recv().await.is_some() {
                tracing::info!("told to stop: finishing what was begun");
                shared.stop();
            }
        });
    }
    Ok(())
}
