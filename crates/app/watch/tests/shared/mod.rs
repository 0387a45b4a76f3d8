//! A watch that runs in this process, asked over real HTTP.

#![allow(
    clippy::expect_used,
    dead_code,
    reason = "a test says what it expects; not every test needs all"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use mainstay_record::watch::{VERSION, WatchConfig};
use mainstay_rt::http::request_tcp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Longer than anything here takes, so that a hang is told from a slow machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// An address that was free a moment ago.
pub async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("bind");
    listener.local_addr().expect("an address")
}

pub struct Watch {
    pub listen: SocketAddr,
    running: JoinHandle<bool>,
    stop: tokio::sync::oneshot::Sender<()>,
}

/// A configuration that asks nobody and follows nothing.
pub async fn config(folder: &Path) -> WatchConfig {
    WatchConfig {
        version: VERSION,
        platform: "p".to_owned(),
        host: "h".to_owned(),
        listen: Some(free_address().await),
        token_file: None,
        socket: None,
        identity: None,
        folder: folder.join("own"),
        interval_ms: 100,
        retention_ms: 3_600_000,
        longer: None,
        rules: Vec::new(),
        targets: Vec::new(),
        metrics: None,
        alerts: None,
    }
}

pub fn start(folder: &Path, config: &WatchConfig) -> Watch {
    let listen = config.listen.expect("an address");
    let path = folder.join("config.json");
    std::fs::write(&path, serde_json::to_vec(config).expect("JSON")).expect("written");
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let running = tokio::task::spawn_blocking(move || {
        mainstay_watch::run_until(&path, async move {
            stopped.await.ok();
        }) == ExitCode::SUCCESS
    });
    Watch {
        listen,
        running,
        stop,
    }
}

impl Watch {
    pub async fn end(self) {
        self.stop.send(()).expect("it listens");
        assert!(self.running.await.expect("it ends"));
    }

    pub async fn ask(&self, method: Method, path: &str, body: &str) -> Option<(u16, Value)> {
        let body = body.as_bytes().to_vec();
        let (status, body) = request_tcp(self.listen, method, path, body, LIMIT)
            .await
            .ok()?;
        let text = String::from_utf8_lossy(&body).into_owned();
        Some((
            status.as_u16(),
            serde_json::from_slice(&body).unwrap_or(Value::String(text)),
        ))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, "").await.expect("an answer")
    }

    /// Asks until the answer is as wanted.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let last = std::cell::RefCell::new(Value::Null);
        let asking = async {
            loop {
                if let Some((_, found)) = self.ask(Method::GET, path, "").await {
                    if wanted(&found) {
                        return found;
                    }
                    *last.borrow_mut() = found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let outcome = tokio::time::timeout(LIMIT, asking).await;
        outcome.unwrap_or_else(|_| panic!("{path} at last: {}", last.borrow()))
    }

    pub async fn until_alert(&self, name: &str, missing: bool) -> Value {
        let is = |alert: &Value| {
            alert["labels"]["alertname"] == name
                && alert["state"] == "firing"
                && alert["missingSince"].is_string() == missing
        };
        let found = self
            .until("/api/v1/alerts", |found| {
                found["data"]["alerts"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(is))
            })
            .await;
        let all = found["data"]["alerts"].as_array().expect("a list");
        all.iter().find(|alert| is(alert)).expect("it").clone()
    }
}
