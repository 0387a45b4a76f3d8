//! Rates of the journal on the disk of the platform: appending by size of batch, each batch on disk before
//! the next, and verifying what was written.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Arguments;

pub fn measure(arguments: &Arguments) -> Result<()> {
    let parts = arguments.batches.max(1);
    let program = arguments.example("mainstay-storage", "journal-rates")?;
    let scratch =
        std::env::temp_dir().join(format!("mainstay-bench-journal-{}", std::process::id()));
    let output = Command::new(&program)
        .arg(&scratch)
        .arg(parts.to_string())
        .output()?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let rates: Value =
        serde_json::from_slice(&output.stdout).context("read the journal's rates")?;
    let number = |value: &Value| value.as_f64().context("the journal's rates lack a figure");
    println!("| entries in a batch | batches/s | entries/s |\n|---|---|---|");
    for append in rates["appends"]
        .as_array()
        .context("the journal's rates list no appends")?
    {
        let (parts, entries) = (
            number(&append["parts_per_s"])?,
            number(&append["entries_per_s"])?,
        );
        println!("| {} | {parts:.0} | {entries:.0} |", append["batch"]);
    }
    println!(
        "\nverify: {:.0} entries/s ({} entries, {parts} batches of each size)",
        number(&rates["verify_entries_per_s"])?,
        rates["verify_entries"]
    );
    Ok(())
}
