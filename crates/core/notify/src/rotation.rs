//! Who is on call: people take turns, each from one hand-over to the next.
//!
//! A hand-over is a time of day (and a day of the week) at a fixed distance from UTC, so that it is the same length of
//! time from one to the next, and nobody is on call twice or never on the night when clocks change.

use alloc::string::String;
use alloc::vec::Vec;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;
const WEEK_MS: u64 = 7 * DAY_MS;
/// The first of January 1970 was a Thursday; days of the week count from Monday.
const EPOCH_WEEKDAY: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Daily,
    /// With the day of the week of its hand-over, Monday as 0.
    Weekly(u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// In the order of their turns, not empty.
    pub members: Vec<String>,
    pub turn: Turn,
    /// Of the day, at `offset_minutes` from UTC.
    pub handover_minutes: u16,
    pub offset_minutes: i16,
    /// The first member has the turn in which this moment lies.
    pub starts_ms: u64,
    /// The last one that covers a moment counts.
    pub overrides: Vec<Override>,
}

/// Somebody stands in for whoever would have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    pub who: String,
    pub from_ms: u64,
    pub to_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    pub who: String,
    pub from_ms: u64,
    pub to_ms: u64,
    /// Who would have it otherwise.
    pub instead_of: Option<String>,
}

impl Rotation {
    const fn length_ms(&self) -> u64 {
        match self.turn {
            Turn::Daily => DAY_MS,
            Turn::Weekly(_) => WEEK_MS,
        }
    }

    /// How far the hand-overs lie behind whole days or weeks since 1970, UTC; below their length.
    fn phase_ms(&self) -> u64 {
        let length = i64::try_from(self.length_ms()).unwrap_or(i64::MAX);
        let days = match self.turn {
            Turn::Daily => 0,
            Turn::Weekly(day) => (u64::from(day) + 7 - EPOCH_WEEKDAY) % 7,
        };
        let minutes = i64::from(self.handover_minutes) - i64::from(self.offset_minutes);
        let ms = i64::try_from(days * DAY_MS).unwrap_or(0) + minutes * MINUTE_MS as i64;
        u64::try_from(ms.rem_euclid(length)).unwrap_or(0)
    }

    /// The number of the turn in which a moment lies; moments before the first hand-over of 1970 belong to it.
    fn number(&self, at_ms: u64) -> u64 {
        // One turn is added so that nothing is negative.
        let since = (at_ms + self.length_ms()).saturating_sub(self.phase_ms());
        since / self.length_ms()
    }

    fn begins_ms(&self, number: u64) -> u64 {
        (number * self.length_ms() + self.phase_ms()).saturating_sub(self.length_ms())
    }

    /// Who has it; nobody before the rotation starts.
    pub fn on_call(&self, at_ms: u64) -> Option<Shift> {
        let first = self.number(self.starts_ms);
        let number = self.number(at_ms);
        let turns = number.checked_sub(first)?;
        let place = usize::try_from(turns).ok()? % self.members.len().max(1);
        let member = self.members.get(place)?;
        let (mut from_ms, mut to_ms) = (self.begins_ms(number), self.begins_ms(number + 1));
        let covers = |o: &&Override| (o.from_ms..o.to_ms).contains(&at_ms);
        let standing_in = self.overrides.iter().rev().find(covers);
        // The shift ends where another override begins or this one ends.
        for bound in self.overrides.iter().flat_map(|o| [o.from_ms, o.to_ms]) {
            if bound <= at_ms {
                from_ms = from_ms.max(bound);
            } else {
                to_ms = to_ms.min(bound);
            }
        }
        Some(match standing_in {
            Some(standing_in) => Shift {
                who: standing_in.who.clone(),
                from_ms,
                to_ms,
                instead_of: Some(member.clone()),
            },
            None => Shift {
                who: member.clone(),
                from_ms,
                to_ms,
                instead_of: None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    /// Monday, 2 November 2026, 09:00 at +01:00.
    const MONDAY_MS: u64 = 1_793_606_400_000;

    fn rotation(turn: Turn) -> Rotation {
        Rotation {
            members: ["ada", "grace", "linus"].map(ToString::to_string).into(),
            turn,
            handover_minutes: 9 * 60,
            offset_minutes: 60,
            starts_ms: MONDAY_MS,
            overrides: Vec::new(),
        }
    }

    fn who(rotation: &Rotation, at_ms: u64) -> Option<String> {
        rotation.on_call(at_ms).map(|shift| shift.who)
    }

    #[test]
    fn turns_change_at_the_hand_over_and_not_a_moment_before() {
        for (turn, length) in [(Turn::Weekly(0), WEEK_MS), (Turn::Daily, DAY_MS)] {
            let rotation = rotation(turn);
            assert_eq!(who(&rotation, MONDAY_MS - 1), None, "it has not begun");
            for (turns, wanted) in ["ada", "grace", "linus", "ada"].iter().enumerate() {
                let begins = MONDAY_MS + length * turns as u64;
                assert_eq!(who(&rotation, begins).as_deref(), Some(*wanted));
                assert_eq!(
                    who(&rotation, begins + length - 1).as_deref(),
                    Some(*wanted)
                );
                let shift = rotation.on_call(begins + 5).unwrap();
                assert_eq!((shift.from_ms, shift.to_ms), (begins, begins + length));
            }
        }
    }

    #[test]
    fn an_override_stands_in_for_its_time_and_the_last_one_counts() {
        let mut rotation = rotation(Turn::Weekly(0));
        let stand_in = |who: &str, from: u64, to: u64| Override {
            who: who.to_string(),
            from_ms: MONDAY_MS + from,
            to_ms: MONDAY_MS + to,
        };
        rotation.overrides = [stand_in("linus", 100, 200), stand_in("grace", 150, 180)].into();
        let at = |ms| rotation.on_call(MONDAY_MS + ms).unwrap();
        for (ms, wanted, from, to) in [
            (99, "ada", 0, 100),
            (100, "linus", 100, 150),
            (150, "grace", 150, 180),
            (180, "linus", 180, 200),
        ] {
            let shift = at(ms);
            assert_eq!(shift.who, wanted, "{ms}");
            assert_eq!(
                (shift.from_ms, shift.to_ms),
                (MONDAY_MS + from, MONDAY_MS + to)
            );
        }
        assert_eq!(at(150).instead_of.as_deref(), Some("ada"));
        assert_eq!(at(200).who, "ada");
    }

    proptest! {
        /// Whatever the hand-over: shifts follow each other without a gap, and everybody has equally many.
        #[test]
        fn everybody_has_their_turn(
            day in 0_u8..7, weekly: bool, minutes in 0_u16..1440, offset in -720_i16..=840, start in 0_u64..4_000_000_000_000
        ) {
            let turn = if weekly { Turn::Weekly(day) } else { Turn::Daily };
            let rotation = Rotation {
                handover_minutes: minutes,
                offset_minutes: offset,
                starts_ms: start,
                ..rotation(turn)
            };
            let mut at_ms = start;
            let mut had = Vec::new();
            for _ in 0..9 {
                let shift = rotation.on_call(at_ms).unwrap();
                prop_assert!(shift.from_ms <= at_ms && at_ms < shift.to_ms);
                let local_ms = shift.to_ms.checked_add_signed(i64::from(offset) * 60_000).unwrap();
                prop_assert_eq!(local_ms % DAY_MS, u64::from(minutes) * MINUTE_MS);
                if weekly {
                    prop_assert_eq!((local_ms / DAY_MS + EPOCH_WEEKDAY) % 7, u64::from(day));
                }
                had.push(shift.who);
                at_ms = shift.to_ms;
            }
            prop_assert_eq!(&had[..3], ["ada", "grace", "linus"].map(ToString::to_string));
            prop_assert_eq!(&had[..3], &had[3..6]);
        }
    }
}
