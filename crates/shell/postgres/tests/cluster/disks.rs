//! Disks that hang and disks that are full, as far as the keeper's pulse can tell: the file that it writes is a pipe
//! that nobody reads, or the kernel's own full device. All else goes on writing, so what happens happens by the pulse.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::client::{self, Writer};
use crate::cluster::{COUNT, Cluster};

const HANGS: &str = "the disk does not answer";
const FULL: &str = "the disk is nearly full";

/// The file by which the data's disk is felt.
fn pulse(cluster: &Cluster, which: usize) -> PathBuf {
    cluster.path(which).join("pulse-orders")
}

/// From the next beat on, whoever opens the file to write it waits.
fn hang(file: &Path) -> Result<()> {
    let pipe = file.with_extension("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)?;
    Ok(std::fs::rename(pipe, file)?)
}

/// Takes the file away, and lets go whoever waits in it.
fn revive(file: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let at_once = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let reader = options.read(true).custom_flags(at_once).open(file)?;
    std::fs::remove_file(file)?;
    drop(reader);
    Ok(())
}

/// Waits until the keeper of a host says this, now or among what happened last.
fn await_reason(cluster: &Cluster, which: usize, reason: &str) -> Result<()> {
    cluster.wait(reason, || {
        let status = cluster.status(which).ok()?;
        let said = status.events.iter().map(|event| &event.detail);
        let found = said
            .chain([&status.sight.reason])
            .any(|said| said.contains(reason));
        found.then_some(())
    })
}

/// The file hangs on the primary: another takes over, the old one says why, and comes back when the disk does.
fn check_hung(
    cluster: &Cluster,
    writer: &Writer,
    (primary, term): (usize, u32),
    file: &Path,
) -> Result<()> {
    writer.await_more(cluster, 20)?;
    hang(file)?;
    let (next, _) = cluster.await_primary(term)?;
    ensure!(next != primary, "it is primary again, with its dead disk");
    await_reason(cluster, primary, HANGS)?;
    writer.await_more(cluster, 50)?;
    revive(file)?;
    cluster.wait("a beat", || file.is_file().then_some(()))?;
    cluster.await_healthy()?;
    writer.await_more(cluster, 20)
}

/// The disk of the primary's data hangs: another takes over.
pub fn disk_hung() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    let now = cluster.await_primary(0)?;
    check_hung(&cluster, &writer, now, &pulse(&cluster, now.0))?;
    client::check(&cluster, &writer.finish()?)
}

/// The log lies on a disk of its own, and that one hangs: another takes over though the data lie well.
pub fn log_disk_hung() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    let (primary, _) = cluster.await_primary(0)?;
    let victim = (primary + 1) % COUNT;
    let log = cluster.path(victim).join("log");
    let file = log.join("pgsql_tmp.pulse");
    cluster.kill_host(victim);
    let named = cluster.pgdata(victim).join("pg_wal");
    std::fs::rename(&named, &log)?;
    std::os::unix::fs::symlink(&log, &named)?;
    cluster.start_keeper(victim)?;
    cluster.wait("the log's pulse", || file.is_file().then_some(()))?;
    cluster.await_healthy()?;
    let now = (victim, cluster.hand_over(victim)?);
    cluster.await_healthy()?;
    check_hung(&cluster, &writer, now, &file)?;
    client::check(&cluster, &writer.finish()?)
}

/// The primary's disk is full: it hands over by plan to a standby that is well, its server runs on, and says so until
/// there is room.
pub fn disk_full() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    let file = pulse(&cluster, primary);
    std::fs::remove_file(&file)?;
    std::os::unix::fs::symlink("/dev/full", &file)?;
    let (next, _) = cluster.await_primary(term)?;
    ensure!(next != primary, "it is primary again, with its full disk");
    await_reason(&cluster, primary, "handing over by plan")?;
    let says = |full: bool| {
        cluster.wait("the old primary to follow and to tell of its disk", || {
            let reason = cluster.status(primary).ok()?.sight.reason;
            let expected = if full { FULL } else { "following the primary" };
            reason.contains(expected).then_some(())
        })
    };
    says(true)?;
    cluster.await_healthy()?;
    writer.await_more(&cluster, 50)?;
    std::fs::remove_file(&file)?;
    says(false)?;
    cluster.await_healthy()?;
    client::check(&cluster, &writer.finish()?)
}
