//! Who may accept writes: the protocol of the keepers, one per database replica.

#![no_std]

extern crate alloc;
