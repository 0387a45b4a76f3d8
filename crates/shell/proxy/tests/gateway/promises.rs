//! What a client is told of its request is true, and invites nobody to send a second time what was done.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

use crate::fakes::{Manner, Server, answer, read_body, read_head, until};
use crate::process::{Answer, Client, Platform, order, wait_for_active};

fn put(client: &mut Client, path: &str, body: &str) -> Answer {
    let length = body.len();
    client.send(
        format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
            .as_bytes(),
    );
    client.read().expect("an answer")
}

fn is_ready(platform: &Platform, instance: usize) -> bool {
    platform.status()["services"][0]["instances"][instance]["ready"] == true
}

/// The first attempt may have been executed. That there is no connection for a second one takes nothing of that back.
#[test]
fn want_of_connections_does_not_make_an_unknown_attempt_undone() {
    let platform = Platform::new(40);
    let _gateway = platform.start_with(|config| {
        // Both instances are equal to it, and either may have one connection.
        config["region"] = "z".into();
        config["limits"]["upstream_connections"] = 1.into();
    });
    platform.instances[1].activate(1, 1);
    until("b is ready", || is_ready(&platform, 1));
    platform.instances[1].behaves(Manner::ExecutesAndHangs, Some(1));
    let address = platform.http();
    std::thread::spawn(move || Client::connect(&address).post("/equal", "", "hangs"));
    until("b has no connection left", || {
        platform.attempts("hangs") == 1
    });
    platform.instances[0].activate(1, 1);
    until("a is ready", || is_ready(&platform, 0));
    platform.instances[0].behaves(Manner::ExecutesAndDies, Some(1));
    let answer = put(&mut Client::connect(&platform.http()), "/equal", "done");
    assert_eq!(platform.effects("done"), 1, "it was executed");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "outcome_unknown")
    );
}

/// A key that stays at the gateway, or that is none, makes nothing repeatable at the service.
#[test]
fn a_request_is_not_repeated_for_a_key_that_its_service_does_not_see() {
    let platform = Platform::with_primary(41);
    let _gateway = platform.start();
    for (headers, body) in [
        (
            "Idempotency-Key: k\r\nConnection: keep-alive, Idempotency-Key\r\n",
            "named",
        ),
        ("Idempotency-Key: \r\n", "empty"),
    ] {
        wait_for_active(&platform);
        platform.instances[0].behaves(Manner::ExecutesAndDies, Some(1));
        let answer = Client::connect(&platform.http()).post("/v1/cells/us/orders", headers, body);
        assert_eq!(
            (platform.attempts(body), platform.effects(body)),
            (1, 1),
            "{body}"
        );
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "outcome_unknown"),
            "{body}"
        );
    }
}

#[test]
fn what_comes_after_its_deadline_is_not_sent() {
    let platform = Platform::with_primary(42);
    let _gateway = platform.start();
    wait_for_active(&platform);
    // A connection to the instance is there, so that nothing but the deadline is in the way.
    assert_eq!(order(&platform, "before").status, 200);
    let past = mainstay_rt::clock::wall_ms() - 1_000;
    let headers = format!("Idempotency-Key: late\r\nX-Request-Deadline-Ms: {past}\r\n");
    for (path, key) in [("/v1/cells/us/orders", "late"), ("/equal", "late")] {
        let answer = Client::connect(&platform.http()).post(path, &headers, "");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (504, "deadline_passed"),
            "{path}"
        );
        assert_eq!(platform.attempts(key), 0, "{path}");
    }
}

fn limit_descriptors(gateway: &crate::process::Gateway, soft: Option<u64>) {
    let pid = Pid::from_raw(gateway.pid());
    let whole = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: soft,
        maximum: whole,
    };
    prlimit(pid, Resource::Nofile, limit).expect("sets the limit");
}

/// A process that has no descriptor left cannot call anybody. That is no word about whom it would have called.
#[test]
fn what_the_gateway_lacks_itself_accuses_nobody() {
    let platform = Platform::with_primary(43);
    let gateway = platform.start();
    wait_for_active(&platform);
    let mut client = Client::connect(&platform.http());
    assert_eq!(client.get("/nowhere").status, 404);
    let whole = getrlimit(Resource::Nofile).maximum;
    limit_descriptors(&gateway, Some(3));
    let refused = client.post("/v1/cells/us/orders", "Idempotency-Key: k\r\n", "{}");
    limit_descriptors(&gateway, whole);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "overloaded")
    );
    let again = client.post("/v1/cells/us/orders", "Idempotency-Key: k\r\n", "{}");
    assert_eq!((again.status, platform.attempts("k")), (200, 1));
}

#[test]
fn the_gateway_takes_as_many_descriptors_as_it_may() {
    let platform = Platform::with_primary(44);
    let own = getrlimit(Resource::Nofile);
    let few = Rlimit {
        current: Some(4_096),
        maximum: own.maximum,
    };
    // What it starts with is what this process has.
    setrlimit(Resource::Nofile, few).expect("sets the limit");
    let gateway = platform.start();
    setrlimit(Resource::Nofile, own).expect("sets the limit");
    let limits =
        std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).expect("limits");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<&str> = files.expect("a line").split_whitespace().collect();
    assert_eq!(words[3], words[4], "{words:?}");
}

/// Supervision takes 200 to 399 for ready, as docs/platform-file.md says; so must whoever sends requests.
#[test]
fn whoever_says_that_it_is_ready_gets_requests() {
    let platform = Platform::new(45);
    let _other = Server::start("127.205.45.5:7000", |mut stream| {
        let mut reader = std::io::BufReader::new(stream.try_clone().expect("clone"));
        while let Ok(head) = read_head(&mut reader) {
            read_body(&mut reader, &head).expect("a body");
            let status = if head.line.contains("/health/ready") {
                204
            } else {
                200
            };
            answer(&mut stream, status, "").expect("answers");
        }
    });
    let _gateway = platform.start_with(|config| {
        config["services"][0]["instances"][0]["address"] = "127.205.45.5:7000".into();
    });
    until("it is ready", || is_ready(&platform, 0));
    assert_eq!(Client::connect(&platform.http()).get("/equal").status, 200);
}
