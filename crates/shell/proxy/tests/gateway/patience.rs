//! Clients that take their time, within what they may.

use std::io::{BufReader, Write};
use std::time::Duration;

use crate::fakes::{Server, answer, pause, read_head, until};
use crate::process::{Client, Platform, wait_for_active};

/// An answer that takes longer than an idle client may wait is no idle client, as long as it goes on.
#[test]
fn a_long_answer_is_not_cut_while_it_goes_on() {
    let platform = Platform::new(70);
    let _long = Server::start("127.205.70.5:7000", |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        while let Ok(head) = read_head(&mut reader) {
            if head.line.contains("/health/ready") {
                answer(&mut stream, 200, "").expect("answers");
                continue;
            }
            let begin = b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n";
            stream.write_all(begin).expect("begins");
            for _ in 0..40 {
                pause(Duration::from_millis(150));
                if stream.write_all(b".").is_err() {
                    return;
                }
            }
        }
    });
    let _gateway = platform.start_with(|config| {
        config["services"][0]["instances"][0]["address"] = "127.205.70.5:7000".into();
        config["limits"]["client_idle_ms"] = 1_500.into();
    });
    until("it is ready", || {
        platform.status()["services"][0]["instances"][0]["ready"] == true
    });
    let got = Client::connect(&platform.http()).get("/equal");
    assert_eq!((got.status, got.body.len()), (200, 40));
}

/// The time that a head may take begins with the head, not with the idleness before it.
#[test]
fn a_head_in_two_pieces_is_waited_for_also_after_a_rest() {
    let platform = Platform::with_primary(71);
    let _gateway = platform.start_with(|config| {
        config["limits"]["head_read_ms"] = 4_000.into();
    });
    wait_for_active(&platform);
    let mut client = Client::connect(&platform.http());
    assert_eq!(client.get("/equal").status, 200);
    pause(Duration::from_millis(7_500));
    client.send(b"GET /equal HTTP/1.1\r\nHost");
    pause(Duration::from_millis(1_200));
    client.send(b": x\r\n\r\n");
    assert_eq!(client.read().expect("an answer").status, 200);
}
