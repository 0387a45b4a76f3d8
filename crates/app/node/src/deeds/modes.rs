//! Modes of a service: asked of its active instance, and told to it.
//!
//! The instance beside the open primary speaks for all. `GET` at the declared path says `{"mode": …}`. `PUT` of
//! `{"reference": …, "mode": …, "deadline_ms": …}` is answered with 200 once the mode is in force and durable. Any other
//! answer means that nothing was changed, except one that says `outcome_unknown`, and an answer that is lost.

use std::time::Duration;

use http::{Method, StatusCode};
use mainstay_derive::{identity_files, service_door};
use mainstay_identity::{Identity, web};
use mainstay_kernel::Outcome;
use mainstay_model::service::{Modes, Service};
use mainstay_model::{Host, name::DatabaseName};
use mainstay_record::identity::NODE_ROLE;
use mainstay_rt::clock;
use mainstay_rt::http::RequestError;
use serde::Deserialize;
use serde_json::json;

use super::{Begun, Deed, Known, begin, done, failed, unknown};
use crate::context::Context;
use crate::control::Desk;
use crate::effects::chain;
use crate::measure::Reading;

/// For a question; an order has its step's time.
const ASK_LIMIT: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Told {
    mode: String,
}

#[derive(Deserialize)]
struct Refused {
    error: RefusedBody,
}

#[derive(Deserialize)]
struct RefusedBody {
    code: String,
    message: String,
}

/// A question or an order that came to nothing.
enum Problem {
    /// Certainly nothing was done.
    Not(String),
    Unknown(String),
}

/// Tells the instance on this host.
pub(super) async fn tell(context: &Context, deed: &Deed, service: &str, mode: &str) -> Outcome {
    let (known, modes) = match declared(context, service) {
        Ok(known) => known,
        Err(why) => return failed(why),
    };
    if !modes.names.iter().any(|name| name == mode) {
        let names = modes.names.join(", ");
        return failed(format!("{service} has no mode {mode}; it has {names}"));
    }
    let begun = Begun::of(format!("mode {mode} of {service}"));
    let here = &context.host;
    match begin(context, deed, &begun) {
        Ok(Known::New) => {}
        // It may still be on its way: what is in force now says that it was done, not that it will not be.
        Ok(Known::Before(_)) => {
            return match ask(context, here, known, modes).await {
                Ok(now) if now == mode => done(format!("{service} is in the mode {now}")),
                Ok(now) => unknown(format!(
                    "it was begun before; {service} is in the mode {now}"
                )),
                Err(Problem::Not(why) | Problem::Unknown(why)) => {
                    unknown(format!("it was begun before; {why}"))
                }
            };
        }
        Err(outcome) => return outcome,
    }
    let now_ms = clock::wall_ms();
    let limit_ms = u64::try_from(deed.limit.as_millis()).unwrap_or(u64::MAX);
    let body = json!({
        "reference": now_ms,
        "mode": mode,
        "deadline_ms": now_ms.saturating_add(limit_ms),
    });
    let body = body.to_string().into_bytes();
    let said = say(
        context,
        here,
        (known, modes),
        (Method::PUT, body),
        deed.limit,
    )
    .await;
    match said {
        Ok(now) if now == mode => done(format!("{service} is in the mode {now}")),
        Ok(now) => failed(format!("{service} says that it is in the mode {now}")),
        Err(Problem::Not(why)) => failed(why),
        Err(Problem::Unknown(why)) => unknown(why),
    }
}

/// In which mode the active instance says that it is.
pub async fn measure(desk: &Desk, context: &Context, service: &str, mode: &str) -> Reading {
    let (known, modes) = match declared(context, service) {
        Ok(known) => known,
        Err(why) => return Reading::Missing(why),
    };
    let primary = known.follows().and_then(|name| primary(desk, name));
    let Some(host) = primary.and_then(|host| context.platform.host(&host)) else {
        return Reading::Missing(format!(
            "where the active instance of {service} is, is not known"
        ));
    };
    match ask(context, host, known, modes).await {
        Ok(now) if now == mode => Reading::Holds(format!("{service} is in the mode {now}")),
        Ok(now) => Reading::Not(format!("{service} is in the mode {now}")),
        Err(Problem::Not(why) | Problem::Unknown(why)) => Reading::Missing(why),
    }
}

fn declared<'a>(context: &'a Context, service: &str) -> Result<(&'a Service, &'a Modes), String> {
    let known = context.platform.service(service);
    let known = known.ok_or_else(|| format!("there is no service {service}"))?;
    let modes = known.modes.as_ref();
    let modes = modes.ok_or_else(|| format!("the platform file gives {service} no modes"))?;
    Ok((known, modes))
}

fn primary(desk: &Desk, database: &DatabaseName) -> Option<String> {
    let view = desk.deputy.view.borrow();
    let known = view.state.as_ref()?.databases.get(database)?;
    known.primary.as_ref().map(ToString::to_string)
}

async fn ask(
    context: &Context,
    host: &Host,
    service: &Service,
    modes: &Modes,
) -> Result<String, Problem> {
    let nothing = (Method::GET, Vec::new());
    say(context, host, (service, modes), nothing, ASK_LIMIT).await
}

async fn say(
    context: &Context,
    host: &Host,
    (service, modes): (&Service, &Modes),
    (method, body): (Method, Vec<u8>),
    limit: Duration,
) -> Result<String, Problem> {
    let machine = context.machine();
    let port = service.port(&modes.port);
    let port = port.ok_or_else(|| Problem::Not(format!("{} has no such port", service.name)))?;
    let subject = format!("{}/{}", host.name, service.name);
    let (address, name) = service_door(&machine, (&context.host, host), service, port);
    let Some(name) = name else {
        return Err(Problem::Not(format!("{subject} does not prove who it is")));
    };
    let identity = Identity::read(identity_files(&machine, &context.host, NODE_ROLE))
        .map_err(|error| Problem::Not(chain(&error)))?;
    let request = web::request(
        &identity,
        (address, &name),
        method,
        &modes.path,
        body,
        limit,
    );
    let (status, body) = request.await.map_err(|error| match error {
        RequestError::Connect(..) | RequestError::Form(..) => {
            Problem::Not(format!("{subject}: {}", chain(&error)))
        }
        RequestError::Timeout(..) | RequestError::Http(..) | RequestError::Body(..) => {
            Problem::Unknown(format!("{subject}: {}", chain(&error)))
        }
    })?;
    if status == StatusCode::OK {
        let told = serde_json::from_slice::<Told>(&body);
        return told.map(|told| told.mode).map_err(|error| {
            Problem::Unknown(format!("{subject} says nothing that can be read: {error}"))
        });
    }
    Err(match serde_json::from_slice::<Refused>(&body) {
        Ok(Refused { error }) if error.code == "outcome_unknown" => {
            Problem::Unknown(format!("{subject}: {}", error.message))
        }
        Ok(Refused { error }) => Problem::Not(format!("{subject}: {}", error.message)),
        Err(_) => Problem::Unknown(format!("{subject} answers {status}")),
    })
}
