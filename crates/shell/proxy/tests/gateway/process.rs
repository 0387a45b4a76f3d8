//! The gateway as a process of its own (this test program, started again), and clients that talk to it.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::fakes::{Instance, Keeper, Ledger, pause, primary, read_body, read_head, until};

pub const ENTRY: &str = "MAINSTAY_TEST_GATEWAY_CONFIG";

/// A gateway process that does not outlive its test.
pub struct Gateway {
    child: Child,
}

impl Gateway {
    pub fn start(config: &Path) -> Self {
        let child = Command::new(std::env::current_exe().expect("own path"))
            .args([
                "--exact",
                "process_entry",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(ENTRY, config)
            .env(
                "MAINSTAY_LOG",
                std::env::var("MAINSTAY_LOG").unwrap_or_else(|_| "error".to_owned()),
            )
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        Self { child }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("pid");
        rustix::process::kill_process(pid, signal).expect("signal");
    }

    /// Returns when the process stands still: the signal takes effect when its threads are next scheduled.
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
        until("every thread stands still", || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("threads");
            threads.flatten().all(|thread| {
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(')')
                    .is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
            })
        });
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        let mut code = None;
        until("the gateway ends", || {
            code = self.child.try_wait().expect("wait");
            code.is_some()
        });
        code.and_then(|status| status.code())
    }

    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three hosts a, b, c, each with a keeper and an instance, and one gateway before them.
pub struct Platform {
    pub keepers: Vec<Keeper>,
    pub instances: Vec<Instance>,
    pub ledger: Arc<Mutex<Ledger>>,
    pub folder: tempfile::TempDir,
    pub net: u8,
}

const HOSTS: [&str; 3] = ["a", "b", "c"];

impl Platform {
    /// `net` keeps parallel tests apart: everything lives in 127.205.NET.0/24.
    pub fn new(net: u8) -> Self {
        let ledger = Arc::default();
        let at = |host: usize, port: u16| format!("127.205.{net}.{}:{port}", host + 1);
        Self {
            keepers: (0..3)
                .map(|h| Keeper::start(&at(h, 7433), HOSTS[h]))
                .collect(),
            instances: (0..3)
                .map(|h| Instance::start(&at(h, 7000), &ledger))
                .collect(),
            ledger,
            folder: tempfile::tempdir().expect("folder"),
            net,
        }
    }

    /// As `new`, with host `a` primary and active in term 1.
    pub fn with_primary(net: u8) -> Self {
        let platform = Self::new(net);
        platform.promote(0, 1);
        platform
    }

    /// What happens at the end of a failover.
    pub fn promote(&self, host: usize, term: u32) {
        self.keepers[host].says(primary(term));
        self.instances[host].activate(term, u64::from(term));
    }

    pub fn http(&self) -> String {
        format!("127.205.{}.9:8080", self.net)
    }

    pub fn sql(&self) -> String {
        format!("127.205.{}.9:6432", self.net)
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("gateway.json")
    }

    pub fn write_config(&self, change: impl FnOnce(&mut serde_json::Value)) -> PathBuf {
        let net = self.net;
        let at = |host: usize, port: u16| format!("127.205.{net}.{}:{port}", host + 1);
        let instances: Vec<_> = (0..3)
            .map(|h| serde_json::json!({"name": format!("{}/venue", HOSTS[h]), "host": HOSTS[h], "region": HOSTS[h],
                "address": at(h, 7000), "readiness_path": "/health/ready"}))
            .collect();
        let replicas: Vec<_> = (0..3)
            .map(|h| {
                serde_json::json!({"host": HOSTS[h], "region": HOSTS[h],
                "sight_address": at(h, 7433), "postgres_address": at(h, 5432)})
            })
            .collect();
        let mut config = serde_json::json!({
            "version": 1, "generation": 1, "gateway": "front", "host": "a", "region": "a", "workers": 1,
            "run_folder": self.folder.path(),
            "listeners": {
                "http": [{"name": "public", "address": self.http(), "routes": [
                    {"name": "cells", "path_prefix": "/v1/cells", "idempotency_header": "Idempotency-Key",
                     "hold": {"max_wait_ms": 10000},
                     "target": {"cell": {"key": {"path_part": 2},
                        "cells": [{"values": ["us"], "database": "us", "service": "venue"}]}}},
                    {"name": "equal", "path_prefix": "/equal", "target": {"service": "venue"}}]}],
                "tcp": [{"name": "sql", "address": self.sql(), "database": "us", "role": "primary"}]},
            "services": [{"name": "venue", "instances": instances}],
            "databases": [{"name": "us", "replicas": replicas}],
            "limits": {}
        });
        change(&mut config);
        let path = self.config_path();
        std::fs::write(&path, config.to_string()).expect("config");
        path
    }

    pub fn start(&self) -> Gateway {
        self.start_with(|_| {})
    }

    pub fn start_with(&self, change: impl FnOnce(&mut serde_json::Value)) -> Gateway {
        let gateway = Gateway::start(&self.write_config(change));
        self.wait_for_listeners();
        gateway
    }

    pub fn wait_for_listeners(&self) {
        until("the gateway listens", || {
            let socket = self.folder.path().join("gateway-front.sock");
            TcpStream::connect(self.http()).is_ok() && UnixStream::connect(socket).is_ok()
        });
    }

    pub fn effects(&self, key: &str) -> u32 {
        crate::fakes::locked(&self.ledger)
            .effects
            .get(key)
            .copied()
            .unwrap_or(0)
    }

    pub fn attempts(&self, key: &str) -> u32 {
        crate::fakes::locked(&self.ledger)
            .attempts
            .get(key)
            .copied()
            .unwrap_or(0)
    }

    /// A request to the control socket.
    pub fn control(&self, method: &str, path: &str) -> (u16, String) {
        let socket = self.folder.path().join("gateway-front.sock");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        let method = http::Method::try_from(method).expect("method");
        let asked =
            mainstay_rt::http::request_unix(&socket, method, path, vec![], Duration::from_secs(60));
        let (status, body) = runtime.block_on(asked).expect("control answers");
        (status.as_u16(), String::from_utf8_lossy(&body).into_owned())
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.control("GET", "/v1/status").1).expect("status")
    }

    /// A figure of `/metrics` that has no labels.
    pub fn figure(&self, name: &str) -> f64 {
        let page = self.control("GET", "/metrics").1;
        let wanted = format!("mainstay_gateway_{name}{{}} ");
        let mut lines = page.lines();
        let line = lines.find_map(|line| line.strip_prefix(&wanted));
        let line = line.unwrap_or_else(|| panic!("{name} in\n{page}"));
        line.parse().expect("a number")
    }

    pub fn view(&self) -> String {
        self.status()["cells"][0]["view"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// A client's connection, kept alive between its requests.
pub struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
    pub allow: Option<String>,
    pub closes: bool,
    pub body: String,
}

impl Answer {
    pub fn code(&self) -> String {
        let value: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        value["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Client {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("connects");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("timeout");
        let reader = BufReader::new(stream.try_clone().expect("clone"));
        Self { stream, reader }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sends");
    }

    /// The first line of an answer, whose body is not read.
    pub fn head(&mut self) -> String {
        read_head(&mut self.reader).expect("a head").line
    }

    pub fn read(&mut self) -> std::io::Result<Answer> {
        let head = read_head(&mut self.reader)?;
        let status = head
            .line
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or(0);
        let body = read_body(&mut self.reader, &head)?;
        let closes = head
            .fields
            .get("connection")
            .is_some_and(|value| value == "close");
        Ok(Answer {
            status,
            retry_after: head.fields.get("retry-after").cloned(),
            allow: head.fields.get("allow").cloned(),
            closes,
            body,
        })
    }

    pub fn post(&mut self, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        self.send(
            format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
            )
            .as_bytes(),
        );
        self.read().expect("an answer")
    }

    /// A gateway that stood still looks anew before it believes in an instance, and says so: it is asked again.
    pub fn get(&mut self, path: &str) -> Answer {
        let mut tries = 0;
        loop {
            self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
            let answer = self.read().expect("an answer");
            if answer.code() != "no_healthy_instance" || tries == 100 {
                return answer;
            }
            tries += 1;
            pause(Duration::from_millis(50));
        }
    }
}

pub fn order(platform: &Platform, key: &str) -> Answer {
    let headers = format!("Idempotency-Key: {key}\r\n");
    Client::connect(&platform.http()).post("/v1/cells/us/orders", &headers, "{}")
}

/// Sends an order in the background.
pub fn order_later(platform: &Platform, key: &str) -> std::thread::JoinHandle<Answer> {
    let (address, headers) = (platform.http(), format!("Idempotency-Key: {key}\r\n"));
    std::thread::spawn(move || {
        Client::connect(&address).post("/v1/cells/us/orders", &headers, "{}")
    })
}

pub fn wait_for_active(platform: &Platform) {
    until("the cell is active", || platform.view() == "active");
}

/// Waits until the gateway holds this many requests.
pub fn wait_for_held(platform: &Platform, count: u64) {
    until("requests are held", || {
        platform.status()["cells"][0]["held"] == count
    });
}
