//! Experiments as stored and sent.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::event::{ActorRecord, FaultSpecRecord};

/// What is about to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentPlanRecord {
    pub name: String,
    /// SHA-256 of the document, hexadecimal.
    pub digest: String,
    /// Of every random choice; as text, since JSON numbers do not carry 64 bits everywhere.
    pub seed: String,
    pub hypothesis: String,
    pub injections: Vec<String>,
    pub lasts_ms: u64,
    /// Absent in what versions wrote whose command carried experiments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timetable: Option<TimetableRecord>,
}

/// From which everything follows: whoever takes over has the same future.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimetableRecord {
    /// The document.
    pub text: String,
    /// In seconds since 1970: what schedules count from.
    pub planned_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<u64>,
    pub injections: Vec<SlotRecord>,
    pub ends_ms: u64,
    pub settle_ms: u64,
    /// Whether it has abort conditions.
    pub is_guarded: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<AlertRulesRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotRecord {
    /// From the beginning.
    pub at_ms: u64,
    /// Absent for what is over at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertRulesRecord {
    pub fire: BTreeSet<String>,
    pub may_fire: BTreeSet<String>,
    pub severities: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservationRecord {
    pub subject: String,
    pub value: String,
    pub finding: FindingWord,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingWord {
    Holds,
    Violated,
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictWord {
    Passed,
    Failed,
    Aborted,
    Inconclusive,
}

impl VerdictWord {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Inconclusive => "inconclusive",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExperimentAskRecord {
    Begin(Box<ExperimentPlanRecord>),
    Stop { experiment: String },
}

/// What a node saw or chose for an experiment, on its way to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentToldRecord {
    /// The entry that ordered it.
    pub effect: u64,
    pub told: ToldRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToldRecord {
    Looked {
        seen: Vec<ObservationRecord>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        halt: Option<String>,
        residue: Vec<String>,
    },
    Chosen {
        what: String,
        faults: Vec<FaultSpecRecord>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentBegunBody {
    /// `x1`, `x2`, …
    pub experiment: String,
    pub plan: ExperimentPlanRecord,
    pub until_ms: u64,
    pub by: ActorRecord,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentObservedBody {
    pub experiment: String,
    pub observation: ObservationRecord,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MomentWord {
    Before,
    During,
    After,
    /// Ended early: only what is left is looked for.
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentLookingBody {
    pub experiment: String,
    pub moment: MomentWord,
    pub host: String,
    pub within_ms: u64,
    pub patience_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentLookedBody {
    pub experiment: String,
    pub moment: MomentWord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<String>,
    pub residue: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentChoosingBody {
    pub experiment: String,
    /// Of the timetable, from 0.
    pub injection: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentChosenBody {
    pub experiment: String,
    pub injection: u32,
    pub what: String,
    /// Their entries follow.
    pub faults: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentMendingBody {
    pub experiment: String,
    /// If it ends before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictWord>,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentEndedBody {
    pub experiment: String,
    pub verdict: VerdictWord,
    pub why: String,
    pub residue: Vec<String>,
}

/// The experiment that runs, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentFacts {
    pub experiment: String,
    pub plan: ExperimentPlanRecord,
    pub since_ms: u64,
    pub until_ms: u64,
    pub held: u32,
    pub violated: u32,
    pub missing: u32,
    /// Where it is on its way, in words.
    #[serde(default)]
    pub phase: String,
}
