//! A sample on real processes of what the kernel's own scenarios enumerate: whoever leads, and whoever carries a step
//! out, is killed in the middle of runs of a playbook and of faults. Nothing is lost, nothing done twice, no fault left.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// Looks at what does not come: longer than anything here takes, also on a busy machine.
const LOOKS: u32 = 1_200;
const PAUSE: Duration = Duration::from_millis(100);
/// Of the choice of victims and of moments.
const SEED: u64 = 7;
const RUNS: u64 = 6;
const FAULTS: u64 = 3;

struct Platform {
    folder: tempfile::TempDir,
}

impl Platform {
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

    fn act(&self, arguments: &[&str]) {
        let mut all = arguments.to_vec();
        all.extend(["--reason", "a test"]);
        let output = self.mainstay(&all);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.mainstay(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        open(&path, mode);
        path
    }

    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // The program of a step runs as nobody where this runs as root.
        open(folder.path(), 0o755);
        let platform = Self { folder };
        let marks = platform.write("marks", "", 0o666);
        let count = format!("#!/bin/sh\necho \"$1\" >>{}\nsleep 0.4\n", marks.display());
        let count = platform.write("count", &count, 0o755);
        let book =
            include_str!("response/mend.yaml").replace("COUNT", &count.display().to_string());
        let book = platform.write("mend.yaml", &book, 0o644);
        let file = platform.write(
            "platform.yaml",
            include_str!("response/platform.yaml"),
            0o644,
        );
        let file = file.display().to_string();
        let up = platform.mainstay(&["up", &file, "--detach", "--timeout", "120s"]);
        assert!(up.status.success(), "{}", said(&up));
        platform.act(&["playbook", "adopt", &book.display().to_string()]);
        platform
    }

    fn marks(&self, mark: &str) -> usize {
        let text = std::fs::read_to_string(self.folder.path().join("marks")).expect("marks");
        text.lines().filter(|line| *line == mark).count()
    }

    /// The process of a host's node.
    fn node(&self, host: &str) -> Option<i32> {
        let path = self.data().join(format!("hosts/{host}/node/launch.json"));
        let launch: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        i32::try_from(launch["process"]["pid"].as_i64()?).ok()
    }

    fn leader(&self) -> Option<String> {
        let status = self.json(&["status", "--json"]);
        Some(status["leadership"]["leader"].as_str()?.to_owned())
    }

    fn kill(&self, host: &str) {
        let pid = self.node(host).expect("a node").to_string();
        // It may have been killed before and not be back.
        Command::new("kill")
            .args(["-9", &pid])
            .stderr(Stdio::null())
            .status()
            .expect("ran");
    }

    /// The run of this mark, and whether it is over.
    fn run_of(&self, mark: &str) -> Option<(Value, bool)> {
        let all = self.json(&["playbook", "list", "--json"]);
        let found = |list: &str| {
            let mut runs = all[list].as_array()?.iter();
            runs.find(|run| run["values"]["mark"] == mark).cloned()
        };
        let over = found("ended").map(|run| (run, true));
        over.or_else(|| found("runs").map(|run| (run, false)))
    }

    /// Waits for the end of a run. Whoever is asked looks at what was really done.
    fn ended(&self, mark: &str) -> Value {
        until("the end of a run", || {
            let (run, over) = self.run_of(mark)?;
            if over {
                return Some(run);
            }
            let id = run["run"].as_str().expect("a name");
            if run["phase"] == "asking" {
                let step_done = run["step"] != "count" || self.marks(mark) > 0;
                let answer: &[&str] = match step_done {
                    true => &["playbook", "approve", id, "--reason", "it was done"],
                    false => &["playbook", "abort", id, "--undo", "--reason", "it was not"],
                };
                // Whoever is asked may die; it is asked again.
                self.mainstay(answer);
            }
            None
        })
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.mainstay(&["down", "--reason", "the test is over"]);
    }
}

fn open(path: &Path, mode: u32) {
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).expect("opened");
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = found() {
            return found;
        }
        pause(PAUSE);
    }
    panic!("waited in vain for {what}");
}

#[allow(
    clippy::disallowed_methods,
    reason = "between two looks, and until a moment of the schedule; no time decides the test"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// SplitMix64.
fn dice(round: u64, sides: u64) -> u64 {
    let mut mixed = (SEED + round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % sides
}

/// Somebody dies, at some moment after now.
fn strike(platform: &Platform, round: u64, leader: &str) {
    let victims: &[&str] = match round % 3 {
        0 => &[leader],
        1 => &["b1"],
        _ => &[leader, "b1"],
    };
    let moment = Duration::from_millis(dice(round, 900));
    eprintln!("round {round}: {victims:?} after {moment:?}");
    pause(moment);
    for victim in victims {
        platform.kill(victim);
    }
}

fn is_stopped(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

#[test]
fn runs_and_faults_survive_the_death_of_whoever_is_at_them() {
    let platform = Platform::start();
    for round in 0..RUNS {
        let leader = until("a leader", || platform.leader());
        until("everybody", || {
            let status = platform.json(&["status", "--json"]);
            (status["verdict"] == "healthy").then_some(())
        });
        let mark = format!("mark-{round}");
        let set = format!("mark={mark}");
        platform.act(&["playbook", "run", "mend", "--set", "host=b1", "--set", &set]);
        strike(&platform, round, &leader);
        let run = platform.ended(&mark);
        let marks = platform.marks(&mark);
        assert!(marks <= 1, "{mark} was made {marks} times: {run:#}");
        assert!(
            run["phase"] != "done" || marks == 1,
            "told as done, and was not: {run:#}"
        );
        assert!(
            ["done", "aborted", "undone", "failed"]
                .contains(&run["phase"].as_str().expect("a phase")),
            "{run:#}"
        );
        let drained = until("an answer", || {
            platform.json(&["playbook", "list", "--json"])["drained"]
                .as_array()
                .cloned()
        });
        assert!(
            drained.is_empty(),
            "{drained:?} is left out of routing: {run:#}"
        );
    }
    for round in 0..FAULTS {
        let leader = until("a leader", || platform.leader());
        let mut fault = platform.command(&[
            "fault",
            "inject",
            "process-freeze",
            "b1/idle",
            "--for",
            "2s",
        ]);
        let fault = fault
            .args(["--reason", "a test"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut fault = fault.spawn().expect("started");
        strike(&platform, RUNS + round, &leader);
        // Whether it is told as done is not for the test: its node may be the victim.
        fault.wait().expect("ended");
        until("the end of the fault", || {
            let faults = platform.json(&["fault", "list", "--json"]);
            faults.as_array().is_some_and(Vec::is_empty).then_some(())
        });
    }
    let state = platform.data().join("hosts/b1/instances/idle/state.json");
    let state: Value = serde_json::from_slice(&std::fs::read(state).expect("read")).expect("JSON");
    let pid = state["child"]["pid"].as_i64().expect("a process");
    assert!(!is_stopped(pid), "a fault is left behind");
    let verified = platform.mainstay(&["journal", "verify"]);
    assert!(verified.status.success(), "{}", said(&verified));
}
