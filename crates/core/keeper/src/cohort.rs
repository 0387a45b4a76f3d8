//! Arithmetic of the cohort: how many make a majority, a commit, a recruitment.
//!
//! With `n` members and `N` copies per commit, a recruitment of `R ≥ n − N + 1` members leaves too few to
//! commit without one of them, and `R ≥ ⌊n/2⌋ + 1` keeps two coordinators of one term apart.

use mainstay_units::{Incarnation, Term, Timeline};

use crate::config::ReplicaId;
use crate::durable::{Cohort, CohortVersion};
use crate::postgres::{HistoryEntry, Rank, ReceiverName, SynchronousStandbys, TimelineHistory};
use crate::primary::Stance;

pub(crate) const fn majority(of: usize) -> usize {
    of / 2 + 1
}

impl CohortVersion {
    /// What a database is founded with, before its first primary.
    pub const FOUNDING: Self = Self {
        term: Term(1),
        epoch: 1,
    };
}

impl Cohort {
    /// Whether this filling of this replica's folder counts.
    pub fn counts(&self, replica: ReplicaId, incarnation: Incarnation) -> bool {
        self.members
            .iter()
            .any(|(known, member)| *known == replica && member.incarnation == incarnation)
    }

    /// How many members must promise before one of them is promoted.
    pub fn recruits_needed(&self, copies: u8) -> usize {
        let members = self.members.len();
        majority(members).max((members + 1).saturating_sub(usize::from(copies)))
    }

    /// The server's setting under this cohort for the primary `me` of `term`.
    pub(crate) fn standbys(
        &self,
        me: ReplicaId,
        term: Term,
        stance: Stance,
    ) -> SynchronousStandbys {
        let Stance { copies, without } = stance;
        if copies <= 1 {
            return SynchronousStandbys::Off;
        }
        let count = copies - 1;
        let names: alloc::vec::Vec<_> = self
            .members
            .iter()
            .filter(|(replica, _)| **replica != me && without != Some(**replica))
            .map(|(replica, member)| ReceiverName {
                term,
                replica: *replica,
                incarnation: member.incarnation,
            })
            .collect();
        if names.len() < usize::from(count) {
            return SynchronousStandbys::Nobody;
        }
        SynchronousStandbys::Any { count, names }
    }
}

impl Rank {
    /// (timeline, position): compares the ends of two logs.
    pub fn key(&self) -> (Timeline, mainstay_units::Lsn) {
        (self.timeline, self.lsn)
    }

    /// Whether something of that timeline is in the log.
    pub fn passed(&self, timeline: Timeline) -> bool {
        let before = || {
            self.history
                .0
                .iter()
                .any(|entry| entry.timeline == timeline)
        };
        self.timeline == timeline || before()
    }

    /// Whether a log that ends here is a part of one on `timeline` with `history`. Numbers alone do not
    /// decide: the ancestors must be the same too.
    pub fn is_part_of(&self, timeline: Timeline, history: &TimelineHistory) -> bool {
        let older = |entry: &&HistoryEntry| entry.timeline < self.timeline;
        let same_ancestors = || {
            self.history
                .0
                .iter()
                .filter(older)
                .eq(history.0.iter().filter(older))
        };
        if self.timeline == timeline {
            return same_ancestors();
        }
        history
            .0
            .iter()
            .find(|entry| entry.timeline == self.timeline)
            .is_some_and(|entry| self.lsn <= entry.end)
            && same_ancestors()
    }
}
