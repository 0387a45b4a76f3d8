//! What decides: the auditor, the driver's count of failed intents, and the journal. Stalls are printed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::scenario::Scenario;
use crate::doors;
use crate::flow::{FlowResult, audit};
use crate::platform::Platform;

/// How long everything may take to come back after all of it was killed.
const RETURN_LIMIT: Duration = Duration::from_secs(300);

pub fn print(results: &[FlowResult]) {
    println!(
        "  {:<22} {:>12} {:>14} {:>8}",
        "fault", "longest stall", "worst intent", "aim"
    );
    for result in results {
        for mark in result.report["marks"].as_array().into_iter().flatten() {
            let name = mark["name"].as_str().unwrap_or("?");
            if name == "end" {
                continue;
            }
            let ms = |key: &str| format!("{:.0} ms", mark[key].as_f64().unwrap_or(0.0) / 1_000.0);
            let aim = Scenario::aim_ms(name).map_or_else(String::new, |aim| format!("{aim} ms"));
            println!(
                "  {name:<22} {:>12} {:>14} {aim:>8}",
                ms("longest_stall_us"),
                ms("worst_latency_us")
            );
        }
    }
    for FlowResult { name, report, .. } in results {
        println!(
            "  {name}: {} sent, {} answered ({} rejected by rule), {} failed, {} attempts",
            report["sent"],
            report["answered"],
            report["rejected"],
            report["failed"],
            report["attempts"]
        );
    }
}

pub fn judge(platform: &Platform, results: &[FlowResult], mutations: u32) -> Result<()> {
    for FlowResult { name, report, .. } in results {
        let failed = report["failed"]
            .as_u64()
            .context("the report counts no failures")?;
        if failed > 0 {
            bail!("{failed} intents of the {name} flow failed");
        }
        if report["verdict"] == "lagged" {
            println!("  {name}: the driver itself lagged, so its latencies are no measurement");
        }
        if report["answered"].as_u64().unwrap_or(0) == 0 {
            bail!("no intent of the {name} flow was answered: nothing was shown");
        }
    }
    doors::check(platform)?;
    audit(platform)?;
    print!("{}", platform.mainstay(&["journal", "verify"])?);
    if mutations > 0 {
        print!(
            "{}",
            platform.mainstay(&["journal", "mutate", "--count", &mutations.to_string()])?
        );
    }
    Ok(())
}

/// Kills every process of the platform at once, starts it again, and audits once more.
pub fn survives_the_end_of_everything(platform: &Platform, distance_ms: u64) -> Result<()> {
    let killed = kill_everything(platform.data())?;
    println!("  killed {killed} processes at once");
    let time = platform.up(distance_ms)?;
    platform.wait_healthy(RETURN_LIMIT)?;
    println!("  healthy again after {:.1} s", time.as_secs_f64());
    doors::check(platform)?;
    audit(platform)?;
    print!("{}", platform.mainstay(&["journal", "verify"])?);
    Ok(())
}

/// The archive after all of it: a copy is restored, across every failover, and compared with what was marked before.
pub fn archive_is_whole(platform: &Platform) -> Result<()> {
    print!("{}", platform.mainstay(&["backup", "verify", "ledger"])?);
    Ok(())
}

/// Every process that was started with a path below the data folder. PostgreSQL's children end with
/// their postmaster. The suite may look for processes by what they were started with, since the data
/// folder is its own and new; the product never does.
fn kill_everything(data: &Path) -> Result<usize> {
    let needle = data.display().to_string();
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let told = [read("cmdline"), read("environ")];
        let ours = told
            .iter()
            .any(|bytes| String::from_utf8_lossy(bytes).contains(&needle));
        if ours && pid != std::process::id() {
            pids.push(pid.to_string());
        }
    }
    if pids.is_empty() {
        bail!("found no process of the platform to kill");
    }
    let status = Command::new("kill")
        .arg("-KILL")
        .args(&pids)
        .stderr(std::process::Stdio::null())
        .status()?;
    if !status.success() {
        println!("  some had ended before they could be killed");
    }
    Ok(pids.len())
}
