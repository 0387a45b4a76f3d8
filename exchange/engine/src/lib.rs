//! The matching engine and its ledger: a pure function of the command log.

#![no_std]

extern crate alloc;
