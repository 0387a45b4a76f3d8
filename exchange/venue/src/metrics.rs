//! What monitoring sees at `/metrics`. State of the market is taken from the published picture when it is asked
//! for, so that no number leaves before its commit.
//!
//! A business rejection is an answer and no failure: it counts in `business_rejections_total`. What counts in
//! `transaction_failures_total` is a transaction whose outcome is not known or that the database refused.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::view::Phase;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Why {
    pub reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Answered {
    pub kind: &'static str,
    pub outcome: &'static str,
}

/// From a tenth of a millisecond to the longest wait of a request.
const SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 15.0,
];
const BATCH: [f64; 11] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub order_processing: Histogram,
    pub commit: Histogram,
    pub batch_commands: Histogram,
    pub failures: Family<Why, Counter>,
    pub rejections: Family<Why, Counter>,
    pub answers: Family<Answered, Counter>,
    pub refusals: Family<Why, Counter>,
    pub trades: Counter,
    pub activations: Counter,
    pub snapshots: Counter,
    liquidity: Gauge<f64, AtomicU64>,
    active: Gauge,
    sequence: Gauge,
    open_orders: Gauge,
    mode: Gauge,
    queue: Gauge,
    commit_age: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            order_processing: Histogram::new(SECONDS),
            commit: Histogram::new(SECONDS),
            batch_commands: Histogram::new(BATCH),
            failures: Family::default(),
            rejections: Family::default(),
            answers: Family::default(),
            refusals: Family::default(),
            trades: Counter::default(),
            activations: Counter::default(),
            snapshots: Counter::default(),
            liquidity: Gauge::default(),
            active: Gauge::default(),
            sequence: Gauge::default(),
            open_orders: Gauge::default(),
            mode: Gauge::default(),
            queue: Gauge::default(),
            commit_age: Gauge::default(),
        };
        metrics.register_counts();
        metrics.register_gauges();
        metrics
    }
}

impl Metrics {
    /// The endings `_total` are added by the encoder.
    fn register_counts(&mut self) {
        let Self { registry, .. } = self;
        registry.register(
            "order_processing_duration_seconds",
            "From a command read to its answer ready, commit included",
            self.order_processing.clone(),
        );
        registry.register(
            "commit_duration_seconds",
            "One batch: sent to cleanly committed",
            self.commit.clone(),
        );
        registry.register(
            "batch_commands",
            "Commands per committed batch",
            self.batch_commands.clone(),
        );
        registry.register(
            "transaction_failures",
            "Transactions without a clean commit; business rejections are not among them",
            self.failures.clone(),
        );
        registry.register(
            "business_rejections",
            "Commands that the rules of the exchange refused",
            self.rejections.clone(),
        );
        registry.register(
            "commands_answered",
            "Sequenced commands by kind and outcome",
            self.answers.clone(),
        );
        registry.register(
            "requests_refused",
            "Requests without an outcome, by reason; nothing was done, but of outcome_unknown that is not known",
            self.refusals.clone(),
        );
        registry.register("trades", "Trades", self.trades.clone());
        registry.register(
            "activations",
            "Times this instance became active",
            self.activations.clone(),
        );
        registry.register("snapshots", "Snapshots written", self.snapshots.clone());
        for reason in [
            "commit_failed",
            "commit_warned",
            "commit_abandoned",
            "rows_missing",
        ] {
            // Present at zero, so that a rate over them exists before the first.
            drop(self.failures.get_or_create(&Why { reason }));
        }
    }

    fn register_gauges(&mut self) {
        let Self { registry, .. } = self;
        registry.register(
            "available_liquidity_usd",
            "Smaller of bid and ask notional resting within 1 % of the middle",
            self.liquidity.clone(),
        );
        registry.register(
            "venue_active",
            "1 while this instance is active",
            self.active.clone(),
        );
        registry.register(
            "venue_sequence",
            "Last cleanly committed sequence",
            self.sequence.clone(),
        );
        registry.register(
            "open_orders",
            "Orders in the book",
            self.open_orders.clone(),
        );
        registry.register(
            "venue_mode",
            "Which commands are taken: 0 open, 1 reduceOnly, 2 cancelOnly",
            self.mode.clone(),
        );
        registry.register(
            "queue_commands",
            "Commands waiting for the writer",
            self.queue.clone(),
        );
        registry.register(
            "commit_under_way_seconds",
            "For how long the commit that is under way has been; 0 while none is",
            self.commit_age.clone(),
        );
    }

    /// `queue` commands wait for the writer, and it has waited for its commit for `commit_age`.
    pub fn render(&self, phase: &Phase, (queue, commit_age): (usize, Duration)) -> String {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        match phase {
            Phase::Active(active) => {
                self.active.set(1);
                self.sequence.set(gauge(active.picture.sequence));
                self.open_orders
                    .set(gauge(active.picture.open_orders as u64));
                self.liquidity.set(active.picture.liquidity_usd);
                self.mode.set(active.picture.mode as i64);
            }
            Phase::Standby(_) => {
                self.active.set(0);
                self.sequence.set(0);
                self.open_orders.set(0);
                self.liquidity.set(0.0);
                self.mode.set(0);
            }
        }
        self.queue.set(gauge(queue as u64));
        self.commit_age.set(commit_age.as_secs_f64());
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inactive::Inactive;

    #[test]
    fn the_names_that_alerts_are_written_for_are_there() {
        let metrics = Metrics::default();
        metrics.order_processing.observe(0.002);
        metrics
            .rejections
            .get_or_create(&Why {
                reason: "insufficient_funds",
            })
            .inc();
        let waits = (3, Duration::from_millis(1_500));
        let text = metrics.render(&Phase::Standby(Inactive::Starting), waits);
        for line in [
            "order_processing_duration_seconds_bucket{le=\"0.0025\"} 1",
            "transaction_failures_total{reason=\"commit_warned\"} 0",
            "business_rejections_total{reason=\"insufficient_funds\"} 1",
            "available_liquidity_usd 0.0",
            "venue_active 0",
            "venue_mode 0",
            "queue_commands 3",
            "commit_under_way_seconds 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
