//! What only the journal in a folder has: files, torn ends, temporary names.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::{Platform, append_work, catch_up_all, part_files};
use mainstay_record::journal::FindingCode;
use mainstay_storage::{CutError, NodeFolder, cut_torn_end, verify};
use mainstay_units::Position;

#[test]
fn secrets_are_private_and_keys_stay() {
    let platform = Platform::new();
    let folder = NodeFolder::open(&platform.node_folder("a")).unwrap();
    let key = folder.key().unwrap().public();
    assert_eq!(folder.key().unwrap().public(), key);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.path().join("key")), 0o600);
    assert_eq!(mode(folder.path().to_path_buf()), 0o700);
    fs::write(folder.path().join("key"), "short").unwrap();
    assert!(folder.key().is_err());
}

/// A crash at any byte of writing a part: temporary files are litter, whatever their length.
#[test]
fn half_written_temporary_files_are_litter() {
    let platform = Platform::new();
    let mut a = platform.opened();
    let part = fs::read(&part_files(&platform.root())[0]).unwrap();
    for length in [0, 1, part.len() / 2, part.len()] {
        let name = format!(".00000000000000000004.part.{length}-0-ab.tmp");
        fs::write(platform.root().join("parts").join(name), &part[..length]).unwrap();
    }
    append_work(&mut a, 1, 0..1).unwrap();
    assert_eq!(catch_up_all(&mut platform.journal("b")).unwrap().len(), 5);
    let report = verify(&platform.place(), &platform.nodes(&["a"]));
    assert!(report.is_sound());
    assert_eq!(report.notes.len(), 1);
}

/// The disk lied before a power cut: the last part is torn at any byte.
#[test]
fn a_torn_end_is_cut_by_a_writer_and_only_if_nobody_was_told() {
    let platform = Platform::new();
    let mut a = platform.opened();
    let before = a.log().checkpoint().unwrap().clone();
    append_work(&mut a, 1, 0..3).unwrap();
    let after = a.log().checkpoint().unwrap().clone();
    let path = part_files(&platform.root())[1].clone();
    let whole = fs::read(&path).unwrap();
    for length in [0, 10, 200, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let report = verify(&platform.place(), &platform.nodes(&[]));
        assert_eq!(report.findings[0].code, FindingCode::Torn);
        assert_eq!(report.findings[0].position, Some(4));
        assert_eq!(
            fs::read(&path).unwrap().len(),
            length,
            "verify repairs nothing"
        );
        let cut = |remembered| cut_torn_end(&platform.root(), Position(4), &[remembered]);
        assert!(matches!(
            cut(after.clone()),
            Err(CutError::Acknowledged { remembered: 7, .. })
        ));
        let aside = cut(before.clone()).unwrap();
        assert_eq!(fs::read(aside).unwrap(), &whole[..length]);
        assert!(!path.exists());
    }
    // What is whole is never cut, sound or not; nor what has a part after it.
    fs::write(&path, &whole).unwrap();
    let cut = |position| cut_torn_end(&platform.root(), position, &[]);
    assert!(matches!(cut(Position(4)), Err(CutError::NotTorn(_))));
    let mut bent = whole.clone();
    bent[300] ^= 1;
    fs::write(&path, &bent).unwrap();
    assert!(matches!(cut(Position(4)), Err(CutError::NotTorn(_))));
    fs::write(&part_files(&platform.root())[0], b"").unwrap();
    assert!(matches!(cut(Position(0)), Err(CutError::NotLast(_))));
}

#[test]
fn rates_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let rates = mainstay_storage::rates(folder.path(), 3).unwrap();
    assert_eq!(rates.appends.len(), 3);
    assert!(rates.verify_entries_per_s > 0.0);
}
