//! The audit's verdict, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::books::Volumes;
use crate::exit;
use crate::finding::Findings;
use crate::intents::Classes;
use crate::witness::Witnesses;

#[derive(Debug, Serialize)]
pub struct Report {
    pub version: u8,
    pub clean: bool,
    pub witness_files: u64,
    pub witness_lines: u64,
    /// Witness files whose last line was not whole: its writer had died, or was still writing.
    pub truncated: Vec<String>,
    pub classes: Classes,
    pub books: Volumes,
    pub findings: Findings,
}

impl Report {
    #[must_use]
    pub fn new(
        witnesses: &Witnesses,
        classes: Classes,
        books: Volumes,
        findings: Findings,
    ) -> Self {
        Self {
            version: 1,
            clean: findings.is_clean(),
            witness_files: witnesses.files.len() as u64,
            witness_lines: witnesses.lines,
            truncated: witnesses.truncated.clone(),
            classes,
            books,
            findings,
        }
    }

    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.clean {
            exit::CLEAN
        } else {
            exit::FINDINGS
        }
    }

    #[must_use]
    pub fn shown(&self) -> String {
        let mut text = String::new();
        let classes = &self.classes;
        for (name, count) in [
            ("intents", classes.intents),
            ("  acknowledged, present", classes.acknowledged_present),
            ("  rejected or expired, present", classes.refused_present),
            ("  refused unsequenced, absent", classes.refused_absent),
            ("  unknown, resolved: present", classes.unknown_present),
            ("  unknown, resolved: absent", classes.unknown_absent),
            ("  acknowledged, absent: lost", classes.lost),
            ("  duplicated", classes.duplicated),
            ("  altered", classes.altered),
            ("not answered in time", classes.unanswered),
            ("commands in the books", self.books.commands),
            ("  epochs", self.books.epochs),
            ("  postings", self.books.postings),
            ("  trades", self.books.trades),
            ("  orders", self.books.orders),
            ("  balances", self.books.balances),
        ] {
            let _ = writeln!(text, "{name:<34}{count:>10}");
        }
        if classes.later > 0 {
            let _ = writeln!(
                text,
                "note: {} intents went on after the books were opened; of these nothing is said",
                classes.later
            );
        }
        for file in &self.truncated {
            let _ = writeln!(
                text,
                "note: the last line of {file} is not whole, since its writer died or still wrote; left out"
            );
        }
        for (class, count) in &self.findings.counts {
            let _ = writeln!(text, "FINDING {count} x {}", class.title());
            for finding in self
                .findings
                .examples
                .iter()
                .filter(|finding| finding.class == *class)
                .take(5)
            {
                let _ = writeln!(text, "    {}", finding.text);
            }
        }
        let verdict = if self.clean {
            "clean: nothing lost, duplicated, invented or altered"
        } else {
            "FINDINGS"
        };
        let _ = writeln!(text, "verdict: {verdict}");
        text
    }
}
