//! The newest backup is corrupted: rehearsed on a copy of the archive, in a place of its own.
//!
//! What is damaged is never the archive itself. A copy of its first store is made, one byte of the newest base backup in
//! the copy is flipped, and then the very code that would restore after a catastrophe is asked to: it must refuse the
//! damaged one with a reason, offer the next older proven one, and bring that back, compared with what was noted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use mainstay_backup::{Archive, Catalogue, Wanted, chain, create, offer, prove};
use mainstay_drill::document::Expect;
use mainstay_record::backup::{BackupConfig, ProofRecord};
use mainstay_record::drill::{MeasuredWord, MeasurementRecord, UnitWord};
use mainstay_rt::clock;

use super::load::Field;
use super::measure::{micros, missing, value};
use crate::backup::{archive_of, configs, own_folder};
use crate::exit::Failure;

const SOURCE: &str = "the restore";

/// Copies of archives, by database, and what was measured of them.
#[derive(Default)]
pub struct Archives {
    copies: BTreeMap<String, Copy>,
    pub measured: Vec<MeasurementRecord>,
}

struct Copy {
    store: PathBuf,
    newest: String,
    /// What is offered instead, once the damaged one was refused.
    offered: Option<String>,
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.context("start an event loop")
}

fn config(field: &Field<'_>, database: &str) -> Result<BackupConfig> {
    let found = configs(field.layout, database).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    found.into_iter().next().context("no host has an archiver")
}

/// How many base backups a database has.
pub fn backups(field: &Field<'_>, database: &str, proven: bool) -> Result<usize, Failure> {
    let catalogue = runtime()?.block_on(async {
        let (_, catalogue) = open(config(field, database)?).await?;
        Ok::<Catalogue, anyhow::Error>(catalogue)
    })?;
    let counts = |entry: &&mainstay_backup::Entry| !proven || !entry.proofs.is_empty();
    Ok(catalogue.entries.iter().filter(counts).count())
}

/// A base backup now; restored and compared, if that is wanted.
pub fn back_up(field: &Field<'_>, database: &str, is_proven: bool) -> Result<String> {
    runtime()?.block_on(async {
        let opened = archive_of(field.layout, database, None).await;
        let (mut archive, sources) = opened.map_err(|failure| anyhow::anyhow!("{failure}"))?;
        ensure!(
            sources.is_some(),
            "no keeper says that {database} has an open primary"
        );
        let made = create(&mut archive).await;
        let made = made.map_err(|error| anyhow::anyhow!(chain(&error)))?;
        if !is_proven {
            return Ok(format!("backup {} of {} bytes", made.id, made.bytes));
        }
        let catalogue = archive.catalogue().await;
        let catalogue = catalogue.map_err(|error| anyhow::anyhow!(chain(&error)))?;
        let proof = prove(&archive, &catalogue, Some(&made.id)).await;
        let proof = proof.map_err(|error| anyhow::anyhow!(chain(&error)))?;
        Ok(format!(
            "backup {} is proven: {}",
            made.id,
            proof.shown.join("; ")
        ))
    })
}

async fn open(config: BackupConfig) -> Result<(Archive, Catalogue)> {
    let mut archive = Archive::open(config).map_err(|error| anyhow::anyhow!(chain(&error)))?;
    let found = archive.find(None).await;
    found.map_err(|error| anyhow::anyhow!(chain(&error)))?;
    let catalogue = archive.catalogue().await;
    let catalogue = catalogue.map_err(|error| anyhow::anyhow!(chain(&error)))?;
    Ok((archive, catalogue))
}

impl Archives {
    /// Copies the store and flips a byte of the newest base backup; where, follows from the seed.
    pub fn corrupt(&mut self, field: &Field<'_>, database: &str) -> Result<String> {
        let config = config(field, database)?;
        let first = config.stores.first().context("the archive has no store")?;
        let store = PathBuf::from(first);
        ensure!(
            store.is_absolute(),
            "the first store is {first}: only a folder can be copied here"
        );
        let copy = field.folder.join(format!("{database}-store"));
        let files = copy_folder(&store, &copy)?;
        let aside = BackupConfig {
            stores: vec![copy.display().to_string()],
            ..config
        };
        let (_, catalogue) = runtime()?.block_on(open(aside))?;
        let newest = catalogue.entries.first().context("there is no backup")?;
        let newest = newest.record.id.clone();
        let (object, place) = flip(&copy, &newest, field.seed)?;
        let object = object
            .strip_prefix(&copy)
            .unwrap_or(&object)
            .display()
            .to_string();
        self.copies.insert(
            database.to_owned(),
            Copy {
                store: copy,
                newest: newest.clone(),
                offered: None,
            },
        );
        Ok(format!(
            "{files} objects copied; byte {place} of {object}, of backup {newest}, flipped in the copy"
        ))
    }

    pub fn restore(
        &mut self,
        field: &Field<'_>,
        database: &str,
        expect: Expect,
        services: &[String],
    ) -> Result<String> {
        let copy = self.copies.get_mut(database).context("no copy was made")?;
        // Scratch folders and what is told of proofs are not the archiver's own here.
        let own = own_folder(database);
        let aside = BackupConfig {
            stores: vec![copy.store.display().to_string()],
            folder: own.clone(),
            run_folder: own.join("run"),
            ..config(field, database)?
        };
        let done = runtime()?.block_on(async {
            let (archive, catalogue) = open(aside).await?;
            match expect {
                Expect::Refused => refused(&archive, &catalogue, copy).await,
                Expect::Restored => {
                    let (told, measured) = restored(&archive, &catalogue, copy, services).await?;
                    self.measured.push(measured);
                    Ok(told)
                }
            }
        });
        std::fs::remove_dir_all(&own).ok();
        done
    }
}

async fn refused(archive: &Archive, catalogue: &Catalogue, copy: &mut Copy) -> Result<String> {
    let began = clock::now();
    let Err(error) = prove(archive, catalogue, None).await else {
        bail!("the damaged backup {} was taken for sound", copy.newest);
    };
    let took = (clock::now() - began).as_millis();
    let said = chain(&error);
    let Some((older, reaches)) = offer(catalogue, &copy.newest, &Wanted::Latest) else {
        bail!("{said}; and no older backup is proven that could be offered");
    };
    if let Err(refusal) = reaches {
        bail!(
            "{said}; the next older proven one, {}, does not reach the end of the log: {refusal}",
            older.record.id
        );
    }
    copy.offered = Some(older.record.id.clone());
    Ok(format!(
        "{} is refused after {took} ms: {said}; offered instead: {}",
        copy.newest, older.record.id
    ))
}

async fn restored(
    archive: &Archive,
    catalogue: &Catalogue,
    copy: &Copy,
    services: &[String],
) -> Result<(String, MeasurementRecord)> {
    let offered = copy.offered.as_deref();
    let offered = offered.context("no older backup was offered before this step")?;
    let bytes = catalogue.entries.iter();
    let bytes = bytes
        .filter(|entry| entry.record.id == offered)
        .map(|entry| entry.record.bytes)
        .sum();
    let began = clock::now();
    let proof = prove(archive, catalogue, Some(offered)).await;
    let proof = proof.map_err(|error| anyhow::anyhow!(chain(&error)))?;
    let checked_us = micros(clock::now() - began);
    let told = format!("{offered} is restored: {}", proof.shown.join("; "));
    Ok((told, measurement(&proof, bytes, checked_us, services)))
}

fn measurement(
    proof: &ProofRecord,
    bytes: u64,
    checked_us: u64,
    services: &[String],
) -> MeasurementRecord {
    let lost_time = match proof.rpo_ms {
        Some(ms) => value("lost_time", ms.saturating_mul(1_000), UnitWord::Us, SOURCE),
        None => missing(
            "lost_time",
            UnitWord::Us,
            SOURCE,
            "no living primary told how much there was",
        ),
    };
    let uncounted = "marks tell the time that is lost, not its transactions";
    MeasurementRecord {
        measured: MeasuredWord::Restore,
        services: services.to_vec(),
        subject: proof.backup.clone(),
        values: vec![
            value(
                "rto",
                proof.rto_ms.saturating_mul(1_000),
                UnitWord::Us,
                SOURCE,
            ),
            lost_time,
            missing("lost", UnitWord::Transactions, SOURCE, uncounted),
            value("bytes", bytes, UnitWord::Bytes, SOURCE),
            value("checked", checked_us, UnitWord::Us, SOURCE),
        ],
        lists: BTreeMap::from([("shown".to_owned(), proof.shown.clone())]),
    }
}

/// Every file of a folder, in another; links are not followed.
fn copy_folder(from: &Path, to: &Path) -> Result<usize> {
    std::fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    let mut files = 0;
    let entries = std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", from.display()))?;
        let kind = entry.file_type().context("look at an object")?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            files += copy_folder(&source, &target)?;
        } else if kind.is_file() {
            match std::fs::copy(&source, &target) {
                Ok(_) => files += 1,
                // Retention and uploads go on meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("copy {}", source.display()));
                }
            }
        }
    }
    Ok(files)
}

/// The largest object of a backup, and the byte of it that was flipped.
fn flip(store: &Path, backup: &str, seed: u64) -> Result<(PathBuf, u64)> {
    let mut objects = BTreeSet::new();
    collect(store, backup, false, &mut objects)?;
    let (length, object) = objects
        .into_iter()
        .next_back()
        .context("the backup has no object")?;
    ensure!(length > 0, "the backup's largest object is empty");
    let mut bytes = std::fs::read(&object).with_context(|| format!("read {}", object.display()))?;
    // Spread over the object, the same for the same seed.
    let place = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) % length;
    let at = usize::try_from(place).context("the place of a byte")?;
    let byte = bytes
        .get_mut(at)
        .context("the object has changed its length")?;
    *byte ^= 1;
    std::fs::write(&object, bytes).with_context(|| format!("write {}", object.display()))?;
    Ok((object, place))
}

fn collect(
    folder: &Path,
    backup: &str,
    is_inside: bool,
    found: &mut BTreeSet<(u64, PathBuf)>,
) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry.context("read a copied store")?;
        let inside = is_inside || entry.file_name().to_string_lossy() == backup;
        let kind = entry.file_type().context("look at an object")?;
        if kind.is_dir() {
            collect(&entry.path(), backup, inside, found)?;
        } else if inside && kind.is_file() {
            let length = entry.metadata().context("look at an object")?.len();
            found.insert((length, entry.path()));
        }
    }
    Ok(())
}
