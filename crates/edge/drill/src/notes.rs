//! What clients wrote down: witness logs, a JSON object a line.
//!
//! | event | fields |
//! |---|---|
//! | `intent` | who it is, and when it is due: `planned_wall_us`, or `planned_wall_ms` |
//! | `answer` | an acknowledgement if `status` is 200, an end without one from 400 to 499; others are tried again. When: `wall_us`, or `latency_us` after it was due, or `wall_ms` |
//! | `unanswered`, `failed` | the client gave up, when: `wall_us` or `wall_ms` |
//!
//! Who it is: `number`, or `account` and `reference`. Whatever else stands there is passed over, so that a program may
//! write down what its own auditor needs. The last line may be cut short by the death of its writer.

use std::collections::BTreeMap;

use serde_json::Value;

/// What one client knows of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    pub due_us: u64,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Acknowledged { at_us: u64 },
    Failed { at_us: u64 },
    Open,
}

/// Who it is: account and reference, or nothing and a number.
pub type Key = (u64, u64);

/// # Errors
/// The first line that is none of a witness log, with its number.
pub fn read(text: &str) -> Result<BTreeMap<Key, Note>, String> {
    let mut notes = BTreeMap::new();
    let complete = text.rfind('\n').map_or("", |end| &text[..=end]);
    for (number, line) in complete.lines().enumerate() {
        let wrong = |what: &str| format!("line {}: {what}", number + 1);
        let line: Value = serde_json::from_str(line).map_err(|error| wrong(&error.to_string()))?;
        let event = line["event"].as_str().ok_or_else(|| wrong("no event"))?;
        let key = match (&line["number"], &line["account"], &line["reference"]) {
            (Value::Number(number), _, _) => (0, number.as_u64().unwrap_or(0)),
            (_, Value::Number(account), Value::Number(reference)) => (
                account.as_u64().unwrap_or(0),
                reference.as_u64().unwrap_or(0),
            ),
            _ => continue,
        };
        let time = |us: &str, ms: &str| {
            let ms = line[ms].as_u64().map(|ms| ms.saturating_mul(1_000));
            line[us].as_u64().or(ms)
        };
        if event == "intent" {
            let due_us = time("planned_wall_us", "planned_wall_ms");
            let due_us = due_us.ok_or_else(|| wrong("an intent without its time"))?;
            notes.insert(
                key,
                Note {
                    due_us,
                    end: End::Open,
                },
            );
            continue;
        }
        let Some(note) = notes.get_mut(&key) else {
            return Err(wrong("it is about nothing that was intended"));
        };
        let latency = line["latency_us"].as_u64();
        let at_us = latency.map(|latency| note.due_us.saturating_add(latency));
        let at_us = line["wall_us"]
            .as_u64()
            .or(at_us)
            .or(time("wall_us", "wall_ms"));
        let Some(at_us) = at_us else {
            continue;
        };
        let is_settled = matches!(note.end, End::Acknowledged { .. });
        match (event, line["status"].as_u64()) {
            ("answer", Some(200)) if !is_settled => note.end = End::Acknowledged { at_us },
            ("answer", Some(408 | 425 | 429)) => {}
            ("answer", Some(400..=499)) if !is_settled => note.end = End::Failed { at_us },
            ("unanswered" | "failed", _) if !is_settled => note.end = End::Failed { at_us },
            _ => {}
        }
    }
    Ok(notes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]
mod tests {
    use super::*;

    #[test]
    fn notes_of_orders_and_of_numbered_writes() {
        let text = "\
{\"v\":1,\"event\":\"intent\",\"account\":7,\"reference\":1,\"request\":{},\"planned_wall_ms\":5000,\"deadline_wall_ms\":9}
{\"v\":1,\"event\":\"attempt\",\"account\":7,\"reference\":1,\"attempt\":1,\"gateway\":\"a\",\"wall_ms\":5000}
{\"v\":1,\"event\":\"answer\",\"account\":7,\"reference\":1,\"status\":503,\"wall_ms\":5001,\"latency_us\":900}
{\"v\":1,\"event\":\"answer\",\"account\":7,\"reference\":1,\"status\":200,\"wall_ms\":5003,\"latency_us\":2750}
{\"v\":1,\"event\":\"intent\",\"account\":7,\"reference\":2,\"planned_wall_ms\":6000}
{\"v\":1,\"event\":\"unanswered\",\"account\":7,\"reference\":2,\"attempts\":3,\"wall_ms\":7000}
{\"v\":1,\"event\":\"intent\",\"number\":4,\"planned_wall_us\":8000001}
{\"v\":1,\"event\":\"answer\",\"number\":4,\"status\":200,\"wall_us\":8000700}
{\"v\":1,\"event\":\"intent\",\"number\":5,\"planned_wall_us\":9000000}
{\"v\":1,\"event\":\"answer\",\"number\":5,\"sta";
        let notes = read(text).unwrap();
        let of = |key: Key| notes[&key];
        assert_eq!(of((7, 1)).end, End::Acknowledged { at_us: 5_002_750 });
        assert_eq!(of((7, 2)).end, End::Failed { at_us: 7_000_000 });
        assert_eq!(of((0, 4)).end, End::Acknowledged { at_us: 8_000_700 });
        assert_eq!((of((0, 5)).due_us, of((0, 5)).end), (9_000_000, End::Open));
    }

    #[test]
    fn what_is_no_witness_log_is_said_with_its_line() {
        let text = "{\"event\":\"intent\",\"number\":1,\"planned_wall_us\":1}\nnonsense\n";
        assert!(read(text).unwrap_err().starts_with("line 2"));
        let stray = "{\"event\":\"answer\",\"number\":1,\"status\":200,\"wall_us\":1}\n";
        assert!(read(stray).is_err());
    }
}
