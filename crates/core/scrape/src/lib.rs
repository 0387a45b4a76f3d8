//! What a target exposes, read; and what that makes of its series: up, stale, new.
//!
//! Think of a meter reader on his round. `exposition` is how he reads a meter: two notations, each with its
//! own rules, and whatever is written unclearly is not read at all. `target` is his book for one house: what
//! stood on the meters last time, so that a meter that is gone is noted as gone at once, and a house where
//! nobody opens as a house where nobody opened; never as one where nothing was used.
//!
//! `page` is the other side: how a meter is written, so that any reader can read it.
//!
//! No clock, no socket: bytes and moments are arguments. Everything is bounded by [`exposition::Limits`].

#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
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

mod book;
pub mod exposition;
pub mod page;
mod reader;
pub mod target;
