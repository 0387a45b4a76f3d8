//! Everything a keeper does to the world.

use alloc::boxed::Box;

use mainstay_units::{Instant, Term};

use crate::config::ReplicaId;
use crate::durable::Durable;
use crate::input::RequestId;
use crate::message::Message;
use crate::postgres::{Command, OperationId};
use crate::status::{Answer, HaltReason, Status};

/// One thing to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Write the record to disk and flush it (two slots, in place, checksummed), then answer with
    /// `Persisted`. On any error answer with `PersistFailed`, and end the process.
    Persist {
        sequence: u64,
        durable: Box<Durable>,
    },
    /// Send to a peer. May be lost, delayed or reordered.
    Send { to: ReplicaId, message: Message },
    /// Tell the local server; answer with `CommandDone`.
    Postgres {
        operation: OperationId,
        command: Command,
    },
    /// Replace the lease file: readers may be answered until `expires` (own boot-time clock).
    WriteLease { term: Term, expires: Instant },
    /// Make the lease file say that there is no lease, before the next effect.
    ClearLease,
    /// What this keeper now says of itself changed; give it to whoever listens to the sight stream.
    /// (The stream repeats the last one at its own interval.)
    Publish(Box<Status>),
    /// Answer an operator.
    Answer { request: RequestId, answer: Answer },
    /// The keeper cannot go on. End the process after the effects before this one; the supervisor
    /// starts it again if the reason allows.
    Halt(HaltReason),
}
