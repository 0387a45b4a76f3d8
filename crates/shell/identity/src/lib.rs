//! The platform's own certificate authority, the leaves it issues, and connections that show them.
//!
//! # The mental model
//!
//! A platform has one *authority*: a key in a file of mode 0600 beside the other secrets, made when it is first
//! asked. It issues *leaves*, one per role of a host, which end after a day; the node of a host asks for them
//! anew every eight hours and lays them where its processes read them. An *identity* is a leaf in use: it opens
//! and accepts connections on which both sides have shown theirs, and takes a new leaf when its file changes,
//! without a restart and without closing what is open.
//!
//! The authority's key may be lost or replaced at any time. The next one is made by itself; the old root is
//! believed until the last leaf that it can have signed has ended, so nothing that runs is cut off.
//!
//! # Code map
//!
//! - `authority`: the key, its record, issuing. `files`: leaves of one host, laid down and renewed.
//! - `identity`: a leaf in use. `web`: the platform's small HTTP between processes that know each other.

pub mod authority;
pub mod files;
mod identity;
pub mod web;

pub use identity::{Identity, IdentityError, Peer, check, end_point};
