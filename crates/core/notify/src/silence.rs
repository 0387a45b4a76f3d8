//! Silences: for a while, and with a reason, nobody is called for what fits.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::case::Case;

/// `NAME=VALUE` or `NAME!=VALUE`. A name is a label of an alert, or `incident`, `severity`, `thing`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Matcher {
    pub name: String,
    pub value: String,
    /// It fits what is not so.
    pub differs: bool,
}

impl Matcher {
    pub fn parse(text: &str) -> Option<Self> {
        let (name, value) = text.split_once('=')?;
        let differs = name.ends_with('!');
        let name = name.strip_suffix('!').unwrap_or(name).trim();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let fits = !name.is_empty() && name.chars().all(is_name);
        fits.then(|| Self {
            name: name.to_string(),
            value: value.trim().trim_matches('"').to_string(),
            differs,
        })
    }

    /// A label that is not there is an empty one.
    fn fits(&self, case: &Case, labels: &BTreeMap<String, String>) -> bool {
        let is_so = match self.name.as_str() {
            "incident" => case.incident == self.value,
            "severity" if !labels.contains_key("severity") => case.severity.as_str() == self.value,
            "thing" => case.things.contains(&self.value),
            name => labels.get(name).map_or("", String::as_str) == self.value,
        };
        is_so != self.differs
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.differs { "!=" } else { "=" };
        write!(f, "{}{sign}{}", self.name, self.value)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// All of them; not empty.
    pub matchers: Vec<Matcher>,
    pub until_ms: u64,
    pub by: String,
    pub reason: String,
}

impl Silence {
    /// Whether everything that stands of the incident fits: one alert that does not, calls.
    pub fn covers(&self, case: &Case) -> bool {
        let nothing = BTreeMap::new();
        let fits = |labels: &BTreeMap<String, String>| {
            self.matchers
                .iter()
                .all(|matcher| matcher.fits(case, labels))
        };
        match case.alerts.is_empty() {
            true => fits(&nothing),
            false => case.alerts.iter().all(fits),
        }
    }
}
