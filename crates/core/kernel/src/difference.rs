//! What a changed file changes, and what will be done about it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mainstay_model::gate::Gate;
use mainstay_model::name::{DatabaseName, GateName, GatewayName, HostName, ServiceName};

use crate::desired::Desired;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    pub kind: ChangeKind,
    pub subject: Subject,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Removed,
    Added,
    Changed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Environment,
    Host,
    Database,
    Service,
    Gateway,
    Operator,
    /// Named by its host.
    Watch,
    Gate,
}

/// One thing that will be done; hosts do their own, in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    CreateReplica {
        database: DatabaseName,
        host: HostName,
    },
    /// Once the others have what it has, and those that come in its place.
    RemoveReplica {
        database: DatabaseName,
        host: HostName,
    },
    StartGateway {
        gateway: GatewayName,
        host: HostName,
    },
    ReloadGateway {
        gateway: GatewayName,
        host: HostName,
    },
    StopGateway {
        gateway: GatewayName,
        host: HostName,
    },
    /// Where its instances go is decided and journalled one by one.
    PlaceService {
        service: ServiceName,
        instances: u16,
    },
    ReplaceInstances {
        service: ServiceName,
    },
    WithdrawService {
        service: ServiceName,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub changes: Vec<Change>,
    pub steps: Vec<Step>,
}

/// What it takes to come from `old` (nothing, if absent) to `new`.
pub fn plan(old: Option<&Desired>, new: &Desired) -> Plan {
    let nothing = Desired {
        platform: new.platform.clone(),
        environment: new.environment,
        hosts: BTreeMap::new(),
        databases: BTreeMap::new(),
        services: BTreeMap::new(),
        gateways: BTreeMap::new(),
        operators: BTreeMap::new(),
        watches: BTreeSet::new(),
        routes: Vec::new(),
        objectives: BTreeMap::new(),
        oncall: mainstay_notify::Settings::default(),
        gates: Vec::new(),
    };
    let old = old.unwrap_or(&nothing);
    let mut plan = Plan::default();
    if old.environment != new.environment {
        plan.changes.push(Change {
            kind: ChangeKind::Changed,
            subject: Subject::Environment,
            name: new.platform.to_string(),
        });
    }
    let changes = &mut plan.changes;
    compare(Subject::Host, &old.hosts, &new.hosts, changes);
    compare(Subject::Database, &old.databases, &new.databases, changes);
    compare(Subject::Service, &old.services, &new.services, changes);
    compare(Subject::Gateway, &old.gateways, &new.gateways, changes);
    compare(Subject::Operator, &old.operators, &new.operators, changes);
    let each = |desired: &Desired| -> BTreeMap<HostName, ()> {
        let hosts = desired.watches.iter();
        hosts.map(|host| (host.clone(), ())).collect()
    };
    compare(Subject::Watch, &each(old), &each(new), changes);
    let gates = |desired: &Desired| -> BTreeMap<GateName, Gate> {
        let gates = desired.gates.iter();
        gates
            .map(|gate| (gate.name.clone(), gate.clone()))
            .collect()
    };
    compare(Subject::Gate, &gates(old), &gates(new), changes);
    database_steps(old, new, &mut plan.steps);
    gateway_steps(old, new, &mut plan.steps);
    service_steps(old, new, &mut plan.steps);
    plan
}

fn compare<K: Ord + ToString, V: PartialEq>(
    subject: Subject,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    changes: &mut Vec<Change>,
) {
    let names: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    for name in names {
        let kind = match (old.get(name), new.get(name)) {
            (Some(_), None) => ChangeKind::Removed,
            (None, Some(_)) => ChangeKind::Added,
            (Some(before), Some(after)) if before != after => ChangeKind::Changed,
            (Some(_), Some(_)) | (None, None) => continue,
        };
        changes.push(Change {
            kind,
            subject,
            name: name.to_string(),
        });
    }
}

fn database_steps(old: &Desired, new: &Desired, steps: &mut Vec<Step>) {
    for (name, database) in &new.databases {
        let known = old.databases.get(name);
        let known: &[HostName] = known.map_or(&[], |known| &known.replicas);
        let comes = database
            .replicas
            .iter()
            .filter(|host| !known.contains(host));
        steps.extend(comes.map(|host| Step::CreateReplica {
            database: name.clone(),
            host: host.clone(),
        }));
        let goes = known
            .iter()
            .filter(|host| !database.replicas.contains(host));
        steps.extend(goes.map(|host| Step::RemoveReplica {
            database: name.clone(),
            host: host.clone(),
        }));
    }
}

fn gateway_steps(old: &Desired, new: &Desired, steps: &mut Vec<Step>) {
    let processes = |desired: &Desired| -> BTreeMap<(GatewayName, HostName), u64> {
        let each = desired
            .gateways
            .iter()
            .flat_map(|(name, (hosts, fingerprint))| {
                hosts
                    .iter()
                    .map(|host| ((name.clone(), host.clone()), *fingerprint))
            });
        each.collect()
    };
    let (before, after) = (processes(old), processes(new));
    for ((gateway, host), fingerprint) in &after {
        let (gateway, host) = (gateway.clone(), host.clone());
        match before.get(&(gateway.clone(), host.clone())) {
            None => steps.push(Step::StartGateway { gateway, host }),
            Some(old) if old != fingerprint => steps.push(Step::ReloadGateway { gateway, host }),
            Some(_) => {}
        }
    }
    for (gateway, host) in before.keys().filter(|key| !after.contains_key(key)) {
        steps.push(Step::StopGateway {
            gateway: gateway.clone(),
            host: host.clone(),
        });
    }
}

fn service_steps(old: &Desired, new: &Desired, steps: &mut Vec<Step>) {
    for (name, service) in &new.services {
        let (service_name, instances) = (name.clone(), service.replicas);
        match old.services.get(name) {
            None => steps.push(Step::PlaceService {
                service: service_name,
                instances,
            }),
            Some(before) if before.fingerprint != service.fingerprint => {
                steps.push(Step::ReplaceInstances {
                    service: service_name,
                });
            }
            Some(_) => {}
        }
    }
    for name in old.services.keys() {
        if !new.services.contains_key(name) {
            steps.push(Step::WithdrawService {
                service: name.clone(),
            });
        }
    }
}
