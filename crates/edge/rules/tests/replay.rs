//! Other rules over a night that was.

#![allow(clippy::unwrap_used, reason = "tests")]

use mainstay_promql::labels::Labels;
use mainstay_promql::sample::Value;
use mainstay_promql::store::Memory;
use mainstay_rules::file::{Group, read};
use mainstay_rules::replay::{called, replay, written};

const START: i64 = 1_795_867_200_000;

/// A queue that grows by one each second from the hundredth on, and is gone at the two-hundredth.
fn night() -> Memory {
    let mut store = Memory::default();
    let labels = Labels::of(&[("__name__", "queue"), ("desk", "a")]);
    for second in 0..300_i64 {
        let long = match second {
            100..200 => second - 99,
            _ => 0,
        };
        let value = Value::Float(f64::from(i32::try_from(long).unwrap()));
        store.append(&labels, START + second * 1_000, value);
    }
    store
}

fn groups(expression: &str, hold: &str) -> Vec<Group> {
    let text = format!(
        "groups:\n  - name: g\n    interval: 1s\n    rules:\n      - record: queue:max\n        expr: max(queue)\n      - alert: Long\n        expr: {expression}\n        for: {hold}\n        labels: {{severity: page}}\n"
    );
    read("r.yaml", &text).unwrap()
}

fn play(expression: &str, hold: &str) -> mainstay_rules::replay::Replayed {
    let groups = groups(expression, hold);
    replay(&groups, night(), (START, START + 300_000), 5_000)
}

#[test]
fn rules_that_catch_say_when() {
    let replayed = play("queue:max > 10", "5s");
    assert_eq!(replayed.problems, []);
    let [fired] = &replayed.fired[..] else {
        panic!("{replayed:?}");
    };
    assert_eq!(called(fired), "Long{severity=\"page\"}");
    // Above ten from the 110th second on, firing when that has lasted for five.
    let after = fired.fired_at - START;
    assert!((115_000..117_000).contains(&after), "{after}");
    assert!((110_000..112_000).contains(&(fired.active_at - START)));
    let ended = fired.ended_at.unwrap() - START;
    assert!((200_000..202_000).contains(&ended), "{ended}");
    assert!(replayed.evaluations >= 300);
}

#[test]
fn rules_that_do_not_catch_say_nothing() {
    for (expression, hold) in [("queue > 100", "0s"), ("queue > 10", "2m")] {
        let replayed = play(expression, hold);
        assert_eq!(replayed.fired, [], "{expression} for {hold}");
        assert_eq!(replayed.problems, []);
    }
}

#[test]
fn one_that_comes_again_is_told_again_and_one_that_stays_has_no_end() {
    let replayed = play("queue > 10 and queue < 20 or queue > 30", "0s");
    assert_eq!(replayed.fired.len(), 2, "{replayed:?}");
    let stays = play("queue == 0", "0s");
    assert_eq!(stays.fired.last().unwrap().ended_at, None);
}

#[test]
fn a_rule_that_fails_is_named() {
    let replayed = play("queue / on () group_left () (queue or vector(1))", "0s");
    assert_eq!(replayed.fired, []);
    assert_eq!(replayed.problems.len(), 1, "{replayed:?}");
    assert_eq!(replayed.problems[0].0, "Long");
}

#[test]
fn what_rules_write_themselves_is_not_taken_from_the_past() {
    let names = written(&groups("queue > 10", "0s"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(names, ["ALERTS", "ALERTS_FOR_STATE", "queue:max"]);
}
