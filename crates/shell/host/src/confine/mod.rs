//! A cell for a program that somebody wrote into a playbook.
//!
//! Think of a visitor who gets an empty room, a lamp and a clock. The room ([`ConfineSpec::place`]) is the visitor's own
//! until the visit is over; the corridors of the building (the system's programs and libraries) may be walked and not
//! written on; every other door is shut, first of all the one behind which the platform keeps its keys and its journal.
//! Whoever is led in gets smaller on the way and never larger again.
//!
//! A process binds itself and then becomes the program, in this order: a table of limits ([`bounds`]), no new privileges
//! ever, the paths and ports that the kernel lets it reach ([`reach`], Landlock), the calls that the kernel does not answer
//! ([`calls`], seccomp), another user where it was root. Each would hold where another one is not to be had: an old kernel
//! offers no Landlock, an ordinary user cannot become anybody else. What the kernel does not offer is told by [`offered`].
//!
//! How much a program writes altogether no limit of one process can say: [`fills`] is for whoever waits for it.

mod bounds;
mod calls;
mod reach;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use mainstay_record::process::ConfineSpec;

pub use reach::{Offered, offered};

/// As shells say of a program that is there and cannot be started.
const EXIT_NOT_STARTED: u8 = 126;
/// A program that has written more than this in its folder is ended.
pub const PLACE_BYTES_MAX: u64 = 256 << 20;
/// Files and folders in its folder, so that looking at them stays short.
pub const PLACE_ENTRIES_MAX: usize = 4_096;

/// Why a program is not let in.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    #[error("read what is to be confined")]
    Spec(#[source] serde_json::Error),
    #[error("find {}", .0.display())]
    Path(PathBuf, #[source] std::io::Error),
    /// Landlock takes nothing out of what it lets through.
    #[error(
        "it may not read {}: {} is there, which no program of a playbook may read",
        read.display(),
        kept.display()
    )]
    Kept { read: PathBuf, kept: PathBuf },
    #[error("limit its {0}")]
    Bound(&'static str, #[source] rustix::io::Errno),
    #[error("bar it from new privileges")]
    Privileges(#[source] rustix::io::Errno),
    #[error("bind what it may reach")]
    Reach(#[source] landlock::RulesetError),
    #[error("bind which calls it may make")]
    Calls(#[source] seccompiler::Error),
    #[error("bind which calls it may make")]
    Filter(#[source] seccompiler::BackendError),
    #[error("start {0}")]
    Start(String, #[source] std::io::Error),
}

/// Refuses a program that would be led past a door that stays shut: `kept` are the folders that no program may see into.
///
/// # Errors
/// When a path is not there, or leads to what is kept.
pub fn check(spec: &ConfineSpec, kept: &[&Path]) -> Result<(), ConfineError> {
    let found = |path: &Path| {
        path.canonicalize()
            .map_err(|error| ConfineError::Path(path.to_path_buf(), error))
    };
    let mut reads = vec![found(Path::new(&spec.program))?];
    for read in &spec.reads {
        reads.push(found(read)?);
    }
    // Of the system's own there may be none.
    reads.extend(
        reach::SYSTEM
            .iter()
            .filter_map(|path| found(Path::new(path)).ok()),
    );
    for kept in kept.iter().filter_map(|path| path.canonicalize().ok()) {
        let leads = |read: &&PathBuf| read.starts_with(&kept) || kept.starts_with(read);
        if let Some(read) = reads.iter().find(leads) {
            let read = read.clone();
            return Err(ConfineError::Kept { read, kept });
        }
    }
    Ok(())
}

/// `mainstay confine SPEC`: binds this process and becomes the program. Comes back only with a failure.
pub fn run(spec: &str) -> ExitCode {
    let failure = match serde_json::from_str(spec) {
        Ok(spec) => become_it(&spec),
        Err(error) => ConfineError::Spec(error),
    };
    let why = mainstay_rt::error::chain(&failure);
    // Whoever waits reads it; if nobody does, the code tells.
    writeln!(std::io::stderr(), "mainstay confine: {why}").ok();
    ExitCode::from(EXIT_NOT_STARTED)
}

fn become_it(spec: &ConfineSpec) -> ConfineError {
    match bind(spec) {
        Ok(()) => {
            let mut command = Command::new(&spec.program);
            command.args(&spec.arguments);
            if let Some(user) = spec.user {
                // As root this lets go of all other groups, too.
                command.uid(user).gid(user);
            }
            ConfineError::Start(spec.program.clone(), command.exec())
        }
        Err(error) => error,
    }
}

fn bind(spec: &ConfineSpec) -> Result<(), ConfineError> {
    bounds::set(spec)?;
    rustix::thread::set_no_new_privs(true).map_err(ConfineError::Privileges)?;
    reach::restrict(spec)?;
    calls::restrict(&spec.connects)
}

/// Whether a program has filled its folder with more than it may. What cannot be looked at any more counts as nothing: it
/// is being removed.
pub fn fills(place: &Path) -> bool {
    let (mut bytes, mut entries) = (0_u64, 0);
    let mut folders = vec![place.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            entries += 1;
            // Of a link, the link: what it names is not here.
            let Ok(about) = entry.metadata() else {
                continue;
            };
            if about.is_dir() {
                folders.push(entry.path());
            }
            bytes = bytes.saturating_add(about.len());
            if bytes > PLACE_BYTES_MAX || entries > PLACE_ENTRIES_MAX {
                return true;
            }
        }
    }
    false
}
