//! What may go, and what stands for each day.
//!
//! The rule that stands above all numbers: a backup goes only while a proven one stays. An unproven backup is a hope;
//! throwing away a proof in favour of a hope is how archives turn out to be empty when they are needed.

use alloc::string::String;
use alloc::vec::Vec;

use mainstay_units::Lsn;

use crate::route::Base;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Every moment this far back stays within reach.
    pub period_ms: u64,
    /// At least so many backups stay, however old.
    pub count: usize,
}

/// Why a backup stays; the first reason that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is younger than the period.
    Young,
    /// The moments at the beginning of the period are reached from it.
    BeginsPeriod,
    /// One of the newest.
    Count,
    /// The newest that was proven.
    LastProven,
    /// Nothing else was proven, so nothing goes.
    NothingProven,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    pub keep: Vec<(String, Kept)>,
    pub remove: Vec<String>,
    /// Log before this is reached from no backup that stays; `None`: all log stays.
    pub log_from: Option<Lsn>,
}

/// Decides over all backups of one archive.
pub fn retain(bases: &[Base], policy: Policy, now_ms: u64) -> Retained {
    let mut newest_first: Vec<&Base> = bases.iter().collect();
    newest_first.sort_by_key(|base| core::cmp::Reverse((base.stopped_ms, base.stop)));
    let begin_ms = now_ms.saturating_sub(policy.period_ms);
    let begins = newest_first
        .iter()
        .position(|base| base.stopped_ms <= begin_ms);
    let last_proven = newest_first
        .iter()
        .position(|base| base.proven_ms.is_some());
    let mut retained = Retained {
        keep: Vec::new(),
        remove: Vec::new(),
        log_from: None,
    };
    for (place, base) in newest_first.iter().enumerate() {
        let why = if base.stopped_ms > begin_ms {
            Some(Kept::Young)
        } else if begins == Some(place) {
            Some(Kept::BeginsPeriod)
        } else if place < policy.count {
            Some(Kept::Count)
        } else if last_proven == Some(place) {
            Some(Kept::LastProven)
        } else if last_proven.is_none() {
            Some(Kept::NothingProven)
        } else {
            None
        };
        match why {
            Some(why) => {
                let from = retained
                    .log_from
                    .map_or(base.start, |lsn| lsn.min(base.start));
                retained.log_from = Some(from);
                retained.keep.push((base.id.clone(), why));
            }
            None => retained.remove.push(base.id.clone()),
        }
    }
    retained
}

/// A restore that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub backup: String,
    /// When it was made.
    pub at_ms: u64,
    /// The moment whose state was restored.
    pub restored_ms: u64,
}

/// A day, counted from the Unix epoch, and the newest proven restore point in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    pub number: u64,
    pub proof: Option<Proof>,
}

/// Every day of the period up to today, oldest first. A day is proven by a restore to one of its moments.
pub fn days(proofs: &[Proof], policy: Policy, now_ms: u64) -> Vec<Day> {
    let first = now_ms.saturating_sub(policy.period_ms) / DAY_MS;
    (first..=now_ms / DAY_MS)
        .map(|number| {
            let of_day = proofs
                .iter()
                .filter(|proof| proof.restored_ms / DAY_MS == number);
            let proof = of_day.max_by_key(|proof| proof.restored_ms).cloned();
            Day { number, proof }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use mainstay_units::Timeline;
    use proptest::prelude::*;

    fn base(day: u64, proven: bool) -> Base {
        Base {
            id: format!("{day}"),
            timeline: Timeline(1),
            start: Lsn(day * 1_000),
            stop: Lsn(day * 1_000 + 10),
            stopped_ms: day * DAY_MS,
            proven_ms: proven.then_some(day * DAY_MS + 1),
        }
    }

    fn policy(days: u64, count: usize) -> Policy {
        Policy {
            period_ms: days * DAY_MS,
            count,
        }
    }

    #[test]
    fn the_period_stays_within_reach_and_older_ones_go() {
        let bases: Vec<Base> = (1..=10).map(|day| base(day, day == 9)).collect();
        let retained = retain(&bases, policy(3, 1), 10 * DAY_MS);
        assert_eq!(retained.remove, ["6", "5", "4", "3", "2", "1"]);
        let begins = ("7".to_string(), Kept::BeginsPeriod);
        assert!(retained.keep.contains(&begins), "{:?}", retained.keep);
        assert_eq!(retained.log_from, Some(Lsn(7_000)));
    }

    #[test]
    fn the_last_proof_outlives_every_rule() {
        let bases: Vec<Base> = (1..=10).map(|day| base(day, day == 2)).collect();
        let retained = retain(&bases, policy(3, 1), 10 * DAY_MS);
        assert!(retained.keep.contains(&("2".to_string(), Kept::LastProven)));
        assert_eq!(retained.log_from, Some(Lsn(2_000)), "and its log stays");
        let hopes: Vec<Base> = (1..=10).map(|day| base(day, false)).collect();
        assert!(retain(&hopes, policy(3, 1), 10 * DAY_MS).remove.is_empty());
    }

    #[test]
    fn each_day_shows_its_newest_proof() {
        let proof = |hour: u64| Proof {
            backup: format!("{hour}"),
            at_ms: 0,
            restored_ms: hour * 3_600_000,
        };
        let days = days(&[proof(25), proof(30), proof(80)], policy(2, 0), 3 * DAY_MS);
        let shown: Vec<_> = days
            .iter()
            .map(|day| {
                (
                    day.number,
                    day.proof.as_ref().map(|proof| proof.backup.as_str()),
                )
            })
            .collect();
        assert_eq!(shown, [(1, Some("30")), (2, None), (3, Some("80"))]);
    }

    proptest! {
        #[test]
        fn what_stays_suffices(
            proven in proptest::collection::vec(any::<bool>(), 1..40),
            days in 0u64..50, count in 0usize..10, now in 0u64..60,
        ) {
            let bases: Vec<Base> = (1..).zip(&proven).map(|(day, proven)| base(day, *proven)).collect();
            let retained = retain(&bases, policy(days, count), now * DAY_MS);
            prop_assert_eq!(retained.keep.len() + retained.remove.len(), bases.len());
            let kept = |id: &str| retained.keep.iter().any(|(other, _)| other == id);
            let last_proven = bases.iter().rfind(|base| base.proven_ms.is_some());
            match last_proven {
                Some(last) => prop_assert!(kept(&last.id)),
                None => prop_assert!(retained.remove.is_empty()),
            }
            let begin = (now * DAY_MS).saturating_sub(days * DAY_MS);
            for base in &bases {
                prop_assert!(base.stopped_ms <= begin || kept(&base.id));
            }
            if let Some(first) = bases.iter().rfind(|base| base.stopped_ms <= begin) {
                prop_assert!(kept(&first.id), "the period's first moment is out of reach");
            }
            for base in bases.iter().filter(|base| kept(&base.id)) {
                prop_assert!(retained.log_from.is_some_and(|from| from <= base.start));
            }
        }
    }
}
