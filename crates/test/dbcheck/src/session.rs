//! One connection through the service's entrance, as a real driver has it: with deadlines, with cancels, and
//! with an ear for warnings.
//!
//! A commit whose wait for the other copies was cancelled is answered as a success; all that says otherwise
//! is a warning that comes before the answer. So the task that reads the connection counts warnings before it
//! passes the answer on, and a success is clean only if the count has not moved.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::Severity;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A gateway may let a connection wait while there is no primary; a client tries the next one sooner.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const CANCEL_LIMIT: Duration = Duration::from_secs(1);
const PASSWORD_FILE_LIMIT: u64 = 64 * 1024;

/// Who logs in, and through which entrances.
#[derive(Clone)]
pub struct Login {
    pub entrances: Vec<SocketAddr>,
    config: Config,
    /// What a server must prove itself by; where there is none, nothing is encrypted.
    proof: Option<MakeRustlsConnect>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("entrances", &self.entrances)
            .field("tls", &self.proof.is_some())
            .finish_non_exhaustive()
    }
}

impl Login {
    /// Role, database and password from PGUSER, PGDATABASE and PGPASSFILE, as PostgreSQL's own programs do; with
    /// PGSSLMODE=verify-full over TLS, believing the roots of PGSSLROOTCERT.
    ///
    /// # Errors
    /// When one of them is missing or no password fits.
    pub fn from_environment(entrances: Vec<SocketAddr>) -> Result<Self> {
        ensure!(!entrances.is_empty(), "no entrance: give --to");
        let variable = |name: &str| std::env::var(name).with_context(|| format!("read {name}"));
        let (user, database) = (variable("PGUSER")?, variable("PGDATABASE")?);
        let password = password(Path::new(&variable("PGPASSFILE")?), &database, &user)?;
        let mut config = Config::new();
        config
            .user(&user)
            .dbname(&database)
            .password(password)
            .application_name("dbcheck");
        let proof = match std::env::var("PGSSLMODE").as_deref() {
            Err(_) | Ok("disable") => None,
            Ok("verify-full") => Some(mainstay_testkit::tls::believing(Path::new(&variable(
                "PGSSLROOTCERT",
            )?))?),
            Ok(other) => bail!("PGSSLMODE is {other:?}: say disable or verify-full"),
        };
        if proof.is_some() {
            config.ssl_mode(SslMode::Require);
        }
        Ok(Self {
            entrances,
            config,
            proof,
        })
    }

    /// Connects through the entrance of this number, counted round and round.
    ///
    /// # Errors
    /// When it is refused, or not made in time.
    pub async fn open(&self, entrance: usize) -> Result<Session> {
        let address = self.entrances[entrance % self.entrances.len()];
        let opened = tokio::time::timeout(CONNECT_LIMIT, self.connect(address)).await;
        opened.with_context(|| format!("{address} let nobody in within {CONNECT_LIMIT:?}"))?
    }

    async fn connect(&self, address: SocketAddr) -> Result<Session> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let refused = || format!("log in through {address}");
        match self.proof.clone() {
            Some(mut proof) => {
                let proof = MakeTlsConnect::<TcpStream>::make_tls_connect(
                    &mut proof,
                    &address.ip().to_string(),
                )?;
                let connected = self.config.connect_raw(stream, proof).await;
                let (client, connection) = connected.with_context(refused)?;
                Ok(self.session(address, client, connection))
            }
            None => {
                let connected = self.config.connect_raw(stream, NoTls).await;
                let (client, connection) = connected.with_context(refused)?;
                Ok(self.session(address, client, connection))
            }
        }
    }

    fn session<T>(
        &self,
        address: SocketAddr,
        client: Client,
        mut connection: tokio_postgres::Connection<TcpStream, T>,
    ) -> Session
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let warnings = Arc::new(AtomicU64::new(0));
        let heard = Arc::clone(&warnings);
        let driver = tokio::task::spawn_local(async move {
            while let Some(Ok(message)) =
                std::future::poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notice(notice) = message
                    && !is_harmless(notice.parsed_severity())
                {
                    heard.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Session {
            client,
            address,
            proof: self.proof.clone(),
            warnings,
            driver,
        }
    }
}

fn is_harmless(severity: Option<Severity>) -> bool {
    matches!(
        severity,
        Some(Severity::Notice | Severity::Info | Severity::Debug | Severity::Log)
    )
}

/// From a file as the manual describes it: `host:port:database:user:password`, `*` for any.
fn password(path: &Path, database: &str, user: &str) -> Result<String> {
    let bytes = mainstay_rt::files::read_limited(path, PASSWORD_FILE_LIMIT)
        .with_context(|| format!("read {}", path.display()))?;
    for line in String::from_utf8_lossy(&bytes).lines() {
        let mut fields = line.splitn(5, ':').skip(2);
        let mut fits = |wanted: &str| fields.next().is_some_and(|f| f == "*" || f == wanted);
        if fits(database)
            && fits(user)
            && let Some(password) = fields.next()
        {
            return Ok(password.to_owned());
        }
    }
    bail!(
        "{} has no password for {user} in {database}",
        path.display()
    )
}

/// Dropping it hangs up without a farewell.
pub struct Session {
    pub client: Client,
    pub address: SocketAddr,
    proof: Option<MakeRustlsConnect>,
    warnings: Arc<AtomicU64>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    #[must_use]
    pub fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Asks the server to cancel what it does for this session, on a connection of its own, and does not wait.
    pub fn cancel(&self) {
        let (token, address) = (self.client.cancel_token(), self.address);
        let proof = self.proof.clone();
        tokio::task::spawn_local(async move {
            let cancel = async {
                if let Ok(stream) = TcpStream::connect(address).await {
                    let name = address.ip().to_string();
                    let proof = proof.and_then(|mut proof| {
                        MakeTlsConnect::<TcpStream>::make_tls_connect(&mut proof, &name).ok()
                    });
                    // PostgreSQL promises nothing about a cancel, so neither answer means anything.
                    match proof {
                        Some(proof) => token.cancel_query_raw(stream, proof).await.ok(),
                        None => token.cancel_query_raw(stream, NoTls).await.ok(),
                    };
                }
            };
            tokio::time::timeout(CANCEL_LIMIT, cancel).await.ok();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::password;

    #[test]
    fn a_password_is_found_by_database_and_user() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        std::fs::write(&path, "*:*:other:shop:no\n*:*:*:shop:a:b\n").unwrap();
        assert_eq!(password(&path, "ledger", "shop").unwrap(), "a:b");
        assert!(password(&path, "ledger", "nobody").is_err());
    }
}
