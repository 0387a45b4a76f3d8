//! The small HTTP that processes of one platform speak to each other: one JSON document there, one back.
//!
//! It serves control sockets (a Unix socket, whose peer the kernel names) and status pages (TCP). It is
//! not the gateway: no pooling, no streaming of large bodies, a connection per request on the client
//! side, but for whoever asks the same again and again ([`Line`]). Every body and every wait has a limit.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use mainstay_units::Instant;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::clock;

/// Largest body accepted, in either direction.
pub const BODY_LIMIT: usize = 8 * 1024 * 1024;
/// Most connections that one server serves at a time; further ones wait in the kernel's queue.
pub const CONNECTION_LIMIT: usize = 256;
/// Between two looks whether a socket's file is still there, and between two attempts to bind it.
const SOCKET_LOOK: Duration = Duration::from_secs(1);
/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Who is on the other end of a connection, as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process on this host, over a Unix socket.
    Local {
        uid: u32,
        pid: i32,
    },
    Remote(SocketAddr),
}

/// Whether a caller has proved to be of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Unproven,
    Proven,
}

/// A token that a caller shows. No log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(String);

impl Bearer {
    /// Compares to the end, wherever they differ.
    pub fn is(&self, token: &str) -> bool {
        let (shown, token) = (self.0.as_bytes(), token.as_bytes());
        let differ = shown.iter().zip(token).fold(0, |all, (a, b)| all | (a ^ b));
        shown.len() == token.len() && differ == 0
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(..)")
    }
}

/// A request whose body has been read.
#[derive(Debug)]
pub struct Call {
    pub peer: Peer,
    pub standing: Standing,
    pub bearer: Option<Bearer>,
    pub method: Method,
    pub path: String,
    pub query: String,
    pub body: Bytes,
}

pub type Body = UnsyncBoxBody<Bytes, Infallible>;
pub type Answer = Response<Body>;

/// An answer of one JSON document.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(status, "application/json", bytes),
        Err(error) => with_type(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain",
            format!("answer cannot be written as JSON: {error}").into_bytes(),
        ),
    }
}

/// An error as every control socket reports it: a code for programs, a message and a next step for people.
pub fn error(status: StatusCode, code: &str, message: &str, next: &str) -> Answer {
    json(
        status,
        &serde_json::json!({ "error": { "code": code, "message": message, "next": next } }),
    )
}

pub fn text(status: StatusCode, body: impl Into<Vec<u8>>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body.into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    answer
}

/// Serves a Unix socket until the future is dropped. Must run inside a [`tokio::task::LocalSet`].
///
/// A socket file left by a process that died is replaced; the new one has mode 0700. Where it cannot be bound, the log says so and it is
/// tried again; one whose file is deleted under it, as cleaners of temporary folders do, is bound anew.
pub async fn serve_unix<F, R>(path: PathBuf, handler: F)
where
    F: Fn(Call) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    let handler = Rc::new(handler);
    let permits = Rc::new(tokio::sync::Semaphore::new(CONNECTION_LIMIT));
    let mut said = None;
    loop {
        match bind_unix(&path) {
            Ok(listener) => {
                said = None;
                let accepts = accept_local(&listener, &permits, &handler);
                tokio::select! {
                    () = accepts => return,
                    () = gone(&path) => {
                        tracing::warn!(path = %path.display(), "the socket's file is gone; it is bound anew");
                    }
                }
            }
            Err(error) => {
                let text = error.to_string();
                if said.as_ref() != Some(&text) {
                    tracing::error!(path = %path.display(), error = text, "the socket cannot be bound; it is tried again");
                }
                said = Some(text);
                tokio::time::sleep(SOCKET_LOOK).await;
            }
        }
    }
}

async fn accept_local<F, R>(
    listener: &UnixListener,
    permits: &Rc<tokio::sync::Semaphore>,
    handler: &Rc<F>,
) where
    F: Fn(Call) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    while let Ok(permit) = Rc::clone(permits).acquire_owned_local().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(credential) = stream.peer_cred() else {
                    continue;
                };
                let peer = Peer::Local {
                    uid: credential.uid(),
                    pid: credential.pid().unwrap_or(0),
                };
                let caller = (peer, Standing::Unproven);
                spawn_connection(stream, caller, Rc::clone(handler), permit);
            }
            Err(error) => back_off(&error).await,
        }
    }
}

/// Waits until there is nothing in this place. Somebody else's file is no reason: a process that follows this one has bound it.
async fn gone(path: &Path) {
    loop {
        tokio::time::sleep(SOCKET_LOOK).await;
        let found = std::fs::symlink_metadata(path);
        if found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return;
        }
    }
}

/// Serves a bound TCP listener until the future is dropped. Must run inside a [`tokio::task::LocalSet`].
pub async fn serve_tcp<F, R>(listener: TcpListener, handler: F)
where
    F: Fn(Call) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    let admit = async |stream| Some((stream, Standing::Unproven));
    serve_through(listener, admit, handler).await;
}

/// As [`serve_tcp`], where `admit` makes of a connection the stream that is spoken on, with what its caller has proved, or
/// refuses it. It must come to an end by itself.
pub async fn serve_through<A, P, S, F, R>(listener: TcpListener, admit: A, handler: F)
where
    A: Fn(TcpStream) -> P,
    P: Future<Output = Option<(S, Standing)>> + 'static,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Fn(Call) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    let handler = Rc::new(handler);
    let permits = Rc::new(tokio::sync::Semaphore::new(CONNECTION_LIMIT));
    loop {
        let Ok(permit) = Rc::clone(&permits).acquire_owned_local().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, address)) => {
                stream.set_nodelay(true).ok();
                let (admitted, handler) = (admit(stream), Rc::clone(&handler));
                tokio::task::spawn_local(async move {
                    if let Some((stream, standing)) = admitted.await {
                        converse(stream, (Peer::Remote(address), standing), handler).await;
                    }
                    drop(permit);
                });
            }
            Err(error) => back_off(&error).await,
        }
    }
}

/// A permit that goes back when its connection ends.
struct Permit(Rc<tokio::sync::Semaphore>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// Acquires from a semaphore that lives on one thread.
trait AcquireLocal {
    async fn acquire_owned_local(self) -> Result<Permit, tokio::sync::AcquireError>;
}

impl AcquireLocal for Rc<tokio::sync::Semaphore> {
    async fn acquire_owned_local(self) -> Result<Permit, tokio::sync::AcquireError> {
        self.acquire().await?.forget();
        Ok(Permit(self))
    }
}

async fn back_off(error: &std::io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn bind_unix(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    Ok(listener)
}

fn spawn_connection<S, F, R>(stream: S, caller: (Peer, Standing), handler: Rc<F>, permit: Permit)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Fn(Call) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    tokio::task::spawn_local(async move {
        converse(stream, caller, handler).await;
        drop(permit);
    });
}

async fn converse<S, F, R>(stream: S, caller: (Peer, Standing), handler: Rc<F>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Fn(Call) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let handler = Rc::clone(&handler);
        async move { Ok::<_, Infallible>(call(&*handler, caller, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, peer = ?caller.0, "connection ended");
    }
}

async fn call<F, R>(
    handler: &F,
    (peer, standing): (Peer, Standing),
    request: Request<Incoming>,
) -> Answer
where
    F: Fn(Call) -> R,
    R: Future<Output = Answer>,
{
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => {
            let message =
                format!("the body could not be read, or is larger than {BODY_LIMIT} bytes");
            return error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body",
                &message,
                "send a smaller document",
            );
        }
    };
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let shown = head.headers.get(http::header::AUTHORIZATION);
    let shown = shown.and_then(|shown| shown.to_str().ok()?.strip_prefix("Bearer "));
    handler(Call {
        peer,
        standing,
        bearer: shown.map(|token| Bearer(token.trim().to_owned())),
        method: head.method,
        path,
        query,
        body,
    })
    .await
}

/// Why a request to another process brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("connect to {0}")]
    Connect(String, #[source] std::io::Error),
    #[error("no answer from {0} within {1:?}")]
    Timeout(String, Duration),
    #[error("speak HTTP with {0}")]
    Http(String, #[source] hyper::Error),
    #[error("read the answer of {0}: {1}")]
    Body(String, String),
    #[error("form the request to {0}")]
    Form(String, #[source] http::Error),
}

/// Sends one request over a Unix socket; `timeout` bounds everything from connecting to the last byte.
///
/// # Errors
/// [`RequestError`] names the peer and the step that failed; the outcome of the request is then unknown.
pub async fn request_unix(
    path: &Path,
    method: Method,
    target: &str,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), RequestError> {
    let name = path.display().to_string();
    let exchange = async {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|error| RequestError::Connect(name.clone(), error))?;
        exchange(stream, &name, "localhost", method, target, body).await
    };
    within(timeout, &name, exchange).await
}

/// Sends one request over TCP; `timeout` bounds everything from connecting to the last byte.
///
/// # Errors
/// [`RequestError`] names the peer and the step that failed; the outcome of the request is then unknown.
pub async fn request_tcp(
    address: SocketAddr,
    method: Method,
    target: &str,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), RequestError> {
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true).ok();
        Ok(stream)
    };
    let name = address.to_string();
    request_through(connect, &name, method, target, body, timeout).await
}

/// As [`request_tcp`], over the stream that `connect` opens to the peer of this name.
///
/// # Errors
/// As [`request_tcp`].
pub async fn request_through<S>(
    connect: impl Future<Output = std::io::Result<S>>,
    name: &str,
    method: Method,
    target: &str,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), RequestError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let exchange = async {
        let stream = connect
            .await
            .map_err(|error| RequestError::Connect(name.to_owned(), error))?;
        exchange(stream, name, name, method, target, body).await
    };
    within(timeout, name, exchange).await
}

/// A connection of somebody who asks the same process again and again: it is kept from one question to the next, and
/// made anew when it ends, when it is old, and after every answer that did not come. For questions that may be asked twice.
/// Must be used inside a [`tokio::task::LocalSet`].
pub struct Line {
    life: Duration,
    kept: Option<Kept>,
}

struct Kept {
    since: Instant,
    sender: http1::SendRequest<Full<Bytes>>,
    /// Carries the bytes; ends with the line.
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Line {
    /// One connection is used for `life` at most: who the other side is was proved when it began.
    pub const fn new(life: Duration) -> Self {
        Self { life, kept: None }
    }

    /// Asks for `target`, over the stream that `connect` opens where none is kept.
    ///
    /// # Errors
    /// As [`request_tcp`].
    pub async fn get<S, C>(
        &mut self,
        connect: impl Fn() -> C,
        name: &str,
        target: &str,
        timeout: Duration,
    ) -> Result<(StatusCode, Bytes), RequestError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
        C: Future<Output = std::io::Result<S>>,
    {
        let asked = async {
            // Out of its place while it is asked: an answer that was not waited for must not be taken for the next one.
            let young = |kept: &Kept| clock::now().since(kept.since) < self.life;
            if let Some(mut kept) = self.kept.take().filter(young)
                && !kept.sender.is_closed()
                && let Ok(answer) = kept.ask(name, target).await
            {
                self.kept = Some(kept);
                return Ok(answer);
            }
            let stream = connect()
                .await
                .map_err(|error| RequestError::Connect(name.to_owned(), error))?;
            let mut kept = Kept::new(stream, name).await?;
            let answer = kept.ask(name, target).await?;
            self.kept = Some(kept);
            Ok(answer)
        };
        within(timeout, name, asked).await
    }
}

impl Kept {
    async fn new<S>(stream: S, name: &str) -> Result<Self, RequestError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| RequestError::Http(name.to_owned(), error))?;
        let driver = tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                // Whoever asks next finds it closed.
                tracing::debug!(%error, "a kept connection ended");
            }
        });
        Ok(Self {
            since: clock::now(),
            sender,
            driver,
        })
    }

    async fn ask(&mut self, name: &str, target: &str) -> Result<(StatusCode, Bytes), RequestError> {
        let http_error = |error| RequestError::Http(name.to_owned(), error);
        let request = Request::builder()
            .method(Method::GET)
            .uri(target)
            .header(http::header::HOST, "localhost")
            .body(Full::default())
            .map_err(|error| RequestError::Form(name.to_owned(), error))?;
        self.sender.ready().await.map_err(http_error)?;
        let answer = self
            .sender
            .send_request(request)
            .await
            .map_err(http_error)?;
        whole(answer, name).await
    }
}

/// The answer with all of its body.
async fn whole(
    answer: Response<Incoming>,
    name: &str,
) -> Result<(StatusCode, Bytes), RequestError> {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), BODY_LIMIT).collect().await;
    let body = body.map_err(|error| RequestError::Body(name.to_owned(), error.to_string()))?;
    Ok((status, body.to_bytes()))
}

async fn within<T>(
    timeout: Duration,
    name: &str,
    work: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(RequestError::Timeout(name.to_owned(), timeout)),
    }
}

async fn exchange<S>(
    stream: S,
    name: &str,
    host: &str,
    method: Method,
    target: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), RequestError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let http_error = |error| RequestError::Http(name.to_owned(), error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(http_error)?;
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(http::header::HOST, host)
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| RequestError::Form(name.to_owned(), error))?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(http_error)?;
        whole(answer, name).await
    };
    // The connection is driven beside the request, on the caller's own task: nothing is left behind.
    tokio::pin!(answer);
    tokio::pin!(connection);
    tokio::select! {
        result = &mut answer => result,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(http_error(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_over_a_unix_socket_names_its_peer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            tokio::task::spawn_local(serve_unix(path.clone(), |call: Call| async move {
                let Peer::Local { uid, .. } = call.peer else {
                    return text(StatusCode::BAD_REQUEST, "");
                };
                json(
                    StatusCode::OK,
                    &serde_json::json!({ "uid": uid, "path": call.path, "query": call.query }),
                )
            }));
            tokio::task::yield_now().await;
            let (status, body) = request_unix(
                &path,
                Method::POST,
                "/v1/x?y=1",
                b"{}".to_vec(),
                Duration::from_secs(5),
            )
            .await
            .unwrap();
            assert_eq!(status, StatusCode::OK);
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(value["uid"], rustix::process::getuid().as_raw());
            assert_eq!(
                (&value["path"], &value["query"]),
                (&"/v1/x".into(), &"y=1".into())
            );
        });
    }

    /// In a place where it cannot be at first, and whose file is deleted later, as cleaners of temporary folders do.
    #[test]
    fn a_socket_is_bound_as_soon_as_it_can_be_and_again_when_its_file_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("not there yet");
        let path = place.join("control.sock");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let answer = |_: Call| async { text(StatusCode::OK, "here") };
            tokio::task::spawn_local(serve_unix(path.clone(), answer));
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(!path.exists());
            std::fs::create_dir(&place).unwrap();
            await_answer(&path).await;
            std::fs::remove_file(&path).unwrap();
            await_answer(&path).await;
            // Another process has taken the place: it is left alone.
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "another's").unwrap();
            tokio::time::sleep(SOCKET_LOOK * 3).await;
            assert_eq!(std::fs::read(&path).unwrap(), b"another's");
        });
    }

    async fn await_answer(path: &Path) {
        for _ in 0..1_000 {
            let limit = Duration::from_secs(5);
            let asked = request_unix(path, Method::GET, "/", Vec::new(), limit).await;
            if asked.is_ok_and(|(status, body)| status == StatusCode::OK && body[..] == *b"here") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody answers at {}", path.display());
    }

    /// Connections that a server has seen, and the number of the one that asks.
    async fn serve_numbered(listener: TcpListener, seen: Rc<std::cell::Cell<usize>>) {
        let admit = move |stream| {
            seen.set(seen.get() + 1);
            async { Some((stream, Standing::Unproven)) }
        };
        serve_through(listener, admit, |call: Call| async move {
            if call.path == "/late" {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            text(StatusCode::OK, call.path)
        })
        .await;
    }

    #[test]
    fn a_line_is_kept_until_it_ends_is_old_or_owes_an_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let seen = Rc::new(std::cell::Cell::new(0));
            let connect = || TcpStream::connect(address);
            let limit = Duration::from_secs(5);
            let mut line = Line::new(Duration::from_secs(60));
            // The server with all of its connections: it ends where this is dropped.
            let server = tokio::task::LocalSet::new();
            server.spawn_local(serve_numbered(listener, Rc::clone(&seen)));
            let asked = async {
                for _ in 0..3 {
                    let (status, body) = line.get(connect, "it", "/a", limit).await.unwrap();
                    assert_eq!((status, &body[..]), (StatusCode::OK, &b"/a"[..]));
                }
                assert_eq!(seen.get(), 1);
                // What comes late is nobody's: the next question gets its own answer.
                let late = line.get(connect, "it", "/late", Duration::from_millis(50));
                let late = late.await;
                assert!(matches!(late, Err(RequestError::Timeout(..))), "{late:?}");
                let (_, body) = line.get(connect, "it", "/b", limit).await.unwrap();
                assert_eq!((&body[..], seen.get()), (&b"/b"[..], 2));
                let mut short = Line::new(Duration::ZERO);
                for _ in 0..2 {
                    short.get(connect, "it", "/c", limit).await.unwrap();
                }
                assert_eq!(seen.get(), 4);
            };
            tokio::select! {
                () = server => panic!("the server ended"),
                () = asked => {}
            }
            let gone = line.get(connect, "it", "/d", Duration::from_secs(1)).await;
            assert!(gone.is_err(), "{gone:?}");
            // Another one comes in its place.
            let listener = TcpListener::bind(address).await.unwrap();
            tokio::task::spawn_local(serve_numbered(listener, Rc::clone(&seen)));
            for _ in 0..2 {
                let (_, body) = line.get(connect, "it", "/e", limit).await.unwrap();
                assert_eq!((&body[..], seen.get()), (&b"/e"[..], 5));
            }
        });
    }

    #[test]
    fn a_dead_peer_is_an_error_that_names_it() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let path = Path::new("/nonexistent/control.sock");
        let error = runtime
            .block_on(request_unix(
                path,
                Method::GET,
                "/",
                Vec::new(),
                Duration::from_secs(1),
            ))
            .unwrap_err();
        assert_eq!(error.to_string(), "connect to /nonexistent/control.sock");
    }
}
