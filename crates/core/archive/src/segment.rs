//! The log in pieces: PostgreSQL's names for them, and the arithmetic between names and positions.
//!
//! A segment's name is 24 hexadecimal digits: timeline, then the number of its "logical log file" of 4 GiB, then its
//! place in that (PostgreSQL's `access/xlog_internal.h`, `XLogFileName`). Names sort as positions do.

use alloc::format;
use alloc::string::String;

use mainstay_units::{Lsn, Timeline};

/// Bytes in a segment: a power of two from 1 MiB to 1 GiB, fixed when a cluster is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSize(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a segment of {0} bytes: PostgreSQL's are powers of two from 1 MiB to 1 GiB")]
pub struct SegmentSizeError(pub u64);

impl SegmentSize {
    pub const DEFAULT: Self = Self(16 << 20);

    /// # Errors
    /// When PostgreSQL has no segments of this size.
    pub const fn new(bytes: u64) -> Result<Self, SegmentSizeError> {
        if bytes.is_power_of_two() && bytes >= 1 << 20 && bytes <= 1 << 30 {
            Ok(Self(bytes))
        } else {
            Err(SegmentSizeError(bytes))
        }
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }

    const fn per_logical_file(self) -> u64 {
        (1 << 32) / self.0
    }

    /// The number of the segment that holds this position.
    pub const fn number_of(self, lsn: Lsn) -> u64 {
        lsn.0 / self.0
    }
}

/// One piece of the log. Ordered by timeline first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    pub timeline: Timeline,
    pub number: u64,
}

impl Segment {
    pub fn name(self, size: SegmentSize) -> String {
        let (high, low) = (
            self.number / size.per_logical_file(),
            self.number % size.per_logical_file(),
        );
        format!("{:08X}{high:08X}{low:08X}", self.timeline.0)
    }

    /// `None` unless it is exactly what [`Segment::name`] writes.
    pub fn parse(name: &str, size: SegmentSize) -> Option<Self> {
        if name.len() != 24 || !name.is_ascii() {
            return None;
        }
        let part = |from: usize| u64::from_str_radix(name.get(from..from + 8)?, 16).ok();
        let (timeline, high, low) = (part(0)?, part(8)?, part(16)?);
        if low >= size.per_logical_file() {
            return None;
        }
        let segment = Self {
            timeline: Timeline(u32::try_from(timeline).ok()?),
            number: high * size.per_logical_file() + low,
        };
        (segment.name(size) == name).then_some(segment)
    }

    pub const fn start(self, size: SegmentSize) -> Lsn {
        Lsn(self.number * size.0)
    }

    pub const fn end(self, size: SegmentSize) -> Lsn {
        Lsn((self.number + 1) * size.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_postgresqls() {
        let size = SegmentSize::DEFAULT;
        let segment = Segment {
            timeline: Timeline(3),
            number: size.number_of(Lsn(0x16_B374_D848)),
        };
        assert_eq!(segment.name(size), "0000000300000016000000B3");
        for bad in [
            "",
            "000000030000001600000100",
            "0000000300000016000000b3",
            "+00000030000001600000001",
        ] {
            assert_eq!(Segment::parse(bad, size), None, "{bad}");
        }
        assert!(SegmentSize::new(3 << 20).is_err() && SegmentSize::new(1 << 19).is_err());
    }

    proptest! {
        #[test]
        fn name_and_back(timeline: u32, number in 0u64..1 << 40, exponent in 20u32..=30) {
            let size = SegmentSize::new(1 << exponent).unwrap();
            let number = number % (size.per_logical_file() << 32);
            let segment = Segment { timeline: Timeline(timeline), number };
            prop_assert_eq!(Segment::parse(&segment.name(size), size), Some(segment));
            prop_assert_eq!(size.number_of(segment.start(size)), number);
            prop_assert_eq!(size.number_of(segment.end(size)), number + 1);
        }
    }
}
