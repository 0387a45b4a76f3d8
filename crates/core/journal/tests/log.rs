//! The rules of the log: who may sign what, and that no byte of a part can change unnoticed.

#![allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]

use mainstay_journal::{Damage, Entry, Log, Meaning, NodeKey, PartError, PublicKey, SealError};
use mainstay_units::{Epoch, Position};

const ORIGIN: &str = "mainstay/test/0000000000000001";

/// A language of its own for tests: the meaning stands in the first word.
fn meaning(entry: &Entry) -> Meaning {
    let words: Vec<&str> = entry.as_str().trim_matches(['{', '}']).split(' ').collect();
    let key = |text: &str| PublicKey::parse(text).unwrap();
    match words.as_slice() {
        ["open", node, public] => Meaning::Opened {
            origin: ORIGIN.to_string(),
            node: node.to_string(),
            key: key(public),
        },
        ["admit", node, public] => Meaning::KeyAdmitted {
            node: node.to_string(),
            key: key(public),
        },
        ["claim", epoch, node] => Meaning::Claimed {
            epoch: Epoch(epoch.parse().unwrap()),
            node: node.to_string(),
        },
        ["garbage", ..] => Meaning::Unreadable,
        _ => Meaning::Other,
    }
}

fn key(n: u8) -> NodeKey {
    NodeKey::from_seed(&[n; 32])
}

fn entries(lines: &[String]) -> Vec<Entry> {
    lines
        .iter()
        .map(|line| Entry::new(format!("{{{line}}}")).unwrap())
        .collect()
}

fn public(n: u8) -> PublicKey {
    key(n).public()
}

/// Seals and follows.
fn append(log: &mut Log, lines: &[String], signer: u8) -> Result<Vec<u8>, SealError> {
    let at = log.end();
    let part = log.seal(entries(lines), &key(signer))?;
    log.follow(at, &part).unwrap();
    Ok(part)
}

/// a leads; b is known.
fn opened() -> (Log, Vec<u8>) {
    let mut log = Log::new(meaning);
    let lines = [
        format!("open a {}", public(1)),
        "claim 1 a".to_string(),
        format!("admit b {}", public(2)),
    ];
    let part = append(&mut log, &lines, 1).unwrap();
    (log, part)
}

fn line(text: &str) -> [String; 1] {
    [text.to_string()]
}

#[test]
fn leadership_passes_by_a_claim_and_the_old_leader_cannot_go_on() {
    let (mut log, _) = opened();
    append(&mut log, &line("work 1"), 1).unwrap();
    let stale = log.clone();
    assert!(append(&mut log.clone(), &line("work"), 2).is_err());
    append(&mut log, &line("claim 2 b"), 2).unwrap();
    assert_eq!(log.leadership().epoch, Epoch(2));
    assert!(append(&mut log, &line("work"), 1).is_err());
    // What the old leader seals on what it knew fails at the position, however late it wakes.
    let late = stale.seal(entries(&line("late")), &key(1)).unwrap();
    assert!(matches!(
        log.clone().follow(Position(4), &late),
        Err(Damage::Position { .. })
    ));
    append(&mut log, &line("work 2"), 2).unwrap();
    assert_eq!(log.end(), Position(6));
}

#[test]
fn claims_that_nobody_may_make() {
    let (log, _) = opened();
    for (claim, signer) in [
        ("claim 1 b", 2), // not the next epoch
        ("claim 3 b", 2), // skips one
        ("claim 2 b", 1), // signed by another
        ("claim 2 c", 3), // unknown
    ] {
        assert!(
            append(&mut log.clone(), &line(claim), signer).is_err(),
            "{claim}"
        );
    }
    let middle = ["work".to_string(), "claim 2 b".to_string()];
    assert!(append(&mut log.clone(), &middle, 2).is_err());
}

#[test]
fn a_node_cannot_vouch_for_itself() {
    let (mut log, _) = opened();
    let own = ["claim 2 c".to_string(), format!("admit c {}", public(3))];
    assert!(append(&mut log.clone(), &own, 3).is_err());
    // A new key of b's retires the first one, and no retired key comes back.
    append(&mut log, &line(&format!("admit b {}", public(4))), 1).unwrap();
    assert!(append(&mut log.clone(), &line("claim 2 b"), 2).is_err());
    assert!(append(&mut log.clone(), &line("claim 2 b"), 4).is_ok());
    for again in [2, 1] {
        let admit = format!("admit b {}", public(again));
        assert!(append(&mut log.clone(), &line(&admit), 1).is_err());
    }
    assert!(log.keys_ever().contains(&public(2)));
}

#[test]
fn only_the_first_entry_opens() {
    let log = Log::new(meaning);
    assert!(log.seal(entries(&line("work")), &key(1)).is_err());
    let (mut log, _) = opened();
    let again = format!("open a {}", public(1));
    assert!(append(&mut log, &line(&again), 1).is_err());
    assert!(append(&mut log, &line("garbage"), 1).is_err());
    assert!(log.seal(Vec::new(), &key(1)).is_err());
}

#[test]
fn every_changed_byte_of_a_part_is_noticed() {
    let (log, first) = opened();
    let second = log
        .seal(entries(&line("work with ümlaut")), &key(1))
        .unwrap();
    for (before, at, part) in [
        (Log::new(meaning), Position(0), first),
        (log, Position(3), second),
    ] {
        assert!(before.clone().follow(at, &part).is_ok());
        for byte in 0..part.len() {
            for bit in 0..8 {
                let mut bent = part.clone();
                bent[byte] ^= 1 << bit;
                let followed = std::panic::catch_unwind(|| before.clone().follow(at, &bent));
                // The test's own meaning function may panic on a bent key, which also is not acceptance.
                assert!(!matches!(followed, Ok(Ok(_))), "byte {byte} bit {bit}");
            }
        }
    }
}

#[test]
fn what_is_cut_off_is_torn_and_what_is_changed_is_not() {
    let (_, part) = opened();
    for length in 0..part.len() {
        let error = Log::new(meaning).follow(Position(0), &part[..length]);
        assert_eq!(error, Err(Damage::Form(PartError::Torn)), "{length}");
    }
    let mut zeros = part.clone();
    let tail = part.len() - 200;
    zeros[tail..].fill(0);
    assert_eq!(
        Log::new(meaning).follow(Position(0), &zeros),
        Err(Damage::Form(PartError::Torn))
    );
    let mut longer = part.clone();
    longer.push(b'\n');
    assert!(!matches!(
        Log::new(meaning).follow(Position(0), &longer),
        Ok(_) | Err(Damage::Form(PartError::Torn))
    ));
}

mod any {
    use super::*;
    use mainstay_journal::{Part, SignedCheckpoint};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_of_any_script_is_stored_as_it_is(texts in prop::collection::vec("[^\\x00-\\x1f]{0,200}", 1..40)) {
            let (mut log, _) = opened();
            let lines: Vec<String> = texts.iter().map(|text| format!("work {text}")).collect();
            let at = log.end();
            let part = log.seal(entries(&lines), &key(1)).unwrap();
            let followed = log.follow(at, &part).unwrap();
            prop_assert_eq!(followed.entries, entries(&lines));
            prop_assert_eq!(Part::parse(&part).unwrap().encode(), part);
        }

        /// Bytes put in, taken out or doubled, anywhere and of any length.
        #[test]
        fn spliced_parts_are_noticed(at: prop::sample::Index, gone in 0_usize..300, put: Vec<u8>) {
            let (log, _) = opened();
            let part = log.seal(entries(&line("work with words")), &key(1)).unwrap();
            let start = at.index(part.len());
            let end = part.len().min(start + gone);
            let mut bent = part.clone();
            bent.splice(start..end, put);
            if bent != part {
                prop_assert!(log.clone().follow(Position(3), &bent).is_err());
            }
        }

        #[test]
        fn garbage_is_refused_and_breaks_nothing(bytes: Vec<u8>, text: String) {
            prop_assert!(Part::parse(&bytes).is_err());
            prop_assert!(Part::parse(text.as_bytes()).is_err());
            prop_assert!(SignedCheckpoint::parse(&text).is_err());
        }
    }
}
