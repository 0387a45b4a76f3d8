//! TCP sessions while the keeper beside their server comes and goes, and when their server ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::fakes::{Saying, Server, pause, primary, until};
use crate::process::Platform;

/// A server that greets and echoes.
fn echo(address: &str) -> Server {
    Server::start(address, |mut stream| {
        let mut buffer = [0; 64];
        stream.write_all(b"hello").ok();
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    })
}

fn hear(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut buffer = [0; 64];
    let count = stream.read(&mut buffer)?;
    Ok(buffer[..count].to_vec())
}

fn begin(platform: &Platform) -> TcpStream {
    until("a primary is seen", || {
        platform.status()["databases"][0]["primary"] == "a"
    });
    let mut session = TcpStream::connect(platform.sql()).expect("connects");
    assert_eq!(hear(&mut session).expect("greets"), b"hello");
    session
}

fn short_lease() -> Saying {
    Saying {
        lease_ms: 300,
        ..primary(1)
    }
}

/// A keeper is killed and started anew beside its server, as in every upgrade: it finds the server, adopts it and opens it
/// in the same term. Until it has a lease again answers wait; nothing else happens to the session.
#[test]
fn a_keeper_that_is_started_anew_costs_no_session() {
    let platform = Platform::new(60);
    let _server = echo("127.205.60.1:5432");
    platform.keepers[0].says(short_lease());
    let _gateway = platform.start();
    let mut session = begin(&platform);
    platform.keepers[0].server.close();
    until("the keeper is lost", || {
        platform.status()["databases"][0]["primary"].is_null()
    });
    for role in ["starting", "candidate"] {
        platform.keepers[0].says(Saying {
            role,
            open: false,
            lease_ms: 0,
            ..primary(1)
        });
        platform.keepers[0].server.open();
        until("the keeper is heard", || {
            platform.status()["databases"][0]["keepers_seen"] == 3
        });
        // What it asks for then has to wait.
        if role == "candidate" {
            session.write_all(b"question").expect("writes");
        }
        // Longer than a session whose server closes is left.
        pause(Duration::from_millis(1_200));
    }
    platform.keepers[0].says(short_lease());
    assert_eq!(hear(&mut session).expect("the answer"), b"question");
    session.write_all(b"more").expect("writes");
    assert_eq!(hear(&mut session).expect("an echo"), b"more");
}

/// An idle client of a pool does not look at its connection for hours; the slot is not kept for it.
#[test]
fn a_session_whose_server_has_ended_gives_its_slot_back() {
    let platform = Platform::with_primary(61);
    let _server = Server::start("127.205.61.1:5432", |mut stream| {
        stream.write_all(b"hello").ok();
        stream.shutdown(std::net::Shutdown::Both).ok();
    });
    let _gateway = platform.start();
    let mut session = begin(&platform);
    until("the slot is free", || {
        platform.status()["databases"][0]["sessions"] == 0
    });
    assert_eq!(hear(&mut session).expect("an end"), b"");
}

#[test]
fn sessions_are_told_by_their_database() {
    let platform = Platform::with_primary(62);
    let _server = echo("127.205.62.1:5432");
    let _gateway = platform.start_with(|config| {
        let other = config["databases"][0].clone();
        let databases = config["databases"].as_array_mut().expect("list");
        databases.push(other);
        databases[1]["name"] = "eu".into();
    });
    let _session = begin(&platform);
    let databases = &platform.status()["databases"];
    assert_eq!(
        (&databases[0]["sessions"], &databases[1]["sessions"]),
        (&1.into(), &0.into())
    );
}
