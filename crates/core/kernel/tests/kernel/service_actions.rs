//! Actions on a service as a whole: its share of requests, how many instances it has, its mode.

use std::collections::BTreeSet;

use mainstay_kernel::{Ask, Event, Executor, Reflex, Signal, Work, decide};
use mainstay_model::name::ServiceName;
use mainstay_playbook::{Act, Action, Book, Condition, Ending, Mode, Place, Routed};
use mainstay_units::Term;

use crate::playbooks::{
    answer, book, done, ending, failed, out, ready, restart, run, settle, step, unknown, with,
};
use crate::stage::{Stage, command, desired, name, owner, primary, report};

fn shift(share: &str) -> Action {
    Action::Shift {
        what: Routed::Service("web".to_string()),
        from: "r1".to_string(),
        share: share.to_string(),
    }
}

fn replicas(count: &str) -> Action {
    Action::Replicas {
        service: "web".to_string(),
        count: count.to_string(),
    }
}

fn instances(ready: &str) -> Condition {
    Condition::Instances {
        service: "web".to_string(),
        ready: ready.to_string(),
    }
}

fn of(steps: Vec<mainstay_playbook::Step>) -> Book {
    Book {
        steps,
        ..book(Mode::Auto)
    }
}

/// Runs the book of a stage to where something is out, or to its end.
fn play(stage: &mut Stage, now_ms: u64) {
    stage.at(now_ms, &run("restart-web", "h2"));
    settle(stage, now_ms + 1);
}

fn shifted(stage: &Stage) -> Vec<(&str, &str, u8)> {
    let shifts = stage.state.playbooks.shifts.iter();
    shifts
        .map(|((service, region), share)| (service.as_str(), region.as_str(), *share))
        .collect()
}

fn placed(stage: &Stage) -> Vec<String> {
    let web = stage.state.placed.get(&name::<ServiceName>("web"));
    web.into_iter().flatten().map(ToString::to_string).collect()
}

/// What was placed or withdrawn since `from`, as it stands in the journal.
fn moves(stage: &Stage, from: usize) -> Vec<String> {
    let told = |event: &Event| match event {
        Event::InstancePlaced { host, .. } => Some(format!("+{host}")),
        Event::InstanceWithdrawn { host, .. } => Some(format!("-{host}")),
        _ => None,
    };
    let records = stage.records.iter().skip(from);
    records.filter_map(|record| told(&record.event)).collect()
}

fn apply(digest: &str) -> Signal {
    let digest = digest.to_string();
    let desired = Box::new(desired());
    command(owner(), Ask::Apply { digest, desired })
}

#[test]
fn a_shift_is_done_by_writing_and_undone_when_a_later_step_fails() {
    let mut first = step("shift", shift("20"), None);
    first.compensate = Some(shift("100"));
    let mut stage = with(of(vec![
        first,
        step("restart", restart("h2"), Some(ready("h2"))),
    ]));
    play(&mut stage, 10_000);
    assert_eq!(shifted(&stage), [("web", "r1", 20)]);
    answer(&mut stage, 11_000, done());
    answer(&mut stage, 12_000, failed("not ready"));
    assert_eq!(ending(&stage).unwrap().0, Ending::Undone);
    assert!(shifted(&stage).is_empty());
}

#[test]
fn a_region_taken_back_ends_its_shifts_and_a_file_those_of_what_it_does_not_have() {
    let mut stage = with(of(vec![step("shift", shift("0"), None)]));
    play(&mut stage, 10_000);
    assert_eq!(shifted(&stage), [("web", "r1", 0)]);
    stage.at(20_000, &apply("beef"));
    assert_eq!(shifted(&stage), [("web", "r1", 0)], "the file has both");

    let back = Action::Return(Place::Region("r1".to_string()));
    let mut second = of(vec![step("back", back, None)]);
    second.version = 2;
    stage.at(21_000, &crate::playbooks::adopt(second));
    play(&mut stage, 22_000);
    assert_eq!(ending(&stage).unwrap().0, Ending::Done);
    assert!(shifted(&stage).is_empty());
}

#[test]
fn a_cell_is_not_shifted_and_a_run_that_tries_fails() {
    let cell = Action::Shift {
        what: Routed::Route("/v1/cells/{cell}".to_string()),
        from: "r1".to_string(),
        share: "50".to_string(),
    };
    let mut stage = with(of(vec![step("shift", cell, None)]));
    play(&mut stage, 10_000);
    let (ended, why) = ending(&stage).unwrap();
    assert_eq!(ended, Ending::Failed);
    assert!(
        why.contains("its requests go where the primary of ledger is"),
        "{why}"
    );
    assert!(shifted(&stage).is_empty());
}

#[test]
fn instances_are_placed_with_the_decision_and_the_file_takes_its_number_back() {
    let wanted = step("more", replicas("3"), Some(instances("3")));
    let mut stage = with(of(vec![wanted]));
    assert_eq!(placed(&stage), ["h1", "h2"]);
    let before = stage.records.len();
    play(&mut stage, 10_000);
    assert_eq!(placed(&stage), ["h1", "h2", "h3"]);
    let (_, look) = out(&stage.state).unwrap();
    assert!(matches!(look, Work::Look(look) if look.condition == instances("3")));
    answer(&mut stage, 11_000, done());
    assert_eq!(ending(&stage).unwrap().0, Ending::Done);
    assert_eq!(moves(&stage, before), ["+h3"], "once");

    // The number holds when a host is lost, and not when there is another file.
    let silent = Signal::HostSilent {
        host: name("h3"),
        silent_ms: 20_000,
    };
    stage.at(40_000, &silent);
    assert_eq!(placed(&stage), ["h1", "h2", "h4"]);
    stage.at(50_000, &apply("beef"));
    assert_eq!(placed(&stage), ["h1", "h2"]);
    assert!(stage.state.playbooks.counts.is_empty());
}

#[test]
fn more_instances_than_hosts_are_refused_and_as_many_as_the_file_says_can_be_asked_for() {
    let mut more = step("more", replicas("4"), None);
    more.compensate = Some(replicas("file"));
    let too_many = step("too-many", replicas("5"), None);
    let mut stage = with(of(vec![more, too_many]));
    let before = stage.records.len();
    play(&mut stage, 10_000);
    let (ended, why) = ending(&stage).unwrap();
    assert_eq!(ended, Ending::Undone, "{why}");
    assert!(why.contains("4 may run one"), "{why}");
    assert_eq!(moves(&stage, before), ["+h3", "+h4", "-h3", "-h4"]);
    assert_eq!(placed(&stage), ["h1", "h2"]);
}

#[test]
fn a_mode_is_told_where_the_primary_is_and_one_that_nobody_knows_of_is_looked_for() {
    let mode = |mode: &str| Action::Mode {
        service: "engine".to_string(),
        mode: mode.to_string(),
    };
    let seen = Condition::Mode {
        service: "engine".to_string(),
        mode: "cancelOnly".to_string(),
    };
    let mut told = step("mode", mode("cancelOnly"), Some(seen.clone()));
    told.idempotent = true;
    told.retry.times = 1;
    told.compensate = Some(mode("open"));
    let mut stage = with(of(vec![
        told,
        step("restart", restart("h2"), Some(ready("h2"))),
    ]));
    play(&mut stage, 10_000);
    let at = |stage: &Stage| {
        let (id, work) = out(&stage.state).unwrap();
        let executor = stage
            .state
            .outstanding
            .iter()
            .find(|(known, _)| known.0.0 == id);
        (executor.unwrap().1.executor.clone(), work)
    };
    let (executor, work) = at(&stage);
    assert_eq!(executor, Executor::Host(name("h1")));
    assert!(matches!(
        work,
        Work::Act {
            act: Act::Mode { .. },
            ..
        }
    ));
    // The primary moves, and the answer is lost.
    stage.at(10_500, &primary("h2", 2));
    answer(&mut stage, 11_000, unknown());
    let (_, work) = at(&stage);
    assert!(
        matches!(work, Work::Look(look) if look.condition == seen),
        "it is looked for"
    );
    answer(&mut stage, 12_000, failed("it is in the mode open"));
    let (executor, _) = at(&stage);
    assert_eq!(
        executor,
        Executor::Host(name("h2")),
        "again, where it is now"
    );
    answer(&mut stage, 13_000, done());
    answer(&mut stage, 14_000, done());
    // The next step fails: the mode is set back.
    answer(&mut stage, 15_000, failed("no"));
    let (_, work) = at(&stage);
    let Work::Act { act, .. } = work else {
        panic!("it is undone");
    };
    assert_eq!(act.to_string(), "tell h2/engine to be in the mode open");
    answer(&mut stage, 16_000, done());
    assert_eq!(ending(&stage).unwrap().0, Ending::Undone);
    let reserved: BTreeSet<String> = stage.state.playbooks.ended[0]
        .run
        .reserved
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(reserved.contains("service engine"), "{reserved:?}");
}

fn mode(mode: &str) -> Action {
    Action::Mode {
        service: "engine".to_string(),
        mode: mode.to_string(),
    }
}

fn left(host: &str, term: u32) -> Signal {
    let why = "a switchover".to_string();
    let (database, term) = (name("ledger"), Term(term));
    report(
        host,
        u64::from(term.0),
        Reflex::LeftPrimary {
            database,
            term,
            why,
        },
    )
}

/// Which act is out, in words.
fn doing(stage: &Stage) -> Option<String> {
    match out(&stage.state)?.1 {
        Work::Act { act, .. } => Some(act.to_string()),
        Work::Look(look) => Some(format!("{:?}", look.condition)),
    }
}

/// What needs the primary waits until somebody says where it is, for as long as the step may take, and no longer. What it
/// will touch is reserved from the start.
#[test]
fn what_needs_the_primary_waits_until_it_is_known_within_the_time_of_its_step() {
    let switchover = Action::Switchover {
        database: "ledger".to_string(),
        to: "r2".to_string(),
    };
    let rebuild = Action::Rebuild {
        database: "ledger".to_string(),
        host: "h1".to_string(),
    };
    for (action, told, target) in [
        (
            mode("open"),
            "tell h3/engine to be in the mode open",
            "service engine",
        ),
        (
            switchover,
            "move the primary of ledger from h3 to h2",
            "database ledger",
        ),
        (rebuild, "fill the replica of ledger on h1 anew", "host h1"),
    ] {
        for is_late in [false, true] {
            let mut stage = with(of(vec![step("it", action.clone(), None)]));
            stage.at(9_000, &left("h1", 1));
            play(&mut stage, 10_000);
            assert_eq!(doing(&stage), None, "{told}");
            assert!(ending(&stage).is_none(), "{told}: it waits");
            let run = stage.state.playbooks.runs.values().next().unwrap();
            let reserved: Vec<String> = run.reserved.iter().map(ToString::to_string).collect();
            assert!(
                reserved.contains(&target.to_string()),
                "{told}: {reserved:?}"
            );
            // Nothing is due meanwhile, so that nobody turns in circles.
            let wait = decide(&stage.state, 19_000, &Signal::Tick);
            assert!(wait.events.is_empty(), "{wait:?}");
            let now_ms = if is_late { 21_000 } else { 19_500 };
            if is_late {
                settle(&mut stage, now_ms);
                let (ended, why) = ending(&stage).unwrap();
                assert_eq!(ended, Ending::Failed, "{told}");
                let unknown = "where the primary of ledger is, is not known, for 10000 ms";
                assert_eq!(why, unknown, "{told}");
                continue;
            }
            stage.at(now_ms, &primary("h3", 2));
            settle(&mut stage, now_ms);
            assert_eq!(doing(&stage).as_deref(), Some(told));
        }
    }
}

#[test]
fn a_step_behind_a_switchover_is_not_sent_to_where_the_primary_was() {
    let switchover = Action::Switchover {
        database: "ledger".to_string(),
        to: "r2".to_string(),
    };
    let mut told = step("mode", mode("cancelOnly"), None);
    told.compensate = Some(mode("open"));
    let steps = vec![
        step("move", switchover.clone(), None),
        told,
        step("back", switchover, None),
        step("restart", restart("h2"), None),
    ];
    let mut stage = with(of(steps));
    play(&mut stage, 10_000);
    // The outcome comes first, and nobody has said who follows.
    answer(&mut stage, 11_000, done());
    assert_eq!(doing(&stage), None);
    stage.at(12_000, &primary("h2", 2));
    settle(&mut stage, 12_000);
    let there = "tell h2/engine to be in the mode cancelOnly";
    assert_eq!(doing(&stage).as_deref(), Some(there));
    answer(&mut stage, 13_000, done());
    assert_eq!(
        doing(&stage).as_deref(),
        Some("restart h2/web"),
        "it is there already"
    );
    // What undoes a step waits as well.
    stage.at(14_000, &left("h2", 2));
    answer(&mut stage, 15_000, failed("no"));
    assert_eq!(doing(&stage), None);
    assert!(ending(&stage).is_none());
    stage.at(16_000, &primary("h1", 3));
    settle(&mut stage, 16_000);
    let back = "tell h1/engine to be in the mode open";
    assert_eq!(doing(&stage).as_deref(), Some(back));
    answer(&mut stage, 17_000, done());
    assert_eq!(ending(&stage).unwrap().0, Ending::Undone);
}

#[test]
fn undoing_that_waits_in_vain_calls_for_somebody() {
    let mut told = step("mode", mode("cancelOnly"), None);
    told.compensate = Some(mode("open"));
    let mut stage = with(of(vec![told, step("restart", restart("h2"), None)]));
    play(&mut stage, 10_000);
    answer(&mut stage, 11_000, done());
    stage.at(12_000, &left("h1", 1));
    answer(&mut stage, 13_000, failed("no"));
    assert!(ending(&stage).is_none());
    settle(&mut stage, 23_000);
    let (ended, why) = ending(&stage).unwrap();
    assert_eq!(ended, Ending::UndoFailed);
    assert!(
        why.starts_with("where the primary of ledger is, is not known"),
        "{why}"
    );
}
