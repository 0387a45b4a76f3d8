//! Where a request goes, whether it waits, and whether it may be repeated.

#![no_std]

extern crate alloc;
