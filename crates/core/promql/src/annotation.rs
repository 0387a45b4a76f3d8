//! The slips a query comes back with: what was doubtful, in Prometheus's own words.
//!
//! A *warning* says that the result is likely not what was meant; an *info* that it may not be.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use crate::number::{general, quote};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Warning,
    Info,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Annotation {
    pub level: Level,
    pub message: String,
}

/// At most so many different slips are kept for one query.
const ANNOTATIONS_MAX: usize = 1_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(BTreeSet<Annotation>);

impl Annotations {
    pub fn iter(&self) -> impl Iterator<Item = &Annotation> {
        self.0.iter()
    }

    pub fn of(&self, level: Level) -> impl Iterator<Item = &str> {
        let chosen = self.0.iter().filter(move |a| a.level == level);
        chosen.map(|annotation| annotation.message.as_str())
    }

    pub(crate) fn warn(&mut self, message: &str) {
        self.add(Level::Warning, format!("PromQL warning: {message}"));
    }

    pub(crate) fn info(&mut self, message: &str) {
        self.add(Level::Info, format!("PromQL info: {message}"));
    }

    fn add(&mut self, level: Level, message: String) {
        if self.0.len() < ANNOTATIONS_MAX {
            self.0.insert(Annotation { level, message });
        }
    }

    pub(crate) fn invalid_quantile(&mut self, quantile: f64) {
        let got = general(quantile);
        self.warn(&format!(
            "quantile value should be between 0 and 1, got {got}"
        ));
    }

    pub(crate) fn invalid_ratio(&mut self, ratio: f64, used: f64) {
        let (got, used) = (general(ratio), general(used));
        self.warn(&format!(
            "ratio value should be between -1 and 1, got {got}, capping to {used}"
        ));
    }

    pub(crate) fn bad_bucket(&mut self, name: &str, label: &str) {
        let text = format!(
            "bucket label \"le\" is missing or has a malformed value of {}",
            quote(label.as_bytes())
        );
        self.warn(&for_metric(&text, name));
    }

    pub(crate) fn mixed_floats_histograms(&mut self, name: &str) {
        self.warn(&for_metric(
            "encountered a mix of histograms and floats",
            name,
        ));
    }

    pub(crate) fn mixed_in_aggregation(&mut self) {
        self.warn("encountered a mix of histograms and floats for aggregation");
    }

    pub(crate) fn mixed_classic_native(&mut self, name: &str) {
        self.warn(&for_metric(
            "vector contains a mix of classic and native histograms",
            name,
        ));
    }

    pub(crate) fn not_counter(&mut self, name: &str) {
        let name = quote(name.as_bytes());
        self.warn(&format!(
            "this native histogram metric is not a counter: {name}"
        ));
    }

    pub(crate) fn not_gauge(&mut self, name: &str) {
        let name = quote(name.as_bytes());
        self.warn(&format!(
            "this native histogram metric is not a gauge: {name}"
        ));
    }

    pub(crate) fn mixed_schemas(&mut self, name: &str) {
        let text =
            "vector contains a mix of histograms with exponential and custom buckets schemas";
        self.warn(&for_metric(text, name));
    }

    pub(crate) fn incompatible_bounds(&mut self, name: &str) {
        let text = "vector contains histograms with incompatible custom buckets";
        self.warn(&for_metric(text, name));
    }

    pub(crate) fn reconciled_bounds(&mut self, operation: &str) {
        self.info(&format!(
            "mismatched custom buckets were reconciled during {operation}"
        ));
    }

    pub(crate) fn reset_collision(&mut self, operation: &str) {
        self.warn(&format!(
            "conflicting counter resets during histogram {operation}"
        ));
    }

    pub(crate) fn possible_non_counter(&mut self, name: &str) {
        let name = quote(name.as_bytes());
        self.info(&format!(
            "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name}"
        ));
    }

    pub(crate) fn forced_monotonic(&mut self, name: &str) {
        let text = "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        self.info(&for_metric(text, name));
    }

    pub(crate) fn incompatible_types(&mut self, left: &str, operator: &str, right: &str) {
        self.info(&format!(
            "incompatible sample types encountered for binary operator \"{operator}\": {left} {operator} {right}"
        ));
    }

    pub(crate) fn ignored_in_aggregation(&mut self, aggregation: &str) {
        self.info(&format!("ignored histogram in {aggregation} aggregation"));
    }

    pub(crate) fn ignored_in_range(&mut self, name: &str) {
        let text = "ignored histograms in a range containing both floats and histograms";
        self.info(&for_metric(text, name));
    }

    pub(crate) fn overlapping_starts(&mut self, name: &str) {
        let text = "start timestamps of samples lie before the sample before";
        self.warn(&for_metric(text, name));
    }

    pub(crate) fn nan_quantile(&mut self, name: &str) {
        let text = "input to histogram_quantile has NaN observations, result is NaN";
        self.info(&for_metric(text, name));
    }

    pub(crate) fn nan_skew(&mut self, name: &str) {
        let text = "input to histogram_quantile has NaN observations, result is skewed higher";
        self.info(&for_metric(text, name));
    }

    pub(crate) fn nan_fraction(&mut self, name: &str) {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        self.info(&for_metric(text, name));
    }
}

fn for_metric(text: &str, name: &str) -> String {
    if name.is_empty() {
        return String::from(text);
    }
    format!("{text} for metric name {}", quote(name.as_bytes()))
}
