//! One real server, one archiver, two stores: from a row to the archive and back, and every planted fault refused.
//!
//! The keeper is played by a page that says what a keeper would say; everything else is the real thing. One test, because
//! a cluster takes seconds to make and every step needs what the one before left.

mod books;
mod faults;
mod promoted;
mod proof;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mainstay_backup::{
    Archive, Catalogue, DataKey, RestoreError, Sources, Wanted, chain, choose, join, name_point,
    offer, prove, prune, restore,
};
use mainstay_identity::Identity;
use mainstay_identity::authority::Authority;
use mainstay_record::backup::{
    ArchiverState, BackupConfig, BackupLimits, BackupRetention, BackupSchedule, BackupServer,
    HAND_OVER, VERSION,
};
use mainstay_record::identity::{IdentityFiles, identity_name};
use mainstay_record::keeper::{CohortStatus, KeeperStatus, Sight, SightRole};
use mainstay_testkit::postgres::{Options, TemporaryServer, account, program, programs};
use mainstay_testkit::wait::wait_for;

/// Several times as long as the archiver rests after a job that failed, and as the server does after a command that did.
const PATIENCE: Duration = Duration::from_secs(240);
/// Eight segments.
const BACKLOG: u64 = 128 << 20;

#[test]
fn from_a_row_to_the_archive_and_back() -> Result<()> {
    let mut server = Options::default()
        .setting("wal_keep_size=0")
        .setting("min_wal_size=32MB")
        .setting("max_wal_size=256MB")
        .setting("archive_mode=on")
        .start(211)?;
    second_path(&server, "/bin/true")?;
    server.psql(
        "postgres",
        "CREATE ROLE mainstay SUPERUSER LOGIN PASSWORD 'x'; CREATE TABLE rows (n bigint PRIMARY KEY); \
         CREATE TABLE hands (n bigint)",
    )?;
    books::begin(&server)?;
    let place = Place::new(&server)?;
    proof::begin(&server, place.folder.path())?;
    proof::is_demanded(&server, place.folder.path(), &place.config)?;
    let archiver = place.archive();

    let archive = place.open(&place.config)?;
    let first = place.wait_for_backup(&archive, 1)?;
    server.psql(
        "postgres",
        "INSERT INTO rows SELECT generate_series(1, 1000)",
    )?;
    let point = place.block_on(async {
        let sources = Sources::look(&archive.config).await;
        Ok(name_point(&archive, sources.primary()?, "before-lunch").await?)
    })?;
    server.psql(
        "postgres",
        "INSERT INTO rows SELECT generate_series(1001, 2000)",
    )?;
    server.psql("postgres", "SELECT pg_switch_wal()")?;
    server.psql(
        "postgres",
        "INSERT INTO rows SELECT generate_series(2001, 2500)",
    )?;
    let written = server.psql("postgres", "SELECT pg_current_wal_lsn()")?;
    place.wait_until_shipped(&written)?;
    figures(&place)?;

    faults::proven_by_itself(&place, &archive, &first)?;
    faults::point_is_taken(&place, &archive, &point.name)?;
    faults::cut_in_two(&place, &archive, &first)?;
    proven(&place, &archive, &first)?;
    let second = place.block_on(async {
        let mut archive = Archive::load(&place.config)?;
        Ok(mainstay_backup::create(&mut archive).await?)
    })?;
    restored_to_a_name(&place, &archive, &point.name)?;
    another_version(&place, &archive, &point.name)?;
    planted_faults(&place, &archive, &first, &second.id)?;
    faults::are_said(&place, &archive, &first, &second.id)?;
    books::are_wrong(&place, &archive, &server)?;
    drop(archiver);
    killed_with_log_in_hand(&place, &archive, &server, &first)?;
    handed_over(&place, &archive, &server, &first)?;
    promoted::twice_in_a_segment(&place, &archive, &mut server, &first)?;
    let archiver = place.archive();
    let written = server.psql(
        "postgres",
        "INSERT INTO hands VALUES (9); SELECT pg_current_wal_lsn()",
    )?;
    place.wait_until_shipped(&written)?;
    split_brain(&place, &archive, &server)?;
    drop(archiver);
    a_hole(&place, &archive, &server)?;
    stores_that_stay_away(&place, &archive, &server)?;
    drop(server);
    the_end_without_a_server(&place, &archive)
}

/// The proof goes through, and says what it measured.
/// Whoever is of the platform is told how the archive stands, and nobody else.
fn figures(place: &Place) -> Result<()> {
    let bytes = std::fs::read(&place.config)?;
    let config: BackupConfig = serde_json::from_slice(&bytes)?;
    let address = config.listen.context("no port for figures")?;
    let own = Identity::open(identity(place.folder.path(), "watch")?)?;
    let name = identity_name("archiver-ledger", "a", "test");
    let tasks = tokio::task::LocalSet::new();
    let page = || {
        let asked = mainstay_identity::web::request(
            &own,
            (address, name.as_str()),
            http::Method::GET,
            "/metrics",
            Vec::new(),
            PATIENCE,
        );
        let (_, page) = tasks.block_on(&place.runtime, asked).ok()?;
        Some(String::from_utf8_lossy(&page).into_owned())
    };
    let value = |page: &str, name: &str| -> Option<f64> {
        let line = page.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().last()?.parse().ok()
    };
    let page = wait_for("figures of a backup", PATIENCE, || {
        let page = page()?;
        value(&page, "mainstay_archive_backup_timestamp_seconds ").map(|_| page)
    })?;
    let at_least_one = [
        "mainstay_archive_at_work ",
        "mainstay_archive_receiving ",
        "mainstay_archive_segments_total ",
        "mainstay_archive_log_bytes_total ",
        "mainstay_archive_backups_total ",
    ];
    for name in at_least_one {
        ensure!(value(&page, name) >= Some(1.0), "{name}: {page}");
    }
    ensure!(
        value(&page, "mainstay_archive_alarm ") == Some(0.0),
        "{page}"
    );
    let open = mainstay_rt::http::request_tcp(
        address,
        http::Method::GET,
        "/metrics",
        Vec::new(),
        Duration::from_secs(5),
    );
    let open = tasks.block_on(&place.runtime, open);
    ensure!(
        open.is_err(),
        "it was told to nobody in particular: {open:?}"
    );
    Ok(())
}

fn proven(place: &Place, archive: &Archive, backup: &str) -> Result<()> {
    // Milestones lie after the backup: two marks and one beyond them, all archived.
    let proof = wait_for("a proof with milestones", PATIENCE, || {
        let proof = place.block_on(async {
            let catalogue = archive.catalogue().await?;
            Ok(prove(archive, &catalogue, Some(backup)).await?)
        });
        match proof {
            Ok(proof) if was_recovered(&proof.shown) => Some(Ok(proof)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    })??;
    ensure!(proof.rto_ms > 0 && proof.rpo_ms.is_some(), "{proof:?}");
    books::are_right(&proof)?;
    faults::is_whole_again(place, archive, backup, &proof)?;
    let catalogue = place.catalogue(archive)?;
    let entry = catalogue
        .entries
        .iter()
        .find(|entry| entry.record.id == backup);
    ensure!(entry.is_some_and(|entry| entry.base.proven_ms.is_some()));
    let pruned = place.block_on(async { Ok(prune(archive, &catalogue, false).await?) })?;
    ensure!(pruned.removed.is_empty(), "the only proof goes: {pruned:?}");
    Ok(())
}

fn was_recovered(shown: &[String]) -> bool {
    shown
        .iter()
        .any(|what| what.contains("recovered to position"))
}

/// A named place: what came before is there, what came after is not, and the folder was empty and is the original's no
/// more.
fn restored_to_a_name(place: &Place, archive: &Archive, name: &str) -> Result<()> {
    let catalogue = place.catalogue(archive)?;
    let wanted = Wanted::parse(name, &catalogue)?;
    let (entry, route) = choose(&catalogue, &wanted, None)?;
    let into = place.folder.path().join("restored");
    let full = place.folder.path().join("full");
    std::fs::create_dir(&full)?;
    std::fs::write(full.join("precious"), "data")?;
    let refused =
        place.block_on(async { Ok(restore(archive, entry, &route, &wanted, &full).await) })?;
    ensure!(
        matches!(refused, Err(RestoreError::NotEmpty { .. })),
        "{refused:?}"
    );
    ensure!(full.join("precious").exists());
    let restored =
        place.block_on(async { Ok(restore(archive, entry, &route, &wanted, &into).await?) })?;
    ensure!(restored.archive != archive.archive_name());
    let said = single_user(&into, "SELECT 'rows ' || count(*) FROM rows")?;
    ensure!(said.contains("rows 1000"), "{said}");
    let said = single_user(&into, "SELECT 'is ' || identity FROM mainstay.archive")?;
    ensure!(said.contains(&format!("is {}", restored.archive)), "{said}");
    Ok(())
}

/// Programs of another major version are refused before anything is fetched, and nothing is left of the try.
fn another_version(place: &Place, archive: &Archive, name: &str) -> Result<()> {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let later = place.folder.path().join("later");
    std::fs::create_dir(&later)?;
    std::fs::set_permissions(&later, std::fs::Permissions::from_mode(0o755))?;
    for entry in std::fs::read_dir(programs()?)? {
        let entry = entry?;
        if entry.file_name() != "postgres" {
            symlink(entry.path(), later.join(entry.file_name()))?;
        }
    }
    let stand_in = later.join("postgres");
    std::fs::write(
        &stand_in,
        "#!/bin/sh\necho 'postgres (PostgreSQL) 99.1 (of this test)'\n",
    )?;
    std::fs::set_permissions(&stand_in, std::fs::Permissions::from_mode(0o755))?;
    let config = BackupConfig {
        programs: Some(later),
        ..archive.config.clone()
    };
    let refused = place.block_on(async {
        let mut archive = Archive::open(config)?;
        archive.find(None).await?;
        let catalogue = archive.catalogue().await?;
        let wanted = Wanted::parse(name, &catalogue)?;
        let (entry, route) = choose(&catalogue, &wanted, None)?;
        ensure!(
            entry.record.server_version.starts_with(char::is_numeric),
            "the backup says {}",
            entry.record.server_version
        );
        let into = place.folder.path().join("refused");
        let refused = restore(&archive, entry, &route, &wanted, &into).await;
        ensure!(std::fs::read_dir(&into)?.next().is_none(), "it left a copy");
        let said = refused.err().map(|error| chain(&error));
        said.context("another version's programs were taken")
    })?;
    ensure!(
        refused.contains("PostgreSQL) 99.1") && refused.contains("set PG_BIN"),
        "{refused}"
    );
    Ok(())
}

/// Each on a copy of the archive in one store, so that no second one helps out.
fn planted_faults(place: &Place, archive: &Archive, first: &str, second: &str) -> Result<()> {
    let prefix = format!("ledger/{}", archive.archive_name());
    let catalogue = place.catalogue(archive)?;
    let last = catalogue.shelf.segments.last().context("no segment")?;
    let last = last.name(catalogue.shelf.size);
    let part = format!("{prefix}/backups/{second}/part-00000");
    let flip: &dyn Fn(&Path) -> Result<()> = &|store| {
        let path = store.join(&part);
        let mut bytes = std::fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        Ok(std::fs::write(path, bytes)?)
    };
    let cut: &dyn Fn(&Path) -> Result<()> = &|store| {
        let path = store.join(&part);
        let bytes = std::fs::read(&path)?;
        Ok(std::fs::write(path, &bytes[..bytes.len() / 2])?)
    };
    let lose: &dyn Fn(&Path) -> Result<()> = &|store| {
        Ok(std::fs::remove_file(
            store.join(format!("{prefix}/wal/{last}")),
        )?)
    };
    for (what, fault, backup, reason) in [
        ("a flipped byte", flip, None, "not authentic"),
        ("a truncated upload", cut, None, "not authentic"),
        (
            "a missing segment",
            lose,
            Some(first),
            "is missing, and later ones are there",
        ),
    ] {
        let (config, store) = place.copy(what, None)?;
        fault(&store)?;
        let damaged = place.reopen(&config)?;
        let catalogue = place.catalogue(&damaged)?;
        let chosen = choose(&catalogue, &Wanted::Latest, backup);
        let said = match &chosen {
            Err(error) => chain(error),
            Ok((entry, route)) => {
                let into = store.join("into");
                let refused = place.block_on(async {
                    Ok(restore(&damaged, entry, route, &Wanted::Latest, &into).await)
                })?;
                ensure!(
                    std::fs::read_dir(&into)?.next().is_none(),
                    "{what}: something is left"
                );
                match refused {
                    Err(error) => chain(&error),
                    Ok(restored) => bail!("{what} went unnoticed: {restored:?}"),
                }
            }
        };
        ensure!(said.contains(reason), "{what}: {said}");
        let older = offer(&catalogue, second, &Wanted::Latest);
        let (older, _) = older.with_context(|| format!("{what}: nothing is offered"))?;
        ensure!(
            older.record.id == first,
            "{what}: the older proven one is offered"
        );
    }
    Ok(())
}

/// An archiver that is killed with log in hand: the server keeps that log until a store has it, and so does the spool. Either is
/// enough.
fn killed_with_log_in_hand(
    place: &Place,
    archive: &Archive,
    server: &TemporaryServer,
    first: &str,
) -> Result<()> {
    let spool = place.folder.path().join("archiver/spool");
    for (what, lost) in [
        ("the spool", Lost::Spool),
        ("what the server keeps", Lost::Slots),
    ] {
        let killed = place.archive();
        let written = server.psql("postgres", "SELECT pg_current_wal_lsn()")?;
        place.wait_until_shipped(&written)?;
        place.away()?;
        // With what the receiver stands on and what it has begun, well within the backlog's limit.
        for number in 0..2 {
            let row = format!("INSERT INTO hands VALUES ({number}); SELECT pg_switch_wal()");
            server.psql("postgres", &row)?;
        }
        let written = server.psql(
            "postgres",
            "SELECT pg_walfile_name(pg_current_wal_lsn() - 16777216)",
        )?;
        wait_for("the log to be in hand", PATIENCE, || {
            spool.join(&written).exists().then_some(())
        })?;
        drop(killed);
        match lost {
            Lost::Spool => std::fs::remove_dir_all(&spool)?,
            Lost::Slots => drop_slots(server)?,
        }
        // Whatever no slot holds back goes now, but for the segment that is being written.
        server.psql("postgres", "CHECKPOINT")?;
        place.back()?;
        let _archiver = place.archive();
        let written = server.psql("postgres", "SELECT pg_current_wal_lsn()")?;
        place.wait_until_shipped(&written)?;
        let catalogue = place.catalogue(archive)?;
        let (_, route) = choose(&catalogue, &Wanted::Latest, Some(first))
            .with_context(|| format!("{what} was lost with the archiver: {:?}", place.state()))?;
        ensure!(route.reaches >= written.parse()?, "{what}: {route:?}");
    }
    let kept = server.psql(
        "postgres",
        "SELECT pg_current_wal_lsn() - restart_lsn < 2 * 16777216 FROM pg_replication_slots \
         WHERE slot_name = 'mainstay_archive_kept'",
    )?;
    ensure!(
        kept == "t",
        "the server keeps what the stores have: {kept:?}"
    );
    Ok(())
}

#[derive(Clone, Copy)]
enum Lost {
    Spool,
    Slots,
}

fn drop_slots(server: &TemporaryServer) -> Result<()> {
    wait_for("the receiver to leave its slot", PATIENCE, || {
        let drop =
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active";
        server.psql("postgres", drop).ok()?;
        let left = server.psql("postgres", "SELECT count(*) FROM pg_replication_slots");
        left.is_ok_and(|left| left == "0").then_some(())
    })
}

/// No archiver, no slots, and the server has thrown its log away: what its own command handed over closes the hole.
fn handed_over(
    place: &Place,
    archive: &Archive,
    server: &TemporaryServer,
    first: &str,
) -> Result<()> {
    let script = place.folder.path().join("archiver").join(HAND_OVER);
    second_path(server, &format!("\"{}\" \"%p\" \"%f\"", script.display()))?;
    drop_slots(server)?;
    let from = server.psql("postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())")?;
    for number in 20..23 {
        let row = format!("INSERT INTO hands VALUES ({number}); SELECT pg_switch_wal()");
        server.psql("postgres", &row)?;
    }
    let handed = place.folder.path().join("archiver/handed");
    let waiting = || -> usize {
        let names = std::fs::read_dir(&handed).into_iter().flatten();
        let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.len() == from.len()).count()
    };
    wait_for("the segments to be handed over", PATIENCE, || {
        (waiting() >= 3).then_some(())
    })?;
    wait_for("the server to throw them away", PATIENCE, || {
        server.psql("postgres", "CHECKPOINT").ok()?;
        let there = format!("SELECT count(*) FROM pg_ls_waldir() WHERE name = '{from}'");
        let there = server.psql("postgres", &there).ok()?;
        (there == "0").then_some(())
    })?;
    let _archiver = place.archive();
    let written = server.psql("postgres", "SELECT pg_current_wal_lsn()")?;
    place.wait_until_shipped(&written)?;
    let catalogue = place.catalogue(archive)?;
    let (_, route) = choose(&catalogue, &Wanted::Latest, Some(first))
        .with_context(|| format!("what was handed over is not used: {:?}", place.state()))?;
    ensure!(route.reaches >= written.parse()?, "{route:?}");
    let alarm = place.state().and_then(|state| state.alarm);
    ensure!(alarm.is_none(), "{alarm:?}");
    ensure!(waiting() == 0, "what the stores have is still handed over");
    second_path(server, "/bin/true")
}

fn second_path(server: &TemporaryServer, command: &str) -> Result<()> {
    let set = format!("ALTER SYSTEM SET archive_command = '{command}'");
    server.psql("postgres", &set)?;
    server.psql("postgres", "SELECT pg_reload_conf()")?;
    Ok(())
}

/// A segment of the same name with other bytes: nothing is overwritten, and the archiver says why it stands still.
fn split_brain(place: &Place, archive: &Archive, server: &TemporaryServer) -> Result<()> {
    let next = server.psql("postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())")?;
    let object = archive.name(&format!("wal/{next}"));
    place.block_on(async {
        archive
            .stores
            .put(&object, b"what another server wrote", &DataKey::draw())
            .await?;
        Ok(())
    })?;
    server.psql(
        "postgres",
        "INSERT INTO rows VALUES (9999); SELECT pg_switch_wal()",
    )?;
    wait_for("the alarm", PATIENCE, || {
        place.state().filter(|state| {
            let alarm = state.alarm.as_deref().unwrap_or_default();
            alarm.contains("split brain") && alarm.contains(&next)
        })
    })?;
    let kept = place.block_on(async { Ok(archive.stores.get(&object).await?) })?;
    ensure!(kept == b"what another server wrote");
    place.block_on(async { Ok(archive.stores.remove(&object).await?) })
}

/// While no archiver ran the server threw away log that the archive does not have: a base backup follows by itself, and
/// a way across the hole is offered by none.
fn a_hole(place: &Place, archive: &Archive, server: &TemporaryServer) -> Result<()> {
    let before = place.catalogue(archive)?.entries;
    // Retention may take those that were never proven as soon as there is a newer one.
    let proven = before.iter().find(|entry| entry.base.proven_ms.is_some());
    let older = proven.context("no proven backup")?.record.id.clone();
    let before: Vec<String> = before.into_iter().map(|entry| entry.record.id).collect();
    drop_slots(server)?;
    for number in 10_000..10_004 {
        server.psql("postgres", &format!("INSERT INTO rows VALUES ({number})"))?;
        server.psql("postgres", "SELECT pg_switch_wal()")?;
    }
    server.psql("postgres", "CHECKPOINT")?;
    let _archiver = place.archive();
    wait_for("a base backup beyond the hole", PATIENCE, || {
        let newest = place.catalogue(archive).ok()?.entries.into_iter().next()?;
        (!before.contains(&newest.record.id)).then_some(())
    })?;
    // As soon as anything from beyond the hole is there. Whoever fails to see it says what there was to see.
    let mut seen = String::new();
    let found = wait_for("the hole to be seen", PATIENCE, || {
        let across = place
            .catalogue(archive)
            .and_then(|catalogue| across_the_hole(&catalogue, &older));
        match across {
            Ok(said) if said.contains("is missing, and later ones are there") => Some(()),
            Ok(said) => {
                seen = said;
                None
            }
            Err(error) => {
                seen = format!("{error:#}");
                None
            }
        }
    });
    found.with_context(|| format!("last seen: {seen}; the archiver: {:?}", place.state()))
}

/// Why the latest state is out of reach from a backup that was made before the hole, and is not from the newest one.
fn across_the_hole(catalogue: &Catalogue, older: &str) -> Result<String> {
    let (newest, _) = choose(catalogue, &Wanted::Latest, None)
        .map_err(|error| anyhow::anyhow!("the newest: {}", chain(&error)))?;
    ensure!(
        newest.record.id != older,
        "there is no newer backup than {older}"
    );
    match choose(catalogue, &Wanted::Latest, Some(older)) {
        Err(error) => Ok(chain(&error)),
        Ok((_, route)) => Ok(format!("a way from {older}: {route:?}")),
    }
}

/// No store takes anything: the log that waits does not grow without end, and when the stores are back a base backup follows.
fn stores_that_stay_away(place: &Place, archive: &Archive, server: &TemporaryServer) -> Result<()> {
    let _archiver = place.archive();
    wait_for("the archiver to receive", PATIENCE, || {
        place.state().filter(|state| state.receiving)
    })?;
    let written = server.psql("postgres", "SELECT pg_current_wal_lsn()")?;
    place.wait_until_shipped(&written)?;
    let known: Vec<String> = place
        .catalogue(archive)?
        .entries
        .into_iter()
        .map(|entry| entry.record.id)
        .collect();
    place.away()?;
    let spooled = || -> u64 {
        let entries = std::fs::read_dir(place.folder.path().join("archiver/spool"))
            .into_iter()
            .flatten();
        let sizes = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
        sizes.sum()
    };
    let mut most = 0;
    let mut number = 20_000;
    wait_for("a backlog that is given up", PATIENCE, || {
        number += 1;
        server
            .psql("postgres", &format!("INSERT INTO rows VALUES ({number})"))
            .ok()?;
        server.psql("postgres", "SELECT pg_switch_wal()").ok()?;
        let now = spooled();
        // What was on its way when the stores went may still arrive: that gives nothing up.
        let is_given_up = most > BACKLOG / 2 && now < most;
        most = most.max(now);
        is_given_up.then_some(())
    })
    .with_context(|| format!("at most {most} bytes waited"))?;
    place.back()?;
    let found = wait_for("a base backup when the stores are back", PATIENCE, || {
        let catalogue = place.catalogue(archive).ok()?;
        let newest = catalogue.entries.first()?.record.id.clone();
        let (chosen, _) = choose(&catalogue, &Wanted::Latest, None).ok()?;
        (!known.contains(&newest) && chosen.record.id == newest).then_some(())
    });
    found.with_context(|| format!("the archiver: {:?}", place.state()))
}

/// Every host is gone; what was archived comes back.
fn the_end_without_a_server(place: &Place, archive: &Archive) -> Result<()> {
    let catalogue = place.catalogue(archive)?;
    let (entry, route) = choose(&catalogue, &Wanted::Latest, None)?;
    let into = place.folder.path().join("rebuilt");
    place.block_on(async { Ok(restore(archive, entry, &route, &Wanted::Latest, &into).await?) })?;
    let said = single_user(
        &into,
        "SELECT 'rows ' || count(*) FROM rows WHERE n <= 2500",
    )?;
    ensure!(said.contains("rows 2500"), "{said}");
    Ok(())
}

fn single_user(data: &Path, sql: &str) -> Result<String> {
    use std::io::Write;
    let mut command = program("postgres")?;
    command.arg("--single").arg("-D").arg(data).arg("postgres");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{sql}")?;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}

/// Where everything of the test stands.
struct Place {
    folder: tempfile::TempDir,
    config: PathBuf,
    runtime: tokio::runtime::Runtime,
    /// That the keeper speaks of.
    timeline: Arc<AtomicU32>,
    _keeper: Running,
}

/// A thread that ends when this is dropped.
struct Running {
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

impl Place {
    fn new(server: &TemporaryServer) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::Builder::new()
            .prefix("ms-bk-")
            .tempdir_in("/tmp")?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
        let timeline = Arc::new(AtomicU32::new(1));
        let (sight, keeper) = keeper(server, folder.path(), &timeline)?;
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("password"), "x")?;
        let config = BackupConfig {
            identity: Some(identity(folder.path(), "archiver-ledger")?),
            version: VERSION,
            platform: "test".to_owned(),
            database: "ledger".to_owned(),
            application: "postgres".to_owned(),
            host: "a".to_owned(),
            servers: vec![BackupServer {
                host: "a".to_owned(),
                sight,
                postgres: server.address(),
                local: None,
            }],
            folder: at("archiver"),
            run_folder: at("run"),
            key: at("key"),
            stores: vec![
                at("one").display().to_string(),
                at("two").display().to_string(),
            ],
            store_options: Vec::new(),
            credentials: None,
            limits: BackupLimits {
                backlog_bytes: BACKLOG,
                ..BackupLimits::default()
            },
            programs: None,
            user: account()?.map(|_| "postgres".to_owned()),
            password: at("password"),
            schedule: BackupSchedule {
                base_ms: 3_600_000,
                proof_ms: 86_400_000,
                log_ms: 300,
            },
            retention: BackupRetention {
                period_ms: 1,
                count: 1,
            },
            listen: Some(free_address(server.address().ip())?),
        };
        std::fs::create_dir(at("run"))?;
        std::fs::set_permissions(at("run"), std::fs::Permissions::from_mode(0o711))?;
        let path = at("config.json");
        std::fs::write(&path, serde_json::to_vec(&config)?)?;
        Ok(Self {
            config: path,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            folder,
            timeline,
            _keeper: keeper,
        })
    }

    /// No store takes anything.
    fn away(&self) -> Result<()> {
        for name in ["one", "two"] {
            let at = self.folder.path().join(name);
            std::fs::rename(&at, at.with_extension("away"))?;
            std::fs::write(at, "no folder")?;
        }
        Ok(())
    }

    fn back(&self) -> Result<()> {
        for name in ["one", "two"] {
            let at = self.folder.path().join(name);
            std::fs::remove_file(&at)?;
            std::fs::rename(at.with_extension("away"), at)?;
        }
        Ok(())
    }

    fn archive(&self) -> Running {
        let (end, ended) = tokio::sync::oneshot::channel();
        let config = self.config.clone();
        let thread = std::thread::spawn(move || {
            let end = async {
                ended.await.ok();
            };
            mainstay_backup::serve(&config, end).expect("the archiver serves");
        });
        Running {
            end: Some(end),
            thread: Some(thread),
        }
    }

    fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(work)
    }

    /// With the server's word for which archive it is.
    fn open(&self, config: &Path) -> Result<Archive> {
        self.block_on(async {
            let mut archive = Archive::load(config)?;
            let sources = Sources::look(&archive.config).await;
            join(&mut archive, sources.primary()?).await?;
            Ok(archive)
        })
    }

    /// By what lies in the stores alone.
    fn reopen(&self, config: &Path) -> Result<Archive> {
        self.block_on(async {
            let mut archive = Archive::load(config)?;
            archive.find(None).await?;
            Ok(archive)
        })
    }

    fn catalogue(&self, archive: &Archive) -> Result<Catalogue> {
        self.block_on(async { Ok(archive.catalogue().await?) })
    }

    fn wait_for_backup(&self, archive: &Archive, count: usize) -> Result<String> {
        wait_for("a base backup", PATIENCE, || {
            let catalogue = self.catalogue(archive).ok()?;
            let newest = catalogue.entries.first()?;
            (catalogue.entries.len() >= count).then(|| newest.record.id.clone())
        })
    }

    fn state(&self) -> Option<ArchiverState> {
        let bytes = std::fs::read(self.folder.path().join("archiver/state.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn wait_until_shipped(&self, written: &str) -> Result<()> {
        let written: mainstay_units::Lsn = written.parse().ok().context("no position")?;
        wait_for("the log to be archived", PATIENCE, || {
            let shipped: mainstay_units::Lsn = self.state()?.shipped_lsn?.parse().ok()?;
            (shipped >= written).then_some(())
        })
    }

    /// The first store alone, as it is now, with a configuration of its own.
    fn copy(&self, name: &str, key: Option<&Path>) -> Result<(PathBuf, PathBuf)> {
        let name = name.replace(' ', "-");
        let store = self.folder.path().join(&name);
        // The archiver goes on: what it takes away in the middle of a copy makes it none.
        wait_for("a copy of a whole archive", PATIENCE, || {
            if store.exists() {
                std::fs::remove_dir_all(&store).ok()?;
            }
            copy_folder(&self.folder.path().join("one"), &store).ok()
        })?;
        let mut config: BackupConfig = serde_json::from_slice(&std::fs::read(&self.config)?)?;
        config.stores = vec![store.display().to_string()];
        config.folder = self.folder.path().join(format!("{name}-own"));
        if let Some(key) = key {
            config.key = key.to_owned();
        }
        let path = self.folder.path().join(format!("{name}.json"));
        std::fs::write(&path, serde_json::to_vec(&config)?)?;
        Ok((path, store))
    }
}

/// One that was free a moment ago.
fn free_address(at: std::net::IpAddr) -> Result<std::net::SocketAddr> {
    Ok(std::net::TcpListener::bind((at, 0))?.local_addr()?)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Who a role of host `a` is, by an authority in the folder.
fn identity(folder: &Path, role: &str) -> Result<IdentityFiles> {
    let authority = Authority::new(&folder.join("authority"), "test");
    let name = identity_name(role, "a", "test");
    let leaf = authority.issue(&name, mainstay_rt::clock::wall_ms())?;
    let own = folder.join(format!("{role}.pem"));
    mainstay_rt::files::write_atomic(&own, leaf.pem.as_bytes())?;
    let roots = authority.roots();
    Ok(IdentityFiles { own, roots })
}

/// Says of the server what its keeper would, to those whom the authority named: the open primary of this timeline.
fn keeper(
    server: &TemporaryServer,
    folder: &Path,
    timeline: &Arc<AtomicU32>,
) -> Result<(std::net::SocketAddr, Running)> {
    let timeline = Arc::clone(timeline);
    let own = Identity::open(identity(folder, "keeper-ledger")?)?;
    let listener = std::net::TcpListener::bind((server.address().ip(), 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime.expect("a runtime"), async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            is_up.store(true, Ordering::Release);
            let serving = mainstay_identity::web::serve(listener, own, move |_| {
                let status = status(timeline.load(Ordering::Acquire));
                async move { mainstay_rt::http::json(http::StatusCode::OK, &status) }
            });
            tokio::select! {
                () = serving => {}
                _ = ended => {}
            }
        });
    });
    wait_for("the keeper's page", PATIENCE, || {
        up.load(Ordering::Acquire).then_some(())
    })?;
    let running = Running {
        end: Some(end),
        thread: Some(thread),
    };
    Ok((address, running))
}

fn status(timeline: u32) -> KeeperStatus {
    KeeperStatus {
        version: 1,
        platform: "test".to_owned(),
        sight: Sight {
            version: 1,
            database: "ledger".to_owned(),
            replica: 1,
            host: "a".to_owned(),
            region: "r".to_owned(),
            role: SightRole::Primary,
            term: 1,
            open: true,
            switchover: false,
            lease_remaining_ms: 1_000,
            lsn: "0/0".to_owned(),
            primary: Some("a".to_owned()),
            reason: "test".to_owned(),
        },
        paused: false,
        incarnation: String::new(),
        system_identifier: None,
        timeline,
        promised_term: 1,
        promised_to: None,
        cohort: CohortStatus::default(),
        peers: Vec::new(),
        solo: None,
        losses: Vec::new(),
        seeding: None,
        postmaster: None,
        events: Vec::new(),
        parameters: None,
        lineage: 0,
        left_behind: 0,
        not_understood: Vec::new(),
        refill_ordered: false,
    }
}
