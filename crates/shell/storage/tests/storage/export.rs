//! The exported log, checked by code that shares nothing with the journal's: own Merkle tree, own parsing, the
//! Ed25519 and SHA-256 libraries used directly. It follows c2sp.org/tlog-tiles, tlog-checkpoint, signed-note.

use std::fs;
use std::path::Path;

use crate::common::{Platform, append_work, catch_up_all, claim};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_storage::{ExportError, export};
use sha2::{Digest, Sha256};

type Sha = [u8; 32];

/// What an auditor does with a log that it got on a disk. The keys it trusts come from elsewhere.
fn audit(log: &Path, verifier_key: &str) -> Result<Vec<String>, String> {
    let note = fs::read_to_string(log.join("checkpoint")).map_err(|e| e.to_string())?;
    let (size, root) = checkpoint(&note, verifier_key)?;
    let mut entries = Vec::new();
    let mut hashes = Vec::new();
    for index in 0..size.div_ceil(256) {
        let width = (size - index * 256).min(256);
        let bundle =
            fs::read(log.join(resource("entries", index, width))).map_err(|e| e.to_string())?;
        let tile = fs::read(log.join(resource("0", index, width))).map_err(|e| e.to_string())?;
        let mut rest = bundle.as_slice();
        for hash in tile.chunks(32) {
            let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            let entry = &rest[2..2 + length];
            rest = &rest[2 + length..];
            let leaf: Sha = Sha256::new()
                .chain_update([0])
                .chain_update(entry)
                .finalize()
                .into();
            if leaf != hash {
                return Err(format!("entry {} does not hash to its tile", entries.len()));
            }
            entries.push(String::from_utf8(entry.to_vec()).map_err(|e| e.to_string())?);
            hashes.push(leaf);
        }
        if !rest.is_empty() {
            return Err("a bundle is longer than its tile".to_string());
        }
    }
    check_upper_tiles(log, &hashes)?;
    if entries.len() as u64 != size || tree(&hashes) != root {
        return Err("root".to_string());
    }
    Ok(entries)
}

fn check_upper_tiles(log: &Path, leaves: &[Sha]) -> Result<(), String> {
    let mut level = 1_u32;
    loop {
        let span = 256_usize.pow(level);
        let full = leaves.len() / span;
        if full == 0 {
            return Ok(());
        }
        for index in 0..full.div_ceil(256) {
            let width = (full - index * 256).min(256);
            let path = log.join(resource(&level.to_string(), index as u64, width as u64));
            let tile = fs::read(path).map_err(|e| e.to_string())?;
            for (offset, hash) in tile.chunks(32).enumerate() {
                let start = (index * 256 + offset) * span;
                if tree(&leaves[start..start + span]) != hash {
                    return Err(format!("tile {level}/{index}, hash {offset}"));
                }
            }
        }
        level += 1;
    }
}

/// Indices below 1,000 only.
fn resource(kind: &str, index: u64, width: u64) -> String {
    match width {
        256 => format!("tile/{kind}/{index:03}"),
        _ => format!("tile/{kind}/{index:03}.p/{width}"),
    }
}

fn tree(leaves: &[Sha]) -> Sha {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let half = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(half);
            Sha256::new()
                .chain_update([1])
                .chain_update(tree(left))
                .chain_update(tree(right))
                .finalize()
                .into()
        }
    }
}

fn checkpoint(note: &str, verifier_key: &str) -> Result<(u64, Sha), String> {
    let mut parts = verifier_key.splitn(3, '+');
    let (name, id, key) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let key = STANDARD.decode(key).unwrap();
    assert_eq!(key[0], 1, "Ed25519");
    let mut hashed = format!("{name}\n").into_bytes();
    hashed.extend_from_slice(&key);
    assert_eq!(
        id,
        format!(
            "{:08x}",
            u32::from_be_bytes(Sha256::digest(hashed)[..4].try_into().unwrap())
        )
    );
    let (text, signatures) = note.rsplit_once("\n\n").ok_or("no signatures")?;
    let text = format!("{text}\n");
    let prefix = format!("\u{2014} {name} ");
    let signature = signatures
        .lines()
        .find_map(|line| line.strip_prefix(&prefix))
        .ok_or("unsigned")?;
    let signature = STANDARD.decode(signature).map_err(|e| e.to_string())?;
    let signer = u32::from_be_bytes(signature[..4].try_into().unwrap());
    if format!("{signer:08x}") != id {
        return Err("signed by another key".to_string());
    }
    let key = ed25519_dalek::VerifyingKey::from_bytes(key[1..].try_into().unwrap()).unwrap();
    let signature = ed25519_dalek::Signature::from_bytes(signature[4..].try_into().unwrap());
    key.verify_strict(text.as_bytes(), &signature)
        .map_err(|e| e.to_string())?;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], name);
    let root = STANDARD.decode(lines[2]).unwrap().try_into().unwrap();
    Ok((lines[1].parse().unwrap(), root))
}

pub fn an_auditor_of_another_house_accepts_the_log_and_finds_changes(platform: &Platform<'_>) {
    let mut a = platform.opened();
    for round in 0..10 {
        append_work(&mut a, 1, round * 70..round * 70 + 70).unwrap();
    }
    let mut b = platform.journal("b");
    let entries = catch_up_all(&mut b).unwrap();
    b.append(vec![claim(2, "b")]).unwrap();
    let target = platform.folder.path().join("export");
    let report = export(&platform.place(), &target).unwrap();
    assert_eq!(report.entries, 705);
    assert_eq!(report.files, 3 + 3 + 1 + 2);
    let audited = audit(&target, &report.verifier_keys[0]).unwrap();
    assert_eq!(audited.len(), 705);
    for ((_, entry), seen) in entries.iter().zip(&audited) {
        assert_eq!(entry.as_str(), seen);
    }
    assert!(
        audit(&target, &report.verifier_keys[1]).is_err(),
        "a checkpoint has one signer"
    );
    assert!(matches!(
        export(&platform.place(), &target),
        Err(ExportError::NotEmpty { .. })
    ));

    for (file, at) in [
        ("checkpoint", 10),
        ("tile/0/001", 100),
        ("tile/1/000.p/2", 33),
        ("tile/entries/002.p/193", 500),
    ] {
        let path = target.join(file);
        let whole = fs::read(&path).unwrap();
        let mut bent = whole.clone();
        bent[at] ^= 1;
        fs::write(&path, bent).unwrap();
        let found = std::panic::catch_unwind(|| audit(&target, &report.verifier_keys[0]));
        assert!(!matches!(found, Ok(Ok(_))), "{file}");
        fs::write(&path, whole).unwrap();
    }
    audit(&target, &report.verifier_keys[0]).unwrap();
}
