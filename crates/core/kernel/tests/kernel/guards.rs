//! What limits runs: how often, at what, and with how much in trouble.

use mainstay_kernel::{AlertState, Ask, DesiredOperator, Event, Signal, decide};
use mainstay_model::people::{Permission, UnixIdentity};
use mainstay_playbook::{self as playbook, Action, Ending, Mode, Phase, Rate, RunId, Trigger};

use crate::playbooks::{
    acts, adopt, alert, answer, approve, book, done, ending, restart, run, settle, step, with,
};
use crate::stage::{Stage, actor, command, name};

/// Ten alerts at one moment: what started before counts for what is decided beside it.
#[test]
fn a_rate_holds_for_runs_that_start_together() {
    let mut limited = book(Mode::Auto);
    limited.guardrails.rate = Some(Rate {
        runs: 2,
        per_ms: 600_000,
    });
    // Things that no two of them share, or they would be kept apart anyway.
    limited.steps = vec![step(
        "out",
        Action::Drain(playbook::Place::Host("${host}".into())),
        None,
    )];
    let mut stage = with(limited);
    for host in ["h1", "h2", "h3", "h4"] {
        stage.at(10_000, &run("restart-web", host));
    }
    settle(&mut stage, 10_001);
    let started = |record: &&mainstay_kernel::Record| {
        matches!(
            record.event,
            Event::Playbook(playbook::Event::Started { .. })
        )
    };
    assert_eq!(stage.records.iter().filter(started).count(), 2);
    let (how, why) = ending(&stage).unwrap();
    assert!(
        how == Ending::Done || why.starts_with("rate: 2 runs"),
        "{why}"
    );
}

/// So many runs that never started are more than are remembered.
#[test]
fn what_never_started_pushes_no_cool_down_and_no_rate_out() {
    for cool_down_ms in [0, 7_200_000] {
        let mut limited = book(Mode::Auto);
        limited.guardrails.cool_down_ms = cool_down_ms;
        limited.guardrails.rate = (cool_down_ms == 0).then_some(Rate {
            runs: 1,
            per_ms: 86_400_000,
        });
        let mut stage = with(limited);
        let mut watched = book(Mode::Observe);
        watched.name = "watched".to_string();
        watched.triggers = vec![Trigger::Every { every_ms: 1_000 }];
        watched.parameters[0].default = Some("h1".to_string());
        watched.parameters[0].label = None;
        stage.at(4_000, &adopt(watched));
        stage.at(10_000, &run("restart-web", "h2"));
        let mut now_ms = settle(&mut stage, 10_001);
        now_ms = answer(&mut stage, now_ms + 1, done());
        answer(&mut stage, now_ms + 1, done());
        for turn in 0..playbook::ENDED_MAX as u64 + 1 {
            stage.at(20_000 + turn * 1_000, &Signal::Tick);
        }
        let remembered = &stage.state.playbooks.ended;
        assert!(
            remembered
                .iter()
                .all(|ended| ended.ending == Ending::Observed)
        );
        stage.at(1_000_000, &run("restart-web", "h2"));
        settle(&mut stage, 1_000_001);
        let rail = if cool_down_ms > 0 { "coolDown" } else { "rate" };
        let mut ended = stage.state.playbooks.ended.iter().rev();
        let ended = ended.find(|ended| ended.run.book.name == "restart-web");
        let ended = ended.unwrap();
        assert_eq!(ended.ending, Ending::Declined, "{}", ended.why);
        assert!(ended.why.starts_with(rail), "{}", ended.why);
        assert_eq!(acts(&stage), 1);
    }
}

/// A step that needs nothing when the run starts is at its thing all the same: by its turn it may need something.
#[test]
fn what_needs_nothing_yet_is_reserved_too() {
    let place = || playbook::Place::Host("h2".into());
    let mut first = book(Mode::Auto);
    first.name = "first".to_string();
    first.steps = vec![
        step("restart", restart("h1"), None),
        step("back", Action::Return(place()), None),
    ];
    let mut other = book(Mode::Auto);
    other.name = "other".to_string();
    other.steps = vec![step("out", Action::Drain(place()), None)];
    let mut stage = with(first);
    stage.at(4_000, &adopt(other));
    // The host is in routing: nothing is to be done yet.
    stage.at(10_000, &run("first", "h1"));
    settle(&mut stage, 10_001);
    stage.at(11_000, &run("other", "h2"));
    settle(&mut stage, 11_001);
    let (how, why) = ending(&stage).unwrap();
    assert_eq!(how, Ending::Declined);
    assert!(why.contains("run r1 is at host h2"), "{why}");
}

/// The platform has changed under the run: nobody has asked whether it may be there.
#[test]
fn what_was_not_reserved_is_not_touched() {
    let mut two = book(Mode::Auto);
    two.steps = vec![
        step("restart", restart("h1"), None),
        step(
            "out",
            Action::Drain(playbook::Place::Region("r1".into())),
            None,
        ),
    ];
    let mut stage = with(two);
    stage.at(10_000, &run("restart-web", "h1"));
    settle(&mut stage, 10_001);
    let run = stage.state.playbooks.runs.get_mut(&RunId(1)).unwrap();
    let hosts = run.reserved.len();
    run.reserved
        .retain(|target| !matches!(target, playbook::guard::Target::Host(_)));
    assert!(run.reserved.len() < hosts);
    answer(&mut stage, 11_000, done());
    let (how, why) = ending(&stage).unwrap();
    assert_eq!(how, Ending::Failed);
    assert!(why.contains("has not reserved"), "{why}");
    assert!(stage.state.playbooks.drained.is_empty());
}

pub fn troubled(stage: &mut Stage, now_ms: u64, host: &str, severity: &str) {
    let mut news = alert("h1", host, AlertState::Firing);
    if let Signal::AlertTold(news) = &mut news {
        news.alert.insert(0, 'X');
        news.labels.insert("alertname".to_string(), "X".to_string());
        news.labels
            .insert("severity".to_string(), severity.to_string());
    }
    stage.at(now_ms, &news);
}

/// Between two steps half of the platform comes to be in trouble; as many must say go as approve it.
#[test]
fn trouble_that_comes_between_two_steps_is_asked_about() {
    let mut careful = book(Mode::Auto);
    careful.guardrails.unhealthy_most = Some(25);
    careful.approval.count = 2;
    careful.steps = vec![
        step("first", restart("h1"), None),
        step("second", restart("h2"), None),
    ];
    let mut stage = with(careful);
    stage.at(10_000, &alert("h1", "h2", AlertState::Firing));
    settle(&mut stage, 10_001);
    assert_eq!(acts(&stage), 1);
    for host in ["h3", "h4"] {
        troubled(&mut stage, 10_500, host, "critical");
    }
    answer(&mut stage, 11_000, done());
    let asks = |stage: &Stage| {
        let run = &stage.state.playbooks.runs[&RunId(1)];
        matches!(&run.phase, Phase::Asking { why } if why.contains("2 of 4") && why.ends_with("; 2 people must say go"))
    };
    assert!(asks(&stage) && acts(&stage) == 1);
    stage.at(12_000, &approve(1));
    settle(&mut stage, 12_001);
    assert!(asks(&stage), "one of two");
    let twice = decide(&stage.state, 12_500, &approve(1));
    assert!(
        matches!(twice.events.first(), Some(Event::CommandRefused { why, .. }) if why.code() == "approved_already"),
        "{twice:?}"
    );
    let desired = stage.state.desired.as_mut().unwrap();
    let second = DesiredOperator {
        identity: UnixIdentity::Uid(8),
        permissions: [Permission::PlaybookApprove].into(),
    };
    desired.operators.insert(name("second"), second);
    let go = Ask::Playbook(playbook::Ask::Approve {
        run: RunId(1).to_string(),
    });
    stage.at(13_000, &command(actor(8, "bob"), go));
    settle(&mut stage, 13_001);
    assert_eq!(acts(&stage), 2, "the step is done, not taken for done");
    answer(&mut stage, 14_000, done());
    assert_eq!(ending(&stage).unwrap().0, Ending::Done);
}

/// How many must say go where somebody who may not approve runs it himself.
#[test]
fn a_run_by_hand_waits_as_the_book_says() {
    for (mode, is_written, count, wanted) in [
        (Mode::Auto, false, 1, None),
        (Mode::Auto, true, 2, Some(2)),
        (Mode::Observe, false, 1, Some(1)),
        (Mode::Observe, true, 2, Some(2)),
        (Mode::Suggest, true, 2, Some(1)),
        (Mode::Approve, true, 2, Some(2)),
    ] {
        let mut wanting = book(mode);
        wanting.approval.is_written = is_written;
        wanting.approval.count = count;
        wanting.approval.by = vec!["nobody-here".to_string()];
        let mut stage = with(wanting);
        stage.at(10_000, &run("restart-web", "h2"));
        let found = match &stage.state.playbooks.runs[&RunId(1)].phase {
            Phase::Waits { needs, .. } => Some(*needs),
            _ => None,
        };
        assert_eq!(found, wanted, "{mode:?}, written: {is_written}");
    }
}
