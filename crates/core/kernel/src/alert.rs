//! Alerts, as watches tell of them.
//!
//! A watch raises an alert by its own rules and remembers it by itself; what it says is journalled here, so that what
//! is decided because of an alert can point at it, and so that nobody has to ask a watch what was the case. Each watch
//! is believed for itself: two that see the same are two alerts with one name.
//!
//! | told \ known | nothing  | firing   | missing  |
//! |--------------|----------|----------|----------|
//! | firing       | recorded | known    | recorded |
//! | missing      | recorded | recorded | known    |
//! | resolved     | known    | recorded | recorded |
//!
//! Nothing but a watch that says so resolves an alert: not silence, not the loss of its host.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;

use mainstay_model::name::HostName;

use crate::decide::Decision;
use crate::event::Event;
use crate::state::State;
use crate::why::Why;

/// So many alerts stand in the state at most; with more, the watches know more than the journal.
pub const ALERTS_MAX: usize = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    Firing,
    /// Was firing, and what it is about is not measured any more.
    Missing,
    Resolved,
}

impl AlertState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Missing => "missing",
            Self::Resolved => "resolved",
        }
    }
}

/// What a watch says of an alert when that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertNews {
    /// The host whose watch says it.
    pub watch: HostName,
    /// Name and labels in one, as `Name{label="value"}`: which alert of the watch it is.
    pub alert: String,
    pub state: AlertState,
    /// When it began to fire, and when it came into this state, by the watch's clock.
    pub since_ms: u64,
    pub at_ms: u64,
    /// With the name, as `alertname`.
    pub labels: BTreeMap<String, String>,
    /// The rule's own words; may be empty.
    pub summary: String,
    /// Of the expression, as the watch writes numbers.
    pub value: String,
    /// Why it is in this state, in words.
    pub why: String,
}

/// Two watches, or two alerts of one watch, never meet under one key.
pub type AlertKey = (HostName, String);

pub(crate) fn told(state: &State, news: &AlertNews) -> Decision {
    let watches = |host: &HostName| {
        let desired = state.desired.as_ref();
        desired.is_some_and(|desired| desired.watches.contains(host))
    };
    if !watches(&news.watch) {
        return Decision::nothing(Why::NotAWatch);
    }
    let key = (news.watch.clone(), news.alert.clone());
    let known = state.alerts.get(&key).map(|known| known.state);
    match (news.state, known) {
        (AlertState::Resolved, None) => Decision::nothing(Why::AlreadyRecorded),
        (told, Some(known)) if told == known => Decision::nothing(Why::AlreadyRecorded),
        (_, None) if state.alerts.len() >= ALERTS_MAX => Decision::nothing(Why::TooManyAlerts),
        _ => Decision::of(vec![Event::AlertChanged(news.clone())]),
    }
}

/// Folds what was recorded into the alerts that stand.
pub(crate) fn apply(alerts: &mut BTreeMap<AlertKey, AlertNews>, news: &AlertNews) {
    let key = (news.watch.clone(), news.alert.clone());
    match news.state {
        AlertState::Resolved => {
            alerts.remove(&key);
        }
        AlertState::Firing | AlertState::Missing => {
            alerts.insert(key, news.clone());
        }
    }
}
