//! Rules as users have them: read, criticised, tested, and taken over a restart.

use std::path::Path;

use expect_test::expect;
use mainstay_promql::labels::Labels;
use mainstay_promql::sample::Value;
use mainstay_promql::store::Memory as Store;
use mainstay_rules::alert::State;
use mainstay_rules::file::{Group, read};
use mainstay_rules::group::{Memory, Saved, Surroundings, evaluate, next_slot};
use mainstay_rules::lint::{Known, lint, render};
use mainstay_rules::sight::Asked;
use mainstay_rules::unit::Suite;
use proptest::prelude::*;

const MINUTE: i64 = 60_000;

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    std::fs::read_to_string(path).expect("a file of ours")
}

fn groups(name: &str) -> Vec<Group> {
    read(name, &data(name)).unwrap_or_else(|problems| panic!("{name}: {problems:?}"))
}

#[test]
fn every_defect_is_named_with_its_repair() {
    let found = render(&lint(&groups("configmap.yaml"), &Known::default()));
    expect![[r#"
        configmap.yaml#desk.yml:15:19: SlowOrders: quantile-without-le: histogram_quantile needs the buckets of all series together: without `sum by (le)` it answers for each instance alone (or, where `le` was summed away, not at all)
          repair: histogram_quantile(0.95, sum by (le) (rate(order_seconds_bucket[5m]))) > 0.7
        configmap.yaml#desk.yml:15:19: SlowOrders: no-traffic-floor: at night a single slow or failed event is the whole quantile or share: ask for a least rate besides (1/s here; choose it by your traffic)
          repair: histogram_quantile(0.95, sum by (le) (rate(order_seconds_bucket[5m]))) > 0.7 and sum(rate(order_seconds_count[5m])) > 1
        configmap.yaml#desk.yml:15:19: SlowOrders: threshold-between-buckets: 0.7 is no bucket bound of order_seconds (near it the usual bounds have 0.5 and 1): whether a quantile is above it is a guess within a bucket
          repair: give order_seconds a bucket at 0.7, or compare with 1
        configmap.yaml#desk.yml:15:19: SlowOrders: silent-when-absent: when order_seconds_bucket vanishes, the expression gives nothing, which reads as "all is well"
          repair: - alert: SlowOrdersNoData
                    expr: absent(order_seconds_bucket)
                    for: 5m
        configmap.yaml#desk.yml:14:13: SlowOrders: no-severity: without a severity nobody can tell whether to wake someone
          repair: labels: {severity: page}
        configmap.yaml#desk.yml:14:13: SlowOrders: no-runbook: whoever is woken has no runbook
          repair: annotations: {runbook_url: https://…}
        configmap.yaml#desk.yml:20:19: FailedOrders: rate-called-share: the text speaks of a share, but rate(order_failures_total[5m]) is events per second: 0.001 means 0.001 a second, however many there are in all
          repair: sum(rate(order_failures_total[5m])) / sum(rate(orders_total[5m])) > 0.001
        configmap.yaml#desk.yml:20:19: FailedOrders: no-traffic-floor: at night a single slow or failed event is the whole quantile or share: ask for a least rate besides (1/s here; choose it by your traffic)
          repair: sum(rate(order_failures_total[5m])) / sum(rate(orders_total[5m])) > 0.001 and sum(rate(orders_total[5m])) > 1
        configmap.yaml#desk.yml:20:19: FailedOrders: silent-when-absent: when order_failures_total or orders_total vanishes, the expression gives nothing, which reads as "all is well"
          repair: - alert: FailedOrdersNoData
                    expr: absent(order_failures_total) or absent(orders_total)
                    for: 5m
        configmap.yaml#desk.yml:19:13: FailedOrders: short-for: `for` is 30s, and the group is evaluated every 30s: fewer than two evaluations confirm it
          repair: for: 1m
        configmap.yaml#desk.yml:19:13: FailedOrders: no-severity: without a severity nobody can tell whether to wake someone
          repair: labels: {severity: page}
        configmap.yaml#desk.yml:19:13: FailedOrders: no-runbook: whoever is woken has no runbook
          repair: annotations: {runbook_url: https://…}
        configmap.yaml#desk.yml:25:19: LowLiquidity: silent-when-absent: when liquidity_usd vanishes, the expression gives nothing, which reads as "all is well"
          repair: - alert: LowLiquidityNoData
                    expr: absent(liquidity_usd)
                    for: 5m
        configmap.yaml#desk.yml:24:13: LowLiquidity: no-severity: without a severity nobody can tell whether to wake someone
          repair: labels: {severity: page}
        configmap.yaml#desk.yml:24:13: LowLiquidity: no-runbook: whoever is woken has no runbook
          repair: annotations: {runbook_url: https://…}
    "#]]
    .assert_eq(&found);
}

#[test]
fn a_repaired_copy_is_clean() {
    let found = lint(&groups("repaired.yaml"), &Known::default());
    assert!(found.is_empty(), "{}", render(&found));
}

/// Rules as people bring them, in a ConfigMap: the file is read as it is, and each weakness is named once. What a
/// repaired copy is like stands in `repaired.yaml`.
#[test]
fn a_sample_is_read_unmodified_and_its_weaknesses_are_named() {
    let text = data("configmap.yaml")
        .replace("0.7", "0.5")
        .replace("for: 30s", "for: 1m");
    let groups = read("sample.yaml", &text).expect("the sample is valid");
    let rules = groups.iter().flat_map(|group| &group.rules);
    assert_eq!(rules.count(), 3);
    let codes: String = lint(&groups, &Known::default())
        .iter()
        .map(|finding| format!("{} {}\n", finding.rule, finding.code.name()))
        .collect();
    expect![[r#"
        SlowOrders quantile-without-le
        SlowOrders no-traffic-floor
        SlowOrders silent-when-absent
        SlowOrders no-severity
        SlowOrders no-runbook
        FailedOrders rate-called-share
        FailedOrders no-traffic-floor
        FailedOrders silent-when-absent
        FailedOrders no-severity
        FailedOrders no-runbook
        LowLiquidity silent-when-absent
        LowLiquidity no-severity
        LowLiquidity no-runbook
    "#]]
    .assert_eq(&codes);
}

/// However its key is written; and what is meant as one and cannot be parsed is told.
#[test]
fn a_rule_file_in_a_config_map_is_known_by_its_groups() {
    let rule = "rules: [{alert: A, expr: up == 0}]";
    for (content, wanted) in [
        (format!("groups:\n- name: g\n  {rule}"), "A"),
        (format!("\"groups\":\n- name: g\n  {rule}"), "A"),
        (format!("'groups' : [{{name: g, {rule}}}]"), "A"),
        (
            r#"{"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up == 0"}]}]}"#.to_owned(),
            "A",
        ),
        (
            "{\n  \"groups\": [\n    {\"name\": \"g\", \"rules\": [{\"alert\": \"A\", \"expr\": \"up == 0\"}]}\n  ]\n}".to_owned(),
            "A",
        ),
        ("scrape_configs:\n  groups: []".to_owned(), "no rules are in this file"),
        ("\"groups\": [{name: g".to_owned(), "m.yaml#k:5"),
        ("{\"groups\": [".to_owned(), "m.yaml#k:5"),
    ] {
        let content: String = content.lines().map(|line| format!("    {line}\n")).collect();
        let text = format!("kind: ConfigMap\napiVersion: v1\ndata:\n  k: |\n{content}");
        let found = match read("m.yaml", &text) {
            Ok(groups) => groups.iter().flat_map(|group| &group.rules).map(|rule| rule.name().to_owned()).collect(),
            Err(problems) => problems.iter().map(ToString::to_string).collect::<String>(),
        };
        assert!(found.contains(wanted), "{text}\n{found}");
    }
}

#[test]
fn bounds_that_are_known_decide_about_thresholds() {
    let mut known = Known::default();
    known
        .buckets
        .insert("order_seconds".to_owned(), vec![0.1, 0.7, 1.0]);
    let found = render(&lint(&groups("configmap.yaml"), &known));
    assert!(!found.contains("threshold-between-buckets"), "{found}");
}

#[test]
fn what_cannot_be_obeyed_is_refused_with_its_place() {
    let text = "groups:\n  - name: a\n    rules:\n      - alert: x\n        expr: rate(y)\n        fro: 5m\n      - record: 1x\n        expr: y\n        for: 1m\n      - alert: z\n        expr: 1\n        annotations: {summary: '{{ $labels.x'}\n  - name: a\n";
    let problems = read("bad.yml", text).expect_err("it is bad");
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    expect![[r#"
        bad.yml:5:15: could not parse expression: 1:6: expected type range vector in call to function "rate", got instant vector
        bad.yml:6:9: unknown field `fro`
        bad.yml:7:9: invalid field `for` in a recording rule
        bad.yml:7:9: invalid recording rule name: 1x
        bad.yml:12:23: annotation `summary`: unclosed action
        bad.yml:13:5: the group name `a` is repeated in this file
    "#]]
    .assert_eq(&(shown.join("\n") + "\n"));
}

#[test]
fn rule_tests_pass_and_wrong_ones_do_not() {
    let groups = groups("operator.yaml");
    let suite = Suite::read("unit.yaml", &data("unit.yaml")).expect("a suite");
    assert_eq!(suite.run(&groups), Vec::new());
    for (right, wrong) in [
        ("severity: page", "severity: ticket"),
        ("value: 2", "value: 2.1"),
        ("eval_time: 14m", "eval_time: 26m"),
        ("desk takes 0.0", "desk takes 0.1"),
        ("alertname: NoOrders", "alertname: Nobody"),
    ] {
        let changed = data("unit.yaml").replace(right, wrong);
        let suite = Suite::read("unit.yaml", &changed).expect("a suite");
        assert!(!suite.run(&groups).is_empty(), "{wrong} was not found");
    }
}

fn book(level: f64, minutes: std::ops::Range<i64>, store: &mut Store) {
    let labels = Labels::of(&[("__name__", "liquidity_usd"), ("venue", "a")]);
    for minute in minutes {
        store.append(&labels, minute * MINUTE, Value::Float(level));
    }
}

fn states(group: &Group, memory: &Memory) -> Vec<(String, State)> {
    memory
        .alerts(group)
        .map(|(rule, alert)| (rule.name().to_owned(), alert.state))
        .collect()
}

#[test]
fn a_restart_changes_no_alert_and_missing_data_resolves_nothing() {
    let group = groups("repaired.yaml").remove(0);
    let surroundings = Surroundings::default();
    let mut store = Store::default();
    book(5.0, 0..10, &mut store);
    let mut memory = Memory::new(&group);
    let low = |state| ("LowLiquidity".to_owned(), state);
    for minute in 0..60 {
        evaluate(
            &group,
            &mut memory,
            &mut store,
            minute * MINUTE,
            &surroundings,
        );
        // Every minute another process goes on with what the last one wrote down.
        let saved = serde_json::to_string(&memory.save(&group)).expect("written");
        let saved: Saved = serde_json::from_str(&saved).expect("read");
        let restored = Memory::restore(&group, &saved);
        assert_eq!(restored.save(&group), memory.save(&group));
        let now = states(&group, &memory);
        let wanted = match minute {
            0 => low(State::Pending),
            // The last sample, of minute 9, is current for five minutes.
            1..=13 => low(State::Firing),
            _ => low(State::Missing),
        };
        assert!(now.contains(&wanted), "minute {minute}: {now:?}");
    }
    assert!(states(&group, &memory).contains(&("DeskNoData".to_owned(), State::Firing)));
    book(200_000.0, 60..62, &mut store);
    evaluate(&group, &mut memory, &mut store, 61 * MINUTE, &surroundings);
    assert!(states(&group, &memory).contains(&low(State::Resolved)));
}

/// The instance that fired is gone, another goes on: nothing is known of the first.
#[test]
fn one_of_many_that_vanishes_is_missing() {
    let text = "groups: [{name: g, rules: [{alert: Hot, expr: temperature > 50}]}]";
    let group = read("g.yml", text).expect("valid").remove(0);
    let mut store = Store::default();
    for (room, last, value) in [("a", 3, 60.0), ("b", 30, 20.0), ("c", 30, 70.0)] {
        let labels = Labels::of(&[("__name__", "temperature"), ("room", room)]);
        for minute in 0..last {
            let value = if room == "c" && minute > 3 {
                10.0
            } else {
                value
            };
            store.append(&labels, minute * MINUTE, Value::Float(value));
        }
    }
    let mut memory = Memory::new(&group);
    for minute in 0..20 {
        evaluate(
            &group,
            &mut memory,
            &mut store,
            minute * MINUTE,
            &Surroundings::default(),
        );
    }
    let mut found: Vec<(String, State)> = memory
        .alerts(&group)
        .map(|(_, alert)| (alert.labels["room"].clone(), alert.state))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            ("a".to_owned(), State::Missing),
            ("c".to_owned(), State::Resolved)
        ]
    );
}

/// More rooms are hot than the limit allows, from minute 3 to minute 5.
#[test]
fn a_flood_begins_nothing_and_ends_nothing() {
    let text = "groups: [{name: g, limit: 2, rules: [{alert: Hot, expr: temperature > 50}]}]";
    let group = read("g.yml", text).expect("valid").remove(0);
    let mut store = Store::default();
    let mut memory = Memory::new(&group);
    let mut told = Vec::new();
    for minute in 0..8 {
        let flooded = (3..6).contains(&minute);
        for room in ["a", "b", "c", "d", "e"] {
            // One that stood is over in the middle of the flood, and seen to be.
            let hot = match room {
                "a" => minute > 0,
                "b" => minute > 0 && minute < 5,
                _ => flooded,
            };
            let labels = Labels::of(&[("__name__", "temperature"), ("room", room)]);
            let value = if hot { 60.0 } else { 20.0 };
            store.append(&labels, minute * MINUTE, Value::Float(value));
        }
        let surroundings = Surroundings::default();
        evaluate(
            &group,
            &mut memory,
            &mut store,
            minute * MINUTE,
            &surroundings,
        );
        let alerts = memory.alerts(&group);
        let alerts = alerts.map(|(_, alert)| format!("{}={:?}", alert.labels["room"], alert.state));
        let floods = memory.floods(&group).count();
        told.push(format!("{} {floods}", alerts.collect::<Vec<_>>().join(" ")));
    }
    expect![[r#"
        [
            " 0",
            "a=Firing b=Firing 0",
            "a=Firing b=Firing 0",
            "a=Firing b=Firing 1",
            "a=Firing b=Firing 1",
            "a=Firing b=Resolved 1",
            "a=Firing b=Resolved 0",
            "a=Firing b=Resolved 0",
        ]
    "#]]
    .assert_debug_eq(&told);
}

/// For one evaluation that fails nobody is called, and for a rule that never succeeds somebody is.
#[test]
fn a_rule_that_goes_on_failing_is_told() {
    let text =
        "groups: [{name: g, interval: 30s, rules: [{alert: Odd, expr: one * on () many > 0}]}]";
    let group = read("g.yml", text).expect("valid").remove(0);
    let mut store = Store::default();
    let mut memory = Memory::new(&group);
    let mut told = Vec::new();
    for turn in 0..10 {
        let now = turn * MINUTE / 2;
        let mut put = |name: &str, room: &str| {
            let labels = Labels::of(&[("__name__", name), ("room", room)]);
            store.append(&labels, now, Value::Float(1.0));
        };
        put("one", "a");
        // Two on one side at once: nobody can tell which of them is meant.
        if turn == 1 || (4..8).contains(&turn) {
            put("many", "a");
            put("many", "b");
        }
        evaluate(
            &group,
            &mut memory,
            &mut store,
            now,
            &Surroundings::default(),
        );
        let failing = memory.failing(&group, now).map(|(rule, _)| rule.name());
        told.push((turn, memory.problems(&group).count(), failing.count()));
    }
    let stays = told
        .iter()
        .filter(|(_, problems, _)| *problems == 1)
        .count();
    assert!(stays >= 5, "{told:?}");
    let first = told.iter().find(|(_, _, failing)| *failing == 1);
    let began = told
        .iter()
        .find(|(turn, problems, _)| *turn >= 1 && *problems == 1);
    let (Some((first, ..)), Some((began, ..))) = (first, began) else {
        panic!("{told:?}");
    };
    assert_eq!(first - began, 2, "a minute: {told:?}");
}

/// Names of what is current at this minute.
fn current(store: &Store, minute: i64) -> Vec<String> {
    let all = mainstay_promql::parse::parse("{__name__!=\"\"}").expect("a selector");
    let options = mainstay_promql::eval::Options::default();
    let given = mainstay_rules::group::measured(&all, store, minute * MINUTE, &options);
    let mainstay_promql::eval::Output::Vector(items) = given.expect("an answer").output else {
        panic!("no vector");
    };
    let mut names: Vec<String> = items
        .iter()
        .map(|item| item.labels.get("__name__").to_owned())
        .collect();
    names.sort();
    names
}

/// A file is read again: what is there as before goes on, and ends when it would have; the rest ends at once.
#[test]
fn what_rules_gave_is_known_to_those_that_follow_them() {
    let group = |rules: &str| {
        let text = format!("groups: [{{name: g, rules: [{rules}]}}]");
        read("g.yml", &text).expect("valid").remove(0)
    };
    let hot = "{alert: Hot, expr: temperature > 50}";
    let before = group(&format!(
        "{{record: kept, expr: temperature > 50}}, {{record: dropped, expr: temperature}}, {hot}"
    ));
    let after = group("{record: kept, expr: temperature > 60}");
    let mut store = Store::default();
    let room = Labels::of(&[("__name__", "temperature")]);
    for (minute, value) in (0..4).zip([55.0, 55.0, 55.0, 55.0]) {
        store.append(&room, minute * MINUTE, Value::Float(value));
    }
    let surroundings = Surroundings::default();
    let mut first = Memory::new(&before);
    evaluate(&before, &mut first, &mut store, 0, &surroundings);
    let all = [
        "ALERTS",
        "ALERTS_FOR_STATE",
        "dropped",
        "kept",
        "temperature",
    ];
    assert_eq!(current(&store, 0), all);
    let mut second = Memory::restore(&before, &first.save(&before));
    second.inherit(&before, (&before, &first));
    evaluate(&before, &mut second, &mut store, MINUTE, &surroundings);
    assert_eq!(current(&store, 1), all);
    // As another process does, that has only the paper: it knows of alerts, and the rest ages.
    let mut restarted = Memory::restore(&after, &second.save(&before));
    let mut elsewhere = store.clone();
    evaluate(
        &after,
        &mut restarted,
        &mut elsewhere,
        2 * MINUTE,
        &surroundings,
    );
    assert_eq!(current(&elsewhere, 2), ["dropped", "kept", "temperature"]);
    let mut third = Memory::restore(&after, &second.save(&before));
    third.inherit(&after, (&before, &second));
    evaluate(&after, &mut third, &mut store, 2 * MINUTE, &surroundings);
    assert_eq!(current(&store, 2), ["temperature"]);
    assert_eq!(third.given().count(), 0);
}

/// A target that is asked no more: only an alert that nobody else can tell of ends.
#[test]
fn an_alert_ends_when_nobody_is_asked_about_it_any_more() {
    let text =
        "groups: [{name: g, rules: [{alert: Hot, expr: temperature > 50, labels: {team: a}}]}]";
    let group = read("g.yml", text).expect("valid").remove(0);
    let target = |host: &str| Labels::of(&[("instance", host), ("job", "room"), ("host", host)]);
    for (labels, wanted) in [
        (
            &[("instance", "gone"), ("job", "room")][..],
            State::Resolved,
        ),
        (&[("host", "gone")], State::Resolved),
        (
            &[("instance", "here"), ("job", "room"), ("host", "here")],
            State::Missing,
        ),
        (&[("host", "here"), ("side", "left")], State::Missing),
        // No target says such a thing of itself: whose it was is not known.
        (&[("side", "left")], State::Missing),
    ] {
        let mut store = Store::default();
        let series = labels.iter().fold(Labels::default(), |all, (name, value)| {
            all.with(name, value)
        });
        store.append(
            &series.with("__name__", "temperature"),
            0,
            Value::Float(60.0),
        );
        let mut surroundings = Surroundings::default();
        let mut memory = Memory::new(&group);
        evaluate(&group, &mut memory, &mut store, 0, &surroundings);
        for asked in [None, Some(vec![target("here"), target("there")])] {
            let wanted = if asked.is_some() {
                wanted
            } else {
                State::Missing
            };
            surroundings.asked = asked.map(Asked::new);
            evaluate(&group, &mut memory, &mut store, 10 * MINUTE, &surroundings);
            let found: Vec<&State> = memory
                .alerts(&group)
                .map(|(_, alert)| &alert.state)
                .collect();
            assert_eq!(found, [&wanted], "{labels:?}");
            let ended = memory.alerts(&group).all(|(_, alert)| alert.unasked);
            assert_eq!(ended, wanted == State::Resolved, "{labels:?}");
        }
    }
}

/// A side that a value stands in for may be gone; a window with edges is measured like any other.
#[test]
fn what_is_filled_in_is_not_missed() {
    for (expression, wanted) in [
        ("failed / on (room) asked > 0.1", State::Missing),
        (
            "failed / on (room) fill_left(0) asked > 0.1",
            State::Resolved,
        ),
        (
            "failed / on (room) fill_right(9) asked > 0.1",
            State::Missing,
        ),
        ("increase(grown[2m] anchored) > 5", State::Resolved),
    ] {
        let text = format!("groups: [{{name: g, rules: [{{alert: Bad, expr: '{expression}'}}]}}]");
        let group = read("g.yml", &text).expect("valid").remove(0);
        let mut store = Store::default();
        for minute in 0..20_u8 {
            let grown = f64::from(minute.min(3)) * 10.0;
            for (name, value) in [("asked", 10.0), ("failed", 5.0), ("grown", grown)] {
                if name != "failed" || minute < 3 {
                    let labels = Labels::of(&[("__name__", name), ("room", "a")]);
                    store.append(&labels, i64::from(minute) * MINUTE, Value::Float(value));
                }
            }
        }
        let (mut memory, surroundings) = (Memory::new(&group), Surroundings::default());
        for minute in 0..20 {
            let now = minute * MINUTE;
            evaluate(&group, &mut memory, &mut store, now, &surroundings);
        }
        let found = states(&group, &memory);
        assert_eq!(found, [("Bad".to_owned(), wanted)], "{expression}");
    }
}

#[test]
fn labels_of_a_group_are_templates_in_alerts() {
    let text = "groups: [{name: g, labels: {room: 'is {{ $labels.id }}'}, rules: [{alert: A, expr: t > 1}, {record: r, expr: t}]}]";
    let group = read("g.yml", text).expect("valid").remove(0);
    let mut store = Store::default();
    store.append(
        &Labels::of(&[("__name__", "t"), ("id", "7")]),
        0,
        Value::Float(2.0),
    );
    let mut memory = Memory::new(&group);
    evaluate(&group, &mut memory, &mut store, 0, &Surroundings::default());
    let rooms: Vec<&str> = memory
        .alerts(&group)
        .map(|(_, alert)| alert.labels["room"].as_str())
        .collect();
    assert_eq!(rooms, ["is 7"]);
    assert!(
        store
            .iter()
            .any(|series| series.labels.name() == "r"
                && series.labels.get("room").contains("$labels"))
    );
}

#[test]
fn slots_are_the_same_after_a_restart() {
    let group = groups("repaired.yaml").remove(0);
    let slot = next_slot(&group, 30_000, 1_000_000);
    assert!((1_000_000..1_030_000).contains(&slot));
    assert_eq!(next_slot(&group, 30_000, slot), slot);
    assert_eq!(next_slot(&group, 30_000, slot + 1), slot + 30_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_a_file_makes_it_panic(at in 0_usize..2_000, with in "\\PC{0,3}", name in prop::sample::select(
        &["configmap.yaml", "repaired.yaml", "operator.yaml", "unit.yaml"][..]
    )) {
        let mut text: Vec<char> = data(name).chars().collect();
        let at = at % text.len();
        text.splice(at..=at, with.chars());
        let text: String = text.into_iter().collect();
        if let Ok(groups) = read(name, &text) {
            let _ = render(&lint(&groups, &Known::default()));
        }
        let _ = Suite::read(name, &text);
    }

    #[test]
    fn no_template_panics(text in "(\\{\\{-? ?(\\$labels|\\$value|if|end|range|with|else|first|query|printf|\"%.999f\"|\\.|\\||\\(|\\)|:=|,|1e308| )*( -)?\\}\\}|x){0,6}") {
        if let Ok(template) = mainstay_rules::template::Template::parse(&text) {
            let labels = Labels::of(&[("a", "b")]);
            let query = |_: &str| Ok(vec![(Labels::default(), f64::INFINITY)]);
            let context = mainstay_rules::template::Context {
                labels: &labels, value: f64::NAN, external_labels: &labels, external_url: "", query: &query,
            };
            let _ = template.expand(&context);
        }
    }
}
