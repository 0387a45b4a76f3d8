//! Moving an instance: another one is started, and the old one is stopped when that is ready.
//!
//! Both are placements like any other: gateways follow them, and nodes start and stop what they say. The step itself only
//! waits for the new instance, so whoever takes over in the middle waits on. What becomes of the two is decided with the
//! outcome, in the same entry of the journal.

use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;

use mainstay_model::name::{HostName, ServiceName};
use mainstay_playbook as playbook;
use playbook::Act;

use super::Work;
use crate::effect::{Effect, EffectId, Outcome};
use crate::event::{Event, PlacedBecause, WithdrawnBecause};
use crate::state::State;

/// An instance that is on its way.
struct Move {
    service: ServiceName,
    from: HostName,
    to: HostName,
}

fn of(act: &Act) -> Option<Move> {
    let Act::Replace { host, service, to } = act else {
        return None;
    };
    Some(Move {
        service: service.parse().ok()?,
        from: host.parse().ok()?,
        to: to.parse().ok()?,
    })
}

/// The new instance, journalled right behind the step that orders it.
pub(super) fn begun(event: &playbook::Event) -> Option<Event> {
    let playbook::Event::Begun { run, act, .. } = event else {
        return None;
    };
    let moved = of(act)?;
    Some(Event::InstancePlaced {
        service: moved.service,
        host: moved.to,
        why: PlacedBecause::Replaces {
            host: moved.from,
            run: run.to_string(),
        },
    })
}

/// Whether an instance of the same service is on its way: then this one waits. Two that chose the same host would leave
/// one instance too few.
pub(super) fn must_wait(state: &State, decided: &[Event], event: &playbook::Event) -> bool {
    let playbook::Event::Begun { act, .. } = event else {
        return false;
    };
    let Act::Replace { service, .. } = act else {
        return false;
    };
    let same =
        |other: &Act| matches!(other, Act::Replace { service: other, .. } if other == service);
    let out = state.outstanding.values().any(|outstanding| {
        matches!(&outstanding.effect, Effect::Playbook(Work::Act { act, .. }) if same(act))
    });
    let now = decided.iter().any(
        |event| matches!(event, Event::Playbook(playbook::Event::Begun { act, .. }) if same(act)),
    );
    out || now
}

/// What becomes of the two instances, for every move whose outcome is among the events. An outcome that the placement has
/// overtaken is corrected.
pub(crate) fn settle(state: &State, events: &mut Vec<Event>) {
    let mut settled = Vec::new();
    for event in events.iter_mut() {
        let Event::EffectFinished { effect, outcome } = event else {
            continue;
        };
        let Some(moved) = outstanding(state, *effect) else {
            continue;
        };
        let done = matches!(outcome, Outcome::Done { .. });
        match settled_by(state, &moved, done) {
            Ok(Some(event)) => settled.push(event),
            Ok(None) => {}
            Err(why) => *outcome = Outcome::Failed { why: why.into() },
        }
    }
    events.extend(settled);
}

fn outstanding(state: &State, effect: EffectId) -> Option<Move> {
    match &state.outstanding.get(&effect)?.effect {
        Effect::Playbook(Work::Act { act, .. }) => of(act),
        Effect::SetFault { .. }
        | Effect::ClearFault { .. }
        | Effect::Switchover { .. }
        | Effect::Solo { .. }
        | Effect::Failover { .. }
        | Effect::TakeProgram { .. }
        | Effect::Playbook(Work::Look(_))
        | Effect::Experiment(_)
        | Effect::Notify { .. } => None,
    }
}

/// # Errors
/// Why the move came to nothing although the new instance was ready.
fn settled_by(state: &State, moved: &Move, done: bool) -> Result<Option<Event>, &'static str> {
    let nowhere = BTreeSet::new();
    let placed = state.placed.get(&moved.service).unwrap_or(&nowhere);
    let withdrawn = |host: &HostName, why| Event::InstanceWithdrawn {
        service: moved.service.clone(),
        host: host.clone(),
        why,
    };
    if done && !placed.contains(&moved.to) {
        return Err("the placement has changed meanwhile, and it is not wanted there any more");
    }
    if !placed.contains(&moved.from) || !placed.contains(&moved.to) {
        return Ok(None);
    }
    let there = placed.iter().filter(|host| !state.lost.contains_key(*host));
    let wanted = (state.desired.as_ref())
        .and_then(|desired| desired.services.get(&moved.service))
        .map_or(0, |service| usize::from(service.replicas));
    match (done, there.count() > wanted) {
        (true, true) => Ok(Some(withdrawn(&moved.from, WithdrawnBecause::Replaced))),
        (true, false) => Err("another instance was lost meanwhile, so both are needed"),
        (false, true) => Ok(Some(withdrawn(&moved.to, WithdrawnBecause::NotReady))),
        // Slow is better than none.
        (false, false) => Ok(None),
    }
}
