//! Replicas of databases that come and go: what the journal says of them, in the platform that this node derives from, and what is
//! left of one that was let go.
//!
//! A replica that leaves goes on as before until the primary's keeper lets it go. Then its keeper is not wanted any more, its
//! server is stopped here, and its folder is put aside, not deleted: it holds what a database once was.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_derive::keeper_instance_name;
use mainstay_host::{identity, launch, shim};
use mainstay_kernel::State;
use mainstay_model::Platform;
use mainstay_model::database::{Replica, ReplicaFate, ReplicaId};
use mainstay_model::name::HostName;
use mainstay_record::process::ProcessIdentity;
use mainstay_rt::clock;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::stop::states_in;
use crate::workloads::LastPlacements;

/// Between two looks whether a keeper is gone, and for how long it is looked for.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
const KEEPER_LIMIT: Duration = Duration::from_secs(60);
const SERVER_LIMIT: Duration = Duration::from_secs(60);
/// Until what could not be taken down is tried again.
const RETRY_PERIOD: Duration = Duration::from_secs(30);

/// The replicas of one database, as last journalled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownReplicas {
    database: String,
    replicas: Vec<KnownReplica>,
    additions: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KnownReplica {
    host: String,
    number: u8,
    leaves: bool,
}

pub fn known(state: &State) -> Vec<KnownReplicas> {
    let all = state.replicas.iter().map(|(database, replicas)| {
        let known = replicas.hosts().filter_map(|host| {
            Some(KnownReplica {
                host: host.to_string(),
                number: replicas.number(host)?,
                leaves: replicas.leaving().contains(host),
            })
        });
        KnownReplicas {
            database: database.to_string(),
            replicas: known.collect(),
            additions: replicas.additions(),
        }
    });
    all.collect()
}

/// Puts numbers and leavers into a platform that was read from its file.
pub fn follow(platform: &mut Platform, known: &[KnownReplicas]) {
    for one in known {
        let fates: Vec<ReplicaFate> = one
            .replicas
            .iter()
            .filter_map(|replica| {
                let host = HostName::new(&replica.host).ok()?;
                let region = platform.host(&replica.host)?.region.clone();
                let id = ReplicaId(replica.number);
                let replica_now = Replica { id, host, region };
                Some(ReplicaFate {
                    replica: replica_now,
                    leaves: replica.leaves,
                })
            })
            .collect();
        if let Some(database) = platform.database_mut(&one.database) {
            database.follow(&fates, one.additions);
        }
    }
}

impl KnownReplicas {
    pub fn leaving(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let leaving = self.replicas.iter().filter(|replica| replica.leaves);
        leaving.map(|replica| (self.database.clone(), replica.host.clone()))
    }

    /// Nothing of it belongs on this host, as far as the journal was heard.
    fn has_left(&self, host: &str) -> bool {
        !self.replicas.is_empty() && !self.replicas.iter().any(|replica| replica.host == host)
    }
}

/// Takes down what is left on this host of replicas that were let go, and tries again until it is done. Nothing is touched where the
/// journal does not say who the replicas are.
pub async fn take_down(context: Context) {
    let databases = context.layout.host(context.name()).join("databases");
    loop {
        let mut left = false;
        for entry in std::fs::read_dir(&databases)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !has_left(&context, &name) {
                continue;
            }
            match put_aside(&context, &name, &entry.path()).await {
                Ok(Some(place)) => {
                    let aside = place.display().to_string();
                    tracing::info!(database = name, aside, "a replica that was let go is down");
                }
                Ok(None) => {}
                Err(error) => {
                    left = true;
                    tracing::error!(database = name, %error, "a replica that was let go is not down");
                }
            }
        }
        if !left {
            return;
        }
        tokio::time::sleep(RETRY_PERIOD).await;
    }
}

/// By what is kept on disk, which is written before anything is started for it.
fn has_left(context: &Context, database: &str) -> bool {
    let known = LastPlacements::read(context).replicas;
    let mut known = known.iter();
    known.any(|one| one.database == database && one.has_left(context.name()))
}

/// Where it is now; nothing if it is wanted again meanwhile.
async fn put_aside(
    context: &Context,
    database: &str,
    folder: &Path,
) -> io::Result<Option<PathBuf>> {
    let keeper = keeper_instance_name(database);
    let instance = context.layout.instance(context.name(), &keeper);
    let deadline = clock::now() + KEEPER_LIMIT;
    while !running(&instance).is_empty() {
        if clock::now() >= deadline {
            return Err(io::Error::other("its keeper does not end"));
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    for (process, signal) in running(folder) {
        if !has_left(context, database) {
            return Ok(None);
        }
        identity::signal(process, signal)?;
        let gone = tokio::time::timeout(SERVER_LIMIT, launch::wait_gone(process)).await;
        gone.map_err(|_| io::Error::other("its server does not stop"))??;
    }
    if !has_left(context, database) {
        return Ok(None);
    }
    let aside = context.layout.host(context.name()).join("left");
    std::fs::create_dir_all(&aside)?;
    let place = aside.join(format!("{database}-{}", clock::wall_ms()));
    std::fs::rename(folder, &place)?;
    Ok(Some(place))
}

/// Shims, each with the signal by which it stops what it runs, and what runs on without its shim.
fn running(folder: &Path) -> Vec<(ProcessIdentity, Signal)> {
    let alive = |identity: &ProcessIdentity| identity::is_alive(*identity);
    states_in(folder)
        .iter()
        .filter_map(|path| shim::read_state(path))
        .filter_map(|state| {
            let orphan = || Some((state.child.filter(alive)?, Signal::INT));
            let shim = Some(state.shim).filter(alive);
            shim.map(|shim| (shim, Signal::TERM)).or_else(orphan)
        })
        .collect()
}
