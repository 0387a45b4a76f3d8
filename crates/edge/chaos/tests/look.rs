//! Who looks when, and calls when.

use std::collections::BTreeSet;

use mainstay_chaos::check;
use mainstay_chaos::experiment::{Judged, Moment};
use mainstay_chaos::look::{Looker, Order, Seen};
use mainstay_chaos::trial::{Trial, trials};

const TEXT: &str = "
apiVersion: chaos-mesh.org/v1alpha1
kind: PodChaos
metadata: {name: gone, namespace: here}
spec:
  action: pod-failure
  mode: one
  duration: 10s
  selector: {labelSelectors: {app: web}}
---
apiVersion: mainstay/v1
kind: Experiment
metadata: {name: web}
spec:
  hypothesis: nobody notices
  run: [{kind: PodChaos, name: gone}]
  steadyState:
    - {name: fast, query: fast, atMost: 1}
    - {name: whole, query: whole, atLeast: 1, when: [before, after]}
  abort:
    - {name: alive, query: alive, atLeast: 1}
";

/// Written as a row of letters: holds, violated, missing; in the order in which they are asked for.
fn answers(row: &str) -> Vec<Judged> {
    let judged = |letter| match letter {
        'h' => Judged::Holds("1".to_owned()),
        'v' => Judged::Violated("2".to_owned()),
        _ => Judged::Missing("nobody answers".to_owned()),
    };
    row.chars().map(judged).collect()
}

/// When it answers, and what.
fn look(moment: Moment, told: &[&str], rows: &[(u64, &str)]) -> Option<(u64, Seen)> {
    let checked = check("a file", TEXT);
    assert!(!checked.has_errors(), "{:?}", checked.findings);
    let all: Vec<Trial<'_>> = trials(&checked);
    let [trial] = all.as_slice() else {
        panic!("{all:?}");
    };
    let order = Order {
        moment,
        now_ms: 1_000,
        within_ms: 20_000,
        patience_ms: 10_000,
    };
    let told: BTreeSet<String> = told.iter().map(ToString::to_string).collect();
    let mut looker = Looker::new(trial.experiment, order, told);
    rows.iter().find_map(|(now_ms, row)| {
        let seen = looker.handle_answers(*now_ms, answers(row))?;
        Some((*now_ms, seen))
    })
}

fn subjects(seen: &Seen) -> Vec<&str> {
    seen.seen
        .iter()
        .map(|(subject, _)| subject.as_str())
        .collect()
}

#[test]
fn before_it_is_looked_once() {
    let (at_ms, seen) = look(Moment::Before, &[], &[(1_100, "hm")]).unwrap();
    assert_eq!(at_ms, 1_100);
    assert_eq!(subjects(&seen), ["before fast", "before whole"]);
    assert!(matches!(seen.seen[1].1, Judged::Missing(_)));
}

#[test]
fn during_it_the_first_violation_is_told_and_what_is_known_is_not() {
    let rows = [(1_500, "hh"), (2_000, "hv"), (21_000, "hh")];
    let (at_ms, seen) = look(Moment::During, &[], &rows).unwrap();
    assert_eq!((at_ms, subjects(&seen)), (2_000, vec!["during fast"]));
    assert_eq!(seen.halt, None);
    let (at_ms, seen) = look(Moment::During, &["during fast"], &rows).unwrap();
    assert_eq!(at_ms, 21_000);
    assert!(
        matches!(seen.seen[0].1, Judged::Violated(_)),
        "the worst counts"
    );
}

#[test]
fn what_holds_is_told_at_the_end_and_what_was_missing_for_a_moment_is_missing() {
    let (at_ms, seen) = look(Moment::During, &[], &[(1_500, "hh"), (21_000, "hh")]).unwrap();
    assert_eq!((at_ms, seen.seen.len()), (21_000, 1));
    assert!(matches!(seen.seen[0].1, Judged::Holds(_)));
    let rows = [(1_500, "hm"), (2_000, "hh"), (20_999, "hh"), (21_000, "hh")];
    let (at_ms, seen) = look(Moment::During, &[], &rows).unwrap();
    assert_eq!(at_ms, 21_000);
    assert!(matches!(seen.seen[0].1, Judged::Missing(_)));
}

#[test]
fn an_abort_condition_ends_it_and_so_does_blindness() {
    let (at_ms, seen) = look(Moment::During, &[], &[(1_500, "hh"), (2_000, "vh")]).unwrap();
    assert_eq!((at_ms, subjects(&seen)), (2_000, vec!["abort alive"]));
    assert_eq!(seen.halt.as_deref(), Some("alive is 2"));
    let rows = [(1_500, "mh"), (10_999, "mh"), (11_000, "mh")];
    let (at_ms, seen) = look(Moment::During, &[], &rows).unwrap();
    assert_eq!(at_ms, 11_000);
    let halt = seen.halt.expect("a reason");
    assert!(
        halt.starts_with("alive was not measured for 10000 ms"),
        "{halt}"
    );
    // Seen once in between, and nothing is blind.
    let rows = [
        (9_000, "mh"),
        (10_000, "hh"),
        (19_000, "mh"),
        (21_000, "hh"),
    ];
    let (at_ms, seen) = look(Moment::During, &[], &rows).unwrap();
    assert_eq!((at_ms, seen.halt), (21_000, None));
}

#[test]
fn after_it_the_state_may_take_its_time_to_come_back() {
    let rows = [(1_500, "vh"), (9_000, "hv"), (12_000, "hh")];
    let (at_ms, seen) = look(Moment::After, &[], &rows).unwrap();
    assert_eq!((at_ms, seen.seen.len()), (12_000, 2));
    let holds = |(_, judged): &(String, Judged)| matches!(judged, Judged::Holds(_));
    assert!(seen.seen.iter().all(holds));
    let rows = [(1_500, "vh"), (20_999, "vh"), (21_500, "vh")];
    let (at_ms, seen) = look(Moment::After, &[], &rows).unwrap();
    assert_eq!(at_ms, 21_500);
    assert!(matches!(seen.seen[0].1, Judged::Violated(_)));
}
