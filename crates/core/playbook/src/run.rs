//! One run of a playbook, and where it stands.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::book::{Book, Expiry};
use crate::event::{Origin, Purpose};
use crate::guard::Target;
use crate::value::Values;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl FromStr for RunId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = text.strip_prefix('r').ok_or(())?;
        number.parse().map(Self).map_err(|_| ())
    }
}

/// What became of something that was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done(String),
    /// Certainly not done; of a measurement: it does not hold.
    Failed(String),
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// As it was when the run was opened, whatever is in force since.
    pub book: Arc<Book>,
    pub digest: String,
    pub values: Values,
    pub origin: Origin,
    pub opened_ms: u64,
    pub started_ms: Option<u64>,
    pub phase: Phase,
    /// When it came into this phase.
    pub since_ms: u64,
    /// Index of the present step.
    pub step: u32,
    /// Attempts at the present step so far, and measurements that came to nothing.
    pub attempts: u32,
    pub looks: u32,
    pub approvals: Vec<String>,
    /// Who said go although too much is in trouble, since that was asked.
    pub overrulers: Vec<String>,
    /// As many as the book wants have said so.
    pub overruled: bool,
    /// The condition among the guardrails was seen to hold.
    pub condition_held: bool,
    pub reserved: Vec<Target>,
    /// Steps that were or may have been done and know how to be undone.
    pub undo: Vec<u32>,
    pub undone: u32,
    /// Why it is being undone or was stopped.
    pub stopped: Option<Stopped>,
    /// What is known of each step that is over.
    pub seen: Vec<Seen>,
}

/// What ends the way forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    Failed(String),
    Aborted { why: String, undo: bool },
}

/// A line of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub at_ms: u64,
    pub step: Option<String>,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// For approvals.
    Waits {
        until_ms: u64,
        needs: u16,
        expiry: Expiry,
    },
    /// It may begin as far as people are concerned; the guardrails are next.
    Approved,
    /// At the beginning of a step.
    Next,
    /// The step's `when` holds.
    Ready,
    Acting {
        effect: u64,
        undo: bool,
    },
    Acted(Outcome),
    /// The action is done; it is to be seen.
    Verify,
    Looking {
        purpose: Purpose,
        effect: u64,
    },
    Seen {
        purpose: Purpose,
        outcome: Outcome,
    },
    Asking {
        why: String,
    },
    Undoing,
}

impl Phase {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Waits { .. } => "waits",
            Self::Approved => "approved",
            Self::Next | Self::Ready => "next",
            Self::Acting { .. } | Self::Acted(_) => "acting",
            Self::Verify | Self::Looking { .. } | Self::Seen { .. } => "looking",
            Self::Asking { .. } => "asking",
            Self::Undoing => "undoing",
        }
    }
}

impl Run {
    pub fn present(&self) -> Option<&crate::book::Step> {
        let index = usize::try_from(self.step).ok()?;
        self.book.steps.get(index)
    }

    pub(crate) fn go(&mut self, at_ms: u64, phase: Phase) {
        self.phase = phase;
        self.since_ms = at_ms;
    }

    pub(crate) fn note(&mut self, at_ms: u64, text: String) {
        let step = self.started_ms.and_then(|_| self.present());
        let step = step.map(|step| step.id.clone());
        self.seen.push(Seen { at_ms, step, text });
    }

    /// What it asks is whether it may go on although too much is in trouble: of the present step nothing was done.
    pub(crate) fn is_held_back(&self) -> bool {
        self.started_ms.is_none() || self.attempts == 0
    }

    pub(crate) fn is_undoing(&self) -> bool {
        self.stopped.is_some()
    }
}
