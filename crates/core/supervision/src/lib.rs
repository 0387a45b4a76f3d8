//! The life of one supervised process: start, probe, restart, stop.

#![no_std]

extern crate alloc;
