//! One keeper's stream, and one instance's readiness: connecting, asking, and giving up early.
//!
//! Nothing here decides. Silence is not reported: what was said last grows old by itself. A broken or
//! refused connection is news and is reported at once.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use mainstay_record::gateway::ReadinessAnswer;
use mainstay_record::keeper::Sight as SightLine;
use mainstay_units::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, spawn_local};

use crate::caller::{self, Caller};
use crate::config::Bounds;
use crate::eyes::{ProbeAnswer, Urgency};

/// After a stream broke; doubles while nothing can be heard.
const RECONNECT_FIRST: Duration = Duration::from_millis(20);
const RECONNECT_LAST: Duration = Duration::from_millis(200);
/// A sight line or a readiness answer is a few hundred bytes.
const LINE_LIMIT: usize = 64 * 1024;

/// News of a keeper.
#[derive(Debug)]
pub enum Line {
    Said(Instant, Box<SightLine>),
    Lost,
}

/// A keeper of a database: where its sight is, and the name that it must prove.
#[derive(Debug)]
pub struct KeeperPlace {
    pub address: SocketAddr,
    pub database: String,
    pub name: String,
}

type Sender = SendRequest<Empty<Bytes>>;

/// A connection that ends with its owner.
#[derive(Debug)]
struct Conversation {
    sender: Sender,
    task: AbortHandle,
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// The other side refused or broke off: it is not there.
    Gone,
    /// Nothing came back in time: it may be there.
    Silent,
    /// It said something that cannot be read.
    Garbled,
}

async fn within<T>(limit: Duration, work: impl Future<Output = Option<T>>) -> Result<T, Trouble> {
    match tokio::time::timeout(limit, work).await {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Trouble::Gone),
        Err(_) => Err(Trouble::Silent),
    }
}

async fn connect(address: SocketAddr, limit: Duration) -> Result<Conversation, Trouble> {
    within(limit, async {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok();
        converse(stream).await
    })
    .await
}

/// An instance of a service: where it is, what it must prove if anything, and where it says whether it is ready.
#[derive(Debug)]
pub struct InstancePlace {
    pub address: SocketAddr,
    pub name: Option<String>,
    pub path: String,
}

async fn connect_to_instance(
    place: &InstancePlace,
    caller: &Caller,
    limit: Duration,
) -> Result<Conversation, Trouble> {
    within(limit, async {
        let stream = TcpStream::connect(place.address).await.ok()?;
        match caller.greet(stream, place.name.as_deref()).await {
            Ok(caller::Line::Clear(stream)) => converse(stream).await,
            Ok(caller::Line::Proven(stream)) => converse(stream).await,
            Err(_) => None,
        }
    })
    .await
}

async fn connect_to_keeper(
    place: &KeeperPlace,
    caller: &Caller,
    limit: Duration,
) -> Result<Conversation, Trouble> {
    let identity = caller.identity().map_err(|error| {
        tracing::warn!(%error, "keepers cannot be asked without an identity");
        Trouble::Gone
    })?;
    let Some(identity) = identity else {
        return connect(place.address, limit).await;
    };
    within(limit, async {
        let stream = TcpStream::connect(place.address).await.ok()?;
        stream.set_nodelay(true).ok();
        let proven = identity.connect(stream, &place.name).await;
        let refused = |error: &std::io::Error| {
            tracing::debug!(keeper = place.name, %error, "no proof of a keeper");
        };
        converse(proven.inspect_err(refused).ok()?).await
    })
    .await
}

async fn converse<S>(stream: S) -> Option<Conversation>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    let task = spawn_local(async move {
        connection.await.ok();
    });
    Some(Conversation {
        sender,
        task: task.abort_handle(),
    })
}

fn get(address: SocketAddr, path: &str) -> Option<Request<Empty<Bytes>>> {
    Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Empty::new())
        .ok()
}

/// Follows a keeper's `/v1/sight` for ever. `report` says whether anybody still listens.
pub async fn keeper(
    place: KeeperPlace,
    caller: Arc<Caller>,
    bounds: Bounds,
    report: impl Fn(Line) -> bool,
) {
    let mut pause = RECONNECT_FIRST;
    loop {
        let heard = follow(&place, &caller, &bounds, &report).await;
        if heard {
            pause = RECONNECT_FIRST;
        }
        if !report(Line::Lost) {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RECONNECT_LAST);
    }
}

/// One stream until it breaks or falls silent. True if anything was heard.
async fn follow(
    place: &KeeperPlace,
    caller: &Caller,
    bounds: &Bounds,
    report: &impl Fn(Line) -> bool,
) -> bool {
    let (address, database) = (place.address, place.database.as_str());
    let opened = connect_to_keeper(place, caller, bounds.connect_timeout).await;
    let Ok(mut conversation) = opened else {
        return false;
    };
    let Some(request) = get(address, "/v1/sight") else {
        return false;
    };
    let answer = within(bounds.evidence_age, async {
        conversation.sender.send_request(request).await.ok()
    });
    let Ok(answer) = answer.await else {
        return false;
    };
    if answer.status() != StatusCode::OK {
        return false;
    }
    let mut body = answer.into_body();
    let mut kept = BytesMut::new();
    let mut heard = false;
    loop {
        let frame = within(bounds.evidence_age, async { body.frame().await?.ok() }).await;
        let Ok(frame) = frame else { return heard };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let at = mainstay_rt::clock::now();
        kept.extend_from_slice(&data);
        while let Some(end) = kept.iter().position(|byte| *byte == b'\n') {
            let line = kept.split_to(end + 1);
            match serde_json::from_slice::<SightLine>(&line) {
                Ok(line) if line.database == database => {
                    heard = true;
                    if !report(Line::Said(at, Box::new(line))) {
                        return heard;
                    }
                }
                Ok(line) => {
                    tracing::error!(%address, told = line.database, database, "a keeper of another database answers");
                    return heard;
                }
                Err(error) => {
                    tracing::warn!(%address, %error, "a keeper says something unreadable");
                    return heard;
                }
            }
        }
        if kept.len() > LINE_LIMIT {
            return heard;
        }
    }
}

/// Asks an instance whether it is ready, for ever.
pub async fn instance(
    place: InstancePlace,
    caller: Arc<Caller>,
    bounds: Bounds,
    urgency: Rc<Urgency>,
    report: impl Fn(Instant, ProbeAnswer) -> bool,
) {
    let mut conversation: Option<Conversation> = None;
    loop {
        let asked = mainstay_rt::clock::now();
        let answer = ask(&mut conversation, &place, &caller, &bounds).await;
        if answer.is_err() {
            conversation = None;
        }
        let told = match answer {
            Ok(answer) => report(asked, answer),
            Err(Trouble::Gone) => report(asked, ProbeAnswer::Unreachable),
            Err(Trouble::Garbled) => report(asked, ProbeAnswer::NotReady),
            Err(Trouble::Silent) => true,
        };
        if !told {
            return;
        }
        let interval = match urgency.urgent.get() {
            true => bounds.probe_interval_urgent,
            false => bounds.probe_interval,
        };
        tokio::time::timeout(interval, urgency.ask_now.notified())
            .await
            .ok();
    }
}

async fn ask(
    conversation: &mut Option<Conversation>,
    place: &InstancePlace,
    caller: &Caller,
    bounds: &Bounds,
) -> Result<ProbeAnswer, Trouble> {
    if let Some(open) = conversation {
        // A kept connection that breaks says little: the instance may have closed it for being idle.
        match ask_over(open, place, bounds).await {
            Err(Trouble::Gone) => *conversation = None,
            other => return other,
        }
    }
    let connected = connect_to_instance(place, caller, bounds.connect_timeout).await?;
    ask_over(conversation.insert(connected), place, bounds).await
}

async fn ask_over(
    open: &mut Conversation,
    place: &InstancePlace,
    bounds: &Bounds,
) -> Result<ProbeAnswer, Trouble> {
    let request = get(place.address, &place.path).ok_or(Trouble::Garbled)?;
    let (status, body) = within(bounds.probe_timeout, async {
        open.sender.ready().await.ok()?;
        let answer = open.sender.send_request(request).await.ok()?;
        let status = answer.status();
        let body = http_body_util::Limited::new(answer.into_body(), LINE_LIMIT);
        Some((status, body.collect().await.ok()?.to_bytes()))
    })
    .await?;
    // As supervision reads it.
    if !(status.is_success() || status.is_redirection()) {
        return Ok(ProbeAnswer::NotReady);
    }
    // A service without cells may answer anything; a cell's instance says which it is.
    Ok(ProbeAnswer::Ready(
        serde_json::from_slice::<ReadinessAnswer>(&body).unwrap_or_default(),
    ))
}
