//! A majority is gone for good, and an operator lets the rest go on: what that costs is known, what comes back leaves
//! what it had, and a majority that was only cut off gives way.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::client::{self, Record, Writer};
use crate::cluster::{COUNT, Cluster};

/// Orders it until no lease stands in the way.
fn force(cluster: &Cluster, which: usize) -> Result<String> {
    cluster.wait("the order to be taken", || {
        match cluster.order(which, "/v1/force", "") {
            Ok(answer) => Some(Ok(answer)),
            Err(error) => {
                let why = format!("{error:#}");
                let early = why.contains("may still answer") || why.contains("may be coming back");
                let early = early || why.contains("is heard") || why.contains("was heard");
                (!early).then_some(Err(error))
            }
        }
    })?
}

/// Who was acknowledged and is lost was written after the count, and the primary's record says where its log begins
/// without it.
fn declared(cluster: &Cluster, which: usize, record: &Record, before: u64) -> Result<()> {
    let lost = client::lost(cluster, record)?;
    println!("  {before} writes before, {} lost", lost.len());
    ensure!(!lost.is_empty(), "nothing was lost: nothing is shown");
    ensure!(
        lost.iter().all(|number| *number > before),
        "lost although this replica had it: {lost:?}"
    );
    let status = cluster.await_status(which)?;
    println!("  it says {:?}", status.losses);
    ensure!(status.lineage == 1, "{status:?}");
    ensure!(!status.losses.is_empty(), "nobody says what is lost");
    ensure!(
        status.solo.is_some_and(|solo| solo.alone),
        "it serves alone by that order"
    );
    Ok(())
}

/// How many writes every replica has by now.
fn written(cluster: &Cluster, writer: &Writer, primary: usize) -> Result<u64> {
    let count = writer.count();
    let say = |question: &str| client::superuser(cluster, primary, question);
    let end = say("SELECT pg_current_wal_lsn()")?.context("no place in the log")?;
    let question = format!(
        "SELECT count(*) FROM pg_stat_replication WHERE application_name ~ '^mainstay_[0-9]' AND flush_lsn >= '{end}'::pg_lsn"
    );
    cluster.wait("every replica to have it", || {
        (say(&question).ok()?? == (COUNT - 1).to_string()).then_some(count)
    })
}

fn folders_aside(cluster: &Cluster, which: usize) -> usize {
    let quarantine = cluster.path(which).join("keeper/quarantine");
    std::fs::read_dir(quarantine).map_or(0, Iterator::count)
}

/// Two of three hosts are lost, one of them with its disk, while the third had not got the last writes.
pub fn majority_gone() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, _) = cluster.await_primary(0)?;
    let (left, other) = ((primary + 1) % COUNT, (primary + 2) % COUNT);
    let refused = format!("{:?}", cluster.order(left, "/v1/force", ""));
    ensure!(
        refused.contains("is heard; use `mainstay switchover`"),
        "{refused}"
    );
    let before = written(&cluster, &writer, primary)?;
    cluster.wires.cut_streams(left, true);
    writer.await_more(&cluster, 30)?;
    cluster.kill_host(primary);
    cluster.kill_host(other);
    let record = writer.finish()?;
    let answer = force(&cluster, left)?;
    println!("  {answer}");
    ensure!(answer.contains("forced in term"), "{answer}");
    declared(&cluster, left, &record, before)?;
    cluster.wires.cut_streams(left, false);
    std::fs::remove_dir_all(cluster.path(other).join("keeper"))?;
    std::fs::remove_dir_all(cluster.pgdata(other))?;
    let incarnation = incarnations(&cluster, left)?;
    cluster.start_keeper(primary)?;
    cluster.start_keeper(other)?;
    let (same, _) = cluster.await_healthy()?;
    ensure!(same == left, "another primary");
    ensure!(
        folders_aside(&cluster, primary) > 0,
        "what it had was not moved aside"
    );
    cluster.wait("the full promise", || {
        cluster.status(left).ok()?.solo.is_none().then_some(())
    })?;
    ensure!(
        incarnations(&cluster, left)? == incarnation,
        "the source was filled anew"
    );
    whole_again(&mut cluster, left)
}

fn incarnations(cluster: &Cluster, which: usize) -> Result<String> {
    Ok(cluster.await_status(which)?.incarnation)
}

/// Everything is as it was before: a lost primary costs nothing that was answered.
fn whole_again(cluster: &mut Cluster, primary: usize) -> Result<()> {
    client::forget(cluster)?;
    client::prepare(cluster)?;
    let writer = Writer::start(cluster)?;
    writer.await_more(cluster, 20)?;
    let (_, term) = cluster.await_primary(0)?;
    cluster.kill_host(primary);
    cluster.await_primary(term)?;
    writer.await_more(cluster, 20)?;
    cluster.start_keeper(primary)?;
    cluster.await_healthy()?;
    client::check(cluster, &writer.finish()?)?;
    let lineages: BTreeSet<u32> = (0..COUNT)
        .map(|which| Ok(cluster.await_status(which)?.lineage))
        .collect::<Result<_>>()?;
    ensure!(lineages == BTreeSet::from([1]), "{lineages:?}");
    Ok(())
}

/// The majority lives, on the other side of a cut, and goes on. When the cut heals it gives way.
pub fn majority_cut_off() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    let left = (primary + 1) % COUNT;
    let before = written(&cluster, &writer, primary)?;
    cluster.wires.isolate(left, true);
    writer.await_more(&cluster, 30)?;
    let answer = force(&cluster, left)?;
    println!("  {answer}");
    let (highest, _) = cluster.await_primary(term)?;
    ensure!(highest == left, "routes prefer the side that was left");
    let record = writer.finish()?;
    declared(&cluster, left, &record, before)?;
    cluster.wires.isolate(left, false);
    let (same, _) = cluster.await_healthy()?;
    ensure!(same == left, "the other side did not give way");
    ensure!(
        folders_aside(&cluster, primary) > 0,
        "what it had was not moved aside"
    );
    whole_again(&mut cluster, left)
}
