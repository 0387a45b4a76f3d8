//! What a watch is started with: whom it asks, which rules it follows, where it keeps what it saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::identity::IdentityFiles;

/// The version that this code writes, and the only one it reads.
pub const VERSION: u32 = 1;

/// Everything that a watch is started with. Addresses are as seen from its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {
    pub version: u32,
    pub platform: String,
    /// Where this watch runs.
    pub host: String,
    /// Where it answers questions, in the form of Prometheus: to processes of the platform if it has an identity and
    /// to whoever shows the token if there is one; without either, to everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Of mode 0600: the token of those who ask there and have no leaf of the platform's authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Where it answers the same to people and programs of its host that may open the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// What it proves itself with to targets that have a `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityFiles>,
    /// Its own: samples and the state of alerts.
    pub folder: PathBuf,
    /// From one attempt to the next, and from one evaluation to the next where a group says nothing else.
    pub interval_ms: u64,
    /// How long samples are kept.
    pub retention_ms: u64,
    /// Series that are kept longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longer: Option<WatchLonger>,
    /// Rule files, absolute paths.
    #[serde(default)]
    pub rules: Vec<PathBuf>,
    pub targets: Vec<WatchTarget>,
    /// Who scrapes instead: a server that speaks Prometheus's API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<WatchServer>,
    /// Where others tell of alerts that they raise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<WatchAlerts>,
}

/// A door for alerts, in the form of Alertmanager's API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchAlerts {
    pub listen: SocketAddr,
    /// Of mode 0600: the token of senders that have no leaf of the platform's authority.
    pub token_file: PathBuf,
    /// How long a sender is believed that says no end.
    pub patience_ms: u64,
    /// Labels by which replicas of one sender differ.
    #[serde(default)]
    pub ignore_labels: Vec<String>,
    /// The socket of this host's node, which keeps silences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_socket: Option<PathBuf>,
}

/// A server that speaks Prometheus's API, and how a watch proves to it who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchServer {
    /// Below which `/api/v1` is.
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ServerProof>,
    /// PEM: whom the server must be certified by, instead of whom the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_file: Option<PathBuf>,
    /// Said with every question.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// Secrets stand in files of mode 0600.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum ServerProof {
    Bearer {
        token_file: PathBuf,
    },
    Basic {
        user: String,
        password_file: PathBuf,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchLonger {
    /// Of their names.
    pub prefix: String,
    pub retention_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchTarget {
    pub job: String,
    pub instance: String,
    /// `HOST:PORT`, or `unix:PATH`
    pub address: String,
    /// What the target must prove to be, over TLS. Without it the target is asked in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub path: String,
    /// Besides `job` and `instance`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Over TLS to somebody who is not of the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TargetTls>,
    /// Of mode 0600: the token that the target is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetTls {
    /// A name or an address: what the target must be certified to be.
    pub server_name: String,
    /// PEM: whom it must be certified by, instead of whom the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_file: Option<PathBuf>,
}

/// What a watch shows to the node of its host: `GET /v1/board`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchBoard {
    pub version: u32,
    pub host: String,
    pub at_ms: u64,
    /// Since when it remembers its alerts: later than an alert only if it lost its memory meanwhile.
    pub begun_ms: u64,
    /// Every rule was evaluated since it came up.
    pub evaluated: bool,
    pub targets: u32,
    /// `JOB INSTANCE` of those that gave nothing for two intervals.
    pub silent: Vec<String>,
    /// Names of the alerts that its rules can raise.
    pub rules: Vec<String>,
    /// Rule files that it does not follow as they stand, with the reason.
    pub refused: Vec<String>,
    /// What it follows: SHA-256 of each file as it was read, by the file's name. A watch of an earlier version does not say.
    #[serde(default)]
    pub followed: Option<BoardRules>,
    /// Whether others tell it of alerts, whose rules it does not know.
    #[serde(default)]
    pub receives: bool,
    /// Those that stand and those that ended of late; the most important first, bounded.
    pub alerts: Vec<BoardAlert>,
    /// None of them was left out, so that one that is not among them is not there. A watch of an earlier version does not
    /// say, and nothing is concluded.
    #[serde(default)]
    pub whole: bool,
    /// What keeps it from seeing, or from telling, all that it should.
    #[serde(default)]
    pub troubles: Vec<String>,
    /// What its rules measured last of each objective.
    #[serde(default)]
    pub budgets: Vec<BoardBudget>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardRules {
    pub since_ms: u64,
    pub files: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardBudget {
    pub objective: String,
    /// In millionths of the budget: a million if nothing is spent, negative if more than all is.
    pub left_millionths: i64,
    /// In thousandths of what the budget bears for its period, over the last hour.
    #[serde(default)]
    pub burn_1h_thousandths: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardAlert {
    /// `Name{label="value"}`
    pub alert: String,
    /// With the name, as `alertname`.
    pub labels: BTreeMap<String, String>,
    pub state: BoardState,
    /// Another one raised it, and told of it.
    #[serde(default)]
    pub received: bool,
    /// It ended without having been measured: no target that is asked could tell of it any more.
    #[serde(default)]
    pub unasked: bool,
    pub summary: String,
    pub value: String,
    /// When its condition began to hold, when it fired, and when it came into this state.
    pub active_ms: u64,
    pub fired_ms: Option<u64>,
    pub changed_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoardState {
    Firing,
    Missing,
    Pending,
    Resolved,
}
