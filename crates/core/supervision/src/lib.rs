//! The life of one supervised process: start, probe, restart, stop.
//!
//! Supervision is a reflex: a child that died is started again within its back-off, whoever leads and
//! whatever the journal does. Think of a stage manager with one actor: she knows the cue sheet (the
//! [`Policy`]), sees whether he stands, answers and plays well (the [`Probe`]s), sends him on again when
//! he stumbled, and says so aloud when he stumbles every time. She decides; pushing is for stagehands.
//!
//! [`Instance::handle`] takes what happened, [`Instance::poll_effect`] gives what is to be done, and
//! [`Instance::next_deadline`] says when to come back at the latest. What may follow what is one table
//! ([`table::TABLE`]), a row a line, and every step, also the one not taken, has a [`Why`].
//!
//! What this crate must not know: how a process is started, what a probe asks, clock, entropy, files.

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]

extern crate alloc;

mod backoff;
mod instance;
mod policy;
mod probe;
pub mod table;
mod why;

pub use instance::{Effect, Input, Instance, Snapshot, Wake};
pub use policy::{Policy, ProbePolicy, RestartPolicy};
pub use probe::{Outcome, Probe, Round};
pub use table::{Cause, Phase};
pub use why::Why;
