//! Compares what clients were told with what is there in the end: a pure function.
//!
//! What decides is a list of [`Violation`]s; what is only counted (unknown outcomes, reads that were late) is
//! kept apart. A commit whose wait for the other copies was cancelled by the client is visible before it is
//! safe: PostgreSQL answers it with a warning. So an element that somebody saw and that is gone in the end is
//! excused if its own writer had cancelled, and a violation otherwise.

use std::collections::{BTreeMap, BTreeSet};

use crate::content::{Content, INITIAL_BALANCE, Transfer};
use crate::history::{Action, History, Id, Operation, Outcome};

/// The service broke its word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Acknowledged, and not there.
    Lost { what: What, id: Id },
    /// There, and nobody ever sent it.
    Invented { what: What, id: Id },
    /// There more than once.
    Duplicated { what: What, id: Id },
    /// The server said that it was aborted, and it is there.
    Resurrected { what: What, id: Id },
    /// Somebody saw it, its writer did not cancel, and it is gone.
    SeenThenGone { id: Id },
    /// A transfer is there, but not as it was sent.
    Altered { id: Id },
    /// A read found another total than was ever there.
    ReadTotal { id: Id, found: i64, expected: i64 },
    /// A read, or the final one, found other accounts than there are.
    Accounts { found: usize, expected: usize },
    /// Nobody may owe anything.
    Negative { account: u32, balance: i64 },
    /// The final total.
    Total { found: i64, expected: i64 },
    /// An account is not what the transfers make of it.
    Balance {
        account: u32,
        found: i64,
        expected: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Element,
    Transfer,
}

/// How many attempts ended in each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown_there: u64,
    pub unknown_absent: u64,
    /// Of the unknown: answered as a success, with a warning beside it.
    pub warned: u64,
    pub cancelled: u64,
}

/// A read that missed what had been acknowledged before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    pub read: Id,
    pub element: Id,
    /// Acknowledged so long before the read began.
    pub late_us: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub elements: Counts,
    pub transfers: Counts,
    pub looks: u64,
    pub sums: u64,
    pub stale: Vec<Stale>,
    /// Seen, then gone, after their writers had cancelled the wait for the other copies.
    pub excused: Vec<Id>,
    pub violations: Vec<Violation>,
}

/// How many accounts a bank has, and what is in it.
#[derive(Clone, Copy, Debug)]
pub struct Bank {
    pub accounts: u32,
}

impl Bank {
    #[must_use]
    pub fn total(self) -> i64 {
        i64::from(self.accounts) * INITIAL_BALANCE
    }
}

/// The word of `why` for a success with a warning.
pub const WARNED: &str = "warned";

#[must_use]
pub fn judge(history: &History, content: &Content, bank: Bank) -> Verdict {
    let mut verdict = Verdict::default();
    judge_elements(history, content, &mut verdict);
    judge_transfers(history, content, &mut verdict);
    judge_looks(history, content, &mut verdict);
    judge_sums(history, bank, &mut verdict);
    judge_balances(content, bank, &mut verdict);
    verdict.violations.sort();
    verdict.violations.dedup();
    verdict
}

fn judge_elements(history: &History, content: &Content, verdict: &mut Verdict) {
    let is_ours = |operation: &Operation| operation.action == Action::Add;
    let there = once(&content.elements, What::Element, verdict);
    verdict.elements = outcomes(history, &there, What::Element, is_ours, verdict);
}

fn judge_transfers(history: &History, content: &Content, verdict: &mut Verdict) {
    let ids: Vec<Id> = content.transfers.iter().map(|row| row.id).collect();
    let there = once(&ids, What::Transfer, verdict);
    let is_ours = |operation: &Operation| matches!(operation.action, Action::Transfer { .. });
    verdict.transfers = outcomes(history, &there, What::Transfer, is_ours, verdict);
    for row in &content.transfers {
        let Transfer {
            id,
            from,
            to,
            amount,
        } = *row;
        let sent = Action::Transfer { from, to, amount };
        let known = history.operations.get(&id);
        if known.is_some_and(|operation| is_ours(operation) && operation.action != sent) {
            verdict.violations.push(Violation::Altered { id });
        }
    }
}

/// What is there; whatever is there twice is a violation.
fn once(ids: &[Id], what: What, verdict: &mut Verdict) -> BTreeSet<Id> {
    let mut there = BTreeSet::new();
    for id in ids {
        if !there.insert(*id) {
            let id = *id;
            verdict.violations.push(Violation::Duplicated { what, id });
        }
    }
    there
}

fn outcomes(
    history: &History,
    there: &BTreeSet<Id>,
    what: What,
    is_ours: impl Fn(&Operation) -> bool,
    verdict: &mut Verdict,
) -> Counts {
    let mut counts = Counts::default();
    for (&id, operation) in history.operations.iter().filter(|(_, o)| is_ours(o)) {
        let is_there = there.contains(&id);
        let end = operation.end.as_ref();
        counts.cancelled += u64::from(end.is_some_and(|end| end.cancelled));
        match end.map(|end| &end.outcome) {
            Some(Outcome::Acknowledged) => {
                counts.acknowledged += 1;
                if !is_there {
                    verdict.violations.push(Violation::Lost { what, id });
                }
            }
            Some(Outcome::Refused { .. }) => {
                counts.refused += 1;
                if is_there {
                    verdict.violations.push(Violation::Resurrected { what, id });
                }
            }
            other => {
                let warned = matches!(other, Some(Outcome::Unknown { why }) if why == WARNED);
                counts.warned += u64::from(warned);
                counts.unknown_there += u64::from(is_there);
                counts.unknown_absent += u64::from(!is_there);
            }
        }
    }
    let invented = there
        .iter()
        .filter(|id| !history.operations.get(id).is_some_and(&is_ours));
    for &id in invented {
        verdict.violations.push(Violation::Invented { what, id });
    }
    counts
}

fn judge_looks(history: &History, content: &Content, verdict: &mut Verdict) {
    let there: BTreeSet<Id> = content.elements.iter().copied().collect();
    for (&read, operation) in &history.operations {
        let (Action::Look { asked }, Some(end)) = (&operation.action, &operation.end) else {
            continue;
        };
        let Outcome::Saw { elements } = &end.outcome else {
            continue;
        };
        verdict.looks += 1;
        for &element in asked.iter().filter(|id| !elements.contains(id)) {
            // What was acknowledged before the read began must have been seen by it.
            if let Some(at_us) = acknowledged_at(history, element)
                && at_us < operation.begun_us
            {
                let late_us = operation.begun_us - at_us;
                verdict.stale.push(Stale {
                    read,
                    element,
                    late_us,
                });
            }
        }
        for &id in elements.iter().filter(|id| !there.contains(id)) {
            let writer = history.operations.get(&id);
            let end = writer.and_then(|writer| writer.end.as_ref());
            if end.is_some_and(|end| end.cancelled) {
                verdict.excused.push(id);
            } else {
                verdict.violations.push(Violation::SeenThenGone { id });
            }
        }
    }
    verdict.excused.sort_unstable();
    verdict.excused.dedup();
}

fn acknowledged_at(history: &History, id: Id) -> Option<u64> {
    let end = history.operations.get(&id)?.end.as_ref()?;
    (end.outcome == Outcome::Acknowledged).then_some(end.at_us)
}

fn judge_sums(history: &History, bank: Bank, verdict: &mut Verdict) {
    for (&id, operation) in &history.operations {
        let Some(Outcome::Read { balances }) = operation.end.as_ref().map(|end| &end.outcome)
        else {
            continue;
        };
        verdict.sums += 1;
        let found = balances.iter().map(|(_, balance)| balance).sum();
        let expected = bank.total();
        if found != expected {
            let violation = Violation::ReadTotal {
                id,
                found,
                expected,
            };
            verdict.violations.push(violation);
        }
        accounts(balances, bank, verdict);
    }
}

fn accounts(balances: &[(u32, i64)], bank: Bank, verdict: &mut Verdict) {
    let (found, expected) = (balances.len(), bank.accounts as usize);
    if found != expected {
        let violation = Violation::Accounts { found, expected };
        verdict.violations.push(violation);
    }
    for &(account, balance) in balances.iter().filter(|(_, balance)| *balance < 0) {
        let violation = Violation::Negative { account, balance };
        verdict.violations.push(violation);
    }
}

fn judge_balances(content: &Content, bank: Bank, verdict: &mut Verdict) {
    accounts(&content.balances, bank, verdict);
    let found = content.balances.iter().map(|(_, balance)| balance).sum();
    let expected = bank.total();
    if found != expected {
        let violation = Violation::Total { found, expected };
        verdict.violations.push(violation);
    }
    let mut moved: BTreeMap<u32, i64> = BTreeMap::new();
    for row in &content.transfers {
        *moved.entry(row.from).or_default() -= row.amount;
        *moved.entry(row.to).or_default() += row.amount;
    }
    for &(account, found) in &content.balances {
        let expected = INITIAL_BALANCE + moved.get(&account).copied().unwrap_or(0);
        if found != expected {
            verdict.violations.push(Violation::Balance {
                account,
                found,
                expected,
            });
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
