//! The form of the platform file. Its doc comments are the descriptions in the JSON Schema.
//!
//! Plain structures and lists: no tags, no unions, no flattening, so that every field has one place and one
//! type, and an editor can complete it. Defaults stand in the model, not here.

pub(crate) mod coordination;
pub(crate) mod gate;
pub(crate) mod oncall;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::decode::{list, tolerant};
use crate::quantity::{Bytes, Scalar, Span};

/// A platform: what runs where, who may do what to it, and what it must survive.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PlatformFile {
    /// Version of this format.
    #[schemars(extend("const" = "mainstay/v1"))]
    #[serde(rename = "apiVersion")]
    pub(crate) _api_version: String,
    /// What the file describes.
    #[schemars(extend("const" = "Platform"))]
    #[serde(rename = "kind")]
    pub(crate) _kind: String,
    #[serde(deserialize_with = "tolerant")]
    pub(crate) metadata: Metadata,
    #[serde(deserialize_with = "tolerant")]
    pub(crate) spec: Spec,
}

/// What the platform is called.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Metadata {
    /// Lower-case letters, digits and '-', at most 32. Names of everything else follow the same rule.
    pub(crate) name: String,
}

/// The platform itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Spec {
    #[serde(deserialize_with = "tolerant")]
    pub(crate) environment: Environment,
    /// Sites that are lost as a whole. Append new ones at the end: addresses follow the order.
    #[serde(deserialize_with = "list")]
    pub(crate) regions: Vec<Region>,
    /// Round trips between regions; a pair that is not listed is at distance zero.
    #[serde(default, deserialize_with = "list")]
    pub(crate) distances: Vec<Distance>,
    /// Machines. Append new ones at the end: addresses follow the order within a region.
    #[serde(deserialize_with = "list")]
    pub(crate) hosts: Vec<Host>,
    /// PostgreSQL databases. Each is a cell: one piece of data with one writer.
    #[serde(default, deserialize_with = "list")]
    pub(crate) databases: Vec<Database>,
    /// Programs that are kept running.
    #[serde(default, deserialize_with = "list")]
    pub(crate) services: Vec<Service>,
    /// Where clients enter.
    #[serde(default, deserialize_with = "list")]
    pub(crate) gateways: Vec<Gateway>,
    /// Sets of permissions.
    #[serde(default, deserialize_with = "list")]
    pub(crate) roles: Vec<Role>,
    /// Who may give commands.
    #[serde(default, deserialize_with = "list")]
    pub(crate) operators: Vec<Operator>,
    /// Single points of failure that somebody accepted.
    #[serde(default, deserialize_with = "list")]
    pub(crate) waivers: Vec<Waiver>,
    /// Asks everybody for their figures, follows rules and raises alerts. Off if absent.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) watch: Option<Watch>,
    /// How documents for Chaos Mesh mean this platform (docs/chaos.md).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) chaos: Option<Chaos>,
    /// Who is called when something is wrong. Nobody if absent.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) oncall: Option<oncall::Oncall>,
    /// What it costs while requests fail; reports of incidents reckon with it.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) cost_per_minute: Option<CostPerMinute>,
    /// Where the journal stands. In a folder of the machine if absent.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) coordination: Option<coordination::Coordination>,
    /// Files of playbooks; paths beside this file unless absolute. `mainstay up` puts them in force with their texts, and
    /// retires those that are named no more (docs/playbooks.md).
    #[serde(default, deserialize_with = "list")]
    pub(crate) playbooks: Vec<String>,
    /// What must be measured to be well before somebody changes, moves or rehearses something (docs/gates.md).
    #[serde(default, deserialize_with = "list")]
    pub(crate) gates: Vec<gate::Gate>,
}

/// For each minute in which every request fails; a minute in which half of them do costs half of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CostPerMinute {
    /// Three letters, as in `EUR` (ISO 4217).
    pub(crate) currency: String,
    /// Of the platform as a whole, such as `1200` or `12.50`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) platform: Option<Scalar>,
    /// Of single services, by the routes that lead to them. Told apart from the platform's, not added to it.
    #[serde(default, deserialize_with = "list")]
    pub(crate) services: Vec<ServiceCost>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ServiceCost {
    pub(crate) service: String,
    /// Such as `1200` or `12.50`.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) amount: Scalar,
}

/// How documents for Chaos Mesh mean this platform, and how deep faults may reach.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Chaos {
    /// Namespaces that stand for this platform, besides its own name.
    #[serde(default, deserialize_with = "list")]
    pub(crate) namespaces: Vec<String>,
    /// Whether a service reaches the database server on its own host through a wire, so that the two can be slowed or
    /// parted (default false). It costs each query one more hop.
    #[serde(default)]
    pub(crate) inner_wires: Option<bool>,
    /// Labels that instances of services have in such documents.
    #[serde(default, deserialize_with = "list")]
    pub(crate) labels: Vec<ServiceLabels>,
}

/// Labels of a service's instances.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ServiceLabels {
    pub(crate) service: String,
    /// As the documents select them, such as `app: trading-service`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) labels: BTreeMap<String, String>,
}

/// One process on each of the places named here. Each asks everybody itself and shares nothing with the others, so
/// that the loss of one place leaves the rest seeing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Watch {
    /// Whether it runs (default true).
    #[serde(default)]
    pub(crate) enabled: Option<bool>,
    /// A watch on the first host of each of these regions.
    #[serde(default, deserialize_with = "list")]
    pub(crate) regions: Vec<String>,
    /// A watch on each of these hosts.
    #[serde(default, deserialize_with = "list")]
    pub(crate) hosts: Vec<String>,
    /// Where it answers questions in the form of Prometheus's API, over TLS, to processes of the platform and to whoever
    /// shows the token of `tokenFile`; watches ask each other there. Without one, `mainstay query` asks over a socket of the host.
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// Absolute path of a file of mode 0600 on every host of a watch: the token by which outsiders such as Grafana may ask.
    #[serde(default)]
    pub(crate) token_file: Option<String>,
    /// From one question to the next (default `5s`), `100ms` to `2m`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) interval: Option<Span>,
    /// How long samples are kept (default `1d`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) retention: Option<Span>,
    /// Rule files of Prometheus, plain or wrapped for Kubernetes; paths beside this file unless absolute. `mainstay
    /// up` takes a copy of each.
    #[serde(default, deserialize_with = "list")]
    pub(crate) rules: Vec<String>,
    /// Whom to ask besides nodes, keepers, gateways and services.
    #[serde(default, deserialize_with = "list")]
    pub(crate) targets: Vec<WatchTarget>,
    /// Shares of events that must be good. Budgets and alerts follow from them.
    #[serde(default, deserialize_with = "list")]
    pub(crate) objectives: Vec<Objective>,
    /// Who scrapes instead of the watch: nobody is then asked for figures but this server.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) metrics: Option<MetricsServer>,
    /// Where others, such as a Prometheus, tell of alerts that they raise: in the form of Alertmanager's API.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) alerts: Option<AlertsDoor>,
}

/// Over TLS, to whoever has a leaf of the platform's authority or shows the token.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct AlertsDoor {
    /// Of every host with a watch.
    pub(crate) port: u16,
    /// Absolute path of a file of mode 0600 that holds the token.
    pub(crate) token_file: String,
    /// How long a sender is believed that says no end (default `5m`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) patience: Option<Span>,
    /// Labels by which replicas of one sender differ, such as `replica`.
    #[serde(default, deserialize_with = "list")]
    pub(crate) ignore_labels: Vec<String>,
}

/// A server that speaks Prometheus's API. It is told who asks by a token, by a user with a password, or not.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct MetricsServer {
    /// `prometheus`
    pub(crate) source: String,
    /// `https://…`, or `http://…`: below which `/api/v1` is.
    pub(crate) url: String,
    /// Absolute path of a file of mode 0600 that holds the token.
    #[serde(default)]
    pub(crate) bearer_token_file: Option<String>,
    /// The name that is shown with the password.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// Absolute path of a file of mode 0600 that holds the password.
    #[serde(default)]
    pub(crate) password_file: Option<String>,
    /// Absolute path of a PEM file: whom the server must be certified by, instead of whom the system trusts.
    #[serde(default)]
    pub(crate) authority_file: Option<String>,
    /// Said with every question, such as the tenant whose samples are asked for (`X-Scope-OrgID: desk`). No secrets.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) headers: BTreeMap<String, String>,
}

/// What is counted is said by a `gateway` (and a `route`, and `within`), or by the expressions `bad` and `total`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Objective {
    pub(crate) name: String,
    /// The share of good events, a percentage such as 99.95.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) target: Scalar,
    /// Over which it must hold (default `30d`), `7d` to `92d`, moving with time.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) period: Option<Span>,
    /// Its requests are counted; bad are those answered with a status from 500 upwards.
    #[serde(default)]
    pub(crate) gateway: Option<String>,
    /// Only requests of the route with this path.
    #[serde(default)]
    pub(crate) route: Option<String>,
    /// Bad are those whose answer begins later than this: `125us` doubled any number of times, such as `256ms`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) within: Option<Span>,
    /// PromQL: bad events in a second, with `[$window]` for the range and no labels left.
    #[serde(default)]
    pub(crate) bad: Option<String>,
    /// PromQL: all events in a second, likewise.
    #[serde(default)]
    pub(crate) total: Option<String>,
    /// Alerts say nothing while fewer events than this come in a second (default 1).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) floor: Option<Scalar>,
    /// How long one recovery may interrupt; by default the longest `rto` of the services behind the route.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) recovery: Option<Span>,
    /// How often a loss is rehearsed, each time at the cost of one recovery.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) drill_every: Option<Span>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct WatchTarget {
    /// What kind of thing it is: the label `job`.
    pub(crate) job: String,
    /// Which one: the label `instance`; the address if absent.
    #[serde(default)]
    pub(crate) instance: Option<String>,
    /// `HOST:PORT`, asked in the clear unless `tls` says how, or `unix:/PATH` of a socket on the watch's host.
    pub(crate) address: String,
    /// Default `/metrics`.
    #[serde(default)]
    pub(crate) path: Option<String>,
    /// Further labels of its series.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) labels: BTreeMap<String, String>,
    /// Asked over TLS; `{}` for whoever the system trusts to be `HOST`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) tls: Option<TargetTls>,
    /// Absolute path of a file of mode 0600 on every host of a watch: the token that it is shown (`Authorization: Bearer`).
    #[serde(default)]
    pub(crate) token_file: Option<String>,
}

/// Who a target must prove to be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct TargetTls {
    /// Absolute path of a PEM file on every host of a watch: whom it must be certified by, instead of whom the system trusts.
    #[serde(default)]
    pub(crate) authority_file: Option<String>,
    /// The name, or the address, in its certificate; the `HOST` of its address if absent.
    #[serde(default)]
    pub(crate) server_name: Option<String>,
}

/// What kind of place this platform is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Environment {
    /// Such as `development`, `staging`, `production`.
    pub(crate) name: String,
    /// In production, faults are refused unless somebody with `fault.approve` approves them.
    #[serde(default)]
    pub(crate) production: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Region {
    /// Such as `us-east-1`.
    pub(crate) name: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Distance {
    /// Two different regions.
    #[serde(deserialize_with = "list")]
    #[schemars(extend("minItems" = 2, "maxItems" = 2))]
    pub(crate) between: Vec<String>,
    /// There and back. Half of it is added in each direction by the wires between the regions.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) round_trip: Span,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Host {
    pub(crate) name: String,
    /// The region it stands in.
    pub(crate) region: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Database {
    /// Also the name of the cell, and of the database inside PostgreSQL.
    pub(crate) name: String,
    /// The region where the primary belongs when all is well. A replica must stand there.
    pub(crate) home: String,
    /// What may be lost at once without losing an acknowledged transaction.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) survive: Survive,
    #[serde(deserialize_with = "tolerant")]
    pub(crate) ports: DatabasePorts,
    /// The most that a replica which is filled anew takes from its source in a second, `32KiB` to `1GiB`; not
    /// limited if absent.
    #[serde(default)]
    pub(crate) filling_rate: Option<Bytes>,
    /// At least three, in three regions, to survive the loss of a region.
    #[serde(deserialize_with = "list")]
    pub(crate) replicas: Vec<Replica>,
    /// How it is put away. An empty section (`backup: {}`) is a daily backup, proven daily, kept for 90 days.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) backup: Option<Backup>,
    /// Parameters of PostgreSQL, by its own names, such as `work_mem: 8MB`. Those that the keeper owns are refused.
    /// A changed one is taken by a reload where that is enough, otherwise by restarts, one server after the other.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) parameters: BTreeMap<String, Scalar>,
}

/// Base backups and the log after them, sealed, so that any moment can be brought back.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Backup {
    /// Absolute paths of folders, or `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`; at most two: the
    /// loss of one of two is survived. Default: `backups` in the data folder, which protects against mistakes and not
    /// against the loss of the disk. Keys of clouds stand in `DATA/secrets/DATABASE-store-credentials`, never here.
    #[serde(default, deserialize_with = "list")]
    pub(crate) stores: Vec<String>,
    /// How stores in clouds are reached.
    #[serde(default, deserialize_with = "list")]
    pub(crate) store_options: Vec<StoreOptions>,
    /// From one base backup to the next (default `1d`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) every: Option<Span>,
    /// From one proof by restoring to the next (default `1d`); `0` for none.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) prove_every: Option<Span>,
    /// The log is put away at the latest after this time (default `10s`): what is lost with all hosts at once.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) log_every: Option<Span>,
    /// Every moment this far back can be restored (default `90d`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) keep_for: Option<Span>,
    /// So many base backups stay, however old (default 2). The last proven one stays in any case.
    #[serde(default)]
    pub(crate) keep_count: Option<u32>,
    /// Log that waits longer than this to be put away is an alarm in `mainstay status` (default `2m`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) alarm_after: Option<Span>,
    /// So much log may wait on the primary's host while no store takes it (default `4GiB`). Beyond it the archive gets a
    /// hole and an alarm, because a full disk would stop the database.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) backlog_limit: Option<Bytes>,
    /// Where archivers tell their figures to watches, over TLS and to processes of the platform alone. Without one, no watch
    /// asks them.
    #[serde(default)]
    pub(crate) metrics_port: Option<u16>,
}

/// How one of `stores` is reached.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct StoreOptions {
    /// As it stands in `stores`.
    pub(crate) store: String,
    /// Of the bucket; S3 only.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// Where the service answers, if that does not follow from the scheme, such as `https://minio.example.com`.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// Speak to an `http://` endpoint, in the clear (objects are sealed; requests could still be repeated or dropped).
    #[serde(default)]
    pub(crate) allow_http: bool,
}

/// What may be lost at once: nothing, any one host, any one region.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Survive {
    /// The primary acknowledges alone; losing it loses what was not copied yet.
    None,
    /// A commit is on the disks of a majority of replicas.
    Host,
    /// A commit is on the disks of a majority of replicas, and no region has so many that the rest is no majority.
    #[default]
    Region,
}

/// On the second host of a region each port is one higher, on the third two, and so on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct DatabasePorts {
    /// PostgreSQL.
    pub(crate) postgres: u16,
    /// Keeper to keeper.
    pub(crate) peer: u16,
    /// The keeper's HTTP: its status, and the stream of what it sees.
    pub(crate) sight: u16,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Replica {
    /// The host that keeps this copy.
    pub(crate) host: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Service {
    pub(crate) name: String,
    /// Program and leading arguments. A program without a slash is looked up beside Mainstay's own first,
    /// then on the search path.
    #[serde(deserialize_with = "list")]
    pub(crate) command: Vec<String>,
    /// Further arguments.
    #[serde(default, deserialize_with = "list")]
    pub(crate) arguments: Vec<String>,
    /// Environment variables; values are texts. `MAINSTAY_…` and `PG…` are set by Mainstay.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) environment: BTreeMap<String, String>,
    /// The first is the main one: the instance listens there (`MAINSTAY_LISTEN`).
    #[serde(default, deserialize_with = "list")]
    pub(crate) ports: Vec<Port>,
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) probes: Probes,
    /// How many instances (default 1), at most one on each host. Not with `placement.follows`.
    #[serde(default)]
    pub(crate) replicas: Option<u16>,
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) placement: Placement,
    /// Where its instances give their figures. The watch asks there.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) metrics: Option<Metrics>,
    /// In which modes it can be, for playbooks that change it. Only with `placement: {follows: …}`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) modes: Option<Modes>,
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) objectives: Objectives,
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) restart: Restart,
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) stop: Stop,
}

/// On the second host of a region the port is one higher, on the third two, and so on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Port {
    pub(crate) name: String,
    /// Unique on the whole platform.
    pub(crate) port: u16,
    /// Who may speak to it. In the clear if absent, which `mainstay validate` mentions.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) tls: Option<PortTls>,
}

/// What a gateway shows to the clients of an HTTP listener.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum DoorTls {
    /// Nothing: clients speak in the clear.
    #[default]
    None,
    /// Its leaf of the platform's authority; clients believe `DATA/secrets/authority/roots.pem`.
    Platform,
    /// What `certificateFile` and `keyFile` hold.
    Files,
}

/// How a port of a service is spoken to.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum PortTls {
    /// In the clear, by whoever reaches it.
    #[default]
    None,
    /// TLS 1.3, by gateways, probes and watches of this platform alone. The instance shows the leaf that
    /// `MAINSTAY_TLS_IDENTITY` names, reads it again when it changes, and refuses whoever shows none by a root of
    /// `MAINSTAY_TLS_ROOTS`.
    Platform,
}

/// How Mainstay asks an instance how it is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Probes {
    /// Until it succeeds once, the others do not count.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) startup: Option<Probe>,
    /// Whether requests may come. Needed by every service that a route leads to.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) readiness: Option<Probe>,
    /// Whether the instance must be restarted.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) liveness: Option<Probe>,
}

/// An HTTP GET that must answer with a status from 200 to 399.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Probe {
    /// Name of a port of the service; the first if absent.
    #[serde(default)]
    pub(crate) port: Option<String>,
    /// Such as `/health/ready`.
    pub(crate) path: String,
    /// From one probe to the next.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) period: Option<Span>,
    /// After which an unanswered probe has failed.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) timeout: Option<Span>,
    /// Consecutive failures that make the verdict.
    #[serde(default)]
    pub(crate) failures: Option<u32>,
}

/// Text format of Prometheus or OpenMetrics.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Metrics {
    /// Name of a port of the service; the first if absent.
    #[serde(default)]
    pub(crate) port: Option<String>,
    /// Default `/metrics`.
    #[serde(default)]
    pub(crate) path: Option<String>,
}

/// The active instance tells the mode it is in (`GET`) and is told another one (`PUT`); only nodes of the platform may.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Modes {
    /// Default: the first port. It needs `tls: platform`.
    #[serde(default)]
    pub(crate) port: Option<String>,
    /// Outside of every path that a gateway's route leads to.
    pub(crate) path: String,
    /// The ordinary one first.
    #[serde(deserialize_with = "list")]
    pub(crate) names: Vec<String>,
}

/// Where instances may run: anywhere, unless something is said here.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Placement {
    /// A database: one instance beside each of its replicas, active where the primary is.
    #[serde(default)]
    pub(crate) follows: Option<String>,
    /// Only in these regions.
    #[serde(default, deserialize_with = "list")]
    pub(crate) regions: Vec<String>,
    /// Only on these hosts.
    #[serde(default, deserialize_with = "list")]
    pub(crate) hosts: Vec<String>,
}

/// What is expected of the service when something is lost.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Objectives {
    /// Recovery time: the longest interruption.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) rto: Option<Span>,
    /// Recovery point: how much acknowledged work may be lost; `0s` for none.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) rpo: Option<Span>,
}

/// How fast an instance that ended is started again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Restart {
    /// Before the first restart (default `100ms`); doubles from one to the next.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) delay_first: Option<Span>,
    /// The longest (default `10s`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) delay_max: Option<Span>,
    /// So many ends within `crashLoopWithin` are called a crash loop (default 5).
    #[serde(default)]
    pub(crate) crash_loop_failures: Option<u32>,
    /// Default `60s`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) crash_loop_within: Option<Span>,
}

/// How an instance is stopped: out of routing, `drain`, SIGTERM, `grace`, SIGKILL.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Stop {
    /// Default `500ms`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) drain: Option<Span>,
    /// Default `10s`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) grace: Option<Span>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Gateway {
    pub(crate) name: String,
    /// It runs on every host of these regions.
    #[serde(deserialize_with = "list")]
    pub(crate) regions: Vec<String>,
    /// Where it tells its figures, to processes of the platform only: the watch asks there. On the second host of a
    /// region the port is one higher, on the third two, and so on.
    #[serde(default)]
    pub(crate) metrics_port: Option<u16>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) http: Vec<HttpListener>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) tcp: Vec<TcpListener>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct HttpListener {
    pub(crate) name: String,
    /// The same on every host.
    pub(crate) port: u16,
    /// What clients are shown. They speak in the clear if absent, which `mainstay validate` mentions.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) tls: Option<DoorTls>,
    /// With `tls: files`: an absolute path on every host, PEM; the certificate first, then those between it and its root.
    /// Read again when it changes.
    #[serde(default)]
    pub(crate) certificate_file: Option<String>,
    /// With `tls: files`: an absolute path on every host, PEM; it may be the same file.
    #[serde(default)]
    pub(crate) key_file: Option<String>,
    /// Only clients with a certificate by these roots are answered: an absolute path of a PEM file, or `platform` for the
    /// platform's own authority. Everybody is if absent.
    #[serde(default)]
    pub(crate) client_roots: Option<String>,
    /// The most specific match wins: host before no host, longer path before shorter.
    #[serde(deserialize_with = "list")]
    pub(crate) routes: Vec<Route>,
}

/// Which requests go where. Exactly one of `service` and `cell`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Route {
    /// Host header without port; any if absent.
    #[serde(default)]
    pub(crate) host: Option<String>,
    /// A prefix of whole segments, such as `/v1/cells/{cell}`.
    pub(crate) path: String,
    /// Any if absent.
    #[serde(default, deserialize_with = "list")]
    pub(crate) methods: Vec<Method>,
    /// Any ready instance of a service.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) service: Option<ServiceTarget>,
    /// The active instance of the cell that the request names.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) cell: Option<CellTarget>,
    /// A header that makes repeating a request safe. Without it, only requests whose method is idempotent
    /// are repeated after an unknown outcome.
    #[serde(default)]
    pub(crate) idempotency_header: Option<String>,
    /// How much may wait while a cell fails over. Only with `cell`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) hold: Option<Hold>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ServiceTarget {
    pub(crate) name: String,
    /// Name of a port of the service; the first if absent.
    #[serde(default)]
    pub(crate) port: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CellTarget {
    #[serde(deserialize_with = "tolerant")]
    pub(crate) key: CellKey,
    #[serde(deserialize_with = "list")]
    pub(crate) members: Vec<CellMember>,
}

/// Where a request names its cell. Exactly one of the two.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CellKey {
    /// The value of this header is the name of the cell.
    #[serde(default)]
    pub(crate) header: Option<String>,
    /// The part of the path that is the name of the cell: `cell` for `/v1/cells/{cell}`.
    #[serde(default)]
    pub(crate) path_part: Option<String>,
}

/// A cell that the route leads to; it bears the name of its database.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CellMember {
    pub(crate) database: String,
    /// The service that follows the database.
    pub(crate) service: String,
    /// Name of a port of the service; the first if absent.
    #[serde(default)]
    pub(crate) port: Option<String>,
}

/// Requests that wait while a cell fails over, in each gateway.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Hold {
    /// Default 10000.
    #[serde(default)]
    pub(crate) requests: Option<u32>,
    /// Default `64MiB`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) bytes: Option<Bytes>,
    /// Default `15s`; a request's own deadline ends its wait earlier.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) time: Option<Span>,
}

/// A port that leads to a database. Exactly one of `primaryOf` and `replicasOf`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct TcpListener {
    pub(crate) name: String,
    /// The same on every host.
    pub(crate) port: u16,
    /// Sessions are cut when this database's primary is demoted.
    #[serde(default)]
    pub(crate) primary_of: Option<String>,
    /// For reading; what is read may be old.
    #[serde(default)]
    pub(crate) replicas_of: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Role {
    pub(crate) name: String,
    /// Such as `status.read`, `journal.read`, `platform.apply`, `platform.stop`, `automation.pause`,
    /// `database.switchover`, `database.solo`, `database.failover`, `fault.inject`, `fault.clear`, `fault.approve`,
    /// `gate.override`, `incident.manage`; `*` for all of them.
    #[serde(deserialize_with = "list")]
    pub(crate) permissions: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Operator {
    /// Stands in the journal beside each command.
    pub(crate) name: String,
    #[serde(deserialize_with = "tolerant")]
    pub(crate) unix: UnixIdentity,
    #[serde(deserialize_with = "list")]
    pub(crate) roles: Vec<String>,
}

/// How the operator is recognised on a host. Exactly one of the three.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct UnixIdentity {
    /// Name of a Unix user.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// Number of a Unix user.
    #[serde(default)]
    pub(crate) uid: Option<u32>,
    /// Whoever started the platform.
    #[serde(default)]
    pub(crate) owner: bool,
}

/// A single point of failure that somebody accepted. Exactly one of `service` and `gateway`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Waiver {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) service: Option<String>,
    #[serde(default)]
    pub(crate) gateway: Option<String>,
    /// Why the risk is acceptable, and who decided it.
    pub(crate) reason: String,
}
