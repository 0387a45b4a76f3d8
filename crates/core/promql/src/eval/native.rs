//! Figures of a native histogram: how many, how much, and how widely spread.

use alloc::vec::Vec;

use super::{Evaluator, Item, Outcome};
use crate::ast::Expr;
use crate::histogram::Histogram;
use crate::number::kahan;
use crate::sample::Value;

impl Evaluator<'_> {
    pub(super) fn native_call(&mut self, name: &str, inner: &Expr, at: i64) -> Outcome<Vec<Item>> {
        let mut items = self.vector(inner, at)?;
        items.retain(|item| item.value.histogram().is_some());
        for item in &mut items {
            let Some(histogram) = item.value.histogram() else {
                continue;
            };
            item.value = Value::Float(match name {
                "histogram_count" => histogram.count,
                "histogram_sum" => histogram.sum,
                "histogram_avg" => histogram.sum / histogram.count,
                "histogram_stddev" => libm::sqrt(variance(histogram)),
                _ => variance(histogram),
            });
        }
        self.rename(&mut items)?;
        Ok(items)
    }
}

/// Every observation counts as the middle of its bucket: geometric where buckets grow exponentially.
fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let (mut total, mut lost) = (0.0, 0.0);
    for bucket in histogram.buckets() {
        let (lower, upper) = (bucket.lower, bucket.upper);
        let middle = if lower <= 0.0 && upper >= 0.0 && !histogram.is_custom() {
            0.0
        } else if histogram.is_custom() {
            if lower == f64::NEG_INFINITY {
                upper
            } else if upper == f64::INFINITY {
                lower
            } else {
                f64::midpoint(lower, upper)
            }
        } else {
            let middle = libm::sqrt(upper * lower);
            if upper < 0.0 { -middle } else { middle }
        };
        let away = middle - mean;
        (total, lost) = kahan(bucket.count * away * away, total, lost);
    }
    (total + lost) / histogram.count
}
