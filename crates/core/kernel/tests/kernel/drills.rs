//! Drills: refused in bad times, judged by what was measured, ended when nobody ends them, missed when nobody runs them.

use expect_test::{Expect, expect};
use mainstay_kernel::{
    Adoption, AlertNews, AlertState, Ask, Command, DesiredOperator, DrillAsk, DrillEnd, DrillId,
    DrillNews, DrillPlan, DrillStep, DrillVerdict, Event, FaultKind, Judged, LossLimit, Measure,
    Measured, Measurement, Objective, Outcome, Refusal, Schedule, ServiceVerdict, Signal,
    Signature, StepEnd, StepOutcome, Unit, unattended_drills,
};
use mainstay_model::people::{Permission, UnixIdentity};

use crate::stage::{Stage, actor, answered, command, desired, fault, name, owner};

const DAY_MS: u64 = 86_400_000;

pub fn tell(news: &DrillNews) -> String {
    match news {
        DrillNews::Adopted { adoption, .. } => format!("drill {} adopted", adoption.name),
        DrillNews::Withdrawn { name, .. } => format!("drill {name} withdrawn"),
        DrillNews::Missed { name, due_ms } => format!("drill {name} of {due_ms} missed"),
        DrillNews::Begun {
            drill,
            plan,
            approved,
            until_ms,
            ..
        } => {
            let approved = match approved {
                Some(position) => format!("approved by #{position}"),
                None => "not approved".to_string(),
            };
            format!(
                "drill {drill} {} begun until {until_ms}, {approved}",
                plan.name
            )
        }
        DrillNews::StepBegun { drill, step, what } => format!("{drill}: {step} begins: {what}"),
        DrillNews::StepEnded { drill, end } => {
            format!("{drill}: {} is {}", end.step, end.outcome.as_str())
        }
        DrillNews::Signed {
            drill,
            signature,
            statement,
            ..
        } => format!("{drill}: {}: {statement}", signature.as_str()),
        DrillNews::Confirmed {
            drill, step, note, ..
        } => format!("{drill}: {step} confirmed: {note}"),
        DrillNews::Measured { drill, measurement } => format!(
            "{drill}: {} of {}",
            measurement.measured.as_str(),
            measurement.subject
        ),
        DrillNews::Deviated { drill, deviation } => format!("{drill} deviates: {}", deviation.what),
        DrillNews::Abandoned { drill } => format!("{drill} is carried by nobody"),
        DrillNews::Ended { drill, end, .. } => {
            format!("{drill} {}: {}", end.verdict.as_str(), end.why)
        }
    }
}

fn objective(service: &str, rpo_below: Option<LossLimit>) -> Objective {
    Objective {
        service: service.to_string(),
        rto_below_ms: Some(4_000),
        rpo_below,
        unmeasured: None,
    }
}

pub fn plan() -> DrillPlan {
    let step = |id: &str, by_person| DrillStep {
        id: id.to_string(),
        what: "it".to_string(),
        by_person,
    };
    DrillPlan {
        name: "region-lost".to_string(),
        title: "a whole region is lost".to_string(),
        digest: "beef".to_string(),
        text: "kind: Drill".to_string(),
        seed: 7,
        versions: [("mainstay".to_string(), "0.1.0".to_string())].into(),
        environment: "development".to_string(),
        approver: "owner".to_string(),
        tester: "operator".to_string(),
        owner: "platform".to_string(),
        objectives: vec![objective("orders", Some(LossLimit::Transactions(1)))],
        steps: vec![step("lose", false), step("look", true)],
        retention_days: 1_826,
        lasts_ms: 60_000,
    }
}

fn drill(ask: DrillAsk) -> Signal {
    command(owner(), Ask::Drill(ask))
}

fn begin(plan: DrillPlan) -> Signal {
    drill(DrillAsk::Begin(Box::new(plan)))
}

fn step(number: u64, step: &str) -> Signal {
    drill(DrillAsk::BeginStep {
        drill: DrillId(number),
        step: step.to_string(),
        what: "so".to_string(),
    })
}

fn step_end(number: u64, step: &str, outcome: StepOutcome) -> Signal {
    drill(DrillAsk::EndStep {
        drill: DrillId(number),
        end: StepEnd {
            step: step.to_string(),
            outcome,
            detail: String::new(),
            evidence: Vec::new(),
        },
    })
}

fn confirm(number: u64, step: &str) -> Signal {
    drill(DrillAsk::Confirm {
        drill: DrillId(number),
        step: step.to_string(),
    })
}

fn sign(number: u64, signature: Signature) -> Signal {
    drill(DrillAsk::Sign {
        drill: DrillId(number),
        signature,
    })
}

fn measure(number: u64, measured: Measured, values: &[(&str, Option<u64>)]) -> Signal {
    let values = values.iter().map(|(name, value)| Measure {
        name: (*name).to_string(),
        value: *value,
        unit: Unit::Micros,
        source: "clients".to_string(),
        why: String::new(),
    });
    drill(DrillAsk::Measure {
        drill: DrillId(number),
        measurement: Box::new(Measurement {
            measured,
            services: vec!["orders".to_string()],
            subject: "flow".to_string(),
            values: values.collect(),
            lists: Default::default(),
        }),
    })
}

fn end(number: u64, verdict: DrillVerdict, residue: &[&str]) -> Signal {
    drill(DrillAsk::End {
        drill: DrillId(number),
        end: DrillEnd {
            verdict,
            why: "it is over".to_string(),
            deficiencies: Vec::new(),
            residue: residue.iter().map(ToString::to_string).collect(),
        },
    })
}

fn adopt(digest: &str, cron: Option<&str>) -> Signal {
    drill(DrillAsk::Adopt(Box::new(Adoption {
        name: "region-lost".to_string(),
        digest: digest.to_string(),
        text: "kind: Drill".to_string(),
        schedule: cron.map(|cron| Schedule {
            cron: cron.to_string(),
            within_ms: DAY_MS,
            starts_from: Some("/drills/region-lost.yaml".to_string()),
        }),
    })))
}

fn check(stage: &mut Stage, expected: Expect) {
    expected.assert_eq(&stage.script());
}

#[test]
fn a_drill_from_its_beginning_to_its_verdict() {
    let mut stage = Stage::with(desired());
    stage
        .at(1_000, &adopt("beef", None))
        .at(2_000, &begin(plan()))
        .at(2_100, &begin(plan()))
        .at(2_200, &sign(1, Signature::Accepted))
        .at(3_000, &confirm(1, "look"))
        .at(3_100, &step(1, "lose"))
        .at(3_200, &step(1, "look"))
        .at(3_300, &step_end(1, "lose", StepOutcome::Done))
        .at(3_400, &step(1, "look"))
        .at(3_500, &confirm(1, "look"))
        .at(3_600, &step_end(1, "look", StepOutcome::Done))
        .at(
            4_000,
            &measure(1, Measured::Recovery, &[("rto", Some(3_999_999))]),
        )
        .at(4_100, &measure(1, Measured::Ledger, &[("lost", Some(0))]))
        .at(5_000, &end(1, DrillVerdict::Passed, &[]))
        .at(5_100, &end(1, DrillVerdict::Passed, &[]))
        .at(6_000, &sign(1, Signature::Refused))
        .at(6_100, &sign(1, Signature::Accepted))
        .at(6_200, &sign(2, Signature::Accepted));
    check(
        &mut stage,
        expect![[r#"
        1000 > uid 1000 asks: drill adopt
             #8 drill region-lost adopted
        2000 > uid 1000 asks: drill run
             #9 drill d1 region-lost begun until 182000, approved by #8
        2100 > uid 1000 asks: drill run
             #10 refused drill run: drill d1 (region-lost) runs (drill_untimely)
        2200 > uid 1000 asks: drill sign
             #11 refused drill sign: d1 is under way: it has no result yet (drill_untimely)
        3000 > uid 1000 asks: drill confirm
             #12 refused drill confirm: step look does not wait for anybody now (drill_untimely)
        3100 > uid 1000 asks: drill step
             #13 d1: lose begins: so
        3200 > uid 1000 asks: drill step
             #14 refused drill step: step look cannot begin now (drill_untimely)
        3300 > uid 1000 asks: drill step
             #15 d1: lose is done
        3400 > uid 1000 asks: drill step
             #16 d1: look begins: so
        3500 > uid 1000 asks: drill confirm
             #17 d1: look confirmed: a rehearsal
        3600 > uid 1000 asks: drill step
             #18 d1: look is done
        4000 > uid 1000 asks: drill measure
             #19 d1: recovery of flow
        4100 > uid 1000 asks: drill measure
             #20 d1: ledger of flow
        5000 > uid 1000 asks: drill end
             #21 d1 passed: it is over
        5100 > uid 1000 asks: drill end
             #22 refused drill end: there is no drill d1 (no_such_drill)
        6000 > uid 1000 asks: drill sign
             #23 d1: refused: a rehearsal
        6100 > uid 1000 asks: drill sign
             #24 d1: accepted: a rehearsal
        6200 > uid 1000 asks: drill sign
             #25 refused drill sign: there is no drill d2 (no_such_drill)
    "#]],
    );
}

/// The verdict of the journal on what was done, measured and proposed.
fn verdict(
    plan: DrillPlan,
    acts: &[Signal],
    proposed: DrillVerdict,
    residue: &[&str],
) -> (DrillVerdict, String, Vec<ServiceVerdict>) {
    let mut stage = Stage::with(desired());
    stage.at(1_000, &begin(plan));
    for act in acts {
        stage.at(2_000, act);
    }
    stage.at(3_000, &end(1, proposed, residue));
    assert!(stage.state.drills.running.is_none());
    match stage.records.last().map(|record| &record.event) {
        Some(Event::Drill(DrillNews::Ended { end, services, .. })) => {
            (end.verdict, end.why.clone(), services.clone())
        }
        other => panic!("{other:?}"),
    }
}

fn steps_done() -> Vec<Signal> {
    vec![
        step(1, "lose"),
        step_end(1, "lose", StepOutcome::Done),
        step(1, "look"),
        step_end(1, "look", StepOutcome::Done),
    ]
}

/// What a letter stands for: a recovery that was fast, slow or not seen, or that did not last; losses of none, one, or nobody
/// knows; books with nothing lost and something else.
fn figure(letter: char) -> Signal {
    let (measured, values): (_, &[(&str, Option<u64>)]) = match letter {
        'f' => (Measured::Recovery, &[("rto", Some(1_000))]),
        's' => (Measured::Recovery, &[("rto", Some(4_000_000))]),
        'b' => (Measured::Recovery, &[("rto", None)]),
        'g' => (
            Measured::Recovery,
            &[("rto", Some(1_000)), ("longest_gap", Some(4_000_000))],
        ),
        'k' => (Measured::Ledger, &[("lost", Some(0)), ("unsound", Some(0))]),
        'l' => (Measured::Ledger, &[("lost", Some(1))]),
        'd' => (
            Measured::Ledger,
            &[("lost", Some(0)), ("duplicated", Some(1))],
        ),
        'n' => (Measured::Ledger, &[("lost", Some(0)), ("invented", None)]),
        _ => (Measured::Ledger, &[("lost", None)]),
    };
    measure(1, measured, values)
}

#[test]
fn nobody_claims_what_was_not_measured() {
    use DrillVerdict::{Aborted, Failed, Inconclusive, Passed};
    use Judged::{Met, Missed, NotMeasured};
    for (figures, proposed, residue, expected, rto, rpo) in [
        ("fk", Passed, &[][..], Passed, Met, Met),
        ("", Passed, &[], Inconclusive, NotMeasured, NotMeasured),
        ("f", Passed, &[], Inconclusive, Met, NotMeasured),
        ("fu", Passed, &[], Inconclusive, Met, NotMeasured),
        // One load that saw nothing spoils what another saw.
        ("fbk", Passed, &[], Inconclusive, NotMeasured, Met),
        ("sk", Passed, &[], Failed, Missed, Met),
        ("sbk", Passed, &[], Failed, Missed, Met),
        ("fl", Inconclusive, &[], Failed, Met, Missed),
        ("fl", Aborted, &[], Aborted, Met, Missed),
        ("gk", Passed, &[], Failed, Missed, Met),
        ("fd", Passed, &[], Failed, Met, Met),
        ("fd", Aborted, &[], Failed, Met, Met),
        ("fn", Passed, &[], Inconclusive, Met, Met),
        ("fk", Failed, &[], Failed, Met, Met),
        ("fk", Aborted, &["a worker"], Failed, Met, Met),
        ("fk", Passed, &["a worker"], Failed, Met, Met),
    ] {
        let acts = steps_done().into_iter();
        let acts: Vec<Signal> = acts.chain(figures.chars().map(figure)).collect();
        let (found, why, services) = verdict(plan(), &acts, proposed, residue);
        let judged = (found, services[0].rto, services[0].rpo);
        assert_eq!(judged, (expected, rto, rpo), "{figures}: {why}");
    }
}

#[test]
fn a_step_that_was_not_done_is_no_pass() {
    let measured = [
        measure(1, Measured::Recovery, &[("rto", Some(1))]),
        measure(1, Measured::Ledger, &[("lost", Some(0))]),
    ];
    let of = |outcome| {
        let mut acts = vec![
            step(1, "lose"),
            step_end(1, "lose", StepOutcome::Done),
            step(1, "look"),
        ];
        acts.extend(outcome);
        acts.extend(measured.clone());
        verdict(plan(), &acts, DrillVerdict::Passed, &[]).0
    };
    let end = |outcome| Some(step_end(1, "look", outcome));
    assert_eq!(of(end(StepOutcome::Done)), DrillVerdict::Passed);
    assert_eq!(of(end(StepOutcome::Failed)), DrillVerdict::Failed);
    assert_eq!(of(end(StepOutcome::Unknown)), DrillVerdict::Failed);
    assert_eq!(of(end(StepOutcome::Skipped)), DrillVerdict::Failed);
    assert_eq!(of(None), DrillVerdict::Inconclusive);
}

#[test]
fn what_a_document_does_not_measure_is_told_and_not_met() {
    let mut told = plan();
    told.objectives.push(Objective {
        unmeasured: Some("there is none here".to_string()),
        ..objective("analytics", None)
    });
    let mut acts = steps_done();
    acts.push(measure(1, Measured::Recovery, &[("rto", Some(1))]));
    acts.push(measure(1, Measured::Ledger, &[("lost", Some(0))]));
    let (found, _, services) = verdict(told, &acts, DrillVerdict::Passed, &[]);
    assert_eq!(found, DrillVerdict::Passed);
    assert_eq!(services[1].rto, Judged::NotMeasured);
    // An objective in time is judged by the time that the lost ones span.
    let mut in_time = plan();
    in_time.objectives = vec![objective("orders", Some(LossLimit::TimeMs(1_000)))];
    for (lost_us, expected) in [(999_999, Judged::Met), (1_000_000, Judged::Missed)] {
        let mut acts = steps_done();
        let values = [("lost", Some(4)), ("lost_time", Some(lost_us))];
        acts.push(measure(1, Measured::Ledger, &values));
        let (_, _, services) = verdict(in_time.clone(), &acts, DrillVerdict::Passed, &[]);
        assert_eq!(services[0].rpo, expected);
    }
}

fn refused(stage: &mut Stage, signal: &Signal) -> Option<Refusal> {
    stage.at(1_500, signal);
    match stage.records.last().map(|record| &record.event) {
        Some(Event::CommandRefused { why, .. }) => Some(why.clone()),
        _ => None,
    }
}

#[test]
fn nothing_is_rehearsed_on_top_of_trouble() {
    let alert = Signal::AlertTold(AlertNews {
        watch: name("h1"),
        alert: "Down{}".to_string(),
        state: AlertState::Firing,
        since_ms: 1,
        at_ms: 2,
        labels: [("severity".to_string(), "page".to_string())].into(),
        summary: String::new(),
        value: "1".to_string(),
        why: String::new(),
    });
    let mut stage = Stage::with(desired());
    stage.at(1_100, &alert);
    let why = refused(&mut stage, &begin(plan()));
    assert!(
        matches!(why, Some(Refusal::DrillUntimely { .. })),
        "{why:?}"
    );
    let mut stage = Stage::with(desired());
    let stranger = command(
        actor(9, "mallory"),
        Ask::Drill(DrillAsk::Begin(Box::new(plan()))),
    );
    assert_eq!(
        refused(&mut stage, &stranger),
        Some(Refusal::UnknownActor { uid: 9 })
    );
    let why = refused(&mut stage, &adopt("beef", Some("61 * * * *")));
    assert!(
        matches!(why, Some(Refusal::DrillUntimely { .. })),
        "{why:?}"
    );
}

/// Whoever may run drills breaks what the document in force breaks, while it does, and nothing else.
#[test]
fn a_tester_breaks_things_within_a_drill_in_force_only() {
    let mut desired = desired();
    let tester = DesiredOperator {
        identity: UnixIdentity::User("tess".to_string()),
        permissions: [Permission::DrillRun].into(),
    };
    desired.operators.insert(name("tester"), tester);
    let by_tester = |signal: Signal| match signal {
        Signal::Commanded(command) => Signal::Commanded(Command {
            actor: actor(9, "tess"),
            ..command
        }),
        other => other,
    };
    let inject = || {
        let spec = fault(FaultKind::HostFreeze, "h3", 1_000);
        by_tester(command(owner(), Ask::InjectFault(spec)))
    };
    let mut stage = Stage::with(desired);
    let denied = |stage: &mut Stage, signal: Signal| {
        let why = refused(stage, &signal).map(|why| why.code());
        assert_eq!(why.as_deref(), Some("not_permitted"), "{signal:?}");
    };
    denied(&mut stage, by_tester(adopt("beef", None)));
    denied(&mut stage, inject());
    // A text that nobody put in force may be rehearsed, but breaks nothing.
    stage.at(2_000, &by_tester(begin(plan())));
    stage.at(2_100, &by_tester(step(1, "lose")));
    denied(&mut stage, inject());
    stage.at(2_200, &by_tester(end(1, DrillVerdict::Aborted, &[])));
    stage.at(3_000, &adopt("beef", None));
    stage.at(3_100, &by_tester(begin(plan())));
    denied(&mut stage, inject());
    stage.at(3_200, &by_tester(step(2, "lose")));
    assert_eq!(refused(&mut stage, &inject()), None);
    denied(&mut stage, by_tester(confirm(2, "lose")));
    denied(&mut stage, by_tester(sign(1, Signature::Accepted)));
    stage.at(3_300, &by_tester(step_end(2, "lose", StepOutcome::Done)));
    denied(&mut stage, inject());
}

#[test]
fn a_drill_that_nobody_ends_says_what_of_it_is_in_force() {
    let spec = fault(FaultKind::HostFreeze, "h3", 500_000);
    let mut stage = Stage::with(desired());
    stage
        .at(1_000, &begin(plan()))
        .at(1_100, &step(1, "lose"))
        .at(1_200, &command(owner(), Ask::InjectFault(spec)))
        .at(181_000, &Signal::Tick);
    check(
        &mut stage,
        expect![[r#"
        1000 > uid 1000 asks: drill run
             #8 drill d1 region-lost begun until 181000, not approved
        1100 > uid 1000 asks: drill step
             #9 d1: lose begins: so
        1200 > uid 1000 asks: fault inject
             #10 fault f1 host-freeze h3 until 501200 by owner
             do #10 SetFault by Leader
        181000 > time passes
             #11 effect #10 unknown: nobody said whether the fault was set
             #12 d1 failed: fault f1 (host-freeze h3) was left behind; whoever ran it did not say how it ended
    "#]],
    );
}

#[test]
fn a_drill_that_nobody_ends_is_inconclusive() {
    let mut stage = Stage::with(desired());
    stage
        .at(1_000, &begin(plan()))
        .at(1_100, &step(1, "lose"))
        .at(180_999, &Signal::Tick)
        .at(181_000, &Signal::Tick)
        .at(181_100, &step_end(1, "lose", StepOutcome::Done));
    check(
        &mut stage,
        expect![[r#"
        1000 > uid 1000 asks: drill run
             #8 drill d1 region-lost begun until 181000, not approved
        1100 > uid 1000 asks: drill step
             #9 d1: lose begins: so
        180999 > time passes
             nothing: nothing is due
        181000 > time passes
             #10 d1 inconclusive: whoever ran it did not say how it ended
        181100 > uid 1000 asks: drill step
             #11 refused drill step: there is no drill d1 (no_such_drill)
    "#]],
    );
}

fn done() -> Outcome {
    let detail = String::new();
    Outcome::Done { detail }
}

/// Its faults are ended first, and whatever its command may still have said comes too late.
#[test]
fn a_drill_whose_command_died_is_mended_and_then_inconclusive() {
    let gone = Signal::DrillAbandoned { drill: DrillId(1) };
    let freeze = || {
        let spec = fault(FaultKind::HostFreeze, "h3", 50_000);
        command(owner(), Ask::InjectFault(spec))
    };
    let mut stage = Stage::with(desired());
    stage
        .at(1_000, &begin(plan()))
        .at(1_100, &step(1, "lose"))
        .at(1_200, &freeze())
        .at(1_300, &answered(10, done()))
        .at(2_000, &gone)
        .at(2_001, &gone)
        .at(2_100, &step_end(1, "lose", StepOutcome::Done))
        .at(2_200, &Signal::Tick)
        .at(2_300, &Signal::Tick)
        .at(2_400, &begin(plan()))
        .at(2_500, &answered(14, done()))
        .at(2_600, &Signal::Tick)
        .at(2_700, &begin(plan()));
    check(
        &mut stage,
        expect![[r#"
        1000 > uid 1000 asks: drill run
             #8 drill d1 region-lost begun until 181000, not approved
        1100 > uid 1000 asks: drill step
             #9 d1: lose begins: so
        1200 > uid 1000 asks: fault inject
             #10 fault f1 host-freeze h3 until 51200 by owner
             do #10 SetFault by Leader
        1300 > #10 is done
             #11 effect #10 done
        2000 > the command of d1 has died
             #12 d1 is carried by nobody
        2001 > the command of d1 has died
             nothing: no such drill is carried by anybody
        2100 > uid 1000 asks: drill step
             #13 refused drill step: the command that carried d1 has died (drill_untimely)
        2200 > time passes
             #14 fault f1 ends: the command of d1 has died
             do #14 ClearFault by Leader
        2300 > time passes
             nothing: nothing is due
        2400 > uid 1000 asks: drill run
             #15 refused drill run: drill d1 (region-lost) runs (drill_untimely)
        2500 > #14 is done
             #16 effect #14 done
        2600 > time passes
             #17 d1 inconclusive: the command that carried it died in step lose
        2700 > uid 1000 asks: drill run
             #18 drill d2 region-lost begun until 182700, not approved
    "#]],
    );
}

/// What could not be undone within a minute is left behind, and said.
#[test]
fn a_fault_of_a_dead_command_that_nobody_can_end_is_residue() {
    let spec = fault(FaultKind::HostFreeze, "h3", 50_000);
    let mut stage = Stage::with(desired());
    stage
        .at(500, &adopt("beef", None))
        .at(1_000, &begin(plan()))
        .at(1_100, &step(1, "lose"))
        .at(1_200, &command(owner(), Ask::InjectFault(spec)))
        .at(2_000, &Signal::DrillAbandoned { drill: DrillId(1) })
        .at(2_100, &Signal::Tick)
        .at(61_999, &Signal::Tick)
        .at(62_000, &Signal::Tick);
    check(
        &mut stage,
        expect![[r#"
        500 > uid 1000 asks: drill adopt
             #8 drill region-lost adopted
        1000 > uid 1000 asks: drill run
             #9 drill d1 region-lost begun until 181000, approved by #8
        1100 > uid 1000 asks: drill step
             #10 d1: lose begins: so
        1200 > uid 1000 asks: fault inject
             #11 fault f1 host-freeze h3 until 51200 by owner
             do #11 SetFault by Leader
        2000 > the command of d1 has died
             #12 d1 is carried by nobody
        2100 > time passes
             #13 fault f1 ends: the command of d1 has died
             do #13 ClearFault by Leader
        61999 > time passes
             nothing: nothing is due
        62000 > time passes
             #14 d1 failed: fault f1 (host-freeze h3) was left behind; the command that carried it died in step lose
    "#]],
    );
    let known = &stage.state.drills.adopted["region-lost"];
    assert_eq!(known.done_ms, known.since_ms, "it is no run of it");
}

/// Once, and in time: then it is missed like one that nobody ran.
#[test]
fn what_nobody_need_start_is_started_once_more_if_its_command_died() {
    let due_ms = 31 * DAY_MS;
    let mut stage = Stage::with(desired());
    let starts = |stage: &Stage, at_ms| !unattended_drills(&stage.state, at_ms).is_empty();
    let dies = |stage: &mut Stage, at_ms, number| {
        stage.at(at_ms, &begin(plan()));
        let drill = DrillId(number);
        stage.at(at_ms + 1, &Signal::DrillAbandoned { drill });
        assert!(!starts(stage, at_ms + 2), "it has not ended");
        stage.at(at_ms + 2, &Signal::Tick);
        assert!(stage.state.drills.running.is_none());
    };
    stage.at(2_000, &adopt("beef", Some("0 0 1 * *")));
    dies(&mut stage, due_ms + 10, 1);
    assert!(starts(&stage, due_ms + 20), "once more");
    assert!(!starts(&stage, due_ms + DAY_MS), "its time is over");
    dies(&mut stage, due_ms + 30, 2);
    assert!(!starts(&stage, due_ms + 40), "not for ever");
    stage.at(due_ms + DAY_MS, &Signal::Tick);
    let known = &stage.state.drills.adopted["region-lost"];
    assert_eq!(known.missed_ms, Some(due_ms), "it calls");
    // A person's word is needed now, and is enough.
    stage.at(due_ms + DAY_MS + 1, &begin(plan()));
    stage.at(due_ms + DAY_MS + 2, &end(3, DrillVerdict::Failed, &[]));
    assert_eq!(stage.state.drills.adopted["region-lost"].missed_ms, None);
    let next_ms = 59 * DAY_MS;
    assert!(starts(&stage, next_ms));
    dies(&mut stage, next_ms + 1, 4);
    assert!(
        starts(&stage, next_ms + 4),
        "once more, each time it is due"
    );
    stage.at(next_ms + 5, &begin(plan()));
    stage.at(next_ms + 6, &end(5, DrillVerdict::Aborted, &[]));
    assert!(
        !starts(&stage, next_ms + 7),
        "that one had an end of its own"
    );
}

/// Whoever leads looks for this: what is due, nobody has tried, and nothing stands in the way of.
#[test]
fn what_nobody_need_start_is_started_once_and_in_quiet_times_only() {
    let due_ms = 31 * DAY_MS;
    let mut stage = Stage::with(desired());
    let starts = |stage: &Stage, at_ms| -> Vec<String> {
        let starts = unattended_drills(&stage.state, at_ms).into_iter();
        starts
            .map(|(name, document)| format!("{name} from {document}"))
            .collect()
    };
    let it = ["region-lost from /drills/region-lost.yaml"];
    stage.at(1_000, &adopt("cafe", None));
    assert!(starts(&stage, due_ms).is_empty(), "it has no schedule");
    stage.at(2_000, &adopt("beef", Some("0 0 1 * *")));
    assert!(starts(&stage, due_ms - 1).is_empty(), "it is not due");
    assert_eq!(starts(&stage, due_ms), it);
    stage.at(due_ms + 1, &begin(plan()));
    assert!(starts(&stage, due_ms + 2).is_empty(), "it runs");
    stage.at(due_ms + 3, &end(1, DrillVerdict::Aborted, &[]));
    assert!(
        starts(&stage, due_ms + 4).is_empty(),
        "what was aborted is for people to look at"
    );
    // Another text is owed as well, and not before nothing stands in its way; that it was missed does not.
    stage.at(due_ms + 5, &adopt("f00d", Some("0 0 1 * *")));
    assert_eq!(starts(&stage, due_ms + 6), it);
    stage.at(due_ms + DAY_MS, &Signal::Tick);
    assert_eq!(starts(&stage, due_ms + DAY_MS), it);
    let pause = command(owner(), Ask::Pause);
    stage.at(due_ms + DAY_MS + 1, &pause);
    assert!(
        starts(&stage, due_ms + DAY_MS + 2).is_empty(),
        "hands are off"
    );
}

/// Whoever adopts what nobody need start runs it, and must be allowed to.
#[test]
fn who_may_not_run_a_drill_cannot_have_it_started() {
    let mut desired = desired();
    let approver = DesiredOperator {
        identity: UnixIdentity::User("abe".to_string()),
        permissions: [Permission::DrillAdopt].into(),
    };
    desired.operators.insert(name("approver"), approver);
    let mut stage = Stage::with(desired);
    let by_approver = |mut signal: Signal| {
        if let Signal::Commanded(command) = &mut signal {
            command.actor = actor(9, "abe");
        }
        signal
    };
    let mut by_hand = by_approver(adopt("beef", Some("0 0 1 * *")));
    let why = refused(&mut stage, &by_hand).map(|why| why.code());
    assert_eq!(why.as_deref(), Some("not_permitted"));
    if let Signal::Commanded(command) = &mut by_hand
        && let Ask::Drill(DrillAsk::Adopt(adoption)) = &mut command.ask
        && let Some(schedule) = &mut adoption.schedule
    {
        schedule.starts_from = None;
    }
    assert!(refused(&mut stage, &by_hand).is_none(), "people start it");
}

/// Due on the first of each month; the beginning is the first of January 1970.
#[test]
fn a_drill_that_was_due_and_did_not_run_is_an_alarm_until_it_ran() {
    let (due_ms, next_ms) = (31 * DAY_MS, 59 * DAY_MS);
    let run = |stage: &mut Stage, at_ms, number, verdict| {
        stage.at(at_ms, &begin(plan()));
        for act in steps_done() {
            let act = match act {
                Signal::Commanded(mut given) => {
                    renumber(&mut given.ask, number);
                    Signal::Commanded(given)
                }
                other => other,
            };
            stage.at(at_ms + 1, &act);
        }
        stage.at(at_ms + 2, &end(number, verdict, &[]));
    };
    let mut stage = Stage::with(desired());
    stage.at(1_000, &adopt("beef", Some("0 0 1 * *")));
    // An hour early is not when it was due.
    run(&mut stage, due_ms - 3_600_000, 1, DrillVerdict::Failed);
    stage.at(due_ms + DAY_MS - 1, &Signal::Tick);
    assert!(
        stage.state.drills.adopted["region-lost"]
            .missed_ms
            .is_none()
    );
    stage.at(due_ms + DAY_MS, &Signal::Tick);
    assert_eq!(
        stage.state.drills.adopted["region-lost"].missed_ms,
        Some(due_ms)
    );
    assert_eq!(stage.state.incidents.iter().count(), 1, "it calls");
    // Nobody is told twice, and that alarm alone does not stand in the way.
    stage.at(due_ms + DAY_MS + 1_000, &Signal::Tick);
    run(&mut stage, due_ms + 2 * DAY_MS, 2, DrillVerdict::Aborted);
    assert!(
        stage.state.drills.adopted["region-lost"]
            .missed_ms
            .is_some()
    );
    run(&mut stage, due_ms + 3 * DAY_MS, 3, DrillVerdict::Failed);
    let known = &stage.state.drills.adopted["region-lost"];
    assert_eq!((known.missed_ms, known.due_ms()), (None, Some(next_ms)));
    let standing = |stage: &Stage| {
        let ids: Vec<_> = stage.state.incidents.iter().map(|(id, _)| id).collect();
        ids.iter()
            .map(|id| stage.state.incidents.standing_of(*id).count())
            .sum::<usize>()
    };
    assert_eq!(standing(&stage), 0, "what it called for is over");
    // Another text of it does not make what is owed good; withdrawing it does.
    stage.at(next_ms + DAY_MS, &Signal::Tick);
    stage.at(next_ms + DAY_MS + 1, &adopt("f00d", Some("0 0 1 * *")));
    assert_eq!(standing(&stage), 1);
    let withdraw = drill(DrillAsk::Withdraw {
        name: "region-lost".to_string(),
    });
    stage.at(next_ms + DAY_MS + 2, &withdraw);
    assert_eq!(standing(&stage), 0);
}

fn renumber(ask: &mut Ask, number: u64) {
    if let Ask::Drill(DrillAsk::BeginStep { drill, .. } | DrillAsk::EndStep { drill, .. }) = ask {
        *drill = DrillId(number);
    }
}
