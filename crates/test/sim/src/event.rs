//! What can happen in a simulated world, and the queue that orders it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mainstay_keeper::{Message, ReplicaId};

use crate::fault::Fault;
use crate::postgres::History;
use crate::postgres::log::Record;

/// What an operator orders.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Serve without the quorum.
    Solo,
    /// Go on without a majority.
    Force,
    /// The same, to one after the other, until there are more lineages than these.
    ForceUntil { lineages: usize },
    /// Fill this replica anew.
    Refill,
}

/// Something that happens at a time. Hosts are named by index.
#[derive(Clone, Debug)]
pub enum Event {
    Deliver {
        to: usize,
        message: Message,
    },
    Tick {
        host: usize,
        generation: u32,
    },
    Observe {
        host: usize,
        generation: u32,
        /// One of the regular ones, which plans the next.
        regular: bool,
    },
    Persisted {
        host: usize,
        generation: u32,
        sequence: u64,
        /// The record lands, but nobody is told (a planted bug told them before).
        silent: bool,
    },
    CommandEnd {
        host: usize,
        token: u64,
    },
    Connect {
        host: usize,
        process: u64,
    },
    WalArrive {
        to: usize,
        connection: u64,
        records: Vec<Record>,
        histories: Vec<(u32, History)>,
    },
    WalFlush {
        host: usize,
        connection: u64,
    },
    FlushReply {
        to: usize,
        from: usize,
        connection: u64,
        lsn: u64,
    },
    KeepAlive {
        host: usize,
        connection: u64,
        missed: u32,
    },
    /// The clients of a host decide what to do next.
    Clients {
        host: usize,
    },
    /// A reader's request reaches the engine; every write acknowledged before `required` must show.
    Read {
        host: usize,
        required: usize,
        process: u64,
    },
    /// A client cancels its waiting commit.
    Cancel {
        host: usize,
        process: u64,
        write: u64,
    },
    /// The server's files are applied, for reasons of somebody else.
    Reload {
        host: usize,
    },
    StartKeeper {
        host: usize,
        generation: u32,
    },
    /// A host or its keeper ends, at the worst moment.
    Strike {
        host: usize,
    },
    /// What an operator tells this host's keeper.
    Order {
        host: usize,
        order: Order,
    },
    LoseMajority,
    /// A keeper's connection to this host was closed.
    PeerClosed {
        host: usize,
        ended: ReplicaId,
    },
    /// Every server is given what only a start takes.
    Renew,
    /// The keeper of this host is late, and its voice repeats what it said last.
    Voice {
        host: usize,
        generation: u32,
    },
    /// The next fault is drawn.
    Nemesis,
    /// A fault ends.
    End(Fault),
    Heal,
    Finish,
}

impl Event {
    /// The host that must be awake for this to happen.
    pub fn needs(&self) -> Option<usize> {
        match self {
            Self::Deliver { to, .. } | Self::WalArrive { to, .. } | Self::FlushReply { to, .. } => {
                Some(*to)
            }
            Self::Tick { host, .. }
            | Self::Observe { host, .. }
            | Self::Persisted { host, .. }
            | Self::CommandEnd { host, .. }
            | Self::Connect { host, .. }
            | Self::WalFlush { host, .. }
            | Self::KeepAlive { host, .. }
            | Self::Read { host, .. }
            | Self::Reload { host }
            | Self::PeerClosed { host, .. }
            | Self::Voice { host, .. }
            | Self::StartKeeper { host, .. } => Some(*host),
            Self::Clients { .. }
            | Self::Cancel { .. }
            | Self::Strike { .. }
            | Self::Order { .. }
            | Self::LoseMajority
            | Self::Nemesis
            | Self::Renew
            | Self::End(_)
            | Self::Heal
            | Self::Finish => None,
        }
    }
}

/// Events by time, then by the order in which they were planned.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Place>>,
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
    planned: u64,
}

/// Time, order and slot in one number: what is compared most is compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u128);

impl Place {
    const SLOT_BITS: u32 = 24;
    const ORDER_BITS: u32 = 40;

    fn new(at: u64, order: u64, slot: usize) -> Self {
        assert!(slot >> Self::SLOT_BITS == 0 && order >> Self::ORDER_BITS == 0);
        let at = u128::from(at) << (Self::SLOT_BITS + Self::ORDER_BITS);
        Self(at | u128::from(order << Self::SLOT_BITS) | slot as u128)
    }

    fn at(self) -> u64 {
        (self.0 >> (Self::SLOT_BITS + Self::ORDER_BITS)) as u64
    }

    fn slot(self) -> usize {
        (self.0 & ((1 << Self::SLOT_BITS) - 1)) as usize
    }
}

impl Queue {
    pub fn push(&mut self, at: u64, event: Event) {
        self.planned += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                self.slots.len() - 1
            }
        };
        self.heap.push(Reverse(Place::new(at, self.planned, slot)));
    }

    pub fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse(place) = self.heap.pop()?;
        let slot = place.slot();
        self.free.push(slot);
        Some((place.at(), self.slots[slot].take()?))
    }
}
