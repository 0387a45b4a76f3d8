//! Which backup and which log reach a target, and what may be thrown away.
//!
//! An archive is a shelf with two kinds of things: *base backups*, each a whole copy of a cluster as it was between
//! two places of its log, and *segments*, the log itself in pieces of equal size, named by timeline and number. To
//! restore is to take a copy and play the log on it up to a place. This crate looks at the labels only and answers
//! four questions:
//!
//! - [`route()`]: does a copy, with the log that is there, reach a target, without a hole and along the right
//!   timelines? If not, [`Refusal`] says which piece is missing.
//! - [`retain()`]: what may go, such that every moment of the period stays within reach and the last backup that
//!   was *proven* by restoring it never goes.
//! - [`days()`]: which proven restore point stands for each day.
//! - [`footing()`]: what of the log that was received and perhaps not put away a receiver goes on from.
//!
//! What this crate must not know: bytes, keys, stores, PostgreSQL's programs, clocks.

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

mod history;
mod retention;
mod route;
mod segment;
mod spool;

pub use history::{History, HistoryError};
pub use retention::{Day, Kept, Policy, Proof, Retained, days, retain};
pub use route::{Base, Refusal, Route, Shelf, Target, route};
pub use segment::{Segment, SegmentSize, SegmentSizeError};
pub use spool::{Footing, footing, in_turn};
