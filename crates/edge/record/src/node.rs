//! What nodes say to each other and to the command line, and what a machine remembers of a platform.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backup::ArchiverState;
use crate::drill::DrillAskRecord;
use crate::event::AlertRecord;
use crate::experiment::{ExperimentAskRecord, ExperimentFacts};
use crate::gateway::GatewayStatus;
use crate::incident::{IncidentAskRecord, IncidentSummary};
use crate::keeper::KeeperStatus;
use crate::notice::NoticeAskRecord;
use crate::playbook::PlaybookAsk;
use crate::process::{FaultDetail, FaultStatus, InstanceStatus};
use crate::rules::RulesTextRecord;
use crate::watch::WatchBoard;

/// The version that this code writes, and the only one it reads.
pub const VERSION: u32 = 1;

/// What one machine knows of a platform that it runs: `DATA/machine.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineRecord {
    pub version: u32,
    pub platform: String,
    /// The block of loopback addresses, `127.SLOT.…`, that this platform has claimed.
    pub slot: u8,
    /// Short: sockets and lease files.
    pub run_folder: PathBuf,
    /// The platform file as it was given, kept beside this record.
    pub file: PathBuf,
    /// Round trip between any two regions instead of the file's distances, in microseconds.
    #[serde(default)]
    pub distance_us: Option<u64>,
    /// The program that every process of the platform is started from.
    pub program: PathBuf,
}

/// Which build of Mainstay's own program a host runs: `DATA/hosts/HOST/node/program.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProgram {
    pub version: u32,
    /// SHA-256 of a program below `DATA/programs`; absent: the machine's own.
    pub digest: Option<String>,
    /// The one before it, to go back to.
    pub before: Option<String>,
    pub trial: Option<Trial>,
    pub refused: Option<RefusedProgram>,
}

/// The program has not shown yet that it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Position of the journal entry that ordered it.
    pub effect: u64,
    /// Databases of this host that were not put away well before it: that is not the new program's doing.
    /// Absent: whoever wrote this did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ailing_archives: Option<Vec<String>>,
}

/// A program that did not stand here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedProgram {
    pub effect: u64,
    pub digest: String,
    pub why: String,
}

/// An upgrade as the journal has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeFacts {
    pub program: String,
    pub digest: String,
    pub done: Vec<String>,
    pub under_way: Option<String>,
    pub left: Vec<String>,
    /// Where and why it was stopped; it goes no further.
    pub stopped: Option<(String, String)>,
}

/// What one node sees on its own host, and of the journal. Sent to other nodes and to the command line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    pub version: u32,
    pub host: String,
    pub region: String,
    pub wall_ms: u64,
    pub pid: u32,
    pub started_wall_ms: u64,
    pub instances: Vec<InstanceStatus>,
    /// By database.
    pub keepers: BTreeMap<String, Seen<KeeperStatus>>,
    /// By gateway.
    pub gateways: BTreeMap<String, Seen<GatewayStatus>>,
    /// By database: what its archiver here last wrote of itself.
    #[serde(default)]
    pub archives: BTreeMap<String, ArchiverState>,
    /// Of the watch of this host, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Seen<WatchBoard>>,
    pub journal: JournalFacts,
    /// Milliseconds since each other node was heard; absent: never.
    pub heard_ms: BTreeMap<String, u64>,
    /// What it could not do on its host, in words; it goes on trying.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<String>,
    /// Since the oldest identity of its host's processes was laid down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_leaf_ms: Option<u64>,
}

/// Everything one node knows: `GET /v1/gathered`. The status is made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gathered {
    pub version: u32,
    /// Of the node that answers.
    pub own: NodeFacts,
    /// Of the other hosts, as they told it themselves.
    pub others: BTreeMap<String, Seen<NodeFacts>>,
    /// In force on this machine.
    pub faults: Vec<FaultStatus>,
    /// That stand, as the journal tells them.
    #[serde(default)]
    pub alerts: Vec<AlertRecord>,
    /// That are not over, the oldest first.
    #[serde(default)]
    pub incidents: Vec<IncidentSummary>,
    /// The experiment that runs, as the journal tells it.
    #[serde(default)]
    pub experiment: Option<ExperimentFacts>,
}

/// A fact with its age: what was last learned, and why nothing newer is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen<T> {
    pub value: Option<T>,
    /// Milliseconds since `value` was learned.
    pub age_ms: u64,
    pub problem: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalFacts {
    /// `leading`, `following`, `deaf`, `stopped`.
    pub role: String,
    pub epoch: u64,
    /// The host whose claim is the newest in the log.
    pub leader: Option<String>,
    /// Entries so far.
    pub entries: u64,
    /// Milliseconds since the leader was heard.
    pub leader_heard_ms: Option<u64>,
    pub paused: bool,
    /// Which version of the platform file is in force.
    pub generation: u64,
    pub problem: Option<String>,
    /// The journal cannot be reached for now: this node decides nothing, and what runs goes on.
    #[serde(default)]
    pub out_of_reach: bool,
    /// Under way, or the newest one if it was stopped.
    #[serde(default)]
    pub upgrade: Option<UpgradeFacts>,
    /// What the program that every host took last says of itself.
    #[serde(default)]
    pub program: Option<String>,
    #[serde(default, skip_serializing_if = "BesideFacts::is_nothing")]
    pub beside: BesideFacts,
}

/// What playbooks have set beside the platform file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BesideFacts {
    /// Hosts out of the gateways' routing.
    #[serde(default)]
    pub drained: Vec<String>,
    #[serde(default)]
    pub shifts: Vec<ShiftFact>,
    /// Instances of a service where the file says another number.
    #[serde(default)]
    pub counts: BTreeMap<String, u16>,
}

impl BesideFacts {
    pub fn is_nothing(&self) -> bool {
        self.drained.is_empty() && self.shifts.is_empty() && self.counts.is_empty()
    }
}

/// Of the new requests of a service, gateways treat so many as always and send the rest to other regions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShiftFact {
    pub service: String,
    pub from: String,
    /// In percent.
    pub share: u8,
}

/// What an operator asks of a node: `POST /v1/command`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandRequest {
    pub command: Command,
    pub reason: String,
    /// Gates that are to be passed although they are shut.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub overrides: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    Pause,
    Resume,
    /// Journalled before the machine stops its nodes.
    Stop,
    InjectFault(InjectFault),
    /// An experiment is to begin, or to be stopped.
    Experiment(ExperimentAskRecord),
    /// What a drill begins with, did, measured, and came to.
    Drill(DrillAskRecord),
    ClearFault {
        id: String,
    },
    Switchover {
        database: String,
        region: String,
    },
    Solo {
        database: String,
    },
    Failover {
        database: String,
        host: String,
        accept_data_loss: bool,
    },
    /// A program that was kept below `DATA/programs`.
    Upgrade {
        digest: String,
        version: String,
    },
    Playbook(PlaybookAsk),
    /// The text of a changed platform file.
    Apply {
        file: String,
    },
    Incident(IncidentAskRecord),
    Notice(NoticeAskRecord),
    /// A part of a rule file's text that the watches follow, or are about to.
    AdoptRules(RulesTextRecord),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InjectFault {
    /// `process-kill`, `region-freeze`, …
    pub kind: String,
    pub target: String,
    pub lasts_ms: u64,
    #[serde(default)]
    pub one_way: bool,
    #[serde(default)]
    pub delay_us: u64,
    #[serde(default, skip_serializing_if = "FaultDetail::is_at_rest")]
    pub detail: FaultDetail,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutcome {
    /// Journalled at `position` and carried out.
    Done { position: u64, detail: String },
    /// Not journalled as decided, or journalled as refused; nothing was changed.
    Refused {
        code: String,
        why: String,
        next: String,
    },
    /// Journalled, but whether it was carried out is not known.
    Unknown { position: u64, why: String },
}

impl CommandOutcome {
    /// The code of what was journalled and could not be carried out. It may be given again.
    pub const FAILED: &str = "failed";
}
