//! One worker's gate to one cell: the hold of the core, and the requests that wait at it.
//!
//! The core knows tickets, this module knows who holds them. Every change of the hold is followed by
//! `pump`, which tells the waiting what the hold decided. A [`Place`] is the right to be counted: when a
//! client goes away its request is dropped, its place with it, and the hold hears of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use mainstay_gateway::hold::{
    Accusation, Admission, Consequence, Effect, EvictWhy, Hold, HoldLimits, Load, Phase, RefuseWhy,
    Stamp, Ticket,
};
use mainstay_gateway::sight::{AbsentWhy, CellView};
use mainstay_units::{Instant, Term};
use tokio::sync::{Notify, oneshot};

use crate::stats::Count;
use crate::upstream::Upstream;

/// How waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    Go(Stamp),
    Evicted(EvictWhy),
    /// The routing changed under this gate: look for the cell again.
    Moved,
}

#[derive(Debug)]
pub struct Gate {
    pub database: String,
    pub service: String,
    /// Indices in the routing that this gate was made for.
    pub service_index: u16,
    /// By instance.
    pub upstreams: Vec<Rc<Upstream>>,
    pub limits: HoldLimits,
    hold: RefCell<Hold>,
    waiting: RefCell<BTreeMap<Ticket, oneshot::Sender<Woken>>>,
    /// To whom requests were last sent, and under which term.
    current: RefCell<Option<(Term, Rc<Upstream>)>>,
    /// The routing has another gate for this cell, or none.
    retired: Cell<bool>,
    held: Arc<Count>,
    driver: Rc<Notify>,
}

/// What a request does next.
#[derive(Debug)]
pub enum Entered {
    Go(Stamp),
    Wait(oneshot::Receiver<Woken>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    Waiting,
    Gone,
    Nowhere,
}

/// A request's place at a gate. Dropping it is leaving.
#[derive(Debug)]
pub struct Place {
    gate: Rc<Gate>,
    ticket: Ticket,
    whereabouts: Whereabouts,
}

impl Gate {
    pub fn new(
        now: Instant,
        names: (String, String),
        service_index: u16,
        upstreams: Vec<Rc<Upstream>>,
        limits: HoldLimits,
        held: Arc<Count>,
        driver: Rc<Notify>,
    ) -> Rc<Self> {
        Rc::new(Self {
            database: names.0,
            service: names.1,
            service_index,
            upstreams,
            limits,
            hold: RefCell::new(Hold::new(now, limits)),
            waiting: RefCell::default(),
            current: RefCell::default(),
            retired: Cell::new(false),
            held,
            driver,
        })
    }

    /// A new request.
    pub fn enter(self: &Rc<Self>, now: Instant, load: Load) -> Result<(Place, Entered), RefuseWhy> {
        let admission = self.hold.borrow_mut().admit(now, load);
        self.entered(admission)
    }

    fn entered(self: &Rc<Self>, admission: Admission) -> Result<(Place, Entered), RefuseWhy> {
        let place = |ticket, whereabouts| Place {
            gate: Rc::clone(self),
            ticket,
            whereabouts,
        };
        match admission {
            Admission::Go { ticket, to } => Ok((place(ticket, Whereabouts::Gone), Entered::Go(to))),
            Admission::Held { ticket, .. } => {
                let (sender, receiver) = oneshot::channel();
                self.waiting.borrow_mut().insert(ticket, sender);
                self.pump();
                self.driver.notify_one();
                Ok((place(ticket, Whereabouts::Waiting), Entered::Wait(receiver)))
            }
            Admission::Refused { why } => Err(why),
        }
    }

    pub fn handle_view(&self, now: Instant, view: &CellView) {
        self.hold.borrow_mut().handle_view(now, view);
        match *view {
            CellView::Active(active) => {
                let new = self.upstreams.get(usize::from(active.instance)).cloned();
                let new = new.map(|upstream| (active.term, upstream));
                let old = self.current.replace(new.clone());
                if let (Some((old_term, old)), Some((new_term, new))) = (old, new)
                    && old_term <= new_term
                    && !(old_term == new_term && Rc::ptr_eq(&old, &new))
                {
                    old.cut();
                }
            }
            CellView::Isolated => {
                if let Some((_, old)) = self.current.take() {
                    old.cut();
                }
            }
            CellView::Switching { .. } | CellView::Absent(_) => {}
        }
        self.pump();
    }

    /// Is this a gate of the same cell?
    pub fn is_of(&self, other: &Self) -> bool {
        (&self.database, &self.service) == (&other.database, &other.service)
    }

    /// Takes the place of another gate of the same cell: what was sent through that one is cut when it is superseded.
    pub fn succeed(&self, before: &Self) {
        *self.current.borrow_mut() = before.current.borrow().clone();
    }

    /// What the eyes last said is too old to act on.
    pub fn handle_closed_eyes(&self, now: Instant) {
        if matches!(self.phase(), Phase::Idle | Phase::Draining { .. }) {
            self.handle_view(now, &CellView::Absent(AbsentWhy::OwnEyesClosed));
        }
    }

    pub fn handle_failure(&self, now: Instant, to: Stamp, accusation: Accusation) -> Consequence {
        let consequence = self.hold.borrow_mut().handle_failure(now, to, accusation);
        self.pump();
        consequence
    }

    pub fn handle_time(&self, now: Instant) {
        self.hold.borrow_mut().handle_time(now);
        self.pump();
    }

    pub fn stop(&self) {
        self.hold.borrow_mut().stop();
        self.pump();
    }

    /// The routing has a new gate for this cell, or the cell is gone.
    pub fn retire(&self) {
        self.retired.set(true);
        for (_, sender) in std::mem::take(&mut *self.waiting.borrow_mut()) {
            sender.send(Woken::Moved).ok();
        }
        self.stop();
    }

    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    pub fn phase(&self) -> Phase {
        self.hold.borrow().phase()
    }

    pub fn term(&self) -> Term {
        self.hold.borrow().term()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.hold.borrow().next_deadline().map(|(at, _)| at)
    }

    fn pump(&self) {
        loop {
            let effect = self.hold.borrow_mut().poll_effect();
            let (ticket, woken) = match effect {
                None => break,
                Some(Effect::Release { ticket, to }) => (ticket, Woken::Go(to)),
                Some(Effect::Evict { ticket, why }) => (ticket, Woken::Evicted(why)),
            };
            if let Some(sender) = self.waiting.borrow_mut().remove(&ticket) {
                // Whoever does not listen any more is about to drop its place.
                sender.send(woken).ok();
            }
        }
        // The count is the cell's, and belongs to the gate that the cell has now.
        if !self.retired.get() {
            self.held.set(self.hold.borrow().waiting() as u64);
        }
    }
}

impl Place {
    /// Let go by the hold.
    pub fn went(&mut self) {
        self.whereabouts = Whereabouts::Gone;
    }

    /// Sent away by the hold: it is not counted any more.
    pub fn sent_away(&mut self) {
        self.whereabouts = Whereabouts::Nowhere;
    }

    /// Came back and may go again; with whom it waits follows from how it failed.
    pub fn again(
        mut self,
        now: Instant,
        load: Load,
        failure: Consequence,
    ) -> Result<(Self, Entered), RefuseWhy> {
        assert_eq!(
            self.whereabouts,
            Whereabouts::Gone,
            "comes back without having gone"
        );
        self.whereabouts = Whereabouts::Nowhere;
        let mut hold = self.gate.hold.borrow_mut();
        let admission = match failure {
            Consequence::TheRequest => hold.readmit_alone(now, self.ticket, load),
            Consequence::Everybody | Consequence::Nothing => hold.readmit(now, self.ticket, load),
        };
        drop(hold);
        self.gate.entered(admission)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = mainstay_rt::clock::now;
        match self.whereabouts {
            Whereabouts::Nowhere => return,
            Whereabouts::Waiting => {
                self.gate.waiting.borrow_mut().remove(&self.ticket);
                self.gate.hold.borrow_mut().leave(self.ticket);
            }
            // The common case must not even read the clock.
            Whereabouts::Gone if self.gate.phase() == Phase::Idle => return,
            Whereabouts::Gone => self.gate.hold.borrow_mut().settle(now(), self.ticket),
        }
        self.gate.pump();
    }
}
