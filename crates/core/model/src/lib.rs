//! The platform: what runs where, who may do what to it, and what it must survive.
//!
//! Think of a border post. A [`PlatformDraft`] is what a traveller declares: strings and numbers, in any
//! state of disorder. [`Platform::from_draft`] inspects all of it and either hands over a [`Platform`], in
//! which every reference resolves, every port is free and every promise of survival can be kept, or the
//! complete list of [`Violation`]s, each with the place it is about and what to do. Behind the border
//! nothing is checked again: whoever holds a `Platform` relies on it.
//!
//! Knows nothing of files or formats: paths such as `/spec/hosts/0/region` name places in the draft, and
//! whoever read the draft from somewhere maps them to line and column.

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]

extern crate alloc;

pub mod address;
pub mod chaos;
pub mod coordination;
pub mod cost;
pub mod database;
pub mod draft;
pub mod gate;
pub mod gateway;
pub mod name;
pub mod nearest;
pub mod oncall;
pub mod parameter;
pub mod people;
mod platform;
pub mod service;
mod validate;
pub mod violation;
pub mod watch;

pub use draft::PlatformDraft;
pub use platform::{Environment, EnvironmentKind, Host, Platform, Region, Waiver};
pub use violation::{Code, Violation};
