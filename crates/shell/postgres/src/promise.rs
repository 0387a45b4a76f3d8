//! The keeper's memory of what it promised: one small file that is never in an unknown state.
//!
//! Two slots, written in turn and in place, each with a counter and a checksum. A torn write spoils the
//! slot being written, never the other, so a crash leaves the state before or after the write. The file
//! has its full size from the start: a full disk cannot keep a keeper from promising. After a failed
//! fsync nobody knows what is on disk (the kernel may drop the pages and report the error once), so the
//! caller must die and read the file again in a new process.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const SLOT_BYTES: usize = 16 * 1024;
const MAGIC: &[u8; 8] = b"MSPROMIS";
/// Magic, counter, length, checksum.
const HEAD_BYTES: usize = 8 + 8 + 4 + 32;
pub const CONTENT_LIMIT: usize = SLOT_BYTES - HEAD_BYTES;

#[derive(Debug, thiserror::Error)]
pub enum PromiseError {
    #[error("open the promise file {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("read the promise file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("read the promise file {}: both slots are damaged", path.display())]
    Damaged { path: PathBuf },
    #[error("store {bytes} bytes in the promise file: at most {CONTENT_LIMIT} fit")]
    TooLarge { bytes: usize },
    #[error("write the promise file {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

#[derive(Debug)]
pub struct PromiseFile {
    path: PathBuf,
    file: File,
    counter: u64,
}

impl PromiseFile {
    /// Opens the file, creating it if it does not exist; returns what it holds, `None` if it is new.
    ///
    /// # Errors
    /// When it cannot be opened, created or read, or when both slots are damaged: a keeper that has
    /// forgotten its promises must not pretend that it never made any.
    pub fn open(path: &Path) -> Result<(Self, Option<Vec<u8>>), PromiseError> {
        let open = |source| PromiseError::Open {
            path: path.to_owned(),
            source,
        };
        // One that cannot be seen for now is not one that was never there.
        if !path.try_exists().map_err(open)? {
            create(path).map_err(open)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(open)?;
        let mut bytes = vec![0; SLOT_BYTES * 2];
        file.read_exact_at(&mut bytes, 0)
            .map_err(|source| PromiseError::Read {
                path: path.to_owned(),
                source,
            })?;
        let latest = bytes
            .chunks(SLOT_BYTES)
            .filter_map(decode)
            .max_by_key(|(counter, _)| *counter);
        let new = bytes.iter().all(|byte| *byte == 0);
        let (counter, content) = match latest {
            Some((counter, content)) => (counter, Some(content)),
            None if new => (0, None),
            None => {
                let path = path.to_owned();
                return Err(PromiseError::Damaged { path });
            }
        };
        let path = path.to_owned();
        let this = Self {
            path,
            file,
            counter,
        };
        Ok((this, content))
    }

    /// Stores `content`; on disk when this returns.
    ///
    /// # Errors
    /// After an error the process must end: what is on disk is unknown.
    pub fn store(&mut self, content: &[u8]) -> Result<(), PromiseError> {
        if content.len() > CONTENT_LIMIT {
            let bytes = content.len();
            return Err(PromiseError::TooLarge { bytes });
        }
        self.counter += 1;
        let slot = encode(self.counter, content);
        let offset = (self.counter % 2) * SLOT_BYTES as u64;
        self.file
            .write_all_at(&slot, offset)
            .and_then(|()| self.file.sync_data())
            .map_err(|source| PromiseError::Write {
                path: self.path.clone(),
                source,
            })
    }
}

fn create(path: &Path) -> io::Result<()> {
    // Under another name until it is whole: a crash while it is created leaves none.
    let temporary = path.with_extension("new");
    let folder = path.parent().unwrap_or(Path::new("/"));
    // What a crash left may be the promises under a second name: it goes, and is not written to.
    remove(&temporary)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&vec![0; SLOT_BYTES * 2])?;
    file.sync_all()?;
    // Fails where there is something, which a rename would replace.
    std::fs::hard_link(&temporary, path)?;
    remove(&temporary)?;
    mainstay_rt::files::fsync_dir(folder)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn encode(counter: u64, content: &[u8]) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT_BYTES);
    slot.extend_from_slice(MAGIC);
    slot.extend_from_slice(&counter.to_be_bytes());
    // The caller has checked the limit, which fits.
    slot.extend_from_slice(&(content.len() as u32).to_be_bytes());
    slot.extend_from_slice(&checksum(counter, content));
    slot.extend_from_slice(content);
    slot.resize(SLOT_BYTES, 0);
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, Vec<u8>)> {
    let rest = slot.strip_prefix(MAGIC)?;
    let (counter, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<32>()?;
    let counter = u64::from_be_bytes(*counter);
    let content = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    (checksum(counter, content) == *sum).then(|| (counter, content.to_vec()))
}

fn checksum(counter: u64, content: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(counter.to_be_bytes());
    hash.update(content);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_torn_write_leaves_the_state_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("promise");
        let (mut promise, content) = PromiseFile::open(&path).unwrap();
        assert_eq!(content, None);
        promise.store(b"one").unwrap();
        promise.store(b"two").unwrap();
        let whole = std::fs::read(&path).unwrap();
        // The next write would go to the slot that holds "one"; spoil any byte of it.
        for at in 0..HEAD_BYTES {
            let mut torn = whole.clone();
            torn[SLOT_BYTES + at] ^= 0xFF;
            std::fs::write(&path, &torn).unwrap();
            let (_, content) = PromiseFile::open(&path).unwrap();
            assert_eq!(content.as_deref(), Some(&b"two"[..]), "byte {at}");
        }
        let (_, content) = {
            std::fs::write(&path, &whole).unwrap();
            PromiseFile::open(&path).unwrap()
        };
        assert_eq!(content.as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn a_file_with_nothing_readable_is_not_taken_for_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("promise");
        let (mut promise, _) = PromiseFile::open(&path).unwrap();
        promise.store(b"one").unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SLOT_BYTES + 60] ^= 1;
        bytes[SLOT_BYTES + 30] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(
            PromiseFile::open(&path),
            Err(PromiseError::Damaged { .. })
        ));
    }

    #[test]
    fn promises_that_cannot_be_seen_are_not_replaced_by_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("promise");
        // Whoever looks for it meets an error, and not that there is nothing.
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let opened = PromiseFile::open(&path);
        assert!(matches!(opened, Err(PromiseError::Open { .. })));
        assert!(path.is_symlink(), "another file has taken its place");
        std::fs::remove_file(&path).unwrap();

        let (mut promise, _) = PromiseFile::open(&path).unwrap();
        promise.store(b"one").unwrap();
        // Left by a crash between two names and one.
        std::fs::hard_link(&path, path.with_extension("new")).unwrap();
        let created = create(&path).unwrap_err();
        assert_eq!(created.kind(), io::ErrorKind::AlreadyExists);
        let (_, content) = PromiseFile::open(&path).unwrap();
        assert_eq!(content.as_deref(), Some(&b"one"[..]));
    }

    #[test]
    fn the_size_never_changes_and_too_much_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("promise");
        let (mut promise, _) = PromiseFile::open(&path).unwrap();
        let size = || std::fs::metadata(&path).unwrap().len();
        let before = size();
        promise.store(&vec![7; CONTENT_LIMIT]).unwrap();
        assert_eq!(size(), before);
        let refused = promise.store(&vec![7; CONTENT_LIMIT + 1]);
        assert!(matches!(refused, Err(PromiseError::TooLarge { .. })));
    }
}
