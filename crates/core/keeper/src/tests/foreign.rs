//! Another cluster's data folder, another cluster's record, a replica that nobody knows: the keeper stops or is deaf,
//! and touches nothing.

use super::*;
use crate::status::{HaltReason, Reason};

const OTHER: SystemIdentifier = SystemIdentifier(10);

/// It has said that it halts and why, and from then on nothing else, whatever comes.
fn check_halted(keeper: &mut Keeper, reason: HaltReason) {
    assert_eq!(effects(keeper), format!("Halt({reason:?})\n"));
    assert_eq!(keeper.heartbeat().reason, Reason::Halted(reason));
    keeper.handle(
        Instant::from_millis(5_000),
        from(3, Body::Recruit { term: Term(3) }),
    );
    for at_ms in (6_000..12_000).step_by(100) {
        keeper.handle(Instant::from_millis(at_ms), Input::Tick);
    }
    assert_eq!(effects(keeper), "", "a halted keeper does something");
}

fn with_data(system_identifier: SystemIdentifier, process: ProcessState) -> Input {
    let mut seen = standby(Some(2));
    seen.process = process;
    seen.data = DataState::Present {
        system_identifier,
        incarnation: Some(Incarnation(2)),
    };
    Input::Observed(seen)
}

/// Whether its server runs or not: it is neither started nor stopped, nor is the folder filled anew or moved aside.
#[test]
fn the_data_folder_of_another_cluster_is_left_alone() {
    let running = standby(None).process;
    for process in [ProcessState::Stopped, running] {
        let mut keeper = following();
        effects(&mut keeper);
        let at = Instant::from_millis(10);
        keeper.handle(at, with_data(SystemIdentifier(9), running));
        assert!(!effects(&mut keeper).contains("Halt"), "its own folder");
        keeper.handle(Instant::from_millis(20), with_data(OTHER, process));
        check_halted(&mut keeper, HaltReason::ForeignData);
    }
}

fn keep(cohort: Cohort) -> Input {
    let cohort = Box::new(cohort);
    from(3, Body::KeepCohort { cohort })
}

/// However new it is, it is neither kept nor answered.
#[test]
fn the_record_of_another_cluster_is_not_kept() {
    let next = |system_identifier| {
        let mut next = cohort(3);
        next.version = CohortVersion {
            term: Term(2),
            epoch: 90,
        };
        next.system_identifier = system_identifier;
        next
    };
    let mut keeper = following();
    effects(&mut keeper);
    keeper.handle(Instant::from_millis(10), keep(next(OTHER)));
    check_halted(&mut keeper, HaltReason::ForeignCohort);

    let mut keeper = following();
    effects(&mut keeper);
    keeper.handle(Instant::from_millis(10), keep(next(SystemIdentifier(9))));
    assert!(effects(&mut keeper).starts_with("persist 1"), "its own");
}

/// A replica that no file names, and a keeper that was told of other replicas, are not answered, whatever they say.
#[test]
fn an_unknown_replica_is_not_heard() {
    let recruit = |from, fingerprint| {
        Input::Message(Message {
            from: ReplicaId(from),
            fingerprint,
            lineage: Lineage::ORIGIN,
            incarnation: Incarnation(u128::from(from)),
            body: Body::Recruit { term: Term(3) },
        })
    };
    let mut keeper = following();
    effects(&mut keeper);
    for (stranger, fingerprint) in [(4, 1), (3, 2)] {
        let at = Instant::from_millis(2_000);
        keeper.handle(at, recruit(stranger, fingerprint));
        let answer = effects(&mut keeper);
        let heard = answer.contains("persist") || answer.contains("to ");
        assert!(!heard, "{stranger} with {fingerprint}: {answer}");
    }
    keeper.handle(Instant::from_millis(2_010), recruit(3, 1));
    assert!(effects(&mut keeper).starts_with("persist 1"), "one of ours");
}
