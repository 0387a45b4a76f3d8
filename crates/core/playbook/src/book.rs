//! What a playbook says.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::call::Call;
use crate::work_item::WorkItem;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book {
    pub name: String,
    pub version: u32,
    pub summary: String,
    pub mode: Mode,
    pub promotion: Option<Promotion>,
    pub triggers: Vec<Trigger>,
    pub parameters: Vec<Parameter>,
    pub approval: Approval,
    pub guardrails: Guardrails,
    pub steps: Vec<Step>,
}

impl Book {
    /// Whether any step changes something, or all of them only look.
    pub fn acts(&self) -> bool {
        self.steps.iter().any(|step| step.action.acts())
    }
}

/// What a trigger leads to. Whoever runs a playbook by hand decides that for himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// It is only written down that it would have run.
    Observe,
    /// It waits for one person who says go; nobody does, nothing happens.
    Suggest,
    /// It waits for the approvals that it names.
    Approve,
    /// It runs.
    Auto,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::Observe, Self::Suggest, Self::Approve, Self::Auto];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Suggest => "suggest",
            Self::Approve => "approve",
            Self::Auto => "auto",
        }
    }
}

/// A book that ended well so many times in a row, in one version, takes a bolder mode. One failure takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promotion {
    pub after: u32,
    pub to: Mode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// An alert that fires and has all of these labels.
    Alert { labels: BTreeMap<String, String> },
    /// An incident that comes into a state, and is at least so bad, about one of these.
    Incident {
        state: IncidentState,
        severity: Gravity,
        /// `KIND/NAME`, which means its part on a host too; about anything, if empty.
        things: BTreeSet<String>,
    },
    /// Again and again, at least so long after the last run began.
    Every { every_ms: u64 },
    /// At times of the calendar: cron, in UTC. Whoever composes this crate reads it.
    Schedule { cron: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IncidentState {
    /// Nobody has it yet.
    Open,
    Acknowledged,
    Mitigated,
    Resolved,
}

impl IncidentState {
    pub const ALL: [Self; 4] = [
        Self::Open,
        Self::Acknowledged,
        Self::Mitigated,
        Self::Resolved,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Mitigated => "mitigated",
            Self::Resolved => "resolved",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// How bad an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    Info,
    Warning,
    Error,
    Critical,
}

impl Gravity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub kind: ParameterKind,
    /// The alert's label whose value it takes.
    pub label: Option<String>,
    pub default: Option<String>,
    /// If not empty, one of these.
    pub one_of: Vec<String>,
    pub least: Option<i64>,
    pub most: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ParameterKind {
    Text,
    Integer,
    Host,
    Region,
    Database,
    /// A process that Mainstay keeps running: a service, a gateway.
    Instance,
}

impl ParameterKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Host => "host",
            Self::Region => "region",
            Self::Database => "database",
            Self::Instance => "instance",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The text says how it is approved; otherwise all of this is as where nothing is said.
    pub is_written: bool,
    /// Names of operators; empty: whoever may approve playbooks.
    pub by: Vec<String>,
    /// So many different people.
    pub count: u16,
    pub expires_ms: u64,
    pub expiry: Expiry,
}

/// What becomes of a run for which nobody said anything in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    Refuse,
    Proceed,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guardrails {
    /// Things that one run may touch at most.
    pub targets_most: Option<u32>,
    /// Hosts that all runs together may touch at once, in percent of all.
    pub share_most: Option<u8>,
    pub rate: Option<Rate>,
    /// After a run ended, what it touched is left alone for so long.
    pub cool_down_ms: u64,
    /// Hosts that must be well and untouched.
    pub healthy_least: Option<u32>,
    /// With more hosts in trouble than this, in percent, it stops and asks: then the alert, or something that all
    /// have in common, is more likely to be wrong than each of them.
    pub unhealthy_most: Option<u8>,
    pub forbidden: Vec<Window>,
    /// Measured before the first step; what is not measured does not hold.
    pub condition: Option<Condition>,
}

/// So many runs within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub runs: u32,
    pub per_ms: u64,
}

/// Part of a week, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Bit 0 is Monday.
    pub days: u8,
    /// Minutes since midnight; a window whose end is not after its start ends on the next day.
    pub from: u16,
    pub to: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub id: String,
    /// Looked at once; if it does not hold, the step is passed over.
    pub when: Option<Condition>,
    pub action: Action,
    pub timeout_ms: u64,
    pub retry: Retry,
    /// Doing it twice is as good as once.
    pub idempotent: bool,
    pub verify: Option<Verify>,
    pub compensate: Option<Action>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Beyond the first attempt.
    pub times: u32,
    pub pause_ms: u64,
}

/// What must be seen before a step counts as done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    pub condition: Condition,
    pub within_ms: u64,
    /// It must hold for so long.
    pub hold_ms: u64,
}

/// Whose part of the gateways' routing an action is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Host(String),
    Region(String),
}

/// Texts may hold `${parameter}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Moves the primary of a database to a region.
    Switchover {
        database: String,
        to: String,
    },
    /// Stops an instance in order and has it started again.
    Restart {
        host: String,
        instance: String,
    },
    /// Ends every fault that was injected on purpose.
    ClearFaults,
    /// Gateways send no new requests there.
    Drain(Place),
    Return(Place),
    /// A program in a confined place on a host.
    Run {
        host: String,
        program: String,
        arguments: Vec<String>,
        allows: Allowance,
    },
    /// Moves an instance of a service off its host, to another one.
    Replace {
        host: String,
        instance: String,
    },
    /// Fills a replica anew from the primary.
    Rebuild {
        database: String,
        host: String,
    },
    Http(Box<Call>),
    /// Says something over the channels of the people on call: `rotation/NAME`, `operator/NAME` or `channel/NAME`.
    Notify {
        to: String,
        text: String,
    },
    WorkItem(Box<WorkItem>),
    /// Gateways send only a share of a service's new requests to its instances in a region.
    Shift {
        what: Routed,
        from: String,
        /// In percent.
        share: String,
    },
    /// How many instances of a service run, until the platform file changes.
    Replicas {
        service: String,
        /// A number, or [`AS_FILE`].
        count: String,
    },
    /// Tells the active instance of a service which of its declared modes it is in.
    Mode {
        service: String,
        mode: String,
    },
    /// Nothing but looking, until it holds or the step's time is over.
    Wait(Box<Condition>),
}

/// What a program may beyond reading the system's programs and writing in its own folder. No parameter decides it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Paths that it may read too, and run programs from.
    pub reads: Vec<String>,
    /// TCP ports that it may connect to.
    pub connects: Vec<u16>,
}

impl core::fmt::Display for Allowance {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if !self.reads.is_empty() {
            write!(f, "; it may read {}", self.reads.join(", "))?;
        }
        for (index, port) in self.connects.iter().enumerate() {
            let lead = match index {
                0 => "; it may connect to port ",
                _ => ", ",
            };
            write!(f, "{lead}{port}")?;
        }
        Ok(())
    }
}

/// In place of a number of instances: as many as the platform file says.
pub const AS_FILE: &str = "file";

/// Whose requests are shifted: those of a service on all of its routes, by its name or by one of the routes' paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routed {
    Service(String),
    Route(String),
}

impl Action {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Switchover { .. } => "switchover",
            Self::Restart { .. } => "restart",
            Self::ClearFaults => "clearFaults",
            Self::Drain(_) => "drain",
            Self::Return(_) => "return",
            Self::Run { .. } => "run",
            Self::Replace { .. } => "replace",
            Self::Rebuild { .. } => "rebuild",
            Self::Http(_) => "http",
            Self::Notify { .. } => "notify",
            Self::WorkItem(_) => "workItem",
            Self::Shift { .. } => "shift",
            Self::Replicas { .. } => "replicas",
            Self::Mode { .. } => "mode",
            Self::Wait(_) => "wait",
        }
    }

    pub const fn acts(&self) -> bool {
        !matches!(self, Self::Wait(_))
    }
}

/// Something that can be measured. Texts may hold `${parameter}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// PromQL: holds if it has a result that is not 0.
    Query(String),
    /// An instance runs and its probes say that it is ready; `alive` is enough for one that stands by.
    Ready {
        host: String,
        instance: String,
    },
    Alive {
        host: String,
        instance: String,
    },
    /// A replica of the database in this region is open as primary.
    Primary {
        database: String,
        region: String,
    },
    /// A replica on this host streams, and the primary counts on it.
    Replica {
        database: String,
        host: String,
    },
    /// No fault is in force.
    NoFaults,
    /// No alert of this name stands, neither firing nor missing.
    Quiet {
        alert: String,
    },
    /// At least so many instances of a service are ready by their probes.
    Instances {
        service: String,
        ready: String,
    },
    /// Every gateway that leads to the service says that it sends this share of new requests to the region.
    Shifted {
        service: String,
        from: String,
        /// In percent.
        share: String,
    },
    /// The active instance of a service says that it is in this mode.
    Mode {
        service: String,
        mode: String,
    },
}
