//! What a keeper must not forget: its promise, the cohort, and which filling of the data folder it
//! answers for.
//!
//! The whole is small and is written as one record ([`crate::Effect::Persist`]). A keeper that finds
//! none starts from [`Durable::default`], which is an amnesiac: it counts for nothing until a primary
//! admits it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use mainstay_units::{Incarnation, Lsn, SystemIdentifier, Term, Timeline};

use crate::config::ReplicaId;
use crate::lineage::Lineage;
use crate::members::Members;

/// A keeper's record on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Durable {
    /// What everything else in the record belongs to.
    pub lineage: Lineage,
    pub promise: Promise,
    /// The latest term that this keeper coordinated and gave up before anything was promoted.
    pub aborted: Option<Term>,
    pub cohort: Option<Cohort>,
    /// The filling of PGDATA that this keeper answers for; zero when there was none yet. PGDATA holds
    /// the same number; when they differ, one of the two forgot something.
    pub incarnation: Incarnation,
    /// Whether an operator told this keeper to keep its hands off.
    pub paused: bool,
}

/// The obligation to leave old terms alone.
///
/// `highest` is what was promised last, to `coordinator`; no term up to it is ever promised again.
/// `floor` is what binds: no primary of a lower term is followed or granted anything. They differ only
/// after the coordinator's abort released the last promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promise {
    pub highest: Term,
    pub coordinator: Option<ReplicaId>,
    /// Which filling of the coordinator's folder it was.
    pub incarnation: Incarnation,
    pub floor: Term,
    /// What `floor` was before `highest` was promised, and becomes again when it is released.
    pub previous_floor: Term,
}

/// Orders cohort records: a later term's primary overrules, within a term the later change does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CohortVersion {
    /// Under which term the record was written.
    pub term: Term,
    /// Counts changes of the database's membership from 1; never falls.
    pub epoch: u64,
}

/// Who counts, in which incarnation. Replicas that are not members, or are members in another
/// incarnation, are learners.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cohort {
    pub version: CohortVersion,
    pub system_identifier: SystemIdentifier,
    pub members: Members,
    /// How many copies of each commit elections may rely on. Absent until every replica of the file was admitted once:
    /// till then as many as are configured.
    pub copies: Option<u8>,
    /// Commits are, or were until a moment ago, answered with fewer copies than promised.
    pub solo: Option<Solo>,
    /// What was given up, newest last, at most [`Loss::LIMIT`] of them.
    pub losses: Vec<Loss>,
    /// What a term began without and a later one found: lost again to a lineage that begins with the log of the
    /// former, at most [`Loss::LIMIT`] of them.
    pub regained: Vec<Loss>,
    /// What a later version of the keeper says in the record, by name: kept, and handed on as it came.
    pub beyond: BTreeMap<String, String>,
}

/// By an operator's order the primary of `term` answers commits without waiting for its quorum.
///
/// The record is on a majority of the disks before the first such answer, and stays there until everything that
/// was answered so is on enough of them, or until a later term's primary has opened. So whoever recruits a
/// majority knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Solo {
    pub term: Term,
    pub primary: ReplicaId,
    /// Which filling of its folder has it all.
    pub incarnation: Incarnation,
    /// What lies before was on enough disks when this was ordered.
    pub from: Lsn,
    /// When it was ordered, by the wall clock of the primary's host; only people read it.
    pub since_ms: u64,
}

/// A part of the log that a later term began without, and that may hold answered commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Loss {
    /// The term that began without it.
    pub term: Term,
    /// It begins after this position of this timeline, ...
    pub timeline: Timeline,
    pub after: Lsn,
    /// ... and holds what was written under terms below this one.
    pub below: Term,
    /// How far it is known to reach on `timeline`; more may have been written.
    pub until: Option<Lsn>,
}

impl Loss {
    /// Older ones are forgotten here; the journal keeps them all.
    pub const LIMIT: usize = 8;

    /// Whether what was written at this position is a part of it.
    pub fn holds(&self, timeline: Timeline, lsn: Lsn) -> bool {
        (timeline, lsn) > (self.timeline, self.after) && Term::from(timeline) < self.below
    }
}

impl Cohort {
    pub(crate) fn note(&mut self, loss: Loss) {
        push_newest(&mut self.losses, loss);
    }

    /// Takes back what terms above this one noted: none of them has opened. What one of these terms wrote may still
    /// be all that is left one day.
    pub(crate) fn weigh_anew(&mut self, above: Term) {
        let later = self.losses.iter().filter(|loss| loss.term > above);
        for loss in later.copied().collect::<Vec<_>>() {
            push_newest(&mut self.regained, loss);
        }
        self.losses.retain(|loss| loss.term <= above);
    }
}

fn push_newest(list: &mut Vec<Loss>, loss: Loss) {
    if list.len() >= Loss::LIMIT {
        list.remove(0);
    }
    list.push(loss);
}

/// A member of a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    pub incarnation: Incarnation,
}
