//! Rules over what was measured once: which alerts would have fired, and when.
//!
//! Groups are evaluated at the same slots as a watch does, from the first sample on, so that a rule has the past that it
//! asks for as far as it was kept. Nothing is known of alerts that were pending before.

use std::collections::BTreeMap;

use mainstay_promql::labels::Labels;
use mainstay_promql::store::Memory as Store;

use crate::alert::{Active, State};
use crate::file::Group;
use crate::group::{Memory, Surroundings, evaluate, next_slot};

/// Most evaluations of all groups together.
pub const EVALUATIONS_MAX: usize = 1_000_000;

/// An alert that would have fired. All moments are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    pub alert: String,
    pub labels: BTreeMap<String, String>,
    /// Since when its condition held.
    pub active_at: i64,
    pub fired_at: i64,
    /// When it was over; nothing if it still fired at the end.
    pub ended_at: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// In the order in which they would have fired.
    pub fired: Vec<Fired>,
    /// Rules that gave nothing at their last evaluation because they failed, and why.
    pub problems: Vec<(String, String)>,
    pub evaluations: usize,
    /// Whether the limit of evaluations ended it early, and when.
    pub cut_at: Option<i64>,
}

/// Evaluates every group between the two moments; groups without an interval take `interval`.
pub fn replay(
    groups: &[Group],
    mut store: Store,
    (from, to): (i64, i64),
    interval: i64,
) -> Replayed {
    let mut replayed = Replayed::default();
    let mut duties: Vec<Duty> = groups
        .iter()
        .map(|group| Duty::new(group, from, interval))
        .collect();
    let surroundings = Surroundings::default();
    while let Some(duty) = duties.iter_mut().min_by_key(|duty| duty.due)
        && duty.due <= to
    {
        if replayed.evaluations >= EVALUATIONS_MAX {
            replayed.cut_at = Some(duty.due);
            break;
        }
        replayed.evaluations += 1;
        evaluate(
            duty.group,
            &mut duty.memory,
            &mut store,
            duty.due,
            &surroundings,
        );
        for (rule, active) in duty.memory.alerts(duty.group) {
            note(&mut replayed.fired, rule.name(), active);
        }
        duty.due = next_slot(duty.group, duty.interval, duty.due.saturating_add(1));
    }
    for duty in &duties {
        let problems = duty.memory.problems(duty.group);
        let problems = problems.map(|(rule, why)| (rule.name().to_owned(), why.to_owned()));
        replayed.problems.extend(problems);
    }
    replayed.fired.sort_by_key(|fired| fired.fired_at);
    replayed
}

struct Duty<'g> {
    group: &'g Group,
    memory: Memory,
    interval: i64,
    due: i64,
}

impl<'g> Duty<'g> {
    fn new(group: &'g Group, from: i64, interval: i64) -> Self {
        let interval = group.interval.unwrap_or(interval).max(1);
        Self {
            group,
            memory: Memory::new(group),
            interval,
            due: next_slot(group, interval, from),
        }
    }
}

/// One that fires again after it was over is another one.
fn note(fired: &mut Vec<Fired>, name: &str, active: &Active) {
    let Some(fired_at) = active.fired_at else {
        return;
    };
    let known = fired.iter_mut().find(|fired| {
        fired.alert == name && fired.labels == active.labels && fired.fired_at == fired_at
    });
    let ended_at = (active.state == State::Resolved)
        .then_some(active.resolved_at)
        .flatten();
    match known {
        Some(known) => known.ended_at = ended_at,
        None => fired.push(Fired {
            alert: name.to_owned(),
            labels: active.labels.clone(),
            active_at: active.active_at,
            fired_at,
            ended_at,
        }),
    }
}

/// Names of the series that these rules write, and of those that alerts are kept in: what a watch wrote by its own
/// rules is not taken for it.
pub fn written(groups: &[Group]) -> std::collections::BTreeSet<String> {
    let rules = groups.iter().flat_map(|group| &group.rules);
    let records = rules.filter(|rule| rule.alert().is_none());
    let names = records.map(|rule| rule.name().to_owned());
    let alerts = ["ALERTS", "ALERTS_FOR_STATE"].map(ToOwned::to_owned);
    names.chain(alerts).collect()
}

/// `Name{label="value"}`, as the journal names alerts.
pub fn called(fired: &Fired) -> String {
    let labels = fired.labels.iter();
    let labels = labels.filter(|(name, _)| *name != "alertname");
    let labels = Labels::new(labels.map(|(name, value)| (name.clone(), value.clone())));
    match labels.is_empty() {
        true => fired.alert.clone(),
        false => format!("{}{labels}", fired.alert),
    }
}
