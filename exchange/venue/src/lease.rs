//! The lease of the local primary, as the keeper writes it about every 100 ms.
//!
//! A file of 64 bytes, overwritten in place: `{term:010} {expiry_boottime_ns:020} {fnv1a32 of the text before:08x}`
//! and a newline, padded with blanks. Whatever is missing, garbled or expired is no lease. The check happens
//! *after* a request was read and again before it is answered: a process that was frozen together with its server
//! thaws with old knowledge, and only the clock tells it so. Without a configured file there is nothing to check:
//! a plain PostgreSQL without a keeper.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::clock;

const LENGTH: usize = 64;
/// `0000000001 00000000000000000123 89abcdef`
const TEXT: usize = 10 + 1 + 20 + 1 + 8;

/// What the lease allows at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// No file is configured; the server is taken at its word.
    Unchecked,
    /// Held until the given instant of the boot clock, under this term.
    Held {
        term: u64,
        expiry_ns: u64,
    },
    Missing,
}

impl Lease {
    pub fn allows(self) -> bool {
        self != Self::Missing
    }

    /// The keeper's term; zero where nothing is checked.
    pub fn term(self) -> u64 {
        match self {
            Self::Held { term, .. } => term,
            Self::Unchecked | Self::Missing => 0,
        }
    }
}

#[derive(Debug)]
pub struct LeaseFile {
    path: Option<PathBuf>,
    /// Kept open because the file is overwritten in place; opened anew when it shows no lease.
    open: Mutex<Option<File>>,
}

impl LeaseFile {
    pub fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            open: Mutex::new(None),
        }
    }

    pub fn is_configured(&self) -> bool {
        self.path.is_some()
    }

    /// Reads the file and the clock.
    pub fn check(&self) -> Lease {
        let Some(path) = &self.path else {
            return Lease::Unchecked;
        };
        let Ok(mut open) = self.open.lock() else {
            return Lease::Missing;
        };
        if let Some(file) = open.as_ref() {
            let lease = read(file);
            if lease.allows() {
                return lease;
            }
        }
        *open = File::open(path).ok();
        open.as_ref().map_or(Lease::Missing, read)
    }
}

fn read(file: &File) -> Lease {
    let mut bytes = [0u8; LENGTH];
    match file.read_at(&mut bytes, 0) {
        Ok(read) => parse(&bytes[..read], clock::boot_ns()),
        Err(_) => Lease::Missing,
    }
}

fn parse(bytes: &[u8], now_ns: u64) -> Lease {
    let fields = || {
        let text = core::str::from_utf8(bytes.get(..TEXT)?).ok()?;
        let (signed, sum) = (text.get(..32)?, text.get(32..)?);
        if u32::from_str_radix(sum, 16).ok()? != fnv1a32(signed.as_bytes()) {
            return None;
        }
        let term: u64 = signed.get(..10)?.parse().ok()?;
        let expiry_ns: u64 = signed.get(11..31)?.parse().ok()?;
        Some((term, expiry_ns))
    };
    match fields() {
        Some((term, expiry_ns)) if now_ns < expiry_ns => Lease::Held { term, expiry_ns },
        _ => Lease::Missing,
    }
}

fn fnv1a32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// What a keeper writes; for tests of the venue.
pub fn render(term: u64, expiry_ns: u64) -> String {
    let text = format!("{term:010} {expiry_ns:020} ");
    let sum = fnv1a32(text.as_bytes());
    format!("{:<63}\n", format!("{text}{sum:08x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_unexpired_lease_counts() {
        let text = render(7, 1_000);
        assert_eq!(text.len(), LENGTH);
        assert_eq!(
            parse(text.as_bytes(), 999),
            Lease::Held {
                term: 7,
                expiry_ns: 1_000
            }
        );
        assert_eq!(parse(text.as_bytes(), 1_000), Lease::Missing);
        for at in 0..TEXT {
            let mut garbled = text.clone().into_bytes();
            garbled[at] ^= 1;
            assert_eq!(parse(&garbled, 0), Lease::Missing, "byte {at}");
        }
        assert_eq!(parse(&text.as_bytes()[..20], 0), Lease::Missing);
        assert_eq!(parse(b"", 0), Lease::Missing);
    }

    #[test]
    fn a_file_that_is_replaced_or_appears_late_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lease-cell");
        let lease = LeaseFile::new(Some(path.clone()));
        assert_eq!(lease.check(), Lease::Missing);
        std::fs::write(&path, render(1, u64::MAX)).unwrap();
        assert_eq!(lease.check().term(), 1);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, render(2, 1)).unwrap();
        assert_eq!(
            lease.check().term(),
            1,
            "the open file still shows an unexpired lease"
        );
        assert!(LeaseFile::new(None).check().allows());
    }
}
