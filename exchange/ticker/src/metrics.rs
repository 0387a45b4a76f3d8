//! What monitoring sees at `/metrics`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

use crate::watch::Reading;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Outcome {
    pub outcome: &'static str,
}

/// Of which cell the prices are.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    cell: String,
}

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By `read` and `failed`.
    looks: Family<Outcome, Counter>,
    /// By `shown` and `nothing`.
    questions: Family<Outcome, Counter>,
    age: Family<Of, Gauge<f64, AtomicU64>>,
    sequence: Family<Of, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let (looks, questions) = (Family::default(), Family::default());
        let (age, sequence) = (Family::default(), Family::default());
        let mut registry = Registry::default();
        // The endings `_total` are added by the encoder.
        registry.register(
            "ticker_looks",
            "Looks at the book, by what came of them",
            looks.clone(),
        );
        registry.register(
            "ticker_questions",
            "Questions for prices, by whether there were any to show",
            questions.clone(),
        );
        registry.register(
            "ticker_price_age_seconds",
            "How old the prices are that are shown; absent before the first",
            age.clone(),
        );
        registry.register(
            "ticker_sequence",
            "Sequence of the book that they are of",
            sequence.clone(),
        );
        let metrics = Self {
            registry,
            looks,
            questions,
            age,
            sequence,
        };
        for outcome in ["read", "failed"] {
            // Present at zero, so that a rate over them exists before the first.
            drop(metrics.looks.get_or_create(&Outcome { outcome }));
        }
        metrics
    }
}

impl Metrics {
    pub fn looked(&self, outcome: &'static str) {
        self.looks.get_or_create(&Outcome { outcome }).inc();
    }

    pub fn asked(&self, outcome: &'static str) {
        self.questions.get_or_create(&Outcome { outcome }).inc();
    }

    pub fn render(&self, reading: Option<&Reading>, boot_ms: u64) -> String {
        if let Some(reading) = reading {
            let of = Of {
                cell: reading.book.cell.clone(),
            };
            let age_ms = reading.age_ms(boot_ms);
            self.age.get_or_create(&of).set(age_ms as f64 / 1_000.0);
            let sequence = i64::try_from(reading.book.sequence).unwrap_or(i64::MAX);
            self.sequence.get_or_create(&of).set(sequence);
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Book;

    #[test]
    fn prices_have_an_age_as_soon_as_there_are_any() {
        let metrics = Metrics::default();
        let text = metrics.render(None, 1_000);
        assert!(!text.contains("ticker_price_age_seconds{"), "{text}");
        metrics.looked("read");
        let reading = Reading {
            book: Book {
                cell: "ledger".to_owned(),
                instrument: "BTC-USD".to_owned(),
                sequence: 7,
                epoch: 2,
                bids: Vec::new(),
                asks: Vec::new(),
            },
            // The wall clock was set back since.
            read_ms: 1_000_000,
            read_boot_ms: 1_000,
        };
        let text = metrics.render(Some(&reading), 3_500);
        for line in [
            "ticker_looks_total{outcome=\"read\"} 1",
            "ticker_looks_total{outcome=\"failed\"} 0",
            "ticker_price_age_seconds{cell=\"ledger\"} 2.5",
            "ticker_sequence{cell=\"ledger\"} 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
