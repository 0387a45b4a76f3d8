//! A small honest run, and every way to be dishonest about it.

use super::*;
use crate::history::Line;

const BANK: Bank = Bank { accounts: 3 };

fn add(history: &mut History, id: Id, outcome: Option<Outcome>) {
    act(history, id, Action::Add, outcome, false);
}

fn act(history: &mut History, id: Id, action: Action, outcome: Option<Outcome>, cancelled: bool) {
    let begin = Line::Begin {
        id,
        at_us: id * 10,
        client: 0,
        action,
    };
    history.push(begin).unwrap();
    if let Some(outcome) = outcome {
        let end = Line::End {
            id,
            at_us: id * 10 + 5,
            outcome,
            cancelled,
        };
        history.push(end).unwrap();
    }
}

fn refused() -> Option<Outcome> {
    Some(Outcome::Refused {
        why: "40001".to_owned(),
    })
}

fn unknown(why: &str) -> Option<Outcome> {
    Some(Outcome::Unknown {
        why: why.to_owned(),
    })
}

fn saw(elements: &[Id]) -> Option<Outcome> {
    Some(Outcome::Saw {
        elements: elements.to_vec(),
    })
}

/// Elements 1 (acknowledged), 2 (refused), 3 (unknown, there), 4 (unknown, absent), 5 (never ended);
/// transfers 11 (acknowledged) and 12 (refused); a look 21 and a sum 22.
fn honest() -> (History, Content) {
    let mut history = History::default();
    add(&mut history, 1, Some(Outcome::Acknowledged));
    add(&mut history, 2, refused());
    add(&mut history, 3, unknown(WARNED));
    add(&mut history, 4, unknown("hung up"));
    add(&mut history, 5, None);
    let transfer = |amount| Action::Transfer {
        from: 0,
        to: 1,
        amount,
    };
    let acknowledged = Some(Outcome::Acknowledged);
    act(&mut history, 11, transfer(30), acknowledged, false);
    act(&mut history, 12, transfer(10), refused(), false);
    let look = Action::Look {
        asked: vec![1, 3, 4],
    };
    act(&mut history, 21, look, saw(&[1, 3]), false);
    let balances = vec![(0, 70), (1, 130), (2, 100)];
    let read = Outcome::Read {
        balances: balances.clone(),
    };
    act(&mut history, 22, Action::Sum, Some(read), false);
    let content = Content {
        elements: vec![1, 3],
        balances,
        transfers: vec![Transfer {
            id: 11,
            from: 0,
            to: 1,
            amount: 30,
        }],
    };
    (history, content)
}

/// What is found when the content, and only the content, is changed.
fn found(change: impl FnOnce(&mut Content)) -> Vec<Violation> {
    let (history, mut content) = honest();
    change(&mut content);
    judge(&history, &content, BANK).violations
}

#[test]
fn an_honest_run_is_counted() {
    let (history, content) = honest();
    let verdict = judge(&history, &content, BANK);
    assert_eq!(verdict.violations, []);
    let expected = Counts {
        acknowledged: 1,
        refused: 1,
        unknown_there: 1,
        unknown_absent: 2,
        warned: 1,
        cancelled: 0,
    };
    assert_eq!(verdict.elements, expected);
    assert_eq!(
        (verdict.transfers.acknowledged, verdict.transfers.refused),
        (1, 1)
    );
    assert_eq!((verdict.looks, verdict.sums), (1, 1));
    assert_eq!(verdict.stale, []);
}

#[test]
fn a_lost_element_is_found() {
    let lost = found(|content| content.elements.retain(|id| *id != 1));
    let (what, id) = (What::Element, 1);
    let expected = [
        Violation::Lost { what, id },
        Violation::SeenThenGone { id: 1 },
    ];
    assert_eq!(lost, expected);
}

#[test]
fn an_invented_element_is_found() {
    let (what, id) = (What::Element, 99);
    let invented = found(|content| content.elements.push(99));
    assert_eq!(invented, [Violation::Invented { what, id }]);
    // An element that is called like somebody's transfer is no less invented.
    let id = 12;
    let invented = found(|content| content.elements.push(12));
    assert_eq!(invented, [Violation::Invented { what, id }]);
}

#[test]
fn a_second_copy_is_found() {
    let (what, id) = (What::Element, 1);
    let duplicated = found(|content| content.elements.push(1));
    assert_eq!(duplicated, [Violation::Duplicated { what, id }]);
}

#[test]
fn a_refused_element_that_is_there_is_found() {
    let (what, id) = (What::Element, 2);
    let there = found(|content| content.elements.push(2));
    assert_eq!(there, [Violation::Resurrected { what, id }]);
}

#[test]
fn unknown_outcomes_may_go_either_way() {
    let all = found(|content| content.elements = vec![1, 3, 4, 5]);
    assert_eq!(all, []);
}

#[test]
fn a_sum_off_by_one_is_found_in_the_end_and_in_a_read() {
    let end = found(|content| content.balances[2].1 += 1);
    let (found_total, expected) = (301, 300);
    assert_eq!(
        end,
        [
            Violation::Total {
                found: found_total,
                expected
            },
            Violation::Balance {
                account: 2,
                found: 101,
                expected: 100
            },
        ]
    );
    let (mut history, content) = honest();
    let read = Outcome::Read {
        balances: vec![(0, 70), (1, 130), (2, 99)],
    };
    act(&mut history, 23, Action::Sum, Some(read), false);
    let violations = judge(&history, &content, BANK).violations;
    let expected = Violation::ReadTotal {
        id: 23,
        found: 299,
        expected,
    };
    assert_eq!(violations, [expected]);
}

#[test]
fn money_moved_by_nobody_is_found_although_the_total_is_right() {
    let moved = found(|content| {
        content.balances[0].1 += 1;
        content.balances[2].1 -= 1;
    });
    assert_eq!(moved.len(), 2, "{moved:?}");
    let overdrawn = found(|content| {
        content.balances[0].1 += 101;
        content.balances[2].1 -= 101;
    });
    let negative = Violation::Negative {
        account: 2,
        balance: -1,
    };
    assert!(overdrawn.contains(&negative), "{overdrawn:?}");
}

#[test]
fn a_lost_and_an_altered_transfer_are_found() {
    let (what, id) = (What::Transfer, 11);
    let lost = found(|content| {
        // Undone so well that every balance is right.
        content.transfers.clear();
        content.balances = vec![(0, 100), (1, 100), (2, 100)];
    });
    assert_eq!(lost, [Violation::Lost { what, id }]);
    let altered = found(|content| {
        content.transfers[0].amount = 31;
        content.balances = vec![(0, 69), (1, 131), (2, 100)];
    });
    assert_eq!(altered, [Violation::Altered { id }]);
}

#[test]
fn a_missing_account_is_found() {
    let missing = found(|content| content.balances.truncate(2));
    let expected = Violation::Accounts {
        found: 2,
        expected: 3,
    };
    assert!(missing.contains(&expected), "{missing:?}");
}

#[test]
fn a_late_read_is_counted_and_decides_nothing() {
    let (mut history, content) = honest();
    let look = Action::Look { asked: vec![1, 4] };
    act(&mut history, 23, look, saw(&[]), false);
    let verdict = judge(&history, &content, BANK);
    assert_eq!(verdict.violations, []);
    let stale = Stale {
        read: 23,
        element: 1,
        late_us: 215,
    };
    assert_eq!(verdict.stale, [stale]);
}

#[test]
fn a_read_may_miss_what_was_acknowledged_after_it_began() {
    let mut history = History::default();
    let look = Action::Look { asked: vec![9] };
    act(&mut history, 1, look, saw(&[]), false);
    add(&mut history, 9, Some(Outcome::Acknowledged));
    let content = Content {
        elements: vec![9],
        ..Content::default()
    };
    assert_eq!(judge(&history, &content, BANK).stale, []);
}

#[test]
fn what_was_seen_and_is_gone_is_excused_only_by_a_cancel() {
    for cancelled in [true, false] {
        let (mut history, content) = honest();
        act(&mut history, 6, Action::Add, unknown(WARNED), cancelled);
        let look = Action::Look { asked: vec![6] };
        act(&mut history, 23, look, saw(&[6]), false);
        let verdict = judge(&history, &content, BANK);
        if cancelled {
            assert_eq!((verdict.excused, verdict.violations), (vec![6], vec![]));
        } else {
            assert_eq!(verdict.violations, [Violation::SeenThenGone { id: 6 }]);
        }
    }
}
