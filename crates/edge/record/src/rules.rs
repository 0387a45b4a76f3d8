//! Rule files in the journal: their texts, and which of them each watch follows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::ActorRecord;

/// A part of a rule file's text, on its way to a node and to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesTextRecord {
    /// What the file is called where it is followed.
    pub file: String,
    /// SHA-256 of the whole text, hexadecimal.
    pub digest: String,
    /// From 1. The text is whole with the last one.
    pub part: u32,
    pub parts: u32,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesAdoptedBody {
    pub file: String,
    pub digest: String,
    pub part: u32,
    pub parts: u32,
    pub text: String,
    pub by: ActorRecord,
    pub reason: String,
}

/// What a watch says that it follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesFollowedBody {
    /// The host of the watch.
    pub watch: String,
    /// Since when, by the watch's clock.
    pub at_ms: u64,
    /// Digests by files.
    pub files: BTreeMap<String, String>,
}

/// The answer to `GET /v1/rules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesShown {
    pub version: u32,
    pub adopted: BTreeMap<String, AdoptedRulesShown>,
    /// Digests by files, by the host of the watch.
    pub followed: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedRulesShown {
    pub digest: String,
    pub position: u64,
    pub at_ms: u64,
}
