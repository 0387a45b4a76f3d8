//! From selectors to samples: what is current at a moment, and what lies in a window before it.
//!
//! Windows are open on the left: a sample exactly as old as the window is long is outside.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{Deref, Range};

use super::{Evaluator, Failure, Item, Outcome, refuse};
use crate::ast::{Edges, Expr, Kind, Selector, Subquery};
use crate::histogram::{Bounds, Hint, Histogram};
use crate::labels::Labels;
use crate::number::seconds;
use crate::sample::{Sample, Series, Value};

/// The samples of one series within a window.
pub(super) struct Window {
    pub(super) labels: Labels,
    pub(super) drop_name: bool,
    pub(super) samples: Samples,
}

/// Those of a series as they were fetched, where nothing must be left out; otherwise a copy.
pub(super) enum Samples {
    Shared(Arc<Series>, Range<usize>),
    /// With the starts of their counters, or none.
    Own(Vec<Sample>, Vec<i64>),
}

impl Samples {
    pub(super) fn into_vec(self) -> Vec<Sample> {
        match self {
            Self::Shared(..) => self.to_vec(),
            Self::Own(samples, _) => samples,
        }
    }

    /// Since when the counter of each sample has counted; empty where nobody knows.
    pub(super) fn starts(&self) -> &[i64] {
        match self {
            Self::Shared(series, within) => series.starts.get(within.clone()).unwrap_or(&[]),
            Self::Own(_, starts) => starts,
        }
    }

    /// What a window from `from` (excluded) to `to` finds in a series; markers of an end are no samples.
    fn within(series: &Arc<Series>, from: i64, to: i64) -> Self {
        let first = series.samples.partition_point(|sample| sample.at <= from);
        let after = series.samples.partition_point(|sample| sample.at <= to);
        let within = first..after.max(first);
        let found = series.samples.get(within.clone()).unwrap_or(&[]);
        if found.iter().all(|sample| !sample.value.is_stale()) {
            return Self::Shared(Arc::clone(series), within);
        }
        let starts = series.starts.get(within).unwrap_or(&[]);
        let is_current = |(_, sample): &(usize, &Sample)| !sample.value.is_stale();
        let current = || found.iter().enumerate().filter(is_current);
        Self::Own(
            current().map(|(_, sample)| sample.clone()).collect(),
            current()
                .filter_map(|(at, _)| starts.get(at).copied())
                .collect(),
        )
    }
}

impl Deref for Samples {
    type Target = [Sample];

    fn deref(&self) -> &[Sample] {
        match self {
            Self::Shared(series, within) => series.samples.get(within.clone()).unwrap_or(&[]),
            Self::Own(samples, _) => samples,
        }
    }
}

pub(super) struct Windows {
    /// Length of the window, milliseconds.
    pub(super) range: i64,
    /// Its last moment.
    pub(super) end: i64,
    /// Unless they are open, the series have samples beyond the window.
    pub(super) edges: Edges,
    /// Only series that have samples in it.
    pub(super) series: Vec<Window>,
}

impl Evaluator<'_> {
    pub(super) fn fetch(&mut self, selector: &Selector) -> Arc<Vec<Arc<Series>>> {
        if let Some(found) = self.found.get(&selector.id) {
            return Arc::clone(found);
        }
        let (from, to) = self
            .reach
            .get(&selector.id)
            .copied()
            .unwrap_or((i64::MIN, i64::MAX));
        let mut found = self.source.select(&selector.matchers, from, to);
        if self.counted.contains(&selector.id) {
            for series in &mut found {
                hinted(series);
            }
        }
        let found = Arc::new(found);
        self.found.insert(selector.id, Arc::clone(&found));
        found
    }

    pub(super) fn current(&mut self, selector: &Selector, at: i64) -> Outcome<Vec<Item>> {
        let moment = self.moment(&selector.when, at)?;
        if selector.edges == Edges::Smoothed {
            return self.smoothed(selector, moment, at);
        }
        self.latest(selector, moment, |_, _, sample| sample.value.clone())
    }

    /// Since when the counters behind a selector have counted, 0 where nobody knows.
    pub(super) fn started(&mut self, selector: &Selector, at: i64) -> Outcome<Vec<Item>> {
        let moment = self.moment(&selector.when, at)?;
        self.latest(selector, moment, |series, place, _| {
            Value::Float(seconds(series.starts.get(place).copied().unwrap_or(0)))
        })
    }

    /// What is read of the newest sample of each series, unless it is too old.
    fn latest(
        &mut self,
        selector: &Selector,
        moment: i64,
        read: impl Fn(&Series, usize, &Sample) -> Value,
    ) -> Outcome<Vec<Item>> {
        let oldest = moment.saturating_sub(self.options.lookback);
        let mut items = Vec::new();
        for series in self.fetch(selector).iter() {
            let after = series.samples.partition_point(|sample| sample.at <= moment);
            let last = after
                .checked_sub(1)
                .and_then(|at| Some((at, series.samples.get(at)?)));
            if let Some((place, sample)) =
                last.filter(|(_, s)| s.at > oldest && !s.value.is_stale())
            {
                items.push(Item {
                    labels: series.labels.clone(),
                    value: read(series, place, sample),
                    at: sample.at,
                    drop_name: false,
                });
            }
        }
        self.charge(items.len())?;
        Ok(items)
    }

    pub(super) fn matrix(&mut self, expr: &Expr, at: i64) -> Outcome<Windows> {
        match &expr.bare().kind {
            Kind::Selector(selector) => self.window(selector, at),
            Kind::Subquery(subquery) => self.subquery(subquery, at),
            _ => refuse("expected a range vector"),
        }
    }

    fn window(&mut self, selector: &Selector, at: i64) -> Outcome<Windows> {
        let end = self.moment(&selector.when, at)?;
        let range = match &selector.range {
            Some(range) => self.milliseconds(range)?,
            None => return refuse("expected a range vector"),
        };
        if range <= 0 {
            return refuse("duration must be greater than 0");
        }
        let lookback = self.options.lookback;
        let start = end.saturating_sub(range);
        let (from, to) = match selector.edges {
            Edges::Open => (start, end),
            Edges::Anchored => (start.saturating_sub(lookback), end),
            Edges::Smoothed => (start.saturating_sub(lookback), end.saturating_add(lookback)),
        };
        let mut windows = Vec::new();
        for series in self.fetch(selector).iter() {
            let samples = Samples::within(series, from, to);
            self.charge(samples.len())?;
            if !samples.is_empty() {
                let labels = series.labels.clone();
                windows.push(Window {
                    labels,
                    drop_name: false,
                    samples,
                });
            }
        }
        Ok(Windows {
            range,
            end,
            edges: selector.edges,
            series: windows,
        })
    }

    /// What each series would be at this moment, if it moved in straight lines from sample to sample.
    fn smoothed(&mut self, selector: &Selector, moment: i64, at: i64) -> Outcome<Vec<Item>> {
        let lookback = self.options.lookback;
        let (from, to) = (
            moment.saturating_sub(lookback),
            moment.saturating_add(lookback),
        );
        let mut items = Vec::new();
        for series in self.fetch(selector).iter() {
            let samples = Samples::within(series, from, to);
            self.charge(samples.len())?;
            if let Some(value) = self.value_at(&samples, moment, series.labels.name()) {
                items.push(Item {
                    labels: series.labels.clone(),
                    value,
                    at,
                    drop_name: false,
                });
            }
        }
        Ok(items)
    }

    fn subquery(&mut self, subquery: &Subquery, at: i64) -> Outcome<Windows> {
        let end = self.moment(&subquery.when, at)?;
        let range = self.milliseconds(&subquery.range)?;
        let step = match &subquery.step {
            Some(step) => self.milliseconds(step)?,
            None => self.options.subquery_step,
        };
        if range <= 0 || step <= 0 {
            return refuse("duration must be greater than 0");
        }
        let start = end.saturating_sub(range);
        // Steps are multiples of the step since 1970, whenever the question is asked.
        let mut moment = start
            .div_euclid(step)
            .saturating_mul(step)
            .saturating_add(step);
        let mut found: BTreeMap<Labels, (bool, Vec<Sample>)> = BTreeMap::new();
        for count in 0.. {
            if moment > end {
                break;
            }
            if count >= self.options.limits.steps {
                return Err(Failure::Steps(self.options.limits.steps));
            }
            let items = self.vector(&subquery.inner, moment)?;
            self.charge(items.len())?;
            for item in items {
                let (_, samples) = found
                    .entry(item.labels)
                    .or_insert_with(|| (item.drop_name, Vec::new()));
                if samples.last().is_some_and(|last| last.at == moment) {
                    return refuse("vector cannot contain metrics with the same labelset");
                }
                let value = without_hint(item.value);
                samples.push(Sample { at: moment, value });
            }
            moment = moment.saturating_add(step);
        }
        let windows = found
            .into_iter()
            .map(|(labels, (drop_name, samples))| Window {
                labels,
                drop_name,
                samples: Samples::Own(samples, Vec::new()),
            });
        Ok(Windows {
            range,
            end,
            edges: Edges::Open,
            series: windows.collect(),
        })
    }
}

/// Says of each histogram whether its counter was reset since the one before.
fn hinted(series: &mut Arc<Series>) {
    if series
        .samples
        .iter()
        .all(|sample| sample.value.histogram().is_none())
    {
        return;
    }
    let mut before: Option<Arc<Histogram>> = None;
    for sample in &mut Arc::make_mut(series).samples {
        if sample.value.is_stale() {
            continue;
        }
        let Value::Histogram(histogram) = &mut sample.value else {
            continue;
        };
        if histogram.hint == Hint::Unknown
            && let Some(before) = &before
        {
            let is_reset = histogram.is_reset_after(before, Bounds::Reconcile);
            Arc::make_mut(histogram).hint = if is_reset {
                Hint::Reset
            } else {
                Hint::NotReset
            };
        }
        before = Some(Arc::clone(histogram));
    }
}

/// What a hint says is about the sample before in the series, which a subquery may have left out.
fn without_hint(value: Value) -> Value {
    match &value {
        Value::Histogram(histogram) if matches!(histogram.hint, Hint::Reset | Hint::NotReset) => {
            let mut histogram = (**histogram).clone();
            histogram.hint = Hint::Unknown;
            Value::of(histogram)
        }
        Value::Histogram(_) | Value::Float(_) => value,
    }
}
