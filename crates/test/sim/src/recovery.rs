//! How long clients wait for an answer around one fault, by the simulated clock: to be put beside what real processes take.
//!
//! A world in which one fault of a kind happens and nothing else, with production's timings and links like those of one machine. The
//! servers' own times (a start, a promotion, a stream that begins) are drawn as in every schedule. So the figure says what
//! the *protocol* costs; where a measured one is far above it, the time is lost elsewhere.

use mainstay_keeper::{Operator, ReplicaId};

use crate::event::Event;
use crate::fault::Fault;
use crate::schedule::Narration;
use crate::trace::Trace;
use crate::world::World;

/// The faults of `make bench-failover`, under the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    PostmasterKill,
    Crash,
    Freeze,
    Cut,
    Switchover,
}

impl Class {
    pub const ALL: [Self; 5] = [
        Self::PostmasterKill,
        Self::Crash,
        Self::Freeze,
        Self::Cut,
        Self::Switchover,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::PostmasterKill => "postmaster kill",
            Self::Crash => "silent crash",
            Self::Freeze => "freeze",
            Self::Cut => "cut",
            Self::Switchover => "switchover",
        }
    }
}

/// What is noted of a single fault.
#[derive(Debug, Default)]
pub struct Recovery {
    struck: bool,
    last_us: u64,
    longest_us: u64,
}

impl Recovery {
    pub fn handle_acknowledged(&mut self, now_us: u64) {
        if self.struck {
            self.longest_us = self.longest_us.max(now_us - self.last_us);
        }
        self.last_us = now_us;
    }

    /// The longest time without an acknowledged write since the fault; it must have ended.
    fn gap_us(&self, finished_us: u64) -> Option<u64> {
        let ended = self.struck && finished_us - self.last_us < self.longest_us;
        ended.then_some(self.longest_us)
    }
}

/// Gaps in microseconds, each with its seed; the shortest first.
///
/// # Errors
/// When a schedule breaks an invariant, or its clients are not answered again.
pub fn gaps(class: Class, first: u64, schedules: u64) -> Result<Vec<(u64, u64)>, String> {
    let seeds = first..first.saturating_add(schedules);
    let gaps: Result<Vec<(u64, u64)>, String> = seeds
        .map(|seed| Ok((gap(class, seed, Narration::Mute)?, seed)))
        .collect();
    let mut gaps = gaps?;
    gaps.sort_unstable();
    Ok(gaps)
}

/// The gap of one schedule, in microseconds.
///
/// # Errors
/// As of [`gaps`].
pub fn gap(class: Class, seed: u64, narration: Narration) -> Result<u64, String> {
    let mut world = World::single(seed, class);
    world.trace = Trace::absent();
    world.narrate = narration == Narration::Aloud;
    world.run();
    let wrong = |what: &str| format!("seed {seed}, {}: {what}", class.name());
    if let Some(violation) = &world.checker.violation {
        let (invariant, detail) = (violation.invariant, &violation.detail);
        return Err(wrong(&format!("{invariant:?}: {detail}")));
    }
    let gap = world.recovery.gap_us(world.now);
    gap.ok_or_else(|| wrong("nobody was answered again"))
}

/// The smallest value that so large a share of all does not exceed, with its seed.
pub fn percentile(sorted: &[(u64, u64)], percent: usize) -> (u64, u64) {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

impl World {
    /// Sets the fault on whoever is primary; it lasts until the world is healed.
    pub fn strike_once(&mut self, class: Class) {
        let Some(primary) = self.primary() else {
            return;
        };
        self.say(|| format!("fault {} of host {}", class.name(), primary + 1));
        self.recovery.struck = true;
        let lasting = self.plan.heal_at_us - self.now;
        match class {
            Class::PostmasterKill => self.kill_server(primary),
            Class::Crash => self.lose(primary, false, Some(lasting)),
            Class::Freeze => {
                self.hosts[primary].frozen = true;
                self.plan(lasting, Event::End(Fault::Freeze { host: primary }));
            }
            Class::Cut => {
                for other in (0..self.plan.hosts).filter(|other| *other != primary) {
                    self.network.cut(primary, other, true);
                    self.network.cut(other, primary, true);
                }
                self.plan(lasting, Event::End(Fault::Isolate { host: primary }));
            }
            Class::Switchover => {
                let to = ReplicaId(((primary + 1) % self.plan.hosts) as u8 + 1);
                self.operator(primary, Operator::Switchover { to });
            }
        }
    }
}
