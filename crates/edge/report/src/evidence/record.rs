//! Items that are made of what happened: steps, alerts, deviations, deficiencies; and of the record itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::items::{DAY_MS, Part, manual, missing, shown};
use super::scope::{Scope, Subject, who};
use crate::entry::Entry;
use crate::rules::{RulesHeld, rules_held};
use crate::say::say;
use crate::story::actions;
use crate::time::{day_and_time, span, time_of_day};

/// Five years, the longest that any of the rules asks for.
const RETENTION_DAYS: u64 = 1_826;
/// Entries that a sentence tells one by one; the rest is counted. All are named.
const TOLD_MAX: usize = 40;

/// Each with its time, in a row.
fn row(entries: &[&Entry]) -> String {
    let told = entries.iter().take(TOLD_MAX);
    let mut told: Vec<String> = told
        .map(|entry| format!("{} {}", time_of_day(entry.at_ms), say(entry)))
        .collect();
    if entries.len() > TOLD_MAX {
        told.push(format!("and {} more", entries.len() - TOLD_MAX));
    }
    told.join("; ")
}

pub(crate) fn steps(scope: &Scope) -> Vec<Part> {
    if !matches!(scope.subject, Subject::Drill(_)) {
        let told = format!("{} entries: {}", scope.own.len(), row(&scope.own));
        return vec![shown("timed steps", told, &scope.own)];
    }
    let planned = scope.plan()["steps"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let mut parts: Vec<Part> = planned.iter().map(|step| one_step(scope, step)).collect();
    if parts.is_empty() {
        parts.push(missing("timed steps", "the plan has none"));
    }
    parts
}

fn one_step(scope: &Scope, step: &Value) -> Part {
    const NAME: &str = "timed step";
    let id = step["id"].as_str().unwrap_or("?");
    let mut begun = scope
        .own_of("drill.step_begun")
        .filter(|entry| entry.body["step"] == *id);
    let mut ended = scope
        .own_of("drill.step_ended")
        .filter(|entry| entry.body["end"]["step"] == *id);
    let (Some(begun), Some(ended)) = (begun.next(), ended.next()) else {
        return missing(
            NAME,
            format!("{id} was planned, and the log does not have both its beginning and its end"),
        );
    };
    let confirmed: Vec<&Entry> = scope
        .own_of("drill.confirmed")
        .filter(|entry| entry.body["step"] == *id)
        .collect();
    let end = &ended.body["end"];
    let actor = match confirmed.first() {
        Some(entry) => who(&entry.body["by"]).unwrap_or_default(),
        None => "Mainstay".to_owned(),
    };
    let told = format!(
        "{id}: {} from {} to {} by {actor}: {} ({})",
        begun.body["what"].as_str().unwrap_or("?"),
        time_of_day(begun.at_ms),
        time_of_day(ended.at_ms),
        end["outcome"].as_str().unwrap_or("?"),
        end["detail"].as_str().unwrap_or("")
    );
    if step["by_person"] == true && confirmed.is_empty() && end["outcome"] == "done" {
        return missing(NAME, format!("{id} is a person's, and nobody confirmed it"));
    }
    let mut part = shown(NAME, told, &[begun, ended]);
    part.entries
        .extend(confirmed.iter().map(|entry| entry.position));
    part.entries.extend(
        end["evidence"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64),
    );
    part.with(json!({"step": id, "begun_ms": begun.at_ms, "ended_ms": ended.at_ms, "outcome": end["outcome"], "actor": actor}))
}

pub(crate) fn alerts(scope: &Scope) -> Vec<Part> {
    let raised: Vec<&Entry> = scope
        .during_of("alert")
        .chain(scope.during_of("incident.opened"))
        .collect();
    let notices: Vec<&Entry> = scope.during_of("notice").collect();
    let outcomes: Vec<&Entry> = scope
        .during_of("effect.finished")
        .filter(|entry| {
            notices
                .iter()
                .any(|notice| entry.body["effect"] == notice.position)
        })
        .collect();
    let alerts = match raised.is_empty() {
        true => missing("alerts", "no alert was raised meanwhile"),
        false => shown("alerts", row(&raised), &raised),
    };
    let said: Vec<&Entry> = notices.into_iter().chain(outcomes).collect();
    let told = match said.is_empty() {
        true => missing(
            "communications",
            "nobody was called by Mainstay; what was said otherwise is not in the log",
        ),
        false => shown("communications", row(&said), &said),
    };
    let mut parts = vec![alerts, told];
    parts.extend(rules(scope));
    parts
}

/// By which rules alerts were raised. Logs of versions before tell nothing of that, and have no such part.
fn rules(scope: &Scope) -> Option<Part> {
    let until_ms = scope.ended.map_or(u64::MAX, |ended| ended.at_ms);
    let held = rules_held(scope.all, scope.begun.at_ms, until_ms);
    let named = held.iter().flat_map(|held| {
        let adopted = held.adopted.as_ref().map(|adopted| adopted.position);
        std::iter::once(held.position).chain(adopted)
    });
    let named: BTreeSet<u64> = named.collect();
    let entries = scope.all.iter();
    let entries: Vec<&Entry> = entries
        .filter(|entry| named.contains(&entry.position))
        .collect();
    let told: Vec<String> = held.iter().map(RulesHeld::told).collect();
    (!held.is_empty()).then(|| shown("rules", told.join("; "), &entries))
}

pub(crate) fn deviations(scope: &Scope) -> Vec<Part> {
    let range = match scope.ended {
        Some(ended) => format!(
            "entries {} to {} are all in this log",
            scope.begun.position, ended.position
        ),
        None => return vec![missing("deviations", "it has not ended")],
    };
    let ended: Vec<&Entry> = scope.ended.into_iter().collect();
    let mut parts = Vec::new();
    let deviated: Vec<&Entry> = scope
        .own_of("drill.deviated")
        .chain(scope.own_of("drill.abandoned"))
        .chain(
            scope
                .own_of("experiment.observed")
                .filter(|entry| entry.body["observation"]["finding"] != "holds"),
        )
        .collect();
    parts.push(match deviated.is_empty() {
        true => shown("deviations", format!("none is told of; {range}"), &ended),
        false => shown("deviations", row(&deviated), &deviated),
    });
    let verdict = ended.first().map(|entry| {
        let end = if entry.body["end"].is_object() {
            &entry.body["end"]
        } else {
            &entry.body
        };
        (
            end["verdict"].as_str().unwrap_or("none").to_owned(),
            end["why"].as_str().unwrap_or("").to_owned(),
            end["residue"].clone(),
        )
    });
    if let Some((verdict, why, residue)) =
        verdict.filter(|_| !matches!(scope.subject, Subject::Incident(_)))
    {
        let left = super::items::strings(&residue);
        let left = match left.is_empty() {
            true => "nothing was left behind".to_owned(),
            false => format!("left behind: {}", left.join(", ")),
        };
        parts.push(
            shown(
                "aborts and what was left behind",
                format!("{verdict}: {why}; {left}"),
                &ended,
            )
            .with(json!({"verdict": verdict, "residue": residue})),
        );
    }
    let manual = manual(scope);
    parts.push(match manual.is_empty() {
        true => shown("manual actions", format!("none; {range}"), &ended),
        false => shown("manual actions", row(&manual), &manual),
    });
    let refused: Vec<&Entry> = scope.during_of("command.refused").collect();
    if !refused.is_empty() {
        parts.push(shown("refused", row(&refused), &refused));
    }
    parts
}

pub(crate) fn deficiencies(scope: &Scope) -> Vec<Part> {
    match scope.subject {
        Subject::Incident(id) => return incident_actions(scope, id),
        Subject::Experiment(_) => {
            return vec![missing(
                "deficiencies",
                "an experiment's verdict names no owner and no day",
            )];
        }
        Subject::Drill(_) => {}
    }
    let Some(ended) = scope.ended else {
        return vec![missing("deficiencies", "it has not ended")];
    };
    let found = ended.body["end"]["deficiencies"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if found.is_empty() {
        return vec![shown("deficiencies", "none was found", &[ended])];
    }
    found
        .iter()
        .map(|deficiency| deficiency_part(scope, ended, deficiency))
        .collect()
}

fn deficiency_part(scope: &Scope, ended: &Entry, deficiency: &Value) -> Part {
    let retest_ms = deficiency["retest_by_ms"].as_u64().unwrap_or_default();
    let text = |name: &str| deficiency[name].as_str().unwrap_or("?").to_owned();
    let told = format!(
        "{}: for {}, to be tested again by {}",
        text("what"),
        text("owner"),
        day_and_time(retest_ms)
    );
    let part = shown("deficiency", told, &[ended]).with(deficiency.clone());
    let again = scope.after().find(|entry| {
        entry.kind == "drill.ended"
            && entry.body["name"] == ended.body["name"]
            && entry.body["end"]["verdict"] == "passed"
    });
    match again {
        Some(entry) => {
            let mut part = part;
            part.told.push_str(&format!(
                "; run {} of it passed on {}",
                entry.body["drill"].as_str().unwrap_or("?"),
                day_and_time(entry.at_ms)
            ));
            part.entries.push(entry.position);
            part
        }
        None if scope.made_ms > retest_ms => {
            part.stale("that day is over, and no run of it has passed since")
        }
        None => part,
    }
}

fn incident_actions(scope: &Scope, id: &str) -> Vec<Part> {
    let told = actions(
        scope.all,
        &std::collections::BTreeSet::from([id.to_owned()]),
    );
    if told.is_empty() {
        return vec![missing("actions", "nobody agreed on any")];
    }
    let today = day_and_time(scope.made_ms);
    let parts = told.iter().map(|action| {
        let mut entries = vec![action.position];
        entries.extend(action.done.iter().map(|(_, position)| *position));
        let state = match &action.done {
            Some((how, _)) => format!("done: {how}"),
            None => "open".to_owned(),
        };
        let words = format!(
            "{}: {}, for {} until {}; {state}",
            action.action, action.text, action.owner, action.due
        );
        let part = Part {
            entries,
            ..shown("action", words, &[])
        };
        // Days compare as texts.
        match action.done.is_none()
            && today
                .get(..10)
                .is_some_and(|today| action.due.as_str() < today)
        {
            true => part.stale("that day is over"),
            false => part,
        }
    });
    parts.collect()
}

/// The last word of everybody who signed, or refused to.
pub(crate) fn signed_off(scope: &Scope) -> Vec<Part> {
    let (kind, doer, did) = match scope.subject {
        Subject::Drill(_) => ("drill.signed", Some(scope.begun), "ran it"),
        // Others that were merged into it have ends of their own.
        Subject::Incident(_) => ("incident.signed", scope.ended, "resolved it"),
        Subject::Experiment(_) => {
            let why = "the result of no experiment is signed in the log: drills and incidents are";
            return vec![missing(SIGN_OFF, why)];
        }
    };
    let mut signatures: BTreeMap<String, &Entry> = BTreeMap::new();
    let own = scope.own_of(kind);
    let is_its = |entry: &&Entry| {
        let incident = &entry.body["incident"];
        incident.is_null() || incident == scope.subject.id()
    };
    for entry in own.filter(is_its) {
        signatures.insert(who(&entry.body["by"]).unwrap_or_default(), entry);
    }
    if signatures.is_empty() {
        let why = "the log has no entry by which anybody of the management signs";
        return vec![missing(SIGN_OFF, why)];
    }
    let doer = doer
        .and_then(|entry| who(&entry.body["by"]))
        .unwrap_or_default();
    let parts = signatures.into_iter().map(|(signer, entry)| {
        let statement = entry.body["statement"]
            .as_str()
            .or_else(|| entry.body["reason"].as_str());
        let statement = statement.unwrap_or("?");
        let at = day_and_time(entry.at_ms);
        let page = match page(scope, entry) {
            Ok(page) => page,
            Err(why) => return missing(SIGN_OFF, format!("{signer} signed on {at}: {why}")),
        };
        if signer == doer {
            let why = format!("{signer} signed{page} on {at}, who {did} too: {statement}");
            return missing(SIGN_OFF, why);
        }
        if entry.body["signature"] != "accepted" {
            return missing(
                SIGN_OFF,
                format!("{signer} refused{page} on {at}: {statement}"),
            );
        }
        let what = match page.is_empty() {
            true => " the result",
            false => page.as_str(),
        };
        let told = format!("{signer} accepted{what} on {at}: {statement}");
        let facts = json!({"signer": signer, "at_ms": entry.at_ms});
        shown(SIGN_OFF, told, &[entry]).with(facts)
    });
    parts.collect()
}

const SIGN_OFF: &str = "sign-off";

/// The page that was signed, if it was one: it must be among what was attached, byte for byte.
fn page(scope: &Scope, signed: &Entry) -> Result<String, String> {
    let Some(digest) = signed.body["page"].as_str() else {
        return Ok(String::new());
    };
    match scope.ended {
        Some(ended) if ended.position < signed.position => {}
        Some(_) | None => return Err("it went on after that".to_owned()),
    }
    let mut attached = scope.attached.iter();
    match attached.find(|(_, hash)| hash.to_string() == digest) {
        Some((name, _)) => Ok(format!(" {name}, which is attached,")),
        None => Err(format!(
            "the page with the SHA-256 {digest} is not attached"
        )),
    }
}

pub(crate) fn integrity(scope: &Scope) -> Vec<Part> {
    let last: Vec<&Entry> = scope.all.last().into_iter().collect();
    let count = scope.all.len();
    vec![
        shown(
            "hash tree and signature",
            format!(
                "all {count} entries of the log are here, under a signed checkpoint; each that is named has its inclusion proof"
            ),
            &last,
        ),
        shown(
            "offline verifier",
            "mainstay evidence verify, with the verifier key alone; the log's part is C2SP tlog-tiles",
            &[],
        ),
        trusted_time(scope),
    ]
}

/// Whether somebody outside saw the log with the end of this in it, and when.
fn trusted_time(scope: &Scope) -> Part {
    const NAME: &str = "trusted time";
    let Some(last) = scope.stamps.last() else {
        let why = "times are those of the platform's own clocks; nobody outside has stamped any";
        return missing(NAME, why);
    };
    let Some(ended) = scope.ended else {
        return missing(NAME, "it has not ended");
    };
    let covers = scope
        .stamps
        .iter()
        .find(|stamp| stamp.size > ended.position);
    let Some(stamp) = covers else {
        let why = format!(
            "what {} saw last, on {}, ends with entry {}, before the end of this at {}",
            last.witness,
            day_and_time(last.at_ms),
            last.size.saturating_sub(1),
            ended.position
        );
        return missing(NAME, why);
    };
    let seen = format!(
        "{} saw {} entries, the end of this among them, on {}",
        stamp.witness,
        stamp.size,
        day_and_time(stamp.at_ms)
    );
    // A witness tells whole seconds.
    let ahead_ms = ended.at_ms.saturating_sub(stamp.at_ms.saturating_add(999));
    if ahead_ms > 0 {
        let why = format!(
            "{seen}; the platform's clocks, by which it ended {} later, were ahead",
            span(ahead_ms)
        );
        return missing(NAME, why);
    }
    let after_ms = stamp.at_ms.saturating_sub(ended.at_ms);
    shown(
        NAME,
        format!(
            "{seen}, {} after the time that the log gives",
            span(after_ms)
        ),
        &[ended],
    )
    .with(json!({"witness": stamp.witness, "at_ms": stamp.at_ms, "size": stamp.size}))
}

pub(crate) fn retention(scope: &Scope) -> Vec<Part> {
    const NAME: &str = "kept for";
    let Some(days) = scope.plan()["retention_days"].as_u64() else {
        return vec![missing(NAME, "no plan in the log says for how long")];
    };
    let end_ms = scope
        .begun
        .at_ms
        .saturating_add(days.saturating_mul(DAY_MS));
    let told = format!("{days} days, until {}", day_and_time(end_ms));
    let part = shown(NAME, told, &[scope.begun]).with(json!({"days": days, "until_ms": end_ms}));
    if days < RETENTION_DAYS {
        return vec![missing(
            NAME,
            format!("{days} days are less than five years ({RETENTION_DAYS})"),
        )];
    }
    vec![match scope.made_ms > end_ms {
        true => part.stale("that day is over"),
        false => part,
    }]
}
