//! Servers that must be started anew, for parameters or programs that only a start takes: who goes, and when.
//!
//! A standby does not go by itself. The primary names one at a time, and only while its quorum acknowledges without
//! that one; who was named is waited for until it streams again. A word that names somebody is worth something for as
//! long as a lease after what it answers; a primary that cannot know whom its predecessor named waits for twice that. When no standby is left the primary writes its pages
//! out and hands over, and its next start, as a standby, takes what it waited for. Nothing of this is kept anywhere:
//! each server says itself what it needs, so whoever is primary next goes on where the last one ended. Where one
//! server refused what it was given, nobody goes any more.

use core::time::Duration;

use mainstay_units::{Instant, Lsn};

use crate::config::ReplicaId;
use crate::keeper::Keeper;
use crate::machine::State;
use crate::message::Renews;
use crate::planted::PlantedBug;
use crate::postgres::{Command, OperationId, Renewal};
use crate::status::Reason;

/// Between two attempts to hand over.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What a primary remembers of restarts while it is one.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    /// Since when nobody else can have named anybody but what is known to be over.
    since: Option<Instant>,
    /// Who was named, and is not known to be back.
    away: Option<ReplicaId>,
    /// Since when this server itself needs it, and is the last that does.
    alone_since: Option<Instant>,
    flushing: Option<OperationId>,
    flushed: bool,
    not_before: Option<Instant>,
}

impl Renewals {
    /// The last attempt was not called off a moment ago.
    pub fn may_hand_over(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| now >= at)
    }

    /// Written out or not, it is not tried again: the stop only takes longer.
    pub fn note_outcome(&mut self, operation: OperationId) {
        if self.flushing == Some(operation) {
            self.flushing = None;
            self.flushed = true;
        }
    }
}

impl Keeper {
    /// Whether this one lives and said so last.
    fn has_renewal(&self, peer: ReplicaId, wanted: Renewal) -> bool {
        let said = self
            .peers
            .get(peer)
            .and_then(|peer| peer.heartbeat.as_ref());
        said.is_some_and(|heartbeat| heartbeat.renewal == wanted)
            && self.peers.is_alive(self.now, &self.config.timings, peer)
    }

    /// Commits and elections go on without one of those that acknowledge now.
    fn can_spare_one(&self) -> bool {
        self.acknowledging(Lsn::INVALID) >= usize::from(self.copies())
    }

    fn is_refused_anywhere(&self) -> bool {
        self.server.renewal() == Renewal::Refused
            || self
                .peers
                .ids()
                .any(|peer| self.has_renewal(peer, Renewal::Refused))
    }

    /// Streams again, and needs nothing more.
    fn is_back(&self, peer: ReplicaId) -> bool {
        let heartbeat = self.peers.alive(self.now, &self.config.timings, peer);
        heartbeat.is_some_and(|heartbeat| {
            heartbeat.renewal != Renewal::Needed
                && heartbeat.reason == Reason::Following
                && heartbeat.streams
        }) && self.target_stream(peer).is_some()
    }

    fn waits(&self, peer: ReplicaId) -> bool {
        self.has_renewal(peer, Renewal::Needed) && self.target_stream(peer).is_some()
    }

    /// Nothing that an earlier primary said is worth anything any more.
    fn may_name(&self) -> bool {
        let since = self.primary.as_ref().and_then(|own| own.renewals.since);
        since.is_some_and(|since| self.now.since(since) >= self.config.timings.lease * 2)
    }

    /// Draws a primary's conclusions about restarts.
    pub(crate) fn run_renewals(&mut self) {
        let Some(away) = self.primary.as_ref().map(|primary| primary.renewals.away) else {
            return;
        };
        let away = away.filter(|peer| !self.is_back(*peer));
        let next = || {
            let waiting = self.peers.ids().find(|peer| self.waits(*peer))?;
            let may = self.may_name() && self.can_spare_one() && !self.is_refused_anywhere();
            may.then_some(waiting)
        };
        let away = away.or_else(next);
        let alone = away.is_none() && self.is_last_to_go();
        let now = self.now;
        let open = self.server.state == State::Open;
        let Some(primary) = self.primary.as_mut() else {
            return;
        };
        let renewals = &mut primary.renewals;
        renewals.since.get_or_insert(now);
        renewals.away = away;
        renewals.alone_since = alone.then(|| renewals.alone_since.unwrap_or(now));
        if alone && open && !renewals.flushed && renewals.flushing.is_none() {
            let operation = self.duty(Command::Checkpoint);
            if let Some(primary) = self.primary.as_mut() {
                primary.renewals.flushing = Some(operation);
            }
        }
    }

    /// Whom this primary names now. Who was named and may not go at this moment is not named again before it may.
    pub(crate) fn renews(&self) -> Option<Renews> {
        let away = self.primary.as_ref()?.renewals.away?;
        let may = self.server.state == State::Open
            && self.switchover.is_none()
            && !self.durable.paused
            && self.can_spare_one()
            && !self.is_refused_anywhere()
            && self.waits(away);
        let heartbeat = self.peers.alive(self.now, &self.config.timings, away)?;
        may.then_some(Renews {
            replica: away,
            echo: heartbeat.sent,
        })
    }

    /// A standby that is named by the primary that it follows.
    pub(crate) fn may_renew(&self) -> bool {
        if self.server.renewal() != Renewal::Needed {
            return false;
        }
        let Some((_, leader)) = self.leader() else {
            return false;
        };
        let named = leader.renews.is_some_and(|renews| {
            renews.replica == self.config.me
                && renews.echo > self.server.started
                && self.now.since(renews.echo) <= self.config.timings.lease
        });
        leader.open
            && Some(leader.term) == self.server.followed
            && (named || self.has(PlantedBug::RenewedUnasked))
    }

    /// This server needs it, and no standby does.
    fn is_last_to_go(&self) -> bool {
        self.server.renewal() == Renewal::Needed
            && self.can_spare_one()
            && !self.is_refused_anywhere()
            && !self.peers.ids().any(|peer| {
                self.has_renewal(peer, Renewal::Needed) || self.has_renewal(peer, Renewal::Refused)
            })
    }

    /// The primary's own turn. Standbys whose files came later than this one's have had time to say so.
    pub(crate) fn must_retire(&self) -> bool {
        let patience = self.config.timings.suspicion * 2;
        let Some(renewals) = self.primary.as_ref().map(|primary| &primary.renewals) else {
            return false;
        };
        renewals
            .alone_since
            .is_some_and(|since| self.now.since(since) >= patience)
            && renewals.flushed
            && renewals.not_before.is_none_or(|at| self.now >= at)
    }

    /// A handover that was called off is not begun again at once.
    pub(crate) fn note_handover_ended(&mut self) {
        let again = self.now + AGAIN_AFTER;
        if let Some(primary) = self.primary.as_mut() {
            primary.renewals.not_before = Some(again);
            primary.renewals.flushed = false;
        }
    }
}
