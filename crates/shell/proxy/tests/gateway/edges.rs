//! Bounds, framing, TCP sessions, and the life of the process itself.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::fakes::{Manner, STANDBY, Saying, Server, answer, pause, primary, read_head, until};
use crate::process::{
    Client, Gateway, Platform, order, order_later, wait_for_active, wait_for_held,
};

#[test]
fn holds_are_bounded_by_number_time_and_deadline() {
    let platform = Platform::new(20);
    platform.keepers[0].says(STANDBY);
    let _gateway = platform.start_with(|config| {
        config["limits"]["hold_requests"] = 2.into();
        config["listeners"]["http"][0]["routes"][0]["hold"]["max_wait_ms"] = 6000.into();
    });
    until("a majority is seen", || {
        platform.status()["databases"][0]["keepers_seen"] == 3
    });
    let oldest = order_later(&platform, "oldest");
    wait_for_held(&platform, 1);
    let second = order_later(&platform, "second");
    wait_for_held(&platform, 2);
    let third = order_later(&platform, "third");
    let pushed = oldest.join().expect("client");
    assert_eq!((pushed.status, pushed.code().as_str()), (503, "pushed_out"));
    for waited in [second, third] {
        let answer = waited.join().expect("client");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "held_too_long")
        );
    }
    let soon = mainstay_rt::clock::wall_ms() + 200;
    let headers = format!("Idempotency-Key: d\r\nX-Request-Deadline-Ms: {soon}\r\n");
    let answer = Client::connect(&platform.http()).post("/v1/cells/us/orders", &headers, "{}");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (504, "deadline_passed")
    );
    assert_eq!(platform.attempts("d"), 0);
}

#[test]
fn a_passed_deadline_after_sending_is_unknown_not_late() {
    let platform = Platform::with_primary(21);
    let _gateway = platform.start();
    wait_for_active(&platform);
    platform.instances[0].behaves(Manner::ExecutesAndHangs, Some(1));
    let soon = mainstay_rt::clock::wall_ms() + 3_000;
    let headers = format!("Idempotency-Key: d\r\nX-Request-Deadline-Ms: {soon}\r\n");
    let answer = Client::connect(&platform.http()).post("/v1/cells/us/orders", &headers, "{}");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "outcome_unknown")
    );
}

const AMBIGUOUS: &[&str] = &[
    "POST /equal HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /equal HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "POST /equal HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "POST /equal HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
    "POST /equal HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST /equal HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "GET /equal HTTP/1.1\nHost: x\n\n",
    "GET /equal HTTP/1.1\r\nHost: x\rY: z\r\n\r\n",
    "GET /equal HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "GET /equal HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
    "GET http://y/equal HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /equal/../v1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /equal HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n",
    "POST /equal HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
];

#[test]
fn ambiguous_requests_are_answered_400_and_closed() {
    let platform = Platform::with_primary(22);
    let _gateway = platform.start();
    wait_for_active(&platform);
    for request in AMBIGUOUS {
        for pieces in [request.len(), 7] {
            let mut client = Client::connect(&platform.http());
            assert_eq!(client.get("/equal").status, 200, "{request:?}");
            // A good request before it is answered first.
            client.send(b"GET /equal HTTP/1.1\r\nHost: x\r\n\r\n");
            for piece in request.as_bytes().chunks(pieces) {
                client.send(piece);
            }
            let good = client.read().expect("the good one");
            let stood_still = good.code() == "no_healthy_instance";
            assert!(good.status == 200 || stood_still, "{request:?}: {good:?}");
            let answer = client
                .read()
                .unwrap_or_else(|error| panic!("{request:?}: {error}"));
            assert_eq!(answer.status, 400, "{request:?}");
            assert!(!answer.code().is_empty(), "{request:?}");
            if !request.contains("..") {
                assert!(answer.closes, "{request:?}");
                assert!(client.read().is_err(), "closed after {request:?}");
            }
        }
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let platform = Platform::with_primary(32);
    let _gateway = platform.start();
    wait_for_active(&platform);
    let long = format!(
        "GET /equal HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(20_000)
    );
    let mut client = Client::connect(&platform.http());
    client.send(long.as_bytes());
    assert_eq!(client.read().expect("an answer").status, 431);
    // Every client reads its answer, also one that sends the whole body first: the gateway reads what it refuses.
    let large = "z".repeat(1024 * 1024 + 1);
    for _ in 0..20 {
        let answer = Client::connect(&platform.http()).post("/equal", "", &large);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (413, "body_too_large")
        );
    }
}

#[test]
fn routes_and_misses() {
    let platform = Platform::with_primary(23);
    let _gateway = platform.start_with(|config| {
        let routes = config["listeners"]["http"][0]["routes"].as_array_mut();
        routes.expect("list").push(serde_json::json!({
            "name": "posts", "path_prefix": "/posts", "methods": ["POST", "PUT"], "target": {"service": "venue"}
        }));
    });
    wait_for_active(&platform);
    let mut client = Client::connect(&platform.http());
    for (path, status, code) in [
        ("/v1/cells/us/book", 200, ""),
        ("/v1/cells/asia/book", 404, "unknown_cell"),
        ("/nowhere", 404, "no_route"),
        ("/equal", 200, ""),
    ] {
        let answer = client.get(path);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{path}"
        );
    }
    let refused = client.get("/posts");
    assert_eq!(
        (refused.status, refused.allow.as_deref()),
        (405, Some("PUT, POST")),
        "{refused:?}"
    );
    // A chunked body arrives whole, and framed anew.
    client.send(b"POST /equal HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert!(client.read().expect("an answer").body.ends_with("abcde"));
    let metrics = platform.control("GET", "/metrics").1;
    for line in [
        "mainstay_gateway_requests_total{listener=\"public\",route=\"cells\",class=\"2xx\"} 1",
        "mainstay_gateway_own_answers_total{listener=\"none\",route=\"none\",code=\"unknown_cell\"} 1",
        "mainstay_gateway_request_duration_seconds_count{listener=\"public\",route=\"equal\"} 2",
        "mainstay_gateway_attempts_total{service=\"venue\",instance=\"a/venue\",outcome=\"answered\"} 3",
        "mainstay_gateway_held_now{database=\"us\",service=\"venue\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

/// A server that greets with its name and echoes.
fn echo(address: &str, name: &'static [u8]) -> Server {
    Server::start(address, move |mut stream| {
        let mut buffer = [0; 1024];
        stream.write_all(name).ok();
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    })
}

fn greeting(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut buffer = [0; 16];
    let count = stream.read(&mut buffer)?;
    Ok(buffer[..count].to_vec())
}

#[test]
fn sessions_follow_the_primary_and_are_cut_when_it_is_demoted() {
    let platform = Platform::with_primary(24);
    let _servers = [
        echo("127.205.24.1:5432", b"a"),
        echo("127.205.24.2:5432", b"b"),
    ];
    let _gateway = platform.start();
    wait_for_active(&platform);
    let mut session = TcpStream::connect(platform.sql()).expect("connects");
    assert_eq!(greeting(&mut session).expect("greets"), b"a");
    session.write_all(b"ping").expect("writes");
    assert_eq!(greeting(&mut session).expect("echoes"), b"ping");
    platform.keepers[0].says(Saying {
        role: "fenced",
        ..STANDBY
    });
    let error = greeting(&mut session).expect_err("cut");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    // A new one waits for the next primary instead of being refused.
    let mut waiting = TcpStream::connect(platform.sql()).expect("connects");
    pause(Duration::from_millis(200));
    platform.keepers[1].says(primary(2));
    assert_eq!(greeting(&mut waiting).expect("greets"), b"b");
}

/// Which sockets with this end, own or far, ask a silent peer whether it is there: the kernel's word.
fn probing(own: Option<SocketAddr>, far: Option<SocketAddr>) -> Vec<bool> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let is = |shown: &str, end: Option<SocketAddr>| {
        end.is_none_or(|end| match end {
            SocketAddr::V4(end) => {
                let address = u32::from_ne_bytes(end.ip().octets());
                shown == format!("{address:08X}:{:04X}", end.port())
            }
            SocketAddr::V6(_) => false,
        })
    };
    let rows = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, remote, "01", _, timer, ..] = fields[..] else {
            return None;
        };
        (is(local, own) && is(remote, far)).then(|| timer.starts_with("02:"))
    });
    rows.collect()
}

#[test]
fn both_ends_of_a_session_are_asked_whether_they_are_there() {
    let platform = Platform::with_primary(35);
    let server: SocketAddr = "127.205.35.1:5432".parse().expect("an address");
    let _server = echo("127.205.35.1:5432", b"a");
    let _gateway = platform.start();
    wait_for_active(&platform);
    let mut session = TcpStream::connect(platform.sql()).expect("connects");
    assert_eq!(greeting(&mut session).expect("greets"), b"a");
    let client = session.local_addr().expect("an address");
    until("the client is asked", || {
        probing(session.peer_addr().ok(), Some(client)) == [true]
    });
    until("the server is asked", || {
        probing(None, Some(server)) == [true]
    });
}

/// A primary that closes by plan ends its sessions itself; its clients read that, and nothing of theirs gets
/// through any more.
#[test]
fn a_closing_primary_takes_leave_of_its_clients_itself() {
    let platform = Platform::with_primary(34);
    let (closes, closed) = std::sync::mpsc::channel::<()>();
    let closed = std::sync::Mutex::new(closed);
    let _server = Server::start("127.205.34.1:5432", move |mut stream| {
        stream.write_all(b"a").ok();
        closed.lock().expect("one session").recv().ok();
        stream.set_nonblocking(true).ok();
        let heard = stream.read(&mut [0; 16]).unwrap_or(0);
        stream.write_all(format!("57P01 {heard}").as_bytes()).ok();
        stream.shutdown(std::net::Shutdown::Both).ok();
    });
    let _gateway = platform.start();
    wait_for_active(&platform);
    let mut session = TcpStream::connect(platform.sql()).expect("connects");
    assert_eq!(greeting(&mut session).expect("greets"), b"a");
    platform.keepers[0].says(Saying {
        role: "candidate",
        open: false,
        lease_ms: 0,
        ..primary(1)
    });
    until("the closing is seen", || {
        platform.status()["databases"][0]["primary"].is_null()
    });
    // The session is told a moment later.
    pause(Duration::from_millis(100));
    session.write_all(b"one more").expect("writes");
    pause(Duration::from_millis(50));
    closes.send(()).expect("the server waits");
    assert_eq!(greeting(&mut session).expect("a farewell"), b"57P01 0");
    assert_eq!(greeting(&mut session).expect("an end"), b"");
}

#[test]
fn nothing_passes_from_a_primary_whose_lease_is_over() {
    let platform = Platform::new(25);
    let _server = echo("127.205.25.1:5432", b"a");
    platform.keepers[0].says(Saying {
        lease_ms: 700,
        ..primary(1)
    });
    let _gateway = platform.start();
    until("a primary is seen", || {
        platform.status()["databases"][0]["primary"] == "a"
    });
    let mut session = TcpStream::connect(platform.sql()).expect("connects");
    assert_eq!(greeting(&mut session).expect("greets"), b"a");
    // The keeper falls silent, as when its host is frozen; the server itself goes on.
    platform.keepers[0].says(Saying {
        silent: true,
        ..primary(1)
    });
    until("its lease is over", || {
        platform.status()["databases"][0]["primary"].is_null()
    });
    pause(Duration::from_millis(300));
    session.write_all(b"ping").ok();
    assert!(greeting(&mut session).is_err(), "the answer must not pass");
}

/// A lease file as keepers write it.
fn lease(term: u32, until_ns: u64) -> String {
    let signed = format!("{term:010} {until_ns:020} ");
    let hash = signed.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{:<64}", format!("{signed}{hash:08x}\n"))
}

#[test]
fn on_the_own_host_the_lease_file_decides_whatever_the_keeper_says() {
    let platform = Platform::with_primary(33);
    let _server = echo("127.205.33.1:5432", b"a");
    let file = platform.folder.path().join("lease-us");
    let now = mainstay_rt::clock::now().as_nanos();
    std::fs::write(&file, lease(1, now + 60_000_000_000)).expect("lease");
    let _gateway = platform.start_with(|config| {
        let path = file.to_str().expect("text");
        config["databases"][0]["replicas"][0]["lease_file"] = path.into();
    });
    wait_for_active(&platform);
    let mut session = TcpStream::connect(platform.sql()).expect("connects");
    assert_eq!(greeting(&mut session).expect("greets"), b"a");
    session.write_all(b"ping").expect("writes");
    assert_eq!(greeting(&mut session).expect("echoes"), b"ping");
    std::fs::write(&file, lease(1, now)).expect("lease");
    session.write_all(b"late").expect("writes");
    assert!(greeting(&mut session).is_err(), "the answer must not pass");
}

#[test]
fn it_starts_from_disk_when_everything_else_is_dead() {
    let platform = Platform::with_primary(26);
    for host in 0..3 {
        platform.keepers[host].server.close();
    }
    let mut gateway = platform.start();
    // Without a keeper: an instance that says it is active is enough.
    wait_for_active(&platform);
    assert_eq!(order(&platform, "no keepers").status, 200);
    // Killed and started again.
    gateway.kill();
    let mut gateway = platform.start();
    wait_for_active(&platform);
    assert_eq!(order(&platform, "again").status, 200);
    // With a torn snapshot: from the last good copy, and it says so.
    gateway.kill();
    std::fs::write(platform.config_path(), "{\"version\":1,").expect("torn");
    let _gateway = Gateway::start(&platform.config_path());
    platform.wait_for_listeners();
    wait_for_active(&platform);
    assert_eq!(order(&platform, "torn").status, 200);
    assert!(platform.status()["snapshot_error"].is_string());
}

#[test]
fn without_any_snapshot_it_ends_with_a_reason() {
    let folder = tempfile::tempdir().expect("folder");
    let mut gateway = Gateway::start(&folder.path().join("missing.json"));
    assert_eq!(gateway.exit_code(), Some(2));
}

#[test]
fn a_frozen_gateway_is_killed_by_the_next_and_a_living_one_is_respected() {
    let platform = Platform::with_primary(27);
    let mut first = platform.start();
    wait_for_active(&platform);
    let mut second = Gateway::start(&platform.config_path());
    assert_eq!(second.exit_code(), Some(3), "a living one is respected");
    first.freeze();
    let _third = Gateway::start(&platform.config_path());
    assert_eq!(first.exit_code(), None, "killed by a signal");
    platform.wait_for_listeners();
    wait_for_active(&platform);
    assert_eq!(order(&platform, "third").status, 200);
}

#[test]
fn a_thawed_gateway_does_not_believe_what_it_saw_before() {
    let platform = Platform::with_primary(28);
    let gateway = platform.start();
    wait_for_active(&platform);
    let mut client = Client::connect(&platform.http());
    assert_eq!(
        client
            .post("/v1/cells/us/orders", "Idempotency-Key: k0\r\n", "{}")
            .status,
        200
    );
    gateway.freeze();
    platform.keepers[0].says(STANDBY);
    platform.instances[0].stand_by();
    platform.promote(1, 2);
    pause(Duration::from_millis(1_500));
    client.send(b"POST /v1/cells/us/orders HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k1\r\nContent-Length: 2\r\n\r\n{}");
    gateway.signal(Signal::CONT);
    assert_eq!(
        client.read().expect("an answer").body,
        "127.205.28.2:7000 2 k1"
    );
    assert_eq!(platform.attempts("k1"), 1, "sent to the new primary only");
}

#[test]
fn reload_replaces_the_snapshot_or_changes_nothing() {
    let platform = Platform::with_primary(29);
    let _gateway = platform.start();
    wait_for_active(&platform);
    let mut kept = Client::connect(&platform.http());
    assert_eq!(kept.get("/new").status, 404);
    std::fs::write(platform.config_path(), "{}").expect("bad");
    assert_eq!(platform.control("POST", "/v1/reload").0, 422);
    assert_eq!(kept.get("/equal").status, 200);
    // A reload in the middle of a hold: who waits goes on waiting.
    platform.instances[0].stand_by();
    let waiting = order_later(&platform, "reloaded");
    wait_for_held(&platform, 1);
    platform.write_config(|config| {
        config["generation"] = 2.into();
        config["listeners"]["http"][0]["routes"][1]["path_prefix"] = "/new".into();
        config["services"][0]["instances"]
            .as_array_mut()
            .expect("list")
            .remove(2);
    });
    assert_eq!(platform.control("POST", "/v1/reload").0, 200);
    until("the new routing is served", || {
        platform.status()["generation"] == 2
    });
    platform.promote(0, 1);
    assert_eq!(waiting.join().expect("client").status, 200);
    assert_eq!(kept.get("/new").status, 200);
    assert_eq!(kept.get("/equal").status, 404);
    platform.write_config(|config| config["generation"] = 1.into());
    assert_eq!(
        platform.control("POST", "/v1/reload").0,
        422,
        "never back to an older one"
    );
}

#[test]
fn it_finishes_what_it_had_begun_when_told_to_stop() {
    let platform = Platform::with_primary(30);
    let mut gateway = platform.start();
    wait_for_active(&platform);
    platform.instances[0].stand_by();
    let waiting = order_later(&platform, "held at the end");
    wait_for_held(&platform, 1);
    let mut idle = Client::connect(&platform.http());
    gateway.signal(Signal::TERM);
    let answer = waiting.join().expect("client");
    assert_eq!((answer.status, answer.code().as_str()), (503, "stopping"));
    assert!(idle.read().is_err(), "an idle connection is closed");
    assert_eq!(gateway.exit_code(), Some(0));
}

/// Clients that send one order after the other, and how many answers each has got.
struct Crowd {
    stop: Arc<AtomicBool>,
    answers: Vec<Arc<AtomicU32>>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Crowd {
    fn start(platform: &Platform, size: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answers: Vec<Arc<AtomicU32>> = (0..size).map(|_| Arc::default()).collect();
        let clients = (0..).zip(&answers).map(|(client, answers): (u32, _)| {
            let (address, stop) = (platform.http(), Arc::clone(&stop));
            let answers = Arc::clone(answers);
            std::thread::spawn(move || send_orders(client, &address, &stop, &answers))
        });
        let clients = clients.collect();
        Self {
            stop,
            answers,
            clients,
        }
    }

    /// Waits until everybody has got an answer to an order that they sent from now on.
    fn goes_on(&self) {
        let so_far = || self.answers.iter().map(|one| one.load(Ordering::Relaxed));
        let before: Vec<u32> = so_far().collect();
        // The first may have been on its way already.
        until("every client is answered", || {
            so_far().zip(&before).all(|(now, before)| now >= before + 2)
        });
    }
}

fn send_orders(client: u32, address: &str, stop: &AtomicBool, answers: &AtomicU32) {
    let mut connection = Client::connect(address);
    while !stop.load(Ordering::Relaxed) {
        let count = answers.load(Ordering::Relaxed);
        let key = format!("Idempotency-Key: {client}-{count}\r\n");
        let answer = connection.post("/v1/cells/us/orders", &key, "{}");
        // Twice in one failover an instance can die with it: then the gateway says that it does not know, and the
        // client sends the same again, as it is told to.
        let unknown = (answer.status, answer.code().as_str()) == (503, "outcome_unknown");
        assert!(
            unknown || answer.status == 200,
            "{client}-{count}: {answer:?}"
        );
        answers.fetch_add(u32::from(!unknown), Ordering::Relaxed);
    }
}

#[test]
fn many_failovers_lose_and_double_nothing() {
    let platform = Platform::with_primary(31);
    let _gateway = platform.start_with(|config| config["workers"] = 2.into());
    wait_for_active(&platform);
    let crowd = Crowd::start(&platform, 8);
    for term in 2..8u32 {
        let (old, new) = ((term as usize - 2) % 3, (term as usize - 1) % 3);
        crowd.goes_on();
        match term % 3 {
            0 => platform.instances[old].behaves(Manner::ExecutesAndHangs, None),
            1 => platform.instances[old].server.close(),
            _ => platform.instances[old].behaves(Manner::ExecutesAndDies, Some(3)),
        }
        pause(Duration::from_millis(100));
        platform.keepers[old].says(STANDBY);
        platform.instances[old].stand_by();
        pause(Duration::from_millis(50));
        platform.instances[new].server.open();
        platform.promote(new, term);
    }
    crowd.goes_on();
    crowd.stop.store(true, Ordering::Relaxed);
    for client in crowd.clients {
        client
            .join()
            .expect("no answer but 200 and outcome_unknown");
    }
    for (client, answers) in crowd.answers.iter().enumerate() {
        for n in 0..answers.load(Ordering::Relaxed) {
            assert_eq!(
                platform.effects(&format!("{client}-{n}")),
                1,
                "{client}-{n}"
            );
        }
    }
}

/// An active instance that breaks off in the middle of a chunked answer of four mebibytes.
fn breaks_off(address: &str) -> Server {
    Server::start(address, |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        while let Ok(head) = read_head(&mut reader) {
            if head.line.contains("/health/ready") {
                let ready = r#"{"active":true,"cell":"us","epoch":1,"term":1,"sequence":1}"#;
                answer(&mut stream, 200, ready).ok();
                continue;
            }
            let begin = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n400000\r\n";
            stream.write_all(begin).ok();
            stream.write_all(&vec![b'.'; 2 * 1024 * 1024]).ok();
            stream.shutdown(Shutdown::Both).ok();
        }
    })
}

/// A client of HTTP/1.0 knows the end of an answer by the end of the connection: half of one ends with an error.
#[test]
fn half_an_answer_does_not_end_as_a_whole_one_does() {
    let platform = Platform::with_primary(98);
    let _breaks_off = breaks_off("127.205.98.5:7000");
    let _gateway = platform.start_with(|config| {
        config["services"][0]["instances"][0]["address"] = "127.205.98.5:7000".into();
        config["limits"]["answer_bytes"] = (1024 * 1024).into();
    });
    wait_for_active(&platform);
    let mut stream = TcpStream::connect(platform.http()).expect("connects");
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).expect("a limit");
    let question = b"GET /v1/cells/us/large HTTP/1.0\r\nHost: x\r\n\r\n";
    stream.write_all(question).expect("asks");
    let mut read = Vec::new();
    let ended = stream.read_to_end(&mut read);
    let error = ended.expect_err("it was not whole");
    assert_eq!(
        error.kind(),
        ErrorKind::ConnectionReset,
        "{} bytes",
        read.len()
    );
}
