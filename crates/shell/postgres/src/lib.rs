//! One PostgreSQL replica driven by the keeper core.
//!
//! # The mental model
//!
//! A keeper is a body around a mind. The *mind* is the core in one loop; it only ever takes in and gives
//! out. The *eyes* look at the local server, the *hands* do to it what the core says, the *memory* keeps
//! promises: each is a thread, so that a slow disk or a hung server holds up that part and no other.
//! *Peers* are the voice and the ear, on a thread that does nothing else and goes before the others: what other keepers
//! must hear of this host does not wait for what this one thinks about. The *face* shares the mind's thread, because
//! sockets do not block: status, sight stream and operators' requests.
//!
//! Whoever speaks with a keeper over TCP has proven first that the platform's authority named it.
//!
//! PostgreSQL itself runs under a shim and outlives all of it; a keeper that starts beside a running
//! server adopts it.
//!
//! # Code map
//!
//! - `setup`: configuration file, folders, passwords. `programs`: PostgreSQL's tools.
//! - `process`: identities and descriptors of processes. `server`: the local server as a process; `recovering`: how far one that starts has come.
//! - `settings`: its configuration files; `parameters`: what the platform adds to them; `certificate`: what it shows. `history`: its timelines. `data`: its folder, `copying`: how far a copy has come; `damage`: what is known against it.
//! - `sql`, `replication`: the two ways of asking a server.
//! - `commands`: what the core can order, one function each. `hands`, `eyes`, `memory`, `mind`, `peers`,
//!   `face`: the parts of the body; `wanted`: what the file asks for meanwhile; `supply`, `pulse`, `weakened`, `own_settings` feel for the eyes what takes time to feel. `unarchived`: slots that an archive leaves. `figures`, `page`: what the server
//!   says of itself, for whoever watches. `promise`, `lease`: the two files. `convert`: core and JSON.

mod catch_up;
mod certificate;
mod commands;
mod convert;
mod copying;
mod damage;
mod data;
#[cfg(test)]
mod drill;
mod eyes;
mod face;
mod figures;
mod hands;
mod history;
mod knock;
mod lease;
mod memory;
mod mind;
mod own_settings;
mod page;
mod parameters;
mod peers;
mod process;
mod programs;
mod promise;
mod pulse;
mod recovering;
mod replication;
mod seed;
mod server;
mod settings;
mod setup;
mod spare;
mod sql;
mod supply;
mod unarchived;
mod wait;
mod wanted;
mod weakened;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use mainstay_keeper::{Keeper, Message, ReplicaId};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::certificate::Certificate;
use crate::commands::chain;
use crate::face::Face;
use crate::mind::{Inbox, Mind, Outbox};
use crate::setup::Setup;

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Setup(#[from] setup::SetupError),
    #[error(transparent)]
    Memory(#[from] memory::MemoryError),
    #[error(transparent)]
    Lease(#[from] lease::LeaseError),
    #[error(transparent)]
    Peer(#[from] peers::PeerError),
    #[error("{action}")]
    System {
        action: &'static str,
        source: std::io::Error,
    },
    #[error("end tools that a predecessor left running")]
    Tools,
}

/// `mainstay keeper --config FILE`: keeps one replica until it is told to end.
pub fn run(config: &Path) -> ExitCode {
    match start(config) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(error = chain(&error), config = %config.display(), "keep the replica");
            ExitCode::FAILURE
        }
    }
}

fn start(config: &Path) -> Result<ExitCode, RunError> {
    let setup = Setup::load(config)?;
    setup.prepare()?;
    let (promises, durable) = memory::recall(&setup)?;
    on_this_thread(live(setup, promises, durable))?
}

/// Runs a part of the body on the thread that calls.
fn on_this_thread<F: Future>(part: F) -> Result<F::Output, RunError> {
    let action = "start an event loop";
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RunError::System { action, source })?;
    let tasks = LocalSet::new();
    Ok(tasks.block_on(&runtime, part))
}

/// Runs a part of the body on a thread of its own; the future is made there.
fn on_a_thread<F, M>(name: &'static str, make: M) -> Result<(), RunError>
where
    F: Future<Output = ()>,
    M: FnOnce() -> F + Send + 'static,
{
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            if let Err(error) = on_this_thread(make()) {
                tracing::error!(
                    part = name,
                    error = chain(&error),
                    "a part of the keeper ended"
                );
            }
        })
        .map(drop)
        .map_err(|source| RunError::System {
            action: "start a thread",
            source,
        })
}

/// Lets this thread go before others where that is allowed: a keeper that comes late on a busy machine looks
/// like one that is gone.
fn hurry(nice: i32) {
    let this = Some(rustix::thread::gettid());
    if let Err(error) = rustix::process::setpriority_process(this, nice) {
        tracing::debug!(%error, "no precedence on a busy machine");
    }
}

/// Of the threads that must not be late; negative is earlier.
const NICE: i32 = -10;
/// Of the one that only speaks and hears, and takes no time for either.
const NICE_VOICE: i32 = -15;

async fn live(
    setup: Setup,
    promises: promise::PromiseFile,
    durable: Option<mainstay_keeper::Durable>,
) -> Result<ExitCode, RunError> {
    // What a predecessor's tools still write would be written into what is about to be judged.
    let limit = std::time::Duration::from_secs(10);
    let broken = data::state(&setup) == mainstay_keeper::DataState::Broken;
    if !process::clear(&setup.layout.tools, limit).await
        || (broken && !process::clear(&setup.layout.pgdata, limit).await)
    {
        return Err(RunError::Tools);
    }
    if let Err(error) = spare::settle(&setup.layout) {
        let error = mainstay_rt::error::chain(&error);
        tracing::warn!(error, "what a rewind left is not put in order");
    }
    let core = setup.core.clone();
    let keeper = Keeper::new(core, durable, mainstay_rt::clock::now()).map_err(|error| {
        let what = error.to_string();
        setup::SetupError::Invalid { what }
    })?;
    let (report, inputs) = mpsc::unbounded_channel();
    let (tell, news) = mpsc::unbounded_channel();
    let (sighting, sightings) = mpsc::unbounded_channel();
    let (order, orders) = mpsc::unbounded_channel();
    let (finished, done) = mpsc::unbounded_channel();
    let (record, records) = mpsc::unbounded_channel();
    let (asks, asked) = mpsc::unbounded_channel();
    let (attention, attended) = watch::channel(eyes::Attention {
        eager: true,
        glance: 0,
    });
    let (seeding, progress) = watch::channel(None);
    let (shown, seen) = watch::channel(mind::shown(&setup, keeper.status()));

    let own = setup.clone();
    on_a_thread("eyes", move || {
        hurry(NICE);
        eyes::watch(Rc::new(own), attended, sighting)
    })?;
    lend_hands(setup.clone(), orders, finished, seeding)?;
    remember(promises, records, report.clone())?;

    // After the threads that start processes: those inherit how much their parent hurries.
    hurry(NICE);
    let setup = Rc::new(setup);
    let peers = meet(&setup, tell)?;
    show(&setup, asks, seen)?;
    tokio::task::spawn_local(wanted::watch(Rc::clone(&setup), report));
    let lease = lease::LeaseFile::open(&setup.config.lease_file)?;
    let action = "listen for SIGTERM";
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|source| RunError::System { action, source })?;
    let outbox = Outbox {
        peers,
        records: record,
        orders: order,
        attention,
        shown,
        lease,
    };
    let inbox = Inbox {
        inputs,
        news,
        sightings,
        done,
        asks: asked,
        progress,
        terminate,
    };
    Ok(Mind::new(setup, keeper, outbox).live(inbox).await)
}

/// The thread that keeps promises.
fn remember(
    promises: promise::PromiseFile,
    records: mpsc::UnboundedReceiver<(u64, mainstay_keeper::Durable)>,
    report: mpsc::UnboundedSender<mainstay_keeper::Input>,
) -> Result<(), RunError> {
    std::thread::Builder::new()
        .name("memory".to_owned())
        .spawn(move || memory::keep(promises, records, &report))
        .map(drop)
        .map_err(|source| RunError::System {
            action: "start a thread",
            source,
        })
}

/// The thread that does what is ordered, and takes what is new in the file between two orders.
fn lend_hands(
    setup: Setup,
    orders: mpsc::UnboundedReceiver<hands::Order>,
    finished: mpsc::UnboundedSender<hands::Done>,
    seeding: watch::Sender<Option<mainstay_record::keeper::SeedingStatus>>,
) -> Result<(), RunError> {
    let (news, heard) = watch::channel(0);
    let (shown, certificates) = watch::channel(0);
    on_a_thread("hands", move || async move {
        let parameters = Arc::clone(&setup.parameters);
        tokio::task::spawn_local(parameters::watch(parameters, setup.path.clone(), news));
        tokio::task::spawn_local(certificate::watch(Certificate::of(&setup), shown));
        hands::work(
            Rc::new(setup),
            orders,
            finished,
            seeding,
            heard,
            certificates,
        )
        .await;
    })
}

/// Listens for keepers and starts to dial them, on a thread of its own.
fn meet(
    setup: &Setup,
    news: mpsc::UnboundedSender<peers::News>,
) -> Result<BTreeMap<ReplicaId, mpsc::Sender<Message>>, RunError> {
    let listener = peers::listen(setup.config.listen.peer)?;
    let mut queues = BTreeMap::new();
    let mut ears = Vec::new();
    for id in setup.core.peers() {
        if let Some(replica) = setup.replica(id) {
            let (sender, queue) = mpsc::channel(peers::QUEUE_LIMIT);
            let to = peers::Address {
                id,
                at: replica.peer_address,
                name: setup.keeper_name(replica),
            };
            ears.push((to, queue));
            queues.insert(id, sender);
        }
    }
    let own = setup.clone();
    on_a_thread("voice", move || async move {
        hurry(NICE_VOICE);
        let setup = Rc::new(own);
        for (to, queue) in ears {
            tokio::task::spawn_local(peers::send(Rc::clone(&setup), to, queue));
        }
        match listener.open() {
            Ok(listener) => peers::receive(setup, listener, news).await,
            Err(error) => tracing::error!(error = chain(&error), "hear other keepers"),
        }
    })?;
    Ok(queues)
}

/// Serves status and sight, and the control socket.
fn show(
    setup: &Rc<Setup>,
    asks: mpsc::UnboundedSender<face::Ask>,
    shown: watch::Receiver<face::Shown>,
) -> Result<(), RunError> {
    let address = setup.config.listen.http;
    let listener =
        peers::bind(address).map_err(|source| peers::PeerError::Listen { address, source })?;
    let action = "start a thread";
    let figures = figures::Figures::start(Setup::clone(setup))
        .map_err(|source| RunError::System { action, source })?;
    let face = Rc::new(Face {
        setup: Rc::clone(setup),
        figures,
        asks,
        shown,
    });
    let (public, identity) = (Rc::clone(&face), Arc::clone(&setup.identity));
    tokio::task::spawn_local(async move {
        // Whoever is of the platform may look.
        let show = move |call| Rc::clone(&public).show(call);
        mainstay_identity::web::serve(listener, identity, show).await;
    });
    let path = setup.config.control_socket.clone();
    tokio::task::spawn_local(async move {
        mainstay_rt::http::serve_unix(path, move |call| Rc::clone(&face).control(call)).await;
    });
    Ok(())
}
