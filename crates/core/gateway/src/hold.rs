//! Waiting instead of failing while a cell changes its primary.
//!
//! A level crossing: open, cars drive through without stopping (IDLE). A train is announced, or somebody
//! sees it coming: the barrier goes down and cars queue (HOLDING), but only so many, only so long, and
//! the one that has waited longest is sent away first when the road is full. When the train has passed,
//! the queue is let go little by little (DRAINING), so that the town behind is not flooded. When it
//! turns out that *our* side of the line is dead (ISOLATED), nobody is kept waiting: they are told at
//! once to take another road.
//!
//! | state    | view             | next                                                    |
//! |----------|------------------|---------------------------------------------------------|
//! | IDLE     | active           | IDLE                                                    |
//! | IDLE     | switching/absent | HOLDING                                                 |
//! | HOLDING  | active           | DRAINING, or IDLE with an empty queue; stays if we saw  |
//! |          |                  | the instance fail after it was confirmed                |
//! | DRAINING | active           | DRAINING until the queue is empty, then IDLE            |
//! | DRAINING | switching/absent | HOLDING                                                 |
//! | any      | isolated         | ISOLATED: the queue is sent away                        |
//! | ISOLATED | active / absent  | IDLE / HOLDING                                          |
//!
//! One `Hold` belongs to one worker and one cell; it is the only place where a request of that cell
//! waits. Tickets are given in order of arrival and kept when a request comes back, so that a repeated
//! request keeps its place.
//!
//! A connection that breaks under a request may mean that the instance is gone, or only that it cannot stand this
//! request. The first time everybody waits until it was asked. If it answers, it is trusted for a while: whoever
//! loses a connection to it then waits alone, and one client's requests do not stop all others.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use mainstay_units::{Epoch, Instant, Term};

use crate::sight::{AbsentWhy, Active, CellView};

/// So long an instance that was suspected for a lost connection, and answered, is not suspected for another one.
const TRUSTED_FOR: Duration = Duration::from_secs(10);

/// Bounds of one worker's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldLimits {
    pub requests: u32,
    pub bytes: u64,
    pub drain_initial: u32,
    pub drain_limit: u32,
}

/// A request's place in the order of arrival at one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a request that may have to wait is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub bytes: u64,
    /// The request's own deadline.
    pub deadline: Instant,
    /// How long its route lets it wait, from its arrival.
    pub patience: Instant,
}

/// Whom a request is sent to. Its answer counts only while `term` is the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub instance: u16,
    pub term: Term,
    pub epoch: Epoch,
}

impl From<Active> for Stamp {
    fn from(active: Active) -> Self {
        Self {
            instance: active.instance,
            term: active.term,
            epoch: active.epoch,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Idle,
    Holding { since: Instant, why: HoldWhy },
    Draining { since: Instant },
    Isolated { since: Instant },
}

/// Why requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldWhy {
    SwitchoverAnnounced,
    Absent(AbsentWhy),
    /// A request failed here before anybody else noticed.
    FailureSeen,
    /// The active instance has a lower term than one already seen.
    Superseded,
    /// Others arrived earlier and are being let go.
    QueueAhead,
    /// Its own connection broke, at an instance that is trusted: it waits alone until that was asked again.
    OwnFailure,
}

/// What a failed attempt says of its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accusation {
    /// Whoever comes next would fare the same: nobody answers there, or it says that it is not the one.
    Certain,
    /// A connection broke under a request, or brought no whole answer.
    Doubtful,
}

/// Who waits until the accused instance was asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Also whoever comes from now on.
    Everybody,
    /// The request that failed, alone.
    TheRequest,
    /// The instance is not the active one any more: nothing follows for the one that is.
    Nothing,
}

/// Why a request that waited is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictWhy {
    DeadlinePassed,
    WaitedTooLong,
    /// The oldest makes room: too many wait.
    PushedOutByNumber,
    PushedOutByBytes,
    Isolated,
    Stopping,
}

/// Why a request is not even let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefuseWhy {
    Isolated,
    DeadlinePassed,
    WaitedTooLong,
    /// Larger than everything that may wait together.
    TooLarge,
    Stopping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Go { ticket: Ticket, to: Stamp },
    Held { ticket: Ticket, why: HoldWhy },
    Refused { why: RefuseWhy },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Release { ticket: Ticket, to: Stamp },
    Evict { ticket: Ticket, why: EvictWhy },
}

/// What the next deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeReason {
    OldestExpires,
}

#[derive(Debug)]
pub struct Hold {
    limits: HoldLimits,
    phase: Phase,
    /// The instance requests go to, while there is one.
    active: Option<Active>,
    /// Highest term ever sent to; a view below it is stale.
    term: Term,
    /// The last failure seen by this worker; an activity confirmed earlier is not believed.
    failed: Instant,
    /// Whom requests were last sent to.
    last: Option<Stamp>,
    /// Until then a lost connection does not accuse `last`.
    trusted_until: Instant,
    stopping: bool,
    next_ticket: u64,
    queue: BTreeMap<Ticket, Load>,
    /// Those that wait alone, and when they failed.
    alone: BTreeMap<Ticket, (Load, Instant)>,
    /// Of all that wait.
    queue_bytes: u64,
    expiries: BTreeSet<(Instant, Ticket)>,
    /// Let go in this drain and not yet settled.
    released: BTreeSet<Ticket>,
    window: u32,
    effects: VecDeque<Effect>,
}

impl Hold {
    pub fn new(now: Instant, limits: HoldLimits) -> Self {
        assert!(limits.requests > 0 && limits.drain_initial > 0);
        assert!(limits.drain_limit >= limits.drain_initial);
        Self {
            limits,
            phase: Phase::Holding {
                since: now,
                why: HoldWhy::Absent(AbsentWhy::NotYetSeen),
            },
            active: None,
            term: Term::ZERO,
            failed: Instant::ZERO,
            last: None,
            trusted_until: Instant::ZERO,
            stopping: false,
            next_ticket: 0,
            queue: BTreeMap::new(),
            alone: BTreeMap::new(),
            queue_bytes: 0,
            expiries: BTreeSet::new(),
            released: BTreeSet::new(),
            window: limits.drain_initial,
            effects: VecDeque::new(),
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn waiting(&self) -> usize {
        self.queue.len() + self.alone.len()
    }

    pub fn waiting_bytes(&self) -> u64 {
        self.queue_bytes
    }

    /// Highest term that requests were sent under; an answer from a lower one is unknown.
    pub fn term(&self) -> Term {
        self.term
    }

    /// The world looks like this now.
    pub fn handle_view(&mut self, now: Instant, view: &CellView) {
        match *view {
            CellView::Active(active) if active.term < self.term => {
                self.begin_holding(now, HoldWhy::Superseded);
            }
            // Believed only if it answered a question asked after the failure.
            CellView::Active(active) if active.confirmed <= self.failed => {
                self.begin_holding(now, HoldWhy::FailureSeen);
            }
            CellView::Active(active) => self.activate(now, active),
            CellView::Switching { .. } => self.begin_holding(now, HoldWhy::SwitchoverAnnounced),
            CellView::Absent(why) => self.begin_holding(now, HoldWhy::Absent(why)),
            CellView::Isolated => self.isolate(now),
        }
        self.pump(now);
    }

    /// A request sent under `to` failed in a way that says something about the instance.
    pub fn handle_failure(
        &mut self,
        now: Instant,
        to: Stamp,
        accusation: Accusation,
    ) -> Consequence {
        let current = self.active.is_some_and(|a| Stamp::from(a) == to);
        match accusation {
            Accusation::Certain | Accusation::Doubtful if !current => Consequence::Nothing,
            Accusation::Doubtful if now < self.trusted_until => Consequence::TheRequest,
            Accusation::Certain | Accusation::Doubtful => {
                self.failed = now.max(self.failed);
                self.begin_holding(now, HoldWhy::FailureSeen);
                Consequence::Everybody
            }
        }
    }

    /// Nobody waits here any more: those that do are sent away so that their clients go elsewhere. Whoever need not
    /// wait still goes.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.send_all_away(EvictWhy::Stopping);
        if matches!(self.phase, Phase::Draining { .. }) {
            self.phase = Phase::Idle;
            self.released.clear();
        }
    }

    /// A new request.
    pub fn admit(&mut self, now: Instant, load: Load) -> Admission {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.place(now, ticket, load)
    }

    /// A request that went and came back with nothing, and may go again. It keeps its place.
    pub fn readmit(&mut self, now: Instant, ticket: Ticket, load: Load) -> Admission {
        assert!(ticket.0 < self.next_ticket, "a ticket that was never given");
        assert!(
            !self.queue.contains_key(&ticket),
            "came back without having gone"
        );
        self.released.remove(&ticket);
        self.place(now, ticket, load)
    }

    /// As [`Hold::readmit`], for a request that failed now and may go again once its instance was asked.
    pub fn readmit_alone(&mut self, now: Instant, ticket: Ticket, load: Load) -> Admission {
        assert!(ticket.0 < self.next_ticket, "a ticket that was never given");
        self.released.remove(&ticket);
        if let Some(why) = self.refusal(now, load) {
            return Admission::Refused { why };
        }
        self.make_room(load.bytes);
        let before = self.alone.insert(ticket, (load, now));
        assert!(before.is_none(), "came back without having gone");
        self.count_in(ticket, load);
        self.pump(now);
        let why = HoldWhy::OwnFailure;
        Admission::Held { ticket, why }
    }

    fn place(&mut self, now: Instant, ticket: Ticket, load: Load) -> Admission {
        // The common case first: nothing waits, somebody is active.
        if let (Phase::Idle, Some(active)) = (self.phase, self.active) {
            return Admission::Go {
                ticket,
                to: active.into(),
            };
        }
        if let Some(why) = self.refusal(now, load) {
            return Admission::Refused { why };
        }
        self.make_room(load.bytes);
        self.queue.insert(ticket, load);
        self.count_in(ticket, load);
        let why = match self.phase {
            Phase::Holding { why, .. } => why,
            Phase::Idle | Phase::Draining { .. } | Phase::Isolated { .. } => HoldWhy::QueueAhead,
        };
        self.pump(now);
        Admission::Held { ticket, why }
    }

    fn count_in(&mut self, ticket: Ticket, load: Load) {
        self.queue_bytes += load.bytes;
        self.expiries
            .insert((load.deadline.min(load.patience), ticket));
        self.check();
    }

    fn refusal(&self, now: Instant, load: Load) -> Option<RefuseWhy> {
        if self.stopping {
            Some(RefuseWhy::Stopping)
        } else if matches!(self.phase, Phase::Isolated { .. }) {
            Some(RefuseWhy::Isolated)
        } else if load.deadline <= now {
            Some(RefuseWhy::DeadlinePassed)
        } else if load.patience <= now {
            Some(RefuseWhy::WaitedTooLong)
        } else if load.bytes > self.limits.bytes {
            Some(RefuseWhy::TooLarge)
        } else {
            None
        }
    }

    /// A request that waited is gone because its client is.
    pub fn leave(&mut self, ticket: Ticket) {
        self.take(ticket);
        self.effects.retain(|effect| match effect {
            Effect::Release { ticket: other, .. } | Effect::Evict { ticket: other, .. } => {
                *other != ticket
            }
        });
        self.released.remove(&ticket);
    }

    /// A request that went is over, whatever became of it.
    pub fn settle(&mut self, now: Instant, ticket: Ticket) {
        if matches!(self.phase, Phase::Idle) {
            return;
        }
        if self.released.remove(&ticket) {
            // Each answer makes room for two: the window doubles per round.
            self.window = self.window.saturating_add(1).min(self.limits.drain_limit);
            self.pump(now);
        }
    }

    /// Time has passed.
    pub fn handle_time(&mut self, now: Instant) {
        while let Some((expiry, ticket)) = self.expiries.first().copied() {
            if expiry > now {
                break;
            }
            let load = self.take(ticket);
            let why = match load {
                Some(load) if load.deadline <= now => EvictWhy::DeadlinePassed,
                Some(_) | None => EvictWhy::WaitedTooLong,
            };
            self.effects.push_back(Effect::Evict { ticket, why });
        }
        self.pump(now);
    }

    pub fn next_deadline(&self) -> Option<(Instant, WakeReason)> {
        self.expiries
            .first()
            .map(|(at, _)| (*at, WakeReason::OldestExpires))
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn activate(&mut self, now: Instant, active: Active) {
        assert!(active.term >= self.term);
        self.trust(now, active.into());
        self.term = active.term;
        self.active = Some(active);
        self.release_alone(active);
        match self.phase {
            Phase::Draining { .. } | Phase::Idle => {}
            Phase::Holding { .. } | Phase::Isolated { .. } => {
                self.window = self.limits.drain_initial;
                self.released.clear();
                self.phase = Phase::Draining { since: now };
            }
        }
    }

    /// One that answers although it was suspected has earned trust, and no other one has it.
    fn trust(&mut self, now: Instant, stamp: Stamp) {
        let why = match self.phase {
            Phase::Holding { why, .. } => Some(why),
            Phase::Idle | Phase::Draining { .. } | Phase::Isolated { .. } => None,
        };
        let suspected = matches!(
            why,
            Some(HoldWhy::FailureSeen | HoldWhy::Absent(AbsentWhy::Suspected))
        );
        if self.last.replace(stamp) != Some(stamp) {
            self.trusted_until = Instant::ZERO;
        } else if suspected {
            self.trusted_until = now + TRUSTED_FOR;
        }
    }

    /// Those that waited alone go as soon as the instance has answered a question asked after they failed.
    fn release_alone(&mut self, active: Active) {
        let waiting = self.alone.iter();
        let asked_again = waiting.filter(|(_, (_, at))| active.confirmed > *at);
        let tickets: Vec<Ticket> = asked_again.map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            self.take(ticket);
            let to = active.into();
            self.effects.push_back(Effect::Release { ticket, to });
        }
    }

    fn begin_holding(&mut self, now: Instant, why: HoldWhy) {
        self.active = None;
        // Whoever waited alone waits with everybody.
        while let Some((ticket, (load, _))) = self.alone.pop_first() {
            self.queue.insert(ticket, load);
        }
        let since = match self.phase {
            Phase::Holding { since, .. } => since,
            Phase::Idle | Phase::Draining { .. } | Phase::Isolated { .. } => now,
        };
        self.phase = Phase::Holding { since, why };
    }

    fn isolate(&mut self, now: Instant) {
        self.active = None;
        if !matches!(self.phase, Phase::Isolated { .. }) {
            self.phase = Phase::Isolated { since: now };
        }
        self.send_all_away(EvictWhy::Isolated);
    }

    fn send_all_away(&mut self, why: EvictWhy) {
        while let Some(ticket) = self.oldest() {
            self.take(ticket);
            self.effects.push_back(Effect::Evict { ticket, why });
        }
    }

    fn oldest(&self) -> Option<Ticket> {
        let queued = self.queue.keys().next().copied();
        let alone = self.alone.keys().next().copied();
        queued.into_iter().chain(alone).min()
    }

    fn make_room(&mut self, bytes: u64) {
        loop {
            let why = if self.waiting() >= self.limits.requests as usize {
                EvictWhy::PushedOutByNumber
            } else if self.queue_bytes + bytes > self.limits.bytes {
                EvictWhy::PushedOutByBytes
            } else {
                return;
            };
            let Some(oldest) = self.oldest() else {
                return;
            };
            self.take(oldest);
            self.effects.push_back(Effect::Evict {
                ticket: oldest,
                why,
            });
        }
    }

    fn take(&mut self, ticket: Ticket) -> Option<Load> {
        let queued = self.queue.remove(&ticket);
        let load = queued.or_else(|| self.alone.remove(&ticket).map(|(load, _)| load))?;
        self.queue_bytes -= load.bytes;
        let known = self
            .expiries
            .remove(&(load.deadline.min(load.patience), ticket));
        assert!(known, "a waiting request without an expiry");
        Some(load)
    }

    /// Lets go what may go.
    fn pump(&mut self, now: Instant) {
        let (Phase::Draining { .. }, Some(active)) = (self.phase, self.active) else {
            return;
        };
        while self.released.len() < self.window as usize {
            let Some((ticket, load)) = self.queue.first_key_value().map(|(t, l)| (*t, *l)) else {
                self.phase = Phase::Idle;
                self.released.clear();
                break;
            };
            self.take(ticket);
            if load.deadline <= now {
                self.effects.push_back(Effect::Evict {
                    ticket,
                    why: EvictWhy::DeadlinePassed,
                });
            } else {
                self.released.insert(ticket);
                self.effects.push_back(Effect::Release {
                    ticket,
                    to: active.into(),
                });
            }
        }
        self.check();
    }

    fn check(&self) {
        assert!(
            self.waiting() <= self.limits.requests as usize,
            "too many wait"
        );
        assert!(self.queue_bytes <= self.limits.bytes, "too much waits");
        assert_eq!(
            self.waiting(),
            self.expiries.len(),
            "every one that waits expires"
        );
        assert!(self.released.len() <= self.limits.drain_limit as usize);
    }
}

#[cfg(test)]
#[path = "hold_tests.rs"]
mod tests;
