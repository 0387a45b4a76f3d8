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
//! - [`tar`]: the same files as one archive.

pub mod controls;
mod items;
mod manifest;
mod measured;
mod pack;
mod record;
mod scope;
mod stamps;
mod summary;
pub mod tar;

pub use items::{Item, Part, Status};
pub use manifest::{MANIFEST, Manifest};
pub use pack::{Material, PackError, Refused, Verified, pack, verify};
pub use scope::Subject;
