//! The door of the hall: how many may be inside at once, and who has left without a word.
//!
//! Past the bound a new connection waits in the kernel's backlog until another ends. Whoever is silent is asked whether
//! they are still there, so that a caller whose host vanished does not keep a place for ever, and whoever asks nothing
//! for long is let go, so that others find a place: probes are among them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Above what several gateways may have open to one instance, each 2,048, beside probes and the watch.
pub const CONNECTIONS_MAX: usize = 8_192;
/// Whoever asks nothing for so long is let go. Gateways let go of what they do not use after a minute, and must be first:
/// a request would meet a door that closes.
pub const UNUSED_MAX: Duration = Duration::from_secs(90);
/// Pause after a connection could not be accepted, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A caller that is silent for so long is asked, and given up after as many questions.
const IDLE: Duration = Duration::from_secs(10);
const PROBE_PERIOD: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

pub struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    unused_max: Duration,
}

/// A connection that gives its place back when it ends.
pub struct Connection {
    stream: TcpStream,
    /// Runs while nothing comes.
    unused: Pin<Box<Sleep>>,
    unused_max: Duration,
    _place: Option<OwnedSemaphorePermit>,
}

impl Bounded {
    pub fn new(listener: TcpListener, places: usize, unused_max: Duration) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(places)),
            unused_max,
        }
    }
}

/// Lets the process open as many descriptors as it is allowed to at all.
pub fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where it is refused, the pause after a failed accept is what is left.
    setrlimit(Resource::Nofile, all).ok();
}

fn attune(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, IDLE)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_PERIOD)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    if let Err(error) = attune(&stream) {
                        tracing::debug!(%error, "a connection that ended already");
                    }
                    let unused_max = self.unused_max;
                    let connection = Connection {
                        stream,
                        unused: Box::pin(tokio::time::sleep(unused_max)),
                        unused_max,
                        _place: place,
                    };
                    return (connection, address);
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            let unused_max = self.unused_max;
            self.unused.set(tokio::time::sleep(unused_max));
            return read;
        }
        // As if the caller had hung up.
        self.unused.as_mut().poll(context).map(Ok)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
