//! A busy machine is not a failure: processors oversubscribed four times, and nobody may be promoted.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::platform::{Afterwards, Platform, now, pause};
use crate::step::Profile;

/// Busy loops for each processor.
const OVERSUBSCRIPTION: usize = 4;

#[derive(clap::Args)]
pub struct Arguments {
    /// How long the processors are kept busy
    #[arg(long, default_value_t = 600)]
    pub seconds: u64,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut platform = Platform::start("calm", 0, Profile::Release)?;
    let before = terms(&platform.wait_healthy(Duration::from_secs(60))?)?;
    let loops = Loops::start(std::thread::available_parallelism()?.get() * OVERSUBSCRIPTION)?;
    println!(
        "{} busy loops for {} s; terms {before:?}",
        loops.children.len(),
        arguments.seconds
    );
    let started = now();
    let time = Duration::from_secs(arguments.seconds);
    while started.elapsed() < time {
        pause(Duration::from_secs(5).min(time.saturating_sub(started.elapsed())));
        let after = platform.status().and_then(|status| terms(&status));
        // A status that is late on a busy machine says nothing; the last one decides.
        if let Ok(after) = after
            && after != before
        {
            bail!(
                "after {:?}: terms went from {before:?} to {after:?}",
                started.elapsed()
            );
        }
    }
    drop(loops);
    let after = terms(&platform.wait_healthy(Duration::from_secs(60))?)?;
    if after != before {
        bail!("terms went from {before:?} to {after:?}");
    }
    println!("nobody was promoted");
    platform.afterwards = Afterwards::Remove;
    Ok(())
}

/// Database and term: a promotion of anybody changes it.
fn terms(status: &Value) -> Result<Vec<(String, u64)>> {
    let databases = status["databases"]
        .as_array()
        .context("the status lists no databases")?;
    let term = |database: &Value| {
        Some((
            database["name"].as_str()?.to_owned(),
            database["term"].as_u64()?,
        ))
    };
    databases
        .iter()
        .map(|database| term(database).context("a database without a term"))
        .collect()
}

/// Shells that do nothing, as fast as they can; killed when dropped.
struct Loops {
    children: Vec<Child>,
}

impl Loops {
    fn start(count: usize) -> Result<Self> {
        let mut loops = Self {
            children: Vec::new(),
        };
        for _ in 0..count {
            // Each in a session of its own: to one session the kernel gives one share, however many loops run in it.
            let child = Command::new("setsid")
                .args(["sh", "-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .context("start a busy loop")?;
            loops.children.push(child);
        }
        Ok(loops)
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
