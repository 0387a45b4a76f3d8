//! Operators, and what their roles let them do.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::name::{OperatorName, RoleName};

/// What a command needs. Whoever lacks it is told its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    StatusRead,
    JournalRead,
    PlatformApply,
    PlatformStop,
    PlatformUpgrade,
    AutomationPause,
    DatabaseSwitchover,
    DatabaseSolo,
    DatabaseFailover,
    FaultInject,
    FaultClear,
    FaultApprove,
    GateOverride,
    DrillAdopt,
    DrillRun,
    DrillConfirm,
    DrillSign,
    IncidentManage,
    PlaybookRun,
    PlaybookApprove,
}

impl Permission {
    pub const ALL: [Self; 20] = [
        Self::StatusRead,
        Self::JournalRead,
        Self::PlatformApply,
        Self::PlatformStop,
        Self::PlatformUpgrade,
        Self::AutomationPause,
        Self::DatabaseSwitchover,
        Self::DatabaseSolo,
        Self::DatabaseFailover,
        Self::FaultInject,
        Self::FaultClear,
        Self::FaultApprove,
        Self::GateOverride,
        Self::DrillAdopt,
        Self::DrillRun,
        Self::DrillConfirm,
        Self::DrillSign,
        Self::IncidentManage,
        Self::PlaybookRun,
        Self::PlaybookApprove,
    ];

    /// Without somebody who holds these, the platform could not be run or stopped.
    pub const VITAL: [Self; 4] = [
        Self::StatusRead,
        Self::PlatformApply,
        Self::PlatformStop,
        Self::FaultClear,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StatusRead => "status.read",
            Self::JournalRead => "journal.read",
            Self::PlatformApply => "platform.apply",
            Self::PlatformStop => "platform.stop",
            Self::PlatformUpgrade => "platform.upgrade",
            Self::AutomationPause => "automation.pause",
            Self::DatabaseSwitchover => "database.switchover",
            Self::DatabaseSolo => "database.solo",
            Self::DatabaseFailover => "database.failover",
            Self::FaultInject => "fault.inject",
            Self::FaultClear => "fault.clear",
            Self::FaultApprove => "fault.approve",
            Self::GateOverride => "gate.override",
            Self::DrillAdopt => "drill.adopt",
            Self::DrillRun => "drill.run",
            Self::DrillConfirm => "drill.confirm",
            Self::DrillSign => "drill.sign",
            Self::IncidentManage => "incident.manage",
            Self::PlaybookRun => "playbook.run",
            Self::PlaybookApprove => "playbook.approve",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|permission| permission.as_str() == text)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub name: RoleName,
    pub permissions: BTreeSet<Permission>,
}

/// How an operator is recognised: by the credential that the kernel reports for the peer of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnixIdentity {
    /// Whoever started the platform.
    Owner,
    Uid(u32),
    User(String),
}

impl fmt::Display for UnixIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("whoever started the platform"),
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::User(user) => write!(f, "user {user}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    pub name: OperatorName,
    pub identity: UnixIdentity,
    pub roles: Vec<RoleName>,
}
