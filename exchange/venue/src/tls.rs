//! Whether the server must prove itself, and by which roots.
//!
//! The variables are PostgreSQL's own. Half measures are not taken: either nothing is encrypted (`disable`, for
//! sockets and for servers on trial), or the server proves the name or address that was asked for (`verify-full`).
//! Roots are read for every connection, so they may appear late and change.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// No TLS.
    #[default]
    Nothing,
    /// A server that proves its name by a root of this file (PEM).
    Roots(PathBuf),
}

impl Trust {
    /// From `PGSSLMODE` and `PGSSLROOTCERT`.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        match lookup("PGSSLMODE").as_deref() {
            None | Some("" | "disable") => Ok(Self::Nothing),
            Some("verify-full") => {
                let roots = lookup("PGSSLROOTCERT").filter(|path| !path.is_empty());
                let roots = roots.context(
                    "PGSSLMODE is verify-full, and PGSSLROOTCERT names no file with roots",
                )?;
                Ok(Self::Roots(PathBuf::from(roots)))
            }
            Some(other) => bail!("PGSSLMODE is {other:?}: say disable or verify-full"),
        }
    }

    /// What a connection proves the server by; with [`Trust::Nothing`] it is not asked.
    pub fn connector(&self) -> io::Result<MakeRustlsConnect> {
        let mut store = RootCertStore::empty();
        if let Self::Roots(path) = self {
            for root in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
                let root = root.map_err(io::Error::other)?;
                store.add(root).map_err(io::Error::other)?;
            }
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mode: Option<&str>, roots: Option<&str>) -> anyhow::Result<Trust> {
        Trust::from_lookup(&|name| {
            let value = match name {
                "PGSSLMODE" => mode,
                _ => roots,
            };
            value.map(str::to_owned)
        })
    }

    #[test]
    fn half_measures_are_refused() {
        let full = Trust::Roots(PathBuf::from("/roots"));
        assert_eq!(check(None, None).unwrap(), Trust::Nothing);
        assert_eq!(
            check(Some("disable"), Some("/roots")).unwrap(),
            Trust::Nothing
        );
        assert_eq!(check(Some("verify-full"), Some("/roots")).unwrap(), full);
        for (mode, roots) in [
            ("verify-full", None),
            ("prefer", Some("/roots")),
            ("require", None),
        ] {
            assert!(check(Some(mode), roots).is_err(), "{mode}");
        }
    }

    #[test]
    fn roots_that_are_not_there_are_an_error_of_the_connection_only() {
        let trust = Trust::Roots(PathBuf::from("/nonexistent/roots.pem"));
        assert!(trust.connector().is_err());
        assert!(Trust::Nothing.connector().is_ok());
    }
}
