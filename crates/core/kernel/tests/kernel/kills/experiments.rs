//! What must hold of experiments, whoever dies: read from the journal's entries and the witness's facts.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_kernel::{Event, ExperimentId, ExperimentNews, Finding, Slot, Verdict};

use super::checker::Told;
use super::reality::Fact;

/// Whoever does not look for so long is blind.
const BLIND_MS: u64 = 10_000;
/// An injection comes this late at most.
const LATE_MS: u64 = 31_000;

/// An experiment as the journal has it, without folding anything as the kernel does.
#[derive(Default)]
struct Course {
    slots: Vec<Slot>,
    begun: u32,
    /// When it was first looked at: from there the timetable counts.
    since_ms: Option<u64>,
    /// By injection: when, and which faults.
    chosen: BTreeMap<u32, Vec<(u64, BTreeSet<String>)>>,
    /// The position of its last order to look.
    gaze: Option<u64>,
    /// Observations, with the order that each rests on.
    seen: Vec<(String, Option<u64>, Finding)>,
    mends_at: Option<u64>,
    ended: Vec<(u64, u64, Verdict, bool)>,
}

fn courses(told: &Told) -> BTreeMap<ExperimentId, Course> {
    let mut courses: BTreeMap<ExperimentId, Course> = BTreeMap::new();
    for record in &told.journal {
        let Event::Experiment(news) = &record.event else {
            continue;
        };
        let (position, at_ms) = (record.position.0, record.at_ms);
        match news {
            ExperimentNews::Begun {
                experiment, plan, ..
            } => {
                let course = courses.entry(*experiment).or_default();
                course.begun += 1;
                course.slots = plan
                    .timetable
                    .iter()
                    .flat_map(|t| t.injections.clone())
                    .collect();
            }
            ExperimentNews::Looking { experiment, .. } => {
                courses.entry(*experiment).or_default().gaze = Some(position);
            }
            ExperimentNews::Looked { experiment, .. } => {
                courses
                    .entry(*experiment)
                    .or_default()
                    .since_ms
                    .get_or_insert(at_ms);
            }
            ExperimentNews::Choosing { .. } => {}
            ExperimentNews::Chosen {
                experiment,
                injection,
                faults,
                ..
            } => {
                let course = courses.entry(*experiment).or_default();
                let faults = faults.iter().map(ToString::to_string).collect();
                course
                    .chosen
                    .entry(*injection)
                    .or_default()
                    .push((at_ms, faults));
                if course.mends_at.is_some() {
                    // Told by `check` as a fault after the end.
                    course.slots.clear();
                }
            }
            ExperimentNews::Observed {
                experiment,
                observation,
            } => {
                let course = courses.entry(*experiment).or_default();
                let (subject, gaze) = (observation.subject.clone(), course.gaze);
                course.seen.push((subject, gaze, observation.finding));
            }
            ExperimentNews::Mending { experiment, .. } => {
                courses.entry(*experiment).or_default().mends_at = Some(position);
            }
            ExperimentNews::Ended {
                experiment,
                verdict,
                residue,
                ..
            } => {
                let end = (position, at_ms, *verdict, !residue.is_empty());
                courses.entry(*experiment).or_default().ended.push(end);
            }
        }
    }
    courses
}

pub fn verdicts(told: &Told) -> Vec<Verdict> {
    let courses = courses(told).into_values();
    courses
        .flat_map(|course| course.ended)
        .map(|(_, _, verdict, _)| verdict)
        .collect()
}

pub fn check(told: &Told, found: &mut Vec<String>) {
    for (id, course) in courses(told) {
        if course.begun != 1 || course.ended.len() != 1 {
            let ends = course.ended.len();
            found.push(format!(
                "{id} began {} times and ended {ends} times",
                course.begun
            ));
            continue;
        }
        chosen_once(id, &course, found);
        nothing_afterwards(told, id, &course, found);
        seen_as_told(told, id, &course, found);
        passed(told, id, &course, found);
    }
}

/// What was chosen is not chosen anew, and comes when it is due: neither early nor much later.
fn chosen_once(id: ExperimentId, course: &Course, found: &mut Vec<String>) {
    for (injection, times) in &course.chosen {
        if times.len() > 1 {
            found.push(format!(
                "{id} chose injection {injection} {} times",
                times.len()
            ));
        }
        let (Some(slot), Some(since_ms)) = (course.slots.get(*injection as usize), course.since_ms)
        else {
            found.push(format!("{id} chose injection {injection} out of its time"));
            continue;
        };
        let due_ms = since_ms + slot.at_ms;
        if times
            .iter()
            .any(|(at_ms, _)| !(due_ms..due_ms + LATE_MS).contains(at_ms))
        {
            found.push(format!(
                "{id} chose injection {injection} at {times:?}, due at {due_ms}"
            ));
        }
    }
}

fn faults_of(course: &Course) -> BTreeSet<String> {
    let times = course.chosen.values().flatten();
    times
        .flat_map(|(_, faults)| faults.iter().cloned())
        .collect()
}

/// At its end nothing of it is in force, unless the end says so; and nothing comes after.
fn nothing_afterwards(told: &Told, id: ExperimentId, course: &Course, found: &mut Vec<String>) {
    let faults = faults_of(course);
    let (ended, ended_ms, _, has_residue) = course.ended[0];
    let last = course.mends_at.unwrap_or(ended);
    for record in told
        .journal
        .iter()
        .filter(|record| record.position.0 > last)
    {
        if let Event::FaultInjected { fault, .. } = &record.event
            && faults.contains(&fault.to_string())
        {
            found.push(format!("{id} ends, and {fault} is injected afterwards"));
        }
    }
    for fact in &told.facts {
        let Fact::FaultSet { fault, length, .. } = fact else {
            continue;
        };
        if !faults.contains(fault) {
            continue;
        }
        if *length > ended {
            found.push(format!("{fault} of {id} is set after its end"));
        }
        let over = told.facts.iter().find_map(|fact| match fact {
            Fact::FaultOver { fault: of, at_ms } if of == fault => Some(*at_ms),
            _ => None,
        });
        if !has_residue && over.is_none_or(|at_ms| at_ms > ended_ms) {
            found.push(format!(
                "{fault} of {id} is over at {over:?}, {id} at {ended_ms}"
            ));
        }
    }
}

/// What is told as seen was really looked at, on the order that it rests on.
fn seen_as_told(told: &Told, id: ExperimentId, course: &Course, found: &mut Vec<String>) {
    for (subject, gaze, finding) in &course.seen {
        let Some(moment) = subject.strip_suffix(" gauges") else {
            continue;
        };
        let really = told.facts.iter().any(|fact| {
            matches!(fact, Fact::Measured { order, moment: of, .. } if Some(*order) == *gaze && *of == moment)
        });
        if !really {
            found.push(format!(
                "{id}: {subject} is told as {finding:?}, and nobody looked"
            ));
        }
    }
}

/// What has passed was carried out whole, and was seen before, to its last moment, and after.
fn passed(told: &Told, id: ExperimentId, course: &Course, found: &mut Vec<String>) {
    if course.ended[0].2 != Verdict::Passed {
        return;
    }
    for moment in ["before", "during", "after"] {
        let subject = format!("{moment} gauges");
        let mut seen = course.seen.iter();
        if !seen.any(|(known, _, finding)| *known == subject && *finding == Finding::Holds) {
            found.push(format!("{id} has passed, and nobody saw it {moment} it"));
        }
    }
    let faults = faults_of(course);
    let set = |fault: &String| {
        let mut facts = told.facts.iter();
        facts.any(|fact| matches!(fact, Fact::FaultSet { fault: of, .. } if of == fault))
    };
    if course.chosen.len() != course.slots.len() || !faults.iter().all(set) {
        found.push(format!("{id} has passed, and not all of it was done"));
    }
    let until_ms = told.facts.iter().filter_map(|fact| match fact {
        Fact::FaultSet {
            fault, until_ms, ..
        } if faults.contains(fault) => Some(*until_ms),
        _ => None,
    });
    let looked_ms = told.facts.iter().filter_map(|fact| match fact {
        Fact::Measured {
            order,
            moment: "during",
            until_ms,
            ..
        } if course.seen.iter().any(|(_, gaze, _)| *gaze == Some(*order)) => Some(*until_ms),
        _ => None,
    });
    // For a moment nobody looks while the lead changes.
    let looked_ms = looked_ms.max().unwrap_or_default() + BLIND_MS;
    if until_ms.max().is_some_and(|until_ms| looked_ms < until_ms) {
        found.push(format!("{id} has passed, and nobody looked to its end"));
    }
}
