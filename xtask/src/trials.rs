//! All tests of the workspace, in three lanes.
//!
//! What starts processes stands in the front lane, one after another, but for the longest, which is beside them from
//! the beginning; when it is over, its lane takes from the front as well. What only computes (cores and edges know no clock, so nothing that runs beside them changes what they
//! find) takes what the others leave over of the processors. Every test runs to its end even if one fails; what failed and what it said is repeated
//! last, where whoever reads the log looks first. Nothing in the documentation is a test, so nothing of it is asked.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use cargo_metadata::{Artifact, Message, TargetKind};

use crate::platform::now;
use crate::step::root;
use crate::tools;

/// Where tests stand that only compute. Beside the simulator stands one that compares it with real servers.
const COMPUTING: [&str; 5] = [
    "crates/base/",
    "crates/core/",
    "crates/edge/",
    "crates/test/sim/src/",
    "crates/test/sim/tests/schedules.rs",
];
/// The longest of those that start processes. It waits more than it works, and each of its scenarios for as long as it must: so it has a lane
/// of its own, and all others are over meanwhile.
const WAITING: &str = "crates/shell/postgres/tests/cluster/";
/// Lines of a failed test's own words that are repeated at the end.
const WORDS_LIMIT: usize = 40;
/// Of the longest, named at the end.
const LONGEST: usize = 12;

/// A program of tests.
struct Trial {
    name: String,
    program: PathBuf,
    /// Of its crate, where it is started.
    folder: PathBuf,
    computes: bool,
    /// Where it finds other programs.
    path: OsString,
}

/// What came of one.
struct Outcome {
    name: String,
    seconds: f64,
    /// Lines to be repeated, if it failed.
    failed: Option<Vec<String>>,
}

/// Builds every program and every test with the features of both, and runs the tests.
pub fn run() -> Result<()> {
    let (computing, others): (Vec<Trial>, Vec<Trial>) =
        build()?.into_iter().partition(|trial| trial.computes);
    let (waiting, front): (Vec<Trial>, Vec<Trial>) = others
        .into_iter()
        .partition(|trial| trial.name.starts_with(WAITING));
    let count = computing.len() + waiting.len() + front.len();
    let begun = now();
    let beside = Mutex::new(VecDeque::from(computing));
    let front = Mutex::new(VecDeque::from(front));
    let mut outcomes = std::thread::scope(|scope| {
        let lane = scope.spawn(|| {
            let mut outcomes = Vec::new();
            while let Some(trial) = next(&beside) {
                outcomes.push(trial.run_beside());
            }
            outcomes
        });
        let long = scope.spawn(|| {
            let mut outcomes: Vec<Outcome> = waiting.iter().map(Trial::run_apart).collect();
            // Over before the others: it takes its share of them.
            while let Some(trial) = next(&front) {
                outcomes.push(trial.run_apart());
            }
            outcomes
        });
        let mut outcomes = Vec::new();
        while let Some(trial) = next(&front) {
            outcomes.push(trial.run_in_front());
        }
        // Nobody is in front any more.
        while let Some(trial) = next(&beside) {
            outcomes.push(trial.run_in_front());
        }
        outcomes.extend(lane.join().unwrap_or_default());
        outcomes.extend(long.join().unwrap_or_default());
        outcomes
    });
    outcomes.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    println!(
        "\n{} of {count} programs of tests ran, in {:.0} s; the longest:",
        outcomes.len(),
        begun.elapsed().as_secs_f64()
    );
    for outcome in outcomes.iter().take(LONGEST) {
        println!("{:8.1} s  {}", outcome.seconds, outcome.name);
    }
    let missing = count - outcomes.len();
    let mut failed: Vec<String> = outcomes
        .into_iter()
        .filter_map(|outcome| Some((outcome.name, outcome.failed?)))
        .flat_map(|(name, words)| std::iter::once(format!("== {name}")).chain(words))
        .collect();
    if missing > 0 {
        failed.push(format!("{missing} programs of tests did not run"));
    }
    if !failed.is_empty() {
        bail!("tests failed:\n{}", failed.join("\n"));
    }
    Ok(())
}

fn next(waiting: &Mutex<VecDeque<Trial>>) -> Option<Trial> {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.pop_front()
}

fn build() -> Result<Vec<Trial>> {
    let arguments = [
        "build",
        "--workspace",
        "--all-targets",
        "--locked",
        "--message-format=json-render-diagnostics",
    ];
    println!("+ cargo {}", arguments.join(" "));
    let mut child = Command::new("cargo")
        .args(arguments)
        .current_dir(root()?)
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo")?;
    let output = BufReader::new(child.stdout.take().context("no output")?);
    let path = search_path()?;
    let mut trials = Vec::new();
    for message in Message::parse_stream(output) {
        if let Message::CompilerArtifact(artifact) = message.context("read what cargo says")? {
            trials.extend(Trial::of(artifact, &path)?);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("cargo build ended with {status}");
    }
    trials.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(trials)
}

/// The caller's, with what only tests need.
fn search_path() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = tools::etcd()
        .into_iter()
        .chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("a search path")
}

impl Trial {
    fn of(artifact: Artifact, path: &OsString) -> Result<Option<Self>> {
        let target = &artifact.target;
        let beside_tests = [TargetKind::Bench, TargetKind::Example];
        let is_test =
            artifact.profile.test && !target.kind.iter().any(|kind| beside_tests.contains(kind));
        let Some(program) = artifact.executable.filter(|_| is_test) else {
            return Ok(None);
        };
        let folder = artifact.manifest_path.parent();
        let folder = folder.context("a manifest in no folder")?.as_std_path();
        let crate_path = folder.strip_prefix(root()?).unwrap_or(folder);
        let crate_path = format!("{}/", crate_path.display());
        let source = target.src_path.as_std_path();
        let source = source.strip_prefix(folder).unwrap_or(source);
        let name = format!("{crate_path}{}", source.display());
        Ok(Some(Self {
            computes: COMPUTING.iter().any(|place| name.starts_with(place)),
            name,
            program: program.into_std_path_buf(),
            folder: folder.to_owned(),
            path: path.clone(),
        }))
    }

    /// In the surroundings that cargo gives to a test.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .env("PATH", &self.path)
            .current_dir(&self.folder);
        command
    }

    /// Its words are shown as they come.
    fn run_in_front(&self) -> Outcome {
        say(&[format!("\n     Running {}", self.name)]);
        let command = self.command(&self.program.display().to_string());
        self.watch(command, |line| say(std::slice::from_ref(line)))
    }

    /// After everybody else where the processors are busy; its words are shown when it has ended.
    fn run_beside(&self) -> Outcome {
        let mut command = self.command("nice");
        command.args(["-n", "10"]).arg(&self.program);
        self.run_quietly(command)
    }

    fn run_apart(&self) -> Outcome {
        self.run_quietly(self.command(&self.program.display().to_string()))
    }

    /// What it says is said when it is over.
    fn run_quietly(&self, command: Command) -> Outcome {
        let mut words = vec![format!("\n      Beside {}", self.name)];
        let outcome = self.watch(command, |line| words.push(line.clone()));
        say(&words);
        outcome
    }

    fn watch(&self, command: Command, mut hear: impl FnMut(&String)) -> Outcome {
        let begun = now();
        let mut words = Words::default();
        let ended = listen(command, |line| {
            hear(&line);
            words.hear(line);
        });
        let failed = match ended {
            Ok(status) if status.success() => None,
            Ok(status) => Some([vec![format!("it ended with {status}")], words.told()].concat()),
            Err(error) => Some(vec![format!("{error:#}")]),
        };
        Outcome {
            name: self.name.clone(),
            seconds: begun.elapsed().as_secs_f64(),
            failed,
        }
    }
}

/// Every line of its output, and how it ended.
fn listen(mut command: Command, mut hear: impl FnMut(String)) -> Result<ExitStatus> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start it")?;
    let mut output = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = Vec::new();
    while output.by_ref().read_until(b'\n', &mut line)? > 0 {
        hear(
            String::from_utf8_lossy(&line)
                .trim_end_matches('\n')
                .to_owned(),
        );
        line.clear();
    }
    Ok(child.wait()?)
}

/// Whole blocks, whichever lane they come from.
fn say(lines: &[String]) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for line in lines {
        println!("{line}");
    }
}

/// Which tests failed, and the beginning of what each of them said; of a program that names none, the end of what it said.
#[derive(Default)]
struct Words {
    kept: Vec<String>,
    /// Lines of the one that is being told of.
    said: Option<usize>,
    last: VecDeque<String>,
}

impl Words {
    fn told(self) -> Vec<String> {
        if self.kept.is_empty() {
            return self.last.into();
        }
        self.kept
    }

    fn hear(&mut self, line: String) {
        if self.last.len() == WORDS_LIMIT {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        if line.starts_with("---- ") {
            self.said = Some(0);
        }
        // Programs with a harness of their own say why on the same line.
        if line.contains(" ... FAILED") {
            self.kept.push(line);
        } else if let Some(said) = self.said.as_mut() {
            *said += 1;
            if line == "failures:" || *said > WORDS_LIMIT {
                self.said = None;
            } else {
                self.kept.push(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{Outcome, Trial};

    /// What is found of a program of tests that does this.
    fn outcome(name: &str, script: &str) -> Outcome {
        let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let program = folder.join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("executable");
        let trial = Trial {
            name: name.to_owned(),
            program,
            folder: folder.clone(),
            computes: true,
            path: std::env::var_os("PATH").unwrap_or_default(),
        };
        let outcome = trial.run_beside();
        std::fs::remove_dir_all(&folder).expect("removed");
        outcome
    }

    #[test]
    fn what_fails_is_seen_whatever_it_says() {
        assert!(outcome("well", "echo test a ... ok").failed.is_none());
        let said = outcome(
            "failing",
            "echo 'test a ... FAILED'; echo; echo '---- a stdout ----'; echo why; echo failures:; exit 101",
        );
        let said = said.failed.expect("it failed").join("\n");
        assert!(
            said.contains("test a ... FAILED") && said.contains("why"),
            "{said}"
        );
        let own = outcome("own", "echo 'cluster a ... FAILED: why'; echo more; exit 1");
        let own = own.failed.expect("it failed").join("\n");
        assert!(own.contains("why") && !own.contains("more"), "{own}");
        let other = outcome("other", "echo some words; exit 1");
        let other = other.failed.expect("it failed").join("\n");
        assert!(other.contains("some words"), "{other}");
        let killed = outcome("killed", "kill -9 $$").failed.expect("it failed");
        assert!(killed.join("\n").contains("signal: 9"), "{killed:?}");
    }
}
