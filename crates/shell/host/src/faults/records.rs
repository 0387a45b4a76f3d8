//! The papers of faults: `DATA/faults/ID.json`.
//!
//! Several may write the same record (its guardian, a sweep, a command), and none may hold a lock while
//! it does, since it might be frozen. So doing an undo step twice is harmless, and that a fault is to be over
//! does not stand in its record, where another writer would put back what he had read before: it is said by a
//! file of its own, `DATA/faults/ID.over`, which is only ever made.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_record::process::{FaultRecord, FaultState, FaultStatus, FaultUndo, VERSION};
use mainstay_rt::{clock, files};
use mainstay_units::Instant;

use crate::identity;

const FILE_LIMIT: u64 = 4 << 20;
/// Records kept of faults that are over.
const KEPT: usize = 32;
/// How long a fault that was never set down is known to be over.
const WORD_KEPT: Duration = Duration::from_secs(2 * 3_600);
/// Records read at once; old ones beyond that are history.
const RECORD_LIMIT: usize = 10_000;

fn folder(data: &Path) -> PathBuf {
    data.join("faults")
}

pub(crate) fn path_of(data: &Path, id: &str) -> PathBuf {
    folder(data).join(format!("{id}.json"))
}

/// The record as it was published, which nobody writes again: what is to be undone stands in it, should the other one be damaged.
fn first_path(path: &Path) -> PathBuf {
    path.with_extension("first")
}

fn over_path(data: &Path, id: &str) -> PathBuf {
    path_of(data, id).with_extension("over")
}

/// Says for good that a fault is to be over, also to whoever is about to write its record or to set it.
pub(crate) fn end(data: &Path, id: &str) -> io::Result<()> {
    std::fs::create_dir_all(folder(data))?;
    match files::publish_new(&over_path(data, id), b"") {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether somebody said that a fault is to be over.
pub(crate) fn is_to_end(data: &Path, id: &str) -> bool {
    over_path(data, id).exists()
}

/// The data folder of a record's path.
pub(crate) fn data_of(record: &Path) -> Option<&Path> {
    record.parent()?.parent()
}

pub(crate) fn read(path: &Path) -> io::Result<FaultRecord> {
    let record: FaultRecord = serde_json::from_slice(&files::read_limited(path, FILE_LIMIT)?)?;
    if record.version != VERSION {
        let problem = format!(
            "fault record version {} is not known here, only {VERSION}",
            record.version
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(record)
}

pub(crate) fn write(data: &Path, record: &FaultRecord) -> io::Result<()> {
    files::write_atomic(
        &path_of(data, &record.id),
        &serde_json::to_vec_pretty(record)?,
    )
}

/// A new record; refused if the id was used before.
pub(crate) fn publish(data: &Path, record: &FaultRecord) -> io::Result<()> {
    std::fs::create_dir_all(folder(data))?;
    let path = path_of(data, &record.id);
    let bytes = serde_json::to_vec_pretty(record)?;
    files::publish_new(&path, &bytes)?;
    files::write_atomic(&first_path(&path), &bytes)
}

/// A record, or what it was at first where it cannot be read: a fault whose record is damaged holds on until its time is over, or
/// until somebody ends it.
fn read_or_first(path: &Path) -> io::Result<FaultRecord> {
    let error = match read(path) {
        Ok(record) => return Ok(record),
        Err(error) => error,
    };
    let first = read(&first_path(path)).map_err(|_| error)?;
    tracing::warn!(path = %path.display(), "a fault record is damaged; it is taken as it was at first");
    Ok(first)
}

/// Notes that everything is as it was.
pub(crate) fn close(data: &Path, record: &mut FaultRecord) -> io::Result<()> {
    record.state = FaultState::Undone;
    record.undone_wall_ms = Some(clock::wall_ms());
    write(data, record)
}

/// All records that can be read, oldest first.
pub(crate) fn all(data: &Path) -> Vec<FaultRecord> {
    let Ok(entries) = std::fs::read_dir(folder(data)) else {
        return Vec::new();
    };
    let mut records: Vec<FaultRecord> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .take(RECORD_LIMIT)
        .filter_map(|path| match read_or_first(&path) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a fault record cannot be read");
                None
            }
        })
        .collect();
    records.sort_by(|one, other| {
        (one.injected_wall_ms, &one.id).cmp(&(other.injected_wall_ms, &other.id))
    });
    records
}

/// Forgets the oldest of those that are over: the journal has their story.
pub(crate) fn prune(data: &Path) {
    let over: Vec<FaultRecord> = all(data)
        .into_iter()
        .filter(|record| record.state == FaultState::Undone)
        .collect();
    for record in over.iter().rev().skip(KEPT) {
        let path = path_of(data, &record.id);
        for path in [
            path.with_extension("log"),
            first_path(&path),
            over_path(data, &record.id),
            path,
        ] {
            // Another node may have been faster.
            std::fs::remove_file(path).ok();
        }
    }
    forget_words(data);
}

/// What was said of faults that were never set down, when nobody can be about to set them any more.
fn forget_words(data: &Path) {
    let entries = std::fs::read_dir(folder(data)).into_iter().flatten();
    for entry in entries.flatten() {
        let path = entry.path();
        let made = entry.metadata().and_then(|metadata| metadata.modified());
        let age = made.ok().and_then(|made| made.elapsed().ok());
        let is_word = path.extension().is_some_and(|end| end == "over");
        if is_word
            && !path.with_extension("json").exists()
            && age.is_some_and(|age| age > WORD_KEPT)
        {
            std::fs::remove_file(path).ok();
        }
    }
}

/// The record of a fault, also of one that is over.
pub fn find(data: &Path, id: &str) -> Option<FaultRecord> {
    read_or_first(&path_of(data, id)).ok()
}

pub(crate) fn remaining(record: &FaultRecord, now: Instant) -> Duration {
    Instant::from_nanos(record.deadline_boottime_ns) - now
}

/// Whether the fault is to hold now, as far as its record and everybody's words say.
pub(crate) fn holds(data: &Path, record: &FaultRecord, now: Instant, boot_id: &str) -> bool {
    record.state != FaultState::Undone
        && record.boot_id == boot_id
        && !remaining(record, now).is_zero()
        && !is_to_end(data, &record.id)
}

/// Faults that are set, or may be, with the time they have left.
pub fn in_force(data: &Path) -> Vec<FaultStatus> {
    let now = clock::now();
    let open = all(data)
        .into_iter()
        .filter(|record| record.state != FaultState::Undone);
    open.map(|record| FaultStatus {
        remaining_ms: super::millis(remaining(&record, now)),
        guardian_alive: record.guardian.is_some_and(identity::is_alive),
        id: record.id,
        kind: record.kind,
        target: record.target,
        parameters: record.parameters,
        state: record.state,
        injected_wall_ms: record.injected_wall_ms,
        problem: record.problem,
    })
    .collect()
}

/// The fault that says that a host is crashed now. Nobody starts its node or its processes meanwhile.
pub fn host_down(data: &Path, host: &str) -> Option<FaultRecord> {
    let launch = super::scope::launch_path(data, host);
    let now = clock::now();
    let boot_id = clock::boot_id().ok()?;
    all(data).into_iter().find(|record| {
        let starts = |step: &FaultUndo| matches!(step, FaultUndo::StartNode { launch: path } if *path == launch);
        holds(data, record, now, &boot_id) && record.undo.iter().any(starts)
    })
}

/// Instances (`HOST/NAME`) of a host that a fault holds down now.
pub fn instances_down(data: &Path, host: &str) -> BTreeSet<String> {
    let Ok(boot_id) = clock::boot_id() else {
        return BTreeSet::new();
    };
    let now = clock::now();
    let held = all(data)
        .into_iter()
        .filter(|record| holds(data, record, now, &boot_id));
    let steps = held.flat_map(|record| record.undo);
    let names = steps.filter_map(|step| match step {
        FaultUndo::Release { instance } => Some(instance),
        FaultUndo::HealWire { .. }
        | FaultUndo::Thaw { .. }
        | FaultUndo::ThawHost { .. }
        | FaultUndo::StartNode { .. }
        | FaultUndo::End { .. } => None,
    });
    let here = |name: &String| name.split('/').next() == Some(host);
    names.filter(here).collect()
}

#[cfg(test)]
mod tests {
    use mainstay_record::process::{FaultKind, FaultParameters};

    use super::*;

    /// What holds an instance and a host down does so until its time is over or somebody ends it, whatever becomes of its record.
    #[test]
    fn a_damaged_record_lifts_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path();
        let launch = crate::faults::scope::launch_path(data, "a");
        let instance = "a/keeper-ledger".to_owned();
        let record = FaultRecord {
            version: VERSION,
            id: "f1".to_owned(),
            kind: FaultKind::HostCrash,
            target: "a".to_owned(),
            parameters: FaultParameters::default(),
            injected_wall_ms: clock::wall_ms(),
            deadline_boottime_ns: (clock::now() + Duration::from_secs(600)).as_nanos(),
            deadline_wall_ms: clock::wall_ms() + 600_000,
            boot_id: clock::boot_id().expect("a boot"),
            state: FaultState::Prepared,
            undo: vec![
                FaultUndo::StartNode { launch },
                FaultUndo::Release {
                    instance: instance.clone(),
                },
            ],
            guardian: None,
            problem: None,
            set_wall_ms: None,
            undone_wall_ms: None,
        };
        publish(data, &record).expect("published");
        let holds = || {
            let host = host_down(data, "a").is_some();
            let held = instances_down(data, "a").contains(&instance);
            assert_eq!(host, held);
            host
        };
        assert!(holds());
        std::fs::write(path_of(data, "f1"), "{").expect("damaged");
        assert!(holds(), "it is damaged, and not over");
        assert_eq!(in_force(data).len(), 1);
        end(data, "f1").expect("ended");
        assert!(!holds());
    }
}
