//! Processes under supervision: how a keeper, a gateway or a service is started, probed, restarted, stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_model::Host;
use mainstay_model::database::Database;
use mainstay_model::gateway::Gateway;
use mainstay_model::service::{Probe, Restart, Service};
use mainstay_record::process::{
    InstanceSpec, LogSpec, ProbeCheck, ProbeSpec, ProbesSpec, RestartSpec, ShimSpec, StopSignal,
    StopSpec, VERSION,
};

use crate::environment::service_environment;
use crate::identity::service_identity;
use crate::layout::{
    WATCH_INSTANCE, archiver_instance_name, gateway_instance_name, keeper_instance_name,
};
use crate::machine::Machine;

const LOG_BYTES_MAX: u64 = 16 << 20;
const LOG_FILES_KEPT: u32 = 3;

/// Data comes up first and goes last; doors open last and close first.
pub(crate) mod order {
    pub(crate) const KEEPER: u32 = 0;
    pub(crate) const SERVICE: u32 = 1;
    pub(crate) const GATEWAY: u32 = 2;
    /// It looks at all of them, and is the first to go, lest it report that they went.
    pub(crate) const WATCH: u32 = 3;
}

pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) grace: Duration,
    pub(crate) generation: u64,
}

pub(crate) fn shim(machine: &Machine<'_>, host: &Host, process: Process) -> ShimSpec {
    let (here, layout) = (host.name.as_str(), machine.layout);
    ShimSpec {
        version: VERSION,
        instance: format!("{here}/{}", process.name),
        command: process.command,
        environment: process.environment,
        secrets: BTreeMap::new(),
        directory: layout.instance(here, &process.name),
        user: None,
        log: LogSpec {
            path: layout.instance_log(here, &process.name),
            max_bytes: LOG_BYTES_MAX,
            keep: LOG_FILES_KEPT,
        },
        state: layout.instance_state(here, &process.name),
        stop: StopSpec {
            signal: StopSignal::Term,
            grace_ms: millis(process.grace),
        },
        generation: process.generation,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Of a process that reads its configuration once: with another one it is another process, since its description differs.
pub(crate) fn configured(machine: &Machine<'_>, configuration: &str) -> BTreeMap<String, String> {
    labels(&[
        ("PATH", &machine.search_path()),
        ("MAINSTAY_CONFIGURATION", configuration),
    ])
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// For Mainstay's own processes, which are meant to come back at once and for ever.
pub(crate) fn own_restart() -> RestartSpec {
    RestartSpec {
        initial_ms: 50,
        maximum_ms: 2_000,
        ..RestartSpec::default()
    }
}

fn own_probe(check: ProbeCheck) -> ProbeSpec {
    ProbeSpec {
        period_ms: 1_000,
        ..ProbeSpec::new(check)
    }
}

/// The keeper of a database's replica on a host. It is never restarted for being slow: it guards a server, and
/// whoever routes sees by its silence that it is not to be trusted.
pub fn keeper_instance(
    machine: &Machine<'_>,
    database: &Database,
    host: &Host,
    generation: u64,
) -> InstanceSpec {
    let (here, name) = (host.name.as_str(), database.name.as_str());
    let config = machine.layout.keeper_config(here, name);
    let search_path = machine.search_path();
    let additions = database.additions.to_string();
    let mut environment = vec![("PATH", search_path.as_str())];
    if database.additions > 0 {
        // A keeper comes to know a replica more when it starts: one that must is another process.
        environment.push(("MAINSTAY_REPLICAS_ADDED", &additions));
    }
    let process = Process {
        name: keeper_instance_name(name),
        command: machine.own(&["keeper", "--config"], Some(config)),
        environment: labels(&environment),
        grace: Duration::from_secs(30),
        generation,
    };
    InstanceSpec {
        shim: shim(machine, host, process),
        probes: ProbesSpec {
            startup: None,
            readiness: Some(own_probe(ProbeCheck::Socket {
                socket: machine.layout.keeper_socket(here, name),
                path: "/v1/status".to_owned(),
            })),
            liveness: None,
        },
        restart: own_restart(),
        drain_ms: 0,
        order: order::KEEPER,
        labels: labels(&[("kind", "keeper"), ("database", name)]),
    }
}

/// The archiver beside a database's replica. Nothing waits for it, so nothing probes it: it says in its state how it is.
/// `configuration` tells contents of its configuration apart.
pub fn archiver_instance(
    machine: &Machine<'_>,
    database: &Database,
    host: &Host,
    configuration: &str,
) -> InstanceSpec {
    let (here, name) = (host.name.as_str(), database.name.as_str());
    let config = machine.layout.archive_config(here, name);
    let process = Process {
        name: archiver_instance_name(name),
        command: machine.own(&["archiver", "--config"], Some(config)),
        environment: configured(machine, configuration),
        grace: Duration::from_secs(10),
        generation: 1,
    };
    InstanceSpec {
        shim: shim(machine, host, process),
        probes: ProbesSpec::default(),
        restart: own_restart(),
        drain_ms: 0,
        order: order::SERVICE,
        labels: labels(&[("kind", "archiver"), ("database", name)]),
    }
}

/// A gateway's process on a host.
pub fn gateway_instance(
    machine: &Machine<'_>,
    gateway: &Gateway,
    host: &Host,
    generation: u64,
) -> InstanceSpec {
    let (here, name) = (host.name.as_str(), gateway.name.as_str());
    let config = machine.layout.gateway_config(here, name);
    let process = Process {
        name: gateway_instance_name(name),
        command: machine.own(&["gateway", "--config"], Some(config)),
        environment: labels(&[("PATH", &machine.search_path())]),
        grace: Duration::from_secs(15),
        generation,
    };
    let http = gateway.http.first().map(|listener| listener.port);
    let port = http.or_else(|| gateway.tcp.first().map(|listener| listener.port));
    let readiness = port.map(|port| {
        own_probe(ProbeCheck::Tcp {
            address: (host.address(machine.slot), port).into(),
        })
    });
    InstanceSpec {
        shim: shim(machine, host, process),
        probes: ProbesSpec {
            readiness,
            ..ProbesSpec::default()
        },
        restart: own_restart(),
        drain_ms: 0,
        order: order::GATEWAY,
        labels: labels(&[("kind", "gateway"), ("gateway", name)]),
    }
}

/// The watch of a host. Nothing waits for it; it is ready when it answers, and never restarted for being slow.
/// `configuration` tells contents of its configuration apart.
pub fn watch_instance(machine: &Machine<'_>, host: &Host, configuration: &str) -> InstanceSpec {
    let here = host.name.as_str();
    let config = machine.layout.watch_config(here);
    let process = Process {
        name: WATCH_INSTANCE.to_owned(),
        command: machine.own(&["watch", "--config"], Some(config)),
        environment: configured(machine, configuration),
        grace: Duration::from_secs(10),
        generation: 1,
    };
    InstanceSpec {
        shim: shim(machine, host, process),
        probes: ProbesSpec {
            readiness: Some(own_probe(ProbeCheck::Socket {
                socket: machine.layout.watch_socket(here),
                path: "/-/healthy".to_owned(),
            })),
            ..ProbesSpec::default()
        },
        restart: own_restart(),
        drain_ms: 0,
        order: order::WATCH,
        labels: labels(&[("kind", "watch")]),
    }
}

/// An instance of a service on a host.
pub fn service_instance(
    machine: &Machine<'_>,
    service: &Service,
    host: &Host,
    generation: u64,
) -> InstanceSpec {
    let command = service.command.iter().chain(&service.arguments);
    let process = Process {
        name: service.name.to_string(),
        command: command.cloned().collect(),
        environment: service_environment(machine, service, host),
        grace: service.stop.grace,
        generation,
    };
    let probe = |probe: &Option<Probe>| {
        probe
            .as_ref()
            .and_then(|probe| service_probe(machine, service, host, probe))
    };
    let mut pairs = vec![("kind", "service"), ("service", service.name.as_str())];
    pairs.extend(
        service
            .follows()
            .map(|database| ("database", database.as_str())),
    );
    InstanceSpec {
        shim: shim(machine, host, process),
        probes: ProbesSpec {
            startup: probe(&service.probes.startup),
            readiness: probe(&service.probes.readiness),
            liveness: probe(&service.probes.liveness),
        },
        restart: service_restart(&service.restart),
        drain_ms: millis(service.stop.drain),
        order: order::SERVICE,
        labels: labels(&pairs),
    }
}

fn service_probe(
    machine: &Machine<'_>,
    service: &Service,
    host: &Host,
    probe: &Probe,
) -> Option<ProbeSpec> {
    let port = service.port(&probe.port)?;
    Some(ProbeSpec {
        check: ProbeCheck::Http {
            address: machine.listen(host, port.number),
            path: probe.path.clone(),
            name: service_identity(machine, service, port, host),
        },
        period_ms: millis(probe.period),
        timeout_ms: millis(probe.timeout),
        success_threshold: 1,
        failure_threshold: probe.failures,
    })
}

fn service_restart(restart: &Restart) -> RestartSpec {
    RestartSpec {
        initial_ms: millis(restart.delay_first),
        maximum_ms: millis(restart.delay_max),
        reset_after_ms: millis(restart.crash_loop_within),
        crash_loop_exits: restart.crash_loop_failures,
        crash_loop_window_ms: millis(restart.crash_loop_within),
    }
}
