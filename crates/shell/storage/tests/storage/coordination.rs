//! Following, leading, losing the lead, and what a crash leaves behind.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Platform, append_work, catch_up_all, claim, endpoint, entry, work};
use mainstay_record::journal::FindingCode;
use mainstay_storage::{
    AppendError, ArchiveFolder, Coordination, EtcdPlace, FollowError, Journal, NodeFolder, Place,
    PublishError, verify,
};
use mainstay_units::{Epoch, Position};

pub fn a_thawed_leader_finds_its_position_taken(platform: &Platform<'_>) {
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
    let report = verify(&platform.place(), &platform.nodes(&["a", "b", "c"]));
    assert_eq!(report.findings, []);
    assert_eq!((report.entries, report.epoch), (10, 2));
    assert_eq!(report.vouched.len(), 2);
}

pub fn of_two_openers_one_wins(platform: &Platform<'_>) {
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

pub fn a_rolled_back_journal_is_noticed_by_who_saw_more(platform: &Platform<'_>) {
    let mut a = platform.opened();
    append_work(&mut a, 1, 0..3).unwrap();
    append_work(&mut a, 1, 3..4).unwrap();
    platform.roll_back(Position(7));
    let error = catch_up_all(&mut platform.journal("a")).unwrap_err();
    assert!(matches!(
        error,
        FollowError::RolledBack {
            end: Position(7),
            remembered: 8
        }
    ));
    let report = verify(&platform.place(), &platform.nodes(&["a", "b"]));
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].code, FindingCode::RolledBack);
    // Who saw nothing yet cannot notice: b follows.
    assert_eq!(catch_up_all(&mut platform.journal("b")).unwrap().len(), 7);
}

pub fn what_was_followed_before_an_error_is_handed_out_all_the_same(platform: &Platform<'_>) {
    let mut a = platform.opened();
    append_work(&mut a, 1, 0..3).unwrap();
    append_work(&mut a, 1, 3..4).unwrap();
    let (last, whole) = platform.parts().pop().unwrap();
    platform.damage(last, &whole[..whole.len() / 2]);
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
    platform.damage(last, &whole);
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

pub fn a_journal_written_anew_is_noticed(platform: &Platform<'_>) {
    let mut a = platform.opened();
    append_work(&mut a, 1, 0..3).unwrap();
    platform.wipe();
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
    let report = verify(&platform.place(), &platform.nodes(&["a"]));
    assert_eq!(report.findings[0].code, FindingCode::Rewritten);
}

pub fn a_port_out_of_reach_is_neither_read_nor_written(platform: &Platform<'_>) {
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

pub fn beats_are_heard_and_wake_a_waiter(platform: &Platform<'_>) {
    let mut one = platform.place().open().unwrap();
    let mut other = platform.place().open().unwrap();
    one.heartbeat("a", b"{}").unwrap();
    // Whoever waits looks again after it was woken, and waits again if there is nothing.
    let started = mainstay_rt::clock::now();
    while other.heartbeats().unwrap() != [("a".to_string(), b"{}".to_vec())] {
        other.wait(Duration::from_secs(60)).unwrap();
    }
    let place = platform.place();
    let speaker = std::thread::spawn(move || {
        let mut other = place.open().unwrap();
        for number in 0_u32..20 {
            other.wait(Duration::from_millis(20)).unwrap();
            other.heartbeat("b", &number.to_be_bytes()).unwrap();
        }
    });
    // Each wait would hang for a minute if nothing woke it.
    let last = ("b".to_string(), 19_u32.to_be_bytes().to_vec());
    while !other.heartbeats().unwrap().contains(&last) {
        other.wait(Duration::from_secs(60)).unwrap();
    }
    assert!(mainstay_rt::clock::now().since(started) < Duration::from_secs(30));
    speaker.join().unwrap();
    one.heartbeat("a", b"{1}").unwrap();
    assert_eq!(
        other.heartbeats().unwrap(),
        [("a".to_string(), b"{1}".to_vec()), last]
    );
}

/// All of them together are more than one answer may carry.
pub fn beats_as_large_as_they_may_be_are_heard(platform: &Platform<'_>) {
    let mut port = platform.place().open().unwrap();
    let beat = vec![b'x'; port.beat_bytes_max()];
    for node in ["a", "b", "c", "d", "e"] {
        port.heartbeat(node, &beat).unwrap();
    }
    let heard = port.heartbeats().unwrap();
    assert_eq!(heard.len(), 5);
    assert!(heard.iter().all(|(_, heard)| *heard == beat));
}

pub fn parts_of_several_megabytes_are_appended(platform: &Platform<'_>) {
    let mut a = platform.opened();
    let long = format!(r#"{{"number":0,"why":"{}"}}"#, "x".repeat(60_000));
    let entries = (0..60).map(|_| entry("work.done", 1, &long)).collect();
    a.append(entries).unwrap();
    append_work(&mut a, 1, 0..1).unwrap();
    assert_eq!(catch_up_all(&mut platform.journal("b")).unwrap().len(), 65);
    let report = verify(&platform.place(), &platform.nodes(&["a", "b"]));
    assert_eq!(report.findings, []);
}

pub fn writers_racing_for_positions_leave_one_log(platform: &Platform<'_>) {
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
    let report = verify(&platform.place(), &platform.nodes(&["a", "b"]));
    assert_eq!(report.findings, []);
    let mut journal = platform.journal("c");
    catch_up_all(&mut journal).unwrap();
    assert_eq!(journal.log().end().0, report.entries);
}

/// Three nodes at once: whoever finds its position taken follows and claims.
pub fn writers_on_threads_leave_one_log(platform: &Platform<'_>) {
    drop(platform.opened());
    std::thread::scope(|scope| {
        for node in ["a", "b", "c"] {
            let mut journal = platform.journal(node);
            scope.spawn(move || {
                for number in 0..12 {
                    catch_up_all(&mut journal).unwrap();
                    let leads = journal.log().leadership().clone();
                    let batch = match leads.node == node {
                        true => vec![work(leads.epoch.0, number)],
                        false => {
                            let epoch = leads.epoch.0 + 1;
                            vec![claim(epoch, node), work(epoch, number)]
                        }
                    };
                    match journal.append(batch) {
                        Ok(_) | Err(AppendError::Publish(PublishError::Taken(_))) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
        }
    });
    let report = verify(&platform.place(), &platform.nodes(&["a", "b", "c"]));
    assert_eq!(report.findings, []);
    assert!(report.entries > 4 + 12, "{}", report.entries);
}

const WRITER_FOLDER: &str = "MAINSTAY_TEST_WRITER_FOLDER";
/// Addresses and a prefix, where the journal stands in etcd.
const WRITER_ETCD: &str = "MAINSTAY_TEST_WRITER_ETCD";

fn writer_place(folder: &Path) -> Place {
    let root = folder.join("journal");
    let Some(etcd) = std::env::var_os(WRITER_ETCD) else {
        return Place::folder(&root);
    };
    let etcd = etcd.into_string().unwrap();
    let (addresses, prefix) = etcd.split_once(' ').unwrap();
    let addresses = addresses.split(',');
    Place::Etcd(EtcdPlace {
        endpoints: addresses
            .map(|address| endpoint(address.parse().unwrap()))
            .collect(),
        identity: None,
        prefix: prefix.to_string(),
        archive: Some(Arc::new(ArchiveFolder::at(&root))),
    })
}

/// Not a test by itself: what the process that is killed below runs.
#[test]
fn writer_process() {
    let Some(folder) = std::env::var_os(WRITER_FOLDER) else {
        return;
    };
    let folder = std::path::PathBuf::from(folder);
    let node = NodeFolder::open(&folder.join("hosts/a/node")).unwrap();
    let port = writer_place(&folder).open().unwrap();
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

pub fn a_writer_killed_at_any_moment_leaves_a_journal_that_verifies_and_goes_on(
    platform: &Platform<'_>,
) {
    drop(platform.opened());
    for _ in 0..5 {
        let mut kept = platform.place().kept().unwrap();
        let mut parts = move || kept.list().unwrap().parts.len();
        let before = parts();
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "coordination::writer_process"])
            .env(WRITER_FOLDER, platform.folder.path())
            .stdout(std::process::Stdio::null());
        if let Some((cluster, prefix)) = &platform.etcd {
            let addresses = cluster.addresses().into_iter();
            let addresses: Vec<String> = addresses.map(|address| address.to_string()).collect();
            command.env(WRITER_ETCD, format!("{} {prefix}", addresses.join(",")));
        }
        let killed = Killed(command.spawn().unwrap());
        let mut watch = platform.place().open().unwrap();
        let give_up = mainstay_rt::clock::now() + Duration::from_secs(20);
        while parts() < before + 20 {
            assert!(
                mainstay_rt::clock::now() < give_up,
                "the writer does not write"
            );
            watch.wait(Duration::from_millis(50)).unwrap();
        }
        drop(killed);
        let report = verify(&platform.place(), &platform.nodes(&["a"]));
        assert_eq!(report.findings, []);
        let mut journal = platform.journal("a");
        catch_up_all(&mut journal).unwrap();
        append_work(&mut journal, 1, 0..1).unwrap();
    }
}

pub fn a_reader_begins_anywhere(platform: &Platform<'_>) {
    let mut a = platform.opened();
    append_work(&mut a, 1, 0..3).unwrap();
    append_work(&mut a, 1, 3..6).unwrap();
    for from in 0..12 {
        let entries = mainstay_storage::read_entries(&platform.place(), Position(from)).unwrap();
        let positions: Vec<u64> = entries.map(|entry| entry.unwrap().0.0).collect();
        assert_eq!(positions, (from..10).collect::<Vec<u64>>());
    }
}
