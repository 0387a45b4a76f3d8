//! Who is on call, who is told of an incident, when, how often, and when not.
//!
//! Think of a ladder with a telephone on every rung. An incident that nobody has climbs it: a rung is rung, and if nobody
//! takes the call in time, the next one. Whoever takes it stops the climbing; whoever was rung is told how it went on.
//!
//! - A [`Rotation`] says who has the turn at a moment. A [`Policy`] is a ladder.
//! - [`Notices`] is what was decided and what became of it, folded from the journal: what is to be said is journalled
//!   before it is said, so that it is said again when nobody knows whether it was, and never again when somebody does.
//! - A silence keeps the telephone quiet and not the record; an incident inside a worse one does not ring besides.
//!
//! Incidents come as [`Case`]s, which whoever composes this makes of them.

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

mod case;
mod notices;
mod policy;
mod rotation;
mod silence;
#[cfg(test)]
mod tests;

pub use case::{Case, Severity, Stage};
pub use notices::{
    Addressee, Event, HOLD_MS, Kind, NEWS_TRIES_MAX, Notice, Notices, Outcome, TRIES_MAX,
};
pub use policy::{Level, Policy, Settings, Target};
pub use rotation::{Override, Rotation, Shift, Turn};
pub use silence::{Matcher, Silence};
