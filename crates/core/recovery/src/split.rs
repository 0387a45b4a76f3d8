//! How the recovery time divides into phases.
//!
//! | phase | from | to |
//! |---|---|---|
//! | detect | the fault | the first surviving keeper lost its primary |
//! | decide | | a keeper asked the others for a new term |
//! | fence | | a majority had promised it: the old primary can commit nothing more |
//! | promote | | its server was open, and a quorum had the new timeline |
//! | reroute | | the first client was answered again |
//! | restored | | the first of many good answers in a row |
//!
//! The first four ends come from keepers, the last two from clients. A phase whose beginning or end is not known, or
//! whose end lies before its beginning by more than clocks may differ, is not measured; nothing is guessed around it.

use alloc::vec::Vec;

/// So much may two clocks of one machine, and the rounding to milliseconds, differ.
const TOLERANCE_US: u64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Detect,
    Decide,
    Fence,
    Promote,
    Reroute,
    Restored,
}

impl Phase {
    pub const ALL: [Self; 6] = [
        Self::Detect,
        Self::Decide,
        Self::Fence,
        Self::Promote,
        Self::Reroute,
        Self::Restored,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Decide => "decide",
            Self::Fence => "fence",
            Self::Promote => "promote",
            Self::Reroute => "reroute",
            Self::Restored => "restored",
        }
    }
}

/// When each phase ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    pub detect: Option<u64>,
    pub decide: Option<u64>,
    pub fence: Option<u64>,
    pub promote: Option<u64>,
    pub reroute: Option<u64>,
    pub restored: Option<u64>,
}

impl Ends {
    const fn of(&self, phase: Phase) -> Option<u64> {
        match phase {
            Phase::Detect => self.detect,
            Phase::Decide => self.decide,
            Phase::Fence => self.fence,
            Phase::Promote => self.promote,
            Phase::Reroute => self.reroute,
            Phase::Restored => self.restored,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Lasted { us: u64 },
    Unknown(Unknown),
}

/// Why a phase was not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Nobody said when it began.
    NoBeginning,
    /// Nobody said when it ended.
    NoEnd,
    /// It would have ended before it began.
    Backwards,
}

impl Unknown {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoBeginning => "nobody said when the phase before it ended",
            Self::NoEnd => "nobody said when it ended",
            Self::Backwards => {
                "it would have ended before it began: clocks, or an earlier failover"
            }
        }
    }
}

/// Each phase in order. Those that were measured add up to the time from the fault to the last of them, when none
/// before it is missing.
pub fn split(fault_us: u64, ends: &Ends) -> Vec<(Phase, Length)> {
    let mut before = Some(fault_us);
    let mut phases = Vec::new();
    for phase in Phase::ALL {
        let (length, after) = match (before, ends.of(phase)) {
            (_, None) => (Length::Unknown(Unknown::NoEnd), None),
            (None, Some(end)) => (Length::Unknown(Unknown::NoBeginning), Some(end)),
            (Some(begin), Some(end)) if end.saturating_add(TOLERANCE_US) < begin => {
                (Length::Unknown(Unknown::Backwards), None)
            }
            // Within what clocks may differ: it took no time, and the next begins where it began.
            (Some(begin), Some(end)) => {
                let us = end.saturating_sub(begin);
                (Length::Lasted { us }, Some(begin.max(end)))
            }
        };
        phases.push((phase, length));
        before = after;
    }
    phases
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Ends = Ends {
        detect: Some(1_200_000),
        decide: Some(1_210_000),
        fence: Some(1_250_000),
        promote: Some(1_400_000),
        reroute: Some(1_398_000),
        restored: Some(1_500_000),
    };

    fn lengths(ends: &Ends) -> Vec<Option<u64>> {
        let phases = split(1_000_000, ends).into_iter();
        phases
            .map(|(_, length)| match length {
                Length::Lasted { us } => Some(us),
                Length::Unknown(_) => None,
            })
            .collect()
    }

    #[test]
    fn the_phases_add_up_to_the_whole() {
        let found = lengths(&WHOLE);
        // A client's answer two milliseconds before the keeper's rounded time took no time.
        assert_eq!(found[4], Some(0));
        let sum: u64 = found.into_iter().flatten().sum();
        assert_eq!(sum, 500_000);
    }

    #[test]
    fn what_is_missing_is_not_filled() {
        let missing = Ends {
            fence: None,
            ..WHOLE
        };
        let found = lengths(&missing);
        assert_eq!(found[1], Some(10_000));
        assert_eq!(
            (found[2], found[3]),
            (None, None),
            "neither it nor the next"
        );
        assert_eq!(found[5], Some(100_000));
        assert!(lengths(&Ends::default()).iter().all(Option::is_none));
    }

    #[test]
    fn a_time_of_an_earlier_failover_is_not_taken() {
        let early = Ends {
            decide: Some(900_000),
            ..WHOLE
        };
        let found = split(1_000_000, &early);
        assert_eq!(found[1].1, Length::Unknown(Unknown::Backwards));
        assert_eq!(found[2].1, Length::Unknown(Unknown::NoBeginning));
        let swapped = Ends {
            reroute: Some(1_300_000),
            ..WHOLE
        };
        assert_eq!(
            split(1_000_000, &swapped)[4].1,
            Length::Unknown(Unknown::Backwards)
        );
    }
}
