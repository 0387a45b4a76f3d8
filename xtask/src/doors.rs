//! The doors that gateways open to the primary: each must let a client in and keep it.
//!
//! An auditor that fails at one gateway goes to the next, as any client would; so it takes a look of its own
//! to see that none of them is shut. A session is kept for longer than a lease lasts and used at its end: a
//! gateway that does not hear of the lease's renewal would have cut it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::flow::PRIMARY_PORT;
use crate::platform::{DATABASE, Platform, hosts};

/// Longer than a lease of a keeper.
const KEPT: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(20);
/// All doors have to let their clients in and keep them in one of these.
const ROUNDS: u32 = 3;
const HEALTHY_LIMIT: Duration = Duration::from_secs(120);

/// Goes through the door of every gateway at the same time. A session ends with the primary that it began at: where one
/// moves meanwhile, all of them are tried again.
pub fn check(platform: &Platform) -> Result<()> {
    for _ in 1..ROUNDS {
        let Err(error) = try_all(platform) else {
            return Ok(());
        };
        println!("  once more through every door: {error:#}");
        platform.wait_healthy(HEALTHY_LIMIT)?;
    }
    try_all(platform)
}

fn try_all(platform: &Platform) -> Result<()> {
    let secret = platform
        .data()
        .join("secrets")
        .join(format!("{DATABASE}-application"));
    let password = std::fs::read_to_string(secret).context("read the application's password")?;
    let hosts = hosts(&platform.status()?)?;
    let proof = believing(&platform.roots())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a client")?;
    runtime.block_on(async {
        let mut sessions = tokio::task::JoinSet::new();
        for host in &hosts {
            let (name, address) = (host.name.clone(), host.address.clone());
            let password = password.trim().to_owned();
            let proof = proof.clone();
            sessions.spawn(async move {
                tokio::time::timeout(LIMIT, through(&address, &password, proof))
                    .await
                    .with_context(|| format!("the door of {name}: nothing within {LIMIT:?}"))?
                    .with_context(|| format!("the door of {name}"))
            });
        }
        while let Some(done) = sessions.join_next().await {
            done.context("a client ended")??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    println!(
        "  all {} gateways lead to the primary and keep their sessions",
        hosts.len()
    );
    Ok(())
}

/// What whoever is behind a door must prove itself by.
fn believing(roots: &Path) -> Result<MakeRustlsConnect> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(roots).context("read the platform's roots")? {
        store.add(root.context("understand a root")?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

async fn through(address: &str, password: &str, proof: MakeRustlsConnect) -> Result<()> {
    let mut config = tokio_postgres::Config::new();
    config
        .host(address)
        .port(PRIMARY_PORT)
        .user("application")
        .dbname(DATABASE)
        .password(password)
        .ssl_mode(SslMode::Require);
    let (client, connection) = config.connect(proof).await.context("connect")?;
    let driver = tokio::spawn(connection);
    for moment in ["at once", "after a lease's time"] {
        let row = client
            .query_one("SELECT pg_is_in_recovery()", &[])
            .await
            .with_context(|| format!("ask {moment}"))?;
        ensure!(!row.get::<_, bool>(0), "{moment}: it leads to a standby");
        tokio::time::sleep(KEPT).await;
    }
    drop(client);
    driver.await.context("end the session")??;
    Ok(())
}
