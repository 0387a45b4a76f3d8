//! Going on without a majority: when it is refused, how it begins, and who leaves what for it.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use expect_test::expect;
use mainstay_units::{Incarnation, Instant, Lsn, Term, Timeline};

use super::{cohort, effects, following, from, history, standby};
use crate::config::ReplicaId;
use crate::durable::{CohortVersion, Loss};
use crate::effect::Effect;
use crate::input::{Input, Operator, RequestId};
use crate::keeper::Keeper;
use crate::lineage::Lineage;
use crate::machine::State;
use crate::message::{Body, Message};
use crate::postgres::{Outcome, Rank};
use crate::status::Reason;

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn order(keeper: &mut Keeper, ms: u64) {
    let command = Operator::Force { since_ms: 7 };
    let request = RequestId(1);
    keeper.handle(at(ms), Input::Operator { request, command });
}

/// What it answers an operator, and nothing else.
fn answers(keeper: &mut Keeper) -> String {
    let mut said = String::new();
    while let Some(effect) = keeper.poll_effect() {
        if let Effect::Answer { answer, .. } = effect {
            said.push_str(&format!("{answer:?}"));
        }
    }
    said
}

/// In steps: one that sleeps starts counting silence afresh.
fn wait(keeper: &mut Keeper, until_ms: u64) {
    for ms in (0..=until_ms).step_by(50) {
        if at(ms) < keeper.now {
            continue;
        }
        keeper.handle(at(ms), Input::Tick);
    }
}

/// Everything that is written is on disk at once.
fn settle(keeper: &mut Keeper, ms: u64) {
    for sequence in 1..=12 {
        keeper.handle(at(ms), Input::Persisted { sequence });
    }
}

fn done(keeper: &mut Keeper, ms: u64, operation: u64, outcome: Outcome) {
    let operation = crate::OperationId(operation);
    keeper.handle(at(ms), Input::CommandDone { operation, outcome });
    settle(keeper, ms);
}

/// Alone, told to go on, and its end of log is known.
fn alone_and_ranked() -> Keeper {
    let mut keeper = following();
    wait(&mut keeper, 3_000);
    order(&mut keeper, 3_001);
    settle(&mut keeper, 3_001);
    done(&mut keeper, 3_010, 1, Outcome::Done);
    let rank = Rank {
        timeline: Timeline(2),
        lsn: Lsn(100),
        history: history(&[(1, 10)]),
    };
    done(&mut keeper, 3_020, 2, Outcome::Ranked(rank));
    assert_eq!(keeper.state(), State::Ranked);
    keeper
}

#[test]
fn it_begins_when_too_few_report_and_not_before() {
    let mut keeper = alone_and_ranked();
    wait(&mut keeper, 4_900);
    assert_eq!(keeper.durable().lineage, Lineage::ORIGIN);
    effects(&mut keeper);
    keeper.handle(at(5_010), Input::Tick);
    settle(&mut keeper, 5_011);
    let durable = keeper.durable();
    assert_eq!(durable.lineage.number, 1);
    let cohort = durable.cohort.as_ref().expect("a record");
    let told = format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n",
        cohort.version, cohort.members, cohort.solo, cohort.losses
    );
    expect![[r#"
        CohortVersion { term: Term(4), epoch: 5 }
        {ReplicaId(2): Member { incarnation: Incarnation(2) }}
        Some(Solo { term: Term(4), primary: ReplicaId(2), incarnation: Incarnation(2), from: Lsn(0), since_ms: 7 })
        [Loss { term: Term(4), timeline: Timeline(2), after: Lsn(100), below: Term(4), until: None }]
    "#]]
    .assert_eq(&told);
    assert_eq!(keeper.state(), State::Configuring);
}

#[test]
fn what_a_later_term_had_found_is_lost_again_with_the_log_of_an_earlier_one() {
    let mut keeper = alone_and_ranked();
    let found = |term| Loss {
        term: Term(term),
        timeline: Timeline(1),
        after: Lsn(10),
        below: Term(2),
        until: None,
    };
    // This log is of term 2, and knows nothing of term 3's.
    let cohort = keeper.durable.cohort.as_mut().expect("a record");
    cohort.regained = alloc::vec![found(2), found(3)];
    wait(&mut keeper, 5_010);
    settle(&mut keeper, 5_011);
    let cohort = keeper.durable().cohort.as_ref().expect("a record");
    let told = format!("{:?}\n{:?}\n", cohort.losses, cohort.regained);
    expect![[r#"
        [Loss { term: Term(4), timeline: Timeline(1), after: Lsn(10), below: Term(2), until: None }, Loss { term: Term(4), timeline: Timeline(2), after: Lsn(100), below: Term(4), until: None }]
        []
    "#]]
    .assert_eq(&told);
}

#[test]
fn an_ordinary_election_is_preferred() {
    let mut keeper = alone_and_ranked();
    let report = |replica: u8| {
        from(
            replica,
            Body::Report {
                term: Term(3),
                to: Incarnation(2),
                verdict: Box::new(crate::Report::Recruited {
                    incarnation: Incarnation(u128::from(replica)),
                    rank: Rank {
                        timeline: Timeline(2),
                        lsn: Lsn(90),
                        history: history(&[(1, 10)]),
                    },
                    cohort: Some(Box::new(cohort(3))),
                    known: Some(Term(2)),
                }),
            },
        )
    };
    keeper.handle(at(3_100), report(3));
    settle(&mut keeper, 3_101);
    assert_eq!(keeper.durable().lineage, Lineage::ORIGIN);
    assert_eq!(keeper.state(), State::Configuring);
}

#[test]
fn whoever_answers_and_has_a_primary_is_in_the_way() {
    let mut keeper = alone_and_ranked();
    answers(&mut keeper);
    let refused = Body::Report {
        term: Term(3),
        to: Incarnation(2),
        verdict: Box::new(crate::Report::Refused {
            refusal: crate::Refusal::PrimaryHeard,
            highest: Term(3),
        }),
    };
    keeper.handle(at(3_100), from(3, refused));
    keeper.handle(at(5_010), Input::Tick);
    settle(&mut keeper, 5_011);
    let said = answers(&mut keeper);
    assert!(said.contains("PrimaryElsewhere"), "{said}");
    assert_eq!(keeper.durable().lineage, Lineage::ORIGIN);
    assert!(
        keeper.durable().aborted.is_some(),
        "its promise is released"
    );
}

#[test]
fn it_is_refused_at_once() {
    let mut keeper = following();
    order(&mut keeper, 10);
    let said = answers(&mut keeper);
    assert!(said.contains("PrimaryHeard"), "{said}");
    // One that lost what it had.
    let mut keeper = following();
    wait(&mut keeper, 3_000);
    keeper.durable.incarnation = Incarnation(77);
    order(&mut keeper, 3_001);
    let said = answers(&mut keeper);
    assert!(said.contains("NotCounted"), "{said}");
}

/// Bound by another's ordinary try, which may yet succeed: the order waits until that is given up, then has its own.
#[test]
fn an_order_waits_for_a_try_that_is_under_way() {
    let mut keeper = following();
    wait(&mut keeper, 3_000);
    let mut beat = keeper.heartbeat();
    beat.sent = at(2_990);
    beat.reason = Reason::AwaitingPrimary;
    keeper.handle(at(3_000), from(3, Body::Heartbeat(Box::new(beat))));
    let recruit = Body::Recruit { term: Term(3) };
    keeper.handle(at(3_001), from(3, recruit));
    settle(&mut keeper, 3_001);
    effects(&mut keeper);
    order(&mut keeper, 3_002);
    wait(&mut keeper, 3_500);
    assert_eq!(effects(&mut keeper), "");
    keeper.handle(at(3_500), from(3, Body::Abort { term: Term(3) }));
    settle(&mut keeper, 3_501);
    let said = effects(&mut keeper);
    assert!(said.contains("Recruit { term: Term(4) }"), "{said}");
    let promise = keeper.durable().promise;
    assert_eq!(promise.coordinator, Some(ReplicaId(2)));
}

/// A server whose keeper was dead followed a primary of a later lineage meanwhile: it outranks nobody here, and is
/// not one of those that an election needs.
#[test]
fn a_log_on_a_timeline_that_nobody_promised_counts_for_nothing() {
    // What the third replica reports, and whether the two then elect it.
    for (timeline, known, elects) in [
        (2, Some(2), true),
        (9, Some(2), false),
        (9, None, false),
        // Of a version that does not say what it knew.
        (2, None, true),
    ] {
        let mut keeper = alone_and_ranked();
        effects(&mut keeper);
        let report = Body::Report {
            term: Term(3),
            to: Incarnation(2),
            verdict: Box::new(crate::Report::Recruited {
                incarnation: Incarnation(3),
                rank: Rank {
                    timeline: Timeline(timeline),
                    lsn: Lsn(500),
                    history: history(&[(1, 10)]),
                },
                cohort: Some(Box::new(cohort(3))),
                known: known.map(Term),
            }),
        };
        keeper.handle(at(3_100), from(3, report));
        settle(&mut keeper, 3_101);
        let said = effects(&mut keeper);
        assert_eq!(said.contains("to 3: Promote"), elects, "{timeline}: {said}");
        assert_eq!(keeper.state(), State::Ranked);
    }
}

/// It may have been started by hand in the meantime.
#[test]
fn a_server_that_runs_on_a_useless_folder_is_stopped_before_it_is_filled() {
    let mut keeper = following();
    keeper.handle(at(10), of(later(1), later(1).fingerprint(1)));
    settle(&mut keeper, 11);
    done(&mut keeper, 20, 1, Outcome::Done);
    let mut seen = standby(None);
    seen.process = crate::ProcessState::Stopped;
    keeper.handle(at(21), Input::Observed(seen));
    assert_eq!(keeper.state(), State::Empty);
    effects(&mut keeper);
    keeper.handle(at(22), Input::Observed(standby(None)));
    let said = effects(&mut keeper);
    assert!(said.contains("StopImmediate"), "{said}");
}

fn later(number: u32) -> Lineage {
    let seed = Incarnation(5);
    Lineage { number, seed }
}

fn of(lineage: Lineage, fingerprint: u64) -> Input {
    Input::Message(Message {
        from: ReplicaId(3),
        fingerprint,
        lineage,
        incarnation: Incarnation(3),
        body: Body::Recruit { term: Term(9) },
    })
}

#[test]
fn who_hears_of_a_later_lineage_leaves_its_own() {
    let mut keeper = following();
    effects(&mut keeper);
    keeper.handle(at(10), of(later(1), later(1).fingerprint(1)));
    assert_eq!(keeper.durable().lineage, later(1));
    assert_eq!(keeper.durable().cohort, None);
    assert_eq!(keeper.durable().incarnation, Incarnation(0));
    let said = effects(&mut keeper);
    assert!(said.contains("StopImmediate"), "{said}");
    assert!(!said.contains("Report"), "{said}");
    // Its server is not started on what it had.
    settle(&mut keeper, 11);
    done(&mut keeper, 20, 1, Outcome::Done);
    let mut seen = standby(None);
    seen.process = crate::ProcessState::Stopped;
    keeper.handle(at(21), Input::Observed(seen));
    assert_eq!(keeper.state(), State::Empty);
    // What an older one says is not heard, and neither is what claims a lineage without its fingerprint.
    let before = keeper.durable().clone();
    keeper.handle(at(30), of(Lineage::ORIGIN, 1));
    keeper.handle(at(31), of(later(2), 1));
    assert_eq!(*keeper.durable(), before);
    assert_eq!(
        (keeper.status().left_behind, keeper.status().strangers),
        (1, 1)
    );
}

/// Its word is of the later lineage at once, its hands follow when they may.
#[test]
fn who_keeps_its_hands_off_leaves_too() {
    let operator = |command| Input::Operator {
        request: RequestId(1),
        command,
    };
    let mut keeper = following();
    keeper.handle(at(5), operator(Operator::Pause));
    settle(&mut keeper, 6);
    effects(&mut keeper);
    keeper.handle(at(10), of(later(1), later(1).fingerprint(1)));
    settle(&mut keeper, 11);
    assert_eq!(keeper.durable().lineage, later(1));
    assert_eq!(keeper.durable().incarnation, Incarnation(0));
    keeper.handle(at(20), Input::Observed(standby(Some(2))));
    let said = effects(&mut keeper);
    assert!(!said.contains("StopImmediate"), "{said}");
    // Ended by hand, it may be started by hand: it is not called empty.
    let mut ended = standby(None);
    ended.process = crate::ProcessState::Stopped;
    keeper.handle(at(20), Input::Observed(ended));
    assert_eq!(keeper.state(), State::Unobserved);
    keeper.handle(at(20), Input::Observed(standby(None)));
    // It is older than what this one knows now.
    keeper.handle(at(21), of(Lineage::ORIGIN, 1));
    assert_eq!(keeper.status().left_behind, 1);
    keeper.handle(at(30), operator(Operator::Resume));
    settle(&mut keeper, 31);
    let said = effects(&mut keeper);
    assert!(said.contains("StopImmediate"), "{said}");
}

#[test]
fn two_that_were_begun_beside_each_other_are_two() {
    let seeds = [1, 2].map(|seed| Lineage {
        number: 1,
        seed: Incarnation(seed),
    });
    assert!(seeds[0] < seeds[1] && seeds[1] < later(2));
    assert_ne!(seeds[0].fingerprint(9), seeds[1].fingerprint(9));
    assert_eq!(Lineage::ORIGIN.fingerprint(9), 9);
}

/// One that lost its disk may coordinate a term that it coordinated before. Nothing of before is its word.
#[test]
fn a_former_self_is_somebody_else() {
    let said_by = |incarnation: u128, body: Body| {
        Input::Message(Message {
            from: ReplicaId(3),
            fingerprint: 1,
            lineage: Lineage::ORIGIN,
            incarnation: Incarnation(incarnation),
            body,
        })
    };
    let mut keeper = following();
    keeper.handle(at(2_000), said_by(3, Body::Recruit { term: Term(3) }));
    settle(&mut keeper, 2_001);
    keeper.handle(at(2_002), said_by(33, Body::Abort { term: Term(3) }));
    assert_eq!(keeper.durable().promise.floor, Term(3), "it still binds");
    done(&mut keeper, 2_010, 1, Outcome::Done);
    let rank = Rank {
        timeline: Timeline(2),
        lsn: Lsn(100),
        history: history(&[(1, 10)]),
    };
    done(&mut keeper, 2_020, 2, Outcome::Ranked(rank));
    effects(&mut keeper);
    keeper.handle(at(2_021), said_by(33, Body::Recruit { term: Term(3) }));
    let said = effects(&mut keeper);
    assert!(said.contains("refusal: Promised"), "{said}");
    let mut record = cohort(3);
    record.version = CohortVersion {
        term: Term(3),
        epoch: 4,
    };
    let term = Term(3);
    let promote = |cohort| Body::Promote { term, cohort };
    keeper.handle(at(2_022), said_by(33, promote(Box::new(record.clone()))));
    assert_eq!(keeper.state(), State::Ranked);
    keeper.handle(at(2_023), said_by(3, promote(Box::new(record))));
    assert_eq!(keeper.state(), State::Configuring);
}
