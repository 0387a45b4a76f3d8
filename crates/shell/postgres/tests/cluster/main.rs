//! Three keepers, three servers, and what may befall them: each scenario with real processes.
//!
//! The program plays both sides: started by `cargo test` it runs the scenarios, started with `keeper FILE` or
//! `gateway FILE` it is such a process. `cargo test -p mainstay-postgres --test cluster -- NAME` runs those whose name contains
//! NAME; `-- --stay` brings a cluster up and waits for Enter. With `MAINSTAY=/path/to/mainstay` in the
//! environment that binary plays keeper and shim. Times are printed and decide nothing.

mod ahead;
mod ailments;
mod client;
mod clocks;
mod cluster;
mod disks;
mod forced;
mod gateway;
mod golden;
mod identity;
mod parameters;
mod reopened;
mod scenarios;
mod solo;
mod tls;
mod wires;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [keeper, file] = &arguments[..]
        && keeper == "keeper"
    {
        mainstay_rt::log::init();
        return mainstay_postgres::run(std::path::Path::new(file));
    }
    if let [gateway, file] = &arguments[..]
        && gateway == "gateway"
    {
        mainstay_rt::log::init();
        return mainstay_proxy::run(std::path::Path::new(file));
    }
    if let [guard, folder] = &arguments[..]
        && guard == "guard"
    {
        cluster::guard(std::path::Path::new(folder));
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let filter = arguments
        .iter()
        .find(|argument| !argument.starts_with('-'))
        .cloned()
        .unwrap_or_default();
    if arguments.iter().any(|argument| argument == "--stay") {
        return report("stay", scenarios::stay());
    }
    let mut code = ExitCode::SUCCESS;
    let chosen: Vec<_> = scenarios::ALL
        .iter()
        .filter(|(name, _)| name.contains(&filter))
        .collect();
    if chosen.is_empty() {
        eprintln!("cluster: no scenario has {filter:?} in its name");
        return ExitCode::FAILURE;
    }
    if chosen.len() > 1 {
        ahead::begin();
    }
    for (name, scenario) in chosen {
        if report(name, scenario()) != ExitCode::SUCCESS {
            code = ExitCode::FAILURE;
        }
    }
    ahead::end();
    code
}

fn report(name: &str, result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => {
            println!("cluster {name} ... ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("cluster {name} ... FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
