//! What was decided about playbooks and runs.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::act::{Act, Look};
use crate::book::{Book, Expiry, IncidentState};
use crate::guard::Target;
use crate::run::RunId;
use crate::value::Values;

/// A person, as the operating system and the platform file name him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    pub uid: u32,
    pub operator: Option<String>,
}

impl core::fmt::Display for Who {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match &self.operator {
            Some(operator) => f.write_str(operator),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// Who says that a book is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody, by a command.
    Person,
    /// The platform file names it; when it does so no more, the book is retired.
    File,
}

/// Why there is a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Alert {
        watch: String,
        alert: String,
    },
    Incident {
        incident: String,
        state: IncidentState,
    },
    Schedule,
    Person {
        by: Who,
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// From now on this text is followed under this name.
    Adopted {
        /// SHA-256 of the text, hexadecimal.
        digest: String,
        text: String,
        book: Arc<Book>,
        source: Source,
        by: Who,
        reason: String,
    },
    Withdrawn {
        book: String,
        by: Who,
        reason: String,
    },
    Opened {
        run: RunId,
        book: String,
        values: Values,
        origin: Origin,
        opening: Opening,
    },
    /// A trigger that led to no run.
    Declined {
        book: String,
        origin: Origin,
        why: String,
    },
    Approved {
        run: RunId,
        by: Option<Who>,
        reason: String,
    },
    /// The guardrails hold, and this is reserved until the run ends.
    Started {
        run: RunId,
        targets: Vec<Target>,
    },
    /// About to be done.
    Begun {
        run: RunId,
        step: u32,
        /// From 1.
        attempt: u32,
        undo: bool,
        act: Act,
    },
    /// About to be measured.
    Looked {
        run: RunId,
        step: u32,
        purpose: Purpose,
        look: Look,
    },
    Skipped {
        run: RunId,
        step: u32,
        why: String,
    },
    /// The step is given up; what was done before is undone.
    Failed {
        run: RunId,
        step: u32,
        why: String,
    },
    /// It goes no further until somebody says so.
    Asks {
        run: RunId,
        why: String,
    },
    Aborted {
        run: RunId,
        undo: bool,
        by: Who,
        reason: String,
    },
    Ended {
        run: RunId,
        ending: Ending,
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Nothing else comes of it: the book only observes.
    Observes,
    Waits {
        until_ms: u64,
        needs: u16,
        expiry: Expiry,
    },
    Goes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The condition among the guardrails.
    Guard,
    When,
    /// The action is done: does it show?
    Verify,
    /// Nobody knows whether the action was done: does it show?
    Proof,
}

impl Purpose {
    pub const ALL: [Self; 4] = [Self::Guard, Self::When, Self::Verify, Self::Proof];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::When => "when",
            Self::Verify => "verify",
            Self::Proof => "proof",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Done,
    Observed,
    /// A step failed, and nothing had to be undone.
    Failed,
    /// A step failed, and what had been done was undone.
    Undone,
    /// A step failed, and undoing did too: somebody has to look.
    UndoFailed,
    Aborted,
    Expired,
    /// A guardrail did not let it begin.
    Declined,
}

impl Ending {
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Observed,
        Self::Failed,
        Self::Undone,
        Self::UndoFailed,
        Self::Aborted,
        Self::Expired,
        Self::Declined,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Observed => "observed",
            Self::Failed => "failed",
            Self::Undone => "undone",
            Self::UndoFailed => "undo_failed",
            Self::Aborted => "aborted",
            Self::Expired => "expired",
            Self::Declined => "declined",
        }
    }
}
