//! Experiments: begun when the time is good; faults that make sense; and what journals of before have of them.

use expect_test::{Expect, expect};
use mainstay_kernel::{
    AlertNews, AlertState, Ask, Event, ExperimentAsk, ExperimentId, ExperimentNews, ExperimentPlan,
    FaultKind, Finding, Outcome, Refusal, Signal, Slot, Timetable,
};

use crate::carried::{begin_with, saw, stop, timetable, with};
use crate::stage::{Stage, actor, answered, command, desired, fault, name, owner};

pub fn begin() -> Signal {
    begin_with(with(timetable()))
}

fn check(stage: &mut Stage, expected: Expect) {
    expected.assert_eq(&stage.script());
}

/// In a journal of a version whose command carried it.
#[test]
fn an_old_experiment_is_read_and_ended() {
    let old = |stage: &mut Stage| {
        let plan = ExperimentPlan {
            timetable: None,
            ..with(timetable())
        };
        let by = mainstay_kernel::authorize(
            &stage.state,
            &owner(),
            mainstay_model::people::Permission::FaultInject,
        );
        stage.put(Event::Experiment(ExperimentNews::Begun {
            experiment: ExperimentId(1),
            plan: plan.into(),
            until_ms: 181_000,
            by: by.unwrap(),
            reason: "before".to_string(),
        }));
        stage.put(Event::Experiment(ExperimentNews::Observed {
            experiment: ExperimentId(1),
            observation: saw("before orders", Finding::Holds),
        }));
    };
    let mut stage = Stage::with(desired());
    old(&mut stage);
    stage.at(180_999, &Signal::Tick).at(181_000, &Signal::Tick);
    check(
        &mut stage,
        expect![[r#"
        180999 > time passes
             nothing: nothing is due
        181000 > time passes
             #10 experiment x1 inconclusive: whoever ran it did not say how it ended
    "#]],
    );
    let mut stage = Stage::with(desired());
    old(&mut stage);
    stage.at(2_000, &stop(1));
    assert!(stage.state.experiment.is_none());
}

#[test]
fn a_timetable_that_nobody_could_carry_is_refused() {
    let mut stage = Stage::with(desired());
    let slots = |at: &[u64]| {
        let slot = |at_ms: &u64| Slot {
            at_ms: *at_ms,
            lasts_ms: None,
        };
        at.iter().map(slot).collect::<Vec<Slot>>()
    };
    let table = |injections| Timetable {
        injections,
        ..timetable()
    };
    for plan in [
        ExperimentPlan {
            timetable: None,
            ..with(timetable())
        },
        ExperimentPlan {
            lasts_ms: 6 * 3_600_000 + 1,
            ..with(timetable())
        },
        with(table(slots(&[]))),
        with(table(slots(&[0; 501]))),
        with(table(slots(&[2, 1]))),
        with(table(slots(&[10_001]))),
        with(Timetable {
            text: "x".repeat(49_153),
            ..timetable()
        }),
    ] {
        let why = refused(&mut stage, &begin_with(plan));
        let is_untimely = matches!(why, Some(Refusal::ExperimentUntimely { .. }));
        assert!(is_untimely, "{why:?}");
    }
    assert_eq!(refused(&mut stage, &begin()), None);
}

fn refused(stage: &mut Stage, signal: &Signal) -> Option<Refusal> {
    stage.at(50_000, signal);
    match stage.records.last().map(|record| &record.event) {
        Some(Event::CommandRefused { why, .. }) => Some(why.clone()),
        _ => None,
    }
}

fn alert(severity: &str, state: AlertState) -> Signal {
    Signal::AlertTold(AlertNews {
        watch: name("h1"),
        alert: "Down{}".to_string(),
        state,
        since_ms: 1,
        at_ms: 2,
        labels: [("severity".to_string(), severity.to_string())].into(),
        summary: String::new(),
        value: "1".to_string(),
        why: String::new(),
    })
}

#[test]
fn nothing_is_broken_on_top_of_trouble() {
    let untimely = |why: &str| {
        Some(Refusal::ExperimentUntimely {
            why: why.to_string(),
        })
    };
    let mut stage = Stage::with(desired());
    stage.at(1_100, &alert("page", AlertState::Firing));
    assert_eq!(
        refused(&mut stage, &begin()),
        untimely("incident i1 is open: alert")
    );
    let mut stage = Stage::with(desired());
    let down = fault(FaultKind::ProcessDown, "h1/web", 90_000);
    stage.at(1_400, &command(owner(), Ask::InjectFault(down)));
    assert_eq!(
        refused(&mut stage, &begin()),
        untimely("fault f1 is in force")
    );
    let mut stage = Stage::with(desired());
    stage.at(1_400, &command(owner(), Ask::Pause));
    assert_eq!(
        refused(&mut stage, &begin()),
        untimely("automation is paused")
    );
    let stranger = command(
        actor(9, "mallory"),
        Ask::Experiment(ExperimentAsk::Begin(Box::new(with(timetable())))),
    );
    assert_eq!(
        refused(&mut stage, &stranger),
        Some(Refusal::UnknownActor { uid: 9 })
    );
}

#[test]
fn faults_that_make_no_sense_are_refused() {
    let mut stage = Stage::with(desired());
    for (kind, target) in [
        (FaultKind::Loss, "r1:r2"),
        (FaultKind::Throttle, "r1:r2"),
        (FaultKind::Stress, "h1"),
    ] {
        let spec = fault(kind, target, 1_000);
        let why = refused(&mut stage, &command(owner(), Ask::InjectFault(spec)));
        assert!(matches!(why, Some(Refusal::FaultShape { .. })), "{why:?}");
    }
    let mut itself = fault(FaultKind::Cut, "r1:r1", 1_000);
    let why = refused(
        &mut stage,
        &command(owner(), Ask::InjectFault(itself.clone())),
    );
    assert!(matches!(why, Some(Refusal::FaultShape { .. })), "{why:?}");
    itself.detail.door = Some(mainstay_kernel::FaultDoor {
        host: name("h1"),
        port: 5_432,
        ways: mainstay_kernel::Ways::Towards,
    });
    let set = refused(
        &mut stage,
        &command(owner(), Ask::InjectFault(itself.clone())),
    );
    assert_eq!(set, None);
    itself.detail.door.as_mut().unwrap().host = name("h2");
    let why = refused(&mut stage, &command(owner(), Ask::InjectFault(itself)));
    assert!(matches!(why, Some(Refusal::FaultShape { .. })), "{why:?}");
}

#[test]
fn a_kill_with_grace_is_in_force_until_the_grace_is_over() {
    let mut stage = Stage::with(desired());
    let mut kill = fault(FaultKind::ProcessKill, "h1/web", 5_000);
    stage.at(1_000, &command(owner(), Ask::InjectFault(kill.clone())));
    let position = stage.state.next.0 - 1;
    stage.at(
        1_010,
        &answered(
            position,
            Outcome::Done {
                detail: String::new(),
            },
        ),
    );
    assert!(stage.state.faults.is_empty(), "a kill is over at once");
    kill.detail.grace_ms = 5_000;
    stage.at(2_000, &command(owner(), Ask::InjectFault(kill)));
    let position = stage.state.next.0 - 1;
    stage.at(
        2_010,
        &answered(
            position,
            Outcome::Done {
                detail: String::new(),
            },
        ),
    );
    assert_eq!(stage.state.faults.len(), 1);
}
