//! Replicas that go and other numbers of copies: setting and record follow each other, never both at once.

use super::admission::{adopted, adopted_beside, perform_all, primary};
use super::*;
use crate::postgres::{Client, ClientState, Command, SynchronousStandbys};

/// What the file says now: replica 3 leaves, or commits shall have so many copies.
fn told(leaving: &[u8], copies: u8) -> Keeper {
    let mut keeper = adopted();
    keeper.config.leaving = leaving.iter().copied().map(ReplicaId).collect();
    keeper.config.copies = copies;
    keeper
}

fn stream(replica: u8, flushed: u64) -> Client {
    Client {
        name: ReceiverName {
            term: Term(2),
            replica: ReplicaId(replica),
            incarnation: Incarnation(u128::from(replica)),
        },
        state: ClientState::Streaming,
        flushed: Lsn(flushed),
    }
}

/// A look at the server, with everybody alive; what the keeper orders then.
fn look(keeper: &mut Keeper, at_ms: u64, flushed: [u64; 2]) -> Vec<SynchronousStandbys> {
    let now = Instant::from_millis(at_ms);
    hear_all(keeper, at_ms, None);
    let clients = alloc::vec![stream(2, flushed[0]), stream(3, flushed[1])];
    keeper.handle(now, Input::Observed(primary(clients)));
    let ordered = perform_all(keeper, at_ms);
    ordered.iter().filter_map(setting).cloned().collect()
}

/// Everybody is alive and answers; 2 was told of the same replicas as the primary, or of these.
fn hear_all(keeper: &mut Keeper, at_ms: u64, two_was_told: Option<crate::Roster>) {
    let now = Instant::from_millis(at_ms);
    for id in [2, 3, 4] {
        let mut beat = keeper.heartbeat();
        if id == 2 && two_was_told.is_some() {
            beat.staying = two_was_told;
        }
        beat.role = Role::Standby;
        beat.reason = crate::Reason::Following;
        beat.incarnation = Incarnation(u128::from(id));
        beat.sent = now;
        keeper.handle(now, from(id, Body::Heartbeat(Box::new(beat))));
        let echo = Instant::from_millis(at_ms - 1);
        let term = Term(2);
        keeper.handle(now, from(id, Body::Grant { term, echo }));
    }
}

fn setting(command: &Command) -> Option<&SynchronousStandbys> {
    if let Command::SetSynchronousStandbys(standbys) = command {
        Some(standbys)
    } else {
        None
    }
}

/// The other members keep the present record.
fn keep(keeper: &mut Keeper, at_ms: u64) {
    let version = record(keeper).version;
    for id in [2, 3] {
        let incarnation = Incarnation(u128::from(id));
        let kept = Body::CohortKept {
            version,
            incarnation,
        };
        keeper.handle(Instant::from_millis(at_ms), from(id, kept));
    }
}

fn record(keeper: &Keeper) -> Cohort {
    keeper.durable().cohort.clone().expect("a cohort")
}

fn told_apart(standbys: &SynchronousStandbys) -> (u8, Vec<u8>) {
    match standbys {
        SynchronousStandbys::Any { count, names } => {
            (*count, names.iter().map(|name| name.replica.0).collect())
        }
        SynchronousStandbys::Nobody | SynchronousStandbys::Off => (0, Vec::new()),
    }
}

/// Looks until something is ordered; the last setting.
fn settled(keeper: &mut Keeper, from_ms: u64, flushed: [u64; 2]) -> (u8, Vec<u8>) {
    let ordered: Vec<_> = (from_ms..from_ms + 60)
        .step_by(10)
        .flat_map(|at_ms| look(keeper, at_ms, flushed))
        .collect();
    told_apart(ordered.last().expect("a setting"))
}

#[test]
fn who_leaves_goes_from_the_setting_first_and_then_from_the_record() {
    let mut keeper = told(&[3], 2);
    // The other standby lacks the end of the log, which may be answered by the one that leaves.
    assert_eq!(settled(&mut keeper, 20, [90, 100]), (1, alloc::vec![2]));
    assert!(record(&keeper).members.contains_key(&ReplicaId(3)));
    assert!(!keeper.has_let_go(ReplicaId(3)));
    look(&mut keeper, 200, [99, 100]);
    assert!(record(&keeper).members.contains_key(&ReplicaId(3)));
    look(&mut keeper, 210, [100, 100]);
    assert!(!record(&keeper).members.contains_key(&ReplicaId(3)));
    assert!(!keeper.has_let_go(ReplicaId(3)), "it is not decided");
    keep(&mut keeper, 220);
    assert!(keeper.has_let_go(ReplicaId(3)));
    assert!(!keeper.has_let_go(ReplicaId(2)));
}

#[test]
fn the_setting_asks_for_more_copies_before_the_record_promises_them() {
    let mut keeper = told(&[], 3);
    assert_eq!(settled(&mut keeper, 20, [100, 90]), (2, alloc::vec![2, 3]));
    assert_eq!(record(&keeper).copies, Some(2));
    look(&mut keeper, 200, [100, 99]);
    assert_eq!(record(&keeper).copies, Some(2));
    look(&mut keeper, 210, [100, 100]);
    assert_eq!(record(&keeper).copies, Some(3));
}

#[test]
fn the_record_promises_fewer_copies_before_the_setting_asks_for_them() {
    let mut keeper = told(&[], 3);
    settled(&mut keeper, 20, [100, 100]);
    keep(&mut keeper, 100);
    assert_eq!(settled(&mut keeper, 110, [100, 100]).0, 2);
    keeper.config.copies = 2;
    let ordered = look(&mut keeper, 200, [100, 100]);
    assert_eq!(record(&keeper).copies, Some(2));
    assert!(ordered.is_empty(), "before a majority knows: {ordered:?}");
    keep(&mut keeper, 210);
    assert_eq!(settled(&mut keeper, 220, [100, 100]).0, 1);
}

/// More copies than there are standbys for are not asked for: commits would wait.
#[test]
fn nothing_is_raised_that_cannot_be_kept_and_nobody_let_go_who_is_needed() {
    let mut keeper = told(&[], 3);
    let now = Instant::from_millis(20);
    keeper.handle(now, Input::Observed(primary(alloc::vec![stream(2, 100)])));
    let ordered = perform_all(&mut keeper, 20);
    let count = ordered.iter().find_map(setting);
    let count = count.map(|standbys| told_apart(standbys).0);
    assert!(count.is_none_or(|count| count == 1), "{ordered:?}");

    let mut keeper = told(&[2, 3], 2);
    keeper.config.replicas.insert(ReplicaId(4));
    for at_ms in (20..200).step_by(10) {
        look(&mut keeper, at_ms, [100, 100]);
    }
    assert_eq!(record(&keeper).members.len(), 3);
}

/// A primary that the file names no more hands over by itself.
#[test]
fn a_primary_that_leaves_hands_over() {
    let mut keeper = told(&[1], 2);
    keeper.config.home = ReplicaId(2);
    for at_ms in (20..200).step_by(10) {
        look(&mut keeper, at_ms, [100, 100]);
    }
    assert!(keeper.switchover.is_some(), "{:?}", keeper.status());
    // And nobody hands over to one that leaves.
    let mut keeper = told(&[3], 2);
    look(&mut keeper, 20, [100, 100]);
    perform_all(&mut keeper, 21);
    let command = crate::Operator::Switchover { to: ReplicaId(3) };
    let request = crate::RequestId(1);
    keeper.handle(
        Instant::from_millis(22),
        Input::Operator { request, command },
    );
    let answer = core::iter::from_fn(|| keeper.poll_effect()).find_map(|effect| {
        if let Effect::Answer { answer, .. } = effect {
            Some(answer)
        } else {
            None
        }
    });
    let refusal = crate::SwitchoverRefusal::TargetLeaves;
    assert_eq!(answer, Some(crate::Answer::Refused(refusal)));
}

/// Replica 4 comes, and streams. Is it admitted?
fn newcomer_is_admitted(
    keeper: &mut Keeper,
    at_ms: u64,
    two_was_told: Option<crate::Roster>,
) -> bool {
    hear_all(keeper, at_ms, two_was_told);
    let clients = [2, 3, 4].map(|replica| stream(replica, 100)).to_vec();
    let now = Instant::from_millis(at_ms);
    keeper.handle(now, Input::Observed(primary(clients)));
    perform_all(keeper, at_ms);
    record(keeper).members.contains_key(&ReplicaId(4))
}

/// Whoever was not told of it would not ask for its vote; and one that was let go is not taken back by a primary that
/// was told late.
#[test]
fn a_newcomer_is_admitted_when_every_member_that_is_heard_was_told_of_it() {
    let mut keeper = adopted_beside(&[4]);
    let before = Some([1, 2, 3].map(ReplicaId).into_iter().collect());
    for at_ms in (20..200).step_by(10) {
        assert!(!newcomer_is_admitted(&mut keeper, at_ms, before));
    }
    let admitted = (200..400)
        .step_by(10)
        .any(|at_ms| newcomer_is_admitted(&mut keeper, at_ms, None));
    assert!(admitted);
}

#[test]
fn a_roster_names_whom_it_was_made_of() {
    let named = [0, 3, 63, 64, 200, 255].map(ReplicaId);
    let roster: crate::Roster = named.into_iter().collect();
    assert!(roster.iter().eq(named));
}
