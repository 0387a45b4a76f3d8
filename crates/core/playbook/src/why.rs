//! Why a playbook was not run, or a command about one was refused.

use alloc::string::String;
use core::fmt;

use crate::run::RunId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoSuchBook(String),
    /// This text of it is in force already.
    BookInForce(String),
    /// The platform file names it, and says what it is.
    BookOfFile(String),
    /// Another text under a version that was in force before: then history could not tell them apart.
    VersionTaken {
        book: String,
        version: u32,
        newest: u32,
    },
    TooManyBooks,
    TooManyRuns,
    NoSuchParameter {
        book: String,
        parameter: String,
    },
    NoValue {
        parameter: String,
    },
    Value {
        parameter: String,
        value: String,
        why: String,
    },
    NoSuchRun(String),
    /// It is under way with the same values.
    UnderWay(RunId),
    NotWaiting(RunId),
    ApprovedAlready(RunId),
    NotAnApprover {
        run: RunId,
        by: String,
    },
    Undoing(RunId),
    BookUnderWay(RunId),
    /// A guardrail.
    Guard(String),
}

impl Refusal {
    /// For programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchBook(_) => "no_such_playbook",
            Self::BookInForce(_) => "playbook_in_force",
            Self::BookOfFile(_) => "playbook_of_file",
            Self::VersionTaken { .. } => "playbook_version",
            Self::TooManyBooks => "too_many_playbooks",
            Self::TooManyRuns => "too_many_runs",
            Self::NoSuchParameter { .. } => "no_such_parameter",
            Self::NoValue { .. } => "no_value",
            Self::Value { .. } => "parameter_value",
            Self::NoSuchRun(_) => "no_such_run",
            Self::UnderWay(_) => "run_under_way",
            Self::NotWaiting(_) => "run_not_waiting",
            Self::ApprovedAlready(_) => "approved_already",
            Self::NotAnApprover { .. } => "not_an_approver",
            Self::Undoing(_) => "run_undoing",
            Self::BookUnderWay(_) => "playbook_under_way",
            Self::Guard(_) => "guardrail",
        }
    }

    /// What the person can do about it.
    pub const fn next_step(&self) -> &'static str {
        Self::next_step_of(self.code().as_bytes())
    }

    /// By the code alone, which is all that the journal keeps besides the text.
    pub const fn next_step_of(code: &[u8]) -> &'static str {
        match code {
            b"no_such_playbook" | b"too_many_playbooks" => {
                "`mainstay playbook list` shows the playbooks in force"
            }
            b"playbook_in_force" | b"approved_already" => "nothing needs to be done",
            b"playbook_of_file" => {
                "change the file that the platform file names, give it a higher `version`, and `mainstay up FILE`"
            }
            b"playbook_version" => "give the changed playbook a higher `version`",
            b"too_many_runs" | b"no_such_run" | b"run_under_way" | b"run_not_waiting" => {
                "`mainstay playbook list` shows the runs"
            }
            b"no_such_parameter" | b"no_value" | b"parameter_value" => {
                "`mainstay playbook show NAME` explains its parameters; give one with --set NAME=VALUE"
            }
            b"not_an_approver" => "ask one of those whom the playbook names",
            b"run_undoing" | b"playbook_under_way" => {
                "wait until the run has ended; `mainstay playbook list` tells"
            }
            b"guardrail" => "`mainstay playbook dry-run NAME` shows every guardrail as it stands",
            _ => "`mainstay status` shows the platform as it is",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchBook(book) => write!(f, "no playbook is called {book}"),
            Self::BookInForce(book) => write!(f, "this text of {book} is in force already"),
            Self::BookOfFile(book) => {
                write!(f, "the platform file names {book}, and what it says holds")
            }
            Self::VersionTaken {
                book,
                version,
                newest,
            } => write!(
                f,
                "another text of {book} had version {newest}; version {version} is not above it"
            ),
            Self::TooManyBooks => f.write_str("too many playbooks are in force"),
            Self::TooManyRuns => f.write_str("too many runs are under way"),
            Self::NoSuchParameter { book, parameter } => {
                write!(f, "playbook {book} has no parameter {parameter}")
            }
            Self::NoValue { parameter } => write!(f, "parameter {parameter} has no value"),
            Self::Value {
                parameter,
                value,
                why,
            } => write!(f, "parameter {parameter} cannot be {value:?}: {why}"),
            Self::NoSuchRun(run) => write!(f, "there is no run {run} under way"),
            Self::UnderWay(run) => write!(f, "run {run} does the same at this moment"),
            Self::NotWaiting(run) => write!(f, "run {run} does not wait for anybody"),
            Self::ApprovedAlready(run) => write!(f, "you have approved run {run} already"),
            Self::NotAnApprover { run, by } => {
                write!(f, "run {run} is approved by {by} only")
            }
            Self::Undoing(run) => write!(f, "run {run} is being undone"),
            Self::BookUnderWay(run) => write!(f, "run {run} follows it at this moment"),
            Self::Guard(why) => f.write_str(why),
        }
    }
}
