//! Experiments as stored and sent.

use serde::{Deserialize, Serialize};

use crate::event::ActorRecord;

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
    Begin(ExperimentPlanRecord),
    Observe {
        experiment: String,
        observation: ObservationRecord,
    },
    End {
        experiment: String,
        verdict: VerdictWord,
        why: String,
        residue: Vec<String>,
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
}
