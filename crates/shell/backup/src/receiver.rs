//! `pg_receivewal` beside the primary: the log, byte for byte, in a spool.
//!
//! What the archive already has decides where to go on. A receiver that starts anywhere, on a host that was never primary
//! before, stands on the newest archived segment of the primary's own history, or on what its archiver had received beyond
//! that when it was killed, and asks the server for what comes next. Either the server still has it (its slots, its
//! `wal_keep_size`), or there is a hole, which is said aloud and closed by a new base backup.

use std::path::Path;

use mainstay_archive::{History, Segment};
use mainstay_record::backup::RECEIVED_SLOT;
use mainstay_units::Timeline;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;

use crate::archive::{Archive, ArchiveError};
use crate::handed;
use crate::marks::{self, MarkError};
use crate::programs::{ProgramError, tail};
use crate::slots;
use crate::source::{Place, SourceError};
use crate::spool;
use crate::store::StoreError;

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

impl ReceiverError {
    /// Two servers wrote the same piece of history.
    pub fn is_conflict(&self) -> bool {
        let stored = match self {
            Self::Store(error)
            | Self::Archive(ArchiveError::Store(error))
            | Self::Mark(MarkError::Archive(ArchiveError::Store(error))) => Some(error),
            _ => None,
        };
        matches!(stored, Some(StoreError::Conflict { .. }))
    }
}

pub struct Receiver {
    child: Child,
    said: JoinHandle<String>,
    pub timeline: Timeline,
    /// The newest that the archive has already.
    pub archived: Option<Segment>,
    /// The first that the server is asked for; unknown where it begins with what the server writes now.
    pub first: Option<Segment>,
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
        let flushed = slots::begin(archive, place, anew).await?;
        let (spool, size) = (spool::path(archive), archive.size()?);
        let (archived, first) = match anew {
            true => {
                spool::clear(&spool).map_err(ArchiveError::io("clear", &spool))?;
                handed::clear(archive, size)?;
                (None, None)
            }
            false => {
                handed::take(archive, size)?;
                let footing =
                    spool::prepare(archive, &archive.shelf().await?.0, &history, flushed)?;
                if let (Some(segment), true) = (footing.archived, footing.keep.is_empty()) {
                    fetch(archive, segment, &spool).await?;
                }
                let first = footing.last().map(|last| {
                    let number = last.number + 1;
                    let timeline = history.timeline_of(number, size);
                    Segment { timeline, number }
                });
                (footing.archived, first)
            }
        };
        archive
            .programs
            .give_all(&spool)
            .map_err(ArchiveError::io("give away", &spool))?;
        let (child, said) = launch(archive, place, &spool)?;
        Ok(Self {
            child,
            said,
            timeline,
            archived,
            first,
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

/// To stand on, where nothing that was received is left.
async fn fetch(archive: &Archive, segment: Segment, spool: &Path) -> Result<(), ReceiverError> {
    let name = segment.name(archive.size()?);
    let object = archive.name(&format!("wal/{name}"));
    let bytes = archive.stores.get(&object).await?;
    let path = spool.join(&name);
    let written = mainstay_rt::files::write_atomic(&path, &bytes);
    written.map_err(ArchiveError::io("write", &path))?;
    Ok(())
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
        RECEIVED_SLOT,
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
