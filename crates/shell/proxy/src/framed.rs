//! The wire between a client's socket and the HTTP library, with the strict reader in it.
//!
//! Bytes that pass are read straight into the library's buffer: on the common path nothing is copied.
//! A head that has not arrived whole waits here, so the library sees whole heads only. A bad head is
//! replaced by a harmless request of our own, so that the answer (400, and close) comes in its turn after
//! the answers to the good requests before it; what the client sends after that is read and dropped, so
//! that the answer is not lost in a reset. An answer that comes before its request was read whole closes the
//! same way: our half first, and the rest of the request is read and dropped for a bounded while (RFC 9112, 9.6).

use std::cell::{Cell, OnceCell};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_gateway::framing::{Framing, FramingLimits, Violation, Where};
use mainstay_record::gateway::ListenerTls;
use mainstay_units::Instant;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

/// Stands in for a request that must not be seen.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: stand-in\r\nconnection: close\r\n\r\n";
/// What is read and dropped of a refused request, so that the client gets to read its answer.
const DROPPED_BYTES_LIMIT: usize = 4 * 1024 * 1024;
/// How long a closing connection waits for the rest of a request that was answered early.
const LINGER: Duration = Duration::from_secs(2);
const CHUNK: usize = 8 * 1024;

/// What the wire, the service and the sweeper know together about one client connection.
#[derive(Debug, Default)]
pub struct Connection {
    /// Where it came in, and what that listener showed.
    pub listener: OnceCell<(SocketAddr, Option<ListenerTls>)>,
    /// Heads that have passed, stand-ins included.
    passed: Cell<u64>,
    /// Requests that the service has been given.
    pub served: Cell<u64>,
    /// The violation, and which request in order stands in for it; `None` if it was in a body.
    violation: Cell<Option<(Violation, Option<u64>)>>,
    /// When the connection last began to wait for its client.
    pub waiting_since: Cell<Instant>,
    pub busy: Cell<bool>,
    partial_head: Cell<bool>,
    /// The body of the request that is being answered has not come whole.
    in_body: Cell<bool>,
    /// Something was written since the sweeper last looked.
    wrote: Cell<bool>,
    /// An answer broke off: its end must not look like the end of a whole one, as it would to a client of HTTP/1.0 that is
    /// told no length.
    pub torn: Cell<bool>,
    /// Told to finish what it does and close.
    pub finish: Notify,
    pub abort: Notify,
}

impl Connection {
    /// Called by the service once per request: is this the stand-in?
    pub fn next_is_stand_in(&self) -> Option<Violation> {
        let number = self.served.get() + 1;
        self.served.set(number);
        self.violation
            .get()
            .and_then(|(violation, stand_in)| (stand_in == Some(number)).then_some(violation))
    }

    /// Part of a head has come, the rest has not.
    pub fn has_partial_head(&self) -> bool {
        self.partial_head.get()
    }

    /// Is there more to come of the request that is being answered?
    pub fn is_in_body(&self) -> bool {
        self.in_body.get()
    }

    /// A client that takes what it is given is not waited for: its time begins anew.
    pub fn note_progress(&self, now: Instant) {
        if self.wrote.take() {
            self.waiting_since.set(now);
        }
    }

    /// Why the body being read broke off, if the wire broke it off.
    pub fn body_violation(&self) -> Option<Violation> {
        self.violation
            .get()
            .and_then(|(violation, stand_in)| stand_in.is_none().then_some(violation))
    }
}

#[derive(Debug)]
pub struct Framed<S> {
    stream: S,
    socket: fn(&S) -> &TcpStream,
    framing: Framing,
    connection: Rc<Connection>,
    /// Read, not yet passed: the beginning of a head.
    kept: Vec<u8>,
    /// Passed, not yet taken by the library.
    passed: Vec<u8>,
    passed_from: usize,
    broken: Broken,
    /// Read and dropped so far.
    dropped: usize,
    /// Runs once our half is closed while the client may still be sending.
    linger: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    No,
    /// Reads and drops.
    Dropping,
    /// The body being read ends in an error.
    Body,
}

impl<S: AsyncRead + Unpin> Framed<S> {
    pub fn new(
        stream: S,
        socket: fn(&S) -> &TcpStream,
        limits: FramingLimits,
        connection: Rc<Connection>,
    ) -> Self {
        Self {
            stream,
            socket,
            framing: Framing::new(limits),
            connection,
            kept: Vec::new(),
            passed: Vec::new(),
            passed_from: 0,
            broken: Broken::No,
            dropped: 0,
            linger: None,
        }
    }

    /// Gives the library what has passed already. False if there is nothing.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let waiting = &self.passed[self.passed_from..];
        if waiting.is_empty() {
            return false;
        }
        let count = waiting.len().min(buffer.remaining());
        buffer.put_slice(&waiting[..count]);
        self.passed_from += count;
        if self.passed_from == self.passed.len() {
            self.passed.clear();
            self.passed_from = 0;
        }
        true
    }

    fn note(&mut self, heads: usize, violation: Option<(Violation, Where)>) {
        let connection = &self.connection;
        connection
            .passed
            .set(connection.passed.get() + heads as u64);
        if heads > 0 {
            connection.busy.set(true);
        }
        connection.in_body.set(self.framing.is_in_body());
        let is_partial = !self.kept.is_empty();
        if is_partial && !connection.partial_head.get() {
            // Its time begins with its first byte, however long the connection was idle before.
            connection.waiting_since.set(mainstay_rt::clock::now());
        }
        connection.partial_head.set(is_partial);
        match violation {
            None => {}
            Some((violation, Where::Head)) => {
                let number = connection.passed.get() + 1;
                connection.passed.set(number);
                connection.violation.set(Some((violation, Some(number))));
                self.kept = Vec::new();
                self.passed.extend_from_slice(STAND_IN);
                self.broken = Broken::Dropping;
            }
            Some((violation, Where::Body)) => {
                connection.violation.set(Some((violation, None)));
                self.kept = Vec::new();
                self.broken = Broken::Body;
            }
        }
    }

    fn note_written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.connection.wrote.set(true);
        }
        written
    }

    /// Reads and drops, so that the kernel does not answer unread bytes with a reset. Ready when nothing more
    /// comes or enough was dropped.
    fn drop_input(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; CHUNK];
        while self.dropped < DROPPED_BYTES_LIMIT {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            self.dropped += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }

    /// More of a head of which a part is here.
    fn read_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut scratch = [0; CHUNK];
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.kept.extend_from_slice(buffer.filled());
        let progress = self.framing.feed(&self.kept);
        self.passed.extend(self.kept.drain(..progress.passed));
        self.note(progress.heads, progress.violation);
        Poll::Ready(Ok(true))
    }
}

impl<S> Drop for Framed<S> {
    fn drop(&mut self) {
        if self.connection.torn.get() {
            // Closes with a reset. If even that fails there is nothing left to say.
            let socket = SockRef::from((self.socket)(&self.stream));
            socket.set_linger(Some(Duration::ZERO)).ok();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.give(buffer) {
                return Poll::Ready(Ok(()));
            }
            match this.broken {
                Broken::No => {}
                // What ends this connection is the answer.
                Broken::Dropping => {
                    ready!(this.drop_input(context))?;
                    return Poll::Pending;
                }
                Broken::Body => {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::InvalidData)));
                }
            }
            if !this.kept.is_empty() {
                match ready!(this.read_more(context))? {
                    true => continue,
                    false => return Poll::Ready(Ok(())),
                }
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            let read = &buffer.filled()[before..];
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let progress = this.framing.feed(read);
            if progress.passed < read.len() {
                this.kept.extend_from_slice(&read[progress.passed..]);
                buffer.set_filled(before + progress.passed);
            }
            this.note(progress.heads, progress.violation);
            if progress.passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if this.framing.is_between_requests() {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = this
            .linger
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if linger.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        this.drop_input(context)
    }
}
