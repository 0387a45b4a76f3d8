//! What an interruption cost: on the clients' clock, phase by phase, and in what they were promised.
//!
//! Think of an insurance assessor. He was not there. He has the customers' notes (when something was due, when it was
//! answered), the notes of whoever repaired it (when they noticed, decided, finished), and what is found in the vault
//! afterwards. Whatever the notes do not say he leaves blank; a blank is never a good result.
//!
//! - [`interruption`]: how long clients were without service, by the clients alone.
//! - [`split`]: how that time divides into phases, where keepers' times are joined with the clients'.
//! - [`numbered`]: which of the numbered writes are there, and which should be.
//!
//! Times are microseconds since 1970 on one machine's wall clock. Nothing here reads a clock.

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

pub mod interruption;
pub mod numbered;
pub mod split;
