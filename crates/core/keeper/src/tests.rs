//! The parts that can be shown by tables of data, and one transcript of a recruitment.

mod admission;
mod foreign;
mod lineage;
mod refill;
mod renewal;
mod reshape;
mod solo;
mod split;
mod streams;
mod trips;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use expect_test::{Expect, expect};
use mainstay_units::{Incarnation, Instant, Lsn, SystemIdentifier, Term, Timeline};

use crate::config::{Config, ReplicaId, Timings};
use crate::durable::{Cohort, CohortVersion, Durable, Member, Promise};
use crate::effect::Effect;
use crate::input::Input;
use crate::keeper::Keeper;
use crate::lineage::Lineage;
use crate::message::{Body, Message};
use crate::postgres::{
    DataState, HistoryEntry, Observation, Outcome, ProcessState, Rank, Receiver, ReceiverName,
    Renewal, Serviceability, Supply, TimelineHistory,
};
use crate::status::Role;

fn history(entries: &[(u32, u64)]) -> TimelineHistory {
    let entry = |(timeline, end): &(u32, u64)| HistoryEntry {
        timeline: Timeline(*timeline),
        end: Lsn(*end),
    };
    TimelineHistory(entries.iter().map(entry).collect())
}

#[test]
fn a_log_fits_when_it_ends_before_its_timeline_was_left() {
    let primary = history(&[(1, 10), (2, 50), (4, 90)]);
    let check = |timeline: u32, lsn: u64, ancestors: &[(u32, u64)], fits: bool| {
        let rank = Rank {
            timeline: Timeline(timeline),
            lsn: Lsn(lsn),
            history: history(ancestors),
        };
        let what = format!("{timeline}@{lsn} {ancestors:?}");
        assert_eq!(rank.is_part_of(Timeline(7), &primary), fits, "{what}");
    };
    check(4, 90, &[(1, 10), (2, 50)], true);
    check(4, 91, &[(1, 10), (2, 50)], false);
    check(2, 30, &[(1, 10)], true);
    check(3, 20, &[(1, 10), (2, 15)], false);
    check(7, 200, &[(1, 10), (2, 50), (4, 90)], true);
    // The same numbers, other ancestors: another log.
    check(4, 80, &[(1, 10), (3, 50)], false);
    check(7, 200, &[(1, 10), (2, 50), (5, 90)], false);
    check(8, 10, &[], false);
}

fn cohort(members: u8) -> Cohort {
    Cohort {
        version: CohortVersion {
            term: Term(2),
            epoch: 3,
        },
        system_identifier: SystemIdentifier(9),
        members: (1..=members)
            .map(|id| {
                let incarnation = Incarnation(u128::from(id));
                (ReplicaId(id), Member { incarnation })
            })
            .collect(),
        copies: Some(2),
        solo: None,
        losses: alloc::vec::Vec::new(),
        regained: alloc::vec::Vec::new(),
        beyond: BTreeMap::new(),
    }
}

#[test]
fn recruits_and_copies_overlap() {
    for members in 1..=9_u8 {
        for copies in 1..=members {
            let recruits = cohort(members).recruits_needed(copies);
            let (members, copies) = (usize::from(members), usize::from(copies));
            assert!(recruits + copies > members, "{members} {copies}");
            assert!(2 * recruits > members, "{members} {copies}");
            assert!(recruits <= members, "{members} {copies}");
        }
    }
}

#[test]
fn names_are_read_back() {
    let name = ReceiverName {
        term: Term(12),
        replica: ReplicaId(3),
        incarnation: Incarnation(u128::MAX),
    };
    let text = name.to_string();
    assert!(text.len() < 64, "PostgreSQL cuts application names there");
    assert_eq!(text.parse(), Ok(name));
    for text in [
        "walreceiver",
        "mainstay_1_2",
        "mainstay_x_2_00",
        "mainstay_1_2_3",
    ] {
        assert!(text.parse::<ReceiverName>().is_err(), "{text}");
    }
}

fn following() -> Keeper {
    let config = Config {
        me: ReplicaId(2),
        replicas: (1..=3).map(ReplicaId).collect::<BTreeSet<_>>(),
        leaving: BTreeSet::new(),
        home: ReplicaId(1),
        copies: 2,
        fingerprint: 1,
        terms_skipped: 0,
        seed: 1,
        timings: Timings::default(),
    };
    let durable = Durable {
        promise: Promise {
            highest: Term(2),
            coordinator: None,
            incarnation: Incarnation(0),
            floor: Term(2),
            previous_floor: Term(2),
        },
        cohort: Some(cohort(3)),
        incarnation: Incarnation(2),
        ..Durable::default()
    };
    let mut keeper = Keeper::new(config, Some(durable), Instant::ZERO).expect("valid");
    keeper.handle(Instant::ZERO, Input::Observed(standby(Some(2))));
    keeper
}

fn standby(receiver_term: Option<u32>) -> Observation {
    Observation {
        data: DataState::Present {
            system_identifier: SystemIdentifier(9),
            incarnation: Some(Incarnation(2)),
        },
        process: ProcessState::Standby {
            timeline: Timeline(2),
            flushed: Lsn(100),
        },
        serviceability: Serviceability::Good,
        receiver: receiver_term.map(|term| Receiver {
            name: Some(ReceiverName {
                term: Term(term),
                replica: ReplicaId(2),
                incarnation: Incarnation(2),
            }),
            streaming: true,
            heard: true,
        }),
        supply: Supply::Unbroken,
        renewal: Renewal::NotNeeded,
        clients: Vec::new(),
    }
}

/// What a keeper does, without heartbeats and sight.
fn effects(keeper: &mut Keeper) -> String {
    let mut lines = String::new();
    while let Some(effect) = keeper.poll_effect() {
        let line = match effect {
            Effect::Send { message, .. } if matches!(message.body, Body::Heartbeat(_)) => continue,
            Effect::Publish(_) | Effect::ClearLease => continue,
            Effect::Persist { sequence, durable } => {
                format!("persist {sequence}: {:?}", durable.promise)
            }
            Effect::Send { to, message } => format!("to {to}: {:?}", message.body),
            Effect::Postgres { command, .. } => format!("{command:?}"),
            Effect::WriteLease { .. } | Effect::Answer { .. } | Effect::Halt(_) => {
                format!("{effect:?}")
            }
        };
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

fn step(keeper: &mut Keeper, at_ms: u64, input: Input, expected: &Expect) {
    keeper.handle(Instant::from_millis(at_ms), input);
    expected.assert_eq(&effects(keeper));
}

fn from(id: u8, body: Body) -> Input {
    Input::Message(Message {
        from: ReplicaId(id),
        fingerprint: 1,
        lineage: Lineage::ORIGIN,
        incarnation: Incarnation(u128::from(id)),
        body,
    })
}

/// Rule 4 (d): promise durable, then off the stream, then the report.
#[test]
fn a_recruit_promises_then_detaches_then_reports() {
    let mut keeper = following();
    effects(&mut keeper);
    let recruit = || from(3, Body::Recruit { term: Term(3) });
    // It may have granted a lease before it restarted.
    step(
        &mut keeper,
        10,
        recruit(),
        &expect![[r#"
            to 3: Report { term: Term(3), to: Incarnation(3), verdict: Refused { refusal: LeaseRunning, highest: Term(2) } }
        "#]],
    );
    step(
        &mut keeper,
        2_000,
        recruit(),
        &expect![[r#"
            persist 1: Promise { highest: Term(3), coordinator: Some(ReplicaId(3)), incarnation: Incarnation(3), floor: Term(3), previous_floor: Term(2) }
        "#]],
    );
    step(
        &mut keeper,
        2_002,
        Input::Persisted { sequence: 1 },
        &expect![[r#"
        Detach
    "#]],
    );
    let done = |operation| Input::CommandDone {
        operation: crate::OperationId(operation),
        outcome: Outcome::Done,
    };
    step(
        &mut keeper,
        2_010,
        done(1),
        &expect![[r#"
        ReadRank
    "#]],
    );
    let ranked = Input::CommandDone {
        operation: crate::OperationId(2),
        outcome: Outcome::Ranked(Rank {
            timeline: Timeline(2),
            lsn: Lsn(100),
            history: history(&[(1, 10)]),
        }),
    };
    keeper.handle(Instant::from_millis(2_015), ranked);
    let reported = effects(&mut keeper);
    let report = "to 3: Report { term: Term(3), to: Incarnation(3), verdict: Recruited";
    assert!(reported.starts_with(report), "{reported}");
    check_bound(&mut keeper);
}

/// Bound to coordinator 3 of term 3: nobody else gets the term, or a promotion in it.
fn check_bound(keeper: &mut Keeper) {
    // Another coordinator of the same term, and an old one, are refused.
    for term in [2, 3] {
        keeper.handle(
            Instant::from_millis(2_016),
            from(1, Body::Recruit { term: Term(term) }),
        );
        let answer = effects(keeper);
        assert!(answer.contains("refusal: Promised"), "{answer}");
    }
    let promote = |version| {
        let mut cohort = cohort(3);
        cohort.version = version;
        let term = Term(3);
        let cohort = Box::new(cohort);
        Body::Promote { term, cohort }
    };
    let version = CohortVersion {
        term: Term(3),
        epoch: 4,
    };
    // Only its own coordinator may promote it.
    keeper.handle(Instant::from_millis(2_017), from(1, promote(version)));
    assert!(effects(keeper).contains("ServerUnready"));
    step(
        keeper,
        2_018,
        from(3, promote(version)),
        &expect![[r#"
            persist 2: Promise { highest: Term(3), coordinator: Some(ReplicaId(3)), incarnation: Incarnation(3), floor: Term(3), previous_floor: Term(2) }
        "#]],
    );
}

/// A death that is seen (both connections ended) is not waited for as a silence is; the lease that was granted
/// still is.
#[test]
fn a_seen_death_is_acted_on_when_the_lease_ends() {
    for (closed, stream, early) in [
        (false, false, false),
        (true, true, false),
        (true, false, true),
    ] {
        let mut keeper = following();
        let mut beat = keeper.heartbeat();
        beat.role = Role::Primary;
        beat.term = Term(2);
        let mut other = beat.clone();
        other.role = Role::Standby;
        other.sent = Instant::from_millis(5);
        beat.sent = Instant::from_millis(5);
        keeper.handle(
            Instant::from_millis(5),
            from(1, Body::Heartbeat(Box::new(beat))),
        );
        keeper.handle(
            Instant::from_millis(5),
            from(3, Body::Heartbeat(Box::new(other))),
        );
        if closed {
            keeper.handle(Instant::from_millis(10), Input::PeerClosed(ReplicaId(1)));
        }
        let seen = standby(stream.then_some(2));
        let mut asked = None;
        for at_ms in (20..8_000).step_by(20) {
            let now = Instant::from_millis(at_ms);
            keeper.handle(now, Input::Observed(seen.clone()));
            if asked.is_none() && effects(&mut keeper).contains("AskPreVote") {
                asked = Some(at_ms);
            }
        }
        let asked = asked.expect("somebody must try");
        assert_eq!(asked < 1_180, early, "{closed} {stream}: {asked}");
        assert!(asked > 1_100, "the lease: {asked}");
    }
}

/// A voice that repeats what a keeper said last tells a late keeper from a lost host. It is granted nothing, and does
/// not hide for ever that the keeper hangs.
#[test]
fn a_voice_is_borne_for_a_while_and_granted_nothing() {
    for (voiced_until, earliest, latest) in [(0, 1_205, 1_300), (60_000, 3_005, 3_100)] {
        let mut keeper = following();
        let mut beat = keeper.heartbeat();
        beat.role = Role::Primary;
        beat.sent = Instant::from_millis(5);
        let mut lost = beat.clone();
        lost.role = Role::Standby;
        let say = |id, heartbeat: &crate::Heartbeat| {
            from(id, Body::Heartbeat(Box::new(heartbeat.clone())))
        };
        keeper.handle(Instant::from_millis(5), say(1, &beat));
        keeper.handle(Instant::from_millis(5), say(3, &lost));
        assert!(effects(&mut keeper).contains("Grant"));
        let mut asked = None;
        for at_ms in (20..6_000_u64).step_by(20) {
            let now = Instant::from_millis(at_ms);
            lost.sent = now;
            keeper.handle(now, say(3, &lost));
            if at_ms % 100 == 0 && at_ms < voiced_until {
                let mut repeated = beat.clone();
                repeated.age = now.since(beat.sent);
                keeper.handle(now, say(1, &repeated));
            }
            keeper.handle(now, Input::Observed(standby(None)));
            let said = effects(&mut keeper);
            assert!(!said.contains("Grant"), "{at_ms}: {said}");
            if asked.is_none() && said.contains("AskPreVote") {
                asked = Some(at_ms);
            }
        }
        let asked = asked.expect("somebody must try");
        assert!((earliest..latest).contains(&asked), "{asked}");
    }
}

/// Who was asleep itself cannot tell others' silence from its own: it listens afresh before it tries.
#[test]
fn a_sleeper_listens_before_it_tries() {
    let mut keeper = following();
    let mut beat = keeper.heartbeat();
    beat.role = Role::Primary;
    beat.sent = Instant::from_millis(5);
    keeper.handle(
        Instant::from_millis(5),
        from(1, Body::Heartbeat(Box::new(beat))),
    );
    effects(&mut keeper);
    let mut asked = None;
    for at_ms in (6_000..9_000).step_by(20) {
        keeper.handle(Instant::from_millis(at_ms), Input::Tick);
        if asked.is_none() && effects(&mut keeper).contains("AskPreVote") {
            asked = Some(at_ms);
        }
    }
    assert!(asked.is_some_and(|at| at >= 7_200), "{asked:?}");
}

/// The record could not be written: the keeper says nothing more.
#[test]
fn a_failed_write_halts() {
    let mut keeper = following();
    effects(&mut keeper);
    keeper.handle(
        Instant::from_millis(2_000),
        from(3, Body::Recruit { term: Term(3) }),
    );
    effects(&mut keeper);
    keeper.handle(
        Instant::from_millis(2_001),
        Input::PersistFailed { sequence: 1 },
    );
    assert!(effects(&mut keeper).contains("Halt(PersistFailed)"));
    keeper.handle(Instant::from_millis(9_000), Input::Tick);
    assert_eq!(effects(&mut keeper), "");
}
