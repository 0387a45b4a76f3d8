//! What keepers say to each other and keep on disk, as JSON.
//!
//! Every form mirrors a type of the keeper core, field by field; what the fields mean is said there. A
//! frame on a connection between keepers is a length (four bytes, big endian) and one [`Frame`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the forms in this file.
pub const VERSION: u32 = 1;
/// Longest frame that is sent or read.
pub const FRAME_LIMIT: usize = 256 * 1024;

/// The first frame of a connection is a hello, all further ones are messages of that sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    Hello(Hello),
    Message(Message),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    pub platform: String,
    pub database: String,
    pub from: u8,
    pub to: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub from: u8,
    pub fingerprint: u64,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    Heartbeat(Box<Heartbeat>),
    Grant {
        term: u32,
        echo_ns: u64,
    },
    AskPreVote {
        round: u64,
        term: u32,
    },
    PreVote {
        round: u64,
        verdict: PreVote,
    },
    Recruit {
        term: u32,
    },
    Report {
        term: u32,
        verdict: Report,
    },
    Promote {
        term: u32,
        cohort: Box<Cohort>,
    },
    Abort {
        term: u32,
    },
    KeepCohort {
        cohort: Box<Cohort>,
    },
    CohortKept {
        version: CohortVersion,
        incarnation: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub sent_ns: u64,
    pub role: Role,
    pub reason: Reason,
    pub term: u32,
    pub primary: Option<u8>,
    pub open: bool,
    pub history: Option<Vec<HistoryEntry>>,
    pub rewind_source: bool,
    pub promise: Promise,
    /// 32 hexadecimal digits.
    pub incarnation: String,
    pub cohort: Option<CohortVersion>,
    pub timeline: u32,
    pub flushed: u64,
    pub system_identifier: Option<u64>,
    pub blank: bool,
    pub lost: bool,
    // An earlier version says nothing of what follows.
    #[serde(default)]
    pub streams: bool,
    #[serde(default)]
    pub renewal: Renewal,
    #[serde(default)]
    pub renews: Option<Renews>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renews {
    pub replica: u8,
    pub echo_ns: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Renewal {
    #[default]
    NotNeeded,
    Needed,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreVote {
    Granted,
    Refused(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    Recruited {
        incarnation: String,
        rank: Rank,
        cohort: Option<Box<Cohort>>,
    },
    Refused {
        refusal: Refusal,
        highest: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    PrimaryHeard,
    PrimaryServing,
    LeaseRunning,
    Promised,
    Paused,
    Learner,
    ServerUnready,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rank {
    pub timeline: u32,
    pub lsn: u64,
    pub history: Vec<HistoryEntry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    pub timeline: u32,
    pub end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Starting,
    Standby,
    Learner,
    Candidate,
    Primary,
    Fenced,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    JustStarted,
    AwaitingFounding,
    Founding,
    AwaitingMembers,
    Rebuilding,
    Rewinding,
    AwaitingSource,
    StartingServer,
    StoppingServer,
    Following,
    LogRemoved,
    LogRemovedNeeded,
    StreamStuck,
    AwaitingPrimary,
    AskingPreVotes,
    Recruiting,
    Recruited,
    Promoting,
    AwaitingQuorum,
    Serving,
    QuorumMissing,
    SwitchingOver,
    Isolated,
    Superseded,
    ServerDied,
    Unserviceable(Serviceability),
    TimelineMismatch,
    Paused,
    Halted(HaltReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serviceability {
    Good,
    Hung,
    NoSlots,
    DeadDisk,
    ReadOnly,
    DiskFull,
    CorruptData,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltReason {
    PersistFailed,
    ForeignData,
    ForeignCohort,
    Exhausted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    pub highest: u32,
    pub coordinator: Option<u8>,
    pub floor: u32,
    pub previous_floor: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CohortVersion {
    pub term: u32,
    pub epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    pub version: CohortVersion,
    pub system_identifier: u64,
    /// Replica to incarnation.
    pub members: BTreeMap<u8, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solo: Option<Solo>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Solo {
    pub term: u32,
    pub primary: u8,
    pub incarnation: String,
    pub from: u64,
    pub since_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    pub term: u32,
    pub timeline: u32,
    pub after: u64,
    pub below: u32,
    pub until: Option<u64>,
}

/// What the promise file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    pub version: u32,
    pub promise: Promise,
    pub aborted: Option<u32>,
    pub cohort: Option<Cohort>,
    pub incarnation: String,
    pub paused: bool,
}
