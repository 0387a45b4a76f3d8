//! A verdict in words.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::history::History;
use crate::judge::{Counts, Verdict};

/// So many violations are told one by one.
const SHOWN: usize = 20;

/// A few lines for a person.
#[must_use]
pub fn text(verdict: &Verdict, history: &History) -> String {
    let mut text = String::new();
    for (name, counts) in [("set", verdict.elements), ("bank", verdict.transfers)] {
        // Writing to a string does not fail.
        let _ = writeln!(text, "    {name:<5} {}", outcomes(counts));
    }
    let _ = writeln!(
        text,
        "    reads {} looks ({} misses of what had been acknowledged), {} sums; seen, then gone after a cancel: {}",
        verdict.looks,
        verdict.stale.len(),
        verdict.sums,
        verdict.excused.len()
    );
    if let Some(worst) = verdict.stale.iter().max_by_key(|stale| stale.late_us) {
        let _ = writeln!(
            text,
            "    stalest read: operation {} missed element {}, acknowledged {} ms before",
            worst.read,
            worst.element,
            worst.late_us / 1_000
        );
    }
    let _ = writeln!(
        text,
        "    longest time without an acknowledgement: {} ms",
        history.longest_silence_us() / 1_000
    );
    for violation in verdict.violations.iter().take(SHOWN) {
        let _ = writeln!(text, "    VIOLATION {violation:?}");
    }
    if verdict.violations.len() > SHOWN {
        let _ = writeln!(text, "    … {} violations", verdict.violations.len());
    }
    text
}

fn outcomes(counts: Counts) -> String {
    format!(
        "{} acknowledged, {} refused, {} unknown ({} there, {} not; {} of them told as success with a warning); {} cancelled",
        counts.acknowledged,
        counts.refused,
        counts.unknown_there + counts.unknown_absent,
        counts.unknown_there,
        counts.unknown_absent,
        counts.warned,
        counts.cancelled
    )
}

/// The same for a program.
#[must_use]
pub fn json(verdict: &Verdict, history: &History) -> Value {
    let counts = |counts: Counts| {
        json!({
            "acknowledged": counts.acknowledged,
            "refused": counts.refused,
            "unknown_there": counts.unknown_there,
            "unknown_absent": counts.unknown_absent,
            "warned": counts.warned,
            "cancelled": counts.cancelled,
        })
    };
    let violations: Vec<String> = verdict
        .violations
        .iter()
        .map(|violation| format!("{violation:?}"))
        .collect();
    json!({
        "set": counts(verdict.elements),
        "bank": counts(verdict.transfers),
        "looks": verdict.looks,
        "sums": verdict.sums,
        "stale": verdict.stale.len(),
        "stalest_us": verdict.stale.iter().map(|stale| stale.late_us).max().unwrap_or(0),
        "excused": verdict.excused.len(),
        "longest_silence_us": history.longest_silence_us(),
        "violations": violations,
    })
}
