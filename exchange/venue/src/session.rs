//! A connection to the local PostgreSQL that hears everything the server says.
//!
//! PostgreSQL tells of a cancelled wait for its standbys by a *warning* and then reports the commit as done. A warning
//! carries no request, so the only way to tell is to read the stream oneself: the driver here polls the connection's
//! messages and counts every notice before it lets the next result through. [`Session::notices`] read before a batch is
//! sent and after its answer therefore brackets exactly what the server said in between, as long as one commit is in
//! flight per connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::error::DbError;
use tokio_postgres::{AsyncMessage, Client};

use crate::settings::Database;

/// What every session sets, whatever the role's or the database's own defaults: wait for the quorum, hear warnings,
/// never be cut short by a timeout, of which later servers know more.
const SETUP: &str = "
set synchronous_commit = on;
set client_min_messages = warning;
select set_config(name, '0', false) from pg_settings where name in ('statement_timeout', 'lock_timeout',
    'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout');
set default_transaction_isolation = 'read committed';
set default_transaction_read_only = off;
set jit = off;
set search_path = pg_catalog";

const SETTINGS: &str = "select current_setting('synchronous_commit') = 'on' \
    and current_setting('client_min_messages') in ('warning', 'notice', 'log', 'debug1')";

/// How long a server may take from the connection to the session's settings.
const OPEN_MAX: Duration = Duration::from_secs(5);

/// The class of codes of a server that is being stopped.
const OPERATOR_INTERVENTION: &str = "57";

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("read the password file that PGPASSFILE names")]
    Password(#[source] std::io::Error),
    #[error("read the roots that PGSSLROOTCERT names")]
    Roots(#[source] std::io::Error),
    #[error("connect to the local server")]
    Connect(#[source] tokio_postgres::Error),
    #[error("set up the session")]
    Setup(#[source] tokio_postgres::Error),
    #[error("the local server took a connection and did not greet within {OPEN_MAX:?}")]
    Silent,
    #[error("the server did not take the session's settings for commits")]
    Settings,
}

#[derive(Debug)]
pub struct Session {
    pub client: Arc<Client>,
    notices: Arc<AtomicU64>,
    closed: watch::Receiver<bool>,
}

impl Session {
    pub async fn open(database: &Database) -> Result<Self, SessionError> {
        let opening = tokio::time::timeout(OPEN_MAX, Self::begin(database));
        opening.await.unwrap_or(Err(SessionError::Silent))
    }

    async fn begin(database: &Database) -> Result<Self, SessionError> {
        let config = database.config().map_err(SessionError::Password)?;
        let proof = database.trust.connector().map_err(SessionError::Roots)?;
        let (client, mut connection) =
            config.connect(proof).await.map_err(SessionError::Connect)?;
        let notices = Arc::new(AtomicU64::new(0));
        let (closing, closed) = watch::channel(false);
        let heard = Arc::clone(&notices);
        tokio::spawn(async move {
            while let Some(Ok(message)) =
                std::future::poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notice(notice) = message {
                    heard.fetch_add(1, Ordering::SeqCst);
                    report(&notice);
                }
            }
            closing.send_replace(true);
        });
        let session = Self {
            client: Arc::new(client),
            notices,
            closed,
        };
        session
            .client
            .batch_execute(SETUP)
            .await
            .map_err(SessionError::Setup)?;
        let row = session
            .client
            .query_one(SETTINGS, &[])
            .await
            .map_err(SessionError::Setup)?;
        if !row.get::<_, bool>(0) {
            return Err(SessionError::Settings);
        }
        Ok(session)
    }

    /// How many notices the server has sent on this connection.
    pub fn notices(&self) -> u64 {
        self.notices.load(Ordering::SeqCst)
    }

    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) {
        let mut closed = self.closed.clone();
        // An error means that the driver is gone, and the connection with it.
        let _ = closed.wait_for(|closed| *closed).await;
    }
}

/// A server that is shut down says so; that is how a primary is fenced and nobody has to wake up for it.
fn report(notice: &DbError) {
    let (severity, code) = (notice.severity(), notice.code().code());
    if code.starts_with(OPERATOR_INTERVENTION) {
        tracing::info!(severity, code, "the server says: {}", notice.message());
    } else {
        tracing::warn!(severity, code, "the server warns: {}", notice.message());
    }
}
