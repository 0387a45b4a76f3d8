//! The matching engine and its ledger: a pure function of the command log.
//!
//! Think of a chess score sheet. The sheet (the command log) is the truth; the board (the state here)
//! is what anybody gets who plays the moves in order. [`Engine::apply`] plays one move: it takes a
//! command and the time at which it was recorded, changes the board, and returns what that move meant:
//! the outcome, the postings in the ledger, the trades, the orders that changed. Nothing else moves the
//! board, nothing is read from outside, so the same moves give the same board, byte for byte.
//!
//! * **Money** is integers: prices in cents, quantities in 10^-8 BTC, hence notionals in 10^-10 USD, exactly.
//!   There is no rounding anywhere but in the collar of a market order, which rounds towards less risk.
//! * **Ledger**: every movement is a pair of postings of equal size and opposite sign, so each command sums
//!   to zero per asset by construction. Money behind an open order stands in the bucket *held*. Only account 0,
//!   the outside world, may go below zero: deposits come from it.
//! * **References** of an account strictly increase. A command whose reference is not above the highest one
//!   seen is refused before it is applied; whoever drives the engine answers it from its record of the log.
//! * **Deadlines**: a command recorded after its deadline has the outcome *expired* and no other effect. The
//!   deadline bounds the entry of a command; it does not take a resting order out of the book.
//! * **Mode**: a command of account 0 says which commands are taken from then on (see [`command::Mode`]). It stands in the
//!   log like any other, so whoever plays the log is in the same mode at the same command.
//!
//! What this crate must not know: clocks, JSON, PostgreSQL, who sent a command and how.

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]

extern crate alloc;

pub mod book;
pub mod command;
pub mod decimal;
pub mod engine;
pub mod ledger;
pub mod limits;
pub mod outcome;
pub mod snapshot;
pub mod units;
