//! Everything that can happen to a keeper.

use crate::config::{ReplicaId, Wanted};
use crate::message::Message;
use crate::postgres::{Observation, OperationId, Outcome};

/// Something that happened, handed to [`crate::Keeper::handle`] with the time at which it did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The deadline of [`crate::Keeper::next_deadline`] came, or nothing else did for a while. Harmless
    /// at any other time.
    Tick,
    /// A peer's message, whole and from the connection of that peer.
    Message(Message),
    /// A connection of this peer's keeper was closed or reset from its side: its process ended, unless it is
    /// heard again.
    PeerClosed(ReplicaId),
    /// What the local server looks like.
    Observed(Observation),
    /// A command ended.
    CommandDone {
        operation: OperationId,
        outcome: Outcome,
    },
    /// The record of this sequence is on disk.
    Persisted { sequence: u64 },
    /// It is not, and it cannot be known what is: the keeper halts and its process must end.
    PersistFailed { sequence: u64 },
    /// The platform file asks for something else now. Nothing happens where that contradicts itself.
    Wanted(Wanted),
    /// An operator asks; answered once by [`crate::Effect::Answer`].
    Operator {
        request: RequestId,
        command: Operator,
    },
}

/// Pairs an operator's request with its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What an operator may ask of a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Move the primary to this replica. Only the primary's keeper accepts it.
    Switchover {
        to: ReplicaId,
    },
    /// Hands off: no election, no fencing, no start or stop; traffic and server stay untouched.
    Pause,
    Resume,
    /// Go on with fewer copies than promised until the quorum is back. Only an open primary's keeper accepts
    /// it.
    Solo {
        /// The wall clock of this host, for people.
        since_ms: u64,
    },
    /// Fill this replica anew from the primary, while the rest can do without it.
    Refill,
    /// Begin a lineage with this replica's log, where a majority is gone for good. Only where no primary is heard.
    Force {
        /// The wall clock of this host, for people.
        since_ms: u64,
    },
}
