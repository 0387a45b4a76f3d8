//! What the process tests of this crate share: a folder, a fixture program, patience, and a broom.
#![allow(dead_code, reason = "every test file takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a test may fail at once")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_host::{identity, launch, shim};
use mainstay_record::process::{
    LogSpec, ProcessIdentity, ShimPhase, ShimSpec, ShimState, StopSignal, StopSpec, VERSION,
};
use mainstay_rt::clock;
use rustix::process::Signal;

pub const FIXTURE: &str = env!("CARGO_BIN_EXE_host-fixture");
const LIMIT: Duration = Duration::from_secs(60);

/// Asks until there is an answer; the only way in which these tests wait.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::now() + LIMIT;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock::now() < deadline, "waited in vain for {what}");
        pause(5);
    }
}

pub fn pause(milliseconds: u32) {
    let pause = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(milliseconds) * 1_000_000,
    };
    let _ = rustix::thread::nanosleep(&pause);
}

/// A data folder whose processes all end with it.
pub struct Scene {
    folder: tempfile::TempDir,
    started: Vec<ProcessIdentity>,
}

impl Scene {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            started: Vec::new(),
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// To be ended with the scene, together with everything below it.
    pub fn own(&mut self, process: ProcessIdentity) -> ProcessIdentity {
        self.started.push(process);
        process
    }

    pub fn instance_folder(&self, host: &str, name: &str) -> PathBuf {
        let folder = self
            .path()
            .join("hosts")
            .join(host)
            .join("instances")
            .join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// The spec of a shell script as instance `HOST/NAME`.
    pub fn shim_spec(&self, host: &str, name: &str, script: &str) -> ShimSpec {
        let folder = self.instance_folder(host, name);
        ShimSpec {
            version: VERSION,
            instance: format!("{host}/{name}"),
            command: vec!["/bin/sh".into(), "-c".into(), script.into()],
            environment: BTreeMap::new(),
            secrets: BTreeMap::new(),
            directory: folder.clone(),
            user: None,
            log: LogSpec {
                path: folder.join("log"),
                max_bytes: 1 << 20,
                keep: 2,
            },
            state: folder.join("state.json"),
            stop: StopSpec {
                signal: StopSignal::Term,
                grace_ms: 300,
            },
            generation: 1,
        }
    }

    pub fn write_spec(&self, spec: &ShimSpec) -> PathBuf {
        let path = spec.directory.join("spec.json");
        std::fs::write(&path, serde_json::to_vec(spec).unwrap()).unwrap();
        path
    }

    pub fn start_fixture(&mut self, arguments: &[&str]) -> ProcessIdentity {
        let mut argv = vec![FIXTURE.to_owned()];
        argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let log = self.path().join("fixture.log");
        let process = launch::spawn_detached(&argv, Some(&log)).unwrap();
        self.own(process)
    }

    pub fn start_shim(&mut self, spec: &ShimSpec) -> ProcessIdentity {
        let path = self.write_spec(spec);
        self.start_fixture(&["shim", path.to_str().unwrap()])
    }

    /// Starts a shim and waits until its child runs.
    pub fn running(&mut self, spec: &ShimSpec) -> ShimState {
        let shim = self.start_shim(spec);
        let state = wait_for("the child to run", || {
            state(spec).filter(|state| state.shim == shim && state.phase == ShimPhase::Running)
        });
        self.started.extend(state.child);
        state
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let table = identity::table().unwrap_or_default();
        let mut all = Vec::new();
        for state in states_below(self.path(), 5) {
            self.started.push(state.shim);
            self.started.extend(state.child);
        }
        for process in &self.started {
            if identity::row_of(*process).is_ok_and(|row| row.is_some()) {
                all.push(*process);
                all.extend(
                    identity::descendants(&table, process.pid)
                        .iter()
                        .map(|row| row.identity),
                );
            }
        }
        for process in all {
            identity::signal(process, Signal::KILL).ok();
        }
    }
}

pub fn state(spec: &ShimSpec) -> Option<ShimState> {
    shim::read_state(&spec.state)
}

pub fn exited(spec: &ShimSpec) -> ShimState {
    wait_for("the shim to write the exit", || {
        state(spec).filter(|state| state.phase == ShimPhase::Exited)
    })
}

pub fn gone(process: ProcessIdentity) {
    wait_for("a process to leave", || {
        (!identity::is_alive(process)).then_some(())
    });
}

/// The pid a script wrote into a file of its folder, as an identity.
pub fn told(spec: &ShimSpec, file: &str) -> ProcessIdentity {
    wait_for("a script to tell its pid", || {
        let text = std::fs::read_to_string(spec.directory.join(file)).ok()?;
        let row = identity::row(text.trim().parse().ok()?).unwrap();
        row.map(|row| row.identity)
    })
}

/// Every shim that ever wrote a state into the folder.
fn states_below(folder: &Path, depth: usize) -> Vec<ShimState> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 0 {
            found.extend(states_below(&path, depth - 1));
        } else {
            found.extend(shim::read_state(&path));
        }
    }
    found
}
