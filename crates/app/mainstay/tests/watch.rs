//! A platform of three hosts with nothing but watches, as real processes: what it takes to see, and to be asked.
//!
//! The target that falls silent is this test's own, so that it decides when.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay_testkit::platform::{self, until};
use mainstay_testkit::{ports, tls};
use serde_json::{Value, json};

/// Where others tell of their alerts, and what they show there.
const ALERTS: u16 = 9193;
const SECRET: &str = "open sesame";

struct Platform(platform::Platform);

impl Deref for Platform {
    type Target = platform::Platform;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Platform {
    fn start(target: &str) -> Self {
        let platform = Self(platform::Platform::new(env!("CARGO_BIN_EXE_mainstay")));
        let token = platform.write("token", SECRET, 0o600);
        let text = include_str!("watch/platform.yaml")
            .replace("TARGET", target)
            .replace("TOKEN", &token);
        platform.write("rules.yaml", include_str!("watch/rules.yaml"), 0o644);
        let file = platform.write("platform.yaml", text, 0o644);
        platform.0.start(&file);
        platform
    }

    /// What the watch of a host answers; nothing while it is not there.
    fn ask(&self, host: &str, path: &str) -> Value {
        let socket = self.run_folder().join(host).join("watch.sock");
        let body = get(&socket, path).unwrap_or_default();
        serde_json::from_str(&body).unwrap_or(Value::Null)
    }

    fn until(&self, host: &str, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(path, || {
            let found = self.ask(host, path);
            wanted(&found).then_some(found)
        })
    }
}

fn get(socket: &Path, path: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// A target that answers while it is told to.
fn target(speaks: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 2_048];
            let read = stream.read(&mut request).unwrap_or(0);
            if read > 0 && speaks.load(Ordering::SeqCst) {
                let answer =
                    "HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nlevel 1\n";
                stream.write_all(answer.as_bytes()).ok();
            }
        }
    });
    address
}

fn count(found: &Value, health: &str) -> usize {
    let targets = found["data"]["activeTargets"].as_array();
    targets.map_or(0, |all| {
        all.iter().filter(|t| t["health"] == health).count()
    })
}

#[test]
fn watches_see_everybody_outlive_a_kill_and_answer_nobody_without_identity() {
    let speaks = Arc::new(AtomicBool::new(true));
    let platform = Platform::start(&target(Arc::clone(&speaks)));
    // Three nodes, two watches, and the target of this test, as each of the two sees them.
    for host in ["a1", "b1"] {
        platform.until(host, "/api/v1/targets", |found| count(found, "up") == 6);
    }
    refuses_strangers(&platform);

    let before = "/api/v1/query?query=count_over_time(level[1h])";
    let points = |found: &Value| {
        let text = found["data"]["result"][0]["value"][1].as_str();
        text.and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    platform.until("a1", before, |found| points(found) >= 3.0);
    let kept = points(&platform.ask("a1", before));
    let killed = platform.instance("a1", "watch").expect("it runs");
    let kill = Command::new("kill")
        .args(["-9", &killed.to_string()])
        .status();
    assert!(kill.expect("ran").success());
    until("another watch", || {
        platform
            .instance("a1", "watch")
            .filter(|pid| *pid != killed)
    });
    let after = platform.until("a1", before, |found| points(found) > kept);
    assert!(points(&after) > kept, "{after}");

    speaks.store(false, Ordering::SeqCst);
    for host in ["a1", "b1"] {
        platform.until(host, "/api/v1/query?query=up==0", |found| {
            found["data"]["result"][0]["metric"]["job"] == "theirs"
        });
    }
    alerts_of_others_open_incidents(&platform);
    rules_are_taken_up(&platform);
}

impl Platform {
    /// A request to the door for alerts of the first watch, over TLS, by somebody without a certificate of his own.
    fn tell(&self, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let processes = ports::processes(&self.data()).expect("the kernel's list");
        let addresses = ports::listening(&processes).expect("the kernel's list");
        let mut doors = addresses.into_iter().filter(|at| at.port() == ALERTS);
        let door = doors.next().expect("a door");
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let roots = self.data().join("secrets/authority/roots.pem");
        let name = "watch.a1.lookout.mainstay";
        let answer = tls::exchange(door, name, &roots, request.as_bytes()).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.get(9..12).and_then(|text| text.parse().ok());
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        (status.expect("a status"), body)
    }

    /// The incident whose title begins so.
    fn incident(&self, title: &str) -> Option<Value> {
        let all = self.json(&["incident", "list", "--all", "--json"]);
        let mut all = all.as_array()?.iter();
        let is_it = |found: &&Value| {
            let known = found["title"].as_str();
            known.is_some_and(|known| known.starts_with(title))
        };
        all.find(is_it).cloned()
    }
}

/// What a Prometheus of somebody else tells is journalled and an incident; it is silenced in the same place; and it is over
/// when its sender has seen the end.
fn alerts_of_others_open_incidents(platform: &Platform) {
    let alert = |ends: &str| {
        json!([{
            "labels": { "alertname": "ShopSlow", "severity": "page", "shop": "north" },
            "annotations": { "summary": "the shop is slow" },
            "startsAt": "2026-01-01T00:00:00Z",
            "endsAt": ends,
            "generatorURL": "http://elsewhere:9090/graph",
        }])
    };
    let (fires, over) = (alert("2100-01-01T00:00:00Z"), alert("2026-01-01T00:05:00Z"));
    let (status, _) = platform.tell("POST", "/api/v2/alerts", "guessed", &fires);
    assert_eq!(status, 401);
    let (status, said) = platform.tell("POST", "/api/v2/alerts", SECRET, &fires);
    assert_eq!(status, 200, "{said}");
    let stands = |incident: &Value| {
        let standing = incident["standing"].as_array();
        standing.is_some_and(|all| !all.is_empty())
    };
    let title = "ShopSlow: the shop is slow";
    let opened = until("an incident", || platform.incident(title).filter(stands));
    assert_eq!(opened["severity"], "error", "{opened:#}");
    assert_eq!(opened["opened_by"], "Mainstay", "{opened:#}");
    let told = until("it among what stands in the journal", || {
        let mut standing = platform.standing().into_iter();
        standing.find(|one| one["labels"]["shop"] == "north")
    });
    assert_eq!(
        (&told["watch"], &told["state"]),
        (&json!("a1"), &json!("firing"))
    );
    silences_are_taken_in_the_same_place(platform);
    let (status, said) = platform.tell("POST", "/api/v2/alerts", SECRET, &over);
    assert_eq!(status, 200, "{said}");
    let ended = until("its end", || {
        platform
            .incident(title)
            .filter(|incident| !stands(incident))
    });
    assert_eq!(ended["incident"], opened["incident"]);
}

fn silences_are_taken_in_the_same_place(platform: &Platform) {
    let silence = json!({
        "matchers": [{ "name": "shop", "value": "north", "isRegex": false, "isEqual": true }],
        "startsAt": "2026-01-01T00:00:00Z",
        // The journal takes 30 days at most.
        "endsAt": "2100-01-01T00:00:00Z",
        "createdBy": "ada",
        "comment": "the shop knows",
    });
    let post = |silence: &Value| platform.tell("POST", "/api/v2/silences", SECRET, silence);
    let (status, why) = post(&silence);
    assert!(
        status == 400 && why.to_string().contains("30 days"),
        "{why}"
    );
    let mut silence = silence;
    let soon = in_an_hour();
    silence["endsAt"] = json!(soon);
    let (status, answer) = until("a silence", || {
        let (status, answer) = post(&silence);
        // Nobody may lead just now.
        (status != 503).then_some((status, answer))
    });
    assert_eq!(status, 200, "{answer}");
    let id = answer["silenceID"].as_str().expect("a name").to_owned();
    let kept = until("the silence in the list", || {
        let kept = platform.json(&["silence", "list", "--json"]);
        kept[0].is_object().then_some(kept)
    });
    assert_eq!(kept[0]["matchers"], json!(["shop=north"]), "{kept}");
    assert_eq!(kept[0]["by"], "owner");
    let reason = kept[0]["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("ada") && reason.contains("the shop knows"),
        "{reason}"
    );
    until("the silence in the same place", || {
        let (status, all) = platform.tell("GET", "/api/v2/silences", SECRET, &Value::Null);
        (status == 200 && all[0]["id"] == *id).then_some(())
    });
    let path = format!("/api/v2/silence/{id}");
    until("its end", || {
        let (status, _) = platform.tell("DELETE", &path, SECRET, &Value::Null);
        (status != 503).then(|| assert_eq!(status, 200))
    });
    until("nothing in the list", || {
        let kept = platform.json(&["silence", "list", "--json"]);
        (kept == json!([])).then_some(())
    });
}

/// As the system's clock writes it, which the platform reads too.
fn in_an_hour() -> String {
    let output = Command::new("date")
        .args(["--utc", "--date", "now + 1 hour", "+%Y-%m-%dT%H:%M:%SZ"])
        .output();
    let text = String::from_utf8(output.expect("ran").stdout).expect("a text");
    text.trim().to_owned()
}

/// Every port of Mainstay's own: connected to without a certificate, it gives nothing.
fn refuses_strangers(platform: &Platform) {
    let found = platform.ask("b1", "/api/v1/targets");
    let targets = found["data"]["activeTargets"].as_array().expect("targets");
    let mut asked = 0;
    for target in targets {
        let url = target["scrapeUrl"].as_str().unwrap_or_default();
        let Some(address) = url.strip_prefix("https://") else {
            continue;
        };
        let address = address.trim_end_matches("/metrics");
        let mut stream = TcpStream::connect(address).expect("somebody listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("set");
        let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        // A reset is a refusal too.
        stream.read_to_end(&mut answer).ok();
        let text = String::from_utf8_lossy(&answer);
        assert!(
            !text.contains("HTTP/1.1"),
            "{address} answers strangers: {text}"
        );
        asked += 1;
    }
    assert_eq!(asked, 4, "three nodes and the other watch: {found}");
}

/// `mainstay up` with the same platform file and another rule file: the watches follow it as they run.
fn rules_are_taken_up(platform: &Platform) {
    let process = platform.instance("a1", "watch");
    let rules = platform.folder().join("rules.yaml");
    let changed = include_str!("watch/rules.yaml").replace("TheirsSilent", "TheirsGone");
    std::fs::write(&rules, changed).expect("written");
    let file = platform
        .folder()
        .join("platform.yaml")
        .display()
        .to_string();
    let up = platform.mainstay(&["up", &file, "--detach", "--timeout", "120s"]);
    assert!(
        up.status.success(),
        "{}",
        String::from_utf8_lossy(&up.stderr)
    );
    platform.until("a1", "/api/v1/rules", |found| {
        found.to_string().contains("TheirsGone")
    });
    std::fs::write(
        &rules,
        "groups: [{name: x, rules: [{alert: A, expr: 'up =='}]}]",
    )
    .expect("written");
    let refused = platform.mainstay(&["up", &file, "--detach", "--timeout", "120s"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("rules.yaml:1:"),
        "{said}"
    );
    assert!(
        platform
            .ask("a1", "/api/v1/rules")
            .to_string()
            .contains("TheirsGone")
    );
    assert_eq!(
        platform.instance("a1", "watch"),
        process,
        "nobody was started anew"
    );
}

impl Platform {
    /// What a command prints as JSON; nothing where it does not answer just now.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.mainstay(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn standing(&self) -> Vec<Value> {
        let found = self.json(&["alerts", "--json"]);
        found["standing"].as_array().cloned().unwrap_or_default()
    }

    /// States of all alerts as journalled, in order.
    fn journalled(&self) -> Vec<String> {
        let output = self.mainstay(&["journal", "show", "--kind", "alert", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let entries = text.lines().map(|line| {
            let entry: Value = serde_json::from_str(line).expect("an entry");
            let body = &entry["body"];
            let word = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            assert!(!word("why").is_empty(), "{entry}");
            format!("{} {}", word("watch"), word("state"))
        });
        entries.collect()
    }

    fn leader(&self) -> Option<(String, u64, i32)> {
        let status = self.json(&["status", "--json"]);
        let leader = status["leadership"]["leader"].as_str()?.to_owned();
        let hosts = status["regions"].as_array()?.iter();
        let mut hosts = hosts
            .filter_map(|region| region["hosts"].as_array())
            .flatten();
        let host = hosts.find(|host| host["name"] == leader.as_str())?;
        let pid = i32::try_from(host["node_pid"].as_i64()?).ok()?;
        Some((leader, status["leadership"]["epoch"].as_u64()?, pid))
    }
}

fn kill(pid: i32) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.expect("ran").success());
}

#[test]
fn an_alert_is_journalled_and_outlives_watch_node_and_leader_until_it_is_measured_that_it_ended() {
    let speaks = Arc::new(AtomicBool::new(true));
    let platform = Platform::start(&target(Arc::clone(&speaks)));
    for host in ["a1", "b1"] {
        platform.until(host, "/api/v1/targets", |found| count(found, "up") == 6);
    }
    assert!(platform.mainstay(&["alerts"]).status.success());
    until("the target, up", || {
        let question = platform.mainstay(&["query", "up{job=\"theirs\"}"]);
        let said = String::from_utf8_lossy(&question.stdout).into_owned();
        (said.starts_with("up{") && said.trim_end().ends_with("  1")).then_some(())
    });

    speaks.store(false, Ordering::SeqCst);
    until("a pending alert", || {
        let pending = platform.json(&["alerts", "--json"])["pending"].clone();
        let standing = platform.standing();
        let is_there = |all: &Value| all.as_array().is_some_and(|all| !all.is_empty());
        (is_there(&pending) || !standing.is_empty()).then_some(())
    });
    until("both watches' alerts", || {
        (platform.standing().len() == 2).then_some(())
    });
    until("a status that says so", || {
        let status = platform.json(&["status", "--json"]);
        let is_told = status["alerts"][0]["watches"] == json!(["a1", "b1"]);
        (is_told && status["verdict"] == "degraded").then_some(())
    });
    assert_eq!(platform.mainstay(&["alerts"]).status.code(), Some(1));
    let fired = platform.journalled();
    assert_eq!(fired.len(), 2, "{fired:?}");

    let (leader, epoch, pid) = until("a leader", || platform.leader());
    kill(pid);
    until("another leadership", || {
        platform.leader().filter(|(_, now, _)| *now > epoch)
    });
    until("the node again", || {
        let status = platform.json(&["status", "--json"]);
        let hosts = status["regions"].as_array()?.iter();
        let mut hosts = hosts
            .filter_map(|region| region["hosts"].as_array())
            .flatten();
        let host = hosts.find(|host| host["name"] == leader.as_str())?;
        host["node_pid"]
            .as_i64()
            .filter(|now| *now != i64::from(pid))
    });
    let watch = platform.instance("a1", "watch").expect("it runs");
    kill(watch);
    until("another watch", || {
        platform.instance("a1", "watch").filter(|pid| *pid != watch)
    });
    platform.until("a1", "/v1/board", |found| found["evaluated"] == true);
    // Long enough for whoever would tell it twice: the board was read again by then.
    platform.until("a1", "/api/v1/alerts", |found| {
        found["data"]["alerts"][0]["state"] == "firing"
    });
    until("both, still", || {
        (platform.standing().len() == 2).then_some(())
    });
    assert_eq!(platform.journalled(), fired);

    speaks.store(true, Ordering::SeqCst);
    until("the end of both", || {
        platform.standing().is_empty().then_some(())
    });
    let mut all = platform.journalled();
    all.sort();
    assert_eq!(
        all,
        ["a1 firing", "a1 resolved", "b1 firing", "b1 resolved"]
    );
}
