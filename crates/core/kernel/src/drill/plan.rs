//! What is asked and journalled of drills.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use mainstay_units::Position;

use crate::authority::By;

/// Numbers runs of drills of one platform, from 1. Written `d1`, `d2`, …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrillId(pub u64);

impl fmt::Display for DrillId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}", self.0)
    }
}

impl core::str::FromStr for DrillId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix('d').ok_or(())?;
        digits.parse().map(Self).map_err(|_| ())
    }
}

/// When a drill is due, and how long it may take until it has run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub cron: String,
    pub within_ms: u64,
    /// Whoever leads starts it by itself, from the document that stands there.
    pub starts_from: Option<String>,
}

/// A document that is put in force: who may runs it may rely on its approval, and its schedule is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    pub name: String,
    /// SHA-256 of the text, hexadecimal.
    pub digest: String,
    pub text: String,
    pub schedule: Option<Schedule>,
}

/// So much may be lost: less than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossLimit {
    Transactions(u64),
    /// What was acknowledged within so long before the fault.
    TimeMs(u64),
}

/// What a service must be able to do; measured figures must be less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objective {
    pub service: String,
    pub rto_below_ms: Option<u64>,
    pub rpo_below: Option<LossLimit>,
    /// Why the document does not measure it, if it says so: then nothing is missing, and nothing is shown.
    pub unmeasured: Option<String>,
}

/// A step as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillStep {
    pub id: String,
    pub what: String,
    /// A person does it, and confirms it.
    pub by_person: bool,
}

/// What is about to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillPlan {
    pub name: String,
    pub title: String,
    /// SHA-256 of the document, hexadecimal, and its text.
    pub digest: String,
    pub text: String,
    /// Of every random choice.
    pub seed: u64,
    /// What runs: Mainstay, PostgreSQL, the programs of the load.
    pub versions: BTreeMap<String, String>,
    pub environment: String,
    /// Who approves it, who tests, who has what was found to be wanting mended: roles.
    pub approver: String,
    pub tester: String,
    pub owner: String,
    pub objectives: Vec<Objective>,
    pub steps: Vec<DrillStep>,
    pub retention_days: u32,
    pub lasts_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    Done,
    Failed,
    /// Whether it was done is not known.
    Unknown,
    /// Something before it did not go as planned.
    Skipped,
}

impl StepOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepEnd {
    pub step: String,
    pub outcome: StepOutcome,
    pub detail: String,
    /// Journal entries that tell of it.
    pub evidence: Vec<Position>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measured {
    /// What clients saw of an interruption.
    Recovery,
    /// What became of everything that was sent.
    Ledger,
    /// How long another region served, under which load, and the way back.
    Secondary,
    /// A backup brought back.
    Restore,
}

impl Measured {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recovery => "recovery",
            Self::Ledger => "ledger",
            Self::Secondary => "secondary",
            Self::Restore => "restore",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Micros,
    /// Microseconds since 1970, by the wall clock of the machine.
    WallMicros,
    Transactions,
    Requests,
    Bytes,
    Count,
}

/// One figure, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    pub name: String,
    pub value: Option<u64>,
    pub unit: Unit,
    /// Whose word it is.
    pub source: String,
    /// Of a figure that is missing.
    pub why: String,
}

/// Figures that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    pub measured: Measured,
    /// Whose objective it is about; empty where it is nobody's.
    pub services: Vec<String>,
    /// A load, a database, a backup.
    pub subject: String,
    pub values: Vec<Measure>,
    /// What is counted above, by name, as far as it is listed.
    pub lists: BTreeMap<String, Vec<String>>,
}

impl Measurement {
    pub fn value(&self, name: &str) -> Option<u64> {
        let found = self.values.iter().find(|measure| measure.name == name);
        found.and_then(|measure| measure.value)
    }
}

/// Something that the document did not foresee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    pub step: Option<String>,
    pub what: String,
}

/// Something that was found wanting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deficiency {
    pub what: String,
    pub owner: String,
    pub retest_by_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrillVerdict {
    Passed,
    Failed,
    /// A guard, a person or a step ended it.
    Aborted,
    Inconclusive,
}

impl DrillVerdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What a figure says of an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    Met,
    Missed,
    /// Never a pass.
    NotMeasured,
    /// The document asks for nothing.
    NoObjective,
}

impl Judged {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
            Self::NoObjective => "no objective",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceVerdict {
    pub objective: Objective,
    pub rto: Judged,
    pub rto_us: Option<u64>,
    pub rpo: Judged,
    pub lost_transactions: Option<u64>,
    pub lost_us: Option<u64>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillEnd {
    pub verdict: DrillVerdict,
    pub why: String,
    pub deficiencies: Vec<Deficiency>,
    /// What was found of its faults after their end.
    pub residue: Vec<String>,
}

/// What somebody of the management says to the result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    Accepted,
    Refused,
}

impl Signature {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        }
    }
}

/// What is asked of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillAsk {
    Adopt(Box<Adoption>),
    Withdraw {
        name: String,
    },
    Begin(Box<DrillPlan>),
    BeginStep {
        drill: DrillId,
        step: String,
        what: String,
    },
    EndStep {
        drill: DrillId,
        end: StepEnd,
    },
    Confirm {
        drill: DrillId,
        step: String,
    },
    Measure {
        drill: DrillId,
        measurement: Box<Measurement>,
    },
    Deviate {
        drill: DrillId,
        deviation: Deviation,
    },
    End {
        drill: DrillId,
        end: DrillEnd,
    },
    /// Of one that is over.
    Sign {
        drill: DrillId,
        signature: Signature,
    },
}

impl DrillAsk {
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Adopt(_) => "drill adopt",
            Self::Withdraw { .. } => "drill withdraw",
            Self::Begin(_) => "drill run",
            Self::BeginStep { .. } | Self::EndStep { .. } => "drill step",
            Self::Confirm { .. } => "drill confirm",
            Self::Measure { .. } => "drill measure",
            Self::Deviate { .. } => "drill deviate",
            Self::End { .. } => "drill end",
            Self::Sign { .. } => "drill sign",
        }
    }
}

/// What is journalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillNews {
    Adopted {
        adoption: Box<Adoption>,
        by: By,
        reason: String,
    },
    Withdrawn {
        name: String,
        by: By,
        reason: String,
    },
    /// It was due then, and has not run.
    Missed {
        name: String,
        due_ms: u64,
    },
    Begun {
        drill: DrillId,
        plan: Box<DrillPlan>,
        /// The entry that put this very document in force, if one did: its actor has approved it.
        approved: Option<Position>,
        /// Digest of the platform file in force.
        platform: String,
        /// Ended by the kernel then, if nobody else does.
        until_ms: u64,
        by: By,
        reason: String,
    },
    StepBegun {
        drill: DrillId,
        step: String,
        what: String,
    },
    StepEnded {
        drill: DrillId,
        end: StepEnd,
    },
    Confirmed {
        drill: DrillId,
        step: String,
        by: By,
        note: String,
    },
    Measured {
        drill: DrillId,
        measurement: Box<Measurement>,
    },
    Deviated {
        drill: DrillId,
        deviation: Deviation,
    },
    /// The command that carried it has died: nobody goes on with it, and what it broke is mended.
    Abandoned {
        drill: DrillId,
    },
    Ended {
        drill: DrillId,
        name: String,
        end: DrillEnd,
        services: Vec<ServiceVerdict>,
    },
    Signed {
        drill: DrillId,
        name: String,
        signature: Signature,
        by: By,
        /// In the words of whoever signs.
        statement: String,
    },
}

impl DrillNews {
    /// For whoever gave the command.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Adopted { adoption, .. } => {
                alloc::format!("drill {} is in force", adoption.name)
            }
            Self::Withdrawn { name, .. } => alloc::format!("drill {name} is out of force"),
            Self::Begun { drill, .. } => drill.to_string(),
            Self::Confirmed { drill, step, .. } => {
                alloc::format!("step {step} of {drill} is confirmed")
            }
            Self::Signed {
                drill, signature, ..
            } => alloc::format!("the result of {drill} is {}", signature.as_str()),
            Self::Ended { end, .. } => alloc::format!("{}: {}", end.verdict.as_str(), end.why),
            Self::Missed { .. }
            | Self::StepBegun { .. }
            | Self::StepEnded { .. }
            | Self::Measured { .. }
            | Self::Deviated { .. }
            | Self::Abandoned { .. } => String::new(),
        }
    }
}
