//! An experiment on its way, carried by the journal: what follows what, and the verdict that was seen.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use mainstay_kernel::{
    AlertNews, AlertRules, AlertState, Ask, ClaimReason, Effect, EffectId, Event, ExperimentAsk,
    ExperimentId, ExperimentNews, ExperimentPlan, ExperimentTold, ExperimentWork, FaultKind,
    FaultSpec, Finding, Moment, Observation, Outcome, Signal, Slot, Timetable, Told, Verdict,
};
use mainstay_units::{Epoch, Position};

use crate::stage::{Stage, actor, answered, command, desired, fault, name, owner};

pub fn timetable() -> Timetable {
    let slot = |at_ms| Slot {
        at_ms,
        lasts_ms: Some(4_000),
    };
    Timetable {
        text: "the document".to_string(),
        planned_s: 1,
        window_ms: None,
        injections: vec![slot(0), slot(6_000)],
        ends_ms: 10_000,
        settle_ms: 20_000,
        is_guarded: true,
        alerts: None,
    }
}

pub fn plan() -> ExperimentPlan {
    with(timetable())
}

pub fn with(timetable: Timetable) -> ExperimentPlan {
    ExperimentPlan {
        name: "slow-ledger".to_string(),
        digest: "beef".to_string(),
        seed: 7,
        hypothesis: "orders are slow and nothing else".to_string(),
        injections: vec!["freeze h1".to_string(), "freeze h2".to_string()],
        lasts_ms: timetable.ends_ms + timetable.settle_ms,
        timetable: Some(timetable),
    }
}

pub fn begin_with(plan: ExperimentPlan) -> Signal {
    command(
        owner(),
        Ask::Experiment(ExperimentAsk::Begin(Box::new(plan))),
    )
}

pub fn stop(number: u64) -> Signal {
    let experiment = ExperimentId(number);
    command(owner(), Ask::Experiment(ExperimentAsk::Stop { experiment }))
}

pub fn saw(subject: &str, finding: Finding) -> Observation {
    Observation {
        subject: subject.to_string(),
        value: "0.99".to_string(),
        finding,
    }
}

/// A story in which time passes and the nodes do what they are ordered to.
struct Bench {
    stage: Stage,
    now_ms: u64,
}

impl Bench {
    fn begin(plan: ExperimentPlan) -> Self {
        let mut desired = desired();
        desired.watches = BTreeSet::from([name("h1"), name("h2")]);
        let mut bench = Self {
            stage: Stage::with(desired),
            now_ms: 1_000,
        };
        bench.tell(&begin_with(plan));
        bench
    }

    /// At this moment, with everything that follows at once.
    fn tell(&mut self, signal: &Signal) -> &mut Self {
        self.stage.at(self.now_ms, signal);
        self.settle()
    }

    fn settle(&mut self) -> &mut Self {
        for _ in 0..20 {
            let before = self.stage.state.next;
            let decision = mainstay_kernel::decide(&self.stage.state, self.now_ms, &Signal::Tick);
            if decision.events.is_empty() {
                return self;
            }
            self.stage.at(self.now_ms, &Signal::Tick);
            assert_ne!(before, self.stage.state.next);
        }
        panic!("it never rests: {}", self.stage.script());
    }

    fn at(&mut self, now_ms: u64) -> &mut Self {
        self.now_ms = now_ms;
        self.settle()
    }

    fn order(&self, wanted: impl Fn(&Effect) -> bool) -> Option<EffectId> {
        let mut all = self.stage.state.outstanding.iter();
        all.find(|(_, known)| wanted(&known.effect))
            .map(|(id, _)| *id)
    }

    /// The order to look, and until when.
    fn look(&self) -> Option<(EffectId, Moment)> {
        self.stage.state.outstanding.iter().find_map(|(id, known)| {
            if let Effect::Experiment(ExperimentWork::Look { moment, .. }) = &known.effect {
                return Some((*id, *moment));
            }
            None
        })
    }

    fn looked(&mut self, seen: &[Observation]) -> &mut Self {
        self.looked_at(seen, None, &[])
    }

    fn looked_at(
        &mut self,
        seen: &[Observation],
        halt: Option<&str>,
        residue: &[&str],
    ) -> &mut Self {
        let (effect, _) = self.look().expect("somebody looks");
        let told = Told::Looked {
            seen: seen.to_vec(),
            halt: halt.map(ToString::to_string),
            residue: residue.iter().map(ToString::to_string).collect(),
        };
        self.tell(&Signal::Experiment(ExperimentTold { effect, told }))
    }

    fn choice(&self) -> Option<EffectId> {
        self.order(|effect| matches!(effect, Effect::Experiment(ExperimentWork::Choose { .. })))
    }

    fn chose(&mut self, faults: &[FaultSpec]) -> &mut Self {
        let effect = self.choice().expect("somebody chooses");
        let told = Told::Chosen {
            what: "chosen".to_string(),
            faults: faults.to_vec(),
        };
        self.tell(&Signal::Experiment(ExperimentTold { effect, told }))
    }

    /// Whatever concerns faults is done as it was ordered.
    fn hands(&mut self) -> &mut Self {
        let is_hands =
            |effect: &Effect| matches!(effect, Effect::SetFault { .. } | Effect::ClearFault { .. });
        while let Some(EffectId(Position(position))) = self.order(is_hands) {
            let detail = String::new();
            self.tell(&answered(position, Outcome::Done { detail }));
        }
        self
    }

    fn claimed(&mut self, leader: &str) -> &mut Self {
        let epoch = Epoch(self.stage.state.epoch.0 + 1);
        self.stage.put(Event::Claimed {
            epoch,
            node: name(leader),
            why: ClaimReason::Returned,
        });
        self.settle()
    }

    /// To the moment at which the first fault is set.
    fn broken(plan: ExperimentPlan) -> Self {
        let mut bench = Self::begin(plan);
        bench
            .looked(&[saw("before orders", Finding::Holds)])
            .chose(&[fault(FaultKind::ProcessFreeze, "h1/web", 4_000)])
            .hands();
        bench
    }

    /// To the end of the last injection.
    fn over(plan: ExperimentPlan) -> Self {
        let mut bench = Self::broken(plan);
        bench.goes_on();
        bench
    }

    /// From the first fault to the end of the last.
    fn goes_on(&mut self) -> &mut Self {
        self.at(5_000)
            .hands()
            .at(7_000)
            .chose(&[fault(FaultKind::ProcessFreeze, "h2/web", 4_000)])
            .hands()
            .at(11_000)
            .hands()
    }

    fn verdict(&self) -> Option<(Verdict, String)> {
        let ends = self.stage.records.iter().filter_map(|record| {
            if let Event::Experiment(ExperimentNews::Ended { verdict, why, .. }) = &record.event {
                return Some((*verdict, why.clone()));
            }
            None
        });
        let ends: Vec<_> = ends.collect();
        assert!(ends.len() <= 1, "{ends:?}");
        assert_eq!(ends.is_empty(), self.stage.state.experiment.is_some());
        ends.into_iter().next()
    }

    fn check(&mut self, expected: Expect) {
        expected.assert_eq(&self.stage.script());
    }
}

#[test]
fn an_experiment_that_holds() {
    let mut bench = Bench::over(plan());
    bench
        .looked(&[saw("during orders", Finding::Holds)])
        .looked(&[saw("after orders", Finding::Holds)]);
    bench.check(expect![[r#"
        1000 > uid 1000 asks: chaos run
             #8 experiment x1 slow-ledger begun until 151000 by owner
        1000 > time passes
             #9 experiment x1: h1 looks (before) for 0 ms, blind after 10000
             do #9 Experiment(Look by h1
        1000 > #9 saw 1 things
             #10 experiment x1: before orders holds: 0.99
             #11 experiment x1: looked (before)
             #12 effect #9 done
        1000 > time passes
             #13 experiment x1: injection 0 is due
             do #13 Experiment(Choose by Leader
        1000 > time passes
             #14 experiment x1: h1 looks (during) for 10000 ms, blind after 10000
             do #14 Experiment(Look by h1
        1000 > #13 chose chosen
             #15 experiment x1: injection 0 is chosen (f1)
             #16 fault f1 process-freeze h1/web until 5000 by owner
             #17 effect #13 done
             do #16 SetFault by Leader
        1000 > #16 is done
             #18 effect #16 done
        5000 > time passes
             #19 fault f1 ends: its time is over
             do #19 ClearFault by Leader
        5000 > #19 is done
             #20 effect #19 done
        7000 > time passes
             #21 experiment x1: injection 1 is due
             do #21 Experiment(Choose by Leader
        7000 > #21 chose chosen
             #22 experiment x1: injection 1 is chosen (f2)
             #23 fault f2 process-freeze h2/web until 11000 by owner
             #24 effect #21 done
             do #23 SetFault by Leader
        7000 > #23 is done
             #25 effect #23 done
        11000 > time passes
             #26 fault f2 ends: its time is over
             do #26 ClearFault by Leader
        11000 > #26 is done
             #27 effect #26 done
        11000 > #14 saw 1 things
             #28 experiment x1: during orders holds: 0.99
             #29 experiment x1: looked (during)
             #30 effect #14 done
        11000 > time passes
             #31 experiment x1 mends: the last injection is over
        11000 > time passes
             #32 experiment x1: h1 looks (after) for 20000 ms, blind after 10000
             do #32 Experiment(Look by h1
        11000 > #32 saw 1 things
             #33 experiment x1: after orders holds: 0.99
             #34 experiment x1: looked (after)
             #35 effect #32 done
        11000 > time passes
             #36 experiment x1 passed: all that was expected was seen, and nothing else
    "#]]);
    assert_eq!(bench.verdict().unwrap().0, Verdict::Passed);
    assert!(bench.stage.state.outstanding.is_empty());
    assert_eq!(bench.stage.state.experiments_ever, 1);
}

/// What the journal makes of what was seen, during it and at its end.
fn verdict(seen: &[Finding], after: Finding, residue: &[&str]) -> (Verdict, String) {
    let mut bench = Bench::over(plan());
    let seen: Vec<Observation> = seen
        .iter()
        .map(|found| saw("during orders", *found))
        .collect();
    bench.looked(&seen);
    assert_eq!(bench.look().map(|(_, moment)| moment), Some(Moment::After));
    bench.looked_at(&[saw("after orders", after)], None, residue);
    bench.verdict().expect("a verdict")
}

#[test]
fn a_verdict_is_no_better_than_what_was_seen() {
    use Finding::{Holds, Missing, Violated};
    for (seen, after, residue, expected) in [
        (&[Holds][..], Holds, &[][..], Verdict::Passed),
        (&[Holds, Missing], Holds, &[], Verdict::Inconclusive),
        (&[Holds, Violated, Missing], Holds, &[], Verdict::Failed),
        (&[Holds], Violated, &[], Verdict::Failed),
        (&[Holds], Missing, &[], Verdict::Failed),
        (&[Holds], Holds, &["a stopped process"], Verdict::Failed),
    ] {
        let (found, why) = verdict(seen, after, residue);
        assert_eq!(found, expected, "{seen:?} {after:?} {residue:?}: {why}");
    }
}

/// Documents without a hypothesis: there is nothing to look at.
#[test]
fn what_nobody_measured_is_not_passed() {
    let mut bench = Bench::begin(plan());
    bench
        .looked(&[])
        .chose(&[])
        .at(7_000)
        .chose(&[])
        .at(11_000)
        .looked(&[])
        .looked(&[]);
    let (verdict, why) = bench.verdict().expect("a verdict");
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(why.starts_with("nothing was observed"), "{why}");
}

#[test]
fn nothing_is_broken_while_the_steady_state_does_not_hold() {
    for finding in [Finding::Violated, Finding::Missing] {
        let mut bench = Bench::begin(plan());
        bench.looked(&[saw("before orders", finding)]);
        assert_eq!(bench.look().map(|(_, moment)| moment), Some(Moment::Over));
        bench.looked(&[]);
        assert_eq!(bench.stage.state.faults_ever, 0);
        let (verdict, _) = bench.verdict().expect("a verdict");
        assert_ne!(verdict, Verdict::Passed);
        assert!(bench.stage.state.outstanding.is_empty());
    }
}

#[test]
fn a_condition_ends_it_at_once() {
    let mut bench = Bench::broken(plan());
    bench.at(2_500).looked_at(
        &[saw("abort orders", Finding::Violated)],
        Some("orders is 0.99"),
        &[],
    );
    bench.hands().looked(&[]).at(60_000);
    bench.check(expect![[r#"
        1000 > uid 1000 asks: chaos run
             #8 experiment x1 slow-ledger begun until 151000 by owner
        1000 > time passes
             #9 experiment x1: h1 looks (before) for 0 ms, blind after 10000
             do #9 Experiment(Look by h1
        1000 > #9 saw 1 things
             #10 experiment x1: before orders holds: 0.99
             #11 experiment x1: looked (before)
             #12 effect #9 done
        1000 > time passes
             #13 experiment x1: injection 0 is due
             do #13 Experiment(Choose by Leader
        1000 > time passes
             #14 experiment x1: h1 looks (during) for 10000 ms, blind after 10000
             do #14 Experiment(Look by h1
        1000 > #13 chose chosen
             #15 experiment x1: injection 0 is chosen (f1)
             #16 fault f1 process-freeze h1/web until 5000 by owner
             #17 effect #13 done
             do #16 SetFault by Leader
        1000 > #16 is done
             #18 effect #16 done
        2500 > #14 saw 1 things
             #19 experiment x1: abort orders violated: 0.99
             #20 experiment x1: looked (during), halt: orders is 0.99
             #21 effect #14 done
        2500 > time passes
             #22 experiment x1 mends, aborted: orders is 0.99
             #23 fault f1 ends: experiment x1 is over
             do #23 ClearFault by Leader
        2500 > #23 is done
             #24 effect #23 done
        2500 > time passes
             #25 experiment x1: h1 looks (over) for 0 ms, blind after 10000
             do #25 Experiment(Look by h1
        2500 > #25 saw 0 things
             #26 experiment x1: looked (over)
             #27 effect #25 done
        2500 > time passes
             #28 experiment x1 aborted: orders is 0.99
    "#]]);
    assert_eq!(bench.verdict().unwrap().0, Verdict::Aborted);
    assert_eq!(bench.stage.state.faults_ever, 1, "the second never came");
}

/// Whatever makes it end early ends its faults, and nothing is broken afterwards.
#[test]
fn every_early_end_mends_first() {
    type Story = fn(&mut Bench);
    let stories: [(&str, Story, Verdict); 6] = [
        (
            "stopped",
            |bench| drop(bench.tell(&stop(1)).verdict()),
            Verdict::Aborted,
        ),
        (
            "paused",
            |bench| drop(bench.tell(&command(owner(), Ask::Pause)).verdict()),
            Verdict::Aborted,
        ),
        (
            "a target is not to be had",
            |bench| {
                bench.at(7_000);
                let position = bench.choice().unwrap().0.0;
                let why = "nobody is met".to_string();
                bench.tell(&answered(position, Outcome::Failed { why }));
            },
            Verdict::Inconclusive,
        ),
        (
            "nobody chooses",
            |bench| {
                bench.at(7_000).at(11_000).hands().looked(&[]).at(36_999);
                assert_eq!(bench.look(), None);
                bench.at(37_000);
            },
            Verdict::Inconclusive,
        ),
        (
            "the timetable names what makes no sense",
            |bench| {
                bench
                    .at(7_000)
                    .chose(&[fault(FaultKind::Loss, "r1:r2", 1_000)]);
            },
            Verdict::Inconclusive,
        ),
        (
            "its time is over",
            |bench| drop(bench.at(151_000).verdict()),
            Verdict::Inconclusive,
        ),
    ];
    for (what, story, expected) in stories {
        let mut bench = Bench::broken(plan());
        bench.at(2_000);
        story(&mut bench);
        bench.hands();
        let set = bench.stage.state.faults_ever;
        assert!(bench.stage.state.faults.is_empty(), "{what}");
        if bench.verdict().is_none() {
            bench.looked(&[]);
        }
        let (found, why) = bench.verdict().expect("a verdict");
        assert_eq!(found, expected, "{what}: {why}");
        let later = bench.now_ms + 600_000;
        bench.at(later);
        assert_eq!(bench.stage.state.faults_ever, set, "{what}");
        assert!(bench.stage.state.outstanding.is_empty(), "{what}");
    }
}

/// Targets that are told when nothing is to be broken any more are nobody's.
#[test]
fn a_choice_that_comes_too_late_sets_nothing() {
    let mut bench = Bench::begin(plan());
    bench.looked(&[saw("before orders", Finding::Holds)]);
    let effect = bench.choice().expect("somebody chooses");
    bench.tell(&stop(1));
    let told = Told::Chosen {
        what: "late".to_string(),
        faults: vec![fault(FaultKind::ProcessFreeze, "h1/web", 4_000)],
    };
    bench.tell(&Signal::Experiment(ExperimentTold { effect, told }));
    assert_eq!(bench.stage.state.faults_ever, 0);
    bench.looked(&[]);
    assert_eq!(bench.verdict().unwrap().0, Verdict::Aborted);
    assert!(bench.stage.state.outstanding.is_empty());
}

/// A fault that may not have been set is one that nobody can rely on.
#[test]
fn a_fault_that_may_not_be_set_ends_it() {
    let mut bench = Bench::begin(plan());
    bench
        .looked(&[saw("before orders", Finding::Holds)])
        .chose(&[fault(FaultKind::ProcessFreeze, "h1/web", 4_000)]);
    let set = |effect: &Effect| matches!(effect, Effect::SetFault { .. });
    let position = bench.order(set).unwrap().0.0;
    let why = "nobody said".to_string();
    bench
        .tell(&answered(position, Outcome::Unknown { why }))
        .hands();
    bench.looked(&[]);
    assert_eq!(bench.verdict().unwrap().0, Verdict::Inconclusive);
}

#[test]
fn a_stop_is_for_who_may_and_for_what_runs() {
    let mut bench = Bench::broken(plan());
    let refusal = |bench: &Bench| match bench.stage.records.last().map(|record| &record.event) {
        Some(Event::CommandRefused { why, .. }) => Some(why.code()),
        _ => None,
    };
    let eve = ExperimentAsk::Stop {
        experiment: ExperimentId(1),
    };
    bench.tell(&command(actor(5, "eve"), Ask::Experiment(eve)));
    assert_eq!(refusal(&bench).as_deref(), Some("not_permitted"));
    bench.tell(&stop(2));
    assert_eq!(refusal(&bench).as_deref(), Some("no_such_experiment"));
    bench.tell(&stop(1)).tell(&stop(1));
    assert_eq!(refusal(&bench).as_deref(), Some("experiment_ends_already"));
}

/// Whoever looked led, and leads no more; its successor looks, and has less time to be blind.
#[test]
fn a_successor_goes_on_with_the_same_future() {
    let mut bench = Bench::broken(plan());
    // The beginning is told above.
    bench.stage.script();
    let (first, _) = bench.look().unwrap();
    bench.at(3_000).claimed("h2");
    let (second, moment) = bench.look().unwrap();
    assert!(first != second && moment == Moment::During);
    let late = Told::Looked {
        seen: vec![saw("during orders", Finding::Violated)],
        halt: Some("late".to_string()),
        residue: Vec::new(),
    };
    let late = ExperimentTold {
        effect: first,
        told: late,
    };
    bench.tell(&Signal::Experiment(late));
    // h3 has no watch: somebody else looks than who led.
    bench.claimed("h3");
    bench
        .goes_on()
        .looked(&[saw("during orders", Finding::Holds)])
        .looked(&[saw("after orders", Finding::Holds)]);
    bench.check(expect![[r#"
        3000 > time passes
             #20 experiment x1: h2 looks (during) for 8000 ms, blind after 5000
             #21 effect #14 unknown: it is not needed any more
             do #20 Experiment(Look by h2
        3000 > #14 saw 1 things
             nothing: effect 14 is not outstanding
        3000 > time passes
             #23 experiment x1: h1 looks (during) for 8000 ms, blind after 5000
             #24 effect #20 unknown: it is not needed any more
             do #23 Experiment(Look by h1
        5000 > time passes
             #25 fault f1 ends: its time is over
             do #25 ClearFault by Leader
        5000 > #25 is done
             #26 effect #25 done
        7000 > time passes
             #27 experiment x1: injection 1 is due
             do #27 Experiment(Choose by Leader
        7000 > #27 chose chosen
             #28 experiment x1: injection 1 is chosen (f2)
             #29 fault f2 process-freeze h2/web until 11000 by owner
             #30 effect #27 done
             do #29 SetFault by Leader
        7000 > #29 is done
             #31 effect #29 done
        11000 > time passes
             #32 fault f2 ends: its time is over
             do #32 ClearFault by Leader
        11000 > #32 is done
             #33 effect #32 done
        11000 > #23 saw 1 things
             #34 experiment x1: during orders holds: 0.99
             #35 experiment x1: looked (during)
             #36 effect #23 done
        11000 > time passes
             #37 experiment x1 mends: the last injection is over
        11000 > time passes
             #38 experiment x1: h1 looks (after) for 20000 ms, blind after 10000
             do #38 Experiment(Look by h1
        11000 > #38 saw 1 things
             #39 experiment x1: after orders holds: 0.99
             #40 experiment x1: looked (after)
             #41 effect #38 done
        11000 > time passes
             #42 experiment x1 passed: all that was expected was seen, and nothing else
    "#]]);
    assert_eq!(bench.verdict().unwrap().0, Verdict::Passed);
}

/// Where something must end it at once, nobody goes on blind; elsewhere, what nobody saw is missing.
#[test]
fn a_lost_looker_is_blindness() {
    for (is_guarded, expected) in [(true, Verdict::Aborted), (false, Verdict::Inconclusive)] {
        let table = Timetable {
            is_guarded,
            ..timetable()
        };
        let mut bench = Bench::broken(with(table));
        let (effect, _) = bench.look().unwrap();
        let why = "host h1, which was to do it, is lost".to_string();
        let lost = Signal::Answered {
            effect,
            outcome: Outcome::Unknown { why },
        };
        bench.at(3_000).tell(&lost);
        if !is_guarded {
            bench
                .at(5_000)
                .hands()
                .at(7_000)
                .chose(&[])
                .at(11_000)
                .looked(&[saw("during orders", Finding::Holds)]);
        }
        bench.hands().looked(&[saw("after orders", Finding::Holds)]);
        let (found, why) = bench.verdict().expect("a verdict");
        assert_eq!(found, expected, "{why}");
    }
}

/// The last injection came so late that whoever looked, as was planned, did not see the end of it.
#[test]
fn what_nobody_saw_at_the_end_is_not_passed() {
    for (is_guarded, expected) in [(true, Verdict::Aborted), (false, Verdict::Inconclusive)] {
        let table = Timetable {
            is_guarded,
            ..timetable()
        };
        let mut bench = Bench::broken(with(table));
        bench.at(5_000).hands().at(7_000).at(10_999);
        // Chosen, and nobody leads until it is over: the look ends in between, and is told afterwards.
        let frozen = fault(FaultKind::ProcessFreeze, "h2/web", 14_000);
        bench.at(11_000).chose(&[frozen]).hands().at(25_000).hands();
        bench.looked(&[saw("during orders", Finding::Holds)]);
        if is_guarded {
            bench.looked(&[]);
        } else {
            bench.looked(&[saw("after orders", Finding::Holds)]);
        }
        let (found, why) = bench.verdict().expect("a verdict");
        assert_eq!(found, expected, "{why}");
    }
}

fn alert_of(name: &str, severity: &str, state: AlertState, at_ms: u64) -> Signal {
    let labels = [("alertname", name), ("severity", severity)];
    Signal::AlertTold(AlertNews {
        watch: crate::stage::name("h1"),
        alert: format!("{name}{{}}"),
        state,
        since_ms: at_ms,
        at_ms,
        labels: labels
            .into_iter()
            .map(|(label, value)| (label.to_string(), value.to_string()))
            .collect(),
        summary: String::new(),
        value: "1".to_string(),
        why: String::new(),
    })
}

#[test]
fn alerts_that_begin_are_judged() {
    let rules = |fire: &[&str], severities: &[&str]| {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Timetable {
            alerts: Some(AlertRules {
                fire: set(fire),
                may_fire: set(&["Maybe"]),
                severities: set(severities),
            }),
            ..timetable()
        }
    };
    for (fire, severities, begins, expected) in [
        (
            &["Slow"][..],
            &[][..],
            &[("Slow", "info")][..],
            Verdict::Passed,
        ),
        (&["Slow"], &[], &[], Verdict::Failed),
        (
            &["Slow"],
            &[],
            &[("Slow", "info"), ("Other", "info")],
            Verdict::Failed,
        ),
        (
            &["Slow"],
            &["page"],
            &[("Slow", "info"), ("Other", "info")],
            Verdict::Passed,
        ),
        (&[], &["page"], &[("Maybe", "page")], Verdict::Passed),
        (&[], &["page"], &[("Other", "page")], Verdict::Failed),
        (&[], &[], &[], Verdict::Passed),
    ] {
        let mut bench = Bench::over(with(rules(fire, severities)));
        for (name, severity) in begins {
            bench.tell(&alert_of(name, severity, AlertState::Firing, 10_900));
        }
        bench.looked(&[saw("during orders", Finding::Holds)]);
        let waits = fire
            .iter()
            .any(|name| !begins.iter().any(|(known, _)| known == name));
        assert_eq!(bench.look().is_none(), waits, "{fire:?} {begins:?}");
        if waits {
            // Until the steady state must be back, and no longer.
            bench.at(30_999);
            assert_eq!(bench.look(), None);
            bench.at(31_000);
        }
        bench.looked(&[saw("after orders", Finding::Holds)]);
        let (found, why) = bench.verdict().expect("a verdict");
        assert_eq!(found, expected, "{fire:?} {severities:?} {begins:?}: {why}");
    }
}

#[test]
fn an_alert_that_stood_before_is_no_news() {
    let mut desired = desired();
    desired.watches = BTreeSet::from([name("h1")]);
    let mut stage = Stage::with(desired);
    stage.at(900, &alert_of("Old", "info", AlertState::Firing, 900));
    let mut bench = Bench {
        stage,
        now_ms: 1_000,
    };
    let table = Timetable {
        alerts: Some(AlertRules::default()),
        ..timetable()
    };
    bench.tell(&begin_with(with(table)));
    bench
        .tell(&alert_of("Old", "info", AlertState::Resolved, 1_000))
        .tell(&alert_of("Old", "info", AlertState::Firing, 1_001));
    let violated = bench.stage.state.experiment.as_ref().unwrap().violated;
    assert_eq!(violated, 0);
    bench.tell(&alert_of("New", "info", AlertState::Firing, 1_002));
    let violated = bench.stage.state.experiment.as_ref().unwrap().violated;
    assert_eq!(violated, 1);
}

/// What is over at once is looked at once, afterwards.
#[test]
fn a_kill_is_looked_at_though_it_is_over_at_once() {
    let table = Timetable {
        injections: vec![Slot {
            at_ms: 0,
            lasts_ms: None,
        }],
        ends_ms: 0,
        ..timetable()
    };
    let mut bench = Bench::begin(with(table));
    bench.looked(&[saw("before orders", Finding::Holds)]);
    assert_eq!(bench.look(), None, "not before it is killed");
    bench.chose(&[fault(FaultKind::ProcessKill, "h1/web", 1_000)]);
    bench.hands();
    assert!(bench.stage.state.faults.is_empty(), "over at once");
    assert_eq!(bench.look().map(|(_, moment)| moment), Some(Moment::During));
    bench
        .looked(&[saw("during orders", Finding::Holds)])
        .looked(&[saw("after orders", Finding::Holds)]);
    assert_eq!(bench.verdict().unwrap().0, Verdict::Passed);
}

#[test]
fn a_fault_that_cannot_be_ended_is_left_behind() {
    let mut bench = Bench::broken(plan());
    bench.tell(&stop(1));
    let clear = |effect: &Effect| matches!(effect, Effect::ClearFault { .. });
    for _ in 0..12 {
        if let Some(EffectId(position)) = bench.order(clear) {
            let why = "its guardian does not answer".to_string();
            bench.tell(&answered(position.0, Outcome::Failed { why }));
        }
        let later = bench.now_ms + 5_000;
        bench.at(later);
    }
    bench.looked(&[]);
    let (verdict, why) = bench.verdict().expect("a verdict");
    assert_eq!(verdict, Verdict::Failed);
    assert!(
        why.starts_with("fault f1, still in force was left behind"),
        "{why}"
    );
}
