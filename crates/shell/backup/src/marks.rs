//! Numbered rows in the database, by which a restored copy can be told from a truncated or altered one.
//!
//! A mark is a milestone: its number follows the last one's, its digest covers all before it, and it notes the log
//! position at which it was planted. So of a copy that was recovered to a mark's position it is known *exactly* which
//! marks it must hold: all before, and not this one. What the application's books said at that moment is noted with it.

use mainstay_record::backup::{IdentityRecord, MarkRecord, PointRecord, VERSION};
use mainstay_units::Timeline;
use sha2::{Digest, Sha256};

use crate::archive::{Archive, ArchiveError, history_name};
use crate::books;
use crate::programs::Programs;
use crate::seal::DataKey;
use crate::source::{Found, OWN_DATABASE, Place, SourceError, ask, value};
use crate::store::StoreError;

/// Older marks are removed as new ones come.
const MARKS_KEPT: u64 = 20_000;

#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("understand the marks: {why}")]
    Form { why: String },
    #[error("the marks are not what was written: {why}")]
    Broken { why: String },
    #[error("name a point {name:?}: letters, digits, '-', '_' and '.', at most 60")]
    PointName { name: String },
    #[error(
        "name a point {name:?}: the name is taken; choose another (`mainstay backup list` shows those that are there)"
    )]
    PointTaken { name: String },
}

/// Under a lock: of two that make the same table at once, one fails, whether it exists or not.
const SCHEMA: &str = "SET client_min_messages = warning; \
    DO $$ BEGIN PERFORM pg_advisory_xact_lock(5210467233); END $$; \
    CREATE SCHEMA IF NOT EXISTS mainstay; \
    CREATE TABLE IF NOT EXISTS mainstay.archive \
        (one boolean PRIMARY KEY DEFAULT true CHECK (one), identity text NOT NULL); \
    CREATE TABLE IF NOT EXISTS mainstay.marks \
        (number bigint PRIMARY KEY, at_ms bigint NOT NULL, lsn pg_lsn NOT NULL, \
         totals text NOT NULL, digest bytea NOT NULL);";

fn place(archive: &Archive, primary: &Found) -> Place {
    Place::of(archive, &primary.server)
}

/// Has the cluster say which archive is its own, and finds that. A cluster that has none gets one; a restored one was
/// given another when it was restored.
///
/// # Errors
/// When the primary or the stores cannot be asked, or the archive is another cluster's.
pub async fn join(archive: &mut Archive, primary: &Found) -> Result<(), MarkError> {
    let drawn = new_identity();
    let sql = format!(
        "{SCHEMA} INSERT INTO mainstay.archive (identity) VALUES ('{drawn}') ON CONFLICT DO NOTHING; \
         SELECT identity, (SELECT system_identifier FROM pg_control_system()), \
             pg_size_bytes(current_setting('wal_segment_size')) FROM mainstay.archive"
    );
    let action = "ask the primary which archive is its own";
    let rows = ask(
        &archive.programs,
        &place(archive, primary),
        OWN_DATABASE,
        action,
        &sql,
    )
    .await?;
    let wrong = || SourceError::Answer {
        action,
        answer: format!("{rows:?}"),
    };
    let Some([identity, system, segment]) = rows.first().map(Vec::as_slice) else {
        return Err(wrong().into());
    };
    let wanted = IdentityRecord {
        version: VERSION,
        archive: identity.clone(),
        platform: archive.config.platform.clone(),
        database: archive.config.database.clone(),
        // PostgreSQL shows it as a signed number.
        system_identifier: system.parse::<i64>().map_err(|_| wrong())?.cast_unsigned(),
        segment_bytes: segment.parse().map_err(|_| wrong())?,
        created_ms: mainstay_rt::clock::wall_ms(),
    };
    archive.found(wanted).await?;
    Ok(())
}

pub fn new_identity() -> String {
    format!("{:016x}", mainstay_rt::entropy::u64())
}

/// Commits the next mark on the primary.
///
/// # Errors
/// When the primary cannot be asked.
pub async fn write_mark(archive: &Archive, primary: &Found) -> Result<MarkRecord, MarkError> {
    let place = place(archive, primary);
    let programs = &archive.programs;
    let totals = books::totals(programs, &place, &archive.config.application).await?;
    // One writer at a time: each sees its predecessor committed, in the table and in the log.
    let sql = format!(
        "SET lock_timeout = '2s'; LOCK TABLE mainstay.marks IN EXCLUSIVE MODE; \
         DELETE FROM mainstay.marks WHERE number <= \
             (SELECT max(number) FROM mainstay.marks) - {MARKS_KEPT}; \
         WITH last AS (SELECT number, digest FROM mainstay.marks ORDER BY number DESC LIMIT 1), \
         next AS (SELECT coalesce((SELECT number FROM last), 0) + 1 AS number, \
             floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS at_ms, \
             pg_current_wal_insert_lsn() AS lsn, $totals${totals}$totals$ AS totals, \
             coalesce((SELECT digest FROM last), '') AS before) \
         INSERT INTO mainstay.marks (number, at_ms, lsn, totals, digest) \
             SELECT number, at_ms, lsn, totals, sha256(before || convert_to( \
                 format('|%s|%s|%s|%s', number, at_ms, lsn, totals), 'UTF8')) FROM next \
         RETURNING {COLUMNS}"
    );
    let rows = ask(programs, &place, OWN_DATABASE, "write a mark", &sql).await?;
    let row = rows.last().ok_or_else(|| MarkError::Form {
        why: "the server returned none".to_owned(),
    })?;
    parse(row)
}

const COLUMNS: &str = "number, at_ms, encode(digest, 'hex'), lsn, totals";

fn parse(row: &[String]) -> Result<MarkRecord, MarkError> {
    let wrong = || MarkError::Form {
        why: format!("{row:?} is no mark"),
    };
    let [number, at_ms, digest, lsn, totals] = row else {
        return Err(wrong());
    };
    Ok(MarkRecord {
        number: number.parse().map_err(|_| wrong())?,
        at_ms: at_ms.parse().map_err(|_| wrong())?,
        digest: digest.clone(),
        lsn: lsn.clone(),
        totals: totals.clone(),
    })
}

/// All marks of a server, in order, checked against each other.
///
/// # Errors
/// When the server cannot be asked, a number is missing or a digest is not what it must be.
pub async fn read(programs: &Programs, place: &Place) -> Result<Vec<MarkRecord>, MarkError> {
    let sql = format!("SELECT {COLUMNS} FROM mainstay.marks ORDER BY number");
    let rows = ask(programs, place, OWN_DATABASE, "read the marks", &sql).await?;
    let marks: Vec<MarkRecord> = rows
        .iter()
        .map(|row| parse(row))
        .collect::<Result<_, _>>()?;
    check(&marks)?;
    Ok(marks)
}

/// Consecutive numbers, and each digest as it follows from the one before.
fn check(marks: &[MarkRecord]) -> Result<(), MarkError> {
    let mut before: Option<&MarkRecord> = None;
    for mark in marks {
        let known = match before {
            None if mark.number == 1 => Some(String::new()),
            // The first of those kept: what came before it is gone.
            None => None,
            Some(before) if before.number + 1 == mark.number => Some(before.digest.clone()),
            Some(before) => {
                let why = format!("after mark {} comes {}", before.number, mark.number);
                return Err(MarkError::Broken { why });
            }
        };
        if let Some(known) = known
            && digest(&known, mark) != mark.digest
        {
            let why = format!("mark {} has another digest than its content", mark.number);
            return Err(MarkError::Broken { why });
        }
        before = Some(mark);
    }
    Ok(())
}

fn digest(before: &str, mark: &MarkRecord) -> String {
    let mut hash = Sha256::new();
    for place in (0..before.len()).step_by(2) {
        let byte = before.get(place..place + 2).unwrap_or_default();
        hash.update([u8::from_str_radix(byte, 16).unwrap_or(0)]);
    }
    let row = format!(
        "|{}|{}|{}|{}",
        mark.number, mark.at_ms, mark.lsn, mark.totals
    );
    hash.update(row.as_bytes());
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Gives the present place in the log a name, in the log itself and in the archive.
///
/// # Errors
/// When the name is none or taken, or the primary or the stores cannot be asked.
pub async fn name_point(
    archive: &Archive,
    primary: &Found,
    name: &str,
) -> Result<PointRecord, MarkError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let starts = name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
    if !starts || name.len() > 60 || !name.bytes().all(plain) {
        let name = name.to_owned();
        return Err(MarkError::PointName { name });
    }
    let taken = || MarkError::PointTaken {
        name: name.to_owned(),
    };
    let points = archive.stores.list(&archive.name("points")).await;
    if points.map_err(ArchiveError::from)?.objects.contains(name) {
        return Err(taken());
    }
    let place = place(archive, primary);
    let action = "write the point into the log";
    let sql = format!("SELECT pg_create_restore_point('{name}')");
    let lsn = value(&archive.programs, &place, OWN_DATABASE, action, &sql).await?;
    // There must be log beyond a target for the recovery to know that it has passed it.
    write_mark(archive, primary).await?;
    let point = PointRecord {
        version: VERSION,
        name: name.to_owned(),
        lsn,
        timeline: primary.status.timeline,
        at_ms: mainstay_rt::clock::wall_ms(),
    };
    let object = archive.name(&format!("points/{name}"));
    match archive.put(&object, &point, &DataKey::draw()).await {
        // Somebody else took it meanwhile.
        Err(ArchiveError::Store(StoreError::Conflict { .. })) => Err(taken()),
        Ok(_) => Ok(point),
        Err(error) => Err(error.into()),
    }
}

/// Puts the history of a server's timeline into the archive; the first timeline has none.
///
/// # Errors
/// When the server or the stores cannot be asked.
pub async fn archive_history(
    archive: &Archive,
    server: &Place,
    timeline: Timeline,
) -> Result<(), MarkError> {
    let text = history_text(archive, server, timeline).await?;
    if !text.is_empty() {
        let object = archive.name(&format!("wal/{}", history_name(timeline)));
        let key = DataKey::draw();
        let put = archive.stores.put(&object, text.as_bytes(), &key);
        put.await.map_err(ArchiveError::from)?;
    }
    Ok(())
}

/// The timeline's history as the server has it; empty for the first.
///
/// # Errors
/// When the server cannot be asked.
pub async fn history_text(
    archive: &Archive,
    server: &Place,
    timeline: Timeline,
) -> Result<String, MarkError> {
    let path = format!("pg_wal/{}", history_name(timeline));
    let sql = format!("SELECT encode(pg_read_binary_file('{path}', 0, 1000000, true), 'hex')");
    let action = "read the timeline's history";
    let hex = value(&archive.programs, server, OWN_DATABASE, action, &sql).await?;
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .filter_map(|place| u8::from_str_radix(hex.get(2 * place..2 * place + 2)?, 16).ok())
        .collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(count: u64) -> Vec<MarkRecord> {
        let mut marks: Vec<MarkRecord> = Vec::new();
        for number in 1..=count {
            let before = marks.last().map(|mark| mark.digest.clone());
            let mut mark = MarkRecord {
                number,
                at_ms: number * 10,
                digest: String::new(),
                lsn: format!("0/{number:X}000"),
                totals: "{}".to_owned(),
            };
            mark.digest = digest(&before.unwrap_or_default(), &mark);
            marks.push(mark);
        }
        marks
    }

    #[test]
    fn a_missing_or_altered_mark_is_found() {
        let good = marks(5);
        assert!(check(&good).is_ok() && check(&good[2..]).is_ok() && check(&[]).is_ok());
        let mut hole = good.clone();
        hole.remove(2);
        assert!(check(&hole).is_err());
        let mut altered = good.clone();
        altered[3].totals = "{\"sum\":1}".to_owned();
        assert!(check(&altered).is_err());
        let mut reordered = good;
        reordered.swap(1, 2);
        assert!(check(&reordered).is_err());
    }
}
