//! The example's chaos documents on real processes, and what the journal says of each: what must be heard of is, and nothing
//! else; what heals by itself calls nobody; nothing is broken while an incident is open; an abort condition ends an
//! experiment; and a command that is killed ends nothing. Before that, documents as somebody wrote them: criticised, repaired,
//! and run.

mod repaired;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::ear::Ear;
use crate::flow::{Flow, Source, audit};
use crate::platform::{Afterwards, Platform, now, pause};
use crate::step::{Profile, root};

const FILE: &str = "examples/exchange/platform-chaos.yaml";
const DOCUMENTS: &str = "examples/exchange/chaos/experiments.yaml";
const KILL: &str = "dead-venue";
const DELAY: &str = "slow-database";
const HEARD_OF: &str = "HighOrderLatency";
/// Orders a second, and for how long at most.
const RATE: u32 = 20;
const FLOW: Duration = Duration::from_secs(1_200);
/// Until rates over a minute mean something.
const WARM_UP: Duration = Duration::from_secs(35);
/// For what happens by itself within seconds.
const PATIENCE: Duration = Duration::from_secs(90);
/// The command's exit code for what was refused.
const REFUSED: i32 = 3;
const REASON: &str = "the suite";

#[derive(clap::Args)]
pub struct Arguments {
    /// Build profile of the programs
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut trial = Trial::begin(arguments.profile)?;
    let flow = Flow::start(&trial.platform, Source::Generated, RATE, FLOW)?;
    trial.what_was_written_is_criticised()?;
    let repaired = trial.repaired()?;
    pause(WARM_UP);
    trial.its_start_is_over()?;
    trial.a_repaired_kill_pages_nobody(&repaired)?;
    trial.a_repaired_delay_fires_one_alert(&repaired)?;
    trial.a_kill_calls_nobody()?;
    trial.a_delay_is_heard_of_and_nothing_else()?;
    trial.an_open_incident_refuses()?;
    trial.a_condition_aborts()?;
    trial.a_killed_command_ends_nothing()?;
    drop(flow);
    audit(&trial.platform)?;
    trial.platform.afterwards = Afterwards::Remove;
    std::fs::remove_dir_all(&trial.folder).context("remove the suite's files")
}

struct Trial {
    platform: Platform,
    /// Documents of the suite's own.
    folder: PathBuf,
    /// Whoever is on call.
    ear: Ear,
    begun: Instant,
}

impl Trial {
    fn begin(profile: Profile) -> Result<Self> {
        let name = format!("mainstay-chaos-{}", std::process::id());
        let data = std::env::temp_dir().join(&name);
        let folder = std::env::temp_dir().join(format!("{name}-files"));
        let ear = Ear::open()?;
        let file = called_platform(&ear, &folder)?;
        let platform = Platform::start_file(&file, data, 0, profile)?;
        platform.wait_healthy(PATIENCE)?;
        Ok(Self {
            platform,
            folder,
            ear,
            begun: now(),
        })
    }

    fn tell(&self, what: &str) {
        println!("{:>6.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    /// On a busy machine a watch hears nothing of servers that only just start, and says so. That is over before anything is
    /// broken, and no part of what is asserted.
    fn its_start_is_over(&self) -> Result<()> {
        self.wait_for("every alert of its start to rest", PATIENCE, || {
            self.nothing_fires()
        })?;
        for entry in self.platform.journal("incident.opened")? {
            let id = text(&entry["body"]["incident"]);
            let resolve = [
                "incident",
                "resolve",
                id,
                "--despite",
                "--reason",
                "it starts",
            ];
            // It may have been resolved by itself.
            self.platform.mainstay(&resolve).ok();
        }
        self.wait_for("the last word of its start", PATIENCE, || {
            let said = self.platform.journal("notice.ordered")?;
            let last = said.last().map(|entry| text(&entry["body"]["kind"]));
            Ok(last.is_none_or(|kind| kind == "resolve") && self.ear.heard().len() >= said.len())
        })
    }

    fn nothing_fires(&self) -> Result<bool> {
        let changes = self.platform.journal("alert.changed")?;
        let last: BTreeMap<&str, &Value> = changes
            .iter()
            .map(|entry| (text(&entry["body"]["alert"]), &entry["body"]["state"]))
            .collect();
        Ok(last.values().all(|state| **state == "resolved"))
    }

    fn a_kill_calls_nobody(&self) -> Result<()> {
        let faults = self.platform.journal("fault.injected")?.len();
        let incidents = self.platform.journal("incident.opened")?.len();
        let ended = self.experiment(Path::new(DOCUMENTS), Some(KILL))?.wait()?;
        ensure!(ended.success(), "the experiment {KILL} ended with {ended}");
        let killed = self.platform.journal("fault.injected")?.len() - faults;
        ensure!(killed > 0, "nothing was killed");
        let opened = self
            .platform
            .journal("incident.opened")?
            .split_off(incidents);
        ensure!(opened.is_empty(), "somebody is called: {opened:?}");
        self.tell("a venue was killed, came back, and nobody was called");
        Ok(())
    }

    fn a_delay_is_heard_of_and_nothing_else(&self) -> Result<()> {
        let before = self.platform.journal("alert.changed")?.len();
        let incidents = self.platform.journal("incident.opened")?.len();
        let ended = self.experiment(Path::new(DOCUMENTS), Some(DELAY))?.wait()?;
        ensure!(ended.success(), "the experiment {DELAY} ended with {ended}");
        let opened = self.platform.journal("incident.opened")?.len() - incidents;
        ensure!(opened == 1, "one incident was to be opened, not {opened}");
        let fired = self.fired_since(before)?;
        let wanted = BTreeSet::from([HEARD_OF.to_owned()]);
        ensure!(fired == wanted, "fired were {fired:?}, not only {HEARD_OF}");
        self.tell("half a second more fired HighOrderLatency, and nothing else");
        Ok(())
    }

    /// Alerts that began after so many changes.
    fn fired_since(&self, before: usize) -> Result<BTreeSet<String>> {
        let changes = self.platform.journal("alert.changed")?;
        let fired = changes
            .iter()
            .skip(before)
            .map(|entry| &entry["body"])
            .filter(|body| body["state"] == "firing")
            .filter_map(|body| body["labels"]["alertname"].as_str());
        Ok(fired.map(str::to_owned).collect())
    }

    /// The delay's alert opened one.
    fn an_open_incident_refuses(&self) -> Result<()> {
        let incidents = self.platform.journal("incident.opened")?;
        let incident = incidents.last().context("the delay opened none")?;
        let id = text(&incident["body"]["incident"]);
        let faults = self.platform.journal("fault.injected")?.len();
        let ended = self.experiment(Path::new(DOCUMENTS), Some(KILL))?.wait()?;
        ensure!(
            ended.code() == Some(REFUSED),
            "beside an open incident an experiment ended with {ended}"
        );
        let broken = self.platform.journal("fault.injected")?.len() - faults;
        ensure!(broken == 0, "it was refused, and {broken} faults were set");
        self.tell(&format!("refused while {id} is open"));
        let resolve = ["incident", "resolve", id, "--despite", "--reason", REASON];
        self.platform.mainstay(&resolve)?;
        self.platform.wait_healthy(PATIENCE)?;
        Ok(())
    }

    /// A condition that cannot hold ends an experiment of a minute within seconds.
    fn a_condition_aborts(&self) -> Result<()> {
        let abort = "  abort:\n    - {name: never, query: 'vector(0)', atLeast: 0.9}\n";
        let file = self.document("aborted.yaml", "60s", abort)?;
        let ended = self.experiment(&file, None)?.wait()?;
        ensure!(
            ended.code() == Some(1),
            "an aborted experiment ended with {ended}"
        );
        let entry = self.last_end()?;
        ensure!(
            entry["body"]["verdict"] == "aborted",
            "not aborted: {entry}"
        );
        self.wait_for("its fault to end", PATIENCE, || self.is_unbroken())?;
        let lasted = at_ms(&entry).saturating_sub(at_ms(&self.last("experiment.begun")?));
        ensure!(lasted < 60_000, "it was not ended early: {lasted} ms");
        self.tell(&format!(
            "a condition ended a minute's fault after {lasted} ms"
        ));
        Ok(())
    }

    /// The platform carries it, and its command only looks on.
    fn a_killed_command_ends_nothing(&self) -> Result<()> {
        let file = self.document("orphaned.yaml", "10s", "")?;
        let faults = self.platform.journal("fault.injected")?.len();
        let ends = self.platform.journal("experiment.ended")?.len();
        let mut command = self.experiment(&file, None)?;
        self.wait_for("its fault", PATIENCE, || {
            Ok(self.platform.journal("fault.injected")?.len() > faults)
        })?;
        command.kill()?;
        self.wait_for("the verdict", PATIENCE, || {
            Ok(self.platform.journal("experiment.ended")?.len() > ends)
        })?;
        ensure!(self.is_unbroken()?, "it has ended, and something is broken");
        let entry = self.last_end()?;
        ensure!(
            entry["body"]["verdict"] == "passed",
            "it did not go on without its command: {entry}"
        );
        self.tell("the command was killed, and the experiment went on to its verdict: passed");
        Ok(())
    }

    /// A delay between the primary's region and the others, with an experiment around it.
    fn document(&self, name: &str, lasts: &str, more: &str) -> Result<PathBuf> {
        let documents = std::fs::read_to_string(root()?.join(DOCUMENTS))?;
        let (delay, _) = documents
            .split_once("\n---\n")
            .context("the example has one document only")?;
        let delay = delay.replacen("duration: 60s", &format!("duration: {lasts}"), 1);
        let around = format!(
            "---\napiVersion: mainstay/v1\nkind: Experiment\nmetadata:\n  name: suite\nspec:\n  \
             hypothesis: \"the suite ends it\"\n  seed: 1\n  run:\n    - kind: NetworkChaos\n      \
             name: trading-database-latency\n  steadyState:\n    - {{name: there, query: 'vector(1)', atLeast: 1}}\n{more}"
        );
        let path = self.folder.join(name);
        std::fs::write(&path, format!("{delay}\n{around}"))?;
        Ok(path)
    }

    fn experiment(&self, file: &Path, only: Option<&str>) -> Result<Running> {
        let mut command = Command::new(self.platform.program("mainstay")?);
        command.args(["chaos", "run", "--reason", REASON]).arg(file);
        if let Some(only) = only {
            command.args(["--only", only]);
        }
        let child = command
            .env("MAINSTAY_DATA", self.platform.data())
            .current_dir(root()?)
            .stdin(Stdio::null())
            .spawn()
            .context("start the experiment")?;
        Ok(Running(child))
    }

    fn is_unbroken(&self) -> Result<bool> {
        let status = self.platform.status()?;
        Ok(status["faults"].as_array().is_none_or(Vec::is_empty))
    }

    fn last(&self, kind: &str) -> Result<Value> {
        let entries = self.platform.journal(kind)?;
        let last = entries.into_iter().next_back();
        last.with_context(|| format!("no entry of {kind}"))
    }

    fn last_end(&self) -> Result<Value> {
        self.last("experiment.ended")
    }

    fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        condition: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        let begun = now();
        while !condition()? {
            ensure!(begun.elapsed() < limit, "{what}: not within {limit:?}");
            pause(Duration::from_millis(300));
        }
        Ok(())
    }
}

/// The example, in which whoever is on call is an ear of this suite; with the rules that it names beside it.
fn called_platform(ear: &Ear, folder: &Path) -> Result<PathBuf> {
    let example = root()?.join(FILE);
    let beside = example.parent().context("the example stands in a folder")?;
    for rules in ["rules", "chaos"] {
        let copies = folder.join(rules);
        std::fs::create_dir_all(&copies).with_context(|| format!("make {}", copies.display()))?;
        for entry in std::fs::read_dir(beside.join(rules)).context("list the example's rules")? {
            let entry = entry?;
            std::fs::copy(entry.path(), copies.join(entry.file_name()))
                .with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    let text = std::fs::read_to_string(&example).context("read the example")?;
    let file = folder.join("platform.yaml");
    std::fs::write(&file, ear.on_call(&text, folder)?).context("write the platform file")?;
    Ok(file)
}

/// An experiment's command; it does not outlive the suite.
struct Running(Child);

impl Running {
    fn wait(mut self) -> Result<ExitStatus> {
        self.0.wait().context("wait for the experiment")
    }

    fn kill(&mut self) -> Result<()> {
        self.0.kill().context("kill the command")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn at_ms(entry: &Value) -> u64 {
    entry["at_ms"].as_u64().unwrap_or_default()
}
