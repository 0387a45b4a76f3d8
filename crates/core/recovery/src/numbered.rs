//! Numbered writes: what clients were told of each, and what is found of it.
//!
//! | told \ found | once | more than once | not at all |
//! |---|---|---|---|
//! | acknowledged | acknowledged, present | duplicated | **lost** |
//! | refused or unanswered | unacknowledged, present | duplicated | unacknowledged, absent |
//! | not known | unknown, present | duplicated | unknown, absent |
//! | never sent | **invented** | invented | – |
//!
//! *Not known* is a client that died with a request under way: it might have been told.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Who wrote it, and which of his.
pub type Number = (u32, u64);

/// What the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Acknowledged {
        at_us: u64,
    },
    /// Refused, given up, or answered in a way that promises nothing.
    Unacknowledged,
    /// The client's notes end before an answer.
    Unknown,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    pub sent: u64,
    pub acknowledged: u64,
    pub acknowledged_present: u64,
    pub unacknowledged_present: u64,
    pub unacknowledged_absent: u64,
    pub unknown_present: u64,
    pub unknown_absent: u64,
    /// In order of their numbers.
    pub lost: Vec<Number>,
    pub duplicated: Vec<Number>,
    pub invented: Vec<Number>,
    /// When the oldest of the lost was acknowledged.
    pub oldest_lost_us: Option<u64>,
}

impl Classes {
    /// From the oldest acknowledgement that was lost to the fault.
    pub fn lost_time_us(&self, fault_us: u64) -> u64 {
        self.oldest_lost_us
            .map_or(0, |oldest_us| fault_us.saturating_sub(oldest_us))
    }
}

pub fn classes(told: &BTreeMap<Number, Told>, found: &BTreeMap<Number, u64>) -> Classes {
    let mut classes = Classes {
        sent: told.len() as u64,
        ..Classes::default()
    };
    for (number, told) in told {
        let times = found.get(number).copied().unwrap_or(0);
        if let Told::Acknowledged { .. } = told {
            classes.acknowledged += 1;
        }
        if times > 1 {
            classes.duplicated.push(*number);
        }
        match (told, times) {
            (Told::Acknowledged { at_us }, 0) => {
                classes.lost.push(*number);
                let oldest = classes.oldest_lost_us.unwrap_or(u64::MAX);
                classes.oldest_lost_us = Some(oldest.min(*at_us));
            }
            (Told::Acknowledged { .. }, _) => classes.acknowledged_present += 1,
            (Told::Unacknowledged, 0) => classes.unacknowledged_absent += 1,
            (Told::Unacknowledged, _) => classes.unacknowledged_present += 1,
            (Told::Unknown, 0) => classes.unknown_absent += 1,
            (Told::Unknown, _) => classes.unknown_present += 1,
        }
    }
    let never_sent = found.keys().filter(|number| !told.contains_key(*number));
    classes.invented = never_sent.copied().collect();
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run in which everything is as it should be.
    fn sound() -> (BTreeMap<Number, Told>, BTreeMap<Number, u64>) {
        let told = (0..30).map(|n| {
            let told = match n % 10 {
                8 => Told::Unacknowledged,
                9 => Told::Unknown,
                _ => Told::Acknowledged { at_us: 1_000 * n },
            };
            ((1, n), told)
        });
        let told: BTreeMap<Number, Told> = told.collect();
        // Of those that promise nothing some are there.
        let is_there = |number: &Number| !matches!(number.1, 8 | 9);
        let found = told.keys().filter(|number| is_there(number));
        let found = found.map(|number| (*number, 1)).collect();
        (told, found)
    }

    #[test]
    fn a_sound_run_has_nothing_to_report() {
        let (told, found) = sound();
        let classes = classes(&told, &found);
        assert_eq!(
            (classes.acknowledged, classes.acknowledged_present),
            (24, 24)
        );
        assert_eq!(
            (
                classes.unacknowledged_present,
                classes.unacknowledged_absent
            ),
            (2, 1)
        );
        assert_eq!((classes.unknown_present, classes.unknown_absent), (2, 1));
        assert!(classes.lost.is_empty() && classes.duplicated.is_empty());
        assert!(classes.invented.is_empty());
        assert_eq!(classes.lost_time_us(9_000_000), 0);
    }

    #[test]
    fn each_planted_wrong_is_found_and_nothing_else() {
        let (told, sound) = sound();
        // Two acknowledged ones are gone; the older counts for the time.
        let mut found = sound.clone();
        found.remove(&(1, 7));
        found.remove(&(1, 5));
        let lost = classes(&told, &found);
        assert_eq!(lost.lost, [(1, 5), (1, 7)]);
        assert_eq!(lost.lost_time_us(9_000), 4_000);
        assert!(lost.duplicated.is_empty() && lost.invented.is_empty());
        // One is there twice.
        let mut found = sound.clone();
        found.insert((1, 3), 2);
        let twice = classes(&told, &found);
        assert_eq!(twice.duplicated, [(1, 3)]);
        assert!(twice.lost.is_empty() && twice.invented.is_empty());
        // One was never sent, one is of somebody else.
        let mut found = sound.clone();
        found.insert((1, 30), 1);
        found.insert((2, 3), 1);
        let invented = classes(&told, &found);
        assert_eq!(invented.invented, [(1, 30), (2, 3)]);
        assert!(invented.lost.is_empty() && invented.duplicated.is_empty());
        // One that promises nothing may be there or not: that is no finding.
        let mut found = sound;
        found.insert((1, 8), 1);
        found.remove(&(1, 18));
        let other = classes(&told, &found);
        assert!(other.lost.is_empty() && other.invented.is_empty());
        assert_eq!(other.unacknowledged_present, 2);
    }
}
