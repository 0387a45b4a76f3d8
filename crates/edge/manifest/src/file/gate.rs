//! The part of the file that says what must be well before something is done.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::decode::{list, tolerant};
use crate::quantity::Scalar;

/// A command that it stands before is refused while it is shut. Exactly one of `query` and `budget` opens it; what is not
/// measured does not.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Gate {
    pub(crate) name: String,
    /// `up` (a changed platform file), `upgrade`, `switchover`, `drill`, `experiment`.
    #[serde(deserialize_with = "list")]
    pub(crate) before: Vec<String>,
    /// PromQL, asked of a watch: open while it has a result that is not 0.
    #[serde(default)]
    pub(crate) query: Option<String>,
    /// Open while enough of an objective's budget is left.
    #[serde(default, deserialize_with = "tolerant")]
    pub(crate) budget: Option<GateBudget>,
    /// Why it stands there; whoever is stopped by it reads this.
    pub(crate) reason: String,
    /// The action of an incident that it came of, such as `i3/a1`.
    #[serde(default)]
    pub(crate) action: Option<String>,
}

/// How much must be left of what may be bad.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct GateBudget {
    /// An objective of `watch`.
    pub(crate) objective: String,
    /// A share from 0 to 1, such as `0.25`.
    #[serde(deserialize_with = "tolerant")]
    pub(crate) left_at_least: Scalar,
}
