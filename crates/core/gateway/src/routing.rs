//! The routing table: built once from a snapshot, checked whole, never changed.
//!
//! Names are resolved to small indices when the table is built, so that a request costs comparisons of
//! its own host and path and nothing else. All flaws of a snapshot are reported together; a snapshot
//! with a flaw is not served at all, and the gateway keeps the one it has.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::method::{Method, MethodSet};

/// Index into [`Routing::services`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceId(pub u16);
/// Index into [`Routing::databases`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatabaseId(pub u16);
/// Index into [`Routing::cells`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellId(pub u16);

/// A service may have no instance for a while: one that is being placed, or scaled to nothing. Its requests
/// are then answered "unavailable".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub instances: Vec<Instance>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub name: String,
    pub host: String,
    pub place: Place,
    /// Of a hundred new requests so many may come here; 100 if nothing is said.
    pub share: u8,
}

/// Instances of the gateway's own region go before all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    OwnRegion,
    OtherRegion,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    pub name: String,
    /// Host of each replica.
    pub replicas: Vec<String>,
}

/// A database and the service whose active instance follows its primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub database: DatabaseId,
    pub service: ServiceId,
    /// For each instance of the service, the replica on the same host.
    pub replica_of: Vec<Option<u16>>,
}

/// A route as the snapshot declares it, by names.
#[derive(Clone, Debug)]
pub struct RouteDeclared {
    pub name: String,
    pub host: Option<String>,
    pub path_prefix: String,
    pub methods: Vec<Method>,
    pub target: TargetDeclared,
    pub hold_wait: Duration,
    pub idempotency_header: Option<String>,
}

#[derive(Clone, Debug)]
pub enum TargetDeclared {
    Service(String),
    Cell { key: Key, cells: Vec<CellDeclared> },
}

#[derive(Clone, Debug)]
pub struct CellDeclared {
    pub values: Vec<String>,
    pub database: String,
    pub service: String,
}

/// Where the key of a request is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Header(String),
    PathPart(u16),
    Always,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub name: String,
    /// Place in the listener's list as declared; counters are kept by it.
    pub index: u16,
    pub hold_wait: Duration,
    pub idempotency_header: Option<String>,
    pub target: Target,
    host: Option<String>,
    path_prefix: String,
    methods: MethodSet,
}

#[derive(Clone, Debug)]
pub enum Target {
    Service(ServiceId),
    Cell {
        key: Key,
        cells: Vec<(Vec<String>, CellId)>,
    },
}

/// The routes of one listener, most specific first.
#[derive(Clone, Debug)]
pub struct RouteTable {
    pub name: String,
    routes: Vec<Route>,
}

#[derive(Clone, Debug)]
pub struct Routing {
    pub services: Vec<Service>,
    pub databases: Vec<Database>,
    pub cells: Vec<Cell>,
    pub tables: Vec<RouteTable>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Service(ServiceId),
    Cell(CellId),
}

/// Why there is nowhere for a request to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteMiss {
    /// The path can be read in two ways: dot segments, encoded slashes or dots, backslashes.
    AmbiguousPath,
    NoRoute,
    /// Routes of the path take these.
    MethodNotAllowed(MethodSet),
    KeyMissing,
    UnknownCell,
}

/// One flaw of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    DuplicateName { kind: &'static str, name: String },
    UnknownService { route: String, service: String },
    UnknownDatabase { route: String, database: String },
    NoReplicas { database: String },
    PrefixNotAbsolute { route: String },
    NoCells { route: String },
    KeylessRouteWithManyCells { route: String },
    CellWithoutValues { route: String },
    ValueInTwoCells { route: String, value: String },
    TooMany { kind: &'static str, limit: usize },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateName { kind, name } => write!(f, "two {kind}s are named {name}"),
            Self::UnknownService { route, service } => {
                write!(
                    f,
                    "route {route} leads to service {service}, which does not exist"
                )
            }
            Self::UnknownDatabase { route, database } => {
                write!(
                    f,
                    "route {route} follows database {database}, which does not exist"
                )
            }
            Self::NoReplicas { database } => write!(f, "database {database} has no replicas"),
            Self::PrefixNotAbsolute { route } => {
                write!(
                    f,
                    "the path prefix of route {route} does not begin with a slash"
                )
            }
            Self::NoCells { route } => write!(f, "route {route} has no cells"),
            Self::KeylessRouteWithManyCells { route } => {
                write!(f, "route {route} has no key and more than one cell")
            }
            Self::CellWithoutValues { route } => {
                write!(f, "a cell of route {route} has no key values")
            }
            Self::ValueInTwoCells { route, value } => {
                write!(f, "key value {value} of route {route} belongs to two cells")
            }
            Self::TooMany { kind, limit } => write!(f, "more than {limit} {kind}s"),
        }
    }
}

/// Things of one kind in one snapshot; far above any platform, far below the width of an index.
pub const THINGS_LIMIT: usize = 4_096;

/// Parts of a path looked at for a key.
pub const PATH_PARTS_LIMIT: usize = 64;

impl Routing {
    pub fn new(
        services: Vec<Service>,
        databases: Vec<Database>,
        listeners: Vec<(String, Vec<RouteDeclared>)>,
    ) -> Result<Self, Vec<Flaw>> {
        let mut flaws = Vec::new();
        check_names("service", services.iter().map(|s| &s.name), &mut flaws);
        check_names("database", databases.iter().map(|d| &d.name), &mut flaws);
        check_names("listener", listeners.iter().map(|l| &l.0), &mut flaws);
        for service in &services {
            check_names(
                "instance",
                service.instances.iter().map(|i| &i.name),
                &mut flaws,
            );
        }
        for database in &databases {
            if database.replicas.is_empty() {
                flaws.push(Flaw::NoReplicas {
                    database: database.name.clone(),
                });
            }
        }
        let mut routing = Self {
            services,
            databases,
            cells: Vec::new(),
            tables: Vec::new(),
        };
        for (name, declared) in listeners {
            check_names("route", declared.iter().map(|r| &r.name), &mut flaws);
            let mut routes = Vec::new();
            for (index, route) in declared.into_iter().enumerate() {
                routes.extend(routing.resolve(index as u16, route, &mut flaws));
            }
            // Stable: among equals the order of the file decides.
            routes.sort_by_key(|r: &Route| {
                core::cmp::Reverse((r.host.is_some(), r.path_prefix.len(), r.key_part()))
            });
            routing.tables.push(RouteTable { name, routes });
        }
        if flaws.is_empty() {
            Ok(routing)
        } else {
            Err(flaws)
        }
    }

    fn resolve(
        &mut self,
        index: u16,
        route: RouteDeclared,
        flaws: &mut Vec<Flaw>,
    ) -> Option<Route> {
        if !route.path_prefix.starts_with('/') {
            flaws.push(Flaw::PrefixNotAbsolute {
                route: route.name.clone(),
            });
        }
        let target = match route.target {
            TargetDeclared::Service(service) => {
                Target::Service(self.service(&route.name, &service, flaws)?)
            }
            TargetDeclared::Cell { key, cells } => {
                check_cells(&route.name, &key, &cells, flaws);
                let mut resolved = Vec::new();
                for cell in cells {
                    let service = self.service(&route.name, &cell.service, flaws);
                    let database = self.database(&route.name, &cell.database, flaws);
                    if let (Some(service), Some(database)) = (service, database) {
                        resolved.push((cell.values, self.cell(database, service)));
                    }
                }
                Target::Cell {
                    key,
                    cells: resolved,
                }
            }
        };
        Some(Route {
            name: route.name,
            index,
            hold_wait: route.hold_wait,
            idempotency_header: route.idempotency_header,
            target,
            host: route.host.map(|host| host.to_ascii_lowercase()),
            path_prefix: route.path_prefix,
            methods: MethodSet::of(&route.methods),
        })
    }

    fn service(&self, route: &str, name: &str, flaws: &mut Vec<Flaw>) -> Option<ServiceId> {
        let found = self.services.iter().position(|s| s.name == name);
        if found.is_none() {
            flaws.push(Flaw::UnknownService {
                route: route.to_owned(),
                service: name.to_owned(),
            });
        }
        found.map(|index| ServiceId(index as u16))
    }

    fn database(&self, route: &str, name: &str, flaws: &mut Vec<Flaw>) -> Option<DatabaseId> {
        let found = self.databases.iter().position(|d| d.name == name);
        if found.is_none() {
            flaws.push(Flaw::UnknownDatabase {
                route: route.to_owned(),
                database: name.to_owned(),
            });
        }
        found.map(|index| DatabaseId(index as u16))
    }

    /// The same database and service are the same cell, whichever route names them: they fail over
    /// together, so they are held together.
    fn cell(&mut self, database: DatabaseId, service: ServiceId) -> CellId {
        let known = self
            .cells
            .iter()
            .position(|c| c.database == database && c.service == service);
        let index = known.unwrap_or_else(|| {
            let replicas = self.databases.get(usize::from(database.0));
            let hosts = replicas.map(|d| d.replicas.as_slice()).unwrap_or_default();
            let instances = self.services.get(usize::from(service.0));
            let replica_of = instances
                .map(|s| s.instances.as_slice())
                .unwrap_or_default()
                .iter()
                .map(|i| hosts.iter().position(|h| *h == i.host).map(|r| r as u16))
                .collect();
            self.cells.push(Cell {
                database,
                service,
                replica_of,
            });
            self.cells.len() - 1
        });
        CellId(index as u16)
    }
}

fn check_names<'a>(
    kind: &'static str,
    names: impl Iterator<Item = &'a String>,
    flaws: &mut Vec<Flaw>,
) {
    let mut sorted: Vec<&String> = names.collect();
    if sorted.len() > THINGS_LIMIT {
        flaws.push(Flaw::TooMany {
            kind,
            limit: THINGS_LIMIT,
        });
    }
    sorted.sort();
    for pair in sorted.windows(2) {
        if let [a, b] = pair
            && a == b
        {
            flaws.push(Flaw::DuplicateName {
                kind,
                name: (*a).clone(),
            });
        }
    }
}

fn check_cells(route: &str, key: &Key, cells: &[CellDeclared], flaws: &mut Vec<Flaw>) {
    let route = || route.to_owned();
    if cells.is_empty() {
        flaws.push(Flaw::NoCells { route: route() });
    }
    if *key == Key::Always {
        if cells.len() > 1 {
            flaws.push(Flaw::KeylessRouteWithManyCells { route: route() });
        }
        return;
    }
    let mut values: Vec<&String> = cells.iter().flat_map(|c| &c.values).collect();
    if cells.iter().any(|c| c.values.is_empty()) {
        flaws.push(Flaw::CellWithoutValues { route: route() });
    }
    values.sort();
    for pair in values.windows(2) {
        if let [a, b] = pair
            && a == b
        {
            flaws.push(Flaw::ValueInTwoCells {
                route: route(),
                value: (*a).clone(),
            });
        }
    }
}

impl RouteTable {
    /// Finds the route and its target. `host` is the Host header; `path` has no query; `header` looks a
    /// request header up by name.
    pub fn find<'a>(
        &'a self,
        host: &str,
        path: &str,
        method: Method,
        header: impl FnOnce(&str) -> Option<String>,
    ) -> Result<(&'a Route, Destination), RouteMiss> {
        if is_ambiguous(path) {
            return Err(RouteMiss::AmbiguousPath);
        }
        let mut miss = RouteMiss::NoRoute;
        let mut allowed = MethodSet::NONE;
        let mut keyless: Option<&Route> = None;
        for route in &self.routes {
            if !route.matches(host, path) {
                continue;
            }
            // A request that names no cell may be for what stands at that very prefix, and for nothing less specific.
            if keyless.is_some_and(|other| !other.begins_like(route)) {
                break;
            }
            if !route.methods.contains(method) {
                allowed = allowed.and(route.methods);
                miss = RouteMiss::MethodNotAllowed(allowed);
                continue;
            }
            if route
                .key_part()
                .is_some_and(|part| path_part(path, part).is_none())
            {
                miss = RouteMiss::KeyMissing;
                keyless = Some(route);
                continue;
            }
            return route.place(path, header).map(|place| (route, place));
        }
        Err(miss)
    }

    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

impl Route {
    fn matches(&self, host: &str, path: &str) -> bool {
        let host_matches = self
            .host
            .as_deref()
            .is_none_or(|own| without_port(host).eq_ignore_ascii_case(own));
        host_matches
            && path
                .strip_prefix(self.path_prefix.as_str())
                .is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with('/') || self.path_prefix.ends_with('/')
                })
    }

    fn begins_like(&self, other: &Self) -> bool {
        (&self.host, &self.path_prefix) == (&other.host, &other.path_prefix)
    }

    /// The part of the path that names the cell: a route with one is longer than it looks.
    fn key_part(&self) -> Option<u16> {
        match &self.target {
            Target::Cell {
                key: Key::PathPart(index),
                ..
            } => Some(*index),
            Target::Cell { .. } | Target::Service(_) => None,
        }
    }

    fn place(
        &self,
        path: &str,
        header: impl FnOnce(&str) -> Option<String>,
    ) -> Result<Destination, RouteMiss> {
        let (key, cells) = match &self.target {
            Target::Service(service) => return Ok(Destination::Service(*service)),
            Target::Cell { key, cells } => (key, cells),
        };
        let from_header;
        let value = match key {
            Key::Always => {
                return cells
                    .first()
                    .map(|c| Destination::Cell(c.1))
                    .ok_or(RouteMiss::UnknownCell);
            }
            Key::Header(name) => {
                from_header = header(name).ok_or(RouteMiss::KeyMissing)?;
                from_header.as_str()
            }
            Key::PathPart(index) => path_part(path, *index).ok_or(RouteMiss::KeyMissing)?,
        };
        cells
            .iter()
            .find(|(values, _)| values.iter().any(|v| v == value))
            .map(|(_, cell)| Destination::Cell(*cell))
            .ok_or(RouteMiss::UnknownCell)
    }
}

fn path_part(path: &str, index: u16) -> Option<&str> {
    let mut parts = path
        .trim_start_matches('/')
        .split('/')
        .take(PATH_PARTS_LIMIT);
    parts
        .nth(usize::from(index))
        .filter(|part| !part.is_empty())
}

/// `example.org:80` and `[::1]:80` without their ports.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => host,
    }
}

/// True if some server might resolve this path to another one than we did.
fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    if !bytes.starts_with(b"/") {
        return bytes != b"*";
    }
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let found = match *first {
            b'\\' => true,
            b'%' => matches!(
                tail,
                [b'2', b'e' | b'E' | b'f' | b'F', ..] | [b'5', b'c' | b'C', ..] | [b'0', b'0', ..]
            ),
            b'/' => matches!(
                tail,
                [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..]
            ),
            _ => false,
        };
        if found {
            return true;
        }
        rest = tail;
    }
    false
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
