//! One simulated host: a server, a keeper process on its disk, and what stands around them.

use std::collections::VecDeque;

use mainstay_keeper::{
    Command, Durable, Keeper, Lineage, Message, OperationId, Outcome, Renewal, ReplicaId,
    Serviceability,
};
use mainstay_units::Instant;

use crate::event::Event;
use crate::postgres::Server;

/// A clock that starts anywhere and runs a little wrong.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub offset_us: u64,
    pub drift_ppm: i64,
}

impl Clock {
    pub fn local(&self, now_us: u64) -> Instant {
        let rate = (1_000_000 + self.drift_ppm) as u64;
        let elapsed = now_us * rate / 1_000_000;
        Instant::from_nanos((self.offset_us + elapsed) * 1_000)
    }

    /// The first moment at which the local clock shows `local`.
    pub fn global_us(&self, local: Instant) -> u64 {
        let rate = (1_000_000 + self.drift_ppm) as u64;
        let local_us = local.as_nanos().div_ceil(1_000);
        let elapsed = local_us.saturating_sub(self.offset_us);
        // What is so far away that this saturates never comes.
        elapsed.saturating_mul(1_000_000).div_ceil(rate)
    }
}

/// The keeper's record: what is on disk, and what is being written.
#[derive(Debug, Default)]
pub struct Disk {
    pub record: Option<Durable>,
    pub pending: VecDeque<(u64, Durable)>,
}

/// What a keeper asked of its server and is under way.
#[derive(Debug)]
pub struct Work {
    pub operation: OperationId,
    pub command: Command,
    /// Tells this piece of work from others, so that a cancelled one does not end.
    pub token: u64,
}

/// The trading engine of this host, as far as it matters: it becomes active by a write of its own.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    pub process: u64,
    pub epoch_write: u64,
    pub active: bool,
    /// Whether the lease was valid when it last looked, for the planted bug.
    pub lease_seen: bool,
}

#[derive(Debug)]
pub struct Host {
    pub id: ReplicaId,
    pub clock: Clock,
    pub server: Server,
    pub serviceability: Serviceability,
    pub renewal: Renewal,
    /// Stopped in order, and not streaming since.
    pub renewing: bool,
    pub keeper: Option<Keeper>,
    /// Counts starts of the keeper; what belongs to an earlier one is stale.
    pub generation: u32,
    pub disk: Disk,
    pub queue: VecDeque<Work>,
    pub current: Option<Work>,
    /// Counts starts and ends of the server's process.
    pub process: u64,
    pub lease: Option<(u32, Instant)>,
    pub engine: Option<Engine>,
    pub down: bool,
    pub frozen: bool,
    /// What arrived while frozen.
    pub deferred: Vec<Event>,
    /// When the earliest pending tick fires.
    pub tick_at: u64,
    /// The deadline that it was planned for.
    pub tick_for: Instant,
    pub heard: bool,
    /// The last attempt to stream was refused because the log is gone.
    pub starved: bool,
    /// The walreceiver stands still until it is replaced.
    pub stuck: Option<u64>,
    /// No stream reaches it: its server's way to others is blocked, not its keeper's.
    pub unstreamed: bool,
    pub observe_soon: bool,
    /// On how many observations each walsender's standby was missing.
    pub missing: Vec<(u64, u32)>,
    /// Extra time that each flush takes.
    pub slow_us: u64,
    /// Its keeper is often not scheduled, and then not before this.
    pub busy: bool,
    pub asleep_until: u64,
    /// The last heartbeat of a keeper that may be late.
    pub last_words: Option<Message>,
    /// Ends of commands that the keeper was not told yet.
    pub outcomes: Vec<(OperationId, Outcome)>,
    /// The timeline on which this host's server was last promoted.
    pub promoted: u32,
}

impl Host {
    pub fn new(id: u8, clock: Clock) -> Self {
        Self {
            id: ReplicaId(id),
            clock,
            server: Server::default(),
            serviceability: Serviceability::Good,
            renewal: Renewal::NotNeeded,
            renewing: false,
            keeper: None,
            generation: 0,
            disk: Disk::default(),
            queue: VecDeque::new(),
            current: None,
            process: 0,
            lease: None,
            engine: None,
            down: false,
            frozen: false,
            deferred: Vec::new(),
            tick_at: u64::MAX,
            tick_for: Instant::FAR_FUTURE,
            heard: false,
            starved: false,
            stuck: None,
            unstreamed: false,
            observe_soon: false,
            missing: Vec::new(),
            slow_us: 0,
            busy: false,
            asleep_until: 0,
            last_words: None,
            outcomes: Vec::new(),
            promoted: 0,
        }
    }

    pub fn queue_outcome(&mut self, operation: OperationId, outcome: Outcome) {
        self.outcomes.push((operation, outcome));
    }

    /// It was told so, and has not begun.
    pub fn is_to_be_refilled(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::is_to_be_refilled)
    }

    /// Runs and is not asleep.
    pub fn is_up(&self) -> bool {
        !self.down && !self.frozen
    }

    /// Applications are let in, and there is a primary to let them into.
    pub fn is_open(&self) -> bool {
        self.server
            .process
            .as_ref()
            .is_some_and(|process| process.primary && process.applications)
    }

    /// What its data belongs to.
    pub fn lineage(&self) -> Lineage {
        let folder = self.server.folder.as_ref();
        folder.map_or(Lineage::ORIGIN, |folder| folder.lineage)
    }

    /// Also the one that was begun and has promoted nobody.
    pub fn latest_lineage(&self) -> Lineage {
        let recorded = self.disk.record.iter();
        let pending = self.disk.pending.iter().map(|(_, record)| record);
        let decided = recorded.chain(pending).map(|record| record.lineage);
        decided.fold(self.lineage(), Lineage::max)
    }

    pub fn holds_lease(&self, now_us: u64) -> bool {
        let now = self.clock.local(now_us);
        self.lease.is_some_and(|(_, expires)| expires > now)
    }
}
