//! Alerts that others raise: told over real HTTP, by requests of this test and by the program `prometheus` where it is
//! installed.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

mod shared;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use mainstay_record::node::{Command, CommandOutcome, CommandRequest};
use mainstay_record::notice::{NoticeAskRecord, OncallAnswer, SilenceView};
use mainstay_record::watch::{WatchAlerts, WatchConfig};
use mainstay_rt::http::{self as web, Call};
use serde_json::{Value, json};
use shared::Watch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "open sesame";
const SILENCES: &str = "/api/v2/silences";

async fn door(folder: &Path) -> WatchAlerts {
    let token_file = folder.join("token");
    std::fs::write(&token_file, TOKEN).expect("written");
    let closed = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&token_file, closed).expect("set");
    WatchAlerts {
        listen: shared::free_address().await,
        token_file,
        patience_ms: 300_000,
        ignore_labels: vec!["replica".to_owned()],
        node_socket: None,
    }
}

async fn start(folder: &Path, door: &WatchAlerts) -> Watch {
    let config = WatchConfig {
        alerts: Some(door.clone()),
        ..shared::config(folder).await
    };
    let watch = shared::start(folder, &config);
    watch
        .until("/v1/board", |board| board["receives"] == true)
        .await;
    watch
}

/// One request on a connection of its own; status and body.
async fn ask(to: SocketAddr, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let mut stream = TcpStream::connect(to).await.expect("connected");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let status = answer.get(9..12).and_then(|text| text.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body = serde_json::from_str(body).unwrap_or(Value::Null);
    (status.expect("a status"), body)
}

async fn tell(door: &WatchAlerts, alerts: Value) -> u16 {
    ask(door.listen, "POST", "/api/v2/alerts", TOKEN, &alerts)
        .await
        .0
}

/// As a replica of Prometheus says it; `ends` in milliseconds from now.
fn alert(name: &str, replica: &str, ends: i64) -> Value {
    let now = i64::try_from(mainstay_rt::clock::wall_ms()).expect("a moment");
    let at = |ms: i64| json!(format!("{}", (now + ms) as f64 / 1_000.0));
    json!({
        "labels": { "alertname": name, "severity": "page", "replica": replica },
        "annotations": { "summary": "slow" },
        "startsAt": at(-5_000),
        "endsAt": at(ends),
        "generatorURL": format!("http://{replica}:9090/graph?g0.expr=x"),
    })
}

fn states(board: &Value) -> Vec<(String, String)> {
    let alerts = board["alerts"].as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let each = alerts.iter().map(|one| {
        assert_eq!(one["received"], true);
        (word(&one["labels"]["alertname"]), word(&one["state"]))
    });
    each.collect()
}

async fn until_states(watch: &Watch, wanted: &[(&str, &str)]) -> Value {
    let wanted = |board: &Value| {
        let found = states(board);
        wanted.len() == found.len()
            && wanted
                .iter()
                .all(|(name, state)| found.contains(&((*name).to_owned(), (*state).to_owned())))
    };
    watch.until("/v1/board", wanted).await
}

/// As many as are taken are shown, and what could not be shown is not taken.
#[tokio::test]
async fn whatever_is_taken_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let door = door(folder.path()).await;
    let watch = start(folder.path(), &door).await;
    let mut long = alert("Long", "a", 240_000);
    for label in ["one", "two"] {
        long["labels"][label] = json!("x".repeat(2_048));
    }
    assert_eq!(tell(&door, json!([long])).await, 400);
    let many = (0..1_000).map(|number| alert(&format!("A{number}"), "a", 240_000));
    assert_eq!(tell(&door, json!(many.collect::<Vec<_>>())).await, 200);
    let board = watch
        .until("/v1/board", |board| states(board).len() == 1_000)
        .await;
    assert_eq!(
        (&board["whole"], &board["troubles"]),
        (&json!(true), &json!([]))
    );
    watch.end().await;
}

/// The end moves on, and has passed each time: whoever says that has a clock that is behind.
#[tokio::test]
async fn a_sender_whose_clock_is_behind_is_a_trouble() {
    let folder = tempfile::tempdir().expect("a folder");
    let door = door(folder.path()).await;
    let watch = start(folder.path(), &door).await;
    for ends in [-3_000, -1_000] {
        assert_eq!(tell(&door, json!([alert("Late", "a", ends)])).await, 200);
    }
    let board = watch
        .until("/v1/board", |board| board["troubles"] != json!([]))
        .await;
    let trouble = board["troubles"][0].as_str().unwrap_or_default();
    assert!(
        trouble.starts_with("alerts of a:9090 are not taken"),
        "{board}"
    );
    let (_, figures) = watch.get("/metrics").await;
    let figures = figures.as_str().unwrap_or_default().to_owned();
    assert!(
        figures.contains("mainstay_watch_received_passed_total 2"),
        "{figures}"
    );
    watch.end().await;
}

/// Whoever has lost what it was told does not take itself for somebody who saw it end.
#[tokio::test]
async fn what_was_told_and_is_lost_was_not_seen_to_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let door = door(folder.path()).await;
    let watch = start(folder.path(), &door).await;
    assert_eq!(tell(&door, json!([alert("Slow", "a", 240_000)])).await, 200);
    let board = until_states(&watch, &[("Slow", "firing")]).await;
    let fired = board["alerts"][0]["fired_ms"].as_u64();
    assert!(board["begun_ms"].as_u64() <= fired);
    watch.end().await;
    let again = start(folder.path(), &door).await;
    let board = until_states(&again, &[("Slow", "firing")]).await;
    assert!(board["begun_ms"].as_u64() <= fired);
    again.end().await;
    std::fs::write(folder.path().join("own/received.json"), "{").expect("written");
    let forgetful = start(folder.path(), &door).await;
    let board = until_states(&forgetful, &[]).await;
    assert!(board["begun_ms"].as_u64() > fired);
    forgetful.end().await;
}

#[tokio::test]
async fn what_others_tell_is_kept_and_ends_by_their_word_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let door = door(folder.path()).await;
    let watch = start(folder.path(), &door).await;
    let told = json!([alert("Slow", "a", 240_000)]);
    let (status, _) = ask(door.listen, "POST", "/api/v2/alerts", "guessed", &told).await;
    assert_eq!(status, 401);
    until_states(&watch, &[]).await;
    // Two replicas are one alert; what has no name is refused, and the rest of the request is taken.
    assert_eq!(tell(&door, told).await, 200);
    let second = json!([{ "labels": { "severity": "page" } }, alert("Slow", "b", 240_000)]);
    assert_eq!(tell(&door, second).await, 400);
    assert_eq!(tell(&door, json!({})).await, 400);
    let board = until_states(&watch, &[("Slow", "firing")]).await;
    assert_eq!(
        board["alerts"][0]["labels"],
        json!({ "alertname": "Slow", "severity": "page" })
    );
    // Whoever promised to say more and does not has seen no end.
    assert_eq!(tell(&door, json!([alert("Short", "a", 300)])).await, 200);
    until_states(&watch, &[("Slow", "firing"), ("Short", "missing")]).await;
    repeats(&door, folder.path()).await;
    others(&door).await;
    watch.end().await;
    let watch = start(folder.path(), &door).await;
    let again = until_states(&watch, &[("Slow", "firing"), ("Short", "missing")]).await;
    assert_eq!(
        again["alerts"][0]["active_ms"],
        board["alerts"][0]["active_ms"]
    );
    // One of two says that it ended, the other that it fires.
    assert_eq!(tell(&door, json!([alert("Slow", "a", -1)])).await, 200);
    until_states(&watch, &[("Slow", "firing"), ("Short", "missing")]).await;
    let both = json!([alert("Slow", "b", -1), alert("Short", "a", -1)]);
    assert_eq!(tell(&door, both).await, 200);
    until_states(&watch, &[("Slow", "resolved"), ("Short", "resolved")]).await;
    watch.end().await;
}

/// Whoever repeats themselves changes nothing, on disk either.
async fn repeats(door: &WatchAlerts, folder: &Path) {
    let stamp = || {
        let found = std::fs::metadata(folder.join("own/received.json")).expect("kept");
        (found.ino(), found.mtime_nsec())
    };
    let before = stamp();
    for _ in 0..20 {
        assert_eq!(tell(door, json!([alert("Slow", "a", 240_000)])).await, 200);
    }
    assert_eq!(stamp(), before);
}

async fn others(door: &WatchAlerts) {
    let get = async |path: &str| ask(door.listen, "GET", path, TOKEN, &json!("")).await;
    let (status, alerts) = get("/api/v2/alerts").await;
    assert_eq!((status, alerts.as_array().map(Vec::len)), (200, Some(2)));
    assert_eq!(alerts[0]["status"]["state"], "active");
    let (status, about) = get("/api/v2/status").await;
    assert_eq!(
        (status, &about["cluster"]["status"]),
        (200, &json!("disabled"))
    );
    let (status, why) = get("/api/v2/silences").await;
    assert!(
        status == 403 && why.to_string().contains("journal of a platform"),
        "{why}"
    );
    assert_eq!(get("/api/v1/query?query=up").await.0, 404);
}

/// A node that keeps silences, as far as the watch asks it. It refuses values that it does not like.
async fn node(socket: PathBuf, kept: Rc<RefCell<Vec<SilenceView>>>) {
    let ever = Rc::new(RefCell::new(0));
    let handler = move |call: Call| {
        let answer = match call.path.as_str() {
            "/v1/oncall" => shown(&kept.borrow()),
            "/v1/command" => {
                let request = serde_json::from_slice(&call.body).expect("a command");
                let outcome = commanded(request, &mut kept.borrow_mut(), &mut ever.borrow_mut());
                web::json(StatusCode::OK, &outcome)
            }
            other => panic!("the node is asked for {other}"),
        };
        std::future::ready(answer)
    };
    web::serve_unix(socket, handler).await;
}

fn shown(kept: &[SilenceView]) -> web::Answer {
    let answer = OncallAnswer {
        version: 1,
        at_ms: 0,
        rotations: Vec::new(),
        silences: kept.to_vec(),
        climbing: Vec::new(),
        nobody_came: Vec::new(),
        unreached: Vec::new(),
        channels: Vec::new(),
    };
    web::json(StatusCode::OK, &answer)
}

fn commanded(
    request: CommandRequest,
    kept: &mut Vec<SilenceView>,
    ever: &mut u64,
) -> CommandOutcome {
    let refused = |code: &str| CommandOutcome::Refused {
        code: code.to_owned(),
        why: "no".to_owned(),
        next: "nothing".to_owned(),
    };
    let detail = match request.command {
        Command::Notice(NoticeAskRecord::Silence { matchers, lasts_ms }) => {
            if matchers.contains(&"alertname=Odd".to_owned()) {
                return refused("not_permitted");
            }
            *ever += 1;
            kept.push(SilenceView {
                silence: format!("s{ever}"),
                matchers,
                since_ms: mainstay_rt::clock::wall_ms(),
                until_ms: mainstay_rt::clock::wall_ms() + lasts_ms,
                by: "owner".to_owned(),
                reason: request.reason,
            });
            format!("silence s{ever} is set")
        }
        Command::Notice(NoticeAskRecord::EndSilence { silence }) => {
            let before = kept.len();
            kept.retain(|view| view.silence != format!("s{silence}"));
            if kept.len() == before {
                return refused("no_such_silence");
            }
            format!("silence s{silence} is ended")
        }
        other => panic!("the node is asked for {other:?}"),
    };
    CommandOutcome::Done {
        position: 1,
        detail,
    }
}

/// As a client of Alertmanager posts it.
fn silence(id: &str, name: &str) -> Value {
    json!({
        "id": id,
        "matchers": [
            { "name": "alertname", "value": name, "isRegex": false, "isEqual": true },
            { "name": "host", "value": "h9", "isRegex": false, "isEqual": false },
        ],
        "startsAt": "1970-01-01T00:00:00.000Z",
        "endsAt": "2100-01-01T00:00:00.000Z",
        "createdBy": "ada",
        "comment": "known",
    })
}

async fn ask_for(door: &WatchAlerts, method: &str, path: &str, body: &Value) -> (u16, Value) {
    ask(door.listen, method, path, TOKEN, body).await
}

/// Set, looked for, changed, ended.
#[tokio::test]
async fn silences_are_kept_by_the_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("node.sock");
    let door = WatchAlerts {
        node_socket: Some(socket.clone()),
        ..door(folder.path()).await
    };
    let watch = start(folder.path(), &door).await;
    let (status, why) = ask_for(&door, "GET", SILENCES, &Value::Null).await;
    assert!(
        status == 503 && why.to_string().contains("journal"),
        "nobody is there: {why}"
    );
    let tasks = tokio::task::LocalSet::new();
    let kept = Rc::new(RefCell::new(Vec::new()));
    tasks.spawn_local(node(socket.clone(), Rc::clone(&kept)));
    let story = async {
        while !socket.exists() {
            tokio::task::yield_now().await;
        }
        let (status, _) = ask(door.listen, "GET", SILENCES, "guessed", &Value::Null).await;
        assert_eq!(status, 401);
        let (status, answer) = ask_for(&door, "POST", SILENCES, &silence("", "Slow")).await;
        assert_eq!(status, 200, "{answer}");
        let id = answer["silenceID"].as_str().expect("a name").to_owned();
        assert_eq!(
            kept.borrow()[0].matchers,
            ["alertname=Slow", "host!=h9"],
            "as the node keeps them"
        );
        shown_as_posted(&door, &id).await;
        let (status, why) = ask_for(&door, "POST", SILENCES, &silence("", "Odd")).await;
        assert!(status == 403 && why.to_string().contains("not_permitted"));
        one_takes_the_place_of_another_and_ends(&door, &id).await;
        assert!(kept.borrow().is_empty());
    };
    tasks.run_until(story).await;
    watch.end().await;
}

async fn shown_as_posted(door: &WatchAlerts, id: &str) {
    let (status, all) = ask_for(door, "GET", SILENCES, &Value::Null).await;
    assert_eq!((status, &all[0]["id"]), (200, &json!(id)));
    assert_eq!(all[0]["matchers"], silence("", "Slow")["matchers"]);
    assert_eq!(all[0]["status"]["state"], "active");
    // Not when it was asked for: it begins when it is journalled.
    let since = all[0]["startsAt"].as_str().expect("a moment");
    assert!(since.starts_with("20"), "{since}");
    assert_eq!(all[0]["comment"], "ada, over the door for alerts: known");
    for (filter, count) in [("alertname%3D%22Slow%22", 1), ("alertname=Fast", 0)] {
        let path = format!("{SILENCES}?filter={filter}");
        let (_, found) = ask_for(door, "GET", &path, &Value::Null).await;
        assert_eq!(found.as_array().map(Vec::len), Some(count), "{filter}");
    }
    let pattern = format!("{SILENCES}?filter=a=~b");
    let (status, _) = ask_for(door, "GET", &pattern, &Value::Null).await;
    assert_eq!(status, 400);
}

async fn one_takes_the_place_of_another_and_ends(door: &WatchAlerts, id: &str) {
    let (status, answer) = ask_for(door, "POST", SILENCES, &silence(id, "Slower")).await;
    assert_eq!(status, 200, "{answer}");
    assert_ne!(answer["silenceID"], json!(id));
    let (status, _) = ask_for(door, "POST", SILENCES, &silence(id, "Slower")).await;
    assert_eq!(status, 404, "it is there no more");
    let first = format!("/api/v2/silence/{id}");
    let second = answer["silenceID"].as_str().expect("a name");
    let second = format!("/api/v2/silence/{second}");
    for (method, path, expected) in [
        ("GET", &second, 200),
        ("GET", &first, 404),
        ("DELETE", &second, 200),
        ("DELETE", &second, 404),
        ("PUT", &second, 404),
    ] {
        let (status, said) = ask_for(door, method, path, &Value::Null).await;
        assert_eq!(status, expected, "{method} {path}: {said}");
    }
}

/// What the program says; it must be content.
async fn amtool(door: &WatchAlerts, folder: &Path, arguments: &[&str]) -> String {
    let config = folder.join("amtool.yaml");
    let text = format!("authorization: {{credentials: {TOKEN}}}");
    std::fs::write(&config, text).expect("written");
    let mut command = process::Command::new("amtool");
    command
        .arg(format!("--alertmanager.url=http://{}", door.listen))
        .arg(format!("--http.config.file={}", config.display()))
        .args(arguments);
    // The node that is asked behind the door lives on this thread.
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("ended").expect("started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{arguments:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

#[tokio::test]
async fn amtool_itself_silences() {
    let version = process::Command::new("amtool")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if version.is_err() {
        eprintln!(
            "\n!!! NOT TESTED: silences by Alertmanager's own tool: `amtool` is not installed (apt-get install prometheus-alertmanager)\n\n"
        );
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("node.sock");
    let door = WatchAlerts {
        node_socket: Some(socket.clone()),
        ..door(folder.path()).await
    };
    let watch = start(folder.path(), &door).await;
    let tasks = tokio::task::LocalSet::new();
    let kept = Rc::new(RefCell::new(Vec::new()));
    tasks.spawn_local(node(socket.clone(), Rc::clone(&kept)));
    let story = async {
        let run = async |arguments: &[&str]| amtool(&door, folder.path(), arguments).await;
        assert_eq!(tell(&door, json!([alert("Slow", "a", 240_000)])).await, 200);
        let shown = run(&["alert", "query", "--output=simple"]).await;
        assert!(shown.contains("Slow"), "{shown}");
        let add = [
            "silence",
            "add",
            "alertname=Slow",
            "host!=h9",
            "--duration=1h",
        ];
        let by = ["--author=ada", "--comment=known"];
        let id = run(&[&add[..], &by[..]].concat()).await.trim().to_owned();
        assert_eq!(kept.borrow()[0].matchers, ["alertname=Slow", "host!=h9"]);
        let found = run(&["silence", "query", "--quiet", "alertname=Slow"]).await;
        assert_eq!(found.trim(), id);
        let none = run(&["silence", "query", "--quiet", "alertname=Fast"]).await;
        assert_eq!(none.trim(), "");
        let longer = run(&["silence", "update", "--duration=2h", &id]).await;
        assert!(
            !longer.contains(&id) && kept.borrow().len() == 1,
            "{longer}"
        );
        let now = run(&["silence", "query", "--quiet"]).await;
        run(&["silence", "expire", now.trim()]).await;
        assert!(kept.borrow().is_empty());
    };
    tasks.run_until(story).await;
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
async fn prometheus_itself_tells() {
    let version = process::Command::new("prometheus")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if version.is_err() {
        eprintln!(
            "\n!!! NOT TESTED: alerts of a real sender: `prometheus` is not installed (apt-get install prometheus)\n\n"
        );
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let door = door(folder.path()).await;
    let watch = start(folder.path(), &door).await;
    let page = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let target = page.local_addr().expect("an address");
    let is_slow = Arc::new(AtomicBool::new(true));
    let shown = Arc::clone(&is_slow);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = page.accept().await {
            let mut request = [0; 2_048];
            let _asked = stream.read(&mut request).await.unwrap_or(0);
            let body = format!("slow {}\n", u8::from(shown.load(Ordering::SeqCst)));
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.ok();
        }
    });
    let rules = folder.path().join("theirs.yaml");
    let text =
        "groups: [{name: g, rules: [{alert: Slow, expr: slow == 1, labels: {severity: page}}]}]";
    std::fs::write(&rules, text).expect("written");
    let config = json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [rules],
        "alerting": { "alertmanagers": [{
            "static_configs": [{ "targets": [door.listen.to_string()] }],
            "authorization": { "credentials": TOKEN },
        }] },
        "scrape_configs": [
            { "job_name": "desk", "static_configs": [{ "targets": [target.to_string()] }] }
        ],
    });
    let file = folder.path().join("prometheus.yaml");
    std::fs::write(&file, config.to_string()).expect("written");
    let mut command = process::Command::new("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("tsdb").display()
        ))
        .arg(format!(
            "--web.listen-address={}",
            shared::free_address().await
        ))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let prometheus = Program(command.spawn().expect("started"));
    until_states(&watch, &[("Slow", "firing")]).await;
    is_slow.store(false, Ordering::SeqCst);
    until_states(&watch, &[("Slow", "resolved")]).await;
    is_slow.store(true, Ordering::SeqCst);
    until_states(&watch, &[("Slow", "firing")]).await;
    drop(prometheus);
    let board = until_states(&watch, &[("Slow", "firing")]).await;
    assert_eq!(board["alerts"][0]["labels"]["job"], "desk");
    watch.end().await;
}
