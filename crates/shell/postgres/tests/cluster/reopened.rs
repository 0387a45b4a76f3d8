//! A primary that closed, and opens again on the server it had: what a client sees there must outlive it.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::client;
use crate::cluster::{COUNT, Cluster};

const ROW: u64 = 1_000_000;

/// The primary has a commit that no standby has, because the streams are cut. It closes, since the other keepers are
/// silent, and so ends the session that waits: from then on the row can be seen. The keepers speak again, the streams
/// are still cut. Whoever finds the row then, a repeated `ON CONFLICT DO NOTHING` for one, takes it for answered.
pub fn reopened_with_its_log() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let (primary, term) = cluster.await_primary(0)?;
    let standbys: Vec<usize> = (0..COUNT).filter(|which| *which != primary).collect();
    for which in &standbys {
        cluster.wires.cut_streams(*which, true);
    }
    let door = cluster.door(primary)?;
    cluster.runtime.block_on(async {
        let waiting = async {
            let client = client::connect(&door).await?;
            let statement = format!("INSERT INTO numbers VALUES ({ROW})");
            client.simple_query(&statement).await?;
            anyhow::Ok(())
        };
        // It cannot end: nobody acknowledges it.
        tokio::time::timeout(Duration::from_millis(300), waiting)
            .await
            .ok();
    });
    for which in &standbys {
        cluster.signal_keeper(*which, Signal::STOP)?;
    }
    cluster.wait("the primary to close", || {
        let status = cluster.status(primary).ok()?;
        (!status.sight.open).then_some(())
    })?;
    for which in &standbys {
        cluster.signal_keeper(*which, Signal::CONT)?;
    }
    let mut seen = false;
    for _ in 0..50 {
        cluster.pause(Duration::from_millis(50));
        seen |= cluster
            .runtime
            .block_on(client::has(&door, ROW))
            .unwrap_or(false);
    }
    cluster.kill_host(primary);
    for which in &standbys {
        cluster.wires.cut_streams(*which, false);
    }
    let (next, _) = cluster.await_primary(term)?;
    let next = cluster.door(next)?;
    let there = cluster.wait("the next primary to answer", || {
        cluster.runtime.block_on(client::has(&next, ROW)).ok()
    })?;
    println!("  seen after it closed: {seen}; there after the failover: {there}");
    ensure!(there || !seen, "a client saw the row, and it is lost");
    cluster.start_keeper(primary)?;
    cluster.await_healthy()?;
    Ok(())
}
