//! Pages that tell of an incident, as far as somebody signs them. The page itself is kept elsewhere: here it is a hash.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use thiserror::Error;

/// Of SHA-256, in hexadecimal.
const DIGITS: usize = 64;

/// Whether whoever signs stands for what a page tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    Accepted,
    Refused,
}

impl Signature {
    pub const ALL: [Self; 2] = [Self::Accepted, Self::Refused];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// SHA-256 of a page: 64 digits, the letters small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageDigest(String);

impl fmt::Display for PageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the SHA-256 of a page has {DIGITS} hexadecimal digits, small letters, not {0:?}")]
pub struct ParseDigestError(String);

impl FromStr for PageDigest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.len() == DIGITS && text.bytes().all(is_digit) {
            true => Ok(Self(text.to_string())),
            false => Err(ParseDigestError(text.to_string())),
        }
    }
}
