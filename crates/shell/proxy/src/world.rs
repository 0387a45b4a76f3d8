//! What all threads of the gateway share: one immutable picture of the world, replaced whole.
//!
//! The eyes (one thread) paint pictures, the workers look at them. A worker compares one number per
//! request to learn that there is a new one. Nothing in a picture changes; what two threads must both
//! write does not exist, but for counters, of which every worker has its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use mainstay_gateway::retry::Outcome;
use mainstay_gateway::sight::View;
use mainstay_units::Instant;
use tokio::sync::{mpsc, watch};

use crate::caller::Caller;
use crate::config::Config;
use crate::stats::Stats;

#[derive(Debug)]
pub struct World {
    pub config: Arc<Config>,
    pub view: View,
}

/// What a worker wants of an instance that failed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// It gets no more requests until it has answered a younger question.
    AnswerFirst,
    /// It is asked at once, and goes on until then.
    Answer,
}

/// A worker's hint to the eyes: this instance failed a request; ask it again.
#[derive(Clone, Copy, Debug)]
pub struct Suspicion {
    pub demand: Demand,
    pub service: u16,
    pub instance: u16,
    pub at: Instant,
    /// Of the routing that the indices belong to.
    pub generation: u64,
    /// What became of the request that accuses it.
    pub outcome: Outcome,
}

#[derive(Debug)]
pub struct Shared {
    world: ArcSwap<World>,
    version: AtomicU64,
    changed: watch::Sender<u64>,
    /// The eyes vouch for the picture until then (nanoseconds of the boot-time clock).
    vouched_until: AtomicU64,
    pub suspicions: mpsc::UnboundedSender<Suspicion>,
    stopping: AtomicBool,
    pub stats: Stats,
    /// Who this gateway is.
    pub caller: Arc<Caller>,
}

impl Shared {
    pub fn new(
        config: Arc<Config>,
        view: View,
        suspicions: mpsc::UnboundedSender<Suspicion>,
        caller: Arc<Caller>,
    ) -> Self {
        Self {
            world: ArcSwap::from_pointee(World { config, view }),
            version: AtomicU64::new(1),
            changed: watch::Sender::new(1),
            vouched_until: AtomicU64::new(0),
            suspicions,
            stopping: AtomicBool::new(false),
            stats: Stats::default(),
            caller,
        }
    }

    pub fn world(&self) -> Arc<World> {
        self.world.load_full()
    }

    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub fn publish(&self, config: Arc<Config>, view: View) {
        self.world.store(Arc::new(World { config, view }));
        self.touch();
    }

    fn touch(&self) {
        let version = self.version.fetch_add(1, Ordering::AcqRel) + 1;
        self.changed.send_replace(version);
    }

    pub fn vouch_until(&self, until: Instant) {
        self.vouched_until
            .store(until.as_nanos(), Ordering::Release);
    }

    pub fn is_vouched(&self, now: Instant) -> bool {
        now.as_nanos() <= self.vouched_until.load(Ordering::Acquire)
    }

    /// Every worker stops taking work and finishes what it has.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.touch();
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
