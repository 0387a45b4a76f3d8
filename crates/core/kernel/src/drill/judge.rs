//! What figures say of objectives, and what the whole comes to.
//!
//! | proposed     | left behind, or books wrong | a service missed | a step failed | something not measured | else         |
//! |--------------|-----------------------------|------------------|---------------|------------------------|--------------|
//! | passed       | failed                      | failed           | failed        | inconclusive           | passed       |
//! | failed       | failed                      | failed           | failed        | failed                 | failed       |
//! | aborted      | failed                      | aborted          | aborted       | aborted                | aborted      |
//! | inconclusive | failed                      | failed           | inconclusive  | inconclusive           | inconclusive |
//!
//! What stands twice, was altered or invented, or does not add up, is nobody's objective: no drill bears any of it. A service
//! that came back and was away again for as long as its objective has missed it, whichever time was the first.
//!
//! A service is judged by the worst of its figures: one that is missing makes all of them missing, unless another
//! misses the objective already.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::plan::{
    DrillEnd, DrillVerdict, Judged, LossLimit, Measure, Measured, Measurement, Objective,
    ServiceVerdict, StepOutcome,
};
use super::state::Drill;

/// The figures that objectives are judged by.
const RTO: &str = "rto";
const LOST: &str = "lost";
const LOST_TIME: &str = "lost_time";
const LONGEST_GAP: &str = "longest_gap";
/// Of a reconciliation: what no objective allows.
const WRONG: [&str; 4] = ["duplicated", "altered", "invented", "unsound"];

/// The end that the journal bears out, and the verdict on each service.
pub(super) fn borne_out(running: &Drill, proposed: &DrillEnd) -> (DrillEnd, Vec<ServiceVerdict>) {
    let services: Vec<ServiceVerdict> = running
        .plan
        .objectives
        .iter()
        .map(|objective| judged(objective, &running.measurements))
        .collect();
    let (verdict, why) = verdict(running, &services, proposed);
    let end = DrillEnd {
        verdict,
        why,
        ..proposed.clone()
    };
    (end, services)
}

fn verdict(
    running: &Drill,
    services: &[ServiceVerdict],
    proposed: &DrillEnd,
) -> (DrillVerdict, String) {
    use DrillVerdict::{Aborted, Failed, Inconclusive, Passed};
    let because = |what: String| match proposed.why.is_empty() {
        true => what,
        false => format!("{what}; {}", proposed.why),
    };
    if let Some(first) = proposed.residue.first() {
        return (Failed, because(format!("{first} was left behind")));
    }
    if let Some(wrong) = wrong(&running.measurements) {
        return (Failed, because(wrong));
    }
    if matches!(proposed.verdict, Failed | Aborted) {
        return (proposed.verdict, proposed.why.clone());
    }
    let missed = names(services, Judged::Missed);
    if !missed.is_empty() {
        return (Failed, because(format!("{missed} missed its objective")));
    }
    if proposed.verdict == Inconclusive {
        return (Inconclusive, proposed.why.clone());
    }
    let failed = running
        .ended
        .iter()
        .find(|(_, outcome)| **outcome != StepOutcome::Done);
    if let Some((step, outcome)) = failed {
        return (
            Failed,
            because(format!("step {step} is {}", outcome.as_str())),
        );
    }
    let planned = running.plan.steps.iter();
    let undone: Vec<&str> = planned
        .map(|step| step.id.as_str())
        .filter(|id| !running.ended.contains_key(*id))
        .collect();
    if !undone.is_empty() {
        let what = format!("nothing is known of step {}", undone.join(", "));
        return (Inconclusive, because(what));
    }
    if let Some(uncounted) = uncounted(&running.measurements) {
        return (Inconclusive, because(uncounted));
    }
    let missing = names(services, Judged::NotMeasured);
    let is_met = |service: &ServiceVerdict| [service.rto, service.rpo].contains(&Judged::Met);
    if !missing.is_empty() {
        return (Inconclusive, because(format!("{missing} was not measured")));
    }
    if !services.iter().any(is_met) {
        return (Inconclusive, because("nothing was measured".to_string()));
    }
    (Passed, proposed.why.clone())
}

/// Figures of what is wrong with the books, with whose books they are.
fn of_books(measurements: &[Measurement]) -> impl Iterator<Item = (&str, &Measure)> {
    let ledgers = measurements
        .iter()
        .filter(|found| matches!(found.measured, Measured::Ledger | Measured::Restore));
    ledgers.flat_map(|ledger| {
        let values = ledger.values.iter();
        values
            .filter(|measure| WRONG.contains(&measure.name.as_str()))
            .map(|measure| (ledger.subject.as_str(), measure))
    })
}

/// What is wrong with the books, if anything is.
fn wrong(measurements: &[Measurement]) -> Option<String> {
    of_books(measurements).find_map(|(whose, measure)| {
        let count = measure.value.filter(|count| *count > 0)?;
        Some(format!("books of {whose}: {count} {}", measure.name))
    })
}

/// What an auditor should have counted and did not.
fn uncounted(measurements: &[Measurement]) -> Option<String> {
    of_books(measurements).find_map(|(whose, measure)| match measure.value {
        Some(_) => None,
        None => Some(format!(
            "books of {whose}: what is {} was not counted: {}",
            measure.name, measure.why
        )),
    })
}

/// Services of which something is so, unless the document says that it is not measured.
fn names(services: &[ServiceVerdict], judged: Judged) -> String {
    let found = services.iter().filter(|service| {
        let counts = judged != Judged::NotMeasured || service.objective.unmeasured.is_none();
        counts && [service.rto, service.rpo].contains(&judged)
    });
    let names: Vec<&str> = found
        .map(|service| service.objective.service.as_str())
        .collect();
    names.join(", ")
}

fn judged(objective: &Objective, measurements: &[Measurement]) -> ServiceVerdict {
    let of = |kinds: &[Measured]| -> Vec<&Measurement> {
        let about = |measurement: &&Measurement| {
            kinds.contains(&measurement.measured)
                && measurement.services.contains(&objective.service)
        };
        measurements.iter().filter(about).collect()
    };
    let recoveries = of(&[Measured::Recovery, Measured::Restore]);
    let losses = of(&[Measured::Ledger, Measured::Restore]);
    let (rto_us, is_whole) = worst(&recoveries, RTO);
    let (gap_us, _) = worst(&recoveries, LONGEST_GAP);
    let limit_us = objective.rto_below_ms.map(|ms| ms.saturating_mul(1_000));
    let rto = match against(limit_us, gap_us, false) {
        Judged::Missed => Judged::Missed,
        Judged::Met | Judged::NotMeasured | Judged::NoObjective => {
            against(limit_us, rto_us, is_whole)
        }
    };
    let (lost_transactions, all_counted) = worst(&losses, LOST);
    let (lost_us, all_timed) = worst(&losses, LOST_TIME);
    let rpo = match objective.rpo_below {
        None => Judged::NoObjective,
        Some(LossLimit::Transactions(limit)) => {
            against(Some(limit), lost_transactions, all_counted)
        }
        Some(LossLimit::TimeMs(limit_ms)) => {
            against(Some(limit_ms.saturating_mul(1_000)), lost_us, all_timed)
        }
    };
    ServiceVerdict {
        objective: objective.clone(),
        rto,
        rto_us,
        rpo,
        lost_transactions,
        lost_us,
    }
}

/// The largest figure of this name, and whether every measurement that should have it has it.
fn worst(measurements: &[&Measurement], name: &str) -> (Option<u64>, bool) {
    let values = measurements.iter().map(|found| found.value(name));
    let is_whole = !measurements.is_empty() && values.clone().all(|value| value.is_some());
    (values.flatten().max(), is_whole)
}

fn against(limit: Option<u64>, value: Option<u64>, is_whole: bool) -> Judged {
    match (limit, value) {
        (None, _) => Judged::NoObjective,
        (Some(limit), Some(value)) if value >= limit => Judged::Missed,
        (Some(_), Some(_)) if is_whole => Judged::Met,
        (Some(_), Some(_) | None) => Judged::NotMeasured,
    }
}
