//! Crash loops that the journal says stand on this host, compared with what supervision sees, until they are over.
//!
//! Nothing is remembered that matters: a node that was restarted in between looks for as long again, and then tells the same.
//! A loop is over when the instance has been the same process, past its start, for as long as ends are counted that make a
//! loop; or when it was not wanted here for as long.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_kernel::State;
use mainstay_model::name::HostName;
use mainstay_record::process::{InstanceSpec, InstanceStatus, ProcessIdentity, RestartSpec};
use mainstay_units::Instant;

/// What was told is not told again so soon: it is on its way to the leader.
const PATIENCE: Duration = Duration::from_secs(3);

/// An instance that has calmed down.
#[derive(Clone, Copy, Debug)]
struct Calm {
    /// Absent for one that is not wanted here.
    process: Option<ProcessIdentity>,
    since: Instant,
    told: Option<Instant>,
}

#[derive(Debug)]
pub struct LoopWatcher {
    host: HostName,
    /// How long ends of each instance are counted.
    windows: BTreeMap<String, Duration>,
    calm: BTreeMap<String, Calm>,
}

impl LoopWatcher {
    pub fn new(host: HostName) -> Self {
        Self {
            host,
            windows: BTreeMap::new(),
            calm: BTreeMap::new(),
        }
    }

    /// What runs here from now on.
    pub fn follow(&mut self, instances: &[InstanceSpec]) {
        let windows = instances.iter().map(|spec| {
            let window = Duration::from_millis(spec.restart.crash_loop_window_ms);
            (spec.shim.instance.clone(), window)
        });
        self.windows = windows.collect();
    }

    /// Instances whose loop is over although the journal says otherwise, and why it is.
    pub fn compare(
        &mut self,
        state: &State,
        instances: &[InstanceStatus],
        now: Instant,
    ) -> Vec<(String, String)> {
        let host = self.host.clone();
        let standing: Vec<&str> = state.incidents.loops_on(host.as_str()).collect();
        self.calm
            .retain(|instance, _| standing.contains(&instance.as_str()));
        let over = standing.into_iter();
        over.filter_map(|instance| self.over(instance, instances, now))
            .collect()
    }

    /// The instance, as supervision calls it, and why its loop is over, if that is to be told now.
    fn over(
        &mut self,
        instance: &str,
        instances: &[InstanceStatus],
        now: Instant,
    ) -> Option<(String, String)> {
        let name = format!("{}/{instance}", self.host);
        let status = instances.iter().find(|status| status.instance == name);
        let process = match status.map(|status| status.phase.as_str()) {
            None | Some("stopped") => None,
            Some("ready" | "unready") => status.and_then(|status| status.process),
            Some(_) => {
                self.calm.remove(instance);
                return None;
            }
        };
        let fresh = Calm {
            process,
            since: now,
            told: None,
        };
        let calm = self.calm.entry(instance.to_owned()).or_insert(fresh);
        if calm.process != process {
            *calm = fresh;
        }
        let usual = Duration::from_millis(RestartSpec::default().crash_loop_window_ms);
        let window = self.windows.get(&name).copied().unwrap_or(usual);
        let is_told = calm.told.is_some_and(|told| now.since(told) < PATIENCE);
        if now.since(calm.since) < window || is_told {
            return None;
        }
        calm.told = Some(now);
        let lasted = window.as_secs_f64();
        let why = match process {
            Some(process) => format!("pid {} has been well for {lasted} s", process.pid),
            None => format!("it has not been wanted here for {lasted} s"),
        };
        Some((name, why))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail at once")]

    use mainstay_kernel::{Event, Record, Reflex, Report};
    use mainstay_units::Epoch;

    use super::*;

    /// The journal says that `web` on h loops.
    fn state() -> State {
        let mut state = State::default();
        let reflex = Reflex::CrashLoop {
            instance: "h/web".to_owned(),
            restarts: 5,
        };
        state.apply(&Record {
            position: state.next,
            at_ms: 1,
            epoch: Epoch(1),
            cause: None,
            event: Event::ReflexRecorded(Report {
                host: HostName::new("h").unwrap(),
                at_ms: 1,
                reflex,
            }),
        });
        state
    }

    /// `PHASE PID` of `web`; nothing where it is not wanted.
    fn seen(text: &str) -> Vec<InstanceStatus> {
        let Some((phase, pid)) = text.split_once(' ') else {
            return Vec::new();
        };
        let process = pid.parse().ok().map(|pid| ProcessIdentity {
            pid,
            start_ticks: 1,
        });
        Vec::from([InstanceStatus {
            instance: "h/web".to_owned(),
            generation: 1,
            phase: phase.to_owned(),
            ready: phase == "ready",
            restarts: 5,
            process,
            why: String::new(),
            since_wall_ms: 0,
            last_exit: None,
            log: "log".into(),
            labels: BTreeMap::new(),
        }])
    }

    #[test]
    fn a_loop_is_over_when_one_process_was_well_for_the_whole_window() {
        const WINDOW_S: u64 = 60;
        for (looks, told) in [
            (&["ready 7", "ready 7", "unready 7"][..], &[60, 120][..]),
            // Another process has to be well for as long; and one that is between two says nothing.
            (&["ready 7", "ready 8", "ready 8"], &[120]),
            (&["ready 7", "waiting -", "ready 7"], &[]),
            (&["crash_loop -", "launching 8", "starting 8"], &[]),
            // A host that is held down is not well.
            (&["held -", "held -", "held -"], &[]),
            (&["", "", "stopped -"], &[60, 120]),
        ] {
            let mut watcher = LoopWatcher::new(HostName::new("h").unwrap());
            let mut found = Vec::new();
            for (turn, look) in (0_u64..).zip(looks) {
                let at_s = turn * WINDOW_S;
                let now = Instant::from_millis(at_s * 1_000);
                for (instance, why) in watcher.compare(&state(), &seen(look), now) {
                    assert_eq!(instance, "h/web");
                    assert!(why.contains("60 s"), "{why}");
                    found.push(at_s);
                }
            }
            assert_eq!(found, told, "{looks:?}");
        }
        let mut watcher = LoopWatcher::new(HostName::new("other").unwrap());
        let late = Instant::from_millis(9_000_000);
        assert!(watcher.compare(&state(), &[], Instant::ZERO).is_empty());
        assert!(watcher.compare(&state(), &[], late).is_empty());
    }
}
