//! What is wrong with a document, and where.

use std::fmt::Write as _;

use mainstay_yaml::Place;

/// More help nobody.
const FINDINGS_MAX: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: String,
    pub place: Place,
    /// The field, as `spec.steps[2].lose`.
    pub path: String,
    /// A stable word.
    pub code: &'static str,
    pub problem: String,
    /// What to do about it; may be empty.
    pub help: String,
}

/// Collects everything that is wrong, instead of stopping at the first.
#[derive(Debug)]
pub struct Desk {
    file: String,
    pub findings: Vec<Finding>,
}

impl Desk {
    pub fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            findings: Vec::new(),
        }
    }

    pub fn find(
        &mut self,
        place: Place,
        path: &str,
        code: &'static str,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                file: self.file.clone(),
                place,
                path: path.to_owned(),
                code,
                problem: problem.into(),
                help: help.into(),
            });
        }
    }
}

/// For a terminal, a paragraph for each.
pub fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let (line, column) = (finding.place.line, finding.place.column);
        let path = match finding.path.is_empty() {
            true => String::new(),
            false => format!("{}: ", finding.path),
        };
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "{}:{line}:{column}: error[{}]: {path}{}",
            finding.file, finding.code, finding.problem
        );
        if !finding.help.is_empty() {
            let _ = writeln!(text, "  help: {}", finding.help);
        }
    }
    text
}
