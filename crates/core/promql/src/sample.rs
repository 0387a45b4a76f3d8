//! What series are made of, and the one question the evaluator asks of whoever keeps them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::matcher::Matcher;

/// The bits of the marker that a series has ended, as Prometheus stores it.
const STALE: u64 = 0x7ff0_0000_0000_0002;

#[derive(Clone, Debug)]
pub enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Value {
    /// The marker: here the series ends.
    pub const fn stale() -> Self {
        Self::Float(f64::from_bits(STALE))
    }

    pub fn is_stale(&self) -> bool {
        match self {
            Self::Float(value) => value.to_bits() == STALE,
            Self::Histogram(histogram) => histogram.sum.to_bits() == STALE,
        }
    }

    pub fn float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }

    pub fn histogram(&self) -> Option<&Histogram> {
        match self {
            Self::Float(_) => None,
            Self::Histogram(histogram) => Some(histogram),
        }
    }

    pub(crate) fn of(histogram: Histogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

#[derive(Clone, Debug)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub at: i64,
    pub value: Value,
}

/// A series with its samples in the order of time, each timestamp at most once.
#[derive(Clone, Debug, Default)]
pub struct Series {
    pub labels: Labels,
    pub samples: Vec<Sample>,
    /// For each sample, since when its counter has counted (milliseconds since 1970), 0 where nobody knows;
    /// empty where nobody knows it of any sample.
    pub starts: Vec<i64>,
}

/// Whoever keeps series: the store in memory, the head on disk, a test's script.
pub trait Source {
    /// Every series that matches all of `matchers`, with at least its samples in `from..=to` (milliseconds),
    /// in the order of labels.
    fn select(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Arc<Series>>;
}
