//! What the figures were taken on, and how much of it others were using.

use std::fs::read_to_string;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::platform::{now, pause};

/// How long the load of others is looked at before a section.
const LOOK: Duration = Duration::from_secs(2);

/// The machine, the day and the revision.
pub fn print() -> Result<()> {
    let processors = std::thread::available_parallelism()?;
    let description = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = value(&description, "model name").unwrap_or("unknown processor");
    let memory = read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_kb: u64 = value(&memory, "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "date      {}",
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])?
    );
    println!(
        "machine   {processors} processors ({model}), {} GB",
        memory_kb / 1_000_000
    );
    println!("system    Linux {}", kernel.trim());
    println!(
        "revision  {}",
        said("git", &["rev-parse", "--short", "HEAD"])?
    );
    Ok(())
}

/// The time of day and the load averages, for figures that are taken over a while.
pub fn load() -> Result<String> {
    let text = read_to_string("/proc/loadavg")?;
    let averages: Vec<&str> = text.split_whitespace().take(3).collect();
    Ok(format!(
        "{}, load averages {}.",
        said("date", &["-u", "+%H:%M UTC"])?,
        averages.join(" ")
    ))
}

/// How many processors were busy with something else just before a section.
pub fn print_load() -> Result<()> {
    let busy = Busy::start()?;
    pause(LOOK);
    let processors = std::thread::available_parallelism()?;
    println!(
        "Other work used {:.1} of {processors} processors just before.\n",
        busy.processors()?
    );
    Ok(())
}

/// How many processors of the machine are busy, on average since the start.
pub struct Busy {
    ticks: u64,
    since: Instant,
}

impl Busy {
    pub fn start() -> Result<Self> {
        Ok(Self {
            ticks: busy_ticks()?,
            since: now(),
        })
    }

    pub fn processors(&self) -> Result<f64> {
        let ticks = busy_ticks()?.saturating_sub(self.ticks);
        Ok(ticks as f64 / TICKS_PER_SECOND / self.since.elapsed().as_secs_f64())
    }
}

/// `/proc/stat` counts in ticks of 10 ms on every Linux that we run on (USER_HZ, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// User, nice, system, irq, softirq and steal time of all processors together.
fn busy_ticks() -> Result<u64> {
    let text = read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let idle = [3, 4];
    Ok(ticks
        .iter()
        .take(8)
        .enumerate()
        .filter(|(at, _)| !idle.contains(at))
        .map(|(_, ticks)| ticks)
        .sum())
}

/// The value of the first line `name : value`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(crate::step::root()?)
        .output()
        .with_context(|| format!("start {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
