//! Experiments on real processes, carried by whoever leads: the command that asked for one is killed, the leader is
//! killed, the leader falls silent and is replaced; and each time it goes on with the same injections and ends with a
//! verdict. Somebody who wants it to end says so.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::collections::BTreeSet;
use std::io::Read;
use std::ops::Deref;
use std::process::{Child, Command, Stdio};

use mainstay_testkit::platform::{self, said, until};
use serde_json::Value;

const NAME: &str = "two-instances";
const TWICE: &str = include_str!("experiment/twice.yaml");

/// Where somebody ends it: the second instance is so far off that whoever comes late still finds it under way.
fn slow() -> String {
    let slow = TWICE.replace("deadline: 60s", "deadline: 180s");
    let slow = slow.replace("deadline: 8s", "deadline: 60s");
    assert_ne!(slow, TWICE);
    slow
}

struct Platform(platform::Platform);

impl Deref for Platform {
    type Target = platform::Platform;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Platform {
    fn start(experiment: &str) -> Self {
        let platform = Self(platform::Platform::new(env!("CARGO_BIN_EXE_mainstay")));
        platform.write("twice.yaml", experiment, 0o644);
        let text = include_str!("experiment/platform.yaml");
        let file = platform.write("platform.yaml", text, 0o644);
        platform.0.start(&file);
        platform.wait_healthy();
        platform
    }

    fn wait_healthy(&self) {
        until("everybody", || {
            let status = self.json(&["status", "--json"]);
            (status["verdict"] == "healthy").then_some(())
        });
    }

    /// The command that asks for the experiment and looks on. An instance that is killed often is a loop, and beside the
    /// incident of it nothing more is broken: so no platform here sees many of them.
    fn run(&self) -> Child {
        let file = self.folder().join("twice.yaml").display().to_string();
        let mut command = self.command(&["chaos", "run", &file, "--reason", "a test"]);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("started")
    }

    fn leader(&self) -> String {
        until("a leader", || self.0.leader())
    }

    /// The process of a host's node.
    fn node(&self, host: &str) -> String {
        self.0.node(host).expect("a process").to_string()
    }

    /// Waits for the first fault of this experiment, beside those that were there before.
    fn wait_broken(&self, command: &mut Child, faults_before: usize) {
        until("a fault", || {
            let ended = command.try_wait().expect("looked at");
            let mut told = String::new();
            if let (Some(_), Some(stderr)) = (ended, command.stderr.as_mut()) {
                stderr.read_to_string(&mut told).expect("read");
            }
            assert!(ended.is_none(), "it has ended, and broke nothing: {told}");
            (self.entries("fault.injected").len() > faults_before).then_some(())
        });
    }

    fn wait_ended(&self, ends_before: usize) -> Value {
        until("a verdict", || {
            self.entries("experiment.ended")
                .into_iter()
                .nth(ends_before)
        })
    }

    /// Each injection was chosen once, each fault of it injected once and is over.
    fn check_whole(&self, id: &str, faults_before: usize) {
        let of = |entry: &Value| entry["body"]["experiment"] == *id;
        let chosen: Vec<Value> = self
            .entries("experiment.chosen")
            .into_iter()
            .filter(of)
            .collect();
        let numbers: Vec<u64> = chosen
            .iter()
            .filter_map(|entry| entry["body"]["injection"].as_u64())
            .collect();
        assert_eq!(numbers, [0, 1], "{chosen:#?}");
        let faults: BTreeSet<&str> = chosen
            .iter()
            .flat_map(|entry| entry["body"]["faults"].as_array().expect("faults"))
            .filter_map(Value::as_str)
            .collect();
        let injected = self.entries("fault.injected").split_off(faults_before);
        let injected: Vec<&str> = injected
            .iter()
            .filter_map(|entry| entry["body"]["fault"].as_str())
            .collect();
        assert_eq!(injected, faults.into_iter().collect::<Vec<_>>());
        let left = self.json(&["fault", "list", "--json"]);
        assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
    }
}

/// A process that stands still until this is dropped.
struct Frozen(String);

impl Frozen {
    fn new(pid: String) -> Self {
        signal("-STOP", &pid);
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

fn signal(which: &str, pid: &str) {
    let sent = Command::new("kill").args([which, pid]).status();
    assert!(sent.expect("ran").success(), "kill {which} {pid}");
}

/// Both at once: nobody is left who knew of it, but the journal.
fn command_and_leader_are_killed(platform: &Platform) {
    let mut command = platform.run();
    platform.wait_broken(&mut command, 0);
    command.kill().expect("killed");
    command.wait().expect("ended");
    let claims = platform.entries("leadership.claimed").len();
    let leader = platform.leader();
    signal("-9", &platform.node(&leader));
    let ended = platform.wait_ended(0);
    assert_eq!(ended["body"]["verdict"], "passed", "{ended:#}");
    assert!(
        platform.entries("leadership.claimed").len() > claims,
        "the leader was killed, and somebody took over"
    );
    platform.check_whole("x1", 0);
    platform.wait_healthy();
}

/// Another host takes over, and looks; what the first says when it wakes is of no account.
fn the_leader_is_silent_and_replaced(platform: &Platform) {
    let faults = platform.entries("fault.injected").len();
    let mut command = platform.run();
    platform.wait_broken(&mut command, faults);
    let leader = platform.leader();
    let frozen = Frozen::new(platform.node(&leader));
    let successor = until("a successor", || {
        let claims = platform.entries("leadership.claimed");
        let node = claims.last()?["body"]["node"].as_str()?.to_owned();
        (node != leader).then_some(node)
    });
    drop(frozen);
    let output = command.wait_with_output().expect("ended");
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&format!("{successor} leads now")), "{text}");
    assert!(text.contains(&format!("x2 {NAME}: passed: ")), "{text}");
    let looks = platform.entries("experiment.looking");
    let by = |host: &str| {
        let mut looks = looks.iter().map(|entry| &entry["body"]);
        looks.any(|body| body["experiment"] == "x2" && body["host"] == *host)
    };
    assert!(by(&leader) && by(&successor), "{looks:#?}");
    platform.check_whole("x2", faults);
    platform.wait_healthy();
}

fn somebody_stops_it(platform: &Platform) {
    let faults = platform.entries("fault.injected").len();
    let mut command = platform.run();
    platform.wait_broken(&mut command, faults);
    let second = platform.run().wait_with_output().expect("ended");
    assert_eq!(second.status.code(), Some(3), "{}", said(&second));
    let stop = platform.mainstay(&["chaos", "stop", "x1", "--reason", "seen enough"]);
    assert!(stop.status.success(), "{}", said(&stop));
    let output = command.wait_with_output().expect("ended");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("aborted: somebody stopped it: seen enough"),
        "{text}"
    );
    assert_eq!(
        platform.entries("fault.injected").len(),
        faults + 1,
        "{text}"
    );
    let left = platform.json(&["fault", "list", "--json"]);
    assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
    let again = platform.mainstay(&["chaos", "stop", "x1", "--reason", "again"]);
    assert_eq!(again.status.code(), Some(3), "{}", said(&again));
}

/// Whoever interrupts the command that looks on wants the experiment to end, and sees how it does.
fn an_interrupted_command_stops_it(platform: &Platform) {
    let faults = platform.entries("fault.injected").len();
    let mut command = platform.run();
    platform.wait_broken(&mut command, faults);
    signal("-INT", &command.id().to_string());
    let output = command.wait_with_output().expect("ended");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!("x1 {NAME}: aborted: somebody stopped it")),
        "{text}"
    );
    let left = platform.json(&["fault", "list", "--json"]);
    assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
}

#[test]
fn experiments_go_on_whoever_dies() {
    let platform = Platform::start(TWICE);
    command_and_leader_are_killed(&platform);
    the_leader_is_silent_and_replaced(&platform);
    let verified = platform.mainstay(&["journal", "verify"]);
    assert!(verified.status.success(), "{}", said(&verified));
}

#[test]
fn experiments_end_when_somebody_says_so() {
    let platform = Platform::start(&slow());
    somebody_stops_it(&platform);
    let verified = platform.mainstay(&["journal", "verify"]);
    assert!(verified.status.success(), "{}", said(&verified));
}

#[test]
fn an_interrupted_command_ends_its_experiment() {
    let platform = Platform::start(&slow());
    an_interrupted_command_stops_it(&platform);
}
