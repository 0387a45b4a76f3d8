//! How a command ends: a number for scripts, a sentence for people.

use std::fmt;
use std::process::ExitCode;

/// Why a command did not end well. The numbers stand in `mainstay --help`.
#[derive(Debug)]
pub enum Failure {
    /// The thing asked about is not as it should be.
    Finding(String),
    /// The command line, or what it points to, cannot be used.
    Usage(String),
    Refused {
        why: String,
        next: String,
    },
    NoAnswer {
        what: String,
        next: String,
    },
    Unknown {
        why: String,
    },
    /// Ctrl-C, before it was done.
    Interrupted,
    /// Whoever read what this command prints has seen enough (`| head`).
    ReaderLeft,
    /// Something that should work did not.
    Fault(anyhow::Error),
}

impl Failure {
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::ReaderLeft => 0,
            // As a shell says of a process that SIGINT ended.
            Self::Interrupted => 130,
            Self::Finding(_) | Self::Fault(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused { .. } => 3,
            Self::NoAnswer { .. } => 4,
            Self::Unknown { .. } => 5,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReaderLeft => Ok(()),
            Self::Interrupted => f.write_str(
                "interrupted; what was started keeps running\n  next: `mainstay status`, or `mainstay down`",
            ),
            Self::Finding(what) | Self::Usage(what) => f.write_str(what),
            Self::Refused { why, next } => write!(f, "refused: {why}\n  next: {next}"),
            Self::NoAnswer { what, next } => write!(f, "no answer: {what}\n  next: {next}"),
            Self::Unknown { why } => write!(
                f,
                "unknown outcome: {why}\n  next: look with `mainstay status` and `mainstay journal show` before trying again"
            ),
            Self::Fault(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Fault(error)
    }
}

pub type Outcome = Result<(), Failure>;
