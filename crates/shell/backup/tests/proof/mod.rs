//! What a server shows to those who reach it over the network, and what becomes of one that shows something else.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use mainstay_backup::{Archive, Sources, chain, join};
use mainstay_identity::authority::Authority;
use mainstay_record::identity::{identity_name, server_role};
use mainstay_testkit::postgres::{TemporaryServer, account};
use mainstay_testkit::wait::wait_for;

use crate::PATIENCE;

/// As a keeper lays it down: over the network the archiver's role by TLS and password only.
const ACCESS: &str = "local all all trust\nhost all postgres all trust\n\
    hostssl all mainstay all scram-sha-256\nhostssl replication mainstay all scram-sha-256\n";

/// Who signs what a server shows.
pub const OWN: &str = "authority";
const FOREIGN: &str = "foreign";

/// Has the server speak TLS with the platform's leaf of host `a`.
pub fn begin(server: &TemporaryServer, folder: &Path) -> Result<()> {
    std::fs::write(server.data_directory().join("pg_hba.conf"), ACCESS)?;
    show(server, &folder.join(OWN), "a")?;
    let leaf = server.data_directory().join("leaf.pem");
    for set in [
        format!("ALTER SYSTEM SET ssl_cert_file = '{}'", leaf.display()),
        format!("ALTER SYSTEM SET ssl_key_file = '{}'", leaf.display()),
        "ALTER SYSTEM SET ssl = on".to_owned(),
        "SELECT pg_reload_conf()".to_owned(),
    ] {
        server.psql("postgres", &set)?;
    }
    wait_for("the server to speak TLS", PATIENCE, || {
        (server.psql("postgres", "SHOW ssl").ok()? == "on").then_some(())
    })
}

/// Lays down a leaf of that authority for the server of this host, and has it taken.
fn show(server: &TemporaryServer, authority: &Path, host: &str) -> Result<()> {
    let name = identity_name(&server_role("ledger"), host, "test");
    let issued = Authority::new(authority, "test").issue(&name, mainstay_rt::clock::wall_ms())?;
    let path = server.data_directory().join("leaf.pem");
    let account = account()?;
    mainstay_rt::files::write_atomic_for(&path, issued.pem.as_bytes(), |path| match account {
        Some(account) => std::os::unix::fs::chown(path, Some(account.user), Some(account.group)),
        None => Ok(()),
    })?;
    server.psql("postgres", "SELECT pg_reload_conf()")?;
    Ok(())
}

/// A leaf that somebody else signed, and one of ours for another host: nobody is asked anything, and the reason is said.
pub fn is_demanded(server: &TemporaryServer, folder: &Path, config: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let joined = || -> Result<()> {
        runtime.block_on(async {
            let mut archive = Archive::load(config)?;
            let sources = Sources::look(&archive.config).await;
            Ok(join(&mut archive, sources.primary()?).await?)
        })
    };
    for (authority, host, reason) in [
        (FOREIGN, "a", "certificate verify failed"),
        (OWN, "b", "does not match host name"),
    ] {
        show(server, &folder.join(authority), host)?;
        wait_for("the server to be refused", PATIENCE, || {
            let said = chain(joined().err()?.as_ref());
            said.contains(reason).then_some(())
        })
        .with_context(|| format!("a leaf of {authority} for host {host}"))?;
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'mainstay'";
    let made = server.psql("postgres", tables)?;
    ensure!(
        made == "0",
        "a server that proved nothing got {made} tables"
    );
    show(server, &folder.join(OWN), "a")?;
    let mut last = None;
    let taken = wait_for("the server to be believed", PATIENCE, || {
        joined().map_err(|error| last = Some(error)).ok()
    });
    match (taken, last) {
        (Err(late), Some(error)) => bail!("{late}: {error:#}"),
        (taken, _) => taken,
    }
}
