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
        code: String,
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
    /// What could be looked at is as it should be, and the rest could not be.
    InPart(String),
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
            Self::InPart(_) => 6,
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
            Self::Finding(what) | Self::Usage(what) | Self::InPart(what) => f.write_str(what),
            Self::Refused { why, next, .. } => write!(f, "refused: {why}\n  next: {next}"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_help() {
        let text = String::new;
        let cases = [
            (Failure::ReaderLeft, 0),
            (Failure::Finding(text()), 1),
            (Failure::Fault(anyhow::anyhow!("broken")), 1),
            (Failure::Usage(text()), 2),
            (
                Failure::Refused {
                    code: text(),
                    why: text(),
                    next: text(),
                },
                3,
            ),
            (
                Failure::NoAnswer {
                    what: text(),
                    next: text(),
                },
                4,
            ),
            (Failure::Unknown { why: text() }, 5),
            (Failure::InPart(text()), 6),
            (Failure::Interrupted, 130),
        ];
        for (failure, code) in cases {
            // An exit code has no other way to be compared.
            let (found, expected) = (failure.code(), ExitCode::from(code));
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{failure:?}");
        }
    }

    #[test]
    fn every_failure_names_a_next_step_where_there_is_one() {
        let refused = Failure::Refused {
            code: "x".into(),
            why: "no".into(),
            next: "ask".into(),
        };
        assert_eq!(refused.to_string(), "refused: no\n  next: ask");
    }
}
