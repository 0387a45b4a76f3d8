//! Rates of the journal on this machine: appending with fsync, and verifying.

use std::io;
use std::path::Path;

use mainstay_journal::Entry;
use mainstay_record::journal::{AppendRate, JournalRates};
use mainstay_rt::clock;

use crate::folder::LocalFolder;
use crate::journal::Journal;
use crate::node_folder::NodeFolder;
use crate::place::Place;
use crate::verify::verify;

const BATCHES: [u64; 3] = [1, 32, 1_024];

/// Appends `parts` parts of each size to a journal in `scratch` (a new folder on the disk in question) and
/// verifies it.
pub fn rates(scratch: &Path, parts: u64) -> io::Result<JournalRates> {
    let node = scratch.join("node");
    let folder = NodeFolder::open(&node).map_err(io::Error::other)?;
    let root = scratch.join("journal");
    let port = LocalFolder::open(&root).map_err(io::Error::other)?;
    let mut journal = Journal::open(port, folder).map_err(io::Error::other)?;
    let key = journal.public_key();
    let opened = format!(
        r#"{{"kind":"journal.opened","version":1,"at_ms":0,"epoch":1,"body":{{"origin":"mainstay/bench/0000000000000000","platform":"bench","node":"bench","key":"{key}"}}}}"#
    );
    let claimed = r#"{"kind":"leadership.claimed","version":1,"at_ms":0,"epoch":1,"body":{"epoch":1,"node":"bench","why":"first"}}"#;
    let first = [opened, claimed.to_string()].map(Entry::new);
    let first = first.into_iter().collect::<Result<Vec<_>, _>>();
    let append = |journal: &mut Journal<LocalFolder>, entries| {
        journal.append(entries).map_err(io::Error::other)
    };
    append(&mut journal, first.map_err(io::Error::other)?)?;
    let mut appends = Vec::new();
    for batch in BATCHES {
        let started = clock::now();
        for part in 0..parts {
            let entries = (0..batch)
                .map(|n| sample(part, n))
                .collect::<Result<Vec<_>, _>>();
            append(&mut journal, entries.map_err(io::Error::other)?)?;
        }
        let seconds = clock::now().since(started).as_secs_f64().max(1e-9);
        appends.push(AppendRate {
            batch,
            entries_per_s: (parts * batch) as f64 / seconds,
            parts_per_s: parts as f64 / seconds,
        });
    }
    let started = clock::now();
    let report = verify(&Place::folder(&root), &[("bench".to_string(), node)]);
    let seconds = clock::now().since(started).as_secs_f64().max(1e-9);
    if !report.is_sound() {
        return Err(io::Error::other(format!("{:?}", report.findings)));
    }
    Ok(JournalRates {
        version: 1,
        appends,
        verify_entries_per_s: report.entries as f64 / seconds,
        verify_entries: report.entries,
    })
}

/// About as long as an entry of the kernel is.
fn sample(part: u64, number: u64) -> Result<Entry, mainstay_journal::EntryError> {
    let sequence = part * 10_000 + number;
    Entry::new(format!(
        r#"{{"kind":"reflex.recorded","version":1,"at_ms":1763636129123,"epoch":1,"cause":{{"node":"us-east-1-a","number":{sequence}}},"body":{{"source":"keeper","host":"us-east-1-a","database":"ledger","what":{{"became_primary":{{"term":{number},"lost_ms":412}}}}}}}}"#
    ))
}
