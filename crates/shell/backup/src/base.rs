//! A base backup: `pg_basebackup` as one tar stream, cut into pieces, each sealed and put as it comes.
//!
//! From a standby where there is one, so that the primary is spared. The copy carries the log that it needs with it, so
//! that it can be restored even if the archive of log is lost; what comes later needs the archive. The last object of a
//! set says what belongs to it: an interrupted backup is none.

use std::time::Duration;

use mainstay_record::backup::{BackupRecord, VERSION};
use mainstay_record::event::ArchiveDeedRecord;
use mainstay_units::{Lsn, Timeline};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStdout;

use crate::archive::{Archive, ArchiveError, tell};
use crate::marks::{self, MarkError};
use crate::moment;
use crate::programs::{ProgramError, tail};
use crate::seal::DataKey;
use crate::source::{OWN_DATABASE, Place, SourceError, Sources, value};
use crate::store::StoreError;

/// Of the tar, in one object.
const PART_BYTES: usize = 32 << 20;
/// A server that sends nothing for so long is given up.
const SILENCE_LIMIT: Duration = Duration::from_secs(300);
/// Who copies waits for the stores, and what it does not take stands still: the server, which is told to give up whoever takes
/// nothing for a few seconds, must bear that. A host that is gone is found by keepalives.
const PATIENT: &str =
    "application_name=mainstay_backup options='-c tcp_user_timeout=0 -c wal_sender_timeout=0'";

#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Mark(#[from] MarkError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("read what pg_basebackup writes")]
    Read(#[source] std::io::Error),
    #[error("copy {host}: nothing came for {SILENCE_LIMIT:?}")]
    Silent { host: String },
    #[error("copy {host}: pg_basebackup ended with {status}: {said}")]
    Failed {
        host: String,
        status: std::process::ExitStatus,
        said: String,
    },
    #[error("copy {host}: pg_basebackup did not say from where to where: {said}")]
    Unplaced { host: String, said: String },
}

/// Makes a base backup and puts it into the archive.
///
/// # Errors
/// When the servers, pg_basebackup or the stores fail; what was put until then is removed again.
pub async fn create(archive: &mut Archive) -> Result<BackupRecord, BaseError> {
    let sources = Sources::look(&archive.config).await;
    let primary = sources.primary()?;
    marks::join(archive, primary).await?;
    let archive = &*archive;
    let mark = marks::write_mark(archive, primary).await?;
    let (from, standby) = match sources.standby() {
        Some(standby) => (standby, true),
        None => (primary, false),
    };
    let started_ms = mainstay_rt::clock::wall_ms();
    let id = format!(
        "{}-{:04x}",
        moment::compact(started_ms),
        mainstay_rt::entropy::u64() & 0xFFFF
    );
    let folder = archive.name(&format!("backups/{id}"));
    let host = from.server.host.clone();
    let place = Place::of(archive, &from.server);
    let data = DataKey::draw();
    let copied = match copy(archive, &place, &host, &folder, &data).await {
        Ok(copied) => copied,
        Err(error) => {
            discard(archive, &folder).await;
            return Err(error);
        }
    };
    marks::archive_history(archive, &place, copied.timeline).await?;
    let (action, sql) = ("ask for its version", "SHOW server_version");
    let version = value(&archive.programs, &place, OWN_DATABASE, action, sql);
    let record = BackupRecord {
        version: VERSION,
        id,
        host,
        standby,
        timeline: copied.timeline.0,
        start_lsn: copied.start.to_string(),
        stop_lsn: copied.stop.to_string(),
        started_ms,
        stopped_ms: mainstay_rt::clock::wall_ms(),
        parts: copied.parts,
        bytes: copied.bytes,
        sha256: copied.sha256,
        server_version: version.await?,
        mark: Some(mark),
    };
    // So that there is log beyond the end of the copy, by which a recovery knows that it has passed it.
    marks::write_mark(archive, primary).await?;
    archive
        .put(&format!("{folder}/backup"), &record, &data)
        .await?;
    let deed = ArchiveDeedRecord::BackupMade {
        backup: record.id.clone(),
        bytes: record.bytes,
    };
    tell(archive, record.stopped_ms, deed);
    Ok(record)
}

struct Copied {
    timeline: Timeline,
    start: Lsn,
    stop: Lsn,
    parts: u32,
    bytes: u64,
    sha256: String,
}

async fn copy(
    archive: &Archive,
    place: &Place,
    host: &str,
    folder: &str,
    data: &DataKey,
) -> Result<Copied, BaseError> {
    let conninfo = place.conninfo("replication", PATIENT);
    let mut command = archive.programs.command("pg_basebackup");
    command.args([
        "--dbname",
        &conninfo,
        "--no-password",
        "--pgdata=-",
        "--format=tar",
        "--wal-method=fetch",
        "--checkpoint=fast",
        "--manifest-checksums=SHA256",
        "--label=mainstay",
        "--verbose",
    ]);
    let tool = "pg_basebackup".to_owned();
    let mut child = command
        .spawn()
        .map_err(|source| ProgramError::Start { tool, source })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let listening = async {
        let mut said = String::new();
        if let Some(stderr) = stderr {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                said.push_str(&line);
                said.push('\n');
            }
        }
        said
    };
    let putting = async {
        match stdout {
            Some(stdout) => put_parts(archive, stdout, host, folder, data).await,
            None => Ok((0, 0, String::new())),
        }
    };
    let (put, said) = tokio::join!(putting, listening);
    let (parts, bytes, sha256) = put?;
    let status = child.wait().await.map_err(BaseError::Read)?;
    let host = host.to_owned();
    if !status.success() {
        let said = tail(&said);
        return Err(BaseError::Failed { host, status, said });
    }
    match parse_place(&said) {
        Some((start, timeline, stop)) => Ok(Copied {
            timeline,
            start,
            stop,
            parts,
            bytes,
            sha256,
        }),
        None => Err(BaseError::Unplaced {
            host,
            said: tail(&said),
        }),
    }
}

async fn put_parts(
    archive: &Archive,
    mut stdout: ChildStdout,
    host: &str,
    folder: &str,
    data: &DataKey,
) -> Result<(u32, u64, String), BaseError> {
    let (mut parts, mut bytes, mut hash) = (0, 0, Sha256::new());
    let mut part = Vec::with_capacity(PART_BYTES);
    loop {
        let room = (PART_BYTES - part.len()) as u64;
        let mut limited = (&mut stdout).take(room);
        let read = tokio::time::timeout(SILENCE_LIMIT, limited.read_buf(&mut part));
        let read = read.await.map_err(|_| BaseError::Silent {
            host: host.to_owned(),
        })?;
        let read = read.map_err(BaseError::Read)?;
        if part.len() == PART_BYTES || (read == 0 && !part.is_empty()) {
            hash.update(&part);
            bytes += part.len() as u64;
            let name = part_name(folder, parts);
            let taken = archive.stores.put(&name, &part, data).await?;
            warn_of(&taken.missing);
            parts += 1;
            part.clear();
        }
        if read == 0 {
            let digest: Vec<String> = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
            return Ok((parts, bytes, digest.concat()));
        }
    }
}

/// A store that did not take an object is named; another has it.
pub fn warn_of(missing: &[StoreError]) {
    for error in missing {
        tracing::error!(
            error = crate::chain(error),
            "a store does not have what another has"
        );
    }
}

pub fn part_name(folder: &str, number: u32) -> String {
    format!("{folder}/part-{number:05}")
}

/// What cannot be removed is litter that `backup prune` finds.
async fn discard(archive: &Archive, folder: &str) {
    if let Ok(listing) = archive.stores.list(folder).await {
        for object in listing.objects {
            archive
                .stores
                .remove(&format!("{folder}/{object}"))
                .await
                .ok();
        }
    }
}

/// `… write-ahead log start point: 0/2000028 on timeline 1` and `… end point: 0/2000100`.
fn parse_place(said: &str) -> Option<(Lsn, Timeline, Lsn)> {
    let after = |words: &str| {
        said.lines()
            .find_map(|line| Some(line.split_once(words)?.1))
    };
    let (start, timeline) = after("start point: ")?.split_once(" on timeline ")?;
    let stop = after("end point: ")?;
    Some((
        start.trim().parse().ok()?,
        Timeline(timeline.trim().parse().ok()?),
        stop.trim().parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_read_from_what_pg_basebackup_says() {
        let said = "pg_basebackup: initiating base backup, waiting for checkpoint to complete\n\
                    pg_basebackup: checkpoint completed\n\
                    pg_basebackup: write-ahead log start point: 0/4000028 on timeline 3\n\
                    pg_basebackup: write-ahead log end point: 0/4000138\n";
        let expected = (Lsn(0x400_0028), Timeline(3), Lsn(0x400_0138));
        assert_eq!(parse_place(said), Some(expected));
        assert_eq!(parse_place("pg_basebackup: error"), None);
    }
}
