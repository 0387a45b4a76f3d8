//! The folder that `pg_receivewal` writes into: log that was received, until the stores have it.
//!
//! It outlives the archiver: whoever is killed with log in hand finds it again, as far as it belongs to the same archive and
//! follows what that has. The server keeps the same log as long ([`crate::slots`]), so either of the two may be lost.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use mainstay_archive::{Footing, History, Segment, SegmentSize, Shelf, footing};
use mainstay_units::{Lsn, Timeline};

use crate::archive::{Archive, ArchiveError, parse_history_name};

const OWNER_LIMIT: u64 = 1_024;

pub fn path(archive: &Archive) -> PathBuf {
    archive.config.folder.join("spool")
}

/// Names in the spool, in order.
pub fn names(archive: &Archive) -> Result<Vec<String>, ArchiveError> {
    let spool = path(archive);
    let io = ArchiveError::io("look into", &spool);
    let entries = std::fs::read_dir(&spool).map_err(io)?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

pub fn bytes(archive: &Archive) -> u64 {
    let entries = std::fs::read_dir(path(archive)).into_iter().flatten();
    let sizes = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
    sizes.sum()
}

pub fn clear(spool: &Path) -> io::Result<()> {
    if spool.exists() {
        std::fs::remove_dir_all(spool)?;
    }
    std::fs::create_dir_all(spool)
}

/// Makes it this archive's own: what another one's archiver left there is no log of this history.
pub fn own(archive: &Archive) -> Result<(), ArchiveError> {
    let spool = path(archive);
    let owner = archive.config.folder.join("spool-of");
    let known = mainstay_rt::files::read_limited(&owner, OWNER_LIMIT).unwrap_or_default();
    if known == archive.archive_name().as_bytes() && spool.exists() {
        return Ok(());
    }
    clear(&spool).map_err(ArchiveError::io("clear", &spool))?;
    mainstay_rt::files::write_atomic(&owner, archive.archive_name().as_bytes())
        .map_err(ArchiveError::io("write", &owner))
}

/// Leaves in the spool only what a receiver of this history can go on from.
pub fn prepare(
    archive: &Archive,
    shelf: &Shelf,
    history: &History,
    flushed: Lsn,
) -> Result<Footing, ArchiveError> {
    let spool = path(archive);
    let names = names(archive)?;
    let full = whole(&spool, &names, shelf.size);
    let footing = footing(shelf, &full, history, flushed);
    for name in &names {
        let stays = match parse_history_name(name) {
            Some(timeline) => is_of(history, timeline),
            None => Segment::parse(name, shelf.size)
                .is_some_and(|segment| footing.keep.contains(&segment)),
        };
        if !stays {
            let path = spool.join(name);
            std::fs::remove_file(&path).map_err(ArchiveError::io("remove", &path))?;
        }
    }
    Ok(footing)
}

/// Lays down the empty beginning of a segment, with which `pg_receivewal` then begins. Left to itself it asks on the timeline of what
/// it stands on. Of a segment in which the log changed its timeline twice the server no longer has that one's successor, since its
/// promotion renamed it, and says that the log is gone; on the newest timeline it has all of it.
pub fn begin_with(
    archive: &Archive,
    segment: Segment,
    size: SegmentSize,
) -> Result<(), ArchiveError> {
    let path = path(archive).join(format!("{}.partial", segment.name(size)));
    let written = mainstay_rt::files::write_atomic(&path, b"");
    written.map_err(ArchiveError::io("write", &path))
}

fn is_of(history: &History, timeline: Timeline) -> bool {
    history.left(timeline).is_some()
}

/// Full segments: `pg_receivewal` gives one its name after its last byte is on disk.
fn whole(spool: &Path, names: &[String], size: SegmentSize) -> BTreeSet<Segment> {
    let is_whole = |name: &&String| {
        let found = std::fs::metadata(spool.join(name));
        found.is_ok_and(|found| found.len() == size.bytes())
    };
    names
        .iter()
        .filter(is_whole)
        .filter_map(|name| Segment::parse(name, size))
        .collect()
}
