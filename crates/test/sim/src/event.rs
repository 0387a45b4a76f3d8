//! What can happen in a simulated world, and the queue that orders it.

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
    /// The platform file changes.
    Reshape,
    /// A keeper is started anew with what the file says.
    Told {
        host: usize,
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
            | Self::Told { host }
            | Self::StartKeeper { host, .. } => Some(*host),
            Self::Clients { .. }
            | Self::Cancel { .. }
            | Self::Strike { .. }
            | Self::Order { .. }
            | Self::LoseMajority
            | Self::Nemesis
            | Self::Reshape
            | Self::Renew
            | Self::End(_)
            | Self::Heal
            | Self::Finish => None,
        }
    }
}

/// Events by time, then by the order in which they were planned.
///
/// Some dozens are planned at a time, and most new ones come soon: in a list whose end is taken off they find their place
/// with less work than in a heap.
#[derive(Debug, Default)]
pub struct Queue {
    /// What comes last stands first.
    places: Vec<Place>,
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
}

/// When, and where the event is kept meanwhile: it is large, and places move.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    slot: usize,
}

impl Queue {
    pub fn push(&mut self, at: u64, event: Event) {
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
        // Of those at the same time it comes after all that were planned before it.
        let before = self.places.partition_point(|place| place.at > at);
        self.places.insert(before, Place { at, slot });
    }

    pub fn pop(&mut self) -> Option<(u64, Event)> {
        let Place { at, slot } = self.places.pop()?;
        self.free.push(slot);
        Some((at, self.slots[slot].take()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_for_the_same_time_happens_in_the_order_of_planning() {
        let mut queue = Queue::default();
        for (at, host) in [(7, 0), (3, 1), (7, 2), (9, 3), (3, 4), (7, 5)] {
            queue.push(at, Event::Strike { host });
        }
        let mut order = Vec::new();
        while let Some((at, Event::Strike { host })) = queue.pop() {
            order.push((at, host));
        }
        assert_eq!(order, [(3, 1), (3, 4), (7, 0), (7, 2), (7, 5), (9, 3)]);
    }
}
