//! Everything that `docs/BENCHMARKS.md` records, measured again and printed in its form.
//!
//! Each section stands alone and runs the products' own programs from outside. A figure is no verdict:
//! only a section that could not be measured at all makes the task fail. A section whose peer or tool is
//! not installed says so and is left out. Before each section the load of others is measured and printed,
//! because a figure taken on a busy machine describes the machine.

mod failover;
mod gateway;
mod journal;
pub mod machine;
mod orders;
mod simulator;
mod stall;
mod steady;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::platform::now;
use crate::step::{run as step, target_folder};

#[derive(clap::Args)]
pub struct Arguments {
    /// Only these sections
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Section>,
    /// Use the programs as they are built, although sources may have changed
    #[arg(long)]
    pub no_build: bool,
    /// How often each fault is set
    #[arg(long, default_value_t = 2)]
    pub repetitions: u32,
    /// Only these faults
    #[arg(long, value_delimiter = ',')]
    pub faults: Vec<String>,
    /// Round trip between regions, for faults and orders
    #[arg(long, default_value_t = 0)]
    pub distance_ms: u64,
    /// Rounds for each proxy
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// Commands that the engine plays
    #[arg(long, default_value_t = 1_000_000)]
    pub commands: u64,
    /// A rate of orders is held while the 99th percentile of the latency stays within this
    #[arg(long, default_value_t = 50)]
    pub p99_limit_ms: u64,
    /// Batches of each size that the journal appends
    #[arg(long, default_value_t = 200)]
    pub batches: u32,
    /// Schedules that the simulator runs
    #[arg(long, default_value_t = 5_000)]
    pub schedules: u64,
    /// Pairs of pgbench runs with and without keepers, at least 30
    #[arg(long, default_value_t = 30)]
    pub pairs: u32,
    /// How long each of the two takes
    #[arg(long, default_value_t = 4)]
    pub pair_seconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Section {
    /// The longest client-side stall of each fault
    Failover,
    /// Processor time per request of the gateway, beside HAProxy
    Gateway,
    /// Commands per second of the engine alone
    Engine,
    /// Acknowledged orders per second through the gateways
    Orders,
    /// Append and verify rates of the journal
    Journal,
    /// Schedules of the simulator per second
    Simulator,
    /// What keepers cost while nothing happens: pgbench with and without them
    Steady,
}

impl Section {
    const ALL: [Self; 7] = [
        Self::Failover,
        Self::Gateway,
        Self::Engine,
        Self::Orders,
        Self::Journal,
        Self::Simulator,
        Self::Steady,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Failover => "Failover: the longest stall that clients see",
            Self::Gateway => "Gateway: processor time per request",
            Self::Engine => "Engine: commands per second without network and database",
            Self::Orders => "Orders: acknowledged per second through the gateways",
            Self::Journal => "Journal: append and verify",
            Self::Simulator => "Simulator: schedules per second",
            Self::Steady => "Keepers: what they cost while nothing happens",
        }
    }

    fn measure(self, arguments: &Arguments) -> Result<()> {
        match self {
            Self::Failover => failover::measure(
                arguments.repetitions.max(1),
                &arguments.faults,
                arguments.distance_ms,
            ),
            Self::Gateway => gateway::measure(arguments),
            Self::Engine => orders::engine(arguments.commands),
            Self::Orders => orders::through_gateways(arguments.p99_limit_ms, arguments.distance_ms),
            Self::Journal => journal::measure(arguments),
            Self::Simulator => simulator::measure(arguments.schedules),
            Self::Steady => steady::measure(arguments.pairs, arguments.pair_seconds),
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let started = now();
    machine::print()?;
    let wanted = |section: &Section| arguments.only.is_empty() || arguments.only.contains(section);
    let mut failures = Vec::new();
    for section in Section::ALL.into_iter().filter(wanted) {
        println!("\n## {}\n", section.title());
        machine::print_load()?;
        if let Err(error) = section.measure(arguments) {
            println!("not measured: {error:#}");
            failures.push(section);
        }
    }
    println!("\ntook {:.0} s", started.elapsed().as_secs_f64());
    if !failures.is_empty() {
        bail!("these sections could not be measured: {failures:?}");
    }
    Ok(())
}

impl Arguments {
    /// An optimised example of a package of ours, built if it is not up to date.
    fn example(&self, package: &str, name: &str) -> Result<PathBuf> {
        if !self.no_build {
            let what = ["--package", package, "--example", name];
            step(
                "cargo",
                &[&["build", "--quiet", "--release", "--locked"], &what[..]].concat(),
            )?;
        }
        let path = target_folder()?.join("release/examples").join(name);
        if !path.is_file() {
            bail!("{} is not built", path.display());
        }
        Ok(path)
    }
}
