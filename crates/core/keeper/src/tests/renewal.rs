//! Whose server is started anew, and when.

use super::admission::{adopted, perform, primary};
use super::*;
use crate::machine::State;
use crate::message::{Heartbeat, Renews};
use crate::postgres::{Client, ClientState, Command};
use crate::status::Reason;

fn client(id: u8) -> Client {
    Client {
        name: ReceiverName {
            term: Term(2),
            replica: ReplicaId(id),
            incarnation: Incarnation(u128::from(id)),
        },
        state: ClientState::Streaming,
        flushed: Lsn(100),
    }
}

/// What a standby of the same cohort says.
fn says(keeper: &Keeper, at_ms: u64, id: u8, renewal: Renewal) -> Heartbeat {
    Heartbeat {
        age: core::time::Duration::ZERO,
        sent: Instant::from_millis(at_ms),
        role: Role::Standby,
        reason: Reason::Following,
        incarnation: Incarnation(u128::from(id)),
        primary: Some(ReplicaId(1)),
        open: false,
        history: None,
        streams: true,
        renewal,
        renews: None,
        ..keeper.heartbeat()
    }
}

/// One round: what both standbys say, their grants, what the server shows. Whom the primary names then.
fn round(
    keeper: &mut Keeper,
    at_ms: u64,
    standbys: [Option<Renewal>; 2],
    own: Renewal,
) -> Option<ReplicaId> {
    let now = Instant::from_millis(at_ms);
    let mut clients = Vec::new();
    for (id, renewal) in [2, 3].into_iter().zip(standbys) {
        let Some(renewal) = renewal else {
            continue;
        };
        clients.push(client(id));
        let beat = says(keeper, at_ms, id, renewal);
        keeper.handle(now, from(id, Body::Heartbeat(Box::new(beat))));
        let (term, echo) = (Term(2), Instant::from_millis(at_ms - 1));
        keeper.handle(now, from(id, Body::Grant { term, echo }));
    }
    for _ in 0..3 {
        let seen = Observation {
            renewal: own,
            ..primary(clients.clone())
        };
        keeper.handle(now, Input::Observed(seen));
        perform(keeper, at_ms);
    }
    keeper.heartbeat().renews.map(|renews| renews.replica)
}

const NEEDED: Option<Renewal> = Some(Renewal::Needed);
const WELL: Option<Renewal> = Some(Renewal::NotNeeded);

/// Until then a keeper was heard open in these tests.
const OPEN_MS: u64 = 3_000;

fn open() -> Keeper {
    let mut keeper = adopted();
    for at_ms in (100..=OPEN_MS).step_by(100) {
        // What an earlier primary said may still be on its way.
        let named = round(&mut keeper, at_ms, [NEEDED, NEEDED], Renewal::NotNeeded);
        assert!(named.is_none() || at_ms > 2_000, "{at_ms}");
    }
    assert_eq!(keeper.state(), State::Open);
    round(&mut keeper, OPEN_MS, [WELL, WELL], Renewal::NotNeeded);
    keeper
}

#[test]
fn standbys_go_one_at_a_time_and_only_while_they_can_be_spared() {
    let mut keeper = open();
    let mut at_ms = OPEN_MS;
    let mut check = |standbys: [Option<Renewal>; 2], expected: Option<u8>, why: &str| {
        at_ms += 100;
        let named = round(&mut keeper, at_ms, standbys, Renewal::Needed);
        assert_eq!(named, expected.map(ReplicaId), "{why}");
    };
    check([NEEDED, None], None, "the other one is away");
    check([NEEDED, NEEDED], Some(2), "the first in order");
    check([None, NEEDED], None, "it is away");
    check([NEEDED, NEEDED], Some(2), "it came back as it was");
    check([None, NEEDED], None, "away again");
    check([WELL, NEEDED], Some(3), "it is back, the next may go");
    check([WELL, None], None, "away");
    check([WELL, WELL], None, "nobody is left but the primary");
}

#[test]
fn nobody_goes_any_more_where_one_refused() {
    let mut keeper = open();
    let refused = Some(Renewal::Refused);
    assert_eq!(
        round(
            &mut keeper,
            OPEN_MS + 100,
            [NEEDED, refused],
            Renewal::Needed
        ),
        None
    );
    for at_ms in (OPEN_MS + 200..12_000).step_by(100) {
        round(&mut keeper, at_ms, [WELL, refused], Renewal::Needed);
        assert_eq!(keeper.state(), State::Open);
        assert!(!keeper.status().switchover, "it must not hand over");
    }
}

#[test]
fn the_primary_goes_last_and_hands_over() {
    let mut keeper = open();
    let mut handed_over = false;
    for at_ms in (OPEN_MS + 100..9_000).step_by(100) {
        let standbys = if at_ms < 5_000 {
            [WELL, NEEDED]
        } else {
            [WELL, WELL]
        };
        round(&mut keeper, at_ms, standbys, Renewal::Needed);
        handed_over |= keeper.status().switchover;
        assert!(!handed_over || at_ms >= 7_400, "standbys go first: {at_ms}");
    }
    assert!(handed_over);
}

#[test]
fn a_standby_goes_when_the_primary_that_it_follows_names_it() {
    let mut keeper = following();
    effects(&mut keeper);
    let seen = || {
        Input::Observed(Observation {
            renewal: Renewal::Needed,
            ..standby(Some(2))
        })
    };
    let beat = |keeper: &Keeper, at_ms: u64, renews: Option<Renews>| {
        let heartbeat = Heartbeat {
            sent: Instant::from_millis(at_ms),
            role: Role::Primary,
            reason: Reason::Serving,
            term: Term(2),
            primary: Some(ReplicaId(1)),
            open: true,
            history: Some(history(&[(1, 10)])),
            incarnation: Incarnation(1),
            renews,
            ..keeper.heartbeat()
        };
        from(1, Body::Heartbeat(Box::new(heartbeat)))
    };
    let names = |replica, echo_ms| {
        let (replica, echo) = (ReplicaId(replica), Instant::from_millis(echo_ms));
        Some(Renews { replica, echo })
    };
    let cases = [
        (2_000, None),
        (2_100, names(3, 2_000)),
        // Said long ago, and under way since.
        (2_200, names(2, 900)),
        (2_300, names(2, 0)),
    ];
    for (at_ms, named) in cases {
        let heard = beat(&keeper, at_ms, named);
        keeper.handle(Instant::from_millis(at_ms), heard);
        keeper.handle(Instant::from_millis(at_ms), seen());
        assert_eq!(keeper.state(), State::Following, "{named:?} was named");
    }
    let heard = beat(&keeper, 2_400, names(2, 2_300));
    keeper.handle(Instant::from_millis(2_400), heard);
    assert_eq!(keeper.state(), State::Renewing);
    let stops = core::iter::from_fn(|| keeper.poll_effect()).any(|effect| {
        matches!(
            effect,
            Effect::Postgres {
                command: Command::StopInOrder,
                ..
            }
        )
    });
    assert!(stops);
}
