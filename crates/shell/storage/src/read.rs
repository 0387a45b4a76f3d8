//! Reading entries without following: for people and projections that ask for a stretch of the journal.
//!
//! Parts are found by name, so a reader that begins late does not read what is before. Their form is checked,
//! what hangs together is not: that is what [`crate::verify()`] is for.

use std::collections::VecDeque;
use std::io;

use mainstay_journal::{Entry, Part, PartError};
use mainstay_units::Position;
use thiserror::Error;

use crate::place::{Kept, Place};

#[derive(Debug, Error)]
pub enum ReadError {
    #[error("read the journal in {place}")]
    Io {
        place: String,
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
    kept: Kept,
    place: String,
    from: Position,
    parts: VecDeque<Position>,
    ready: VecDeque<(Position, Entry)>,
}

/// The entries of the journal kept in `place` that stand at `from` or behind it.
pub fn read_entries(place: &Place, from: Position) -> Result<Entries, ReadError> {
    let failed = |source| ReadError::Io {
        place: place.to_string(),
        source,
    };
    let opened = place
        .kept()
        .map_err(|error| failed(io::Error::other(error)));
    let mut kept = opened?;
    let listing = kept.list().map_err(failed)?;
    let first = listing
        .parts
        .partition_point(|part| *part <= from)
        .saturating_sub(1);
    Ok(Entries {
        kept,
        place: place.to_string(),
        from,
        parts: listing.parts.into_iter().skip(first).collect(),
        ready: VecDeque::new(),
    })
}

impl Entries {
    fn read_part(&mut self, position: Position) -> Result<(), ReadError> {
        let bytes = self.kept.read(position).map_err(|source| ReadError::Io {
            place: self.place.clone(),
            source,
        })?;
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
