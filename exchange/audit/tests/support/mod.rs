//! A small cell, written by hand: its tables, its history, and the notes of its customers.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use exchange_audit::chain::link;
use exchange_audit::rows::CommandRow;
use mainstay_testkit::postgres::TemporaryServer;

pub const TABLES: &str = "
    create schema exchange;
    create table exchange.epochs (epoch bigint primary key, term bigint not null, instance text not null,
        first_sequence bigint not null, activated_ms bigint not null);
    create table exchange.commands (sequence bigint primary key, epoch bigint not null, recorded_ms bigint not null,
        account bigint not null, reference bigint not null, kind text not null, request text not null,
        outcome text not null, hash bytea not null, unique (account, reference));
    create table exchange.postings (sequence bigint, line int, account bigint not null, bucket text not null,
        asset text not null, amount numeric(38,0) not null, primary key (sequence, line));
    create table exchange.trades (sequence bigint, line int, instrument text not null, price bigint not null,
        quantity bigint not null, buy_account bigint not null, buy_reference bigint not null,
        sell_account bigint not null, sell_reference bigint not null, primary key (sequence, line));
    create table exchange.orders (account bigint, reference bigint, sequence bigint not null, status text not null,
        side text not null, type text not null, price bigint, quantity bigint not null, filled bigint not null,
        primary key (account, reference));
    create table exchange.balances (account bigint, bucket text, asset text, amount numeric(38,0) not null,
        primary key (account, bucket, asset));";

/// The name of the cell's database; copies for planting are named after the fault.
pub const CELL: &str = "cell";
const DEADLINE_MS: i64 = 20_000;

/// (account, bucket, asset, amount)
type Posting = (i64, &'static str, &'static str, i64);
/// (price, quantity, buyer, seller)
type Trade = (i64, i64, (i64, i64), (i64, i64));

pub struct Cell {
    pub sql: String,
    pub witness: String,
    hash: Vec<u8>,
    sequence: i64,
    epoch: i64,
}

/// What a command came to: the fields of its outcome, and its rows.
pub struct Came<'a> {
    pub outcome: &'a str,
    pub postings: &'a [Posting],
    pub trades: &'a [Trade],
}

impl Cell {
    fn new() -> Self {
        let sql = "insert into exchange.epochs values (1, 1, 'one', 1, 0), (2, 2, 'two', 5, 0);"
            .to_owned();
        Self {
            sql,
            witness: String::new(),
            hash: vec![0; 32],
            sequence: 0,
            epoch: 1,
        }
    }

    /// One command in books and notes; `fields` of the request without account, reference and deadline.
    fn play(
        &mut self,
        kind: &str,
        (account, reference): (i64, i64),
        fields: &str,
        came: &Came<'_>,
    ) {
        self.sequence += 1;
        if self.sequence == 5 {
            self.epoch = 2;
        }
        let (sequence, epoch) = (self.sequence, self.epoch);
        let key = format!("\"account\":{account},\"reference\":{reference}");
        let request = format!("{{{key},{fields},\"deadline_ms\":{DEADLINE_MS}}}");
        let stored = format!(
            "{{\"cell\":\"c\",\"sequence\":{sequence},\"epoch\":{epoch},{key},{}}}",
            came.outcome
        );
        let row = CommandRow {
            sequence,
            epoch,
            recorded_ms: 10_000 + sequence,
            account,
            reference,
            kind: kind.to_owned(),
            request: request.clone(),
            outcome: stored.clone(),
            hash: Vec::new(),
        };
        self.hash = link(&self.hash, &row);
        let hash: String = self.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(
            self.sql,
            "insert into exchange.commands values ({sequence}, {epoch}, {}, {account}, {reference}, '{kind}', '{request}', '{stored}', '\\x{hash}');",
            row.recorded_ms
        );
        for (line, (account, bucket, asset, amount)) in (1..).zip(came.postings) {
            let _ = writeln!(
                self.sql,
                "insert into exchange.postings values ({sequence}, {line}, {account}, '{bucket}', '{asset}', {amount});"
            );
        }
        for (line, (price, quantity, buy, sell)) in (1..).zip(came.trades) {
            let _ = writeln!(
                self.sql,
                "insert into exchange.trades values ({sequence}, {line}, 'BTC-USD', {price}, {quantity}, {}, {}, {}, {});",
                buy.0, buy.1, sell.0, sell.1
            );
        }
        let answer = stored.strip_suffix('}').unwrap_or_default();
        self.note(kind, (account, reference), &request);
        let _ = writeln!(
            self.witness,
            "{{\"v\":1,\"event\":\"answer\",{key},\"attempt\":1,\"gateway\":\"g\",\"status\":200,\"body\":{answer},\"hash\":\"{hash}\"}},\"wall_ms\":3,\"latency_us\":9}}"
        );
    }

    /// Intent and attempt, without an answer.
    fn note(&mut self, kind: &str, (account, reference): (i64, i64), request: &str) {
        let key = format!("\"account\":{account},\"reference\":{reference}");
        let _ = writeln!(
            self.witness,
            "{{\"v\":1,\"event\":\"intent\",\"cell\":\"c\",\"kind\":\"{kind}\",{key},\"request\":{request},\"planned_wall_ms\":1,\"deadline_wall_ms\":20000}}\n\
             {{\"v\":1,\"event\":\"attempt\",{key},\"attempt\":1,\"gateway\":\"g\",\"wall_ms\":2}}"
        );
    }
}

const COIN: i64 = 100_000_000;
/// One dollar at scale 10.
const DOLLAR: i64 = 10_000_000_000;

const ACCEPTED: &str = r#""outcome":"accepted""#;
const RESTS: &str = r#""outcome":"accepted","filled":"0.00000000","fills":[]"#;
const FILLED: &str = r#""outcome":"filled","filled":"1.50000000","fills":[{"price":"100.00","quantity":"1.00000000"},{"price":"100.00","quantity":"0.50000000"}]"#;
const CANCELLED: &str = r#""outcome":"cancelled","cancelled":"0.50000000""#;
const NOT_OPEN: &str = r#""outcome":"rejected","reason":"order_not_open""#;
const SELL: &str = r#""instrument":"BTC-USD","side":"sell","type":"limit","price":"100.00","quantity":"1.00000000""#;
const BUY: &str =
    r#""instrument":"BTC-USD","side":"buy","type":"limit","price":"101","quantity":"1.5""#;
const BID: &str =
    r#""instrument":"BTC-USD","side":"buy","type":"limit","price":"90.00","quantity":"1.00000000""#;
const USD: &str = r#""asset":"USD","amount":"1000.00""#;
const BTC: &str = r#""asset":"BTC","amount":"5""#;

fn came<'a>(outcome: &'a str, postings: &'a [Posting], trades: &'a [Trade]) -> Came<'a> {
    Came {
        outcome,
        postings,
        trades,
    }
}

fn moves(
    from: (i64, &'static str),
    to: (i64, &'static str),
    asset: &'static str,
    amount: i64,
) -> [Posting; 2] {
    [
        (from.0, from.1, asset, -amount),
        (to.0, to.1, asset, amount),
    ]
}

/// Two accounts: one sells twice at 100, the other takes one and a half at a limit of 101, what is left is withdrawn.
pub fn history() -> Cell {
    let mut cell = Cell::new();
    let (half, free, held) = (COIN / 2, "available", "held");
    let usd = moves((0, free), (1, free), "USD", 1_000 * DOLLAR);
    cell.play("deposit", (1, 1), USD, &came(ACCEPTED, &usd, &[]));
    let btc = moves((0, free), (2, free), "BTC", 5 * COIN);
    cell.play("deposit", (2, 1), BTC, &came(ACCEPTED, &btc, &[]));
    let hold = moves((2, free), (2, held), "BTC", COIN);
    cell.play("order", (2, 2), SELL, &came(RESTS, &hold, &[]));
    cell.play("order", (2, 3), SELL, &came(RESTS, &hold, &[]));
    let money = moves((1, free), (2, free), "USD", 150 * DOLLAR);
    let coins = moves((2, held), (1, free), "BTC", COIN + half);
    let trades = [
        (10_000, COIN, (1, 2), (2, 2)),
        (10_000, half, (1, 2), (2, 3)),
    ];
    cell.play(
        "order",
        (1, 2),
        BUY,
        &came(FILLED, &[money, coins].concat(), &trades),
    );
    let release = moves((2, held), (2, free), "BTC", half);
    cell.play(
        "cancel",
        (2, 4),
        r#""target_reference":3"#,
        &came(CANCELLED, &release, &[]),
    );
    cell.play(
        "cancel",
        (2, 5),
        r#""target_reference":2"#,
        &came(NOT_OPEN, &[], &[]),
    );
    let hold = moves((1, free), (1, held), "USD", 90 * DOLLAR);
    cell.play("order", (1, 3), BID, &came(RESTS, &hold, &[]));
    // Never answered, and never sequenced.
    cell.note(
        "cancel",
        (1, 4),
        r#"{"account":1,"reference":4,"target_reference":3,"deadline_ms":20000}"#,
    );
    cell.witness +=
        r#"{"v":1,"event":"unanswered","account":1,"reference":4,"attempts":1,"wall_ms":20000}"#;
    cell.witness += "\n";
    cell.sql += "
        insert into exchange.orders values
            (2, 2, 3, 'filled', 'sell', 'limit', 10000, 100000000, 100000000),
            (2, 3, 4, 'cancelled', 'sell', 'limit', 10000, 100000000, 50000000),
            (1, 2, 5, 'filled', 'buy', 'limit', 10100, 150000000, 150000000),
            (1, 3, 8, 'accepted', 'buy', 'limit', 9000, 100000000, 0);
        insert into exchange.balances (account, bucket, asset, amount)
            select account, bucket, asset, sum(amount) from exchange.postings group by account, bucket, asset;";
    cell
}

/// A server with the history in database [`CELL`].
pub fn server(cell: &Cell) -> TemporaryServer {
    let server = TemporaryServer::start(204).expect("start a server");
    server
        .create_database(CELL)
        .expect("create the cell's database");
    server.psql(CELL, TABLES).expect("create the tables");
    server.psql(CELL, &cell.sql).expect("write the history");
    server
}

/// Runs the program against one database of the server.
pub fn audit(server: &TemporaryServer, database: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_exchange-audit"))
        .args(arguments)
        .envs(server.environment(database))
        .output()
        .expect("run the auditor")
}

/// `check` with its result as JSON.
pub fn check(
    server: &TemporaryServer,
    database: &str,
    folder: &Path,
) -> (Output, serde_json::Value) {
    let witness = folder.join("witness").display().to_string();
    let result = folder.join(format!("{database}.json"));
    let shown = result.display().to_string();
    let output = audit(
        server,
        database,
        &["check", "--witness", &witness, "--json", &shown],
    );
    let json = std::fs::read(&result)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    (output, json)
}
