//! The form of a playbook. Its doc comments are the descriptions in the JSON Schema.
//!
//! As in the platform file: plain structures and lists, so that every field has one place and one type.

mod acts;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use acts::{HttpForm, NotifyForm, ReplicaForm, WorkItemForm};

use crate::decode::{list, tolerant};
use crate::quantity::{Scalar, Span};

/// What to do when something is wrong, within which limits, and how it is seen that it helped.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PlaybookFile {
    /// Version of this format.
    #[schemars(extend("const" = "mainstay/v1"))]
    #[serde(rename = "apiVersion")]
    pub(crate) _api_version: String,
    /// What the file describes.
    #[schemars(extend("const" = "Playbook"))]
    #[serde(rename = "kind")]
    pub(crate) _kind: String,
    #[serde(deserialize_with = "tolerant")]
    pub(crate) metadata: PlaybookMetadata,
    #[serde(deserialize_with = "tolerant")]
    pub(crate) spec: PlaybookSpec,
}

/// What the playbook is called.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PlaybookMetadata {
    /// Lower-case letters, digits and '-', at most 32.
    pub(crate) name: String,
    /// From 1. A changed text needs a higher one: history tells by it what was followed.
    pub(crate) version: u32,
}

/// The playbook itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PlaybookSpec {
    /// For whom it is and what it does, in a sentence.
    pub(crate) summary: String,
    /// What a trigger leads to. A person who runs it by hand has decided already, but approvals are still needed.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) mode: ModeWord,
    /// A bolder mode after runs that went well.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) promotion: Option<PromotionForm>,
    /// When it runs by itself. It can always be run by hand.
    #[serde(default, deserialize_with = "list")]
    pub(crate) triggers: Vec<TriggerForm>,
    /// Values that a trigger or a person gives. Texts below name them as `${name}`.
    #[serde(default, deserialize_with = "list")]
    pub(crate) parameters: Vec<ParameterForm>,
    /// Who must say go, in the mode `approve`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) approval: Option<ApprovalForm>,
    /// Limits that hold for every run, by hand too.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) guardrails: GuardrailsForm,
    /// One after the other.
    #[serde(deserialize_with = "list")]
    pub(crate) steps: Vec<StepForm>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModeWord {
    /// It is only written down that it would have run.
    Observe,
    /// It waits for one person who says go.
    #[default]
    Suggest,
    /// It waits for the approvals below.
    Approve,
    /// It runs.
    Auto,
}

/// Earned, not given: one run that does not end well takes it back.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PromotionForm {
    /// So many runs of this version in a row that ended well.
    pub(crate) after: u32,
    /// The mode that they earn.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) to: ModeWord,
}

/// Exactly one of these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct TriggerForm {
    /// An alert that begins to fire.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) alert: Option<AlertForm>,
    /// The budget of an objective that burns: the alert `ErrorBudgetBurn` of it.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) burn: Option<BurnForm>,
    /// An incident that comes into a state.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) incident: Option<IncidentForm>,
    /// Again and again, so long after the last run began.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) every: Option<Span>,
    /// At times of the calendar: cron in UTC, five fields (minute, hour, day, month, weekday) or six with seconds first.
    #[serde(default)]
    pub(crate) schedule: Option<String>,
}

/// Whose budget, and how fast it burns.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct BurnForm {
    /// The name of an objective of the platform file.
    pub(crate) objective: String,
    /// Of the tier: `1h` is the fastest, then `6h`, `1d`, `3d`; any of them, if none is given.
    #[serde(default)]
    pub(crate) window: Option<String>,
}

/// Which incidents, and when.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct IncidentForm {
    /// As it comes into this state (default `open`), or comes to meet the rest while in it.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) state: StateWord,
    /// At least so bad (default `warning`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) severity: SeverityWord,
    /// About one of these, such as `database/ledger`, which means its part on a host too; about anything, if none is given.
    #[serde(default, deserialize_with = "list")]
    pub(crate) things: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StateWord {
    #[default]
    Open,
    Acknowledged,
    Mitigated,
    Resolved,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SeverityWord {
    Info,
    #[default]
    Warning,
    Error,
    Critical,
}

/// Which alerts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct AlertForm {
    /// The alert has all of these labels with these values; `alertname` is its name.
    pub(crate) labels: BTreeMap<String, String>,
}

/// A value, from an alert's label, from a person, or by default.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ParameterForm {
    /// As it stands between `${` and `}`.
    pub(crate) name: String,
    /// What it is; names of hosts and so on must exist on the platform.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) kind: KindWord,
    /// The label of the alert whose value it takes.
    #[serde(default)]
    pub(crate) label: Option<String>,
    /// If neither the alert nor a person says anything.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) default: Option<Scalar>,
    /// If given, one of these.
    #[serde(default, deserialize_with = "list")]
    pub(crate) one_of: Vec<String>,
    /// The smallest number.
    #[serde(default)]
    pub(crate) least: Option<i64>,
    /// The largest number.
    #[serde(default)]
    pub(crate) most: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KindWord {
    #[default]
    Text,
    Integer,
    Host,
    Region,
    Database,
    /// A service, or a gateway as `gateway-NAME`.
    Instance,
}

/// Who must say go.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ApprovalForm {
    /// Names of operators; whoever has `playbook.approve`, if nobody is named.
    #[serde(default, deserialize_with = "list")]
    pub(crate) by: Vec<String>,
    /// So many different people (default 1). Who runs it by hand and may approve it is one of them.
    #[serde(default)]
    pub(crate) count: Option<u16>,
    /// Default `15m`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) expires: Option<Span>,
    /// What happens when nobody said anything in time (default `refuse`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) otherwise: Option<OtherwiseWord>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OtherwiseWord {
    #[default]
    Refuse,
    Proceed,
}

/// All of them are looked at and reserved in one decision, over all playbooks.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct GuardrailsForm {
    /// Things that one run may touch.
    #[serde(default)]
    pub(crate) most_targets: Option<u32>,
    /// Hosts that all runs together may touch at once, in percent.
    #[serde(default)]
    pub(crate) most_share: Option<u8>,
    /// Runs within a time.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) rate: Option<RateForm>,
    /// After a run, what it touched is left alone for so long.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) cool_down: Option<Span>,
    /// Hosts that must be well and untouched.
    #[serde(default)]
    pub(crate) least_healthy: Option<u32>,
    /// With more hosts in trouble, in percent, it stops and asks (default 50).
    #[serde(default)]
    pub(crate) most_unhealthy: Option<u8>,
    /// When it does not run.
    #[serde(default, deserialize_with = "list")]
    pub(crate) forbidden: Vec<WindowForm>,
    /// Measured before the first step, a budget say; what is not measured does not hold.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) condition: Option<ConditionForm>,
}

/// At most so many within the time.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RateForm {
    /// How many.
    pub(crate) runs: u32,
    /// Within which time.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) per: Span,
}

/// Part of a week, in UTC.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct WindowForm {
    /// Every day, if none is given.
    #[serde(default, deserialize_with = "list")]
    pub(crate) days: Vec<DayWord>,
    /// Such as `"13:30"`.
    pub(crate) from: String,
    /// On the next day, if it is not after `from`.
    pub(crate) to: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DayWord {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// Written down before it is done, and its outcome after.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct StepForm {
    /// Unique within the playbook.
    pub(crate) id: String,
    /// If it does not hold, the step is passed over.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) when: Option<ConditionForm>,
    #[serde(deserialize_with = "tolerant")]
    pub(crate) action: ActionForm,
    /// For the action (default `30s`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) timeout: Option<Span>,
    /// When the action has certainly not been done.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) retry: Option<RetryForm>,
    /// Doing it twice is as good as once: it may be repeated although nobody knows whether it was done.
    #[serde(default)]
    pub(crate) idempotent: bool,
    /// What must be seen before the step counts as done.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) verify: Option<VerifyForm>,
    /// What undoes it when a later step fails.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) compensate: Option<ActionForm>,
}

/// Further attempts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RetryForm {
    /// Beyond the first, at most 10.
    pub(crate) times: u32,
    /// Between two of them (default `1s`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) pause: Option<Span>,
}

/// A condition that must come true.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct VerifyForm {
    #[serde(deserialize_with = "tolerant")]
    pub(crate) condition: ConditionForm,
    /// It must come true within this (default `30s`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) within: Option<Span>,
    /// And stay true for so long (default `0s`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) hold: Option<Span>,
}

/// Exactly one of these. Texts may hold `${parameter}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ActionForm {
    /// Moves the primary of a database to a region.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) switchover: Option<SwitchoverForm>,
    /// Stops an instance in order and starts it again.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) restart: Option<InstanceForm>,
    /// Ends every fault in force: `{}`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) clear_faults: Option<NothingForm>,
    /// Gateways send no new requests there.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) drain: Option<PlaceForm>,
    /// Gateways send requests there again.
    #[serde(default, rename = "return", deserialize_with = "tolerant")]
    pub(crate) take_back: Option<PlaceForm>,
    /// Runs a program, confined: own process group, no environment, own folder, limits of time and output.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) run: Option<RunForm>,
    /// Moves an instance of a service to another host: started there, and stopped here when that one is ready.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) replace: Option<InstanceForm>,
    /// Fills a replica anew from its primary.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) rebuild: Option<ReplicaForm>,
    /// Calls something over HTTP.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) http: Option<HttpForm>,
    /// Tells people.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) notify: Option<NotifyForm>,
    /// Opens a work item.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) work_item: Option<WorkItemForm>,
    /// Gateways send only a share of a service's new requests to its instances in a region.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) shift: Option<ShiftForm>,
    /// How many instances of a service run, until the platform file changes.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) replicas: Option<ReplicasForm>,
    /// Tells the active instance of a service in which of its declared modes it is to be.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) mode: Option<ModeForm>,
    /// Only looks, until the condition holds or `timeout` is over.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) wait: Option<ConditionForm>,
}

/// Nothing to say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NothingForm {}

/// Which database, and where to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SwitchoverForm {
    pub(crate) database: String,
    /// A region that has a replica.
    pub(crate) to: String,
}

/// A process that Mainstay keeps running.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct InstanceForm {
    /// Where it runs.
    pub(crate) host: String,
    /// The name of a service, or `gateway-NAME`.
    pub(crate) instance: String,
}

/// Exactly one of the two.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PlaceForm {
    /// One host.
    #[serde(default)]
    pub(crate) host: Option<String>,
    /// All hosts of a region.
    #[serde(default)]
    pub(crate) region: Option<String>,
}

/// A program with its arguments; no shell reads them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RunForm {
    /// Where it runs.
    pub(crate) host: String,
    /// An absolute path.
    pub(crate) program: String,
    /// Each is one argument, whatever stands in it.
    #[serde(default, deserialize_with = "list")]
    pub(crate) arguments: Vec<String>,
    /// Absolute paths that it may read, and run programs from, beside the system's own programs and libraries.
    #[serde(default, deserialize_with = "list")]
    pub(crate) reads: Vec<String>,
    /// TCP ports that it may connect to; without any it has no network.
    #[serde(default, deserialize_with = "list")]
    pub(crate) connects: Vec<u16>,
}

/// Exactly one of these. Texts may hold `${parameter}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ConditionForm {
    /// PromQL, asked of a watch: holds if it has a result that is not 0.
    #[serde(default)]
    pub(crate) query: Option<String>,
    /// An instance is ready by its probes.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) ready: Option<InstanceForm>,
    /// An instance has started up; enough for one that stands by.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) alive: Option<InstanceForm>,
    /// The primary of a database is open in a region.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) primary: Option<PrimaryForm>,
    /// A replica streams, and the primary counts on it.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) replica: Option<ReplicaForm>,
    /// No fault is in force: `{}`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) no_faults: Option<NothingForm>,
    /// No alert of this name stands.
    #[serde(default)]
    pub(crate) quiet: Option<String>,
    /// At least so many instances of a service are ready by their probes.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) instances: Option<InstancesForm>,
    /// Every gateway says that it sends this share of a service's new requests to a region.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) shifted: Option<ShiftedForm>,
    /// The active instance of a service says that it is in this mode.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) mode: Option<ModeForm>,
}

/// Of a hundred new requests so many go as if nothing had been said; the rest goes to other regions while one is ready.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ShiftForm {
    /// A service whose instances are interchangeable; on all of its routes.
    #[serde(default)]
    pub(crate) service: Option<String>,
    /// The same by the path of a route, as in the platform file.
    #[serde(default)]
    pub(crate) route: Option<String>,
    /// The region.
    pub(crate) from: String,
    /// In percent, from 0 to 100; 100 ends the shift.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) share: Scalar,
}

/// At most one instance on each of the hosts that may run it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ReplicasForm {
    /// One whose instances are interchangeable.
    pub(crate) service: String,
    /// From 1; or `file`: as many as the platform file says.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) count: Scalar,
}

/// A service that follows a database, and one of the names under its `modes`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ModeForm {
    /// One that follows a database.
    pub(crate) service: String,
    /// One of the service's.
    pub(crate) mode: String,
}

/// What a shift comes to at the gateways.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ShiftedForm {
    /// Whose requests.
    pub(crate) service: String,
    /// The region.
    pub(crate) from: String,
    /// In percent, from 0 to 100; 100 if nothing is shifted.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) share: Scalar,
}

/// Which service, and how many.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct InstancesForm {
    /// Whose instances are counted.
    pub(crate) service: String,
    /// At least so many.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) ready: Scalar,
}

/// Where a primary is to be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PrimaryForm {
    pub(crate) database: String,
    /// The region in which it is open.
    pub(crate) region: String,
}
