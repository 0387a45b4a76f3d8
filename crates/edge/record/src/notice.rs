//! Notices and silences as stored, asked for and shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddresseeRecord {
    pub channel: String,
    /// The operator who is meant by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeEscalatedBody {
    pub incident: String,
    pub policy: String,
    pub level: u32,
    pub round: u32,
    pub tell: Vec<AddresseeRecord>,
    pub until_ms: u64,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeExhaustedBody {
    pub incident: String,
    pub why: String,
}

/// What is to be said. Its outcome is the `effect.finished` of this entry's position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeOrderedBody {
    /// The same in every repetition.
    pub notice: u64,
    pub attempt: u32,
    pub incident: String,
    /// `trigger`, `update`, `acknowledge`, `remind`, `resolve`
    pub kind: String,
    pub to: AddresseeRecord,
    pub severity: String,
    pub title: String,
    pub text: String,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub things: BTreeSet<String>,
    pub open_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilenceSetBody {
    pub silence: u64,
    /// `NAME=VALUE` or `NAME!=VALUE`
    pub matchers: Vec<String>,
    pub until_ms: u64,
    pub by: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilenceEndedBody {
    pub silence: u64,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NoticeAskRecord {
    Silence {
        matchers: Vec<String>,
        lasts_ms: u64,
    },
    EndSilence {
        silence: u64,
    },
}

/// What the platform file says of calling people, as far as it is decided from. Channels by name only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OncallRecord {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rotations: BTreeMap<String, RotationRecord>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contacts: BTreeMap<String, Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyRecord>,
    pub channels: BTreeSet<String>,
    pub wait_ms: u64,
    pub remind_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationRecord {
    pub members: Vec<String>,
    /// Monday is 0; every day if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekday: Option<u8>,
    pub handover_minutes: u16,
    pub offset_minutes: i16,
    pub starts_ms: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<OverrideRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideRecord {
    pub who: String,
    pub from_ms: u64,
    pub to_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRecord {
    pub name: String,
    pub severity: String,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub about: BTreeSet<String>,
    pub levels: Vec<LevelRecord>,
    pub rounds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelRecord {
    /// `rotation/NAME`, `operator/NAME`, `channel/NAME`
    pub tell: Vec<String>,
    pub within_ms: u64,
}

/// The answer to `GET /v1/oncall`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OncallAnswer {
    pub version: u32,
    pub at_ms: u64,
    pub rotations: Vec<ShiftView>,
    pub silences: Vec<SilenceView>,
    /// Incidents that climb a ladder.
    pub climbing: Vec<ClimbView>,
    /// Open incidents for which everybody was called, and which nobody acknowledged.
    #[serde(default)]
    pub nobody_came: Vec<String>,
    /// Open incidents for which people were called, and nobody could be reached.
    #[serde(default)]
    pub unreached: Vec<UnreachedView>,
    /// Channels by which somebody was called, each with the end of the last call.
    #[serde(default)]
    pub channels: Vec<ChannelView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreachedView {
    pub incident: String,
    /// When the ladder begins anew, if it is at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelView {
    pub channel: String,
    pub at_ms: u64,
    /// Why nobody was reached, or may not have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShiftView {
    pub rotation: String,
    /// Absent before the rotation begins.
    pub who: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<String>,
    pub from_ms: Option<u64>,
    pub to_ms: Option<u64>,
    pub next: Option<String>,
    /// Channels that reach them.
    pub channels: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceView {
    /// `s1`, `s2`, …
    pub silence: String,
    pub matchers: Vec<String>,
    #[serde(default)]
    pub since_ms: u64,
    pub until_ms: u64,
    pub by: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClimbView {
    pub incident: String,
    pub level: u32,
    pub round: u32,
    pub next_ms: u64,
}
