//! `mainstay drill …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Act, Gates, Look, Platform};

const CHECK_HELP: &str = "\
Everything that is wrong at once, with line, column and what to write; with --platform also what the platform does not
have, and roles that nobody holds.

  mainstay drill check examples/exchange/drills/*.yaml --platform examples/exchange/platform.yaml

Exit codes: 0 nothing to say; 1 something is; 2 a file cannot be read.";

const RUN_HELP: &str = "\
Starts the load, takes each step, measures on the clients' clock, and journals everything; the verdict on each service
is the journal's. Refused while an incident is open, an upgrade is under way, a host is lost, another fault or
experiment is in force, or a budget is short; then nothing is touched. Ctrl-C aborts it and ends its faults.

  mainstay drill run examples/exchange/drills/region-lost.yaml --reason 'the monthly one'
  mainstay journal show --kind drill

Exit codes: 0 passed; 1 failed, aborted or inconclusive; 2 the file is wrong; 3 refused, and nothing was touched; 4 nobody
answers; 5 unknown.";

const CONFIRM_HELP: &str = "\
The reason is what you saw; it stands in the journal under your name.

  mainstay drill confirm d3 customers-told --reason 'status page at 06:04, support informed'";

const SIGN_HELP: &str = "\
For somebody who answers for the result, and did not make it: an evidence pack shows a signature of whoever ran the drill as
missing. The reason is the statement, and stands in the journal under your name. With --refuse the journal says that you
do not accept the result. Several people may sign; the last word of each counts.

  mainstay drill sign d3 --reason 'seen the report of 2 March; the open deficiency has an owner'
  mainstay drill sign d3 --refuse --reason 'the load was half of a usual Friday'";

const ADOPT_HELP: &str = "\
Whoever adopts a document approves it: a run of the very same text is an approved one. If the document has a schedule,
a run that was due and did not come to a verdict opens an incident.";

#[derive(Debug, Subcommand)]
pub enum Drill {
    /// Read documents: everything that is wrong with them
    #[command(after_help = CHECK_HELP)]
    Check(Check),
    /// Print the JSON Schema of drills, for editors
    Schema,
    /// Show what would be done on the platform that runs; nothing is
    Plan(Plan),
    /// Put a document in force: approved, and its schedule watched
    #[command(after_help = ADOPT_HELP)]
    Adopt(Adopt),
    /// Take one out of force
    Withdraw(Withdraw),
    /// Run one, from the load to the verdict
    #[command(after_help = RUN_HELP)]
    Run(Run),
    /// Say that a person's step was done
    #[command(after_help = CONFIRM_HELP)]
    Confirm(Confirm),
    /// Say that you accept the result of a run, or that you do not
    #[command(after_help = SIGN_HELP)]
    Sign(Sign),
    /// What is in force, when it is due, what runs, and how the last ones ended
    List(Look),
    /// A run, step by step, with everything measured
    Show(Show),
}

#[derive(Debug, Args)]
pub struct Check {
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// A platform file that they are for
    #[arg(long = "platform", value_name = "FILE")]
    pub platform_file: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Plan {
    pub file: PathBuf,
    #[command(flatten)]
    pub platform: Platform,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Adopt {
    pub file: PathBuf,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Withdraw {
    /// Its name
    pub drill: String,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Run {
    pub file: PathBuf,
    /// Of every random choice, instead of the document's
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only if this very text is in force
    #[arg(long)]
    pub adopted: bool,
    #[command(flatten)]
    pub gates: Gates,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Confirm {
    /// The run, as d3
    pub drill: String,
    /// The step's id
    pub step: String,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Sign {
    /// The run, as d3
    pub drill: String,
    /// Say that you do not accept it
    #[arg(long)]
    pub refuse: bool,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The run, as d3
    pub drill: String,
    #[command(flatten)]
    pub platform: Platform,
    /// Print the entries of the journal as they are stored, a line each
    #[arg(long)]
    pub json: bool,
}
