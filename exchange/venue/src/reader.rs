//! The connection by which tables are read for clients, beside the writer's own.
//!
//! A server answers one connection in the order of its questions, and what was sent is answered whether anybody still
//! waits or not. So only so many are asked at a time, and a place is free again when the server has answered, not when a
//! client has given up. A connection that stays silent is left and the next question opens another one: reads neither
//! hold the writer up nor end its life.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::activate;
use crate::inactive::Inactive;
use crate::session::Session;
use crate::settings::Database;

/// Questions that the server has not answered. Each costs it a millisecond, or a few where it has to go to its disk.
pub const READS_MAX: usize = 256;
/// How long one question waits for a connection, and then for its answer.
const READ_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Reader {
    database: Database,
    client: Mutex<Option<Arc<Client>>>,
    places: Arc<Semaphore>,
}

/// Why a table was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// As much as may be asked is being asked.
    Crowded,
    Failed(Inactive),
}

impl Reader {
    pub fn new(database: &Database, session: &Session) -> Arc<Self> {
        Arc::new(Self {
            database: database.clone(),
            client: Mutex::new(Some(Arc::clone(&session.client))),
            places: Arc::new(Semaphore::new(READS_MAX)),
        })
    }

    /// The row that bears this account and reference.
    pub async fn row(
        self: &Arc<Self>,
        query: &'static str,
        key: (i64, i64),
    ) -> Result<Option<Row>, Unread> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Unread::Crowded)?;
        let reader = Arc::clone(self);
        // A task of its own: whoever asks may go away, and the server works on all the same.
        let asked = tokio::spawn(async move {
            let _place = place;
            reader.ask(query, key).await
        });
        let answered = asked.await.unwrap_or(Err(Inactive::DatabaseError));
        answered.map_err(Unread::Failed)
    }

    async fn ask(
        &self,
        query: &str,
        (account, reference): (i64, i64),
    ) -> Result<Option<Row>, Inactive> {
        let client = tokio::time::timeout(READ_MAX, self.client()).await;
        let client = client.map_err(|_| Inactive::DatabaseSilent)??;
        let key: [&(dyn ToSql + Sync); 2] = [&account, &reference];
        match tokio::time::timeout(READ_MAX, client.query_opt(query, &key)).await {
            Ok(Ok(row)) => Ok(row),
            Ok(Err(_)) => Err(Inactive::DatabaseError),
            Err(_) => {
                self.leave(&client).await;
                Err(Inactive::DatabaseSilent)
            }
        }
    }

    /// The connection there is, or a new one.
    async fn client(&self) -> Result<Arc<Client>, Inactive> {
        let mut current = self.client.lock().await;
        if let Some(client) = &*current
            && !client.is_closed()
        {
            return Ok(Arc::clone(client));
        }
        let opened = Session::open(&self.database).await;
        let client = opened.map_err(|_| Inactive::DatabaseUnreachable)?.client;
        match activate::in_recovery(&client).await {
            Ok(false) => {}
            Ok(true) => return Err(Inactive::DatabaseIsStandby),
            Err(_) => return Err(Inactive::DatabaseError),
        }
        *current = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Nobody is asked by this connection any more.
    async fn leave(&self, silent: &Arc<Client>) {
        let mut current = self.client.lock().await;
        if current
            .as_ref()
            .is_some_and(|client| Arc::ptr_eq(client, silent))
        {
            *current = None;
        }
    }
}
