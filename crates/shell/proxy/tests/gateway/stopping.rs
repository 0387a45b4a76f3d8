//! A gateway that is stopped in order, as in every upgrade of it.

use std::io::Write;
use std::net::TcpStream;

use rustix::process::Signal;

use crate::fakes::until;
use crate::process::{Client, Platform, order, wait_for_active};

/// Who has connected and asked before it stops is answered, also if nobody has come to the door yet: here the process
/// stands still while they come.
#[test]
fn whoever_waits_at_the_door_is_answered() {
    let platform = Platform::with_primary(94);
    let mut gateway = platform.start();
    wait_for_active(&platform);
    gateway.freeze();
    let mut clients: Vec<Client> = (0..300)
        .map(|_| {
            let mut client = Client::connect(&platform.http());
            client.send(b"GET /equal HTTP/1.1\r\nHost: x\r\n\r\n");
            client
        })
        .collect();
    gateway.signal(Signal::TERM);
    gateway.signal(Signal::CONT);
    for client in &mut clients {
        // It may say that it has seen nobody of late; it does not hang up.
        let answer = client.read().expect("an answer");
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
    assert_eq!(gateway.exit_code(), Some(0));
}

/// A request on a connection that was idle is served, and told that the connection ends. So is whoever comes meanwhile.
#[test]
fn a_connection_that_was_idle_gets_one_more_answer() {
    let platform = Platform::with_primary(95);
    let mut gateway = platform.start_with(|config| {
        // A tenth of it is what an idle connection has.
        config["limits"]["stop_ms"] = 100_000.into();
    });
    wait_for_active(&platform);
    let mut kept: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = Client::connect(&platform.http());
            assert_eq!(client.get("/equal").status, 200);
            client
        })
        .collect();
    let mut fresh = TcpStream::connect(platform.http()).expect("connects");
    assert_eq!(order(&platform, "before").status, 200);
    gateway.signal(Signal::TERM);
    until("it stops", || platform.status()["stopping"] == true);
    let late = Client::connect(&platform.http()).get("/equal");
    assert_eq!((late.status, late.closes), (200, true), "{late:?}");
    for (n, client) in kept.iter_mut().enumerate() {
        let headers = format!("Idempotency-Key: during {n}\r\n");
        let answer = client.post("/v1/cells/us/orders", &headers, "{}");
        assert_eq!((answer.status, answer.closes), (200, true), "{answer:?}");
    }
    fresh.flush().expect("open");
    drop(fresh);
    // Now that all have heard it nothing is waited for.
    until("the door closes", || {
        TcpStream::connect(platform.http()).is_err()
    });
    assert_eq!(gateway.exit_code(), Some(0), "all is finished");
}
