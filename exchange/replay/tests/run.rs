//! Whole runs of the program against a small venue that speaks the API and misbehaves on request.
#![expect(clippy::unwrap_used, reason = "all of this file is test code")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Answers.
    Serves,
    /// Takes requests and never answers.
    Silent,
    /// Answers 503 and asks to be left alone for a second.
    NotActive,
    /// Closes the connection after reading the request, and has executed it.
    HangsUp,
}

/// What all gateways of one small venue have in common.
#[derive(Debug, Default)]
struct Venue {
    /// Bodies by idempotency key: the same key must always come with the same bytes.
    seen: Mutex<HashMap<String, Bytes>>,
    changed_bodies: AtomicU32,
    without_evidence: AtomicU32,
    checked: AtomicU32,
    witness: PathBuf,
}

impl Venue {
    fn new(witness: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            witness,
            ..Self::default()
        })
    }

    fn gateway(self: &Arc<Self>, manner: Manner) -> SocketAddr {
        let venue = Arc::clone(self);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let venue = Arc::clone(&venue);
                    tokio::spawn(async move {
                        let service =
                            service_fn(|request| answer(Arc::clone(&venue), manner, request));
                        let connection = hyper::server::conn::http1::Builder::new();
                        drop(
                            connection
                                .serve_connection(TokioIo::new(stream), service)
                                .await,
                        );
                    });
                }
            });
        });
        address
    }

    /// Every request must have its intent on file when it arrives; reading files is slow, so only the first are checked.
    fn check_evidence(&self, key: &str) {
        if self.checked.fetch_add(1, Ordering::Relaxed) >= 100 {
            return;
        }
        let (account, reference) = key.split_once('-').unwrap();
        let wanted = format!("\"account\":{account},\"reference\":{reference},\"request\"");
        let found = std::fs::read_dir(&self.witness).unwrap().any(|entry| {
            std::fs::read_to_string(entry.unwrap().path())
                .unwrap()
                .contains(&wanted)
        });
        self.without_evidence
            .fetch_add(u32::from(!found), Ordering::Relaxed);
    }
}

async fn answer(
    venue: Arc<Venue>,
    manner: Manner,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let key = request
        .headers()
        .get("Idempotency-Key")
        .map(|key| key.to_str().unwrap().to_owned());
    assert!(request.headers().contains_key("X-Request-Deadline-Ms") || key.is_none());
    let body = request
        .into_body()
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    match manner {
        Manner::Serves | Manner::HangsUp => {}
        Manner::Silent => std::future::pending::<Infallible>().await.into_io(),
        Manner::NotActive => {
            let text = json!({"error": {"code": "not_active"}}).to_string();
            let reply = Response::builder()
                .status(StatusCode::SERVICE_UNAVAILABLE)
                .header("Retry-After", "1");
            return Ok(reply.body(Full::new(text.into())).unwrap());
        }
    }
    let Some(key) = key else {
        return Ok(Response::new(Full::new("{}".into())));
    };
    venue.check_evidence(&key);
    let value: Value = serde_json::from_slice(&body).unwrap();
    let changed = venue
        .seen
        .lock()
        .unwrap()
        .insert(key, body.clone())
        .is_some_and(|before| before != body);
    venue
        .changed_bodies
        .fetch_add(u32::from(changed), Ordering::Relaxed);
    if manner == Manner::HangsUp {
        return Err(std::io::Error::other("hung up"));
    }
    let text = json!({"account": value["account"], "reference": value["reference"], "outcome": "accepted"});
    Ok(Response::new(Full::new(text.to_string().into())))
}

trait IntoIo {
    fn into_io(self);
}

impl IntoIo for Infallible {
    fn into_io(self) {
        match self {}
    }
}

fn replay(folder: &tempfile::TempDir, gateways: &[SocketAddr], extra: &[&str]) -> (Output, Value) {
    let result = folder.path().join("result.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_exchange-replay"));
    for (index, gateway) in gateways.iter().enumerate() {
        command.arg(format!("--gateway=region-{index}=http://{gateway}"));
    }
    command
        .arg("--witness")
        .arg(folder.path().join("witness"))
        .arg("--json")
        .arg(&result);
    // Lag is not the subject here: tests share two processors with compilers.
    command.args([
        "--quiet",
        "--accounts=40",
        "--clients=6",
        "--lag-limit-p99=60s",
        "--lag-limit-max=60s",
    ]);
    let output = command.args(extra).output().unwrap();
    let json = std::fs::read(&result)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    (output, json)
}

fn folder_and_venue() -> (tempfile::TempDir, Arc<Venue>) {
    let folder = tempfile::tempdir().unwrap();
    let venue = Venue::new(folder.path().join("witness"));
    (folder, venue)
}

#[test]
fn everything_is_answered_and_on_file_before_it_is_sent() {
    let (folder, venue) = folder_and_venue();
    let gateways = [
        venue.gateway(Manner::Serves),
        venue.gateway(Manner::Serves),
        venue.gateway(Manner::Serves),
    ];
    let marks = folder.path().join("marks");
    std::fs::write(&marks, "{\"wall_ms\":1,\"name\":\"from the beginning\"}\n").unwrap();
    let marks = format!("--marks={}", marks.display());
    let patience = ["--attempt-limit=60s", "--deadline=60s"];
    let flow = ["--rate=400", "--duration=2s", &marks];
    let (output, json) = replay(&folder, &gateways, &[&flow[..], &patience[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(json["sent"].as_u64().unwrap() > 500, "{json}");
    assert_eq!(json["sent"], json["answered"]);
    assert_eq!(json["sent"], json["attempts"]);
    assert_eq!(json["marks"][0]["acknowledged"], json["answered"]);
    assert!(text.contains("from the beginning"), "{text}");
    assert_eq!(venue.without_evidence.load(Ordering::Relaxed), 0);
    assert!(venue.checked.load(Ordering::Relaxed) > 100);
    let files = std::fs::read_dir(folder.path().join("witness")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let (list, mut clients): (Vec<_>, Vec<_>) = names.partition(|name| name == "files");
    clients.sort();
    assert_eq!(clients.len(), 6, "one file per client");
    assert_eq!(list.len(), 1, "and one that names them all");
    let listed = std::fs::read_to_string(folder.path().join("witness/files")).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), clients);
}

#[test]
fn clients_move_on_with_the_same_words_until_somebody_answers() {
    let (folder, venue) = folder_and_venue();
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gateways = [
        venue.gateway(Manner::Silent),
        gone,
        venue.gateway(Manner::NotActive),
        venue.gateway(Manner::HangsUp),
        venue.gateway(Manner::Serves),
    ];
    let (output, json) = replay(
        &folder,
        &gateways,
        &["--rate=100", "--duration=3s", "--attempt-limit=200ms"],
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{json}");
    assert_eq!(json["sent"], json["answered"]);
    // Funding has shown everybody who answers; one home answers questions, so its clients return, and hangs up on orders.
    assert!(json["homecomings"].as_u64().unwrap() > 0, "{json}");
    assert!(json["moves"].as_u64().unwrap() > 0, "{json}");
    assert!(json["attempts"].as_u64() > json["sent"].as_u64(), "{json}");
    assert_eq!(venue.changed_bodies.load(Ordering::Relaxed), 0);
}

#[test]
fn what_nobody_answers_has_failed() {
    let (folder, venue) = folder_and_venue();
    let gateways = [venue.gateway(Manner::Silent)];
    let (output, _) = replay(
        &folder,
        &gateways,
        &["--rate=10", "--duration=1s", "--deadline=300ms"],
    );
    assert_eq!(
        output.status.code(),
        Some(2),
        "funding is answered by nobody"
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("funding failed"));
    let evidence =
        std::fs::read_to_string(folder.path().join("witness/client-0000.jsonl")).unwrap();
    assert!(evidence.contains("\"event\":\"unanswered\""), "{evidence}");
}

#[test]
fn no_verdict_from_a_driver_that_lagged_and_none_beyond_loopback() {
    let (folder, venue) = folder_and_venue();
    let gateways = [venue.gateway(Manner::Serves)];
    let (output, json) = replay(&folder, &gateways, &["--rate=50", "--duration=1s"]);
    assert_eq!(output.status.code(), Some(0), "{json}");
    let (output, _) = replay(&folder, &gateways, &["--rate=50", "--duration=1s"]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "a used witness folder is refused"
    );

    let arguments = |gateway: &str, lag: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_exchange-replay"));
        command.args([
            gateway,
            "--rate=50",
            "--duration=1s",
            "--quiet",
            "--accounts=10",
            lag,
        ]);
        command.arg("--witness").arg(folder.path().join("second"));
        command.output().unwrap()
    };
    let local = format!("--gateway=a=http://{}", gateways[0]);
    assert_eq!(
        arguments("--gateway=a=http://192.0.2.1:80", "--lag-limit-max=1s")
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        arguments(&local, "--lag-limit-max=0ms").status.code(),
        Some(3)
    );
}
