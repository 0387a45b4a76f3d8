//! `pg_receivewal` beside the primary: the log, byte for byte, in a spool.
//!
//! What the archive already has decides where to go on. A receiver that starts anywhere, on a host that was never primary
//! before, stands on the newest archived segment of the primary's own history, or on what its archiver had received beyond
//! that when it was killed, and asks the server for what comes next, on the newest timeline that has it. Either the server still has it (its slots, its
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
        let begun = slots::begin(archive, place, anew).await?;
        let (spool, size) = (spool::path(archive), archive.size()?);
        let segment_of = |number| Segment {
            timeline: history.timeline_of(number, size),
            number,
        };
        let (archived, first) = match anew {
            true => {
                spool::clear(&spool).map_err(ArchiveError::io("clear", &spool))?;
                handed::clear(archive, size)?;
                (None, None)
            }
            false => {
                handed::take(archive, size)?;
                let shelf = archive.shelf().await?.0;
                let footing = spool::prepare(archive, &shelf, &history, begun.flushed)?;
                let last = footing.last();
                (
                    footing.archived,
                    last.map(|last| segment_of(last.number + 1)),
                )
            }
        };
        let next = first.unwrap_or_else(|| segment_of(size.number_of(begun.kept_from)));
        spool::begin_with(archive, next, size)?;
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
