//! RFC 6962 Merkle tree: the running root, and proofs that need only a few hashes.
//!
//! A tree of n leaves is a row of perfect subtrees, one for every set bit of n, the largest first. Their
//! roots are all that is needed to add leaves and to name the root: the [`Frontier`]. Proofs are drawn from
//! the leaf hashes (RFC 6962, 2.1.1 and 2.1.2) and checked without them (RFC 9162, 2.1.3.2 and 2.1.4.2).

use alloc::vec::Vec;

use crate::hash::{Hash, node_hash};

/// Root of the empty tree: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Hash::of(&[])
}

/// The right edge of a tree: enough to grow it and to name its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the perfect subtrees, the largest first; as many as `size` has set bits.
    roots: Vec<Hash>,
}

impl Frontier {
    pub const fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, leaf: Hash) {
        assert!(self.size < u64::MAX, "a tree has fewer than 2^64 leaves");
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.roots.push(node);
        self.size += 1;
        assert_eq!(self.roots.len(), self.size.count_ones() as usize);
    }

    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some(smallest) = roots.next() else {
            return empty_root();
        };
        roots.fold(*smallest, |right, left| node_hash(left, &right))
    }
}

/// MTH(D[n]) over leaf hashes.
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    frontier.root()
}

/// PATH(index, D[n]): proof that leaf `index` is in the tree over `leaves`. `None` if there is no such leaf.
pub fn inclusion_proof(index: u64, leaves: &[Hash]) -> Option<Vec<Hash>> {
    let index = usize::try_from(index).ok().filter(|i| *i < leaves.len())?;
    let mut proof = Vec::new();
    path(index, leaves, &mut proof);
    Some(proof)
}

fn path(index: usize, leaves: &[Hash], proof: &mut Vec<Hash>) {
    if leaves.len() <= 1 {
        return;
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if index < left.len() {
        path(index, left, proof);
        proof.push(root_of(right));
    } else {
        path(index - left.len(), right, proof);
        proof.push(root_of(left));
    }
}

/// All perfect subtrees over some leaves, so that many proofs cost little more than one: [`inclusion_proof`] computes every
/// subtree anew for each.
pub struct Tree {
    /// In row k the roots of the subtrees of 2^k leaves, from the left.
    rows: Vec<Vec<Hash>>,
}

impl Tree {
    pub fn over(leaves: &[Hash]) -> Self {
        let mut rows = Vec::new();
        let mut row = leaves.to_vec();
        while !row.is_empty() {
            let above = row.chunks_exact(2).filter_map(|two| match two {
                [left, right] => Some(node_hash(left, right)),
                _ => None,
            });
            let above: Vec<Hash> = above.collect();
            rows.push(row);
            row = above;
        }
        Self { rows }
    }

    /// The same as [`inclusion_proof`] over these leaves.
    pub fn inclusion_proof(&self, index: u64) -> Option<Vec<Hash>> {
        let size = self.rows.first().map_or(0, Vec::len);
        let index = usize::try_from(index).ok().filter(|i| *i < size)?;
        let (mut from, mut length) = (0, size);
        let mut proof = Vec::new();
        while length > 1 {
            let left = split(length);
            if index - from < left {
                proof.push(self.root(from + left, length - left)?);
                length = left;
            } else {
                proof.push(self.root(from, left)?);
                (from, length) = (from + left, length - left);
            }
        }
        proof.reverse();
        Some(proof)
    }

    /// Of the subtree over so many leaves from there on, as the tree divides them.
    fn root(&self, from: usize, length: usize) -> Option<Hash> {
        if length.is_power_of_two() {
            let row = self.rows.get(length.trailing_zeros() as usize)?;
            return row.get(from / length).copied();
        }
        let left = split(length);
        let right = self.root(from + left, length - left)?;
        Some(node_hash(&self.root(from, left)?, &right))
    }
}

/// PROOF(old, D[n]): proof that the tree of the first `old` leaves is a prefix of the tree over `leaves`.
/// Empty for `old` equal to the size or to zero, where nothing needs proving. `None` if `old` is larger.
pub fn consistency_proof(old: u64, leaves: &[Hash]) -> Option<Vec<Hash>> {
    let old = usize::try_from(old).ok().filter(|m| *m <= leaves.len())?;
    let mut proof = Vec::new();
    if old > 0 {
        subproof(old, leaves, Complete::Yes, &mut proof);
    }
    Some(proof)
}

/// Whether the verifier knows the root of the subtree at hand already.
#[derive(Clone, Copy)]
enum Complete {
    Yes,
    No,
}

fn subproof(old: usize, leaves: &[Hash], complete: Complete, proof: &mut Vec<Hash>) {
    if old == leaves.len() {
        match complete {
            Complete::Yes => {}
            Complete::No => proof.push(root_of(leaves)),
        }
        return;
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if old <= left.len() {
        subproof(old, left, complete, proof);
        proof.push(root_of(right));
    } else {
        subproof(old - left.len(), right, Complete::No, proof);
        proof.push(root_of(left));
    }
}

/// The largest power of two smaller than `n` (n > 1).
fn split(n: usize) -> usize {
    assert!(n > 1, "a tree of one leaf has no children");
    1 << (usize::BITS - 1 - (n - 1).leading_zeros())
}

/// Does `proof` show that `leaf` stands at `index` in the tree of `size` leaves with this `root`?
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut node_index, mut last_index) = (index, size - 1);
    let mut node = *leaf;
    for sibling in proof {
        if last_index == 0 {
            return false;
        }
        if node_index & 1 == 1 || node_index == last_index {
            node = node_hash(sibling, &node);
            while node_index & 1 == 0 && node_index != 0 {
                node_index >>= 1;
                last_index >>= 1;
            }
        } else {
            node = node_hash(&node, sibling);
        }
        node_index >>= 1;
        last_index >>= 1;
    }
    last_index == 0 && node == *root
}

/// Size and root of a tree, as a checkpoint names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub size: u64,
    pub root: Hash,
}

/// Does `proof` show that the `old` tree is a prefix of the `new` one?
pub fn verify_consistency(old: &Head, new: &Head, proof: &[Hash]) -> bool {
    if old.size > new.size {
        return false;
    }
    if old.size == new.size {
        return proof.is_empty() && old.root == new.root;
    }
    if old.size == 0 {
        return proof.is_empty() && old.root == empty_root();
    }
    let mut nodes = proof.iter();
    let first = if old.size.is_power_of_two() {
        Some(&old.root)
    } else {
        nodes.next()
    };
    let Some(first) = first else { return false };
    let (mut old_index, mut new_index) = (old.size - 1, new.size - 1);
    while old_index & 1 == 1 {
        old_index >>= 1;
        new_index >>= 1;
    }
    let (mut old_root, mut new_root) = (*first, *first);
    for node in nodes {
        if new_index == 0 {
            return false;
        }
        if old_index & 1 == 1 || old_index == new_index {
            old_root = node_hash(node, &old_root);
            new_root = node_hash(node, &new_root);
            while old_index & 1 == 0 && old_index != 0 {
                old_index >>= 1;
                new_index >>= 1;
            }
        } else {
            new_root = node_hash(&new_root, node);
        }
        old_index >>= 1;
        new_index >>= 1;
    }
    new_index == 0 && old_root == old.root && new_root == new.root
}
