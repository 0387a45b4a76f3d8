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

/// Between two looks whether a keeper is gone, and for how long it is looked for.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
const KEEPER_LIMIT: Duration = Duration::from_secs(60);
const SERVER_LIMIT: Duration = Duration::from_secs(60);

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

/// Takes down what is left on this host of replicas that were let go. Done again after each restart of the node until it is
/// done; nothing is touched where the journal does not say who the replicas are.
pub async fn take_down(context: Context, known: Vec<KnownReplicas>) {
    let databases = context.layout.host(context.name()).join("databases");
    for entry in std::fs::read_dir(&databases)
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(one) = known.iter().find(|one| one.database == name) else {
            continue;
        };
        let is_here = one
            .replicas
            .iter()
            .any(|replica| replica.host == context.name());
        if is_here || one.replicas.is_empty() {
            continue;
        }
        match put_aside(&context, &name, &entry.path()).await {
            Ok(place) => {
                tracing::info!(database = name, aside = %place.display(), "a replica that was let go is down")
            }
            Err(error) => {
                tracing::error!(database = name, %error, "a replica that was let go is not down")
            }
        }
    }
}

async fn put_aside(context: &Context, database: &str, folder: &Path) -> io::Result<PathBuf> {
    let keeper = keeper_instance_name(database);
    let instance = context.layout.instance(context.name(), &keeper);
    let deadline = clock::now() + KEEPER_LIMIT;
    while !running(&instance).is_empty() {
        if clock::now() >= deadline {
            return Err(io::Error::other("its keeper does not end"));
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    for shim in running(folder) {
        identity::signal(shim, Signal::TERM)?;
        let gone = tokio::time::timeout(SERVER_LIMIT, launch::wait_gone(shim)).await;
        gone.map_err(|_| io::Error::other("its server does not stop"))??;
    }
    let aside = context.layout.host(context.name()).join("left");
    std::fs::create_dir_all(&aside)?;
    let place = aside.join(format!("{database}-{}", clock::wall_ms()));
    match std::fs::rename(folder, &place) {
        // Somebody was as fast.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(place),
        moved => moved.map(|()| place),
    }
}

fn running(folder: &Path) -> Vec<ProcessIdentity> {
    states_in(folder)
        .iter()
        .filter_map(|path| shim::read_state(path))
        .map(|state| state.shim)
        .filter(|shim| identity::is_alive(*shim))
        .collect()
}
