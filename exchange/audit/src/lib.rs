//! The auditor: an accountant who trusts nobody.
//!
//! It is given two things: the customers' own notes (*witness logs*: what they intended, and what they were told) and
//! the venue's books (a database). It knows what the words in both mean and the rules of a fair market, and *nothing of
//! the program that wrote the books*: it shares no code with the engine or the venue, parses everything itself, and
//! derives the market again with a naive engine of its own ([`shadow`]).
//!
//! ```text
//!   witness logs ──► intents ─────────┐
//!                                     ├─► classes of intents ─┐
//!   database ──► rows in sequence ────┤                       ├─► findings, verdict
//!                                     ├─► chain, epochs ──────┤
//!                                     └─► shadow market ──────┘
//! ```
//!
//! Every intent ends in one class: acknowledged and present; refused; unknown and resolved by the books (present or
//! absent); or one of the findings: lost (acknowledged, absent), duplicated, altered. Whatever is in the books without
//! an intent is invented. Beside that the books must be sound in themselves; [`finding::Class`] lists the rules.
//!
//! An auditor that has never caught anything proves nothing: [`plant`] puts one named fault into a scratch copy.
//!
//! What this crate must not know: anything of this repository. It depends on no crate of it.

pub mod books;
pub mod chain;
pub mod check;
pub mod database;
pub mod decimal;
pub mod epochs;
pub mod finding;
pub mod intents;
pub mod plant;
pub mod report;
pub mod request;
pub mod rows;
pub mod shadow;
pub mod tls;
pub mod witness;

/// Exit codes, for scripts.
pub mod exit {
    pub const CLEAN: u8 = 0;
    pub const FINDINGS: u8 = 1;
    /// No verdict: an input could not be read.
    pub const NO_VERDICT: u8 = 2;
}

/// Why no verdict is possible, or a fault could not be planted.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("read witness {path}")]
    WitnessRead {
        path: String,
        source: std::io::Error,
    },
    #[error("witness {path} line {line}: {problem}")]
    WitnessLine {
        path: String,
        line: u64,
        problem: String,
    },
    #[error("the witness logs changed while they were read: {0}")]
    WitnessChanged(String),
    #[error("no witness file (*.jsonl) in {0}; name the folder that the driver wrote")]
    NoWitness(String),
    #[error(
        "{folder} had a file {name}, as its list says, and it is gone: what it promised nobody can look for; bring it back"
    )]
    WitnessGone { folder: String, name: String },
    #[error("the witness logs speak of cells {0}; choose one with --cell")]
    ManyCells(String),
    #[error("the witness logs hold no intent{0}; there is nothing to judge")]
    NoIntents(String),
    #[error("database settings: {0}")]
    Settings(String),
    #[error("{operation} in the database")]
    Database {
        operation: &'static str,
        source: tokio_postgres::Error,
    },
    #[error("{operation} in the database: no answer within {seconds} s")]
    Silent {
        operation: &'static str,
        seconds: u64,
    },
    #[error("the database has no schema 'exchange': is it the database of a cell?")]
    NoSchema,
    #[error("{table} {row}: {problem}")]
    Row {
        table: &'static str,
        row: String,
        problem: String,
    },
    #[error("{0}")]
    Refused(String),
    #[error("write {path}")]
    Write {
        path: String,
        source: std::io::Error,
    },
    #[error("start the runtime")]
    Start(#[source] std::io::Error),
}
