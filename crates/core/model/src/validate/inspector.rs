//! Collects violations and holds the checks that every subject needs.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use crate::name::{self, NameError};
use crate::nearest::nearest;
use crate::violation::{Code, Violation};

#[derive(Debug, Default)]
pub(super) struct Inspector {
    violations: Vec<Violation>,
}

impl Inspector {
    pub(super) fn is_content(&self) -> bool {
        self.violations.is_empty()
    }

    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }

    /// Reports, and returns the violation so that help and a related place can be added.
    pub(super) fn report(
        &mut self,
        path: impl Into<String>,
        code: Code,
        message: impl Into<String>,
    ) -> Report<'_> {
        self.violations.push(Violation {
            path: path.into(),
            code,
            message: message.into(),
            help: None,
            related: None,
        });
        Report {
            violation: self.violations.last_mut(),
        }
    }

    /// A name by the rule of names.
    pub(super) fn name<N>(
        &mut self,
        path: &str,
        text: &str,
        make: impl Fn(&str) -> Result<N, NameError>,
    ) -> Option<N> {
        match make(text) {
            Ok(name) => Some(name),
            Err(error) => {
                let message = format!("{text:?} is not a usable name: {error}");
                let report = self.report(path, Code::InvalidName, message);
                if let Some(mended) = name::mend(text) {
                    report.help(format!("write `{mended}`"));
                }
                None
            }
        }
    }

    /// Names of one list: each usable, each once. Answers with the names that are.
    pub(super) fn names<N>(
        &mut self,
        list: &str,
        kind: &str,
        texts: impl IntoIterator<Item = impl AsRef<str>>,
        make: impl Fn(&str) -> Result<N, NameError> + Copy,
    ) -> Vec<Option<N>> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut names = Vec::new();
        for (place, text) in texts.into_iter().enumerate() {
            let text = text.as_ref();
            let path = format!("{list}/{place}/name");
            if let Some(first) = seen.get(text) {
                let message = format!("{kind} `{text}` is declared twice");
                self.report(path, Code::DuplicateName, message)
                    .help("names must differ: rename or remove one of them")
                    .related(format!("{list}/{first}/name"));
                names.push(None);
            } else {
                seen.insert(text.to_string(), place);
                names.push(self.name(&path, text, make));
            }
        }
        names
    }

    /// A reference to something declared elsewhere; false and a report if nothing bears the name.
    pub(super) fn reference<'a>(
        &mut self,
        path: &str,
        kind: &str,
        text: &str,
        declared: impl Iterator<Item = &'a str> + Clone,
    ) -> bool {
        if declared.clone().any(|name| name == text) {
            return true;
        }
        let message = format!("there is no {kind} `{text}`");
        let near = nearest(text, declared.clone());
        let report = self.report(path, Code::UnknownReference, message);
        match near {
            Some(near) => report.help(format!("did you mean `{near}`?")),
            None => {
                const LISTED_MAX: usize = 8;
                let known: Vec<String> = declared
                    .take(LISTED_MAX)
                    .map(|n| format!("`{n}`"))
                    .collect();
                if known.is_empty() {
                    report.help(format!("declare one: this file has no {kind}"))
                } else {
                    report.help(format!("known: {}", known.join(", ")))
                }
            }
        };
        false
    }

    pub(super) fn list_length(&mut self, path: &str, length: usize, most: usize) -> bool {
        if length > most {
            let message = format!("{length} entries are too many; at most {most} are possible");
            self.report(path, Code::TooMany, message);
        }
        length <= most
    }

    /// A number or duration within bounds.
    pub(super) fn within<T: PartialOrd + core::fmt::Display>(
        &mut self,
        path: &str,
        what: &str,
        value: T,
        bounds: RangeInclusive<T>,
    ) -> T {
        if !bounds.contains(&value) {
            let (low, high) = (bounds.start(), bounds.end());
            let message = format!("{what} of {value} is out of bounds");
            self.report(path, Code::InvalidValue, message)
                .help(format!("choose from {low} to {high}"));
        }
        value
    }

    pub(super) fn span(
        &mut self,
        path: &str,
        what: &str,
        value: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        if !bounds.contains(&value) {
            let message = format!("{what} of {} is out of bounds", span_text(value));
            let (low, high) = (span_text(*bounds.start()), span_text(*bounds.end()));
            self.report(path, Code::InvalidValue, message)
                .help(format!("choose from {low} to {high}"));
        }
        value
    }
}

/// The violation just reported.
pub(super) struct Report<'a> {
    violation: Option<&'a mut Violation>,
}

impl Report<'_> {
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        if let Some(violation) = &mut self.violation {
            violation.help = Some(help.into());
        }
        self
    }

    pub(super) fn related(mut self, path: impl Into<String>) -> Self {
        if let Some(violation) = &mut self.violation {
            violation.related = Some(path.into());
        }
        self
    }
}

/// As it would be written in the file: whole seconds as `5s`, else milliseconds.
pub(super) fn span_text(span: Duration) -> String {
    let millis = span.as_millis();
    if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{millis}ms")
    }
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
