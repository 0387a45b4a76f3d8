//! Quantiles: of plain values, of classic buckets, of native histograms; and the share between two bounds.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::histogram::{Bucket, Histogram};
use crate::number::count;

/// Answers that need no data: for what is no quantile.
fn outside(quantile: f64) -> Option<f64> {
    if quantile.is_nan() {
        Some(f64::NAN)
    } else if quantile < 0.0 {
        Some(f64::NEG_INFINITY)
    } else if quantile > 1.0 {
        Some(f64::INFINITY)
    } else {
        None
    }
}

/// Between two values, their weighted mean.
pub(super) fn quantile(quantile: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    if let Some(answer) = outside(quantile) {
        return answer;
    }
    // NaN counts as the least.
    values.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
    });
    let rank = quantile * count(values.len() - 1);
    let floor = libm::floor(rank);
    let weight = rank - floor;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0..len"
    )]
    let lower = (floor as usize).min(values.len() - 1);
    let upper = (lower + 1).min(values.len() - 1);
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// Cumulative count up to an upper bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Classic {
    pub(super) upper: f64,
    pub(super) count: f64,
}

/// Relative difference of two counts that is taken for an error of rounding.
const SMALL: f64 = 1e-12;

/// Sorted, equal bounds joined, counts made to rise. Nothing without an open last bucket; `true` where
/// counts had to be raised.
pub(super) fn tidied(mut buckets: Vec<Classic>) -> Option<(Vec<Classic>, bool)> {
    buckets.sort_by(|a, b| a.upper.partial_cmp(&b.upper).unwrap_or(Ordering::Equal));
    if buckets
        .last()
        .is_none_or(|last| last.upper != f64::INFINITY)
    {
        return None;
    }
    let mut joined: Vec<Classic> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match joined.last_mut() {
            Some(last) if last.upper == bucket.upper => last.count += bucket.count,
            _ => joined.push(bucket),
        }
    }
    let mut forced = false;
    let mut before = joined.first().map_or(0.0, |first| first.count);
    for bucket in joined.iter_mut().skip(1) {
        if bucket.count == before {
            continue;
        }
        if is_close(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            bucket.count = before;
            forced = true;
        } else {
            before = bucket.count;
        }
    }
    Some((joined, forced))
}

fn is_close(a: f64, b: f64) -> bool {
    let difference = (a - b).abs();
    difference / (a.abs() + b.abs()).min(f64::MAX) < SMALL
}

/// Linear within a bucket; the answer, and whether counts had to be made monotonic.
pub(super) fn of_buckets(quantile: f64, buckets: Vec<Classic>) -> (f64, bool) {
    if let Some(answer) = outside(quantile) {
        return (answer, false);
    }
    let Some((buckets, forced)) = tidied(buckets) else {
        return (f64::NAN, false);
    };
    let (Some(last), true) = (buckets.last(), buckets.len() >= 2) else {
        return (f64::NAN, false);
    };
    if last.count == 0.0 || last.count.is_nan() {
        return (f64::NAN, false);
    }
    let rank = quantile * last.count;
    let at = buckets[..buckets.len() - 1].partition_point(|bucket| bucket.count < rank);
    if at == buckets.len() - 1 {
        return (buckets[at - 1].upper, forced);
    }
    let bucket = buckets[at];
    if at == 0 && bucket.upper <= 0.0 {
        return (bucket.upper, forced);
    }
    let before = at.checked_sub(1).map_or(
        Classic {
            upper: 0.0,
            count: 0.0,
        },
        |at| buckets[at],
    );
    let share = (rank - before.count) / (bucket.count - before.count);
    (before.upper + (bucket.upper - before.upper) * share, forced)
}

/// The share of observations between two bounds.
pub(super) fn fraction_of_buckets(lower: f64, upper: f64, buckets: Vec<Classic>) -> f64 {
    let Some((buckets, _)) = tidied(buckets) else {
        return f64::NAN;
    };
    let total = buckets.last().map_or(0.0, |last| last.count);
    let mut start = f64::NEG_INFINITY;
    let mut below = 0.0;
    let mut plain = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        let first = plain.is_empty();
        plain.push(Bucket {
            lower: if first && bucket.upper > 0.0 {
                0.0
            } else {
                start
            },
            upper: bucket.upper,
            lower_inclusive: false,
            upper_inclusive: true,
            count: bucket.count - below,
        });
        (start, below) = (bucket.upper, bucket.count);
    }
    share_between(lower, upper, (total, total), &plain, |_| false)
}

/// What a native quantile found besides its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    None,
    /// Observations of NaN made the answer NaN.
    NaN,
    /// Observations of NaN may have raised the answer.
    Skewed,
}

pub(super) fn of_native(quantile: f64, histogram: &Histogram) -> (f64, Doubt) {
    if let Some(answer) = outside(quantile) {
        return (answer, Doubt::None);
    }
    if histogram.count == 0.0 {
        return (f64::NAN, Doubt::None);
    }
    let has_nan = histogram.sum.is_nan();
    // From the nearer end, since sums of many small counts lose precision.
    let forward = has_nan || quantile < 0.5;
    let rank = if forward { quantile } else { 1.0 - quantile } * histogram.count;
    let mut buckets = histogram.buckets();
    if !forward {
        buckets.reverse();
    }
    let mut seen = 0.0;
    let mut found: Option<Bucket> = None;
    for bucket in buckets.into_iter().filter(|bucket| bucket.count != 0.0) {
        seen += bucket.count;
        found = Some(bucket);
        if seen >= rank {
            break;
        }
    }
    let Some(mut bucket) = found else {
        return (f64::NAN, if has_nan { Doubt::NaN } else { Doubt::None });
    };
    if let Some(answer) = settle(&mut bucket, histogram) {
        return (answer, Doubt::None);
    }
    seen = seen.min(histogram.count);
    if seen < rank {
        return if has_nan {
            (f64::NAN, Doubt::NaN)
        } else {
            (bucket.upper, Doubt::None)
        };
    }
    let within = if forward {
        rank - (seen - bucket.count)
    } else {
        seen - rank
    };
    let share = within / bucket.count;
    let answer = if is_linear(&bucket, histogram) {
        bucket.lower + (bucket.upper - bucket.lower) * share
    } else if bucket.lower > 0.0 {
        let (low, high) = (libm::log2(bucket.lower), libm::log2(bucket.upper));
        libm::exp2(low + (high - low) * share)
    } else {
        let (low, high) = (libm::log2(-bucket.lower), libm::log2(-bucket.upper));
        -libm::exp2(high + (low - high) * (1.0 - share))
    };
    (answer, if has_nan { Doubt::Skewed } else { Doubt::None })
}

/// Takes the natural end 0 where one side has no observations; an answer where the bucket has no other end.
fn settle(bucket: &mut Bucket, histogram: &Histogram) -> Option<f64> {
    if histogram.is_custom() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return Some(bucket.upper);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return Some(bucket.lower);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        one_sided(bucket, histogram);
    }
    None
}

fn one_sided(bucket: &mut Bucket, histogram: &Histogram) {
    if histogram.negative.is_empty() && !histogram.positive.is_empty() {
        bucket.lower = 0.0;
    } else if histogram.positive.is_empty() && !histogram.negative.is_empty() {
        bucket.upper = 0.0;
    }
}

fn is_linear(bucket: &Bucket, histogram: &Histogram) -> bool {
    histogram.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0)
}

pub(super) fn fraction_of_native(lower: f64, upper: f64, histogram: &Histogram) -> f64 {
    let mut buckets = histogram.buckets();
    for bucket in &mut buckets {
        if histogram.is_custom() {
            if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
                bucket.lower = 0.0;
            }
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            one_sided(bucket, histogram);
        }
    }
    // Observations of NaN are in no bucket, not even below infinity.
    let seen = if histogram.sum.is_nan() {
        buckets.iter().map(|bucket| bucket.count).sum()
    } else {
        histogram.count
    };
    share_between(lower, upper, (seen, histogram.count), &buckets, |bucket| {
        !is_linear(bucket, histogram)
    })
}

/// `seen` of `total` observations are in the buckets.
fn share_between(
    lower: f64,
    upper: f64,
    (seen, total): (f64, f64),
    buckets: &[Bucket],
    is_exponential: impl Fn(&Bucket) -> bool,
) -> f64 {
    if total == 0.0 || total.is_nan() || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |value: f64| {
        let mut rank = 0.0;
        for bucket in buckets {
            if bucket.lower >= value {
                return rank;
            }
            if bucket.upper > value {
                let share = if is_exponential(bucket) {
                    exponential_share(bucket, value)
                } else if bucket.upper == f64::INFINITY || bucket.lower == f64::NEG_INFINITY {
                    // An open bucket says nothing about where within it.
                    if bucket.upper == f64::INFINITY {
                        0.0
                    } else {
                        1.0
                    }
                } else {
                    (value - bucket.lower) / (bucket.upper - bucket.lower)
                };
                return rank + bucket.count * share;
            }
            rank += bucket.count;
        }
        seen
    };
    (rank_of(upper).min(seen) - rank_of(lower).min(seen)) / total
}

fn exponential_share(bucket: &Bucket, value: f64) -> f64 {
    let log = |value: f64| libm::log2(value.abs());
    let share = (log(value) - log(bucket.lower)) / (log(bucket.upper) - log(bucket.lower));
    share.clamp(0.0, 1.0)
}
