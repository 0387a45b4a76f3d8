//! SHA-256 values and the three ways in which the journal hashes.
//!
//! Leaf and node hashing are RFC 6962, section 2.1. The chain uses a prefix of its own, so that no value of
//! one kind can be passed off as one of another.

use core::fmt;
use core::str::FromStr;

use sha2::{Digest, Sha256};
use thiserror::Error;

const LEAF_PREFIX: u8 = 0x00;
const NODE_PREFIX: u8 = 0x01;
const CHAIN_PREFIX: u8 = 0x02;
const CHAIN_GENESIS_PREFIX: u8 = 0x03;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a hash: expected 64 lowercase hexadecimal digits")]
pub struct ParseHashError;

impl FromStr for Hash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(ParseHashError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn digit(text: u8) -> Result<u8, ParseHashError> {
    match text {
        b'0'..=b'9' => Ok(text - b'0'),
        b'a'..=b'f' => Ok(text - b'a' + 10),
        _ => Err(ParseHashError),
    }
}

/// Hash of an entry as a leaf of the tree.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut sha = Sha256::new();
    sha.update([LEAF_PREFIX]);
    sha.update(entry);
    Hash(sha.finalize().into())
}

/// Hash of an inner node.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut sha = Sha256::new();
    sha.update([NODE_PREFIX]);
    sha.update(left.0);
    sha.update(right.0);
    Hash(sha.finalize().into())
}

/// The chain's value before the first entry: it binds the chain to the name of its log.
pub fn chain_genesis(origin: &str) -> Hash {
    let mut sha = Sha256::new();
    sha.update([CHAIN_GENESIS_PREFIX]);
    sha.update(origin.as_bytes());
    Hash(sha.finalize().into())
}

/// The chain's value after one more entry.
pub fn chain_next(before: &Hash, leaf: &Hash) -> Hash {
    let mut sha = Sha256::new();
    sha.update([CHAIN_PREFIX]);
    sha.update(before.0);
    sha.update(leaf.0);
    Hash(sha.finalize().into())
}
