//! The node's side of supervision: real shims, real probes, and the decisions of `mainstay_supervision`.
//!
//! One task owns all instances of a host. Everything that takes time (a probe, a wait for an exit) is a
//! task of its own that reports back, so the owner never waits for anything but the next report. Dropping
//! the [`Supervisor`] ends the supervising and nothing else: what runs goes on under its shims, and the
//! next supervisor with the same specs adopts it.

mod entry;
mod probe;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_identity::Identity;
use mainstay_record::process::{InstanceSpec, InstanceStatus, ProcessExit};
use mainstay_rt::clock;
use mainstay_supervision::{Input, Outcome, Phase, Probe, Round, Why};
use mainstay_units::Instant;
use tokio::sync::{mpsc, oneshot, watch};

use entry::Entry;

const COMMAND_QUEUE: usize = 64;
/// How often a shim that has just started is asked for the pid of its child.
const CHILD_PERIOD: Duration = Duration::from_millis(20);
const REPORT_QUEUE: usize = 256;
/// Moves that nobody has read yet; beyond that they are dropped, and the status still tells the truth.
pub const EVENT_QUEUE: usize = 1_024;

#[derive(Clone, Debug)]
pub struct Settings {
    /// The command that runs a shim; the path of its spec is appended.
    pub shim: Vec<String>,
    /// `DATA/hosts/HOST/instances`: what still runs there and is not desired is stopped.
    pub folder: PathBuf,
    /// Spreads restarts.
    pub seed: u64,
    /// Who asks, where the asked one must prove a name.
    pub identity: Option<Arc<Identity>>,
}

/// What the journal and sight are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub instance: String,
    pub from: Phase,
    pub to: Phase,
    pub why: Why,
    pub generation: u64,
    /// How the process ended, if it has and that is known.
    pub exit: Option<ProcessExit>,
    pub wall_ms: u64,
}

/// What concerns all instances of the host at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A fault says that this host is down: nothing is started.
    HostDown,
    HostBack,
    /// Hands off: nothing is started, nothing stopped for its probes.
    Pause,
    Resume,
}

#[derive(Debug, thiserror::Error)]
#[error("the supervisor has ended")]
pub struct Ended;

#[derive(Debug)]
enum Command {
    Desire(Vec<InstanceSpec>),
    Hold(Hold),
    HoldInstances(BTreeSet<String>),
    /// Answered by whether there is such an instance.
    Restart(String, oneshot::Sender<bool>),
    StopAll(oneshot::Sender<()>),
}

/// What a task of an instance reports. `run` says of which process.
#[derive(Debug)]
enum Report {
    Gone {
        instance: String,
        run: u64,
    },
    Answer {
        instance: String,
        run: u64,
        probe: Probe,
        round: Round,
        outcome: Outcome,
    },
}

/// A handle on the task that supervises.
#[derive(Clone, Debug)]
pub struct Supervisor {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Vec<InstanceStatus>>,
}

impl Supervisor {
    /// Starts the task on the current runtime; it ends when the last handle is dropped.
    pub fn start(settings: Settings) -> (Self, mpsc::Receiver<Moved>) {
        let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
        let (moved, events) = mpsc::channel(EVENT_QUEUE);
        let (status_sender, status) = watch::channel(Vec::new());
        let (reports, report_queue) = mpsc::channel(REPORT_QUEUE);
        let host = Host {
            settings,
            entries: BTreeMap::new(),
            reports,
            moved,
            status: status_sender,
            host_is_down: false,
            held_down: BTreeSet::new(),
            is_paused: false,
            looked_around: false,
            stopping: Vec::new(),
        };
        tokio::spawn(host.run(command_queue, report_queue));
        (Self { commands, status }, events)
    }

    /// What shall run. Instances that are not in the list are drained and stopped; those whose spec has
    /// changed are replaced; those that already run as described, also from an earlier life of this
    /// supervisor, are adopted.
    ///
    /// # Errors
    /// When the task has ended.
    pub async fn set_desired(&self, specs: Vec<InstanceSpec>) -> Result<(), Ended> {
        self.commands
            .send(Command::Desire(specs))
            .await
            .map_err(|_| Ended)
    }

    /// # Errors
    /// When the task has ended.
    pub async fn hold(&self, hold: Hold) -> Result<(), Ended> {
        self.commands
            .send(Command::Hold(hold))
            .await
            .map_err(|_| Ended)
    }

    /// The instances that a fault holds down: they are not started until they are in the set no more.
    ///
    /// # Errors
    /// When the task has ended.
    pub async fn hold_instances(&self, instances: BTreeSet<String>) -> Result<(), Ended> {
        self.commands
            .send(Command::HoldInstances(instances))
            .await
            .map_err(|_| Ended)
    }

    /// Stops an instance in order, as far as it can still be stopped so, and has it started again. `false`: no such
    /// instance is wanted here.
    ///
    /// # Errors
    /// When the task has ended.
    pub async fn restart(&self, instance: &str) -> Result<bool, Ended> {
        let (reply, known) = oneshot::channel();
        self.commands
            .send(Command::Restart(instance.to_owned(), reply))
            .await
            .map_err(|_| Ended)?;
        known.await.map_err(|_| Ended)
    }

    /// What is known of every instance now.
    pub fn status(&self) -> Vec<InstanceStatus> {
        self.status.borrow().clone()
    }

    /// Changes with every change.
    pub fn status_changes(&self) -> watch::Receiver<Vec<InstanceStatus>> {
        self.status.clone()
    }

    /// Stops everything, the highest `order` first; returns when nothing runs any more.
    ///
    /// # Errors
    /// When the task has ended.
    pub async fn stop_all(&self) -> Result<(), Ended> {
        let (reply, done) = oneshot::channel();
        self.commands
            .send(Command::StopAll(reply))
            .await
            .map_err(|_| Ended)?;
        done.await.map_err(|_| Ended)
    }
}

/// The task's own.
struct Host {
    settings: Settings,
    entries: BTreeMap<String, Entry>,
    reports: mpsc::Sender<Report>,
    moved: mpsc::Sender<Moved>,
    status: watch::Sender<Vec<InstanceStatus>>,
    host_is_down: bool,
    /// Instances that are down as if their host were.
    held_down: BTreeSet<String>,
    is_paused: bool,
    /// Whether what an earlier supervisor left has been looked for.
    looked_around: bool,
    /// Whoever waits for everything to be stopped.
    stopping: Vec<oneshot::Sender<()>>,
}

impl Host {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut reports: mpsc::Receiver<Report>,
    ) {
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(report) = reports.recv() => self.note(report),
                () = sleep_until(deadline) => self.wake(),
            }
            self.stop_in_order();
            self.forget_stopped();
            self.publish();
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let of_cores = self.entries.values().filter_map(Entry::next_deadline).min();
        let looks = self
            .entries
            .values()
            .any(Entry::lacks_child)
            .then(|| clock::now() + CHILD_PERIOD);
        [of_cores, looks].into_iter().flatten().min()
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Desire(specs) => self.desire(specs),
            Command::Hold(hold) => {
                match hold {
                    Hold::HostDown => self.host_is_down = true,
                    Hold::HostBack => self.host_is_down = false,
                    Hold::Pause => self.is_paused = true,
                    Hold::Resume => self.is_paused = false,
                }
                for name in self.names() {
                    // What is down by itself does not come back with its host.
                    if hold != Hold::HostBack || !self.held_down.contains(&name) {
                        self.tell(&name, input_of(hold));
                    }
                }
            }
            Command::HoldInstances(instances) => self.hold_instances(instances),
            Command::Restart(name, reply) => {
                let again = self.entries.get_mut(&name).map(Entry::again);
                // Whoever asked may have gone.
                reply.send(again.is_some()).ok();
                if let Some(input) = again {
                    self.tell(&name, input);
                }
            }
            Command::StopAll(reply) => self.stopping.push(reply),
        }
    }

    fn hold_instances(&mut self, instances: BTreeSet<String>) {
        let before = std::mem::replace(&mut self.held_down, instances);
        for name in self.names() {
            match (before.contains(&name), self.held_down.contains(&name)) {
                (false, true) => self.tell(&name, Input::HostDown),
                (true, false) if !self.host_is_down => self.tell(&name, Input::HostBack),
                (true, false | true) | (false, false) => {}
            }
        }
    }

    fn desire(&mut self, specs: Vec<InstanceSpec>) {
        // Whoever says what shall run no longer wants everything stopped.
        self.stopping.clear();
        let wanted: BTreeMap<String, InstanceSpec> = specs
            .into_iter()
            .map(|spec| (spec.shim.instance.clone(), spec))
            .collect();
        let mut by_order: Vec<&InstanceSpec> = wanted.values().collect();
        by_order.sort_by_key(|spec| spec.order);
        for spec in by_order {
            self.want(spec);
        }
        if !self.looked_around {
            self.looked_around = true;
            self.find_leftovers(&wanted);
        }
        for name in self.names() {
            if !wanted.contains_key(&name) {
                self.tell(&name, Input::Unwant);
            }
        }
    }

    fn want(&mut self, spec: &InstanceSpec) {
        let name = &spec.shim.instance;
        if !self.entries.contains_key(name) {
            let entry = Entry::new(spec.clone(), self.settings.seed, &self.reports);
            self.admit(entry);
        }
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        let input = entry.want(spec);
        self.tell(&name.clone(), input);
    }

    /// An entry learns first what holds for all, then whatever its past holds in store.
    fn admit(&mut self, entry: Entry) {
        let name = entry.name().to_owned();
        self.entries.insert(name.clone(), entry);
        if self.host_is_down || self.held_down.contains(&name) {
            self.tell(&name, Input::HostDown);
        }
        if self.is_paused {
            self.tell(&name, Input::Pause);
        }
        self.carry_out(&name);
    }

    fn find_leftovers(&mut self, wanted: &BTreeMap<String, InstanceSpec>) {
        for spec in entry::specs_in(&self.settings.folder) {
            if !wanted.contains_key(&spec.shim.instance) {
                entry::end_orphans(&spec);
                let entry = Entry::new(spec, self.settings.seed, &self.reports);
                if entry.has_process() {
                    self.admit(entry);
                }
            }
        }
    }

    fn note(&mut self, report: Report) {
        let (instance, input) = match report {
            Report::Gone { instance, run } => {
                let Some(entry) = self
                    .entries
                    .get_mut(&instance)
                    .filter(|entry| entry.is_run(run))
                else {
                    return;
                };
                match entry.gone(&self.reports) {
                    Some(input) => (instance, input),
                    None => return,
                }
            }
            Report::Answer {
                instance,
                run,
                probe,
                round,
                outcome,
            } => {
                if !self
                    .entries
                    .get(&instance)
                    .is_some_and(|entry| entry.is_run(run))
                {
                    return;
                }
                (
                    instance,
                    Input::Answer {
                        probe,
                        round,
                        outcome,
                    },
                )
            }
        };
        self.tell(&instance, input);
    }

    fn wake(&mut self) {
        let now = clock::now();
        for name in self.names() {
            if self
                .entries
                .get(&name)
                .and_then(Entry::next_deadline)
                .is_some_and(|deadline| deadline <= now)
            {
                self.tell(&name, Input::Wake);
            }
        }
    }

    fn tell(&mut self, name: &str, input: Input) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.instance.handle(clock::now(), input);
        }
        self.carry_out(name);
    }

    /// Does what an instance asks for, until it asks for nothing more.
    fn carry_out(&mut self, name: &str) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        while let Some(effect) = entry.instance.poll_effect() {
            if let Some(moved) = entry.perform(effect, &self.settings, &self.reports) {
                log_move(&moved);
                if self.moved.try_send(moved).is_err() {
                    tracing::debug!("a move was not told: nobody reads, or too slowly");
                }
            }
        }
    }

    /// The highest order that still runs is stopped; the lower ones follow when it is gone.
    fn stop_in_order(&mut self) {
        if self.stopping.is_empty() {
            return;
        }
        let running = self.entries.values().filter(|entry| !entry.is_stopped());
        let Some(order) = running.map(Entry::order).max() else {
            for reply in self.stopping.drain(..) {
                // Whoever asked may not care any more.
                reply.send(()).ok();
            }
            return;
        };
        let in_turn = |entry: &&Entry| entry.order() == order || !entry.has_process();
        let names: Vec<String> = self
            .entries
            .values()
            .filter(in_turn)
            .map(|entry| entry.name().to_owned())
            .collect();
        for name in names {
            self.tell(&name, Input::Unwant);
        }
    }

    fn forget_stopped(&mut self) {
        self.entries.retain(|_, entry| !entry.is_stopped());
    }

    fn publish(&mut self) {
        let status: Vec<InstanceStatus> = self.entries.values_mut().map(Entry::status).collect();
        self.status.send_if_modified(|current| {
            let is_new = *current != status;
            *current = status;
            is_new
        });
    }

    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }
}

const fn input_of(hold: Hold) -> Input {
    match hold {
        Hold::HostDown => Input::HostDown,
        Hold::HostBack => Input::HostBack,
        Hold::Pause => Input::Pause,
        Hold::Resume => Input::Resume,
    }
}

fn log_move(moved: &Moved) {
    let Moved {
        instance,
        from,
        to,
        why,
        generation,
        exit,
        ..
    } = moved;
    let (from, to) = (from.name(), to.name());
    match to {
        "crash_loop" => {
            tracing::error!(instance, from, to, %why, generation, ?exit, "instance moved")
        }
        _ => tracing::info!(instance, from, to, %why, generation, ?exit, "instance moved"),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline - clock::now()).await,
        None => std::future::pending().await,
    }
}
