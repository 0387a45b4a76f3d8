//! What steps do beyond the first actions: an instance moves, a work item is opened, the platform file names the books.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstay_incident::{Change, Day};
use mainstay_kernel::{
    Ask, Effect, Event, Outcome, PlacedBecause, Record, Signal, State, WithdrawnBecause, Work,
    decide,
};
use mainstay_playbook::{
    self as playbook, Act, Action, Approval, Book, Call, Condition, Due, Ending, Expiry,
    Guardrails, Method, Mode, Retry, Source, Step, WorkItem,
};

use crate::stage::{Stage, answered, command, desired, name, owner, primary};

fn step(id: &str, action: Action) -> Step {
    Step {
        id: id.to_string(),
        when: None,
        action,
        timeout_ms: 10_000,
        retry: Retry::default(),
        idempotent: false,
        verify: None,
        compensate: None,
    }
}

fn book(name: &str, steps: Vec<Step>) -> Book {
    Book {
        name: name.to_string(),
        version: 1,
        summary: "it".to_string(),
        mode: Mode::Auto,
        promotion: None,
        triggers: Vec::new(),
        parameters: Vec::new(),
        approval: Approval {
            is_written: false,
            by: Vec::new(),
            count: 1,
            expires_ms: 60_000,
            expiry: Expiry::Refuse,
        },
        guardrails: Guardrails::default(),
        steps,
    }
}

fn adopt(book: Book, source: Source) -> Signal {
    let digest = format!("{}-{}-{}", book.name, book.version, book.summary);
    asks(playbook::Ask::Adopt {
        digest,
        text: "the text".to_string(),
        book: Arc::new(book),
        source,
    })
}

fn asks(ask: playbook::Ask) -> Signal {
    command(owner(), Ask::Playbook(ask))
}

fn run(book: &str) -> Signal {
    asks(playbook::Ask::Run {
        book: book.to_string(),
        values: BTreeMap::new(),
    })
}

fn stage(books: Vec<Book>) -> Stage {
    let mut stage = Stage::with(desired());
    stage.at(2_000, &primary("h1", 1));
    for book in books {
        stage.at(3_000, &adopt(book, Source::Person));
    }
    stage
}

/// Time passes until nothing is due.
fn settle(stage: &mut Stage, now_ms: u64) {
    for turn in 0..20 {
        if decide(&stage.state, now_ms + turn, &Signal::Tick)
            .events
            .is_empty()
        {
            return;
        }
        stage.at(now_ms + turn, &Signal::Tick);
    }
    panic!("it never settles");
}

/// Everything that playbooks have out.
fn out(state: &State) -> Vec<(u64, Work)> {
    let works = state.outstanding.iter();
    works
        .filter_map(|(id, outstanding)| match &outstanding.effect {
            Effect::Playbook(work) => Some((id.0.0, work.clone())),
            _ => None,
        })
        .collect()
}

fn answer(stage: &mut Stage, now_ms: u64, outcome: Outcome) {
    let all = out(&stage.state);
    let [(id, _)] = all.as_slice() else {
        panic!("one thing is out, not {all:?}");
    };
    stage.at(now_ms, &answered(*id, outcome));
    settle(stage, now_ms + 1);
}

fn done() -> Outcome {
    Outcome::Done {
        detail: "well".to_string(),
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        why: "it did not get ready".to_string(),
    }
}

fn ending(stage: &Stage) -> (Ending, String) {
    let ended = stage.state.playbooks.ended.back().expect("it is over");
    (ended.ending, ended.why.clone())
}

fn placed(stage: &Stage, service: &str) -> Vec<String> {
    let service: mainstay_model::name::ServiceName = name(service);
    let hosts = stage.state.placed.get(&service).into_iter().flatten();
    hosts.map(ToString::to_string).collect()
}

fn replace(host: &str, instance: &str) -> Action {
    Action::Replace {
        host: host.to_string(),
        instance: instance.to_string(),
    }
}

/// `web` runs on h1 and h2, and may run anywhere.
fn moving() -> Stage {
    let mut stage = stage(vec![book("move", vec![step("move", replace("h2", "web"))])]);
    assert_eq!(placed(&stage, "web"), ["h1", "h2"]);
    stage.at(10_000, &run("move"));
    settle(&mut stage, 10_001);
    stage
}

fn lost(host: &str) -> Signal {
    Signal::HostSilent {
        host: name(host),
        silent_ms: 20_000,
    }
}

fn why(records: &[Record]) -> Vec<WithdrawnBecause> {
    let withdrawn = records.iter().filter_map(|record| match &record.event {
        Event::InstanceWithdrawn { why, .. } => Some(why.clone()),
        _ => None,
    });
    withdrawn.collect()
}

#[test]
fn an_instance_starts_elsewhere_before_it_stops() {
    let mut stage = moving();
    assert_eq!(
        placed(&stage, "web"),
        ["h1", "h2", "h3"],
        "both for a while"
    );
    let begun = stage.records.iter().any(|record| {
        matches!(&record.event, Event::InstancePlaced { why: PlacedBecause::Replaces { run, .. }, .. } if run == "r1")
    });
    assert!(begun, "it stands in the journal");
    answer(&mut stage, 11_000, done());
    assert_eq!(placed(&stage, "web"), ["h1", "h3"]);
    assert_eq!(ending(&stage).0, Ending::Done);
    assert_eq!(why(&stage.records), [WithdrawnBecause::Replaced]);
    // Whoever takes over reads the same.
    let mut state = State::default();
    for record in &stage.records {
        state.apply(record);
    }
    assert_eq!(state, stage.state);
}

#[test]
fn one_that_does_not_get_ready_goes_and_the_old_one_stays() {
    for outcome in [
        failed(),
        Outcome::Unknown {
            why: "no answer".to_string(),
        },
    ] {
        let mut stage = moving();
        answer(&mut stage, 11_000, outcome);
        assert_eq!(placed(&stage, "web"), ["h1", "h2"]);
        assert_eq!(why(&stage.records), [WithdrawnBecause::NotReady]);
    }
}

/// Hosts that are lost in the middle: never fewer instances than wanted, and no word that is not so.
#[test]
fn a_move_and_a_lost_host_leave_as_many_as_are_wanted() {
    for (host, outcome, after, wanted) in [
        // Where it goes: it is not there, so it cannot have become ready.
        ("h3", failed(), vec!["h1", "h2"], Ending::Failed),
        ("h3", done(), vec!["h1", "h2"], Ending::Failed),
        // Where it was: it has moved all the same.
        ("h2", done(), vec!["h1", "h3"], Ending::Done),
        // The other one: then both are needed.
        ("h1", done(), vec!["h2", "h3"], Ending::Failed),
        ("h1", failed(), vec!["h2", "h3"], Ending::Failed),
    ] {
        let mut stage = moving();
        stage.at(10_500, &lost(host));
        settle(&mut stage, 10_501);
        answer(&mut stage, 11_000, outcome.clone());
        assert_eq!(placed(&stage, "web"), after, "{host} {outcome:?}");
        assert_eq!(ending(&stage).0, wanted, "{host} {outcome:?}");
    }
}

#[test]
fn two_instances_of_a_service_move_one_after_the_other() {
    let mut stage = stage(vec![
        book("one", vec![step("move", replace("h1", "web"))]),
        book("two", vec![step("move", replace("h2", "web"))]),
    ]);
    stage.at(10_000, &run("one"));
    stage.at(10_000, &run("two"));
    settle(&mut stage, 10_001);
    assert_eq!(out(&stage.state).len(), 1, "the other one waits");
    answer(&mut stage, 11_000, done());
    answer(&mut stage, 12_000, done());
    assert_eq!(placed(&stage, "web").len(), 2);
    assert!(!placed(&stage, "web").contains(&"h2".to_string()));
    let ended = stage.state.playbooks.ended.iter();
    assert!(ended.map(|ended| ended.ending).all(|e| e == Ending::Done));
}

#[test]
fn what_cannot_move_says_what_to_do_instead() {
    for (host, instance, told) in [
        (
            "h1",
            "engine",
            "restart it, or move the primary by a switchover",
        ),
        ("h1", "gateway-edge", "restart it instead"),
        ("h4", "web", "web does not run on h4"),
    ] {
        let steps = vec![step("move", replace(host, instance))];
        let mut stage = stage(vec![book("move", steps)]);
        stage.at(10_000, &run("move"));
        settle(&mut stage, 10_001);
        let (how, why) = ending(&stage);
        assert_eq!(how, Ending::Failed);
        assert!(why.contains(told), "{why}");
    }
}

#[test]
fn a_replica_is_filled_only_where_the_rest_can_do_without_it() {
    let rebuild = |host: &str| Action::Rebuild {
        database: "ledger".to_string(),
        host: host.to_string(),
    };
    for (host, away, told) in [
        ("h1", None, Some("move it by a switchover first")),
        ("h4", None, Some("no replica on h4")),
        ("h2", Some("h3"), Some("without h2 only 1 of 3 replicas")),
        ("h2", Some("h2"), Some("host h2 is lost")),
        ("h2", None, None),
    ] {
        let mut stage = stage(vec![book("fill", vec![step("fill", rebuild(host))])]);
        if let Some(away) = away {
            stage.at(9_000, &lost(away));
        }
        stage.at(10_000, &run("fill"));
        settle(&mut stage, 10_001);
        let all = out(&stage.state);
        match told {
            Some(told) => assert!(ending(&stage).1.contains(told), "{:?}", ending(&stage)),
            None => assert!(
                matches!(
                    all.as_slice(),
                    [(
                        _,
                        Work::Act {
                            act: Act::Rebuild { .. },
                            ..
                        }
                    )]
                ),
                "{all:?}"
            ),
        }
    }
}

fn item(incident: Option<&str>, due: Due) -> Action {
    Action::WorkItem(Box::new(WorkItem {
        title: "look why".to_string(),
        owner: "owner".to_string(),
        due,
        incident: incident.map(str::to_string),
    }))
}

fn open_incident() -> Signal {
    command(
        owner(),
        Ask::Incident(mainstay_incident::Ask::Open {
            title: "slow".to_string(),
            severity: mainstay_incident::Severity::Error,
            about: [].into(),
        }),
    )
}

#[test]
fn a_work_item_is_an_action_of_an_incident_in_the_same_entry() {
    let steps = vec![
        step("first", item(Some("i1"), Due::Days(7))),
        step(
            "second",
            item(Some("i1"), Due::Day("2026-12-24".to_string())),
        ),
    ];
    let mut stage = stage(vec![book("note", steps)]);
    // 24 November 2026, in the evening.
    let now_ms = 1_795_550_000_000;
    stage.at(now_ms, &open_incident());
    stage.at(now_ms, &run("note"));
    settle(&mut stage, now_ms + 1);
    assert_eq!(ending(&stage).0, Ending::Done);
    let added: Vec<(u32, String, Day, String)> = stage
        .records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Incident(event) => match &event.change {
                Change::ActionAdded(action) => Some((
                    action.number,
                    action.owner.clone(),
                    action.due,
                    event.reason.clone(),
                )),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let day = |text: &str| text.parse().expect("a day");
    let what = "look why (run r1)".to_string();
    assert_eq!(
        added,
        [
            (1, "owner".to_string(), Day::after(now_ms, 7), what.clone()),
            (2, "owner".to_string(), day("2026-12-24"), what),
        ]
    );
    // It is closed as any other.
    let close = mainstay_incident::Ask::Review {
        incident: mainstay_incident::IncidentId(1),
        review: mainstay_incident::Review::FinishAction {
            number: 1,
            became: None,
        },
    };
    stage.at(now_ms + 9_000, &command(owner(), Ask::Incident(close)));
    let incident = stage.state.incidents.get(mainstay_incident::IncidentId(1));
    assert!(incident.expect("it is known").actions[0].1, "it is done");
}

#[test]
fn a_work_item_without_an_incident_is_refused() {
    for (incident, told) in [(None, "this run has none"), (Some("i9"), "no incident i9")] {
        let steps = vec![step("note", item(incident, Due::Days(7)))];
        let mut stage = stage(vec![book("note", steps)]);
        stage.at(10_000, &run("note"));
        settle(&mut stage, 10_001);
        let (how, why) = ending(&stage);
        assert_eq!(how, Ending::Failed);
        assert!(why.contains(told), "{why}");
    }
}

/// Every attempt of a step bears one name, and undoing it another.
#[test]
fn a_call_bears_the_same_name_in_every_attempt() {
    let call = || {
        Action::Http(Box::new(Call {
            host: "h1".to_string(),
            url: "http://127.0.0.1/x".to_string(),
            method: Method::Post,
            body: None,
            headers_file: None,
            authority_file: None,
            expect: (200, 299),
        }))
    };
    let mut calls = book("call", vec![step("call", call()), step("look", call())]);
    calls.steps[0].retry.times = 1;
    calls.steps[0].compensate = Some(call());
    let mut stage = stage(vec![calls]);
    stage.at(10_000, &run("call"));
    settle(&mut stage, 10_001);
    let mut keys = Vec::new();
    let mut numbers = Vec::new();
    let outcomes = [failed(), done(), failed(), done()];
    for (round, outcome) in (0..).zip(outcomes) {
        let all = out(&stage.state);
        let [(_, Work::Act { stamp, .. })] = all.as_slice() else {
            panic!("{all:?}");
        };
        keys.push(stamp.key.clone());
        numbers.push(stamp.number);
        answer(&mut stage, 11_000 + round * 2_000, outcome);
    }
    let journal = "mainstay/exchange/0123456789abcdef";
    assert_eq!(
        keys,
        [
            format!("{journal}/r1/call"),
            format!("{journal}/r1/call"),
            format!("{journal}/r1/look"),
            format!("{journal}/r1/call/undo"),
        ]
    );
    assert_eq!(numbers, [1_000, 1_000, 1_002, 1_001]);
    assert_eq!(ending(&stage).0, Ending::Undone);
}

#[test]
fn what_the_file_names_is_changed_there_and_what_is_adopted_by_hand_lives_beside_it() {
    let look = || {
        let wait = Action::Wait(Box::new(Condition::NoFaults));
        book("look", vec![step("look", wait)])
    };
    let refused = |stage: &Stage, signal: &Signal| {
        let decision = decide(&stage.state, 9_000, signal);
        match decision.events.as_slice() {
            [Event::CommandRefused { why, .. }] => Some(why.code()),
            _ => None,
        }
    };
    let known = |stage: &Stage| stage.state.playbooks.books["look"].source;
    let mut stage = stage(vec![look()]);
    assert_eq!(known(&stage), Source::Person);
    // The file takes over what was adopted by hand, with the same text too.
    stage.at(4_000, &adopt(look(), Source::File));
    assert_eq!(known(&stage), Source::File);
    let again = refused(&stage, &adopt(look(), Source::File));
    assert_eq!(again.as_deref(), Some("playbook_in_force"));
    let mut other = look();
    (other.version, other.summary) = (2, "other".to_string());
    let by_hand = refused(&stage, &adopt(other.clone(), Source::Person));
    assert_eq!(by_hand.as_deref(), Some("playbook_of_file"));
    let mut same_version = other.clone();
    same_version.version = 1;
    let kept = refused(&stage, &adopt(same_version, Source::File));
    assert_eq!(kept.as_deref(), Some("playbook_version"));
    stage.at(5_000, &adopt(other.clone(), Source::File));
    assert_eq!(stage.state.playbooks.books["look"].book.version, 2);
    // Taken out of the file it is retired, and may be adopted by hand again.
    let retire = playbook::Ask::Withdraw {
        book: "look".to_string(),
    };
    stage.at(6_000, &asks(retire));
    stage.at(7_000, &adopt(other, Source::Person));
    assert_eq!(known(&stage), Source::Person);
}
