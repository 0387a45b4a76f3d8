//! What the journal says, folded into one value.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};

use mainstay_incident::Incidents;
use mainstay_model::name::{DatabaseName, HostName, PlatformName, ServiceName};
use mainstay_notify::{Event as NoticeEvent, Notices};
use mainstay_playbook::Act;
use mainstay_units::{Epoch, Generation, Position, Term};
use thiserror::Error;

use crate::alert::{self, AlertKey, AlertNews};
use crate::authority::By;
use crate::desired::Desired;
use crate::drill::Drills;
use crate::effect::{Effect, EffectId, Executor, Outcome};
use crate::event::{Event, Record, UpgradeEnd};
use crate::experiment::{self, Experiment, ExperimentNews};
use crate::fault::{FaultId, FaultKind, FaultSpec};
use crate::incidents;
use crate::playbook::{self, Work};
use crate::replicas::Replicas;
use crate::rules::Rules;
use crate::signal::{ArchiveDeed, Reflex, Report};
use crate::upgrade::{self, Program, Upgrade};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The name of the log; `None` before it is opened.
    pub origin: Option<String>,
    pub platform: Option<PlatformName>,
    /// Where the next record goes.
    pub next: Position,
    /// Time of the last record.
    pub now_ms: u64,
    pub epoch: Epoch,
    pub leader: Option<HostName>,
    pub keys: BTreeMap<HostName, String>,
    pub generation: Generation,
    /// Of the file in force.
    pub digest: Option<String>,
    pub desired: Option<Desired>,
    /// The uid that started the platform.
    pub owner: Option<u32>,
    /// Who paused automation, why, and since when.
    pub paused: Option<(By, String, u64)>,
    /// Lost hosts, and since when.
    pub lost: BTreeMap<HostName, u64>,
    /// Which hosts run an instance of a service.
    pub placed: BTreeMap<ServiceName, BTreeSet<HostName>>,
    pub databases: BTreeMap<DatabaseName, DatabaseView>,
    pub replicas: BTreeMap<DatabaseName, Replicas>,
    pub faults: BTreeMap<FaultId, Fault>,
    pub faults_ever: u64,
    pub outstanding: BTreeMap<EffectId, Outstanding>,
    pub upgrade: Option<Upgrade>,
    /// The program that every host took last, and how the newest upgrade ended if it was stopped.
    pub program: Option<Program>,
    pub upgrade_stopped: Option<(Program, HostName, String)>,
    /// The highest signal of each node that led to an event.
    pub taken: BTreeMap<HostName, u64>,
    /// When each stream of reports was last heard of: by host and by what it is about.
    pub reported: BTreeMap<(HostName, String), u64>,
    /// Instances in a crash loop, with the restarts that were last recorded.
    pub crash_loops: BTreeMap<(HostName, String), u64>,
    /// Alerts that stand, as the watches told them last.
    pub alerts: BTreeMap<AlertKey, AlertNews>,
    pub incidents: Incidents,
    /// The experiment that runs, and how many there ever were.
    pub experiment: Option<Experiment>,
    pub experiments_ever: u64,
    pub drills: Drills,
    pub playbooks: mainstay_playbook::State,
    /// Who was told of them.
    pub notices: Notices,
    /// What became of the last call by each channel.
    pub calls: BTreeMap<String, Call>,
    pub rules: Rules,
    /// Kinds (and versions) in the journal that this version does not understand.
    pub unknown: BTreeSet<(String, u32)>,
}

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub at_ms: u64,
    pub outcome: Outcome,
}

/// What reports say of a database. Sight knows it sooner and better; this is for decisions and for history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseView {
    pub term: Term,
    pub primary: Option<HostName>,
    pub since_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub spec: FaultSpec,
    pub until_ms: u64,
    pub phase: FaultPhase,
    /// How often it could not be ended.
    pub failed: u32,
    pub by: By,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultPhase {
    /// Ordered; may or may not be set.
    Setting,
    Set,
    Ending,
    /// Could not be ended; tried again.
    EndFailed {
        since_ms: u64,
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outstanding {
    pub effect: Effect,
    pub executor: Executor,
    pub since_ms: u64,
}

/// Why a node that follows may not lead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CannotLead {
    #[error(
        "the journal has entries of the kind {kind} version {version}, which this version of Mainstay does not know: upgrade it"
    )]
    UnknownKind { kind: String, version: u32 },
    #[error("the key of this node is not admitted yet")]
    KeyNotAdmitted,
    #[error("another key is admitted for this node; the leader will admit the new one")]
    KeyDiffers,
}

impl State {
    /// May the node with this key lead from here?
    pub fn may_lead(&self, node: &HostName, key: &str) -> Result<(), CannotLead> {
        if let Some((kind, version)) = self.unknown.first() {
            return Err(CannotLead::UnknownKind {
                kind: kind.clone(),
                version: *version,
            });
        }
        match self.keys.get(node) {
            None if self.origin.is_none() => Ok(()),
            None => Err(CannotLead::KeyNotAdmitted),
            Some(known) if known == key => Ok(()),
            Some(_) => Err(CannotLead::KeyDiffers),
        }
    }

    /// Hosts that run an instance of the service now.
    pub fn hosts_of(&self, service: &ServiceName) -> impl Iterator<Item = &HostName> {
        self.placed.get(service).into_iter().flatten()
    }

    /// Services with an instance on the host.
    pub fn services_on<'a>(&'a self, host: &'a HostName) -> impl Iterator<Item = &'a ServiceName> {
        let here = |(_, hosts): &(&ServiceName, &BTreeSet<HostName>)| hosts.contains(host);
        self.placed.iter().filter(here).map(|(service, _)| service)
    }

    /// The only way in which a state changes.
    pub fn apply(&mut self, record: &Record) {
        assert_eq!(
            record.position, self.next,
            "records are applied in order, each once"
        );
        self.next = Position(record.position.0 + 1);
        self.now_ms = self.now_ms.max(record.at_ms);
        if let Some(cause) = &record.cause {
            let taken = self.taken.entry(cause.node.clone()).or_default();
            *taken = (*taken).max(cause.number);
        }
        incidents::apply(self, record);
        match &record.event {
            Event::Opened { .. } | Event::KeyAdmitted { .. } | Event::Claimed { .. } => {
                self.apply_log_kind(&record.event);
            }
            Event::PlatformAdopted { .. } => self.apply_file(&record.event),
            Event::Paused { by, reason } => {
                self.paused = Some((by.clone(), reason.clone(), record.at_ms));
            }
            Event::Resumed { .. } => self.paused = None,
            Event::Stopping { .. } => {}
            Event::HostLost { host, .. } => {
                self.lost.insert(host.clone(), record.at_ms);
            }
            Event::HostReturned { host } => {
                self.lost.remove(host);
            }
            Event::InstancePlaced { service, host, .. } => {
                let hosts = self.placed.entry(service.clone()).or_default();
                hosts.insert(host.clone());
            }
            Event::InstanceWithdrawn { service, host, .. } => self.withdraw(service, host),
            Event::FaultInjected { .. } | Event::FaultEnding { .. } => self.apply_fault(record),
            Event::SwitchoverOrdered { .. }
            | Event::SoloOrdered { .. }
            | Event::FailoverForced { .. } => self.apply_order(record),
            Event::UpgradeBegun { .. } | Event::UpgradeOrdered { .. } | Event::UpgradeEnded(_) => {
                self.apply_upgrade(record)
            }
            Event::EffectFinished { effect, outcome } => {
                self.finish(record.at_ms, *effect, outcome);
            }
            Event::ReflexRecorded(report) => self.apply_report(report),
            Event::AlertChanged(news) => {
                alert::apply(&mut self.alerts, news);
                experiment::state::alert_changed(self, news);
            }
            // Folded above.
            Event::Incident(_) => {}
            Event::Experiment(news) => self.apply_experiment(record, news),
            Event::Drill(news) => self.drills.apply(record, news),
            Event::Playbook(event) => self.apply_playbook(record, event),
            Event::Notice(event) => self.apply_notice(record, event),
            Event::Rules(news) => self.rules.apply(record, news),
            Event::CommandRefused { .. } | Event::GateOverridden { .. } => {}
            Event::Unknown { kind, version } => {
                self.unknown.insert((kind.clone(), *version));
            }
        }
    }

    /// Another version of the platform file is in force.
    fn apply_file(&mut self, event: &Event) {
        if let Event::PlatformAdopted {
            generation,
            digest,
            desired,
            by,
            ..
        } = event
        {
            self.owner.get_or_insert(by.actor.uid);
            self.generation = *generation;
            self.digest = Some(digest.clone());
            self.lost.retain(|host, _| desired.hosts.contains_key(host));
            // A watch that the file does not want any more will say nothing more of its alerts.
            self.alerts
                .retain(|(watch, _), _| desired.watches.contains(watch));
            let followed = &mut self.rules.followed;
            followed.retain(|watch, _| desired.watches.contains(watch));
            self.playbooks.file_changed(|service, region| {
                let mut services = desired.services.iter();
                let mut regions = desired.hosts.values();
                services.any(|(name, known)| name.as_str() == service && known.follows.is_none())
                    && regions.any(|known| known.as_str() == region)
            });
            for (name, database) in &desired.databases {
                let replicas = self.replicas.entry(name.clone()).or_default();
                replicas.follow(&database.replicas);
            }
            self.desired = Some((**desired).clone());
        }
    }

    /// The kinds that the log itself lives by.
    fn apply_log_kind(&mut self, event: &Event) {
        if let Event::Opened {
            origin,
            platform,
            node,
            key,
        } = event
        {
            self.origin = Some(origin.clone());
            self.platform = Some(platform.clone());
            self.keys.insert(node.clone(), key.clone());
        }
        if let Event::KeyAdmitted { node, key, .. } = event {
            self.keys.insert(node.clone(), key.clone());
        }
        if let Event::Claimed { epoch, node, .. } = event {
            self.epoch = *epoch;
            self.leader = Some(node.clone());
        }
    }

    /// What the keeper on a host is to do.
    fn apply_order(&mut self, record: &Record) {
        if let Event::SwitchoverOrdered {
            database, from, to, ..
        } = &record.event
        {
            let effect = Effect::Switchover {
                database: database.clone(),
                to: to.clone(),
            };
            self.order(record, effect, Executor::Host(from.clone()));
        }
        if let Event::SoloOrdered { database, host, .. } = &record.event {
            let database = database.clone();
            let executor = Executor::Host(host.clone());
            self.order(record, Effect::Solo { database }, executor);
        }
        if let Event::FailoverForced { database, to, .. } = &record.event {
            let database = database.clone();
            let executor = Executor::Host(to.clone());
            self.order(record, Effect::Failover { database }, executor);
        }
    }

    fn apply_upgrade(&mut self, record: &Record) {
        if let Event::UpgradeBegun { program, hosts, .. } = &record.event {
            self.upgrade = Some(Upgrade::begin(program, hosts));
            self.upgrade_stopped = None;
        }
        if let Event::UpgradeOrdered { host } = &record.event
            && let Some(effect) = upgrade::effect(self)
        {
            self.order(record, effect, Executor::Host(host.clone()));
            if let Some(upgrade) = &mut self.upgrade {
                upgrade.ordered(host, EffectId(record.position));
            }
        }
        if let Event::UpgradeEnded(end) = &record.event
            && let Some(upgrade) = self.upgrade.take()
        {
            match end {
                UpgradeEnd::Complete => self.program = Some(upgrade.program),
                UpgradeEnd::Stopped { host, why } => {
                    self.upgrade_stopped = Some((upgrade.program, host.clone(), why.clone()));
                }
            }
        }
    }

    fn apply_playbook(&mut self, record: &Record, event: &mainstay_playbook::Event) {
        let position = record.position.0;
        self.playbooks.apply(position, record.at_ms, event);
        if let Some((effect, executor)) = playbook::ordered(self, event) {
            self.order(record, effect, executor);
        }
    }

    fn apply_experiment(&mut self, record: &Record, news: &ExperimentNews) {
        experiment::state::apply(self, record, news);
        if let Some((effect, executor)) = experiment::state::ordered(self, news) {
            self.order(record, effect, executor);
        }
    }

    fn apply_notice(&mut self, record: &Record, event: &NoticeEvent) {
        if let NoticeEvent::Ordered(notice) = event {
            let notice = Box::new(notice.clone());
            self.order(record, Effect::Notify { notice }, Executor::Leader);
        }
    }

    fn order(&mut self, record: &Record, effect: Effect, executor: Executor) {
        let outstanding = Outstanding {
            effect,
            executor,
            since_ms: record.at_ms,
        };
        self.outstanding
            .insert(EffectId(record.position), outstanding);
    }

    fn withdraw(&mut self, service: &ServiceName, host: &HostName) {
        if let Some(hosts) = self.placed.get_mut(service) {
            hosts.remove(host);
            if hosts.is_empty() {
                self.placed.remove(service);
            }
        }
    }

    fn apply_fault(&mut self, record: &Record) {
        if let Event::FaultInjected {
            fault,
            spec,
            until_ms,
            by,
            reason,
        } = &record.event
        {
            self.faults_ever = self.faults_ever.max(fault.0);
            self.faults.insert(
                *fault,
                Fault {
                    spec: spec.clone(),
                    until_ms: *until_ms,
                    phase: FaultPhase::Setting,
                    failed: 0,
                    by: by.clone(),
                    reason: reason.clone(),
                },
            );
            let effect = Effect::SetFault {
                fault: *fault,
                spec: spec.clone(),
                until_ms: *until_ms,
            };
            self.order(record, effect, Executor::Leader);
            experiment::state::injected(self, *fault, *until_ms);
        }
        if let Event::FaultEnding { fault, .. } = &record.event {
            if let Some(fault) = self.faults.get_mut(fault) {
                fault.phase = FaultPhase::Ending;
            }
            self.order(
                record,
                Effect::ClearFault { fault: *fault },
                Executor::Leader,
            );
        }
    }

    fn finish(&mut self, at_ms: u64, effect: EffectId, outcome: &Outcome) {
        let Some(outstanding) = self.outstanding.remove(&effect) else {
            return;
        };
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.finished(effect, outcome);
        }
        playbook::finished(self, at_ms, effect, outcome);
        experiment::state::finished(self, effect, &outstanding.effect, outcome);
        if let Outcome::Done { .. } = outcome {
            self.moved_away(&outstanding);
        }
        match (outstanding.effect, outcome) {
            (Effect::SetFault { fault, .. }, Outcome::Failed { .. })
            | (Effect::ClearFault { fault }, Outcome::Done { .. }) => {
                self.faults.remove(&fault);
            }
            (Effect::SetFault { fault, spec, .. }, Outcome::Done { .. })
                if spec.kind == FaultKind::ProcessKill && spec.detail.grace_ms == 0 =>
            {
                // A kill is over at once: supervision does the rest.
                self.faults.remove(&fault);
            }
            (Effect::SetFault { fault, .. }, Outcome::Done { .. } | Outcome::Unknown { .. }) => {
                if let Some(fault) = self.faults.get_mut(&fault)
                    && fault.phase == FaultPhase::Setting
                {
                    // What may have been set is treated as set.
                    fault.phase = FaultPhase::Set;
                }
            }
            (Effect::ClearFault { fault }, Outcome::Failed { why } | Outcome::Unknown { why }) => {
                if let Some(fault) = self.faults.get_mut(&fault) {
                    fault.failed = fault.failed.saturating_add(1);
                    fault.phase = FaultPhase::EndFailed {
                        since_ms: at_ms,
                        why: why.clone(),
                    };
                }
            }
            (
                Effect::Switchover { .. }
                | Effect::Solo { .. }
                | Effect::Failover { .. }
                | Effect::TakeProgram { .. }
                | Effect::Playbook(_)
                | Effect::Experiment(_)
                | Effect::Notify { .. },
                Outcome::Done { .. } | Outcome::Failed { .. } | Outcome::Unknown { .. },
            ) => {}
        }
    }

    /// After a planned move the one before is primary no more; who follows says so himself.
    fn moved_away(&mut self, outstanding: &Outstanding) {
        let (Some(database), Executor::Host(from)) =
            (moved(&outstanding.effect), &outstanding.executor)
        else {
            return;
        };
        if let Some(view) = self.databases.get_mut(&database)
            && view.primary.as_ref() == Some(from)
            && view.since_ms <= outstanding.since_ms
        {
            view.primary = None;
        }
    }

    fn apply_report(&mut self, report: &Report) {
        let stream = (report.host.clone(), stream_of(&report.reflex));
        let heard = self.reported.entry(stream).or_default();
        *heard = (*heard).max(report.at_ms);
        match &report.reflex {
            Reflex::BecamePrimary { database, term } => {
                let view = self.databases.entry(database.clone()).or_default();
                if *term >= view.term {
                    *view = DatabaseView {
                        term: *term,
                        primary: Some(report.host.clone()),
                        since_ms: report.at_ms,
                    };
                }
            }
            Reflex::LeftPrimary { database, term, .. } => {
                let view = self.databases.entry(database.clone()).or_default();
                if *term >= view.term && view.primary.as_ref() == Some(&report.host) {
                    view.primary = None;
                    view.since_ms = report.at_ms;
                }
            }
            Reflex::CrashLoop { instance, restarts } => {
                let instance = (report.host.clone(), instance.clone());
                self.crash_loops.insert(instance, *restarts);
            }
            Reflex::InstanceRestarted { instance, .. } | Reflex::LoopEnded { instance, .. } => {
                let instance = (report.host.clone(), instance.clone());
                self.crash_loops.remove(&instance);
            }
            Reflex::FaultUndone { fault, .. } => {
                if let Ok(fault) = fault.parse() {
                    self.faults.remove(&fault);
                }
            }
            Reflex::ReplicaLetGo { database, from } => {
                if let Some(replicas) = self.replicas.get_mut(database) {
                    replicas.let_go(from);
                }
            }
            Reflex::HoldOpened { .. }
            | Reflex::HoldClosed { .. }
            | Reflex::PromiseChanged { .. }
            | Reflex::Archived { .. } => {}
        }
    }
}

/// The database whose primary an effect moves.
pub(crate) fn moved(effect: &Effect) -> Option<DatabaseName> {
    match effect {
        Effect::Switchover { database, .. } => Some(database.clone()),
        Effect::Playbook(Work::Act {
            act: Act::Switchover { database, .. },
            ..
        }) => database.parse().ok(),
        Effect::SetFault { .. }
        | Effect::ClearFault { .. }
        | Effect::Solo { .. }
        | Effect::Failover { .. }
        | Effect::TakeProgram { .. }
        | Effect::Playbook(_)
        | Effect::Experiment(_)
        | Effect::Notify { .. } => None,
    }
}

/// Reports of one stream come in order of time; of two equal ones, one is a repetition.
pub(crate) fn stream_of(reflex: &Reflex) -> String {
    let (what, name) = match reflex {
        Reflex::BecamePrimary { database, .. } => ("primary", database.to_string()),
        Reflex::LeftPrimary { database, .. } => ("left", database.to_string()),
        Reflex::InstanceRestarted { instance, .. } => ("restart", instance.clone()),
        Reflex::CrashLoop { instance, .. } => ("crash-loop", instance.clone()),
        Reflex::LoopEnded { instance, .. } => ("loop-end", instance.clone()),
        Reflex::HoldOpened { gateway, database } => {
            ("hold", alloc::format!("{gateway}/{database}"))
        }
        Reflex::HoldClosed {
            gateway, database, ..
        } => ("release", alloc::format!("{gateway}/{database}")),
        Reflex::FaultUndone { fault, .. } => ("undone", fault.clone()),
        Reflex::PromiseChanged { database, .. } => ("promise", database.to_string()),
        Reflex::ReplicaLetGo { database, from } => ("let-go", alloc::format!("{database}/{from}")),
        Reflex::Archived { database, deed } => {
            let what = match deed {
                ArchiveDeed::BackupMade { .. } => "backup",
                ArchiveDeed::BackupProven { .. } => "proof",
                ArchiveDeed::Alarm { .. } => "archive-alarm",
            };
            (what, database.to_string())
        }
    };
    alloc::format!("{what} {name}")
}
