//! The journal as a C2SP tlog-tiles folder: `checkpoint`, `tile/…`, `tile/entries/…`.
//!
//! Serve the folder with any web server, or read it from disk: verifiers that know nothing of Mainstay check
//! it. `keys` beside it lists the verifier keys in the form of signed notes, the newest leader's first.

use std::fs;
use std::io;
use std::path::Path;

use mainstay_journal::{Entry, Followed, Hash, Log, tiles};
use mainstay_record::journal::ExportReport;
use thiserror::Error;

use crate::meaning::meaning_of;
use crate::place::Place;

#[derive(Debug, Error)]
pub enum ExportError {
    #[error("part at position {position}: {damage}; `mainstay journal verify` says more")]
    Damaged {
        position: mainstay_units::Position,
        damage: mainstay_journal::Damage,
    },
    #[error("the journal is empty: there is nothing to export")]
    Empty,
    #[error("{path} exists and is not empty: export into a new folder")]
    NotEmpty { path: String },
    #[error("{operation}")]
    Io {
        operation: String,
        source: std::io::Error,
    },
}

fn failed(operation: String) -> impl FnOnce(std::io::Error) -> ExportError {
    move |source| ExportError::Io { operation, source }
}

/// Writes the log that is kept in `place` to `target`, a new or empty folder. The checkpoint is written last: a folder
/// that has one is complete.
pub fn export(place: &Place, target: &Path) -> Result<ExportReport, ExportError> {
    refuse_used(target)?;
    let mut out = Writer { target, files: 0 };
    let mut log = Log::new(meaning_of);
    let mut leaves: Vec<Hash> = Vec::new();
    let mut bundle: Vec<Entry> = Vec::new();
    let mut bundles = 0_u64;
    let listed = place.kept().map_err(io::Error::other).and_then(|mut kept| {
        let parts = kept.list()?.parts;
        Ok((kept, parts))
    });
    let (mut kept, parts) = listed.map_err(failed(format!("read the journal in {place}")))?;
    for position in parts {
        if position != log.end() {
            break;
        }
        let bytes = kept
            .read(position)
            .map_err(failed(format!("read the part at position {position}")))?;
        let Followed {
            entries,
            leaves: new,
            ..
        } = log
            .follow(position, &bytes)
            .map_err(|damage| ExportError::Damaged { position, damage })?;
        leaves.extend(new);
        for entry in entries {
            bundle.push(entry);
            if bundle.len() == tiles::TILE_WIDTH {
                out.resource(&tiles::entry_bundle(bundles, &bundle))?;
                bundles += 1;
                bundle.clear();
            }
        }
    }
    if !bundle.is_empty() {
        out.resource(&tiles::entry_bundle(bundles, &bundle))?;
    }
    for tile in tiles::hash_tiles(&leaves) {
        out.resource(&tile)?;
    }
    let (Some(origin), Some(checkpoint)) = (log.origin(), log.checkpoint()) else {
        return Err(ExportError::Empty);
    };
    let verifier_keys = verifier_keys(&log, origin);
    let keys: String = verifier_keys.iter().map(|key| format!("{key}\n")).collect();
    out.file("keys", keys.as_bytes())?;
    out.file("checkpoint", checkpoint.note().as_bytes())?;
    Ok(ExportReport {
        version: 1,
        folder: target.display().to_string(),
        origin: origin.to_string(),
        entries: log.end().0,
        files: out.files,
        verifier_keys,
    })
}

fn verifier_keys(log: &Log, origin: &str) -> Vec<String> {
    let leader = log.key_of(&log.leadership().node);
    let others = log
        .keys_ever()
        .into_iter()
        .filter(|key| Some(*key) != leader);
    leader
        .into_iter()
        .chain(others)
        .map(|key| key.verifier_text(origin))
        .collect()
}

fn refuse_used(target: &Path) -> Result<(), ExportError> {
    match fs::read_dir(target).map(|mut files| files.next().is_some()) {
        Ok(true) => Err(ExportError::NotEmpty {
            path: target.display().to_string(),
        }),
        Ok(false) | Err(_) => Ok(()),
    }
}

struct Writer<'a> {
    target: &'a Path,
    files: u64,
}

impl Writer<'_> {
    fn resource(&mut self, resource: &tiles::Resource) -> Result<(), ExportError> {
        self.file(&resource.path, &resource.bytes)
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.target.join(path);
        let folder = path.parent().unwrap_or(self.target);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(failed(format!("write {}", path.display())))?;
        self.files += 1;
        Ok(())
    }
}
