//! The kernel's events and signals as JSON, and back.
//!
//! What cannot be read back (another version's kind, a name that is none) becomes [`Event::Unknown`]: the node
//! follows on and serves, but does not lead. Refusals come back as code and text: nothing is decided from them.

mod alerts;
mod bodies;
mod desired;
mod drills;
mod experiments;
mod gates;
mod incidents;
mod notices;
mod parts;
mod playbooks;
mod rules;
mod signals;
#[cfg(test)]
mod tests;

use mainstay_journal::{Entry, EntryError};
use mainstay_kernel::{Cause, Event, Record};
use mainstay_model::name::NameError;
use mainstay_record::event::EventBody;
use mainstay_record::journal::{CauseRecord, EntryRecord};
use mainstay_units::{Epoch, Position};

pub use alerts::alert_record;
pub use drills::{drill_ask_of, drills_shown};
pub use experiments::{experiment_ask_of, experiment_facts};
pub use incidents::{incident_ask_of, incident_summaries, incident_view};
pub use notices::notice_ask_of;
pub use parts::{deed_of, detail_of, detail_record};
pub use playbooks::playbook_ask;
pub use rules::{rules_shown, rules_text_of};
pub use signals::{signal_of, signal_record};

use bodies::{body_of, event_of};

/// Why a record cannot be written as an entry.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("write the event as JSON")]
    Json(#[from] serde_json::Error),
    #[error("write the event as an entry")]
    Entry(#[from] EntryError),
    #[error("an event of unknown kind {0} cannot be written again")]
    Unknown(String),
}

/// Why a form could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("name in a stored form")]
    Name(#[from] NameError),
    #[error("{0} in a stored form")]
    Form(&'static str),
}

/// The entry that stores a record.
///
/// # Errors
/// When it is larger than an entry may be, or of a kind that is not known here.
pub fn encode(record: &Record) -> Result<Entry, EncodeError> {
    let body = body_of(&record.event)?;
    let (kind, version) = body.kind();
    let entry = EntryRecord {
        kind: kind.to_owned(),
        version,
        at_ms: record.at_ms,
        epoch: record.epoch.0,
        cause: record.cause.as_ref().map(|cause| CauseRecord {
            node: cause.node.to_string(),
            number: cause.number,
        }),
        body: body.encode()?,
    };
    Ok(Entry::new(serde_json::to_string(&entry)?)?)
}

/// The record that an entry stores. Never fails: what is not understood is [`Event::Unknown`].
pub fn decode(position: Position, entry: &Entry) -> Record {
    let Ok(stored) = serde_json::from_str::<EntryRecord>(entry.as_str()) else {
        return unknown(position, "unreadable", 0);
    };
    let event = EventBody::decode(&stored.kind, stored.version, &stored.body)
        .ok()
        .flatten()
        .and_then(|body| event_of(body).ok());
    let cause = match stored.cause.map(|cause| (cause.node.parse(), cause.number)) {
        None => Ok(None),
        Some((Ok(node), number)) => Ok(Some(Cause { node, number })),
        Some((Err(_), _)) => Err(()),
    };
    let (Some(event), Ok(cause)) = (event, cause) else {
        let mut record = unknown(position, &stored.kind, stored.version);
        record.at_ms = stored.at_ms;
        record.epoch = Epoch(stored.epoch);
        return record;
    };
    Record {
        position,
        at_ms: stored.at_ms,
        epoch: Epoch(stored.epoch),
        cause,
        event,
    }
}

fn unknown(position: Position, kind: &str, version: u32) -> Record {
    Record {
        position,
        at_ms: 0,
        epoch: Epoch::ZERO,
        cause: None,
        event: Event::Unknown {
            kind: kind.to_owned(),
            version,
        },
    }
}
