//! Deterministic simulation of whole clusters of keepers from one seed.
//!
//! # The mental model
//!
//! A world with one clock and one queue of events. Its hosts run the *production* keeper core; everything
//! around it (disks, network, PostgreSQL, clients, operators) is a model. A seed decides everything, so a
//! seed that fails once fails for ever. A schedule has two phases: first faults of every kind, in which
//! nothing acknowledged may be lost; then everything is healed, and the database must become available.
//!
//! The checker looks at servers, disks and messages with code of its own; it knows nothing of how the
//! keeper decides. It is itself tested: every planted bug must be found.

#![allow(
    clippy::disallowed_methods,
    reason = "the command line measures its own speed with the real clock"
)]

pub mod campaign;
pub mod checker;
mod clients;
pub mod event;
pub mod fault;
pub mod host;
mod lineage;
pub mod network;
pub mod postgres;
pub mod random;
pub mod recovery;
mod replication;
mod reshape;
pub mod schedule;
mod shell;
mod solo;
pub mod trace;
pub mod world;
