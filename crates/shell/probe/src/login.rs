//! A session through a gateway, as any careful client has it: TLS, the server proves its address, and warnings count.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::Severity;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The role that applications have.
pub const ROLE: &str = "application";
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const PASSWORD_FILE_LIMIT: u64 = 64 << 10;

/// Who logs in, and through which entrances.
#[derive(Clone)]
pub struct Login {
    entrances: Vec<SocketAddr>,
    config: Config,
    proof: MakeRustlsConnect,
}

impl Login {
    /// # Errors
    /// When the password or the roots cannot be read.
    pub fn new(
        entrances: Vec<SocketAddr>,
        database: &str,
        password_file: &Path,
        roots: &Path,
    ) -> Result<Self> {
        let mut config = Config::new();
        config
            .user(ROLE)
            .dbname(database)
            .password(password(password_file, database)?)
            .ssl_mode(SslMode::Require)
            .application_name("mainstay-probe");
        Ok(Self {
            entrances,
            config,
            proof: believing(roots)?,
        })
    }

    pub fn entrances(&self) -> usize {
        self.entrances.len()
    }

    /// Connects through the entrance of this number, counted round and round.
    pub(crate) async fn open(&self, entrance: usize) -> Result<Session> {
        let count = self.entrances.len().max(1);
        let Some(address) = self.entrances.get(entrance % count) else {
            bail!("there is no gateway to go through");
        };
        let opened = tokio::time::timeout(CONNECT_LIMIT, self.connect(*address)).await;
        opened.with_context(|| format!("{address} let nobody in within {CONNECT_LIMIT:?}"))?
    }

    async fn connect(&self, address: SocketAddr) -> Result<Session> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context("send without delay")?;
        let mut proof = self.proof.clone();
        let name = address.ip().to_string();
        let proof = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut proof, &name)
            .context("begin TLS")?;
        let connected = self.config.connect_raw(stream, proof).await;
        let (client, mut connection) =
            connected.with_context(|| format!("log in through {address}"))?;
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
        Ok(Session {
            client,
            warnings,
            driver,
        })
    }
}

fn is_harmless(severity: Option<Severity>) -> bool {
    matches!(
        severity,
        Some(Severity::Notice | Severity::Info | Severity::Debug | Severity::Log)
    )
}

/// Dropping it hangs up without a farewell.
pub(crate) struct Session {
    pub(crate) client: Client,
    warnings: Arc<AtomicU64>,
    driver: tokio::task::JoinHandle<()>,
}

impl Session {
    pub(crate) fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::Relaxed)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// `host:port:database:user:password`, `*` for any.
fn password(path: &Path, database: &str) -> Result<String> {
    let bytes = mainstay_rt::files::read_limited(path, PASSWORD_FILE_LIMIT)
        .with_context(|| format!("read {}", path.display()))?;
    for line in String::from_utf8_lossy(&bytes).lines() {
        let mut fields = line.splitn(5, ':').skip(2);
        let mut fits = |wanted: &str| fields.next().is_some_and(|f| f == "*" || f == wanted);
        if fits(database)
            && fits(ROLE)
            && let Some(password) = fields.next()
        {
            return Ok(password.to_owned());
        }
    }
    bail!(
        "{} has no password for {ROLE} in {database}",
        path.display()
    )
}

fn believing(roots: &Path) -> Result<MakeRustlsConnect> {
    let mut store = RootCertStore::empty();
    let shown = roots.display();
    let read = CertificateDer::pem_file_iter(roots).with_context(|| format!("read {shown}"))?;
    for root in read {
        let root = root.with_context(|| format!("understand {shown}"))?;
        store.add(root).context("believe a root")?;
    }
    if store.is_empty() {
        bail!("{shown} holds no root");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("set TLS up")?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]
mod tests {
    use super::password;

    #[test]
    fn a_password_is_found_by_its_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        std::fs::write(&path, "*:*:other:application:no\n*:*:*:application:a:b\n").unwrap();
        assert_eq!(password(&path, "ledger").unwrap(), "a:b");
        std::fs::write(&path, "*:*:*:somebody:a\n").unwrap();
        assert!(password(&path, "ledger").is_err());
    }
}
