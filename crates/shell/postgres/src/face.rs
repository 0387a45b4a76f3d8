//! What a keeper shows, and how it is asked: status and sight over TCP, operators' requests over a socket.
//!
//! The sight stream is what gateways live on: a line at once, one at every change, and one at least every
//! 200 ms, so that silence means something. A listener that does not read is dropped, not waited for.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use mainstay_keeper::{
    Answer as CoreAnswer, ForceRefusal, Operator, RefillRefusal, ReplicaId, SoloRefusal,
    SwitchoverRefusal,
};
use mainstay_record::keeper::{ControlAnswer, KeeperStatus, Sight, SwitchoverRequest};
use mainstay_rt::http::{Answer, Call, error, json, text};
use mainstay_units::Instant;
use tokio::sync::{mpsc, oneshot, watch};

use crate::commands;
use crate::figures::Figures;
use crate::setup::Setup;

const SIGHT_PERIOD: Duration = Duration::from_millis(200);
/// Lines that may wait for a listener.
const SIGHT_QUEUE: usize = 16;
/// How long a listener that does not read is kept.
const SIGHT_PATIENCE: Duration = Duration::from_secs(2);
/// A switchover is answered when it is over; this is longer than the core lets one take.
const OPERATOR_LIMIT: Duration = Duration::from_secs(30);

const CHECKPOINT_LIMIT: Duration = Duration::from_secs(5);

/// A question for the mind.
pub enum Ask {
    Status(oneshot::Sender<KeeperStatus>),
    Operator(Operator, oneshot::Sender<CoreAnswer>),
    /// Stop the server and leave.
    Shutdown(oneshot::Sender<()>),
}

/// What the sight stream says now; the lease is counted when a line is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub sight: Sight,
    pub lease_expires: Option<Instant>,
}

impl Shown {
    pub fn now(&self) -> Sight {
        let remaining = self.lease_expires.map_or(Duration::ZERO, |expires| {
            expires.since(mainstay_rt::clock::now())
        });
        Sight {
            lease_remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
            ..self.sight.clone()
        }
    }
}

#[derive(Clone)]
pub struct Face {
    pub setup: Rc<Setup>,
    pub figures: Figures,
    pub asks: mpsc::UnboundedSender<Ask>,
    pub shown: watch::Receiver<Shown>,
}

impl Face {
    /// Over TCP: for everyone.
    pub async fn show(self: Rc<Self>, call: Call) -> Answer {
        match (call.method, call.path.as_str()) {
            (Method::GET, "/v1/status") => self.status().await,
            (Method::GET, "/v1/sight") => self.sight(),
            (Method::GET, "/metrics") => self.metrics().await,
            _ => unknown(),
        }
    }

    /// Over the control socket: for the node.
    pub async fn control(self: Rc<Self>, call: Call) -> Answer {
        match (call.method, call.path.as_str()) {
            (Method::GET, "/v1/status") => self.status().await,
            (Method::GET, "/v1/sight") => self.sight(),
            (Method::GET, "/metrics") => self.metrics().await,
            (Method::POST, "/v1/pause") => self.operate(Operator::Pause).await,
            (Method::POST, "/v1/resume") => self.operate(Operator::Resume).await,
            (Method::POST, "/v1/switchover") => self.switch_over(&call.body).await,
            (Method::POST, "/v1/solo") => {
                let since_ms = mainstay_rt::clock::wall_ms();
                self.operate(Operator::Solo { since_ms }).await
            }
            (Method::POST, "/v1/refill") => self.operate(Operator::Refill).await,
            (Method::POST, "/v1/force") => {
                let since_ms = mainstay_rt::clock::wall_ms();
                self.operate(Operator::Force { since_ms }).await
            }
            (Method::POST, "/v1/shutdown") => self.shut_down().await,
            _ => unknown(),
        }
    }

    async fn status(&self) -> Answer {
        let (sender, receiver) = oneshot::channel();
        self.asks.send(Ask::Status(sender)).ok();
        match receiver.await {
            Ok(status) => json(StatusCode::OK, &status),
            Err(_) => leaving(),
        }
    }

    /// What the mind and the server say, in figures.
    async fn metrics(&self) -> Answer {
        let (sender, receiver) = oneshot::channel();
        self.asks.send(Ask::Status(sender)).ok();
        let status = receiver.await.ok();
        let page = crate::page::page(status.as_ref(), &self.figures.look());
        let mut answer = text(StatusCode::OK, page);
        let kind = http::HeaderValue::from_static(mainstay_scrape::page::CONTENT_TYPE);
        answer
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, kind);
        answer
    }

    async fn switch_over(&self, body: &[u8]) -> Answer {
        let request: SwitchoverRequest = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(problem) => {
                let message = format!("the request cannot be read: {problem}");
                let next = "send {\"to\":\"HOST\"}";
                return error(StatusCode::BAD_REQUEST, "request", &message, next);
            }
        };
        let replica = self
            .setup
            .config
            .replicas
            .iter()
            .find(|replica| replica.host == request.to);
        let Some(id) = replica.and_then(|replica| u8::try_from(replica.id).ok()) else {
            let message = format!("no replica stands on {:?}", request.to);
            let next = "name a host of the database";
            return error(StatusCode::NOT_FOUND, "unknown_host", &message, next);
        };
        self.flush_pages().await;
        self.operate(Operator::Switchover { to: ReplicaId(id) })
            .await
    }

    /// A checkpoint before a switchover: what a server has written to its files it need not replay when it
    /// comes back as a standby, beside the server that has just been promoted. Without one it only takes
    /// longer.
    async fn flush_pages(&self) {
        if !self.shown.borrow().sight.open {
            return;
        }
        let made = tokio::time::timeout(CHECKPOINT_LIMIT, commands::checkpoint(&self.setup));
        if made.await.is_err() {
            tracing::warn!("the checkpoint before the switchover takes long and is not waited for");
        }
    }

    async fn operate(&self, operator: Operator) -> Answer {
        let (sender, receiver) = oneshot::channel();
        self.asks.send(Ask::Operator(operator, sender)).ok();
        match tokio::time::timeout(OPERATOR_LIMIT, receiver).await {
            Ok(Ok(answer)) => operator_answer(&self.setup, answer),
            Ok(Err(_)) => leaving(),
            Err(_) => {
                let message = format!("the keeper gave no answer within {OPERATOR_LIMIT:?}");
                let next = "look at the status: it may have been done";
                error(StatusCode::GATEWAY_TIMEOUT, "unknown", &message, next)
            }
        }
    }

    async fn shut_down(&self) -> Answer {
        let (sender, receiver) = oneshot::channel();
        self.asks.send(Ask::Shutdown(sender)).ok();
        let stopped = receiver.await.is_ok();
        let reason = if stopped { "stopped" } else { "leaving" }.to_owned();
        json(
            StatusCode::OK,
            &ControlAnswer {
                accepted: stopped,
                reason,
            },
        )
    }

    fn sight(&self) -> Answer {
        let (sender, receiver) = mpsc::channel(SIGHT_QUEUE);
        tokio::task::spawn_local(stream(self.shown.clone(), sender));
        let mut answer = Response::new(Lines(receiver).boxed_unsync());
        answer.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/x-ndjson"),
        );
        answer
    }
}

async fn stream(mut shown: watch::Receiver<Shown>, lines: mpsc::Sender<Bytes>) {
    loop {
        let sight = shown.borrow_and_update().now();
        let Ok(mut line) = serde_json::to_vec(&sight) else {
            return;
        };
        line.push(b'\n');
        match tokio::time::timeout(SIGHT_PATIENCE, lines.send(line.into())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
        // No change for a while is worth a line too.
        if let Ok(Err(_)) = tokio::time::timeout(SIGHT_PERIOD, shown.changed()).await {
            return;
        }
    }
}

/// A body that is written line by line for as long as somebody reads.
struct Lines(mpsc::Receiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

fn operator_answer(setup: &Setup, answer: CoreAnswer) -> Answer {
    let (status, accepted, reason) = match answer {
        CoreAnswer::Done { term } => (StatusCode::OK, true, format!("done in term {term}")),
        CoreAnswer::Unfinished { term } => (
            StatusCode::ACCEPTED,
            true,
            format!("begun, and not seen to end; look at the status (term {term})"),
        ),
        CoreAnswer::Refused(refusal) => (StatusCode::CONFLICT, false, refused(setup, refusal)),
        CoreAnswer::SoloRefused(refusal) => {
            (StatusCode::CONFLICT, false, solo_refused(setup, refusal))
        }
        CoreAnswer::RefillRefused(refusal) => (
            StatusCode::CONFLICT,
            false,
            refill_refused(refusal).to_owned(),
        ),
        CoreAnswer::ForceRefused(refusal) => {
            (StatusCode::CONFLICT, false, force_refused(setup, refusal))
        }
        CoreAnswer::Forced { term, loss } => (StatusCode::OK, true, forced(term.0, &loss)),
    };
    json(status, &ControlAnswer { accepted, reason })
}

fn refused(setup: &Setup, refusal: SwitchoverRefusal) -> String {
    match refusal {
        SwitchoverRefusal::NotPrimary { primary } => not_primary(setup, primary),
        SwitchoverRefusal::AlreadyThere => "it is the primary already".to_owned(),
        SwitchoverRefusal::UnknownReplica => "it is no replica of this database".to_owned(),
        SwitchoverRefusal::TargetLeaves => {
            "the platform file names no replica there any more: it is about to be taken down"
                .to_owned()
        }
        SwitchoverRefusal::TargetNotFollowing => {
            "it does not follow, or does not count yet".to_owned()
        }
        SwitchoverRefusal::TargetBehind => "it did not catch up in time".to_owned(),
        SwitchoverRefusal::Busy => "another switchover is under way".to_owned(),
        SwitchoverRefusal::Paused => "the keeper is paused; resume it first".to_owned(),
    }
}

fn not_primary(setup: &Setup, primary: Option<ReplicaId>) -> String {
    let host = primary.and_then(|primary| setup.replica(primary));
    match host {
        Some(replica) => format!("not the primary here; ask {}", replica.host),
        None => "not the primary here, and nobody is known to be".to_owned(),
    }
}

fn solo_refused(setup: &Setup, refusal: SoloRefusal) -> String {
    match refusal {
        SoloRefusal::NotPrimary { primary } => format!(
            "{}; only an open primary that a majority of keepers hears can serve alone",
            not_primary(setup, primary)
        ),
        SoloRefusal::QuorumThere => "its quorum acknowledges: no commit waits".to_owned(),
        SoloRefusal::BoundAway => {
            "a member has promised a later term, so another primary may come at any moment; wait"
                .to_owned()
        }
        SoloRefusal::Busy => {
            "a switchover, a change of who counts or an earlier order is under way; try again"
                .to_owned()
        }
        SoloRefusal::OneCopy => "it promises one copy only: no commit ever waits".to_owned(),
        SoloRefusal::Paused => "the keeper is paused; resume it first".to_owned(),
    }
}

const fn refill_refused(refusal: RefillRefusal) -> &'static str {
    match refusal {
        RefillRefusal::IsPrimary => "it is the primary; move it by a switchover first",
        RefillRefusal::NotFollowing => {
            "it does not follow an open primary, so nothing could be copied"
        }
        RefillRefusal::CopiesNeeded => {
            "without it commits would wait: fewer copies than promised follow the primary"
        }
        RefillRefusal::NotSpared => {
            "the rest could not do without it for as long as the order stood; nothing was begun"
        }
        RefillRefusal::Busy => "an order like this one stands already",
        RefillRefusal::Paused => "the keeper is paused; resume it first",
    }
}

fn forced(term: u32, loss: &mainstay_keeper::Loss) -> String {
    let (timeline, after) = (loss.timeline, loss.after);
    let reach = loss.until.map_or_else(
        || "nothing is known of what others had beyond it".to_owned(),
        |until| format!("others are known to have had it until {until}"),
    );
    format!(
        "forced in term {term}: it begins after {after} of timeline {timeline}, and what any replica has beyond is given \
         up; {reach}"
    )
}

fn force_refused(setup: &Setup, refusal: ForceRefusal) -> String {
    let named = |replica: ReplicaId| {
        let known = setup.replica(replica);
        known.map_or_else(|| replica.to_string(), |replica| replica.host.clone())
    };
    match refusal {
        ForceRefusal::PrimaryHeard { primary } => match primary.map(named) {
            Some(host) => format!("the primary on {host} is heard; use `mainstay switchover`"),
            None => "a primary was heard a moment ago, or may be coming back; wait".to_owned(),
        },
        ForceRefusal::PrimaryElsewhere { heard_by } => format!(
            "the keeper on {} answers, and has a primary; mend the network between them",
            named(heard_by)
        ),
        ForceRefusal::LeaseRunning => {
            "the last primary may still answer readers; try again in two seconds".to_owned()
        }
        ForceRefusal::Behind { replica } => {
            format!("{} answers, and has more of the log; name that one", named(replica))
        }
        ForceRefusal::NotCounted => {
            "what it has does not count: it lost its disk, was being filled, or never had anything; restore a backup"
                .to_owned()
        }
        ForceRefusal::Damaged => {
            "it has read a page with a wrong checksum, so no other replica could be filled from it; restore a backup"
                .to_owned()
        }
        ForceRefusal::Unready => {
            "its server did not say in time where its log ends; look at its status, and try again".to_owned()
        }
        ForceRefusal::Busy => {
            "an election, or an order like this one, is under way; look at the status".to_owned()
        }
        ForceRefusal::Paused => "the keeper is paused; resume it first".to_owned(),
    }
}

fn unknown() -> Answer {
    let next = "GET /v1/status, /v1/sight or /metrics; on the socket also POST /v1/switchover, /v1/solo, /v1/refill, /v1/force, /v1/pause, /v1/resume, /v1/shutdown";
    error(StatusCode::NOT_FOUND, "unknown", "no such request", next)
}

fn leaving() -> Answer {
    error(
        StatusCode::SERVICE_UNAVAILABLE,
        "leaving",
        "the keeper is leaving",
        "ask again in a second",
    )
}
