//! Faults, as they are typed.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use mainstay_record::process::FaultDetail;

use super::{Act, Gates, Look, duration};

const FAULT_HELP: &str = "\
Examples:
  mainstay fault inject process-kill use1-a/postgres-ledger --reason 'primary gone'
  mainstay fault inject region-freeze us-east-1 --for 30s --reason 'does the desk notice?'
  mainstay fault inject cut us-east-1:eu-west-1 --one-way --for 1m --reason 'half a cable'
  mainstay fault inject delay us-east-1:us-west-2 --by 40ms --reason 'a detour'

How it is undone is on disk and guarded by a process of its own before anything is broken.
In production an operator with fault.approve is needed. Gates that stand before experiments stand before this too.

Exit codes: 0 it is in force; 2 the command line is wrong; 3 refused: no such target, no permission; 4 nobody
answered; 5 unknown: `mainstay fault list` shows whether it is in force.";

#[derive(Debug, Subcommand)]
pub enum Fault {
    /// Break something: it ends by itself after --for, even if everything that set it is dead
    ///
    /// TARGET by kind: process-kill and process-freeze take HOST/INSTANCE (as `mainstay status` names them;
    /// HOST/node is the node itself, HOST/postgres-DATABASE a database server); host-crash and host-freeze
    /// take HOST; region-crash and region-freeze take REGION; cut takes REGION (against all others) or
    /// REGION:REGION (from the first to the second when --one-way); delay, loss and throttle take
    /// REGION:REGION. process-down takes HOST/INSTANCE, kills it and holds it down; stress takes HOST.
    #[command(after_help = FAULT_HELP)]
    Inject(Inject),
    /// Faults in force, with the time they have left
    List(Look),
    /// End a fault now
    Clear(Clear),
}

#[derive(Debug, Args)]
pub struct Inject {
    /// What breaks
    pub kind: FaultKind,
    /// Where, as described above
    pub target: String,
    #[command(flatten)]
    pub act: Act,
    /// How long it lasts
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub lasts: Duration,
    /// Only from TARGET to the others (cut), or from the first to the second region
    #[arg(long)]
    pub one_way: bool,
    /// Added to each direction (delay)
    #[arg(long, value_name = "TIME", value_parser = duration, required_if_eq("kind", "delay"))]
    pub by: Option<Duration>,
    #[command(flatten)]
    pub detail: Detail,
    #[command(flatten)]
    pub gates: Gates,
}

/// What only some kinds take.
#[derive(Debug, Args)]
pub struct Detail {
    /// Up to so much more, drawn for each piece (delay)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub jitter: Option<Duration>,
    /// Of a hundred packets so many are lost (loss)
    #[arg(long, value_name = "PERCENT", required_if_eq("kind", "loss"))]
    pub share: Option<f64>,
    /// Bytes in a second (throttle)
    #[arg(long, value_name = "BYTES", required_if_eq("kind", "throttle"))]
    pub rate: Option<u64>,
    /// Asked to leave first, killed after so long (process-kill)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub grace: Option<Duration>,
    /// Busy workers (stress)
    #[arg(long, value_name = "COUNT")]
    pub workers: Option<u16>,
    /// How busy each of them is (stress)
    #[arg(long, value_name = "PERCENT")]
    pub load: Option<u8>,
    /// Held and written to (stress)
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<u64>,
}

impl Detail {
    pub fn record(&self) -> FaultDetail {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        FaultDetail {
            jitter_us: self.jitter.map(micros),
            loss_ppm: self.share.map(|percent| (percent * 10_000.0) as u32),
            bytes_per_second: self.rate,
            grace_ms: self.grace.map(|grace| micros(grace) / 1_000),
            cpu_workers: self.workers,
            cpu_load_percent: self.load,
            memory_bytes: self.memory,
            ..FaultDetail::default()
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FaultKind {
    ProcessKill,
    ProcessFreeze,
    HostCrash,
    HostFreeze,
    RegionCrash,
    RegionFreeze,
    Cut,
    Delay,
    ProcessDown,
    Loss,
    Throttle,
    Stress,
}

impl FaultKind {
    /// As it is typed, sent and journalled.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProcessKill => "process-kill",
            Self::ProcessFreeze => "process-freeze",
            Self::HostCrash => "host-crash",
            Self::HostFreeze => "host-freeze",
            Self::RegionCrash => "region-crash",
            Self::RegionFreeze => "region-freeze",
            Self::Cut => "cut",
            Self::Delay => "delay",
            Self::ProcessDown => "process-down",
            Self::Loss => "loss",
            Self::Throttle => "throttle",
            Self::Stress => "stress",
        }
    }
}

#[derive(Debug, Args)]
pub struct Clear {
    /// The fault's identifier, or `all`
    pub id: String,
    #[command(flatten)]
    pub act: Act,
}
