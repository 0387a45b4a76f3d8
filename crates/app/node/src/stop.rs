//! Stopping a host in order: doors close first, data goes last.
//!
//! Gateways leave, services drain and stop, keepers leave. A keeper that leaves does not touch its server,
//! so the servers are stopped here, through their shims, when nobody guards or uses them any more.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_host::supervisor::Supervisor;
use mainstay_host::{identity, launch, shim};
use mainstay_record::process::ProcessIdentity;
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

/// States of the shims that keepers started, wherever below the databases' folders they stand.
fn server_states(context: &Context) -> Vec<PathBuf> {
    let databases = context.layout.host(context.name()).join("databases");
    let folders = std::fs::read_dir(databases).into_iter().flatten().flatten();
    folders
        .flat_map(|folder| {
            std::fs::read_dir(folder.path())
                .into_iter()
                .flatten()
                .flatten()
        })
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with("state.json"))
        .collect()
}
