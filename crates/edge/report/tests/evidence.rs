//! A made log of a drill, its pack, and everything that must be refused of it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod made;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use mainstay_journal::tree::root_of;
use mainstay_journal::{Checkpoint, NodeKey, WitnessKey, leaf_hash};
use mainstay_report::evidence::{
    MANIFEST, Material, PackError, Status, Subject, pack, tar, verify,
};
use serde_json::{Value, json};

use made::*;

#[test]
fn a_pack_shows_what_the_log_shows_and_says_what_it_does_not() {
    let verified = check(&whole()).unwrap();
    assert_eq!(verified.items.len(), 15);
    let wanted = [
        // No third parties are named.
        (1, Status::Missing),
        // There is no link to an impact analysis.
        (2, Status::Missing),
        (3, Status::Shown),
        (4, Status::Shown),
        (5, Status::Shown),
        (6, Status::Shown),
        (7, Status::Shown),
        // Nobody measured the way back.
        (8, Status::Missing),
        (9, Status::Missing),
        (10, Status::Missing),
        (11, Status::Shown),
        (12, Status::Shown),
        (13, Status::Missing),
        (14, Status::Missing),
        (15, Status::Shown),
    ];
    for (number, wanted) in wanted {
        assert_eq!(status(&verified, number), wanted, "item {number}");
    }
    let part = |number: usize, name: &str| {
        let parts = &verified.items[number - 1].parts;
        parts.iter().find(|part| part.name == name).unwrap().clone()
    };
    assert_eq!(part(1, "independent tester").status, Status::Shown);
    assert_eq!(part(2, "severe but plausible").told, "a cable is cut");
    assert!(
        part(8, "time on the secondary, load, way back")
            .told
            .contains("nobody looked")
    );
    assert!(part(5, "timed step").entries.len() >= 2);
    // Each entry that a part rests on has a proof.
    let proofs = String::from_utf8(whole()["proofs.jsonl"].clone()).unwrap();
    for position in verified
        .items
        .iter()
        .flat_map(|item| &item.parts)
        .flat_map(|part| &part.entries)
    {
        assert!(
            proofs.contains(&format!("\"position\":{position},")),
            "entry {position}"
        );
    }
    let summary = String::from_utf8(whole()["summary.md"].clone()).unwrap();
    assert!(
        summary.contains("DORA") && !summary.to_lowercase().contains("complian"),
        "{summary}"
    );
}

#[test]
fn the_result_is_signed_by_who_did_not_make_it() {
    let mut log = drill();
    let mut sign = |who: &str, signature: &str, statement: &str| {
        log.add(
            20_000,
            "drill.signed",
            json!({
                "drill": "d1", "name": "region-lost", "signature": signature, "by": by(who), "statement": statement,
            }),
        );
        let pack = sealed(&material(&log, "d1", START_MS + DAY_MS), &key());
        check(&pack).unwrap().items[12].clone()
    };
    let own = sign("grace", "accepted", "well done");
    assert_eq!(own.status(), Status::Missing);
    assert!(own.parts[0].told.contains("who ran it too"), "{own:?}");
    let refused = sign("ada", "refused", "half of the load");
    assert!(
        refused
            .parts
            .iter()
            .any(|part| part.told.contains("ada refused")),
        "{refused:?}"
    );
    assert_eq!(refused.status(), Status::Missing);
    // The last word of each counts; that of whoever ran it is told, and never enough.
    let accepted = sign("ada", "accepted", "seen");
    let part = accepted
        .parts
        .iter()
        .find(|part| part.told.contains("ada"))
        .unwrap();
    assert_eq!(
        (part.status, part.entries.len()),
        (Status::Shown, 1),
        "{accepted:?}"
    );
}

/// What was signed is a page, byte for byte: another one, or none, is not it.
#[test]
fn the_page_of_an_incident_is_signed_by_who_did_not_resolve_it() {
    const PAGE: &[u8] = b"# Incident i1";
    let signed_by = |who: Option<&str>, page: Option<&[u8]>| {
        let mut log = resolved_by("ada");
        if let Some(who) = who {
            let page = mainstay_journal::Hash::of(PAGE).to_string();
            let body = json!({"incident": "i1", "signature": "accepted", "page": page, "by": by(who), "reason": "seen"});
            log.add(3_000, "incident.signed", body);
        }
        let mut material = material(&log, "i1", START_MS + DAY_MS);
        let page = page.map(|page| ("i1.md".to_owned(), page.to_vec()));
        material.attached = page.into_iter().collect();
        let verified = check(&sealed(&material, &key())).unwrap();
        let part = &verified.items[12].parts[0];
        (part.status, part.told.clone())
    };
    let page = Some(PAGE);
    let (status, told) = signed_by(Some("grace"), page);
    assert_eq!(status, Status::Shown, "{told}");
    assert!(
        told.contains("grace accepted i1.md, which is attached"),
        "{told}"
    );
    for (who, page, why) in [
        (None, page, "no entry by which anybody"),
        (Some("ada"), page, "who resolved it too"),
        (Some("grace"), None, "is not attached"),
        (
            Some("grace"),
            Some(&b"# Incident i2"[..]),
            "is not attached",
        ),
    ] {
        let (status, told) = signed_by(who, page);
        assert_eq!(status, Status::Missing, "{told}");
        assert!(told.contains(why), "{told}");
    }
}

fn resolved_by(who: &str) -> Log {
    let mut log = Log::default();
    log.begin();
    let opened = json!({"incident": "i1", "title": "slow", "severity": "error", "reason": "x", "by": by(who)});
    log.add(1_000, "incident.opened", opened);
    let resolved = json!({"incident": "i1", "reason": "x", "by": by(who)});
    log.add(2_000, "incident.resolved", resolved);
    log
}

const WITNESS: &str = "witness.example/w1";

/// A witness that is a program of somebody else's: a key, and what it signs by the letter of the specification.
fn cosigned(seed: u8, size: usize, seconds: u64) -> (String, WitnessKey) {
    let log = drill();
    let leaves: Vec<_> = log.entries[..size]
        .iter()
        .map(|entry| leaf_hash(entry.as_bytes()))
        .collect();
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: size as u64,
        root: root_of(&leaves),
    };
    let signer = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let public = signer.verifying_key().to_bytes();
    let text = checkpoint.text();
    let signed = signer.sign(format!("cosignature/v1\ntime {seconds}\n{text}").as_bytes());
    let named = [WITNESS.as_bytes(), b"\n\x04", &public].concat();
    let mut line = mainstay_journal::Hash::of(&named).0[..4].to_vec();
    line.extend_from_slice(&seconds.to_be_bytes());
    line.extend_from_slice(&signed.to_bytes());
    let note = checkpoint.sign(&key()).note().to_owned();
    (
        format!("{note}\u{2014} {WITNESS} {}\n", STANDARD.encode(line)),
        WitnessKey(public),
    )
}

fn stamped(notes: &[String], witness: WitnessKey) -> Result<tar::Files, PackError> {
    let material = Material {
        cosigned: notes.to_vec(),
        witnesses: vec![witness.verifier_text(WITNESS)],
        ..material(&drill(), "d1", START_MS + DAY_MS)
    };
    let (files, manifest) = pack(&material)?;
    Ok(sign(files, &manifest, &key()))
}

/// The part of item 14 that tells of it.
fn trusted_time(files: &tar::Files) -> (Status, String) {
    let items = check(files).unwrap().items;
    let part = items[13]
        .parts
        .iter()
        .find(|part| part.name == "trusted time");
    part.map(|part| (part.status, part.told.clone())).unwrap()
}

#[test]
fn a_witness_outside_vouches_for_the_time() {
    let all = drill().entries.len();
    let second = START_MS / 1_000;
    let time = |size, seconds| {
        let (note, witness) = cosigned(9, size, seconds);
        trusted_time(&stamped(&[note], witness).unwrap())
    };
    let (status, told) = time(all, second + 60);
    assert_eq!(status, Status::Shown, "{told}");
    assert!(told.starts_with("witness.example/w1 saw"), "{told}");
    // What it saw does not have the end of the drill; what the platform's clocks say cannot be.
    let (status, told) = time(5, second + 60);
    assert_eq!(status, Status::Missing, "{told}");
    let (status, told) = time(all, second);
    assert_eq!(status, Status::Missing, "{told}");
    assert!(told.contains("were ahead"), "{told}");
    // The earliest that covers it counts.
    let (early, witness) = cosigned(9, all - 1, second + 30);
    let (late, _) = cosigned(9, all, second + 90);
    let (status, told) = trusted_time(&stamped(&[late, early], witness).unwrap());
    assert_eq!(status, Status::Shown);
    assert!(told.contains(&format!("saw {} entries", all - 1)), "{told}");
}

#[test]
fn a_witness_that_nobody_knows_or_that_did_not_sign_is_refused() {
    let all = drill().entries.len();
    let (note, witness) = cosigned(9, all, START_MS / 1_000 + 60);
    let (other_note, other) = cosigned(10, all, START_MS / 1_000 + 60);
    let files = stamped(std::slice::from_ref(&note), witness).unwrap();
    let verified =
        |known: &[(String, WitnessKey)]| verify(&files, &keys(), known, START_MS + DAY_MS);
    assert_eq!(verified(&[]).unwrap().unvouched, [WITNESS]);
    let known = [(WITNESS.to_owned(), witness)];
    assert!(verified(&known).unwrap().unvouched.is_empty());
    let refused = refused(verified(&[(WITNESS.to_owned(), other)]));
    assert_eq!(refused.file, "log/witnesses");
    // Another key, another time, another history, nobody's signature.
    let why = |notes: &[String], witness| stamped(notes, witness).unwrap_err().to_string();
    assert!(why(&[other_note], witness).contains("no witness whose key is here"));
    for at in 0..note.len() {
        let mut bent = note.clone().into_bytes();
        bent[at] ^= 1;
        let Ok(bent) = String::from_utf8(bent) else {
            continue;
        };
        // The signature of the log beside it may be bent: the log's own checkpoint is signed elsewhere.
        let own = note.find(&format!("\u{2014} {ORIGIN}")).unwrap();
        let witness_line = note.find(&format!("\u{2014} {WITNESS}")).unwrap();
        if (own..witness_line).contains(&at) {
            continue;
        }
        assert!(stamped(&[bent], witness).is_err(), "byte {at}");
    }
}

/// It says where, and whether that was a machine apart; a proof of a version that did not say is none.
#[test]
fn a_restored_copy_stood_somewhere() {
    let stood_of = |stood: Option<Value>, made_ms: u64| {
        let mut proven = json!({"backup": "b7", "rto_ms": 8_400, "rpo_ms": 900});
        if let Some(stood) = stood {
            proven["stood"] = stood;
        }
        let log = drill_after(|log| {
            let deed = json!({"backup_proven": proven});
            log.add(
                1_500,
                "reflex.recorded",
                json!({
                    "host": "e1", "at_ms": START_MS + 1_400,
                    "reflex": {"archived": {"database": "ledger", "deed": deed}},
                }),
            );
        });
        let verified = check(&sealed(&material(&log, "d1", made_ms), &key())).unwrap();
        let parts = &verified.items[8].parts;
        let part = parts
            .iter()
            .find(|part| part.name == "on a segregated system");
        part.unwrap().clone()
    };
    let soon = START_MS + DAY_MS;
    let apart = stood_of(Some(json!({"host": "v1", "beside_replica": false})), soon);
    assert_eq!(apart.status, Status::Shown);
    assert!(
        apart.told.contains("on v1, in an empty folder"),
        "{}",
        apart.told
    );
    assert!(
        !apart.told.contains("not a machine apart"),
        "{}",
        apart.told
    );
    let beside = stood_of(Some(json!({"host": "e1", "beside_replica": true})), soon);
    assert!(
        beside.told.contains("not a machine apart"),
        "{}",
        beside.told
    );
    assert_eq!(stood_of(None, soon).status, Status::Missing);
    let late = stood_of(
        Some(json!({"host": "v1", "beside_replica": false})),
        START_MS + 40 * DAY_MS,
    );
    assert_eq!(late.status, Status::Stale);
}

#[test]
fn what_was_shown_grows_stale() {
    let mut log = drill();
    let later = material(&log, "d1", START_MS + 40 * DAY_MS);
    let (now, made) = (START_MS + 40 * DAY_MS, check(&whole()).unwrap());
    assert_eq!(status(&made, 12), Status::Shown);
    // The same pack, looked at after the day of the test that was to be made again.
    let verified = verify(&whole(), &keys(), &[], now).unwrap();
    assert_eq!(verified.items_now[11].status(), Status::Stale);
    assert_eq!(
        status(&check(&sealed(&later, &key())).unwrap(), 12),
        Status::Stale
    );
    let old = material(&log, "d1", START_MS + 400 * DAY_MS);
    let old = check(&sealed(&old, &key())).unwrap();
    assert_eq!(old.items[0].parts[0].status, Status::Stale);
    log.adopt("bb");
    let changed = check(&sealed(&material(&log, "d1", START_MS + DAY_MS), &key())).unwrap();
    assert_eq!(status(&changed, 4), Status::Stale);
    // The same file once more changes nothing.
    let mut same = drill();
    same.adopt("aa");
    let same = check(&sealed(&material(&same, "d1", START_MS + DAY_MS), &key())).unwrap();
    assert_eq!(status(&same, 4), Status::Shown);
}

#[test]
fn approver_and_tester_are_two() {
    let mut log = Log::default();
    log.begin();
    let begun = json!({
        "drill": "d1", "plan": plan(), "platform": "aa", "until_ms": START_MS + 300_000, "by": by("ada"), "reason": "x",
    });
    log.add(3_000, "drill.begun", begun);
    let verified = check(&sealed(&material(&log, "d1", START_MS + DAY_MS), &key())).unwrap();
    let missing: Vec<&str> = verified.items[0]
        .parts
        .iter()
        .filter(|part| part.status == Status::Missing)
        .map(|part| part.name)
        .collect();
    assert_eq!(missing, ["identity and dates", "third parties", "approver"]);
    // What has not ended has no verdict, and its steps have none.
    assert_eq!(status(&verified, 5), Status::Missing);
    assert_eq!(status(&verified, 11), Status::Missing);
}

/// A backup that was proven says nothing of another database.
#[test]
fn each_database_has_a_restore_of_its_own() {
    let of = |database: &str| {
        let log = drill_after(|log| {
            let deed = json!({"backup_proven": {"backup": "b7", "rto_ms": 8_400, "rpo_ms": 900}});
            log.add(
                1_500,
                "reflex.recorded",
                json!({
                    "host": "e1", "at_ms": START_MS + 1_400,
                    "reflex": {"archived": {"database": database, "deed": deed}},
                }),
            );
        });
        let log = material(&log, "d1", START_MS + DAY_MS);
        let verified = check(&sealed(&log, &key())).unwrap();
        let mut parts = verified.items[8].parts.iter();
        let found = parts.find(|part| part.name == "restore").unwrap();
        (found.status, found.told.clone())
    };
    let (status, told) = of("ledger");
    assert_eq!(status, Status::Shown);
    assert!(told.contains("backup b7 of ledger"), "{told}");
    let (status, told) = of("accounts");
    assert_eq!(status, Status::Missing);
    assert!(told.starts_with("ledger: no backup"), "{told}");
}

/// A forced failover is what a person did, and so is the end of a silence that somebody ended.
#[test]
fn what_people_commanded_is_told() {
    let manual = |kind: &str, body: Value| {
        let log = drill_during(|log| {
            log.add(9_500, kind, body);
        });
        let log = material(&log, "d1", START_MS + DAY_MS);
        let verified = check(&sealed(&log, &key())).unwrap();
        let mut parts = verified.items[10].parts.iter();
        parts
            .find(|part| part.name == "manual actions")
            .unwrap()
            .told
            .clone()
    };
    let base = manual("host.returned", json!({"host": "e1"}));
    let silence = |why: &str| manual("silence.ended", json!({"silence": 1, "why": why}));
    assert_eq!(silence("its time is over"), base);
    assert_ne!(silence("ada ended it: done"), base);
    let stopping = json!({"by": by("ada"), "reason": "moved"});
    assert_ne!(manual("platform.stopping", stopping), base);
}

/// What a node starts is begun in the name of the platform's user; nobody independent tested.
#[test]
fn what_starts_by_itself_has_no_tester() {
    let tester = |starts_from: Option<&str>, reason: &str| {
        let mut log = Log::default();
        log.begin();
        let plan = plan();
        let schedule = json!({"cron": "0 3 1 * *", "within_ms": 1_000, "starts_from": starts_from});
        let adoption = json!({
            "name": "region-lost", "digest": plan["digest"], "text": DOCUMENT, "schedule": schedule,
        });
        let approved = log.add(
            2_000,
            "drill.adopted",
            json!({"adoption": adoption, "by": by("ada"), "reason": "monthly"}),
        );
        let begun = json!({
            "drill": "d1", "plan": plan, "approved": approved, "platform": "aa", "until_ms": START_MS + 300_000,
            "by": by("bank"), "reason": reason,
        });
        log.add(3_000, "drill.begun", begun);
        let verified = check(&sealed(&material(&log, "d1", START_MS + DAY_MS), &key())).unwrap();
        let mut parts = verified.items[0].parts.iter();
        let found = parts.find(|part| part.name == "independent tester");
        found.map(|part| part.status).unwrap()
    };
    assert_eq!(tester(Some("/d.yaml"), "it is due"), Status::Missing);
    assert_eq!(tester(Some("/d.yaml"), "the monthly one"), Status::Shown);
    assert_eq!(tester(None, "it is due"), Status::Shown);
}

#[test]
fn every_changed_byte_is_refused_and_its_file_is_named() {
    let files = whole();
    let mut tried = 0_u32;
    for (name, bytes) in &files {
        // All of what is short; of what is long, one in so many that no run takes long.
        let step = (bytes.len() / 400).max(1);
        for at in (0..bytes.len()).step_by(step) {
            for bit in [0x01_u8, 0x20, 0x80] {
                let mut changed = files.clone();
                changed.get_mut(name).unwrap()[at] ^= bit;
                let result = verify(&changed, &keys(), &[], START_MS + DAY_MS);
                assert!(result.is_err(), "{name}, byte {at}, bit {bit:#x}");
                let refused = refused(result);
                assert_eq!(&refused.file, name, "byte {at}: {refused}");
                tried += 1;
            }
        }
    }
    assert!(tried > 5_000, "{tried}");
}

#[test]
fn what_is_missing_added_or_of_another_pack_is_refused() {
    let files = whole();
    for name in files.keys() {
        let mut less = files.clone();
        less.remove(name);
        let refused = check(&less).unwrap_err();
        assert!(
            refused.starts_with(&format!("{name}: ")) && refused.contains("missing"),
            "{refused}"
        );
    }
    for name in ["attached/more", "log/tile/9/000", "items2.json"] {
        let mut more = files.clone();
        more.insert(name.to_owned(), Vec::new());
        assert_eq!(
            check(&more).unwrap_err(),
            format!("{name}: the manifest does not name it")
        );
    }
    let mut log = drill();
    log.add(20_000, "host.returned", json!({"host": "w1"}));
    let other = sealed(&material(&log, "d1", START_MS + DAY_MS), &key());
    let mut mixed = files.clone();
    mixed.insert(MANIFEST.to_owned(), other[MANIFEST].clone());
    let refused = check(&mixed).unwrap_err();
    assert!(!refused.starts_with(MANIFEST), "{refused}");
    let mut mixed = files.clone();
    mixed.insert("log/checkpoint".to_owned(), other["log/checkpoint"].clone());
    assert!(check(&mixed).unwrap_err().starts_with("log/checkpoint: "));
}

#[test]
fn a_wrong_key_is_refused() {
    let stranger = NodeKey::from_seed(&[8; 32]);
    let files = sealed(&material(&drill(), "d1", START_MS + DAY_MS), &stranger);
    assert!(
        check(&files)
            .unwrap_err()
            .starts_with("manifest: no signature is by a key")
    );
    let other_name = vec![("mainstay/other/0123456789abcdef".to_owned(), key().public())];
    let why = refused(verify(&whole(), &other_name, &[], START_MS)).why;
    assert!(why.contains("no key of that name"), "{why}");
    // The stranger's key is given too: it has signed the manifest, but the log does not know it.
    let mut given = vec![(ORIGIN.to_owned(), stranger.public())];
    let file = refused(verify(&files, &given, &[], START_MS)).file;
    assert_eq!(file, "log/checkpoint");
    given.push((ORIGIN.to_owned(), key().public()));
    let why = refused(verify(&files, &given, &[], START_MS)).why;
    assert!(why.contains("that the log does not admit"), "{why}");
}

/// The log that a pack carries says which keys are in force; one that was replaced signs nothing any more.
#[test]
fn a_key_that_was_replaced_signs_no_pack() {
    let next = NodeKey::from_seed(&[9; 32]);
    let replaced = json!({
        "node": "e1", "key": next.public().to_string(), "replaces": key().public().to_string(),
    });
    let log = drill_after(|log| {
        log.add(1_200, "key.admitted", replaced);
    });
    let of_old = material(&log, "d1", START_MS + DAY_MS);
    let of_new = Material {
        checkpoint: of_old.checkpoint.checkpoint.clone().sign(&next),
        ..material(&log, "d1", START_MS + DAY_MS)
    };
    let mut given = keys();
    given.push((ORIGIN.to_owned(), next.public()));
    let verified = |material: &Material, signer: &NodeKey| {
        verify(&sealed(material, signer), &given, &[], START_MS + DAY_MS)
    };
    for (material, signer, file) in [
        (&of_new, &key(), "manifest"),
        (&of_old, &next, "log/checkpoint"),
    ] {
        let refused = refused(verified(material, signer));
        assert_eq!(refused.file, file);
        assert!(refused.why.contains("has replaced"), "{}", refused.why);
    }
    assert!(verified(&of_new, &next).is_ok());
}

/// Whoever holds the key can sign anything. What they sign must follow from the log all the same.
#[test]
fn a_signed_invention_is_refused() {
    assert!(check(&sealed_again(whole())).is_ok());
    let change = |name: &str, from: &str, to: &str| {
        let mut files = whole();
        let mut bytes = files[name].clone();
        let mut places = bytes.windows(from.len());
        let at = places
            .position(|place| place == from.as_bytes())
            .expect(from);
        bytes.splice(at..at + from.len(), to.bytes());
        files.insert(name.to_owned(), bytes);
        check(&sealed_again(files)).unwrap_err()
    };
    let invented = "it is not what follows from the entries of the log";
    for (name, from, to) in [
        ("items.json", "\"missing\"", "\"shown\""),
        ("items.json", "\"passed", "\"Passed"),
        ("summary.md", "missing", "shown"),
        ("proofs.jsonl", "\"position\":3", "\"position\":2"),
    ] {
        assert_eq!(change(name, from, to), format!("{name}: {invented}"));
    }
    // An entry that is not in the log: in the place of one that is, of the same length.
    let bundle = whole()
        .keys()
        .find(|path| path.starts_with("log/tile/entries/"))
        .cloned()
        .unwrap();
    let refused = change(&bundle, "A region is lost", "A region is save");
    assert_eq!(
        refused,
        "log/checkpoint: its root is not that of the entries"
    );
    // A table that asks for less changes what follows.
    assert!(change("controls.tsv", "DORA", "DIRA").contains(invented));
    let mut files = whole();
    files.insert("log/tile/1/000.p/1".to_owned(), vec![0; 32]);
    assert!(
        check(&sealed_again(files))
            .unwrap_err()
            .contains("has no place in a pack")
    );
    let mut files = whole();
    files.insert(
        "log/keys".to_owned(),
        format!(
            "{}\n",
            NodeKey::from_seed(&[8; 32]).public().verifier_text(ORIGIN)
        )
        .into_bytes(),
    );
    assert!(
        check(&sealed_again(files))
            .unwrap_err()
            .contains("is no key that the log admits")
    );
}

#[test]
fn an_archive_is_the_same_pack_and_a_cut_one_is_none() {
    let archive = tar::write(&whole()).unwrap();
    assert_eq!(tar::read(&archive).unwrap(), whole());
    for at in (0..archive.len()).step_by(61) {
        assert!(tar::read(&archive[..at]).is_err(), "cut at {at}");
        let mut changed = archive.clone();
        changed[at] ^= 0x04;
        let still = tar::read(&changed).map(|files| check(&files));
        assert!(!matches!(still, Ok(Ok(_))), "byte {at}");
    }
}

#[test]
fn experiments_and_incidents_have_packs_too() {
    let mut log = Log::default();
    log.begin();
    let plan = json!({
        "name": "slow", "digest": "f00d", "seed": "1", "hypothesis": "the desk hears of it", "injections": ["delay"],
        "lasts_ms": 60_000,
    });
    log.add(1_000, "experiment.begun", json!({"experiment": "x1", "plan": plan, "until_ms": START_MS, "by": by("ada"), "reason": "x"}));
    log.add(2_000, "incident.opened", json!({"incident": "i1", "title": "slow", "severity": "error", "reason": "x", "by": by("ada")}));
    log.add(
        3_000,
        "experiment.ended",
        json!({"experiment": "x1", "verdict": "passed", "why": "so", "residue": []}),
    );
    for subject in ["x1", "i1"] {
        let verified = check(&sealed(&material(&log, subject, START_MS + DAY_MS), &key())).unwrap();
        assert_eq!(status(&verified, 5), Status::Shown);
        assert_eq!(status(&verified, 15), Status::Missing);
    }
    for none in ["d1", "x2", "i7"] {
        let error = pack(&material(&log, none, START_MS)).unwrap_err();
        assert!(matches!(error, PackError::NoSuchSubject(_)), "{error}");
    }
    assert_eq!(Subject::parse("d01"), None);
    assert_eq!(Subject::parse("../d1"), None);
}
