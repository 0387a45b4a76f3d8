//! What an action of an incident became: something that stays when everybody has forgotten the incident.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use thiserror::Error;

/// Longer than any name of a rule that is in use.
const NAME_BYTES_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// A rule that the watches follow, by the name of its alert or its series.
    Rule(String),
    /// A drill in force.
    Drill(String),
    /// A gate of the platform file.
    Gate(String),
}

impl Became {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Rule(_) => "rule",
            Self::Drill(_) => "drill",
            Self::Gate(_) => "gate",
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Rule(name) | Self::Drill(name) | Self::Gate(name) => name,
        }
    }
}

impl fmt::Display for Became {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is nothing that an action becomes: write rule:NAME, drill:NAME or gate:NAME")]
pub struct ParseBecameError(String);

impl FromStr for Became {
    type Err = ParseBecameError;

    fn from_str(text: &str) -> Result<Self, ParseBecameError> {
        let error = || ParseBecameError(text.to_string());
        let (kind, name) = text.split_once(':').ok_or_else(error)?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            return Err(error());
        }
        let name = name.to_string();
        match kind {
            "rule" => Ok(Self::Rule(name)),
            "drill" => Ok(Self::Drill(name)),
            "gate" => Ok(Self::Gate(name)),
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_action_becomes_has_a_kind_and_a_name() {
        for text in [
            "rule:job:errors:rate5m",
            "drill:region-lost",
            "gate:standby-close",
        ] {
            let became: Became = text.parse().expect(text);
            assert_eq!(became.to_string(), text);
        }
        for text in [
            "",
            "rule",
            "rule:",
            "playbook:x",
            "rules/ledger.yaml:StandbyFar",
            "gate:a\nb",
        ] {
            assert!(text.parse::<Became>().is_err(), "{text:?}");
        }
    }
}
