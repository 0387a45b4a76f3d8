//! Leases: how long a primary may answer readers. Writes never rest on them.
//!
//! A member that hears a primary's heartbeat answers with the time at which, by the primary's own clock,
//! it was sent; when a majority (the primary counted) answered what was sent at `s`, the lease runs until
//! `s + lease`. A member that granted lets itself be recruited only when its grant has run out, counted
//! from a later moment on its own clock with a tenth added for drifting clocks, or when the primary gave
//! its lease up. A majority granted and a majority is recruited, so no new primary opens within a lease.

use core::time::Duration;

use mainstay_units::{Instant, Term};

use crate::cohort::majority;
use crate::config::ReplicaId;
use crate::durable::{Cohort, Durable};
use crate::effect::Effect;
use crate::keeper::Keeper;
use crate::machine::State;
use crate::message::{Body, Heartbeat};
use crate::peers::{Peer, leads};
use crate::planted::PlantedBug;
use crate::primary::Primary;
use crate::status::{Role, WakeReason};

/// The lease that this keeper granted last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    to: Option<ReplicaId>,
    term: Term,
    at: Option<Instant>,
    /// What was granted for, by the primary's clock.
    echo: Instant,
}

impl Granted {
    /// A keeper that ran before does not remember what it granted, so it assumes the most.
    pub fn on_start(durable: &Durable, now: Instant) -> Self {
        let ran_before = durable.cohort.is_some();
        Self {
            to: None,
            term: durable.promise.floor,
            at: ran_before.then_some(now),
            echo: Instant::ZERO,
        }
    }
}

impl Keeper {
    pub(crate) fn answer_with_grant(&mut self, from: ReplicaId, heartbeat: &Heartbeat) {
        // One that forgot what it granted or promised before must not grant: it could be recruited, by
        // its former self, for a later term.
        let remembers = self.is_voter() || self.has(PlantedBug::ForgetfulGrantsLease);
        if !leads(heartbeat) || heartbeat.term < self.durable.promise.floor || !remembers {
            return;
        }
        if self
            .primary
            .as_ref()
            .is_some_and(|own| own.term >= heartbeat.term)
        {
            return;
        }
        self.granted = Granted {
            to: Some(from),
            term: heartbeat.term,
            at: Some(self.now),
            echo: heartbeat.sent,
        };
        let term = heartbeat.term;
        let echo = heartbeat.sent;
        self.send(from, Body::Grant { term, echo });
    }

    /// A primary that says it is none will never be one again in that term. Only what it said after the
    /// words that were granted for counts.
    pub(crate) fn note_surrender(&mut self, from: ReplicaId, heartbeat: &Heartbeat) {
        let ended = matches!(
            heartbeat.role,
            Role::Fenced | Role::Stopped | Role::Standby | Role::Learner
        );
        let later = heartbeat.sent > self.granted.echo && heartbeat.term >= self.granted.term;
        if self.granted.to == Some(from) && ended && later {
            self.granted.at = None;
        }
    }

    /// A primary that recruits for a later term has closed itself before.
    pub(crate) fn note_surrender_by_recruit(&mut self, from: ReplicaId, term: Term) {
        if self.granted.to == Some(from) && term > self.granted.term {
            self.granted.at = None;
        }
    }

    pub(crate) fn lease_granted_ends(&self) -> Option<Instant> {
        let lease = self.config.timings.lease;
        Some(self.granted.at? + lease + lease / 10)
    }

    pub(crate) fn lease_is_running(&self) -> bool {
        let lease = self.config.timings.lease;
        self.granted
            .at
            .is_some_and(|at| self.now.since(at) < lease + lease / 10)
    }

    pub(crate) fn handle_grant(&mut self, from: ReplicaId, term: Term, echo: Instant) {
        let own = self.primary.as_ref().is_some_and(|own| own.term == term);
        if !own || echo > self.now {
            return;
        }
        if let Some(peer) = self.peers.get_mut(from) {
            peer.granted = peer.granted.max(Some(echo));
        }
    }

    /// Until when readers may be answered; `None` if this server is no primary or was never granted one.
    #[inline]
    pub(crate) fn lease_expires(&self) -> Option<Instant> {
        let (primary, cohort) = (self.primary.as_ref()?, self.lent_to()?);
        let lease = self.config.timings.lease;
        let Some(place) = others_needed(cohort) else {
            return Some(self.now + lease);
        };
        // The latest sending time that a majority, this server counted, granted for.
        let granted = self.grants(primary, cohort);
        let asked = if place == 0 {
            // Of three replicas: asked for with every input, and no list is needed.
            granted.max()?
        } else {
            let mut granted: alloc::vec::Vec<Instant> = granted.collect();
            granted.sort_unstable_by(|a, b| b.cmp(a));
            *granted.get(place)?
        };
        Some(asked + lease)
    }

    /// The cohort that lends, if this server can be lent to: it is promoted, and has not begun to close.
    fn lent_to(&self) -> Option<&Cohort> {
        let state = self.server.state;
        let cohort = self.durable.cohort.as_ref()?;
        (state.is_promoted() && state != State::Closing).then_some(cohort)
    }

    /// For what others granted last, as far as they may.
    fn grants(&self, primary: &Primary, cohort: &Cohort) -> impl Iterator<Item = Instant> {
        let before = primary.previous.as_ref();
        self.peers.iter().filter_map(move |(replica, peer)| {
            let granted = peer.granted?;
            self.may_grant(cohort, before, replica, peer)
                .then_some(granted)
        })
    }

    /// Grants count of members only, and of a new one not before its admission is decided: until then its
    /// former self may have promised a later term.
    fn may_grant(
        &self,
        cohort: &Cohort,
        before: Option<&Cohort>,
        replica: ReplicaId,
        peer: &Peer,
    ) -> bool {
        let counts = peer.heartbeat.as_ref().is_some_and(|heartbeat| {
            let incarnation = heartbeat.incarnation;
            cohort.counts(replica, incarnation)
                && before.is_none_or(|before| {
                    !before.members.contains_key(&replica) || before.counts(replica, incarnation)
                })
        });
        counts || self.has(PlantedBug::ForgetfulGrantsLease)
    }

    /// Whether a lease runs: enough granted for what was sent within it.
    pub(crate) fn has_lease(&self) -> bool {
        let (Some(primary), Some(cohort)) = (self.primary.as_ref(), self.lent_to()) else {
            return false;
        };
        let lease = self.config.timings.lease;
        let runs = |asked: &Instant| *asked + lease > self.now;
        match others_needed(cohort) {
            Some(place) => self
                .grants(primary, cohort)
                .filter(runs)
                .nth(place)
                .is_some(),
            None => runs(&self.now),
        }
    }

    /// No majority of keepers was heard within the lease.
    pub(crate) fn is_isolated(&self) -> bool {
        !self.has_lease()
    }

    pub(crate) fn note_isolation(&mut self, expires: Option<Instant>) {
        let now = self.now;
        let runs = expires.is_some_and(|expires| expires > now);
        // A closing primary renews its lease no more: that it runs out is no isolation.
        let has_lease = runs || self.server.state == State::Closing;
        if let Some(primary) = self.primary.as_mut() {
            if has_lease {
                primary.isolated_since = None;
            } else {
                primary.isolated_since.get_or_insert(now);
            }
        }
    }

    /// Isolated for so long that it must not even seem to lead: one that is only deaf is still heard by the
    /// others, and nobody would suspect it.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.primary
            .as_ref()
            .and_then(|primary| primary.isolated_since)
            .is_some_and(|since| self.now.since(since) >= self.config.timings.suspicion)
    }

    pub(crate) fn run_lease(&mut self, expires: Option<Instant>) {
        if self.server.state != State::Open {
            return;
        }
        let (Some(expires), Some(primary)) = (expires, self.primary.as_mut()) else {
            return;
        };
        let step = Duration::from_millis(20);
        if primary
            .lease_written
            .is_none_or(|last| expires > last + step)
        {
            primary.lease_written = Some(expires);
            let term = primary.term;
            self.gate.emit(Effect::WriteLease { term, expires });
        }
    }

    pub(crate) fn clear_lease(&mut self) {
        self.gate.drop_leases();
        self.gate.emit_now(Effect::ClearLease);
        if let Some(primary) = self.primary.as_mut() {
            primary.lease_written = None;
        }
    }

    pub(crate) fn lease_deadline(&self) -> Option<(Instant, WakeReason)> {
        if !matches!(self.server.state, State::Open | State::Opening) {
            return None;
        }
        // As it was said just now.
        Some((self.status().lease_expires?, WakeReason::Lease))
    }
}

/// How many others must have granted beside the one whose grant decides; `None` where nobody need.
fn others_needed(cohort: &Cohort) -> Option<usize> {
    (majority(cohort.members.len()) - 1).checked_sub(1)
}
