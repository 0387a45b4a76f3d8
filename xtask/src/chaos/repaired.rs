//! Documents as somebody wrote them for a cluster: everything that is wrong with them is said, and what comes of them once a
//! program has repaired them runs, is heard of by whom it should be, and leaves nothing behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{HEARD_OF, PATIENCE, REASON, Trial, text};
use crate::step::root;

const WRITTEN: &str = "examples/exchange/chaos/as-written.yaml";
/// As they are called once they say what they do.
const KILL: &str = "venue-pod-kill";
const DELAY: &str = "ledger-latency-test";
/// What Chaos Mesh itself would refuse.
const ERRORS: [(&str, &str); 2] = [
    (
        "missing-field",
        "NetworkChaos/ledger-latency-test spec.target.mode",
    ),
    ("type", "PodChaos/venue-pod-failure spec.value"),
];
/// What it would take, of one of the two or of both.
const WEAKNESSES: [&str; 8] = [
    "jitter-uncorrelated",
    "labels-disagree",
    "name-says-otherwise",
    "never-ends",
    "no-abort",
    "no-blast-radius",
    "no-steady-state",
    "without-effect",
];
/// An alert looks back for half a minute before it rests.
const REST: Duration = Duration::from_secs(150);

impl Trial {
    /// As it stands, each defect is named, and nothing is broken.
    pub(super) fn what_was_written_is_criticised(&self) -> Result<()> {
        let written = root()?.join(WRITTEN);
        let (is_clean, told) = self.check(&[&written.display().to_string(), "--json"])?;
        ensure!(!is_clean, "it was found to be sound");
        let told: Value = serde_json::from_str(&told).context("read the findings")?;
        let findings = told["findings"].as_array().context("there are findings")?;
        let errors: Vec<(&str, &str)> = findings
            .iter()
            .filter(|finding| finding["error"] == true)
            .map(|finding| (text(&finding["code"]), text(&finding["subject"])))
            .collect();
        ensure!(errors == ERRORS, "its errors were said to be {errors:?}");
        let weak = findings.iter().filter(|finding| finding["error"] == false);
        let weak: BTreeSet<&str> = weak.map(|finding| text(&finding["code"])).collect();
        ensure!(
            weak == BTreeSet::from(WEAKNESSES),
            "its weaknesses were said to be {weak:?}"
        );
        let run = ["chaos", "run", WRITTEN, "--reason", REASON];
        ensure!(
            self.platform.mainstay(&run).is_err(),
            "it runs although Chaos Mesh would refuse it"
        );
        ensure!(
            self.platform.journal("fault.injected")?.is_empty(),
            "what was refused broke something"
        );
        self.tell(&format!(
            "as they were written: {} errors and {} kinds of weaknesses, each named; not run",
            errors.len(),
            weak.len()
        ));
        Ok(())
    }

    /// Repaired by the program, there is nothing more to say.
    pub(super) fn repaired(&self) -> Result<PathBuf> {
        let written = root()?.join(WRITTEN).display().to_string();
        let (_, text) = self.check(&[&written, "--repair"])?;
        let path = self.folder.join("repaired.yaml");
        std::fs::write(&path, text).context("write what was repaired")?;
        let platform = root()?.join(super::FILE).display().to_string();
        let shown = path.display().to_string();
        let (is_clean, told) = self.check(&[&shown, "--platform", &platform])?;
        ensure!(is_clean, "repaired, it is still found wanting: {told}");
        self.tell("repaired: nothing is left to say, and all of it can be done here exactly");
        Ok(path)
    }

    pub(super) fn a_repaired_kill_pages_nobody(&self, file: &Path) -> Result<()> {
        let faults = self.platform.journal("fault.injected")?.len();
        let calls = ["incident.opened", "notice.ordered"];
        let before = calls.map(|kind| self.count(kind));
        let heard = self.ear.heard().len();
        let ended = self.experiment(file, Some(KILL))?.wait()?;
        ensure!(ended.success(), "the experiment {KILL} ended with {ended}");
        ensure!(
            self.platform.journal("fault.injected")?.len() == faults + 1,
            "not exactly one instance was killed"
        );
        for (kind, before) in calls.into_iter().zip(before) {
            let since = self.platform.journal(kind)?.split_off(before?);
            ensure!(since.is_empty(), "somebody is called: {since:?}");
        }
        let heard = self.ear.heard().split_off(heard);
        ensure!(heard.is_empty(), "somebody was told: {heard:?}");
        self.left_nothing(KILL)?;
        self.tell("a venue was killed and came back: no incident, no notice, and whoever is on call heard nothing");
        Ok(())
    }

    /// Whoever is on call hears of it: that the kill was silent was no deafness.
    pub(super) fn a_repaired_delay_fires_one_alert(&self, file: &Path) -> Result<()> {
        let before = self.count("alert.changed")?;
        let known = self.count("incident.opened")?;
        let heard = self.ear.heard().len();
        let ended = self.experiment(file, Some(DELAY))?.wait()?;
        ensure!(ended.success(), "the experiment {DELAY} ended with {ended}");
        let fired = self.fired_since(before)?;
        ensure!(
            fired == BTreeSet::from([HEARD_OF.to_owned()]),
            "fired were {fired:?}, not only {HEARD_OF}"
        );
        let incidents = self.platform.journal("incident.opened")?.split_off(known);
        ensure!(
            incidents.len() == 1,
            "one incident was to be opened: {incidents:?}"
        );
        self.wait_for("a notice", PATIENCE, || Ok(self.ear.heard().len() > heard))?;
        self.left_nothing(DELAY)?;
        self.tell("half a second more fired HighOrderLatency and nothing else; one incident, and whoever is on call was told");
        let id = text(&incidents[0]["body"]["incident"]);
        let resolve = ["incident", "resolve", id, "--despite", "--reason", REASON];
        self.platform.mainstay(&resolve)?;
        self.wait_for("the alert to rest", REST, || {
            let changes = self.platform.journal("alert.changed")?;
            let last = changes
                .iter()
                .rfind(|entry| entry["body"]["labels"]["alertname"] == HEARD_OF);
            Ok(last.is_some_and(|entry| entry["body"]["state"] == "resolved"))
        })?;
        self.platform.wait_healthy(PATIENCE)?;
        Ok(())
    }

    /// How many entries of a kind there are.
    fn count(&self, kind: &str) -> Result<usize> {
        Ok(self.platform.journal(kind)?.len())
    }

    /// No fault is in force, and the journal says that nothing was found where one had been.
    fn left_nothing(&self, name: &str) -> Result<()> {
        ensure!(
            self.is_unbroken()?,
            "{name} has ended, and something is broken"
        );
        let end = self.last_end()?;
        let body = &end["body"];
        ensure!(
            body["residue"].as_array().is_some_and(Vec::is_empty),
            "{name} left something behind: {end}"
        );
        ensure!(body["verdict"] == "passed", "{name} has not passed: {end}");
        Ok(())
    }

    /// `mainstay chaos check`: whether it had nothing to say, and what it printed.
    fn check(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let output = Command::new(self.platform.program("mainstay")?)
            .args(["chaos", "check"])
            .args(arguments)
            .current_dir(root()?)
            .output()
            .context("start mainstay")?;
        let text = String::from_utf8(output.stdout).context("read its words")?;
        Ok((output.status.success(), text))
    }
}
