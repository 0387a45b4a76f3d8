//! One client, or many at once, and what they leave to all others.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::fakes::{Server, answer, locked, read_body, read_head, until};
use crate::process::{
    Client, Gateway, Platform, order, order_later, wait_for_active, wait_for_held,
};

const MIB: usize = 1024 * 1024;
/// Each of the large answers. Eight of them fill the room of 256 MiB.
const LARGE: usize = 32 * MIB;

/// An active instance that answers `/v1/cells/us/large` with [`LARGE`] bytes and everything else with none; it counts
/// what the gateway takes of it.
fn generous(address: &str, taken: &Arc<AtomicU64>) -> Server {
    let taken = Arc::clone(taken);
    Server::start(address, move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        while let Ok(head) = read_head(&mut reader) {
            read_body(&mut reader, &head).expect("a body");
            if head.line.contains("/health/ready") {
                let ready = r#"{"active":true,"cell":"us","epoch":1,"term":1,"sequence":1}"#;
                answer(&mut stream, 200, ready).ok();
                continue;
            }
            let length = if head.line.contains("large") {
                LARGE
            } else {
                0
            };
            let begin = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(begin.as_bytes()).ok();
            let piece = vec![b'.'; 256 * 1024];
            for _ in 0..length / piece.len() {
                if stream.write_all(&piece).is_err() {
                    return;
                }
                taken.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
    })
}

fn ask_for_much(platform: &Platform) -> TcpStream {
    let mut stream = TcpStream::connect(platform.http()).expect("connects");
    let question = b"GET /v1/cells/us/large HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(question).expect("asks");
    stream
}

/// The most memory that the process has had at a time.
fn peak(gateway: &Gateway) -> usize {
    let path = format!("/proc/{}/status", gateway.pid());
    let status = std::fs::read_to_string(path).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: usize = kilobytes.expect("a figure").parse().expect("a number");
    kilobytes * 1024
}

/// Clients that do not read what they have asked for fill the room for answers. Then instances are read no faster than
/// clients take, and whoever asks for little is served as ever.
#[test]
fn answers_that_nobody_reads_take_a_bounded_room() {
    let platform = Platform::with_primary(90);
    let taken = Arc::default();
    let _generous = generous("127.205.90.5:7000", &taken);
    let gateway = platform.start_with(|config| {
        config["services"][0]["instances"][0]["address"] = "127.205.90.5:7000".into();
        config["limits"]["answer_bytes"] = (64 * MIB).into();
        config["limits"]["request_timeout_ms"] = 120_000.into();
    });
    wait_for_active(&platform);
    let mut clients: Vec<TcpStream> = (0..8).map(|_| ask_for_much(&platform)).collect();
    let full = 8.0 * LARGE as f64;
    until("the room is full", || {
        platform.figure("answer_bytes") == full
    });
    clients.extend((0..4).map(|_| ask_for_much(&platform)));
    until("those that find no room are begun", || {
        platform.figure("requests_now") == 0.0 && taken.load(Ordering::Relaxed) > full as u64
    });
    assert_eq!(order(&platform, "small").status, 200);
    let read = taken.load(Ordering::Relaxed) as usize;
    assert!(read < 12 * LARGE, "the instance was read to its end");
    assert_eq!(platform.figure("answer_bytes"), full);
    let peak = peak(&gateway);
    assert!(peak < 320 * MIB, "{peak} bytes");
    // Who reads in the end gets all of it, from the room or through it.
    for mut client in clients {
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("timeout");
        let mut reader = BufReader::new(client.try_clone().expect("clone"));
        read_head(&mut reader).expect("a head");
        let copied = std::io::copy(&mut reader.take(LARGE as u64), &mut std::io::sink());
        assert_eq!(copied.expect("a whole answer"), LARGE as u64);
        client.flush().ok();
    }
    until("the room is given back", || {
        platform.figure("answer_bytes") == 0.0
    });
}

/// Clients that take their large answers slowly keep no more than half of an instance's connections: whoever comes then
/// is told so, and the other half is for orders.
#[test]
fn clients_that_read_slowly_leave_connections_to_the_others() {
    let platform = Platform::with_primary(96);
    let _generous = generous("127.205.96.5:7000", &Arc::default());
    let _gateway = platform.start_with(|config| {
        config["services"][0]["instances"][0]["address"] = "127.205.96.5:7000".into();
        config["limits"]["answer_bytes"] = MIB.into();
        config["limits"]["upstream_connections"] = 4.into();
    });
    wait_for_active(&platform);
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(&platform.http());
        client.send(b"GET /v1/cells/us/large HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(client.head().contains(" 200 "));
        slow.push(client);
    }
    let refused = Client::connect(&platform.http()).get("/v1/cells/us/large");
    assert_eq!((refused.status, refused.code()), (503, "overloaded".into()));
    // What may have had an effect is not called undone.
    let unknown = Client::connect(&platform.http()).post("/v1/cells/us/large", "", "{}");
    assert_eq!(unknown.code(), "outcome_unknown");
    for n in 0..5 {
        assert_eq!(order(&platform, &format!("order {n}")).status, 200);
    }
    drop(slow);
    until("there is a place again", || {
        let mut client = Client::connect(&platform.http());
        client.send(b"GET /v1/cells/us/large HTTP/1.1\r\nHost: x\r\n\r\n");
        client.head().contains(" 200 ")
    });
}

/// A connection that breaks under a request of an epoch that is over says nothing about the one that is: nobody waits.
#[test]
fn a_break_of_an_epoch_that_is_over_holds_nobody() {
    let platform = Platform::with_primary(97);
    let _gateway = platform.start_with(|config| {
        config["limits"]["evidence_age_ms"] = 60_000.into();
        config["limits"]["probe_timeout_ms"] = 60_000.into();
    });
    wait_for_active(&platform);
    let state = &platform.instances[0].state;
    locked(state).poison = Some("stuck".to_owned());
    locked(state).slow_poison = true;
    let stuck = order_later(&platform, "stuck");
    until("it is under way", || platform.attempts("stuck") == 1);
    platform.instances[0].activate(1, 2);
    until("the next epoch is seen", || {
        platform.status()["cells"][0]["epoch"] == 2
    });
    // From now on nobody answers a question, so that whoever waits for one waits visibly.
    locked(state).mute = true;
    locked(state).poison = None;
    locked(state).slow_poison = false;
    assert_eq!(stuck.join().expect("client").status, 200, "it went again");
    assert_eq!(platform.view(), "active");
    assert_eq!(order(&platform, "other").status, 200);
    locked(state).mute = false;
}

/// Requests that the instance cannot stand cost everybody one question, and from then on their own client alone.
#[test]
fn one_client_whose_requests_break_connections_does_not_hold_the_others() {
    let platform = Platform::with_primary(91);
    let _gateway = platform.start_with(|config| {
        // What was said once is believed for as long as this test asks nothing.
        config["limits"]["evidence_age_ms"] = 60_000.into();
        config["limits"]["probe_timeout_ms"] = 60_000.into();
    });
    wait_for_active(&platform);
    locked(&platform.instances[0].state).poison = Some("poison".to_owned());
    let unknown = order(&platform, "poison");
    assert_eq!(unknown.code(), "outcome_unknown");
    wait_for_active(&platform);
    assert_eq!(order(&platform, "before").status, 200);
    // From now on no question is answered, so that whoever waits for one waits visibly.
    locked(&platform.instances[0].state).mute = true;
    let waiting = order_later(&platform, "poison");
    until("it is lost again", || platform.attempts("poison") == 3);
    wait_for_held(&platform, 1);
    assert_eq!(platform.view(), "active");
    for n in 0..5 {
        assert_eq!(order(&platform, &format!("other {n}")).status, 200);
    }
    assert_eq!(platform.status()["cells"][0]["held"], 1);
    locked(&platform.instances[0].state).mute = false;
    let unknown = waiting.join().expect("client");
    assert_eq!(unknown.code(), "outcome_unknown");
    assert_eq!(platform.attempts("poison"), 4);
}

/// The same at a service with one instance: the second lost connection does not make it unavailable.
#[test]
fn nor_is_a_service_unavailable_for_it() {
    let platform = Platform::with_primary(92);
    let _gateway = platform.start_with(|config| {
        config["limits"]["evidence_age_ms"] = 60_000.into();
        config["limits"]["probe_timeout_ms"] = 60_000.into();
    });
    let post = |key: &str| {
        let headers = format!("Idempotency-Key: {key}\r\n");
        Client::connect(&platform.http()).post("/equal", &headers, "{}")
    };
    let is_ready = || platform.status()["services"][0]["instances"][0]["ready"] == true;
    until("it is ready", is_ready);
    locked(&platform.instances[0].state).poison = Some("poison".to_owned());
    assert_eq!(post("poison").code(), "outcome_unknown");
    // The thread that tells the status is the one that hears of the loss: a status that comes after it is of after it.
    until("it is asked again and believed", || {
        is_ready() && post("before").status == 200
    });
    locked(&platform.instances[0].state).mute = true;
    assert_eq!(post("poison").code(), "outcome_unknown");
    assert_eq!(post("after").status, 200);
    locked(&platform.instances[0].state).mute = false;
}

/// What a body may be is the same whether anybody has to wait or not, however many workers share the room.
#[test]
fn an_ordinary_body_may_wait_also_where_many_workers_share_little_room() {
    let platform = Platform::new(93);
    let _gateway = platform.start_with(|config| {
        config["workers"] = 4.into();
        config["limits"]["hold_bytes"] = (MIB / 2).into();
    });
    until("a majority is seen", || {
        platform.status()["databases"][0]["keepers_seen"] == 3
    });
    let address = platform.http();
    let body = "z".repeat(MIB * 3 / 4);
    let waiting = std::thread::spawn(move || {
        Client::connect(&address).post("/v1/cells/us/orders", "Idempotency-Key: k\r\n", &body)
    });
    wait_for_held(&platform, 1);
    platform.promote(0, 1);
    assert_eq!(waiting.join().expect("client").status, 200);
}
