//! Playbooks and their runs as stored, sent and shown.
//!
//! A playbook is stored as its text, so that history tells what was followed. Its form is that of its own
//! `apiVersion`: whoever reads the journal reads the text by the rules of that version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::node::BesideFacts;

pub type ValuesRecord = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhoRecord {
    pub uid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

/// What was decided about a playbook or a run of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PlaybookBody {
    Adopted {
        digest: String,
        text: String,
        /// By the platform file.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        named: bool,
        by: WhoRecord,
        reason: String,
    },
    Withdrawn {
        playbook: String,
        by: WhoRecord,
        reason: String,
    },
    Opened {
        /// `r1`, `r2`, …
        run: String,
        playbook: String,
        values: ValuesRecord,
        origin: OriginRecord,
        opening: OpeningRecord,
    },
    Declined {
        playbook: String,
        origin: OriginRecord,
        why: String,
    },
    Approved {
        run: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<WhoRecord>,
        reason: String,
    },
    Started {
        run: String,
        targets: Vec<TargetRecord>,
    },
    Begun {
        run: String,
        step: u32,
        attempt: u32,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        undo: bool,
        act: ActRecord,
    },
    Looked {
        run: String,
        step: u32,
        purpose: String,
        look: LookRecord,
    },
    Skipped {
        run: String,
        step: u32,
        why: String,
    },
    Failed {
        run: String,
        step: u32,
        why: String,
    },
    Asks {
        run: String,
        why: String,
    },
    Aborted {
        run: String,
        undo: bool,
        by: WhoRecord,
        reason: String,
    },
    Ended {
        run: String,
        ending: String,
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OriginRecord {
    Alert {
        watch: String,
        alert: String,
    },
    Incident {
        incident: String,
        /// `open`, `acknowledged`, `mitigated`, `resolved`
        state: String,
    },
    Schedule {},
    Person {
        by: WhoRecord,
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OpeningRecord {
    Observes {},
    Waits {
        until_ms: u64,
        needs: u16,
        /// Whether it goes on when nobody said anything in time.
        proceeds: bool,
    },
    Goes {},
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetRecord {
    Database { database: String },
    Host { host: String },
    Instance { host: String, instance: String },
    Service { service: String },
    Faults {},
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ActRecord {
    Switchover {
        database: String,
        from: String,
        to: String,
    },
    Restart {
        host: String,
        instance: String,
    },
    ClearFaults {
        faults: Vec<String>,
    },
    Drain {
        hosts: Vec<String>,
    },
    Return {
        hosts: Vec<String>,
        /// Services and regions whose shifts are over.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shifts: Vec<(String, String)>,
    },
    Shift {
        service: String,
        region: String,
        share: u8,
    },
    Replicas {
        service: String,
        count: u16,
        before: u16,
    },
    Mode {
        host: String,
        service: String,
        mode: String,
    },
    Run {
        host: String,
        program: String,
        arguments: Vec<String>,
        /// What it may beyond its own folder; a version before gave every program more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reads: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        connects: Vec<u16>,
    },
    Replace {
        host: String,
        service: String,
        to: String,
    },
    Rebuild {
        database: String,
        host: String,
    },
    Http(Box<CallRecord>),
    Notify {
        to: String,
        text: String,
    },
    WorkItem {
        title: String,
        owner: String,
        due: DueRecord,
        incident: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRecord {
    pub host: String,
    pub url: String,
    /// `GET`, `POST`, …
    pub method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_file: Option<String>,
    /// The first and the last status that mean that it was done.
    pub expect: (u16, u16),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DueRecord {
    Day(String),
    Days(u16),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookRecord {
    pub condition: ConditionRecord,
    pub within_ms: u64,
    pub hold_ms: u64,
    /// The host whose watch is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ConditionRecord {
    Query {
        promql: String,
    },
    Ready {
        host: String,
        instance: String,
    },
    Alive {
        host: String,
        instance: String,
    },
    Primary {
        database: String,
        region: String,
    },
    Replica {
        database: String,
        host: String,
    },
    NoFaults {},
    Quiet {
        alert: String,
    },
    Instances {
        service: String,
        ready: String,
    },
    Shifted {
        service: String,
        from: String,
        share: String,
    },
    Mode {
        service: String,
        mode: String,
    },
}

/// What an operator asks: on its way to the leader, and from the command line to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PlaybookAsk {
    Adopt {
        text: String,
        /// By the platform file.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        named: bool,
    },
    Withdraw {
        playbook: String,
    },
    Run {
        playbook: String,
        values: ValuesRecord,
    },
    Approve {
        run: String,
    },
    Abort {
        run: String,
        undo: bool,
    },
}

// ---- what people are shown -------------------------------------------------------------------------

/// `GET /v1/playbooks`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaybooksShown {
    pub version: u32,
    pub playbooks: Vec<PlaybookShown>,
    pub runs: Vec<RunShown>,
    /// Newest first.
    pub ended: Vec<RunShown>,
    /// Hosts out of the gateways' routing.
    pub drained: Vec<String>,
    /// All that playbooks have set beside the platform file.
    #[serde(default)]
    pub beside: BesideFacts,
    /// The newest version that each name ever had; none from a node of an earlier version.
    #[serde(default)]
    pub newest: BTreeMap<String, NewestShown>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewestShown {
    pub version: u32,
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaybookShown {
    pub name: String,
    pub version: u32,
    pub summary: String,
    /// As the text says, and as it has earned.
    pub mode: String,
    pub mode_now: String,
    pub digest: String,
    /// The platform file names it.
    #[serde(default)]
    pub named: bool,
    pub by: String,
    pub since_ms: u64,
    pub triggers: Vec<String>,
    pub parameters: Vec<String>,
    pub steps: Vec<String>,
    /// Runs that acted, and how many of the last ones in a row ended well.
    pub runs: u32,
    pub successes: u32,
    /// When the time opens the next run, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunShown {
    pub run: String,
    pub playbook: String,
    pub playbook_version: u32,
    pub digest: String,
    pub values: ValuesRecord,
    pub origin: String,
    pub opened_ms: u64,
    pub started_ms: Option<u64>,
    /// `waits`, `acting`, `asking`, …; of one that ended: how.
    pub phase: String,
    pub since_ms: u64,
    /// What it waits for, or why it ended so.
    pub why: String,
    pub step: Option<String>,
    pub targets: Vec<String>,
    pub seen: Vec<SeenShown>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenShown {
    pub at_ms: u64,
    pub step: Option<String>,
    pub text: String,
}

/// `POST /v1/playbooks/dry-run`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DryRunRequest {
    /// The name of one in force, if there is no text.
    #[serde(default)]
    pub playbook: Option<String>,
    #[serde(default)]
    pub text: Option<String>,
    pub values: ValuesRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRun {
    pub version: u32,
    pub playbook: String,
    pub playbook_version: u32,
    pub values: ValuesRecord,
    pub mode_now: String,
    /// So many people must approve it.
    pub approvals: u16,
    pub targets: Vec<String>,
    pub guardrails: Vec<GuardrailShown>,
    pub steps: Vec<StepShown>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardrailShown {
    pub guardrail: String,
    /// `holds`, `asks`, `refuses`, `unknown`
    pub verdict: String,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepShown {
    pub id: String,
    /// `acts`, `already`, `waits`, `cannot`, `looks`
    pub verdict: String,
    /// Exactly what would be done, or why nothing.
    pub effect: String,
    /// `when` and `verify` as they are now, in words.
    pub conditions: Vec<String>,
    pub timeout_ms: u64,
    pub compensation: Option<String>,
}
