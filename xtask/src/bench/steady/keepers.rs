//! What the keepers of a platform use of processors and memory, as the kernel counts it.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::platform::now;

/// `/proc/PID/stat` counts in ticks of 10 ms on every Linux that we run on (USER_HZ, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

pub struct Keepers {
    pids: Vec<u32>,
    ticks: Vec<u64>,
    since: Instant,
}

impl Keepers {
    /// Those whose configuration lies in this data folder.
    pub fn find(data: &Path) -> Result<Self> {
        let data = data.display().to_string();
        let mut pids = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let mut words = line.split('\0');
            let is_keeper = words.next().is_some_and(|word| word.ends_with("mainstay"))
                && words.next() == Some("keeper");
            if is_keeper && line.contains(&data) {
                pids.push(pid);
            }
        }
        if pids.is_empty() {
            bail!("no keeper runs with a configuration in {data}");
        }
        let ticks = pids.iter().map(|pid| ticks(*pid)).collect::<Result<_>>()?;
        Ok(Self {
            pids,
            ticks,
            since: now(),
        })
    }

    /// The share of one processor that each used since it was found, and its memory now.
    pub fn print(&self) -> Result<()> {
        let seconds = self.since.elapsed().as_secs_f64();
        println!("\n| keeper | of one processor | memory, MB |\n|---|---|---|");
        for (at, (pid, before)) in self.pids.iter().zip(&self.ticks).enumerate() {
            let used = ticks(*pid)?.saturating_sub(*before) as f64 / TICKS_PER_SECOND;
            println!(
                "| {} | {:.2} % | {:.1} |",
                at + 1,
                100.0 * used / seconds,
                resident_kb(*pid)? as f64 / 1_000.0
            );
        }
        Ok(())
    }
}

/// User and system time.
fn ticks(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("keeper {pid} ended"))?;
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    let fields: Vec<&str> = after.split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let (user, system) = (field(11), field(12));
    Ok(user.context("no user time")? + system.context("no system time")?)
}

fn resident_kb(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .context("no resident memory")
}
