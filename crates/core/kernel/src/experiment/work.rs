//! What nodes do for an experiment, and what they tell of it.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{ExperimentId, ExperimentPlan, Moment, Observation};
use crate::effect::EffectId;
use crate::fault::FaultSpec;

/// None of this breaks or mends anything, so whoever takes over does it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExperimentWork {
    /// Choose the targets of an injection among those who run now.
    Choose {
        experiment: ExperimentId,
        plan: Arc<ExperimentPlan>,
        injection: u32,
    },
    /// Look at the instruments. The answer comes at the first violation that is not told yet, at the first blindness,
    /// or at the end.
    Look {
        experiment: ExperimentId,
        plan: Arc<ExperimentPlan>,
        moment: Moment,
        within_ms: u64,
        patience_ms: u64,
        /// Subjects that are known to be violated.
        told: BTreeSet<String>,
    },
}

/// Whoever chooses has this long.
const CHOICE_MS: u64 = 20_000;

impl ExperimentWork {
    /// How long the work itself may take.
    pub(crate) const fn limit_ms(&self) -> u64 {
        match self {
            Self::Choose { .. } => CHOICE_MS,
            Self::Look {
                within_ms,
                patience_ms,
                ..
            } => within_ms.saturating_add(*patience_ms),
        }
    }
}

/// What became of it, when it became something. What could not be done is an outcome like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentTold {
    pub effect: EffectId,
    pub told: Told,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Looked {
        seen: Vec<Observation>,
        /// Why the experiment must end at once.
        halt: Option<String>,
        residue: Vec<String>,
    },
    Chosen {
        /// In words: whom, and how faithfully.
        what: String,
        faults: Vec<FaultSpec>,
    },
}
