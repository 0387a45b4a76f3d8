//! A server that is promoted twice before its log fills a segment, as by a primary that moves away and back.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use mainstay_backup::{Archive, Wanted, choose};
use mainstay_testkit::postgres::TemporaryServer;
use mainstay_testkit::wait::wait_for;

use crate::{PATIENCE, Place};

/// The segment goes on three timelines, and the server has renamed its file of the second: the archiver goes on without a hole,
/// and what was written on each is within reach.
pub fn twice_in_a_segment(
    place: &Place,
    archive: &Archive,
    server: &mut TemporaryServer,
    first: &str,
) -> Result<()> {
    let backups = place.catalogue(archive)?.entries.len();
    let file = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 9)";
    let segment = server.psql("postgres", file)?;
    for timeline in [2, 3] {
        promote(server)?;
        server.psql(
            "postgres",
            &format!("INSERT INTO hands VALUES ({})", 100 + timeline),
        )?;
        place.timeline.store(timeline, Ordering::Release);
    }
    let now = server.psql("postgres", file)?;
    ensure!(
        now == segment,
        "the log went on from {segment} to {now}: nothing is shown"
    );
    let _archiver = place.archive();
    let written = server.psql(
        "postgres",
        "INSERT INTO hands VALUES (110); SELECT pg_current_wal_lsn()",
    )?;
    place.wait_until_shipped(&written)?;
    let alarm = place.state().and_then(|state| state.alarm);
    ensure!(alarm.is_none(), "{alarm:?}");
    let catalogue = place.catalogue(archive)?;
    ensure!(
        catalogue.entries.len() == backups,
        "a base backup was made as after a hole"
    );
    let (_, route) = choose(&catalogue, &Wanted::Latest, Some(first))
        .context("the way across the three timelines")?;
    ensure!(route.reaches >= written.parse()?, "{route:?}");
    Ok(())
}

/// It comes back as a standby that follows nobody, and is promoted where its log ends.
fn promote(server: &mut TemporaryServer) -> Result<()> {
    std::fs::write(server.data_directory().join("standby.signal"), "")?;
    server.restart()?;
    wait_for("a standby", PATIENCE, || {
        let recovers = server.psql("postgres", "SELECT pg_is_in_recovery()");
        recovers.is_ok_and(|recovers| recovers == "t").then_some(())
    })?;
    let promoted = server.psql("postgres", "SELECT pg_promote()")?;
    ensure!(promoted == "t", "not promoted: {promoted}");
    Ok(())
}
