//! Asks targets for their metrics, each at its own beat, and reports what to store.
//!
//! One task a target: it waits for its beat, asks, hands what came (or that nothing came) to the target's book
//! (`mainstay_scrape::target`), and sends the account. Beats are spread over the interval by the target's
//! name, so that not all are asked at once. A slow target delays nobody, and a beat that was missed is left
//! out, not made up for. Answers are bounded in time and size; what is cut off or unreadable is no answer.
//!
//! A connection is kept from one beat to the next, since proving an identity anew each second would cost more than
//! all the rest. One that ended meanwhile is opened anew, once.
//!
//! Those of the platform prove who they are by its own authority; others by one that is named, or by those whom the system
//! trusts ([`web`]). Where somebody else scrapes, [`server`] asks them.

pub mod server;
pub mod web;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use mainstay_identity::Identity;
use mainstay_rt::clock;
use mainstay_rt::secret::{self, SecretError};
use mainstay_scrape::exposition::{Exposition, Fault, Format, Labels, Limits, Meaning, parse};
use mainstay_scrape::target::{Attempt, Found, Moment, Silence, Target, Write};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::web::Web;

/// What is asked for: OpenMetrics first, text otherwise.
const ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// How a target is reached.
#[derive(Clone, Debug)]
pub enum Reach {
    /// `HOST:PORT`, in the clear.
    Tcp(String),
    Unix(PathBuf),
    /// `HOST:PORT` over TLS, where both sides prove who they are: the target must have this name.
    Named {
        address: String,
        name: String,
        identity: Arc<Identity>,
    },
    /// `HOST:PORT` over TLS, somebody who is not of the platform.
    Web(Web),
}

impl Reach {
    /// As it is written.
    fn text(&self) -> String {
        match self {
            Self::Tcp(address) | Self::Named { address, .. } => address.clone(),
            Self::Unix(path) => path.display().to_string(),
            Self::Web(web) => web.address().to_owned(),
        }
    }

    /// What the request says of whom it is for.
    fn host(&self) -> &str {
        match self {
            Self::Tcp(address) | Self::Named { address, .. } => address,
            Self::Unix(_) => "localhost",
            Self::Web(web) => web.address(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Endpoint {
    pub reach: Reach,
    /// Of mode 0600: the token that it is shown. Read for each question, so that a changed one needs no restart.
    pub token_file: Option<PathBuf>,
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
    #[error("prove to each other who we are: it should be {0}")]
    Proof(String, #[source] std::io::Error),
    #[error("speak HTTP")]
    Http(#[source] hyper::Error),
    #[error("ask over TLS: {0}")]
    Web(String),
    #[error("show it the token")]
    Token(#[source] SecretError),
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

/// A connection that is kept, and the task that drives it, which ends with it.
struct Line {
    sender: SendRequest<Empty<Bytes>>,
    _driver: JoinSet<()>,
}

/// Asks once, over a connection of its own.
///
/// # Errors
/// Whatever kept the target from giving a whole, readable answer in time.
pub async fn ask(endpoint: &Endpoint) -> Result<Exposition, NoAnswer> {
    let answer = ask_over(endpoint, &mut None).await?;
    let text = answer.text()?;
    parse(answer.format, text, &endpoint.limits).map_err(NoAnswer::Unreadable)
}

/// A whole answer, not read yet.
struct Answer {
    format: Format,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> Result<&str, NoAnswer> {
        std::str::from_utf8(&self.body).map_err(|error| NoAnswer::Body(error.to_string()))
    }

    /// What it gives of a target that is known.
    fn of(&self, target: &mut Target, limits: &Limits) -> Result<Found, NoAnswer> {
        let found = target.read(self.format, self.text()?, limits);
        found.map_err(NoAnswer::Unreadable)
    }
}

/// Asks over the connection that is there, if it still is, or over a new one. It is left for the next question if
/// this one was answered whole.
async fn ask_over(endpoint: &Endpoint, line: &mut Option<Line>) -> Result<Answer, NoAnswer> {
    let limit = endpoint.timeout;
    let asked = timeout(limit, async {
        if let Reach::Web(web) = &endpoint.reach {
            return web.ask(endpoint).await;
        }
        let kept = line.take().filter(|line| !line.sender.is_closed());
        let (mut used, response) = send(endpoint, kept).await?;
        let found = read(endpoint, response).await?;
        // A target that closes after its answer says so at once, or at the next question.
        if used.sender.ready().await.is_ok() {
            *line = Some(used);
        }
        Ok(found)
    });
    asked.await.unwrap_or(Err(NoAnswer::Late(limit)))
}

async fn send(
    endpoint: &Endpoint,
    kept: Option<Line>,
) -> Result<(Line, Response<Incoming>), NoAnswer> {
    if let Some(mut line) = kept {
        // Asking twice does no harm, and an old connection may have ended without our knowing.
        if let Ok(response) = line.sender.send_request(request(endpoint)?).await {
            return Ok((line, response));
        }
    }
    let mut line = open(&endpoint.reach).await?;
    let response = line.sender.send_request(request(endpoint)?).await;
    Ok((line, response.map_err(NoAnswer::Http)?))
}

fn request(endpoint: &Endpoint) -> Result<Request<Empty<Bytes>>, NoAnswer> {
    let mut request = Request::get(&endpoint.path)
        .header(header::HOST, endpoint.reach.host())
        .body(Empty::<Bytes>::new())
        .map_err(|_| NoAnswer::Address)?;
    request.headers_mut().extend(headers(endpoint)?);
    Ok(request)
}

/// What is said of the question, and who asks.
fn headers(endpoint: &Endpoint) -> Result<HeaderMap, NoAnswer> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
    let patience = endpoint.timeout.as_secs_f64().to_string();
    if let Ok(patience) = HeaderValue::from_str(&patience) {
        headers.insert("x-prometheus-scrape-timeout-seconds", patience);
    }
    if let Some(file) = &endpoint.token_file {
        let token = secret::read(&file.to_string_lossy()).map_err(NoAnswer::Token)?;
        let form = |_| NoAnswer::Token(SecretError::Form(file.clone()));
        let mut shown = HeaderValue::from_str(&format!("Bearer {token}")).map_err(form)?;
        shown.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, shown);
    }
    Ok(headers)
}

async fn open(reach: &Reach) -> Result<Line, NoAnswer> {
    match reach {
        Reach::Tcp(address) => speak(connect(address).await?).await,
        Reach::Unix(path) => {
            speak(UnixStream::connect(path).await.map_err(NoAnswer::Connect)?).await
        }
        // Keeps its connections itself.
        Reach::Web(_) => Err(NoAnswer::Address),
        Reach::Named {
            address,
            name,
            identity,
        } => {
            let proven = identity.reconnect(connect(address).await?, name).await;
            speak(proven.map_err(|error| NoAnswer::Proof(name.clone(), error))?).await
        }
    }
}

async fn connect(address: &str) -> Result<TcpStream, NoAnswer> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(NoAnswer::Connect)?;
    stream.set_nodelay(true).map_err(NoAnswer::Connect)?;
    Ok(stream)
}

async fn speak<S>(stream: S) -> Result<Line, NoAnswer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(NoAnswer::Http)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Whoever asks learns how it ended.
        connection.await.ok();
    });
    Ok(Line {
        sender,
        _driver: driver,
    })
}

async fn read(endpoint: &Endpoint, response: Response<Incoming>) -> Result<Answer, NoAnswer> {
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
    Ok(Answer { format, body })
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
    let millis = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let now = || Moment {
        wall: millis(clock::wall_ms()),
        steady: millis(clock::now().as_millis()),
    };
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
    let mut line = None;
    let mut beats = interval_at(Instant::now() + offset(&endpoint, interval), interval);
    beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        beats.tick().await;
        let at = now();
        let began = Instant::now();
        let outcome = ask_over(&endpoint, &mut line).await;
        let took_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let outcome = outcome.and_then(|answer| answer.of(&mut target, &endpoint.limits));
        let (found, meanings, problem) = match outcome {
            Ok(mut found) => {
                let meanings = std::mem::take(&mut found.meanings);
                (Some(found), meanings, None)
            }
            Err(problem) => (None, Vec::new(), Some(problem)),
        };
        let writes = target.settle(Attempt { at, took_ms, found });
        let silence = target.silence(now().steady);
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
    for byte in endpoint.reach.text().bytes().chain(endpoint.path.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let millis = u64::try_from(interval.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    Duration::from_millis(hash % millis)
}
