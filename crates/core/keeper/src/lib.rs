//! Who may accept writes: the protocol of the keepers, one per database replica.
//!
//! # The mental model
//!
//! A keeper is a notary who lives beside one PostgreSQL server. The notaries of a database agree, term
//! by term, which server may accept writes. They never agree by clocks: a new term begins only when
//! enough notaries have *promised on disk* to leave the old one and have taken their servers off its
//! stream, so that the old primary cannot collect the acknowledgements that a commit needs ("recruit
//! before promote"). Clocks decide only how soon somebody tries, and how long reads may be trusted.
//!
//! A term is a PostgreSQL timeline: `Term(7)` writes timeline 7 and nothing else does. Hence a position
//! (timeline, LSN) names one content of the log, and comparing two positions compares two logs.
//!
//! # The shape
//!
//! [`Keeper`] has no clock, entropy or IO. The shell feeds it [`Input`]s with the time at which they
//! happened, then drains [`Keeper::poll_effect`] until it is empty, then waits until something happens or
//! until [`Keeper::next_deadline`]. Effects are performed in the order in which they come; each
//! [`Command`] to PostgreSQL is answered by one [`Input::CommandDone`], each [`Effect::Persist`] by one
//! [`Input::Persisted`]. The core holds back by itself whatever must not happen before a record is
//! durable, so the shell needs no ordering rules of its own.
//!
//! # Code map
//!
//! `config`, `durable`, `message`, `postgres`, `input`, `effect`, `status` are the vocabulary; `keeper` is
//! the object that joins the parts; `gate` holds effects back until the record is durable. `machine` is
//! the table of the local server's states and `server` drives it. `peers` is what is known of others.
//! `promise` and `election` are the two sides of a new term, `cohort` the arithmetic of both. `primary`,
//! `lease`, `switchover`, `solo` are a primary's duties; `lineage` is how it goes on without a majority; `founding` and `rejoin` are how replicas come (back).

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]

extern crate alloc;

mod cohort;
mod config;
mod durable;
mod effect;
mod election;
mod founding;
mod gate;
mod input;
mod keeper;
mod lease;
mod lineage;
mod machine;
mod members;
mod message;
mod peers;
mod planted;
mod postgres;
mod primary;
mod promise;
mod random;
mod refill;
mod rejoin;
mod renewal;
mod reshape;
mod server;
mod solo;
mod status;
mod switchover;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, ReplicaId, Roster, Timings, Wanted};
pub use durable::{Cohort, CohortVersion, Durable, Loss, Member, Promise, Solo};
pub use effect::Effect;
pub use input::{Input, Operator, RequestId};
pub use keeper::Keeper;
pub use lineage::Lineage;
pub use machine::{Event, Row, State, TABLE};
pub use members::Members;
pub use message::{Body, Echo, Heartbeat, Message, PreVote, Refusal, Renews, Report};
#[cfg(feature = "planted-bugs")]
pub use planted::PlantedBug;
pub use postgres::{
    Client, ClientState, Command, DataState, Failure, HistoryEntry, Observation, OperationId,
    Outcome, ProcessState, Rank, Receiver, ReceiverName, Renewal, Serviceability, Supply,
    SynchronousStandbys, TimelineHistory,
};
pub use status::{
    Answer, ForceRefusal, HaltReason, Reason, RefillRefusal, Role, SoloRefusal, Status,
    SwitchoverRefusal, WakeReason,
};
