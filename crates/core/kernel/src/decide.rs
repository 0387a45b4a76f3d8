//! From a signal to decisions. Looks at the state, changes nothing.

mod commands;
mod timers;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use mainstay_model::name::HostName;
use mainstay_model::people::Permission;

use crate::alert;
use crate::authority::{Actor, By, authorize};
use crate::desired::Desired;
use crate::difference::plan;
use crate::drill;
use crate::effect::{EffectId, Executor, Outcome};
use crate::event::Event;
use crate::experiment;
use crate::incidents;
use crate::placement::place;
use crate::playbook;
use crate::rules;
use crate::signal::{Reflex, Report, Signal};
use crate::state::{Outstanding, State, moved, stream_of};
use crate::why::{Refusal, Why};

/// A host whose heartbeat stands still for so long is lost: interchangeable instances start elsewhere. Long
/// enough for a node that was killed to be started again, since its workloads go on without it.
pub const HOST_LOST_AFTER_MS: u64 = 10_000;

/// Events to journal, in order; or why there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub events: Vec<Event>,
    pub why: Why,
}

impl Decision {
    pub(crate) fn of(events: Vec<Event>) -> Self {
        Self {
            events,
            why: Why::Decided,
        }
    }

    pub(crate) fn nothing(why: Why) -> Self {
        Self {
            events: Vec::new(),
            why,
        }
    }
}

/// What is to be done about `signal` at kernel time `now_ms`, given what the journal says.
pub fn decide(state: &State, now_ms: u64, signal: &Signal) -> Decision {
    let mut decision = decide_signal(state, now_ms, signal);
    playbook::replace::settle(state, &mut decision.events);
    let follows = incidents::follow(state, now_ms, &decision.events);
    if !follows.is_empty() {
        decision.why = Why::Decided;
        decision.events.extend(follows);
    }
    let opened = playbook::after_incidents(state, now_ms, &decision.events);
    decision.events.extend(opened);
    decision
}

fn decide_signal(state: &State, now_ms: u64, signal: &Signal) -> Decision {
    match signal {
        Signal::Tick => timers::due(state, now_ms),
        Signal::KeyOffered { node, key } => key_offered(state, node, key),
        Signal::HostHeard { host } => host_heard(state, host),
        Signal::HostSilent { host, silent_ms } => host_silent(state, host, *silent_ms),
        Signal::FileRead {
            digest,
            desired,
            actor,
        } => file_read(state, digest, desired, actor),
        Signal::Commanded(command) => commands::commanded(state, now_ms, command),
        Signal::Reported(report) => reported(state, report),
        Signal::AlertTold(news) => {
            playbook::after_alert(state, now_ms, news, alert::told(state, news))
        }
        Signal::RulesTold {
            watch,
            at_ms,
            files,
        } => rules::told(state, watch, *at_ms, files),
        Signal::Answered { effect, outcome } => answered(state, *effect, outcome),
        Signal::Experiment(told) => experiment::desk::told(state, now_ms, told),
        Signal::DrillAbandoned { drill } => drill::desk::abandoned(state, *drill),
    }
}

pub(crate) use timers::next_due_ms;

fn key_offered(state: &State, node: &HostName, key: &str) -> Decision {
    let wanted = state.desired.as_ref().map(|d| d.hosts.contains_key(node));
    match state.keys.get(node) {
        Some(known) if known == key => Decision::nothing(Why::KeyKnown),
        known if wanted == Some(true) => Decision::of(vec![Event::KeyAdmitted {
            node: node.clone(),
            key: key.to_string(),
            replaces: known.cloned(),
        }]),
        Some(_) | None => Decision::nothing(Why::KeyOfStranger),
    }
}

fn host_heard(state: &State, host: &HostName) -> Decision {
    if !state.lost.contains_key(host) {
        return Decision::nothing(Why::HostNotLost);
    }
    let mut events = vec![Event::HostReturned { host: host.clone() }];
    let mut lost = state.lost.clone();
    lost.remove(host);
    if let (Some(desired), None) = (&state.desired, &state.paused) {
        let counts = &state.playbooks.counts;
        events.extend(place(desired, &lost, &state.placed, counts));
    }
    Decision::of(events)
}

fn host_silent(state: &State, host: &HostName, silent_ms: u64) -> Decision {
    let Some(desired) = state
        .desired
        .as_ref()
        .filter(|d| d.hosts.contains_key(host))
    else {
        return Decision::nothing(Why::NotAHost);
    };
    if state.lost.contains_key(host) {
        return Decision::nothing(Why::HostKnownLost);
    }
    if silent_ms < HOST_LOST_AFTER_MS {
        return Decision::nothing(Why::SilentTooShortly { silent_ms });
    }
    let mut events = vec![Event::HostLost {
        host: host.clone(),
        silent_ms,
    }];
    let here = Executor::Host(host.clone());
    for (effect, _) in state.outstanding.iter().filter(|(_, o)| o.executor == here) {
        events.push(Event::EffectFinished {
            effect: *effect,
            outcome: Outcome::Unknown {
                why: alloc::format!("host {host}, which was to do it, is lost"),
            },
        });
    }
    if state.paused.is_none() {
        let mut lost = state.lost.clone();
        lost.insert(host.clone(), state.now_ms);
        let counts = &state.playbooks.counts;
        events.extend(place(desired, &lost, &state.placed, counts));
    }
    Decision::of(events)
}

/// The first file needs no command: somebody started the platform with it.
fn file_read(state: &State, digest: &str, desired: &Desired, actor: &Actor) -> Decision {
    match &state.digest {
        Some(known) if known == digest => Decision::nothing(Why::FileInForce),
        Some(_) => Decision::nothing(Why::AnotherFileInForce),
        None => match adopt(state, digest, desired, actor, "the platform was started") {
            Ok(events) => Decision::of(events),
            Err(_) => Decision::nothing(Why::AnotherFileInForce),
        },
    }
}

fn adopt(
    state: &State,
    digest: &str,
    desired: &Desired,
    actor: &Actor,
    reason: &str,
) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, actor, Permission::PlatformApply)?;
    if state
        .platform
        .as_ref()
        .is_some_and(|p| *p != desired.platform)
    {
        return Err(Refusal::OtherPlatform {
            named: desired.platform.to_string(),
        });
    }
    if let Some(old) = &state.desired {
        if state.digest.as_deref() == Some(digest) {
            return Err(Refusal::FileInForce);
        }
        if let Some(gone) = old
            .databases
            .keys()
            .find(|name| !desired.databases.contains_key(*name))
        {
            return Err(Refusal::DatabaseRemoved(gone.clone()));
        }
    }
    if let Some(refusal) = replicas_refused(state, desired) {
        return Err(refusal);
    }
    // Keepers are started anew for a replica that comes, and while automation is paused nothing is started.
    if state.paused.is_some() && state.desired.is_some() && adds_replicas(state, desired) {
        return Err(Refusal::Paused);
    }
    let generation = state.generation.next().unwrap_or(state.generation);
    let mut events = vec![Event::PlatformAdopted {
        generation,
        digest: digest.to_string(),
        desired: Box::new(desired.clone()),
        plan: plan(state.desired.as_ref(), desired),
        by: by.clone(),
        reason: reason.to_string(),
    }];
    if state.paused.is_none() {
        events.extend(moved_homes(state, desired, &by));
        let mut lost = state.lost.clone();
        lost.retain(|host, _| desired.hosts.contains_key(host));
        // With a new file its own numbers of instances hold.
        let counts = BTreeMap::new();
        events.extend(place(desired, &lost, &state.placed, &counts));
    }
    Ok(events)
}

/// Where a home moves, the primary does, if a replica is there already; one that comes with the same file is not ready.
fn moved_homes(state: &State, desired: &Desired, by: &By) -> Vec<Event> {
    let old = state.desired.iter().flat_map(|old| &old.databases);
    let ordered = old.filter_map(|(name, before)| {
        let database = desired.databases.get(name)?;
        let from = state.databases.get(name)?.primary.as_ref()?;
        let lies_in = |host: &HostName| desired.hosts.get(host) == Some(&database.home);
        let moves = |order: &Outstanding| moved(&order.effect).as_ref() == Some(name);
        let under_way = state.outstanding.values().any(moves);
        if database.home == before.home || lies_in(from) || under_way {
            return None;
        }
        let ready = |host: &&HostName| {
            lies_in(host) && before.replicas.contains(*host) && !state.lost.contains_key(*host)
        };
        let to = database.replicas.iter().find(ready)?;
        Some(Event::SwitchoverOrdered {
            database: name.clone(),
            from: from.clone(),
            to: to.clone(),
            by: by.clone(),
            reason: format!(
                "the file moves its home from {} to {}",
                before.home, database.home
            ),
        })
    });
    ordered.collect()
}

fn adds_replicas(state: &State, desired: &Desired) -> bool {
    desired.databases.iter().any(|(name, database)| {
        let known = state.replicas.get(name);
        let comes = |host: &HostName| known.is_some_and(|known| known.number(host).is_none());
        database.replicas.iter().any(comes)
    })
}

/// Who shall leave and cannot yet. The rest is carried out by the keepers, one step after the other.
fn replicas_refused(state: &State, desired: &Desired) -> Option<Refusal> {
    state.replicas.iter().find_map(|(database, replicas)| {
        let wanted = &desired.databases.get(database)?.replicas;
        let view = state.databases.get(database);
        let primary = view.and_then(|view| view.primary.as_ref());
        let goes = |host: &&HostName| !wanted.contains(host);
        let mut going = replicas.hosts().filter(goes);
        going.find_map(|host| {
            let (database, host) = (database.clone(), host.clone());
            if primary == Some(&host) {
                return Some(Refusal::ReplicaIsPrimary { database, host });
            }
            if primary.is_none() && !state.lost.contains_key(&host) {
                return Some(Refusal::PrimaryUnknown(database));
            }
            let stays = desired.hosts.contains_key(&host);
            (!stays).then_some(Refusal::ReplicaStillThere { database, host })
        })
    })
}

fn reported(state: &State, report: &Report) -> Decision {
    let repeated = match &report.reflex {
        // Several nodes may tell of the same promotion; a term has one primary.
        Reflex::BecamePrimary { database, term } => {
            state.databases.get(database).is_some_and(|view| {
                let is_same = view.term == *term && view.primary.is_some();
                view.term > *term || is_same
            })
        }
        // A loop may go on for days: its beginning is news, then each doubling.
        Reflex::CrashLoop { instance, restarts } => {
            let instance = (report.host.clone(), instance.clone());
            let recorded = state.crash_loops.get(&instance);
            // Fewer than recorded: the node counts anew, so this is another loop.
            recorded.is_some_and(|n| (*n..n.saturating_mul(2)).contains(restarts))
        }
        Reflex::LoopEnded { instance, .. } => {
            let mut loops = state.incidents.loops_on(report.host.as_str());
            !loops.any(|known| known == incidents::plain(instance))
        }
        // Only whoever has the primary can know.
        Reflex::ReplicaLetGo { database, from } => {
            let leaves = state.replicas.get(database);
            let leaves = leaves.is_some_and(|replicas| replicas.leaving().contains(from));
            let view = state.databases.get(database);
            let primary = view.and_then(|view| view.primary.as_ref());
            !leaves || primary != Some(&report.host)
        }
        Reflex::LeftPrimary { .. }
        | Reflex::InstanceRestarted { .. }
        | Reflex::HoldOpened { .. }
        | Reflex::HoldClosed { .. }
        | Reflex::FaultUndone { .. }
        | Reflex::PromiseChanged { .. }
        | Reflex::Archived { .. } => {
            let stream: (HostName, String) = (report.host.clone(), stream_of(&report.reflex));
            let heard = state.reported.get(&stream);
            heard.is_some_and(|heard_ms| *heard_ms >= report.at_ms)
        }
    };
    if repeated {
        return Decision::nothing(Why::AlreadyRecorded);
    }
    Decision::of(vec![Event::ReflexRecorded(report.clone())])
}

fn answered(state: &State, effect: EffectId, outcome: &Outcome) -> Decision {
    if !state.outstanding.contains_key(&effect) {
        return Decision::nothing(Why::NotOutstanding { effect });
    }
    Decision::of(vec![Event::EffectFinished {
        effect,
        outcome: outcome.clone(),
    }])
}
