//! Series in memory: what rule tests, evaluation cases and recorded results are kept in.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::sample::{Sample, Series, Source, Value};

#[derive(Clone, Debug, Default)]
pub struct Memory {
    series: BTreeMap<Labels, Arc<Series>>,
}

impl Memory {
    /// A second value for one timestamp replaces the first.
    pub fn append(&mut self, labels: &Labels, at: i64, value: Value) {
        self.append_since(labels, at, value, 0);
    }

    /// With the moment since when the counter has counted; 0 where it is not known.
    pub fn append_since(&mut self, labels: &Labels, at: i64, value: Value, start: i64) {
        let entry = self.series.entry(labels.clone()).or_insert_with(|| {
            Arc::new(Series {
                labels: labels.clone(),
                ..Series::default()
            })
        });
        let Series {
            samples, starts, ..
        } = Arc::make_mut(entry);
        let sample = Sample { at, value };
        let place = match samples.last() {
            Some(last) if last.at >= at => samples.binary_search_by_key(&at, |s| s.at),
            _ => Err(samples.len()),
        };
        if start != 0 && starts.is_empty() {
            starts.resize(samples.len(), 0);
        }
        let known = start != 0 || !starts.is_empty();
        match place {
            Ok(index) => samples[index] = sample,
            Err(index) => {
                samples.insert(index, sample);
                if known {
                    starts.insert(index, 0);
                }
            }
        }
        let (Ok(index) | Err(index)) = place;
        if known {
            starts[index] = start;
        }
    }

    pub fn clear(&mut self) {
        self.series.clear();
    }

    pub fn len(&self) -> usize {
        self.series.len()
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Series> {
        self.series.values().map(|series| &**series)
    }

    /// Forgets what is older, and series of which nothing is left.
    pub fn forget_before(&mut self, at: i64) {
        self.series.retain(|_, series| {
            if series.samples.first().is_some_and(|first| first.at < at) {
                let series = Arc::make_mut(series);
                let old = series.samples.partition_point(|sample| sample.at < at);
                series.samples.drain(..old);
                series.starts.drain(..old.min(series.starts.len()));
            }
            !series.samples.is_empty()
        });
    }
}

impl Source for Memory {
    fn select(&self, matchers: &[Matcher], _from: i64, _to: i64) -> Vec<Arc<Series>> {
        let chosen = self.series.iter();
        let chosen = chosen.filter(|(labels, _)| Matcher::all(matchers, labels));
        chosen.map(|(_, series)| Arc::clone(series)).collect()
    }
}
