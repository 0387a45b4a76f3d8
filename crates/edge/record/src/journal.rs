//! Journal entries as stored, heartbeats, and the reports of `journal verify`, `export` and their rehearsal.
//!
//! An entry is one JSON object: an envelope that never changes (kind, version of the kind, time, epoch, cause)
//! around a body that the kind defines. The three kinds that the log itself lives by are here; the kernel's are
//! in `event`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Names and key of the log: the first entry of every journal.
pub const KIND_OPENED: &str = "journal.opened";
/// A node's key becomes known.
pub const KIND_KEY_ADMITTED: &str = "key.admitted";
/// A node takes the lead.
pub const KIND_CLAIMED: &str = "leadership.claimed";
/// The version of the three kinds above. It stays: a log that cannot be followed cannot be verified either.
pub const LOG_KINDS_VERSION: u32 = 1;

/// The envelope. Its fields are never renamed and unknown ones are passed over; bodies change by version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntryRecord {
    pub kind: String,
    pub version: u32,
    /// The kernel's time: milliseconds since 1970, never before the entry above.
    pub at_ms: u64,
    /// The leadership under which it was written.
    pub epoch: u64,
    /// The signal that led here, if it came from a node's mailbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseRecord>,
    pub body: Box<RawValue>,
}

/// Which signal: numbers of one node only grow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CauseRecord {
    pub node: String,
    pub number: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedBody {
    /// `mainstay/<platform>/<16 hexadecimal digits>`: the name under which checkpoints are signed.
    pub origin: String,
    pub platform: String,
    pub node: String,
    /// Ed25519, 32 bytes, base64.
    pub key: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyAdmittedBody {
    pub node: String,
    pub key: String,
    /// The node's key until now, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedBody {
    pub epoch: u64,
    pub node: String,
    pub why: ClaimReasonRecord,
}

/// Why a node took the lead, with what it saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ClaimReasonRecord {
    /// It opened the journal.
    First,
    /// The leader's heartbeat stood still for so long on the claimant's own clock.
    LeaderSilent { leader: String, silent_ms: u64 },
    /// It led before and lost its place in the queue for another reason than a rival.
    Returned,
}

/// What every node writes several times a second: that it lives, its key, and signals for the leader. Unknown
/// fields are passed over: nodes of two versions hear each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BeatRecord {
    pub version: u32,
    pub node: String,
    /// Grows with every beat of one run of the node.
    pub number: u64,
    /// Ed25519, 32 bytes, base64.
    pub key: String,
    /// The epoch in which the node leads; absent when it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leads: Option<u64>,
    /// Signals for the leader, oldest first, until they are seen to be taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<PendingSignal>,
    /// From the leader: signals that were looked at and led to no entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<PassedSignal>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingSignal {
    pub number: u64,
    pub signal: Box<RawValue>,
}

/// A signal that changed nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedSignal {
    pub node: String,
    pub number: u64,
    pub why: String,
}

/// What `journal verify` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    pub version: u32,
    pub folder: String,
    pub origin: Option<String>,
    pub parts: u64,
    pub entries: u64,
    pub epoch: u64,
    /// Root of the tree over the entries that were followed, base64 as in a checkpoint.
    pub root: Option<String>,
    /// Nodes whose own last checkpoint is in the journal, and its size.
    pub vouched: Vec<Vouched>,
    /// Empty: the journal is what was written.
    pub findings: Vec<Finding>,
    /// What is worth knowing and no damage.
    pub notes: Vec<String>,
}

impl VerifyReport {
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    pub node: String,
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub code: FindingCode,
    /// Position of the first entry that is concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// File name of the part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The node whose memory disagrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingCode {
    /// The journal or a file of it cannot be read.
    Unreadable,
    /// There is no journal.
    Empty,
    /// A part is not in the form in which parts are written.
    Form,
    /// A part stops before its end.
    Torn,
    /// A part that must be there is not.
    Missing,
    /// A part lies under another's name, or belongs to another journal.
    Misplaced,
    Chain,
    Tree,
    Signature,
    /// Signed or claimed by a node that had no right to.
    Authority,
    /// An entry breaks a rule of the log.
    Entry,
    /// A node remembers more than there is.
    RolledBack,
    /// A node remembers something else than what there is.
    Rewritten,
    /// A node's memory is damaged.
    Memory,
    /// A file that is no part lies among the parts.
    Foreign,
}

impl FindingCode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Empty => "empty",
            Self::Form => "form",
            Self::Torn => "torn",
            Self::Missing => "missing",
            Self::Misplaced => "misplaced",
            Self::Chain => "chain",
            Self::Tree => "tree",
            Self::Signature => "signature",
            Self::Authority => "authority",
            Self::Entry => "entry",
            Self::RolledBack => "rolled_back",
            Self::Rewritten => "rewritten",
            Self::Memory => "memory",
            Self::Foreign => "foreign",
        }
    }
}

/// What damage was done to copies of a journal, and how much of it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MutationReport {
    pub version: u32,
    pub seed: u64,
    pub parts: u64,
    pub entries: u64,
    pub kinds: Vec<MutationKind>,
    /// Damage that went unnoticed, with what is needed to do it again. Empty: everything was found.
    pub missed: Vec<String>,
    /// What could not be tried, and why.
    pub skipped: Vec<String>,
}

impl MutationReport {
    pub fn everything_found(&self) -> bool {
        self.missed.is_empty() && !self.kinds.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MutationKind {
    /// `byte changed`, `part dropped`, `parts swapped`, `rolled back`.
    pub kind: String,
    pub made: u64,
    pub found: u64,
}

/// What `journal export` wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportReport {
    pub version: u32,
    pub folder: String,
    pub origin: String,
    pub entries: u64,
    pub files: u64,
    /// Keys in the form that verifiers of signed notes take.
    pub verifier_keys: Vec<String>,
}

/// Rates of the journal on this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalRates {
    pub version: u32,
    pub appends: Vec<AppendRate>,
    pub verify_entries_per_s: f64,
    pub verify_entries: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppendRate {
    /// Entries that share one part and so one fsync.
    pub batch: u64,
    pub entries_per_s: f64,
    pub parts_per_s: f64,
}
