//! A watch for which somebody else scrapes: a server of this test that speaks Prometheus's API over real HTTP, and the
//! program `prometheus` itself where it is installed.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

mod shared;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_record::watch::{ServerProof, WatchConfig, WatchServer};
use mainstay_rt::clock;
use serde_json::{Value, json};
use shared::Watch;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const RULES: &str = "
groups:
  - name: desk
    interval: 100ms
    rules:
      - {record: 'liquidity:limit', expr: vector(100)}
      - {record: 'liquidity:sum', expr: sum(liquidity_usd)}
      - alert: LowLiquidity
        expr: liquidity_usd < on() group_left() liquidity:limit
        labels: {severity: page}
        annotations: {summary: 'only {{ $value }}'}
";

/// How the server of this test answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Whole(f64),
    /// Nothing found, and a part of the stores was not reached.
    Partial,
    Broken,
    /// Questions are taken and not answered.
    Silent,
}

#[derive(Debug)]
struct Script {
    mood: Mood,
    asked: BTreeSet<String>,
    /// Those that wait for ever.
    waiting: usize,
    proofs: BTreeSet<String>,
    tenants: BTreeSet<String>,
}

type Shared = Arc<Mutex<Script>>;

fn set(script: &Shared, mood: Mood) {
    locked(script).mood = mood;
}

fn locked(script: &Shared) -> std::sync::MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn server() -> (String, Shared) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}/mimir", listener.local_addr().expect("address"));
    let script = Arc::new(Mutex::new(Script {
        mood: Mood::Whole(5.0),
        asked: BTreeSet::new(),
        waiting: 0,
        proofs: BTreeSet::new(),
        tenants: BTreeSet::new(),
    }));
    let shared = Arc::clone(&script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&shared)));
        }
    });
    (url, script)
}

async fn serve(stream: TcpStream, script: Shared) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut path, mut length) = (String::new(), 0);
        stream.read_line(&mut path).await.ok()?;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let (name, value) = line.split_once(':').unwrap_or((line.trim(), ""));
            match name.to_ascii_lowercase().as_str() {
                "" => break,
                "content-length" => length = value.trim().parse().ok()?,
                "authorization" => {
                    locked(&script).proofs.insert(value.trim().to_owned());
                }
                "x-scope-orgid" => {
                    locked(&script).tenants.insert(value.trim().to_owned());
                }
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let form = String::from_utf8(body).ok()?;
        let answer = answer(&path, &form, &script);
        let Some((status, answer)) = answer else {
            std::future::pending::<()>().await;
            return None;
        };
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        stream.write_all((head + &answer).as_bytes()).await.ok()?;
    }
}

fn answer(path: &str, form: &str, script: &Shared) -> Option<(u16, Value)> {
    let mut script = locked(script);
    if path.starts_with("GET /mimir/api/v1/labels") {
        return Some((200, json!({ "status": "success", "data": ["side"] })));
    }
    assert!(path.starts_with("POST /mimir/api/v1/query HTTP"), "{path}");
    let query = form
        .split('&')
        .find_map(|field| field.strip_prefix("query="));
    let query = query
        .unwrap_or_default()
        .replace("%28", "(")
        .replace("%29", ")");
    script.asked.insert(query.clone());
    let data = |value: f64| match query.as_str() {
        "1" => json!({ "resultType": "scalar", "result": [1, "1"] }),
        "liquidity_usd" => json!({ "resultType": "vector", "result": [
            { "metric": { "__name__": "liquidity_usd", "side": "buy" }, "value": [1, value.to_string()] }
        ] }),
        "sum(liquidity_usd)" => json!({ "resultType": "vector", "result": [
            { "metric": {}, "value": [1, value.to_string()] }
        ] }),
        other => panic!("asked for {other}"),
    };
    match script.mood {
        Mood::Whole(value) => Some((200, json!({ "status": "success", "data": data(value) }))),
        Mood::Partial if query == "1" => {
            Some((200, json!({ "status": "success", "data": data(1.0) })))
        }
        Mood::Partial => Some((
            200,
            json!({
                "status": "success",
                "data": { "resultType": "vector", "result": [] },
                "warnings": ["store eu-1 was not reached"],
            }),
        )),
        Mood::Broken => Some((502, json!("bad gateway"))),
        Mood::Silent => {
            script.waiting += usize::from(query != "1");
            None
        }
    }
}

async fn start(folder: &Path, url: &str, proof: Option<ServerProof>) -> Watch {
    let rules = folder.join("rules.yaml");
    std::fs::write(&rules, RULES).expect("written");
    let config = WatchConfig {
        rules: vec![rules],
        metrics: Some(WatchServer {
            url: url.to_owned(),
            proof,
            authority_file: None,
            headers: [("X-Scope-OrgID".to_owned(), "desk".to_owned())].into(),
        }),
        ..shared::config(folder).await
    };
    shared::start(folder, &config)
}

fn secret(folder: &Path, mode: u32) -> PathBuf {
    let path = folder.join("secret");
    std::fs::write(&path, "open sesame\n").expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
    path
}

async fn until_none(watch: &Watch) {
    watch
        .until("/api/v1/alerts", |found| {
            found["data"]["alerts"] == json!([])
        })
        .await;
}

#[tokio::test]
async fn a_server_is_asked_instead_and_its_silence_resolves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (url, script) = server().await;
    let proof = || {
        Some(ServerProof::Basic {
            user: "watch".to_owned(),
            password_file: secret(folder.path(), 0o600),
        })
    };
    let watch = start(folder.path(), &url, proof()).await;
    let firing = watch.until_alert("LowLiquidity", false).await;
    assert_eq!(firing["annotations"]["summary"], "only 5");
    assert_eq!(firing["labels"]["side"], "buy");
    questions(&watch, &script).await;
    // Part of an answer is no answer about the rest.
    set(&script, Mood::Partial);
    watch.until_alert("LowLiquidity", true).await;
    set(&script, Mood::Whole(200.0));
    until_none(&watch).await;
    set(&script, Mood::Whole(5.0));
    let firing = watch.until_alert("LowLiquidity", false).await;
    set(&script, Mood::Broken);
    watch.until_alert("MetricsSourceSilent", false).await;
    watch.until_alert("LowLiquidity", true).await;
    watch.end().await;
    // A watch that comes up and hears nothing knows nothing new.
    let watch = start(folder.path(), &url, proof()).await;
    watch.until_alert("MetricsSourceSilent", false).await;
    let missing = watch.until_alert("LowLiquidity", true).await;
    assert_eq!(missing["activeAt"], firing["activeAt"]);
    let (status, refused) = watch.get("/api/v1/query?query=liquidity_usd").await;
    assert_eq!(
        (status, &refused["errorType"]),
        (503, &json!("unavailable"))
    );
    set(&script, Mood::Whole(200.0));
    until_none(&watch).await;
    while_rules_wait(&watch, &script).await;
    watch.end().await;
}

/// Own, theirs, and both in one question.
async fn questions(watch: &Watch, script: &Shared) {
    let value = async |query: &str| {
        let (_, found) = watch.get(&format!("/api/v1/query?query={query}")).await;
        found["data"]["result"][0]["value"][1].clone()
    };
    let sum = "/api/v1/query?query=liquidity:sum";
    watch
        .until(sum, |found| found["data"]["result"][0].is_object())
        .await;
    assert_eq!(value("liquidity:sum").await, "5");
    assert_eq!(value("liquidity_usd").await, "5");
    assert_eq!(
        value("liquidity_usd*on()group_left()liquidity:limit").await,
        "500"
    );
    let (_, labels) = watch.get("/api/v1/labels").await;
    let labels = labels["data"].as_array().expect("a list").clone();
    assert!(
        labels.contains(&json!("side")) && labels.contains(&json!("alertstate")),
        "{labels:?}"
    );
    let script = locked(script);
    let asked: Vec<&str> = script.asked.iter().map(String::as_str).collect();
    assert_eq!(asked, ["1", "liquidity_usd", "sum(liquidity_usd)"]);
    let proofs: Vec<&str> = script.proofs.iter().map(String::as_str).collect();
    assert_eq!(proofs, ["Basic d2F0Y2g6b3BlbiBzZXNhbWU="]);
    let tenants: Vec<&str> = script.tenants.iter().map(String::as_str).collect();
    assert_eq!(tenants, ["desk"]);
}

/// A rule that waits for its answer keeps nobody else waiting.
async fn while_rules_wait(watch: &Watch, script: &Shared) {
    set(script, Mood::Silent);
    let begun = clock::now();
    while locked(script).waiting == 0 {
        let waited = clock::now().since(begun);
        assert!(waited < shared::LIMIT, "no rule was evaluated");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (status, _) = watch.get("/api/v1/query?query=liquidity:limit").await;
    assert_eq!(status, 200);
    watch.until_alert("MetricsSourceSilent", false).await;
}

#[tokio::test]
async fn a_secret_that_others_can_read_is_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let (url, script) = server().await;
    let proof = ServerProof::Bearer {
        token_file: secret(folder.path(), 0o644),
    };
    let watch = start(folder.path(), &url, Some(proof)).await;
    watch.until_alert("MetricsSourceSilent", false).await;
    let (_, refused) = watch.get("/api/v1/query?query=liquidity_usd").await;
    let why = refused["error"].as_str().expect("a reason");
    assert!(why.contains("0600") && !why.contains("sesame"), "{why}");
    assert!(locked(&script).asked.is_empty());
    watch.end().await;
}

/// Ended with the value, by its id.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn prometheus_itself_is_asked() {
    let version = Command::new("prometheus")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if version.is_err() {
        eprintln!(
            "\n!!! NOT TESTED: a real server as source: `prometheus` is not installed (apt-get install prometheus)\n\n"
        );
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let page = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let target = page.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = page.accept().await {
            let mut request = [0; 2_048];
            let _asked = stream.read(&mut request).await.unwrap_or(0);
            let answer =
                "HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\nliquidity_usd{side=\"buy\"} 5.5\n";
            stream
                .write_all(answer.replace("29", "30").as_bytes())
                .await
                .ok();
        }
    });
    let listen = shared::free_address().await;
    let config = json!({
        "global": { "scrape_interval": "1s" },
        "scrape_configs": [
            { "job_name": "desk", "static_configs": [{ "targets": [target.to_string()] }] }
        ],
    });
    let file = folder.path().join("prometheus.yaml");
    std::fs::write(&file, config.to_string()).expect("written");
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("tsdb").display()
        ))
        .arg(format!("--web.listen-address={listen}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let prometheus = Program(command.spawn().expect("started"));
    let watch = start(folder.path(), &format!("http://{listen}"), None).await;
    let firing = watch.until_alert("LowLiquidity", false).await;
    assert_eq!(firing["annotations"]["summary"], "only 5.5");
    assert_eq!(firing["labels"]["job"], "desk");
    let (_, found) = watch
        .get("/api/v1/query?query=rate(liquidity_usd[1m])%20or%20liquidity:sum")
        .await;
    assert_eq!(found["status"], "success", "{found}");
    drop(prometheus);
    watch.until_alert("MetricsSourceSilent", false).await;
    watch.until_alert("LowLiquidity", true).await;
    watch.end().await;
}
