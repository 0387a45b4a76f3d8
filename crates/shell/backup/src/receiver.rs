//! `pg_receivewal` beside the primary: the log, byte for byte, in a spool.
//!
//! The spool is worth nothing by itself: what the archive already has decides where to go on. So a receiver that starts
//! anywhere, on a host that was never primary before, is given the newest archived segment of the primary's own history
//! to stand on, and asks the server for what comes next. Either the server still has it (its slot, its `wal_keep_size`),
//! or there is a hole, which is said aloud and closed by a new base backup.

use std::path::{Path, PathBuf};

use mainstay_archive::{History, Segment, Shelf};
use mainstay_units::{Lsn, Timeline};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;

use crate::archive::{Archive, ArchiveError};
use crate::marks::{self, MarkError};
use crate::programs::{ProgramError, tail};
use crate::source::{OWN_DATABASE, Place, SourceError, ask};
use crate::store::StoreError;

/// The slot on the primary; on every other server it is dropped, or it would keep the log there for ever.
pub const SLOT: &str = "mainstay_archive";
/// For a walsender whose receiver is gone, until it has let go of the slot.
const LINGER_MS: u32 = 2_000;
/// What the server says when it no longer has what is asked for.
const GONE: &str = "has already been removed";

#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Mark(#[from] MarkError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("follow the history of timeline {timeline}: {why}")]
    History { timeline: Timeline, why: String },
}

pub struct Receiver {
    child: Child,
    said: JoinHandle<String>,
    pub timeline: Timeline,
    /// Given to stand on, and in the archive already.
    pub seed: Option<Segment>,
}

/// How a receiver ended.
#[derive(Debug)]
pub enum End {
    /// The server no longer has the log that comes next.
    Hole(String),
    Other(String),
}

impl Receiver {
    /// `anew`: with what the server has now, after a hole.
    ///
    /// # Errors
    /// When the server, the archive or the disk fails.
    pub async fn start(
        archive: &Archive,
        place: &Place,
        timeline: Timeline,
        anew: bool,
    ) -> Result<Self, ReceiverError> {
        marks::archive_history(archive, place, timeline).await?;
        let text = marks::history_text(archive, place, timeline).await?;
        let history = History::parse(timeline, &text).map_err(|error| ReceiverError::History {
            timeline,
            why: error.to_string(),
        })?;
        let flushed = make_slot(archive, place, anew).await?;
        let seed = match anew {
            true => None,
            false => newest(&archive.shelf().await?, &history, flushed),
        };
        let spool = spool(archive);
        clear(&spool).map_err(ArchiveError::io("clear", &spool))?;
        if let Some(segment) = seed {
            let name = segment.name(archive.size()?);
            let bytes = archive
                .stores
                .get(&archive.name(&format!("wal/{name}")))
                .await?;
            let path = spool.join(&name);
            std::fs::write(&path, bytes).map_err(ArchiveError::io("write", &path))?;
        }
        archive
            .programs
            .give_all(&spool)
            .map_err(ArchiveError::io("give away", &spool))?;
        let (child, said) = launch(archive, place, &spool)?;
        Ok(Self {
            child,
            said,
            timeline,
            seed,
        })
    }

    /// How it ended, if it did.
    pub async fn ended(&mut self) -> Option<End> {
        let status = self.child.try_wait().ok().flatten()?;
        // Its last words may lie in the pipe still, and they decide.
        let said = (&mut self.said).await.unwrap_or_default();
        if said.contains(GONE) {
            return Some(End::Hole(said));
        }
        Some(End::Other(format!("{status}: {said}")))
    }
}

/// Leaves the server with a slot that holds its log from now on or from before, and tells how far it has flushed.
///
/// After a hole the old slot is worth nothing: `pg_receivewal` reports the place where it begins before it is told that
/// the log there is gone, the slot steps back to that place, and the server calls it `reserved` all the same. Whoever
/// went on with it would begin at the hole for ever.
async fn make_slot(archive: &Archive, place: &Place, anew: bool) -> Result<Lsn, ReceiverError> {
    let programs = &archive.programs;
    let of_no_use = match anew {
        true => "true",
        false => "wal_status = 'lost' AND NOT active",
    };
    let end = format!(
        "SELECT pg_terminate_backend(active_pid, {LINGER_MS}) FROM pg_replication_slots \
         WHERE slot_name = '{SLOT}' AND active_pid IS NOT NULL AND {of_no_use}"
    );
    ask(
        programs,
        place,
        OWN_DATABASE,
        "end who holds a lost slot",
        &end,
    )
    .await?;
    let drop = format!(
        "SELECT pg_drop_replication_slot('{SLOT}') FROM pg_replication_slots \
         WHERE slot_name = '{SLOT}' AND {of_no_use}"
    );
    ask(programs, place, OWN_DATABASE, "drop a lost slot", &drop).await?;
    let make = format!(
        "SELECT pg_create_physical_replication_slot('{SLOT}', true) WHERE NOT EXISTS \
         (SELECT FROM pg_replication_slots WHERE slot_name = '{SLOT}' AND wal_status <> 'lost'); \
         SELECT pg_current_wal_flush_lsn()"
    );
    let rows = ask(programs, place, OWN_DATABASE, "make the slot", &make).await?;
    let flushed = rows.last().and_then(|row| row.first()?.parse().ok());
    Ok(flushed.unwrap_or_default())
}

fn launch(
    archive: &Archive,
    place: &Place,
    spool: &Path,
) -> Result<(Child, JoinHandle<String>), ReceiverError> {
    let conninfo = place.conninfo("replication", "application_name=mainstay_archiver");
    let mut command = archive.programs.command("pg_receivewal");
    command.arg("--directory").arg(spool).args([
        "--dbname",
        &conninfo,
        "--slot",
        SLOT,
        "--no-password",
        "--no-loop",
        "--synchronous",
        "--status-interval=1",
    ]);
    let tool = "pg_receivewal".to_owned();
    let mut child = command
        .spawn()
        .map_err(|source| ProgramError::Start { tool, source })?;
    let stderr = child.stderr.take();
    let said = tokio::spawn(async move {
        let mut said = String::new();
        let Some(stderr) = stderr else { return said };
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            said = tail(&format!("{said}\n{line}"));
        }
        said
    });
    Ok((child, said))
}

/// The newest full segment that lies on the primary's own way and behind it.
fn newest(shelf: &Shelf, history: &History, flushed: Lsn) -> Option<Segment> {
    let on_the_way = shelf.segments.iter().filter(|segment| {
        history.timeline_of(segment.number, shelf.size) == segment.timeline
            && segment.end(shelf.size) <= flushed
    });
    on_the_way.copied().max_by_key(|segment| segment.number)
}

pub fn spool(archive: &Archive) -> PathBuf {
    archive.config.folder.join("spool")
}

pub fn clear(spool: &Path) -> std::io::Result<()> {
    if spool.exists() {
        std::fs::remove_dir_all(spool)?;
    }
    std::fs::create_dir_all(spool)
}

/// Drops the slot on a server that is not the primary.
///
/// # Errors
/// When the server cannot be asked.
pub async fn drop_slot(archive: &Archive, place: &Place) -> Result<(), SourceError> {
    let sql = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
         WHERE slot_name = '{SLOT}' AND NOT active"
    );
    let action = "drop the slot of a server that is not primary";
    ask(&archive.programs, place, OWN_DATABASE, action, &sql)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_archive::SegmentSize;

    #[test]
    fn one_goes_on_from_ones_own_history_only() {
        let size = SegmentSize::DEFAULT;
        let mut shelf = Shelf::new(size);
        let segment = |timeline, number| Segment {
            timeline: Timeline(timeline),
            number,
        };
        // Timeline 1 was left in segment 5, and its old primary had gone on to 6.
        shelf
            .segments
            .extend((3..=6).map(|number| segment(1, number)));
        let text = format!("1\t{}\tx\n", Lsn(5 * size.bytes() + 10));
        let history = History::parse(Timeline(2), &text).unwrap();
        let far = Lsn(9 * size.bytes());
        assert_eq!(newest(&shelf, &history, far), Some(segment(1, 4)));
        shelf.segments.insert(segment(2, 5));
        assert_eq!(newest(&shelf, &history, far), Some(segment(2, 5)));
        let near = Lsn(5 * size.bytes() + 100);
        assert_eq!(newest(&shelf, &history, near), Some(segment(1, 4)));
    }
}
