//! When something that comes again and again is due: cron as Chaos Mesh and Kubernetes read it, in UTC.
//!
//! Five fields (minute, hour, day, month, weekday), or six with seconds first; `*`, `?`, lists, ranges, steps and
//! names; `@hourly` and its like; `@every 90s`. As in every cron, when both day and weekday are restricted, either is
//! enough.

#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// A schedule that does not fire within so many days never does.
const DAYS_MAX: u64 = 366 * 5;
const DAY: u64 = 86_400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cron {
    Every(Duration),
    Fields(Box<Fields>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    seconds: BTreeSet<u64>,
    minutes: BTreeSet<u64>,
    hours: BTreeSet<u64>,
    days: BTreeSet<u64>,
    months: BTreeSet<u64>,
    weekdays: BTreeSet<u64>,
    any_day: bool,
    any_weekday: bool,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    /// `every` reads the time of `@every TIME`; whoever knows no such schedules refuses.
    ///
    /// # Errors
    /// What of it is no schedule, in words.
    pub fn parse(
        text: &str,
        every: impl FnOnce(&str) -> Result<Duration, String>,
    ) -> Result<Self, String> {
        let text = text.trim();
        if let Some(word) = text.strip_prefix("@every ") {
            let every = every(word.trim())?;
            // As the controller does: whole seconds, at least one.
            let every = Duration::from_secs(every.as_secs().max(1));
            return Ok(Self::Every(every));
        }
        let line = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ if text.starts_with('@') => return Err(format!("{text:?} is no descriptor")),
            _ => text,
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let (seconds, rest) = match words.as_slice() {
            [_, _, _, _, _] => ("0", words.as_slice()),
            [seconds, rest @ ..] if rest.len() == 5 => (*seconds, rest),
            _ => {
                return Err(format!(
                    "{text:?} has {} fields, not five or six",
                    words.len()
                ));
            }
        };
        let at = |place: usize| rest.get(place).copied().unwrap_or("*");
        let is_any = |word: &str| word.starts_with(['*', '?']);
        Ok(Self::Fields(Box::new(Fields {
            seconds: field(seconds, 0, 59, &[])?,
            minutes: field(at(0), 0, 59, &[])?,
            hours: field(at(1), 0, 23, &[])?,
            days: field(at(2), 1, 31, &[])?,
            months: field(at(3), 1, 12, &MONTHS)?,
            weekdays: field(at(4), 0, 6, &WEEKDAYS)?,
            any_day: is_any(at(2)),
            any_weekday: is_any(at(4)),
        })))
    }

    /// The first second after `now` (since 1970, UTC) at which it fires; `None` if it never does.
    pub fn next(&self, now: u64) -> Option<u64> {
        match self {
            Self::Every(every) => now.checked_add(every.as_secs()),
            Self::Fields(fields) => fields.next(now + 1),
        }
    }
}

impl Fields {
    fn next(&self, from: u64) -> Option<u64> {
        for offset in 0..DAYS_MAX {
            let day = from / DAY + offset;
            if !self.is_on(day) {
                continue;
            }
            let first = if offset == 0 { from % DAY } else { 0 };
            let found = self.hours.range(first / 3_600..).find_map(|hour| {
                self.minutes.iter().find_map(|minute| {
                    let minutes = hour * 3_600 + minute * 60;
                    let second = self
                        .seconds
                        .iter()
                        .find(|second| minutes + **second >= first)?;
                    Some(minutes + second)
                })
            });
            if let Some(second) = found {
                return Some(day * DAY + second);
            }
        }
        None
    }

    fn is_on(&self, day: u64) -> bool {
        let (month, of_month) = date(day);
        // The first of January 1970 was a Thursday.
        let (by_day, by_weekday) = (
            self.days.contains(&of_month),
            self.weekdays.contains(&((day + 4) % 7)),
        );
        let fits = if self.any_day || self.any_weekday {
            by_day && by_weekday
        } else {
            by_day || by_weekday
        };
        self.months.contains(&month) && fits
    }
}

/// Month and day of a day since 1970, in the Gregorian calendar (H. Hinnant, "chrono-compatible date algorithms").
const fn date(day: u64) -> (u64, u64) {
    let shifted = day + 719_468;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    (if month < 10 { month + 3 } else { month - 9 }, of_month)
}

fn field(text: &str, least: u64, most: u64, names: &[&str]) -> Result<BTreeSet<u64>, String> {
    let mut found = BTreeSet::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let number = |word: &str| -> Result<u64, String> {
            let lower = word.to_ascii_lowercase();
            if let Some(place) = names.iter().position(|name| *name == lower) {
                return Ok(place as u64 + least);
            }
            word.parse()
                .map_err(|_| format!("{word:?} of {text:?} is no number"))
        };
        let (from, to) = match range {
            "*" | "?" => (least, most),
            _ => match range.split_once('-') {
                Some((from, to)) => (number(from)?, number(to)?),
                // `5/15` goes on to the end.
                None if step.is_some() => (number(range)?, most),
                None => (number(range)?, number(range)?),
            },
        };
        let step: u64 = match step {
            Some(step) => step
                .parse()
                .map_err(|_| format!("{step:?} of {text:?} is no step"))?,
            None => 1,
        };
        if from < least || to > most || from > to || step == 0 {
            return Err(format!("{part:?} is not within {least} to {most}"));
        }
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        found.extend((from..=to).step_by(step));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-28T18:30:00Z, a Saturday.
    const NOW: u64 = 1_795_890_600;

    fn millis(text: &str) -> Result<Duration, String> {
        text.parse()
            .map(Duration::from_millis)
            .map_err(|_| format!("{text:?} is no time"))
    }

    fn next(text: &str, now: u64) -> Result<Option<u64>, String> {
        Cron::parse(text, millis).map(|cron| cron.next(now))
    }

    #[test]
    fn the_next_time() {
        for (text, after) in [
            ("* * * * *", 60),
            ("*/5 * * * *", 300),
            ("30 * * * * *", 30),
            ("@every 90000", 90),
            ("@every 100", 1),
            ("@hourly", 1_800),
            ("0 19 * * *", 1_800),
            ("0 0 * * sun", 5 * 3_600 + 1_800),
            ("0 0 30 11 *", DAY + 5 * 3_600 + 1_800),
            // Either is enough when both are restricted: Sunday comes first.
            ("0 0 30 11 sun", 5 * 3_600 + 1_800),
            ("45-50/5 18 * * sat", 900),
        ] {
            assert_eq!(next(text, NOW), Ok(Some(NOW + after)), "{text}");
        }
        assert_eq!(next("0 0 31 2 *", NOW), Ok(None), "no such day ever comes");
        // The 29th of February 2028.
        assert_eq!(next("0 0 29 2 *", NOW), Ok(Some(1_835_395_200)));
    }

    #[test]
    fn what_is_no_schedule() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* * * * 7",
            "@often",
            "@every x",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
        ] {
            assert!(Cron::parse(text, millis).is_err(), "{text}");
        }
    }
}
