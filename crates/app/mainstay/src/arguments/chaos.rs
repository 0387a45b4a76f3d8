//! Chaos, as it is typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Act, Gates, Look, Platform, duration};

const CHECK_HELP: &str = "\
Says what Chaos Mesh itself would refuse (its schema and its webhooks), what it accepts and an experienced hand would
not run, and what to write instead. With --platform it also says whom each selector meets there, and what of each
injection can be done on one machine: exactly, approximated (and how), or refused (and why).

  mainstay chaos check experiments.yaml
  mainstay chaos check experiments.yaml --repair > repaired.yaml
  mainstay chaos check repaired.yaml --platform examples/exchange/platform-chaos.yaml

Exit codes: 0 nothing to say; 1 findings; 2 a file cannot be read.";

const RUN_HELP: &str = "\
A file with an Experiment (docs/chaos.md) has a hypothesis; what it must not do ends it at once. Documents without one
are run as they are, and come to no verdict. Every fault has an end of its own, guarded.

The platform carries the experiment, and this command looks on: killed, it ends nothing (`mainstay chaos stop x1` does);
Ctrl-C stops the experiment and shows how it ends.

Nothing is broken while the steady state does not hold, while an alert calls, a host is lost, an upgrade or another
fault or experiment is under way, or while the budget of an objective is shorter than the experiment wants it.

  mainstay chaos run repaired.yaml --reason 'does anybody notice?'
  mainstay chaos run repaired.yaml --only slow-ledger --seed 7 --reason 'once more, the same way'
  mainstay journal show --kind experiment

Exit codes: 0 passed; 1 failed, aborted or inconclusive; 2 the file is wrong; 3 refused, and nothing was broken; 4 nobody
answers; 5 unknown.";

#[derive(Debug, Subcommand)]
pub enum Chaos {
    /// Read and criticise documents; nothing is broken
    #[command(after_help = CHECK_HELP)]
    Check(ChaosCheck),
    /// Show what would be broken, when and how exactly, on the platform that runs; nothing is broken
    Plan(ChaosPlan),
    /// Run the experiments of a file, and give the verdict
    #[command(after_help = RUN_HELP)]
    Run(ChaosRun),
    /// End the experiment that runs: what it broke is mended, and it comes to the verdict aborted
    Stop(ChaosStop),
    /// The experiment that runs
    List(Look),
}

#[derive(Debug, Args)]
pub struct ChaosCheck {
    /// Documents of Chaos Mesh, and experiments
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// A platform file on which they are judged
    #[arg(long = "platform", value_name = "FILE")]
    pub platform_file: Option<PathBuf>,
    /// Print the text with everything repaired that a program can repair
    #[arg(long)]
    pub repair: bool,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// Which experiments of a file, and how.
#[derive(Debug, Args)]
pub struct ChaosChoice {
    /// Documents of Chaos Mesh, and experiments
    pub file: PathBuf,
    /// Only the experiment with this name
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// Of every random choice, instead of the experiment's
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long what does not end by itself is followed
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub window: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct ChaosPlan {
    #[command(flatten)]
    pub choice: ChaosChoice,
    #[command(flatten)]
    pub platform: Platform,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ChaosRun {
    #[command(flatten)]
    pub choice: ChaosChoice,
    #[command(flatten)]
    pub gates: Gates,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct ChaosStop {
    /// As `mainstay chaos list` names it: x1
    pub experiment: String,
    #[command(flatten)]
    pub act: Act,
}
