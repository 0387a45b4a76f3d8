//! Processes, shims, wires and faults of one host.
//!
//! Everything here is about processes that must outlive the process that started them. A node may be
//! killed, frozen or upgraded at any moment, and nothing that serves traffic may notice. So nothing hangs
//! on a parent: each long-lived process ([`shim`], [`wire`], [`guardian`]) is described by a file, keeps
//! its own state in a file, holds a lock while it lives, and is recognised later by pid *and* start time
//! ([`identity`]).
//!
//! - [`shim`] stands between a node and one workload: reaps, stops, logs.
//! - [`supervisor`] is the node's side: it drives `mainstay_supervision` with real probes and shims.
//! - [`wire`] carries the bytes between two regions, and is where a network is cut or slowed.
//! - [`relay`] leads a process that knows the others by name to where they are from here.
//! - [`confine`] turns a process into a program that may do next to nothing.
//! - [`carrier`] tells whether the command that carries a drill still lives.
//! - [`faults`] breaks things on purpose, under the eyes of a [`guardian`] that mends them in time.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod carrier;
pub mod confine;
pub mod faults;
pub mod guardian;
pub mod identity;
pub mod launch;
pub mod relay;
pub mod shim;
pub mod supervisor;
mod user;
pub mod wire;
