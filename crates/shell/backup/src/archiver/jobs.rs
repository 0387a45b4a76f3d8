//! Base backups and proofs: when they are due, and done beside the log.

use std::path::Path;
use std::time::Duration;

use mainstay_archive::{Target, route};
use mainstay_record::backup::{ProofFailure, ProofSummary};
use mainstay_units::Instant;
use tokio::sync::oneshot;

use super::{Archiver, runtime};
use crate::alarms::Kind;
use crate::archive::{Archive, ArchiveError, Catalogue, Piece};
use crate::base::create;
use crate::chain;
use crate::marks;
use crate::programs::ProgramError;
use crate::prove::prove_due;
use crate::prune::prune;

const PLAN_EVERY: Duration = Duration::from_secs(15);
/// After a backup or a proof that failed.
const JOB_RETRY: Duration = Duration::from_secs(60);
/// Of what cannot be read, so much is named.
const NAMED_MAX: usize = 3;

/// What takes long and must not hold up the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Base,
    Proof,
}

impl Work {
    fn kind(self) -> Kind {
        match self {
            Self::Base => Kind::Base,
            Self::Proof => Kind::Proof,
        }
    }
}

/// What came of it.
enum Done {
    Made,
    /// With what the store that was read did not have whole, and how much of it was not put there again.
    Proven(Option<String>, u64),
    /// No backup has enough log after it yet.
    NotYet,
}

pub(super) struct Job {
    work: Work,
    done: oneshot::Receiver<Result<Done, String>>,
    /// The primary has left since it began: that it fails then says nothing of the archive.
    pub(super) is_of_before: bool,
}

impl Job {
    fn of_now(work: Work, done: oneshot::Receiver<Result<Done, String>>) -> Self {
        Self {
            work,
            done,
            is_of_before: false,
        }
    }
}

impl Archiver {
    pub(super) async fn see_to_jobs(&mut self) {
        let now = mainstay_rt::clock::now();
        if let Some(job) = &mut self.job {
            let work = job.work;
            match job.done.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                Ok(Ok(done)) => self.handle_done(done, now),
                Ok(Err(why)) if job.is_of_before => {
                    tracing::info!(?work, why, "begun before the primary left, and failed");
                }
                Ok(Err(why)) => self.handle_failed(work, why, now),
                Err(oneshot::error::TryRecvError::Closed) => {
                    let why = "it ended without a word; the archiver's log says why".to_owned();
                    self.handle_failed(work, why, now);
                }
            }
            self.job = None;
            self.plan_at = now;
        }
        if now < self.plan_at || now < self.job_at {
            return;
        }
        self.plan_at = now + PLAN_EVERY;
        if self.hole {
            self.begin(Work::Base);
            return;
        }
        match self.due().await {
            Ok(due) => {
                self.alarms.handle_right(Kind::Catalogue);
                if let Some(work) = due {
                    self.begin(work);
                }
            }
            Err(error) => {
                let what = format!("look into the archive: {}", chain(&error));
                self.alarm(Kind::Catalogue, &what);
            }
        }
    }

    fn handle_done(&mut self, done: Done, now: Instant) {
        if !matches!(done, Done::NotYet) {
            // Whatever was put or removed: whether every store has the same.
            self.compare_at = now;
        }
        match done {
            Done::Made => {
                self.figures.change().backups += 1;
                self.hole = false;
                self.alarms.handle_right(Kind::Hole);
                self.alarms.handle_right(Kind::Base);
            }
            Done::Proven(lacked, lacking) => {
                self.figures.change().proofs += 1;
                self.state.proof_failed = None;
                self.alarms.handle_right(Kind::Proof);
                match lacked {
                    Some(lacked) => {
                        self.alarm(Kind::Store, &lacked);
                        if lacking == 0 {
                            // Told once: it is all there again.
                            self.alarms.handle_right(Kind::Store);
                        }
                    }
                    None => self.alarms.handle_right(Kind::Store),
                }
            }
            // No backup has enough log after it to be proven by; nothing was put or removed.
            Done::NotYet => self.job_at = now + PLAN_EVERY,
        }
    }

    fn handle_failed(&mut self, work: Work, why: String, now: Instant) {
        self.compare_at = now;
        self.figures.change().failed_jobs += 1;
        self.job_at = now + JOB_RETRY;
        self.alarm(work.kind(), &format!("{work:?}: {why}"));
        if work == Work::Proof {
            let at_ms = mainstay_rt::clock::wall_ms();
            self.state.proof_failed = Some(ProofFailure { at_ms, why });
        }
    }

    async fn due(&mut self) -> Result<Option<Work>, ArchiveError> {
        let catalogue = self.archive.catalogue().await?;
        self.note_unreadable(&catalogue);
        self.note_proofs(&catalogue);
        let schedule = &self.archive.config.schedule;
        let now_ms = mainstay_rt::clock::wall_ms();
        let newest = catalogue.entries.first();
        self.figures.change().backup_ms = newest.map(|newest| newest.record.stopped_ms);
        let Some(newest) = newest else {
            return Ok(Some(Work::Base));
        };
        let is_old = newest.record.stopped_ms.saturating_add(schedule.base_ms) <= now_ms;
        let refused = route(&catalogue.shelf, &newest.base, Target::Latest);
        if let Err(refusal) = &refused {
            tracing::error!(backup = newest.record.id, %refusal, "the log does not go on from the newest backup");
        }
        if is_old || refused.is_err() {
            return Ok(Some(Work::Base));
        }
        // Somebody else may have made the one that failed here.
        self.alarms.handle_right(Kind::Base);
        let proofs = catalogue.entries.iter().flat_map(|entry| &entry.proofs);
        let full = proofs.filter(|proof| proof.is_full());
        let proven_ms = full.map(|proof| proof.at_ms).max().unwrap_or(0);
        let due = schedule.proof_ms > 0 && proven_ms.saturating_add(schedule.proof_ms) <= now_ms;
        Ok(due.then_some(Work::Proof))
    }

    fn note_unreadable(&mut self, catalogue: &Catalogue) {
        let unreadable: Vec<String> = catalogue
            .unreadable()
            .map(|damaged| format!("{}: {}", damaged.name, damaged.why))
            .collect();
        if unreadable.is_empty() {
            self.alarms.handle_right(Kind::Damaged);
            return;
        }
        let mut of_backups = catalogue.unreadable().map(|damaged| damaged.what);
        let kept = match of_backups.any(|what| what == Piece::Backup) {
            true => "; a backup is among it, so no log is thrown away",
            false => "",
        };
        let named: Vec<&str> = unreadable
            .iter()
            .take(NAMED_MAX)
            .map(String::as_str)
            .collect();
        let what = format!(
            "{} of what lies in the archive cannot be read, and is kept as it is{kept}: {}",
            unreadable.len(),
            named.join("; ")
        );
        self.alarm(Kind::Damaged, &what);
    }

    fn note_proofs(&mut self, catalogue: &Catalogue) {
        let proofs = || catalogue.entries.iter().flat_map(|entry| &entry.proofs);
        let newest = proofs().max_by_key(|proof| proof.restored_ms);
        self.state.proof = newest.map(|proof| ProofSummary {
            backup: proof.backup.clone(),
            at_ms: proof.at_ms,
            restored_ms: proof.restored_ms,
            rto_ms: proof.rto_ms,
            rpo_ms: proof.rpo_ms,
        });
        let last_ms = proofs().map(|proof| proof.at_ms).max();
        let failed_ms = self.state.proof_failed.as_ref().map(|failed| failed.at_ms);
        // Somebody proved one since, by hand or on another host.
        if failed_ms.is_some() && last_ms > failed_ms {
            self.state.proof_failed = None;
            self.alarms.handle_right(Kind::Proof);
        }
    }

    /// On a thread of its own, with an archive of its own.
    fn begin(&mut self, work: Work) {
        let (sender, done) = oneshot::channel();
        let config = self.config.clone();
        let spawned = std::thread::Builder::new()
            .name("job".to_owned())
            .spawn(move || {
                let done = runtime(&config)
                    .map_err(|error| chain(&error))
                    .and_then(|runtime| runtime.block_on(carry_out(&config, work)));
                // Whoever asked may be gone.
                sender.send(done).ok();
            });
        match spawned {
            Ok(_) => self.job = Some(Job::of_now(work, done)),
            Err(source) => {
                let tool = format!("{work:?}");
                let why = chain(&ProgramError::Start { tool, source });
                self.handle_failed(work, why, mainstay_rt::clock::now());
            }
        }
    }
}

async fn carry_out(config: &Path, work: Work) -> Result<Done, String> {
    let mut archive = Archive::load(config).map_err(|error| chain(&error))?;
    match work {
        Work::Base => make(&mut archive).await,
        Work::Proof => prove_one(&mut archive).await,
    }
}

async fn make(archive: &mut Archive) -> Result<Done, String> {
    let record = create(archive).await.map_err(|error| chain(&error))?;
    tracing::info!(
        backup = record.id,
        host = record.host,
        bytes = record.bytes,
        took_ms = record.stopped_ms.saturating_sub(record.started_ms),
        "base backup"
    );
    let catalogue = archive.catalogue().await.map_err(|error| chain(&error))?;
    // The backup is made, whatever becomes of older ones.
    match prune(archive, &catalogue, false).await {
        Ok(pruned) => {
            tracing::info!(removed = ?pruned.removed, segments = pruned.segments, "retention");
            if !pruned.unreadable.is_empty() {
                tracing::error!(
                    backups = ?pruned.unreadable,
                    "no log is thrown away while backups cannot be read: each may need any of it"
                );
            }
        }
        Err(error) => {
            tracing::error!(
                error = chain(&error),
                "retention; it is tried after the next backup"
            );
        }
    }
    Ok(Done::Made)
}

async fn prove_one(archive: &mut Archive) -> Result<Done, String> {
    let sources = crate::source::Sources::look(&archive.config).await;
    let primary = sources.primary().map_err(|error| chain(&error))?;
    let joined = marks::join(archive, primary).await;
    joined.map_err(|error| chain(&error))?;
    let catalogue = archive.catalogue().await.map_err(|error| chain(&error))?;
    let proof = prove_due(archive, &catalogue).await;
    let Some(proof) = proof.map_err(|error| chain(&error))? else {
        return Ok(Done::NotYet);
    };
    tracing::info!(
        backup = proof.backup,
        rto_ms = proof.rto_ms,
        rpo_ms = proof.rpo_ms,
        store = proof.store,
        "backup proven by restoring it"
    );
    Ok(Done::Proven(proof.lacked, proof.lacking))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use mainstay_record::backup::{
        BackupConfig, BackupLimits, BackupRetention, BackupSchedule, BackupServer, TOLD,
        ToldRecord, VERSION,
    };
    use mainstay_record::event::ArchiveDeedRecord;

    use super::*;

    /// Of a host whose keeper, server and programs say nothing.
    fn archiver(folder: &Path) -> Archiver {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["postgres", "pg_basebackup", "pg_verifybackup", "psql"] {
            let path = folder.join(name);
            std::fs::write(&path, "#!/bin/sh\nexit 1\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = nobody.local_addr().unwrap();
        let own = BackupServer {
            host: "a".to_owned(),
            sight: address,
            postgres: address,
            local: None,
        };
        let is_root = rustix::process::geteuid().is_root();
        let config = BackupConfig {
            version: VERSION,
            platform: "test".to_owned(),
            database: "ledger".to_owned(),
            application: "postgres".to_owned(),
            host: "a".to_owned(),
            servers: vec![own.clone()],
            folder: folder.join("own"),
            run_folder: folder.join("run"),
            key: folder.join("key"),
            stores: vec![folder.join("store").display().to_string()],
            store_options: Vec::new(),
            credentials: None,
            programs: Some(folder.to_owned()),
            user: is_root.then(|| "root".to_owned()),
            password: folder.join("password"),
            identity: None,
            schedule: BackupSchedule {
                base_ms: 1,
                proof_ms: 1,
                log_ms: 1,
            },
            retention: BackupRetention {
                period_ms: 1,
                count: 1,
            },
            limits: BackupLimits::default(),
            listen: None,
        };
        let archive = Archive::open(config).unwrap();
        Archiver::new(archive, own, folder.join("config.json"))
    }

    fn alarm(archiver: &mut Archiver) -> Option<String> {
        archiver.tell_alarms();
        archiver.keep_state();
        archiver.state.alarm.clone()
    }

    #[tokio::test]
    async fn what_failed_is_an_alarm_until_it_succeeds_or_another_host_sees_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut archiver = archiver(folder.path());
        let now = mainstay_rt::clock::now();
        archiver.handle_failed(Work::Base, "no standby".to_owned(), now);
        archiver.handle_failed(Work::Proof, "no room".to_owned(), now);
        let both = "Base: no standby; Proof: no room";
        assert_eq!(alarm(&mut archiver).as_deref(), Some(both));
        // The journal hears of each in its turn.
        let told = std::fs::read(folder.path().join("own").join(TOLD[2])).unwrap();
        let told: ToldRecord = serde_json::from_slice(&told).unwrap();
        let why = "Base: no standby".to_owned();
        assert_eq!(told.deed, ArchiveDeedRecord::Alarm { why });

        archiver.handle_done(Done::Made, now);
        assert_eq!(alarm(&mut archiver).as_deref(), Some("Proof: no room"));
        archiver.handle_done(Done::NotYet, now);
        assert!(archiver.state.proof_failed.is_some());
        let lacked = || Some("/two lacks it".to_owned());
        archiver.handle_done(Done::Proven(lacked(), 1), now);
        assert_eq!(alarm(&mut archiver).as_deref(), Some("/two lacks it"));
        assert_eq!(archiver.state.proof_failed, None);
        archiver.handle_done(Done::Proven(None, 0), now);
        assert_eq!(alarm(&mut archiver), None);
        archiver.handle_done(Done::Proven(lacked(), 0), now);
        assert_eq!(alarm(&mut archiver), None, "it is all there again");

        archiver.handle_failed(Work::Proof, "no room".to_owned(), now);
        archiver.stand_by().await;
        assert_eq!(alarm(&mut archiver), None);
        assert_eq!(archiver.state.proof_failed, None);
    }

    /// A base backup that was under way when the primary moved fails on the server that follows now. If the primary is back by then,
    /// that is no trouble of the archive's: another one is begun.
    #[tokio::test]
    async fn a_job_from_before_the_primary_left_calls_nobody() {
        for leaves in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let mut archiver = archiver(folder.path());
            archiver.job_at = mainstay_rt::clock::now() + Duration::from_secs(3_600);
            let (sender, done) = oneshot::channel();
            archiver.job = Some(Job::of_now(Work::Base, done));
            if leaves {
                archiver.stand_by().await;
            }
            assert!(sender.send(Err("in recovery".to_owned())).is_ok());
            archiver.see_to_jobs().await;
            let expected = (!leaves).then_some("Base: in recovery");
            assert_eq!(archiver.alarms.text().as_deref(), expected);
            assert!(archiver.job.is_none());
        }
    }

    /// A store may have missed parts of a backup, or what retention removed.
    #[tokio::test]
    async fn stores_are_compared_after_each_job() {
        let folder = tempfile::tempdir().unwrap();
        let mut archiver = archiver(folder.path());
        let later = mainstay_rt::clock::now() + Duration::from_secs(3_600);
        (archiver.compare_at, archiver.job_at) = (later, later);
        archiver.see_to_jobs().await;
        assert_eq!(archiver.compare_at, later);
        for outcome in [Ok(Done::Made), Err("no store".to_owned())] {
            archiver.compare_at = later;
            let (sender, done) = oneshot::channel();
            let work = Work::Base;
            archiver.job = Some(Job::of_now(work, done));
            archiver.see_to_jobs().await;
            assert_eq!(archiver.compare_at, later, "it is not over");
            assert!(sender.send(outcome).is_ok());
            archiver.see_to_jobs().await;
            assert!(archiver.compare_at < later);
            assert!(archiver.job.is_none());
        }
    }
}
