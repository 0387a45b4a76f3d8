//! What a watch is told: everybody that gives figures, as seen from its host.
//!
//! | job        | instance        | asked                                                          |
//! |------------|-----------------|----------------------------------------------------------------|
//! | `node`     | `HOST`          | over TLS; it proves to be the node of that host                |
//! | `keeper`   | `HOST/DATABASE` | over TLS, likewise                                             |
//! | `gateway`  | `HOST/GATEWAY`  | over TLS, likewise                                             |
//! | `archiver` | `HOST/DATABASE` | over TLS, likewise, where `backup` has a port for figures      |
//! | `etcd`     | `HOST`          | over TLS, likewise; the members that Mainstay runs             |
//! | `watch`    | `HOST`          | over TLS, likewise; its own figures over its socket            |
//! | a service  | `HOST/SERVICE`  | over TLS, likewise, where its port says so; else in the clear  |
//!
//! Targets that the file names are asked as it says.
//!
//! All series bear `host` and `region`, so that what happens in one place can be seen as one thing.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_model::Host;
use mainstay_model::database::Database;
use mainstay_model::name::HostName;
use mainstay_model::service::{Placement, Service};
use mainstay_model::watch::{Proof, Server, TargetAddress, Watch, WatchTarget as Declared};
use mainstay_record::identity::{
    ETCD_ROLE, NODE_ROLE, WATCH_ROLE, archiver_role, gateway_role, identity_name, keeper_role,
};
use mainstay_record::watch::{
    ServerProof, TargetTls, VERSION, WatchAlerts, WatchConfig, WatchLonger, WatchServer,
    WatchTarget,
};

use crate::coordination::etcd_client_port;
use crate::gateway::Placements;
use crate::identity::{identity_files, service_identity};
use crate::machine::{Machine, NODE_PORT};
use crate::objectives::OBJECTIVE_PREFIX;

const METRICS: &str = "/metrics";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// `None` if no watch runs on the host.
pub fn watch_config(
    machine: &Machine<'_>,
    host: &Host,
    placements: &Placements,
) -> Option<WatchConfig> {
    let watch = machine.platform.watch()?;
    if !watch.hosts.contains(&host.name) {
        return None;
    }
    let (here, layout) = (host.name.as_str(), machine.layout);
    let rules = watch.rules.iter().map(|path| Watch::rule_name(path));
    Some(WatchConfig {
        version: VERSION,
        platform: machine.platform.name().to_string(),
        host: here.to_owned(),
        listen: watch.port.map(|port| machine.listen(host, port)),
        token_file: watch.token_file.as_ref().map(Into::into),
        socket: Some(layout.watch_socket(here)),
        identity: Some(identity_files(machine, host, WATCH_ROLE)),
        folder: layout.watch(here),
        interval_ms: u64::try_from(watch.interval.as_millis()).unwrap_or(u64::MAX),
        retention_ms: u64::try_from(watch.retention.as_millis()).unwrap_or(u64::MAX),
        longer: longest(watch).map(|retention| WatchLonger {
            prefix: OBJECTIVE_PREFIX.to_owned(),
            retention_ms: u64::try_from(retention.as_millis()).unwrap_or(u64::MAX),
        }),
        rules: rules
            .map(|name| layout.rules().join(name))
            .chain((!watch.objectives.is_empty()).then(|| layout.watch_objectives(here)))
            .collect(),
        targets: match watch.metrics {
            Some(_) => Vec::new(),
            None => targets(machine, watch, host, placements),
        },
        metrics: watch.metrics.as_ref().map(server),
        alerts: watch.alerts.as_ref().map(|alerts| WatchAlerts {
            listen: machine.listen(host, alerts.port),
            token_file: (&alerts.token_file).into(),
            patience_ms: u64::try_from(alerts.patience.as_millis()).unwrap_or(u64::MAX),
            ignore_labels: alerts.ignore_labels.clone(),
            node_socket: Some(layout.node_socket(here)),
        }),
    })
}

fn server(server: &Server) -> WatchServer {
    WatchServer {
        url: server.url.clone(),
        proof: match &server.proof {
            Proof::None => None,
            Proof::Bearer { token_file } => Some(ServerProof::Bearer {
                token_file: token_file.into(),
            }),
            Proof::Basic {
                user,
                password_file,
            } => Some(ServerProof::Basic {
                user: user.clone(),
                password_file: password_file.into(),
            }),
        },
        authority_file: server.authority_file.as_ref().map(Into::into),
        headers: server.headers.clone(),
    }
}

/// What the longest period of an objective needs, and a day to look back.
fn longest(watch: &Watch) -> Option<Duration> {
    let periods = watch.objectives.iter().map(|objective| objective.period);
    periods.max().map(|period| period + DAY)
}

fn targets(
    machine: &Machine<'_>,
    watch: &Watch,
    reader: &Host,
    placements: &Placements,
) -> Vec<WatchTarget> {
    let platform = machine.platform;
    let mut targets = Vec::new();
    for host in platform.hosts() {
        let asked = Asked {
            machine,
            reader,
            host,
        };
        targets.push(asked.named("node", None, NODE_PORT, NODE_ROLE));
        for (database, _) in platform.replicas_on(&host.name) {
            targets.extend(asked.replica(database));
        }
        let member = etcd_client_port(machine, host);
        targets.extend(member.map(|port| asked.named(Watch::ETCD_JOB, None, port, ETCD_ROLE)));
        for gateway in platform.gateways_on(&host.name) {
            let name = gateway.name.as_str();
            let port = gateway.metrics_port;
            targets.extend(
                port.map(|port| asked.named("gateway", Some(name), port, &gateway_role(name))),
            );
        }
        targets.extend(asked.watch(watch));
        for service in platform.services() {
            let hosts: &[HostName] = match &service.placement {
                Placement::Follows { hosts, .. } => hosts,
                Placement::Spread { .. } => {
                    placements.get(&service.name).map_or(&[], Vec::as_slice)
                }
            };
            if hosts.contains(&host.name) {
                targets.extend(asked.service(service));
            }
        }
    }
    targets.extend(watch.targets.iter().map(declared));
    targets
}

fn declared(target: &Declared) -> WatchTarget {
    WatchTarget {
        job: target.job.clone(),
        instance: target.instance.clone(),
        address: match &target.address {
            TargetAddress::Tcp(address) | TargetAddress::Tls { address, .. } => address.clone(),
            TargetAddress::Unix(path) => format!("unix:{path}"),
        },
        name: None,
        path: target.path.clone(),
        labels: target.labels.clone(),
        tls: match &target.address {
            TargetAddress::Tls {
                server_name,
                authority_file,
                ..
            } => Some(TargetTls {
                server_name: server_name.clone(),
                authority_file: authority_file.as_ref().map(Into::into),
            }),
            TargetAddress::Tcp(_) | TargetAddress::Unix(_) => None,
        },
        token_file: target.token_file.as_ref().map(Into::into),
    }
}

/// Somebody on `host`, as `reader` asks for it.
struct Asked<'a> {
    machine: &'a Machine<'a>,
    reader: &'a Host,
    host: &'a Host,
}

impl Asked<'_> {
    fn labels(&self) -> BTreeMap<String, String> {
        [
            ("host".to_owned(), self.host.name.to_string()),
            ("region".to_owned(), self.host.region.to_string()),
        ]
        .into()
    }

    fn target(&self, job: &str, name: Option<&str>, address: String) -> WatchTarget {
        let host = self.host.name.as_str();
        WatchTarget {
            job: job.to_owned(),
            instance: name.map_or_else(|| host.to_owned(), |name| format!("{host}/{name}")),
            address,
            name: None,
            path: METRICS.to_owned(),
            labels: self.labels(),
            tls: None,
            token_file: None,
        }
    }

    fn reach(&self, declared: u16) -> String {
        let address = self.machine.reach(self.reader, self.host, declared);
        address.to_string()
    }

    /// A process of Mainstay's own, which must prove to be of this role.
    fn named(&self, job: &str, name: Option<&str>, port: u16, role: &str) -> WatchTarget {
        let platform = self.machine.platform.name().as_str();
        WatchTarget {
            name: Some(identity_name(role, self.host.name.as_str(), platform)),
            ..self.target(job, name, self.reach(port))
        }
    }

    /// Whoever looks after a replica: its keeper, and its archiver if it has a port for figures.
    fn replica(&self, database: &Database) -> impl Iterator<Item = WatchTarget> {
        let name = database.name.as_str();
        let sight = database.ports.sight;
        let keeper = self.named("keeper", Some(name), sight, &keeper_role(name));
        let port = database
            .backup
            .as_ref()
            .and_then(|backup| backup.metrics_port);
        let archiver = port
            .map(|port| self.named(Watch::ARCHIVER_JOB, Some(name), port, &archiver_role(name)));
        std::iter::once(keeper)
            .chain(archiver)
            .map(move |mut target| {
                target.labels.insert("database".to_owned(), name.to_owned());
                target
            })
    }

    fn watch(&self, watch: &Watch) -> Option<WatchTarget> {
        if !watch.hosts.contains(&self.host.name) {
            return None;
        }
        if self.host.name == self.reader.name {
            let socket = self.machine.layout.watch_socket(self.host.name.as_str());
            return Some(self.target("watch", None, format!("unix:{}", socket.display())));
        }
        Some(self.named("watch", None, watch.port?, WATCH_ROLE))
    }

    fn service(&self, service: &Service) -> Option<WatchTarget> {
        let metrics = service.metrics.as_ref()?;
        let port = service.port(&metrics.port)?;
        let name = service.name.as_str();
        let mut target = self.target(name, Some(name), self.reach(port.number));
        target.name = service_identity(self.machine, service, port, self.host);
        target.path.clone_from(&metrics.path);
        target.labels.insert("service".to_owned(), name.to_owned());
        if let Some(database) = service.follows() {
            let database = database.to_string();
            target.labels.insert("database".to_owned(), database);
        }
        Some(target)
    }
}
