//! From the tree to the form of the file, past as many mistakes as possible.
//!
//! A serde deserializer that goes on where others stop. Whatever is wrong is noted where it is found; then an
//! unknown field is skipped, a value of the wrong type gets a stand-in, and an error that has to travel up is
//! swallowed by the next [`tolerant`] field or [`list`] element. If anything was noted, the result is thrown
//! away and the notes are the answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use mainstay_model::nearest::nearest;
use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer, Visitor};

use crate::API_VERSION;
use crate::diagnostic::{Fault, Position};
use crate::tree::{Entry, Node, Value};

/// A file with more faults than this is not read for further ones.
const FAULTS_MAX: usize = 1_000;

/// What is shared by all decoders of one file.
struct Context {
    faults: RefCell<Vec<Fault>>,
    /// Which fields a structure must have, by its name; from the schema, which knows all of them at once.
    required: BTreeMap<String, Vec<String>>,
}

impl Context {
    /// Once each: a missing field is noted by the schema's account and by serde's.
    fn note(&self, fault: Fault) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < FAULTS_MAX && !faults.contains(&fault) {
            faults.push(fault);
        }
    }

    fn is_content(&self) -> bool {
        self.faults.borrow().is_empty()
    }
}

/// One kind of document.
pub(crate) struct Document<'a> {
    pub(crate) kind: &'a str,
    /// As a person calls it.
    pub(crate) name: &'a str,
    /// The structure that it is read into, and its schema.
    pub(crate) root: &'a str,
    pub(crate) schema: &'a serde_json::Value,
}

pub(crate) fn document<T: de::DeserializeOwned>(
    tree: &Node,
    document: &Document<'_>,
) -> Result<T, Vec<Fault>> {
    let context = Context {
        faults: RefCell::new(Vec::new()),
        required: required_fields(document.schema, document.root),
    };
    heading(tree, document, &context);
    if context.is_content() {
        let decoder = Decoder {
            node: tree,
            context: &context,
        };
        match T::deserialize(decoder) {
            Ok(file) if context.is_content() => return Ok(file),
            Ok(_) => {}
            Err(error) => {
                let _noted = error.note(tree.position, &context);
            }
        }
    }
    Err(context.faults.into_inner())
}

fn required_fields(schema: &serde_json::Value, root: &str) -> BTreeMap<String, Vec<String>> {
    let definitions = schema["definitions"].as_object();
    let named = definitions
        .into_iter()
        .flatten()
        .map(|(name, form)| (name.as_str(), form));
    let root = std::iter::once((root, schema));
    let mut required = BTreeMap::new();
    for (name, form) in named.chain(root) {
        let fields = form["required"].as_array().into_iter().flatten();
        let fields = fields.filter_map(|field| field.as_str().map(str::to_owned));
        required.insert(name.to_owned(), fields.collect());
    }
    required
}

/// A file of another kind or version is told so, and nothing about its fields.
fn heading(tree: &Node, document: &Document<'_>, context: &Context) {
    let Value::Map(entries) = &tree.value else {
        let (name, kind) = (document.name, document.kind);
        let message = format!("a {name} is a mapping, not {}", tree.value.kind());
        let help = format!("begin with `apiVersion: {API_VERSION}` and `kind: {kind}`");
        let fault = Fault::new(tree.position, "wrong-type", message).help(help);
        context.note(fault);
        return;
    };
    for (field, wanted, code) in [
        ("apiVersion", API_VERSION, "unknown-version"),
        ("kind", document.kind, "unknown-kind"),
    ] {
        let entry = entries.iter().find(|entry| entry.key == field);
        let found = entry.map(|entry| &entry.value.value);
        if !matches!(found, None | Some(Value::Text(_))) {
            continue;
        }
        if let (Some(entry), Some(Value::Text(text))) = (entry, found)
            && text != wanted
        {
            let message = format!("`{field}: {text}` is not known here");
            let fault = Fault::new(entry.value.position, code, message);
            let fault = fault.help(format!("write `{field}: {wanted}`"));
            context.note(fault);
        }
    }
}

/// Reads a field and, if that fails, stands in its default: the failure has been noted.
pub(crate) fn tolerant<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: de::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(T::deserialize(deserializer).unwrap_or_default())
}

/// Reads a list and leaves out what cannot be read: the failures have been noted.
pub(crate) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: de::Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Slot<T>(Option<T>);

    impl<'de, T: Deserialize<'de>> Deserialize<'de> for Slot<T> {
        fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self(T::deserialize(deserializer).ok()))
        }
    }

    let slots = Vec::<Slot<T>>::deserialize(deserializer)?;
    Ok(slots.into_iter().filter_map(|slot| slot.0).collect())
}

/// Why a value could not be read. Noted by whoever first knows the place; what travels on is only the fact.
#[derive(Debug)]
enum Error {
    Noted,
    Fresh {
        code: &'static str,
        message: String,
        help: Option<String>,
    },
}

impl Error {
    fn note(self, position: Position, context: &Context) -> Self {
        if let Self::Fresh {
            code,
            message,
            help,
        } = self
        {
            let fault = Fault::new(position, code, message);
            context.note(match help {
                Some(help) => fault.help(help),
                None => fault,
            });
        }
        Self::Noted
    }

    fn new(code: &'static str, message: String) -> Self {
        let help = None;
        Self::Fresh {
            code,
            message,
            help,
        }
    }

    fn with_help(code: &'static str, message: String, help: String) -> Self {
        let help = Some(help);
        Self::Fresh {
            code,
            message,
            help,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noted => f.write_str("noted"),
            Self::Fresh { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new("invalid-value", message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("missing-field", missing(field))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let message = format!("`{variant}` is not known here");
        Self::with_help("unknown-value", message, suggestion(variant, expected))
    }
}

fn missing(field: &str) -> String {
    format!("the field `{field}` is missing here")
}

fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "nothing can stand here".to_owned(),
        None => {
            let known: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
            format!("known here: {}", known.join(", "))
        }
    }
}

#[derive(Clone, Copy)]
struct Decoder<'a> {
    node: &'a Node,
    context: &'a Context,
}

impl Decoder<'_> {
    fn note(&self, fault: Fault) {
        self.context.note(fault);
    }

    fn wrong_type(&self, wanted: &str) {
        let found = &self.node.value;
        let message = format!("{wanted} is expected here, not {}", found.kind());
        let fault = Fault::new(self.node.position, "wrong-type", message);
        let help = match (wanted, found) {
            ("a text", Value::Unsigned(number)) => Some(format!("put it in quotes: \"{number}\"")),
            ("a text", Value::Signed(number)) => Some(format!("put it in quotes: \"{number}\"")),
            ("a text", Value::Float(number)) => Some(format!("put it in quotes: \"{number}\"")),
            ("a text", Value::Bool(value)) => Some(format!("put it in quotes: \"{value}\"")),
            ("a list", Value::Text(text)) => Some(format!("write a list of one: [{text}]")),
            _ => None,
        };
        self.note(match help {
            Some(help) => fault.help(help),
            None => fault,
        });
    }
}

/// Whole numbers of every width: out of range is a wrong type too.
macro_rules! whole_number {
    ($($method:ident $visit:ident $number:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = match self.node.value {
                Value::Unsigned(number) => <$number>::try_from(number).ok(),
                Value::Signed(number) => <$number>::try_from(number).ok(),
                _ => None,
            };
            match (number, &self.node.value) {
                (Some(number), _) => visitor.$visit(number),
                (None, Value::Unsigned(_) | Value::Signed(_)) => {
                    let message = "the number is out of bounds".to_owned();
                    let (low, high) = (<$number>::MIN, <$number>::MAX);
                    let fault = Fault::new(self.node.position, "wrong-type", message);
                    self.note(fault.help(format!("choose from {low} to {high}")));
                    visitor.$visit(1)
                }
                (None, _) => {
                    self.wrong_type("a whole number");
                    visitor.$visit(1)
                }
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Decoder<'de> {
    type Error = Error;

    /// What a visitor objects to (a length of time without a unit) is noted here, where the place is known.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Unsigned(number) => visitor.visit_u64(*number),
            Value::Signed(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        };
        result.map_err(|error| error.note(self.node.position, self.context))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Value::Bool(value) = self.node.value {
            return visitor.visit_bool(value);
        }
        self.wrong_type("true or false");
        visitor.visit_bool(false)
    }

    whole_number! {
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Value::Text(text) = &self.node.value {
            return visitor.visit_str(text);
        }
        self.wrong_type("a text");
        visitor.visit_str("")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let nodes = match &self.node.value {
            Value::List(nodes) => nodes.as_slice(),
            Value::Null => &[],
            _ => {
                self.wrong_type("a list");
                &[]
            }
        };
        visitor.visit_seq(Elements {
            rest: nodes.iter(),
            context: self.context,
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = match &self.node.value {
            Value::Map(entries) => entries.iter().collect(),
            Value::Null => Vec::new(),
            _ => {
                self.wrong_type("a mapping");
                Vec::new()
            }
        };
        self.visit_entries(entries, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let entries = match &self.node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            found => {
                let message = format!("a mapping is expected here, not {}", found.kind());
                let help = suggestion("", fields);
                let error = Error::with_help("wrong-type", message, help);
                return Err(error.note(self.node.position, self.context));
            }
        };
        let (known, unknown): (Vec<&Entry>, Vec<&Entry>) = entries
            .iter()
            .partition(|entry| fields.contains(&entry.key.as_str()));
        for entry in unknown {
            let message = format!("the field `{}` is not known here", entry.key);
            let absent: Vec<&str> = fields
                .iter()
                .copied()
                .filter(|field| !known.iter().any(|entry| entry.key == *field))
                .collect();
            let fault = Fault::new(entry.key_position, "unknown-field", message);
            self.note(fault.help(suggestion(&entry.key, &absent)));
        }
        if self.misses_fields(name, &known) {
            // What is there is read for its own faults, and thrown away.
            let _ = self.visit_entries(known, visitor);
            return Err(Error::Noted);
        }
        self.visit_entries(known, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let result = match &self.node.value {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            found => {
                let message = format!("a word is expected here, not {}", found.kind());
                let help = suggestion("", variants);
                Err(Error::with_help("wrong-type", message, help))
            }
        };
        result.map_err(|error| error.note(self.node.position, self.context))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

impl<'de> Decoder<'de> {
    fn misses_fields(self, name: &str, known: &[&Entry]) -> bool {
        let required = self
            .context
            .required
            .get(name)
            .map_or(&[][..], Vec::as_slice);
        let mut misses = false;
        for field in required {
            if !known.iter().any(|entry| entry.key == *field) {
                self.note(Fault::new(
                    self.node.position,
                    "missing-field",
                    missing(field),
                ));
                misses = true;
            }
        }
        misses
    }

    fn visit_entries<V: Visitor<'de>>(
        self,
        entries: Vec<&'de Entry>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let entries = Entries {
            rest: entries.into_iter(),
            current: None,
            context: self.context,
        };
        let result = visitor.visit_map(entries);
        result.map_err(|error| error.note(self.node.position, self.context))
    }
}

struct Elements<'a> {
    rest: std::slice::Iter<'a, Node>,
    context: &'a Context,
}

impl<'de> de::SeqAccess<'de> for Elements<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(node) = self.rest.next() else {
            return Ok(None);
        };
        let context = self.context;
        let decoder = Decoder { node, context };
        seed.deserialize(decoder)
            .map(Some)
            .map_err(|error| error.note(node.position, context))
    }
}

struct Entries<'a> {
    rest: std::vec::IntoIter<&'a Entry>,
    current: Option<&'a Entry>,
    context: &'a Context,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.current = self.rest.next();
        let Some(entry) = self.current else {
            return Ok(None);
        };
        let key: de::value::StrDeserializer<'_, Error> = entry.key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|error| error.note(entry.key_position, self.context))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(entry) = self.current else {
            return Err(Error::new(
                "invalid-value",
                "a value without its key".to_owned(),
            ));
        };
        let decoder = Decoder {
            node: &entry.value,
            context: self.context,
        };
        seed.deserialize(decoder)
            .map_err(|error| error.note(entry.value.position, self.context))
    }
}
