//! The validated platform and the questions that are asked of it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;

use crate::address::{self, HostIndex, RegionIndex, Slot};
use crate::chaos::{Chaos, InnerWires};
use crate::coordination::Coordination;
use crate::cost::CostPerMinute;
use crate::database::{Database, Replica};
use crate::draft::PlatformDraft;
use crate::gate::Gate;
use crate::gateway::Gateway;
use crate::name::{
    DatabaseName, EnvironmentName, GatewayName, HostName, PlatformName, RegionName, RoleName,
    ServiceName, WaiverName,
};
use crate::oncall::Oncall;
use crate::people::{Operator, Permission, Role};
use crate::service::Service;
use crate::validate;
use crate::violation::Violation;
use crate::watch::Watch;

/// Every reference in it resolves. Lists keep the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    pub(crate) name: PlatformName,
    pub(crate) environment: Environment,
    pub(crate) regions: Vec<Region>,
    /// Keyed by the pair in order of region index; pairs that are absent are at distance zero.
    pub(crate) distances: BTreeMap<(RegionIndex, RegionIndex), Duration>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) databases: Vec<Database>,
    pub(crate) services: Vec<Service>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) roles: Vec<Role>,
    pub(crate) operators: Vec<Operator>,
    pub(crate) waivers: Vec<Waiver>,
    pub(crate) watch: Option<Watch>,
    pub(crate) chaos: Option<Chaos>,
    pub(crate) oncall: Option<Oncall>,
    pub(crate) cost_per_minute: Option<CostPerMinute>,
    pub(crate) coordination: Coordination,
    pub(crate) playbooks: Vec<String>,
    pub(crate) gates: Vec<Gate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    pub name: EnvironmentName,
    pub kind: EnvironmentKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvironmentKind {
    /// Faults are refused unless somebody with `fault.approve` approves.
    Production,
    /// Faults may be injected by whoever holds `fault.inject`.
    Rehearsal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    pub name: RegionName,
    pub index: RegionIndex,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: HostName,
    pub region: RegionName,
    pub region_index: RegionIndex,
    pub index: HostIndex,
}

impl Host {
    /// Where the host listens.
    pub const fn address(&self, slot: Slot) -> Ipv4Addr {
        address::host(slot, self.region_index, self.index)
    }

    /// Where hosts of region `from` reach this host: directly inside its region, else through the door.
    pub fn address_from(&self, slot: Slot, from: RegionIndex) -> Ipv4Addr {
        if from == self.region_index {
            self.address(slot)
        } else {
            address::door(slot, self.region_index, from)
        }
    }
}

/// A single point of failure that somebody accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    pub name: WaiverName,
    pub subject: WaiverSubject,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaiverSubject {
    Service(ServiceName),
    Gateway(GatewayName),
}

impl Platform {
    /// Everything that is wrong with the draft, in the order of the file, or the platform.
    pub fn from_draft(draft: &PlatformDraft) -> Result<Self, Vec<Violation>> {
        validate::platform(draft)
    }

    /// The same platform with every two regions at this distance (round trip): for comparing runs.
    pub fn with_distance(mut self, round_trip: Duration) -> Self {
        self.distances.clear();
        for (place, near) in self.regions.iter().enumerate() {
            for far in self.regions.iter().skip(place + 1) {
                self.distances.insert((near.index, far.index), round_trip);
            }
        }
        self
    }

    /// The same platform with its journal where the other has it: for comparing files.
    pub fn with_coordination_of(mut self, other: &Self) -> Self {
        self.coordination = other.coordination.clone();
        self
    }

    pub fn name(&self) -> &PlatformName {
        &self.name
    }

    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    pub fn databases(&self) -> &[Database] {
        &self.databases
    }

    pub fn services(&self) -> &[Service] {
        &self.services
    }

    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    pub fn operators(&self) -> &[Operator] {
        &self.operators
    }

    pub fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }

    /// Absent too where the section says that it is off.
    pub fn oncall(&self) -> Option<&Oncall> {
        self.oncall.as_ref()
    }

    /// Where the journal stands.
    pub fn coordination(&self) -> &Coordination {
        &self.coordination
    }

    /// Files of playbooks that are in force with this file; paths beside it unless absolute.
    pub fn playbooks(&self) -> &[String] {
        &self.playbooks
    }

    /// What must be measured to be well before somebody changes, moves or rehearses something.
    pub fn gates(&self) -> &[Gate] {
        &self.gates
    }

    pub fn cost_per_minute(&self) -> Option<&CostPerMinute> {
        self.cost_per_minute.as_ref()
    }

    pub fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    pub fn chaos(&self) -> Option<&Chaos> {
        self.chaos.as_ref()
    }

    /// Whether services reach the server on their own host through a wire.
    pub fn has_inner_wires(&self) -> bool {
        self.chaos()
            .is_some_and(|chaos| chaos.inner_wires == InnerWires::On)
    }

    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == *name)
    }

    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == *name)
    }

    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases
            .iter()
            .find(|database| database.name == *name)
    }

    pub fn database_mut(&mut self, name: &str) -> Option<&mut Database> {
        self.databases
            .iter_mut()
            .find(|database| database.name == *name)
    }

    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == *name)
    }

    pub fn gateway(&self, name: &str) -> Option<&Gateway> {
        self.gateways.iter().find(|gateway| gateway.name == *name)
    }

    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == *name)
    }

    pub fn hosts_in<'a>(&'a self, region: &'a RegionName) -> impl Iterator<Item = &'a Host> {
        self.hosts.iter().filter(move |host| host.region == *region)
    }

    /// The round trip between two regions; zero within one.
    pub fn distance(&self, one: RegionIndex, other: RegionIndex) -> Duration {
        let pair = (one.min(other), one.max(other));
        self.distances.get(&pair).copied().unwrap_or(Duration::ZERO)
    }

    /// The replicas that stand on a host, each with its database.
    pub fn replicas_on<'a>(
        &'a self,
        host: &'a HostName,
    ) -> impl Iterator<Item = (&'a Database, &'a Replica)> {
        self.databases
            .iter()
            .filter_map(move |database| Some((database, database.replica_on(host)?)))
    }

    /// The gateways that have a process on a host.
    pub fn gateways_on<'a>(&'a self, host: &'a HostName) -> impl Iterator<Item = &'a Gateway> {
        self.gateways
            .iter()
            .filter(move |gateway| gateway.hosts.contains(host))
    }

    /// Services that follow a database.
    pub fn followers<'a>(
        &'a self,
        database: &'a DatabaseName,
    ) -> impl Iterator<Item = &'a Service> {
        self.services
            .iter()
            .filter(move |service| service.follows() == Some(database))
    }

    /// Whether any of the roles grants the permission.
    pub fn permits<'a>(
        &self,
        roles: impl IntoIterator<Item = &'a RoleName>,
        permission: Permission,
    ) -> bool {
        roles.into_iter().any(|name| {
            self.role(name.as_str())
                .is_some_and(|role| role.permissions.contains(&permission))
        })
    }
}
