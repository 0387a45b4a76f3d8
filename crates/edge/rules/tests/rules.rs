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

/// The sample that customers bring, where it is at hand.
#[test]
fn the_sample_is_read_unmodified() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("../../../../shared/inputs/prometheus-rules-configmap.yaml");
    let Ok(text) = std::fs::read_to_string(path) else {
        return;
    };
    let groups = read("sample.yaml", &text).expect("the sample is valid");
    assert_eq!(
        groups.iter().map(|group| group.rules.len()).sum::<usize>(),
        3
    );
    let codes: Vec<(String, &str)> = lint(&groups, &Known::default())
        .iter()
        .map(|finding| (finding.rule.clone(), finding.code.name()))
        .collect();
    for (rule, code) in [
        ("HighOrderLatency", "quantile-without-le"),
        ("HighOrderLatency", "no-traffic-floor"),
        ("HighOrderLatency", "silent-when-absent"),
        ("ElevatedTransactionFailureRate", "rate-called-share"),
        ("ElevatedTransactionFailureRate", "silent-when-absent"),
        ("InsufficientLiquidity", "silent-when-absent"),
        ("InsufficientLiquidity", "no-severity"),
        ("InsufficientLiquidity", "no-runbook"),
    ] {
        assert!(
            codes.contains(&(rule.to_owned(), code)),
            "{rule} {code}: {codes:?}"
        );
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
