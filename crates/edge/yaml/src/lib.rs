//! YAML as a tree of values, each with its place in the file, document by document.
//!
//! Scalars are kept as text, whatever YAML takes them for: rule files write numbers where text is meant, and the other
//! way round. Whoever minds the difference finds it in the kind of the value, and whoever minds each letter in what was
//! written: to YAML `0x60` is a number, to a unit test of rules sixty-one zeros.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 4 << 20;
/// Most documents of one file.
const DOCUMENTS_MAX: usize = 1_000;

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub place: Place,
    pub value: Value,
    /// As it stands in the file, of what YAML takes for a number or a truth and says otherwise.
    written: Option<Box<str>>,
}

#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Text(String),
    /// As it is written, or nearly: `1.0` becomes `1`.
    Number(String),
    Bool(bool),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

impl Node {
    /// One that stands in no file.
    pub fn made(place: Place, value: Value) -> Self {
        let written = None;
        Self {
            place,
            value,
            written,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The same, as it stands in the file.
    pub fn written(&self) -> Option<&str> {
        self.written.as_deref().or_else(|| self.text())
    }

    /// Keeps what was written where YAML made something else of it.
    fn read_again(&mut self, lines: &[&str]) {
        match &mut self.value {
            Value::Number(_) | Value::Bool(_) => {
                let written = plain_at(lines, self.place);
                let differs = written.filter(|written| Some(*written) != self.text());
                self.written = differs.map(Box::from);
            }
            Value::Null | Value::Text(_) => {}
            Value::List(items) => items.iter_mut().for_each(|item| item.read_again(lines)),
            Value::Map(entries) => {
                let values = entries.iter_mut().map(|entry| &mut entry.value);
                values.for_each(|value| value.read_again(lines));
            }
        }
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// Moves every place: by lines, and by columns.
    fn shift(&mut self, lines: usize, columns: usize) {
        let shift = |place: &mut Place| {
            place.line += lines;
            place.column += columns;
        };
        shift(&mut self.place);
        match &mut self.value {
            Value::Null | Value::Text(_) | Value::Number(_) | Value::Bool(_) => {}
            Value::List(items) => items.iter_mut().for_each(|item| item.shift(lines, columns)),
            Value::Map(entries) => {
                for entry in entries {
                    shift(&mut entry.place);
                    entry.value.shift(lines, columns);
                }
            }
        }
    }
}

/// What is no YAML, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    pub message: String,
}

/// Every document of a text; empty ones are left out.
pub fn documents(text: &str) -> Result<Vec<Node>, Fault> {
    let refuse = |message: String| {
        Err(Fault {
            place: Place { line: 1, column: 1 },
            message,
        })
    };
    if text.len() > FILE_BYTES_MAX {
        return refuse(format!("the file has more than {FILE_BYTES_MAX} bytes"));
    }
    let mut nodes = Vec::new();
    let mut part = String::new();
    let mut lines_before = 0;
    for (number, line) in text.lines().chain(["---"]).enumerate() {
        if line != "---" && !line.starts_with("--- ") {
            part.push_str(line);
            part.push('\n');
            continue;
        }
        if part
            .lines()
            .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        {
            let mut node = one(&part).map_err(|mut fault| {
                fault.place.line += lines_before;
                fault
            })?;
            node.shift(lines_before, 0);
            nodes.push(node);
        }
        if nodes.len() > DOCUMENTS_MAX {
            return refuse(format!("the file has more than {DOCUMENTS_MAX} documents"));
        }
        part.clear();
        lines_before = number + 1;
    }
    Ok(nodes)
}

/// The documents within a text that stands in another file as a block, with their places in that file.
pub fn embedded(outer: &str, entry: &Entry) -> Result<Vec<Node>, Fault> {
    let text = entry.value.text().unwrap_or("");
    let first = text.lines().next().unwrap_or("");
    let mut lines = outer.lines().enumerate().skip(entry.place.line);
    // The block's first line: below its key, the same but for the indentation.
    let found =
        lines.find(|(_, line)| line.trim_start() == first.trim_start() && !first.is_empty());
    let (above, indent) = match found {
        Some((number, line)) => {
            let indent = |line: &str| line.len() - line.trim_start().len();
            (number, indent(line).saturating_sub(indent(first)))
        }
        None => (entry.place.line.saturating_sub(1), 0),
    };
    let shifted = documents(text).map(|mut nodes| {
        nodes.iter_mut().for_each(|node| node.shift(above, indent));
        nodes
    });
    shifted.map_err(|mut fault| {
        fault.place.line += above;
        fault
    })
}

fn one(text: &str) -> Result<Node, Fault> {
    let mut budget = serde_saphyr::Budget::default();
    budget.max_events = 1_000_000;
    budget.max_nodes = 500_000;
    budget.max_depth = 32;
    budget.max_total_scalar_bytes = 4 * FILE_BYTES_MAX;
    let mut options = serde_saphyr::Options::default();
    options.budget = Some(budget);
    options.with_snippet = false;
    let parsed: Result<Spanned<Value>, _> = serde_saphyr::from_str_with_options(text, options);
    match parsed {
        Ok(spanned) => {
            let mut node = node(spanned);
            node.read_again(&text.lines().collect::<Vec<_>>());
            Ok(node)
        }
        Err(error) => {
            let place = error.location().map_or(Place { line: 1, column: 1 }, place);
            let text = error.without_snippet().to_string();
            let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
            Err(Fault { place, message })
        }
    }
}

/// The number or word that stands there; none if something else does, as where a name for a value is repeated.
fn plain_at<'a>(lines: &[&'a str], place: Place) -> Option<&'a str> {
    let line = lines.get(place.line.checked_sub(1)?)?;
    let (start, _) = line.char_indices().nth(place.column.checked_sub(1)?)?;
    let rest = line.get(start..)?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let after = rest.get(end..)?;
    let ends = after.is_empty() || after.starts_with([' ', '\t', ',', ']', '}', '\r']);
    rest.get(..end)
        .filter(|written| ends && !written.is_empty())
}

fn place(location: Location) -> Place {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
    Place {
        line: number(location.line()),
        column: number(location.column()),
    }
}

fn node(spanned: Spanned<Value>) -> Node {
    Node {
        place: place(spanned.referenced),
        value: spanned.value,
        written: None,
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(spanned) = list.next_element::<Spanned<Value>>()? {
            nodes.push(node(spanned));
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = node(map.next_value::<Spanned<Value>>()?);
            entries.push(Entry {
                place: place(key.referenced),
                key: key.value,
                value,
            });
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test stops where it fails")]
mod tests {
    use super::*;

    fn only(text: &str) -> Node {
        match documents(text) {
            Ok(mut nodes) if nodes.len() == 1 => nodes.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn scalars_are_text_and_know_what_they_were() {
        let node = only("a: 1\nb: \"1\"\nc: true\nd:\n");
        for (key, text) in [
            ("a", Some("1")),
            ("b", Some("1")),
            ("c", Some("true")),
            ("d", None),
        ] {
            assert_eq!(node.get(key).and_then(Node::text), text, "{key}");
        }
        let kind = |key| node.get(key).map(|node| &node.value);
        assert!(matches!(kind("a"), Some(Value::Number(_))));
        assert!(matches!(kind("b"), Some(Value::Text(_))));
        assert!(matches!(kind("c"), Some(Value::Bool(true))));
        assert!(matches!(kind("d"), Some(Value::Null)));
    }

    #[test]
    fn what_was_written_is_kept_beside_what_yaml_makes_of_it() {
        let text = "ä: 0x10\nb: 1.0 # one\nc: [0x60, True]\nd: 0x10 1x5\ne: &same 0x7\nf: *same\ng: '0x8'\nh: 5\n";
        let node = only(text);
        let of = |key| node.get(key).and_then(Node::written);
        for (key, written) in [
            ("ä", "0x10"),
            ("b", "1.0"),
            ("d", "0x10 1x5"),
            ("g", "0x8"),
            ("h", "5"),
        ] {
            assert_eq!(of(key), Some(written), "{key}");
        }
        assert_eq!(node.get("ä").and_then(Node::text), Some("16"));
        let list = node.get("c").map(Node::items).unwrap_or_default();
        let list: Vec<_> = list.iter().filter_map(Node::written).collect();
        assert_eq!(list, ["0x60", "True"]);
        let later = documents("a: 1\n---\nb: 0x20\n").unwrap_or_default().pop();
        let later = later.as_ref().and_then(|node| node.get("b"));
        assert_eq!(later.and_then(Node::written), Some("0x20"));
    }

    #[test]
    fn places_are_those_of_the_file_also_in_later_documents() {
        let text = "a: 1\n---\n# nothing\n---\nb:\n  - c: x\n";
        let nodes = documents(text).unwrap_or_default();
        assert_eq!(nodes.len(), 2);
        let second = nodes.last().and_then(|node| node.get("b"));
        let item = second
            .and_then(|list| list.items().first())
            .and_then(|item| item.get("c"));
        assert_eq!(
            item.map(|node| node.place),
            Some(Place { line: 6, column: 8 })
        );
    }
}
