//! Windows with something at their edges: `anchored` takes the last sample before the window for its left
//! edge, `smoothed` draws straight lines from sample to sample and reads both edges off them. Nothing has to be
//! guessed then, as `rate` otherwise does from how far apart samples are; the price is a look at samples
//! beyond the window (no further than lookback), for `smoothed` also at later ones.
//!
//! A counter that was reset between two samples counts as having begun at zero with the first of them.

use alloc::vec::Vec;

use super::rate::{Kind, is_counter_name};
use super::select::{Samples, Window, Windows};
use super::{Evaluator, Outcome, refuse};
use crate::ast::Edges;
use crate::histogram::{Hint, Histogram};
use crate::number::seconds;
use crate::sample::{Sample, Value};

/// The functions that know what to do with values at the edges, in the order of the alphabet.
const ANCHORED: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
const SMOOTHED: [&str; 3] = ["delta", "increase", "rate"];

pub(super) fn check(edges: Edges, function: &str) -> Outcome<()> {
    let known = match edges {
        Edges::Open => return Ok(()),
        Edges::Anchored => &ANCHORED[..],
        Edges::Smoothed => &SMOOTHED[..],
    };
    if known.contains(&function) {
        return Ok(());
    }
    refuse(alloc::format!(
        "{} modifier can only be used with: {} - not with {function}",
        edges.word().unwrap_or_default(),
        known.join(", ")
    ))
}

/// The samples from the last one at or before `start`; none if there is nothing after it.
pub(super) fn anchored(samples: &[Sample], start: i64) -> Option<&[Sample]> {
    let after = samples.partition_point(|sample| sample.at <= start);
    samples.get(after)?;
    samples.get(after.saturating_sub(1)..)
}

/// Which samples matter for a window, and what stands at its edges.
struct Ends {
    first: usize,
    last: usize,
    left: Value,
    right: Value,
    /// Whether the left edge lies on the line between the first sample and the next.
    left_between: bool,
}

/// The first and last sample that matter; nothing where all are before the window, or after it.
fn outermost(samples: &[Sample], (start, end): (i64, i64), edges: Edges) -> Option<(usize, usize)> {
    let mut last = samples.len().checked_sub(1)?;
    let before = samples.get(..last)?;
    let first = before.partition_point(|sample| sample.at <= start);
    let first = first.saturating_sub(1);
    if edges == Edges::Smoothed {
        last = before.partition_point(|sample| sample.at < end);
    }
    let is_after = edges == Edges::Smoothed && samples.get(first)?.at > end;
    (samples.get(last)?.at > start && !is_after).then_some((first, last))
}

impl Evaluator<'_> {
    /// What a series is at a moment between two samples; after the last one, it stays what it was.
    pub(super) fn value_at(
        &mut self,
        samples: &[Sample],
        moment: i64,
        name: &str,
    ) -> Option<Value> {
        let next = samples.partition_point(|sample| sample.at < moment);
        match (next.checked_sub(1), samples.get(next)) {
            (_, Some(next)) if next.at == moment => Some(next.value.clone()),
            (Some(before), Some(next)) => {
                self.between(samples.get(before)?, next, moment, false, name)
            }
            (Some(before), None) => samples.get(before).map(|sample| sample.value.clone()),
            (None, _) => None,
        }
    }

    fn between(
        &mut self,
        before: &Sample,
        after: &Sample,
        moment: i64,
        is_counter: bool,
        name: &str,
    ) -> Option<Value> {
        let share = seconds(moment - before.at) / seconds(after.at - before.at);
        match (&before.value, &after.value) {
            (Value::Float(first), Value::Float(second)) => {
                let first = if is_counter && second < first {
                    0.0
                } else {
                    *first
                };
                Some(Value::Float(first + (second - first) * share))
            }
            (Value::Histogram(first), Value::Histogram(second)) => {
                let bounds = self.options.bounds;
                let mut result = (**second).clone();
                let is_reset = is_counter && second.is_reset_after(first, bounds);
                if !is_reset {
                    let outcome = result.subtract(first, bounds);
                    self.fit(outcome, name, "subtraction")?;
                }
                result.scale(share);
                if !is_reset {
                    let outcome = result.add(first, bounds);
                    self.fit(outcome, name, "addition")?;
                }
                Some(Value::of(result))
            }
            _ => {
                self.annotations.mixed_floats_histograms(name);
                None
            }
        }
    }

    fn ends(
        &mut self,
        samples: &[Sample],
        (start, end): (i64, i64),
        edges: Edges,
        is_counter: bool,
        name: &str,
    ) -> Option<Ends> {
        let (first, last) = outermost(samples, (start, end), edges)?;
        let smoothed = edges == Edges::Smoothed;
        let (leftmost, rightmost) = (samples.get(first)?, samples.get(last)?);
        let left_between = smoothed && leftmost.at < start;
        let left = match samples.get(first + 1) {
            Some(next) if left_between => self.between(leftmost, next, start, is_counter, name)?,
            _ => leftmost.value.clone(),
        };
        let before = last.checked_sub(1).and_then(|before| samples.get(before));
        let right = match before {
            Some(before) if smoothed && rightmost.at > end => {
                self.between(before, rightmost, end, is_counter, name)?
            }
            _ => rightmost.value.clone(),
        };
        Some(Ends {
            first,
            last,
            left,
            right,
            left_between,
        })
    }

    /// `rate`, `increase` and `delta` from edge to edge.
    pub(super) fn between_edges(
        &mut self,
        kind: Kind,
        window: &Window,
        (start, end): (i64, i64),
        edges: Edges,
    ) -> Option<Value> {
        let samples: &[Sample] = &window.samples;
        let name = window.labels.name();
        let is_counter = kind != Kind::Delta;
        let floats = samples
            .iter()
            .filter(|sample| sample.value.float().is_some());
        let floats = floats.count();
        if floats != 0 && floats != samples.len() {
            self.annotations.mixed_floats_histograms(name);
            return None;
        }
        if floats == 0 {
            let (first, last) = outermost(samples, (start, end), edges)?;
            self.check_histograms(samples.get(first..=last)?, is_counter, name)?;
        }
        let ends = self.ends(samples, (start, end), edges, is_counter, name)?;
        let per_second = |value: f64| match kind {
            Kind::Rate => value / seconds(end - start),
            Kind::Increase | Kind::Delta => value,
        };
        match (&ends.left, &ends.right) {
            (Value::Float(left), Value::Float(right)) => {
                let mut grown = right - left;
                if is_counter {
                    grown += lost_by_resets(samples, &ends, (start, end));
                    if !is_counter_name(name) {
                        self.annotations.possible_non_counter(name);
                    }
                }
                Some(Value::Float(per_second(grown)))
            }
            (Value::Histogram(left), Value::Histogram(right)) => {
                let mut result =
                    self.histogram_growth(samples, &ends, (left, right), is_counter, name)?;
                if kind == Kind::Rate {
                    result.divide(seconds(end - start));
                }
                result.hint = Hint::Gauge;
                result.compact();
                Some(Value::of(result))
            }
            _ => None,
        }
    }

    fn check_histograms(&mut self, samples: &[Sample], is_counter: bool, name: &str) -> Option<()> {
        let mut histograms = samples.iter().filter_map(|sample| sample.value.histogram());
        let custom = samples.first()?.value.histogram()?.is_custom();
        if histograms.clone().any(|h| h.is_custom() != custom) {
            self.annotations.mixed_schemas(name);
            return None;
        }
        if is_counter && histograms.any(|h| h.hint == Hint::Gauge) {
            self.annotations.not_counter(name);
        }
        Some(())
    }

    fn histogram_growth(
        &mut self,
        samples: &[Sample],
        ends: &Ends,
        (left, right): (&Histogram, &Histogram),
        is_counter: bool,
        name: &str,
    ) -> Option<Histogram> {
        let bounds = self.options.bounds;
        if !is_counter && (left.hint != Hint::Gauge || right.hint != Hint::Gauge) {
            self.annotations.not_gauge(name);
        }
        let mut result = right.clone();
        let outcome = result.subtract(left, bounds);
        self.fit(outcome, name, "subtraction")?;
        if !is_counter {
            return Some(result);
        }
        let histogram = |at: usize| samples.get(at).and_then(|sample| sample.value.histogram());
        let (mut before, mut next) = (left, ends.first + 1);
        // A left edge between a sample and a reset has accounted for that reset already.
        if ends.left_between
            && let Some(second) = histogram(next)
            && second.is_reset_after(histogram(ends.first)?, bounds)
        {
            before = second;
            next += 1;
        }
        if next > ends.last {
            return Some(result);
        }
        let inner = (next..ends.last).filter_map(histogram);
        for current in inner.chain([right]) {
            if current.is_reset_after(before, bounds) {
                let outcome = result.add(before, bounds);
                self.fit(outcome, name, "addition")?;
            }
            before = current;
        }
        Some(result)
    }

    /// Windows as an answer: from edge to edge, with a sample at each.
    pub(super) fn close(&mut self, windows: &mut Windows) {
        let edges = windows.edges;
        if edges == Edges::Open {
            return;
        }
        let bounds = (windows.end.saturating_sub(windows.range), windows.end);
        let (start, end) = bounds;
        let mut closed = Vec::with_capacity(windows.series.len());
        for mut window in core::mem::take(&mut windows.series) {
            let name = window.labels.name();
            let Some(ends) = self.ends(&window.samples, bounds, edges, false, name) else {
                continue;
            };
            let inner = window
                .samples
                .iter()
                .filter(|sample| start < sample.at && sample.at < end);
            let at_left = [Sample {
                at: start,
                value: ends.left,
            }];
            let at_right = [Sample {
                at: end,
                value: ends.right,
            }];
            let samples = at_left.into_iter().chain(inner.cloned()).chain(at_right);
            window.samples = Samples::Own(samples.collect(), Vec::new());
            closed.push(window);
        }
        windows.series = closed;
    }
}

/// What a counter had counted before each reset within the window.
fn lost_by_resets(samples: &[Sample], ends: &Ends, (start, end): (i64, i64)) -> f64 {
    let within = samples.get(ends.first..=ends.last).unwrap_or(&[]);
    let inner = within
        .iter()
        .filter(|sample| start < sample.at && sample.at < end)
        .filter_map(|sample| sample.value.float());
    let (left, right) = (ends.left.float(), ends.right.float());
    let mut before = left.unwrap_or(f64::NAN);
    let mut lost = 0.0;
    for value in inner.chain(right) {
        if value < before {
            lost += before;
        }
        before = value;
    }
    lost
}
