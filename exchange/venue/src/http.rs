//! The HTTP side: routes, and the way of a command from a request to the writer and back.
//!
//! Order of checks for whatever depends on being the primary: read the request, check the lease, do the work, check the
//! lease again, answer. A process that was frozen anywhere in between notices at the second check.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use exchange_engine::command::Command;
use tokio::sync::oneshot;

use crate::answer;
use crate::clock;
use crate::control;
use crate::failure::Problem;
use crate::inactive::Inactive;
use crate::intake::{PushError, Reply, Submission};
use crate::metrics::Why;
use crate::openapi;
use crate::queries;
use crate::request::{self, Invalid, Kind};
use crate::shared::Shared;

pub const BODY_MAX: usize = 16_384;
/// How long an answer may take when the client names no deadline of its own; also the most it may name.
pub const WAIT_MAX: Duration = Duration::from_secs(15);
/// A writer thread silent for this long is not alive.
const SILENCE_MAX_NS: u64 = 10_000_000_000;
/// How often a waiting request looks whether the lease is still held.
const LEASE_LOOK: Duration = Duration::from_millis(100);

pub type App = State<Arc<Shared>>;

pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/cells/{cell}/orders", post(order))
        .route("/v1/cells/{cell}/cancels", post(cancel))
        .route("/v1/cells/{cell}/deposits", post(deposit))
        .route(
            "/v1/cells/{cell}/orders/{account}/{reference}",
            get(queries::order),
        )
        .route("/v1/cells/{cell}/book", get(queries::book))
        .route(
            "/v1/cells/{cell}/balances/{account}",
            get(queries::balances),
        )
        .route(control::PATH, get(control::mode).put(control::set))
        .route("/health/startup", get(started))
        .route("/health/live", get(live))
        .route("/health/ready", get(queries::ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi_json))
        .fallback(async || Problem::NotFound("page"))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(shared)
}

/// Send a limit, market or immediate-or-cancel order.
#[utoipa::path(post, path = "/v1/cells/{cell}/orders", tag = "commands",
    params(("cell" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "`{account}-{reference}`; checked if sent"),
        ("X-Request-Deadline-Ms" = Option<u64>, Header, description = "Unix ms until which the client waits")),
    request_body = openapi::OrderRequest,
    responses((status = 200, body = openapi::Answer), (status = 400, body = crate::failure::Failure),
        (status = 409, body = crate::failure::Failure), (status = 422, body = crate::failure::Failure),
        (status = 503, body = crate::failure::Failure)))]
pub async fn order(
    state: App,
    cell: Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    command(state, Kind::Order, cell, headers, body).await
}

/// Cancel what is left of an order.
#[utoipa::path(post, path = "/v1/cells/{cell}/cancels", tag = "commands",
    params(("cell" = String, Path)), request_body = openapi::CancelRequest,
    responses((status = 200, body = openapi::Answer), (status = 400, body = crate::failure::Failure),
        (status = 409, body = crate::failure::Failure), (status = 422, body = crate::failure::Failure),
        (status = 503, body = crate::failure::Failure)))]
pub async fn cancel(
    state: App,
    cell: Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    command(state, Kind::Cancel, cell, headers, body).await
}

/// Bring money in from the outside world.
#[utoipa::path(post, path = "/v1/cells/{cell}/deposits", tag = "commands",
    params(("cell" = String, Path)), request_body = openapi::DepositRequest,
    responses((status = 200, body = openapi::Answer), (status = 400, body = crate::failure::Failure),
        (status = 409, body = crate::failure::Failure), (status = 422, body = crate::failure::Failure),
        (status = 503, body = crate::failure::Failure)))]
pub async fn deposit(
    state: App,
    cell: Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    command(state, Kind::Deposit, cell, headers, body).await
}

async fn command(
    State(shared): App,
    kind: Kind,
    Path(cell): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let started_ns = clock::boot_ns();
    let outcome = sequence(&shared, kind, &cell, &headers, body).await;
    match outcome {
        Ok(text) => {
            let seconds = (clock::boot_ns() - started_ns) as f64 / 1e9;
            shared.metrics.order_processing.observe(seconds);
            json(text)
        }
        Err(problem) => {
            shared
                .metrics
                .refusals
                .get_or_create(&Why {
                    reason: problem.code(),
                })
                .inc();
            problem.into_response()
        }
    }
}

pub fn json(text: String) -> Response {
    let headers = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    (StatusCode::OK, headers, text).into_response()
}

pub async fn sequence(
    shared: &Shared,
    kind: Kind,
    cell: &str,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<String, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::BodyTooLarge,
        _ => Problem::Invalid(Invalid::new("body", "could not be read", "send it whole")),
    })?;
    if cell != shared.cell {
        return Err(Problem::UnknownCell);
    }
    let text =
        std::str::from_utf8(&body).map_err(|_| Invalid::new("body", "not UTF-8", "send JSON"))?;
    let command = request::parse(kind, text)?;
    check_idempotency_key(headers, &command)?;
    let deadline_ms = deadline_of(headers)?;
    let epoch = may_serve(shared)?;
    let wait = match deadline_ms.map(|deadline_ms| deadline_ms.saturating_sub(clock::wall_ms())) {
        Some(0) => {
            return Err(Problem::Overloaded(
                "the request's own deadline had passed when it arrived",
            ));
        }
        Some(left_ms) => WAIT_MAX.min(Duration::from_millis(left_ms)),
        None => WAIT_MAX,
    };
    let canonical = request::canonical(&command);
    let (reply, answer) = oneshot::channel();
    let submission = Submission {
        command: command.clone(),
        canonical: canonical.clone(),
        reply,
    };
    shared
        .intake
        .push(submission)
        .map_err(|refusal| match refusal {
            PushError::Full => Problem::Overloaded("the queue is full"),
            PushError::Closed => Problem::NotActive(Inactive::Draining),
        })?;
    let reply = wait_for(shared, answer, wait).await?;
    let text = match reply {
        Reply::Answer {
            stored,
            hash,
            replayed,
        } => answer::sent(&stored, &hash, replayed),
        Reply::Conflict => return Err(Problem::Conflict),
        Reply::Older { highest } => {
            queries::older(shared, epoch, &command, &canonical, highest).await?
        }
        Reply::LeaseExpired => return Err(Problem::LeaseExpired),
        Reply::NotActive(reason) => return Err(Problem::NotActive(reason)),
        Reply::NoRoom => return Err(Problem::NoRoom),
        Reply::Unknown => {
            return Err(Problem::OutcomeUnknown(
                "the commit did not come back clean",
            ));
        }
    };
    if !shared.lease.check().allows() {
        return Err(Problem::OutcomeUnknown(
            "the lease expired before the answer",
        ));
    }
    Ok(text)
}

/// The two conditions under which this instance speaks for the cell; returns the epoch it speaks under.
pub fn may_serve(shared: &Shared) -> Result<u64, Problem> {
    if shared.is_draining() {
        return Err(Problem::NotActive(Inactive::Draining));
    }
    let active = shared.published.active().map_err(Problem::NotActive)?;
    let lease = shared.lease.check();
    if !lease.allows() {
        return Err(Problem::LeaseExpired);
    }
    if lease.term() != active.term {
        return Err(Problem::NotActive(Inactive::TermChanged));
    }
    Ok(active.epoch)
}

/// Waits for the writer. While it is silent the lease is watched: once that is gone the client may as well try
/// elsewhere, and what became of the command is unknown here.
async fn wait_for(
    shared: &Shared,
    mut answer: oneshot::Receiver<Reply>,
    wait: Duration,
) -> Result<Reply, Problem> {
    let mut left = wait;
    loop {
        let step = left.min(LEASE_LOOK);
        match tokio::time::timeout(step, &mut answer).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(_)) => return Err(Problem::OutcomeUnknown("the writer stopped")),
            Err(_) if left <= step => {
                return Err(Problem::OutcomeUnknown("no answer within the time"));
            }
            Err(_) => left -= step,
        }
        if !shared.lease.check().allows() {
            return Err(Problem::OutcomeUnknown(
                "the lease expired while the command waited",
            ));
        }
    }
}

fn check_idempotency_key(headers: &HeaderMap, command: &Command) -> Result<(), Invalid> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(());
    };
    let expected = format!(
        "{}-{}",
        command.account.number(),
        command.reference.number()
    );
    if key.as_bytes() == expected.as_bytes() {
        return Ok(());
    }
    Err(Invalid::new(
        "Idempotency-Key",
        "not account and reference of the body",
        format!("send {expected}, or nothing"),
    ))
}

fn deadline_of(headers: &HeaderMap) -> Result<Option<u64>, Invalid> {
    let Some(value) = headers.get("x-request-deadline-ms") else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| {
        Invalid::new(
            "X-Request-Deadline-Ms",
            "not a number",
            "send Unix time in milliseconds",
        )
    })
}

/// The process has started.
#[utoipa::path(get, path = "/health/startup", tag = "health", responses((status = 200)))]
pub async fn started() -> Response {
    json("{\"started\":true}".to_owned())
}

/// The process turns; says nothing about being active.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200), (status = 503)))]
pub async fn live(State(shared): App) -> Response {
    let silent_ns = clock::boot_ns().saturating_sub(shared.writer_alive_ns.load(Ordering::Relaxed));
    if silent_ns > SILENCE_MAX_NS {
        let text = "{\"alive\":false,\"reason\":\"the writer's thread does not turn\"}";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    json("{\"alive\":true}".to_owned())
}

/// Metrics in OpenMetrics text.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, content_type = "application/openmetrics-text")))]
pub async fn metrics(State(shared): App) -> Response {
    let phase = shared.published.phase();
    let waits = (shared.intake.len(), shared.published.commit_age());
    let text = shared.metrics.render(&phase, waits);
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn openapi_json() -> Response {
    json(openapi::document())
}
