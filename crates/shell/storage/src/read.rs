//! Reading entries without following: for people and projections that ask for a stretch of the journal.
//!
//! Parts are found by name, so a reader that begins late does not read what is before. Their form is checked,
//! what hangs together is not: that is what [`crate::verify()`] is for.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use mainstay_journal::{Entry, PART_BYTES_MAX, Part, PartError};
use mainstay_rt::files;
use mainstay_units::Position;
use thiserror::Error;

use crate::folder::{list_parts, part_path};

#[derive(Debug, Error)]
pub enum ReadError {
    #[error("read the journal in {}", .path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("part at position {position}; `mainstay journal verify` says more")]
    Part {
        position: Position,
        source: PartError,
    },
}

/// Entries from some position on, to the end of the journal as it was when reading began.
pub struct Entries {
    root: PathBuf,
    from: Position,
    parts: VecDeque<Position>,
    ready: VecDeque<(Position, Entry)>,
}

/// The entries of the journal in `root` that stand at `from` or behind it.
pub fn read_entries(root: &Path, from: Position) -> Result<Entries, ReadError> {
    let listing = list_parts(root).map_err(|source| ReadError::Io {
        path: root.to_path_buf(),
        source,
    })?;
    let first = listing
        .parts
        .partition_point(|part| *part <= from)
        .saturating_sub(1);
    Ok(Entries {
        root: root.to_path_buf(),
        from,
        parts: listing.parts.into_iter().skip(first).collect(),
        ready: VecDeque::new(),
    })
}

impl Entries {
    fn read_part(&mut self, position: Position) -> Result<(), ReadError> {
        let path = part_path(&self.root, position);
        let bytes = files::read_limited(&path, PART_BYTES_MAX as u64)
            .map_err(|source| ReadError::Io { path, source })?;
        let part = Part::parse(&bytes).map_err(|source| ReadError::Part { position, source })?;
        let entries = (position.0..).map(Position).zip(part.entries);
        self.ready
            .extend(entries.filter(|(at, _)| *at >= self.from));
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<(Position, Entry), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(Ok(entry));
            }
            let position = self.parts.pop_front()?;
            if let Err(error) = self.read_part(position) {
                self.parts.clear();
                return Some(Err(error));
            }
        }
    }
}
