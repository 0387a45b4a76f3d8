//! The two files, read and followed.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

const IDENTITY: &str = "MAINSTAY_TLS_IDENTITY";
const ROOTS: &str = "MAINSTAY_TLS_ROOTS";
/// Between two looks whether a file has changed.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{IDENTITY} is set and {ROOTS} is not: set both, or neither to speak in the clear")]
    NoRoots,
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: pem::Error },
    #[error("use {}", path.display())]
    Use {
        path: PathBuf,
        source: rustls::Error,
    },
    #[error("believe the roots of {}", path.display())]
    Believe {
        path: PathBuf,
        source: VerifierBuilderError,
    },
    #[error("start a thread that follows the identity")]
    Thread { source: io::Error },
}

#[derive(Debug)]
struct Files {
    own: PathBuf,
    roots: PathBuf,
}

/// What tells two states of a file apart.
type Stamp = Option<(u64, i64, i64, u64)>;

/// Who a program is, and whom it lets in.
pub struct Identity {
    files: Files,
    server: Mutex<Arc<ServerConfig>>,
}

/// The files' names only, so that no log can hold a key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.files).finish()
    }
}

impl Identity {
    /// From `MAINSTAY_TLS_IDENTITY` and `MAINSTAY_TLS_ROOTS`; `None` if neither is set.
    ///
    /// # Errors
    /// When only the first is set, or what the files hold is of no use.
    pub fn from_lookup(
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Arc<Self>>, IdentityError> {
        let path = |name: &str| lookup(name).filter(|path| !path.is_empty());
        let Some(own) = path(IDENTITY) else {
            return Ok(None);
        };
        let roots = path(ROOTS).ok_or(IdentityError::NoRoots)?;
        Self::open(Path::new(&own), Path::new(&roots)).map(Some)
    }

    /// Reads the files and follows them from then on, for as long as the identity is held. They are read on a thread of
    /// their own, so that a disk that hangs delays no answer.
    ///
    /// # Errors
    /// When what they hold is of no use.
    pub fn open(own: &Path, roots: &Path) -> Result<Arc<Self>, IdentityError> {
        let files = Files {
            own: own.to_owned(),
            roots: roots.to_owned(),
        };
        let known = stamps(&files);
        let server = Mutex::new(load(&files)?);
        let this = Arc::new(Self { files, server });
        let followed = Arc::downgrade(&this);
        std::thread::Builder::new()
            .name("identity".to_owned())
            .spawn(move || follow(&followed, known))
            .map_err(|source| IdentityError::Thread { source })?;
        Ok(this)
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&server))
    }

    fn read_again(&self) -> Result<(), IdentityError> {
        let server = load(&self.files)?;
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
        tracing::info!(identity = %self.files.own.display(), "took another identity");
        Ok(())
    }
}

/// Files with a problem are read again at each look, until they are of use: other rights on them change no stamp, nor do
/// descriptors that are there again. The problem is told once.
fn follow(identity: &Weak<Identity>, mut known: [Stamp; 2]) {
    let mut problem: Option<String> = None;
    loop {
        std::thread::park_timeout(LOOK_PERIOD);
        let Some(identity) = identity.upgrade() else {
            return;
        };
        let found = stamps(&identity.files);
        if found == known && problem.is_none() {
            continue;
        }
        known = found;
        let now = identity.read_again().err().map(|error| described(&error));
        if let Some(error) = now.as_ref().filter(|_| now != problem) {
            tracing::warn!(
                error,
                "the identity's new files cannot be used; the last good ones stay"
            );
        }
        problem = now;
    }
}

fn described(error: &IdentityError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn stamps(files: &Files) -> [Stamp; 2] {
    [&files.own, &files.roots].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
    })
}

fn load(files: &Files) -> Result<Arc<ServerConfig>, IdentityError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| IdentityError::Read { path, source }
    };
    let of_use = |path: &Path| {
        let path = path.to_owned();
        move |source| IdentityError::Use { path, source }
    };
    let Files { own, roots } = files;
    let key = PrivateKeyDer::from_pem_file(own).map_err(read(own))?;
    let chain = CertificateDer::pem_file_iter(own)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(read(own))?;
    let mut believed = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(roots).map_err(read(roots))? {
        let root = root.map_err(read(roots))?;
        believed.add(root).map_err(of_use(roots))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let callers =
        WebPkiClientVerifier::builder_with_provider(Arc::new(believed), Arc::clone(&provider))
            .build()
            .map_err(|source| IdentityError::Believe {
                path: roots.clone(),
                source,
            })?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(of_use(own))?
        .with_client_cert_verifier(callers)
        .with_single_cert(chain, key)
        .map_err(of_use(own))?;
    // Whoever comes again need not sign again. The tickets' key is forgotten with this identity.
    server.ticketer = Ticketer::new().map_err(of_use(own))?;
    server.send_tls13_tickets = 1;
    Ok(Arc::new(server))
}
