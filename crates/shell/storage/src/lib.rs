//! The journal on disk: create-only parts, signed checkpoints, verification, export.
//!
//! A journal is a folder that all nodes of the machine share:
//!
//! ```text
//! journal/parts/00000000000000000042.part   the entries from position 42 on, with their checkpoint
//! journal/beats/HOST.json                   what HOST says a few times a second, and beside it the file of its next words
//! journal/cut/…                             torn parts that a writer moved out of the way
//! ```
//!
//! and every node remembers, in a folder of its own, its key, the last checkpoint it saw and the highest
//! epoch it obeyed ([`NodeFolder`]). Nobody holds a lock: **the log is the lock.** A part is written and
//! fsynced under a temporary name and published with link(2) under the name of its position; of two writers
//! one finds the name taken. Leading is nothing but having written the newest claim, so a leader that was
//! frozen learns at its next append, from the file system, that it leads no more.
//!
//! [`Coordination`] is the port, [`LocalFolder`] its embedded form, [`Etcd`] its distributed one (the same parts as
//! values), and a [`Place`] says which is meant. [`Journal`] is what a node holds: it follows, appends and remembers. [`verify()`] reads everything again and repairs
//! nothing; [`mutate_and_verify`] damages copies to show that verify bites; [`export()`] writes the C2SP
//! tlog-tiles form for verifiers that others wrote.

mod archive;
mod beats;
mod bench;
mod cut;
mod etcd;
mod export;
mod fence;
mod folder;
mod gate;
mod journal;
mod meaning;
mod mutate;
mod node_folder;
mod place;
mod port;
mod read;
mod verify;

pub use archive::{Archive, ArchiveFolder};
pub use bench::rates;
pub use cut::{CutError, cut_torn_end};
pub use etcd::{Endpoint, Etcd, EtcdPlace};
pub use export::{ExportError, export};
pub use fence::{EpochFence, FenceError};
pub use folder::{Listing, LocalFolder};
pub use gate::{Direction, Reach, reaches_majority};
pub use journal::{AppendError, Appended, FollowError, Journal};
pub use meaning::meaning_of;
pub use mutate::mutate_and_verify;
pub use node_folder::{NodeFolder, NodeFolderError};
pub use place::{Kept, Place, Port};
pub use port::{Coordination, PortError, PublishError};
pub use read::{Entries, ReadError, read_entries};
pub use verify::verify;
