//! `mainstay incident …`

use clap::{Args, Subcommand};

use super::{Act, Look, Platform};

const OPEN_HELP: &str = "\
What it is about decides what joins it later: alerts, reports and losses that can be felt there, or that explain it.

  mainstay incident open 'customers cannot withdraw' --severity critical --about database/ledger --reason 'the desk rang'

KIND is region, host, database, service, gateway or route; @HOST names the part on one host, as in service/venue@use1-a.";

const LIST_HELP: &str = "\
Open and acknowledged incidents, and those that rest (mitigated) until somebody resolves them; --all has those that are
over too. What they are made of, and when each rests by itself, stands in docs/incidents.md.

Exit codes: 0 none is open or acknowledged; 1 at least one is; 2 there is no such platform; 4 no node answers.";

const SHOW_HELP: &str = "\
Its timeline is the journal's: every line is an entry, with its position. `mainstay journal show --from POSITION` and
`mainstay journal verify` say more about each.";

const RESOLVE_HELP: &str = "\
Refused while anything of it stands, also what is not measured any more: nobody has seen it end. With --despite it is
resolved all the same, and the journal names what stood.";

#[derive(Debug, Subcommand)]
pub enum Incident {
    /// Those that are not over
    #[command(after_help = LIST_HELP)]
    List(List),
    /// One with its timeline
    #[command(after_help = SHOW_HELP)]
    Show(Show),
    /// Open one that nobody has told of
    #[command(after_help = OPEN_HELP)]
    Open(Open),
    /// Somebody has it: the escalation ends
    Acknowledge(One),
    /// Give somebody a role in it, or hand over
    Assign(Assign),
    /// Say how bad it is
    Severity(Rate),
    /// Write something down
    Note(Note),
    /// Point to something: a call, a document, a ticket
    Link(Link),
    /// Let it go on in another one
    Merge(Merge),
    /// Customers are not hurt any more
    Mitigate(One),
    /// It is over
    #[command(after_help = RESOLVE_HELP)]
    Resolve(Resolve),
    /// It was not over
    Reopen(One),
}

#[derive(Debug, Args)]
pub struct List {
    /// Those that are over too
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub look: Look,
}

#[derive(Debug, Args)]
pub struct Show {
    /// Such as i3
    pub id: String,
    #[command(flatten)]
    pub look: Look,
}

#[derive(Debug, Args)]
pub struct Open {
    /// What is wrong, in a line
    pub title: String,
    /// info, warning, error or critical
    #[arg(long)]
    pub severity: String,
    /// A part of the platform, as KIND/NAME or KIND/NAME@HOST; several times for several
    #[arg(long, value_name = "THING")]
    pub about: Vec<String>,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct One {
    /// Such as i3
    pub id: String,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Assign {
    /// Such as i3
    pub id: String,
    /// An operator of the platform file
    pub to: String,
    /// owner, commander, operations, communications or scribe
    #[arg(long, default_value = "owner")]
    pub role: String,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Rate {
    /// Such as i3
    pub id: String,
    /// info, warning, error or critical
    pub severity: String,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Note {
    /// Such as i3
    pub id: String,
    /// What is written down
    pub text: String,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub platform: Platform,
}

#[derive(Debug, Args)]
pub struct Link {
    /// Such as i3
    pub id: String,
    /// Where it leads
    pub link: String,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Merge {
    /// The one that goes on in the other
    pub id: String,
    /// The other
    #[arg(long, value_name = "ID")]
    pub into: String,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Resolve {
    /// Such as i3
    pub id: String,
    /// Though something of it stands
    #[arg(long)]
    pub despite: bool,
    #[command(flatten)]
    pub act: Act,
}
