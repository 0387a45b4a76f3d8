//! The C2SP tlog-tiles form (c2sp.org/tlog-tiles): where each resource lies and what it holds.
//!
//! A tile of level 0 holds the hashes of 256 entries; a tile of level l holds the roots of 256 full tiles of
//! level l−1. The rightmost tile of a level is partial and carries its width in its path. Entry bundles are
//! the entries themselves, each with a length of two bytes before it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::entry::Entry;
use crate::hash::Hash;
use crate::tree::root_of;

pub const TILE_WIDTH: usize = 256;

/// One file of the export, by its path under the log's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub path: String,
    pub bytes: Vec<u8>,
}

/// All tiles of the tree over `leaves`, partial ones included.
pub fn hash_tiles(leaves: &[Hash]) -> Vec<Resource> {
    let mut resources = Vec::new();
    let mut row: Vec<Hash> = leaves.to_vec();
    let mut level = 0_u32;
    while !row.is_empty() {
        resources.extend(
            row.chunks(TILE_WIDTH)
                .zip(0_u64..)
                .map(|(hashes, index)| Resource {
                    path: format!("tile/{level}/{}", index_path(index, hashes.len())),
                    bytes: hashes.iter().flat_map(|hash| hash.0).collect(),
                }),
        );
        row = row.chunks_exact(TILE_WIDTH).map(root_of).collect();
        level += 1;
    }
    resources
}

/// The entry bundle with this index; `entries` are the at most 256 entries from `index * 256` on.
pub fn entry_bundle(index: u64, entries: &[Entry]) -> Resource {
    assert!(
        !entries.is_empty() && entries.len() <= TILE_WIDTH,
        "a bundle has 1 to 256 entries"
    );
    let mut bytes = Vec::new();
    for entry in entries {
        let text = entry.as_bytes();
        assert!(
            text.len() <= usize::from(u16::MAX),
            "Entry::new checks this"
        );
        bytes.extend_from_slice(&(text.len() as u16).to_be_bytes());
        bytes.extend_from_slice(text);
    }
    Resource {
        path: entry_bundle_path(index, entries.len()),
        bytes,
    }
}

/// Where the bundle with this index lies that holds `width` entries.
pub fn entry_bundle_path(index: u64, width: usize) -> String {
    format!("tile/entries/{}", index_path(index, width))
}

/// The entries of a bundle; nothing if it is not of the form that [`entry_bundle`] writes.
pub fn read_entry_bundle(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        if entries.len() >= TILE_WIDTH {
            return None;
        }
        let (text, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let text = core::str::from_utf8(text).ok()?;
        entries.push(Entry::new(text.into()).ok()?);
        rest = after;
    }
    rest.is_empty().then_some(entries)
}

/// `1234067` → `x001/x234/067`; with `.p/<width>` if the tile is not full.
fn index_path(index: u64, width: usize) -> String {
    let mut path = format!("{:03}", index % 1_000);
    let mut rest = index / 1_000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1_000);
        rest /= 1_000;
    }
    if width < TILE_WIDTH {
        path = format!("{path}.p/{width}");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;
    use alloc::string::ToString;

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(index_path(1_234_067, 256), "x001/x234/067");
        assert_eq!(index_path(0, 256), "000");
        assert_eq!(index_path(273, 112), "273.p/112");
    }

    /// The specification's example: 70,000 entries.
    #[test]
    fn widths_are_those_of_the_specification() {
        let leaves: Vec<Hash> = (0..70_000_u32)
            .map(|i| leaf_hash(&i.to_be_bytes()))
            .collect();
        let tiles = hash_tiles(&leaves);
        let count = |level: u32| {
            let prefix = format!("tile/{level}/");
            tiles.iter().filter(|t| t.path.starts_with(&prefix)).count()
        };
        assert_eq!([count(0), count(1), count(2), count(3)], [274, 2, 1, 0]);
        for path in ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"] {
            assert!(tiles.iter().any(|tile| tile.path == path), "{path}");
        }
    }

    #[test]
    fn bundles_are_length_prefixed() {
        let entry = Entry::new("{}".to_string()).unwrap();
        let bundle = entry_bundle(0, &[entry.clone(), entry]);
        assert_eq!(bundle.path, "tile/entries/000.p/2");
        assert_eq!(bundle.bytes, b"\x00\x02{}\x00\x02{}");
        let read = read_entry_bundle(&bundle.bytes).unwrap();
        assert_eq!(entry_bundle(0, &read), bundle);
        for cut in 0..bundle.bytes.len() {
            let read = read_entry_bundle(&bundle.bytes[..cut]);
            assert_eq!(read.is_some(), cut % 4 == 0, "{cut}");
        }
        assert_eq!(read_entry_bundle(b"\x00\x02[]"), None);
    }
}
