//! How a replica whose log or folder does not fit comes back: rewound, or rebuilt as a learner.
//!
//! A rewind that ends well forgets nothing: what this replica helped to acknowledge is in the log of whoever was elected
//! since, and so in what it has afterwards. It keeps its vote. Until then it reports nothing. Where a rewind does not end
//! well the folder is of no use and must be rebuilt; who could not be spared for that makes a copy of it first, and
//! goes back to it.
//!
//! To be rebuilt is to forget. It is done only while the rest can do without this replica: as many members as an election
//! needs, this one not counted, keep the primary's cohort record. Then the primary can readmit it alone.

use core::time::Duration;

use mainstay_units::Instant;

use crate::cohort::majority;
use crate::config::ReplicaId;
use crate::keeper::Keeper;
use crate::machine::{Event, State};
use crate::message::Heartbeat;
use crate::planted::PlantedBug;
use crate::postgres::{DataState, Observation, ProcessState, Serviceability, Supply};
use crate::status::{Reason, Role};

impl Keeper {
    /// The primary that this replica may follow.
    pub(crate) fn leader(&self) -> Option<(ReplicaId, &Heartbeat)> {
        let floor = self.durable.promise.floor;
        self.peers.leader(self.now, &self.config.timings, floor)
    }

    /// Whether the members other than this one suffice to readmit it. Of those that must forget too, the ones that come
    /// later count, and for one that has nothing whole all do: they wait for this one, because by the same rule this one
    /// does not count for them. Nobody counts with nothing whole, or by old words, which who was away itself would take
    /// for present.
    fn others_suffice(&self, (source, leader): (ReplicaId, &Heartbeat)) -> bool {
        let Some(cohort) = &self.durable.cohort else {
            return false;
        };
        // A change that is not decided yet may need this replica's word for it.
        if leader.cohort != Some(cohort.version) {
            return false;
        }
        let keeping = |heartbeat: &Heartbeat| {
            heartbeat
                .cohort
                .is_some_and(|version| version.term == leader.term)
        };
        let full = Reason::Unserviceable(Serviceability::DiskFull);
        let has_a_log = |heartbeat: &Heartbeat| {
            heartbeat.role != Role::Learner && heartbeat.system_identifier.is_some()
        };
        let comes_first = !self.server.is_usable(&self.durable);
        let stays = |peer: ReplicaId, heartbeat: &Heartbeat| {
            let follows = heartbeat.reason == Reason::Following || heartbeat.reason == full;
            let waits = comes_first || peer > self.config.me;
            peer == source || (has_a_log(heartbeat) && (follows || waits))
        };
        let others = self
            .config
            .peers()
            .filter(|peer| self.is_heard_now(*peer))
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
        // With many replicas and few copies that is more than a majority.
        let members = cohort.members.len();
        let electing = cohort.recruits_needed(self.copies());
        // Where it takes all of them, none is elected without the primary anyway.
        others >= electing.min(members - 1).max(majority(members))
    }

    /// Whether this replica may leave its log and take the primary's instead. A primary that does not open is given
    /// time to open with the others first.
    pub(crate) fn may_rewind(&self) -> bool {
        let Some((replica, leader)) = self.leader() else {
            return false;
        };
        leader.history.is_some()
            && leader.rewind_source
            && self.is_heard_now(replica)
            && (leader.open || self.has_waited())
    }

    /// Long enough for a primary to open that this replica promised its term to.
    fn has_waited(&self) -> bool {
        let patience = self.config.timings.suspicion * 5 / 2;
        self.promised_at
            .is_none_or(|at| self.now.since(at) >= patience)
    }

    /// Whether it may begin to come back. Who leaves a log that is worth keeping forgets by that: it is known by its
    /// incarnation as the one who has it.
    pub(crate) fn may_return(&self, precious: bool) -> bool {
        self.may_rewind() && (!precious || self.may_forget())
    }

    /// Whether the rest could take this replica back if it forgot everything now.
    pub(crate) fn may_forget(&self) -> bool {
        !self.is_voter()
            || self
                .leader()
                .is_some_and(|source| self.others_suffice(source))
    }

    /// Not only not suspected yet: who forgets what it has for a source that is gone has forgotten it for nothing.
    pub(crate) fn is_heard_now(&self, source: ReplicaId) -> bool {
        let limit = self.config.timings.heartbeat_at_rest() * 4;
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
        if self.leader().is_none() {
            return false;
        }
        if self.has(PlantedBug::RebuiltTogether) {
            return true;
        }
        let busy = self.config.peers().any(|peer| {
            self.peers
                .alive(self.now, &self.config.timings, peer)
                .is_some_and(|heartbeat| heartbeat.reason == Reason::Rebuilding)
        });
        !busy && self.may_forget()
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
        if seen.process != ProcessState::Stopped {
            // Somebody started by hand what is not this replica's any more.
            return Some(Event::MustStop);
        }
        if self.durable.cohort.is_none() {
            return self.may_found().then_some(Event::FoundingAgreed);
        }
        if self.server.is_usable(&self.durable) {
            return Some(Event::SeenStopped);
        }
        let (_, leader) = self.leader()?;
        leader.history.as_ref()?;
        // What was there may still be worth something until the primary has its quorum without it; but it may never have
        // it without this replica. It is moved aside.
        let nothing_to_lose = match seen.data {
            DataState::Blank | DataState::Broken => true,
            DataState::Present { .. } => leader.open || self.has_waited(),
        };
        (nothing_to_lose && self.may_forget()).then_some(Event::SourceFound)
    }

    /// How long a promise to a coordinator that still lives keeps a replica from trying itself.
    pub(crate) fn promise_patience(&self) -> Duration {
        self.config.timings.promotion
    }
}
