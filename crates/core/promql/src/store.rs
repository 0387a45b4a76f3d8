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
        let entry = self.series.entry(labels.clone()).or_insert_with(|| {
            Arc::new(Series {
                labels: labels.clone(),
                samples: Vec::new(),
            })
        });
        let samples = &mut Arc::make_mut(entry).samples;
        let sample = Sample { at, value };
        match samples.last() {
            Some(last) if last.at >= at => match samples.binary_search_by_key(&at, |s| s.at) {
                Ok(index) => samples[index] = sample,
                Err(index) => samples.insert(index, sample),
            },
            _ => samples.push(sample),
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
                Arc::make_mut(series)
                    .samples
                    .retain(|sample| sample.at >= at);
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
