//! What time alone brings about: faults end, executors that never answer are given up, the next host has its turn.

use alloc::vec::Vec;

use crate::decide::Decision;
use crate::drill;
use crate::effect::{Effect, Outcome};
use crate::event::{EndReason, Event};
use crate::experiment;
use crate::notices;
use crate::playbook;
use crate::state::{FaultPhase, State};
use crate::upgrade;
use crate::why::Why;

/// An effect that nobody answered for so long has an unknown outcome.
const EFFECT_ANSWER_MS_MAX: u64 = 120_000;
/// A fault that could not be ended is tried again after this; after a minute of it, after twice as long each time, since
/// every attempt stands in the journal. Its guardian and the sweeps of nodes try besides, all the time.
const FAULT_END_AGAIN_MS: u64 = 5_000;
const FAULT_ENDS_AT_ONCE: u32 = 12;
const FAULT_END_AGAIN_MS_MAX: u64 = 320_000;

fn again_ms(failed: u32, since_ms: u64) -> u64 {
    let doubled = failed.saturating_sub(FAULT_ENDS_AT_ONCE).min(16);
    let pause_ms = FAULT_END_AGAIN_MS.saturating_mul(1 << doubled);
    since_ms.saturating_add(pause_ms.min(FAULT_END_AGAIN_MS_MAX))
}

/// Hosts that take a program start everything anew and look at it for a while.
const UPGRADE_ANSWER_MS_MAX: u64 = 300_000;

/// Whoever does something for a playbook or an experiment keeps its time itself, and then has so long to say what became
/// of it.
const WORK_ANSWER_MARGIN_MS: u64 = 15_000;

/// Whoever says a notice gives up sooner.
const NOTIFY_ANSWER_MS_MAX: u64 = 60_000;

fn patience_ms(effect: &Effect) -> u64 {
    match effect {
        Effect::SetFault { .. }
        | Effect::ClearFault { .. }
        | Effect::Switchover { .. }
        | Effect::Solo { .. }
        | Effect::Failover { .. } => EFFECT_ANSWER_MS_MAX,
        Effect::TakeProgram { .. } => UPGRADE_ANSWER_MS_MAX,
        Effect::Playbook(work) => work.limit_ms().saturating_add(WORK_ANSWER_MARGIN_MS),
        Effect::Experiment(work) => work.limit_ms().saturating_add(WORK_ANSWER_MARGIN_MS),
        Effect::Notify { .. } => NOTIFY_ANSWER_MS_MAX,
    }
}

pub(super) fn due(state: &State, now_ms: u64) -> Decision {
    let mut events = Vec::new();
    for (fault, known) in &state.faults {
        let why = match &known.phase {
            FaultPhase::Setting | FaultPhase::Set if now_ms >= known.until_ms => EndReason::Expired,
            FaultPhase::EndFailed { since_ms, why }
                if now_ms >= again_ms(known.failed, *since_ms) =>
            {
                EndReason::Again {
                    failed: why.clone(),
                }
            }
            FaultPhase::Setting
            | FaultPhase::Set
            | FaultPhase::Ending
            | FaultPhase::EndFailed { .. } => continue,
        };
        events.push(Event::FaultEnding { fault: *fault, why });
    }
    for (effect, outstanding) in &state.outstanding {
        if now_ms
            >= outstanding
                .since_ms
                .saturating_add(patience_ms(&outstanding.effect))
        {
            let why = match &outstanding.effect {
                Effect::SetFault { .. } => "nobody said whether the fault was set",
                Effect::ClearFault { .. } => "nobody said whether the fault was ended",
                Effect::Switchover { .. } | Effect::Solo { .. } | Effect::Failover { .. } => {
                    "the keeper's host did not say what became of it"
                }
                Effect::TakeProgram { .. } => "the host did not say that it stands",
                Effect::Playbook(_) | Effect::Experiment(_) => "nobody said what became of it",
                Effect::Notify { .. } => "nobody said whether it was said",
            };
            events.push(Event::EffectFinished {
                effect: *effect,
                outcome: Outcome::Unknown { why: why.into() },
            });
        }
    }
    events.extend(upgrade::next(state));
    events.extend(drill::desk::due(state, now_ms));
    events.extend(playbook::due(state, now_ms));
    // By itself, so that nothing above ends the same fault or the same order in this batch.
    if events.is_empty() {
        events.extend(experiment::desk::due(state, now_ms));
        events.extend(drill::desk::mending(state, now_ms));
    }
    match events.is_empty() {
        true => Decision::nothing(Why::NothingDue),
        false => Decision::of(events),
    }
}

/// When [`due`] will have something to say, in kernel time.
pub(crate) fn next_due_ms(state: &State) -> Option<u64> {
    let faults = state
        .faults
        .values()
        .filter_map(|fault| match &fault.phase {
            FaultPhase::Setting | FaultPhase::Set => Some(fault.until_ms),
            FaultPhase::EndFailed { since_ms, .. } => Some(again_ms(fault.failed, *since_ms)),
            FaultPhase::Ending => None,
        });
    let outstanding = state.outstanding.values();
    let effects = outstanding.map(|o| o.since_ms.saturating_add(patience_ms(&o.effect)));
    // An upgrade that waits for nobody is due at once.
    let upgrade = upgrade::next(state).map(|_| 0);
    let incidents = state.incidents.next_due_ms();
    let experiment = experiment::desk::next_due_ms(state);
    let playbooks = playbook::next_due_ms(state);
    let drills = drill::desk::next_due_ms(state);
    let orders = faults.chain(effects).chain(upgrade).chain(playbooks);
    let told = incidents.into_iter().chain(notices::next_due_ms(state));
    orders.chain(told).chain(experiment).chain(drills).min()
}

#[cfg(test)]
mod tests {
    use super::again_ms;

    #[test]
    fn what_cannot_be_ended_for_long_is_tried_less_often() {
        let pauses = [1, 12, 13, 14, 18, 19, u32::MAX].map(|failed| again_ms(failed, 7) - 7);
        let expected = [5_000, 5_000, 10_000, 20_000, 320_000, 320_000, 320_000];
        assert_eq!(pauses, expected);
    }
}
