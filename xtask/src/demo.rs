//! The loop from end to end, told on the terminal: orders flow, the database slows, an alert becomes an incident, a
//! playbook suggests and somebody says go, the report opens; then a whole region is lost by drill, and what the journal
//! shows of it is packed, verified, and refused when one byte of it is another.
//!
//! Nothing is staged: every figure is read from the journal of the platform that runs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::flow::{Flow, Source, audit};
use crate::platform::{Afterwards, Platform, now, pause};
use crate::step::{Profile, root};

const FILE: &str = "examples/exchange/platform-chaos.yaml";
const SLOW: &str = "examples/exchange/chaos/slow-home.yaml";
const PLAYBOOK: &str = "examples/exchange/playbooks/leave-slow-database.yaml";
const DRILL: &str = "examples/exchange/drills/region-lost.yaml";
const ALERT: &str = "HighOrderLatency";
/// Orders a second, and for how long at most.
const RATE: u32 = 40;
const FLOW: Duration = Duration::from_secs(180);
/// For what happens by itself within seconds.
const PATIENCE: Duration = Duration::from_secs(90);
/// An alert looks back for a minute before it rests.
const REST: Duration = Duration::from_secs(150);

#[derive(clap::Args)]
pub struct Arguments {
    /// Build profile of the programs
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// Where report and pack are left; a new folder below the temporary ones if absent
    #[arg(long)]
    out: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let story = Story::begin(arguments)?;
    story.database_slows()?;
    story.region_is_lost()?;
    story.end()
}

struct Story {
    platform: Platform,
    out: PathBuf,
    begun: Instant,
}

impl Story {
    fn begin(arguments: &Arguments) -> Result<Self> {
        let name = format!("mainstay-demo-{}", std::process::id());
        let folder = std::env::temp_dir();
        let out = arguments.out.clone();
        let out = out.unwrap_or_else(|| folder.join(format!("{name}-out")));
        std::fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
        let begun = now();
        println!("\n== An exchange in three regions starts");
        let data = folder.join(name);
        let platform = Platform::start_file(Path::new(FILE), data, 0, arguments.profile)?;
        Ok(Self {
            platform,
            out,
            begun,
        })
    }

    fn tell(&self, what: &str) {
        println!("{:>6.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    fn chapter(&self, what: &str) {
        println!("\n== {what}");
    }

    /// From the fault to the report.
    fn database_slows(&self) -> Result<()> {
        self.chapter("Orders flow, and the database slows down");
        let reason = ["--reason", "the demonstration"];
        self.does(&["playbook", "adopt", PLAYBOOK], &reason)?;
        self.tell("the playbook leave-slow-database is in force: it asks, a person decides");
        let flow = Flow::start(&self.platform, Source::Generated, RATE, FLOW)?;
        pause(Duration::from_secs(8));
        let mut slow = self.chaos()?;
        let fault = self.entry("fault.injected", |_| true)?;
        self.tell("600 ms on the trading engine's way to its database, in us-east-1 only");
        let alert = self.entry("alert.changed", |body| {
            body["state"] == "firing" && body["labels"]["alertname"] == ALERT
        })?;
        self.tell(&format!(
            "alert {ALERT}: {}",
            text(&alert["body"]["summary"])
        ));
        let incident = self.entry("incident.opened", |_| true)?;
        let id = text(&incident["body"]["incident"]).to_owned();
        self.tell(&format!(
            "incident {id}: {}",
            text(&incident["body"]["title"])
        ));
        let (run, why) = self.suggestion()?;
        self.tell(&format!("run {run} waits for a person: {why}"));
        self.does(&["incident", "acknowledge", &id], &reason)?;
        self.does(
            &["playbook", "approve", &run],
            &["--reason", "the figures say so"],
        )?;
        self.tell("somebody says go");
        let ended = self.run_ends(&run)?;
        self.tell(&format!("run {run}: {ended}"));
        ensure!(
            ended.starts_with("done") || ended.starts_with("succeeded"),
            "the playbook did not help: {ended}"
        );
        let told = [
            ("fault", &fault),
            ("alert", &alert),
            ("incident", &incident),
        ];
        self.print_intervals(&run, told)?;
        self.entry("alert.changed", |body| {
            body["state"] == "resolved" && body["labels"]["alertname"] == ALERT
        })?;
        self.tell("the alert rests: orders are fast again, served from eu-west-1");
        drop(flow);
        interrupt(&mut slow)?;
        self.tell("the experiment is ended, its fault with it");
        self.report(&id)
    }

    fn report(&self, id: &str) -> Result<()> {
        let page = self.out.join(format!("{id}.html"));
        let page = page.to_str().context("a folder with a name in UTF-8")?;
        self.does(
            &["incident", "resolve", id, "--despite"],
            &["--reason", "served from eu-west-1"],
        )?;
        self.does(
            &["incident", "report", id, "--format", "html", "--out", page],
            &[],
        )?;
        self.tell(&format!("what it was, cost and led to: {page}"));
        Ok(())
    }

    /// From the drill to the byte that is refused.
    fn region_is_lost(&self) -> Result<()> {
        self.chapter("The drill that every regulator asks for: a whole region is lost");
        let home = [
            "--to",
            "us-east-1",
            "--reason",
            "the slow database is mended",
        ];
        self.does(&["switchover", "ledger"], &home)?;
        self.tell("trading is back home, by plan");
        self.does(
            &["drill", "adopt", DRILL],
            &["--reason", "the demonstration"],
        )?;
        self.platform.wait_healthy(PATIENCE)?;
        let drill = Command::new(self.platform.program("mainstay")?)
            .args(["drill", "run", DRILL, "--reason", "the demonstration"])
            .env("MAINSTAY_DATA", self.platform.data())
            .current_dir(root()?)
            .stdin(Stdio::null())
            .status()
            .context("start the drill")?;
        ensure!(drill.success(), "the drill did not pass: {drill}");
        self.tell("the drill passed; its verdict stands in the journal");
        let ended = self.entry("drill.ended", |_| true)?;
        let id = text(&ended["body"]["drill"]).to_owned();
        self.chapter("What the journal shows of it, for somebody who was not there");
        let pack = self.out.join("evidence");
        let path = pack.to_str().context("a folder with a name in UTF-8")?;
        let said = self.does(&["evidence", "pack", "--drill", &id, "--out", path], &[])?;
        let key = said
            .split_whitespace()
            .map(|word| word.trim_matches('\''))
            .find(|word| word.starts_with("mainstay/") && word.matches('+').count() >= 2)
            .context("the pack's verifier key was not printed")?
            .to_owned();
        print!("{said}");
        let verified = self.verify(path, &key)?;
        ensure!(verified.0, "the pack is refused: {}", verified.1);
        print!("{}", verified.1);
        self.tell("verified, with nothing but the pack and the key");
        flip_one_byte(&pack.join("items.json"))?;
        let verified = self.verify(path, &key)?;
        ensure!(!verified.0, "a pack with another byte was verified");
        print!("{}", verified.1);
        self.tell("one byte flipped: refused");
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        self.chapter("Nothing was lost on the way");
        audit(&self.platform)?;
        self.tell(&format!("left in {}", self.out.display()));
        self.platform.afterwards = Afterwards::Remove;
        Ok(())
    }

    fn does(&self, command: &[&str], more: &[&str]) -> Result<String> {
        let all: Vec<&str> = command.iter().chain(more).copied().collect();
        self.platform.mainstay(&all)
    }

    /// The chaos document, carried by a process of its own; its fault ends by itself whatever becomes of that.
    fn chaos(&self) -> Result<Child> {
        Command::new(self.platform.program("mainstay")?)
            .args(["chaos", "run", SLOW, "--reason", "the demonstration"])
            .env("MAINSTAY_DATA", self.platform.data())
            .current_dir(root()?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the chaos document")
    }

    /// The first entry of a kind that is as asked for, as soon as there is one.
    fn entry(&self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let limit = if kind == "alert.changed" {
            REST
        } else {
            PATIENCE
        };
        self.platform.entry(kind, limit, wanted)
    }

    fn runs(&self, which: &str) -> Result<Vec<Value>> {
        let shown: Value = serde_json::from_str(&self.does(&["playbook", "list", "--json"], &[])?)?;
        Ok(shown[which].as_array().cloned().unwrap_or_default())
    }

    fn suggestion(&self) -> Result<(String, String)> {
        let begun = now();
        while begun.elapsed() < PATIENCE {
            if let Some(run) = self.runs("runs")?.first() {
                return Ok((text(&run["run"]).to_owned(), text(&run["why"]).to_owned()));
            }
            pause(Duration::from_millis(300));
        }
        bail!("no playbook suggested anything within {PATIENCE:?}")
    }

    fn run_ends(&self, id: &str) -> Result<String> {
        let begun = now();
        while begun.elapsed() < PATIENCE {
            let ended = self.runs("ended")?;
            if let Some(run) = ended.iter().find(|run| run["run"] == id) {
                for seen in run["seen"].as_array().into_iter().flatten() {
                    println!("            {}", text(&seen["text"]));
                }
                return Ok(format!("{} {}", text(&run["phase"]), text(&run["why"])));
            }
            pause(Duration::from_millis(300));
        }
        bail!("run {id} did not end within {PATIENCE:?}")
    }

    /// Read from the journal, whose clock is the leader's.
    fn print_intervals(&self, run: &str, entries: [(&str, &Value); 3]) -> Result<()> {
        let of_run = |body: &Value, what: &str| body[what]["run"] == run;
        let begun = self.entry("playbook", |body| of_run(body, "begun"))?;
        let ended = self.entry("playbook", |body| of_run(body, "ended"))?;
        let at = |entry: &Value| entry["at_ms"].as_u64().unwrap_or_default();
        let [(_, fault), told @ ..] = entries;
        let more = [("first action", &begun), ("seen that it helped", &ended)];
        let intervals: Vec<String> = told
            .into_iter()
            .chain(more)
            .map(|(what, entry)| {
                let ms = at(entry).saturating_sub(at(fault));
                format!("{what} {:.1} s", ms as f64 / 1_000.0)
            })
            .collect();
        self.tell(&format!("from the fault to: {}", intervals.join(", ")));
        Ok(())
    }

    fn verify(&self, pack: &str, key: &str) -> Result<(bool, String)> {
        let output = Command::new(self.platform.program("mainstay")?)
            .args(["evidence", "verify", pack, "--key", key])
            .stdin(Stdio::null())
            .output()
            .context("start mainstay")?;
        let said = [output.stdout, output.stderr].concat();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        ))
    }
}

/// As Ctrl-C would: it ends its faults, looks for residue and journals the end.
fn interrupt(process: &mut Child) -> Result<()> {
    Command::new("kill")
        .args(["-INT", &process.id().to_string()])
        .status()
        .context("interrupt the experiment")?;
    process.wait().context("wait for the experiment")?;
    Ok(())
}

fn flip_one_byte(path: &Path) -> Result<()> {
    let mut bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let middle = bytes.len() / 2;
    let byte = bytes.get_mut(middle).context("an empty file")?;
    *byte ^= 1;
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
