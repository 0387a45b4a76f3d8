//! How much of the machine one program may take.
//!
//! Nothing here is a share of what a step needs; each is far above that, and far below what would hurt the neighbours.

use std::fs;
use std::os::unix::fs::MetadataExt;

use mainstay_record::process::ConfineSpec;
use rustix::process::{Resource, Rlimit, getuid, setrlimit};

use super::ConfineError;

/// Beyond those that its user has already: the kernel counts by user.
pub const PROCESSES_MORE: u64 = 64;
pub const OPEN_FILES: u64 = 256;
pub const FILE_BYTES: u64 = 64 << 20;
/// Address space of one process.
pub const MEMORY_BYTES: u64 = 2 << 30;

/// Soft and hard alike, so that the program cannot raise them.
pub fn set(spec: &ConfineSpec) -> Result<(), ConfineError> {
    let user = spec.user.unwrap_or_else(|| getuid().as_raw());
    let processes = threads_of(user).saturating_add(PROCESSES_MORE);
    for (what, resource, most) in [
        ("processes", Resource::Nproc, processes),
        ("open files", Resource::Nofile, OPEN_FILES),
        ("file size", Resource::Fsize, FILE_BYTES),
        ("memory", Resource::As, MEMORY_BYTES),
        ("processor time", Resource::Cpu, spec.processor_seconds),
        ("traces of a crash", Resource::Core, 0),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).map_err(|error| ConfineError::Bound(what, error))?;
    }
    // When memory is short, this goes first. Where the file cannot be written nothing else is lost.
    fs::write("/proc/self/oom_score_adj", "1000").ok();
    Ok(())
}

/// All threads of a user's processes, as the limit counts them.
fn threads_of(user: u32) -> u64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let counts = processes.filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        let folder = entry.path().join("task");
        // One that ends meanwhile counts no more.
        let owner = folder.metadata().ok()?.uid();
        (owner == user).then(|| fs::read_dir(folder).into_iter().flatten().count() as u64)
    });
    counts.sum()
}
