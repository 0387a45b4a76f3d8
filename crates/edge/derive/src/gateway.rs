//! What a gateway is told: listeners, routes, and everything that they may lead to, as seen from its host.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_model::Host;
use mainstay_model::gateway::{
    CellKey, Clients, DoorTls, Gateway, Hold, ReplicaRole, Route, Target,
};
use mainstay_model::name::{DatabaseName, HostName, PortName, RegionName, ServiceName};
use mainstay_model::service::Placement;
use mainstay_record::gateway as record;
use mainstay_record::identity::gateway_role;

use crate::identity::{identity_files, service_identity};
use crate::machine::Machine;

/// Where the instances of the services that do not follow a database stand just now, by the kernel's decision.
pub type Placements = BTreeMap<ServiceName, Vec<HostName>>;

/// Of a hundred new requests of a service so many may go to a region; all of them, where nothing is said.
pub type Shares = BTreeMap<(ServiceName, RegionName), u8>;

/// What the routes and listeners of one gateway lead to.
#[derive(Default)]
struct Reached {
    services: BTreeMap<ServiceName, PortName>,
    databases: BTreeSet<DatabaseName>,
    holds: Vec<Hold>,
}

/// `None` if the gateway does not run on the host. `generation` must grow whenever the rest differs.
pub fn gateway_snapshot(
    machine: &Machine<'_>,
    gateway: &Gateway,
    host: &Host,
    standing: (&Placements, &Shares),
    generation: u64,
) -> Option<record::GatewaySnapshot> {
    if !gateway.hosts.contains(&host.name) {
        return None;
    }
    let reached = reached(gateway);
    let address = |port: u16| format!("{}:{port}", host.address(machine.slot));
    let http = gateway.http.iter().map(|listener| record::HttpListener {
        name: listener.name.to_string(),
        address: address(listener.port),
        tls: door(machine, gateway, host, &listener.tls),
        routes: routes(listener.name.as_str(), &listener.routes),
    });
    let tcp = gateway.tcp.iter().map(|listener| record::TcpListener {
        name: listener.name.to_string(),
        address: address(listener.port),
        database: listener.database.to_string(),
        role: match listener.role {
            ReplicaRole::Primary => record::DatabaseRole::Primary,
            ReplicaRole::Replica => record::DatabaseRole::Replica,
        },
    });
    let services = reached.services.iter();
    let databases = reached.databases.iter();
    Some(record::GatewaySnapshot {
        version: record::GATEWAY_SNAPSHOT_VERSION,
        generation,
        platform: machine.platform.name().to_string(),
        gateway: gateway.name.to_string(),
        host: host.name.to_string(),
        region: host.region.to_string(),
        run_folder: machine
            .layout
            .run_host(host.name.as_str())
            .display()
            .to_string(),
        identity: Some(identity_files(
            machine,
            host,
            &gateway_role(gateway.name.as_str()),
        )),
        workers: None,
        admin_address: gateway
            .metrics_port
            .map(|port| machine.listen(host, port).to_string()),
        listeners: record::Listeners {
            http: http.collect(),
            tcp: tcp.collect(),
        },
        services: services
            .filter_map(|(name, port)| service(machine, host, standing, name, port))
            .collect(),
        databases: databases
            .filter_map(|name| database(machine, host, name))
            .collect(),
        limits: limits(&reached.holds),
    })
}

fn door(
    machine: &Machine<'_>,
    gateway: &Gateway,
    host: &Host,
    tls: &DoorTls,
) -> Option<record::ListenerTls> {
    let own = identity_files(machine, host, &gateway_role(gateway.name.as_str()));
    let (certificate, key, clients) = match tls {
        DoorTls::Unsaid | DoorTls::Nothing => return None,
        DoorTls::Platform { clients } => (own.own.clone(), own.own, clients),
        DoorTls::Files {
            certificate,
            key,
            clients,
        } => (certificate.into(), key.into(), clients),
    };
    Some(record::ListenerTls {
        certificate,
        key,
        clients: match clients {
            Clients::Everybody => None,
            Clients::Platform => Some(own.roots),
            Clients::Roots(file) => Some(file.into()),
        },
    })
}

fn reached(gateway: &Gateway) -> Reached {
    let mut reached = Reached::default();
    for route in gateway.http.iter().flat_map(|listener| &listener.routes) {
        match &route.target {
            Target::Service { service, port } => {
                reached.services.insert(service.clone(), port.clone());
            }
            Target::Cell { members, hold, .. } => {
                reached.holds.push(hold.clone());
                for member in members {
                    reached
                        .services
                        .insert(member.service.clone(), member.port.clone());
                    reached.databases.insert(member.database.clone());
                }
            }
        }
    }
    let databases = gateway.tcp.iter().map(|listener| listener.database.clone());
    reached.databases.extend(databases);
    reached
}

/// What has waited for as long as it may must still be answered.
const ANSWER_MS: u64 = 1_000;

/// A gateway has one bound for all that waits per cell: the largest that any of its routes declares.
fn limits(holds: &[Hold]) -> record::GatewayLimits {
    let mut limits = record::GatewayLimits::default();
    let largest = |of: fn(&Hold) -> u64| holds.iter().map(of).max();
    if let Some(requests) = largest(|hold| u64::from(hold.requests)) {
        limits.hold_requests = u32::try_from(requests).unwrap_or(u32::MAX);
        limits.requests = limits.requests.max(limits.hold_requests.saturating_mul(2));
    }
    if let Some(bytes) = largest(|hold| hold.bytes) {
        limits.hold_bytes = bytes;
    }
    if let Some(wait) = largest(millis) {
        limits.hold_wait_ms = wait;
        limits.request_timeout_ms = limits.request_timeout_ms.max(wait + ANSWER_MS);
    }
    limits
}

fn millis(hold: &Hold) -> u64 {
    u64::try_from(hold.time.as_millis()).unwrap_or(u64::MAX)
}

fn routes(listener: &str, routes: &[Route]) -> Vec<record::HttpRoute> {
    let mut names: BTreeMap<String, u32> = BTreeMap::new();
    let mut name = |path: &str| {
        let name = format!("{listener}{path}");
        let seen = names.entry(name.clone()).or_default();
        *seen += 1;
        if *seen == 1 {
            name
        } else {
            format!("{name}#{seen}")
        }
    };
    routes
        .iter()
        .map(|route| record::HttpRoute {
            name: name(route.path.as_str()),
            host: route.host.clone(),
            path_prefix: route.path.literal(),
            methods: route
                .methods
                .iter()
                .map(|m| m.as_str().to_owned())
                .collect(),
            target: target(&route.target),
            hold: match &route.target {
                Target::Service { .. } => None,
                Target::Cell { hold, .. } => Some(record::RouteHold {
                    max_wait_ms: millis(hold),
                }),
            },
            idempotency_header: route.idempotency_header.clone(),
        })
        .collect()
}

fn target(target: &Target) -> record::RouteTarget {
    match target {
        Target::Service { service, .. } => record::RouteTarget::Service(service.to_string()),
        Target::Cell { key, members, .. } => record::RouteTarget::Cell(record::CellTarget {
            key: match key {
                CellKey::Header(header) => record::CellKey::Header(header.clone()),
                CellKey::PathPart { segment, .. } => {
                    record::CellKey::PathPart(u16::try_from(*segment).unwrap_or(u16::MAX))
                }
            },
            cells: members
                .iter()
                .map(|member| record::CellRoute {
                    values: vec![member.database.to_string()],
                    database: member.database.to_string(),
                    service: member.service.to_string(),
                })
                .collect(),
        }),
    }
}

fn service(
    machine: &Machine<'_>,
    reader: &Host,
    (placements, shares): (&Placements, &Shares),
    name: &ServiceName,
    port: &PortName,
) -> Option<record::ServiceTarget> {
    let service = machine.platform.service(name.as_str())?;
    let port = service.port(port)?;
    let readiness = service.probes.readiness.as_ref()?;
    let hosts: &[HostName] = match &service.placement {
        Placement::Follows { hosts, .. } => hosts,
        Placement::Spread { .. } => placements.get(name).map_or(&[], Vec::as_slice),
    };
    let instances = hosts.iter().filter_map(|host| {
        let host = machine.platform.host(host.as_str())?;
        Some(record::InstanceTarget {
            name: format!("{}/{name}", host.name),
            host: host.name.to_string(),
            region: host.region.to_string(),
            address: machine.reach(reader, host, port.number).to_string(),
            identity: service_identity(machine, service, port, host),
            readiness_path: readiness.path.clone(),
            share: match &service.placement {
                Placement::Follows { .. } => None,
                Placement::Spread { .. } => {
                    shares.get(&(name.clone(), host.region.clone())).copied()
                }
            },
        })
    });
    Some(record::ServiceTarget {
        name: name.to_string(),
        instances: instances.collect(),
    })
}

fn database(
    machine: &Machine<'_>,
    reader: &Host,
    name: &DatabaseName,
) -> Option<record::DatabaseTarget> {
    let database = machine.platform.database(name.as_str())?;
    let ports = database.ports;
    // One that leaves may be primary for a moment yet.
    let all = database.replicas.iter().chain(&database.leaving);
    let replicas = all.filter_map(|replica| {
        let host = machine.platform.host(replica.host.as_str())?;
        let local = host.name == reader.name;
        let lease = machine.layout.lease(host.name.as_str(), name.as_str());
        Some(record::ReplicaTarget {
            host: host.name.to_string(),
            region: host.region.to_string(),
            sight_address: machine.reach(reader, host, ports.sight).to_string(),
            postgres_address: machine.reach(reader, host, ports.postgres).to_string(),
            lease_file: local.then(|| lease.display().to_string()),
        })
    });
    Some(record::DatabaseTarget {
        name: name.to_string(),
        replicas: replicas.collect(),
    })
}
