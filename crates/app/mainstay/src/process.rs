//! The processes of a running platform, each under its own subcommand of the one binary.

use std::process::ExitCode;

use crate::arguments::Process;

pub fn run(process: &Process) -> ExitCode {
    match process {
        Process::Shim(file) => return mainstay_host::shim::run(&file.spec),
        Process::Wire(file) => return mainstay_host::wire::run(&file.spec),
        Process::Guardian(file) => return mainstay_host::guardian::run(&file.spec),
        Process::Stress(file) => return mainstay_host::faults::stress::run(&file.spec),
        Process::Confine(confined) => return mainstay_host::confine::run(&confined.spec),
        Process::Probe(probe) => return crate::drill::probe(probe),
        Process::Tether(tether) => return crate::drill::tether(tether),
        Process::Node(_)
        | Process::Machine(_)
        | Process::Keeper(_)
        | Process::Gateway(_)
        | Process::Archiver(_)
        | Process::Relay(_)
        | Process::Watch(_) => {}
    }
    mainstay_rt::log::init();
    match process {
        Process::Keeper(file) => mainstay_postgres::run(&file.config),
        Process::Archiver(file) => mainstay_backup::run(&file.config),
        Process::Relay(file) => mainstay_host::relay::run(&file.config),
        Process::Watch(file) => mainstay_watch::run(&file.config),
        Process::Gateway(file) => mainstay_proxy::run(&file.config),
        Process::Node(node) => mainstay_node::run(&node.host, &node.data),
        Process::Machine(platform) => match crate::client::data_folder(platform) {
            Ok(data) => mainstay_node::machine::run(&data),
            Err(failure) => {
                crate::print::problem(&failure);
                failure.code()
            }
        },
        Process::Shim(_)
        | Process::Wire(_)
        | Process::Guardian(_)
        | Process::Stress(_)
        | Process::Confine(_)
        | Process::Probe(_)
        | Process::Tether(_) => ExitCode::FAILURE,
    }
}
