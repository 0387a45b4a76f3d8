//! The proof: what was put away is taken out, brought to life, and compared with what was noted before.
//!
//! Three places are visited in one go: the log is played to a *position* and stopped there, then to a *moment*, then to
//! its *end*. At the first two the marks say exactly what must be there and what must not: every mark that had been
//! committed before, and not the one that was planted there. At the end the copy is promoted and checked as a whole:
//! every page by `pg_amcheck`, the application's books, and how much is missing compared with the living database.

use std::path::PathBuf;
use std::time::Duration;

use mainstay_archive::Route;
use mainstay_record::backup::{MarkRecord, ProofRecord, VERSION};
use mainstay_record::event::{ArchiveDeedRecord, StoodRecord};
use mainstay_units::{Instant, Lsn};

use crate::archive::{Archive, ArchiveError, Catalogue, Entry, SUPERUSER, make_folder, tell};
use crate::books;
use crate::marks::{self, MarkError};
use crate::programs::ProgramError;
use crate::restore::{RestoreError, Wanted, choose, claim, lay, millis};
use crate::scratch::{Scratch, ScratchError, Then, Until};
use crate::seal::DataKey;
use crate::source::{OWN_DATABASE, Place, SourceError, Sources, value};

const CHECK_LIMIT: Duration = Duration::from_secs(6 * 60 * 60);

#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    #[error(transparent)]
    Mark(#[from] MarkError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("check every page of the restored copy")]
    Check(#[source] ProgramError),
    #[error("the restored copy is not what was noted: {}", broken.join("; "))]
    Broken { broken: Vec<String> },
}

/// Restores a backup (the newest that reaches the end of the log, or the one named), compares, and notes the proof in
/// the archive.
///
/// # Errors
/// When anything cannot be restored, or is not what was noted.
pub async fn prove(
    archive: &Archive,
    catalogue: &Catalogue,
    backup: Option<&str>,
) -> Result<ProofRecord, ProveError> {
    let living = living(archive).await;
    let (entry, route) = choose(catalogue, &Wanted::Latest, backup)?;
    let folder = ScratchFolder::claim(archive)?;
    let mut taken = Duration::ZERO;
    let mut shown = Vec::new();

    let began = mainstay_rt::clock::now();
    let programs = lay(archive, entry, &route, &folder.path).await?;
    taken += since(began);
    // Had every host vanished now, this is what there would be.
    let read_ms = mainstay_rt::clock::wall_ms();
    let from_store = archive.stores.addresses().len();
    shown.push(format!(
        "every part and segment opened with key {} ({from_store} store(s)), and pg_verifybackup found every file as \
         the server had it",
        archive.stores.fingerprint()
    ));
    let sockets = archive
        .config
        .run_folder
        .join(format!("p{}", std::process::id()));
    let mut scratch = Scratch::new(&programs, &folder.path, sockets)?;
    let noted = noted(entry, living.as_deref());
    taken += visit(&mut scratch, entry, &route, &noted, &mut shown).await?;
    let began = mainstay_rt::clock::now();
    scratch
        .recover(route.timeline, &Until::End, Then::Promote)
        .await?;
    taken += since(began);
    let place = scratch.place();
    let last = at_the_end(archive, &scratch, &noted, &mut shown).await?;
    check_pages(&scratch).await?;
    shown.push("pg_amcheck found every table and index of every database sound".to_owned());
    let action = "ask where it is";
    let lsn = value(&programs, &place, OWN_DATABASE, action, END).await?;
    scratch.stop().await?;
    drop(scratch);

    let at_ms = mainstay_rt::clock::wall_ms();
    let last_ms = last.as_ref().map(|mark| mark.at_ms);
    let proof = ProofRecord {
        version: VERSION,
        backup: entry.record.id.clone(),
        at_ms,
        restored_ms: last_ms.unwrap_or(entry.record.stopped_ms),
        timeline: route.timeline.0,
        lsn,
        rto_ms: millis(taken),
        rpo_ms: living
            .and(last_ms)
            .map(|last_ms| read_ms.saturating_sub(last_ms)),
        shown,
    };
    let object = format!("backups/{}/proof-{at_ms:013}", proof.backup);
    archive
        .put(&archive.name(&object), &proof, &DataKey::draw())
        .await?;
    let deed = ArchiveDeedRecord::BackupProven {
        backup: proof.backup.clone(),
        rto_ms: proof.rto_ms,
        rpo_ms: proof.rpo_ms,
        stood: Some(stood(archive)),
    };
    tell(archive, at_ms, deed);
    Ok(proof)
}

fn stood(archive: &Archive) -> StoodRecord {
    let host = archive.config.host.clone();
    let servers = &archive.config.servers;
    StoodRecord {
        beside_replica: servers.iter().any(|server| server.host == host),
        host,
    }
}

/// Plays the log to a position and to a moment; returns what the playing took.
async fn visit(
    scratch: &mut Scratch<'_>,
    entry: &Entry,
    route: &Route,
    noted: &[MarkRecord],
    shown: &mut Vec<String>,
) -> Result<Duration, ProveError> {
    let mut taken = Duration::ZERO;
    let Some([first, second]) = milestones(entry, noted, route.reaches) else {
        return Ok(taken);
    };
    let lsn: Lsn = crate::archive::lsn(&first.lsn, "a mark")?;
    let moment = crate::moment::show(second.at_ms);
    for (until, mark, what) in [
        (Until::Lsn(lsn), first, format!("position {lsn}")),
        (Until::Time(second.at_ms), second, moment),
    ] {
        let began = mainstay_rt::clock::now();
        scratch.recover(route.timeline, &until, Then::Pause).await?;
        taken += since(began);
        exactly_before(scratch, mark, noted).await?;
        shown.push(format!(
            "recovered to {what}: marks up to {} are there, and {} is not",
            mark.number - 1,
            mark.number
        ));
    }
    Ok(taken)
}

const END: &str = "SELECT pg_current_wal_lsn()";

fn since(began: Instant) -> Duration {
    mainstay_rt::clock::now().since(began)
}

/// What the living database says, to compare with; `None` if it does not answer.
async fn living(archive: &Archive) -> Option<Vec<MarkRecord>> {
    let sources = Sources::look(&archive.config).await;
    let primary = sources.primary().ok()?;
    let place = Place::of(archive, &primary.server);
    marks::read(&archive.programs, &place).await.ok()
}

/// What must be found again: the living database's marks, or the one that the backup noted.
fn noted(entry: &Entry, living: Option<&[MarkRecord]>) -> Vec<MarkRecord> {
    match living {
        Some(living) => living.to_vec(),
        None => entry.record.mark.iter().cloned().collect(),
    }
}

/// Two marks that were planted after the copy was complete and that the archived log passes, far apart.
fn milestones<'a>(
    entry: &Entry,
    noted: &'a [MarkRecord],
    reaches: Lsn,
) -> Option<[&'a MarkRecord; 2]> {
    let within: Vec<&MarkRecord> = noted
        .iter()
        .filter(|mark| {
            let lsn: Option<Lsn> = mark.lsn.parse().ok();
            let later = mark.at_ms > entry.record.stopped_ms;
            lsn.is_some_and(|lsn| later && lsn > entry.base.stop && lsn < reaches)
        })
        .collect();
    // The last one may be cut off by the end of the log, and then nothing would lie beyond the target.
    let (_, within) = within.split_last()?;
    match within {
        [first, .., last] => Some([first, last]),
        [] | [_] => None,
    }
}

async fn exactly_before(
    scratch: &Scratch<'_>,
    mark: &MarkRecord,
    noted: &[MarkRecord],
) -> Result<(), ProveError> {
    let found = marks::read(scratch.programs(), &scratch.place()).await?;
    let last = found.last().map_or(0, |mark| mark.number);
    let mut broken = differences(&found, noted);
    if last + 1 != mark.number {
        broken.push(format!(
            "recovered to where mark {} was planted, the last mark is {last}",
            mark.number
        ));
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(ProveError::Broken { broken })
    }
}

/// Marks that both know and that differ, and marks that are missing in between.
fn differences(found: &[MarkRecord], noted: &[MarkRecord]) -> Vec<String> {
    let last = found.last().map_or(0, |mark| mark.number);
    let first = found.first().map_or(0, |mark| mark.number);
    let due = noted
        .iter()
        .filter(|mark| (first..=last).contains(&mark.number));
    due.filter(|mark| !found.contains(mark))
        .map(|mark| format!("mark {} is missing or altered", mark.number))
        .collect()
}

async fn at_the_end(
    archive: &Archive,
    scratch: &Scratch<'_>,
    noted: &[MarkRecord],
    shown: &mut Vec<String>,
) -> Result<Option<MarkRecord>, ProveError> {
    let (programs, place) = (scratch.programs(), scratch.place());
    let found = marks::read(programs, &place).await?;
    let mut broken = differences(&found, noted);
    let last = found.last().cloned();
    if let (None, Some(first)) = (&last, noted.first()) {
        broken.push(format!(
            "mark {} was noted, and there is none",
            first.number
        ));
    }
    let totals = last.as_ref().map_or("", |mark| mark.totals.as_str());
    let application = &archive.config.application;
    let (holds, wrong) = books::compare(programs, &place, application, totals).await?;
    broken.extend(wrong);
    if !broken.is_empty() {
        return Err(ProveError::Broken { broken });
    }
    if let Some(last) = &last {
        shown.push(format!(
            "recovered to the end of the log: {} marks up to {}, each with the digest that was noted",
            found.len(),
            last.number
        ));
    }
    shown.extend(holds);
    Ok(last)
}

async fn check_pages(scratch: &Scratch<'_>) -> Result<(), ProveError> {
    let folder = scratch.sockets().display().to_string();
    let mut arguments = vec!["--host", &folder, "--port", "5432", "--username", SUPERUSER];
    arguments.extend(["--no-password", "--all", "--install-missing"]);
    let programs = scratch.programs();
    let checked = programs.run("pg_amcheck", &arguments, CHECK_LIMIT);
    checked.await.map(drop).map_err(ProveError::Check)
}

/// Where the copy is brought to life; removed with everything in it.
struct ScratchFolder {
    path: PathBuf,
}

impl ScratchFolder {
    fn claim(archive: &Archive) -> Result<Self, RestoreError> {
        let own = archive.config.folder.join("scratch");
        // What an interrupted proof left is worth nothing.
        for entry in std::fs::read_dir(&own).into_iter().flatten().flatten() {
            let owner = entry.file_name();
            if !std::path::Path::new("/proc").join(owner).exists() {
                std::fs::remove_dir_all(entry.path()).ok();
            }
        }
        make_folder(&own, 0o711)?;
        let path = own.join(std::process::id().to_string());
        claim(&path)?;
        Ok(Self { path })
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).ok();
    }
}
