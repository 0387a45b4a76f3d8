//! Real keepers, servers and clients with a real gateway between them: encryption is between client and server, and the
//! gateway, which sees nothing of it, keeps its promises all the same.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use mainstay_identity::authority::Authority;
use mainstay_record::gateway::{
    DatabaseRole, DatabaseTarget, GATEWAY_SNAPSHOT_VERSION, GatewayLimits, GatewaySnapshot,
    Listeners, ReplicaTarget, TcpListener,
};

use crate::client;
use crate::cluster::{COUNT, Cluster};
use crate::tls::{psql, said};

const WHO: &str =
    "SELECT inet_server_addr(), ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// So many handovers must be told by the server itself, of at most so many: a busy machine may be too slow now and then.
const TOLD: usize = 3;
const HANDOVERS: usize = 12;

struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Sessions through a gateway prove the server to the client, password and connection bound together; what is not
/// encrypted is refused by the server; a switchover is told to a session in the middle of a statement, and the next
/// session finds the next primary.
pub fn gateway_passed() -> Result<()> {
    let cluster = Cluster::healthy()?;
    let (primary, term) = cluster.await_primary(0)?;
    let gateway = start(&cluster)?;
    let entrance = cluster.gateway_address();
    let place = format!("host={} port={}", entrance.ip(), entrance.port());
    let believed = cluster.path(0).join("believed.pem");
    let roots = Authority::new(&cluster.authority(), "test").roots();
    std::fs::copy(roots, &believed)?;
    let full = format!("{place} sslmode=verify-full channel_binding=require");
    let leads_to = |which: usize| {
        let expected = format!("{}|t|TLSv1.3", cluster.postgres_address(which).ip());
        cluster.wait("a session through the gateway", || {
            let shown = psql(&full, &believed, WHO).ok()?;
            (said(&shown.stdout).trim() == expected).then_some(())
        })
    };
    leads_to(primary)?;
    let plain = psql(&format!("{place} sslmode=disable"), &believed, WHO)?;
    ensure!(said(&plain.stderr).contains("no encryption"), "{plain:?}");
    let elsewhere = tempfile::tempdir()?;
    let stranger = Authority::new(elsewhere.path(), "test");
    stranger.keep(mainstay_rt::clock::wall_ms())?;
    let deceived = psql(&full, &stranger.roots(), WHO)?;
    let refused = said(&deceived.stderr).contains("certificate verify failed");
    ensure!(refused, "{deceived:?}");
    let (target, term) = hand_over(&cluster, (primary, term), (&full, &believed))?;
    leads_to(target)?;
    cluster.kill_postmaster(target)?;
    let (next, _) = cluster.await_primary(term)?;
    leads_to(next)?;
    drop(gateway);
    Ok(())
}

/// Hands over by plan under a session that sleeps, again and again, until enough of them were told by the server itself. One
/// that takes longer for it than the lease lasts has its sessions cut instead, which is right too, and rare.
fn hand_over(
    cluster: &Cluster,
    (mut primary, mut term): (usize, u32),
    (place, believed): (&str, &Path),
) -> Result<(usize, u32)> {
    let mut told = 0;
    let mut said_else = Vec::new();
    while told < TOLD && told + said_else.len() < HANDOVERS {
        let mut asleep = sleeper(place, believed)?;
        primary = cluster.wait("a session that sleeps", || {
            // A primary that was cut off for a moment has ended it.
            if asleep.try_wait().ok()?.is_some() {
                asleep = sleeper(place, believed).ok()?;
            }
            let question = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            let (now, _) = cluster.primary()?;
            let found = client::superuser(cluster, now, question).ok()??;
            (found == "1").then_some(now)
        })?;
        let target = (primary + 1) % COUNT;
        (primary, term) = (target, cluster.hand_over(target)?);
        let ended = asleep.wait_with_output().context("wait for psql")?;
        ensure!(!ended.status.success(), "it slept through: {ended:?}");
        let heard = said(&ended.stderr);
        if heard.contains("57P01") {
            told += 1;
        } else {
            said_else.push(heard);
        }
        cluster.await_healthy()?;
    }
    println!("  told in {told} switchovers, in {} not", said_else.len());
    ensure!(
        told == TOLD,
        "told in {told} of {HANDOVERS} switchovers only; else it was {said_else:?}"
    );
    Ok((primary, term))
}

/// A session that does not end by itself, and tells the code with which it ends.
fn sleeper(place: &str, believed: &Path) -> Result<Child> {
    let mut psql = crate::tls::psql_command(place, believed)?;
    psql.args(["--set", "VERBOSITY=verbose"])
        .args(["--command", "SELECT pg_sleep(600)"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    psql.spawn().context("start psql")
}

fn start(cluster: &Cluster) -> Result<Gateway> {
    let folder = cluster.path(0).join("gateway");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("config.json");
    std::fs::write(&path, serde_json::to_vec(&snapshot(cluster, &folder)?)?)?;
    let log = std::fs::File::create(folder.join("log"))?;
    let child = Command::new(std::env::current_exe()?)
        .arg("gateway")
        .arg(&path)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    Ok(Gateway(child.context("start a gateway")?))
}

/// One that stands apart from all hosts, and has no lease file to look into.
fn snapshot(cluster: &Cluster, folder: &Path) -> Result<GatewaySnapshot> {
    let replicas = (0..COUNT).map(|which| ReplicaTarget {
        host: format!("host-{}", which + 1),
        region: format!("region-{}", which + 1),
        sight_address: cluster.sight_address(which).to_string(),
        postgres_address: cluster.postgres_address(which).to_string(),
        lease_file: None,
    });
    Ok(GatewaySnapshot {
        version: GATEWAY_SNAPSHOT_VERSION,
        generation: 1,
        platform: "test".to_owned(),
        gateway: "edge".to_owned(),
        host: "host-1".to_owned(),
        region: "region-1".to_owned(),
        run_folder: folder.display().to_string(),
        identity: Some(cluster.identity(0, "gateway-edge")?),
        workers: Some(1),
        admin_address: None,
        listeners: Listeners {
            http: Vec::new(),
            tcp: vec![TcpListener {
                name: "sql".to_owned(),
                address: cluster.gateway_address().to_string(),
                database: "orders".to_owned(),
                role: DatabaseRole::Primary,
            }],
        },
        services: Vec::new(),
        databases: vec![DatabaseTarget {
            name: "orders".to_owned(),
            replicas: replicas.collect(),
        }],
        limits: GatewayLimits::default(),
    })
}
