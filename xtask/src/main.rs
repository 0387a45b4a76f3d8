//! What the Makefile does: checks of the tree, suites, benchmarks.
//!
//! Each subcommand is a list of steps that a person could type. It prints every step before it runs it,
//! stops at the first that fails, and never decides by a timing.

mod bench;
mod bench_failover;
mod bench_respond;
mod bench_watch;
mod c2sp;
mod calm;
mod chaos;
mod demo;
mod dice;
mod doors;
mod ear;
mod faults;
mod faults_backup;
mod faults_db;
mod flipped;
mod flow;
mod lint;
mod platform;
mod rebuild;
mod rehearse;
mod step;
mod suites;
mod tidy;
mod tools;
mod trials;
mod wires;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "Checks, suites and benchmarks of Mainstay")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The rules of the tree: rings, allowed crates, file sizes, what must not be left behind.
    Tidy,
    /// Format, clippy, tidy, licences.
    Lint,
    /// Licences, bans and sources of the dependencies.
    Deny,
    /// Unit and golden tests, a bounded simulation, a two-minute run of the faults on real processes.
    Test,
    /// The long simulation and every planted bug.
    Sim(suites::SimArguments),
    /// A flow of orders through the platform that `make up` started, audited afterwards.
    Flow(flow::Arguments),
    /// Has everything audited that was sent through the platform that runs.
    Audit,
    /// Order flow through every fault on real processes, audited afterwards.
    Faults(faults::Arguments),
    /// Random faults under a checker of the database: nothing acknowledged lost, nothing invented.
    FaultsDb(faults_db::Arguments),
    /// Random faults on backups: killed archivers, stores away, damaged objects; what comes back is what was written, or is refused.
    FaultsBackup(faults_backup::Arguments),
    /// Every host is lost at once under orders; rebuilt from file, backups and keys, and every order looked for.
    Rebuild(rebuild::Arguments),
    /// Processors oversubscribed: nobody may be promoted.
    Calm(calm::Arguments),
    /// The example's chaos documents on real processes: what is heard of, refused, aborted, left behind.
    Chaos(chaos::Arguments),
    /// The shipped drill of the corrupted backup, and its evidence: signed, verified, refused with any byte flipped.
    Rehearse(rehearse::Arguments),
    /// A pack or an exported log, read by somebody else's code (golang.org/x/mod/sumdb).
    EvidencePeer(c2sp::Arguments),
    /// The client-side gap of each fault, beside Patroni where it is installed.
    BenchFailover(bench_failover::Arguments),
    /// The same faults answered by a playbook and by a simulated person: minutes saved.
    BenchRespond(bench_respond::Arguments),
    /// What watching costs, beside Prometheus where it is installed.
    BenchWatch(bench_watch::Arguments),
    /// The whole loop told on the terminal: fault, alert, incident, playbook, report; drill, evidence, a flipped byte.
    DemoLoop(demo::Arguments),
    /// Everything that `docs/BENCHMARKS.md` records.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The causes, not the stack: the last lines of a log are what is read of it.
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Tidy => tidy::run(),
        Task::Lint => lint::run(),
        Task::Deny => lint::deny(),
        Task::Test => suites::test(),
        Task::Sim(arguments) => suites::sim(&arguments),
        Task::Flow(arguments) => flow::run(&arguments),
        Task::Audit => flow::audit_running(),
        Task::Faults(arguments) => faults::run(&arguments),
        Task::FaultsDb(arguments) => faults_db::run(&arguments),
        Task::FaultsBackup(arguments) => faults_backup::run(&arguments),
        Task::Rebuild(arguments) => rebuild::run(&arguments),
        Task::Calm(arguments) => calm::run(&arguments),
        Task::Chaos(arguments) => chaos::run(&arguments),
        Task::Rehearse(arguments) => rehearse::run(&arguments),
        Task::EvidencePeer(arguments) => c2sp::run(&arguments),
        Task::BenchFailover(arguments) => bench_failover::run(&arguments),
        Task::BenchRespond(arguments) => bench_respond::run(&arguments),
        Task::BenchWatch(arguments) => bench_watch::run(&arguments),
        Task::DemoLoop(arguments) => demo::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
    }
}
