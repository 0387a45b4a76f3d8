//! What a service is told, by its environment and by nothing else.

use std::collections::BTreeMap;

use mainstay_model::Host;
use mainstay_model::service::Service;
use mainstay_record::identity::{NODE_ROLE, identity_name, service_role};

use crate::identity::identity_files;
use crate::keeper::APPLICATION_ROLE;
use crate::machine::Machine;

/// `HOST/NAME`, the name of an instance everywhere.
pub fn service_name_of(host: &Host, service: &Service) -> String {
    format!("{}/{}", host.name, service.name)
}

/// Everything the file says, and below it, not to be overridden, what Mainstay says:
///
/// - `MAINSTAY_PLATFORM`, `MAINSTAY_REGION`, `MAINSTAY_HOST`, `MAINSTAY_SERVICE`, `MAINSTAY_INSTANCE`
/// - `MAINSTAY_LISTEN`: address and port of the first declared port; `MAINSTAY_LISTEN_NAME` for each by name
/// - for a service with a port of `tls: platform`: `MAINSTAY_TLS_IDENTITY`, a private key and its certificate (PEM, in one
///   file, replaced whole when it is renewed), and `MAINSTAY_TLS_ROOTS`, whom to believe
/// - for a service with `modes`: `MAINSTAY_CONTROLLERS`, the names that nodes of the platform prove, between commas: they
///   alone may tell it its mode
/// - `MAINSTAY_GATEWAY`: address and port of the nearest gateway's first HTTP listener, if there is one
/// - for a service that follows a database: `MAINSTAY_CELL`, `MAINSTAY_LEASE_FILE`, and `PGHOST`, `PGPORT`,
///   `PGUSER`, `PGDATABASE`, `PGPASSFILE`, `PGSSLMODE`, `PGSSLROOTCERT`, which lead to the server on its own host
pub fn service_environment(
    machine: &Machine<'_>,
    service: &Service,
    host: &Host,
) -> BTreeMap<String, String> {
    let mut environment = service.environment.clone();
    let mut set = |name: &str, value: String| {
        environment.insert(name.to_owned(), value);
    };
    set("PATH", machine.search_path());
    set("MAINSTAY_PLATFORM", machine.platform.name().to_string());
    set("MAINSTAY_REGION", host.region.to_string());
    set("MAINSTAY_HOST", host.name.to_string());
    set("MAINSTAY_SERVICE", service.name.to_string());
    set("MAINSTAY_INSTANCE", service_name_of(host, service));
    for (place, port) in service.ports.iter().enumerate() {
        let listen = machine.listen(host, port.number).to_string();
        let name = port.name.as_str().replace('-', "_").to_ascii_uppercase();
        set(&format!("MAINSTAY_LISTEN_{name}"), listen.clone());
        if place == 0 {
            set("MAINSTAY_LISTEN", listen);
        }
    }
    if service.proves_itself() {
        let files = identity_files(machine, host, &service_role(service.name.as_str()));
        set("MAINSTAY_TLS_IDENTITY", files.own.display().to_string());
        set("MAINSTAY_TLS_ROOTS", files.roots.display().to_string());
    }
    if service.modes.is_some() {
        let platform = machine.platform.name().as_str();
        let hosts = machine.platform.hosts().iter();
        let names = hosts.map(|host| identity_name(NODE_ROLE, host.name.as_str(), platform));
        set("MAINSTAY_CONTROLLERS", names.collect::<Vec<_>>().join(","));
    }
    if let Some(gateway) = nearest_gateway(machine, host) {
        set("MAINSTAY_GATEWAY", gateway);
    }
    let database = service.follows();
    if let Some(database) = database.and_then(|name| machine.platform.database(name.as_str())) {
        let (here, name) = (host.name.as_str(), database.name.as_str());
        let postgres = machine.server_of(host, database.ports.postgres);
        let path = |path: std::path::PathBuf| path.display().to_string();
        set("MAINSTAY_CELL", name.to_owned());
        set(
            "MAINSTAY_LEASE_FILE",
            path(machine.layout.lease(here, name)),
        );
        set("PGHOST", postgres.ip().to_string());
        set("PGPORT", postgres.port().to_string());
        set("PGUSER", APPLICATION_ROLE.to_owned());
        set("PGDATABASE", name.to_owned());
        set("PGPASSFILE", path(machine.layout.password_file(name)));
        set("PGSSLMODE", "verify-full".to_owned());
        set("PGSSLROOTCERT", path(machine.layout.roots()));
    }
    environment
}

/// On the host itself, else on another host of its region. Never in another region: a gateway is reached at its
/// host's own address, through no door, and that would be a way around the wires.
fn nearest_gateway(machine: &Machine<'_>, host: &Host) -> Option<String> {
    let platform = machine.platform;
    let beside = platform.hosts_in(&host.region);
    let hosts = std::iter::once(host).chain(beside.filter(|other| other.name != host.name));
    let mut listeners = hosts.flat_map(|host| {
        let gateways = platform.gateways_on(&host.name);
        gateways.filter_map(move |gateway| Some((host, gateway.http.first()?)))
    });
    let (host, listener) = listeners.next()?;
    Some(format!("{}:{}", host.address(machine.slot), listener.port))
}
