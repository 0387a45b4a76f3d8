//! One instance with its process: what the core decides is done here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_identity::Identity;
use mainstay_record::process::{
    InstanceSpec, InstanceStatus, LogSpec, ProbeSpec, ProbesSpec, ProcessExit, ProcessIdentity,
    RestartSpec, ShimSpec,
};
use mainstay_rt::{clock, files};
use mainstay_supervision::{
    Effect, Input, Instance, Phase, Policy, Probe, ProbePolicy, RestartPolicy, Round,
};
use mainstay_units::{Generation, Instant};
use rustix::process::Signal;
use tokio::sync::mpsc;

use super::probe::{self, Surroundings};
use super::{Moved, Report, Settings};
use crate::launch::{self, Adoption};
use crate::{identity, shim};

/// How much longer than its grace a shim may take before it is helped.
const STOP_MARGIN: Duration = Duration::from_secs(2);
/// Instances that one host may have left behind.
const LEFTOVER_LIMIT: usize = 1_000;

pub(super) struct Entry {
    spec: InstanceSpec,
    pub(super) instance: Instance,
    /// The shim of the present run.
    shim: Option<ProcessIdentity>,
    /// Counts processes, so that reports about an earlier one are known as such.
    run: u64,
    child: Option<ProcessIdentity>,
    last_exit: Option<ProcessExit>,
    since_wall_ms: u64,
    kills: u32,
}

impl Entry {
    /// With whatever of it runs already.
    pub(super) fn new(spec: InstanceSpec, seed: u64, reports: &mpsc::Sender<Report>) -> Self {
        let seed = spec.shim.instance.bytes().fold(seed, |seed, byte| {
            // FNV-1a, to give each name a seed of its own.
            (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        let now = clock::now();
        let found = match launch::adopt(&spec.shim.state) {
            Adoption::Alive(state) => Some((state.shim, Generation(state.generation))),
            // The next shim ends what a killed one left; until then nothing is watched.
            Adoption::Orphaned(_) | Adoption::Gone(_) | Adoption::Never => None,
        };
        let instance = match found {
            Some((_, generation)) => Instance::adopt(now, generation, policy(&spec), seed),
            None => Instance::new(now, policy(&spec), seed),
        };
        let mut entry = Self {
            instance,
            shim: None,
            run: 0,
            child: None,
            last_exit: shim::read_state(&spec.shim.state).and_then(|state| state.exit),
            since_wall_ms: clock::wall_ms(),
            kills: 0,
            spec,
        };
        if let Some((shim, _)) = found {
            entry.watch(shim, reports);
        }
        entry
    }

    pub(super) fn name(&self) -> &str {
        &self.spec.shim.instance
    }

    pub(super) const fn order(&self) -> u32 {
        self.spec.order
    }

    pub(super) const fn is_run(&self, run: u64) -> bool {
        self.run == run
    }

    pub(super) const fn has_process(&self) -> bool {
        self.shim.is_some()
    }

    /// Whether there should be a child whose pid is not known yet.
    pub(super) const fn lacks_child(&self) -> bool {
        self.shim.is_some() && self.child.is_none()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.instance.snapshot().phase == Phase::Stopped
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.instance.next_deadline().map(|(deadline, _)| deadline)
    }

    /// Takes over what is wanted now. A spec that differs from the one on disk is a new generation, also
    /// if whoever wrote it did not count; and so is one whose writer counted further.
    pub(super) fn want(&mut self, spec: &InstanceSpec) -> Input {
        let mut spec = spec.clone();
        if let Ok(known) = shim::read_spec(&spec_path(&spec.shim.state)) {
            let same = ShimSpec {
                generation: known.generation,
                ..spec.shim.clone()
            } == known;
            spec.shim.generation = if same {
                known.generation.max(spec.shim.generation)
            } else {
                spec.shim.generation.max(known.generation.saturating_add(1))
            };
        }
        self.spec = spec;
        Input::Want {
            generation: Generation(self.spec.shim.generation),
            policy: Box::new(policy(&self.spec)),
        }
    }

    /// The same once more: a new generation of what is wanted already.
    pub(super) fn again(&mut self) -> Input {
        self.spec.shim.generation = self.spec.shim.generation.saturating_add(1);
        Input::Want {
            generation: Generation(self.spec.shim.generation),
            policy: Box::new(policy(&self.spec)),
        }
    }

    /// The shim has left. `None` if another one was found in its place.
    pub(super) fn gone(&mut self, reports: &mpsc::Sender<Report>) -> Option<Input> {
        let left = self.shim.take();
        self.child = None;
        match launch::adopt(&self.spec.shim.state) {
            Adoption::Alive(state) if Some(state.shim) != left => {
                self.watch(state.shim, reports);
                return None;
            }
            Adoption::Gone(state) => self.last_exit = state.exit,
            Adoption::Alive(_) | Adoption::Orphaned(_) | Adoption::Never => self.last_exit = None,
        }
        Some(Input::Exited)
    }

    /// What the core asked for; a move is handed on.
    pub(super) fn perform(
        &mut self,
        effect: Effect,
        settings: &Settings,
        reports: &mpsc::Sender<Report>,
    ) -> Option<Moved> {
        match effect {
            Effect::Launch { .. } => {
                let input = match self.launch(&settings.shim, reports) {
                    Ok(()) => Input::Launched,
                    Err(error) => {
                        tracing::error!(instance = self.name(), %error, "could not start");
                        self.last_exit = Some(ProcessExit::Failed(error.to_string()));
                        Input::LaunchFailed
                    }
                };
                self.instance.handle(clock::now(), input);
                None
            }
            Effect::Stop => {
                self.kills = 0;
                self.signal(Signal::TERM);
                None
            }
            Effect::Kill => {
                self.kill();
                None
            }
            Effect::Ask {
                probe,
                round,
                timeout,
            } => {
                self.ask(
                    probe,
                    round,
                    timeout,
                    settings.identity.clone(),
                    reports.clone(),
                );
                None
            }
            Effect::Moved {
                from,
                to,
                why,
                generation,
            } => {
                self.since_wall_ms = clock::wall_ms();
                Some(Moved {
                    instance: self.name().to_owned(),
                    from,
                    to,
                    why,
                    generation: generation.0,
                    exit: if to.has_process() {
                        None
                    } else {
                        self.last_exit.clone()
                    },
                    wall_ms: self.since_wall_ms,
                })
            }
        }
    }

    fn launch(&mut self, shim: &[String], reports: &mpsc::Sender<Report>) -> io::Result<()> {
        let spec = &self.spec.shim;
        let path = spec_path(&spec.state);
        for folder in [
            spec.state.parent(),
            spec.log.path.parent(),
            Some(spec.directory.as_path()),
        ] {
            std::fs::create_dir_all(folder.unwrap_or(Path::new(".")))?;
        }
        let bytes = serde_json::to_vec_pretty(spec)?;
        if std::fs::read(&path).ok().as_ref() != Some(&bytes) {
            files::write_atomic(&path, &bytes)?;
        }
        let mut argv = shim.to_vec();
        argv.push(path.to_string_lossy().into_owned());
        let process = launch::spawn_detached(&argv, Some(&beside(&spec.log, "shim")))?;
        self.watch(process, reports);
        Ok(())
    }

    fn watch(&mut self, process: ProcessIdentity, reports: &mpsc::Sender<Report>) {
        self.shim = Some(process);
        self.run += 1;
        let report = Report::Gone {
            instance: self.name().to_owned(),
            run: self.run,
        };
        let (reports, state) = (reports.clone(), self.spec.shim.state.clone());
        tokio::spawn(async move {
            if let Err(error) = launch::wait_gone(process).await {
                tracing::error!(pid = process.pid, %error, "cannot wait for a shim; looking now and then");
                while identity::is_alive(process) {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            // A shim that was killed leaves its family: nothing may follow before that is gone.
            if let Adoption::Orphaned(_) = launch::adopt(&state)
                && let Err(error) = shim::end_leftovers(&state).await
            {
                tracing::error!(%error, "could not end what a killed shim left");
            }
            // Nobody listens when the node leaves.
            reports.send(report).await.ok();
        });
    }

    fn signal(&self, signal: Signal) {
        let Some(shim) = self.shim else {
            return;
        };
        if let Err(error) = identity::signal(shim, signal) {
            tracing::error!(instance = self.name(), %error, "could not signal the shim");
        }
    }

    /// First the family, which its shim then reports; if that does not help, the shim as well.
    fn kill(&mut self) {
        let Some(shim) = self.shim else {
            return;
        };
        shim::kill_below(shim);
        // It may have been stopped by somebody.
        self.signal(Signal::CONT);
        if self.kills > 0 {
            self.signal(Signal::KILL);
        }
        self.kills += 1;
    }

    fn ask(
        &self,
        probe: Probe,
        round: Round,
        timeout: Duration,
        asker: Option<Arc<Identity>>,
        reports: mpsc::Sender<Report>,
    ) {
        let probes = &self.spec.probes;
        let declared = match probe {
            Probe::Startup => &probes.startup,
            Probe::Readiness => &probes.readiness,
            Probe::Liveness => &probes.liveness,
        };
        let Some(declared) = declared else {
            return;
        };
        let (check, surroundings) = (declared.check.clone(), Surroundings::of(&self.spec.shim));
        let (instance, run) = (self.name().to_owned(), self.run);
        tokio::spawn(async move {
            let outcome = probe::ask(check, surroundings, asker.as_deref(), timeout).await;
            reports
                .send(Report::Answer {
                    instance,
                    run,
                    probe,
                    round,
                    outcome,
                })
                .await
                .ok();
        });
    }

    pub(super) fn status(&mut self) -> InstanceStatus {
        let snapshot = self.instance.snapshot();
        if self.child.is_none() && self.shim.is_some() {
            self.child = shim::read_state(&self.spec.shim.state)
                .filter(|state| Some(state.shim) == self.shim)
                .and_then(|state| state.child);
        }
        InstanceStatus {
            instance: self.name().to_owned(),
            generation: snapshot.generation.0,
            phase: snapshot.phase.name().to_owned(),
            ready: snapshot.phase == Phase::Ready,
            restarts: snapshot.restarts,
            process: self.child,
            why: snapshot.why.text().to_owned(),
            since_wall_ms: self.since_wall_ms,
            last_exit: self.last_exit.clone(),
            log: self.spec.shim.log.path.clone(),
            labels: self.spec.labels.clone(),
        }
    }
}

/// `…/state.json` → `…/spec.json`, `…/shim-state.json` → `…/shim-spec.json`.
pub(crate) fn spec_path(state: &Path) -> PathBuf {
    let name = state.file_name().unwrap_or_default().to_string_lossy();
    let name = match name.strip_suffix("state.json") {
        Some(stem) => format!("{stem}spec.json"),
        None => format!("{name}.spec.json"),
    };
    state.with_file_name(name)
}

/// Where the shim itself may complain.
fn beside(log: &LogSpec, name: &str) -> PathBuf {
    let mut path = log.path.as_os_str().to_owned();
    path.push(format!(".{name}"));
    PathBuf::from(path)
}

/// Ends what a killed shim left of an instance that nobody wants; no other shim will come to do it.
pub(super) fn end_orphans(spec: &InstanceSpec) {
    let state = spec.shim.state.clone();
    if matches!(launch::adopt(&state), Adoption::Orphaned(_)) {
        tokio::spawn(async move {
            if let Err(error) = shim::end_leftovers(&state).await {
                tracing::error!(%error, "could not end what a killed shim left");
            }
        });
    }
}

/// Specs of the instances that were ever started in a folder, with nothing known of their probes.
pub(super) fn specs_in(folder: &Path) -> Vec<InstanceSpec> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .take(LEFTOVER_LIMIT)
        .filter_map(|entry| shim::read_spec(&entry.path().join("spec.json")).ok())
        .map(|shim| InstanceSpec {
            shim,
            probes: ProbesSpec::default(),
            restart: RestartSpec::default(),
            drain_ms: 0,
            order: 0,
            labels: std::collections::BTreeMap::new(),
        })
        .collect()
}

fn policy(spec: &InstanceSpec) -> Policy {
    let milliseconds = Duration::from_millis;
    Policy {
        startup: spec.probes.startup.as_ref().map(probe_policy),
        readiness: spec.probes.readiness.as_ref().map(probe_policy),
        liveness: spec.probes.liveness.as_ref().map(probe_policy),
        restart: RestartPolicy {
            initial: milliseconds(spec.restart.initial_ms),
            maximum: milliseconds(spec.restart.maximum_ms),
            reset_after: milliseconds(spec.restart.reset_after_ms),
            crash_loop_exits: spec.restart.crash_loop_exits,
            crash_loop_window: milliseconds(spec.restart.crash_loop_window_ms),
        },
        drain: milliseconds(spec.drain_ms),
        stop: milliseconds(spec.shim.stop.grace_ms) + STOP_MARGIN,
    }
}

const fn probe_policy(spec: &ProbeSpec) -> ProbePolicy {
    ProbePolicy {
        period: Duration::from_millis(spec.period_ms),
        timeout: Duration::from_millis(spec.timeout_ms),
        success_threshold: spec.success_threshold,
        failure_threshold: spec.failure_threshold,
    }
}
