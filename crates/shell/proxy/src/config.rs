//! From the file on disk to what is served, and never from bad to worse.
//!
//! A snapshot is read whole, checked whole, and either replaces the one being served or changes nothing.
//! The last one that passed lies beside the file as `FILE.last-good`, so that a gateway which starts
//! with a torn or wrong file still serves what it served before.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_gateway::framing::FramingLimits;
use mainstay_gateway::method::Method;
use mainstay_gateway::routing::{
    CellDeclared, Database, Flaw, Instance, Key, Place, RouteDeclared, Routing, Service,
    TargetDeclared,
};
use mainstay_gateway::share::WHOLE;
use mainstay_record::gateway::{
    CellKey, CellTarget, DatabaseRole, GATEWAY_SNAPSHOT_VERSION, GatewayLimits, GatewaySnapshot,
    HttpRoute, RouteTarget,
};

use crate::door::{Door, DoorError};

/// Largest snapshot read from disk.
const SNAPSHOT_BYTES_LIMIT: u64 = 64 * 1024 * 1024;
const WORKERS_LIMIT: u16 = 256;
/// What a held request costs beside its body, roughly.
pub const HEAD_ALLOWANCE: u64 = 2048;
/// Room for the bodies of all requests together.
const BODIES_AT_LEAST: u64 = 256 * 1024 * 1024;
/// Room for all answers together that wait whole for their clients.
const ANSWERS: u64 = 256 * 1024 * 1024;

/// A snapshot that passed every check, with names resolved and addresses parsed.
#[derive(Debug)]
pub struct Config {
    pub snapshot: GatewaySnapshot,
    pub routing: Routing,
    /// Per HTTP listener, in the order of `routing.tables`.
    pub http: Vec<HttpEntry>,
    pub tcp: Vec<TcpEntry>,
    /// Per service, per instance.
    pub instances: Vec<Vec<InstanceEntry>>,
    /// Per database, per replica.
    pub replicas: Vec<Vec<ReplicaEntry>>,
    pub admin: Option<SocketAddr>,
    pub bounds: Bounds,
}

#[derive(Clone, Debug)]
pub struct HttpEntry {
    pub name: String,
    pub address: SocketAddr,
    /// What is shown there; nothing where clients speak in the clear.
    pub door: Option<Arc<Door>>,
}

#[derive(Clone, Debug)]
pub struct TcpEntry {
    pub address: SocketAddr,
    /// Index into `routing.databases`.
    pub database: usize,
    pub role: DatabaseRole,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceEntry {
    pub name: String,
    pub address: SocketAddr,
    /// What it must prove; nothing where it is spoken to in the clear.
    pub identity: Option<String>,
    pub readiness_path: String,
}

#[derive(Clone, Debug)]
pub struct ReplicaEntry {
    pub host: String,
    pub is_own_region: bool,
    pub sight: SocketAddr,
    pub postgres: SocketAddr,
    pub lease_file: Option<PathBuf>,
}

/// The snapshot's limits as the code uses them: durations as durations, counts per worker.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub connections: u32,
    pub tcp_sessions: u32,
    pub requests: u32,
    pub framing: FramingLimits,
    pub body_bytes: usize,
    /// Of all bodies that a worker has at a time.
    pub bodies: u64,
    pub answer_bytes: usize,
    /// Of all answers that a worker keeps at a time.
    pub answers: u64,
    pub request_timeout: Duration,
    pub attempts: u16,
    pub connect_timeout: Duration,
    pub head_read: Duration,
    pub client_idle: Duration,
    pub upstream_connections: u32,
    /// Of one instance's connections, so many may wait for clients that take answers of a cell slowly.
    pub upstream_staying: u32,
    pub upstream_idle: usize,
    pub upstream_idle_time: Duration,
    pub hold: mainstay_gateway::hold::HoldLimits,
    pub hold_wait: Duration,
    pub probe_interval: Duration,
    pub probe_interval_urgent: Duration,
    pub probe_timeout: Duration,
    pub evidence_age: Duration,
    pub isolated_after: Duration,
    pub stranded_after: Duration,
    pub stop: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read snapshot {path}", path = .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    #[error("parse snapshot {path}", path = .0.display())]
    Parse(PathBuf, #[source] serde_json::Error),
    #[error("snapshot version {0} is not the one this gateway reads ({GATEWAY_SNAPSHOT_VERSION})")]
    Version(u32),
    #[error("{0} is not an address: {1}")]
    Address(String, String),
    #[error("show a certificate at listener {0}")]
    Door(String, #[source] Box<DoorError>),
    #[error("show a certificate at listener {0}: {1}")]
    NotShown(String, String),
    #[error("limit {0} must not be {1}")]
    Limit(&'static str, u64),
    #[error("TCP listener {0} leads to database {1}, which does not exist")]
    TcpDatabase(String, String),
    #[error("two listeners at {0}")]
    SameAddress(SocketAddr),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Flaws(Vec<Flaw>),
    #[error("generation {0} is older than {1}, which is being served")]
    OlderGeneration(u64, u64),
}

/// Where the last good copy of a snapshot file lies.
pub fn last_good_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".last-good");
    PathBuf::from(name)
}

/// Reads and checks the file, and keeps a copy if it is good.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let (config, bytes) = load_one(path)?;
    keep_copy(path, &bytes);
    Ok(config)
}

fn keep_copy(path: &Path, bytes: &[u8]) {
    if let Err(error) = mainstay_rt::files::write_atomic(&last_good_path(path), bytes) {
        tracing::warn!(%error, "cannot keep a copy of the snapshot: a restart depends on the file alone");
    }
}

/// As [`load`], while another snapshot is served: an older one is refused, and so is one that would close a door.
pub fn load_after(path: &Path, served: &Config) -> Result<Config, ConfigError> {
    let (mut config, bytes) = load_one(path)?;
    let (offered, known) = (config.snapshot.generation, served.snapshot.generation);
    if offered < known {
        return Err(ConfigError::OlderGeneration(offered, known));
    }
    config.keep_doors(served)?;
    keep_copy(path, &bytes);
    Ok(config)
}

/// As [`load`]; if the file is bad, what the last good copy says, with the reason why.
pub fn load_or_last_good(path: &Path) -> Result<(Config, Option<ConfigError>), ConfigError> {
    match load(path) {
        Ok(config) => Ok((config, None)),
        Err(error) => match load_one(&last_good_path(path)) {
            Ok((config, _)) => Ok((config, Some(error))),
            Err(_) => Err(error),
        },
    }
}

fn load_one(path: &Path) -> Result<(Config, Vec<u8>), ConfigError> {
    let bytes = mainstay_rt::files::read_limited(path, SNAPSHOT_BYTES_LIMIT)
        .map_err(|error| ConfigError::Read(path.to_owned(), error))?;
    let snapshot = serde_json::from_slice(&bytes)
        .map_err(|error| ConfigError::Parse(path.to_owned(), error))?;
    Ok((Config::new(snapshot)?, bytes))
}

impl Config {
    pub fn new(snapshot: GatewaySnapshot) -> Result<Self, ConfigError> {
        if snapshot.version != GATEWAY_SNAPSHOT_VERSION {
            return Err(ConfigError::Version(snapshot.version));
        }
        let workers = workers(&snapshot);
        let bounds = bounds(&snapshot.limits, workers)?;
        let routing = routing(&snapshot).map_err(ConfigError::Flaws)?;
        let http = snapshot
            .listeners
            .http
            .iter()
            .map(http_entry)
            .collect::<Result<Vec<_>, _>>()?;
        let tcp = snapshot
            .listeners
            .tcp
            .iter()
            .map(|listener| tcp_entry(listener, &routing))
            .collect::<Result<Vec<_>, _>>()?;
        let mut addresses: Vec<SocketAddr> = http
            .iter()
            .map(|entry| entry.address)
            .chain(tcp.iter().map(|entry| entry.address))
            .collect();
        addresses.sort();
        if let Some(pair) = addresses
            .windows(2)
            .find(|pair| pair[0] == pair[1] && pair[0].port() != 0)
        {
            return Err(ConfigError::SameAddress(pair[0]));
        }
        let admin = snapshot.admin_address.as_deref().map(parse).transpose()?;
        let instances = instances(&snapshot)?;
        let replicas = replicas(&snapshot)?;
        Ok(Self {
            routing,
            http,
            tcp,
            instances,
            replicas,
            admin,
            bounds,
            snapshot,
        })
    }

    pub fn workers(&self) -> u16 {
        workers(&self.snapshot)
    }

    /// Takes over the doors of the snapshot before where they are the same.
    ///
    /// # Errors
    /// When a door is new, and what it should show cannot be used.
    pub fn keep_doors(&mut self, before: &Self) -> Result<(), ConfigError> {
        let known = || before.http.iter().filter_map(|entry| entry.door.as_ref());
        for entry in &mut self.http {
            let Some(door) = &mut entry.door else {
                continue;
            };
            match known().find(|known| known.files == door.files) {
                Some(known) => *door = Arc::clone(known),
                None => {
                    if let Some(problem) = door.problem() {
                        return Err(ConfigError::NotShown(entry.name.clone(), problem));
                    }
                }
            }
        }
        Ok(())
    }

    /// What is wrong with certificates as they stand on disk now.
    pub fn door_problem(&self) -> Option<String> {
        let mut problems = self.http.iter().filter_map(|entry| {
            let problem = entry.door.as_ref()?.problem()?;
            Some(format!("listener {}: {problem}", entry.name))
        });
        problems.next()
    }
}

fn workers(snapshot: &GatewaySnapshot) -> u16 {
    let processors = || std::thread::available_parallelism().map_or(1, |count| count.get() as u16);
    snapshot
        .workers
        .unwrap_or_else(processors)
        .clamp(1, WORKERS_LIMIT)
}

fn parse(text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|error: std::net::AddrParseError| {
        ConfigError::Address(text.to_owned(), error.to_string())
    })
}

fn http_entry(listener: &mainstay_record::gateway::HttpListener) -> Result<HttpEntry, ConfigError> {
    let door = listener.tls.clone().map(Door::new).transpose();
    Ok(HttpEntry {
        name: listener.name.clone(),
        address: parse(&listener.address)?,
        door: door.map_err(|error| ConfigError::Door(listener.name.clone(), Box::new(error)))?,
    })
}

fn tcp_entry(
    listener: &mainstay_record::gateway::TcpListener,
    routing: &Routing,
) -> Result<TcpEntry, ConfigError> {
    let database = routing
        .databases
        .iter()
        .position(|database| database.name == listener.database)
        .ok_or_else(|| {
            ConfigError::TcpDatabase(listener.name.clone(), listener.database.clone())
        })?;
    Ok(TcpEntry {
        address: parse(&listener.address)?,
        database,
        role: listener.role,
    })
}

fn instances(snapshot: &GatewaySnapshot) -> Result<Vec<Vec<InstanceEntry>>, ConfigError> {
    let entry = |instance: &mainstay_record::gateway::InstanceTarget| {
        Ok(InstanceEntry {
            name: instance.name.clone(),
            address: parse(&instance.address)?,
            identity: instance.identity.clone(),
            readiness_path: instance.readiness_path.clone(),
        })
    };
    snapshot
        .services
        .iter()
        .map(|s| s.instances.iter().map(entry).collect())
        .collect()
}

fn replicas(snapshot: &GatewaySnapshot) -> Result<Vec<Vec<ReplicaEntry>>, ConfigError> {
    let entry = |replica: &mainstay_record::gateway::ReplicaTarget| {
        Ok(ReplicaEntry {
            host: replica.host.clone(),
            is_own_region: replica.region == snapshot.region,
            sight: parse(&replica.sight_address)?,
            postgres: parse(&replica.postgres_address)?,
            lease_file: replica.lease_file.as_ref().map(PathBuf::from),
        })
    };
    snapshot
        .databases
        .iter()
        .map(|d| d.replicas.iter().map(entry).collect())
        .collect()
}

fn routing(snapshot: &GatewaySnapshot) -> Result<Routing, Vec<Flaw>> {
    let services = snapshot.services.iter().map(|service| Service {
        name: service.name.clone(),
        instances: service
            .instances
            .iter()
            .map(|instance| Instance {
                name: instance.name.clone(),
                host: instance.host.clone(),
                place: if instance.region == snapshot.region {
                    Place::OwnRegion
                } else {
                    Place::OtherRegion
                },
                share: instance.share.unwrap_or(WHOLE).min(WHOLE),
            })
            .collect(),
    });
    let databases = snapshot.databases.iter().map(|database| Database {
        name: database.name.clone(),
        replicas: database
            .replicas
            .iter()
            .map(|replica| replica.host.clone())
            .collect(),
    });
    let listeners = snapshot.listeners.http.iter().map(|listener| {
        let routes = listener
            .routes
            .iter()
            .map(|route| declared(route, &snapshot.limits));
        (listener.name.clone(), routes.collect())
    });
    Routing::new(services.collect(), databases.collect(), listeners.collect())
}

fn declared(route: &HttpRoute, limits: &GatewayLimits) -> RouteDeclared {
    let wait_ms = route
        .hold
        .as_ref()
        .map_or(limits.hold_wait_ms, |hold| hold.max_wait_ms);
    RouteDeclared {
        name: route.name.clone(),
        host: route.host.clone(),
        path_prefix: route.path_prefix.clone(),
        methods: route
            .methods
            .iter()
            .map(|method| Method::parse(method))
            .collect(),
        target: match &route.target {
            RouteTarget::Service(service) => TargetDeclared::Service(service.clone()),
            RouteTarget::Cell(CellTarget { key, cells }) => TargetDeclared::Cell {
                key: match key {
                    CellKey::Header(name) => Key::Header(name.to_ascii_lowercase()),
                    CellKey::PathPart(index) => Key::PathPart(*index),
                    CellKey::Always => Key::Always,
                },
                cells: cells
                    .iter()
                    .map(|cell| CellDeclared {
                        values: cell.values.clone(),
                        database: cell.database.clone(),
                        service: cell.service.clone(),
                    })
                    .collect(),
            },
        },
        hold_wait: Duration::from_millis(wait_ms),
        idempotency_header: route
            .idempotency_header
            .as_ref()
            .map(|name| name.to_ascii_lowercase()),
    }
}

pub fn bounds(limits: &GatewayLimits, workers: u16) -> Result<Bounds, ConfigError> {
    let positive: [(&'static str, u64); 10] = [
        ("connections", limits.connections.into()),
        ("requests", limits.requests.into()),
        ("headers", limits.headers.into()),
        ("hold_requests", limits.hold_requests.into()),
        ("drain_initial", limits.drain_initial.into()),
        ("request_timeout_ms", limits.request_timeout_ms),
        ("attempts", limits.attempts.into()),
        ("probe_interval_ms", limits.probe_interval_ms),
        ("probe_interval_urgent_ms", limits.probe_interval_urgent_ms),
        ("evidence_age_ms", limits.evidence_age_ms),
    ];
    if let Some((name, value)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(ConfigError::Limit(name, *value));
    }
    // The HTTP library's own buffer is never smaller than this.
    if limits.header_bytes < 8192 {
        return Err(ConfigError::Limit(
            "header_bytes",
            limits.header_bytes.into(),
        ));
    }
    let share = |count: u32| count.div_ceil(u32::from(workers));
    let milliseconds = Duration::from_millis;
    Ok(Bounds {
        connections: share(limits.connections),
        tcp_sessions: share(limits.tcp_sessions),
        requests: share(limits.requests),
        framing: FramingLimits {
            head_bytes: limits.header_bytes as usize,
            headers: limits.headers.into(),
        },
        body_bytes: usize::try_from(limits.body_bytes).unwrap_or(usize::MAX),
        bodies: bodies(limits).div_ceil(u64::from(workers)),
        answer_bytes: usize::try_from(limits.answer_bytes).unwrap_or(usize::MAX),
        answers: ANSWERS.div_ceil(u64::from(workers)),
        request_timeout: milliseconds(limits.request_timeout_ms),
        attempts: limits.attempts,
        connect_timeout: milliseconds(limits.connect_timeout_ms),
        head_read: milliseconds(limits.head_read_ms),
        client_idle: milliseconds(limits.client_idle_ms),
        upstream_connections: share(limits.upstream_connections),
        upstream_staying: (share(limits.upstream_connections) / 2).max(1),
        upstream_idle: share(limits.upstream_idle) as usize,
        upstream_idle_time: milliseconds(limits.upstream_idle_ms),
        hold: mainstay_gateway::hold::HoldLimits {
            requests: share(limits.hold_requests),
            // What may come must be able to wait, however many workers share the room.
            bytes: limits
                .hold_bytes
                .div_ceil(u64::from(workers))
                .max(limits.body_bytes.saturating_add(HEAD_ALLOWANCE)),
            drain_initial: share(limits.drain_initial),
            drain_limit: share(limits.drain_limit.max(limits.drain_initial)),
        },
        hold_wait: milliseconds(limits.hold_wait_ms),
        probe_interval: milliseconds(limits.probe_interval_ms),
        probe_interval_urgent: milliseconds(limits.probe_interval_urgent_ms),
        probe_timeout: milliseconds(limits.probe_timeout_ms),
        evidence_age: milliseconds(limits.evidence_age_ms),
        isolated_after: milliseconds(limits.isolated_after_ms),
        stranded_after: milliseconds(limits.stranded_after_ms),
        stop: milliseconds(limits.stop_ms),
    })
}

/// Bodies that are read or sent may take as much again as those that wait, and the largest must fit.
fn bodies(limits: &GatewayLimits) -> u64 {
    let held = limits.hold_bytes.saturating_mul(2);
    let largest = limits.body_bytes.saturating_mul(2);
    BODIES_AT_LEAST.max(held).max(largest)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
