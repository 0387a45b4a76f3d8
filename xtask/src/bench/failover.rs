//! What clients feel of each fault: the longest time in which nobody was answered although somebody asked.
//!
//! Each repetition of each fault has a flow of its own, so that one recovery cannot be mistaken for the
//! next. The stall is taken from the driver's report, never from the platform.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::stall::Stalls;
use crate::faults::scenario::{self, Scenario};
use crate::flow::Flow;
use crate::platform::{Afterwards, Platform, now, pause};
use crate::step::Profile;

/// Requests a second: what `make test-faults` sends.
const RATE: u32 = 500;
/// Flow before the fault.
const LEAD: Duration = Duration::from_secs(2);
/// How long a fault lasts, where it lasts: longer than any recovery that is aimed at.
const FAULT: Duration = Duration::from_secs(6);
/// Flow after the fault: long enough for it to be felt and answered.
const TAIL: Duration = Duration::from_secs(9);
const RECOVERY_LIMIT: Duration = Duration::from_secs(90);
/// Accounts are funded before the first order.
const FUNDING_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

pub fn measure(repetitions: u32, only: &[String], distance_ms: u64) -> Result<()> {
    let mut platform = Platform::start("bench-failover", distance_ms, Profile::Release)?;
    let chosen = scenario::chosen(only)?;
    println!(
        "{repetitions} of each fault, {RATE} requests/s through all gateways, {distance_ms} ms between regions.\n"
    );
    println!(
        "| fault | longest stall, ms: each run | worst | slowest answer, ms | failed | aim, ms |"
    );
    println!("|---|---|---|---|---|---|");
    let mut failures = Vec::new();
    for scenario in chosen {
        match repeated(&platform, scenario, repetitions) {
            Ok(stalls) => println!(
                "{}",
                stalls.row(scenario.name(), Scenario::aim_ms(scenario.name()))
            ),
            Err(error) => {
                println!("| {} | not measured | | | | |", scenario.name());
                failures.push(format!("{}: {error:#}", scenario.name()));
            }
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    platform.afterwards = Afterwards::Remove;
    Ok(())
}

fn repeated(platform: &Platform, scenario: Scenario, repetitions: u32) -> Result<Stalls> {
    let mut stalls = Stalls::default();
    for repetition in 1..=repetitions {
        stalls.add(&once(platform, scenario, repetition)?);
    }
    Ok(stalls)
}

/// The driver's report of one flow with one fault in it.
fn once(platform: &Platform, scenario: Scenario, repetition: u32) -> Result<serde_json::Value> {
    let status = platform.wait_healthy(RECOVERY_LIMIT)?;
    let name = format!("{}-{repetition}", scenario.name());
    let flow = Flow::start_named(platform, &name, None, RATE, LEAD + TAIL)?;
    wait_for_orders(&flow.witness())?;
    pause(LEAD);
    flow.mark(scenario.name())?;
    scenario
        .set(platform, &status, FAULT)
        .with_context(|| format!("set {name}"))?;
    Ok(flow.finish()?.report)
}

/// The flow has begun when one of the clients has noted an order in its witness log.
fn wait_for_orders(witness: &Path) -> Result<()> {
    let started = now();
    while started.elapsed() < FUNDING_LIMIT {
        for entry in std::fs::read_dir(witness).into_iter().flatten().flatten() {
            let text = std::fs::read(entry.path()).unwrap_or_default();
            if String::from_utf8_lossy(&text).contains(r#""kind":"order""#) {
                return Ok(());
            }
        }
        pause(POLL);
    }
    bail!(
        "no order was sent within {FUNDING_LIMIT:?}; see {}",
        witness.display()
    )
}
