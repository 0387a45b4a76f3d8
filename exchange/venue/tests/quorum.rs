//! The venue with a synchronous standby: an answer means that the standby has it, whatever the server says.

mod support;

use std::time::Duration;

use exchange_venue::intake::ORDINARY_MAX;
use rustix::process::Signal;
use serde_json::json;
use support::{Client, Server, Venue, cancel, deposit, limit, postgres_programs, until};

/// A primary that waits for its standby.
fn pair() -> (Server, Server) {
    let primary = Server::create();
    // A role set up so that it neither waits nor hears warnings: the venue must not rely on its defaults.
    primary.sql("alter role venue set client_min_messages = error");
    primary.sql("alter role venue set synchronous_commit = off");
    let standby = primary.standby("second");
    primary.wait_for("second");
    until(
        "the standby is synchronous",
        Duration::from_secs(20),
        || {
            let synchronous = "select count(*) from pg_stat_replication where sync_state = 'sync'";
            (primary.count(synchronous) == 1).then_some(())
        },
    );
    (primary, standby)
}

/// A deposit that waits for a standby that does not exist, and how many it took: the server's checkpointer
/// makes the setting effective in its own time, and until then commits pass.
fn stick(primary: &Server, venue: &Venue) -> (Client, u64) {
    let waits =
        "select count(*) from pg_stat_activity where usename = 'venue' and wait_event = 'SyncRep'";
    let mut attempts = 0;
    let stuck = until("a commit waits", Duration::from_secs(30), || {
        attempts += 1;
        let mut client = Client::new(venue.address);
        let sent = client.send("deposits", &deposit(2, attempts, "USD", "1"));
        assert!(sent.is_ok(), "{sent:?}");
        (0..100)
            .find_map(|_| (primary.count(waits) > 0).then_some(()))
            .map(|()| client)
    });
    (stuck, attempts)
}

/// The writer's backend, once it waits for the standby.
fn waiting_backend(primary: &Server) -> i32 {
    until(
        "the writer waits for its standby",
        Duration::from_secs(10),
        || {
            let rows = primary.query("select pid from pg_stat_activity where usename = 'venue' and wait_event = 'SyncRep'");
            rows.first().map(|row| row.get(0))
        },
    )
}

#[test]
fn a_cancelled_wait_for_the_standby_is_never_an_acknowledgement() {
    if postgres_programs().is_none() {
        println!(
            "skipped: PostgreSQL's server programs are not installed (PG_BIN names their folder)"
        );
        return;
    }
    let (primary, mut standby) = pair();
    let venue = Venue::active(&primary, "only");
    assert_eq!(
        venue
            .post("deposits", &deposit(1, 1, "USD", "100"))
            .outcome(),
        "accepted"
    );
    standby.stop(Signal::QUIT);

    for (reference, function) in [(2, "pg_cancel_backend"), (3, "pg_terminate_backend")] {
        let body = deposit(1, reference, "USD", "11");
        let (address, sent) = (venue.address, body.clone());
        let client =
            std::thread::spawn(move || Client::new(address).post("deposits", &sent).unwrap());
        let backend = waiting_backend(&primary);
        // Nothing of it shows while it waits.
        let before = venue.of_cell("balances/1").body["balances"][0]["available"].clone();
        assert_eq!(
            before,
            json!(if reference == 2 { "100.00" } else { "111.00" })
        );
        primary.sql(&format!("select {function}({backend})"));
        let answer = client.join().unwrap();
        assert_eq!(
            (answer.status, answer.code()),
            (503, "outcome_unknown"),
            "{function}: {answer:?}"
        );
        // The row shows on the primary, and yet nothing of it may leave: the epoch waits for the standby too.
        until("the row is visible", Duration::from_secs(60), || {
            (primary.count("select max(sequence) from exchange.commands") == reference as i64)
                .then_some(())
        });
        waiting_backend(&primary);
        assert_eq!(venue.get("/health/ready").status, 503);
        assert_eq!(venue.of_cell("balances/1").status, 503);
        assert_eq!(venue.post("deposits", &body).code(), "not_active");
        standby.start();
        venue.wait_active();
        let again = venue.post("deposits", &body);
        assert_eq!(
            (again.status, &again.body["replayed"]),
            (200, &json!(true)),
            "{again:?}"
        );
        assert_eq!(again.body["sequence"], reference);
        if reference == 2 {
            standby.stop(Signal::QUIT);
        }
    }
    assert_eq!(
        venue.of_cell("balances/1").body["balances"][0]["available"],
        "122.00"
    );
    assert_eq!(
        venue.metric("transaction_failures_total{reason=\"commit_warned\"}"),
        1.0
    );
    assert_eq!(
        venue.metric("transaction_failures_total{reason=\"commit_failed\"}"),
        1.0
    );
    assert_eq!(
        standby.count("select max(sequence) from exchange.commands"),
        3
    );
}

/// What a keeper does in the end, without the keeper: the old primary is gone, the standby becomes the primary.
#[test]
fn the_instance_beside_the_promoted_standby_goes_on() {
    if postgres_programs().is_none() {
        println!(
            "skipped: PostgreSQL's server programs are not installed (PG_BIN names their folder)"
        );
        return;
    }
    let (mut primary, standby) = pair();
    let (first, second) = (
        Venue::active(&primary, "first"),
        Venue::start(&standby, "second"),
    );
    until("the second sees a standby", Duration::from_secs(60), || {
        (second.get("/health/ready").body["reason"] == "database_is_standby").then_some(())
    });
    let mut answers = vec![];
    for reference in 1..=50 {
        let body = deposit(1, reference, "USD", "1");
        let answer = first.post("deposits", &body);
        assert_eq!(answer.outcome(), "accepted");
        answers.push((body, answer.body));
    }
    primary.stop(Signal::KILL);
    standby.wait_for("");
    let promoted_ns = exchange_venue::clock::boot_ns();
    standby.sql("select pg_promote(false)");
    second.wait_active();
    println!(
        "active {} ms after the call to promote",
        (exchange_venue::clock::boot_ns() - promoted_ns) / 1_000_000
    );
    for (body, mut expected) in answers {
        expected["replayed"] = json!(true);
        assert_eq!(second.post("deposits", &body).body, expected);
    }
    assert_eq!(
        second.post("deposits", &deposit(1, 51, "USD", "1")).body["sequence"],
        51
    );
    assert_eq!(first.get("/health/ready").status, 503);
}

/// The writer waits for its standby, and far more orders come in than may wait.
#[test]
fn under_a_flood_orders_are_refused_and_cancels_are_not() {
    if postgres_programs().is_none() {
        println!(
            "skipped: PostgreSQL's server programs are not installed (PG_BIN names their folder)"
        );
        return;
    }
    exchange_venue::listener::raise_descriptors();
    let primary = Server::create();
    let venue = Venue::active(&primary, "only");
    assert_eq!(
        venue.post("deposits", &deposit(1, 1, "BTC", "1")).outcome(),
        "accepted"
    );
    assert_eq!(
        venue
            .post("orders", &limit(1, 2, "sell", "100", "1"))
            .outcome(),
        "accepted"
    );
    primary.wait_for("nobody");
    let (mut stuck, deposits) = stick(&primary, &venue);
    let mut flood: Vec<Client> = (0..ORDINARY_MAX as u64)
        .map(|number| {
            let mut client = Client::new(venue.address);
            client
                .send("orders", &limit(1_000 + number, 1, "buy", "100", "1"))
                .unwrap();
            client
        })
        .collect();
    let refused = venue.post("orders", &limit(3, 1, "buy", "100", "1"));
    assert_eq!((refused.status, refused.code()), (503, "overloaded"));
    assert!(refused.head.contains("retry-after: 1"));
    let mut cancelling = Client::new(venue.address);
    cancelling.send("cancels", &cancel(1, 3, 2)).unwrap();
    until("the cancel waits too", Duration::from_secs(60), || {
        (venue.metric("queue_commands") > ORDINARY_MAX as f64).then_some(())
    });
    primary.wait_for("");
    assert_eq!(stuck.receive().unwrap().outcome(), "accepted");
    let cancelled = cancelling.receive().unwrap();
    assert_eq!(
        (cancelled.outcome(), &cancelled.body["sequence"]),
        ("cancelled", &json!(3 + deposits)),
        "before the whole flood"
    );
    for client in &mut flood {
        assert_eq!(client.receive().unwrap().status, 200);
    }
}

#[test]
fn an_epoch_whose_wait_was_cancelled_is_not_active() {
    if postgres_programs().is_none() {
        println!(
            "skipped: PostgreSQL's server programs are not installed (PG_BIN names their folder)"
        );
        return;
    }
    let (primary, mut standby) = pair();
    let mut venue = Venue::active(&primary, "first");
    venue.kill();
    standby.stop(Signal::QUIT);
    let venue = Venue::start(&primary, "second");
    for _ in 0..2 {
        let backend = waiting_backend(&primary);
        primary.sql(&format!("select pg_cancel_backend({backend})"));
        until("another try waits", Duration::from_secs(60), || {
            (waiting_backend(&primary) != backend).then_some(())
        });
        assert_eq!(venue.get("/health/ready").status, 503);
    }
    standby.start();
    assert_eq!(venue.wait_active()["epoch"], 4);
}
