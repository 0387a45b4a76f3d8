//! Backups: what an archiver is started with, and what stands in the archive beside the data.
//!
//! All of the second kind are sealed objects; their forms are versioned like everything that outlives a program.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::identity::IdentityFiles;

/// The version that this code writes, and the only one it reads.
pub const VERSION: u32 = 1;

/// The slot from which an archiver's receiver reads, on the primary only.
pub const RECEIVED_SLOT: &str = "mainstay_archive";
/// The slot that holds back log which no store has yet, on every server.
pub const KEPT_SLOT: &str = "mainstay_archive_kept";
/// In an archiver's folder: the script that PostgreSQL's `archive_command` runs with a segment's path and name.
pub const HAND_OVER: &str = "hand-over";

/// Everything that an archiver, or a command about an archive, is started with. Addresses are as seen from its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupConfig {
    pub version: u32,
    pub platform: String,
    /// The name of the database in the platform file.
    pub database: String,
    /// The application's database inside PostgreSQL.
    pub application: String,
    /// Where this archiver runs; it works while the primary is here.
    pub host: String,
    pub servers: Vec<BackupServer>,
    /// The archiver's own: spool, scratch server, state.
    pub folder: PathBuf,
    /// Short: sockets of the scratch server.
    pub run_folder: PathBuf,
    /// The master key's file.
    pub key: PathBuf,
    /// One folder or URL, or two.
    pub stores: Vec<String>,
    /// Of the URLs among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub store_options: Vec<StoreOptionsRecord>,
    /// The file that may hold what proves us to the clouds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<PathBuf>,
    /// The user that runs PostgreSQL; must be set exactly when Mainstay runs as root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file with the password of the keepers' role.
    pub password: PathBuf,
    /// Who this archiver is to keepers; without, keepers of other hosts are asked in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityFiles>,
    pub schedule: BackupSchedule,
    pub retention: BackupRetention,
    #[serde(default)]
    pub limits: BackupLimits,
    /// Where it tells its figures: over TLS to processes of the platform, if it has an identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
}

/// How a store in a cloud is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreOptionsRecord {
    pub store: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default)]
    pub allow_http: bool,
}

/// How far the archive may fall behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupLimits {
    /// Log that waits longer is an alarm.
    pub alarm_ms: u64,
    /// Log that may wait on the primary's host.
    pub backlog_bytes: u64,
    /// Of its disk, what a proof leaves to the server beside it.
    #[serde(default = "usual_reserve", skip_serializing_if = "is_usual_reserve")]
    pub reserve_bytes: u64,
}

/// As much as the archive's slots may hold back of the log.
const fn usual_reserve() -> u64 {
    2 << 30
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_usual_reserve(bytes: &u64) -> bool {
    *bytes == usual_reserve()
}

impl Default for BackupLimits {
    fn default() -> Self {
        Self {
            alarm_ms: 120_000,
            backlog_bytes: 4 << 30,
            reserve_bytes: usual_reserve(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupServer {
    pub host: String,
    /// The keeper's status.
    pub sight: SocketAddr,
    pub postgres: SocketAddr,
    /// The server of the archiver's own host is reached by sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<BackupLocal>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupLocal {
    /// The keeper's control socket.
    pub control: PathBuf,
    /// The folder of PostgreSQL's socket.
    pub sockets: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupSchedule {
    /// From one base backup to the next.
    pub base_ms: u64,
    /// From one proof to the next; 0 for none.
    pub proof_ms: u64,
    /// From one upload of the unfinished segment to the next: the most that is lost with all hosts.
    pub log_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRetention {
    /// Every moment this far back stays within reach.
    pub period_ms: u64,
    /// So many base backups stay, however old.
    pub count: u32,
}

/// What an archive is of. Written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRecord {
    pub version: u32,
    pub archive: String,
    pub platform: String,
    pub database: String,
    pub system_identifier: u64,
    pub segment_bytes: u64,
    pub created_ms: u64,
}

/// A numbered row that was committed, with what the application's books said then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRecord {
    pub number: u64,
    pub at_ms: u64,
    /// Of this row and all before it, hexadecimal.
    pub digest: String,
    /// Before this position every mark with a lower number was committed, and this one was not.
    pub lsn: String,
    /// What the books said, as JSON; empty if there are none that are known.
    pub totals: String,
}

/// A base backup; the last object of its set, so that a set without it is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRecord {
    pub version: u32,
    pub id: String,
    /// The host that it was copied from, and whether that was a standby.
    pub host: String,
    pub standby: bool,
    pub timeline: u32,
    pub start_lsn: String,
    pub stop_lsn: String,
    pub started_ms: u64,
    pub stopped_ms: u64,
    pub parts: u32,
    /// Of the tar, before compression.
    pub bytes: u64,
    /// SHA-256 of the tar, hexadecimal.
    pub sha256: String,
    /// The server's, as it says it itself. Earlier versions put here what `pg_basebackup --version` says.
    pub server_version: String,
    /// Committed before the copy began.
    pub mark: Option<MarkRecord>,
}

/// What a restore showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofRecord {
    pub version: u32,
    pub backup: String,
    pub at_ms: u64,
    /// The moment whose state was there at the end.
    pub restored_ms: u64,
    pub timeline: u32,
    pub lsn: String,
    /// From the first byte read to a server that accepts writes, checks not counted.
    pub rto_ms: u64,
    /// What would have been lost, had every host vanished when the archive was read: from the newest restored mark
    /// until then. `null` if no server lived to tell that there was more.
    pub rpo_ms: Option<u64>,
    /// One sentence for each thing that was shown.
    pub shown: Vec<String>,
    /// Places in the log, before its end, to which it was played and stopped. Versions before this was told do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visited: Option<u32>,
    /// The store that everything was read from. None if it took another one to help out, or nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// What that store did not have whole, though another did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacked: Option<String>,
    /// So many of those objects could not be put there again.
    #[serde(default, skip_serializing_if = "is_none")]
    pub lacking: u64,
}

impl ProofRecord {
    /// Whether the log was played to a position and to a moment, too, and not to its end only.
    pub fn is_full(&self) -> bool {
        self.visited != Some(0)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// A restored folder that a new platform's database begins with, instead of with nothing. Stands beside the folder for good:
/// while it does, no other cluster is ever created in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedRecord {
    pub version: u32,
    pub database: String,
    /// Of the cluster; it is the original's, as a copy's always is.
    pub system_identifier: u64,
    /// The backup and the archive that it was restored from.
    pub backup: String,
    pub from_archive: String,
    /// The archive that it belongs to from now on.
    pub archive: String,
    pub timeline: u32,
    pub lsn: String,
    /// Everything that was committed before this moment came back; `None` if no mark did.
    #[serde(default)]
    pub marked_ms: Option<u64>,
    pub restored_ms: u64,
}

/// What a rebuild that is not over was asked for; in the data folder. While it is there, the same command goes on with what it
/// finds, whatever lives there by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebuildRecord {
    pub version: u32,
    pub to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// As given; empty where the platform file says it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<String>,
}

/// Names of a seed's folder and of its record, in the keeper's own folder.
pub const SEED: [&str; 2] = ["seed", "seed.json"];

/// A named place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointRecord {
    pub version: u32,
    pub name: String,
    pub lsn: String,
    pub timeline: u32,
    pub at_ms: u64,
}

/// What was last done with an archive, for the journal; in the archiver's folder, one file for each kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldRecord {
    pub version: u32,
    pub database: String,
    pub at_ms: u64,
    pub deed: crate::event::ArchiveDeedRecord,
}

/// Names of the files of [`ToldRecord`]s.
pub const TOLD: [&str; 3] = ["told-backup.json", "told-proof.json", "told-alarm.json"];

/// What an archiver last wrote about itself, in its folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiverState {
    pub version: u32,
    pub at_ms: u64,
    /// The primary is here, and log is being received.
    pub receiving: bool,
    /// As far as every store has it.
    pub shipped_lsn: Option<String>,
    pub shipped_ms: u64,
    /// Somebody must look: split brain, a hole, a store that refuses.
    pub alarm: Option<String>,
    /// Of that, what keeps the log from being put away.
    #[serde(default)]
    pub log_stands_still: Option<String>,
    /// Log that the primary has written and that is not in every store.
    #[serde(default)]
    pub waiting_bytes: u64,
    /// When the oldest of it was first seen.
    #[serde(default)]
    pub waiting_since_ms: Option<u64>,
    /// Why a store does not have what another has.
    #[serde(default)]
    pub lacking: Option<String>,
    /// The newest restore that succeeded.
    #[serde(default)]
    pub proof: Option<ProofSummary>,
    /// The last one, if it did not.
    #[serde(default)]
    pub proof_failed: Option<ProofFailure>,
}

/// What is worth telling of a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofSummary {
    pub backup: String,
    pub at_ms: u64,
    /// The moment whose state was there at the end: the newest proven restore point.
    pub restored_ms: u64,
    pub rto_ms: u64,
    pub rpo_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofFailure {
    pub at_ms: u64,
    pub why: String,
}
