//! A primary without its quorum that is told to go on: what it answers then is counted, comes under the full promise
//! when the quorum is back, and is known to be lost when another takes over without it.

use anyhow::{Result, ensure};

use crate::client::{self, Writer};
use crate::cluster::{COUNT, Cluster};

/// The streams of both standbys break, and the primary is told to go on; the number of writes before.
fn go_alone(cluster: &Cluster, writer: &Writer, primary: usize) -> Result<u64> {
    let refused = cluster.order(primary, "/v1/solo", "");
    let why = format!("{refused:?}");
    ensure!(refused.is_err() && why.contains("no commit waits"), "{why}");
    for which in (0..COUNT).filter(|which| *which != primary) {
        cluster.wires.cut_streams(which, true);
    }
    cluster.wait("commits to wait", || {
        let reason = cluster.status(primary).ok()?.sight.reason;
        reason.contains("commits wait").then_some(())
    })?;
    let before = writer.count();
    let standby = (primary + 1) % COUNT;
    let refused = cluster.order(standby, "/v1/solo", "");
    let why = format!("{refused:?}");
    ensure!(refused.is_err() && why.contains("not the primary"), "{why}");
    cluster.order(primary, "/v1/solo", "")?;
    writer.await_more(cluster, 30)?;
    let solo = cluster.wait("the gauge", || cluster.status(primary).ok()?.solo)?;
    println!(
        "  unprotected: {} bytes, {} ms",
        solo.unprotected_bytes, solo.since_ms
    );
    ensure!(solo.alone && solo.unprotected_bytes > 0, "{solo:?}");
    Ok(before)
}

/// The quorum comes back: the full promise holds again, also for what was answered alone.
pub fn solo_ends() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    go_alone(&cluster, &writer, primary)?;
    for which in 0..COUNT {
        cluster.wires.cut_streams(which, false);
    }
    cluster.wait("the full promise", || {
        let status = cluster.status(primary).ok()?;
        (status.sight.open && status.solo.is_none()).then_some(())
    })?;
    let (same, after) = cluster.await_primary(0)?;
    ensure!((same, after) == (primary, term), "another primary");
    // From here on nothing may be lost with it.
    cluster.kill_host(primary);
    let (next, _) = cluster.await_primary(term)?;
    let losses = cluster.await_status(next)?.losses;
    ensure!(losses.is_empty(), "{losses:?}");
    writer.await_more(&cluster, 20)?;
    cluster.start_keeper(primary)?;
    cluster.await_healthy()?;
    client::check(&cluster, &writer.finish()?)
}

/// The others take over without the primary: what it had answered alone is lost, and only that; the new primary says
/// so, and the old one's folder is kept.
pub fn solo_lost() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    let before = go_alone(&cluster, &writer, primary)?;
    let record = writer.finish()?;
    cluster.wires.isolate(primary, true);
    for which in (0..COUNT).filter(|which| *which != primary) {
        let other = (0..COUNT).find(|other| *other != primary && *other != which);
        let other = other.unwrap_or(which);
        cluster.wires.cut(which, other, false);
    }
    let (next, _) = cluster.await_primary(term)?;
    let lost = client::lost(&cluster, &record)?;
    println!("  {} writes before, {} lost", before, lost.len());
    ensure!(!lost.is_empty(), "nothing was lost: nothing is shown");
    ensure!(
        lost.iter().all(|number| *number > before),
        "lost although the quorum had it: {lost:?}"
    );
    let losses = cluster.await_status(next)?.losses;
    let known = losses.iter().any(|loss| loss.timeline == term);
    ensure!(known, "nobody says what is lost: {losses:?}");
    println!("  it says {losses:?}");
    let incarnation = cluster.await_status(primary)?.incarnation;
    cluster.wires.isolate(primary, false);
    cluster.await_healthy()?;
    let status = cluster.await_status(primary)?;
    ensure!(status.incarnation != incarnation, "it was not filled anew");
    let copied = status
        .events
        .iter()
        .any(|event| event.detail.contains("copying the data"));
    ensure!(
        copied,
        "its folder was rewound, not kept: {:?}",
        status.events
    );
    client::forget(&cluster)?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    client::check(&cluster, &writer.finish()?)
}
