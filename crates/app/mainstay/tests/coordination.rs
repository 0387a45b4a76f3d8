//! A database in three regions with its journal in etcd, as real processes: members that Mainstay runs lose their quorum
//! and get it back, a host is lost with its member and with whoever leads, and sealed parts go to a bucket that is away for
//! a while.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_testkit::etcd::or_skip;
use mainstay_testkit::objects::ObjectService;
use mainstay_testkit::platform::{self, PATIENCE, said};
use mainstay_testkit::wait::wait_for;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

/// Where the example wants its primary.
const HOME: &str = "us-east-1";
const HOSTS: [&str; 3] = ["use1-a", "usw2-a", "euw1-a"];
/// How a command ends of which nobody knows what became.
const UNKNOWN: i32 = 5;

/// So often something is ordered and taken back.
const MANY: usize = 8;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMIKEXAMPLEKEY";

/// Members on each host, and a bucket for all but the newest parts of the journal.
fn coordination(bucket: &ObjectService) -> String {
    format!(
        "
  coordination:
    etcd:
      members:
        - host: use1-a
        - host: usw2-a
        - host: euw1-a
      keepParts: 16
      archive: s3://vault/journal
      archiveOptions:
        region: eu-central-1
        endpoint: {}
        allowHttp: true
",
        bucket.endpoint()
    )
}

struct Platform(platform::Platform);

impl Deref for Platform {
    type Target = platform::Platform;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Platform {
    fn start(bucket: &ObjectService) -> Self {
        let platform = Self(platform::Platform::new(env!("CARGO_BIN_EXE_mainstay")));
        let secrets = platform.data().join("secrets");
        let mut owners = std::fs::DirBuilder::new();
        owners.recursive(true).mode(0o700);
        owners.create(secrets).expect("a folder");
        let credentials = format!("AWS_ACCESS_KEY_ID={KEY}\nAWS_SECRET_ACCESS_KEY={SECRET}\n");
        platform.write("data/secrets/journal.store-credentials", credentials, 0o600);
        let example = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../examples/database/platform.yaml"
        );
        let text = std::fs::read_to_string(example).expect("the example");
        let file = platform.write("platform.yaml", text + &coordination(bucket), 0o644);
        platform.0.start(&file);
        platform
    }

    /// The process that is a host's member of etcd.
    fn member(&self, host: &str) -> Option<Pid> {
        let pid = self.instance(host, "etcd")?;
        Pid::from_raw(pid)
    }

    fn status(&self) -> Option<Value> {
        serde_json::from_slice(&self.mainstay(&["status", "--json"]).stdout).ok()
    }

    /// Waits for a status, and says what came instead.
    fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let found = wait_for(what, PATIENCE, || {
            self.status().filter(|status| holds(status))
        });
        match found {
            Ok(status) => status,
            Err(error) => panic!("{error}: {}", said(&self.mainstay(&["status"]))),
        }
    }

    /// Whoever led may have had the primary: then another region has it, nothing brings it back by itself, and a person
    /// does.
    fn comes_home(&self) {
        self.until("all copies, and a leader", |status| {
            status["databases"][0]["copies"] == HOSTS.len() && leader(status).is_some()
        });
        // A keeper does not hand over to a standby whose stream is just broken: the order is given again.
        let is_home = |status: Value| primary(&status) == Some(HOSTS[0]);
        self.insist(&["switchover", "orders", "--to", HOME], || {
            self.status().is_some_and(is_home)
        });
        self.until("health", is_healthy);
    }

    /// A host falls, and stays down until it is told otherwise. Whoever leads may take the answer with it.
    fn crash(&self, host: &str) {
        let fault = ["fault", "inject", "host-crash", host, "--for", "300s"];
        let set = self.attempt(&fault);
        let is_told = set.status.success() || set.status.code() == Some(UNKNOWN);
        assert!(is_told, "{}", said(&set));
        let is_it = |fault: &Value| fault["kind"] == "host-crash" && fault["target"] == *host;
        let is_set = || {
            let faults = self.json(&["fault", "list", "--json"]);
            faults.as_array()?.iter().any(is_it).then_some(())
        };
        platform::until("the fault in force", is_set);
    }

    /// The number of entries of a journal that verifies, each node's memory included.
    fn verified(&self) -> u64 {
        let verified = self.mainstay(&["journal", "verify", "--json"]);
        assert!(verified.status.success(), "{}", said(&verified));
        let report: Value = serde_json::from_slice(&verified.stdout).expect("a report");
        assert_eq!(
            report["vouched"].as_array().map(Vec::len),
            Some(HOSTS.len())
        );
        report["entries"].as_u64().expect("a number")
    }
}

fn leader(status: &Value) -> Option<&str> {
    status["leadership"]["leader"].as_str()
}

fn primary(status: &Value) -> Option<&str> {
    status["databases"][0]["primary"].as_str()
}

fn is_healthy(status: &Value) -> bool {
    status["verdict"] == "healthy"
}

/// Frozen members go on when this is dropped, whatever became of the test.
struct Frozen(Vec<Pid>);

impl Frozen {
    fn freeze(pids: Vec<Pid>) -> Self {
        for pid in &pids {
            kill_process(*pid, Signal::STOP).expect("a member to freeze");
        }
        Self(pids)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            kill_process(*pid, Signal::CONT).ok();
        }
    }
}

/// A relay carries for whoever shows its secret, which etcd has in its environment and nothing else of the platform shows.
fn relays_know_their_members_only(platform: &Platform) {
    let host = HOSTS[0];
    let config = format!("hosts/{host}/instances/etcd-relay/config.json");
    let config = std::fs::read(platform.data().join(config)).expect("what the relay was told");
    let config: Value = serde_json::from_slice(&config).expect("a configuration");
    let ways = config["ways"].as_object().expect("ways");
    let name = ways.keys().next().expect("another member");
    let secret = std::fs::read_to_string(config["secret"].as_str().expect("a file"));
    let secret = secret.expect("a secret");
    let answer = |shown: Option<&str>| {
        let listen = config["listen"].as_str().expect("an address");
        let mut relay = TcpStream::connect(listen).expect("a relay");
        let shown = shown.map(|secret| STANDARD.encode(format!("member:{secret}")));
        let shown = shown.map(|shown| format!("Proxy-Authorization: Basic {shown}\r\n"));
        let head = format!(
            "CONNECT {name} HTTP/1.1\r\n{}\r\n",
            shown.unwrap_or_default()
        );
        relay.write_all(head.as_bytes()).expect("asked");
        let mut status = [0; 12];
        relay.read_exact(&mut status).expect("answered");
        String::from_utf8_lossy(&status).into_owned()
    };
    assert_eq!(answer(Some(secret.as_str())), "HTTP/1.1 200");
    let wrong = "0".repeat(secret.len());
    for stranger in [None, Some(""), Some(wrong.as_str())] {
        assert_eq!(answer(stranger), "HTTP/1.1 407", "{stranger:?}");
    }
    let of_member = |what: &str| {
        let pid = platform.member(host).expect("a member").as_raw_nonzero();
        std::fs::read_to_string(format!("/proc/{pid}/{what}")).expect("a process")
    };
    assert!(of_member("environ").contains(&secret) && !of_member("cmdline").contains(&secret));
    let telling = below(&platform.data()).into_iter().filter(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        let tells = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        tells && !path.starts_with(platform.data().join("secrets"))
    });
    let telling: Vec<PathBuf> = telling.collect();
    assert!(telling.is_empty(), "the secret stands in {telling:?}");
}

/// Every file below a folder, but for what databases keep.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let each = entries.flat_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() && entry.file_name() == "databases" => Vec::new(),
        Ok(kind) if kind.is_dir() => below(&entry.path()),
        Ok(kind) if kind.is_file() => vec![entry.path()],
        Ok(_) | Err(_) => Vec::new(),
    });
    each.collect()
}

#[test]
fn the_journal_in_etcd_goes_on_without_a_gap_after_a_lost_quorum_and_a_lost_host() {
    if !or_skip("a platform with its journal in etcd") {
        return;
    }
    let bucket = ObjectService::s3("vault", KEY).expect("a bucket");
    let platform = Platform::start(&bucket);
    relays_know_their_members_only(&platform);
    let before = platform.verified();
    // Whatever happens next, happens without the bucket.
    bucket.set_down(true);

    let members = HOSTS[1..].iter().filter_map(|host| platform.member(host));
    let frozen = Frozen::freeze(members.collect());
    assert_eq!(frozen.0.len(), 2);
    let deaf = platform.until("deafness", |status| leader(status).is_none());
    // Reflexes go on: the database has its primary, and nobody doubts it.
    assert_eq!(deaf["databases"][0]["verdict"], "healthy", "{deaf}");
    let read = platform.mainstay(&["journal", "verify"]);
    assert_eq!(read.status.code(), Some(4), "{}", said(&read));
    drop(frozen);
    platform.until("a leader again", |status| {
        leader(status).is_some() && is_healthy(status)
    });
    // Who verifies asks the bucket itself.
    bucket.set_down(false);
    let after = platform.verified();
    bucket.set_down(true);
    assert!(after >= before, "{after} of {before}");

    // A host is lost: whoever leads, with its member.
    let status = platform.until("a leader", |status| leader(status).is_some());
    let first = leader(&status).expect("known").to_owned();
    let member = platform.member(&first).expect("a member");
    platform.crash(&first);
    platform::until("the end of its member", || {
        test_kill_process(member).is_err().then_some(())
    });
    // Only then it comes back, so that it has been missed however busy the machine is.
    let status = platform.until("another leader, and a primary elsewhere", |status| {
        let is_elsewhere = |found: Option<&str>| found.is_some_and(|now| now != first);
        is_elsewhere(leader(status)) && is_elsewhere(primary(status))
    });
    platform.insist(&["fault", "clear", "all"], || {
        platform.json(&["fault", "list", "--json"]) == json!([])
    });
    assert!(
        status["leadership"]["epoch"].as_u64() >= Some(2),
        "{status}"
    );
    platform.comes_home();
    let back = platform.member(&first).expect("a member again");
    assert_ne!(back, member);
    sealed_parts_are_in_the_bucket(&platform, &bucket, after);
}

/// They go there as soon as it answers; who verifies asks the bucket itself, and finds what is not as it was.
fn sealed_parts_are_in_the_bucket(platform: &Platform, bucket: &ObjectService, before: u64) {
    let parts = || {
        let names = bucket.objects().into_keys();
        let parts: Vec<String> = names
            .filter(|name| name.starts_with("journal/parts/"))
            .collect();
        (!parts.is_empty()).then_some(parts)
    };
    // More than stay in etcd.
    for order in ["pause", "resume"].repeat(MANY) {
        let told = platform.mainstay(&[order, "--reason", "a test"]);
        assert!(told.status.success(), "{}", said(&told));
    }
    bucket.set_down(false);
    let parts = wait_for("sealed parts in the bucket", PATIENCE, parts).expect("an archive");
    assert!(platform.verified() > before);
    let first = parts.first().expect("a part");
    let flip = |bytes: &mut Vec<u8>| {
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
    };
    assert!(bucket.change(first, flip));
    let damaged = platform.mainstay(&["journal", "verify"]);
    assert!(!damaged.status.success(), "a flipped bit was not found");
    assert!(bucket.change(first, flip));
    bucket.set_down(true);
    let away = platform.mainstay(&["journal", "verify"]);
    assert!(!away.status.success(), "verified without the bucket");
    bucket.set_down(false);
    assert!(platform.verified() > before);
    assert_eq!(bucket.wrong(), Vec::<String>::new());
}
