//! What a person or an editor is shown when a file is wrong.

use std::fmt::Write;

use serde::Serialize;

/// At most so many are shown: a file that is wrong everywhere is not helped by more.
pub const DIAGNOSTICS_MAX: usize = 200;

/// Longest piece of the file that is quoted, in characters.
const SNIPPET_CHARACTERS_MAX: usize = 160;

/// Line and column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Position {
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// A diagnostic that does not know its file yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) position: Position,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) related: Option<Position>,
}

impl Fault {
    pub(crate) fn new(position: Position, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            position,
            code,
            message: message.into(),
            help: None,
            path: None,
            related: None,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub file: String,
    #[serde(flatten)]
    pub place: Place,
    /// A stable word, such as `unknown-reference`.
    pub code: String,
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// JSON pointer into the file, where the fault is one of meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A second place that belongs to the matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<Related>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub line: u32,
    pub column: u32,
    /// The line as it stands in the file.
    pub snippet: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    #[serde(flatten)]
    pub place: Place,
}

/// The file that faults are about.
pub(crate) struct Source<'a> {
    path: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(path: &'a str, text: &'a str) -> Self {
        let lines = text.lines().collect();
        Self { path, lines }
    }

    pub(crate) fn one(&self, fault: Fault) -> Vec<Diagnostic> {
        self.all(vec![fault])
    }

    pub(crate) fn all(&self, mut faults: Vec<Fault>) -> Vec<Diagnostic> {
        faults.sort_by_key(|fault| fault.position);
        faults.truncate(DIAGNOSTICS_MAX);
        faults
            .into_iter()
            .map(|fault| self.diagnostic(fault))
            .collect()
    }

    fn diagnostic(&self, fault: Fault) -> Diagnostic {
        Diagnostic {
            file: self.path.to_owned(),
            place: self.place(fault.position),
            code: fault.code.to_owned(),
            message: fault.message,
            help: fault.help,
            path: fault.path,
            related: fault.related.map(|position| Related {
                place: self.place(position),
            }),
        }
    }

    fn place(&self, position: Position) -> Place {
        let number = usize::try_from(position.line).unwrap_or(usize::MAX);
        let line = self
            .lines
            .get(number.saturating_sub(1))
            .copied()
            .unwrap_or("");
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        Place {
            line: position.line,
            column: position.column,
            snippet: line
                .chars()
                .take(SNIPPET_CHARACTERS_MAX)
                .map(visible)
                .collect(),
        }
    }
}

/// For people: a line that editors and terminals can follow, the line of the file, and what to do.
///
/// ```text
/// platform.yaml:31:13: error[unknown-reference]: there is no host `use1`
///    31 |     - host: use1
///       |             ^
///       = help: did you mean `use1-a`?
/// ```
pub fn render(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        render_one(&mut text, diagnostic);
    }
    text
}

fn render_one(text: &mut String, diagnostic: &Diagnostic) {
    let Diagnostic {
        file,
        place,
        code,
        message,
        ..
    } = diagnostic;
    let Place { line, column, .. } = place;
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{file}:{line}:{column}: error[{code}]: {message}");
    quote(text, place);
    if let Some(related) = &diagnostic.related {
        let Place {
            line,
            column,
            snippet,
        } = &related.place;
        let _ = writeln!(
            text,
            "      = see {file}:{line}:{column}: {}",
            snippet.trim()
        );
    }
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(text, "      = help: {help}");
    }
}

fn quote(text: &mut String, place: &Place) {
    if place.snippet.trim().is_empty() {
        return;
    }
    let _ = writeln!(text, "{:>5} | {}", place.line, place.snippet);
    let column = usize::try_from(place.column).unwrap_or(usize::MAX);
    if column <= place.snippet.chars().count() {
        let _ = writeln!(text, "      | {}^", " ".repeat(column - 1));
    }
}

/// For programs: `{"version":1,"diagnostics":[…]}`.
pub fn render_json(diagnostics: &[Diagnostic]) -> serde_json::Value {
    serde_json::json!({ "version": 1, "diagnostics": diagnostics })
}
