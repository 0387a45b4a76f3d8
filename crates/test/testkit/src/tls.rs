//! TLS as a careful client has it: the other side proves its name, by the roots of a file.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections on which the other side must prove its name, or its address, by one of these roots (PEM).
///
/// # Errors
/// When the file cannot be read or holds no root.
pub fn believing(roots: &Path) -> Result<MakeRustlsConnect> {
    Ok(MakeRustlsConnect::new(config(roots)?))
}

/// Sends these bytes to whoever proves to have this name, without a certificate of one's own, and reads what comes until the
/// connection ends.
///
/// # Errors
/// When nobody is there, or whoever is does not prove the name.
pub fn exchange(address: SocketAddr, name: &str, roots: &Path, bytes: &[u8]) -> Result<String> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let name = name.to_owned().try_into().context("a name")?;
    let connection = ClientConnection::new(Arc::new(config(roots)?), name).context("begin TLS")?;
    let mut stream = StreamOwned::new(connection, stream);
    stream.write_all(bytes).context("send")?;
    let mut answer = Vec::new();
    // Whoever ends without a farewell has said what it had to say.
    let ended = stream.read_to_end(&mut answer);
    ensure!(ended.is_ok() || !answer.is_empty(), "no answer: {ended:?}");
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn config(roots: &Path) -> Result<ClientConfig> {
    let mut store = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(roots);
    for root in read.with_context(|| format!("read the roots {}", roots.display()))? {
        let root = root.with_context(|| format!("understand the roots {}", roots.display()))?;
        store.add(root).context("believe a root")?;
    }
    ensure!(!store.is_empty(), "{} holds no root", roots.display());
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    Ok(builder
        .with_safe_default_protocol_versions()
        .context("set TLS up")?
        .with_root_certificates(store)
        .with_no_client_auth())
}
