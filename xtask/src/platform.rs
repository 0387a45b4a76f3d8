//! A platform of its own for a suite: started, watched, broken and stopped through the command line only.
//!
//! The suite sees what a user sees. Whatever happens, the platform is stopped when the value is dropped,
//! and its data folder is removed unless something failed, so that there is something to look at.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::step::{Profile, program_of, root};

/// The database of the example, and so its cell.
pub const DATABASE: &str = "ledger";
/// Between two looks at the status.
const POLL: Duration = Duration::from_millis(200);
/// Between two looks at the journal.
const LOOK: Duration = Duration::from_millis(300);

/// A platform file of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    /// The exchange in three regions.
    Exchange,
    /// The same with its journal in etcd.
    ExchangeOnEtcd,
    /// A database in three regions, and nothing else.
    Database,
}

impl Example {
    const fn file(self) -> &'static str {
        match self {
            Self::Exchange => "examples/exchange/platform.yaml",
            Self::ExchangeOnEtcd => "examples/exchange/platform-etcd.yaml",
            Self::Database => "examples/database/platform.yaml",
        }
    }
}

pub struct Platform {
    /// The platform file; absolute, or below the root of the tree.
    file: PathBuf,
    profile: Profile,
    data: PathBuf,
    /// What becomes of it when the suite lets go.
    pub afterwards: Afterwards,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It was there before and stays.
    Leave,
    /// Stopped, with its data kept for a look.
    Stop,
    /// Stopped, and its data removed.
    Remove,
}

impl Platform {
    /// Starts the exchange in a new data folder and waits until it is healthy.
    pub fn start(name: &str, distance_ms: u64, profile: Profile) -> Result<Self> {
        Self::start_of(Example::Exchange, name, distance_ms, profile)
    }

    /// Starts an example in a new data folder and waits until it is healthy.
    pub fn start_of(
        example: Example,
        name: &str,
        distance_ms: u64,
        profile: Profile,
    ) -> Result<Self> {
        let data = std::env::temp_dir().join(format!("mainstay-{name}-{}", std::process::id()));
        if data.exists() {
            bail!(
                "{} exists already: stop what runs there and remove it",
                data.display()
            );
        }
        Self::start_file(Path::new(example.file()), data, distance_ms, profile)
    }

    /// Starts the platform of a file in a new data folder and waits until it is healthy.
    pub fn start_file(
        file: &Path,
        data: PathBuf,
        distance_ms: u64,
        profile: Profile,
    ) -> Result<Self> {
        let platform = Self {
            file: file.to_owned(),
            profile,
            data,
            afterwards: Afterwards::Stop,
        };
        let time = platform.up(distance_ms)?;
        println!("  from nothing to healthy in {:.1} s", time.as_secs_f64());
        Ok(platform)
    }

    /// The platform that `make up` started, in `MAINSTAY_DATA` or the default data folder.
    pub fn running() -> Result<Self> {
        let data = match std::env::var_os("MAINSTAY_DATA") {
            Some(data) => PathBuf::from(data),
            None => default_data().context("no default data folder: set HOME or MAINSTAY_DATA")?,
        };
        if !data.join("machine.json").is_file() {
            bail!(
                "no platform in {}: start one with `make up` first",
                data.display()
            );
        }
        Ok(Self {
            file: PathBuf::from(Example::Exchange.file()),
            profile: Profile::Release,
            data,
            afterwards: Afterwards::Leave,
        })
    }

    /// One that somebody else started, to be stopped with this value.
    pub fn adopt(file: &Path, data: PathBuf, profile: Profile) -> Self {
        Self {
            file: file.to_owned(),
            profile,
            data,
            afterwards: Afterwards::Stop,
        }
    }

    /// `mainstay up --detach`: starts, or adopts what still runs.
    pub fn up(&self, distance_ms: u64) -> Result<Duration> {
        let file = root()?.join(&self.file);
        let distance = format!("{distance_ms}ms");
        let started = now();
        self.mainstay(&[
            "up",
            &file.display().to_string(),
            "--detach",
            "--distance",
            &distance,
            "--timeout",
            "600s",
        ])?;
        Ok(started.elapsed())
    }

    /// How long a client of the platform waits for an answer: unoptimised programs are tested for what they answer, on
    /// any machine, and optimised ones also for when.
    pub const fn patience(&self) -> Duration {
        match self.profile {
            Profile::Dev => Duration::from_secs(60),
            Profile::Release => Duration::from_secs(15),
        }
    }

    /// A program that was built like the one that runs here.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        program_of(self.profile, name)
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The roots of the platform's own authority.
    pub fn roots(&self) -> PathBuf {
        self.data.join("secrets/authority/roots.pem")
    }

    /// Runs a command on this platform; its output is returned if it ended with 0.
    pub fn mainstay(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        if !output.status.success() {
            bail!(
                "mainstay {} ended with {}\n{}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The journal's entries of one kind, in order; of all kinds where none is named.
    pub fn journal(&self, kind: &str) -> Result<Vec<Value>> {
        let all = ["journal", "show", "--json", "--kind", kind];
        let wanted = if kind.is_empty() { &all[..3] } else { &all };
        let lines = self.mainstay(wanted)?;
        let entries = lines
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_wanted = |entry: &Value| kind.is_empty() || entry["kind"] == kind;
        Ok(entries.filter(is_wanted).collect())
    }

    fn output(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(self.program("mainstay")?)
            .args(arguments)
            .env("MAINSTAY_DATA", &self.data)
            .stdin(Stdio::null())
            .output()
            .context("start mainstay")
    }

    /// The status document, also of a platform that is not healthy.
    pub fn status(&self) -> Result<Value> {
        let output = self.output(&["status", "--json"])?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "read the status: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )
        })
    }

    /// Waits until `condition` holds of the status, at most `limit`.
    pub fn wait(
        &self,
        what: &str,
        limit: Duration,
        condition: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let started = now();
        loop {
            let status = self.status();
            if let Ok(status) = &status
                && condition(status)
            {
                return Ok(status.clone());
            }
            if started.elapsed() > limit {
                let last = status
                    .map_or_else(|error| format!("{error:#}"), |status| format!("{status:#}"));
                bail!("{what}: not within {limit:?}; last status: {last}");
            }
            pause(POLL);
        }
    }

    /// The first entry of the journal of a kind that is as asked for, as soon as there is one.
    pub fn entry(
        &self,
        kind: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let begun = now();
        loop {
            let lines = self.mainstay(&["journal", "show", "--json", "--kind", kind])?;
            let found = lines
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|entry| entry["kind"] == kind && wanted(&entry["body"]));
            if let Some(found) = found {
                return Ok(found);
            }
            if begun.elapsed() > limit {
                bail!("no such entry of {kind} within {limit:?}");
            }
            pause(LOOK);
        }
    }

    /// Waits until nothing is wrong but, at most, where the primary lives.
    pub fn wait_healthy(&self, limit: Duration) -> Result<Value> {
        self.wait("healthy again", limit, is_healthy)
    }
}

/// After a failover the primary is away from its home, which is worth a finding and no trouble.
fn is_healthy(status: &Value) -> bool {
    // Alerts look back: for a while they tell what was the case before.
    let may_stay = |finding: &Value| {
        let reason = &finding["reason"];
        !reason["database"]["primary_away"].is_null() || !reason["watch"]["fires"].is_null()
    };
    let findings = status["findings"]
        .as_array()
        .is_some_and(|findings| findings.iter().all(may_stay));
    findings
        && status["verdict"]
            .as_str()
            .is_some_and(|verdict| matches!(verdict, "healthy" | "degraded"))
}

/// Name, region and address of every host.
pub fn hosts(status: &Value) -> Result<Vec<Host>> {
    let text = |value: &Value| {
        value
            .as_str()
            .map(str::to_owned)
            .context("the status lacks a name or an address")
    };
    let mut hosts = Vec::new();
    for region in status["regions"]
        .as_array()
        .context("the status lists no regions")?
    {
        for host in region["hosts"]
            .as_array()
            .context("a region without hosts")?
        {
            let (name, address) = (text(&host["name"])?, text(&host["address"])?);
            hosts.push(Host {
                name,
                region: text(&region["name"])?,
                address,
            });
        }
    }
    Ok(hosts)
}

#[derive(Clone, Debug)]
pub struct Host {
    pub name: String,
    pub region: String,
    pub address: String,
}

/// As `mainstay --help` describes it: only root can write the first.
fn default_data() -> Option<PathBuf> {
    let root = PathBuf::from("/var/lib/mainstay");
    if root.join("machine.json").is_file() {
        return Some(root);
    }
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let share = variable("XDG_DATA_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/share")));
    share.map(|share| share.join("mainstay"))
}

impl Drop for Platform {
    fn drop(&mut self) {
        if self.afterwards == Afterwards::Leave {
            return;
        }
        if let Err(error) = self.mainstay(&["down"]) {
            eprintln!(
                "the platform in {} was not stopped: {error:#}",
                self.data.display()
            );
            return;
        }
        if self.afterwards == Afterwards::Remove {
            std::fs::remove_dir_all(&self.data).ok();
        } else {
            eprintln!("left for a look: {}", self.data.display());
        }
    }
}

/// The suite is itself an observer with a clock; it measures, and waits between looks.
#[allow(
    clippy::disallowed_methods,
    reason = "a suite watches real processes from outside"
)]
pub fn now() -> Instant {
    Instant::now()
}

#[allow(
    clippy::disallowed_methods,
    reason = "a suite watches real processes from outside"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
