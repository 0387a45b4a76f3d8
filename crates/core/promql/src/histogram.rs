//! Native histograms as values: exponential buckets (schema −4 to 8) or buckets with bounds of their own
//! (schema −53), with the arithmetic that rates and sums need.
//!
//! Buckets are kept sparse: index and count, in the order of the index, never empty. Of exponential
//! buckets, index `i` of schema `s` ends at 2^(i·2^−s). Of custom ones, index `i` ends at bound `i`, and
//! the one after the last bound is open.

pub mod total;
pub mod trim;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::number::general;

/// The schema of buckets with bounds of their own.
pub const CUSTOM: i32 = -53;

/// What is known about a counter having started anew since the sample before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hint {
    #[default]
    Unknown,
    Reset,
    NotReset,
    Gauge,
}

/// Whether two histograms with different bounds of their own can be joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bounds {
    /// On the bounds that both have, as Prometheus does since 3.8.
    #[default]
    Reconcile,
    /// Not at all, as Prometheus did before.
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incompatible {
    /// Exponential and custom buckets.
    Schemas,
    /// Custom buckets of different bounds, where they are refused.
    Bounds,
}

/// What else happened while two histograms were joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    pub reconciled: bool,
    pub reset_collision: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Histogram {
    pub hint: Hint,
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    pub positive: Vec<(i32, f64)>,
    pub negative: Vec<(i32, f64)>,
    /// Upper bounds of custom buckets, without the last, open one.
    pub custom: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub lower_inclusive: bool,
    pub upper_inclusive: bool,
    pub count: f64,
}

/// The same to the last bit: a NaN equals itself.
fn same(left: f64, right: f64) -> bool {
    left.to_bits() == right.to_bits() || left == right
}

fn same_buckets(left: &[(i32, f64)], right: &[(i32, f64)]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
}

pub fn same_bounds(left: &[f64], right: &[f64]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| same(*a, *b))
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema
            && same(self.zero_threshold, other.zero_threshold)
            && same(self.zero_count, other.zero_count)
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && same_bounds(&self.custom, &other.custom)
            && same_buckets(&self.positive, &other.positive)
            && same_buckets(&self.negative, &other.negative)
    }
}

impl Histogram {
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM
    }

    /// Upper end of the bucket of this index, as a magnitude.
    pub fn bound(&self, index: i32) -> f64 {
        if self.is_custom() {
            return match usize::try_from(index) {
                Err(_) => f64::NEG_INFINITY,
                Ok(at) => self.custom.get(at).copied().unwrap_or(f64::INFINITY),
            };
        }
        libm::exp2(f64::from(index) * libm::exp2(-f64::from(self.schema)))
    }

    /// All populated buckets, from the least to the greatest value.
    pub fn buckets(&self) -> Vec<Bucket> {
        let mut buckets = Vec::with_capacity(self.positive.len() + self.negative.len() + 1);
        for (index, count) in self.negative.iter().rev() {
            buckets.push(Bucket {
                lower: -self.bound(*index),
                upper: -self.bound(index.saturating_sub(1)),
                lower_inclusive: true,
                upper_inclusive: false,
                count: *count,
            });
        }
        if self.zero_count != 0.0 {
            buckets.push(Bucket {
                lower: -self.zero_threshold,
                upper: self.zero_threshold,
                lower_inclusive: true,
                upper_inclusive: true,
                count: self.zero_count,
            });
        }
        for (index, count) in &self.positive {
            let lower = self.bound(index.saturating_sub(1));
            buckets.push(Bucket {
                lower,
                upper: self.bound(*index),
                lower_inclusive: lower == f64::NEG_INFINITY,
                upper_inclusive: true,
                count: *count,
            });
        }
        buckets
    }

    pub fn scale(&mut self, factor: f64) {
        if factor < 0.0 {
            self.hint = Hint::Gauge;
        }
        self.each(|value| value * factor);
    }

    pub fn divide(&mut self, divisor: f64) {
        if divisor < 0.0 {
            self.hint = Hint::Gauge;
        }
        self.each(|value| value / divisor);
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
    }

    fn each(&mut self, change: impl Fn(f64) -> f64) {
        self.zero_count = change(self.zero_count);
        self.count = change(self.count);
        self.sum = change(self.sum);
        for (_, count) in self.positive.iter_mut().chain(&mut self.negative) {
            *count = change(*count);
        }
        self.compact();
    }

    /// Takes away buckets without observations.
    pub fn compact(&mut self) {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
    }

    pub fn add(&mut self, other: &Self, bounds: Bounds) -> Result<Joined, Incompatible> {
        self.join(other, 1.0, bounds)
    }

    pub fn subtract(&mut self, other: &Self, bounds: Bounds) -> Result<Joined, Incompatible> {
        self.join(other, -1.0, bounds)
    }

    fn join(&mut self, other: &Self, sign: f64, bounds: Bounds) -> Result<Joined, Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible::Schemas);
        }
        let mut other = other.clone();
        let mut joined = Joined::default();
        if self.is_custom() && !same_bounds(&self.custom, &other.custom) {
            if bounds == Bounds::Refuse {
                return Err(Incompatible::Bounds);
            }
            joined.reconciled = true;
            let common = common_bounds(&self.custom, &other.custom);
            self.coarsen(&common);
            other.coarsen(&common);
        }
        joined.reset_collision = self.join_hints(other.hint);
        self.align(&mut other);
        self.zero_count += sign * other.zero_count;
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        self.positive = merged(&self.positive, &other.positive, sign);
        self.negative = merged(&self.negative, &other.negative, sign);
        Ok(joined)
    }

    /// True where one says that the counter was reset and the other that it was not.
    fn join_hints(&mut self, other: Hint) -> bool {
        let (before, collision) = (self.hint, |a, b| {
            matches!((a, b), (Hint::Reset, Hint::NotReset))
        });
        if before == other {
            return false;
        }
        self.hint = if before == Hint::Gauge || other == Hint::Gauge {
            Hint::Gauge
        } else {
            Hint::Unknown
        };
        collision(before, other) || collision(other, before)
    }

    /// Brings both to the coarser schema and the wider zero bucket.
    fn align(&mut self, other: &mut Self) {
        if self.is_custom() {
            return;
        }
        while self.zero_threshold != other.zero_threshold {
            if self.zero_threshold > other.zero_threshold {
                other.widen_zero(self.zero_threshold);
            } else {
                self.widen_zero(other.zero_threshold);
            }
            if self.zero_threshold.is_nan() || other.zero_threshold.is_nan() {
                break;
            }
        }
        let schema = self.schema.min(other.schema);
        self.reduce(schema);
        other.reduce(schema);
    }

    /// Moves what lies within the threshold to the zero bucket. A populated bucket that is cut by the
    /// threshold widens it to the bucket's end.
    pub fn widen_zero(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        let mut threshold = threshold;
        loop {
            let before = threshold;
            for buckets in [&self.positive, &self.negative] {
                for (index, _) in buckets {
                    if self.bound(index.saturating_sub(1)) < threshold {
                        threshold = threshold.max(self.bound(*index));
                    }
                }
            }
            if threshold == before {
                break;
            }
        }
        let inside = |histogram: &Self, buckets: &[(i32, f64)]| {
            let within = buckets
                .iter()
                .filter(|(index, _)| histogram.bound(*index) <= threshold);
            (
                within.clone().count(),
                within.map(|(_, count)| count).sum::<f64>(),
            )
        };
        let (positive, negative) = (inside(self, &self.positive), inside(self, &self.negative));
        self.zero_count += positive.1 + negative.1;
        self.positive.drain(..positive.0);
        self.negative.drain(..negative.0);
        self.zero_threshold = threshold;
    }

    /// To a coarser exponential schema.
    pub fn reduce(&mut self, schema: i32) {
        if self.is_custom() || schema >= self.schema {
            return;
        }
        let shift = u32::try_from(self.schema - schema).unwrap_or(0).min(31);
        for buckets in [&mut self.positive, &mut self.negative] {
            let mut reduced: Vec<(i32, f64)> = Vec::with_capacity(buckets.len());
            for (index, count) in buckets.iter() {
                let index = (index.saturating_sub(1) >> shift).saturating_add(1);
                match reduced.last_mut() {
                    Some(last) if last.0 == index => last.1 += count,
                    _ => reduced.push((index, *count)),
                }
            }
            *buckets = reduced;
        }
        self.schema = schema;
    }

    /// To bounds that are a part of its own.
    fn coarsen(&mut self, bounds: &[f64]) {
        let mut merged: Vec<(i32, f64)> = Vec::new();
        for (index, count) in &self.positive {
            let upper = self.bound(*index);
            let at = bounds
                .iter()
                .position(|bound| *bound >= upper)
                .unwrap_or(bounds.len());
            let at = i32::try_from(at).unwrap_or(i32::MAX);
            match merged.last_mut() {
                Some(last) if last.0 == at => last.1 += count,
                _ => merged.push((at, *count)),
            }
        }
        self.positive = merged;
        self.custom = bounds.to_vec();
    }

    /// Whether the counter started anew between `before` and this one.
    pub fn is_reset_after(&self, before: &Self, bounds: Bounds) -> bool {
        match self.hint {
            Hint::Reset => return true,
            Hint::NotReset => return false,
            Hint::Unknown | Hint::Gauge => {}
        }
        if self.count < before.count || self.is_custom() != before.is_custom() {
            return true;
        }
        let mut before = before.clone();
        if self.is_custom() {
            if !same_bounds(&self.custom, &before.custom) {
                if bounds == Bounds::Refuse {
                    return true;
                }
                let common = common_bounds(&self.custom, &before.custom);
                let mut now = self.clone();
                now.coarsen(&common);
                before.coarsen(&common);
                return has_fallen(&now.positive, &before.positive);
            }
            return has_fallen(&self.positive, &before.positive);
        }
        if self.schema > before.schema || self.zero_threshold < before.zero_threshold {
            return true;
        }
        before.widen_zero(self.zero_threshold);
        if before.zero_threshold != self.zero_threshold || self.zero_count < before.zero_count {
            return true;
        }
        before.reduce(self.schema);
        has_fallen(&self.positive, &before.positive) || has_fallen(&self.negative, &before.negative)
    }

    /// `{count:20, sum:10, [-2,-1):2, (0.5,1]:1}`, as Prometheus prints it.
    pub fn print(&self) -> String {
        let mut text = String::new();
        let _ = write!(
            text,
            "{{count:{}, sum:{}",
            general(self.count),
            general(self.sum)
        );
        for bucket in self.buckets() {
            let _ = write!(
                text,
                ", {}{},{}{}:{}",
                if bucket.lower_inclusive { '[' } else { '(' },
                general(bucket.lower),
                general(bucket.upper),
                if bucket.upper_inclusive { ']' } else { ')' },
                general(bucket.count)
            );
        }
        text.push('}');
        text
    }
}

fn common_bounds(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter()
        .copied()
        .filter(|bound| right.contains(bound))
        .collect()
}

fn merged(left: &[(i32, f64)], right: &[(i32, f64)], sign: f64) -> Vec<(i32, f64)> {
    let mut result = Vec::with_capacity(left.len() + right.len());
    let (mut l, mut r) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let next = match (l.peek(), r.peek()) {
            (Some(a), Some(b)) if a.0 == b.0 => (a.0, a.1 + sign * b.1),
            (Some(a), Some(b)) if a.0 < b.0 => **a,
            (Some(a), None) => **a,
            (_, Some(b)) => (b.0, sign * b.1),
            (None, None) => break,
        };
        l.next_if(|a| a.0 == next.0);
        r.next_if(|b| b.0 == next.0);
        if next.1 != 0.0 {
            result.push(next);
        }
    }
    result
}

/// Whether any bucket holds less than before.
fn has_fallen(now: &[(i32, f64)], before: &[(i32, f64)]) -> bool {
    before.iter().any(|(index, count)| {
        let found = now.binary_search_by_key(index, |bucket| bucket.0);
        *count > found.map_or(0.0, |at| now[at].1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn exponential(schema: i32, buckets: &[(i32, f64)]) -> Histogram {
        Histogram {
            schema,
            count: buckets.iter().map(|b| b.1).sum(),
            positive: buckets.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn sums_meet_on_the_coarser_schema() {
        let mut fine = exponential(1, &[(1, 1.0), (2, 2.0), (3, 4.0)]);
        let joined = fine.add(&exponential(0, &[(1, 10.0)]), Bounds::Reconcile);
        assert_eq!(joined, Ok(Joined::default()));
        assert_eq!((fine.schema, fine.positive), (0, vec![(1, 13.0), (2, 4.0)]));
    }

    #[test]
    fn different_bounds_meet_on_the_common_ones_or_not_at_all() {
        let custom = |bounds: &[f64], buckets: &[(i32, f64)]| Histogram {
            custom: bounds.to_vec(),
            ..exponential(CUSTOM, buckets)
        };
        let (a, b) = (
            custom(&[1.0, 5.0], &[(0, 1.0), (1, 2.0)]),
            custom(&[5.0], &[(0, 3.0), (1, 4.0)]),
        );
        assert_eq!(a.clone().add(&b, Bounds::Refuse), Err(Incompatible::Bounds));
        let mut sum = a;
        assert!(
            sum.add(&b, Bounds::Reconcile)
                .is_ok_and(|joined| joined.reconciled)
        );
        assert_eq!(
            (sum.custom, sum.positive),
            (vec![5.0], vec![(0, 6.0), (1, 4.0)])
        );
    }

    #[test]
    fn a_bucket_that_holds_less_means_a_reset() {
        let before = exponential(0, &[(1, 5.0), (2, 1.0)]);
        assert!(exponential(0, &[(1, 4.0), (2, 9.0)]).is_reset_after(&before, Bounds::Refuse));
        assert!(!exponential(0, &[(1, 5.0), (2, 9.0)]).is_reset_after(&before, Bounds::Refuse));
    }
}
