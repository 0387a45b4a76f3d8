//! Keep-alive connections to one gateway, and one request over one of them.
//!
//! A connection carries one request at a time and returns to the pool after a whole answer. A request that is given up
//! drops its connection with it, so the gateway sees the customer leave and a late answer can reach nobody else.
//! Connections are bounded by the accounts of a pass, since an account has one request under way.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Idle connections kept per gateway; more are closed after use.
const IDLE_LIMIT: usize = 512;
/// A larger answer than this is no answer of the venue.
const BODY_LIMIT_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub struct Gateway {
    pub region: String,
    pub address: SocketAddr,
    /// The address as it stands in witness lines.
    pub shown: String,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub body: Bytes,
}

/// A request that ended without a whole answer.
#[derive(Debug)]
pub struct Broken {
    pub reused_connection: bool,
    pub reason: String,
}

impl Gateway {
    #[must_use]
    pub fn new(region: String, address: SocketAddr) -> Self {
        Self {
            region,
            address,
            shown: address.to_string(),
            idle: RefCell::new(Vec::new()),
        }
    }

    /// Sends over an idle connection, or a fresh one if there is none or `fresh` asks for it.
    pub async fn send(&self, request: Request<Full<Bytes>>, fresh: bool) -> Result<Reply, Broken> {
        let idle = if fresh { None } else { self.take_idle().await };
        let reused_connection = idle.is_some();
        let broken = |reason: String| Broken {
            reused_connection,
            reason,
        };
        let mut connection = match idle {
            Some(connection) => connection,
            None => connect(self.address).await.map_err(broken)?,
        };
        let answer = connection
            .send_request(request)
            .await
            .map_err(|error| broken(error.to_string()))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, BODY_LIMIT_BYTES)
            .collect()
            .await
            .map_err(|error| broken(error.to_string()))?
            .to_bytes();
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_LIMIT && !connection.is_closed() {
            idle.push(connection);
        }
        let retry_after = head
            .headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        Ok(Reply {
            status: head.status.as_u16(),
            retry_after,
            body,
        })
    }

    async fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            // Ready means that the answer before is done with and the other side has not closed.
            if connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("connect: {error}"))?;
    stream
        .set_nodelay(true)
        .map_err(|error| format!("set no-delay: {error}"))?;
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // The task ends when the sender is dropped or the other side closes; its error also reaches whoever waits there.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(sender)
}
