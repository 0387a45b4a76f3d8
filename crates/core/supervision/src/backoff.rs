//! How long to wait before the next start, and when to call it a loop.

use alloc::collections::VecDeque;
use core::time::Duration;

use mainstay_units::Instant;

use crate::policy::RestartPolicy;

/// Exits remembered, whatever the policy counts.
const MEMORY: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    /// Of an own small generator (SplitMix64), so that the same seed gives the same waits everywhere.
    random: u64,
    attempt: u32,
    exits: VecDeque<Instant>,
}

impl Backoff {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            random: seed,
            attempt: 0,
            exits: VecDeque::new(),
        }
    }

    /// Notes an exit after `ran`; whether it makes a crash loop.
    pub(crate) fn note_exit(
        &mut self,
        now: Instant,
        ran: Duration,
        policy: &RestartPolicy,
    ) -> bool {
        if ran >= policy.reset_after {
            self.attempt = 0;
            self.exits.clear();
        }
        if self.exits.len() == MEMORY {
            self.exits.pop_front();
        }
        self.exits.push_back(now);
        let recent = |exit: &&Instant| now.since(**exit) <= policy.crash_loop_window;
        let count = self.exits.iter().filter(recent).count();
        policy.crash_loop_exits > 0
            && count
                >= usize::try_from(policy.crash_loop_exits)
                    .unwrap_or(usize::MAX)
                    .min(MEMORY)
    }

    /// Between half of the full wait and all of it: those that fell together do not rise together.
    pub(crate) fn next_wait(&mut self, policy: &RestartPolicy) -> Duration {
        let factor = 1_u32.checked_shl(self.attempt.min(31)).unwrap_or(u32::MAX);
        self.attempt = self.attempt.saturating_add(1);
        let full = policy.initial.saturating_mul(factor).min(policy.maximum);
        self.jitter(full)
    }

    pub(crate) fn longest_wait(&mut self, policy: &RestartPolicy) -> Duration {
        self.attempt = self.attempt.saturating_add(1);
        self.jitter(policy.maximum.max(policy.initial))
    }

    /// A start that was asked for owes nothing to the past.
    pub(crate) fn forgive(&mut self) {
        self.attempt = 0;
        self.exits.clear();
    }

    fn jitter(&mut self, full: Duration) -> Duration {
        let half = full / 2;
        let range = u64::try_from(half.as_nanos())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        half + Duration::from_nanos(self.draw() % range)
    }

    const fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        initial: Duration::from_millis(100),
        maximum: Duration::from_millis(1_000),
        reset_after: Duration::from_secs(10),
        crash_loop_exits: 3,
        crash_loop_window: Duration::from_secs(5),
    };

    #[test]
    fn waits_double_up_to_the_maximum() {
        let mut backoff = Backoff::new(1);
        for full in [100, 200, 400, 800, 1_000, 1_000] {
            let wait = backoff.next_wait(&POLICY);
            let full = Duration::from_millis(full);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
        for _ in 0..100 {
            assert!(backoff.next_wait(&POLICY) <= POLICY.maximum);
        }
    }

    #[test]
    fn the_same_seed_waits_the_same() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            core::array::from_fn::<Duration, 8, _>(|_| backoff.next_wait(&POLICY))
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }

    #[test]
    fn exits_within_the_window_are_a_loop_and_a_long_run_ends_it() {
        let mut backoff = Backoff::new(1);
        let short = Duration::from_millis(1);
        let at = Instant::from_millis;
        assert!(!backoff.note_exit(at(0), short, &POLICY));
        assert!(!backoff.note_exit(at(1_000), short, &POLICY));
        assert!(backoff.note_exit(at(2_000), short, &POLICY));
        assert!(!backoff.note_exit(at(20_000), Duration::from_secs(18), &POLICY));
        assert!(!backoff.note_exit(at(26_000), short, &POLICY));
        assert!(
            !backoff.note_exit(at(32_000), short, &POLICY),
            "spread out they are no loop"
        );
    }
}
