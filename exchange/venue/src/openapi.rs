//! The API's description, as served at `/openapi.json`. The types here say what the texts look like; requests are read
//! by `request`, answers are written by `answer` and `queries`, and a test holds the two together.

use utoipa::{OpenApi, ToSchema};

#[derive(Debug, ToSchema)]
#[allow(
    dead_code,
    reason = "described, not built: the text is written by hand on the hot path"
)]
pub struct OrderRequest {
    #[schema(minimum = 1, example = 7)]
    pub account: u64,
    /// The client's own number, strictly increasing per account.
    #[schema(minimum = 1, example = 1)]
    pub reference: u64,
    #[schema(example = "BTC-USD")]
    pub instrument: String,
    /// `buy` or `sell`.
    #[schema(example = "buy")]
    pub side: String,
    /// `limit`, `market` or `ioc`.
    #[schema(example = "limit")]
    pub r#type: String,
    /// Dollars with at most 2 digits behind the point; absent for `market`.
    #[schema(example = "236.47")]
    pub price: Option<String>,
    /// Bitcoin with at most 8 digits behind the point.
    #[schema(example = "2.00000000")]
    pub quantity: String,
    /// Unix milliseconds; sequenced later, the command expires.
    pub deadline_ms: u64,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not built")]
pub struct CancelRequest {
    #[schema(minimum = 1)]
    pub account: u64,
    #[schema(minimum = 1)]
    pub reference: u64,
    /// The reference of the order to cancel.
    #[schema(minimum = 1)]
    pub target_reference: u64,
    pub deadline_ms: u64,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not built")]
pub struct DepositRequest {
    #[schema(minimum = 1)]
    pub account: u64,
    #[schema(minimum = 1)]
    pub reference: u64,
    /// `USD` or `BTC`.
    #[schema(example = "USD")]
    pub asset: String,
    /// At most 10 (USD) or 8 (BTC) digits behind the point.
    #[schema(example = "1000.00")]
    pub amount: String,
    pub deadline_ms: u64,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not built")]
pub struct Fill {
    pub price: String,
    pub quantity: String,
}

/// The outcome of a sequenced command; a rejection by the rules of the exchange is one too.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not built")]
pub struct Answer {
    pub cell: String,
    pub sequence: u64,
    pub epoch: u64,
    pub account: u64,
    pub reference: u64,
    /// `accepted`, `partly_filled`, `filled`, `cancelled`, `rejected` or `expired`.
    pub outcome: String,
    /// Of a rejection: `insufficient_funds`, `no_liquidity`, `order_not_open`, `too_many_open_orders`, `issue_limit`,
    /// `reduce_only`, `cancel_only`.
    pub reason: Option<String>,
    /// Of an order: what traded at entry.
    pub filled: Option<String>,
    pub fills: Option<Vec<Fill>>,
    /// What was taken out of the market: the rest of an immediate order, or what a cancel found.
    pub cancelled: Option<String>,
    /// SHA-256 of the log up to this command.
    pub hash: String,
    /// Present and true if this answer was given before.
    pub replayed: Option<bool>,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not built")]
pub struct BookLevel {
    pub price: String,
    pub quantity: String,
    pub orders: u64,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not built")]
pub struct Book {
    pub cell: String,
    pub instrument: String,
    pub sequence: u64,
    pub epoch: u64,
    pub bids: Vec<BookLevel>,
    pub asks: Vec<BookLevel>,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not built")]
pub struct Balance {
    pub asset: String,
    pub available: String,
    pub held: String,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not built")]
pub struct BalancesOf {
    pub cell: String,
    pub account: u64,
    pub sequence: u64,
    pub epoch: u64,
    pub balances: Vec<Balance>,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not built")]
pub struct OrderOf {
    pub cell: String,
    pub account: u64,
    pub reference: u64,
    pub sequence: u64,
    /// `order`, `cancel`, `deposit` or `mode`.
    pub kind: String,
    /// Of an order: its present state, and the fields that follow.
    pub status: Option<String>,
    pub side: Option<String>,
    pub r#type: Option<String>,
    pub price: Option<String>,
    pub quantity: Option<String>,
    pub filled: Option<String>,
    /// What the command was answered.
    pub answer: Answer,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not built")]
pub struct Ready {
    pub active: bool,
    pub cell: String,
    pub epoch: u64,
    pub term: u64,
    pub sequence: u64,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not built")]
pub struct ModeRequest {
    /// Absent, or 0: the exchange's own.
    pub account: Option<u64>,
    /// Strictly increasing; the same again is answered the same again.
    #[schema(minimum = 1)]
    pub reference: u64,
    /// `open`, `reduceOnly` (orders that sell, deposits, cancels) or `cancelOnly`.
    #[schema(example = "cancelOnly")]
    pub mode: String,
    pub deadline_ms: u64,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not built")]
pub struct ModeOf {
    pub mode: String,
    pub sequence: u64,
    pub epoch: u64,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Exchange venue",
        description = "One cell of the reference exchange. Numbers of money are decimal strings."
    ),
    paths(
        crate::http::order,
        crate::http::cancel,
        crate::http::deposit,
        crate::queries::order,
        crate::queries::book,
        crate::queries::balances,
        crate::queries::ready,
        crate::control::mode,
        crate::control::set,
        crate::http::started,
        crate::http::live,
        crate::http::metrics,
    )
)]
struct Description;

pub fn document() -> String {
    // The document is built from constants; it always serializes.
    Description::openapi().to_json().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{self, Kind};
    use serde_json::Value;

    fn properties(name: &str) -> Vec<String> {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let properties = &document["components"]["schemas"][name]["properties"];
        properties
            .as_object()
            .unwrap_or_else(|| panic!("{name} is described"))
            .keys()
            .cloned()
            .collect()
    }

    #[test]
    fn requests_have_exactly_the_fields_described() {
        for (kind, name) in [
            (Kind::Order, "OrderRequest"),
            (Kind::Cancel, "CancelRequest"),
            (Kind::Deposit, "DepositRequest"),
            (Kind::Mode, "ModeRequest"),
        ] {
            let fields = properties(name);
            let body = |fields: &[String]| {
                let text: Vec<String> = fields
                    .iter()
                    .map(|field| format!("\"{field}\":null"))
                    .collect();
                format!("{{{}}}", text.join(","))
            };
            let all = request::parse(kind, &body(&fields)).unwrap_err();
            assert_ne!(all.problem, "unknown field", "{name}: {all}");
            let more = [fields, vec!["more".to_owned()]].concat();
            assert_eq!(
                request::parse(kind, &body(&more)).unwrap_err().field,
                "more"
            );
        }
    }

    #[test]
    fn answers_have_no_field_that_is_not_described() {
        let stored = r#"{"cell":"c","sequence":1,"epoch":1,"account":1,"reference":1,"outcome":"cancelled","reason":"x","filled":"1","fills":[],"cancelled":"1"}"#;
        let answer: Value =
            serde_json::from_str(&crate::answer::sent(stored, &[0; 32], true)).unwrap();
        let described = properties("Answer");
        for field in answer.as_object().unwrap().keys() {
            assert!(described.contains(field), "{field}");
        }
    }

    #[test]
    fn every_route_is_described() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        for path in [
            "/v1/cells/{cell}/orders",
            "/v1/cells/{cell}/cancels",
            "/v1/cells/{cell}/deposits",
            "/v1/cells/{cell}/orders/{account}/{reference}",
            "/v1/cells/{cell}/book",
            "/v1/cells/{cell}/balances/{account}",
            "/control/mode",
            "/health/startup",
            "/health/ready",
            "/health/live",
            "/metrics",
        ] {
            assert!(paths.contains_key(path), "{path}");
        }
    }
}
