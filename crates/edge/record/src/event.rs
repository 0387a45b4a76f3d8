//! The kernel's events and signals as stored and sent.
//!
//! One body per kind. A kind that changes its meaning or loses a field gets a new version beside the old one,
//! which stays readable; a reader that meets a kind or version that is not here keeps the entry as unknown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::drill::{
    DrillAbandonedBody, DrillAdoptedBody, DrillAskRecord, DrillBegunBody, DrillConfirmedBody,
    DrillDeviatedBody, DrillEndedBody, DrillMeasuredBody, DrillMissedBody, DrillSignedBody,
    DrillStepBegunBody, DrillStepEndedBody, DrillWithdrawnBody,
};
use crate::experiment::{
    ExperimentAskRecord, ExperimentBegunBody, ExperimentChoosingBody, ExperimentChosenBody,
    ExperimentEndedBody, ExperimentLookedBody, ExperimentLookingBody, ExperimentMendingBody,
    ExperimentObservedBody, ExperimentToldRecord,
};
use crate::incident::{
    IncidentActionAddedBody, IncidentActionDoneBody, IncidentAskRecord, IncidentAssignedBody,
    IncidentBody, IncidentJoinedBody, IncidentLearnedBody, IncidentLinkedBody, IncidentMergedBody,
    IncidentOpenedBody, IncidentResolvedBody, IncidentSeverityBody, IncidentSignedBody,
};
use crate::journal::{ClaimedBody, KeyAdmittedBody, OpenedBody};
use crate::notice::{
    NoticeAskRecord, NoticeEscalatedBody, NoticeExhaustedBody, NoticeOrderedBody, OncallRecord,
    SilenceEndedBody, SilenceSetBody,
};
use crate::playbook::{PlaybookAsk, PlaybookBody};
use crate::process::{FaultDetail, FaultKind};
use crate::rules::{RulesAdoptedBody, RulesFollowedBody, RulesTextRecord};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($body:ty) = $kind:literal, $version:literal;)*) => {
        /// What an entry says, by its kind.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum EventBody {
            $($(#[$doc])* $variant($body),)*
        }

        impl EventBody {
            /// Kind and version of what this version of Mainstay writes.
            pub const fn kind(&self) -> (&'static str, u32) {
                match self {
                    $(Self::$variant(_) => ($kind, $version),)*
                }
            }

            /// # Errors
            /// Only if a body cannot be written as JSON at all, which none here can cause.
            pub fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
                match self {
                    $(Self::$variant(body) => serde_json::value::to_raw_value(body),)*
                }
            }

            /// `None` for a kind or version that is not known here.
            ///
            /// # Errors
            /// When a known kind has a body of another form.
            pub fn decode(kind: &str, version: u32, body: &RawValue) -> Result<Option<Self>, serde_json::Error> {
                match (kind, version) {
                    $(($kind, $version) => serde_json::from_str(body.get()).map(|body| Some(Self::$variant(body))),)*
                    _ => Ok(None),
                }
            }

            /// Every kind that is known here, for people who search.
            pub const KINDS: &[&str] = &[$($kind),*];
        }
    };
}

kinds! {
    Opened(OpenedBody) = "journal.opened", 1;
    KeyAdmitted(KeyAdmittedBody) = "key.admitted", 1;
    Claimed(ClaimedBody) = "leadership.claimed", 1;
    PlatformAdopted(Box<PlatformAdoptedBody>) = "platform.adopted", 1;
    CommandRefused(CommandRefusedBody) = "command.refused", 1;
    GateOverridden(GateOverriddenBody) = "gate.overridden", 1;
    Paused(ByBody) = "automation.paused", 1;
    Resumed(ByBody) = "automation.resumed", 1;
    Stopping(ByBody) = "platform.stopping", 1;
    HostLost(HostLostBody) = "host.lost", 1;
    HostReturned(HostReturnedBody) = "host.returned", 1;
    InstancePlaced(InstancePlacedBody) = "instance.placed", 1;
    InstanceWithdrawn(InstanceWithdrawnBody) = "instance.withdrawn", 1;
    FaultInjected(FaultInjectedBody) = "fault.injected", 1;
    FaultEnding(FaultEndingBody) = "fault.ending", 1;
    SwitchoverOrdered(SwitchoverOrderedBody) = "switchover.ordered", 1;
    SoloOrdered(SoloOrderedBody) = "solo.ordered", 1;
    FailoverForced(FailoverForcedBody) = "failover.forced", 1;
    UpgradeBegun(UpgradeBegunBody) = "upgrade.begun", 1;
    UpgradeOrdered(UpgradeOrderedBody) = "upgrade.ordered", 1;
    UpgradeEnded(UpgradeEndedBody) = "upgrade.ended", 1;
    EffectFinished(EffectFinishedBody) = "effect.finished", 1;
    ReflexRecorded(ReportRecord) = "reflex.recorded", 1;
    AlertChanged(AlertRecord) = "alert.changed", 1;
    IncidentOpened(IncidentOpenedBody) = "incident.opened", 1;
    IncidentJoined(IncidentJoinedBody) = "incident.joined", 1;
    IncidentSeverity(IncidentSeverityBody) = "incident.severity", 1;
    IncidentAcknowledged(IncidentBody) = "incident.acknowledged", 1;
    IncidentAssigned(IncidentAssignedBody) = "incident.assigned", 1;
    IncidentNoted(IncidentBody) = "incident.noted", 1;
    IncidentLearned(IncidentLearnedBody) = "incident.learned", 1;
    IncidentActionAdded(IncidentActionAddedBody) = "incident.action_added", 1;
    IncidentActionDone(IncidentActionDoneBody) = "incident.action_done", 1;
    IncidentSigned(IncidentSignedBody) = "incident.signed", 1;
    IncidentLinked(IncidentLinkedBody) = "incident.linked", 1;
    IncidentMitigated(IncidentBody) = "incident.mitigated", 1;
    IncidentResolved(IncidentResolvedBody) = "incident.resolved", 1;
    IncidentReopened(IncidentBody) = "incident.reopened", 1;
    IncidentMerged(IncidentMergedBody) = "incident.merged", 1;
    ExperimentBegun(ExperimentBegunBody) = "experiment.begun", 1;
    ExperimentCarried(ExperimentBegunBody) = "experiment.begun", 2;
    ExperimentLooking(ExperimentLookingBody) = "experiment.looking", 1;
    ExperimentLooked(ExperimentLookedBody) = "experiment.looked", 1;
    ExperimentChoosing(ExperimentChoosingBody) = "experiment.choosing", 1;
    ExperimentChosen(ExperimentChosenBody) = "experiment.chosen", 1;
    ExperimentMending(ExperimentMendingBody) = "experiment.mending", 1;
    ExperimentObserved(ExperimentObservedBody) = "experiment.observed", 1;
    ExperimentEnded(ExperimentEndedBody) = "experiment.ended", 1;
    DrillAdopted(DrillAdoptedBody) = "drill.adopted", 1;
    DrillWithdrawn(DrillWithdrawnBody) = "drill.withdrawn", 1;
    DrillMissed(DrillMissedBody) = "drill.missed", 1;
    DrillBegun(DrillBegunBody) = "drill.begun", 1;
    DrillStepBegun(DrillStepBegunBody) = "drill.step_begun", 1;
    DrillStepEnded(DrillStepEndedBody) = "drill.step_ended", 1;
    DrillConfirmed(DrillConfirmedBody) = "drill.confirmed", 1;
    DrillMeasured(DrillMeasuredBody) = "drill.measured", 1;
    DrillDeviated(DrillDeviatedBody) = "drill.deviated", 1;
    DrillAbandoned(DrillAbandonedBody) = "drill.abandoned", 1;
    DrillEnded(DrillEndedBody) = "drill.ended", 1;
    DrillSigned(DrillSignedBody) = "drill.signed", 1;
    Playbook(PlaybookBody) = "playbook", 1;
    NoticeEscalated(NoticeEscalatedBody) = "notice.escalated", 1;
    NoticeExhausted(NoticeExhaustedBody) = "notice.exhausted", 1;
    NoticeOrdered(NoticeOrderedBody) = "notice.ordered", 1;
    SilenceSet(SilenceSetBody) = "silence.set", 1;
    SilenceEnded(SilenceEndedBody) = "silence.ended", 1;
    RulesAdopted(RulesAdoptedBody) = "rules.adopted", 1;
    RulesFollowed(RulesFollowedBody) = "rules.followed", 1;
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActorRecord {
    pub uid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Absent before a platform file names operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByBody {
    pub by: ActorRecord,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformAdoptedBody {
    pub generation: u64,
    /// SHA-256 of the file's text, hexadecimal.
    pub digest: String,
    pub by: ActorRecord,
    pub reason: String,
    pub changes: Vec<ChangeRecord>,
    pub steps: Vec<StepRecord>,
    pub desired: DesiredRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRecord {
    pub change: ChangeWord,
    pub subject: SubjectWord,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeWord {
    Removed,
    Added,
    Changed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectWord {
    Environment,
    Host,
    Database,
    Service,
    Gateway,
    Operator,
    Watch,
    Gate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StepRecord {
    CreateReplica { database: String, host: String },
    RemoveReplica { database: String, host: String },
    StartGateway { gateway: String, host: String },
    ReloadGateway { gateway: String, host: String },
    StopGateway { gateway: String, host: String },
    PlaceService { service: String, instances: u16 },
    ReplaceInstances { service: String },
    WithdrawService { service: String },
}

/// The digest of a platform file that decisions are made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredRecord {
    pub platform: String,
    pub production: bool,
    /// Host to region.
    pub hosts: BTreeMap<String, String>,
    pub databases: BTreeMap<String, DesiredDatabaseRecord>,
    pub services: BTreeMap<String, DesiredServiceRecord>,
    pub gateways: BTreeMap<String, DesiredGatewayRecord>,
    pub operators: BTreeMap<String, DesiredOperatorRecord>,
    /// Hosts that have a watch.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub watches: BTreeSet<String>,
    /// What gateways' paths lead to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<DesiredRouteRecord>,
    /// By name: which requests an objective judges.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objectives: BTreeMap<String, DesiredObjectiveRecord>,
    /// Who is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oncall: Option<OncallRecord>,
    /// What must be measured to be well before some commands. A version before gates does not read a file that has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<DesiredGateRecord>,
}

/// Exactly one of query and budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredGateRecord {
    pub name: String,
    pub before: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<GateBudgetRecord>,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateBudgetRecord {
    pub objective: String,
    pub left_millionths: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredRouteRecord {
    pub gateway: String,
    pub path: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredObjectiveRecord {
    pub gateway: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredDatabaseRecord {
    pub home: String,
    pub replicas: Vec<String>,
    /// Hexadecimal: JSON numbers do not carry 64 bits everywhere.
    pub fingerprint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredServiceRecord {
    pub replicas: u16,
    pub hosts: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    pub fingerprint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredGatewayRecord {
    pub hosts: Vec<String>,
    pub fingerprint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredOperatorRecord {
    pub identity: IdentityRecord,
    pub permissions: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum IdentityRecord {
    Owner,
    Uid(u32),
    User(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandRefusedBody {
    pub asked: String,
    pub uid: u32,
    pub reason: String,
    pub code: String,
    pub why: String,
}

/// A gate that was not open, and that somebody passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateOverriddenBody {
    pub gate: String,
    pub asked: String,
    /// `shut` or `not measured`.
    pub found: String,
    pub why: String,
    pub by: ActorRecord,
    pub reason: String,
}

/// What a node measured at a gate for a command, on its way to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateReadingRecord {
    pub gate: String,
    /// `open`, `shut` or `not measured`.
    pub found: String,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostLostBody {
    pub host: String,
    pub silent_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostReturnedBody {
    pub host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstancePlacedBody {
    pub service: String,
    pub host: String,
    pub why: PlacedRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PlacedRecord {
    Wanted,
    BesideReplica { database: String },
    InsteadOf { lost: String },
    Replaces { host: String, run: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceWithdrawnBody {
    pub service: String,
    pub host: String,
    pub why: WithdrawnRecord,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithdrawnRecord {
    NotWanted,
    HostLost,
    Replaced,
    NotReady,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpecRecord {
    pub kind: FaultKind,
    pub target: FaultTargetRecord,
    pub lasts_ms: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub one_way: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay_us: u64,
    #[serde(default, skip_serializing_if = "FaultDetail::is_at_rest")]
    pub detail: FaultDetail,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultTargetRecord {
    Process {
        host: String,
        instance: String,
    },
    Host(String),
    Region(String),
    Between {
        from: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultInjectedBody {
    /// `f1`, `f2`, …
    pub fault: String,
    pub spec: FaultSpecRecord,
    pub until_ms: u64,
    pub by: ActorRecord,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultEndingBody {
    pub fault: String,
    pub why: EndRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EndRecord {
    Expired,
    Cleared { by: ActorRecord, reason: String },
    Playbook { run: String },
    Experiment { experiment: String },
    Drill { drill: String },
    Again { failed: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchoverOrderedBody {
    pub database: String,
    pub from: String,
    pub to: String,
    pub by: ActorRecord,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoloOrderedBody {
    pub database: String,
    /// Where the primary is.
    pub host: String,
    pub by: ActorRecord,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailoverForcedBody {
    pub database: String,
    /// From whose log it goes on.
    pub to: String,
    pub by: ActorRecord,
    pub reason: String,
}

/// A build of Mainstay's own program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramRecord {
    /// SHA-256 of the file, hexadecimal.
    pub digest: String,
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeBegunBody {
    pub program: ProgramRecord,
    /// In the order in which they take it.
    pub hosts: Vec<String>,
    pub by: ActorRecord,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeOrderedBody {
    pub host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UpgradeEndedBody {
    Complete {},
    Stopped { host: String, why: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EffectFinishedBody {
    /// Position of the entry that ordered the effect.
    pub effect: u64,
    pub outcome: OutcomeRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OutcomeRecord {
    Done { detail: String },
    Failed { why: String },
    Unknown { why: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportRecord {
    pub host: String,
    /// By that host's wall clock.
    pub at_ms: u64,
    pub reflex: ReflexRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReflexRecord {
    BecamePrimary {
        database: String,
        term: u32,
    },
    LeftPrimary {
        database: String,
        term: u32,
        why: String,
    },
    InstanceRestarted {
        instance: String,
        restarts: u64,
        exit: String,
    },
    CrashLoop {
        instance: String,
        restarts: u64,
    },
    LoopEnded {
        instance: String,
        why: String,
    },
    HoldOpened {
        gateway: String,
        database: String,
    },
    HoldClosed {
        gateway: String,
        database: String,
        lasted_ms: u64,
        released: u64,
        failed: u64,
    },
    FaultUndone {
        fault: String,
        by: String,
    },
    PromiseChanged {
        database: String,
        term: u32,
        what: String,
    },
    ReplicaLetGo {
        database: String,
        from: String,
    },
    Archived {
        database: String,
        deed: ArchiveDeedRecord,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ArchiveDeedRecord {
    BackupMade {
        backup: String,
        bytes: u64,
    },
    BackupProven {
        backup: String,
        rto_ms: u64,
        rpo_ms: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stood: Option<StoodRecord>,
    },
    Alarm {
        why: String,
    },
}

/// Where a restored copy was brought to life. Always in an empty folder, by a server of its own that only a socket reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoodRecord {
    pub host: String,
    /// Another replica's server of the same database runs on that host.
    pub beside_replica: bool,
}

/// What a watch says of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertRecord {
    /// The host of the watch.
    pub watch: String,
    /// `Name{label="value"}`
    pub alert: String,
    pub state: AlertWord,
    /// Since when it fires, and when it came into this state, by the watch's clock.
    pub since_ms: u64,
    pub at_ms: u64,
    pub labels: BTreeMap<String, String>,
    pub summary: String,
    pub value: String,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertWord {
    Firing,
    Missing,
    Resolved,
}

impl AlertWord {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Missing => "missing",
            Self::Resolved => "resolved",
        }
    }
}

/// A signal of a node on its way to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SignalRecord {
    FileRead {
        digest: String,
        desired: Box<DesiredRecord>,
        actor: ActorRecord,
    },
    Commanded {
        actor: ActorRecord,
        reason: String,
        ask: AskRecord,
        /// Only where the file has gates before it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        readings: Vec<GateReadingRecord>,
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        overrides: BTreeSet<String>,
    },
    Reported(ReportRecord),
    AlertTold(AlertRecord),
    RulesTold(RulesFollowedBody),
    Answered(EffectFinishedBody),
    Experiment(ExperimentToldRecord),
    DrillAbandoned(DrillAbandonedBody),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AskRecord {
    Apply {
        digest: String,
        desired: Box<DesiredRecord>,
    },
    Pause,
    Resume,
    Stop,
    InjectFault(FaultSpecRecord),
    Experiment(ExperimentAskRecord),
    Drill(DrillAskRecord),
    ClearFault {
        fault: String,
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
        accepts_loss: bool,
    },
    Upgrade(ProgramRecord),
    Incident(IncidentAskRecord),
    Playbook(PlaybookAsk),
    Notice(NoticeAskRecord),
    AdoptRules(RulesTextRecord),
}
