//! Experiments: faults with a hypothesis, carried by whoever leads.
//!
//! Think of a surgeon's checklist that hangs on the wall. What is to be cut, when, and what must be seen was written
//! down before the first cut; whoever holds the knife reads the next line from the wall, not from memory, and so can
//! whoever takes over. The kernel decides from the journal what comes next (`course.rs`, a table); nodes choose targets
//! and look at the instruments, because only they see what runs; and the verdict is lowered to what the observations
//! bear out. Faults do not depend on any of this: each has its own end and its own guardian.
//!
//! | proposed     | a violation seen | something not measured | nothing measured | left behind |
//! |--------------|------------------|------------------------|------------------|-------------|
//! | passed       | failed           | inconclusive           | inconclusive     | failed      |
//! | failed       | failed           | failed                 | failed           | failed      |
//! | aborted      | aborted          | aborted                | aborted          | failed      |
//! | inconclusive | failed           | inconclusive           | inconclusive     | failed      |

pub(crate) mod course;
pub(crate) mod desk;
pub(crate) mod state;
mod work;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use mainstay_model::name::HostName;

use crate::authority::By;
use crate::fault::FaultId;

pub use state::Experiment;
pub use work::{ExperimentTold, ExperimentWork, Told};

/// Numbers experiments of one platform, from 1. Written `x1`, `x2`, …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExperimentId(pub u64);

impl fmt::Display for ExperimentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x{}", self.0)
    }
}

impl core::str::FromStr for ExperimentId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix('x').ok_or(())?;
        digits.parse().map(Self).map_err(|_| ())
    }
}

/// What is about to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentPlan {
    pub name: String,
    /// SHA-256 of the document, hexadecimal.
    pub digest: String,
    /// Of every random choice.
    pub seed: u64,
    pub hypothesis: String,
    /// What will be broken, in words, each with its fidelity.
    pub injections: Vec<String>,
    pub lasts_ms: u64,
    /// From which everything else follows; absent in journals of versions whose command carried it.
    pub timetable: Option<Timetable>,
}

/// What was planned at the beginning, so that whoever takes over has the same future.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timetable {
    /// The document.
    pub text: String,
    /// When it was planned, in seconds since 1970: what schedules count from.
    pub planned_s: u64,
    /// How long what does not end by itself is followed.
    pub window_ms: Option<u64>,
    /// In order of time.
    pub injections: Vec<Slot>,
    /// When the last injection is over, from the beginning of the first.
    pub ends_ms: u64,
    /// After everything is mended, the steady state has so long to come back.
    pub settle_ms: u64,
    /// Whether something ends it at once; then it is not gone on with while nobody measures that.
    pub is_guarded: bool,
    pub alerts: Option<AlertRules>,
}

/// An injection: from the beginning, and for how long; what is over at once has no length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub at_ms: u64,
    pub lasts_ms: Option<u64>,
}

/// Which alerts may begin meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertRules {
    /// Must.
    pub fire: BTreeSet<String>,
    /// May.
    pub may_fire: BTreeSet<String>,
    /// Others with these severities must not; empty: others of any severity.
    pub severities: BTreeSet<String>,
}

/// When the instruments are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Before,
    During,
    After,
    /// It was ended early: only what is left behind is looked for.
    Over,
}

impl Moment {
    pub const ALL: [Self; 4] = [Self::Before, Self::During, Self::After, Self::Over];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
            Self::Over => "over",
        }
    }
}

/// What a measurement says of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    Holds,
    Violated,
    /// It could not be measured, which is never a pass.
    Missing,
}

impl Finding {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Violated => "violated",
            Self::Missing => "missing",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Before, during or after what is broken, and which condition.
    pub subject: String,
    pub value: String,
    pub finding: Finding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    /// An abort condition, or a person, ended it.
    Aborted,
    Inconclusive,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What is asked of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExperimentAsk {
    Begin(Box<ExperimentPlan>),
    Stop { experiment: ExperimentId },
}

impl ExperimentAsk {
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Begin(_) => "chaos run",
            Self::Stop { .. } => "chaos stop",
        }
    }
}

/// What is journalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExperimentNews {
    Begun {
        experiment: ExperimentId,
        plan: Arc<ExperimentPlan>,
        /// It ends then at the latest, whatever is known of it.
        until_ms: u64,
        by: By,
        reason: String,
    },
    /// A host is to look at the instruments: at once, or for so long.
    Looking {
        experiment: ExperimentId,
        moment: Moment,
        host: HostName,
        within_ms: u64,
        /// Whoever cannot measure for so long is blind.
        patience_ms: u64,
    },
    /// It has looked; what it saw stands before this.
    Looked {
        experiment: ExperimentId,
        moment: Moment,
        /// Why the experiment must end at once.
        halt: Option<String>,
        /// What is left of its faults.
        residue: Vec<String>,
    },
    /// The targets of an injection are to be chosen among those who run now.
    Choosing {
        experiment: ExperimentId,
        injection: u32,
    },
    /// They are, in words; the faults follow.
    Chosen {
        experiment: ExperimentId,
        injection: u32,
        what: String,
        faults: Vec<FaultId>,
    },
    Observed {
        experiment: ExperimentId,
        observation: Observation,
    },
    /// Nothing more is broken, and what is broken is mended; `verdict` if that is before its time.
    Mending {
        experiment: ExperimentId,
        verdict: Option<Verdict>,
        why: String,
    },
    Ended {
        experiment: ExperimentId,
        verdict: Verdict,
        why: String,
        residue: Vec<String>,
    },
}

impl ExperimentNews {
    /// For whoever gave the command.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Begun { experiment, .. } => experiment.to_string(),
            Self::Observed { observation, .. } => observation.finding.as_str().to_string(),
            Self::Ended { verdict, why, .. } => format!("{}: {why}", verdict.as_str()),
            Self::Mending { experiment, .. } => format!("{experiment} is ending"),
            Self::Looking { .. }
            | Self::Looked { .. }
            | Self::Choosing { .. }
            | Self::Chosen { .. } => String::new(),
        }
    }
}
