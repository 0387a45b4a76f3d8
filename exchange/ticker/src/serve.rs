//! The board itself: answers from what was last seen, and says how old it is.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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
use tokio::sync::oneshot;
use tokio::sync::watch::Receiver;

use crate::clock::boot_ms;
use crate::door::{Bounded, CONNECTIONS_MAX, UNUSED_MAX, raise_descriptors};
use crate::metrics::Metrics;
use crate::watch::Reading;

/// What everybody who asks is answered from.
#[derive(Clone)]
pub struct Hall {
    pub seen: Receiver<Option<Reading>>,
    pub metrics: Arc<Metrics>,
}

/// How long open connections may take to come to an end once the process was told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Until SIGTERM, and what was being answered then.
pub async fn run(
    listen: SocketAddr,
    identity: Option<Arc<Identity>>,
    hall: Hall,
) -> anyhow::Result<()> {
    raise_descriptors();
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listen at {listen}"))?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    tracing::info!(%listen, "serving");
    let bounded = Bounded::new(listener, CONNECTIONS_MAX, UNUSED_MAX);
    let stop = async move {
        terminate.recv().await;
        tracing::info!("draining");
    };
    serve(Guarded::new(bounded, identity), hall, stop, DRAIN_MAX).await
}

/// Serves until `stop`, and then for `drain` at most whoever is inside.
async fn serve(
    listener: Guarded<Bounded>,
    hall: Hall,
    stop: impl Future<Output = ()> + Send + 'static,
    drain: Duration,
) -> anyhow::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    let server = axum::serve(listener, router(hall)).with_graceful_shutdown(async move {
        stop.await;
        // Whoever listened ended with the server.
        stopping.send(()).ok();
    });
    let too_long = async move {
        match stopped.await {
            Ok(()) => tokio::time::sleep(drain).await,
            // The server is gone, and says so itself.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = server => served.context("serve"),
        () = too_long => {
            tracing::info!("open connections outlasted the drain and are closed");
            Ok(())
        }
    }
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

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

    async fn open(places: usize) -> (Guarded<Bounded>, Hall, SocketAddr) {
        open_for(places, UNUSED_MAX).await
    }

    async fn open_for(places: usize, unused: Duration) -> (Guarded<Bounded>, Hall, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (_, seen) = tokio::sync::watch::channel(None);
        let metrics = Arc::default();
        let listener = Guarded::new(Bounded::new(listener, places, unused), None);
        (listener, Hall { seen, metrics }, address)
    }

    const QUESTION: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";

    async fn answer(stream: &mut TcpStream) -> String {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await.expect("an answer");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    /// Who finds no place waits for one, and gets it when somebody leaves.
    #[tokio::test]
    async fn no_more_are_inside_than_there_are_places() {
        let (listener, hall, address) = open(2).await;
        tokio::spawn(serve(listener, hall, std::future::pending(), DRAIN_MAX));
        let mut inside = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            stream.write_all(QUESTION).await.expect("asks");
            assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
            inside.push(stream);
        }
        let mut outside = TcpStream::connect(address).await.expect("connects");
        outside.write_all(QUESTION).await.expect("asks");
        // Both that are inside are answered again, which takes the server past the third if it could come in.
        for stream in &mut inside {
            stream.write_all(QUESTION).await.expect("asks");
            assert!(answer(stream).await.starts_with("HTTP/1.1 200"));
        }
        let early = outside.try_read(&mut [0; 16]);
        let early = early.expect_err("not answered").kind();
        assert_eq!(early, std::io::ErrorKind::WouldBlock);
        inside.pop();
        assert!(answer(&mut outside).await.starts_with("HTTP/1.1 200"));
    }

    /// Whoever keeps a place without asking anything makes room for the next.
    #[tokio::test]
    async fn a_caller_that_asks_nothing_more_is_let_go() {
        let (listener, hall, address) = open_for(1, Duration::from_millis(50)).await;
        tokio::spawn(serve(listener, hall, std::future::pending(), DRAIN_MAX));
        let mut inside = TcpStream::connect(address).await.expect("connects");
        inside.write_all(QUESTION).await.expect("asks");
        assert!(answer(&mut inside).await.starts_with("HTTP/1.1 200"));
        let mut outside = TcpStream::connect(address).await.expect("connects");
        outside.write_all(QUESTION).await.expect("asks");
        assert!(answer(&mut outside).await.starts_with("HTTP/1.1 200"));
        assert_eq!(answer(&mut inside).await, "", "it was let go");
    }

    /// A caller that takes no answers does not keep the process.
    #[tokio::test]
    async fn a_drain_comes_to_an_end() {
        let (listener, hall, address) = open(2).await;
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { stopped.await.unwrap_or_default() };
        let drain = Duration::from_millis(50);
        let serving = tokio::spawn(serve(listener, hall, stopped, drain));
        let mut stream = TcpStream::connect(address).await.expect("connects");
        // Until neither side gets rid of any more.
        let questions = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
        let patience = Duration::from_millis(300);
        while let Ok(asked) = tokio::time::timeout(patience, stream.write_all(&questions)).await {
            asked.expect("it listens");
        }
        stop.send(()).expect("it serves");
        let ended = tokio::time::timeout(Duration::from_secs(15), serving).await;
        ended
            .expect("within the drain")
            .expect("it runs")
            .expect("ends well");
    }
}
