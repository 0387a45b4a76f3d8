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

/// A prepared question of one session.
pub struct Question {
    action: &'static str,
    statement: tokio_postgres::Statement,
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
        let messages = self.client.simple_query(statements);
        let messages = self.in_time(action, limit, messages).await?;
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

    /// A question that is asked again and again: the server parses and plans it once. Its columns must be text.
    ///
    /// # Errors
    /// When the server refuses, breaks off, or does not answer in time.
    pub async fn prepare(
        &self,
        action: &'static str,
        statement: &str,
        limit: Duration,
    ) -> Result<Question, SqlError> {
        let statement = self.client.prepare(statement);
        let statement = self.in_time(action, limit, statement).await?;
        Ok(Question { action, statement })
    }

    /// Asks what was prepared in this session.
    ///
    /// # Errors
    /// As [`Session::ask`], and when a column is not text.
    pub async fn ask_again(
        &self,
        question: &Question,
        limit: Duration,
    ) -> Result<Vec<Row>, SqlError> {
        let Question { action, statement } = question;
        let answer = self.client.query(statement, &[]);
        let rows = self.in_time(action, limit, answer).await?;
        let row = |row: &tokio_postgres::Row| -> Result<Row, tokio_postgres::Error> {
            (0..row.len()).map(|column| row.try_get(column)).collect()
        };
        let shape = |_| SqlError::Shape {
            action,
            server: self.server.clone(),
        };
        rows.iter()
            .map(row)
            .collect::<Result<_, _>>()
            .map_err(shape)
    }

    async fn in_time<T>(
        &self,
        action: &'static str,
        limit: Duration,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SqlError> {
        let late = |_| SqlError::Late {
            action,
            server: self.server.clone(),
            limit,
        };
        let refused = |source| SqlError::Query {
            action,
            server: self.server.clone(),
            source,
        };
        let answer = tokio::time::timeout(limit, asked).await;
        answer.map_err(late)?.map_err(refused)
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
