//! The bytes of one batch: header, entries, signed checkpoint.
//!
//! A part is a text file that a person can read and `grep` can search:
//!
//! ```text
//! mainstay-part/1 <origin>
//! position <first> count <n> bytes <of the entries with their newlines>
//! chain <value before the first entry> <value after the last>
//!
//! {"kind":…}
//! {"kind":…}
//!
//! <origin>
//! <size of the tree after this part>
//! <root of the tree, base64>
//!
//! — <origin> <base64(key id || signature)>
//! ```
//!
//! The form is canonical: parsing what [`Part::encode`] did not write fails. All that the header says
//! follows from the entries and from the parts before, and the checkpoint carries exactly one signature, so
//! there is no byte in a part that could change without being noticed.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mainstay_units::Position;
use thiserror::Error;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::entry::{Entry, EntryError};
use crate::hash::Hash;

/// A batch is at most this many entries; more are appended as several parts.
pub const PART_ENTRIES_MAX: usize = 4_096;
/// A reader refuses larger files: they are not ours.
pub const PART_BYTES_MAX: usize = 64 << 20;

const FORM: &str = "mainstay-part/1";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub origin: String,
    /// Position of the first entry.
    pub first: Position,
    pub entries: Vec<Entry>,
    pub chain_before: Hash,
    pub chain_after: Hash,
    pub checkpoint: SignedCheckpoint,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PartError {
    #[error("part ends early: it was cut off or never written to its end")]
    Torn,
    #[error("part's header is not of the form {FORM}")]
    Header,
    #[error("part is not UTF-8 at byte {0}")]
    NotUtf8(usize),
    #[error("part says that it has {0} entries; between 1 and {PART_ENTRIES_MAX} are accepted")]
    Count(usize),
    #[error("entry {position}: {error}")]
    Entry {
        position: Position,
        error: EntryError,
    },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("part has bytes that do not belong to its form")]
    NotCanonical,
}

impl Part {
    pub fn encode(&self) -> Vec<u8> {
        let bytes: usize = self.entries.iter().map(|e| e.as_bytes().len() + 1).sum();
        let mut text = format!(
            "{FORM} {}\nposition {} count {} bytes {bytes}\nchain {} {}\n\n",
            self.origin,
            self.first,
            self.entries.len(),
            self.chain_before,
            self.chain_after
        );
        for entry in &self.entries {
            text.push_str(entry.as_str());
            text.push('\n');
        }
        text.push('\n');
        text.push_str(self.checkpoint.note());
        text.into_bytes()
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, PartError> {
        let whole = bytes_expected(bytes)?;
        if bytes.len() < whole || bytes.iter().rev().take(SIGNATURE_BYTES).all(|b| *b == 0) {
            return Err(PartError::Torn);
        }
        let text =
            core::str::from_utf8(bytes).map_err(|error| PartError::NotUtf8(error.valid_up_to()))?;
        let part = Self::parse_text(text)?;
        if part.encode() != bytes {
            return Err(PartError::NotCanonical);
        }
        Ok(part)
    }

    fn parse_text(text: &str) -> Result<Self, PartError> {
        let (header, mut rest) = Header::parse(text)?;
        let mut line = || match rest.split_once('\n') {
            Some((line, after)) => {
                rest = after;
                Ok(line)
            }
            None => Err(PartError::NotCanonical),
        };
        let mut entries = Vec::with_capacity(header.count);
        for position in (header.first..).map(Position).take(header.count) {
            let entry = Entry::new(line()?.to_string());
            entries.push(entry.map_err(|error| PartError::Entry { position, error })?);
        }
        if !line()?.is_empty() {
            return Err(PartError::NotCanonical);
        }
        Ok(Self {
            origin: header.origin.to_string(),
            first: Position(header.first),
            entries,
            chain_before: header.chain_before,
            chain_after: header.chain_after,
            checkpoint: SignedCheckpoint::parse(rest)?,
        })
    }
}

struct Header<'a> {
    origin: &'a str,
    first: u64,
    count: usize,
    /// Of the entries with their newlines.
    bytes: usize,
    chain_before: Hash,
    chain_after: Hash,
}

impl<'a> Header<'a> {
    fn parse(text: &'a str) -> Result<(Self, &'a str), PartError> {
        let mut lines = text.splitn(5, '\n');
        let mut line = || lines.next().ok_or(PartError::Torn);
        let (form, place, chain, empty, rest) = (line()?, line()?, line()?, line()?, line()?);
        let origin = form.strip_prefix(FORM).and_then(|o| o.strip_prefix(' '));
        let (first, count, bytes) = numbers(place).ok_or(PartError::Header)?;
        let (chain_before, chain_after) = hashes(chain).ok_or(PartError::Header)?;
        if count == 0 || count > PART_ENTRIES_MAX {
            return Err(PartError::Count(count));
        }
        match (origin, empty) {
            (Some(origin), "") if bytes <= PART_BYTES_MAX => Ok((
                Self {
                    origin,
                    first,
                    count,
                    bytes,
                    chain_before,
                    chain_after,
                },
                rest,
            )),
            _ => Err(PartError::Header),
        }
    }
}

/// `— `, a space and 68 bytes in base64.
const SIGNATURE_BYTES: usize = 4 + 1 + 92;
const ROOT_BYTES: usize = 44;

/// How long a part with this beginning must be: what an interrupted write leaves is shorter (or its tail was
/// never filled and reads as zeros), which no changed byte can bring about.
fn bytes_expected(bytes: &[u8]) -> Result<usize, PartError> {
    let beginning = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let (header, rest) = Header::parse(beginning)?;
    let header_bytes = beginning.len() - rest.len();
    let size = header.first.saturating_add(header.count as u64);
    let checkpoint_lines = [
        header.origin.len(),
        size.to_string().len(),
        ROOT_BYTES,
        0,
        SIGNATURE_BYTES + header.origin.len(),
    ];
    let checkpoint: usize = checkpoint_lines.iter().map(|line| line + 1).sum();
    Ok(header_bytes + header.bytes + 1 + checkpoint)
}

fn numbers(line: &str) -> Option<(u64, usize, usize)> {
    let (first, rest) = line.strip_prefix("position ")?.split_once(" count ")?;
    let (count, bytes) = rest.split_once(" bytes ")?;
    Some((
        first.parse().ok()?,
        count.parse().ok()?,
        bytes.parse().ok()?,
    ))
}

fn hashes(line: &str) -> Option<(Hash, Hash)> {
    let (before, after) = line.strip_prefix("chain ")?.split_once(' ')?;
    Some((before.parse().ok()?, after.parse().ok()?))
}
