//! The hash chain and the gapless sequence.
//!
//! Each row is checked against the *stored* hash of the row before it, so one bad row is one finding and not an avalanche.
//! The chain starts from 32 zero bytes at sequence 1.

use sha2::{Digest, Sha256};

use crate::finding::{Class, Findings};
use crate::rows::CommandRow;

#[derive(Debug)]
pub struct Chain {
    previous: Vec<u8>,
    next_sequence: i64,
}

impl Chain {
    #[must_use]
    pub fn new() -> Self {
        Self {
            previous: vec![0; 32],
            next_sequence: 1,
        }
    }

    pub fn check(&mut self, row: &CommandRow, findings: &mut Findings) {
        if row.sequence != self.next_sequence {
            let expected = self.next_sequence;
            findings.add(Class::Sequence, || {
                format!("sequence {} follows where {expected} is due", row.sequence)
            });
        }
        if link(&self.previous, row) != row.hash {
            findings.add(Class::Chain, || {
                format!("sequence {}: the hash does not cover the row", row.sequence)
            });
        }
        self.previous.clone_from(&row.hash);
        self.next_sequence = row.sequence.saturating_add(1);
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

/// The hash that a row should have after the row with hash `previous`.
#[must_use]
pub fn link(previous: &[u8], row: &CommandRow) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(previous);
    for number in [row.sequence, row.epoch, row.recorded_ms] {
        hash.update(number.to_be_bytes());
    }
    hash.update(row.request.as_bytes());
    hash.update([0]);
    hash.update(row.outcome.as_bytes());
    hash.finalize().to_vec()
}
