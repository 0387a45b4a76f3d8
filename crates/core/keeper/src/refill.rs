//! Filling a replica anew because somebody ordered it, as one whose missing log is gone.
//!
//! The order only says that it is wanted. Everything that guards a starved replica guards this one: it says so first and
//! waits a while, it goes only while the rest can take it back, and they go one at a time. Besides, commits must find as
//! many copies as promised while it is away. An order that cannot be followed for a while lapses, so that nothing is
//! emptied when nobody expects it any more.

use core::time::Duration;

use mainstay_units::Instant;

use crate::input::RequestId;
use crate::keeper::Keeper;
use crate::machine::State;
use crate::status::{Answer, Reason, RefillRefusal};

/// An order that is not answered yet.
#[derive(Debug)]
pub(crate) struct RefillAsk {
    request: RequestId,
    asked: Instant,
}

impl RefillAsk {
    pub fn request(&self) -> RequestId {
        self.request
    }
}

impl Keeper {
    /// Somebody ordered it, and it is neither begun nor given up.
    pub fn is_to_be_refilled(&self) -> bool {
        self.refill_ask.is_some()
    }

    pub(crate) fn ask_refill(&mut self, request: RequestId) {
        if let Some(refusal) = self.refill_refusal() {
            self.answer(request, Answer::RefillRefused(refusal));
            return;
        }
        let asked = self.now;
        self.refill_ask = Some(RefillAsk { request, asked });
    }

    fn refill_refusal(&self) -> Option<RefillRefusal> {
        if self.durable.paused {
            return Some(RefillRefusal::Paused);
        }
        if self.primary.is_some() {
            return Some(RefillRefusal::IsPrimary);
        }
        if self.refill_ask.is_some() {
            return Some(RefillRefusal::Busy);
        }
        let open = self.leader().is_some_and(|(_, leader)| leader.open);
        if !open || self.server.state != State::Following {
            return Some(RefillRefusal::NotFollowing);
        }
        (!self.rest_acknowledges()).then_some(RefillRefusal::CopiesNeeded)
    }

    /// Whether commits find as many copies as promised without this replica: on the primary, and on who follows it and
    /// counts.
    fn rest_acknowledges(&self) -> bool {
        let (Some((source, leader)), Some(cohort)) = (self.leader(), &self.durable.cohort) else {
            return false;
        };
        let others = self.config.peers().filter(|peer| *peer != source);
        let follow = others.filter(|peer| {
            let said = self.peers.alive(self.now, &self.config.timings, *peer);
            // One that was away itself suspects nobody yet, and takes old words for present.
            let said = said.filter(|_| self.is_heard_now(*peer));
            said.is_some_and(|heartbeat| {
                heartbeat.reason == Reason::Following
                    && heartbeat.term == leader.term
                    && cohort.counts(*peer, heartbeat.incarnation)
            })
        });
        follow.count() + 1 >= usize::from(self.copies())
    }

    /// It would be filled by order alone, and is needed, or its source may be gone already.
    pub(crate) fn refill_must_wait(&self) -> bool {
        let source = self.leader().map(|(source, _)| source);
        let is_heard = source.is_some_and(|source| self.is_heard_now(source));
        self.refill_ask.is_some() && !(is_heard && self.rest_acknowledges())
    }

    /// Longer than a starved replica waits.
    fn refill_limit(&self) -> Duration {
        self.config.timings.suspicion * 8
    }

    /// Answers the order when it is begun, or will not be.
    pub(crate) fn run_refill_ask(&mut self) -> bool {
        let Some(ask) = &self.refill_ask else {
            return false;
        };
        let (request, term) = (ask.request, self.term());
        let late = self.now.since(ask.asked) >= self.refill_limit();
        let answer = if self.server.state == State::Rebuilding {
            Answer::Done { term }
        } else if self.primary.is_some() {
            Answer::RefillRefused(RefillRefusal::IsPrimary)
        } else if self.server.starved {
            // Its server is stopped for this: what becomes of it is not known yet.
            return false;
        } else if late {
            Answer::RefillRefused(RefillRefusal::NotSpared)
        } else {
            return false;
        };
        self.refill_ask = None;
        self.answer(request, answer);
        true
    }
}
