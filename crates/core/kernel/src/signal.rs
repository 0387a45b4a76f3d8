//! What the kernel is told.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use mainstay_model::name::{DatabaseName, GatewayName, HostName, RegionName};
use mainstay_playbook as playbook;
use mainstay_units::Term;

use crate::alert::AlertNews;
use crate::authority::Actor;
use crate::desired::Desired;
use crate::drill::{DrillAsk, DrillId};
use crate::effect::{EffectId, Outcome};
use crate::experiment::{ExperimentAsk, ExperimentTold};
use crate::fault::FaultSpec;
use crate::gate::GateReading;
use crate::notices::NoticeAsk;
use crate::rules::{FollowedRules, RulesText};
use crate::upgrade::Program;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Time passed. Timers are looked at with every signal; this one carries nothing else.
    Tick,
    /// A node's heartbeat carries this key (Ed25519, base64).
    KeyOffered {
        node: HostName,
        key: String,
    },
    /// A host's heartbeat was heard again.
    HostHeard {
        host: HostName,
    },
    /// A host's heartbeat stood still for so long on the leader's own clock.
    HostSilent {
        host: HostName,
        silent_ms: u64,
    },
    /// The platform file that a node was started with. It is adopted only while none is in force.
    FileRead {
        digest: String,
        desired: Box<Desired>,
        actor: Actor,
    },
    Commanded(Command),
    Reported(Report),
    /// A watch says something new of an alert.
    AlertTold(AlertNews),
    /// A watch follows these rule files.
    RulesTold {
        watch: HostName,
        /// Since when, by its clock.
        at_ms: u64,
        files: FollowedRules,
    },
    /// What became of an effect.
    Answered {
        effect: EffectId,
        outcome: Outcome,
    },
    /// What a node saw or chose for an experiment.
    Experiment(ExperimentTold),
    /// The command that carried a drill has died: the leader's own node looks for it.
    DrillAbandoned {
        drill: DrillId,
    },
}

/// An operator's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub actor: Actor,
    pub reason: String,
    pub ask: Ask,
    /// What the node that was asked measured at the gates before it.
    pub readings: Vec<GateReading>,
    /// Gates that whoever asks wants to pass although they are shut.
    pub overrides: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A changed platform file, read and found valid.
    Apply {
        digest: String,
        desired: Box<Desired>,
    },
    Pause,
    Resume,
    /// The whole platform is about to be stopped.
    Stop,
    InjectFault(FaultSpec),
    ClearFault {
        fault: String,
    },
    Switchover {
        database: DatabaseName,
        to: RegionName,
    },
    /// Let the primary of a database answer commits with fewer copies than promised.
    Solo {
        database: DatabaseName,
    },
    /// Let a database go on from the replica on a host although a majority of its replicas is gone.
    Failover {
        database: DatabaseName,
        to: HostName,
        /// Answered commits may be lost.
        accepts_loss: bool,
    },
    /// Take a new version of Mainstay's own program, host by host.
    Upgrade {
        program: Program,
    },
    Incident(mainstay_incident::Ask),
    Experiment(ExperimentAsk),
    Drill(DrillAsk),
    Playbook(playbook::Ask),
    Notice(NoticeAsk),
    /// A part of a rule file's text.
    AdoptRules(RulesText),
}

impl Ask {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::Pause => "pause",
            Self::Stop => "down",
            Self::Resume => "resume",
            Self::InjectFault(_) => "fault inject",
            Self::ClearFault { .. } => "fault clear",
            Self::Switchover { .. } => "switchover",
            Self::Solo { .. } => "database solo",
            Self::Failover { .. } => "database failover",
            Self::Upgrade { .. } => "upgrade",
            Self::Incident(ask) => ask.as_str(),
            Self::Experiment(ask) => ask.as_str(),
            Self::Drill(ask) => ask.as_str(),
            Self::Playbook(ask) => ask.as_str(),
            Self::Notice(ask) => ask.as_str(),
            Self::AdoptRules(_) => "rules adopt",
        }
    }
}

/// What a reflex did, told by the node of its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub host: HostName,
    /// When it happened, by that host's wall clock.
    pub at_ms: u64,
    pub reflex: Reflex,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reflex {
    /// The keeper on `Report::host` opened its replica as primary.
    BecamePrimary { database: DatabaseName, term: Term },
    /// The keeper ended its sessions and is primary no more.
    LeftPrimary {
        database: DatabaseName,
        term: Term,
        why: String,
    },
    InstanceRestarted {
        instance: String,
        /// Since supervision began; grows.
        restarts: u64,
        exit: String,
    },
    /// It ends again and again; supervision starts it rarely now.
    CrashLoop { instance: String, restarts: u64 },
    /// It has been well for as long as ends make a loop, or is not wanted there any more.
    LoopEnded { instance: String, why: String },
    /// The gateway began to hold requests of a database's cell.
    HoldOpened {
        gateway: GatewayName,
        database: DatabaseName,
    },
    HoldClosed {
        gateway: GatewayName,
        database: DatabaseName,
        lasted_ms: u64,
        /// Requests that waited and were answered.
        released: u64,
        /// Requests that waited in vain.
        failed: u64,
    },
    /// A fault was undone by its guardian or at a node's start.
    FaultUndone { fault: String, by: String },
    /// What a database promises of its commits changed, or what it lost became known.
    PromiseChanged {
        database: DatabaseName,
        term: Term,
        what: String,
    },
    /// The keeper of the primary: nothing rests on the replica on that host any more, which the file names no more. It may
    /// be taken down.
    ReplicaLetGo {
        database: DatabaseName,
        from: HostName,
    },
    /// The archiver of a database did something that one wants to find again.
    Archived {
        database: DatabaseName,
        deed: ArchiveDeed,
    },
}

/// Where a restored copy was brought to life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stood {
    pub host: String,
    /// A server of the same database runs there too.
    pub beside_replica: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveDeed {
    BackupMade {
        backup: String,
        bytes: u64,
    },
    /// Restored and compared, with what was measured.
    BackupProven {
        backup: String,
        rto_ms: u64,
        /// `None` where no living database told how much there was.
        rpo_ms: Option<u64>,
        /// Versions before this was told do not say.
        stood: Option<Stood>,
    },
    /// The archive is not safe.
    Alarm {
        why: String,
    },
}
