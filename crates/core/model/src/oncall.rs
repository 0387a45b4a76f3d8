//! Who is called when something is wrong: turns, ladders, and ways to reach people.
//!
//! Secrets never stand here, only the files that hold them.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::name::OperatorName;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oncall {
    pub channels: Vec<Channel>,
    pub contacts: Vec<Contact>,
    pub rotations: Vec<Rotation>,
    pub policies: Vec<Policy>,
    /// From the opening of an incident to the first call.
    pub wait: Duration,
    /// Between reminders of what is acknowledged and not mitigated.
    pub remind: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    pub name: String,
    pub way: Way,
}

/// Files are absolute paths on every host, mode 0600.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A signed POST of JSON.
    Webhook {
        url: String,
        secret_file: String,
    },
    /// Slack's incoming webhook; its URL is the secret.
    Slack {
        url_file: String,
    },
    /// Events API v2.
    Pagerduty {
        key_file: String,
        url: String,
    },
    Email(Email),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    pub to: Vec<String>,
    pub from: String,
    /// `HOST:PORT`
    pub server: String,
    pub tls: EmailTls,
    /// Certificates in PEM to trust instead of the system's.
    pub authority_file: Option<String>,
    pub user: Option<String>,
    pub password_file: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmailTls {
    /// Only for a server on this host.
    Off,
    #[default]
    Starttls,
    Implicit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    pub operator: OperatorName,
    pub channels: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub name: String,
    /// In the order of their turns, not empty.
    pub operators: Vec<OperatorName>,
    pub handover: Handover,
    /// When the first has the turn, in milliseconds since 1970.
    pub starts_ms: u64,
    pub overrides: Vec<Override>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    pub operator: OperatorName,
    pub from_ms: u64,
    pub to_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub name: String,
    /// `info`, `warning`, `error`, `critical`
    pub severity: String,
    /// `KIND/NAME`; anything if empty.
    pub about: Vec<String>,
    /// Not empty.
    pub levels: Vec<Level>,
    pub rounds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    pub tell: Vec<Told>,
    pub within: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Rotation(String),
    Operator(OperatorName),
    Channel(String),
}

/// When a turn ends: at a time of day, of one weekday or of every day, at a fixed distance from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Monday is 0; every day if absent.
    pub weekday: Option<u8>,
    pub minutes: u16,
    pub offset_minutes: i16,
}

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

impl Handover {
    /// `mon 09:00 +01:00` or `09:00 +01:00`; `Z` stands for `+00:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (weekday, time, offset) = match words.as_slice() {
            [time, offset] => (None, *time, *offset),
            [day, time, offset] => {
                let day = day.to_ascii_lowercase();
                let place = WEEKDAYS.iter().position(|known| *known == day)?;
                (u8::try_from(place).ok(), *time, *offset)
            }
            _ => return None,
        };
        Some(Self {
            weekday,
            minutes: time_of_day(time)?,
            offset_minutes: offset_of(offset)?,
        })
    }

    /// The hand-over on a day, such as `2026-11-02`; milliseconds since 1970.
    pub fn on_day(self, day: &str) -> Option<u64> {
        moment(days(day)?, i64::from(self.minutes), self.offset_minutes)
    }
}

/// `2026-12-24T09:00+01:00`: minutes, and a distance from UTC that must be said.
pub fn parse_moment(text: &str) -> Option<u64> {
    let (day, rest) = text.split_once('T')?;
    let time = rest.get(..5)?;
    let rest = rest.get(5..)?;
    let offset = rest.strip_prefix(":00").unwrap_or(rest);
    let minutes = i64::from(time_of_day(time)?);
    moment(days(day)?, minutes, offset_of(offset)?)
}

fn moment(days: i64, minutes: i64, offset_minutes: i16) -> Option<u64> {
    let ms = days * DAY_MS + (minutes - i64::from(offset_minutes)) * MINUTE_MS;
    u64::try_from(ms).ok()
}

fn two(text: &str, most: u16) -> Option<u16> {
    let is_two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_two && *number <= most)
}

fn time_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    Some(two(hours, 23)? * 60 + two(minutes, 59)?)
}

fn offset_of(text: &str) -> Option<i16> {
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let minutes = two(hours, 14)? * 60 + two(minutes, 59)?;
    Some(sign * i16::try_from(minutes).ok()?)
}

/// Days since 1970 of a day of the Gregorian calendar.
fn days(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let is_year = year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    let year: i64 = year.parse().ok().filter(|year| is_year && *year >= 1970)?;
    let month = i64::from(two(month, 12)?);
    let day = i64::from(two(day, 31)?);
    if parts.next().is_some() || month == 0 || day == 0 || day > length(year, month) {
        return None;
    }
    let before: i64 = (1..month).map(|month| length(year, month)).sum();
    let years = year - 1970;
    // Leap days of the years since 1970 that are over.
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    Some(years * 365 + leaps(year - 1) - leaps(1969) + before + day - 1)
}

const fn length(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_with_their_distance_from_utc() {
        for (text, wanted) in [
            ("1970-01-01T00:00Z", Some(0)),
            ("2026-11-02T09:00+01:00", Some(1_793_606_400_000)),
            ("2026-11-02T09:00:00+01:00", Some(1_793_606_400_000)),
            ("2024-02-29T12:30-05:00", Some(1_709_227_800_000)),
            ("2000-12-31T23:59Z", Some(978_307_140_000)),
            ("2023-02-29T12:30Z", None),
            ("2026-11-02T09:00", None),
            ("2026-11-02 09:00Z", None),
            ("2026-13-02T09:00Z", None),
            ("2026-11-02T24:00Z", None),
            ("2026-11-02T09:00+1:00", None),
            ("1970-01-01T00:00+01:00", None),
        ] {
            assert_eq!(parse_moment(text), wanted, "{text}");
        }
    }

    #[test]
    fn hand_overs_are_read_as_people_write_them() {
        let handover = |weekday, minutes, offset_minutes| {
            Some(Handover {
                weekday,
                minutes,
                offset_minutes,
            })
        };
        for (text, wanted) in [
            ("mon 09:00 +01:00", handover(Some(0), 540, 60)),
            ("Sun 23:59 -03:30", handover(Some(6), 1_439, -210)),
            ("08:15 Z", handover(None, 495, 0)),
            ("09:00", None),
            ("monday 09:00 Z", None),
            ("9:00 Z", None),
            ("", None),
        ] {
            assert_eq!(Handover::parse(text), wanted, "{text}");
        }
        let monday = Handover::parse("mon 09:00 +01:00").expect("a hand-over");
        assert_eq!(monday.on_day("2026-11-02"), Some(1_793_606_400_000));
    }
}
