//! The archiver: one beside each replica, at work where the primary is.
//!
//! Like the venue it follows the primary: each asks its own keeper, and the one whose server is the open primary
//! receives the log, carries it into the stores, plants marks, and sees to base backups and proofs when they are due.
//! Nothing is lost when it moves: the archive itself says where to go on. The others make sure that no slot of theirs
//! keeps log that nobody will fetch.
//!
//! It needs no node, kernel or journal, and nothing waits for it: if it stands still, the database goes on, and the
//! alarm says what is not safe any more.

mod jobs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use mainstay_archive::{Segment, SegmentSize, in_turn};
use mainstay_record::backup::{ArchiverState, BackupServer, VERSION};
use mainstay_record::event::ArchiveDeedRecord;
use mainstay_record::keeper::KeeperStatus;
use mainstay_units::{Instant, Lsn, Timeline};

use self::jobs::Job;
use crate::alarms::{Alarms, Kind};
use crate::archive::{
    Archive, ArchiveError, parse_history_name, parse_partial, partial_name, tell,
};
use crate::base::warn_of;
use crate::chain;
use crate::figures::Figures;
use crate::handed;
use crate::marks;
use crate::receiver::{End, Receiver, ReceiverError};
use crate::seal::DataKey;
use crate::slots;
use crate::source::{Found, Place, Sources, is_open_primary, status_of};
use crate::spool;
use crate::store::StoreError;
use crate::waiting::Waiting;

const LOOK_EVERY: Duration = Duration::from_millis(250);
const MARK_LIMIT: Duration = Duration::from_secs(5);
/// After a receiver ended or could not be started.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const STATE_EVERY: Duration = Duration::from_secs(2);
/// While a store lacks something.
const LEVEL_EVERY: Duration = Duration::from_secs(5);
/// Whether one does; beside that after each backup, proof or removal.
const COMPARE_EVERY: Duration = Duration::from_secs(60 * 60);
const SLOT_EVERY: Duration = Duration::from_secs(30);

/// `mainstay archiver --config FILE`: until it is told to end.
pub fn run(config: &Path) -> ExitCode {
    let done = serve(config, async {
        let kind = tokio::signal::unix::SignalKind::terminate();
        match tokio::signal::unix::signal(kind) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(error) => tracing::error!(%error, "listen for SIGTERM"),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(&error), config = %config.display(), "archive the log");
            ExitCode::FAILURE
        }
    }
}

/// Archives until `end` comes.
///
/// # Errors
/// When the configuration, the key, the programs or the stores cannot be used.
pub fn serve(config: &Path, end: impl Future<Output = ()>) -> Result<(), ArchiveError> {
    let archive = Archive::load(config)?;
    let own = archive
        .config
        .servers
        .iter()
        .find(|server| server.host == archive.config.host)
        .cloned()
        .ok_or_else(|| ArchiveError::Content {
            what: config.display().to_string(),
            why: "its own host is none of the servers".to_owned(),
        })?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime(config)?, async {
        let mut archiver = Archiver::new(archive, own, config.to_owned());
        let door = archiver.archive.config.clone();
        let door = archiver.figures.clone().answer(&door);
        tokio::select! {
            () = archiver.live() => {}
            () = door => {}
            () = end => {}
        }
    });
    Ok(())
}

fn runtime(config: &Path) -> Result<tokio::runtime::Runtime, ArchiveError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ArchiveError::io("start an event loop for", config))
}

struct Archiver {
    archive: Archive,
    own: BackupServer,
    config: PathBuf,
    receiver: Option<Receiver>,
    /// The last receiver found a hole: begin with what the server has.
    anew: bool,
    /// No base backup was made since.
    hole: bool,
    /// Split brain: nothing more is put until somebody has looked.
    halted: bool,
    state: ArchiverState,
    /// The last full one.
    shipped: Option<Segment>,
    partial: Option<(Segment, u64)>,
    job: Option<Job>,
    alarms: Alarms,
    retry_at: Instant,
    log_at: Instant,
    plan_at: Instant,
    job_at: Instant,
    state_at: Instant,
    slot_at: Instant,
    level_at: Instant,
    compare_at: Instant,
    /// A store lacks something that another has.
    uneven: bool,
    waiting: Waiting,
    figures: Figures,
}

impl Archiver {
    fn new(archive: Archive, own: BackupServer, config: PathBuf) -> Self {
        let zero = Instant::ZERO;
        Self {
            archive,
            own,
            config,
            receiver: None,
            anew: false,
            hole: false,
            halted: false,
            state: ArchiverState {
                version: VERSION,
                ..ArchiverState::default()
            },
            shipped: None,
            partial: None,
            job: None,
            alarms: Alarms::default(),
            retry_at: zero,
            log_at: zero,
            plan_at: zero,
            job_at: zero,
            state_at: zero,
            slot_at: zero,
            level_at: zero,
            compare_at: zero,
            uneven: true,
            waiting: Waiting::default(),
            figures: Figures::default(),
        }
    }

    fn place(&self) -> Place {
        Place::of(&self.archive, &self.own)
    }

    async fn live(&mut self) {
        if let Err(error) = handed::install(&self.archive) {
            tracing::warn!(error = chain(&error), "the log has no second path");
        }
        loop {
            let status = status_of(&self.archive.config, &self.own).await.ok();
            let primary = status.filter(is_open_primary);
            self.figures.change().at_work = primary.is_some();
            match primary {
                Some(status) if !self.halted => self.serve(status).await,
                Some(_) | None => self.stand_by().await,
            }
            self.tell_alarms();
            self.keep_state();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn stand_by(&mut self) {
        if self.receiver.take().is_some() {
            tracing::info!("the primary is elsewhere: the log is received there");
        }
        if let Some(job) = &mut self.job {
            job.is_of_before = true;
        }
        self.partial = None;
        self.state.receiving = false;
        self.waiting.forget();
        // What is wrong with the archive is said by whoever looks after it.
        self.alarms.handle_left();
        self.state.lacking = None;
        self.state.proof_failed = None;
        let now = mainstay_rt::clock::now();
        if now >= self.slot_at && !self.halted {
            self.slot_at = now + SLOT_EVERY;
            if let Err(error) = self.keep_as_the_primary().await {
                tracing::debug!(error = chain(&error), "keep log as the primary does");
            }
        }
    }

    /// Whoever is promoted has what no store has yet.
    async fn keep_as_the_primary(&self) -> Result<(), ReceiverError> {
        let own = self.place();
        slots::leave(&self.archive, &own).await?;
        let sources = Sources::look(&self.archive.config).await;
        let primary = sources.primary()?;
        if primary.server.host == self.own.host {
            return Ok(());
        }
        let primary = Place::of(&self.archive, &primary.server);
        if let Some((stored, size)) = slots::follow(&self.archive, &primary, &own).await? {
            // Of a time when this one was primary.
            handed::forget_before(&self.archive, stored, size)?;
        }
        Ok(())
    }

    async fn serve(&mut self, status: KeeperStatus) {
        let now = mainstay_rt::clock::now();
        let timeline = Timeline(status.timeline);
        if let Ok(written) = status.sight.lsn.parse() {
            self.waiting
                .handle_written(written, mainstay_rt::clock::wall_ms());
        }
        let found = Found {
            server: self.own.clone(),
            status,
        };
        let other = self
            .receiver
            .as_ref()
            .is_some_and(|r| r.timeline != timeline);
        if other {
            self.receiver = None;
        }
        let end = match &mut self.receiver {
            Some(receiver) => receiver.ended().await.map(|end| (end, receiver.first)),
            None => None,
        };
        if let Some((end, first)) = end {
            self.receiver = None;
            self.retry_at = now + RETRY_AFTER;
            match end {
                End::Hole(said) if !self.goes_on(first) => self.begin_beyond(&said),
                End::Hole(said) | End::Other(said) => {
                    tracing::warn!(said, "the receiver ended; it is started again");
                }
            }
        }
        if self.receiver.is_none() && now >= self.retry_at {
            self.retry_at = now + RETRY_AFTER;
            match self.receive(&found, timeline).await {
                Ok(()) => {
                    self.alarms.handle_right(Kind::Receive);
                    self.alarms.handle_right(Kind::SplitBrain);
                }
                Err(error) => {
                    let kind = match error.is_conflict() {
                        true => Kind::SplitBrain,
                        false => Kind::Receive,
                    };
                    self.alarm(kind, &format!("receive the log: {}", chain(&error)));
                }
            }
        }
        self.state.receiving = self.receiver.is_some();
        if self.receiver.is_none() {
            return;
        }
        if self.gives_up() {
            return;
        }
        match self.ship(&found).await {
            Ok(()) => self.alarms.handle_right(Kind::Carry),
            Err(error) => {
                self.halted = matches!(error, ArchiveError::Store(StoreError::Conflict { .. }));
                self.figures.change().store_errors +=
                    u64::from(matches!(error, ArchiveError::Store(_)));
                let kind = match self.halted {
                    true => Kind::SplitBrain,
                    false => Kind::Carry,
                };
                self.alarm(kind, &format!("carry the log away: {}", chain(&error)));
            }
        }
        self.see_to_jobs().await;
    }

    /// Log that no store takes must not fill the disk that the database writes to: beyond the limit it is thrown away, and the
    /// archive begins anew behind the hole.
    fn gives_up(&mut self) -> bool {
        let waiting = spool::bytes(&self.archive);
        let limit = self.archive.config.limits.backlog_bytes;
        if waiting <= limit {
            return false;
        }
        self.receiver = None;
        self.state.receiving = false;
        self.retry_at = mainstay_rt::clock::now() + RETRY_AFTER;
        if let Err(error) = spool::clear(&spool::path(&self.archive)) {
            tracing::error!(%error, "clear the spool");
        }
        self.begin_beyond(&format!(
            "{waiting} bytes of log waited for a store, and the limit is {limit}: they are given up"
        ));
        true
    }

    /// The server does not have what comes next: whether a receiver that starts again does. Either the last one came farther than the
    /// segment that it began with, or that one was handed over.
    fn goes_on(&self, first: Option<Segment>) -> bool {
        let (Some(first), Ok(size)) = (first, self.archive.size()) else {
            return false;
        };
        let came_farther = (self.shipped).is_some_and(|shipped| shipped.number >= first.number)
            || spool::path(&self.archive).join(first.name(size)).exists();
        came_farther || handed::has(&self.archive, first, size)
    }

    fn begin_beyond(&mut self, said: &str) {
        self.anew = true;
        self.hole = true;
        self.plan_at = Instant::ZERO;
        let what = format!("the archive has a hole, a new base backup follows: {said}");
        self.alarm(Kind::Hole, &what);
    }

    async fn receive(&mut self, found: &Found, timeline: Timeline) -> Result<(), ReceiverError> {
        marks::join(&mut self.archive, found).await?;
        spool::own(&self.archive)?;
        if self.anew {
            // What lies before the hole was received; it leads nobody across.
            self.ship_full().await?;
        }
        let place = self.place();
        let receiver = Receiver::start(&self.archive, &place, timeline, self.anew).await?;
        let size = self.archive.size().map_err(ReceiverError::from)?;
        tracing::info!(
            timeline = timeline.0,
            archived = receiver.archived.map(|segment| segment.name(size)),
            archive = self.archive.archive_name(),
            "receiving the log"
        );
        self.waiting.handle_shipped(match receiver.archived {
            Some(segment) => segment.end(size),
            // Nothing is archived yet; what counts begins with the segment that is being written.
            None => {
                let written: Lsn = found.status.sight.lsn.parse().unwrap_or_default();
                Lsn(written.0 - written.0 % size.bytes())
            }
        });
        self.shipped = receiver.archived;
        self.receiver = Some(receiver);
        self.anew = false;
        self.partial = None;
        if let Some(segment) = self.shipped {
            self.release(segment).await?;
        }
        Ok(())
    }

    /// Full segments as they come; marks and the beginning of the next segment every now and then.
    async fn ship(&mut self, found: &Found) -> Result<(), ArchiveError> {
        self.ship_full().await?;
        let now = mainstay_rt::clock::now();
        if now >= self.log_at {
            self.log_at = now + Duration::from_millis(self.archive.config.schedule.log_ms);
            self.ship_partial().await?;
            // A commit waits for its quorum; the log that is there does not.
            let planted = marks::write_mark(&self.archive, found);
            match tokio::time::timeout(MARK_LIMIT, planted).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(error = chain(&error), "plant a mark"),
                Err(_) => tracing::warn!(limit = ?MARK_LIMIT, "plant a mark: not committed"),
            }
        }
        if (self.uneven && now >= self.level_at) || now >= self.compare_at {
            self.level().await?;
        }
        Ok(())
    }

    async fn ship_full(&mut self) -> Result<(), ArchiveError> {
        let before = self.shipped;
        let done = self.ship_spooled().await;
        if let Some(last) = self.shipped.filter(|_| self.shipped != before) {
            self.release(last).await?;
        }
        done
    }

    /// A store has the segment: the server need keep it no longer. If it does nevertheless, the next one tells it again.
    async fn release(&self, stored: Segment) -> Result<(), ArchiveError> {
        let size = self.archive.size()?;
        let end = stored.end(size);
        if let Err(error) = handed::note_stored(&self.archive, stored, size) {
            tracing::warn!(error = chain(&error), "what was handed over stays");
        }
        if let Err(error) = slots::release(&self.archive, &self.place(), end).await {
            tracing::warn!(error = chain(&error), "let the server go of log");
        }
        Ok(())
    }

    async fn ship_spooled(&mut self) -> Result<(), ArchiveError> {
        let size = self.archive.size()?;
        let names = spool::names(&self.archive)?;
        let full: BTreeMap<Segment, String> = names
            .iter()
            .filter_map(|name| Some((Segment::parse(name, size)?, name.clone())))
            .collect();
        for name in names
            .iter()
            .filter(|name| parse_history_name(name).is_some())
        {
            self.put_file(name, name, None).await?;
            self.forget(name)?;
        }
        let newest = full.keys().max_by_key(|s| (s.number, s.timeline)).copied();
        if self.lacks_one(&full, size) {
            return Ok(());
        }
        for segment in in_turn(self.shipped, &full.keys().copied().collect()) {
            let name = segment.name(size);
            self.put_file(&name, &name, None).await?;
            self.figures.change().segments += 1;
            self.shipped = Some(segment);
            self.reached(segment.end(size));
            self.drop_partials(segment).await?;
        }
        let Some(shipped) = self.shipped else {
            return Ok(());
        };
        for (segment, name) in &full {
            let is_stored =
                (segment.number, segment.timeline) <= (shipped.number, shipped.timeline);
            // The newest stays: the receiver goes on from it.
            if is_stored && Some(*segment) != newest {
                self.forget(name)?;
            }
        }
        Ok(())
    }

    /// Whether what was received begins or goes on behind a segment that was not seen. It may have got its name while the folder
    /// was looked into; else a receiver that starts again asks the server for it.
    fn lacks_one(&mut self, full: &BTreeMap<Segment, String>, size: SegmentSize) -> bool {
        let is_there = |segment: Segment| {
            let path = spool::path(&self.archive).join(segment.name(size));
            path.exists()
        };
        let before = |segment: &Segment| Segment {
            number: segment.number.saturating_sub(1),
            ..*segment
        };
        let first = full.keys().min_by_key(|s| (s.number, s.timeline));
        let Some(shipped) = self.shipped else {
            return first.map(before).is_some_and(is_there);
        };
        let mut beyond = full.keys().filter(|s| s.number > shipped.number + 1);
        let lacks = in_turn(self.shipped, &full.keys().copied().collect()).is_empty()
            && beyond.next().is_some();
        let next = Segment {
            timeline: self
                .receiver
                .as_ref()
                .map_or(shipped.timeline, |r| r.timeline),
            number: shipped.number + 1,
        };
        let same = Segment {
            timeline: shipped.timeline,
            ..next
        };
        if lacks && !is_there(next) && !is_there(same) {
            let name = next.name(size);
            tracing::error!(
                name,
                "received log lacks a segment; the receiver starts again"
            );
            self.receiver = None;
        }
        lacks
    }

    async fn ship_partial(&mut self) -> Result<(), ArchiveError> {
        let size = self.archive.size()?;
        let begun = spool::names(&self.archive)?.into_iter().filter_map(|name| {
            let segment = Segment::parse(name.strip_suffix(".partial")?, size)?;
            Some((segment, name))
        });
        let Some((segment, name)) = begun.max_by_key(|(s, _)| (s.number, s.timeline)) else {
            return Ok(());
        };
        // A segment that became full since the full ones were put away comes first: nothing is there that does not follow.
        let follows = match self.shipped {
            Some(shipped) => segment.number <= shipped.number + 1,
            None => !spool::names(&self.archive)?
                .iter()
                .any(|name| Segment::parse(name, size).is_some()),
        };
        if !follows {
            return Ok(());
        }
        let path = spool::path(&self.archive).join(&name);
        let mut bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            // It became full between two looks.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(ArchiveError::io("read", &path)(error)),
        };
        let written = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        bytes.truncate(written);
        let written = written as u64;
        if written == 0 || self.partial == Some((segment, written)) {
            return Ok(());
        }
        let object = partial_name(segment, size, written);
        self.put_file(&name, &object, Some(bytes)).await?;
        let before = self.partial.replace((segment, written));
        if let Some((segment, bytes)) = before {
            let old = self
                .archive
                .name(&format!("wal/{}", partial_name(segment, size, bytes)));
            self.throw_away(&old).await;
        }
        self.reached(Lsn(segment.start(size).0 + written));
        Ok(())
    }

    async fn put_file(
        &mut self,
        name: &str,
        object: &str,
        bytes: Option<Vec<u8>>,
    ) -> Result<(), ArchiveError> {
        let path = spool::path(&self.archive).join(name);
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => std::fs::read(&path).map_err(ArchiveError::io("read", &path))?,
        };
        let object = self.archive.name(&format!("wal/{object}"));
        let taken = self
            .archive
            .stores
            .put(&object, &bytes, &DataKey::draw())
            .await?;
        self.uneven |= !taken.missing.is_empty();
        let mut told = self.figures.change();
        told.log_bytes += bytes.len() as u64;
        told.store_errors += taken.missing.len() as u64;
        drop(told);
        warn_of(&taken.missing);
        Ok(())
    }

    /// Beginnings of a segment that is there in full now.
    async fn drop_partials(&mut self, segment: Segment) -> Result<(), ArchiveError> {
        let size = self.archive.size()?;
        for name in self
            .archive
            .stores
            .list(&self.archive.name("wal"))
            .await?
            .objects
        {
            if parse_partial(&name, size).is_some_and(|(other, _)| other == segment) {
                self.throw_away(&self.archive.name(&format!("wal/{name}")))
                    .await;
            }
        }
        if self.partial.is_some_and(|(other, _)| other == segment) {
            self.partial = None;
        }
        Ok(())
    }

    /// The beginning of a segment of which more is there. What a store keeps although it need not is litter until
    /// retention finds it.
    async fn throw_away(&self, name: &str) {
        if let Err(error) = self.archive.stores.remove(name).await {
            tracing::debug!(name, error = chain(&error), "remove what is superfluous");
        }
    }

    async fn level(&mut self) -> Result<(), ArchiveError> {
        let mut prefixes = vec![self.archive.name("wal"), self.archive.name("points")];
        let backups = self.archive.name("backups");
        for id in self.archive.stores.list(&backups).await?.folders {
            prefixes.push(format!("{backups}/{id}"));
        }
        // What an archive is of stands directly below its name.
        let known = self.archive.name("");
        prefixes.push(known.trim_end_matches('/').to_owned());
        let (mut copied, mut missing, mut cut_short) = (0, Vec::new(), false);
        for prefix in prefixes {
            let levelled = self.archive.stores.level(&prefix).await?;
            copied += levelled.copied;
            missing.extend(levelled.missing);
            cut_short = levelled.is_cut_short;
            if cut_short {
                break;
            }
        }
        if copied > 0 {
            tracing::info!(copied, "gave a store what only another had");
        }
        self.uneven = cut_short || !missing.is_empty();
        self.state.lacking = missing.first().map(|error| chain(error));
        if !cut_short {
            let now = mainstay_rt::clock::now();
            self.level_at = now + LEVEL_EVERY;
            self.compare_at = now + COMPARE_EVERY;
        }
        Ok(())
    }

    fn forget(&self, name: &str) -> Result<(), ArchiveError> {
        let path = spool::path(&self.archive).join(name);
        std::fs::remove_file(&path).map_err(ArchiveError::io("remove", &path))
    }

    fn reached(&mut self, lsn: Lsn) {
        if !self.uneven {
            self.waiting.handle_shipped(lsn);
            self.state.shipped_lsn = Some(lsn.to_string());
            self.state.shipped_ms = mainstay_rt::clock::wall_ms();
        }
    }

    fn alarm(&mut self, kind: Kind, what: &str) {
        if self.alarms.handle_wrong(kind, what) {
            tracing::error!(what, halted = self.halted, "the archive is not safe");
            self.state_at = Instant::ZERO;
        }
    }

    /// Has the journal hear of what is wrong.
    fn tell_alarms(&mut self) {
        if let Some(why) = self.alarms.poll_untold(mainstay_rt::clock::now()) {
            let deed = ArchiveDeedRecord::Alarm { why };
            tell(&self.archive, mainstay_rt::clock::wall_ms(), deed);
        }
    }

    fn keep_state(&mut self) {
        let now = mainstay_rt::clock::now();
        self.state.at_ms = mainstay_rt::clock::wall_ms();
        self.state.waiting_bytes = self.waiting.bytes();
        self.state.waiting_since_ms = self.waiting.since_ms();
        self.state.alarm = self.alarms.text();
        self.state.log_stands_still = self.alarms.log_stands_still();
        self.figures.change().state = self.state.clone();
        if now < self.state_at {
            return;
        }
        self.state_at = now + STATE_EVERY;
        let path = self.archive.config.folder.join("state.json");
        let written = serde_json::to_vec(&self.state)
            .map_err(std::io::Error::from)
            .and_then(|bytes| mainstay_rt::files::write_atomic(&path, &bytes));
        if let Err(error) = written {
            tracing::warn!(%error, "write the archiver's state");
        }
    }
}
