//! One line of the journal.

use alloc::string::String;
use core::fmt;

use thiserror::Error;

/// The largest entry: the length prefix of a C2SP entry bundle is 16 bits.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// UTF-8 text of one JSON object as it is stored. Compact JSON has no control characters (they are
/// escaped inside strings), so a part stays a text file with one entry a line.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Entry(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    #[error("entry of {bytes} bytes: the limit is {ENTRY_BYTES_MAX}")]
    TooLong { bytes: usize },
    #[error("entry is not a JSON object: it must begin with {{ and end with }}")]
    NotAnObject,
    #[error("entry contains the control character {code:#04x} at byte {at}")]
    ControlCharacter { code: u8, at: usize },
    #[error("entry is not UTF-8")]
    NotUtf8,
}

impl Entry {
    pub fn new(text: String) -> Result<Self, EntryError> {
        check(&text)?;
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({})", self.0)
    }
}

fn check(text: &str) -> Result<(), EntryError> {
    if text.len() > ENTRY_BYTES_MAX {
        return Err(EntryError::TooLong { bytes: text.len() });
    }
    if !(text.starts_with('{') && text.ends_with('}')) {
        return Err(EntryError::NotAnObject);
    }
    match text.bytes().enumerate().find(|(_, byte)| *byte < 0x20) {
        Some((at, code)) => Err(EntryError::ControlCharacter { code, at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn limits() {
        assert!(Entry::new("{}".to_string()).is_ok());
        let longest = format!("{{{}}}", " ".repeat(ENTRY_BYTES_MAX - 2));
        assert!(Entry::new(longest.clone()).is_ok());
        assert_eq!(
            Entry::new(format!("{longest}}}")),
            Err(EntryError::TooLong { bytes: 65_536 })
        );
        assert_eq!(Entry::new("[]".to_string()), Err(EntryError::NotAnObject));
        assert_eq!(
            Entry::new("{\n}".to_string()),
            Err(EntryError::ControlCharacter { code: 10, at: 1 })
        );
    }
}
