//! What keepers say to each other and keep on disk, as JSON.
//!
//! Every form mirrors a type of the keeper core, field by field; what the fields mean is said there. A
//! frame on a connection between keepers is a length (four bytes, big endian) and one [`Frame`].
//!
//! Keepers of two versions speak with each other. What a later one adds is met in three ways: a *field* that is
//! not known is passed over, but in a cohort record it is kept and handed on; a *word* that only explains (a role,
//! a reason, a refusal) becomes `Other` and claims nothing; a *message* of an unknown kind, or one that cannot be
//! read, is passed over whole ([`Said::Beyond`]), so that it never counts as an answer.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Version of the forms in this file.
pub const VERSION: u32 = 1;
/// Longest frame that is sent or read.
pub const FRAME_LIMIT: usize = 256 * 1024;

/// Longest name of a kind that is kept of what is not understood.
const KIND_LIMIT: usize = 48;

/// What a frame says, as far as this version understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Hello(Hello),
    Message(Message),
    /// Something of another version: its kind, and why it was not read.
    Beyond {
        kind: String,
        why: String,
    },
}

/// Reads the content of a frame.
///
/// # Errors
/// When it is no JSON: then it is not of another version but of something else.
pub fn read(json: &[u8]) -> Result<Said, serde_json::Error> {
    match serde_json::from_slice(json) {
        Ok(Frame::Hello(hello)) => Ok(Said::Hello(hello)),
        Ok(Frame::Message(message)) => Ok(Said::Message(message)),
        Err(error) => {
            let value: Value = serde_json::from_slice(json)?;
            Ok(Said::Beyond {
                kind: kind(&value),
                why: error.to_string(),
            })
        }
    }
}

/// `weather`, or `message weather` for what is inside a message.
fn kind(frame: &Value) -> String {
    let name = |value: &Value| {
        let keys = value.as_object().map(|object| object.keys());
        let key = keys.and_then(|mut keys| keys.next().cloned());
        let name = key.or_else(|| value.as_str().map(str::to_owned));
        let name = name.unwrap_or_else(|| "nameless".to_owned());
        name.chars().take(KIND_LIMIT).collect::<String>()
    };
    let outer = name(frame);
    match frame.get("message").and_then(|message| message.get("body")) {
        Some(body) => format!("{outer} {}", name(body)),
        None => outer,
    }
}

/// An enum of words, to which a later version may add one.
trait Word: DeserializeOwned {
    fn other(said: String) -> Self;
}

fn word<'de, D: Deserializer<'de>, W: Word>(from: D) -> Result<W, D::Error> {
    let value = Value::deserialize(from)?;
    let other = || {
        let said = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        W::other(said.chars().take(KIND_LIMIT).collect())
    };
    Ok(W::deserialize(&value).unwrap_or_else(|_| other()))
}

macro_rules! words {
    ($($word:ty)*) => {
        $(impl Word for $word {
            fn other(said: String) -> Self {
                Self::Other(said)
            }
        })*
    };
}

words!(Role Reason Refusal Renewal);

impl Message {
    /// The words in it that this version does not know.
    pub fn unknown_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        match &self.body {
            Body::Heartbeat(heartbeat) => {
                if let Role::Other(word) = &heartbeat.role {
                    words.push(format!("role {word}"));
                }
                if let Reason::Other(word) = &heartbeat.reason {
                    words.push(format!("reason {word}"));
                }
                if let Renewal::Other(word) = &heartbeat.renewal {
                    words.push(format!("renewal {word}"));
                }
            }
            Body::PreVote {
                verdict: PreVote::Refused(Refusal::Other(word)),
                ..
            }
            | Body::Report {
                verdict:
                    Report::Refused {
                        refusal: Refusal::Other(word),
                        ..
                    },
                ..
            } => words.push(format!("refusal {word}")),
            Body::Grant { .. }
            | Body::AskPreVote { .. }
            | Body::PreVote { .. }
            | Body::Recruit { .. }
            | Body::Report { .. }
            | Body::Promote { .. }
            | Body::Abort { .. }
            | Body::KeepCohort { .. }
            | Body::CohortKept { .. } => {}
        }
        words
    }
}

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
    /// Nothing is said where a failover was never forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Lineage>,
    /// 32 hexadecimal digits; an earlier version does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    pub number: u32,
    /// 32 hexadecimal digits.
    pub seed: String,
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
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
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
    #[serde(deserialize_with = "word")]
    pub role: Role,
    #[serde(deserialize_with = "word")]
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
    #[serde(default, deserialize_with = "word")]
    pub renewal: Renewal,
    #[serde(default)]
    pub renews: Option<Renews>,
    /// How long ago the keeper said this, where its voice repeats it; by the sender's clock.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub age_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<Echo>,
    /// The replicas that shall count, as the sender was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staying: Option<Vec<u8>>,
}

/// The receiver's own heartbeat that was heard last: when it was sent, by the receiver's clock, and how long ago it was
/// heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    pub sent_ns: u64,
    pub held_ns: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renews {
    pub replica: u8,
    pub echo_ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Renewal {
    #[default]
    NotNeeded,
    Needed,
    Refused,
    /// A word of a later version.
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreVote {
    Granted,
    Refused(#[serde(deserialize_with = "word")] Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    Recruited {
        incarnation: String,
        rank: Rank,
        cohort: Option<Box<Cohort>>,
        /// The highest term that the sender knew of by its own promises and streams.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        known: Option<u32>,
    },
    Refused {
        #[serde(deserialize_with = "word")]
        refusal: Refusal,
        highest: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    PrimaryHeard,
    PrimaryServing,
    LeaseRunning,
    Promised,
    Paused,
    Learner,
    ServerUnready,
    /// A word of a later version.
    Other(String),
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Starting,
    Standby,
    Learner,
    Candidate,
    Primary,
    Fenced,
    Stopped,
    /// A word of a later version.
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A word of a later version.
    Other(String),
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    pub highest: u32,
    pub coordinator: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
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
    pub copies: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solo: Option<Solo>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regained: Vec<Loss>,
    /// Fields of a later version. Whoever says that he keeps the record keeps these too.
    #[serde(flatten)]
    pub beyond: BTreeMap<String, Value>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Lineage>,
    pub promise: Promise,
    pub aborted: Option<u32>,
    pub cohort: Option<Cohort>,
    pub incarnation: String,
    pub paused: bool,
}
