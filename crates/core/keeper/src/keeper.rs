//! The object that joins the parts: takes an input in, lets every part draw its conclusions until none
//! has any left, and says what changed.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use mainstay_units::{Instant, Term, Timeline};

use crate::config::{Config, ConfigError, ReplicaId};
use crate::durable::Durable;
use crate::effect::Effect;
use crate::election::Election;
use crate::founding::Founding;
use crate::gate::Gate;
use crate::input::{Input, Operator, RequestId};
use crate::lease::Granted;
use crate::lineage::ForceAsk;
use crate::machine::State;
use crate::message::{Body, Heartbeat, Message};
use crate::peers::Peers;
use crate::planted::{Planted, PlantedBug};
use crate::postgres::{DataState, ProcessState, Serviceability};
use crate::primary::Primary;
use crate::promise::Sender;
use crate::random::Random;
use crate::refill::RefillAsk;
use crate::server::Server;
use crate::solo::SoloAsk;
use crate::status::{Answer, HaltReason, Reason, Role, Status, WakeReason};
use crate::switchover::Switchover;

/// How often the parts may react to each other after one input.
const ROUNDS_LIMIT: usize = 16;

/// One keeper. See the crate's documentation for how a shell drives it.
#[derive(Debug)]
pub struct Keeper {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    pub(crate) random: Random,
    pub(crate) durable: Durable,
    pub(crate) gate: Gate,
    pub(crate) peers: Peers,
    pub(crate) server: Server,
    pub(crate) election: Election,
    /// Since when this keeper has had no primary, if it has none.
    pub(crate) lost_since: Option<Instant>,
    /// When the primary's stream last brought something.
    pub(crate) stream_seen: Instant,
    /// When the last promise was given to a coordinator.
    pub(crate) promised_at: Option<Instant>,
    pub(crate) primary: Option<Primary>,
    pub(crate) granted: Granted,
    pub(crate) switchover: Option<Switchover>,
    pub(crate) solo_ask: Option<SoloAsk>,
    pub(crate) refill_ask: Option<RefillAsk>,
    pub(crate) force_ask: Option<ForceAsk>,
    pub(crate) founding: Founding,
    pub(crate) planted: Planted,
    heartbeat_due: Instant,
    /// What `next_deadline` answers; drawn up at the end of each `handle`.
    deadline: Option<(Instant, WakeReason)>,
    strangers: u64,
    left_behind: u64,
    status: Status,
    said: Said,
}

/// What peers were told last; when it changes they are told at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Said {
    role: Role,
    term: Term,
    open: bool,
    promoted: bool,
    rewind_source: bool,
}

impl Keeper {
    /// `loaded` is the record on disk, `None` if there is none. The first input after it should be an
    /// `Observed`; nothing is done to a server that was not observed.
    pub fn new(config: Config, loaded: Option<Durable>, now: Instant) -> Result<Self, ConfigError> {
        config.validate()?;
        let durable = loaded.unwrap_or_default();
        let peers = Peers::new(config.peers(), now);
        Ok(Self {
            random: Random::new(config.seed),
            now,
            gate: Gate::default(),
            peers,
            server: Server::new(now),
            election: Election::default(),
            lost_since: None,
            stream_seen: now,
            promised_at: None,
            primary: None,
            granted: Granted::on_start(&durable, now),
            switchover: None,
            solo_ask: None,
            refill_ask: None,
            force_ask: None,
            founding: Founding::default(),
            planted: Planted::default(),
            heartbeat_due: now,
            deadline: None,
            strangers: 0,
            left_behind: 0,
            status: Status::default(),
            said: Said::default(),
            config,
            durable,
        })
    }

    /// Gives this keeper a bug.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: PlantedBug) {
        self.planted.bug = Some(bug);
    }

    /// Where the server is in its life; for logs and tests, decisions use [`Self::status`].
    pub fn state(&self) -> State {
        self.server.state
    }

    /// Which rows of the state table were used so far, one bit each.
    pub fn rows_used(&self) -> u128 {
        self.server.rows_used
    }

    /// Takes in one thing that happened at `now`. Times of successive calls never fall.
    pub fn handle(&mut self, now: Instant, input: Input) {
        assert!(now >= self.now, "time fell");
        self.now = now;
        let late = self
            .deadline
            .map_or(core::time::Duration::ZERO, |(expected, _)| {
                now.since(expected)
            });
        self.peers
            .note_lateness(now, late, self.config.timings.overrun);
        if self.server.state == State::Halted {
            return;
        }
        self.take_in(input);
        for _ in 0..ROUNDS_LIMIT {
            let moved = self.run_server() | self.run_founding() | self.run_primary();
            let moved = moved | self.run_election() | self.run_switchover() | self.run_solo_ask();
            let moved = moved | self.run_force_ask() | self.run_refill_ask();
            if !moved {
                break;
            }
        }
        self.say();
        self.deadline = self.earliest_deadline();
    }

    fn take_in(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::Message(message) => self.handle_message(message),
            Input::PeerClosed(from) => self.peers.closed(from),
            Input::Observed(observation) => {
                self.note_sign_of_life(&observation);
                self.handle_observation(observation);
            }
            Input::CommandDone { operation, outcome } => {
                self.handle_outcome(operation, outcome);
            }
            Input::Persisted { sequence } => self.gate.persisted(sequence),
            Input::PersistFailed { .. } => self.halt(HaltReason::PersistFailed),
            Input::Wanted(wanted) => {
                if let Ok(config) = self.config.with(wanted) {
                    self.config = config;
                }
            }
            Input::Operator { request, command } => self.handle_operator(request, command),
        }
    }

    fn handle_message(&mut self, message: Message) {
        let fingerprint = message.lineage.fingerprint(self.config.fingerprint);
        if message.fingerprint != fingerprint || self.peers.get(message.from).is_none() {
            self.strangers += 1;
            return;
        }
        if message.lineage != self.durable.lineage && !self.has(PlantedBug::LineageIgnored) {
            if message.lineage > self.durable.lineage {
                self.join(message.lineage);
            } else {
                self.left_behind += 1;
            }
            return;
        }
        let from = message.from;
        let sender = Sender {
            replica: from,
            incarnation: message.incarnation,
        };
        match message.body {
            Body::Heartbeat(heartbeat) => self.handle_heartbeat(from, heartbeat),
            Body::Grant { term, echo } => self.handle_grant(from, term, echo),
            Body::AskPreVote { round, term } => self.handle_ask_pre_vote(from, round, term),
            Body::PreVote { round, verdict } => self.handle_pre_vote(from, round, verdict),
            Body::Recruit { term } => self.handle_recruit(sender, term),
            Body::Report { term, to, verdict } => self.handle_report(from, term, to, *verdict),
            Body::Promote { term, cohort } => self.handle_promote(sender, term, *cohort),
            Body::Abort { term } => self.handle_abort(sender, term),
            Body::KeepCohort { cohort } => self.handle_keep_cohort(from, *cohort),
            Body::CohortKept {
                version,
                incarnation,
            } => self.handle_cohort_kept(from, version, incarnation),
        }
    }

    fn handle_heartbeat(&mut self, from: ReplicaId, heartbeat: Box<Heartbeat>) {
        // A voice proves that its host and its process live, not that the keeper does: nothing is granted to it.
        if !heartbeat.age.is_zero() {
            self.peers.voiced(self.now, from, &heartbeat);
            return;
        }
        self.note_surrender(from, &heartbeat);
        self.answer_with_grant(from, &heartbeat);
        self.remind_of_abort(from, &heartbeat);
        let timings = &self.config.timings;
        self.peers.heard(self.now, from, heartbeat, timings);
    }

    fn handle_operator(&mut self, request: RequestId, command: Operator) {
        match command {
            Operator::Switchover { to } => self.ask_switchover(request, to),
            Operator::Pause => self.set_paused(request, true),
            Operator::Resume => self.set_paused(request, false),
            Operator::Solo { since_ms } => self.ask_solo(request, since_ms),
            Operator::Refill => self.ask_refill(request),
            Operator::Force { since_ms } => self.ask_force(request, since_ms),
        }
    }

    fn set_paused(&mut self, request: RequestId, paused: bool) {
        if self.durable.paused != paused {
            self.durable.paused = paused;
            self.gate.persist(&self.durable);
        }
        let term = self.term();
        self.answer(request, Answer::Done { term });
    }

    pub(crate) fn answer(&mut self, request: RequestId, answer: Answer) {
        self.gate.emit(Effect::Answer { request, answer });
    }

    pub(crate) fn halt(&mut self, reason: HaltReason) {
        self.server.state = State::Halted;
        self.server.reason = Reason::Halted(reason);
        self.primary = None;
        self.clear_lease();
        self.gate.emit_now(Effect::Halt(reason));
    }

    pub(crate) fn persist(&mut self) {
        self.gate.persist(&self.durable);
    }

    pub(crate) fn send(&mut self, to: ReplicaId, body: Body) {
        let message = Message {
            from: self.config.me,
            fingerprint: self.durable.lineage.fingerprint(self.config.fingerprint),
            lineage: self.durable.lineage,
            incarnation: self.durable.incarnation,
            body,
        };
        self.gate.emit(Effect::Send { to, message });
    }

    pub(crate) fn send_all(&mut self, body: &Body) {
        for index in 0..self.config.replicas.len() {
            let Some(to) = self.config.replicas.iter().nth(index).copied() else {
                break;
            };
            if to != self.config.me {
                self.send(to, body.clone());
            }
        }
    }

    /// The term that this keeper's server is primary of, follows, or last did.
    pub(crate) fn term(&self) -> Term {
        match (&self.primary, self.server.followed) {
            (Some(primary), _) => primary.term,
            (None, Some(term)) => term,
            (None, None) => self.durable.promise.floor,
        }
    }

    /// Whether this replica counts, as far as its keeper knows.
    pub(crate) fn is_voter(&self) -> bool {
        self.durable
            .cohort
            .as_ref()
            .is_some_and(|cohort| cohort.counts(self.config.me, self.durable.incarnation))
    }

    fn role(&self, is_voter: bool) -> Role {
        match self.server.state {
            State::Unobserved | State::Initializing | State::Starting => Role::Starting,
            State::Empty | State::Rewinding | State::Rebuilding => Role::Learner,
            State::Detached
            | State::Ranking
            | State::Ranked
            | State::Attaching
            | State::Following
            | State::Renewing
            | State::Detaching => {
                if is_voter {
                    Role::Standby
                } else {
                    Role::Learner
                }
            }
            State::Adopting
            | State::Configuring
            | State::Promoting
            | State::Unopened
            | State::Opening
            | State::Closing => Role::Candidate,
            State::Open => Role::Primary,
            State::Stopping => Role::Fenced,
            State::Stopped | State::Halted => Role::Stopped,
        }
    }

    /// Where the log ends, as last observed.
    pub(crate) fn position(&self) -> (Timeline, mainstay_units::Lsn) {
        match self.server.process() {
            ProcessState::Standby { timeline, flushed }
            | ProcessState::Primary { timeline, flushed } => (timeline, flushed),
            ProcessState::Stopped | ProcessState::Changing => Default::default(),
        }
    }

    pub(crate) fn heartbeat(&self) -> Heartbeat {
        let (timeline, flushed) = self.position();
        let promoted = self
            .primary
            .as_ref()
            .filter(|_| self.server.state.is_promoted());
        let data = self.server.observation.as_ref().map(|seen| seen.data);
        Heartbeat {
            sent: self.now,
            age: core::time::Duration::ZERO,
            echo: None,
            role: self.status.role,
            reason: self.status.reason,
            term: self.status.term,
            primary: self.status.primary,
            open: self.status.open,
            history: promoted.map(|primary| primary.history.clone()),
            rewind_source: promoted.is_some_and(|primary| primary.rewind_source),
            promise: self.durable.promise,
            incarnation: self.durable.incarnation,
            cohort: match &self.primary {
                Some(primary) => primary.settled,
                None => self.status.cohort,
            },
            timeline,
            flushed,
            system_identifier: match data {
                Some(DataState::Present {
                    system_identifier, ..
                }) => Some(system_identifier),
                Some(DataState::Blank | DataState::Broken) | None => None,
            },
            blank: self.is_blank(),
            lost: self.lost_since.is_some(),
            streams: self.server.streams(),
            renewal: self.server.renewal(),
            renews: self.renews(),
            staying: Some(self.config.staying().collect()),
        }
    }

    /// Brings the status up to date and tells whoever should know.
    fn say(&mut self) {
        let (timeline, lsn) = self.position();
        let voter = self.is_voter();
        let status = Status {
            role: self.role(voter),
            reason: self.reason(),
            term: self.term(),
            open: self.server.state == State::Open,
            switchover: self.switchover.is_some() && self.primary.is_some(),
            lease_expires: self.lease_expires(),
            timeline,
            lsn,
            primary: self.known_primary(),
            promise: self.durable.promise,
            incarnation: self.durable.incarnation,
            lineage: self.durable.lineage,
            cohort: self.durable.cohort.as_ref().map(|cohort| cohort.version),
            voter,
            paused: self.durable.paused,
            solo: self.solo_in_force(),
            protected: self.protected(),
            strangers: self.strangers,
            left_behind: self.left_behind,
        };
        if status.says_the_same_as(&self.status) {
            self.status.follow(&status);
        } else {
            self.status = status;
            self.gate
                .emit(Effect::Publish(Box::new(self.status.clone())));
        }
        let said = Said {
            role: self.status.role,
            term: self.status.term,
            open: self.status.open,
            promoted: self.server.state.is_promoted(),
            rewind_source: self.primary.as_ref().is_some_and(|own| own.rewind_source),
        };
        let next = self.now + self.until_next_heartbeat();
        if said != self.said || self.now >= self.heartbeat_due {
            self.said = said;
            self.heartbeat_due = next;
            self.beat();
        } else {
            // Who leaves its rest speaks as soon as anybody else would.
            self.heartbeat_due = self.heartbeat_due.min(next);
        }
    }

    /// A primary that serves and a standby that follows one that it hears have nothing to add; everybody else may be
    /// waited for.
    fn until_next_heartbeat(&self) -> core::time::Duration {
        let timings = &self.config.timings;
        let settled = matches!(self.server.state, State::Open | State::Following);
        let content = matches!(self.status.reason, Reason::Serving | Reason::Following);
        if settled && content && self.lost_since.is_none() {
            timings.heartbeat_at_rest()
        } else {
            timings.heartbeat
        }
    }

    /// Tells all others, each with what was heard of it last.
    fn beat(&mut self) {
        let mut words = Some(Box::new(self.heartbeat()));
        let others = self.peers.count();
        for index in 0..others {
            let Some((to, echo)) = self.peers.echo(index, self.now) else {
                break;
            };
            let is_last = index + 1 == others;
            let own = if is_last { words.take() } else { words.clone() };
            if let Some(mut heartbeat) = own {
                heartbeat.echo = echo;
                self.send(to, Body::Heartbeat(heartbeat));
            }
        }
    }

    /// How long the way to another keeper and back takes, smoothed; `None` before it was measured.
    pub fn round_trip(&self, peer: ReplicaId) -> Option<core::time::Duration> {
        self.peers.get(peer)?.round_trip()
    }

    pub(crate) fn known_primary(&self) -> Option<ReplicaId> {
        if self.primary.is_some() {
            return Some(self.config.me);
        }
        self.leader().map(|(replica, _)| replica)
    }

    fn reason(&self) -> Reason {
        if self.durable.paused {
            return Reason::Paused;
        }
        match self.server.state {
            State::Open if self.switchover.is_some() => Reason::SwitchingOver,
            State::Open if self.is_solo() => Reason::Solo,
            State::Open if self.quorum_is_missing() => Reason::QuorumMissing,
            State::Open if self.solo_in_force().is_some() => Reason::SoloEnding,
            State::Following | State::Open if self.server.ailment().is_some() => {
                Reason::Unserviceable(self.server.ailment().unwrap_or(Serviceability::Good))
            }
            State::Following if self.server.starved_since.is_some() => {
                if self.can_be_spared() {
                    Reason::LogRemoved
                } else {
                    Reason::LogRemovedNeeded
                }
            }
            State::Unopened if !self.cohort_is_complete() => Reason::AwaitingMembers,
            State::Empty if self.durable.cohort.is_none() => Reason::AwaitingFounding,
            State::Detached | State::Ranking | State::Ranked => match self.election {
                Election::Asking { .. } => Reason::AskingPreVotes,
                Election::Recruiting { .. } => Reason::Recruiting,
                Election::Idle { .. } | Election::Elected { .. } => self.server.reason,
            },
            State::Unobserved
            | State::Empty
            | State::Initializing
            | State::Stopped
            | State::Starting
            | State::Attaching
            | State::Following
            | State::Detaching
            | State::Adopting
            | State::Configuring
            | State::Promoting
            | State::Unopened
            | State::Opening
            | State::Open
            | State::Closing
            | State::Stopping
            | State::Rewinding
            | State::Rebuilding
            | State::Renewing
            | State::Halted => self.server.reason,
        }
    }

    pub(crate) fn has(&self, bug: PlantedBug) -> bool {
        self.planted.has(bug)
    }

    /// The next thing to do; drain after every `handle` and after `new`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.gate.poll()
    }

    /// Whether there is anything to do.
    pub fn has_effects(&self) -> bool {
        self.gate.is_ready()
    }

    /// All that is to be done at once, in exchange for a list that is empty.
    pub fn swap_effects(&mut self, room: &mut VecDeque<Effect>) {
        self.gate.swap(room);
    }

    /// When to call `handle` with a tick if nothing happens before.
    pub fn next_deadline(&self) -> Option<(Instant, WakeReason)> {
        self.deadline
    }

    fn earliest_deadline(&self) -> Option<(Instant, WakeReason)> {
        if self.server.state == State::Halted {
            return None;
        }
        let mut earliest = Instant::FAR_FUTURE;
        let mut why = None;
        // Step by step: as one chain over pairs this was a tenth of the simulator's time.
        let mut weigh = |found: Option<(Instant, WakeReason)>| {
            if let Some((deadline, reason)) = found
                && deadline > self.now
                && deadline < earliest
            {
                earliest = deadline;
                why = Some(reason);
            }
        };
        weigh(Some((self.heartbeat_due, WakeReason::Heartbeat)));
        weigh(self.election_deadline());
        weigh(self.lease_deadline());
        weigh(self.switchover_deadline());
        weigh(self.server.retry_deadline(self.now));
        Some((earliest, why?))
    }

    /// What this keeper says of itself.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// What the platform file asked for last.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is on disk, or will be when the pending `Persist` is done.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }
}
