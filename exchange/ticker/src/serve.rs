//! The board itself: answers from what was last seen, and says how old it is.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use exchange_tls::{Guarded, Identity};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch::Receiver;

use crate::clock::boot_ms;
use crate::metrics::Metrics;
use crate::watch::Reading;

/// What everybody who asks is answered from.
#[derive(Clone)]
pub struct Hall {
    pub seen: Receiver<Option<Reading>>,
    pub metrics: Arc<Metrics>,
}

/// Until SIGTERM.
pub async fn run(
    listen: SocketAddr,
    identity: Option<Arc<Identity>>,
    hall: Hall,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listen at {listen}"))?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    tracing::info!(%listen, "serving");
    axum::serve(Guarded::new(listener, identity), router(hall))
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await
        .context("serve")
}

fn router(hall: Hall) -> Router {
    Router::new()
        .route("/v1/ticker", get(ticker))
        .route("/health/startup", get(alive))
        .route("/health/live", get(alive))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(hall)
}

async fn ticker(State(hall): State<Hall>) -> Response {
    match hall.seen.borrow().as_ref() {
        Some(reading) => {
            hall.metrics.asked("shown");
            Json(describe(reading, boot_ms())).into_response()
        }
        None => {
            hall.metrics.asked("nothing");
            nothing_seen()
        }
    }
}

/// In OpenMetrics text.
async fn metrics(State(hall): State<Hall>) -> Response {
    let text = hall.metrics.render(hall.seen.borrow().as_ref(), boot_ms());
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

fn describe(reading: &Reading, boot_ms: u64) -> Value {
    let book = &reading.book;
    json!({
        "cell": book.cell,
        "instrument": book.instrument,
        "bid": book.bids.first(),
        "ask": book.asks.first(),
        "sequence": book.sequence,
        "epoch": book.epoch,
        "read_ms": reading.read_ms,
        "age_ms": reading.age_ms(boot_ms),
    })
}

async fn alive() -> StatusCode {
    StatusCode::OK
}

/// Ready once there is something to show. It stays so when prices grow old: they say their age.
async fn ready(State(hall): State<Hall>) -> Response {
    if hall.seen.borrow().is_some() {
        Json(json!({ "ready": true })).into_response()
    } else {
        nothing_seen()
    }
}

fn nothing_seen() -> Response {
    let error = json!({ "error": { "code": "no_prices_yet", "message": "no book was read since the start" } });
    (StatusCode::SERVICE_UNAVAILABLE, Json(error)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Book, Level};

    #[test]
    fn a_price_says_its_age() {
        let level = Level {
            price: "236.47".to_owned(),
            quantity: "2.00000000".to_owned(),
        };
        let reading = Reading {
            book: Book {
                cell: "ledger".to_owned(),
                instrument: "BTC-USD".to_owned(),
                sequence: 7,
                epoch: 2,
                bids: vec![level],
                asks: Vec::new(),
            },
            // The wall clock was set back since.
            read_ms: 1_000_000,
            read_boot_ms: 1_000,
        };
        let shown = describe(&reading, 1_250);
        assert_eq!(shown["age_ms"], 250);
        assert_eq!(shown["bid"]["price"], "236.47");
        assert!(shown["ask"].is_null());
    }
}
