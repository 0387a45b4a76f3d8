//! What can be typed, and the help that explains it.

mod chaos;
pub mod drill;
pub mod evidence;
mod fault;
pub mod incident;
pub mod oncall;
pub mod playbook;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use chaos::{Chaos, ChaosCheck, ChaosChoice, ChaosPlan, ChaosRun, ChaosStop};
pub use fault::{Clear, Fault, Inject};

/// Keeps a platform standing through failure, change and load, and proves it.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, max_term_width = 100, after_help = TOP_HELP)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

const TOP_HELP: &str = "\
A first walk:
  mainstay up examples/exchange/platform.yaml    start it; Ctrl-C stops everything in order
  mainstay status                                in another terminal: is it green, and why not
  mainstay fault inject host-crash use1-a --for 30s --reason 'does anybody notice?'
  mainstay journal show                          who decided what, when, and why

Exit codes:
  0  done, or green
  1  what was asked about is not as it should be: not green, not verified, not valid
  2  the command line is wrong, or points to nothing
  3  refused: by role, in production, or by a rule that the message names; nothing was changed
  4  nobody answered; nothing was changed
  5  it may or may not have happened: look with `mainstay status` before trying again
  6  what could be verified is sound, and the rest could not be: see what is named

Which platform: the data folder of --data, else of the variable MAINSTAY_DATA, else the default
(/var/lib/mainstay for root, ~/.local/share/mainstay or $XDG_DATA_HOME/mainstay otherwise).

Who may: commands go over a socket of mode 0700, which the user that runs the platform and root
can open. The platform file maps that user to an operator and its roles.";

const UP_HELP: &str = "\
Examples:
  mainstay up platform.yaml                      in the foreground; Ctrl-C stops everything
  mainstay up platform.yaml --detach             returns when healthy; `mainstay down` stops it
  mainstay up platform.yaml --data /tmp/try --distance 80ms

A second `up` on the same data adopts what still runs, whatever was killed, and starts what is missing.
With a changed file it prints the lines that differ and the plan, has the file journalled, and waits until
every node follows it. A file that is invalid or refused changes nothing.

Exit codes: 0 healthy (--detach) or stopped by Ctrl-C; 1 invalid file, or not healthy within --timeout (what
was started keeps running); 2 the data folder holds another platform; 3 the change was refused; 4 no node
leads; 5 unknown; 130 interrupted while waiting with --detach.";

const REBUILD_HELP: &str = "Examples:
  mainstay rebuild platform.yaml --key ledger-backup-key --data /srv/mainstay
  mainstay rebuild platform.yaml --key k --store s3://vault/ledger --credentials c --journal /mnt/copy/journal

The data folder must be empty. Started again after an interruption it goes on.";
const DOWN_HELP: &str = "\
Ends faults in force, then stops each host: gateways leave, services drain and stop, keepers leave, PostgreSQL
stops last. A host whose node is dead or frozen is stopped without it. What is stopped stays stopped; the data
stays where it is. Stopping what is stopped already does nothing, and is no failure. Who stopped it and why is
journalled first, if a node leads; stopping does not depend on it.

Example: mainstay down --reason 'the machine is moved'

Exit codes: 0 nothing runs any more; 2 there is no such platform; 3 it belongs to another user.";

const STATUS_HELP: &str = "\
Prints regions and hosts, databases (role, term, position, lag, who counts for a commit), services and their
instances, gateways and their cells, leadership and faults in force, each with the age of the fact; then why
anything is not healthy, with the next step.

  mainstay status --watch                        again every second
  mainstay status --json | jq .verdict           for scripts
  until mainstay status >/dev/null 2>&1; do sleep 1; done

Exit codes: 0 healthy; 1 anything less, also what is not known; 2 there is no such platform; 3 it belongs to
another user; 4 no node answers.";

const ALERTS_HELP: &str = "\
Alerts that fire are journalled when they begin, when what they are about is not measured any more (missing), and
when a watch has measured that they ended. What is shown as standing is the journal's word, and outlives watches,
nodes and leaders; what is pending is told by the watches themselves.

Exit codes: 0 none stands; 1 at least one does; 2 there is no such platform; 4 no node answers.";

const QUERY_HELP: &str = "\
Examples:
  mainstay query 'up == 0'
  mainstay query 'sum by (host) (rate(mainstay_gateway_requests_total[1m]))'
  mainstay query 'pg_stat_replication_replay_lag_bytes' --range 10m --step 30s
  mainstay query 'node_load1' --at 2026-11-20T14:15:00Z

docs/metrics.md lists every figure. The first watch of this machine that answers is asked; --watch HOST chooses one.

Exit codes: 0 answered; 2 the expression is wrong, or there is no watch; 4 no watch answers.";

const SLO_HELP: &str = "\
Objectives stand in the platform file under spec.watch.objectives. A burn of 1 spends the budget exactly within its
period. What was not measured is unknown, and never counts as good.

  mainstay slo                                   of the platform that runs
  mainstay slo platform.yaml --rules > slo.yaml  the rules that follow from a file: to read, check, lint and test

Exit codes: 0 shown; 2 there are no objectives, or no such platform; 4 no watch answers.";

const PAUSE_HELP: &str = "\
While paused nothing is placed, started, restarted or promoted, on any host: what fails stays as it is, and
`mainstay status` says so. What runs goes on; gateways and PostgreSQL are not touched. Commands are still taken,
`mainstay down` and faults among them.

Example: mainstay pause --reason 'the network is being worked on until noon'";

const SWITCHOVER_HELP: &str = "\
Requests wait in the gateways meanwhile, well under a second, and none fails. It is refused where the region has
no replica, has the primary already, or its host is lost.

Example: mainstay switchover ledger --to us-west-2 --reason 'maintenance in us-east-1'

Exit codes: 0 the primary is there; 3 refused, or it could not be done and all is as before; 5 unknown.";

const UPGRADE_HELP: &str = "\
A copy of the program is kept in the platform's data folder, under its digest. Then one host after the other starts its
node, keepers, gateways and archivers from it; PostgreSQL and the services run on. A host that takes it must show for
five seconds that the whole platform stands; only then the next has its turn. Hosts without a primary go first, the one
that leads goes last. If it does not stand on a host, that host goes back to the program of before, and no other is
told: `mainstay status` and the journal say why. Between two hosts both versions run beside each other.

It is refused while a host is lost, while automation is paused, and while another upgrade is under way. The permission
is platform.upgrade.

Example: mainstay upgrade --program ./mainstay-0.2.0 --reason 'security release'

Exit codes: 0 every host runs it; 1 a host went back, and it goes no further; 3 refused; 5 unknown: `mainstay journal show --kind upgrade`.";

const SOLO_HELP: &str = "\
For when too few replicas are left for what `survive` promises, and commits wait. The primary then answers them as
soon as its own disk has them. What was answered before stays as safe as it was. What is answered from now on is lost
if the primary's disk is lost, or if the others choose another primary while it is gone or cut off; the status says
how much that would be, and the journal what came of it. It ends by itself: as soon as enough replicas follow again
and have everything on disk, the full promise holds again.

It is refused where commits do not wait, where there is no open primary that a majority of keepers hears, and where
another primary may come at any moment. The permission is database.solo.

Example: mainstay database solo ledger --reason 'two regions are down until the morning; the desk accepts the risk'

Exit codes: 0 it answers alone; 3 refused, and all is as before; 5 unknown: `mainstay status` tells.";

const FAILOVER_HELP: &str = "\
For when a majority of a database's replicas is gone for good. While it may come back, wait: an election loses nothing,
and the order tries that first. The replica on HOST then becomes the primary with what it has. What any other replica
has beyond that is given up, answered commits included; the answer, the journal and the status say where its log ends.
It serves alone until enough replicas follow again. Those that come back leave what they had (their folders are
moved aside, never emptied) and are filled from it, also where a majority was only cut off and has gone on: be sure
that it is gone, or stopped, because nobody can be told that does not hear.

It is refused where a primary is heard by any keeper that answers, where another replica that answers has more of the
log, and where what the replica has does not count. The permission is database.failover. With a majority of the hosts
gone nobody leads, and nothing can be journalled: then --without-leader asks the keeper itself, as the user who runs the
platform and on that host.

Example: mainstay database failover ledger --to host-3 --accept-data-loss --reason 'fire in two regions'

Exit codes: 0 it serves; 3 refused, and all is as before; 5 unknown: `mainstay status` tells.";

const SHOW_HELP: &str = "\
A line for each entry: position, time (UTC), leadership, kind, and what it says. The whole entry, byte for byte as
it is stored and hashed, comes with --json, a line each.

  mainstay journal show --kind fault             fault.injected, fault.set, fault.ending, …
  mainstay journal show --kind platform.adopted --json | jq .body.changes
  mainstay journal show --from 100

Exit codes: 0 printed; 1 an entry or part is damaged.";

const VERIFY_HELP: &str = "\
Reads every part: form, chain of hashes, Merkle tree, the signature of every checkpoint by an admitted key, and
whether all that each node remembers of its own is still there. It changes nothing.

Exit codes: 0 sound; 1 it found something, and says what and where.";

const BACKUP_VERIFY_HELP: &str = "\
Restores to a server that nobody else can reach, checks every file against the manifest, plays the log to a position,
to a moment and to its end, compares marks and books with what was noted before, checks every page, and measures how
long it took (RTO) and how much would have been lost (RPO). The proof is noted in the archive.

Exit codes: 0 proven; 1 not, with the reason and the next older proven backup; 2 no such database or backup.";

const RESTORE_HELP: &str = "\
  mainstay database restore ledger --to latest --into /srv/ledger
  mainstay database restore ledger --to 2026-11-20T14:15:00Z --into /srv/ledger
  mainstay database restore ledger --store /mnt/backups --key ledger-backup-key --into /srv/ledger

Exit codes: 0 restored; 1 something is missing or damaged, with the reason and the next older proven backup; 2 the
command line is wrong; 3 the folder is not empty.";

const CONFIGURE_HELP: &str = "\
Parameters stand in the platform file, below `parameters:` of the database. This command changes nothing: it says
which parameters a running server takes by reading its configuration again, which take restarts (standbys one after
the other, each back before the next; then a switchover; the old primary last), and which are the keeper's and
refused. `mainstay up FILE` with the changed file does it.

  mainstay database configure ledger
  mainstay database configure ledger --set max_connections=200 --set work_mem=8MB --unset jit

Exit codes: 0 shown; 2 no such database, or not set at all; 3 refused: the keeper's, or no parameter; 4 no node
answers.";

const LINT_HELP: &str = "\
Give all files that are loaded together: an alert on absence in one of them counts for all.

  mainstay rules lint rules/*.yaml
  mainstay rules lint rules.yaml --buckets order_seconds=0.1,0.3,0.7,1

Exit codes: 0 nothing to say; 1 findings, or a file is not valid; 2 a file cannot be read.";

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
    #[command(after_help = UP_HELP)]
    Up(Up),
    /// Every host is lost: bring the platform back from its file, its backups and its keys, on empty disks
    #[command(after_help = REBUILD_HELP)]
    Rebuild(Rebuild),
    /// Stop everything in order: out of routing, drained, terminated
    #[command(after_help = DOWN_HELP)]
    Down(Down),
    /// What runs, who leads, what is broken on purpose, and why anything is not green
    #[command(after_help = STATUS_HELP)]
    Status(Status),
    /// Hands off: Mainstay decides nothing until `resume`; traffic and PostgreSQL stay untouched
    #[command(after_help = PAUSE_HELP)]
    Pause(Act),
    /// End a pause: what was put off is decided now
    Resume(Act),
    /// Break something on purpose, for a bounded time
    #[command(subcommand)]
    Fault(Fault),
    /// Chaos Mesh documents and experiments: judged, repaired, run, with a verdict
    #[command(subcommand)]
    Chaos(Chaos),
    /// Rehearsals with objectives: checked, run, measured, with a verdict on each service
    #[command(subcommand)]
    Drill(drill::Drill),
    /// Move the primary of a database to another region, as planned work
    #[command(after_help = SWITCHOVER_HELP)]
    Switchover(Switchover),
    /// Take a new version of this program, host by host, without touching PostgreSQL
    #[command(after_help = UPGRADE_HELP)]
    Upgrade(Upgrade),
    /// Backups: made, listed, proven by restoring them, thrown away
    #[command(subcommand)]
    Backup(Backup),
    /// Bring it back from its backups, see and plan its parameters, go on with fewer copies
    #[command(subcommand)]
    Database(Database),
    /// The record of every decision, which outsiders can verify
    #[command(subcommand)]
    Journal(Journal),
    /// Prometheus rule files: check them, run their tests, hear what an expert would say
    #[command(subcommand)]
    Rules(Rules),
    /// Show the alerts that stand, and those that are pending
    #[command(after_help = ALERTS_HELP)]
    Alerts(Look),
    /// Evidence packs: what the journal shows of a drill, signed, and verified offline
    #[command(subcommand)]
    Evidence(evidence::Evidence),
    /// Incidents: what belongs together, who has it, and what happened
    #[command(subcommand)]
    Incident(incident::Incident),
    /// Playbooks: what to do when something is wrong, within which limits
    #[command(subcommand)]
    Playbook(playbook::Playbook),
    /// Who is called when something is wrong
    #[command(subcommand)]
    Oncall(oncall::Oncall),
    /// Call nobody for a while, and say why
    #[command(subcommand)]
    Silence(oncall::Silence),
    /// Ask a watch a question in PromQL
    #[command(after_help = QUERY_HELP)]
    Query(Query),
    /// Show what is left of each objective's budget, and how fast it burns
    #[command(after_help = SLO_HELP)]
    Slo(Slo),
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
    #[command(flatten)]
    pub gates: Gates,
}

#[derive(Debug, Args)]
pub struct Rebuild {
    /// The platform file
    pub file: PathBuf,
    /// The backups' master key, mode 0600; of several databases each has its own: `DATABASE=FILE`
    #[arg(long, value_name = "FILE", required = true)]
    pub key: Vec<String>,
    /// Where the backups lie, if not where the file says; twice for two stores
    #[arg(long, value_name = "STORE")]
    pub store: Vec<String>,
    /// What proves you to stores in clouds, NAME=VALUE a line, mode 0600
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,
    /// The old platform's journal, its folder or a copy of it: verified, and kept beside the new one
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// `latest`, a moment such as 2026-11-20T14:15:00Z, a log position, or the name of a point or backup
    #[arg(long, value_name = "TARGET", default_value = "latest")]
    pub to: String,
    /// Begin from this backup instead of the newest that reaches the target
    #[arg(long, value_name = "ID")]
    pub backup: Option<String>,
    /// Which archive, if the stores hold several of a database; of several databases each has its own: `DATABASE=ID`
    #[arg(long, value_name = "ID")]
    pub archive: Vec<String>,
    /// Who owns PostgreSQL's data, as root
    #[arg(long, value_name = "USER", default_value = "postgres")]
    pub user: String,
    /// How long to wait for health at the end before giving up (what was started keeps running)
    #[arg(long, value_name = "TIME", default_value = "600s", value_parser = duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub platform: Platform,
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

/// What is read where it stands.
#[derive(Debug, Args)]
pub struct Look {
    #[command(flatten)]
    pub platform: Platform,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Down {
    #[command(flatten)]
    pub platform: Platform,
    /// Why, for the journal
    #[arg(long, default_value = "none given")]
    pub reason: String,
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

/// Gates of the platform file that stand before a command.
#[derive(Debug, Args)]
pub struct Gates {
    /// Pass this gate although it is not open (docs/gates.md); more than once for several
    #[arg(long = "override-gate", value_name = "NAME")]
    pub overrides: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Slo {
    /// A platform file instead of the one in force
    pub file: Option<PathBuf>,
    /// Print the rules that are made from the objectives
    #[arg(long)]
    pub rules: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "rules")]
    pub json: bool,
    #[command(flatten)]
    pub platform: Platform,
}

#[derive(Debug, Args)]
pub struct Query {
    /// The expression
    pub expression: String,
    /// At this moment: seconds since 1970, or as in 2026-11-20T14:15:00Z; now if absent
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// So far back from then, as in 10m
    #[arg(long, value_name = "TIME")]
    pub range: Option<String>,
    /// From one point of the range to the next, as in 30s
    #[arg(long, value_name = "TIME", requires = "range")]
    pub step: Option<String>,
    /// The host whose watch is asked
    #[arg(long, value_name = "HOST")]
    pub watch: Option<String>,
    /// Print the answer as the watch gave it, in the form of Prometheus's API
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub platform: Platform,
}

#[derive(Debug, Args)]
pub struct Switchover {
    /// As `mainstay status` names it
    pub database: String,
    /// The region that shall have the primary
    #[arg(long, value_name = "REGION")]
    pub to: String,
    #[command(flatten)]
    pub gates: Gates,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Upgrade {
    /// The new program; this one if absent
    #[arg(long, value_name = "PATH")]
    pub program: Option<PathBuf>,
    /// How long to wait for the last host
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    pub timeout: Duration,
    /// Return as soon as it is journalled
    #[arg(long)]
    pub detach: bool,
    #[command(flatten)]
    pub gates: Gates,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Make a base backup now, from a standby where there is one
    Create(BackupCreate),
    /// Backups with what they reach and how they were proven, named points, and the archivers' state
    List(BackupSee),
    /// Prove a backup: restore it to a scratch server and compare it with what was noted before
    #[command(after_help = BACKUP_VERIFY_HELP)]
    Verify(BackupVerify),
    /// Remove what the retention of the platform file does not keep; never the last proven backup
    Prune(BackupPrune),
    /// Give this moment a name that can be restored to
    Point(BackupPoint),
}

/// Whose backups.
#[derive(Debug, Args)]
pub struct BackupSee {
    /// As the platform file names it
    pub database: String,
    #[command(flatten)]
    pub platform: Platform,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct BackupCreate {
    #[command(flatten)]
    pub see: BackupSee,
}

#[derive(Debug, Args)]
pub struct BackupVerify {
    #[command(flatten)]
    pub see: BackupSee,
    /// This backup instead of the newest
    #[arg(long, value_name = "ID")]
    pub backup: Option<String>,
}

#[derive(Debug, Args)]
pub struct BackupPrune {
    #[command(flatten)]
    pub see: BackupSee,
    /// Say what would go, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct BackupPoint {
    #[command(flatten)]
    pub see: BackupSee,
    /// Letters, digits, '-', '_' and '.'
    pub name: String,
}

#[derive(Debug, Subcommand)]
pub enum Database {
    /// Restore into an empty folder, as a cluster of its own that can never touch the original's archive
    #[command(after_help = RESTORE_HELP)]
    Restore(Restore),
    /// Answer commits without the copies that `survive` promises, until enough replicas are back
    #[command(after_help = SOLO_HELP)]
    Solo(Solo),
    /// Go on from one replica where a majority is gone for good; answered commits may be lost
    #[command(after_help = FAILOVER_HELP)]
    Failover(Failover),
    /// Show its parameters, where they are in force, and what a change of them would take
    #[command(after_help = CONFIGURE_HELP)]
    Configure(Configure),
}

#[derive(Debug, Args)]
pub struct Configure {
    /// As the platform file names it
    pub database: String,
    /// What would change if the file gave this; as often as wanted
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// What would change if the file gave this no longer; as often as wanted
    #[arg(long, value_name = "NAME")]
    pub unset: Vec<String>,
    #[command(flatten)]
    pub platform: Platform,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Solo {
    /// As `mainstay status` names it
    pub database: String,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Failover {
    /// As `mainstay status` names it
    pub database: String,
    /// The host whose replica goes on
    #[arg(long, value_name = "HOST")]
    pub to: String,
    /// Answered commits that only other replicas have may be lost
    #[arg(long)]
    pub accept_data_loss: bool,
    /// Ask the keeper itself, where too few hosts are left for anybody to lead: the order is in the keeper's record
    /// then, and what it gave up in the journal as soon as somebody leads
    #[arg(long, requires = "accept_data_loss")]
    pub without_leader: bool,
    #[command(flatten)]
    pub act: Act,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// As the platform file names it
    pub database: String,
    /// `latest`, a moment such as 2026-11-20T14:15:00Z, a log position, or the name of a point or backup
    #[arg(long, value_name = "TARGET", default_value = "latest")]
    pub to: String,
    /// An empty folder, or one that does not exist
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    /// Begin from this backup instead of the newest that reaches the target
    #[arg(long, value_name = "ID")]
    pub backup: Option<String>,
    /// Where the objects lie, if there is no platform any more: a folder or s3://, gs://, az://; twice for two stores
    #[arg(long, value_name = "STORE", requires = "key")]
    pub store: Vec<String>,
    /// What proves you to a store in a cloud, NAME=VALUE a line, mode 0600; without it the environment does
    #[arg(long, value_name = "FILE", requires = "store")]
    pub credentials: Option<PathBuf>,
    /// The master key's file, with --store
    #[arg(long, value_name = "FILE", requires = "store")]
    pub key: Option<PathBuf>,
    /// Which archive, if there are several of this database; the newest otherwise
    #[arg(long, value_name = "ID")]
    pub archive: Option<String>,
    /// Who shall own the data, with --store, as root
    #[arg(long, value_name = "USER", default_value = "postgres")]
    pub user: String,
    #[command(flatten)]
    pub platform: Platform,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Journal {
    /// Print entries
    #[command(after_help = SHOW_HELP)]
    Show(JournalShow),
    /// Check chain, tree, signatures, and each node's own last checkpoint; never repairs
    #[command(after_help = VERIFY_HELP)]
    Verify(Look),
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
    /// Only entries of this kind, or of all kinds that begin with it: `fault`, `fault.injected`
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
    /// The same seed makes the same changes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, Subcommand)]
pub enum Rules {
    /// Read rule files, ConfigMaps and PrometheusRules: everything that is wrong, with line and column
    Check(RuleFiles),
    /// Run unit tests in the form of promtool
    Test(RuleFiles),
    /// What is allowed and will yet fail when it is needed, with reason and repaired expression
    #[command(after_help = LINT_HELP)]
    Lint(RulesLint),
}

#[derive(Debug, Args)]
pub struct RuleFiles {
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RulesLint {
    #[command(flatten)]
    pub files: RuleFiles,
    /// Bounds of a histogram, where they are not the usual ones; may be repeated
    #[arg(long, value_name = "HISTOGRAM=BOUND,…")]
    pub buckets: Vec<String>,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
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
    Archiver(ConfigFile),
    /// Ask targets, keep samples, follow rules, answer questions (docs/watch.md)
    #[command(hide = true)]
    Watch(ConfigFile),
    #[command(hide = true)]
    Relay(ConfigFile),
    #[command(hide = true)]
    Shim(SpecFile),
    #[command(hide = true)]
    Wire(SpecFile),
    #[command(hide = true)]
    Guardian(SpecFile),
    #[command(hide = true)]
    Stress(SpecFile),
    /// Become a program of a playbook that may do next to nothing (docs/security.md)
    #[command(hide = true)]
    Confine(ConfineProcess),
    /// Numbered writes of a drill (docs/drills.md)
    #[command(hide = true)]
    Probe(ProbeProcess),
    /// A program that ends with its parent: the load of a drill
    #[command(hide = true)]
    Tether(TetherProcess),
}

#[derive(Debug, Args)]
pub struct TetherProcess {
    /// The parent
    #[arg(long, value_name = "PID")]
    pub to: u32,
    #[arg(required = true, last = true)]
    pub program: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ConfineProcess {
    /// What it becomes, as JSON
    pub spec: String,
}

#[derive(Debug, Args)]
pub struct ProbeProcess {
    #[arg(long)]
    pub database: String,
    /// Names the writes of one run
    #[arg(long)]
    pub run: String,
    #[arg(long)]
    pub writer: u32,
    /// Writes a second
    #[arg(long)]
    pub rate: u32,
    #[arg(long)]
    pub seconds: u64,
    /// Gateways' listeners that lead to the primary, the nearest first
    #[arg(long, required = true)]
    pub to: Vec<std::net::SocketAddr>,
    #[arg(long, value_name = "FOLDER")]
    pub witness: PathBuf,
    #[arg(long, value_name = "FILE")]
    pub password_file: PathBuf,
    #[arg(long, value_name = "FILE")]
    pub roots: PathBuf,
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

    /// The width is fixed, so that the text does not depend on the terminal.
    #[test]
    fn the_first_help_is_worth_reading() {
        let help = Arguments::command()
            .term_width(100)
            .render_help()
            .to_string();
        expect_test::expect_file!["../tests/help.txt"].assert_eq(&help);
    }

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn what_changes_something_needs_a_reason() {
        for line in [
            "mainstay pause",
            "mainstay resume",
            "mainstay fault inject cut a",
            "mainstay fault clear f1",
            "mainstay switchover ledger --to a",
            "mainstay database solo ledger",
            "mainstay database failover ledger --to h3 --accept-data-loss",
            "mainstay upgrade",
        ] {
            assert!(parse(line).is_err(), "{line}");
            assert!(parse(&format!("{line} --reason x")).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_wrong_command_line_is_told_by_its_code() {
        for line in [
            "mainstay",
            "mainstay fault inject volcano a --reason x",
            "mainstay fault inject delay a:b --reason x",
            "mainstay fault inject cut a --for 5 --reason x",
            "mainstay status --watch --json",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn every_fault_is_typed_as_the_kernel_names_it() {
        for kind in mainstay_kernel::FaultKind::ALL {
            // Whatever some kind demands.
            let line = format!(
                "mainstay fault inject {} a --by 1ms --share 10 --rate 1000 --reason x",
                kind.as_str()
            );
            let parsed = parse(&line).expect("parsed");
            let Command::Fault(Fault::Inject(inject)) = parsed.command else {
                panic!("{line}");
            };
            assert_eq!(inject.kind.name(), kind.as_str());
        }
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
