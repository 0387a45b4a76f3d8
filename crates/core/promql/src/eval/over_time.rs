//! One value out of the samples of a window: functions over a range vector.

use alloc::vec::Vec;

use super::aggregate::{average, greatest, least, sum, variance};
use super::edges::anchored;
use super::quantile::quantile;
use super::rate::{Kind, Parts, started_anew};
use super::select::{Window, Windows};
use super::{Evaluator, Item, Outcome, refuse};
use crate::ast::{Aggregation, Edges};
use crate::histogram::Histogram;
use crate::number::{count, general, seconds};
use crate::sample::{Sample, Value};

impl Evaluator<'_> {
    /// `parameters` are the function's scalars, in their order.
    pub(super) fn over_windows(
        &mut self,
        function: &str,
        windows: Windows,
        parameters: &[f64],
        at: i64,
    ) -> Outcome<Vec<Item>> {
        if function == "double_exponential_smoothing" {
            for (word, factor) in [
                ("smoothing", parameters.first()),
                ("trend", parameters.get(1)),
            ] {
                let factor = factor.copied().unwrap_or(0.0);
                if factor.is_nan() || factor <= 0.0 || factor >= 1.0 {
                    let (letter, got) =
                        (if word == "trend" { "tf" } else { "sf" }, general(factor));
                    return refuse(alloc::format!(
                        "invalid {word} factor. Expected: 0 < {letter} < 1, got: {got}"
                    ));
                }
            }
        }
        if function == "quantile_over_time"
            && let Some(quantile) = parameters.first()
            && !(0.0..=1.0).contains(quantile)
            && !windows.series.is_empty()
        {
            self.annotations.invalid_quantile(*quantile);
        }
        let bounds = (windows.end.saturating_sub(windows.range), windows.end);
        let edges = windows.edges;
        let mut items = Vec::with_capacity(windows.series.len());
        for window in windows.series {
            if let Some(value) =
                self.over_window(function, &window, (bounds, edges), parameters, at)
            {
                items.push(Item {
                    labels: window.labels,
                    value,
                    at,
                    drop_name: window.drop_name,
                });
            }
        }
        if !matches!(function, "last_over_time" | "first_over_time") {
            self.rename(&mut items)?;
        }
        Ok(items)
    }

    fn over_window(
        &mut self,
        function: &str,
        window: &Window,
        (bounds, edges): ((i64, i64), Edges),
        parameters: &[f64],
        at: i64,
    ) -> Option<Value> {
        let samples: &[Sample] = &window.samples;
        let parameter = parameters.first().copied().unwrap_or(f64::NAN);
        match function {
            "rate" => self.growth(Kind::Rate, window, bounds, edges),
            "increase" => self.growth(Kind::Increase, window, bounds, edges),
            "delta" => self.growth(Kind::Delta, window, bounds, edges),
            "irate" => self.last_two(window, true),
            "idelta" => self.last_two(window, false),
            "deriv" => self
                .line(window, None)
                .map(|(slope, _)| Value::Float(slope)),
            "predict_linear" => {
                let (slope, now) = self.line(window, Some(at))?;
                Some(Value::Float(slope * parameter + now))
            }
            "resets" | "changes" => {
                let samples = match edges {
                    Edges::Open => samples,
                    Edges::Anchored | Edges::Smoothed => anchored(samples, bounds.0)?,
                };
                Some(Value::Float(count(if function == "resets" {
                    self.resets(window, samples)
                } else {
                    changes(samples)
                })))
            }
            "count_over_time" => Some(Value::Float(count(samples.len()))),
            "present_over_time" => Some(Value::Float(1.0)),
            "last_over_time" => samples.last().map(|sample| sample.value.clone()),
            "first_over_time" => samples.first().map(|sample| sample.value.clone()),
            "ts_of_last_over_time" => samples.last().map(|s| Value::Float(seconds(s.at))),
            "ts_of_first_over_time" => samples.first().map(|s| Value::Float(seconds(s.at))),
            "sum_over_time" => self.total(Aggregation::Sum, window),
            "avg_over_time" => self.total(Aggregation::Avg, window),
            _ => self
                .of_floats(function, window, parameters)
                .map(Value::Float),
        }
    }

    fn growth(
        &mut self,
        kind: Kind,
        window: &Window,
        bounds: (i64, i64),
        edges: Edges,
    ) -> Option<Value> {
        match edges {
            Edges::Open => self.extrapolated(kind, window, bounds),
            Edges::Anchored | Edges::Smoothed => self.between_edges(kind, window, bounds, edges),
        }
    }

    /// `samples` are the last ones of the window.
    fn resets(&self, window: &Window, samples: &[Sample]) -> usize {
        let bounds = self.options.bounds;
        let starts = self.starts(window);
        let skipped = window.samples.len() - samples.len();
        let pairs = (skipped + 1..).zip(samples.windows(2));
        let resets = pairs.filter(|(place, pair)| {
            let began_anew = || started_anew(starts, *place, pair[0].at, pair[1].at);
            match (&pair[0].value, &pair[1].value) {
                (Value::Float(before), Value::Float(now)) => now < before || began_anew(),
                (Value::Histogram(before), Value::Histogram(now)) => {
                    began_anew() || now.is_reset_after(before, bounds)
                }
                _ => true,
            }
        });
        resets.count()
    }

    fn total(&mut self, operator: Aggregation, window: &Window) -> Option<Value> {
        let parts = Parts::of(&window.samples);
        if parts.histograms.is_empty() {
            let values = parts.values();
            let is_sum = operator == Aggregation::Sum;
            let value = if is_sum {
                sum(values.iter().copied())
            } else {
                average(&values)
            };
            return Some(Value::Float(value));
        }
        if !parts.floats.is_empty() {
            self.annotations
                .mixed_floats_histograms(window.labels.name());
            return None;
        }
        let all: Vec<&Histogram> = parts.histograms.iter().map(|(_, h)| *h).collect();
        self.histograms(operator, all.into_iter()).map(Value::of)
    }

    /// Functions that know floats only, and say so where there are histograms too.
    fn of_floats(&mut self, function: &str, window: &Window, parameters: &[f64]) -> Option<f64> {
        let parts = Parts::of(&window.samples);
        if parts.floats.is_empty() {
            return None;
        }
        if !parts.histograms.is_empty() {
            self.annotations.ignored_in_range(window.labels.name());
        }
        let values = parts.values();
        let parameter = parameters.first().copied().unwrap_or(f64::NAN);
        match function {
            "min_over_time" => Some(least(&values)),
            "max_over_time" => Some(greatest(&values)),
            "stdvar_over_time" => Some(variance(&values)),
            "stddev_over_time" => Some(libm::sqrt(variance(&values))),
            "quantile_over_time" => Some(quantile(parameter, values)),
            "mad_over_time" => {
                let median = quantile(0.5, values.clone());
                let away = values
                    .into_iter()
                    .map(|value| (value - median).abs())
                    .collect();
                Some(quantile(0.5, away))
            }
            "ts_of_min_over_time" => Some(moment_of(&parts, |value, best| value <= best)),
            "ts_of_max_over_time" => Some(moment_of(&parts, |value, best| value >= best)),
            "double_exponential_smoothing" => smoothed(
                &values,
                parameter,
                parameters.get(1).copied().unwrap_or(f64::NAN),
            ),
            _ => None,
        }
    }
}

fn changes(samples: &[Sample]) -> usize {
    let changes = samples
        .windows(2)
        .filter(|pair| match (&pair[0].value, &pair[1].value) {
            (Value::Float(before), Value::Float(now)) => {
                now != before && !(now.is_nan() && before.is_nan())
            }
            (Value::Histogram(before), Value::Histogram(now)) => before != now,
            _ => true,
        });
    changes.count()
}

/// The last moment of the best value, in seconds.
fn moment_of(parts: &Parts<'_>, is_better: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = parts.floats.first().copied().unwrap_or((0, f64::NAN));
    for (at, value) in &parts.floats {
        if is_better(*value, best.1) || best.1.is_nan() {
            best = (*at, *value);
        }
    }
    seconds(best.0)
}

/// Holt's linear method: a smoothed value that follows a smoothed trend.
fn smoothed(values: &[f64], factor: f64, trend_factor: f64) -> Option<f64> {
    let [first, second, ..] = values else {
        return None;
    };
    let (mut before, mut level, mut trend) = (0.0, *first, second - first);
    for (at, value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let next = factor * value + (1.0 - factor) * (level + trend);
        (before, level) = (level, next);
    }
    Some(level)
}
