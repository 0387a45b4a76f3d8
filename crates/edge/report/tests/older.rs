//! Packs of other versions: those of before, as they were made then; those of later ones, as far as can be known.

#![allow(clippy::unwrap_used, reason = "tests")]

mod made;

use std::fmt::Write as _;

use expect_test::expect_file;
use mainstay_journal::NodeKey;
use mainstay_report::evidence::{
    MANIFEST, Manifest, RULES, Rules, Unverified, Verified, tar, verify,
};

use made::*;

/// Made by the last version before rules had numbers.
const OF_FORM_ONE: &[u8] = include_bytes!("packs/of-form-one.tar");

fn untraced(verified: &Verified) -> Vec<&str> {
    let untraced = verified.untraced.iter();
    untraced.map(|untraced| untraced.what.as_str()).collect()
}

/// The files under a manifest that names these rules.
fn by(mut files: tar::Files, rules: Option<u32>) -> tar::Files {
    files.remove(MANIFEST);
    let material = material(&drill(), "d1", START_MS + DAY_MS);
    let head = material.checkpoint.checkpoint.head();
    let mut manifest = Manifest::of(ORIGIN, &material.subject, material.made_ms, head, &files);
    manifest.rules = rules.map(|number| Rules {
        number,
        program: "0.0.9".to_owned(),
    });
    sign(files, &manifest, &key())
}

fn changed(name: &str, from: &str, to: &str) -> tar::Files {
    let mut files = whole();
    let text = String::from_utf8(files[name].clone()).unwrap();
    assert!(text.contains(from), "{name} does not say {from}");
    files.insert(name.to_owned(), text.replacen(from, to, 1).into_bytes());
    files
}

#[test]
fn an_honest_pack_of_an_earlier_version_is_not_refused() {
    // By the same rules everything follows, although it does not name them.
    let verified = check(&tar::read(OF_FORM_ONE).unwrap()).unwrap();
    assert!(verified.is_whole(), "{:?}", verified.untraced);
    assert_eq!(verified.manifest.rules, None);
    assert!(verified.proven > 10 && verified.entries > 10);
    assert_eq!(
        whole()["items.json"],
        tar::read(OF_FORM_ONE).unwrap()["items.json"]
    );
}

/// What is told differently is named, and never passed over; what no version could have written is refused.
#[test]
fn what_does_not_follow_by_these_rules_is_named() {
    let as_is = check(&by(whole(), Some(1))).unwrap();
    assert!(as_is.is_whole(), "{:?}", as_is.untraced);
    for rules in [None, Some(1)] {
        let told = by(changed("items.json", "\"passed", "\"Passed"), rules);
        let verified = check(&told).unwrap();
        assert_eq!(
            untraced(&verified),
            ["item 6 (Recovery time by phase)"],
            "{rules:?}"
        );
        let page = check(&by(changed("summary.md", "missing", "shown"), rules)).unwrap();
        assert_eq!(untraced(&page), ["summary.md"], "{rules:?}");
        let better = changed(
            "items.json",
            "\"status\": \"missing\"",
            "\"status\": \"shown\"",
        );
        let verified = check(&by(better, rules)).unwrap();
        assert!(!verified.is_whole());
        for (name, from, to) in [
            ("items.json", "\"version\": 1", "\"version\": 3"),
            ("items.json", "\"shown\"", "\"perfect\""),
            (
                "items.json",
                "\"id\": \"d1\",\n    \"kind\"",
                "\"id\": \"d2\",\n    \"kind\"",
            ),
            ("proofs.jsonl", "\"position\":3", "\"position\":2"),
            ("proofs.jsonl", "drill.begun", "drill.ended"),
        ] {
            let refused = check(&by(changed(name, from, to), rules)).unwrap_err();
            assert!(refused.starts_with(name), "{refused}");
        }
    }
    // By the same rules it is a forgery.
    let told = by(changed("items.json", "\"passed", "\"Passed"), Some(RULES));
    let refused = check(&told).unwrap_err();
    assert!(refused.contains("not what follows"), "{refused}");
}

/// An entry on which an item rests has its proof, whatever the rules.
#[test]
fn a_pack_of_other_rules_without_a_proof_is_refused() {
    let mut files = changed("items.json", "\"passed", "\"Passed");
    let proofs = String::from_utf8(files["proofs.jsonl"].clone()).unwrap();
    let fewer: Vec<&str> = proofs.lines().skip(1).collect();
    files.insert(
        "proofs.jsonl".to_owned(),
        format!("{}\n", fewer.join("\n")).into_bytes(),
    );
    let refused = check(&by(files, Some(1))).unwrap_err();
    assert!(refused.starts_with("proofs.jsonl: item"), "{refused}");
}

#[test]
fn every_changed_byte_of_an_earlier_pack_is_refused() {
    for at in (0..OF_FORM_ONE.len()).step_by(983) {
        let mut other = OF_FORM_ONE.to_vec();
        other[at] ^= 0x04;
        let result = tar::read(&other).map(|files| check(&files));
        assert!(!matches!(result, Ok(Ok(_))), "byte {at}");
    }
    let files = tar::read(OF_FORM_ONE).unwrap();
    for at in 0..files[MANIFEST].len() {
        let mut changed = files.clone();
        changed.get_mut(MANIFEST).unwrap()[at] ^= 0x01;
        let refused = refused(verify(&changed, &keys(), &[], START_MS));
        assert_eq!(refused.file, MANIFEST, "byte {at}");
    }
}

#[test]
fn a_pack_of_a_newer_version_says_that_it_is_one() {
    let newer = |files: &tar::Files| match verify(files, &keys(), &[], START_MS) {
        Err(Unverified::Newer(what)) => what,
        other => panic!("{other:?}"),
    };
    let what = newer(&by(whole(), Some(RULES + 1)));
    assert!(
        what.contains("Mainstay 0.0.9 made its items by rules"),
        "{what}"
    );
    let mut files = whole();
    let text = format!("mainstay evidence pack 3\n{ORIGIN}\nwho knows\n");
    files.insert(MANIFEST.to_owned(), key().sign(ORIGIN, &text).into_bytes());
    assert!(newer(&files).contains("form 3"), "{}", newer(&files));
    // Only whoever holds the key can say so.
    let stranger = NodeKey::from_seed(&[8; 32]);
    files.insert(
        MANIFEST.to_owned(),
        stranger.sign(ORIGIN, &text).into_bytes(),
    );
    assert_eq!(
        refused(verify(&files, &keys(), &[], START_MS)).file,
        MANIFEST
    );
}

/// What follows from a log by the rules of one number never changes: whoever changes a word gives the rules another number, and
/// this file another name.
#[test]
fn rules_of_one_number_stay_as_they_are() {
    let (log, table) = (eventful(), "5\trule\treference\tsource\tit shows\n");
    let mut text = String::new();
    for subject in ["d1", "x1", "i1", "i2"] {
        let material = mainstay_report::evidence::Material {
            controls: table.to_owned(),
            ..material(&log, subject, START_MS + DAY_MS)
        };
        let files = sealed(&material, &key());
        for name in ["items.json", "summary.md"] {
            let said = String::from_utf8(files[name].clone()).unwrap();
            writeln!(text, "--- {subject} {name}\n{said}").unwrap();
        }
    }
    assert_eq!(RULES, 2, "name the file of the new rules here");
    expect_file!["rules-2.txt"].assert_eq(&text);
}
