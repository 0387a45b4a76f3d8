//! The words of labels and annotations: Go's text templates, as far as rules use them.
//!
//! `parse` makes a tree of a text once; `expand` walks it with the values of one alert. What cannot be
//! parsed rejects the file; what fails while it is expanded becomes the text, as in Prometheus, so that an
//! alert is never lost to its own wording.

mod format;
mod functions;
mod parser;

use std::collections::BTreeMap;

use mainstay_promql::labels::Labels;

pub use format::{humanize, humanize_duration, humanize_percentage};

/// Longest text that an expansion may give, and most nodes that it may visit.
const TEXT_MAX: usize = 64 * 1024;
const STEPS_MAX: usize = 100_000;
/// Deepest nesting of parts that a text defines; one may be a part of itself.
const PARTS_MAX: usize = 64;

#[derive(Clone, Debug)]
pub struct Template {
    text: String,
    nodes: Vec<Node>,
    definitions: parser::Definitions,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Text(String),
    Print(Pipeline),
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// A part that the text defines, and what it is given.
    Template(String, Option<Pipeline>),
    Break,
    Continue,
}

/// How the walk goes on after a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    /// The range ends.
    Break,
    /// Its next item is due.
    Continue,
}

/// Commands, each of which takes the result of the one before as its last argument.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    /// Variables that take the result; two of them for `range $index, $value := …`.
    variables: Vec<String>,
    commands: Vec<Vec<Term>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Term {
    Dot,
    /// `.a.b`
    Fields(Vec<String>),
    /// `$x.a.b`
    Variable(String, Vec<String>),
    Name(String),
    Literal(Value),
    /// `(pipeline).a.b`
    Nested(Pipeline, Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nothing,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

/// Asks for an instant vector: labels and values.
pub type Query<'a> = dyn Fn(&str) -> Result<Vec<(Labels, f64)>, String> + 'a;

/// What a template may know.
pub struct Context<'a> {
    pub labels: &'a Labels,
    pub value: f64,
    pub external_labels: &'a Labels,
    pub external_url: &'a str,
    /// Asks for an instant vector at the moment of the alert.
    pub query: &'a Query<'a>,
}

impl Template {
    /// A text without any directive, as labels of recording rules are.
    pub fn plain(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            nodes: vec![Node::Text(text.to_owned())],
            definitions: parser::Definitions::new(),
        }
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let (nodes, definitions) = parser::parse(text)?;
        Ok(Self {
            text: text.to_owned(),
            nodes,
            definitions,
        })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Never fails: what goes wrong is said in the text.
    pub fn expand(&self, context: &Context<'_>) -> String {
        let map = |labels: &Labels| {
            let pairs = labels
                .iter()
                .map(|(n, v)| (n.to_owned(), Value::Text(v.to_owned())));
            Value::Map(pairs.collect())
        };
        let dot = Value::Map(BTreeMap::from([
            ("Labels".to_owned(), map(context.labels)),
            ("Value".to_owned(), Value::Float(context.value)),
            ("ExternalLabels".to_owned(), map(context.external_labels)),
            (
                "ExternalURL".to_owned(),
                Value::Text(context.external_url.to_owned()),
            ),
        ]));
        let mut walk = Walk {
            context,
            definitions: &self.definitions,
            output: String::new(),
            steps: 0,
            depth: 0,
            variables: Vec::new(),
        };
        for (name, value) in [
            ("$", dot.clone()),
            ("$labels", map(context.labels)),
            ("$value", Value::Float(context.value)),
            ("$externalLabels", map(context.external_labels)),
            ("$externalURL", Value::Text(context.external_url.to_owned())),
        ] {
            walk.variables.push((name.to_owned(), value));
        }
        match walk.nodes(&self.nodes, &dot) {
            Ok(_) => walk.output,
            Err(problem) => format!("<error expanding template: {problem}>"),
        }
    }
}

pub(crate) struct Walk<'a> {
    context: &'a Context<'a>,
    definitions: &'a parser::Definitions,
    output: String,
    steps: usize,
    /// Parts that the present one is a part of.
    depth: usize,
    variables: Vec<(String, Value)>,
}

impl Walk<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        for node in nodes {
            self.steps += 1;
            if self.steps > STEPS_MAX || self.output.len() > TEXT_MAX {
                return Err("the text is too long".to_owned());
            }
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        let known = self.variables.len();
        let flow = match node {
            Node::Text(text) => {
                self.output.push_str(text);
                Flow::On
            }
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.output.push_str(&format::print(&value));
                }
                // A variable lives on behind its definition.
                return Ok(Flow::On);
            }
            Node::If(branches, otherwise) => {
                let mut taken = otherwise;
                for (condition, nodes) in branches {
                    if is_true(&self.pipeline(condition, dot)?) {
                        taken = nodes;
                        break;
                    }
                }
                self.nodes(taken, dot)?
            }
            Node::With(pipeline, nodes, otherwise) => {
                let value = self.pipeline(pipeline, dot)?;
                if is_true(&value) {
                    self.nodes(nodes, &value)?
                } else {
                    self.nodes(otherwise, dot)?
                }
            }
            Node::Range(pipeline, nodes, otherwise) => {
                self.range(pipeline, nodes, otherwise, dot)?
            }
            Node::Template(name, data) => {
                let data = data.as_ref().map(|data| self.pipeline(data, dot));
                self.part(name, data.transpose()?.unwrap_or(Value::Nothing))?;
                Flow::On
            }
            Node::Break => Flow::Break,
            Node::Continue => Flow::Continue,
        };
        self.variables.truncate(known);
        Ok(flow)
    }

    /// A part that the text defines: it sees what it is given, and nothing else.
    fn part(&mut self, name: &str, dot: Value) -> Result<(), String> {
        let definitions = self.definitions;
        let nodes = definitions
            .get(name)
            .ok_or_else(|| format!("template {name:?} not defined"))?;
        if self.depth >= PARTS_MAX {
            return Err(format!("more than {PARTS_MAX} parts within each other"));
        }
        let own = vec![("$".to_owned(), dot.clone())];
        let around = std::mem::replace(&mut self.variables, own);
        self.depth += 1;
        self.nodes(nodes, &dot)?;
        self.depth -= 1;
        self.variables = around;
        Ok(())
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        nodes: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, String> {
        let plain = Pipeline {
            variables: Vec::new(),
            commands: pipeline.commands.clone(),
        };
        let items: Vec<(Value, Value)> = match self.pipeline(&plain, dot)? {
            Value::List(items) => (0..).map(Value::Int).zip(items).collect(),
            Value::Map(items) => items
                .into_iter()
                .map(|(key, value)| (Value::Text(key), value))
                .collect(),
            Value::Nothing => Vec::new(),
            other => {
                return Err(format!(
                    "range can't iterate over {}",
                    format::print(&other)
                ));
            }
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let known = self.variables.len();
        for (key, value) in items {
            match pipeline.variables.as_slice() {
                [name] => self.variables.push((name.clone(), value.clone())),
                [first, second] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), value.clone()));
                }
                _ => {}
            }
            let flow = self.nodes(nodes, &value)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut result: Option<Value> = None;
        for command in &pipeline.commands {
            result = Some(self.command(command, result, dot)?);
        }
        let value = result.ok_or("missing value for command")?;
        if let [name] = pipeline.variables.as_slice() {
            self.variables.push((name.clone(), value.clone()));
        }
        Ok(value)
    }

    fn command(
        &mut self,
        terms: &[Term],
        last: Option<Value>,
        dot: &Value,
    ) -> Result<Value, String> {
        let Some((first, rest)) = terms.split_first() else {
            return Err("missing value for command".to_owned());
        };
        if let Term::Name(name) = first {
            let mut arguments = Vec::new();
            for term in rest {
                arguments.push(self.term(term, dot)?);
            }
            arguments.extend(last);
            return functions::call(name, arguments, self.context);
        }
        if !rest.is_empty() || last.is_some() {
            return Err("can't give argument to non-function".to_owned());
        }
        self.term(first, dot)
    }

    fn term(&mut self, term: &Term, dot: &Value) -> Result<Value, String> {
        match term {
            Term::Dot => Ok(dot.clone()),
            Term::Literal(value) => Ok(value.clone()),
            Term::Fields(path) => field(dot, path),
            Term::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(other, _)| other == name);
                let value = found.map(|(_, value)| value.clone());
                field(
                    &value.ok_or_else(|| format!("undefined variable {name:?}"))?,
                    path,
                )
            }
            Term::Nested(pipeline, path) => {
                let value = self.pipeline(pipeline, dot)?;
                field(&value, path)
            }
            Term::Name(name) => functions::call(name, Vec::new(), self.context),
        }
    }
}

fn field(value: &Value, path: &[String]) -> Result<Value, String> {
    let mut value = value;
    for name in path {
        match value {
            // A label that is not there is empty, as in Prometheus.
            Value::Map(map) => match map.get(name) {
                Some(inner) => value = inner,
                None => return Ok(Value::Text(String::new())),
            },
            other => {
                return Err(format!(
                    "can't evaluate field {name} in {}",
                    format::print(other)
                ));
            }
        }
    }
    Ok(value.clone())
}

pub(crate) fn is_true(value: &Value) -> bool {
    match value {
        Value::Nothing => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(map) => !map.is_empty(),
    }
}

#[cfg(test)]
mod tests;
