//! The crowd: simulated clients that carry their customers' intents to whichever region answers.
//!
//! A client is a program of one customer firm: it has a home region, accounts, and a witness file. It uses the gateway of
//! its current region for everything; when an attempt there fails it moves on to the next region, and from then on asks
//! its home gateway in the background whether it serves again, so that nobody waits for the asking.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use crate::ReplayError;
use crate::clock::Origin;
use crate::measure::{Ended, Life, Measure, microseconds};
use crate::plan::{Asset, DEPOSIT_BTC, DEPOSIT_USD, Intent, Say};
use crate::retry::{BackOff, Next, Observation, next};
use crate::transport::{Gateway, Reply};
use crate::witness::{
    AnswerLine, AttemptLine, BrokenLine, IntentLine, UnansweredLine, Witness, body_as_json,
};

/// How often a client away from home asks whether it can return, and how long it waits for the answer.
const HOMECOMING_EVERY: Duration = Duration::from_secs(1);
const HOMECOMING_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct Settings {
    pub cell: String,
    pub instrument: String,
    /// Per intent, from its planned time.
    pub deadline: Duration,
    /// Per attempt.
    pub attempt_limit: Duration,
}

#[derive(Debug)]
struct Client {
    home: usize,
    current: Cell<usize>,
    /// Per gateway: not before this moment of the run.
    avoid_until: Vec<Cell<Duration>>,
    witness: RefCell<Witness>,
}

/// All clients; lives on one thread.
#[derive(Debug)]
pub struct Crowd {
    settings: Settings,
    origin: Origin,
    gateways: Vec<Gateway>,
    clients: Vec<Client>,
    /// Accounts with an intent under way, and what they will say next.
    waiting: RefCell<BTreeMap<u64, VecDeque<Intent>>>,
    pub measure: RefCell<Measure>,
    idle: Notify,
    broken: RefCell<Option<ReplayError>>,
}

#[derive(Deserialize)]
struct Sensible {
    outcome: String,
}

/// An error's body; the pause in it is finer than the header's whole seconds.
#[derive(Deserialize)]
struct Unable {
    error: Pause,
}

#[derive(Deserialize)]
struct Pause {
    retry_after_ms: u64,
}

/// An intent in the form in which it goes out, each time the same.
struct Prepared {
    kind: &'static str,
    path: String,
    body: Box<RawValue>,
    key: String,
}

impl Crowd {
    #[must_use]
    pub fn new(
        settings: Settings,
        origin: Origin,
        gateways: Vec<Gateway>,
        witnesses: Vec<Witness>,
    ) -> Self {
        assert!(
            !gateways.is_empty() && !witnesses.is_empty(),
            "arguments have been checked"
        );
        let regions = gateways.len();
        let client = |(index, witness): (usize, Witness)| Client {
            home: index % regions,
            current: Cell::new(index % regions),
            avoid_until: (0..regions).map(|_| Cell::new(Duration::ZERO)).collect(),
            witness: RefCell::new(witness),
        };
        Self {
            settings,
            origin,
            gateways,
            clients: witnesses.into_iter().enumerate().map(client).collect(),
            waiting: RefCell::new(BTreeMap::new()),
            measure: RefCell::new(Measure::new()),
            idle: Notify::new(),
            broken: RefCell::new(None),
        }
    }

    /// Takes up an intent that is due; it is under way, or waits for its own account, when this returns.
    pub fn take_up(self: &Rc<Self>, intent: Intent) {
        self.measure
            .borrow_mut()
            .take_up(self.origin.elapsed().saturating_sub(intent.planned));
        let mut waiting = self.waiting.borrow_mut();
        if let Some(queue) = waiting.get_mut(&intent.account) {
            queue.push_back(intent);
            return;
        }
        waiting.insert(intent.account, VecDeque::new());
        let crowd = Rc::clone(self);
        tokio::task::spawn_local(async move { crowd.serve_account(intent).await });
    }

    /// How many accounts have an intent under way.
    #[must_use]
    pub fn busy_accounts(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Waits until fewer accounts than this are busy.
    pub async fn until_busy_below(&self, accounts: usize) {
        while self.busy_accounts() >= accounts {
            self.idle.notified().await;
        }
    }

    /// What made it impossible to go on (evidence that could not be written), once.
    pub fn take_broken(&self) -> Option<ReplayError> {
        self.broken.borrow_mut().take()
    }

    /// Lets clients return home for as long as it is polled.
    pub async fn keep_returning(&self) {
        loop {
            tokio::time::sleep(HOMECOMING_EVERY).await;
            for (region, gateway) in self.gateways.iter().enumerate() {
                let away = || {
                    self.clients
                        .iter()
                        .filter(|client| client.home == region && client.current.get() != region)
                };
                if away().next().is_some() && self.serves_again(gateway).await {
                    for client in away() {
                        client.current.set(region);
                        self.measure.borrow_mut().homecomings += 1;
                    }
                }
            }
        }
    }

    async fn serves_again(&self, gateway: &Gateway) -> bool {
        let path = format!("/v1/cells/{}/book?depth=1", self.settings.cell);
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(header::HOST, &gateway.shown);
        let Ok(request) = request.body(Full::new(Bytes::new())) else {
            return false;
        };
        let answer = tokio::time::timeout(HOMECOMING_LIMIT, gateway.send(request, true)).await;
        matches!(answer, Ok(Ok(reply)) if reply.status < 500)
    }

    async fn serve_account(&self, first: Intent) {
        let mut intent = first;
        loop {
            if let Err(error) = self.carry(intent).await {
                self.broken.borrow_mut().get_or_insert(error);
            }
            let following = self
                .waiting
                .borrow_mut()
                .get_mut(&intent.account)
                .and_then(VecDeque::pop_front);
            match following {
                Some(following) => intent = following,
                None => break,
            }
        }
        self.waiting.borrow_mut().remove(&intent.account);
        self.idle.notify_waiters();
        self.idle.notify_one();
    }

    /// Carries one intent to its end.
    async fn carry(&self, intent: Intent) -> Result<(), ReplayError> {
        let client = self.client_of(intent.account);
        let deadline = intent.planned + self.settings.deadline;
        let prepared = self.prepare(&intent, deadline);
        client.witness.borrow_mut().add(
            "intent",
            IntentLine {
                cell: &self.settings.cell,
                kind: prepared.kind,
                account: intent.account,
                reference: intent.reference,
                request: &prepared.body,
                planned_wall_ms: self.origin.wall_ms(intent.planned),
                deadline_wall_ms: self.origin.wall_ms(deadline),
            },
        );
        let (mut attempts, mut back_off, mut fresh) = (0, BackOff::new(), false);
        while let Some(region) = self.choose(client, deadline).await {
            attempts += 1;
            let step = self
                .attempt(client, region, &intent, &prepared, attempts, fresh)
                .await?;
            fresh = step == Next::SameGateway;
            match step {
                Next::Answered => {
                    self.end(&intent, prepared.kind, Ended::Answered);
                    return Ok(());
                }
                Next::Refused => {
                    self.end(&intent, prepared.kind, Ended::Refused);
                    return Ok(());
                }
                Next::SameGateway => {}
                Next::NextRegion { avoid_for } => {
                    self.leave(client, region, avoid_for);
                    let left = deadline.saturating_sub(self.origin.elapsed());
                    tokio::time::sleep(back_off.pause().min(left)).await;
                }
            }
        }
        let wall_ms = self.origin.wall_ms(self.origin.elapsed());
        let line = UnansweredLine {
            account: intent.account,
            reference: intent.reference,
            attempts,
            wall_ms,
        };
        client.witness.borrow_mut().add("unanswered", line);
        client.witness.borrow_mut().flush()?;
        self.end(&intent, prepared.kind, Ended::Unanswered);
        Ok(())
    }

    /// One attempt through one gateway, with its lines of evidence before and after.
    async fn attempt(
        &self,
        client: &Client,
        region: usize,
        intent: &Intent,
        prepared: &Prepared,
        attempt: u32,
        fresh: bool,
    ) -> Result<Next, ReplayError> {
        let gateway = &self.gateways[region];
        let (account, reference) = (intent.account, intent.reference);
        let started = self.origin.elapsed();
        let left = (intent.planned + self.settings.deadline).saturating_sub(started);
        let limit = self.settings.attempt_limit.min(left);
        let wall_ms = self.origin.wall_ms(started);
        let line = AttemptLine {
            account,
            reference,
            attempt,
            gateway: &gateway.shown,
            wall_ms,
        };
        client.witness.borrow_mut().add("attempt", line);
        client.witness.borrow_mut().flush()?;
        self.measure.borrow_mut().attempts += 1;
        let request = self.request(gateway, prepared, self.origin.wall_ms(started + limit));
        let outcome = tokio::time::timeout(limit, gateway.send(request, fresh)).await;
        let ended = self.origin.elapsed();
        let wall_ms = self.origin.wall_ms(ended);
        let broken = |reason: &str| {
            let line = BrokenLine {
                account,
                reference,
                attempt,
                gateway: &gateway.shown,
                reason,
                wall_ms,
            };
            client.witness.borrow_mut().add("broken", line);
        };
        let observation = match &outcome {
            Err(_) => {
                broken("no answer within the attempt's limit");
                Observation::Silent
            }
            Ok(Err(error)) => {
                broken(&error.reason);
                Observation::Broken {
                    reused_connection: error.reused_connection,
                }
            }
            Ok(Ok(reply)) => {
                let body = body_as_json(&reply.body);
                let latency_us = microseconds(ended.saturating_sub(intent.planned));
                let (gateway, status) = (gateway.shown.as_str(), reply.status);
                client.witness.borrow_mut().add(
                    "answer",
                    AnswerLine {
                        account,
                        reference,
                        attempt,
                        gateway,
                        status,
                        body: &body,
                        wall_ms,
                        latency_us,
                    },
                );
                self.observe(reply)
            }
        };
        client.witness.borrow_mut().flush()?;
        Ok(next(observation))
    }

    fn observe(&self, reply: &Reply) -> Observation {
        let mut measure = self.measure.borrow_mut();
        let sensible = reply.status == 200
            && serde_json::from_slice::<Sensible>(&reply.body).is_ok_and(|body| {
                *measure.outcomes.entry(body.outcome).or_default() += 1;
                true
            });
        let mut retry_after = reply.retry_after;
        if reply.status != 200 {
            *measure.refusals.entry(reply.status).or_default() += 1;
            if let Ok(unable) = serde_json::from_slice::<Unable>(&reply.body) {
                retry_after = Some(Duration::from_millis(unable.error.retry_after_ms));
            }
        }
        Observation::Status {
            status: reply.status,
            sensible,
            retry_after,
        }
    }

    fn end(&self, intent: &Intent, kind: &'static str, ended: Ended) {
        let planned_us = microseconds(intent.planned);
        let ended_us = microseconds(self.origin.elapsed()).max(planned_us);
        self.measure.borrow_mut().end(
            kind,
            Life {
                planned_us,
                ended_us,
                ended,
            },
        );
    }

    fn client_of(&self, account: u64) -> &Client {
        let clients = self.clients.len() as u64;
        &self.clients[usize::try_from(account % clients).unwrap_or(0)]
    }

    /// The gateway to use now: the client's current one, or the next that has not asked to be left alone. Waits if all
    /// have; `None` when the deadline has come.
    async fn choose(&self, client: &Client, deadline: Duration) -> Option<usize> {
        loop {
            let now = self.origin.elapsed();
            if now >= deadline {
                return None;
            }
            let regions = self.gateways.len();
            let order = (0..regions).map(|step| (client.current.get() + step) % regions);
            let free = order
                .clone()
                .find(|region| client.avoid_until[*region].get() <= now);
            if free.is_some() {
                return free;
            }
            let earliest = order
                .map(|region| client.avoid_until[region].get())
                .min()
                .unwrap_or(now);
            tokio::time::sleep(earliest.min(deadline).saturating_sub(now)).await;
        }
    }

    fn leave(&self, client: &Client, region: usize, avoid_for: Option<Duration>) {
        if let Some(pause) = avoid_for {
            client.avoid_until[region].set(self.origin.elapsed() + pause);
        }
        // Others of this client's intents may have moved it already.
        if client.current.get() == region {
            client.current.set((region + 1) % self.gateways.len());
            self.measure.borrow_mut().moves += 1;
        }
    }

    fn request(
        &self,
        gateway: &Gateway,
        prepared: &Prepared,
        deadline_wall_ms: u64,
    ) -> Request<Full<Bytes>> {
        Request::builder()
            .method(Method::POST)
            .uri(&prepared.path)
            .header(header::HOST, &gateway.shown)
            .header(header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", &prepared.key)
            .header("X-Request-Deadline-Ms", deadline_wall_ms)
            .body(Full::new(Bytes::copy_from_slice(
                prepared.body.get().as_bytes(),
            )))
            .expect("the cell's name was checked to be a plain word")
    }

    fn prepare(&self, intent: &Intent, deadline: Duration) -> Prepared {
        let Intent {
            account, reference, ..
        } = *intent;
        let mut text = format!("{{\"account\":{account},\"reference\":{reference},");
        let (kind, folder) = match intent.say {
            Say::Order {
                side,
                price,
                quantity,
            } => {
                let (price, quantity) = (fixed(price, 2), fixed(quantity, 8));
                let (instrument, side) = (&self.settings.instrument, side.name());
                let _ = write!(
                    text,
                    "\"instrument\":\"{instrument}\",\"side\":\"{side}\",\"type\":\"limit\",\"price\":\"{price}\",\
                     \"quantity\":\"{quantity}\","
                );
                ("order", "orders")
            }
            Say::Cancel { target_reference } => {
                let _ = write!(text, "\"target_reference\":{target_reference},");
                ("cancel", "cancels")
            }
            Say::Deposit(asset) => {
                let (asset, amount) = match asset {
                    Asset::Usd => ("USD", DEPOSIT_USD),
                    Asset::Btc => ("BTC", DEPOSIT_BTC),
                };
                let _ = write!(text, "\"asset\":\"{asset}\",\"amount\":\"{amount}\",");
                ("deposit", "deposits")
            }
        };
        let _ = write!(text, "\"deadline_ms\":{}}}", self.origin.wall_ms(deadline));
        Prepared {
            kind,
            path: format!("/v1/cells/{}/{folder}", self.settings.cell),
            body: RawValue::from_string(text).expect("the request was written as JSON"),
            key: format!("{account}-{reference}"),
        }
    }
}

/// A scaled integer in decimal: `fixed(23647, 2)` is "236.47".
fn fixed(value: i64, decimals: usize) -> String {
    assert!(value >= 0, "prices and quantities of a flow are positive");
    let digits = format!("{value:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    format!("{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::fixed;

    #[test]
    fn scaled_integers_in_decimal() {
        for (value, decimals, expected) in [
            (23_647, 2, "236.47"),
            (5, 2, "0.05"),
            (200_000_000, 8, "2.00000000"),
            (1, 8, "0.00000001"),
        ] {
            assert_eq!(fixed(value, decimals), expected);
        }
    }
}
