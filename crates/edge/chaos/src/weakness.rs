//! What Chaos Mesh accepts and an experienced hand would not run.

use std::collections::BTreeMap;

use mainstay_yaml::{Entry, Node};

use crate::document::{Body, Chaos, Document, is_one_shot, text};
use crate::experiment;
use crate::finding::{Code, Desk};
use crate::kinds::ELSEWHERE;

pub(crate) fn all(documents: &[Document], desk: &mut Desk<'_>) {
    let covered = experiment::covered(documents);
    for document in documents {
        let context = Context {
            desk,
            document,
            documents,
        };
        context.document();
        let is_experiment = matches!(document.body, Body::Experiment(_));
        let is_helper = ELSEWHERE.contains(&document.kind.as_str());
        if !is_experiment
            && !is_helper
            && !covered.contains(&(document.kind.as_str(), document.name.as_str()))
        {
            experiment::missing(document, desk);
        }
    }
    experiment::weak(documents, desk);
    disagreements(documents, desk);
}

struct Context<'a, 'b, 'c> {
    desk: &'a mut Desk<'b>,
    document: &'c Document,
    documents: &'c [Document],
}

/// An entry of a mapping, with its key's place.
fn entry<'a>(node: &'a Node, key: &str) -> Option<&'a Entry> {
    node.entries().iter().find(|entry| entry.key == key)
}

impl Context<'_, '_, '_> {
    fn document(mut self) {
        let document = self.document;
        match &document.body {
            Body::Chaos(chaos) => {
                self.chaos(chaos, "spec");
                if !is_one_shot(chaos) && chaos.spec.get("duration").is_none() {
                    self.never_ends(chaos, "spec");
                }
            }
            Body::Schedule(schedule) => {
                if let Some(Body::Chaos(chaos)) = schedule.chaos.as_deref() {
                    let path = format!("spec.{}", chaos.kind);
                    self.chaos(chaos, &path);
                    if !is_one_shot(chaos) && chaos.spec.get("duration").is_none() {
                        self.never_ends(chaos, &path);
                    }
                }
            }
            Body::Workflow(workflow) => {
                for (name, template) in &workflow.templates {
                    if let Some(Body::Chaos(chaos)) = template.body.as_deref() {
                        let path = format!("spec.templates.{name}");
                        self.chaos(chaos, &path);
                        if !is_one_shot(chaos) && template.deadline.is_none() {
                            self.template_never_ends(&path, name);
                        }
                    }
                }
            }
            Body::Experiment(_) | Body::Elsewhere => return,
        }
        self.namespace();
    }

    fn subject(&self, path: &str) -> String {
        format!("{} {path}", self.document.subject())
    }

    fn never_ends(&mut self, chaos: &Chaos, path: &str) {
        let edit = self.desk.add(&chaos.spec, "duration: \"60s\"");
        let subject = self.subject(&format!("{path}.duration"));
        let reason = "without a duration it lasts until somebody deletes it, also if nobody is left who knows of it";
        self.desk.find(
            chaos.spec.place,
            subject,
            Code::NeverEnds,
            reason,
            "duration: \"60s\"",
            edit,
        );
    }

    fn template_never_ends(&mut self, path: &str, name: &str) {
        let spec = self.document.node.get("spec");
        let items = spec.and_then(|spec| spec.get("templates")).map(Node::items);
        let Some(node) = items
            .unwrap_or(&[])
            .iter()
            .find(|node| text(node, "name") == name)
        else {
            return;
        };
        let edit = self.desk.add(node, "deadline: \"60s\"");
        let reason = "without a deadline of its template the Workflow never gets past it";
        let subject = self.subject(&format!("{path}.deadline"));
        self.desk.find(
            node.place,
            subject,
            Code::NeverEnds,
            reason,
            "deadline: \"60s\"",
            edit,
        );
    }

    fn chaos(&mut self, chaos: &Chaos, path: &str) {
        self.effectless(chaos, path);
        self.jitter(chaos, path);
        self.breadth(chaos, path);
        self.name(chaos);
    }

    fn effectless(&mut self, chaos: &Chaos, path: &str) {
        let action = text(&chaos.spec, "action");
        if is_one_shot(chaos)
            && let Some(entry) = entry(&chaos.spec, "duration")
        {
            let edit = self.desk.drop(entry.place, &entry.value);
            let reason = format!("{action} is over at once: Chaos Mesh ignores its duration");
            let repair = "leave duration out; pod-failure keeps its targets down for a duration";
            let subject = self.subject(&format!("{path}.duration"));
            self.desk.find(
                entry.place,
                subject,
                Code::WithoutEffect,
                reason,
                repair,
                edit,
            );
        }
        if chaos.kind == "PodChaos"
            && action != "pod-kill"
            && let Some(entry) = entry(&chaos.spec, "gracePeriod")
        {
            let edit = self.desk.drop(entry.place, &entry.value);
            let reason = format!("gracePeriod is of pod-kill alone, and this is {action}");
            let subject = self.subject(&format!("{path}.gracePeriod"));
            self.desk.find(
                entry.place,
                subject,
                Code::WithoutEffect,
                reason,
                "leave gracePeriod out",
                edit,
            );
        }
        let needs = match (chaos.kind.as_str(), action) {
            ("NetworkChaos", "delay" | "loss" | "duplicate" | "corrupt" | "bandwidth") => action,
            _ => return,
        };
        if chaos.spec.get(needs).is_none() {
            let reason =
                format!("the action is {action}, and there is no {needs}: nothing would happen");
            let subject = self.subject(&format!("{path}.{needs}"));
            self.desk.find(
                chaos.spec.place,
                subject,
                Code::WithoutEffect,
                reason,
                format!("{needs}: {{…}}"),
                None,
            );
        }
    }

    fn jitter(&mut self, chaos: &Chaos, path: &str) {
        let Some(delay) = chaos.spec.get("delay") else {
            return;
        };
        let jitter = entry(delay, "jitter");
        let Some(jitter) = jitter.filter(|_| delay.get("correlation").is_none()) else {
            return;
        };
        if crate::go::nanoseconds(jitter.value.text().unwrap_or("")) == Ok(0) {
            return;
        }
        let edit = self.desk.add(delay, "correlation: \"25\"");
        let reason = "jitter without correlation makes each packet as likely late as the one before was early: real networks have moods";
        let subject = self.subject(&format!("{path}.delay.jitter"));
        self.desk.find(
            jitter.place,
            subject,
            Code::JitterUncorrelated,
            reason,
            "correlation: \"25\"",
            edit,
        );
    }

    fn breadth(&mut self, chaos: &Chaos, path: &str) {
        let selector = chaos.spec.get("selector");
        let narrows = |node: &Node| {
            let keys = [
                "nodes",
                "pods",
                "nodeSelectors",
                "fieldSelectors",
                "labelSelectors",
                "expressionSelectors",
                "annotationSelectors",
            ];
            keys.iter().any(|key| {
                node.get(key)
                    .is_some_and(|node| !node.entries().is_empty() || !node.items().is_empty())
            })
        };
        if let Some(selector) = selector.filter(|selector| !narrows(selector)) {
            let reason = "the selector means everything in its namespaces, the tools that would help included";
            let repair = "labelSelectors: {app: NAME}";
            let subject = self.subject(&format!("{path}.selector"));
            self.desk.find(
                selector.place,
                subject,
                Code::HitsEverything,
                reason,
                repair,
                None,
            );
        }
        let takes_all = match text(&chaos.spec, "mode") {
            "all" => true,
            "fixed-percent" => text(&chaos.spec, "value") == "100",
            _ => false,
        };
        let mode = entry(&chaos.spec, "mode");
        if let Some(mode) = mode.filter(|_| chaos.kind == "PodChaos" && takes_all) {
            let edit = match entry(&chaos.spec, "value") {
                None => self.desk.replace(&mode.value, "one"),
                Some(_) => None,
            };
            let reason =
                "every instance is lost at once: that is no test of redundancy but an outage";
            let subject = self.subject(&format!("{path}.mode"));
            self.desk.find(
                mode.place,
                subject,
                Code::KillsAll,
                reason,
                "mode: one",
                edit,
            );
        }
    }

    /// A name that promises another action.
    fn name(&mut self, chaos: &Chaos) {
        let metadata = self.document.node.get("metadata");
        let (Some(name), Some((other, better))) = (
            metadata.and_then(|metadata| metadata.get("name")),
            better_name(self.document, chaos),
        ) else {
            return;
        };
        let action = text(&chaos.spec, "action");
        let edit = self.desk.replace(name, &better);
        let reason = format!("the name says {other}, and the action is {action}");
        let subject = self.subject("metadata.name");
        self.desk.find(
            name.place,
            subject,
            Code::NameSaysOtherwise,
            reason,
            format!("name: {better}"),
            edit,
        );
    }

    /// Neither the document nor its selector says where.
    fn namespace(&mut self) {
        let document = self.document;
        if document.namespace().is_some() {
            return;
        }
        let open = document.chaos().into_iter().any(|chaos| {
            let selector = chaos.spec.get("selector");
            selector.is_some_and(|selector| {
                let named = selector.get("namespaces").map(Node::items).unwrap_or(&[]);
                named.is_empty() && selector.get("pods").is_none()
            })
        });
        let Some(metadata) = document.node.get("metadata").filter(|_| open) else {
            return;
        };
        let known = known_namespace(self.documents);
        let line = format!("namespace: {}", known.unwrap_or("NAMESPACE"));
        let edit = known.and_then(|_| self.desk.add(metadata, &line));
        let reason = "neither metadata nor the selector names a namespace: it means whichever one it is applied in, \"default\" as a rule";
        let subject = self.subject("metadata.namespace");
        self.desk.find(
            metadata.place,
            subject,
            Code::NoNamespace,
            reason,
            line,
            edit,
        );
    }
}

/// The action that a name promises instead of the real one, and the name as it should be.
fn better_name(document: &Document, chaos: &Chaos) -> Option<(&'static str, String)> {
    let words: &[&str] = match chaos.kind.as_str() {
        "PodChaos" => &["pod-kill", "pod-failure", "container-kill"],
        "NetworkChaos" => &["partition", "loss", "duplicate", "corrupt", "bandwidth"],
        _ => return None,
    };
    let (action, written) = (text(&chaos.spec, "action"), document.name.as_str());
    let other = words
        .iter()
        .find(|word| **word != action && written.contains(**word))?;
    (!written.contains(action)).then(|| (*other, written.replace(other, action)))
}

/// What a document is called once it is repaired.
pub(crate) fn repaired_name(document: &Document) -> String {
    let better = document
        .chaos()
        .into_iter()
        .find_map(|chaos| better_name(document, chaos));
    better.map_or_else(|| document.name.clone(), |(_, name)| name)
}

/// The one namespace that the other documents name, if it is one.
fn known_namespace(documents: &[Document]) -> Option<&str> {
    let mut names: Vec<&str> = documents.iter().filter_map(Document::namespace).collect();
    for chaos in documents.iter().flat_map(Document::chaos) {
        let selector = chaos.spec.get("selector");
        let list = selector
            .and_then(|selector| selector.get("namespaces"))
            .map(Node::items);
        names.extend(list.unwrap_or(&[]).iter().filter_map(Node::text));
    }
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [name] => Some(name),
        _ => None,
    }
}

/// The same value under different keys: one of them means nobody.
fn disagreements(documents: &[Document], desk: &mut Desk<'_>) {
    let mut first: BTreeMap<String, (String, String)> = BTreeMap::new();
    for document in documents {
        for chaos in document.chaos() {
            let selectors = [
                chaos.spec.get("selector"),
                chaos
                    .spec
                    .get("target")
                    .and_then(|target| target.get("selector")),
            ];
            let labels = selectors
                .into_iter()
                .flatten()
                .filter_map(|selector| selector.get("labelSelectors"));
            for entry in labels.flat_map(|labels| labels.entries()) {
                let value = entry.value.text().unwrap_or("").to_owned();
                let Some((key, subject)) = first.get(&value) else {
                    first.insert(value, (entry.key.clone(), document.subject()));
                    continue;
                };
                if *key == entry.key {
                    continue;
                }
                let reason = format!(
                    "{value:?} is selected by {:?} here and by {key:?} in {subject}: one of the two meets nobody, unless both labels are given",
                    entry.key
                );
                let edit = desk.replace_key(entry, key);
                let repair = format!("{key}: {value}");
                let subject = format!("{} labelSelectors.{}", document.subject(), entry.key);
                desk.find(
                    entry.place,
                    subject,
                    Code::LabelsDisagree,
                    reason,
                    repair,
                    edit,
                );
            }
        }
    }
}
