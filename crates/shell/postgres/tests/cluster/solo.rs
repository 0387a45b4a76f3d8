//! A primary without its quorum that is told to go on: what it answers then is counted, comes under the full promise
//! when the quorum is back, and is known to be lost when another takes over without it.

use anyhow::{Result, anyhow, bail, ensure};

use crate::client::{self, Writer};
use crate::cluster::{COUNT, Cluster};

/// How often it is tried again on a machine that stands still for longer than a lease: the primary closes then, and without
/// its quorum it does not open again.
const ROUNDS: usize = 5;

/// The streams of both standbys break, and the primary of this term is told to go on; the number of writes before.
fn go_alone(cluster: &Cluster, writer: &Writer, (primary, term): (usize, u32)) -> Result<u64> {
    for _ in 0..ROUNDS {
        refuses(cluster, primary, "no commit waits")?;
        for which in (0..COUNT).filter(|which| *which != primary) {
            cluster.wires.cut_streams(which, true);
        }
        if let Some(before) = order_alone(cluster, writer, primary)? {
            return Ok(before);
        }
        println!("  it closed before it was alone: once more");
        for which in 0..COUNT {
            cluster.wires.cut_streams(which, false);
        }
        let now = cluster.await_healthy()?;
        ensure!(now == (primary, term), "{now:?} instead of it");
    }
    bail!("the machine is too busy: it closed before it was alone in each of {ROUNDS} rounds")
}

/// The same once the streams are cut; nothing if the primary closed before.
fn order_alone(cluster: &Cluster, writer: &Writer, primary: usize) -> Result<Option<u64>> {
    let is_open = cluster.wait("commits to wait", || {
        let sight = cluster.status(primary).ok()?.sight;
        let waits = sight.reason.contains("commits wait");
        (waits || !sight.open).then_some(sight.open)
    })?;
    if !is_open {
        return Ok(None);
    }
    let before = writer.count();
    refuses(cluster, (primary + 1) % COUNT, "not the primary")?;
    let is_taken = cluster.wait("the order to be taken", || {
        match cluster.order(primary, "/v1/solo", "") {
            Ok(_) => Some(Ok(true)),
            Err(refused) if format!("{refused:#}").contains("not the primary") => {
                let is_open = cluster.status(primary).ok()?.sight.open;
                (!is_open).then_some(Ok(false))
            }
            Err(refused) => Some(Err(refused)),
        }
    })??;
    if !is_taken {
        return Ok(None);
    }
    writer.await_more(cluster, 30)?;
    let solo = cluster.wait("the gauge", || {
        let solo = cluster.status(primary).ok()?.solo;
        solo.filter(|solo| solo.alone && solo.unprotected_bytes > 0)
    })?;
    println!(
        "  unprotected: {} bytes, {} ms",
        solo.unprotected_bytes, solo.since_ms
    );
    Ok(Some(before))
}

/// An order to go on alone is refused, for this reason; for a moment it may be for another.
fn refuses(cluster: &Cluster, which: usize, reason: &str) -> Result<()> {
    cluster.wait("an order to be refused", || {
        match cluster.order(which, "/v1/solo", "") {
            Ok(answer) => Some(Err(anyhow!("not refused: {answer}"))),
            Err(refused) => format!("{refused:#}").contains(reason).then_some(Ok(())),
        }
    })?
}

/// The quorum comes back: the full promise holds again, also for what was answered alone.
pub fn solo_ends() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    go_alone(&cluster, &writer, (primary, term))?;
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
    let before = go_alone(&cluster, &writer, (primary, term))?;
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
