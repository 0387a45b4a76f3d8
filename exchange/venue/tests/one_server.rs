//! The venue on one real PostgreSQL: what it answers, and that no death of venue or server loses an answer.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exchange_engine::command::{Action, Command};
use exchange_engine::engine::Engine;
use exchange_engine::limits::ACCOUNTS_MAX;
use exchange_engine::snapshot;
use exchange_engine::units::{Account, Amount, Asset, Reference};
use exchange_venue::session::Session;
use exchange_venue::settings::{Database, Password};
use exchange_venue::tls::Trust;
use exchange_venue::{clock, lease};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{
    CELL, Client, HOST, Server, Venue, cancel, deposit, free_port, limit, postgres_programs, soon,
    until,
};

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

fn database(server: &Server) -> Database {
    Database {
        host: HOST.to_owned(),
        port: server.port,
        user: "venue".to_owned(),
        name: "cell".to_owned(),
        password: Password::None,
        trust: Trust::Nothing,
        application_name: "test".to_owned(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Whatever the role's and the database's defaults say, a session of the venue waits for the quorum and hears
/// warnings.
#[test]
fn nobody_weakens_a_session_of_the_venue() {
    if skipped() {
        return;
    }
    let server = Server::create();
    for weakening in [
        "alter role venue set synchronous_commit = off",
        "alter role venue in database cell set client_min_messages = error",
        "alter database cell set synchronous_commit = local",
        "alter role venue set idle_session_timeout = '1min'",
        "alter database cell set statement_timeout = '1min'",
    ] {
        server.sql(weakening);
    }
    let database = database(&server);
    let question = "select concat_ws(' ', current_setting('synchronous_commit'), current_setting('client_min_messages'), \
        current_setting('idle_session_timeout'), current_setting('statement_timeout'))";
    let runtime = runtime();
    let (plain, forced) = runtime.block_on(async {
        let config = database.config().unwrap();
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let plain = client.query_one(question, &[]).await.unwrap();
        let session = Session::open(&database).await.unwrap();
        let forced = session.client.query_one(question, &[]).await.unwrap();
        (plain.get::<_, String>(0), forced.get::<_, String>(0))
    });
    assert_eq!(plain, "off error 1min 1min", "the defaults are in force");
    assert_eq!(forced, "on warning 0 0");
}

#[test]
fn the_api_does_what_it_says() {
    if skipped() {
        return;
    }
    let server = Server::create();
    let mut venue = Venue::active(&server, "first");
    for body in [deposit(1, 1, "USD", "1000.00"), deposit(2, 1, "BTC", "5")] {
        assert_eq!(venue.post("deposits", &body).outcome(), "accepted");
    }
    assert_eq!(
        venue
            .post("orders", &limit(2, 2, "sell", "236.47", "2"))
            .outcome(),
        "accepted"
    );
    let buy = limit(1, 2, "buy", "240", "1");
    let filled = venue.post("orders", &buy);
    assert_eq!((filled.status, filled.outcome()), (200, "filled"));
    assert_eq!(
        filled.body["fills"],
        json!([{"price": "236.47", "quantity": "1.00000000"}])
    );
    refusals(&venue, &buy, &filled.body);
    let book = venue.of_cell("book?depth=5").body;
    assert_eq!(
        book["asks"],
        json!([{"price": "236.47", "quantity": "1.00000000", "orders": 1}])
    );
    let balances = venue.of_cell("balances/1").body["balances"].clone();
    assert_eq!(
        balances[0],
        json!({"asset": "USD", "available": "763.53", "held": "0.00"})
    );
    let order = venue.of_cell("orders/2/2").body;
    assert_eq!(
        (&order["status"], &order["filled"]),
        (&json!("partly_filled"), &json!("1.00000000"))
    );
    assert!(venue.get("/openapi.json").body["paths"]["/v1/cells/{cell}/orders"].is_object());
    assert!(venue.metric("order_processing_duration_seconds_count") >= 4.0);
    assert_eq!(
        venue.metric("transaction_failures_total{reason=\"commit_failed\"}"),
        0.0
    );
    assert_eq!(venue.metric("available_liquidity_usd"), 0.0);
    assert!(venue.terminate(), "a drained venue ends well");

    // A new life: the same state, answers of the old one, from the snapshot that the drain left.
    let again = Venue::active(&server, "second");
    let replayed = again.post("orders", &buy);
    let mut expected = filled.body.clone();
    expected["replayed"] = json!(true);
    assert_eq!(replayed.body, expected);
    assert_eq!(again.of_cell("balances/1").body["balances"], balances);
    assert_eq!(again.of_cell("book").body["asks"], book["asks"]);
    assert_eq!(server.count("select count(*) from exchange.snapshots"), 1);
    assert_eq!(
        again.post("cancels", &cancel(2, 7, 2)).outcome(),
        "cancelled"
    );
    assert!(
        !again.log().contains("WARN") && !again.log().contains("ERROR"),
        "{}",
        again.log()
    );
}

fn refusals(venue: &Venue, buy: &Value, answered: &Value) {
    let again = venue.post("orders", buy);
    assert_eq!(
        (again.status, &again.body["replayed"], &again.body["hash"]),
        (200, &json!(true), &answered["hash"])
    );
    let mut other = buy.clone();
    other["quantity"] = json!("2");
    let conflict = venue.post("orders", &other);
    assert_eq!(
        (conflict.status, conflict.code()),
        (422, "reference_conflict")
    );
    assert_eq!(
        venue
            .post("orders", &limit(1, 5, "buy", "1", "1"))
            .outcome(),
        "accepted"
    );
    let lower = venue.post("orders", &limit(1, 4, "buy", "1", "1"));
    assert_eq!((lower.status, lower.code()), (409, "reference_not_above"));
    assert_eq!(
        venue.post("cancels", &cancel(1, 6, 5)).outcome(),
        "cancelled"
    );
    let mut wrong = buy.clone();
    wrong["colour"] = json!("red");
    let wrong = venue.post("orders", &wrong);
    assert_eq!(
        (wrong.status, &wrong.body["error"]["field"]),
        (400, &json!("colour"))
    );
    let mut late = limit(1, 7, "buy", "240", "1");
    late["deadline_ms"] = json!(1);
    assert_eq!(venue.post("orders", &late).outcome(), "expired");
    let poor = venue.post("orders", &limit(1, 8, "buy", "240", "1000"));
    assert_eq!((poor.status, poor.outcome()), (200, "rejected"));
    assert_eq!(poor.body["reason"], "insufficient_funds");
    let mut client = Client::new(venue.address);
    let body = limit(1, 9, "buy", "1", "1");
    let key = client
        .post_with("orders", &body, "idempotency-key: 1-8\r\n")
        .unwrap();
    assert_eq!(
        (key.status, &key.body["error"]["field"]),
        (400, &json!("Idempotency-Key"))
    );
    let past = client
        .post_with("orders", &body, "x-request-deadline-ms: 5\r\n")
        .unwrap();
    assert_eq!((past.status, past.code()), (503, "overloaded"));
    assert!(past.head.contains("retry-after: 1"));
    let large = Client::new(venue.address)
        .post_with("orders", &json!("x".repeat(20_000)), "")
        .unwrap();
    assert_eq!(large.status, 413);
    assert_eq!(venue.get("/v1/cells/other/book").status, 404);
    let control = venue.get("/control/mode");
    assert_eq!(
        (control.status, control.code()),
        (403, "not_a_controller"),
        "in the clear nobody is heard there"
    );
    assert_eq!(venue.of_cell("book?depth=0").status, 400);
    assert_eq!(venue.of_cell("orders/1/999").status, 404);
}

/// Sends orders on a few connections until told to stop; remembers what was acknowledged. Answers that did not come
/// are asked for again with the same reference, as every client should.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<BTreeMap<u64, String>>>,
}

impl Load {
    fn start(addresses: &[std::net::SocketAddr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |account: u64| {
            let (stop, addresses) = (Arc::clone(&stop), addresses.to_vec());
            std::thread::spawn(move || run_client(account, &addresses, &stop))
        };
        let clients = (1..=8).map(client).collect();
        Self { stop, clients }
    }

    /// Sequence → hash of everything acknowledged.
    fn finish(self) -> BTreeMap<u64, String> {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = BTreeMap::new();
        for client in self.clients {
            for (sequence, hash) in client.join().unwrap() {
                assert_eq!(
                    all.insert(sequence, hash),
                    None,
                    "sequence {sequence} was acknowledged to two commands"
                );
            }
        }
        all
    }
}

fn run_client(
    account: u64,
    addresses: &[std::net::SocketAddr],
    stop: &AtomicBool,
) -> BTreeMap<u64, String> {
    let mut acknowledged = BTreeMap::new();
    let mut at = 0;
    let mut client = Client::new(addresses[0]);
    for reference in 1.. {
        let (kind, body) = match reference {
            1 => ("deposits", deposit(account, 1, "USD", "1000000")),
            2 => ("deposits", deposit(account, 2, "BTC", "1000")),
            _ if account.is_multiple_of(2) => {
                ("orders", limit(account, reference, "sell", "100", "0.01"))
            }
            _ => ("orders", limit(account, reference, "buy", "100", "0.01")),
        };
        let answer = until("an answer", Duration::from_secs(30), || {
            match client.post(kind, &body) {
                Ok(answer) if answer.status == 200 => Some(answer),
                Ok(answer) => {
                    assert_eq!(answer.status, 503, "{answer:?}");
                    at += 1;
                    client = Client::new(addresses[at % addresses.len()]);
                    None
                }
                Err(_) => {
                    at += 1;
                    client = Client::new(addresses[at % addresses.len()]);
                    None
                }
            }
        });
        let sequence = answer.body["sequence"].as_u64().unwrap();
        acknowledged.insert(sequence, answer.body["hash"].as_str().unwrap().to_owned());
        if stop.load(Ordering::SeqCst) {
            return acknowledged;
        }
    }
    acknowledged
}

/// Every acknowledged sequence is in the log with the hash that its client was told, and the log has no gap.
fn nothing_is_missing(server: &Server, acknowledged: &BTreeMap<u64, String>) {
    let rows = server
        .query("select sequence, encode(hash, 'hex') from exchange.commands order by sequence");
    let log: BTreeMap<u64, String> = rows
        .iter()
        .map(|row| (u64::try_from(row.get::<_, i64>(0)).unwrap(), row.get(1)))
        .collect();
    assert_eq!(log.len() as u64, *log.keys().next_back().unwrap(), "no gap");
    for (sequence, hash) in acknowledged {
        assert_eq!(
            log.get(sequence),
            Some(hash),
            "acknowledged sequence {sequence}"
        );
    }
    let unbalanced = "select count(*) from (select 1 from exchange.postings group by sequence, asset having sum(amount) <> 0) x";
    assert_eq!(server.count(unbalanced), 0);
    let differing = "select count(*) from exchange.balances b full join \
        (select account, bucket, asset, sum(amount) as amount from exchange.postings group by 1, 2, 3) p \
        using (account, bucket, asset) where b.amount is distinct from p.amount";
    assert_eq!(
        server.count(differing),
        0,
        "balances are the sums of postings"
    );
}

fn rows(server: &Server) -> i64 {
    server.count("select coalesce(max(sequence), 0) from exchange.commands")
}

#[test]
fn a_killed_server_loses_nothing_that_was_acknowledged() {
    if skipped() {
        return;
    }
    let mut server = Server::create();
    let venue = Venue::active(&server, "only");
    let load = Load::start(&[venue.address]);
    for round in 1..=2 {
        let before = rows(&server);
        until("the load runs", Duration::from_secs(60), || {
            (rows(&server) > before + 300).then_some(())
        });
        server.stop(Signal::KILL);
        let refused = until("the venue notices", Duration::from_secs(60), || {
            let ready = venue.get("/health/ready");
            (ready.status == 503).then_some(ready)
        });
        assert_eq!(refused.body["active"], false);
        server.start();
        assert_eq!(venue.wait_active()["epoch"], 1 + round);
    }
    let after = rows(&server);
    until("the load runs again", Duration::from_secs(60), || {
        (rows(&server) > after + 300).then_some(())
    });
    let acknowledged = load.finish();
    assert!(acknowledged.len() > 900);
    nothing_is_missing(&server, &acknowledged);
    assert!(venue.metric("transaction_failures_total{reason=\"commit_failed\"}") <= 2.0);
}

#[test]
fn a_killed_venue_is_followed_by_the_next_instance() {
    if skipped() {
        return;
    }
    let server = Server::create();
    let mut first = Venue::active(&server, "first");
    let second = Venue::start(&server, "second");
    until("the second stands by", Duration::from_secs(60), || {
        (second.get("/health/ready").body["reason"] == "other_writer").then_some(())
    });
    assert_eq!(
        second.post("deposits", &deposit(99, 1, "USD", "1")).code(),
        "not_active"
    );
    assert_eq!(second.of_cell("book").status, 503);
    let load = Load::start(&[first.address, second.address]);
    until("the load runs", Duration::from_secs(60), || {
        (rows(&server) > 300).then_some(())
    });
    first.kill();
    let killed_ns = clock::boot_ns();
    assert_eq!(second.wait_active()["epoch"], 2);
    println!(
        "the second instance was active {} ms after the first was killed",
        (clock::boot_ns() - killed_ns) / 1_000_000
    );
    let after = rows(&server);
    until("the load runs again", Duration::from_secs(60), || {
        (rows(&server) > after + 300).then_some(())
    });
    nothing_is_missing(&server, &load.finish());
    let epochs = server.query("select epoch, first_sequence from exchange.epochs order by epoch");
    let first_of_second: i64 = epochs[1].get(1);
    assert_eq!(
        server.count("select max(sequence) + 1 from exchange.commands where epoch = 1"),
        first_of_second
    );
}

/// A lease as a keeper would write it, valid for `ms` from now.
fn hold_lease(path: &std::path::Path, term: u64, ms: u64) {
    std::fs::write(path, lease::render(term, clock::boot_ns() + ms * 1_000_000)).unwrap();
}

#[test]
fn without_a_lease_nothing_is_said() {
    if skipped() {
        return;
    }
    let server = Server::create();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lease-cell");
    let venue = Venue::start_with(&server, "leased", Some(&path));
    until("it waits for a lease", Duration::from_secs(60), || {
        (venue.get("/health/ready").body["reason"] == "no_lease").then_some(())
    });
    hold_lease(&path, 7, 60_000);
    assert_eq!(venue.wait_active()["term"], 7);
    assert_eq!(
        venue.post("deposits", &deposit(1, 1, "USD", "1")).outcome(),
        "accepted"
    );
    hold_lease(&path, 7, 0);
    let refused = venue.post("deposits", &deposit(1, 2, "USD", "1"));
    assert_eq!((refused.status, refused.code()), (503, "lease_expired"));
    assert_eq!(venue.of_cell("balances/1").code(), "lease_expired");
    assert_eq!(venue.get("/health/ready").body["reason"], "lease_expired");
    hold_lease(&path, 7, 60_000);
    assert_eq!(
        venue.post("deposits", &deposit(1, 2, "USD", "1")).outcome(),
        "accepted"
    );
    assert_eq!(venue.wait_active()["epoch"], 1);
    hold_lease(&path, 9, 60_000);
    let ready = until("the new term is taken up", Duration::from_secs(60), || {
        let ready = venue.get("/health/ready");
        (ready.body["term"] == 9).then_some(ready.body)
    });
    assert_eq!(ready["epoch"], 2);
    let _ = (CELL, free_port(), soon());
}

#[test]
fn a_damaged_snapshot_is_passed_over() {
    if skipped() {
        return;
    }
    let server = Server::create();
    for life in 1..=2 {
        let mut venue = Venue::active(&server, "one");
        assert_eq!(
            venue
                .post("deposits", &deposit(life, 1, "USD", "5"))
                .outcome(),
            "accepted"
        );
        assert!(venue.terminate());
    }
    assert_eq!(server.count("select count(*) from exchange.snapshots"), 2);
    server.sql("update exchange.snapshots set state = set_byte(state, 12, 255) where sequence = 2");
    let venue = Venue::active(&server, "two");
    assert!(venue.log().contains("passed over"), "{}", venue.log());
    for account in 1..=2 {
        let balances = venue.of_cell(&format!("balances/{account}")).body;
        assert_eq!(balances["balances"][0]["available"], "5.00");
        assert_eq!(balances["sequence"], 2);
    }
}

#[test]
fn a_damaged_log_keeps_the_venue_closed() {
    if skipped() {
        return;
    }
    let server = Server::create();
    let mut venue = Venue::active(&server, "first");
    for reference in 1..=5 {
        assert_eq!(
            venue
                .post("deposits", &deposit(1, reference, "USD", "1"))
                .outcome(),
            "accepted"
        );
    }
    venue.kill();
    server.sql("update exchange.commands set request = replace(request, '1.00', '2.00') where sequence = 3");
    let venue = Venue::start(&server, "second");
    until("it refuses the log", Duration::from_secs(60), || {
        (venue.get("/health/ready").body["reason"] == "log_damaged").then_some(())
    });
    server.sql("update exchange.commands set request = replace(request, '2.00', '1.00') where sequence = 3");
    assert_eq!(venue.wait_active()["sequence"], 5);
}

/// A full disk, say: the epoch cannot be opened, and each try has played the log.
#[test]
fn a_database_that_refuses_to_write_is_not_asked_without_end() {
    if skipped() {
        return;
    }
    let server = Server::create();
    let mut venue = Venue::active(&server, "first");
    assert_eq!(
        venue.post("deposits", &deposit(1, 1, "USD", "1")).outcome(),
        "accepted"
    );
    venue.kill();
    for refusing in [
        // It counts tries, and does not go back with them.
        "create sequence exchange.tries",
        "create function exchange.refuse() returns trigger language plpgsql security definer as \
            $$ begin perform nextval('exchange.tries'); raise exception 'no room'; end $$",
        "create trigger refuse before insert on exchange.epochs for each row execute function exchange.refuse()",
    ] {
        server.sql(refusing);
    }
    let started_ns = clock::boot_ns();
    let venue = Venue::start(&server, "second");
    let seconds = until("it has tried for a while", Duration::from_secs(60), || {
        let seconds = (clock::boot_ns() - started_ns) / 1_000_000_000;
        let tries = server.count("select last_value from exchange.tries");
        (tries >= 7 && seconds >= 4).then_some(seconds)
    });
    let tries = server.count("select last_value from exchange.tries");
    // Six in the first second, as soon as possible, and then one a second.
    let most = 8 + i64::try_from(seconds).unwrap();
    assert!(tries <= most, "{tries} tries in {seconds} s");
    assert_eq!(venue.get("/health/ready").body["reason"], "database_error");
    server.sql("drop trigger refuse on exchange.epochs");
    assert_eq!(venue.wait_active()["epoch"], 2);
}

/// As many accounts as a cell may know, each with a deposit of its own; as a venue would leave them behind.
fn fill(server: &Server) {
    let mut engine = Engine::default();
    for number in 1..=ACCOUNTS_MAX as u64 {
        let command = Command {
            account: Account::customer(number).unwrap(),
            reference: Reference::new(1).unwrap(),
            deadline_ms: 0,
            action: Action::Deposit {
                asset: Asset::Usd,
                amount: Amount::from_units(1),
            },
        };
        engine.apply(0, &command).unwrap();
    }
    let (sequence, state) = (ACCOUNTS_MAX as i64, engine.snapshot());
    let hash = snapshot::hash(&state);
    runtime().block_on(async {
        let client = Session::open(&database(server)).await.unwrap().client;
        // Of the log only the command that the snapshot was taken after, with any hash.
        let last = "insert into exchange.commands values ($1, 1, 0, $1, 1, 'deposit', '', '', $2)";
        client
            .execute(last, &[&sequence, &hash.as_slice()])
            .await
            .unwrap();
        let taken = "insert into exchange.snapshots values ($1, $2, $3)";
        client
            .execute(taken, &[&sequence, &state, &hash.as_slice()])
            .await
            .unwrap();
    });
}

#[test]
fn a_cell_that_is_full_refuses_new_accounts_for_good() {
    if skipped() {
        return;
    }
    let server = Server::create();
    let mut venue = Venue::active(&server, "first");
    assert!(venue.terminate(), "it leaves empty tables");
    fill(&server);
    let venue = Venue::active(&server, "second");
    let new = deposit(ACCOUNTS_MAX as u64 + 1, 1, "USD", "1");
    let refused = venue.post("deposits", &new);
    assert_eq!((refused.status, refused.code()), (409, "no_room"));
    assert!(!refused.head.contains("retry-after"), "{refused:?}");
    let known = venue.post("deposits", &deposit(1, 2, "USD", "1"));
    assert_eq!((known.status, known.outcome()), (200, "accepted"));
}
