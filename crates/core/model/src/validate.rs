//! From a draft to a platform: every rule, all violations at once.
//!
//! Each subject is inspected by a module of its own, in the order of the file, and yields what it could
//! make of its part. References are checked against the names that are *declared*, valid or not, so that
//! one mistake is reported once and not again wherever it is referred to. Rules that span subjects (ports,
//! single points of failure) come last, over what is sound by then.

mod backup;
mod chaos;
mod coordination;
mod cost;
mod databases;
mod door;
mod gates;
mod gateways;
mod inspector;
mod objectives;
mod oncall;
mod people;
mod playbooks;
mod ports;
mod resilience;
mod services;
mod targets;
#[cfg(test)]
mod tests;
mod topology;
mod watch;

use alloc::vec::Vec;

use crate::draft::PlatformDraft;
use crate::name::{EnvironmentName, PlatformName};
use crate::platform::{Environment, EnvironmentKind, Platform};
use crate::violation::Violation;

use inspector::Inspector;
pub(crate) use objectives::span;

/// Longest list of anything in a platform file, so that checks of pairs stay cheap on hostile input.
const LIST_MAX: usize = 256;

pub(crate) fn platform(draft: &PlatformDraft) -> Result<Platform, Vec<Violation>> {
    let mut inspector = Inspector::default();
    if lists_are_bounded(&mut inspector, draft) {
        let platform = inspect(&mut inspector, draft);
        if let (Some(platform), true) = (platform, inspector.is_content()) {
            return Ok(platform);
        }
    }
    let violations = inspector.into_violations();
    assert!(!violations.is_empty(), "no platform and no violation");
    Err(violations)
}

fn lists_are_bounded(inspector: &mut Inspector, draft: &PlatformDraft) -> bool {
    let lists = [
        ("regions", draft.regions.len()),
        ("distances", draft.distances.len()),
        ("hosts", draft.hosts.len()),
        ("databases", draft.databases.len()),
        ("services", draft.services.len()),
        ("gateways", draft.gateways.len()),
        ("roles", draft.roles.len()),
        ("operators", draft.operators.len()),
        ("waivers", draft.waivers.len()),
    ];
    let mut bounded = true;
    for (name, length) in lists {
        bounded &= inspector.list_length(&alloc::format!("/spec/{name}"), length, LIST_MAX);
    }
    bounded
}

fn inspect(inspector: &mut Inspector, draft: &PlatformDraft) -> Option<Platform> {
    let name = inspector.name("/metadata/name", &draft.name, PlatformName::new);
    let environment = inspector.name(
        "/spec/environment/name",
        &draft.environment.name,
        EnvironmentName::new,
    );
    let kind = if draft.environment.production {
        EnvironmentKind::Production
    } else {
        EnvironmentKind::Rehearsal
    };
    let regions = topology::regions(inspector, draft);
    let distances = topology::distances(inspector, draft, &regions);
    let hosts = topology::hosts(inspector, draft, &regions);
    let topology_is_sound = inspector.is_content();
    let databases = databases::databases(inspector, draft, &hosts);
    let services = services::services(inspector, draft, &hosts, &databases);
    let gateways = gateways::gateways(inspector, draft, &hosts, &services);
    let roles = people::roles(inspector, draft);
    let operators = people::operators(inspector, draft, &roles);
    ports::clashes(inspector, draft, &hosts);
    let waivers = resilience::waivers(inspector, draft);
    let watch = watch::watch(inspector, draft, &hosts, &gateways, &services);
    let chaos = chaos::chaos(inspector, draft);
    let oncall = oncall::oncall(inspector, draft);
    let cost_per_minute = cost::cost(inspector, draft);
    let coordination = coordination::coordination(inspector, draft, &hosts);
    let playbooks = playbooks::playbooks(inspector, draft);
    let gates = gates::gates(inspector, draft, watch.as_ref());
    if topology_is_sound {
        resilience::single_points(inspector, draft, &hosts, &databases, &services, &gateways);
    }
    Some(Platform {
        name: name?,
        environment: Environment {
            name: environment?,
            kind,
        },
        regions,
        distances,
        hosts,
        databases,
        services,
        gateways,
        roles,
        operators,
        waivers,
        watch,
        chaos,
        cost_per_minute,
        oncall,
        coordination,
        playbooks,
        gates,
    })
}
