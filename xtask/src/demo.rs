//! The loop from end to end, told on the terminal: orders flow, the database slows, an alert becomes an incident, a
//! playbook suggests and somebody says go, the report opens and the incident is replayed against other rules; then a whole
//! region is lost by drill, and what the journal shows of it is signed, packed, verified by our code and by somebody else's, and
//! refused when one byte of any part is another.
//!
//! Nothing is staged: every figure is read from the journal of the platform that runs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::c2sp::Peer;
use crate::flipped::Pack;
use crate::flow::{Flow, Source, audit};
use crate::platform::{Afterwards, Platform, now, pause};
use crate::step::{Profile, root};

const FILE: &str = "examples/exchange/platform-chaos.yaml";
const SLOW: &str = "examples/exchange/chaos/slow-home.yaml";
const PLAYBOOK: &str = "examples/exchange/playbooks/leave-slow-database.yaml";
const DRILL: &str = "examples/exchange/drills/region-lost.yaml";
const ALERT: &str = "HighOrderLatency";
const RULES: &str = "examples/exchange/chaos/rules.yaml";
/// The item of a pack that tells who signed.
const SIGN_OFF: u64 = 13;
const PHASES: [&str; 6] = [
    "detect", "decide", "fence", "promote", "reroute", "restored",
];
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
        self.replay(id)?;
        self.sign(id, page)
    }

    /// The rules of the example would notice it again; without the one that did, nobody would have been called.
    fn replay(&self, id: &str) -> Result<()> {
        let rules = root()?.join(RULES);
        let followed = std::fs::read_to_string(&rules).context("read the example's rules")?;
        let caught = ["incident", "replay", id, "--json", "--rules"];
        let said = self.does(&caught, &[&rules.display().to_string()])?;
        let told: Value = serde_json::from_str(&said).context("read the replay")?;
        let fired = told["fired"].as_array().context("alerts are listed")?;
        let is_it = |fired: &Value| text(&fired["alert"]).contains(ALERT);
        ensure!(
            told["caught"] == true && fired.iter().any(is_it),
            "its own rules would not have noticed it: {said}"
        );
        let deaf = self.out.join("deaf.yaml");
        let never = followed
            .replace("> 0.5", "> 500")
            .replace("> 0.001", "> 10");
        ensure!(never != followed, "the example's rules have other bounds");
        std::fs::write(&deaf, never).context("write other rules")?;
        let output = self
            .mainstay(&caught)?
            .arg(&deaf)
            .output()
            .context("start mainstay")?;
        ensure!(
            output.status.code() == Some(1),
            "rules that fire at nothing would have noticed it"
        );
        self.tell(
            "replayed: the rules that are followed would notice it again, deaf ones would not",
        );
        Ok(())
    }

    /// Whoever resolved it signs too, which is told and is not enough.
    fn sign(&self, id: &str, page: &str) -> Result<()> {
        let statement = ["--reason", "as it was"];
        self.does(&["incident", "sign", id, page], &statement)?;
        let subject = ["--incident", id, "--attach", page];
        let pack = Pack::make(&self.platform, &subject, &self.out.join("incident"))?;
        pack.verified()?;
        let signed = pack.item(SIGN_OFF)?.to_string();
        ensure!(
            signed.contains(&format!("{id}.html, which is attached"))
                && signed.contains("who resolved it too"),
            "the page that was signed is not told of: {signed}"
        );
        self.tell(
            "the page is signed, packed with its evidence, and verified with nothing but the key",
        );
        Ok(())
    }

    fn mainstay(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(self.platform.program("mainstay")?);
        command
            .args(arguments)
            .env("MAINSTAY_DATA", self.platform.data())
            .current_dir(root()?)
            .stdin(Stdio::null());
        Ok(command)
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
        let drill = self
            .mainstay(&["drill", "run", DRILL, "--reason", "the demonstration"])?
            .status()
            .context("start the drill")?;
        ensure!(drill.success(), "the drill did not pass: {drill}");
        self.tell("the drill passed; its verdict stands in the journal");
        let ended = self.entry("drill.ended", |_| true)?;
        let id = text(&ended["body"]["drill"]).to_owned();
        self.figures(&ended)?;
        self.evidence(&id)
    }

    /// Every phase of the recovery was measured, and every promise was kept.
    fn figures(&self, ended: &Value) -> Result<()> {
        let services = ended["body"]["services"].as_array().context("services")?;
        ensure!(!services.is_empty(), "no service was judged: {ended}");
        for service in services {
            let is_kept = ["rto", "rpo"].map(|of| text(&service[of]));
            let is_left_out = service["objective"]["unmeasured"].is_string();
            ensure!(
                is_left_out
                    || is_kept
                        .iter()
                        .all(|word| ["met", "no_objective"].contains(word)),
                "a promise was not kept: {service}"
            );
        }
        let measured = self.platform.journal("drill.measured")?;
        let recoveries: Vec<&Value> = measured
            .iter()
            .map(|entry| &entry["body"]["measurement"])
            .filter(|measured| measured["measured"] == "recovery")
            .collect();
        ensure!(!recoveries.is_empty(), "no recovery was measured");
        for recovery in recoveries {
            let values = recovery["values"].as_array().context("values")?;
            let value = |name: &str| values.iter().find(|value| value["name"] == name);
            for phase in PHASES {
                let is_there = value(phase).is_some_and(|value| value["value"].is_u64());
                ensure!(is_there, "{phase} was not measured: {recovery}");
            }
        }
        self.tell(
            "detect, decide, fence, promote, reroute, restored: each measured, for each load",
        );
        Ok(())
    }

    fn evidence(&self, drill: &str) -> Result<()> {
        self.chapter("What the journal shows of it, for somebody who was not there");
        let sign = ["drill", "sign", drill];
        self.does(&sign, &["--reason", "seen with the figures"])?;
        let subject = ["--drill", drill];
        let pack = Pack::make(&self.platform, &subject, &self.out.join("evidence"))?;
        print!("{}", pack.verified()?);
        self.tell("verified, with nothing but the pack and the key");
        let signed = pack.item(SIGN_OFF)?.to_string();
        ensure!(
            signed.contains("seen with the figures"),
            "the signature is not told of: {signed}"
        );
        let peer = Peer::build()?;
        if let Some(peer) = &peer {
            let key = [pack.key().to_owned()];
            print!("{}", peer.reads(&pack.log(), &key, &[])?);
            self.tell("the log is read by golang.org/x/mod/sumdb, too");
        }
        let files = pack.refused_flipped(peer.as_ref())?;
        self.tell(&format!(
            "one byte flipped, in each of its {files} files in turn: refused, and the file named"
        ));
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

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
