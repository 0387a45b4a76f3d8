//! What the platform file says, as far as deliberation needs it.
//!
//! The whole model stays with the nodes, which derive configurations from it. The journal keeps this digest of
//! it, so that a decision can be understood from the journal alone.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;

use mainstay_model::gate::Gate;
use mainstay_model::gateway::Target;
use mainstay_model::name::{
    DatabaseName, GatewayName, HostName, ObjectiveName, OperatorName, PlatformName, RegionName,
    ServiceName,
};
use mainstay_model::people::{Permission, UnixIdentity};
use mainstay_model::service::Placement;
use mainstay_model::watch::Events;
use mainstay_model::{EnvironmentKind, Platform};
use mainstay_notify::Settings;

use crate::notices;

/// Two definitions with different fingerprints differ. Equal between nodes of one version of Mainstay; another
/// version may compute others, which shows as a change without consequence.
pub type Fingerprint = u64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub platform: PlatformName,
    pub environment: EnvironmentKind,
    pub hosts: BTreeMap<HostName, RegionName>,
    pub databases: BTreeMap<DatabaseName, DesiredDatabase>,
    pub services: BTreeMap<ServiceName, DesiredService>,
    /// With the hosts that run a process of each.
    pub gateways: BTreeMap<GatewayName, (Vec<HostName>, Fingerprint)>,
    pub operators: BTreeMap<OperatorName, DesiredOperator>,
    /// Hosts that have a watch.
    pub watches: BTreeSet<HostName>,
    /// What gateways' paths lead to.
    pub routes: Vec<DesiredRoute>,
    /// Which requests an objective judges; those of its own expressions are not here.
    pub objectives: BTreeMap<ObjectiveName, (GatewayName, Option<String>)>,
    /// Who is called, in which order, by which channels.
    pub oncall: Settings,
    /// What must be measured to be well before some commands.
    pub gates: Vec<Gate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredDatabase {
    pub home: RegionName,
    /// In the order of the file.
    pub replicas: Vec<HostName>,
    pub fingerprint: Fingerprint,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    pub replicas: u16,
    /// Hosts that may run an instance, in order of preference; at most one instance on each.
    pub hosts: Vec<HostName>,
    /// Then an instance runs beside every replica and none is ever moved.
    pub follows: Option<DatabaseName>,
    pub fingerprint: Fingerprint,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredRoute {
    pub gateway: GatewayName,
    pub path: String,
    pub databases: Vec<DatabaseName>,
    pub services: Vec<ServiceName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredOperator {
    pub identity: UnixIdentity,
    pub permissions: BTreeSet<Permission>,
}

impl Desired {
    pub fn of(platform: &Platform) -> Self {
        let operators = platform.operators().iter().map(|operator| {
            let permissions = Permission::ALL
                .into_iter()
                .filter(|permission| platform.permits(&operator.roles, *permission))
                .collect();
            let desired = DesiredOperator {
                identity: operator.identity.clone(),
                permissions,
            };
            (operator.name.clone(), desired)
        });
        let gateways = platform.gateways().iter().map(|gateway| {
            let fingerprint = fingerprint(gateway);
            (gateway.name.clone(), (gateway.hosts.clone(), fingerprint))
        });
        let databases = platform.databases().iter().map(|database| {
            let desired = DesiredDatabase {
                home: database.home.clone(),
                replicas: database.replicas.iter().map(|r| r.host.clone()).collect(),
                fingerprint: fingerprint(database),
            };
            (database.name.clone(), desired)
        });
        let services = platform.services().iter().map(|service| {
            let (replicas, follows) = match &service.placement {
                Placement::Follows { database, hosts } => (
                    u16::try_from(hosts.len()).unwrap_or(u16::MAX),
                    Some(database.clone()),
                ),
                Placement::Spread { replicas, .. } => (*replicas, None),
            };
            let desired = DesiredService {
                replicas,
                hosts: service.allowed_hosts().to_vec(),
                follows,
                fingerprint: fingerprint(service),
            };
            (service.name.clone(), desired)
        });
        let hosts = platform.hosts().iter();
        Self {
            platform: platform.name().clone(),
            environment: platform.environment().kind,
            hosts: hosts.map(|h| (h.name.clone(), h.region.clone())).collect(),
            databases: databases.collect(),
            services: services.collect(),
            gateways: gateways.collect(),
            operators: operators.collect(),
            watches: platform
                .watch()
                .map(|watch| watch.hosts.iter().cloned().collect())
                .unwrap_or_default(),
            routes: routes(platform),
            objectives: objectives(platform),
            gates: platform.gates().to_vec(),
            oncall: platform.oncall().map(notices::settings).unwrap_or_default(),
        }
    }

    pub fn has_region(&self, region: &RegionName) -> bool {
        self.hosts.values().any(|known| known == region)
    }
}

fn routes(platform: &Platform) -> Vec<DesiredRoute> {
    let mut routes = Vec::new();
    for gateway in platform.gateways() {
        for route in gateway.http.iter().flat_map(|listener| &listener.routes) {
            let (mut databases, mut services) = (Vec::new(), Vec::new());
            match &route.target {
                Target::Service { service, .. } => services.push(service.clone()),
                Target::Cell { members, .. } => {
                    for member in members {
                        databases.push(member.database.clone());
                        services.push(member.service.clone());
                    }
                }
            }
            routes.push(DesiredRoute {
                gateway: gateway.name.clone(),
                path: route.path.as_str().into(),
                databases,
                services,
            });
        }
    }
    routes
}

fn objectives(platform: &Platform) -> BTreeMap<ObjectiveName, (GatewayName, Option<String>)> {
    let objectives = platform.watch().map_or(&[][..], |watch| &watch.objectives);
    let judged = objectives
        .iter()
        .filter_map(|objective| match &objective.events {
            Events::Answered { gateway, route } | Events::Fast { gateway, route, .. } => {
                Some((objective.name.clone(), (gateway.clone(), route.clone())))
            }
            Events::Expressions { .. } => None,
        });
    judged.collect()
}

/// FNV-1a over everything that the definition says.
fn fingerprint(definition: &impl Debug) -> Fingerprint {
    let text = format!("{definition:?}");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
