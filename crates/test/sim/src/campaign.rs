//! Many schedules: spread over threads, summed up, compared with what a schedule must be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mainstay_keeper::{PlantedBug, TABLE};

use crate::schedule::{Narration, Outcome, run};

/// A schedule that is worth its name has at least these.
pub const SIMULATED_US_MIN: u64 = 60_000_000;
pub const ACKNOWLEDGED_MIN: usize = 20;
pub const FAULTS_MIN: u32 = 3;

/// Violations are shown, up to this many.
const VIOLATIONS_LIMIT: usize = 10;

/// What came of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub schedules: u64,
    /// Schedules that are shorter or quieter than one must be; they count for nothing.
    pub thin: u64,
    pub with_failover: u64,
    pub failovers: u64,
    pub faults: u64,
    pub disk_losses: u64,
    pub acknowledged: u64,
    pub reads: u64,
    pub alone: u64,
    pub alone_lost: u64,
    pub lineages: u64,
    pub given_up: u64,
    pub rows_used: u128,
    pub violations: Vec<Outcome>,
    pub took: Duration,
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        let thin = outcome.simulated_us < SIMULATED_US_MIN
            || outcome.acknowledged < ACKNOWLEDGED_MIN
            || outcome.faults < FAULTS_MIN;
        self.rows_used |= outcome.rows_used;
        if outcome.violation.is_some() {
            if self.violations.len() < VIOLATIONS_LIMIT {
                self.violations.push(outcome);
            }
            self.schedules += 1;
            return;
        }
        if thin {
            self.thin += 1;
            return;
        }
        self.schedules += 1;
        self.with_failover += u64::from(outcome.failovers > 0);
        self.failovers += u64::from(outcome.failovers);
        self.faults += u64::from(outcome.faults);
        self.disk_losses += u64::from(outcome.disk_losses);
        self.acknowledged += outcome.acknowledged as u64;
        self.reads += u64::from(outcome.reads);
        self.alone += u64::from(outcome.alone);
        self.alone_lost += u64::from(outcome.alone_lost);
        self.lineages += outcome.lineages as u64;
        self.given_up += u64::from(outcome.given_up);
    }

    fn merge(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.thin += other.thin;
        self.with_failover += other.with_failover;
        self.failovers += other.failovers;
        self.faults += other.faults;
        self.disk_losses += other.disk_losses;
        self.acknowledged += other.acknowledged;
        self.reads += other.reads;
        self.alone += other.alone;
        self.alone_lost += other.alone_lost;
        self.lineages += other.lineages;
        self.given_up += other.given_up;
        self.rows_used |= other.rows_used;
        self.violations.extend(other.violations);
    }

    /// Rows of the keeper's state table that no schedule used.
    pub fn rows_unused(&self) -> Vec<String> {
        TABLE
            .iter()
            .enumerate()
            .filter(|(number, _)| self.rows_used & (1 << number) == 0)
            .map(|(_, row)| format!("{:?} + {:?} -> {:?}", row.0, row.1, row.2))
            .collect()
    }
}

/// Runs seeds from `first` until `schedules` of them were worth their name.
pub fn campaign(first: u64, schedules: u64, threads: usize) -> Summary {
    let started = Instant::now();
    let next = AtomicU64::new(first);
    let done = AtomicU64::new(0);
    let mut total = Summary::default();
    std::thread::scope(|scope| {
        let worker = || {
            let mut own = Summary::default();
            while done.load(Ordering::Relaxed) < schedules {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                let before = own.schedules;
                own.add(run(seed, None, Narration::Mute));
                done.fetch_add(own.schedules - before, Ordering::Relaxed);
            }
            own
        };
        let handles: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(worker)).collect();
        for handle in handles {
            if let Ok(own) = handle.join() {
                total.merge(own);
            }
        }
    });
    total.took = started.elapsed();
    total
}

/// The first seed from `first` on, among `limit`, that finds the bug.
pub fn hunt(bug: PlantedBug, first: u64, limit: u64) -> Option<Outcome> {
    (first..first.saturating_add(limit))
        .map(|seed| run(seed, Some(bug), Narration::Mute))
        .find(|outcome| outcome.violation.is_some())
}
