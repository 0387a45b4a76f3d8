//! A listener's certificate: read, followed, and shown to clients.
//!
//! The files may belong to somebody else, who replaces them while the gateway runs. They are looked at once a second on
//! a thread of their own; new connections are made with what they hold now, and open ones go on. What cannot be used is
//! told and counted, and the last good certificate stays. A door that has never had a good one is not opened.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use mainstay_record::gateway::ListenerTls;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoClientAuth, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Between two looks whether a file has changed.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: pem::Error },
    #[error("{} holds no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("show the certificate {} with the key {}", certificate.display(), key.display())]
    Show {
        certificate: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
    #[error("believe a root of {}", path.display())]
    Root {
        path: PathBuf,
        source: rustls::Error,
    },
    #[error("believe the roots of {}", path.display())]
    Roots {
        path: PathBuf,
        source: VerifierBuilderError,
    },
    #[error("start a thread that follows the certificate")]
    Thread { source: io::Error },
}

/// What tells two states of a file apart.
type Stamp = Option<(u64, i64, i64, u64)>;

#[derive(Default)]
struct Shown {
    server: Option<Arc<ServerConfig>>,
    /// Why the files as they stand now cannot be used.
    problem: Option<String>,
}

/// The certificate of one listener.
pub struct Door {
    pub files: ListenerTls,
    shown: Mutex<Shown>,
    /// How often changed files could not be used.
    refused: AtomicU64,
}

/// The files' names only, so that no log can hold a key.
impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Door").field(&self.files).finish()
    }
}

impl Door {
    /// Reads the files, and follows them for as long as the door is held. One that cannot be opened yet is followed too.
    ///
    /// # Errors
    /// When they cannot be followed.
    pub fn new(files: ListenerTls) -> Result<Arc<Self>, DoorError> {
        let known = stamps(&files);
        let door = Arc::new(Self {
            files,
            shown: Mutex::default(),
            refused: AtomicU64::new(0),
        });
        door.read();
        let followed = Arc::downgrade(&door);
        std::thread::Builder::new()
            .name("certificate".to_owned())
            .spawn(move || follow(&followed, known))
            .map_err(|source| DoorError::Thread { source })?;
        Ok(door)
    }

    /// Why the files as they stand now cannot be used.
    pub fn problem(&self) -> Option<String> {
        self.lock().problem.clone()
    }

    pub fn is_ready(&self) -> bool {
        self.lock().server.is_some()
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Shows the certificate, and asks for the client's if clients must have one.
    pub async fn admit(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let server = self.lock().server.clone();
        let server = server.ok_or(io::ErrorKind::NotConnected)?;
        TlsAcceptor::from(server).accept(stream).await
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) {
        match load(&self.files) {
            Ok(server) => self.take(server),
            Err(error) => self.refuse(&error),
        }
    }

    /// Files that look as they did when they could not be used: what ails them is told once.
    fn read_again(&self) {
        match load(&self.files) {
            Ok(server) => self.take(server),
            Err(error) => {
                if self.problem() != Some(mainstay_rt::error::chain(&error)) {
                    self.refuse(&error);
                }
            }
        }
    }

    fn take(&self, server: Arc<ServerConfig>) {
        *self.lock() = Shown {
            server: Some(server),
            problem: None,
        };
        let certificate = self.files.certificate.display();
        tracing::info!(%certificate, "took a certificate");
    }

    fn refuse(&self, error: &DoorError) {
        let certificate = self.files.certificate.display();
        let problem = mainstay_rt::error::chain(error);
        tracing::error!(%certificate, problem, "the certificate cannot be used; the last good one stays, if there was one");
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.lock().problem = Some(problem);
    }
}

fn follow(door: &Weak<Door>, mut known: [Stamp; 3]) {
    loop {
        std::thread::park_timeout(LOOK_PERIOD);
        let Some(door) = door.upgrade() else {
            return;
        };
        let found = stamps(&door.files);
        if found != known {
            known = found;
            door.read();
        } else if door.problem().is_some() {
            // What ails them may lie where no stamp tells: in the rights of a folder, or in another file.
            door.read_again();
        }
    }
}

fn stamps(files: &ListenerTls) -> [Stamp; 3] {
    let clients = files.clients.as_ref().unwrap_or(&files.certificate);
    [&files.certificate, &files.key, clients].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DoorError> {
    let path = path.to_owned();
    let read =
        CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(DoorError::Empty { path }),
        Ok(found) => Ok(found),
        Err(source) => Err(DoorError::Read { path, source }),
    }
}

fn load(files: &ListenerTls) -> Result<Arc<ServerConfig>, DoorError> {
    let ListenerTls {
        certificate,
        key,
        clients,
    } = files;
    let show = |source| DoorError::Show {
        certificate: certificate.clone(),
        key: key.clone(),
        source,
    };
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|source| DoorError::Read {
        path: key.clone(),
        source,
    })?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = match clients {
        None => Arc::new(NoClientAuth),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(path)? {
                let path = path.clone();
                roots
                    .add(root)
                    .map_err(|source| DoorError::Root { path, source })?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|source| DoorError::Roots {
                    path: path.clone(),
                    source,
                })?
        }
    };
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(show)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, secret)
        .map_err(show)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Clients come again; the tickets' key is forgotten with this certificate.
    server.ticketer = Ticketer::new().map_err(show)?;
    Ok(Arc::new(server))
}
