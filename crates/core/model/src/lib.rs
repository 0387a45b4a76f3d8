//! The validated platform and the rules it must satisfy.

#![no_std]

extern crate alloc;
