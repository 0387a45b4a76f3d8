//! The walk to the trading floor: reads the top of the book through a gateway, again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::watch::Sender;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock::{boot_ms, wall_ms};
use crate::metrics::Metrics;

/// A look that takes longer is given up; the gateway is told, so that it does not hold it longer either.
const LOOK_MAX: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The top of the book, as the venue says it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Book {
    pub cell: String,
    pub instrument: String,
    pub sequence: u64,
    pub epoch: u64,
    pub bids: Vec<Level>,
    pub asks: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    pub price: String,
    pub quantity: String,
}

/// What was seen, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub book: Book,
    /// On the wall clock, for whoever compares it with other hosts' times.
    pub read_ms: u64,
    /// On the clock that nobody sets, by which it grows old.
    pub read_boot_ms: u64,
}

impl Reading {
    pub fn age_ms(&self, boot_ms: u64) -> u64 {
        boot_ms.saturating_sub(self.read_boot_ms)
    }
}

/// Never ends. Trouble is logged when it begins and when it ends.
pub async fn run(
    gateway: SocketAddr,
    cell: String,
    period: Duration,
    (board, metrics): (Sender<Option<Reading>>, Arc<Metrics>),
) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut in_trouble = false;
    loop {
        ticks.tick().await;
        let looked = timeout(LOOK_MAX, look(gateway, &cell)).await;
        match looked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time"))) {
            Ok(book) => {
                if in_trouble {
                    tracing::info!(%gateway, cell, "prices are back");
                }
                in_trouble = false;
                metrics.looked("read");
                board.send_replace(Some(Reading {
                    book,
                    read_ms: wall_ms(),
                    read_boot_ms: boot_ms(),
                }));
            }
            Err(error) => {
                metrics.looked("failed");
                if !in_trouble {
                    tracing::info!(%gateway, cell, error = format!("{error:#}"), "no prices for now");
                }
                in_trouble = true;
            }
        }
    }
}

async fn look(gateway: SocketAddr, cell: &str) -> anyhow::Result<Book> {
    let stream = TcpStream::connect(gateway).await.context("connect")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .context("greet")?;
    // It ends with the sender.
    tokio::spawn(connection);
    let deadline = wall_ms() + u64::try_from(LOOK_MAX.as_millis()).unwrap_or(u64::MAX);
    let request = Request::get(format!("/v1/cells/{cell}/book?depth=1"))
        .header("Host", gateway.to_string())
        .header("X-Request-Deadline-Ms", deadline.to_string())
        .body(Empty::<Bytes>::new())
        .context("write the request")?;
    let answer = sender.send_request(request).await.context("ask")?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await;
    let body = body
        .map_err(|error| anyhow::anyhow!("read the answer: {error}"))?
        .to_bytes();
    if status != StatusCode::OK {
        bail!("{status}");
    }
    serde_json::from_slice(&body).context("understand the answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_venue_says_is_understood() {
        let text = r#"{"cell":"ledger","instrument":"BTC-USD","sequence":7,"epoch":2,
            "bids":[{"price":"236.47","quantity":"2.00000000","orders":1}],"asks":[]}"#;
        let book: Book = serde_json::from_str(text).expect("understood");
        assert_eq!(book.bids[0].price, "236.47");
        assert!(book.asks.is_empty());
    }
}
