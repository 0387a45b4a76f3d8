//! Schedules of the simulator per second, on all processors.

use anyhow::Result;

use crate::step::{program, run};

pub fn measure(schedules: u64) -> Result<()> {
    let simulator = program("mainstay-sim")?.display().to_string();
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
