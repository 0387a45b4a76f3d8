//! The store as rules see it: what they read, and where they write.

use std::sync::Arc;

use mainstay_promql::labels::Labels;
use mainstay_promql::matcher::Matcher;
use mainstay_promql::sample::{Series, Source};
use mainstay_rules::group::{Sink, Write};
use mainstay_samples::{Appended, Head, SamplesError};

#[derive(Debug)]
pub struct Desk {
    pub head: Head,
    /// A write that failed while rules were evaluated: they cannot be told.
    failed: Option<SamplesError>,
}

impl Desk {
    pub fn new(head: Head) -> Self {
        Self { head, failed: None }
    }

    pub fn keep(&mut self, writes: &[(Labels, i64, f64)]) -> Result<Appended, SamplesError> {
        self.head.append(
            writes
                .iter()
                .map(|(labels, at, value)| (labels, *at, *value)),
        )
    }

    /// The first write that failed since the last call.
    pub fn take_failure(&mut self) -> Result<(), SamplesError> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl Source for Desk {
    fn select(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Arc<Series>> {
        self.head.select(matchers, from, to)
    }
}

impl Sink for Desk {
    fn write(&mut self, write: &Write) {
        // The store keeps floats only; rules over scraped floats give nothing else.
        let Some(value) = write.value.float() else {
            return;
        };
        if let Err(error) = self.head.append([(&write.labels, write.at, value)]) {
            self.failed.get_or_insert(error);
        }
    }
}
