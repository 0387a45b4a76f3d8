//! The hypothesis around chaos, and the judge of what was seen.
//!
//! An experiment says what is run, what must hold before, during and after it, what ends it at once, how much of the
//! platform it may touch, and which alerts must fire and which must not. What was not measured is missing, and missing
//! is never a pass.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_yaml::{Node, Value};

use crate::document::{Body, Document, text, texts};
use crate::finding::{Code, Desk, Edit};
use crate::go;
use crate::weakness::repaired_name;

/// After everything is mended, the steady state has so long to come back.
const SETTLE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Experiment {
    pub hypothesis: String,
    pub seed: Option<u64>,
    /// Kind and name of documents of the same file.
    pub run: Vec<(String, String)>,
    /// Of Schedules: how long they are followed.
    pub window: Option<Duration>,
    pub settle: Duration,
    pub steady_state: Vec<Condition>,
    pub abort: Vec<Condition>,
    pub alerts: Option<Alerts>,
    pub blast_radius: BlastRadius,
    pub budget: Vec<(String, f64)>,
}

/// What a question's answer must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub name: String,
    pub question: Question,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
    pub when: BTreeSet<Moment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// PromQL, asked of a watch.
    Query(String),
    /// The burn of an objective's budget over five minutes.
    Burn(String),
}

impl Question {
    /// As a watch is asked.
    pub fn expression(&self) -> String {
        match self {
            Self::Query(query) => query.clone(),
            Self::Burn(objective) => format!(
                "slo:errors:ratio5m{{slo=\"{objective}\"}} / on (slo) slo:budget{{slo=\"{objective}\"}}"
            ),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    Before,
    During,
    After,
}

impl Moment {
    pub const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
        }
    }
}

/// Which alerts may begin while the experiment runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alerts {
    /// Must fire.
    pub fire: BTreeSet<String>,
    /// May.
    pub may_fire: BTreeSet<String>,
    /// Others with these severities must not; empty: others of any severity.
    pub severities: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlastRadius {
    pub targets: Option<u64>,
    /// Of all instances of the platform.
    pub share_percent: Option<u64>,
}

/// What became of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    Holds(String),
    Violated(String),
    Missing(String),
}

impl Condition {
    /// Every series of the answer must be within the bounds, and there must be one.
    pub fn judge(&self, values: &[f64]) -> Judged {
        if values.is_empty() {
            return Judged::Missing("the answer is empty".to_owned());
        }
        let out = |value: &&f64| {
            self.at_least.is_some_and(|least| **value < least)
                || self.at_most.is_some_and(|most| **value > most)
        };
        let words = |value: f64| format!("{value} ({})", self.bounds());
        // A series that is no number hides none that is out of bounds.
        if let Some(value) = values.iter().find(out) {
            return Judged::Violated(words(*value));
        }
        match values.iter().any(|value| value.is_nan()) {
            true => Judged::Missing("the answer is not a number".to_owned()),
            false => Judged::Holds(words(values.first().copied().unwrap_or(f64::NAN))),
        }
    }

    pub fn bounds(&self) -> String {
        match (self.at_least, self.at_most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => "any".to_owned(),
        }
    }
}

impl Alerts {
    /// Of alerts that began meanwhile, by name and severity: those that must not.
    pub fn unexpected<'a>(&self, began: &'a [(String, String)]) -> Vec<&'a (String, String)> {
        let is_wrong = |(name, severity): &&(String, String)| {
            let known = self.fire.contains(name) || self.may_fire.contains(name);
            !known && (self.severities.is_empty() || self.severities.contains(severity))
        };
        began.iter().filter(is_wrong).collect()
    }

    /// Those that must have begun and did not.
    pub fn absent(&self, began: &[(String, String)]) -> Vec<&str> {
        let names: BTreeSet<&str> = began.iter().map(|(name, _)| name.as_str()).collect();
        let fire = self.fire.iter().map(String::as_str);
        fire.filter(|name| !names.contains(name)).collect()
    }
}

impl BlastRadius {
    /// Why so many targets of so many instances are too many.
    pub fn exceeded(&self, targets: u64, all: u64) -> Option<String> {
        if let Some(most) = self.targets.filter(|most| targets > *most) {
            return Some(format!("{targets} targets are more than {most}"));
        }
        let share = self.share_percent?;
        (targets * 100 > share * all)
            .then(|| format!("{targets} of {all} instances are more than {share} %"))
    }
}

impl Experiment {
    pub(crate) fn of(spec: &Node) -> Self {
        let conditions = |key: &str| {
            let items = spec.get(key).map(Node::items).unwrap_or(&[]);
            items.iter().map(condition).collect()
        };
        let run = spec.get("run").map(Node::items).unwrap_or(&[]);
        let pair = |node: &Node| (text(node, "kind").to_owned(), text(node, "name").to_owned());
        let set = |node: &Node, key: &str| texts(node, key).into_iter().collect();
        let number = |node: &Node, key: &str| node.get(key)?.text()?.parse().ok();
        let radius = spec.get("blastRadius");
        let budget = spec.get("budget").map(Node::items).unwrap_or(&[]);
        let budget = budget.iter().filter_map(|node| {
            let left = node.get("leftAtLeast")?.text()?.parse().ok()?;
            Some((text(node, "objective").to_owned(), left))
        });
        Self {
            hypothesis: text(spec, "hypothesis").to_owned(),
            seed: number(spec, "seed"),
            run: run.iter().map(pair).collect(),
            window: go::duration(text(spec, "window")).ok(),
            settle: go::duration(text(spec, "settle")).unwrap_or(SETTLE),
            steady_state: conditions("steadyState"),
            abort: conditions("abort"),
            alerts: spec.get("alerts").map(|node| Alerts {
                fire: set(node, "fire"),
                may_fire: set(node, "mayFire"),
                severities: set(node, "severities"),
            }),
            blast_radius: BlastRadius {
                targets: radius.and_then(|node| number(node, "targets")),
                share_percent: radius.and_then(|node| number(node, "sharePercent")),
            },
            budget: budget.collect(),
        }
    }
}

fn condition(node: &Node) -> Condition {
    let bound = |key: &str| node.get(key)?.text()?.parse().ok();
    let when = texts(node, "when");
    let question = match node.get("objective").and_then(Node::text) {
        Some(objective) => Question::Burn(objective.to_owned()),
        None => Question::Query(text(node, "query").to_owned()),
    };
    let moments = Moment::ALL.into_iter();
    Condition {
        name: text(node, "name").to_owned(),
        question,
        at_least: bound("atLeast"),
        at_most: bound("atMost"),
        when: moments
            .filter(|moment| when.is_empty() || when.iter().any(|word| word == moment.name()))
            .collect(),
    }
}

pub(crate) fn rules(spec: &Node, subject: &str, desk: &mut Desk<'_>) {
    for key in ["window", "settle"] {
        if let Some(node) = spec.get(key)
            && let Err(why) = go::duration(node.text().unwrap_or(""))
        {
            let subject = format!("{subject} spec.{key}");
            desk.error(
                node.place,
                subject,
                Code::Rule,
                why,
                format!("{key}: \"30s\""),
            );
        }
    }
    let lists = ["steadyState", "abort"];
    for (key, node) in lists.iter().flat_map(|key| {
        let items = spec.get(key).map(Node::items).unwrap_or(&[]);
        items.iter().map(move |node| (key, node))
    }) {
        let subject = format!("{subject} spec.{key}");
        if node.get("query").is_some() == node.get("objective").is_some() {
            let reason = "a condition asks either a query or an objective";
            desk.error(node.place, &subject, Code::Rule, reason, "query: PromQL");
        }
        let bounded = |key: &str| {
            node.get(key)
                .is_some_and(|n| matches!(n.value, Value::Number(_)))
        };
        if !bounded("atLeast") && !bounded("atMost") {
            let reason = "a condition without atLeast or atMost holds whatever is answered";
            desk.error(node.place, &subject, Code::Rule, reason, "atLeast: 0.99");
        }
    }
}

/// Every document that an experiment names is there.
pub(crate) fn references(documents: &[Document], desk: &mut Desk<'_>) {
    for document in documents {
        let Body::Experiment(_) = &document.body else {
            continue;
        };
        let spec = document.node.get("spec");
        let run = spec.and_then(|spec| spec.get("run")).map(Node::items);
        for node in run.unwrap_or(&[]) {
            let (kind, name) = (text(node, "kind"), text(node, "name"));
            let is_there = documents.iter().any(|other| {
                other.kind == kind
                    && other.name == name
                    && !matches!(other.body, Body::Experiment(_))
            });
            if !is_there {
                let known: Vec<String> = documents
                    .iter()
                    .filter(|other| !matches!(other.body, Body::Experiment(_)))
                    .map(Document::subject)
                    .collect();
                let reason = format!("there is no {kind}/{name} in this file");
                let repair = format!("one of {}", known.join(", "));
                let subject = format!("{} spec.run", document.subject());
                desk.error(node.place, subject, Code::Reference, reason, repair);
            }
        }
    }
}

/// Kind and name of every document that an experiment stands around.
pub(crate) fn covered(documents: &[Document]) -> BTreeSet<(&str, &str)> {
    let mut found = BTreeSet::new();
    for document in documents {
        if let Body::Experiment(experiment) = &document.body {
            let run = experiment.run.iter();
            found.extend(run.map(|(kind, name)| (kind.as_str(), name.as_str())));
        }
    }
    found
}

/// A document that no experiment stands around: Chaos Mesh has no words for what must hold.
pub(crate) fn missing(document: &Document, desk: &mut Desk<'_>) {
    let wrapper = wrapper(document);
    let findings = [
        (
            Code::NoSteadyState,
            "nothing says what must hold before, during and after it: whatever happens, it has passed",
        ),
        (
            Code::NoAbort,
            "nothing ends it when it does more harm than was meant",
        ),
        (
            Code::NoBlastRadius,
            "nothing bounds how much of the platform it may touch",
        ),
    ];
    for (code, reason) in findings {
        // The text is told once; it repairs all three.
        let repair = match code {
            Code::NoSteadyState => wrapper.clone(),
            _ => "the Experiment above, around it".to_owned(),
        };
        let edit = Some(Edit::Append {
            text: wrapper.clone(),
        });
        desk.find(
            document.place,
            document.subject(),
            code,
            reason,
            repair,
            edit,
        );
    }
}

/// Requests that gateways answer are good on every platform; more is known to its owner alone.
fn wrapper(document: &Document) -> String {
    let (kind, name) = (&document.kind, repaired_name(document));
    let targets: u64 = document.chaos().len().max(1) as u64 * 3;
    format!(
        "apiVersion: mainstay/v1
kind: Experiment
metadata:
  name: {name}
spec:
  hypothesis: \"while {name} lasts, requests are answered\"
  seed: 1
  run:
    - kind: {kind}
      name: {name}
  steadyState:
    - name: requests-answered
      query: 'sum(rate(mainstay_gateway_requests_total{{class!=\"5xx\"}}[30s])) / sum(rate(mainstay_gateway_requests_total[30s]))'
      atLeast: 0.99
  abort:
    - name: requests-fail
      query: 'sum(rate(mainstay_gateway_requests_total{{class!=\"5xx\"}}[30s])) / sum(rate(mainstay_gateway_requests_total[30s]))'
      atLeast: 0.9
  blastRadius:
    targets: {targets}
    sharePercent: 50"
    )
}

/// Experiments that leave out what they are for.
pub(crate) fn weak(documents: &[Document], desk: &mut Desk<'_>) {
    for document in documents {
        let (Body::Experiment(experiment), Some(spec)) =
            (&document.body, document.node.get("spec"))
        else {
            continue;
        };
        let mut find = |code, reason: &str, repair: &str| {
            let edit = desk.add(spec, repair);
            desk.find(spec.place, document.subject(), code, reason, repair, edit);
        };
        let answered = |name: &str, least: &str| {
            format!(
                "  - name: {name}\n    query: 'sum(rate(mainstay_gateway_requests_total{{class!=\"5xx\"}}[30s])) / sum(rate(mainstay_gateway_requests_total[30s]))'\n    atLeast: {least}"
            )
        };
        if experiment.steady_state.is_empty() && experiment.alerts.is_none() {
            let repair = format!("steadyState:\n{}", answered("requests-answered", "0.99"));
            find(
                Code::NoSteadyState,
                "nothing says what must hold: whatever happens, it has passed",
                &repair,
            );
        }
        if experiment.abort.is_empty() {
            let repair = format!("abort:\n{}", answered("requests-fail", "0.9"));
            find(
                Code::NoAbort,
                "nothing ends it when it does more harm than was meant",
                &repair,
            );
        }
        if experiment.blast_radius == BlastRadius::default() {
            let repair = "blastRadius:\n  targets: 3\n  sharePercent: 50";
            find(
                Code::NoBlastRadius,
                "nothing bounds how much of the platform it may touch",
                repair,
            );
        }
    }
}
