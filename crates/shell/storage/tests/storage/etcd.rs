//! What only etcd can do to a journal: members that die, freeze and come back, answers that get lost, parts that move
//! to the archive, leases that end.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Platform, append_work, catch_up_all, claim, endpoint, work};
use mainstay_identity::Identity;
use mainstay_identity::authority::Authority;
use mainstay_record::identity::IdentityFiles;
use mainstay_record::journal::FindingCode;
use mainstay_rt::clock;
use mainstay_storage::{
    AppendError, Coordination, Endpoint, FollowError, Place, PortError, PublishError, verify,
};
use mainstay_testkit::etcd::{Cluster, Line, Tls, or_skip};
use mainstay_testkit::wait::wait_for;
use mainstay_units::{Epoch, Position};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

fn cluster(test: &str, members: u8) -> Option<Cluster> {
    or_skip(test).then(|| Cluster::start(members).unwrap())
}

fn is_sound(platform: &Platform<'_>, entries: u64) {
    let report = verify(&platform.place(), &platform.nodes(&["a", "b", "c"]));
    assert_eq!(report.findings, []);
    assert_eq!(report.entries, entries);
}

/// The answer to an append gets lost: it is sent again to the next member, and recognised as one's own.
#[test]
fn an_append_whose_answer_was_lost_is_made_once() {
    let Some(cluster) = cluster("lost answers", 1) else {
        return;
    };
    let platform = Platform::in_etcd(&cluster, "lost");
    let line = Line::to(cluster.address(0)).unwrap();
    let both = vec![endpoint(line.address()), endpoint(cluster.address(0))];
    let mut a = platform.opened_at(&Place::Etcd(platform.etcd_place(both)));
    line.swallow_answers();
    append_work(&mut a, 1, 0..3).unwrap();
    assert_eq!(a.log().end(), Position(7));
    is_sound(&platform, 7);
}

/// Nobody answers: whether it was appended is not known, until it is read. Either way nothing is there twice.
#[test]
fn an_append_of_unknown_outcome_is_read_back() {
    let Some(cluster) = cluster("appends of unknown outcome", 1) else {
        return;
    };
    let platform = Platform::in_etcd(&cluster, "unknown");
    let line = Line::to(cluster.address(0)).unwrap();
    let only = Place::Etcd(platform.etcd_place(vec![endpoint(line.address())]));
    let mut a = platform.opened_at(&only);
    line.swallow_answers();
    assert!(matches!(
        append_work(&mut a, 1, 0..3),
        Err(AppendError::Publish(PublishError::Unknown { .. }))
    ));
    assert_eq!(a.log().end(), Position(4), "it does not know");
    assert!(matches!(
        a.catch_up(),
        Err(FollowError::Port(PortError::Refused(_)))
    ));
    line.pass();
    let read = catch_up_all(&mut a).unwrap();
    assert_eq!(read.len(), 3, "it was there, and is read once");
    append_work(&mut a, 1, 3..4).unwrap();
    is_sound(&platform, 8);

    // Another node takes the position meanwhile: it is seen to be another's.
    let mut b = platform.journal("b");
    catch_up_all(&mut b).unwrap();
    b.append(vec![claim(2, "b")]).unwrap();
    assert!(matches!(
        append_work(&mut a, 1, 4..5),
        Err(AppendError::Publish(PublishError::Taken(Position(8))))
    ));
    is_sound(&platform, 9);
}

#[test]
fn a_member_that_dies_or_freezes_is_passed_over() {
    let Some(mut cluster) = cluster("members that die", 3) else {
        return;
    };
    let addresses = cluster.addresses();
    let endpoints = || addresses.iter().copied().map(endpoint).collect();
    let mut entries = 4;
    let platform_place = {
        let platform = Platform::in_etcd(&cluster, "members");
        let place = Place::Etcd(platform.etcd_place(endpoints()));
        let a = platform.opened_at(&place);
        (platform.folder, place, a)
    };
    let (folder, place, mut a) = platform_place;
    let mut append = |count: u64| {
        wait_for("an append", PATIENCE, || {
            match append_work(&mut a, 1, entries..entries + count) {
                Ok(_) => Some(()),
                Err(AppendError::Publish(
                    PublishError::Unknown { .. } | PublishError::Refused(_),
                )) => {
                    // Read before going on, as a node does.
                    if let Ok(read) = catch_up_all(&mut a) {
                        assert!(read.is_empty() || read.len() as u64 == count, "{read:?}");
                        return (!read.is_empty()).then_some(());
                    }
                    None
                }
                Err(error) => panic!("{error:?}"),
            }
        })
        .unwrap();
        entries += count;
    };
    append(2);
    for index in 0..3 {
        cluster.kill(index);
        append(1);
        cluster.restart(index).unwrap();
        cluster.wait_member_ready(index).unwrap();
        append(1);
        cluster.freeze(index).unwrap();
        append(1);
        cluster.thaw(index).unwrap();
        append(1);
    }
    // Each member by itself tells the whole journal, however long it was away.
    for address in &addresses {
        let Place::Etcd(mut alone) = place.clone() else {
            panic!("it stands in etcd");
        };
        alone.endpoints = vec![endpoint(*address)];
        let nodes = [("a".to_string(), folder.path().join("hosts/a/node"))];
        let report = verify(&Place::Etcd(alone), &nodes);
        assert_eq!(report.findings, []);
        assert_eq!(report.entries, 18);
    }
}

/// Two of three are gone: nothing can be read or written, also not from the third; what comes back is what was.
#[test]
fn without_a_quorum_nothing_is_told_and_nothing_is_invented() {
    let Some(mut cluster) = cluster("the loss of the quorum", 3) else {
        return;
    };
    let addresses = cluster.addresses();
    let (folder, place, mut a, mut b) = {
        let platform = Platform::in_etcd(&cluster, "quorum");
        let endpoints = addresses.iter().copied().map(endpoint).collect();
        let place = Place::Etcd(platform.etcd_place(endpoints));
        let mut a = platform.opened_at(&place);
        append_work(&mut a, 1, 0..3).unwrap();
        let mut b = platform.journal("b");
        catch_up_all(&mut b).unwrap();
        (platform.folder, place, a, b)
    };
    cluster.freeze(1).unwrap();
    cluster.freeze(2).unwrap();
    let refused = |error: FollowError| matches!(error, FollowError::Port(PortError::Refused(_)));
    // The third may have been the leader and need a moment to notice; it must not answer by itself.
    let mut appended = Vec::new();
    for _ in 0..3 {
        appended.push(append_work(&mut a, 1, 3..4));
        assert!(refused(b.catch_up().unwrap_err()));
        assert!(a.port().heartbeat("a", b"{}").is_err());
    }
    for outcome in &appended {
        let unknown = matches!(
            outcome,
            Err(AppendError::Publish(PublishError::Unknown { .. }))
        );
        assert!(unknown, "{appended:?}");
    }
    let report = verify(&place, &[]);
    assert_eq!(report.findings[0].code, FindingCode::Unreadable);

    cluster.thaw(1).unwrap();
    cluster.thaw(2).unwrap();
    // The attempts of before may be carried out after all, also when the quorum has been back for a while; all of them once.
    let (mut read, mut appended) = (Vec::new(), None);
    wait_for("an append", PATIENCE, || {
        read.extend(catch_up_all(&mut a).ok()?);
        appended = append_work(&mut a, 1, 4..5).ok();
        appended
    })
    .unwrap();
    let repeated = read.iter().filter(|(_, entry)| *entry == work(1, 3));
    assert!(repeated.count() <= 1, "{read:?}");
    let end = 7 + read.len() as u64;
    assert_eq!(appended.unwrap().first, Position(end), "without a gap");
    let nodes = ["a", "b"].map(|node| {
        let node_folder = folder.path().join("hosts").join(node).join("node");
        (node.to_string(), node_folder)
    });
    let report = verify(&place, &nodes);
    assert_eq!(report.findings, []);
    assert_eq!(report.entries, end + 1);
    assert_eq!(catch_up_all(&mut b).unwrap().len() as u64, end + 1 - 7);
}

#[test]
fn sealed_parts_move_to_the_archive_and_are_read_from_there() {
    let Some(cluster) = cluster("the archive", 1) else {
        return;
    };
    let platform = Platform::in_etcd(&cluster, "archive");
    let mut a = platform.opened();
    let mut late = platform.journal("c");
    let mut frozen = platform.journal("b");
    catch_up_all(&mut frozen).unwrap();
    frozen.append(vec![claim(2, "b")]).unwrap();
    catch_up_all(&mut a).unwrap();
    a.append(vec![claim(3, "a")]).unwrap();
    for number in 0..300 {
        append_work(&mut a, 3, number..number + 1).unwrap();
    }
    let mut etcd = platform.etcd();
    let mut moved = 0;
    while let went @ 1.. = etcd.archive_sealed(10).unwrap() {
        moved += went;
    }
    assert_eq!(moved, 293);
    assert_eq!(etcd.archive_sealed(10).unwrap(), 0);
    let parts = cluster.ask(
        "/v3/kv/range",
        &json!({
            "key": "L21haW5zdGF5L2FyY2hpdmUvcGFydHMv",
            "range_end": "L21haW5zdGF5L2FyY2hpdmUvcGFydHMw",
            "count_only": true,
        }),
    );
    assert_eq!(parts.unwrap()["count"], "10");
    is_sound(&platform, 306);
    assert_eq!(catch_up_all(&mut late).unwrap().len(), 306);
    let from = mainstay_storage::read_entries(&platform.place(), Position(4)).unwrap();
    assert_eq!(from.count(), 302);
    // Whoever froze at a position that was archived since finds it taken, though nothing stands there in etcd.
    assert!(matches!(
        append_work(&mut frozen, 2, 0..1),
        Err(AppendError::Publish(PublishError::Taken(Position(5))))
    ));
    append_work(&mut a, 3, 300..301).unwrap();

    let archived = |position: u64| platform.root().join(format!("parts/{position:020}.part"));
    let whole = fs::read(archived(7)).unwrap();
    let bent = String::from_utf8(whole.clone()).unwrap();
    let bent = bent.replace(r#""number":1"#, r#""number":2"#);
    fs::write(archived(7), bent).unwrap();
    let found = |code, at| {
        let report = verify(&platform.place(), &platform.nodes(&["a"]));
        assert_eq!(
            (report.findings[0].code, report.findings[0].position),
            (code, Some(at))
        );
    };
    found(FindingCode::Chain, 7);
    fs::remove_file(archived(7)).unwrap();
    found(FindingCode::Missing, 7);
    assert!(matches!(
        catch_up_all(&mut platform.journal("z")),
        Err(FollowError::Port(PortError::Io { .. }))
    ));
    fs::write(archived(7), whole).unwrap();
    is_sound(&platform, 307);
}

/// Etcd that was made anew has an empty place for the first part: nobody may begin a second journal there.
#[test]
fn an_etcd_that_lost_everything_is_not_written_to() {
    let Some(cluster) = cluster("an etcd that was made anew", 1) else {
        return;
    };
    let platform = Platform::in_etcd(&cluster, "anew");
    let mut a = platform.opened();
    for number in 0..20 {
        append_work(&mut a, 1, number..number + 1).unwrap();
    }
    platform.etcd().archive_sealed(5).unwrap();
    platform.wipe_etcd();
    assert!(matches!(
        append_work(&mut a, 1, 20..21),
        Err(AppendError::Publish(PublishError::Refused(_)))
    ));
    assert!(matches!(
        a.catch_up(),
        Err(FollowError::Port(PortError::Io { .. }))
    ));
    // Also whoever never saw it: the archive tells that there was a journal.
    let mut z = platform.journal("z");
    assert!(catch_up_all(&mut z).is_err());
    let report = verify(&platform.place(), &platform.nodes(&["a"]));
    assert_eq!(report.findings[0].code, FindingCode::RolledBack);
}

#[test]
fn a_lease_that_ended_is_replaced() {
    let Some(cluster) = cluster("leases", 1) else {
        return;
    };
    let platform = Platform::in_etcd(&cluster, "leases");
    let mut port = platform.place().open().unwrap();
    port.heartbeat("a", b"{}").unwrap();
    let leases = cluster.ask("/v3/lease/leases", &json!({})).unwrap();
    let id = leases["leases"][0]["ID"].as_str().unwrap();
    cluster
        .ask("/v3/lease/revoke", &json!({ "ID": id }))
        .unwrap();
    assert!(
        port.heartbeats().unwrap().is_empty(),
        "it goes with its lease"
    );
    port.heartbeat("a", b"{1}").unwrap();
    assert_eq!(
        port.heartbeats().unwrap(),
        [("a".to_string(), b"{1}".to_vec())]
    );
}

/// History that is compacted away, and a watch that is cut off with it, take nothing from the journal.
#[test]
fn compaction_takes_nothing() {
    let Some(cluster) = cluster("compaction", 1) else {
        return;
    };
    let platform = Platform::in_etcd(&cluster, "compaction");
    let mut a = platform.opened();
    let mut b = platform.journal("b");
    for number in 0..10 {
        append_work(&mut a, 1, number..number + 1).unwrap();
        a.port().heartbeat("a", b"{}").unwrap();
    }
    let now = cluster
        .ask("/v3/kv/range", &json!({ "key": "AA==" }))
        .unwrap();
    let revision = now["header"]["revision"].as_str().unwrap();
    let body = json!({ "revision": revision, "physical": true });
    cluster.ask("/v3/kv/compaction", &body).unwrap();
    b.wait(Duration::from_millis(10)).unwrap();
    assert_eq!(catch_up_all(&mut b).unwrap().len(), 14);
    append_work(&mut a, 1, 10..11).unwrap();
    is_sound(&platform, 15);
}

/// Etcd that is full takes nothing more and says so; the journal stays as it is, and goes on when there is room.
#[test]
fn a_full_etcd_refuses_and_the_journal_stays() {
    if !or_skip("an etcd that is full") {
        return;
    }
    let full = ["--quota-backend-bytes=2097152"];
    let cluster = Cluster::start_with(1, &full, None).unwrap();
    let platform = Platform::in_etcd(&cluster, "full");
    let mut a = platform.opened();
    let long = "x".repeat(50_000);
    let refused = wait_for("etcd to be full", PATIENCE, || {
        let body = format!(r#"{{"number":0,"why":"{long}"}}"#);
        let entries = (0..4).map(|_| crate::common::entry("work.done", 1, &body));
        a.append(entries.collect()).err()
    });
    let AppendError::Publish(PublishError::Refused(why)) = refused.unwrap() else {
        panic!("it says that it is full");
    };
    assert!(why.contains("space exceeded"), "{why}");
    let end = a.log().end();
    // What it refused is not there.
    assert!(catch_up_all(&mut a).unwrap().is_empty());
    assert_eq!(a.log().end(), end);
    is_sound(&platform, end.0);
}

/// Both sides show certificates of the platform's authority, on the ports of clients and of members.
#[test]
fn members_and_nodes_prove_who_they_are() {
    if !or_skip("etcd with certificates") {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new(&files.path().join("authority"), "test");
    let lay = |name: &str, also: &[String]| {
        let leaf = authority.issue_for(name, also, clock::wall_ms()).unwrap();
        let own = files.path().join(format!("{name}.pem"));
        fs::write(&own, leaf.pem).unwrap();
        own
    };
    let members = |addresses: &[std::net::Ipv4Addr]| {
        let mut also: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        // A member believes another one only if it comes from an address of its certificate.
        also.push("127.0.0.1".to_owned());
        Tls {
            own: lay("etcd.test", &also),
            roots: authority.roots(),
        }
    };
    let cluster = Cluster::start_with(3, &[], Some(&members)).unwrap();
    let identity = |own, roots| {
        let files = IdentityFiles { own, roots };
        Some(Arc::new(Identity::read(files).unwrap()))
    };
    let platform = Platform::in_etcd(&cluster, "tls");
    let addresses = cluster.addresses();
    let place_for = |identity: Option<Arc<Identity>>, name: &str| {
        let endpoints = addresses.iter().map(|address| Endpoint {
            prove: Some(name.to_owned()),
            ..endpoint(*address)
        });
        let mut place = platform.etcd_place(endpoints.collect());
        place.identity = identity;
        Place::Etcd(place)
    };
    let own = identity(lay("node.test", &[]), authority.roots());
    let place = place_for(own.clone(), "etcd.test");
    let mut port = place.open().unwrap();
    let answered = wait_for("etcd to answer", PATIENCE, || {
        port.read_from(Position(0)).ok()
    });
    assert!(
        answered.is_ok(),
        "{:?}\n{}",
        port.read_from(Position(0)),
        cluster.log(0)
    );
    let mut a = platform.opened_with(&place, &place);
    append_work(&mut a, 1, 0..3).unwrap();
    assert_eq!(verify(&place, &[]).findings, []);

    // A stranger has a certificate of another authority; a member must have its own name.
    let other = Authority::new(&files.path().join("other"), "test");
    let leaf = other.issue("node.test", clock::wall_ms()).unwrap();
    let strange = files.path().join("strange.pem");
    fs::write(&strange, leaf.pem).unwrap();
    let stranger = identity(strange, authority.roots());
    for place in [
        place_for(stranger, "etcd.test"),
        place_for(own, "other.test"),
        place_for(None, "etcd.test"),
    ] {
        let read = place.open().unwrap().read_from(Position(0));
        assert!(matches!(read, Err(PortError::Refused(_))), "{read:?}");
    }
    // Nor is it told anything in the clear.
    let clear = Place::Etcd(platform.etcd_place(addresses.iter().copied().map(endpoint).collect()));
    assert!(clear.open().unwrap().read_from(Position(0)).is_err());
}

#[test]
fn epochs_go_on_over_a_change_of_members() {
    let Some(mut cluster) = cluster("leadership over a lost member", 3) else {
        return;
    };
    let addresses = cluster.addresses();
    let (place, folder, mut a, mut b) = {
        let platform = Platform::in_etcd(&cluster, "epochs");
        let endpoints = addresses.iter().copied().map(endpoint).collect();
        let place = Place::Etcd(platform.etcd_place(endpoints));
        let a = platform.opened_at(&place);
        let b = platform.journal_at(&place, "b");
        (place, platform.folder, a, b)
    };
    cluster.kill(0);
    // Region 1 is gone, with the member that was asked first.
    wait_for("another member", PATIENCE, || catch_up_all(&mut b).ok()).unwrap();
    wait_for("a claim", PATIENCE, || {
        b.append(vec![claim(2, "b"), work(2, 0)]).ok()
    })
    .unwrap();
    // The leader of before comes back with what it had in hand.
    assert!(matches!(
        append_work(&mut a, 1, 0..1),
        Err(AppendError::Publish(PublishError::Taken(Position(4))))
    ));
    catch_up_all(&mut a).unwrap();
    assert_eq!(a.log().leadership().epoch, Epoch(2));
    let nodes = [("b".to_string(), folder.path().join("hosts/b/node"))];
    assert!(verify(&place, &nodes).is_sound());
}
