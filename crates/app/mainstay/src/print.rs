//! What several commands print alike.

use anyhow::Context;
use serde::Serialize;

use crate::exit::Outcome;

/// One JSON document on standard output.
pub fn json<T: Serialize>(value: &T) -> Outcome {
    println!(
        "{}",
        serde_json::to_string_pretty(value).context("write JSON")?
    );
    Ok(())
}

/// Hours, minutes, seconds and milliseconds of the day, UTC.
pub fn time_of_day(wall_ms: u64) -> String {
    let (ms, seconds) = (wall_ms % 1_000, wall_ms / 1_000);
    format!(
        "{:02}:{:02}:{:02}.{ms:03}Z",
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}
