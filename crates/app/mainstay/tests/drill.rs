//! A region is lost by drill, as real processes: numbered writes through it, a person's step, the way back; every phase is
//! measured, and what was acknowledged is there.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use mainstay_testkit::platform::{self, said, until};
use serde_json::{Value, json};

const PHASES: [&str; 6] = [
    "detect", "decide", "fence", "promote", "reroute", "restored",
];

struct Platform(platform::Platform);

impl Deref for Platform {
    type Target = platform::Platform;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Platform {
    fn start() -> Self {
        let platform = Self(platform::Platform::new(env!("CARGO_BIN_EXE_mainstay")));
        let file = platform.write("platform.yaml", include_str!("drill/platform.yaml"), 0o644);
        platform.0.start(&file);
        platform
    }

    /// Entries of a kind, by everybody.
    fn journal(&self, kind: &str) -> Vec<Value> {
        self.0.entries(kind)
    }

    /// Waits until the run is in the step in which its fault is in force, and its load under way.
    fn wait_broken(&self, drill: &str) {
        until("a fault", || {
            let shown = self.json(&["drill", "list", "--json"]);
            let running = &shown["running"];
            (running["drill"] == drill && running["step"] == "meanwhile").then_some(())
        });
        assert!(!self.load(drill).is_empty(), "its load is under way");
    }

    /// Processes that were started for this platform with these words.
    fn processes(&self, words: &[&str]) -> Vec<i32> {
        let folder = self.folder().display().to_string();
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_meant = |pid: &i32| {
            let line = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
            let line = line.unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.contains(&folder) && words.iter().all(|word| line.contains(word))
        };
        pids.filter(is_meant).collect()
    }

    /// What writes for a run.
    fn load(&self, drill: &str) -> Vec<i32> {
        self.processes(&["probe", &format!("-{drill}-unattended")])
    }

    /// The command that a node has started.
    fn carrier(&self, drill: &str) -> i32 {
        let found = self.processes(&["drill", "run", "--adopted"]);
        let [carrier] = found.as_slice() else {
            panic!("{drill} is carried by {found:?}");
        };
        *carrier
    }

    fn wait_ended(&self, drill: &str) -> Value {
        until("its end", || {
            let shown = self.json(&["drill", "list", "--json"]);
            let mut ended = shown["ended"].as_array()?.iter();
            ended.find(|run| run["drill"] == drill).cloned()
        })
    }

    /// Its command died in the middle: what it broke is mended, nobody writes any more, and the journal says so.
    fn check_abandoned(&self, drill: &str) {
        let ended = self.wait_ended(drill);
        assert_eq!(ended["end"]["verdict"], "inconclusive", "{ended:#}");
        assert_eq!(
            ended["end"]["why"],
            "the command that carried it died in step meanwhile"
        );
        assert_eq!(ended["end"]["residue"], json!([]), "{ended:#}");
        let mended = self.journal("fault.ending");
        let is_its = |entry: &Value| entry["body"]["why"]["drill"]["drill"] == drill;
        assert!(mended.iter().any(is_its), "{mended:#?}");
        until("the end of its load", || {
            self.load(drill).is_empty().then_some(())
        });
        let entries = self.entries(drill);
        let kinds: Vec<&str> = entries.iter().map(|(kind, _)| kind.as_str()).collect();
        assert!(
            kinds.ends_with(&["drill.abandoned", "drill.ended"]),
            "{kinds:?}"
        );
    }

    /// Bodies of the entries of a run, with their kinds.
    fn entries(&self, drill: &str) -> Vec<(String, Value)> {
        let output = self.mainstay(&["drill", "show", drill, "--json"]);
        let text = said(&output);
        let entry = |line: &str| {
            let mut entry: Value = serde_json::from_str(line).expect("an entry");
            let kind = entry["kind"].as_str().expect("a kind").to_owned();
            (kind, entry["body"].take())
        };
        text.lines().map(entry).collect()
    }
}

/// A command under way, ended with the test.
struct Running(Option<Child>);

impl Running {
    fn ended(mut self) -> Output {
        let child = self.0.take().expect("it runs");
        child.wait_with_output().expect("ended")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A figure of a measurement; `None` if it was not measured.
fn figure(measurement: &Value, name: &str) -> Option<u64> {
    let values = measurement["values"].as_array().expect("values");
    let found = values.iter().find(|value| value["name"] == name);
    found.expect(name)["value"].as_u64()
}

fn measured<'a>(entries: &'a [(String, Value)], of: &str) -> &'a Value {
    let all = entries.iter().filter(|(kind, _)| kind == "drill.measured");
    let mut all = all.map(|(_, body)| &body["measurement"]);
    all.find(|found| found["measured"] == of).expect(of)
}

#[test]
fn a_region_is_lost_by_drill_and_each_phase_is_measured_and_nothing_acknowledged_is_lost() {
    let platform = Platform::start();
    // The first: what comes of a lost region is an incident, and while one is open nothing starts by itself.
    whoever_leads_starts_what_is_due(&platform);
    a_command_dies_and_nobody_goes_on(&platform);
    let file = platform.write("region.yaml", include_str!("drill/region.yaml"), 0o644);
    missed(&platform, &file);
    let arguments = ["drill", "run", &file, "--reason", "a test"];
    let mut command = platform.command(&arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = Running(Some(command.spawn().expect("started")));
    until("the person's step", || {
        let shown = platform.json(&["drill", "list", "--json"]);
        (shown["running"]["step"] == "seen").then_some(())
    });
    let second = platform.attempt(&["drill", "run", &file]);
    assert_eq!(
        second.status.code(),
        Some(3),
        "one at a time: {}",
        said(&second)
    );
    let early = platform.attempt(&["drill", "confirm", "d4", "whole"]);
    assert_eq!(early.status.code(), Some(3), "{}", said(&early));
    let confirmed = platform.attempt(&["drill", "confirm", "d4", "seen"]);
    assert!(confirmed.status.success(), "{}", said(&confirmed));
    let ended = run.ended();
    let entries = platform.entries("d4");
    assert!(ended.status.success(), "{}\n{entries:#?}", said(&ended));

    let recovery = measured(&entries, "recovery");
    let phases = PHASES.map(|phase| {
        let length = figure(recovery, phase);
        length.unwrap_or_else(|| panic!("{phase} was not measured: {recovery:#}"))
    });
    let rto = figure(recovery, "rto").expect("a recovery time");
    let sum = phases.iter().sum::<u64>();
    assert!(sum.abs_diff(rto) <= 5_000, "{sum} of {rto}: {recovery:#}");
    assert!(
        rto > 500_000,
        "the loss of the primary's region was noticed: {rto}"
    );
    let ledger = measured(&entries, "ledger");
    let acknowledged = figure(ledger, "acknowledged").expect("a count");
    assert!(acknowledged > 100, "{ledger:#}");
    assert_eq!(figure(ledger, "acknowledged_present"), Some(acknowledged));
    for wrong in ["lost", "duplicated", "invented"] {
        assert_eq!(figure(ledger, wrong), Some(0), "{ledger:#}");
    }
    let secondary = measured(&entries, "secondary");
    assert!(
        figure(secondary, "acknowledged").expect("a count") > 40,
        "{secondary:#}"
    );
    assert!(figure(secondary, "failed_back").is_some(), "{secondary:#}");
    told_in_order(&entries);
}

/// Nobody starts it; the text that was approved is run, and no other. Its command and the leader die at once: whoever leads
/// then mends what it broke, and starts it once more.
fn whoever_leads_starts_what_is_due(platform: &Platform) {
    let text = include_str!("drill/unattended.yaml");
    let file = platform.write("unattended.yaml", text, 0o644);
    let early = platform.attempt(&["drill", "run", &file, "--adopted"]);
    assert_eq!(early.status.code(), Some(3), "{}", said(&early));
    platform.act(&["drill", "adopt", &file]);
    platform.wait_broken("d1");
    let leader = until("a leader", || platform.leader());
    let node = platform.node(&leader).expect("its node runs");
    let claims = platform.journal("leadership.claimed").len();
    kill(&[platform.carrier("d1"), node]);
    platform.check_abandoned("d1");
    assert!(
        platform.journal("leadership.claimed").len() > claims,
        "the leader was killed, and somebody took over"
    );
    until("the same once more", || {
        let shown = platform.json(&["drill", "list", "--json"]);
        (shown["running"]["drill"] == "d2").then_some(())
    });
    platform.act(&["drill", "withdraw", "unattended"]);
    let ended = platform.wait_ended("d2");
    assert_eq!(ended["end"]["verdict"], "passed", "{ended:#}");
    let left = platform.json(&["fault", "list", "--json"]);
    assert_eq!(left, json!([]), "its own step mended what it broke");
    for drill in ["d1", "d2"] {
        let (kind, begun) = platform.entries(drill).remove(0);
        assert_eq!(kind, "drill.begun");
        assert!(begun["approved"].is_u64(), "its text was adopted: {begun}");
        assert_eq!(begun["reason"], "it is due");
    }
}

/// A person's run ends with its command, although there is a text and a leader.
fn a_command_dies_and_nobody_goes_on(platform: &Platform) {
    let file = platform.folder().join("unattended.yaml");
    let file = file.to_str().expect("UTF-8");
    let mut command = platform.command(&["drill", "run", file, "--reason", "a test"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let run = Running(Some(command.spawn().expect("started")));
    platform.wait_broken("d3");
    // Killed, and waited for.
    drop(run);
    platform.check_abandoned("d3");
}

/// By SIGKILL, all at once.
fn kill(pids: &[i32]) {
    let pids = pids.iter().map(ToString::to_string);
    let sent = Command::new("kill").arg("-9").args(pids).status();
    assert!(sent.expect("ran").success());
}

/// Adopted with a schedule that nobody follows, it calls; and that alone does not stand in its way.
fn missed(platform: &Platform, file: &str) {
    let adopted = platform.attempt(&["drill", "adopt", file]);
    assert!(adopted.status.success(), "{}", said(&adopted));
    let incident = until("the alarm", || {
        let all = platform.json(&["incident", "list", "--all", "--json"]);
        let all = all.as_array()?.clone();
        all.into_iter().find(|found| found["state"] == "open")
    });
    assert_eq!(
        incident["title"],
        "the drill region-lost was due and did not run"
    );
}

/// Every step stands before and after it was done, and the end has the verdict on the service.
fn told_in_order(entries: &[(String, Value)]) {
    let begun = &entries[0].1;
    assert_eq!(entries[0].0, "drill.begun");
    assert!(begun["approved"].is_u64(), "its text was adopted: {begun}");
    let plan = begun["plan"]["steps"].as_array().expect("steps");
    let mut told = entries
        .iter()
        .filter(|(kind, _)| kind.starts_with("drill.step_"));
    for step in plan {
        let (kind, body) = told.next().expect("a beginning");
        assert_eq!(
            (kind.as_str(), &body["step"]),
            ("drill.step_begun", &step["id"])
        );
        let (kind, body) = told.next().expect("an end");
        assert_eq!(
            (kind.as_str(), &body["end"]["step"]),
            ("drill.step_ended", &step["id"])
        );
        assert_eq!(body["end"]["outcome"], "done", "{body}");
    }
    let (kind, end) = entries.last().expect("an end");
    assert_eq!(kind, "drill.ended");
    assert_eq!(end["end"]["verdict"], "passed", "{end}");
    assert_eq!(end["end"]["residue"], json!([]));
    let service = &end["services"][0];
    assert_eq!(
        (
            &service["rto"],
            &service["rpo"],
            &service["lost_transactions"]
        ),
        (&json!("met"), &json!("met"), &json!(0))
    );
}
