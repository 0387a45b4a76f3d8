//! What the server shows to whoever connects, and whom it believes.
//!
//! The node lays a leaf and the roots down where only its own user can read them. The keeper looks at them again and
//! again, and copies what is new and fits together to where the server's user reads it; the server takes that by a
//! reload, and open sessions go on. A server does not start with a certificate that it cannot use, so nothing is
//! copied that has not been tried.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_identity::IdentityError;
use mainstay_record::identity::IdentityFiles;
use tokio::sync::watch;

use crate::commands::chain;
use crate::programs::Programs;
use crate::setup::Setup;

const FILE_LIMIT: u64 = 1 << 20;
/// Between two looks for another leaf.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("read {} for the server", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("write {} for the server", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Unfit(#[from] IdentityError),
}

/// From where to where.
#[derive(Clone, Debug)]
pub struct Certificate {
    laid: IdentityFiles,
    /// For the server's user.
    used: IdentityFiles,
    programs: Programs,
}

impl Certificate {
    pub fn of(setup: &Setup) -> Self {
        Self {
            laid: setup.server_identity.clone(),
            used: setup.layout.certificate.clone(),
            programs: setup.programs.clone(),
        }
    }

    /// Copies what was laid down, if it is other than what is used. Says whether it was.
    ///
    /// # Errors
    /// When it cannot be read, written, or used; what is used then stays.
    pub fn take(&self) -> Result<bool, CertificateError> {
        let (own, roots) = (read(&self.laid.own)?, read(&self.laid.roots)?);
        let is_used =
            |path: &Path, bytes: &[u8]| std::fs::read(path).is_ok_and(|used| used == bytes);
        if is_used(&self.used.own, &own) && is_used(&self.used.roots, &roots) {
            return Ok(false);
        }
        mainstay_identity::check(&self.laid, &own, &roots)?;
        // Whom it believes comes first: the server may be reading both at any moment.
        for (path, bytes) in [(&self.used.roots, &roots), (&self.used.own, &own)] {
            let give = |path: &Path| self.programs.give(path);
            mainstay_rt::files::write_atomic_for(path, bytes, give).map_err(|source| {
                CertificateError::Write {
                    path: path.clone(),
                    source,
                }
            })?;
        }
        Ok(true)
    }

    /// As [`Certificate::take`], told and not returned; elsewhere, so that a disk that hangs holds up nobody.
    pub async fn look(&self) -> bool {
        let this = self.clone();
        match tokio::task::spawn_blocking(move || this.take()).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(error)) => {
                tracing::warn!(
                    error = chain(&error),
                    "the server keeps the certificate that it has"
                );
                false
            }
            Err(error) => {
                tracing::warn!(%error, "the server's certificate was not looked at");
                false
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let read = mainstay_rt::files::read_limited(path, FILE_LIMIT);
    read.map_err(|source| CertificateError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Copies what is new for as long as somebody listens, and says so.
pub async fn watch(certificate: Certificate, news: watch::Sender<u64>) {
    while !news.is_closed() {
        tokio::time::sleep(LOOK_PERIOD).await;
        if certificate.look().await {
            news.send_modify(|number| *number += 1);
        }
    }
}
