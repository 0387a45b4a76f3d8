//! One evaluation of a group: its rules in order, each seeing what the ones before it wrote.
//!
//! A rule that fails changes nothing of its own, and the others go on. A series that a rule gave last time
//! and does not give now is marked as ended. The slot of an evaluation is a hash of file and name within
//! the interval, so that groups do not all ask at once and timestamps are the same after a restart.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_promql::ast::Expr;
use mainstay_promql::eval::{Item, Options, Output, instant};
use mainstay_promql::labels::{Labels, NAME};
use mainstay_promql::number::seconds;
use mainstay_promql::sample::{Source, Value};
use serde::{Deserialize, Serialize};

use crate::alert::{Active, Alerts, Found, Patience, Sight, State, step};
use crate::file::{Alert, Group, Kind, Rule};
use crate::sight::Scene;
use crate::template::Context;

/// The label of an alert's name.
const ALERTNAME: &str = "alertname";
/// The series in which alerts are recorded.
const ALERTS: &str = "ALERTS";
const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";

/// What all rules share.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub external_labels: Labels,
    pub external_url: String,
    pub options: Options,
}

/// What a group remembers between two evaluations.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    rules: Vec<Remembered>,
}

#[derive(Clone, Debug, Default)]
struct Remembered {
    alerts: Alerts,
    /// Labels of the series given last time.
    given: BTreeSet<Labels>,
    /// Why the last evaluation failed, if it did.
    problem: Option<String>,
}

/// The memory of a group on paper: alerts by rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    pub version: u32,
    pub file: String,
    pub group: String,
    pub rules: Vec<SavedRule>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedRule {
    pub name: String,
    /// Label templates as they are written: with the name, the identity of a rule.
    pub labels: BTreeMap<String, String>,
    pub alerts: Vec<Active>,
}

/// A sample that the group wants written.
#[derive(Clone, Debug)]
pub struct Write {
    pub labels: Labels,
    pub at: i64,
    pub value: Value,
}

/// Where written samples go, so that later rules of the group see them.
pub trait Sink: Source {
    fn write(&mut self, write: &Write);
}

impl Sink for mainstay_promql::store::Memory {
    fn write(&mut self, write: &Write) {
        self.append(&write.labels, write.at, write.value.clone());
    }
}

/// First moment not before `now` that is a slot of the group.
pub fn next_slot(group: &Group, interval: i64, now: i64) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in group.file.bytes().chain([0xff]).chain(group.name.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let interval = interval.max(1);
    let offset = i64::try_from(hash % interval.unsigned_abs()).unwrap_or(0);
    let behind = (now - offset).rem_euclid(interval);
    if behind == 0 {
        now
    } else {
        now + interval - behind
    }
}

impl Memory {
    pub fn new(group: &Group) -> Self {
        Self {
            rules: group.rules.iter().map(|_| Remembered::default()).collect(),
        }
    }

    /// Takes over what was saved of the rules that are still there, by name and labels: other words in an
    /// expression do not make an alert young again.
    pub fn restore(group: &Group, saved: &Saved) -> Self {
        let mut memory = Self::new(group);
        let mut taken = BTreeSet::new();
        for (rule, remembered) in group.rules.iter().zip(&mut memory.rules) {
            let found = saved.rules.iter().enumerate().find(|(at, saved)| {
                !taken.contains(at)
                    && saved.name == rule.name()
                    && saved.labels == written_labels(rule)
            });
            let Some((at, saved)) = found else { continue };
            taken.insert(at);
            for alert in &saved.alerts {
                let pairs = alert.labels.iter().map(|(n, v)| (n.clone(), v.clone()));
                remembered.alerts.insert(Labels::new(pairs), alert.clone());
            }
        }
        memory
    }

    pub fn save(&self, group: &Group) -> Saved {
        let rules = group
            .rules
            .iter()
            .zip(&self.rules)
            .filter(|(rule, _)| rule.alert().is_some());
        let rules = rules.map(|(rule, remembered)| SavedRule {
            name: rule.name().to_owned(),
            labels: written_labels(rule),
            alerts: remembered.alerts.values().cloned().collect(),
        });
        Saved {
            version: 1,
            file: group.file.clone(),
            group: group.name.clone(),
            rules: rules.collect(),
        }
    }

    /// Alerts of every rule, in the order of the file.
    pub fn alerts<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = (&'a Rule, &'a Active)> {
        let rules = group.rules.iter().zip(&self.rules);
        rules.flat_map(|(rule, remembered)| {
            remembered.alerts.values().map(move |alert| (rule, alert))
        })
    }

    /// Rules that failed at the last evaluation, and why.
    pub fn problems<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = (&'a Rule, &'a str)> {
        let rules = group.rules.iter().zip(&self.rules);
        rules.filter_map(|(rule, remembered)| Some((rule, remembered.problem.as_deref()?)))
    }
}

fn written_labels(rule: &Rule) -> BTreeMap<String, String> {
    rule.labels
        .iter()
        .map(|(name, template)| (name.clone(), template.text().to_owned()))
        .collect()
}

/// Evaluates all rules of a group at `now`, writing what they give.
pub fn evaluate(
    group: &Group,
    memory: &mut Memory,
    sink: &mut dyn Sink,
    now: i64,
    surroundings: &Surroundings,
) {
    let at = now.saturating_sub(group.query_offset);
    for (rule, remembered) in group.rules.iter().zip(&mut memory.rules) {
        let outcome = match &rule.kind {
            Kind::Record(name) => record(rule, name, group, sink, at, surroundings),
            Kind::Alert(alert) => alerting(
                rule,
                alert,
                group,
                remembered,
                sink,
                (at, now),
                surroundings,
            ),
        };
        match outcome {
            Ok(writes) => {
                remembered.problem = None;
                let given: BTreeSet<Labels> =
                    writes.iter().map(|write| write.labels.clone()).collect();
                for labels in remembered.given.difference(&given) {
                    sink.write(&Write {
                        labels: labels.clone(),
                        at,
                        value: Value::stale(),
                    });
                }
                for write in &writes {
                    sink.write(write);
                }
                remembered.given = given;
            }
            Err(problem) => remembered.problem = Some(problem),
        }
    }
}

fn ask(expr: &Expr, source: &dyn Source, at: i64, options: &Options) -> Result<Vec<Item>, String> {
    let answer = instant(expr, source, at, options).map_err(|failure| failure.to_string())?;
    match answer.output {
        Output::Vector(items) => Ok(items),
        Output::Scalar(value) => Ok(mainstay_promql::eval::scalar_item(value, at)),
        Output::String(_) | Output::Matrix(_) => {
            Err("rule result is not a vector or scalar".to_owned())
        }
    }
}

fn record(
    rule: &Rule,
    name: &str,
    group: &Group,
    sink: &mut dyn Sink,
    at: i64,
    surroundings: &Surroundings,
) -> Result<Vec<Write>, String> {
    let items = ask(&rule.expr, sink, at, &surroundings.options)?;
    let mut writes = Vec::with_capacity(items.len());
    let mut seen = BTreeSet::new();
    for item in items {
        let mut labels = item.labels.with(NAME, name);
        for (label, template) in &rule.labels {
            labels = labels.with(label, template.text());
        }
        if !seen.insert(labels.clone()) {
            return Err(
                "vector contains metrics with the same labelset after applying rule labels"
                    .to_owned(),
            );
        }
        writes.push(Write {
            labels,
            at,
            value: item.value,
        });
    }
    limit(group, writes.len(), "series")?;
    Ok(writes)
}

fn limit(group: &Group, found: usize, what: &str) -> Result<(), String> {
    if group.limit > 0 && found > group.limit {
        return Err(format!(
            "exceeded limit of {} with {found} {what}",
            group.limit
        ));
    }
    Ok(())
}

fn alerting(
    rule: &Rule,
    alert: &Alert,
    group: &Group,
    remembered: &mut Remembered,
    sink: &mut dyn Sink,
    (at, now): (i64, i64),
    surroundings: &Surroundings,
) -> Result<Vec<Write>, String> {
    let options = &surroundings.options;
    let source: &dyn Source = sink;
    let found = conditions(rule, alert, source, at, surroundings)?;
    if let Err(problem) = limit(group, found.len(), "alerts") {
        // As Prometheus does, so that a flood does not linger in part.
        remembered.alerts.clear();
        return Err(problem);
    }
    let mut scene = None;
    let written =
        |name: &str| name == ALERTNAME || rule.labels.iter().any(|(other, _)| other == name);
    let mut sight = |labels: &Labels| {
        let scene = scene.get_or_insert_with(|| Scene::new(&rule.expr, source, at, options));
        let shown = scene.shows(&labels.keep(|name| !written(name)));
        if shown {
            Sight::Measured
        } else {
            Sight::Nothing
        }
    };
    let patience = Patience {
        hold: alert.hold,
        keep_firing: alert.keep_firing,
    };
    step(
        &mut remembered.alerts,
        found.into_values().collect(),
        &mut sight,
        patience,
        now,
    );
    Ok(recorded(&remembered.alerts, at))
}

/// Every alert whose condition holds, with its words.
fn conditions(
    rule: &Rule,
    alert: &Alert,
    source: &dyn Source,
    at: i64,
    surroundings: &Surroundings,
) -> Result<BTreeMap<Labels, Found>, String> {
    let options = &surroundings.options;
    let items = ask(&rule.expr, source, at, options)?;
    let query = |text: &str| -> Result<Vec<(Labels, f64)>, String> {
        let expr = mainstay_promql::parse::parse(text).map_err(|fault| fault.to_string())?;
        let items = ask(&expr, source, at, options)?;
        Ok(items
            .into_iter()
            .filter_map(|item| Some((item.labels, item.value.float()?)))
            .collect())
    };
    let mut found: BTreeMap<Labels, Found> = BTreeMap::new();
    for item in &items {
        let context = Context {
            labels: &item.labels,
            value: item
                .value
                .float()
                .or(item.value.histogram().map(|h| h.count))
                .unwrap_or(f64::NAN),
            external_labels: &surroundings.external_labels,
            external_url: &surroundings.external_url,
            query: &query,
        };
        let mut labels = item.labels.with(NAME, "");
        for (name, template) in &rule.labels {
            labels = labels.with(name, &template.expand(&context));
        }
        labels = labels.with(ALERTNAME, &alert.name);
        let annotations = alert
            .annotations
            .iter()
            .map(|(n, t)| (n.clone(), t.expand(&context)))
            .collect();
        let value = context.value;
        if found
            .insert(
                labels.clone(),
                Found {
                    labels,
                    annotations,
                    value,
                },
            )
            .is_some()
        {
            return Err(
                "vector contains metrics with the same labelset after applying alert labels"
                    .to_owned(),
            );
        }
    }
    Ok(found)
}

fn recorded(alerts: &Alerts, at: i64) -> Vec<Write> {
    let mut writes = Vec::new();
    for (labels, alert) in alerts {
        let state = match alert.state {
            State::Pending => "pending",
            State::Firing | State::Missing => "firing",
            State::Resolved => continue,
        };
        let named = labels.with(NAME, ALERTS).with("alertstate", state);
        writes.push(Write {
            labels: named,
            at,
            value: Value::Float(1.0),
        });
        let since = Value::Float(seconds(alert.active_at - alert.active_at.rem_euclid(1000)));
        writes.push(Write {
            labels: labels.with(NAME, ALERTS_FOR_STATE),
            at,
            value: since,
        });
    }
    writes
}
