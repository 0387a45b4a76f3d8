//! The name tag of a series: label names and values, sorted by name, never with an empty value.
//!
//! A tag is shared, not copied: results of a query carry the same labels at every step.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::number::quote;

/// The label that holds the metric's name.
pub const NAME: &str = "__name__";
/// The label of a classic histogram's upper bound.
pub const BUCKET: &str = "le";
/// Labels that say what a value is; they go when a function changes what it is.
pub const METADATA: [&str; 3] = [NAME, "__type__", "__unit__"];

#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<Vec<(String, String)>>);

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
        Self(Arc::new(sorted))
    }

    /// As they are: sorted by name, each name once, no value empty. Shared, not copied.
    pub fn shared(sorted: Arc<Vec<(String, String)>>) -> Self {
        debug_assert!(sorted.windows(2).all(|two| two[0].0 < two[1].0));
        debug_assert!(sorted.iter().all(|(_, value)| !value.is_empty()));
        Self(sorted)
    }

    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self::new(
            pairs
                .iter()
                .map(|(n, v)| (String::from(*n), String::from(*v))),
        )
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Empty where there is no such label, which PromQL does not tell apart.
    pub fn get(&self, name: &str) -> &str {
        match self
            .0
            .binary_search_by(|(other, _)| other.as_str().cmp(name))
        {
            Ok(at) => self.0[at].1.as_str(),
            Err(_) => "",
        }
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
        let mut pairs: Vec<(String, String)> = (*self.0).clone();
        match pairs.binary_search_by(|(other, _)| other.as_str().cmp(name)) {
            Ok(at) if value.is_empty() => {
                pairs.remove(at);
            }
            Ok(at) => pairs[at].1 = String::from(value),
            Err(at) => pairs.insert(at, (String::from(name), String::from(value))),
        }
        Self(Arc::new(pairs))
    }

    #[must_use]
    pub fn keep(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.0.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        let kept = self.0.iter().filter(|(name, _)| keep(name));
        Self(Arc::new(kept.cloned().collect()))
    }

    #[must_use]
    pub fn without_metadata(&self) -> Self {
        self.keep(|name| !METADATA.contains(&name))
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
