//! Samples of one series, packed: timestamps by the change of their distance, values by what differs.
//!
//! Think of a tally stick. Samples that come at the same distance need one notch for their time, and a value
//! that did not change needs one more; only what is out of step is written out. The scheme is that of
//! Pelkonen et al., "Gorilla: A Fast, Scalable, In-Memory Time Series Database" (VLDB 2015), with wider steps
//! for milliseconds. Every bit of a value comes back, also the markers that hide in NaN.
//!
//! A packed chunk is plain bytes and a count; whoever unpacks bytes that were damaged gets an error.

#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

extern crate alloc;

mod bits;

use alloc::vec::Vec;

use bits::{Reader, Writer};

/// Most samples of one chunk: a decoder never loops longer.
pub const SAMPLES_MAX: u32 = 10_000;

/// Widths of a changed distance, each behind one more set bit; anything else is written whole.
const WIDTHS: [u32; 3] = [14, 17, 20];

/// The chunk does not take the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the sample is not newer than the last one")]
    NotNewer,
    #[error("the chunk is full")]
    Full,
}

/// The bytes are no chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged chunk")]
pub struct Damaged;

#[derive(Clone, Debug, Default)]
pub struct Chunk {
    bits: Writer,
    count: u32,
    first: i64,
    last: i64,
    distance: i64,
    value: u64,
    /// Leading and trailing zeros of the last written difference.
    window: Option<(u32, u32)>,
}

impl Chunk {
    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// First and last moment.
    pub fn span(&self) -> (i64, i64) {
        (self.first, self.last)
    }

    pub fn bytes(&self) -> &[u8] {
        self.bits.bytes()
    }

    pub fn push(&mut self, at: i64, value: f64) -> Result<(), Refused> {
        if self.count >= SAMPLES_MAX {
            return Err(Refused::Full);
        }
        let value = value.to_bits();
        if self.count == 0 {
            self.first = at;
            self.bits.write(at.cast_unsigned(), 64);
            self.bits.write(value, 64);
        } else {
            if at <= self.last {
                return Err(Refused::NotNewer);
            }
            let distance = at.wrapping_sub(self.last);
            self.push_change(distance.wrapping_sub(self.distance));
            self.push_difference(value ^ self.value);
            self.distance = distance;
        }
        self.last = at;
        self.value = value;
        self.count += 1;
        Ok(())
    }

    fn push_change(&mut self, change: i64) {
        if change == 0 {
            self.bits.write(0, 1);
            return;
        }
        for (ones, width) in (1..).zip(WIDTHS) {
            let half = 1_i64 << (width - 1);
            if (-half..half).contains(&change) {
                // Set bits, a clear one, and the change moved to be positive.
                self.bits.write(u64::MAX << 1, ones + 1);
                self.bits.write((change + half).cast_unsigned(), width);
                return;
            }
        }
        self.bits.write(u64::MAX, 4);
        self.bits.write(change.cast_unsigned(), 64);
    }

    fn push_difference(&mut self, difference: u64) {
        if difference == 0 {
            self.bits.write(0, 1);
            return;
        }
        let (leading, trailing) = (
            difference.leading_zeros().min(31),
            difference.trailing_zeros(),
        );
        match self.window {
            Some((before, after)) if leading >= before && trailing >= after => {
                self.bits.write(0b10, 2);
                self.bits.write(difference >> after, 64 - before - after);
            }
            _ => {
                let width = 64 - leading - trailing;
                self.bits.write(0b11, 2);
                self.bits.write(u64::from(leading), 5);
                // 64 does not fit into six bits, and 0 does not occur.
                self.bits.write(u64::from(width - 1), 6);
                self.bits.write(difference >> trailing, width);
                self.window = Some((leading, trailing));
            }
        }
    }

    /// All samples, in the order of time.
    pub fn samples(&self) -> Result<Vec<(i64, f64)>, Damaged> {
        unpack(self.bytes(), self.count)
    }

    /// All samples, in the order of time, handed over one by one.
    pub fn each(&self, take: impl FnMut(i64, f64)) -> Result<(), Damaged> {
        each(self.bytes(), self.count, take)
    }

    /// A chunk from its bytes, ready for more; the bytes are checked.
    pub fn restore(bytes: &[u8], count: u32) -> Result<Self, Damaged> {
        let mut chunk = Self::default();
        for (at, value) in unpack(bytes, count)? {
            chunk.push(at, value).map_err(|_| Damaged)?;
        }
        if chunk.bytes() == bytes {
            Ok(chunk)
        } else {
            Err(Damaged)
        }
    }
}

/// So many samples from these bytes.
pub fn unpack(bytes: &[u8], count: u32) -> Result<Vec<(i64, f64)>, Damaged> {
    let mut samples = Vec::new();
    each(bytes, count, |at, value| samples.push((at, value)))?;
    Ok(samples)
}

fn each(bytes: &[u8], count: u32, mut take: impl FnMut(i64, f64)) -> Result<(), Damaged> {
    if count > SAMPLES_MAX {
        return Err(Damaged);
    }
    if count == 0 {
        return if bytes.is_empty() {
            Ok(())
        } else {
            Err(Damaged)
        };
    }
    let mut bits = Reader::new(bytes);
    let mut at = bits.read(64)?.cast_signed();
    let mut value = bits.read(64)?;
    let mut distance = 0_i64;
    let mut window = (0, 0);
    take(at, f64::from_bits(value));
    for _ in 1..count {
        distance = distance.wrapping_add(read_change(&mut bits)?);
        at = at
            .checked_add(distance)
            .filter(|_| distance > 0)
            .ok_or(Damaged)?;
        if bits.read(1)? == 1 {
            if bits.read(1)? == 1 {
                let leading = small(bits.read(5)?);
                let width = small(bits.read(6)?) + 1;
                let trailing = 64_u32.checked_sub(leading + width).ok_or(Damaged)?;
                window = (leading, trailing);
            }
            let (leading, trailing) = window;
            value ^= bits.read(64 - leading - trailing)? << trailing;
        }
        take(at, f64::from_bits(value));
    }
    Ok(())
}

fn read_change(bits: &mut Reader<'_>) -> Result<i64, Damaged> {
    if bits.read(1)? == 0 {
        return Ok(0);
    }
    for width in WIDTHS {
        if bits.read(1)? == 0 {
            let half = 1_i64 << (width - 1);
            return Ok(bits.read(width)?.cast_signed() - half);
        }
    }
    Ok(bits.read(64)?.cast_signed())
}

/// A number of at most six bits.
fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(samples: &[(i64, f64)]) -> Chunk {
        let mut chunk = Chunk::default();
        for (at, value) in samples {
            assert_eq!(chunk.push(*at, *value), Ok(()));
        }
        chunk
    }

    fn bits(samples: &[(i64, f64)]) -> Vec<(i64, u64)> {
        samples
            .iter()
            .map(|(at, value)| (*at, value.to_bits()))
            .collect()
    }

    #[test]
    fn regular_samples_cost_little() {
        let regular: Vec<(i64, f64)> = (0..1_000)
            .map(|n| (1_700_000_000_000 + n * 1_000, 42.0))
            .collect();
        assert!(
            packed(&regular).bytes().len() < 300,
            "{}",
            packed(&regular).bytes().len()
        );
    }

    #[test]
    fn old_samples_are_refused() {
        let mut chunk = packed(&[(10, 1.0)]);
        assert_eq!(chunk.push(10, 2.0), Err(Refused::NotNewer));
        assert_eq!(chunk.push(9, 2.0), Err(Refused::NotNewer));
        assert_eq!(chunk.span(), (10, 10));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_bit_comes_back(
            start in -4_000_000_000_000_i64..4_000_000_000_000,
            steps in prop::collection::vec((prop_oneof![Just(1_000_i64), 1_i64..30_000, 1_i64..1_000_000_000_000], any::<u64>(), 0_u8..4), 1..200),
        ) {
            let mut at = start;
            let mut value = 0_u64;
            let mut samples = Vec::new();
            for (step, raw, kind) in steps {
                at += step;
                value = match kind {
                    0 => raw,
                    1 => value,
                    2 => 0x7ff0_0000_0000_0002,
                    _ => (raw as u32 as f64).to_bits(),
                };
                samples.push((at, f64::from_bits(value)));
            }
            let chunk = packed(&samples);
            prop_assert_eq!(bits(&chunk.samples().unwrap()), bits(&samples));
            let mut restored = Chunk::restore(chunk.bytes(), chunk.count()).unwrap();
            restored.push(at + 1, 1.0).unwrap();
            samples.push((at + 1, 1.0));
            prop_assert_eq!(bits(&restored.samples().unwrap()), bits(&samples));
        }

        #[test]
        fn damaged_bytes_are_refused_or_read_but_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), count in 0_u32..60) {
            if let Ok(samples) = unpack(&bytes, count) {
                prop_assert!(samples.windows(2).all(|pair| pair[0].0 < pair[1].0));
            }
        }
    }
}
