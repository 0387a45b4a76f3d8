//! A keeper's forms: what it is started with, what it shows, what it is asked.
//!
//! The configuration is derived from the platform file and read once, at start. The sight line is what
//! everyone who routes lives on; the status is for people and for the node. What keepers say to each
//! other has a module of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::identity::IdentityFiles;

/// The version that this code writes, and the only one it reads.
pub const VERSION: u32 = 1;

/// Everything a keeper process is started with. Addresses are as seen from its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeeperConfig {
    pub version: u32,
    /// Of the platform; keepers that were given different ones refuse each other.
    pub platform: String,
    /// The name of the database in the platform file.
    pub database: String,
    /// Which of `replicas` this keeper is.
    pub replica: u32,
    /// Every replica, this one included, the same list on every host but for the addresses.
    pub replicas: Vec<KeeperReplica>,
    /// Of these, the ones that the platform file names no more: they shall count no longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<u32>,
    /// Copies, the primary's own included, that a commit needs on disk. Two of three for `survive: region`.
    pub copies: u32,
    /// The replica that creates the cluster, and is preferred as primary afterwards.
    pub home: u32,
    pub listen: KeeperListen,
    /// The data folder of PostgreSQL; made by the keeper.
    pub pgdata: PathBuf,
    /// The keeper's own: promise, incarnation, passwords for tools, quarantined data.
    pub folder: PathBuf,
    /// Short: sockets, the lease file.
    pub run_folder: PathBuf,
    pub control_socket: PathBuf,
    pub lease_file: PathBuf,
    /// The command that runs a shim, to which the path of a specification is added.
    pub shim: Vec<String>,
    /// Where PostgreSQL's programs are; found if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<PathBuf>,
    /// The user that runs PostgreSQL; must be set exactly when the keeper runs as root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub secrets: KeeperSecrets,
    /// Who this keeper is to others; one without does not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityFiles>,
    /// What the replica's server shows to its clients and to other servers; a keeper without does not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_identity: Option<IdentityFiles>,
    pub application: KeeperApplication,
    #[serde(default)]
    pub timings: KeeperTimings,
    /// The most that a replica which is filled anew takes from its source, in KiB a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filling_rate_kib: Option<u32>,
    /// Lines added to PostgreSQL's configuration (name and value). What the keeper itself sets wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<KeeperSetting>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeeperReplica {
    pub id: u32,
    pub host: String,
    pub region: String,
    pub peer_address: SocketAddr,
    pub postgres_address: SocketAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeeperListen {
    /// Other keepers.
    pub peer: SocketAddr,
    /// Status and sight.
    pub http: SocketAddr,
    pub postgres: SocketAddr,
}

/// Files of mode 0600, each with one password and nothing else; equal on every host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeeperSecrets {
    /// Of the role `mainstay`, a superuser that only keepers use.
    pub superuser: PathBuf,
    /// Of the role `mainstay_replication`.
    pub replication: PathBuf,
    /// Of the application's role.
    pub application: PathBuf,
}

/// The role and the database that are created for the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeeperApplication {
    pub role: String,
    pub database: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeeperSetting {
    pub name: String,
    pub value: String,
}

/// What may be tuned; an absent value is the core's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeeperTimings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_ms: Option<u64>,
    /// Silence of the primary's keeper after which a replica suspects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspicion_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recruitment_ms: Option<u64>,
}

/// One line of the sight stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    pub version: u32,
    pub database: String,
    /// The id of the replica, as in the configuration.
    pub replica: u32,
    pub host: String,
    pub region: String,
    pub role: SightRole,
    pub term: u32,
    /// This primary may serve applications.
    pub open: bool,
    /// A planned change of primary is under way: hold, do not fail.
    pub switchover: bool,
    /// Of the lease that the primary serves under; 0 for everyone else.
    pub lease_remaining_ms: u64,
    /// Flushed so far, as `16/B374D848`.
    pub lsn: String,
    /// The host of the primary, as far as this replica knows.
    pub primary: Option<String>,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SightRole {
    Primary,
    Standby,
    Learner,
    Candidate,
    Fenced,
    Starting,
    Stopped,
}

/// What `GET /v1/status` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperStatus {
    pub version: u32,
    pub platform: String,
    pub sight: Sight,
    pub paused: bool,
    pub incarnation: String,
    pub system_identifier: Option<String>,
    pub timeline: u32,
    /// The highest term promised, and to whom; 0 if none.
    pub promised_term: u32,
    pub promised_to: Option<String>,
    pub cohort: CohortStatus,
    /// As this keeper sees them; of a primary, with what each has flushed.
    pub peers: Vec<PeerStatus>,
    /// Commits are answered with fewer copies than promised, by order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solo: Option<SoloStatus>,
    /// Parts of the log that terms began without and that may have held answered commits, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<LossStatus>,
    /// While data is copied from another replica: bytes so far, and of how many.
    pub seeding: Option<SeedingStatus>,
    /// The server process, if one runs.
    pub postmaster: Option<i32>,
    /// What happened last, newest last; a bounded list.
    pub events: Vec<KeeperEvent>,
    /// `null` from a keeper of an earlier version.
    #[serde(default)]
    pub parameters: Option<ParametersStatus>,
    /// How many failovers were forced before what it belongs to.
    #[serde(default)]
    pub lineage: u32,
    /// Messages of keepers that have not left what it was before.
    #[serde(default)]
    pub left_behind: u64,
    /// What keepers of another version say that this one does not know, and passes over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_understood: Vec<NotUnderstood>,
    /// It is to be filled anew by order, and this is not begun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refill_ordered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotUnderstood {
    /// Whose keeper says it.
    pub host: Option<String>,
    /// `message weather`, `reason bored`; `other` for all beyond the first few.
    pub what: String,
    pub times: u64,
}

/// What has become of the parameters that the platform file gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParametersStatus {
    /// What the server's configuration was written with.
    pub used: Vec<KeeperSetting>,
    /// Those of which the server says that it takes them at its next start.
    pub waiting: Vec<String>,
    /// The server's programs on disk are of another build than the ones that run.
    #[serde(default)]
    pub other_programs: bool,
    /// Given lower than the log demands of a standby, so not used yet: name and the value in force.
    #[serde(default)]
    pub kept_back: Vec<KeeperSetting>,
    /// Who weakens commits behind the keeper's back, and by what.
    #[serde(default)]
    pub weakened: Vec<String>,
    /// Why nobody can tell what sessions set for themselves, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
    /// Why what the file gives is not used: the server's own words.
    #[serde(default)]
    pub refused: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CohortStatus {
    pub epoch: u64,
    /// That each commit has, and that elections rely on.
    pub copies: u32,
    /// That the platform file asks for.
    #[serde(default)]
    pub wanted_copies: u32,
    /// Of a primary: hosts of replicas that leave and that are needed for nothing any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub let_go: Vec<String>,
    /// Hosts of replicas that leave, and are needed still.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<String>,
    /// Hosts whose acknowledgement counts.
    pub members: Vec<String>,
    /// The host where the primary belongs; empty from a keeper of an earlier version.
    #[serde(default)]
    pub home: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    pub replica: u32,
    pub host: String,
    pub region: String,
    /// Milliseconds since its keeper was heard; `null` if never.
    pub heard_ms: Option<u64>,
    pub role: Option<SightRole>,
    /// What PostgreSQL says of its receiver: `streaming`, `catchup`, …
    pub state: Option<String>,
    /// The primary waits for it when it commits.
    pub acknowledges: bool,
    pub flushed: Option<String>,
    pub lag_bytes: Option<u64>,
    /// Of a primary: for so long it has sent log to it all the time, and its lag has not shrunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catches_up_in_vain_ms: Option<u64>,
    /// Of heartbeats to its keeper and back, smoothed; `null` before it was measured.
    #[serde(default)]
    pub round_trip_us: Option<u64>,
}

/// What a primary that serves alone has answered and nobody else is known to have: how much would be lost with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoloStatus {
    pub term: u32,
    /// When it was ordered, and how long ago that is.
    pub since_wall_ms: u64,
    pub since_ms: u64,
    /// Everything before this is on as many disks as promised.
    pub protected: String,
    pub unprotected_bytes: u64,
    /// Commits are answered without the quorum now; otherwise it is back, and what was answered without it is
    /// on its way there.
    pub alone: bool,
}

impl KeeperStatus {
    /// What this term began without: parts of one log, or of several.
    pub fn lost_by(&self, term: u32) -> impl Iterator<Item = &LossStatus> {
        self.losses.iter().filter(move |loss| loss.term == term)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossStatus {
    /// The term that began without it.
    pub term: u32,
    pub timeline: u32,
    pub after: String,
    /// How far it is known to have reached, and how much that is.
    pub until: Option<String>,
    pub bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedingStatus {
    pub from: String,
    pub bytes: u64,
    pub total_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperEvent {
    pub wall_ms: u64,
    pub term: u32,
    pub kind: String,
    pub detail: String,
}

/// `POST /v1/switchover`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchoverRequest {
    /// A host of the database.
    pub to: String,
}

/// What a request on the control socket led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlAnswer {
    pub accepted: bool,
    pub reason: String,
}
