//! One worker's connections to one instance, and the three outcomes of sending over them.
//!
//! A connection counts the bytes it has written. That number, and nothing that a library says, decides
//! between "nothing was sent" and "nobody knows". When an instance is superseded all its connections are
//! cut at once: whoever waits on one learns it immediately, at no cost to all the others.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use mainstay_gateway::hold::Accusation;
use mainstay_gateway::retry::{NothingWhy, Outcome, UnknownCause};
use mainstay_units::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::caller::{Caller, Line};
use crate::config::Bounds;
use crate::counted::Counted;
use crate::ramp::{Ramp, SentBack};
use crate::stats::UpstreamStats;
use crate::streaming::{Asked, Streaming};
use crate::world::Demand;

/// So long the only instance that may be asked may take to shake hands once it has taken the connection. One that is
/// slow is busy, and one that is frozen is found out by the eyes, which ask over connections that they have: both are
/// left to them, since a gateway that takes a busy instance for a dead one sends it the same crowd again.
pub const GREETING_LIMIT: Duration = Duration::from_secs(5);

/// After a lost connection has accused an instance, another one does not for so long: it may be what it was asked.
const DOUBT_HOLDS: Duration = Duration::from_secs(10);

/// So much of an answer is read from the instance before its client has taken it; its head must fit.
const ANSWER_BUFFER: usize = 64 * 1024;

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
    /// Answers that are read off though nobody waits for them.
    left: Cell<u32>,
    /// Answers that stay on their connections until their clients have taken them.
    staying: Cell<u32>,
    /// When a lost connection last accused it.
    doubted: Cell<Option<Instant>>,
    ramp: Ramp,
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
    pub sender: SendRequest<Full<Bytes>>,
    written: Rc<Cell<u64>>,
    cuts: u64,
    idle_since: Instant,
}

/// How the making of a connection ended.
#[derive(Debug)]
enum Connected {
    Made(Conn),
    Refused,
    /// It took longer than it may.
    Late,
}

/// Why an attempt brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Outcome(Outcome),
    /// Our own bound on connections, or the system's on us: nothing was sent, and nothing is wrong with the instance.
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
pub struct Pending<'a>(&'a Cell<u32>);

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

/// An answer that keeps its connection, for as long as this lives.
#[derive(Debug)]
pub struct Staying {
    home: Rc<Upstream>,
    cuts: u64,
}

impl Drop for Staying {
    fn drop(&mut self) {
        // Those of before the last cut have no connection any more.
        if self.cuts == self.home.cuts.get() {
            self.home.staying.set(self.home.staying.get() - 1);
        }
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
            left: Cell::new(0),
            staying: Cell::new(0),
            doubted: Cell::new(None),
            ramp: Ramp::new(),
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

    /// Sends the request and waits for the head of the answer, until `deadline`. A new connection may take `greeting`
    /// to be shaken hands over.
    pub async fn send(
        self: &Rc<Self>,
        bounds: &Bounds,
        request: OutRequest,
        deadline: Instant,
        greeting: Duration,
    ) -> Result<Response<Streaming>, Failure> {
        let _pending = Pending::new(&self.pending);
        let started = mainstay_rt::clock::now();
        let left = deadline.since(started);
        let handed = Cell::new(false);
        let exchange = self.exchange(bounds, request, (&handed, deadline), greeting);
        let result = match tokio::time::timeout(left, exchange).await {
            Ok(result) => result,
            Err(_) if handed.get() => Err(UnknownCause::DeadlinePassed.into()),
            Err(_) => Err(NothingWhy::DeadlinePassed.into()),
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
        (handed, deadline): (&Cell<bool>, Instant),
        greeting: Duration,
    ) -> Result<Response<Streaming>, Failure> {
        let mut request = request;
        loop {
            let (conn, fresh) = self.line(bounds, greeting).await?;
            // Looked at here, since a timeout looks at its work first and at the clock afterwards.
            if mainstay_rt::clock::now() >= deadline {
                self.take_back(conn, bounds.upstream_idle);
                return Err(NothingWhy::DeadlinePassed.into());
            }
            let before = conn.written.get();
            handed.set(true);
            let asked = Asked::new(self, bounds.upstream_idle, conn, request);
            let (mut error, conn) = match asked.answer().await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            let written = conn.written.get() != before;
            match (fresh, error.take_message()) {
                // A stale connection says nothing about the instance; a fresh one does.
                (false, Some(unsent)) => request = unsent,
                (false, None) if !written => return Err(NothingWhy::StaleConnection.into()),
                (true, _) if !written => return Err(NothingWhy::ConnectFailed.into()),
                (true | false, _) => return Err(UnknownCause::ConnectionLost.into()),
            }
            handed.set(false);
        }
    }

    /// A connection for one request, and whether it is a new one: whichever comes first of one that somebody is done
    /// with and a turn at making one.
    async fn line(
        self: &Rc<Self>,
        bounds: &Bounds,
        greeting: Duration,
    ) -> Result<(Conn, bool), Failure> {
        loop {
            if let Some(conn) = self.take_idle().await {
                return Ok((conn, false));
            }
            let Some(turn) = self.ramp.enter() else {
                let changed = self.ramp.changed().await;
                changed.map_err(|SentBack| NothingWhy::NoConnection)?;
                continue;
            };
            let connected = tokio::select! {
                biased;
                SentBack = self.ramp.sent_back() => return Err(NothingWhy::NoConnection.into()),
                connected = self.connect(bounds, greeting) => connected?,
            };
            match connected {
                Connected::Made(conn) => {
                    turn.made();
                    return Ok((conn, true));
                }
                Connected::Late => turn.late(),
                Connected::Refused => {}
            }
            self.ramp.send_back();
            return Err(NothingWhy::ConnectFailed.into());
        }
    }

    async fn take_idle(&self) -> Option<Conn> {
        loop {
            let mut conn = self.idle.borrow_mut().pop()?;
            if conn.cuts == self.cuts.get() && conn.sender.ready().await.is_ok() {
                return Some(conn);
            }
        }
    }

    async fn connect(
        self: &Rc<Self>,
        bounds: &Bounds,
        greeting: Duration,
    ) -> Result<Connected, Failure> {
        if self.tasks.borrow().len() >= bounds.upstream_connections as usize {
            return Err(Failure::NoConnectionLeft);
        }
        let connecting = TcpStream::connect(self.address);
        let stream = match tokio::time::timeout(bounds.connect_timeout, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if crate::descriptors::is_own_want(&error) => {
                return Err(Failure::NoConnectionLeft);
            }
            Ok(Err(_)) | Err(_) => return Ok(Connected::Refused),
        };
        let greeted = self.caller.greet(stream, self.name.as_deref());
        match tokio::time::timeout(greeting, greeted).await {
            Ok(Ok(Line::Clear(stream))) => Ok(self.converse(stream).await),
            Ok(Ok(Line::Proven(stream))) => Ok(self.converse(stream).await),
            Ok(Err(_)) => Ok(Connected::Refused),
            Err(_) => Ok(Connected::Late),
        }
    }

    async fn converse<S>(self: &Rc<Self>, stream: S) -> Connected
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let written = Rc::new(Cell::new(0));
        let io = TokioIo::new(Counted {
            stream,
            written: Rc::clone(&written),
        });
        let mut builder = Builder::new();
        builder.max_buf_size(ANSWER_BUFFER);
        let Ok((sender, connection)) = builder.handshake::<_, Full<Bytes>>(io).await else {
            return Connected::Refused;
        };
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
        Connected::Made(Conn {
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
        self.staying.set(0);
        for (_, task) in std::mem::take(&mut *self.tasks.borrow_mut()) {
            task.abort();
        }
        self.ramp.send_back();
    }

    /// Takes a connection back from a request that is over.
    pub fn take_back(&self, mut conn: Conn, idle_limit: usize) {
        if conn.cuts != self.cuts.get() || conn.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < idle_limit {
            conn.idle_since = mainstay_rt::clock::now();
            idle.push(conn);
            drop(idle);
            self.ramp.pass_on();
        }
    }

    /// May the answer on this connection be read off for nobody? No more of them than connections may be idle.
    pub fn may_leave(&self, conn: &Conn, idle_limit: usize) -> bool {
        conn.cuts == self.cuts.get() && (self.left.get() as usize) < idle_limit
    }

    /// One answer more that is read off for nobody, for as long as what is returned lives.
    pub fn leave(&self) -> Pending<'_> {
        Pending::new(&self.left)
    }

    /// One answer more that stays on its connection until its client has taken it, if no more than `most` do then.
    pub fn stay(self: &Rc<Self>, most: u32) -> Option<Staying> {
        let staying = self.staying.get() + 1;
        (staying <= most).then(|| {
            self.staying.set(staying);
            let home = Rc::clone(self);
            let cuts = self.cuts.get();
            Staying { home, cuts }
        })
    }

    /// One of several equal instances failed a request. What is asked of it: an answer before it gets requests again;
    /// only an answer where it was doubted lately, since it has answered then.
    pub fn accuse(&self, now: Instant, accusation: Accusation) -> Demand {
        let lately = self.doubted.get().is_some_and(|at| now < at + DOUBT_HOLDS);
        match accusation {
            Accusation::Doubtful if lately => Demand::Answer,
            Accusation::Doubtful => {
                self.doubted.set(Some(now));
                Demand::AnswerFirst
            }
            Accusation::Certain => Demand::AnswerFirst,
        }
    }

    pub fn close_idle_since(&self, before: Instant) {
        self.idle
            .borrow_mut()
            .retain(|conn| conn.idle_since > before && !conn.sender.is_closed());
    }
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
