//! The digest of a platform file as stored in the journal, and back.

use mainstay_kernel::{Desired, DesiredDatabase, DesiredOperator, DesiredRoute, DesiredService};
use mainstay_model::EnvironmentKind;
use mainstay_model::people::{Permission, UnixIdentity};
use mainstay_record::event::{
    DesiredDatabaseRecord, DesiredGatewayRecord, DesiredObjectiveRecord, DesiredOperatorRecord,
    DesiredRecord, DesiredRouteRecord, DesiredServiceRecord, IdentityRecord,
};

use super::ReadError;
use super::gates::{gate_of, gate_record};
use super::notices::{oncall_of, oncall_record};

pub(super) fn desired_record(desired: &Desired) -> DesiredRecord {
    let names = |names: &[mainstay_model::name::HostName]| -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    };
    let databases = desired.databases.iter().map(|(name, database)| {
        let record = DesiredDatabaseRecord {
            home: database.home.to_string(),
            replicas: names(&database.replicas),
            fingerprint: fingerprint_text(database.fingerprint),
        };
        (name.to_string(), record)
    });
    let services = desired.services.iter().map(|(name, service)| {
        let record = DesiredServiceRecord {
            replicas: service.replicas,
            hosts: names(&service.hosts),
            follows: service.follows.as_ref().map(ToString::to_string),
            fingerprint: fingerprint_text(service.fingerprint),
        };
        (name.to_string(), record)
    });
    let gateways = desired.gateways.iter().map(|(name, (hosts, fingerprint))| {
        let record = DesiredGatewayRecord {
            hosts: names(hosts),
            fingerprint: fingerprint_text(*fingerprint),
        };
        (name.to_string(), record)
    });
    let operators = desired.operators.iter().map(|(name, operator)| {
        let permissions = operator.permissions.iter().map(|p| p.as_str().to_owned());
        let record = DesiredOperatorRecord {
            identity: match &operator.identity {
                UnixIdentity::Owner => IdentityRecord::Owner,
                UnixIdentity::Uid(uid) => IdentityRecord::Uid(*uid),
                UnixIdentity::User(user) => IdentityRecord::User(user.clone()),
            },
            permissions: permissions.collect(),
        };
        (name.to_string(), record)
    });
    let hosts = desired.hosts.iter();
    let objectives = desired.objectives.iter().map(|(name, (gateway, route))| {
        let record = DesiredObjectiveRecord {
            gateway: gateway.to_string(),
            route: route.clone(),
        };
        (name.to_string(), record)
    });
    DesiredRecord {
        platform: desired.platform.to_string(),
        production: desired.environment == EnvironmentKind::Production,
        hosts: hosts.map(|(h, r)| (h.to_string(), r.to_string())).collect(),
        databases: databases.collect(),
        services: services.collect(),
        gateways: gateways.collect(),
        operators: operators.collect(),
        watches: desired.watches.iter().map(ToString::to_string).collect(),
        routes: desired.routes.iter().map(route_record).collect(),
        objectives: objectives.collect(),
        gates: desired.gates.iter().map(gate_record).collect(),
        oncall: (desired.oncall != Default::default()).then(|| oncall_record(&desired.oncall)),
    }
}

pub(super) fn desired_of(record: DesiredRecord) -> Result<Desired, ReadError> {
    let mut desired = Desired {
        platform: record.platform.parse()?,
        environment: if record.production {
            EnvironmentKind::Production
        } else {
            EnvironmentKind::Rehearsal
        },
        hosts: Default::default(),
        databases: Default::default(),
        services: Default::default(),
        gateways: Default::default(),
        operators: Default::default(),
        watches: Default::default(),
        routes: record
            .routes
            .into_iter()
            .map(route_of)
            .collect::<Result<_, _>>()?,
        objectives: Default::default(),
        gates: record
            .gates
            .into_iter()
            .map(gate_of)
            .collect::<Result<_, _>>()?,
        oncall: record
            .oncall
            .map(oncall_of)
            .transpose()?
            .unwrap_or_default(),
    };
    for (name, objective) in record.objectives {
        let judged = (objective.gateway.parse()?, objective.route);
        desired.objectives.insert(name.parse()?, judged);
    }
    for host in &record.watches {
        desired.watches.insert(host.parse()?);
    }
    for (host, region) in record.hosts {
        desired.hosts.insert(host.parse()?, region.parse()?);
    }
    for (name, database) in record.databases {
        let database = DesiredDatabase {
            home: database.home.parse()?,
            replicas: parse_all(&database.replicas)?,
            fingerprint: fingerprint(&database.fingerprint)?,
        };
        desired.databases.insert(name.parse()?, database);
    }
    for (name, service) in record.services {
        let service = DesiredService {
            replicas: service.replicas,
            hosts: parse_all(&service.hosts)?,
            follows: service.follows.as_deref().map(str::parse).transpose()?,
            fingerprint: fingerprint(&service.fingerprint)?,
        };
        desired.services.insert(name.parse()?, service);
    }
    for (name, gateway) in record.gateways {
        let hosts = parse_all(&gateway.hosts)?;
        let fingerprint = fingerprint(&gateway.fingerprint)?;
        desired.gateways.insert(name.parse()?, (hosts, fingerprint));
    }
    for (name, operator) in record.operators {
        desired
            .operators
            .insert(name.parse()?, operator_of(operator)?);
    }
    Ok(desired)
}

fn operator_of(record: DesiredOperatorRecord) -> Result<DesiredOperator, ReadError> {
    let permission = |text: &String| Permission::parse(text).ok_or(ReadError::Form("permission"));
    let permissions = record.permissions.iter().map(permission);
    Ok(DesiredOperator {
        identity: match record.identity {
            IdentityRecord::Owner => UnixIdentity::Owner,
            IdentityRecord::Uid(uid) => UnixIdentity::Uid(uid),
            IdentityRecord::User(user) => UnixIdentity::User(user),
        },
        permissions: permissions.collect::<Result<_, _>>()?,
    })
}

fn route_record(route: &DesiredRoute) -> DesiredRouteRecord {
    DesiredRouteRecord {
        gateway: route.gateway.to_string(),
        path: route.path.clone(),
        databases: route.databases.iter().map(ToString::to_string).collect(),
        services: route.services.iter().map(ToString::to_string).collect(),
    }
}

fn route_of(record: DesiredRouteRecord) -> Result<DesiredRoute, ReadError> {
    Ok(DesiredRoute {
        gateway: record.gateway.parse()?,
        path: record.path,
        databases: parse_all(&record.databases)?,
        services: parse_all(&record.services)?,
    })
}

fn parse_all<T>(names: &[String]) -> Result<Vec<T>, ReadError>
where
    T: std::str::FromStr<Err = mainstay_model::name::NameError>,
{
    Ok(names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()?)
}

fn fingerprint_text(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

fn fingerprint(text: &str) -> Result<u64, ReadError> {
    u64::from_str_radix(text, 16).map_err(|_| ReadError::Form("fingerprint"))
}
