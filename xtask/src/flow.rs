//! One run of the order flow: the driver as a process of its own, and the marks it attributes stalls to.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::platform::{DATABASE, Platform, hosts, pause};
use crate::step::root;

/// How long the flow of `make flow` runs at most.
const SECONDS_MAX: u64 = 3_600;
/// Where the gateways of the example listen for clients.
const GATEWAY_PORT: u16 = 8080;
/// The auditor's exit code when it could not read what it has to judge.
const CANNOT_JUDGE: i32 = 2;
const AUDIT_ROUNDS: u32 = 5;
const AUDIT_PAUSE: Duration = Duration::from_secs(2);
/// Where gateways of the example lead to the ledger's primary.
pub const PRIMARY_PORT: u16 = 6432;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A recorded day, looped; generated where the recording is not at hand.
    Recorded,
    Generated,
}

#[derive(clap::Args)]
pub struct Arguments {
    /// Requests a second
    #[arg(long, default_value_t = 200)]
    pub rate: u32,
    /// How long it runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    pub seconds: u64,
}

/// Sends a flow through the platform that runs, and has it audited.
pub fn run(arguments: &Arguments) -> Result<()> {
    let platform = Platform::running()?;
    let flow = Flow::start(
        &platform,
        Source::Recorded,
        arguments.rate,
        Duration::from_secs(arguments.seconds),
    )?;
    println!(
        "  break something meanwhile: mainstay fault inject region-freeze us-east-1 --for 20s --reason 'to see'"
    );
    let result = flow.finish()?;
    print!("{}", std::fs::read_to_string(result.folder.join("output"))?);
    audit(&platform)
}

/// Has everything audited that was ever sent through this platform.
pub fn audit_running() -> Result<()> {
    audit(&Platform::running()?)
}

/// Reads the primary with the auditor's own code, through a gateway's door to it. A door may be shut for a
/// moment, or cut a session whose lease it cannot vouch for: like any client, the auditor then tries the next.
pub fn audit(platform: &Platform) -> Result<()> {
    audit_with(platform, Answers::Required)
}

/// Whether an intent without an answer is a finding: where requests are made to fail, it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Required,
    MayBeMissing,
}

pub fn audit_with(platform: &Platform, answers: Answers) -> Result<()> {
    let mut last = None;
    for round in 0..AUDIT_ROUNDS {
        for host in hosts(&platform.status()?)? {
            let status = audit_through(platform, &host.address, answers)?;
            if status.success() {
                return Ok(());
            }
            if status.code() != Some(CANNOT_JUDGE) {
                bail!("the auditor ended with {status}");
            }
            println!(
                "  no judgement through the gateway of {} (round {round})",
                host.name
            );
            last = Some(status);
        }
        pause(AUDIT_PAUSE);
    }
    bail!("the auditor could not judge through any gateway: {last:?}")
}

fn audit_through(platform: &Platform, address: &str, answers: Answers) -> Result<ExitStatus> {
    let mut command = Command::new(platform.program("exchange-audit")?);
    command
        .env("PGHOST", address)
        .env("PGPORT", PRIMARY_PORT.to_string())
        .env("PGUSER", "application")
        .env("PGDATABASE", DATABASE)
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", platform.roots())
        .env(
            "PGPASSFILE",
            platform
                .data()
                .join("secrets")
                .join(format!("{DATABASE}.pgpass")),
        )
        .args(["check", "--cell", DATABASE]);
    if answers == Answers::Required {
        command.arg("--require-answers");
    }
    for entry in std::fs::read_dir(flows(platform)).context("list the flows that were sent")? {
        command.arg("--witness").arg(entry?.path().join("witness"));
    }
    command.status().context("start the auditor")
}

/// Where the witness logs of a platform's flows stand: the clients' own, of no use to the platform.
fn flows(platform: &Platform) -> PathBuf {
    platform.data().join("flows")
}

pub struct Flow {
    driver: Child,
    folder: PathBuf,
    name: String,
}

/// What the driver reported, and where its witness log stands.
pub struct FlowResult {
    pub name: String,
    pub report: Value,
    pub folder: PathBuf,
}

impl Flow {
    pub fn start(platform: &Platform, source: Source, rate: u32, time: Duration) -> Result<Self> {
        let recorded = root()?.join("../shared/data/bitstamp-2015-05-01/orders.csv.xz");
        let (name, file) = match source {
            Source::Recorded if recorded.is_file() => ("recorded", Some(recorded)),
            Source::Recorded => ("generated-first", None),
            Source::Generated => ("generated", None),
        };
        println!("  flow: {name}, {} s", time.as_secs());
        Self::start_named(platform, name, file.as_deref(), rate, time)
    }

    /// A flow with a name that no other of the platform has; generated where no recording is given.
    pub fn start_named(
        platform: &Platform,
        name: &str,
        recording: Option<&Path>,
        rate: u32,
        time: Duration,
    ) -> Result<Self> {
        let folder = flows(platform).join(format!("{}-{name}", wall_ms()?));
        std::fs::create_dir_all(&folder)?;
        let mut command = Command::new(platform.program("exchange-replay")?);
        for host in hosts(&platform.status()?)? {
            command.arg("--gateway").arg(format!(
                "{}=http://{}:{GATEWAY_PORT}",
                host.region, host.address
            ));
        }
        if let Some(recording) = recording {
            command.arg("--flow").arg(recording);
        }
        let driver = command
            .args(["--cell", DATABASE, "--quiet", "--rate", &rate.to_string()])
            .arg(format!("--deadline={}s", platform.patience().as_secs()))
            .arg("--duration")
            .arg(format!("{}s", time.as_secs()))
            .arg("--witness")
            .arg(folder.join("witness"))
            .arg("--marks")
            .arg(folder.join("marks"))
            .arg("--json")
            .arg(folder.join("report.json"))
            .stdin(Stdio::null())
            .stdout(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(folder.join("output"))?,
            )
            .spawn()
            .context("start the driver")?;
        Ok(Self {
            driver,
            folder,
            name: name.to_owned(),
        })
    }

    /// What the clients of this flow have written down so far.
    pub fn witness(&self) -> PathBuf {
        self.folder.join("witness")
    }

    /// From now on stalls belong to `name`.
    pub fn mark(&self, name: &str) -> Result<()> {
        let line = json!({ "wall_ms": wall_ms()?, "name": name });
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("marks"))?;
        writeln!(file, "{line}")?;
        Ok(())
    }

    /// Waits for the last answer.
    pub fn finish(mut self) -> Result<FlowResult> {
        let status = self.driver.wait()?;
        let path = self.folder.join("report.json");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "the driver ended with {status} and no report; see {}",
                self.folder.join("output").display()
            )
        })?;
        let report: Value = serde_json::from_str(&text)?;
        Ok(FlowResult {
            name: self.name.clone(),
            report,
            folder: self.folder.clone(),
        })
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "marks carry the time of day, as witness logs do"
)]
pub fn wall_ms() -> Result<u64> {
    Ok(u64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
    )?)
}
