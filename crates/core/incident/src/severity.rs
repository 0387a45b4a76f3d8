//! How bad it is, in the words that pagers know.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a line in somebody else's incident, not one of its own.
    Info,
    /// Deserves a look in working hours.
    Warning,
    /// Calls for somebody.
    Error,
    /// Calls for everybody: customers are hurt, or one more loss would hurt them.
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

    /// What a rule says of its alert. Of a budget that burns the window says more than the label: the fastest tier
    /// calls for everybody. An alert that says nothing deserves a look.
    pub fn of_labels(labels: &BTreeMap<String, String>) -> Self {
        let label = |name: &str| labels.get(name).map(String::as_str);
        if label("alertname") == Some("ErrorBudgetBurn") && label("slo").is_some() {
            match label("window") {
                Some("1h") => return Self::Critical,
                Some("6h") => return Self::Error,
                Some("1d" | "3d") => return Self::Warning,
                Some(_) | None => {}
            }
        }
        match label("severity") {
            Some("critical") => Self::Critical,
            Some("page" | "error" | "high" | "major") => Self::Error,
            Some("info" | "none" | "debug") => Self::Info,
            Some(_) | None => Self::Warning,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
