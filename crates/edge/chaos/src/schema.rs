//! The form of documents: which fields there are, of which types, and which must be there.
//!
//! The same verdict as the API server's with Chaos Mesh's definitions and strict fields: a number where text is wanted
//! is refused, and so is a field that there is not.

use mainstay_yaml::{Node, Place, Value};

use crate::finding::{Code, Desk};
use crate::kinds;

#[derive(Debug)]
pub(crate) enum Shape {
    Text,
    /// A whole number of at least so much.
    Whole(i64),
    Flag,
    Number,
    OneOf(&'static [&'static str]),
    List(&'static Shape),
    /// Keys are free.
    Map(&'static Shape),
    Object(&'static [Field]),
    /// Anything: not looked into.
    Any,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: &'static Shape,
    pub(crate) required: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    Optional,
}

/// Whether the document is one of the kinds that are known, so that more can be said of it.
pub(crate) fn document(node: &Node, desk: &mut Desk<'_>) -> bool {
    let text = |key: &str| node.get(key).and_then(Node::text).unwrap_or("");
    let (version, kind) = (text("apiVersion"), text("kind"));
    let name = node
        .get("metadata")
        .and_then(|metadata| metadata.get("name"))
        .and_then(Node::text)
        .unwrap_or("");
    let subject = format!("{kind}/{name}");
    let Some(wanted) = kinds::find(kind) else {
        let place = node.get("kind").map_or(node.place, |kind| kind.place);
        let reason = match kind {
            "" => "a document without a kind".to_owned(),
            _ => format!("{kind:?} is no kind of chaos"),
        };
        let repair = format!("kind: one of {}", kinds::names().join(", "));
        desk.error(place, subject, Code::Kind, reason, repair);
        return false;
    };
    if version != wanted.api_version {
        let found = node.get("apiVersion");
        let place = found.map_or(node.place, |node| node.place);
        let reason = format!("apiVersion of a {kind} is {}", wanted.api_version);
        let edit = found.and_then(|node| desk.replace(node, wanted.api_version));
        let repair = format!("apiVersion: {}", wanted.api_version);
        desk.find(place, &subject, Code::Kind, reason, repair, edit);
    }
    let mut reader = Reader { desk, subject };
    reader.object(node, "", wanted.fields);
    if name.is_empty() {
        let place = node.get("metadata").map_or(node.place, |node| node.place);
        let subject = reader.subject.clone();
        let repair = "metadata: {name: …}".to_owned();
        reader.desk.error(
            place,
            subject,
            Code::Missing,
            "metadata.name is missing",
            repair,
        );
    }
    true
}

struct Reader<'a, 'b> {
    desk: &'a mut Desk<'b>,
    subject: String,
}

impl Reader<'_, '_> {
    fn note(&mut self, place: Place, path: &str, code: Code, reason: String, repair: String) {
        let subject = format!("{} {path}", self.subject);
        self.desk.error(place, subject, code, reason, repair);
    }

    fn object(&mut self, node: &Node, path: &str, fields: &'static [Field]) {
        if !matches!(node.value, Value::Map(_)) {
            let reason = "fields are wanted here".to_owned();
            self.note(
                node.place,
                path,
                Code::Type,
                reason,
                "give its fields".to_owned(),
            );
            return;
        }
        let below = |name: &str| match path {
            "" => name.to_owned(),
            _ => format!("{path}.{name}"),
        };
        for entry in node.entries() {
            match fields.iter().find(|field| field.name == entry.key) {
                Some(field)
                    if matches!(entry.value.value, Value::Null)
                        && field.required == Presence::Optional => {}
                Some(field) => self.value(&entry.value, &below(field.name), field.shape),
                None => self.unknown(entry.place, &below(&entry.key), &entry.key, fields),
            }
        }
        for field in fields {
            if field.required == Presence::Required && node.get(field.name).is_none() {
                let path = below(field.name);
                let line = format!("{}: {}", field.name, example(field.name, field.shape));
                let edit = self
                    .desk
                    .add(node, &line)
                    .filter(|_| can_be_chosen(field.shape));
                let subject = format!("{} {path}", self.subject);
                let reason = format!("{path} is required and not there");
                self.desk
                    .find(node.place, subject, Code::Missing, reason, line, edit);
            }
        }
    }

    fn unknown(&mut self, place: Place, path: &str, key: &str, fields: &[Field]) {
        let near = fields.iter().find(|field| {
            field.name.eq_ignore_ascii_case(key)
                || field.name.starts_with(key)
                || key.starts_with(field.name)
        });
        let reason = match key {
            "scheduler" => {
                "the schedule of version 1 of Chaos Mesh; version 2 refuses it".to_owned()
            }
            _ => format!("there is no field {path}"),
        };
        let repair = match (key, near) {
            ("scheduler", _) => "write a document of kind Schedule around this one".to_owned(),
            (_, Some(field)) => format!("{} is a field", field.name),
            (_, None) => {
                let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
                format!("leave it out; the fields are {}", names.join(", "))
            }
        };
        self.note(place, path, Code::Field, reason, repair);
    }

    fn value(&mut self, node: &Node, path: &str, shape: &'static Shape) {
        match shape {
            Shape::Any => {}
            Shape::Object(fields) => self.object(node, path, fields),
            Shape::List(item) => match &node.value {
                Value::List(items) => {
                    for (number, node) in items.iter().enumerate() {
                        self.value(node, &format!("{path}[{number}]"), item);
                    }
                }
                _ => self.wrong(node, path, "a list", None),
            },
            Shape::Map(item) => match &node.value {
                Value::Map(entries) => {
                    for entry in entries {
                        self.value(&entry.value, &format!("{path}.{}", entry.key), item);
                    }
                }
                _ => self.wrong(node, path, "a mapping", None),
            },
            Shape::Text => self.text(node, path),
            Shape::OneOf(words) => self.one_of(node, path, words),
            Shape::Flag => match &node.value {
                Value::Bool(_) => {}
                _ => self.wrong(node, path, "true or false", None),
            },
            Shape::Number => match &node.value {
                Value::Number(_) => {}
                _ => self.wrong(node, path, "a number", unquoted(node)),
            },
            Shape::Whole(least) => self.whole(node, path, *least),
        }
    }

    fn text(&mut self, node: &Node, path: &str) {
        match &node.value {
            Value::Text(_) => {}
            Value::Number(_) | Value::Bool(_) => {
                let quoted = format!("\"{}\"", self.desk.token(node.place));
                self.wrong(node, path, "text", Some(quoted));
            }
            Value::Null | Value::List(_) | Value::Map(_) => self.wrong(node, path, "text", None),
        }
    }

    fn one_of(&mut self, node: &Node, path: &str, words: &'static [&'static str]) {
        match &node.value {
            Value::Text(text) if words.contains(&text.as_str()) => {}
            Value::Text(text) => {
                let reason = format!("{text:?} is none of {}", words.join(", "));
                let repair = format!("one of {}", words.join(", "));
                self.note(node.place, path, Code::Value, reason, repair);
            }
            _ => self.wrong(node, path, words.join(", "), None),
        }
    }

    fn whole(&mut self, node: &Node, path: &str, least: i64) {
        let number = match &node.value {
            Value::Number(text) => text.parse::<i64>().ok(),
            _ => None,
        };
        match number {
            Some(number) if number >= least => {}
            Some(number) => {
                let reason = format!("{number} is less than {least}");
                self.note(
                    node.place,
                    path,
                    Code::Value,
                    reason,
                    format!("at least {least}"),
                );
            }
            None => self.wrong(node, path, "a whole number", unquoted(node)),
        }
    }

    fn wrong(&mut self, node: &Node, path: &str, wanted: impl Into<String>, with: Option<String>) {
        let is = match &node.value {
            Value::Null => "nothing",
            Value::Text(_) => "text",
            Value::Number(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        };
        let wanted = wanted.into();
        let reason = format!("{path} must be {wanted}, and is {is}");
        let edit = with.as_ref().and_then(|with| self.desk.replace(node, with));
        let key = path.rsplit('.').next().unwrap_or(path);
        let repair = match &with {
            Some(with) => format!("{key}: {with}"),
            None => format!("{key}: {wanted}"),
        };
        let subject = format!("{} {path}", self.subject);
        self.desk
            .find(node.place, subject, Code::Type, reason, repair, edit);
    }
}

/// A number that was written as text.
fn unquoted(node: &Node) -> Option<String> {
    let text = node.text()?;
    text.parse::<i64>().ok().map(|number| number.to_string())
}

/// Whether a program may fill it in: what is safe to assume, and not what only the author knows.
const fn can_be_chosen(shape: &Shape) -> bool {
    matches!(shape, Shape::OneOf(_))
}

fn example(name: &str, shape: &Shape) -> String {
    match (name, shape) {
        ("mode", _) => "all".to_owned(),
        (_, Shape::OneOf(words)) => words.first().copied().unwrap_or("…").to_owned(),
        (_, Shape::Whole(least)) => least.to_string(),
        (_, Shape::Flag) => "false".to_owned(),
        (_, Shape::List(_)) => "[…]".to_owned(),
        (_, Shape::Map(_) | Shape::Object(_) | Shape::Any) => "{…}".to_owned(),
        (_, Shape::Text | Shape::Number) => "…".to_owned(),
    }
}
