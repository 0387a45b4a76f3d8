//! A database whose platform file changes under a writer, as real processes: a replica moves to another host, its home to another
//! region, commits have fewer copies and more again. Nothing that was acknowledged is lost.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use mainstay_testkit::asker::Asker;
use mainstay_testkit::platform::{Platform, said, until};
use serde_json::Value;

const EXAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../examples/database/platform.yaml"
);
const HOSTS: [&str; 4] = ["use1-a", "usw2-a", "euw1-a", "usw2-b"];

/// The example with a host more, and with what a test changes in it.
fn file(platform: &Platform, name: &str, changes: &[(&str, &str)]) -> String {
    let example = std::fs::read_to_string(EXAMPLE).expect("the example");
    let host = "    - name: usw2-a\n      region: us-west-2\n";
    let more = format!("{host}    - name: usw2-b\n      region: us-west-2\n");
    // On the second host of a region ports are one higher.
    let text = example.replacen("sight: 7433", "sight: 7443", 1);
    let mut text = text.replacen(host, &more, 1);
    for (from, to) in changes {
        assert!(text.contains(from), "{from:?} is not in the example");
        text = text.replacen(from, to, 1);
    }
    platform.write(name, text, 0o644)
}

/// Writes one number after the other, and again where nobody answered that it was written.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Writer {
    fn start(asker: Asker) -> Self {
        until("a table", || {
            asker.ask("CREATE TABLE IF NOT EXISTS marks (mark bigint PRIMARY KEY)")
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut written = 0;
            while !stopped.load(Ordering::Relaxed) {
                let next = written + 1;
                let sql = format!("INSERT INTO marks VALUES ({next}) ON CONFLICT DO NOTHING");
                if asker.ask(&sql).is_some() {
                    written = next;
                }
            }
            written
        });
        Self { stop, thread }
    }

    /// How many were acknowledged.
    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a writer that ends")
    }
}

/// What the keeper beside the primary says of who counts.
fn cohort(platform: &Platform) -> Option<(Value, Value)> {
    HOSTS.iter().find_map(|host| {
        let socket = platform.run_folder().join(host).join("keeper-orders.sock");
        let status = keeper_status(&socket)?;
        let open = status["sight"]["role"] == "primary" && status["sight"]["open"] == true;
        open.then_some((Value::from(*host), status["cohort"].clone()))
    })
}

fn keeper_status(socket: &std::path::Path) -> Option<Value> {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(5)))
        .ok()?;
    stream
        .write_all(b"GET /v1/status HTTP/1.1\r\nHost: keeper\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (_, body) = text.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

fn members(cohort: &Value) -> Vec<String> {
    let mut members: Vec<String> = cohort["members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|host| host.as_str().map(str::to_owned))
        .collect();
    members.sort();
    members
}

fn await_cohort(platform: &Platform, what: &str, holds: impl Fn(&str, &Value) -> bool) {
    until(what, || {
        let (primary, cohort) = cohort(platform)?;
        holds(primary.as_str()?, &cohort).then_some(())
    });
}

fn apply(platform: &Platform, name: &str, changes: &[(&str, &str)]) {
    let file = file(platform, name, changes);
    platform.act(&["up", &file, "--detach", "--timeout", "180s"]);
}

const MOVED: (&str, &str) = ("        - host: usw2-a\n", "        - host: usw2-b\n");

/// Whoever is primary cannot be taken out of the file.
fn a_primary_stays(platform: &Platform) {
    let primary = file(
        platform,
        "primary.yaml",
        &[
            ("        - host: use1-a\n", ""),
            ("      home: us-east-1\n", "      home: us-west-2\n"),
            ("survive: region", "survive: none"),
        ],
    );
    let refused = platform.attempt(&["up", &primary, "--detach"]);
    assert!(
        !refused.status.success() && said(&refused).contains("is the primary"),
        "{}",
        said(&refused)
    );
}

#[test]
fn a_changed_file_is_followed_and_costs_no_acknowledged_write() {
    let platform = Platform::new(env!("CARGO_BIN_EXE_mainstay"));
    platform.start(&file(&platform, "first.yaml", &[]));
    let asker = Asker::of(&platform, "orders", &HOSTS);
    let writer = Writer::start(asker.clone());

    a_primary_stays(&platform);

    let before = keeper_of(&platform, "use1-a");
    apply(&platform, "moved.yaml", &[MOVED]);
    await_cohort(
        &platform,
        "the replica on usw2-b instead of the one on usw2-a",
        |_, cohort| members(cohort) == ["euw1-a", "use1-a", "usw2-b"],
    );
    until("the journal to know who was let go", || {
        let entries = platform.entries("reflex.recorded");
        entries
            .iter()
            .any(|entry| entry.to_string().contains("replica_let_go"))
            .then_some(())
    });
    let left = platform.data().join("hosts/usw2-a/left");
    until("its folder to be put aside", || {
        std::fs::read_dir(&left).ok()?.next().map(drop)
    });
    assert!(
        !platform
            .data()
            .join("hosts/usw2-a/databases/orders")
            .exists()
    );
    // The server of the primary ran on.
    assert_eq!(keeper_of(&platform, "use1-a").1, before.1);

    let nothing = ("survive: region", "survive: none");
    apply(&platform, "fewer.yaml", &[MOVED, nothing]);
    await_cohort(&platform, "one copy of each commit", |_, cohort| {
        cohort["copies"] == 1
    });
    apply(
        &platform,
        "more.yaml",
        &[
            MOVED,
            ("kind: Platform\n", "kind: Platform\n# As before.\n"),
        ],
    );
    await_cohort(&platform, "two copies of each commit", |_, cohort| {
        cohort["copies"] == 2
    });

    let home = ("      home: us-east-1\n", "      home: eu-west-1\n");
    apply(&platform, "home.yaml", &[MOVED, home]);
    the_primary_is_ordered_home(&platform);
    await_cohort(&platform, "the primary at its new home", |primary, _| {
        primary == "euw1-a"
    });

    let written = writer.finish();
    assert!(written > 20, "only {written} were written");
    let sql = format!("SELECT count(*) FROM marks WHERE mark <= {written}");
    let found = until("an answer", || asker.ask(&sql));
    assert_eq!(found, written.to_string(), "acknowledged and lost");
    println!("{written} writes were acknowledged, and all are there");
}

/// The file's new home is an order. A keeper does not hand over to a standby whose stream is just broken, and the file gives
/// its order once: then a person gives it again.
fn the_primary_is_ordered_home(platform: &Platform) {
    let outcome = until("what became of the order", || {
        let shown = platform.mainstay(&["journal", "show", "--json"]);
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        let entries = text.lines().map(serde_json::from_str);
        let entries: Vec<Value> = entries.collect::<Result<_, _>>().expect("entries");
        let is_it = |entry: &Value| {
            entry["kind"] == "switchover.ordered" && entry["body"]["to"] == "euw1-a"
        };
        let ordered = entries.iter().position(is_it)?;
        let mut ends = entries
            .iter()
            .filter(|one| one["kind"] == "effect.finished");
        let end = ends.find(|end| end["body"]["effect"] == ordered)?;
        Some(end["body"]["outcome"].clone())
    });
    if outcome["failed"].is_null() {
        return;
    }
    let is_there = || cohort(platform).is_some_and(|(primary, _)| primary == "euw1-a");
    platform.insist(&["switchover", "orders", "--to", "eu-west-1"], is_there);
}

/// The keeper of a host and its server.
fn keeper_of(platform: &Platform, host: &str) -> (Option<i32>, String) {
    let path = format!("hosts/{host}/databases/orders/pgdata/postmaster.pid");
    let text = std::fs::read_to_string(platform.data().join(path)).expect("a server");
    let server = text.lines().next().unwrap_or_default().to_owned();
    (platform.instance(host, "keeper-orders"), server)
}
