//! `mainstay incident …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mainstay_incident::Became;

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

const NOTE_HELP: &str = "\
With --as it is a part of the report afterwards: a factor (without which it would not have come so), or what went well,
badly, or was luck.

  mainstay incident note i3 --as factor 'the standby in us-west-2 had been away for a week'";

const REPORT_HELP: &str = "\
Made of journal entries, each of which is named with its hash, and of the figures that a watch of this machine still has.
With --keep FOLDER those figures are written there too; --figures FOLDER takes them from there, when the watch has
forgotten. What nobody measured is called unknown.

  mainstay incident report i3
  mainstay incident report i3 --format html --out i3.html --keep i3";

const REPLAY_HELP: &str = "\
Rules of the file are followed over what was measured then and shortly before; those of the platform are not. Says
when each of its alerts would have fired, beside when the incident was opened.

Exit codes: 0 an alert would have fired before it was mitigated; 1 none would; 2 the rules cannot be used, or nothing
was measured.";

const SIGN_HELP: &str = "\
The page is a file that `mainstay incident report` wrote, as it will be handed on. The incident must be over. A pack of evidence to
which the page is attached shows who signed it, and anybody can verify that without asking (docs/evidence.md).

  mainstay incident report i3 --format html --out i3.html
  mainstay incident sign i3 i3.html --reason 'seen with the desk'
  mainstay evidence pack --incident i3 --attach i3.html --out i3.tar";

const ACTION_HELP: &str = "\
Each has an owner, whom the platform file names as an operator, and a day. One that is done may name what it became: a
rule that the watches follow, a drill that is adopted, a gate of the platform file. Of a rule it is said whether it would
have caught the incident, by what was measured then.

  mainstay incident action add i3 'alert on the standby's distance' --owner ada --due 2026-12-24
  mainstay incident action done i3/a1 --became rule:StandbyFar --reason 'followed since Monday'
  mainstay incident action list";

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
    #[command(after_help = NOTE_HELP)]
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
    /// What is to be done so that it does not come again
    #[command(subcommand, after_help = ACTION_HELP)]
    Action(Action),
    /// What it was, what it cost, what was done, and what follows from it
    #[command(after_help = REPORT_HELP)]
    Report(Report),
    /// Stand for a page that tells of it, or do not: its SHA-256 is journalled
    #[command(after_help = SIGN_HELP)]
    Sign(Sign),
    /// Whether other rules would have noticed it, and when
    #[command(after_help = REPLAY_HELP)]
    Replay(Replay),
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Somebody shall do something until a day
    Add(ActionAdd),
    /// It is done
    Done(ActionDone),
    /// Those of all incidents, by their days
    List(ActionList),
}

#[derive(Debug, Args)]
pub struct ActionAdd {
    /// Such as i3
    pub id: String,
    /// What is to be done
    pub text: String,
    /// An operator of the platform file
    #[arg(long)]
    pub owner: String,
    /// The day until which it shall be done, such as 2026-12-24
    #[arg(long, value_name = "DAY")]
    pub due: String,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub platform: Platform,
}

#[derive(Debug, Args)]
pub struct ActionDone {
    /// Such as i3/a1
    pub action: String,
    /// What it became and what is in force by now: rule:NAME, drill:NAME, gate:NAME
    #[arg(long, value_name = "WHAT")]
    pub became: Option<Became>,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct ActionList {
    /// Those that are done too
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub look: Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Markdown,
    Html,
}

#[derive(Debug, Args)]
pub struct Report {
    /// Such as i3
    pub id: String,
    #[arg(long, value_enum, default_value = "markdown")]
    pub format: Format,
    /// A file that is written; what was there is replaced
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write what was measured into this folder, for later
    #[arg(long, value_name = "FOLDER", conflicts_with = "figures")]
    pub keep: Option<PathBuf>,
    /// Take what was measured from this folder instead of a watch
    #[arg(long, value_name = "FOLDER")]
    pub figures: Option<PathBuf>,
    /// How much of what was before is kept, so that rules find their past
    #[arg(long, value_name = "LENGTH", default_value = "15m")]
    pub before: String,
    #[command(flatten)]
    pub platform: Platform,
}

#[derive(Debug, Args)]
pub struct Sign {
    /// Such as i3
    pub id: String,
    /// The page
    #[arg(value_name = "FILE")]
    pub page: PathBuf,
    /// Say that you do not stand for it
    #[arg(long)]
    pub refuse: bool,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Replay {
    /// Such as i3
    pub id: String,
    /// A file of rules; several times for several
    #[arg(long, value_name = "FILE", required = true)]
    pub rules: Vec<PathBuf>,
    /// Take what was measured from this folder instead of a watch
    #[arg(long, value_name = "FOLDER")]
    pub figures: Option<PathBuf>,
    /// How much of what was before is taken from a watch, so that rules find their past
    #[arg(long, value_name = "LENGTH", default_value = "15m")]
    pub before: String,
    #[command(flatten)]
    pub look: Look,
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
    /// factor, well, badly or luck: a part of the report afterwards
    #[arg(long = "as", value_name = "KIND")]
    pub lesson: Option<String>,
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
