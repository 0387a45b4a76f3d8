//! The authority's whole life, and connections between those whom it named.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_identity::authority::{Authority, AuthorityError, LEAF_LIFETIME};
use mainstay_identity::files::{Leaves, SETTLING};
use mainstay_identity::{Identity, Peer, check};
use mainstay_record::identity::{IdentityFiles, WantedLeaf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HOUR_MS: u64 = 3_600_000;
const ALICE: &str = "keeper-ledger.use1-a.exchange.mainstay";
const BOB: &str = "keeper-ledger.usw2-a.exchange.mainstay";
/// For everything that is waited for.
const LIMIT: Duration = Duration::from_secs(30);

struct Stage {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(&folder.path().join("authority"), "exchange");
        Self { folder, authority }
    }

    fn lay(&self, file: &str, name: &str, now_ms: u64) -> PathBuf {
        let leaf = self.authority.issue(name, now_ms).expect("a leaf");
        let path = self.folder.path().join(file);
        mainstay_rt::files::write_atomic(&path, leaf.pem.as_bytes()).expect("write");
        path
    }

    fn open(&self, own: &Path) -> Arc<Identity> {
        let files = IdentityFiles {
            own: own.to_owned(),
            roots: self.authority.roots(),
        };
        Identity::open(files).expect("an identity")
    }

    fn identity(&self, file: &str, name: &str) -> Arc<Identity> {
        self.open(&self.lay(file, name, now()))
    }
}

fn now() -> u64 {
    mainstay_rt::clock::wall_ms()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(LIMIT, work).await.expect("in time") })
}

/// A word from the one who calls to the one who is called, who says whom he met.
async fn meet(caller: &Identity, called: &Identity, name: &str) -> std::io::Result<Peer> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let call = async {
        let mut stream = caller.connect(near, name).await?;
        stream.write_all(b"word").await?;
        stream.flush().await?;
        // The other side refuses after our own handshake is done: only its answer says that we are believed.
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await
    };
    let answer = async {
        let (mut stream, peer) = called.accept(far).await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.flush().await?;
        Ok(peer)
    };
    let (called, answered) = tokio::join!(call, answer);
    called?;
    answered
}

#[test]
fn both_sides_prove_who_they_are() {
    let stage = Stage::new();
    let (alice, bob) = (stage.identity("a", ALICE), stage.identity("b", BOB));
    run(async {
        let peer = meet(&alice, &bob, BOB).await.expect("they know each other");
        assert!(peer.is(ALICE) && !peer.is(BOB) && !peer.is(""));
        let error = meet(&alice, &bob, ALICE).await;
        assert!(error.is_err(), "whoever answers has another name");
    });
}

#[test]
fn a_stranger_is_refused_by_both_sides() {
    let (stage, elsewhere) = (Stage::new(), Stage::new());
    let alice = stage.identity("a", ALICE);
    let stranger = elsewhere.identity("b", BOB);
    run(async {
        assert!(meet(&alice, &stranger, BOB).await.is_err());
        assert!(meet(&stranger, &alice, ALICE).await.is_err());
        // Even one who trusts us, and has a leaf of another authority only.
        let files = IdentityFiles {
            own: elsewhere.folder.path().join("b"),
            roots: stage.authority.roots(),
        };
        let naive = Identity::open(files).expect("an identity");
        assert!(meet(&naive, &alice, ALICE).await.is_err());
        // And one who speaks no TLS at all.
        let (mut near, far) = tokio::io::duplex(1 << 16);
        near.write_all(b"GET /v1/status HTTP/1.1\r\n\r\n")
            .await
            .expect("written");
        assert!(alice.accept(far).await.is_err());
    });
}

#[test]
fn a_leaf_ends() {
    let stage = Stage::new();
    let alice = stage.identity("a", ALICE);
    let day = LEAF_LIFETIME.as_millis() as u64;
    let late = stage.open(&stage.lay("b", BOB, now() - day - HOUR_MS));
    run(async {
        assert!(meet(&alice, &late, BOB).await.is_err());
        assert!(meet(&late, &alice, ALICE).await.is_err());
    });
}

#[test]
fn the_key_is_made_once_and_for_its_owner_alone() {
    let stage = Stage::new();
    let signer = stage.authority.keep(now()).expect("made");
    let mode = || {
        let metadata = std::fs::metadata(stage.authority.key()).expect("a key");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(), 0o600);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(stage.authority.key(), open).expect("opened");
    assert_eq!(stage.authority.keep(now()).expect("kept"), signer);
    assert_eq!(mode(), 0o600, "shut again");
    let other = Authority::new(&stage.folder.path().join("authority"), "another");
    let error = other.keep(now()).expect_err("of another platform");
    assert!(matches!(error, AuthorityError::OtherPlatform { .. }));
}

/// Lost, or moved away on purpose: what runs goes on, and the old root goes when its last leaf has ended.
#[test]
fn another_key_cuts_nobody_off() {
    let stage = Stage::new();
    let alice = stage.identity("a", ALICE);
    let first = stage.authority.keep(now()).expect("kept");
    let old_bob = stage.lay("b", BOB, now());
    std::fs::remove_file(stage.authority.key()).expect("lost");
    let second = stage.authority.keep(now()).expect("kept");
    assert_ne!(first.signer, second.signer);
    assert_eq!(second.believed, [first.signer, second.signer.clone()]);
    let carol = stage.identity("c", "node.euw1-a.exchange.mainstay");
    let bob = stage.open(&old_bob);
    run(async {
        // Alice reads the new root by herself.
        while meet(&alice, &carol, "node.euw1-a.exchange.mainstay")
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let caller = meet(&carol, &alice, ALICE).await.expect("a new leaf");
        assert!(caller.is("node.euw1-a.exchange.mainstay"));
        meet(&bob, &carol, "node.euw1-a.exchange.mainstay")
            .await
            .expect("an old leaf calls a new one");
    });
    let later = now() + LEAF_LIFETIME.as_millis() as u64 + 2 * HOUR_MS;
    let third = stage.authority.keep(later).expect("kept");
    assert_eq!(third.believed, [second.signer]);
    let (carol, bob) = (
        stage.open(&stage.folder.path().join("c")),
        stage.open(&old_bob),
    );
    run(async {
        let refused = meet(&carol, &bob, BOB).await;
        assert!(refused.is_err(), "its root is forgotten");
    });
}

#[test]
fn a_lost_record_is_written_anew_and_damage_is_told() {
    let stage = Stage::new();
    let first = stage.authority.keep(now()).expect("kept");
    let alice = stage.lay("a", ALICE, now());
    let record = stage.folder.path().join("authority/authority.json");
    std::fs::remove_file(&record).expect("lost");
    assert_eq!(stage.authority.keep(now()).expect("kept"), first);
    let (alice, bob) = (stage.open(&alice), stage.identity("b", BOB));
    run(async {
        meet(&alice, &bob, BOB).await.expect("the key is the same");
    });
    std::fs::write(&record, "{").expect("damaged");
    let error = stage.authority.keep(now()).expect_err("damaged");
    assert!(matches!(error, AuthorityError::Record { .. }));
    std::fs::remove_file(&record).expect("moved away");
    std::fs::write(stage.authority.key(), "no key").expect("damaged");
    let error = stage.authority.keep(now()).expect_err("damaged");
    assert!(matches!(error, AuthorityError::Key { .. }));
    assert!(!format!("{error:?} {error}").contains("no key"));
}

#[test]
fn a_new_leaf_is_taken_without_a_restart_and_a_bad_one_is_not() {
    let stage = Stage::new();
    let (alice, bob) = (stage.identity("a", ALICE), stage.identity("b", BOB));
    run(async {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (opened, accepted) = tokio::join!(alice.connect(near, BOB), bob.accept(far));
        let (mut opened, (mut accepted, _)) = (opened.expect("open"), accepted.expect("open"));
        let other = "keeper-ledger.euw1-a.exchange.mainstay";
        stage.lay("b", other, now());
        while meet(&alice, &bob, other).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        opened.write_all(b"on").await.expect("still open");
        opened.flush().await.expect("still open");
        let mut word = [0; 2];
        accepted.read_exact(&mut word).await.expect("still open");
        std::fs::write(stage.folder.path().join("b"), "damaged").expect("written");
        stage.lay("a", "node.use1-a.exchange.mainstay", now());
        // By then the damaged file was looked at as often as the good one.
        while !matches!(meet(&alice, &bob, other).await, Ok(peer) if peer.is("node.use1-a.exchange.mainstay"))
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn leaves_are_renewed_when_due() {
    let stage = Stage::new();
    let path = stage.folder.path().join("hosts/use1-a/keeper.pem");
    let mut wanted = [WantedLeaf {
        name: ALICE.to_owned(),
        also: Vec::new(),
        path: path.clone(),
    }];
    let mut leaves = Leaves::new(stage.authority.clone());
    let begun = now();
    let mut renewed = |after_ms: u64| leaves.renew(&wanted, begun + after_ms).expect("renewed");
    assert_eq!((renewed(0), renewed(1), renewed(7 * HOUR_MS)), (1, 0, 0));
    assert_eq!((renewed(8 * HOUR_MS), renewed(8 * HOUR_MS + 1)), (1, 0));
    std::fs::remove_file(&path).expect("lost");
    assert_eq!(renewed(8 * HOUR_MS + 2), 1);
    std::fs::remove_file(stage.authority.key()).expect("lost");
    let settled = 8 * HOUR_MS + 4 + SETTLING.as_millis() as u64;
    assert_eq!((renewed(8 * HOUR_MS + 4), renewed(settled)), (0, 1));
    assert_eq!(
        (renewed(settled + 1), renewed(0)),
        (0, 1),
        "a clock set back"
    );
    // Stolen: nothing that it signed is believed from now on.
    let all = stage.folder.path().join("authority");
    std::fs::rename(&all, stage.folder.path().join("stolen")).expect("moved away");
    assert_eq!(renewed(1), 1, "at once");
    let mode = std::fs::metadata(&path).expect("laid").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    wanted[0].also.push("127.0.0.7".to_owned());
    let mut renewed = || leaves.renew(&wanted, begun).expect("renewed");
    assert_eq!((renewed(), renewed()), (1, 0), "it is to prove more");
}

#[test]
fn a_leaf_that_cannot_be_laid_down_does_not_keep_the_others_from_it() {
    let stage = Stage::new();
    let wanted = ["a.pem", "b.pem", "c.pem"].map(|name| WantedLeaf {
        name: ALICE.to_owned(),
        also: Vec::new(),
        path: stage.folder.path().join("hosts").join(name),
    });
    // A folder stands where the first one goes.
    std::fs::create_dir_all(wanted[0].path.join("in-the-way")).expect("made");
    let mut leaves = Leaves::new(stage.authority.clone());
    let refused = leaves.renew(&wanted, now()).expect_err("the first fails");
    assert!(format!("{refused}").contains("a.pem"), "{refused}");
    assert!(wanted[1].path.is_file() && wanted[2].path.is_file());
    std::fs::remove_dir_all(&wanted[0].path).expect("out of the way");
    assert_eq!(leaves.renew(&wanted, now()).expect("renewed"), 1);
}

#[test]
fn a_leaf_proves_all_its_names_and_addresses() {
    let stage = Stage::new();
    let also = ["ledger.exchange.mainstay", "127.0.0.7"].map(str::to_owned);
    let leaf = stage.authority.issue_for(ALICE, &also, now());
    let path = stage.folder.path().join("server.pem");
    mainstay_rt::files::write_atomic(&path, leaf.expect("a leaf").pem.as_bytes()).expect("write");
    let (server, client) = (stage.open(&path), stage.identity("bob.pem", BOB));
    run(async {
        for name in [ALICE, &also[0], &also[1]] {
            assert!(meet(&client, &server, name).await.is_ok(), "{name}");
        }
        for name in [BOB, "127.0.0.8", "exchange.mainstay"] {
            assert!(meet(&client, &server, name).await.is_err(), "{name}");
        }
    });
}

#[test]
fn what_cannot_be_used_is_told_before_it_is() {
    let stage = Stage::new();
    let path = stage.lay("a.pem", ALICE, now());
    let files = IdentityFiles {
        own: path.clone(),
        roots: stage.authority.roots(),
    };
    let (own, roots) = (std::fs::read(&path), std::fs::read(&files.roots));
    let (own, roots) = (own.expect("read"), roots.expect("read"));
    assert!(check(&files, &own, &roots).is_ok());
    let other = std::fs::read(stage.lay("b.pem", BOB, now())).expect("read");
    let at = own.windows(16).position(|part| part == b"-----BEGIN CERTI");
    let key_alone = &own[..at.expect("a certificate")];
    let at = other
        .windows(16)
        .position(|part| part == b"-----BEGIN CERTI");
    let mixed = [key_alone, &other[at.expect("a certificate")..]].concat();
    for damaged in [&b""[..], key_alone, &own[..own.len() / 2], &mixed] {
        assert!(check(&files, damaged, &roots).is_err());
    }
    assert!(check(&files, &own, b"").is_err(), "believes nobody");
}
