//! The network of whoever is compared with us: the same wires that stand between our regions, so that both pay the same
//! for them and are cut alike.
//!
//! Where faults are set, three wires stand before each of the peer's nodes: the *front* (the proxy comes in), the *side* (the other nodes
//! come in) and the *back* (the node reaches its store). A node whose three doors are cut is alone.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::platform::{now, pause};
use crate::step::program;

const START_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(2);
/// A condition ends by itself after this, whatever becomes of us.
const LASTS: Duration = Duration::from_secs(180);
const CONDITION: &str = "bench-failover";

/// A door: where it is knocked at, where it leads, and to which node it belongs.
pub struct Door {
    pub listen: SocketAddr,
    pub target: SocketAddr,
    pub node: String,
}

/// One wire process with all its doors.
pub struct Wire {
    child: Child,
    control: PathBuf,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a cut leaves of the connections that stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// They go on when it ends.
    Cable,
    /// They are reset when it ends: whoever stood behind has forgotten them.
    Crash,
}

impl Wire {
    pub fn start(folder: &Path, name: &str, doors: &[Door], distance_ms: u64) -> Result<Self> {
        let control = folder.join(format!("{name}.sock"));
        let doors: Vec<Value> = doors
            .iter()
            .map(|door| json!({"listen": door.listen, "target": door.target, "host": door.node}))
            .collect();
        // One way is half of the round trip.
        let spec = json!({
            "version": 1,
            "from": "outside",
            "to": name,
            "doors": doors,
            "shape": {"delay_us": distance_ms * 500},
            "state": folder.join(format!("{name}.state")),
            "control": control,
        });
        let path = folder.join(format!("{name}.json"));
        std::fs::write(&path, spec.to_string())?;
        let log = std::fs::File::create(folder.join(format!("{name}.log")))?;
        let child = Command::new(program("mainstay")?)
            .arg("wire")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start a wire")?;
        let wire = Self { child, control };
        wire.await_doors()?;
        Ok(wire)
    }

    fn await_doors(&self) -> Result<()> {
        let started = now();
        loop {
            let answer = self.ask(&json!("status"));
            if let Ok(answer) = &answer {
                let closed = &answer["status"]["closed_doors"];
                if closed.as_object().is_none_or(serde_json::Map::is_empty) {
                    return Ok(());
                }
                bail!("doors could not be opened: {closed}");
            }
            if started.elapsed() > START_LIMIT {
                return answer.map(drop).context("a wire does not answer");
            }
            pause(POLL);
        }
    }

    pub fn cut(&self, node: &str, cut: Cut) -> Result<()> {
        let effect = match cut {
            Cut::Cable => "cut",
            Cut::Crash => "crash",
        };
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let condition = json!({
            "id": CONDITION,
            "effect": effect,
            "hosts": [node],
            "deadline_boottime_ns": u64::try_from((uptime()? + LASTS).as_nanos())?,
            "boot_id": boot_id.trim(),
        });
        self.ask(&json!({"set": condition})).map(drop)
    }

    pub fn heal(&self) -> Result<()> {
        self.ask(&json!({"clear": {"id": CONDITION}})).map(drop)
    }

    fn ask(&self, request: &Value) -> Result<Value> {
        let mut stream = UnixStream::connect(&self.control)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        writeln!(stream, "{request}")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        if !answer["refused"].is_null() {
            bail!("the wire refused: {answer}");
        }
        Ok(answer)
    }
}

/// The boot-time clock, as the kernel tells it in text.
fn uptime() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    let seconds = text.split_whitespace().next().unwrap_or_default();
    Ok(Duration::from_secs_f64(
        seconds.parse().context("read /proc/uptime")?,
    ))
}
