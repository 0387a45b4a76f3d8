//! The forms of actions that do more than name a place.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::decode::tolerant;
use crate::quantity::Span;

/// An HTTP call from a host's node: no redirects, no proxy, a bounded answer. It carries the header `Idempotency-Key`,
/// which is the same in every attempt of the step.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct HttpForm {
    /// Whose node calls.
    pub(crate) host: String,
    /// `http://…` or `https://…`; parameters may stand in the path and behind it, and are escaped.
    pub(crate) url: String,
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE` (default `POST`).
    #[serde(default)]
    pub(crate) method: Option<String>,
    /// JSON; parameters within its texts are escaped.
    #[serde(default)]
    pub(crate) body: Option<String>,
    /// Absolute path of a file of mode 0600 on the host with a header on each line, such as `Authorization: Bearer …`.
    #[serde(default)]
    pub(crate) headers_file: Option<String>,
    /// Absolute path of a file (PEM) on the host with whom the called must be certified by, if the system does not trust them.
    #[serde(default)]
    pub(crate) authority_file: Option<String>,
    /// Statuses that mean that it was done, such as `200..204` or `202` (default `200..299`).
    #[serde(default)]
    pub(crate) expect: Option<String>,
}

/// Says something over the channels of `oncall`. In doubt it is said again, under the same name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NotifyForm {
    /// `rotation/NAME`, `operator/NAME` or `channel/NAME`, as under `oncall`.
    pub(crate) to: String,
    /// What is said.
    pub(crate) text: String,
}

/// An action of an incident, with owner and date: `mainstay incident action list` shows it, `… done` closes it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct WorkItemForm {
    /// What is to be done.
    pub(crate) title: String,
    /// An operator of the platform file.
    pub(crate) owner: String,
    /// A day such as `2026-12-24`. Either this or `within`.
    #[serde(default)]
    pub(crate) due: Option<String>,
    /// Whole days from the one on which the step is done, such as `7d`.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) within: Option<Span>,
    /// The incident that it belongs to; by default the one that opened the run, or in which its alert stands.
    #[serde(default)]
    pub(crate) incident: Option<String>,
}

/// A replica of a database.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ReplicaForm {
    /// As the platform file names it.
    pub(crate) database: String,
    /// Where the replica stands.
    pub(crate) host: String,
}
