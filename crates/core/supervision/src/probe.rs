//! Asking a process how it is, again and again, and believing it only when it repeats itself.

use core::fmt;

use mainstay_units::Instant;

use crate::policy::ProbePolicy;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    Startup,
    Readiness,
    Liveness,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        })
    }
}

/// Which question an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
}

/// The outcome that has been repeated often enough, or the count that is still missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belief {
    Settled(Outcome),
    BelowThreshold,
    Stale,
}

/// One probe of one run of a process.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    policy: ProbePolicy,
    next: Instant,
    /// The question under way and when silence becomes its answer.
    asked: Option<(Round, Instant)>,
    last: Outcome,
    in_a_row: u32,
}

impl Schedule {
    pub(crate) fn new(policy: ProbePolicy, now: Instant) -> Self {
        Self {
            policy: policy.bounded(),
            next: now,
            asked: None,
            last: Outcome::Failed,
            in_a_row: 0,
        }
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        match self.asked {
            Some((_, silence)) => silence,
            None => self.next,
        }
    }

    /// Whether it is time to ask.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.asked.is_none() && now >= self.next
    }

    pub(crate) fn ask(&mut self, now: Instant, round: Round) {
        assert!(self.asked.is_none(), "one question at a time");
        self.asked = Some((round, now + self.policy.timeout));
        self.next = now + self.policy.period;
    }

    /// The round that has gone unanswered for too long.
    pub(crate) fn silent(&self, now: Instant) -> Option<Round> {
        self.asked
            .filter(|(_, silence)| now >= *silence)
            .map(|(round, _)| round)
    }

    pub(crate) fn answer(&mut self, round: Round, outcome: Outcome) -> Belief {
        if self.asked.is_none_or(|(asked, _)| asked != round) {
            return Belief::Stale;
        }
        self.asked = None;
        if self.last != outcome {
            self.last = outcome;
            self.in_a_row = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        let threshold = match outcome {
            Outcome::Passed => self.policy.success_threshold,
            Outcome::Failed => self.policy.failure_threshold,
        };
        if self.in_a_row >= threshold {
            Belief::Settled(outcome)
        } else {
            Belief::BelowThreshold
        }
    }

    pub(crate) const fn timeout(&self) -> core::time::Duration {
        self.policy.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn schedule() -> Schedule {
        let policy = ProbePolicy {
            period: Duration::from_millis(100),
            timeout: Duration::from_millis(50),
            success_threshold: 2,
            failure_threshold: 3,
        };
        Schedule::new(policy, Instant::ZERO)
    }

    #[test]
    fn thresholds_count_in_a_row() {
        let mut schedule = schedule();
        let mut beliefs = alloc::vec::Vec::new();
        use Outcome::{Failed, Passed};
        for (round, outcome) in [
            Passed, Passed, Failed, Failed, Passed, Failed, Failed, Failed,
        ]
        .into_iter()
        .enumerate()
        {
            let round = Round(round as u64);
            schedule.ask(Instant::ZERO, round);
            beliefs.push(schedule.answer(round, outcome));
        }
        use Belief::{BelowThreshold as Below, Settled};
        assert_eq!(
            beliefs,
            [
                Below,
                Settled(Passed),
                Below,
                Below,
                Below,
                Below,
                Below,
                Settled(Failed)
            ]
        );
    }

    #[test]
    fn an_old_answer_does_not_count() {
        let mut schedule = schedule();
        schedule.ask(Instant::ZERO, Round(1));
        assert_eq!(schedule.silent(Instant::from_millis(49)), None);
        assert_eq!(schedule.silent(Instant::from_millis(50)), Some(Round(1)));
        assert_eq!(schedule.answer(Round(0), Outcome::Passed), Belief::Stale);
        assert_eq!(
            schedule.answer(Round(1), Outcome::Failed),
            Belief::BelowThreshold
        );
        assert_eq!(schedule.answer(Round(1), Outcome::Passed), Belief::Stale);
        assert!(!schedule.is_due(Instant::from_millis(99)));
        assert!(schedule.is_due(Instant::from_millis(100)));
    }
}
