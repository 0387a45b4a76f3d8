//! Databases, and whether their replicas can deliver what `survive` promises.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::database::{Database, DatabasePorts, Quorum, Replica, ReplicaId, Survive};
use crate::draft::{DatabaseDraft, PlatformDraft};
use crate::name::{DatabaseName, RegionName};
use crate::parameter::{self, Refusal};
use crate::platform::Host;
use crate::violation::Code;

use super::inspector::Inspector;
use super::services::pointer_token;

pub(super) fn databases(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    hosts: &[Host],
) -> Vec<Database> {
    let list = "/spec/databases";
    let texts = draft.databases.iter().map(|database| &database.name);
    let names = inspector.names(list, "database", texts, DatabaseName::new);
    let mut databases = Vec::new();
    for (place, (declared, name)) in draft.databases.iter().zip(names).enumerate() {
        let path = format!("{list}/{place}");
        let home = home(inspector, draft, declared, &path);
        let replicas = replicas(inspector, draft, hosts, declared, &path);
        let (Some(home), Some(replicas)) = (home, replicas) else {
            continue;
        };
        let quorum = survival(inspector, hosts, declared, &replicas, &path);
        home_has_replica(inspector, declared, &home, &replicas, &path);
        let filling_rate_kib = filling_rate(inspector, declared, &path);
        parameters(inspector, declared, &path);
        let (Some(name), Some(quorum)) = (name, quorum) else {
            continue;
        };
        let ports = DatabasePorts {
            postgres: declared.ports.postgres,
            peer: declared.ports.peer,
            sight: declared.ports.sight,
        };
        databases.push(Database {
            name,
            home,
            survive: declared.survive,
            quorum,
            ports,
            filling_rate_kib,
            replicas,
            leaving: Vec::new(),
            additions: 0,
            backup: declared
                .backup
                .as_ref()
                .map(|backup| super::backup::backup(inspector, backup, &format!("{path}/backup"))),
            parameters: declared.parameters.clone(),
        });
    }
    databases
}

fn parameters(inspector: &mut Inspector, database: &DatabaseDraft, path: &str) {
    let list = format!("{path}/parameters");
    inspector.list_length(&list, database.parameters.len(), Database::PARAMETERS_MAX);
    for (name, value) in &database.parameters {
        let Err(refusal) = parameter::judge(name, value) else {
            continue;
        };
        let code = match refusal {
            Refusal::Name => Code::InvalidName,
            Refusal::Owned { .. } => Code::OwnedParameter,
            Refusal::Value | Refusal::Connections => Code::InvalidValue,
        };
        let (message, help) = refusal.words(name);
        inspector
            .report(format!("{list}/{}", pointer_token(name)), code, message)
            .help(help);
    }
}

/// What pg_basebackup takes.
fn filling_rate(inspector: &mut Inspector, database: &DatabaseDraft, path: &str) -> Option<u32> {
    let bytes = database.filling_rate?;
    if !(32 << 10..=1 << 30).contains(&bytes) {
        let message = format!("{bytes} bytes a second");
        inspector
            .report(format!("{path}/fillingRate"), Code::InvalidValue, message)
            .help("write an amount from `32KiB` to `1GiB`, or leave it out for no limit");
    }
    u32::try_from(bytes >> 10).ok()
}

fn home(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    database: &DatabaseDraft,
    path: &str,
) -> Option<RegionName> {
    let regions = draft.regions.iter().map(|region| region.name.as_str());
    let path = format!("{path}/home");
    if !inspector.reference(&path, "region", &database.home, regions) {
        return None;
    }
    RegionName::new(&database.home).ok()
}

/// `None` when one of them could not be resolved: arithmetic over the rest would mislead.
fn replicas(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    hosts: &[Host],
    database: &DatabaseDraft,
    path: &str,
) -> Option<Vec<Replica>> {
    let list = format!("{path}/replicas");
    if database.replicas.is_empty() {
        inspector
            .report(
                &list,
                Code::Missing,
                "a database needs at least one replica",
            )
            .help("place one replica on a host of each of three regions");
        return None;
    }
    if !inspector.list_length(&list, database.replicas.len(), Database::REPLICAS_MAX) {
        return None;
    }
    let declared = || draft.hosts.iter().map(|host| host.name.as_str());
    let mut first_seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut replicas = Vec::new();
    for ((place, replica), id) in database.replicas.iter().enumerate().zip(1..) {
        let path = format!("{list}/{place}/host");
        if !inspector.reference(&path, "host", &replica.host, declared()) {
            continue;
        }
        if let Some(first) = first_seen.get(replica.host.as_str()) {
            let message = format!("host `{}` has two replicas of this database", replica.host);
            inspector
                .report(path, Code::DuplicateName, message)
                .help("two copies on one host are lost together: use another host")
                .related(format!("{list}/{first}/host"));
            continue;
        }
        first_seen.insert(&replica.host, place);
        if let Some(host) = hosts.iter().find(|host| host.name == *replica.host) {
            replicas.push(Replica {
                id: ReplicaId(id),
                host: host.name.clone(),
                region: host.region.clone(),
            });
        }
    }
    (replicas.len() == database.replicas.len()).then_some(replicas)
}

fn home_has_replica(
    inspector: &mut Inspector,
    database: &DatabaseDraft,
    home: &RegionName,
    replicas: &[Replica],
    path: &str,
) {
    if replicas.iter().any(|replica| replica.region == *home) {
        return;
    }
    let message = format!(
        "the home of `{}` is `{home}`, but no replica stands there",
        database.name
    );
    let report = inspector.report(format!("{path}/home"), Code::HomeWithoutReplica, message);
    if let Some(first) = replicas.first() {
        report
            .help(format!(
                "place a replica in `{home}`, or make `{}` the home",
                first.region
            ))
            .related(format!("{path}/replicas"));
    }
}

/// Quorum arithmetic, explained to whoever has to change the file.
fn survival(
    inspector: &mut Inspector,
    hosts: &[Host],
    database: &DatabaseDraft,
    replicas: &[Replica],
    path: &str,
) -> Option<Quorum> {
    let count = u8::try_from(replicas.len()).ok()?;
    let quorum = Quorum::of(database.survive, count);
    let (lost, what) = match database.survive {
        Survive::Nothing => return Some(quorum),
        Survive::Host => (1, String::from("any one host")),
        Survive::Region => {
            largest_region(replicas).map(|(region, lost)| (lost, format!("region `{region}`")))?
        }
    };
    if lost <= quorum.spare(count) {
        return Some(quorum);
    }
    let message = format!(
        "`{}` cannot survive the loss of {what}: a commit needs {} of {count} replicas on disk, and the loss \
         takes {lost} and leaves {}",
        database.name,
        quorum.commit,
        count.saturating_sub(lost)
    );
    let help = survival_help(hosts, database.survive, replicas);
    inspector
        .report(format!("{path}/survive"), Code::SurvivalImpossible, message)
        .help(help)
        .related(format!("{path}/replicas"));
    None
}

fn replicas_by_region(replicas: &[Replica]) -> BTreeMap<&RegionName, u8> {
    let mut by_region: BTreeMap<&RegionName, u8> = BTreeMap::new();
    for replica in replicas {
        *by_region.entry(&replica.region).or_default() += 1;
    }
    by_region
}

fn largest_region(replicas: &[Replica]) -> Option<(&RegionName, u8)> {
    let by_region = replicas_by_region(replicas);
    by_region.into_iter().max_by_key(|(_, count)| *count)
}

fn survival_help(hosts: &[Host], survive: Survive, replicas: &[Replica]) -> String {
    let by_region = replicas_by_region(replicas);
    let used = |host: &&Host| replicas.iter().any(|replica| replica.host == host.name);
    let fresh = hosts
        .iter()
        .filter(|host| survive == Survive::Host || !by_region.contains_key(&host.region))
        .find(|host| !used(host));
    let weaker = match survive {
        Survive::Region if replicas.len() >= 3 => Survive::Host,
        Survive::Region | Survive::Host | Survive::Nothing => Survive::Nothing,
    };
    match fresh {
        Some(host) => format!(
            "add a replica on `{}` (region `{}`); what is needed is one replica in each of three {}",
            host.name,
            host.region,
            places(survive)
        ),
        None => format!(
            "spread at least three replicas over three {}, or settle for `survive: {weaker}`",
            places(survive)
        ),
    }
}

const fn places(survive: Survive) -> &'static str {
    match survive {
        Survive::Host => "hosts",
        Survive::Region | Survive::Nothing => "regions",
    }
}
