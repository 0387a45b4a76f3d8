//! What speaks against a document, and the text as it should have been.

use std::fmt::Write as _;

use mainstay_yaml::{Entry, Node, Place};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    // Chaos Mesh, or the form of an experiment, refuses it.
    NotYaml,
    Kind,
    Field,
    Missing,
    Type,
    Value,
    Rule,
    Reference,
    // It is accepted and will disappoint.
    NeverEnds,
    WithoutEffect,
    JitterUncorrelated,
    NoNamespace,
    NameSaysOtherwise,
    LabelsDisagree,
    HitsEverything,
    KillsAll,
    NoSteadyState,
    NoAbort,
    NoBlastRadius,
    // On this platform.
    MeetsNothing,
    NotPossible,
}

impl Code {
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotYaml => "not-yaml",
            Self::Kind => "kind",
            Self::Field => "unknown-field",
            Self::Missing => "missing-field",
            Self::Type => "type",
            Self::Value => "value",
            Self::Rule => "rule",
            Self::Reference => "reference",
            Self::NeverEnds => "never-ends",
            Self::WithoutEffect => "without-effect",
            Self::JitterUncorrelated => "jitter-uncorrelated",
            Self::NoNamespace => "no-namespace",
            Self::NameSaysOtherwise => "name-says-otherwise",
            Self::LabelsDisagree => "labels-disagree",
            Self::HitsEverything => "hits-everything",
            Self::KillsAll => "kills-all",
            Self::NoSteadyState => "no-steady-state",
            Self::NoAbort => "no-abort",
            Self::NoBlastRadius => "no-blast-radius",
            Self::MeetsNothing => "meets-nothing",
            Self::NotPossible => "not-possible-here",
        }
    }

    /// Such a document is refused, and not only weak.
    pub const fn is_error(self) -> bool {
        matches!(
            self,
            Self::NotYaml
                | Self::Kind
                | Self::Field
                | Self::Missing
                | Self::Type
                | Self::Value
                | Self::Rule
                | Self::Reference
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: String,
    pub place: Place,
    /// The document and the field, as `NetworkChaos/slow spec.target.mode`.
    pub subject: String,
    pub code: Code,
    pub reason: String,
    /// For people: what to write.
    pub repair: String,
    /// The same for a program, where it can be done by one.
    pub edit: Option<Edit>,
}

/// A change of the text. Lines and columns are those of the file as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edit {
    /// Instead of so many characters from there.
    Replace {
        place: Place,
        length: usize,
        with: String,
    },
    /// A line of its own above this one.
    Above { line: usize, text: String },
    /// A line of its own below this one.
    Below { line: usize, text: String },
    /// The line goes.
    Drop { line: usize },
    /// A document of its own at the end.
    Append { text: String },
}

impl Edit {
    const fn line(&self) -> usize {
        match self {
            Self::Replace { place, .. } => place.line,
            Self::Above { line, .. } | Self::Below { line, .. } | Self::Drop { line } => *line,
            Self::Append { .. } => usize::MAX,
        }
    }
}

/// Where findings are collected.
pub(crate) struct Desk<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
    pub(crate) findings: Vec<Finding>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            lines: text.lines().collect(),
            findings: Vec::new(),
        }
    }

    pub(crate) fn find(
        &mut self,
        place: Place,
        subject: impl Into<String>,
        code: Code,
        reason: impl Into<String>,
        repair: impl Into<String>,
        edit: Option<Edit>,
    ) {
        self.findings.push(Finding {
            file: self.file.to_owned(),
            place,
            subject: subject.into(),
            code,
            reason: reason.into(),
            repair: repair.into(),
            edit,
        });
    }

    pub(crate) fn error(
        &mut self,
        place: Place,
        subject: impl Into<String>,
        code: Code,
        reason: impl Into<String>,
        repair: impl Into<String>,
    ) {
        self.find(place, subject, code, reason, repair, None);
    }

    fn line(&self, number: usize) -> &'a str {
        let line = number
            .checked_sub(1)
            .and_then(|place| self.lines.get(place));
        line.copied().unwrap_or("")
    }

    /// What stands at a place, up to a comment or the end of the line.
    pub(crate) fn token(&self, place: Place) -> &'a str {
        let line = self.line(place.line);
        let rest = line.char_indices().nth(place.column.saturating_sub(1));
        let rest = rest.and_then(|(start, _)| line.get(start..)).unwrap_or("");
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let end = match quote {
            Some(quote) => rest
                .char_indices()
                .skip(1)
                .find(|(_, c)| *c == quote)
                .map(|(at, c)| at + c.len_utf8()),
            None => rest.find(" #").or_else(|| rest.find([',', '}', ']'])),
        };
        rest.get(..end.unwrap_or(rest.len()))
            .unwrap_or(rest)
            .trim_end()
    }

    pub(crate) fn replace(&self, node: &Node, with: impl Into<String>) -> Option<Edit> {
        let token = self.token(node.place);
        (!token.is_empty() && node.text().is_some()).then(|| Edit::Replace {
            place: node.place,
            length: token.chars().count(),
            with: with.into(),
        })
    }

    /// Another key, with the same value.
    pub(crate) fn replace_key(&self, entry: &Entry, with: &str) -> Option<Edit> {
        let token = self.token(entry.place);
        token.starts_with(&entry.key).then(|| Edit::Replace {
            place: entry.place,
            length: entry.key.chars().count(),
            with: with.to_owned(),
        })
    }

    /// The line of an entry whose value stands on it too.
    pub(crate) fn drop(&self, key: Place, value: &Node) -> Option<Edit> {
        let alone = self.indent_of(key).is_some() && value.text().is_some();
        (alone && value.place.line == key.line).then_some(Edit::Drop { line: key.line })
    }

    /// The indentation of a key that begins its line.
    fn indent_of(&self, key: Place) -> Option<usize> {
        let indent = key.column.saturating_sub(1);
        let line = self.line(key.line);
        let before = line.chars().take(indent).all(|c| c == ' ');
        before.then_some(indent)
    }

    /// Lines to be added to a mapping of block style, as its first or second entry.
    pub(crate) fn add(&self, node: &Node, text: &str) -> Option<Edit> {
        let indented = |indent: usize| {
            let lines: Vec<String> = text
                .lines()
                .map(|line| format!("{}{line}", " ".repeat(indent)))
                .collect();
            lines.join("\n")
        };
        let own = node
            .entries()
            .iter()
            .find_map(|entry| Some((entry.place.line, self.indent_of(entry.place)?)));
        if let Some((line, indent)) = own {
            let text = indented(indent);
            return Some(Edit::Above { line, text });
        }
        // The first entry of an item of a list: what comes next stands below its key's column.
        let first = node.entries().first()?;
        let same_line = first.value.text().is_some() && first.value.place.line == first.place.line;
        let is_item = self.line(first.place.line).trim_start().starts_with("- ");
        (same_line && is_item).then(|| Edit::Below {
            line: first.place.line,
            text: indented(first.place.column.saturating_sub(1)),
        })
    }
}

/// The text with everything done that can be done by a program.
pub fn repaired(text: &str, findings: &[Finding]) -> String {
    let mut edits: Vec<&Edit> = findings.iter().filter_map(|f| f.edit.as_ref()).collect();
    edits.sort();
    edits.dedup();
    let dropped = |line: usize| {
        edits
            .iter()
            .any(|edit| matches!(edit, Edit::Drop { line: l } if *l == line))
    };
    let mut out = String::new();
    for (place, line) in text.lines().enumerate() {
        let number = place + 1;
        let here = edits.iter().filter(|edit| edit.line() == number);
        let mut line = line.to_owned();
        let mut below = Vec::new();
        // From the right, so that columns to the left stay what they were.
        let mut replacements = Vec::new();
        for edit in here {
            match edit {
                Edit::Above { text, .. } => out.push_str(&format!("{text}\n")),
                Edit::Below { text, .. } => below.push(text),
                Edit::Replace {
                    place,
                    length,
                    with,
                } => replacements.push((place.column, *length, with)),
                Edit::Drop { .. } | Edit::Append { .. } => {}
            }
        }
        replacements.sort();
        for (column, length, with) in replacements.into_iter().rev() {
            let before: String = line.chars().take(column.saturating_sub(1)).collect();
            let after: String = line
                .chars()
                .skip(column.saturating_sub(1) + length)
                .collect();
            line = format!("{before}{with}{after}");
        }
        if !dropped(number) {
            out.push_str(&line);
            out.push('\n');
        }
        for text in below {
            out.push_str(&format!("{text}\n"));
        }
    }
    for edit in &edits {
        if let Edit::Append { text } = edit {
            out.push_str(&format!("---\n{}\n", text.trim_end()));
        }
    }
    out
}

/// For people: place, what is wrong, why, and what to write.
pub fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let class = if finding.code.is_error() {
            "error"
        } else {
            "weak"
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}:{}:{}: {class}: {}: {}: {}",
            finding.file,
            finding.place.line,
            finding.place.column,
            finding.subject,
            finding.code.name(),
            finding.reason
        );
        for (number, line) in finding.repair.lines().enumerate() {
            let lead = if number == 0 {
                "  repair: "
            } else {
                "          "
            };
            let _ = writeln!(text, "{lead}{line}");
        }
    }
    text
}
