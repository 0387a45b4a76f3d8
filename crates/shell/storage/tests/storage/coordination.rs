//! Following, leading, losing the lead, and what a crash leaves behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::common::{Platform, append_work, catch_up_all, claim, part_files, work};
use mainstay_record::journal::FindingCode;
use mainstay_storage::{
    AppendError, Coordination, CutError, FollowError, Journal, LocalFolder, NodeFolder,
    PublishError, cut_torn_end, verify,
};
use mainstay_units::{Epoch, Position};

#[test]
fn a_thawed_leader_finds_its_position_taken() {
    let platform = Platform::new();
    let mut a = platform.opened();
    append_work(&mut a, 1, 0..3).unwrap();
    let mut b = platform.journal("b");
    assert_eq!(catch_up_all(&mut b).unwrap().len(), 7);
    // a is frozen here; b takes over and works.
    b.append(vec![claim(2, "b"), work(2, 3)]).unwrap();
    // a thaws with work in hand.
    let error = append_work(&mut a, 1, 3..4).unwrap_err();
    assert!(matches!(
        error,
        AppendError::Publish(PublishError::Taken(Position(7)))
    ));
    catch_up_all(&mut a).unwrap();
    assert_eq!(a.log().leadership().epoch, Epoch(2));
    // Even if it does not give up, it cannot write: it is not the leader.
    assert!(matches!(
        append_work(&mut a, 1, 3..4),
        Err(AppendError::Seal(_))
    ));
    append_work(&mut b, 2, 4..5).unwrap();
    let report = verify(&platform.root(), &platform.nodes(&["a", "b", "c"]));
    assert_eq!(report.findings, []);
    assert_eq!((report.entries, report.epoch), (10, 2));
    assert_eq!(report.vouched.len(), 2);
}

#[test]
fn of_two_openers_one_wins() {
    let platform = Platform::new();
    let journals = ["a", "b"].map(|node| (node, platform.journal(node)));
    let mut won = 0;
    for (node, mut journal) in journals {
        let key = journal.public_key();
        let body = format!(
            r#"{{"origin":"mainstay/test/{node}","platform":"test","node":"{node}","key":"{key}"}}"#
        );
        let opened = crate::common::entry("journal.opened", 1, &body);
        match journal.append(vec![opened, claim(1, node)]) {
            Ok(_) => won += 1,
            Err(AppendError::Publish(PublishError::Taken(Position(0)))) => {
                assert_eq!(catch_up_all(&mut journal).unwrap().len(), 2);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(won, 1);
}

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

#[test]
fn a_rolled_back_journal_is_noticed_by_who_saw_more() {
    let platform = Platform::new();
    let mut a = platform.opened();
    append_work(&mut a, 1, 0..3).unwrap();
    append_work(&mut a, 1, 3..4).unwrap();
    let parts = part_files(&platform.root());
    fs::remove_file(&parts[2]).unwrap();
    let error = catch_up_all(&mut platform.journal("a")).unwrap_err();
    assert!(matches!(
        error,
        FollowError::RolledBack {
            end: Position(7),
            remembered: 8
        }
    ));
    let report = verify(&platform.root(), &platform.nodes(&["a", "b"]));
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].code, FindingCode::RolledBack);
    // Who saw nothing yet cannot notice: b follows.
    assert_eq!(catch_up_all(&mut platform.journal("b")).unwrap().len(), 7);
}

#[test]
fn what_was_followed_before_an_error_is_handed_out_all_the_same() {
    let platform = Platform::new();
    let mut a = platform.opened();
    append_work(&mut a, 1, 0..3).unwrap();
    append_work(&mut a, 1, 3..4).unwrap();
    let last = part_files(&platform.root()).pop().unwrap();
    let whole = fs::read(&last).unwrap();
    fs::write(&last, &whole[..whole.len() / 2]).unwrap();
    // The last part is torn: what is before it is told, then the damage.
    let mut b = platform.journal("b");
    let told = b.catch_up().unwrap();
    assert_eq!(told.len(), 7);
    assert!(matches!(
        b.catch_up(),
        Err(FollowError::Damaged {
            position: Position(7),
            ..
        })
    ));
    fs::write(&last, &whole).unwrap();
    let told = b.catch_up().unwrap();
    assert_eq!(told[0].0, Position(7));
    // Nowhere to remember them: they wait.
    append_work(&mut a, 1, 4..6).unwrap();
    let folder = platform.node_folder("b");
    let aside = folder.with_extension("aside");
    fs::rename(&folder, &aside).unwrap();
    assert!(matches!(b.catch_up(), Err(FollowError::Node(_))));
    fs::rename(&aside, &folder).unwrap();
    let told = b.catch_up().unwrap();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].0, Position(8));
    assert!(b.catch_up().unwrap().is_empty());
}

#[test]
fn a_journal_written_anew_is_noticed() {
    let platform = Platform::new();
    let mut a = platform.opened();
    append_work(&mut a, 1, 0..3).unwrap();
    fs::remove_dir_all(platform.root()).unwrap();
    let mut again = platform.journal("z");
    let key = again.public_key();
    let body = format!(
        r#"{{"origin":"{}","platform":"test","node":"z","key":"{key}"}}"#,
        crate::common::ORIGIN
    );
    let opened = crate::common::entry("journal.opened", 1, &body);
    again.append(vec![opened, claim(1, "z")]).unwrap();
    append_work(&mut again, 1, 0..10).unwrap();
    assert!(matches!(
        catch_up_all(&mut platform.journal("a")),
        Err(FollowError::Rewritten { remembered: 7 })
    ));
    let report = verify(&platform.root(), &platform.nodes(&["a"]));
    assert_eq!(report.findings[0].code, FindingCode::Rewritten);
}

#[test]
fn a_port_out_of_reach_is_neither_read_nor_written() {
    let platform = Platform::new();
    let mut a = platform.opened();
    a.port().refuse(Some("1 of 3 regions answer".to_string()));
    assert!(matches!(
        append_work(&mut a, 1, 0..1),
        Err(AppendError::Publish(PublishError::Refused(_)))
    ));
    assert!(matches!(a.catch_up(), Err(FollowError::Port(_))));
    assert!(a.port().heartbeat("a", b"{}").is_err());
    a.port().refuse(None);
    append_work(&mut a, 1, 0..1).unwrap();
}

#[test]
fn beats_are_heard_and_wake_a_waiter() {
    let platform = Platform::new();
    let mut one = LocalFolder::open(&platform.root()).unwrap();
    let mut other = LocalFolder::open(&platform.root()).unwrap();
    one.heartbeat("a", b"{}").unwrap();
    // Would hang for a minute if nothing woke it; the watch was there before the beat.
    let started = mainstay_rt::clock::now();
    other.wait(Duration::from_secs(60)).unwrap();
    assert!(mainstay_rt::clock::now().since(started) < Duration::from_secs(30));
    one.heartbeat("a", b"{1}").unwrap();
    one.heartbeat("b", b"{}").unwrap();
    let beats = other.heartbeats().unwrap();
    assert_eq!(
        beats,
        [
            ("a".to_string(), b"{1}".to_vec()),
            ("b".to_string(), b"{}".to_vec())
        ]
    );
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
    let report = verify(&platform.root(), &platform.nodes(&["a"]));
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
        let report = verify(&platform.root(), &platform.nodes(&[]));
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
fn writers_racing_for_positions_leave_one_log() {
    let platform = Platform::new();
    let mut a = platform.opened();
    let mut b = platform.journal("b");
    catch_up_all(&mut b).unwrap();
    let mut epoch = 1;
    for round in 0..40_u64 {
        let (leader, name) = if round % 3 == 0 {
            (&mut b, "b")
        } else {
            (&mut a, "a")
        };
        catch_up_all(leader).unwrap();
        if leader.log().leadership().node == name {
            append_work(leader, epoch, round..round + 2).unwrap();
        } else {
            epoch += 1;
            leader.append(vec![claim(epoch, name)]).unwrap();
        }
    }
    let report = verify(&platform.root(), &platform.nodes(&["a", "b"]));
    assert_eq!(report.findings, []);
    let journal: Journal<LocalFolder> = {
        let mut journal = platform.journal("c");
        catch_up_all(&mut journal).unwrap();
        journal
    };
    assert_eq!(journal.log().end().0, report.entries);
}

const WRITER_FOLDER: &str = "MAINSTAY_TEST_WRITER_FOLDER";

/// Not a test by itself: what the process that is killed below runs.
#[test]
fn writer_process() {
    let Some(folder) = std::env::var_os(WRITER_FOLDER) else {
        return;
    };
    let folder = std::path::PathBuf::from(folder);
    let port = LocalFolder::open(&folder.join("journal")).unwrap();
    let node = NodeFolder::open(&folder.join("hosts/a/node")).unwrap();
    let mut journal = Journal::open(port, node).unwrap();
    catch_up_all(&mut journal).unwrap();
    for number in 0..100_000 {
        append_work(&mut journal, 1, number..number + 1 + number % 7).unwrap();
    }
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_writer_killed_at_any_moment_leaves_a_journal_that_verifies_and_goes_on() {
    let platform = Platform::new();
    drop(platform.opened());
    for _ in 0..5 {
        let parts = part_files(&platform.root()).len();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "coordination::writer_process"])
            .env(WRITER_FOLDER, platform.folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let killed = Killed(child);
        let mut watch = LocalFolder::open(&platform.root()).unwrap();
        let give_up = mainstay_rt::clock::now() + Duration::from_secs(20);
        while part_files(&platform.root()).len() < parts + 20 {
            assert!(
                mainstay_rt::clock::now() < give_up,
                "the writer does not write"
            );
            watch.wait(Duration::from_millis(50)).unwrap();
        }
        drop(killed);
        let report = verify(&platform.root(), &platform.nodes(&["a"]));
        assert_eq!(report.findings, []);
        let mut journal = platform.journal("a");
        catch_up_all(&mut journal).unwrap();
        append_work(&mut journal, 1, 0..1).unwrap();
    }
}

#[test]
fn rates_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let rates = mainstay_storage::rates(folder.path(), 3).unwrap();
    assert_eq!(rates.appends.len(), 3);
    assert!(rates.verify_entries_per_s > 0.0);
}

#[test]
fn a_reader_begins_anywhere() {
    let platform = Platform::new();
    let mut a = platform.opened();
    append_work(&mut a, 1, 0..3).unwrap();
    append_work(&mut a, 1, 3..6).unwrap();
    for from in 0..12 {
        let entries = mainstay_storage::read_entries(&platform.root(), Position(from)).unwrap();
        let positions: Vec<u64> = entries.map(|entry| entry.unwrap().0.0).collect();
        assert_eq!(positions, (from..10).collect::<Vec<u64>>());
    }
}
