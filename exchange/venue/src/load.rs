//! A closed-loop load on a running venue: how many commands per second it acknowledges at most.
//!
//! Every connection has an account of its own and one request in flight; it places orders around a price, and cancels
//! about half of them. This measures capacity; latency under a given load is the business of `exchange-replay`, which
//! does not wait for answers before it sends.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clock;

/// Accounts start here plus the wall clock, so that a second run on the same cell has fresh ones.
const ACCOUNT_BASE: u64 = 1_000_000;

struct Client {
    stream: TcpStream,
    cell: String,
    account: u64,
    reference: u64,
    read: Vec<u8>,
}

#[derive(Default)]
struct Tally {
    acknowledged: u64,
    refused: u64,
}

impl Client {
    /// Sends one command; true if it was acknowledged.
    async fn send(&mut self, kind: &str, fields: &str) -> anyhow::Result<bool> {
        self.reference += 1;
        let body = format!(
            "{{\"account\":{},\"reference\":{},{fields},\"deadline_ms\":{}}}",
            self.account,
            self.reference,
            clock::wall_ms() + 15_000
        );
        let request = format!(
            "POST /v1/cells/{}/{kind} HTTP/1.1\r\nhost: venue\r\ncontent-type: application/json\r\nidempotency-key: {}-{}\r\ncontent-length: {}\r\n\r\n{body}",
            self.cell,
            self.account,
            self.reference,
            body.len()
        );
        self.stream
            .write_all(request.as_bytes())
            .await
            .context("send a command")?;
        self.answer().await
    }

    async fn answer(&mut self) -> anyhow::Result<bool> {
        self.read.clear();
        loop {
            if self
                .stream
                .read_buf(&mut self.read)
                .await
                .context("read an answer")?
                == 0
            {
                bail!("the venue closed the connection");
            }
            let Some(end) = self
                .read
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            else {
                continue;
            };
            let head = String::from_utf8_lossy(&self.read[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let length: usize = length.context("an answer without a length")?;
            if self.read.len() >= end + 4 + length {
                return Ok(head.starts_with("http/1.1 200"));
            }
        }
    }

    async fn run(mut self, until_ns: u64) -> anyhow::Result<(Tally, Histogram<u64>)> {
        let mut latency = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        let mut tally = Tally::default();
        for (asset, amount) in [("USD", "1000000000.00"), ("BTC", "1000000.0")] {
            self.send(
                "deposits",
                &format!("\"asset\":\"{asset}\",\"amount\":\"{amount}\""),
            )
            .await?;
        }
        let mut dice = self.account | 1;
        while clock::boot_ns() < until_ns {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let draw = dice >> 33;
            let started_ns = clock::boot_ns();
            let acknowledged = if draw.is_multiple_of(2) && self.reference > 2 {
                let fields = format!("\"target_reference\":{}", self.reference);
                self.send("cancels", &fields).await?
            } else {
                let (side, away) = if draw & 2 == 0 {
                    ("buy", -1)
                } else {
                    ("sell", 1)
                };
                let cents = 23_600 + away * ((draw >> 8) % 300) as i64 - away * 5;
                let (dollars, rest) = (cents / 100, cents % 100);
                let fields = format!(
                    "\"instrument\":\"BTC-USD\",\"side\":\"{side}\",\"type\":\"limit\",\"price\":\"{dollars}.{rest:02}\",\"quantity\":\"0.{:08}\"",
                    1 + (draw >> 4) % 99_999_999
                );
                self.send("orders", &fields).await?
            };
            latency.saturating_record((clock::boot_ns() - started_ns) / 1_000);
            if acknowledged {
                tally.acknowledged += 1;
            } else {
                tally.refused += 1;
            }
        }
        Ok((tally, latency))
    }
}

pub fn run(address: SocketAddr, cell: &str, connections: u64, seconds: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let first = ACCOUNT_BASE + clock::wall_ms() % 1_000_000_000 * 1_000;
        let started_ns = clock::boot_ns();
        let until_ns = started_ns + seconds * 1_000_000_000;
        let mut running = Vec::new();
        for number in 0..connections {
            let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
            stream.set_nodelay(true)?;
            let client = Client { stream, cell: cell.to_owned(), account: first + number, reference: 0, read: Vec::new() };
            running.push(tokio::spawn(client.run(until_ns)));
        }
        let mut total = Tally::default();
        let mut latency = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
        for client in running {
            let (tally, own) = client.await??;
            total.acknowledged += tally.acknowledged;
            total.refused += tally.refused;
            latency.add(own)?;
        }
        let took = (clock::boot_ns() - started_ns) as f64 / 1e9;
        println!(
            "venue: {:.0} acknowledged/s over {took:.1} s, {connections} connections (closed loop, generated flow), {} refused",
            total.acknowledged as f64 / took,
            total.refused
        );
        let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1_000.0;
        println!("  p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, longest {:.1} ms", at(0.5), at(0.99), at(0.999), latency.max() as f64 / 1_000.0);
        Ok(())
    })
}
