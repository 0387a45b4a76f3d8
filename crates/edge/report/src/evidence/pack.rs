//! Packing and verifying. Both make the same files from the same entries; verifying compares.

use std::collections::BTreeMap;

use mainstay_journal::note::Note;
use mainstay_journal::tree::{inclusion_proof, root_of, verify_inclusion};
use mainstay_journal::{
    Entry as Stored, Hash, PublicKey, SignedCheckpoint, WitnessKey, leaf_hash, tiles,
};
use mainstay_record::event::EventBody;
use serde_json::{Value, json};
use thiserror::Error;

use super::controls::{self, Control};
use super::items::{Item, Status, items};
use super::manifest::{MANIFEST, Manifest, is_path};
use super::scope::{Scope, Subject};
use super::stamps::{self, Stamp};
use super::summary::summary;
use super::tar::Files;
use crate::entry::Entry;

const CHECKPOINT: &str = "log/checkpoint";
const KEYS: &str = "log/keys";
const LOG: &str = "log/";
const CONTROLS: &str = "controls.tsv";
const ITEMS: &str = "items.json";
const PROOFS: &str = "proofs.jsonl";
const SUMMARY: &str = "summary.md";
/// What else is put in: files of the person who packs. They are signed with the rest, and nothing is concluded from them but
/// whether one is the page that somebody signed.
const ATTACHED: &str = "attached/";
/// Entries of a log that a pack can carry.
const ENTRIES_MAX: u64 = 2_000_000;

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
fn attached(files: &Files) -> BTreeMap<String, Hash> {
    let attached = files.iter().filter_map(|(path, bytes)| {
        let name = path.strip_prefix(ATTACHED)?;
        Some((name.to_owned(), Hash::of(bytes)))
    });
    attached.collect()
}

fn read(stored: &[Stored]) -> Result<Vec<Entry>, PackError> {
    let entries = (0..).zip(stored);
    entries
        .map(|(position, entry)| {
            Entry::read(position, entry.as_str()).map_err(|_| PackError::Entry(position))
        })
        .collect()
}

/// The log as C2SP tlog-tiles, below its folder.
fn log_files(entries: &[Stored], leaves: &[Hash]) -> Files {
    let bundles = (0..).zip(entries.chunks(tiles::TILE_WIDTH));
    let bundles = bundles.map(|(index, bundle)| tiles::entry_bundle(index, bundle));
    let resources = bundles.chain(tiles::hash_tiles(leaves));
    resources
        .map(|resource| (format!("{LOG}{}", resource.path), resource.bytes))
        .collect()
}

struct Derived {
    files: Files,
    items: Vec<Item>,
}

/// From what everything else of a pack follows.
struct Source<'s> {
    entries: &'s [Entry],
    leaves: &'s [Hash],
    stamps: &'s [Stamp],
    attached: &'s BTreeMap<String, Hash>,
    subject: &'s Subject,
    table: &'s str,
}

/// What follows, for a moment at which the pack was made.
fn derive(source: &Source, made_ms: u64) -> Result<Derived, PackError> {
    let Source {
        subject, leaves, ..
    } = *source;
    let controls = controls::read(source.table)?;
    let scope = Scope::of(
        source.entries,
        (source.stamps, source.attached),
        subject,
        made_ms,
    );
    let scope = scope.ok_or_else(|| PackError::NoSuchSubject(subject.clone()))?;
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
    let mut proofs = String::new();
    for position in named {
        let (Some(entry), Some(proof)) = (scope.at(position), inclusion_proof(position, leaves))
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

/// Why a pack is not believed: which file, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}: {why}")]
pub struct Refused {
    pub file: String,
    pub why: String,
}

pub(crate) fn refused(file: impl Into<String>, why: impl Into<String>) -> Refused {
    Refused {
        file: file.into(),
        why: why.into(),
    }
}

/// A pack that is what was signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    pub manifest: Manifest,
    pub entries: u64,
    /// Entries with a proof of their own.
    pub proven: usize,
    pub files: usize,
    /// As they were when it was made, and as they are at the moment of verifying.
    pub items: Vec<Item>,
    pub items_now: Vec<Item>,
    /// Witnesses whose keys the verifier knows only from the pack itself.
    pub unvouched: Vec<String>,
}

impl Verified {
    pub fn count(items: &[Item], status: Status) -> usize {
        items.iter().filter(|item| item.status() == status).count()
    }
}

/// `keys` are what the verifier knows of the log beforehand, `witnesses` what it knows of those: names and keys. If it knows any, it
/// believes no other.
///
/// # Errors
/// The first thing that is not as it was signed.
pub fn verify(
    files: &Files,
    keys: &[(String, PublicKey)],
    witnesses: &[(String, WitnessKey)],
    now_ms: u64,
) -> Result<Verified, Refused> {
    let (manifest, packer) = signed_manifest(files, keys)?;
    listed(files, &manifest)?;
    let own: Vec<PublicKey> = own_keys(keys, &manifest.origin);
    let (stored, leader) = log(files, &manifest, &own)?;
    let entries = read(&stored).map_err(|error| refused(LOG, error.to_string()))?;
    known_keys(files, &manifest, &entries, [packer, leader])?;
    let leaves: Vec<Hash> = entries.iter().map(|entry| entry.hash).collect();
    let unvouched = stamps::vouched(files, witnesses)?;
    let stamps = stamps::read(files, &manifest.origin, &leaves)?;
    let source = Source {
        entries: &entries,
        leaves: &leaves,
        stamps: &stamps,
        attached: &attached(files),
        subject: &manifest.subject,
        table: text(files, CONTROLS)?,
    };
    let again = |made_ms| {
        derive(&source, made_ms).map_err(|error| match error {
            PackError::Controls(error) => refused(CONTROLS, error.to_string()),
            error => refused(LOG, error.to_string()),
        })
    };
    let made = again(manifest.made_ms)?;
    for (name, bytes) in &made.files {
        if files.get(name) != Some(bytes) {
            return Err(refused(
                name,
                "it is not what follows from the entries of the log",
            ));
        }
    }
    let proven = proofs(files, &manifest, &leaves)?;
    extra(files, &stored, &leaves)?;
    Ok(Verified {
        entries: manifest.head.size,
        proven,
        files: files.len(),
        items: made.items,
        items_now: again(now_ms.max(manifest.made_ms))?.items,
        unvouched,
        manifest,
    })
}

fn text<'f>(files: &'f Files, name: &str) -> Result<&'f str, Refused> {
    let bytes = files
        .get(name)
        .ok_or_else(|| refused(name, "it is missing"))?;
    std::str::from_utf8(bytes).map_err(|_| refused(name, "it is not UTF-8"))
}

fn own_keys(keys: &[(String, PublicKey)], origin: &str) -> Vec<PublicKey> {
    let own = keys.iter().filter(|(name, _)| name == origin);
    own.map(|(_, key)| *key).collect()
}

/// With the key that signed it.
fn signed_manifest(
    files: &Files,
    keys: &[(String, PublicKey)],
) -> Result<(Manifest, PublicKey), Refused> {
    let note = text(files, MANIFEST)?;
    let wrong = |why: String| refused(MANIFEST, why);
    let note = Note::parse(note).map_err(|error| wrong(error.to_string()))?;
    let manifest = Manifest::parse(&note.text).map_err(|why| wrong(why.to_owned()))?;
    let own = own_keys(keys, &manifest.origin);
    if own.is_empty() {
        return Err(wrong(format!(
            "it is of the log {}, and no key of that name was given",
            manifest.origin
        )));
    }
    if note.signatures.len() != 1 {
        return Err(wrong(format!(
            "it has {} signatures instead of one",
            note.signatures.len()
        )));
    }
    let signer = note
        .verify(&manifest.origin, &own)
        .map_err(|error| wrong(error.to_string()))?;
    Ok((manifest, signer))
}

/// Every file that is named is there as it was, and no other is.
fn listed(files: &Files, manifest: &Manifest) -> Result<(), Refused> {
    let mut named: BTreeMap<&str, (Hash, usize)> = BTreeMap::new();
    for (path, hash, length) in &manifest.files {
        named.insert(path, (*hash, *length));
        let Some(bytes) = files.get(path) else {
            return Err(refused(path, "the manifest names it, and it is missing"));
        };
        if bytes.len() != *length {
            return Err(refused(
                path,
                format!("it has {} bytes instead of {length}", bytes.len()),
            ));
        }
        if Hash::of(bytes) != *hash {
            return Err(refused(path, "its SHA-256 is not the one that was signed"));
        }
    }
    let mut others = files
        .keys()
        .filter(|path| *path != MANIFEST && !named.contains_key(path.as_str()));
    match others.next() {
        Some(path) => Err(refused(path, "the manifest does not name it")),
        None => Ok(()),
    }
}

/// The entries, under the checkpoint, and the key that signed that.
fn log(
    files: &Files,
    manifest: &Manifest,
    keys: &[PublicKey],
) -> Result<(Vec<Stored>, PublicKey), Refused> {
    let wrong = |why: String| refused(CHECKPOINT, why);
    let checkpoint = SignedCheckpoint::parse(text(files, CHECKPOINT)?)
        .map_err(|error| wrong(error.to_string()))?;
    if checkpoint.checkpoint.origin != manifest.origin {
        return Err(wrong(format!(
            "it is of the log {}",
            checkpoint.checkpoint.origin
        )));
    }
    let signer = checkpoint
        .verify(keys)
        .map_err(|error| wrong(error.to_string()))?;
    if checkpoint.checkpoint.head() != manifest.head {
        return Err(wrong("it names another tree than the manifest".to_owned()));
    }
    if manifest.head.size > ENTRIES_MAX {
        return Err(wrong(format!(
            "a log of more than {ENTRIES_MAX} entries is not read"
        )));
    }
    let mut entries: Vec<Stored> = Vec::new();
    let mut index = 0;
    while (entries.len() as u64) < manifest.head.size {
        let left = manifest.head.size - entries.len() as u64;
        let width = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(tiles::TILE_WIDTH);
        let path = format!("{LOG}{}", tiles::entry_bundle_path(index, width));
        let bytes = files
            .get(&path)
            .ok_or_else(|| refused(&path, "it is missing"))?;
        let bundle = tiles::read_entry_bundle(bytes);
        let bundle = bundle.filter(|bundle| bundle.len() == width);
        entries
            .extend(bundle.ok_or_else(|| refused(&path, "it is no bundle of that many entries"))?);
        index += 1;
    }
    let leaves: Vec<Hash> = entries
        .iter()
        .map(|entry| leaf_hash(entry.as_bytes()))
        .collect();
    if root_of(&leaves) != manifest.head.root {
        return Err(wrong("its root is not that of the entries".to_owned()));
    }
    Ok((entries, signer))
}

/// Who signed, and whoever else is named, is admitted by the log itself.
fn known_keys(
    files: &Files,
    manifest: &Manifest,
    entries: &[Entry],
    signers: [PublicKey; 2],
) -> Result<(), Refused> {
    let named = entries.iter().filter_map(|entry| match &entry.event {
        Some(EventBody::Opened(body)) => Some(&body.key),
        Some(EventBody::KeyAdmitted(body)) => Some(&body.key),
        _ => None,
    });
    let named: Vec<PublicKey> = named.filter_map(|key| PublicKey::parse(key).ok()).collect();
    for (file, key) in [MANIFEST, CHECKPOINT].into_iter().zip(signers) {
        if !named.contains(&key) {
            return Err(refused(
                file,
                "it is signed by a key that the log does not admit",
            ));
        }
    }
    for line in text(files, KEYS)?.lines() {
        let read = PublicKey::parse_verifier(line).ok();
        if read.is_none_or(|(name, key)| name != manifest.origin || !named.contains(&key)) {
            return Err(refused(
                KEYS,
                format!("{line:?} is no key that the log admits"),
            ));
        }
    }
    Ok(())
}

/// Each proof once more, by the other way: from leaf to root.
fn proofs(files: &Files, manifest: &Manifest, leaves: &[Hash]) -> Result<usize, Refused> {
    let mut count = 0;
    for line in text(files, PROOFS)?.lines() {
        let wrong = || refused(PROOFS, format!("this proves nothing: {line}"));
        let row: Value = serde_json::from_str(line).map_err(|_| wrong())?;
        let position = row["position"].as_u64().ok_or_else(wrong)?;
        let hash = |value: &Value| value.as_str().and_then(|text| text.parse::<Hash>().ok());
        let leaf = hash(&row["leaf"]).ok_or_else(wrong)?;
        let proof: Option<Vec<Hash>> = row["proof"]
            .as_array()
            .ok_or_else(wrong)?
            .iter()
            .map(hash)
            .collect();
        let known = usize::try_from(position)
            .ok()
            .and_then(|place| leaves.get(place));
        let holds = known == Some(&leaf)
            && verify_inclusion(
                &leaf,
                position,
                manifest.head.size,
                &manifest.head.root,
                &proof.ok_or_else(wrong)?,
            );
        if !holds {
            return Err(wrong());
        }
        count += 1;
    }
    Ok(count)
}

/// Tiles are those of the entries, and nothing lies in the pack that belongs to nothing.
fn extra(files: &Files, entries: &[Stored], leaves: &[Hash]) -> Result<(), Refused> {
    let expected = log_files(entries, leaves);
    for (path, bytes) in &expected {
        if files.get(path) != Some(bytes) {
            return Err(refused(path, "it is not the tile of these entries"));
        }
    }
    let others = [CHECKPOINT, KEYS, CONTROLS, ITEMS, PROOFS, SUMMARY, MANIFEST];
    let stray = files.keys().find(|path| {
        !path.starts_with(ATTACHED)
            && !stamps::is_one(path)
            && !expected.contains_key(*path)
            && !others.contains(&path.as_str())
    });
    match stray {
        Some(path) => Err(refused(path, "it has no place in a pack")),
        None => Ok(()),
    }
}
