//! Parameters of the platform file that change under running servers.

use anyhow::{Result, ensure};
use mainstay_model::parameter::{self, Takes};
use mainstay_record::keeper::ParametersStatus;

use crate::client::{self, Writer};
use crate::cluster::{COUNT, Cluster};

fn shown(cluster: &Cluster, which: usize, name: &str) -> Option<String> {
    client::superuser(cluster, which, &format!("SHOW {name}")).ok()?
}

fn status(cluster: &Cluster, which: usize) -> Option<ParametersStatus> {
    cluster.status(which).ok()?.parameters
}

/// What takes a reload is in force everywhere while sessions stay, and what the servers would not take leaves
/// them as they are.
pub fn taken() -> Result<()> {
    let mut cluster = Cluster::healthy_with(&[("work_mem", "5MB")])?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_healthy()?;
    tables_agree(&cluster, primary)?;
    cluster.configure(&[("work_mem", "9MB")])?;
    for which in 0..COUNT {
        cluster.wait("the new value", || {
            (shown(&cluster, which, "work_mem")? == "9MB").then_some(())
        })?;
    }
    cluster.configure(&[("work_mem", "11MB"), ("shared_bufers", "1GB")])?;
    for which in 0..COUNT {
        let why = cluster.wait("a refusal", || status(&cluster, which)?.refused)?;
        ensure!(why.contains("shared_bufers"), "{why}");
        let value = shown(&cluster, which, "work_mem");
        ensure!(
            value.as_deref() == Some("9MB"),
            "half of it was taken: {value:?}"
        );
    }
    // A server that is started meanwhile starts with what it had.
    let standby = (primary + 1) % COUNT;
    cluster.kill_host(standby);
    cluster.start_keeper(standby)?;
    let value = cluster.wait("an answer", || shown(&cluster, standby, "work_mem"))?;
    ensure!(value == "9MB", "it was started with {value}");
    cluster.await_healthy()?;
    cluster.configure(&[])?;
    for which in 0..COUNT {
        cluster.wait("the default", || {
            let refused = status(&cluster, which)?.refused;
            (shown(&cluster, which, "work_mem")? == "4MB" && refused.is_none()).then_some(())
        })?;
    }
    ensure!(
        cluster.await_healthy()? == (primary, term),
        "somebody took over"
    );
    writer.await_more(&cluster, 20)?;
    client::check(&cluster, &writer.finish()?)
}

/// What plans say of parameters is what the server says of them.
fn tables_agree(cluster: &Cluster, which: usize) -> Result<()> {
    let at_start = "SELECT string_agg(name, ' ') FROM pg_settings WHERE context = 'postmaster'";
    let names = client::superuser(cluster, which, at_start)?.unwrap_or_default();
    ensure!(names.contains("shared_buffers"), "{names}");
    for name in names.split(' ') {
        let known = parameter::owner(name).is_some() || parameter::takes(name) == Takes::Restart;
        ensure!(known, "{name} takes a restart, and plans do not know it");
    }
    let others = "SELECT string_agg(name, ' ') FROM pg_settings WHERE context <> 'postmaster'";
    let names = client::superuser(cluster, which, others)?.unwrap_or_default();
    for name in names.split(' ') {
        ensure!(
            parameter::takes(name) == Takes::Reload,
            "{name} takes a reload"
        );
    }
    Ok(())
}
