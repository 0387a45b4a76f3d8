//! What was decided, with reasons and evidence. The journal is a list of these.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use mainstay_model::name::{DatabaseName, HostName, PlatformName, ServiceName};
use mainstay_playbook as playbook;
use mainstay_units::{Epoch, Generation, Position};

use crate::alert::AlertNews;
use crate::authority::By;
use crate::desired::Desired;
use crate::difference::Plan;
use crate::drill::{DrillId, DrillNews};
use crate::effect::{EffectId, Outcome};
use crate::experiment::{ExperimentId, ExperimentNews};
use crate::fault::{FaultId, FaultSpec};
use crate::gate::Found;
use crate::rules::RulesNews;
use crate::signal::Report;
use crate::upgrade::Program;
use crate::why::Refusal;

/// An event with its place in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub position: Position,
    /// Kernel time: the leader's wall clock, but never before the record above.
    pub at_ms: u64,
    pub epoch: Epoch,
    pub cause: Option<Cause>,
    pub event: Event,
}

/// The numbered signal of a node that led to an event. Numbers of one node only grow, over restarts too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    pub node: HostName,
    pub number: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The journal begins.
    Opened {
        origin: String,
        platform: PlatformName,
        node: HostName,
        key: String,
    },
    KeyAdmitted {
        node: HostName,
        key: String,
        replaces: Option<String>,
    },
    Claimed {
        epoch: Epoch,
        node: HostName,
        why: ClaimReason,
    },
    PlatformAdopted {
        generation: Generation,
        /// SHA-256 of the file's text, hexadecimal.
        digest: String,
        desired: Box<Desired>,
        plan: Plan,
        by: By,
        reason: String,
    },
    CommandRefused {
        asked: String,
        uid: u32,
        reason: String,
        why: Refusal,
    },
    /// Somebody passed a gate that was not open.
    GateOverridden {
        gate: String,
        asked: String,
        found: Found,
        why: String,
        by: By,
        reason: String,
    },
    Paused {
        by: By,
        reason: String,
    },
    Resumed {
        by: By,
        reason: String,
    },
    /// Somebody stops the platform. What follows is not told: nobody is left to.
    Stopping {
        by: By,
        reason: String,
    },
    HostLost {
        host: HostName,
        silent_ms: u64,
    },
    HostReturned {
        host: HostName,
    },
    InstancePlaced {
        service: ServiceName,
        host: HostName,
        why: PlacedBecause,
    },
    InstanceWithdrawn {
        service: ServiceName,
        host: HostName,
        why: WithdrawnBecause,
    },
    FaultInjected {
        fault: FaultId,
        spec: FaultSpec,
        until_ms: u64,
        by: By,
        reason: String,
    },
    FaultEnding {
        fault: FaultId,
        why: EndReason,
    },
    SwitchoverOrdered {
        database: DatabaseName,
        from: HostName,
        to: HostName,
        by: By,
        reason: String,
    },
    /// The keeper on `host` is to serve alone.
    SoloOrdered {
        database: DatabaseName,
        host: HostName,
        by: By,
        reason: String,
    },
    /// The replica on `to` is to go on although a majority is gone. Answered commits may be lost, and that was accepted.
    FailoverForced {
        database: DatabaseName,
        to: HostName,
        by: By,
        reason: String,
    },
    /// A new version of Mainstay's own program is to be taken by these hosts, one after the other.
    UpgradeBegun {
        program: Program,
        hosts: Vec<HostName>,
        by: By,
        reason: String,
    },
    /// It is this host's turn.
    UpgradeOrdered {
        host: HostName,
    },
    UpgradeEnded(UpgradeEnd),
    EffectFinished {
        effect: EffectId,
        outcome: Outcome,
    },
    ReflexRecorded(Report),
    AlertChanged(AlertNews),
    Incident(mainstay_incident::Event),
    Experiment(ExperimentNews),
    Drill(DrillNews),
    Playbook(playbook::Event),
    /// Somebody is told of an incident, or is not to be.
    Notice(mainstay_notify::Event),
    /// A rule file was adopted, or a watch follows others.
    Rules(RulesNews),
    /// An entry of a kind or version that this version of Mainstay does not know.
    Unknown {
        kind: String,
        version: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimReason {
    First,
    LeaderSilent { leader: HostName, silent_ms: u64 },
    Returned,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacedBecause {
    /// The file wants an instance here.
    Wanted,
    BesideReplica {
        database: DatabaseName,
    },
    /// The instance of a lost host goes on here.
    InsteadOf {
        lost: HostName,
    },
    /// A run of a playbook moves the instance of this host here.
    Replaces {
        host: HostName,
        run: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WithdrawnBecause {
    /// The file does not want the service, or not here, any more.
    NotWanted,
    /// Its host is lost and another host has taken over.
    HostLost,
    /// Another one, that a run of a playbook had started, is ready.
    Replaced,
    /// It was to replace another one and did not get ready: that one stays.
    NotReady,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeEnd {
    /// Every host has it.
    Complete,
    /// This host refused it or could not show that it stands: it goes no further.
    Stopped { host: HostName, why: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    Expired,
    Cleared {
        by: By,
        reason: String,
    },
    /// A run of a playbook ends it.
    Playbook {
        run: String,
    },
    /// Its experiment is over.
    Experiment {
        experiment: ExperimentId,
    },
    /// The command that carried its drill has died.
    Drill {
        drill: DrillId,
    },
    /// The last attempt to end it failed.
    Again {
        failed: String,
    },
}
