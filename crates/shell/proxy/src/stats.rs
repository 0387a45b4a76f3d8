//! Counters that cost the hot path one plain store.
//!
//! Every worker has its own counters for every route and every upstream and is their only writer, so it
//! needs no locked instruction; whoever scrapes adds the workers up. Names live as long as the process:
//! a route that a new snapshot brings back goes on where it stopped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, more: u64) {
        // One writer: load and store instead of a locked addition.
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(more),
            Ordering::Relaxed,
        );
    }

    pub fn up(&self) {
        self.add(1);
    }

    pub fn down(&self) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_sub(1),
            Ordering::Relaxed,
        );
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets: 0.125 ms doubling to 16 s.
pub const BUCKETS: usize = 18;
const FIRST_BUCKET_NS: u64 = 125_000;

#[derive(Debug, Default)]
pub struct Durations {
    /// The last one counts what lies beyond all bounds.
    buckets: [Count; BUCKETS + 1],
    sum_ns: Count,
}

impl Durations {
    pub fn record(&self, duration: Duration) {
        let nanos = duration.as_nanos() as u64;
        let doublings = (nanos.saturating_sub(1) / FIRST_BUCKET_NS).checked_ilog2();
        let bucket = doublings.map_or(0, |n| n as usize + 1).min(BUCKETS);
        self.buckets[bucket].up();
        self.sum_ns.add(nanos);
    }

    /// Bound in seconds and count of each bucket.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.buckets.iter().enumerate().map(|(index, count)| {
            let bound = match index {
                BUCKETS => f64::MAX,
                _ => (FIRST_BUCKET_NS << index) as f64 / 1e9,
            };
            (bound, count.get())
        })
    }

    pub fn sum_seconds(&self) -> f64 {
        self.sum_ns.get() as f64 / 1e9
    }
}

/// One worker's counters of one route.
#[derive(Debug, Default)]
pub struct RouteStats {
    /// Answers by first digit of the status; 0 is never used.
    pub classes: [Count; 6],
    /// Answers that the gateway itself gave instead of the service, by code.
    pub own: [Count; CODES.len()],
    pub held: Count,
    pub repeated: Count,
    pub durations: Durations,
}

/// Codes of the gateway's own answers, in the order of [`crate::answer::Code`].
pub const CODES: [&str; 17] = [
    "bad_framing",
    "ambiguous_path",
    "header_too_large",
    "body_too_large",
    "body_unread",
    "no_route",
    "unknown_cell",
    "method_not_allowed",
    "unavailable",
    "held_too_long",
    "pushed_out",
    "isolated",
    "outcome_unknown",
    "stopping",
    "overloaded",
    "deadline_passed",
    "key_missing",
];

/// One worker's counters of one instance.
#[derive(Debug, Default)]
pub struct UpstreamStats {
    pub answered: Count,
    pub nothing: Count,
    pub unknown: Count,
    pub durations: Durations,
}

/// One worker's counters that belong to no route.
#[derive(Debug, Default)]
pub struct WorkerStats {
    pub connections: Count,
    pub connections_total: Count,
    pub connections_refused: Count,
    pub handshakes_failed: Count,
    pub requests: Count,
    pub framing_violations: Count,
    pub sessions: Count,
    pub sessions_cut: Count,
    /// Bytes of bodies that are being read, sent or held.
    pub bodies: Arc<Count>,
    /// Bytes of cells' answers that were read whole and wait for their clients.
    pub answers: Arc<Count>,
}

type Named<T> = Mutex<BTreeMap<Vec<String>, Vec<Arc<T>>>>;

#[derive(Debug, Default)]
pub struct Stats {
    routes: Named<RouteStats>,
    upstreams: Named<UpstreamStats>,
    workers: Mutex<Vec<Arc<WorkerStats>>>,
    /// Requests held now, by cell; one slot per worker.
    cells: Named<Count>,
    /// TCP sessions by database; one slot per worker.
    sessions: Named<Count>,
}

/// A panic of another thread does not make counters wrong.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn slot<T: Default>(named: &Named<T>, name: &[&str], worker: usize) -> Arc<T> {
    let name: Vec<String> = name.iter().map(|part| (*part).to_owned()).collect();
    let mut named = locked(named);
    let slots = named.entry(name).or_default();
    while slots.len() <= worker {
        slots.push(Arc::default());
    }
    Arc::clone(&slots[worker])
}

fn all<T>(named: &Named<T>) -> Vec<(Vec<String>, Vec<Arc<T>>)> {
    locked(named)
        .iter()
        .map(|(name, slots)| (name.clone(), slots.clone()))
        .collect()
}

impl Stats {
    pub fn route(&self, listener: &str, route: &str, worker: usize) -> Arc<RouteStats> {
        slot(&self.routes, &[listener, route], worker)
    }

    /// For requests that have no route.
    pub fn unrouted(&self, worker: usize) -> Arc<RouteStats> {
        self.route("none", "none", worker)
    }

    pub fn upstream(&self, service: &str, instance: &str, worker: usize) -> Arc<UpstreamStats> {
        slot(&self.upstreams, &[service, instance], worker)
    }

    pub fn cell(&self, database: &str, service: &str, worker: usize) -> Arc<Count> {
        slot(&self.cells, &[database, service], worker)
    }

    pub fn sessions(&self, database: &str, worker: usize) -> Arc<Count> {
        slot(&self.sessions, &[database], worker)
    }

    pub fn worker(&self) -> Arc<WorkerStats> {
        let stats = Arc::new(WorkerStats::default());
        locked(&self.workers).push(Arc::clone(&stats));
        stats
    }

    pub fn routes(&self) -> Vec<(Vec<String>, Vec<Arc<RouteStats>>)> {
        all(&self.routes)
    }

    pub fn upstreams(&self) -> Vec<(Vec<String>, Vec<Arc<UpstreamStats>>)> {
        all(&self.upstreams)
    }

    pub fn workers(&self) -> Vec<Arc<WorkerStats>> {
        locked(&self.workers).clone()
    }

    /// Connections of clients that all workers have.
    pub fn connections(&self) -> u64 {
        let workers = locked(&self.workers);
        workers.iter().map(|one| one.connections.get()).sum()
    }

    /// Requests of a cell that wait now.
    pub fn held(&self, database: &str, service: &str) -> u64 {
        total(&self.cells, &[database, service])
    }

    /// Open TCP sessions with a database.
    pub fn sessions_of(&self, database: &str) -> u64 {
        total(&self.sessions, &[database])
    }
}

fn total(named: &Named<Count>, name: &[&str]) -> u64 {
    let name: Vec<String> = name.iter().map(|part| (*part).to_owned()).collect();
    let slots = locked(named);
    slots
        .get(&name)
        .map_or(0, |slots| slots.iter().map(|count| count.get()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let durations = Durations::default();
        for micros in [0, 125, 126, 250, 251, 16_384_000, 16_384_001, 90_000_000] {
            durations.record(Duration::from_micros(micros));
        }
        let counts: Vec<(f64, u64)> = durations
            .buckets()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            counts,
            [
                (0.000_125, 2),
                (0.000_25, 2),
                (0.000_5, 1),
                (16.384, 1),
                (f64::MAX, 2)
            ]
        );
    }
}
