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
        let starts = if is_counter { self.starts(window) } else { &[] };
        let (first, last) = (window.samples.first()?, window.samples.last()?);
        let mut grown = match parts.histograms.len() {
            0 => Some(Value::Float(float_growth(
                &parts.floats,
                starts,
                is_counter,
            ))),
            1 => None,
            _ => Some(Value::of(self.histogram_rate(
                &parts.histograms,
                starts,
                is_counter,
                name,
            )?)),
        };
        if overlap(&window.samples, starts) {
            self.annotations.overlapping_starts(name);
        }
        let between = match window.samples.len() - 1 {
            0 => 0.0,
            gaps => seconds(last.at - first.at) / count(gaps),
        };
        let near = between * 1.1;
        let reach = |distance: f64| {
            if distance >= near {
                between / 2.0
            } else {
                distance
            }
        };
        let mut covered = seconds(last.at - first.at);
        let mut to_start = reach(seconds(first.at - start));
        match starts.first() {
            // The counter is known to have been zero then: nothing has to be guessed.
            Some(since) if *since != 0 && start < *since && *since < first.at => {
                covered = seconds(last.at - since);
                to_start = 0.0;
                grown = Some(self.with_first(grown, &first.value, name)?);
            }
            _ if window.samples.len() < 2 => return None,
            _ if is_counter => {
                // A counter was never below zero.
                let size =
                    |value: &Value| value.histogram().map_or(value.float(), |h| Some(h.count));
                let (first, grown) = (size(&first.value)?, size(grown.as_ref()?)?);
                if grown > 0.0 && first >= 0.0 {
                    to_start = to_start.min(covered * (first / grown));
                }
            }
            _ => {}
        }
        let mut factor = (covered + to_start + reach(seconds(end - last.at))) / covered;
        if kind == Kind::Rate {
            factor /= seconds(end - start);
        }
        let grown = grown?;
        if is_counter && grown.float().is_some() && !is_counter_name(name) {
            self.annotations.possible_non_counter(name);
        }
        Some(scaled(grown, factor))
    }

    /// Since when the counter of each sample has counted, if that is to be believed.
    pub(super) fn starts<'w>(&self, window: &'w Window) -> &'w [i64] {
        if self.options.start_times {
            window.samples.starts()
        } else {
            &[]
        }
    }

    /// The growth since a counter was zero: that between samples, and the first sample.
    fn with_first(&mut self, grown: Option<Value>, first: &Value, name: &str) -> Option<Value> {
        match (grown, first) {
            (Some(Value::Float(grown)), Value::Float(first)) => Some(Value::Float(grown + first)),
            (Some(Value::Histogram(grown)), Value::Histogram(first)) => {
                let mut grown = (*grown).clone();
                let outcome = grown.add(first, self.options.bounds);
                self.fit(outcome, name, "addition")?;
                Some(Value::of(grown))
            }
            _ => Some(first.clone()),
        }
    }

    fn histogram_rate(
        &mut self,
        points: &[(i64, &Histogram)],
        starts: &[i64],
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
        let began_anew = |at: usize| {
            let (before, now) = (points.get(at.wrapping_sub(1)), points.get(at));
            before
                .zip(now)
                .is_some_and(|(before, now)| started_anew(starts, at, before.0, now.0))
        };
        if is_counter && (began_anew(1) || second.is_reset_after(first, bounds)) {
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
            for (at, (_, current)) in points.iter().enumerate().skip(1) {
                if began_anew(at) || current.is_reset_after(previous, bounds) {
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

    pub(super) fn fit(
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
        let place = window.samples.len() - 1;
        let began_anew = started_anew(self.starts(window), place, before.at, last.at);
        let interval = seconds(last.at - before.at);
        if interval == 0.0 {
            return None;
        }
        match (&before.value, &last.value) {
            (Value::Float(before), Value::Float(last)) => {
                let moved = if is_rate && (last < before || began_anew) {
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
                let bounds = self.options.bounds;
                if !is_rate || !(began_anew || last.is_reset_after(before, bounds)) {
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

fn float_growth(points: &[(i64, f64)], starts: &[i64], is_counter: bool) -> f64 {
    let (first, last) = (points[0].1, points[points.len() - 1].1);
    let mut grown = last - first;
    if is_counter {
        for (at, pair) in (1..).zip(points.windows(2)) {
            let (before, now) = (pair[0], pair[1]);
            if now.1 < before.1 || started_anew(starts, at, before.0, now.0) {
                grown += before.1;
            }
        }
    }
    grown
}

fn scaled(value: Value, factor: f64) -> Value {
    match value {
        Value::Float(value) => Value::Float(value * factor),
        Value::Histogram(histogram) => {
            let mut histogram = (*histogram).clone();
            histogram.scale(factor);
            Value::of(histogram)
        }
    }
}

/// Whether the counter of the sample at this place began after the sample before. A start at the very sample
/// before is a new beginning if that one knew its own start (then the samples are increases, each since the one
/// before), and otherwise means that nobody knows. One that is not before its own sample is none.
pub(super) fn started_anew(starts: &[i64], place: usize, before: i64, now: i64) -> bool {
    let start = |place: Option<usize>| place.and_then(|place| starts.get(place)).copied();
    let (earlier, start) = (
        start(place.checked_sub(1)).unwrap_or(0),
        start(Some(place)).unwrap_or(0),
    );
    if start == 0 || start >= now || start == earlier || start < before {
        return false;
    }
    start > before || (earlier != 0 && earlier < before)
}

/// Whether a sample claims to count from a moment before the sample before it, and not from that one's start.
fn overlap(samples: &[Sample], starts: &[i64]) -> bool {
    let pairs = samples.iter().zip(starts.windows(2));
    pairs
        .into_iter()
        .any(|(before, pair)| pair[1] != 0 && pair[1] < before.at && pair[1] != pair[0])
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
