//! What can be typed, and the help that explains it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Keeps a platform standing through failure, change and load, and proves it.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 the thing asked about is not as it should be (not green, not verified, not valid);
2 the command line is wrong; 3 refused (role, pause, production, a rule); 4 nobody answered;
5 it may or may not have happened: look with `mainstay status` before trying again.

A platform is found by --data, else by the environment variable MAINSTAY_DATA, else in the default data
folder (/var/lib/mainstay for root, the XDG data folder otherwise).";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a platform file: every error at once, with line, column and suggestion
    Validate(Validate),
    /// Print the JSON Schema of the platform file, for editors
    Schema,
    /// Start the platform of a file, or adopt what still runs of it, and show its status
    ///
    /// Starts one node per host, the wires between regions, and through the nodes everything the file
    /// names. In the foreground it shows progress, then a live status; Ctrl-C stops everything in order.
    /// A changed file is planned, shown, journalled and carried out.
    Up(Up),
    /// Stop everything in order: out of routing, drained, terminated
    Down(Platform),
    /// What runs, who leads, what is broken on purpose, and why anything is not green
    Status(Status),
    /// Hands off: Mainstay decides nothing until `resume`; traffic and PostgreSQL stay untouched
    Pause(Act),
    /// End a pause
    Resume(Act),
    /// Break something on purpose, for a bounded time
    #[command(subcommand)]
    Fault(Fault),
    /// Move the primary of a database to another region, as planned work
    Switchover(Switchover),
    /// The record of every decision, which outsiders can verify
    #[command(subcommand)]
    Journal(Journal),
    /// Processes of a running platform; started by Mainstay itself
    #[command(flatten)]
    Process(Process),
}

#[derive(Debug, Args)]
pub struct Validate {
    /// The platform file
    pub file: PathBuf,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// Which running platform is meant.
#[derive(Clone, Debug, Args)]
pub struct Platform {
    /// The platform's data folder
    #[arg(long, value_name = "DIR", env = "MAINSTAY_DATA")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Up {
    /// The platform file
    pub file: PathBuf,
    #[command(flatten)]
    pub platform: Platform,
    /// Return when the platform is healthy, and leave it running
    #[arg(long)]
    pub detach: bool,
    /// Round trip between any two regions, instead of the distances in the file
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub distance: Option<Duration>,
    /// How long to wait for health before giving up (what was started keeps running)
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration)]
    pub timeout: Duration,
    /// Why, for the journal
    #[arg(long, default_value = "mainstay up")]
    pub reason: String,
}

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub platform: Platform,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print again and again until interrupted
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
}

/// A command that changes something says why.
#[derive(Debug, Args)]
pub struct Act {
    #[command(flatten)]
    pub platform: Platform,
    /// Why, for the journal
    #[arg(long)]
    pub reason: String,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Fault {
    /// Break something: it ends by itself after --for, even if everything that set it is dead
    ///
    /// TARGET by kind: process-kill and process-freeze take HOST/INSTANCE (as `mainstay status` names them;
    /// HOST/node is the node itself, HOST/postgres-DATABASE a database server); host-crash and host-freeze
    /// take HOST; region-crash and region-freeze take REGION; cut and delay take REGION (against all
    /// others) or REGION:REGION (from the first to the second when --one-way).
    #[command(
        after_help = "Example: mainstay fault inject region-freeze us-east-1 --for 30s --reason 'does the desk notice?'"
    )]
    Inject(Inject),
    /// Faults in force, with the time they have left
    List(Status),
    /// End a fault now
    Clear(Clear),
}

#[derive(Debug, Args)]
pub struct Inject {
    pub kind: FaultKind,
    pub target: String,
    #[command(flatten)]
    pub act: Act,
    /// How long it lasts
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub lasts: Duration,
    /// Only from TARGET to the others (cut)
    #[arg(long)]
    pub one_way: bool,
    /// Added to each direction (delay)
    #[arg(long, value_name = "TIME", value_parser = duration, required_if_eq("kind", "delay"))]
    pub by: Option<Duration>,
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

#[derive(Debug, Args)]
pub struct Switchover {
    pub database: String,
    /// The region that shall have the primary
    #[arg(long, value_name = "REGION")]
    pub to: String,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Subcommand)]
pub enum Journal {
    /// Print entries
    Show(JournalShow),
    /// Check chain, tree, signatures, and each node's own last checkpoint; never repairs
    Verify(Status),
    /// Write the log as C2SP tlog-tiles, which tools that Mainstay did not write can check
    Export(JournalExport),
    /// Change copies of the journal at random and count how many changes `verify` finds
    Mutate(JournalMutate),
}

#[derive(Debug, Args)]
pub struct JournalShow {
    #[command(flatten)]
    pub platform: Platform,
    /// Print the entries as they are stored, a line each
    #[arg(long)]
    pub json: bool,
    /// First position to print
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub from: u64,
    /// Only entries of this kind
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
}

#[derive(Debug, Args)]
pub struct JournalExport {
    #[command(flatten)]
    pub platform: Platform,
    /// A folder that does not exist yet
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

#[derive(Debug, Args)]
pub struct JournalMutate {
    #[command(flatten)]
    pub platform: Platform,
    /// How many changed copies to check
    #[arg(long, default_value_t = 1_000)]
    pub count: u32,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, Subcommand)]
pub enum Process {
    #[command(hide = true)]
    Node(NodeProcess),
    #[command(hide = true)]
    Machine(Platform),
    #[command(hide = true)]
    Keeper(ConfigFile),
    #[command(hide = true)]
    Gateway(ConfigFile),
    #[command(hide = true)]
    Shim(SpecFile),
    #[command(hide = true)]
    Wire(SpecFile),
    #[command(hide = true)]
    Guardian(SpecFile),
}

#[derive(Debug, Args)]
pub struct NodeProcess {
    #[arg(long)]
    pub host: String,
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
}

#[derive(Debug, Args)]
pub struct ConfigFile {
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
pub struct SpecFile {
    pub spec: PathBuf,
}

/// `500ms`, `30s`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => {
            return Err(format!(
                "`{text}` is not a time: write a whole number and ms, s, m or h, as in 30s"
            ));
        }
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{text}` does not begin with a whole number"))?;
    let ms = number
        .checked_mul(unit_ms)
        .ok_or_else(|| format!("`{text}` is too long"))?;
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for text in [
            "",
            "s",
            "5",
            "-1s",
            "1.5s",
            "99999999999999999999h",
            "18446744073709551615h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
