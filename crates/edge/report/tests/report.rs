//! A made journal and made samples, and the report that anybody must get from them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use expect_test::expect_file;
use mainstay_report::{
    Block, Class, Cost, Counted, Entry, Expectations, Promise, Recorded, Series, Story, actions,
    figures, html, markdown, report,
};
use serde_json::{Value, json};

const START_MS: u64 = 1_795_867_200_000;

/// A journal that is written down as it comes.
#[derive(Default)]
struct Journal {
    entries: Vec<Entry>,
}

impl Journal {
    fn add(&mut self, after_ms: u64, kind: &str, body: Value) -> u64 {
        let position = self.entries.len() as u64;
        let text = json!({
            "kind": kind, "version": 1, "at_ms": START_MS + after_ms, "epoch": 1, "body": body,
        });
        let entry = Entry::read(position, &text.to_string()).unwrap();
        assert!(entry.event.is_some(), "{kind} is not known");
        self.entries.push(entry);
        position
    }
}

fn by() -> Value {
    json!({"uid": 1000, "user": "ada", "operator": "ada"})
}

fn alert(state: &str) -> Value {
    json!({
        "watch": "e1", "alert": "Slow{severity=\"critical\"}", "state": state, "since_ms": START_MS + 16_000,
        "at_ms": START_MS + 16_000, "labels": {"alertname": "Slow", "severity": "critical"},
        "summary": "orders are slow", "value": "1.2", "why": "1.2 > 1",
    })
}

/// A cable is slowed; an alert, an incident, a playbook, people.
fn story_of(title: &str, link: &str, note: &str) -> Journal {
    let mut journal = Journal::default();
    trouble(&mut journal, title);
    response(&mut journal);
    aftermath(&mut journal, link, note);
    journal
}

/// An entry about the incident that says nothing but by whom and why.
fn incident(by_whom: Option<Value>, reason: &str) -> Value {
    let mut body = json!({"incident": "i1", "reason": reason});
    if let Some(by) = by_whom {
        body["by"] = by;
    }
    body
}

fn trouble(journal: &mut Journal, title: &str) {
    journal.add(
        0,
        "leadership.claimed",
        json!({"epoch": 1, "node": "e1", "why": "first"}),
    );
    let fault = journal.add(
        1_000,
        "fault.injected",
        json!({
            "fault": "f1", "until_ms": START_MS + 61_000, "by": by(), "reason": "does the desk hear of it?",
            "spec": {"kind": "cut", "target": {"region": "east"}, "lasts_ms": 60_000},
        }),
    );
    journal.add(2_000, "host.returned", json!({"host": "w1"}));
    let fires = journal.add(16_000, "alert.changed", alert("firing"));
    journal.add(
        16_000,
        "incident.opened",
        json!({
            "incident": "i1", "title": title, "severity": "error",
            "conditions": ["alert Slow{severity=\"critical\"}"], "things": ["database/ledger"],
            "evidence": [fault, fires], "reason": "an alert fires",
        }),
    );
}

fn response(journal: &mut Journal) {
    journal.add(
        17_000,
        "playbook",
        json!({"opened": {
            "run": "r1", "playbook": "clear", "values": {}, "opening": {"goes": {}},
            "origin": {"alert": {"watch": "e1", "alert": "Slow{severity=\"critical\"}"}},
        }}),
    );
    journal.add(
        17_500,
        "playbook",
        json!({"declined": {
            "playbook": "move", "why": "at most 1 run in 1h",
            "origin": {"alert": {"watch": "e1", "alert": "Slow{severity=\"critical\"}"}},
        }}),
    );
    journal.add(
        20_000,
        "incident.acknowledged",
        incident(Some(by()), "looking"),
    );
    journal.add(
        21_000,
        "command.refused",
        json!({"asked": "switchover ledger west", "uid": 1000, "reason": "now", "code": "no_quorum", "why": "two copies are needed"}),
    );
    let begun = journal.add(
        22_000,
        "playbook",
        json!({"begun": {"run": "r1", "step": 0, "attempt": 1, "act": {"clear_faults": {"faults": ["f1"]}}}}),
    );
    journal.add(
        22_500,
        "effect.finished",
        json!({"effect": begun, "outcome": {"done": {"detail": "f1 is gone"}}}),
    );
    // Somebody else's trouble.
    journal.add(
        23_000,
        "incident.opened",
        json!({"incident": "i2", "title": "another", "severity": "info", "reason": "x", "by": by()}),
    );
    let ordered = journal.add(
        24_000,
        "notice.ordered",
        json!({
            "notice": 1, "attempt": 1, "incident": "i1", "kind": "trigger", "to": {"channel": "desk"},
            "severity": "error", "title": "x", "text": "x", "open_ms": START_MS + 16_000,
        }),
    );
    journal.add(
        24_100,
        "effect.finished",
        json!({"effect": ordered, "outcome": {"failed": {"why": "the channel refuses"}}}),
    );
}

fn aftermath(journal: &mut Journal, link: &str, note: &str) {
    let mut linked = incident(Some(by()), "the call");
    linked["link"] = json!(link);
    journal.add(25_000, "incident.linked", linked);
    journal.add(41_000, "alert.changed", alert("resolved"));
    journal.add(
        101_000,
        "incident.mitigated",
        incident(None, "all was measured to have ended"),
    );
    let mut resolved = incident(Some(by()), "cable replaced");
    resolved["standing"] = json!([]);
    journal.add(200_000, "incident.resolved", resolved);
    for (lesson, text) in [
        ("factor", note),
        ("well", "the alert came in time"),
        ("luck", "it was a quiet hour"),
    ] {
        let mut learned = incident(Some(by()), text);
        learned["lesson"] = json!(lesson);
        journal.add(300_000, "incident.learned", learned);
    }
    for number in [1, 2] {
        let mut action = incident(Some(by()), "watch the cable");
        action["action"] = json!(number);
        action["owner"] = json!("grace");
        action["due"] = json!("2026-12-24");
        journal.add(301_000, "incident.action_added", action);
    }
    let mut done = incident(Some(by()), "a rule says so");
    done["action"] = json!(2);
    done["became"] = json!("rules/cable.yaml:CableSlow");
    journal.add(302_000, "incident.action_done", done);
}

fn plain_story() -> Journal {
    story_of(
        "orders are slow",
        "https://example.org/call",
        "there is one cable",
    )
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Ten requests a second from a second before the start on; half of them fail from 10 s to 30 s.
fn measured() -> Recorded {
    let gateway = [("job", "gateway"), ("instance", "e1/edge")];
    let route = [("route", "public/v1/orders"), ("listener", "public")];
    let series = |name: &str, more: &[(&str, &str)], value: &dyn Fn(u64) -> f64| {
        let mut pairs = vec![("__name__", name)];
        pairs.extend(gateway);
        pairs.extend(more);
        let samples = (0..=180).map(|second| (START_MS + second * 1_000 - 500, value(second)));
        Series {
            labels: labels(&pairs),
            samples: samples.collect(),
        }
    };
    let failed = |second: u64| (second.clamp(10, 30) - 10) as f64 * 5.0;
    let all = |second: u64| second as f64 * 10.0;
    let of = |more: &[(&'static str, &'static str)]| {
        let mut pairs = route.to_vec();
        pairs.extend(more);
        pairs
    };
    let requests = "mainstay_gateway_requests_total";
    let buckets = "mainstay_gateway_request_duration_seconds_bucket";
    Recorded {
        platform: "exchange".to_owned(),
        incident: "i1".to_owned(),
        watch: "e1".to_owned(),
        from_ms: START_MS - 500,
        to_ms: START_MS + 180_000,
        interval_ms: 1_000,
        series: vec![
            series("up", &[], &|_| 1.0),
            series(requests, &of(&[("class", "2xx")]), &|second| {
                all(second) - failed(second)
            }),
            // It restarts at 40 s: a counter begins anew.
            series(requests, &of(&[("class", "5xx")]), &|second| match second {
                0..40 => failed(second),
                _ => 0.0,
            }),
            series(
                "mainstay_gateway_held_total",
                &[("service", "venue")],
                &|second| second.min(3) as f64,
            ),
            series(buckets, &of(&[("le", "0.064")]), &|second| {
                all(second) - failed(second)
            }),
            series(buckets, &of(&[("le", "1.024")]), &|second| {
                all(second) - failed(second) / 5.0
            }),
            series(buckets, &of(&[("le", "+Inf")]), &all),
        ],
    }
}

fn expectations() -> Expectations {
    let promise = |name: &str, counted| Promise {
        name: name.to_owned(),
        target: "99.9 %".to_owned(),
        budget: 0.001,
        period_ms: 30 * 86_400_000,
        counted,
    };
    let requests = |path: &str, within| Counted::Requests {
        gateway: "edge".to_owned(),
        path: Some(path.to_owned()),
        within,
    };
    let cost = |service: Option<&str>, path: &str| Cost {
        service: service.map(ToOwned::to_owned),
        hundredths: 120_050,
        currency: "EUR".to_owned(),
        routes: match service {
            Some(_) => vec![("edge".to_owned(), path.to_owned())],
            None => Vec::new(),
        },
    };
    Expectations {
        promises: vec![
            promise("orders-answered", requests("/v1/orders", None)),
            promise("orders-fast", requests("/v1/orders", Some(0.064))),
            promise("quotes-answered", requests("/v1/quotes", None)),
            promise(
                "by-expression",
                Counted::Rates {
                    bad: "sum(rate(mainstay_gateway_requests_total{class=\"5xx\"}[$window]))"
                        .to_owned(),
                    total: "sum(rate(mainstay_gateway_requests_total[$window]))".to_owned(),
                },
            ),
        ],
        costs: vec![cost(None, ""), cost(Some("quotes"), "/v1/quotes")],
    }
}

fn written(journal: &Journal) -> mainstay_report::Document {
    let story = Story::of(&journal.entries, "i1").unwrap();
    let figures = figures(&measured(), &expectations(), story.felt(u64::MAX));
    report("exchange", &story, Ok(&figures))
}

#[test]
fn a_report_as_people_read_it() {
    let text = markdown(&written(&plain_story()), Some("i1"));
    expect_file!["golden.md"].assert_eq(&text);
}

#[test]
fn what_was_felt_is_counted_and_not_estimated() {
    let story = Story::of(&plain_story().entries, "i1").unwrap();
    let felt = story.felt(u64::MAX);
    assert_eq!(felt, (START_MS + 1_000, START_MS + 101_000));
    let figures = figures(&measured(), &expectations(), felt);
    let all = figures.requests.unwrap();
    // A hundred seconds, with whatever restarted counted from zero.
    assert_eq!((all.total, all.failed), (1_000.0, 100.0));
    assert_eq!(figures.held, Some(2.0));
    let judged = |name: &str| {
        let found = figures.judged.iter().find(|judged| judged.name == name);
        found.unwrap().found.clone()
    };
    let answered = judged("orders-answered").unwrap();
    assert_eq!((answered.total, answered.bad), (1_000.0, 100.0));
    // Half of all requests for twenty seconds.
    assert!((answered.lost.ms - 10_000.0).abs() < 1.0, "{answered:?}");
    assert_eq!(answered.lost.uncounted_ms, 0.0);
    let fast = judged("orders-fast").unwrap();
    assert_eq!((fast.total, fast.bad), (1_000.0, 100.0));
    assert_eq!(judged("quotes-answered"), None);
    // By rates over a minute it is spread, and the same in the sum but for the edges.
    let rates = judged("by-expression").unwrap();
    assert!((rates.bad - 100.0).abs() < 15.0, "{rates:?}");
    let money: Vec<Option<f64>> = figures
        .priced
        .iter()
        .map(|priced| priced.hundredths)
        .collect();
    let lost = money[0].unwrap();
    assert!((lost - 120_050.0 / 6.0).abs() < 1.0, "{lost}");
    assert_eq!(money[1], None);
}

/// Nobody counts at a door that is gone; that nothing was lost there cannot be said.
#[test]
fn time_without_a_count_is_not_time_without_a_loss() {
    let story = Story::of(&plain_story().entries, "i1").unwrap();
    let (from_ms, to_ms) = story.felt(u64::MAX);
    let mut expectations = expectations();
    for promise in &mut expectations.promises {
        if let Counted::Rates { bad, .. } = &mut promise.counted {
            *bad = "0 / 0".to_owned();
        }
    }
    let recorded = measured();
    let figures = figures(&recorded, &expectations, (from_ms, to_ms + 400_000));
    let judged = |name: &str| {
        let found = figures.judged.iter().find(|judged| judged.name == name);
        found.unwrap().found.clone()
    };
    let answered = judged("orders-answered").unwrap();
    assert!((answered.lost.ms - 10_000.0).abs() < 1.0, "{answered:?}");
    let dark_ms = (to_ms + 400_000).saturating_sub(recorded.to_ms);
    let expected = std::time::Duration::from_millis(dark_ms).as_millis() as f64;
    assert!(expected > 100_000.0, "{expected}");
    assert!(
        (answered.lost.uncounted_ms - expected).abs() < 30_000.0,
        "{answered:?}, {expected}"
    );
    assert_eq!(
        judged("by-expression"),
        None,
        "what is no number is not nothing"
    );
    let priced = &figures.priced[0];
    assert!(priced.uncounted > priced.hundredths.unwrap(), "{priced:?}");
    let text = markdown(&report("exchange", &story, Ok(&figures)), Some("i1"));
    assert!(text.contains("more nothing was counted"), "{text}");
    assert!(text.contains("while none was counted"), "{text}");
}

#[test]
fn an_incident_is_told_by_its_own_entries_and_what_hangs_on_them() {
    let journal = plain_story();
    let story = Story::of(&journal.entries, "i1").unwrap();
    let kinds = |class| {
        let lines = story.of_class(class);
        lines.map(|line| line.text.clone()).collect::<Vec<_>>()
    };
    let refused = kinds(Class::Refused);
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0].contains("at most 1 run in 1h"), "{refused:?}");
    assert!(refused[1].contains("two copies are needed"), "{refused:?}");
    assert!(
        !story
            .timeline
            .iter()
            .any(|line| line.text.contains("another"))
    );
    assert!(
        !story
            .timeline
            .iter()
            .any(|line| line.kind == "host.returned")
    );
    let moments = &story.moments;
    let at = |moment: &Option<mainstay_report::Moment>| moment.as_ref().unwrap().at_ms - START_MS;
    assert_eq!(at(&moments.began), 1_000);
    assert_eq!(at(&moments.detected), 16_000);
    assert_eq!(at(&moments.acted), 22_000);
    assert_eq!(at(&moments.acknowledged), 20_000);
    assert_eq!(at(&moments.mitigated), 101_000);
    assert_eq!(at(&moments.resolved), 200_000);
    assert_eq!((story.told.ordered, story.told.failed), (1, 1));
    assert!(Story::of(&journal.entries, "i9").is_err());
    // The same from the entries of the incident alone.
    let part: Vec<Entry> = journal
        .entries
        .iter()
        .filter(|entry| {
            story
                .timeline
                .iter()
                .any(|line| line.position == entry.position)
        })
        .cloned()
        .collect();
    let again = Story::of(&part, "i1").unwrap();
    assert_eq!(
        format!("{:?}", again.timeline),
        format!("{:?}", story.timeline)
    );
    assert_eq!(again.moments, story.moments);
}

#[test]
fn what_nobody_knows_is_called_unknown() {
    let mut journal = Journal::default();
    journal.add(
        0,
        "incident.opened",
        json!({"incident": "i1", "title": "the desk rang", "severity": "critical", "reason": "x", "by": by()}),
    );
    let story = Story::of(&journal.entries, "i1").unwrap();
    assert_eq!(story.moments.began, None);
    assert_eq!(story.moments.mitigated, None);
    let text = markdown(&report("p", &story, Err("no watch runs")), None);
    assert!(
        text.contains("Unknown in budget, requests and money: no watch runs."),
        "{text}"
    );
    assert!(text.contains("| fault → noticed | unknown |"), "{text}");
    let empty = Recorded {
        series: Vec::new(),
        ..measured()
    };
    let none = figures(&empty, &expectations(), story.felt(START_MS + 5_000));
    let text = markdown(&report("p", &story, Ok(&none)), None);
    assert!(text.contains("Requests: unknown"), "{text}");
    assert!(text.contains("what the platform lost is unknown"), "{text}");
}

#[test]
fn a_fault_that_lasted_is_tied_to_it_by_its_time_alone() {
    let mut journal = Journal::default();
    let fault = |name: &str| {
        json!({
            "fault": name, "until_ms": START_MS + 61_000, "by": by(), "reason": "x",
            "spec": {"kind": "cut", "target": {"region": "east"}, "lasts_ms": 60_000},
        })
    };
    journal.add(1_000, "fault.injected", fault("f1"));
    journal.add(
        2_000,
        "fault.ending",
        json!({"fault": "f1", "why": "expired"}),
    );
    let lasting = journal.add(3_000, "fault.injected", fault("f2"));
    let fires = journal.add(16_000, "alert.changed", alert("firing"));
    journal.add(
        16_000,
        "incident.opened",
        json!({"incident": "i1", "title": "x", "severity": "error", "evidence": [fires], "reason": "x"}),
    );
    let ends = journal.add(
        63_000,
        "fault.ending",
        json!({"fault": "f2", "why": "expired"}),
    );
    let story = Story::of(&journal.entries, "i1").unwrap();
    let began = story.moments.began.unwrap();
    assert_eq!((began.at_ms, began.position), (START_MS + 3_000, lasting));
    assert!(
        began.what.contains("only its time ties it"),
        "{}",
        began.what
    );
    let told: Vec<u64> = story.timeline.iter().map(|line| line.position).collect();
    assert_eq!(told, [lasting, fires, fires + 1, ends]);
}

#[test]
fn one_that_went_on_in_another_is_told_there() {
    let mut journal = plain_story();
    journal.add(
        303_000,
        "incident.merged",
        json!({"incident": "i2", "into": "i1", "reason": "the same cable", "by": by()}),
    );
    let story = Story::of(&journal.entries, "i1").unwrap();
    assert_eq!(story.absorbed, ["i2"]);
    assert!(
        story
            .timeline
            .iter()
            .any(|line| line.text.contains("another"))
    );
    assert_eq!(story.state, "resolved");
    let merged = Story::of(&journal.entries, "i2").unwrap();
    assert_eq!(merged.merged_into.as_deref(), Some("i1"));
}

#[test]
fn actions_know_what_they_became() {
    let journal = plain_story();
    let told = actions(&journal.entries, &BTreeSet::from(["i1".to_owned()]));
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].action.as_str(), &told[0].done), ("i1/a1", &None));
    assert!(told[1].done.is_some());
    assert_eq!(
        told[1].became.as_deref(),
        Some("rules/cable.yaml:CableSlow")
    );
}

/// Whatever people and programs write is text: no mark of a form survives, on a page or in Markdown.
#[test]
fn hostile_text_stays_text() {
    let hostile = "</title><script>alert(1)</script>\" onload='x' & ]]> --> | `x` [a](javascript:b) \u{202e}\u{0}\n# h";
    let links = [
        "javascript:alert(1)",
        "https://example.org/\"><script>",
        "https://example.org/|a`b",
        "data:text/html,<b>",
    ];
    for link in links {
        let document = written(&story_of(hostile, link, hostile));
        let page = html(&document);
        well_formed(&page);
        for mark in [
            "<script",
            "javascript:alert(1)\"",
            "onload='",
            "\u{0}",
            "\u{202e}",
            "href=\"data",
        ] {
            assert!(!page.contains(mark), "{mark:?} in\n{page}");
        }
        let text = markdown(&document, Some("i1"));
        for line in text.lines().filter(|line| line.starts_with('|')) {
            assert_eq!(cells(line), cells(head_of(&text, line)), "{line}");
        }
        assert!(
            !text.contains("<script") && !text.contains("[a]("),
            "{text}"
        );
        assert_eq!(
            text.lines().filter(|line| line.starts_with("# ")).count(),
            1
        );
    }
}

/// The line with the names of the columns of the table that a line stands in.
fn head_of<'t>(text: &'t str, line: &str) -> &'t str {
    let lines: Vec<&str> = text.lines().collect();
    let mut place = lines.iter().position(|other| *other == line).unwrap();
    while place > 0 && lines[place - 1].starts_with('|') {
        place -= 1;
    }
    lines[place]
}

fn cells(line: &str) -> usize {
    let mut before = ' ';
    let mut count = 0;
    for letter in line.chars() {
        if letter == '|' && before != '\\' {
            count += 1;
        }
        before = letter;
    }
    count
}

#[test]
fn a_page_is_whole_and_runs_nothing() {
    let document = written(&plain_story());
    let page = html(&document);
    well_formed(&page);
    assert!(!page.contains("<script") && !page.contains(" src="));
    assert!(page.contains("prefers-color-scheme:dark"));
    for block in &document.blocks {
        if let Block::Plot(plot) = block {
            well_formed(&plot.svg);
            assert!(page.contains(&plot.svg));
        }
    }
    // Every entry that is named has its place on the page.
    for part in page.split("href=\"#").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
    }
}

/// Tags close in the order in which they opened; nothing in text or values could be taken for one.
fn well_formed(text: &str) {
    let text = text.strip_prefix("<!DOCTYPE html>\n").unwrap_or(text);
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text.trim();
    while let Some(place) = rest.find('<') {
        assert!(
            !rest[..place].contains('>'),
            "a stray > in {}",
            &rest[..place]
        );
        references(&rest[..place]);
        let end = rest[place..].find('>').expect("a tag ends") + place;
        let tag = &rest[place + 1..end];
        assert!(!tag.contains('<'), "a stray < in {tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "</{name}>");
        } else {
            let inner = tag.strip_suffix('/').unwrap_or(tag);
            let name = inner.split(' ').next().unwrap();
            assert_eq!(inner.matches('"').count() % 2, 0, "{inner}");
            for value in inner.split('"').skip(1).step_by(2) {
                references(value);
            }
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.is_empty(), "{open:?} {rest}");
}

/// Every ampersand begins a reference that XML knows.
fn references(text: &str) {
    for part in text.split('&').skip(1) {
        let known = ["lt;", "gt;", "amp;", "quot;", "#39;"];
        assert!(known.iter().any(|name| part.starts_with(name)), "&{part}");
    }
}
