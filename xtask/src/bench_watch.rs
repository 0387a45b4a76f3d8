//! What watching costs, beside the peer: the same targets, the same interval, the same rules, in the same seconds.
//!
//! Targets are pages of this process, of the kind that a service shows: counters by route and code, buckets of
//! histograms, gauges. Ours and Prometheus (where it is installed) ask all of them once in each interval, at the same
//! time, so that whatever else the machine does meets both. Each asks under a path of its own, so that it is known how
//! many samples it was given without asking it; at the end each is asked whether it has every series. Figures are of
//! processor time and resident memory as the kernel counts them, and never decide.

mod contestant;
mod target;

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::bench::machine;
use crate::platform::{now, pause};
use contestant::{Contestant, Usage};
use target::Targets;

/// Until everybody has seen every target and the first allocations are made.
const WARM_UP: Duration = Duration::from_secs(15);
/// For a contestant to have every series, from its start.
const START_LIMIT: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub targets: u16,
    /// Series of each target
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(20..=50_000))]
    pub series: u32,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub interval_seconds: u64,
    /// Rules evaluated in each interval
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=500))]
    pub rules: u32,
    /// How long is measured
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    pub seconds: u64,
    /// Measure ours alone
    #[arg(long)]
    pub alone: bool,
}

impl Arguments {
    fn all_series(&self) -> u64 {
        u64::from(self.targets) * u64::from(self.series)
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    machine::print()?;
    machine::print_load()?;
    println!(
        "{} targets with {} series each, asked every {} s; {} rules; {} s\n",
        arguments.targets,
        arguments.series,
        arguments.interval_seconds,
        arguments.rules,
        arguments.seconds
    );
    let targets = Targets::serve(arguments.targets, arguments.series)?;
    let folder = std::env::temp_dir().join(format!("mainstay-bench-watch-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut contestants = vec![contestant::ours(arguments, &folder, &targets)?];
    if arguments.alone {
        println!("peer: left out");
    } else if let Some(peer) = contestant::prometheus(arguments, &folder, &targets)? {
        contestants.push(peer);
    } else {
        println!("peer: left out, prometheus is not installed");
    }
    let measured = measure(arguments, &targets, &mut contestants);
    drop(contestants);
    std::fs::remove_dir_all(&folder)?;
    print(arguments, &measured?)
}

/// What one contestant used for how many samples.
struct Figures {
    name: String,
    samples: u64,
    usage: Usage,
}

impl Figures {
    fn nanoseconds_per_sample(&self) -> f64 {
        self.usage.processor.as_nanos() as f64 / self.samples as f64
    }
}

fn measure(
    arguments: &Arguments,
    targets: &Targets,
    contestants: &mut [Contestant],
) -> Result<Vec<Figures>> {
    for contestant in &mut *contestants {
        contestant.wait_for(arguments.all_series(), START_LIMIT)?;
    }
    pause(WARM_UP);
    let before: Vec<(u64, Usage)> = look(targets, contestants)?;
    let started = now();
    pause(Duration::from_secs(arguments.seconds));
    let after = look(targets, contestants)?;
    println!("measured for {:.1} s\n", started.elapsed().as_secs_f64());
    let mut figures = Vec::new();
    for (contestant, (before, after)) in contestants.iter().zip(before.iter().zip(after)) {
        // What was asked and thrown away would be cheap.
        contestant.has(arguments.all_series())?;
        let scrapes = after.0 - before.0;
        ensure!(scrapes > 0, "{} asked nobody", contestant.name());
        figures.push(Figures {
            name: contestant.name().to_owned(),
            samples: scrapes * u64::from(arguments.series),
            usage: Usage {
                processor: after.1.processor - before.1.processor,
                ..after.1
            },
        });
    }
    Ok(figures)
}

fn look(targets: &Targets, contestants: &[Contestant]) -> Result<Vec<(u64, Usage)>> {
    let looks = contestants.iter().map(|contestant| {
        let scrapes = targets.scrapes(contestant.path());
        Ok((scrapes, contestant.usage()?))
    });
    looks.collect()
}

fn print(arguments: &Arguments, figures: &[Figures]) -> Result<()> {
    let series = arguments.all_series() as f64;
    let due = series * (arguments.seconds / arguments.interval_seconds) as f64;
    println!(
        "{:<24}{:>12}{:>10}{:>14}{:>14}{:>16}{:>18}",
        "", "samples", "of due", "of a core", "ns/sample", "resident MB", "bytes/series"
    );
    for one in figures {
        let share = one.usage.processor.as_secs_f64() / arguments.seconds as f64;
        println!(
            "{:<24}{:>12}{:>8.0} %{:>12.1} %{:>14.0}{:>16.1}{:>18.0}",
            one.name,
            one.samples,
            one.samples as f64 / due * 100.0,
            share * 100.0,
            one.nanoseconds_per_sample(),
            one.usage.resident as f64 / 1e6,
            one.usage.resident as f64 / series,
        );
    }
    if figures.iter().any(|one| (one.samples as f64) < due * 0.95) {
        println!(
            "\nNot all that was due was asked for: the machine is too busy for these figures to describe anybody."
        );
    }
    match figures {
        [ours, peer] => println!(
            "\nratio ours / peer: processor time {:.2}, memory {:.2}",
            ours.nanoseconds_per_sample() / peer.nanoseconds_per_sample(),
            ours.usage.resident as f64 / peer.usage.resident as f64
        ),
        [_] => {}
        _ => bail!("nothing was measured"),
    }
    Ok(())
}
