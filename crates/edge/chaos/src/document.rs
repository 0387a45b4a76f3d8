//! Documents as they are meant, after their form was found to be right.
//!
//! What a field says is read where it is needed; here stands what all kinds share.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_yaml::{Node, Place};

use crate::experiment::Experiment;
use crate::go;
use crate::kinds::{self, ELSEWHERE};

#[derive(Clone, Debug)]
pub struct Document {
    pub kind: String,
    pub name: String,
    pub place: Place,
    pub node: Node,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Body {
    Chaos(Chaos),
    Schedule(Schedule),
    Workflow(Workflow),
    Experiment(Box<Experiment>),
    /// A kind of which only the name is known here.
    Elsewhere,
}

/// One thing that is broken, with whom it is about.
#[derive(Clone, Debug)]
pub struct Chaos {
    /// As `PodChaos`.
    pub kind: String,
    /// The document, and the template or schedule within it.
    pub name: String,
    /// Of the document: what a selector without namespaces means.
    pub namespace: String,
    pub spec: Node,
}

#[derive(Clone, Debug)]
pub struct Schedule {
    pub schedule: String,
    pub allows_overlap: bool,
    pub starting_deadline: Option<Duration>,
    pub chaos: Option<Box<Body>>,
}

#[derive(Clone, Debug)]
pub struct Workflow {
    pub entry: String,
    pub templates: BTreeMap<String, Template>,
}

#[derive(Clone, Debug)]
pub struct Template {
    pub kind: String,
    pub deadline: Option<Duration>,
    pub children: Vec<String>,
    pub body: Option<Box<Body>>,
}

/// How many of those who are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    One,
    All,
    Fixed(u64),
    FixedPercent(u64),
    RandomMaxPercent(u64),
}

/// The namespace of a document that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

pub(crate) fn text<'a>(node: &'a Node, key: &str) -> &'a str {
    node.get(key).and_then(Node::text).unwrap_or("")
}

pub(crate) fn texts(node: &Node, key: &str) -> Vec<String> {
    let items = node.get(key).map(Node::items).unwrap_or(&[]);
    items
        .iter()
        .filter_map(Node::text)
        .map(str::to_owned)
        .collect()
}

pub(crate) fn pairs(node: &Node, key: &str) -> BTreeMap<String, String> {
    let entries = node.get(key).map(Node::entries).unwrap_or(&[]);
    entries
        .iter()
        .filter_map(|entry| Some((entry.key.clone(), entry.value.text()?.to_owned())))
        .collect()
}

/// `podChaos` of a Schedule or a template, as the kind `PodChaos`.
pub(crate) const EMBEDDED: [(&str, &str); 7] = [
    ("NetworkChaos", "networkChaos"),
    ("PodChaos", "podChaos"),
    ("StressChaos", "stressChaos"),
    ("TimeChaos", "timeChaos"),
    ("IOChaos", "ioChaos"),
    ("DNSChaos", "dnsChaos"),
    ("HTTPChaos", "httpChaos"),
];

/// Kinds that end as soon as they have begun: Chaos Mesh ignores their duration.
pub(crate) fn is_one_shot(chaos: &Chaos) -> bool {
    chaos.kind == "PodChaos" && matches!(text(&chaos.spec, "action"), "pod-kill" | "container-kill")
}

impl Document {
    pub(crate) fn of(node: &Node) -> Self {
        let metadata = node.get("metadata");
        let of_metadata = |key: &str| {
            metadata
                .map_or("", |metadata| text(metadata, key))
                .to_owned()
        };
        let (kind, name) = (text(node, "kind").to_owned(), of_metadata("name"));
        let namespace = match of_metadata("namespace") {
            empty if empty.is_empty() => DEFAULT_NAMESPACE.to_owned(),
            namespace => namespace,
        };
        let body = match node.get("spec") {
            Some(spec) => body(&kind, &name, &namespace, spec),
            None => Body::Elsewhere,
        };
        Self {
            kind,
            name,
            place: node.place,
            node: node.clone(),
            body,
        }
    }

    pub fn subject(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.node.get("metadata")?.get("namespace")?.text()
    }

    /// Every chaos in it, also within schedules and templates.
    pub fn chaos(&self) -> Vec<&Chaos> {
        let mut found = Vec::new();
        self.body.collect(&mut found);
        found
    }
}

impl Body {
    fn collect<'a>(&'a self, found: &mut Vec<&'a Chaos>) {
        match self {
            Self::Chaos(chaos) => found.push(chaos),
            Self::Schedule(schedule) => {
                if let Some(body) = &schedule.chaos {
                    body.collect(found);
                }
            }
            Self::Workflow(workflow) => {
                for body in workflow.templates.values().filter_map(|t| t.body.as_ref()) {
                    body.collect(found);
                }
            }
            Self::Experiment(_) | Self::Elsewhere => {}
        }
    }
}

fn body(kind: &str, name: &str, namespace: &str, spec: &Node) -> Body {
    match kind {
        "Schedule" => Body::Schedule(schedule(name, namespace, spec)),
        "Workflow" => Body::Workflow(workflow(name, namespace, spec)),
        kinds::EXPERIMENT => Body::Experiment(Box::new(Experiment::of(spec))),
        _ if ELSEWHERE.contains(&kind) => Body::Elsewhere,
        _ => Body::Chaos(Chaos {
            kind: kind.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            spec: spec.clone(),
        }),
    }
}

fn schedule(name: &str, namespace: &str, spec: &Node) -> Schedule {
    let kind = text(spec, "type");
    let deadline = spec.get("startingDeadlineSeconds").and_then(Node::text);
    Schedule {
        schedule: text(spec, "schedule").to_owned(),
        allows_overlap: text(spec, "concurrencyPolicy") == "Allow",
        starting_deadline: deadline
            .and_then(|text| text.parse().ok())
            .map(Duration::from_secs),
        chaos: inner(kind, name, namespace, spec),
    }
}

/// The chaos of a type that a Schedule or a template holds.
fn inner(kind: &str, name: &str, namespace: &str, spec: &Node) -> Option<Box<Body>> {
    if kind == "Workflow" {
        let spec = spec.get("workflow")?;
        return Some(Box::new(Body::Workflow(workflow(name, namespace, spec))));
    }
    let (_, key) = EMBEDDED.iter().find(|(known, _)| *known == kind)?;
    let spec = spec.get(key)?;
    Some(Box::new(body(kind, name, namespace, spec)))
}

fn workflow(name: &str, namespace: &str, spec: &Node) -> Workflow {
    let items = spec.get("templates").map(Node::items).unwrap_or(&[]);
    let templates = items.iter().map(|node| {
        let (kind, own) = (text(node, "templateType"), text(node, "name"));
        let inside = format!("{name}.{own}");
        let body = match (kind, node.get("schedule")) {
            ("Schedule", Some(spec)) => {
                Some(Box::new(Body::Schedule(schedule(&inside, namespace, spec))))
            }
            _ => inner(kind, &inside, namespace, node),
        };
        let template = Template {
            kind: kind.to_owned(),
            deadline: go::duration(text(node, "deadline")).ok(),
            children: texts(node, "children"),
            body,
        };
        (own.to_owned(), template)
    });
    Workflow {
        entry: text(spec, "entry").to_owned(),
        templates: templates.collect(),
    }
}

impl Chaos {
    /// Absent: until somebody ends it. Kinds that are over at once have none, whatever is written.
    pub fn duration(&self) -> Option<Duration> {
        match is_one_shot(self) {
            true => None,
            false => go::duration(text(&self.spec, "duration")).ok(),
        }
    }

    pub fn mode(&self) -> Mode {
        mode(&self.spec)
    }
}

pub(crate) fn mode(spec: &Node) -> Mode {
    let value = text(spec, "value").parse().unwrap_or(0);
    match text(spec, "mode") {
        "all" => Mode::All,
        "fixed" => Mode::Fixed(value),
        "fixed-percent" => Mode::FixedPercent(value),
        "random-max-percent" => Mode::RandomMaxPercent(value),
        _ => Mode::One,
    }
}
