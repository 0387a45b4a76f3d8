//! The mainstay command: parse, build, run, drain. Nothing is decided here.

mod alerts;
mod arguments;
mod backup;
mod changes;
mod chaos;
mod client;
mod configure;
mod down;
mod drill;
mod evidence;
mod exit;
mod glob;
mod incident;
mod interrupt;
mod journal;
mod oncall;
mod operate;
mod playbook;
mod playbook_files;
mod print;
mod process;
mod query;
mod rebuild;
mod rule_files;
mod rules;
mod slo;
mod status;
mod up;
mod upgrade;
mod validate;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, Database, Fault};
use exit::Outcome;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Process(process) = &arguments.command {
        return process::run(process);
    }
    match run(&arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure @ exit::Failure::ReaderLeft) => failure.code(),
        Err(failure) => {
            print::problem(&failure);
            failure.code()
        }
    }
}

fn run(command: &Command) -> Outcome {
    match command {
        Command::Validate(arguments) => validate::run(arguments),
        Command::Schema => validate::print_schema(),
        Command::Up(arguments) => up::up(arguments),
        Command::Rebuild(arguments) => rebuild::run(arguments),
        Command::Down(arguments) => down::down(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Pause(act) => operate::pause(act),
        Command::Resume(act) => operate::resume(act),
        Command::Fault(Fault::Inject(arguments)) => operate::inject(arguments),
        Command::Fault(Fault::List(arguments)) => status::faults(arguments),
        Command::Fault(Fault::Clear(arguments)) => operate::clear(arguments),
        Command::Switchover(arguments) => operate::switchover(arguments),
        Command::Upgrade(arguments) => upgrade::run(arguments),
        Command::Backup(command) => backup::run(command),
        Command::Database(Database::Restore(arguments)) => backup::bring_database_back(arguments),
        Command::Database(Database::Solo(arguments)) => operate::solo(arguments),
        Command::Database(Database::Failover(arguments)) => operate::failover(arguments),
        Command::Database(Database::Configure(arguments)) => configure::run(arguments),
        Command::Journal(command) => journal::run(command),
        Command::Rules(command) => rules::run(command),
        Command::Chaos(command) => chaos::run(command),
        Command::Drill(command) => drill::run(command),
        Command::Evidence(command) => evidence::run(command),
        Command::Alerts(arguments) => alerts::run(arguments),
        Command::Playbook(command) => playbook::run(command),
        Command::Incident(command) => incident::run(command),
        Command::Oncall(command) => oncall::run(command),
        Command::Silence(command) => oncall::silence(command),
        Command::Query(arguments) => query::run(arguments),
        Command::Slo(arguments) => slo::run(arguments),
        Command::Process(_) => Ok(()),
    }
}
