//! A server of which one session stands still while all others go on: the venue says so, waits for nobody without end,
//! and loses nothing.

mod support;

use std::path::Path;
use std::time::Duration;

use exchange_venue::reader::READS_MAX;
use exchange_venue::{clock, lease};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::{CELL, Client, Server, Venue, deposit, postgres_programs, until};

/// Says so and returns true where there is no PostgreSQL to test with.
fn skipped() -> bool {
    let skipped = postgres_programs().is_none();
    if skipped {
        println!(
            "skipped: PostgreSQL's server programs are not installed (PG_BIN names their folder)"
        );
    }
    skipped
}

const WRITER: &str = "select pid from pg_locks where locktype = 'advisory'";
/// Of the two others one is asked again and again whether this is the primary.
const SENTINEL: &str = "select pid from pg_stat_activity where usename = 'venue' \
    and pid not in (select pid from pg_locks where locktype = 'advisory') \
    and query like '%pg_is_in_recovery%'";
const READER: &str = "select pid from pg_stat_activity where usename = 'venue' \
    and pid not in (select pid from pg_locks where locktype = 'advisory') \
    and query not like '%pg_is_in_recovery%'";

/// The one backend of this kind.
fn backend(server: &Server, which: &str) -> i32 {
    until(which, Duration::from_secs(60), || {
        let rows = server.query(which);
        (rows.len() == 1).then(|| rows[0].get(0))
    })
}

/// A backend of the venue's that stands still until this is dropped.
struct Frozen(Pid);

impl Frozen {
    fn new(server: &Server, which: &str) -> Self {
        let number = backend(server, which);
        let pid = Pid::from_raw(number).expect("a process");
        kill_process(pid, Signal::STOP).expect("it can be stopped");
        let frozen = Self(pid);
        until("it stands still", Duration::from_secs(60), || {
            let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
            let (_, state) = stat.rsplit_once(')')?;
            state.trim_start().starts_with('T').then_some(())
        });
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may have ended with its server.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[test]
fn a_frozen_session_of_the_writer_makes_the_venue_unready_until_it_thaws() {
    if skipped() {
        return;
    }
    let server = Server::create();
    let venue = Venue::active(&server, "only");
    let first = venue.post("deposits", &deposit(1, 1, "USD", "5"));
    assert_eq!(first.outcome(), "accepted");
    let frozen = Frozen::new(&server, WRITER);
    let mut waiting = Client::new(venue.address);
    let second = deposit(1, 2, "USD", "5");
    waiting.send("deposits", &second).expect("sends");
    until("it is not ready", Duration::from_secs(30), || {
        let ready = venue.get("/health/ready");
        (ready.status == 503).then(|| assert_eq!(ready.body["reason"], "commit_overdue"))
    });
    assert!(venue.metric("commit_under_way_seconds ") >= 3.0);
    // What is known is still told: to whoever reads, the commit is not there yet.
    let balances = venue.of_cell("balances/1").body;
    assert_eq!(balances["balances"][0]["available"], "5.00");
    drop(frozen);
    assert_eq!(venue.wait_active()["epoch"], 1, "it goes on where it was");
    let again = venue.post("deposits", &second);
    assert_eq!((again.status, &again.body["sequence"]), (200, &json!(2)));
    assert!(venue.metric("commit_under_way_seconds ") < 3.0);
}

#[test]
fn a_frozen_session_for_reading_is_replaced_and_deposes_nobody() {
    if skipped() {
        return;
    }
    let server = Server::create();
    let venue = Venue::active(&server, "only");
    let first = venue.post("deposits", &deposit(1, 1, "USD", "5"));
    assert_eq!(first.outcome(), "accepted");
    let _frozen = Frozen::new(&server, READER);
    let refused = venue.of_cell("orders/1/1");
    assert_eq!((refused.status, refused.code()), (503, "not_active"));
    let read = venue.of_cell("orders/1/1");
    assert_eq!((read.status, &read.body["sequence"]), (200, &json!(1)));
    let second = venue.post("deposits", &deposit(1, 2, "USD", "5"));
    assert_eq!(second.body["epoch"], 1, "it goes on where it was");
    assert_eq!(venue.metric("activations_total "), 1.0);
}

/// More questions about old orders than a server answers: some are told to come again, and orders go on as ever.
#[test]
fn a_crowd_of_reads_is_bounded_and_deposes_nobody() {
    if skipped() {
        return;
    }
    let server = Server::create();
    let venue = Venue::active(&server, "only");
    let first = venue.post("deposits", &deposit(1, 1, "USD", "5"));
    assert_eq!(first.outcome(), "accepted");
    let frozen = Frozen::new(&server, READER);
    let question = format!("GET /v1/cells/{CELL}/orders/1/1 HTTP/1.1\r\nhost: venue\r\n\r\n");
    let mut crowd: Vec<Client> = (0..READS_MAX + 44)
        .map(|_| {
            let mut client = Client::new(venue.address);
            client.ask(&question).expect("asks");
            client
        })
        .collect();
    let second = venue.post("deposits", &deposit(1, 2, "USD", "5"));
    assert_eq!(second.outcome(), "accepted");
    let answers = crowd
        .iter_mut()
        .map(|one| one.receive().expect("an answer"));
    let codes: Vec<String> = answers.map(|one| one.code().to_owned()).collect();
    let refused = codes.iter().filter(|code| *code == "overloaded").count();
    assert!((1..=44).contains(&refused), "{codes:?}");
    drop(frozen);
    let read = venue.of_cell("orders/1/1");
    assert_eq!(read.status, 200, "places are free again");
    assert_eq!(venue.metric("activations_total "), 1.0);
}

#[test]
fn a_venue_that_cannot_ask_whether_this_is_the_primary_begins_anew() {
    if skipped() {
        return;
    }
    let server = Server::create();
    let venue = Venue::active(&server, "only");
    let _frozen = Frozen::new(&server, SENTINEL);
    until("it has new sessions", Duration::from_secs(60), || {
        let ready = venue.get("/health/ready");
        (ready.body["epoch"] == 2).then_some(())
    });
}

fn hold_lease(path: &Path, term: u64) {
    let until_ns = clock::boot_ns() + 600_000_000_000;
    std::fs::write(path, lease::render(term, until_ns)).expect("a lease");
}

/// A commit waits for a quorum that does not come, and meanwhile the server has become the primary of another term.
#[test]
fn a_commit_of_a_term_that_is_over_is_not_waited_for() {
    if !skipped() {
        outlive_a_term(|_, _| {});
    }
}

/// So it is where nobody could ask the server any more before the term changed.
#[test]
fn nor_is_it_once_the_session_that_asks_is_gone() {
    if skipped() {
        return;
    }
    outlive_a_term(|server, venue| {
        let pid = backend(server, SENTINEL);
        server.sql(&format!("select pg_terminate_backend({pid})"));
        until("the venue knows", Duration::from_secs(60), || {
            let said = venue.log();
            said.contains("connection_lost").then_some(())
        });
    });
}

fn outlive_a_term(meanwhile: impl FnOnce(&Server, &Venue)) {
    let server = Server::create();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lease-cell");
    hold_lease(&path, 7);
    let venue = Venue::start_with(&server, "leased", Some(&path));
    assert_eq!(venue.wait_active()["term"], 7);
    server.wait_for("nobody");
    let waits =
        "select count(*) from pg_stat_activity where usename = 'venue' and wait_event = 'SyncRep'";
    let mut reference = 0;
    // Until the server has taken the setting commits pass.
    let (mut stuck, body) = until("a commit waits", Duration::from_secs(30), || {
        reference += 1;
        let mut client = Client::new(venue.address);
        let body = deposit(1, reference, "USD", "1");
        client.send("deposits", &body).expect("sends");
        (0..100).find_map(|_| (server.count(waits) > 0).then_some(()))?;
        Some((client, body))
    });
    meanwhile(&server, &venue);
    hold_lease(&path, 9);
    let answer = stuck.receive().expect("an answer");
    assert_eq!((answer.status, answer.code()), (503, "outcome_unknown"));
    let message = answer.body["error"]["message"].as_str().expect("a message");
    assert!(message.contains("did not come back clean"), "{message}");
    let abandoned = "transaction_failures_total{reason=\"commit_abandoned\"}";
    // It is counted after the client was told.
    until("it is counted", Duration::from_secs(60), || {
        (venue.metric(abandoned) == 1.0).then_some(())
    });
    until("it does not serve", Duration::from_secs(60), || {
        (venue.get("/health/ready").status == 503).then_some(())
    });
    server.wait_for("");
    let ready = venue.wait_active();
    assert_eq!((&ready["epoch"], &ready["term"]), (&json!(2), &json!(9)));
    let again = venue.post("deposits", &body);
    assert_eq!((again.status, &again.body["replayed"]), (200, &json!(true)));
}
