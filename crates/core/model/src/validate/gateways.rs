//! Gateways: listeners, routes, and what their routes lead to.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::draft::{
    CellMemberDraft, CellTargetDraft, GatewayDraft, HoldDraft, HttpListenerDraft, PlatformDraft,
    RouteDraft, ServiceTargetDraft,
};
use crate::gateway::{
    CellKey, CellMember, Gateway, Hold, HttpListener, PathPrefix, ReplicaRole, Route, Target,
    TcpListener,
};
use crate::name::{DatabaseName, GatewayName, PortName, RegionName};
use crate::platform::Host;
use crate::service::Service;
use crate::violation::Code;

use super::door;
use super::inspector::{Inspector, millis, seconds, span_text};
use super::services::port_reference;

const ROUTES_MAX: usize = 256;

/// What every check of a route needs to see.
struct Scope<'a> {
    draft: &'a PlatformDraft,
    services: &'a [Service],
}

pub(super) fn gateways(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    hosts: &[Host],
    services: &[Service],
) -> Vec<Gateway> {
    let list = "/spec/gateways";
    let scope = Scope { draft, services };
    let texts = draft.gateways.iter().map(|gateway| &gateway.name);
    let names = inspector.names(list, "gateway", texts, GatewayName::new);
    let mut gateways = Vec::new();
    for (place, (declared, name)) in draft.gateways.iter().zip(names).enumerate() {
        let path = format!("{list}/{place}");
        let regions = regions(inspector, draft, declared, &path);
        if declared.http.is_empty() && declared.tcp.is_empty() {
            inspector
                .report(
                    &path,
                    Code::Missing,
                    "a gateway needs at least one listener",
                )
                .help("declare one under `http` or `tcp`");
        }
        let http = http_listeners(inspector, &scope, declared, &path);
        let tcp = tcp_listeners(inspector, draft, declared, &path);
        let Some(name) = name else { continue };
        let hosts = hosts.iter().filter(|host| regions.contains(&host.region));
        let hosts = hosts.map(|host| host.name.clone()).collect();
        gateways.push(Gateway {
            name,
            regions,
            hosts,
            metrics_port: declared.metrics_port,
            http,
            tcp,
        });
    }
    gateways
}

fn regions(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    gateway: &GatewayDraft,
    path: &str,
) -> Vec<RegionName> {
    let list = format!("{path}/regions");
    if gateway.regions.is_empty() {
        inspector
            .report(&list, Code::Missing, "a gateway needs at least one region")
            .help("list the regions in which clients arrive");
    }
    let declared = || draft.regions.iter().map(|region| region.name.as_str());
    let mut regions: Vec<RegionName> = Vec::new();
    for (place, text) in gateway.regions.iter().enumerate() {
        let path = format!("{list}/{place}");
        if !inspector.reference(&path, "region", text, declared()) {
            continue;
        }
        let Ok(name) = RegionName::new(text) else {
            continue;
        };
        if regions.contains(&name) {
            let message = format!("region `{name}` is listed twice");
            inspector
                .report(path, Code::DuplicateName, message)
                .help("remove one of them");
        } else {
            regions.push(name);
        }
    }
    regions
}

/// Names of listeners are unique over both kinds: logs and metrics bear them.
fn listener_names(
    inspector: &mut Inspector,
    path: &str,
    taken: &mut BTreeSet<String>,
    texts: impl Iterator<Item = String>,
) -> Vec<Option<PortName>> {
    let texts: Vec<String> = texts.collect();
    let names = inspector.names(path, "listener", &texts, PortName::new);
    for (place, text) in texts.into_iter().enumerate() {
        if taken.contains(&text) {
            let message = format!("listener `{text}` is declared under `http` and under `tcp`");
            inspector
                .report(format!("{path}/{place}/name"), Code::DuplicateName, message)
                .help("names must differ: rename one of them");
        }
        taken.insert(text);
    }
    names
}

fn http_listeners(
    inspector: &mut Inspector,
    scope: &Scope<'_>,
    gateway: &GatewayDraft,
    path: &str,
) -> Vec<HttpListener> {
    let list = format!("{path}/http");
    let texts = gateway.http.iter().map(|listener| listener.name.clone());
    let names = listener_names(inspector, &list, &mut BTreeSet::new(), texts);
    let mut listeners = Vec::new();
    for (place, (declared, name)) in gateway.http.iter().zip(names).enumerate() {
        let routes = routes(
            inspector,
            scope,
            declared,
            &format!("{list}/{place}/routes"),
        );
        let tls = door::tls(inspector, declared, &format!("{list}/{place}"));
        if let (Some(name), Some(tls)) = (name, tls) {
            let port = declared.port;
            listeners.push(HttpListener {
                name,
                port,
                tls,
                routes,
            });
        }
    }
    listeners
}

fn routes(
    inspector: &mut Inspector,
    scope: &Scope<'_>,
    listener: &HttpListenerDraft,
    list: &str,
) -> Vec<Route> {
    if listener.routes.is_empty() {
        inspector
            .report(
                list,
                Code::Missing,
                "a listener without routes answers nothing",
            )
            .help("declare a route, such as `path: /` with a `service`");
    }
    if !inspector.list_length(list, listener.routes.len(), ROUTES_MAX) {
        return Vec::new();
    }
    let mut routes = Vec::new();
    for (place, declared) in listener.routes.iter().enumerate() {
        let path = format!("{list}/{place}");
        let earlier = listener
            .routes
            .iter()
            .take(place)
            .position(|o| same(o, declared));
        if let Some(earlier) = earlier {
            inspector
                .report(
                    format!("{path}/path"),
                    Code::DuplicateName,
                    format!(
                        "another route takes the same requests for `{}`",
                        declared.path
                    ),
                )
                .help("make host, path or methods differ, or remove one")
                .related(format!("{list}/{earlier}/path"));
        }
        routes.extend(route(inspector, scope, declared, &path));
    }
    routes
}

/// Whether some request would match both with equal right.
fn same(one: &RouteDraft, other: &RouteDraft) -> bool {
    let trim = |path: &str| String::from(path.trim_end_matches('/'));
    let methods_meet = one.methods.is_empty() && other.methods.is_empty()
        || one
            .methods
            .iter()
            .any(|method| other.methods.contains(method));
    one.host == other.host && trim(&one.path) == trim(&other.path) && methods_meet
}

fn route(
    inspector: &mut Inspector,
    scope: &Scope<'_>,
    route: &RouteDraft,
    path: &str,
) -> Option<Route> {
    let prefix = match PathPrefix::fault(&route.path) {
        None => Some(PathPrefix::checked(&route.path)),
        Some(fault) => {
            let message = format!("{:?} cannot be a route's path: {fault}", route.path);
            inspector
                .report(format!("{path}/path"), Code::InvalidValue, message)
                .help("write a prefix such as `/v1/cells/{cell}`");
            None
        }
    };
    if let Some(host) = &route.host {
        host_header(inspector, host, &format!("{path}/host"));
    }
    if let Some(header) = &route.idempotency_header {
        header_name(inspector, header, &format!("{path}/idempotencyHeader"));
    }
    let target = match (&route.service, &route.cell) {
        (Some(service), None) => {
            refuse_hold(inspector, route, path);
            service_target(inspector, scope, service, path)
        }
        (None, Some(cell)) => cell_target(inspector, scope, route, cell, prefix.as_ref(), path),
        (Some(_), Some(_)) | (None, None) => {
            let message = "a route leads to either a `service` or a `cell`";
            inspector
                .report(path, Code::InvalidValue, message)
                .help("a cell is a database with the one active instance that writes it");
            None
        }
    };
    Some(Route {
        host: route.host.as_ref().map(|host| host.to_ascii_lowercase()),
        path: prefix?,
        methods: route.methods.clone(),
        target: target?,
        idempotency_header: route.idempotency_header.clone(),
    })
}

fn host_header(inspector: &mut Inspector, host: &str, path: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
        let message = format!("{host:?} is not a host name");
        inspector
            .report(path, Code::InvalidValue, message)
            .help("write it without scheme and port, such as `api.example.com`");
    }
}

fn header_name(inspector: &mut Inspector, header: &str, path: &str) {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if header.is_empty() || header.len() > 128 || !header.chars().all(token) {
        let message = format!("{header:?} is not the name of a header");
        inspector
            .report(path, Code::InvalidValue, message)
            .help("such as `Idempotency-Key`");
    }
}

fn refuse_hold(inspector: &mut Inspector, route: &RouteDraft, path: &str) {
    if route.hold.is_some() {
        let message = "only requests for a cell are held: a service has other instances to go to";
        inspector
            .report(format!("{path}/hold"), Code::InvalidValue, message)
            .help("remove `hold`");
    }
}

fn service_target(
    inspector: &mut Inspector,
    scope: &Scope<'_>,
    target: &ServiceTargetDraft,
    path: &str,
) -> Option<Target> {
    let path = format!("{path}/service");
    let service = service_reference(inspector, scope, &target.name, &format!("{path}/name"))?;
    let port = target_port(inspector, service, target.port.as_deref(), &path)?;
    Some(Target::Service {
        service: service.name.clone(),
        port,
    })
}

/// The port of a service that requests go to. Whether it may be given any is asked at the same port.
fn target_port(
    inspector: &mut Inspector,
    service: &Service,
    wanted: Option<&str>,
    path: &str,
) -> Option<PortName> {
    let owner = format!("service `{}`", service.name);
    let place = format!("{path}/port");
    let port = port_reference(inspector, &place, wanted, &owner, &service.ports)?;
    match &service.probes.readiness {
        None => {
            let message = format!("{owner} is given requests but has no readiness probe");
            inspector
                .report(path, Code::Missing, message)
                .help("give it one, such as `probes: {readiness: {path: /health/ready}}`");
        }
        Some(probe) if probe.port != port => {
            let message = format!(
                "{owner} is given requests at `{port}` but says at `{}` whether it is ready",
                probe.port
            );
            inspector
                .report(place, Code::InvalidValue, message)
                .help(format!("probe its readiness at `{port}` too"));
        }
        Some(_) => {}
    }
    Some(port)
}

fn service_reference<'a>(
    inspector: &mut Inspector,
    scope: &Scope<'a>,
    name: &str,
    path: &str,
) -> Option<&'a Service> {
    let declared = scope
        .draft
        .services
        .iter()
        .map(|service| service.name.as_str());
    inspector.reference(path, "service", name, declared);
    scope.services.iter().find(|service| service.name == *name)
}

fn cell_target(
    inspector: &mut Inspector,
    scope: &Scope<'_>,
    route: &RouteDraft,
    cell: &CellTargetDraft,
    prefix: Option<&PathPrefix>,
    path: &str,
) -> Option<Target> {
    let place = format!("{path}/cell");
    let key = cell_key(inspector, cell, prefix, &place);
    if cell.members.is_empty() {
        inspector
            .report(
                format!("{place}/members"),
                Code::Missing,
                "no cell is listed",
            )
            .help("list databases with the services that follow them");
    }
    inspector.list_length(&format!("{place}/members"), cell.members.len(), ROUTES_MAX);
    let mut members: Vec<CellMember> = Vec::new();
    let mut slowest = None;
    for (number, declared) in cell.members.iter().enumerate().take(ROUTES_MAX) {
        let path = format!("{place}/members/{number}");
        if members
            .iter()
            .any(|member| member.database == *declared.database)
        {
            let message = format!("cell `{}` is listed twice", declared.database);
            inspector
                .report(format!("{path}/database"), Code::DuplicateName, message)
                .help("a cell has one active instance, so one service: remove one of them");
            continue;
        }
        if let Some((member, service)) = cell_member(inspector, scope, declared, &path) {
            slowest = slowest.max(service.objectives.rto);
            members.push(member);
        }
    }
    let hold = hold(inspector, route.hold.as_ref(), &format!("{path}/hold"));
    if let Some(rto) = slowest
        && hold.time < rto
    {
        let message = format!(
            "requests wait at most {}, but a recovery may take {} by the service's RTO",
            span_text(hold.time),
            span_text(rto)
        );
        inspector
            .report(format!("{path}/hold/time"), Code::HoldTooShort, message)
            .help(format!("hold for at least {}", span_text(rto)));
    }
    Some(Target::Cell {
        key: key?,
        members,
        hold,
    })
}

fn cell_member<'a>(
    inspector: &mut Inspector,
    scope: &Scope<'a>,
    declared: &CellMemberDraft,
    path: &str,
) -> Option<(CellMember, &'a Service)> {
    let databases = scope.draft.databases.iter().map(|d| d.name.as_str());
    let place = format!("{path}/database");
    let known = inspector.reference(&place, "database", &declared.database, databases);
    let place = format!("{path}/service");
    let service = service_reference(inspector, scope, &declared.service, &place);
    let service = service.filter(|_| known)?;
    if service
        .follows()
        .is_none_or(|follows| *follows != *declared.database)
    {
        let message = format!(
            "service `{}` does not follow database `{}`, so it has no active instance for it",
            service.name, declared.database
        );
        let help = format!(
            "give the service `placement: {{follows: {}}}`",
            declared.database
        );
        inspector
            .report(place, Code::PlacementImpossible, message)
            .help(help);
        return None;
    }
    let port = target_port(inspector, service, declared.port.as_deref(), path)?;
    let member = CellMember {
        database: DatabaseName::new(&declared.database).ok()?,
        service: service.name.clone(),
        port,
    };
    Some((member, service))
}

fn cell_key(
    inspector: &mut Inspector,
    cell: &CellTargetDraft,
    prefix: Option<&PathPrefix>,
    path: &str,
) -> Option<CellKey> {
    let path = format!("{path}/key");
    match (&cell.key_header, &cell.key_path_part) {
        (Some(header), None) => {
            header_name(inspector, header, &format!("{path}/header"));
            Some(CellKey::Header(header.clone()))
        }
        (None, Some(part)) => {
            let prefix = prefix?;
            let segment = prefix.part(part);
            if segment.is_none() {
                let message = format!("the route's path `{prefix}` has no part `{{{part}}}`");
                inspector
                    .report(format!("{path}/pathPart"), Code::UnknownReference, message)
                    .help(format!("write a path such as `/v1/cells/{{{part}}}`"));
            }
            let name = part.clone();
            Some(CellKey::PathPart {
                name,
                segment: segment?,
            })
        }
        (Some(_), Some(_)) | (None, None) => {
            inspector
                .report(
                    path,
                    Code::InvalidValue,
                    "a key comes from either a `header` or a `pathPart`",
                )
                .help("such as `key: {pathPart: cell}` with the path `/v1/cells/{cell}`");
            None
        }
    }
}

fn hold(inspector: &mut Inspector, draft: Option<&HoldDraft>, path: &str) -> Hold {
    let declared = draft.cloned().unwrap_or_default();
    let requests = declared.requests.unwrap_or(10_000);
    let place = format!("{path}/requests");
    inspector.within(
        &place,
        "a number of waiting requests",
        requests,
        1..=1_000_000,
    );
    let bytes = declared.bytes.unwrap_or(64 << 20);
    let place = format!("{path}/bytes");
    inspector.within(&place, "a number of waiting bytes", bytes, 1024..=1 << 32);
    let time = declared.time.unwrap_or(seconds(15));
    inspector.span(
        &format!("{path}/time"),
        "a hold",
        time,
        millis(1)..=seconds(60),
    );
    Hold {
        requests,
        bytes,
        time,
    }
}

fn tcp_listeners(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    gateway: &GatewayDraft,
    path: &str,
) -> Vec<TcpListener> {
    let list = format!("{path}/tcp");
    let mut taken = gateway.http.iter().map(|l| l.name.clone()).collect();
    let texts = gateway.tcp.iter().map(|listener| listener.name.clone());
    let names = listener_names(inspector, &list, &mut taken, texts);
    let mut listeners = Vec::new();
    for (place, (declared, name)) in gateway.tcp.iter().zip(names).enumerate() {
        let path = format!("{list}/{place}");
        let (database, role, field) = match (&declared.primary_of, &declared.replicas_of) {
            (Some(database), None) => (database, ReplicaRole::Primary, "primaryOf"),
            (None, Some(database)) => (database, ReplicaRole::Replica, "replicasOf"),
            (Some(_), Some(_)) | (None, None) => {
                let message =
                    "a TCP listener leads to either `primaryOf` or `replicasOf` a database";
                inspector
                    .report(path, Code::InvalidValue, message)
                    .help("open two listeners for both");
                continue;
            }
        };
        let databases = draft
            .databases
            .iter()
            .map(|database| database.name.as_str());
        let place = format!("{path}/{field}");
        let known = inspector.reference(&place, "database", database, databases);
        let database = DatabaseName::new(database).ok().filter(|_| known);
        if let (Some(name), Some(database)) = (name, database) {
            let port = declared.port;
            listeners.push(TcpListener {
                name,
                port,
                database,
                role,
            });
        }
    }
    listeners
}
