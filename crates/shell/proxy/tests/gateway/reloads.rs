//! A new routing under requests that are on their way.

use std::time::Duration;

use crate::fakes::{Manner, STANDBY, Saying, locked, pause, primary, until};
use crate::process::{Client, Platform, order_later, wait_for_active, wait_for_held};

/// Serves the snapshot of the next generation, in which host c has no instance any more, and waits for it.
fn reload(platform: &Platform, change: impl FnOnce(&mut serde_json::Value)) {
    platform.write_config(|config| {
        config["generation"] = 2.into();
        change(config);
    });
    assert_eq!(platform.control("POST", "/v1/reload").0, 200);
    until("the new routing is served", || {
        platform.status()["generation"] == 2
    });
}

fn without_c(config: &mut serde_json::Value) {
    let instances = config["services"][0]["instances"].as_array_mut();
    instances.expect("list").remove(2);
}

#[test]
fn a_request_that_is_still_coming_goes_the_new_way() {
    let platform = Platform::with_primary(50);
    let _gateway = platform.start();
    wait_for_active(&platform);
    let mut client = Client::connect(&platform.http());
    client.send(b"POST /v1/cells/us/orders HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 2\r\n\r\n{");
    until("it is being read", || platform.status()["requests"] == 1);
    reload(&platform, without_c);
    wait_for_active(&platform);
    pause(Duration::from_millis(100));
    client.send(b"}");
    let answer = client.read().expect("an answer");
    assert_eq!(
        (answer.status, platform.attempts("k")),
        (200, 1),
        "{answer:?}"
    );
}

#[test]
fn a_request_at_a_primary_that_freezes_goes_again_also_after_a_reload() {
    let platform = Platform::with_primary(51);
    let _gateway = platform.start();
    wait_for_active(&platform);
    platform.instances[0].behaves(Manner::ExecutesAndHangs, None);
    let hanging = order_later(&platform, "frozen");
    until("the order has arrived", || platform.attempts("frozen") == 1);
    reload(&platform, without_c);
    wait_for_active(&platform);
    platform.keepers[0].says(Saying {
        silent: true,
        ..primary(1)
    });
    platform.promote(1, 2);
    let answer = hanging.join().expect("client");
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "127.205.51.2:7000 2 frozen")
    );
    assert_eq!(
        (platform.attempts("frozen"), platform.effects("frozen")),
        (2, 1)
    );
}

#[test]
fn new_bounds_of_a_hold_are_in_force_at_once() {
    let platform = Platform::new(52);
    platform.keepers[0].says(STANDBY);
    let _gateway = platform.start();
    until("a majority is seen", || {
        platform.status()["databases"][0]["keepers_seen"] == 3
    });
    let oldest = order_later(&platform, "oldest");
    wait_for_held(&platform, 1);
    reload(&platform, |config| {
        config["limits"]["hold_requests"] = 1.into();
    });
    // Who waited goes on waiting, until the new bound makes it go.
    wait_for_held(&platform, 1);
    let second = order_later(&platform, "second");
    let pushed = oldest.join().expect("client");
    assert_eq!((pushed.status, pushed.code().as_str()), (503, "pushed_out"));
    platform.promote(0, 1);
    assert_eq!(second.join().expect("client").status, 200);
}

/// A client that came in before the file demanded certificates, say, does not stay in without one.
#[test]
fn whoever_came_by_a_listener_that_is_no_more_must_come_anew() {
    let platform = Platform::with_primary(53);
    let _gateway = platform.start();
    wait_for_active(&platform);
    let mut client = Client::connect(&platform.http());
    assert_eq!(client.get("/equal").status, 200);
    let elsewhere = platform.http().replace(":8080", ":8081");
    reload(&platform, |config| {
        config["listeners"]["http"][0]["address"] = elsewhere.as_str().into();
    });
    let end = client.read().expect_err("the connection ends");
    assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof);
    until("the new one is open", || {
        std::net::TcpStream::connect(&elsewhere).is_ok()
    });
    assert_eq!(Client::connect(&elsewhere).get("/equal").status, 200);
}

/// What is still where it was need not be seen anew: nobody waits and nobody is refused for a new routing, also while
/// no instance says anything.
#[test]
fn a_new_routing_forgets_nothing_that_still_holds() {
    let platform = Platform::with_primary(54);
    let _gateway = platform.start_with(|config| {
        config["limits"]["evidence_age_ms"] = 60_000.into();
        config["limits"]["probe_timeout_ms"] = 60_000.into();
    });
    wait_for_active(&platform);
    for instance in &platform.instances {
        locked(&instance.state).mute = true;
    }
    let elsewhere = platform.http().replace(":8080", ":8081");
    reload(&platform, |config| {
        config["limits"]["evidence_age_ms"] = 60_000.into();
        config["limits"]["probe_timeout_ms"] = 60_000.into();
        let mut second = config["listeners"]["http"][0].clone();
        (second["name"], second["address"]) = ("second".into(), elsewhere.as_str().into());
        let listeners = config["listeners"]["http"].as_array_mut();
        listeners.expect("list").push(second);
        // Its place in the list says nothing about what it is.
        let instances = config["services"][0]["instances"].as_array_mut();
        instances.expect("list").reverse();
    });
    until("the new one is open", || {
        std::net::TcpStream::connect(&elsewhere).is_ok()
    });
    let mut client = Client::connect(&elsewhere);
    assert_eq!(client.get("/equal").status, 200);
    let answer = client.post("/v1/cells/us/orders", "Idempotency-Key: k\r\n", "{}");
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "127.205.54.1:7000 1 k")
    );
    assert_eq!(platform.status()["cells"][0]["held"], 0);
    for instance in &platform.instances {
        locked(&instance.state).mute = false;
    }
}
