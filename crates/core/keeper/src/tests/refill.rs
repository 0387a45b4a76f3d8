//! Filling a replica anew by order: when it is refused, when it is begun, and that it lapses.

use super::admission::{adopted, perform_all};
use super::*;
use crate::input::{Operator, RequestId};
use crate::machine::State;
use crate::message::Heartbeat;
use crate::postgres::Command;
use crate::status::{Answer, Reason, RefillRefusal};

fn order(keeper: &mut Keeper, at_ms: u64) {
    let input = Input::Operator {
        request: RequestId(1),
        command: Operator::Refill,
    };
    keeper.handle(Instant::from_millis(at_ms), input);
}

/// The open primary on 1, or the standby on 3 that follows it.
fn says(keeper: &Keeper, at_ms: u64, id: u8, reason: Reason) -> Heartbeat {
    let leads = id == 1;
    Heartbeat {
        age: core::time::Duration::ZERO,
        sent: Instant::from_millis(at_ms),
        role: if leads { Role::Primary } else { Role::Standby },
        reason,
        term: Term(2),
        incarnation: Incarnation(u128::from(id)),
        primary: Some(ReplicaId(1)),
        open: leads,
        history: leads.then(|| history(&[(1, 10)])),
        rewind_source: leads,
        cohort: Some(cohort(3).version),
        streams: !leads,
        ..keeper.heartbeat()
    }
}

/// One round of what the others say, and of a look at the own server; what was answered and ordered.
fn round(keeper: &mut Keeper, at_ms: u64, other: Option<Reason>) -> (Vec<Answer>, Vec<Command>) {
    let now = Instant::from_millis(at_ms);
    let others = [(1, Some(Reason::Serving)), (3, other)];
    for (id, reason) in others {
        if let Some(reason) = reason {
            let beat = says(keeper, at_ms, id, reason);
            keeper.handle(now, from(id, Body::Heartbeat(Box::new(beat))));
        }
    }
    keeper.handle(now, Input::Observed(standby(Some(2))));
    drain(keeper, now)
}

fn drain(keeper: &mut Keeper, now: Instant) -> (Vec<Answer>, Vec<Command>) {
    let (mut answers, mut commands) = (Vec::new(), Vec::new());
    while let Some(effect) = keeper.poll_effect() {
        match effect {
            Effect::Answer { answer, .. } => answers.push(answer),
            Effect::Persist { sequence, .. } => {
                keeper.handle(now, Input::Persisted { sequence });
            }
            Effect::Postgres { operation, command } => {
                commands.push(command.clone());
                if command == Command::StopImmediate {
                    let outcome = Outcome::Done;
                    keeper.handle(now, Input::CommandDone { operation, outcome });
                    let stopped = Observation {
                        process: ProcessState::Stopped,
                        ..standby(None)
                    };
                    keeper.handle(now, Input::Observed(stopped));
                }
            }
            Effect::Send { .. }
            | Effect::WriteLease { .. }
            | Effect::ClearLease
            | Effect::Publish(_)
            | Effect::Halt(_) => {}
        }
    }
    (answers, commands)
}

/// A standby of term 2 that hears everybody.
fn calm() -> Keeper {
    let mut keeper = following();
    for at_ms in (100..=3_000).step_by(100) {
        round(&mut keeper, at_ms, Some(Reason::Following));
    }
    assert_eq!(keeper.state(), State::Following);
    keeper
}

fn refused(refusal: RefillRefusal) -> Vec<Answer> {
    alloc::vec![Answer::RefillRefused(refusal)]
}

#[test]
fn it_is_refused_where_it_makes_no_sense_or_commits_would_wait() {
    let mut primary = adopted();
    order(&mut primary, 10);
    let (answers, _) = drain(&mut primary, Instant::from_millis(10));
    assert_eq!(answers, refused(RefillRefusal::IsPrimary));

    let mut lonely = following();
    order(&mut lonely, 10);
    let (answers, _) = drain(&mut lonely, Instant::from_millis(10));
    assert_eq!(answers, refused(RefillRefusal::NotFollowing));

    for other in [None, Some(Reason::Rebuilding), Some(Reason::LogRemoved)] {
        let mut keeper = following();
        for at_ms in (100..=3_000).step_by(100) {
            round(&mut keeper, at_ms, other);
        }
        order(&mut keeper, 3_010);
        let (answers, _) = drain(&mut keeper, Instant::from_millis(3_010));
        assert_eq!(answers, refused(RefillRefusal::CopiesNeeded), "{other:?}");
        assert!(!keeper.is_to_be_refilled());
    }
}

#[test]
fn it_says_so_first_and_is_then_filled_under_another_name() {
    let mut keeper = calm();
    order(&mut keeper, 3_010);
    order(&mut keeper, 3_020);
    let (answers, _) = drain(&mut keeper, Instant::from_millis(3_020));
    assert_eq!(answers, refused(RefillRefusal::Busy));
    let before = keeper.durable().incarnation;
    let mut seen = Vec::new();
    for at_ms in (3_100..=7_000).step_by(100) {
        let (answers, commands) = round(&mut keeper, at_ms, Some(Reason::Following));
        if at_ms < 5_000 {
            assert_eq!((answers.len(), commands.len()), (0, 0), "{at_ms}: too soon");
            assert_eq!(keeper.heartbeat().reason, Reason::LogRemoved, "it says so");
            continue;
        }
        seen.extend(commands);
        if !answers.is_empty() {
            assert_eq!(answers, [Answer::Done { term: Term(2) }]);
            break;
        }
    }
    let fills = |command: &Command| matches!(command, Command::Rebuild { source: ReplicaId(1), incarnation } if *incarnation != before);
    assert!(seen.iter().any(fills), "{seen:?}");
    assert_eq!(keeper.state(), State::Rebuilding);
    assert!(!keeper.is_to_be_refilled());
}

#[test]
fn it_lapses_when_the_rest_cannot_do_without_it() {
    let mut keeper = calm();
    order(&mut keeper, 3_010);
    let mut answered = Vec::new();
    for at_ms in (3_100..=16_000).step_by(100) {
        // The other standby goes away in the moment in which this one would.
        let (answers, commands) = round(&mut keeper, at_ms, Some(Reason::Rebuilding));
        assert!(commands.is_empty(), "{at_ms}: {commands:?}");
        answered.extend(answers);
    }
    assert_eq!(answered, refused(RefillRefusal::NotSpared));
    let (_, commands) = round(&mut keeper, 16_100, Some(Reason::Following));
    assert!(commands.is_empty() && keeper.state() == State::Following);
    perform_all(&mut keeper, 16_200);
}
