//! A ledger in three regions with a venue, gateways and watches, as real processes: its primary's host is lost while
//! nodes that lead are killed, and what comes of it is one incident.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use mainstay_testkit::child::GuardedChild;
use mainstay_testkit::platform::{self, said, until};
use mainstay_testkit::ports::{self, Given};
use serde_json::{Value, json};

/// The gateways' HTTP.
const PUBLIC: u16 = 8080;
/// How a command ends of which nobody knows what became.
const UNKNOWN: i32 = 5;

struct Platform(platform::Platform);

impl Deref for Platform {
    type Target = platform::Platform;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Platform {
    fn start(hook: &str) -> Self {
        let platform = Self(platform::Platform::new(env!("CARGO_BIN_EXE_mainstay")));
        let venue = venue().display().to_string();
        let secret = platform.write("hook.key", "a secret", 0o600);
        let text = include_str!("incident/platform.yaml")
            .replace("VENUE", &venue)
            .replace("HOOK", hook)
            .replace("SECRET", &secret);
        platform.write("rules.yaml", include_str!("incident/rules.yaml"), 0o644);
        let file = platform.write("platform.yaml", text, 0o644);
        platform.0.start(&file);
        platform
    }

    fn incidents(&self) -> Vec<Value> {
        let all = self.json(&["incident", "list", "--all", "--json"]);
        all.as_array().cloned().unwrap_or_default()
    }

    /// The only one; nothing while there is none.
    fn incident(&self) -> Option<Value> {
        let mut all = self.incidents();
        assert!(all.len() < 2, "more than one: {all:#?}");
        all.pop()
    }

    fn state(&self, wanted: &str) -> Option<Value> {
        self.incident().filter(|found| found["state"] == wanted)
    }

    /// Entries of the journal, by position.
    fn journal(&self) -> BTreeMap<u64, Value> {
        let output = self.mainstay(&["journal", "show", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let entries = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("an entry"));
        (0..).zip(entries).collect()
    }

    /// The host that leads, in which epoch, and the process of its node.
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

    /// Kills the node that leads, and waits for the next leadership.
    fn kill_leader(&self) {
        let (_, epoch, pid) = until("a leader", || self.leader());
        let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
        assert!(killed.expect("ran").success());
        until("another leadership", || {
            self.leader().filter(|(_, now, _)| *now > epoch)
        });
    }

    /// What a command prints that needs no reason.
    fn shown(&self, arguments: &[&str]) -> String {
        said(&self.mainstay(arguments))
    }

    /// What a stranger gets at every port that a process of the platform listens at, by the kernel's list.
    fn given(&self) -> BTreeMap<SocketAddr, Vec<Given>> {
        let processes = ports::processes(&self.data()).expect("the kernel's list");
        let addresses = ports::listening(&processes).expect("the kernel's list");
        let given = addresses.into_iter().map(|address| {
            let given = ports::knock(address).expect("somebody listens");
            (address, given)
        });
        given.collect()
    }

    /// Gateways' HTTP is for everybody, and nothing else is. The walk is shown to find what should not be there: a venue
    /// that was started without an identity.
    fn gives_strangers_nothing(&self) {
        let given = self.given();
        let seen: BTreeSet<u16> = given.keys().map(SocketAddr::port).collect();
        let all = [5432, 7400, 7432, 7433, 8080, 8090, 8100, 9190];
        assert!(all.iter().all(|port| seen.contains(port)), "{seen:?}");
        for (address, given) in &given {
            let is_public = address.port() == PUBLIC;
            assert_eq!(is_public, !given.is_empty(), "{address}: {given:?}");
        }
        let environment = [
            ("MAINSTAY_CELL", "planted"),
            ("MAINSTAY_LISTEN", "127.0.0.1:0"),
            ("PGUSER", "nobody"),
        ];
        let mut plain = Command::new(venue());
        plain.env_clear().envs(environment).current_dir(self.data());
        plain.stderr(std::process::Stdio::null());
        let _planted = GuardedChild::spawn(&mut plain).expect("started");
        until("the planted port among those that give something", || {
            let given = self.given();
            let mut others = given.iter().filter(|(at, _)| at.port() != PUBLIC);
            others.find(|(_, given)| !given.is_empty()).map(drop)
        });
    }

    /// A request to a gateway, as a customer makes it.
    fn public(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let processes = ports::processes(&self.data()).expect("the kernel's list");
        let addresses = ports::listening(&processes).expect("the kernel's list");
        let mut doors = addresses.into_iter().filter(|at| at.port() == PUBLIC);
        let door = doors.next().expect("a gateway");
        let stream = TcpStream::connect(door).expect("a gateway");
        exchange(stream, method, path, body)
    }

    /// A host falls, and stays down until somebody says otherwise. It may lead: then the answer may be lost with it.
    fn crash(&self, host: &str) {
        let fault = ["fault", "inject", "host-crash", host, "--for", "300s"];
        let set = self.attempt(&fault);
        if set.status.code() == Some(UNKNOWN) {
            let is_it = |fault: &Value| fault["kind"] == "host-crash" && fault["target"] == *host;
            return until("the fault in force", || {
                let faults = self.json(&["fault", "list", "--json"]);
                faults.as_array()?.iter().any(is_it).then_some(())
            });
        }
        assert!(set.status.success(), "{}", said(&set));
    }

    fn ends_all_faults(&self) {
        self.insist(&["fault", "clear", "all"], || {
            self.json(&["fault", "list", "--json"]) == json!([])
        });
    }

    /// A request to a node's socket, as a program makes it.
    fn request(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let socket = self.run_folder().join("b1").join("node.sock");
        let stream = UnixStream::connect(socket).expect("a node");
        exchange(stream, method, path, body)
    }
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    (
        status.expect("a status"),
        serde_json::from_str(body).expect("JSON"),
    )
}

/// Names and kinds of the notices that a channel got, in order.
type Heard = Arc<Mutex<Vec<(u64, String)>>>;

fn listen() -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let heard = Heard::default();
    let writes = Arc::clone(&heard);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut some = [0; 4_096];
            let body = loop {
                let read = stream.read(&mut some).unwrap_or(0);
                request.extend_from_slice(&some[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
                if let Some(body) = body.and_then(|body| serde_json::from_str::<Value>(&body).ok())
                    && text.contains("mainstay-signature: t=")
                {
                    break body;
                }
                if read == 0 {
                    break Value::Null;
                }
            };
            let name = body["notice"]
                .as_str()
                .and_then(|name| name.rsplit('/').next());
            if let Some(number) = name.and_then(|number| number.parse().ok()) {
                let kind = body["kind"].as_str().unwrap_or_default().to_owned();
                writes.lock().expect("a lock").push((number, kind));
            }
            let answer =
                "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    (url, heard)
}

/// A notice is sent after whoever gave the command has his answer.
fn says_what_became_of_the_last_notice(journal: &BTreeMap<u64, Value>) -> bool {
    let of_kind = |kind: &'static str| journal.iter().filter(move |(_, one)| one["kind"] == kind);
    let has_ended = |(position, _): (&u64, &Value)| {
        of_kind("effect.finished").any(|(_, end)| end["body"]["effect"] == *position)
    };
    let last = of_kind("notice.ordered").next_back();
    last.is_some_and(|(_, notice)| notice["body"]["kind"] == "resolve")
        && of_kind("notice.ordered").all(has_ended)
}

/// What the journal ordered was heard; twice at most where nobody could know, because the lead changed in between.
fn everybody_was_told(heard: &Heard, journal: &BTreeMap<u64, Value>) {
    let heard = heard.lock().expect("a lock").clone();
    let mut kinds = Vec::new();
    for (position, entry) in journal {
        if entry["kind"] != "notice.ordered" {
            continue;
        }
        let number = entry["body"]["notice"].as_u64().expect("a number");
        kinds.push(entry["body"]["kind"].as_str().expect("a kind").to_owned());
        let ends = |(_, entry): &(&u64, &Value)| {
            entry["kind"] == "effect.finished" && entry["body"]["effect"] == *position
        };
        let (end, outcome) = journal.iter().find(ends).expect("an outcome");
        assert!(outcome["body"]["outcome"]["done"].is_object(), "{outcome}");
        let between = journal.range(*position..*end);
        let claims = between.filter(|(_, entry)| entry["kind"] == "leadership.claimed");
        let told = heard.iter().filter(|(heard, _)| *heard == number).count();
        let most = 1 + claims.count();
        assert!(
            (1..=most).contains(&told),
            "{told} times, not 1 to {most}: {entry}"
        );
    }
    assert_eq!(kinds.first().map(String::as_str), Some("trigger"));
    assert_eq!(kinds.last().map(String::as_str), Some("resolve"));
    assert!(kinds.iter().any(|kind| kind == "acknowledge"), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| *kind == "trigger").count(), 1);
}

/// The program of the venue stands beside this one once the workspace is built; alone, this test builds it.
fn venue() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_mainstay")).with_file_name("exchange-venue");
    if !beside.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--locked", "-p", "exchange-venue"]);
        assert!(build.status().expect("cargo runs").success());
    }
    beside
}

/// Kinds of the entries in an incident's timeline, reflexes by their own name.
fn kinds(incident: &Value, journal: &BTreeMap<u64, Value>) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for position in incident["timeline"].as_array().expect("a timeline") {
        let entry = &journal[&position.as_u64().expect("a position")];
        let reflex = entry["body"]["reflex"].as_object();
        let kind = match reflex.and_then(|reflex| reflex.keys().next()) {
            Some(reflex) => reflex.clone(),
            None => entry["kind"].as_str().expect("a kind").to_owned(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

#[test]
fn a_lost_primary_is_one_incident_whoever_dies_meanwhile_and_rests_when_all_is_measured_to_be_over()
{
    let (hook, heard) = listen();
    let platform = Platform::start(&hook);
    let oncall = platform.json(&["oncall", "show", "--json"]);
    assert_eq!(oncall["rotations"][0]["who"], "grace", "{oncall}");
    assert!(platform.incident().is_none(), "starting is no trouble");
    assert!(platform.mainstay(&["incident", "list"]).status.success());
    platform.gives_strangers_nothing();

    // Down until this test says otherwise: a leader counts a host's silence from its own claim, and afresh when it was late.
    platform.crash("a1");
    let opened = until("an incident", || platform.incident());
    assert_eq!(opened["incident"], "i1");
    platform.kill_leader();
    let has = |incident: &Value, wanted: &[&str]| {
        let kinds = kinds(incident, &platform.journal());
        wanted.iter().all(|kind| kinds.contains_key(*kind))
    };
    let told = [
        "fault.injected",
        "hold_opened",
        "became_primary",
        "hold_closed",
        "alert.changed",
        "host.lost",
    ];
    let lost = until("alert, hold, failover and loss in one timeline", || {
        platform.incident().filter(|incident| has(incident, &told))
    });
    assert_eq!(
        lost["severity"], "critical",
        "a whole region is lost: {lost:#}"
    );
    assert_eq!(
        platform.mainstay(&["incident", "list"]).status.code(),
        Some(1)
    );
    let status = platform.json(&["status", "--json"]);
    assert_eq!(status["incidents"][0]["incident"], "i1", "{status}");

    people_take_it_up(&platform);
    programs_do_the_same(&platform);
    platform.ends_all_faults();
    platform.kill_leader();

    let rests = until("its rest", || platform.state("mitigated"));
    let why = rests["mitigated_because"].as_str().unwrap_or_default();
    assert!(why.contains("measured to have ended"), "{why}");
    assert_eq!(rests["standing"], json!([]));
    platform.act(&["incident", "resolve", "i1"]);
    let over = until("its end", || platform.state("resolved"));
    assert_eq!(
        over["roles"],
        json!({"commander": "grace", "owner": "owner"})
    );
    nothing_is_told_twice(&over, &platform.journal());
    let journal = until("what became of the last notice", || {
        Some(platform.journal()).filter(says_what_became_of_the_last_notice)
    });
    everybody_was_told(&heard, &journal);
    let shown = platform.mainstay(&["incident", "show", "i1"]);
    let text = said(&shown);
    assert!(
        text.contains("the power is off") && text.contains("became_primary"),
        "{text}"
    );
    a_replica_is_filled_anew_by_a_playbook(&platform, &heard);
    the_exchange_is_told_its_mode(&platform);
    a_routing_that_nobody_told_of_is_taken_up(&platform);
    let sound = platform.mainstay(&["journal", "verify"]);
    assert!(sound.status.success(), "{}", said(&sound));
}

/// Where the primary is, and another host with a replica.
fn replicas(platform: &Platform) -> Option<(String, String)> {
    let status = platform.json(&["status", "--json"]);
    let primary = status["databases"][0]["primary"].as_str()?.to_owned();
    let other = ["c1", "b1"].into_iter().find(|host| *host != primary)?;
    Some((primary, other.to_owned()))
}

fn incarnation(platform: &Platform, host: &str) -> Option<String> {
    let (_, gathered) = platform.request("GET", "/v1/gathered", &Value::Null);
    let of = |facts: &Value| {
        let incarnation = &facts["keepers"]["ledger"]["value"]["incarnation"];
        incarnation.as_str().map(str::to_owned)
    };
    match host {
        "b1" => of(&gathered["own"]),
        host => of(&gathered["others"][host]["value"]),
    }
}

/// A playbook fills a replica anew while the database serves, tells whoever is on call, and leaves somebody a work item.
fn a_replica_is_filled_anew_by_a_playbook(platform: &Platform, heard: &Heard) {
    let book = platform.write("refill.yaml", include_str!("incident/refill.yaml"), 0o644);
    platform.act(&["playbook", "adopt", &book]);
    let (primary, other) = until("a primary", || replicas(platform));
    let rehearse = |host: &str| {
        let host = format!("host={host}");
        let set = ["--set", &host, "--set", "incident=i1", "--json"];
        platform.json(&[&["playbook", "dry-run", "refill"][..], &set[..]].concat())["steps"].clone()
    };
    let steps = rehearse(&primary);
    assert_eq!(steps[0]["verdict"], "cannot", "{steps:#}");
    assert!(
        steps[0]["effect"]
            .as_str()
            .expect("why")
            .contains("switchover"),
        "{steps:#}"
    );
    let steps = rehearse(&other);
    for (step, effect) in [
        (0, format!("fill the replica of ledger on {other} anew")),
        (
            1,
            format!("tell rotation/first: the replica on {other} was filled anew"),
        ),
        (
            2,
            format!(
                "open a work item for grace until 7 days from now, in incident i1: why was {other} behind"
            ),
        ),
    ] {
        assert_eq!(steps[step]["effect"], effect, "{steps:#}");
    }
    let before = until("its name", || incarnation(platform, &other));
    let set = format!("host={other}");
    let arguments = [
        "playbook",
        "run",
        "refill",
        "--set",
        &set,
        "--set",
        "incident=i1",
        "--wait",
    ];
    platform.act(&arguments);
    until("another name", || {
        incarnation(platform, &other).filter(|now| *now != before)
    });
    let said: Vec<(u64, String)> = heard.lock().expect("a lock").clone();
    let said: Vec<u64> = (said.into_iter().filter(|(_, kind)| kind == "say"))
        .map(|(n, _)| n)
        .collect();
    assert_eq!(said, [1_002], "told once, under the name of its step");
    let items = platform.shown(&["incident", "action", "list"]);
    assert!(
        items.contains("i1/a1") && items.contains("grace"),
        "{items}"
    );
    assert!(
        items.contains(&format!("why was {other} behind (run r1)")),
        "{items}"
    );
    platform.act(&["incident", "action", "done", "i1/a1"]);
    let items = platform.shown(&["incident", "action", "list"]);
    assert!(!items.contains("i1/a1"), "{items}");
}

/// As a node leaves it that is killed after it wrote a routing and before it told the gateway.
fn a_routing_that_nobody_told_of_is_taken_up(platform: &Platform) {
    let path = "hosts/b1/instances/gateway-edge/config.json";
    let generation = || {
        let routing = platform.record(path)?;
        Some((routing["generation"].as_u64()?, routing))
    };
    let mut wanted = 0;
    until("the gateway that serves it", || {
        let (now, mut routing) = generation()?;
        // The node may have had something to tell in between.
        if now != wanted {
            wanted = now + 1;
            routing["generation"] = json!(wanted);
            let file = platform.data().join(path);
            let beside = file.with_extension("new");
            std::fs::write(&beside, routing.to_string()).expect("written");
            std::fs::rename(&beside, &file).expect("renamed");
        }
        let (_, gathered) = platform.request("GET", "/v1/gathered", &Value::Null);
        let served = gathered["own"]["gateways"]["edge"]["value"]["generation"].as_u64();
        (served == Some(wanted)).then_some(())
    });
}

/// From the step of a playbook to the order that is refused, and past a change of primary: the mode stands in the log.
fn the_exchange_is_told_its_mode(platform: &Platform) {
    let book = platform.write("mode.yaml", include_str!("incident/mode.yaml"), 0o644);
    platform.act(&["playbook", "adopt", &book]);
    let restrict = |mode: &str| {
        let set = format!("mode={mode}");
        platform.act(&["playbook", "run", "restrict", "--set", &set, "--wait"]);
    };
    let deposit = |reference: u64| {
        let body = json!({
            "account": 1, "reference": reference, "asset": "USD", "amount": "1.00",
            "deadline_ms": 4_000_000_000_000_u64,
        });
        let (_, answer) = platform.public("POST", "/v1/cells/ledger/deposits", &body);
        let word = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
        (word("outcome"), word("reason"))
    };
    let said = |outcome: &str, reason: &str| (outcome.to_owned(), reason.to_owned());
    assert_eq!(deposit(1), said("accepted", ""));
    restrict("cancelOnly");
    assert_eq!(deposit(2), said("rejected", "cancel_only"));
    let is_there = || replicas(platform).is_some_and(|(primary, _)| primary == "a1");
    platform.insist(&["switchover", "ledger", "--to", "a"], is_there);
    assert_eq!(deposit(3), said("rejected", "cancel_only"));
    let (status, _) = platform.public("GET", "/control/mode", &Value::Null);
    assert_eq!(status, 404, "no route leads there");
    // The journal hears a moment later than clients that the old one has left, and who came: the step waits for that.
    restrict("open");
    assert_eq!(deposit(4), said("accepted", ""));
}

fn people_take_it_up(platform: &Platform) {
    platform.act(&["incident", "acknowledge", "i1"]);
    platform.act(&["incident", "assign", "i1", "grace", "--role", "commander"]);
    let noted = platform.mainstay(&["incident", "note", "i1", "the power is off"]);
    assert!(noted.status.success(), "{}", said(&noted));
    let early = platform.mainstay(&["incident", "resolve", "i1", "--reason", "hope"]);
    assert_eq!(early.status.code(), Some(3), "{}", said(&early));
}

fn programs_do_the_same(platform: &Platform) {
    until("the only incident", || {
        let (status, answer) = platform.request("GET", "/v1/incidents", &Value::Null);
        (status == 200 && answer["ever"] == 1).then_some(())
    });
    let link = json!({"link": "https://example.org/call", "reason": "the call"});
    let (status, answer) = platform.request("POST", "/v1/incidents/i1/link", &link);
    assert!(
        status == 200 && answer["done"]["position"].is_u64(),
        "{answer}"
    );
    // Whoever is asked may read a moment later of what it has passed on.
    let answer = until("the link", || {
        let (_, answer) = platform.request("GET", "/v1/incidents/i1", &Value::Null);
        (answer["incident"]["links"][0] == link["link"]).then_some(answer)
    });
    let entries = answer["entries"].as_array().expect("entries");
    let timeline = answer["incident"]["timeline"]
        .as_array()
        .expect("a timeline");
    assert_eq!(entries.len(), timeline.len());
    for (path, body, wanted) in [
        ("/v1/incidents/i1/link", json!({"link": "x"}), 400),
        (
            "/v1/incidents/i1/severity",
            json!({"severity": "bad", "reason": "x"}),
            400,
        ),
        ("/v1/incidents/one/note", json!({"reason": "x"}), 400),
        ("/v1/incidents/i1/explode", json!({"reason": "x"}), 400),
    ] {
        let (status, answer) = platform.request("POST", path, &body);
        assert_eq!(status, wanted, "{path}: {answer}");
        assert!(answer["error"]["message"].is_string(), "{answer}");
    }
    let (status, _) = platform.request("GET", "/v1/incidents/i9", &Value::Null);
    assert_eq!(status, 404);
    let note = json!({"reason": "to nobody"});
    let (_, answer) = platform.request("POST", "/v1/incidents/i9/note", &note);
    assert_eq!(answer["refused"]["code"], "no_such_incident", "{answer}");
}

/// Each alert of each watch fired and ended once; each of it is in the timeline once, and nothing else was opened.
fn nothing_is_told_twice(incident: &Value, journal: &BTreeMap<u64, Value>) {
    let timeline = incident["timeline"].as_array().expect("a timeline");
    let timeline: Vec<u64> = timeline.iter().filter_map(Value::as_u64).collect();
    let mut sorted = timeline.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(timeline, sorted);
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    let mut opened = 0;
    for (position, entry) in journal {
        let body = &entry["body"];
        match entry["kind"].as_str() {
            Some("alert.changed") => {
                let key = format!("{} {} {}", body["watch"], body["alert"], body["state"]);
                *told.entry(key).or_default() += 1;
                assert!(
                    timeline.contains(position),
                    "{position} is missing: {entry}"
                );
            }
            Some("incident.opened") => opened += 1,
            _ => {}
        }
    }
    assert_eq!(opened, 1);
    let twice: Vec<_> = told.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
