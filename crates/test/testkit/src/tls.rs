//! TLS to PostgreSQL as a careful client has it: `sslmode=verify-full`, with the roots of a file.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Connections on which the other side must prove its name, or its address, by one of these roots (PEM).
///
/// # Errors
/// When the file cannot be read or holds no root.
pub fn believing(roots: &Path) -> Result<MakeRustlsConnect> {
    let mut store = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(roots);
    for root in read.with_context(|| format!("read the roots {}", roots.display()))? {
        let root = root.with_context(|| format!("understand the roots {}", roots.display()))?;
        store.add(root).context("believe a root")?;
    }
    ensure!(!store.is_empty(), "{} holds no root", roots.display());
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("set TLS up")?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
