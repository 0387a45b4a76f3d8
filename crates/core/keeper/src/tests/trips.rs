//! Round trips are measured by echoes, and an unsteady way there and back makes more patient.

use alloc::boxed::Box;
use core::time::Duration;

use mainstay_units::Instant;

use super::{effects, following, from};
use crate::config::ReplicaId;
use crate::keeper::Keeper;
use crate::message::{Body, Echo};
use crate::status::Role;

/// The primary (1) beats every 100 ms until `until_ms`; `trip_ms` says how long the way took at each beat.
fn hear(keeper: &mut Keeper, until_ms: u64, trip_ms: impl Fn(u64) -> u64) {
    hear_from(keeper, 1_000, until_ms, trip_ms);
}

fn hear_from(keeper: &mut Keeper, from_ms: u64, until_ms: u64, trip_ms: impl Fn(u64) -> u64) {
    for at_ms in (from_ms..=until_ms).step_by(100) {
        let now = Instant::from_millis(at_ms);
        let held = Duration::from_millis(10);
        let mut beat = keeper.heartbeat();
        beat.role = Role::Primary;
        beat.sent = now;
        beat.echo = Some(Echo {
            sent: Instant::from_millis(at_ms - 10 - trip_ms(at_ms)),
            held,
        });
        keeper.handle(now, from(1, Body::Heartbeat(Box::new(beat))));
        effects(keeper);
    }
}

/// How long after the last beat it asks whether others lost the primary too.
fn patience(keeper: &mut Keeper, last_ms: u64) -> u64 {
    let mut tries = (10..6_000).step_by(10).filter(|waited| {
        keeper.handle(Instant::from_millis(last_ms + waited), crate::Input::Tick);
        effects(keeper).contains("AskPreVote")
    });
    tries.next().expect("somebody must try")
}

#[test]
fn a_steady_way_is_measured_and_costs_no_patience() {
    for trip in [0, 80] {
        let mut keeper = following();
        hear(&mut keeper, 6_000, |_| trip);
        let measured = keeper.round_trip(ReplicaId(1)).expect("measured");
        assert_eq!(measured, Duration::from_millis(trip));
        assert!(patience(&mut keeper, 6_000) <= 1_310);
    }
}

#[test]
fn an_unsteady_way_makes_more_patient_up_to_a_limit() {
    let mut keeper = following();
    hear(
        &mut keeper,
        6_000,
        |at_ms| if at_ms % 200 == 0 { 20 } else { 180 },
    );
    let waited = patience(&mut keeper, 6_000);
    assert!((1_450..=2_300).contains(&waited), "{waited}");
}

/// The way was cut for 3 s. What was under way comes all at once when it is whole again, and does not make the way longer than it is.
#[test]
fn what_was_under_way_while_it_was_cut_is_no_measure() {
    let mut keeper = following();
    hear(&mut keeper, 6_000, |_| 2);
    let before = keeper.round_trip(ReplicaId(1));
    for at_ms in (6_000..9_000).step_by(50) {
        keeper.handle(Instant::from_millis(at_ms), crate::Input::Tick);
    }
    for sent_ms in (6_100..9_000).step_by(100) {
        let mut beat = keeper.heartbeat();
        beat.role = Role::Primary;
        beat.sent = Instant::from_millis(sent_ms);
        beat.echo = Some(Echo {
            sent: Instant::from_millis(6_000),
            held: Duration::from_millis(sent_ms - 6_000),
        });
        keeper.handle(
            Instant::from_millis(9_000),
            from(1, Body::Heartbeat(Box::new(beat))),
        );
    }
    assert_eq!(keeper.round_trip(ReplicaId(1)), before);
    hear_from(&mut keeper, 9_100, 12_000, |_| 2);
    assert!(patience(&mut keeper, 12_000) <= 1_310);
}

/// An echo from before a restart, or from the future, is no round trip.
#[test]
fn nonsense_is_not_measured() {
    let mut keeper = following();
    hear(&mut keeper, 6_000, |_| 40);
    let before = keeper.round_trip(ReplicaId(1));
    for sent in [Instant::ZERO, Instant::from_millis(900_000)] {
        let mut beat = keeper.heartbeat();
        beat.role = Role::Primary;
        beat.sent = Instant::from_millis(6_100);
        beat.echo = Some(Echo {
            sent,
            held: Duration::ZERO,
        });
        keeper.handle(
            Instant::from_millis(6_100),
            from(1, Body::Heartbeat(Box::new(beat))),
        );
    }
    assert_eq!(keeper.round_trip(ReplicaId(1)), before);
}

/// A beat that was seconds under way is overtaken, however long ago it was sent; one of a host that was started anew is not.
#[test]
fn a_clock_that_went_back_is_a_start_only_where_the_echo_is_newer() {
    let mut keeper = following();
    hear_from(&mut keeper, 20_000, 22_000, |_| 2);
    let mut say = |sent_ms: u64, echoed_ms: u64| {
        let mut beat = keeper.heartbeat();
        beat.sent = Instant::from_millis(sent_ms);
        beat.echo = Some(Echo {
            sent: Instant::from_millis(echoed_ms),
            held: Duration::ZERO,
        });
        let now = Instant::from_millis(22_050);
        keeper.handle(now, from(1, Body::Heartbeat(Box::new(beat))));
        let known = keeper.peers.get(ReplicaId(1));
        known.and_then(|peer| Some(peer.heartbeat.as_deref()?.sent))
    };
    assert_eq!(say(9_000, 8_900), Some(Instant::from_millis(22_000)));
    assert_eq!(say(300, 22_040), Some(Instant::from_millis(300)));
}
