//! A client that writes all the time, and counts what it was promised.
//!
//! It inserts rising numbers, one at a time, each until it is acknowledged: an unknown outcome is repeated
//! under the same number with `ON CONFLICT DO NOTHING`. What was acknowledged must be there in the end, once;
//! what is there must have been sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_units::Instant;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::cluster::{COUNT, Cluster, Door};

/// A server that stands still is left after this; a gateway would be told earlier.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(800);
const BETWEEN_WRITES: Duration = Duration::from_millis(5);
/// Each attempt costs its server a process, and both sides a handshake.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(15);
/// At first: grown while nobody answers in it, since on a busy machine nobody may.
const CONNECT_LIMIT: Duration = Duration::from_millis(300);
const CONNECT_LIMIT_GROWN: Duration = Duration::from_secs(3);

pub struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: Option<JoinHandle<Record>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

/// When each number was acknowledged.
#[derive(Default)]
pub struct Record {
    pub sent: u64,
    pub acknowledged: Vec<(u64, Instant)>,
}

impl Record {
    /// The longest time between two acknowledgements.
    pub fn gap(&self) -> Duration {
        self.acknowledged
            .windows(2)
            .map(|pair| pair[1].1.since(pair[0].1))
            .max()
            .unwrap_or_default()
    }
}

type Stream = tokio::net::TcpStream;
type Tls = <MakeRustlsConnect as MakeTlsConnect<Stream>>::Stream;

fn config(user: &str, password: &str, database: &str) -> Config {
    let mut config = Config::new();
    config
        .user(user)
        .password(password)
        .dbname(database)
        .ssl_mode(SslMode::Require);
    config
}

/// A session through a door, by TLS; what reads it is not spawned yet.
async fn enter(
    door: &Door,
    config: &Config,
) -> Result<(Client, tokio_postgres::Connection<Stream, Tls>)> {
    let stream = Stream::connect(door.address).await?;
    stream.set_nodelay(true)?;
    Ok(config.connect_raw(stream, proof(door)?).await?)
}

/// What the server behind a door must prove: its address.
fn proof(door: &Door) -> Result<<MakeRustlsConnect as MakeTlsConnect<Stream>>::TlsConnect> {
    let name = door.address.ip().to_string();
    Ok(MakeTlsConnect::<Stream>::make_tls_connect(
        &mut door.tls.clone(),
        &name,
    )?)
}

fn application() -> Config {
    config("shop", "secret-application", "shop")
}

pub async fn connect(door: &Door) -> Result<Client> {
    connect_with(door, "").await
}

/// The same with options of the server's for this session, such as `-c jit=off`.
pub async fn connect_with(door: &Door, options: &str) -> Result<Client> {
    let mut application = application();
    application.options(options);
    let (client, mut connection) = enter(door, &application).await?;
    tokio::spawn(async move {
        while let Some(message) =
            std::future::poll_fn(|context| connection.poll_message(context)).await
        {
            match message {
                Ok(AsyncMessage::Notice(notice)) => println!("  notice: {}", notice.message()),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    Ok(client)
}

impl Writer {
    /// One that leaves something of the processors to what is tested. It is under way for most of its time all the same.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        Self::start_with(cluster, BETWEEN_WRITES)
    }

    /// One that begins the next write as soon as the last is acknowledged.
    pub fn start_restless(cluster: &Cluster) -> Result<Self> {
        Self::start_with(cluster, Duration::ZERO)
    }

    fn start_with(cluster: &Cluster, between: Duration) -> Result<Self> {
        let doors: Vec<Door> = (0..COUNT)
            .map(|which| cluster.door(which))
            .collect::<Result<_>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (told, count) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || write(&doors, between, &told, &count))?;
        Ok(Self {
            stop,
            acknowledged,
            thread: Some(thread),
        })
    }

    /// Waits until so many more numbers have been acknowledged.
    pub fn await_more(&self, cluster: &Cluster, count: u64) -> Result<()> {
        let goal = self.acknowledged.load(Ordering::Relaxed) + count;
        cluster.wait("acknowledgements", || {
            (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(())
        })
    }

    pub fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub fn finish(mut self) -> Result<Record> {
        self.end().context("join the writer")
    }

    fn end(&mut self) -> Option<Record> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }
}

fn write(doors: &[Door], between: Duration, stop: &AtomicBool, count: &AtomicU64) -> Record {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for the writer");
    runtime.block_on(async {
        let mut record = Record::default();
        let mut session: Option<Client> = None;
        let mut next = 0;
        let mut limit = CONNECT_LIMIT;
        while !stop.load(Ordering::Relaxed) {
            let Some(client) = &session else {
                session = find(&doors[next % doors.len()], limit).await;
                next += 1;
                // Every server was asked in vain.
                if next.is_multiple_of(doors.len()) {
                    limit = (limit * 5 / 4).min(CONNECT_LIMIT_GROWN);
                }
                continue;
            };
            let number = record.acknowledged.len() as u64 + 1;
            record.sent = number;
            let statement = format!("INSERT INTO numbers VALUES ({number}) ON CONFLICT DO NOTHING");
            match tokio::time::timeout(ATTEMPT_LIMIT, client.simple_query(&statement)).await {
                Ok(Ok(_)) => {
                    record
                        .acknowledged
                        .push((number, mainstay_rt::clock::now()));
                    count.store(number, Ordering::Relaxed);
                    limit = CONNECT_LIMIT;
                    tokio::time::sleep(between).await;
                }
                Ok(Err(_)) | Err(_) => session = None,
            }
        }
        record
    })
}

/// Asks a server whether it takes writes.
async fn find(door: &Door, limit: Duration) -> Option<Client> {
    let found = tokio::time::timeout(limit, async {
        let client = connect(door).await.ok()?;
        let rows = client
            .simple_query("SHOW transaction_read_only")
            .await
            .ok()?;
        let off = rows.iter().any(|row| match row {
            SimpleQueryMessage::Row(row) => row.get(0) == Some("off"),
            _ => false,
        });
        off.then_some(client)
    })
    .await
    .ok()
    .flatten();
    if found.is_none() {
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
    found
}

/// What became of a commit that nobody acknowledged, and whose wait was cancelled.
pub enum Cancelled {
    /// Answered as a success, and what was said beside it.
    Answered(Vec<String>),
    /// Answered otherwise.
    Refused(String),
    /// The session ended by something else.
    Ended,
}

/// Commits a number while nobody acknowledges, and cancels the wait.
pub async fn cancelled_commit(door: &Door, number: u64) -> Result<Cancelled> {
    let Ok((client, mut connection)) = enter(door, &application()).await else {
        return Ok(Cancelled::Ended);
    };
    let notices = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = Arc::clone(&notices);
    let driver = tokio::spawn(async move {
        while let Some(Ok(message)) =
            std::future::poll_fn(|context| connection.poll_message(context)).await
        {
            if let AsyncMessage::Notice(notice) = message {
                heard
                    .lock()
                    .expect("one thread")
                    .push(notice.message().to_owned());
            }
        }
    });
    let statement = format!("INSERT INTO numbers VALUES ({number})");
    let answer = tokio::select! {
        answer = client.simple_query(&statement) => answer,
        failed = cancel_waiting(door, &client) => {
            println!("  nobody sees it wait: {failed:?}");
            return Ok(Cancelled::Ended);
        }
    };
    driver.abort();
    let notices = notices.lock().expect("one thread").clone();
    // Of a session that was ended no code is heard, or one of the server's own doing.
    let is_refused = |error: &tokio_postgres::Error| {
        let code = error.code().map(SqlState::code);
        code.is_some_and(|code| !code.starts_with("57P"))
    };
    Ok(match answer {
        Ok(_) => Cancelled::Answered(notices),
        Err(error) if is_refused(&error) => Cancelled::Refused(format!("{error:?}")),
        Err(_) => Cancelled::Ended,
    })
}

/// Cancels what a session says, again and again, while its commit is seen to wait for standbys. Ends by a failure alone.
async fn cancel_waiting(door: &Door, client: &Client) -> Result<()> {
    let superuser = config("mainstay", "secret-superuser", "shop");
    let (watcher, connection) = enter(door, &superuser).await?;
    tokio::spawn(connection);
    let waiting =
        "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'shop'";
    let token = client.cancel_token();
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let rows = watcher.simple_query(waiting).await?;
        if !rows
            .iter()
            .any(|row| matches!(row, SimpleQueryMessage::Row(_)))
        {
            continue;
        }
        let stream = Stream::connect(door.address).await;
        if let (Ok(stream), Ok(tls)) = (stream, proof(door)) {
            token.cancel_query_raw(stream, tls).await.ok();
        }
    }
}

/// A session of the keepers' own role.
pub fn superuser_session(cluster: &Cluster, which: usize) -> Result<Client> {
    cluster.runtime.block_on(async {
        let config = config("mainstay", "secret-superuser", "shop");
        let (client, connection) = enter(&cluster.door(which)?, &config).await?;
        tokio::spawn(connection);
        Ok(client)
    })
}

/// Says something to a server as the keepers' own role; the first column of the last row.
pub fn superuser(cluster: &Cluster, which: usize, statement: &str) -> Result<Option<String>> {
    let client = superuser_session(cluster, which)?;
    cluster.runtime.block_on(async {
        let answer = client.simple_query(statement).await?;
        let value = answer.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok(value)
    })
}

/// Creates the table, on whoever is primary.
pub fn prepare(cluster: &Cluster) -> Result<()> {
    arrange(
        cluster,
        "CREATE TABLE IF NOT EXISTS numbers (number bigint PRIMARY KEY)",
    )
}

/// Removes what an earlier scenario left.
pub fn forget(cluster: &Cluster) -> Result<()> {
    arrange(cluster, "DROP TABLE IF EXISTS numbers")
}

/// Said to whoever is primary until it is done: a session may find that it has just changed.
fn arrange(cluster: &Cluster, statement: &str) -> Result<()> {
    let mut last = None;
    let done = cluster.wait(statement, || {
        let (primary, _) = cluster.primary()?;
        let said = cluster.runtime.block_on(async {
            let client = connect(&cluster.door(primary)?).await?;
            client.simple_query(statement).await?;
            anyhow::Ok(())
        });
        said.map_err(|error| last = Some(error)).ok()
    });
    done.with_context(|| format!("the last try: {last:?}"))
}

/// Whether this number is there.
pub async fn has(door: &Door, number: u64) -> Result<bool> {
    let client = connect(door).await?;
    let statement = format!("SELECT 1 FROM numbers WHERE number = {number}");
    let found = client.simple_query(&statement).await?;
    Ok(found
        .iter()
        .any(|message| matches!(message, SimpleQueryMessage::Row(_))))
}

/// What a database administrator can do behind the keeper's back.
pub async fn administer(door: &Door, statement: &str) -> Result<()> {
    let config = config("mainstay", "secret-superuser", "postgres");
    let (client, connection) = enter(door, &config).await?;
    tokio::spawn(connection);
    client.simple_query(statement).await?;
    Ok(())
}

/// The numbers that the primary has, and its term. Who asks may find that it has just closed for a moment.
fn present(cluster: &Cluster) -> Result<(BTreeSet<u64>, u32)> {
    let mut last = None;
    let found = cluster.wait("what is there", || {
        let (primary, term) = cluster.primary()?;
        let numbers = cluster.runtime.block_on(async {
            let client = connect(&cluster.door(primary)?).await?;
            let rows = client.simple_query("SELECT number FROM numbers").await?;
            let numbers = rows.iter().filter_map(|row| match row {
                SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
                _ => None,
            });
            anyhow::Ok(numbers.collect())
        });
        let numbers = numbers.map_err(|error| last = Some(error)).ok()?;
        Some((numbers, term))
    });
    found.with_context(|| format!("the last try: {last:?}"))
}

/// What was acknowledged and is not there.
pub fn lost(cluster: &Cluster, record: &Record) -> Result<Vec<u64>> {
    let (present, _) = present(cluster)?;
    let numbers = record.acknowledged.iter().map(|(number, _)| *number);
    Ok(numbers.filter(|number| !present.contains(number)).collect())
}

/// Everything acknowledged is there, and nothing that was not sent.
pub fn check(cluster: &Cluster, record: &Record) -> Result<()> {
    let (present, term) = present(cluster)?;
    let lost = lost(cluster, record)?;
    ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let invented: Vec<u64> = present
        .iter()
        .copied()
        .filter(|n| *n > record.sent)
        .collect();
    ensure!(invented.is_empty(), "never sent: {invented:?}");
    println!(
        "  {} acknowledged, none lost; longest gap {} ms; term {term}",
        record.acknowledged.len(),
        record.gap().as_millis()
    );
    Ok(())
}
