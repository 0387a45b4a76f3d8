//! Every answer that is not an outcome: a code, a sentence, what to do, and when to come back.
//!
//! Three classes matter to a client. 4xx: the request is wrong and will stay wrong. 503 with any code but
//! `outcome_unknown`: nothing was done, send the same again. 503 `outcome_unknown`: it may have been done, send the *same
//! reference* again and learn which.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use exchange_engine::limits::ACCOUNTS_MAX;
use serde::Serialize;
use utoipa::ToSchema;

use crate::inactive::Inactive;
use crate::request::Invalid;

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub struct Failure {
    pub error: FailureContent,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FailureContent {
    /// For programs: `invalid`, `unknown_cell`, `not_a_controller`, `reference_conflict`, `reference_not_above`, `not_active`,
    /// `lease_expired`, `overloaded`, `outcome_unknown`, `not_found`, `no_room`, `expired`.
    #[schema(example = "outcome_unknown")]
    pub code: &'static str,
    pub message: String,
    /// The offending field of a 400, or `body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to do.
    pub remedy: String,
    /// Of a 503: when to send again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What went wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    Invalid(Invalid),
    BodyTooLarge,
    UnknownCell,
    /// The control door, and somebody who may not use it.
    NotAController,
    NotFound(&'static str),
    /// The reference was used for another content.
    Conflict,
    /// The reference is not above the highest and was never used.
    ReferenceNotAbove {
        highest: u64,
    },
    /// The cell knows as many accounts as it may.
    NoRoom,
    /// A mode that was sequenced after its own deadline.
    Expired,
    NotActive(Inactive),
    LeaseExpired,
    Overloaded(&'static str),
    OutcomeUnknown(&'static str),
}

impl Problem {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::BodyTooLarge => "body_too_large",
            Self::UnknownCell => "unknown_cell",
            Self::NotAController => "not_a_controller",
            Self::NotFound(_) => "not_found",
            Self::Conflict => "reference_conflict",
            Self::ReferenceNotAbove { .. } => "reference_not_above",
            Self::NoRoom => "no_room",
            Self::Expired => "expired",
            Self::NotActive(_) => "not_active",
            Self::LeaseExpired => "lease_expired",
            Self::Overloaded(_) => "overloaded",
            Self::OutcomeUnknown(_) => "outcome_unknown",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnknownCell | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::NotAController => StatusCode::FORBIDDEN,
            Self::Conflict => StatusCode::UNPROCESSABLE_ENTITY,
            Self::ReferenceNotAbove { .. } | Self::NoRoom | Self::Expired => StatusCode::CONFLICT,
            Self::NotActive(_)
            | Self::LeaseExpired
            | Self::Overloaded(_)
            | Self::OutcomeUnknown(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Invalid(invalid) => format!("{}: {}", invalid.field, invalid.problem),
            Self::BodyTooLarge => "the body is larger than 16384 bytes".to_owned(),
            Self::UnknownCell => "this venue serves another cell".to_owned(),
            Self::NotAController => "only nodes of the platform are heard here".to_owned(),
            Self::NotFound(what) => format!("there is no such {what}"),
            Self::Conflict => "the reference was used before with another content".to_owned(),
            Self::ReferenceNotAbove { highest } => {
                format!(
                    "the reference was never used and is not above the account's highest, {highest}"
                )
            }
            Self::NoRoom => format!(
                "the cell knows {ACCOUNTS_MAX} accounts and takes no new one; nothing was done"
            ),
            Self::Expired => {
                "the order came after its deadline; the mode is what it was".to_owned()
            }
            Self::NotActive(reason) => {
                format!("this instance is not active ({reason}); nothing was done")
            }
            Self::LeaseExpired => "the local primary holds no lease; nothing was done".to_owned(),
            Self::Overloaded(why) => format!("{why}; nothing was done"),
            Self::OutcomeUnknown(why) => {
                format!("{why}; the command may or may not have been done")
            }
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Invalid(invalid) => invalid.remedy.clone(),
            Self::BodyTooLarge => "send one command per request".to_owned(),
            Self::UnknownCell => "ask the gateway, which knows every cell".to_owned(),
            Self::NotAController => {
                "run a playbook with a step `mode`; see docs/playbooks.md".to_owned()
            }
            Self::NotFound(_) => "check account and reference".to_owned(),
            Self::Conflict => "use a new, higher reference".to_owned(),
            Self::ReferenceNotAbove { highest } => format!("use a reference above {highest}"),
            Self::NoRoom => "use an account that the cell knows, or another cell".to_owned(),
            Self::Expired => "send it with a higher reference and a later deadline".to_owned(),
            Self::NotActive(_) | Self::LeaseExpired => {
                "send the same request to another gateway or again".to_owned()
            }
            Self::Overloaded(_) => "send the same request again after the pause".to_owned(),
            Self::OutcomeUnknown(_) => {
                "send the same reference with the same content again".to_owned()
            }
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::NotActive(_) | Self::LeaseExpired | Self::OutcomeUnknown(_) => Some(100),
            Self::Overloaded(_) => Some(500),
            _ => None,
        }
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry_after_ms = self.retry_after_ms();
        let status = self.status();
        let field = match &self {
            Self::Invalid(invalid) => Some(invalid.field.clone()),
            _ => None,
        };
        let error = FailureContent {
            code: self.code(),
            message: self.message(),
            field,
            remedy: self.remedy(),
            retry_after_ms,
        };
        let mut response = (status, Json(Failure { error })).into_response();
        if retry_after_ms.is_some() {
            // Whole seconds only; the body says it finer.
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// An error and its causes as one line for the log. Of the database's own errors only code and message are told: their
/// details quote rows, and rows are customers' data.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        match cause.downcast_ref::<tokio_postgres::error::DbError>() {
            Some(database) => text.push_str(&format!(
                "{} ({})",
                database.message(),
                database.code().code()
            )),
            None => text.push_str(&cause.to_string()),
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What will not change by waiting does not invite anybody to send it again.
    #[test]
    fn only_what_may_pass_says_when_to_come_back() {
        for (problem, status, code, retries) in [
            (Problem::NoRoom, 409, "no_room", false),
            (Problem::Expired, 409, "expired", false),
            (Problem::Overloaded("full"), 503, "overloaded", true),
            (Problem::LeaseExpired, 503, "lease_expired", true),
        ] {
            assert_eq!(problem.code(), code);
            let remedy = problem.remedy();
            assert_eq!(remedy.contains("same"), retries, "{remedy}");
            let response = problem.into_response();
            let says_when = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!((response.status().as_u16(), says_when), (status, retries));
        }
    }
}
