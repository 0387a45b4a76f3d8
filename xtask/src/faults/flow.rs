//! One run of the order flow: the driver as a process of its own, and the marks it attributes stalls to.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::scenario::DATABASE;
use crate::platform::{Platform, hosts};
use crate::step::{program, root};

/// Where the gateways of the example listen for clients.
const GATEWAY_PORT: u16 = 8080;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A recorded day, looped; generated where the recording is not at hand.
    Recorded,
    Generated,
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
    pub witness: PathBuf,
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
        let folder = platform.data().join("suite").join(name);
        std::fs::create_dir_all(&folder)?;
        let mut command = Command::new(program("exchange-replay")?);
        for host in hosts(&platform.status()?)? {
            command.arg("--gateway").arg(format!("{}=http://{}:{GATEWAY_PORT}", host.region, host.address));
        }
        if let Some(file) = file {
            command.arg("--flow").arg(file);
        }
        let driver = command
            .args(["--cell", DATABASE, "--quiet", "--rate", &rate.to_string()])
            .arg("--duration")
            .arg(format!("{}s", time.as_secs()))
            .arg("--witness")
            .arg(folder.join("witness"))
            .arg("--marks")
            .arg(folder.join("marks"))
            .arg("--json")
            .arg(folder.join("report.json"))
            .stdin(Stdio::null())
            .stdout(OpenOptions::new().create(true).append(true).open(folder.join("output"))?)
            .spawn()
            .context("start the driver")?;
        Ok(Self { driver, folder, name: name.to_owned() })
    }

    /// From now on stalls belong to `name`.
    pub fn mark(&self, name: &str) -> Result<()> {
        let line = json!({ "wall_ms": wall_ms()?, "name": name });
        let mut file = OpenOptions::new().create(true).append(true).open(self.folder.join("marks"))?;
        writeln!(file, "{line}")?;
        Ok(())
    }

    /// Waits for the last answer.
    pub fn finish(mut self) -> Result<FlowResult> {
        let status = self.driver.wait()?;
        let path = self.folder.join("report.json");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("the driver ended with {status} and no report; see {}", self.folder.join("output").display())
        })?;
        let report: Value = serde_json::from_str(&text)?;
        Ok(FlowResult { name: self.name.clone(), report, witness: self.folder.join("witness") })
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

#[allow(clippy::disallowed_methods, reason = "marks carry the time of day, as witness logs do")]
fn wall_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}
