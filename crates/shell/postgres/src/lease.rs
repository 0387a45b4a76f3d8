//! The lease file: until when readers may be answered on this host.
//!
//! 64 bytes, overwritten in place, so that a reader needs one `pread` and no lock; a torn write is noticed
//! by the checksum and reads as "no lease". The expiry is on the boot-time clock, which goes on while a
//! machine sleeps or a process is frozen. Nothing here is durable: after a crash there is no lease.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mainstay_units::{Instant, Term};

pub const LENGTH: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("open the lease file {}", path.display())]
    Open {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("write the lease file {}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

#[derive(Debug)]
pub struct LeaseFile {
    path: PathBuf,
    file: File,
}

impl LeaseFile {
    /// Opens the file and makes it say that there is no lease.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(path: &Path) -> Result<Self, LeaseError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map_err(|source| LeaseError::Open {
                path: path.to_owned(),
                source,
            })?;
        let path = path.to_owned();
        let this = Self { path, file };
        this.clear()?;
        Ok(this)
    }

    /// # Errors
    /// Whatever the file system says; the lease then is what it was, and runs out.
    pub fn write(&self, term: Term, expires: Instant) -> Result<(), LeaseError> {
        self.put(&line(term, expires))
    }

    /// # Errors
    /// Whatever the file system says; the lease then is what it was, and runs out.
    pub fn clear(&self) -> Result<(), LeaseError> {
        self.put(&[b' '; LENGTH])
    }

    fn put(&self, bytes: &[u8; LENGTH]) -> Result<(), LeaseError> {
        self.file
            .write_all_at(bytes, 0)
            .map_err(|source| LeaseError::Write {
                path: self.path.clone(),
                source,
            })
    }
}

fn line(term: Term, expires: Instant) -> [u8; LENGTH] {
    let text = format!("{:010} {:020} ", term.0, expires.as_nanos());
    let text = format!("{text}{:08x}\n", fnv1a32(text.as_bytes()));
    let mut bytes = [b' '; LENGTH];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

/// Fowler–Noll–Vo, variant 1a, 32 bits: finds torn writes, which is all it is for.
fn fnv1a32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_as_agreed() {
        let bytes = line(Term(7), Instant::from_nanos(123_456));
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(&text[..32], "0000000007 00000000000000123456 ");
        let sum = u32::from_str_radix(&text[32..40], 16).unwrap();
        assert_eq!(sum, fnv1a32(&bytes[..32]));
        assert_eq!(&text[40..41], "\n");
        assert_eq!(fnv1a32(b"a"), 0xe40c_292c, "the published value");
    }

    #[test]
    fn a_file_begins_without_a_lease_and_keeps_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lease");
        let lease = LeaseFile::open(&path).unwrap();
        let read = || std::fs::read_to_string(&path).unwrap();
        assert_eq!(read().trim(), "");
        lease.write(Term(1), Instant::from_millis(5)).unwrap();
        assert!(read().starts_with("0000000001 "));
        assert_eq!(read().len(), LENGTH);
    }
}
