//! Who may connect to a server, what it proves, and what becomes of that when certificates and versions change.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use mainstay_identity::authority::Authority;
use mainstay_identity::{Identity, end_point};
use mainstay_record::identity::{IdentityFiles, identity_name};
use mainstay_record::keeper::SightRole;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::client::{self, Writer};
use crate::cluster::{COUNT, Cluster, SERVER_ROLE};

/// Streams of the primary to its replicas, how many of them, and with which protocol. Keepers that ask whether log is still
/// there are seen as streams for a moment.
const STREAMS: &str = "SELECT count(*) FILTER (WHERE ssl AND version = 'TLSv1.3') || ' of ' || count(*) \
    FROM pg_stat_ssl JOIN pg_stat_replication USING (pid) \
    WHERE client_addr IS NOT NULL AND application_name ~ '^mainstay_[0-9]'";
const ROLES: [(&str, &str, &str); 3] = [
    ("shop", "secret-application", "shop"),
    ("mainstay", "secret-superuser", "postgres"),
    ("mainstay_replication", "secret-replication", "postgres"),
];

fn name(which: usize) -> String {
    identity_name(SERVER_ROLE, &format!("host-{}", which + 1), "test")
}

/// Nobody comes in without TLS, nobody who looks takes another for a server, and replicas do look.
pub fn plain_refused() -> Result<()> {
    let cluster = Cluster::healthy()?;
    let (primary, _) = cluster.await_primary(0)?;
    for which in 0..COUNT {
        for role in ROLES {
            let code = cluster.runtime.block_on(plain(&cluster, which, role))?;
            ensure!(
                code == Some(SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
                "{role:?} at {which} without TLS: {code:?}"
            );
        }
    }
    let roots = std::fs::read(Authority::new(&cluster.authority(), "test").roots())?;
    let ours = cluster.path(0).join("believed.pem");
    std::fs::write(&ours, roots)?;
    let elsewhere = tempfile::tempdir()?;
    let stranger = Authority::new(elsewhere.path(), "test");
    stranger.keep(mainstay_rt::clock::wall_ms())?;
    let address = cluster.postgres_address(primary).ip().to_string();
    let by_name = format!("host={} hostaddr={address}", name(primary));
    let other_name = format!("host={} hostaddr={address}", name((primary + 1) % COUNT));
    let by_address = format!("host={address}");
    for (place, believed, expected) in [
        (&by_name, ours.clone(), Ok("t|TLSv1.3")),
        (&by_address, ours.clone(), Ok("t|TLSv1.3")),
        (&by_name, stranger.roots(), Err("certificate verify failed")),
        (&other_name, ours.clone(), Err("does not match host name")),
    ] {
        let ask = || {
            psql(
                &format!("{place} sslmode=verify-full channel_binding=require"),
                &believed,
                "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
            )
        };
        match expected {
            // A primary that was cut off lets nobody in for a moment.
            Ok(line) => cluster
                .wait("a session that is encrypted", || {
                    let shown = ask().ok()?;
                    (said(&shown.stdout).trim() == line).then_some(())
                })
                .with_context(|| place.clone())?,
            Err(why) => {
                let shown = ask()?;
                ensure!(said(&shown.stderr).contains(why), "{place}: {shown:?}");
            }
        }
    }
    let older = psql(
        &format!("{by_name} sslmode=verify-full ssl_max_protocol_version=TLSv1.2"),
        &ours,
        "SELECT 1",
    )?;
    ensure!(!older.status.success(), "TLS 1.2 is spoken: {older:?}");
    await_streams(&cluster, primary, "2 of 2")?;
    let shown = client::superuser(&cluster, (primary + 1) % COUNT, "SHOW primary_conninfo")?;
    let shown = shown.unwrap_or_default();
    ensure!(
        shown.contains("sslmode=verify-full") && shown.contains("channel_binding=require"),
        "{shown}"
    );
    Ok(())
}

fn await_streams(cluster: &Cluster, primary: usize, expected: &str) -> Result<()> {
    cluster.wait("streams with TLS", || {
        let streams = client::superuser(cluster, primary, STREAMS).ok()??;
        (streams == expected).then_some(())
    })
}

/// A leaf is replaced while a session lives: the server shows the new one to the next, nobody is restarted and no
/// session ends; one that cannot be used changes nothing.
pub fn certificate_renewed() -> Result<()> {
    let cluster = Cluster::healthy()?;
    let (primary, term) = cluster.await_primary(0)?;
    let session = client::superuser_session(&cluster, primary)?;
    let postmaster = cluster.postmaster(primary)?;
    let look = |which| cluster.runtime.block_on(shown(&cluster, which));
    let laid = cluster.identity(primary, SERVER_ROLE)?.own;
    let first = look(primary)?;
    let whole = std::fs::read(&laid)?;
    std::fs::write(&laid, &whole[..whole.len() / 2])?;
    // Long enough to have been looked at, whatever it is read as.
    cluster.pause(std::time::Duration::from_secs(3));
    ensure!(look(primary)? == first, "half a leaf is shown");
    std::fs::remove_file(&laid)?;
    cluster.identity(primary, SERVER_ROLE)?;
    cluster.wait("the new leaf to be shown", || {
        look(primary).ok().filter(|now| *now != first)
    })?;
    let alive = cluster.runtime.block_on(session.simple_query("SELECT 1"));
    ensure!(alive.is_ok(), "the session ended");
    ensure!(cluster.postmaster(primary)? == postmaster, "a new server");
    let used = std::fs::metadata(cluster.path(primary).join("keeper/server.pem"))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&used.permissions()) & 0o777;
    ensure!(mode == 0o600, "others may read the key: {mode:o}");
    ensure!(cluster.await_healthy()? == (primary, term), "a failover");
    Ok(())
}

/// Servers of a version that knew no TLS go on under keepers that know it: they offer it at once, the streams change
/// over, nobody comes in without any more, and who is in stays.
pub fn plain_adopted() -> Result<()> {
    let mut cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let (primary, _) = cluster.await_healthy()?;
    for which in 0..COUNT {
        cluster.kill_keeper(which);
        forget_tls(&cluster, which)?;
    }
    let [application, superuser, _] = ROLES;
    let old = cluster.wait("a server that wants no TLS", || {
        let opened = cluster
            .runtime
            .block_on(open_plain(&cluster, primary, superuser));
        opened.ok()
    })?;
    cluster.wait("streams without TLS", || {
        let rows = cluster.runtime.block_on(old.simple_query(STREAMS)).ok()?;
        rows.iter().find_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => (row.get(0)? == "0 of 2").then_some(()),
            _ => None,
        })
    })?;
    let postmaster = cluster.postmaster(primary)?;
    // A standby first, then the primary: so commits have their quorum at each moment. The third follows when the primary is
    // one again: two that know of none might elect another.
    for step in [1, 0] {
        cluster.start_keeper((primary + step) % COUNT)?;
    }
    cluster.wait("the primary to be adopted", || {
        let role = cluster.status(primary).ok()?.sight.role;
        (role == SightRole::Primary).then_some(())
    })?;
    cluster.start_keeper((primary + 2) % COUNT)?;
    await_streams(&cluster, primary, "2 of 2")?;
    for which in 0..COUNT {
        cluster.wait("a server that wants TLS", || {
            let refused = plain(&cluster, which, application);
            cluster.runtime.block_on(refused).ok().flatten()
        })?;
    }
    ensure!(cluster.postmaster(primary)? == postmaster, "a new server");
    let alive = cluster.runtime.block_on(old.simple_query("SELECT 1"));
    ensure!(alive.is_ok(), "the old session ended");
    let (primary, term) = cluster.await_healthy()?;
    let writer = Writer::start(&cluster)?;
    writer.await_more(&cluster, 20)?;
    cluster.kill_postmaster(primary)?;
    cluster.await_primary(term)?;
    writer.await_more(&cluster, 20)?;
    cluster.await_healthy()?;
    client::check(&cluster, &writer.finish()?)
}

/// Writes the files of a server as a version before TLS did, and has it read them.
fn forget_tls(cluster: &Cluster, which: usize) -> Result<()> {
    let pgdata = cluster.pgdata(which);
    let change = |file: &str, change: &dyn Fn(&str) -> Result<String>| -> Result<()> {
        let path = pgdata.join(file);
        let text = std::fs::read_to_string(&path)?;
        let lines: Vec<String> = text.lines().map(change).collect::<Result<_>>()?;
        Ok(std::fs::write(&path, lines.join("\n") + "\n")?)
    };
    change("pg_hba.conf", &|line| {
        Ok(line.replacen("hostssl ", "host ", 1))
    })?;
    change("postgresql.conf", &|line| {
        if let Some(stance) = line.strip_prefix("# stance: ") {
            let mut stance: Value = serde_json::from_str(stance)?;
            if let Some(following) = stance["following"].as_object_mut() {
                following.remove("proof").context("no proof")?;
            }
            return Ok(format!("# stance: {stance}"));
        }
        if line.starts_with("ssl") {
            return Ok("ssl = 'off'".to_owned());
        }
        let plain = line.split(' ').filter(|word| !word.starts_with("ssl"));
        let plain = plain.filter(|word| !word.starts_with("channel_binding"));
        let plain: Vec<&str> = plain.collect();
        Ok(plain.join(" ").replace("user=", "sslmode=disable user="))
    })?;
    Ok(kill_process(cluster.postmaster(which)?, Signal::HUP)?)
}

/// With what a server refuses somebody who speaks no TLS; `None` if it does not.
async fn plain(
    cluster: &Cluster,
    which: usize,
    role: (&str, &str, &str),
) -> Result<Option<SqlState>> {
    match open_plain(cluster, which, role).await {
        Ok(_) => Ok(None),
        Err(error) => {
            let error: tokio_postgres::Error = error.downcast()?;
            Ok(error.code().cloned())
        }
    }
}

async fn open_plain(
    cluster: &Cluster,
    which: usize,
    (user, password, database): (&str, &str, &str),
) -> Result<tokio_postgres::Client> {
    let stream = TcpStream::connect(cluster.postgres_address(which)).await?;
    let mut config = tokio_postgres::Config::new();
    config.user(user).password(password).dbname(database);
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The hash of the leaf that a server shows to somebody new.
async fn shown(cluster: &Cluster, which: usize) -> Result<[u8; 32]> {
    let mut stream = TcpStream::connect(cluster.postgres_address(which)).await?;
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
    ensure!(stream.read_u8().await? == b'S', "no TLS");
    let IdentityFiles { own, roots } = cluster.identity(which, "keeper-orders")?;
    let identity = Identity::read(IdentityFiles { own, roots })?;
    let stream = identity.connect(stream, &name(which)).await?;
    end_point(&stream).context("nothing is shown")
}

/// As somebody at a terminal would.
pub fn psql(place: &str, believed: &Path, statement: &str) -> Result<Output> {
    let mut psql = psql_command(place, believed)?;
    let output = psql.arg("--command").arg(statement).output();
    output.context("run psql")
}

/// The same, with nothing asked yet.
pub fn psql_command(place: &str, believed: &Path) -> Result<Command> {
    let mut psql = Command::new(mainstay_testkit::postgres::programs()?.join("psql"));
    psql.args([
        "--no-psqlrc",
        "--no-password",
        "--tuples-only",
        "--no-align",
    ])
    .arg("--dbname")
    .arg(format!(
        "{place} user=shop dbname=shop sslrootcert={}",
        believed.display()
    ))
    .env("PGPASSWORD", "secret-application")
    .env("LC_ALL", "C");
    Ok(psql)
}

pub fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
