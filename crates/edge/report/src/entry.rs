//! A line of the journal, read.

use mainstay_journal::{Hash, leaf_hash};
use mainstay_record::event::EventBody;
use mainstay_record::journal::EntryRecord;
use serde_json::Value;
use thiserror::Error;

#[derive(Clone, Debug)]
pub struct Entry {
    pub position: u64,
    /// As a leaf of the journal's tree.
    pub hash: Hash,
    pub at_ms: u64,
    pub kind: String,
    pub body: Value,
    /// Nothing for a kind that this version does not know.
    pub event: Option<EventBody>,
}

#[derive(Debug, Error)]
#[error("entry {position} is not in the form of an entry")]
pub struct EntryError {
    pub position: u64,
    pub source: serde_json::Error,
}

impl Entry {
    /// # Errors
    /// When the text is no entry, or one of a known kind has another form.
    pub fn read(position: u64, text: &str) -> Result<Self, EntryError> {
        let fault = |source| EntryError { position, source };
        let record: EntryRecord = serde_json::from_str(text).map_err(fault)?;
        Ok(Self {
            position,
            hash: leaf_hash(text.as_bytes()),
            at_ms: record.at_ms,
            body: serde_json::from_str(record.body.get()).map_err(fault)?,
            event: EventBody::decode(&record.kind, record.version, &record.body).map_err(fault)?,
            kind: record.kind,
        })
    }

    /// The incident that the entry is about, if it says so itself.
    pub fn incident(&self) -> Option<&str> {
        let is_own = self.kind.starts_with("incident.") || self.kind.starts_with("notice.");
        self.body["incident"].as_str().filter(|_| is_own)
    }

    /// The run of a playbook that it tells of.
    pub fn run(&self) -> Option<&str> {
        let body = self.body.as_object().filter(|_| self.kind == "playbook")?;
        body.values().find_map(|part| part["run"].as_str())
    }
}
