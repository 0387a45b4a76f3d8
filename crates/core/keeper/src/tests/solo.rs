//! Serving alone: when it is refused, in which order it begins and ends.

use super::admission::{adopted, perform_all, primary};
use super::*;
use crate::durable::{Loss, Solo};
use crate::input::{Operator, RequestId};
use crate::postgres::{Client, ClientState, Command, SynchronousStandbys};
use crate::status::{Answer, SoloRefusal};

fn order(keeper: &mut Keeper, at_ms: u64) {
    let input = Input::Operator {
        request: RequestId(1),
        command: Operator::Solo { since_ms: 5 },
    };
    keeper.handle(Instant::from_millis(at_ms), input);
}

fn grant(echo_ms: u64) -> Input {
    let term = Term(2);
    let echo = Instant::from_millis(echo_ms);
    from(2, Body::Grant { term, echo })
}

fn stream(flushed: u64) -> Client {
    Client {
        name: ReceiverName {
            term: Term(2),
            replica: ReplicaId(2),
            incarnation: Incarnation(2),
        },
        state: ClientState::Streaming,
        flushed: Lsn(flushed),
    }
}

fn look(keeper: &mut Keeper, at_ms: u64, clients: Vec<Client>) {
    keeper.handle(
        Instant::from_millis(at_ms),
        Input::Observed(primary(clients)),
    );
}

/// Open, and its one standby that streamed is gone again.
fn without_quorum() -> Keeper {
    let mut keeper = adopted();
    let mut beat = keeper.heartbeat();
    beat.role = Role::Standby;
    beat.incarnation = Incarnation(2);
    keeper.handle(
        Instant::from_millis(8),
        from(2, Body::Heartbeat(Box::new(beat))),
    );
    keeper.handle(Instant::from_millis(10), grant(9));
    look(&mut keeper, 11, alloc::vec![stream(100)]);
    perform_all(&mut keeper, 12);
    look(&mut keeper, 20, Vec::new());
    keeper
}

fn answers(keeper: &mut Keeper) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(effect) = keeper.poll_effect() {
        if let Effect::Answer { answer, .. } = effect {
            answers.push(answer);
        }
    }
    answers
}

#[test]
fn it_is_refused_where_it_is_not_needed_or_not_safe() {
    let mut follower = following();
    order(&mut follower, 10);
    let refused = Answer::SoloRefused(SoloRefusal::NotPrimary { primary: None });
    assert_eq!(answers(&mut follower), [refused]);

    let mut served = without_quorum();
    look(&mut served, 30, alloc::vec![stream(100)]);
    order(&mut served, 31);
    let refused = Answer::SoloRefused(SoloRefusal::QuorumThere);
    assert_eq!(answers(&mut served), [refused]);

    let mut bound = without_quorum();
    let mut beat = bound.heartbeat();
    beat.role = Role::Standby;
    beat.incarnation = Incarnation(2);
    beat.promise.floor = Term(3);
    bound.handle(
        Instant::from_millis(30),
        from(2, Body::Heartbeat(Box::new(beat))),
    );
    order(&mut bound, 31);
    let refused = Answer::SoloRefused(SoloRefusal::BoundAway);
    assert_eq!(answers(&mut bound), [refused]);

    // No majority of keepers answered within the lease.
    let mut isolated = without_quorum();
    isolated.handle(Instant::from_millis(1_300), Input::Tick);
    order(&mut isolated, 1_301);
    let refused = Answer::SoloRefused(SoloRefusal::NotPrimary { primary: None });
    assert!(answers(&mut isolated).contains(&refused));
}

fn is_off(command: &Command) -> bool {
    *command == Command::SetSynchronousStandbys(SynchronousStandbys::Off)
}

/// The record is on a majority of disks before the server stops waiting; it says that this is over only when the
/// quorum has on disk what the log was when commits had begun to wait again.
#[test]
fn it_begins_with_the_record_and_ends_with_the_log() {
    let mut keeper = without_quorum();
    order(&mut keeper, 25);
    let mut done = perform_all(&mut keeper, 26);
    for at_ms in (100..1_700).step_by(100) {
        keeper.handle(Instant::from_millis(at_ms), grant(at_ms - 1));
        look(&mut keeper, at_ms, Vec::new());
        done.extend(perform_all(&mut keeper, at_ms));
    }
    assert!(
        !done.iter().any(is_off),
        "before a majority knows: {done:?}"
    );
    let version = keeper.durable().cohort.as_ref().expect("a cohort").version;
    let incarnation = Incarnation(2);
    let kept = Body::CohortKept {
        version,
        incarnation,
    };
    keeper.handle(Instant::from_millis(1_701), from(2, kept));
    let done = perform_all(&mut keeper, 1_702);
    assert!(done.iter().any(is_off), "{done:?}");
    assert_eq!(keeper.status().reason, crate::Reason::Solo);
    assert_eq!(keeper.status().protected, Lsn(100));

    let solo = |keeper: &Keeper| keeper.durable().cohort.as_ref().and_then(|c| c.solo);
    // The quorum streams, and lacks what the log has by now: commits wait, and it is not over.
    for at_ms in [1_710, 1_720] {
        look(&mut keeper, at_ms, alloc::vec![stream(99)]);
        perform_all(&mut keeper, at_ms + 1);
        assert!(solo(&keeper).is_some() && keeper.status().solo.is_some());
    }
    assert_eq!(keeper.status().reason, crate::Reason::SoloEnding);
    look(&mut keeper, 1_730, alloc::vec![stream(100)]);
    perform_all(&mut keeper, 1_731);
    assert!(solo(&keeper).is_none());
    assert!(keeper.status().solo.is_some(), "its end is not decided");
    let version = keeper.durable().cohort.as_ref().expect("a cohort").version;
    let kept = Body::CohortKept {
        version,
        incarnation,
    };
    keeper.handle(Instant::from_millis(1_740), from(2, kept));
    assert!(keeper.status().solo.is_none());
}

/// What a term's record says of the log that was answered alone in term 2, which ended at 150.
fn weighed(before: &Cohort, term: u32, winner: &Rank, reported: Option<&Rank>) -> Cohort {
    let mut cohort = before.clone();
    cohort.version.term = Term(term);
    following().note_loss(&mut cohort, winner, |_, _| reported);
    cohort
}

#[test]
fn a_loss_that_a_later_term_finds_is_remembered_as_found() {
    let rank = |timeline, lsn, passed| Rank {
        timeline: Timeline(timeline),
        lsn: Lsn(lsn),
        history: history(passed),
    };
    let alone = Cohort {
        solo: Some(Solo {
            term: Term(2),
            primary: ReplicaId(1),
            incarnation: Incarnation(1),
            from: Lsn(50),
            since_ms: 5,
        }),
        ..cohort(3)
    };
    let short = rank(2, 100, &[(1, 10)]);
    let whole = rank(2, 150, &[(1, 10)]);
    let branch = rank(3, 120, &[(1, 10), (2, 100)]);
    let lost = |term| Loss {
        term: Term(term),
        timeline: Timeline(2),
        after: Lsn(100),
        below: Term(3),
        until: None,
    };
    let third = weighed(&alone, 3, &short, None);
    assert_eq!(
        (third.losses.as_slice(), third.regained.len()),
        ([lost(3)].as_slice(), 0)
    );
    let fourth = weighed(&third, 4, &whole, Some(&whole));
    assert_eq!(
        (fourth.losses.len(), fourth.regained.as_slice()),
        (0, [lost(3)].as_slice())
    );
    // That term has failed as well, and the third one's log is all there is.
    let fifth = weighed(&fourth, 5, &branch, None);
    assert_eq!(
        (fifth.losses.as_slice(), fifth.regained.len()),
        ([lost(5)].as_slice(), 0)
    );
}
