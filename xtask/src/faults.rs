//! Order flow through every fault, judged from outside.
//!
//! A platform of its own is started, the flow runs through the gateways of all regions, and one fault
//! after the other is set through the command line, as an operator would. What happened is told by the
//! clients' witness logs and the auditor, never by the platform. Stalls are printed, and how soon the platform itself saw
//! and answered each fault; neither decides.
//! What decides: no acknowledged intent is lost, duplicated, altered or invented, no intent failed, the
//! journal verifies, every change made to copies of it is found, and the archive that was written through all of it brings the
//! ledger back.

pub mod scenario;
mod times;
mod verdict;

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::flow::{Flow, Source, wall_ms};
use crate::platform::{Afterwards, Example, Platform, now, pause};
use crate::step::Profile;
use scenario::Scenario;
use times::Occasion;

/// How long the platform may take to be healthy again after a fault before the suite gives up.
const RECOVERY_LIMIT: Duration = Duration::from_secs(300);
/// How often a fault may be given until it is carried out.
const ATTEMPTS: u32 = 3;
/// Flow without faults at the beginning and the end.
const MARGIN: Duration = Duration::from_secs(5);

/// Where the journal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Coordination {
    Folder,
    /// Three members that the platform runs; `etcd` must be installed.
    Etcd,
}

#[derive(clap::Args)]
pub struct Arguments {
    /// Requests a second
    #[arg(long, default_value_t = 500)]
    pub rate: u32,
    /// How long the flow runs, for each distance
    #[arg(long, default_value_t = 600)]
    pub seconds: u64,
    /// Round trips between regions to run at, in milliseconds
    #[arg(long, value_delimiter = ',', default_value = "0")]
    pub distance_ms: Vec<u64>,
    /// How long each fault lasts, where it lasts
    #[arg(long, default_value_t = 15)]
    pub fault_seconds: u64,
    /// Only these scenarios
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Changes made to copies of the journal
    #[arg(long, default_value_t = 1_000)]
    pub mutations: u32,
    /// Where the journal stands, and who leads is decided
    #[arg(long, value_enum, default_value = "folder")]
    pub coordination: Coordination,
    /// Programs of which build
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut failures = Vec::new();
    for distance_ms in &arguments.distance_ms {
        println!(
            "== {distance_ms} ms between regions, {} requests/s, {} s",
            arguments.rate, arguments.seconds
        );
        if let Err(error) = at_distance(arguments, *distance_ms) {
            println!("FAILED at {distance_ms} ms: {error:#}");
            failures.push(*distance_ms);
        }
    }
    if !failures.is_empty() {
        bail!("the fault suite failed at these distances (ms): {failures:?}");
    }
    Ok(())
}

fn at_distance(arguments: &Arguments, distance_ms: u64) -> Result<()> {
    let example = match arguments.coordination {
        Coordination::Folder => Example::Exchange,
        Coordination::Etcd => Example::ExchangeOnEtcd,
    };
    let mut platform = Platform::start_of(example, "faults", distance_ms, arguments.profile)?;
    let chosen = scenario::chosen(&arguments.only)?;
    // The recorded flow for the first half of the scenarios, the generated one for the second.
    let half = chosen.len().div_ceil(2);
    let (mut results, mut occasions) = (Vec::new(), Vec::new());
    for (source, scenarios) in [
        (Source::Recorded, &chosen[..half]),
        (Source::Generated, &chosen[half..]),
    ] {
        if scenarios.is_empty() {
            continue;
        }
        let share = arguments.seconds * scenarios.len() as u64 / chosen.len() as u64;
        let flow = Flow::start(
            &platform,
            source,
            arguments.rate,
            Duration::from_secs(share),
        )?;
        occasions.extend(set_faults(
            &platform,
            &flow,
            scenarios,
            Duration::from_secs(share),
            arguments,
        )?);
        results.push(flow.finish()?);
    }
    platform.wait_healthy(RECOVERY_LIMIT)?;
    verdict::print(&results);
    times::print(&platform.journal("")?, &occasions, wall_ms()?);
    let judged = verdict::judge(&platform, &results, arguments.mutations);
    let restarted = verdict::survives_the_end_of_everything(&platform, distance_ms);
    judged.and(restarted)?;
    verdict::archive_is_whole(&platform)?;
    platform.afterwards = Afterwards::Remove;
    Ok(())
}

/// Until it is carried out. On a machine that is late it may be over before it is set, or the one it is meant for lead no
/// more: the command says so, and it is given anew to whoever it is meant for then.
fn set(
    platform: &Platform,
    scenario: Scenario,
    mut status: Value,
    arguments: &Arguments,
) -> Result<()> {
    let lasts = Duration::from_secs(arguments.fault_seconds);
    for left in (0..ATTEMPTS).rev() {
        let Err(error) = scenario.set(platform, &status, lasts) else {
            return Ok(());
        };
        if left == 0 {
            return Err(error);
        }
        println!("  {} once more: {error:#}", scenario.name());
        status = platform.wait_healthy(RECOVERY_LIMIT)?;
    }
    Ok(())
}

/// One after the other, evenly over the time of the flow, each on a platform that is healthy.
fn set_faults(
    platform: &Platform,
    flow: &Flow,
    scenarios: &[Scenario],
    time: Duration,
    arguments: &Arguments,
) -> Result<Vec<Occasion>> {
    let started = now();
    let mut occasions = Vec::new();
    let slot = time.saturating_sub(MARGIN * 2) / u32::try_from(scenarios.len())?;
    pause(MARGIN);
    for (place, scenario) in scenarios.iter().enumerate() {
        let status = platform.wait_healthy(RECOVERY_LIMIT)?;
        println!(
            "  {:>5.1} s  {}",
            started.elapsed().as_secs_f64(),
            scenario.name()
        );
        flow.mark(scenario.name())?;
        occasions.push(Occasion {
            name: scenario.name(),
            given_ms: wall_ms()?,
        });
        set(platform, *scenario, status, arguments)?;
        let next = MARGIN + slot * u32::try_from(place + 1)?;
        pause(next.saturating_sub(started.elapsed()));
    }
    platform.wait_healthy(RECOVERY_LIMIT)?;
    flow.mark("end")?;
    Ok(occasions)
}
