//! Whether the disk is alive: a small file, written and flushed every two seconds.
//!
//! A disk that hangs hangs whoever touches it, so the one who finds out is a thread that does nothing else,
//! and the others only look at its clock: when it began the write that has not ended. The same thread asks how
//! much room is left: a full disk takes a write over what is there already.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mainstay_keeper::Serviceability;

use crate::commands::chain;
use crate::setup::Setup;

const PERIOD: Duration = Duration::from_secs(2);
/// A write that takes longer is missing. Generous: a busy disk is not a dead one.
const LIMIT: Duration = Duration::from_secs(5);
/// Less room than this is hardly any: three segments of log.
const ROOM: u64 = 48 * 1024 * 1024;
const BYTES: [u8; 4_096] = [0x55; 4_096];

#[derive(Debug, Default)]
pub struct Pulse {
    /// When the write under way began, in nanoseconds of the boot-time clock; zero between writes.
    since: AtomicU64,
    /// The last write was refused because the file system is read-only.
    refused: AtomicBool,
    full: AtomicBool,
}

impl Pulse {
    /// Beside the data folder, on the same file system.
    pub fn start(setup: &Setup) -> Arc<Self> {
        let folder = setup.layout.pgdata.parent().unwrap_or(Path::new("/"));
        let path = folder.join(format!("pulse-{}", setup.config.database));
        let wal = setup.layout.pgdata.join("pg_wal");
        let pulse = Arc::new(Self::default());
        let own = Arc::clone(&pulse);
        let started = std::thread::Builder::new()
            .name("pulse".to_owned())
            .spawn(move || own.beat(&path, &wal));
        if let Err(error) = started {
            tracing::error!(error = chain(&error), "nobody feels the disk's pulse");
        }
        pulse
    }

    fn beat(&self, path: &PathBuf, wal: &Path) {
        loop {
            let now = mainstay_rt::clock::now().as_nanos();
            // The first of a row of failures counts.
            let _ = self
                .since
                .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
            match write(path) {
                Ok(()) => self.since.store(0, Ordering::Relaxed),
                // The clock goes on: a disk that refuses is as good as one that hangs.
                Err(error) => {
                    let refused = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
                    self.refused.store(refused, Ordering::Relaxed);
                    tracing::error!(error = chain(&error), "the disk refuses to write");
                }
            }
            let room = [path.parent(), Some(wal)]
                .into_iter()
                .flatten()
                .filter_map(room)
                .min();
            let full = room.is_some_and(|room| room < ROOM);
            if full != self.full.swap(full, Ordering::Relaxed) {
                tracing::warn!(full, room, "room on the disk");
            }
            std::thread::park_timeout(PERIOD);
        }
    }

    /// What is wrong with the disk, if anything.
    pub fn finding(&self) -> Option<Serviceability> {
        let since = self.since.load(Ordering::Relaxed);
        let since = mainstay_units::Instant::from_nanos(since);
        let missing = since != mainstay_units::Instant::ZERO
            && mainstay_rt::clock::now().since(since) > LIMIT;
        if missing && self.refused.load(Ordering::Relaxed) {
            return Some(Serviceability::ReadOnly);
        }
        let full = self.full.load(Ordering::Relaxed);
        match (missing, full) {
            (true, _) => Some(Serviceability::DeadDisk),
            (false, true) => Some(Serviceability::DiskFull),
            (false, false) => None,
        }
    }
}

/// What an ordinary user may still write, in bytes.
fn room(folder: &Path) -> Option<u64> {
    let state = rustix::fs::statvfs(folder).ok()?;
    Some(state.f_bavail.saturating_mul(state.f_frsize))
}

fn write(path: &PathBuf) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.write_all_at(&BYTES, 0)?;
    file.sync_data()
}
