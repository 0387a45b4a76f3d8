//! Verifying: everything of a pack is made again from the log that it carries, and compared.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_journal::note::Note;
use mainstay_journal::tree::{root_of, verify_inclusion};
use mainstay_journal::{
    Entry as Stored, Hash, PublicKey, SignedCheckpoint, WitnessKey, leaf_hash, tiles,
};
use mainstay_record::event::EventBody;
use serde_json::Value;
use thiserror::Error;

use super::items::{Item, Status};
use super::manifest::{MANIFEST, Manifest, RULES, Unread};
use super::older::{self, Untraced};
use super::pack::{
    ATTACHED, CHECKPOINT, CONTROLS, Derived, ENTRIES_MAX, ITEMS, KEYS, LOG, PROOFS, PackError,
    SUMMARY, Source, attached, derive, items_at, log_files, read,
};
use super::stamps;
use super::tar::Files;
use crate::entry::Entry;

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

/// Why nothing is known of a pack.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unverified {
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Signed as it should be, and made by a version that knows more than this one. It may well be sound.
    #[error("{0}")]
    Newer(String),
}

/// A pack that is what was signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    pub manifest: Manifest,
    pub entries: u64,
    /// Entries with a proof of their own.
    pub proven: usize,
    pub files: usize,
    /// By the rules of this version, as they were when it was made, and as they are at the moment of verifying.
    pub items: Vec<Item>,
    pub items_now: Vec<Item>,
    /// Witnesses whose keys the verifier knows only from the pack itself.
    pub unvouched: Vec<String>,
    /// What the pack says by earlier rules and these do not: it is as it was signed, and nobody has made it again.
    pub untraced: Vec<Untraced>,
}

impl Verified {
    /// Whether everything that the pack says of its log follows from it.
    pub fn is_whole(&self) -> bool {
        self.untraced.is_empty()
    }

    pub fn count(items: &[Item], status: Status) -> usize {
        items.iter().filter(|item| item.status() == status).count()
    }
}

/// `keys` are what the verifier knows of the log beforehand, `witnesses` what it knows of those: names and keys. If it knows any, it
/// believes no other.
///
/// # Errors
/// The first thing that is not as it was signed; or that a newer version made the pack.
pub fn verify(
    files: &Files,
    keys: &[(String, PublicKey)],
    witnesses: &[(String, WitnessKey)],
    now_ms: u64,
) -> Result<Verified, Unverified> {
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
    let made = derive(&source, manifest.made_ms);
    refuse_forged(files, &manifest, &made)?;
    let proven = proofs(files, &manifest, &entries)?;
    extra(files, &stored, &leaves)?;
    let untraced = match &made {
        Ok(made) if differing(files, made).is_none() => Vec::new(),
        made => older::compare(files, &manifest, &proven, made.as_ref())?,
    };
    // Of what could not be made again nothing is known now, either.
    let items_now = match &made {
        Ok(_) => items_at(&source, now_ms.max(manifest.made_ms)).map_err(underivable)?,
        Err(_) => Vec::new(),
    };
    Ok(Verified {
        entries: manifest.head.size,
        proven: proven.len(),
        files: files.len(),
        items: made.map(|made| made.items).unwrap_or_default(),
        items_now,
        unvouched,
        untraced,
        manifest,
    })
}

fn underivable(error: PackError) -> Refused {
    match error {
        PackError::Controls(error) => refused(CONTROLS, error.to_string()),
        error => refused(LOG, error.to_string()),
    }
}

/// The first file of the pack that is not the one that follows.
fn differing<'m>(files: &Files, made: &'m Derived) -> Option<&'m str> {
    let mut made = made.files.iter();
    let other = made.find(|(name, bytes)| files.get(*name) != Some(bytes));
    other.map(|(name, _)| name.as_str())
}

/// A difference is a forgery only where both go by the same rules.
fn refuse_forged(
    files: &Files,
    manifest: &Manifest,
    made: &Result<Derived, PackError>,
) -> Result<(), Refused> {
    let rules = manifest.rules.as_ref();
    if rules.is_none_or(|rules| rules.number != RULES) {
        return Ok(());
    }
    let made = made.as_ref().map_err(|error| underivable(error.clone()))?;
    match differing(files, made) {
        Some(name) => Err(refused(
            name,
            "it is not what follows from the entries of the log",
        )),
        None => Ok(()),
    }
}

pub(super) fn text<'f>(files: &'f Files, name: &str) -> Result<&'f str, Refused> {
    let bytes = files
        .get(name)
        .ok_or_else(|| refused(name, "it is missing"))?;
    std::str::from_utf8(bytes).map_err(|_| refused(name, "it is not UTF-8"))
}

fn own_keys(keys: &[(String, PublicKey)], origin: &str) -> Vec<PublicKey> {
    let own = keys.iter().filter(|(name, _)| name == origin);
    own.map(|(_, key)| *key).collect()
}

/// With the key that signed it. A form that is not known here is told of only if the signature is good: a changed byte is no
/// newer version.
fn signed_manifest(
    files: &Files,
    keys: &[(String, PublicKey)],
) -> Result<(Manifest, PublicKey), Unverified> {
    let note = text(files, MANIFEST)?;
    let wrong = |why: String| refused(MANIFEST, why);
    let note = Note::parse(note).map_err(|error| wrong(error.to_string()))?;
    let origin = Manifest::origin_of(&note.text)
        .ok_or_else(|| wrong("its first line is not that of an evidence pack".to_owned()))?;
    let own = own_keys(keys, origin);
    if own.is_empty() {
        return Err(wrong(format!(
            "it is of the log {origin}, and no key of that name was given"
        ))
        .into());
    }
    if note.signatures.len() != 1 {
        return Err(wrong(format!(
            "it has {} signatures instead of one",
            note.signatures.len()
        ))
        .into());
    }
    let signer = note
        .verify(origin, &own)
        .map_err(|error| wrong(error.to_string()))?;
    match Manifest::parse(&note.text) {
        Ok(manifest) => Ok((manifest, signer)),
        Err(Unread::Wrong(why)) => Err(wrong(why.to_owned()).into()),
        Err(Unread::Newer(what)) => Err(Unverified::Newer(what)),
    }
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

/// Whoever else is named was admitted by the log itself. Whoever signed still is, at the end of the log that the pack carries: a
/// key that its node has replaced may be in anybody's hands.
fn known_keys(
    files: &Files,
    manifest: &Manifest,
    entries: &[Entry],
    signers: [PublicKey; 2],
) -> Result<(), Refused> {
    let admitted = entries.iter().filter_map(|entry| match &entry.event {
        Some(EventBody::Opened(body)) => Some((body.node.as_str(), &body.key)),
        Some(EventBody::KeyAdmitted(body)) => Some((body.node.as_str(), &body.key)),
        _ => None,
    });
    let admitted: Vec<(&str, PublicKey)> = admitted
        .filter_map(|(node, key)| Some((node, PublicKey::parse(key).ok()?)))
        .collect();
    let named: Vec<PublicKey> = admitted.iter().map(|(_, key)| *key).collect();
    let in_force: BTreeMap<&str, PublicKey> = admitted.into_iter().collect();
    for (file, key) in [MANIFEST, CHECKPOINT].into_iter().zip(signers) {
        if !named.contains(&key) {
            return Err(refused(
                file,
                "it is signed by a key that the log does not admit",
            ));
        }
        if !in_force.values().any(|known| *known == key) {
            return Err(refused(
                file,
                "it is signed by a key that its node has replaced, as the log says",
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

/// Each proof once more, by the other way: from leaf to root. The positions that have one.
fn proofs(files: &Files, manifest: &Manifest, entries: &[Entry]) -> Result<BTreeSet<u64>, Refused> {
    let mut proven = BTreeSet::new();
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
            .and_then(|place| entries.get(place));
        let is_it = known.is_some_and(|entry| entry.hash == leaf && row["kind"] == entry.kind);
        let holds = is_it
            && verify_inclusion(
                &leaf,
                position,
                manifest.head.size,
                &manifest.head.root,
                &proof.ok_or_else(wrong)?,
            );
        if !holds || !proven.insert(position) {
            return Err(wrong());
        }
    }
    Ok(proven)
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
