//! The one writer of the cell: takes what has arrived, plays it, commits it, and only then lets anybody know.
//!
//! One commit is in flight at a time; whatever arrives meanwhile is the next batch, so the batch grows with the load
//! and the rate hardly depends on how long a commit takes. When a commit comes back as anything but clean, everything in
//! flight is *unknown*: its clients are told so, the memory is thrown away, and the state is read again from the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use exchange_engine::engine::ApplyError;
use exchange_engine::outcome::Outcome;
use tokio::sync::oneshot;

use crate::activate::{self, ActivateError, Writer};
use crate::answer;
use crate::answers::Entry;
use crate::batch::{Batch, CommitError};
use crate::chain;
use crate::clock;
use crate::failure::told;
use crate::inactive::Inactive;
use crate::intake::{Reply, Submission};
use crate::metrics::{Answered, Why};
use crate::sentinel::Sentinel;
use crate::settings::Database;
use crate::shared::Shared;
use crate::snapshots::Snapshots;
use crate::view::Picture;

/// Commands per transaction.
pub const BATCH_MAX: usize = 1_024;
/// How often the local server is tried while it is not an open primary.
pub const POLL: Duration = Duration::from_millis(25);
/// How often the lease is looked for.
const LEASE_POLL: Duration = Duration::from_millis(10);
/// How often this thread says that it turns.
const PULSE: Duration = Duration::from_millis(250);
/// How long to wait at most after a try that played the log, be it that the log does not check, which waiting does not
/// cure but an operator may, or that the database went on refusing to write.
const REPLAYED: Duration = Duration::from_secs(1);

/// Runs until the process drains: waits for the local server to be an open primary, serves, and starts over.
pub async fn run(shared: Arc<Shared>, database: Database) {
    let pulse = tokio::spawn(give_signs_of_life(Arc::clone(&shared)));
    let mut last = None;
    let mut patience = Patience::default();
    while !shared.is_draining() {
        match activate::activate(&shared, &database).await {
            Ok(mut writer) => {
                shared.metrics.activations.inc();
                shared.published.activate(writer.active(), &writer.engine);
                let reason = serve(&shared, &database, &mut writer).await;
                shared.published.deactivate(reason);
                tracing::info!(%reason, epoch = writer.epoch, "no longer active");
                last = None;
                patience = Patience::default();
            }
            Err(error) => {
                let reason = error.reason();
                shared.published.deactivate(reason);
                if last != Some(reason) {
                    tell(reason, &error);
                }
                last = Some(reason);
                tokio::time::sleep(patience.after(reason)).await;
            }
        }
        refuse_waiting(&shared);
    }
    shared.published.deactivate(Inactive::Draining);
    shared.intake.close();
    refuse_waiting(&shared);
    pulse.abort();
}

/// How long the next try is waited for. A missing lease costs a read to look for, a closed server a connection attempt,
/// and both may be over at any moment. A try that came as far as the log costs a whole replay: the first failure
/// may be a moment's, so it is tried again at once, and then half as often each time.
#[derive(Debug, Default)]
struct Patience {
    /// Failures one after the other by tries that had played the log.
    replays: u32,
}

impl Patience {
    fn after(&mut self, reason: Inactive) -> Duration {
        if reason.is_damage() {
            return REPLAYED;
        }
        if !reason.is_after_replay() {
            self.replays = 0;
            return match reason {
                Inactive::NoLease => LEASE_POLL,
                _ => POLL,
            };
        }
        let doubled = POLL.saturating_mul(1 << self.replays.min(16));
        self.replays += 1;
        doubled.min(REPLAYED)
    }
}

fn tell(reason: Inactive, error: &ActivateError) {
    let error = told(error);
    if reason.is_damage() {
        tracing::error!(%reason, error, "cannot become active");
    } else if reason.is_waiting() {
        tracing::info!(%reason, error, "standing by");
    } else {
        tracing::warn!(%reason, error, "could not become active");
    }
}

/// Says that this thread turns. A commit that waits for its quorum does not stop it.
async fn give_signs_of_life(shared: Arc<Shared>) {
    let mut pulse = tokio::time::interval(PULSE);
    loop {
        pulse.tick().await;
        shared
            .writer_alive_ns
            .store(clock::boot_ns(), Ordering::Relaxed);
    }
}

/// What waits in the queue of an instance that is not active was not done.
fn refuse_waiting(shared: &Shared) {
    let reason = shared
        .published
        .active()
        .err()
        .unwrap_or(Inactive::Deactivated);
    for submission in shared.intake.take_now(usize::MAX) {
        // A client that is gone needs no answer.
        let _ = submission.reply.send(Reply::NotActive(reason));
    }
}

/// Serves until something ends this life of the writer; returns what.
async fn serve(shared: &Arc<Shared>, database: &Database, writer: &mut Writer) -> Inactive {
    let mut draining = shared.draining.subscribe();
    let mut snapshots = Snapshots::new(writer.snapshot_sequence);
    let mut sentinel = Sentinel::start(
        Arc::clone(shared),
        Arc::clone(&writer.watched.client),
        writer.term,
    );
    loop {
        if shared.is_draining() && shared.intake.is_empty() {
            snapshots.write_last(shared, database, &writer.engine).await;
            return Inactive::Draining;
        }
        let submissions = tokio::select! {
            biased;
            () = writer.session.closed() => return Inactive::ConnectionLost,
            reason = sentinel.found() => return reason,
            submissions = shared.intake.take(BATCH_MAX) => submissions,
            _ = draining.changed() => continue,
        };
        if let Err(error) = round(shared, writer, &mut sentinel, submissions).await {
            let why = Why {
                reason: error.reason(),
            };
            shared.metrics.failures.get_or_create(&why).inc();
            tracing::warn!(
                error = told(&error),
                epoch = writer.epoch,
                "a batch has an unknown outcome"
            );
            return match error {
                CommitError::Abandoned(reason) => reason,
                _ => Inactive::CommitUnknown,
            };
        }
        snapshots.consider(shared, database, &writer.engine);
    }
}

type Waiting = (oneshot::Sender<Reply>, Reply);

/// One batch from the queue to its answers.
async fn round(
    shared: &Shared,
    writer: &mut Writer,
    sentinel: &mut Sentinel,
    submissions: Vec<Submission>,
) -> Result<(), CommitError> {
    if !shared.lease.check().allows() {
        for submission in submissions {
            let _ = submission.reply.send(Reply::LeaseExpired);
        }
        return Ok(());
    }
    let mut batch = Batch::default();
    let mut waiting: Vec<Waiting> = Vec::with_capacity(submissions.len());
    // Wall clocks step back; recorded time does not.
    let recorded_ms = clock::wall_ms().max(writer.engine.recorded_ms());
    for submission in submissions {
        let reply = sequence(shared, writer, &mut batch, recorded_ms, &submission);
        waiting.push((submission.reply, reply));
    }
    if !batch.is_empty() {
        shared.published.sent();
        let sent_ns = clock::boot_ns();
        let committing = batch.commit(
            &writer.session,
            &writer.statements,
            writer.epoch,
            &writer.engine,
        );
        if let Err(error) = watched(committing, sentinel).await {
            for (reply, _) in waiting {
                let _ = reply.send(Reply::Unknown);
            }
            return Err(error);
        }
        shared
            .metrics
            .commit
            .observe((clock::boot_ns() - sent_ns) as f64 / 1e9);
        count(shared, &batch);
        shared.published.committed(
            Picture::of(&writer.engine),
            batch.accounts(),
            &writer.engine,
        );
    }
    for (reply, content) in waiting {
        let _ = reply.send(content);
    }
    Ok(())
}

/// A commit, for as long as this server is the primary that it was: what comes of it then is not known, and whoever waits
/// is told so. Nothing else ends it, since it may wait for its quorum; readiness says how long that takes.
async fn watched(
    committing: impl Future<Output = Result<(), CommitError>>,
    sentinel: &mut Sentinel,
) -> Result<(), CommitError> {
    tokio::select! {
        biased;
        outcome = committing => outcome,
        reason = sentinel.deposed() => Err(CommitError::Abandoned(reason)),
    }
}

/// Gives a submission its place in the log, or finds that it has one, or that it can have none. The reply is sent
/// after the commit whatever it is, because it may rest on what the same batch did.
fn sequence(
    shared: &Shared,
    writer: &mut Writer,
    batch: &mut Batch,
    recorded_ms: u64,
    submission: &Submission,
) -> Reply {
    let Submission {
        command, canonical, ..
    } = submission;
    if let Some(entry) = writer.answers.find(command.account, command.reference) {
        if *entry.canonical != **canonical {
            return Reply::Conflict;
        }
        return Reply::Answer {
            stored: entry.stored.to_string(),
            hash: entry.hash,
            replayed: true,
        };
    }
    let applied = match writer.engine.apply(recorded_ms, command) {
        Ok(applied) => applied,
        Err(ApplyError::ReferenceNotAbove { highest }) => return Reply::Older { highest },
        Err(ApplyError::TooManyAccounts) => return Reply::NoRoom,
        Err(ApplyError::TimeWentBack { .. }) => return Reply::NotActive(Inactive::ClockWentBack),
    };
    let stored = answer::stored(&shared.cell, writer.epoch, command, &applied);
    let hash = chain::next(
        &writer.hash,
        applied.sequence.0,
        writer.epoch,
        recorded_ms,
        canonical,
        &stored,
    );
    writer.hash = hash;
    batch.add(recorded_ms, command, canonical, &applied, &stored, &hash);
    writer.answers.add(Entry {
        account: command.account,
        reference: command.reference,
        canonical: canonical.as_str().into(),
        stored: stored.as_str().into(),
        hash,
    });
    Reply::Answer {
        stored,
        hash,
        replayed: false,
    }
}

/// Counted only now: a number that leaves before the commit would tell of what may not have happened.
fn count(shared: &Shared, batch: &Batch) {
    let metrics = &shared.metrics;
    metrics.batch_commands.observe(batch.len() as f64);
    metrics.trades.inc_by(batch.trades() as u64);
    for (kind, outcome) in batch.outcomes() {
        let labels = Answered {
            kind: kind.name(),
            outcome: outcome.name(),
        };
        metrics.answers.get_or_create(&labels).inc();
        if let Outcome::Rejected(reason) = outcome {
            metrics
                .rejections
                .get_or_create(&Why {
                    reason: reason.name(),
                })
                .inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_refuses_to_write_is_asked_less_and_less_often() {
        let mut patience = Patience::default();
        let mut check = |reason, expected: &[u64]| {
            for ms in expected {
                assert_eq!(
                    patience.after(reason).as_millis(),
                    u128::from(*ms),
                    "{reason}"
                );
            }
        };
        check(Inactive::NoLease, &[10, 10]);
        check(Inactive::DatabaseIsStandby, &[25, 25]);
        check(Inactive::EpochNotCommitted, &[25, 50]);
        check(Inactive::DatabaseError, &[100, 200, 400, 800, 1_000, 1_000]);
        check(Inactive::LogDamaged, &[1_000]);
        // Whatever else is in the way is news: the server that comes back may write.
        check(Inactive::DatabaseUnreachable, &[25, 25]);
        check(Inactive::DatabaseError, &[25, 50]);
        for _ in 0..100 {
            patience.after(Inactive::DatabaseError);
        }
        assert_eq!(patience.after(Inactive::DatabaseError), REPLAYED);
    }
}
