//! Schedules of the simulator per second, on all processors.

use anyhow::Result;

use crate::step::{run, simulator};

pub fn measure(schedules: u64) -> Result<()> {
    let simulator = simulator()?;
    let threads = std::thread::available_parallelism()?.to_string();
    run(
        &simulator,
        &[
            "run",
            "--schedules",
            &schedules.to_string(),
            "--threads",
            &threads,
        ],
    )
}
