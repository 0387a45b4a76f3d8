//! A server, the page of a keeper, an archiver and two stores; everything but the keeper is the real thing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_record::backup::{
    BackupConfig, BackupLimits, BackupRetention, BackupSchedule, BackupServer, VERSION,
};
use mainstay_record::keeper::{CohortStatus, KeeperStatus, Sight, SightRole};
use mainstay_testkit::child::GuardedChild;
use mainstay_testkit::postgres::{Options, TemporaryServer, account};
use mainstay_testkit::wait::wait_for;
use mainstay_units::Lsn;

/// For what takes seconds on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The block of loopback addresses.
const NETWORK: u8 = 212;
pub const STORES: [&str; 2] = ["one", "two"];
pub const DATABASE: &str = "ledger";

pub struct Place {
    program: PathBuf,
    pub server: TemporaryServer,
    folder: tempfile::TempDir,
    config: BackupConfig,
    _keeper: Keeper,
}

/// How often the archiver makes and proves base backups.
#[derive(Clone, Copy)]
pub enum Schedule {
    /// One, proven once.
    OneProven,
    /// One after the other, each followed by retention; none is proven.
    OneAfterTheOther,
}

impl Place {
    pub fn new(program: &Path) -> Result<Self> {
        // Whatever no slot holds back is removed at the next checkpoint.
        let server = Options::default()
            .setting("wal_keep_size=0")
            .setting("min_wal_size=32MB")
            .setting("max_wal_size=64MB")
            .start(NETWORK)?;
        let roles = "CREATE ROLE mainstay SUPERUSER LOGIN; CREATE TABLE acknowledged (n bigint PRIMARY KEY)";
        server.psql("postgres", roles)?;
        let folder = tempfile::Builder::new()
            .prefix("ms-bc-")
            .tempdir_in("/tmp")?;
        let open = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(folder.path(), open.clone())?;
        let keeper = Keeper::start(&server)?;
        let config = config(&server, folder.path(), keeper.address)?;
        std::fs::create_dir(&config.run_folder)?;
        std::fs::set_permissions(&config.run_folder, open)?;
        let place = Self {
            program: program.to_owned(),
            server,
            folder,
            config,
            _keeper: keeper,
        };
        place.schedule(Schedule::OneProven)?;
        Ok(place)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn schedule(&self, schedule: Schedule) -> Result<()> {
        let mut config = self.config.clone();
        if let Schedule::OneAfterTheOther = schedule {
            (config.schedule.base_ms, config.schedule.proof_ms) = (1, 0);
        }
        let path = self.at("config.json");
        std::fs::write(path, serde_json::to_vec(&config)?)?;
        Ok(())
    }

    /// Killed when dropped.
    pub fn archiver(&self) -> Result<GuardedChild> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.at("archiver.log"))?;
        let mut command = Command::new(&self.program);
        command
            .args(["archiver", "--config"])
            .arg(self.at("config.json"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        GuardedChild::spawn(&mut command)
    }

    /// The end of what the archivers said.
    pub fn said(&self) -> String {
        let log = std::fs::read_to_string(self.at("archiver.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub fn wait_until_archived(&self, lsn: Lsn) -> Result<()> {
        let archived = wait_for("the log to be archived", PATIENCE, || {
            let state = std::fs::read(self.at("archiver/state.json")).ok()?;
            let state: serde_json::Value = serde_json::from_slice(&state).ok()?;
            let shipped: Lsn = state.get("shipped_lsn")?.as_str()?.parse().ok()?;
            (shipped >= lsn).then_some(())
        });
        archived.with_context(|| self.said())
    }

    /// A folder becomes a file: the store takes nothing and shows nothing.
    pub fn away(&self, store: &str) -> Result<()> {
        let path = self.at(store);
        std::fs::rename(&path, path.with_extension("away"))?;
        std::fs::write(path, "no folder")?;
        Ok(())
    }

    pub fn back(&self, store: &str) -> Result<()> {
        let path = self.at(store);
        std::fs::remove_file(&path)?;
        std::fs::rename(path.with_extension("away"), path)?;
        Ok(())
    }

    /// What a person would type who has nothing left but the stores and the key.
    pub fn restore(
        &self,
        stores: &[PathBuf],
        into: &Path,
        target: &str,
        backup: Option<&str>,
    ) -> Result<std::process::Output> {
        let mut command = Command::new(&self.program);
        command.args(["database", "restore", DATABASE, "--to", target]);
        for store in stores {
            command.arg("--store").arg(store);
        }
        if let Some(backup) = backup {
            command.args(["--backup", backup]);
        }
        command.arg("--key").arg(self.at("key"));
        command.arg("--into").arg(into);
        command.output().context("run the restore")
    }
}

fn config(server: &TemporaryServer, folder: &Path, sight: SocketAddr) -> Result<BackupConfig> {
    let at = |name: &str| folder.join(name);
    Ok(BackupConfig {
        version: VERSION,
        platform: "test".to_owned(),
        database: DATABASE.to_owned(),
        application: "postgres".to_owned(),
        host: "a".to_owned(),
        servers: vec![BackupServer {
            host: "a".to_owned(),
            sight,
            postgres: server.address(),
            local: None,
        }],
        folder: at("archiver"),
        run_folder: at("run"),
        key: at("key"),
        stores: STORES
            .iter()
            .map(|store| at(store).display().to_string())
            .collect(),
        store_options: Vec::new(),
        credentials: None,
        programs: None,
        user: account()?.map(|_| "postgres".to_owned()),
        password: at("password"),
        identity: None,
        schedule: BackupSchedule {
            base_ms: 86_400_000,
            proof_ms: 86_400_000,
            log_ms: 200,
        },
        retention: BackupRetention {
            period_ms: 1,
            count: 1,
        },
        limits: BackupLimits::default(),
        listen: None,
    })
}

/// Says of the server what its keeper would: the open primary of timeline 1.
struct Keeper {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Keeper {
    fn start(server: &TemporaryServer) -> Result<Self> {
        let listener = TcpListener::bind((server.address().ip(), 0))?;
        let address = listener.local_addr()?;
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let body = serde_json::to_string(&status())?;
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    break;
                }
                // Whoever asks asks again.
                connection.and_then(|c| answer(c, &body)).ok();
            }
        });
        Ok(Self {
            address,
            ends,
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        std::net::TcpStream::connect(self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn answer(mut connection: std::net::TcpStream, body: &str) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut request = [0; 4_096];
    let _ = connection.read(&mut request)?;
    write!(
        connection,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn status() -> KeeperStatus {
    KeeperStatus {
        version: 1,
        platform: "test".to_owned(),
        sight: Sight {
            version: 1,
            database: DATABASE.to_owned(),
            replica: 1,
            host: "a".to_owned(),
            region: "r".to_owned(),
            role: SightRole::Primary,
            term: 1,
            open: true,
            switchover: false,
            lease_remaining_ms: 1_000,
            lsn: "0/0".to_owned(),
            primary: Some("a".to_owned()),
            reason: "test".to_owned(),
        },
        paused: false,
        incarnation: String::new(),
        system_identifier: None,
        timeline: 1,
        promised_term: 1,
        promised_to: None,
        cohort: CohortStatus::default(),
        peers: Vec::new(),
        solo: None,
        losses: Vec::new(),
        seeding: None,
        postmaster: None,
        events: Vec::new(),
        parameters: None,
        lineage: 0,
        left_behind: 0,
        not_understood: Vec::new(),
        refill_ordered: false,
    }
}

/// One writer, one row after the other.
#[derive(Default)]
pub struct Writer {
    /// Where the log was when row 1, 2, … had been acknowledged.
    pub acknowledged: Vec<Lsn>,
    /// Rows that were written before there was a complete backup: their moments are out of reach.
    pub before_backup: u64,
}

impl Writer {
    /// A row, and where the log was after it.
    pub fn write(&mut self, server: &TemporaryServer) -> Result<()> {
        let row = self.acknowledged.len() + 1;
        let sql = format!(
            "BEGIN; INSERT INTO acknowledged VALUES ({row}); COMMIT; SELECT pg_current_wal_insert_lsn()"
        );
        let said = server.psql("postgres", &sql)?;
        let lsn = said.parse().ok().with_context(|| format!("{said:?}"))?;
        ensure!(self.acknowledged.last().is_none_or(|last| *last < lsn));
        self.acknowledged.push(lsn);
        Ok(())
    }

    pub fn rows(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    /// Rows that were acknowledged before a position.
    pub fn before(&self, lsn: Lsn) -> u64 {
        self.acknowledged.partition_point(|known| *known <= lsn) as u64
    }
}
