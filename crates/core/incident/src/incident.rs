//! One incident and its phases.
//!
//! | phase \ told | acknowledged | mitigated | resolved | reopened     | merged |
//! |--------------|--------------|-----------|----------|--------------|--------|
//! | open         | acknowledged | mitigated | resolved | refused      | merged |
//! | acknowledged | refused      | mitigated | resolved | refused      | merged |
//! | mitigated    | mitigated    | refused   | resolved | open         | merged |
//! | resolved     | refused      | refused   | refused  | open         | refused|
//! | merged       | refused      | refused   | refused  | refused      | refused|
//!
//! One that comes back while somebody has it does not call anew: it is acknowledged at once.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use mainstay_units::Position;
use thiserror::Error;

use crate::event::{By, Change, Event};
use crate::seen::Condition;
use crate::severity::Severity;
use crate::thing::Thing;

/// Entries of a timeline that are kept; what comes after is counted.
pub const TIMELINE_MAX: usize = 1_000;
/// Things that an incident is about; more say nothing more.
const THINGS_MAX: usize = 200;

/// Numbers incidents of one platform, from 1. Written `i1`, `i2`, …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId(pub u64);

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&alloc::format!("i{}", self.0))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no incident: they are called i1, i2, and so on")]
pub struct ParseIdError(pub String);

impl FromStr for IncidentId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let fault = || ParseIdError(text.to_string());
        let digits = text.strip_prefix('i').ok_or_else(fault)?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        match digits.parse() {
            Ok(number) if plain && number > 0 => Ok(Self(number)),
            Ok(_) | Err(_) => Err(fault()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Open,
    Acknowledged,
    Mitigated,
    Resolved,
    Merged(IncidentId),
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Mitigated => "mitigated",
            Self::Resolved => "resolved",
            Self::Merged(_) => "merged",
        }
    }

    /// Whether it may still grow.
    pub const fn is_active(self) -> bool {
        match self {
            Self::Open | Self::Acknowledged | Self::Mitigated => true,
            Self::Resolved | Self::Merged(_) => false,
        }
    }

    /// Whether somebody has work with it.
    pub const fn is_unmitigated(self) -> bool {
        match self {
            Self::Open | Self::Acknowledged => true,
            Self::Mitigated | Self::Resolved | Self::Merged(_) => false,
        }
    }
}

/// What somebody does in an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Who has it: whoever acknowledged, until it is handed over.
    Owner,
    /// Decides, and does nothing else.
    Commander,
    /// The only one who changes the platform.
    Operations,
    /// Tells everybody outside.
    Communications,
    /// Writes down.
    Scribe,
}

impl Role {
    pub const ALL: [Self; 5] = [
        Self::Owner,
        Self::Commander,
        Self::Operations,
        Self::Communications,
        Self::Scribe,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Commander => "commander",
            Self::Operations => "operations",
            Self::Communications => "communications",
            Self::Scribe => "scribe",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// What a person says of how it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lesson {
    /// Something without which it would not have come so.
    Factor,
    Well,
    Badly,
    Luck,
}

impl Lesson {
    pub const ALL: [Self; 4] = [Self::Factor, Self::Well, Self::Badly, Self::Luck];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Factor => "factor",
            Self::Well => "well",
            Self::Badly => "badly",
            Self::Luck => "luck",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lesson| lesson.as_str() == text)
    }
}

/// A day of the calendar, written `2026-12-24`. Ordered as days are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    pub year: u16,
    pub month: u8,
    pub day: u8,
}

const DAY_MS: u64 = 86_400_000;

impl Day {
    /// The day of a moment in UTC, and so many days after it.
    pub fn after(at_ms: u64, days: u16) -> Self {
        let mut left = at_ms / DAY_MS + u64::from(days);
        let mut year: u16 = 1970;
        while year < u16::MAX && left >= days_of_year(year) {
            left -= days_of_year(year);
            year += 1;
        }
        let mut month = 1;
        while month < 12 && left >= u64::from(days_of_month(year, month)) {
            left -= u64::from(days_of_month(year, month));
            month += 1;
        }
        let day = u8::try_from(left + 1).unwrap_or(31);
        Self { year, month, day }
    }
}

const fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_year(year: u16) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

/// Months count from 1.
const fn days_of_month(year: u16, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no day: write YEAR-MONTH-DAY, as in 2026-12-24")]
pub struct ParseDayError(pub String);

impl FromStr for Day {
    type Err = ParseDayError;

    fn from_str(text: &str) -> Result<Self, ParseDayError> {
        let fault = || ParseDayError(text.to_string());
        let mut parts = text.split('-');
        let mut number = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| part.parse::<u16>().ok()).flatten()
        };
        let (year, month, day) = (number(4), number(2), number(2));
        if parts.next().is_some() {
            return Err(fault());
        }
        let (Some(year), Some(month), Some(day)) = (year, month, day) else {
            return Err(fault());
        };
        let (Ok(month), Ok(day)) = (u8::try_from(month), u8::try_from(day)) else {
            return Err(fault());
        };
        let is_month = (1..=12).contains(&month);
        match is_month && year > 0 && (1..=days_of_month(year, month)).contains(&day) {
            true => Ok(Self { year, month, day }),
            false => Err(fault()),
        }
    }
}

/// Something that is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// From 1, within its incident.
    pub number: u32,
    /// An operator of the platform file.
    pub owner: String,
    pub due: Day,
}

/// Customers are not hurt any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mitigated {
    pub at_ms: u64,
    pub position: Position,
    pub why: String,
    pub by: By,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    pub title: String,
    pub severity: Severity,
    /// The entry in which a person said so; what stood before it was thought of.
    pub rated: Option<Position>,
    pub phase: Phase,
    pub opened_ms: u64,
    /// Since when it is open, anew if it came back.
    pub open_ms: u64,
    pub opened_by: By,
    /// When somebody acknowledged it since it was opened last, and who.
    pub acknowledged: Option<(u64, String)>,
    pub mitigated: Option<Mitigated>,
    pub resolved_ms: Option<u64>,
    pub roles: BTreeMap<Role, String>,
    /// What it is about, and when that was last told of.
    pub things: BTreeMap<Thing, u64>,
    /// Everything that stood at some time.
    pub conditions: BTreeSet<Condition>,
    /// When something was last told of it.
    pub last_ms: u64,
    /// Journal entries, in order.
    pub timeline: Vec<Position>,
    /// Those that are not in `timeline`.
    pub untold: u64,
    pub links: Vec<String>,
    pub follows: Option<IncidentId>,
    /// Incidents that go on in this one.
    pub absorbed: BTreeSet<IncidentId>,
    /// Its own, and whether each was done. Those of an absorbed incident stay with that one.
    pub actions: Vec<(Action, bool)>,
}

impl Incident {
    pub(crate) fn opened(at_ms: u64, position: Position, event: &Event) -> Option<Self> {
        let Change::Opened {
            title,
            severity,
            conditions,
            things,
            evidence,
            follows,
        } = &event.change
        else {
            return None;
        };
        let mut incident = Self {
            title: title.clone(),
            severity: *severity,
            rated: matches!(event.by, By::Person(_)).then_some(position),
            phase: Phase::Open,
            opened_ms: at_ms,
            open_ms: at_ms,
            opened_by: event.by.clone(),
            acknowledged: None,
            mitigated: None,
            resolved_ms: None,
            roles: BTreeMap::new(),
            things: BTreeMap::new(),
            conditions: conditions.clone(),
            last_ms: at_ms,
            timeline: Vec::new(),
            untold: 0,
            links: Vec::new(),
            follows: *follows,
            absorbed: BTreeSet::new(),
            actions: Vec::new(),
        };
        incident.touch(at_ms, things.iter());
        incident.note_all(evidence.iter().chain([&position]));
        Some(incident)
    }

    fn touch<'t>(&mut self, at_ms: u64, things: impl Iterator<Item = &'t Thing>) {
        for thing in things {
            if self.things.len() < THINGS_MAX || self.things.contains_key(thing) {
                self.things.insert(thing.clone(), at_ms);
            }
        }
    }

    pub(crate) fn note_all<'p>(&mut self, positions: impl Iterator<Item = &'p Position>) {
        for position in positions {
            let Err(place) = self.timeline.binary_search(position) else {
                continue;
            };
            if self.timeline.len() < TIMELINE_MAX {
                self.timeline.insert(place, *position);
            } else {
                self.untold += 1;
            }
        }
    }

    pub(crate) fn apply(&mut self, at_ms: u64, position: Position, event: &Event) {
        self.note_all([&position].into_iter());
        match &event.change {
            Change::Joined {
                conditions,
                things,
                evidence,
            } => {
                self.conditions.extend(conditions.iter().cloned());
                self.touch(at_ms, things.iter());
                self.note_all(evidence.iter());
                self.last_ms = self.last_ms.max(at_ms);
            }
            Change::SeverityChanged { severity } => {
                self.severity = *severity;
                if matches!(event.by, By::Person(_)) {
                    self.rated = Some(position);
                }
            }
            Change::Acknowledged => {
                let who = event.by.to_string();
                self.roles.entry(Role::Owner).or_insert_with(|| who.clone());
                self.acknowledged = Some((at_ms, who));
                if self.phase == Phase::Open {
                    self.phase = Phase::Acknowledged;
                }
            }
            Change::Assigned { role, to, .. } => {
                self.roles.insert(*role, to.clone());
            }
            Change::Linked { link } => self.links.push(link.clone()),
            Change::Mitigated => {
                self.phase = Phase::Mitigated;
                self.mitigated = Some(Mitigated {
                    at_ms,
                    position,
                    why: event.reason.clone(),
                    by: event.by.clone(),
                });
            }
            Change::Resolved { .. } => {
                self.phase = Phase::Resolved;
                self.resolved_ms = Some(at_ms);
            }
            Change::Reopened => {
                // What comes back by itself is told anew: whoever had it was told that it rests.
                let has_somebody = self.phase == Phase::Mitigated
                    && self.acknowledged.is_some()
                    && matches!(event.by, By::Person(_));
                self.phase = match has_somebody {
                    true => Phase::Acknowledged,
                    false => Phase::Open,
                };
                if !has_somebody {
                    self.acknowledged = None;
                }
                self.mitigated = None;
                self.resolved_ms = None;
                self.open_ms = at_ms;
                self.last_ms = self.last_ms.max(at_ms);
            }
            Change::Merged { into } => self.phase = Phase::Merged(*into),
            Change::ActionAdded(action) => self.actions.push((action.clone(), false)),
            Change::ActionDone { number, .. } => {
                let known = self.actions.iter_mut();
                for (_, is_done) in known.filter(|(action, _)| action.number == *number) {
                    *is_done = true;
                }
            }
            Change::Opened { .. } | Change::Noted | Change::Learned(_) | Change::Signed { .. } => {}
        }
    }

    /// What another one brings along.
    pub(crate) fn absorb(&mut self, id: IncidentId, position: Position, other: &Self) {
        self.note_all(other.timeline.iter().chain([&position]));
        self.untold += other.untold;
        self.conditions.extend(other.conditions.iter().cloned());
        for (thing, at_ms) in &other.things {
            self.touch(*at_ms, [thing].into_iter());
        }
        for link in &other.links {
            if !self.links.contains(link) {
                self.links.push(link.clone());
            }
        }
        for (role, who) in &other.roles {
            self.roles.entry(*role).or_insert_with(|| who.clone());
        }
        self.severity = self.severity.max(other.severity);
        if self.phase == Phase::Open && other.phase == Phase::Acknowledged {
            self.phase = Phase::Acknowledged;
            self.acknowledged.clone_from(&other.acknowledged);
        }
        self.last_ms = self.last_ms.max(other.last_ms);
        self.absorbed.insert(id);
        self.absorbed.extend(other.absorbed.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn days_are_counted_over_months_and_leap_years() {
        for (at_ms, days, wanted) in [
            (0, 0, "1970-01-01"),
            (86_399_999, 0, "1970-01-01"),
            (86_400_000, 0, "1970-01-02"),
            (0, 365, "1971-01-01"),
            // 28 February 2024, a leap year, and 2100, which is none.
            (1_709_078_400_000, 1, "2024-02-29"),
            (1_709_078_400_000, 2, "2024-03-01"),
            (4_107_456_000_000, 1, "2100-03-01"),
            // 24 November 2026.
            (1_795_550_000_000, 7, "2026-12-01"),
            (1_795_550_000_000, 38, "2027-01-01"),
        ] {
            let day = Day::after(at_ms, days);
            assert_eq!(day.to_string(), wanted, "{at_ms} and {days} days");
            assert_eq!(wanted.parse(), Ok(day));
        }
        for none in [
            "2026-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-04-31",
            "0000-01-01",
        ] {
            assert!(none.parse::<Day>().is_err(), "{none}");
        }
    }
}
