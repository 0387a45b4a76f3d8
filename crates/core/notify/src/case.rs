//! An incident as far as telling somebody of it needs it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// In the words of pagers, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warning,
    Error,
    Critical,
}

impl Severity {
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nobody has it.
    Open,
    Acknowledged,
    /// Rests; it may come back.
    Mitigated,
    /// Resolved, or goes on in another one.
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Such as `i3`.
    pub incident: String,
    pub title: String,
    pub severity: Severity,
    pub stage: Stage,
    /// Since when it is open, anew if it came back.
    pub open_ms: u64,
    /// Who acknowledged it, and when.
    pub by: Option<String>,
    pub acknowledged_ms: Option<u64>,
    /// What it is about: `KIND/NAME`.
    pub things: BTreeSet<String>,
    /// Labels of the alerts that stand of it.
    pub alerts: Vec<BTreeMap<String, String>>,
    /// A worse incident in which everything of this one is.
    pub inside: Option<String>,
}
