//! Who may count: a learner that forgot what it promised.

use super::*;
use crate::postgres::{Client, ClientState, Command};
use crate::status::Role;

/// Does what the effects ask for.
pub(super) fn perform(keeper: &mut Keeper, at_ms: u64) {
    perform_all(keeper, at_ms);
}

/// The same; what was ordered.
pub(super) fn perform_all(keeper: &mut Keeper, at_ms: u64) -> Vec<Command> {
    let mut ordered = Vec::new();
    let now = Instant::from_millis(at_ms);
    while let Some(effect) = keeper.poll_effect() {
        if let Effect::Persist { sequence, .. } = effect {
            keeper.handle(now, Input::Persisted { sequence });
        } else if let Effect::Postgres { operation, command } = effect {
            ordered.push(command.clone());
            let outcome = if command == Command::ReadRank {
                Outcome::Ranked(Rank {
                    timeline: Timeline(2),
                    lsn: Lsn(100),
                    history: history(&[(1, 10)]),
                })
            } else {
                Outcome::Done
            };
            keeper.handle(now, Input::CommandDone { operation, outcome });
        }
    }
    ordered
}

pub(super) fn primary(clients: Vec<Client>) -> Observation {
    Observation {
        data: DataState::Present {
            system_identifier: SystemIdentifier(9),
            incarnation: Some(Incarnation(1)),
        },
        process: ProcessState::Primary {
            timeline: Timeline(2),
            flushed: Lsn(100),
        },
        clients,
        ..standby(None)
    }
}

/// A primary of term 2 that its restarted keeper adopted, with a settled record of all three replicas.
pub(super) fn adopted() -> Keeper {
    adopted_beside(&[])
}

/// The same; these replicas it knows too, and nobody has admitted them.
pub(super) fn adopted_beside(others: &[u8]) -> Keeper {
    let mut follower = following();
    let others = others.iter().copied().map(ReplicaId);
    follower.config.replicas.extend(others);
    follower.config.me = ReplicaId(1);
    let durable = Durable {
        incarnation: Incarnation(1),
        ..follower.durable().clone()
    };
    let config = follower.config.clone();
    let mut keeper = Keeper::new(config, Some(durable), Instant::ZERO).expect("valid");
    keeper.handle(Instant::ZERO, Input::Observed(primary(Vec::new())));
    perform(&mut keeper, 1);
    let kept = Body::CohortKept {
        version: cohort(3).version,
        incarnation: Incarnation(2),
    };
    keeper.handle(Instant::from_millis(2), from(2, kept));
    perform(&mut keeper, 3);
    keeper
}

/// Replica 3 after it lost its disk.
const FILLED_ANEW: ReceiverName = ReceiverName {
    term: Term(2),
    replica: ReplicaId(3),
    incarnation: Incarnation(33),
};

/// Rule 5: replacing a member by its later filling waits until the others cannot have elected anybody with
/// what it forgot.
#[test]
fn a_replica_that_forgot_is_admitted_only_when_another_member_answered_after_it_was_gone() {
    let mut keeper = adopted();
    let mut heartbeat = keeper.heartbeat();
    heartbeat.role = Role::Learner;
    heartbeat.incarnation = FILLED_ANEW.incarnation;
    let beat = Body::Heartbeat(Box::new(heartbeat));
    keeper.handle(Instant::from_millis(10), from(3, beat));
    let learner = Client {
        name: FILLED_ANEW,
        state: ClientState::Streaming,
        flushed: Lsn(100),
    };
    let grant = |echo_ms| Body::Grant {
        term: Term(2),
        echo: Instant::from_millis(echo_ms),
    };
    let epoch = |keeper: &Keeper| {
        let cohort = keeper.durable().cohort.as_ref();
        cohort.map(|cohort| cohort.version.epoch)
    };
    keeper.handle(Instant::from_millis(15), from(2, grant(14)));
    for at_ms in [20, 120, 220] {
        let seen = Input::Observed(primary(alloc::vec![learner]));
        keeper.handle(Instant::from_millis(at_ms), seen);
        perform(&mut keeper, at_ms);
        assert_eq!(epoch(&keeper), Some(3), "the other member is silent");
    }
    // What it answered was said before the learner was seen.
    keeper.handle(Instant::from_millis(230), from(2, grant(19)));
    assert_eq!(epoch(&keeper), Some(3));
    keeper.handle(Instant::from_millis(240), from(2, grant(235)));
    assert_eq!(epoch(&keeper), Some(4));
    let cohort = keeper.durable().cohort.clone().expect("a cohort");
    assert!(cohort.counts(FILLED_ANEW.replica, FILLED_ANEW.incarnation));
}
