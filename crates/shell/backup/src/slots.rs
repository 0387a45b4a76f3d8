//! Two slots on a server: how much of its log the server must keep for the archive.
//!
//! `pg_receivewal` has one of its own, which moves as soon as the log is in the spool. That is too soon: a spool can be lost with
//! its archiver. So there is a second, which moves only when a *store* has the log; until then the server keeps it. A receiver
//! that starts begins with a copy of the second.
//!
//! Standbys have the second as well, moved after the primary's: whichever of them is promoted has what no store has yet. What a
//! slot may hold back is bounded by `max_slot_wal_keep_size`, so that an archive that stands still never fills a server's disk: the
//! slot is lost then, and made anew. When `backup:` leaves the platform's file, the keepers drop both.

use mainstay_archive::SegmentSize;
use mainstay_record::backup::{KEPT_SLOT as KEPT, RECEIVED_SLOT as RECEIVED};
use mainstay_units::Lsn;

use crate::archive::Archive;
use crate::source::{OWN_DATABASE, Place, SourceError, ask};

/// For a walsender whose receiver is gone, until it has let go of the slot.
const LINGER_MS: u32 = 2_000;

/// Where a receiver is to begin.
pub struct Begun {
    /// So far the server has flushed.
    pub flushed: Lsn,
    /// From here on it keeps what the receiver needs.
    pub kept_from: Lsn,
}

/// Leaves the primary with a slot that a receiver can begin with.
///
/// Whoever still receives is ended: a receiver outlives an archiver that was killed. `anew`: after a hole nothing is kept for.
pub async fn begin(archive: &Archive, place: &Place, anew: bool) -> Result<Begun, SourceError> {
    let end = format!(
        "SELECT pg_terminate_backend(active_pid, {LINGER_MS}) FROM pg_replication_slots \
         WHERE slot_name IN ('{RECEIVED}', '{KEPT}') AND active_pid IS NOT NULL"
    );
    let programs = &archive.programs;
    let action = "end who received the log before";
    ask(programs, place, OWN_DATABASE, action, &end).await?;
    let drop = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active \
         AND (slot_name = '{RECEIVED}' OR slot_name = '{KEPT}' AND (wal_status = 'lost' OR {anew}))"
    );
    let action = "drop slots of no use";
    ask(programs, place, OWN_DATABASE, action, &drop).await?;
    let make = format!(
        "{MAKE}; SELECT pg_copy_physical_replication_slot('{KEPT}', '{RECEIVED}'); \
         SELECT pg_current_wal_flush_lsn(), restart_lsn FROM pg_replication_slots WHERE slot_name = '{RECEIVED}'"
    );
    let action = "make the slots";
    let rows = ask(programs, place, OWN_DATABASE, action, &make).await?;
    let places: Vec<Lsn> = rows.last().map_or(Vec::new(), |row| {
        row.iter().filter_map(|field| field.parse().ok()).collect()
    });
    match places[..] {
        [flushed, kept_from] => Ok(Begun { flushed, kept_from }),
        _ => Err(SourceError::Answer {
            action,
            answer: format!("{rows:?}"),
        }),
    }
}

const MAKE: &str = "SELECT pg_create_physical_replication_slot('mainstay_archive_kept', true) WHERE NOT EXISTS \
    (SELECT FROM pg_replication_slots WHERE slot_name = 'mainstay_archive_kept')";

/// A store has everything before `stored`: the server need not keep it. A slot that was lost begins anew.
pub async fn release(archive: &Archive, place: &Place, stored: Lsn) -> Result<(), SourceError> {
    let sql = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
         WHERE slot_name = '{KEPT}' AND wal_status = 'lost' AND NOT active; {MAKE}; \
         SELECT pg_replication_slot_advance(slot_name, '{stored}') FROM pg_replication_slots \
         WHERE slot_name = '{KEPT}' AND restart_lsn < '{stored}' AND NOT active"
    );
    let action = "let the server go of log that is put away";
    let asked = ask(&archive.programs, place, OWN_DATABASE, action, &sql);
    asked.await.map(drop)
}

/// Has a standby keep what its primary keeps. A store has everything before the position that is returned, in segments of that size:
/// whoever never was primary has not asked yet which archive it is.
pub async fn follow(
    archive: &Archive,
    primary: &Place,
    own: &Place,
) -> Result<Option<(Lsn, SegmentSize)>, SourceError> {
    let sql = format!(
        "SELECT restart_lsn, pg_size_bytes(current_setting('wal_segment_size')) FROM pg_replication_slots \
         WHERE slot_name = '{KEPT}' AND wal_status <> 'lost'"
    );
    let action = "ask what the primary keeps for the archive";
    let rows = ask(&archive.programs, primary, OWN_DATABASE, action, &sql).await?;
    let Some([kept, size]) = rows.first().map(Vec::as_slice) else {
        return Ok(None);
    };
    // It may keep nothing yet.
    let Ok(stored) = kept.parse::<Lsn>() else {
        return Ok(None);
    };
    let size = size
        .parse()
        .ok()
        .and_then(|bytes| SegmentSize::new(bytes).ok());
    let size = size.ok_or_else(|| SourceError::Answer {
        action,
        answer: format!("{rows:?}"),
    })?;
    release(archive, own, stored).await?;
    Ok(Some((stored, size)))
}

/// Drops the receiver's slot on a server that is not the primary.
pub async fn leave(archive: &Archive, place: &Place) -> Result<(), SourceError> {
    let sql = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
         WHERE slot_name = '{RECEIVED}' AND NOT active"
    );
    let action = "drop the slot of a server that is not primary";
    let asked = ask(&archive.programs, place, OWN_DATABASE, action, &sql);
    asked.await.map(drop)
}
