//! What a gateway is told: the routing snapshot it starts from, and the lines its eyes read.
//!
//! The snapshot is whole and immutable: it is replaced, never patched, so that a gateway which has read
//! one knows everything it will ever need to serve. Addresses are written *as seen from this gateway's
//! host* (the door of the other region, not the host's own address). Unknown fields are refused here,
//! because snapshot and gateway are made by the same release; they are ignored in what comes from
//! keepers and instances, which may be newer.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::identity::IdentityFiles;

/// The only snapshot version there is.
pub const GATEWAY_SNAPSHOT_VERSION: u32 = 1;

/// Everything one gateway process needs. Kept on disk; `mainstay gateway --config FILE` starts from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySnapshot {
    pub version: u32,
    /// Grows with every snapshot that the same gateway is given.
    pub generation: u64,
    #[serde(default)]
    pub platform: String,
    /// Name of the gateway in the platform file.
    pub gateway: String,
    pub host: String,
    pub region: String,
    /// `RUN/HOST`: the control socket `gateway-NAME.sock` and the lock file `gateway-NAME.lock` live here.
    pub run_folder: String,
    /// Who this gateway is to keepers; without, their sight is asked for in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityFiles>,
    /// Worker threads, one runtime each; absent = one per processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u16>,
    /// Figures and status over TCP as well, for those who prove to be of the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_address: Option<String>,
    pub listeners: Listeners,
    #[serde(default)]
    pub services: Vec<ServiceTarget>,
    #[serde(default)]
    pub databases: Vec<DatabaseTarget>,
    #[serde(default)]
    pub limits: GatewayLimits,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listeners {
    #[serde(default)]
    pub http: Vec<HttpListener>,
    #[serde(default)]
    pub tcp: Vec<TcpListener>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpListener {
    pub name: String,
    pub address: String,
    /// In the clear if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    pub routes: Vec<HttpRoute>,
}

/// What an HTTP listener shows to its clients. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// PEM: the certificate, then those between it and its root.
    pub certificate: PathBuf,
    /// PEM; it may be the same file.
    pub key: PathBuf,
    /// PEM: clients must prove themselves by one of these roots. Nobody is asked if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<PathBuf>,
}

/// The route with the longest matching prefix wins; one that names a host goes before one that does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRoute {
    pub name: String,
    /// Host header without port; absent = any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `/v1/cells` matches itself and everything below it, not `/v1/cellsX`.
    pub path_prefix: String,
    /// Empty = all methods.
    #[serde(default)]
    pub methods: Vec<String>,
    pub target: RouteTarget,
    /// How long a request of this route may be held; absent = `limits.hold_wait_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<RouteHold>,
    /// The service behind this route promises that a request repeated under the same value of this
    /// header has one effect. Absent = POST and PATCH are never repeated once sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_header: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteHold {
    pub max_wait_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RouteTarget {
    /// Any healthy instance of the service of this name.
    Service(String),
    /// The active instance of the cell that the key belongs to.
    Cell(CellTarget),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellTarget {
    pub key: CellKey,
    pub cells: Vec<CellRoute>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CellKey {
    /// Value of this request header.
    Header(String),
    /// Part of the path between slashes, from 0: in `/v1/cells/us/orders` part 2 is `us`.
    PathPart(u16),
    /// No key: the route has exactly one cell.
    Always,
}

/// One cell: which key values belong to it, the database whose primary it follows, its service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellRoute {
    /// Empty only with `CellKey::Always`.
    #[serde(default)]
    pub values: Vec<String>,
    pub database: String,
    pub service: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpListener {
    pub name: String,
    pub address: String,
    pub database: String,
    pub role: DatabaseRole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseRole {
    Primary,
    Replica,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTarget {
    pub name: String,
    pub instances: Vec<InstanceTarget>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceTarget {
    pub name: String,
    pub host: String,
    pub region: String,
    pub address: String,
    /// What it must prove to be called over TLS, where the gateway proves its own name too; in the clear if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Answers 200 while the instance may be given requests; see [`ReadinessAnswer`].
    pub readiness_path: String,
    /// Of a hundred new requests so many may come here, if that is not all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseTarget {
    pub name: String,
    pub replicas: Vec<ReplicaTarget>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaTarget {
    pub host: String,
    pub region: String,
    /// The keeper's HTTP port, where `GET /v1/sight` streams.
    pub sight_address: String,
    pub postgres_address: String,
    /// The keeper's lease file, when this replica stands on the gateway's own host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_file: Option<String>,
}

/// Every bound of the gateway. Counts are per gateway process and shared evenly among its workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayLimits {
    /// Open client connections over all HTTP listeners.
    pub connections: u32,
    /// Open sessions over all TCP listeners.
    pub tcp_sessions: u32,
    /// Requests being worked on, held ones included.
    pub requests: u32,
    pub header_bytes: u32,
    pub headers: u16,
    pub body_bytes: u64,
    /// An answer of a cell up to this size is read whole before its first byte goes to the client.
    pub answer_bytes: u64,
    /// Held per cell.
    pub hold_requests: u32,
    pub hold_bytes: u64,
    pub hold_wait_ms: u64,
    /// Requests let go at once when a hold ends; doubles with each round of answers up to `drain_limit`.
    pub drain_initial: u32,
    pub drain_limit: u32,
    /// For requests that carry no deadline of their own.
    pub request_timeout_ms: u64,
    pub attempts: u16,
    pub connect_timeout_ms: u64,
    pub head_read_ms: u64,
    pub client_idle_ms: u64,
    pub upstream_connections: u32,
    pub upstream_idle: u32,
    pub upstream_idle_ms: u64,
    pub probe_interval_ms: u64,
    /// While a cell has no active instance.
    pub probe_interval_urgent_ms: u64,
    pub probe_timeout_ms: u64,
    /// A stream or a probe that is silent for longer is no evidence any more.
    pub evidence_age_ms: u64,
    pub isolated_after_ms: u64,
    /// Others have a primary and we cannot reach its instance for this long: longer than a failover.
    pub stranded_after_ms: u64,
    /// How long a stopping gateway waits for what it has begun.
    pub stop_ms: u64,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            tcp_sessions: 1_000,
            requests: 20_000,
            header_bytes: 16 * 1024,
            headers: 64,
            body_bytes: 1024 * 1024,
            answer_bytes: 1024 * 1024,
            hold_requests: 8_192,
            hold_bytes: 64 * 1024 * 1024,
            hold_wait_ms: 12_000,
            drain_initial: 16,
            drain_limit: 256,
            request_timeout_ms: 15_000,
            attempts: 32,
            connect_timeout_ms: 500,
            head_read_ms: 10_000,
            client_idle_ms: 75_000,
            upstream_connections: 2_048,
            upstream_idle: 256,
            upstream_idle_ms: 60_000,
            probe_interval_ms: 100,
            probe_interval_urgent_ms: 20,
            probe_timeout_ms: 500,
            evidence_age_ms: 1_000,
            isolated_after_ms: 1_000,
            stranded_after_ms: 4_000,
            stop_ms: 10_000,
        }
    }
}

/// What an instance says at its readiness path. Only a cell's instances say more than their status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadinessAnswer {
    pub active: bool,
    pub cell: String,
    pub term: u32,
    pub epoch: u64,
    pub sequence: u64,
}

/// Whom the lock file `gateway-NAME.lock` names: the process that owns the gateway's listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayLock {
    pub pid: i32,
    pub start_ticks: u64,
}

/// `GET /v1/status` on the gateway's control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    pub version: u32,
    pub gateway: String,
    pub host: String,
    pub region: String,
    pub generation: u64,
    /// Why the snapshot on disk is not the one being served, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_error: Option<String>,
    pub stopping: bool,
    pub workers: u16,
    pub connections: u64,
    pub requests: u64,
    pub cells: Vec<GatewayCellStatus>,
    pub services: Vec<GatewayServiceStatus>,
    pub databases: Vec<GatewayDatabaseStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayCellStatus {
    pub database: String,
    pub service: String,
    /// `active`, `switching`, `absent` or `isolated`.
    pub view: String,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    pub term: u32,
    pub epoch: u64,
    pub held: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayServiceStatus {
    pub service: String,
    pub instances: Vec<GatewayInstanceStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayInstanceStatus {
    pub instance: String,
    pub ready: bool,
    /// Since the last probe that was answered; absent = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    pub reason: String,
    /// Of a hundred new requests so many may go there, if that is not all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayDatabaseStatus {
    pub database: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    pub term: u32,
    pub keepers_seen: u32,
    pub keepers: u32,
    pub sessions: u64,
}
