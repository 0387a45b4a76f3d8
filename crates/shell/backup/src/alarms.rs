//! What is wrong with an archive, each kind in a place of its own: one that ends takes no other with it, and one that comes
//! hides none.
//!
//! What stands is one sentence after the other, the worst first. The journal is told of each, now and then: alarms that differ
//! in a number only shall not fill it, and what was not told yet is kept until it can be.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_units::Instant;

/// Between two of the same kind.
const SAME_EVERY: Duration = Duration::from_secs(60);
/// Between any two: the node of this host reads the last one only, and looks every few seconds.
const ANY_EVERY: Duration = Duration::from_secs(10);

/// The worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Two servers wrote the same piece of history.
    SplitBrain,
    Hole,
    /// The log is not received.
    Receive,
    /// No store takes it.
    Carry,
    /// What lies in the archive cannot be seen.
    Catalogue,
    /// Some of what lies there cannot be read.
    Damaged,
    /// A store did not have what it was given.
    Store,
    Base,
    Proof,
}

struct Alarm {
    text: String,
    is_told: bool,
    /// It stands no more, and is still to be told: what a store had lost is put there again at once.
    is_over: bool,
}

#[derive(Default)]
pub struct Alarms {
    standing: BTreeMap<Kind, Alarm>,
    told: BTreeMap<Kind, Instant>,
    told_any: Option<Instant>,
}

impl Alarms {
    /// Says whether that is new.
    pub fn handle_wrong(&mut self, kind: Kind, text: &str) -> bool {
        if self
            .standing
            .get(&kind)
            .is_some_and(|alarm| alarm.text == text && !alarm.is_over)
        {
            return false;
        }
        let alarm = Alarm {
            text: text.to_owned(),
            is_told: false,
            is_over: false,
        };
        self.standing.insert(kind, alarm);
        true
    }

    pub fn handle_right(&mut self, kind: Kind) {
        match self.standing.get_mut(&kind) {
            Some(alarm) if kind == Kind::Store && !alarm.is_told => alarm.is_over = true,
            Some(_) | None => {
                self.standing.remove(&kind);
            }
        }
    }

    /// Another host looks after the archive now. What two servers wrote stays written.
    pub fn handle_left(&mut self) {
        self.standing.retain(|kind, _| *kind == Kind::SplitBrain);
    }

    /// What the journal is to be told now.
    pub fn poll_untold(&mut self, now: Instant) -> Option<String> {
        let waits = |last: Option<&Instant>, every| last.is_some_and(|last| now < *last + every);
        if waits(self.told_any.as_ref(), ANY_EVERY) {
            return None;
        }
        let told = &self.told;
        let (kind, alarm) = self.standing.iter_mut().find(|(kind, alarm)| {
            let is_urgent = **kind == Kind::SplitBrain;
            !alarm.is_told && (is_urgent || !waits(told.get(kind), SAME_EVERY))
        })?;
        alarm.is_told = true;
        let (kind, text, is_over) = (*kind, alarm.text.clone(), alarm.is_over);
        self.told.insert(kind, now);
        self.told_any = Some(now);
        if is_over {
            self.standing.remove(&kind);
        }
        Some(text)
    }

    /// What keeps the log from being put away.
    pub fn log_stands_still(&self) -> Option<String> {
        let stops = |kind: &Kind| matches!(kind, Kind::SplitBrain | Kind::Receive | Kind::Carry);
        let mut standing = self.standing.iter();
        let found = standing.find(|(kind, _)| stops(kind));
        found.map(|(_, alarm)| alarm.text.clone())
    }

    /// Everything that stands.
    pub fn text(&self) -> Option<String> {
        let standing = self.standing.values().filter(|alarm| !alarm.is_over);
        let texts: Vec<&str> = standing.map(|alarm| alarm.text.as_str()).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(1_000 + seconds)
    }

    #[test]
    fn what_ends_takes_no_other_with_it() {
        let mut alarms = Alarms::default();
        alarms.handle_wrong(Kind::Proof, "Proof: broken");
        alarms.handle_wrong(Kind::Receive, "receive the log: refused");
        let both = "receive the log: refused; Proof: broken";
        assert_eq!(alarms.text().as_deref(), Some(both));
        alarms.handle_right(Kind::Receive);
        assert_eq!(alarms.text().as_deref(), Some("Proof: broken"));
        alarms.handle_right(Kind::Proof);
        assert_eq!(alarms.text(), None);
    }

    /// What was put right at once stands nowhere, and the journal hears of it all the same.
    #[test]
    fn what_a_store_lacked_is_told_though_it_is_over() {
        let mut alarms = Alarms::default();
        alarms.handle_wrong(Kind::Store, "/two lacked it");
        alarms.handle_right(Kind::Store);
        assert_eq!(alarms.text(), None);
        assert_eq!(alarms.poll_untold(at(0)).as_deref(), Some("/two lacked it"));
        assert_eq!(alarms.poll_untold(at(100)), None, "once");
        assert!(alarms.handle_wrong(Kind::Store, "/two lacked it"), "again");
        alarms.handle_right(Kind::Receive);
        assert_eq!(alarms.text().as_deref(), Some("/two lacked it"));
    }

    #[test]
    fn split_brain_is_told_soon_whatever_was_told_before() {
        let mut alarms = Alarms::default();
        alarms.handle_wrong(Kind::Receive, "receive the log: refused");
        let first = alarms.poll_untold(at(0));
        assert_eq!(first.as_deref(), Some("receive the log: refused"));
        alarms.handle_wrong(Kind::SplitBrain, "carry the log away: split brain");
        assert!(!alarms.handle_wrong(Kind::SplitBrain, "carry the log away: split brain"));
        // The node must have read the first.
        assert_eq!(alarms.poll_untold(at(1)), None);
        alarms.handle_left();
        let told = alarms.poll_untold(at(10));
        assert_eq!(told.as_deref(), Some("carry the log away: split brain"));
        assert_eq!(alarms.poll_untold(at(100)), None, "once");
        let stands = alarms.text();
        assert_eq!(stands.as_deref(), Some("carry the log away: split brain"));
    }

    #[test]
    fn numbers_do_not_fill_the_journal_and_the_last_word_is_told() {
        let mut alarms = Alarms::default();
        let mut told = Vec::new();
        for second in 0..200 {
            alarms.handle_wrong(Kind::Carry, &format!("{second}"));
            told.extend(alarms.poll_untold(at(second)));
            // It comes and goes.
            if second % 3 == 0 && second < 100 {
                alarms.handle_right(Kind::Carry);
            }
        }
        assert_eq!(told, ["0", "60", "120", "180"]);
        let last = alarms.poll_untold(at(240));
        assert_eq!(last.as_deref(), Some("199"), "kept until it can be told");
    }
}
