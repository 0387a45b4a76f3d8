//! Whether the disk is alive: a small file, written and flushed every two seconds.
//!
//! A disk that hangs hangs whoever touches it, so the one who finds out is a thread that does nothing else,
//! and the others only look at its clock: when it began the write that has not ended.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::commands::chain;
use crate::setup::Setup;

const PERIOD: Duration = Duration::from_secs(2);
/// A write that takes longer is missing. Generous: a busy disk is not a dead one.
const LIMIT: Duration = Duration::from_secs(5);
const BYTES: [u8; 4_096] = [0x55; 4_096];

#[derive(Debug, Default)]
pub struct Pulse {
    /// When the write under way began, in nanoseconds of the boot-time clock; zero between writes.
    since: AtomicU64,
}

impl Pulse {
    /// Beside the data folder, on the same file system.
    pub fn start(setup: &Setup) -> Arc<Self> {
        let folder = setup.layout.pgdata.parent().unwrap_or(Path::new("/"));
        let path = folder.join(format!("pulse-{}", setup.config.database));
        let pulse = Arc::new(Self::default());
        let own = Arc::clone(&pulse);
        let started = std::thread::Builder::new()
            .name("pulse".to_owned())
            .spawn(move || own.beat(&path));
        if let Err(error) = started {
            tracing::error!(error = chain(&error), "nobody feels the disk's pulse");
        }
        pulse
    }

    fn beat(&self, path: &PathBuf) {
        loop {
            let now = mainstay_rt::clock::now().as_nanos();
            // The first of a row of failures counts.
            let _ = self
                .since
                .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
            match write(path) {
                Ok(()) => self.since.store(0, Ordering::Relaxed),
                // The clock goes on: a disk that refuses is as good as one that hangs.
                Err(error) => tracing::error!(error = chain(&error), "the disk refuses to write"),
            }
            std::thread::park_timeout(PERIOD);
        }
    }

    /// A write has been under way, or failing, for too long.
    pub fn is_missing(&self) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        let since = mainstay_units::Instant::from_nanos(since);
        since != mainstay_units::Instant::ZERO && mainstay_rt::clock::now().since(since) > LIMIT
    }
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
