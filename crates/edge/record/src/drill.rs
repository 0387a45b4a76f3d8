//! Drills as stored and sent. What each field means is told in docs/drills.md.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::ActorRecord;

/// A document that is put in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillAdoptionRecord {
    pub name: String,
    /// SHA-256 of the text, hexadecimal.
    pub digest: String,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<DrillScheduleRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillScheduleRecord {
    /// Five or six fields, in UTC.
    pub cron: String,
    /// It must have run within so long after it was due.
    pub within_ms: u64,
    /// Whoever leads starts it by itself, from the document that stands there; absent if people do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_from: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LossLimitRecord {
    Transactions(u64),
    TimeMs(u64),
}

/// Measured figures must be less than these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillObjectiveRecord {
    pub service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_below_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_below: Option<LossLimitRecord>,
    /// Why the document does not measure it, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmeasured: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillStepRecord {
    pub id: String,
    pub what: String,
    /// A person does it, and confirms it.
    pub by_person: bool,
}

/// What is about to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillPlanRecord {
    pub name: String,
    pub title: String,
    pub digest: String,
    pub text: String,
    /// As text, since JSON numbers do not carry 64 bits everywhere.
    pub seed: String,
    pub versions: BTreeMap<String, String>,
    pub environment: String,
    pub approver: String,
    pub tester: String,
    pub owner: String,
    pub objectives: Vec<DrillObjectiveRecord>,
    pub steps: Vec<DrillStepRecord>,
    pub retention_days: u32,
    pub lasts_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcomeWord {
    Done,
    Failed,
    Unknown,
    Skipped,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepEndRecord {
    pub step: String,
    pub outcome: StepOutcomeWord,
    pub detail: String,
    /// Positions of journal entries.
    pub evidence: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredWord {
    Recovery,
    Ledger,
    Secondary,
    Restore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitWord {
    /// Microseconds.
    Us,
    /// Microseconds since 1970.
    WallUs,
    Transactions,
    Requests,
    Bytes,
    Count,
}

/// One figure, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasureRecord {
    pub name: String,
    /// `null`: not measured.
    pub value: Option<u64>,
    pub unit: UnitWord,
    /// Whose word it is.
    pub source: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasurementRecord {
    pub measured: MeasuredWord,
    pub services: Vec<String>,
    pub subject: String,
    pub values: Vec<MeasureRecord>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lists: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviationRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    pub what: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeficiencyRecord {
    pub what: String,
    pub owner: String,
    pub retest_by_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrillVerdictWord {
    Passed,
    Failed,
    Aborted,
    Inconclusive,
}

impl DrillVerdictWord {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Inconclusive => "inconclusive",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgedWord {
    Met,
    Missed,
    NotMeasured,
    NoObjective,
}

impl JudgedWord {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
            Self::NoObjective => "no objective",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceVerdictRecord {
    pub objective: DrillObjectiveRecord,
    pub rto: JudgedWord,
    pub rto_us: Option<u64>,
    pub rpo: JudgedWord,
    pub lost_transactions: Option<u64>,
    pub lost_us: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillEndRecord {
    pub verdict: DrillVerdictWord,
    pub why: String,
    pub deficiencies: Vec<DeficiencyRecord>,
    pub residue: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DrillAskRecord {
    Adopt(Box<DrillAdoptionRecord>),
    Withdraw {
        name: String,
    },
    Begin(Box<DrillPlanRecord>),
    BeginStep {
        drill: String,
        step: String,
        what: String,
    },
    EndStep {
        drill: String,
        end: StepEndRecord,
    },
    Confirm {
        drill: String,
        step: String,
    },
    Measure {
        drill: String,
        measurement: Box<MeasurementRecord>,
    },
    Deviate {
        drill: String,
        deviation: DeviationRecord,
    },
    End {
        drill: String,
        end: DrillEndRecord,
    },
    Sign {
        drill: String,
        signature: SignatureWord,
    },
}

/// What somebody of the management says to the result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureWord {
    Accepted,
    Refused,
}

impl SignatureWord {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillAdoptedBody {
    pub adoption: Box<DrillAdoptionRecord>,
    pub by: ActorRecord,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillWithdrawnBody {
    pub name: String,
    pub by: ActorRecord,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillMissedBody {
    pub name: String,
    pub due_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillBegunBody {
    /// `d1`, `d2`, …
    pub drill: String,
    pub plan: Box<DrillPlanRecord>,
    /// Position of the `drill.adopted` entry of this very text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<u64>,
    /// Digest of the platform file in force.
    pub platform: String,
    pub until_ms: u64,
    pub by: ActorRecord,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillStepBegunBody {
    pub drill: String,
    pub step: String,
    pub what: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillStepEndedBody {
    pub drill: String,
    pub end: StepEndRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillConfirmedBody {
    pub drill: String,
    pub step: String,
    pub by: ActorRecord,
    pub note: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillSignedBody {
    pub drill: String,
    pub name: String,
    pub signature: SignatureWord,
    pub by: ActorRecord,
    pub statement: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillMeasuredBody {
    pub drill: String,
    pub measurement: Box<MeasurementRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillDeviatedBody {
    pub drill: String,
    pub deviation: DeviationRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillAbandonedBody {
    pub drill: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillEndedBody {
    pub drill: String,
    pub name: String,
    pub end: DrillEndRecord,
    pub services: Vec<ServiceVerdictRecord>,
}

// ---- what people are shown -------------------------------------------------------------------------

/// `GET /v1/drills`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillsShown {
    pub version: u32,
    pub adopted: Vec<AdoptedShown>,
    pub running: Option<DrillShown>,
    /// Newest first.
    pub ended: Vec<EndedShown>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedShown {
    pub name: String,
    pub digest: String,
    pub schedule: Option<DrillScheduleRecord>,
    pub position: u64,
    pub by: ActorRecord,
    pub since_ms: u64,
    pub due_ms: Option<u64>,
    pub missed_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillShown {
    pub drill: String,
    pub plan: DrillPlanRecord,
    pub by: ActorRecord,
    pub since_ms: u64,
    pub until_ms: u64,
    pub step: Option<String>,
    pub ended: BTreeMap<String, StepOutcomeWord>,
    pub confirmed: Vec<String>,
    pub measurements: Vec<MeasurementRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedShown {
    pub drill: String,
    pub name: String,
    pub since_ms: u64,
    pub ended_ms: u64,
    pub end: DrillEndRecord,
    pub services: Vec<ServiceVerdictRecord>,
}
