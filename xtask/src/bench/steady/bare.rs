//! Three servers as a person sets them up by hand: a primary, two standbys, commits on two disks. Nobody looks after
//! them. The log goes to the standbys through wires, as it does between the regions of a platform on one machine.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{DATABASE, Entrance};
use crate::platform::{now, pause};
use crate::step::postgres_programs;
use crate::wires::{Door, Wire};

const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// Addresses of this comparison alone; platforms live elsewhere in the loopback network.
const ADDRESSES: [&str; 3] = ["127.231.1.1", "127.231.1.2", "127.231.1.3"];
/// Where each standby knocks for the primary.
const DOORS: [&str; 2] = ["127.231.2.1", "127.231.2.2"];
const PORT: u16 = 5432;

/// Stopped and removed when dropped.
pub struct Bare {
    folder: PathBuf,
    servers: Vec<Child>,
    wires: Vec<Wire>,
    pub entrance: Entrance,
}

impl Bare {
    pub fn start(settings: &[(String, String)]) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("mainstay-bare-{}", std::process::id()));
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        give(&folder)?;
        let password_file = folder.join("pgpass");
        let mut bare = Self {
            entrance: Entrance {
                host: ADDRESSES[0].to_owned(),
                port: PORT,
                password_file,
            },
            folder,
            servers: Vec::new(),
            wires: Vec::new(),
        };
        let primary = bare.folder.join("0");
        run(program("initdb")?
            .args(["--data-checksums", "--no-instructions", "--auth=trust"])
            // As keepers make theirs.
            .arg("--wal-segsize=4")
            .args(["--encoding=UTF8", "--username=postgres", "--pgdata"])
            .arg(&primary))?;
        append(
            &primary.join("pg_hba.conf"),
            "host all all 127.0.0.0/8 trust\nhost replication all 127.0.0.0/8 trust\n",
        )?;
        let kept: String = settings
            .iter()
            .map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")))
            .collect();
        append(&primary.join("postgresql.conf"), &kept)?;
        bare.launch(&primary, 0, "")?;
        bare.ask("postgres", "CREATE ROLE application LOGIN SUPERUSER")?;
        bare.ask(
            "postgres",
            &format!("CREATE DATABASE {DATABASE} OWNER application"),
        )?;
        for (at, door) in (1..).zip(DOORS) {
            bare.wires.push(wire(&bare.folder, door, at)?);
            let standby = bare.folder.join(at.to_string());
            run(program("pg_basebackup")?
                .args(["--dbname", &way(door, settings)?])
                .args(["--checkpoint=fast", "--write-recovery-conf"])
                .args(["--wal-method=stream", "--pgdata"])
                .arg(&standby))?;
            // By this name a standby calls itself where nobody gave its stream another.
            bare.launch(&standby, at, &format!("cluster_name = 'bare{at}'\n"))?;
        }
        // Last, as whoever sets it before there is a standby waits for ever.
        append(
            &primary.join("postgresql.conf"),
            "synchronous_standby_names = 'ANY 1 (bare1, bare2)'\n",
        )?;
        bare.ask("postgres", "SELECT pg_reload_conf()")?;
        bare.wait("both standbys", || {
            let streaming = "SELECT count(*) FROM pg_stat_replication JOIN pg_stat_ssl USING (pid) \
                WHERE sync_state = 'quorum' AND ssl";
            bare.ask("postgres", streaming)
                .is_ok_and(|said| said.trim() == "2")
        })?;
        Ok(bare)
    }

    fn launch(&mut self, data: &Path, at: usize, more: &str) -> Result<()> {
        let own = format!(
            "listen_addresses = '{}'\nport = {PORT}\nunix_socket_directories = ''\n{more}",
            ADDRESSES[at]
        );
        append(&data.join("postgresql.conf"), &own)?;
        let log = std::fs::File::create(self.folder.join(format!("{at}.log")))?;
        // Each in a session of its own, as a keeper's: the kernel shares processors out among sessions, and a server that
        // stood in that of `pgbench` would get another part of them.
        let server = program_by("setsid".into())?
            .arg(postgres_programs()?.join("postgres"))
            .arg("-D")
            .arg(data)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start postgres")?;
        self.servers.push(server);
        self.wait("a server", || {
            program("pg_isready")
                .and_then(|mut ready| {
                    let to = [
                        "--quiet",
                        "--host",
                        ADDRESSES[at],
                        "--port",
                        &PORT.to_string(),
                    ];
                    Ok(ready.args(to).status()?.success())
                })
                .unwrap_or(false)
        })
    }

    /// What the servers said last.
    fn logs(&self) -> String {
        let last = |at: usize| {
            let log = std::fs::read_to_string(self.folder.join(format!("{at}.log")));
            let log = log.unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(5).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        (0..self.servers.len())
            .map(last)
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn ask(&self, database: &str, sql: &str) -> Result<String> {
        run(program("psql")?
            .args([
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "--username=postgres",
            ])
            .args(["--host", ADDRESSES[0], "--port", &PORT.to_string()])
            .args(["--dbname", database, "--command", sql]))
    }

    fn wait(&self, what: &str, condition: impl Fn() -> bool) -> Result<()> {
        let started = now();
        while !condition() {
            if started.elapsed() > START_LIMIT {
                bail!("{what}: not within {START_LIMIT:?}; {}", self.logs());
            }
            pause(POLL);
        }
        Ok(())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // An immediate shutdown: nothing here is worth a checkpoint.
            let told = Command::new("kill")
                .args(["-QUIT", &server.id().to_string()])
                .status();
            if !told.is_ok_and(|status| status.success()) {
                server.kill().ok();
            }
            server.wait().ok();
        }
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// From a standby to the primary, as a keeper's: the log travels encrypted, and both sides prove who they are.
fn way(door: &str, settings: &[(String, String)]) -> Result<String> {
    let setting = |name: &str| {
        let found = settings.iter().find(|(known, _)| known == name);
        let value = found.map(|(_, value)| value.as_str());
        value.with_context(|| format!("the keeper's server does not tell its {name}"))
    };
    let (roots, own) = (setting("ssl_ca_file")?, setting("ssl_cert_file")?);
    let key = setting("ssl_key_file")?;
    Ok(format!(
        "host={door} port={PORT} user=postgres sslmode=verify-ca sslrootcert='{roots}' sslcert='{own}' sslkey='{key}' \
         ssl_min_protocol_version=TLSv1.3 gssencmode=disable tcp_user_timeout=3000 keepalives_idle=1 \
         keepalives_interval=1 keepalives_count=3"
    ))
}

fn wire(folder: &Path, door: &str, at: usize) -> Result<Wire> {
    let door = Door {
        listen: SocketAddr::new(door.parse()?, PORT),
        target: SocketAddr::new(ADDRESSES[0].parse()?, PORT),
        node: format!("bare{at}"),
    };
    Wire::start(folder, &format!("wire{at}"), &[door], 0)
}

/// As whoever may run a server: never root.
fn program(name: &str) -> Result<Command> {
    program_by(postgres_programs()?.join(name))
}

fn program_by(path: PathBuf) -> Result<Command> {
    let mut command = Command::new(path);
    command
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null());
    if let Some((user, group)) = owner()? {
        command.uid(user).gid(group);
    }
    Ok(command)
}

/// User and group `postgres` for root; nobody else needs them.
fn owner() -> Result<Option<(u32, u32)>> {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let fields = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&"postgres"))
        .context("there is no user postgres, and servers do not run as root")?;
    let number = |at: usize| -> Result<u32> {
        Ok(fields
            .get(at)
            .context("a short line in /etc/passwd")?
            .parse()?)
    };
    Ok(Some((number(2)?, number(3)?)))
}

fn give(folder: &Path) -> Result<()> {
    if let Some((user, group)) = owner()? {
        std::os::unix::fs::chown(folder, Some(user), Some(group))?;
    }
    Ok(())
}

fn append(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(path)
        .with_context(|| path.display().to_string())?;
    Ok(file.write_all(text.as_bytes())?)
}

fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("start {name}"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
