//! Evidence of a drill, an experiment or an incident: what an auditor can check without asking anybody.
//!
//! Think of a box of exhibits that the court has sealed. On its lid is a list of everything inside, signed. Inside are
//! the notary's book as it was (the log, with its signed foot), a finding for each question that is asked of a
//! rehearsal, and for each sentence of the findings the lines of the book that it rests on. Whoever opens the box makes
//! the findings again from the book alone and compares; a finding that somebody wrote by hand is noticed, however well
//! it is sealed.
//!
//! - [`Material`] → [`pack`] → files and a [`Manifest`] to be signed; [`verify`] is the way back.
//! - [`Item`]s are *shown*, *missing* or *stale*, part by part, with the reason.
//! - [`controls`]: which rule asks for which item, as a table.
//! - [`RULES`] numbers what follows from a log: a pack names the number, and one of another number is told apart from a forged one.
//! - [`tar`]: the same files as one archive.

pub mod controls;
mod items;
mod manifest;
mod measured;
mod older;
mod pack;
mod record;
mod scope;
mod stamps;
mod summary;
pub mod tar;
mod verify;

pub use items::{Item, Part, Status};
pub use manifest::{MANIFEST, Manifest, RULES, Rules};
pub use older::Untraced;
pub use pack::{Material, PackError, pack};
pub use scope::Subject;
pub use verify::{Refused, Unverified, Verified, verify};
