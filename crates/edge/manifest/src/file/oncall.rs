//! The part of the file about calling people.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::quantity::Span;

use super::{list, tolerant};

/// Who is called when something is wrong, in which order, and how. Secrets stand in files, never here.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Oncall {
    /// Ways to reach people.
    #[serde(default, deserialize_with = "list")]
    pub(crate) channels: Vec<Channel>,
    /// Which channels reach an operator.
    #[serde(default, deserialize_with = "list")]
    pub(crate) contacts: Vec<Contact>,
    /// Operators who take turns.
    #[serde(default, deserialize_with = "list")]
    pub(crate) rotations: Vec<Rotation>,
    /// Ladders; the first that fits an incident is climbed.
    #[serde(default, deserialize_with = "list")]
    pub(crate) policies: Vec<Policy>,
    /// From the opening of an incident to the first call (default `10s`): what belongs to it joins meanwhile.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) wait: Option<Span>,
    /// Whoever has an incident that is not mitigated is reminded after this, and again (default `4h`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) remind: Option<Span>,
}

/// Exactly one of `webhook`, `slack`, `pagerduty` and `email`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Channel {
    pub(crate) name: String,
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) webhook: Option<Webhook>,
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) slack: Option<Slack>,
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) pagerduty: Option<Pagerduty>,
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) email: Option<Email>,
}

/// A POST of JSON, signed with HMAC-SHA256.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Webhook {
    /// `https://…`, or `http://…`
    pub(crate) url: String,
    /// Absolute path of a file of mode 0600 that holds the key of the signature.
    pub(crate) secret_file: String,
}

/// An incoming webhook of Slack.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Slack {
    /// Absolute path of a file of mode 0600 that holds the URL.
    pub(crate) url_file: String,
}

/// Events API v2 of PagerDuty.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Pagerduty {
    /// Absolute path of a file of mode 0600 that holds the routing key.
    pub(crate) key_file: String,
    /// Of another server that speaks the same.
    #[serde(default)]
    pub(crate) url: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Email {
    /// Addresses.
    #[serde(deserialize_with = "list")]
    pub(crate) to: Vec<String>,
    /// An address.
    pub(crate) from: String,
    /// `HOST:PORT`
    pub(crate) server: String,
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) tls: EmailTls,
    /// Absolute path of certificates in PEM to trust instead of the system's.
    #[serde(default)]
    pub(crate) authority_file: Option<String>,
    /// As the server knows the sender.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// Absolute path of a file of mode 0600.
    #[serde(default)]
    pub(crate) password_file: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum EmailTls {
    /// In the clear, to a server of the same host.
    None,
    #[default]
    Starttls,
    Implicit,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Contact {
    /// Of this platform.
    pub(crate) operator: String,
    /// By name.
    #[serde(deserialize_with = "list")]
    pub(crate) channels: Vec<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Rotation {
    pub(crate) name: String,
    /// In the order of their turns.
    #[serde(deserialize_with = "list")]
    pub(crate) operators: Vec<String>,
    /// `mon 09:00 +01:00` for turns of a week, `09:00 +01:00` for turns of a day.
    pub(crate) handover: String,
    /// The day on which the first has the turn, such as `2026-11-02`.
    pub(crate) starts: String,
    /// Somebody stands in.
    #[serde(default, deserialize_with = "list")]
    pub(crate) overrides: Vec<Override>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Override {
    /// Who stands in.
    pub(crate) operator: String,
    /// Such as `2026-12-24T09:00+01:00`.
    pub(crate) from: String,
    /// Likewise.
    pub(crate) to: String,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Policy {
    pub(crate) name: String,
    /// For incidents at least so bad: `info`, `warning`, `error` (default), `critical`.
    #[serde(default)]
    pub(crate) severity: Option<String>,
    /// For incidents about one of these, as in `database/ledger`; about anything if absent.
    #[serde(default, deserialize_with = "list")]
    pub(crate) about: Vec<String>,
    /// One after the other, until somebody acknowledges.
    #[serde(deserialize_with = "list")]
    pub(crate) levels: Vec<Level>,
    /// How often all levels are gone through while nobody acknowledges (default 3).
    #[serde(default)]
    pub(crate) rounds: Option<u32>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Level {
    /// `rotation/NAME`, `operator/NAME`, `channel/NAME`
    #[serde(deserialize_with = "list")]
    pub(crate) tell: Vec<String>,
    /// How long there is to acknowledge before the next level is told (default `5m`).
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) within: Option<Span>,
}
