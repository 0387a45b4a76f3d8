//! A sample on real processes of what the kernel's own scenarios enumerate: whoever leads, and whoever carries a step
//! out, is killed in the middle of runs of a playbook and of faults. Nothing is lost, nothing done twice, no fault left.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_testkit::platform::{self, said, until};
use serde_json::Value;

/// Of the choice of victims and of moments.
const SEED: u64 = 7;
const RUNS: u64 = 6;
const FAULTS: u64 = 3;

/// A platform, and the marks that programs of its playbooks made here: of files they may write only their own.
struct Platform(platform::Platform, Marks);

type Marks = Arc<Mutex<Vec<String>>>;

/// Takes a mark from whoever connects, and says so.
fn take_marks() -> (String, Marks) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let marks = Marks::default();
    let keeps = Arc::clone(&marks);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut line, mut some) = (String::new(), [0; 256]);
            while !line.ends_with('\n') {
                match stream.read(&mut some) {
                    Ok(read @ 1..) => line.push_str(&String::from_utf8_lossy(&some[..read])),
                    Ok(_) | Err(_) => break,
                }
            }
            if let Some(mark) = line.strip_suffix('\n') {
                keeps.lock().expect("a lock").push(mark.to_owned());
                stream.write_all(b"made\n").ok();
            }
        }
    });
    (port.to_string(), marks)
}

impl Deref for Platform {
    type Target = platform::Platform;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Platform {
    fn start() -> Self {
        let (port, marks) = take_marks();
        let program = env!("CARGO_BIN_EXE_mainstay");
        let platform = Self(platform::Platform::new(program), marks);
        let count = format!(
            "#!/bin/bash\nset -e\nexec 3<>/dev/tcp/127.0.0.1/{port}\necho \"$1\" >&3\nread -r made <&3\nsleep 0.4\n"
        );
        let count = platform.write("count", &count, 0o755);
        let book = include_str!("response/mend.yaml");
        let book = book.replace("COUNT", &count).replace("PORT", &port);
        platform.write("mend.yaml", &book, 0o644);
        let broken = platform.broken();
        let flaky = format!("#!/bin/sh\n[ -e {broken} ] && exit 1\nexec sleep infinity\n");
        let flaky = platform.write("flaky", &flaky, 0o755);
        let text = include_str!("response/platform.yaml");
        let text = text.replace("FLAKY", &flaky);
        platform.write("platform.yaml", &text, 0o644);
        let up = platform.up();
        assert!(up.status.success(), "{}", said(&up));
        platform
    }

    /// While this is there, the service `flaky` ends as soon as it starts.
    fn broken(&self) -> String {
        self.folder().join("broken").display().to_string()
    }

    /// The process of an instance, and its host.
    fn process(&self, instance: &str) -> Option<(&'static str, i64)> {
        ["a1", "b1", "c1"].into_iter().find_map(|host| {
            let process = self.instance(host, instance)?;
            // Of one that has moved away the record is left for a moment.
            let lives = Path::new(&format!("/proc/{process}")).exists();
            lives.then_some((host, i64::from(process)))
        })
    }

    fn incidents(&self) -> Vec<Value> {
        let all = self.json(&["incident", "list", "--all", "--json"]);
        all.as_array().cloned().unwrap_or_default()
    }

    fn up(&self) -> Output {
        let file = self.folder().join("platform.yaml").display().to_string();
        self.attempt(&["up", &file, "--detach", "--timeout", "120s"])
    }

    /// Replaces something in a file beside the platform file.
    fn change(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.folder().join(name)).expect("read");
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, text.replace(from, to), 0o644);
    }

    /// A playbook in force: its version, and whether the file names it.
    fn book(&self, name: &str) -> Option<(u64, bool)> {
        let all = until("an answer", || {
            let all = self.json(&["playbook", "list", "--json"]);
            all["playbooks"].as_array().cloned()
        });
        let book = all.into_iter().find(|book| book["name"] == name)?;
        Some((book["version"].as_u64()?, book["named"].as_bool()?))
    }

    /// Waits until a playbook is in force like this: whoever is asked may not have read of it yet.
    fn wait_book(&self, name: &str, wanted: Option<(u64, bool)>) {
        let what = format!("{name} as {wanted:?}");
        until(&what, || (self.book(name) == wanted).then_some(()));
    }

    fn marks(&self, mark: &str) -> usize {
        let marks = self.1.lock().expect("a lock");
        marks.iter().filter(|made| *made == mark).count()
    }

    fn kill(&self, host: &str) {
        let pid = self.node(host).expect("a node").to_string();
        // It may have been killed before and not be back.
        Command::new("kill")
            .args(["-9", &pid])
            .stderr(Stdio::null())
            .status()
            .expect("ran");
    }

    /// The run of this mark, and whether it is over.
    fn run_of(&self, mark: &str) -> Option<(Value, bool)> {
        let all = self.json(&["playbook", "list", "--json"]);
        let found = |list: &str| {
            let mut runs = all[list].as_array()?.iter();
            runs.find(|run| run["values"]["mark"] == mark).cloned()
        };
        let over = found("ended").map(|run| (run, true));
        over.or_else(|| found("runs").map(|run| (run, false)))
    }

    /// Waits for the end of a run. Whoever is asked looks at what was really done.
    fn ended(&self, mark: &str) -> Value {
        until("the end of a run", || {
            let (run, over) = self.run_of(mark)?;
            if over {
                return Some(run);
            }
            let id = run["run"].as_str().expect("a name");
            if run["phase"] == "asking" {
                let step_done = run["step"] != "count" || self.marks(mark) > 0;
                let answer: &[&str] = match step_done {
                    true => &["playbook", "approve", id, "--reason", "it was done"],
                    false => &["playbook", "abort", id, "--undo", "--reason", "it was not"],
                };
                // Whoever is asked may die; it is asked again.
                drop(self.mainstay(answer));
            }
            None
        })
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "between two looks, and until a moment of the schedule; no time decides the test"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// SplitMix64.
fn dice(round: u64, sides: u64) -> u64 {
    let mut mixed = (SEED + round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % sides
}

/// Somebody dies, at some moment after now.
fn strike(platform: &Platform, round: u64, leader: &str) {
    let victims: &[&str] = match round % 3 {
        0 => &[leader],
        1 => &["b1"],
        _ => &[leader, "b1"],
    };
    let moment = Duration::from_millis(dice(round, 900));
    eprintln!("round {round}: {victims:?} after {moment:?}");
    pause(moment);
    for victim in victims {
        platform.kill(victim);
    }
}

fn is_stopped(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// What was asked of a server of this test: the name of each call, and whether it had the secret. Slow ones it answers when
/// nobody is there any more to hear it.
type Asked = Arc<Mutex<Vec<(String, bool)>>>;

fn serve() -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Asked::default();
    let keeps = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut request, mut some) = (String::new(), [0; 4_096]);
            while !request.contains("\r\n\r\n{\"mark\"") {
                match stream.read(&mut some) {
                    Ok(read @ 1..) => request.push_str(&String::from_utf8_lossy(&some[..read])),
                    Ok(_) | Err(_) => break,
                }
            }
            let head = request.to_lowercase();
            let mut lines = head.lines();
            let name = lines.find_map(|line| line.strip_prefix("idempotency-key: "));
            let secret = head.contains("authorization: bearer hush");
            let name = name.unwrap_or_default().to_owned();
            keeps.lock().expect("a lock").push((name, secret));
            if request.contains("/marks/slow") {
                while let Ok(1..) = stream.read(&mut some) {}
            }
            let answer = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    (url, asked)
}

/// Calls are made once, also when the node that makes them dies; an instance moves to the host that has none.
fn calls_are_made_once_and_an_instance_moves(platform: &Platform) {
    let (url, asked) = serve();
    let headers = platform.write("headers", "Authorization: Bearer hush\n", 0o600);
    let text = include_str!("response/act.yaml")
        .replace("URL", &url)
        .replace("HEADERS", &headers);
    let book = platform.write("act.yaml", &text, 0o644);
    platform.act(&["playbook", "adopt", &book]);
    platform.wait_book("act", Some((1, false)));

    let effect = |host: &str, book: &str| {
        let from = format!("from={host}");
        until("a rehearsal", || {
            let set = ["--set", "mark=x", "--set", &from, "--json"];
            let shown = platform.json(&[&["playbook", "dry-run", book][..], &set[..]].concat());
            let step = shown["steps"].as_array()?.last()?.clone();
            let word = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
            Some((word("verdict"), word("effect")))
        })
    };
    let has = || -> BTreeSet<&'static str> {
        let hosts = ["a1", "b1", "c1"].into_iter();
        hosts
            .filter(|host| effect(host, "act").0 == "acts")
            .collect()
    };
    let before = has();
    assert_eq!(before.len(), 2, "{before:?}");
    let from = *before.first().expect("a host");
    let (_, told) = effect(from, "act");
    assert!(told.starts_with("move the instance of spare on"), "{told}");

    let run = |mark: &str, from: &str| {
        let (mark, from) = (format!("mark={mark}"), format!("from={from}"));
        platform.act(&["playbook", "run", "act", "--set", &mark, "--set", &from]);
    };
    run("quick", from);
    let over = platform.ended("quick");
    assert_eq!(over["phase"], "done", "{over:#}");
    let after = has();
    assert!(
        after.len() == 2 && !after.contains(from),
        "{before:?}, then {after:?}"
    );
    let to = *after.difference(&before).next().expect("a new host");
    let state = platform
        .data()
        .join(format!("hosts/{to}/instances/spare/state.json"));
    let state: Value = serde_json::from_slice(&std::fs::read(state).expect("read")).expect("JSON");
    let pid = state["child"]["pid"].as_i64().expect("a process");
    assert!(
        Path::new(&format!("/proc/{pid}")).exists(),
        "it runs on {to}"
    );

    // One on each host that may have one: nowhere to go.
    let pinned = text
        .replace("instance: spare", "instance: idle")
        .replace("name: act", "name: pinned");
    let pinned = platform.write("pinned.yaml", &pinned, 0o644);
    let (verdict, why) = effect("b1", &pinned);
    assert!(
        verdict == "cannot" && why.contains("is pinned"),
        "{verdict}: {why}"
    );

    let left = after.first().expect("a host");
    a_call_whose_node_dies_is_not_made_again(platform, &asked, || run("slow", left));
}

fn a_call_whose_node_dies_is_not_made_again(platform: &Platform, asked: &Asked, run: impl Fn()) {
    let calls = || asked.lock().expect("a lock").clone();
    let first = calls();
    run();
    until("the call", || (calls().len() > first.len()).then_some(()));
    platform.kill("b1");
    let asks = until("a question", || {
        let (run, over) = platform.run_of("slow")?;
        assert!(!over, "whether it was done is not known: {run:#}");
        (run["phase"] == "asking").then_some(run)
    });
    let id = asks["run"].as_str().expect("a name");
    platform.act(&["playbook", "approve", id]);
    let over = platform.ended("slow");
    assert_eq!(over["phase"], "done", "{over:#}");
    let all = calls();
    let names: BTreeSet<&String> = all.iter().map(|(name, _)| name).collect();
    assert_eq!(
        (all.len(), names.len()),
        (2, 2),
        "each was made once: {all:?}"
    );
    assert!(
        all.iter()
            .all(|(name, secret)| *secret && name.ends_with("/call"))
    );
}

/// A host whose disk takes nothing of what is written there goes on with what runs, says what it cannot do, and does it as soon as it can.
fn a_disk_that_takes_nothing_stops_no_node(platform: &Platform) {
    let book = platform.write("shift.yaml", include_str!("response/shift.yaml"), 0o644);
    platform.act(&["playbook", "adopt", &book]);
    let hosts = ["a1", "b1", "c1"];
    let has = |host: &str| {
        let pid = platform.instance(host, "spare").unwrap_or(0);
        Path::new(&format!("/proc/{pid}")).exists()
    };
    // The one that has just moved away is being stopped.
    let to = until("a host without", || {
        hosts.into_iter().find(|host| !has(host))
    });
    let from = hosts.into_iter().find(|host| has(host)).expect("another");
    let node = platform.node(to).expect("a node");
    // Nobody can write over a folder, or make a folder where a file is.
    let kept = platform
        .data()
        .join(format!("hosts/{to}/node/placements.json"));
    let place = platform.data().join(format!("hosts/{to}/instances/spare"));
    let aside = place.with_file_name("aside");
    std::fs::rename(&place, &aside).ok();
    std::fs::write(&place, "in the way").expect("written");
    std::fs::remove_file(&kept).expect("removed");
    std::fs::create_dir_all(kept.join("in the way")).expect("made");

    let from = format!("from={from}");
    platform.act(&[
        "playbook",
        "run",
        "shift",
        "--set",
        "mark=moved",
        "--set",
        &from,
    ]);
    let reasons = || {
        let status = platform.json(&["status", "--json"]);
        let findings = status["findings"].as_array().cloned().unwrap_or_default();
        let words = findings.iter().map(ToString::to_string);
        words
            .filter(|words| words.contains("\"trouble\""))
            .collect::<Vec<_>>()
    };
    let told = until("both troubles", || {
        Some(reasons()).filter(|all| all.len() == 2)
    });
    assert!(told.iter().all(|words| words.contains(to)), "{told:?}");
    assert_eq!(platform.node(to), Some(node), "it goes on");

    std::fs::remove_dir_all(&kept).expect("removed");
    std::fs::remove_file(&place).expect("removed");
    std::fs::rename(&aside, &place).ok();
    let over = platform.ended("moved");
    assert_eq!(over["phase"], "done", "{over:#}");
    until("no trouble", || reasons().is_empty().then_some(()));
    assert!(has(to) && kept.is_file() && platform.node(to) == Some(node));
}

/// What the file names is in force by it: a changed text is a new version, and what is named no more is retired.
fn the_file_is_followed(platform: &Platform) {
    platform.wait_book("mend", Some((1, true)));
    let by_hand = platform.folder().join("mend.yaml").display().to_string();
    let refused = platform.mainstay(&["playbook", "adopt", &by_hand, "--reason", "by hand"]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));

    platform.change("mend.yaml", "One step of each kind", "One of each kind");
    let same = platform.up();
    assert_eq!(same.status.code(), Some(3), "{}", said(&same));
    assert!(
        said(&same).contains("version 1 is not above it"),
        "{}",
        said(&same)
    );
    platform.change("mend.yaml", "version: 1", "version: 2");
    let changed = platform.up();
    assert!(changed.status.success(), "{}", said(&changed));
    platform.wait_book("mend", Some((2, true)));

    platform.change("platform.yaml", "mend.yaml", "mended.yaml");
    let gone = platform.up();
    assert_eq!(gone.status.code(), Some(1), "{}", said(&gone));
    assert!(said(&gone).contains("platform.yaml:"), "{}", said(&gone));
    platform.change("platform.yaml", "  playbooks: [mended.yaml]\n", "");
    let retired = platform.up();
    assert!(retired.status.success(), "{}", said(&retired));
    platform.wait_book("mend", None);
    assert_eq!(
        platform.book("act"),
        Some((1, false)),
        "by hand, and left alone"
    );
    platform.act(&["playbook", "adopt", &by_hand]);
    platform.wait_book("mend", Some((2, false)));
}

/// An incident of its own; or a part of that of a host which was lost a moment ago, because a node was away for too long.
fn is_told_as_a_loop(incident: &Value, title: &str) {
    let known = incident["title"].as_str().expect("a title");
    let is_own = known == title;
    assert!(is_own || known.ends_with(" is lost"), "{incident:#}");
    let is_alone = incident["standing"].as_array().map(Vec::len) == Some(1);
    let severity = incident["severity"].as_str().expect("a severity");
    let expected: &[&str] = match is_own && is_alone {
        true => &["error"],
        false => &["error", "critical"],
    };
    assert!(expected.contains(&severity), "{incident:#}");
}

/// No rule and no watch is needed for it.
fn a_crash_loop_is_an_incident_until_it_is_over(platform: &Platform) {
    let (host, pid) = until("flaky", || platform.process("flaky"));
    std::fs::write(platform.broken(), "").expect("written");
    let kill = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(kill.expect("ran").success());
    let title = format!("flaky on {host} ends again and again");
    let condition = format!("crash loop {host}/flaky");
    let stands = |incident: &Value| {
        let standing = incident["standing"].as_array();
        standing.is_some_and(|all| all.iter().any(|one| one["condition"] == *condition))
    };
    let opened = until("an incident", || {
        platform.incidents().into_iter().find(&stands)
    });
    is_told_as_a_loop(&opened, &title);
    // Whoever takes over knows it from the journal, and so does the node that is to tell its end.
    platform.kill(host);
    std::fs::remove_file(platform.broken()).expect("removed");
    let instance = format!("{host}/flaky");
    let (all, ended) = until("the end of the loop", || {
        let mut reflexes = platform.entries("reflex.recorded").into_iter();
        let end = |entry: &Value| entry["body"]["reflex"]["loop_ended"]["instance"] == *instance;
        let ended = reflexes.find(end)?;
        let all = platform.incidents();
        let is_it = |incident: &Value| incident["incident"] == opened["incident"];
        let is_over = all.iter().any(is_it) && !all.iter().any(&stands);
        is_over.then_some((all, ended))
    });
    let loops = all.iter().filter(|one| one["title"] == title).count();
    assert!(loops <= 1, "{loops} of the same loop: {all:#?}");
    let why = ended["body"]["reflex"]["loop_ended"]["why"].as_str();
    let why = why.expect("a reason");
    // A host whose node is away for ten seconds is given up, and what can move does; there the loop ends by that.
    let (here, _) = until("flaky", || platform.process("flaky"));
    let expected = match here == host {
        true => "well for 5 s",
        false => "not been wanted here for 60 s",
    };
    assert!(why.ends_with(expected), "{here}: {ended}");
}

#[test]
fn runs_and_faults_survive_the_death_of_whoever_is_at_them() {
    let platform = Platform::start();
    for round in 0..RUNS {
        let leader = until("a leader", || platform.leader());
        until("everybody", || {
            let status = platform.json(&["status", "--json"]);
            (status["verdict"] == "healthy").then_some(())
        });
        let mark = format!("mark-{round}");
        let set = format!("mark={mark}");
        platform.act(&["playbook", "run", "mend", "--set", "host=b1", "--set", &set]);
        strike(&platform, round, &leader);
        let run = platform.ended(&mark);
        let marks = platform.marks(&mark);
        assert!(marks <= 1, "{mark} was made {marks} times: {run:#}");
        assert!(
            run["phase"] != "done" || marks == 1,
            "told as done, and was not: {run:#}"
        );
        assert!(
            ["done", "aborted", "undone", "failed"]
                .contains(&run["phase"].as_str().expect("a phase")),
            "{run:#}"
        );
        until("nobody left out of routing", || {
            let all = platform.json(&["playbook", "list", "--json"]);
            all["drained"].as_array()?.is_empty().then_some(())
        });
    }
    for round in 0..FAULTS {
        let leader = until("a leader", || platform.leader());
        let mut fault = platform.command(&[
            "fault",
            "inject",
            "process-freeze",
            "b1/idle",
            "--for",
            "2s",
        ]);
        let fault = fault
            .args(["--reason", "a test"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut fault = fault.spawn().expect("started");
        strike(&platform, RUNS + round, &leader);
        // Whether it is told as done is not for the test: its node may be the victim.
        fault.wait().expect("ended");
        until("the end of the fault", || {
            let faults = platform.json(&["fault", "list", "--json"]);
            faults.as_array().is_some_and(Vec::is_empty).then_some(())
        });
    }
    let state = platform.data().join("hosts/b1/instances/idle/state.json");
    let state: Value = serde_json::from_slice(&std::fs::read(state).expect("read")).expect("JSON");
    let pid = state["child"]["pid"].as_i64().expect("a process");
    assert!(!is_stopped(pid), "a fault is left behind");
    a_crash_loop_is_an_incident_until_it_is_over(&platform);
    calls_are_made_once_and_an_instance_moves(&platform);
    a_disk_that_takes_nothing_stops_no_node(&platform);
    the_file_is_followed(&platform);
    let verified = platform.mainstay(&["journal", "verify"]);
    assert!(verified.status.success(), "{}", said(&verified));
}
