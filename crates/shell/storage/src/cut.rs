//! Cutting a torn end: the one thing that is ever taken out of a journal, and only by a writer.
//!
//! A part is fsynced before it is published, so a published part is whole, unless the disk lied before a power
//! cut. Then the last part may be torn: no checkpoint stands under it, nothing in it was ever acknowledged. A
//! writer moves it aside and goes on at its position. Never cut are: a part that is whole but wrong (that is
//! damage, for a person to look at), a part with another after it, and a part that a remembered checkpoint
//! covers (then it was acknowledged).
//!
//! Two writers may want to cut at once, and the second must not move away what was published after the first
//! one's cut. A lock on the folder of cut parts keeps them apart; within it the part is looked at again. A
//! holder that is frozen or dies delays or releases the lock; nothing but cutting waits for it.

use std::fs;
use std::path::{Path, PathBuf};

use mainstay_journal::{PART_BYTES_MAX, Part, PartError, SignedCheckpoint};
use mainstay_rt::{clock, files};
use mainstay_units::Position;
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::folder::{create_private, list_parts, part_name, part_path};

#[derive(Debug, Error)]
pub enum CutError {
    #[error("part at {0} is not torn, so it stays")]
    NotTorn(Position),
    #[error("part at {0} is torn but not the last one: the journal is damaged")]
    NotLast(Position),
    #[error(
        "part at {position} is torn, but {remembered} entries were acknowledged: the journal is damaged"
    )]
    Acknowledged { position: Position, remembered: u64 },
    #[error("cut the part at {position}")]
    Io {
        position: Position,
        source: std::io::Error,
    },
}

/// Moves the torn part at `position` to `cut/` and says where it is now. `remembered` are the checkpoints of
/// all nodes whose folders can be read here.
pub fn cut_torn_end(
    root: &Path,
    position: Position,
    remembered: &[SignedCheckpoint],
) -> Result<PathBuf, CutError> {
    let io = |source| CutError::Io { position, source };
    if let Some(memory) = remembered.iter().find(|m| m.checkpoint.size > position.0) {
        return Err(CutError::Acknowledged {
            position,
            remembered: memory.checkpoint.size,
        });
    }
    let cut = root.join("cut");
    create_private(&cut).map_err(io)?;
    let lock = fs::File::open(&cut).map_err(io)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| io(error.into()))?;
    let path = part_path(root, position);
    let bytes = files::read_limited(&path, PART_BYTES_MAX as u64).map_err(io)?;
    if Part::parse(&bytes) != Err(PartError::Torn) {
        return Err(CutError::NotTorn(position));
    }
    let listing = list_parts(root).map_err(io)?;
    if listing.parts.last() != Some(&position) {
        return Err(CutError::NotLast(position));
    }
    let aside = cut.join(format!("{}.{}", part_name(position), clock::wall_ms()));
    fs::rename(&path, &aside).map_err(io)?;
    files::fsync_dir(&cut).map_err(io)?;
    files::fsync_dir(&root.join("parts")).map_err(io)?;
    Ok(aside)
}
