//! Acknowledged orders per second: the engine alone, and through all gateways to the quorum's disks.
//!
//! The first is the ceiling of a cell: no network, no database. The second is driven open-loop at rising
//! rates, with latency from the planned time, until a rate is no longer held: the 99th percentile passes
//! the limit, an intent fails, or the driver itself lags. Standbys are on: an answer means that the order is
//! on disk in two regions.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::machine::Busy;
use crate::flow::Flow;
use crate::platform::{Afterwards, Platform};
use crate::step::{Profile, program, run};

/// Intents a second, one step after the other.
const RATES: [u32; 12] = [
    250, 500, 1_000, 1_500, 2_000, 2_500, 3_000, 4_000, 5_000, 6_000, 8_000, 10_000,
];
const ATTEMPTS: u32 = 2;
const STEP: Duration = Duration::from_secs(8);
const HEADINGS: &str = "\
| planned/s | acknowledged/s | p50, ms | p99, ms | p99.9, ms | failed | driver late p99, ms | driver, processors | machine, processors |
|---|---|---|---|---|---|---|---|---|";
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// Below this share of the planned rate a step was not held, however fast the answers were.
const HELD_SHARE: f64 = 0.9;

pub fn engine(orders: u64) -> Result<()> {
    let venue = program("exchange-venue")?.display().to_string();
    run(&venue, &["bench-engine", "--orders", &orders.to_string()])
}

pub fn through_gateways(p99_limit_ms: u64, distance_ms: u64) -> Result<()> {
    let mut platform = Platform::start("bench-orders", distance_ms, Profile::Release)?;
    println!(
        "{} s at each rate, {distance_ms} ms between regions.",
        STEP.as_secs()
    );
    println!(
        "A rate is held if its 99th percentile stays within {p99_limit_ms} ms and nothing fails.\n"
    );
    println!("{HEADINGS}");
    let mut highest = None;
    for rate in RATES {
        let Some(step) = try_rate(&platform, rate, p99_limit_ms)? else {
            break;
        };
        highest = Some(step.acknowledged_per_s);
    }
    match highest {
        None => println!("No rate was held."),
        Some(rate) => {
            println!("Highest rate held: {rate:.0} acknowledged orders and cancels per second.")
        }
    }
    platform.afterwards = Afterwards::Remove;
    Ok(())
}

/// The step at this rate if it was held. A busy moment of the machine is no limit of the platform, so each
/// rate has two attempts.
fn try_rate(platform: &Platform, rate: u32, p99_limit_ms: u64) -> Result<Option<Step>> {
    let mut reasons = Vec::new();
    for attempt in 1..=ATTEMPTS {
        platform.wait_healthy(RECOVERY_LIMIT)?;
        let flow = Flow::start_named(
            platform,
            &format!("rate-{rate}-{attempt}"),
            None,
            rate,
            STEP,
        )?;
        let busy = Busy::start()?;
        let step = Step::read(&flow.finish()?.report)?;
        println!("{} {:.1} |", step.row(rate), busy.processors()?);
        match step.not_held(rate, p99_limit_ms) {
            None => return Ok(Some(step)),
            Some(why) => reasons.push(why),
        }
    }
    println!("\n{rate}/s is not held: {}.", reasons.join("; again: "));
    Ok(None)
}

/// What the driver reported of one rate.
struct Step {
    acknowledged_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    failed: u64,
    late_ms: f64,
    driver_processors: f64,
    lagged: bool,
}

impl Step {
    fn read(report: &Value) -> Result<Self> {
        let ms = |percentiles: &Value, key: &str| {
            let us = percentiles[key]
                .as_f64()
                .context("the report lacks a percentile")?;
            anyhow::Ok(us / 1_000.0)
        };
        let all = &report["latency"]["all"];
        let per_s = report["answered_per_second"].as_f64();
        Ok(Self {
            acknowledged_per_s: per_s.context("the report lacks the rate of answers")?,
            p50_ms: ms(all, "p50_us")?,
            p99_ms: ms(all, "p99_us")?,
            p999_ms: ms(all, "p999_us")?,
            failed: report["failed"]
                .as_u64()
                .context("the report counts no failures")?,
            late_ms: ms(&report["lag"], "p99_us")?,
            driver_processors: report["processor_per_mille"].as_f64().unwrap_or(f64::NAN) / 1_000.0,
            lagged: report["verdict"] == "lagged",
        })
    }

    fn row(&self, rate: u32) -> String {
        format!(
            "| {rate} | {:.0} | {:.1} | {:.1} | {:.1} | {} | {:.1} | {:.2} |",
            self.acknowledged_per_s,
            self.p50_ms,
            self.p99_ms,
            self.p999_ms,
            self.failed,
            self.late_ms,
            self.driver_processors
        )
    }

    /// Why the rate was not held, if it was not.
    fn not_held(&self, rate: u32, p99_limit_ms: u64) -> Option<&'static str> {
        if self.lagged {
            Some("the driver itself lagged, so its latencies are no measurement")
        } else if self.failed > 0 {
            Some("intents failed")
        } else if self.p99_ms > p99_limit_ms as f64 {
            Some("the 99th percentile passes the limit")
        } else if self.acknowledged_per_s < HELD_SHARE * f64::from(rate) {
            Some("fewer were acknowledged than planned")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Step;

    fn check(change: (&str, serde_json::Value), expected: &str) {
        let latency = json!({"all": {"p50_us": 4_000, "p99_us": 9_500, "p999_us": 20_000}});
        let lag = json!({"p99_us": 300});
        let mut report = json!({"latency": latency, "lag": lag, "failed": 0, "answered_per_second": 999.4,
            "verdict": "answered"});
        report[change.0] = change.1;
        let step = Step::read(&report).unwrap();
        assert_eq!(
            step.not_held(1_000, 50).unwrap_or("held"),
            expected,
            "{}",
            step.row(1_000)
        );
    }

    #[test]
    fn a_rate_is_held_or_it_is_said_why_not() {
        check(("failed", json!(0)), "held");
        check(("failed", json!(1)), "intents failed");
        check(
            ("answered_per_second", json!(850.0)),
            "fewer were acknowledged than planned",
        );
        check(
            ("verdict", json!("lagged")),
            "the driver itself lagged, so its latencies are no measurement",
        );
        let slow = json!({"all": {"p50_us": 4_000, "p99_us": 50_001, "p999_us": 60_000}});
        check(("latency", slow), "the 99th percentile passes the limit");
    }
}
