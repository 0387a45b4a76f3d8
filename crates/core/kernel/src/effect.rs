//! What the world is to do, and what became of it.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use mainstay_model::name::{DatabaseName, HostName};
use mainstay_notify::Notice;
use mainstay_units::{Epoch, Position};

use crate::experiment::ExperimentWork;
use crate::fault::{FaultId, FaultSpec};
use crate::playbook::Work;
use crate::upgrade::Program;

/// An effect is named by the position of the event that ordered it. Executors keep it, so that each effect
/// is begun at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(pub Position);

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Record the fault, start its guardian, set it. Until then nothing is broken.
    SetFault {
        fault: FaultId,
        spec: FaultSpec,
        /// When the fault ends by itself, in kernel time.
        until_ms: u64,
    },
    ClearFault {
        fault: FaultId,
    },
    /// Ask the keeper of the primary (on the host that executes) to hand over to `to`.
    Switchover {
        database: DatabaseName,
        to: HostName,
    },
    /// Ask the keeper of the primary (on the host that executes) to go on without its quorum.
    Solo {
        database: DatabaseName,
    },
    /// Ask the keeper on the host that executes to go on without a majority of the others.
    Failover {
        database: DatabaseName,
    },
    /// Start the host's own processes from this program; done when they are seen to stand. The host goes back
    /// to the one before if they do not.
    TakeProgram {
        program: Program,
    },
    /// A step of a playbook, or a measurement for one.
    Playbook(Work),
    /// Choosing or looking for an experiment.
    Experiment(ExperimentWork),
    /// Say it. In doubt it is said again.
    Notify {
        notice: Box<Notice>,
    },
}

/// Whose node carries an effect out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executor {
    /// Whoever leads.
    Leader,
    Host(HostName),
}

/// How an executor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Ordered just now: do it.
    Start,
    /// It may have been begun already, by this node before a restart or by another one: find out first, then
    /// do what is missing; if that cannot be found out, the outcome is unknown.
    Query,
}

/// An effect for this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    pub id: EffectId,
    /// Of the leadership that stands behind the order now; the fence compares it.
    pub epoch: Epoch,
    pub effect: Effect,
    pub manner: Manner,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done {
        detail: String,
    },
    /// Certainly not done, or undone again.
    Failed {
        why: String,
    },
    /// May have been done. Never counts as success and is never repeated.
    Unknown {
        why: String,
    },
}
