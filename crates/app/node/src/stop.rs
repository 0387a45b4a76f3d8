//! Stopping a host in order: doors close first, data goes last.
//!
//! Gateways leave, services drain and stop, keepers leave. A keeper that leaves does not touch its server,
//! so the servers are stopped here, through their shims, when nobody guards or uses them any more.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use mainstay_derive::Layout;
use mainstay_host::supervisor::Supervisor;
use mainstay_host::{identity, launch, shim};
use mainstay_record::process::{ProcessIdentity, ShimState};
use rustix::process::Signal;

use crate::context::Context;

/// A server that does not stop in this time is left to its shim, which ends it.
const SERVER_LIMIT: Duration = Duration::from_secs(40);

pub async fn stop_host(context: &Context, supervisor: &Supervisor) -> anyhow::Result<()> {
    supervisor.stop_all().await.context("stop the instances")?;
    let shims: Vec<ProcessIdentity> = server_states(context)
        .iter()
        .filter_map(|path| shim::read_state(path))
        .map(|state| state.shim)
        .filter(|shim| identity::is_alive(*shim))
        .collect();
    for shim in &shims {
        identity::signal(*shim, Signal::TERM).context("ask a server's shim to stop it")?;
    }
    for shim in shims {
        match tokio::time::timeout(SERVER_LIMIT, launch::wait_gone(shim)).await {
            Ok(gone) => gone.context("wait for a server's shim")?,
            Err(_) => tracing::error!(pid = shim.pid, "a server does not stop"),
        }
    }
    Ok(())
}

/// What stops first, second and last where no node says so: doors, then programs, then keepers.
fn turn(instance: &str) -> u8 {
    match instance.rsplit('/').next().unwrap_or(instance) {
        name if name.starts_with("gateway-") => 0,
        name if name.starts_with("keeper-") => 2,
        _ => 1,
    }
}

/// Stops a host whose node is gone, in the order that its node would keep. Returns how many families ran.
///
/// # Errors
/// When a node of this host lives, or a process cannot be signalled.
pub async fn stop_without_node(layout: &Layout, host: &str) -> anyhow::Result<usize> {
    let lock = launch::lock_node(&layout.launch(host)).context("take the node's place")?;
    let _lock = lock.context("a node of this host runs; it must stop the host itself")?;
    let running = |states: Vec<PathBuf>| -> Vec<ShimState> {
        let states = states.iter().filter_map(|path| shim::read_state(path));
        states
            .filter(|state| {
                identity::is_alive(state.shim) || state.child.is_some_and(identity::is_alive)
            })
            .collect()
    };
    let instances = running(states_below(&layout.instances(host)));
    let mut ended = 0;
    for order in 0..=2 {
        let in_turn = instances
            .iter()
            .filter(|state| turn(&state.instance) == order);
        ended += end_families(in_turn).await?;
    }
    let servers = running(states_below(&layout.host(host).join("databases")));
    ended += end_families(servers.iter()).await?;
    Ok(ended)
}

/// Tells all of them at once, then waits. A child whose shim was killed is told itself.
async fn end_families(states: impl Iterator<Item = &ShimState>) -> anyhow::Result<usize> {
    let mut told = Vec::new();
    for state in states {
        let shim = Some(state.shim).filter(|shim| identity::is_alive(*shim));
        let Some(process) = shim.or(state.child) else {
            continue;
        };
        identity::signal(process, Signal::TERM).context("end a process")?;
        told.push(process);
    }
    for process in &told {
        match tokio::time::timeout(SERVER_LIMIT, launch::wait_gone(*process)).await {
            Ok(gone) => gone.context("wait for a process")?,
            Err(_) => {
                identity::signal(*process, Signal::KILL).context("end a process")?;
            }
        }
    }
    Ok(told.len())
}

/// Processes that this data folder's platform started and that still run, found without any record of
/// them. Another program that merely looks into the folder, an editor, say, is none of them.
///
/// # Errors
/// When the processes of this machine cannot be seen.
pub fn leftovers(layout: &Layout) -> std::io::Result<Vec<ProcessIdentity>> {
    let own = [
        "node", "machine", "keeper", "gateway", "shim", "wire", "guardian", "relay", "stress",
    ];
    let (data, run) = (layout.data(), layout.run());
    let is_inside = |text: &[u8]| {
        let path = Path::new(std::ffi::OsStr::from_bytes(text));
        path.starts_with(data) || path.starts_with(run)
    };
    let belongs = |pid: u32| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let command = read("cmdline");
        let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
        let inside = words.iter().any(|word| is_inside(word));
        let is_ours = words
            .get(1)
            .is_some_and(|word| own.iter().any(|name| name.as_bytes() == *word));
        if inside && is_ours {
            return true;
        }
        let environment = read("environ");
        let mut variables = environment.split(|byte| *byte == 0);
        let is_marked = variables.any(|entry| entry.starts_with(b"MAINSTAY_LAUNCH="));
        let mut values = environment.split(|byte| *byte == 0).filter_map(|entry| {
            entry
                .iter()
                .position(|byte| *byte == b'=')
                .map(|at| &entry[at + 1..])
        });
        is_marked && (inside || values.any(is_inside))
    };
    let this = std::process::id();
    let left = identity::table()?
        .into_values()
        .filter(|row| row.is_alive() && row.identity.pid != this && belongs(row.identity.pid))
        .map(|row| row.identity);
    Ok(left.collect())
}

/// States of the shims that keepers started, wherever below the databases' folders they stand.
fn server_states(context: &Context) -> Vec<PathBuf> {
    states_below(&context.layout.host(context.name()).join("databases"))
}

fn states_below(folder: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(folder).into_iter().flatten().flatten();
    folders
        .flat_map(|folder| states_in(&folder.path()))
        .collect()
}

pub(crate) fn states_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with("state.json"))
        .collect()
}
