//! Packing: everything of a pack follows from its log, by the rules of this version ([`super::manifest::RULES`]).

use std::collections::BTreeMap;

use mainstay_journal::tree::{Tree, root_of};
use mainstay_journal::{Entry as Stored, Hash, SignedCheckpoint, leaf_hash, tiles};
use serde_json::{Value, json};
use thiserror::Error;

use super::controls::{self, Control};
use super::items::{Item, items};
use super::manifest::{Manifest, is_path};
use super::scope::{Scope, Subject};
use super::stamps::{self, Stamp};
use super::summary::summary;
use super::tar::Files;
use super::verify::Refused;
use crate::entry::Entry;

pub(super) const CHECKPOINT: &str = "log/checkpoint";
pub(super) const KEYS: &str = "log/keys";
pub(super) const LOG: &str = "log/";
pub(super) const CONTROLS: &str = "controls.tsv";
pub(super) const ITEMS: &str = "items.json";
pub(super) const PROOFS: &str = "proofs.jsonl";
pub(super) const SUMMARY: &str = "summary.md";
/// What else is put in: files of the person who packs. They are signed with the rest, and nothing is concluded from them but
/// whether one is the page that somebody signed.
pub(super) const ATTACHED: &str = "attached/";
/// Entries of a log that a pack can carry.
pub(super) const ENTRIES_MAX: u64 = 2_000_000;

/// What a pack is made from.
pub struct Material {
    pub subject: Subject,
    pub made_ms: u64,
    /// The whole log, from its first entry to the checkpoint.
    pub entries: Vec<Stored>,
    pub checkpoint: SignedCheckpoint,
    /// Verifier keys of the log, one a line.
    pub keys: Vec<String>,
    /// The text of the table of controls.
    pub controls: String,
    /// Checkpoints of this log that witnesses signed, and the verifier keys of these.
    pub cosigned: Vec<String>,
    pub witnesses: Vec<String>,
    pub attached: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PackError {
    #[error("the log tells of no {} {}", .0.kind(), .0.id())]
    NoSuchSubject(Subject),
    #[error("{0}")]
    Controls(#[from] controls::ControlsError),
    #[error("entry {0} is not in the form of an entry")]
    Entry(u64),
    #[error("the checkpoint is of another log, or of another length, than the entries")]
    Checkpoint,
    #[error("{}: {}", .0.file, .0.why)]
    Stamp(Refused),
    #[error("{0:?} cannot be the name of a file in a pack: letters, digits, '.', '_' and '-' can")]
    Name(String),
}

/// Everything but the manifest, and the manifest's text, which the caller signs.
///
/// # Errors
/// When the material does not fit together, or does not tell of the subject.
pub fn pack(material: &Material) -> Result<(Files, Manifest), PackError> {
    let checkpoint = &material.checkpoint.checkpoint;
    let leaves: Vec<Hash> = material
        .entries
        .iter()
        .map(|entry| leaf_hash(entry.as_bytes()))
        .collect();
    if checkpoint.head().size != leaves.len() as u64 || checkpoint.root != root_of(&leaves) {
        return Err(PackError::Checkpoint);
    }
    let mut files = log_files(&material.entries, &leaves);
    files.insert(
        CHECKPOINT.to_owned(),
        material.checkpoint.note().as_bytes().to_vec(),
    );
    let keys: String = material.keys.iter().map(|key| format!("{key}\n")).collect();
    files.insert(KEYS.to_owned(), keys.into_bytes());
    files.insert(CONTROLS.to_owned(), material.controls.clone().into_bytes());
    files.extend(stamps::files(&material.cosigned, &material.witnesses));
    let entries = read(&material.entries)?;
    let stamps = stamps::read(&files, &checkpoint.origin, &leaves).map_err(PackError::Stamp)?;
    for (name, bytes) in &material.attached {
        let path = format!("{ATTACHED}{name}");
        if !is_path(&path) {
            return Err(PackError::Name(name.clone()));
        }
        files.insert(path, bytes.clone());
    }
    let source = Source {
        entries: &entries,
        leaves: &leaves,
        stamps: &stamps,
        attached: &attached(&files),
        subject: &material.subject,
        table: &material.controls,
    };
    let derived = derive(&source, material.made_ms)?;
    files.extend(derived.files);
    let manifest = Manifest::of(
        &checkpoint.origin,
        &material.subject,
        material.made_ms,
        checkpoint.head(),
        &files,
    );
    Ok((files, manifest))
}

/// What was attached, by name.
pub(super) fn attached(files: &Files) -> BTreeMap<String, Hash> {
    let attached = files.iter().filter_map(|(path, bytes)| {
        let name = path.strip_prefix(ATTACHED)?;
        Some((name.to_owned(), Hash::of(bytes)))
    });
    attached.collect()
}

pub(super) fn read(stored: &[Stored]) -> Result<Vec<Entry>, PackError> {
    let entries = (0..).zip(stored);
    entries
        .map(|(position, entry)| {
            Entry::read(position, entry.as_str()).map_err(|_| PackError::Entry(position))
        })
        .collect()
}

/// The log as C2SP tlog-tiles, below its folder.
pub(super) fn log_files(entries: &[Stored], leaves: &[Hash]) -> Files {
    let bundles = (0..).zip(entries.chunks(tiles::TILE_WIDTH));
    let bundles = bundles.map(|(index, bundle)| tiles::entry_bundle(index, bundle));
    let resources = bundles.chain(tiles::hash_tiles(leaves));
    resources
        .map(|resource| (format!("{LOG}{}", resource.path), resource.bytes))
        .collect()
}

pub(super) struct Derived {
    pub files: Files,
    pub items: Vec<Item>,
}

/// From what everything else of a pack follows.
pub(super) struct Source<'s> {
    pub entries: &'s [Entry],
    pub leaves: &'s [Hash],
    pub stamps: &'s [Stamp],
    pub attached: &'s BTreeMap<String, Hash>,
    pub subject: &'s Subject,
    pub table: &'s str,
}

/// The items alone, for a moment.
pub(super) fn items_at(source: &Source, at_ms: u64) -> Result<Vec<Item>, PackError> {
    Ok(items(&scope(source, at_ms)?))
}

fn scope<'s>(source: &Source<'s>, at_ms: u64) -> Result<Scope<'s>, PackError> {
    let parts = (source.stamps, source.attached);
    let scope = Scope::of(source.entries, parts, source.subject, at_ms);
    scope.ok_or_else(|| PackError::NoSuchSubject(source.subject.clone()))
}

/// What follows, for a moment at which the pack was made.
pub(super) fn derive(source: &Source, made_ms: u64) -> Result<Derived, PackError> {
    let subject = source.subject;
    let controls = controls::read(source.table)?;
    let scope = scope(source, made_ms)?;
    let items = items(&scope);
    let mut named: Vec<u64> = scope.own.iter().map(|entry| entry.position).collect();
    named.extend(
        items
            .iter()
            .flat_map(|item| &item.parts)
            .flat_map(|part| &part.entries),
    );
    named.sort_unstable();
    named.dedup();
    let tree = Tree::over(source.leaves);
    let mut proofs = String::new();
    for position in named {
        let (Some(entry), Some(proof)) = (scope.at(position), tree.inclusion_proof(position))
        else {
            continue;
        };
        let proof: Vec<String> = proof.iter().map(ToString::to_string).collect();
        let row = json!({
            "position": position, "kind": entry.kind, "leaf": entry.hash.to_string(), "proof": proof,
        });
        proofs.push_str(&format!("{row}\n"));
    }
    let document = json!({
        "version": 1,
        "subject": {"kind": subject.kind(), "id": subject.id()},
        "made_ms": made_ms,
        "items": items.iter().map(|item| written(item, &controls)).collect::<Vec<_>>(),
    });
    let files = [
        (ITEMS, format!("{document:#}\n")),
        (PROOFS, proofs),
        (SUMMARY, summary(subject, made_ms, &items, &controls)),
    ];
    Ok(Derived {
        files: files
            .map(|(name, text)| (name.to_owned(), text.into_bytes()))
            .into(),
        items,
    })
}

fn written(item: &Item, controls: &[Control]) -> Value {
    let parts = item.parts.iter().map(|part| {
        json!({
            "part": part.name, "status": part.status.as_str(), "told": part.told, "entries": part.entries, "facts": part.facts,
        })
    });
    let controls = controls
        .iter()
        .filter(|control| control.item == item.number);
    let controls = controls.map(|control| {
        json!({
            "rule": control.rule, "reference": control.reference, "source": control.source, "shows": control.shows,
        })
    });
    json!({
        "item": item.number, "title": item.title, "status": item.status().as_str(),
        "parts": parts.collect::<Vec<_>>(), "controls": controls.collect::<Vec<_>>(),
    })
}
