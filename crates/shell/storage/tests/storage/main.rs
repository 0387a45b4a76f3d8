//! The journal on a real file system: coordination, damage, export.
#![allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]

mod common;
mod coordination;
mod damage;
mod export;
