//! What is known of the other keepers, and when silence becomes suspicion.
//!
//! Silence is counted on this host's clock from the last heartbeat. A keeper whose own timer fired late
//! cannot tell others' silence from its own sleep: it starts counting afresh. An unsteady link makes it
//! more patient, as it makes TCP for its retransmission time (RFC 6298): four times the smoothed deviation is added, up
//! to a limit. It is measured twice, and the larger counts: of the gaps between arrivals, which a late sender stretches
//! too, and of the round trips, which are of the link alone and show it growing slower before a heartbeat is missed. A host whose voice still speaks for a keeper that comes late is no silent host:
//! that keeper is given more time, and still a limit, since a voice outlives a mind that hangs.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use mainstay_units::{Instant, Term, Timeline};

use crate::config::{ReplicaId, Timings};
use crate::message::{Echo, Heartbeat};
use crate::status::Role;

/// A longer way is no way: what seems to take so long was asked before a restart.
const TRIP_LIMIT: Duration = Duration::from_secs(5);

/// What is longer once is no sign of how long it mostly takes.
const SAMPLE_LIMIT: Duration = Duration::from_secs(1);

/// A smoothed time, in nanoseconds: every input is weighed by some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Smoothed(u64);

impl Smoothed {
    const fn of(time: Duration) -> Self {
        let whole = time.as_secs().saturating_mul(1_000_000_000);
        Self(whole.saturating_add(time.subsec_nanos() as u64))
    }

    const fn time(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The sample counts for one part in `parts`.
    fn take_in(&mut self, parts: u64, sample: Self) {
        let before = self.0.saturating_mul(parts - 1);
        self.0 = before.saturating_add(sample.0) / parts;
    }
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub heartbeat: Option<Box<Heartbeat>>,
    pub heard: Instant,
    /// Smoothed deviation of arrival gaps from the longest interval of heartbeats.
    deviation: Smoothed,
    /// Of heartbeats and their echoes, smoothed, and the smoothed deviation from that.
    round_trip: Option<Smoothed>,
    round_trip_deviation: Smoothed,
    /// When it was heard again after it had been given up.
    back: Instant,
    /// When its voice was last heard to repeat its latest words.
    voiced: Option<Instant>,
    /// When it last said that it leads.
    pub led: Option<Instant>,
    /// Its connection ended, and it was not heard since.
    pub closed: bool,
    /// As primary: the latest sending time that this peer granted a lease for.
    pub granted: Option<Instant>,
}

impl Peer {
    /// Smooths as RFC 6298 does, section 2. An echo of a life before tells nothing.
    fn measure(&mut self, now: Instant, echo: Echo) {
        let trip = now.since(echo.sent).saturating_sub(echo.held);
        if echo.sent > now || trip > TRIP_LIMIT {
            return;
        }
        let trip = Smoothed::of(trip);
        let Some(smoothed) = &mut self.round_trip else {
            self.round_trip = Some(trip);
            self.round_trip_deviation = Smoothed(trip.0 / 2);
            return;
        };
        let deviation = Smoothed(smoothed.0.abs_diff(trip.0));
        self.round_trip_deviation.take_in(4, deviation);
        smoothed.take_in(8, trip);
    }

    /// How long the way to it and back takes, smoothed.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip.map(Smoothed::time)
    }
}

#[derive(Debug)]
pub(crate) struct Peers {
    /// In the order of their ids. A handful that is looked at with every input: a list is faster than a tree.
    list: Vec<(ReplicaId, Peer)>,
    /// When counting of silence last started afresh.
    afresh: Instant,
    /// How late this keeper's own timer was, smoothed.
    lateness: Smoothed,
}

impl Peers {
    pub fn new(peers: impl Iterator<Item = ReplicaId>, now: Instant) -> Self {
        let peer = || Peer {
            heartbeat: None,
            heard: now,
            deviation: Smoothed::default(),
            round_trip: None,
            round_trip_deviation: Smoothed::default(),
            back: Instant::ZERO,
            voiced: None,
            led: None,
            closed: false,
            granted: None,
        };
        Self {
            list: peers.map(|replica| (replica, peer())).collect(),
            afresh: now,
            lateness: Smoothed::default(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, &Peer)> {
        self.list.iter().map(|(replica, peer)| (*replica, peer))
    }

    pub fn count(&self) -> usize {
        self.list.len()
    }

    pub fn ids(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.list.iter().map(|(replica, _)| *replica)
    }

    /// Grants were given to the primary of one term and say nothing of another.
    pub fn forget_grants(&mut self) {
        self.list
            .iter_mut()
            .for_each(|(_, peer)| peer.granted = None);
    }

    pub fn get(&self, replica: ReplicaId) -> Option<&Peer> {
        self.iter()
            .find_map(|(known, peer)| (known == replica).then_some(peer))
    }

    pub fn get_mut(&mut self, replica: ReplicaId) -> Option<&mut Peer> {
        self.list
            .iter_mut()
            .find_map(|(known, peer)| (*known == replica).then_some(peer))
    }

    /// What to tell the `index`th of the others of its own heartbeats.
    pub fn echo(&self, index: usize, now: Instant) -> Option<(ReplicaId, Option<Echo>)> {
        let (replica, peer) = self.list.get(index)?;
        let echo = peer.heartbeat.as_deref().map(|heartbeat| Echo {
            sent: heartbeat.sent,
            held: now.since(peer.heard),
        });
        Some((*replica, echo))
    }

    /// Takes in a heartbeat. One that was overtaken by a later one is dropped.
    pub fn heard(
        &mut self,
        now: Instant,
        from: ReplicaId,
        heartbeat: Box<Heartbeat>,
        timings: &Timings,
    ) {
        let slept = self.afresh == now;
        let was_lost = self
            .get(from)
            .is_some_and(|peer| self.silence(now, peer) >= self.suspicion(now, timings, peer));
        let Some(peer) = self.get_mut(from) else {
            return;
        };
        if let Some(last) = &peer.heartbeat {
            let restarted = last.sent.since(heartbeat.sent) > Duration::from_secs(5)
                && is_newer_answer(heartbeat.echo, last.echo);
            if heartbeat.sent < last.sent && !restarted {
                return;
            }
        }
        if was_lost {
            peer.back = now;
        }
        // One that was late itself would measure its own sleep; and what was under way while nothing came through, and comes all
        // at once, tells how long that was, not how long the way is.
        if let Some(echo) = heartbeat.echo
            && !slept
            && echo.sent >= peer.back
        {
            peer.measure(now, echo);
        }
        let beat = timings.heartbeat_at_rest();
        let excess = now.since(peer.heard).saturating_sub(beat);
        peer.deviation
            .take_in(8, Smoothed::of(excess.min(SAMPLE_LIMIT)));
        peer.heard = now;
        peer.closed = false;
        if leads(&heartbeat) {
            peer.led = Some(now);
        }
        peer.heartbeat = Some(heartbeat);
    }

    /// Its voice repeats what it said last; what was said is no news, and was heard when it was said.
    pub fn voiced(&mut self, now: Instant, from: ReplicaId, repeated: &Heartbeat) {
        let Some(peer) = self.get_mut(from) else {
            return;
        };
        let known = peer.heartbeat.as_ref().map(|heartbeat| heartbeat.sent);
        if known == Some(repeated.sent) {
            peer.voiced = Some(now);
            peer.closed = false;
        }
    }

    pub fn closed(&mut self, from: ReplicaId) {
        if let Some(peer) = self.get_mut(from) {
            peer.closed = true;
        }
    }

    /// The own timer was late by `late`; `overrun` is the limit beyond which counting starts afresh.
    pub fn note_lateness(&mut self, now: Instant, late: Duration, overrun: Duration) {
        self.lateness
            .take_in(16, Smoothed::of(late.min(SAMPLE_LIMIT)));
        if late > overrun {
            self.afresh = now;
        }
    }

    pub fn silence(&self, now: Instant, peer: &Peer) -> Duration {
        now.since(peer.heard.max(self.afresh))
    }

    /// How long a silence of this peer is borne. Longer while its voice is heard, which a host that was lost or cut
    /// off has not got.
    pub fn suspicion(&self, now: Instant, timings: &Timings, peer: &Peer) -> Duration {
        let unsteadiness = peer.deviation.max(peer.round_trip_deviation);
        let added = unsteadiness
            .0
            .saturating_add(self.lateness.0)
            .saturating_mul(4);
        let adapted =
            timings.suspicion + Duration::from_nanos(added).min(timings.suspicion_addition_limit);
        let voiced = peer
            .voiced
            .is_some_and(|at| now.since(at.max(self.afresh)) < adapted);
        if voiced {
            adapted.max(timings.suspicion_while_voiced)
        } else {
            adapted
        }
    }

    /// What each of those said last that said anything, suspected or not.
    pub fn said(&self) -> impl Iterator<Item = (ReplicaId, &Heartbeat)> {
        self.iter()
            .filter_map(|(replica, peer)| Some((replica, peer.heartbeat.as_deref()?)))
    }

    /// Whether it said something and is not suspected.
    pub fn is_alive(&self, now: Instant, timings: &Timings, replica: ReplicaId) -> bool {
        self.alive(now, timings, replica).is_some()
    }

    /// The latest heartbeat of a peer that is not suspected.
    pub fn alive(&self, now: Instant, timings: &Timings, replica: ReplicaId) -> Option<&Heartbeat> {
        self.heartbeat_if_alive(now, timings, self.get(replica)?)
    }

    fn heartbeat_if_alive<'a>(
        &self,
        now: Instant,
        timings: &Timings,
        peer: &'a Peer,
    ) -> Option<&'a Heartbeat> {
        let heartbeat = peer.heartbeat.as_deref()?;
        let silence = self.silence(now, peer);
        // Patience is never less than configured; how much more it is matters to few.
        let alive = silence < timings.suspicion || silence < self.suspicion(now, timings, peer);
        alive.then_some(heartbeat)
    }

    /// The primary of the highest term, `floor` or above, among those that are not suspected; being
    /// promoted counts.
    pub fn leader(
        &self,
        now: Instant,
        timings: &Timings,
        floor: Term,
    ) -> Option<(ReplicaId, &Heartbeat)> {
        self.iter()
            .filter(|(_, peer)| {
                let said = peer.heartbeat.as_deref();
                said.is_some_and(|heartbeat| leads(heartbeat) && heartbeat.term >= floor)
            })
            .filter_map(|(replica, peer)| {
                Some((replica, self.heartbeat_if_alive(now, timings, peer)?))
            })
            .max_by_key(|(_, heartbeat)| heartbeat.term)
    }

    /// The highest timeline that anybody's log is on, of whatever lineage.
    pub fn highest_timeline(&self) -> Timeline {
        self.said()
            .map(|(_, heartbeat)| heartbeat.timeline)
            .max()
            .unwrap_or_default()
    }

    /// The highest term that anybody mentioned.
    pub fn highest_term(&self) -> Term {
        self.said()
            .map(|(_, heartbeat)| heartbeat.promise.highest.max(heartbeat.term))
            .max()
            .unwrap_or_default()
    }
}

/// Whether a host whose clock went back was started anew: what merely came late echoes what this keeper said long ago, and who
/// was started a moment ago may have heard nothing yet.
fn is_newer_answer(echo: Option<Echo>, last: Option<Echo>) -> bool {
    match (echo, last) {
        (Some(echo), Some(last)) => echo.sent > last.sent,
        _ => true,
    }
}

/// Whether the sender was, as it spoke, the primary of its term or on the way to be.
pub(crate) fn leads(heartbeat: &Heartbeat) -> bool {
    matches!(heartbeat.role, Role::Primary | Role::Candidate)
}
