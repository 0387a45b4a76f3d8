//! What keepers say to each other.
//!
//! Messages may be lost, delayed, doubled and reordered; each makes sense alone. Every message says who
//! sends it and which configuration the sender was given; a message of another configuration is counted
//! and otherwise ignored.

use alloc::boxed::Box;
use core::time::Duration;

use mainstay_units::{Incarnation, Instant, Lsn, SystemIdentifier, Term, Timeline};

use crate::config::{ReplicaId, Roster};
use crate::durable::{Cohort, CohortVersion, Promise};
use crate::lineage::Lineage;
use crate::postgres::{Rank, Renewal, TimelineHistory};
use crate::status::{Reason, Role};

/// A message between keepers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    pub from: ReplicaId,
    pub fingerprint: u64,
    /// The sender's. A message of another lineage says nothing but that there is one.
    pub lineage: Lineage,
    /// Which filling of the sender's folder speaks. One that lost its disk knows nothing of what it coordinated before, and
    /// may coordinate the same term again: what it promised, aborted or ordered then is not the word of this one.
    pub incarnation: Incarnation,
    pub body: Body,
}

/// The kinds of messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// What the sender is and sees; every heartbeat interval, and at once when its role changes.
    Heartbeat(Box<Heartbeat>),
    /// To a primary: "I heard what you sent at `echo` (your clock), and leave readers to you for a lease
    /// from then". Never sent to a primary whose term lies below the sender's floor.
    Grant {
        term: Term,
        echo: Instant,
    },
    /// "If I asked for `term`, would you leave your primary?" Binds nobody.
    AskPreVote {
        round: u64,
        term: Term,
    },
    PreVote {
        round: u64,
        verdict: PreVote,
    },
    /// "Promise me `term`, leave your primary, and tell me what you have." Repeated until answered.
    Recruit {
        term: Term,
    },
    /// The promise is durable and the replica is off every stream; or it will not be.
    Report {
        term: Term,
        /// Which filling of the coordinator's folder asked; zero where an earlier version does not say.
        to: Incarnation,
        verdict: Box<Report>,
    },
    /// To the winner, from the coordinator to whom it promised `term`.
    Promote {
        term: Term,
        cohort: Box<Cohort>,
    },
    /// "I gave `term` up before anything was promoted, durably." Releases the promise.
    Abort {
        term: Term,
    },
    /// From a primary of `cohort.version.term`: "keep this record".
    KeepCohort {
        cohort: Box<Cohort>,
    },
    /// The record of this version is durable at the sender.
    CohortKept {
        version: CohortVersion,
        /// Which filling of the sender's folder keeps it.
        incarnation: Incarnation,
    },
}

/// "Of yours I heard this one last", by which its sender learns how long the way there and back takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Echo {
    /// When it was sent, by the clock of the one who sent it.
    pub sent: Instant,
    /// How long ago it was heard, as this is said.
    pub held: Duration,
}

/// What a keeper says of itself and of its server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    /// When it was sent, by the sender's clock; means something to the sender only.
    pub sent: Instant,
    /// Zero from the keeper itself. Its *voice*, a thread that only speaks, repeats the last words of a keeper that
    /// comes late, and says how long ago that one last spoke.
    pub age: Duration,
    /// To each receiver its own: the last of its heartbeats that the sender heard.
    pub echo: Option<Echo>,
    pub role: Role,
    pub reason: Reason,
    /// The term of which the sender is primary, or whose primary it follows, or was last.
    pub term: Term,
    /// Whom the sender takes for the primary of `term`.
    pub primary: Option<ReplicaId>,
    /// A primary only: its quorum has flushed its timeline, applications are let in.
    pub open: bool,
    /// A primary only: the history of its timeline.
    pub history: Option<TimelineHistory>,
    /// A primary only: its control file names the new timeline, so that pg_rewind may read from it.
    pub rewind_source: bool,
    pub promise: Promise,
    pub incarnation: Incarnation,
    /// The cohort record that the sender keeps; of a primary, the one that is known to be decided.
    pub cohort: Option<CohortVersion>,
    /// What the server has on disk, as last observed.
    pub timeline: Timeline,
    pub flushed: Lsn,
    /// The system identifier of the data folder; `None` when it is blank.
    pub system_identifier: Option<SystemIdentifier>,
    /// Never had anything: no data folder and no record.
    pub blank: bool,
    /// Whether the sender itself has lost its primary.
    pub lost: bool,
    /// Whether the sender's server streams from a primary, as it says itself: what the primary's server shows of it
    /// may be left from before it was started anew.
    pub streams: bool,
    pub renewal: Renewal,
    /// A primary only: whose server may be started anew now; the rest can do without it.
    pub renews: Option<Renews>,
    /// The replicas that shall count, as the sender was told. A keeper of a version before does not say.
    pub staying: Option<Roster>,
}

/// The primary's word that a standby may go. It answers what that one said at `echo`, by its own clock, and is worth
/// nothing some time after: what is delayed would otherwise send it away beside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Renews {
    pub replica: ReplicaId,
    pub echo: Instant,
}

/// Answer to a pre-vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PreVote {
    Granted,
    Refused(Refusal),
}

/// Answer to a recruitment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Report {
    Recruited {
        incarnation: Incarnation,
        rank: Rank,
        cohort: Option<Box<Cohort>>,
        /// The highest term that the sender had promised for good, or whose primary it had followed by its keeper's order,
        /// before this recruitment. Earlier versions do not say.
        known: Option<Term>,
    },
    Refused {
        refusal: Refusal,
        /// The highest term that the sender knows of.
        highest: Term,
    },
}

/// Why a keeper does not go along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It still hears its primary.
    PrimaryHeard,
    /// It is the primary and its quorum acknowledges.
    PrimaryServing,
    /// The lease that it granted has not run out.
    LeaseRunning,
    /// It promised this term, or a later one, to another.
    Promised,
    /// Told to keep its hands off.
    Paused,
    /// It forgot what it once knew; its report would not count.
    Learner,
    /// Its server cannot say what it has.
    ServerUnready,
    /// For a reason that this version does not know.
    Other,
}
