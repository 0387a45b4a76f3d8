//! A throw-away PostgreSQL server.
//!
//! PostgreSQL refuses to run as root, so under root its programs run as user `postgres` in a folder that belongs to that
//! user; otherwise they run as whoever runs the test. The server listens on a loopback address of its own, trusts
//! everybody there, and does not fsync: it is for tests of what is *in* a database, not of its durability (say
//! `durable(true)` for that). It is stopped by SIGQUIT to its postmaster, which takes all sessions with it.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::address::AddressBlock;
use crate::child::GuardedChild;
use crate::wait::wait_for;

/// The superuser of every throw-away server.
pub const SUPERUSER: &str = "postgres";
/// Creating a cluster and starting it take one or two seconds; many times that on an oversubscribed machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Who runs PostgreSQL's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub user: u32,
    pub group: u32,
}

/// The folder of PostgreSQL's server programs: `PG_BIN`, or the newest version below `/usr/lib/postgresql`.
pub fn programs() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("PG_BIN") {
        return Ok(folder.into());
    }
    let root = Path::new("/usr/lib/postgresql");
    let entries = std::fs::read_dir(root)
        .with_context(|| format!("look for PostgreSQL in {}", root.display()))?;
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| root.join(format!("{version}/bin/postgres")).exists())
        .max()
        .map(|version| root.join(format!("{version}/bin")))
        .with_context(|| {
            format!(
                "find a PostgreSQL server below {}; set PG_BIN",
                root.display()
            )
        })
}

/// The account for PostgreSQL's programs: `None` when this process is not root and may simply run them itself.
pub fn account() -> Result<Option<Account>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&"postgres"))
        .and_then(|fields| {
            Some(Account {
                user: fields.get(2)?.parse().ok()?,
                group: fields.get(3)?.parse().ok()?,
            })
        })
        .map(Some)
        .context("find user postgres in /etc/passwd: PostgreSQL does not run as root")
}

/// One of PostgreSQL's programs, to be run by the right account and without the caller's own PG* settings.
pub fn program(name: &str) -> Result<Command> {
    let mut command = Command::new(programs()?.join(name));
    for variable in [
        "PGHOST",
        "PGPORT",
        "PGUSER",
        "PGDATABASE",
        "PGPASSFILE",
        "PGPASSWORD",
        "PGDATA",
        "PGOPTIONS",
    ] {
        command.env_remove(variable);
    }
    command
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null());
    if let Some(account) = account()? {
        command.uid(account.user).gid(account.group);
    }
    Ok(command)
}

/// What differs from one throw-away server to the next.
#[derive(Debug, Default, Clone)]
pub struct Options {
    durable: bool,
    settings: Vec<String>,
}

impl Options {
    /// Whether commits reach the disk.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// One `name=value` of postgresql.conf.
    #[must_use]
    pub fn setting(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// Creates a cluster and starts its server on address `127.network.x.1` of a block claimed for it.
    pub fn start(self, network: u8) -> Result<TemporaryServer> {
        TemporaryServer::create(self, network)
    }
}

/// A running server with one empty database `postgres`; stopped and removed when dropped.
///
/// Fields are dropped in order: the server leaves before its folder and its address do.
#[derive(Debug)]
pub struct TemporaryServer {
    postmaster: GuardedChild,
    options: Options,
    address: SocketAddr,
    folder: tempfile::TempDir,
    _block: AddressBlock,
}

impl TemporaryServer {
    /// A server that does not fsync, in a block of `127.network.0.0/16`.
    pub fn start(network: u8) -> Result<Self> {
        Options::default().start(network)
    }

    fn create(options: Options, network: u8) -> Result<Self> {
        let block = AddressBlock::claim(network)?;
        let address = block.free_socket_address(1)?;
        let folder = tempfile::Builder::new()
            .prefix("ms-pg-")
            .tempdir_in("/tmp")
            .context("create a folder")?;
        if let Some(account) = account()? {
            std::os::unix::fs::chown(folder.path(), Some(account.user), Some(account.group))
                .context("give the folder to user postgres")?;
        }
        let output = program("initdb")?
            .args([
                "--no-sync",
                "--no-instructions",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .args(["--username", SUPERUSER, "--pgdata"])
            .arg(folder.path().join("data"))
            .output()
            .context("run initdb")?;
        ensure!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let postmaster = launch(&options, folder.path(), address)?;
        let mut server = Self {
            postmaster,
            options,
            address,
            folder,
            _block: block,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its Unix socket lies.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        self.folder.path()
    }

    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The postmaster, to be killed, frozen or waited for.
    pub fn postmaster(&mut self) -> &mut GuardedChild {
        &mut self.postmaster
    }

    /// What the server has logged since it was created.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A connection string in libpq's form for one of its databases.
    #[must_use]
    pub fn connection_string(&self, database: &str) -> String {
        format!(
            "host={} port={} user={SUPERUSER} dbname={database}",
            self.address.ip(),
            self.address.port()
        )
    }

    /// The environment by which a program finds it, as PostgreSQL's own programs expect it.
    #[must_use]
    pub fn environment(&self, database: &str) -> Vec<(String, String)> {
        let pairs = [
            ("PGHOST", self.address.ip().to_string()),
            ("PGPORT", self.address.port().to_string()),
            ("PGUSER", SUPERUSER.to_owned()),
            ("PGDATABASE", database.to_owned()),
        ];
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Runs SQL with psql, stopping at the first error; returns unaligned tuples, one row a line.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let output = program("psql")?
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
            ])
            .args([
                "--dbname",
                &self.connection_string(database),
                "--command",
                sql,
            ])
            .output()
            .context("run psql")?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    pub fn create_database(&self, name: &str) -> Result<()> {
        self.psql("postgres", &format!("CREATE DATABASE \"{name}\""))
            .map(drop)
    }

    /// A copy of a database that nobody is connected to.
    pub fn copy_database(&self, from: &str, to: &str) -> Result<()> {
        self.psql(
            "postgres",
            &format!("CREATE DATABASE \"{to}\" TEMPLATE \"{from}\""),
        )
        .map(drop)
    }

    /// Starts it again after it was killed, on the same address and data.
    pub fn restart(&mut self) -> Result<()> {
        self.postmaster.stop(Signal::QUIT, START_LIMIT)?;
        self.postmaster = launch(&self.options, self.folder.path(), self.address)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let mut ready = program("pg_isready")?;
        ready.args(["--quiet", "--dbname", &self.connection_string("postgres")]);
        let postmaster = &mut self.postmaster;
        let answer = wait_for("PostgreSQL to accept connections", START_LIMIT, || {
            let accepts = ready.status().is_ok_and(|status| status.success());
            (accepts || postmaster.exited().is_some()).then_some(accepts)
        });
        match answer {
            Ok(true) => Ok(()),
            Ok(false) => bail!("PostgreSQL left while starting: {}", self.log()),
            Err(error) => Err(error.context(self.log())),
        }
    }
}

fn launch(options: &Options, folder: &Path, address: SocketAddr) -> Result<GuardedChild> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .context("open the log")?;
    let mut command = program("postgres")?;
    command.arg("-D").arg(folder.join("data"));
    let fsync = if options.durable {
        "fsync=on"
    } else {
        "fsync=off"
    };
    let fixed = [
        format!("listen_addresses={}", address.ip()),
        format!("port={}", address.port()),
        format!("unix_socket_directories={}", folder.display()),
        "shared_buffers=32MB".to_owned(),
        fsync.to_owned(),
    ];
    for setting in fixed.iter().chain(&options.settings) {
        command.args(["-c", setting]);
    }
    command
        .stdout(log.try_clone().context("share the log")?)
        .stderr(log);
    Ok(GuardedChild::spawn(&mut command)?.ending_with(Signal::QUIT))
}
