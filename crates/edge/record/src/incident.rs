//! Incidents as stored, asked for and shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::ActorRecord;

/// A change that says nothing but by whom and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentBody {
    /// `i1`, `i2`, …
    pub incident: String,
    /// Absent: it was decided by rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ActorRecord>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentOpenedBody {
    pub incident: String,
    pub title: String,
    /// `info`, `warning`, `error`, `critical`
    pub severity: String,
    /// `alert NAME{…}`, `host lost HOST`, `no primary DATABASE`, `archive unsafe DATABASE`
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub conditions: BTreeSet<String>,
    /// `KIND/NAME` or `KIND/NAME@HOST`
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub things: BTreeSet<String>,
    /// Positions of journal entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ActorRecord>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentJoinedBody {
    pub incident: String,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub conditions: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub things: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ActorRecord>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentSeverityBody {
    pub incident: String,
    pub severity: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ActorRecord>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentAssignedBody {
    pub incident: String,
    /// `owner`, `commander`, `operations`, `communications`, `scribe`
    pub role: String,
    pub to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ActorRecord>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentLinkedBody {
    pub incident: String,
    pub link: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ActorRecord>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentResolvedBody {
    pub incident: String,
    /// Conditions that were known to stand.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub standing: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ActorRecord>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentMergedBody {
    pub incident: String,
    pub into: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ActorRecord>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentLearnedBody {
    pub incident: String,
    /// `factor`, `well`, `badly`, `luck`
    pub lesson: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ActorRecord>,
    /// What is said.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentActionAddedBody {
    pub incident: String,
    /// From 1, within its incident.
    pub action: u32,
    pub owner: String,
    /// `2026-12-24`
    pub due: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ActorRecord>,
    /// What is to be done.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentActionDoneBody {
    pub incident: String,
    pub action: u32,
    /// The rule, drill or gate that it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub became: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ActorRecord>,
    /// How it was done.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentSignedBody {
    pub incident: String,
    /// `accepted`, `refused`
    pub signature: String,
    /// SHA-256 of the page, hexadecimal.
    pub page: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ActorRecord>,
    /// In the words of whoever signs.
    pub reason: String,
}

/// What somebody wants of an incident, on its way to a node and to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum IncidentAskRecord {
    Open {
        title: String,
        severity: String,
        #[serde(default)]
        about: BTreeSet<String>,
    },
    Acknowledge {
        incident: String,
    },
    Assign {
        incident: String,
        role: String,
        to: String,
    },
    Severity {
        incident: String,
        severity: String,
    },
    Note {
        incident: String,
    },
    Learn {
        incident: String,
        lesson: String,
    },
    AddAction {
        incident: String,
        owner: String,
        due: String,
    },
    FinishAction {
        incident: String,
        action: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        became: Option<String>,
    },
    Sign {
        incident: String,
        signature: String,
        page: String,
    },
    Link {
        incident: String,
        link: String,
    },
    Merge {
        incident: String,
        into: String,
    },
    Mitigate {
        incident: String,
    },
    Resolve {
        incident: String,
        #[serde(default)]
        despite: bool,
    },
    Reopen {
        incident: String,
    },
}

/// An incident as nodes tell it: `GET /v1/incidents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentView {
    pub incident: String,
    pub title: String,
    pub severity: String,
    /// `open`, `acknowledged`, `mitigated`, `resolved`, `merged`
    pub state: String,
    pub opened_ms: u64,
    /// `Mainstay`, or who opened it.
    pub opened_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mitigated_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mitigated_because: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// Who has which role.
    pub roles: BTreeMap<String, String>,
    pub things: Vec<String>,
    /// What of it stands now.
    pub standing: Vec<StandingView>,
    pub links: Vec<String>,
    /// Incidents that go on in this one.
    pub absorbed: Vec<String>,
    /// When something was last told of it.
    pub last_ms: u64,
    /// Positions of journal entries, in order: its story.
    pub timeline: Vec<u64>,
    /// Entries that are not in `timeline` any more.
    #[serde(default)]
    pub untold: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingView {
    pub condition: String,
    pub title: String,
    pub severity: String,
    pub since_ms: u64,
    /// Nobody measures any more whether it goes on.
    pub missing: bool,
}

/// In short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentSummary {
    pub incident: String,
    pub title: String,
    pub severity: String,
    pub state: String,
    pub opened_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How many conditions stand.
    pub standing: u32,
    /// People are called for it, and nobody could be reached so far.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreached: bool,
}

/// The answer to `GET /v1/incidents/ID`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IncidentAnswer {
    pub version: u32,
    pub incident: IncidentView,
    /// The entries of its timeline, as the journal has them.
    pub entries: Vec<IncidentEntry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IncidentEntry {
    pub position: u64,
    pub entry: Box<RawValue>,
}

/// The answer to `GET /v1/incidents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentsAnswer {
    pub version: u32,
    /// How many there ever were; the oldest that are over are told by the journal alone.
    pub ever: u64,
    pub incidents: Vec<IncidentView>,
}
