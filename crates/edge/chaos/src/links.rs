//! Who speaks to whom, and through which door.
//!
//! A wire stands on the way between two regions, and within a region on the way to a server where the platform file
//! wants it. It knows a connection by the region that makes it and by the port that it leads to, and by nothing else:
//! so whoever shares a door with the pair that is meant shares its fate, and is named.

use mainstay_model::Platform;
use mainstay_model::gateway::Target;

use crate::inventory::{Inventory, Pod, What};

/// A way on which one process connects to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link<'a> {
    pub(crate) from: &'a Pod,
    pub(crate) to: &'a Pod,
    /// Where the other listens, on its host.
    pub(crate) port: u16,
    pub(crate) way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through a wire, where it can be slowed or cut.
    Door,
    /// Straight, on one machine or within a region.
    Straight,
}

pub(crate) fn links<'a>(platform: &Platform, inventory: &'a Inventory) -> Vec<Link<'a>> {
    let mut found = Vec::new();
    for from in &inventory.pods {
        for to in &inventory.pods {
            if from.instance != to.instance {
                between(platform, from, to, &mut found);
            }
        }
    }
    found
}

fn between<'a>(platform: &Platform, from: &'a Pod, to: &'a Pod, found: &mut Vec<Link<'a>>) {
    let Some(host) = platform.host(&to.host) else {
        return;
    };
    let mut add = |declared: u16, way: Way| {
        found.push(Link {
            from,
            to,
            port: host.index.port(declared),
            way,
        });
    };
    let parted = match from.region == to.region {
        true => Way::Straight,
        false => Way::Door,
    };
    match (&from.what, &to.what) {
        (What::Service(service), What::Server(name)) if from.host == to.host => {
            let service = platform
                .services()
                .iter()
                .find(|s| s.name == *service.as_str());
            let follows = service.and_then(|service| service.follows());
            let database = follows.filter(|database| database.as_str() == name);
            if let Some(database) = database.and_then(|d| platform.database(d.as_str())) {
                let way = match platform.has_inner_wires() {
                    true => Way::Door,
                    false => Way::Straight,
                };
                add(database.ports.postgres, way);
            }
        }
        // A standby asks its primary, whichever of them that is.
        (What::Server(one), What::Server(other)) if one == other => {
            if let Some(database) = platform.database(one) {
                add(database.ports.postgres, parted);
            }
        }
        (What::Keeper(one), What::Keeper(other)) if one == other => {
            if let Some(database) = platform.database(one) {
                add(database.ports.peer, parted);
                add(database.ports.sight, parted);
            }
        }
        (What::Gateway(gateway), other) => {
            for port in reached(platform, gateway, other) {
                add(port, parted);
            }
        }
        _ => {}
    }
}

/// Ports at which a gateway reaches another process.
fn reached(platform: &Platform, name: &str, other: &What) -> Vec<u16> {
    let gateways = platform.gateways();
    let Some(gateway) = gateways.iter().find(|gateway| gateway.name == *name) else {
        return Vec::new();
    };
    let passes_on = |database: &str| gateway.tcp.iter().any(|l| l.database.as_str() == database);
    match other {
        What::Service(service) => served(platform, name, service),
        What::Server(database) => {
            let known = platform.database(database).filter(|_| passes_on(database));
            known
                .map(|known| known.ports.postgres)
                .into_iter()
                .collect()
        }
        What::Keeper(database) => {
            let routes = gateway.http.iter().flat_map(|listener| &listener.routes);
            let is_cell = routes.into_iter().any(|route| match &route.target {
                Target::Cell { members, .. } => members
                    .iter()
                    .any(|member| member.database.as_str() == database),
                Target::Service { .. } => false,
            });
            let looks = is_cell || passes_on(database);
            let known = platform.database(database).filter(|_| looks);
            known.map(|known| known.ports.sight).into_iter().collect()
        }
        What::Gateway(_) => Vec::new(),
    }
}

/// Ports of a service to which a gateway sends requests.
fn served(platform: &Platform, gateway: &str, service: &str) -> Vec<u16> {
    let Some(gateway) = platform.gateways().iter().find(|g| g.name == *gateway) else {
        return Vec::new();
    };
    let Some(service) = platform.services().iter().find(|s| s.name == *service) else {
        return Vec::new();
    };
    let routes = gateway.http.iter().flat_map(|listener| &listener.routes);
    let ports = routes.flat_map(|route| match &route.target {
        Target::Service {
            service: name,
            port,
            ..
        } if *name == service.name => vec![port],
        Target::Service { .. } => Vec::new(),
        Target::Cell { members, .. } => members
            .iter()
            .filter(|member| member.service == service.name)
            .map(|member| &member.port)
            .collect(),
    });
    let mut numbers: Vec<u16> = ports
        .filter_map(|name| service.port(name))
        .map(|port| port.number)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
