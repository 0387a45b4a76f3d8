//! The journal over bytes: chain, Merkle tree, checkpoints, proofs, tiles.
//!
//! Think of a notary's book. Decisions are written one below the other (*entries*), a few at a time (*a
//! part*: the entries of one batch). At the foot of every part the notary counts all lines of the book so
//! far, draws one fingerprint over all of them (the root of a Merkle tree) and signs it (*a checkpoint*).
//! Whoever remembers a single signed foot can tell later whether any line above it was touched, moved,
//! dropped or added.
//!
//! - [`Entry`]: one line; UTF-8 JSON without control characters, at most 65,535 bytes, hashed as stored
//!   and never encoded again.
//! - [`tree`]: RFC 6962 hashing, the incremental [`Frontier`], inclusion and consistency proofs.
//! - [`note`] and [`Checkpoint`]: C2SP signed notes with Ed25519, C2SP checkpoints.
//! - [`WitnessKey`]: what outsiders say of a checkpoint, with the time.
//! - [`Part`]: the bytes of a batch as stored; canonical, so that a changed byte anywhere is noticed.
//! - [`Log`]: what a reader knows after following all parts: keys, leader, tree. The same code follows,
//!   seals and verifies; there is no second, more lenient way in.
//! - [`tiles`]: the C2SP tlog-tiles form of the same log, for verifiers that others wrote.
//!
//! What this crate does not know: JSON (the few kinds that matter to the log itself are explained by a
//! function that the caller passes, see [`Meaning`]), files, clocks, and where random keys come from.

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests"
    )
)]

extern crate alloc;

mod base64;
mod checkpoint;
mod cosignature;
mod entry;
mod hash;
mod log;
pub mod note;
mod part;
pub mod tiles;
pub mod tree;

pub use checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
pub use cosignature::{WitnessKey, signed_text};
pub use entry::{ENTRY_BYTES_MAX, Entry, EntryError};
pub use hash::{Hash, ParseHashError, chain_genesis, chain_next, leaf_hash, node_hash};
pub use log::{Damage, Followed, Leadership, Log, Meaning, SealError};
pub use note::{NodeKey, PublicKey};
pub use part::{PART_BYTES_MAX, PART_ENTRIES_MAX, Part, PartError};
pub use tree::Frontier;
