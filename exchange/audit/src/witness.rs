//! The customers' notes: JSON lines, one file per client.
//!
//! Reading is strict, since a note that is misread can hide a loss: any line that is not understood ends the audit with
//! file and line. One exception: a file whose last line has no line end was cut short by the death of its writer. That
//! line is left out, and reported. It can hide nothing: a writer notes an intent before it sends it, so an intent cut short
//! was never sent; and an answer cut short leaves an intent of unknown outcome, which the books resolve.
//!
//! Clients may still be at work. So the notes are read twice, before the books are opened and after: what was *promised*
//! by then must be in the books, and whatever is in the books must be *intended* by now. See [`Witnesses::since`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::AuditError;
use crate::request::{Account, Key, Reference, Request};

const VERSION: u8 = 1;
/// Names the files of a run, one a line; in their folder.
const LIST: &str = "files";

/// What the customers know of one intent.
#[derive(Debug, Clone)]
pub struct Intent {
    pub request: Request,
    pub kind: String,
    pub cell: String,
    /// Where it is noted.
    pub file: usize,
    pub line: u64,
    pub attempts: u32,
    /// Bodies of answers with status 200.
    pub answers: Vec<Box<str>>,
    /// The last status from 400 to 499 that ended it.
    pub refused: Option<u16>,
    pub unanswered: bool,
    /// How far it had come when the books were opened.
    pub stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nobody had noted it.
    Later,
    /// It was intended, and not answered.
    Intended,
    /// It was answered: the books must have it.
    Promised,
}

/// The notes as they were before the books were opened.
#[derive(Debug)]
pub struct Before(BTreeMap<Key, Stage>);

#[derive(Debug, Default)]
pub struct Witnesses {
    pub files: Vec<PathBuf>,
    pub intents: BTreeMap<Key, Intent>,
    pub lines: u64,
    /// Files whose last line was cut short.
    pub truncated: Vec<String>,
}

#[derive(Deserialize)]
struct Line<'a> {
    v: u8,
    event: &'a str,
    account: Account,
    reference: Reference,
    cell: Option<String>,
    kind: Option<String>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    status: Option<u16>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// Reads all `*.jsonl` in the given folders (not below them), or the given files; keeps the intents of one cell.
pub fn read(paths: &[PathBuf], cell: Option<&str>) -> Result<Witnesses, AuditError> {
    let mut witnesses = Witnesses::default();
    for path in paths {
        let files = files(path)?;
        if files.is_empty() {
            return Err(AuditError::NoWitness(path.display().to_string()));
        }
        for file in files {
            witnesses.read_file(&file)?;
        }
    }
    witnesses.choose_cell(cell)?;
    Ok(witnesses)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, AuditError> {
    let failed = |source| AuditError::WitnessRead {
        path: path.display().to_string(),
        source,
    };
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            files.push(file);
        }
    }
    files.sort();
    match missing(path, &files).map_err(failed)? {
        Some(name) => Err(AuditError::WitnessGone {
            folder: path.display().to_string(),
            name,
        }),
        None => Ok(files),
    }
}

/// A file that the run's own list names and that is not there. It would be missed by its rows in the books, unless these were
/// lost with it. A run that was ended before it sent anything, or is older than lists, has none.
fn missing(folder: &Path, files: &[PathBuf]) -> std::io::Result<Option<String>> {
    let list = match std::fs::read_to_string(folder.join(LIST)) {
        Ok(list) => list,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut names = list.lines();
    let gone = names.find(|name| !files.contains(&folder.join(name)));
    Ok(gone.map(str::to_owned))
}

impl Witnesses {
    fn read_file(&mut self, path: &Path) -> Result<(), AuditError> {
        let shown = path.display().to_string();
        let text = std::fs::read(path).map_err(|source| AuditError::WitnessRead {
            path: shown.clone(),
            source,
        })?;
        self.files.push(path.to_owned());
        let complete = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        if complete < text.len() {
            self.truncated.push(shown.clone());
        }
        for (index, line) in text[..complete]
            .split_inclusive(|byte| *byte == b'\n')
            .enumerate()
        {
            let number = index as u64 + 1;
            self.lines += 1;
            self.add_line(line, number)
                .map_err(|problem| AuditError::WitnessLine {
                    path: shown.clone(),
                    line: number,
                    problem,
                })?;
        }
        Ok(())
    }

    fn add_line(&mut self, line: &[u8], number: u64) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        let line: Line<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if line.v != VERSION {
            return Err(format!(
                "version {} of the witness form is not known",
                line.v
            ));
        }
        let key = (line.account, line.reference);
        if line.event == "intent" {
            return self.add_intent(key, line, number);
        }
        let intent = self.intents.get_mut(&key).ok_or_else(|| {
            format!(
                "{} of account {} reference {} without an intent",
                line.event, key.0, key.1
            )
        })?;
        match line.event {
            "attempt" => intent.attempts += 1,
            "broken" => {}
            "unanswered" => intent.unanswered = true,
            "answer" => {
                let status = line.status.ok_or("an answer without a status")?;
                let body = line.body.ok_or("an answer without a body")?;
                match status {
                    // A 200 that is no object was no answer to its client either.
                    200 if body.get().starts_with('{') => {
                        intent.answers.push(body.get().into());
                        intent.stage = Stage::Promised;
                    }
                    400..=499 if ![408, 425, 429].contains(&status) => {
                        intent.refused = Some(status)
                    }
                    _ => {}
                }
            }
            other => return Err(format!("event '{other}' is not known")),
        }
        Ok(())
    }

    fn add_intent(&mut self, key: Key, line: Line<'_>, number: u64) -> Result<(), String> {
        let (Some(cell), Some(kind), Some(request)) = (line.cell, line.kind, line.request) else {
            return Err("an intent without cell, kind or request".to_owned());
        };
        let request = Request::parse(&kind, request.get())?;
        if request.key != key {
            return Err("the request names another account or reference than the line".to_owned());
        }
        let file = self.files.len().saturating_sub(1);
        let intent = Intent {
            request,
            kind,
            cell,
            file,
            line: number,
            attempts: 0,
            answers: Vec::new(),
            refused: None,
            unanswered: false,
            stage: Stage::Intended,
        };
        match self.intents.insert(key, intent) {
            None => Ok(()),
            Some(_) => Err(format!(
                "account {} reference {} is intended a second time",
                key.0, key.1
            )),
        }
    }

    fn choose_cell(&mut self, cell: Option<&str>) -> Result<(), AuditError> {
        if let Some(cell) = cell {
            self.intents.retain(|_, intent| intent.cell == cell);
        }
        let cells: BTreeSet<&str> = self
            .intents
            .values()
            .map(|intent| intent.cell.as_str())
            .collect();
        match cells.len() {
            0 => Err(AuditError::NoIntents(
                cell.map(|cell| format!(" for cell '{cell}'"))
                    .unwrap_or_default(),
            )),
            1 => Ok(()),
            _ => Err(AuditError::ManyCells(
                cells.into_iter().collect::<Vec<_>>().join(", "),
            )),
        }
    }

    /// What is to be remembered of these notes while the books are opened.
    #[must_use]
    pub fn before(&self) -> Before {
        let stages = self.intents.iter();
        Before(stages.map(|(key, intent)| (*key, intent.stage)).collect())
    }

    /// These notes were read once more, after the books were opened.
    pub fn since(&mut self, before: &Before) -> Result<(), AuditError> {
        let is_gone = |key: &&Key| !self.intents.contains_key(*key);
        if let Some((account, reference)) = before.0.keys().find(is_gone) {
            let problem = format!("account {account} reference {reference} is noted no more");
            return Err(AuditError::WitnessChanged(problem));
        }
        for (key, intent) in &mut self.intents {
            intent.stage = before.0.get(key).copied().unwrap_or(Stage::Later);
        }
        Ok(())
    }

    /// Where an intent is noted, for a finding.
    #[must_use]
    pub fn place(&self, intent: &Intent) -> String {
        let file = self
            .files
            .get(intent.file)
            .and_then(|path| path.file_name());
        format!(
            "{}:{}",
            file.unwrap_or_default().to_string_lossy(),
            intent.line
        )
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    const INTENT: &str = r#"{"v":1,"event":"intent","cell":"c","kind":"cancel","account":1,"reference":5,"request":{"account":1,"reference":5,"target_reference":3,"deadline_ms":9},"planned_wall_ms":1,"deadline_wall_ms":9}"#;
    const ATTEMPT: &str = r#"{"v":1,"event":"attempt","account":1,"reference":5,"attempt":1,"gateway":"g","wall_ms":2}"#;

    fn check(text: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.jsonl");
        std::fs::write(&path, text).unwrap();
        let shown = match read(&[folder.path().to_owned()], None) {
            Err(error) => error.to_string(),
            Ok(read) => format!(
                "{} intents, {} truncated",
                read.intents.len(),
                read.truncated.len()
            ),
        };
        assert!(shown.contains(expected), "{shown}");
    }

    #[test]
    fn a_line_cut_short_at_the_end_is_tolerated_and_reported() {
        check(&format!("{INTENT}\n{ATTEMPT}\n"), "1 intents, 0 truncated");
        check(
            &format!("{INTENT}\n{{\"v\":1,\"eve"),
            "1 intents, 1 truncated",
        );
    }

    #[test]
    fn a_file_that_is_lost_is_missed_although_no_row_speaks_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("client-0000.jsonl"), format!("{INTENT}\n")).unwrap();
        std::fs::write(at("client-0001.jsonl"), "").unwrap();
        std::fs::write(at("files"), "client-0000.jsonl\nclient-0001.jsonl\n").unwrap();
        let found = || read(&[folder.path().to_owned()], None);
        assert_eq!(found().unwrap().intents.len(), 1);
        std::fs::remove_file(at("client-0001.jsonl")).unwrap();
        let said = found().unwrap_err().to_string();
        assert!(said.contains("had a file client-0001.jsonl"), "{said}");
    }

    #[test]
    fn other_garbage_names_its_line() {
        check(
            &format!("{INTENT}\n{{\"v\":1,\"eve\n{ATTEMPT}\n"),
            "w.jsonl line 2",
        );
        check(
            &format!("{INTENT}\n{INTENT}\n"),
            "line 2: account 1 reference 5 is intended a second time",
        );
        check(
            &format!("{ATTEMPT}\n"),
            "line 1: attempt of account 1 reference 5 without an intent",
        );
        check(
            &format!("{INTENT}\n{}\n", ATTEMPT.replace("\"v\":1", "\"v\":2")),
            "line 2: version 2",
        );
        check(
            &format!("{INTENT}\n{}\n", ATTEMPT.replace("attempt", "hope")),
            "line 2: event 'hope'",
        );
        check("", "no intent");
    }

    #[test]
    fn two_cells_are_not_mixed() {
        let other = INTENT.replace("\"c\"", "\"d\"").replace(":5", ":6");
        check(&format!("{INTENT}\n{other}\n"), "cells c, d");
    }
}
