//! One client's connection, and the way of one request through the gateway.
//!
//! A request is read whole, given a route, and then belongs to one of two paths. A *service* request goes
//! to one of several equal instances. A *cell* request passes the gate of its cell: it may have to wait
//! there, and it comes back to it when its attempt brought nothing. Every request ends exactly once, here,
//! with an answer; what happened on the way is decided by the core.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Incoming};
use hyper_util::rt::TokioIo;
use mainstay_gateway::method::{Method, MethodSet};
use mainstay_gateway::retry::{Idempotence, KeyRule};
use mainstay_gateway::routing::{Destination, Route, RouteMiss};
use mainstay_units::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::answer::{self, Code, OutBody};
use crate::door::Door;
use crate::framed::{Connection, Framed};
use crate::listen::BACKLOG;
use crate::room::Room;
use crate::stats::RouteStats;
use crate::upstream::OutRequest;
use crate::worker::{Local, Worker};

const DEADLINE_HEADER: &str = "x-request-deadline-ms";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Header fields that hyper accepts unless told otherwise, of requests and of answers.
const LIBRARY_HEADERS_LIMIT: usize = 100;
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How long the first request of a connection may take once the gateway has told all others that it ends.
const LATE_FIRST: Duration = Duration::from_secs(5);

/// Accepts connections of one HTTP listener, until the task is aborted or told that the gateway stops. Then it still
/// takes in whoever the kernel has let in already: they would be reset with what they have sent.
pub async fn accept(
    worker: Rc<Worker>,
    listener: TcpListener,
    address: SocketAddr,
    door: Option<Arc<Door>>,
    stopping: Rc<Notify>,
) {
    let place = (address, door);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.notified() => break,
        };
        match accepted {
            Ok((stream, peer)) => take_in(&worker, stream, peer, &place),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let Ok(listener) = listener.into_std() else {
        return;
    };
    for _ in 0..BACKLOG {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            // One that ended already, or no descriptor left: the others still wait.
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            take_in(&worker, stream, peer, &place);
        }
    }
}

/// Where a connection came in, and what is shown there.
type Came = (SocketAddr, Option<Arc<Door>>);

fn take_in(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, (address, door): &Came) {
    let limit = worker.local().bounds().connections as usize;
    if worker.connections.borrow().len() >= limit {
        worker.stats.connections_refused.up();
        return;
    }
    stream.set_nodelay(true).ok();
    let connection = Rc::new(Connection::default());
    let files = door.as_ref().map(|door| door.files.clone());
    connection.listener.set((*address, files)).ok();
    connection.waiting_since.set(mainstay_rt::clock::now());
    let listed = Listed {
        id: worker.next_id(),
        worker: Rc::clone(worker),
    };
    worker
        .connections
        .borrow_mut()
        .insert(listed.id, Rc::clone(&connection));
    worker.stats.connections.up();
    worker.stats.connections_total.up();
    let place = (*address, door.clone());
    tokio::task::spawn_local(receive(listed, connection, stream, peer, place));
}

/// Takes the connection out of the worker's list however its task ends.
struct Listed {
    worker: Rc<Worker>,
    id: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(&self.id);
        self.worker.stats.connections.down();
    }
}

async fn receive(
    listed: Listed,
    connection: Rc<Connection>,
    stream: TcpStream,
    peer: SocketAddr,
    (address, door): Came,
) {
    let worker = Rc::clone(&listed.worker);
    let Some(door) = door else {
        return converse(worker, connection, (stream, |tcp| tcp), peer, address).await;
    };
    let limit = worker.local().bounds().head_read;
    let admitted = tokio::select! {
        admitted = tokio::time::timeout(limit, door.admit(stream)) => admitted,
        () = finished(&worker, &connection) => return,
        () = connection.abort.notified() => return,
    };
    match admitted {
        Ok(Ok(stream)) => {
            converse(
                worker,
                connection,
                (stream, |tls| tls.get_ref().0),
                peer,
                address,
            )
            .await;
        }
        Ok(Err(error)) => {
            // Who leaves without a word only looked whether the port is open.
            if error.kind() == std::io::ErrorKind::InvalidData {
                worker.stats.handshakes_failed.up();
            }
            tracing::debug!(%peer, %error, "a client and this door do not come together");
        }
        Err(_) => worker.stats.handshakes_failed.up(),
    }
}

/// Told to finish. While the gateway stops whoever has asked nothing yet, and may be shaking hands, has a moment more:
/// the request that follows is answered, and told that the connection ends.
async fn finished(worker: &Worker, connection: &Connection) {
    connection.finish.notified().await;
    if worker.shared.is_stopping() && connection.served.get() == 0 {
        tokio::time::sleep(LATE_FIRST).await;
    }
}

async fn converse<S>(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    (stream, socket): (S, fn(&S) -> &TcpStream),
    peer: SocketAddr,
    address: SocketAddr,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    connection.waiting_since.set(mainstay_rt::clock::now());
    let bounds = worker.local().world.config.bounds;
    let from = HeaderValue::try_from(peer.ip().to_string()).ok();
    let framed = Framed::new(stream, socket, bounds.framing, Rc::clone(&connection));
    let service = {
        let (worker, connection) = (Rc::clone(&worker), Rc::clone(&connection));
        hyper::service::service_fn(move |request| {
            serve(
                Rc::clone(&worker),
                Rc::clone(&connection),
                address,
                from.clone(),
                request,
            )
        })
    };
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_buf_size(bounds.framing.head_bytes.max(8192) * 2);
    // The strict reader has counted them already; the library's own count is dearer when it is changed.
    if bounds.framing.headers > LIBRARY_HEADERS_LIMIT {
        builder.max_headers(bounds.framing.headers);
    }
    let serving = builder.serve_connection(TokioIo::new(framed), service);
    let mut serving = std::pin::pin!(serving);
    loop {
        tokio::select! {
            biased;
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    connection.torn.set(error.is_user());
                    tracing::debug!(%peer, %error, "a client's connection broke");
                }
                return;
            }
            () = finished(&worker, &connection) => serving.as_mut().graceful_shutdown(),
            () = connection.abort.notified() => {
                connection.torn.set(true);
                return;
            }
        }
    }
}

/// A request that can be sent as often as the core allows.
#[derive(Debug)]
pub struct Prepared {
    pub method: http::Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub idempotence: Idempotence,
    pub deadline: Instant,
    _room: Room,
}

impl Prepared {
    pub fn request(&self) -> OutRequest {
        let mut request = Request::new(http_body_util::Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Requests under way, counted for as long as each lives.
struct Counted(Rc<Worker>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.stats.requests.down();
    }
}

/// What is known of a request's route besides its answer.
#[derive(Default)]
struct Found {
    stats: Cell<Option<Arc<RouteStats>>>,
    /// Where no route takes its method: the methods that are taken.
    allowed: Cell<Option<MethodSet>>,
}

async fn serve(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    address: SocketAddr,
    from: Option<HeaderValue>,
    request: Request<Incoming>,
) -> Result<Response<OutBody>, Infallible> {
    let now = mainstay_rt::clock::now();
    connection.waiting_since.set(now);
    connection.busy.set(true);
    worker.stats.requests.up();
    let counted = Counted(Rc::clone(&worker));
    let found = Found::default();
    let result = route(&worker, &connection, address, from, request, now, &found).await;
    drop(counted);
    let ended = mainstay_rt::clock::now();
    connection.busy.set(false);
    connection.waiting_since.set(ended);
    let of_route = found.stats.take();
    let counts = of_route.as_deref().unwrap_or(&worker.unrouted);
    let mut closes = worker.shared.is_stopping();
    let mut response = match result {
        Ok(response) => response,
        Err(own) => {
            counts.own[own.0 as usize].up();
            // The rest of a request that is not read: nothing can follow it.
            closes |= connection.is_in_body();
            answer::own(own.0, &own.1, found.allowed.get())
        }
    };
    if closes {
        let headers = response.headers_mut();
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    counts.classes[usize::from(response.status().as_u16() / 100).min(5)].up();
    counts.durations.record(ended.since(now));
    Ok(response)
}

/// An answer of the gateway's own: code and message.
pub type Own = (Code, String);

async fn route(
    worker: &Rc<Worker>,
    connection: &Connection,
    address: SocketAddr,
    from: Option<HeaderValue>,
    request: Request<Incoming>,
    now: Instant,
    found: &Found,
) -> Result<Response<OutBody>, Own> {
    if let Some(violation) = connection.next_is_stand_in() {
        worker.stats.framing_violations.up();
        return Err((violation.into(), format!("the request has {violation}")));
    }
    let local = worker.local();
    let bounds = local.bounds();
    if worker.stats.requests.get() > u64::from(bounds.requests) {
        return Err((
            Code::Overloaded,
            "too many requests are under way".to_owned(),
        ));
    }
    let table_index = local
        .world
        .config
        .http
        .iter()
        .position(|own| own.address == address);
    let no_listener = || (Code::NoRoute, "this listener is being closed".to_owned());
    let table_index = table_index.ok_or_else(no_listener)?;
    let table = &local.world.config.routing.tables[table_index];
    let (head, body) = request.into_parts();
    let host = head
        .headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let header = |name: &str| {
        let value = head.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let method = Method::parse(head.method.as_str());
    let (route, destination) =
        table
            .find(host, head.uri.path(), method, header)
            .map_err(|miss| {
                let told = match miss {
                    RouteMiss::MethodNotAllowed(allowed) => {
                        found.allowed.set(Some(allowed));
                        format!("this path takes {}", answer::names(allowed))
                    }
                    _ => format!("{miss:?}"),
                };
                let message = format!("{} {}: {told}", head.method, head.uri.path());
                (miss.into(), message)
            })?;
    let route_stats = &local.routes[table_index][usize::from(route.index)];
    found.stats.set(Some(Arc::clone(route_stats)));
    let own = (worker, &*local, connection);
    let prepared = prepare(own, (head, body), route, from, now).await?;
    match destination {
        Destination::Service(service) => {
            crate::forward::to_service(worker, service, &prepared, route_stats).await
        }
        Destination::Cell(cell) => {
            let patience = now + route.hold_wait;
            let gate = Rc::clone(&local.gates[usize::from(cell.0)]);
            crate::forward::to_cell(worker, gate, &prepared, patience, route_stats).await
        }
    }
}

/// Everything that can be sent on, again and again, and nothing that belongs to the client's connection.
async fn prepare(
    (worker, local, connection): (&Rc<Worker>, &Local, &Connection),
    (head, body): (http::request::Parts, Incoming),
    route: &Route,
    from: Option<HeaderValue>,
    now: Instant,
) -> Result<Prepared, Own> {
    let deadline = deadline(&head.headers, now, local.bounds().request_timeout);
    let mut room = Room::of(&worker.stats.bodies, local.bounds().bodies);
    let body = read_body(local, connection, body, deadline, &mut room).await?;
    let mut headers = head.headers;
    crate::headers::strip(&mut headers);
    // Of what the service will see: a key that `Connection` names stays here, and promises nothing there.
    let idempotence = idempotence(Method::parse(head.method.as_str()), route, &headers);
    headers.remove(http::header::EXPECT);
    if let Some(from) = from {
        headers.append(FORWARDED_FOR, from);
    }
    Ok(Prepared {
        method: head.method,
        uri: head.uri,
        headers,
        body,
        idempotence,
        deadline,
        _room: room,
    })
}

/// The client's own deadline if it names one, bounded by what this gateway waits at most.
fn deadline(headers: &HeaderMap, now: Instant, longest: Duration) -> Instant {
    let named = headers
        .get(DEADLINE_HEADER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse::<u64>().ok());
    match named {
        None => now + longest,
        Some(wall_ms) => {
            let left = wall_ms.saturating_sub(mainstay_rt::clock::wall_ms());
            now + Duration::from_millis(left).min(longest)
        }
    }
}

fn idempotence(method: Method, route: &Route, headers: &HeaderMap) -> Idempotence {
    let key = match &route.idempotency_header {
        None => KeyRule::NotHonoured,
        Some(name) => match headers.get(name.as_str()) {
            Some(key) if !key.as_bytes().trim_ascii().is_empty() => KeyRule::HonouredAndPresent,
            Some(_) | None => KeyRule::HonouredButAbsent,
        },
    };
    Idempotence::of(method, key)
}

/// Reads the body whole: what is repeated must be here, and what breaks off must not have been sent.
async fn read_body(
    local: &Local,
    connection: &Connection,
    body: Incoming,
    deadline: Instant,
    room: &mut Room,
) -> Result<Bytes, Own> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let limit = local.bounds().body_bytes;
    let too_large = || {
        (
            Code::BodyTooLarge,
            format!("the body is larger than {limit} bytes"),
        )
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let left = deadline.since(mainstay_rt::clock::now());
    let read = tokio::time::timeout(left, read_limited(body, limit, room)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Unread::TooLarge)) => Err(too_large()),
        Ok(Err(Unread::NoRoom)) => Err((
            Code::Overloaded,
            "the bodies of other requests leave no room for this one".to_owned(),
        )),
        Ok(Err(Unread::Broken(error))) => Err(match connection.body_violation() {
            Some(violation) => (violation.into(), format!("the request has {violation}")),
            None => (Code::BodyUnread, format!("the body broke off: {error}")),
        }),
        Err(_) => Err((
            Code::DeadlinePassed,
            "the body did not come in time".to_owned(),
        )),
    }
}

/// Why a body was not read to its end.
enum Unread {
    TooLarge,
    NoRoom,
    Broken(hyper::Error),
}

async fn read_limited(mut body: Incoming, limit: usize, room: &mut Room) -> Result<Bytes, Unread> {
    let mut whole = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Unread::Broken)?.into_data() else {
            continue;
        };
        if whole.len() + more.len() + data.len() > limit {
            return Err(Unread::TooLarge);
        }
        if !room.take(data.len()) {
            return Err(Unread::NoRoom);
        }
        // Most bodies come in one piece and are not copied.
        if whole.is_empty() && more.is_empty() {
            whole = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&std::mem::take(&mut whole));
            }
            more.extend_from_slice(&data);
        }
    }
    Ok(if more.is_empty() {
        whole
    } else {
        more.freeze()
    })
}
