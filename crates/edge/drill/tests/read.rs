//! Documents read, and everything that is wrong with them, with its place.
#![allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]

use std::time::Duration;

use mainstay_drill::document::{Act, Loss, Source, Wait};
use mainstay_drill::{Document, Finding, load, schema, table_of};

const TABLE: &str = include_str!("../../../../examples/exchange/drills/recovery-objectives.md");
const REGION: &str = include_str!("../../../../examples/exchange/drills/region-lost.yaml");
const BACKUP: &str =
    include_str!("../../../../examples/exchange/drills/newest-backup-corrupted.yaml");

fn read(text: &str) -> Result<Document, Vec<Finding>> {
    load("drill.yaml", text, Some(TABLE))
}

#[test]
fn the_shipped_documents_are_read() {
    assert_eq!(table_of(REGION).as_deref(), Some("recovery-objectives.md"));
    let region = read(REGION).unwrap();
    assert_eq!((region.loads.len(), region.objectives.len()), (2, 4));
    let trading = &region.objectives[0];
    assert_eq!(trading.rto, Some(Duration::from_secs(60)));
    assert_eq!(trading.rpo, Some(Loss::Transactions(1)));
    assert!(region.objectives[3].unmeasured.is_some());
    assert!(matches!(
        region.loads[1].source,
        Source::Probe { rate: 10, .. }
    ));
    let lost = region.steps.iter().find(|step| step.id == "lose").unwrap();
    assert!(matches!(&lost.act, Act::Lose { clients: true, .. }));
    assert!(matches!(&region.steps[1].act, Act::Wait(Wait::Served(50))));
    assert_eq!(table_of(BACKUP), None);
    let backup = load("drill.yaml", BACKUP, None).unwrap();
    assert!(
        backup
            .steps
            .iter()
            .any(|step| matches!(step.act, Act::CorruptBackup { .. }))
    );
}

/// One change of the shipped document: what is found of it, and that it is found in the changed line.
fn wrong(from: &str, to: &str) -> (&'static str, String) {
    assert_eq!(REGION.matches(from).count(), 1, "{from}");
    let text = REGION.replace(from, to);
    let found = read(&text).unwrap_err();
    assert_eq!(found.len(), 1, "{from} -> {to}: {found:#?}");
    let line = text.lines().nth(found[0].place.line - 1).unwrap();
    assert!(line.contains(to), "{to:?} is not in {line:?}");
    (found[0].code, found[0].problem.clone())
}

#[test]
fn each_slip_is_found_where_it_is() {
    for (from, to, code, word) in [
        ("kind: Drill", "kind: Drills", "value", "Drill"),
        ("name: region-lost", "name: Region", "value", "no name"),
        ("seed: 7", "sed: 7", "unknown-field", "sed"),
        ("limit: 4m", "limit: 4", "value", "no time"),
        ("limit: 4m", "limit: 40h", "value", "twelve hours"),
        ("\"0 6 1 * *\"", "\"0 6 1 *\"", "value", "fields"),
        (
            "table: recovery",
            "tabel: recovery",
            "unknown-field",
            "tabel",
        ),
        ("[Customer Accounts]", "[Acounts]", "value", "Acounts"),
        ("id: after", "id: back", "value", "already"),
        ("heal: {}", "heal: {now: true}", "type", "{}"),
        ("{time: 5s}", "{}", "value", "one condition"),
    ] {
        let (found, problem) = wrong(from, to);
        assert_eq!(found, code, "{problem}");
        assert!(problem.contains(word), "{problem:?} has not {word:?}");
    }
}

#[test]
fn all_slips_are_found_at_once() {
    let text = REGION
        .replace("seed: 7", "sed: 7")
        .replace("limit: 4m", "limit: soon");
    assert_eq!(read(&text).unwrap_err().len(), 2);
    let found = load("drill.yaml", REGION, None).unwrap_err();
    assert!(
        found
            .iter()
            .any(|finding| finding.problem.contains("table")),
        "{found:#?}"
    );
    let found = read("a: [").unwrap_err();
    assert_eq!(found[0].code, "yaml");
    assert!(read("").is_err() && read("---\na: 1\n---\nb: 2\n").is_err());
}

#[test]
fn what_a_step_relies_on_comes_before_it() {
    let corrupt = "    - id: corrupt\n      corruptBackup: {database: ledger}\n";
    assert_eq!(BACKUP.matches(corrupt).count(), 1);
    let found = load("drill.yaml", &BACKUP.replace(corrupt, ""), None).unwrap_err();
    assert!(
        found.iter().all(|finding| finding.code == "order"),
        "{found:#?}"
    );
}

#[test]
fn the_schema_has_the_form() {
    let schema = schema();
    let step = &schema["properties"]["spec"]["properties"]["steps"]["items"];
    assert_eq!(step["additionalProperties"], false);
    for act in [
        "wait",
        "lose",
        "heal",
        "failBack",
        "person",
        "corruptBackup",
        "restore",
    ] {
        assert!(step["properties"][act]["description"].is_string(), "{act}");
    }
}
