//! The name tag of a series: label names and values, sorted by name, never with an empty value.
//!
//! A tag is shared, not copied: results of a query carry the same labels at every step.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

use crate::number::quote;

/// The label that holds the metric's name.
pub const NAME: &str = "__name__";
/// The label of a classic histogram's upper bound.
pub const BUCKET: &str = "le";
/// Labels that say what a value is; they go when a function changes what it is.
pub const METADATA: [&str; 3] = [NAME, "__type__", "__unit__"];

/// Labels that a function takes away are hidden, not cut out: the pairs stay shared with the series they came from.
#[derive(Clone, Default)]
pub struct Labels {
    pairs: Arc<Vec<(String, String)>>,
    /// Which of [`METADATA`] are hidden, a bit for each.
    hidden: u8,
}

const ALL_METADATA: u8 = 0b111;

/// The bit of a label that can be hidden.
fn bit(name: &str) -> u8 {
    let place = METADATA.iter().position(|metadata| *metadata == name);
    place.map_or(0, |place| 1 << place)
}

impl Labels {
    /// Sorted by name; of two values for one name the later counts; empty values are no labels.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut sorted: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs {
            match sorted.binary_search_by(|(other, _)| other.as_str().cmp(&name)) {
                Ok(at) => sorted[at].1 = value,
                Err(at) => sorted.insert(at, (name, value)),
            }
        }
        sorted.retain(|(_, value)| !value.is_empty());
        Self::shared(Arc::new(sorted))
    }

    /// As they are: sorted by name, each name once, no value empty. Shared, not copied.
    pub fn shared(sorted: Arc<Vec<(String, String)>>) -> Self {
        debug_assert!(sorted.windows(2).all(|two| two[0].0 < two[1].0));
        debug_assert!(sorted.iter().all(|(_, value)| !value.is_empty()));
        Self {
            pairs: sorted,
            hidden: 0,
        }
    }

    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self::new(
            pairs
                .iter()
                .map(|(n, v)| (String::from(*n), String::from(*v))),
        )
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let visible = |name: &str| self.hidden == 0 || bit(name) & self.hidden == 0;
        self.pairs
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .filter(move |(name, _)| visible(name))
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Where the pairs stand. Two values with one address have the same labels as long as either of them lives.
    pub fn address(&self) -> (usize, u8) {
        (Arc::as_ptr(&self.pairs).addr(), self.hidden)
    }

    /// Empty where there is no such label, which PromQL does not tell apart.
    pub fn get(&self, name: &str) -> &str {
        if self.hidden != 0 && bit(name) & self.hidden != 0 {
            return "";
        }
        let found = self
            .pairs
            .binary_search_by(|(other, _)| other.as_str().cmp(name));
        found.map_or("", |at| self.pairs[at].1.as_str())
    }

    pub fn name(&self) -> &str {
        self.get(NAME)
    }

    /// With an empty value, the label is taken away.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        if self.get(name) == value {
            return self.clone();
        }
        if value.is_empty() {
            return self.keep(|other| other != name);
        }
        let mut pairs: Vec<(String, String)> = self.copied(|other| other != name);
        let at = pairs.partition_point(|(other, _)| other.as_str() < name);
        pairs.insert(at, (String::from(name), String::from(value)));
        Self::shared(Arc::new(pairs))
    }

    #[must_use]
    pub fn keep(&self, keep: impl Fn(&str) -> bool) -> Self {
        let mut hidden = self.hidden;
        for (name, _) in self.iter().filter(|(name, _)| !keep(name)) {
            match bit(name) {
                0 => return Self::shared(Arc::new(self.copied(keep))),
                bit => hidden |= bit,
            }
        }
        Self {
            pairs: Arc::clone(&self.pairs),
            hidden,
        }
    }

    fn copied(&self, keep: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        self.iter()
            .filter(|(name, _)| keep(name))
            .map(|(name, value)| (String::from(name), String::from(value)))
            .collect()
    }

    #[must_use]
    pub fn without_metadata(&self) -> Self {
        Self {
            pairs: Arc::clone(&self.pairs),
            hidden: ALL_METADATA,
        }
    }

    /// Whether both say the same of what their values are.
    pub fn has_metadata_of(&self, other: &Self) -> bool {
        METADATA
            .iter()
            .all(|name| self.get(name) == other.get(name))
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address() || self.iter().eq(other.iter())
    }
}

impl Eq for Labels {}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.address() == other.address() {
            return Ordering::Equal;
        }
        self.iter().cmp(other.iter())
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (name, value) in self.iter() {
            name.hash(state);
            value.hash(state);
        }
    }
}

/// As Prometheus prints a series: `name{label="value"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let mut others = self.iter().filter(|(name, _)| *name != NAME).peekable();
        if others.peek().is_none() && !self.name().is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (index, (name, value)) in others.enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={}", quote(value.as_bytes()))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a name may stand without quotes in PromQL.
pub fn is_plain(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a metric's name may stand without quotes in PromQL.
pub fn is_plain_metric(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    let mut characters = name.chars();
    characters.next().is_some_and(first) && characters.all(|c| first(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_not_there() {
        let whole = Labels::of(&[(NAME, "m"), ("a", "1"), ("__unit__", "s"), ("Z", "2")]);
        let bare = whole.without_metadata();
        let copied = Labels::of(&[("a", "1"), ("Z", "2")]);
        assert_eq!(bare.address().0, whole.address().0, "shared");
        assert_eq!((&bare, bare.len()), (&copied, 2));
        assert_eq!(bare.cmp(&copied), Ordering::Equal);
        assert_ne!(bare, whole);
        assert_eq!(bare.cmp(&whole), copied.cmp(&whole));
        assert_eq!((bare.get(NAME), bare.get("a")), ("", "1"));
        assert_eq!(bare.with("b", "3"), copied.with("b", "3"));
        assert_eq!(bare.with(NAME, "n").name(), "n");
        assert_eq!(bare.keep(|name| name != "a"), Labels::of(&[("Z", "2")]));
        assert_eq!(whole.with(NAME, ""), whole.keep(|name| name != NAME));
        assert_eq!(whole.with(NAME, "").get("__unit__"), "s");
        assert!(Labels::of(&[(NAME, "m")]).without_metadata().is_empty());
    }
}
