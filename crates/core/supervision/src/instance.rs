//! One instance: what is wanted of it, where it is, and what follows.
//!
//! Inputs change facts (wished, found, exited, answered); then [`Instance::settle`] compares the facts
//! with the phase and moves along the table until nothing more follows. So an input that arrives twice,
//! late, or in an unusual order leads to the same place.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::time::Duration;

use mainstay_units::{Generation, Instant};

use crate::backoff::Backoff;
use crate::policy::Policy;
use crate::probe::{Belief, Outcome, Probe, Round, Schedule};
use crate::table::{self, Cause, Phase};
use crate::why::Why;

/// More moves than this from one input would be a circle in the table.
const MOVES_LIMIT: usize = 16;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It shall run in this generation; a process of another one is replaced.
    Want {
        generation: Generation,
        policy: Box<Policy>,
    },
    /// It shall not run.
    Unwant,
    /// A fault says that its host is down: nothing is started until it is over.
    HostDown,
    HostBack,
    /// Hands off: nothing is started, and nothing stopped for its probes.
    Pause,
    Resume,
    /// A process of it runs that somebody started earlier.
    Found {
        generation: Generation,
    },
    Launched,
    LaunchFailed,
    Exited,
    Answer {
        probe: Probe,
        round: Round,
        outcome: Outcome,
    },
    /// A deadline has passed.
    Wake,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start it; answered by `Launched` or `LaunchFailed`.
    Launch { generation: Generation },
    /// Send the stop signal; answered by `Exited`.
    Stop,
    /// End every process of it; answered by `Exited`.
    Kill,
    /// Ask within the timeout; answered by `Answer` with the same round.
    Ask {
        probe: Probe,
        round: Round,
        timeout: Duration,
    },
    /// Tell whoever routes and whoever keeps records.
    Moved {
        from: Phase,
        to: Phase,
        why: Why,
        generation: Generation,
    },
}

/// What waits at the next deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    Start,
    Probe(Probe),
    DrainOver,
    StopOverdue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Run,
    Stop,
}

/// Why a process is being stopped decides what its exit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StopCause {
    /// Nobody wants it, or wants it anew.
    Wish,
    /// Its probes failed: its exit counts as a crash.
    Health,
}

/// What can be said of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub phase: Phase,
    pub why: Why,
    pub since: Instant,
    /// Of the process if there is one, otherwise of the wish.
    pub generation: Generation,
    /// Starts after the first.
    pub restarts: u64,
}

#[derive(Clone, Debug)]
pub struct Instance {
    policy: Policy,
    wish: Wish,
    wanted: Generation,
    running: Option<Generation>,
    host_is_down: bool,
    is_paused: bool,
    phase: Phase,
    why: Why,
    since: Instant,
    /// Of the back-off, the drain or the stop, whichever the phase has.
    deadline: Instant,
    started: Instant,
    launches: u64,
    stop_cause: Option<StopCause>,
    backoff: Backoff,
    startup: Option<Schedule>,
    readiness: Option<Schedule>,
    liveness: Option<Schedule>,
    round: u64,
    effects: VecDeque<Effect>,
}

impl Instance {
    /// Not wanted and not there. The seed spreads its restarts among those of others.
    pub fn new(now: Instant, policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            wish: Wish::Stop,
            wanted: Generation::ZERO,
            running: None,
            host_is_down: false,
            is_paused: false,
            phase: Phase::Stopped,
            why: Why::NotWanted,
            since: now,
            deadline: now,
            started: now,
            launches: 0,
            stop_cause: None,
            backoff: Backoff::new(seed),
            startup: None,
            readiness: None,
            liveness: None,
            round: 0,
            effects: VecDeque::new(),
        }
    }

    /// Wanted, and found running from an earlier life of its supervisor.
    pub fn adopt(now: Instant, generation: Generation, policy: Policy, seed: u64) -> Self {
        let mut instance = Self::new(now, policy, seed);
        instance.wish = Wish::Run;
        instance.wanted = generation;
        instance.handle(now, Input::Found { generation });
        instance
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            phase: self.phase,
            why: self.why,
            since: self.since,
            generation: self.running.unwrap_or(self.wanted),
            restarts: self.launches.saturating_sub(1),
        }
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call with `Wake` at the latest.
    pub fn next_deadline(&self) -> Option<(Instant, Wake)> {
        match self.phase {
            Phase::Stopped | Phase::Held | Phase::Launching => None,
            Phase::Waiting | Phase::CrashLoop => Some((self.deadline, Wake::Start)),
            Phase::Draining => Some((self.deadline, Wake::DrainOver)),
            Phase::Stopping => Some((self.deadline, Wake::StopOverdue)),
            Phase::Starting | Phase::Unready | Phase::Ready => self.next_probe(),
        }
    }

    /// Takes in what happened; why it led to where the instance now is, or to nothing.
    pub fn handle(&mut self, now: Instant, input: Input) -> Why {
        let before = (self.phase, self.since, self.effects.len());
        let why = match input {
            Input::Want { generation, policy } => self.want(now, generation, *policy),
            Input::Unwant => self.set_wish(Wish::Stop),
            Input::HostDown => set(&mut self.host_is_down, true),
            Input::HostBack => self.host_back(),
            Input::Pause => set(&mut self.is_paused, true),
            Input::Resume => set(&mut self.is_paused, false),
            Input::Found { generation } => self.found(now, generation),
            Input::Launched => self.advance(now, Cause::Launched),
            Input::LaunchFailed => self.left(now, Cause::LaunchFailed),
            Input::Exited => self.exited(now),
            Input::Answer {
                probe,
                round,
                outcome,
            } => self.answered(now, probe, round, outcome),
            Input::Wake => Why::TooEarly,
        };
        self.settle(now);
        self.ask(now);
        assert!(
            self.phase.has_process() || self.running.is_none(),
            "no process is remembered where there is none"
        );
        if before == (self.phase, self.since, self.effects.len()) {
            why
        } else {
            self.why
        }
    }

    fn set_wish(&mut self, wish: Wish) -> Why {
        let changed = self.wish != wish;
        self.wish = wish;
        if changed {
            Why::NotWanted
        } else {
            Why::AlreadySo
        }
    }

    /// What ended while a fault began and held was the fault's doing: nothing is owed to it.
    fn host_back(&mut self) -> Why {
        let why = set(&mut self.host_is_down, false);
        if why != Why::AlreadySo {
            self.backoff.forgive();
        }
        why
    }

    fn want(&mut self, now: Instant, generation: Generation, policy: Policy) -> Why {
        let is_new = generation != self.wanted || self.wish == Wish::Stop;
        self.wish = Wish::Run;
        self.wanted = generation;
        self.policy = policy;
        if !is_new {
            return Why::AlreadySo;
        }
        self.backoff.forgive();
        self.advance(now, Cause::Replaced)
    }

    fn found(&mut self, now: Instant, generation: Generation) -> Why {
        if self.phase.has_process() && self.phase != Phase::Launching {
            return Why::AlreadySo;
        }
        self.running = Some(generation);
        self.advance(now, Cause::Found)
    }

    fn exited(&mut self, now: Instant) -> Why {
        if !self.phase.has_process() {
            return Why::AlreadySo;
        }
        let by_wish = self.phase == Phase::Draining || self.stop_cause == Some(StopCause::Wish);
        match (by_wish, self.wish) {
            (true, Wish::Stop) => self.left(now, Cause::StoppedForGood),
            (true, Wish::Run) => self.left(now, Cause::StoppedToStart),
            (false, _) => {
                let ran = now - self.started;
                let by_fault = self.host_is_down;
                if !by_fault && self.backoff.note_exit(now, ran, &self.policy.restart) {
                    self.left(now, Cause::ExitedTooOften)
                } else {
                    self.left(now, Cause::Exited)
                }
            }
        }
    }

    /// The process is gone.
    fn left(&mut self, now: Instant, cause: Cause) -> Why {
        if self.phase.has_process() {
            self.running = None;
        }
        self.advance(now, cause)
    }

    fn answered(&mut self, now: Instant, probe: Probe, round: Round, outcome: Outcome) -> Why {
        let Some(schedule) = self.schedule(probe) else {
            return Why::Stale;
        };
        let believed = match schedule.answer(round, outcome) {
            Belief::Settled(outcome) => outcome,
            Belief::BelowThreshold => return Why::BelowThreshold,
            Belief::Stale => return Why::Stale,
        };
        let cause = match (probe, believed) {
            (Probe::Startup, Outcome::Passed) => Cause::StartupProven,
            (Probe::Startup, Outcome::Failed) => Cause::StartupFailed,
            (Probe::Readiness, Outcome::Passed) => Cause::ReadinessProven,
            (Probe::Readiness, Outcome::Failed) => Cause::ReadinessFailed,
            (Probe::Liveness, Outcome::Passed) => return Why::AlreadySo,
            (Probe::Liveness, Outcome::Failed) => Cause::LivenessFailed,
        };
        let would_stop = matches!(cause, Cause::StartupFailed | Cause::LivenessFailed);
        if would_stop && self.is_paused {
            return Why::HandsOff;
        }
        if would_stop && self.host_is_down {
            return Why::HostIsDown;
        }
        self.advance(now, cause)
    }

    /// Moves until facts and phase agree.
    fn settle(&mut self, now: Instant) {
        for _ in 0..MOVES_LIMIT {
            let Some(cause) = self.due_cause(now) else {
                return;
            };
            if self.advance(now, cause) == Why::AlreadySo {
                return;
            }
        }
        assert!(
            self.due_cause(now).is_none(),
            "the table leads in a circle at {:?}",
            self.phase
        );
    }

    /// What the facts demand in this phase.
    fn due_cause(&self, now: Instant) -> Option<Cause> {
        let is_over = now >= self.deadline;
        match self.phase {
            Phase::Stopped => (self.wish == Wish::Run).then(|| self.start_cause()),
            Phase::Waiting | Phase::Held | Phase::CrashLoop if self.wish == Wish::Stop => {
                Some(Cause::Unwanted)
            }
            Phase::Waiting | Phase::CrashLoop => {
                let cause = self.start_cause();
                (cause != Cause::Start || is_over).then_some(cause)
            }
            Phase::Held => {
                let cause = self.start_cause();
                table::find(self.phase, cause)
                    .filter(|row| row.why != self.why)
                    .map(|_| cause)
            }
            Phase::Launching => None,
            Phase::Starting | Phase::Unready | Phase::Ready if self.wish == Wish::Stop => {
                Some(Cause::Unwanted)
            }
            Phase::Starting | Phase::Unready | Phase::Ready
                if self.running != Some(self.wanted) =>
            {
                Some(Cause::Replaced)
            }
            Phase::Starting => self.startup.is_none().then_some(Cause::StartupProven),
            Phase::Unready => self.readiness.is_none().then_some(Cause::NothingToProve),
            Phase::Ready => None,
            Phase::Draining => is_over.then_some(Cause::DrainOver),
            Phase::Stopping => is_over.then_some(Cause::StopOverdue),
        }
    }

    fn start_cause(&self) -> Cause {
        if self.host_is_down {
            Cause::HostDown
        } else if self.is_paused {
            Cause::Paused
        } else {
            Cause::Start
        }
    }

    /// One step along the table, with what entering the new phase entails.
    fn advance(&mut self, now: Instant, cause: Cause) -> Why {
        let Some(row) = table::find(self.phase, cause) else {
            return Why::AlreadySo;
        };
        let from = self.phase;
        self.phase = row.to;
        self.why = row.why;
        self.since = now;
        let generation = self.running.unwrap_or(self.wanted);
        self.effects.push_back(Effect::Moved {
            from,
            to: row.to,
            why: row.why,
            generation,
        });
        match row.to {
            Phase::Stopped | Phase::Held => {}
            Phase::Waiting | Phase::CrashLoop => self.deadline = now + self.wait_after(cause),
            Phase::Launching => self.launch(),
            Phase::Starting => self.begin(now),
            Phase::Unready => {
                if from == Phase::Starting {
                    self.readiness = self
                        .policy
                        .readiness
                        .map(|policy| Schedule::new(policy, now));
                    self.liveness = self
                        .policy
                        .liveness
                        .map(|policy| Schedule::new(policy, now));
                }
            }
            Phase::Ready => {}
            Phase::Draining => {
                self.stop_cause = Some(StopCause::Wish);
                self.deadline = now + self.policy.drain;
            }
            Phase::Stopping => self.stop(now, cause),
        }
        row.why
    }

    fn wait_after(&mut self, cause: Cause) -> Duration {
        match cause {
            Cause::ExitedTooOften => self.backoff.longest_wait(&self.policy.restart),
            Cause::Exited | Cause::LaunchFailed => self.backoff.next_wait(&self.policy.restart),
            Cause::Start
            | Cause::HostDown
            | Cause::Paused
            | Cause::Unwanted
            | Cause::Replaced
            | Cause::Found
            | Cause::Launched
            | Cause::StartupProven
            | Cause::StartupFailed
            | Cause::ReadinessProven
            | Cause::NothingToProve
            | Cause::ReadinessFailed
            | Cause::LivenessFailed
            | Cause::DrainOver
            | Cause::StopOverdue
            | Cause::StoppedForGood
            | Cause::StoppedToStart => Duration::ZERO,
        }
    }

    fn launch(&mut self) {
        assert!(self.running.is_none(), "one process at a time");
        assert!(
            !self.host_is_down && !self.is_paused,
            "nothing is started where it must not be"
        );
        self.running = Some(self.wanted);
        self.launches += 1;
        self.effects.push_back(Effect::Launch {
            generation: self.wanted,
        });
    }

    fn begin(&mut self, now: Instant) {
        assert!(self.running.is_some(), "what starts up is there");
        self.started = now;
        self.stop_cause = None;
        self.startup = self.policy.startup.map(|policy| Schedule::new(policy, now));
        self.readiness = None;
        self.liveness = None;
    }

    fn stop(&mut self, now: Instant, cause: Cause) {
        self.deadline = now + self.policy.stop.max(Duration::from_millis(1));
        if cause == Cause::StopOverdue {
            self.effects.push_back(Effect::Kill);
            return;
        }
        let by_health = matches!(cause, Cause::StartupFailed | Cause::LivenessFailed);
        self.stop_cause = Some(if by_health {
            StopCause::Health
        } else {
            StopCause::Wish
        });
        self.effects.push_back(Effect::Stop);
    }

    /// Which probes belong to a phase.
    fn probes(&self) -> &'static [Probe] {
        match self.phase {
            Phase::Starting => &[Probe::Startup],
            Phase::Unready | Phase::Ready => &[Probe::Readiness, Probe::Liveness],
            Phase::Stopped
            | Phase::Waiting
            | Phase::Held
            | Phase::CrashLoop
            | Phase::Launching
            | Phase::Draining
            | Phase::Stopping => &[],
        }
    }

    /// The schedule of a probe that is asked in this phase.
    fn schedule(&mut self, probe: Probe) -> Option<&mut Schedule> {
        if !self.probes().contains(&probe) {
            return None;
        }
        match probe {
            Probe::Startup => self.startup.as_mut(),
            Probe::Readiness => self.readiness.as_mut(),
            Probe::Liveness => self.liveness.as_mut(),
        }
    }

    fn next_probe(&self) -> Option<(Instant, Wake)> {
        let deadline = |probe: &Probe| {
            let schedule = match probe {
                Probe::Startup => self.startup.as_ref(),
                Probe::Readiness => self.readiness.as_ref(),
                Probe::Liveness => self.liveness.as_ref(),
            };
            schedule.map(|schedule| (schedule.next_deadline(), Wake::Probe(*probe)))
        };
        self.probes().iter().filter_map(deadline).min()
    }

    /// Asks what is due, and takes a silence that lasted too long for a failure.
    fn ask(&mut self, now: Instant) {
        for probe in self.probes() {
            let silent = self
                .schedule(*probe)
                .and_then(|schedule| schedule.silent(now));
            if let Some(round) = silent {
                self.answered(now, *probe, round, Outcome::Failed);
                self.settle(now);
            }
        }
        for probe in self.probes() {
            let round = Round(self.round + 1);
            let Some(schedule) = self
                .schedule(*probe)
                .filter(|schedule| schedule.is_due(now))
            else {
                continue;
            };
            schedule.ask(now, round);
            let timeout = schedule.timeout();
            self.round = round.0;
            self.effects.push_back(Effect::Ask {
                probe: *probe,
                round,
                timeout,
            });
        }
    }
}

fn set(fact: &mut bool, value: bool) -> Why {
    if core::mem::replace(fact, value) == value {
        return Why::AlreadySo;
    }
    if value { Why::HandsOff } else { Why::HandsOn }
}
