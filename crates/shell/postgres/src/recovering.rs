//! How far a server that starts has come: one that goes on is waited for, however long its log is.
//!
//! The start-up process writes the segment that it replays into its title. One that has no segment there is before its log:
//! it flushes the folder after a crash, which takes as long as the disk likes.

use std::path::Path;
use std::time::Duration;

use mainstay_units::Instant;

use crate::process;

/// For a server to come one segment further.
pub const STALL_LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at it.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Between two lines in the keeper's log.
const TELL_PERIOD: Duration = Duration::from_secs(15);
/// The last digits of a segment's name, without its timeline: they grow with the log.
const PLACE_DIGITS: usize = 16;
const SEGMENT_DIGITS: usize = 24;

/// Where the start-up process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    BeforeItsLog,
    /// In this segment, whatever its timeline.
    Segment(u64),
}

/// Where the start-up process in this folder is; `None` if there is none.
pub fn place(pgdata: &Path) -> Option<Place> {
    let standing = process::standing_in(pgdata).ok()?;
    standing.into_iter().find_map(|process| {
        let title = std::fs::read(format!("/proc/{}/cmdline", process.pid)).ok()?;
        parse_title(&String::from_utf8_lossy(&title))
    })
}

/// `postgres: startup recovering 000000010000000000000003`
fn parse_title(title: &str) -> Option<Place> {
    let title = title.trim_end_matches('\0').trim();
    let mut words = title.strip_prefix("postgres:")?.split_ascii_whitespace();
    if !words.any(|word| word == "startup") {
        return None;
    }
    let segment = words
        .last()
        .filter(|word| word.len() == SEGMENT_DIGITS)
        .and_then(|word| u64::from_str_radix(word.get(SEGMENT_DIGITS - PLACE_DIGITS..)?, 16).ok());
    Some(segment.map_or(Place::BeforeItsLog, Place::Segment))
}

/// How long a start is still waited for.
#[derive(Debug)]
pub struct Patience {
    furthest: Option<Place>,
    until: Instant,
    next_look: Instant,
    next_word: Instant,
}

impl Patience {
    pub fn new(now: Instant) -> Self {
        Self {
            furthest: None,
            until: now + STALL_LIMIT,
            next_look: now + LOOK_PERIOD,
            next_word: now + TELL_PERIOD,
        }
    }

    /// Whether it is over. `look` is asked now and then.
    pub fn is_over(&mut self, now: Instant, look: impl FnOnce() -> Option<Place>) -> bool {
        if now >= self.next_look {
            self.next_look = now + LOOK_PERIOD;
            let place = look();
            // A flush shows no progress, and to kill it would only begin it anew.
            if place == Some(Place::BeforeItsLog) || place > self.furthest {
                self.furthest = self.furthest.max(place);
                self.until = now + STALL_LIMIT;
            }
            if now >= self.next_word && place.is_some() {
                self.next_word = now + TELL_PERIOD;
                tracing::info!(?place, "the server recovers, and is waited for");
            }
        }
        now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_is_read_from_the_title_of_the_start_up_process() {
        let replaying = "postgres: startup recovering 00000003000000010000000A\0\0";
        let place = Some(Place::Segment(0x1_0000_000A));
        assert_eq!(parse_title(replaying), place);
        let named = "postgres: orders: startup waiting for 00000002000000010000000A";
        assert_eq!(parse_title(named), place, "another timeline is no progress");
        assert_eq!(parse_title("postgres: startup "), Some(Place::BeforeItsLog));
        assert_eq!(parse_title("postgres: checkpointer "), None);
        assert_eq!(parse_title("/usr/bin/postgres\0-D\0/startup"), None);
    }

    fn after(seconds: u64) -> Instant {
        Instant::from_nanos(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn who_goes_on_is_waited_for_and_who_stands_still_is_not() {
        let mut patience = Patience::new(after(0));
        // Ten hours, a segment in each minute, after an hour before the log.
        for minute in 1..=60 {
            let before = || Some(Place::BeforeItsLog);
            assert!(!patience.is_over(after(minute * 60), before));
        }
        for minute in 61..=600 {
            let place = || Some(Place::Segment(minute));
            assert!(!patience.is_over(after(minute * 60), place));
        }
        let stuck = || Some(Place::Segment(600));
        assert!(!patience.is_over(after(36_060), stuck));
        assert!(patience.is_over(after(36_120), stuck));
    }

    #[test]
    fn who_is_not_there_and_does_not_let_the_keeper_in_is_not_waited_for() {
        let mut patience = Patience::new(after(0));
        assert!(!patience.is_over(after(119), || None));
        assert!(patience.is_over(after(120), || None));
    }
}
