//! What an archive is asked although something of it is missing, unreadable or in the way: it says so, and gives what is left.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use mainstay_backup::{
    Archive, ArchiveError, MarkError, MasterKey, Piece, Sources, Wanted, chain, choose, name_point,
    prove, prune,
};
use mainstay_record::backup::{BackupConfig, ProofRecord};
use mainstay_testkit::wait::wait_for;

use crate::{PATIENCE, Place};

/// The archiver's own proof, the first there is: it stopped on the way, although nobody asked twice.
pub fn proven_by_itself(place: &Place, archive: &Archive, backup: &str) -> Result<()> {
    let proof = wait_for("the archiver's own proof", PATIENCE, || {
        let catalogue = place.catalogue(archive).ok()?;
        let entry = catalogue.entries.iter().find(|e| e.record.id == backup)?;
        entry.proofs.first().cloned()
    })
    .with_context(|| format!("the archiver: {:?}", place.state()))?;
    ensure!(proof.visited == Some(2), "{proof:?}");
    let one = place.folder.path().join("one").display().to_string();
    ensure!(proof.store.as_deref() == Some(&one), "{proof:?}");
    Ok(())
}

fn part_of_two(place: &Place, archive: &Archive, backup: &str) -> std::path::PathBuf {
    let part = archive.name(&format!("backups/{backup}/part-00000"));
    place.folder.path().join("two").join(part)
}

/// Half of what is there: its name says nothing of that.
pub fn cut_in_two(place: &Place, archive: &Archive, backup: &str) -> Result<()> {
    let part = part_of_two(place, archive, backup);
    let bytes = std::fs::read(&part)?;
    Ok(std::fs::write(&part, &bytes[..bytes.len() / 2])?)
}

/// The next proof reads the other store, says what that lacked, and it has it now.
pub fn is_whole_again(
    place: &Place,
    archive: &Archive,
    backup: &str,
    proof: &ProofRecord,
) -> Result<()> {
    let two = place.folder.path().join("two").display().to_string();
    let lacked = proof.lacked.as_deref().unwrap_or_default();
    ensure!(lacked.contains(&two), "{proof:?}");
    ensure!(
        proof.shown.iter().any(|shown| shown.contains("read from")),
        "{proof:?}"
    );
    let config = BackupConfig {
        stores: vec![two],
        folder: place.folder.path().join("two-own"),
        ..archive.config.clone()
    };
    place.block_on(async {
        let alone = Archive::open(config)?;
        let part = archive.name(&format!("backups/{backup}/part-00000"));
        alone.stores.get(&part).await?;
        Ok(())
    })
}

/// A name is given once; whoever takes it again is told that, and nothing of two servers.
pub fn point_is_taken(place: &Place, archive: &Archive, name: &str) -> Result<()> {
    let again = place.block_on(async {
        let sources = Sources::look(&archive.config).await;
        Ok(name_point(archive, sources.primary()?, name).await)
    })?;
    let Err(error) = again else {
        bail!("{name} was given twice");
    };
    ensure!(
        matches!(error, MarkError::PointTaken { .. }),
        "{}",
        chain(&error)
    );
    Ok(())
}

/// What is in the way or missing, each by itself.
pub fn are_said(place: &Place, archive: &Archive, first: &str, second: &str) -> Result<()> {
    server_keeps_its_room(place, archive, first)?;
    pieces_are_unreadable(place, archive, first, second)?;
    newest_is_not_guessed(place, archive)?;
    key_is_another(place)?;
    key_is_lost(place)
}

/// The disk holds the copy, but not with as much beside it as the server needs: nothing is laid down, and the reason is said.
fn server_keeps_its_room(place: &Place, archive: &Archive, backup: &str) -> Result<()> {
    let mut config = archive.config.clone();
    config.limits.reserve_bytes = u64::MAX / 2;
    let refused = place.block_on(async {
        let mut crowded = Archive::open(config)?;
        crowded.find(None).await?;
        let catalogue = crowded.catalogue().await?;
        Ok(prove(&crowded, &catalogue, Some(backup)).await)
    })?;
    let said = match refused {
        Ok(proof) => bail!("the server was left no room: {proof:?}"),
        Err(error) => chain(&error),
    };
    ensure!(
        said.contains("must stay free for the server beside it"),
        "{said}"
    );
    let scratch = archive.config.folder.join("scratch");
    let left = std::fs::read_dir(&scratch)?.count();
    ensure!(left == 0, "{left} copies are left in {}", scratch.display());
    Ok(())
}

/// A history, a point and a backup that cannot be read: each is named, the other backup comes back, and only the backup keeps log
/// from going.
fn pieces_are_unreadable(
    place: &Place,
    archive: &Archive,
    first: &str,
    second: &str,
) -> Result<()> {
    let (config, store) = place.copy("unreadable pieces", None)?;
    let at = |name: &str| store.join(archive.name(name));
    std::fs::write(at("wal/00000007.history"), "noise")?;
    std::fs::write(at("points/noise"), "noise")?;
    let damaged = place.reopen(&config)?;
    let found = |damaged: &Archive| -> Result<Vec<Piece>> {
        let catalogue = place.catalogue(damaged)?;
        ensure!(choose(&catalogue, &Wanted::Latest, Some(first)).is_ok());
        Ok(catalogue.unreadable().map(|piece| piece.what).collect())
    };
    ensure!(found(&damaged)? == [Piece::History, Piece::Point]);
    ensure!(kept_from_going(place, &damaged)?.is_empty());
    std::fs::write(at(&format!("backups/{second}/backup")), "noise")?;
    // A set that was never finished is none.
    std::fs::create_dir_all(at("backups/20990101T000000Z-0000"))?;
    std::fs::write(at("backups/20990101T000000Z-0000/part-00000"), "noise")?;
    ensure!(found(&damaged)? == [Piece::History, Piece::Backup, Piece::Point]);
    ensure!(kept_from_going(place, &damaged)? == [second]);
    Ok(())
}

fn kept_from_going(place: &Place, archive: &Archive) -> Result<Vec<String>> {
    let catalogue = place.catalogue(archive)?;
    place.block_on(async { Ok(prune(archive, &catalogue, true).await?.unreadable) })
}

/// Two archives side by side, as after a rebuild, and of one it cannot be seen which of them is newer: nobody guesses.
fn newest_is_not_guessed(place: &Place, archive: &Archive) -> Result<()> {
    let (config, store) = place.copy("two archives", None)?;
    let other = store.join("ledger/ffffffffffffffff");
    std::fs::create_dir(&other)?;
    std::fs::write(other.join("identity"), "noise")?;
    let found = |named: Option<&str>| {
        place.block_on(async {
            let mut archive = Archive::load(&config)?;
            let found = archive.find(named).await;
            Ok(found.map(|identity| identity.archive.clone()))
        })
    };
    match found(None)? {
        Err(error @ ArchiveError::Unsure { .. }) => {
            let said = chain(&error);
            for name in [archive.archive_name(), "ffffffffffffffff", "--archive"] {
                ensure!(said.contains(name), "{said}");
            }
        }
        other => bail!("the older one is taken: {other:?}"),
    }
    let named = found(Some(archive.archive_name()))?;
    ensure!(named.is_ok_and(|found| found == archive.archive_name()));
    Ok(())
}

/// A wrong key is called that, not damage.
fn key_is_another(place: &Place) -> Result<()> {
    let key = place.folder.path().join("another-key");
    MasterKey::read_or_create(&key)?;
    let (config, _) = place.copy("wrong key", Some(&key))?;
    let Err(error) = place.reopen(&config) else {
        bail!("a wrong key went unnoticed");
    };
    let said = format!("{error:#}");
    ensure!(said.contains("was sealed with key"), "{said}");
    Ok(())
}

/// A key that is gone is not replaced: whoever looks is told, and so is whoever would go on putting away.
fn key_is_lost(place: &Place) -> Result<()> {
    let gone = place.folder.path().join("gone-key");
    let (config, _) = place.copy("lost key", Some(&gone))?;
    for (who, lost) in [
        ("looks", place.reopen(&config)),
        ("puts", place.open(&config)),
    ] {
        let Err(error) = lost else {
            bail!("a key that is gone went unnoticed");
        };
        let said = format!("{error:#}");
        ensure!(said.contains("it is gone"), "{who}: {said}");
        ensure!(!gone.exists(), "{who}: another key is there");
    }
    // Where there is no archive yet one is drawn.
    let mut fresh: BackupConfig = serde_json::from_slice(&std::fs::read(&config)?)?;
    fresh.stores = vec![place.folder.path().join("fresh").display().to_string()];
    std::fs::write(&config, serde_json::to_vec(&fresh)?)?;
    place.open(&config)?;
    ensure!(gone.exists());
    readable_only_by_us(&gone)
}

fn readable_only_by_us(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)?.permissions().mode();
    ensure!(mode & 0o077 == 0, "{mode:o}");
    Ok(())
}
