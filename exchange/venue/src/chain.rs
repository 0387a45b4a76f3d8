//! The hash chain over the command log: SHA-256(previous ‖ sequence ‖ epoch ‖ recorded_ms ‖ request ‖ 0x00 ‖ outcome),
//! numbers as 8 bytes big-endian; before the first command stand 32 zero bytes.

use sha2::{Digest, Sha256};

pub type Hash = [u8; 32];
pub const GENESIS: Hash = [0; 32];

pub fn next(
    previous: &Hash,
    sequence: u64,
    epoch: u64,
    recorded_ms: u64,
    request: &str,
    outcome: &str,
) -> Hash {
    Sha256::new()
        .chain_update(previous)
        .chain_update(sequence.to_be_bytes())
        .chain_update(epoch.to_be_bytes())
        .chain_update(recorded_ms.to_be_bytes())
        .chain_update(request)
        .chain_update([0])
        .chain_update(outcome)
        .finalize()
        .into()
}
