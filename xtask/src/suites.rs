//! What `make test` and `make sim` run, in the order in which a failure is cheapest to find.

use anyhow::Result;

use crate::faults;
use crate::step::{Profile, run, simulator};
use crate::trials;

/// Of orders, in a second. Unoptimised programs on two processors bear 500 to 600, and a flow that leaves nothing over
/// never makes up for a stall: what waits then waits until it is too late.
const UNOPTIMISED_RATE: u32 = 250;

#[derive(clap::Args)]
pub struct SimArguments {
    /// Schedules to run
    #[arg(long, default_value_t = 100_000)]
    pub schedules: u64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// The bounded whole: unit and golden tests with the short simulation inside, then real processes.
pub fn test() -> Result<()> {
    trials::run()?;
    // The faults are played on the programs that were built with the tests, so that nothing is compiled a second
    // time; optimised ones are for suites that measure. What a build leaves to be written is no part of what is tested.
    run("sync", &[])?;
    faults::run(&faults::Arguments {
        rate: UNOPTIMISED_RATE,
        seconds: 120,
        distance_ms: vec![0],
        fault_seconds: 5,
        only: Vec::new(),
        mutations: 1_000,
        coordination: faults::Coordination::Folder,
        profile: Profile::Dev,
    })
}

pub fn sim(arguments: &SimArguments) -> Result<()> {
    let simulator = simulator()?;
    let (schedules, seed) = (arguments.schedules.to_string(), arguments.seed.to_string());
    run(
        &simulator,
        &[
            "run",
            "--schedules",
            &schedules,
            "--seed",
            &seed,
            "--threads",
            "2",
        ],
    )?;
    run(&simulator, &["plant", "--all"])
}
