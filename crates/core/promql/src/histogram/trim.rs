//! What is left of a histogram if only observations below or above a value are kept.
//!
//! A bucket in which the value lies is split as a quantile would: along a line where buckets have bounds of
//! their own, along an exponential curve otherwise. The new sum is an estimate, each observation counting as
//! the middle of what is left of its bucket. Where nothing goes, the sum stays as it was measured.

use super::Histogram;

/// Which observations stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Below,
    Above,
}

/// How observations are thought to be spread within a bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spread {
    Linear,
    Exponential,
}

/// What stays of a bucket, and the value that each of it counts as.
#[derive(Clone, Copy, Default)]
struct Kept {
    count: f64,
    middle: f64,
}

impl Histogram {
    pub fn trim(&mut self, limit: f64, side: Side) {
        let spread = if self.is_custom() {
            Spread::Linear
        } else {
            Spread::Exponential
        };
        let (mut total, mut sum, mut changed) = (0.0, 0.0, false);
        let mut take = |before: f64, kept: Kept| {
            total += kept.count;
            sum += kept.count * kept.middle;
            changed |= kept.count != before;
            kept.count
        };
        let negative: alloc::vec::Vec<f64> = self
            .negative
            .iter()
            .map(|(index, count)| {
                let ends = (-self.bound(*index), -self.bound(index.saturating_sub(1)));
                take(*count, kept(ends, *count, limit, side, spread))
            })
            .collect();
        let positive: alloc::vec::Vec<f64> = self
            .positive
            .iter()
            .map(|(index, count)| {
                let ends = (self.bound(index.saturating_sub(1)), self.bound(*index));
                take(*count, kept(ends, *count, limit, side, spread))
            })
            .collect();
        if self.zero_count > 0.0 {
            // It lies on the side where the other observations are, if they are on one only.
            let lower = if self.negative.is_empty() && !self.positive.is_empty() {
                0.0
            } else {
                -self.zero_threshold
            };
            let upper = if self.positive.is_empty() && !self.negative.is_empty() {
                0.0
            } else {
                self.zero_threshold
            };
            let zero = kept((lower, upper), self.zero_count, limit, side, Spread::Linear);
            self.zero_count = take(self.zero_count, zero);
        }
        if !changed {
            return;
        }
        for (buckets, counts) in [
            (&mut self.positive, positive),
            (&mut self.negative, negative),
        ] {
            for (bucket, count) in buckets.iter_mut().zip(counts) {
                bucket.1 = count;
            }
        }
        self.count = total;
        self.sum = sum;
        self.compact();
    }
}

fn kept((lower, upper): (f64, f64), count: f64, limit: f64, side: Side, spread: Spread) -> Kept {
    let (is_whole, is_split) = match side {
        Side::Below => (upper <= limit, lower < limit),
        Side::Above => (lower >= limit, upper > limit),
    };
    if is_whole {
        let middle = middle(lower, upper, spread);
        return Kept { count, middle };
    }
    if !is_split {
        return Kept::default();
    }
    if lower.is_infinite() || upper.is_infinite() {
        return kept_of_open((lower, upper), count, limit, side);
    }
    let below = match spread {
        Spread::Linear => (limit - lower) / (upper - lower),
        Spread::Exponential => {
            let log = |value: f64| libm::log2(value.abs());
            (log(limit) - log(lower)) / (log(upper) - log(lower))
        }
    };
    match side {
        Side::Below => Kept {
            count: count * below,
            middle: middle(lower, limit, spread),
        },
        Side::Above => Kept {
            count: count - count * below,
            middle: middle(limit, upper, spread),
        },
    }
}

/// Of a bucket with an open end nobody knows where its observations are; but one that ends above zero is
/// taken to begin there.
fn kept_of_open((lower, upper): (f64, f64), count: f64, limit: f64, side: Side) -> Kept {
    let from_zero = lower.is_infinite() && upper.is_finite() && upper > 0.0;
    match side {
        Side::Below if from_zero && limit > 0.0 => Kept {
            count: count * limit / upper,
            middle: limit / 2.0,
        },
        Side::Below if lower.is_infinite() && upper <= 0.0 => Kept {
            count,
            middle: limit,
        },
        Side::Above if from_zero && limit >= 0.0 => Kept {
            count: count * (1.0 - limit / upper),
            middle: f64::midpoint(limit, upper),
        },
        Side::Above if lower.is_finite() => Kept {
            count,
            middle: limit,
        },
        Side::Below | Side::Above => Kept::default(),
    }
}

fn middle(lower: f64, upper: f64, spread: Spread) -> f64 {
    if lower.is_infinite() {
        return match upper {
            _ if upper.is_infinite() => 0.0,
            _ if upper > 0.0 => upper / 2.0,
            _ => upper,
        };
    }
    if upper.is_infinite() {
        return lower;
    }
    match spread {
        Spread::Linear => f64::midpoint(lower, upper),
        Spread::Exponential => {
            let middle = libm::sqrt((lower * upper).abs());
            if upper < 0.0 { -middle } else { middle }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::CUSTOM;
    use alloc::vec;

    #[test]
    fn what_is_whole_stays_as_measured() {
        let whole = Histogram {
            count: 3.0,
            sum: 100.0,
            positive: vec![(1, 2.0), (2, 1.0)],
            ..Histogram::default()
        };
        let mut same = whole.clone();
        same.trim(4.0, Side::Below);
        assert_eq!(same, whole);
        // Two observations between 1 and 2 count as the root of 2 each.
        let mut half = whole;
        half.trim(2.0, Side::Below);
        assert_eq!((half.count, half.positive), (2.0, vec![(1, 2.0)]));
        assert!((half.sum - 2.0 * 2.0_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn open_ends_are_not_split() {
        let custom = Histogram {
            schema: CUSTOM,
            count: 6.0,
            sum: 1.0,
            custom: vec![4.0],
            positive: vec![(0, 2.0), (1, 4.0)],
            ..Histogram::default()
        };
        let mut below = custom.clone();
        below.trim(1.0, Side::Below);
        assert_eq!((below.count, below.sum), (0.5, 0.25));
        let mut above = custom.clone();
        above.trim(9.0, Side::Above);
        assert_eq!((above.count, above.sum), (4.0, 36.0));
        let mut nothing = custom;
        nothing.trim(f64::NAN, Side::Above);
        assert_eq!((nothing.count, nothing.sum), (0.0, 0.0));
    }
}
