//! The writer as a process of its own, and the judgement of what it was told.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::platform::{now, pause};
use crate::step::program;

const POLL: Duration = Duration::from_millis(20);
/// The checker's exit code when the service broke its word.
const VIOLATED: i32 = 1;

/// Where a client comes in, and as whom.
#[derive(Clone)]
pub struct Entrance {
    pub to: Vec<SocketAddr>,
    pub user: String,
    pub database: String,
    pub password_file: PathBuf,
    /// What a server must prove itself by; `None`: nothing is encrypted.
    pub roots: Option<PathBuf>,
    /// Where the writer may keep its history.
    pub folder: PathBuf,
}

/// What a repetition showed.
pub struct Measured {
    pub gap: Duration,
    /// Acknowledged writes that are not there.
    pub lost: usize,
    /// Why it was not whole again afterwards, if it was not.
    pub stuck: Option<String>,
}

pub struct Writer {
    child: Child,
    entrance: Entrance,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Entrance {
    fn command(&self, what: &str) -> Result<Command> {
        let mut command = Command::new(program("mainstay-dbcheck")?);
        command
            .env("PGUSER", &self.user)
            .env("PGDATABASE", &self.database)
            .env("PGPASSFILE", &self.password_file)
            .arg(what)
            .arg("--folder")
            .arg(&self.folder)
            .stdin(Stdio::null());
        if let Some(roots) = &self.roots {
            command.env("PGSSLMODE", "verify-full");
            command.env("PGSSLROOTCERT", roots);
        }
        for to in &self.to {
            command.args(["--to", &to.to_string()]);
        }
        Ok(command)
    }
}

impl Writer {
    /// Makes the table anew and begins to write.
    pub fn start(entrance: &Entrance, deadline_ms: u64) -> Result<Self> {
        if entrance.folder.exists() {
            std::fs::remove_dir_all(&entrance.folder)?;
        }
        std::fs::create_dir_all(&entrance.folder)?;
        let prepared = entrance.command("prepare")?.status()?;
        if !prepared.success() {
            bail!("the table could not be made: {prepared}");
        }
        let child = entrance
            .command("write")?
            .args(["--deadline-ms", &deadline_ms.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the writer")?;
        Ok(Self {
            child,
            entrance: entrance.clone(),
        })
    }

    fn count(&self) -> u64 {
        let text = std::fs::read_to_string(self.entrance.folder.join("progress"));
        text.ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub fn await_more(&self, more: u64, limit: Duration) -> Result<()> {
        let started = now();
        let goal = self.count() + more;
        while self.count() < goal {
            if started.elapsed() > limit {
                bail!("not {more} more writes within {limit:?}");
            }
            pause(POLL);
        }
        Ok(())
    }

    pub fn mark(&mut self, name: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("the writer listens")?;
        writeln!(input, "mark {name}").context("speak to the writer")
    }

    /// The gap of the first mark, and how many acknowledged writes are not there.
    pub fn finish(mut self) -> Result<Measured> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        let output = self.child.stdout.as_mut().context("the writer speaks")?;
        std::io::Read::read_to_string(output, &mut text)?;
        let ended = self.child.wait()?;
        if !ended.success() {
            bail!("the writer ended with {ended}");
        }
        let checked = self.entrance.command("check")?.output()?;
        if !checked.status.success() && checked.status.code() != Some(VIOLATED) {
            bail!("{}", String::from_utf8_lossy(&checked.stderr).trim());
        }
        let spans: Value = serde_json::from_str(&text).context("read the gaps")?;
        let gap = spans[0]["gap_us"].as_u64();
        let verdict = std::fs::read_to_string(self.entrance.folder.join("verdict.json"))?;
        let verdict: Value = serde_json::from_str(&verdict)?;
        let violations = verdict["violations"].as_array();
        Ok(Measured {
            gap: Duration::from_micros(gap.context("nothing was acknowledged after the fault")?),
            lost: violations.context("a verdict without violations")?.len(),
            stuck: None,
        })
    }
}
