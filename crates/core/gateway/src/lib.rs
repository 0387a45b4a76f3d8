//! Where a request goes, whether it waits, and whether it may be repeated.
//!
//! Think of a good hotel porter. He knows from a list which door every guest wants (`routing`). He looks
//! around all the time and knows who is in and since when he knows it (`sight`). When a room is being
//! changed he asks guests to take a seat, not to come back tomorrow (`hold`), and never lets the lobby
//! overflow. When somebody he sent off comes back without an answer, he knows when he may send him again
//! and when he must say "I do not know whether it was done" (`retry`). And he does not let anybody in
//! whose papers can be read in two ways (`framing`).
//!
//! Nothing here reads a clock, a socket or a file. The shell (`mainstay-proxy`) brings time and facts as
//! arguments and carries out what is answered; every answer is an enum that carries its reason.

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]

extern crate alloc;

pub mod choice;
pub mod framing;
pub mod hold;
pub mod method;
pub mod retry;
pub mod routing;
pub mod share;
pub mod sight;
