//! Chaos Mesh documents and experiments: read, judged, repaired, planned.
//!
//! Think of the safety officer of a fire drill. `schema` and `rules` look whether the plan is a plan at all, with the
//! verdict that Chaos Mesh itself would give; `weakness` is the old hand who asks what nobody wrote down: when does it
//! end, who stops it, what should be seen; `repair` writes the plan as it should have been. `inventory` and `select`
//! find whom it is about on this platform, `judge` says what of it can be done here: exactly, nearly (and how), or not
//! at all (and why). `plan` is the timetable; `experiment` is the hypothesis around it, and the judge of what was seen;
//! `trial` is both together, and `look` is whoever reads the instruments.
//!
//! Nothing here reads a clock, a file or a platform that runs: texts, times and seeds are arguments.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod document;
pub mod experiment;
pub mod finding;
pub mod go;
pub mod inventory;
pub mod judge;
mod kinds;
mod links;
pub mod look;
pub mod plan;
mod rules;
mod schema;
pub mod select;
pub mod trial;
mod weakness;

use mainstay_yaml::{Node, Place, documents};

use document::Document;
use finding::{Code, Finding};

/// A file: what could be read of it, and everything that speaks against it.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    pub documents: Vec<Document>,
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Chaos Mesh would refuse it, or it is no experiment.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.code.is_error())
    }
}

/// Reads and criticises a file. What needs a platform to be known is said by [`judge`].
pub fn check(file: &str, text: &str) -> Checked {
    let mut checked = Checked::default();
    let nodes = match documents(text) {
        Ok(nodes) => nodes,
        Err(fault) => {
            checked.findings.push(Finding {
                file: file.to_owned(),
                place: fault.place,
                subject: "YAML".to_owned(),
                code: Code::NotYaml,
                reason: fault.message,
                repair: "make it YAML".to_owned(),
                edit: None,
            });
            return checked;
        }
    };
    let nodes: Vec<Node> = nodes.iter().flat_map(items).cloned().collect();
    let mut desk = finding::Desk::new(file, text);
    if nodes.is_empty() {
        let place = Place { line: 1, column: 1 };
        let reason = "no document is in this file".to_owned();
        desk.error(place, "file", Code::Field, reason, "write a chaos document");
    }
    for node in &nodes {
        if schema::document(node, &mut desk) {
            let document = Document::of(node);
            rules::document(&document, &mut desk);
            checked.documents.push(document);
        }
    }
    experiment::references(&checked.documents, &mut desk);
    weakness::all(&checked.documents, &mut desk);
    checked.findings = desk.findings;
    checked
        .findings
        .sort_by_key(|finding| (finding.place, finding.code));
    checked
}

/// A `List` is all of its items.
fn items(node: &Node) -> &[Node] {
    let is_list = node.get("kind").and_then(Node::text) == Some("List");
    match node.get("items") {
        Some(items) if is_list => items.items(),
        Some(_) | None => std::slice::from_ref(node),
    }
}
