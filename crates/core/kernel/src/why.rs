//! Why nothing was done: as much a result as any other.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use mainstay_incident::Became;
use mainstay_model::name::{DatabaseName, HostName, OperatorName, RegionName};
use mainstay_model::people::Permission;

use crate::effect::EffectId;
use crate::fault::{FAULT_MS_MAX, FaultTargetError};
use crate::gate::Found;

/// Why a signal led to no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It did lead to events.
    Decided,
    /// No timer is due.
    NothingDue,
    /// The node's key is the one that is known.
    KeyKnown,
    /// Keys are admitted for hosts of the platform file only.
    KeyOfStranger,
    HostKnownLost,
    HostNotLost,
    NotAHost,
    SilentTooShortly {
        silent_ms: u64,
    },
    FileInForce,
    /// Another file is in force; a changed one needs a command.
    AnotherFileInForce,
    AlreadyRecorded,
    /// The file in force has no watch on that host.
    NotAWatch,
    /// More alerts stand than the journal follows.
    TooManyAlerts,
    /// No drill of that number is carried by anybody.
    DrillNotCarried,
    /// Nobody waits for the outcome of this effect any more.
    NotOutstanding {
        effect: EffectId,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decided => f.write_str("decided"),
            Self::NothingDue => f.write_str("nothing is due"),
            Self::KeyKnown => f.write_str("the key is known"),
            Self::KeyOfStranger => f.write_str("the node is no host of the platform"),
            Self::HostKnownLost => f.write_str("the host is known to be lost"),
            Self::HostNotLost => f.write_str("the host was not lost"),
            Self::NotAHost => f.write_str("there is no such host"),
            Self::SilentTooShortly { silent_ms } => {
                write!(f, "silent for {silent_ms} ms only")
            }
            Self::FileInForce => f.write_str("this file is in force"),
            Self::AnotherFileInForce => {
                f.write_str("another file is in force; a changed one is applied by command")
            }
            Self::AlreadyRecorded => f.write_str("recorded already"),
            Self::NotAWatch => f.write_str("the platform file has no watch on that host"),
            Self::TooManyAlerts => f.write_str("more alerts stand than the journal follows"),
            Self::DrillNotCarried => f.write_str("no such drill is carried by anybody"),
            Self::NotOutstanding { effect } => write!(f, "effect {effect} is not outstanding"),
        }
    }
}

/// Why an operator's command was refused. Refusals are journalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoPlatform,
    UnknownActor {
        uid: u32,
    },
    Lacks {
        operator: OperatorName,
        permission: Permission,
    },
    NoReason,
    AlreadyPaused,
    NotPaused,
    /// Production, and the operator may not approve.
    ProductionUnapproved,
    FaultTarget(FaultTargetError),
    FaultDuration {
        lasts_ms: u64,
    },
    FaultDelay,
    FaultShape {
        why: String,
    },
    /// Something is broken on purpose: what then fails in a trial would be laid to the new program.
    UpgradeUntimely {
        why: String,
    },
    /// Now is no time for an experiment.
    ExperimentUntimely {
        why: String,
    },
    NoSuchExperiment {
        experiment: String,
    },
    ExperimentEndsAlready {
        experiment: String,
    },
    /// Now is no time for this with a drill.
    DrillUntimely {
        why: String,
    },
    NoSuchDrill {
        drill: String,
    },
    NoSuchFault {
        fault: String,
    },
    FaultEndsAlready {
        fault: String,
    },
    /// A gate of the platform file does not let it pass.
    GateShut {
        gate: String,
        found: Found,
        why: String,
        /// Why the gate stands there.
        reason: String,
    },
    /// What an action is said to have become.
    NotInForce(Became),
    /// No gate of that name stands before this.
    NoSuchGate {
        gate: String,
        gates: Vec<String>,
    },
    NoSuchDatabase(DatabaseName),
    NoReplicaIn {
        database: DatabaseName,
        region: RegionName,
    },
    Failover(FailoverRefusal),
    PrimaryUnknown(DatabaseName),
    PrimaryThere {
        database: DatabaseName,
        host: HostName,
    },
    SwitchoverUnderWay(DatabaseName),
    UpgradeUnderWay {
        version: String,
    },
    /// Every host has this program already.
    ProgramInForce,
    Paused,
    HostLost(HostName),
    FileInForce,
    Playbook(mainstay_playbook::Refusal),
    OtherPlatform {
        named: String,
    },
    /// A replica that shall leave is the primary.
    ReplicaIsPrimary {
        database: DatabaseName,
        host: HostName,
    },
    /// The file has a host no more whose replica has not left yet.
    ReplicaStillThere {
        database: DatabaseName,
        host: HostName,
    },
    DatabaseRemoved(DatabaseName),
    Incident(mainstay_incident::Refusal),
    NoSuchSilence(u64),
    Silence(&'static str),
    RulesInForce(String),
    Rules(&'static str),
    /// Written by a newer version.
    Other {
        code: String,
        text: String,
    },
}

impl Refusal {
    /// For programs.
    pub fn code(&self) -> String {
        let code = match self {
            Self::NoPlatform => "no_platform",
            Self::UnknownActor { .. } => "unknown_actor",
            Self::Lacks { .. } => "not_permitted",
            Self::NoReason => "no_reason",
            Self::AlreadyPaused => "already_paused",
            Self::NotPaused => "not_paused",
            Self::ProductionUnapproved => "production_unapproved",
            Self::FaultTarget(_) => "fault_target",
            Self::FaultDuration { .. } => "fault_duration",
            Self::FaultDelay => "fault_delay",
            Self::FaultShape { .. } => "fault_shape",
            Self::UpgradeUntimely { .. } => "upgrade_untimely",
            Self::ExperimentUntimely { .. } => "experiment_untimely",
            Self::NoSuchExperiment { .. } => "no_such_experiment",
            Self::ExperimentEndsAlready { .. } => "experiment_ends_already",
            Self::DrillUntimely { .. } => "drill_untimely",
            Self::NoSuchDrill { .. } => "no_such_drill",
            Self::NoSuchFault { .. } => "no_such_fault",
            Self::FaultEndsAlready { .. } => "fault_ends_already",
            Self::GateShut { .. } => "gate_shut",
            Self::NoSuchGate { .. } => "no_such_gate",
            Self::NotInForce(_) => "not_in_force",
            Self::NoSuchDatabase(_) => "no_such_database",
            Self::NoReplicaIn { .. } => "no_replica",
            Self::Failover(why) => why.code(),
            Self::PrimaryUnknown(_) => "primary_unknown",
            Self::PrimaryThere { .. } => "primary_there",
            Self::SwitchoverUnderWay(_) => "switchover_under_way",
            Self::UpgradeUnderWay { .. } => "upgrade_under_way",
            Self::ProgramInForce => "program_in_force",
            Self::Paused => "paused",
            Self::HostLost(_) => "host_lost",
            Self::FileInForce => "file_in_force",
            Self::Playbook(why) => why.code(),
            Self::OtherPlatform { .. } => "other_platform",
            Self::ReplicaIsPrimary { .. } => "replica_is_primary",
            Self::ReplicaStillThere { .. } => "replica_still_there",
            Self::DatabaseRemoved(_) => "database_removed",
            Self::Incident(refusal) => refusal.code(),
            Self::NoSuchSilence(_) => "no_such_silence",
            Self::Silence(_) => "silence",
            Self::RulesInForce(_) => "rules_in_force",
            Self::Rules(_) => "rules",
            Self::Other { code, .. } => return code.clone(),
        };
        code.to_string()
    }

    /// What the person can do about it.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::NoPlatform => "start the platform with `mainstay up FILE`",
            Self::UnknownActor { .. } => "add this user to the operators of the platform file",
            Self::Lacks { .. } => {
                "ask an operator who has the permission, or change the roles in the platform file"
            }
            Self::NoReason => "say why with --reason",
            Self::AlreadyPaused | Self::NotPaused | Self::FileInForce | Self::ProgramInForce => {
                "nothing needs to be done"
            }
            Self::ProductionUnapproved => {
                "let an operator with fault.approve inject it, or rehearse elsewhere"
            }
            Self::FaultTarget(_) => "`mainstay status` lists hosts, regions and processes",
            Self::FaultDuration { .. } => "choose another --for",
            Self::FaultDelay => "give a delay",
            Self::FaultShape { .. } => "correct the fault; nothing was broken",
            Self::ExperimentUntimely { .. } => {
                "wait until that is over, and run it again; nothing was broken"
            }
            Self::NoSuchExperiment { .. } | Self::ExperimentEndsAlready { .. } => {
                "`mainstay chaos list` shows what runs"
            }
            Self::DrillUntimely { .. } => "correct it, or wait until nothing stands in the way",
            Self::UpgradeUntimely { .. } => Self::next_step_of(b"upgrade_untimely"),
            Self::NoSuchDrill { .. } => {
                "`mainstay drill list` shows what runs and what is in force"
            }
            Self::NoSuchFault { .. } | Self::FaultEndsAlready { .. } => {
                "`mainstay fault list` shows faults in force"
            }
            Self::GateShut { .. } => Self::next_step_of(b"gate_shut"),
            Self::NoSuchGate { .. } => Self::next_step_of(b"no_such_gate"),
            Self::NotInForce(_) => Self::next_step_of(b"not_in_force"),
            Self::NoSuchDatabase(_)
            | Self::NoReplicaIn { .. }
            | Self::Failover(FailoverRefusal::NoReplicaOn { .. })
            | Self::PrimaryThere { .. } => {
                "`mainstay status` lists databases and where their replicas are"
            }
            Self::Failover(FailoverRefusal::LossNotAccepted(_)) => {
                "bring back a majority of the replicas, which loses nothing; or say --accept-data-loss"
            }
            Self::PrimaryUnknown(_) => "wait until `mainstay status` shows a primary",
            Self::SwitchoverUnderWay(_) | Self::UpgradeUnderWay { .. } => {
                "wait for it to end; `mainstay journal show` tells"
            }
            Self::Paused => "`mainstay resume` first",
            Self::HostLost(_) => "wait until the host is back, or choose another region",
            Self::Playbook(why) => why.next_step(),
            Self::OtherPlatform { .. } => "use another --data folder for another platform",
            Self::ReplicaIsPrimary { .. } => Self::next_step_of(b"replica_is_primary"),
            Self::ReplicaStillThere { .. } => Self::next_step_of(b"replica_still_there"),
            Self::DatabaseRemoved(_) => Self::next_step_of(b"database_removed"),
            Self::Incident(refusal) => Self::next_step_of(refusal.code().as_bytes()),
            Self::NoSuchSilence(_) => Self::next_step_of(b"no_such_silence"),
            Self::Silence(_) => Self::next_step_of(b"silence"),
            Self::RulesInForce(_) => Self::next_step_of(b"rules_in_force"),
            Self::Rules(_) => Self::next_step_of(b"rules"),
            Self::Other { code, .. } => Self::next_step_of(code.as_bytes()),
        }
    }
}

impl Refusal {
    /// A refusal that was read from the journal has its code and text only.
    const fn next_step_of(code: &[u8]) -> &'static str {
        match code {
            b"not_permitted" => {
                "ask an operator who has the permission, or change the roles in the platform file"
            }
            b"unknown_actor" => "add this user to the operators of the platform file",
            b"no_reason" => "say why with --reason",
            b"already_paused" | b"not_paused" | b"file_in_force" | b"program_in_force" => {
                "nothing needs to be done"
            }
            b"gate_shut" => {
                "see to what it measures, and wait until it opens; or, with gate.override, --override-gate NAME and the reason"
            }
            b"not_in_force" => {
                "put it in force first (`mainstay drill adopt`; a gate or rule with the platform file), then say what it became"
            }
            b"no_such_gate" => "correct --override-gate; nothing was done",
            b"paused" => "`mainstay resume` first",
            b"production_unapproved" => {
                "let an operator with fault.approve inject it, or rehearse elsewhere"
            }
            b"no_such_fault" | b"fault_ends_already" => {
                "`mainstay fault list` shows faults in force"
            }
            b"fault_duration" => "choose another --for",
            b"fault_delay" => "give a delay",
            b"fault_shape" => "correct the fault; nothing was broken",
            b"experiment_untimely" => {
                "wait until that is over, and run it again; nothing was broken"
            }
            b"no_such_experiment" | b"experiment_ends_already" => {
                "`mainstay chaos list` shows what runs"
            }
            b"upgrade_untimely" => {
                "wait until that is over, or end it (`mainstay drill`, `chaos stop`, `fault clear`); no host was told"
            }
            b"drill_untimely" => "correct it, or wait until nothing stands in the way",
            b"no_such_drill" => "`mainstay drill list` shows what runs and what is in force",
            b"primary_unknown" => "wait until `mainstay status` shows a primary",
            b"switchover_under_way" | b"upgrade_under_way" => {
                "wait for it to end; `mainstay journal show` tells"
            }
            b"host_lost" => "wait until the host is back, or choose another region",
            b"other_platform" => "use another --data folder for another platform",
            b"no_such_incident" | b"incident_phase" | b"incident_merged" => {
                "`mainstay incident list` shows incidents and their states"
            }
            b"incident_already" => "nothing needs to be done",
            b"no_such_operator" => "name an operator of the platform file",
            b"incident_stands" => {
                "wait until it was measured to have ended, or say --despite with the reason"
            }
            b"no_such_thing" => "`mainstay status` lists hosts, databases, services and gateways",
            b"no_such_silence" => "`mainstay silence list` shows those that last",
            b"silence" => "correct the command",
            b"rules_in_force" => "nothing needs to be done",
            b"rules" => "run `mainstay up` again: it begins with the first part",
            b"incident_into_itself" | b"incident_text" | b"incident_links" => "correct the command",
            b"database_removed" => "leave existing databases in the file",
            b"replica_is_primary" => "`mainstay switchover` first, to a replica that stays",
            b"replica_still_there" => {
                "leave the host in the file until `mainstay journal show` tells that its replica was let go"
            }
            code => mainstay_playbook::Refusal::next_step_of(code),
        }
    }
}

/// Why a replica, or its host, cannot leave.
fn stays(
    database: &DatabaseName,
    host: &HostName,
    is_primary: bool,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if is_primary {
        return write!(
            f,
            "the replica of {database} on {host} is the primary and cannot leave"
        );
    }
    write!(
        f,
        "host {host} is missing, and its replica of {database} has not left yet"
    )
}

/// Why a database does not go on without a majority of its replicas.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FailoverRefusal {
    NoReplicaOn {
        database: DatabaseName,
        host: HostName,
    },
    /// Answered commits may be lost, and that has to be said.
    LossNotAccepted(DatabaseName),
}

impl FailoverRefusal {
    const fn code(&self) -> &'static str {
        match self {
            Self::NoReplicaOn { .. } => "no_replica_on",
            Self::LossNotAccepted(_) => "loss_not_accepted",
        }
    }
}

impl fmt::Display for FailoverRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReplicaOn { database, host } => {
                write!(f, "{database} has no replica on {host}")
            }
            Self::LossNotAccepted(database) => write!(
                f,
                "commits of {database} that were answered may be lost, and nobody said that this is accepted"
            ),
        }
    }
}

impl Refusal {
    /// Of gates, and of what an action may become.
    fn fmt_gate(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::GateShut {
            gate,
            found,
            why,
            reason,
        } = self
        {
            let found = found.as_str();
            write!(
                f,
                "the gate {gate} is {found}: {why}; it stands there because {reason}"
            )?;
        }
        if let Self::NotInForce(became) = self {
            write!(f, "no {} {} is in force", became.kind(), became.name())?;
        }
        if let Self::NoSuchGate { gate, gates } = self {
            let gates = gates.join(", ");
            return match gates.is_empty() {
                true => write!(f, "no gate stands before this, so none is called {gate}"),
                false => write!(f, "no gate before this is called {gate}; there is {gates}"),
            };
        }
        Ok(())
    }

    /// Of rules and upgrades.
    fn fmt_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::UpgradeUntimely { why } = self {
            return write!(f, "no upgrade now: {why}");
        }
        if let Self::UpgradeUnderWay { version } = self {
            return write!(f, "an upgrade to {version} is under way");
        }
        if let Self::RulesInForce(file) = self {
            return write!(f, "this text of {file} is in force already");
        }
        if let Self::Rules(why) = self {
            return write!(f, "that cannot be adopted: {why}");
        }
        Ok(())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPlatform => f.write_str("no platform file is in force yet"),
            Self::UnknownActor { uid } => {
                write!(f, "uid {uid} is no operator of this platform")
            }
            Self::Lacks {
                operator,
                permission,
            } => write!(f, "operator {operator} does not have {permission}"),
            Self::NoReason => f.write_str("a reason is needed"),
            Self::AlreadyPaused => f.write_str("automation is paused already"),
            Self::NotPaused => f.write_str("automation is not paused"),
            Self::ProductionUnapproved => {
                f.write_str("this is production: a fault needs somebody with fault.approve")
            }
            Self::FaultTarget(error) => error.fmt(f),
            Self::FaultDuration { lasts_ms } => {
                write!(
                    f,
                    "a fault lasts from 1 to {FAULT_MS_MAX} ms, not {lasts_ms}"
                )
            }
            Self::FaultDelay => f.write_str("a delay of nothing is no fault"),
            Self::FaultShape { why } | Self::DrillUntimely { why } => f.write_str(why),
            Self::ExperimentUntimely { why } => write!(f, "no experiment now: {why}"),
            Self::NoSuchExperiment { experiment: one } => write!(f, "no experiment {one} runs"),
            Self::ExperimentEndsAlready { experiment: one } => write!(f, "{one} is ending already"),
            Self::NoSuchDrill { drill } => write!(f, "there is no drill {drill}"),
            Self::NoSuchFault { fault } => write!(f, "no fault {fault} is in force"),
            Self::FaultEndsAlready { fault } => write!(f, "fault {fault} is being ended"),
            Self::NoSuchDatabase(database) => write!(f, "there is no database {database}"),
            Self::GateShut { .. } | Self::NoSuchGate { .. } | Self::NotInForce(_) => {
                self.fmt_gate(f)
            }
            Self::NoReplicaIn { database, region } => {
                write!(f, "database {database} has no replica in {region}")
            }
            Self::PrimaryUnknown(database) => {
                write!(f, "where the primary of {database} is, is not known")
            }
            Self::Failover(why) => why.fmt(f),
            Self::PrimaryThere { database, host } => {
                write!(f, "the primary of {database} is on {host} already")
            }
            Self::SwitchoverUnderWay(database) => {
                write!(f, "a switchover of {database} is under way")
            }
            Self::ProgramInForce => f.write_str("every host has this program already"),
            Self::Paused => f.write_str("automation is paused"),
            Self::HostLost(host) => write!(f, "host {host} is lost"),
            Self::Playbook(why) => why.fmt(f),
            Self::FileInForce => f.write_str("this file is in force already"),
            Self::OtherPlatform { named } => write!(f, "the file describes the platform {named}"),
            Self::ReplicaIsPrimary { database, host } => stays(database, host, true, f),
            Self::ReplicaStillThere { database, host } => stays(database, host, false, f),
            Self::DatabaseRemoved(database) => {
                write!(
                    f,
                    "database {database} is missing; removing one is not possible yet"
                )
            }
            Self::Incident(refusal) => refusal.fmt(f),
            Self::NoSuchSilence(silence) => write!(f, "there is no silence s{silence}"),
            Self::Silence(why) => write!(f, "that is no silence: {why}"),
            Self::RulesInForce(_)
            | Self::Rules(_)
            | Self::UpgradeUntimely { .. }
            | Self::UpgradeUnderWay { .. } => self.fmt_rest(f),
            Self::Other { text, .. } => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_read_from_the_journal_has_the_next_step_it_had() {
        for refusal in [
            Refusal::NotPaused,
            Refusal::NoReason,
            Refusal::ProductionUnapproved,
            Refusal::UnknownActor { uid: 7 },
            Refusal::FaultDelay,
            Refusal::UpgradeUntimely { why: "x".into() },
            Refusal::ExperimentUntimely { why: "x".into() },
            Refusal::ExperimentEndsAlready {
                experiment: "x1".into(),
            },
            Refusal::DrillUntimely { why: "x".into() },
            Refusal::NoSuchDrill { drill: "d1".into() },
            Refusal::NoSuchFault { fault: "f1".into() },
            Refusal::FaultDuration { lasts_ms: 0 },
            Refusal::GateShut {
                gate: "g".into(),
                found: Found::Shut,
                why: "x is 1".into(),
                reason: "y".into(),
            },
            Refusal::NoSuchGate {
                gate: "g".into(),
                gates: Vec::new(),
            },
        ] {
            let read = Refusal::Other {
                code: refusal.code(),
                text: refusal.to_string(),
            };
            assert_eq!(read.next_step(), refusal.next_step(), "{refusal}");
        }
    }
}
