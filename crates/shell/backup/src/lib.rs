//! Base backups and continuous log into sealed objects, and back again, with proof.
//!
//! # The mental model
//!
//! A *shelf* of sealed boxes in a warehouse that is not trusted ([`store`], [`seal`], [`key`]): every box is locked, named,
//! and looked into again after it was put down. Two kinds of people bring boxes: whoever makes a *base backup*
//! ([`base`]), and the *archiver* ([`archiver`]), who stands beside the primary and carries the log away as it is
//! written. Whoever needs the data back ([`restore`]) takes a copy and the log after it, in an empty room. And because a
//! shelf full of boxes proves nothing, somebody regularly does exactly that ([`prove`]) and compares what comes out with
//! what was noted before.
//!
//! Which boxes reach which moment, and which may be thrown away, is decided by the core crate `archive`; here is IO only.
//!
//! # Names in a store
//!
//! ```text
//! DATABASE/ARCHIVE/identity                what this is an archive of
//! DATABASE/ARCHIVE/wal/SEGMENT             24 digits, as PostgreSQL names it
//! DATABASE/ARCHIVE/wal/SEGMENT.partial.N   the first N bytes (hexadecimal) of one that is not full
//! DATABASE/ARCHIVE/wal/TIMELINE.history
//! DATABASE/ARCHIVE/backups/ID/part-N       a piece of the tar
//! DATABASE/ARCHIVE/backups/ID/backup       comes last: without it the set is none
//! DATABASE/ARCHIVE/backups/ID/proof-MS     a restore that succeeded
//! DATABASE/ARCHIVE/points/NAME
//! ```

mod alarms;
mod archive;
mod archiver;
mod base;
mod books;
mod figures;
mod handed;
mod key;
mod marks;
pub mod moment;
mod programs;
mod prove;
mod prune;
mod receiver;
mod restore;
mod scratch;
mod seal;
mod slots;
mod source;
mod spool;
mod store;
mod waiting;

pub use archive::{Archive, ArchiveError, Catalogue, Damaged, Entry, Piece, proven_days, reach};
pub use archiver::{run, serve};
pub use base::{BaseError, create};
pub use key::{Fingerprint, KeyError, MasterKey};
pub use mainstay_rt::error::chain;
pub use marks::{MarkError, join, name_point, write_mark};
pub use prove::{ProveError, prove};
pub use prune::{PruneError, Pruned, prune};
pub use restore::{RestoreError, Restored, Wanted, choose, needed_bytes, offer, restore};
pub use seal::{DataKey, SealError};
pub use source::{SourceError, Sources};
pub use store::{Access, CredentialsError, Levelled, PlainStore, StoreError, Stores};
