//! What a changed file changes: its lines, and what the nodes will do about it.

use std::fmt::Write;

use mainstay_kernel::{ChangeKind, Desired, Step, Subject};
use mainstay_model::Platform;

use crate::configure;

/// Lines to compare with each other at most; larger differences are counted, not shown.
const COMPARED_MAX: usize = 4_000_000;

/// Lines that are gone (`-`) and lines that are new (`+`).
pub fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same_head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[same_head..], &new[same_head..]);
    let tails = old.iter().rev().zip(new.iter().rev());
    let same_tail = tails.take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - same_tail], &new[..new.len() - same_tail]);
    if old.len().saturating_mul(new.len()) > COMPARED_MAX {
        return format!("  {} lines became {}", old.len(), new.len());
    }
    let lines = compared(old, new, same_head);
    lines.join("\n")
}

/// By the longest common subsequence.
fn compared(old: &[&str], new: &[&str], before: usize) -> Vec<String> {
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            lines.push(format!("  {:>5} - {}", before + i + 1, old[i]));
            i += 1;
        } else {
            lines.push(format!("  {:>5} + {}", before + j + 1, new[j]));
            j += 1;
        }
    }
    lines
}

/// What differs and what follows from it, a line each.
pub fn plan(old: &Platform, new: &Platform) -> String {
    let plan = mainstay_kernel::plan(Some(&Desired::of(old)), &Desired::of(new));
    let mut text = String::from("plan:");
    for change in &plan.changes {
        let mark = match change.kind {
            ChangeKind::Removed => "-",
            ChangeKind::Added => "+",
            ChangeKind::Changed => "~",
        };
        let subject = match change.subject {
            Subject::Environment => "environment",
            Subject::Host => "host",
            Subject::Database => "database",
            Subject::Service => "service",
            Subject::Gateway => "gateway",
            Subject::Operator => "operator",
            Subject::Watch => "watch on",
            Subject::Gate => "gate",
        };
        // Writing to a string cannot fail.
        write!(text, "\n  {mark} {subject} {}", change.name).ok();
        if change.subject == Subject::Database
            && let (Some(old), Some(new)) = (old.database(&change.name), new.database(&change.name))
        {
            for line in configure::plan_lines(old, new) {
                write!(text, "\n      {line}").ok();
            }
        }
    }
    for step in &plan.steps {
        write!(text, "\n  → {}", words(step)).ok();
    }
    if plan.changes.is_empty() {
        text.push_str("\n  nothing that runs changes");
    }
    text
}

fn words(step: &Step) -> String {
    match step {
        Step::CreateReplica { database, host } => format!("create {database} on {host}"),
        Step::RemoveReplica { database, host } => {
            format!("let {database} on {host} go, when the others can do without it")
        }
        Step::StartGateway { gateway, host } => format!("start gateway {gateway} on {host}"),
        Step::ReloadGateway { gateway, host } => {
            format!("gateway {gateway} on {host} loads its new routes")
        }
        Step::StopGateway { gateway, host } => format!("stop gateway {gateway} on {host}"),
        Step::PlaceService { service, instances } => format!("place {instances} of {service}"),
        Step::ReplaceInstances { service } => {
            format!("bring the instances of {service} to the new definition")
        }
        Step::WithdrawService { service } => format!("stop {service}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_went_and_what_came() {
        let old = "a\nb\nc\nd\ne\n";
        let new = "a\nb\nx\nd\ny\ne\n";
        let expected = "      3 - c\n      3 + x\n      5 + y";
        assert_eq!(difference(old, new), expected);
        assert_eq!(difference(old, old), "");
        assert_eq!(difference("", "a\n"), "      1 + a");
        assert_eq!(difference("a\n", ""), "      1 - a");
    }
}
