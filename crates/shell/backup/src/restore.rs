//! Back again: a copy and the log after it, into an empty folder, under an identity of its own.
//!
//! Nothing is ever restored over something: the folder must be empty, and what comes out belongs to another archive than
//! what went in, so that the restored cluster can never add to, or be confused with, the original's history.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_archive::{Refusal, Route, Segment, Target, route};
use mainstay_record::backup::MarkRecord;
use mainstay_units::{Lsn, Timeline};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::archive::{
    Archive, ArchiveError, Catalogue, Entry, Piece, history_name, lsn, parse_partial,
};
use crate::base::part_name;
use crate::marks::{self, MarkError};
use crate::moment;
use crate::programs::{ProgramError, Programs, major};
use crate::scratch::{Scratch, ScratchError, Then, Until};
use crate::source::{OWN_DATABASE, SourceError, ask, value};
use crate::store::StoreError;

const VERIFY_LIMIT: Duration = Duration::from_secs(6 * 60 * 60);
/// The archiver replaces the beginning of a segment now and then, not so often that one is never met.
const BEGUN_ATTEMPTS: u32 = 10;
/// Parts on their way from the store to the disk.
const PARTS_AHEAD: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("restore into {}: it is not empty, and nothing is ever restored over something", folder.display())]
    NotEmpty { folder: PathBuf },
    #[error(
        "understand the target {text:?}: neither `latest`, nor a position such as 16/B374D848, nor a moment such as \
             2026-11-20T14:15:00Z, nor the name of a point or backup of this archive"
    )]
    Target { text: String },
    #[error("find backup {id}: the archive has none of that name")]
    NoBackup { id: String },
    #[error(
        "restore into {}: it takes {needed} bytes for the copy and the log after it, and the disk has {free} free",
        folder.display()
    )]
    Room {
        folder: PathBuf,
        needed: u64,
        free: u64,
    },
    #[error(
        "prove in {}: it takes {needed} bytes for the copy, the log after it and what playing that writes, {reserve} more \
         must stay free for the server beside it, and the disk has {free} free; make room there, or take backups more \
         often, so that there is less log after each",
        folder.display()
    )]
    Crowded {
        folder: PathBuf,
        needed: u64,
        reserve: u64,
        free: u64,
    },
    #[error("the archive has no base backup")]
    Empty,
    #[error("no base backup can be read: {}", reasons.join("; "))]
    Unreadable { reasons: Vec<String> },
    #[error("no backup reaches the target: {}", refusals.join("; "))]
    Unreachable { refusals: Vec<String> },
    #[error("use backup {id}: {why}")]
    Content { id: String, why: String },
    #[error("unpack backup {id}")]
    Unpack { id: String, source: io::Error },
    #[error("bring backup {id} to life")]
    Programs { id: String, source: ProgramError },
    #[error("verify backup {id}")]
    Verify { id: String, source: ProgramError },
    #[error("read segment {name} from the archive")]
    Log { name: String, source: StoreError },
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Mark(#[from] MarkError),
}

/// What somebody wants back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Latest,
    Lsn(Lsn),
    Time(u64),
    /// The end of this backup.
    Backup(String),
}

impl Wanted {
    /// # Errors
    /// When it is nothing that this archive knows.
    pub fn parse(text: &str, catalogue: &Catalogue) -> Result<Self, RestoreError> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Ok(lsn) = text.parse() {
            return Ok(Self::Lsn(lsn));
        }
        if let Some(ms) = moment::parse(text) {
            return Ok(Self::Time(ms));
        }
        if let Some(point) = catalogue.points.iter().find(|point| point.name == text) {
            return Ok(Self::Lsn(lsn(&point.lsn, text)?));
        }
        if catalogue
            .entries
            .iter()
            .any(|entry| entry.record.id == text)
        {
            return Ok(Self::Backup(text.to_owned()));
        }
        let text = text.to_owned();
        Err(RestoreError::Target { text })
    }

    fn target(&self) -> Target {
        match self {
            Self::Latest => Target::Latest,
            Self::Lsn(lsn) => Target::Lsn(*lsn),
            Self::Time(ms) => Target::Time(*ms),
            Self::Backup(_) => Target::Immediate,
        }
    }

    pub(crate) fn until(&self) -> Until {
        match self {
            Self::Latest => Until::End,
            Self::Lsn(lsn) => Until::Lsn(*lsn),
            Self::Time(ms) => Until::Time(*ms),
            Self::Backup(_) => Until::Consistent,
        }
    }
}

/// The newest backup that reaches what is wanted, and the way; or the one that is named.
///
/// # Errors
/// When none does, with the reason of each.
pub fn choose<'a>(
    catalogue: &'a Catalogue,
    wanted: &Wanted,
    backup: Option<&str>,
) -> Result<(&'a Entry, Route), RestoreError> {
    let named = match (wanted, backup) {
        (_, Some(id)) => Some(id),
        (Wanted::Backup(id), None) => Some(id.as_str()),
        (Wanted::Latest | Wanted::Lsn(_) | Wanted::Time(_), None) => None,
    };
    let entries: Vec<&Entry> = catalogue
        .entries
        .iter()
        .filter(|entry| named.is_none_or(|id| entry.record.id == id))
        .collect();
    if entries.is_empty() {
        let damaged = catalogue.damaged.iter().filter(|damaged| {
            let is_backup = matches!(damaged.what, Piece::Backup | Piece::Unfinished);
            is_backup && named.is_none_or(|id| damaged.name == id)
        });
        let reasons = damaged.map(|damaged| format!("{}: {}", damaged.name, damaged.why));
        let reasons: Vec<String> = reasons.collect();
        return Err(match named {
            _ if !reasons.is_empty() => RestoreError::Unreadable { reasons },
            Some(id) => RestoreError::NoBackup { id: id.to_owned() },
            None => RestoreError::Empty,
        });
    }
    let mut refusals = Vec::new();
    for entry in entries {
        match route(&catalogue.shelf, &entry.base, wanted.target()) {
            Ok(route) => return Ok((entry, route)),
            Err(refusal) => refusals.push(format!("{}: {refusal}", entry.record.id)),
        }
    }
    Err(RestoreError::Unreachable { refusals })
}

/// After a backup failed: the next older one that was proven, and whether it still reaches the target. `None`: there is
/// none.
pub fn offer<'a>(
    catalogue: &'a Catalogue,
    failed: &str,
    wanted: &Wanted,
) -> Option<(&'a Entry, Result<Route, Refusal>)> {
    let failed = catalogue
        .entries
        .iter()
        .find(|entry| entry.record.id == failed);
    let before = failed.map_or(u64::MAX, |entry| entry.record.stopped_ms);
    let older = catalogue
        .entries
        .iter()
        .find(|entry| entry.record.stopped_ms < before && entry.base.proven_ms.is_some())?;
    Some((older, route(&catalogue.shelf, &older.base, wanted.target())))
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Restored {
    pub backup: String,
    pub timeline: Timeline,
    pub lsn: String,
    /// The archive that the restored cluster would belong to.
    pub archive: String,
    pub system_identifier: u64,
    /// The newest mark that came back: everything that was committed before it did too.
    pub last: Option<MarkRecord>,
    pub took_ms: u64,
}

/// Restores, recovers to what is wanted, gives the result its own identity, and leaves it cleanly stopped.
///
/// # Errors
/// When anything is missing, damaged or refused; the folder is then empty again.
pub async fn restore(
    archive: &Archive,
    entry: &Entry,
    route: &Route,
    wanted: &Wanted,
    into: &Path,
) -> Result<Restored, RestoreError> {
    let started = mainstay_rt::clock::now();
    claim(into)?;
    has_room(into, needed_bytes(archive, entry, route)?)?;
    let done = fill(archive, entry, route, wanted, into).await;
    match done {
        Ok(restored) => Ok(Restored {
            took_ms: millis(mainstay_rt::clock::now().since(started)),
            ..restored
        }),
        Err(error) => {
            // It was empty when we came.
            empty(into).ok();
            Err(error)
        }
    }
}

/// What a restore lays into its folder before it plays anything: the copy, and all of the log.
///
/// # Errors
/// When the archive says a size that PostgreSQL does not have.
pub fn needed_bytes(archive: &Archive, entry: &Entry, route: &Route) -> Result<u64, ArchiveError> {
    let segments = route.segments.len() + usize::from(route.partial.is_some());
    let log = archive.size()?.bytes().saturating_mul(segments as u64);
    Ok(entry.record.bytes.saturating_add(log))
}

fn free_bytes(folder: &Path) -> Result<u64, ArchiveError> {
    let state = rustix::fs::statvfs(folder).map_err(io::Error::from);
    let state = state.map_err(ArchiveError::io("ask for the room on the disk of", folder))?;
    Ok(state.f_bavail.saturating_mul(state.f_frsize))
}

/// A server lives on the disk of that folder: what is laid there must leave it room for its own log, or a copy that nobody needs
/// ends what everybody does.
///
/// # Errors
/// When it would not.
pub fn leaves_room(folder: &Path, needed: u64, reserve: u64) -> Result<(), RestoreError> {
    let free = free_bytes(folder)?;
    if needed.saturating_add(reserve) <= free {
        return Ok(());
    }
    let folder = folder.to_owned();
    Err(RestoreError::Crowded {
        folder,
        needed,
        reserve,
        free,
    })
}

fn has_room(folder: &Path, needed: u64) -> Result<(), RestoreError> {
    let free = free_bytes(folder)?;
    if needed <= free {
        return Ok(());
    }
    let folder = folder.to_owned();
    Err(RestoreError::Room {
        folder,
        needed,
        free,
    })
}

async fn fill(
    archive: &Archive,
    entry: &Entry,
    route: &Route,
    wanted: &Wanted,
    into: &Path,
) -> Result<Restored, RestoreError> {
    let programs = lay(archive, entry, route, into).await?;
    let sockets = archive
        .config
        .run_folder
        .join(format!("r{}", std::process::id()));
    let mut scratch = Scratch::new(&programs, into, sockets)?;
    scratch
        .recover(route.timeline, &wanted.until(), Then::Promote)
        .await?;
    let identity = marks::new_identity();
    let place = scratch.place();
    let sql = format!(
        "SET client_min_messages = warning; CREATE SCHEMA IF NOT EXISTS mainstay; \
         CREATE TABLE IF NOT EXISTS mainstay.archive \
             (one boolean PRIMARY KEY DEFAULT true CHECK (one), identity text NOT NULL); \
         DELETE FROM mainstay.archive; INSERT INTO mainstay.archive (identity) VALUES ('{identity}'); \
         SELECT timeline_id, redo_lsn FROM pg_control_checkpoint()"
    );
    let action = "give the restored cluster its own identity";
    ask(&programs, &place, OWN_DATABASE, action, &sql).await?;
    let sql = "SELECT pg_current_wal_lsn(), substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
    let rows = ask(&programs, &place, OWN_DATABASE, "ask where it is", sql).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let [lsn, timeline] = <[String; 2]>::try_from(row).unwrap_or_default();
    let known =
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'mainstay' AND tablename = 'marks'";
    let action = "look for marks";
    let known = value(&programs, &place, OWN_DATABASE, action, known).await?;
    let last = match known.as_str() {
        "1" => marks::read(&programs, &place).await?.pop(),
        _ => None,
    };
    scratch.stop().await?;
    let timeline = u32::from_str_radix(&timeline, 16).unwrap_or(route.timeline.0);
    Ok(Restored {
        backup: entry.record.id.clone(),
        timeline: Timeline(timeline),
        lsn,
        archive: identity,
        system_identifier: archive.system_identifier(),
        last,
        took_ms: 0,
    })
}

/// Copy, verification and log, ready to be recovered by the programs that are returned: those of the copy's own version.
///
/// # Errors
/// When anything is missing or not what was put, or that version is not installed.
pub async fn lay(
    archive: &Archive,
    entry: &Entry,
    route: &Route,
    into: &Path,
) -> Result<Programs, RestoreError> {
    let id = &entry.record.id;
    let unfit = |source| RestoreError::Programs {
        id: id.clone(),
        source,
    };
    // Before anything is fetched, where the backup says it. Earlier ones named the program that copied, which may be newer.
    if let Some(version) = major(&entry.record.server_version) {
        archive.programs.of(version).await.map_err(unfit)?;
    }
    unpack(archive, entry, into).await?;
    let programs = archive.programs.fitting(into).await.map_err(unfit)?;
    let io = |action| {
        let path = into.to_owned();
        move |source| RestoreError::Archive(ArchiveError::io(action, &path)(source))
    };
    programs.give_all(into).map_err(io("give away"))?;
    let folder = into.display().to_string();
    let arguments = ["--quiet", folder.as_str()];
    let verified = programs.run("pg_verifybackup", &arguments, VERIFY_LIMIT);
    verified.await.map_err(|source| RestoreError::Verify {
        id: id.clone(),
        source,
    })?;
    lay_log(archive, route, &into.join("pg_wal")).await?;
    neutral(into).map_err(io("prepare"))?;
    programs.give_all(into).map_err(io("give away"))?;
    Ok(programs)
}

/// Fetches the parts in order, and unpacks them while the next ones come.
async fn unpack(archive: &Archive, entry: &Entry, into: &Path) -> Result<(), RestoreError> {
    let id = entry.record.id.clone();
    let (sender, receiver) = mpsc::channel(PARTS_AHEAD);
    let target = into.to_owned();
    let unpacking = tokio::task::spawn_blocking(move || {
        let mut reader = PartReader {
            receiver,
            part: Vec::new(),
            place: 0,
        };
        let mut tar = tar::Archive::new(&mut reader);
        tar.set_preserve_permissions(true);
        tar.unpack(&target)?;
        // What follows the end of the tar is read too, so that the sender is not left waiting.
        io::copy(&mut reader, &mut io::sink()).map(drop)
    });
    let fed = feed(archive, entry, sender).await;
    // Whatever became of the parts: who unpacks must have ended before anybody clears the folder.
    let unpacked = unpacking
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    let hash = fed?;
    unpacked.map_err(|source| RestoreError::Unpack {
        id: id.clone(),
        source,
    })?;
    let digest: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if digest == entry.record.sha256 {
        Ok(())
    } else {
        let why = "its parts are authentic, and not those that were put".to_owned();
        Err(RestoreError::Content { id, why })
    }
}

/// Until all parts are on their way, or the one who unpacks them has ended.
async fn feed(
    archive: &Archive,
    entry: &Entry,
    sender: mpsc::Sender<Vec<u8>>,
) -> Result<Sha256, RestoreError> {
    let folder = archive.name(&format!("backups/{}", entry.record.id));
    let mut hash = Sha256::new();
    for number in 0..entry.record.parts {
        let part = archive.stores.get(&part_name(&folder, number)).await?;
        hash.update(&part);
        if sender.send(part).await.is_err() {
            break;
        }
    }
    Ok(hash)
}

/// The parts as one stream.
struct PartReader {
    receiver: mpsc::Receiver<Vec<u8>>,
    part: Vec<u8>,
    place: usize,
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.place == self.part.len() {
            match self.receiver.blocking_recv() {
                Some(part) => (self.part, self.place) = (part, 0),
                None => return Ok(0),
            }
        }
        let rest = self.part.get(self.place..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        let (to, from) = (buffer.get_mut(..count), rest.get(..count));
        if let (Some(to), Some(from)) = (to, from) {
            to.copy_from_slice(from);
        }
        self.place += count;
        Ok(count)
    }
}

async fn lay_log(archive: &Archive, route: &Route, folder: &Path) -> Result<(), RestoreError> {
    let size = archive.size()?;
    let length = usize::try_from(size.bytes()).unwrap_or(usize::MAX);
    for timeline in &route.histories {
        let name = history_name(*timeline);
        fetch(archive, &name, &name, folder, None).await?;
    }
    for segment in &route.segments {
        let name = segment.name(size);
        fetch(archive, &name, &name, folder, Some(length)).await?;
    }
    if let Some(segment) = route.partial {
        lay_begun(archive, segment, folder, length).await?;
    }
    Ok(())
}

/// The segment that was not full when the archive was looked at. Meanwhile it may have grown, and the archiver removes
/// what a longer beginning has made superfluous; more than what was asked for does no harm.
async fn lay_begun(
    archive: &Archive,
    segment: Segment,
    folder: &Path,
    length: usize,
) -> Result<(), RestoreError> {
    let size = archive.size()?;
    let name = segment.name(size);
    let mut attempt = 0;
    loop {
        let objects = archive.stores.list(&archive.name("wal")).await?.objects;
        let begun = objects.iter().filter_map(|object| {
            let (other, bytes) = parse_partial(object, size)?;
            (other == segment).then_some((bytes, object.clone()))
        });
        let object = match begun.max() {
            _ if objects.contains(&name) => name.clone(),
            Some((_, object)) => object,
            None => return Ok(()),
        };
        attempt += 1;
        match fetch(archive, &object, &name, folder, Some(length)).await {
            Ok(()) => return Ok(()),
            Err(error) if attempt == BEGUN_ATTEMPTS => return Err(error),
            Err(_) => {}
        }
    }
}

/// With a length, what is missing at the end is zero, as PostgreSQL's own segments are.
async fn fetch(
    archive: &Archive,
    object: &str,
    name: &str,
    folder: &Path,
    length: Option<usize>,
) -> Result<(), RestoreError> {
    let read = archive
        .stores
        .get(&archive.name(&format!("wal/{object}")))
        .await;
    let mut bytes = read.map_err(|source| RestoreError::Log {
        name: object.to_owned(),
        source,
    })?;
    if let Some(length) = length {
        bytes.resize(length, 0);
    }
    let path = folder.join(name);
    std::fs::write(&path, bytes).map_err(ArchiveError::io("write", &path))?;
    Ok(())
}

/// Takes away what ties the copy to where it came from, and asks for a recovery.
fn neutral(folder: &Path) -> io::Result<()> {
    for name in ["standby.signal", "mainstay.incarnation", "postmaster.opts"] {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let keep = |name: &str| {
        let (from, to) = (
            folder.join(name),
            folder.join(format!("{name}.from-backup")),
        );
        match std::fs::rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    };
    for name in ["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf"] {
        keep(name)?;
    }
    let text = "# Restored by Mainstay. What the original was told stands in postgresql.conf.from-backup.\n\
                listen_addresses = ''\n";
    std::fs::write(folder.join("postgresql.conf"), text)?;
    std::fs::write(folder.join("postgresql.auto.conf"), "")?;
    std::fs::write(folder.join("pg_hba.conf"), "local all all peer\n")?;
    std::fs::write(folder.join("recovery.signal"), "")
}

/// Makes the folder, or finds it empty.
///
/// # Errors
/// When anything lies in it.
pub fn claim(folder: &Path) -> Result<(), RestoreError> {
    use std::os::unix::fs::PermissionsExt;
    let io = |source| RestoreError::Archive(ArchiveError::io("make the folder", folder)(source));
    std::fs::create_dir_all(folder).map_err(io)?;
    if std::fs::read_dir(folder).map_err(io)?.next().is_some() {
        let folder = folder.to_owned();
        return Err(RestoreError::NotEmpty { folder });
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(io)
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use mainstay_archive::{SegmentSize, Shelf};

    use super::*;

    #[test]
    fn a_disk_that_is_too_small_is_named_before_anything_is_laid() {
        let folder = tempfile::tempdir().unwrap();
        assert!(has_room(folder.path(), 1).is_ok());
        let said = crate::chain(&has_room(folder.path(), u64::MAX).unwrap_err());
        assert!(
            said.contains("it takes 18446744073709551615 bytes"),
            "{said}"
        );
    }

    #[test]
    fn the_server_beside_a_proof_keeps_its_room() {
        let folder = tempfile::tempdir().unwrap();
        let free = free_bytes(folder.path()).unwrap();
        assert!(leaves_room(folder.path(), 1, free / 2).is_ok());
        for (needed, reserve) in [(free / 2, free), (0, u64::MAX), (u64::MAX, 0)] {
            let said = crate::chain(&leaves_room(folder.path(), needed, reserve).unwrap_err());
            assert!(said.contains("must stay free for the server"), "{said}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_where_nothing_else_is_left() {
        let mut catalogue = Catalogue {
            entries: Vec::new(),
            damaged: Vec::new(),
            shelf: Shelf::new(SegmentSize::new(4 << 20).unwrap()),
            points: Vec::new(),
        };
        let said = |catalogue: &Catalogue, backup| {
            crate::chain(&choose(catalogue, &Wanted::Latest, backup).unwrap_err())
        };
        assert_eq!(said(&catalogue, None), "the archive has no base backup");
        let damaged = ("20261129T181330Z-d263", "its record is not authentic");
        catalogue.damaged.push(crate::archive::Damaged {
            what: Piece::Backup,
            name: damaged.0.to_owned(),
            why: damaged.1.to_owned(),
        });
        for backup in [None, Some(damaged.0)] {
            let said = said(&catalogue, backup);
            assert!(
                said.contains(damaged.0) && said.contains(damaged.1),
                "{said}"
            );
        }
        let other = said(&catalogue, Some("20261128T000000Z-0000"));
        assert!(other.contains("has none of that name"), "{other}");
    }
}
