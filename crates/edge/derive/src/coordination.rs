//! The members of an etcd that Mainstay runs, and how they and the nodes find each other.
//!
//! A member has one address for all others, but every region reaches it through another door. So members know each
//! other by *name*, the one in their certificates, and beside each stands a *relay* that knows where the names are
//! from there: etcd asks it as it would ask a proxy, with a secret that nobody else on the host has. What passes is TLS
//! from member to member.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_model::Host;
use mainstay_model::address;
use mainstay_model::coordination::{Etcd, EtcdMembers, EtcdPorts};
use mainstay_record::identity::{ETCD_ROLE, identity_name};
use mainstay_record::process::{
    InstanceSpec, ProbeCheck, ProbeSpec, ProbesSpec, RELAY_USER, RelayConfig, RestartSpec,
    SecretVariable, ShimSpec, VERSION,
};

use crate::identity::identity_files;
use crate::instance::{Process, configured, labels, order, own_restart, shim};
use crate::machine::Machine;

/// Name of the instance that is a host's member.
pub const ETCD_INSTANCE: &str = "etcd";
/// Name of the instance that is its relay.
pub const RELAY_INSTANCE: &str = "etcd-relay";
/// Members tell each other so often that they live, unless the regions are too far apart.
const BEAT_MS_LEAST: u128 = 100;
/// A vote begins after so many beats without one.
const SILENT_BEATS: u128 = 10;
const QUOTA_BYTES: u64 = 2 << 30;
/// Heartbeats of nodes make history that nobody needs.
const HISTORY: &str = "10m";

fn own<'a>(machine: &'a Machine<'_>) -> Option<(&'a Etcd, EtcdPorts)> {
    let etcd = machine.platform.coordination().etcd()?;
    match &etcd.members {
        EtcdMembers::Own { ports, .. } => Some((etcd, *ports)),
        EtcdMembers::External { .. } => None,
    }
}

/// The member of a host, if it has one.
fn member_of<'a>(machine: &'a Machine<'_>, host: &Host) -> Option<(&'a Etcd, EtcdPorts)> {
    own(machine).filter(|(etcd, _)| etcd.own_hosts().contains(&host.name))
}

fn name_of(machine: &Machine<'_>, host: &str) -> String {
    identity_name(ETCD_ROLE, host, machine.platform.name().as_str())
}

/// Where a host's node reaches the members that Mainstay runs, and the name that each proves: its own first, then
/// those of its region. Without a host: as they listen.
pub fn etcd_endpoints(machine: &Machine<'_>, reader: Option<&Host>) -> Vec<(SocketAddr, String)> {
    let Some((etcd, ports)) = own(machine) else {
        return Vec::new();
    };
    let hosts = etcd.own_hosts().iter();
    let hosts = hosts.filter_map(|host| machine.platform.host(host.as_str()));
    let mut members: Vec<&Host> = hosts.collect();
    if let Some(reader) = reader {
        members.sort_by_key(|host| (host.name != reader.name, host.region != reader.region));
    }
    let reach = |host: &&Host| {
        let address = match reader {
            Some(reader) => machine.reach(reader, host, ports.client),
            None => machine.listen(host, ports.client),
        };
        (address, name_of(machine, host.name.as_str()))
    };
    members.iter().map(reach).collect()
}

/// Where the member of a host is asked, and for its figures too. `None` if it has none.
pub(crate) fn etcd_client_port(machine: &Machine<'_>, host: &Host) -> Option<u16> {
    member_of(machine, host).map(|(_, ports)| ports.client)
}

/// Ports of a host's member that other regions knock at.
pub(crate) fn etcd_ports(machine: &Machine<'_>, host: &Host) -> Vec<u16> {
    match member_of(machine, host) {
        Some((_, ports)) => vec![ports.client, ports.peer],
        None => Vec::new(),
    }
}

/// What the member of a host proves beside its name: the addresses at which it is asked, and from which it comes. `None`
/// if the host has no member.
pub(crate) fn etcd_known_as(machine: &Machine<'_>, host: &Host) -> Option<Vec<String>> {
    member_of(machine, host)?;
    let mut addresses = vec![host.address(machine.slot)];
    let regions = machine.platform.regions().iter();
    let others = regions.filter(|region| region.index != host.region_index);
    addresses
        .extend(others.map(|region| address::door(machine.slot, host.region_index, region.index)));
    addresses.push(std::net::Ipv4Addr::LOCALHOST);
    Some(addresses.iter().map(ToString::to_string).collect())
}

/// What the relay of a host is told. `None` if it has no member.
pub fn relay_config(machine: &Machine<'_>, host: &Host) -> Option<RelayConfig> {
    let (etcd, ports) = member_of(machine, host)?;
    let hosts = etcd.own_hosts().iter();
    let others = hosts
        .filter_map(|other| machine.platform.host(other.as_str()))
        .filter(|other| other.name != host.name);
    let way = |other: &Host| {
        let peer = other.index.port(ports.peer);
        let name = format!("{}:{peer}", name_of(machine, other.name.as_str()));
        (name, machine.reach(host, other, ports.peer))
    };
    Some(RelayConfig {
        version: VERSION,
        listen: machine.listen(host, ports.relay),
        ways: others.map(way).collect(),
        secret: machine.layout.relay_secret(host.name.as_str()),
    })
}

/// The instances that are a host's member: its relay and itself. Empty if it has none. `configuration` tells contents of
/// the relay's configuration apart.
pub fn etcd_instances(
    machine: &Machine<'_>,
    host: &Host,
    configuration: &str,
) -> Vec<InstanceSpec> {
    let Some((etcd, ports)) = member_of(machine, host) else {
        return Vec::new();
    };
    vec![
        relay(machine, host, configuration),
        member(machine, host, etcd, ports),
    ]
}

fn relay(machine: &Machine<'_>, host: &Host, configuration: &str) -> InstanceSpec {
    let config = machine.layout.relay_config(host.name.as_str());
    let process = Process {
        name: RELAY_INSTANCE.to_owned(),
        command: machine.own(&["relay", "--config"], Some(config)),
        environment: configured(machine, configuration),
        grace: Duration::from_secs(2),
        generation: 1,
    };
    InstanceSpec {
        shim: shim(machine, host, process),
        probes: ProbesSpec::default(),
        restart: own_restart(),
        drain_ms: 0,
        order: order::KEEPER,
        labels: labels(&[("kind", "relay")]),
    }
}

fn member(machine: &Machine<'_>, host: &Host, etcd: &Etcd, ports: EtcdPorts) -> InstanceSpec {
    let relay = machine.listen(host, ports.relay);
    let environment = [
        ("PATH", machine.search_path()),
        ("NO_PROXY", host.address(machine.slot).to_string()),
    ];
    let environment: BTreeMap<String, String> = environment
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let proxy = SecretVariable {
        before: format!("http://{RELAY_USER}:"),
        file: machine.layout.relay_secret(host.name.as_str()),
        after: format!("@{relay}"),
    };
    let process = Process {
        name: ETCD_INSTANCE.to_owned(),
        command: member_command(machine, host, etcd, ports),
        environment,
        grace: Duration::from_secs(10),
        generation: 1,
    };
    let health = ProbeCheck::Http {
        address: machine.listen(host, ports.client),
        path: "/health".to_owned(),
        name: Some(name_of(machine, host.name.as_str())),
    };
    InstanceSpec {
        shim: ShimSpec {
            secrets: BTreeMap::from([("HTTPS_PROXY".to_owned(), proxy)]),
            ..shim(machine, host, process)
        },
        probes: ProbesSpec {
            // It has no health while its cluster has no leader, which no restart mends.
            readiness: Some(ProbeSpec {
                period_ms: 1_000,
                timeout_ms: 2_000,
                ..ProbeSpec::new(health)
            }),
            ..ProbesSpec::default()
        },
        restart: RestartSpec {
            initial_ms: 200,
            maximum_ms: 5_000,
            ..RestartSpec::default()
        },
        drain_ms: 0,
        order: order::KEEPER,
        labels: labels(&[("kind", "etcd")]),
    }
}

fn member_command(
    machine: &Machine<'_>,
    host: &Host,
    etcd: &Etcd,
    ports: EtcdPorts,
) -> Vec<String> {
    let here = host.name.as_str();
    let peer_url = |host: &Host| {
        let port = host.index.port(ports.peer);
        format!("https://{}:{port}", name_of(machine, host.name.as_str()))
    };
    let hosts = etcd.own_hosts().iter();
    let cluster: Vec<String> = hosts
        .filter_map(|member| machine.platform.host(member.as_str()))
        .map(|member| format!("{}={}", member.name, peer_url(member)))
        .collect();
    let files = identity_files(machine, host, ETCD_ROLE);
    let file = |path: &PathBuf| path.display().to_string();
    let beat_ms = beat_ms(machine, etcd);
    let client = format!("https://{}", machine.listen(host, ports.client));
    let options = [
        ("name", here.to_owned()),
        ("data-dir", file(&machine.layout.etcd(here))),
        ("listen-client-urls", client.clone()),
        ("advertise-client-urls", client),
        (
            "listen-peer-urls",
            format!("https://{}", machine.listen(host, ports.peer)),
        ),
        ("initial-advertise-peer-urls", peer_url(host)),
        ("initial-cluster", cluster.join(",")),
        (
            "initial-cluster-token",
            format!("mainstay-{}", machine.platform.name()),
        ),
        ("initial-cluster-state", "new".to_owned()),
        ("cert-file", file(&files.own)),
        ("key-file", file(&files.own)),
        ("trusted-ca-file", file(&files.roots)),
        ("peer-cert-file", file(&files.own)),
        ("peer-key-file", file(&files.own)),
        ("peer-trusted-ca-file", file(&files.roots)),
        ("heartbeat-interval", beat_ms.to_string()),
        ("election-timeout", (beat_ms * SILENT_BEATS).to_string()),
        ("auto-compaction-mode", "periodic".to_owned()),
        ("auto-compaction-retention", HISTORY.to_owned()),
        ("quota-backend-bytes", QUOTA_BYTES.to_string()),
    ];
    let switches = [
        "--client-cert-auth",
        "--peer-client-cert-auth",
        // A member that comes back asks before it disturbs the others with a vote.
        "--pre-vote",
    ];
    std::iter::once("etcd".to_owned())
        .chain(
            options
                .into_iter()
                .map(|(name, value)| format!("--{name}={value}")),
        )
        .chain(switches.map(str::to_owned))
        .collect()
}

/// One and a half round trips between the members that are farthest apart.
fn beat_ms(machine: &Machine<'_>, etcd: &Etcd) -> u128 {
    let hosts = etcd.own_hosts().iter();
    let members: Vec<&Host> = hosts
        .filter_map(|member| machine.platform.host(member.as_str()))
        .collect();
    let pairs = members
        .iter()
        .flat_map(|one| members.iter().map(move |other| (one, other)));
    let distances = pairs.map(|(one, other)| {
        machine
            .platform
            .distance(one.region_index, other.region_index)
    });
    let farthest = distances.max().unwrap_or_default();
    (farthest.as_millis() * 3 / 2).max(BEAT_MS_LEAST)
}
