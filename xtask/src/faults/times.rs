//! How long it took the platform to see a fault, to act and to see that it helped, as its own journal has it.
//!
//! Every figure is the time of an entry, or of a reflex as its host has told it, less the time of the entry that ordered the
//! fault; on one machine all of them go by one clock. What the journal says between one fault and the next belongs to the
//! first of the two, but for alerts that fired before it: an alert that looks far back may be told under the fault after
//! its own. Figures are printed, and decide nothing.

use std::collections::BTreeSet;

use serde_json::Value;

/// Seconds that are aimed at, from the fault to the alert, to the incident and to the first action, with one-second
/// scraping. Nothing that comes of itself within the last of them needs to be seen later than that either.
const AIMS_MS: [u64; 3] = [10_000, 11_000, 12_000];

/// A fault of the suite, and when its command was given.
pub struct Occasion {
    pub name: &'static str,
    pub given_ms: u64,
}

/// When something came, in milliseconds after the fault, and what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Moment {
    after_ms: u64,
    what: String,
}

/// What followed from one fault; nothing where nothing of the kind is in the journal.
#[derive(Debug, Default, PartialEq, Eq)]
struct Times {
    alert: Option<Moment>,
    incident: Option<Moment>,
    action: Option<Moment>,
    /// It was seen that it helped, or that it is over.
    well: Option<Moment>,
    /// When the fault itself was over, where it lasts.
    over_ms: Option<u64>,
}

pub fn print(journal: &[Value], occasions: &[Occasion], end_ms: u64) {
    println!(
        "  {:<22} {:>7} {:>9} {:>13} {:>10}   seconds after the fault, by the journal",
        "fault", "alert", "incident", "first action", "seen well"
    );
    let mut missed = false;
    for (place, occasion) in occasions.iter().enumerate() {
        let until = occasions
            .get(place + 1)
            .map_or(end_ms, |next| next.given_ms);
        let Some(times) = times(journal, occasion, until) else {
            println!("  {:<22} the journal has no such order", occasion.name);
            continue;
        };
        let [alert, incident, action] = AIMS_MS.map(Some);
        let figures = [
            figure(times.alert.as_ref(), alert),
            figure(times.incident.as_ref(), incident),
            figure(times.action.as_ref(), action),
            figure(times.well.as_ref(), None),
        ];
        missed |= figures.iter().any(|figure| figure.ends_with('!'));
        let [alert, incident, action, well] = figures;
        println!(
            "  {:<22} {alert:>7} {incident:>9} {action:>13} {well:>10}   {}",
            occasion.name,
            times.words()
        );
    }
    let aims = AIMS_MS.map(|ms| (ms / 1_000).to_string()).join(", ");
    let said = if missed {
        "; what is over them bears a !"
    } else {
        ""
    };
    println!("  - : the journal has none before the next fault. Aims: {aims} s{said}");
}

/// A figure that is over its aim is marked.
fn figure(moment: Option<&Moment>, aim_ms: Option<u64>) -> String {
    let Some(moment) = moment else {
        return "-".to_owned();
    };
    let mark = aim_ms.is_some_and(|aim| moment.after_ms >= aim);
    let mark = if mark { "!" } else { "" };
    format!("{:.1}{mark}", moment.after_ms as f64 / 1_000.0)
}

impl Times {
    fn words(&self) -> String {
        let moments = [&self.alert, &self.incident, &self.action, &self.well];
        let mut words: Vec<String> = moments
            .into_iter()
            .flatten()
            .map(|moment| moment.what.clone())
            .collect();
        if let (Some(well), Some(over_ms)) = (&self.well, self.over_ms)
            && well.after_ms >= over_ms
        {
            let over = over_ms as f64 / 1_000.0;
            words.push(format!("the fault had ended by itself at {over:.1}"));
        }
        words.join("; ")
    }
}

/// `None` if the journal has no order of this fault.
fn times(journal: &[Value], occasion: &Occasion, until_ms: u64) -> Option<Times> {
    let order = journal.iter().find(|entry| {
        matches!(
            entry["kind"].as_str(),
            Some("fault.injected" | "switchover.ordered")
        ) && entry["body"]["reason"] == occasion.name
            && at(entry) >= occasion.given_ms
    })?;
    let fault_ms = at(order);
    let lasts_ms = order["body"]["spec"]["lasts_ms"].as_u64();
    let mut story = Story {
        fault_ms,
        ..Story::default()
    };
    let mut entries: Vec<(u64, &Value)> = journal
        .iter()
        .map(|entry| (happened(entry), entry))
        .filter(|(at, _)| (fault_ms..until_ms).contains(at))
        .collect();
    // A reflex is journalled after it was told, which may be after what followed from it.
    entries.sort_by_key(|(at, _)| *at);
    for (at_ms, entry) in entries {
        story.hear(at_ms, entry);
    }
    Some(Times {
        over_ms: lasts_ms.filter(|ms| *ms > 0),
        ..story.times
    })
}

/// The times so far, and what must be remembered to find the rest.
#[derive(Default)]
struct Story {
    fault_ms: u64,
    times: Times,
    /// Alerts that began to fire since the fault.
    firing: BTreeSet<(String, String)>,
    /// Gateways that let requests wait.
    holding: BTreeSet<(String, String)>,
}

impl Story {
    fn hear(&mut self, at_ms: u64, entry: &Value) {
        let body = &entry["body"];
        match entry["kind"].as_str().unwrap_or_default() {
            "alert.changed" => self.hear_alert(at_ms, body),
            "incident.opened" => {
                let what = format!("{} {:?}", text(&body["incident"]), text(&body["title"]));
                self.note(at_ms, Which::Incident, what);
            }
            // What only adds to a story that was known, as the fault itself does, is no trouble that was seen.
            "incident.joined" if has_any(&body["conditions"]) => {
                let what = format!("joins {}", text(&body["incident"]));
                self.note(at_ms, Which::Incident, what);
            }
            "incident.mitigated" => {
                let what = format!("{} mitigated", text(&body["incident"]));
                self.note(at_ms, Which::Well, what);
            }
            "playbook" => self.hear_playbook(at_ms, body),
            "instance.placed" => {
                let (service, host) = (text(&body["service"]), text(&body["host"]));
                self.note(at_ms, Which::Action, format!("{service} placed on {host}"));
            }
            "reflex.recorded" => self.hear_reflex(at_ms, body),
            _ => {}
        }
    }

    /// Only the first of each counts.
    fn note(&mut self, at_ms: u64, which: Which, what: String) {
        let slot = match which {
            Which::Alert => &mut self.times.alert,
            Which::Incident => &mut self.times.incident,
            Which::Action => &mut self.times.action,
            Which::Well => &mut self.times.well,
        };
        let after_ms = at_ms.saturating_sub(self.fault_ms);
        slot.get_or_insert(Moment { after_ms, what });
    }

    /// An end is seen when the last watch that told of the alert tells it.
    fn hear_alert(&mut self, at_ms: u64, body: &Value) {
        let key = (
            text(&body["watch"]).to_owned(),
            text(&body["alert"]).to_owned(),
        );
        let name = text(&body["labels"]["alertname"]).to_owned();
        match body["state"].as_str() {
            Some("firing") if body["since_ms"].as_u64() >= Some(self.fault_ms) => {
                self.firing.insert(key);
                self.note(at_ms, Which::Alert, name);
            }
            Some("resolved")
                if self.firing.remove(&key)
                    && !self.firing.iter().any(|(_, alert)| *alert == key.1) =>
            {
                self.note(at_ms, Which::Well, format!("{name} rests"));
            }
            _ => {}
        }
    }

    fn hear_playbook(&mut self, at_ms: u64, body: &Value) {
        if let Some(begun) = body.get("begun") {
            let what = format!("playbook run {}", text(&begun["run"]));
            self.note(at_ms, Which::Action, what);
        }
        if let Some(ended) = body.get("ended").filter(|ended| ended["ending"] == "done") {
            let what = format!("playbook run {} verified", text(&ended["run"]));
            self.note(at_ms, Which::Well, what);
        }
    }

    fn hear_reflex(&mut self, at_ms: u64, body: &Value) {
        let host = text(&body["host"]);
        let reflex = &body["reflex"];
        let of = |kind: &str, what: &str| reflex[kind][what].as_str().map(str::to_owned);
        if let Some(gateway) = of("hold_opened", "gateway") {
            self.holding.insert((host.to_owned(), gateway));
            self.note(at_ms, Which::Action, format!("requests held on {host}"));
        }
        if let Some(gateway) = of("hold_closed", "gateway") {
            let known = self.holding.remove(&(host.to_owned(), gateway));
            if known && self.holding.is_empty() {
                let what = format!("the last hold, on {host}, is over");
                self.note(at_ms, Which::Well, what);
            }
        }
        for (kind, thing, words) in [
            ("left_primary", "database", "primary closed"),
            ("became_primary", "database", "primary promoted"),
            ("instance_restarted", "instance", "restarted"),
        ] {
            if let Some(thing) = of(kind, thing) {
                self.note(at_ms, Which::Action, format!("{thing} {words} on {host}"));
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Which {
    Alert,
    Incident,
    Action,
    Well,
}

fn has_any(list: &Value) -> bool {
    list.as_array().is_some_and(|list| !list.is_empty())
}

fn at(entry: &Value) -> u64 {
    entry["at_ms"].as_u64().unwrap_or_default()
}

/// Reflexes do not wait for the journal: what counts is when their host says that they were.
fn happened(entry: &Value) -> u64 {
    let told = (entry["kind"] == "reflex.recorded")
        .then(|| entry["body"]["at_ms"].as_u64())
        .flatten();
    told.unwrap_or_else(|| at(entry))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(at_ms: u64, kind: &str, body: Value) -> Value {
        json!({ "at_ms": at_ms, "kind": kind, "body": body })
    }

    fn alert(at_ms: u64, watch: &str, state: &str) -> Value {
        let body = json!({
            "watch": watch, "alert": "TargetSilent{}", "state": state, "labels": { "alertname": "TargetSilent" },
            "since_ms": at_ms - 50,
        });
        entry(at_ms, "alert.changed", body)
    }

    fn journal() -> Vec<Value> {
        let reflex = |at_ms: u64, reflex: Value| {
            // Journalled two seconds after it was.
            let body = json!({ "host": "b", "at_ms": at_ms, "reflex": reflex });
            entry(at_ms + 2_000, "reflex.recorded", body)
        };
        let incident = json!({ "incident": "i1", "title": "no primary" });
        vec![
            // It fired before the fault, and was journalled after it.
            alert(1_010, "a", "firing"),
            entry(
                1_010,
                "incident.joined",
                json!({ "incident": "i0", "evidence": [1] }),
            ),
            entry(
                1_000,
                "fault.injected",
                json!({ "reason": "crash", "spec": { "lasts_ms": 5_000 } }),
            ),
            entry(1_900, "incident.opened", incident),
            reflex(1_300, json!({ "hold_opened": { "gateway": "edge" } })),
            reflex(1_800, json!({ "hold_closed": { "gateway": "edge" } })),
            alert(2_500, "a", "resolved"),
            alert(12_000, "a", "firing"),
            alert(12_100, "b", "firing"),
            entry(
                13_000,
                "fault.injected",
                json!({ "reason": "cut", "spec": { "lasts_ms": 500 } }),
            ),
            alert(14_000, "a", "resolved"),
            alert(15_000, "b", "firing"),
            alert(15_500, "a", "firing"),
            alert(16_000, "b", "resolved"),
            alert(17_000, "a", "resolved"),
        ]
    }

    fn seen(moment: Option<&Moment>) -> Option<u64> {
        moment.map(|moment| moment.after_ms)
    }

    #[test]
    fn each_fault_has_what_came_before_the_next_one() {
        let journal = journal();
        let crash = Occasion {
            name: "crash",
            given_ms: 990,
        };
        let times = times(&journal, &crash, 12_990).expect("the order is there");
        assert_eq!(
            seen(times.alert.as_ref()),
            Some(11_000),
            "the one before the fault is none of its own"
        );
        assert_eq!(figure(times.alert.as_ref(), Some(AIMS_MS[0])), "11.0!");
        assert_eq!(seen(times.incident.as_ref()), Some(900));
        assert_eq!(
            seen(times.action.as_ref()),
            Some(300),
            "when it was, and not when it was journalled"
        );
        assert_eq!(
            seen(times.well.as_ref()),
            Some(800),
            "before an alert of another fault ended"
        );
        assert_eq!(times.over_ms, Some(5_000));
    }

    #[test]
    fn an_alert_rests_when_every_watch_says_so() {
        let journal = journal();
        let cut = Occasion {
            name: "cut",
            given_ms: 12_990,
        };
        let times = times(&journal, &cut, 20_000).expect("the order is there");
        assert_eq!(seen(times.well.as_ref()), Some(4_000));
        assert!(
            times
                .words()
                .ends_with("the fault had ended by itself at 0.5"),
            "{}",
            times.words()
        );
        assert_eq!((times.incident, times.action), (None, None));
        let other = Occasion {
            name: "cut",
            given_ms: 13_001,
        };
        assert!(
            super::times(&journal, &other, 20_000).is_none(),
            "it was ordered before"
        );
    }
}
