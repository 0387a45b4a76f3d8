//! Incidents as the kernel carries them: its events told to the desk, and what the desk decides journalled with them.
//!
//! Whatever is decided is looked at once more, in the same breath: what it means for incidents is journalled right behind
//! it, so that no leader dies between an alert and its incident without the next one knowing what is missing.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use mainstay_incident::{
    Ask, Became, Change, Incidents, Objective, Person, Review, Route, Seen, Sign, Thing, Told,
    Topology, What,
};
use mainstay_model::people::Permission;
use mainstay_notify::{Notice, Notices};
use mainstay_playbook::Act;
use mainstay_units::Position;

use crate::alert::{AlertNews, AlertState};
use crate::authority::{By, authorize};
use crate::desired::Desired;
use crate::drill::DrillNews;
use crate::effect::{Effect, EffectId, Outcome};
use crate::event::{Event, PlacedBecause, Record, WithdrawnBecause};
use crate::fault::{FaultId, FaultTarget};
use crate::notices;
use crate::playbook::Work;
use crate::signal::{ArchiveDeed, Command, Reflex, Report};
use crate::state::{Call, State};
use crate::why::Refusal;

/// Decisions on incidents that follow from one signal; what is left comes with the next.
const FOLLOW_MAX: usize = 64;

/// What is to be journalled of incidents, and of telling people, behind `events`, which were decided on `state`.
pub(crate) fn follow(state: &State, now_ms: u64, events: &[Event]) -> Vec<Event> {
    let dues = [state.incidents.next_due_ms(), notices::next_due_ms(state)];
    let is_due = dues.into_iter().flatten().any(|due| now_ms >= due);
    if state.desired.is_none() || (events.is_empty() && !is_due) {
        return Vec::new();
    }
    let mut desk = Desk {
        incidents: state.incidents.clone(),
        notices: state.notices.clone(),
    };
    let mut next = state.next;
    for event in events {
        desk.fold(state, next, now_ms, event);
        next = Position(next.0 + 1);
    }
    let adopted = events.iter().find_map(|event| {
        if let Event::PlatformAdopted { desired, .. } = event {
            return Some(&**desired);
        }
        None
    });
    let Some(desired) = adopted.or(state.desired.as_ref()) else {
        return Vec::new();
    };
    let topology = topology(desired);
    let mut follows = Vec::new();
    while follows.len() < FOLLOW_MAX
        && let Some(event) = desk.next(now_ms, &topology, desired)
    {
        desk.fold(state, next, now_ms, &event);
        next = Position(next.0 + 1);
        follows.push(event);
    }
    follows
}

/// Folds a record into the state, which has not taken up the record otherwise.
pub(crate) fn apply(state: &mut State, record: &Record) {
    let mut desk = Desk {
        incidents: core::mem::take(&mut state.incidents),
        notices: core::mem::take(&mut state.notices),
    };
    desk.fold(state, record.position, record.at_ms, &record.event);
    state.incidents = desk.incidents;
    state.notices = desk.notices;
    if let Event::EffectFinished { effect, outcome } = &record.event
        && let Some(notice) = notice_of(state, *effect)
    {
        let (channel, outcome) = (notice.to.channel.clone(), outcome.clone());
        let at_ms = record.at_ms;
        state.calls.insert(channel, Call { at_ms, outcome });
    }
}

/// Incidents, and who was told of them.
struct Desk {
    incidents: Incidents,
    notices: Notices,
}

impl Desk {
    /// First what belongs together, then whom to tell of it.
    fn next(&self, now_ms: u64, topology: &Topology, desired: &Desired) -> Option<Event> {
        if let Some(event) = self.incidents.next(now_ms, topology) {
            return Some(Event::Incident(event));
        }
        let cases = notices::cases(&self.incidents, &self.notices, topology);
        let notice = self.notices.next(now_ms, &desired.oncall, &cases)?;
        Some(Event::Notice(notice))
    }

    /// `state` is as it was before the event.
    fn fold(&mut self, state: &State, position: Position, at_ms: u64, event: &Event) {
        if let Event::Notice(event) = event {
            if let Some(incident) = notices::incident_of(event) {
                self.incidents.attach(incident, position);
            }
            return self.notices.apply(at_ms, event);
        }
        if let Event::EffectFinished { effect, outcome } = event
            && let Some(notice) = notice_of(state, *effect)
        {
            if !matches!(outcome, Outcome::Done { .. }) {
                self.incidents.attach(&notice.incident, position);
            }
            let outcome = notices::outcome(outcome);
            self.notices.ended(at_ms, notice.number, outcome);
            if let Some(desired) = &state.desired {
                self.notices.ways(&desired.oncall.channels);
            }
            return;
        }
        if let Event::PlatformAdopted { desired, .. } = event {
            self.notices.ways(&desired.oncall.channels);
        }
        if let Event::Incident(event) = event {
            self.incidents.apply(position, at_ms, event);
            let rests = matches!(
                event.change,
                Change::Mitigated | Change::Resolved { .. } | Change::Merged { .. }
            );
            if rests {
                self.notices.quiet(&event.incident.to_string());
            }
            return;
        }
        if let Some(sign) = sign(state, event) {
            self.incidents.observe(&Seen {
                position,
                at_ms,
                sign,
            });
        }
    }
}

/// What was to be said, if the effect is that.
fn notice_of(state: &State, effect: EffectId) -> Option<&Notice> {
    let outstanding = state.outstanding.get(&effect)?;
    if let Effect::Notify { notice } = &outstanding.effect {
        return Some(notice);
    }
    None
}

/// What somebody asked.
pub(crate) fn asked(state: &State, command: &Command, ask: &Ask) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::IncidentManage)?;
    let desired = state.desired.as_ref().ok_or(Refusal::NoPlatform)?;
    let operators: BTreeSet<String> = desired.operators.keys().map(ToString::to_string).collect();
    if let Ask::Review {
        review: Review::FinishAction {
            became: Some(became),
            ..
        },
        ..
    } = ask
    {
        is_there(state, desired, became)?;
    }
    let topology = topology(desired);
    let answer = state
        .incidents
        .answer(ask, &person(&by), &command.reason, &topology, &operators);
    answer
        .map(|event| vec![Event::Incident(event)])
        .map_err(Refusal::Incident)
}

/// What an action became is in force by then. Of rules the node knew that was asked: the journal does not have them.
fn is_there(state: &State, desired: &Desired, became: &Became) -> Result<(), Refusal> {
    let is_there = match became {
        Became::Rule(_) => true,
        Became::Drill(name) => state.drills.adopted.contains_key(name),
        Became::Gate(name) => desired.gates.iter().any(|gate| gate.name == **name),
    };
    match is_there {
        true => Ok(()),
        false => Err(Refusal::NotInForce(became.clone())),
    }
}

fn person(by: &By) -> Person {
    Person {
        uid: by.actor.uid,
        user: by.actor.user.clone(),
        operator: by.operator.as_ref().map(ToString::to_string),
    }
}

/// What became of a command, in words.
pub(crate) fn told(event: &mainstay_incident::Event) -> String {
    let id = event.incident;
    match &event.change {
        Change::Opened { severity, .. } => alloc::format!("incident {id} is open ({severity})"),
        Change::Joined { .. } => alloc::format!("incident {id} has grown"),
        Change::SeverityChanged { severity } => alloc::format!("incident {id} is {severity}"),
        Change::Acknowledged => alloc::format!("{} has acknowledged incident {id}", event.by),
        Change::Assigned { role, to, from } => {
            let role = role.as_str();
            match from {
                Some(from) => alloc::format!("{to} is {role} of incident {id} instead of {from}"),
                None => alloc::format!("{to} is {role} of incident {id}"),
            }
        }
        Change::Noted | Change::Learned(_) => alloc::format!("noted in incident {id}"),
        Change::ActionAdded(action) => alloc::format!(
            "{id}/a{} is for {} until {}",
            action.number,
            action.owner,
            action.due
        ),
        Change::ActionDone { number, .. } => alloc::format!("{id}/a{number} is done"),
        Change::Signed { signature, .. } => {
            alloc::format!("the page of incident {id} is {}", signature.as_str())
        }
        Change::Linked { .. } => alloc::format!("linked in incident {id}"),
        Change::Mitigated => alloc::format!("incident {id} is mitigated"),
        Change::Resolved { .. } => alloc::format!("incident {id} is resolved"),
        Change::Reopened => alloc::format!("incident {id} is open again"),
        Change::Merged { into } => alloc::format!("incident {id} goes on in {into}"),
    }
}

/// The platform as far as trouble spreads through it.
pub(crate) fn topology(desired: &Desired) -> Topology {
    fn names<T: ToString>(names: &[T]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }
    let hosts = desired.hosts.iter();
    let databases = desired.databases.iter();
    let services = desired.services.iter();
    let gateways = desired.gateways.iter();
    let routes = desired.routes.iter().map(|route| Route {
        gateway: route.gateway.to_string(),
        path: route.path.clone(),
        databases: names(&route.databases),
        services: names(&route.services),
    });
    let objectives = desired.objectives.iter().map(|(name, (gateway, route))| {
        let objective = Objective {
            gateway: gateway.to_string(),
            route: route.clone(),
        };
        (name.to_string(), objective)
    });
    Topology {
        hosts: hosts
            .map(|(host, region)| (host.to_string(), region.to_string()))
            .collect(),
        databases: databases
            .map(|(name, database)| (name.to_string(), names(&database.replicas)))
            .collect(),
        services: services
            .map(|(name, service)| {
                let follows = service.follows.as_ref().map(ToString::to_string);
                (name.to_string(), (names(&service.hosts), follows))
            })
            .collect(),
        gateways: gateways
            .map(|(name, (hosts, _))| (name.to_string(), names(hosts)))
            .collect(),
        routes: routes.collect(),
        objectives: objectives.collect(),
    }
}

/// What an event tells the desk; `state` is as it was before.
fn sign(state: &State, event: &Event) -> Option<Sign> {
    let happened = |things: &[Thing]| Sign::Happened {
        things: things.iter().cloned().collect(),
    };
    let database = |name: &dyn ToString| Thing::database(&name.to_string());
    let service = |name: &dyn ToString, host: &dyn ToString| {
        Thing::on(What::Service(name.to_string()), &host.to_string())
    };
    Some(match event {
        Event::AlertChanged(news) => alert(news),
        Event::HostLost { host, .. } => Sign::HostLost {
            host: host.to_string(),
        },
        Event::HostReturned { host } => Sign::HostReturned {
            host: host.to_string(),
        },
        Event::ReflexRecorded(report) => return reflex(report),
        Event::SwitchoverOrdered { database, .. } => Sign::MoveOrdered {
            database: database.to_string(),
        },
        Event::SoloOrdered { database: name, .. }
        | Event::FailoverForced { database: name, .. } => happened(&[database(name)]),
        Event::Stopping { .. } => Sign::Stopping,
        Event::PlatformAdopted { desired, .. } => {
            let hosts = desired.hosts.keys().map(ToString::to_string);
            let watches = desired.watches.iter().map(ToString::to_string);
            Sign::Wanted {
                hosts: hosts.collect(),
                watches: watches.collect(),
            }
        }
        // What the file wants is no part of any trouble.
        Event::InstancePlaced {
            service: name,
            host,
            why: PlacedBecause::InsteadOf { .. },
        }
        | Event::InstanceWithdrawn {
            service: name,
            host,
            why: WithdrawnBecause::HostLost,
        } => happened(&[service(name, host)]),
        Event::FaultInjected { spec, .. } => happened(&target(&spec.target)),
        Event::FaultEnding { fault, .. } => happened(&broken(state, *fault)?),
        Event::EffectFinished { effect, outcome } => return finished(state, *effect, outcome),
        Event::Playbook(mainstay_playbook::Event::Begun { act, .. }) => acted(act)?,
        Event::UpgradeOrdered { host } => happened(&[Thing::host(host.as_str())]),
        Event::Drill(news) => return rehearsed(state, news),
        Event::Opened { .. }
        | Event::KeyAdmitted { .. }
        | Event::Claimed { .. }
        | Event::CommandRefused { .. }
        | Event::GateOverridden { .. }
        | Event::Paused { .. }
        | Event::Resumed { .. }
        | Event::UpgradeBegun { .. }
        | Event::UpgradeEnded(_)
        | Event::InstancePlaced { .. }
        | Event::InstanceWithdrawn { .. }
        | Event::Incident(_)
        | Event::Experiment(_)
        | Event::Playbook(_)
        | Event::Notice(_)
        | Event::Rules(_)
        | Event::Unknown { .. } => return None,
    })
}

/// A drill that was missed calls; one that ran, or is not wanted any more, does not.
fn rehearsed(state: &State, news: &DrillNews) -> Option<Sign> {
    if let DrillNews::Missed { name, .. } = news {
        let drill = name.clone();
        return Some(Sign::DrillMissed { drill });
    }
    let drill = state.drills.calms(news)?.to_string();
    Some(Sign::DrillRan { drill })
}

/// What a playbook does belongs to the trouble that it is about. That of a measurement is nobody's.
fn acted(act: &Act) -> Option<Sign> {
    let things: Vec<Thing> = match act {
        Act::Switchover { database, .. } => {
            return Some(Sign::MoveOrdered {
                database: database.clone(),
            });
        }
        Act::Restart { host, instance } => vec![Thing::on(What::of_instance(instance), host)],
        Act::Drain { hosts } => hosts.iter().map(|host| Thing::host(host)).collect(),
        Act::Return { hosts, shifts } => {
            let services = shifts.iter().map(|(service, _)| service_of(service));
            let hosts = hosts.iter().map(|host| Thing::host(host));
            hosts.chain(services).collect()
        }
        Act::Shift { service, .. } | Act::Replicas { service, .. } => vec![service_of(service)],
        Act::Mode { host, service, .. } => vec![Thing::on(What::of_instance(service), host)],
        Act::Run { host, .. } => vec![Thing::host(host)],
        Act::Replace { host, service, to } => [host, to]
            .map(|host| Thing::on(What::Service(service.clone()), host))
            .into(),
        Act::Rebuild { database, host } => {
            vec![Thing::on(What::Database(database.clone()), host)]
        }
        // Telling somebody, or asking a service elsewhere, is no part of any trouble.
        Act::ClearFaults { .. } | Act::Http(_) | Act::Notify { .. } | Act::WorkItem(_) => {
            return None;
        }
    };
    Some(Sign::Happened {
        things: things.into_iter().collect(),
    })
}

fn alert(news: &AlertNews) -> Sign {
    Sign::Alert {
        alert: news.alert.clone(),
        watch: news.watch.to_string(),
        told: match news.state {
            AlertState::Firing => Told::Firing,
            AlertState::Missing => Told::Missing,
            AlertState::Resolved => Told::Ended,
        },
        labels: news.labels.clone(),
        summary: news.summary.clone(),
    }
}

fn reflex(report: &Report) -> Option<Sign> {
    let host = report.host.to_string();
    let here = |what: What| Thing::on(what, &host);
    let happened = |thing: Thing| Sign::Happened {
        things: [thing].into(),
    };
    Some(match &report.reflex {
        Reflex::BecamePrimary { database, term } => Sign::BecamePrimary {
            database: database.to_string(),
            host,
            term: u64::from(term.0),
        },
        Reflex::LeftPrimary { database, term, .. } => Sign::LeftPrimary {
            database: database.to_string(),
            host,
            term: u64::from(term.0),
        },
        Reflex::InstanceRestarted { instance, .. } => happened(here(What::of_instance(instance))),
        Reflex::CrashLoop { instance, .. } => Sign::CrashLoop {
            host,
            instance: plain(instance).to_string(),
        },
        Reflex::LoopEnded { instance, .. } => Sign::LoopEnded {
            host,
            instance: plain(instance).to_string(),
        },
        Reflex::HoldOpened { database, .. }
        | Reflex::HoldClosed { database, .. }
        | Reflex::ReplicaLetGo { database, .. }
        | Reflex::PromiseChanged { database, .. } => happened(Thing::database(database.as_str())),
        Reflex::Archived { database, deed } => {
            let database = database.to_string();
            match deed {
                ArchiveDeed::Alarm { why } => Sign::ArchiveUnsafe {
                    database,
                    host,
                    why: why.clone(),
                },
                ArchiveDeed::BackupMade { .. } | ArchiveDeed::BackupProven { .. } => {
                    Sign::ArchiveSafe { database }
                }
            }
        }
        Reflex::FaultUndone { .. } => return None,
    })
}

/// An instance without the host that supervision puts before it.
pub(crate) fn plain(instance: &str) -> &str {
    instance.rsplit('/').next().unwrap_or(instance)
}

fn service_of(name: &str) -> Thing {
    Thing {
        what: What::Service(name.to_string()),
        host: None,
    }
}

fn target(target: &FaultTarget) -> Vec<Thing> {
    match target {
        FaultTarget::Process { host, instance } => {
            vec![Thing::on(What::of_instance(instance), host.as_str())]
        }
        FaultTarget::Host(host) => vec![Thing::host(host.as_str())],
        FaultTarget::Region(region) => vec![Thing::region(region.as_str())],
        FaultTarget::Between { from, to } => {
            let regions = [Some(from), to.as_ref()];
            let regions = regions.into_iter().flatten();
            regions
                .map(|region| Thing::region(region.as_str()))
                .collect()
        }
    }
}

fn broken(state: &State, fault: FaultId) -> Option<Vec<Thing>> {
    state
        .faults
        .get(&fault)
        .map(|fault| target(&fault.spec.target))
}

fn finished(state: &State, effect: EffectId, outcome: &Outcome) -> Option<Sign> {
    let things = match &state.outstanding.get(&effect)?.effect {
        Effect::Switchover { database, .. } => {
            let database = database.to_string();
            return Some(match outcome {
                Outcome::Failed { .. } => Sign::MoveFailed { database },
                Outcome::Done { .. } | Outcome::Unknown { .. } => Sign::Happened {
                    things: [Thing::database(&database)].into(),
                },
            });
        }
        Effect::Playbook(Work::Act {
            act: Act::Switchover { database, .. },
            ..
        }) if matches!(outcome, Outcome::Failed { .. }) => {
            return Some(Sign::MoveFailed {
                database: database.clone(),
            });
        }
        Effect::Playbook(_) => return None,
        Effect::Solo { database } | Effect::Failover { database } => {
            vec![Thing::database(database.as_str())]
        }
        Effect::SetFault { spec, .. } => target(&spec.target),
        Effect::ClearFault { fault } => broken(state, *fault)?,
        Effect::TakeProgram { .. } | Effect::Notify { .. } | Effect::Experiment(_) => return None,
    };
    Some(Sign::Happened {
        things: things.into_iter().collect(),
    })
}
