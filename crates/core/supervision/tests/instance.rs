//! One instance through its life: transcripts to read, and properties under any order of events.

use core::time::Duration;

use expect_test::{Expect, expect};
use mainstay_supervision::{
    Effect, Input, Instance, Outcome, Phase, Policy, Probe, ProbePolicy, RestartPolicy, Round, Why,
};
use mainstay_units::{Generation, Instant};
use proptest::prelude::*;

fn probe(period: u64) -> Option<ProbePolicy> {
    Some(ProbePolicy {
        period: Duration::from_millis(period),
        timeout: Duration::from_millis(50),
        success_threshold: 1,
        failure_threshold: 2,
    })
}

fn policy() -> Policy {
    Policy {
        startup: probe(20),
        readiness: probe(100),
        liveness: probe(1_000),
        restart: RestartPolicy {
            initial: Duration::from_millis(100),
            maximum: Duration::from_secs(5),
            reset_after: Duration::from_secs(30),
            crash_loop_exits: 3,
            crash_loop_window: Duration::from_secs(60),
        },
        drain: Duration::from_millis(200),
        stop: Duration::from_millis(1_000),
    }
}

fn plain() -> Policy {
    Policy {
        startup: None,
        readiness: None,
        liveness: None,
        ..policy()
    }
}

fn want(generation: u64, policy: Policy) -> Input {
    Input::Want {
        generation: Generation(generation),
        policy: Box::new(policy),
    }
}

/// Runs an instance and writes down what it does.
struct Play {
    instance: Instance,
    now: u64,
    lines: String,
    asked: Vec<(Probe, Round)>,
}

impl Play {
    fn new() -> Self {
        Self {
            instance: Instance::new(Instant::ZERO, plain(), 1),
            now: 0,
            lines: String::new(),
            asked: Vec::new(),
        }
    }

    fn at(&mut self, now: u64, input: Input) -> Why {
        assert!(now >= self.now);
        self.now = now;
        let why = self.instance.handle(Instant::from_millis(now), input);
        while let Some(effect) = self.instance.poll_effect() {
            let line = match effect {
                Effect::Ask { probe, round, .. } => {
                    self.asked.push((probe, round));
                    continue;
                }
                Effect::Moved {
                    from,
                    to,
                    why,
                    generation,
                } => {
                    format!(
                        "{now:<5} {} -> {} (generation {generation}): {why}",
                        from.name(),
                        to.name()
                    )
                }
                Effect::Launch { .. } => format!("{now:<5}   launch"),
                Effect::Stop => format!("{now:<5}   stop"),
                Effect::Kill => format!("{now:<5}   kill"),
            };
            self.lines.push_str(&line);
            self.lines.push('\n');
        }
        why
    }

    /// Answers every open question of a probe.
    fn answer(&mut self, now: u64, probe: Probe, outcome: Outcome) {
        let asked = std::mem::take(&mut self.asked);
        for (asked_probe, round) in asked {
            if asked_probe == probe {
                self.at(
                    now,
                    Input::Answer {
                        probe,
                        round,
                        outcome,
                    },
                );
            } else {
                self.asked.push((asked_probe, round));
            }
        }
    }

    /// Wakes at every deadline up to `until`.
    fn sleep(&mut self, until: u64) {
        while let Some((deadline, _)) = self.instance.next_deadline() {
            let deadline = deadline.as_nanos().div_ceil(1_000_000).max(self.now);
            if deadline > until {
                break;
            }
            self.at(deadline, Input::Wake);
        }
        self.now = until;
    }

    fn check(&self, expected: Expect) {
        expected.assert_eq(&self.lines);
    }
}

#[test]
fn from_start_to_ready_and_out_of_routing_before_the_stop() {
    let mut play = Play::new();
    play.at(0, want(1, policy()));
    play.at(5, Input::Launched);
    play.answer(10, Probe::Startup, Outcome::Failed);
    play.sleep(30);
    play.answer(31, Probe::Startup, Outcome::Passed);
    play.answer(32, Probe::Readiness, Outcome::Passed);
    for now in [140, 250] {
        play.sleep(now);
        play.answer(now, Probe::Readiness, Outcome::Failed);
    }
    play.sleep(350);
    play.answer(351, Probe::Readiness, Outcome::Passed);
    play.at(400, Input::Unwant);
    play.sleep(700);
    play.at(800, Input::Exited);
    play.check(expect![[r#"
        0     stopped -> launching (generation 1): it is wanted and about to be started
        0       launch
        5     launching -> starting (generation 1): it has started and has yet to prove itself
        31    starting -> unready (generation 1): it has started up; readiness is not proven yet
        32    unready -> ready (generation 1): its readiness probe passes
        250   ready -> unready (generation 1): its readiness probe fails
        351   unready -> ready (generation 1): its readiness probe passes
        400   ready -> draining (generation 1): it is not wanted here
        600   draining -> stopping (generation 1): it has left routing and is being stopped
        600     stop
        800   stopping -> stopped (generation 1): it was stopped as wished
    "#]]);
}

#[test]
fn a_crash_loop_is_called_by_its_name() {
    let mut play = Play::new();
    play.at(0, want(1, plain()));
    for _ in 0..4 {
        play.at(play.now, Input::Launched);
        play.at(play.now + 1, Input::Exited);
        play.sleep(play.now + 6_000);
    }
    play.at(play.now, Input::Launched);
    play.at(play.now, want(2, plain()));
    play.check(expect![[r#"
        0     stopped -> launching (generation 1): it is wanted and about to be started
        0       launch
        0     launching -> starting (generation 1): it has started and has yet to prove itself
        0     starting -> unready (generation 1): it has started up; readiness is not proven yet
        0     unready -> ready (generation 1): it runs and no probe is declared
        1     ready -> waiting (generation 1): it exited and waits for its next start
        78    waiting -> launching (generation 1): its back-off is over
        78      launch
        6001  launching -> starting (generation 1): it has started and has yet to prove itself
        6001  starting -> unready (generation 1): it has started up; readiness is not proven yet
        6001  unready -> ready (generation 1): it runs and no probe is declared
        6002  ready -> waiting (generation 1): it exited and waits for its next start
        6196  waiting -> launching (generation 1): its back-off is over
        6196    launch
        12002 launching -> starting (generation 1): it has started and has yet to prove itself
        12002 starting -> unready (generation 1): it has started up; readiness is not proven yet
        12002 unready -> ready (generation 1): it runs and no probe is declared
        12003 ready -> crash_loop (generation 1): it exits again and again (crash loop)
        15122 crash_loop -> launching (generation 1): its back-off is over
        15122   launch
        18003 launching -> starting (generation 1): it has started and has yet to prove itself
        18003 starting -> unready (generation 1): it has started up; readiness is not proven yet
        18003 unready -> ready (generation 1): it runs and no probe is declared
        18004 ready -> crash_loop (generation 1): it exits again and again (crash loop)
        21047 crash_loop -> launching (generation 1): its back-off is over
        21047   launch
        24004 launching -> starting (generation 1): it has started and has yet to prove itself
        24004 starting -> unready (generation 1): it has started up; readiness is not proven yet
        24004 unready -> ready (generation 1): it runs and no probe is declared
        24004 ready -> draining (generation 1): a new version of it is wanted
    "#]]);
}

#[test]
fn a_hanging_process_is_stopped_then_killed_and_its_exit_counts_as_a_crash() {
    let mut play = Play::new();
    play.at(
        0,
        want(
            1,
            Policy {
                startup: None,
                readiness: None,
                ..policy()
            },
        ),
    );
    play.at(0, Input::Launched);
    play.sleep(4_000);
    play.at(4_000, Input::Exited);
    play.sleep(4_100);
    play.check(expect![[r#"
        0     stopped -> launching (generation 1): it is wanted and about to be started
        0       launch
        0     launching -> starting (generation 1): it has started and has yet to prove itself
        0     starting -> unready (generation 1): it has started up; readiness is not proven yet
        0     unready -> ready (generation 1): it runs and no probe is declared
        1050  ready -> stopping (generation 1): its liveness probe failed too often
        1050    stop
        2050  stopping -> stopping (generation 1): it did not stop in time and is being killed
        2050    kill
        3050  stopping -> stopping (generation 1): it did not stop in time and is being killed
        3050    kill
        4000  stopping -> waiting (generation 1): it exited and waits for its next start
        4077  waiting -> launching (generation 1): its back-off is over
        4077    launch
    "#]]);
}

#[test]
fn nothing_starts_while_the_host_is_down_or_hands_are_off() {
    let mut play = Play::new();
    play.at(0, Input::HostDown);
    play.at(0, want(1, plain()));
    play.at(10, Input::Pause);
    play.at(20, Input::HostBack);
    play.at(30, Input::Resume);
    play.at(30, Input::Launched);
    play.at(40, Input::HostDown);
    play.at(50, Input::Exited);
    play.at(60, Input::HostBack);
    play.check(expect![[r#"
        0     stopped -> held (generation 1): a fault says that its host is down
        20    held -> held (generation 1): the platform is paused: hands off
        30    held -> launching (generation 1): it is wanted and about to be started
        30      launch
        30    launching -> starting (generation 1): it has started and has yet to prove itself
        30    starting -> unready (generation 1): it has started up; readiness is not proven yet
        30    unready -> ready (generation 1): it runs and no probe is declared
        50    ready -> waiting (generation 1): it exited and waits for its next start
        50    waiting -> held (generation 1): a fault says that its host is down
        60    held -> launching (generation 1): it is wanted and about to be started
        60      launch
    "#]]);
}

/// A fault kills, and kills again what was started before its node knew.
#[test]
fn what_a_fault_ended_is_no_crash_loop() {
    let mut play = Play::new();
    play.at(0, want(1, plain()));
    for at in [10, 300] {
        play.sleep(at - 1);
        play.at(at - 1, Input::Launched);
        play.at(at, Input::Exited);
    }
    play.at(310, Input::HostDown);
    for at in [400, 900, 1_400] {
        play.at(at, Input::HostBack);
        play.at(at, Input::Launched);
        play.at(at + 10, Input::HostDown);
        play.at(at + 20, Input::Exited);
    }
    play.at(2_000, Input::HostBack);
    play.at(2_000, Input::Launched);
    play.at(2_010, Input::Exited);
    assert_eq!(play.instance.snapshot().phase, Phase::Waiting);
    assert!(!play.lines.contains("crash_loop"), "{}", play.lines);
}

#[test]
fn what_was_found_running_is_adopted_and_replaced_only_for_a_new_generation() {
    let mut play = Play::new();
    play.instance = Instance::adopt(Instant::ZERO, Generation(3), plain(), 1);
    play.at(0, want(3, plain()));
    play.at(10, want(4, plain()));
    play.sleep(1_000);
    play.at(1_000, Input::Exited);
    play.check(expect![[r#"
        0     stopped -> starting (generation 3): it was found running and has yet to prove itself
        0     starting -> unready (generation 3): it has started up; readiness is not proven yet
        0     unready -> ready (generation 3): it runs and no probe is declared
        10    ready -> draining (generation 3): a new version of it is wanted
        210   draining -> stopping (generation 3): it has left routing and is being stopped
        210     stop
        1000  stopping -> waiting (generation 4): it was stopped and will be started anew
        1000  waiting -> launching (generation 4): its back-off is over
        1000    launch
    "#]]);
}

/// A world in which anything may happen at any time, but a process only exists between launch and exit.
#[derive(Clone, Debug)]
enum Act {
    Want(u64),
    Unwant,
    HostDown,
    HostBack,
    Pause,
    Resume,
    LaunchEnds { well: bool },
    Exit,
    Answer { pick: usize, passed: bool },
    StaleAnswer(u64),
    Pass(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => (1..4_u64).prop_map(Act::Want),
        1 => Just(Act::Unwant),
        1 => Just(Act::HostDown),
        2 => Just(Act::HostBack),
        1 => Just(Act::Pause),
        2 => Just(Act::Resume),
        6 => any::<bool>().prop_map(|well| Act::LaunchEnds { well }),
        2 => Just(Act::Exit),
        8 => (any::<usize>(), any::<bool>()).prop_map(|(pick, passed)| Act::Answer { pick, passed }),
        1 => (0..20_u64).prop_map(Act::StaleAnswer),
        8 => (0..3_000_u64).prop_map(Act::Pass),
    ];
    proptest::collection::vec(act, 0..120)
}

struct World {
    instance: Instance,
    now: Instant,
    launching: bool,
    alive: bool,
    wanted: bool,
    host_is_down: bool,
    is_paused: bool,
    /// The latest settled word of the readiness probe of this run.
    proven: bool,
    asked: Vec<(Probe, Round)>,
}

impl World {
    fn new() -> Self {
        Self {
            instance: Instance::new(Instant::ZERO, policy(), 7),
            now: Instant::ZERO,
            launching: false,
            alive: false,
            wanted: false,
            host_is_down: false,
            is_paused: false,
            proven: false,
            asked: Vec::new(),
        }
    }

    fn tell(&mut self, input: Input) {
        self.instance.handle(self.now, input);
        while let Some(effect) = self.instance.poll_effect() {
            match effect {
                Effect::Launch { .. } => {
                    assert!(
                        self.wanted && !self.host_is_down && !self.is_paused,
                        "a start that must not be"
                    );
                    assert!(!self.launching && !self.alive, "two at a time");
                    self.launching = true;
                    self.proven = false;
                }
                Effect::Stop | Effect::Kill => assert!(self.alive, "nothing to stop"),
                Effect::Ask { probe, round, .. } => {
                    assert!(self.alive, "nobody to ask");
                    self.asked.push((probe, round));
                }
                Effect::Moved { to, .. } => {
                    assert!(
                        to != Phase::Ready || self.proven,
                        "missing data counted as health"
                    );
                }
            }
        }
        let phase = self.instance.snapshot().phase;
        assert_eq!(
            phase.has_process(),
            self.alive || self.launching,
            "{phase:?}"
        );
        if let Some((deadline, _)) = self.instance.next_deadline() {
            assert!(
                deadline > self.now,
                "a deadline in the past would be a busy loop"
            );
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Want(generation) => {
                self.wanted = true;
                self.tell(want(generation, policy()));
            }
            Act::Unwant => {
                self.wanted = false;
                self.tell(Input::Unwant);
            }
            Act::HostDown => {
                self.host_is_down = true;
                self.tell(Input::HostDown);
            }
            Act::HostBack => {
                self.host_is_down = false;
                self.tell(Input::HostBack);
            }
            Act::Pause => {
                self.is_paused = true;
                self.tell(Input::Pause);
            }
            Act::Resume => {
                self.is_paused = false;
                self.tell(Input::Resume);
            }
            Act::LaunchEnds { well } if self.launching => {
                self.launching = false;
                self.alive = well;
                self.tell(if well {
                    Input::Launched
                } else {
                    Input::LaunchFailed
                });
            }
            Act::Exit if self.alive => {
                self.alive = false;
                self.asked.clear();
                self.tell(Input::Exited);
            }
            Act::Answer { pick, passed } if !self.asked.is_empty() => {
                let (probe, round) = self.asked.remove(pick % self.asked.len());
                self.proven |= passed && probe == Probe::Readiness;
                let outcome = if passed {
                    Outcome::Passed
                } else {
                    Outcome::Failed
                };
                self.tell(Input::Answer {
                    probe,
                    round,
                    outcome,
                });
            }
            Act::StaleAnswer(round)
                if self.asked.iter().all(|(_, asked)| *asked != Round(round)) =>
            {
                let before = self.instance.snapshot();
                self.tell(Input::Answer {
                    probe: Probe::Readiness,
                    round: Round(round),
                    outcome: Outcome::Passed,
                });
                assert_eq!(self.instance.snapshot(), before);
            }
            Act::LaunchEnds { .. } | Act::Exit | Act::Answer { .. } | Act::StaleAnswer(_) => {}
            Act::Pass(milliseconds) => self.pass(Duration::from_millis(milliseconds)),
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((deadline, _)) = self
            .instance
            .next_deadline()
            .filter(|(deadline, _)| *deadline <= end)
        {
            self.now = deadline;
            self.tell(Input::Wake);
        }
        self.now = end;
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_rules_hold_and_a_stop_ends(acts in acts()) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
        }
        // Liveness: unwanted, and with processes that leave when they are killed, it comes to rest.
        world.act(Act::Unwant);
        world.act(Act::LaunchEnds { well: true });
        world.pass(Duration::from_secs(5));
        world.act(Act::Exit);
        prop_assert_eq!(world.instance.snapshot().phase, Phase::Stopped);
        prop_assert_eq!(world.instance.next_deadline(), None);
        // And wanted again, with nothing in its way, it becomes ready.
        for act in [Act::HostBack, Act::Resume, Act::Want(9), Act::LaunchEnds { well: true }] {
            world.act(act);
        }
        for _ in 0..2 {
            while !world.asked.is_empty() {
                world.act(Act::Answer { pick: 0, passed: true });
            }
        }
        prop_assert_eq!(world.instance.snapshot().phase, Phase::Ready);
    }
}
