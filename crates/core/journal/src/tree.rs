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
