//! The loop that drives the core. It reads like a list of everything a keeper does to the world.
//!
//! The mind decides nothing and waits for nothing but its inputs: eyes, hands, memory and peers are other
//! threads and tasks that report here. What must come before what is the core's business.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use mainstay_keeper::{
    Answer, Body, ClientState, Effect, HaltReason, Input, Keeper, Message, Observation,
    ProcessState, Reason, ReplicaId, RequestId, Role, Status,
};
use mainstay_record::keeper::{
    CohortStatus, KeeperEvent, KeeperStatus, LossStatus, NotUnderstood, PeerStatus, SeedingStatus,
    Sight, SightRole, SoloStatus, VERSION,
};
use mainstay_record::process::ProcessIdentity;
use mainstay_units::Instant;
use tokio::sync::{mpsc, oneshot, watch};

use crate::catch_up::CatchUp;
use crate::commands::chain;
use crate::eyes::{Attention, Sighting};
use crate::face::{Ask, Shown};
use crate::hands::{Done, Order};
use crate::lease::LeaseFile;
use crate::peers::News;
use crate::setup::Setup;

/// Events shown in the status.
const EVENTS_LIMIT: usize = 100;
/// So long a keeper that cannot go on says why.
const HALTED_FOR: Duration = Duration::from_secs(20);
/// Different things of another version that are named in the status.
const BEYOND_LIMIT: usize = 32;

/// What reaches the mind.
pub struct Inbox {
    /// From memory.
    pub inputs: mpsc::UnboundedReceiver<Input>,
    pub news: mpsc::UnboundedReceiver<News>,
    pub sightings: mpsc::UnboundedReceiver<Sighting>,
    pub done: mpsc::UnboundedReceiver<Done>,
    pub asks: mpsc::UnboundedReceiver<Ask>,
    pub progress: watch::Receiver<Option<SeedingStatus>>,
    pub terminate: tokio::signal::unix::Signal,
}

/// What the mind can reach.
pub struct Outbox {
    pub peers: BTreeMap<ReplicaId, mpsc::Sender<Message>>,
    pub records: mpsc::UnboundedSender<(u64, mainstay_keeper::Durable)>,
    pub orders: mpsc::UnboundedSender<Order>,
    pub attention: watch::Sender<Attention>,
    pub shown: watch::Sender<Shown>,
    pub lease: LeaseFile,
}

pub struct Mind {
    setup: Rc<Setup>,
    keeper: Keeper,
    outbox: Outbox,
    requests: BTreeMap<RequestId, oneshot::Sender<Answer>>,
    next_request: u64,
    heard: BTreeMap<ReplicaId, Heard>,
    observation: Option<Observation>,
    catch_up: CatchUp,
    postmaster: Option<ProcessIdentity>,
    events: VecDeque<KeeperEvent>,
    last: Option<(Role, Reason, u32)>,
    halted: Option<HaltReason>,
    glance: u64,
    /// How often each keeper said something that this version does not know.
    beyond: BTreeMap<(ReplicaId, String), u64>,
    beyond_unnamed: u64,
}

/// The last heartbeat of a peer.
struct Heard {
    at: Instant,
    role: Role,
    flushed: mainstay_units::Lsn,
}

impl Mind {
    pub fn new(setup: Rc<Setup>, keeper: Keeper, outbox: Outbox) -> Self {
        Self {
            setup,
            keeper,
            outbox,
            requests: BTreeMap::new(),
            next_request: 0,
            heard: BTreeMap::new(),
            observation: None,
            catch_up: CatchUp::default(),
            postmaster: None,
            events: VecDeque::new(),
            last: None,
            halted: None,
            glance: 0,
            beyond: BTreeMap::new(),
            beyond_unnamed: 0,
        }
    }

    /// Lives until the core halts or the process is told to end; PostgreSQL goes on.
    pub async fn live(mut self, mut inbox: Inbox) -> ExitCode {
        loop {
            self.perform();
            if let Some(reason) = self.halted {
                tracing::error!(?reason, "the keeper cannot go on");
                return self.halt(reason, inbox).await;
            }
            let deadline = self.keeper.next_deadline().map(|(at, _)| at);
            tokio::select! {
                Some(sighting) = inbox.sightings.recv() => self.see(sighting),
                Some(input) = inbox.inputs.recv() => self.tell(input),
                Some(news) = inbox.news.recv() => self.hear(news),
                Some(done) = inbox.done.recv() => self.finish(done),
                Some(ask) = inbox.asks.recv() => {
                    if let Some(stopped) = self.answer(ask, &inbox) {
                        return self.shut_down(stopped, inbox).await;
                    }
                }
                () = until(deadline) => self.tell(Input::Tick),
                _ = inbox.terminate.recv() => {
                    tracing::info!("told to end; the server goes on");
                    return ExitCode::SUCCESS;
                }
                else => return ExitCode::FAILURE,
            }
        }
    }

    /// What only a person can put right is said for a while before the keeper ends, and is started anew to look again.
    async fn halt(mut self, reason: HaltReason, mut inbox: Inbox) -> ExitCode {
        match reason {
            HaltReason::PersistFailed | HaltReason::Exhausted => return ExitCode::FAILURE,
            HaltReason::ForeignData | HaltReason::ForeignCohort => {}
        }
        let status = self.keeper.status().clone();
        self.publish(&status);
        let end = mainstay_rt::clock::now() + HALTED_FOR;
        loop {
            tokio::select! {
                Some(ask) = inbox.asks.recv() => match ask {
                    // Dropped: whoever asks is told that there is no answer.
                    Ask::Operator(..) => {}
                    ask => if let Some(stopped) = self.answer(ask, &inbox) {
                        return self.shut_down(stopped, inbox).await;
                    },
                },
                // Nothing of all this is acted on any more.
                Some(_) = inbox.sightings.recv() => {}
                Some(_) = inbox.inputs.recv() => {}
                Some(_) = inbox.news.recv() => {}
                Some(_) = inbox.done.recv() => {}
                () = until(Some(end)) => return ExitCode::FAILURE,
                _ = inbox.terminate.recv() => return ExitCode::SUCCESS,
                else => return ExitCode::FAILURE,
            }
        }
    }

    fn tell(&mut self, input: Input) {
        self.keeper.handle(mainstay_rt::clock::now(), input);
    }

    fn hear(&mut self, news: News) {
        let input = match news {
            News::Input(input) => input,
            News::NotUnderstood { from, what, why } => {
                self.pass_over(from, what, &why);
                return;
            }
        };
        if let Input::Message(message) = &input
            && let Body::Heartbeat(heartbeat) = &message.body
        {
            let heard = Heard {
                at: mainstay_rt::clock::now(),
                role: heartbeat.role,
                flushed: heartbeat.flushed,
            };
            self.heard.insert(message.from, heard);
        }
        self.tell(input);
    }

    /// Named once, counted always.
    fn pass_over(&mut self, from: ReplicaId, what: String, why: &str) {
        let room = self.beyond.len() < BEYOND_LIMIT;
        match self.beyond.entry((from, what)) {
            Entry::Occupied(mut known) => *known.get_mut() += 1,
            Entry::Vacant(place) if room => {
                let host = self.setup.replica(from).map(|replica| replica.host.clone());
                let what = &place.key().1;
                tracing::info!(host, what, why, "of another version: passed over");
                place.insert(1);
            }
            Entry::Vacant(_) => self.beyond_unnamed += 1,
        }
    }

    fn not_understood(&self) -> Vec<NotUnderstood> {
        let named = self
            .beyond
            .iter()
            .map(|((from, what), times)| NotUnderstood {
                host: self
                    .setup
                    .replica(*from)
                    .map(|replica| replica.host.clone()),
                what: what.clone(),
                times: *times,
            });
        let rest = (self.beyond_unnamed > 0).then(|| NotUnderstood {
            host: None,
            what: "other".to_owned(),
            times: self.beyond_unnamed,
        });
        named.chain(rest).collect()
    }

    /// A command ended: what was seen before is old, and a new look is due at once.
    fn finish(&mut self, (operation, outcome): Done) {
        self.glance += 1;
        let glance = self.glance;
        self.outbox
            .attention
            .send_modify(|attention| attention.glance = glance);
        tracing::info!(?operation, ?outcome, "command done");
        self.tell(Input::CommandDone { operation, outcome });
    }

    fn see(&mut self, sighting: Sighting) {
        if sighting.glance < self.glance {
            return;
        }
        self.postmaster = sighting.postmaster;
        if let ProcessState::Primary { flushed, .. } = sighting.observation.process {
            let now = mainstay_rt::clock::now();
            self.catch_up
                .see(now, flushed, &sighting.observation.clients);
        }
        self.observation = Some(sighting.observation.clone());
        self.tell(Input::Observed(sighting.observation));
    }

    /// Everything a keeper does.
    fn perform(&mut self) {
        while let Some(effect) = self.keeper.poll_effect() {
            match effect {
                Effect::Persist { sequence, durable } => {
                    self.outbox.records.send((sequence, *durable)).ok();
                }
                Effect::Send { to, message } => {
                    if let Some(peer) = self.outbox.peers.get(&to) {
                        // A full queue drops it: the core repeats what matters.
                        peer.try_send(message).ok();
                    }
                }
                Effect::Postgres { operation, command } => {
                    tracing::info!(?operation, ?command, "command");
                    self.outbox.orders.send((operation, command)).ok();
                }
                Effect::WriteLease { term, expires } => {
                    if let Err(error) = self.outbox.lease.write(term, expires) {
                        tracing::error!(error = chain(&error), "no lease for readers");
                    }
                    self.refresh(Some(expires));
                }
                Effect::ClearLease => {
                    if let Err(error) = self.outbox.lease.clear() {
                        tracing::error!(error = chain(&error), "the lease stands until it expires");
                    }
                    self.refresh(None);
                }
                Effect::Publish(status) => self.publish(&status),
                Effect::Answer { request, answer } => {
                    if let Some(sender) = self.requests.remove(&request) {
                        sender.send(answer).ok();
                    }
                }
                Effect::Halt(reason) => self.halted = Some(reason),
            }
        }
    }

    fn publish(&mut self, status: &Status) {
        let now = (status.role, status.reason, status.term.0);
        if self.last != Some(now) {
            self.last = Some(now);
            let detail = status.reason.to_string();
            tracing::info!(role = %status.role, term = status.term.0, reason = detail, "role");
            self.events.push_back(KeeperEvent {
                wall_ms: mainstay_rt::clock::wall_ms(),
                term: status.term.0,
                kind: status.role.to_string(),
                detail,
            });
            if self.events.len() > EVENTS_LIMIT {
                self.events.pop_front();
            }
        }
        let settled = matches!(
            status.reason,
            Reason::Following
                | Reason::LogRemoved
                | Reason::LogRemovedNeeded
                | Reason::Serving
                | Reason::QuorumMissing
                | Reason::Solo
                | Reason::SoloEnding
                | Reason::Paused
        );
        self.outbox.attention.send_if_modified(|attention| {
            let changed = attention.eager == settled;
            attention.eager = !settled;
            changed
        });
        self.outbox.shown.send_replace(shown(&self.setup, status));
    }

    /// What changes all the time wakes no listener, but the next line that is said has the latest of it. Gateways
    /// elsewhere pass on what a primary answers for as long as they hear of its lease.
    fn refresh(&self, lease_expires: Option<Instant>) {
        let lsn = self.keeper.status().lsn.to_string();
        self.outbox.shown.send_if_modified(|shown| {
            shown.lease_expires = lease_expires;
            shown.sight.lsn = lsn;
            false
        });
    }

    /// Answers at once what can be; returns the waiter of a request to shut down.
    fn answer(&mut self, ask: Ask, inbox: &Inbox) -> Option<oneshot::Sender<()>> {
        match ask {
            Ask::Status(sender) => {
                sender
                    .send(self.status(inbox.progress.borrow().clone()))
                    .ok();
            }
            Ask::Operator(command, sender) => {
                self.next_request += 1;
                let request = RequestId(self.next_request);
                self.requests.insert(request, sender);
                self.tell(Input::Operator { request, command });
            }
            Ask::Shutdown(sender) => return Some(sender),
        }
        None
    }

    /// By order of the node: the server is stopped and the keeper leaves. Nobody is asked; the others see
    /// a primary that is gone, if it was one.
    async fn shut_down(self, stopped: oneshot::Sender<()>, mut inbox: Inbox) -> ExitCode {
        tracing::info!("told to stop the server and end");
        self.outbox.lease.clear().ok();
        let last = mainstay_keeper::OperationId(u64::MAX);
        self.outbox
            .orders
            .send((last, mainstay_keeper::Command::StopImmediate))
            .ok();
        while let Some((operation, _)) = inbox.done.recv().await {
            if operation == last {
                stopped.send(()).ok();
                // The answer is on its way in another task of this thread.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return ExitCode::SUCCESS;
            }
        }
        ExitCode::FAILURE
    }

    fn status(&self, seeding: Option<SeedingStatus>) -> KeeperStatus {
        let status = self.keeper.status();
        let durable = self.keeper.durable();
        let host = |id: ReplicaId| self.setup.replica(id).map(|replica| replica.host.clone());
        let cohort = durable.cohort.as_ref();
        KeeperStatus {
            version: VERSION,
            platform: self.setup.config.platform.clone(),
            sight: shown(&self.setup, status).now(),
            paused: status.paused,
            incarnation: status.incarnation.to_string(),
            system_identifier: cohort.map(|cohort| cohort.system_identifier.to_string()),
            timeline: status.timeline.0,
            promised_term: status.promise.highest.0,
            promised_to: status.promise.coordinator.and_then(host),
            cohort: self.cohort_status(),
            peers: self
                .setup
                .core
                .peers()
                .filter_map(|id| self.peer(id))
                .collect(),
            solo: solo(status),
            losses: cohort.map(losses).unwrap_or_default(),
            seeding,
            postmaster: self
                .postmaster
                .and_then(|identity| i32::try_from(identity.pid).ok()),
            events: self.events.iter().cloned().collect(),
            parameters: Some(self.setup.parameters.status()),
            lineage: status.lineage.number,
            left_behind: status.left_behind,
            not_understood: self.not_understood(),
            refill_ordered: self.keeper.is_to_be_refilled(),
        }
    }

    fn cohort_status(&self) -> CohortStatus {
        let core = self.keeper.config();
        let cohort = self.keeper.durable().cohort.as_ref();
        let name = |id: &ReplicaId| Some(self.setup.replica(*id)?.host.clone());
        let (let_go, leaving): (Vec<ReplicaId>, Vec<ReplicaId>) = core
            .leaving
            .iter()
            .partition(|id| self.keeper.has_let_go(**id));
        let copies = cohort.and_then(|cohort| cohort.copies);
        CohortStatus {
            epoch: cohort.map_or(0, |cohort| cohort.version.epoch),
            copies: u32::from(copies.unwrap_or(core.copies)),
            wanted_copies: u32::from(core.copies),
            let_go: let_go.iter().filter_map(name).collect(),
            leaving: leaving.iter().filter_map(name).collect(),
            members: cohort
                .map(|cohort| cohort.members.keys().filter_map(name).collect())
                .unwrap_or_default(),
            home: name(&core.home).unwrap_or_default(),
        }
    }

    fn peer(&self, id: ReplicaId) -> Option<PeerStatus> {
        let replica = self.setup.replica(id)?;
        let heard = self.heard.get(&id);
        let client = self
            .observation
            .as_ref()
            .and_then(|seen| seen.clients.iter().find(|client| client.name.replica == id));
        let member = self.keeper.durable().cohort.as_ref().is_some_and(|cohort| {
            client.is_some_and(|client| {
                cohort
                    .members
                    .get(&id)
                    .is_some_and(|member| member.incarnation == client.name.incarnation)
            })
        });
        let own = self.keeper.status().lsn;
        let flushed = client
            .map(|client| client.flushed)
            .or(heard.map(|heard| heard.flushed));
        Some(PeerStatus {
            replica: replica.id,
            host: replica.host.clone(),
            region: replica.region.clone(),
            heard_ms: heard.map(|heard| {
                let age = mainstay_rt::clock::now().since(heard.at);
                u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
            }),
            role: heard.map(|heard| role(heard.role)),
            state: client.map(|client| {
                match client.state {
                    ClientState::Streaming => "streaming",
                    ClientState::CatchUp => "catchup",
                    ClientState::Other => "other",
                }
                .to_owned()
            }),
            acknowledges: member
                && client.is_some_and(|client| client.state == ClientState::Streaming),
            flushed: flushed.map(|lsn| lsn.to_string()),
            lag_bytes: flushed.map(|lsn| own.bytes_since(lsn)),
            catches_up_in_vain_ms: self
                .catch_up
                .in_vain(mainstay_rt::clock::now(), id)
                .filter(|_| client.is_some())
                .map(|vain| u64::try_from(vain.as_millis()).unwrap_or(u64::MAX)),
            round_trip_us: self
                .keeper
                .round_trip(id)
                .map(|trip| u64::try_from(trip.as_micros()).unwrap_or(u64::MAX)),
        })
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => {
            tokio::time::sleep(deadline.since(mainstay_rt::clock::now())).await;
        }
        None => std::future::pending().await,
    }
}

fn role(role: Role) -> SightRole {
    match role {
        Role::Starting => SightRole::Starting,
        Role::Standby => SightRole::Standby,
        Role::Learner => SightRole::Learner,
        Role::Candidate => SightRole::Candidate,
        Role::Primary => SightRole::Primary,
        Role::Fenced => SightRole::Fenced,
        Role::Stopped => SightRole::Stopped,
    }
}

/// How much would be lost with the primary: what nobody else is known to have, and for how long that has been so.
fn solo(status: &Status) -> Option<SoloStatus> {
    let solo = status.solo?;
    Some(SoloStatus {
        term: solo.term.0,
        since_wall_ms: solo.since_ms,
        since_ms: mainstay_rt::clock::wall_ms().saturating_sub(solo.since_ms),
        protected: status.protected.to_string(),
        unprotected_bytes: status.lsn.bytes_since(status.protected),
        alone: status.reason == Reason::Solo,
    })
}

fn losses(cohort: &mainstay_keeper::Cohort) -> Vec<LossStatus> {
    let losses = cohort.losses.iter().map(|loss| LossStatus {
        term: loss.term.0,
        timeline: loss.timeline.0,
        after: loss.after.to_string(),
        until: loss.until.map(|until| until.to_string()),
        bytes: loss.until.map(|until| until.bytes_since(loss.after)),
    });
    losses.collect()
}

/// The reason; where commits wait, with the promise that they wait for.
fn reason(setup: &Setup, status: &Status) -> String {
    let copies = setup.core.copies;
    match status.reason {
        Reason::QuorumMissing => format!(
            "{}: too few standbys to have {copies} copies of each, which must survive the loss of {}",
            status.reason,
            copies - 1
        ),
        Reason::Solo => format!(
            "{}: {copies} copies of each are promised, and what was committed since {} may have one only",
            status.reason, status.protected
        ),
        _ => status.reason.to_string(),
    }
}

pub fn shown(setup: &Setup, status: &Status) -> Shown {
    let me = setup.replica(setup.core.me);
    let sight = Sight {
        version: VERSION,
        database: setup.config.database.clone(),
        replica: setup.config.replica,
        host: me.map(|replica| replica.host.clone()).unwrap_or_default(),
        region: me.map(|replica| replica.region.clone()).unwrap_or_default(),
        role: role(status.role),
        term: status.term.0,
        open: status.open,
        switchover: status.switchover,
        lease_remaining_ms: 0,
        lsn: status.lsn.to_string(),
        primary: status
            .primary
            .and_then(|id| setup.replica(id))
            .map(|replica| replica.host.clone()),
        reason: reason(setup, status),
    };
    Shown {
        sight,
        lease_expires: status.lease_expires,
    }
}
