//! `mainstay playbook …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Act, Look, Platform};

const CHECK_HELP: &str = "\
What cannot be followed is an error with line, column and what to write; what can be followed and is unwise (nothing \
that shows success, a destructive action without a limit, a name that the platform file does not have, an alert that none \
of its rules raises) is criticised.

  mainstay playbook check examples/exchange/playbooks/*.yaml --platform examples/exchange/platform.yaml

Exit codes: 0 nothing to say; 1 something is; 2 a file cannot be read.";

const DRY_RUN_HELP: &str = "\
Names exactly what would be done on the platform as it is now, measures every condition, and shows every guardrail with \
its figures. Nothing is journalled and nothing is done.

  mainstay playbook dry-run move-ledger --set region=eu-west-1";

const RUN_HELP: &str = "\
The run is journalled; guardrails hold as for any other. If the playbook needs approvals, yours is one of them if you \
may give it.

  mainstay playbook run move-ledger --set region=eu-west-1 --reason 'maintenance' --wait";

const APPROVE_HELP: &str = "\
A run that waits begins when enough people approved it. A run that asks goes on: before it began, although too much is \
in trouble; after, with the step taken for done, since you have looked.";

const ABORT_HELP: &str = "\
What is being done at this moment is waited for; nothing further is begun. With --undo, what was done is undone as the \
playbook says.";

#[derive(Debug, Subcommand)]
pub enum Playbook {
    /// Read playbooks: everything that is wrong, and what an expert would say
    #[command(after_help = CHECK_HELP)]
    Check(Check),
    /// Print the JSON Schema of playbooks, for editors
    Schema,
    /// Put playbooks in force, journalled with their text
    Adopt(Adopt),
    /// Take one out of force
    Withdraw(One),
    /// What a run would do now
    #[command(after_help = DRY_RUN_HELP)]
    DryRun(DryRun),
    /// Follow one
    #[command(after_help = RUN_HELP)]
    Run(Run),
    /// Say go to a run that waits or asks
    #[command(after_help = APPROVE_HELP)]
    Approve(One),
    /// End a run
    #[command(after_help = ABORT_HELP)]
    Abort(Abort),
    /// Playbooks in force, runs under way, and the last ones that ended
    List(Look),
    /// A playbook or a run in full
    Show(Show),
}

#[derive(Debug, Args)]
pub struct Check {
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Compare names with this platform file
    #[arg(long, value_name = "FILE")]
    pub platform: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Adopt {
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct One {
    /// A playbook's name, or a run such as r3
    pub id: String,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Values {
    /// The value of a parameter; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, Args)]
pub struct DryRun {
    /// The name of a playbook in force, or a file
    pub playbook: String,
    #[command(flatten)]
    pub values: Values,
    #[command(flatten)]
    pub look: Look,
}

#[derive(Debug, Args)]
pub struct Run {
    /// The name of a playbook in force
    pub playbook: String,
    #[command(flatten)]
    pub values: Values,
    /// Show what happens until it has ended or waits for somebody
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Abort {
    /// Such as r3
    pub run: String,
    /// Undo what was done
    #[arg(long)]
    pub undo: bool,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Show {
    /// A playbook's name, or a run such as r3
    pub id: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub platform: Platform,
}
