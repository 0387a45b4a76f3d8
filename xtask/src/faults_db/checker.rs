//! The checker as a process of its own, driven through its standard input and read through its folder.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::platform::{DATABASE, Platform, hosts, now, pause};
use crate::step::program;

/// Where gateways of the example lead to the ledger's primary.
pub const PRIMARY_PORT: u16 = 6432;
const POLL: Duration = Duration::from_millis(50);
/// The checker's exit code when the service broke its word.
const VIOLATED: i32 = 1;

pub struct Checker {
    child: Child,
    folder: PathBuf,
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A command of the checker on this platform: all entrances, and the application's role.
fn command(platform: &Platform) -> Result<Command> {
    let mut command = Command::new(program("mainstay-dbcheck")?);
    let secrets = platform.data().join("secrets");
    command
        .env("PGUSER", "application")
        .env("PGDATABASE", DATABASE)
        .env("PGPASSFILE", secrets.join(format!("{DATABASE}.pgpass")))
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", platform.roots())
        .stdin(Stdio::null());
    for host in hosts(&platform.status()?)? {
        command.args(["--to", &format!("{}:{PRIMARY_PORT}", host.address)]);
    }
    Ok(command)
}

fn done(status: ExitStatus, what: &str) -> Result<()> {
    if !status.success() {
        bail!("the checker could not {what}: {status}");
    }
    Ok(())
}

impl Checker {
    /// Makes the checker's tables anew and starts its clients.
    pub fn start(platform: &Platform, seed: u64, clients: u32) -> Result<Self> {
        let folder = platform.data().join("dbcheck").join(seed.to_string());
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        done(command(platform)?.arg("prepare").status()?, "prepare")?;
        let child = command(platform)?
            .arg("run")
            .args(["--seed", &seed.to_string()])
            .args(["--clients", &clients.to_string()])
            .arg("--folder")
            .arg(&folder)
            .stdin(Stdio::piped())
            .spawn()
            .context("start the checker")?;
        Ok(Self { child, folder })
    }

    fn acknowledged(&self) -> u64 {
        let text = std::fs::read_to_string(self.folder.join("progress"));
        text.ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Waits until so many more writes have been acknowledged.
    pub fn await_more(&self, count: u64, limit: Duration) -> Result<()> {
        let started = now();
        let goal = self.acknowledged() + count;
        while self.acknowledged() < goal {
            if started.elapsed() > limit {
                bail!("not {count} more writes were acknowledged within {limit:?}");
            }
            pause(POLL);
        }
        Ok(())
    }

    /// Ends the clients, judges what they were told, and checks the judge.
    pub fn finish(mut self, platform: &Platform) -> Result<Totals> {
        drop(self.child.stdin.take());
        done(self.child.wait()?, "run its clients to the end")?;
        let on_folder = |what: &str| -> Result<ExitStatus> {
            let mut command = command(platform)?;
            command.arg(what).arg("--folder").arg(&self.folder);
            Ok(command.status()?)
        };
        let status = on_folder("check")?;
        if status.code() == Some(VIOLATED) {
            bail!(
                "THE DATABASE BROKE ITS WORD; history and verdict are in {}",
                self.folder.display()
            );
        }
        done(status, "judge")?;
        done(on_folder("plant")?, "find every planted wrong")?;
        let text = std::fs::read_to_string(self.folder.join("verdict.json"))?;
        Ok(Totals::of(&serde_json::from_str(&text)?))
    }

    /// Leaves nothing behind in the database.
    pub fn remove(platform: &Platform) -> Result<()> {
        done(command(platform)?.arg("remove").status()?, "clean up")
    }
}

/// What rounds add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub rounds: u64,
    pub faults: u64,
    acknowledged: u64,
    refused: u64,
    unknown_there: u64,
    unknown_absent: u64,
    warned: u64,
    reads: u64,
    stale: u64,
    stalest_us: u64,
    excused: u64,
    longest_silence_us: u64,
}

impl Totals {
    fn of(verdict: &Value) -> Self {
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let both = |key: &str| number(&verdict["set"][key]) + number(&verdict["bank"][key]);
        Self {
            rounds: 1,
            faults: 0,
            acknowledged: both("acknowledged"),
            refused: both("refused"),
            unknown_there: both("unknown_there"),
            unknown_absent: both("unknown_absent"),
            warned: both("warned"),
            reads: number(&verdict["looks"]) + number(&verdict["sums"]),
            stale: number(&verdict["stale"]),
            stalest_us: number(&verdict["stalest_us"]),
            excused: number(&verdict["excused"]),
            longest_silence_us: number(&verdict["longest_silence_us"]),
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.faults += other.faults;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown_there += other.unknown_there;
        self.unknown_absent += other.unknown_absent;
        self.warned += other.warned;
        self.reads += other.reads;
        self.stale += other.stale;
        self.stalest_us = self.stalest_us.max(other.stalest_us);
        self.excused += other.excused;
        self.longest_silence_us = self.longest_silence_us.max(other.longest_silence_us);
    }

    pub fn text(&self) -> String {
        format!(
            "{} faults in {} rounds: {} writes acknowledged, none lost; none invented, every total right.\n  \
             {} refused; {} unknown ({} there, {} not; {} told as success with a warning); \
             {} reads, {} misses of acknowledged elements (oldest {} ms); {} seen and gone after a cancel; \
             longest time without an acknowledgement {} ms",
            self.faults,
            self.rounds,
            self.acknowledged,
            self.refused,
            self.unknown_there + self.unknown_absent,
            self.unknown_there,
            self.unknown_absent,
            self.warned,
            self.reads,
            self.stale,
            self.stalest_us / 1_000,
            self.excused,
            self.longest_silence_us / 1_000
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Totals;

    #[test]
    fn rounds_add_up() {
        let counts = json!({"acknowledged": 5, "refused": 1, "unknown_there": 2, "warned": 1});
        let verdict = json!({"set": counts, "bank": counts, "looks": 3, "sums": 4, "stale": 1, "stalest_us": 9_000});
        let mut totals = Totals::default();
        totals.add(&Totals::of(&verdict));
        totals.add(&Totals::of(&verdict));
        assert_eq!(
            (totals.rounds, totals.acknowledged, totals.reads),
            (2, 20, 14)
        );
        assert!(totals.text().contains("8 unknown (8 there, 0 not; 4 told"));
        assert!(
            totals
                .text()
                .contains("2 misses of acknowledged elements (oldest 9 ms)")
        );
    }
}
