//! The data folder: how it is filled, what it says of itself, and how it is set aside.
//!
//! A folder is filled by initdb, pg_basebackup or pg_rewind, each of which leaves something unusable when
//! it is interrupted. So a *filling* mark stands beside the folder, durable, from before the first byte
//! until everything is on disk; a folder with the mark is broken, whatever it looks like. What is replaced
//! is moved aside first and never overwritten: it may be the last copy of something.
//!
//! A filled folder always contains `standby.signal`: any start, also a stray one, is a standby's.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_keeper::DataState;
use mainstay_record::keeper::SeedingStatus;
use mainstay_rt::files::Stamp;
use mainstay_units::{Incarnation, SystemIdentifier};
use tokio::sync::watch;

use crate::copying::{self, Copying, Trouble};
use crate::process;
use crate::programs::ProgramError;
use crate::replication::Server;
use crate::seed;
use crate::settings::{self, REPLICATION_ROLE, SUPERUSER, Stance};
use crate::setup::{Layout, Setup};
use crate::spare;

/// A standby that begins to stream begins at the start of a segment, whatever it has of it, and a promotion copies the segment it
/// ends in: both are waited for in every failover, and both are shorter with smaller segments than PostgreSQL's 16.
const SEGMENT_MIB: u32 = 4;

/// The file in the data folder that says which filling it is.
const INCARNATION_FILE: &str = "mainstay.incarnation";
const CONTROL_FILE: &str = "global/pg_control";
pub const STANDBY_SIGNAL: &str = "standby.signal";
/// The file by which the postmaster is told to promote.
pub const PROMOTE_SIGNAL: &str = "promote";
/// How many folders set aside are kept; older ones are removed.
const QUARANTINE_LIMIT: usize = 2;
const INITIALIZE_LIMIT: Duration = Duration::from_secs(120);
/// For pg_rewind, which replays the log of a server that crashed first and says nothing meanwhile.
const REWIND_LIMIT: Duration = Duration::from_secs(6 * 3_600);
const KILL_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{action} {}", path.display())]
    Folder {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(
        "{} has {room} bytes of room, and a copy of the data folder needs {needed}: make room",
        path.display()
    )]
    NoRoom {
        path: PathBuf,
        needed: u64,
        room: u64,
    },
    #[error(
        "fill {}: it has {room} bytes of room, and the copy needs {needed}; make room (what was moved aside lies in {})",
        path.display(), quarantine.display()
    )]
    TooSmall {
        path: PathBuf,
        quarantine: PathBuf,
        needed: u64,
        room: u64,
    },
    #[error("a process works in {} and cannot be ended", path.display())]
    Occupied { path: PathBuf },
    #[error("copy the data folder: {why}")]
    Copying { why: String },
    #[error("derive the stored form of a password")]
    Password,
    #[error("found the database from a restored folder: {why}")]
    Seed { why: String },
}

pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataError {
    let path = path.to_owned();
    move |source| DataError::Folder {
        action,
        path,
        source,
    }
}

/// What lies in the data folder.
pub fn state(setup: &Setup) -> DataState {
    let pgdata = &setup.layout.pgdata;
    let empty = match std::fs::read_dir(pgdata) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if empty {
        return DataState::Blank;
    }
    if setup.layout.filling.exists() {
        return DataState::Broken;
    }
    match system_identifier(pgdata) {
        Some(system_identifier) => DataState::Present {
            system_identifier,
            incarnation: incarnation(pgdata),
        },
        None => DataState::Broken,
    }
}

/// What lay in a whole folder when it was last read. Whatever makes it another (a filling, an emptying, a new number)
/// leaves the mark, another folder or another entry in it, or takes its control file away.
#[derive(Debug, Default)]
pub struct Remembered(Option<(Stamp, ControlFile, DataState)>);

impl Remembered {
    /// As [`state`], read again only where something was changed.
    pub fn state(&mut self, setup: &Setup) -> DataState {
        let pgdata = &setup.layout.pgdata;
        let now = Stamp::of(pgdata).ok().zip(control_file(pgdata));
        if let (Some((folder, control)), Some((known, of_control, state))) = (now, &self.0)
            && folder == *known
            && control == *of_control
            && !setup.layout.filling.exists()
        {
            return *state;
        }
        // The stamps were taken first: what changes meanwhile is read again the next time.
        let state = state(setup);
        // A failure to read is not remembered.
        let whole = matches!(
            state,
            DataState::Present {
                incarnation: Some(_),
                ..
            }
        );
        self.0 = now
            .filter(|_| whole)
            .map(|(folder, control)| (folder, control, state));
        state
    }
}

/// Which file it is, and how long: PostgreSQL writes it in place all the time.
type ControlFile = (u64, u64);

fn control_file(pgdata: &Path) -> Option<ControlFile> {
    let metadata = std::fs::metadata(pgdata.join(CONTROL_FILE)).ok()?;
    Some((metadata.ino(), metadata.len()))
}

/// The first eight bytes of `pg_control`, in the machine's order.
pub(crate) fn system_identifier(pgdata: &Path) -> Option<SystemIdentifier> {
    let mut bytes = [0; 8];
    let file = File::open(pgdata.join(CONTROL_FILE)).ok()?;
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some(SystemIdentifier(u64::from_ne_bytes(bytes)))
}

pub fn incarnation(pgdata: &Path) -> Option<Incarnation> {
    let text = std::fs::read_to_string(pgdata.join(INCARNATION_FILE)).ok()?;
    text.trim().parse().ok()
}

/// Creates the cluster with its roles and the application's database, or takes the restored folder that was laid down for it;
/// starts no server.
///
/// # Errors
/// When a program or the disk fails; the folder is then broken.
pub async fn initialize(
    setup: &Setup,
    incarnation: Incarnation,
) -> Result<SystemIdentifier, DataError> {
    begin_filling(setup).await?;
    if let Some(record) = seed::read(setup)? {
        return seed::found(setup, &record, incarnation).await;
    }
    set_aside(setup)?;
    let layout = &setup.layout;
    let password = layout.tools.join("initdb-password");
    mainstay_rt::files::write_atomic(&password, setup.secrets.superuser.as_bytes())
        .and_then(|()| setup.programs.give(&password))
        .map_err(at("write", &password))?;
    let arguments = [
        format!("--pgdata={}", layout.pgdata.display()),
        format!("--username={SUPERUSER}"),
        format!("--pwfile={}", password.display()),
        "--auth=scram-sha-256".to_owned(),
        "--data-checksums".to_owned(),
        "--encoding=UTF8".to_owned(),
        "--locale=C.UTF-8".to_owned(),
        // Everything is flushed at once, at the end.
        "--no-sync".to_owned(),
        "--no-instructions".to_owned(),
        format!("--wal-segsize={SEGMENT_MIB}"),
    ];
    let created = setup
        .programs
        .run("initdb", &arguments, None, INITIALIZE_LIMIT, |_| {})
        .await;
    std::fs::remove_file(&password).map_err(at("remove", &password))?;
    created?;
    write_settings(setup, &Stance::alone())?;
    create_roles(setup).await?;
    finish_filling(setup, incarnation)?;
    system_identifier(&layout.pgdata)
        .ok_or_else(|| at("read pg_control of", &layout.pgdata)(io::ErrorKind::InvalidData.into()))
}

/// PostgreSQL's own form of a password, for a statement.
pub(crate) fn stored(password: &str) -> Result<String, DataError> {
    let text = postgres_protocol::password::scram_sha_256(password.as_bytes());
    match text.contains('\'') {
        true => Err(DataError::Password),
        false => Ok(text),
    }
}

/// In single-user mode: before the first real start there is nobody to wait for.
async fn create_roles(setup: &Setup) -> Result<(), DataError> {
    let application = &setup.config.application;
    let script = format!(
        "CREATE ROLE {REPLICATION_ROLE} LOGIN REPLICATION PASSWORD '{}'\n\
         CREATE ROLE \"{}\" LOGIN PASSWORD '{}'\n\
         CREATE DATABASE \"{}\" OWNER \"{}\"\n",
        stored(&setup.secrets.replication)?,
        application.role,
        stored(&setup.secrets.application)?,
        application.database,
        application.role,
    );
    let arguments = [
        "--single".to_owned(),
        "-D".to_owned(),
        setup.layout.pgdata.display().to_string(),
        "-c".to_owned(),
        "exit_on_error=on".to_owned(),
        "-c".to_owned(),
        "synchronous_standby_names=".to_owned(),
        "-c".to_owned(),
        "fsync=off".to_owned(),
        "postgres".to_owned(),
    ];
    setup
        .programs
        .run(
            "postgres",
            &arguments,
            Some(&script),
            INITIALIZE_LIMIT,
            |_| {},
        )
        .await?;
    Ok(())
}

/// Fills the folder with a copy of another server's.
///
/// # Errors
/// When the source, the program or the disk fails; the folder is then broken.
pub async fn rebuild(
    setup: &Setup,
    source: &Server,
    source_name: &str,
    incarnation: Incarnation,
    progress: &watch::Sender<Option<SeedingStatus>>,
) -> Result<(), DataError> {
    spare::put_away(&setup.layout)?;
    begin_filling(setup).await?;
    set_aside(setup)?;
    let mut arguments = vec![
        format!("--pgdata={}", setup.layout.pgdata.display()),
        format!(
            "--dbname={}",
            conninfo(setup, source, REPLICATION_ROLE, "replication")
        ),
        "--wal-method=stream".to_owned(),
        "--checkpoint=fast".to_owned(),
        "--progress".to_owned(),
        "--no-sync".to_owned(),
    ];
    if let Some(rate) = setup.config.filling_rate_kib {
        arguments.push(format!("--max-rate={rate}k"));
    }
    let pgdata = &setup.layout.pgdata;
    let now = mainstay_rt::clock::now;
    let copying = RefCell::new(Copying::new(copying::room(pgdata), now()));
    let show = |line: &str| {
        if let Some((bytes, total)) = parse_progress(line) {
            copying.borrow_mut().note(bytes, total, now());
            progress.send_replace(Some(SeedingStatus {
                from: source_name.to_owned(),
                bytes,
                total_bytes: Some(total),
            }));
        }
    };
    show("0/0 kB");
    let copied = setup
        .programs
        .run_watched("pg_basebackup", &arguments, show, || {
            copying.borrow().trouble(now()).is_some()
        })
        .await;
    progress.send_replace(None);
    if let (Err(_), Some(Trouble::NoRoom { needed, room })) =
        (&copied, copying.borrow().trouble(now()))
    {
        return Err(DataError::TooSmall {
            path: pgdata.clone(),
            quarantine: setup.layout.quarantine.clone(),
            needed,
            room,
        });
    }
    copied?;
    write_settings(setup, &Stance::alone())?;
    finish_filling(setup, incarnation)
}

/// Brings the folder of a stopped server back to where the source's history left its own. It is of no use
/// yet: it becomes consistent only with log that the source has written since. Whoever wants to go back makes a copy of
/// the folder before.
///
/// # Errors
/// When the source, the program or the disk fails; the folder is then broken.
pub async fn rewind(setup: &Setup, source: &Server) -> Result<(), DataError> {
    begin_filling(setup).await?;
    let pgdata = &setup.layout.pgdata;
    keep_log(setup)?;
    let signal = pgdata.join(STANDBY_SIGNAL);
    if signal.exists() {
        // The recovery that pg_rewind runs first is not possible as a standby.
        std::fs::remove_file(&signal).map_err(at("remove", &signal))?;
    }
    let arguments = [
        format!("--target-pgdata={}", pgdata.display()),
        format!(
            "--source-server={}",
            conninfo(setup, source, SUPERUSER, "postgres")
        ),
        "--progress".to_owned(),
        "--no-sync".to_owned(),
    ];
    setup
        .programs
        .run("pg_rewind", &arguments, None, REWIND_LIMIT, |line| {
            tracing::debug!(line, "pg_rewind");
        })
        .await?;
    Ok(())
}

fn conninfo(setup: &Setup, source: &Server, user: &str, database: &str) -> String {
    let host = match source {
        Server::Socket(path) => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            let folder = settings::conninfo_quote(&folder.display().to_string());
            format!("host={folder}")
        }
        Server::Remote { at, name } => settings::address(*at, Some(&setup.proof_of(name))),
    };
    login(&host, user, database)
}

fn login(host: &str, user: &str, database: &str) -> String {
    let database = if database == "replication" {
        String::new()
    } else {
        format!(" dbname={database}")
    };
    format!(
        "{host} user={user}{database} application_name=mainstay_keeper \
         gssencmode=disable connect_timeout=2 tcp_user_timeout=5000 keepalives_idle=1 \
         keepalives_interval=1 keepalives_count=5"
    )
}

/// `12345/39000 kB (31%), 0/1 tablespace`, in bytes.
fn parse_progress(line: &str) -> Option<(u64, u64)> {
    let (numbers, _) = line.trim().split_once(" kB")?;
    let (done, total) = numbers.trim().split_once('/')?;
    Some((
        done.parse::<u64>().ok()? * 1_024,
        total.parse::<u64>().ok()? * 1_024,
    ))
}

/// Ends what somebody started by hand in the folder. It would go on under the name that the folder is moved to.
///
/// # Errors
/// When a process cannot be ended.
pub async fn clear(setup: &Setup) -> Result<(), DataError> {
    let path = setup.layout.pgdata.clone();
    if process::clear(&path, KILL_LIMIT).await {
        Ok(())
    } else {
        Err(DataError::Occupied { path })
    }
}

/// A mark that is there already stays as it is: it may say what lies in the folder.
async fn begin_filling(setup: &Setup) -> Result<(), DataError> {
    clear(setup).await?;
    let path = &setup.layout.filling;
    if path.exists() {
        return Ok(());
    }
    mainstay_rt::files::write_atomic(path, b"being filled\n").map_err(at("write", path))
}

/// Writes what every filled folder has, flushes all of it, and takes the mark away.
///
/// # Errors
/// Whatever the file system says; the folder then stays broken.
pub fn finish_filling(setup: &Setup, incarnation: Incarnation) -> Result<(), DataError> {
    let pgdata = &setup.layout.pgdata;
    put(
        setup,
        INCARNATION_FILE,
        format!("{incarnation}\n").as_bytes(),
    )?;
    put(setup, STANDBY_SIGNAL, b"")?;
    let folder = File::open(pgdata).map_err(at("open", pgdata))?;
    rustix::fs::syncfs(&folder).map_err(|error| at("flush", pgdata)(error.into()))?;
    let filling = &setup.layout.filling;
    std::fs::remove_file(filling).map_err(at("remove", filling))?;
    let folder = &setup.layout.folder;
    mainstay_rt::files::fsync_dir(folder).map_err(at("flush", folder))
}

/// Writes both configuration files whole, those that differ. They need not survive a crash of the machine,
/// which no server survives either: every start writes them first.
///
/// # Errors
/// Whatever the file system says.
pub fn write_settings(setup: &Setup, stance: &Stance) -> Result<(), DataError> {
    let application = &setup.config.application;
    let access = settings::access(stance, &application.role, &application.database);
    swap_changed(setup, "pg_hba.conf", access.as_bytes())?;
    let server = settings::server(&setup.fixed_settings(), stance);
    swap_changed(setup, "postgresql.conf", server.as_bytes())
}

/// Flushing would take the time of a commit, or of a checkpoint's writes, in the middle of a failover.
fn swap_changed(setup: &Setup, name: &str, content: &[u8]) -> Result<(), DataError> {
    let path = setup.layout.pgdata.join(name);
    match std::fs::read(&path) {
        Ok(present) if present == content => Ok(()),
        _ => mainstay_rt::files::swap_for(&path, content, |path| setup.programs.give(path))
            .map_err(at("write", &path)),
    }
}

/// What the configuration of a server that is already there says.
pub fn read_stance(setup: &Setup) -> Option<Stance> {
    let path = setup.layout.pgdata.join("postgresql.conf");
    settings::parse_stance(&std::fs::read_to_string(path).ok()?)
}

/// Puts a file into the data folder, durably, as the server's user's.
///
/// # Errors
/// Whatever the file system says.
pub fn put(setup: &Setup, name: &str, content: &[u8]) -> Result<(), DataError> {
    let path = setup.layout.pgdata.join(name);
    mainstay_rt::files::write_atomic_for(&path, content, |path| setup.programs.give(path))
        .map_err(at("write", &path))
}

/// Moves what lies in the data folder aside and makes an empty one for the server's user: a new filling
/// begins with nothing. The mark says which folder that is, so that what an interrupted filling has left is removed the
/// next time, and does not take the place of what was moved aside before it.
pub(crate) fn set_aside(setup: &Setup) -> Result<(), DataError> {
    let layout = &setup.layout;
    let pgdata = &layout.pgdata;
    if is_half_filled(layout) {
        std::fs::remove_dir_all(pgdata).map_err(at("remove what was half filled in", pgdata))?;
    } else if pgdata.exists() && std::fs::remove_dir(pgdata).is_err() {
        let target = layout
            .aside("data")
            .map_err(at("read", &layout.quarantine))?;
        std::fs::rename(pgdata, target).map_err(at("move aside", pgdata))?;
    }
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(pgdata)
        .and_then(|()| setup.programs.give(pgdata))
        .map_err(at("make", pgdata))?;
    let made = number(pgdata).map_err(at("look at", pgdata))?;
    let mark = format!("being filled\n{MADE}{made}\n");
    let filling = &layout.filling;
    mainstay_rt::files::write_atomic(filling, mark.as_bytes()).map_err(at("write", filling))?;
    trim_quarantine(setup)
}

/// In the mark, before the number of the folder that was made to be filled.
const MADE: &str = "made: ";

/// Whether the data folder is one that was made to be filled, and is not full yet.
fn is_half_filled(layout: &Layout) -> bool {
    let mark = std::fs::read_to_string(&layout.filling).unwrap_or_default();
    let made = mark
        .lines()
        .find_map(|line| line.strip_prefix(MADE)?.parse().ok());
    made.is_some() && made == number(&layout.pgdata).ok()
}

/// The file system's own number of a folder, which it keeps under another name.
fn number(folder: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(folder)?.ino())
}

/// Keeps the log segments that a rewind is about to overwrite: they may hold what was never acknowledged
/// but is worth reading.
fn keep_log(setup: &Setup) -> Result<(), DataError> {
    let layout = &setup.layout;
    let target = layout
        .aside("log")
        .map_err(at("read", &layout.quarantine))?;
    std::fs::create_dir_all(&target).map_err(at("make", &target))?;
    let source = layout.pgdata.join("pg_wal");
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&source)
        .map_err(at("read", &source))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    segments.sort_by_key(|path| {
        std::fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()
    });
    // The end of the log is what differs; it lies in the segments written last.
    let mut kept = 0;
    for segment in segments.iter().rev() {
        if kept >= LOG_BYTES_KEPT {
            break;
        }
        if let Some(name) = segment.file_name() {
            kept += std::fs::copy(segment, target.join(name)).map_err(at("copy", segment))?;
        }
    }
    trim_quarantine(setup)
}

/// Of the log before a rewind, in whole segments.
const LOG_BYTES_KEPT: u64 = 32 << 20;

fn trim_quarantine(setup: &Setup) -> Result<(), DataError> {
    let folder = &setup.layout.quarantine;
    for kind in ["-data", "-log"] {
        let mut kept: Vec<PathBuf> = std::fs::read_dir(folder)
            .map_err(at("read", folder))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with(kind))
            .collect();
        // Their names begin with the order in which they came.
        kept.sort();
        while kept.len() > QUARANTINE_LIMIT {
            let oldest = kept.remove(0);
            std::fs::remove_dir_all(&oldest).map_err(at("remove", &oldest))?;
        }
    }
    Ok(())
}

/// Makes PostgreSQL promote itself: the file is looked for when the postmaster gets SIGUSR1.
///
/// # Errors
/// Whatever the file system says.
pub fn write_promote_signal(setup: &Setup) -> Result<(), DataError> {
    let path = setup.layout.pgdata.join(PROMOTE_SIGNAL);
    File::create(&path)
        .and_then(|mut file| file.flush())
        .and_then(|()| setup.programs.give(&path))
        .map_err(at("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_what_pg_basebackup_writes() {
        let line = "  1234/39000 kB (3%), 0/1 tablespace";
        assert_eq!(parse_progress(line), Some((1_234 * 1_024, 39_000 * 1_024)));
        assert_eq!(parse_progress("waiting for checkpoint"), None);
    }

    #[test]
    fn a_connection_string_names_no_password() {
        let text = login("host=127.0.0.1 port=5", SUPERUSER, "postgres");
        assert!(text.starts_with("host=127.0.0.1 port=5 user=mainstay dbname=postgres"));
        assert!(!text.contains("password"));
        assert!(!login("host=a", SUPERUSER, "replication").contains("dbname"));
    }
}
