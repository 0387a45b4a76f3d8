//! `mainstay node`: one loop that reads like a list of everything a host's node does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use http::Method;
use mainstay_derive::{identities, identity_files};
use mainstay_host::supervisor::{Hold, Moved, Settings, Supervisor};
use mainstay_host::{faults, launch};
use mainstay_identity::authority::Authority;
use mainstay_identity::files::{LeafError, Leaves};
use mainstay_identity::{Identity, web};
use mainstay_kernel::{Actor, Assigned, Desired, Effect, EffectId, Program, Signal, Work};
use mainstay_record::identity::NODE_ROLE;
use mainstay_rt::http::{request_unix, serve_unix};
use mainstay_rt::{clock, entropy};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use crate::alerts::AlertTeller;
use crate::context::Context;
use crate::control::{Desk, user_name};
use crate::deeds::{self, Deed, tell_confinement};
use crate::deputy::{Deputy, View};
use crate::drills::{self, Starter};
use crate::effects::{carry_out, chain, stands};
use crate::experiments;
use crate::gateways::Followers;
use crate::kernel_runner::LEADING;
use crate::loops::LoopWatcher;
use crate::measure;
use crate::replicas;
use crate::reports::Reporter;
use crate::sight::Sight;
use crate::stop::stop_host;
use crate::troubles::Task;
use crate::upgrade::{self, Turn};
use crate::workloads::{LastPlacements, Workloads, prepare};

/// Between two looks at what the reflexes did.
const LOOK_PERIOD: Duration = Duration::from_millis(200);
/// Between two looks for faults that are overdue, and for what the supervisor must hold back.
const SWEEP_PERIOD: Duration = Duration::from_secs(2);
/// Between two looks for traces that no fault explains: every process of the machine is read for one.
const RESIDUE_PERIOD: Duration = Duration::from_secs(30);
const RELOAD_LIMIT: Duration = Duration::from_secs(2);
/// How often a gateway that does not answer is told to reload, and how long between.
const RELOAD_ATTEMPTS: u32 = 40;
const RELOAD_PAUSE: Duration = Duration::from_millis(250);

/// Runs the node of a host until it is told to stop everything, or to leave.
pub fn run(host: &str, data: &Path) -> ExitCode {
    match work(host, data) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(host, error = format!("{error:#}"), "the node cannot go on");
            ExitCode::FAILURE
        }
    }
}

fn work(host: &str, data: &Path) -> anyhow::Result<()> {
    rustix::process::setsid().ok();
    let context = Context::open(data, host)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let node = Node::start(context).await?;
        node.run().await
    })
}

/// What is in force and not done yet on this host.
#[derive(Debug, Default)]
struct Owed {
    /// Placements are not kept on its disk.
    kept: bool,
    /// What shall run is not written and told.
    carried_out: bool,
}

struct Node {
    desk: Rc<Desk>,
    context: Context,
    moved: mpsc::Receiver<Moved>,
    assigned: mpsc::UnboundedReceiver<Assigned>,
    placements: LastPlacements,
    owed: Owed,
    /// Begun anew with every change of what shall run.
    taking_down: Option<tokio::task::JoinHandle<()>>,
    reporter: Reporter,
    alerts: AlertTeller,
    loops: LoopWatcher,
    followers: Followers,
    drills: Starter,
    leaves: Leaves,
    watches: Vec<tokio::task::AbortHandle>,
    host_is_down: bool,
    /// Instances that a fault holds down, and when the records of faults changed last.
    instances_down: BTreeSet<String>,
    faults_changed: Option<SystemTime>,
    is_paused: bool,
    _lock: std::fs::File,
}

impl Node {
    async fn start(mut context: Context) -> anyhow::Result<Self> {
        let layout = &context.layout;
        let lock = launched(&context)?;
        sweep(&context).await;
        tell_confinement();
        let mut leaves = Leaves::new(Authority::new(
            &layout.authority(),
            context.platform.name().as_str(),
        ));
        if let Err(error) = renew(&mut leaves, &context) {
            tracing::error!(error = chain(&error), "identities are not laid down");
        }
        let own = identity_files(&context.machine(), &context.host, NODE_ROLE);
        let identity = Identity::open(own)?;
        let (supervisor, moved) = supervise(&context, &identity);
        let (deputy, assigned) = Deputy::start(&context, &identity)?;
        let sight = Sight::new(Arc::clone(&identity));
        let watches = sight.watch(&context);
        let desk = Rc::new(Desk {
            context: context.clone(),
            sight,
            deputy,
            supervisor,
            started_wall_ms: clock::wall_ms(),
            stop: Notify::new(),
            leave: Notify::new(),
            troubles: RefCell::default(),
            leaves_since_wall_ms: Cell::new(None),
        });
        serve(&desk, identity).await?;
        let uid = rustix::process::getuid().as_raw();
        desk.deputy.submit(Signal::FileRead {
            digest: context.digest.clone(),
            desired: Box::new(Desired::of(&context.platform)),
            actor: Actor {
                uid,
                user: user_name(uid),
            },
        });
        let placements = LastPlacements::read(&context);
        replicas::follow(&mut context.platform, &placements.replicas);
        let reporter = Reporter::new(context.host.name.clone());
        let alerts = AlertTeller::new(context.host.name.clone());
        let loops = LoopWatcher::new(context.host.name.clone());
        Ok(Self {
            desk,
            context,
            moved,
            assigned,
            placements,
            owed: Owed::default(),
            taking_down: None,
            reporter,
            alerts,
            loops,
            followers: Followers::default(),
            drills: Starter::default(),
            leaves,
            watches,
            host_is_down: false,
            instances_down: BTreeSet::new(),
            faults_changed: None,
            is_paused: false,
            _lock: lock,
        })
    }

    async fn run(mut self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut view = self.desk.deputy.view.clone();
        let mut look = tokio::time::interval(LOOK_PERIOD);
        let mut sweeps = tokio::time::interval(SWEEP_PERIOD);
        let mut traces = tokio::time::interval(RESIDUE_PERIOD);
        traces.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.owed.carried_out = true;
        self.settle().await?;
        loop {
            tokio::select! {
                // Leaving is not stopping: what runs goes on, and the next node adopts it.
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                () = self.desk.leave.notified() => return Ok(()),
                () = self.desk.stop.notified() => return self.stop().await,
                changed = view.changed() => {
                    changed.context("the kernel's thread ended")?;
                    let seen = view.borrow_and_update().clone();
                    self.follow(&seen).await?;
                }
                Some(assigned) = self.assigned.recv() => self.begin(assigned),
                Some(moved) = self.moved.recv() => {
                    if let Some(signal) = self.reporter.moved(&moved) {
                        self.desk.deputy.submit(signal);
                    }
                }
                _ = look.tick() => {
                    for signal in self.reporter.look(&self.desk.sight, &self.placements.leaving()) {
                        self.desk.deputy.submit(signal);
                    }
                    self.tell_alerts();
                    self.tell_ended_loops();
                    self.hold_instances().await?;
                }
                _ = traces.tick() => tell_traces(&self.context).await,
                _ = sweeps.tick() => {
                    let archives = self.context.layout.archives(self.context.name());
                    for signal in self.reporter.look_into(&archives) {
                        self.desk.deputy.submit(signal);
                    }
                    sweep(&self.context).await;
                    self.renew();
                    self.settle().await?;
                    self.hold_if_down().await?;
                    self.tell_keepers();
                    let behind = self.followers.look(&self.context, &self.desk.sight);
                    self.tell_gateways(behind);
                    self.look_at_drills();
                }
            }
        }
    }

    /// Acts on what the journal says.
    async fn follow(&mut self, view: &View) -> anyhow::Result<()> {
        let Some(state) = &view.state else {
            return Ok(());
        };
        let placements = LastPlacements::of(state);
        let others = placements.replicas != self.placements.replicas;
        let mut file_changed = false;
        if let Some(digest) = &state.digest
            && (*digest != self.context.digest || others)
        {
            match self.context.with_file(digest) {
                Ok(mut context) => {
                    tracing::info!(
                        digest,
                        others,
                        "another version of the platform file is in force, or other replicas"
                    );
                    replicas::follow(&mut context.platform, &placements.replicas);
                    self.change_file(context);
                    file_changed = true;
                }
                Err(error) => {
                    tracing::error!(
                        digest,
                        error = format!("{error:#}"),
                        "the journalled file cannot be used"
                    );
                    // Looked at again with the next word of the journal.
                    if others {
                        return Ok(());
                    }
                }
            }
        }
        if state.paused.is_some() != self.is_paused {
            self.is_paused = state.paused.is_some();
            let hold = if self.is_paused {
                Hold::Pause
            } else {
                Hold::Resume
            };
            self.desk.supervisor.hold(hold).await?;
            self.tell_keepers();
        }
        // Before a file is in force nothing was placed, which must not stop what an earlier journal placed.
        if state.desired.is_some() && (file_changed || placements != self.placements) {
            self.placements = placements;
            if let Some(task) = self.taking_down.take() {
                task.abort();
            }
            self.owed = Owed {
                kept: true,
                carried_out: true,
            };
            self.settle().await?;
        }
        if state.desired.is_some() && self.taking_down.is_none() {
            let task = replicas::take_down(self.context.clone());
            self.taking_down = Some(tokio::task::spawn_local(task));
        }
        Ok(())
    }

    fn change_file(&mut self, context: Context) {
        for watch in self.watches.drain(..) {
            watch.abort();
        }
        self.watches = self.desk.sight.watch(&context);
        self.context = context;
    }

    /// Does what is owed. A disk that takes nothing stops neither supervision nor anything that runs: it is tried again with the next
    /// sweep.
    async fn settle(&mut self) -> anyhow::Result<()> {
        if self.owed.kept {
            let kept = self.placements.keep(&self.context);
            self.owed.kept = kept.is_err();
            self.note(Task::Placements, kept.map_err(|error| chain(&error)));
        }
        if !self.owed.carried_out {
            return Ok(());
        }
        // Before anybody starts who needs one.
        self.renew();
        let prepared = prepare(&self.context, &self.placements);
        let (outcome, workloads) = match prepared {
            Ok(workloads) => (Ok(()), Some(workloads)),
            Err(error) => (Err(chain(&error)), None),
        };
        self.note(Task::Configurations, outcome);
        if let Some(workloads) = workloads {
            self.wish(workloads).await?;
            self.owed.carried_out = false;
        }
        Ok(())
    }

    fn note(&self, task: Task, outcome: Result<(), String>) {
        self.desk.troubles.borrow_mut().note(task, outcome);
    }

    /// Lays down the identities of this host that are missing or due. Where that is not possible, what was laid down before
    /// goes on.
    fn renew(&mut self) {
        let outcome = renew(&mut self.leaves, &self.context);
        self.note(Task::Identities, outcome.map_err(|error| chain(&error)));
        let since = self.leaves.since_wall_ms();
        self.desk.leaves_since_wall_ms.set(since);
    }

    /// Tells supervision what shall run, and gateways what is new.
    async fn wish(&mut self, workloads: Workloads) -> anyhow::Result<()> {
        self.loops.follow(&workloads.instances);
        self.desk
            .supervisor
            .set_desired(workloads.instances)
            .await?;
        self.tell_gateways(workloads.changed_gateways);
        Ok(())
    }

    fn tell_gateways(&self, gateways: impl IntoIterator<Item = String>) {
        for gateway in gateways {
            let socket = self
                .context
                .layout
                .gateway_socket(self.context.name(), &gateway);
            tokio::task::spawn_local(tell_to_reload(socket, gateway));
        }
    }

    fn tell_alerts(&mut self) {
        let view = self.desk.deputy.view.borrow().clone();
        let board = self.desk.sight.watch.borrow();
        let fresh = board.values().find_map(|fact| fact.fresh(clock::now()));
        let (Some(state), Some(board)) = (&view.state, fresh) else {
            return;
        };
        let now = clock::now();
        let rules = self.alerts.compare_rules(board, state, now);
        let alerts = self.alerts.compare(board, state, now);
        for signal in alerts.into_iter().chain(rules) {
            self.desk.deputy.submit(signal);
        }
    }

    fn tell_ended_loops(&mut self) {
        let view = self.desk.deputy.view.borrow().clone();
        let Some(state) = &view.state else {
            return;
        };
        let instances = self.desk.supervisor.status();
        for (instance, why) in self.loops.compare(state, &instances, clock::now()) {
            let ended = self.reporter.loop_ended(instance, why);
            self.desk.deputy.submit(ended);
        }
    }

    fn begin(&self, assigned: Assigned) {
        let (context, deputy) = (self.context.clone(), self.desk.deputy.clone());
        if !stands(&context, &assigned) {
            return;
        }
        if let Effect::TakeProgram { program } = &assigned.effect {
            let (desk, program) = (Rc::clone(&self.desk), program.clone());
            tokio::task::spawn_local(take_program(desk, context, assigned.id, program));
            return;
        }
        if let Effect::Playbook(work) = &assigned.effect {
            let (desk, work) = (Rc::clone(&self.desk), work.clone());
            tokio::task::spawn_local(do_work(desk, context, assigned, work));
            return;
        }
        if let Effect::Experiment(work) = &assigned.effect {
            let (desk, work, effect) = (Rc::clone(&self.desk), work.clone(), assigned.id);
            tokio::task::spawn_local(async move {
                if let Some(signal) = experiments::carry_out(&desk, &context, effect, work).await {
                    deputy.submit(signal);
                }
            });
            return;
        }
        tokio::task::spawn_local(async move {
            let effect = assigned.id;
            if let Some(outcome) = carry_out(context, assigned).await {
                deputy.submit(Signal::Answered { effect, outcome });
            }
        });
    }

    /// Hands off means keepers too. They keep it on disk, but one may have been away when it was said: so
    /// whoever says otherwise is told again.
    fn tell_keepers(&self) {
        let view = self.desk.deputy.view.borrow().clone();
        // What an unread journal would say is not known.
        let Some(is_paused) = view.state.map(|state| state.paused.is_some()) else {
            return;
        };
        for (database, fact) in &*self.desk.sight.keepers.borrow() {
            if fact
                .latest()
                .is_none_or(|status| status.paused == is_paused)
            {
                continue;
            }
            let target = if is_paused { "/v1/pause" } else { "/v1/resume" };
            let socket = self
                .context
                .layout
                .keeper_socket(self.context.name(), database);
            let database = database.clone();
            tokio::task::spawn_local(async move {
                let told = request_unix(&socket, Method::POST, target, Vec::new(), RELOAD_LIMIT);
                match told.await {
                    Ok((status, _)) if status.is_success() => {
                        tracing::info!(database, target, "told the keeper");
                    }
                    Ok((status, _)) => {
                        tracing::warn!(database, target, %status, "the keeper refused")
                    }
                    Err(error) => {
                        tracing::debug!(database, target, %error, "the keeper was not told")
                    }
                }
            });
        }
    }

    fn look_at_drills(&mut self) {
        let view = self.desk.deputy.view.borrow().clone();
        if let Some(state) = view.state.filter(|_| view.facts.role == LEADING) {
            if let Some(signal) = drills::abandoned(&self.context, &state) {
                self.desk.deputy.submit(signal);
            }
            self.drills.look(&self.context, &state);
        }
    }

    /// A host that a fault has taken starts nothing, also where its node was started too early.
    async fn hold_if_down(&mut self) -> anyhow::Result<()> {
        let is_down = faults::host_down(self.context.layout.data(), self.context.name()).is_some();
        if is_down != self.host_is_down {
            self.host_is_down = is_down;
            let hold = if is_down {
                Hold::HostDown
            } else {
                Hold::HostBack
            };
            self.desk.supervisor.hold(hold).await?;
        }
        Ok(())
    }

    /// What a fault holds down alone is not started while the fault lasts.
    async fn hold_instances(&mut self) -> anyhow::Result<()> {
        let changed = self.context.layout.faults().metadata();
        let changed = changed.and_then(|folder| folder.modified()).ok();
        if changed == self.faults_changed && self.instances_down.is_empty() {
            return Ok(());
        }
        self.faults_changed = changed;
        let down = faults::instances_down(self.context.layout.data(), self.context.name());
        if down != self.instances_down {
            self.instances_down.clone_from(&down);
            self.desk.supervisor.hold_instances(down).await?;
        }
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<()> {
        tracing::info!("stopping everything on this host");
        self.drills.end();
        for watch in &self.watches {
            watch.abort();
        }
        stop_host(&self.context, &self.desk.supervisor).await
    }
}

/// Records that this is the node that runs. The lock is held for life: two starters may race, and the record must name the one that
/// won.
fn launched(context: &Context) -> anyhow::Result<std::fs::File> {
    let layout = &context.layout;
    std::fs::create_dir_all(layout.run_host(context.name()))?;
    let (record, region) = (layout.launch(context.name()), context.host.region.as_str());
    let log = layout.node(context.name()).join("log");
    let lock = launch::lock_node(&record)?.context("another node of this host runs already")?;
    launch::record_launch(&record, context.name(), region, &log)
        .context("record how this node was started")?;
    Ok(lock)
}

fn supervise(context: &Context, identity: &Arc<Identity>) -> (Supervisor, mpsc::Receiver<Moved>) {
    let program = context.program.display().to_string();
    Supervisor::start(Settings {
        shim: vec![program, "shim".to_owned()],
        folder: context.layout.instances(context.name()),
        seed: entropy::u64(),
        identity: Some(Arc::clone(identity)),
    })
}

async fn serve(desk: &Rc<Desk>, identity: Arc<Identity>) -> anyhow::Result<()> {
    let context = &desk.context;
    let socket = context.layout.node_socket(context.name());
    let for_people = Rc::clone(desk);
    tokio::task::spawn_local(async move {
        let answer = move |call| Rc::clone(&for_people).answer_operator(call);
        serve_unix(socket, answer).await;
    });
    let address = context.machine().node_listen(&context.host);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))?;
    let for_nodes = Rc::clone(desk);
    tokio::task::spawn_local(web::serve(listener, identity, move |call| {
        Rc::clone(&for_nodes).answer_node(call)
    }));
    Ok(())
}

fn renew(leaves: &mut Leaves, context: &Context) -> Result<(), LeafError> {
    let wanted = identities(&context.machine(), &context.host);
    let renewed = leaves.renew(&wanted, clock::wall_ms())?;
    if renewed > 0 {
        tracing::info!(renewed, "laid down identities");
    }
    Ok(())
}

/// Tells a gateway to serve the snapshot that has just been written. One that is starting may have read the
/// old snapshot and not opened its socket yet, so it is told until it answers.
async fn tell_to_reload(socket: PathBuf, gateway: String) {
    for _ in 0..RELOAD_ATTEMPTS {
        let told = request_unix(
            &socket,
            Method::POST,
            "/v1/reload",
            Vec::new(),
            RELOAD_LIMIT,
        );
        match told.await {
            Ok(_) => return,
            Err(error) => tracing::debug!(gateway, %error, "not told to reload yet"),
        }
        tokio::time::sleep(RELOAD_PAUSE).await;
    }
    tracing::info!(
        gateway,
        "was not told to reload: it does not answer, and is told as soon as it does"
    );
}

async fn take_program(desk: Rc<Desk>, context: Context, effect: EffectId, program: Program) {
    match upgrade::take(&desk, &context, &program, effect.0.0).await {
        Turn::Answer(outcome) => desk.deputy.submit(Signal::Answered { effect, outcome }),
        Turn::Leave => desk.leave.notify_one(),
    }
}

async fn do_work(desk: Rc<Desk>, context: Context, assigned: Assigned, work: Work) {
    let effect = assigned.id;
    let outcome = match work {
        Work::Act {
            act,
            limit_ms,
            stamp,
        } => {
            let deed = Deed {
                number: effect.0.0,
                limit: Duration::from_millis(limit_ms),
                stamp,
            };
            deeds::carry_out(&desk, &context, &deed, act).await
        }
        Work::Look(look) => measure::look(&desk, &context, &look).await,
    };
    desk.deputy.submit(Signal::Answered { effect, outcome });
}

/// Says what no fault explains.
async fn tell_traces(context: &Context) {
    let data = context.layout.data().to_path_buf();
    match tokio::task::spawn_blocking(move || faults::residue(&data)).await {
        Ok(Ok(traces)) => {
            for residue in &traces {
                tracing::warn!(%residue, "a trace that no fault in force explains");
            }
        }
        Ok(Err(error)) => tracing::warn!(%error, "traces of faults cannot be looked for"),
        Err(error) => tracing::error!(%error, "the look for traces of faults ended"),
    }
}

/// Undoes faults that are overdue.
async fn sweep(context: &Context) {
    let data = context.layout.data().to_path_buf();
    let swept = tokio::task::spawn_blocking(move || faults::sweep(&data, clock::now())).await;
    match swept {
        Ok(report) => {
            for (fault, problem) in &report.failed {
                tracing::warn!(fault, problem, "an overdue fault is not undone yet");
            }
            tracing::debug!(undone = ?report.undone, "swept");
        }
        Err(error) => tracing::error!(%error, "the sweep for overdue faults ended"),
    }
}
