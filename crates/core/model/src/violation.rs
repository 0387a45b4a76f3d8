//! What is wrong with a draft: where, what kind of wrong, and the way out.

use alloc::string::String;
use core::fmt;

/// The kinds of violation. The word is stable: scripts and documentation refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    InvalidName,
    InvalidValue,
    Missing,
    TooMany,
    DuplicateName,
    UnknownReference,
    PortClash,
    SurvivalImpossible,
    HomeWithoutReplica,
    PlacementImpossible,
    SinglePointOfFailure,
    HoldTooShort,
    UnknownPermission,
    NobodyMay,
    UnusedWaiver,
    OwnedParameter,
    ObjectiveImpossible,
}

impl Code {
    pub const ALL: [Self; 17] = [
        Self::InvalidName,
        Self::InvalidValue,
        Self::Missing,
        Self::TooMany,
        Self::DuplicateName,
        Self::UnknownReference,
        Self::PortClash,
        Self::SurvivalImpossible,
        Self::HomeWithoutReplica,
        Self::PlacementImpossible,
        Self::SinglePointOfFailure,
        Self::HoldTooShort,
        Self::UnknownPermission,
        Self::NobodyMay,
        Self::UnusedWaiver,
        Self::OwnedParameter,
        Self::ObjectiveImpossible,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidName => "invalid-name",
            Self::InvalidValue => "invalid-value",
            Self::Missing => "missing",
            Self::TooMany => "too-many",
            Self::DuplicateName => "duplicate-name",
            Self::UnknownReference => "unknown-reference",
            Self::PortClash => "port-clash",
            Self::SurvivalImpossible => "survival-impossible",
            Self::HomeWithoutReplica => "home-without-replica",
            Self::PlacementImpossible => "placement-impossible",
            Self::SinglePointOfFailure => "single-point-of-failure",
            Self::HoldTooShort => "hold-too-short",
            Self::UnknownPermission => "unknown-permission",
            Self::NobodyMay => "nobody-may",
            Self::UnusedWaiver => "unused-waiver",
            Self::OwnedParameter => "owned-parameter",
            Self::ObjectiveImpossible => "objective-impossible",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer into the platform file, such as `/spec/databases/0/replicas/1/host`.
    pub path: String,
    pub code: Code,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// A second place that belongs to the matter, such as the first use of a name.
    pub related: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.path, self.code, self.message)?;
        if let Some(help) = &self.help {
            write!(f, " (help: {help})")?;
        }
        Ok(())
    }
}
