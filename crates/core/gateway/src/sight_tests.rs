//! Facts in, one view out.

use alloc::string::ToString;
use alloc::vec;

use super::*;
use crate::routing::{
    CellDeclared, Database, Instance, Key, RouteDeclared, Service, TargetDeclared,
};

const LIMITS: SightLimits = SightLimits {
    evidence_age: Duration::from_secs(1),
    isolated_after: Duration::from_secs(1),
    stranded_after: Duration::from_secs(4),
};
const US: DatabaseId = DatabaseId(0);
const VENUE: ServiceId = ServiceId(0);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn sight() -> Sight {
    let hosts = ["a", "b", "c"];
    let instances = hosts.map(|host| Instance {
        name: host.to_string(),
        host: host.to_string(),
        place: if host == "a" {
            Place::OwnRegion
        } else {
            Place::OtherRegion
        },
        share: 100,
    });
    let service = Service {
        name: "venue".to_string(),
        instances: instances.to_vec(),
    };
    let database = Database {
        name: "us".to_string(),
        replicas: hosts.map(str::to_string).to_vec(),
    };
    let cell = CellDeclared {
        values: vec![],
        database: "us".to_string(),
        service: "venue".to_string(),
    };
    let route = RouteDeclared {
        name: "cells".to_string(),
        host: None,
        path_prefix: "/".to_string(),
        methods: vec![],
        target: TargetDeclared::Cell {
            key: Key::Always,
            cells: vec![cell],
        },
        hold_wait: Duration::ZERO,
        idempotency_header: None,
    };
    let listeners = vec![("public".to_string(), vec![route])];
    let routing = Routing::new(vec![service], vec![database], listeners).expect("flawless");
    Sight::new(at(0), &routing, LIMITS)
}

fn keeper(heard: u64, role: KeeperRole, term: u32) -> KeeperFact {
    KeeperFact {
        heard: at(heard),
        role,
        term: Term(term),
        lease_until: at(heard + 500),
        follows: None,
    }
}

fn active(asked: u64, term: u32, epoch: u64) -> InstanceFact {
    let state = InstanceState::Ready {
        term: Term(term),
        epoch: Epoch(epoch),
    };
    InstanceFact {
        asked: at(asked),
        heard: at(asked + 1),
        state,
    }
}

/// Keeper facts and instance facts by host, then what follows at a time.
fn check(
    keepers: &[(u16, KeeperFact)],
    instances: &[(u16, InstanceFact)],
    now: u64,
    expected: CellView,
) {
    let mut sight = sight();
    for (replica, fact) in keepers {
        sight.handle_keeper(US, *replica, *fact);
    }
    for (instance, fact) in instances {
        sight.handle_probe(VENUE, *instance, *fact);
    }
    assert_eq!(
        sight.evaluate(at(now)).cells,
        [expected],
        "{keepers:?} {instances:?}"
    );
}

fn is(instance: u16, term: u32, epoch: u64, confirmed: u64) -> CellView {
    let (term, epoch) = (Term(term), Epoch(epoch));
    CellView::Active(Active {
        instance,
        term,
        epoch,
        confirmed: at(confirmed),
    })
}

#[test]
fn who_is_active() {
    use AbsentWhy as W;
    use KeeperRole::{Closed, LeavingPrimary, OpenPrimary, Standby};
    let absent = CellView::Absent;
    let open = |term| keeper(100, OpenPrimary, term);
    let waiting = |term| absent(W::AwaitingActivation { term: Term(term) });
    check(&[], &[], 10, absent(W::NotYetSeen));
    check(&[], &[(0, active(100, 1, 1))], 200, is(0, 1, 1, 100));
    check(
        &[(0, open(1))],
        &[(0, active(100, 1, 1))],
        200,
        is(0, 1, 1, 100),
    );
    check(
        &[(1, keeper(100, Standby, 1))],
        &[],
        200,
        absent(W::NoOpenPrimary),
    );
    check(&[(0, open(2))], &[], 200, waiting(2));
    // Of two, the higher term; of equal terms, the higher epoch.
    check(
        &[],
        &[(0, active(100, 1, 9)), (1, active(90, 2, 1))],
        200,
        is(1, 2, 1, 90),
    );
    check(
        &[],
        &[(0, active(100, 1, 2)), (1, active(90, 1, 3))],
        200,
        is(1, 1, 3, 90),
    );
    // A primary of a higher term takes activity from a lower one, even before its own instance is active.
    check(&[(1, open(2))], &[(0, active(100, 1, 1))], 200, waiting(2));
    // An announced switchover; only the active instance's own keeper can announce it.
    let leaving = keeper(100, LeavingPrimary, 1);
    check(
        &[(0, leaving)],
        &[(0, active(100, 1, 1))],
        200,
        CellView::Switching { term: Term(1) },
    );
    check(
        &[(1, leaving)],
        &[(0, active(100, 1, 1))],
        200,
        is(0, 1, 1, 100),
    );
    // The own host's keeper denies it, unless what it says is of an earlier term.
    let fenced = keeper(150, Closed, 1);
    check(
        &[(0, fenced)],
        &[(0, active(100, 1, 1))],
        200,
        absent(W::NoOpenPrimary),
    );
    check(
        &[(1, fenced)],
        &[(0, active(100, 1, 1))],
        200,
        is(0, 1, 1, 100),
    );
    check(
        &[(0, keeper(50, Standby, 1))],
        &[(0, active(100, 2, 1))],
        200,
        is(0, 2, 1, 100),
    );
}

#[test]
fn old_facts_are_no_facts() {
    let open = |term| keeper(100, KeeperRole::OpenPrimary, term);
    check(
        &[(1, open(1)), (2, open(1))],
        &[(0, active(100, 1, 1))],
        1_102,
        CellView::Isolated,
    );
}

#[test]
fn silence_of_everybody_is_isolation_but_a_majority_is_hope() {
    let mut sight = sight();
    let cell = |sight: &mut Sight, now| sight.evaluate(at(now)).cells[0];
    assert_eq!(
        cell(&mut sight, 900),
        CellView::Absent(AbsentWhy::NotYetSeen)
    );
    assert_eq!(cell(&mut sight, 1_001), CellView::Isolated);
    // One of three is not enough, two are.
    sight.handle_keeper(US, 1, keeper(1_100, KeeperRole::Standby, 1));
    assert_eq!(cell(&mut sight, 1_150), CellView::Isolated);
    sight.handle_keeper(US, 2, keeper(1_200, KeeperRole::Standby, 1));
    assert_eq!(
        cell(&mut sight, 1_250),
        CellView::Absent(AbsentWhy::NoOpenPrimary)
    );
    // They fall silent; hope lasts a second longer than they do.
    assert_eq!(
        cell(&mut sight, 2_000),
        CellView::Absent(AbsentWhy::NoOpenPrimary)
    );
    assert_eq!(
        cell(&mut sight, 2_900),
        CellView::Absent(AbsentWhy::NotYetSeen)
    );
    assert_eq!(cell(&mut sight, 3_100), CellView::Isolated);
    sight.handle_probe(VENUE, 0, active(3_200, 1, 1));
    assert_eq!(cell(&mut sight, 3_250), is(0, 1, 1, 3_200));
}

#[test]
fn a_suspect_must_answer_a_younger_question() {
    let mut sight = sight();
    sight.handle_probe(VENUE, 0, active(100, 1, 1));
    sight.handle_suspicion(VENUE, 0, at(120));
    let view = sight.evaluate(at(130));
    assert_eq!(view.cells, [CellView::Absent(AbsentWhy::Suspected)]);
    assert_eq!(view.ready[0].drawn(0), [0u16; 0]);
    sight.handle_probe(VENUE, 0, active(119, 1, 1));
    assert_eq!(
        sight.evaluate(at(130)).cells,
        [CellView::Absent(AbsentWhy::Suspected)]
    );
    sight.handle_probe(VENUE, 0, active(121, 1, 1));
    assert_eq!(sight.evaluate(at(130)).cells, [is(0, 1, 1, 121)]);
}

#[test]
fn terms_never_go_back_not_even_when_all_is_forgotten() {
    let mut sight = sight();
    sight.handle_keeper(US, 1, keeper(100, KeeperRole::OpenPrimary, 5));
    sight.forget(at(200));
    sight.handle_probe(VENUE, 0, active(300, 4, 1));
    assert_eq!(
        sight.evaluate(at(310)).cells,
        [CellView::Absent(AbsentWhy::NotYetSeen)]
    );
    sight.handle_probe(VENUE, 1, active(300, 5, 2));
    assert_eq!(sight.evaluate(at(310)).cells, [is(1, 5, 2, 300)]);
}

#[test]
fn instances_of_the_own_region_go_first() {
    let mut sight = sight();
    for instance in 0..3 {
        sight.handle_probe(VENUE, instance, active(100, 1, 1));
    }
    assert_eq!(sight.evaluate(at(150)).ready[0].drawn(0), [0]);
    let gone = InstanceFact {
        asked: at(160),
        heard: at(161),
        state: InstanceState::Unreachable,
    };
    sight.handle_probe(VENUE, 0, gone);
    assert_eq!(sight.evaluate(at(170)).ready[0].drawn(0), [1, 2]);
}

#[test]
fn a_stale_primary_that_returns_is_not_the_primary() {
    let mut sight = sight();
    sight.handle_keeper(US, 1, keeper(100, KeeperRole::OpenPrimary, 2));
    sight.handle_keeper(US, 0, keeper(110, KeeperRole::OpenPrimary, 1));
    let view = sight.evaluate(at(120));
    assert_eq!(
        view.databases[0].primary.map(|p| (p.replica, p.term)),
        Some((1, Term(2)))
    );
    sight.handle_keeper_lost(US, 1);
    assert_eq!(sight.evaluate(at(120)).databases[0].primary, None);
}

#[test]
fn others_have_a_primary_that_we_cannot_reach() {
    let mut sight = sight();
    let follow = |sight: &mut Sight, now: u64, primary: Option<u16>| {
        for replica in 1..3 {
            let follows = primary;
            let fact = KeeperFact {
                follows,
                ..keeper(now, KeeperRole::Standby, 1)
            };
            sight.handle_keeper(US, replica, fact);
        }
        sight.evaluate(at(now)).cells[0]
    };
    let waiting = CellView::Absent(AbsentWhy::NoOpenPrimary);
    for now in [100, 1_000, 2_000, 4_000] {
        assert_eq!(follow(&mut sight, now, Some(0)), waiting, "{now}");
    }
    // A failover begins in time: waiting makes sense again, and again for the new primary.
    assert_eq!(follow(&mut sight, 4_050, None), waiting);
    for now in [4_100, 5_000, 6_000, 7_000, 8_000] {
        assert_eq!(follow(&mut sight, now, Some(1)), waiting, "{now}");
    }
    assert_eq!(follow(&mut sight, 8_101, Some(1)), CellView::Isolated);
    sight.handle_probe(VENUE, 1, active(8_150, 2, 1));
    assert_eq!(follow(&mut sight, 8_200, Some(1)), is(1, 2, 1, 8_150));
}

#[test]
fn a_primary_that_we_hear_and_cannot_speak_to() {
    let mut sight = sight();
    let hear = |sight: &mut Sight, now: u64| {
        for (replica, role) in [(1, KeeperRole::OpenPrimary), (2, KeeperRole::Standby)] {
            let fact = KeeperFact {
                follows: Some(1),
                ..keeper(now, role, 2)
            };
            sight.handle_keeper(US, replica, fact);
        }
        sight.evaluate(at(now)).cells[0]
    };
    let waiting = CellView::Absent(AbsentWhy::AwaitingActivation { term: Term(2) });
    let answers = |now| InstanceFact {
        asked: at(now),
        heard: at(now),
        state: InstanceState::NotReady,
    };
    // While its instance answers that it is not ready yet, waiting makes sense, however long.
    for now in [100, 1_000, 2_000, 4_000, 6_000] {
        sight.handle_probe(VENUE, 1, answers(now));
        assert_eq!(hear(&mut sight, now), waiting, "{now}");
    }
    // It falls silent: believed for a second, waited for during another one.
    for now in [6_500, 7_001, 8_001] {
        assert_eq!(hear(&mut sight, now), waiting, "{now}");
    }
    assert_eq!(hear(&mut sight, 8_002), CellView::Isolated);
    // One whose process is gone is being started again: it gets the time of a failover.
    let gone = InstanceFact {
        state: InstanceState::Unreachable,
        ..answers(8_050)
    };
    sight.handle_probe(VENUE, 1, gone);
    assert_eq!(hear(&mut sight, 8_060), waiting);
}

/// From open to not open in one breath is closing. After a loss it is a keeper that has started anew, and its server may
/// serve as before.
#[test]
fn a_keeper_that_starts_anew_is_not_one_that_closes() {
    use KeeperRole::{Becoming, Closed, OpenPrimary, Standby};
    let seen = |said: &[Option<KeeperRole>]| {
        let mut sight = sight();
        for role in said {
            match role {
                Some(role) => sight.handle_keeper(US, 0, keeper(100, *role, 1)),
                None => sight.handle_keeper_lost(US, 0),
            }
        }
        sight.evaluate(at(110)).databases[0].replicas[0]
    };
    for (said, expected) in [
        (&[Some(OpenPrimary), Some(Becoming)][..], Closed),
        (&[Some(OpenPrimary), Some(Becoming), Some(Becoming)], Closed),
        (&[Some(Closed), Some(Becoming)], Closed),
        (&[Some(OpenPrimary), None, Some(Becoming)], Becoming),
        (
            &[Some(OpenPrimary), None, Some(Becoming), Some(Becoming)],
            Becoming,
        ),
        (&[Some(Standby), Some(Becoming)], Becoming),
        (&[Some(Becoming)], Becoming),
    ] {
        assert_eq!(seen(said), ReplicaView::Seen(expected), "{said:?}");
    }
}
