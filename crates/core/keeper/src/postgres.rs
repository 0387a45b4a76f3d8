//! What the keeper can tell a PostgreSQL server to do, and what it can learn from it.
//!
//! Each [`Command`] is one thing that the shell can do to the server and know the end of. Commands are
//! performed one after the other, in the order in which they come, with two exceptions:
//! [`Command::Checkpoint`] runs beside the others, and [`Command::StopImmediate`] overtakes: the shell
//! ends the command under way (its helper processes too), answers it and all that wait with
//! [`Failure::Cancelled`], and answers the stop when no process of the server is left.
//!
//! An [`Observation`] that is handed to the keeper after a command's outcome must have been made after
//! that command ended.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use mainstay_units::{Incarnation, Lsn, SystemIdentifier, Term, Timeline};

use crate::config::ReplicaId;

/// Pairs a command with its outcome. Grows with each command of a keeper's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// One thing to do to the local server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Create the cluster with checksums (`initdb`), write `incarnation` into the data folder, and put
    /// `standby.signal` in place. Never starts a server. Outcome: [`Outcome::Initialized`].
    Initialize { incarnation: Incarnation },
    /// Start the server as a standby that streams from nobody: `standby.signal` in place,
    /// `primary_conninfo` and `restore_command` empty, applications refused by pg_hba, no sessions.
    /// Done when it accepts the keeper's own connections. Outcome: [`Outcome::Done`].
    StartStandby,
    /// End every process of the server without a checkpoint. Done when none is left (a zombie counts as
    /// dead). Also done, at once, when none was running. Outcome: [`Outcome::Done`].
    StopImmediate,
    /// Empty `primary_conninfo` and `restore_command` durably, reload, and wait until the walreceiver is
    /// gone. Outcome: [`Outcome::Done`].
    Detach,
    /// End a standby with what it has flushed written to its files, so that its next start has little to replay.
    /// What does not end in time is ended as by `StopImmediate`. Outcome: [`Outcome::Done`].
    StopInOrder,
    /// Stream from `source`, presenting `name` as `application_name`. Durable, then reloaded; a
    /// walreceiver of another name or source is replaced. Done when the setting is effective, not when
    /// it streams. Outcome: [`Outcome::Done`].
    Follow {
        source: ReplicaId,
        name: ReceiverName,
    },
    /// Read the end of the valid log on disk: wait until replay has consumed everything and startup is
    /// parked, then `IDENTIFY_SYSTEM` and the timeline's history. Sent to a detached standby, and to a
    /// primary that a restarted keeper adopts. Outcome: [`Outcome::Ranked`].
    ReadRank,
    /// Set `synchronous_standby_names` durably, reload, and wait until it is effective for new sessions,
    /// walsenders and the checkpointer. Outcome: [`Outcome::Done`].
    SetSynchronousStandbys(SynchronousStandbys),
    /// Write empty placeholder histories up to `timeline` − 1, promote, wait until recovery has ended,
    /// put `standby.signal` back. Reports the timeline that the server really chose. Applications stay
    /// refused. Outcome: [`Outcome::Promoted`].
    Promote { timeline: Timeline },
    /// `CHECKPOINT`, after which the control file names the new timeline and pg_rewind may use this
    /// server as a source. Outcome: [`Outcome::Done`].
    Checkpoint,
    /// Let applications connect (pg_hba, reload). Outcome: [`Outcome::Done`].
    OpenApplications,
    /// Refuse new connections of applications (pg_hba, reload) and end their sessions; done when no
    /// session of theirs is left. Outcome: [`Outcome::Done`].
    CloseApplications,
    /// With the server stopped: archive leftover segments, take `standby.signal` away, run pg_rewind
    /// against `source`, write `incarnation` into the data folder, put `standby.signal` in place, leave the server
    /// stopped. Outcome: [`Outcome::Done`]; [`Outcome::Failed`] leaves the folder unusable, or, with `spare`, as it was: a
    /// copy of it is made first, and outlives a keeper that ends in the middle.
    Rewind {
        source: ReplicaId,
        incarnation: Incarnation,
        spare: bool,
    },
    /// With the server stopped: empty the data folder, fill it by pg_basebackup from `source`, write
    /// `incarnation`, put `standby.signal` in place. Never starts the server. Outcome:
    /// [`Outcome::Done`]; [`Outcome::Failed`] leaves the folder unusable.
    Rebuild {
        source: ReplicaId,
        incarnation: Incarnation,
    },
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Done,
    Initialized {
        system_identifier: SystemIdentifier,
    },
    Ranked(Rank),
    Promoted {
        /// The timeline that the server chose.
        timeline: Timeline,
        /// An LSN at or after the end of the first record of that timeline, flushed locally.
        first_record_end: Lsn,
        /// The history of that timeline as the server has it.
        history: TimelineHistory,
    },
    Failed(Failure),
}

/// Why a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// A stop overtook it.
    Cancelled,
    /// The server or the helper program ended with an error.
    Refused,
    /// The shell's own limit for the command passed.
    TimedOut,
    /// The other server could not be reached.
    SourceUnreachable,
    /// The disk refused or is full.
    Disk,
    /// The server's program itself does not run: an installation that is broken, or under way.
    Program,
}

/// What the end of a log is worth: compared by timeline first, then by position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rank {
    /// The timeline of the last valid record on disk.
    pub timeline: Timeline,
    /// The end of that record.
    pub lsn: Lsn,
    /// The ancestors of `timeline`.
    pub history: TimelineHistory,
}

/// The ancestors of a timeline, oldest first, as its history file lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TimelineHistory(pub Vec<HistoryEntry>);

/// One line of a history file: `timeline` was left at `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HistoryEntry {
    pub timeline: Timeline,
    pub end: Lsn,
}

/// What a standby calls itself. Term and incarnation are in it, so that a receiver that still runs under
/// an old term, or of a refilled folder, never counts. Text form: `mainstay_TERM_REPLICA_INCARNATION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiverName {
    pub term: Term,
    pub replica: ReplicaId,
    pub incarnation: Incarnation,
}

impl fmt::Display for ReceiverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "mainstay_{}_{}_{}",
            self.term, self.replica, self.incarnation
        )
    }
}

/// The text is not a name that a keeper gave; it belongs to another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Hash)]
#[error("not a receiver's name: expected mainstay_TERM_REPLICA_INCARNATION")]
pub struct ParseReceiverNameError;

impl FromStr for ReceiverName {
    type Err = ParseReceiverNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text
            .strip_prefix("mainstay_")
            .ok_or(ParseReceiverNameError)?;
        let mut parts = rest.splitn(3, '_');
        let mut part = || parts.next().ok_or(ParseReceiverNameError);
        Ok(Self {
            term: Term(part()?.parse().map_err(|_| ParseReceiverNameError)?),
            replica: ReplicaId(part()?.parse().map_err(|_| ParseReceiverNameError)?),
            incarnation: part()?.parse().map_err(|_| ParseReceiverNameError)?,
        })
    }
}

/// The value of `synchronous_standby_names`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SynchronousStandbys {
    /// `ANY count (names)`.
    Any { count: u8, names: Vec<ReceiverName> },
    /// A name that nobody bears, so that every commit waits.
    Nobody,
    /// The empty setting: commits wait for nobody. Only where the platform file asks for one copy.
    Off,
}

/// What the shell saw of the local server, sent every 200 ms or so and at once when the process ends or
/// anything in it changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observation {
    pub data: DataState,
    pub process: ProcessState,
    pub serviceability: Serviceability,
    /// The walreceiver, if one runs.
    pub receiver: Option<Receiver>,
    pub supply: Supply,
    pub renewal: Renewal,
    /// Replication clients whose name parses as [`ReceiverName`], in the order of `pg_stat_replication`.
    pub clients: Vec<Client>,
}

/// What lies in the data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataState {
    /// No data folder, or an empty one.
    Blank,
    /// A folder that an interrupted filling left: of no use, may be emptied.
    Broken,
    Present {
        system_identifier: SystemIdentifier,
        /// What the folder says it is; `None` if it says nothing.
        incarnation: Option<Incarnation>,
    },
}

/// The server process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcessState {
    Stopped,
    /// Starting or stopping: not to be asked.
    Changing,
    /// In recovery.
    Standby {
        timeline: Timeline,
        /// Received and flushed, or replayed, whichever is further.
        flushed: Lsn,
    },
    /// Out of recovery: accepts writes from whoever is let in.
    Primary {
        timeline: Timeline,
        flushed: Lsn,
    },
}

/// Whether the server does its work. A keeper gives up a primary that stays unserviceable, and hands one that
/// ails (it works, and should not be relied on) over to a standby that is well, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Serviceability {
    Good,
    /// The postmaster accepts no new connection in time.
    Hung,
    /// No connection slot is left for the keeper.
    NoSlots,
    /// A write or flush of the disk failed or does not end.
    DeadDisk,
    /// The file system refuses every write.
    ReadOnly,
    /// Hardly any room is left.
    DiskFull,
    /// A page with a wrong checksum was read.
    CorruptData,
}

/// Whether a standby can still get the log that it lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Supply {
    /// It streams, or nobody said that it cannot.
    #[default]
    Unbroken,
    /// The primary itself said that it has removed what comes next. Waiting does not bring it back.
    Removed,
}

/// Whether the server should be started anew: what it was given last is taken by a start only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Renewal {
    #[default]
    NotNeeded,
    Needed,
    /// The server did not take what it was given, or did not start with it. It runs as before, and nobody else
    /// should try.
    Refused,
}

impl Serviceability {
    /// What else is observed was answered by the server just now, not remembered.
    pub fn is_answering(self) -> bool {
        match self {
            Self::Good | Self::DiskFull | Self::CorruptData => true,
            Self::Hung | Self::NoSlots | Self::DeadDisk | Self::ReadOnly => false,
        }
    }

    /// Works, and should not be relied on.
    pub fn is_ailment(self) -> bool {
        matches!(self, Self::DiskFull | Self::CorruptData)
    }
}

/// The walreceiver of a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receiver {
    /// The name it presented, if it is one of ours.
    pub name: Option<ReceiverName>,
    /// Whether it streams (as opposed to starting or waiting).
    pub streaming: bool,
    /// Whether anything came from the primary since the previous observation.
    pub heard: bool,
}

/// One walsender as the primary sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    pub name: ReceiverName,
    pub state: ClientState,
    pub flushed: Lsn,
}

/// The state of a walsender. Only `Streaming` counts for commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientState {
    CatchUp,
    Streaming,
    /// Startup, backup, stopping.
    Other,
}
