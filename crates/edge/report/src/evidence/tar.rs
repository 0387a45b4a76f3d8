//! Archives in the POSIX form (ustar) that any `tar` reads, in exactly one way of writing them.
//!
//! Files in the order of their names, nothing but names, lengths and bytes: no owner, no time, mode 0644. An archive is
//! read by writing what it seems to hold once more and comparing: whatever is different, cut off or added is refused.

use std::collections::BTreeMap;

use thiserror::Error;

const BLOCK: usize = 512;
/// A file of an archive; the length field has eleven octal digits, and nothing here comes near.
const FILE_BYTES_MAX: usize = 1 << 32;
const NAME_BYTES_MAX: usize = 100;
const PREFIX_BYTES_MAX: usize = 155;

pub type Files = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TarError {
    #[error("the archive ends within {0}")]
    Truncated(String),
    #[error("at byte {at}: {what}")]
    Form { at: usize, what: &'static str },
    #[error("{0} cannot be named in an archive")]
    Name(String),
}

/// # Errors
/// When a name or a file is too long for the form.
pub fn write(files: &Files) -> Result<Vec<u8>, TarError> {
    let mut archive = Vec::new();
    for (name, bytes) in files {
        archive.extend(header(name, bytes.len()).ok_or_else(|| TarError::Name(name.clone()))?);
        archive.extend(bytes);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Ok(archive)
}

/// How many bytes [`write`] makes of these files.
pub fn length_of(files: &Files) -> u64 {
    let blocks = files.values().map(|bytes| 1 + bytes.len().div_ceil(BLOCK));
    ((blocks.sum::<usize>() + 2) * BLOCK) as u64
}

fn header(name: &str, length: usize) -> Option<[u8; BLOCK]> {
    let (prefix, rest) = parts(name)?;
    if length > FILE_BYTES_MAX {
        return None;
    }
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, text: &str| {
        if let Some(place) = block.get_mut(at..at + text.len()) {
            place.copy_from_slice(text.as_bytes());
        }
    };
    put(0, rest);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{length:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    put(345, prefix);
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    block.get_mut(148..156)?.copy_from_slice(sum.as_bytes());
    Some(block)
}

/// A long name is parted at a slash.
fn parts(name: &str) -> Option<(&str, &str)> {
    if name.is_empty() || name.bytes().any(|byte| byte == 0) {
        return None;
    }
    if name.len() <= NAME_BYTES_MAX {
        return Some(("", name));
    }
    let cuts = name.match_indices('/').map(|(at, _)| at);
    let mut cuts =
        cuts.filter(|at| *at <= PREFIX_BYTES_MAX && name.len() - at - 1 <= NAME_BYTES_MAX);
    let at = cuts.next()?;
    Some((&name[..at], &name[at + 1..]))
}

/// # Errors
/// When it is anything else than what [`write`] makes of some files.
pub fn read(archive: &[u8]) -> Result<Files, TarError> {
    let mut files = Files::new();
    let mut at = 0;
    loop {
        let form = |what| TarError::Form { at, what };
        let cut = || TarError::Truncated(format!("the header at byte {at}"));
        let block = archive.get(at..at + BLOCK).ok_or_else(cut)?;
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let (name, length) = told(block).ok_or_else(|| form("this is no header of a file"))?;
        if header(&name, length).is_none_or(|header| header != block) {
            return Err(form("the header is not as it is written"));
        }
        let bytes = archive
            .get(at + BLOCK..at + BLOCK + length)
            .ok_or_else(|| TarError::Truncated(name.clone()))?;
        if files.keys().next_back().is_some_and(|last| *last >= name) {
            return Err(form("files are not in the order of their names"));
        }
        files.insert(name, bytes.to_vec());
        at += BLOCK + length.next_multiple_of(BLOCK);
    }
    match write(&files)? {
        again if again == archive => Ok(files),
        again if again.len() > archive.len() => {
            Err(TarError::Truncated("its last two blocks".to_owned()))
        }
        again => {
            let place = again
                .iter()
                .zip(archive)
                .position(|(one, other)| one != other);
            Err(TarError::Form {
                at: place.unwrap_or(again.len()),
                what: "there is something that does not belong to any file",
            })
        }
    }
}

fn told(block: &[u8]) -> Option<(String, usize)> {
    let text = |from: usize, to: usize| {
        let field = block.get(from..to)?;
        let end = field.iter().position(|byte| *byte == 0);
        std::str::from_utf8(field.get(..end.unwrap_or(field.len()))?).ok()
    };
    let (name, prefix) = (text(0, 100)?, text(345, 500)?);
    let length = usize::from_str_radix(text(124, 136)?, 8).ok()?;
    let name = match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}/{name}"),
    };
    Some((name, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let long = format!("log/{}/{}", "a".repeat(90), "b".repeat(90));
        Files::from([
            ("a".to_owned(), b"one".to_vec()),
            (long, vec![7; 600]),
            ("z/empty".to_owned(), Vec::new()),
        ])
    }

    #[test]
    fn what_is_written_is_read_again_and_nothing_else_is() {
        let archive = write(&files()).unwrap();
        assert_eq!(read(&archive).unwrap(), files());
        for at in 0..archive.len() {
            let mut changed = archive.clone();
            changed[at] ^= 0x20;
            // Bytes of files are the manifest's business.
            if let Ok(read) = read(&changed) {
                assert_ne!(read, files(), "byte {at}");
                assert_eq!(read.keys().count(), 3);
            }
            assert!(super::read(&archive[..at]).is_err(), "cut at {at}");
        }
        let mut longer = archive.clone();
        longer.push(0);
        assert!(read(&longer).is_err());
        longer.extend([0; 511]);
        assert!(read(&longer).is_err());
        assert!(write(&Files::from([("x".repeat(300), Vec::new())])).is_err());
    }
}
