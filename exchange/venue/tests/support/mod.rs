//! Real servers and venues for tests: started in folders of their own, on loopback addresses of their own, and stopped
//! by process number whatever way a test ends.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    reason = "a test whose servers cannot be driven has failed"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use exchange_venue::clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

/// Addresses of this crate's tests.
pub const HOST: &str = "127.203.1.1";
pub const CELL: &str = "cell";

/// Waits until `check` gives something, at most `limit`.
pub fn until<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let started_ns = clock::boot_ns();
    loop {
        if let Some(value) = check() {
            return value;
        }
        let waited = Duration::from_nanos(clock::boot_ns() - started_ns);
        assert!(waited < limit, "{what}: not within {limit:?}");
        pause();
    }
}

fn pause() {
    let pause = rustix::thread::Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    let _ = rustix::thread::nanosleep(&pause);
}

pub fn free_port() -> u16 {
    TcpListener::bind((HOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The folder of PostgreSQL's server programs: `PG_BIN`, or the newest that is installed.
pub fn postgres_programs() -> Option<PathBuf> {
    if let Ok(folder) = std::env::var("PG_BIN") {
        return Some(PathBuf::from(folder));
    }
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            path.join("bin/initdb")
                .exists()
                .then_some((version, path.join("bin")))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, folder)| folder)
}

/// The user that servers run as when the tests run as root.
fn server_user() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .expect("a user postgres");
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

fn program(name: &str) -> Command {
    let mut command = Command::new(
        postgres_programs()
            .expect("PostgreSQL's server programs")
            .join(name),
    );
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command
}

pub struct Server {
    folder: tempfile::TempDir,
    pub port: u16,
    process: Option<Child>,
}

impl Server {
    /// A fresh server with a database for the cell and a role for the venue.
    pub fn create() -> Self {
        let server = Self::folder();
        let made = program("initdb")
            .args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(server.data())
            .status();
        assert!(made.unwrap().success(), "initdb");
        let mut server = server;
        server.start();
        server.sql("create role venue login");
        server.sql("create database cell owner venue");
        server
    }

    fn folder() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("venue-test")
            .tempdir()
            .unwrap();
        if let Some((user, group)) = server_user() {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        Self {
            folder,
            port: free_port(),
            process: None,
        }
    }

    /// A standby of this server that has caught up; `name` is what the primary knows it by.
    pub fn standby(&self, name: &str) -> Self {
        let mut standby = Self::folder();
        let source = format!(
            "host={HOST} port={} user=postgres application_name={name}",
            self.port
        );
        let copied = program("pg_basebackup")
            .args(["--no-sync", "-c", "fast", "-R", "-d", &source, "-D"])
            .arg(standby.data())
            .status();
        assert!(copied.unwrap().success(), "pg_basebackup");
        standby.start();
        standby
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn start(&mut self) {
        assert!(self.process.is_none(), "one server per folder");
        let port = self.port.to_string();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        // After a kill the shared memory of the old life may be in use until its last backend has noticed.
        self.process = Some(until("the server starts", Duration::from_secs(30), || {
            let mut process = program("postgres")
                .arg("-D")
                .arg(self.data())
                .args([
                    "-c",
                    &format!("listen_addresses={HOST}"),
                    "-p",
                    &port,
                    "-c",
                    "unix_socket_directories=",
                ])
                .args([
                    "-c",
                    "wal_retrieve_retry_interval=100ms",
                    "-c",
                    "restart_after_crash=off",
                    "-c",
                    "fsync=off",
                ])
                .stderr(log.try_clone().unwrap())
                .spawn()
                .unwrap();
            loop {
                if TcpStream::connect((HOST, self.port)).is_ok() && self.answers() {
                    return Some(process);
                }
                if process.try_wait().unwrap().is_some() {
                    return None;
                }
                pause();
            }
        }));
    }

    fn answers(&self) -> bool {
        self.try_query("select 1").is_ok()
    }

    pub fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("a running server");
        kill_process(Pid::from_child(process), signal).unwrap();
    }

    /// Kills the postmaster the hard way, or stops the server at once in order (`Signal::QUIT`).
    pub fn stop(&mut self, signal: Signal) {
        self.signal(signal);
        let mut process = self.process.take().unwrap();
        process.wait().unwrap();
    }

    fn try_query(&self, sql: &str) -> Result<Vec<tokio_postgres::Row>, tokio_postgres::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let config = format!(
            "host={HOST} port={} user=postgres dbname=postgres",
            self.port
        );
        let config = if sql.contains("exchange.") {
            config.replace("dbname=postgres", "dbname=cell")
        } else {
            config
        };
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
            tokio::spawn(connection);
            client.query(sql, &[]).await
        })
    }

    pub fn query(&self, sql: &str) -> Vec<tokio_postgres::Row> {
        self.try_query(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub fn sql(&self, sql: &str) {
        self.query(sql);
    }

    /// Makes commits wait for the standby of this name; for none with an empty one.
    pub fn wait_for(&self, standby: &str) {
        self.sql(&format!(
            "alter system set synchronous_standby_names = '{standby}'"
        ));
        self.sql("select pg_reload_conf()");
    }

    pub fn count(&self, sql: &str) -> i64 {
        self.query(sql)[0].get(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let pid = Pid::from_child(process);
            let _ = kill_process(pid, Signal::CONT);
            let _ = kill_process(pid, Signal::QUIT);
            for _ in 0..1_000 {
                if matches!(process.try_wait(), Ok(Some(_))) {
                    return;
                }
                pause();
            }
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

pub struct Venue {
    pub address: SocketAddr,
    process: Child,
    log: tempfile::NamedTempFile,
}

impl Venue {
    pub fn start(server: &Server, instance: &str) -> Self {
        Self::start_with(server, instance, None)
    }

    pub fn start_with(server: &Server, instance: &str, lease: Option<&Path>) -> Self {
        let address: SocketAddr = format!("{HOST}:{}", free_port()).parse().unwrap();
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_exchange-venue"));
        command
            .env("PGHOST", HOST)
            .env("PGPORT", server.port.to_string())
            .env("PGUSER", "venue")
            .env("PGDATABASE", "cell")
            .env("MAINSTAY_CELL", CELL)
            .env("MAINSTAY_INSTANCE", instance)
            .env("MAINSTAY_LISTEN", address.to_string())
            .env("MAINSTAY_LOG_FORMAT", "text")
            .stdin(Stdio::null())
            .stderr(log.reopen().unwrap());
        if let Some(lease) = lease {
            command.env("MAINSTAY_LEASE_FILE", lease);
        }
        let process = command.spawn().unwrap();
        until("the venue listens", Duration::from_secs(60), || {
            TcpStream::connect(address).ok()
        });
        Self {
            address,
            process,
            log,
        }
    }

    pub fn active(server: &Server, instance: &str) -> Self {
        let venue = Self::start(server, instance);
        venue.wait_active();
        venue
    }

    pub fn wait_active(&self) -> Value {
        until("the venue becomes active", Duration::from_secs(60), || {
            let ready = self.get("/health/ready");
            (ready.status == 200).then_some(ready.body)
        })
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM; returns whether it ended well.
    pub fn terminate(&mut self) -> bool {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        until("the venue drains", Duration::from_secs(15), || {
            self.process.try_wait().unwrap()
        })
        .success()
    }

    pub fn get(&self, path: &str) -> Answer {
        Client::new(self.address)
            .request(&format!(
                "GET {path} HTTP/1.1\r\nhost: venue\r\nconnection: close\r\n\r\n"
            ))
            .unwrap()
    }

    pub fn of_cell(&self, path: &str) -> Answer {
        self.get(&format!("/v1/cells/{CELL}/{path}"))
    }

    pub fn post(&self, kind: &str, body: &Value) -> Answer {
        Client::new(self.address).post(kind, body).unwrap()
    }

    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text;
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!(
                "the venue's log:\n{}",
                std::fs::read_to_string(self.log.path()).unwrap_or_default()
            );
        }
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub text: String,
    pub body: Value,
}

impl Answer {
    pub fn outcome(&self) -> &str {
        self.body["outcome"].as_str().unwrap_or("none")
    }

    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("none")
    }
}

/// One connection.
pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
        }
    }

    pub fn post(&mut self, kind: &str, body: &Value) -> std::io::Result<Answer> {
        self.post_with(kind, body, "")
    }

    /// Sends and does not wait.
    pub fn send(&mut self, kind: &str, body: &Value) -> std::io::Result<()> {
        self.ask(&post_of(kind, body, ""))
    }

    /// Sends a whole request and does not wait.
    pub fn ask(&mut self, request: &str) -> std::io::Result<()> {
        self.connected()?.write_all(request.as_bytes())
    }

    /// `headers` are whole lines.
    pub fn post_with(
        &mut self,
        kind: &str,
        body: &Value,
        headers: &str,
    ) -> std::io::Result<Answer> {
        self.request(&post_of(kind, body, headers))
    }

    fn connected(&mut self) -> std::io::Result<&mut TcpStream> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            self.stream = Some(stream);
        }
        self.stream
            .as_mut()
            .ok_or_else(|| std::io::ErrorKind::NotConnected.into())
    }

    pub fn request(&mut self, request: &str) -> std::io::Result<Answer> {
        self.ask(request)?;
        self.receive()
    }

    /// Reads one answer.
    pub fn receive(&mut self) -> std::io::Result<Answer> {
        let stream = self.connected()?;
        let mut read = Vec::new();
        let mut chunk = [0; 65_536];
        loop {
            let count = stream.read(&mut chunk)?;
            if count == 0 {
                self.stream = None;
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            read.extend_from_slice(&chunk[..count]);
            let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let whole = end + 4 + length.unwrap_or(0);
            if read.len() < whole {
                continue;
            }
            let text = String::from_utf8_lossy(&read[end + 4..whole]).into_owned();
            let status = head[9..12].parse().unwrap();
            if head.contains("connection: close") {
                self.stream = None;
            }
            let body = serde_json::from_str(&text).unwrap_or(Value::Null);
            return Ok(Answer {
                status,
                head,
                text,
                body,
            });
        }
    }
}

fn post_of(kind: &str, body: &Value, headers: &str) -> String {
    let text = body.to_string();
    let length = text.len();
    format!(
        "POST /v1/cells/{CELL}/{kind} HTTP/1.1\r\nhost: venue\r\n{headers}content-length: {length}\r\n\r\n{text}"
    )
}

pub fn soon() -> u64 {
    clock::wall_ms() + 60_000
}

pub fn deposit(account: u64, reference: u64, asset: &str, amount: &str) -> Value {
    json!({"account": account, "reference": reference, "asset": asset, "amount": amount, "deadline_ms": soon()})
}

pub fn limit(account: u64, reference: u64, side: &str, price: &str, quantity: &str) -> Value {
    json!({"account": account, "reference": reference, "instrument": "BTC-USD", "side": side, "type": "limit",
        "price": price, "quantity": quantity, "deadline_ms": soon()})
}

pub fn cancel(account: u64, reference: u64, target: u64) -> Value {
    json!({"account": account, "reference": reference, "target_reference": target, "deadline_ms": soon()})
}
