//! Rule tests in promtool's form: series are given, the rules are evaluated step by step, and alerts and
//! answers are compared with what was expected.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_promql::eval::{Options, Output, instant};
use mainstay_promql::labels::{Labels, NAME};
use mainstay_promql::notation;
use mainstay_promql::number::{parse, parse_duration, plain};
use mainstay_promql::sample::Value as Sample;
use mainstay_promql::store::Memory as Store;

use crate::alert::State;
use crate::file::Group;
use crate::group::{Memory, Surroundings, evaluate};
use mainstay_yaml::{Node, Place, documents};

/// Most evaluations of all groups of one test.
const EVALUATIONS_MAX: usize = 1_000_000;
const DEFAULT_INTERVAL_MS: i64 = 60_000;

/// A file of tests, as far as it is known before the rules are.
#[derive(Debug)]
pub struct Suite {
    file: String,
    pub rule_files: Vec<String>,
    interval: i64,
    order: Vec<String>,
    fuzzy: bool,
    tests: Vec<Node>,
}

/// What did not come out as expected, or why a test cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub file: String,
    pub place: Place,
    pub message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.place.line, self.place.column, self.message
        )
    }
}

type Checked<T> = Result<T, (Place, String)>;

fn duration(node: &Node) -> Checked<i64> {
    let text = node.text().unwrap_or("");
    parse_duration(text).ok_or_else(|| (node.place, format!("no duration: {text:?}")))
}

fn text(node: Option<&Node>) -> &str {
    node.and_then(Node::text).unwrap_or("")
}

fn pairs(node: Option<&Node>) -> Vec<(String, String)> {
    let entries = node.map(Node::entries).unwrap_or(&[]);
    entries
        .iter()
        .map(|entry| {
            (
                entry.key.clone(),
                entry.value.written().unwrap_or("").to_owned(),
            )
        })
        .collect()
}

fn known(node: &Node, fields: &[&str]) -> Checked<()> {
    match node
        .entries()
        .iter()
        .find(|entry| !fields.contains(&entry.key.as_str()))
    {
        Some(entry) => Err((entry.place, format!("unknown field `{}`", entry.key))),
        None => Ok(()),
    }
}

impl Suite {
    pub fn read(file: &str, content: &str) -> Result<Self, Failure> {
        let failure = |place, message| Failure {
            file: file.to_owned(),
            place,
            message,
        };
        let documents = documents(content).map_err(|fault| failure(fault.place, fault.message))?;
        let Some(root) = documents.into_iter().next() else {
            return Err(failure(
                Place { line: 1, column: 1 },
                "no tests are in this file".to_owned(),
            ));
        };
        Self::of(file, &root).map_err(|(place, message)| failure(place, message))
    }

    fn of(file: &str, root: &Node) -> Checked<Self> {
        known(
            root,
            &[
                "rule_files",
                "evaluation_interval",
                "group_eval_order",
                "fuzzy_compare",
                "tests",
            ],
        )?;
        let list = |field| {
            let items = root.get(field).map(Node::items).unwrap_or(&[]);
            items
                .iter()
                .map(|item| text(Some(item)).to_owned())
                .collect::<Vec<String>>()
        };
        let interval = root.get("evaluation_interval").map(duration).transpose()?;
        Ok(Self {
            file: file.to_owned(),
            rule_files: list("rule_files"),
            interval: interval
                .filter(|interval| *interval > 0)
                .unwrap_or(DEFAULT_INTERVAL_MS),
            order: list("group_eval_order"),
            fuzzy: text(root.get("fuzzy_compare")) == "true",
            tests: root.get("tests").map(Node::items).unwrap_or(&[]).to_vec(),
        })
    }

    pub fn len(&self) -> usize {
        self.tests.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// Runs every test with these groups.
    pub fn run(&self, groups: &[Group]) -> Vec<Failure> {
        let mut failures = Vec::new();
        for test in &self.tests {
            let mut run = Run {
                suite: self,
                failures: Vec::new(),
            };
            if let Err((place, message)) = run.test(test, groups) {
                run.failures.push((place, message));
            }
            let name = text(test.get("name"));
            let name = if name.is_empty() {
                String::new()
            } else {
                format!("{name}: ")
            };
            failures.extend(run.failures.into_iter().map(|(place, message)| Failure {
                file: self.file.clone(),
                place,
                message: format!("{name}{message}"),
            }));
        }
        failures
    }
}

struct Run<'a> {
    suite: &'a Suite,
    failures: Vec<(Place, String)>,
}

impl Run<'_> {
    fn test(&mut self, test: &Node, groups: &[Group]) -> Checked<()> {
        known(
            test,
            &[
                "name",
                "interval",
                "input_series",
                "alert_rule_test",
                "promql_expr_test",
                "external_labels",
                "external_url",
                "start_timestamp",
            ],
        )?;
        let interval = test
            .get("interval")
            .map_or(Ok(self.suite.interval), duration)?;
        let start = start_of(test)?;
        let mut store = Store::default();
        let end = load(test, &mut store, start, interval.max(1))?;
        let surroundings = Surroundings {
            asked: None,
            external_labels: Labels::new(pairs(test.get("external_labels"))),
            external_url: text(test.get("external_url")).to_owned(),
            options: Options::default(),
        };
        let alerts = test.get("alert_rule_test").map(Node::items).unwrap_or(&[]);
        let exprs = test.get("promql_expr_test").map(Node::items).unwrap_or(&[]);
        let mut last = end;
        for case in alerts.iter().chain(exprs) {
            let at = case.get("eval_time").map_or(Ok(0), duration)?;
            last = last.max(start + at);
        }
        let mut ordered: Vec<&Group> = groups.iter().collect();
        let place = |group: &Group| self.suite.order.iter().position(|name| *name == group.name);
        ordered.sort_by_key(|group| place(group).unwrap_or(usize::MAX));
        let mut memories: Vec<Memory> = ordered.iter().map(|group| Memory::new(group)).collect();
        let due = self.due(alerts, start)?;
        let step = self.suite.interval;
        let mut at = start;
        for count in 0.. {
            if at > last {
                break;
            }
            if count > EVALUATIONS_MAX {
                return Err((test.place, "too many evaluations".to_owned()));
            }
            for (group, memory) in ordered.iter().zip(&mut memories) {
                // A group's own interval counts from the start of the test.
                let own = group.interval.unwrap_or(step).max(1);
                if (at - start) % own < step {
                    evaluate(group, memory, &mut store, at, &surroundings);
                    for (rule, problem) in memory.problems(group) {
                        let message =
                            format!("rule {} failed at {}: {problem}", rule.name(), at - start);
                        self.failures.push((test.place, message));
                    }
                }
            }
            // An alert is compared with the latest evaluation at or before its time.
            for (case, _) in due.iter().filter(|(_, due)| *due >= at && *due < at + step) {
                self.alerts(case, &ordered, &memories)?;
            }
            at += step;
        }
        for case in exprs {
            self.expression(case, &store, start, &surroundings.options)?;
        }
        Ok(())
    }

    fn due<'n>(&self, alerts: &'n [Node], start: i64) -> Checked<Vec<(&'n Node, i64)>> {
        let mut due = Vec::new();
        for case in alerts {
            known(case, &["eval_time", "alertname", "exp_alerts"])?;
            if text(case.get("alertname")).is_empty() {
                return Err((case.place, "an alert test without `alertname`".to_owned()));
            }
            due.push((case, start + case.get("eval_time").map_or(Ok(0), duration)?));
        }
        Ok(due)
    }

    fn alerts(&mut self, case: &Node, groups: &[&Group], memories: &[Memory]) -> Checked<()> {
        let name = text(case.get("alertname"));
        let rules: BTreeSet<&str> = groups
            .iter()
            .flat_map(|g| &g.rules)
            .filter(|r| r.alert().is_some())
            .map(|r| r.name())
            .collect();
        if !rules.contains(name) {
            return Err((case.place, format!("there is no alert named {name}")));
        }
        let mut found = Vec::new();
        for (group, memory) in groups.iter().zip(memories) {
            let firing = memory.alerts(group).filter(|(rule, alert)| {
                rule.name() == name && matches!(alert.state, State::Firing | State::Missing)
            });
            for (_, alert) in firing {
                let mut labels = alert.labels.clone();
                labels.remove("alertname");
                found.push((labels, alert.annotations.clone()));
            }
        }
        let mut wanted = Vec::new();
        for alert in case.get("exp_alerts").map(Node::items).unwrap_or(&[]) {
            known(alert, &["exp_labels", "exp_annotations"])?;
            let map = |field| {
                let pairs = pairs(alert.get(field))
                    .into_iter()
                    .filter(|(_, value)| !value.is_empty());
                pairs.collect::<BTreeMap<String, String>>()
            };
            let mut labels = map("exp_labels");
            labels.remove("alertname");
            wanted.push((labels, map("exp_annotations")));
        }
        for (_, annotations) in &mut found {
            annotations.retain(|_, value| !value.is_empty());
        }
        found.sort();
        wanted.sort();
        if found != wanted {
            let at = text(case.get("eval_time"));
            let message = format!(
                "alert {name} at {at}: expected {}, found {}",
                listed(&wanted),
                listed(&found)
            );
            self.failures.push((case.place, message));
        }
        Ok(())
    }

    fn expression(
        &mut self,
        case: &Node,
        store: &Store,
        start: i64,
        options: &Options,
    ) -> Checked<()> {
        known(case, &["expr", "eval_time", "exp_samples"])?;
        let source = text(case.get("expr"));
        let at = start + case.get("eval_time").map_or(Ok(0), duration)?;
        let expr =
            mainstay_promql::parse::parse(source).map_err(|fault| (case.place, fault.message))?;
        let answer = instant(&expr, store, at, options)
            .map_err(|failure| (case.place, failure.to_string()))?;
        let mut found: Vec<(Labels, Sample)> = match answer.output {
            Output::Vector(items) => items
                .into_iter()
                .map(|item| (item.labels, item.value))
                .collect(),
            Output::Scalar(value) => vec![(Labels::default(), Sample::Float(value))],
            Output::String(_) | Output::Matrix(_) => {
                return Err((case.place, "the expression gives no vector".to_owned()));
            }
        };
        let mut wanted = Vec::new();
        for sample in case.get("exp_samples").map(Node::items).unwrap_or(&[]) {
            wanted.push(expected(sample)?);
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        wanted.sort_by(|a: &(Labels, Sample), b| a.0.cmp(&b.0));
        let same = found.len() == wanted.len()
            && found
                .iter()
                .zip(&wanted)
                .all(|(a, b)| a.0 == b.0 && self.same(&a.1, &b.1));
        if !same {
            let shown = |all: &[(Labels, Sample)]| {
                let all = all
                    .iter()
                    .map(|(labels, value)| format!("{labels} {}", value_text(value)));
                all.collect::<Vec<_>>().join(", ")
            };
            let at = text(case.get("eval_time"));
            let message = format!(
                "{source} at {at}: expected [{}], found [{}]",
                shown(&wanted),
                shown(&found)
            );
            self.failures.push((case.place, message));
        }
        Ok(())
    }

    fn same(&self, a: &Sample, b: &Sample) -> bool {
        match (a, b) {
            (Sample::Float(a), Sample::Float(b)) => {
                // The last bit may differ where that is allowed.
                let near = a.to_bits().abs_diff(b.to_bits()) <= 1;
                a == b || (a.is_nan() && b.is_nan()) || (self.suite.fuzzy && near)
            }
            (Sample::Histogram(a), Sample::Histogram(b)) => a == b,
            _ => false,
        }
    }
}

fn value_text(value: &Sample) -> String {
    match value {
        Sample::Float(value) => plain(*value),
        Sample::Histogram(histogram) => histogram.print(),
    }
}

/// Labels and annotations.
type Said = (BTreeMap<String, String>, BTreeMap<String, String>);

fn listed(all: &[Said]) -> String {
    let map = |map: &BTreeMap<String, String>| {
        let pairs: Vec<String> = map
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        pairs.join(", ")
    };
    let all: Vec<String> = all
        .iter()
        .map(|(l, a)| format!("{{labels: {}; annotations: {}}}", map(l), map(a)))
        .collect();
    format!("[{}]", all.join(", "))
}

fn expected(sample: &Node) -> Checked<(Labels, Sample)> {
    known(sample, &["labels", "value", "histogram"])?;
    let labels = text(sample.get("labels"));
    let labels = if labels.is_empty() {
        Labels::default()
    } else {
        mainstay_promql::parse::parse_metric(labels)
            .map_err(|fault| (sample.place, fault.message))?
            .0
    };
    if let Some(histogram) = sample.get("histogram") {
        let values = notation::values(text(Some(histogram))).map_err(|e| (histogram.place, e))?;
        let value = values.into_iter().next().flatten();
        return value
            .map(|value| (labels, value))
            .ok_or((histogram.place, "no histogram".to_owned()));
    }
    let value = text(sample.get("value"));
    let value = parse(value).ok_or_else(|| (sample.place, format!("no number: {value:?}")))?;
    Ok((labels, Sample::Float(value)))
}

/// Milliseconds; a number of seconds, or a duration since 1970.
fn start_of(test: &Node) -> Checked<i64> {
    let Some(node) = test.get("start_timestamp") else {
        return Ok(0);
    };
    let written = text(Some(node));
    let seconds = parse(written).and_then(mainstay_promql::number::milliseconds);
    seconds
        .or_else(|| parse_duration(written))
        .ok_or_else(|| (node.place, format!("no timestamp: {written:?}")))
}

/// Loads all series; the moment of the last sample.
fn load(test: &Node, store: &mut Store, start: i64, interval: i64) -> Checked<i64> {
    let mut end = start;
    for series in test.get("input_series").map(Node::items).unwrap_or(&[]) {
        known(series, &["series", "values"])?;
        let place = series.place;
        let labels = mainstay_promql::parse::parse_metric(text(series.get("series")));
        let (labels, _) = labels.map_err(|fault| (place, fault.message))?;
        if labels.get(NAME).is_empty() {
            return Err((place, "a series without a name".to_owned()));
        }
        let values = match series.get("values").and_then(Node::written) {
            Some(text) => notation::values(text).map_err(|e| (place, e))?,
            None => Vec::new(),
        };
        for (step, value) in (0..).zip(values) {
            let at = start.saturating_add(interval.saturating_mul(step));
            if let Some(value) = value {
                store.append(&labels, at, value);
                end = end.max(at);
            }
        }
    }
    Ok(end)
}
