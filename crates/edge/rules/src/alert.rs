//! The life of one alert: inactive, pending, firing, resolved; and a state of its own for missing data.
//!
//! | state    | condition holds        | condition ended              | series vanished        |
//! |----------|------------------------|------------------------------|------------------------|
//! | (none)   | pending or firing      | –                            | –                      |
//! | pending  | firing once held       | forgotten                    | forgotten              |
//! | firing   | firing                 | resolved, after keep-firing  | *missing*, not resolved|
//! | missing  | firing                 | resolved, after keep-firing  | missing                |
//! | resolved | pending or firing      | forgotten after a while      | forgotten after a while|
//!
//! An alert whose series vanished because nobody is asked about it any more is resolved: it never comes back, and says so
//! with [`Active::unasked`].
//!
//! "Ended" means that the series the rule looks at are there and the condition is false; "vanished" that
//! none of them is there any more. Prometheus takes the second for the first and sends "resolved" when an
//! exporter dies; here, missing data never resolves anything. [`State`] is plain data: whoever keeps it over
//! a restart keeps every alert with its whole age.

use std::collections::BTreeMap;

use mainstay_promql::labels::Labels;
use serde::{Deserialize, Serialize};

/// How long a resolved alert is remembered, so that "resolved" can be said again: 15 minutes.
const RETENTION_MS: i64 = 15 * 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Pending,
    Firing,
    /// Was firing, and what it was about is not measured any more.
    Missing,
    Resolved,
}

/// One alert of a rule, by its labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub state: State,
    #[serde(with = "number")]
    pub value: f64,
    /// All moments are milliseconds since 1970.
    pub active_at: i64,
    pub fired_at: Option<i64>,
    pub resolved_at: Option<i64>,
    /// First evaluation without the condition, while it is kept firing.
    pub kept_since: Option<i64>,
    /// First evaluation at which nothing was measured.
    pub missing_since: Option<i64>,
    /// Whether it ended without having been measured, because nobody is asked about it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unasked: bool,
}

/// What an evaluation found.
#[derive(Clone, Debug)]
pub struct Found {
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
    pub value: f64,
}

/// How long the condition must hold, and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub hold: i64,
    pub keep_firing: i64,
}

/// Whether what an alert is about was measured at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    Measured,
    /// No series that the rule selects and that fits the alert had a current sample.
    Nothing,
    /// Nor will have one: no target that is asked could give it.
    Unasked,
}

/// Alerts of one rule, by their labels.
pub type Alerts = BTreeMap<Labels, Active>;

/// One evaluation of a rule that succeeded. A failed one changes nothing and does not come here.
pub fn step(
    alerts: &mut Alerts,
    found: Vec<Found>,
    sight: &mut dyn FnMut(&Labels) -> Sight,
    patience: Patience,
    now: i64,
) {
    let mut present = std::collections::BTreeSet::new();
    for found in found {
        present.insert(found.labels.clone());
        let known = alerts
            .get(&found.labels)
            .filter(|alert| alert.state != State::Resolved);
        let mut alert = known.cloned().unwrap_or_else(|| new(&found.labels, now));
        alert.value = found.value;
        alert.annotations = found.annotations;
        alert.kept_since = None;
        alert.missing_since = None;
        let held = now.saturating_sub(alert.active_at) >= patience.hold;
        alert.state = match alert.state {
            // A longer `for` can call a firing alert back.
            State::Pending | State::Firing if !held => State::Pending,
            State::Pending | State::Firing | State::Missing | State::Resolved => State::Firing,
        };
        if alert.state == State::Firing && alert.fired_at.is_none() {
            alert.fired_at = Some(now);
        }
        alerts.insert(found.labels, alert);
    }
    alerts.retain(|labels, alert| {
        if present.contains(labels) {
            return true;
        }
        let matters = matches!(alert.state, State::Firing | State::Missing);
        let sight = if matters {
            sight(labels)
        } else {
            Sight::Measured
        };
        without_condition(alert, sight, patience, now)
    });
}

/// One evaluation at which whoever measures was not heard: whatever fires is not measured, and nothing else changes.
pub fn unheard(alerts: &mut Alerts, now: i64) {
    for alert in alerts.values_mut() {
        if matches!(alert.state, State::Firing | State::Missing) {
            alert.state = State::Missing;
            alert.missing_since.get_or_insert(now);
        }
    }
}

fn new(labels: &Labels, now: i64) -> Active {
    Active {
        labels: labels
            .iter()
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect(),
        annotations: BTreeMap::new(),
        state: State::Pending,
        value: 0.0,
        active_at: now,
        fired_at: None,
        resolved_at: None,
        kept_since: None,
        missing_since: None,
        unasked: false,
    }
}

/// Whether the alert is still remembered.
fn without_condition(alert: &mut Active, sight: Sight, patience: Patience, now: i64) -> bool {
    match (alert.state, sight) {
        (State::Pending, _) => false,
        (State::Firing | State::Missing, Sight::Nothing) => {
            alert.state = State::Missing;
            alert.missing_since.get_or_insert(now);
            true
        }
        (State::Firing | State::Missing, Sight::Unasked) => {
            alert.state = State::Resolved;
            alert.resolved_at = Some(now);
            alert.kept_since = None;
            alert.unasked = true;
            true
        }
        (State::Firing | State::Missing, Sight::Measured) => {
            alert.missing_since = None;
            let since = *alert.kept_since.get_or_insert(now);
            if patience.keep_firing > 0 && now.saturating_sub(since) < patience.keep_firing {
                alert.state = State::Firing;
            } else {
                alert.state = State::Resolved;
                alert.resolved_at = Some(now);
                alert.kept_since = None;
            }
            true
        }
        (State::Resolved, _) => alert
            .resolved_at
            .is_some_and(|at| now.saturating_sub(at) <= RETENTION_MS),
    }
}

/// JSON has no infinity and no NaN; a value is kept as text.
mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&mainstay_promql::number::plain(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let text = String::deserialize(deserializer)?;
        mainstay_promql::number::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("not a number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    /// One letter per evaluation, a minute apart: `+` holds, `-` does not, `?` nothing measured, `x` nobody asked, `!` nobody heard.
    fn check(story: &str, hold: i64, keep_firing: i64, wanted: &str) {
        let mut alerts = Alerts::new();
        let patience = Patience {
            hold: hold * MINUTE,
            keep_firing: keep_firing * MINUTE,
        };
        let labels = Labels::of(&[("alertname", "a")]);
        let mut found = String::new();
        for (minute, letter) in (0..).zip(story.chars()) {
            let now = minute * MINUTE;
            let holds = Found {
                labels: labels.clone(),
                annotations: BTreeMap::new(),
                value: 1.0,
            };
            let conditions = if letter == '+' {
                vec![holds]
            } else {
                Vec::new()
            };
            let sight = match letter {
                '?' => Sight::Nothing,
                'x' => Sight::Unasked,
                _ => Sight::Measured,
            };
            // Over a restart: what is written down is all that is known.
            let saved = serde_json::to_string(&alerts.values().collect::<Vec<_>>()).expect("saved");
            let restored: Vec<Active> = serde_json::from_str(&saved).expect("restored");
            alerts = restored
                .into_iter()
                .map(|alert| (labels.clone(), alert))
                .collect();
            if letter == '!' {
                unheard(&mut alerts, now);
            } else {
                step(&mut alerts, conditions, &mut |_| sight, patience, now);
            }
            found.push(match alerts.get(&labels).map(|alert| alert.state) {
                None => '.',
                Some(State::Pending) => 'p',
                Some(State::Firing) => 'F',
                Some(State::Missing) => 'm',
                Some(State::Resolved) => 'r',
            });
        }
        assert_eq!(found, wanted, "{story} for {hold} keep {keep_firing}");
    }

    #[test]
    fn stories() {
        check("+++--", 0, 0, "FFFrr");
        check("+++--", 2, 0, "ppFrr");
        check("+-++", 2, 0, "p.pp");
        check("++---+", 0, 2, "FFFFrF");
        check("+-+---", 0, 2, "FFFFFr");
        check(&format!("+{}", "-".repeat(18)), 0, 0, "Frrrrrrrrrrrrrrrr..");
    }

    #[test]
    fn missing_data_never_resolves() {
        check("++???", 0, 0, "FFmmm");
        check("++??-", 0, 0, "FFmmr");
        check("++??+", 0, 0, "FFmmF");
        check("+??+", 2, 0, "p..p");
        check("++??", 0, 5, "FFmm");
        check("++!!-", 0, 0, "FFmmr");
        check("++!!+", 0, 0, "FFmmF");
        check("+!+", 2, 0, "ppF");
        check("+-!", 0, 0, "Frr");
    }

    #[test]
    fn what_nobody_is_asked_about_any_more_ends() {
        check("++?xx", 0, 0, "FFmrr");
        check("++x+", 0, 0, "FFrF");
        check("++xx", 0, 5, "FFrr");
        check("+x+", 2, 0, "p.p");
    }
}
