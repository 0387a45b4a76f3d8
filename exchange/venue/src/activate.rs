//! Becoming active: from "the local server takes connections" to "this instance is the cell's writer".
//!
//! Five gates, in order, and nothing is visible before the last: the lease allows it; the server is no standby; the
//! advisory lock says that no other session on this server writes for the cell (a backend of an earlier life that still
//! waits for its standbys keeps it, so its rows cannot appear behind our back); the log checks and is played; the epoch's
//! row is cleanly committed, which means that the quorum has everything that was read before.

use std::sync::Arc;

use exchange_engine::engine::Engine;
use tokio_postgres::Client;

use crate::answers::Answers;
use crate::batch::Statements;
use crate::chain::Hash;
use crate::clock;
use crate::inactive::Inactive;
use crate::reader::Reader;
use crate::restore::{self, RestoreError, Restored};
use crate::schema;
use crate::session::{Session, SessionError};
use crate::settings::Database;
use crate::shared::Shared;
use crate::view::{self, Picture};

/// "venue" in the upper half; the lower is free for what else the cell may need to lock.
const WRITER_LOCK: i64 = 0x7665_6e75_6500_0001;

#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    #[error("no unexpired lease")]
    Lease,
    #[error("the local server does not take connections")]
    Session(#[from] SessionError),
    #[error("the local server is a standby")]
    InRecovery,
    #[error("another session writes for this cell")]
    Locked,
    #[error("the schema is of version {found}, this program knows {known}")]
    Schema { found: i32, known: usize },
    #[error("prepare the tables or the epoch")]
    Database(#[from] tokio_postgres::Error),
    #[error("restore from the log")]
    Restore(#[from] RestoreError),
    #[error("the epoch's row was not cleanly committed")]
    EpochWarned,
}

impl ActivateError {
    pub fn reason(&self) -> Inactive {
        match self {
            Self::Lease => Inactive::NoLease,
            Self::Session(_) => Inactive::DatabaseUnreachable,
            Self::InRecovery => Inactive::DatabaseIsStandby,
            Self::Locked => Inactive::OtherWriter,
            Self::Schema { .. } => Inactive::SchemaUnknown,
            Self::Restore(error) if error.is_damage() => Inactive::LogDamaged,
            Self::Database(_) | Self::Restore(_) => Inactive::DatabaseError,
            Self::EpochWarned => Inactive::EpochNotCommitted,
        }
    }
}

/// The cell's writer: its connections, its state, its place in the chain.
#[derive(Debug)]
pub struct Writer {
    pub session: Session,
    /// For asking the server what it is; nothing else is asked there, so that nothing holds the question up.
    pub watched: Session,
    pub reader: Arc<Reader>,
    pub statements: Statements,
    pub engine: Engine,
    pub hash: Hash,
    pub answers: Answers,
    pub epoch: u64,
    pub term: u64,
    pub snapshot_sequence: u64,
}

pub async fn activate(shared: &Shared, database: &Database) -> Result<Writer, ActivateError> {
    let lease = shared.lease.check();
    if !lease.allows() {
        return Err(ActivateError::Lease);
    }
    let session = Session::open(database).await?;
    wait_for_primary(shared, &session).await?;
    let started_ns = clock::boot_ns();
    let locked = session
        .client
        .query_one("select pg_try_advisory_lock($1)", &[&WRITER_LOCK])
        .await?;
    if !locked.get::<_, bool>(0) {
        return Err(ActivateError::Locked);
    }
    migrate(&session).await?;
    let (restored, statements, watched, reading) = tokio::try_join!(
        async { Ok(restore::restore(&session.client, &shared.cell).await?) },
        async { Ok(Statements::prepare(&session.client).await?) },
        async { Ok::<_, ActivateError>(Session::open(database).await?) },
        async { Ok(Session::open(database).await?) },
    )?;
    let Restored {
        engine,
        hash,
        answers,
        snapshot_sequence,
    } = restored;
    let restored_ns = clock::boot_ns();
    let lease = shared.lease.check();
    if !lease.allows() {
        return Err(ActivateError::Lease);
    }
    let term = lease.term();
    let epoch = open_epoch(&session, &shared.instance, term, engine.sequence().next().0).await?;
    let ms = |from: u64, to: u64| (to - from) / 1_000_000;
    tracing::info!(
        epoch,
        term,
        sequence = engine.sequence().0,
        snapshot = snapshot_sequence,
        restore_ms = ms(started_ns, restored_ns),
        total_ms = ms(started_ns, clock::boot_ns()),
        "active"
    );
    Ok(Writer {
        session,
        watched,
        reader: Reader::new(database, &reading),
        statements,
        engine,
        hash,
        answers,
        epoch,
        term,
        snapshot_sequence,
    })
}

impl Writer {
    pub fn active(&self) -> view::Active {
        view::Active {
            epoch: self.epoch,
            term: self.term,
            picture: Arc::new(Picture::of(&self.engine)),
            reader: Arc::clone(&self.reader),
        }
    }
}

/// A connection to a standby is kept and asked again, so that a promotion is seen without a new connection.
async fn wait_for_primary(shared: &Shared, session: &Session) -> Result<(), ActivateError> {
    while in_recovery(&session.client).await? {
        if !shared.lease.check().allows() {
            return Err(ActivateError::Lease);
        }
        if shared.is_draining() {
            return Err(ActivateError::InRecovery);
        }
        shared.published.deactivate(Inactive::DatabaseIsStandby);
        tokio::time::sleep(crate::writer::POLL).await;
    }
    Ok(())
}

pub async fn in_recovery(client: &Client) -> Result<bool, tokio_postgres::Error> {
    Ok(client
        .query_one("select pg_is_in_recovery()", &[])
        .await?
        .get(0))
}

async fn migrate(session: &Session) -> Result<(), ActivateError> {
    let client = &session.client;
    let exists: bool = client.query_one(schema::EXISTS, &[]).await?.get(0);
    let found: i32 = if exists {
        client.query_one(schema::VERSION, &[]).await?.get(0)
    } else {
        0
    };
    let known = schema::STEPS.len();
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    let Some(steps) = schema::STEPS.get(done..) else {
        return Err(ActivateError::Schema { found, known });
    };
    for (number, step) in (found + 1..).zip(steps) {
        client.batch_execute("begin").await?;
        client.batch_execute(step).await?;
        client.execute(schema::APPLIED, &[&number]).await?;
        client.batch_execute("commit").await?;
        tracing::info!(number, "the schema's next step is in place");
    }
    Ok(())
}

/// Commits the row that opens the next epoch; its clean commit is what makes this instance the writer.
async fn open_epoch(
    session: &Session,
    instance: &str,
    term: u64,
    first_sequence: u64,
) -> Result<u64, ActivateError> {
    let column = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let row = session
        .client
        .query_one(
            "select coalesce(max(epoch), 0) + 1 from exchange.epochs",
            &[],
        )
        .await?;
    let epoch: i64 = row.get(0);
    let notices = session.notices();
    session.client.batch_execute("begin").await?;
    session
        .client
        .execute(
            "insert into exchange.epochs (epoch, term, instance, first_sequence, activated_ms) values ($1, $2, $3, $4, $5)",
            &[&epoch, &column(term), &instance, &column(first_sequence), &column(clock::wall_ms())],
        )
        .await?;
    session.client.batch_execute("commit").await?;
    if session.notices() != notices {
        return Err(ActivateError::EpochWarned);
    }
    Ok(u64::try_from(epoch).unwrap_or(0))
}
