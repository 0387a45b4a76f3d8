//! Alerts that others raise and tell us of, as an existing Prometheus does.
//!
//! A sender repeats itself while an alert fires, and each time says until when it may be believed (`endsAt`). Three things
//! follow from what it says, and from when:
//!
//! | said                                | until then | afterwards                             |
//! |-------------------------------------|------------|----------------------------------------|
//! | `endsAt` is still to come, or none  | firing     | *missing*: nobody said that it ended   |
//! | `endsAt` has passed                 | –          | over: the sender has seen it end       |
//!
//! So a sender that dies resolves nothing, and one that promised an end in the future has not measured it. Senders are told
//! apart; of several that tell of one alert, one that may be believed and says that it fires wins; where there is none, the last
//! word counts.
//!
//! An end that has passed, of an alert that nobody knows, says nothing: it may have ended before we listened. But a sender
//! that moves the end on each time, and each time it has passed, says that the alert fires, by a clock that is behind.
//!
//! Nothing here reads a clock. Repeats change nothing that is shown.

use std::collections::BTreeMap;
use std::fmt;

use mainstay_promql::labels::Labels;
use serde::{Deserialize, Serialize};

use crate::alert::{Active, State};

/// Alerts that are remembered at most.
pub const ALERTS_MAX: usize = 1_000;
/// Senders of one alert.
const SENDERS_MAX: usize = 16;
/// How long one that is over is remembered.
const RETENTION_MS: i64 = 15 * 60_000;
/// One that began so often within [`UNSTEADY_MS`] is held until it was over for [`CALM_MS`] on end.
const BEGINNINGS_MAX: usize = 5;
const UNSTEADY_MS: i64 = 10 * 60_000;
const CALM_MS: i64 = 5 * 60_000;

/// One alert as a sender tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub starts_at: Option<i64>,
    pub ends_at: Option<i64>,
    pub sender: String,
}

/// What a sender said last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Word {
    at: i64,
    /// It may be believed until then.
    until: i64,
    is_over: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Received {
    pub alert: Active,
    words: BTreeMap<String, Word>,
    /// When it began to fire, of late.
    begun: Vec<i64>,
}

#[derive(Clone, Debug, Default)]
pub struct Inbox {
    received: BTreeMap<Labels, Received>,
    /// Ends of alerts that nobody knows, by alert and sender; as many as alerts at most.
    passed: BTreeMap<(Labels, String), Passed>,
}

/// An end that had passed when it was told.
#[derive(Clone, Copy, Debug)]
struct Passed {
    ends_at: i64,
    told_at: i64,
    /// By how much the sender's clock is behind at least.
    behind: Option<i64>,
}

/// What became of a word that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Kept,
    /// It is over, and nobody knew of it.
    Passed,
    /// As [`Taken::Passed`], and for the first time it shows that the sender's clock is behind by so much.
    Behind {
        by_ms: i64,
    },
}

/// An alert was not taken, since there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "more than {ALERTS_MAX} alerts, or {SENDERS_MAX} senders of one, are not taken"
        )
    }
}

impl Inbox {
    /// As it was left. Whoever was deaf meanwhile gives every sender its time again.
    pub fn restore(saved: Vec<Received>, now: i64) -> Self {
        let again = |mut received: Received| {
            let was_believed = received.alert.state != State::Missing;
            let words = received.words.values_mut();
            for word in words.filter(|word| !word.is_over && was_believed) {
                word.until = word.until.max(now.saturating_add(word.until - word.at));
            }
            let labels = received.alert.labels.iter();
            let labels = labels.map(|(name, value)| (name.clone(), value.clone()));
            (Labels::new(labels), received)
        };
        Self {
            received: saved.into_iter().map(again).collect(),
            passed: BTreeMap::new(),
        }
    }

    pub fn save(&self) -> Vec<Received> {
        self.received.values().cloned().collect()
    }

    pub fn alerts(&self) -> impl Iterator<Item = &Active> {
        self.received.values().map(|received| &received.alert)
    }

    /// Senders whose alerts are not taken because their clocks are behind, and by how much at least.
    pub fn behind(&self) -> BTreeMap<&str, i64> {
        let mut senders = BTreeMap::new();
        for ((_, sender), passed) in &self.passed {
            if let Some(by_ms) = passed.behind {
                let known = senders.entry(sender.as_str()).or_insert(by_ms);
                *known = by_ms.max(*known);
            }
        }
        senders
    }

    fn pass(&mut self, key: (Labels, String), ends_at: i64, now: i64) -> Taken {
        let before = self.passed.get(&key);
        if before.is_none() && self.passed.len() >= ALERTS_MAX {
            return Taken::Passed;
        }
        let was_behind = before.and_then(|before| before.behind);
        let moves_on = before.is_some_and(|before| ends_at > before.ends_at);
        let behind = match moves_on {
            true => Some(now.saturating_sub(ends_at)),
            false => was_behind,
        };
        let passed = Passed {
            ends_at,
            told_at: now,
            behind,
        };
        self.passed.insert(key, passed);
        match (was_behind, behind) {
            (None, Some(by_ms)) => Taken::Behind { by_ms },
            _ => Taken::Passed,
        }
    }

    /// Takes a word of a sender. One without an end may be believed for `patience`.
    ///
    /// # Errors
    /// Where there are too many.
    pub fn take(&mut self, told: Told, patience: i64, now: i64) -> Result<Taken, Full> {
        let labels = Labels::new(told.labels.clone());
        let over = told.ends_at.filter(|end| *end <= now);
        let is_over = over.is_some();
        let room = self.received.len() < ALERTS_MAX;
        if let (Some(ends_at), false) = (over, self.received.contains_key(&labels)) {
            // Whoever repeats an end that we know of, or tells one of what we never heard of.
            return Ok(self.pass((labels, told.sender), ends_at, now));
        }
        self.passed.remove(&(labels.clone(), told.sender.clone()));
        let known = self.received.get_mut(&labels);
        let received = match known {
            Some(received) => received,
            None if !room => return Err(Full),
            None => self
                .received
                .entry(labels)
                .or_insert_with(|| Received::new(&told, now)),
        };
        let senders = received.words.len();
        if senders >= SENDERS_MAX && !received.words.contains_key(&told.sender) {
            return Err(Full);
        }
        let until = told.ends_at.unwrap_or(now.saturating_add(patience));
        let word = Word {
            at: now,
            until,
            is_over,
        };
        received.words.insert(told.sender, word);
        if !is_over {
            received.alert.annotations = told.annotations;
        }
        received.settle(now);
        Ok(Taken::Kept)
    }

    /// What follows from time alone.
    pub fn step(&mut self, now: i64) {
        self.passed
            .retain(|_, passed| now.saturating_sub(passed.told_at) <= RETENTION_MS);
        self.received.retain(|_, received| {
            received.settle(now);
            let resolved = received.alert.resolved_at;
            received.alert.state != State::Resolved
                || resolved.is_some_and(|at| now.saturating_sub(at) <= RETENTION_MS)
        });
    }
}

impl Received {
    fn new(told: &Told, now: i64) -> Self {
        let starts = told.starts_at.filter(|starts| *starts <= now);
        Self {
            alert: Active {
                labels: told.labels.clone(),
                annotations: told.annotations.clone(),
                state: State::Resolved,
                value: f64::NAN,
                active_at: starts.unwrap_or(now),
                fired_at: None,
                resolved_at: None,
                kept_since: None,
                missing_since: None,
                unasked: false,
            },
            words: BTreeMap::new(),
            begun: Vec::new(),
        }
    }

    fn settle(&mut self, now: i64) {
        let state = self.state(now);
        let before = self.alert.state;
        if state == before {
            return;
        }
        let alert = &mut self.alert;
        alert.state = state;
        alert.missing_since = None;
        match state {
            State::Firing if before == State::Resolved => {
                if alert.resolved_at.is_some() {
                    alert.active_at = now;
                }
                (alert.fired_at, alert.resolved_at) = (Some(now), None);
                self.begun.push(now);
                self.begun
                    .retain(|at| now.saturating_sub(*at) < UNSTEADY_MS);
            }
            State::Firing | State::Pending => {}
            State::Missing => alert.missing_since = Some(now),
            State::Resolved => alert.resolved_at = Some(now),
        }
    }

    fn state(&self, now: i64) -> State {
        let fires = |word: &&Word| !word.is_over && word.until > now;
        if self.words.values().any(|word| fires(&word)) {
            return State::Firing;
        }
        let last = self
            .words
            .values()
            .max_by_key(|word| (word.at, word.is_over));
        match last {
            Some(word) if word.is_over => {
                let is_calm =
                    self.begun.len() < BEGINNINGS_MAX || now.saturating_sub(word.at) >= CALM_MS;
                if is_calm {
                    State::Resolved
                } else {
                    State::Firing
                }
            }
            Some(_) => State::Missing,
            None => State::Resolved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000;

    fn told(sender: &str, ends: Option<i64>) -> Told {
        Told {
            labels: [("alertname".to_owned(), "A".to_owned())].into(),
            annotations: BTreeMap::new(),
            starts_at: Some(0),
            ends_at: ends.map(|end| end * SECOND),
            sender: sender.to_owned(),
        }
    }

    /// Words as `second sender end`, a look as `second`; what is seen after each, over a restart or not.
    fn check(story: &[(&str, &str)]) {
        for restarted in [false, true] {
            let mut inbox = Inbox::default();
            for (words, wanted) in story {
                let words: Vec<&str> = words.split(' ').collect();
                let number = |at: usize| words.get(at).and_then(|text| text.parse().ok());
                let now = number(0).expect("a moment") * SECOND;
                if let Some(sender) = words.get(1) {
                    let told = told(sender, number(2));
                    inbox.take(told, 60 * SECOND, now).expect("taken");
                }
                inbox.step(now);
                if restarted {
                    let saved = serde_json::to_string(&inbox.save()).expect("saved");
                    inbox = Inbox::restore(serde_json::from_str(&saved).expect("read"), now);
                }
                let state = inbox.alerts().next().map(|alert| alert.state);
                let seen = match state {
                    None => "nothing",
                    Some(State::Pending) => "pending",
                    Some(State::Firing) => "firing",
                    Some(State::Missing) => "missing",
                    Some(State::Resolved) => "resolved",
                };
                assert_eq!(
                    seen, *wanted,
                    "{words:?} of {story:?}, restarted: {restarted}"
                );
            }
        }
    }

    #[test]
    fn an_end_that_was_seen_resolves() {
        check(&[
            ("1 a 241", "firing"),
            ("61 a 301", "firing"),
            ("70 a 69", "resolved"),
            ("971", "nothing"),
        ]);
        check(&[("1 a 0", "nothing")]);
        check(&[
            ("1 a 241", "firing"),
            ("9 a 8", "resolved"),
            ("12 a 252", "firing"),
        ]);
    }

    #[test]
    fn a_sender_that_stops_resolves_nothing() {
        let mut inbox = Inbox::default();
        inbox
            .take(told("a", Some(240)), 60 * SECOND, SECOND)
            .expect("taken");
        inbox.step(239 * SECOND);
        assert_eq!(inbox.alerts().next().map(|a| a.state), Some(State::Firing));
        inbox.step(240 * SECOND);
        inbox.step(90_000 * SECOND);
        let missing = inbox.alerts().next().expect("there");
        assert_eq!(
            (missing.state, missing.missing_since),
            (State::Missing, Some(240 * SECOND))
        );
        let saved = inbox.save();
        let mut again = Inbox::restore(saved, 90_001 * SECOND);
        again.step(90_001 * SECOND);
        assert_eq!(again.alerts().next().map(|a| a.state), Some(State::Missing));
        // Without an end, for as long as we say.
        inbox
            .take(told("a", None), 60 * SECOND, 90_000 * SECOND)
            .expect("taken");
        inbox.step(90_059 * SECOND);
        assert_eq!(inbox.alerts().next().map(|a| a.state), Some(State::Firing));
        inbox.step(90_060 * SECOND);
        assert_eq!(inbox.alerts().next().map(|a| a.state), Some(State::Missing));
    }

    #[test]
    fn of_several_senders_one_that_says_it_fires_wins_and_then_the_last_word() {
        check(&[
            ("1 a 200", "firing"),
            ("2 b 200", "firing"),
            ("3 a 2", "firing"),
            ("4 b 3", "resolved"),
        ]);
        // The other one had measured the end after the last word of the one that died.
        let mut inbox = Inbox::default();
        inbox.take(told("a", Some(100)), 0, SECOND).expect("taken");
        inbox
            .take(told("b", Some(4)), 0, 5 * SECOND)
            .expect("taken");
        assert_eq!(inbox.alerts().next().map(|a| a.state), Some(State::Firing));
        inbox.step(100 * SECOND);
        assert_eq!(
            inbox.alerts().next().map(|a| a.state),
            Some(State::Resolved)
        );
    }

    #[test]
    fn one_that_comes_and_goes_is_held() {
        let mut inbox = Inbox::default();
        let mut changes = 0;
        let mut before = None;
        for second in 1..600 {
            let ends = if second % 2 == 0 {
                second - 1
            } else {
                second + 240
            };
            inbox
                .take(told("a", Some(ends)), 0, second * SECOND)
                .expect("taken");
            inbox.step(second * SECOND);
            let state = inbox.alerts().next().map(|alert| alert.state);
            changes += usize::from(state != before);
            before = state;
        }
        assert!(changes <= 2 * BEGINNINGS_MAX, "{changes}");
        inbox
            .take(told("a", Some(599)), 0, 600 * SECOND)
            .expect("taken");
        inbox.step(899 * SECOND);
        assert_eq!(inbox.alerts().next().map(|a| a.state), Some(State::Firing));
        inbox.step(900 * SECOND);
        assert_eq!(
            inbox.alerts().next().map(|a| a.state),
            Some(State::Resolved)
        );
    }

    #[test]
    fn a_sender_whose_clock_is_behind_is_noticed() {
        let mut inbox = Inbox::default();
        let mut take = |sender, ends, now| {
            let taken = inbox.take(told(sender, Some(ends)), 0, now * SECOND);
            taken.expect("taken")
        };
        // It ended before we listened, and is told until the sender forgets it.
        for now in [1_000, 1_060, 1_120] {
            assert_eq!(take("ended", 900, now), Taken::Passed);
        }
        // Ten minutes behind, it promises four minutes each minute.
        assert_eq!(take("behind", 640, 1_000), Taken::Passed);
        let by_ms = 360 * SECOND;
        assert_eq!(take("behind", 700, 1_060), Taken::Behind { by_ms });
        assert_eq!(take("behind", 760, 1_120), Taken::Passed, "it was said");
        assert_eq!(inbox.behind(), [("behind", by_ms)].into());
        assert_eq!(inbox.alerts().count(), 0);
        // The clock was set right.
        let fires = inbox.take(told("behind", Some(1_400)), 0, 1_180 * SECOND);
        assert_eq!(fires, Ok(Taken::Kept));
        assert!(inbox.behind().is_empty());
        // What is said no more is forgotten.
        inbox.step(1_120 * SECOND + RETENTION_MS + 1);
        assert!(inbox.passed.is_empty());
    }

    #[test]
    fn there_is_an_end_to_what_is_taken() {
        let mut inbox = Inbox::default();
        for number in 0..=ALERTS_MAX {
            let mut one = told("a", Some(100));
            one.labels.insert("n".to_owned(), number.to_string());
            let taken = inbox.take(one, 0, SECOND);
            assert_eq!(taken.is_ok(), number < ALERTS_MAX);
        }
    }
}
