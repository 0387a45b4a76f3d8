//! The door for whoever runs the exchange: in which mode it is, and another one.
//!
//! The path is under none that a gateway passes on, and only callers who prove one of the names that the venue was given
//! (`MAINSTAY_CONTROLLERS`) are heard there; in the clear nobody is. What they say goes the way of every command: through
//! the log, once per reference, answered when it is durable.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, ExtensionRejection};
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use exchange_tls::Caller;
use serde::Deserialize;

use crate::failure::{Failure, Problem};
use crate::http::{App, json, sequence};
use crate::openapi;
use crate::queries::{active, still_serves};
use crate::request::Kind;
use crate::shared::Shared;

pub const PATH: &str = "/control/mode";

type Came = Result<ConnectInfo<Caller>, ExtensionRejection>;

fn may_control(shared: &Shared, came: Came) -> Result<(), Problem> {
    let ConnectInfo(caller) = came.map_err(|_| Problem::NotAController)?;
    let mut known = shared.controllers.iter();
    match known.any(|name| caller.is(name)) {
        true => Ok(()),
        false => Err(Problem::NotAController),
    }
}

/// The mode of the last cleanly committed command.
#[utoipa::path(get, path = "/control/mode", tag = "control",
    responses((status = 200, body = openapi::ModeOf), (status = 403, body = Failure), (status = 503, body = Failure)))]
pub async fn mode(State(shared): App, came: Came) -> Result<Response, Problem> {
    may_control(&shared, came)?;
    let active = active(&shared, &shared.cell)?;
    let (mode, sequence) = (active.picture.mode.name(), active.picture.sequence);
    still_serves(&shared, active.term)?;
    Ok(json(format!(
        "{{\"mode\":\"{mode}\",\"sequence\":{sequence},\"epoch\":{}}}",
        active.epoch
    )))
}

/// What an answer to a command says of it.
#[derive(Deserialize)]
struct Answer {
    outcome: String,
    sequence: u64,
    epoch: u64,
}

/// Change the mode. Durable when it is answered; the same reference again is answered the same again.
#[utoipa::path(put, path = "/control/mode", tag = "control", request_body = openapi::ModeRequest,
    responses((status = 200, body = openapi::ModeOf), (status = 400, body = Failure), (status = 403, body = Failure),
        (status = 409, body = Failure), (status = 422, body = Failure), (status = 503, body = Failure)))]
pub async fn set(
    State(shared): App,
    came: Came,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    may_control(&shared, came)?;
    let wanted = body.as_ref().map(mode_in).unwrap_or_default();
    let text = sequence(&shared, Kind::Mode, &shared.cell, &headers, body).await?;
    confirm(&text, &wanted).map(json)
}

/// What the answer to the command says of the mode that was wanted. The text is our own.
fn confirm(text: &str, wanted: &str) -> Result<String, Problem> {
    let answer: Answer = serde_json::from_str(text)
        .map_err(|_| Problem::OutcomeUnknown("the answer cannot be read"))?;
    // The house's modes are refused for nothing else.
    if answer.outcome != "accepted" {
        return Err(Problem::Expired);
    }
    Ok(format!(
        "{{\"mode\":\"{wanted}\",\"sequence\":{},\"epoch\":{}}}",
        answer.sequence, answer.epoch
    ))
}

#[derive(Deserialize)]
struct Wanted {
    mode: String,
}

/// What was asked for; whether it can be, is judged where all commands are.
fn mode_in(body: &Bytes) -> String {
    serde_json::from_slice::<Wanted>(body).map_or_else(|_| String::new(), |wanted| wanted.mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its reference is used up: the same again would be answered the same again.
    #[test]
    fn a_mode_that_expired_is_not_to_be_sent_again_as_it_is() {
        let told = |outcome| {
            let text = format!(r#"{{"outcome":"{outcome}","sequence":7,"epoch":2}}"#);
            confirm(&text, "cancelOnly")
        };
        let accepted = r#"{"mode":"cancelOnly","sequence":7,"epoch":2}"#;
        assert_eq!(told("accepted"), Ok(accepted.to_owned()));
        assert_eq!(told("expired"), Err(Problem::Expired));
        assert!(matches!(
            confirm("{", "open"),
            Err(Problem::OutcomeUnknown(_))
        ));
    }
}
