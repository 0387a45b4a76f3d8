//! What a keeper must not forget: its promise, the cohort, and which filling of the data folder it
//! answers for.
//!
//! The whole is small and is written as one record ([`crate::Effect::Persist`]). A keeper that finds
//! none starts from [`Durable::default`], which is an amnesiac: it counts for nothing until a primary
//! admits it.

use alloc::collections::BTreeMap;

use mainstay_units::{Incarnation, SystemIdentifier, Term};

use crate::config::ReplicaId;

/// A keeper's record on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Durable {
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
    pub members: BTreeMap<ReplicaId, Member>,
}

/// A member of a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    pub incarnation: Incarnation,
}
