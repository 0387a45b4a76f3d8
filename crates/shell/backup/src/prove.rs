//! The proof: what was put away is taken out, brought to life, and compared with what was noted before.
//!
//! Three places are visited in one go: the log is played to a *position* and stopped there, then to a *moment*, then to
//! its *end*. At the first two the marks say exactly what must be there and what must not: every mark that had been
//! committed before, and not the one that was planted there. At the end the copy is promoted and checked as a whole:
//! every page by `pg_amcheck`, the application's books, and how much is missing compared with the living database.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay_archive::{Route, Target, route};
use mainstay_record::backup::{MarkRecord, ProofRecord, VERSION};
use mainstay_record::event::{ArchiveDeedRecord, StoodRecord};
use mainstay_units::{Instant, Lsn};

use crate::archive::{Archive, ArchiveError, Catalogue, Entry, SUPERUSER, make_folder, tell};
use crate::books;
use crate::marks::{self, MarkError};
use crate::programs::{ProgramError, Programs};
use crate::restore::{RestoreError, Wanted, choose, claim, lay, leaves_room, millis, needed_bytes};
use crate::scratch::{Scratch, ScratchError, Then, Until};
use crate::seal::DataKey;
use crate::source::{OWN_DATABASE, Place, SourceError, Sources, value};

/// For what reads every page of a large database.
const CHECK_LIMIT: Duration = Duration::from_secs(6 * 60 * 60);
/// Marks come with the log; a database that commits nothing for so long after a backup plants none.
const MARKS_WITHIN_MS: u64 = 10 * 60 * 1_000;

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
    let trial = Trial {
        archive,
        entry,
        route,
        living,
    };
    trial.prove(last_read(catalogue)).await
}

/// As [`prove`], of the newest backup with enough log after it to stop on the way: right after a base backup that is the one
/// before it, and the log between both is played. `None` while no backup has; after some time the end of the newest one must do.
///
/// # Errors
/// When anything cannot be restored, or is not what was noted.
pub async fn prove_due(
    archive: &Archive,
    catalogue: &Catalogue,
) -> Result<Option<ProofRecord>, ProveError> {
    let living = living(archive).await;
    let (entry, route) = match ripe(catalogue, living.as_deref().unwrap_or_default()) {
        Some(ripe) => ripe,
        None if waits(archive, catalogue) => return Ok(None),
        None => choose(catalogue, &Wanted::Latest, None)?,
    };
    let trial = Trial {
        archive,
        entry,
        route,
        living,
    };
    trial.prove(last_read(catalogue)).await.map(Some)
}

/// The newest backup that can be proven on the way too, not at the end of the log only.
fn ripe<'a>(catalogue: &'a Catalogue, noted: &[MarkRecord]) -> Option<(&'a Entry, Route)> {
    catalogue.entries.iter().find_map(|entry| {
        let route = route(&catalogue.shelf, &entry.base, Target::Latest).ok()?;
        milestones(entry, noted, route.reaches)?;
        Some((entry, route))
    })
}

/// Marks may still come after the newest backup; and its end is not proven again and again while none do.
fn waits(archive: &Archive, catalogue: &Catalogue) -> bool {
    let now_ms = mainstay_rt::clock::wall_ms();
    let newest = catalogue.entries.first();
    let made_ms = newest.map_or(0, |entry| entry.record.stopped_ms);
    let proofs = catalogue.entries.iter().flat_map(|entry| &entry.proofs);
    let proven_ms = proofs.map(|proof| proof.at_ms).max().unwrap_or(0);
    let schedule = &archive.config.schedule;
    now_ms < made_ms.saturating_add(MARKS_WITHIN_MS)
        || now_ms < proven_ms.saturating_add(schedule.proof_ms)
}

/// The store that the newest proof was read from.
fn last_read(catalogue: &Catalogue) -> Option<&str> {
    let proofs = catalogue.entries.iter().flat_map(|entry| &entry.proofs);
    let newest = proofs
        .filter(|proof| proof.store.is_some())
        .max_by_key(|proof| proof.at_ms)?;
    newest.store.as_deref()
}

/// What is taken out, and what it is compared with.
struct Trial<'a> {
    archive: &'a Archive,
    entry: &'a Entry,
    route: Route,
    living: Option<Vec<MarkRecord>>,
}

/// What the copy said when it was alive.
struct Lived {
    taken: Duration,
    visited: u32,
    last: Option<MarkRecord>,
    lsn: String,
}

impl Trial<'_> {
    async fn prove(self, last_read: Option<&str>) -> Result<ProofRecord, ProveError> {
        let Self { archive, entry, .. } = self;
        let folder = ScratchFolder::claim(archive)?;
        let copied = needed_bytes(archive, entry, &self.route)?;
        let log = copied.saturating_sub(entry.record.bytes);
        folder.leaves_room(copied.saturating_add(log))?;
        let store = archive.stores.read_next_to(last_read);
        let mut shown = Vec::new();

        let began = mainstay_rt::clock::now();
        let programs = lay(archive, entry, &self.route, &folder.path).await?;
        let laid = since(began);
        // Had every host vanished now, this is what there would be.
        let read_ms = mainstay_rt::clock::wall_ms();
        shown.push(format!(
            "every part and segment opened with key {}, read from {store}, and pg_verifybackup found every file as the \
             server had it",
            archive.stores.fingerprint()
        ));
        let lacked = lacked(archive, store).await;
        let lacking = lacked.as_ref().map_or(0, |(_, lacking)| *lacking);
        let lacked = lacked.map(|(said, _)| said);
        shown.extend(lacked.clone());
        let lived = self.bring_to_life(&programs, &folder, &mut shown).await?;

        let at_ms = mainstay_rt::clock::wall_ms();
        let last_ms = lived.last.as_ref().map(|mark| mark.at_ms);
        let lost_ms = last_ms.map(|last_ms| read_ms.saturating_sub(last_ms));
        let proof = ProofRecord {
            version: VERSION,
            backup: entry.record.id.clone(),
            at_ms,
            restored_ms: last_ms.unwrap_or(entry.record.stopped_ms),
            timeline: self.route.timeline.0,
            lsn: lived.lsn,
            rto_ms: millis(laid + lived.taken),
            rpo_ms: self.living.and(lost_ms),
            shown,
            visited: Some(lived.visited),
            store: lacked.is_none().then(|| store.to_owned()),
            lacked,
            lacking,
        };
        note(archive, &proof).await?;
        Ok(proof)
    }

    async fn bring_to_life(
        &self,
        programs: &Programs,
        folder: &ScratchFolder,
        shown: &mut Vec<String>,
    ) -> Result<Lived, ProveError> {
        let (archive, entry) = (self.archive, self.entry);
        let run = &archive.config.run_folder;
        let sockets = run.join(format!("p{}", folder.id));
        let mut scratch = Scratch::new(programs, &folder.path, sockets)?;
        let noted = noted(entry, self.living.as_deref());
        let (mut taken, visited) = self.visit(&mut scratch, folder, &noted, shown).await?;
        folder.leaves_room(0)?;
        let began = mainstay_rt::clock::now();
        scratch
            .recover(self.route.timeline, &Until::End, Then::Promote)
            .await?;
        taken += since(began);
        let place = scratch.place();
        let last = at_the_end(archive, &scratch, &noted, shown).await?;
        check_pages(&scratch).await?;
        shown.push("pg_amcheck found every table and index of every database sound".to_owned());
        let action = "ask where it is";
        let lsn = value(programs, &place, OWN_DATABASE, action, END).await?;
        scratch.stop().await?;
        Ok(Lived {
            taken,
            visited,
            last,
            lsn,
        })
    }

    /// Plays the log to a position and to a moment; returns what the playing took, and at how many places it stopped.
    async fn visit(
        &self,
        scratch: &mut Scratch<'_>,
        folder: &ScratchFolder,
        noted: &[MarkRecord],
        shown: &mut Vec<String>,
    ) -> Result<(Duration, u32), ProveError> {
        let (mut taken, mut visited) = (Duration::ZERO, 0);
        let Some([first, second]) = milestones(self.entry, noted, self.route.reaches) else {
            let few = "too few marks lie in the log after the backup: it was not stopped at a position or a moment";
            shown.push(few.to_owned());
            return Ok((taken, visited));
        };
        let lsn: Lsn = crate::archive::lsn(&first.lsn, "a mark")?;
        let moment = crate::moment::show(second.at_ms);
        for (until, mark, what) in [
            (Until::Lsn(lsn), first, format!("position {lsn}")),
            (Until::Time(second.at_ms), second, moment),
        ] {
            folder.leaves_room(0)?;
            let began = mainstay_rt::clock::now();
            scratch
                .recover(self.route.timeline, &until, Then::Pause)
                .await?;
            taken += since(began);
            exactly_before(scratch, mark, noted).await?;
            visited += 1;
            shown.push(format!(
                "recovered to {what}: marks up to {} are there, and {} is not",
                mark.number - 1,
                mark.number
            ));
        }
        Ok((taken, visited))
    }
}

/// What the store that was read did not have whole, in words; and how much of it could not be put there again.
async fn lacked(archive: &Archive, store: &str) -> Option<(String, u64)> {
    let lacked = archive.stores.give_again().await?;
    let said = format!(
        "{store} did not have {} of the objects whole, and another store did; {} of them were put there again; the first: {}",
        lacked.objects, lacked.given, lacked.first
    );
    tracing::error!(said, "a store does not have what another has");
    Some((said, lacked.objects.saturating_sub(lacked.given)))
}

/// In the archive, and for the journal.
async fn note(archive: &Archive, proof: &ProofRecord) -> Result<(), ArchiveError> {
    let at_ms = proof.at_ms;
    let object = format!("backups/{}/proof-{at_ms:013}", proof.backup);
    archive
        .put(&archive.name(&object), proof, &DataKey::draw())
        .await?;
    let deed = ArchiveDeedRecord::BackupProven {
        backup: proof.backup.clone(),
        rto_ms: proof.rto_ms,
        rpo_ms: proof.rpo_ms,
        stood: Some(stood(archive)),
    };
    tell(archive, at_ms, deed);
    Ok(())
}

fn stood(archive: &Archive) -> StoodRecord {
    let host = archive.config.host.clone();
    let servers = &archive.config.servers;
    StoodRecord {
        beside_replica: servers.iter().any(|server| server.host == host),
        host,
    }
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
    let compared = books::compare(CHECK_LIMIT, programs, &place, application, totals);
    let (holds, wrong) = compared.await?;
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
    id: String,
    path: PathBuf,
    reserve: u64,
}

impl ScratchFolder {
    fn claim(archive: &Archive) -> Result<Self, RestoreError> {
        let own = archive.config.folder.join("scratch");
        // No two proofs of one process share a folder.
        static PROOFS: AtomicU32 = AtomicU32::new(0);
        let proof = PROOFS.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{proof}", std::process::id());
        // What an interrupted proof left is worth nothing; a process of before may have had our number.
        for entry in std::fs::read_dir(&own).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let owner = name.split('-').next().unwrap_or_default();
            if name == id || !std::path::Path::new("/proc").join(owner).exists() {
                std::fs::remove_dir_all(entry.path()).ok();
            }
        }
        make_folder(&own, 0o711)?;
        let path = own.join(&id);
        claim(&path)?;
        let reserve = archive.config.limits.reserve_bytes;
        Ok(Self { id, path, reserve })
    }

    fn leaves_room(&self, needed: u64) -> Result<(), RestoreError> {
        leaves_room(&self.path, needed, self.reserve)
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use mainstay_archive::{Base, Segment, SegmentSize, Shelf};
    use mainstay_record::backup::BackupRecord;
    use mainstay_units::Timeline;

    use super::*;

    const SIZE: SegmentSize = SegmentSize::DEFAULT;
    const SECOND: u64 = 1_000;

    /// Complete in the middle of that segment, at that second.
    fn entry(number: u64) -> Entry {
        let (start, stop) = (Lsn(number * SIZE.bytes()), Lsn(number * SIZE.bytes() + 100));
        let (id, stopped_ms) = (format!("b{number}"), number * SECOND);
        Entry {
            record: BackupRecord {
                version: VERSION,
                id: id.clone(),
                host: "a".to_owned(),
                standby: false,
                timeline: 1,
                start_lsn: start.to_string(),
                stop_lsn: stop.to_string(),
                started_ms: stopped_ms,
                stopped_ms,
                parts: 1,
                bytes: 1,
                sha256: String::new(),
                server_version: "15.1".to_owned(),
                mark: None,
            },
            base: Base {
                id,
                timeline: Timeline(1),
                start,
                stop,
                stopped_ms,
                proven_ms: None,
            },
            proofs: Vec::new(),
        }
    }

    /// One in the middle of each segment, half a second after a backup there.
    fn mark(number: u64) -> MarkRecord {
        MarkRecord {
            number,
            at_ms: number * SECOND + SECOND / 2,
            digest: String::new(),
            lsn: Lsn(number * SIZE.bytes() + 200).to_string(),
            totals: String::new(),
        }
    }

    fn catalogue(backups: &[u64], last: u64) -> Catalogue {
        let mut shelf = Shelf::new(SIZE);
        shelf.segments.extend((0..=last).map(|number| Segment {
            timeline: Timeline(1),
            number,
        }));
        Catalogue {
            entries: backups.iter().rev().map(|number| entry(*number)).collect(),
            damaged: Vec::new(),
            shelf,
            points: Vec::new(),
        }
    }

    #[test]
    fn what_is_proven_has_log_to_stop_in() {
        let marks: Vec<MarkRecord> = (1..=20).map(mark).collect();
        for (backups, last, due) in [
            // Right after a backup: the one before it, with all the log between.
            (&[2, 10][..], 11, Some("b2")),
            (&[2, 10], 12, Some("b10")),
            (&[2, 10], 20, Some("b10")),
            // The first one waits.
            (&[10], 11, None),
            (&[], 11, None),
        ] {
            let catalogue = catalogue(backups, last);
            let ripe = ripe(&catalogue, &marks);
            let found = ripe.map(|(entry, _)| entry.record.id.as_str());
            assert_eq!(found, due, "{backups:?} {last}");
        }
        assert!(ripe(&catalogue(&[2], 20), &[]).is_none(), "no marks");
    }

    #[test]
    fn the_stores_take_turns() {
        let mut catalogue = catalogue(&[2, 10], 12);
        assert_eq!(last_read(&catalogue), None);
        for (backup, at_ms, store) in [
            (0, 5, Some("/one")),
            (1, 7, Some("/two")),
            // Another one helped out: that store has its turn still.
            (0, 9, None),
        ] {
            catalogue.entries[backup].proofs.push(ProofRecord {
                version: VERSION,
                backup: String::new(),
                at_ms,
                restored_ms: at_ms,
                timeline: 1,
                lsn: String::new(),
                rto_ms: 1,
                rpo_ms: None,
                shown: Vec::new(),
                visited: Some(2),
                store: store.map(str::to_owned),
                lacked: None,
                lacking: 0,
            });
        }
        assert_eq!(last_read(&catalogue), Some("/two"));
    }
}
