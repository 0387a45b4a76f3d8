//! Serving alone: by an operator's order an open primary without its quorum answers commits all the same.
//!
//! The order is a change of the cohort record like any other: on a majority of the members' disks before the
//! server stops waiting. Whoever recruits a majority later finds it there, and notes what the new term begins
//! without. It ends by itself: when enough standbys stream again commits wait again, and when those have on
//! disk what the log was *then* (the barrier), everything that was answered alone is on enough disks, and a
//! next record says so. Only then is the full promise claimed again.
//!
//! What is promised meanwhile: a commit is on the primary's disk. It is lost with that disk, or when the others
//! elect somebody while the primary is gone or cut off. What was answered before, or is answered after the end,
//! rests on the quorum as ever: the elections' arithmetic does not change.

use mainstay_units::{Incarnation, Instant, Lsn, Term, Timeline};

use crate::config::ReplicaId;
use crate::durable::{Cohort, Loss, Solo};
use crate::input::RequestId;
use crate::keeper::Keeper;
use crate::machine::State;
use crate::planted::PlantedBug;
use crate::postgres::{Observation, ProcessState, Rank};
use crate::primary::{Barrier, Waits};
use crate::status::{Answer, Reason, SoloRefusal};

/// An order that is not answered yet.
#[derive(Debug)]
pub(crate) struct SoloAsk {
    request: RequestId,
    term: Term,
    asked: Instant,
}

impl SoloAsk {
    pub fn request(&self) -> RequestId {
        self.request
    }
}

impl Keeper {
    pub(crate) fn ask_solo(&mut self, request: RequestId, since_ms: u64) {
        if let Some(refusal) = self.solo_refusal() {
            self.answer(request, Answer::SoloRefused(refusal));
            return;
        }
        let Some(term) = self.primary.as_ref().map(|primary| primary.term) else {
            return;
        };
        self.solo_ask = Some(SoloAsk {
            request,
            term,
            asked: self.now,
        });
        if self.solo_is_recorded() {
            return;
        }
        let solo = Solo {
            term,
            primary: self.config.me,
            incarnation: self.durable.incarnation,
            from: self.protected(),
            since_ms,
        };
        self.change_cohort(|cohort| cohort.solo = Some(solo));
    }

    fn solo_refusal(&self) -> Option<SoloRefusal> {
        if self.durable.paused {
            return Some(SoloRefusal::Paused);
        }
        let primary = self
            .primary
            .as_ref()
            .filter(|_| self.server.state == State::Open && self.has_lease());
        let (Some(primary), Some(cohort)) = (primary, &self.durable.cohort) else {
            let primary = self.leader().map(|(replica, _)| replica);
            return Some(SoloRefusal::NotPrimary { primary });
        };
        if self.copies() <= 1 {
            return Some(SoloRefusal::OneCopy);
        }
        if self.is_anyone_bound_away(primary.term) {
            return Some(SoloRefusal::BoundAway);
        }
        if self.solo_ask.is_some() || self.switchover.is_some() {
            return Some(SoloRefusal::Busy);
        }
        if self.solo_is_recorded() {
            return None;
        }
        if !self.quorum_is_missing() {
            return Some(SoloRefusal::QuorumThere);
        }
        let settled = self.setting_is_settled() && self.cohort_is_durable();
        (!settled || cohort.solo.is_some()).then_some(SoloRefusal::Busy)
    }

    /// Answers the order when it is in force, or will not be.
    pub(crate) fn run_solo_ask(&mut self) -> bool {
        let Some(ask) = &self.solo_ask else {
            return false;
        };
        let (request, term) = (ask.request, ask.term);
        let still = self.primary.as_ref().is_some_and(|own| own.term == term);
        let limit = self.config.timings.recruitment + self.config.timings.promotion;
        let answer = if still && self.is_solo() {
            Answer::Done { term }
        } else if still && !self.solo_is_recorded() {
            Answer::SoloRefused(SoloRefusal::QuorumThere)
        } else if !still || self.now.since(ask.asked) >= limit {
            Answer::Unfinished { term }
        } else {
            return false;
        };
        self.solo_ask = None;
        self.answer(request, answer);
        true
    }

    /// The record of this term says so, decided or not.
    pub(crate) fn solo_is_recorded(&self) -> bool {
        self.own_solo(self.durable.cohort.as_ref()).is_some()
    }

    fn own_solo(&self, cohort: Option<&Cohort>) -> Option<Solo> {
        let term = self.primary.as_ref()?.term;
        cohort?.solo.filter(|solo| solo.term == term)
    }

    /// Until the record of its end is decided too.
    pub(crate) fn solo_in_force(&self) -> Option<Solo> {
        let before = self
            .primary
            .as_ref()
            .and_then(|primary| primary.previous.as_ref());
        let own = self
            .own_solo(self.durable.cohort.as_ref())
            .or_else(|| self.own_solo(before));
        own.or_else(|| self.overruled_solo())
    }

    /// A paused primary keeps a later term's record and goes on as it was: that record says nothing of it.
    fn overruled_solo(&self) -> Option<Solo> {
        let primary = self.primary.as_ref()?;
        let version = self.durable.cohort.as_ref()?.version;
        primary.solo.filter(|_| version.term != primary.term)
    }

    pub(crate) fn note_solo(&mut self) {
        let version = self.durable.cohort.as_ref().map(|cohort| cohort.version);
        let solo = self.solo_in_force();
        if let Some(primary) = self.primary.as_mut()
            && version.is_some_and(|version| version.term == primary.term)
        {
            primary.solo = solo;
        }
    }

    /// Commits are not known to wait for the quorum.
    pub(crate) fn is_solo(&self) -> bool {
        let setting = self.primary.as_ref().and_then(|primary| primary.setting);
        setting.is_some_and(|setting| setting.waits == Waits::ForNobody)
    }

    /// Commits wait for nobody by order, when the quorum has been missing for a while; they wait again as soon
    /// as it streams.
    pub(crate) fn waits_wanted(&self) -> Waits {
        let patience = self.config.timings.suspicion;
        let missing = self
            .primary
            .as_ref()
            .and_then(|primary| primary.quorum_missing_since)
            .is_some_and(|since| self.now.since(since) >= patience);
        let endless = self.has(PlantedBug::SoloNeverEnded);
        let needed = missing || endless || self.members_are_too_few();
        if self.server.state == State::Open && self.solo_is_recorded() && needed {
            Waits::ForNobody
        } else {
            Waits::ForQuorum
        }
    }

    /// How far the log is known to be on enough disks.
    pub(crate) fn protected(&self) -> Lsn {
        let declared = self.solo_in_force().map_or(Lsn::INVALID, |solo| solo.from);
        self.primary
            .as_ref()
            .map_or(Lsn::INVALID, |primary| primary.protected.max(declared))
    }

    /// A primary opens with what its quorum has, unless it goes on alone.
    pub(crate) fn note_opening(&mut self) {
        let alone = self.solo_is_recorded();
        if let Some(primary) = self.primary.as_mut().filter(|_| !alone) {
            primary.protected = primary.protected.max(primary.first_record_end);
        }
    }

    pub(crate) fn protected_now(&self) -> Lsn {
        if self.has(PlantedBug::SoloCommitCountedAsProtected) {
            return self.position().1;
        }
        self.quorum_flushed().unwrap_or(Lsn::INVALID)
    }

    /// The first look at the server after commits have begun to wait again: what was answered alone lies before
    /// the end of the log that it shows.
    pub(crate) fn note_barrier(&mut self, seen: &Observation) {
        if !seen.serviceability.is_answering() {
            return;
        }
        if let (Some(primary), ProcessState::Primary { flushed, .. }) =
            (self.primary.as_mut(), seen.process)
            && primary.barrier == Barrier::Due
        {
            primary.barrier = Barrier::At(flushed);
        }
    }

    /// The quorum has everything that was answered alone. Of an earlier term's solo an open primary's has.
    pub(crate) fn end_solo(&mut self) -> bool {
        let Some(solo) = self.durable.cohort.as_ref().and_then(|cohort| cohort.solo) else {
            return false;
        };
        if self.server.state != State::Open || !self.cohort_is_durable() {
            return false;
        }
        let own = self.primary.as_ref().map(|primary| primary.term) == Some(solo.term);
        if own && !self.solo_is_over() {
            return false;
        }
        self.change_cohort(|cohort| cohort.solo = None);
        true
    }

    fn solo_is_over(&self) -> bool {
        let Some(primary) = &self.primary else {
            return false;
        };
        if self.has(PlantedBug::SoloEndedBeforeLog) {
            return self.quorum_acknowledges(Lsn::INVALID);
        }
        let waits = primary.setting.map(|setting| setting.waits) == Some(Waits::ForQuorum);
        let has_all = match primary.barrier {
            Barrier::At(end) => self.quorum_acknowledges(end),
            Barrier::Unknown | Barrier::Due => false,
        };
        waits && self.setting_is_settled() && has_all
    }

    /// For a new term's record: what its primary begins without, where one before it served alone. Losses that a
    /// failed attempt noted are weighed anew.
    pub(crate) fn note_loss<'a>(
        &self,
        cohort: &mut Cohort,
        winner: &Rank,
        reported: impl Fn(ReplicaId, Incarnation) -> Option<&'a Rank>,
    ) {
        let Some(solo) = cohort
            .solo
            .filter(|_| !self.has(PlantedBug::SoloLossUnrecorded))
        else {
            return;
        };
        cohort.weigh_anew(solo.term);
        // Of what this log is itself without, its own loss tells.
        cohort
            .regained
            .retain(|loss| !winner.passed(loss.term.into()));
        let last = reported(solo.primary, solo.incarnation);
        if last.is_some_and(|last| last.is_part_of(winner.timeline, &winner.history)) {
            return;
        }
        let timeline = Timeline::from(solo.term);
        let left = winner
            .history
            .0
            .iter()
            .find(|entry| entry.timeline == timeline);
        let after = left.map_or(winner.lsn, |entry| entry.end);
        let heard = self
            .peers
            .get(solo.primary)
            .and_then(|peer| peer.heartbeat.as_ref())
            .filter(|heartbeat| {
                heartbeat.timeline == timeline && heartbeat.incarnation == solo.incarnation
            })
            .map(|heartbeat| heartbeat.flushed);
        let known = last
            .filter(|last| last.timeline == timeline)
            .map(|last| last.lsn);
        let until = known.max(heard).filter(|until| *until > after);
        let loss = Loss {
            term: cohort.version.term,
            timeline,
            after,
            below: Term(solo.term.0.saturating_add(1)),
            until,
        };
        cohort.note(loss);
    }

    /// This server's log is known to end in what a later term began without, or was written alone.
    pub(crate) fn has_lost_commits(&self) -> bool {
        let (Some(rank), Some(cohort)) = (&self.server.rank, &self.durable.cohort) else {
            return false;
        };
        let own = cohort
            .solo
            .is_some_and(|solo| rank.timeline == solo.term.into());
        own || cohort
            .losses
            .iter()
            .any(|loss| loss.holds(rank.timeline, rank.lsn))
    }

    /// The primary serves and is well: a whole copy of it will succeed. Otherwise this replica is rewound, which
    /// takes less and keeps the log that it leaves, not the folder: without it there may be no quorum.
    pub(crate) fn can_be_copied(&self) -> bool {
        self.leader().is_some_and(|(_, leader)| {
            leader.open && !matches!(leader.reason, Reason::Unserviceable(_))
        })
    }
}
