//! Questions to the local server in SQL, each with a deadline.
//!
//! Connections go over its Unix socket and answer in text. A question that is not
//! answered in time says as much about a server as an error does.

use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    #[error("connect to {server}")]
    Connect {
        server: String,
        source: std::io::Error,
    },
    #[error("log in to {server} as {user}")]
    Login {
        server: String,
        user: String,
        source: tokio_postgres::Error,
    },
    #[error("{action} on {server}")]
    Query {
        action: &'static str,
        server: String,
        source: tokio_postgres::Error,
    },
    #[error("{action} on {server}: no answer within {limit:?}")]
    Late {
        action: &'static str,
        server: String,
        limit: Duration,
    },
    #[error("{action} on {server}: the answer has another shape")]
    Shape {
        action: &'static str,
        server: String,
    },
}

impl SqlError {
    /// What the server itself said, if it said anything.
    pub fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Login { source, .. } | Self::Query { source, .. } => source.code(),
            Self::Connect { .. } | Self::Late { .. } | Self::Shape { .. } => None,
        }
    }
}

/// Who logs in, and where.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    pub socket: &'a Path,
    pub database: &'a str,
    pub user: &'a str,
    pub password: &'a str,
}

pub struct Session {
    client: Client,
    server: String,
    /// Ends with the session.
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Columns as text, null as `None`.
pub type Row = Vec<Option<String>>;

impl Session {
    /// # Errors
    /// When the server cannot be reached in time or refuses the login.
    pub async fn open(login: Login<'_>, limit: Duration) -> Result<Self, SqlError> {
        let late = |_| SqlError::Late {
            action: "log in",
            server: login.socket.display().to_string(),
            limit,
        };
        tokio::time::timeout(limit, open(login))
            .await
            .map_err(late)?
    }

    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Asks; the answer's rows, those of all statements in turn.
    ///
    /// # Errors
    /// When the server refuses, breaks off, or does not answer in time.
    pub async fn ask(
        &self,
        action: &'static str,
        statements: &str,
        limit: Duration,
    ) -> Result<Vec<Row>, SqlError> {
        let late = |_| SqlError::Late {
            action,
            server: self.server.clone(),
            limit,
        };
        let messages = tokio::time::timeout(limit, self.client.simple_query(statements))
            .await
            .map_err(late)?
            .map_err(|source| SqlError::Query {
                action,
                server: self.server.clone(),
                source,
            })?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|column| row.get(column).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Asks for one value.
    ///
    /// # Errors
    /// As [`Session::ask`], and when there is no value.
    pub async fn value(
        &self,
        action: &'static str,
        statement: &str,
        limit: Duration,
    ) -> Result<String, SqlError> {
        let rows = self.ask(action, statement, limit).await?;
        rows.into_iter()
            .next()
            .and_then(|row| row.into_iter().next())
            .flatten()
            .ok_or_else(|| SqlError::Shape {
                action,
                server: self.server.clone(),
            })
    }
}

async fn open(login: Login<'_>) -> Result<Session, SqlError> {
    let mut config = Config::new();
    config
        .user(login.user)
        .password(login.password)
        .dbname(login.database)
        .application_name("mainstay_keeper");
    let connect = |source| SqlError::Connect {
        server: login.socket.display().to_string(),
        source,
    };
    let refused = |source| SqlError::Login {
        server: login.socket.display().to_string(),
        user: login.user.to_owned(),
        source,
    };
    let stream = UnixStream::connect(login.socket).await.map_err(connect)?;
    let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(refused)?;
    let driver = tokio::task::spawn_local(drive(connection));
    Ok(Session {
        client,
        server: login.socket.display().to_string(),
        driver,
    })
}

async fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if let Err(error) = connection.await {
        // Whoever asks next learns it; a server that stops ends its sessions.
        tracing::debug!(%error, "a session ended");
    }
}
