//! Drawn numbers, all from the seed that the shell gave (SplitMix64, Steele, Lea and Flood 2014).

use core::time::Duration;

use mainstay_units::Incarnation;

#[derive(Clone, Debug)]
pub(crate) struct Random {
    low: u64,
    high: u64,
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

impl Random {
    pub fn new(seed: u128) -> Self {
        let bytes = seed.to_le_bytes();
        let half = |from: usize| {
            bytes[from..from + 8]
                .iter()
                .rev()
                .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte))
        };
        Self {
            low: half(0),
            high: half(8),
        }
    }

    /// Both halves of the seed stay in it, so that two keepers draw the same one only by drawing the
    /// same 128 bits.
    pub fn incarnation(&mut self) -> Incarnation {
        let low = split_mix(&mut self.low);
        let high = split_mix(&mut self.high);
        Incarnation((u128::from(high) << 64 | u128::from(low)).max(1))
    }

    pub fn up_to(&mut self, limit: Duration) -> Duration {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(split_mix(&mut self.low) % nanos)
    }
}
