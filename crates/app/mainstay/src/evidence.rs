//! `mainstay evidence …`: packs what the log shows of a drill, and verifies such a pack without asking anybody.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use mainstay_derive::Layout;
use mainstay_journal::note::NoteError;
use mainstay_journal::{Log, NodeKey, PublicKey, WitnessKey};
use mainstay_node::place;
use mainstay_report::day_and_time;
use mainstay_report::evidence::{
    Item, MANIFEST, Material, RULES, Status, Subject, Unverified, Verified, controls, pack, tar,
    verify,
};
use mainstay_rt::{clock, files};
use mainstay_storage::NodeFolder;
use serde_json::json as object;

use crate::arguments::evidence::{Evidence, Pack, Verify};
use crate::client::find;
use crate::exit::{Failure, Outcome};
use crate::journal;
use crate::print::{json, line};

/// A file of a pack, and a whole archive.
const FILE_BYTES_MAX: u64 = 1 << 31;
const FILES_MAX: usize = 100_000;
const TABLE_BYTES_MAX: u64 = 1 << 20;

pub fn run(command: &Evidence) -> Outcome {
    match command {
        Evidence::Pack(arguments) => make(arguments),
        Evidence::Verify(arguments) => check(arguments),
    }
}

fn subject(arguments: &Pack) -> Result<Subject, Failure> {
    let named = [
        ("drill", &arguments.what.drill),
        ("experiment", &arguments.what.experiment),
        ("incident", &arguments.what.incident),
    ];
    let named = named
        .iter()
        .find_map(|(kind, id)| Some((*kind, id.as_ref()?)));
    let Some((kind, id)) = named else {
        return Err(Failure::Usage(
            "name a drill, an experiment or an incident".to_owned(),
        ));
    };
    let subject = Subject::parse(id).filter(|subject| subject.kind() == kind);
    subject.ok_or_else(|| {
        Failure::Usage(format!(
            "{id:?} is no {kind}: drills are called d1, d2, …, experiments x1, …, incidents i1, …"
        ))
    })
}

fn make(arguments: &Pack) -> Outcome {
    let subject = subject(arguments)?;
    let is_archive = arguments
        .out
        .extension()
        .is_some_and(|ending| ending == "tar");
    refuse_used(&arguments.out)?;
    let controls = table(arguments.controls.as_deref())?;
    let (record, layout) = find(&arguments.platform)?;
    let mut entries = Vec::new();
    let log = journal::followed(&record, &layout, |entry| {
        entries.push(entry.clone());
        Ok(())
    })?;
    let (Some(origin), Some(checkpoint)) = (log.origin(), log.checkpoint()) else {
        return Err(Failure::Usage(
            "the journal is empty: there is nothing to show".to_owned(),
        ));
    };
    let signer = signer(&layout, &log)?;
    let mut keys = vec![signer.public()];
    keys.extend(
        log.keys_ever()
            .into_iter()
            .filter(|key| *key != signer.public()),
    );
    let material = Material {
        subject,
        made_ms: clock::wall_ms(),
        entries,
        checkpoint: checkpoint.clone(),
        keys: keys.iter().map(|key| key.verifier_text(origin)).collect(),
        controls,
        cosigned: arguments
            .cosigned
            .iter()
            .map(|path| read_text(path))
            .collect::<Result<_, _>>()?,
        witnesses: witnesses(&arguments.witnesses)?
            .iter()
            .map(|(name, key)| key.verifier_text(name))
            .collect(),
        attached: attached(&arguments.attach)?,
    };
    let (packed, verified) = seal(&material, origin, &signer, &keys)?;
    match is_archive {
        true => {
            let archive = one_file(&packed, FILE_BYTES_MAX)?;
            files::write_atomic(&arguments.out, &archive)
                .with_context(|| format!("write {}", arguments.out.display()))?;
        }
        false => write_folder(&arguments.out, &packed)?,
    }
    told(&arguments.out, &packed, &verified)?;
    line(format_args!(
        "  verify it anywhere: mainstay evidence verify {} --key '{}'",
        arguments.out.display(),
        signer.public().verifier_text(origin)
    ))
}

/// As one archive, if that can be read again: whoever verifies reads no more than this at once.
fn one_file(packed: &tar::Files, most: u64) -> Result<Vec<u8>, Failure> {
    let bytes = tar::length_of(packed);
    if bytes > most {
        return Err(Failure::Usage(format!(
            "as an archive the pack would have {bytes} bytes, and one of more than {most} is not verified\n  next: pack into a \
             folder (`--out` without `.tar`), which has no such bound"
        )));
    }
    let archive = tar::write(packed).context("make the archive")?;
    Ok(archive)
}

fn table(path: Option<&Path>) -> Result<String, Failure> {
    let Some(path) = path else {
        return Ok(controls::SHIPPED.to_owned());
    };
    let text = read_text(path)?;
    controls::read(&text)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    Ok(text)
}

/// Signed, and verified: what cannot be verified here can be verified nowhere.
fn seal(
    material: &Material,
    origin: &str,
    signer: &NodeKey,
    keys: &[PublicKey],
) -> Result<(tar::Files, Verified), Failure> {
    let (mut packed, manifest) =
        pack(material).map_err(|error| Failure::Usage(error.to_string()))?;
    let note = signer.sign(origin, &manifest.text());
    packed.insert(MANIFEST.to_owned(), note.into_bytes());
    let given: Vec<(String, PublicKey)> =
        keys.iter().map(|key| (origin.to_owned(), *key)).collect();
    let verified = verify(&packed, &given, &[], material.made_ms)
        .map_err(|refused| anyhow::anyhow!("the pack that was made does not verify: {refused}"))?;
    Ok((packed, verified))
}

fn told(out: &Path, packed: &tar::Files, verified: &Verified) -> Outcome {
    let subject = &verified.manifest.subject;
    line(format_args!(
        "{} {}: {} files in {}, {} entries of the log, {} of them with a proof",
        subject.kind(),
        subject.id(),
        packed.len(),
        out.display(),
        verified.entries,
        verified.proven
    ))?;
    show(&verified.items)
}

/// The key of a node whose folder is here, and that the log knows: the leader's if it is, which has signed the checkpoint.
fn signer(layout: &Layout, log: &Log) -> Result<NodeKey, Failure> {
    let leader = &log.leadership().node;
    let mut nodes = place::node_folders(layout).context("list the nodes")?;
    nodes.sort_by_key(|(node, _)| node != leader);
    for (node, folder) in nodes {
        // Asking for a key that is not there would draw one.
        if !folder.join("key").is_file() {
            continue;
        }
        let key = NodeFolder::at(&folder).key().context("read a node's key")?;
        if log.key_of(&node) == Some(key.public()) {
            return Ok(key);
        }
    }
    Err(Failure::Usage(
        "no node's key is on this machine: a pack is signed by one that the journal knows\n  next: pack it on the host of a node"
            .to_owned(),
    ))
}

fn attached(paths: &[PathBuf]) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut attached = BTreeMap::new();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let bytes = files::read_limited(path, FILE_BYTES_MAX)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        if attached.insert(name.clone(), bytes).is_some() {
            return Err(Failure::Usage(format!(
                "two attached files are called {name}"
            )));
        }
    }
    Ok(attached)
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let unreadable = |why: String| Failure::Usage(format!("{}: {why}", path.display()));
    let bytes =
        files::read_limited(path, TABLE_BYTES_MAX).map_err(|e| unreadable(e.to_string()))?;
    String::from_utf8(bytes).map_err(|error| unreadable(format!("not UTF-8: {error}")))
}

fn refuse_used(target: &Path) -> Outcome {
    let shown = target.display();
    if !target.exists() {
        return Ok(());
    }
    match fs::read_dir(target).map(|mut inside| inside.next().is_some()) {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::Usage(format!(
            "{shown} exists and is not empty\n  next: pack into a new folder"
        ))),
        Err(_) => Err(Failure::Usage(format!(
            "{shown} exists already\n  next: pack under a new name; a pack is never written over another one"
        ))),
    }
}

/// The manifest comes last: a folder that has one is complete.
fn write_folder(target: &Path, packed: &tar::Files) -> Outcome {
    let rest = packed.iter().filter(|(name, _)| *name != MANIFEST);
    let last = packed.get_key_value(MANIFEST);
    for (name, bytes) in rest.chain(last) {
        let path = target.join(name);
        let folder = path.parent().unwrap_or(target);
        fs::create_dir_all(folder)
            .and_then(|()| files::write_atomic(&path, bytes))
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn show(items: &[Item]) -> Outcome {
    for item in items {
        line(format_args!(
            "  {:>2}. {:<8} {}",
            item.number,
            item.status().as_str(),
            item.title
        ))?;
        for part in item
            .parts
            .iter()
            .filter(|part| part.status != Status::Shown)
        {
            line(format_args!(
                "        {} {}: {}",
                part.name,
                part.status.as_str(),
                part.told
            ))?;
        }
    }
    Ok(())
}

fn check(arguments: &Verify) -> Outcome {
    let keys = keys(&arguments.keys)?;
    let witnesses = witnesses(&arguments.witnesses)?;
    let packed = unpack(&arguments.path)?;
    let verified = verify(&packed, &keys, &witnesses, clock::wall_ms()).map_err(|why| match why {
        Unverified::Refused(why) => Failure::Finding(format!(
            "refused: {why}\n  next: ask whoever made the pack for another copy; nothing of this one is to be believed"
        )),
        Unverified::Newer(what) => Failure::Usage(format!(
            "{}: a newer version of Mainstay made this pack: {what}; whether it is sound cannot be said here\n  \
             next: verify it with that version, or a newer one",
            arguments.path.display()
        )),
    })?;
    match arguments.json {
        true => in_json(&verified)?,
        false => in_words(&verified)?,
    }
    match verified.is_whole() {
        true => Ok(()),
        false => Err(Failure::InPart(in_part(&verified))),
    }
}

/// By which rules the pack was made.
fn rules_of(verified: &Verified) -> String {
    match &verified.manifest.rules {
        Some(rules) => format!("rules {} (Mainstay {})", rules.number, rules.program),
        None => "rules before those that have numbers".to_owned(),
    }
}

/// What nobody has made again.
fn in_part(verified: &Verified) -> String {
    let untraced = verified.untraced.iter();
    let untraced: Vec<String> = untraced
        .map(|untraced| format!("  {}: {}", untraced.what, untraced.why))
        .collect();
    format!(
        "verified in part: its items were made by {}, and this version has rules {RULES}; this is as it was signed, and does not \
         follow by these:\n{}\n  next: verify it with the version of Mainstay that packed, or take what is named for the word of whoever did",
        rules_of(verified),
        untraced.join("\n")
    )
}

fn in_words(verified: &Verified) -> Outcome {
    let manifest = &verified.manifest;
    let (word, follows) = match verified.is_whole() {
        true => ("verified", "what is told of each item follows from them"),
        false => ("verified in part", "not all that is told follows from them"),
    };
    line(format_args!(
        "{word}: {} {} of {}, made {} by {}\n  {} files are as they were signed; {} entries under the checkpoint, {} of them with a proof; {follows}",
        manifest.subject.kind(),
        manifest.subject.id(),
        manifest.origin,
        day_and_time(manifest.made_ms),
        rules_of(verified),
        verified.files,
        verified.entries,
        verified.proven
    ))?;
    if !verified.is_whole() && !verified.items.is_empty() {
        line(format_args!(
            "  by rules {RULES}, which are not those of the pack:"
        ))?;
    }
    show(&verified.items)?;
    for (made, now) in verified.items.iter().zip(&verified.items_now) {
        if made.status() != now.status() {
            line(format_args!(
                "  by now item {} is {}",
                now.number,
                now.status().as_str()
            ))?;
        }
    }
    for witness in &verified.unvouched {
        line(format_args!(
            "  the key of {witness} is known from this pack alone: name it with --witness, as you got it elsewhere"
        ))?;
    }
    let count = |status| Verified::count(&verified.items_now, status);
    line(format_args!(
        "  {} shown, {} stale, {} missing",
        count(Status::Shown),
        count(Status::Stale),
        count(Status::Missing)
    ))
}

fn in_json(verified: &Verified) -> Outcome {
    let items = verified
        .items
        .iter()
        .zip(&verified.items_now)
        .map(|(made, now)| {
            object!({
                "item": made.number,
                "title": made.title,
                "status": made.status().as_str(),
                "status_now": now.status().as_str(),
            })
        });
    let untraced = verified.untraced.iter();
    let untraced = untraced.map(|untraced| object!({"what": untraced.what, "why": untraced.why}));
    let manifest = &verified.manifest;
    let rules = manifest.rules.as_ref();
    json(&object!({
        "version": 1,
        "whole": verified.is_whole(),
        "rules": rules.map(|rules| object!({"number": rules.number, "program": rules.program})),
        "rules_here": RULES,
        "untraced": untraced.collect::<Vec<_>>(),
        "subject": {"kind": manifest.subject.kind(), "id": manifest.subject.id()},
        "origin": manifest.origin,
        "made_ms": manifest.made_ms,
        "entries": verified.entries,
        "proven": verified.proven,
        "files": verified.files,
        "unvouched": verified.unvouched,
        "items": items.collect::<Vec<_>>(),
    }))
}

fn keys(given: &[String]) -> Result<Vec<(String, PublicKey)>, Failure> {
    let hint = "write NAME+ID+KEY, as `mainstay evidence pack` and `mainstay journal export` print it, or a file of such lines";
    keys_of(given, PublicKey::parse_verifier, hint)
}

fn witnesses(given: &[String]) -> Result<Vec<(String, WitnessKey)>, Failure> {
    let hint = "write NAME+ID+KEY, as the witness publishes it (a key for cosignatures with Ed25519), or a file of such lines";
    keys_of(given, WitnessKey::parse_verifier, hint)
}

/// Keys as they are written, or files of them.
fn keys_of<K>(
    given: &[String],
    read: fn(&str) -> Result<(String, K), NoteError>,
    hint: &str,
) -> Result<Vec<(String, K)>, Failure> {
    let mut keys = Vec::new();
    for given in given {
        let text = match given.contains('+') {
            true => given.clone(),
            false => read_text(Path::new(given))?,
        };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let key = read(line.trim()).map_err(|error| {
                Failure::Usage(format!(
                    "{line:?} is no verifier key: {error}\n  next: {hint}"
                ))
            })?;
            keys.push(key);
        }
    }
    Ok(keys)
}

fn unpack(path: &Path) -> Result<tar::Files, Failure> {
    let shown = path.display();
    let unusable = |why: String| Failure::Usage(format!("{shown}: {why}"));
    let known = fs::symlink_metadata(path).map_err(|error| unusable(error.to_string()))?;
    if known.is_dir() {
        let mut packed = tar::Files::new();
        collect(path, "", &mut packed)?;
        return Ok(packed);
    }
    let bytes =
        files::read_limited(path, FILE_BYTES_MAX).map_err(|error| unusable(error.to_string()))?;
    tar::read(&bytes).map_err(|error| {
        Failure::Finding(format!(
            "refused: {shown}: {error}\n  next: ask whoever made the pack for another copy; nothing of this one is to be believed"
        ))
    })
}

/// Plain files only: a link could lead anywhere, and to something else tomorrow.
fn collect(folder: &Path, below: &str, packed: &mut tar::Files) -> Outcome {
    let context = || format!("read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().with_context(context)?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{name}/"), packed)?;
            continue;
        }
        if !kind.is_file() || packed.len() >= FILES_MAX {
            return Err(Failure::Finding(format!(
                "refused: {name}: it is no plain file, or one too many"
            )));
        }
        let bytes = files::read_limited(&entry.path(), FILE_BYTES_MAX).with_context(context)?;
        packed.insert(name, bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written as an archive can be read again; what could not be is not written.
    #[test]
    fn an_archive_that_nobody_could_verify_is_not_made() {
        let packed = tar::Files::from([
            ("manifest".to_owned(), vec![1; 700]),
            ("log/checkpoint".to_owned(), vec![2; 512]),
        ]);
        let whole = tar::write(&packed).expect("an archive").len() as u64;
        let made = one_file(&packed, whole).expect("an archive");
        assert_eq!(made.len() as u64, whole);
        match one_file(&packed, whole - 1) {
            Err(Failure::Usage(why)) => assert!(why.contains("pack into a folder"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
