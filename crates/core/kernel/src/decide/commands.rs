//! Operators' commands: recognised, authorised, checked; then journalled, done or refused.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use mainstay_model::EnvironmentKind;
use mainstay_model::name::{DatabaseName, HostName, RegionName};
use mainstay_model::people::Permission;
use mainstay_playbook::Act;

use crate::authority::authorize;
use crate::decide::{Decision, adopt};
use crate::desired::Desired;
use crate::drill;
use crate::effect::Effect;
use crate::event::{EndReason, Event};
use crate::experiment;
use crate::fault::{FaultId, FaultSpec};
use crate::gate;
use crate::incidents;
use crate::notices;
use crate::placement::place;
use crate::playbook::{self, Work};
use crate::rules;
use crate::signal::{Ask, Command};
use crate::state::{FaultPhase, State};
use crate::upgrade::{Program, order};
use crate::why::{FailoverRefusal, Refusal};

pub(super) fn commanded(state: &State, now_ms: u64, command: &Command) -> Decision {
    let events = if command.reason.trim().is_empty() {
        Err(Refusal::NoReason)
    } else {
        // Who may not do it, or cannot, hears of that first.
        carried_out(state, now_ms, command).and_then(|done| {
            let mut events = gate::passed(state, command)?;
            events.extend(done);
            Ok(events)
        })
    };
    Decision::of(events.unwrap_or_else(|why| {
        vec![Event::CommandRefused {
            asked: command.ask.as_str().to_string(),
            uid: command.actor.uid,
            reason: command.reason.clone(),
            why,
        }]
    }))
}

fn carried_out(state: &State, now_ms: u64, command: &Command) -> Result<Vec<Event>, Refusal> {
    match &command.ask {
        Ask::Apply { digest, desired } => {
            adopt(state, digest, desired, &command.actor, &command.reason)
        }
        Ask::Pause => pause(state, command),
        Ask::Resume => resume(state, command),
        Ask::Stop => stop(state, command),
        Ask::InjectFault(spec) => inject(state, now_ms, command, spec),
        Ask::ClearFault { fault } => clear(state, command, fault),
        Ask::Switchover { database, to } => switchover(state, command, database, to),
        Ask::Solo { database } => solo(state, command, database),
        Ask::Failover {
            database,
            to,
            accepts_loss,
        } => failover(state, command, database, to, *accepts_loss),
        Ask::Upgrade { program } => upgrade(state, command, program),
        Ask::Incident(ask) => incidents::asked(state, command, ask),
        Ask::Experiment(ask) => experiment::desk::asked(state, now_ms, command, ask),
        Ask::Drill(ask) => drill::desk::asked(state, now_ms, command, ask),
        Ask::Playbook(ask) => playbook::asked(state, now_ms, command, ask),
        Ask::Notice(ask) => notices::asked(state, now_ms, command, ask),
        Ask::AdoptRules(text) => rules::asked(state, command, text),
    }
}

fn pause(state: &State, command: &Command) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::AutomationPause)?;
    if state.paused.is_some() {
        return Err(Refusal::AlreadyPaused);
    }
    let reason = command.reason.clone();
    Ok(vec![Event::Paused { by, reason }])
}

/// Recorded, not carried out: the machine stops its nodes whether or not anybody leads them.
fn stop(state: &State, command: &Command) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::PlatformStop)?;
    let reason = command.reason.clone();
    Ok(vec![Event::Stopping { by, reason }])
}

/// What was put off while paused is decided now.
fn resume(state: &State, command: &Command) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::AutomationPause)?;
    if state.paused.is_none() {
        return Err(Refusal::NotPaused);
    }
    let reason = command.reason.clone();
    let mut events = vec![Event::Resumed { by, reason }];
    if let Some(desired) = &state.desired {
        let counts = &state.playbooks.counts;
        events.extend(place(desired, &state.lost, &state.placed, counts));
    }
    Ok(events)
}

fn desired_of(state: &State) -> Result<&Desired, Refusal> {
    state.desired.as_ref().ok_or(Refusal::NoPlatform)
}

fn inject(
    state: &State,
    now_ms: u64,
    command: &Command,
    spec: &FaultSpec,
) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::FaultInject)
        .or_else(|refusal| drill::desk::may_break(state, &command.actor).map_err(|_| refusal))?;
    let desired = desired_of(state)?;
    match desired.environment {
        EnvironmentKind::Rehearsal => {}
        EnvironmentKind::Production => {
            authorize(state, &command.actor, Permission::FaultApprove)
                .map_err(|_| Refusal::ProductionUnapproved)?;
        }
    }
    spec.check(desired)?;
    // A host on trial that falls by it would be taken back from a program that is well.
    if let Some(under_way) = &state.upgrade {
        let version = under_way.program.version.clone();
        return Err(Refusal::UpgradeUnderWay { version });
    }
    Ok(vec![Event::FaultInjected {
        fault: FaultId(state.faults_ever + 1),
        spec: spec.clone(),
        until_ms: now_ms.saturating_add(spec.lasts_ms),
        by,
        reason: command.reason.clone(),
    }])
}

fn clear(state: &State, command: &Command, fault: &str) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::FaultClear)?;
    let no_such = || Refusal::NoSuchFault {
        fault: fault.to_string(),
    };
    let id = fault.parse().map_err(|()| no_such())?;
    let known = state.faults.get(&id).ok_or_else(no_such)?;
    if known.phase == FaultPhase::Ending {
        return Err(Refusal::FaultEndsAlready {
            fault: fault.to_string(),
        });
    }
    Ok(vec![Event::FaultEnding {
        fault: id,
        why: EndReason::Cleared {
            by,
            reason: command.reason.clone(),
        },
    }])
}

fn switchover(
    state: &State,
    command: &Command,
    database: &DatabaseName,
    region: &RegionName,
) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::DatabaseSwitchover)?;
    let desired = desired_of(state)?;
    let known = desired
        .databases
        .get(database)
        .ok_or_else(|| Refusal::NoSuchDatabase(database.clone()))?;
    let in_region = |host: &&HostName| desired.hosts.get(*host) == Some(region);
    let candidates: Vec<&HostName> = known.replicas.iter().filter(in_region).collect();
    let Some(first) = candidates.first() else {
        return Err(Refusal::NoReplicaIn {
            database: database.clone(),
            region: region.clone(),
        });
    };
    let to = candidates
        .iter()
        .find(|host| !state.lost.contains_key(**host))
        .ok_or_else(|| Refusal::HostLost((*first).clone()))?;
    let from = state
        .databases
        .get(database)
        .and_then(|view| view.primary.as_ref())
        .ok_or_else(|| Refusal::PrimaryUnknown(database.clone()))?;
    if candidates.contains(&from) {
        return Err(Refusal::PrimaryThere {
            database: database.clone(),
            host: from.clone(),
        });
    }
    let same = |effect: &Effect| match effect {
        Effect::Switchover {
            database: other, ..
        } => other == database,
        Effect::Playbook(Work::Act {
            act: Act::Switchover {
                database: other, ..
            },
            ..
        }) => other == database.as_str(),
        Effect::SetFault { .. }
        | Effect::ClearFault { .. }
        | Effect::Solo { .. }
        | Effect::Failover { .. }
        | Effect::TakeProgram { .. }
        | Effect::Playbook(_)
        | Effect::Experiment(_)
        | Effect::Notify { .. } => false,
    };
    if state.outstanding.values().any(|o| same(&o.effect)) {
        return Err(Refusal::SwitchoverUnderWay(database.clone()));
    }
    Ok(vec![Event::SwitchoverOrdered {
        database: database.clone(),
        from: from.clone(),
        to: (*to).clone(),
        by,
        reason: command.reason.clone(),
    }])
}

/// Whether it is needed, and safe, the keeper of the primary knows; it answers for that.
fn solo(state: &State, command: &Command, database: &DatabaseName) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::DatabaseSolo)?;
    if !desired_of(state)?.databases.contains_key(database) {
        return Err(Refusal::NoSuchDatabase(database.clone()));
    }
    let host = state
        .databases
        .get(database)
        .and_then(|view| view.primary.as_ref())
        .ok_or_else(|| Refusal::PrimaryUnknown(database.clone()))?;
    Ok(vec![Event::SoloOrdered {
        database: database.clone(),
        host: host.clone(),
        by,
        reason: command.reason.clone(),
    }])
}

/// Whether a primary is there, and who has most of the log, the keepers know; the one on the host answers for that.
fn failover(
    state: &State,
    command: &Command,
    database: &DatabaseName,
    to: &HostName,
    accepts_loss: bool,
) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::DatabaseFailover)?;
    let desired = desired_of(state)?;
    let known = desired
        .databases
        .get(database)
        .ok_or_else(|| Refusal::NoSuchDatabase(database.clone()))?;
    if !known.replicas.contains(to) {
        return Err(Refusal::Failover(FailoverRefusal::NoReplicaOn {
            database: database.clone(),
            host: to.clone(),
        }));
    }
    if !accepts_loss {
        let why = FailoverRefusal::LossNotAccepted(database.clone());
        return Err(Refusal::Failover(why));
    }
    if state.lost.contains_key(to) {
        return Err(Refusal::HostLost(to.clone()));
    }
    Ok(vec![Event::FailoverForced {
        database: database.clone(),
        to: to.clone(),
        by,
        reason: command.reason.clone(),
    }])
}

/// Begun only while every host is there to take it. The turn of the first host follows by itself.
fn upgrade(state: &State, command: &Command, program: &Program) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::PlatformUpgrade)?;
    desired_of(state)?;
    if let Some(under_way) = &state.upgrade {
        let version = under_way.program.version.clone();
        return Err(Refusal::UpgradeUnderWay { version });
    }
    if state.program.as_ref() == Some(program) && state.upgrade_stopped.is_none() {
        return Err(Refusal::ProgramInForce);
    }
    if state.paused.is_some() {
        return Err(Refusal::Paused);
    }
    if let Some(lost) = state.lost.keys().next() {
        return Err(Refusal::HostLost(lost.clone()));
    }
    if let Some(why) = experiment::desk::on_purpose(state) {
        return Err(Refusal::UpgradeUntimely { why });
    }
    Ok(vec![Event::UpgradeBegun {
        program: program.clone(),
        hosts: order(state),
        by,
        reason: command.reason.clone(),
    }])
}
