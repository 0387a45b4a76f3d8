//! One evaluation of a group: its rules in order, each seeing what the ones before it wrote.
//!
//! A rule that fails changes nothing of its own, and the others go on. A series that a rule gave last time
//! and does not give now is marked as ended; so is what a rule gave that is not there any more when the file was read
//! again. The slot of an evaluation is a hash of file and name within
//! the interval, so that groups do not all ask at once and timestamps are the same after a restart.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_promql::ast::Expr;
use mainstay_promql::eval::{Item, Options, Output, instant};
use mainstay_promql::labels::{Labels, NAME};
use mainstay_promql::number::seconds;
use mainstay_promql::sample::{Source, Value};
use serde::{Deserialize, Serialize};

use crate::alert::{Active, Alerts, Found, Patience, Sight, State, step, unheard};
use crate::file::{Alert, Group, Kind, Rule};
use crate::sight::{Asked, Scene};
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
    /// Whoever is asked; nothing where this is not known.
    pub asked: Option<Asked>,
}

/// What a group remembers between two evaluations.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    rules: Vec<Remembered>,
    /// What rules gave that are not there any more, until it is marked as ended.
    gone: BTreeSet<Labels>,
}

/// What fails for a moment, while a target comes or goes, is not told.
const FAILING_TOLD_AFTER_MS: i64 = 60_000;

#[derive(Clone, Debug, Default)]
struct Remembered {
    alerts: Alerts,
    /// Labels of the series given last time.
    given: BTreeSet<Labels>,
    /// Why the last evaluation failed, if it did.
    problem: Option<String>,
    /// Since when each evaluation failed.
    failing_since: Option<i64>,
    /// More conditions hold than the limit allows alerts.
    is_flooded: bool,
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

impl Saved {
    /// What passes for current because of these alerts.
    pub fn given(&self) -> impl Iterator<Item = Labels> {
        self.rules.iter().flat_map(SavedRule::given)
    }
}

impl SavedRule {
    fn alerts(&self) -> Alerts {
        let alerts = self.alerts.iter().map(|alert| {
            let pairs = alert.labels.iter().map(|(n, v)| (n.clone(), v.clone()));
            (Labels::new(pairs), alert.clone())
        });
        alerts.collect()
    }

    fn given(&self) -> impl Iterator<Item = Labels> + use<> {
        let writes = recorded(&self.alerts(), 0).into_iter();
        writes.map(|write| write.labels)
    }
}

/// A sample that the group wants written.
#[derive(Clone, Debug)]
pub struct Write {
    pub labels: Labels,
    pub at: i64,
    pub value: Value,
}

/// What a question gave.
#[derive(Clone, Debug)]
pub struct Given {
    pub output: Output,
    /// Why something may be missing from it, if so.
    pub partial: Option<String>,
}

/// Why a question gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Nobody could answer it.
    Failed(String),
    /// Whoever measures was not heard: nothing is known.
    Unheard(String),
}

impl Unanswered {
    fn into_text(self) -> String {
        match self {
            Self::Failed(why) | Self::Unheard(why) => why,
        }
    }
}

/// Whoever answers the questions of rules, and takes what they write, so that later rules of the group see it.
pub trait Storage {
    fn ask(&self, expr: &Expr, at: i64, options: &Options) -> Result<Given, Unanswered>;

    /// What one rule wrote.
    fn write(&mut self, writes: &[Write]);
}

/// The answer out of samples that are at hand.
///
/// # Errors
/// Where the question has no answer.
pub fn measured(
    expr: &Expr,
    source: &dyn Source,
    at: i64,
    options: &Options,
) -> Result<Given, Unanswered> {
    let answer = instant(expr, source, at, options);
    let answer = answer.map_err(|failure| Unanswered::Failed(failure.to_string()))?;
    Ok(Given {
        output: answer.output,
        partial: None,
    })
}

impl Storage for mainstay_promql::store::Memory {
    fn ask(&self, expr: &Expr, at: i64, options: &Options) -> Result<Given, Unanswered> {
        measured(expr, self, at, options)
    }

    fn write(&mut self, writes: &[Write]) {
        for write in writes {
            self.append(&write.labels, write.at, write.value.clone());
        }
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
            gone: BTreeSet::new(),
        }
    }

    /// Takes over what was saved of the rules that are still there, by name and labels: other words in an
    /// expression do not make an alert young again.
    pub fn restore(group: &Group, saved: &Saved) -> Self {
        let mut memory = Self::new(group);
        let names = saved.rules.iter();
        let names = names.map(|saved| (saved.name.as_str(), saved.labels.clone()));
        let mut successors = successors(group, names);
        for saved in &saved.rules {
            let successor = successors.next().flatten();
            match successor.and_then(|at| memory.rules.get_mut(at)) {
                Some(known) => {
                    known.given.extend(saved.given());
                    known.alerts = saved.alerts();
                }
                None => memory.gone.extend(saved.given()),
            }
        }
        memory
    }

    /// Takes over what the rules of before gave last, which is not on paper.
    pub fn inherit(&mut self, group: &Group, (before, theirs): (&Group, &Self)) {
        let names = before.rules.iter();
        let names = names.map(|rule| (rule.name(), written_labels(rule)));
        for (successor, known) in successors(group, names).zip(&theirs.rules) {
            let successor = successor.and_then(|at| self.rules.get_mut(at));
            let heir = successor.map_or(&mut self.gone, |rule| &mut rule.given);
            heir.extend(known.given.iter().cloned());
        }
        self.gone.extend(theirs.gone.iter().cloned());
    }

    /// Everything that passes for current because of this group.
    pub fn given(&self) -> impl Iterator<Item = &Labels> {
        let given = self.rules.iter().flat_map(|known| &known.given);
        given.chain(&self.gone)
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

    /// Rules that have failed at every evaluation for some time, and why: nobody is told of what they should tell.
    pub fn failing<'a>(
        &'a self,
        group: &'a Group,
        now: i64,
    ) -> impl Iterator<Item = (&'a Rule, &'a str)> {
        let rules = group.rules.iter().zip(&self.rules);
        let failing = rules.filter(move |(_, remembered)| {
            let since = remembered.failing_since;
            since.is_some_and(|since| now.saturating_sub(since) >= FAILING_TOLD_AFTER_MS)
        });
        failing.filter_map(|(rule, remembered)| Some((rule, remembered.problem.as_deref()?)))
    }

    /// Rules that hold for more than the limit allows: what came last is not among their alerts.
    pub fn floods<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = (&'a Rule, &'a str)> {
        let rules = group.rules.iter().zip(&self.rules);
        let flooded = rules.filter(|(_, remembered)| remembered.is_flooded);
        flooded.filter_map(|(rule, remembered)| Some((rule, remembered.problem.as_deref()?)))
    }
}

/// For each rule of before, in their order, the one that goes on with what is remembered of it: the first of the same name
/// and labels that no other one before it has taken.
fn successors<'g>(
    group: &'g Group,
    before: impl Iterator<Item = (&'g str, BTreeMap<String, String>)> + 'g,
) -> impl Iterator<Item = Option<usize>> + 'g {
    let mut taken = BTreeSet::new();
    before.map(move |(name, labels)| {
        let mut rules = group.rules.iter().enumerate();
        let found = rules.find(|(at, rule)| {
            !taken.contains(at) && rule.name() == name && written_labels(rule) == labels
        });
        found.map(|(at, _)| at).inspect(|at| {
            taken.insert(*at);
        })
    })
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
    storage: &mut dyn Storage,
    now: i64,
    surroundings: &Surroundings,
) {
    let at = now.saturating_sub(group.query_offset);
    for (rule, remembered) in group.rules.iter().zip(&mut memory.rules) {
        remembered.is_flooded = false;
        let outcome = match &rule.kind {
            Kind::Record(name) => {
                let recorded = record(rule, name, group, storage, at, surroundings);
                recorded.map(|writes| (writes, None))
            }
            Kind::Alert(alert) => alerting(
                rule,
                alert,
                group,
                remembered,
                storage,
                (at, now),
                surroundings,
            ),
        };
        match outcome {
            Ok((writes, flood)) => {
                remembered.is_flooded = flood.is_some();
                remembered.problem = flood;
                remembered.failing_since = None;
                let given: BTreeSet<Labels> =
                    writes.iter().map(|write| write.labels.clone()).collect();
                let gone = remembered.given.difference(&given);
                let gone = gone.map(|labels| ended(labels, at));
                let all: Vec<Write> = gone.chain(writes).collect();
                storage.write(&all);
                remembered.given = given;
            }
            Err(problem) => {
                remembered.failing_since.get_or_insert(now);
                remembered.problem = Some(problem);
            }
        }
    }
    let gone = std::mem::take(&mut memory.gone);
    let given: BTreeSet<&Labels> = memory.given().collect();
    let gone = gone.iter().filter(|labels| !given.contains(labels));
    let gone: Vec<Write> = gone.map(|labels| ended(labels, at)).collect();
    if !gone.is_empty() {
        storage.write(&gone);
    }
}

fn ended(labels: &Labels, at: i64) -> Write {
    Write {
        labels: labels.clone(),
        at,
        value: Value::stale(),
    }
}

/// A vector, and whether all of it is there.
fn ask(
    expr: &Expr,
    storage: &dyn Storage,
    at: i64,
    options: &Options,
) -> Result<(Vec<Item>, Option<String>), Unanswered> {
    let given = storage.ask(expr, at, options)?;
    let items = match given.output {
        Output::Vector(items) => items,
        Output::Scalar(value) => mainstay_promql::eval::scalar_item(value, at),
        Output::String(_) | Output::Matrix(_) => {
            let why = "rule result is not a vector or scalar".to_owned();
            return Err(Unanswered::Failed(why));
        }
    };
    Ok((items, given.partial))
}

fn record(
    rule: &Rule,
    name: &str,
    group: &Group,
    storage: &dyn Storage,
    at: i64,
    surroundings: &Surroundings,
) -> Result<Vec<Write>, String> {
    let asked = ask(&rule.expr, storage, at, &surroundings.options);
    let (items, partial) = asked.map_err(Unanswered::into_text)?;
    if let Some(why) = partial {
        // A part of a sum would be taken for the whole.
        return Err(format!("the answer is not complete: {why}"));
    }
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
    storage: &dyn Storage,
    (at, now): (i64, i64),
    surroundings: &Surroundings,
) -> Result<(Vec<Write>, Option<String>), String> {
    let options = &surroundings.options;
    let (mut found, partial) = match conditions(rule, alert, storage, at, surroundings) {
        Ok(found) => found,
        Err(Unanswered::Unheard(why)) => {
            unheard(&mut remembered.alerts, now);
            return Err(why);
        }
        Err(Unanswered::Failed(why)) => return Err(why),
    };
    let flood = limit(group, found.len(), "alerts").err();
    if flood.is_some() {
        // A flood begins nothing, and what stood before it goes on as it is measured. Prometheus forgets that too, and
        // whoever was called for it is told that it is over.
        let stands = |alert: &Active| alert.state != State::Resolved;
        found.retain(|labels, _| remembered.alerts.get(labels).is_some_and(stands));
    }
    let mut scene = None;
    let written =
        |name: &str| name == ALERTNAME || rule.labels.iter().any(|(other, _)| other == name);
    let mut sight = |labels: &Labels| {
        if partial.is_some() {
            return Sight::Nothing;
        }
        let scene = scene.get_or_insert_with(|| Scene::new(&rule.expr, storage, at, options));
        let labels = labels.keep(|name| !written(name));
        let is_asked = |asked: &Asked| asked.may_give(&labels);
        if scene.shows(&labels) {
            Sight::Measured
        } else if surroundings.asked.as_ref().is_none_or(is_asked) {
            Sight::Nothing
        } else {
            Sight::Unasked
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
    Ok((recorded(&remembered.alerts, at), flood))
}

/// Every alert whose condition holds, with its words.
fn conditions(
    rule: &Rule,
    alert: &Alert,
    storage: &dyn Storage,
    at: i64,
    surroundings: &Surroundings,
) -> Result<(BTreeMap<Labels, Found>, Option<String>), Unanswered> {
    let options = &surroundings.options;
    let (items, partial) = ask(&rule.expr, storage, at, options)?;
    let query = |text: &str| -> Result<Vec<(Labels, f64)>, String> {
        let expr = mainstay_promql::parse::parse(text).map_err(|fault| fault.to_string())?;
        let (items, _) = ask(&expr, storage, at, options).map_err(Unanswered::into_text)?;
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
            return Err(Unanswered::Failed(
                "vector contains metrics with the same labelset after applying alert labels"
                    .to_owned(),
            ));
        }
    }
    Ok((found, partial))
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
