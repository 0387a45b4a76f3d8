//! Gates: who is let through, who is not, and what the journal says of it.

use std::collections::BTreeSet;

use expect_test::expect;
use mainstay_kernel::{
    Ask, Command, DrillAsk, DrillId, Event, FaultKind, Found, GateReading, Refusal, Signal,
};
use mainstay_model::gate::{Gate, Opens, Road};
use mainstay_model::people::Permission;

use crate::stage::{Stage, actor, command, desired, fault, name, owner, primary};

fn gate(name_: &str, before: &[Road]) -> Gate {
    Gate {
        name: name(name_),
        before: before.iter().copied().collect(),
        opens: Opens::Query("max(lag) < 5".to_string()),
        reason: "a standby far behind made a failover slow".to_string(),
        action: Some("i3/a1".to_string()),
    }
}

fn stage() -> Stage {
    let mut desired = desired();
    desired.gates = vec![
        gate("close", &[Road::Switchover, Road::Up]),
        gate("left", &[Road::Switchover, Road::Drill]),
    ];
    let watcher = desired.operators.get_mut("watcher").unwrap();
    watcher.permissions.insert(Permission::DatabaseSwitchover);
    let mut stage = Stage::with(desired);
    stage.at(2_000, &primary("h1", 1));
    stage.script();
    stage
}

fn moves(readings: &[(&str, Found)], overrides: &[&str]) -> Signal {
    by(owner(), readings, overrides)
}

fn by(who: mainstay_kernel::Actor, readings: &[(&str, Found)], overrides: &[&str]) -> Signal {
    let ask = Ask::Switchover {
        database: name("ledger"),
        to: name("r2"),
    };
    let readings = readings.iter().map(|(gate, found)| GateReading {
        gate: (*gate).to_string(),
        found: *found,
        why: "lag is 7".to_string(),
    });
    let Signal::Commanded(plain) = command(who, ask) else {
        unreachable!("a command is one");
    };
    Signal::Commanded(Command {
        readings: readings.collect(),
        overrides: overrides.iter().map(|name| (*name).to_string()).collect(),
        ..plain
    })
}

#[test]
fn a_command_passes_gates_that_are_open_and_no_others() {
    let both = |first, second| [("close", first), ("left", second)];
    for (readings, overrides, told) in [
        (both(Found::Open, Found::Open).to_vec(), vec![], "ordered"),
        (both(Found::Shut, Found::Open).to_vec(), vec![], "gate_shut"),
        (
            both(Found::Open, Found::NotMeasured).to_vec(),
            vec![],
            "gate_shut",
        ),
        // An older node measures nothing.
        (vec![], vec![], "gate_shut"),
        (vec![("close", Found::Open)], vec![], "gate_shut"),
        (
            both(Found::Shut, Found::Open).to_vec(),
            vec!["close"],
            "ordered",
        ),
        // Passing one passes no other.
        (
            both(Found::Shut, Found::Shut).to_vec(),
            vec!["close"],
            "gate_shut",
        ),
        (vec![], vec!["close", "left"], "ordered"),
        (
            both(Found::Open, Found::Open).to_vec(),
            vec!["closed"],
            "no_such_gate",
        ),
    ] {
        let mut stage = stage();
        stage.at(9_000, &moves(&readings, &overrides));
        let last = &stage.records.last().unwrap().event;
        let found = match last {
            Event::SwitchoverOrdered { .. } => "ordered".to_string(),
            Event::CommandRefused { why, .. } => why.code(),
            other => format!("{other:?}"),
        };
        assert_eq!(found, told, "{readings:?} {overrides:?}");
    }
}

/// A drill was let through before it began, and what it does with it. What somebody else does meanwhile was not, nor what
/// its runner does when its command has died.
#[test]
fn a_drill_lets_nobody_else_through() {
    let end = |who: mainstay_kernel::Actor, is_abandoned: bool| {
        let mut stage = stage();
        let open = [("close", Found::Open), ("left", Found::Open)];
        let begin = DrillAsk::Begin(Box::new(crate::drills::plan()));
        let Signal::Commanded(begin) = command(owner(), Ask::Drill(begin)) else {
            unreachable!("a command is one");
        };
        let readings = open.map(|(gate, found)| GateReading {
            gate: gate.to_string(),
            found,
            why: "lag is 0".to_string(),
        });
        let begin = Command {
            readings: readings.into(),
            ..begin
        };
        stage.at(3_000, &Signal::Commanded(begin));
        let step = DrillAsk::BeginStep {
            drill: DrillId(1),
            step: "lose".to_string(),
            what: "so".to_string(),
        };
        stage.at(4_000, &command(owner(), Ask::Drill(step)));
        assert!(stage.state.drills.running.is_some());
        if is_abandoned {
            stage.at(4_500, &Signal::DrillAbandoned { drill: DrillId(1) });
        }
        let shut = [("close", Found::Shut), ("left", Found::Open)];
        stage.at(5_000, &by(who, &shut, &[]));
        let last = stage.records.iter().rev().map(|record| &record.event);
        let mut ends = last.filter_map(|event| match event {
            Event::SwitchoverOrdered { .. } => Some("ordered".to_string()),
            Event::CommandRefused { why, .. } => Some(why.code()),
            _ => None,
        });
        ends.next().expect("it was ordered or refused")
    };
    assert_eq!(end(owner(), false), "ordered");
    assert_eq!(end(owner(), true), "gate_shut");
    assert_eq!(end(actor(7, "w"), false), "gate_shut");
}

fn breaks(who: mainstay_kernel::Actor, overrides: &[&str]) -> Signal {
    let ask = Ask::InjectFault(fault(FaultKind::HostCrash, "h2", 5_000));
    let Signal::Commanded(plain) = command(who, ask) else {
        unreachable!("a command is one");
    };
    let readings = [GateReading {
        gate: "spent".to_string(),
        found: Found::Shut,
        why: "0.1 is left".to_string(),
    }];
    Signal::Commanded(Command {
        readings: readings.into(),
        overrides: overrides.iter().map(|name| (*name).to_string()).collect(),
        ..plain
    })
}

/// Whoever may not run an experiment now breaks nothing by hand either; a drill that was let through does what it is for.
#[test]
fn a_fault_by_hand_meets_the_gates_of_experiments() {
    let stage = |overrides: &[&str], in_drill: bool| {
        let mut desired = desired();
        desired.gates = vec![gate("spent", &[Road::Experiment])];
        let mut stage = Stage::with(desired);
        stage.at(2_000, &primary("h1", 1));
        if in_drill {
            let begin = DrillAsk::Begin(Box::new(crate::drills::plan()));
            stage.at(3_000, &command(owner(), Ask::Drill(begin)));
            let step = DrillAsk::BeginStep {
                drill: DrillId(1),
                step: "lose".to_string(),
                what: "so".to_string(),
            };
            stage.at(4_000, &command(owner(), Ask::Drill(step)));
        }
        stage.at(5_000, &breaks(owner(), overrides));
        let last = stage.records.iter().rev().map(|record| &record.event);
        let mut ends = last.filter_map(|event| match event {
            Event::FaultInjected { .. } => Some("broken".to_string()),
            Event::CommandRefused { why, .. } => Some(why.code()),
            _ => None,
        });
        ends.next().expect("it was broken or refused")
    };
    assert_eq!(stage(&[], false), "gate_shut");
    assert_eq!(stage(&["spent"], false), "broken");
    assert_eq!(stage(&[], true), "broken");
}

#[test]
fn what_is_passed_stands_in_the_journal_before_what_is_done() {
    let mut stage = stage();
    let readings = [("close", Found::Shut), ("left", Found::Open)];
    stage.at(9_000, &moves(&readings, &[]));
    stage.at(9_500, &moves(&readings, &["close", "left"]));
    expect![[r#"
        9000 > uid 1000 asks: switchover
             #9 refused switchover: the gate close is shut: lag is 7; it stands there because a standby far behind made a failover slow (gate_shut)
        9500 > uid 1000 asks: switchover
             #10 gate close passed for switchover by owner although shut (lag is 7)
             #11 ledger from h1 to h2 by owner
             do #11 Switchover by h1
    "#]].assert_eq(&stage.script());
}

#[test]
fn passing_a_gate_needs_a_right_of_its_own() {
    let mut stage = stage();
    let readings = [("close", Found::Shut), ("left", Found::Open)];
    stage.at(9_000, &by(actor(7, "w"), &readings, &["close"]));
    let Event::CommandRefused { why, .. } = &stage.records.last().unwrap().event else {
        panic!("it was let through");
    };
    assert!(
        matches!(
            why,
            Refusal::Lacks {
                permission: Permission::GateOverride,
                ..
            }
        ),
        "{why:?}"
    );
    // Where nothing needs to be passed the right is not asked for.
    let open = [("close", Found::Open), ("left", Found::Open)];
    stage.at(9_500, &by(actor(7, "w"), &open, &["close"]));
    let last = &stage.records.last().unwrap().event;
    assert!(matches!(last, Event::SwitchoverOrdered { .. }), "{last:?}");
}

#[test]
fn who_may_not_do_it_at_all_hears_of_that_first() {
    let mut stage = stage();
    stage.at(9_000, &by(actor(8, "nobody"), &[], &[]));
    let Event::CommandRefused { why, .. } = &stage.records.last().unwrap().event else {
        panic!("it was let through");
    };
    assert_eq!(why.code(), "unknown_actor");
}

#[test]
fn a_gate_stands_before_what_it_names_only() {
    let mut stage = stage();
    stage.at(9_000, &command(owner(), Ask::Pause));
    let last = &stage.records.last().unwrap().event;
    assert!(matches!(last, Event::Paused { .. }), "{last:?}");
    let mut changed = desired();
    changed.gates = Vec::new();
    let apply = Ask::Apply {
        digest: "other".to_string(),
        desired: Box::new(changed),
    };
    // Also the change that would take the gate away.
    stage.at(9_500, &command(owner(), apply));
    let last = &stage.records.last().unwrap().event;
    let Event::CommandRefused { why, .. } = last else {
        panic!("it was let through: {last:?}");
    };
    assert_eq!(why.code(), "gate_shut");
    let gates: BTreeSet<&str> = ["close"].into();
    assert!(
        gates.iter().all(|gate| why.to_string().contains(gate)),
        "{why}"
    );
}
