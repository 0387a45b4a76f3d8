//! Snapshots of the state into the table `snapshots`, so that becoming active plays a short tail however long the log.
//!
//! A snapshot is taken between batches, right after a clean commit, when the state in memory is exactly what is durable.
//! Hashing and writing happen beside the writer, on a connection of their own; one at a time, the last three stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use exchange_engine::engine::Engine;
use exchange_engine::snapshot;

use crate::failure::told;
use crate::session::{Session, SessionError};
use crate::settings::Database;
use crate::shared::Shared;

/// Commands between two snapshots at least; with a large state a quarter of its entries.
const EVERY: u64 = 2_000;
/// Snapshots that stay in the table.
const KEPT: i64 = 3;

#[derive(Debug)]
pub struct Snapshots {
    last: u64,
    running: Arc<AtomicBool>,
}

#[derive(Debug, thiserror::Error)]
enum SnapshotWriteError {
    #[error("open a connection for the snapshot")]
    Session(#[from] SessionError),
    #[error("write the snapshot")]
    Database(#[from] tokio_postgres::Error),
    #[error("hash the snapshot")]
    Hash,
}

impl Snapshots {
    pub fn new(last: u64) -> Self {
        Self {
            last,
            running: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Starts a snapshot if enough has happened since the last. The engine must be in a durable state.
    pub fn consider(&mut self, shared: &Arc<Shared>, database: &Database, engine: &Engine) {
        let sequence = engine.sequence().0;
        let due = EVERY.max(engine.size() as u64 / 4);
        if sequence - self.last < due || self.running.swap(true, Ordering::SeqCst) {
            return;
        }
        self.last = sequence;
        let (shared, database, state) = (Arc::clone(shared), database.clone(), engine.snapshot());
        let running = Arc::clone(&self.running);
        tokio::spawn(async move {
            report(&shared, sequence, write(&database, sequence, state).await);
            running.store(false, Ordering::SeqCst);
        });
    }

    /// The snapshot of a venue that stops in order.
    pub async fn write_last(&mut self, shared: &Shared, database: &Database, engine: &Engine) {
        let sequence = engine.sequence().0;
        if sequence > self.last {
            report(
                shared,
                sequence,
                write(database, sequence, engine.snapshot()).await,
            );
        }
    }
}

fn report(shared: &Shared, sequence: u64, outcome: Result<(), SnapshotWriteError>) {
    match outcome {
        Ok(()) => {
            shared.metrics.snapshots.inc();
            tracing::debug!(sequence, "snapshot written");
        }
        // The log stays the truth; the next snapshot is tried in its time.
        Err(error) => tracing::info!(sequence, error = told(&error), "no snapshot this time"),
    }
}

async fn write(
    database: &Database,
    sequence: u64,
    state: Vec<u8>,
) -> Result<(), SnapshotWriteError> {
    let hashing = tokio::task::spawn_blocking(move || (snapshot::hash(&state), state));
    let (hash, state) = hashing.await.map_err(|_| SnapshotWriteError::Hash)?;
    let session = Session::open(database).await?;
    let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
    session
        .client
        .execute(
            "insert into exchange.snapshots (sequence, state, state_hash) values ($1, $2, $3) on conflict do nothing",
            &[&sequence, &state, &hash.as_slice()],
        )
        .await?;
    session
        .client
        .execute(
            "delete from exchange.snapshots where sequence not in \
             (select sequence from exchange.snapshots order by sequence desc limit $1)",
            &[&KEPT],
        )
        .await?;
    Ok(())
}
