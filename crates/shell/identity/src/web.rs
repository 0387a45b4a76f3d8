//! The platform's small HTTP between processes that know each other.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use mainstay_rt::http::{Answer, Call, RequestError, Standing, request_through, serve_through};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::identity::Identity;

/// How long a caller may take to prove itself.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// Serves a bound listener to whoever the platform's authority named, until the future is dropped. Must run inside a
/// [`tokio::task::LocalSet`].
pub async fn serve<F, R>(listener: TcpListener, identity: Arc<Identity>, handler: F)
where
    F: Fn(Call) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    let admit = move |stream: TcpStream| {
        let identity = Arc::clone(&identity);
        async move {
            let handshake = tokio::time::timeout(HANDSHAKE_LIMIT, identity.accept(stream));
            match handshake.await {
                Ok(Ok((stream, _))) => Some((stream, Standing::Proven)),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a caller without identity is refused");
                    None
                }
                Err(_) => None,
            }
        }
    };
    serve_through(listener, admit, handler).await;
}

/// As [`serve`], to whoever comes: a caller that the platform's authority named is told apart from others, who must prove
/// themselves in another way.
pub async fn serve_any<F, R>(listener: TcpListener, identity: Arc<Identity>, handler: F)
where
    F: Fn(Call) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    let admit = move |stream: TcpStream| {
        let identity = Arc::clone(&identity);
        async move {
            let handshake = tokio::time::timeout(HANDSHAKE_LIMIT, identity.accept_any(stream));
            let (stream, named) = handshake.await.ok()?.ok()?;
            let standing = match named {
                Some(_) => Standing::Proven,
                None => Standing::Unproven,
            };
            Some((stream, standing))
        }
    };
    serve_through(listener, admit, handler).await;
}

/// A connection to whoever has this name.
///
/// # Errors
/// When it cannot be reached, does not prove its name, or does not believe ours.
pub async fn connect(
    identity: &Identity,
    (address, name): (SocketAddr, &str),
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    identity.connect(stream, name).await
}

/// Sends one request to whoever has this name; `timeout` bounds everything from connecting to the last byte.
///
/// # Errors
/// [`RequestError`] names the peer and the step that failed; the outcome of the request is then unknown.
pub async fn request(
    identity: &Identity,
    (address, name): (SocketAddr, &str),
    method: Method,
    target: &str,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<(StatusCode, bytes::Bytes), RequestError> {
    let connect = connect(identity, (address, name));
    let text = address.to_string();
    request_through(connect, &text, method, target, body, timeout).await
}
