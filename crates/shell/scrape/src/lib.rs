//! Asks targets for their metrics, each at its own beat, and reports what to store.
//!
//! One task a target: it waits for its beat, asks, hands what came (or that nothing came) to the target's book
//! (`mainstay_scrape::target`), and sends the account. Beats are spread over the interval by the target's
//! name, so that not all are asked at once. A slow target delays nobody, and a beat that was missed is left
//! out, not made up for. Answers are bounded in time and size; what is cut off or unreadable is no answer.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use mainstay_rt::clock;
use mainstay_scrape::exposition::{Exposition, Fault, Format, Labels, Limits, Meaning, parse};
use mainstay_scrape::target::{Attempt, Silence, Target, Write};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// What is asked for: OpenMetrics first, text otherwise.
const ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `host:port`
    pub address: String,
    pub path: String,
    /// Labels of everything that it gives: `job`, `instance` and others, sorted.
    pub labels: Labels,
    pub honor_labels: bool,
    pub interval: Duration,
    pub timeout: Duration,
    pub limits: Limits,
}

/// Why a target gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("connect")]
    Connect(#[source] std::io::Error),
    #[error("speak HTTP")]
    Http(#[source] hyper::Error),
    #[error("the target answered {0}")]
    Status(StatusCode),
    #[error("read the answer: {0}")]
    Body(String),
    #[error("the answer is not readable: {0}")]
    Unreadable(Fault),
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("the address or path cannot be asked for")]
    Address,
}

/// What followed from one attempt.
#[derive(Debug)]
pub struct Account {
    /// The endpoint's place in the list that was given.
    pub endpoint: usize,
    pub writes: Vec<Write>,
    /// What the answer said of its metrics.
    pub meanings: Vec<(String, Meaning)>,
    pub problem: Option<NoAnswer>,
    pub silence: Silence,
}

/// Asks once.
///
/// # Errors
/// Whatever kept the target from giving a whole, readable answer in time.
pub async fn ask(endpoint: &Endpoint) -> Result<Exposition, NoAnswer> {
    let limit = endpoint.timeout;
    timeout(limit, answer(endpoint))
        .await
        .unwrap_or(Err(NoAnswer::Late(limit)))
}

async fn answer(endpoint: &Endpoint) -> Result<Exposition, NoAnswer> {
    let stream = TcpStream::connect(&endpoint.address)
        .await
        .map_err(NoAnswer::Connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(NoAnswer::Http)?;
    // Dropped with this future, and with it the connection.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::get(&endpoint.path)
        .header(header::HOST, &endpoint.address)
        .header(header::ACCEPT, ACCEPT)
        .header(
            "x-prometheus-scrape-timeout-seconds",
            endpoint.timeout.as_secs_f64().to_string(),
        )
        .body(Empty::<Bytes>::new())
        .map_err(|_| NoAnswer::Address)?;
    let response = sender.send_request(request).await.map_err(NoAnswer::Http)?;
    if response.status() != StatusCode::OK {
        return Err(NoAnswer::Status(response.status()));
    }
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let format = Format::of_content_type(kind.unwrap_or(""));
    let body = Limited::new(response.into_body(), endpoint.limits.bytes)
        .collect()
        .await;
    let body = body
        .map_err(|error| NoAnswer::Body(error.to_string()))?
        .to_bytes();
    let text = std::str::from_utf8(&body).map_err(|error| NoAnswer::Body(error.to_string()))?;
    parse(format, text, &endpoint.limits).map_err(NoAnswer::Unreadable)
}

/// Asks all endpoints until the receiver of accounts is gone. Dropping the future stops it at once.
pub async fn run(endpoints: Vec<Endpoint>, accounts: mpsc::Sender<Account>) {
    let mut tasks = JoinSet::new();
    for (number, endpoint) in endpoints.into_iter().enumerate() {
        tasks.spawn(beat(number, endpoint, accounts.clone()));
    }
    drop(accounts);
    while tasks.join_next().await.is_some() {}
}

async fn beat(number: usize, mut endpoint: Endpoint, accounts: mpsc::Sender<Account>) {
    let now = || i64::try_from(clock::wall_ms()).unwrap_or(i64::MAX);
    let interval = endpoint.interval.max(Duration::from_millis(10));
    // Before the next beat it is known whether this one was answered, so that silence is seen in time.
    endpoint.timeout = endpoint.timeout.min(interval);
    let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    let mut target = Target::new(
        endpoint.labels.clone(),
        endpoint.honor_labels,
        interval_ms,
        now(),
    );
    let mut beats = interval_at(Instant::now() + offset(&endpoint, interval), interval);
    beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        beats.tick().await;
        let at = now();
        let began = Instant::now();
        let outcome = ask(&endpoint).await;
        let took_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let (found, meanings, problem) = match outcome {
            Ok(mut found) => {
                let meanings = std::mem::take(&mut found.meanings);
                (Some(found), meanings, None)
            }
            Err(problem) => (None, Vec::new(), Some(problem)),
        };
        let writes = target.settle(Attempt { at, took_ms, found });
        let silence = target.silence(now());
        if accounts
            .send(Account {
                endpoint: number,
                writes,
                meanings,
                problem,
                silence,
            })
            .await
            .is_err()
        {
            return;
        }
    }
}

/// The target's place within the interval.
fn offset(endpoint: &Endpoint, interval: Duration) -> Duration {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in endpoint.address.bytes().chain(endpoint.path.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let millis = u64::try_from(interval.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    Duration::from_millis(hash % millis)
}
