//! Calls to etcd's gateway: one connection that is kept, deadlines, and the next member where one does not answer.
//!
//! What etcd says and what happened to a call are two things. A *refusal* is etcd's own word; of a
//! call that is *lost* (no answer in time, a connection that ended, a member without a leader) nobody knows whether it
//! was. A lost call goes to the next member: every request of ours may be sent twice, because a write names the state that
//! it expects.
//!
//! The runtime has one thread, the caller's: nothing moves between two calls, and no thread outlives the client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes as Body;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use mainstay_identity::Identity;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::wire::Refusal;

/// One attempt, from connecting to the last byte. A leader that waits longer is taken to be silent by the others, so three
/// attempts stay below that.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(800);
/// Attempts of a call while etcd answers; one that follows a call without any answer has one attempt only.
const ATTEMPTS_MAX: usize = 3;
/// etcd's gateway itself ends at 4 MiB, before base64.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// What gRPC calls states of etcd in which it is not known whether the request is done: cancelled, unknown, deadline exceeded,
/// aborted, internal, unavailable.
const CODES_LOST: [i64; 6] = [1, 2, 4, 10, 13, 14];

/// A member, as its clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    /// Speak TLS, and have it prove this name.
    pub prove: Option<String>,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[derive(Debug, Error)]
pub enum CallError {
    /// Etcd says no.
    #[error("etcd at {endpoint} refused: {why} (code {code})")]
    Refused {
        endpoint: String,
        why: String,
        code: i64,
    },
    /// Whether anything was done is not known.
    #[error("no answer from etcd: {0}")]
    Lost(String),
}

pub struct Client {
    runtime: Runtime,
    endpoints: Vec<Endpoint>,
    identity: Option<Arc<Identity>>,
    /// The member that answered last.
    current: usize,
    connection: Option<SendRequest<Full<Body>>>,
    answers: bool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// The first endpoint is asked first.
    pub fn new(endpoints: &[Endpoint], identity: Option<Arc<Identity>>) -> std::io::Result<Self> {
        if endpoints.is_empty() {
            let why = "etcd has no endpoints";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, why));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            runtime,
            endpoints: endpoints.to_vec(),
            identity,
            current: 0,
            connection: None,
            answers: true,
        })
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// One request. Where a member does not answer, the next one is asked the same.
    pub fn call<T: DeserializeOwned>(
        &mut self,
        target: &str,
        request: &impl Serialize,
    ) -> Result<T, CallError> {
        let body = serde_json::to_vec(request)
            .map_err(|error| CallError::Lost(format!("form the request: {error}")))?;
        let body = Body::from(body);
        let attempts = match self.answers {
            true => ATTEMPTS_MAX.min(self.endpoints.len().max(2)),
            false => 1,
        };
        let mut why = Vec::new();
        for _ in 0..attempts {
            match self.attempt(target, body.clone()) {
                Err(CallError::Lost(lost)) => {
                    why.push(lost);
                    self.connection = None;
                    self.current = (self.current + 1) % self.endpoints.len();
                }
                Ok(answer) => {
                    self.answers = true;
                    return serde_json::from_slice(&answer).map_err(|error| {
                        CallError::Lost(format!("understand the answer: {error}"))
                    });
                }
                Err(refused) => {
                    self.answers = true;
                    if why.is_empty() {
                        return Err(refused);
                    }
                    // What was lost before it may be done all the same.
                    why.push(refused.to_string());
                    return Err(CallError::Lost(why.join("; ")));
                }
            }
        }
        self.answers = false;
        Err(CallError::Lost(why.join("; ")))
    }

    fn attempt(&mut self, target: &str, body: Body) -> Result<Body, CallError> {
        let Some(endpoint) = self.endpoints.get(self.current).cloned() else {
            return Err(CallError::Lost("no endpoint".to_owned()));
        };
        let kept = self.connection.take().filter(|kept| !kept.is_closed());
        let identity = self.identity.clone();
        let exchange = async {
            let mut sender = match kept {
                Some(sender) => sender,
                None => connect(&endpoint, identity.as_deref()).await?,
            };
            let request = form(&endpoint, target, body)?;
            sender.ready().await.map_err(|error| error.to_string())?;
            let answer = sender.send_request(request).await;
            let answer = answer.map_err(|error| error.to_string())?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(|error| error.to_string())?;
            Ok::<_, String>((sender, status, body.to_bytes()))
        };
        let ended = self
            .runtime
            .block_on(async { tokio::time::timeout(ATTEMPT_LIMIT, exchange).await });
        let lost = |why: String| CallError::Lost(format!("{endpoint}: {why}"));
        let (sender, status, body) = match ended {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return Err(lost(why)),
            Err(_) => return Err(lost(format!("nothing within {ATTEMPT_LIMIT:?}"))),
        };
        if status == StatusCode::OK {
            self.connection = Some(sender);
            return Ok(body);
        }
        let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
        if refusal.error.is_empty() || CODES_LOST.contains(&refusal.code) {
            return Err(lost(format!("{status} {}", refusal.error)));
        }
        self.connection = Some(sender);
        Err(CallError::Refused {
            endpoint: endpoint.to_string(),
            why: refusal.error,
            code: refusal.code,
        })
    }
}

fn form(endpoint: &Endpoint, target: &str, body: Body) -> Result<Request<Full<Body>>, String> {
    Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(http::header::HOST, endpoint.to_string())
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| error.to_string())
}

async fn connect(
    endpoint: &Endpoint,
    identity: Option<&Identity>,
) -> Result<SendRequest<Full<Body>>, String> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
    let stream = stream.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).ok();
    match (&endpoint.prove, identity) {
        (None, _) => drive(stream).await,
        (Some(name), Some(identity)) => {
            let stream = identity.connect(stream, name).await;
            drive(stream.map_err(|error| error.to_string())?).await
        }
        (Some(_), None) => Err("TLS is asked for, and there is no identity to show".to_owned()),
    }
}

async fn drive<S>(stream: S) -> Result<SendRequest<Full<Body>>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        // Whoever waits for an answer hears of it.
        connection.await.ok();
    });
    Ok(sender)
}

/// Opens a stream of answers.
pub async fn stream(
    endpoint: &Endpoint,
    identity: Option<&Identity>,
    target: &str,
    body: Vec<u8>,
) -> Result<(SendRequest<Full<Body>>, Incoming), String> {
    let opened = async {
        let mut sender = connect(endpoint, identity).await?;
        let request = form(endpoint, target, Body::from(body))?;
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.status() {
            StatusCode::OK => Ok((sender, answer.into_body())),
            status => Err(status.to_string()),
        }
    };
    match tokio::time::timeout(ATTEMPT_LIMIT, opened).await {
        Ok(opened) => opened,
        Err(_) => Err("nothing in time".to_owned()),
    }
}
