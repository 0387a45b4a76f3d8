//! A leaf in use: connections on which both sides have shown who they are.
//!
//! TLS 1.3 only, keys on P-256. Connections between processes of Mainstay are few and long, so each proves itself anew.
//! Services are asked often and by new connections; those may go on from an earlier proof, which both sides forget with
//! the leaf that gave it.
//! The files are read on a thread of their own, so that a hung disk stops the renewal and nothing else; what cannot
//! be read, or does not fit together, is told and the last good leaf stays in use.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use mainstay_record::identity::IdentityFiles;
use mainstay_rt::files;
use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

const FILE_LIMIT: u64 = 1 << 20;
/// Of so many names earlier proofs are kept.
const NAMES_RESUMED: usize = 256;
/// Between two looks for another leaf.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("read the identity {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("understand the identity {}", path.display())]
    Pem {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("use the identity {}", path.display())]
    Tls {
        path: PathBuf,
        source: rustls::Error,
    },
    #[error("use the roots {}", path.display())]
    Roots {
        path: PathBuf,
        source: rustls::client::VerifierBuilderError,
    },
    #[error("start a thread that watches the identity")]
    Thread { source: io::Error },
}

/// Whoever is at the other end, proven.
#[derive(Clone, Debug)]
pub struct Peer(CertificateDer<'static>);

impl Peer {
    /// Whether it has this name.
    pub fn is(&self, name: &str) -> bool {
        let (Ok(certificate), Ok(name)) = (
            ParsedCertificate::try_from(&self.0),
            ServerName::try_from(name),
        ) else {
            return false;
        };
        verify_server_name(&certificate, &name).is_ok()
    }
}

/// What binds a password's proof to the connection (`tls-server-end-point`, RFC 5929): a hash of what the other side
/// has shown. The authority signs with SHA-256, so that is the hash.
pub fn end_point<S>(stream: &client::TlsStream<S>) -> Option<[u8; 32]> {
    let shown = stream.get_ref().1.peer_certificates()?.first()?;
    Some(Sha256::digest(shown).into())
}

/// What tells two states of a file apart.
type Stamp = Option<(u64, i64, i64, u64)>;

#[derive(Clone)]
struct Loaded {
    client: Arc<ClientConfig>,
    /// As `client`, and takes the tickets that it is offered.
    resuming: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    /// As a server to whoever comes, named or not.
    open: Arc<ServerConfig>,
}

/// A leaf in use.
pub struct Identity {
    files: IdentityFiles,
    loaded: Mutex<Loaded>,
}

/// The files' names only, so that no log can hold a key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.files).finish()
    }
}

impl Identity {
    /// Reads the files, once.
    ///
    /// # Errors
    /// When they cannot be read or do not fit together.
    pub fn read(files: IdentityFiles) -> Result<Self, IdentityError> {
        let loaded = Mutex::new(load(&files)?);
        Ok(Self { files, loaded })
    }

    /// Reads the files and follows them from then on, for as long as the identity is held.
    ///
    /// # Errors
    /// When they cannot be read or do not fit together.
    pub fn open(files: IdentityFiles) -> Result<Arc<Self>, IdentityError> {
        let stamps = stamps(&files);
        let this = Arc::new(Self::read(files)?);
        let watched = Arc::downgrade(&this);
        std::thread::Builder::new()
            .name("identity".to_owned())
            .spawn(move || watch(&watched, stamps))
            .map_err(|source| IdentityError::Thread { source })?;
        Ok(this)
    }

    /// Opens TLS to whoever has this name.
    ///
    /// # Errors
    /// When the other side cannot prove the name, does not believe us, or breaks off.
    pub async fn connect<S>(&self, stream: S, name: &str) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        open(self.loaded().client, stream, name).await
    }

    /// As [`Identity::connect`], going on from an earlier proof of that name if the other side has offered to: that
    /// spares both of them the signatures.
    ///
    /// # Errors
    /// As [`Identity::connect`].
    pub async fn reconnect<S>(&self, stream: S, name: &str) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        open(self.loaded().resuming, stream, name).await
    }

    /// Accepts TLS from whoever proves that the platform's authority named it.
    ///
    /// # Errors
    /// When the other side has no such proof, or breaks off.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(server::TlsStream<S>, Peer)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.loaded().server;
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let shown = shown.and_then(|chain| chain.first()).cloned();
        let shown = shown.ok_or(io::ErrorKind::PermissionDenied)?;
        Ok((stream, Peer(shown.into_owned())))
    }

    /// Accepts TLS from whoever comes; one that shows a name has it from the platform's authority.
    ///
    /// # Errors
    /// When the other side shows a name that is not of the platform, or breaks off.
    pub async fn accept_any<S>(&self, stream: S) -> io::Result<(server::TlsStream<S>, Option<Peer>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.loaded().open;
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let shown = shown.and_then(|chain| chain.first()).cloned();
        Ok((stream, shown.map(|shown| Peer(shown.into_owned()))))
    }

    fn loaded(&self) -> Loaded {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.clone()
    }

    /// Takes what the files hold now; the last good leaf stays if that cannot be used.
    fn reload(&self) {
        match load(&self.files) {
            Ok(loaded) => {
                *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = loaded;
                tracing::debug!(own = %self.files.own.display(), "took another leaf");
            }
            Err(error) => {
                tracing::warn!(%error, source = ?std::error::Error::source(&error), "the identity's new files cannot be used; the last good ones stay");
            }
        }
    }
}

async fn open<S>(
    config: Arc<ClientConfig>,
    stream: S,
    name: &str,
) -> io::Result<client::TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(name.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    TlsConnector::from(config).connect(name, stream).await
}

fn watch(identity: &Weak<Identity>, mut known: [Stamp; 2]) {
    loop {
        std::thread::park_timeout(LOOK_PERIOD);
        let Some(identity) = identity.upgrade() else {
            return;
        };
        let found = stamps(&identity.files);
        if found != known {
            known = found;
            identity.reload();
        }
    }
}

fn stamps(files: &IdentityFiles) -> [Stamp; 2] {
    [&files.own, &files.roots].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    files::read_limited(path, FILE_LIMIT).map_err(|source| IdentityError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Whether a leaf with its key, and roots, are of use to whoever reads them.
///
/// # Errors
/// When they are not what they should be, or do not fit together; `files` says what they are called.
pub fn check(files: &IdentityFiles, own: &[u8], roots: &[u8]) -> Result<(), IdentityError> {
    understand(files, own, roots).map(drop)
}

fn load(files: &IdentityFiles) -> Result<Loaded, IdentityError> {
    understand(files, &read(&files.own)?, &read(&files.roots)?)
}

fn understand(
    files: &IdentityFiles,
    leaf: &[u8],
    believed: &[u8],
) -> Result<Loaded, IdentityError> {
    let own = &files.own;
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |source| IdentityError::Pem { path, source }
    };
    let tls = |path: &Path| {
        let path = path.to_owned();
        move |source| IdentityError::Tls { path, source }
    };
    let key = PrivateKeyDer::from_pem_slice(leaf).map_err(pem(own))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(leaf)
        .collect::<Result<_, _>>()
        .map_err(pem(own))?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(believed) {
        let root = root.map_err(pem(&files.roots))?;
        roots.add(root).map_err(tls(&files.roots))?;
    }
    let roots = Arc::new(roots);
    let believed = || WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
    let serving = |verifier: Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError>| {
        let verifier = verifier.map_err(|source| IdentityError::Roots {
            path: files.roots.clone(),
            source,
        })?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls(own))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(tls(own))?;
        server.send_tls13_tickets = 0;
        Ok(Arc::new(server))
    };
    let server = serving(believed().build())?;
    let open = serving(believed().allow_unauthenticated().build())?;
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls(own))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(tls(own))?;
    let mut resuming = client.clone();
    resuming.resumption = Resumption::in_memory_sessions(NAMES_RESUMED);
    client.resumption = Resumption::disabled();
    Ok(Loaded {
        client: Arc::new(client),
        resuming: Arc::new(resuming),
        server,
        open,
    })
}
