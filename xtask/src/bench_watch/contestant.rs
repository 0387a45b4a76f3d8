//! Who is measured: how it is started, what it uses, and whether it has what it was given.

use std::fs::read_to_string;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Arguments;
use super::target::{PATHS, Targets};
use crate::platform::{now, pause};
use crate::step::{installed, program};

/// Between two questions whether it is ready.
const POLL: Duration = Duration::from_millis(500);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// For an end in order, before it is killed.
const END_LIMIT: Duration = Duration::from_secs(15);
/// The kernel counts processor time in hundredths of a second, whatever its own clock does.
const TICKS_PER_SECOND: u64 = 100;

#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub processor: Duration,
    /// Bytes.
    pub resident: u64,
}

/// A process that watches the targets; ended with the value.
pub struct Contestant {
    name: String,
    path: &'static str,
    listen: SocketAddr,
    process: Child,
}

/// Our watch, as a node would start it, without identity.
pub fn ours(arguments: &Arguments, folder: &Path, targets: &Targets) -> Result<Contestant> {
    let program = program("mainstay")?;
    let listen = free_address()?;
    let [path, _] = PATHS;
    let asked: Vec<Value> = targets
        .addresses
        .iter()
        .map(|address| {
            json!({
                "job": "bench", "instance": address.to_string(), "address": address.to_string(), "path": path,
            })
        })
        .collect();
    let config = json!({
        "version": 1,
        "platform": "bench",
        "host": "here",
        "listen": listen.to_string(),
        "folder": folder.join("ours"),
        "interval_ms": arguments.interval_seconds * 1_000,
        "retention_ms": 86_400_000,
        "rules": [rules(arguments, folder)?],
        "targets": asked,
    });
    let file = folder.join("ours.json");
    std::fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
    let mut command = Command::new(program);
    command.arg("watch").arg("--config").arg(file);
    start("mainstay watch".to_owned(), path, listen, command, folder)
}

/// The peer, if it is installed, as its documentation starts it.
pub fn prometheus(
    arguments: &Arguments,
    folder: &Path,
    targets: &Targets,
) -> Result<Option<Contestant>> {
    if !installed("prometheus") {
        return Ok(None);
    }
    let listen = free_address()?;
    let [_, path] = PATHS;
    let addresses: Vec<String> = targets.addresses.iter().map(ToString::to_string).collect();
    let seconds = arguments.interval_seconds;
    // JSON is YAML.
    let config = json!({
        "global": {
            "scrape_interval": format!("{seconds}s"),
            "scrape_timeout": format!("{seconds}s"),
            "evaluation_interval": format!("{seconds}s"),
        },
        "rule_files": [rules(arguments, folder)?],
        "scrape_configs": [{
            "job_name": "bench",
            "metrics_path": path,
            "static_configs": [{"targets": addresses}],
        }],
    });
    let file = folder.join("prometheus.yaml");
    std::fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("peer").display()
        ))
        .arg("--storage.tsdb.retention.time=1d")
        .arg(format!("--web.listen-address={listen}"))
        .arg("--log.level=warn");
    let version = Command::new("prometheus").arg("--version").output()?;
    let told = String::from_utf8_lossy(&[version.stdout, version.stderr].concat()).into_owned();
    let version = told.split_whitespace().nth(2).unwrap_or("?").to_owned();
    let name = format!("prometheus {version}");
    start(name, path, listen, command, folder).map(Some)
}

/// The same file for both: shares, rates, quantiles, and alerts that stay silent.
fn rules(arguments: &Arguments, folder: &Path) -> Result<String> {
    let kinds = [
        ("sum by (code) (rate(bench_requests_total[30s]))", "record"),
        (
            "histogram_quantile(0.99, sum by (le) (rate(bench_seconds_bucket[30s])))",
            "record",
        ),
        ("max by (instance) (bench_queue) > 1e9", "alert"),
        (
            "sum(rate(bench_requests_total{code=\"503\"}[30s])) / sum(rate(bench_requests_total[30s])) > 2",
            "alert",
        ),
    ];
    let rules: Vec<Value> = (0..arguments.rules)
        .zip(kinds.iter().cycle())
        .map(|(number, (expression, kind))| {
            json!({*kind: format!("bench_rule_{number}"), "expr": expression})
        })
        .collect();
    let groups = if rules.is_empty() {
        json!([])
    } else {
        json!([{"name": "bench", "rules": rules}])
    };
    let file = folder.join("rules.yaml");
    std::fs::write(
        &file,
        serde_json::to_vec_pretty(&json!({"groups": groups}))?,
    )?;
    Ok(file.display().to_string())
}

fn start(
    name: String,
    path: &'static str,
    listen: SocketAddr,
    mut command: Command,
    folder: &Path,
) -> Result<Contestant> {
    let log = std::fs::File::create(folder.join(format!("log{}", path.replace('/', "-"))))?;
    let process = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {name}"))?;
    Ok(Contestant {
        name,
        path,
        listen,
        process,
    })
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Contestant {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// Waits until it has this many series of the targets.
    pub fn wait_for(&mut self, series: u64, limit: Duration) -> Result<()> {
        let started = now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("{} ended: {status}", self.name);
            }
            match self.has(series) {
                Ok(()) => return Ok(()),
                Err(error) if started.elapsed() > limit => return Err(error),
                Err(_) => pause(POLL),
            }
        }
    }

    /// Fails unless it has every series of the targets.
    pub fn has(&self, series: u64) -> Result<()> {
        // Within two minutes: on a busy machine a target may be asked too late to be fresh now.
        let count = "count(last_over_time({__name__=~\"bench_requests_total|bench_seconds_bucket|bench_queue\"}[2m]))";
        let answer = ask(self.listen, count).with_context(|| format!("ask {}", self.name))?;
        let found = answer
            .pointer("/data/result/0/value/1")
            .and_then(Value::as_str)
            .unwrap_or("0");
        ensure!(
            found == series.to_string(),
            "{} has {found} series of {series}",
            self.name
        );
        Ok(())
    }

    pub fn usage(&self) -> Result<Usage> {
        let folder = format!("/proc/{}", self.process.id());
        let stat = read_to_string(format!("{folder}/stat"))?;
        // After the name, which may have spaces; `man 5 proc`: utime and stime are fields 14 and 15.
        let after = stat.rsplit_once(") ").context("read /proc")?.1;
        let ticks = after.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.map(|text| text.parse().unwrap_or(0_u64)).sum();
        let status = read_to_string(format!("{folder}/status"))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .context("read VmRSS")?;
        Ok(Usage {
            processor: Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND),
            resident: resident * 1_024,
        })
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        let id = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().ok();
        let started = now();
        while started.elapsed() < END_LIMIT {
            if self.process.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            pause(POLL);
        }
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// An instant query over Prometheus's API, which both speak.
fn ask(address: SocketAddr, query: &str) -> Result<Value> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let body = format!("query={}", encoded(query));
    write!(
        stream,
        "POST /api/v1/query HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").context("read the answer")?.1;
    // A chunked answer has its length before it.
    let (start, end) = (body.find('{'), body.rfind('}'));
    let json = start
        .zip(end)
        .and_then(|(start, end)| body.get(start..=end));
    serde_json::from_str(json.context("read the answer")?).context("read the answer")
}

fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.~".contains(byte);
    let byte = |byte: u8| {
        if plain(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}
