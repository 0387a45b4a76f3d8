//! Experiments: begun when the time is good, ended with the verdict that was seen.

use expect_test::{Expect, expect};
use mainstay_kernel::{
    AlertNews, AlertState, Ask, Event, ExperimentAsk, ExperimentId, ExperimentNews, ExperimentPlan,
    FaultKind, Finding, Observation, Outcome, Refusal, Signal, Verdict,
};

use crate::stage::{Stage, actor, answered, command, desired, fault, name, owner};

fn plan() -> ExperimentPlan {
    ExperimentPlan {
        name: "slow-ledger".to_string(),
        digest: "beef".to_string(),
        seed: 7,
        hypothesis: "orders are slow and nothing else".to_string(),
        injections: vec!["delay h1".to_string()],
        lasts_ms: 60_000,
    }
}

fn begin() -> Signal {
    command(owner(), Ask::Experiment(ExperimentAsk::Begin(plan())))
}

fn see(number: u64, finding: Finding) -> Signal {
    let observation = Observation {
        subject: "orders answered".to_string(),
        value: "0.99".to_string(),
        finding,
    };
    let experiment = ExperimentId(number);
    command(
        owner(),
        Ask::Experiment(ExperimentAsk::Observe {
            experiment,
            observation,
        }),
    )
}

fn end(number: u64, verdict: Verdict, residue: &[&str]) -> Signal {
    command(
        owner(),
        Ask::Experiment(ExperimentAsk::End {
            experiment: ExperimentId(number),
            verdict,
            why: "it is over".to_string(),
            residue: residue.iter().map(ToString::to_string).collect(),
        }),
    )
}

fn check(stage: &mut Stage, expected: Expect) {
    expected.assert_eq(&stage.script());
}

#[test]
fn an_experiment_that_holds() {
    let mut stage = Stage::with(desired());
    stage
        .at(1_000, &begin())
        .at(1_100, &begin())
        .at(1_200, &see(1, Finding::Holds))
        .at(1_300, &see(2, Finding::Holds))
        .at(9_000, &end(1, Verdict::Passed, &[]))
        .at(9_100, &end(1, Verdict::Passed, &[]))
        .at(9_200, &begin());
    check(
        &mut stage,
        expect![[r#"
            1000 > uid 1000 asks: chaos run
                 #8 experiment x1 slow-ledger begun until 181000 by owner
            1100 > uid 1000 asks: chaos run
                 #9 refused chaos run: no experiment now: experiment x1 (slow-ledger) runs (experiment_untimely)
            1200 > uid 1000 asks: chaos observe
                 #10 experiment x1: orders answered holds: 0.99
            1300 > uid 1000 asks: chaos observe
                 #11 refused chaos observe: no experiment x2 runs (no_such_experiment)
            9000 > uid 1000 asks: chaos end
                 #12 experiment x1 passed: it is over
            9100 > uid 1000 asks: chaos end
                 #13 refused chaos end: no experiment x1 runs (no_such_experiment)
            9200 > uid 1000 asks: chaos run
                 #14 experiment x2 slow-ledger begun until 189200 by owner
        "#]],
    );
    assert_eq!(stage.state.experiments_ever, 2);
}

/// What the journal makes of what was seen and proposed.
fn verdict(seen: &[Finding], proposed: Verdict, residue: &[&str]) -> (Verdict, String) {
    let mut stage = Stage::with(desired());
    stage.at(1_000, &begin());
    for finding in seen {
        stage.at(2_000, &see(1, *finding));
    }
    stage.at(3_000, &end(1, proposed, residue));
    assert!(stage.state.experiment.is_none());
    match stage.records.last().map(|record| &record.event) {
        Some(Event::Experiment(ExperimentNews::Ended { verdict, why, .. })) => {
            (*verdict, why.clone())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_verdict_is_no_better_than_what_was_seen() {
    use Finding::{Holds, Missing, Violated};
    use Verdict::{Aborted, Failed, Inconclusive, Passed};
    for (seen, proposed, residue, expected) in [
        (&[Holds][..], Passed, &[][..], Passed),
        (&[], Passed, &[], Inconclusive),
        (&[Holds, Missing], Passed, &[], Inconclusive),
        (&[Holds, Violated, Missing], Passed, &[], Failed),
        (&[Missing, Violated], Inconclusive, &[], Failed),
        (&[Holds], Inconclusive, &[], Inconclusive),
        (&[Holds], Failed, &[], Failed),
        (&[Violated], Aborted, &[], Aborted),
        (&[Holds], Passed, &["a stopped process"], Failed),
        (&[Holds], Aborted, &["a stopped process"], Failed),
    ] {
        let (found, why) = verdict(seen, proposed, residue);
        assert_eq!(found, expected, "{seen:?} {proposed:?} {residue:?}: {why}");
        if found != proposed {
            assert_ne!(why, "it is over", "a changed verdict says why");
        }
    }
}

#[test]
fn an_experiment_that_nobody_ends_is_not_passed() {
    let mut stage = Stage::with(desired());
    stage
        .at(1_000, &begin())
        .at(2_000, &see(1, Finding::Holds))
        .at(180_999, &Signal::Tick)
        .at(181_000, &Signal::Tick)
        .at(181_100, &end(1, Verdict::Passed, &[]));
    check(
        &mut stage,
        expect![[r#"
            1000 > uid 1000 asks: chaos run
                 #8 experiment x1 slow-ledger begun until 181000 by owner
            2000 > uid 1000 asks: chaos observe
                 #9 experiment x1: orders answered holds: 0.99
            180999 > time passes
                 nothing: nothing is due
            181000 > time passes
                 #10 experiment x1 inconclusive: whoever ran it did not say how it ended
            181100 > uid 1000 asks: chaos end
                 #11 refused chaos end: no experiment x1 runs (no_such_experiment)
        "#]],
    );
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
        Ask::Experiment(ExperimentAsk::Begin(plan())),
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
