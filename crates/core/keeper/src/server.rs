//! Drives the local server through the table of `machine`.
//!
//! `next_event` weighs what is known and raises at most one event, `apply` looks its row up, `enter` does
//! to the server what the new state means. Each state has at most one command of its own under way; its
//! outcome is that state's `Done` or `Failed`.

use core::time::Duration;

use mainstay_units::{Instant, Term};

use crate::durable::Durable;
use crate::effect::Effect;
use crate::keeper::Keeper;
use crate::machine::{self, Event, State};
use crate::planted::PlantedBug;
use crate::postgres::{
    Command, DataState, Failure, Observation, OperationId, Outcome, ProcessState, Rank,
    ReceiverName, Renewal, Serviceability,
};
use crate::primary::{Primary, Setting, Waits};
use crate::status::{HaltReason, Reason, WakeReason};

/// After this many failed starts in a row the folder counts as unusable where a primary can replace it.
const STARTS_LIMIT: u32 = 5;

#[derive(Debug)]
pub(crate) struct Server {
    pub state: State,
    pub reason: Reason,
    pub observation: Option<Observation>,
    observed_at: Instant,
    /// Whether anything was observed since the state was entered.
    fresh: bool,
    /// The state's own command, while it is under way.
    pub operation: Option<OperationId>,
    pub next_operation: u64,
    /// Where the log ends; only while nothing can change it.
    pub rank: Option<Rank>,
    /// The term under which this server streams, or last did.
    pub followed: Option<Term>,
    /// The server was seen out of recovery where nobody had promoted it: its log counts for nothing until the
    /// folder is filled anew.
    pub strayed: bool,
    /// The log is known not to be a part of the primary's.
    diverged: bool,
    /// What the primary's log lacks of it may be answered commits: the folder is kept as it is.
    precious: bool,
    /// The log that this server lacks is gone: since when that is known.
    pub starved_since: Option<Instant>,
    /// The same, and that it could be filled anew.
    pub spared_since: Option<Instant>,
    /// It was stopped in order to be filled anew.
    pub starved: bool,
    /// When the stream was last heard, or begun.
    stream_heard: Instant,
    start_failures: u32,
    /// When it was started, or first seen.
    pub started: Instant,
    retry_at: Instant,
    unserviceable_since: Option<Instant>,
    pub rows_used: u128,
}

impl Server {
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::default(),
            reason: Reason::default(),
            observation: None,
            observed_at: now,
            fresh: false,
            operation: None,
            next_operation: 0,
            rank: None,
            followed: None,
            strayed: false,
            diverged: false,
            precious: false,
            starved_since: None,
            spared_since: None,
            starved: false,
            stream_heard: now,
            start_failures: 0,
            started: now,
            retry_at: now,
            unserviceable_since: None,
            rows_used: 0,
        }
    }

    /// As one that was never looked at. Numbers of operations go on, so that no earlier outcome is taken for a later one.
    pub fn begin_anew(&mut self, now: Instant) {
        *self = Self {
            observation: self.observation.take(),
            next_operation: self.next_operation,
            rows_used: self.rows_used,
            ..Self::new(now)
        };
    }

    pub fn process(&self) -> ProcessState {
        self.observation
            .as_ref()
            .map_or(ProcessState::Stopped, |seen| seen.process)
    }

    /// The observation, if it was made in the present state.
    pub fn fresh(&self) -> Option<&Observation> {
        self.observation.as_ref().filter(|_| self.fresh)
    }

    /// Whether the data folder is what `durable` answers for.
    pub fn is_usable(&self, durable: &Durable) -> bool {
        match self.observation.as_ref().map(|seen| seen.data) {
            Some(DataState::Present { incarnation, .. }) => {
                durable.incarnation.0 != 0 && incarnation == Some(durable.incarnation)
            }
            Some(DataState::Blank | DataState::Broken) | None => false,
        }
    }

    /// What this server works with, and should not.
    pub fn ailment(&self) -> Option<Serviceability> {
        let seen = self.observation.as_ref()?.serviceability;
        seen.is_ailment().then_some(seen)
    }

    /// Follows, and its receiver streams.
    pub fn streams(&self) -> bool {
        let receiver = self.fresh().and_then(|seen| seen.receiver);
        self.state == State::Following && receiver.is_some_and(|receiver| receiver.streaming)
    }

    pub fn renewal(&self) -> Renewal {
        self.observation
            .as_ref()
            .map_or(Renewal::NotNeeded, |seen| seen.renewal)
    }

    pub fn retry_deadline(&self, now: Instant) -> Option<(Instant, WakeReason)> {
        (self.retry_at > now).then_some((self.retry_at, WakeReason::Retry))
    }
}

impl Keeper {
    pub(crate) fn handle_observation(&mut self, observation: Observation) {
        if let (
            DataState::Present {
                system_identifier, ..
            },
            Some(cohort),
        ) = (observation.data, &self.durable.cohort)
            && system_identifier != cohort.system_identifier
        {
            self.halt(HaltReason::ForeignData);
            return;
        }
        let unserviceable = match observation.serviceability {
            Serviceability::Good | Serviceability::DiskFull | Serviceability::CorruptData => false,
            Serviceability::Hung
            | Serviceability::NoSlots
            | Serviceability::DeadDisk
            | Serviceability::ReadOnly => true,
        };
        let since = self.server.unserviceable_since.unwrap_or(self.now);
        self.server.unserviceable_since = unserviceable.then_some(since);
        // A look at a hung server repeats what it was last.
        let out_of_recovery = matches!(observation.process, ProcessState::Primary { .. })
            && observation.serviceability.is_answering();
        let stands_by = matches!(
            self.server.state,
            State::Detached | State::Ranked | State::Following
        );
        self.server.strayed |= out_of_recovery && stands_by;
        self.note_stream(&observation);
        self.note_barrier(&observation);
        self.server.observation = Some(observation);
        self.server.observed_at = self.now;
        self.server.fresh = true;
        self.note_end_of_log();
    }

    fn note_stream(&mut self, observation: &Observation) {
        let heard = observation
            .receiver
            .is_some_and(|receiver| receiver.streaming && receiver.heard);
        if heard || self.server.state != State::Following {
            self.server.stream_heard = self.now;
        }
        self.note_starvation(observation);
    }

    pub(crate) fn handle_outcome(&mut self, operation: OperationId, outcome: Outcome) {
        if self.server.operation != Some(operation) {
            self.handle_duty_outcome(operation, &outcome);
            return;
        }
        self.server.operation = None;
        let event = match outcome {
            Outcome::Done | Outcome::Initialized { .. } => Event::Done,
            Outcome::Ranked(rank) => {
                if let Some(primary) = self.primary.as_mut() {
                    primary.history = rank.history.clone();
                    primary.first_record_end = rank.lsn;
                }
                self.server.rank = Some(rank);
                Event::Done
            }
            Outcome::Promoted {
                timeline,
                first_record_end,
                history,
            } => {
                let mut event = Event::WrongTimeline;
                if let Some(primary) = self.primary.as_mut() {
                    primary.history = history;
                    primary.first_record_end = first_record_end;
                    if Term::from(timeline) == primary.term
                        || self.planted.has(PlantedBug::TimelineClashUnnoticed)
                        || self.planted.has(PlantedBug::SameNodeWithoutNewTimeline)
                    {
                        event = Event::Done;
                    }
                }
                event
            }
            Outcome::Failed(failure) => {
                // A program that does not run says nothing of the folder.
                if self.server.state == State::Starting && failure != Failure::Program {
                    self.server.start_failures += 1;
                }
                Event::Failed
            }
        };
        self.apply(event);
        if self.server.state == State::Ranked {
            self.report();
        }
    }

    /// Raises events until there is none; whether there was any.
    pub(crate) fn run_server(&mut self) -> bool {
        let mut moved = false;
        while let Some(event) = self.next_event() {
            assert!(
                self.apply(event),
                "{event:?} was raised in {:?}, which has no row for it",
                self.server.state
            );
            moved = true;
        }
        moved
    }

    fn next_event(&self) -> Option<Event> {
        let paused = self.durable.paused;
        let state = self.server.state;
        if state.is_primary() {
            return self.next_event_as_primary();
        }
        match state {
            State::Unobserved => self.first_event(),
            State::Ranked if !paused => self.next_event_ranked(),
            State::Ranked | State::Following | State::Detached if self.has_died() => {
                Some(Event::Died)
            }
            State::Following if !paused => self.next_event_following(),
            // An election does not wait for pages to be written.
            State::Renewing if !paused && self.must_leave() => Some(Event::MustLeave),
            _ if paused || self.now < self.server.retry_at => None,
            State::Empty => self.next_event_empty(),
            State::Stopped => self.next_event_stopped(),
            State::Detached => Some(Event::Rankable),
            State::Stopping if self.server.operation.is_none() => Some(Event::Again),
            State::Initializing
            | State::Starting
            | State::Ranking
            | State::Ranked
            | State::Attaching
            | State::Following
            | State::Detaching
            | State::Stopping
            | State::Rewinding
            | State::Rebuilding
            | State::Renewing
            | State::Halted
            | State::Adopting
            | State::Configuring
            | State::Promoting
            | State::Unopened
            | State::Opening
            | State::Open
            | State::Closing => None,
        }
    }

    /// A restarted keeper meets a server. Its promise is enforced before anything else: what runs against
    /// it is stopped or detached.
    fn first_event(&self) -> Option<Event> {
        let seen = self.server.fresh()?;
        let usable = self.server.is_usable(&self.durable);
        let promise = self.durable.promise;
        match seen.process {
            ProcessState::Changing => None,
            ProcessState::Stopped if usable => Some(Event::SeenStopped),
            // Where there is something, and hands are kept off, somebody may start it yet.
            ProcessState::Stopped => (!self.durable.paused).then_some(Event::SeenEmpty),
            ProcessState::Standby { .. } | ProcessState::Primary { .. } if !usable => {
                (!self.durable.paused).then_some(Event::MustStop)
            }
            ProcessState::Standby { .. } => {
                let name = seen.receiver.and_then(|receiver| receiver.name);
                let kept = name.is_some_and(|name| {
                    name.term >= promise.floor
                        && name.replica == self.config.me
                        && name.incarnation == self.durable.incarnation
                });
                if kept {
                    Some(Event::SeenFollower)
                } else if self.durable.paused {
                    None
                } else {
                    Some(Event::SeenStandby)
                }
            }
            ProcessState::Primary { timeline, .. } => {
                let own = Term::from(timeline) == promise.floor && self.durable.cohort.is_some();
                Some(if own {
                    Event::SeenPrimary
                } else {
                    Event::MustStop
                })
            }
        }
    }

    fn next_event_stopped(&self) -> Option<Event> {
        self.server.fresh()?;
        if !self.server.is_usable(&self.durable) {
            return Some(Event::Unusable);
        }
        self.durable.cohort.as_ref()?;
        if self.server.process() != ProcessState::Stopped {
            return Some(Event::Ready);
        }
        let precious = self.server.precious;
        if self.server.diverged && self.may_return(precious) {
            return Some(if precious && self.can_be_copied() {
                Event::SourceFound
            } else {
                Event::Diverged
            });
        }
        if self.server.starved && self.can_be_spared() {
            return Some(Event::SourceFound);
        }
        if self.server.start_failures >= STARTS_LIMIT && self.may_rewind() && self.may_forget() {
            return Some(Event::SourceFound);
        }
        Some(Event::Ready)
    }

    fn next_event_ranked(&self) -> Option<Event> {
        if self.has_died() {
            return Some(Event::Died);
        }
        let rank = self.server.rank.as_ref()?;
        let (_, leader) = self.leader()?;
        let history = leader.history.as_ref()?;
        if rank.is_part_of(leader.term.into(), history)
            || self.has(PlantedBug::TimelineClashUnnoticed)
        {
            return Some(Event::PrimaryKnown);
        }
        let precious = self.has_lost_commits();
        self.may_return(precious).then_some(Event::Diverged)
    }

    fn next_event_as_primary(&self) -> Option<Event> {
        let state = self.server.state;
        if self.has_died() && state != State::Configuring && state != State::Promoting {
            // In the states that have a row for it; the others hear it from their command.
            if state != State::Adopting {
                return Some(Event::Died);
            }
        }
        if self.durable.paused {
            return None;
        }
        if self.stop_reason().is_some() {
            return Some(Event::MustStop);
        }
        match state {
            State::Unopened if self.may_open() => Some(Event::QuorumReached),
            State::Opening | State::Open if self.is_isolated() => Some(Event::Isolated),
            State::Open if self.switchover_must_close() => Some(Event::HandOver),
            State::Unobserved
            | State::Empty
            | State::Initializing
            | State::Stopped
            | State::Starting
            | State::Detached
            | State::Ranking
            | State::Ranked
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
            | State::Halted => None,
        }
    }

    /// Why this server must not be a primary, if it is one.
    fn stop_reason(&self) -> Option<Reason> {
        let primary = self.primary.as_ref()?;
        if self.durable.promise.floor > primary.term {
            return Some(Reason::Superseded);
        }
        let leader = self.leader();
        if leader.is_some_and(|(_, leader)| leader.term > primary.term) {
            return Some(Reason::Superseded);
        }
        if self.is_cut_off() {
            return Some(Reason::Isolated);
        }
        let since = self.server.unserviceable_since?;
        let serviceability = self.server.observation.as_ref()?.serviceability;
        (self.now.since(since) >= self.config.timings.unserviceable)
            .then_some(Reason::Unserviceable(serviceability))
    }

    /// It ended, or somebody else ended it and started another in its place: what runs there is not what this
    /// state knows of. Starting the server again ends that one first.
    fn has_died(&self) -> bool {
        let promoted = self.server.state.is_promoted();
        self.server.fresh().is_some_and(|seen| {
            let certain = seen.serviceability.is_answering();
            match seen.process {
                ProcessState::Stopped => true,
                ProcessState::Changing => false,
                ProcessState::Standby { .. } => promoted && certain,
                ProcessState::Primary { .. } => !self.server.state.is_primary() && certain,
            }
        })
    }

    fn next_event_following(&self) -> Option<Event> {
        if self.must_leave() {
            return Some(Event::MustLeave);
        }
        if self.may_rebuild() {
            return Some(Event::Starved);
        }
        if self.may_renew() {
            return Some(Event::Renewed);
        }
        (self.server.starved_since.is_none() && self.is_stuck()).then_some(Event::StreamStuck)
    }

    /// The primary lives and serves, and its server's stream brings nothing.
    fn is_stuck(&self) -> bool {
        let silent = self.now.since(self.server.stream_heard) >= self.config.timings.stream;
        silent
            && self
                .leader()
                .is_some_and(|(_, leader)| Some(leader.term) == self.server.followed)
            && !self.has(PlantedBug::StuckStreamLeft)
    }

    fn must_leave(&self) -> bool {
        let Some(term) = self.server.followed else {
            return true;
        };
        let timings = &self.config.timings;
        let later = |next| self.peers.leader(self.now, timings, next).is_some();
        self.durable.promise.floor > term || term.next().is_some_and(later)
    }

    pub(crate) fn apply(&mut self, event: Event) -> bool {
        let Some((number, row)) = machine::row(self.server.state, event) else {
            return false;
        };
        self.server.rows_used |= 1 << number;
        let reason = Some(row.3)
            .filter(|_| event != Event::MustStop)
            .or_else(|| self.stop_reason())
            .unwrap_or(row.3);
        let from = self.server.state;
        self.server.state = row.2;
        self.server.reason = reason;
        self.server.fresh = false;
        // One that is seen in a folder that was taken from under it may be seen again after it was ended.
        if event == Event::Failed || (from, event) == (State::Empty, Event::MustStop) {
            let jitter = self.random.up_to(self.config.timings.retry);
            self.server.retry_at = self.now + self.config.timings.retry + jitter;
        }
        self.leave(from, event);
        self.enter();
        true
    }

    fn leave(&mut self, from: State, event: Event) {
        let to = self.server.state;
        let precious = self.has_lost_commits();
        if to != State::Ranked && to != State::Configuring {
            self.server.rank = None;
        }
        match (from, event) {
            (State::Starting, Event::Failed) => {}
            (State::Starting, _) => {
                self.server.start_failures = 0;
                self.server.started = self.now;
            }
            (State::Following, Event::Starved) => self.server.starved = true,
            (State::Ranked, Event::Diverged) => {
                self.server.diverged = true;
                self.server.precious = precious;
            }
            (State::Ranked, Event::PrimaryKnown) => self.server.diverged = false,
            (State::Unopened, Event::QuorumReached) => self.note_opening(),
            // Not before: what the server says last, it says under the lease. It is not renewed meanwhile.
            (State::Closing, _) => {
                self.clear_lease();
                self.forget_end_of_log();
            }
            _ => {}
        }
        if from.is_primary() && !to.is_primary() {
            self.clear_lease();
            if self.has(PlantedBug::SettingEmptiedBeforeSessionsEnd) {
                self.duty(Command::SetSynchronousStandbys(
                    crate::postgres::SynchronousStandbys::Off,
                ));
            }
            self.primary = None;
        }
    }

    fn enter(&mut self) {
        match self.server.state {
            State::Initializing => {
                let incarnation = self.new_incarnation();
                self.command(Command::Initialize { incarnation });
            }
            State::Starting => self.command(Command::StartStandby),
            State::Ranking => self.command(Command::ReadRank),
            State::Attaching => self.attach(),
            State::Following => {
                self.server.starved = false;
                self.server.stream_heard = self.now;
                self.note_adopted_stream();
            }
            State::Detaching => self.command(Command::Detach),
            State::Adopting => {
                self.primary = Some(Primary::new(self.durable.promise.floor));
                self.command(Command::ReadRank);
            }
            State::Configuring => {
                let term = self.durable.promise.highest;
                self.server.followed = None;
                self.peers.forget_grants();
                self.primary = Some(Primary::new(term));
                if let Some(cohort) = &self.durable.cohort {
                    let stance = self.stance_kept(cohort);
                    let standbys = self.standbys(cohort, term, stance);
                    let setting = Setting {
                        cohort: cohort.version,
                        waits: Waits::ForQuorum,
                        stance,
                    };
                    if let Some(primary) = self.primary.as_mut() {
                        primary.setting = Some(setting);
                    }
                    self.command(Command::SetSynchronousStandbys(standbys));
                }
            }
            State::Promoting => {
                let timeline = self.durable.promise.highest.into();
                self.command(Command::Promote { timeline });
            }
            State::Opening => self.command(Command::OpenApplications),
            State::Closing => self.command(Command::CloseApplications),
            State::Stopping => self.stop(),
            State::Renewing => self.command(Command::StopInOrder),
            State::Rewinding | State::Rebuilding => self.refill(),
            State::Stopped => self.server.operation = None,
            State::Unobserved
            | State::Empty
            | State::Detached
            | State::Ranked
            | State::Unopened
            | State::Open
            | State::Halted => {}
        }
    }

    fn attach(&mut self) {
        let Some((source, term)) = self.leader().map(|(source, leader)| (source, leader.term))
        else {
            return;
        };
        self.raise_floor(term);
        self.server.followed = Some(term);
        let name = ReceiverName {
            term: self.spoken_term(term),
            replica: self.config.me,
            incarnation: self.durable.incarnation,
        };
        self.command(Command::Follow { source, name });
    }

    /// A restarted keeper knows from the stream's name which term it serves, and learns from heartbeats
    /// whose that is.
    fn note_adopted_stream(&mut self) {
        if self.server.followed.is_some() {
            return;
        }
        let name = self
            .server
            .observation
            .as_ref()
            .and_then(|seen| seen.receiver)
            .and_then(|receiver| receiver.name);
        if let Some(name) = name {
            self.server.followed = Some(name.term);
        }
    }

    /// What it comes back to is the log of that primary's term or of a later one: it follows nothing before.
    fn refill(&mut self) {
        let Some((source, term)) = self.leader().map(|(source, leader)| (source, leader.term))
        else {
            return;
        };
        let forgets = self.server.precious || self.server.state == State::Rebuilding;
        let spare = !forgets && !self.may_forget() && !self.has(PlantedBug::RewoundWithoutSpare);
        self.server.diverged = false;
        self.server.precious = false;
        self.server.strayed = false;
        self.server.starved = false;
        self.raise_floor(term);
        let incarnation = if forgets {
            self.new_incarnation()
        } else {
            self.durable.incarnation
        };
        let command = if self.server.state == State::Rewinding {
            Command::Rewind {
                source,
                incarnation,
                spare,
            }
        } else {
            Command::Rebuild {
                source,
                incarnation,
            }
        };
        self.command(command);
    }

    /// From here on this replica has forgotten what it acknowledged, whatever becomes of the folder.
    fn new_incarnation(&mut self) -> mainstay_units::Incarnation {
        self.durable.incarnation = if self.has(PlantedBug::RebuiltReplicaCounted) {
            mainstay_units::Incarnation(u128::from(self.config.me.0))
        } else {
            self.random.incarnation()
        };
        self.persist();
        self.durable.incarnation
    }

    fn command(&mut self, command: Command) {
        self.server.next_operation += 1;
        let operation = OperationId(self.server.next_operation);
        self.server.operation = Some(operation);
        self.gate.emit(Effect::Postgres { operation, command });
    }

    /// A command that belongs to a duty, not to the state.
    pub(crate) fn duty(&mut self, command: Command) -> OperationId {
        self.server.next_operation += 1;
        let operation = OperationId(self.server.next_operation);
        self.gate.emit(Effect::Postgres { operation, command });
        operation
    }

    fn stop(&mut self) {
        self.gate.drop_commands();
        self.server.next_operation += 1;
        let operation = OperationId(self.server.next_operation);
        self.server.operation = Some(operation);
        self.gate.emit_now(Effect::Postgres {
            operation,
            command: Command::StopImmediate,
        });
    }

    /// How long ago the server was last seen.
    pub(crate) fn observation_age(&self) -> Duration {
        self.now.since(self.server.observed_at)
    }
}
