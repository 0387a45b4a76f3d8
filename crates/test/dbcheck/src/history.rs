//! What clients were about to do, and what they were told: lines of JSON, in the order in which they happened.
//!
//! A line that begins an operation is written before the operation is sent. An operation that never ended
//! (its client was killed, say) has an unknown outcome. The identifier of an operation that writes is at the
//! same time the element that it adds, or the transfer that it makes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Identifies an operation, an element, a transfer.
pub type Id = u64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Begin {
        id: Id,
        at_us: u64,
        client: u32,
        action: Action,
    },
    End {
        id: Id,
        at_us: u64,
        outcome: Outcome,
        /// The client had asked for the query to be cancelled.
        cancelled: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Adds the element that is called like the operation.
    Add,
    /// Moves money.
    Transfer { from: u32, to: u32, amount: i64 },
    /// Looks for these elements.
    Look { asked: Vec<Id> },
    /// Reads every account.
    Sum,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Acknowledged,
    /// It certainly has no effect.
    Refused {
        why: String,
    },
    /// It may have an effect, now or later.
    Unknown {
        why: String,
    },
    /// A look found these.
    Saw {
        elements: Vec<Id>,
    },
    /// A sum read these accounts.
    Read {
        balances: Vec<(u32, i64)>,
    },
}

/// An operation from both its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub client: u32,
    pub begun_us: u64,
    pub action: Action,
    /// When it ended, and how; absent if it never did.
    pub end: Option<End>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub at_us: u64,
    pub outcome: Outcome,
    pub cancelled: bool,
}

/// All operations of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub operations: BTreeMap<Id, Operation>,
}

impl History {
    /// Takes in the next line.
    ///
    /// # Errors
    /// When a line cannot belong to what came before it.
    pub fn push(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Begin {
                id,
                at_us,
                client,
                action,
            } => {
                let operation = Operation {
                    client,
                    begun_us: at_us,
                    action,
                    end: None,
                };
                if self.operations.insert(id, operation).is_some() {
                    bail!("operation {id} begins twice");
                }
            }
            Line::End {
                id,
                at_us,
                outcome,
                cancelled,
            } => {
                let operation = self.operations.get_mut(&id);
                let operation = operation.with_context(|| format!("operation {id} never began"))?;
                let end = End {
                    at_us,
                    outcome,
                    cancelled,
                };
                if operation.end.replace(end).is_some() {
                    bail!("operation {id} ends twice");
                }
            }
        }
        Ok(())
    }

    /// # Errors
    /// When the file cannot be read, or is no history.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let mut history = Self::default();
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let place = || format!("{}:{}", path.display(), number + 1);
            let line = serde_json::from_str(&line.with_context(place)?).with_context(place)?;
            history.push(line).with_context(place)?;
        }
        Ok(history)
    }

    /// The longest time between two acknowledgements.
    #[must_use]
    pub fn longest_silence_us(&self) -> u64 {
        let mut times: Vec<u64> = self
            .operations
            .values()
            .filter_map(|operation| operation.end.as_ref())
            .filter(|end| end.outcome == Outcome::Acknowledged)
            .map(|end| end.at_us)
            .collect();
        times.sort_unstable();
        let between = times.windows(2).map(|pair| pair[1] - pair[0]);
        between.max().unwrap_or(0)
    }
}

/// The file that a run writes; a line reaches the kernel before `write` returns.
#[derive(Debug)]
pub struct Recorder {
    file: File,
}

impl Recorder {
    /// # Errors
    /// When the file exists or cannot be made: a history belongs to one run.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create_new(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { file })
    }

    /// # Errors
    /// When the disk is full, say: the run is then worth nothing.
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).context("write the history")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(id: Id) -> Line {
        Line::Begin {
            id,
            at_us: id,
            client: 1,
            action: Action::Add,
        }
    }

    fn end(id: Id, at_us: u64) -> Line {
        Line::End {
            id,
            at_us,
            outcome: Outcome::Acknowledged,
            cancelled: false,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let lines = [begin(1), begin(2), end(1, 5), begin(3), end(3, 9)];
        let mut recorder = Recorder::create(&path).unwrap();
        let mut expected = History::default();
        for line in lines {
            recorder.write(&line).unwrap();
            expected.push(line).unwrap();
        }
        assert_eq!(History::read(&path).unwrap(), expected);
        assert_eq!(expected.operations[&2].end, None);
        assert_eq!(expected.longest_silence_us(), 4);
        assert!(Recorder::create(&path).is_err(), "one run, one history");
    }

    #[test]
    fn lines_that_cannot_be_are_refused() {
        let mut history = History::default();
        assert!(history.push(end(1, 1)).is_err());
        history.push(begin(1)).unwrap();
        assert!(history.push(begin(1)).is_err());
        history.push(end(1, 1)).unwrap();
        assert!(history.push(end(1, 2)).is_err());
    }
}
