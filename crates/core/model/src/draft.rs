//! What somebody declares, before anything is known to be true.
//!
//! Everything is public and plain. Where the file may leave something out, the draft says so with an
//! `Option` and validation fills in the default, so that defaults stand in one place.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::database::Survive;
use crate::gateway::Method;
use crate::oncall::EmailTls;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlatformDraft {
    pub name: String,
    pub environment: EnvironmentDraft,
    pub regions: Vec<RegionDraft>,
    pub distances: Vec<DistanceDraft>,
    pub hosts: Vec<HostDraft>,
    pub databases: Vec<DatabaseDraft>,
    pub services: Vec<ServiceDraft>,
    pub gateways: Vec<GatewayDraft>,
    pub roles: Vec<RoleDraft>,
    pub operators: Vec<OperatorDraft>,
    pub waivers: Vec<WaiverDraft>,
    pub watch: Option<WatchDraft>,
    pub chaos: Option<ChaosDraft>,
    pub oncall: Option<OncallDraft>,
    pub cost_per_minute: Option<CostDraft>,
    pub coordination: Option<CoordinationDraft>,
    /// Paths beside the platform file.
    pub playbooks: Vec<String>,
    pub gates: Vec<GateDraft>,
}

/// Exactly one of query and budget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateDraft {
    pub name: String,
    pub before: Vec<String>,
    pub query: Option<String>,
    pub budget: Option<GateBudgetDraft>,
    pub reason: String,
    pub action: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateBudgetDraft {
    pub objective: String,
    pub left_at_least: String,
}

/// Where the journal stands; in the embedded folder if it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoordinationDraft {
    pub etcd: Option<EtcdDraft>,
}

/// Exactly one of endpoints and members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdDraft {
    pub endpoints: Vec<String>,
    pub certificate_file: Option<String>,
    pub authority_file: Option<String>,
    pub members: Vec<EtcdMemberDraft>,
    pub ports: EtcdPortsDraft,
    pub prefix: Option<String>,
    pub archive: Option<String>,
    /// Without the store, which is the archive.
    pub archive_options: Option<StoreOptionsDraft>,
    pub keep_parts: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdMemberDraft {
    pub host: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdPortsDraft {
    pub client: Option<u16>,
    pub peer: Option<u16>,
    pub relay: Option<u16>,
}

/// What it costs while requests fail. Amounts are as the file writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostDraft {
    pub currency: String,
    pub platform: Option<String>,
    pub services: Vec<ServiceCostDraft>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceCostDraft {
    pub service: String,
    pub amount: String,
}

/// How documents that were written elsewhere mean this platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChaosDraft {
    pub namespaces: Vec<String>,
    pub inner_wires: Option<bool>,
    pub labels: Vec<ServiceLabelsDraft>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceLabelsDraft {
    pub service: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentDraft {
    pub name: String,
    pub production: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionDraft {
    pub name: String,
}

/// The round trip between two regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistanceDraft {
    pub between: Vec<String>,
    pub round_trip: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostDraft {
    pub name: String,
    pub region: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseDraft {
    pub name: String,
    pub home: String,
    pub survive: Survive,
    pub ports: DatabasePortsDraft,
    /// Bytes a second.
    pub filling_rate: Option<u64>,
    pub replicas: Vec<ReplicaDraft>,
    pub backup: Option<BackupDraft>,
    /// Names and values of PostgreSQL.
    pub parameters: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupDraft {
    pub stores: Vec<String>,
    pub store_options: Vec<StoreOptionsDraft>,
    pub every: Option<Duration>,
    pub prove_every: Option<Duration>,
    pub log_every: Option<Duration>,
    pub keep_for: Option<Duration>,
    pub keep_count: Option<u32>,
    pub alarm_after: Option<Duration>,
    /// Bytes.
    pub backlog_limit: Option<u64>,
    pub metrics_port: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreOptionsDraft {
    pub store: String,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub allow_http: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabasePortsDraft {
    pub postgres: u16,
    pub peer: u16,
    pub sight: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaDraft {
    pub host: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceDraft {
    pub name: String,
    pub command: Vec<String>,
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub ports: Vec<PortDraft>,
    pub probes: ProbesDraft,
    pub replicas: Option<u16>,
    pub placement: PlacementDraft,
    pub metrics: Option<MetricsDraft>,
    pub modes: Option<ModesDraft>,
    pub objectives: ObjectivesDraft,
    pub restart: RestartDraft,
    pub stop: StopDraft,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortDraft {
    pub name: String,
    pub port: u16,
    pub tls: Option<PortTlsDraft>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorTlsDraft {
    Nothing,
    Platform,
    Files,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortTlsDraft {
    Nothing,
    Platform,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbesDraft {
    pub startup: Option<ProbeDraft>,
    pub readiness: Option<ProbeDraft>,
    pub liveness: Option<ProbeDraft>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeDraft {
    pub port: Option<String>,
    pub path: String,
    pub period: Option<Duration>,
    pub timeout: Option<Duration>,
    pub failures: Option<u32>,
}

/// Where an instance gives its figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsDraft {
    pub port: Option<String>,
    pub path: Option<String>,
}

/// In which modes a service can be, and where its active instance is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModesDraft {
    pub port: Option<String>,
    pub path: String,
    pub names: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementDraft {
    /// Runs beside every replica of this database; active where its primary is.
    pub follows: Option<String>,
    pub regions: Vec<String>,
    pub hosts: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectivesDraft {
    pub rto: Option<Duration>,
    pub rpo: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartDraft {
    pub delay_first: Option<Duration>,
    pub delay_max: Option<Duration>,
    pub crash_loop_failures: Option<u32>,
    pub crash_loop_within: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopDraft {
    pub drain: Option<Duration>,
    pub grace: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayDraft {
    pub name: String,
    pub regions: Vec<String>,
    pub metrics_port: Option<u16>,
    pub http: Vec<HttpListenerDraft>,
    pub tcp: Vec<TcpListenerDraft>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpListenerDraft {
    pub name: String,
    pub port: u16,
    pub tls: Option<DoorTlsDraft>,
    pub certificate_file: Option<String>,
    pub key_file: Option<String>,
    /// `platform`, or the path of a file.
    pub client_roots: Option<String>,
    pub routes: Vec<RouteDraft>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteDraft {
    pub host: Option<String>,
    pub path: String,
    pub methods: Vec<Method>,
    pub service: Option<ServiceTargetDraft>,
    pub cell: Option<CellTargetDraft>,
    pub idempotency_header: Option<String>,
    pub hold: Option<HoldDraft>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTargetDraft {
    pub name: String,
    pub port: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellTargetDraft {
    pub key_header: Option<String>,
    pub key_path_part: Option<String>,
    pub members: Vec<CellMemberDraft>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellMemberDraft {
    pub database: String,
    pub service: String,
    pub port: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldDraft {
    pub requests: Option<u32>,
    pub bytes: Option<u64>,
    pub time: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpListenerDraft {
    pub name: String,
    pub port: u16,
    pub primary_of: Option<String>,
    pub replicas_of: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleDraft {
    pub name: String,
    pub permissions: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorDraft {
    pub name: String,
    pub unix_user: Option<String>,
    pub unix_uid: Option<u32>,
    /// Whoever started the platform.
    pub unix_owner: bool,
    pub roles: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaiverDraft {
    pub name: String,
    pub service: Option<String>,
    pub gateway: Option<String>,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchDraft {
    pub enabled: Option<bool>,
    pub regions: Vec<String>,
    pub hosts: Vec<String>,
    pub port: Option<u16>,
    pub token_file: Option<String>,
    pub interval: Option<Duration>,
    pub retention: Option<Duration>,
    /// Rule files, beside the platform file unless absolute.
    pub rules: Vec<String>,
    pub targets: Vec<WatchTargetDraft>,
    pub objectives: Vec<ObjectiveDraft>,
    pub metrics: Option<MetricsServerDraft>,
    pub alerts: Option<AlertsDoorDraft>,
}

/// Where others tell of alerts that they raise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertsDoorDraft {
    pub port: u16,
    pub token_file: String,
    pub patience: Option<Duration>,
    pub ignore_labels: Vec<String>,
}

/// Who scrapes instead of the watch: a server that speaks Prometheus's API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsServerDraft {
    /// What speaks there: `prometheus`.
    pub source: String,
    pub url: String,
    pub bearer_token_file: Option<String>,
    pub user: Option<String>,
    pub password_file: Option<String>,
    pub authority_file: Option<String>,
    pub headers: BTreeMap<String, String>,
}

/// Exactly one of a gateway and expressions says what is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectiveDraft {
    pub name: String,
    /// A percentage, as text: it is decimal and exact.
    pub target: String,
    pub period: Option<Duration>,
    pub gateway: Option<String>,
    pub route: Option<String>,
    pub within: Option<Duration>,
    pub bad: Option<String>,
    pub total: Option<String>,
    /// Events a second, as text.
    pub floor: Option<String>,
    /// The longest interruption of one recovery; that of the services behind the route if absent.
    pub recovery: Option<Duration>,
    pub drill_every: Option<Duration>,
}

/// Somebody that is not of the platform, and is asked for figures all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchTargetDraft {
    pub job: String,
    pub instance: Option<String>,
    /// `HOST:PORT`, or `unix:PATH`
    pub address: String,
    pub path: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub tls: Option<TargetTlsDraft>,
    pub token_file: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetTlsDraft {
    pub authority_file: Option<String>,
    pub server_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OncallDraft {
    pub channels: Vec<ChannelDraft>,
    pub contacts: Vec<ContactDraft>,
    pub rotations: Vec<RotationDraft>,
    pub policies: Vec<PolicyDraft>,
    pub wait: Option<Duration>,
    pub remind: Option<Duration>,
}

/// Exactly one of the ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelDraft {
    pub name: String,
    pub webhook: Option<WebhookDraft>,
    pub slack: Option<SlackDraft>,
    pub pagerduty: Option<PagerdutyDraft>,
    pub email: Option<EmailDraft>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookDraft {
    pub url: String,
    pub secret_file: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlackDraft {
    pub url_file: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PagerdutyDraft {
    pub key_file: String,
    pub url: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmailDraft {
    pub to: Vec<String>,
    pub from: String,
    pub server: String,
    pub tls: EmailTls,
    pub authority_file: Option<String>,
    pub user: Option<String>,
    pub password_file: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContactDraft {
    pub operator: String,
    pub channels: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RotationDraft {
    pub name: String,
    pub operators: Vec<String>,
    pub handover: String,
    pub starts: String,
    pub overrides: Vec<OverrideDraft>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverrideDraft {
    pub operator: String,
    pub from: String,
    pub to: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyDraft {
    pub name: String,
    pub severity: Option<String>,
    pub about: Vec<String>,
    pub levels: Vec<LevelDraft>,
    pub rounds: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelDraft {
    pub tell: Vec<String>,
    pub within: Option<Duration>,
}
