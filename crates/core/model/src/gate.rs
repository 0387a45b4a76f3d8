//! Gates: what must be measured to be well before the platform is changed, moved or rehearsed.
//!
//! A gate is a barrier at one road. It is shut until somebody measures that it may open, and it is measured for everyone
//! who comes. What cannot be measured leaves it shut.

use alloc::collections::BTreeSet;
use alloc::string::String;

use crate::name::{GateName, ObjectiveName};

/// What a gate can stand before: commands, each asked in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Road {
    /// A changed platform file.
    Up,
    Upgrade,
    Switchover,
    /// The beginning of a drill.
    Drill,
    /// The beginning of an experiment.
    Experiment,
}

impl Road {
    pub const ALL: [Self; 5] = [
        Self::Up,
        Self::Upgrade,
        Self::Switchover,
        Self::Drill,
        Self::Experiment,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Upgrade => "upgrade",
            Self::Switchover => "switchover",
            Self::Drill => "drill",
            Self::Experiment => "experiment",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|road| road.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gate {
    pub name: GateName,
    pub before: BTreeSet<Road>,
    pub opens: Opens,
    /// Why it stands there.
    pub reason: String,
    /// The action of an incident that it came of, such as `i3/a1`.
    pub action: Option<String>,
}

/// When it opens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Opens {
    /// PromQL: when it has a result that is not 0.
    Query(String),
    /// When at least so much of an objective's budget is left.
    Budget {
        objective: ObjectiveName,
        left_at_least: Share,
    },
}

/// From nothing to everything, exact: in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u32);

impl Share {
    pub const WHOLE: u32 = 1_000_000;

    /// As in `0.25`, with six decimals at most.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if !matches!(whole, "0" | "1") || decimals.len() > 6 || !is_number(decimals) {
            return None;
        }
        let mut millionths = if whole == "1" { Self::WHOLE } else { 0 };
        let mut unit = 100_000;
        for digit in decimals.bytes() {
            millionths += u32::from(digit - b'0') * unit;
            unit /= 10;
        }
        Self::of_millionths(millionths)
    }

    pub const fn of_millionths(millionths: u32) -> Option<Self> {
        match millionths <= Self::WHOLE {
            true => Some(Self(millionths)),
            false => None,
        }
    }

    pub const fn millionths(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact() {
        for (text, millionths) in [
            ("0", Some(0)),
            ("1", Some(1_000_000)),
            ("1.0", Some(1_000_000)),
            ("0.25", Some(250_000)),
            ("0.000001", Some(1)),
            ("1.1", None),
            ("2", None),
            ("-0.1", None),
            (".5", None),
            ("0.0000001", None),
            ("0,5", None),
        ] {
            assert_eq!(
                Share::parse(text).map(Share::millionths),
                millionths,
                "{text}"
            );
        }
    }
}
