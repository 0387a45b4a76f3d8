//! What this host's watch says of alerts, and of the rules that it follows, compared with what the journal says, and told to the kernel.
//!
//! Nothing is remembered that matters: whatever differs is told until the journal says the same. So a node, a watch or
//! a leader that dies in between loses nothing, and an alert that changed while none of them ran is told when they do.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_kernel::{AlertNews, AlertState, FollowedRules, Signal, State};
use mainstay_model::name::HostName;
use mainstay_record::watch::{BoardAlert, BoardState, WatchBoard};
use mainstay_units::Instant;

/// What was told is not told again so soon: it is on its way to the leader. By a clock that never steps back, or it would
/// be on its way for as long as the other one is behind.
const PATIENCE: Duration = Duration::from_secs(3);
/// Told in one look at most; the rest waits for the next.
const NEWS_MAX: usize = 64;

#[derive(Debug)]
pub struct AlertTeller {
    host: HostName,
    told: BTreeMap<String, (AlertState, Instant)>,
    /// What was told of rule files last, and when.
    told_rules: Option<(FollowedRules, Instant)>,
}

impl AlertTeller {
    pub fn new(host: HostName) -> Self {
        Self {
            host,
            told: BTreeMap::new(),
            told_rules: None,
        }
    }

    /// What the journal does not say yet.
    pub fn compare(&mut self, board: &WatchBoard, state: &State, now: Instant) -> Vec<Signal> {
        self.told.retain(|_, (_, at)| now.since(*at) < PATIENCE);
        let shown = board.alerts.iter().filter_map(|alert| {
            let known = self.known(state, &alert.alert).map(|known| known.state);
            self.changed(alert, known)
        });
        let mut news: Vec<AlertNews> = shown.collect();
        // One that is not shown may be one of those that did not fit.
        if board.evaluated && board.whole {
            news.extend(self.gone(board, state));
        }
        news.retain(|news| {
            let told = self.told.get(&news.alert).map(|(state, _)| *state);
            told != Some(news.state)
        });
        news.truncate(NEWS_MAX);
        for news in &news {
            self.told.insert(news.alert.clone(), (news.state, now));
        }
        news.into_iter().map(Signal::AlertTold).collect()
    }

    /// Which rule files the watch follows, if the journal does not say so yet.
    pub fn compare_rules(
        &mut self,
        board: &WatchBoard,
        state: &State,
        now: Instant,
    ) -> Option<Signal> {
        let followed = board.followed.as_ref()?;
        let on_its_way = self
            .told_rules
            .as_ref()
            .is_some_and(|(files, at)| *files == followed.files && now.since(*at) < PATIENCE);
        if on_its_way || !state.rules.is_news(&self.host, &followed.files) {
            return None;
        }
        self.told_rules = Some((followed.files.clone(), now));
        Some(Signal::RulesTold {
            watch: self.host.clone(),
            at_ms: followed.since_ms,
            files: followed.files.clone(),
        })
    }

    fn known<'s>(&self, state: &'s State, alert: &str) -> Option<&'s AlertNews> {
        state.alerts.get(&(self.host.clone(), alert.to_owned()))
    }

    fn changed(&self, alert: &BoardAlert, known: Option<AlertState>) -> Option<AlertNews> {
        let (state, why) = match alert.state {
            // Of what may still pass nothing is recorded; and a watch that waits anew has not seen an end.
            BoardState::Pending => return None,
            BoardState::Firing if alert.received => {
                (AlertState::Firing, "whoever raised it says that it fires")
            }
            BoardState::Firing => (AlertState::Firing, "its condition holds"),
            BoardState::Missing if alert.received => (
                AlertState::Missing,
                "whoever raised it says nothing any more, and has not said that it ended",
            ),
            BoardState::Missing => (
                AlertState::Missing,
                "it fired, and what it is about is not measured any more",
            ),
            BoardState::Resolved if alert.received => {
                (AlertState::Resolved, "whoever raised it says that it ended")
            }
            BoardState::Resolved if alert.unasked => (
                AlertState::Resolved,
                "the target that it is about is not asked any more",
            ),
            BoardState::Resolved => (
                AlertState::Resolved,
                "it was measured that its condition ended",
            ),
        };
        let is_news = match (state, known) {
            (AlertState::Resolved, None) => false,
            (state, known) => known != Some(state),
        };
        is_news.then(|| AlertNews {
            watch: self.host.clone(),
            alert: alert.alert.clone(),
            state,
            since_ms: alert.fired_ms.unwrap_or(alert.active_ms),
            at_ms: alert.changed_ms,
            labels: alert.labels.clone(),
            summary: alert.summary.clone(),
            value: alert.value.clone(),
            why: why.to_owned(),
        })
    }

    /// Alerts of the journal that the watch does not have, though it has looked.
    fn gone<'s>(
        &'s self,
        board: &'s WatchBoard,
        state: &'s State,
    ) -> impl Iterator<Item = AlertNews> + 's {
        let own = state.alerts.iter();
        let own = own.filter(|((watch, _), _)| *watch == self.host);
        own.filter_map(move |((_, name), known)| {
            if board.alerts.iter().any(|alert| alert.alert == *name) {
                return None;
            }
            let rule = known.labels.get("alertname");
            let has_rule = rule.is_some_and(|rule| board.rules.contains(rule));
            // Of what others raise there is no rule here.
            let knows_all = board.refused.is_empty() && !board.receives;
            let (state, why) = if !has_rule && knows_all {
                (
                    AlertState::Resolved,
                    "no rule of the watch raises it any more",
                )
            } else if known.since_ms >= board.begun_ms {
                // The watch knew it, and forgets only what it has seen to end.
                (AlertState::Resolved, "it ended while nobody could tell")
            } else {
                (
                    AlertState::Missing,
                    "the watch has lost its memory of it, and has not seen it end",
                )
            };
            (known.state != state).then(|| AlertNews {
                state,
                at_ms: board.at_ms,
                why: why.to_owned(),
                ..known.clone()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_kernel::{Event, Record, RulesNews};
    use mainstay_units::{Epoch, Position};

    const fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn host() -> HostName {
        HostName::new("h").expect("a name")
    }

    fn board(states: &[(&str, BoardState, u64)]) -> WatchBoard {
        WatchBoard {
            version: 1,
            host: "h".to_owned(),
            at_ms: 900,
            begun_ms: 100,
            evaluated: true,
            targets: 1,
            silent: Vec::new(),
            rules: vec!["A".to_owned()],
            refused: Vec::new(),
            followed: None,
            receives: false,
            budgets: Vec::new(),
            whole: true,
            troubles: Vec::new(),
            alerts: states
                .iter()
                .map(|(alert, state, fired_ms)| BoardAlert {
                    alert: (*alert).to_owned(),
                    labels: [("alertname".to_owned(), "A".to_owned())].into(),
                    state: *state,
                    received: false,
                    unasked: false,
                    summary: String::new(),
                    value: "1".to_owned(),
                    active_ms: *fired_ms,
                    fired_ms: Some(*fired_ms),
                    changed_ms: *fired_ms,
                })
                .collect(),
        }
    }

    fn record(state: &mut State, news: Vec<Signal>) {
        for signal in news {
            let Signal::AlertTold(news) = signal else {
                panic!("no alert");
            };
            state.apply(&Record {
                position: state.next,
                at_ms: 1,
                epoch: Epoch(1),
                cause: None,
                event: Event::AlertChanged(news),
            });
        }
    }

    fn states(news: &[Signal]) -> Vec<(String, AlertState)> {
        let told = news.iter().map(|signal| match signal {
            Signal::AlertTold(news) => (news.alert.clone(), news.state),
            _ => panic!("no alert"),
        });
        told.collect()
    }

    fn check(state: &State, board: &WatchBoard, wanted: &[(&str, AlertState)]) {
        let news = AlertTeller::new(host()).compare(board, state, at(1_000));
        let wanted: Vec<(String, AlertState)> = wanted
            .iter()
            .map(|(name, state)| ((*name).to_owned(), *state))
            .collect();
        assert_eq!(states(&news), wanted);
    }

    #[test]
    fn whatever_the_journal_does_not_say_is_told_until_it_does() {
        let mut state = State::default();
        assert_eq!(state.next, Position(0));
        let mut teller = AlertTeller::new(host());
        let firing = board(&[
            ("A{x=\"1\"}", BoardState::Firing, 200),
            ("A{x=\"2\"}", BoardState::Pending, 0),
        ]);
        let first = teller.compare(&firing, &state, at(1_000));
        assert_eq!(
            states(&first),
            [("A{x=\"1\"}".to_owned(), AlertState::Firing)]
        );
        assert!(
            teller.compare(&firing, &state, at(1_500)).is_empty(),
            "it is on its way"
        );
        let again = teller.compare(&firing, &state, at(9_000));
        assert_eq!(again, first, "it may have been lost on its way");
        record(&mut state, again);
        check(&state, &firing, &[]);
        check(
            &state,
            &board(&[("A{x=\"1\"}", BoardState::Missing, 200)]),
            &[("A{x=\"1\"}", AlertState::Missing)],
        );
        check(
            &state,
            &board(&[("A{x=\"1\"}", BoardState::Resolved, 200)]),
            &[("A{x=\"1\"}", AlertState::Resolved)],
        );
        // Waiting anew is no end.
        check(
            &state,
            &board(&[("A{x=\"1\"}", BoardState::Pending, 200)]),
            &[],
        );
    }

    /// Somebody has adopted a rule file.
    fn adopted() -> RulesNews {
        RulesNews::Adopted {
            text: mainstay_kernel::RulesText {
                file: "a.yaml".to_owned(),
                digest: "d".repeat(64),
                part: 1,
                parts: 1,
                text: "groups: []".to_owned(),
            },
            by: mainstay_kernel::By {
                actor: mainstay_kernel::Actor { uid: 0, user: None },
                operator: None,
            },
            reason: String::new(),
        }
    }

    fn follows(digest: &str) -> WatchBoard {
        WatchBoard {
            followed: Some(mainstay_record::watch::BoardRules {
                since_ms: 40,
                files: [("a.yaml".to_owned(), digest.to_owned())].into(),
            }),
            ..board(&[])
        }
    }

    #[test]
    fn which_rules_a_watch_follows_is_told_once_texts_are_journalled() {
        let mut state = State::default();
        let apply = |state: &mut State, news| {
            state.apply(&Record {
                position: state.next,
                at_ms: 1,
                epoch: Epoch(1),
                cause: None,
                event: Event::Rules(news),
            });
        };
        let mut teller = AlertTeller::new(host());
        let (one, two) = (follows("one"), follows("two"));
        assert_eq!(teller.compare_rules(&one, &state, at(1_000)), None);
        apply(&mut state, adopted());
        let silent = teller.compare_rules(&board(&[]), &state, at(1_000));
        assert_eq!(silent, None, "a watch of a version before does not say");
        let first = teller.compare_rules(&one, &state, at(1_000));
        let Some(Signal::RulesTold {
            watch,
            at_ms,
            files,
        }) = first.clone()
        else {
            panic!("nothing was told");
        };
        assert_eq!(at_ms, 40);
        let soon = teller.compare_rules(&one, &state, at(1_500));
        assert_eq!(soon, None, "it is on its way");
        let later = teller.compare_rules(&one, &state, at(9_000));
        assert_eq!(later, first, "it may have been lost on its way");
        apply(
            &mut state,
            RulesNews::Followed {
                watch,
                at_ms,
                files,
            },
        );
        assert_eq!(teller.compare_rules(&one, &state, at(19_000)), None);
        assert!(teller.compare_rules(&two, &state, at(19_000)).is_some());
    }

    #[test]
    fn the_journal_is_told_why_an_alert_ended() {
        let mut state = State::default();
        let firing = board(&[("A", BoardState::Firing, 200)]);
        let news = AlertTeller::new(host()).compare(&firing, &state, at(1_000));
        record(&mut state, news);
        for (unasked, wanted) in [
            (false, "it was measured that its condition ended"),
            (true, "the target that it is about is not asked any more"),
        ] {
            let mut ended = board(&[("A", BoardState::Resolved, 200)]);
            ended.alerts[0].unasked = unasked;
            let news = AlertTeller::new(host()).compare(&ended, &state, at(1_000));
            let [Signal::AlertTold(news)] = news.as_slice() else {
                panic!("{news:?}");
            };
            assert_eq!(news.why, wanted);
        }
    }

    #[test]
    fn what_a_watch_does_not_have_has_ended_only_if_it_saw_it_begin() {
        let mut state = State::default();
        let firing = board(&[("A", BoardState::Firing, 200)]);
        let news = AlertTeller::new(host()).compare(&firing, &state, at(1_000));
        record(&mut state, news);
        let nothing = board(&[]);
        check(&state, &nothing, &[("A", AlertState::Resolved)]);
        let asleep = WatchBoard {
            evaluated: false,
            ..nothing.clone()
        };
        check(&state, &asleep, &[]);
        let cut = WatchBoard {
            whole: false,
            ..nothing.clone()
        };
        check(&state, &cut, &[]);
        let forgetful = WatchBoard {
            begun_ms: 300,
            ..nothing.clone()
        };
        check(&state, &forgetful, &[("A", AlertState::Missing)]);
        let other_rules = WatchBoard {
            rules: Vec::new(),
            ..forgetful.clone()
        };
        check(&state, &other_rules, &[("A", AlertState::Resolved)]);
        let receiving = WatchBoard {
            receives: true,
            ..other_rules.clone()
        };
        check(&state, &receiving, &[("A", AlertState::Missing)]);
        let unread = WatchBoard {
            refused: vec!["wrong".to_owned()],
            ..other_rules
        };
        check(&state, &unread, &[("A", AlertState::Missing)]);
    }
}
