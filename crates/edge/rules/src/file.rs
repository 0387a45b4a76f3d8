//! From YAML to groups of rules, and every reason why that is not possible, with its place.
//!
//! A document is a rule file if it has `groups`, or a `PrometheusRule` if its kind says so; a ConfigMap is
//! searched for texts that are rule files, whatever their keys are called; a `List` is all of its items.

use std::collections::BTreeSet;

use mainstay_promql::ast::{Expr, Type};
use mainstay_promql::labels::{NAME, is_plain_metric};
use mainstay_promql::number::parse_duration;
use mainstay_promql::parse::parse;

use crate::template::Template;
use mainstay_yaml::{Entry, Node, Place, Value, documents, embedded};

/// Most rules of one text.
const RULES_MAX: usize = 50_000;

#[derive(Clone, Debug)]
pub struct Group {
    /// The file, and within a ConfigMap the key.
    pub file: String,
    pub name: String,
    pub place: Place,
    /// Milliseconds; the server's default where the file names none.
    pub interval: Option<i64>,
    pub query_offset: i64,
    /// Most alerts or series of one rule; 0 is no limit.
    pub limit: usize,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub kind: Kind,
    pub expr: Expr,
    /// The expression as it is written.
    pub text: String,
    pub place: Place,
    /// Of the field that holds the expression.
    pub expr_place: Place,
    pub labels: Vec<(String, Template)>,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Record(String),
    Alert(Alert),
}

#[derive(Clone, Debug)]
pub struct Alert {
    pub name: String,
    /// Milliseconds.
    pub hold: i64,
    pub keep_firing: i64,
    pub annotations: Vec<(String, Template)>,
}

impl Rule {
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Record(name) => name,
            Kind::Alert(alert) => &alert.name,
        }
    }

    pub fn alert(&self) -> Option<&Alert> {
        match &self.kind {
            Kind::Alert(alert) => Some(alert),
            Kind::Record(_) => None,
        }
    }
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub file: String,
    pub place: Place,
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { line, column } = self.place;
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)
    }
}

/// All groups of a text; or, if anything is wrong with it, everything that is.
pub fn read(file: &str, text: &str) -> Result<Vec<Group>, Vec<Problem>> {
    let mut reader = Reader {
        file: file.to_owned(),
        groups: Vec::new(),
        problems: Vec::new(),
        rules: 0,
    };
    match documents(text) {
        Err(fault) => reader.note(fault.place, fault.message),
        Ok(nodes) => {
            let mut found = false;
            for node in &nodes {
                found |= reader.document(node, text);
            }
            if !found && reader.problems.is_empty() {
                reader.note(
                    Place { line: 1, column: 1 },
                    "no rules are in this file".to_owned(),
                );
            }
        }
    }
    if reader.problems.is_empty() {
        Ok(reader.groups)
    } else {
        reader.problems.sort();
        reader.problems.dedup();
        Err(reader.problems)
    }
}

/// Whether a text is meant as a rule file. One that cannot be parsed is, where a line says so: then its fault is told
/// instead of its rules being passed over.
fn is_rule_file(text: &str) -> bool {
    let has_groups = |nodes: Vec<Node>| nodes.iter().any(|node| node.get("groups").is_some());
    documents(text).map_or_else(|_| text.lines().any(begins_groups), has_groups)
}

/// With the key in quotes too, and in JSON behind a brace.
fn begins_groups(line: &str) -> bool {
    let line = line.strip_prefix('{').map_or(line, str::trim_start);
    let quote = line.chars().next().filter(|c| matches!(c, '"' | '\''));
    let word = quote.map_or(line, |_| line.get(1..).unwrap_or(""));
    let Some(rest) = word.strip_prefix("groups") else {
        return false;
    };
    let rest = quote.map_or(Some(rest), |quote| rest.strip_prefix(quote));
    rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
}

struct Reader {
    file: String,
    groups: Vec<Group>,
    problems: Vec<Problem>,
    rules: usize,
}

impl Reader {
    fn note(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.clone(),
            place,
            message: message.into(),
        });
    }

    /// Whether rules could be in it.
    fn document(&mut self, node: &Node, text: &str) -> bool {
        let kind = node.get("kind").and_then(Node::text).unwrap_or("");
        match kind {
            "ConfigMap" => {
                let data = node.get("data");
                let mut found = false;
                for entry in data.map(Node::entries).unwrap_or(&[]) {
                    found |= self.embedded(text, entry);
                }
                found
            }
            "PrometheusRule" => {
                let Some(spec) = node.get("spec") else {
                    self.note(node.place, "a PrometheusRule without spec");
                    return true;
                };
                self.groups(spec, &["groups"], true);
                true
            }
            _ if kind == "List" || kind.ends_with("RuleList") || kind == "ConfigMapList" => {
                let items = node.get("items").map(Node::items).unwrap_or(&[]);
                // Every item is read, also after the first with rules.
                let read: Vec<bool> = items.iter().map(|item| self.document(item, text)).collect();
                read.contains(&true)
            }
            _ if node.get("groups").is_some() => {
                self.groups(node, &["groups", "namespace"], false);
                true
            }
            _ if kind.is_empty() => {
                if let Some(entry) = node.entries().first() {
                    self.note(
                        entry.place,
                        format!("unknown field `{}`: a rule file has `groups`", entry.key),
                    );
                }
                false
            }
            _ => false,
        }
    }

    fn embedded(&mut self, text: &str, entry: &Entry) -> bool {
        let content = entry.value.text().unwrap_or("");
        if !is_rule_file(content) {
            return false;
        }
        let outer = std::mem::take(&mut self.file);
        self.file = format!("{outer}#{}", entry.key);
        match embedded(text, entry) {
            Err(fault) => self.note(fault.place, fault.message),
            Ok(nodes) => {
                for node in nodes.iter().filter(|node| node.get("groups").is_some()) {
                    self.groups(node, &["groups", "namespace"], false);
                }
            }
        }
        self.file = outer;
        true
    }

    fn known(&mut self, node: &Node, fields: &[&str]) {
        for entry in node.entries() {
            if !fields.contains(&entry.key.as_str()) {
                self.note(entry.place, format!("unknown field `{}`", entry.key));
            }
        }
    }

    fn groups(&mut self, node: &Node, fields: &[&str], operator: bool) {
        self.known(node, fields);
        let mut names = BTreeSet::new();
        let Some(groups) = node.get("groups") else {
            return;
        };
        if !matches!(groups.value, Value::List(_) | Value::Null) {
            self.note(groups.place, "`groups` is a list");
        }
        for group in groups.items() {
            let name = group
                .get("name")
                .and_then(Node::text)
                .unwrap_or("")
                .to_owned();
            if name.is_empty() {
                self.note(group.place, "a group without a name");
            } else if !names.insert(name.clone()) {
                self.note(
                    group.place,
                    format!("the group name `{name}` is repeated in this file"),
                );
            }
            self.group(group, name, operator);
        }
    }

    fn group(&mut self, node: &Node, name: String, operator: bool) {
        let mut fields = vec![
            "name",
            "interval",
            "query_offset",
            "limit",
            "labels",
            "rules",
        ];
        if operator {
            fields.extend(["partial_response_strategy"]);
        }
        self.known(node, &fields);
        let interval = self
            .duration(node, "interval")
            .filter(|interval| *interval > 0);
        let query_offset = self.duration(node, "query_offset").unwrap_or(0);
        let limit = match node
            .get("limit")
            .map(|n| (n.place, n.text().and_then(|t| t.parse().ok())))
        {
            None => 0,
            Some((_, Some(limit))) => limit,
            Some((place, None)) => {
                self.note(place, "`limit` is a whole number");
                0
            }
        };
        let labels = self.templates(node, "labels", true);
        let mut rules = Vec::new();
        let list = node.get("rules");
        for rule in list.map(Node::items).unwrap_or(&[]) {
            self.rules += 1;
            if self.rules > RULES_MAX {
                self.note(rule.place, format!("more than {RULES_MAX} rules"));
                return;
            }
            if let Some(mut rule) = self.rule(rule) {
                for (name, template) in &labels {
                    if rule.labels.iter().any(|(own, _)| own == name) {
                        continue;
                    }
                    // In an alert, what the group says is a template too.
                    let template = match &rule.kind {
                        Kind::Record(_) => Ok(template.clone()),
                        Kind::Alert(_) => Template::parse(template.text()),
                    };
                    match template {
                        Ok(template) => rule.labels.push((name.clone(), template)),
                        Err(problem) => self.note(node.place, format!("label `{name}`: {problem}")),
                    }
                }
                rules.push(rule);
            }
        }
        let file = self.file.clone();
        self.groups.push(Group {
            file,
            name,
            place: node.place,
            interval,
            query_offset,
            limit,
            rules,
        });
    }

    fn rule(&mut self, node: &Node) -> Option<Rule> {
        let fields = [
            "record",
            "alert",
            "expr",
            "for",
            "keep_firing_for",
            "labels",
            "annotations",
        ];
        self.known(node, &fields);
        let kind = self.kind(node);
        let is_alert = matches!(kind, Some(Kind::Alert(_)));
        let labels = self.templates(node, "labels", !is_alert);
        let (expr_place, text, expr) = self.expression(node)?;
        Some(Rule {
            kind: kind?,
            expr,
            text,
            place: node.place,
            expr_place,
            labels,
        })
    }

    fn kind(&mut self, node: &Node) -> Option<Kind> {
        let named = |field| {
            node.get(field)
                .and_then(Node::text)
                .filter(|name| !name.is_empty())
        };
        let hold = self.duration(node, "for");
        let keep_firing = self.duration(node, "keep_firing_for");
        let annotations = self.templates(node, "annotations", false);
        match (named("record"), named("alert")) {
            (Some(_), Some(_)) => {
                self.note(node.place, "only one of `record` and `alert` must be set");
                None
            }
            (None, None) => {
                self.note(node.place, "one of `record` or `alert` must be set");
                None
            }
            (Some(name), None) => {
                for (field, set) in [
                    ("for", hold.is_some()),
                    ("keep_firing_for", keep_firing.is_some()),
                    ("annotations", !annotations.is_empty()),
                ] {
                    if set {
                        self.note(
                            node.place,
                            format!("invalid field `{field}` in a recording rule"),
                        );
                    }
                }
                if !is_plain_metric(name) {
                    self.note(node.place, format!("invalid recording rule name: {name}"));
                }
                Some(Kind::Record(name.to_owned()))
            }
            (None, Some(name)) => Some(Kind::Alert(Alert {
                name: name.to_owned(),
                hold: hold.unwrap_or(0),
                keep_firing: keep_firing.unwrap_or(0),
                annotations,
            })),
        }
    }

    fn expression(&mut self, node: &Node) -> Option<(Place, String, Expr)> {
        let found = node
            .get("expr")
            .and_then(|node| Some((node.place, node.text()?)));
        let Some((place, text)) = found.filter(|(_, text)| !text.trim().is_empty()) else {
            self.note(node.place, "field `expr` must be set in a rule");
            return None;
        };
        match parse(text) {
            Ok(expr) if matches!(expr.kind_of(), Type::Scalar | Type::Vector) => {
                Some((place, text.to_owned(), expr))
            }
            Ok(expr) => {
                let found = expr.kind_of().name();
                self.note(
                    place,
                    format!("a rule gives a vector or a scalar, not a {found}"),
                );
                None
            }
            Err(fault) => {
                let before = text.get(..fault.span.start).unwrap_or("");
                let line = before.matches('\n').count() + 1;
                let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
                let message = fault.message;
                self.note(
                    place,
                    format!("could not parse expression: {line}:{column}: {message}"),
                );
                None
            }
        }
    }

    fn duration(&mut self, node: &Node, field: &str) -> Option<i64> {
        let found = node.get(field)?;
        let text = found.text().unwrap_or("");
        let duration = parse_duration(text);
        if duration.is_none() {
            let place = found.place;
            self.note(
                place,
                format!("`{field}` is a duration such as 5m, not {text:?}"),
            );
        }
        duration
    }

    fn templates(&mut self, node: &Node, field: &str, plain: bool) -> Vec<(String, Template)> {
        let mut templates = Vec::new();
        for entry in node.get(field).map(Node::entries).unwrap_or(&[]) {
            if field == "labels" && (entry.key.is_empty() || entry.key == NAME) {
                self.note(entry.place, format!("invalid label name: {}", entry.key));
            }
            let text = entry.value.written().unwrap_or("");
            let template = if plain {
                Ok(Template::plain(text))
            } else {
                Template::parse(text)
            };
            match template {
                Ok(template) => templates.push((entry.key.clone(), template)),
                Err(problem) => {
                    let what = field.trim_end_matches('s');
                    self.note(entry.place, format!("{what} `{}`: {problem}", entry.key));
                }
            }
        }
        templates
    }
}
