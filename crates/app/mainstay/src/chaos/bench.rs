//! What an experiment would do here: the platform as it is, the timetable, the judgement of every injection.

use std::collections::BTreeSet;

use mainstay_chaos::document::{Body, Document};
use mainstay_chaos::experiment::Experiment;
use mainstay_chaos::finding::render;
use mainstay_chaos::inventory::{Inventory, Sight};
use mainstay_chaos::judge::{Bench, Fidelity, Judgement};
use mainstay_chaos::plan::{Plan, plan};
use mainstay_chaos::{Checked, check};
use mainstay_derive::Layout;
use mainstay_model::Platform;
use mainstay_record::node::{Gathered, NodeFacts};
use mainstay_rt::{clock, entropy};

use super::{text, told};
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

/// The experiments of a file; one without a hypothesis around documents that stand alone.
pub fn trials<'a>(choice: &ChaosChoice, checked: &'a Checked) -> Result<Vec<Trial<'a>>, Failure> {
    let mut found = Vec::new();
    for document in &checked.documents {
        let Body::Experiment(experiment) = &document.body else {
            continue;
        };
        if choice
            .only
            .as_ref()
            .is_some_and(|only| *only != document.name)
        {
            continue;
        }
        let named = |other: &&Document| {
            experiment
                .run
                .iter()
                .any(|(kind, name)| other.kind == *kind && other.name == *name)
        };
        let documents: Vec<&Document> = checked.documents.iter().filter(named).collect();
        found.push(trial(
            choice,
            &document.name,
            Some(experiment.as_ref()),
            &documents,
        )?);
    }
    let has_experiments = checked
        .documents
        .iter()
        .any(|document| matches!(document.body, Body::Experiment(_)));
    if !has_experiments && choice.only.is_none() {
        let documents: Vec<&Document> = checked.documents.iter().collect();
        let name = documents
            .first()
            .map_or_else(String::new, |first| first.name.clone());
        found.push(trial(choice, &name, None, &documents)?);
    }
    if found.is_empty() {
        let known = checked
            .documents
            .iter()
            .filter(|document| matches!(document.body, Body::Experiment(_)))
            .map(|document| document.name.as_str());
        let known: Vec<&str> = known.collect();
        return Err(Failure::Usage(format!(
            "the file has no such experiment\n  next: there is {}",
            known.join(", ")
        )));
    }
    Ok(found)
}

fn trial<'a>(
    choice: &ChaosChoice,
    name: &str,
    experiment: Option<&'a Experiment>,
    documents: &[&'a Document],
) -> Result<Trial<'a>, Failure> {
    let window = choice
        .window
        .or(experiment.and_then(|experiment| experiment.window));
    let plan = plan(documents, window, clock::wall_ms() / 1_000).map_err(|why| {
        Failure::Usage(format!(
            "{why}\n  next: `mainstay chaos check {}` says what to write; --for bounds a run",
            choice.file.display()
        ))
    })?;
    let seed = choice
        .seed
        .or(experiment.and_then(|experiment| experiment.seed))
        .unwrap_or_else(entropy::u64);
    Ok(Trial {
        name: name.to_owned(),
        experiment,
        seed,
        plan,
    })
}

/// Who runs where now.
pub fn inventory(platform: &Platform, layout: &Layout) -> Result<Inventory, Failure> {
    Ok(Inventory::of(platform, Some(&sight(&look(layout)?))))
}

fn sight(gathered: &Gathered) -> Sight {
    let others = gathered
        .others
        .values()
        .filter_map(|seen| seen.value.as_ref());
    let mut sight = Sight::default();
    for node in others.chain([&gathered.own]) {
        of_node(node, &mut sight);
    }
    sight
}

fn of_node(node: &NodeFacts, sight: &mut Sight) {
    let running = node
        .instances
        .iter()
        .filter(|instance| instance.process.is_some());
    sight
        .running
        .extend(running.map(|instance| instance.instance.clone()));
    for (database, seen) in &node.keepers {
        let Some(status) = &seen.value else { continue };
        if status.postmaster.is_some() {
            sight
                .running
                .insert(format!("{}/postgres-{database}", node.host));
        }
        // Whoever is primary says so of itself; others may be late to hear of it.
        let is_itself = status.sight.primary.as_deref() == Some(node.host.as_str());
        if let Some(primary) = &status.sight.primary
            && (is_itself || !sight.primaries.contains_key(database))
        {
            sight.primaries.insert(database.clone(), primary.clone());
        }
    }
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
    let targets = judgements
        .iter()
        .flat_map(|judgement| judgement.targets.iter().cloned())
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
                    told(&step.chaos.name, judgement)
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
