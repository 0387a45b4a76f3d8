//! Every change to a journal is found, and every finding says where.

use std::fs;

use crate::common::{Platform, append_work, catch_up_all, claim};
use mainstay_record::journal::FindingCode;
use mainstay_storage::{Place, mutate_and_verify, verify};

fn write(platform: &Platform<'_>) {
    let mut a = platform.opened();
    let mut b = platform.journal("b");
    for round in 0..12 {
        append_work(&mut a, 1, round * 3..round * 3 + 1 + round % 5).unwrap();
    }
    catch_up_all(&mut b).unwrap();
    b.append(vec![claim(2, "b")]).unwrap();
    append_work(&mut b, 2, 90..99).unwrap();
}

pub fn a_thousand_changes_are_found(platform: &Platform<'_>) {
    write(platform);
    let nodes = platform.nodes(&["a", "b"]);
    let report = mutate_and_verify(&platform.place(), &nodes, 1_000, 7).unwrap();
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
        verify(&platform.place(), &nodes).is_sound(),
        "the original is untouched"
    );
}

/// The rehearsal must be able to fail: without any node's memory a roll-back cannot be found, and it says so.
pub fn without_memories_roll_backs_are_reported_as_not_tried(platform: &Platform<'_>) {
    write(platform);
    let report = mutate_and_verify(&platform.place(), &[], 20, 7).unwrap();
    assert_eq!(report.skipped.len(), 2);
    assert!(
        report
            .skipped
            .iter()
            .any(|why| why.starts_with("rolled back"))
    );
}

pub fn findings_say_where_and_what(platform: &Platform<'_>) {
    write(platform);
    let parts = platform.parts();
    let nodes = platform.nodes(&["a", "b"]);
    let findings = || -> Vec<(FindingCode, Option<u64>)> {
        let report = verify(&platform.place(), &nodes);
        report
            .findings
            .iter()
            .map(|f| (f.code, f.position))
            .collect()
    };
    let restore = || {
        for (position, bytes) in &parts {
            platform.damage(*position, bytes);
        }
    };
    // An entry's content: the fourth part, "number":6 becomes "number":7.
    let (position, bytes) = &parts[3];
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(r#""number":6"#));
    let changed = text.replace(r#""number":6"#, r#""number":7"#);
    platform.damage(*position, changed.as_bytes());
    assert_eq!(findings(), [(FindingCode::Chain, Some(7))]);
    restore();
    // Two places at once: both are named.
    platform.damage(parts[3].0, b"garbage");
    platform.damage(parts[5].0, &parts[6].1);
    let found = findings();
    assert_eq!(found[0], (FindingCode::Torn, Some(7)));
    assert_eq!(found[1].0, FindingCode::Misplaced);
    restore();
    platform.remove(parts[2].0);
    assert_eq!(findings(), [(FindingCode::Missing, Some(5))]);
    restore();
    let foreign = platform.root().join("parts/7.part");
    match &platform.etcd {
        None => fs::write(&foreign, b"").unwrap(),
        Some(_) => platform.put("parts/7", b""),
    }
    assert_eq!(findings(), [(FindingCode::Foreign, None)]);
    match &platform.etcd {
        None => fs::remove_file(&foreign).unwrap(),
        Some(_) => platform.delete("parts/7"),
    }
    fs::write(platform.node_folder("a").join("checkpoint"), b"x").unwrap();
    assert_eq!(findings(), [(FindingCode::Memory, None)]);
}

#[test]
fn an_empty_journal_is_not_a_sound_one() {
    let platform = Platform::new();
    fs::create_dir_all(platform.root().join("parts")).unwrap();
    let report = verify(&platform.place(), &[]);
    assert_eq!(report.findings[0].code, FindingCode::Empty);
    let nowhere = verify(&Place::folder(&platform.root().join("nowhere")), &[]);
    assert_eq!(nowhere.findings[0].code, FindingCode::Unreadable);
}
