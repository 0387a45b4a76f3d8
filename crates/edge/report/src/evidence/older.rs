//! Packs whose items were made by other rules than those of this version.
//!
//! Rules change: a sentence is told better, an item asks for more. What an honest pack said by the rules of its day is
//! then not what follows today, and that is no forgery. Nor is it proven: whoever holds the key could have written it. So it is
//! compared item by item, and what cannot be made again is named, as a thing that was signed and no more.

use std::collections::BTreeSet;

use serde_json::Value;

use super::manifest::{Manifest, RULES};
use super::pack::{Derived, ITEMS, PROOFS, PackError, SUMMARY};
use super::tar::Files;
use super::verify::{Refused, refused, text};

/// Something that the pack says and that does not follow by the rules of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untraced {
    /// `item 11 (Deviations, aborts and manual actions)`, `summary.md`
    pub what: String,
    pub why: String,
}

/// # Errors
/// When what the pack says is in no form that any version has written, or rests on entries without a proof.
pub(super) fn compare(
    files: &Files,
    manifest: &Manifest,
    proven: &BTreeSet<u64>,
    made: Result<&Derived, &PackError>,
) -> Result<Vec<Untraced>, Refused> {
    let document = items(text(files, ITEMS)?, manifest)?;
    let said = document["items"].as_array().map_or(&[][..], Vec::as_slice);
    for item in said {
        rests_on(item, manifest.head.size, proven)?;
    }
    let made_again = made.as_ref().ok().and_then(|made| {
        let bytes = made.files.get(ITEMS)?;
        serde_json::from_slice::<Value>(bytes).ok()
    });
    let again = |number: &Value| {
        let items = made_again.as_ref()?["items"].as_array()?;
        items.iter().find(|item| item["item"] == *number)
    };
    let mut untraced = Vec::new();
    for item in said {
        let again = again(&item["item"]);
        if again == Some(item) {
            continue;
        }
        let word = |item: &Value| item["status"].as_str().unwrap_or("?").to_owned();
        let why = match (again, &made) {
            (Some(again), _) if word(again) != word(item) => format!(
                "the pack says {}; by rules {RULES} it is {}",
                word(item),
                word(again)
            ),
            (Some(_), _) => format!(
                "the pack says {}, in other words or by other entries than rules {RULES}",
                word(item)
            ),
            (None, Ok(_)) => format!(
                "the pack says {}; rules {RULES} have no such item",
                word(item)
            ),
            (None, Err(error)) => format!("the pack says {}; by rules {RULES} {error}", word(item)),
        };
        let title = item["title"].as_str().unwrap_or("?");
        let what = format!("item {} ({title})", item["item"]);
        untraced.push(Untraced { what, why });
    }
    let page = made.as_ref().ok().and_then(|made| made.files.get(SUMMARY));
    if page != files.get(SUMMARY) {
        untraced.push(Untraced {
            what: SUMMARY.to_owned(),
            why: format!("it is another page than rules {RULES} make"),
        });
    }
    if untraced.is_empty() {
        // Proofs of further entries, or the same words in another order.
        untraced.push(Untraced {
            what: format!("{ITEMS} and {PROOFS}"),
            why: format!("what they say follows by rules {RULES}, and they are written otherwise"),
        });
    }
    Ok(untraced)
}

/// In the form of `items.json`, and of this pack.
fn items(text: &str, manifest: &Manifest) -> Result<Value, Refused> {
    let form = || refused(ITEMS, "it is not in the form of items");
    let document: Value = serde_json::from_str(text).map_err(|_| form())?;
    let subject = &document["subject"];
    let is_of_it = document["version"] == 1
        && subject["kind"] == manifest.subject.kind()
        && subject["id"] == manifest.subject.id()
        && document["made_ms"] == manifest.made_ms;
    if !is_of_it {
        return Err(refused(ITEMS, "it is not of this pack"));
    }
    let said = document["items"].as_array().ok_or_else(form)?;
    let numbers = said.iter().map(|item| item["item"].as_u64());
    let numbers: BTreeSet<u64> = numbers.collect::<Option<_>>().ok_or_else(form)?;
    let is_status = |status: &Value| {
        let words = ["shown", "stale", "missing"];
        status
            .as_str()
            .is_some_and(|status| words.contains(&status))
    };
    let has_form = |item: &Value| {
        let parts = item["parts"].as_array();
        let are_parts = parts.is_some_and(|parts| {
            parts.iter().all(|part| {
                part["part"].is_string()
                    && part["told"].is_string()
                    && is_status(&part["status"])
                    && part["entries"].is_array()
            })
        });
        item["title"].is_string() && is_status(&item["status"]) && are_parts
    };
    match numbers.len() == said.len() && said.iter().all(has_form) {
        true => Ok(document),
        false => Err(form()),
    }
}

/// Each entry of the log that it names has its proof.
fn rests_on(item: &Value, size: u64, proven: &BTreeSet<u64>) -> Result<(), Refused> {
    let parts = item["parts"].as_array().into_iter().flatten();
    let entries = parts.flat_map(|part| part["entries"].as_array().into_iter().flatten());
    for entry in entries {
        let position = entry.as_u64();
        let position = position
            .ok_or_else(|| refused(ITEMS, format!("{entry} is no position of an entry")))?;
        if position < size && !proven.contains(&position) {
            let why = format!(
                "item {} names entry {position}, which has none",
                item["item"]
            );
            return Err(refused(PROOFS, why));
        }
    }
    Ok(())
}
