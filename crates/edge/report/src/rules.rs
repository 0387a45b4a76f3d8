//! Which alert rules held when: by what watches said that they followed, and by the texts that were adopted.

use std::collections::BTreeMap;

use mainstay_record::event::EventBody;
use mainstay_record::rules::{RulesAdoptedBody, RulesFollowedBody};

use crate::entry::Entry;
use crate::say::actor;

/// A rule file as a watch followed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesHeld {
    /// The host of the watch.
    pub watch: String,
    pub file: String,
    pub digest: String,
    /// Since when, by the watch's clock, and the entry that says so.
    pub since_ms: u64,
    pub position: u64,
    pub adopted: Option<RulesAdoption>,
}

/// Who wanted a text, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesAdoption {
    /// Of the entry with its last part.
    pub position: u64,
    pub by: String,
    pub reason: String,
    /// Its parts, put together.
    pub text: String,
}

impl RulesHeld {
    /// In a sentence.
    pub fn told(&self) -> String {
        let digest: String = self.digest.chars().take(12).collect();
        let adopted = match &self.adopted {
            Some(adopted) => format!("adopted by {} in entry {}", adopted.by, adopted.position),
            None => "a text that was never adopted".to_owned(),
        };
        format!("{}: {} {digest} ({adopted})", self.watch, self.file)
    }
}

/// What held at the first of two moments, or began to hold until the second one, in the order of the journal. Empty where
/// the journal tells of no rules.
pub fn rules_held(entries: &[Entry], from_ms: u64, to_ms: u64) -> Vec<RulesHeld> {
    let adoptions = adoptions(entries);
    let mut before: BTreeMap<&str, (u64, &RulesFollowedBody)> = BTreeMap::new();
    let mut told = Vec::new();
    for (position, body) in followed(entries).filter(|(_, body)| body.at_ms <= to_ms) {
        if body.at_ms <= from_ms {
            before.insert(&body.watch, (position, body));
        } else {
            told.push((position, body));
        }
    }
    told.extend(before.into_values());
    told.sort_by_key(|(position, _)| *position);
    let files = told.into_iter().flat_map(|(position, body)| {
        let held = move |(file, digest): (&String, &String)| {
            (position, body, file.clone(), digest.clone())
        };
        body.files.iter().map(held)
    });
    let held = files.map(|(position, body, file, digest)| RulesHeld {
        adopted: adoptions.get(&(file.clone(), digest.clone())).cloned(),
        watch: body.watch.clone(),
        since_ms: body.at_ms,
        file,
        digest,
        position,
    });
    held.collect()
}

fn followed(entries: &[Entry]) -> impl Iterator<Item = (u64, &RulesFollowedBody)> {
    entries.iter().filter_map(|entry| match &entry.event {
        Some(EventBody::RulesFollowed(body)) => Some((entry.position, body)),
        _ => None,
    })
}

/// Whole texts by file and digest. One that was adopted again is told by the first adoption of it.
fn adoptions(entries: &[Entry]) -> BTreeMap<(String, String), RulesAdoption> {
    let mut whole = BTreeMap::new();
    let mut growing: Vec<&RulesAdoptedBody> = Vec::new();
    for entry in entries {
        let Some(EventBody::RulesAdopted(body)) = &entry.event else {
            continue;
        };
        if body.part == 1 {
            growing.clear();
        }
        growing.push(body);
        let is_next = |(place, part): (usize, &&RulesAdoptedBody)| {
            (&part.file, &part.digest) == (&body.file, &body.digest)
                && usize::try_from(part.part).is_ok_and(|number| number == place + 1)
        };
        if body.part == body.parts && growing.iter().enumerate().all(is_next) {
            let adoption = RulesAdoption {
                position: entry.position,
                by: actor(&body.by),
                reason: body.reason.clone(),
                text: growing.iter().map(|part| part.text.as_str()).collect(),
            };
            whole
                .entry((body.file.clone(), body.digest.clone()))
                .or_insert(adoption);
            growing.clear();
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says what it expects")]

    use serde_json::{Value, json};

    use super::*;

    fn journal(events: &[(u64, &str, Value)]) -> Vec<Entry> {
        let entries = events
            .iter()
            .enumerate()
            .map(|(position, (at_ms, kind, body))| {
                let entry =
                    json!({ "kind": kind, "version": 1, "at_ms": at_ms, "epoch": 1, "body": body });
                Entry::read(position as u64, &entry.to_string()).unwrap()
            });
        entries.collect()
    }

    fn adopted(digest: &str, part: u32, parts: u32, text: &str) -> Value {
        json!({
            "file": "a.yaml", "digest": digest, "part": part, "parts": parts, "text": text,
            "by": { "uid": 0, "operator": "grace" }, "reason": "why not",
        })
    }

    fn follows(at_ms: u64, digest: &str) -> Value {
        json!({ "watch": "h", "at_ms": at_ms, "files": { "a.yaml": digest } })
    }

    fn told(held: &[RulesHeld]) -> Vec<String> {
        held.iter().map(RulesHeld::told).collect()
    }

    #[test]
    fn what_held_is_told_with_who_wanted_it() {
        let entries = journal(&[
            (10, "rules.adopted", adopted("one", 1, 1, "x")),
            (20, "rules.followed", follows(15, "one")),
            // Interrupted, and begun again.
            (30, "rules.adopted", adopted("two", 1, 2, "lost")),
            (40, "rules.adopted", adopted("two", 1, 2, "y")),
            (50, "rules.adopted", adopted("two", 2, 2, "z")),
            (60, "rules.followed", follows(55, "two")),
            (70, "rules.followed", follows(65, "strange")),
        ]);
        let one = "h: a.yaml one (adopted by grace in entry 0)";
        let two = "h: a.yaml two (adopted by grace in entry 4)";
        let strange = "h: a.yaml strange (a text that was never adopted)";
        assert_eq!(told(&rules_held(&entries, 14, 14)), Vec::<String>::new());
        assert_eq!(told(&rules_held(&entries, 20, 54)), [one]);
        assert_eq!(told(&rules_held(&entries, 20, 90)), [one, two, strange]);
        let held = rules_held(&entries, 60, 60);
        assert_eq!(told(&held), [two]);
        assert_eq!(
            held[0]
                .adopted
                .as_ref()
                .map(|adopted| adopted.text.as_str()),
            Some("yz")
        );
    }

    #[test]
    fn a_text_without_its_last_part_was_not_adopted() {
        let entries = journal(&[
            (40, "rules.adopted", adopted("two", 1, 2, "y")),
            (60, "rules.followed", follows(55, "two")),
        ]);
        assert_eq!(
            told(&rules_held(&entries, 60, 60)),
            ["h: a.yaml two (a text that was never adopted)"]
        );
    }
}
