//! What an experiment would do here: the platform as it is, the timetable, the judgement of every injection.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_chaos::experiment::Experiment;
use mainstay_chaos::finding::render;
use mainstay_chaos::inventory::{Inventory, Sight};
use mainstay_chaos::judge::{Bench, Fidelity, Judgement};
use mainstay_chaos::plan::Plan;
use mainstay_chaos::{Checked, check, trial};
use mainstay_derive::Layout;
use mainstay_model::Platform;
use mainstay_rt::{clock, entropy};

use super::text;
use crate::arguments::{ChaosChoice, ChaosPlan};
use crate::client::{find, look};
use crate::exit::{Failure, Outcome};
use crate::print::{json, line, problem};
use crate::validate::read_valid;

/// An experiment with everything that it is about.
pub struct Trial<'a> {
    pub name: String,
    /// Absent: documents without a hypothesis.
    pub experiment: Option<&'a Experiment>,
    pub seed: u64,
    /// How long what does not end by itself is followed, and what schedules count from, in seconds since 1970.
    pub window: Option<Duration>,
    pub planned_s: u64,
    pub plan: Plan,
}

/// The file, read and without errors; what is only weak is told.
pub fn read(choice: &ChaosChoice) -> Result<(Checked, String), Failure> {
    let text = text(&choice.file)?;
    let checked = check(&choice.file.display().to_string(), &text);
    if checked.has_errors() {
        return Err(Failure::Finding(render(&checked.findings)));
    }
    if !checked.findings.is_empty() {
        problem(render(&checked.findings).trim_end());
    }
    Ok((checked, text))
}

/// The experiments of a file, planned from now; one without a hypothesis around documents that stand alone.
pub fn trials<'a>(choice: &ChaosChoice, checked: &'a Checked) -> Result<Vec<Trial<'a>>, Failure> {
    let all = trial::trials(checked);
    let is_meant = |found: &&trial::Trial<'_>| match &choice.only {
        Some(only) => found.experiment.is_some() && *only == found.name,
        None => true,
    };
    let meant: Vec<Trial<'a>> = all
        .iter()
        .filter(is_meant)
        .map(|found| planned(choice, found))
        .collect::<Result<_, _>>()?;
    if meant.is_empty() {
        let known = all.iter().filter(|found| found.experiment.is_some());
        let known: Vec<&str> = known.map(|found| found.name.as_str()).collect();
        return Err(Failure::Usage(format!(
            "the file has no such experiment\n  next: there is {}",
            known.join(", ")
        )));
    }
    Ok(meant)
}

fn planned<'a>(choice: &ChaosChoice, found: &trial::Trial<'a>) -> Result<Trial<'a>, Failure> {
    let window = choice.window.or(found.window());
    let planned_s = clock::wall_ms() / 1_000;
    let plan = found.plan(window, planned_s).map_err(|why| {
        Failure::Usage(format!(
            "{why}\n  next: `mainstay chaos check {}` says what to write; --for bounds a run",
            choice.file.display()
        ))
    })?;
    let experiment = found.experiment;
    let seed = choice
        .seed
        .or(experiment.and_then(|experiment| experiment.seed))
        .unwrap_or_else(entropy::u64);
    Ok(Trial {
        name: found.name.clone(),
        experiment,
        seed,
        window,
        planned_s,
        plan,
    })
}

/// Who runs where now.
pub fn inventory(platform: &Platform, layout: &Layout) -> Result<Inventory, Failure> {
    Ok(Inventory::of(platform, Some(&Sight::of(&look(layout)?))))
}

/// Every injection judged as things are; and whom all of them would touch.
pub fn judged(
    platform: &Platform,
    inventory: &Inventory,
    trial: &Trial<'_>,
) -> (Vec<Judgement>, BTreeSet<String>) {
    let bench = Bench {
        platform,
        inventory,
        seed: trial.seed,
    };
    let steps = trial.plan.steps.iter();
    let judgements: Vec<Judgement> = steps.map(|step| bench.judge(&step.chaos)).collect();
    // Who is hit without being meant is hit all the same.
    let targets = judgements
        .iter()
        .flat_map(|judgement| judgement.targets.iter().chain(&judgement.besides).cloned())
        .collect();
    (judgements, targets)
}

/// Why it must not be run here at all.
pub fn objection(
    trial: &Trial<'_>,
    inventory: &Inventory,
    judgements: &[Judgement],
    targets: usize,
) -> Option<String> {
    if let Some((name, why)) = trial.plan.refused.first() {
        return Some(format!("{name}: {why}"));
    }
    let refused = judgements.iter().zip(&trial.plan.steps);
    let mut refused = refused.filter_map(|(judgement, step)| match &judgement.fidelity {
        Fidelity::Refused(why) => Some(format!("{}/{}: {why}", step.chaos.kind, step.chaos.name)),
        Fidelity::Exact | Fidelity::Approximated(_) => None,
    });
    if let Some(why) = refused.next() {
        return Some(why);
    }
    let radius = trial.experiment.map(|experiment| experiment.blast_radius)?;
    let all = inventory.pods.iter().filter(|pod| pod.runs).count();
    radius
        .exceeded(targets as u64, all as u64)
        .map(|why| format!("the blast radius is too large: {why}"))
}

/// `mainstay chaos plan`.
pub fn show(arguments: &ChaosPlan) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    let platform = read_valid(&layout.platform_file())?.0;
    let (checked, _) = read(&arguments.choice)?;
    let inventory = inventory(&platform, &layout)?;
    let mut objections = Vec::new();
    let mut shown = Vec::new();
    for trial in trials(&arguments.choice, &checked)? {
        let (judgements, targets) = judged(&platform, &inventory, &trial);
        let objection = objection(&trial, &inventory, &judgements, targets.len());
        let steps = trial.plan.steps.iter().zip(&judgements);
        if arguments.json {
            let steps = steps.map(|(step, judgement)| {
                serde_json::json!({
                    "at_ms": step.at.as_millis(),
                    "lasts_ms": step.lasts.map(|lasts| lasts.as_millis()),
                    "kind": step.chaos.kind,
                    "name": step.chaos.name,
                    "fidelity": judgement.fidelity.name(),
                    "why": judgement.fidelity.why(),
                    "targets": judgement.targets,
                    "besides": judgement.besides,
                })
            });
            shown.push(serde_json::json!({
                "name": trial.name,
                "seed": trial.seed.to_string(),
                "steps": steps.collect::<Vec<_>>(),
                "objection": objection,
            }));
        } else {
            line(format_args!(
                "{} (seed {}, ends after {:?})",
                trial.name, trial.seed, trial.plan.ends
            ))?;
            for (step, judgement) in steps {
                let lasts = step
                    .lasts
                    .map_or_else(String::new, |lasts| format!(" for {lasts:?}"));
                line(format_args!(
                    "  at {:?}{lasts}: {}",
                    step.at,
                    judgement.told(&step.chaos.name)
                ))?;
                for order in &judgement.orders {
                    line(format_args!("      {} {}", order.kind.name(), order.target))?;
                }
            }
            if let Some(objection) = &objection {
                line(format_args!("  refused: {objection}"))?;
            }
        }
        objections.extend(objection);
    }
    if arguments.json {
        json(&shown)?;
    }
    match objections.is_empty() {
        true => Ok(()),
        false => Err(Failure::Finding(
            "not everything can be run here".to_owned(),
        )),
    }
}
