//! Planned switchover: announce, end the sessions, let the target catch up, then recruit for it.
//!
//! The old primary's keeper coordinates. Until it promises the new term it can call the whole thing off
//! and open again; afterwards it is an election like any other, with a preference.

use mainstay_units::{Instant, Term};

use crate::config::ReplicaId;
use crate::election::Election;
use crate::input::RequestId;
use crate::keeper::Keeper;
use crate::machine::State;
use crate::postgres::{Client, ClientState, ProcessState};
use crate::status::{Answer, Reason, SwitchoverRefusal, WakeReason};

/// A switchover under way.
#[derive(Debug)]
pub(crate) struct Switchover {
    /// Who asked; nobody, when the keeper itself renews a term.
    request: Option<RequestId>,
    target: ReplicaId,
    started: Instant,
    /// When the sessions had ended.
    closed: Option<Instant>,
    /// The term that was recruited for.
    term: Option<Term>,
}

impl Switchover {
    pub fn request(&self) -> Option<RequestId> {
        self.request
    }
}

impl Keeper {
    pub(crate) fn ask_switchover(&mut self, request: RequestId, to: ReplicaId) {
        match self.switchover_refusal(to) {
            Some(refusal) => self.answer(request, Answer::Refused(refusal)),
            None => {
                self.switchover = Some(Switchover {
                    request: Some(request),
                    target: to,
                    started: self.now,
                    closed: None,
                    term: None,
                });
            }
        }
    }

    fn switchover_refusal(&self, to: ReplicaId) -> Option<SwitchoverRefusal> {
        if !self.config.replicas.contains(&to) {
            return Some(SwitchoverRefusal::UnknownReplica);
        }
        if self.config.leaving.contains(&to) {
            return Some(SwitchoverRefusal::TargetLeaves);
        }
        if self.durable.paused {
            return Some(SwitchoverRefusal::Paused);
        }
        if self.switchover.is_some() {
            return Some(SwitchoverRefusal::Busy);
        }
        if self.server.state != State::Open {
            let primary = self.leader().map(|(replica, _)| replica);
            return Some(SwitchoverRefusal::NotPrimary { primary });
        }
        if to == self.config.me {
            return Some(SwitchoverRefusal::AlreadyThere);
        }
        self.target_stream(to)
            .is_none()
            .then_some(SwitchoverRefusal::TargetNotFollowing)
    }

    pub(crate) fn target_stream(&self, target: ReplicaId) -> Option<Client> {
        let seen = self.server.fresh()?;
        let cohort = self.durable.cohort.as_ref()?;
        let term = self.spoken_term(self.primary.as_ref()?.term);
        seen.clients
            .iter()
            .find(|client| {
                client.name.replica == target
                    && client.name.term == term
                    && client.state == ClientState::Streaming
                    && cohort.counts(target, client.name.incarnation)
            })
            .copied()
    }

    /// The announcement was long enough: no more sessions.
    pub(crate) fn switchover_must_close(&self) -> bool {
        self.switchover.as_ref().is_some_and(|switchover| {
            self.now.since(switchover.started) >= self.config.timings.switchover_announcement
        })
    }

    /// Until it is done or called off, a primary that closed for it stays closed.
    pub(crate) fn switchover_keeps_closed(&self) -> bool {
        self.switchover.is_some()
    }

    /// Hands over to a standby that streams, so that a member that is bound to a later term can follow.
    fn renew_term(&mut self) -> bool {
        if self.server.state != State::Open || self.durable.paused {
            return false;
        }
        let renews = self.must_renew_term();
        if !(renews || self.must_hand_over() || self.must_withdraw() || self.must_retire()) {
            return false;
        }
        // One that ails too is no better, and would hand over in turn: it will do only where nobody else
        // follows and a member that is bound away keeps the ailing one from being filled anew.
        let is_well = |peer: ReplicaId| {
            self.peers
                .alive(self.now, &self.config.timings, peer)
                .is_some_and(|heartbeat| heartbeat.reason == Reason::Following)
        };
        let target = self
            .config
            .peers()
            .filter(|peer| self.target_stream(*peer).is_some() && (renews || is_well(*peer)))
            .filter(|peer| renews || !self.config.leaving.contains(peer))
            .max_by_key(|peer| {
                (
                    is_well(*peer),
                    !self.config.leaving.contains(peer),
                    *peer == self.config.home,
                    core::cmp::Reverse(*peer),
                )
            });
        let Some(target) = target else {
            return false;
        };
        self.switchover = Some(Switchover {
            request: None,
            target,
            started: self.now,
            closed: None,
            term: None,
        });
        true
    }

    /// Draws the conclusions of a switchover; whether there were any.
    pub(crate) fn run_switchover(&mut self) -> bool {
        let Some(switchover) = &self.switchover else {
            return self.renew_term();
        };
        let target = switchover.target;
        if let Some(term) = switchover.term {
            return self.run_handed_over(target, term);
        }
        if self.primary.is_none() {
            let term = self.term();
            return self.end_switchover(Answer::Unfinished { term });
        }
        if self.durable.paused {
            return self.end_switchover(Answer::Refused(SwitchoverRefusal::Paused));
        }
        match self.server.state {
            State::Open | State::Closing => false,
            State::Unopened => self.hand_over(target),
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
            | State::Opening
            | State::Stopping
            | State::Rewinding
            | State::Rebuilding
            | State::Renewing
            | State::Halted => {
                let term = self.term();
                self.end_switchover(Answer::Unfinished { term })
            }
        }
    }

    /// The sessions have ended: recruit as soon as the target has the whole log.
    fn hand_over(&mut self, target: ReplicaId) -> bool {
        let now = self.now;
        let Some(switchover) = self.switchover.as_mut() else {
            return false;
        };
        let closed = *switchover.closed.get_or_insert(now);
        if now.since(closed) >= self.config.timings.switchover_catch_up {
            return self.end_switchover(Answer::Refused(SwitchoverRefusal::TargetBehind));
        }
        let Some(ProcessState::Primary { flushed, .. }) =
            self.server.fresh().map(|seen| seen.process)
        else {
            return false;
        };
        let whole = self
            .target_stream(target)
            .is_some_and(|client| client.flushed >= flushed);
        if !whole || !self.begin_recruiting(Some(target)) {
            return false;
        }
        let term = self.durable.promise.highest;
        if let Some(switchover) = self.switchover.as_mut() {
            switchover.term = Some(term);
        }
        true
    }

    fn run_handed_over(&mut self, target: ReplicaId, term: Term) -> bool {
        let open = self
            .leader()
            .filter(|(_, leader)| leader.open && leader.term >= term)
            .map(|(replica, leader)| (replica, leader.term));
        if let Some((replica, reached)) = open {
            return self.end_switchover(if replica == target {
                Answer::Done { term: reached }
            } else {
                Answer::Unfinished { term: reached }
            });
        }
        let Some(switchover) = &self.switchover else {
            return false;
        };
        let limit = self.config.timings.recruitment + self.config.timings.promotion;
        let over = self.now.since(switchover.started) >= limit;
        let idle = matches!(self.election, Election::Idle { .. }) && self.primary.is_some();
        (over || idle) && self.end_switchover(Answer::Unfinished { term })
    }

    fn end_switchover(&mut self, answer: Answer) -> bool {
        let ended = self.switchover.take();
        self.note_handover_ended();
        if let Some(request) = ended.and_then(|switchover| switchover.request) {
            self.answer(request, answer);
        }
        true
    }

    pub(crate) fn switchover_deadline(&self) -> Option<(Instant, WakeReason)> {
        let switchover = self.switchover.as_ref()?;
        let at = match switchover.closed {
            None => switchover.started + self.config.timings.switchover_announcement,
            Some(closed) => closed + self.config.timings.switchover_catch_up,
        };
        Some((at, WakeReason::Switchover))
    }
}
