//! Which build of Mainstay's own program a host runs, and what became of one that it was to take.
//!
//! Programs are kept by digest below `DATA/programs`, so that a package that is replaced under a running
//! platform changes nothing until somebody orders an upgrade. A host's record names the one it runs. While
//! one is on trial the record also names the one before: whoever finds that the new one does not stand (its
//! node, or the machine process if even the node does not start) goes back to that by one atomic write.

use std::io;
use std::path::{Path, PathBuf};

use mainstay_derive::Layout;
use mainstay_record::node::{HostProgram, RefusedProgram, Trial, VERSION};
use mainstay_rt::files;

use crate::context::digest_of;

const RECORD_LIMIT: u64 = 64 << 10;
/// Larger than any build of this program.
const PROGRAM_BYTES_MAX: u64 = 1 << 30;
pub const NAME: &str = "mainstay";

/// Why a program cannot be kept or used.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("{} does not hold what its name says: its SHA-256 is {found}", path.display())]
    Damaged { path: PathBuf, found: String },
}

/// Where a program with this digest is kept.
pub fn path_of(layout: &Layout, digest: &str) -> PathBuf {
    folder(layout).join(digest).join(NAME)
}

fn folder(layout: &Layout) -> PathBuf {
    layout.data().join("programs")
}

/// Keeps a copy of a program and says its digest. A copy that is there already is not touched.
///
/// # Errors
/// When it cannot be read or the copy cannot be made durable.
pub fn keep(layout: &Layout, program: &Path) -> Result<String, ProgramError> {
    let bytes = files::read_limited(program, PROGRAM_BYTES_MAX)
        .map_err(|error| ProgramError::Read(program.to_path_buf(), error))?;
    let digest = digest_of(&bytes);
    let path = path_of(layout, &digest);
    if check(layout, &digest).is_ok() {
        return Ok(digest);
    }
    let write = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        files::write_atomic_mode(&path, &bytes, 0o755)
    };
    write().map_err(|error| ProgramError::Write(path.clone(), error))?;
    Ok(digest)
}

/// Whether the kept copy is there and is what its name says.
///
/// # Errors
/// When it is not.
pub fn check(layout: &Layout, digest: &str) -> Result<PathBuf, ProgramError> {
    let path = path_of(layout, digest);
    let bytes = files::read_limited(&path, PROGRAM_BYTES_MAX)
        .map_err(|error| ProgramError::Read(path.clone(), error))?;
    let found = digest_of(&bytes);
    if found == digest {
        Ok(path)
    } else {
        Err(ProgramError::Damaged { path, found })
    }
}

/// Removes copies that no host runs, could go back to, or is named here.
///
/// # Errors
/// When a record cannot be read; nothing is removed then.
pub fn prune(layout: &Layout, keep: &str) -> Result<(), ProgramError> {
    let mut needed = vec![keep.to_owned()];
    for (host, _) in crate::place::node_folders(layout).unwrap_or_default() {
        let record = read(layout, &host)?;
        needed.extend(record.digest);
        needed.extend(record.before);
    }
    for entry in std::fs::read_dir(folder(layout))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !needed.contains(&name) {
            // Litter at worst: the next upgrade tries again.
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
    Ok(())
}

fn record_path(layout: &Layout, host: &str) -> PathBuf {
    layout.node(host).join("program.json")
}

/// What a host runs; the machine's own program if nothing else was ever taken.
///
/// # Errors
/// When there is a record and it cannot be read: another program must not be started by mistake.
pub fn read(layout: &Layout, host: &str) -> Result<HostProgram, ProgramError> {
    let path = record_path(layout, host);
    match files::read_limited(&path, RECORD_LIMIT) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| ProgramError::Read(path, io::Error::from(error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HostProgram {
            version: VERSION,
            ..HostProgram::default()
        }),
        Err(error) => Err(ProgramError::Read(path, error)),
    }
}

fn write(layout: &Layout, host: &str, record: &HostProgram) -> Result<(), ProgramError> {
    let path = record_path(layout, host);
    serde_json::to_vec_pretty(record)
        .map_err(io::Error::from)
        .and_then(|bytes| files::write_atomic(&path, &bytes))
        .map_err(|error| ProgramError::Write(path, error))
}

/// The program that a host's own processes are started from.
pub fn of_host(layout: &Layout, record: &HostProgram, machines_own: &Path) -> PathBuf {
    match &record.digest {
        Some(digest) => path_of(layout, digest),
        None => machines_own.to_path_buf(),
    }
}

/// What a node runs, and its digest if that is a kept copy: what it was told at its start, if whoever started it said so. The
/// record may have changed since, and says what is to be started next.
pub fn of_node(
    layout: &Layout,
    told: Option<PathBuf>,
    record: HostProgram,
    machines_own: &Path,
) -> (PathBuf, Option<String>) {
    let Some(path) = told else {
        return (of_host(layout, &record, machines_own), record.digest);
    };
    let name = path.parent().and_then(Path::file_name);
    let digest = name.map(|name| name.to_string_lossy().into_owned());
    let digest = digest.filter(|digest| path_of(layout, digest) == path);
    (path, digest)
}

/// From the next start on, on trial.
pub fn begin_trial(
    layout: &Layout,
    host: &str,
    known: &HostProgram,
    digest: &str,
    trial: Trial,
) -> Result<(), ProgramError> {
    let record = HostProgram {
        version: VERSION,
        digest: Some(digest.to_owned()),
        before: known.digest.clone(),
        trial: Some(trial),
        refused: None,
    };
    write(layout, host, &record)
}

/// It stands.
pub fn settle(layout: &Layout, host: &str, known: &HostProgram) -> Result<(), ProgramError> {
    let record = HostProgram {
        trial: None,
        ..known.clone()
    };
    write(layout, host, &record)
}

/// Back to the one before, and why.
pub fn go_back(
    layout: &Layout,
    host: &str,
    known: &HostProgram,
    why: &str,
) -> Result<(), ProgramError> {
    let Some(trial) = &known.trial else {
        return Ok(());
    };
    let record = HostProgram {
        version: VERSION,
        digest: known.before.clone(),
        before: None,
        trial: None,
        refused: Some(RefusedProgram {
            effect: trial.effect,
            digest: known.digest.clone().unwrap_or_default(),
            why: why.to_owned(),
        }),
    };
    write(layout, host, &record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(folder: &Path) -> Layout {
        let layout = Layout::new(folder, &folder.join("run"));
        std::fs::create_dir_all(layout.node("a")).expect("folder");
        layout
    }

    fn trial(effect: u64) -> Trial {
        Trial {
            effect,
            ailing_archives: Some(vec!["ledger".to_owned()]),
        }
    }

    #[test]
    fn a_trial_ends_where_it_began_or_where_it_led() {
        let folder = tempfile::tempdir().expect("folder");
        let layout = layout(folder.path());
        let program = folder.path().join("new");
        std::fs::write(&program, "#!/bin/sh\n").expect("written");
        let digest = keep(&layout, &program).expect("kept");
        let known = read(&layout, "a").expect("read");
        let own = Path::new("/usr/bin/mainstay");
        assert_eq!(of_host(&layout, &known, own), own);
        begin_trial(&layout, "a", &known, &digest, trial(7)).expect("begun");
        let on_trial = read(&layout, "a").expect("read");
        assert_eq!(on_trial.trial, Some(trial(7)));
        assert_eq!(
            of_host(&layout, &on_trial, own),
            check(&layout, &digest).expect("whole")
        );
        go_back(&layout, "a", &on_trial, "it fell").expect("back");
        let back = read(&layout, "a").expect("read");
        assert_eq!(of_host(&layout, &back, own), own);
        assert_eq!(back.refused.expect("refused").effect, 7);
        settle(&layout, "a", &on_trial).expect("settled");
        assert_eq!(read(&layout, "a").expect("read").trial, None);
        prune(&layout, "").expect("pruned");
        check(&layout, &digest).expect("a program that a host runs is kept");
    }

    /// The record of its host changed in the instant in which it was started: it says what it runs, not what comes next.
    #[test]
    fn a_node_says_what_it_was_started_from() {
        let folder = tempfile::tempdir().expect("folder");
        let layout = layout(folder.path());
        let own = Path::new("/usr/bin/mainstay");
        let (before, next) = ("0a".repeat(32), "0b".repeat(32));
        let record = || HostProgram {
            digest: Some(next.clone()),
            before: Some(before.clone()),
            ..HostProgram::default()
        };
        let runs = |told| of_node(&layout, told, record(), own);
        let kept = path_of(&layout, &before);
        assert_eq!(runs(Some(kept.clone())), (kept, Some(before.clone())));
        let machines = (own.to_path_buf(), None);
        assert_eq!(runs(Some(own.to_path_buf())), machines);
        // Whoever started it is of a version that does not say so.
        let next_one = path_of(&layout, &next);
        assert_eq!(runs(None), (next_one, Some(next.clone())));
    }

    #[test]
    fn a_damaged_copy_or_record_is_not_used() {
        let folder = tempfile::tempdir().expect("folder");
        let layout = layout(folder.path());
        let program = folder.path().join("new");
        std::fs::write(&program, "#!/bin/sh\n").expect("written");
        let digest = keep(&layout, &program).expect("kept");
        std::fs::write(path_of(&layout, &digest), "#!/bin/bash\n").expect("damaged");
        assert!(matches!(
            check(&layout, &digest),
            Err(ProgramError::Damaged { .. })
        ));
        assert_eq!(keep(&layout, &program).expect("mended"), digest);
        check(&layout, &digest).expect("whole again");
        std::fs::write(record_path(&layout, "a"), "{").expect("damaged");
        assert!(matches!(read(&layout, "a"), Err(ProgramError::Read(..))));
    }
}
