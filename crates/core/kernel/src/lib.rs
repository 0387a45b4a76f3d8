//! Deliberation: signals in, decisions with reasons, journalled events, effects out.

#![no_std]

extern crate alloc;
