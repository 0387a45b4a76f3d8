//! A keeper that is silent while its server streams is borne; for how long depends on what the stream brings.

use alloc::boxed::Box;

use mainstay_units::Instant;

use super::{effects, following, from, standby};
use crate::config::ReplicaId;
use crate::input::Input;
use crate::keeper::Keeper;
use crate::message::Body;
use crate::status::Role;

/// Looks are more frequent than what they look for: most of them see nothing new.
const LOOK_MS: u64 = 20;

/// When this keeper asks the others, after the primary's keeper was heard for the last time at 5 ms. Its server's stream
/// brings something every so often until `until_ms`.
fn asks_at_ms(every_ms: u64, until_ms: u64, is_end_told: bool) -> Option<u64> {
    let mut keeper: Keeper = following();
    let mut beat = keeper.heartbeat();
    beat.role = Role::Primary;
    beat.sent = Instant::from_millis(5);
    let mut other = beat.clone();
    other.role = Role::Standby;
    let heard = from(1, Body::Heartbeat(Box::new(beat)));
    keeper.handle(Instant::from_millis(5), heard);
    if is_end_told {
        keeper.handle(Instant::from_millis(6), Input::PeerClosed(ReplicaId(1)));
    }
    (1..500).map(|look| look * LOOK_MS).find(|&at_ms| {
        let now = Instant::from_millis(at_ms);
        other.sent = now;
        keeper.handle(now, from(3, Body::Heartbeat(Box::new(other.clone()))));
        let mut seen = standby(Some(2));
        if let Some(receiver) = &mut seen.receiver {
            receiver.heard = at_ms <= until_ms && at_ms % every_ms == 0;
        }
        keeper.handle(now, Input::Observed(seen));
        effects(&mut keeper).contains("AskPreVote")
    })
}

#[test]
fn a_stream_that_speaks_bears_its_keeper_for_a_while() {
    const ALWAYS: u64 = 60_000;
    for (what, every_ms, until_ms, is_end_told, around_ms) in [
        ("a stream with pauses", 600, ALWAYS, false, 5_005),
        // The host is gone: its stream went silent with it.
        ("a silence of both", LOOK_MS, 20, false, 1_205),
        ("a stream that went on for a while", 600, 600, false, 1_300),
        // An idle server speaks too seldom for a host of which nothing else is known.
        ("an idle stream", 1_500, ALWAYS, false, 1_205),
        (
            "an idle stream, its keeper's end told",
            1_500,
            ALWAYS,
            true,
            5_005,
        ),
        ("one that is seen late", 2_300, ALWAYS, true, 5_005),
        ("silence, its keeper's end told", LOOK_MS, 20, true, 2_420),
    ] {
        let asked = asks_at_ms(every_ms, until_ms, is_end_told);
        let asked = asked.expect("somebody must try");
        let most = around_ms + 3 * LOOK_MS;
        assert!((around_ms..=most).contains(&asked), "{what}: {asked}");
    }
}
