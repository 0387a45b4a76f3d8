//! Services: commands, ports, probes, placement and the timing of restarts.

mod modes;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::database::{Database, Survive};
use crate::draft::{
    MetricsDraft, PlatformDraft, PortTlsDraft, ProbeDraft, ProbesDraft, RestartDraft, ServiceDraft,
    StopDraft,
};
use crate::gateway::PathPrefix;
use crate::name::{HostName, PortName, ServiceName};
use crate::platform::Host;
use crate::service::{
    Metrics, Objectives, Placement, PortTls, Probe, Probes, Restart, Service, ServicePort, Stop,
};
use crate::violation::Code;

use super::inspector::{Inspector, millis, seconds};

/// What Mainstay calls its own processes on a host.
const OWN_PREFIXES: [&str; 3] = ["keeper-", "gateway-", "postgres-"];
const OWN_NAMES: [&str; 1] = ["node"];

/// Set by Mainstay for every instance; a file may not set them.
const RESERVED: [&str; 2] = ["MAINSTAY_", "PG"];

pub(super) fn services(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    hosts: &[Host],
    databases: &[Database],
) -> Vec<Service> {
    let list = "/spec/services";
    let texts = draft.services.iter().map(|service| &service.name);
    let names = inspector.names(list, "service", texts, ServiceName::new);
    let mut services = Vec::new();
    for (place, (declared, name)) in draft.services.iter().zip(names).enumerate() {
        let path = format!("{list}/{place}");
        not_our_own(inspector, declared, &path);
        command(inspector, declared, &path);
        environment(inspector, declared, &path);
        let ports = ports(inspector, declared, &path);
        let probes = probes(inspector, &declared.probes, &ports, &path);
        let metrics = declared.metrics.as_ref();
        let metrics = metrics.and_then(|metrics| figures(inspector, metrics, &ports, &path));
        let modes = modes::modes(inspector, declared, &ports, &path);
        let placement = placement(inspector, draft, hosts, databases, declared, &path);
        let objectives = objectives(inspector, draft, declared, &path);
        let restart = restart(inspector, &declared.restart, &format!("{path}/restart"));
        let stop = stop(inspector, &declared.stop, &format!("{path}/stop"));
        let (Some(name), Some(placement)) = (name, placement) else {
            continue;
        };
        services.push(Service {
            name,
            command: declared.command.clone(),
            arguments: declared.arguments.clone(),
            environment: declared.environment.clone(),
            ports,
            probes,
            placement,
            metrics,
            modes,
            objectives,
            restart,
            stop,
        });
    }
    services
}

fn not_our_own(inspector: &mut Inspector, service: &ServiceDraft, path: &str) {
    let name = service.name.as_str();
    if OWN_NAMES.contains(&name) || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        let message = format!("`{name}` is what Mainstay calls a process of its own");
        inspector
            .report(format!("{path}/name"), Code::InvalidName, message)
            .help("choose another name; not `node`, nor one that begins with `keeper-`, `gateway-` or `postgres-`");
    }
}

fn command(inspector: &mut Inspector, service: &ServiceDraft, path: &str) {
    if service.command.first().is_none_or(String::is_empty) {
        let path = format!("{path}/command");
        inspector
            .report(path, Code::Missing, "a service needs a command")
            .help(
                "write the program and its arguments as a list, such as `[exchange-venue, serve]`",
            );
    }
    let words = [
        ("command", &service.command),
        ("arguments", &service.arguments),
    ];
    for (field, list) in words {
        for (place, word) in list.iter().enumerate() {
            if word.contains('\0') {
                let path = format!("{path}/{field}/{place}");
                inspector.report(path, Code::InvalidValue, "an argument cannot contain NUL");
            }
        }
    }
}

fn environment(inspector: &mut Inspector, service: &ServiceDraft, path: &str) {
    for (name, value) in &service.environment {
        let path = format!("{path}/environment/{}", pointer_token(name));
        let first_fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first_fits || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = format!("{name:?} cannot be the name of an environment variable");
            inspector
                .report(&path, Code::InvalidName, message)
                .help("use letters, digits and '_', not beginning with a digit");
        } else if RESERVED.iter().any(|prefix| name.starts_with(prefix)) {
            let message = format!("`{name}` is set by Mainstay for every instance");
            inspector
                .report(&path, Code::InvalidName, message)
                .help("choose a name that begins with neither `MAINSTAY_` nor `PG`");
        }
        if value.contains('\0') {
            inspector.report(&path, Code::InvalidValue, "a value cannot contain NUL");
        }
    }
}

/// Escapes a map key for a JSON pointer (RFC 6901).
pub(super) fn pointer_token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn ports(inspector: &mut Inspector, service: &ServiceDraft, path: &str) -> Vec<ServicePort> {
    let list = format!("{path}/ports");
    let texts = service.ports.iter().map(|port| &port.name);
    let names = inspector.names(&list, "port", texts, PortName::new);
    let ports = service.ports.iter().zip(names);
    ports
        .filter_map(|(port, name)| {
            let number = port.port;
            let tls = match port.tls {
                None => PortTls::Unsaid,
                Some(PortTlsDraft::Nothing) => PortTls::Nothing,
                Some(PortTlsDraft::Platform) => PortTls::Platform,
            };
            name.map(|name| ServicePort { name, number, tls })
        })
        .collect()
}

/// The port of that name, or the first one; `None` and a report if there is none.
pub(super) fn port_reference(
    inspector: &mut Inspector,
    path: &str,
    wanted: Option<&str>,
    owner: &str,
    ports: &[ServicePort],
) -> Option<PortName> {
    let Some(wanted) = wanted else {
        let first = ports.first().map(|port| port.name.clone());
        if first.is_none() {
            let message = format!("{owner} has no port");
            inspector
                .report(path, Code::Missing, message)
                .help("declare one, such as `ports: [{name: http, port: 8100}]`");
        }
        return first;
    };
    let declared = ports.iter().map(|port| port.name.as_str());
    inspector
        .reference(path, "port", wanted, declared)
        .then(|| PortName::new(wanted).ok())
        .flatten()
}

struct ProbeDefaults {
    period: Duration,
    timeout: Duration,
    failures: u32,
}

fn probes(
    inspector: &mut Inspector,
    draft: &ProbesDraft,
    ports: &[ServicePort],
    path: &str,
) -> Probes {
    let mut one = |kind: &str, draft: &Option<ProbeDraft>, defaults: ProbeDefaults| {
        let path = format!("{path}/probes/{kind}");
        draft
            .as_ref()
            .and_then(|draft| probe(inspector, draft, ports, &path, &defaults))
    };
    Probes {
        startup: one(
            "startup",
            &draft.startup,
            ProbeDefaults {
                period: millis(100),
                timeout: seconds(1),
                failures: 600,
            },
        ),
        readiness: one(
            "readiness",
            &draft.readiness,
            ProbeDefaults {
                period: millis(200),
                timeout: seconds(1),
                failures: 2,
            },
        ),
        liveness: one(
            "liveness",
            &draft.liveness,
            ProbeDefaults {
                period: seconds(1),
                timeout: seconds(2),
                failures: 5,
            },
        ),
    }
}

fn probe(
    inspector: &mut Inspector,
    draft: &ProbeDraft,
    ports: &[ServicePort],
    path: &str,
    defaults: &ProbeDefaults,
) -> Option<Probe> {
    let fault = PathPrefix::fault(&draft.path).or_else(|| {
        draft
            .path
            .contains('{')
            .then_some("a probe's path is exact")
    });
    if let Some(fault) = fault {
        let message = format!("{:?} cannot be probed: {fault}", draft.path);
        inspector
            .report(format!("{path}/path"), Code::InvalidValue, message)
            .help("write an absolute path such as `/health/ready`");
    }
    let bounds = millis(10)..=seconds(300);
    let period = draft.period.unwrap_or(defaults.period);
    let period = inspector.span(
        &format!("{path}/period"),
        "a period",
        period,
        bounds.clone(),
    );
    let timeout = draft.timeout.unwrap_or(defaults.timeout);
    let timeout = inspector.span(&format!("{path}/timeout"), "a timeout", timeout, bounds);
    let failures = draft.failures.unwrap_or(defaults.failures);
    let failures = inspector.within(
        &format!("{path}/failures"),
        "a number of failures",
        failures,
        1..=100_000,
    );
    let place = format!("{path}/port");
    let port = port_reference(
        inspector,
        &place,
        draft.port.as_deref(),
        "this service",
        ports,
    )?;
    Some(Probe {
        port,
        path: draft.path.clone(),
        period,
        timeout,
        failures,
    })
}

fn figures(
    inspector: &mut Inspector,
    draft: &MetricsDraft,
    ports: &[ServicePort],
    path: &str,
) -> Option<Metrics> {
    let asked = draft.path.clone().unwrap_or_else(|| "/metrics".into());
    if !super::targets::is_request_path(&asked) {
        let message = format!("{asked:?} is not a path that can be asked for");
        inspector
            .report(format!("{path}/metrics/path"), Code::InvalidValue, message)
            .help("write an absolute path such as `/metrics`");
    }
    let place = format!("{path}/metrics/port");
    let port = draft.port.as_deref();
    let port = port_reference(inspector, &place, port, "this service", ports)?;
    Some(Metrics { port, path: asked })
}

fn placement(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    hosts: &[Host],
    databases: &[Database],
    service: &ServiceDraft,
    path: &str,
) -> Option<Placement> {
    let Some(follows) = &service.placement.follows else {
        return spread(inspector, draft, hosts, service, path);
    };
    let place = format!("{path}/placement");
    let mut sound = true;
    if service.replicas.is_some() {
        sound = false;
        inspector
            .report(
                format!("{path}/replicas"),
                Code::PlacementImpossible,
                format!("a service that follows `{follows}` has one instance beside each of its replicas"),
            )
            .help("remove `replicas`");
    }
    if !service.placement.regions.is_empty() || !service.placement.hosts.is_empty() {
        sound = false;
        inspector
            .report(
                &place,
                Code::PlacementImpossible,
                format!("a service that follows `{follows}` cannot also choose regions or hosts"),
            )
            .help("keep `follows` alone");
    }
    let declared = draft
        .databases
        .iter()
        .map(|database| database.name.as_str());
    sound &= inspector.reference(&format!("{place}/follows"), "database", follows, declared);
    let database = databases
        .iter()
        .find(|database| database.name == **follows)?;
    sound.then(|| Placement::Follows {
        database: database.name.clone(),
        hosts: database.replicas.iter().map(|r| r.host.clone()).collect(),
    })
}

fn spread(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    hosts: &[Host],
    service: &ServiceDraft,
    path: &str,
) -> Option<Placement> {
    let place = format!("{path}/placement");
    let regions = || draft.regions.iter().map(|region| region.name.as_str());
    let names = || draft.hosts.iter().map(|host| host.name.as_str());
    let mut sound = true;
    for (number, region) in service.placement.regions.iter().enumerate() {
        sound &= inspector.reference(
            &format!("{place}/regions/{number}"),
            "region",
            region,
            regions(),
        );
    }
    for (number, host) in service.placement.hosts.iter().enumerate() {
        sound &= inspector.reference(&format!("{place}/hosts/{number}"), "host", host, names());
    }
    let replicas = service.replicas.unwrap_or(1);
    let path = format!("{path}/replicas");
    inspector.within(&path, "a number of replicas", replicas, 1..=64);
    let any_region = service.placement.regions.is_empty();
    let any_host = service.placement.hosts.is_empty();
    let allowed = hosts.iter().filter(|host| {
        (any_region
            || service
                .placement
                .regions
                .iter()
                .any(|name| host.region == **name))
            && (any_host
                || service
                    .placement
                    .hosts
                    .iter()
                    .any(|name| host.name == **name))
    });
    let allowed = regions_in_turn(allowed);
    if !sound {
        return None;
    }
    let all_hosts_are_known = hosts.len() == draft.hosts.len();
    if allowed.len() < usize::from(replicas) && all_hosts_are_known {
        let message = format!(
            "{replicas} instances of `{}` need as many hosts, one each; the placement allows {}",
            service.name,
            allowed.len()
        );
        inspector
            .report(path, Code::PlacementImpossible, message)
            .help("allow more regions or hosts, or ask for fewer instances")
            .related(place);
        return None;
    }
    Some(Placement::Spread {
        replicas,
        hosts: allowed,
    })
}

/// First the first host of each region, then the second of each, and so on.
fn regions_in_turn<'a>(hosts: impl Iterator<Item = &'a Host>) -> Vec<HostName> {
    let mut hosts: Vec<(usize, &Host)> = {
        let mut taken: BTreeMap<u8, usize> = BTreeMap::new();
        hosts
            .map(|host| {
                let round = taken.entry(host.region_index.number()).or_default();
                *round += 1;
                (*round, host)
            })
            .collect()
    };
    hosts.sort_by_key(|(round, host)| (*round, host.region_index));
    hosts
        .into_iter()
        .map(|(_, host)| host.name.clone())
        .collect()
}

fn objectives(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    service: &ServiceDraft,
    path: &str,
) -> Objectives {
    let path = format!("{path}/objectives");
    let day = seconds(24 * 3600);
    if let Some(rto) = service.objectives.rto {
        inspector.span(&format!("{path}/rto"), "an RTO", rto, millis(1)..=day);
    }
    if let Some(rpo) = service.objectives.rpo {
        inspector.span(&format!("{path}/rpo"), "an RPO", rpo, Duration::ZERO..=day);
    }
    let database = service.placement.follows.as_ref().and_then(|follows| {
        let mut numbered = draft.databases.iter().enumerate();
        numbered.find(|(_, database)| database.name == *follows)
    });
    if let Some((place, database)) = database
        && service.objectives.rpo == Some(Duration::ZERO)
        && database.survive == Survive::Nothing
    {
        let message = format!(
            "an RPO of zero cannot be kept: `{}` acknowledges on one replica alone",
            database.name
        );
        inspector
            .report(format!("{path}/rpo"), Code::SurvivalImpossible, message)
            .help("give the database `survive: host` or `survive: region`")
            .related(format!("/spec/databases/{place}/survive"));
    }
    Objectives {
        rto: service.objectives.rto,
        rpo: service.objectives.rpo,
    }
}

fn restart(inspector: &mut Inspector, draft: &RestartDraft, path: &str) -> Restart {
    let first = draft.delay_first.unwrap_or(millis(100));
    let last = draft.delay_max.unwrap_or(seconds(10));
    let bounds = millis(10)..=seconds(600);
    inspector.span(
        &format!("{path}/delayFirst"),
        "a first delay",
        first,
        bounds.clone(),
    );
    inspector.span(&format!("{path}/delayMax"), "a longest delay", last, bounds);
    if last < first {
        inspector
            .report(
                format!("{path}/delayMax"),
                Code::InvalidValue,
                "the longest delay is shorter than the first",
            )
            .help("raise `delayMax` or lower `delayFirst`");
    }
    let failures = draft.crash_loop_failures.unwrap_or(5);
    let path_failures = format!("{path}/crashLoopFailures");
    inspector.within(&path_failures, "a number of failures", failures, 2..=1_000);
    let within = draft.crash_loop_within.unwrap_or(seconds(60));
    let path_within = format!("{path}/crashLoopWithin");
    inspector.span(&path_within, "a window", within, seconds(1)..=seconds(3600));
    Restart {
        delay_first: first,
        delay_max: last,
        crash_loop_failures: failures,
        crash_loop_within: within,
    }
}

fn stop(inspector: &mut Inspector, draft: &StopDraft, path: &str) -> Stop {
    let drain = draft.drain.unwrap_or(millis(500));
    let grace = draft.grace.unwrap_or(seconds(10));
    let bounds = Duration::ZERO..=seconds(600);
    inspector.span(&format!("{path}/drain"), "a drain", drain, bounds.clone());
    inspector.span(&format!("{path}/grace"), "a grace", grace, bounds);
    Stop { drain, grace }
}
