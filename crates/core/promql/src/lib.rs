//! PromQL: parsing, printing and evaluation over samples that are handed in.
//!
//! Think of a clerk with a ledger and a slide rule. Somebody hands him a question (`parse` makes a tree of
//! it), a shelf of series (`sample::Source`), and a moment. He works the tree from the leaves up: a selector
//! becomes the samples that were current at that moment, a function or an operator makes new samples of
//! them, and every doubt he had on the way is written on a separate slip (`annotation`). A question over a
//! range is the same question asked at every step. He never looks at a clock and never keeps anything.
//!
//! The semantics are those of Prometheus 3: left-open windows, staleness markers, counters that are
//! extrapolated, names that are dropped when the meaning of a value changes, classic and native histograms.
//! Prometheus's own evaluation cases (`promql/promqltest/testdata`) are the judge, see
//! `tests/promqltest.rs`.
//!
//! Everything is bounded by [`eval::Limits`] and by the depth of a tree; no input makes it panic.

#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

extern crate alloc;

pub mod annotation;
pub mod ast;
pub mod eval;
pub mod functions;
pub mod histogram;
pub mod labels;
pub mod lex;
pub mod matcher;
pub mod notation;
pub mod number;
pub mod parse;
pub mod print;
pub mod sample;
pub mod store;
