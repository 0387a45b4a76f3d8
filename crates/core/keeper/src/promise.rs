//! Promises: a replica leaves the old term for a coordinator, once per term, on disk, before it reports.
//!
//! The order that counts (promise durable → stream configuration emptied → receiver gone → report) follows
//! from the gate and from the table: a report is made only in the state `Ranked`, which lies behind the
//! detaching, and nothing leaves before the promise is durable.

use alloc::boxed::Box;

use mainstay_units::{Incarnation, Term};

use crate::config::ReplicaId;
use crate::durable::{Cohort, Promise};
use crate::keeper::Keeper;
use crate::machine::{Event, State};
use crate::message::{Body, Heartbeat, PreVote, Refusal, Report};
use crate::planted::PlantedBug;

/// Who says something: a replica, and which filling of its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub replica: ReplicaId,
    pub incarnation: Incarnation,
}

impl Promise {
    /// Whether the last promise binds, that is was not released.
    pub(crate) fn binds(&self) -> bool {
        self.floor == self.highest && self.coordinator.is_some()
    }

    /// Whether it binds, in this term, to this filling of this coordinator's folder.
    pub(crate) fn binds_to(&self, coordinator: Sender, term: Term) -> bool {
        self.binds()
            && self.highest == term
            && self.coordinator == Some(coordinator.replica)
            && self.incarnation == coordinator.incarnation
    }
}

impl Keeper {
    pub(crate) fn own_name(&self) -> Sender {
        Sender {
            replica: self.config.me,
            incarnation: self.durable.incarnation,
        }
    }

    /// There is a primary of `term`: none below is followed from now on. A promise of that very term is
    /// thereby kept, whoever it was given to, and cannot be released any more.
    pub(crate) fn raise_floor(&mut self, term: Term) {
        let forgets = self.has(PlantedBug::KeptPromiseReleased);
        let promise = &mut self.durable.promise;
        if promise.previous_floor >= term || (forgets && promise.floor >= term) {
            return;
        }
        promise.floor = promise.floor.max(term);
        promise.previous_floor = term;
        if promise.highest <= term {
            promise.highest = term;
            promise.coordinator = None;
            promise.incarnation = Incarnation(0);
        }
        self.persist();
    }

    pub(crate) fn promise(&mut self, term: Term, coordinator: Sender) {
        let promise = self.durable.promise;
        assert!(
            term > promise.highest || self.has(PlantedBug::TwoCoordinatorsInOneTerm),
            "a term is promised once"
        );
        self.durable.promise = Promise {
            highest: term,
            coordinator: Some(coordinator.replica),
            incarnation: coordinator.incarnation,
            floor: term,
            previous_floor: promise.floor,
        };
        self.promised_at = Some(self.now);
        self.persist();
    }

    pub(crate) fn handle_ask_pre_vote(&mut self, from: ReplicaId, round: u64, term: Term) {
        let verdict = match self.pre_vote_refusal(term) {
            Some(refusal) => PreVote::Refused(refusal),
            None => PreVote::Granted,
        };
        self.send(from, Body::PreVote { round, verdict });
    }

    fn pre_vote_refusal(&self, term: Term) -> Option<Refusal> {
        if self.durable.paused {
            return Some(Refusal::Paused);
        }
        if term <= self.durable.promise.highest {
            return Some(Refusal::Promised);
        }
        if !self.is_lost() {
            return Some(if self.primary.is_some() {
                Refusal::PrimaryServing
            } else {
                Refusal::PrimaryHeard
            });
        }
        self.lease_is_running().then_some(Refusal::LeaseRunning)
    }

    pub(crate) fn handle_recruit(&mut self, sender: Sender, term: Term) {
        let from = sender.replica;
        if self.durable.promise.binds_to(sender, term) {
            self.report();
            return;
        }
        self.note_surrender_by_recruit(from, term);
        if self.outbid(from, term) {
            return;
        }
        if let Some(refusal) = self.recruit_refusal(term) {
            let highest = self.durable.promise.highest.max(self.peers.highest_term());
            let verdict = Report::Refused { refusal, highest };
            let to = sender.incarnation;
            let verdict = Box::new(verdict);
            self.send(from, Body::Report { term, to, verdict });
            return;
        }
        self.abandon_election();
        self.promise(term, sender);
        self.report();
    }

    fn recruit_refusal(&self, term: Term) -> Option<Refusal> {
        let promise = self.durable.promise;
        let again = term == promise.highest && self.has(PlantedBug::TwoCoordinatorsInOneTerm);
        if self.durable.paused {
            return Some(Refusal::Paused);
        }
        if term <= promise.highest && !again {
            return Some(Refusal::Promised);
        }
        if self.lease_is_running() {
            return Some(Refusal::LeaseRunning);
        }
        if self.primary.is_some() && !self.is_lost() {
            return Some(Refusal::PrimaryServing);
        }
        let filling = matches!(
            self.server.state,
            State::Empty | State::Initializing | State::Rewinding | State::Rebuilding
        );
        filling.then_some(Refusal::Learner)
    }

    /// Tells the coordinator what this replica has, once nothing can change it any more.
    pub(crate) fn report(&mut self) {
        let promise = self.durable.promise;
        let Some(coordinator) = promise.coordinator.filter(|_| promise.binds()) else {
            return;
        };
        let Some(mut rank) = self.server.rank.clone() else {
            return;
        };
        if self.server.state != State::Ranked {
            return;
        }
        // A server that promoted itself wrote on a timeline that is nobody's term; its number must not
        // outrank what was acknowledged.
        if self.server.strayed {
            return;
        }
        if self.has(PlantedBug::PromiseCountedAsRank) {
            rank.timeline = promise.previous_floor.max(rank.timeline.into()).into();
        }
        let term = promise.highest;
        let verdict = Report::Recruited {
            incarnation: self.durable.incarnation,
            rank,
            cohort: self.durable.cohort.clone().map(Box::new),
            known: Some(promise.previous_floor),
        };
        let to = promise.incarnation;
        if coordinator == self.config.me {
            self.handle_report(self.config.me, term, to, verdict);
        } else {
            let verdict = Box::new(verdict);
            self.send(coordinator, Body::Report { term, to, verdict });
        }
    }

    pub(crate) fn handle_promote(&mut self, sender: Sender, term: Term, cohort: Cohort) {
        let from = sender.replica;
        if self.primary.as_ref().is_some_and(|own| own.term == term) {
            return;
        }
        let promise = self.durable.promise;
        let bound = promise.binds_to(sender, term);
        let counted = cohort.counts(self.config.me, self.durable.incarnation);
        let newer = self
            .durable
            .cohort
            .as_ref()
            .is_none_or(|own| own.version < cohort.version);
        let ready = self.server.state == State::Ranked && !self.durable.paused;
        if bound && counted && newer && ready && cohort.version.term == term {
            self.durable.cohort = Some(cohort);
            self.persist();
            self.apply(Event::Elected);
        } else if from != self.config.me {
            let verdict = Report::Refused {
                refusal: Refusal::ServerUnready,
                highest: promise.highest,
            };
            let to = sender.incarnation;
            let verdict = Box::new(verdict);
            self.send(from, Body::Report { term, to, verdict });
        }
    }

    pub(crate) fn handle_abort(&mut self, sender: Sender, term: Term) {
        if self.durable.promise.binds_to(sender, term) {
            self.durable.promise.floor = self.durable.promise.previous_floor;
            self.promised_at = None;
            self.persist();
        }
    }

    /// A peer that is still bound by a term which this keeper gave up did not hear of it.
    pub(crate) fn remind_of_abort(&mut self, from: ReplicaId, heartbeat: &Heartbeat) {
        let bound = heartbeat.promise;
        let Some(term) = self.durable.aborted else {
            return;
        };
        if bound.binds_to(self.own_name(), term) {
            self.send(from, Body::Abort { term });
        }
    }
}
