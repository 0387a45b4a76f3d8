//! What is told to the desk, and what stands until it was measured that it ended.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use mainstay_units::Position;

use crate::thing::{Thing, What};

/// Something that the journal says, other than of incidents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub position: Position,
    pub at_ms: u64,
    pub sign: Sign,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    Alert {
        /// Name and labels in one; the same from every watch.
        alert: String,
        watch: String,
        told: Told,
        labels: BTreeMap<String, String>,
        summary: String,
    },
    HostLost {
        host: String,
    },
    HostReturned {
        host: String,
    },
    BecamePrimary {
        database: String,
        host: String,
        term: u64,
    },
    LeftPrimary {
        database: String,
        host: String,
        term: u64,
    },
    ArchiveUnsafe {
        database: String,
        host: String,
        why: String,
    },
    ArchiveSafe {
        database: String,
    },
    /// A drill was due and did not run.
    DrillMissed {
        drill: String,
    },
    /// It ran, or is not wanted any more.
    DrillRan {
        drill: String,
    },
    /// Somebody ordered that the primary moves: it is not lost when it leaves.
    MoveOrdered {
        database: String,
    },
    /// It stays.
    MoveFailed {
        database: String,
    },
    /// The whole platform is being stopped, and what stops is not lost.
    Stopping,
    /// An instance ends again and again.
    CrashLoop {
        host: String,
        instance: String,
    },
    /// It has been well for a while, or is not wanted there any more.
    LoopEnded {
        host: String,
        instance: String,
    },
    /// From now on the platform has these hosts, and a watch on these.
    Wanted {
        hosts: BTreeSet<String>,
        watches: BTreeSet<String>,
    },
    /// Calls for nobody, and belongs to the story of whatever is going on there.
    Happened {
        things: BTreeSet<Thing>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    Firing,
    /// What it is about is not measured any more, or nobody is left who would.
    Missing,
    /// It was measured that it ended.
    Ended,
}

/// Stands from when it is told until it was measured that it ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    Alert(String),
    HostLost(String),
    NoPrimary(String),
    ArchiveUnsafe(String),
    DrillMissed(String),
    /// An instance on a host.
    CrashLoop(String, String),
}

impl Condition {
    /// What it is about, where no labels say more.
    pub(crate) fn thing(&self) -> Option<Thing> {
        match self {
            Self::Alert(_) => None,
            Self::DrillMissed(drill) => Some(Thing::whole(What::Other(drill.clone()))),
            Self::CrashLoop(host, instance) => Some(Thing::on(What::of_instance(instance), host)),
            Self::HostLost(host) => Some(Thing::host(host)),
            Self::NoPrimary(database) | Self::ArchiveUnsafe(database) => {
                Some(Thing::whole(What::Database(database.clone())))
            }
        }
    }

    /// Whether the platform as such is not well while it stands.
    pub(crate) const fn is_of_platform(&self) -> bool {
        match self {
            Self::HostLost(_) | Self::NoPrimary(_) => true,
            Self::Alert(_)
            | Self::ArchiveUnsafe(_)
            | Self::DrillMissed(_)
            | Self::CrashLoop(..) => false,
        }
    }

    /// The host without which nobody could tell its end.
    pub(crate) fn host(&self) -> Option<&str> {
        match self {
            Self::HostLost(host) | Self::CrashLoop(host, _) => Some(host),
            Self::Alert(_) | Self::NoPrimary(_) | Self::ArchiveUnsafe(_) | Self::DrillMissed(_) => {
                None
            }
        }
    }
}

const ALERT: &str = "alert ";
const HOST_LOST: &str = "host lost ";
const NO_PRIMARY: &str = "no primary ";
const ARCHIVE_UNSAFE: &str = "archive unsafe ";
const DRILL_MISSED: &str = "drill missed ";
const CRASH_LOOP: &str = "crash loop ";

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert(name) => write!(f, "{ALERT}{name}"),
            Self::HostLost(name) => write!(f, "{HOST_LOST}{name}"),
            Self::NoPrimary(name) => write!(f, "{NO_PRIMARY}{name}"),
            Self::ArchiveUnsafe(name) => write!(f, "{ARCHIVE_UNSAFE}{name}"),
            Self::DrillMissed(name) => write!(f, "{DRILL_MISSED}{name}"),
            Self::CrashLoop(host, instance) => write!(f, "{CRASH_LOOP}{host}/{instance}"),
        }
    }
}

impl FromStr for Condition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let of = |prefix: &str| text.strip_prefix(prefix).map(ToString::to_string);
        of(ALERT)
            .map(Self::Alert)
            .or_else(|| of(HOST_LOST).map(Self::HostLost))
            .or_else(|| of(NO_PRIMARY).map(Self::NoPrimary))
            .or_else(|| of(ARCHIVE_UNSAFE).map(Self::ArchiveUnsafe))
            .or_else(|| of(DRILL_MISSED).map(Self::DrillMissed))
            .or_else(|| {
                let subject = text.strip_prefix(CRASH_LOOP)?;
                let (host, instance) = subject.split_once('/')?;
                Some(Self::CrashLoop(host.to_string(), instance.to_string()))
            })
            .ok_or(())
    }
}
