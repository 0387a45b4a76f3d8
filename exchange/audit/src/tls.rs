//! A judge must know whose books he reads: with `PGSSLMODE=verify-full` the server has to prove the name or address
//! that was asked for, by a root of the file that `PGSSLROOTCERT` names.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::AuditError;

/// Takes what the environment says of TLS into the settings.
pub fn settings(config: &mut Config) -> Result<(), AuditError> {
    let mode = std::env::var("PGSSLMODE").unwrap_or_default();
    match mode.as_str() {
        "" | "disable" => config.ssl_mode(SslMode::Disable),
        "verify-full" => config.ssl_mode(SslMode::Require),
        other => {
            return Err(AuditError::Settings(format!(
                "PGSSLMODE '{other}': say disable or verify-full"
            )));
        }
    };
    Ok(())
}

/// What the server must prove itself by; asked only where the settings demand TLS.
pub fn connector(config: &Config) -> Result<MakeRustlsConnect, AuditError> {
    let mut store = RootCertStore::empty();
    if config.get_ssl_mode() == SslMode::Require {
        let path = std::env::var_os("PGSSLROOTCERT").map(PathBuf::from);
        let path = path.ok_or_else(|| {
            AuditError::Settings("TLS is demanded, and PGSSLROOTCERT names no file".to_owned())
        })?;
        let wrong =
            |problem: String| AuditError::Settings(format!("roots {}: {problem}", path.display()));
        let roots = CertificateDer::pem_file_iter(&path).map_err(|e| wrong(e.to_string()))?;
        for root in roots {
            let root = root.map_err(|e| wrong(e.to_string()))?;
            store.add(root).map_err(|e| wrong(e.to_string()))?;
        }
        if store.is_empty() {
            return Err(wrong("none there".to_owned()));
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| AuditError::Settings(error.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
