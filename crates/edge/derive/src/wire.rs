//! The wires: for each ordered pair of regions, every door through which the first reaches the second.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use mainstay_model::address;
use mainstay_model::{Host, Region};
use mainstay_record::process::{VERSION, WireDoor, WireShape, WireSpec};

use crate::coordination::etcd_ports;
use crate::machine::{Machine, NODE_PORT};

/// In the order of the file, pair by pair.
pub fn wire_specs(machine: &Machine<'_>) -> Vec<WireSpec> {
    let regions = machine.platform.regions();
    let pairs = regions
        .iter()
        .flat_map(|from| regions.iter().map(move |to| (from, to)));
    // Within a region a wire runs only where the file wants it, and only to the servers.
    pairs
        .filter(|(from, to)| from.index != to.index || machine.platform.has_inner_wires())
        .map(|(from, to)| wire_spec(machine, from, to))
        .collect()
}

fn wire_spec(machine: &Machine<'_>, from: &Region, to: &Region) -> WireSpec {
    let door = address::door(machine.slot, to.index, from.index);
    let mut doors = Vec::new();
    for host in machine.platform.hosts_in(&to.name) {
        let declared = match from.index == to.index {
            true => server_ports(machine, host),
            false => ports(machine, host),
        };
        for declared in declared {
            let target = machine.listen(host, declared);
            doors.push(WireDoor {
                listen: SocketAddr::from((door, target.port())),
                target,
                host: host.name.to_string(),
            });
        }
    }
    let round_trip = machine.platform.distance(from.index, to.index);
    let (near, far) = (from.name.as_str(), to.name.as_str());
    WireSpec {
        version: VERSION,
        from: near.to_owned(),
        to: far.to_owned(),
        doors,
        shape: WireShape {
            delay_us: u64::try_from(round_trip.as_micros() / 2).unwrap_or(u64::MAX),
            ..WireShape::default()
        },
        state: machine.layout.wire_state(near, far),
        control: machine.layout.wire_control(near, far),
    }
}

/// Of the database servers on a host.
fn server_ports(machine: &Machine<'_>, host: &Host) -> BTreeSet<u16> {
    let servers = machine.platform.replicas_on(&host.name);
    servers
        .map(|(database, _)| database.ports.postgres)
        .collect()
}

/// What may listen on a host for other regions: its node, servers, keepers, every service that is allowed there, and
/// whoever gives figures to a watch elsewhere.
fn ports(machine: &Machine<'_>, host: &Host) -> BTreeSet<u16> {
    let mut ports = BTreeSet::from([NODE_PORT]);
    // Also where no replica is: one may come, or not be let go yet.
    for database in machine.platform.databases() {
        ports.extend([
            database.ports.postgres,
            database.ports.peer,
            database.ports.sight,
        ]);
        ports.extend(
            database
                .backup
                .as_ref()
                .and_then(|backup| backup.metrics_port),
        );
    }
    for service in machine.platform.services() {
        if service.allowed_hosts().contains(&host.name) {
            ports.extend(service.ports.iter().map(|port| port.number));
        }
    }
    let gateways = machine.platform.gateways_on(&host.name);
    ports.extend(gateways.filter_map(|gateway| gateway.metrics_port));
    ports.extend(etcd_ports(machine, host));
    let watch = machine.platform.watch();
    let watch = watch.filter(|watch| watch.hosts.contains(&host.name));
    ports.extend(watch.and_then(|watch| watch.port));
    ports
}
