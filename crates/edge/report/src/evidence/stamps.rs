//! Times that somebody outside vouches for: checkpoints of the log that witnesses saw and signed.
//!
//! A witness (c2sp.org/tlog-cosignature) signs a checkpoint together with the moment. What the log had written by then, it
//! had written by then, whatever the platform's clocks say. Whoever packs puts in the cosigned checkpoints and the keys of
//! the witnesses; whoever verifies should know these keys from elsewhere.

use mainstay_journal::note::Note;
use mainstay_journal::tree::root_of;
use mainstay_journal::{Hash, SignedCheckpoint, WitnessKey};

use super::tar::Files;
use super::verify::{Refused, refused};

/// Below it `0`, `1`, …: checkpoints with the signatures of witnesses.
const STAMPS: &str = "log/cosigned/";
const WITNESSES: &str = "log/witnesses";
const STAMPS_MAX: usize = 64;

/// One witness saw so many entries then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub witness: String,
    pub at_ms: u64,
    pub size: u64,
}

/// As files of a pack, unread.
pub(crate) fn files(cosigned: &[String], witnesses: &[String]) -> Files {
    let mut files: Files = (0..)
        .zip(cosigned)
        .map(|(at, note): (usize, _)| (format!("{STAMPS}{at}"), note.clone().into_bytes()))
        .collect();
    if !witnesses.is_empty() {
        let lines: String = witnesses.iter().map(|key| format!("{key}\n")).collect();
        files.insert(WITNESSES.to_owned(), lines.into_bytes());
    }
    files
}

pub(crate) fn is_one(path: &str) -> bool {
    path == WITNESSES || path.starts_with(STAMPS)
}

/// The keys of witnesses that the pack itself names.
pub(crate) fn witnesses(files: &Files) -> Result<Vec<(String, WitnessKey)>, Refused> {
    let wrong = |why: String| refused(WITNESSES, why);
    let text = match files.get(WITNESSES) {
        Some(bytes) => {
            std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?
        }
        None => "",
    };
    let key = |line: &str| {
        WitnessKey::parse_verifier(line).map_err(|error| wrong(format!("{line:?}: {error}")))
    };
    text.lines().map(key).collect()
}

/// The witnesses whose keys nobody but the pack vouches for.
///
/// # Errors
/// When the verifier knows witnesses, and the pack names another.
pub(crate) fn vouched(
    files: &Files,
    known: &[(String, WitnessKey)],
) -> Result<Vec<String>, Refused> {
    let unknown: Vec<String> = witnesses(files)?
        .into_iter()
        .filter(|witness| !known.contains(witness))
        .map(|(name, _)| name)
        .collect();
    match unknown.first() {
        Some(name) if !known.is_empty() => Err(refused(
            WITNESSES,
            format!("the key of {name} is none that was given"),
        )),
        _ => Ok(unknown),
    }
}

/// What witnesses say of this log.
///
/// # Errors
/// When a checkpoint is of another log or of another history of it, or no witness that is named signed it.
pub(crate) fn read(files: &Files, origin: &str, leaves: &[Hash]) -> Result<Vec<Stamp>, Refused> {
    let witnesses = witnesses(files)?;
    let cosigned = files.iter().filter(|(path, _)| path.starts_with(STAMPS));
    let mut stamps = Vec::new();
    for (count, (path, bytes)) in cosigned.enumerate() {
        let wrong = |why: String| refused(path, why);
        if count >= STAMPS_MAX {
            return Err(wrong(format!("more than {STAMPS_MAX} are not read")));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
        let checkpoint = SignedCheckpoint::parse(text)
            .map_err(|error| wrong(error.to_string()))?
            .checkpoint;
        if checkpoint.origin != origin {
            return Err(wrong(format!("it is of the log {}", checkpoint.origin)));
        }
        let until = usize::try_from(checkpoint.size).ok();
        let seen = until.and_then(|until| leaves.get(..until)).ok_or_else(|| {
            wrong(format!(
                "it is of {} entries, and here are {}",
                checkpoint.size,
                leaves.len()
            ))
        })?;
        if root_of(seen) != checkpoint.root {
            return Err(wrong(
                "the log that was seen had another history".to_owned(),
            ));
        }
        let note = Note::parse(text).map_err(|error| wrong(error.to_string()))?;
        let before = stamps.len();
        for (name, key) in &witnesses {
            let saw = key
                .saw(name, &note)
                .map_err(|error| wrong(error.to_string()))?;
            stamps.extend(saw.map(|seconds| Stamp {
                witness: name.clone(),
                at_ms: seconds.saturating_mul(1_000),
                size: checkpoint.size,
            }));
        }
        if stamps.len() == before {
            return Err(wrong("no witness whose key is here signed it".to_owned()));
        }
    }
    stamps.sort_by(|one, other| (one.at_ms, &one.witness).cmp(&(other.at_ms, &other.witness)));
    Ok(stamps)
}
