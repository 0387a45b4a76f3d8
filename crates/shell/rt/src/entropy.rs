//! Randomness from the operating system: seeds, keys, identities.

/// Fills `buffer` with bytes nobody can predict.
///
/// # Panics
/// When the operating system has no randomness to give. Without it no key and no identity can be made,
/// and going on would be worse than stopping.
pub fn fill(buffer: &mut [u8]) {
    if let Err(error) = getrandom::fill(buffer) {
        panic!("the operating system gives no randomness: {error}");
    }
}

pub fn u64() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

pub fn u128() -> u128 {
    let mut bytes = [0; 16];
    fill(&mut bytes);
    u128::from_le_bytes(bytes)
}
