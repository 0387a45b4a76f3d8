//! Whether the disks are alive: a small file on each, written and flushed every two seconds.
//!
//! A disk that hangs hangs whoever touches it, so the one who finds out is a thread that does nothing else: one for
//! the data, and one for the log, which may lie on a disk of its own. The others only look at their clocks: when the
//! beat began that has not ended. A beat is all that touches the disk, also the question where the file is and how
//! much room is left: a full disk takes a write over what is there already.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mainstay_keeper::Serviceability;
use mainstay_units::Instant;

use crate::commands::chain;
use crate::setup::Setup;

const PERIOD: Duration = Duration::from_secs(2);
/// A beat that takes longer is missing. Generous: a busy disk is not a dead one.
const LIMIT: Duration = Duration::from_secs(5);
/// Less room than this is hardly any: three segments of log.
const ROOM: u64 = 48 * 1024 * 1024;
const BYTES: [u8; 4_096] = [0x55; 4_096];
/// In a folder of the server's. By the beginning of its name base backups leave it out.
const INSIDE: &str = "pgsql_tmp.pulse";

#[derive(Debug, Default)]
pub struct Pulse {
    data: Disk,
    log: Disk,
}

impl Pulse {
    pub fn start(setup: &Setup) -> Arc<Self> {
        let pgdata = &setup.layout.pgdata;
        let name = format!("pulse-{}", setup.config.database);
        let places = Arc::new(Places {
            pgdata: pgdata.clone(),
            beside: pgdata.parent().unwrap_or(Path::new("/")).join(name),
        });
        let pulse = Arc::new(Self::default());
        feel("pulse-data", &pulse, &places, |pulse, places| {
            pulse.data.beat(now(), || places.of_data());
        });
        feel("pulse-log", &pulse, &places, |pulse, places| {
            pulse.log.beat(now(), || places.of_log());
        });
        pulse
    }

    /// What is wrong with the disks, if anything.
    pub fn finding(&self) -> Option<Serviceability> {
        self.finding_at(now())
    }

    /// The worst of both: what a server can live with is told last.
    fn finding_at(&self, now: Instant) -> Option<Serviceability> {
        let found = [self.data.finding(now), self.log.finding(now)];
        let mut found = found.into_iter().flatten();
        found
            .clone()
            .find(|finding| !finding.is_ailment())
            .or(found.next())
    }
}

/// A thread of one disk: what hangs on the other one does not delay it.
fn feel(name: &str, pulse: &Arc<Pulse>, places: &Arc<Places>, beat: fn(&Pulse, &Places)) {
    let (pulse, places) = (Arc::clone(pulse), Arc::clone(places));
    let started = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            loop {
                beat(&pulse, &places);
                std::thread::park_timeout(PERIOD);
            }
        });
    if let Err(error) = started {
        tracing::error!(error = chain(&error), name, "nobody feels the disk's pulse");
    }
}

fn now() -> Instant {
    mainstay_rt::clock::now()
}

/// What lies where.
struct Places {
    pgdata: PathBuf,
    /// The file beside the data folder, which may be empty or away.
    beside: PathBuf,
}

impl Places {
    /// The file to write for the data: beside the folder, or in it where it is a file system of its own.
    fn of_data(&self) -> io::Result<Option<PathBuf>> {
        // A folder that is empty must stay so: it is one to be filled.
        if self.pgdata.join("PG_VERSION").try_exists()? && is_mounted(&self.pgdata)? {
            return Ok(Some(self.pgdata.join(INSIDE)));
        }
        Ok(Some(self.beside.clone()))
    }

    /// The file to write for the log, where it does not lie with the data.
    fn of_log(&self) -> io::Result<Option<PathBuf>> {
        let named = self.pgdata.join("pg_wal");
        match std::fs::symlink_metadata(&named) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        // A link to what is not there is a disk that is not there.
        let real = named.canonicalize()?;
        let with_data = real.starts_with(self.pgdata.canonicalize()?) && !is_mounted(&real)?;
        Ok((!with_data).then(|| real.join(INSIDE)))
    }
}

/// Whether it lies on another file system than the folder above it.
fn is_mounted(folder: &Path) -> io::Result<bool> {
    let above = std::fs::metadata(folder.parent().unwrap_or(Path::new("/")))?;
    Ok(std::fs::metadata(folder)?.dev() != above.dev())
}

/// What is known of one disk.
#[derive(Debug, Default)]
struct Disk {
    /// When the beat under way began, in nanoseconds of the boot-time clock; zero between beats.
    since: AtomicU64,
    /// The last write was refused because the file system is read-only.
    refused: AtomicBool,
    full: AtomicBool,
}

impl Disk {
    /// Once, wherever the file is found to lie.
    fn beat(&self, now: Instant, find: impl FnOnce() -> io::Result<Option<PathBuf>>) {
        // The first of a row of failures counts.
        let began =
            self.since
                .compare_exchange(0, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
        match find().and_then(|file| file.as_deref().map_or(Ok(None), write)) {
            Ok(room) => {
                if began.is_err() {
                    tracing::info!("the disk takes writes again");
                }
                self.refused.store(false, Ordering::Relaxed);
                self.note_full(room.is_some_and(|room| room < ROOM), room);
                self.since.store(0, Ordering::Relaxed);
            }
            // It answers, and says what is wrong.
            Err(error) if is_lack_of_room(&error) => {
                self.refused.store(false, Ordering::Relaxed);
                self.note_full(true, None);
                self.since.store(0, Ordering::Relaxed);
            }
            // The clock goes on: a disk that refuses is as good as one that hangs.
            Err(error) => {
                let refused = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
                self.refused.store(refused, Ordering::Relaxed);
                tracing::error!(error = chain(&error), "the disk refuses to write");
            }
        }
    }

    fn note_full(&self, full: bool, room: Option<u64>) {
        if full != self.full.swap(full, Ordering::Relaxed) {
            tracing::warn!(full, room, "room on the disk");
        }
    }

    fn finding(&self, now: Instant) -> Option<Serviceability> {
        let since = Instant::from_nanos(self.since.load(Ordering::Relaxed));
        let missing = since != Instant::ZERO && now.since(since) > LIMIT;
        if missing && self.refused.load(Ordering::Relaxed) {
            return Some(Serviceability::ReadOnly);
        }
        match (missing, self.full.load(Ordering::Relaxed)) {
            (true, _) => Some(Serviceability::DeadDisk),
            (false, true) => Some(Serviceability::DiskFull),
            (false, false) => None,
        }
    }
}

fn is_lack_of_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// What an ordinary user may still write, in bytes.
fn room(folder: &Path) -> Option<u64> {
    let state = rustix::fs::statvfs(folder).ok()?;
    Some(state.f_bavail.saturating_mul(state.f_frsize))
}

/// Writes the file, and says how much room is left beside it.
fn write(path: &Path) -> io::Result<Option<u64>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.write_all_at(&BYTES, 0)?;
    file.sync_data()?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let (own, above) = (file.metadata()?, std::fs::metadata(folder)?);
    if own.uid() != above.uid() {
        // PostgreSQL's tools run as its user. Who may not give a file away is that user.
        fchown(&file, Some(above.uid()), Some(above.gid())).ok();
    }
    Ok(room(folder))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const SOON: Duration = Duration::from_secs(4);
    const LATE: Duration = Duration::from_secs(6);
    /// Set in the process that has a file system of its own to try things on.
    const STAGE: &str = "MAINSTAY_PULSE_STAGE";

    /// A data folder as a server has it.
    fn places(folder: &Path) -> Places {
        let pgdata = folder.join("pgdata");
        std::fs::create_dir_all(pgdata.join("pg_wal")).unwrap();
        std::fs::write(pgdata.join("PG_VERSION"), "15\n").unwrap();
        Places {
            beside: folder.join("pulse-orders"),
            pgdata,
        }
    }

    /// Lets the log lie in another folder.
    fn part(places: &Places, log: &Path) {
        let named = places.pgdata.join("pg_wal");
        std::fs::create_dir_all(log).unwrap();
        std::fs::remove_dir(&named).unwrap();
        std::os::unix::fs::symlink(log, named).unwrap();
    }

    fn beat(pulse: &Pulse, places: &Places) {
        pulse.data.beat(now(), || places.of_data());
        pulse.log.beat(now(), || places.of_log());
    }

    fn wait(what: &str, mut look: impl FnMut() -> bool) {
        let limit = Duration::from_secs(10);
        mainstay_testkit::wait::wait_for(what, limit, || look().then_some(())).unwrap();
    }

    fn make_fifo(path: &Path) {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
    }

    /// A beat that hangs in `file`, which is a pipe that nobody reads, is a dead disk after a while, and no longer
    /// when a beat passes again. `hurt` says which of the two disks it is.
    fn check_hung(places: Places, file: &Path, hurt: fn(&Pulse) -> &Disk) {
        make_fifo(file);
        let (pulse, places) = (Arc::new(Pulse::default()), Arc::new(places));
        feel("pulse-data", &pulse, &places, |pulse, places| {
            pulse.data.beat(now(), || places.of_data());
        });
        feel("pulse-log", &pulse, &places, |pulse, places| {
            pulse.log.beat(now(), || places.of_log());
        });
        let begun = |disk: &Disk| disk.since.load(Ordering::Relaxed) != 0;
        wait("the beat to hang", || begun(hurt(&pulse)));
        wait("the other disk to beat", || {
            begun(&pulse.data) != begun(&pulse.log)
        });
        assert_eq!(pulse.finding_at(now() + SOON), None);
        let dead = Some(Serviceability::DeadDisk);
        assert_eq!(pulse.finding_at(now() + LATE), dead);
        // Whoever waits for the pipe is let go, and finds a file the next time.
        let reader = OpenOptions::new().read(true).open(file).unwrap();
        std::fs::remove_file(file).unwrap();
        drop(reader);
        wait("a beat", || !begun(hurt(&pulse)));
        assert_eq!(hurt(&pulse).finding(now() + LATE), None);
        assert_eq!(std::fs::read(file).unwrap(), BYTES);
    }

    #[test]
    fn a_disk_that_hangs_is_dead_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let file = places.beside.clone();
        check_hung(places, &file, |pulse| &pulse.data);
    }

    #[test]
    fn a_disk_of_the_log_that_hangs_is_found_though_the_data_lie_well() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let log = folder.path().join("log");
        part(&places, &log);
        check_hung(places, &log.join(INSIDE), |pulse| &pulse.log);
    }

    #[test]
    fn the_log_has_a_pulse_of_its_own_where_it_lies_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let (pulse, log) = (Pulse::default(), folder.path().join("log"));
        beat(&pulse, &places);
        let inside = places.pgdata.join("pg_wal").join(INSIDE);
        assert!(places.beside.exists() && !inside.exists());
        part(&places, &log);
        beat(&pulse, &places);
        assert!(log.join(INSIDE).exists());
        assert_eq!(pulse.finding_at(now() + LATE), None);
        // Its disk is taken away: the link leads nowhere.
        std::fs::rename(&log, folder.path().join("away")).unwrap();
        beat(&pulse, &places);
        let dead = Some(Serviceability::DeadDisk);
        assert_eq!(pulse.finding_at(now() + LATE), dead);
        // The whole folder is taken away, to be filled anew: there is no log to look at.
        std::fs::remove_dir_all(&places.pgdata).unwrap();
        beat(&pulse, &places);
        assert_eq!(pulse.finding_at(now() + LATE), None);
    }

    /// The kernel's own full device: what is written to it does not fit.
    #[test]
    fn a_full_disk_is_full_and_not_dead() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let pulse = Pulse::default();
        std::os::unix::fs::symlink("/dev/full", &places.beside).unwrap();
        beat(&pulse, &places);
        let full = Some(Serviceability::DiskFull);
        assert_eq!(pulse.finding_at(now()), full);
        assert_eq!(pulse.finding_at(now() + LATE), full);
        std::fs::remove_file(&places.beside).unwrap();
        beat(&pulse, &places);
        assert_eq!(pulse.finding_at(now() + LATE), None);
    }

    /// What a server cannot live with outranks what it can, whichever disk it is found on.
    #[test]
    fn the_worse_finding_of_two_disks_is_told() {
        let (good, refused) = (|| Ok(None), io::ErrorKind::ReadOnlyFilesystem);
        let pulse = Pulse::default();
        pulse
            .data
            .beat(now(), || Err(io::ErrorKind::StorageFull.into()));
        pulse.log.beat(now(), || Err(refused.into()));
        assert_eq!(pulse.finding_at(now()), Some(Serviceability::DiskFull));
        let later = now() + LATE;
        assert_eq!(pulse.finding_at(later), Some(Serviceability::ReadOnly));
        pulse.log.beat(now(), || Err(io::Error::other("broken")));
        assert_eq!(pulse.finding_at(later), Some(Serviceability::DeadDisk));
        pulse.log.beat(now(), good);
        assert_eq!(pulse.finding_at(later), Some(Serviceability::DiskFull));
        pulse.data.beat(now(), good);
        assert_eq!(pulse.finding_at(later), None);
    }

    /// In a process that may mount: a small file system, which is nearly full from the beginning, becomes read-only
    /// and is made writable again, once as the disk of the data and once as that of the log.
    #[test]
    fn a_file_system_of_its_own_is_felt() {
        if let Some(folder) = std::env::var_os(STAGE) {
            let folder = PathBuf::from(folder);
            for mounted in ["pgdata", "pgdata/pg_wal"] {
                play_mounted(&folder.join(mounted.replace('/', "-")), mounted);
            }
            return;
        }
        let unshare = || {
            let mut unshare = Command::new("unshare");
            unshare.args(["--user", "--map-root-user", "--mount"]);
            unshare
        };
        let folder = tempfile::tempdir().unwrap();
        let tried = unshare()
            .args(["mount", "-t", "tmpfs", "none"])
            .arg(folder.path())
            .output();
        if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
            println!("LEFT OUT: this machine permits no file system of one's own: {tried:?}");
            return;
        }
        let name = "pulse::tests::a_file_system_of_its_own_is_felt";
        let played = unshare()
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(STAGE, folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&played.stdout);
        assert!(played.status.success(), "{played:?}");
        assert!(said.contains("1 passed"), "{said}");
    }

    fn play_mounted(folder: &Path, mounted: &str) {
        let point = folder.join(mounted);
        std::fs::create_dir_all(&point).unwrap();
        let mount = |options: &str| {
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", options, "none"]);
            assert!(mount.arg(&point).status().unwrap().success());
        };
        mount("size=64m");
        let (places, pulse) = (places(folder), Pulse::default());
        beat(&pulse, &places);
        assert!(point.join(INSIDE).exists(), "it beats in {mounted}");
        assert_eq!(pulse.finding_at(now() + LATE), None);
        mount("remount,size=32m");
        beat(&pulse, &places);
        let full = Some(Serviceability::DiskFull);
        assert_eq!(pulse.finding_at(now() + LATE), full);
        mount("remount,ro");
        beat(&pulse, &places);
        assert_eq!(pulse.finding_at(now()), full);
        let refused = Some(Serviceability::ReadOnly);
        assert_eq!(pulse.finding_at(now() + LATE), refused);
        mount("remount,rw,size=64m");
        beat(&pulse, &places);
        assert_eq!(pulse.finding_at(now() + LATE), None);
    }
}
