//! What the keepers of a platform use of processors and memory, as the kernel counts it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::platform::{now, pause};

/// `/proc/PID/stat` counts in ticks of 10 ms on every Linux that we run on (USER_HZ, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;
/// After they were stopped they hear each other again, and all that waited for them is done.
const SETTLING: Duration = Duration::from_millis(700);
/// Who is stopped where nobody is to look after servers.
const ROLES: [&str; 3] = ["keeper", "node", "machine"];

pub struct Keepers {
    keepers: Vec<Keeper>,
    /// Every process that looks after something.
    all: Vec<String>,
    awake: Duration,
}

struct Keeper {
    pid: u32,
    used: u64,
}

impl Keepers {
    /// Those whose configuration lies in this data folder.
    pub fn find(data: &Path) -> Result<Self> {
        let data = data.display().to_string();
        let mut found = Self {
            keepers: Vec::new(),
            all: Vec::new(),
            awake: Duration::ZERO,
        };
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let mut words = line.split('\0');
            let is_ours = words.next().is_some_and(|word| word.ends_with("mainstay"));
            let role = words.next().unwrap_or_default();
            if !is_ours || !ROLES.contains(&role) || !line.contains(&data) {
                continue;
            }
            found.all.push(pid.to_string());
            if role == "keeper" {
                found.keepers.push(Keeper { pid, used: 0 });
            }
        }
        if found.keepers.is_empty() {
            bail!("no keeper runs with a configuration in {data}");
        }
        Ok(found)
    }

    /// What they use meanwhile counts.
    pub fn while_awake<T>(&mut self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let pids = self.keepers.iter().map(|keeper| keeper.pid);
        let before: Vec<u64> = pids.map(ticks).collect::<Result<_>>()?;
        let begun = now();
        let result = run()?;
        self.awake += begun.elapsed();
        for (keeper, before) in self.keepers.iter_mut().zip(before) {
            keeper.used += ticks(keeper.pid)?.saturating_sub(before);
        }
        Ok(result)
    }

    /// All of them are stopped meanwhile.
    pub fn while_still<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        self.signal("-STOP")?;
        let result = run();
        self.signal("-CONT")?;
        pause(SETTLING);
        result
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill").arg(signal).args(&self.all).status();
        if !status.context("start kill")?.success() {
            bail!("a keeper or a node has ended");
        }
        Ok(())
    }

    /// The share of one processor that each used while awake, and its memory now.
    pub fn print(&self) -> Result<()> {
        let seconds = self.awake.as_secs_f64();
        println!("\n| keeper | of one processor | memory, MB |\n|---|---|---|");
        for (at, keeper) in self.keepers.iter().enumerate() {
            println!(
                "| {} | {:.2} % | {:.1} |",
                at + 1,
                100.0 * keeper.used as f64 / TICKS_PER_SECOND / seconds,
                resident_kb(keeper.pid)? as f64 / 1_000.0
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
