//! What lies below the hosts when a whole platform runs on one machine: power and cables.
//!
//! In production a host boots its node by itself and the network is made of cables. Here this one process
//! plays both parts: it keeps the wires between regions and one node per host running, and starts what
//! died again, unless a fault says that the host is down. It decides nothing else, and nothing depends on
//! it while all is well: killed, it leaves the platform running, and `mainstay up` starts it again.
//!
//! A node whose new program does not even start cannot go back by itself; that is done here.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use mainstay_derive::Layout;
use mainstay_host::{faults, identity, launch, wire};
use mainstay_model::Platform;
use mainstay_record::node::{HostProgram, MachineRecord};
use mainstay_record::process::{ProcessIdentity, WireState};
use mainstay_rt::files::Remembered;
use mainstay_rt::{clock, files};
use mainstay_units::Instant;
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::{place, program};

/// Between two looks at what should run; whoever was started by this process is missed at once.
const PERIOD: Duration = Duration::from_millis(500);
/// Between two starts of the same process, at first and at most; it doubles in between. Whoever is killed again and again
/// is back well before its host is given up (`HOST_LOST_AFTER_MS`).
const BACK_OFF_FIRST: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(4);
/// A process that ran this long starts again without delay.
const STEADY: Duration = Duration::from_secs(10);
/// A node's log is put aside when it has this many bytes; one old log is kept.
const LOG_BYTES_MAX: u64 = 16 << 20;
const FILE_LIMIT: u64 = 1 << 20;
/// A node on trial with a new program that ended so often does not stand.
const TRIAL_STARTS_MAX: u32 = 3;
/// Nor does one that did not say so by then; a node that works says itself, and sooner, that it does not.
const TRIAL_LIMIT: Duration = Duration::from_secs(180);

/// `mainstay machine`: until SIGTERM. Nodes and wires go on.
pub fn run(data: &Path) -> ExitCode {
    match work(data) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "the machine process cannot go on"
            );
            ExitCode::FAILURE
        }
    }
}

fn work(data: &Path) -> anyhow::Result<()> {
    rustix::process::setsid().ok();
    let (record, layout) = place::read(data)?;
    let Some(_lock) = lock(&layout)? else {
        tracing::info!("another process looks after this machine");
        return Ok(());
    };
    write_identity(&layout)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(keep_running(&record, &layout))
}

async fn keep_running(record: &MachineRecord, layout: &Layout) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut death = signal(SignalKind::child())?;
    let mut machine = Machine {
        record,
        layout,
        children: BTreeMap::new(),
        trials: BTreeMap::new(),
        wires: BTreeMap::new(),
    };
    loop {
        machine.look();
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = death.recv() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// The lock that the machine process holds while it lives; `None` if another holds it.
pub fn lock(layout: &Layout) -> io::Result<Option<File>> {
    let path = layout.data().join("machine.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn identity_path(layout: &Layout) -> PathBuf {
    layout.data().join("machine.process")
}

fn write_identity(layout: &Layout) -> io::Result<()> {
    files::write_atomic(
        &identity_path(layout),
        &serde_json::to_vec(&identity::this()?)?,
    )
}

/// The machine process, if it lives.
pub fn running(layout: &Layout) -> Option<ProcessIdentity> {
    let bytes = files::read_limited(&identity_path(layout), FILE_LIMIT).ok()?;
    let process: ProcessIdentity = serde_json::from_slice(&bytes).ok()?;
    identity::is_alive(process).then_some(process)
}

/// Wires of the machine, by the folder of each.
pub fn wire_folders(layout: &Layout) -> Vec<PathBuf> {
    let listed = fs::read_dir(layout.wires()).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = listed.map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

/// The node of a host, if it lives.
pub fn node_process(layout: &Layout, host: &str) -> Option<ProcessIdentity> {
    let launch = launch::read_launch(&layout.launch(host)).ok()?;
    identity::is_alive(launch.process).then_some(launch.process)
}

/// How often a process was started of late, and when it may be started again.
struct Child {
    started: Instant,
    delay: Duration,
    process: Option<ProcessIdentity>,
}

struct Machine<'a> {
    record: &'a MachineRecord,
    layout: &'a Layout,
    children: BTreeMap<String, Child>,
    trials: BTreeMap<String, Watched>,
    wires: BTreeMap<PathBuf, Remembered<WireState>>,
}

/// A trial as this process has seen it.
struct Watched {
    effect: u64,
    since: Instant,
    starts: u32,
}

impl Watched {
    fn of(effect: u64, since: Instant) -> Self {
        Self {
            effect,
            since,
            starts: 0,
        }
    }
}

impl Machine<'_> {
    fn look(&mut self) {
        for folder in wire_folders(self.layout) {
            let path = folder.join("state.json");
            let state = self.wires.entry(path.clone()).or_default();
            let process = state
                .get(&path, wire::read_state)
                .and_then(|state| state.wire);
            let alive = process.is_some_and(identity::is_alive);
            let spec = folder.join("spec.json").display().to_string();
            self.keep(
                alive,
                &folder.display().to_string(),
                (&self.record.program, &["wire", &spec]),
                &folder.join("log"),
            );
        }
        for (host, folder) in place::node_folders(self.layout).unwrap_or_default() {
            if faults::host_down(self.layout.data(), &host).is_some() {
                // What is on trial there is not judged by a time in which nobody may start it.
                self.trials.remove(&host);
                continue;
            }
            let program = match program::read(self.layout, &host) {
                Ok(known) => {
                    let known = self.judge_trial(&host, known);
                    program::of_host(self.layout, &known, &self.record.program)
                }
                // Another program than the right one must not be started.
                Err(error) => {
                    tracing::error!(host, %error, "which program the host runs is not known");
                    continue;
                }
            };
            let alive = node_process(self.layout, &host).is_some();
            let data = self.layout.data().display().to_string();
            let started = self.keep(
                alive,
                &host,
                (&program, &["node", "--host", &host, "--data", &data]),
                &folder.join("log"),
            );
            if started && let Some(watched) = self.trials.get_mut(&host) {
                watched.starts += 1;
            }
        }
    }

    /// What the host runs from now on: what is on trial, or the one before if that fell.
    fn judge_trial(&mut self, host: &str, known: HostProgram) -> HostProgram {
        let Some(trial) = &known.trial else {
            self.trials.remove(host);
            return known;
        };
        let now = clock::now();
        let effect = trial.effect;
        let watched = self
            .trials
            .entry(host.to_owned())
            .and_modify(|watched| {
                if watched.effect != effect {
                    *watched = Watched::of(effect, now);
                }
            })
            .or_insert_with(|| Watched::of(effect, now));
        // One that was started just now has not written who it is.
        let starting = self.children.get(host).and_then(|child| child.process);
        let process = node_process(self.layout, host)
            .or(starting.filter(|process| identity::is_alive(*process)));
        let why = if watched.starts > TRIAL_STARTS_MAX && process.is_none() {
            format!("its node ended {} times", watched.starts)
        } else if now.since(watched.since) > TRIAL_LIMIT {
            "its node did not say that it stands".to_owned()
        } else {
            return known;
        };
        // Nobody else may write the record while it is written here.
        if let Some(process) = process {
            identity::signal(process, Signal::KILL).ok();
            return known;
        }
        tracing::error!(host, why, "going back to the program of before");
        match program::go_back(self.layout, host, &known, &why) {
            Ok(()) => {
                self.children.remove(host);
                program::read(self.layout, host).unwrap_or(known)
            }
            Err(error) => {
                tracing::error!(host, %error, "cannot go back yet");
                known
            }
        }
    }

    /// True if it was started just now.
    fn keep(
        &mut self,
        alive: bool,
        name: &str,
        (program, arguments): (&Path, &[&str]),
        log: &Path,
    ) -> bool {
        let now = clock::now();
        let child = self.children.get(name);
        // A process just started has not yet written who it is.
        let starting = child
            .and_then(|child| child.process)
            .is_some_and(identity::is_alive);
        if alive || starting {
            return false;
        }
        let delay = match child {
            Some(child) if now.since(child.started) < child.delay => return false,
            Some(child) if now.since(child.started) < STEADY => (child.delay * 2).min(BACK_OFF_MAX),
            Some(_) | None => BACK_OFF_FIRST,
        };
        let mut command = vec![program.display().to_string()];
        command.extend(arguments.iter().map(|&argument| argument.to_owned()));
        put_aside(log);
        let said = (
            launch::NODE_PROGRAM.to_owned(),
            program.display().to_string(),
        );
        let process = std::env::current_dir().and_then(|directory| {
            launch::spawn_detached_in(&command, &BTreeMap::from([said]), &directory, Some(log))
        });
        let process = match process {
            Ok(process) => {
                tracing::info!(name, pid = process.pid, "started");
                Some(process)
            }
            Err(error) => {
                tracing::error!(name, %error, "cannot be started");
                None
            }
        };
        self.children.insert(
            name.to_owned(),
            Child {
                started: now,
                delay,
                process,
            },
        );
        process.is_some()
    }
}

/// A log that has grown too long begins anew; one old log is kept.
pub(crate) fn put_aside(log: &Path) {
    if fs::metadata(log).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        // A log that cannot be put aside grows on; that is no reason not to start its process.
        fs::rename(log, log.with_extension("1")).ok();
    }
}

/// Every host of the platform gets its folders, so that the machine process finds it.
pub fn make_host_folders(layout: &Layout, platform: &Platform) -> io::Result<()> {
    for host in platform.hosts() {
        let name = host.name.as_str();
        for folder in [
            layout.node(name),
            layout.instances(name),
            layout.host(name).join("databases"),
        ] {
            fs::create_dir_all(folder)?;
        }
        fs::create_dir_all(layout.run_host(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mainstay_record::node::Trial;
    use mainstay_record::process::{
        FaultKind, FaultParameters, FaultRecord, FaultState, FaultUndo, VERSION,
    };

    use super::*;

    fn crash(layout: &Layout, host: &str) -> FaultRecord {
        FaultRecord {
            version: VERSION,
            id: "f1".to_owned(),
            kind: FaultKind::HostCrash,
            target: host.to_owned(),
            parameters: FaultParameters::default(),
            injected_wall_ms: clock::wall_ms(),
            deadline_boottime_ns: (clock::now() + TRIAL_LIMIT).as_nanos(),
            deadline_wall_ms: clock::wall_ms() + 180_000,
            boot_id: clock::boot_id().expect("a boot"),
            state: FaultState::Set,
            undo: vec![FaultUndo::StartNode {
                launch: layout.launch(host),
            }],
            guardian: None,
            problem: None,
            set_wall_ms: None,
            undone_wall_ms: None,
        }
    }

    /// A host that a fault holds down cannot show that its new program stands, which says nothing of the program.
    #[test]
    fn what_a_fault_does_to_a_host_does_not_count_against_its_trial() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::new(folder.path(), &folder.path().join("run"));
        fs::create_dir_all(layout.node("a")).expect("a folder");
        let known = program::read(&layout, "a").expect("read");
        let trial = Trial {
            effect: 7,
            ailing_archives: None,
        };
        program::begin_trial(&layout, "a", &known, &"0a".repeat(32), trial).expect("begun");
        let record = MachineRecord {
            version: 1,
            platform: "test".to_owned(),
            slot: 1,
            run_folder: folder.path().join("run"),
            file: folder.path().join("platform.yaml"),
            distance_us: None,
            program: folder.path().join("mainstay"),
        };
        // Its node was killed by the fault as often as one may end.
        let mut watched = Watched::of(7, clock::now());
        watched.starts = TRIAL_STARTS_MAX + 1;
        let mut machine = Machine {
            record: &record,
            layout: &layout,
            children: BTreeMap::new(),
            trials: BTreeMap::from([("a".to_owned(), watched)]),
            wires: BTreeMap::new(),
        };
        let fault = folder.path().join("faults/f1.json");
        fs::create_dir_all(folder.path().join("faults")).expect("a folder");
        let bytes = serde_json::to_vec(&crash(&layout, "a")).expect("a record");
        fs::write(&fault, bytes).expect("a fault");
        machine.look();
        fs::remove_file(&fault).expect("it is over");
        machine.look();
        let after = program::read(&layout, "a").expect("read");
        assert!(
            after.trial.is_some() && after.refused.is_none(),
            "{after:?}"
        );
    }
}
