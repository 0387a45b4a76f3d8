//! Attempts: sending a request on, and asking the core what its outcome means.

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};
use mainstay_gateway::choice;
use mainstay_gateway::hold::{Accusation, Consequence, Load, Phase, RefuseWhy, Stamp};
use mainstay_gateway::retry::{
    EndWhy, History, Idempotence, NothingWhy, Outcome, RepeatWhy, UnknownCause, Verdict,
};
use mainstay_gateway::routing::ServiceId;
use mainstay_gateway::share::WHOLE;
use mainstay_units::{Instant, Term};
use serde::Deserialize;

use crate::answer::{Code, OutBody};
use crate::client::{Own, Prepared};
use crate::config::HEAD_ALLOWANCE;
use crate::gate::{Entered, Gate, Place, Woken};
use crate::room::Room;
use crate::stats::RouteStats;
use crate::streaming::Streaming;
use crate::upstream::{Failure, GREETING_LIMIT};
use crate::worker::Worker;
use crate::world::Demand;

/// Attempts at a service whose instances are equal: more would only find more of the same.
const SERVICE_ATTEMPTS_LIMIT: u16 = 3;

type Answer = Result<Response<OutBody>, Own>;
/// What a gate says to a request that comes to it.
type AtGate = Result<(Place, Entered), RefuseWhy>;

fn ended(why: EndWhy, attempts: u16) -> Own {
    (
        Code::from(why),
        format!("{why:?} after {attempts} attempts"),
    )
}

/// There is no connection for another attempt: nothing was done by it, which says nothing about those before.
fn crowded(history: &History) -> Own {
    match history.end(EndWhy::TooManyAttempts) {
        EndWhy::TooManyAttempts => (
            Code::Overloaded,
            "no connection to the instance is left".to_owned(),
        ),
        why => ended(why, history.attempts()),
    }
}

/// It was answered, and its answer can neither be kept nor wait for its client where it is.
fn not_kept(history: &History) -> Own {
    let why = "too many answers wait for clients that take them slowly".to_owned();
    match history.idempotence() {
        Idempotence::Safe => (Code::Overloaded, why),
        Idempotence::Repeatable | Idempotence::Once => (Code::OutcomeUnknown, why),
    }
}

/// To one of several equal instances.
pub async fn to_service(
    worker: &Rc<Worker>,
    service: ServiceId,
    prepared: &Prepared,
    stats: &Arc<RouteStats>,
) -> Answer {
    let local = worker.local();
    let index = usize::from(service.0);
    let mut history = History::new(prepared.idempotence, SERVICE_ATTEMPTS_LIMIT);
    let mut avoid = None;
    // One lot for all attempts: a repeated request goes where the first might have gone.
    let mut lot = None;
    loop {
        let current = worker.local();
        let same = Arc::ptr_eq(&current.world.config, &local.world.config);
        let world = if same { &current.world } else { &local.world };
        let ready = world.view.ready.get(index).map_or(&[][..], |ready| {
            if !ready.is_divided() {
                return ready.drawn(0);
            }
            let draw = || (worker.random() % u64::from(WHOLE)) as u8;
            ready.drawn(*lot.get_or_insert_with(draw))
        });
        let upstreams = &local.upstreams[index];
        let pending = |i: u16| {
            upstreams
                .get(usize::from(i))
                .map_or(u32::MAX, |u| u.pending.get())
        };
        let Some(instance) = choice::pick(ready, pending, worker.random(), avoid) else {
            return Err(ended(
                history.end(EndWhy::NoHealthyInstance),
                history.attempts(),
            ));
        };
        history
            .dispatch(Term::ZERO)
            .map_err(|why| ended(why, history.attempts()))?;
        let upstream = &upstreams[usize::from(instance)];
        let sent = upstream
            .send(
                local.bounds(),
                prepared.request(),
                prepared.deadline,
                local.bounds().connect_timeout,
            )
            .await;
        let outcome = match sent {
            Ok(response) => {
                history
                    .pass(is_refusal(response.status()))
                    .map_err(|why| ended(why, history.attempts()))?;
                let mut response = response.map(|rest| OutBody::Streaming { first: None, rest });
                crate::headers::strip(response.headers_mut());
                return Ok(response);
            }
            Err(Failure::NoConnectionLeft) => return Err(crowded(&history)),
            Err(Failure::Outcome(outcome)) => outcome,
        };
        if let Some(accusation) = accuses(outcome) {
            let now = mainstay_rt::clock::now();
            let demand = upstream.accuse(now, accusation);
            worker.suspect(&local, (service.0, instance), now, (outcome, demand));
        }
        match history.judge(outcome, Term::ZERO, Term::ZERO) {
            Verdict::Repeat(_) => {
                stats.repeated.up();
                avoid = Some(instance);
            }
            Verdict::End(why) => return Err(ended(why, history.attempts())),
            Verdict::PassAnswer => {
                return Err((Code::Unavailable, "no answer to pass on".to_owned()));
            }
        }
    }
}

/// Does the instance say that it did nothing with this attempt?
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    )
}

/// What this outcome says about the instance, if it has to be asked again for it.
fn accuses(outcome: Outcome) -> Option<Accusation> {
    match outcome {
        Outcome::Nothing(NothingWhy::ConnectFailed | NothingWhy::RefusedNotActive) => {
            Some(Accusation::Certain)
        }
        // It may be the request: one that an instance cannot stand, or that gives it too little time.
        Outcome::Unknown(
            UnknownCause::ConnectionLost | UnknownCause::AnswerTorn | UnknownCause::SaidUnknown,
        ) => Some(Accusation::Doubtful),
        Outcome::Nothing(
            NothingWhy::StaleConnection | NothingWhy::NoConnection | NothingWhy::DeadlinePassed,
        )
        | Outcome::Answered
        | Outcome::Unknown(
            UnknownCause::Superseded | UnknownCause::DeadlinePassed | UnknownCause::Isolated,
        ) => None,
    }
}

/// To the active instance of a cell, waiting for one if need be.
pub async fn to_cell(
    worker: &Rc<Worker>,
    gate: Rc<Gate>,
    prepared: &Prepared,
    patience: Instant,
    stats: &Arc<RouteStats>,
) -> Answer {
    let attempts = worker.local().bounds().attempts;
    let mut way = Way {
        worker,
        gate,
        prepared,
        stats,
        history: History::new(prepared.idempotence, attempts),
        load: Load {
            bytes: prepared.body.len() as u64 + HEAD_ALLOWANCE,
            deadline: prepared.deadline,
            patience,
        },
    };
    way.walk().await
}

/// The way of one cell request.
struct Way<'a> {
    worker: &'a Rc<Worker>,
    gate: Rc<Gate>,
    prepared: &'a Prepared,
    stats: &'a Arc<RouteStats>,
    history: History,
    load: Load,
}

impl Way<'_> {
    async fn walk(&mut self) -> Answer {
        let mut entered = self.enter()?;
        loop {
            let (mut place, next) = entered.map_err(|why| self.end(why.into()))?;
            let to = match next {
                Entered::Go(to) => to,
                Entered::Wait(receiver) => {
                    self.stats.held.up();
                    match receiver.await.unwrap_or(Woken::Moved) {
                        Woken::Go(to) => to,
                        Woken::Evicted(why) => {
                            place.sent_away();
                            return Err(self.end(why.into()));
                        }
                        Woken::Moved => {
                            place.sent_away();
                            entered = self.enter()?;
                            continue;
                        }
                    }
                }
            };
            place.went();
            self.history
                .dispatch(to.term)
                .map_err(|why| ended(why, self.history.attempts()))?;
            let attempt = self.attempt(to).await;
            let (outcome, answer) = match attempt {
                Ok(Some(answer)) => (Outcome::Answered, Some(answer)),
                Ok(None) => return Err(not_kept(&self.history)),
                Err(Failure::NoConnectionLeft) => return Err(crowded(&self.history)),
                Err(Failure::Outcome(outcome)) => (outcome, None),
            };
            let current = self.term();
            match (self.history.judge(outcome, to.term, current), answer) {
                (Verdict::PassAnswer, Some(answer)) => {
                    self.history
                        .pass(is_refusal(answer.status()))
                        .map_err(|why| ended(why, self.history.attempts()))?;
                    return Ok(answer);
                }
                (Verdict::PassAnswer, None) => return Err(self.end(EndWhy::TooManyAttempts)),
                (Verdict::End(why), _) => return Err(ended(why, self.history.attempts())),
                (Verdict::Repeat(why), _) => entered = self.again(place, to, outcome, why)?,
            }
        }
    }

    /// Through the gate that the cell has now: the routing may have changed since this request came to its own.
    fn enter(&mut self) -> Result<AtGate, Own> {
        if self.gate.is_retired() {
            let Some(gate) = self.successor() else {
                return Err(self.end(EndWhy::NoHealthyInstance));
            };
            self.gate = gate;
        }
        // Not the time of arrival: a process that stood still meanwhile would take old sight for fresh.
        let now = mainstay_rt::clock::now();
        if !self.worker.shared.is_vouched(now) {
            self.gate.handle_closed_eyes(now);
        }
        Ok(self.gate.enter(now, self.load))
    }

    fn again(
        &mut self,
        place: Place,
        to: Stamp,
        outcome: Outcome,
        why: RepeatWhy,
    ) -> Result<AtGate, Own> {
        tracing::debug!(?why, instance = to.instance, term = %to.term, "a request goes again");
        self.stats.repeated.up();
        // Looked at first: it may bring the routing that retires this gate.
        let local = self.worker.local();
        if self.gate.is_retired() {
            // What it says about an instance belongs to a routing that is over.
            drop(place);
            return self.enter();
        }
        let now = mainstay_rt::clock::now();
        let mut consequence = Consequence::Nothing;
        if let Some(accusation) = accuses(outcome) {
            consequence = self.gate.handle_failure(now, to, accusation);
            let demand = match (consequence, accusation) {
                // A doubt about whom this gate gives no requests holds nobody up at the others.
                (Consequence::TheRequest, _) | (Consequence::Nothing, Accusation::Doubtful) => {
                    Demand::Answer
                }
                (Consequence::Everybody, _) | (Consequence::Nothing, Accusation::Certain) => {
                    Demand::AnswerFirst
                }
            };
            let accused = (self.gate.service_index, to.instance);
            let accused_for = (outcome, demand);
            self.worker.suspect(&local, accused, now, accused_for);
        }
        Ok(place.again(now, self.load, consequence))
    }

    /// The gate that a new routing has for the same cell.
    fn successor(&self) -> Option<Rc<Gate>> {
        let local = self.worker.local();
        let mut gates = local.gates.iter();
        gates.find(|gate| gate.is_of(&self.gate)).cloned()
    }

    /// The highest term that requests of the cell were sent under.
    fn term(&self) -> Term {
        let own = self.gate.term();
        if !self.gate.is_retired() {
            return own;
        }
        let successor = self.successor();
        successor.map_or(own, |gate| gate.term().max(own))
    }

    fn end(&self, why: EndWhy) -> Own {
        ended(self.history.end(why), self.history.attempts())
    }

    /// Nothing if there is an answer and no place for it.
    async fn attempt(&self, to: Stamp) -> Result<Option<Response<OutBody>>, Failure> {
        let local = self.worker.local();
        let Some(upstream) = self.gate.upstreams.get(usize::from(to.instance)) else {
            return Err(NothingWhy::ConnectFailed.into());
        };
        let sent = upstream.send(
            local.bounds(),
            self.prepared.request(),
            self.prepared.deadline,
            GREETING_LIMIT,
        );
        let response = sent.await.map_err(|failure| self.explain(failure))?;
        let (mut head, body) = response.into_parts();
        let bounds = local.bounds();
        let limits = (bounds.answer_bytes, bounds.upstream_staying);
        let room = Room::of(&self.worker.stats.answers, bounds.answers);
        let left = self.prepared.deadline.since(mainstay_rt::clock::now());
        let read = tokio::time::timeout(left, read_answer(body, limits, room)).await;
        let body = read
            .map_err(|_| Failure::from(UnknownCause::DeadlinePassed))?
            .map_err(|_| self.explain(UnknownCause::AnswerTorn.into()))?;
        let Some(body) = body else {
            return Ok(None);
        };
        if head.status == StatusCode::SERVICE_UNAVAILABLE
            && let OutBody::Whole(Some(bytes)) = &body
            && let Some(outcome) = refusal(bytes, &head.headers)
        {
            return Err(Failure::Outcome(outcome));
        }
        crate::headers::strip(&mut head.headers);
        Ok(Some(Response::from_parts(head, body)))
    }

    /// A lost connection that we cut ourselves has a better name.
    fn explain(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Outcome(Outcome::Unknown(
                UnknownCause::ConnectionLost | UnknownCause::AnswerTorn,
            )) if matches!(self.gate.phase(), Phase::Isolated { .. }) => {
                UnknownCause::Isolated.into()
            }
            other => other,
        }
    }
}

/// An answer up to this size is read whole without asking for room: so much a connection costs in any case.
const SMALL_ANSWER: usize = 8 * 1024;

/// The answer of a cell, whole if it is not too large and there is room for it: nothing must go to the client that may
/// have to be taken back. What is not kept is passed on as the client takes it, and the instance is read no faster; nothing
/// if as many connections as may wait for clients already, since the others are for requests.
async fn read_answer(
    mut body: Streaming,
    (limit, staying): (usize, u32),
    mut room: Room,
) -> Result<Option<OutBody>, hyper::Error> {
    // Of so many bytes, which take so much memory.
    let mut may_keep =
        |bytes: usize, taken: usize| bytes <= limit && (taken <= SMALL_ANSWER || room.reach(taken));
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if !may_keep(announced, announced) {
        return Ok(body.stay(staying).then_some(OutBody::Streaming {
            first: None,
            rest: body,
        }));
    }
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut is_whole = true;
    while let Some(frame) = std::future::poll_fn(|context| body.poll_frame(context)).await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if first.is_empty() && more.is_empty() {
            first = data;
        } else {
            if more.is_empty() {
                more.reserve(announced.max(first.len() + data.len()));
                more.extend_from_slice(&std::mem::take(&mut first));
            }
            more.extend_from_slice(&data);
        }
        let length = first.len() + more.len();
        if !may_keep(length, length.max(more.capacity())) {
            is_whole = false;
            break;
        }
    }
    let read = match more.is_empty() {
        true => first,
        false => more.freeze(),
    };
    let read = room.with(read);
    if is_whole {
        return Ok(Some(OutBody::whole(read)));
    }
    Ok(body.stay(staying).then_some(OutBody::Streaming {
        first: Some(read),
        rest: body,
    }))
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
}

/// What an instance says about a request that it did not answer in full. Anything else that it says with
/// 503 is an answer and is passed on.
fn refusal(body: &Bytes, headers: &HeaderMap) -> Option<Outcome> {
    let is_json = headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let answer: ErrorAnswer = is_json.then(|| serde_json::from_slice(body).ok())??;
    match answer.error.code.as_str() {
        "not_active" | "lease_expired" => Some(Outcome::Nothing(NothingWhy::RefusedNotActive)),
        "outcome_unknown" => Some(Outcome::Unknown(UnknownCause::SaidUnknown)),
        _ => None,
    }
}
