//! The journal over bytes: chain, Merkle tree, checkpoints, proofs.

#![no_std]

extern crate alloc;
