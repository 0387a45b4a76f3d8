//! The gateway's own eyes: keepers' sight streams and instances' readiness.
//!
//! One thread looks, all workers see. A watcher per keeper holds its stream open and reconnects as soon
//! as it breaks or falls silent; a prober per instance asks whether it is ready, more often while its
//! cell has nobody active. What they see is judged by the core, and the judgement is published.
//!
//! A gateway that was stopped itself (frozen, or starved) must not believe what lies in its socket
//! buffers: it was true once. So when a tick is late beyond `OVERSLEPT`, every fact is forgotten and every
//! stream opened anew; until then the picture is not vouched for, and workers hold.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_gateway::retry::Outcome;
use mainstay_gateway::routing::{CellId, DatabaseId, ServiceId};
use mainstay_gateway::sight::{
    AbsentWhy, CellView, InstanceFact, InstanceState, KeeperFact, KeeperRole, Sight, SightLimits,
    View,
};
use mainstay_record::gateway::ReadinessAnswer;
use mainstay_record::identity::{identity_name, keeper_role};
use mainstay_record::keeper::{Sight as SightLine, SightRole};
use mainstay_units::{Epoch, Instant, Term};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, spawn_local};

use crate::config::{Config, ReplicaEntry};
use crate::watch::{self, InstancePlace, KeeperPlace, Line};
use crate::world::{Demand, Shared, Suspicion};

/// How often ageing facts are judged again.
const TICK: Duration = Duration::from_millis(50);
/// A tick later than this means that we were not running.
const OVERSLEPT: Duration = Duration::from_millis(1_000);

/// What a watcher or a prober reports.
#[derive(Debug)]
pub enum Seen {
    Keeper {
        database: u16,
        replica: u16,
        at: Instant,
        line: Box<SightLine>,
    },
    KeeperLost {
        database: u16,
        replica: u16,
    },
    Instance {
        service: u16,
        instance: u16,
        asked: Instant,
        at: Instant,
        answer: ProbeAnswer,
    },
}

#[derive(Debug)]
pub enum ProbeAnswer {
    Ready(ReadinessAnswer),
    NotReady,
    Unreachable,
}

/// How often the probers of one service ask; shared between the judge and them.
#[derive(Debug, Default)]
pub struct Urgency {
    pub urgent: Cell<bool>,
    pub ask_now: Notify,
}

/// When each instance last answered and what, for status; read on the same thread.
pub type Facts = Rc<RefCell<BTreeMap<(u16, u16), InstanceFact>>>;

#[derive(Debug)]
pub struct Eyes {
    facts: Facts,
    shared: Arc<Shared>,
    config: Arc<Config>,
    sight: Sight,
    view: View,
    urgency: Vec<Rc<Urgency>>,
    tasks: Vec<AbortHandle>,
    reports: mpsc::UnboundedSender<(u64, Seen)>,
    /// Reports of watchers of an earlier round are not believed.
    round: u64,
    /// What last became of a request whose instance is suspected for it.
    accused: Option<Outcome>,
}

fn sight_of(now: Instant, config: &Config) -> Sight {
    let limits = SightLimits {
        evidence_age: config.bounds.evidence_age,
        isolated_after: config.bounds.isolated_after,
        stranded_after: config.bounds.stranded_after,
    };
    Sight::new(now, &config.routing, limits)
}

/// What may be said before anything has been seen.
pub fn first_view(now: Instant, config: &Config) -> View {
    sight_of(now, config).evaluate(now)
}

/// Looks until the process ends. New routings come through `configs`.
pub async fn run(
    shared: Arc<Shared>,
    config: Arc<Config>,
    facts: Facts,
    mut suspicions: mpsc::UnboundedReceiver<Suspicion>,
    mut configs: mpsc::UnboundedReceiver<Arc<Config>>,
) {
    let (reports, mut seen) = mpsc::unbounded_channel();
    let now = mainstay_rt::clock::now();
    let mut eyes = Eyes::new(now, shared, config, facts, reports);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = now;
    loop {
        tokio::select! {
            Some((round, report)) = seen.recv() => {
                eyes.handle_seen(round, report);
                while let Ok((round, report)) = seen.try_recv() {
                    eyes.handle_seen(round, report);
                }
            }
            Some(suspicion) = suspicions.recv() => eyes.handle_suspicion(suspicion),
            Some(config) = configs.recv() => eyes.handle_config(config),
            _ = tick.tick() => {}
        }
        let now = mainstay_rt::clock::now();
        if now.since(last) > OVERSLEPT {
            tracing::warn!(
                late_ms = now.since(last).as_millis() as u64,
                "the eyes were closed: looking anew"
            );
            eyes.look_anew(now);
        }
        last = now;
        eyes.judge(now);
    }
}

impl Eyes {
    fn new(
        now: Instant,
        shared: Arc<Shared>,
        config: Arc<Config>,
        facts: Facts,
        reports: mpsc::UnboundedSender<(u64, Seen)>,
    ) -> Self {
        let mut eyes = Self {
            facts,
            sight: sight_of(now, &config),
            shared,
            config,
            view: View::default(),
            urgency: vec![],
            tasks: vec![],
            reports,
            round: 0,
            accused: None,
        };
        eyes.watch();
        eyes
    }

    /// Starts a watcher per keeper and a prober per instance, in place of those there were.
    fn watch(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
        self.round += 1;
        let (round, bounds) = (self.round, self.config.bounds);
        self.urgency = self
            .config
            .instances
            .iter()
            .map(|_| Rc::default())
            .collect();
        let caller = Arc::clone(&self.shared.caller);
        for (database, replicas) in self.config.replicas.iter().enumerate() {
            for (replica, entry) in replicas.iter().enumerate() {
                let (reports, at) = (self.reports.clone(), (database as u16, replica as u16));
                let report = move |line: Line| {
                    let (database, replica) = at;
                    let seen = match line {
                        Line::Said(at, line) => Seen::Keeper {
                            database,
                            replica,
                            at,
                            line,
                        },
                        Line::Lost => Seen::KeeperLost { database, replica },
                    };
                    reports.send((round, seen)).is_ok()
                };
                let name = self.config.routing.databases[database].name.clone();
                let role = keeper_role(&name);
                let place = KeeperPlace {
                    address: entry.sight,
                    name: identity_name(&role, &entry.host, &self.config.snapshot.platform),
                    database: name,
                };
                let caller = Arc::clone(&caller);
                let task = spawn_local(watch::keeper(place, caller, bounds, report));
                self.tasks.push(task.abort_handle());
            }
        }
        for (service, instances) in self.config.instances.iter().enumerate() {
            for (instance, entry) in instances.iter().enumerate() {
                let (reports, at) = (self.reports.clone(), (service as u16, instance as u16));
                let report = move |asked: Instant, answer: ProbeAnswer| {
                    let (service, instance) = at;
                    let at = mainstay_rt::clock::now();
                    reports
                        .send((
                            round,
                            Seen::Instance {
                                service,
                                instance,
                                asked,
                                at,
                                answer,
                            },
                        ))
                        .is_ok()
                };
                let urgency = Rc::clone(&self.urgency[service]);
                let place = InstancePlace {
                    address: entry.address,
                    name: entry.identity.clone(),
                    path: entry.readiness_path.clone(),
                };
                let caller = Arc::clone(&caller);
                let task = spawn_local(watch::instance(place, caller, bounds, urgency, report));
                self.tasks.push(task.abort_handle());
            }
        }
    }

    fn handle_seen(&mut self, round: u64, seen: Seen) {
        if round != self.round {
            return;
        }
        match seen {
            Seen::Keeper {
                database,
                replica,
                at,
                line,
            } => {
                let hosts = &self.config.routing.databases[usize::from(database)].replicas;
                let fact = keeper_fact(at, &line, hosts);
                self.sight
                    .handle_keeper(DatabaseId(database), replica, fact);
            }
            Seen::KeeperLost { database, replica } => {
                self.sight.handle_keeper_lost(DatabaseId(database), replica);
            }
            Seen::Instance {
                service,
                instance,
                asked,
                at,
                answer,
            } => {
                let state = match answer {
                    ProbeAnswer::Ready(answer) => InstanceState::Ready {
                        term: Term(answer.term),
                        epoch: Epoch(answer.epoch),
                    },
                    ProbeAnswer::NotReady => InstanceState::NotReady,
                    ProbeAnswer::Unreachable => InstanceState::Unreachable,
                };
                let fact = InstanceFact {
                    asked,
                    heard: at.max(asked),
                    state,
                };
                self.facts.borrow_mut().insert((service, instance), fact);
                self.sight.handle_probe(ServiceId(service), instance, fact);
            }
        }
    }

    fn handle_suspicion(&mut self, suspicion: Suspicion) {
        if suspicion.generation != self.config.snapshot.generation {
            return;
        }
        let service = ServiceId(suspicion.service);
        if suspicion.demand == Demand::AnswerFirst {
            self.accused = Some(suspicion.outcome);
            self.sight
                .handle_suspicion(service, suspicion.instance, suspicion.at);
        }
        if let Some(urgency) = self.urgency.get(usize::from(suspicion.service)) {
            urgency.ask_now.notify_waiters();
        }
    }

    /// A new routing: new eyes for it, which know the terms that the old ones had learnt, and what was seen of
    /// whatever is still where it was. That grows old as it would have.
    fn handle_config(&mut self, config: Arc<Config>) {
        let now = mainstay_rt::clock::now();
        let mut sight = sight_of(now, &config);
        for (old, view) in self
            .config
            .routing
            .databases
            .iter()
            .zip(&self.view.databases)
        {
            let same = config
                .routing
                .databases
                .iter()
                .position(|new| new.name == old.name);
            if let Some(index) = same {
                sight.raise_term(DatabaseId(index as u16), view.term);
            }
        }
        self.inherit(&config, &mut sight);
        self.sight = sight;
        self.config = config;
        self.watch();
        self.view = self.sight.evaluate(now);
        self.shared
            .publish(Arc::clone(&self.config), self.view.clone());
    }

    fn inherit(&self, config: &Config, sight: &mut Sight) {
        for (from, to) in same_keepers(&self.config, config) {
            if let Some(fact) = self.sight.keeper_fact(DatabaseId(from.0), from.1) {
                let hosts = &self.config.routing.databases[usize::from(from.0)].replicas;
                let new_hosts = &config.routing.databases[usize::from(to.0)].replicas;
                let follows = fact.follows.and_then(|replica| {
                    let host = hosts.get(usize::from(replica))?;
                    let place = new_hosts.iter().position(|new| new == host)?;
                    Some(place as u16)
                });
                sight.handle_keeper(DatabaseId(to.0), to.1, KeeperFact { follows, ..fact });
            }
        }
        let mut facts = self.facts.borrow_mut();
        facts.clear();
        for (from, to) in same_instances(&self.config, config) {
            if let Some((fact, suspected)) = self.sight.instance_fact(ServiceId(from.0), from.1) {
                sight.handle_suspicion(ServiceId(to.0), to.1, suspected);
                sight.handle_probe(ServiceId(to.0), to.1, fact);
                facts.insert(to, fact);
            }
        }
    }

    fn look_anew(&mut self, now: Instant) {
        self.sight.forget(now);
        self.watch();
        self.view = self.sight.evaluate(now);
        self.shared
            .publish(Arc::clone(&self.config), self.view.clone());
    }

    fn tell(&self, cell: usize, view: &CellView) {
        let routing = &self.config.routing;
        let Some(cell) = routing.cells.get(cell) else {
            return;
        };
        let database = &routing.databases[usize::from(cell.database.0)].name;
        match view {
            CellView::Active(active) => {
                let instances = &routing.services[usize::from(cell.service.0)].instances;
                let instance = instances.get(usize::from(active.instance)).map(|i| &i.name);
                let (term, epoch) = (active.term.0, active.epoch.0);
                tracing::info!(
                    database,
                    ?instance,
                    term,
                    epoch,
                    "the cell is active: requests go"
                );
            }
            CellView::Switching { term } => {
                tracing::info!(
                    database,
                    term = term.0,
                    "a switchover is announced: requests wait"
                );
            }
            CellView::Absent(why) => {
                let accused = self.accused.filter(|_| *why == AbsentWhy::Suspected);
                tracing::info!(
                    database,
                    ?why,
                    accused = accused.map(tracing::field::debug),
                    "the cell has no active instance: requests wait"
                );
            }
            CellView::Isolated => {
                tracing::warn!(
                    database,
                    "cut off from the cell: requests are sent elsewhere"
                );
            }
        }
    }

    fn judge(&mut self, now: Instant) {
        let view = self.sight.evaluate(now);
        self.shared.vouch_until(now + OVERSLEPT);
        if view == self.view {
            return;
        }
        for (index, cell) in self.config.routing.cells.iter().enumerate() {
            let urgent = Sight::is_urgent(&view, CellId(index as u16));
            let urgency = &self.urgency[usize::from(cell.service.0)];
            if urgent && !urgency.urgent.replace(urgent) {
                urgency.ask_now.notify_waiters();
            }
            urgency.urgent.set(urgent);
            let (old, new) = (self.view.cells.get(index), view.cells.get(index));
            if let Some(new) = new
                && old.map(std::mem::discriminant) != Some(std::mem::discriminant(new))
            {
                self.tell(index, new);
            }
        }
        self.view = view;
        self.shared
            .publish(Arc::clone(&self.config), self.view.clone());
    }
}

/// Places in two routings that are the same thing at the same place.
type Same = Vec<((u16, u16), (u16, u16))>;

fn same_keepers(before: &Config, after: &Config) -> Same {
    let names = |config: &Config| -> Vec<String> {
        let databases = config.routing.databases.iter();
        databases.map(|database| database.name.clone()).collect()
    };
    let is_same =
        |old: &ReplicaEntry, new: &ReplicaEntry| (&old.host, old.sight) == (&new.host, new.sight);
    let (old, new) = (names(before), names(after));
    let (old, new) = (
        (&old[..], &before.replicas[..]),
        (&new[..], &after.replicas[..]),
    );
    same(old, new, is_same)
}

fn same_instances(before: &Config, after: &Config) -> Same {
    let names = |config: &Config| -> Vec<String> {
        let services = config.routing.services.iter();
        services.map(|service| service.name.clone()).collect()
    };
    let (old, new) = (names(before), names(after));
    let (old, new) = (
        (&old[..], &before.instances[..]),
        (&new[..], &after.instances[..]),
    );
    same(old, new, PartialEq::eq)
}

fn same<T>(
    (old_names, old): (&[String], &[Vec<T>]),
    (new_names, new): (&[String], &[Vec<T>]),
    is_same: impl Fn(&T, &T) -> bool,
) -> Same {
    let mut found = Vec::new();
    for (to, (name, members)) in new_names.iter().zip(new).enumerate() {
        let Some(from) = old_names.iter().position(|old| old == name) else {
            continue;
        };
        for (to_member, member) in members.iter().enumerate() {
            let known = old[from].iter().position(|old| is_same(old, member));
            if let Some(from_member) = known {
                let from = (from as u16, from_member as u16);
                found.push((from, (to as u16, to_member as u16)));
            }
        }
    }
    found
}

fn keeper_fact(at: Instant, line: &SightLine, hosts: &[String]) -> KeeperFact {
    let role = match line.role {
        SightRole::Primary if line.open && line.switchover => KeeperRole::LeavingPrimary,
        SightRole::Primary if line.open => KeeperRole::OpenPrimary,
        SightRole::Standby => KeeperRole::Standby,
        SightRole::Primary | SightRole::Candidate | SightRole::Starting => KeeperRole::Becoming,
        SightRole::Learner | SightRole::Fenced | SightRole::Stopped => KeeperRole::Closed,
    };
    KeeperFact {
        heard: at,
        role,
        term: Term(line.term),
        lease_until: at + Duration::from_millis(line.lease_remaining_ms),
        follows: line
            .primary
            .as_ref()
            .and_then(|primary| hosts.iter().position(|host| host == primary))
            .map(|replica| replica as u16),
    }
}
