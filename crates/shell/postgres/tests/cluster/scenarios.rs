//! What may befall a cluster, one function each.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::client::{self, Writer};
use crate::cluster::{COUNT, Cluster};

type Scenario = fn() -> Result<()>;

pub const ALL: &[(&str, Scenario)] = &[
    ("postmaster_killed", postmaster_killed),
    ("host_crashed", host_crashed),
    ("host_frozen", host_frozen),
];

/// A cluster to look at, until Enter.
pub fn stay() -> Result<()> {
    let cluster = Cluster::healthy()?;
    println!("  {}", cluster.path(0).display());
    for which in 0..COUNT {
        println!(
            "  psql -h {} shop shop",
            cluster.postgres_address(which).ip()
        );
    }
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// A killed postmaster: another replica takes over in a new term, and the old one comes back.
fn postmaster_killed() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 50)?;
    let (primary, term) = cluster.await_primary(0)?;
    cluster.kill_postmaster(primary)?;
    let (_, next) = cluster.await_primary(term)?;
    ensure!(next > term, "a new term");
    writer.await_more(&cluster, 50)?;
    let (primary, term) = cluster.await_healthy()?;
    let timeline = cluster.status(primary)?.timeline;
    ensure!(timeline == term, "timeline {timeline} is not term {term}");
    writer.await_more(&cluster, 50)?;
    client::check(&cluster, &writer.finish()?)
}

/// Keeper and server of the primary die at once.
fn host_crashed() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 50)?;
    let (primary, term) = cluster.await_primary(0)?;
    cluster.kill_host(primary);
    cluster.await_primary(term)?;
    writer.await_more(&cluster, 50)?;
    cluster.start_keeper(primary)?;
    cluster.await_healthy()?;
    writer.await_more(&cluster, 50)?;
    client::check(&cluster, &writer.finish()?)
}

/// All processes of the primary's host stand still, and go on later: the stale one is fenced and rejoins.
fn host_frozen() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 50)?;
    let (primary, term) = cluster.await_primary(0)?;
    cluster.signal_host(primary, Signal::STOP);
    let result = cluster
        .await_primary(term)
        .and_then(|_| writer.await_more(&cluster, 50));
    cluster.signal_host(primary, Signal::CONT);
    result?;
    cluster.await_healthy()?;
    ensure!(cluster.primary().is_some_and(|(which, _)| which != primary));
    writer.await_more(&cluster, 50)?;
    client::check(&cluster, &writer.finish()?)
}
