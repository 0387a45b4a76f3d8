//! The trace of a schedule: SHA-256 over everything that went in and came out of every keeper.
//!
//! Two runs of a seed that differ anywhere differ here, in debug and in release.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

/// Gathers what is hashed, in a fixed byte order.
#[derive(Clone)]
pub struct Trace {
    kept: bool,
    digest: Sha256,
    buffer: Vec<u8>,
}

const BUFFER_LIMIT: usize = 4_096;

impl Default for Trace {
    fn default() -> Self {
        Self {
            kept: true,
            digest: Sha256::new(),
            buffer: Vec::with_capacity(BUFFER_LIMIT + 256),
        }
    }
}

impl Trace {
    /// One that hashes nothing, where nobody compares.
    pub fn absent() -> Self {
        Self {
            kept: false,
            ..Self::default()
        }
    }

    pub fn record<T: Hash>(&mut self, time: u64, node: u8, kind: u8, value: &T) {
        if !self.kept {
            return;
        }
        self.write_u64(time);
        self.write_u8(node);
        self.write_u8(kind);
        value.hash(self);
        if self.buffer.len() >= BUFFER_LIMIT {
            self.digest.update(&self.buffer);
            self.buffer.clear();
        }
    }

    pub fn close(mut self) -> [u8; 32] {
        self.digest.update(&self.buffer);
        self.digest.finalize().into()
    }
}

impl Hasher for Trace {
    fn write(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn write_u8(&mut self, value: u8) {
        self.buffer.push(value);
    }

    fn write_u16(&mut self, value: u16) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    fn write_u32(&mut self, value: u32) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    fn write_u64(&mut self, value: u64) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    fn write_u128(&mut self, value: u128) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    /// Not used: a trace has 256 bits, see [`Trace::close`].
    fn finish(&self) -> u64 {
        0
    }
}
