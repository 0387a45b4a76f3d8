//! Identities that are drawn once and compared for equality only.

use core::fmt;
use core::str::FromStr;

/// Which filling of a data folder this is. Rebuilt, restored or rewound, a replica gets a new one, so
/// that what it once promised to remember is not expected of it any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u128);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseIncarnationError;

impl fmt::Display for ParseIncarnationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an incarnation: expected 32 hexadecimal digits")
    }
}

impl core::error::Error for ParseIncarnationError {}

impl FromStr for Incarnation {
    type Err = ParseIncarnationError;

    fn from_str(text: &str) -> Result<Self, ParseIncarnationError> {
        if text.len() != 32 || text.starts_with('+') {
            return Err(ParseIncarnationError);
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| ParseIncarnationError)
    }
}

/// What PostgreSQL's initdb drew for a cluster; equal on every replica of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemIdentifier(pub u64);

impl fmt::Display for SystemIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
