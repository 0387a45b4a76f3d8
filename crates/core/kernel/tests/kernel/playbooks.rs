//! Playbooks as the kernel carries them: transcripts, and what must hold when nodes die around each effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use mainstay_kernel::{
    AlertNews, AlertState, Ask, Effect, Event, Outcome, Refusal, Signal, State, Work, decide,
};
use mainstay_playbook::{
    self as playbook, Action, Approval, Book, Condition, Ending, Expiry, Gravity, Guardrails,
    IncidentState, Mode, Parameter, ParameterKind, Phase, Promotion, Rate, Retry, RunId, Step,
    Trigger, Verify,
};

use crate::guards;
use crate::stage::{Stage, actor, answered, command, desired, name, owner, primary};

pub fn restart(host: &str) -> Action {
    Action::Restart {
        host: host.to_string(),
        instance: "web".to_string(),
    }
}

pub fn ready(host: &str) -> Condition {
    Condition::Ready {
        host: host.to_string(),
        instance: "web".to_string(),
    }
}

pub fn step(id: &str, action: Action, verify: Option<Condition>) -> Step {
    Step {
        id: id.to_string(),
        when: None,
        action,
        timeout_ms: 10_000,
        retry: Retry::default(),
        idempotent: false,
        verify: verify.map(|condition| Verify {
            condition,
            within_ms: 5_000,
            hold_ms: 0,
        }),
        compensate: None,
    }
}

/// Restarts `web` on a host.
pub fn book(mode: Mode) -> Book {
    Book {
        name: "restart-web".to_string(),
        version: 1,
        summary: "restart it".to_string(),
        mode,
        promotion: None,
        triggers: vec![Trigger::Alert {
            labels: BTreeMap::from([("alertname".to_string(), "WebSlow".to_string())]),
        }],
        parameters: vec![Parameter {
            name: "host".to_string(),
            kind: ParameterKind::Host,
            label: Some("host".to_string()),
            default: None,
            one_of: Vec::new(),
            least: None,
            most: None,
        }],
        approval: Approval {
            is_written: false,
            by: Vec::new(),
            count: 1,
            expires_ms: 60_000,
            expiry: Expiry::Refuse,
        },
        guardrails: Guardrails::default(),
        steps: vec![step("restart", restart("${host}"), Some(ready("${host}")))],
    }
}

pub fn adopt(book: Book) -> Signal {
    asks(playbook::Ask::Adopt {
        digest: format!("{}-{}", book.name, book.version),
        text: "the text".to_string(),
        book: Arc::new(book),
        source: playbook::Source::Person,
    })
}

fn asks(ask: playbook::Ask) -> Signal {
    command(owner(), Ask::Playbook(ask))
}

pub fn run(book: &str, host: &str) -> Signal {
    asks(playbook::Ask::Run {
        book: book.to_string(),
        values: BTreeMap::from([("host".to_string(), host.to_string())]),
    })
}

pub fn approve(run: u64) -> Signal {
    asks(playbook::Ask::Approve {
        run: RunId(run).to_string(),
    })
}

pub fn alert(watch: &str, host: &str, state: AlertState) -> Signal {
    let labels = [("alertname", "WebSlow"), ("host", host)];
    Signal::AlertTold(AlertNews {
        watch: name(watch),
        alert: format!("WebSlow{{host={host}}}"),
        state,
        since_ms: 900,
        at_ms: 1_000,
        labels: labels
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        summary: "it is slow".to_string(),
        value: "1".to_string(),
        why: "a watch says so".to_string(),
    })
}

pub fn done() -> Outcome {
    Outcome::Done {
        detail: "well".to_string(),
    }
}

pub fn failed(why: &str) -> Outcome {
    Outcome::Failed {
        why: why.to_string(),
    }
}

pub fn unknown() -> Outcome {
    Outcome::Unknown {
        why: "no answer".to_string(),
    }
}

pub fn with(book: Book) -> Stage {
    let mut stage = Stage::with(desired());
    stage.at(2_000, &primary("h1", 1));
    stage.at(3_000, &adopt(book)).script();
    stage
}

/// Events of playbooks alone: incidents tell their own story elsewhere.
fn check(stage: &mut Stage, expected: Expect) {
    let script = stage.script();
    let lines = script.lines().filter(|line| {
        let told = line.contains("run r") || line.contains("playbook") || line.contains("do #");
        told || line.contains("no run of") || line.contains('>') || line.contains("refused")
    });
    expected.assert_eq(&lines.map(|line| format!("{line}\n")).collect::<String>());
}

/// Time passes until nothing is due, or an effect is out.
pub fn settle(stage: &mut Stage, now_ms: u64) -> u64 {
    for turn in 0..20 {
        let decision = decide(&stage.state, now_ms + turn, &Signal::Tick);
        let of_playbooks = |event: &Event| matches!(event, Event::Playbook(_));
        if !decision.events.iter().any(of_playbooks) {
            return now_ms + turn;
        }
        stage.at(now_ms + turn, &Signal::Tick);
    }
    panic!("it never settles");
}

/// The one effect that playbooks have out.
pub fn out(state: &State) -> Option<(u64, Work)> {
    let mut works = state
        .outstanding
        .iter()
        .filter_map(|(id, o)| match &o.effect {
            Effect::Playbook(work) => Some((id.0.0, work.clone())),
            _ => None,
        });
    let work = works.next();
    assert_eq!(works.next(), None, "one thing at a time");
    work
}

pub fn answer(stage: &mut Stage, now_ms: u64, outcome: Outcome) -> u64 {
    let (id, _) = out(&stage.state).expect("something is out");
    stage.at(now_ms, &answered(id, outcome));
    settle(stage, now_ms)
}

pub fn ending(stage: &Stage) -> Option<(Ending, String)> {
    let ended = stage.state.playbooks.ended.back()?;
    Some((ended.ending, ended.why.clone()))
}

pub fn acts(stage: &Stage) -> usize {
    let begun = |event: &&mainstay_kernel::Record| {
        matches!(event.event, Event::Playbook(playbook::Event::Begun { .. }))
    };
    stage.records.iter().filter(begun).count()
}

#[test]
fn an_alert_suggests_somebody_says_go_and_it_is_seen_to_help() {
    let mut stage = with(book(Mode::Suggest));
    stage.at(10_000, &alert("h1", "h2", AlertState::Firing));
    settle(&mut stage, 10_001);
    // The second watch sees the same.
    stage.at(11_000, &alert("h2", "h2", AlertState::Firing));
    settle(&mut stage, 11_001);
    stage.at(20_000, &approve(1));
    settle(&mut stage, 20_001);
    answer(&mut stage, 21_000, done());
    answer(&mut stage, 22_000, done());
    check(
        &mut stage,
        expect![[r#"
            10000 > the watch on h1 says that WebSlow{host=h2} is firing
                 #11 run r1 of restart-web waits for 1
            11000 > the watch on h2 says that WebSlow{host=h2} is firing
                 #14 no run of restart-web: run r1 does the same at this moment
            20000 > uid 1000 asks: playbook approve
                 #16 run r1 approved by owner
            20001 > time passes
                 #17 run r1 starts and reserves instance h2/web
            20002 > time passes
                 #18 run r1, attempt 1: restart h2/web
                 do #18 Playbook(Act by h2
            21000 > #18 is done
            21000 > time passes
                 #21 run r1: the leader looks (verify)
                 do #21 Playbook(Look(Look by Leader
            22000 > #21 is done
            22000 > time passes
                 #23 run r1 is done: every step is done
        "#]],
    );
}

#[test]
fn nobody_says_go_and_it_expires() {
    let mut stage = with(book(Mode::Approve));
    stage.at(10_000, &alert("h1", "h2", AlertState::Firing));
    assert_eq!(settle(&mut stage, 69_999), 69_999);
    settle(&mut stage, 70_000);
    assert_eq!(ending(&stage).unwrap().0, Ending::Expired);
    assert_eq!(acts(&stage), 0);
}

#[test]
fn what_is_missing_or_fires_again_sets_nothing_off() {
    let mut stage = with(book(Mode::Auto));
    stage.at(10_000, &alert("h1", "h2", AlertState::Missing));
    stage.at(11_000, &alert("h1", "h2", AlertState::Firing));
    assert_eq!(stage.state.playbooks.runs_ever, 0);
    // A host that the platform does not have is no value.
    stage.at(12_000, &alert("h1", "h9", AlertState::Firing));
    assert_eq!(stage.state.playbooks.runs_ever, 0);
}

#[test]
fn an_outcome_that_nobody_knows_is_looked_for_and_never_repeated_blindly() {
    for (seen, wanted) in [(done(), Some(Ending::Done)), (failed("not ready"), None)] {
        let mut stage = with(book(Mode::Auto));
        stage.at(10_000, &run("restart-web", "h2"));
        settle(&mut stage, 10_001);
        answer(&mut stage, 11_000, unknown());
        let (_, work) = out(&stage.state).unwrap();
        assert!(matches!(work, Work::Look(_)), "{work:?}");
        answer(&mut stage, 12_000, seen);
        assert_eq!(acts(&stage), 1, "begun once");
        assert_eq!(ending(&stage).map(|(ending, _)| ending), wanted);
        if wanted.is_none() {
            let run = &stage.state.playbooks.runs[&RunId(1)];
            assert!(matches!(run.phase, Phase::Asking { .. }), "{:?}", run.phase);
            stage.at(13_000, &approve(1));
            settle(&mut stage, 13_001);
            assert_eq!(ending(&stage).unwrap().0, Ending::Done);
            assert_eq!(acts(&stage), 1);
        }
    }
}

/// Where nothing can show whether it was done, somebody is asked; only what may be done twice is done again.
#[test]
fn what_nothing_can_show_is_asked_and_not_done_again() {
    for (idempotent, wanted) in [(false, 1), (true, 2)] {
        let mut blind = book(Mode::Auto);
        blind.steps = vec![step("restart", restart("${host}"), None)];
        blind.steps[0].idempotent = idempotent;
        blind.steps[0].retry.times = 1;
        let mut stage = with(blind);
        stage.at(10_000, &run("restart-web", "h2"));
        settle(&mut stage, 10_001);
        answer(&mut stage, 11_000, unknown());
        assert_eq!(acts(&stage), wanted, "idempotent: {idempotent}");
        let run = &stage.state.playbooks.runs[&RunId(1)];
        let asks = matches!(run.phase, Phase::Asking { .. });
        assert_eq!(asks, !idempotent, "{:?}", run.phase);
    }
}

#[test]
fn what_may_be_repeated_is_when_it_is_not_seen() {
    let mut again = book(Mode::Auto);
    again.steps[0].idempotent = true;
    again.steps[0].retry.times = 1;
    let mut stage = with(again);
    stage.at(10_000, &run("restart-web", "h2"));
    settle(&mut stage, 10_001);
    answer(&mut stage, 11_000, unknown());
    answer(&mut stage, 12_000, failed("not ready"));
    assert_eq!(acts(&stage), 2);
    answer(&mut stage, 13_000, unknown());
    answer(&mut stage, 14_000, failed("not ready"));
    assert_eq!(acts(&stage), 2, "as often as it says");
}

#[test]
fn a_failed_verify_undoes_what_was_done_in_reverse() {
    let mut two = book(Mode::Auto);
    two.steps = vec![
        step(
            "out",
            Action::Drain(playbook::Place::Host("h2".into())),
            None,
        ),
        step("restart", restart("h2"), Some(ready("h2"))),
    ];
    two.steps[0].compensate = Some(Action::Return(playbook::Place::Host("h2".into())));
    let mut stage = with(two);
    stage.at(10_000, &run("restart-web", "h2"));
    settle(&mut stage, 10_001);
    assert!(stage.state.playbooks.drained.contains("h2"));
    answer(&mut stage, 11_000, done());
    answer(&mut stage, 12_000, failed("not ready"));
    assert_eq!(ending(&stage).unwrap().0, Ending::Undone);
    assert!(stage.state.playbooks.drained.is_empty());
}

#[test]
fn undoing_that_fails_calls_for_somebody() {
    let mut two = book(Mode::Auto);
    two.steps = vec![
        step("first", restart("h1"), None),
        step("second", restart("h2"), None),
    ];
    two.steps[0].compensate = Some(restart("h1"));
    let mut stage = with(two);
    stage.at(10_000, &run("restart-web", "h2"));
    settle(&mut stage, 10_001);
    answer(&mut stage, 11_000, done());
    answer(&mut stage, 12_000, failed("no"));
    answer(&mut stage, 13_000, unknown());
    assert_eq!(ending(&stage).unwrap().0, Ending::UndoFailed);
}

#[test]
fn two_runs_never_touch_the_same_thing_nor_exceed_a_limit_together() {
    let mut limited = book(Mode::Auto);
    limited.guardrails.share_most = Some(25);
    let mut stage = with(limited);
    let mut other = book(Mode::Auto);
    other.name = "other".to_string();
    other.guardrails.share_most = Some(25);
    stage.at(4_000, &adopt(other));
    // Both are asked before either starts; `web` runs on h1 and h2.
    stage.at(10_000, &run("restart-web", "h1"));
    stage.at(10_000, &run("other", "h2"));
    settle(&mut stage, 10_001);
    let (how, why) = ending(&stage).unwrap();
    assert_eq!(how, Ending::Declined);
    assert!(why.contains("2 of 4 hosts"), "{why}");
    assert_eq!(acts(&stage), 1);
    stage.at(11_000, &run("other", "h1"));
    settle(&mut stage, 11_001);
    let (_, why) = ending(&stage).unwrap();
    assert!(why.contains("run r1 is at instance h1/web"), "{why}");
}

#[test]
fn rate_and_cool_down_hold_across_playbooks() {
    let mut limited = book(Mode::Auto);
    limited.guardrails.rate = Some(Rate {
        runs: 2,
        per_ms: 600_000,
    });
    limited.guardrails.cool_down_ms = 60_000;
    let mut stage = with(limited);
    let mut now_ms = 10_000;
    for (host, wait_ms, wanted) in [
        ("h1", 0, Ending::Done),
        ("h1", 1_000, Ending::Declined),
        ("h2", 1_000, Ending::Done),
        ("h1", 120_000, Ending::Declined),
    ] {
        now_ms += wait_ms;
        stage.at(now_ms, &run("restart-web", host));
        now_ms = settle(&mut stage, now_ms + 1);
        if out(&stage.state).is_some() {
            now_ms = answer(&mut stage, now_ms + 1, done());
            now_ms = answer(&mut stage, now_ms + 1, done());
        }
        assert_eq!(
            ending(&stage).unwrap().0,
            wanted,
            "{host} {:?}",
            ending(&stage)
        );
    }
    let why = ending(&stage).unwrap().1;
    assert!(why.starts_with("rate: 2 runs"), "{why}");
}

#[test]
fn with_too_much_in_trouble_it_stops_and_asks() {
    let mut careful = book(Mode::Auto);
    careful.guardrails.unhealthy_most = Some(25);
    let mut stage = with(careful);
    for host in ["h1", "h2"] {
        guards::troubled(&mut stage, 5_000, host, "page");
    }
    stage.at(10_000, &alert("h1", "h2", AlertState::Firing));
    settle(&mut stage, 10_001);
    assert_eq!(acts(&stage), 0);
    let run = &stage.state.playbooks.runs[&RunId(1)];
    assert!(matches!(&run.phase, Phase::Asking { why } if why.contains("2 of 4")));
    stage.at(11_000, &approve(1));
    settle(&mut stage, 11_001);
    assert_eq!(acts(&stage), 1);
}

#[test]
fn an_abort_waits_for_the_hand_and_begins_nothing_more() {
    for undo in [false, true] {
        let mut two = book(Mode::Auto);
        two.steps = vec![
            step("first", restart("h1"), None),
            step("second", restart("h2"), None),
        ];
        two.steps[0].compensate = Some(restart("h1"));
        let mut stage = with(two);
        stage.at(10_000, &run("restart-web", "h2"));
        settle(&mut stage, 10_001);
        let run = RunId(1).to_string();
        stage.at(10_500, &asks(playbook::Ask::Abort { run, undo }));
        settle(&mut stage, 10_501);
        assert!(
            out(&stage.state).is_some(),
            "what is under way is waited for"
        );
        assert!(ending(&stage).is_none());
        answer(&mut stage, 11_000, done());
        if undo {
            answer(&mut stage, 12_000, done());
        }
        assert_eq!(ending(&stage).unwrap().0, Ending::Aborted);
        assert_eq!(acts(&stage), if undo { 2 } else { 1 });
    }
}

#[test]
fn a_good_record_earns_a_bolder_mode_and_one_failure_takes_it_back() {
    let mut earns = book(Mode::Suggest);
    earns.promotion = Some(Promotion {
        after: 2,
        to: Mode::Auto,
    });
    let mut stage = with(earns);
    let mut now_ms = 10_000;
    let mut play = |stage: &mut Stage, well: bool| {
        stage.at(now_ms, &run("restart-web", "h2"));
        now_ms = settle(stage, now_ms + 1);
        now_ms = answer(stage, now_ms + 1, done());
        let seen = if well { done() } else { failed("not ready") };
        now_ms = answer(stage, now_ms + 1, seen) + 1;
        let books = &stage.state.playbooks;
        books.mode_of(&books.books["restart-web"].book)
    };
    assert_eq!(play(&mut stage, true), Mode::Suggest);
    assert_eq!(play(&mut stage, true), Mode::Auto);
    assert_eq!(play(&mut stage, false), Mode::Suggest);
}

#[test]
fn hands_off_means_playbooks_too() {
    let mut stage = with(book(Mode::Auto));
    stage.at(9_000, &command(owner(), Ask::Pause));
    stage.at(10_000, &run("restart-web", "h2"));
    settle(&mut stage, 10_001);
    assert_eq!(acts(&stage), 0);
    assert_eq!(
        mainstay_playbook::step::next_due_ms(&stage.state.playbooks, true, playbook::View::default),
        None
    );
    stage.at(11_000, &command(owner(), Ask::Resume));
    settle(&mut stage, 11_001);
    assert_eq!(acts(&stage), 1);
}

#[test]
fn refusals_have_reasons() {
    let mut stage = with(book(Mode::Approve));
    let mut changed = book(Mode::Auto);
    changed.summary = "other".to_string();
    let changed = playbook::Ask::Adopt {
        digest: "another".to_string(),
        text: "another text".to_string(),
        book: Arc::new(changed),
        source: playbook::Source::Person,
    };
    let stranger = command(
        actor(7, "eve"),
        Ask::Playbook(playbook::Ask::Run {
            book: "restart-web".to_string(),
            values: BTreeMap::new(),
        }),
    );
    for (signal, code) in [
        (run("nothing", "h1"), "no_such_playbook"),
        (run("restart-web", "h9"), "parameter_value"),
        (asks(changed), "playbook_version"),
        (adopt(book(Mode::Approve)), "playbook_in_force"),
        (approve(9), "no_such_run"),
        (stranger, "not_permitted"),
    ] {
        let decision = decide(&stage.state, 10_000, &signal);
        let [Event::CommandRefused { why, .. }] = decision.events.as_slice() else {
            panic!("{:?}", decision.events);
        };
        assert_eq!(why.code(), code);
        let read = Refusal::Other {
            code: why.code(),
            text: why.to_string(),
        };
        assert_eq!(read.next_step(), why.next_step(), "{code}");
    }
    let mut both = book(Mode::Approve);
    both.version = 2;
    both.approval.count = 2;
    stage.at(11_000, &adopt(both));
    stage.at(12_000, &run("restart-web", "h2"));
    let decision = decide(&stage.state, 13_000, &approve(1));
    let refused = decision.events.first();
    assert!(
        matches!(refused, Some(Event::CommandRefused { why, .. }) if why.code() == "approved_already"),
        "one person is one person: {refused:?}"
    );
}

/// An incident sets off what waits for it once, when it comes to meet the trigger, beside what its alert sets off.
#[test]
fn an_incident_opens_a_run_as_it_comes_to_meet_the_trigger() {
    let mut stage = with(book(Mode::Suggest));
    let mut of_incident = book(Mode::Suggest);
    of_incident.name = "grave".to_string();
    of_incident.triggers = vec![Trigger::Incident {
        state: IncidentState::Open,
        severity: Gravity::Critical,
        things: ["service/web".to_string()].into(),
    }];
    stage.at(4_000, &adopt(of_incident)).script();
    let mut news = alert("h1", "h2", AlertState::Firing);
    if let Signal::AlertTold(news) = &mut news {
        let labels = [("severity", "page"), ("service", "web")];
        let labels = labels.map(|(name, value)| (name.to_string(), value.to_string()));
        news.labels.extend(labels);
    }
    let rate = |severity| {
        command(
            owner(),
            Ask::Incident(mainstay_incident::Ask::Rate {
                incident: mainstay_incident::IncidentId(1),
                severity,
            }),
        )
    };
    stage
        .at(10_000, &news)
        .at(11_000, &rate(mainstay_incident::Severity::Critical))
        .at(12_000, &rate(mainstay_incident::Severity::Error));
    let opened: Vec<(String, playbook::Origin, String)> = stage
        .records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Playbook(playbook::Event::Opened {
                run,
                book,
                origin,
                values,
                ..
            }) => Some((
                format!("{run} {book}"),
                origin.clone(),
                values["host"].clone(),
            )),
            _ => None,
        })
        .collect();
    let (first, second) = (&opened[0], &opened[1]);
    assert_eq!(opened.len(), 2, "{opened:?}");
    assert_eq!(
        (first.0.as_str(), second.0.as_str()),
        ("r1 restart-web", "r2 grave")
    );
    let of = playbook::Origin::Incident {
        incident: "i1".to_string(),
        state: IncidentState::Open,
    };
    assert_eq!((&second.1, second.2.as_str()), (&of, "h2"));
    // It rested, and comes back: it is met anew, and the run that still waits does the same.
    stage.at(13_000, &rate(mainstay_incident::Severity::Critical));
    let declined = stage.records.iter().any(|record| {
        matches!(&record.event, Event::Playbook(playbook::Event::Declined { book, .. }) if book == "grave")
    });
    assert!(declined);
}

/// Whoever takes over reads the journal and goes on: at every entry of a run the state is rebuilt from the records
/// alone, and what is out is the same one thing.
#[test]
fn a_successor_reads_the_same_at_every_moment() {
    let mut stage = with(book(Mode::Auto));
    stage.at(10_000, &run("restart-web", "h2"));
    settle(&mut stage, 10_001);
    answer(&mut stage, 11_000, unknown());
    answer(&mut stage, 12_000, done());
    assert_eq!(ending(&stage).unwrap().0, Ending::Done);
    let mut state = State::default();
    let mut out_max = 0;
    for record in &stage.records {
        state.apply(record);
        out_max = out_max.max(state.outstanding.len());
        out(&state);
    }
    assert_eq!(state, stage.state);
    assert_eq!(out_max, 1);
}

/// 2026-11-30T00:00:00Z, a Monday.
const MONDAY: u64 = 1_795_996_800_000;
const HOUR: u64 = 3_600_000;

/// A book that restarts `web` on h2 at a quarter past three from Monday to Friday.
fn nightly(mode: Mode) -> Book {
    let mut book = book(mode);
    book.triggers = vec![Trigger::Schedule {
        cron: "15 3 * * 1-5".to_string(),
    }];
    book.parameters[0].label = None;
    book.parameters[0].default = Some("h2".to_string());
    book
}

fn opened(stage: &Stage) -> u64 {
    stage.state.playbooks.runs_ever
}

fn due_ms(state: &State) -> Option<u64> {
    let known = &state.playbooks.books["restart-web"];
    playbook::due_ms(&state.playbooks, known, &mainstay_kernel::calendar)
}

#[test]
fn a_time_of_the_calendar_opens_one_run_whoever_leads() {
    let mut stage = with(book(Mode::Observe));
    stage.at(
        MONDAY,
        &adopt(Book {
            version: 2,
            ..nightly(Mode::Observe)
        }),
    );
    let quarter_past = MONDAY + 3 * HOUR + HOUR / 4;
    assert_eq!(due_ms(&stage.state), Some(quarter_past));
    stage.at(quarter_past - 1, &Signal::Tick);
    assert_eq!(opened(&stage), 0, "not before its time");
    settle(&mut stage, quarter_past);
    assert_eq!(opened(&stage), 1);
    // A successor reads the journal, and its clock is behind: the time is kept all the same.
    let mut successor = State::default();
    stage
        .records
        .iter()
        .for_each(|record| successor.apply(record));
    for now_ms in [quarter_past - 5_000, quarter_past, quarter_past + 60_000] {
        let decision = decide(&successor, now_ms, &Signal::Tick);
        assert!(decision.events.is_empty(), "{:?}", decision.events);
    }
    // Friday, and then Monday again.
    let friday = quarter_past + 4 * 24 * HOUR;
    for day in 1..=4 {
        settle(&mut stage, quarter_past + day * 24 * HOUR);
    }
    assert_eq!(opened(&stage), 5);
    settle(&mut stage, friday + 47 * HOUR);
    assert_eq!(opened(&stage), 5, "not at a weekend");
    assert_eq!(due_ms(&stage.state), Some(friday + 72 * HOUR));
}

#[test]
fn times_that_passed_unkept_are_kept_once() {
    let mut stage = with(book(Mode::Observe));
    stage.at(
        MONDAY,
        &adopt(Book {
            version: 2,
            ..nightly(Mode::Observe)
        }),
    );
    stage.at(MONDAY + HOUR, &command(owner(), Ask::Pause));
    // A run by hand meanwhile is another matter.
    stage.at(MONDAY + 4 * HOUR, &run("restart-web", "h3"));
    let by_hand = opened(&stage);
    let thursday = MONDAY + 3 * 24 * HOUR + 12 * HOUR;
    stage.at(thursday, &Signal::Tick);
    assert_eq!(opened(&stage), by_hand, "hands off");
    let abort = playbook::Ask::Abort {
        run: RunId(by_hand).to_string(),
        undo: false,
    };
    stage.at(thursday + 1_000, &asks(abort));
    stage.at(thursday + 2_000, &command(owner(), Ask::Resume));
    settle(&mut stage, thursday + 3_000);
    assert_eq!(opened(&stage), by_hand + 1, "three times passed, one run");
    assert_eq!(
        due_ms(&stage.state),
        Some(MONDAY + 4 * 24 * HOUR + 3 * HOUR + HOUR / 4)
    );
}

#[test]
fn a_time_at_which_no_run_can_be_opened_is_over() {
    let mut stage = with(book(Mode::Observe));
    let mut wrong = nightly(Mode::Observe);
    wrong.version = 2;
    wrong.parameters[0].default = None;
    stage.at(MONDAY, &adopt(wrong));
    settle(&mut stage, MONDAY + 4 * HOUR);
    let declined =
        |event: &Event| matches!(event, Event::Playbook(playbook::Event::Declined { .. }));
    let times = stage
        .records
        .iter()
        .filter(|record| declined(&record.event));
    assert_eq!((times.count(), opened(&stage)), (1, 0));
}
