//! Every change to a journal is found, and every finding says where.

use std::fs;

use crate::common::{Platform, append_work, catch_up_all, claim, part_files};
use mainstay_record::journal::FindingCode;
use mainstay_storage::{mutate_and_verify, verify};

fn written() -> Platform {
    let platform = Platform::new();
    let mut a = platform.opened();
    let mut b = platform.journal("b");
    for round in 0..12 {
        append_work(&mut a, 1, round * 3..round * 3 + 1 + round % 5).unwrap();
    }
    catch_up_all(&mut b).unwrap();
    b.append(vec![claim(2, "b")]).unwrap();
    append_work(&mut b, 2, 90..99).unwrap();
    platform
}

#[test]
fn a_thousand_changes_are_found() {
    let platform = written();
    let nodes = platform.nodes(&["a", "b"]);
    let report = mutate_and_verify(&platform.root(), &nodes, 1_000, 7).unwrap();
    assert_eq!(report.missed, Vec::<String>::new());
    assert_eq!(report.skipped, Vec::<String>::new());
    let made: Vec<(&str, u64)> = report
        .kinds
        .iter()
        .map(|kind| (kind.kind.as_str(), kind.made))
        .collect();
    assert_eq!(
        made,
        [
            ("byte changed", 1_000),
            ("part dropped", 100),
            ("parts swapped", 100),
            ("rolled back", 100)
        ]
    );
    assert!(
        verify(&platform.root(), &nodes).is_sound(),
        "the original is untouched"
    );
}

/// The rehearsal must be able to fail: without any node's memory a roll-back cannot be found, and it says so.
#[test]
fn without_memories_roll_backs_are_reported_as_not_tried() {
    let platform = written();
    let report = mutate_and_verify(&platform.root(), &[], 20, 7).unwrap();
    assert_eq!(report.skipped.len(), 2);
    assert!(
        report
            .skipped
            .iter()
            .any(|why| why.starts_with("rolled back"))
    );
}

#[test]
fn findings_say_where_and_what() {
    let platform = written();
    let parts = part_files(&platform.root());
    let nodes = platform.nodes(&["a", "b"]);
    let findings = || -> Vec<(FindingCode, Option<u64>)> {
        let report = verify(&platform.root(), &nodes);
        report
            .findings
            .iter()
            .map(|f| (f.code, f.position))
            .collect()
    };
    let original: Vec<Vec<u8>> = parts.iter().map(|part| fs::read(part).unwrap()).collect();
    let restore = || {
        for (part, bytes) in parts.iter().zip(&original) {
            fs::write(part, bytes).unwrap();
        }
    };
    // An entry's content: the fourth part, "number":6 becomes "number":7.
    let text = String::from_utf8(original[3].clone()).unwrap();
    assert!(text.contains(r#""number":6"#));
    fs::write(&parts[3], text.replace(r#""number":6"#, r#""number":7"#)).unwrap();
    assert_eq!(findings(), [(FindingCode::Chain, Some(7))]);
    restore();
    // Two places at once: both are named.
    fs::write(&parts[3], b"garbage").unwrap();
    fs::write(&parts[5], &original[6]).unwrap();
    let found = findings();
    assert_eq!(found[0], (FindingCode::Torn, Some(7)));
    assert_eq!(found[1].0, FindingCode::Misplaced);
    restore();
    fs::remove_file(&parts[2]).unwrap();
    assert_eq!(findings(), [(FindingCode::Missing, Some(5))]);
    restore();
    fs::write(platform.root().join("parts/7.part"), b"").unwrap();
    assert_eq!(findings(), [(FindingCode::Foreign, None)]);
    fs::remove_file(platform.root().join("parts/7.part")).unwrap();
    fs::write(platform.node_folder("a").join("checkpoint"), b"x").unwrap();
    assert_eq!(findings(), [(FindingCode::Memory, None)]);
}

#[test]
fn an_empty_journal_is_not_a_sound_one() {
    let platform = Platform::new();
    fs::create_dir_all(platform.root().join("parts")).unwrap();
    let report = verify(&platform.root(), &[]);
    assert_eq!(report.findings[0].code, FindingCode::Empty);
    let nowhere = verify(&platform.root().join("nowhere"), &[]);
    assert_eq!(nowhere.findings[0].code, FindingCode::Unreadable);
}
