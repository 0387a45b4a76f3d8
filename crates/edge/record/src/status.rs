//! The status of a platform, as `mainstay status --json` prints it.
//!
//! Every fact has its age: milliseconds since it was learned, absent if it never was. Whatever is not healthy
//! says why, once as a [`Reason`] for programs and once as text with what to do next. What is not known is not
//! healthy: [`Verdict::Unknown`] is a verdict of its own.

use serde::{Deserialize, Serialize};

use crate::incident::IncidentSummary;
use crate::node::{BesideFacts, UpgradeFacts};
use crate::process::FaultStatus;

/// The version that this code writes.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: u32,
    pub platform: String,
    pub environment: String,
    pub at_wall_ms: u64,
    /// The worst of everything below.
    pub verdict: Verdict,
    pub leadership: Leadership,
    pub regions: Vec<RegionStatus>,
    pub databases: Vec<DatabaseStatus>,
    pub services: Vec<ServiceStatus>,
    pub gateways: Vec<GatewayView>,
    /// In the order of the file.
    #[serde(default)]
    pub watches: Vec<WatchView>,
    /// That stand, the oldest first.
    #[serde(default)]
    pub alerts: Vec<AlertView>,
    /// In the order of the file. They are no verdict: an alert says when one burns too fast.
    #[serde(default)]
    pub budgets: Vec<BudgetView>,
    /// That are not over, the oldest first. They are people's work, and no verdict: what is wrong is said by itself.
    #[serde(default)]
    pub incidents: Vec<IncidentSummary>,
    /// In force, longest first.
    pub faults: Vec<FaultStatus>,
    /// Why it is not healthy, worst first; empty exactly when the verdict is healthy.
    pub findings: Vec<Finding>,
}

/// From best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As the file says.
    #[default]
    Healthy,
    /// It works, but with less protection or capacity than the file says, or something was disturbed on purpose.
    Degraded,
    /// Nobody could be asked.
    Unknown,
    /// It does not do what it is for.
    Broken,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Such as `database ledger` or `host use1-a`.
    pub subject: String,
    pub severity: Verdict,
    pub reason: Reason,
    pub text: String,
    /// What to do, if there is anything to do but wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// By what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Platform(PlatformReason),
    Host(HostReason),
    Database(DatabaseReason),
    Replica(ReplicaReason),
    Service(ServiceReason),
    Gateway(GatewayReason),
    Watch(WatchReason),
    Fault(FaultReason),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformReason {
    LeaderUnknown,
    /// No node reaches the journal.
    Deaf,
    LeaderSilent {
        leader: String,
        silent_ms: u64,
    },
    LeadersDiffer {
        claims: Vec<String>,
    },
    Paused,
}

impl From<PlatformReason> for Reason {
    fn from(reason: PlatformReason) -> Self {
        Self::Platform(reason)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostReason {
    NodeSilent {
        problem: String,
    },
    JournalTrouble {
        problem: String,
    },
    JournalOutOfReach {
        problem: String,
    },
    /// Its member of etcd does not serve.
    EtcdMember {
        phase: String,
        why: String,
    },
    OldGeneration {
        has: u64,
        newest: u64,
    },
    /// Its node could not do something on its host, and goes on trying.
    Trouble {
        problem: String,
    },
}

impl From<HostReason> for Reason {
    fn from(reason: HostReason) -> Self {
        Self::Host(reason)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseReason {
    /// Nobody can ask it, but others hear it; `serving` if gateways route to it.
    PrimaryUnasked {
        host: String,
        serving: bool,
    },
    PrimaryMissing {
        keepers_seen: u32,
        keepers: u32,
        needed: u32,
    },
    PrimariesDiffer {
        hosts: Vec<String>,
    },
    PrimaryClosed {
        why: String,
    },
    /// Somebody's commits need not wait, or need not say so.
    CommitsWeakened {
        what: String,
    },
    PrimaryAway {
        region: String,
        home: String,
    },
    /// By order; how much would be lost with the primary.
    ServesAlone {
        needed: u32,
        unprotected_bytes: u64,
        since_ms: u64,
        /// The quorum is back, and gets what it lacks.
        ending: bool,
    },
    /// A term began without a part of the log that may have held answered commits.
    MayHaveLost {
        term: u32,
        timeline: u32,
        after: String,
        until: Option<String>,
    },
    WritesWait {
        copies: u32,
        needed: u32,
    },
    NoSpareCopy {
        copies: u32,
        needed: u32,
    },
    /// The file asks for more copies of each commit than there are replicas for.
    FewerCopiesPromised {
        promised: u32,
        wanted: u32,
    },
    /// The file names it no more, and the others cannot do without it yet.
    ReplicaLeaving {
        host: String,
    },
    Archive(ArchiveReason),
}

/// What is wrong with the archive of a database. The database serves all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveReason {
    /// Its archiver has said nothing for so long, or never.
    Silent {
        ms: Option<u64>,
    },
    /// So much log waits to be put away, the oldest of it for so long.
    Behind {
        bytes: u64,
        ms: u64,
    },
    Alarm {
        why: String,
    },
    /// One of two stores lacks something.
    Uneven {
        why: String,
    },
    /// The last attempt to restore it, so long ago.
    ProofFailed {
        ms: u64,
        why: String,
    },
}

impl From<DatabaseReason> for Reason {
    fn from(reason: DatabaseReason) -> Self {
        Self::Database(reason)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaReason {
    Silent {
        problem: String,
    },
    Paused,
    Seeding {
        bytes: u64,
        total_bytes: Option<u64>,
    },
    NotCounting {
        role: String,
        why: String,
    },
    /// Parameters or programs that its server takes at its next start.
    RestartDue {
        what: Vec<String>,
    },
    /// The server did not take what the file gives.
    ParametersRefused {
        why: String,
    },
    Lags {
        bytes: u64,
    },
    /// It gets log as fast as it can, and for so long it has come no nearer.
    NeverCatchesUp {
        bytes: u64,
        ms: u64,
    },
}

impl From<ReplicaReason> for Reason {
    fn from(reason: ReplicaReason) -> Self {
        Self::Replica(reason)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceReason {
    NoActiveInstance { primary: String },
    TooFewInstances { ready: u32, wanted: u32 },
    InstanceMissing,
    InstanceDown { phase: String, why: String },
    CrashLoop { restarts: u64, why: String },
    InstanceUnready { why: String },
}

impl From<ServiceReason> for Reason {
    fn from(reason: ServiceReason) -> Self {
        Self::Service(reason)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayReason {
    Silent {
        problem: String,
    },
    RefusesSnapshot {
        error: String,
    },
    Stopping,
    CellNotServed {
        cell: String,
        view: String,
        why: String,
        held: u64,
    },
    ServiceUnseen {
        service: String,
    },
}

impl From<GatewayReason> for Reason {
    fn from(reason: GatewayReason) -> Self {
        Self::Gateway(reason)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchReason {
    Silent {
        problem: String,
    },
    InstanceDown {
        phase: String,
        why: String,
    },
    RulesRefused {
        why: String,
    },
    /// It sees, or tells, less than it should.
    Hindered {
        why: String,
    },
    /// An alert that calls for somebody.
    Fires {
        summary: String,
        since_ms: u64,
    },
    /// It fired, and what it is about is not measured any more.
    Missing {
        summary: String,
        since_ms: u64,
    },
}

impl From<WatchReason> for Reason {
    fn from(reason: WatchReason) -> Self {
        Self::Watch(reason)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultReason {
    InForce { id: String, remaining_ms: u64 },
    Unguarded { id: String },
    Trouble { id: String, problem: String },
}

impl From<FaultReason> for Reason {
    fn from(reason: FaultReason) -> Self {
        Self::Fault(reason)
    }
}

/// Who decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leadership {
    pub verdict: Verdict,
    pub leader: Option<String>,
    pub epoch: u64,
    pub entries: u64,
    /// Version of the platform file in force.
    pub generation: u64,
    pub paused: bool,
    /// A new version of the program that is being taken, or that was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeFacts>,
    /// Of the newest answer that names the leader.
    pub age_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "BesideFacts::is_nothing")]
    pub beside: BesideFacts,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionStatus {
    pub name: String,
    pub verdict: Verdict,
    pub hosts: Vec<HostStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    pub name: String,
    pub verdict: Verdict,
    /// Where clients and tools reach it.
    pub address: String,
    /// `leading`, `following`, …
    pub role: Option<String>,
    pub node_pid: Option<u32>,
    pub up_ms: Option<u64>,
    pub age_ms: Option<u64>,
    pub problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    pub name: String,
    pub verdict: Verdict,
    pub home: String,
    pub survive: String,
    /// Host of the primary.
    pub primary: Option<String>,
    pub term: u32,
    /// Applications may write.
    pub open: bool,
    /// Replicas whose flush counts for a commit just now, the primary included.
    pub copies: u32,
    /// How many a commit needs.
    pub copies_needed: u32,
    pub replicas: Vec<ReplicaStatus>,
    /// Where it is put away, if it is.
    #[serde(default)]
    pub archive: Option<ArchiveStatus>,
}

/// What the archiver beside the primary says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveStatus {
    pub host: String,
    /// How long the oldest log waits that is not put away.
    pub waiting_ms: u64,
    pub state: crate::backup::ArchiverState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub host: String,
    pub region: String,
    pub verdict: Verdict,
    pub role: Option<String>,
    pub term: u32,
    pub lsn: Option<String>,
    /// Bytes behind the primary, as the primary sees it.
    pub lag_bytes: Option<u64>,
    /// The primary waits for it when it commits.
    pub acknowledges: bool,
    pub why: String,
    pub age_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub name: String,
    pub verdict: Verdict,
    /// The database that it follows, if it does.
    pub follows: Option<String>,
    pub wanted: u32,
    pub ready: u32,
    pub instances: Vec<InstanceView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    pub host: String,
    pub region: String,
    pub verdict: Verdict,
    /// `ready`, `standing by`, `starting`, …
    pub state: String,
    pub restarts: u64,
    /// How long it has been in this state.
    pub since_ms: Option<u64>,
    pub why: String,
    pub log: Option<String>,
    pub age_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayView {
    pub name: String,
    pub verdict: Verdict,
    pub processes: Vec<GatewayProcess>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayProcess {
    pub host: String,
    pub region: String,
    pub verdict: Verdict,
    pub state: String,
    /// `NAME ADDRESS` of each listener.
    pub listeners: Vec<String>,
    pub generation: Option<u64>,
    pub connections: Option<u64>,
    pub requests: Option<u64>,
    /// Requests that wait for a cell.
    pub held: Option<u64>,
    pub restarts: u64,
    /// For each cell, where its requests go or why they do not.
    pub cells: Vec<String>,
    pub age_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchView {
    pub host: String,
    pub verdict: Verdict,
    /// `watching`, `starting`, …
    pub state: String,
    pub targets: Option<u32>,
    /// `JOB INSTANCE` of the silent ones.
    pub silent: Vec<String>,
    /// Alerts that may still pass.
    pub pending: Option<u32>,
    pub age_ms: Option<u64>,
}

/// Of an objective. What no watch has measured is absent, and not zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetView {
    pub objective: String,
    /// Such as `99.9 % of 30d allows 43m 12s (8h 45m a year)`.
    pub allows: String,
    /// In millionths of the budget, by the watch that saw most of it spent; negative if more than all is.
    pub left_millionths: Option<i64>,
    /// In thousandths of what the budget bears for its period, over the last hour.
    pub burn_1h_thousandths: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertView {
    /// `Name{label="value"}`
    pub alert: String,
    /// The label of that name, if it has one.
    pub severity: Option<String>,
    pub verdict: Verdict,
    /// `firing`, or `missing` where no watch measures it any more.
    pub state: String,
    /// Since when the first watch says so.
    pub since_wall_ms: u64,
    /// Hosts whose watches say so.
    pub watches: Vec<String>,
    pub summary: String,
    /// The label `instance`, or the others in a row.
    pub subject: String,
}
