//! The tree against RFC 6962's known roots, against the recursive definition, and proofs against lies.

#![allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]

use mainstay_journal::tree::{
    Head, Tree, consistency_proof, empty_root, inclusion_proof, root_of, verify_consistency,
    verify_inclusion,
};
use mainstay_journal::{Frontier, Hash, leaf_hash, node_hash};
use proptest::prelude::*;

/// The eight leaves that implementations of Certificate Transparency test with, and the root of each prefix.
const KNOWN: [(&[u8], &str); 8] = [
    (
        b"",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    ),
    (
        b"\x00",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    ),
    (
        b"\x10",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    ),
    (
        b"\x20\x21",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (
        b"\x30\x31",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    ),
    (
        b"\x40\x41\x42\x43",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    ),
    (
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    ),
    (
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ),
];

#[test]
fn known_roots() {
    assert_eq!(
        empty_root().to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    let mut frontier = Frontier::default();
    for (leaf, root) in KNOWN {
        frontier.push(leaf_hash(leaf));
        assert_eq!(frontier.root().to_string(), root);
    }
}

/// RFC 6962, 2.1, word for word.
fn definition(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            node_hash(&definition(&leaves[..k]), &definition(&leaves[k..]))
        }
    }
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

#[test]
fn every_proof_of_every_small_tree() {
    for size in 1..=40_u64 {
        let all = leaves(size as usize);
        let new = Head {
            size,
            root: root_of(&all),
        };
        assert_eq!(new.root, definition(&all));
        let tree = Tree::over(&all);
        for index in 0..size {
            let proof = inclusion_proof(index, &all).unwrap();
            assert_eq!(tree.inclusion_proof(index).as_ref(), Some(&proof));
            let leaf = &all[index as usize];
            assert!(verify_inclusion(leaf, index, size, &new.root, &proof));
            for other in (0..size).filter(|other| *other != index) {
                assert!(!verify_inclusion(leaf, other, size, &new.root, &proof));
            }
        }
        assert_eq!(inclusion_proof(size, &all), None);
        assert_eq!(tree.inclusion_proof(size), None);
        for old_size in 0..=size {
            let old = Head {
                size: old_size,
                root: root_of(&all[..old_size as usize]),
            };
            let proof = consistency_proof(old_size, &all).unwrap();
            assert!(verify_consistency(&old, &new, &proof), "{old_size} {size}");
        }
        assert_eq!(consistency_proof(size + 1, &all), None);
    }
}

proptest! {
    #[test]
    fn proofs_of_one_tree_are_those_of_its_leaves(size in 1_usize..700, seed: u64) {
        let all = leaves(size);
        let index = seed % size as u64;
        prop_assert_eq!(Tree::over(&all).inclusion_proof(index), inclusion_proof(index, &all));
    }

    #[test]
    fn a_wrong_proof_proves_nothing(size in 2_usize..300, seed: u64, bit in 0_u32..256) {
        let all = leaves(size);
        let index = seed % size as u64;
        let root = root_of(&all);
        let leaf = all[index as usize];
        let proof = inclusion_proof(index, &all).unwrap();
        let at = (seed >> 32) as usize % proof.len();
        let mut bent = proof.clone();
        bent[at].0[(bit / 8) as usize] ^= 1 << (bit % 8);
        prop_assert!(!verify_inclusion(&leaf, index, size as u64, &root, &bent));
        let mut longer = proof.clone();
        longer.push(leaf);
        prop_assert!(!verify_inclusion(&leaf, index, size as u64, &root, &longer));
        prop_assert!(!verify_inclusion(&leaf, index, size as u64, &root, &proof[1..]));
    }

    #[test]
    fn a_rewritten_past_is_not_consistent(size in 2_usize..300, seed: u64) {
        let all = leaves(size);
        let old_size = 1 + seed % (size as u64 - 1);
        let mut rewritten = all.clone();
        rewritten[(seed >> 32) as usize % old_size as usize] = leaf_hash(b"another");
        let old = Head { size: old_size, root: root_of(&all[..old_size as usize]) };
        let new = Head { size: size as u64, root: root_of(&rewritten) };
        let proof = consistency_proof(old_size, &rewritten).unwrap();
        prop_assert!(!verify_consistency(&old, &new, &proof));
    }

    #[test]
    fn frontier_is_the_definition(size in 0_usize..600) {
        prop_assert_eq!(root_of(&leaves(size)), definition(&leaves(size)));
    }
}
