//! How fast a counter or a gauge moves: `rate`, `increase`, `delta` with extrapolation to the ends of the
//! window, `irate` and `idelta` from the last two samples, `deriv` and `predict_linear` by a fitted line.

use alloc::vec::Vec;

use super::Evaluator;
use super::select::Window;
use crate::histogram::{Hint, Histogram, Incompatible};
use crate::number::{count, kahan, seconds};
use crate::sample::{Sample, Value};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rate,
    Increase,
    Delta,
}

/// Samples of a window, floats and histograms apart.
pub(super) struct Parts<'a> {
    pub(super) floats: Vec<(i64, f64)>,
    pub(super) histograms: Vec<(i64, &'a Histogram)>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(samples: &'a [Sample]) -> Self {
        let (mut floats, mut histograms) = (Vec::with_capacity(samples.len()), Vec::new());
        for sample in samples {
            match &sample.value {
                Value::Float(value) => floats.push((sample.at, *value)),
                Value::Histogram(histogram) => histograms.push((sample.at, &**histogram)),
            }
        }
        Self { floats, histograms }
    }

    pub(super) fn values(&self) -> Vec<f64> {
        self.floats.iter().map(|(_, value)| *value).collect()
    }
}

impl Evaluator<'_> {
    pub(super) fn extrapolated(
        &mut self,
        kind: Kind,
        window: &Window,
        (start, end): (i64, i64),
    ) -> Option<Value> {
        let parts = Parts::of(&window.samples);
        let name = window.labels.name();
        let is_counter = kind != Kind::Delta;
        if !parts.floats.is_empty() && !parts.histograms.is_empty() {
            self.annotations.mixed_floats_histograms(name);
            return None;
        }
        let (value, first, grown) = if parts.histograms.len() > 1 {
            let result = self.histogram_rate(&parts.histograms, is_counter, name)?;
            let (first, grown) = (parts.histograms[0].1.count, result.count);
            (Value::of(result), first, grown)
        } else if parts.floats.len() > 1 {
            let result = float_growth(&parts.floats, is_counter);
            (Value::Float(result), parts.floats[0].1, result)
        } else {
            return None;
        };
        let (first_at, last_at) = (window.samples.first()?.at, window.samples.last()?.at);
        let covered = seconds(last_at - first_at);
        let between = covered / count(window.samples.len() - 1);
        let near = between * 1.1;
        let reach = |distance: f64| {
            if distance >= near {
                between / 2.0
            } else {
                distance
            }
        };
        let mut to_start = reach(seconds(first_at - start));
        if is_counter && grown > 0.0 && first >= 0.0 {
            // A counter was never below zero.
            to_start = to_start.min(covered * (first / grown));
        }
        let mut factor = (covered + to_start + reach(seconds(end - last_at))) / covered;
        if kind == Kind::Rate {
            factor /= seconds(end - start);
        }
        if is_counter && value.float().is_some() && !is_counter_name(name) {
            self.annotations.possible_non_counter(name);
        }
        Some(match value {
            Value::Float(value) => Value::Float(value * factor),
            Value::Histogram(histogram) => {
                let mut histogram = (*histogram).clone();
                histogram.scale(factor);
                Value::of(histogram)
            }
        })
    }

    fn histogram_rate(
        &mut self,
        points: &[(i64, &Histogram)],
        is_counter: bool,
        name: &str,
    ) -> Option<Histogram> {
        let (first, last) = (points.first()?.1, points.last()?.1);
        let bounds = self.options.bounds;
        let is_gauge = |(_, h): &(i64, &Histogram)| h.hint == Hint::Gauge;
        if is_counter && points.iter().any(is_gauge) {
            self.annotations.not_counter(name);
        }
        // After a reset between the first and the second sample, the first says nothing.
        let mut before = first.clone();
        let second = points.get(1)?.1;
        if is_counter && second.is_reset_after(first, bounds) {
            before = Histogram {
                schema: second.schema,
                custom: second.custom.clone(),
                zero_threshold: second.zero_threshold,
                ..Histogram::default()
            };
        }
        let inner = points.get(1..points.len() - 1).unwrap_or(&[]);
        let custom = before.is_custom();
        let others = inner.iter().filter(|_| is_counter).map(|(_, h)| *h);
        if others
            .clone()
            .chain([last])
            .any(|h| h.is_custom() != custom)
        {
            self.annotations.mixed_schemas(name);
            return None;
        }
        let schema = others
            .map(|h| h.schema)
            .chain([before.schema, last.schema])
            .min()?;
        let mut result = last.clone();
        result.reduce(schema);
        let outcome = result.subtract(&before, bounds);
        self.fit(outcome, name, "subtraction")?;
        if is_counter {
            let mut previous = &before;
            for (_, current) in points.get(1..).unwrap_or(&[]) {
                if current.is_reset_after(previous, bounds) {
                    let outcome = result.add(previous, bounds);
                    self.fit(outcome, name, "addition")?;
                }
                previous = current;
            }
        } else if first.hint != Hint::Gauge || last.hint != Hint::Gauge {
            self.annotations.not_gauge(name);
        }
        result.hint = Hint::Gauge;
        result.compact();
        Some(result)
    }

    fn fit(
        &mut self,
        outcome: Result<crate::histogram::Joined, Incompatible>,
        name: &str,
        operation: &str,
    ) -> Option<()> {
        match outcome {
            Ok(joined) => {
                if joined.reconciled {
                    self.annotations.reconciled_bounds(operation);
                }
                Some(())
            }
            Err(Incompatible::Schemas) => {
                self.annotations.mixed_schemas(name);
                None
            }
            Err(Incompatible::Bounds) => {
                self.annotations.incompatible_bounds(name);
                None
            }
        }
    }

    /// `irate` (per second, resets respected) and `idelta`.
    pub(super) fn last_two(&mut self, window: &Window, is_rate: bool) -> Option<Value> {
        let name = window.labels.name();
        let [.., before, last] = &*window.samples else {
            return None;
        };
        let interval = seconds(last.at - before.at);
        if interval == 0.0 {
            return None;
        }
        match (&before.value, &last.value) {
            (Value::Float(before), Value::Float(last)) => {
                let moved = if is_rate && last < before {
                    *last
                } else {
                    last - before
                };
                Some(Value::Float(if is_rate { moved / interval } else { moved }))
            }
            (Value::Histogram(before), Value::Histogram(last)) => {
                let gauges = [before, last]
                    .into_iter()
                    .filter(|h| h.hint == Hint::Gauge)
                    .count();
                if is_rate && gauges > 0 {
                    self.annotations.not_counter(name);
                } else if !is_rate && gauges < 2 {
                    self.annotations.not_gauge(name);
                }
                let mut result = (**last).clone();
                if !is_rate || !last.is_reset_after(before, self.options.bounds) {
                    let outcome = result.subtract(before, self.options.bounds);
                    self.fit(outcome, name, "subtraction")?;
                }
                result.hint = Hint::Gauge;
                result.compact();
                if is_rate {
                    result.divide(interval);
                }
                Some(Value::of(result))
            }
            _ => {
                self.annotations.mixed_floats_histograms(name);
                None
            }
        }
    }

    /// Slope, and value at `moment`, of the line that fits best.
    pub(super) fn line(&mut self, window: &Window, moment: Option<i64>) -> Option<(f64, f64)> {
        let parts = Parts::of(&window.samples);
        if !parts.floats.is_empty() && !parts.histograms.is_empty() {
            self.annotations.ignored_in_range(window.labels.name());
        }
        if parts.floats.len() < 2 {
            return None;
        }
        let from = moment.unwrap_or(parts.floats[0].0);
        Some(fitted(&parts.floats, from))
    }
}

pub(super) fn is_counter_name(name: &str) -> bool {
    name.is_empty()
        || ["_total", "_sum", "_count", "_bucket"]
            .iter()
            .any(|end| name.ends_with(end))
}

fn float_growth(points: &[(i64, f64)], is_counter: bool) -> f64 {
    let (first, last) = (points[0].1, points[points.len() - 1].1);
    let mut grown = last - first;
    if is_counter {
        let resets = points.windows(2).filter(|pair| pair[1].1 < pair[0].1);
        grown = resets.fold(grown, |grown, pair| grown + pair[0].1);
    }
    grown
}

/// Least squares with Kahan's sums; times count from `from`, in seconds.
fn fitted(points: &[(i64, f64)], from: i64) -> (f64, f64) {
    let first = points[0].1;
    if points.iter().all(|(_, value)| *value == first) {
        return if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        };
    }
    let number = count(points.len());
    let total = |of: &dyn Fn(f64, f64) -> f64| {
        let (sum, lost) = points.iter().fold((0.0, 0.0), |(sum, lost), (at, value)| {
            kahan(of(seconds(at - from), *value), sum, lost)
        });
        sum + lost
    };
    let (x, y) = (total(&|x, _| x), total(&|_, y| y));
    let (xy, xx) = (total(&|x, y| x * y), total(&|x, _| x * x));
    let slope = (xy - x * y / number) / (xx - x * x / number);
    (slope, y / number - slope * x / number)
}
