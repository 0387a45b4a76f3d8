//! The commands against real servers, without a core: each test plays its part.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use mainstay_identity::authority::Authority;
use mainstay_keeper::{
    Command, DataState, Failure, OperationId, Outcome, Rank, ReceiverName, ReplicaId,
    SynchronousStandbys,
};
use mainstay_record::identity::{IdentityFiles, identity_name};
use mainstay_record::keeper::{
    KeeperApplication, KeeperConfig, KeeperListen, KeeperReplica, KeeperSecrets, KeeperTimings,
    VERSION,
};
use mainstay_units::{Incarnation, Term, Timeline};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::commands::perform;
use crate::server::Local;
use crate::setup::Setup;
use crate::wait::until;
use crate::{data, history, process};

/// One server per replica, on addresses that only this test uses.
struct Servers {
    _folder: tempfile::TempDir,
    locals: Vec<Local>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for local in &self.locals {
            for left in process::standing_in(&local.setup.layout.pgdata).unwrap_or_default() {
                process::signal(left, rustix::process::Signal::KILL);
            }
        }
    }
}

const COUNT: u32 = 2;

impl Servers {
    fn new(block: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The server's user must reach what lies below.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let locals = (1..=COUNT)
            .map(|id| {
                let path = folder.path().join(format!("config-{id}.json"));
                let config = config(folder.path(), block, id);
                std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
                let setup = Setup::load(&path).unwrap();
                setup.prepare().unwrap();
                Local::new(Rc::new(setup))
            })
            .collect();
        Self {
            _folder: folder,
            locals,
        }
    }

    async fn run(&mut self, which: usize, command: Command) -> Outcome {
        let (progress, _) = watch::channel(None);
        let text = format!("{command:?}");
        let begun = mainstay_rt::clock::now();
        let outcome = perform(&mut self.locals[which], command, &progress).await;
        let took = mainstay_rt::clock::now().since(begun);
        println!("{which} {took:?} {text} {outcome:?}");
        outcome
    }

    async fn must(&mut self, which: usize, command: Command) {
        let outcome = self.run(which, command).await;
        assert!(!matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }

    async fn rank(&mut self, which: usize) -> Rank {
        match self.run(which, Command::ReadRank).await {
            Outcome::Ranked(rank) => rank,
            other => panic!("{other:?}"),
        }
    }

    async fn sql(&mut self, which: usize, statement: &str) -> String {
        let session = self.locals[which].session().await.unwrap();
        let rows = session
            .ask("test", statement, Duration::from_secs(10))
            .await;
        rows.unwrap()
            .into_iter()
            .flatten()
            .flatten()
            .next()
            .unwrap_or_default()
    }

    /// A session as an application has it.
    async fn application(&self, which: usize) -> Result<crate::sql::Session, crate::sql::SqlError> {
        let setup = &self.locals[which].setup;
        let login = crate::sql::Login {
            socket: &setup.socket(),
            database: &setup.config.application.database,
            user: &setup.config.application.role,
            password: &setup.secrets.application,
        };
        crate::sql::Session::open(login, Duration::from_secs(2)).await
    }

    /// A primary in timeline 3 and a standby that its commits wait for.
    async fn pair(&mut self) {
        self.must(
            0,
            Command::Initialize {
                incarnation: Incarnation(1),
            },
        )
        .await;
        self.must(0, Command::StartStandby).await;
        self.promote(0, 3).await;
        let (source, incarnation) = (ReplicaId(1), Incarnation(2));
        self.must(
            1,
            Command::Rebuild {
                source,
                incarnation,
            },
        )
        .await;
        self.must(1, Command::StartStandby).await;
        self.attach(1, 0, 3, 2).await;
    }

    async fn attach(&mut self, standby: usize, primary: usize, term: u32, incarnation: u128) {
        let name = name(term, standby, incarnation);
        let acknowledge = SynchronousStandbys::Any {
            count: 1,
            names: vec![name],
        };
        self.must(primary, Command::SetSynchronousStandbys(acknowledge))
            .await;
        let source = ReplicaId(primary as u8 + 1);
        self.must(standby, Command::Follow { source, name }).await;
    }

    async fn promote(&mut self, which: usize, timeline: u32) {
        let outcome = self
            .run(
                which,
                Command::Promote {
                    timeline: Timeline(timeline),
                },
            )
            .await;
        let Outcome::Promoted {
            timeline: chosen, ..
        } = outcome
        else {
            panic!("{outcome:?}");
        };
        assert_eq!(chosen, Timeline(timeline));
    }
}

fn name(term: u32, which: usize, incarnation: u128) -> ReceiverName {
    ReceiverName {
        term: Term(term),
        replica: ReplicaId(which as u8 + 1),
        incarnation: Incarnation(incarnation),
    }
}

fn config(folder: &Path, block: u8, id: u32) -> KeeperConfig {
    let secret = |name: &str| {
        let path = folder.join(name);
        mainstay_rt::files::write_atomic(&path, format!("secret-{name}\n").as_bytes()).unwrap();
        path
    };
    let address = |id: u32, port| SocketAddr::from(([127, 202, block, id as u8], port));
    let own = folder.join(format!("r{id}"));
    let programs =
        crate::programs::Programs::find(None, None, user().as_deref(), own.clone(), own.clone());
    let postgres = programs.unwrap().path("postgres");
    let become_user = if user().is_some() {
        "setpriv --reuid postgres --regid postgres --clear-groups"
    } else {
        ""
    };
    let shim = format!(
        "exec setsid {become_user} {} -D {}/pgdata >>{}/log 2>&1",
        postgres.display(),
        own.display(),
        own.display()
    );
    std::fs::create_dir_all(&own).unwrap();
    KeeperConfig {
        version: VERSION,
        platform: "drill".to_owned(),
        database: "orders".to_owned(),
        replica: id,
        replicas: (1..=COUNT)
            .map(|id| KeeperReplica {
                id,
                host: format!("host-{id}"),
                region: format!("region-{id}"),
                peer_address: address(id, 7001),
                postgres_address: address(id, 5432),
            })
            .collect(),
        leaving: Vec::new(),
        copies: 2,
        home: 1,
        listen: KeeperListen {
            peer: address(id, 7001),
            http: address(id, 7002),
            postgres: address(id, 5432),
        },
        pgdata: own.join("pgdata"),
        folder: own.join("keeper"),
        run_folder: own.join("run"),
        control_socket: own.join("control"),
        lease_file: own.join("lease"),
        shim: vec!["/bin/sh".to_owned(), "-c".to_owned(), shim],
        programs: None,
        user: user(),
        secrets: KeeperSecrets {
            superuser: secret("superuser"),
            replication: secret("replication"),
            application: secret("application"),
        },
        identity: Some(identity(folder, "keeper-orders", id)),
        server_identity: Some(identity(folder, "postgres-orders", id)),
        application: KeeperApplication {
            role: "shop".to_owned(),
            database: "shop".to_owned(),
        },
        timings: KeeperTimings::default(),
        filling_rate_kib: None,
        settings: Vec::new(),
    }
}

/// Of an authority of its own folder.
fn identity(folder: &Path, role: &str, id: u32) -> IdentityFiles {
    let authority = Authority::new(&folder.join("authority"), "drill");
    let name = identity_name(role, &format!("host-{id}"), "drill");
    let leaf = authority
        .issue(&name, mainstay_rt::clock::wall_ms())
        .unwrap();
    let own = folder.join(format!("{role}-{id}.pem"));
    mainstay_rt::files::write_atomic(&own, leaf.pem.as_bytes()).unwrap();
    let roots = authority.roots();
    IdentityFiles { own, roots }
}

fn user() -> Option<String> {
    rustix::process::geteuid()
        .is_root()
        .then(|| "postgres".to_owned())
}

fn drill<F: std::future::Future<Output = ()>>(part: F) {
    mainstay_rt::log::init();
    crate::on_this_thread(async {
        tokio::time::timeout(Duration::from_secs(60), part)
            .await
            .unwrap();
    })
    .unwrap();
}

#[test]
fn a_promotion_takes_the_timeline_of_its_term_and_the_old_primary_rejoins_by_rewind() {
    drill(async {
        let mut servers = Servers::new(1);
        servers.pair().await;
        servers.sql(0, "CREATE TABLE t (i int)").await;
        let standby =
            std::fs::metadata(servers.locals[0].setup.layout.pgdata.join("standby.signal"));
        assert!(standby.is_ok(), "put back after the promotion");

        // A standby can be read. Recruited, it leaves, ends its readers, and says what it has.
        let reader = servers.application(1).await.unwrap();
        servers.must(1, Command::Detach).await;
        assert!(
            reader
                .ask("read", "SELECT 1", Duration::from_secs(2))
                .await
                .is_err()
        );
        assert!(servers.application(1).await.is_err(), "nobody is let in");
        let rank = servers.rank(1).await;
        assert_eq!(rank.timeline, Timeline(3));
        // What the old primary writes now is never acknowledged.
        let waits = servers.sql(
            0,
            "SET statement_timeout = 0; SET synchronous_commit = local; INSERT INTO t VALUES (1)",
        );
        waits.await;
        servers.must(0, Command::StopImmediate).await;
        let outcome = servers.run(0, Command::StopImmediate).await;
        assert_eq!(outcome, Outcome::Done, "nothing to stop is done at once");

        servers.promote(1, 6).await;
        servers.must(1, Command::Checkpoint).await;
        // Its log went on beyond where the new history left its timeline: it may not follow.
        servers.must(0, Command::StartStandby).await;
        let (source, name) = (ReplicaId(2), name(6, 0, 7));
        let refused = servers.run(0, Command::Follow { source, name }).await;
        assert_eq!(refused, Outcome::Failed(Failure::Refused));
        servers.must(0, Command::StopImmediate).await;
        let incarnation = Incarnation(7);
        servers
            .must(
                0,
                Command::Rewind {
                    source,
                    incarnation,
                    spare: false,
                },
            )
            .await;
        servers.must(0, Command::StartStandby).await;
        servers.attach(0, 1, 6, 7).await;
        servers.sql(1, "INSERT INTO t VALUES (2)").await;
        assert_eq!(
            servers
                .sql(1, "SELECT string_agg(i::text, ',') FROM t")
                .await,
            "2"
        );
        let DataState::Present { incarnation, .. } = data::state(&servers.locals[0].setup) else {
            panic!("present");
        };
        assert_eq!(incarnation, Some(Incarnation(7)));
    });
}

#[test]
fn a_history_that_was_fetched_and_never_followed_does_not_become_an_ancestor() {
    drill(async {
        let mut servers = Servers::new(2);
        servers.pair().await;
        servers.sql(0, "CREATE TABLE t (i int)").await;
        servers.must(1, Command::Detach).await;
        let rank = servers.rank(1).await;
        // A primary of term 5 began here and died before it wrote anything that reached this replica.
        let setup = Rc::clone(&servers.locals[1].setup);
        let own = std::fs::read(crate::history::path(&setup.layout.pgdata, Timeline(3))).unwrap();
        let content = [&own[..], format!("3\t{}\tx\n", rank.lsn).as_bytes()].concat();
        let give = |path: &Path| setup.programs.give(path);
        crate::history::store(&setup.layout.pgdata, Timeline(5), &content, give).unwrap();
        let shorter = [&own[..], b"3\t0/3000100\tx\n"].concat();
        crate::history::store(&setup.layout.pgdata, Timeline(6), &shorter, give).unwrap();
        servers.must(1, Command::StopImmediate).await;
        servers.must(1, Command::StartStandby).await;
        assert_eq!(servers.rank(1).await, rank, "all of its own log counts");
        crate::history::store(&setup.layout.pgdata, Timeline(5), &content, give).unwrap();
        // Time for start-up to find it and to make up its mind.
        servers.rank(1).await;
        let outcome = servers
            .run(
                1,
                Command::Promote {
                    timeline: Timeline(7),
                },
            )
            .await;
        let Outcome::Promoted {
            timeline, history, ..
        } = outcome
        else {
            panic!("{outcome:?}");
        };
        assert_eq!(timeline, Timeline(7));
        let ancestors: Vec<Timeline> = history.0.iter().map(|entry| entry.timeline).collect();
        assert_eq!(ancestors, [Timeline(1), Timeline(3)]);
    });
}

#[test]
fn an_interrupted_filling_is_broken_and_is_moved_aside() {
    drill(async {
        let mut servers = Servers::new(3);
        let incarnation = Incarnation(1);
        servers.must(0, Command::Initialize { incarnation }).await;
        let setup = Rc::clone(&servers.locals[0].setup);
        let mut remembered = data::Remembered::default();
        let mut look = || {
            // Twice: the second time nothing has changed since the first.
            let seen = [remembered.state(&setup), remembered.state(&setup)];
            assert_eq!(seen, [data::state(&setup); 2]);
            seen[0]
        };
        assert!(matches!(look(), DataState::Present { .. }));
        let control = setup.layout.pgdata.join("global/pg_control");
        let away = setup.layout.folder.join("control");
        std::fs::rename(&control, &away).unwrap();
        assert_eq!(look(), DataState::Broken);
        std::fs::rename(&away, &control).unwrap();
        assert!(matches!(look(), DataState::Present { .. }));
        // As a keeper that died in the middle leaves it.
        std::fs::write(&setup.layout.filling, b"").unwrap();
        assert_eq!(look(), DataState::Broken);
        // The source is not there: the copy fails, and what was there is not gone.
        let source = ReplicaId(2);
        let outcome = servers
            .run(
                0,
                Command::Rebuild {
                    source,
                    incarnation,
                },
            )
            .await;
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        let kept: Vec<_> = std::fs::read_dir(&setup.layout.quarantine)
            .unwrap()
            .collect();
        assert_eq!(kept.len(), 1);
        assert!(!matches!(look(), DataState::Present { .. }));
    });
}

/// What was moved aside may hold what nobody else has: fillings that are interrupted again and again do not push it out, and
/// neither does a clock that was set back.
#[test]
fn what_was_moved_aside_outlasts_interrupted_fillings() {
    drill(async {
        let mut servers = Servers::new(8);
        let incarnation = Incarnation(1);
        servers.must(0, Command::Initialize { incarnation }).await;
        let setup = Rc::clone(&servers.locals[0].setup);
        let kept = || -> Vec<_> {
            let entries = std::fs::read_dir(&setup.layout.quarantine).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        for round in 0..4 {
            let source = ReplicaId(2);
            let rebuild = Command::Rebuild {
                source,
                incarnation,
            };
            let outcome = servers.run(0, rebuild).await;
            assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
            assert_eq!(kept().len(), 1, "in round {round}");
            assert!(
                kept()[0].join("global/pg_control").exists(),
                "in round {round}"
            );
            // As pg_basebackup leaves it that is killed with its keeper.
            std::fs::write(setup.layout.pgdata.join("backup_label"), b"half").unwrap();
            assert_eq!(data::state(&setup), DataState::Broken);
        }
        let ahead = setup.layout.quarantine.join("900000000000000-log");
        std::fs::create_dir(&ahead).unwrap();
        let next = setup.layout.aside("data").unwrap();
        assert!(next > ahead, "{}", next.display());
    });
}

#[test]
fn a_rewind_that_fails_leaves_the_folder_as_it_was_where_nobody_can_be_spared() {
    drill(async {
        let mut servers = Servers::new(6);
        servers.pair().await;
        servers.must(1, Command::Detach).await;
        let before = servers.rank(1).await;
        servers.must(1, Command::StopImmediate).await;
        // pg_rewind begins, and finds nobody there.
        servers.must(0, Command::StopImmediate).await;
        let state = data::state(&servers.locals[1].setup);
        let rewind = |spare| Command::Rewind {
            source: ReplicaId(1),
            incarnation: Incarnation(2),
            spare,
        };
        let outcome = servers.run(1, rewind(true)).await;
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        assert_eq!(data::state(&servers.locals[1].setup), state);
        servers.must(1, Command::StartStandby).await;
        assert_eq!(servers.rank(1).await, before, "nothing of its log is lost");
        servers.must(1, Command::StopImmediate).await;
        let outcome = servers.run(1, rewind(false)).await;
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        assert_eq!(data::state(&servers.locals[1].setup), DataState::Broken);
    });
}

#[test]
fn a_stop_that_overtakes_a_start_leaves_nothing_that_starts_later() {
    drill(async {
        let mut servers = Servers::new(4);
        let incarnation = Incarnation(1);
        servers.must(0, Command::Initialize { incarnation }).await;
        for pause_ms in [0, 5, 20, 60] {
            let starting = servers.must(0, Command::StartStandby);
            let pause = Duration::from_millis(pause_ms);
            // The start is dropped half-way, as the hands do it.
            tokio::time::timeout(pause, starting).await.ok();
            servers.must(0, Command::StopImmediate).await;
            let pgdata = servers.locals[0].setup.layout.pgdata.clone();
            for _ in 0..30 {
                let standing = process::standing_in(&pgdata).unwrap();
                assert!(standing.is_empty(), "after {pause_ms} ms: {standing:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
}

#[test]
fn a_promotion_that_died_before_its_signal_does_not_happen_later() {
    drill(async {
        let mut servers = Servers::new(5);
        servers.pair().await;
        let setup = Rc::clone(&servers.locals[1].setup);
        data::write_promote_signal(&setup).unwrap();
        servers.locals[1] = Local::new(Rc::clone(&setup));
        // As a child does that wants something of the postmaster.
        let postmaster = crate::server::postmaster(&setup).unwrap().unwrap();
        process::signal(postmaster, rustix::process::Signal::USR1);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(servers.sql(1, "SELECT pg_is_in_recovery()").await, "t");
    });
}

#[test]
fn a_rewind_that_is_cut_short_is_gone_back_on_without_another_start() {
    drill(async {
        let mut servers = Servers::new(21);
        let incarnation = Incarnation(1);
        servers.must(0, Command::Initialize { incarnation }).await;
        let setup = Rc::clone(&servers.locals[0].setup);
        let before = data::state(&setup);
        // A source that never says anything.
        let source = tokio::net::TcpListener::bind("127.202.21.2:5432").await;
        let _source = source.unwrap();
        let (order, orders) = tokio::sync::mpsc::unbounded_channel();
        let (done, mut outcomes) = tokio::sync::mpsc::unbounded_channel();
        let (progress, _) = watch::channel(None);
        let (_news, hears) = watch::channel(0);
        let (_certificates, sees) = watch::channel(0);
        let hands = crate::hands::work(Rc::clone(&setup), orders, done, progress, hears, sees);
        let hands = tokio::task::spawn_local(hands);
        let rewind = Command::Rewind {
            source: ReplicaId(2),
            incarnation: Incarnation(2),
            spare: true,
        };
        order.send((OperationId(1), rewind)).unwrap();
        let limit = Duration::from_secs(20);
        let pause = Duration::from_millis(2);
        let layout = &setup.layout;
        assert!(until(limit, pause, || crate::spare::is_owed(layout)).await);
        order
            .send((OperationId(2), Command::StopImmediate))
            .unwrap();
        let cancelled = Outcome::Failed(Failure::Cancelled);
        assert_eq!(outcomes.recv().await, Some((OperationId(1), cancelled)));
        assert_eq!(outcomes.recv().await, Some((OperationId(2), Outcome::Done)));
        assert!(until(limit, pause, || !layout.filling.exists()).await);
        assert_eq!(data::state(&setup), before);
        hands.abort();
    });
}

/// Passes on what comes and counts how often the side that speaks is another than before.
async fn relay(at: &str, to: SocketAddr, turns: Rc<std::cell::Cell<usize>>) {
    let listener = tokio::net::TcpListener::bind(at).await.unwrap();
    tokio::task::spawn_local(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
        let (mut question, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
        let mut asked = false;
        loop {
            let (count, asks) = tokio::select! {
                count = near.read(&mut question) => (count.unwrap_or(0), true),
                count = far.read(&mut answer) => (count.unwrap_or(0), false),
            };
            if count == 0 {
                return;
            }
            if asks && !asked {
                turns.set(turns.get() + 1);
            }
            asked = asks;
            let (to, bytes) = if asks {
                (&mut far, &question)
            } else {
                (&mut near, &answer)
            };
            to.write_all(&bytes[..count]).await.unwrap();
        }
    });
}

#[test]
fn the_histories_of_many_terms_cost_one_way_there_and_back() {
    drill(async {
        let mut servers = Servers::new(22);
        let incarnation = Incarnation(1);
        servers.must(0, Command::Initialize { incarnation }).await;
        servers.must(0, Command::StartStandby).await;
        servers.promote(0, 60).await;
        let setup = Rc::clone(&servers.locals[0].setup);
        let turns = Rc::new(std::cell::Cell::new(0));
        let (at, to) = ("127.202.22.9:5432", setup.config.listen.postgres);
        relay(at, to, Rc::clone(&turns)).await;
        let name = identity_name("postgres-orders", "host-1", "drill");
        let at = at.parse().unwrap();
        let server = crate::replication::Server::Remote { at, name };
        let mut connection = setup.replication(&server).await.unwrap();
        let wanted: Vec<Timeline> = (2..=61).map(Timeline).collect();
        turns.set(0);
        let found = connection.histories(&wanted).await.unwrap();
        assert_eq!(turns.get(), 1, "a way for each");
        let on_disk = wanted
            .iter()
            .map(|timeline| std::fs::read(history::path(&setup.layout.pgdata, *timeline)).ok());
        assert_eq!(found, on_disk.collect::<Vec<_>>());
        assert!(found[58].as_ref().is_some_and(|text| !text.is_empty()));
        assert_eq!(found[59], None, "and one that is not there is no error");
        // The connection is of use after it.
        assert_eq!(connection.identify().await.unwrap().timeline, Timeline(60));
    });
}

#[test]
fn how_far_a_standby_has_come_is_seen_from_outside() {
    drill(async {
        let mut servers = Servers::new(23);
        servers.pair().await;
        let pgdata = servers.locals[1].setup.layout.pgdata.clone();
        let before = crate::recovering::place(&pgdata);
        assert!(
            matches!(before, Some(crate::recovering::Place::Segment(_))),
            "{before:?}"
        );
        // A segment in which nothing stands is not ended.
        for statement in [
            "CREATE TABLE t ()",
            "SELECT pg_switch_wal()",
            "DROP TABLE t",
        ] {
            servers.sql(0, statement).await;
        }
        let further = || crate::recovering::place(&pgdata) > before;
        assert!(until(Duration::from_secs(20), Duration::from_millis(5), further).await);
        let primary = &servers.locals[0].setup.layout.pgdata;
        assert_eq!(crate::recovering::place(primary), None);
    });
}
