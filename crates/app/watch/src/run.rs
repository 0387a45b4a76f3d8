//! The loop: what is heard, what is due, who asks.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_identity::{Identity, IdentityError};
use mainstay_record::watch::{VERSION, WatchConfig, WatchTarget};
use mainstay_rt::{clock, files};
use mainstay_rules::group::{Saved, Surroundings};
use mainstay_samples::{Head, Limits, Longer, SamplesError};
use mainstay_scraper::{Account, Endpoint};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::board::Keeper;
use crate::desk::{Beyond, Desk, Store};
use crate::doors;
use crate::duty::{self, Digests, Duty, Followed, Stamp};
use crate::hand::{Done, Hand};
use crate::inbox::Post;
use crate::source::{self, Heard};
use crate::world::{Clock, Seen, World, asked, chain, endpoint};

/// The configuration cannot be used.
const EXIT_CONFIG: u8 = 2;
/// Folder or address cannot be used.
const EXIT_START: u8 = 3;
/// What is seen cannot be kept any more. Whoever supervises starts the watch again.
const EXIT_BROKEN: u8 = 4;

const CONFIG_BYTES_MAX: u64 = 16 << 20;
/// How much of what was seen the loss of the machine may cost.
const SYNC_EVERY: Duration = Duration::from_secs(10);
const MAINTAIN_EVERY: Duration = Duration::from_secs(60);
/// Between two looks whether rule files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two looks whether whoever told of an alert is still to be believed.
const POST_EVERY: Duration = Duration::from_millis(500);
/// While somebody is still to be asked for the first time.
const WAKING: Duration = Duration::from_millis(20);
/// Accounts that wait for the loop.
const ACCOUNTS_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("read the configuration {}", .0.display())]
    Config(PathBuf, #[source] io::Error),
    #[error("configuration {} has version {found}, and this program reads {VERSION}", path.display())]
    Version { path: PathBuf, found: u32 },
    #[error("nobody could ask this watch: the configuration names neither `listen` nor `socket`")]
    Nowhere,
    #[error("target {0} cannot be asked: {1}")]
    Target(String, String),
    #[error("take up the identity")]
    Identity(#[from] IdentityError),
    #[error("start the watch")]
    Start(#[source] io::Error),
    #[error("open the samples")]
    Open(#[source] SamplesError),
    #[error("listen on {0}")]
    Listen(std::net::SocketAddr, #[source] io::Error),
    #[error("keep samples")]
    Samples(#[from] SamplesError),
    #[error("keep the state of alerts")]
    Board(#[source] io::Error),
    #[error("the source of metrics cannot be asked: {0}")]
    Source(String),
    #[error("the thread that evaluates rules has ended")]
    Rules,
}

impl WatchError {
    fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Config(..) | Self::Version { .. } | Self::Nowhere | Self::Target(..) => {
                EXIT_CONFIG
            }
            Self::Start(_)
            | Self::Open(_)
            | Self::Listen(..)
            | Self::Identity(_)
            | Self::Source(_) => EXIT_START,
            Self::Samples(_) | Self::Board(_) | Self::Rules => EXIT_BROKEN,
        })
    }
}

/// Watches until SIGTERM or SIGINT.
pub fn run(config_path: &Path) -> ExitCode {
    run_until(config_path, std::future::pending())
}

/// Watches until it is told to stop, by a signal or by this future.
pub fn run_until(config_path: &Path, told: impl Future<Output = ()>) -> ExitCode {
    match watch(config_path, told) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(&error), "the watch ends");
            error.code()
        }
    }
}

fn watch(config_path: &Path, told: impl Future<Output = ()>) -> Result<(), WatchError> {
    let config = read_config(config_path)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(WatchError::Start)?;
    LocalSet::new().block_on(&runtime, serve(config, told))
}

fn read_config(path: &Path) -> Result<WatchConfig, WatchError> {
    let failed = |error| WatchError::Config(path.to_owned(), error);
    let bytes = files::read_limited(path, CONFIG_BYTES_MAX).map_err(failed)?;
    let config: WatchConfig =
        serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
    if config.version != VERSION {
        let (path, found) = (path.to_owned(), config.version);
        return Err(WatchError::Version { path, found });
    }
    Ok(config)
}

pub fn now() -> i64 {
    i64::try_from(clock::wall_ms()).unwrap_or(i64::MAX)
}

fn millis(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn open(config: &WatchConfig) -> Result<(World, Keeper), WatchError> {
    std::fs::create_dir_all(&config.folder).map_err(WatchError::Start)?;
    let limits = Limits {
        retention: millis(config.retention_ms),
        longer: config.longer.as_ref().map(|longer| Longer {
            prefix: longer.prefix.clone(),
            retention: millis(longer.retention_ms),
        }),
        ..Limits::default()
    };
    let (head, opened) =
        Head::open(&config.folder.join("samples"), limits).map_err(WatchError::Open)?;
    for path in &opened.damaged {
        tracing::error!(path = %path.display(), "a block of samples is damaged and left out");
    }
    tracing::info!(
        series = opened.series,
        samples = opened.samples,
        torn_bytes = opened.torn_bytes,
        "samples of the last watch"
    );
    let (keeper, saved) = Keeper::open(&config.folder).map_err(WatchError::Start)?;
    let opened_at = now();
    let followed = follow_rules(config, &saved, (&[], &Digests::new()));
    let server = config.metrics.as_ref().map(source::server).transpose();
    let server = server.map_err(WatchError::Source)?;
    let post = config.alerts.as_ref();
    let post = post.map(|alerts| Post::open(alerts, &config.folder, now()));
    let post = post.transpose();
    let heard = [source::ATTEMPTED, source::UP].map(|metric| head.newest(metric));
    let heard_until = heard.into_iter().flatten().max().unwrap_or(i64::MIN);
    let seen = config.targets.iter().map(|target| Seen {
        target: target.clone(),
        last: None,
        problem: None,
        silent_since: None,
    });
    let world = World {
        host: config.host.clone(),
        own_begun_ms: keeper.begun_ms(),
        store: Store::new(head),
        own: source::own(&followed.duties),
        source: server.as_ref().map(|server| source::Seen {
            url: server.url().to_owned(),
            last: None,
            problem: None,
            silent_since: None,
        }),
        server: server.map(Rc::new),
        post: post.map_err(WatchError::Start)?,
        duties: followed.duties,
        refused: followed.refused,
        digests: (followed.digests, opened_at),
        seen: seen.collect(),
        meanings: std::collections::BTreeMap::new(),
        surroundings: Surroundings {
            external_url: external_url(config),
            asked: asked(config),
            ..Surroundings::default()
        },
        beyond_limit: 0,
        old: 0,
        clock: Clock::new(heard_until),
    };
    world.end_unasked(opened_at)?;
    world.end(&followed.gone, opened_at)?;
    Ok((world, keeper))
}

/// What alerts give as the place where they can be looked at.
fn external_url(config: &WatchConfig) -> String {
    match (config.listen, &config.identity) {
        (Some(listen), Some(_)) => format!("https://{listen}"),
        (Some(listen), None) => format!("http://{listen}"),
        (None, _) => format!("mainstay://{}/watch", config.host),
    }
}

/// The rules as their files stand now, with what is remembered of them.
fn follow_rules(config: &WatchConfig, saved: &[Saved], known: (&[Duty], &Digests)) -> Followed {
    let interval = millis(config.interval_ms).max(1);
    let given = match &config.metrics {
        Some(_) => source::groups(),
        None => Vec::new(),
    };
    let followed = duty::load(&config.rules, given, saved, known, (interval, now()));
    for refused in &followed.refused {
        let (file, why) = (&refused.file, &refused.why);
        tracing::error!(
            file,
            why,
            "a rule file is not followed as it stands: mend it (`mainstay rules check FILE`)"
        );
    }
    followed
}

fn endpoints(
    config: &WatchConfig,
    identity: Option<&Arc<Identity>>,
) -> Result<Vec<Endpoint>, WatchError> {
    let targets = config.targets.iter();
    let endpoint = |target: &WatchTarget| {
        let failed = |why| WatchError::Target(target.address.clone(), why);
        endpoint(config, target, identity).map_err(failed)
    };
    targets.map(endpoint).collect()
}

async fn serve(config: WatchConfig, told: impl Future<Output = ()>) -> Result<(), WatchError> {
    let mut told = std::pin::pin!(told);
    let identity = config.identity.clone().map(Identity::open).transpose()?;
    let endpoints = endpoints(&config, identity.as_ref())?;
    // Before they are read: what changes meanwhile is read again.
    let mut stamps = duty::stamps(&config.rules);
    let (world, mut keeper) = open(&config)?;
    let world = Rc::new(RefCell::new(world));
    let mut tasks = doors::open(&config, identity, &world).await?;
    let (sender, mut accounts) = mpsc::channel::<Account>(ACCOUNTS_MAX);
    // The receiver ends only with this function: without targets nothing comes, and that is no ending.
    let _open = sender.clone();
    tasks.spawn_local(mainstay_scraper::run(endpoints, sender));
    let (mut terminated, mut interrupted) = (
        follow(SignalKind::terminate())?,
        follow(SignalKind::interrupt())?,
    );
    let mut sync = every(SYNC_EVERY);
    let mut maintain = every(MAINTAIN_EVERY);
    let mut look = every(LOOK_EVERY);
    let mut post = every(POST_EVERY);
    let (sender, mut heard) = mpsc::channel::<Heard>(1);
    let beyond = source_of(&config, sender, &mut tasks)?;
    let desk = Desk::new(world.borrow().store.clone(), beyond);
    let mut hand = Hand::start(desk).map_err(WatchError::Start)?;
    tracing::info!(targets = config.targets.len(), "the watch has come up");
    loop {
        let until_due = until_due(&mut world.borrow_mut());
        tokio::select! {
            Some(account) = accounts.recv() => world.borrow_mut().hear(account, now())?,
            Some(heard) = heard.recv() => world.borrow_mut().heed(heard)?,
            done = hand.done(), if hand.is_busy() => {
                finish(&world, done.ok_or(WatchError::Rules)?, &mut keeper)?;
            }
            () = tokio::time::sleep(until_due), if !hand.is_busy() => begin(&world, &mut hand),
            _ = sync.tick() => world.borrow().store.read().sync()?,
            _ = post.tick() => step_post(&world)?,
            _ = maintain.tick() => world.borrow().store.write().maintain(now())?,
            // A group that is under way comes back to the place that it was given out from.
            _ = look.tick(), if !hand.is_busy() => look_at_rules(&config, &world, &mut stamps)?,
            () = &mut told => break,
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
        }
    }
    let world = world.borrow();
    world.store.read().sync()?;
    keeper.keep(world.saved()).map_err(WatchError::Board)?;
    tracing::info!("the watch goes down");
    Ok(())
}

/// Begins to ask the server that scrapes for us, if there is one. Rules ask it over connections of their own, since a
/// connection belongs to the thread that opened it.
fn source_of(
    config: &WatchConfig,
    heard: mpsc::Sender<Heard>,
    tasks: &mut JoinSet<()>,
) -> Result<Option<Beyond>, WatchError> {
    let Some(server) = &config.metrics else {
        return Ok(None);
    };
    let interval = Duration::from_millis(config.interval_ms);
    let open = || source::server(server).map_err(WatchError::Source);
    tasks.spawn_local(source::beat(open()?, interval, heard));
    let beyond = Beyond::new(open()?, source::patience(interval));
    beyond.map(Some).map_err(WatchError::Start)
}

/// What becomes of received alerts by time alone.
fn step_post(world: &RefCell<World>) -> Result<(), WatchError> {
    let mut world = world.borrow_mut();
    let stepped = world.post.as_mut().map(|post| post.step(now()));
    stepped.transpose().map_err(WatchError::Board)?;
    Ok(())
}

/// Gives out what is due.
fn begin(world: &RefCell<World>, hand: &mut Hand) {
    let mut world = world.borrow_mut();
    if world.is_awake()
        && let Some(job) = world.job(now())
    {
        hand.give(job);
    }
}

/// Takes up what was done, and writes the board.
fn finish(world: &RefCell<World>, done: Done, keeper: &mut Keeper) -> Result<(), WatchError> {
    let mut world = world.borrow_mut();
    world.finish(done)?;
    keeper.keep(world.saved()).map_err(WatchError::Board)
}

fn look_at_rules(
    config: &WatchConfig,
    world: &RefCell<World>,
    stamps: &mut Vec<Stamp>,
) -> Result<(), WatchError> {
    let found = duty::stamps(&config.rules);
    if found != *stamps {
        *stamps = found;
        let mut world = world.borrow_mut();
        let known = (world.duties.as_slice(), &world.digests.0);
        let followed = follow_rules(config, &world.saved(), known);
        world.end(&followed.gone, now())?;
        world.own = source::own(&followed.duties);
        (world.duties, world.refused) = (followed.duties, followed.refused);
        if world.digests.0 != followed.digests {
            world.digests = (followed.digests, now());
        }
        tracing::info!("rule files have changed and were read again");
    }
    Ok(())
}

fn until_due(world: &mut World) -> Duration {
    world.heed_clock(now());
    let due = world.next_due().map(|due| due.saturating_sub(now()));
    let due = due.map_or(MAINTAIN_EVERY, |due| {
        Duration::from_millis(u64::try_from(due).unwrap_or(0))
    });
    if world.is_awake() {
        due
    } else {
        due.max(WAKING)
    }
}

fn follow(kind: SignalKind) -> Result<Signal, WatchError> {
    signal(kind).map_err(WatchError::Start)
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}
