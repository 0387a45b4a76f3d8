//! Which series a selector means: equality and regular expressions over labels.
//!
//! Expressions are anchored at both ends and `.` matches line ends too, as in Prometheus.

use alloc::format;
use alloc::string::String;
use core::fmt;

use regex::{Regex, RegexBuilder};

use crate::labels::{Labels, NAME, is_plain};
use crate::number::quote;

/// Largest compiled form of one expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Matches,
    MatchesNot,
}

impl Operator {
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::MatchesNot => "!~",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Matcher {
    pub label: String,
    pub operator: Operator,
    pub value: String,
    regex: Option<Regex>,
}

impl Matcher {
    pub fn new(label: &str, operator: Operator, value: &str) -> Result<Self, String> {
        let regex = match operator {
            Operator::Equal | Operator::NotEqual => None,
            Operator::Matches | Operator::MatchesNot => Some(anchored(value)?),
        };
        Ok(Self {
            label: String::from(label),
            operator,
            value: String::from(value),
            regex,
        })
    }

    /// The matcher of a metric's name.
    pub fn name(name: &str) -> Self {
        Self {
            label: String::from(NAME),
            operator: Operator::Equal,
            value: String::from(name),
            regex: None,
        }
    }

    pub fn holds(&self, value: &str) -> bool {
        let regex = || {
            self.regex
                .as_ref()
                .is_some_and(|regex| regex.is_match(value))
        };
        match self.operator {
            Operator::Equal => self.value == value,
            Operator::NotEqual => self.value != value,
            Operator::Matches => regex(),
            Operator::MatchesNot => !regex(),
        }
    }

    pub fn all(matchers: &[Self], labels: &Labels) -> bool {
        matchers
            .iter()
            .all(|matcher| matcher.holds(labels.get(&matcher.label)))
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = quote(self.value.as_bytes());
        if is_plain(&self.label) {
            write!(f, "{}{}{value}", self.label, self.operator.symbol())
        } else {
            let label = quote(self.label.as_bytes());
            write!(f, "{label}{}{value}", self.operator.symbol())
        }
    }
}

/// Compiled for a whole value.
pub fn anchored(expression: &str) -> Result<Regex, String> {
    compiled(&format!("^(?s:{expression})$"))
}

/// Compiled for a part of a text, as templates use it.
pub fn free(expression: &str) -> Result<Regex, String> {
    compiled(expression)
}

fn compiled(expression: &str) -> Result<Regex, String> {
    RegexBuilder::new(expression)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| format!("{error}"))
}
