//! What a keeper says of itself, and why: every state has a reason, and every reason is an enum.

use core::fmt;

use mainstay_units::{Incarnation, Instant, Lsn, Term, Timeline};

use crate::config::ReplicaId;
use crate::durable::{CohortVersion, Loss, Promise, Solo};
use crate::lineage::Lineage;

/// What a keeper's server is to the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Nothing is known yet, or the server is being started or filled.
    #[default]
    Starting,
    /// Follows a primary, or waits for one, and counts.
    Standby,
    /// Follows a primary, or is about to, and does not count.
    Learner,
    /// Being promoted, or promoted and not yet acknowledged by its quorum.
    Candidate,
    Primary,
    /// Was primary, or may be one no longer: its server is being or has been stopped.
    Fenced,
    Stopped,
}

/// Why the role is what it is, and why nothing else is being done about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    #[default]
    JustStarted,
    /// No cohort exists; every keeper must be blank and agree before one is founded.
    AwaitingFounding,
    Founding,
    /// The first opening waits until every replica of the file has been admitted.
    AwaitingMembers,
    /// The data folder is being created from a primary's.
    Rebuilding,
    Rewinding,
    /// Blank or diverged, and no primary can be a source yet.
    AwaitingSource,
    StartingServer,
    StoppingServer,
    Following,
    /// The primary has removed the log that this replica lacks: it is about to be rebuilt.
    LogRemoved,
    /// The same, and it is not rebuilt yet: without it the rest could not take it back.
    LogRemovedNeeded,
    /// Nothing came from the primary's server for long: the stream is begun anew.
    StreamStuck,
    /// Off every stream by promise, or no primary is known.
    AwaitingPrimary,
    /// Lost its primary, and asks the others whether they lost it too.
    AskingPreVotes,
    Recruiting,
    /// Promised a term and is reading what it has.
    Recruited,
    Promoting,
    /// Promoted; its quorum has not flushed the first record of its timeline.
    AwaitingQuorum,
    Serving,
    /// Serving, but no quorum acknowledges: commits wait.
    QuorumMissing,
    /// Serving by order with fewer copies than promised.
    Solo,
    /// The quorum is back, and has not got everything that was answered without it.
    SoloEnding,
    SwitchingOver,
    /// No majority of keepers heard within the lease.
    Isolated,
    /// Learned of a later term.
    Superseded,
    ServerDied,
    Unserviceable(crate::postgres::Serviceability),
    /// The server chose another timeline than its term.
    TimelineMismatch,
    Paused,
    Halted(HaltReason),
    /// Of a peer: a reason that this version does not know.
    Other,
}

/// Why a keeper ended itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HaltReason {
    /// A record could not be made durable: what is on disk is unknown.
    PersistFailed,
    /// The data folder belongs to another cluster.
    ForeignData,
    /// The cohort names another cluster than a peer's.
    ForeignCohort,
    /// No next term or epoch is left.
    Exhausted,
}

/// A keeper's own view, for the sight stream, the status call and the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status {
    pub role: Role,
    pub reason: Reason,
    pub term: Term,
    /// This primary may serve applications.
    pub open: bool,
    /// A planned switchover is about to end this primary's sessions: hold what is new.
    pub switchover: bool,
    /// Until when readers may be answered, by this host's boot-time clock.
    pub lease_expires: Option<Instant>,
    pub timeline: Timeline,
    pub lsn: Lsn,
    pub primary: Option<ReplicaId>,
    pub promise: Promise,
    pub incarnation: Incarnation,
    pub lineage: Lineage,
    pub cohort: Option<CohortVersion>,
    /// Counts in the cohort, in this incarnation.
    pub voter: bool,
    pub paused: bool,
    /// Of a primary: commits are, or were until a moment ago, answered with fewer copies than promised.
    pub solo: Option<Solo>,
    /// Of a primary: everything before this is known to be on enough disks.
    pub protected: Lsn,
    /// Messages of keepers with another configuration.
    pub strangers: u64,
    /// Messages of keepers that have not left an older lineage.
    pub left_behind: u64,
}

impl Status {
    /// Whether nothing else is said than how far log and lease reach, which both move all the time.
    #[inline]
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        let Self {
            role,
            reason,
            term,
            open,
            switchover,
            lease_expires: _,
            timeline: _,
            lsn: _,
            primary,
            promise,
            incarnation,
            lineage,
            cohort,
            voter,
            paused,
            solo,
            protected: _,
            strangers,
            left_behind,
        } = self;
        *role == other.role
            && *reason == other.reason
            && *term == other.term
            && *open == other.open
            && *switchover == other.switchover
            && *primary == other.primary
            && *promise == other.promise
            && *incarnation == other.incarnation
            && *lineage == other.lineage
            && *cohort == other.cohort
            && *voter == other.voter
            && *paused == other.paused
            && *solo == other.solo
            && *strangers == other.strangers
            && *left_behind == other.left_behind
    }

    /// Takes over how far log and lease reach.
    #[inline]
    pub(crate) fn follow(&mut self, now: &Self) {
        self.lease_expires = now.lease_expires;
        self.timeline = now.timeline;
        self.lsn = now.lsn;
        self.protected = now.protected;
    }
}

/// Answer to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Done (pause, resume, solo), begun (refill), or for a switchover: the target is heard as the open primary of this term.
    Done {
        term: Term,
    },
    Refused(SwitchoverRefusal),
    SoloRefused(SoloRefusal),
    RefillRefused(RefillRefusal),
    ForceRefused(ForceRefusal),
    /// The target serves as the first primary of a new lineage, which begins without this.
    Forced {
        term: Term,
        loss: Loss,
    },
    /// It was begun and somebody else became primary, or nobody has yet.
    Unfinished {
        term: Term,
    },
}

/// Why a switchover was not begun, or was called off with the old primary still serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SwitchoverRefusal {
    NotPrimary {
        primary: Option<ReplicaId>,
    },
    AlreadyThere,
    UnknownReplica,
    /// The platform file does not name the target any more.
    TargetLeaves,
    /// The target does not count, or does not stream.
    TargetNotFollowing,
    /// The target did not have the whole log in time.
    TargetBehind,
    /// Another switchover is under way.
    Busy,
    Paused,
}

/// Why a primary does not go on with fewer copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SoloRefusal {
    /// Only an open primary that a majority of keepers grants its term can.
    NotPrimary {
        primary: Option<ReplicaId>,
    },
    /// Its quorum acknowledges: nothing waits.
    QuorumThere,
    /// A member has promised a later term away: another primary may come at any moment.
    BoundAway,
    /// A change of the cohort, a switchover or the end of an earlier solo is under way.
    Busy,
    /// The platform file asks for one copy only; nothing ever waits.
    OneCopy,
    Paused,
}

/// Why a replica is not filled anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefillRefusal {
    /// It is the primary, or about to be.
    IsPrimary,
    /// It does not follow an open primary.
    NotFollowing,
    /// Commits would wait: fewer copies than promised would be left.
    CopiesNeeded,
    /// For as long as the order stood the rest could not have taken it back.
    NotSpared,
    /// An order like this one stands.
    Busy,
    Paused,
}

/// Why no lineage is begun with this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForceRefusal {
    /// It has a primary, or is one, or hears one that is being promoted or coming back.
    PrimaryHeard {
        primary: Option<ReplicaId>,
    },
    /// Another keeper answers, and has a primary.
    PrimaryElsewhere {
        heard_by: ReplicaId,
    },
    /// A primary that it heard a moment ago may still answer readers.
    LeaseRunning,
    /// Another replica that answers has more of the log.
    Behind {
        replica: ReplicaId,
    },
    /// What it has does not count: it lost its disk, was filled anew, or never had anything.
    NotCounted,
    /// A page of it has a wrong checksum: no other replica could be filled from it.
    Damaged,
    /// Its server did not say in time what it has.
    Unready,
    /// An election, or an order like this one, is under way.
    Busy,
    Paused,
}

/// What the next deadline is for; only logs read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WakeReason {
    Heartbeat,
    Suspicion,
    Lease,
    Election,
    Switchover,
    Retry,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Learner => "learner",
            Self::Candidate => "candidate",
            Self::Primary => "primary",
            Self::Fenced => "fenced",
            Self::Stopped => "stopped",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::postgres::Serviceability;
        f.write_str(match self {
            Self::JustStarted => "just started",
            Self::AwaitingFounding => "waiting until every keeper is there to found the cohort",
            Self::Founding => "creating the database",
            Self::AwaitingMembers => "waiting until every replica is admitted",
            Self::Rebuilding => "copying the data from the primary",
            Self::Rewinding => "rewinding to the primary's history",
            Self::AwaitingSource => "waiting for a primary to copy from",
            Self::StartingServer => "starting the server",
            Self::StoppingServer => "stopping the server",
            Self::Following => "following the primary",
            Self::LogRemoved => {
                "the primary has removed the log that it lacks, or an order says so; about to be rebuilt"
            }
            Self::LogRemovedNeeded => {
                "the primary has removed the log that it lacks, or an order says so; rebuilt when the quorum can spare it"
            }
            Self::StreamStuck => "the stream stands still; beginning it anew",
            Self::AwaitingPrimary => "waiting for a primary",
            Self::AskingPreVotes => "asking whether others lost the primary too",
            Self::Recruiting => "recruiting",
            Self::Recruited => "recruited for a new term",
            Self::Promoting => "being promoted",
            Self::AwaitingQuorum => "waiting until its quorum has the new timeline on disk",
            Self::Serving => "serving",
            Self::QuorumMissing => "serving, but commits wait for a quorum",
            Self::Solo => "serving alone by order: commits are answered with fewer copies than promised",
            Self::SoloEnding => {
                "the quorum is back; serving alone ends when it has the whole log on disk"
            }
            Self::SwitchingOver => "handing over by plan",
            Self::Isolated => "cut off from a majority of keepers",
            Self::Superseded => "a later term exists",
            Self::ServerDied => "the server died",
            Self::Unserviceable(Serviceability::Good) => "serviceable again",
            Self::Unserviceable(Serviceability::Hung) => "the server hangs",
            Self::Unserviceable(Serviceability::NoSlots) => "no connection slot left",
            Self::Unserviceable(Serviceability::DeadDisk) => "the disk does not answer",
            Self::Unserviceable(Serviceability::ReadOnly) => "the file system refuses to write",
            Self::Unserviceable(Serviceability::DiskFull) => "the disk is nearly full",
            Self::Unserviceable(Serviceability::CorruptData) => {
                "a page with a wrong checksum was read"
            }
            Self::TimelineMismatch => "the server chose another timeline than its term",
            Self::Paused => "paused by an operator",
            Self::Halted(HaltReason::PersistFailed) => "halted: its record could not be written",
            Self::Halted(HaltReason::ForeignData) => "halted: the data folder is another cluster's",
            Self::Halted(HaltReason::ForeignCohort) => "halted: a peer belongs to another cluster",
            Self::Halted(HaltReason::Exhausted) => "halted: no term is left",
            Self::Other => "for a reason that this version does not know",
        })
    }
}
