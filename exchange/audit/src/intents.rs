//! Intents against rows: who was promised what, and is it there?

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::finding::{Class, Findings};
use crate::request::{HOUSE, Key, MODE, Request};
use crate::rows::CommandRow;
use crate::witness::{Intent, Stage, Witnesses};

/// Fields of an answer that the stored outcome does not have.
const ONLY_IN_ANSWERS: [&str; 2] = ["hash", "replayed"];

/// Every intent in exactly one class.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Classes {
    pub intents: u64,
    pub acknowledged_present: u64,
    /// Acknowledged with a business rejection or as expired, and present as such.
    pub refused_present: u64,
    /// Refused before it was sequenced (HTTP 4xx), and absent.
    pub refused_absent: u64,
    /// No answer; the books say it happened.
    pub unknown_present: u64,
    /// No answer; the books say it did not.
    pub unknown_absent: u64,
    /// Intended or answered after the books were opened, and absent: nothing can be said of it.
    pub later: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub altered: u64,
    /// Beside the classes: intents whose deadline passed without an answer.
    pub unanswered: u64,
}

/// What the books have shown of one intent so far.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    rows: u32,
    altered: bool,
}

#[derive(Debug)]
pub struct Intents<'a> {
    witnesses: &'a Witnesses,
    seen: BTreeMap<Key, Seen>,
}

impl<'a> Intents<'a> {
    #[must_use]
    pub fn new(witnesses: &'a Witnesses) -> Self {
        Self {
            witnesses,
            seen: BTreeMap::new(),
        }
    }

    /// Holds one row of the books against the intent of its key.
    pub fn check(&mut self, row: &CommandRow, findings: &mut Findings) {
        // No customer's: nobody has notes of it. Whether it is one is for whoever follows the market.
        if row.kind == MODE && row.account == HOUSE {
            return;
        }
        let (account, reference) = row.key();
        let Some(intent) = self
            .witnesses
            .intents
            .get(&row.key())
            .filter(|intent| intent.attempts > 0)
        else {
            return findings.add(Class::Invented, || {
                format!(
                    "sequence {}: nobody sent account {account} reference {reference}",
                    row.sequence
                )
            });
        };
        let place = || {
            format!(
                "sequence {}, {}",
                row.sequence,
                self.witnesses.place(intent)
            )
        };
        let seen = self.seen.entry(row.key()).or_default();
        seen.rows += 1;
        if seen.rows > 1 {
            findings.add(Class::Duplicated, || {
                format!("{}: account {account} reference {reference} again", place())
            });
            return;
        }
        if let Some(problem) = difference(intent, row) {
            seen.altered = true;
            findings.add(Class::Altered, || format!("{}: {problem}", place()));
        }
    }

    /// Classes every intent once all rows were seen.
    pub fn finish(&self, answers_required: bool, findings: &mut Findings) -> Classes {
        let mut classes = Classes::default();
        for (key, intent) in &self.witnesses.intents {
            let seen = self.seen.get(key).copied().unwrap_or_default();
            *classes.count_of(intent, seen) += 1;
            classes.intents += 1;
            if seen.rows == 0 && intent.stage == Stage::Promised {
                findings.add(Class::Lost, || {
                    format!(
                        "account {} reference {}, acknowledged at {}",
                        key.0,
                        key.1,
                        self.witnesses.place(intent)
                    )
                });
            }
            if intent.unanswered {
                classes.unanswered += 1;
                if answers_required {
                    findings.add(Class::Unanswered, || {
                        format!(
                            "account {} reference {}, {}",
                            key.0,
                            key.1,
                            self.witnesses.place(intent)
                        )
                    });
                }
            }
        }
        classes
    }
}

impl Classes {
    fn count_of(&mut self, intent: &Intent, seen: Seen) -> &mut u64 {
        let acknowledged = intent.answers.first();
        match (seen.rows, acknowledged) {
            (2.., _) => &mut self.duplicated,
            (1, _) if seen.altered => &mut self.altered,
            (0, _) if intent.stage == Stage::Promised => &mut self.lost,
            (0, _) if intent.stage == Stage::Later || acknowledged.is_some() => &mut self.later,
            (1, Some(answer)) if turned_away(answer) => &mut self.refused_present,
            (1, Some(_)) => &mut self.acknowledged_present,
            (0, _) if intent.refused.is_some() => &mut self.refused_absent,
            (0, _) => &mut self.unknown_absent,
            (1, None) => &mut self.unknown_present,
        }
    }
}

/// How the row differs from what was intended and told.
fn difference(intent: &Intent, row: &CommandRow) -> Option<String> {
    match Request::parse(&row.kind, &row.request) {
        Ok(stored) if stored == intent.request && row.kind == intent.kind => {}
        Ok(_) => {
            return Some(format!(
                "the request stored is not the one sent: {}",
                row.request
            ));
        }
        Err(problem) => return Some(format!("the request stored cannot be read: {problem}")),
    }
    if let Some(status) = intent.refused.filter(|_| intent.answers.is_empty()) {
        return Some(format!(
            "its customer was refused with status {status}, and it stands in the books"
        ));
    }
    let Ok(stored) = serde_json::from_str::<Map<String, Value>>(&row.outcome) else {
        return Some("the outcome stored cannot be read".to_owned());
    };
    intent.answers.iter().find_map(|answer| {
        let Ok(told) = serde_json::from_str::<Map<String, Value>>(answer) else {
            return Some("the answer cannot be read".to_owned());
        };
        answer_difference(&told, &stored, &row.hash)
    })
}

fn answer_difference(
    told: &Map<String, Value>,
    stored: &Map<String, Value>,
    hash: &[u8],
) -> Option<String> {
    for (field, value) in stored {
        if told.get(field) != Some(value) {
            let told = told
                .get(field)
                .map_or("nothing".to_owned(), Value::to_string);
            return Some(format!("{field}: told {told}, stored {value}"));
        }
    }
    let more = told
        .keys()
        .find(|field| !stored.contains_key(*field) && !ONLY_IN_ANSWERS.contains(&field.as_str()));
    if let Some(field) = more {
        return Some(format!("{field}: told, not stored"));
    }
    let Some(told_hash) = told.get("hash").and_then(Value::as_str) else {
        return Some("hash: told nothing".to_owned());
    };
    (told_hash != hex(hash)).then(|| format!("hash: told {told_hash}, stored {}", hex(hash)))
}

fn turned_away(answer: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(answer).is_ok_and(|told| {
        matches!(
            told.get("outcome").and_then(Value::as_str),
            Some("rejected" | "expired")
        )
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Classes, Intents};
    use crate::finding::{Class, Findings};
    use crate::rows::CommandRow;
    use crate::witness;

    fn request(reference: i64) -> String {
        format!(
            "{{\"account\":1,\"reference\":{reference},\"target_reference\":3,\"deadline_ms\":18446744073709551615}}"
        )
    }

    fn intent(reference: i64) -> String {
        let key = format!("\"account\":1,\"reference\":{reference}");
        let request = request(reference);
        format!(
            "{{\"v\":1,\"event\":\"intent\",\"cell\":\"c\",\"kind\":\"cancel\",{key},\"request\":{request}}}\n\
             {{\"v\":1,\"event\":\"attempt\",{key}}}\n"
        )
    }

    /// What a customer is told, by [`row`], with more in it.
    fn answer(reference: i64, more: &str) -> String {
        let key = format!("\"account\":1,\"reference\":{reference}");
        format!(
            "{{\"v\":1,\"event\":\"answer\",{key},\"status\":200,\"body\":{{\"outcome\":\"cancelled\"{more}}}}}\n"
        )
    }

    const HASH: &str = ",\"hash\":\"0a\"";

    fn row(reference: i64) -> CommandRow {
        CommandRow {
            sequence: reference,
            epoch: 1,
            recorded_ms: 1,
            account: 1,
            reference,
            kind: "cancel".to_owned(),
            request: request(reference),
            outcome: "{\"outcome\":\"cancelled\"}".to_owned(),
            hash: vec![10],
        }
    }

    fn note(folder: &Path, lines: &str) -> witness::Witnesses {
        std::fs::write(folder.join("client.jsonl"), lines).unwrap();
        witness::read(&[folder.to_owned()], None).unwrap()
    }

    /// The notes before the books were opened, the books, and what was noted since.
    fn check(before: &str, books: &[i64], since: &str, expected: &[Class]) -> Classes {
        let folder = tempfile::tempdir().unwrap();
        let early = note(folder.path(), before).before();
        let mut witnesses = note(folder.path(), &format!("{before}{since}"));
        witnesses.since(&early).unwrap();
        let (mut intents, mut findings) = (Intents::new(&witnesses), Findings::default());
        for reference in books {
            intents.check(&row(*reference), &mut findings);
        }
        let classes = intents.finish(true, &mut findings);
        let found: Vec<Class> = findings.counts.keys().copied().collect();
        assert_eq!(found, expected, "{:?}", findings.examples);
        classes
    }

    #[test]
    fn clients_may_be_at_work_while_the_books_are_read() {
        let told = |reference| answer(reference, HASH);
        // What was sent and done before the books were opened may be noted after the notes were read.
        let classes = check(
            &intent(5),
            &[5, 6],
            &format!("{}{}", intent(6), told(6)),
            &[],
        );
        assert_eq!(
            (classes.unknown_present, classes.acknowledged_present),
            (1, 1)
        );
        // What is promised after that moment need not be in them.
        let since = format!("{}{}{}", told(5), intent(6), told(6));
        let classes = check(&intent(5), &[], &since, &[]);
        assert_eq!((classes.intents, classes.later, classes.lost), (2, 2, 0));
        // What was promised before it must be, and what nobody sent by now must not.
        let before = intent(5) + &told(5);
        assert_eq!(check(&before, &[], "", &[Class::Lost]).lost, 1);
        check(&before, &[5, 6], "", &[Class::Invented]);
        assert_eq!(check(&intent(5), &[], "", &[]).unknown_absent, 1);
    }

    #[test]
    fn notes_do_not_shrink() {
        let folder = tempfile::tempdir().unwrap();
        let early = note(folder.path(), &(intent(5) + &intent(6))).before();
        let error = note(folder.path(), &intent(5)).since(&early).unwrap_err();
        assert!(error.to_string().contains("reference 6"), "{error}");
    }

    #[test]
    fn an_answer_without_the_hash_of_its_row_is_not_the_venues() {
        let told = |more| intent(5) + &answer(5, more);
        check(&told(HASH), &[5], "", &[]);
        check(&told(",\"hash\":\"0b\""), &[5], "", &[Class::Altered]);
        check(&told(""), &[5], "", &[Class::Altered]);
    }
}
