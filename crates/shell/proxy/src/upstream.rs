//! One worker's connections to one instance, and the three outcomes of sending over them.
//!
//! A connection counts the bytes it has written. That number, and nothing that a library says, decides
//! between "nothing was sent" and "nobody knows". When an instance is superseded all its connections are
//! cut at once: whoever waits on one learns it immediately, at no cost to all the others.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use mainstay_gateway::retry::{NothingWhy, Outcome, UnknownCause};
use mainstay_units::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;

use crate::caller::{Caller, Line};
use crate::config::Bounds;
use crate::stats::UpstreamStats;

pub type OutRequest = Request<Full<Bytes>>;

#[derive(Debug)]
pub struct Upstream {
    pub address: SocketAddr,
    /// What it must prove; nothing where it is spoken to in the clear.
    name: Option<String>,
    caller: Arc<Caller>,
    pub stats: Arc<UpstreamStats>,
    /// Requests under way.
    pub pending: Cell<u32>,
    idle: RefCell<Vec<Conn>>,
    /// Open connections, busy ones included.
    tasks: RefCell<BTreeMap<u64, AbortHandle>>,
    next_id: Cell<u64>,
    /// Connections of before the last cut are not taken back.
    cuts: Cell<u64>,
}

/// A connection that nobody else uses.
#[derive(Debug)]
pub struct Conn {
    sender: SendRequest<Full<Bytes>>,
    written: Rc<Cell<u64>>,
    cuts: u64,
    idle_since: Instant,
}

/// Why an attempt brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Outcome(Outcome),
    /// Our own bound on connections: nothing was sent, and nothing is wrong with the instance.
    NoConnectionLeft,
}

impl From<NothingWhy> for Failure {
    fn from(why: NothingWhy) -> Self {
        Self::Outcome(Outcome::Nothing(why))
    }
}

impl From<UnknownCause> for Failure {
    fn from(cause: UnknownCause) -> Self {
        Self::Outcome(Outcome::Unknown(cause))
    }
}

/// Counts a request under way for as long as it lives.
struct Pending<'a>(&'a Cell<u32>);

impl<'a> Pending<'a> {
    fn new(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Upstream {
    pub fn new(
        address: SocketAddr,
        name: Option<String>,
        caller: Arc<Caller>,
        stats: Arc<UpstreamStats>,
    ) -> Rc<Self> {
        Rc::new(Self {
            address,
            name,
            caller,
            stats,
            pending: Cell::new(0),
            idle: RefCell::default(),
            tasks: RefCell::default(),
            next_id: Cell::new(0),
            cuts: Cell::new(0),
        })
    }

    /// What makes it another upstream when it changes.
    pub fn place(&self) -> (SocketAddr, Option<String>) {
        (self.address, self.name.clone())
    }

    /// Sends the request and waits for the head of the answer, until `deadline`.
    pub async fn send(
        self: &Rc<Self>,
        bounds: &Bounds,
        request: OutRequest,
        deadline: Instant,
    ) -> Result<Response<Streaming>, Failure> {
        let _pending = Pending::new(&self.pending);
        let started = mainstay_rt::clock::now();
        let left = deadline.since(started);
        let result = match tokio::time::timeout(left, self.exchange(bounds, request)).await {
            Ok(result) => result,
            // The connection is dropped with the future: a late answer finds nobody.
            Err(_) => Err(UnknownCause::DeadlinePassed.into()),
        };
        match &result {
            Ok(_) => {
                self.stats.answered.up();
                self.stats
                    .durations
                    .record(mainstay_rt::clock::now().since(started));
            }
            Err(Failure::Outcome(Outcome::Unknown(_))) => self.stats.unknown.up(),
            Err(_) => self.stats.nothing.up(),
        }
        result
    }

    async fn exchange(
        self: &Rc<Self>,
        bounds: &Bounds,
        request: OutRequest,
    ) -> Result<Response<Streaming>, Failure> {
        let mut request = request;
        // A stale connection says nothing about the instance; a fresh one does.
        while let Some(mut conn) = self.take_idle().await {
            let before = conn.written.get();
            match conn.sender.try_send_request(request).await {
                Ok(response) => return Ok(self.streaming(bounds, response, conn)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None if conn.written.get() == before => {
                        return Err(NothingWhy::StaleConnection.into());
                    }
                    None => return Err(UnknownCause::ConnectionLost.into()),
                },
            }
        }
        let mut conn = self.connect(bounds).await?;
        match conn.sender.try_send_request(request).await {
            Ok(response) => Ok(self.streaming(bounds, response, conn)),
            Err(_) if conn.written.get() == 0 => Err(NothingWhy::ConnectFailed.into()),
            Err(_) => Err(UnknownCause::ConnectionLost.into()),
        }
    }

    fn streaming(
        self: &Rc<Self>,
        bounds: &Bounds,
        response: Response<Incoming>,
        conn: Conn,
    ) -> Response<Streaming> {
        response.map(|incoming| Streaming {
            incoming,
            home: Some((Rc::downgrade(self), conn, bounds.upstream_idle)),
        })
    }

    async fn take_idle(&self) -> Option<Conn> {
        loop {
            let mut conn = self.idle.borrow_mut().pop()?;
            if conn.cuts == self.cuts.get() && conn.sender.ready().await.is_ok() {
                return Some(conn);
            }
        }
    }

    async fn connect(self: &Rc<Self>, bounds: &Bounds) -> Result<Conn, Failure> {
        if self.tasks.borrow().len() >= bounds.upstream_connections as usize {
            return Err(Failure::NoConnectionLeft);
        }
        let connecting = self.caller.reach(self.address, self.name.as_deref());
        match tokio::time::timeout(bounds.connect_timeout, connecting).await {
            Ok(Ok(Line::Clear(stream))) => self.converse(stream).await,
            Ok(Ok(Line::Proven(stream))) => self.converse(stream).await,
            Ok(Err(_)) | Err(_) => Err(NothingWhy::ConnectFailed.into()),
        }
    }

    async fn converse<S>(self: &Rc<Self>, stream: S) -> Result<Conn, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let written = Rc::new(Cell::new(0));
        let io = TokioIo::new(Counted {
            stream,
            written: Rc::clone(&written),
        });
        let (sender, connection) = Builder::new()
            .handshake::<_, Full<Bytes>>(io)
            .await
            .map_err(|_| NothingWhy::ConnectFailed)?;
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let home = Rc::downgrade(self);
        let task = tokio::task::spawn_local(async move {
            // Whoever waits on this connection learns how it ended; nobody else needs to.
            connection.await.ok();
            if let Some(home) = home.upgrade() {
                home.tasks.borrow_mut().remove(&id);
            }
        });
        self.tasks.borrow_mut().insert(id, task.abort_handle());
        Ok(Conn {
            sender,
            written,
            cuts: self.cuts.get(),
            idle_since: Instant::ZERO,
        })
    }

    /// Ends every connection at once. What was sent and not answered is unknown from now on.
    pub fn cut(&self) {
        self.cuts.set(self.cuts.get() + 1);
        self.idle.borrow_mut().clear();
        for (_, task) in std::mem::take(&mut *self.tasks.borrow_mut()) {
            task.abort();
        }
    }

    pub fn close_idle_since(&self, before: Instant) {
        self.idle
            .borrow_mut()
            .retain(|conn| conn.idle_since > before && !conn.sender.is_closed());
    }
}

/// The body of an answer. When it has been read whole its connection goes back to the pool.
#[derive(Debug)]
pub struct Streaming {
    incoming: Incoming,
    home: Option<(Weak<Upstream>, Conn, usize)>,
}

impl Streaming {
    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.go_home();
        }
        frame
    }

    pub fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    fn go_home(&mut self) {
        let Some((home, mut conn, idle_limit)) = self.home.take() else {
            return;
        };
        let Some(home) = home.upgrade() else { return };
        let mut idle = home.idle.borrow_mut();
        if conn.cuts == home.cuts.get() && !conn.sender.is_closed() && idle.len() < idle_limit {
            conn.idle_since = mainstay_rt::clock::now();
            idle.push(conn);
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // The library asks a body of known length for no more than its length.
        if self.incoming.is_end_stream() {
            self.go_home();
        }
    }
}

/// A stream that counts what has been written to it. Over TLS that is what was handed to be encrypted: of what the
/// count leaves out, nothing can have been sent.
#[derive(Debug)]
struct Counted<S> {
    stream: S,
    written: Rc<Cell<u64>>,
}

impl<S> Counted<S> {
    fn count(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = result {
            self.written.set(self.written.get() + count as u64);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
