//! Who the processes of a host are, and where they prove it from.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use mainstay_model::database::Database;
use mainstay_model::gateway::{DoorTls, Gateway, HttpListener};
use mainstay_model::service::{PortTls, Service, ServicePort};
use mainstay_model::{Host, address};
use mainstay_record::identity::{
    ETCD_ROLE, IdentityFiles, NODE_ROLE, WATCH_ROLE, WantedLeaf, archiver_role, database_name,
    gateway_name, gateway_role, identity_name, keeper_role, server_role, service_role,
};

use crate::coordination::etcd_known_as;
use crate::machine::Machine;

/// Every identity of a host.
pub fn identities(machine: &Machine<'_>, host: &Host) -> Vec<WantedLeaf> {
    let platform = machine.platform;
    let mut roles = vec![(NODE_ROLE.to_owned(), Vec::new())];
    for (database, _) in platform.replicas_on(&host.name) {
        let name = database.name.as_str();
        roles.push((keeper_role(name), Vec::new()));
        roles.push((server_role(name), known_as(machine, database, host)));
        if database.backup.is_some() {
            roles.push((archiver_role(name), Vec::new()));
        }
    }
    // A service may be placed on any of its hosts at any time, and starts at once.
    let services = platform
        .services()
        .iter()
        .filter(|service| service.proves_itself() && service.allowed_hosts().contains(&host.name));
    roles.extend(services.map(|service| (service_role(service.name.as_str()), Vec::new())));
    let gateways = platform.gateways_on(&host.name);
    roles.extend(gateways.map(|gateway| {
        let name = gateway.name.as_str();
        (gateway_role(name), door_known_as(machine, gateway, host))
    }));
    let (here, platform) = (host.name.as_str(), machine.platform);
    if platform
        .watch()
        .is_some_and(|watch| watch.hosts.contains(&host.name))
    {
        roles.push((WATCH_ROLE.to_owned(), Vec::new()));
    }
    roles.extend(etcd_known_as(machine, host).map(|also| (ETCD_ROLE.to_owned(), also)));
    let platform = platform.name().as_str();
    let wanted = roles.into_iter().map(|(role, also)| WantedLeaf {
        name: identity_name(&role, here, platform),
        also,
        path: machine.layout.identity(here, &role),
    });
    wanted.collect()
}

/// What clients may have asked for when a server answers: the database, the server's own address, or that of a
/// gateway, which passes on what it is sent and has no part in the encryption.
fn known_as(machine: &Machine<'_>, database: &Database, host: &Host) -> Vec<String> {
    let platform = machine.platform;
    let mut addresses = BTreeSet::from([host.address(machine.slot)]);
    if platform.has_inner_wires() {
        addresses.insert(address::door(
            machine.slot,
            host.region_index,
            host.region_index,
        ));
    }
    for gateway in platform.gateways() {
        if gateway.tcp.iter().any(|l| l.database == database.name) {
            let hosts = gateway.hosts.iter();
            let hosts = hosts.filter_map(|host| platform.host(host.as_str()));
            addresses.extend(hosts.map(|host| host.address(machine.slot)));
        }
    }
    let common = database_name(database.name.as_str(), platform.name().as_str());
    let addresses = addresses.iter().map(ToString::to_string);
    std::iter::once(common).chain(addresses).collect()
}

/// What clients of a gateway's listeners may have asked for: the gateway, whichever host it is on, or an address.
fn door_known_as(machine: &Machine<'_>, gateway: &Gateway, host: &Host) -> Vec<String> {
    let shows = |listener: &HttpListener| matches!(listener.tls, DoorTls::Platform { .. });
    if !gateway.http.iter().any(shows) {
        return Vec::new();
    }
    let platform = machine.platform.name().as_str();
    let common = gateway_name(gateway.name.as_str(), platform);
    vec![common, host.address(machine.slot).to_string()]
}

/// Where `reader` reaches a port of a service's instance on `host`, and what the instance proves to be.
pub fn service_door(
    machine: &Machine<'_>,
    (reader, host): (&Host, &Host),
    service: &Service,
    port: &ServicePort,
) -> (SocketAddr, Option<String>) {
    let address = machine.reach(reader, host, port.number);
    (address, service_identity(machine, service, port, host))
}

/// What an instance of the service on this host proves where its port demands that; `None` where it is spoken to in
/// the clear.
pub(crate) fn service_identity(
    machine: &Machine<'_>,
    service: &Service,
    port: &ServicePort,
    host: &Host,
) -> Option<String> {
    let role = service_role(service.name.as_str());
    let platform = machine.platform.name().as_str();
    (port.tls == PortTls::Platform).then(|| identity_name(&role, host.name.as_str(), platform))
}

/// What the process with this role reads.
pub fn identity_files(machine: &Machine<'_>, host: &Host, role: &str) -> IdentityFiles {
    IdentityFiles {
        own: machine.layout.identity(host.name.as_str(), role),
        roots: machine.layout.roots(),
    }
}
