//! Who the processes of a host are, and where they prove it from.

use std::path::PathBuf;

use mainstay_model::Host;
use mainstay_record::identity::{
    IdentityFiles, NODE_ROLE, WATCH_ROLE, archiver_role, gateway_role, identity_name, keeper_role,
};

use crate::machine::Machine;

/// Every identity of a host: its name, and the file in which it is laid down.
pub fn identities(machine: &Machine<'_>, host: &Host) -> Vec<(String, PathBuf)> {
    let platform = machine.platform;
    let mut roles = vec![NODE_ROLE.to_owned()];
    for (database, _) in platform.replicas_on(&host.name) {
        roles.push(keeper_role(database.name.as_str()));
        if database.backup.is_some() {
            roles.push(archiver_role(database.name.as_str()));
        }
    }
    let gateways = platform.gateways_on(&host.name);
    roles.extend(gateways.map(|gateway| gateway_role(gateway.name.as_str())));
    if platform
        .watch()
        .is_some_and(|watch| watch.hosts.contains(&host.name))
    {
        roles.push(WATCH_ROLE.to_owned());
    }
    let named = roles.iter().map(|role| {
        let name = identity_name(role, host.name.as_str(), platform.name().as_str());
        (name, machine.layout.identity(host.name.as_str(), role))
    });
    named.collect()
}

/// What the process with this role reads.
pub fn identity_files(machine: &Machine<'_>, host: &Host, role: &str) -> IdentityFiles {
    IdentityFiles {
        own: machine.layout.identity(host.name.as_str(), role),
        roots: machine.layout.roots(),
    }
}
