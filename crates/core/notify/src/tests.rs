//! Stories of one ladder: two rungs, three channels, two people.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use crate::case::{Case, Severity, Stage};
use crate::notices::{
    Addressee, Event, HOLD_MS, Kind, NEWS_TRIES_MAX, Notice, Notices, Outcome, TRIES_MAX,
};
use crate::policy::{Level, Policy, Settings, Target};
use crate::rotation::{Rotation, Turn};
use crate::silence::{Matcher, Silence};

const MINUTE: u64 = 60_000;

fn settings() -> Settings {
    let rotation = Rotation {
        members: ["ada".to_string(), "grace".to_string()].into(),
        turn: Turn::Daily,
        handover_minutes: 0,
        offset_minutes: 0,
        starts_ms: 0,
        overrides: Vec::new(),
    };
    let channels = ["pager-ada", "pager-grace", "desk"].map(ToString::to_string);
    let contact = |who: &str| (who.to_string(), [alloc::format!("pager-{who}")].into());
    Settings {
        rotations: [("first".to_string(), rotation)].into(),
        contacts: [contact("ada"), contact("grace")].into(),
        policies: [Policy {
            name: "all".to_string(),
            severity: Severity::Error,
            about: ["database/ledger".to_string()].into(),
            levels: [
                Level {
                    tell: [Target::Rotation("first".to_string())].into(),
                    within_ms: 5 * MINUTE,
                },
                Level {
                    tell: [
                        Target::Operator("grace".to_string()),
                        Target::Channel("desk".to_string()),
                    ]
                    .into(),
                    within_ms: 10 * MINUTE,
                },
            ]
            .into(),
            rounds: 2,
        }]
        .into(),
        channels: channels.into(),
        wait_ms: 10_000,
        remind_ms: 60 * MINUTE,
    }
}

fn case() -> Case {
    Case {
        incident: "i1".to_string(),
        title: "the ledger has no primary".to_string(),
        severity: Severity::Error,
        stage: Stage::Open,
        open_ms: 1_000_000,
        by: None,
        acknowledged_ms: None,
        things: ["database/ledger@h1".to_string()].into(),
        alerts: Vec::new(),
        inside: None,
    }
}

/// The journal is a list; whoever sends says at once that it was said, unless told otherwise.
struct Desk {
    book: Notices,
    case: Case,
    now_ms: u64,
    answers: bool,
    /// Ways that are down: nobody knows what becomes of what is said there.
    down: BTreeSet<&'static str>,
    said: Vec<(u64, String)>,
    ordered: Vec<Notice>,
}

impl Desk {
    fn new() -> Self {
        Self {
            book: Notices::default(),
            case: case(),
            now_ms: 1_000_000,
            answers: true,
            down: BTreeSet::new(),
            said: Vec::new(),
            ordered: Vec::new(),
        }
    }

    fn settle(&mut self) {
        let (settings, cases) = (settings(), [self.case.clone()]);
        for _ in 0..100 {
            let Some(event) = self.book.next(self.now_ms, &settings, &cases) else {
                return;
            };
            self.book.apply(self.now_ms, &event);
            let text = match &event {
                Event::Ordered(notice) => {
                    self.ordered.push(notice.clone());
                    let is_down = self.down.contains(notice.to.channel.as_str());
                    if self.answers {
                        let outcome = match is_down {
                            true => Outcome::Unknown,
                            false => Outcome::Said,
                        };
                        self.book.ended(self.now_ms, notice.number, outcome);
                    }
                    alloc::format!("{} {}", notice.kind.as_str(), notice.to.channel)
                }
                Event::Escalated { level, round, .. } => alloc::format!("rung {level}.{round}"),
                Event::Exhausted { .. } => "exhausted".to_string(),
                Event::SilenceSet { .. } | Event::SilenceEnded { .. } => "silence".to_string(),
            };
            self.said.push((self.now_ms - 1_000_000, text));
        }
        panic!("it never ends: {:?}", self.said);
    }

    fn until(&mut self, ms: u64) {
        let end = 1_000_000 + ms;
        for _ in 0..1_000 {
            let due = self
                .book
                .next_due_ms(&settings(), core::slice::from_ref(&self.case));
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            self.now_ms = self.now_ms.max(due);
            let before = self.said.len();
            self.settle();
            assert!(self.said.len() > before, "it was due and nothing came");
        }
        self.now_ms = end;
        self.settle();
    }

    fn stage(&mut self, stage: Stage) {
        self.case.stage = stage;
        if stage == Stage::Acknowledged {
            self.case.by = Some("ada".to_string());
            self.case.acknowledged_ms = Some(self.now_ms);
        }
        if matches!(stage, Stage::Mitigated | Stage::Over) {
            self.book.quiet("i1");
        }
        self.settle();
    }

    /// Somebody is told of something else, and hears it.
    fn works(&mut self, channel: &str) {
        let mut notice = self.ordered[0].clone();
        notice.number = 1_000;
        notice.incident = "i9".to_string();
        notice.to = Addressee {
            channel: channel.to_string(),
            who: None,
        };
        self.book.apply(self.now_ms, &Event::Ordered(notice));
        self.book.ended(self.now_ms, 1_000, Outcome::Said);
    }

    /// What was said first of some kind over a way that was not down.
    fn heard(&self, kind: Kind) -> Option<&Notice> {
        let mut ordered = self.ordered.iter();
        ordered.find(|n| n.kind == kind && !self.down.contains(n.to.channel.as_str()))
    }

    fn take(&mut self) -> Vec<String> {
        let said = core::mem::take(&mut self.said);
        said.into_iter()
            .map(|(at, text)| alloc::format!("{} {text}", at / 1_000))
            .collect()
    }
}

const CLIMB: [&str; 5] = [
    "10 rung 1.1",
    "10 trigger pager-ada",
    "310 rung 2.1",
    "310 trigger pager-grace",
    "310 trigger desk",
];

#[test]
fn an_incident_climbs_until_it_is_acknowledged_and_whoever_was_told_is_told_the_rest() {
    let mut desk = Desk::new();
    desk.until(9_999);
    assert!(desk.take().is_empty(), "what belongs to it may still join");
    desk.until(6 * MINUTE);
    assert_eq!(desk.take(), CLIMB);
    desk.stage(Stage::Acknowledged);
    let told = ["desk", "pager-ada", "pager-grace"];
    assert_eq!(
        desk.take(),
        told.map(|to| alloc::format!("360 acknowledge {to}"))
    );
    desk.until(65 * MINUTE);
    assert!(desk.take().is_empty());
    desk.case.severity = Severity::Critical;
    desk.until(65 * MINUTE);
    assert_eq!(
        desk.take(),
        told.map(|to| alloc::format!("3900 update {to}"))
    );
    desk.stage(Stage::Mitigated);
    assert_eq!(
        desk.take(),
        told.map(|to| alloc::format!("3900 resolve {to}"))
    );
    desk.stage(Stage::Over);
    desk.until(1_000 * MINUTE);
    assert!(desk.take().is_empty(), "nobody is told twice");
}

#[test]
fn a_ladder_is_climbed_as_often_as_it_says() {
    let mut desk = Desk::new();
    desk.until(1_000 * MINUTE);
    let said = desk.take();
    assert_eq!(said[..5], CLIMB);
    assert_eq!(said[5..7], ["910 rung 1.2", "910 trigger pager-ada"]);
    assert_eq!(said.last().unwrap(), "1810 exhausted");
    // One that comes back climbs anew.
    desk.stage(Stage::Mitigated);
    desk.take();
    desk.case.open_ms = desk.now_ms;
    desk.stage(Stage::Open);
    desk.until(1_001 * MINUTE);
    assert_eq!(desk.take(), ["60010 rung 1.1", "60010 trigger pager-ada"]);
}

#[test]
fn whoever_has_it_is_reminded_while_it_is_not_mitigated() {
    let mut desk = Desk::new();
    desk.until(MINUTE);
    desk.stage(Stage::Acknowledged);
    desk.take();
    desk.until(130 * MINUTE);
    assert_eq!(
        desk.take(),
        ["3660 remind pager-ada", "7260 remind pager-ada"]
    );
}

#[test]
fn what_nobody_knows_is_said_again_under_its_number_and_what_is_known_is_not() {
    let mut desk = Desk::new();
    desk.answers = false;
    desk.until(MINUTE);
    let first = desk.ordered[0].clone();
    assert_eq!((desk.ordered.len(), first.number, first.attempt), (1, 1, 1));
    desk.book.ended(desk.now_ms, 1, Outcome::Unknown);
    desk.until(2 * MINUTE);
    let again = desk.ordered.last().unwrap().clone();
    assert_eq!((again.number, again.attempt), (1, 2));
    desk.book.ended(desk.now_ms, 1, Outcome::Said);
    desk.book.ended(desk.now_ms, 1, Outcome::Unknown);
    desk.until(4 * MINUTE);
    assert_eq!(desk.ordered.len(), 2);
    // Not for ever.
    let mut desk = Desk::new();
    desk.answers = false;
    desk.until(10_000);
    for attempt in 1..=TRIES_MAX {
        desk.book.ended(desk.now_ms, 1, Outcome::Unknown);
        desk.until(desk.now_ms - 1_000_000 + (5_000 << (attempt - 1)));
    }
    let tries = desk.ordered.iter().filter(|notice| notice.number == 1);
    assert_eq!(tries.count(), TRIES_MAX as usize);
}

#[test]
fn a_refused_call_leaves_the_next_rung_its_turn_at_once() {
    let mut desk = Desk::new();
    desk.answers = false;
    desk.until(20_000);
    desk.book.ended(desk.now_ms, 1, Outcome::Refused);
    desk.until(20_000);
    let told: Vec<&str> = desk.ordered.iter().map(|n| n.to.channel.as_str()).collect();
    assert_eq!(told, ["pager-ada", "pager-grace", "desk"]);
}

const ALL_WAYS: [&str; 3] = ["pager-ada", "pager-grace", "desk"];

/// Whatever the outage takes, a ladder or a night: whoever is on call is called when the way is back.
#[test]
fn a_way_that_is_down_for_longer_than_the_ladder_costs_no_call() {
    for minutes in [40, 70, 1_000] {
        let mut desk = Desk::new();
        desk.down = ALL_WAYS.into();
        desk.until(11 * MINUTE);
        assert_eq!(desk.book.unreached("i1"), Some(None), "it climbs");
        desk.until(minutes * MINUTE);
        let next_ms = desk.book.unreached("i1").unwrap();
        assert!(next_ms.is_none_or(|ms| ms > desk.now_ms), "{next_ms:?}");
        desk.down.clear();
        desk.ordered.clear();
        // An hour from one ladder to the next at most, and the ladder itself.
        desk.until((minutes + 60 + 31) * MINUTE);
        assert!(desk.heard(Kind::Trigger).is_some(), "{minutes}");
        assert_eq!(desk.book.unreached("i1"), None);
        // Somebody was reached: from here on it is as the ladder says.
        desk.until((minutes + 2_000) * MINUTE);
        assert_eq!(
            desk.take().last().unwrap().split_once(' ').unwrap().1,
            "exhausted"
        );
    }
}

/// A night without a way costs the journal some entries each hour, and no more.
#[test]
fn what_nobody_hears_is_said_with_patience() {
    let mut desk = Desk::new();
    desk.down = ALL_WAYS.into();
    desk.until(24 * 60 * MINUTE);
    assert!(desk.said.len() < 1_000, "{}", desk.said.len());
    desk.take();
    desk.until(25 * 60 * MINUTE);
    assert!(desk.said.len() < 60, "{}", desk.said.len());
}

/// What is heard over a way tells that it works: nobody waits for the end of a pause.
#[test]
fn a_way_that_works_again_is_used_at_once() {
    let mut desk = Desk::new();
    desk.down = ALL_WAYS.into();
    desk.until(1_000 * MINUTE);
    while desk.book.unreached("i1").unwrap().is_none() {
        desk.until(desk.now_ms - 1_000_000 + MINUTE);
    }
    desk.take();
    desk.down.clear();
    desk.works("desk");
    desk.settle();
    let said: Vec<String> = desk.said.iter().map(|(_, text)| text.clone()).collect();
    assert_eq!(said, ["rung 1.1", "trigger pager-ada"]);
}

#[test]
fn an_end_that_failed_six_times_is_said_when_the_way_is_back() {
    let mut desk = Desk::new();
    desk.until(MINUTE);
    desk.down = ALL_WAYS.into();
    desk.stage(Stage::Over);
    desk.until(20 * MINUTE);
    let tries = |desk: &Desk| {
        let ordered = desk.ordered.iter();
        ordered.filter(|n| n.kind == Kind::Resolve).count()
    };
    assert!(tries(&desk) > TRIES_MAX as usize);
    desk.down.clear();
    desk.works("pager-ada");
    let before = tries(&desk);
    desk.settle();
    assert_eq!(tries(&desk), before + 1);
    assert!(desk.book.is_idle());
    // Not for ever.
    let mut desk = Desk::new();
    desk.until(MINUTE);
    desk.down = ALL_WAYS.into();
    desk.stage(Stage::Over);
    desk.until(10 * 24 * 60 * MINUTE);
    assert_eq!(tries(&desk), NEWS_TRIES_MAX as usize);
    assert!(desk.book.is_idle());
}

/// A pager that took the first call and not the next one still has an incident open.
#[test]
fn whoever_heard_of_it_once_is_told_its_end() {
    for outcome in [Outcome::Unknown, Outcome::Refused] {
        let mut desk = Desk::new();
        desk.until(11 * MINUTE);
        desk.answers = false;
        desk.until(16 * MINUTE);
        let last = desk.ordered.last().unwrap().clone();
        assert_eq!(
            (last.kind, last.to.channel.as_str()),
            (Kind::Trigger, "pager-ada")
        );
        for _ in 0..TRIES_MAX {
            desk.book.ended(desk.now_ms, last.number, outcome);
            desk.until(desk.now_ms - 1_000_000 + 3 * MINUTE);
        }
        desk.answers = true;
        desk.ordered.clear();
        desk.stage(Stage::Over);
        let told: Vec<&str> = desk.ordered.iter().map(|n| n.to.channel.as_str()).collect();
        assert!(told.contains(&"pager-ada"), "{outcome:?}: {told:?}");
    }
}

/// Somebody looks at the status, sees it, and has it before the first call: nobody was told, and they may forget it all the same.
#[test]
fn whoever_has_it_before_anybody_was_called_is_reminded() {
    let mut desk = Desk::new();
    desk.until(5_000);
    desk.stage(Stage::Acknowledged);
    desk.until(121 * MINUTE);
    assert_eq!(
        desk.take(),
        ["3605 remind pager-ada", "7205 remind pager-ada"]
    );
    desk.stage(Stage::Mitigated);
    assert_eq!(desk.take(), ["7260 resolve pager-ada"]);
    assert!(desk.book.is_idle());
    // Nothing leads to whoever it was: the first rung knows whom to ask.
    let mut desk = Desk::new();
    desk.until(5_000);
    desk.stage(Stage::Acknowledged);
    desk.case.by = Some("root".to_string());
    desk.until(61 * MINUTE);
    assert_eq!(desk.take(), ["3605 remind pager-ada"]);
    assert_eq!(desk.ordered[0].text, "root has it, and it is not mitigated");
    // What calls nobody reminds nobody.
    let mut desk = Desk::new();
    desk.case.severity = Severity::Warning;
    desk.until(5_000);
    desk.stage(Stage::Acknowledged);
    desk.until(500 * MINUTE);
    assert!(desk.take().is_empty());
}

#[test]
fn an_older_call_is_not_repeated_after_a_newer_word() {
    let mut desk = Desk::new();
    desk.answers = false;
    desk.until(20_000);
    desk.book.ended(desk.now_ms, 1, Outcome::Unknown);
    desk.stage(Stage::Acknowledged);
    desk.until(MINUTE);
    let said: Vec<Kind> = desk.ordered.iter().map(|notice| notice.kind).collect();
    assert_eq!(said, [Kind::Trigger, Kind::Acknowledge]);
}

/// Somebody resolves it while nobody knows yet whether the call was heard: were the call to arrive, or to be said again,
/// behind "resolved", it would stand for ever.
#[test]
fn a_call_never_comes_behind_its_end() {
    for answers in [true, false] {
        let mut desk = Desk::new();
        desk.answers = false;
        desk.until(20_000);
        let kinds = |desk: &Desk| -> Vec<Kind> {
            let kinds = desk.ordered.iter().map(|notice| notice.kind);
            kinds.collect()
        };
        desk.stage(Stage::Mitigated);
        assert_eq!(kinds(&desk), [Kind::Trigger], "the call is on its way");
        if answers {
            desk.book.ended(desk.now_ms, 1, Outcome::Unknown);
            desk.until(20_000);
        } else {
            desk.until(10_000 + HOLD_MS - 1);
            assert_eq!(kinds(&desk), [Kind::Trigger]);
            desk.until(10_000 + HOLD_MS);
        }
        assert_eq!(kinds(&desk), [Kind::Trigger, Kind::Resolve]);
        desk.book.ended(desk.now_ms, 1, Outcome::Unknown);
        desk.book.ended(desk.now_ms, 2, Outcome::Said);
        desk.until(60 * MINUTE);
        assert_eq!(kinds(&desk), [Kind::Trigger, Kind::Resolve]);
        assert!(desk.book.is_idle());
    }
}

#[test]
fn silences_and_worse_incidents_keep_quiet_for_as_long_as_they_last() {
    let mut desk = Desk::new();
    let set = Silence {
        matchers: [Matcher::parse("thing=database/ledger@h1").unwrap()].into(),
        until_ms: 1_000_000 + 20 * MINUTE,
        by: "ada".to_string(),
        reason: "a rehearsal".to_string(),
    };
    desk.book
        .apply(desk.now_ms, &Event::SilenceSet { silence: 1, set });
    desk.until(20 * MINUTE - 1);
    assert!(desk.take().is_empty());
    desk.until(20 * MINUTE);
    assert_eq!(
        desk.take(),
        ["1200 silence", "1200 rung 1.1", "1200 trigger pager-ada"]
    );

    let mut desk = Desk::new();
    desk.case.inside = Some("i0".to_string());
    desk.until(20 * MINUTE);
    assert!(desk.take().is_empty());
    desk.case.inside = None;
    desk.until(20 * MINUTE);
    assert_eq!(desk.take(), ["1200 rung 1.1", "1200 trigger pager-ada"]);
}

/// Whoever acknowledged, and was told to be still for a while, is reminded when that is over; a call that was refused for now
/// rings no more either.
#[test]
fn nothing_rings_through_a_silence() {
    let silence = |desk: &mut Desk, minutes: u64| {
        let set = Silence {
            matchers: [Matcher::parse("thing=database/ledger@h1").unwrap()].into(),
            until_ms: desk.now_ms + minutes * MINUTE,
            by: "ada".to_string(),
            reason: "disks are replaced".to_string(),
        };
        let event = Event::SilenceSet { silence: 1, set };
        desk.book.apply(desk.now_ms, &event);
    };
    for was_called in [true, false] {
        let mut desk = Desk::new();
        if was_called {
            desk.until(MINUTE);
        }
        desk.stage(Stage::Acknowledged);
        desk.take();
        silence(&mut desk, 150);
        desk.until(149 * MINUTE);
        assert!(desk.take().is_empty(), "{was_called}");
        desk.until(152 * MINUTE);
        let said = desk.take();
        assert!(said[0].ends_with(" silence"), "{said:?}");
        assert!(said[1].ends_with(" remind pager-ada"), "{said:?}");
    }
    let mut desk = Desk::new();
    desk.down = ["pager-ada"].into();
    desk.until(10_000);
    assert_eq!(desk.take(), ["10 rung 1.1", "10 trigger pager-ada"]);
    silence(&mut desk, 20);
    desk.until(20 * MINUTE);
    assert!(desk.take().is_empty());
    desk.down.clear();
    desk.until(21 * MINUTE);
    let said = desk.take();
    assert!(said[0].ends_with(" silence"), "{said:?}");
    assert!(said[1].ends_with(" trigger pager-ada"), "{said:?}");
}

/// A way leaves the file while a call waits for it: the next rung has its turn, and nothing is said if the way comes back.
#[test]
fn what_waits_for_a_way_that_is_gone_is_given_up() {
    let mut desk = Desk::new();
    desk.down = ["pager-ada"].into();
    desk.until(10_000);
    assert_eq!(desk.take(), ["10 rung 1.1", "10 trigger pager-ada"]);
    let left: BTreeSet<String> = ["pager-grace", "desk"].map(ToString::to_string).into();
    desk.book.ways(&left);
    desk.settle();
    let next = ["10 rung 2.1", "10 trigger pager-grace", "10 trigger desk"];
    assert_eq!(desk.take(), next);
    desk.down.clear();
    desk.until(5 * MINUTE);
    assert!(desk.take().is_empty(), "it came back");
}

#[test]
fn what_no_policy_fits_calls_nobody() {
    for (severity, thing) in [
        (Severity::Warning, "database/ledger"),
        (Severity::Critical, "database/other"),
    ] {
        let mut desk = Desk::new();
        desk.case.severity = severity;
        desk.case.things = [thing.to_string()].into();
        desk.until(60 * MINUTE);
        assert!(desk.take().is_empty(), "{thing}");
    }
}

#[test]
fn a_silence_covers_an_incident_if_it_fits_all_of_it() {
    let label = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    };
    let mut case = case();
    case.alerts = [
        label(&[("alertname", "Down"), ("host", "h1")]),
        label(&[("alertname", "Slow"), ("host", "h1")]),
    ]
    .into();
    for (texts, wanted) in [
        (&["host=h1"][..], true),
        (&["host=\"h1\"", "incident=i1"], true),
        (&["host=h1", "alertname=Down"], false),
        (&["host=h1", "alertname!=Other"], true),
        (&["region="], true),
        (&["severity=error"], true),
        (&["severity=critical"], false),
        (&["thing=database/ledger@h1"], true),
    ] {
        let silence = Silence {
            matchers: texts
                .iter()
                .map(|text| Matcher::parse(text).unwrap())
                .collect(),
            until_ms: 0,
            by: String::new(),
            reason: String::new(),
        };
        assert_eq!(silence.covers(&case), wanted, "{texts:?}");
    }
    for text in ["", "=x", "a b=c", "novalue"] {
        assert_eq!(Matcher::parse(text), None, "{text}");
    }
}

proptest! {
    /// Whatever becomes of calls and of the incident: no notice that was said is ordered again, attempts count up, and
    /// an incident that is over is soon told to everybody who was told of it.
    #[test]
    fn nothing_said_is_said_again(
        story in prop::collection::vec((0_u64..400_000, 0_u8..8), 1..60)
    ) {
        let mut desk = Desk::new();
        desk.answers = false;
        let mut said = Vec::new();
        for (passed_ms, what) in story {
            let now = desk.now_ms - 1_000_000;
            desk.until(now + passed_ms);
            let last = desk.ordered.last().map(|notice| notice.number);
            match (what, last) {
                (0..=2, Some(number)) => {
                    desk.book.ended(desk.now_ms, number, Outcome::Said);
                    said.push((number, desk.ordered.len()));
                }
                (3, Some(number)) => desk.book.ended(desk.now_ms, number, Outcome::Unknown),
                (4, Some(number)) => desk.book.ended(desk.now_ms, number, Outcome::Refused),
                (5, _) if desk.case.stage == Stage::Open => desk.stage(Stage::Acknowledged),
                (6, _) => desk.stage(Stage::Mitigated),
                (7, _) => {
                    desk.case.open_ms = desk.now_ms;
                    desk.stage(Stage::Open);
                }
                _ => {}
            }
        }
        for (number, before) in said {
            let again = desk.ordered[before..].iter().find(|notice| notice.number == number);
            prop_assert!(again.is_none(), "{again:?}");
        }
        let mut attempts: BTreeMap<u64, u32> = BTreeMap::new();
        for notice in &desk.ordered {
            let count = attempts.entry(notice.number).or_default();
            *count += 1;
            prop_assert_eq!(*count, notice.attempt);
            let is_call = notice.kind == Kind::Trigger;
            let most = if is_call { TRIES_MAX } else { NEWS_TRIES_MAX };
            prop_assert!(*count <= most);
        }
        desk.stage(Stage::Mitigated);
        // The last words may wait for an answer that never comes.
        desk.until(desk.now_ms - 1_000_000 + HOLD_MS);
        prop_assert!(desk.book.told_of().is_empty());
    }
}
