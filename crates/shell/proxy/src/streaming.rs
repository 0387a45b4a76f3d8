//! The way of an answer: waited for, read off, and its connection back to the others.

use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::TrySendError;

use crate::upstream::{Conn, OutRequest, Staying, Upstream};

/// So long an answer that nobody waits for is read off after its request was given up.
const LEFT_FOR: Duration = Duration::from_secs(5);

type Answered = Result<Response<Incoming>, TrySendError<OutRequest>>;
type Answering = Pin<Box<dyn Future<Output = Answered>>>;

/// A request that was handed to a connection. When nobody waits for its answer any longer the answer is read all the
/// same, and thrown away: clients give up together when an instance is slow, and a connection for each of them that
/// had to be made anew would make it slower.
pub struct Asked {
    home: Rc<Upstream>,
    idle_limit: usize,
    waiting: Option<(Answering, Conn)>,
}

impl Asked {
    pub fn new(
        home: &Rc<Upstream>,
        idle_limit: usize,
        mut conn: Conn,
        request: OutRequest,
    ) -> Self {
        let answer = Box::pin(conn.sender.try_send_request(request));
        Self {
            home: Rc::clone(home),
            idle_limit,
            waiting: Some((answer, conn)),
        }
    }

    /// The answer's head and its body, or what the library gave back and the connection that failed.
    pub async fn answer(mut self) -> Result<Response<Streaming>, (TrySendError<OutRequest>, Conn)> {
        let answered = std::future::poll_fn(|context| match &mut self.waiting {
            Some((answer, _)) => answer.as_mut().poll(context),
            None => Poll::Pending,
        })
        .await;
        let Some((_, conn)) = self.waiting.take() else {
            // It is taken here and where `self` ends, which is after this.
            return std::future::pending().await;
        };
        match answered {
            Ok(response) => Ok(Streaming::of(response, &self.home, conn, self.idle_limit)),
            Err(error) => Err((error, conn)),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let Some((answer, conn)) = self.waiting.take() else {
            return;
        };
        if !self.home.may_leave(&conn, self.idle_limit) {
            return;
        }
        let home = Rc::clone(&self.home);
        let idle_limit = self.idle_limit;
        tokio::task::spawn_local(async move {
            let _left = home.leave();
            let read_off = async {
                let Ok(response) = answer.await else { return };
                let mut body = Streaming::of(response, &home, conn, idle_limit).into_body();
                while let Some(Ok(_)) =
                    std::future::poll_fn(|context| body.poll_frame(context)).await
                {}
            };
            // One that takes longer goes with its connection.
            tokio::time::timeout(LEFT_FOR, read_off).await.ok();
        });
    }
}

/// The body of an answer. When it has been read whole its connection goes back to the pool.
#[derive(Debug)]
pub struct Streaming {
    incoming: Incoming,
    home: Option<(Weak<Upstream>, Conn, usize)>,
    staying: Option<Staying>,
}

impl Streaming {
    fn of(
        response: Response<Incoming>,
        home: &Rc<Upstream>,
        conn: Conn,
        idle_limit: usize,
    ) -> Response<Self> {
        response.map(|incoming| Self {
            incoming,
            home: Some((Rc::downgrade(home), conn, idle_limit)),
            staying: None,
        })
    }

    /// Stays on its connection until the client has taken it. False if `most` do already.
    pub fn stay(&mut self, most: u32) -> bool {
        let home = self.home.as_ref().and_then(|(home, ..)| home.upgrade());
        let Some(home) = home else {
            return true;
        };
        self.staying = home.stay(most);
        self.staying.is_some()
    }

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
        self.staying = None;
        let Some((home, conn, idle_limit)) = self.home.take() else {
            return;
        };
        if let Some(home) = home.upgrade() {
            home.take_back(conn, idle_limit);
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
