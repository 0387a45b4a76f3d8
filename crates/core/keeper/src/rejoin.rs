//! How a replica whose log or folder does not fit comes back: rewound or rebuilt, as a learner.
//!
//! Both make it forget what it acknowledged, so both are done only while the rest can do without it: a
//! majority of the members, this one not counted, keeps the primary's cohort record. Then the primary can
//! readmit it alone.

use core::time::Duration;

use mainstay_units::Instant;

use crate::cohort::majority;
use crate::config::ReplicaId;
use crate::keeper::Keeper;
use crate::machine::{Event, State};
use crate::message::Heartbeat;
use crate::planted::PlantedBug;
use crate::postgres::{DataState, Observation, Serviceability, Supply};
use crate::status::Reason;

impl Keeper {
    /// The primary that this replica may follow.
    pub(crate) fn leader(&self) -> Option<(ReplicaId, &Heartbeat)> {
        let floor = self.durable.promise.floor;
        self.peers.leader(self.now, &self.config.timings, floor)
    }

    /// Whether the members other than this one suffice to readmit it. Of those that must forget too, the ones that come later count: they wait for this one, because by the
    /// same rule this one does not count for them.
    fn others_suffice(&self, (source, leader): (ReplicaId, &Heartbeat)) -> bool {
        let Some(cohort) = &self.durable.cohort else {
            return false;
        };
        // A change that is not decided yet may need this replica's word for it.
        if leader.cohort != Some(cohort.version) {
            return self.has(PlantedBug::RewoundTogether);
        }
        let keeping = |heartbeat: &Heartbeat| {
            heartbeat
                .cohort
                .is_some_and(|version| version.term == leader.term)
        };
        let full = Reason::Unserviceable(Serviceability::DiskFull);
        let stays = |peer: ReplicaId, heartbeat: &Heartbeat| {
            let follows = heartbeat.reason == Reason::Following || heartbeat.reason == full;
            let heedless = self.has(PlantedBug::RewoundTogether);
            peer == source || follows || peer > self.config.me || heedless
        };
        let others = self
            .config
            .peers()
            .filter_map(|peer| {
                let heartbeat = self.peers.alive(self.now, &self.config.timings, peer)?;
                Some((peer, heartbeat))
            })
            .filter(|(peer, heartbeat)| {
                cohort.counts(*peer, heartbeat.incarnation)
                    && keeping(heartbeat)
                    && stays(*peer, heartbeat)
            })
            .count();
        others >= majority(cohort.members.len())
    }

    /// Where a primary does not open for want of followers, those whose logs do not fit are taken back
    /// one after the other: two that forgot at once could not be readmitted.
    fn is_next_to_return(&self, leader: (ReplicaId, &Heartbeat)) -> bool {
        let Some(cohort) = &self.durable.cohort else {
            return false;
        };
        if self.has(PlantedBug::RewoundTogether) {
            return true;
        }
        let earlier = |peer: &ReplicaId| *peer < self.config.me && *peer != leader.0;
        self.config.peers().filter(earlier).all(|peer| {
            self.peers
                .alive(self.now, &self.config.timings, peer)
                .is_none_or(|heartbeat| {
                    let counts = cohort.counts(peer, heartbeat.incarnation);
                    counts
                        && heartbeat.reason == Reason::Following
                        && heartbeat.term == leader.1.term
                })
        })
    }

    /// Whether this replica may forget what it has and take the primary's log instead. A primary that
    /// does not open is given time to open with the others first.
    pub(crate) fn may_rewind(&self) -> bool {
        let Some((replica, leader)) = self.leader() else {
            return false;
        };
        let patience = self.config.timings.suspicion * 5 / 2;
        let stuck = self
            .promised_at
            .is_none_or(|at| self.now.since(at) >= patience);
        leader.history.is_some()
            && leader.rewind_source
            && self.is_heard_now(replica)
            && (leader.open || (stuck && self.is_next_to_return((replica, leader))))
            && (!self.is_voter() || self.others_suffice((replica, leader)))
    }

    /// Not only not suspected yet: who forgets what it has for a source that is gone has forgotten it for nothing.
    pub(crate) fn is_heard_now(&self, source: ReplicaId) -> bool {
        let limit = self.config.timings.heartbeat * 4;
        let peer = self.peers.get(source);
        peer.is_some_and(|peer| self.peers.silence(self.now, peer) < limit)
    }

    /// Whether a replica whose missing log is gone may be filled anew. It forgets what it has, so the rest must
    /// be able to take it back; it says so first and waits a while, so that of two in the same state each
    /// knows of the other; and they go one at a time.
    pub(crate) fn may_rebuild(&self) -> bool {
        if self.has(PlantedBug::StarvedReplicaLeft) {
            return false;
        }
        let patience = self.config.timings.suspicion * 2;
        let said_so = self
            .server
            .spared_since
            .is_some_and(|since| self.now.since(since) >= patience);
        said_so
            && !self.refill_must_wait()
            && self.can_be_spared()
            && self.leader().is_some_and(|(_, l)| l.history.is_some())
    }

    /// Whether the rest could readmit this replica if it forgot everything now. Who follows counts, and of those
    /// that lack log too the ones that come later: they wait for this one.
    pub(crate) fn can_be_spared(&self) -> bool {
        let Some((source, leader)) = self.leader() else {
            return false;
        };
        if self.has(PlantedBug::RebuiltTogether) {
            return true;
        }
        let busy = self.config.peers().any(|peer| {
            self.peers
                .alive(self.now, &self.config.timings, peer)
                .is_some_and(|heartbeat| heartbeat.reason == Reason::Rebuilding)
        });
        !busy && (!self.is_voter() || self.others_suffice((source, leader)))
    }

    /// Since when it is known that the missing log is gone, and that the rest can do without this replica.
    /// A damaged folder, and one that somebody ordered to be filled anew, are treated alike: they are of no use, and the
    /// rest must be able to do without them.
    pub(crate) fn note_starvation(&mut self, seen: &Observation) {
        let now = self.now;
        let damaged = seen.serviceability == Serviceability::CorruptData
            && !self.has(PlantedBug::DamagedReplicaLeft);
        let useless = seen.supply == Supply::Removed || damaged || self.refill_ask.is_some();
        let starved = self.server.state == State::Following && useless;
        let spared = starved && !self.refill_must_wait() && self.can_be_spared();
        let since = |before: Option<Instant>, holds: bool| holds.then(|| before.unwrap_or(now));
        self.server.starved_since = since(self.server.starved_since, starved);
        self.server.spared_since = since(self.server.spared_since, spared);
    }

    /// A folder that is of no use: founded if nobody has anything, else copied from a primary.
    pub(crate) fn next_event_empty(&self) -> Option<Event> {
        let seen = self.server.fresh()?;
        if self.durable.cohort.is_none() {
            return self.may_found().then_some(Event::FoundingAgreed);
        }
        let (_, leader) = self.leader()?;
        leader.history.as_ref()?;
        // What was there may still be worth something until the primary has its quorum without it.
        let nothing_to_lose = match seen.data {
            DataState::Blank | DataState::Broken => true,
            DataState::Present { .. } => leader.open,
        };
        nothing_to_lose.then_some(Event::SourceFound)
    }

    /// How long a promise to a coordinator that still lives keeps a replica from trying itself.
    pub(crate) fn promise_patience(&self) -> Duration {
        self.config.timings.promotion
    }
}
