//! Servers that live and should not be relied on, and a keeper that is away or stands still while its server is well.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use mainstay_record::keeper::SightRole;
use mainstay_units::Instant;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{self, Writer};
use crate::cluster::{COUNT, Cluster};

/// Before a keeper is given up whose server still streams, by the timings of keepers and a little less.
const PATIENCE: Duration = Duration::from_millis(4_500);
/// How often something is done again that the machine was too busy for.
const ROUNDS: usize = 15;
/// Between two looks at what should go on meanwhile.
const STEP: Duration = Duration::from_millis(10);
/// A machine on which a step takes longer than this is late. Standbys bear more of an idle stream.
const LATE: Duration = Duration::from_millis(300);
/// A log that brings nothing for longer than this may look to a standby like a stream that ended, which is when it has
/// brought nothing for 700 ms before a look.
const QUIET: Duration = Duration::from_millis(400);
/// More than any server here has.
const SLOTS_LIMIT: usize = 100;

/// Every connection slot of the primary is taken, the keeper's reserved ones too: another takes over.
pub fn slots_exhausted() -> Result<()> {
    let few = [("max_connections", "20")];
    let cluster = Cluster::healthy_with(&few)?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    let postmaster = cluster.postmaster(primary)?;
    let mut taken = Vec::new();
    take_slots(&cluster, primary, &mut taken)?;
    println!("  {} sessions take every slot", taken.len());
    // A session that ends frees its slot, through which the keeper would come in.
    cluster.wait("another primary", || {
        let next = cluster.primary().filter(|(_, now)| *now > term);
        let is_same = cluster.postmaster(primary).ok() == Some(postmaster);
        if next.is_none() && is_same {
            take_slots(&cluster, primary, &mut taken).ok()?;
        }
        next
    })?;
    writer.await_more(&cluster, 20)?;
    drop(taken);
    cluster.await_healthy()?;
    client::check(&cluster, &writer.finish()?)
}

/// Takes every slot that is free.
fn take_slots(
    cluster: &Cluster,
    which: usize,
    taken: &mut Vec<tokio_postgres::Client>,
) -> Result<()> {
    taken.retain(|session| !session.is_closed());
    while let Ok(session) = client::superuser_session(cluster, which) {
        taken.push(session);
        ensure!(taken.len() < SLOTS_LIMIT, "the slots do not end");
    }
    Ok(())
}

/// The primary's keeper is gone for longer than a silence is borne, on an idle database: its server still streams,
/// so nobody is promoted, and the keeper that comes back adopts it in the same term.
pub fn keeper_away() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    for away_ms in [2_500, 3_500] {
        within_patience(&mut cluster, |cluster| {
            let (primary, term) = cluster.await_healthy()?;
            let postmaster = cluster.postmaster(primary)?;
            let begun = mainstay_rt::clock::now();
            cluster.kill_keeper(primary);
            let mut steps = 0;
            let step = longest_rest(cluster, Duration::from_millis(away_ms), || {
                steps += 1;
                steps
            });
            let started = mainstay_rt::clock::now();
            cluster.start_keeper(primary)?;
            cluster.wait("the primary to be heard again", || {
                let mut others = (0..COUNT).filter(|which| *which != primary);
                let is_heard = others.all(|which| hears(cluster, which, primary, started));
                let is_replaced = cluster.primary().is_some_and(|(_, now)| now > term);
                (is_heard || is_replaced).then_some(())
            })?;
            let away = mainstay_rt::clock::now().since(begun);
            let (_, after) = cluster.await_healthy()?;
            println!(
                "  away for {away:?}: term {term}, then {after}; the longest step took {step:?}"
            );
            let is_left_alone = after == term && cluster.postmaster(primary)? == postmaster;
            Ok(if is_left_alone {
                Round::LeftAlone
            } else if away < PATIENCE && step < LATE {
                Round::Disturbed
            } else {
                Round::Nothing
            })
        })?;
    }
    Ok(())
}

/// Has this one's keeper heard the other one's as that of the primary since then?
fn hears(cluster: &Cluster, which: usize, primary: usize, since: Instant) -> bool {
    let elapsed = mainstay_rt::clock::now().since(since);
    let host = format!("host-{}", primary + 1);
    let Ok(status) = cluster.status(which) else {
        return false;
    };
    let names = status.sight.primary.as_ref() == Some(&host);
    let peer = status.peers.iter().find(|peer| peer.host == host);
    let is_recent = peer.is_some_and(|peer| {
        let heard = peer.heard_ms.map(Duration::from_millis);
        peer.role == Some(SightRole::Primary) && heard.is_some_and(|ago| ago < elapsed)
    });
    names && is_recent
}

/// Lets time pass; the longest time for which a look gave the same.
fn longest_rest(cluster: &Cluster, time: Duration, mut look: impl FnMut() -> u64) -> Duration {
    let end = mainstay_rt::clock::now() + time;
    let mut seen = (look(), mainstay_rt::clock::now());
    let mut longest = Duration::ZERO;
    while mainstay_rt::clock::now() < end {
        cluster.pause(STEP);
        let now = (look(), mainstay_rt::clock::now());
        longest = longest.max(now.1.since(seen.1));
        if now.0 != seen.0 {
            seen = now;
        }
    }
    longest
}

/// What a round shows.
enum Round {
    /// Nobody was promoted and nothing was restarted.
    LeftAlone,
    /// The opposite, though the machine was in time.
    Disturbed,
    /// The opposite, on a machine that was late; or nothing was written meanwhile.
    Nothing,
}

/// A keeper that could not come back before others give its primary up says nothing, nor does a machine that stood
/// still meanwhile: it is done again.
fn within_patience(
    cluster: &mut Cluster,
    mut round: impl FnMut(&mut Cluster) -> Result<Round>,
) -> Result<()> {
    for _ in 0..ROUNDS {
        match round(cluster)? {
            Round::LeftAlone => return Ok(()),
            Round::Disturbed => bail!("somebody was promoted for nothing, or it was restarted"),
            Round::Nothing => println!("  that says nothing: once more"),
        }
    }
    bail!("none of {ROUNDS} rounds says anything: the machine is too busy, or commits stand still")
}

/// The primary's keeper stands still for a moment, and for longer than a silent host is borne: its server streams and
/// commits go on meanwhile, nobody is promoted, and nothing is restarted when it goes on.
pub fn keeper_paused() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    for still_ms in [700, 3_000] {
        within_patience(&mut cluster, |cluster| {
            let (primary, term) = cluster.await_healthy()?;
            let postmaster = cluster.postmaster(primary)?;
            writer.await_more(cluster, 20)?;
            let before = writer.count();
            let begun = mainstay_rt::clock::now();
            cluster.signal_keeper(primary, Signal::STOP)?;
            let quiet = longest_rest(cluster, Duration::from_millis(still_ms), || writer.count());
            let during = writer.count() - before;
            cluster.signal_keeper(primary, Signal::CONT)?;
            cluster.await_status(primary)?;
            let still = mainstay_rt::clock::now().since(begun);
            let now = cluster.await_healthy()?;
            // What it finds when it goes on is done by now.
            writer.await_more(cluster, 50)?;
            let after = cluster.await_healthy()?;
            println!("  still for {still:?}: {during} commits, none for {quiet:?}, then {now:?}");
            let same = [now, after].iter().all(|now| *now == (primary, term));
            let is_left_alone = same && cluster.postmaster(primary)? == postmaster;
            Ok(if is_left_alone && during > 0 {
                Round::LeftAlone
            } else if !is_left_alone && still < PATIENCE && quiet < QUIET {
                Round::Disturbed
            } else {
                Round::Nothing
            })
        })?;
    }
    client::check(&cluster, &writer.finish()?)
}

/// The walreceiver of a standby stands still, and nothing wakes it: commits go on by the other standby, its keeper
/// begins the stream anew and says so, and the primary is left alone.
pub fn receiver_stuck() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    let postmaster = cluster.postmaster(primary)?;
    let victim = (primary + 1) % COUNT;
    let receiver = || {
        let question = "SELECT pid FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        let pid = client::superuser(&cluster, victim, question).ok()??;
        Pid::from_raw(pid.parse().ok()?)
    };
    let stuck = cluster.wait("a walreceiver", receiver)?;
    kill_process(stuck, Signal::STOP)?;
    writer.await_more(&cluster, 50)?;
    cluster.wait("the standby to say so", || {
        let status = cluster.status(victim).ok()?;
        let said = status.events.iter().map(|event| &event.detail);
        said.chain([&status.sight.reason])
            .any(|reason| reason.contains("the stream stands still"))
            .then_some(())
    })?;
    cluster.wait("another walreceiver", || {
        receiver().filter(|now| *now != stuck)
    })?;
    writer.await_more(&cluster, 50)?;
    let now = cluster.await_healthy()?;
    ensure!(now == (primary, term), "{now:?}, was {:?}", (primary, term));
    ensure!(cluster.postmaster(primary)? == postmaster, "restarted");
    client::check(&cluster, &writer.finish()?)
}

/// A page of a standby is damaged and read: the standby says so, is filled anew, and counts again.
pub fn standby_damaged() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    let victim = (primary + 1) % COUNT;
    let file = make_table(&cluster, primary)?;
    let redo = "SELECT redo_lsn FROM pg_control_checkpoint()";
    let redo = client::superuser(&cluster, primary, redo)?.context("no checkpoint")?;
    // A recovery that began before would write the damaged page anew.
    let is_later = format!("SELECT redo_lsn >= '{redo}' FROM pg_control_checkpoint()");
    cluster.wait("the standby to have the table on disk", || {
        client::superuser(&cluster, victim, "CHECKPOINT").ok()?;
        let is_later = client::superuser(&cluster, victim, &is_later).ok()??;
        let length = std::fs::metadata(cluster.pgdata(victim).join(&file))
            .ok()?
            .len();
        (is_later == "t" && length >= 8_192).then_some(())
    })?;
    let before = cluster.await_status(victim)?.incarnation;
    cluster.kill_host(victim);
    damage(&cluster, victim, &file)?;
    cluster.start_keeper(victim)?;
    cluster.wait("the damage to be read", || {
        let read = client::superuser(&cluster, victim, "SELECT count(*) FROM pages");
        let refused = read.is_err_and(|error| format!("{error:?}").contains("invalid page"));
        refused.then_some(())
    })?;
    cluster.wait("the standby to say so", || {
        let status = cluster.status(victim).ok()?;
        let said = status.events.iter().map(|event| &event.detail);
        said.chain([&status.sight.reason])
            .any(|reason| reason.contains("wrong checksum"))
            .then_some(())
    })?;
    cluster.wait("the standby to be filled anew", || {
        (cluster.status(victim).ok()?.incarnation != before).then_some(())
    })?;
    // Filling has begun: what the primary still says of the standby it left tells nothing, and its server is away.
    cluster.wait("the standby to have every row again", || {
        let count = client::superuser(&cluster, victim, "SELECT count(*) FROM pages");
        (count.ok()?.as_deref() == Some("1000")).then_some(())
    })?;
    let (_, after) = cluster.await_healthy()?;
    ensure!(after == term, "no failover: term {term}, then {after}");
    client::check(&cluster, &writer.finish()?)
}

/// A page of the primary is damaged and read: it hands over to a sound copy, is filled anew, and no row is lost.
pub fn primary_damaged() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_primary(0)?;
    make_table(&cluster, primary)?;
    // There and back: the copy is made on the disk, past the memory in which the pages would be sound.
    let say = |statement: &str| client::superuser(&cluster, primary, statement);
    say("ALTER SYSTEM SET allow_in_place_tablespaces = on")?;
    say("SELECT pg_reload_conf()")?;
    cluster.wait("a place to move the table to", || {
        say("CREATE TABLESPACE aside LOCATION ''").ok()
    })?;
    say("ALTER TABLE pages SET TABLESPACE aside")?;
    say("ALTER TABLE pages SET TABLESPACE pg_default")?;
    say("DROP TABLESPACE aside")?;
    say("ALTER SYSTEM RESET ALL")?;
    let file = say("SELECT pg_relation_filepath('pages')")?.context("no file of the table")?;
    let before = cluster.await_status(primary)?.incarnation;
    damage(&cluster, primary, &file)?;
    let read = say("SELECT count(*) FROM pages");
    let refused = read.is_err_and(|error| format!("{error:?}").contains("invalid page"));
    ensure!(refused, "the damage was not read");
    let (next, _) = cluster.await_primary(term)?;
    ensure!(next != primary, "it goes on as primary");
    cluster.wait("it to say why", || {
        let status = cluster.status(primary).ok()?;
        let said = status.events.iter().map(|event| &event.detail);
        said.chain([&status.sight.reason])
            .any(|reason| reason.contains("wrong checksum"))
            .then_some(())
    })?;
    cluster.wait("it to be filled anew", || {
        (cluster.status(primary).ok()?.incarnation != before).then_some(())
    })?;
    for which in [next, primary] {
        cluster.wait("every row", || {
            let count = client::superuser(&cluster, which, "SELECT count(*) FROM pages");
            (count.ok()?.as_deref() == Some("1000")).then_some(())
        })?;
    }
    cluster.await_healthy()?;
    writer.await_more(&cluster, 20)?;
    client::check(&cluster, &writer.finish()?)
}

/// Somebody puts the folder of another cluster where a standby's was: it is refused and left as it is, byte for byte, until it
/// is moved away.
pub fn foreign_folder() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    let (primary, term) = cluster.await_healthy()?;
    let victim = (primary + 1) % COUNT;
    cluster.kill_host(victim);
    let pgdata = cluster.pgdata(victim);
    let beside = |name: &str| pgdata.with_file_name(name);
    std::fs::rename(&pgdata, beside("own"))?;
    std::fs::create_dir(&pgdata)?;
    if let Some(account) = mainstay_testkit::postgres::account()? {
        std::os::unix::fs::chown(&pgdata, Some(account.user), Some(account.group))?;
    }
    let made = mainstay_testkit::postgres::program("initdb")?
        .args(["--no-sync", "--no-instructions", "--auth=trust"])
        .args(["--username", "somebody", "--pgdata"])
        .arg(&pgdata)
        .output()?;
    ensure!(
        pgdata.join("global/pg_control").exists(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let before = listing(&pgdata)?;
    cluster.start_keeper(victim)?;
    cluster.wait("the folder to be refused", || {
        let reason = cluster.status(victim).ok()?.sight.reason;
        reason.contains("another cluster's").then_some(())
    })?;
    writer.await_more(&cluster, 200)?;
    ensure!(listing(&pgdata)? == before, "the folder was touched");
    ensure!(cluster.postmaster(victim).is_err(), "it was started");
    ensure!(
        cluster.await_primary(0)? == (primary, term),
        "somebody was promoted"
    );
    cluster.kill_host(victim);
    std::fs::rename(&pgdata, beside("foreign"))?;
    std::fs::rename(beside("own"), &pgdata)?;
    cluster.start_keeper(victim)?;
    let now = cluster.await_healthy()?;
    ensure!(now == (primary, term), "{now:?}");
    client::check(&cluster, &writer.finish()?)
}

/// Every file below a folder, with its length and when it was written last.
fn listing(folder: &Path) -> Result<Vec<(PathBuf, u64, SystemTime)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            found.push((entry.path(), metadata.len(), metadata.modified()?));
        }
    }
    found.sort();
    Ok(found)
}

/// A table of some pages, on the primary's disk; its file, below the data folder.
fn make_table(cluster: &Cluster, primary: usize) -> Result<String> {
    let make = "CREATE TABLE pages WITH (autovacuum_enabled = off) AS \
        SELECT repeat('x', 500) AS text FROM generate_series(1, 1000)";
    client::superuser(cluster, primary, make)?;
    client::superuser(cluster, primary, "VACUUM (FREEZE) pages")?;
    client::superuser(cluster, primary, "CHECKPOINT")?;
    client::superuser(cluster, primary, "SELECT pg_relation_filepath('pages')")?
        .context("no file of the table")
}

/// Turns bytes in the middle of the second page around.
fn damage(cluster: &Cluster, which: usize, file: &str) -> Result<()> {
    let path = cluster.pgdata(which).join(file);
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(8_192 + 4_000))?;
    file.write_all(b"no longer what was written")?;
    file.sync_all()?;
    Ok(())
}
