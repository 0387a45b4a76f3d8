//! The text as a tree of values, each with its place.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::diagnostic::{Fault, Position};

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the text; keys are unique.
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_position: Position,
    pub(crate) value: Node,
}

impl Value {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Unsigned(_) | Self::Signed(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// The place of a JSON pointer. Where it leads out of the tree (a missing field, say), the place is
    /// that of the nearest thing which is there.
    pub(crate) fn locate(&self, pointer: &str) -> Position {
        let mut node = self;
        let mut position = self.position;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            match &node.value {
                Value::Map(entries) => {
                    let Some(entry) = entries.iter().find(|entry| entry.key == token) else {
                        return position;
                    };
                    node = &entry.value;
                    position = match node.value {
                        Value::Map(_) | Value::List(_) | Value::Null => entry.key_position,
                        _ => node.position,
                    };
                }
                Value::List(nodes) => {
                    let place = token.parse::<usize>().ok();
                    let Some(inner) = place.and_then(|place| nodes.get(place)) else {
                        return position;
                    };
                    node = inner;
                    position = node.position;
                }
                _ => return position,
            }
        }
        position
    }
}

/// Bounds on what a hostile file can make the parser do.
fn options() -> serde_saphyr::Options {
    let mut budget = serde_saphyr::Budget::default();
    budget.max_events = 100_000;
    budget.max_nodes = 50_000;
    budget.max_depth = 32;
    budget.max_documents = 1;
    budget.max_aliases = 1_000;
    budget.max_anchors = 1_000;
    budget.max_merge_keys = 1_000;
    budget.max_total_scalar_bytes = 4 * crate::FILE_BYTES_MAX;
    let mut options = serde_saphyr::Options::default();
    options.budget = Some(budget);
    options.with_snippet = false;
    options
}

pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    if text.len() > crate::FILE_BYTES_MAX {
        let message = format!(
            "the file has {} bytes; at most {} are read",
            text.len(),
            crate::FILE_BYTES_MAX
        );
        return Err(Fault::new(Position::START, "too-long", message));
    }
    let parsed: Result<Spanned<Value>, _> = serde_saphyr::from_str_with_options(text, options());
    match parsed {
        Ok(spanned) => Ok(node(spanned)),
        Err(error) => Err(yaml_fault(&error)),
    }
}

fn yaml_fault(error: &serde_saphyr::Error) -> Fault {
    let position = error.location().map_or(Position::START, position);
    let error = error.without_snippet();
    match error {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("?");
            let message = format!("the field `{key}` is already given");
            Fault::new(position, "duplicate-field", message)
                .help("remove one of the two: only one could take effect")
        }
        serde_saphyr::Error::MultipleDocuments { .. } => {
            Fault::new(position, "yaml", "a second document begins here")
                .help("a file describes one platform: remove `---` and what follows")
        }
        serde_saphyr::Error::Budget { breach, .. } => match breach {
            serde_saphyr::budget::BudgetBreach::Documents { .. } => {
                Fault::new(position, "yaml", "a second document begins here")
                    .help("a file describes one platform: remove `---` and what follows")
            }
            other => Fault::new(
                position,
                "yaml",
                format!("the file is too large: {other:?}"),
            ),
        },
        other => {
            let text = other.to_string();
            let message = text.split(" at line ").next().unwrap_or(&text);
            Fault::new(position, "yaml", format!("this is not YAML: {message}"))
        }
    }
}

fn position(location: Location) -> Position {
    Position {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX).max(1),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX).max(1),
    }
}

fn node(spanned: Spanned<Value>) -> Node {
    Node {
        position: position(spanned.referenced),
        value: spanned.value,
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
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Signed(value), Value::Unsigned))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
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
                key_position: position(key.referenced),
                key: key.value,
                value,
            });
        }
        Ok(Value::Map(entries))
    }
}
