//! What a fault costs a client, beside the peer: the same writer, the same faults, in one run.
//!
//! One client commits one row after the other and connects again, with a deadline, when it is not answered. The
//! *gap* is the longest time between two acknowledged writes around a fault. Ours is the platform of the example
//! as `make up` starts it; the peer is Patroni with etcd and HAProxy from the distribution, strictly synchronous
//! like ours, with the fastest settings that it documents. Both stand on this machine all the time; repetitions
//! and contestants take turns, so that whatever else the machine does meets both. After each repetition it is
//! looked whether all that was acknowledged is there: a loss of ours fails the run, one of the peer's is counted.
//!
//! On both sides the writer comes in where the fault does not hit. Where the two differ, the difference favours
//! the peer: its store is never broken (a region of ours takes keeper, gateway and node with it), its proxy stands
//! beside the client, and its three nodes do nothing else.

mod figures;
mod ours;
mod peer;
mod peer_files;
mod peer_system;
mod simulated;
mod writer;

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bench::machine;
use crate::platform::{Afterwards, now};
use figures::Figures;
use ours::Ours;
use peer::{Peer, Settings};
use writer::{Entrance, Measured, Writer};

/// From one state in which everything is well to the next.
const RECOVERY_LIMIT: Duration = Duration::from_secs(120);
/// The peer with its default settings needs half a minute.
const RESUME_LIMIT: Duration = Duration::from_secs(90);
/// Acknowledged writes before and after a fault; over a distance each takes its time.
const STEADY: u64 = 100;
const STEADY_AFAR: u64 = 20;

#[derive(clap::Args)]
pub struct Arguments {
    /// How often each fault is set on each contestant
    #[arg(long, default_value_t = 20)]
    pub repetitions: u32,
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Class>,
    /// Round trips between regions to measure at, in milliseconds
    #[arg(long, value_delimiter = ',', default_value = "0")]
    pub distance_ms: Vec<u64>,
    /// With which settings the peer runs
    #[arg(long, value_enum, default_value_t = Settings::Fastest)]
    pub peer: Settings,
    /// Measure ours alone
    #[arg(long)]
    pub alone: bool,
    /// A write that is not answered within this is given up, and the connection with it
    #[arg(long, default_value_t = 500)]
    pub deadline_ms: u64,
    /// Do not begin another repetition after so many seconds
    #[arg(long)]
    pub seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Class {
    /// SIGKILL for the primary's postmaster; its keeper lives
    PostmasterKill,
    /// The primary's host falls silent: network cut, then all its processes killed
    Crash,
    /// All processes of the primary's host stand still
    Freeze,
    /// The primary's host is cut off from everybody
    Cut,
    /// The primary moves by plan
    Switchover,
}

impl Class {
    const ALL: [Self; 5] = [
        Self::PostmasterKill,
        Self::Crash,
        Self::Freeze,
        Self::Cut,
        Self::Switchover,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::PostmasterKill => "postmaster kill",
            Self::Crash => "silent crash",
            Self::Freeze => "freeze",
            Self::Cut => "cut",
            Self::Switchover => "switchover",
        }
    }
}

/// Whoever is measured.
pub trait Contestant {
    fn name(&self) -> &'static str;
    /// A lost write of ours ends the benchmark; one of the peer's is counted.
    fn is_ours(&self) -> bool;
    /// Waits until all is well: a primary, and two standbys of which at least one counts.
    fn wait_well(&self, limit: Duration) -> Result<()>;
    fn entrance(&self) -> Result<Entrance>;
    /// Sets the fault on whoever is primary, and returns when it is set.
    fn strike(&mut self, class: Class) -> Result<()>;
    /// Ends it.
    fn heal(&mut self) -> Result<()>;
    /// Gives up one that does not come back by itself, so that the rest can be measured.
    fn begin_anew(&mut self) -> Result<()>;
}

pub fn run(arguments: &Arguments) -> Result<()> {
    machine::print()?;
    for distance_ms in &arguments.distance_ms {
        at_distance(arguments, *distance_ms)?;
    }
    Ok(())
}

fn at_distance(arguments: &Arguments, distance_ms: u64) -> Result<()> {
    let mut ours = Ours::start(distance_ms)?;
    let mut peer = match peer::missing() {
        _ if arguments.alone => None,
        None => Some(Peer::start(arguments.peer, distance_ms).context("start the peer")?),
        Some(what) => {
            println!("the peer is not measured: {what} is not installed");
            None
        }
    };
    println!("\n## Failover beside the peer: client-side gap, {distance_ms} ms between regions\n");
    println!("{}", machine::load()?);
    println!(
        "One writer, one row per commit, deadline {} ms. {}\n",
        arguments.deadline_ms,
        peer.as_ref().map_or_else(String::new, Peer::describe)
    );
    let mut contestants: Vec<&mut dyn Contestant> = vec![&mut ours];
    contestants.extend(peer.as_mut().map(|peer| peer as &mut dyn Contestant));
    let steady = if distance_ms == 0 {
        STEADY
    } else {
        STEADY_AFAR
    };
    let figures = measure(arguments, &mut contestants, steady)?;
    println!("\n{}\n{}", figures.table(), machine::load()?);
    if distance_ms == 0 {
        println!("\n{}", simulated::beside(&figures, ours.name())?);
    }
    let failures = figures.failures(ours.name());
    if failures > 0 {
        bail!("{failures} repetitions of ours could not be measured");
    }
    ours.platform.afterwards = Afterwards::Remove;
    if let Some(peer) = &mut peer {
        peer.is_kept = false;
    }
    Ok(())
}

fn measure(
    arguments: &Arguments,
    contestants: &mut [&mut dyn Contestant],
    steady: u64,
) -> Result<Figures> {
    let started = now();
    let mut figures = Figures::default();
    let wanted = |class: &Class| arguments.only.is_empty() || arguments.only.contains(class);
    for repetition in 1..=arguments.repetitions {
        let late = |limit| started.elapsed() >= Duration::from_secs(limit);
        if arguments.seconds.is_some_and(late) {
            println!("stopped before repetition {repetition}: the time is over");
            break;
        }
        for class in Class::ALL.into_iter().filter(wanted) {
            for contestant in contestants.iter_mut() {
                let name = contestant.name();
                let measured = once(&mut **contestant, class, arguments.deadline_ms, steady);
                let elapsed = started.elapsed().as_secs_f64();
                print!(
                    "  {elapsed:>6.1} s  {repetition}: {name}, {}: ",
                    class.name()
                );
                match measured {
                    Ok(measured) => {
                        let stuck = measured
                            .stuck
                            .as_ref()
                            .map(|why| format!(", but then {why}"));
                        println!(
                            "{} ms{}",
                            measured.gap.as_millis(),
                            stuck.unwrap_or_default()
                        );
                        figures.add(class, name, &measured);
                        if measured.lost > 0 {
                            println!("    {} acknowledged writes are not there", measured.lost);
                        }
                        if measured.lost > 0 && contestant.is_ours() {
                            bail!("acknowledged writes were lost; see the folder that is left");
                        }
                    }
                    Err(error) => {
                        println!("not measured: {error:#}");
                        figures.fail(class, name);
                        if !contestant.is_ours() {
                            contestant.begin_anew()?;
                        }
                    }
                }
            }
        }
    }
    Ok(figures)
}

fn once(
    contestant: &mut dyn Contestant,
    class: Class,
    deadline_ms: u64,
    steady: u64,
) -> Result<Measured> {
    contestant.wait_well(RECOVERY_LIMIT)?;
    let mut writer = Writer::start(&contestant.entrance()?, deadline_ms)?;
    writer.await_more(steady, RESUME_LIMIT)?;
    writer.mark("fault")?;
    let struck = contestant.strike(class);
    let resumed = struck.and_then(|()| writer.await_more(steady, RESUME_LIMIT));
    writer.mark("healing")?;
    let healed = contestant.heal();
    resumed.and(healed)?;
    match contestant.wait_well(RECOVERY_LIMIT) {
        Ok(()) => writer.finish(),
        Err(error) if contestant.is_ours() => Err(error),
        Err(error) => {
            let mut measured = writer.finish()?;
            measured.stuck = Some(format!("{error:#}"));
            contestant.begin_anew()?;
            Ok(measured)
        }
    }
}
