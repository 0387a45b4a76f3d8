//! A region is lost by drill, as real processes: numbered writes through it, a person's step, the way back; every phase is
//! measured, and what was acknowledged is there.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Looks at what does not come: longer than anything here takes, also on a busy machine.
const LOOKS: u32 = 1_200;
const PAUSE: Duration = Duration::from_millis(100);
const PHASES: [&str; 6] = [
    "detect", "decide", "fence", "promote", "reroute", "restored",
];

struct Platform {
    folder: tempfile::TempDir,
}

impl Platform {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // PostgreSQL's user passes through.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("opened");
        let platform = Self { folder };
        let file = platform.write("platform.yaml", include_str!("drill/platform.yaml"));
        let up = platform.mainstay(&["up", &file, "--detach", "--timeout", "180s"]);
        assert!(up.status.success(), "{}", said(&up));
        platform
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command.args(arguments).arg("--data").arg(self.data());
        command
    }

    fn mainstay(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("ended")
    }

    fn act(&self, arguments: &[&str]) -> Output {
        let mut all = arguments.to_vec();
        all.extend(["--reason", "a test"]);
        self.mainstay(&all)
    }

    /// What a command prints as JSON; nothing where it does not answer just now.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.mainstay(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
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

impl Drop for Platform {
    fn drop(&mut self) {
        self.mainstay(&["down", "--reason", "the test is over"]);
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

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[expect(
    clippy::disallowed_methods,
    reason = "real processes are looked at again and again, with a limit"
)]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("{what} did not come");
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
    let file = platform.write("region.yaml", include_str!("drill/region.yaml"));
    missed(&platform, &file);
    let arguments = ["drill", "run", &file, "--reason", "a test"];
    let mut command = platform.command(&arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = Running(Some(command.spawn().expect("started")));
    until("the person's step", || {
        let shown = platform.json(&["drill", "list", "--json"]);
        (shown["running"]["step"] == "seen").then_some(())
    });
    let second = platform.act(&["drill", "run", &file]);
    assert_eq!(
        second.status.code(),
        Some(3),
        "one at a time: {}",
        said(&second)
    );
    let early = platform.act(&["drill", "confirm", "d1", "whole"]);
    assert_eq!(early.status.code(), Some(3), "{}", said(&early));
    let confirmed = platform.act(&["drill", "confirm", "d1", "seen"]);
    assert!(confirmed.status.success(), "{}", said(&confirmed));
    let ended = run.ended();
    let entries = platform.entries("d1");
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

/// Adopted with a schedule that nobody follows, it calls; and that alone does not stand in its way.
fn missed(platform: &Platform, file: &str) {
    let adopted = platform.act(&["drill", "adopt", file]);
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
