//! The example exchange in good and in bad times, and what its status says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use expect_test::{Expect, ExpectFile, expect, expect_file};
use mainstay_model::address::Slot;
use mainstay_model::{Host, Platform};
use mainstay_record::event::{AlertRecord, AlertWord};
use mainstay_record::gateway::{
    GatewayCellStatus, GatewayDatabaseStatus, GatewayInstanceStatus, GatewayServiceStatus,
    GatewayStatus,
};
use mainstay_record::incident::IncidentSummary;
use mainstay_record::keeper::{
    CohortStatus, KeeperStatus, LossStatus, PeerStatus, Sight, SightRole, SoloStatus,
};
use mainstay_record::node::{BesideFacts, JournalFacts, NodeFacts, Seen, ShiftFact};
use mainstay_record::process::{
    FaultKind, FaultParameters, FaultState, FaultStatus, InstanceStatus, ProcessExit,
};
use mainstay_record::status::{Status, Verdict};
use mainstay_record::watch::{BoardBudget, WatchBoard};

use crate::{Gathered, HostAnswers, Palette, beside_lines, render, status};

const NOW: u64 = 1_790_000_123_000;

fn platform() -> Platform {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let path = root.join("examples/exchange/platform.yaml");
    let text = std::fs::read_to_string(path).expect("the example is there");
    mainstay_manifest::load("platform.yaml", &text).expect("the example is sound")
}

fn seen<T>(value: T) -> Seen<T> {
    Seen {
        value: Some(value),
        age_ms: 40,
        problem: None,
    }
}

fn silent<T>(problem: &str) -> Seen<T> {
    Seen {
        value: None,
        age_ms: 0,
        problem: Some(problem.to_owned()),
    }
}

fn instance(host: &Host, name: &str, phase: &str, why: &str) -> InstanceStatus {
    InstanceStatus {
        instance: format!("{}/{name}", host.name),
        generation: 1,
        phase: phase.to_owned(),
        ready: phase == "ready",
        restarts: 0,
        process: None,
        why: why.to_owned(),
        since_wall_ms: NOW - 65_000,
        last_exit: None,
        log: PathBuf::from(format!("/data/hosts/{}/instances/{name}/log", host.name)),
        labels: BTreeMap::new(),
    }
}

fn keeper(platform: &Platform, host: &Host, primary: &str) -> KeeperStatus {
    let is_primary = host.name == *primary;
    let peers = platform
        .hosts()
        .iter()
        .filter(|peer| peer.name != host.name);
    let peers = peers.zip(1..).map(|(peer, replica)| PeerStatus {
        catches_up_in_vain_ms: None,
        replica,
        host: peer.name.to_string(),
        region: peer.region.to_string(),
        heard_ms: Some(20),
        role: Some(SightRole::Standby),
        state: Some("streaming".to_owned()),
        acknowledges: is_primary,
        flushed: Some("0/5000108".to_owned()),
        lag_bytes: Some(216),
        round_trip_us: Some(310),
    });
    KeeperStatus {
        version: 1,
        platform: platform.name().to_string(),
        sight: Sight {
            version: 1,
            database: "ledger".to_owned(),
            replica: 1,
            host: host.name.to_string(),
            region: host.region.to_string(),
            role: if is_primary {
                SightRole::Primary
            } else {
                SightRole::Standby
            },
            term: 1,
            open: is_primary,
            switchover: false,
            lease_remaining_ms: 900,
            lsn: "0/50001E0".to_owned(),
            primary: Some(primary.to_owned()),
            reason: if is_primary {
                "serves"
            } else {
                "follows the primary"
            }
            .to_owned(),
        },
        paused: false,
        incarnation: String::new(),
        system_identifier: None,
        timeline: 1,
        promised_term: 1,
        promised_to: None,
        cohort: CohortStatus {
            copies: 2,
            wanted_copies: 2,
            ..CohortStatus::default()
        },
        peers: peers.collect(),
        solo: None,
        losses: Vec::new(),
        seeding: None,
        postmaster: Some(4711),
        events: Vec::new(),
        parameters: None,
        lineage: 0,
        left_behind: 0,
        not_understood: Vec::new(),
        refill_ordered: false,
    }
}

fn gateway(host: &Host, primary: &str) -> GatewayStatus {
    GatewayStatus {
        version: 1,
        gateway: "edge".to_owned(),
        host: host.name.to_string(),
        region: host.region.to_string(),
        generation: 3,
        snapshot_error: None,
        stopping: false,
        workers: 2,
        connections: 12,
        requests: 3_456,
        cells: vec![GatewayCellStatus {
            database: "ledger".to_owned(),
            service: "venue".to_owned(),
            view: "active".to_owned(),
            reason: "serves".to_owned(),
            instance: Some(format!("{primary}/venue")),
            term: 1,
            epoch: 1,
            held: 0,
        }],
        services: vec![GatewayServiceStatus {
            service: "ticker".to_owned(),
            instances: vec![GatewayInstanceStatus {
                share: None,
                instance: "use1-a/ticker".to_owned(),
                ready: true,
                age_ms: Some(30),
                reason: "ready".to_owned(),
            }],
        }],
        databases: vec![GatewayDatabaseStatus {
            database: "ledger".to_owned(),
            primary: Some(primary.to_owned()),
            term: 1,
            keepers_seen: 3,
            keepers: 3,
            sessions: 0,
        }],
    }
}

fn facts(platform: &Platform, host: &Host, primary: &str) -> NodeFacts {
    let active = host.name == *primary;
    let (phase, why) = if active {
        ("ready", "its readiness probe passes")
    } else {
        ("unready", "its readiness probe fails")
    };
    let mut instances = vec![
        instance(host, "keeper-ledger", "ready", "its readiness probe passes"),
        instance(host, "venue", phase, why),
        instance(host, "gateway-edge", "ready", "its readiness probe passes"),
    ];
    if host.name != *"euw1-a" {
        instances.push(instance(
            host,
            "ticker",
            "ready",
            "its readiness probe passes",
        ));
    }
    NodeFacts {
        version: 1,
        host: host.name.to_string(),
        region: host.region.to_string(),
        wall_ms: NOW,
        pid: 100,
        started_wall_ms: NOW - 70_000,
        instances,
        keepers: BTreeMap::from([("ledger".to_owned(), seen(keeper(platform, host, primary)))]),
        gateways: BTreeMap::from([("edge".to_owned(), seen(gateway(host, primary)))]),
        archives: BTreeMap::new(),
        journal: JournalFacts {
            role: if host.name == *"use1-a" {
                "leading"
            } else {
                "following"
            }
            .to_owned(),
            epoch: 1,
            leader: Some("use1-a".to_owned()),
            entries: 42,
            leader_heard_ms: Some(90),
            paused: false,
            generation: 1,
            problem: None,
            out_of_reach: false,
            upgrade: None,
            program: None,
            beside: BesideFacts::default(),
        },
        heard_ms: BTreeMap::new(),
        troubles: Vec::new(),
        oldest_leaf_ms: Some(60_000),
        watch: (host.name != *"usw2-a").then(|| seen(board(host))),
    }
}

fn board(host: &Host) -> WatchBoard {
    WatchBoard {
        version: 1,
        host: host.name.to_string(),
        at_ms: NOW,
        begun_ms: NOW - 60_000,
        evaluated: true,
        targets: 14,
        silent: Vec::new(),
        rules: vec!["TargetSilent".to_owned()],
        refused: Vec::new(),
        followed: None,
        receives: false,
        alerts: Vec::new(),
        whole: true,
        troubles: Vec::new(),
        budgets: Vec::new(),
    }
}

fn alert(watch: &str, severity: &str, state: AlertWord) -> AlertRecord {
    AlertRecord {
        watch: watch.to_owned(),
        alert: "TargetSilent{instance=\"use1-a/edge\"}".to_owned(),
        state,
        since_ms: NOW - 15_000,
        at_ms: NOW - 5_000,
        labels: [
            ("alertname", "TargetSilent"),
            ("severity", severity),
            ("instance", "use1-a/edge"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        summary: "use1-a/edge gives no figures".to_owned(),
        value: "0".to_owned(),
        why: "its condition holds".to_owned(),
    }
}

/// All is well and the primary is at home; then the test spoils it.
fn look(spoil: impl FnOnce(&mut Gathered<'_>)) -> Status {
    let platform = platform();
    let hosts = platform.hosts().iter().map(|host| {
        let answers = HostAnswers {
            node: Some(seen(facts(&platform, host, "use1-a"))),
            ..HostAnswers::default()
        };
        (host.name.to_string(), answers)
    });
    let mut gathered = Gathered {
        platform: &platform,
        slot: Slot::new(1).expect("a slot"),
        now_wall_ms: NOW,
        hosts: hosts.collect(),
        faults: Vec::new(),
        alerts: Vec::new(),
        incidents: Vec::new(),
    };
    spoil(&mut gathered);
    let status = status(&gathered);
    let json = serde_json::to_string(&status).expect("writes");
    let read: Status = serde_json::from_str(&json).expect("reads");
    assert_eq!(read, status, "what is printed can be read again");
    status
}

fn node<'a>(gathered: &'a mut Gathered<'_>, host: &str) -> &'a mut NodeFacts {
    let answers = gathered.hosts.get_mut(host).expect("a host");
    let seen = answers.node.as_mut().expect("asked");
    seen.value.as_mut().expect("answered")
}

fn ledger<'a>(gathered: &'a mut Gathered<'_>, host: &str) -> &'a mut KeeperStatus {
    let keeper = node(gathered, host)
        .keepers
        .get_mut("ledger")
        .expect("known");
    keeper.value.as_mut().expect("answered")
}

fn lose(gathered: &mut Gathered<'_>, host: &str) {
    let answers = gathered.hosts.get_mut(host).expect("a host");
    answers.node = Some(silent("connection refused"));
}

fn check(spoil: impl FnOnce(&mut Gathered<'_>), expected: ExpectFile) {
    expected.assert_eq(&render(&look(spoil), Palette::Plain));
}

/// Only the findings.
fn check_why(spoil: impl FnOnce(&mut Gathered<'_>), expected: Expect) {
    let status = look(spoil);
    let mut text = format!("{:?}\n", status.verdict);
    for finding in status.findings {
        text.push_str(&format!(
            "{:?} {}: {}\n",
            finding.severity, finding.subject, finding.text
        ));
    }
    expected.assert_eq(&text);
}

#[test]
fn in_good_times() {
    let status = look(|_| {});
    assert_eq!(
        (status.verdict, status.findings.len()),
        (Verdict::Healthy, 0)
    );
    check(|_| {}, expect_file!["../golden/healthy.txt"]);
}

#[test]
fn what_one_node_knows_is_enough() {
    let platform = platform();
    let mut all = platform
        .hosts()
        .iter()
        .map(|host| facts(&platform, host, "use1-a"));
    let own = all.next().expect("a first host");
    let known = mainstay_record::node::Gathered {
        version: 1,
        own,
        others: all.map(|facts| (facts.host.clone(), seen(facts))).collect(),
        faults: Vec::new(),
        alerts: Vec::new(),
        incidents: Vec::new(),
        experiment: None,
    };
    let slot = Slot::new(1).expect("a slot");
    let status = status(&Gathered::of_node(&platform, slot, NOW + 20, known));
    assert_eq!(status.verdict, Verdict::Healthy);
}

#[test]
fn colours_move_nothing() {
    let status = look(|gathered| lose(gathered, "use1-a"));
    let plain = render(&status, Palette::Plain);
    let coloured = render(&status, Palette::Colour);
    assert!(coloured.contains("\u{1b}["));
    let mut bare = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        bare.push_str(before);
        rest = after.split_once('m').expect("a sequence ends").1;
    }
    bare.push_str(rest);
    assert_eq!(bare, plain);
}

#[test]
fn after_the_loss_of_a_primary() {
    check(
        |gathered| {
            lose(gathered, "use1-a");
            let platform = gathered.platform;
            for host in platform
                .hosts()
                .iter()
                .filter(|host| host.name != *"use1-a")
            {
                *node(gathered, host.name.as_str()) = facts(platform, host, "usw2-a");
                let status = ledger(gathered, host.name.as_str());
                status.sight.term = 2;
                for peer in status.peers.iter_mut().filter(|peer| peer.host == "use1-a") {
                    peer.acknowledges = false;
                    peer.heard_ms = Some(8_000);
                }
                node(gathered, host.name.as_str()).journal.leader_heard_ms = Some(8_000);
            }
            gathered.faults.push(FaultStatus {
                id: "f-17".to_owned(),
                kind: FaultKind::HostCrash,
                target: "use1-a".to_owned(),
                parameters: FaultParameters::default(),
                state: FaultState::Set,
                injected_wall_ms: NOW - 10_000,
                remaining_ms: 20_000,
                guardian_alive: true,
                problem: None,
            });
        },
        expect_file!["../golden/primary-lost.txt"],
    );
}

#[test]
fn while_nobody_is_primary() {
    check(
        |gathered| {
            lose(gathered, "use1-a");
            for host in ["usw2-a", "euw1-a"] {
                let keeper = ledger(gathered, host);
                keeper.sight.primary = None;
                keeper.sight.role = SightRole::Candidate;
                keeper.sight.reason = "recruits".to_owned();
                let edge = node(gathered, host)
                    .gateways
                    .get_mut("edge")
                    .expect("known");
                let cell = &mut edge.value.as_mut().expect("answered").cells[0];
                (cell.view, cell.reason, cell.held) =
                    ("absent".to_owned(), "no primary".to_owned(), 37);
                cell.instance = None;
            }
        },
        expect_file!["../golden/no-primary.txt"],
    );
}

#[test]
fn when_nobody_answers_nothing_is_health() {
    check(
        |gathered| gathered.hosts.clear(),
        expect_file!["../golden/nobody.txt"],
    );
}

#[test]
fn reasons_of_keepers_reach_the_status_even_if_nodes_are_dead() {
    check_why(
        |gathered| {
            let keeper = ledger(gathered, "use1-a").clone();
            lose(gathered, "use1-a");
            let answers = gathered.hosts.get_mut("use1-a").expect("a host");
            answers.keepers.insert("ledger".to_owned(), seen(keeper));
        },
        expect![[r#"
            Degraded
            Unknown host use1-a: its node does not answer (connection refused), so nobody can say what runs there
            Degraded service ticker: 1 of 2 instances are ready
        "#]],
    );
}

#[test]
fn what_is_at_stake_while_a_primary_serves_alone_is_counted() {
    check_why(
        |gathered| {
            let keeper = ledger(gathered, "use1-a");
            for peer in &mut keeper.peers {
                peer.acknowledges = false;
            }
            keeper.solo = Some(SoloStatus {
                term: 1,
                since_wall_ms: NOW - 90_000,
                since_ms: 90_000,
                protected: "0/5000000".to_owned(),
                unprotected_bytes: 480,
                alone: true,
            });
            keeper.losses = vec![LossStatus {
                term: 1,
                timeline: 7,
                after: "0/4000000".to_owned(),
                until: Some("0/4000100".to_owned()),
                bytes: Some(256),
            }];
        },
        expect![[r#"
            Broken
            Broken database ledger: for 90 s it has answered commits by order without the 2 copies that it promises: 480 B would be lost with the primary
            Degraded database ledger: term 1 began without what was written on timeline 7 between 0/4000000 and 0/4000100 or later, which may hold answered commits
            Degraded database ledger on usw2-a: it does not count for commits (standby): follows the primary
            Degraded database ledger on euw1-a: it does not count for commits (standby): follows the primary
        "#]],
    );
}

#[test]
fn what_a_changed_file_asks_for_and_is_not_so_yet_is_told() {
    check_why(
        |gathered| {
            let keeper = ledger(gathered, "use1-a");
            keeper.cohort.wanted_copies = 3;
            keeper.cohort.leaving = vec!["usw2-b".to_owned()];
            keeper.peers[0].catches_up_in_vain_ms = Some(45_000);
            keeper.peers[0].lag_bytes = Some(80 << 20);
        },
        expect![[r#"
            Degraded
            Degraded database ledger: the file asks for 3 copies of each commit, and 2 are promised until so many replicas follow
            Degraded database ledger: its replica on usw2-b is to leave, and is needed until the others, and who comes in its place, have what it has
            Degraded database ledger on usw2-a: it is 80.0 MiB behind the primary
            Degraded database ledger on usw2-a: it gets log all the time and has come no nearer for 45.0s: it is 80.0 MiB behind the primary
        "#]],
    );
}

#[test]
fn a_dead_node_does_not_hide_a_living_primary() {
    check_why(
        |gathered| lose(gathered, "use1-a"),
        expect![[r#"
        Degraded
        Unknown host use1-a: its node does not answer (connection refused), so nobody can say what runs there
        Degraded database ledger: its primary on use1-a cannot be asked, but other keepers hear it and gateways lead to it
        Degraded service ticker: 1 of 2 instances are ready
    "#]],
    );
}

#[test]
fn an_old_fact_is_no_fact() {
    check_why(
        |gathered| {
            let keeper = node(gathered, "euw1-a")
                .keepers
                .get_mut("ledger")
                .expect("known");
            keeper.age_ms = 6_000;
        },
        expect![[r#"
            Degraded
            Unknown database ledger on euw1-a: its keeper does not answer: its last answer is too old
        "#]],
    );
}

#[test]
fn a_database_in_trouble_says_which() {
    check_why(
        |gathered| {
            ledger(gathered, "use1-a").peers[0].acknowledges = false;
            ledger(gathered, "use1-a").peers[1].lag_bytes = Some(200 << 20);
            ledger(gathered, "usw2-a").sight.role = SightRole::Learner;
            ledger(gathered, "usw2-a").seeding = Some(mainstay_record::keeper::SeedingStatus {
                from: "use1-a".to_owned(),
                bytes: 12 << 20,
                total_bytes: Some(40 << 20),
            });
        },
        expect![[r#"
            Degraded
            Degraded database ledger: it has 2 copies that count and needs 2: one more loss, and writes wait
            Degraded database ledger on usw2-a: it is being copied: 12.0 MiB of 40.0 MiB
            Degraded database ledger on euw1-a: it is 200.0 MiB behind the primary
        "#]],
    );
    check_why(
        |gathered| {
            ledger(gathered, "use1-a").sight.open = false;
            ledger(gathered, "use1-a").sight.reason =
                "the quorum has not flushed term 1".to_owned();
            for peer in &mut ledger(gathered, "use1-a").peers {
                peer.acknowledges = false;
            }
            ledger(gathered, "usw2-a").sight.role = SightRole::Primary;
        },
        expect![[r#"
            Broken
            Broken database ledger: its primary does not serve applications: follows the primary
            Broken database ledger: writes wait: a commit needs 2 copies on disk, and 1 can be reached
            Degraded database ledger: several replicas say that they are primary: use1-a (term 1), usw2-a (term 1)
            Degraded database ledger: its primary is in us-west-2, away from its home us-east-1
            Degraded database ledger on euw1-a: it does not count for commits (standby): follows the primary
        "#]],
    );
}

#[test]
fn services_and_gateways_in_trouble_say_why() {
    check_why(
        |gathered| {
            for instance in &mut node(gathered, "use1-a").instances {
                if instance.instance.ends_with("/venue") {
                    instance.phase = "crash_loop".to_owned();
                    instance.why = "it exits again and again (crash loop)".to_owned();
                    instance.restarts = 6;
                    instance.last_exit = Some(ProcessExit::Failed(
                        "exchange-venue: no such file".to_owned(),
                    ));
                }
            }
            node(gathered, "usw2-a")
                .instances
                .retain(|instance| !instance.instance.ends_with("/ticker"));
            let edge = node(gathered, "euw1-a")
                .gateways
                .get_mut("edge")
                .expect("known");
            *edge = silent("no such file or directory");
            let edge = node(gathered, "use1-a")
                .gateways
                .get_mut("edge")
                .expect("known");
            let status = edge.value.as_mut().expect("answered");
            status.snapshot_error = Some("line 3: unknown field".to_owned());
            status.services[0].instances[0].ready = false;
        },
        expect![[r#"
            Broken
            Broken service venue on use1-a: it ends again and again (6 restarts): it exits again and again (crash loop); exchange-venue: no such file
            Broken service venue: no instance is active, though use1-a has an open primary for it
            Unknown gateway edge on euw1-a: it does not answer: no such file or directory
            Degraded service ticker: 1 of 2 instances are ready
            Degraded gateway edge on use1-a: it goes on with old routes, because it refuses the new ones: line 3: unknown field
            Degraded gateway edge on use1-a: it sees no ready instance of ticker, so requests for it fail
        "#]],
    );
}

#[test]
fn leadership_is_what_all_say_together() {
    check_why(
        |gathered| {
            node(gathered, "usw2-a").journal.role = "leading".to_owned();
            node(gathered, "usw2-a").journal.epoch = 2;
            node(gathered, "usw2-a").journal.leader = Some("usw2-a".to_owned());
            node(gathered, "usw2-a").journal.generation = 2;
            node(gathered, "usw2-a").journal.paused = true;
            node(gathered, "euw1-a").journal.problem = Some("part 7 is missing".to_owned());
        },
        expect![[r#"
            Degraded
            Degraded leadership: nodes do not agree on who leads: use1-a (epoch 1), usw2-a (epoch 2)
            Degraded host euw1-a: its journal is in trouble: part 7 is missing
            Degraded platform: the platform is paused: Mainstay decides nothing
            Degraded host use1-a: it follows version 1 of the platform file; 2 is in force
            Degraded host euw1-a: it follows version 1 of the platform file; 2 is in force
        "#]],
    );
}

#[test]
fn what_playbooks_set_beside_the_file_is_shown_and_counts() {
    check_why(
        |gathered| {
            for host in ["use1-a", "usw2-a", "euw1-a"] {
                node(gathered, host).journal.beside = BesideFacts {
                    counts: BTreeMap::from([("ticker".to_owned(), 3)]),
                    ..BesideFacts::default()
                };
            }
        },
        expect![[r#"
            Degraded
            Degraded service ticker: 2 of 3 instances are ready
        "#]],
    );
    let beside = BesideFacts {
        drained: vec!["use1-a".to_owned()],
        shifts: vec![ShiftFact {
            service: "ticker".to_owned(),
            from: "us-east-1".to_owned(),
            share: 10,
        }],
        counts: BTreeMap::from([("ticker".to_owned(), 3)]),
    };
    assert_eq!(
        beside_lines(&beside),
        [
            "out of routing: use1-a",
            "shifted: 10 % of new requests of ticker go as always, the rest not to us-east-1",
            "beside the file: 3 instances of ticker are wanted, until the file changes",
        ]
    );
}

#[test]
fn a_platform_without_its_journal_is_deaf() {
    check_why(
        |gathered| {
            for host in ["use1-a", "usw2-a", "euw1-a"] {
                let journal = &mut node(gathered, host).journal;
                journal.role = "deaf".to_owned();
                journal.out_of_reach = true;
                journal.problem = Some("coordination is out of reach: no answer".to_owned());
            }
        },
        expect![[r#"
            Degraded
            Degraded leadership: no node reaches the journal: nothing is decided, and what runs goes on by its reflexes
            Degraded host use1-a: its node is deaf: coordination is out of reach: no answer
            Degraded host usw2-a: its node is deaf: coordination is out of reach: no answer
            Degraded host euw1-a: its node is deaf: coordination is out of reach: no answer
        "#]],
    );
    // One that is cut off alone is its own trouble.
    check_why(
        |gathered| {
            let journal = &mut node(gathered, "usw2-a").journal;
            journal.role = "deaf".to_owned();
            journal.out_of_reach = true;
            journal.problem = Some("coordination is out of reach: no answer".to_owned());
        },
        expect![[r#"
            Degraded
            Degraded host usw2-a: its node is deaf: coordination is out of reach: no answer
        "#]],
    );
}

#[test]
fn alerts_of_two_watches_are_one_and_a_call_is_a_finding() {
    check(
        |gathered| {
            gathered.alerts = vec![
                alert("use1-a", "page", AlertWord::Missing),
                alert("euw1-a", "page", AlertWord::Firing),
            ];
            let seen = node(gathered, "euw1-a").watch.as_mut().expect("has one");
            let board = seen.value.as_mut().expect("answered");
            board.silent = vec!["gateway use1-a/edge".to_owned()];
        },
        expect_file!["../golden/alert.txt"],
    );
    // What calls for nobody is shown, and is no reason to call the platform ill.
    check_why(
        |gathered| gathered.alerts = vec![alert("use1-a", "warning", AlertWord::Firing)],
        expect![[r#"
            Healthy
        "#]],
    );
    check_why(
        |gathered| gathered.alerts = vec![alert("use1-a", "page", AlertWord::Missing)],
        expect![[r#"
            Degraded
            Degraded alert TargetSilent{instance="use1-a/edge"}: fired 15.0s ago, and what it is about is not measured any more: use1-a/edge gives no figures
        "#]],
    );
}

#[test]
fn of_two_watches_the_one_that_saw_more_spent_is_told() {
    let budget = |left_millionths, burn_1h_thousandths| BoardBudget {
        objective: "orders-answered".to_owned(),
        left_millionths,
        burn_1h_thousandths,
    };
    let told = [
        ("use1-a", budget(731_000, Some(40))),
        ("euw1-a", budget(-20_500, Some(14_400))),
    ];
    check(
        |gathered| {
            for (host, budget) in &told {
                let seen = node(gathered, host).watch.as_mut().expect("has one");
                let board = seen.value.as_mut().expect("answered");
                board.budgets = vec![budget.clone()];
            }
        },
        expect_file!["../golden/budgets.txt"],
    );
}

#[test]
fn incidents_are_shown_and_change_no_verdict() {
    let incident = |incident: &str, state: &str, owner: Option<&str>| IncidentSummary {
        incident: incident.to_owned(),
        title: "database ledger lost its primary".to_owned(),
        severity: "error".to_owned(),
        state: state.to_owned(),
        opened_ms: NOW - 90_000,
        owner: owner.map(str::to_owned),
        standing: 2,
        unreached: owner.is_none(),
    };
    let status = look(|gathered| {
        gathered.incidents = vec![
            incident("i1", "mitigated", Some("ada")),
            incident("i2", "open", None),
        ];
    });
    assert_eq!(status.verdict, Verdict::Healthy);
    let text = render(&status, Palette::Plain);
    let rows: Vec<&str> = text
        .lines()
        .skip_while(|line| *line != "INCIDENTS")
        .collect();
    assert!(
        rows[2].starts_with(" ●  i1") && rows[2].contains("ada"),
        "{text}"
    );
    assert!(
        rows[3].starts_with(" ▲  i2") && rows[3].contains("lost its primary"),
        "{text}"
    );
    assert!(rows[3].contains("open, NOBODY WAS REACHED"), "{text}");
    assert!(!rows[2].contains("NOBODY"), "{text}");
}

/// Titles of incidents and words of alerts are others': of the colours only ours are left.
#[test]
fn what_others_wrote_does_not_steer_the_terminal() {
    let status = look(|gathered| {
        gathered.incidents = vec![IncidentSummary {
            incident: "i1".to_owned(),
            title: "all is well\r\u{1b}[2J\u{9b}1m \u{202e}daeh".to_owned(),
            severity: "error".to_owned(),
            state: "open".to_owned(),
            opened_ms: NOW - 90_000,
            owner: None,
            standing: 2,
            unreached: false,
        }];
    });
    for palette in [Palette::Plain, Palette::Colour] {
        let text = render(&status, palette);
        assert!(text.contains("all is well"), "{text:?}");
        for sign in ["\r", "\u{1b}[2J", "\u{9b}", "\u{202e}"] {
            assert!(!text.contains(sign), "{palette:?} {sign:?}: {text:?}");
        }
    }
    assert!(render(&status, Palette::Colour).contains("\u{1b}["));
}

#[test]
fn a_watch_that_does_not_see_is_told() {
    check_why(
        |gathered| {
            node(gathered, "use1-a").watch = Some(silent("connection refused"));
            let seen = node(gathered, "euw1-a").watch.as_mut().expect("has one");
            let board = seen.value.as_mut().expect("answered");
            board.refused = vec!["rules.yaml:1:2: wrong".to_owned()];
        },
        expect![[r#"
            Degraded
            Degraded watch on use1-a: it does not answer: connection refused
            Degraded watch on euw1-a: it does not follow a rule file as it stands: rules.yaml:1:2: wrong
        "#]],
    );
    check_why(
        |gathered| lose(gathered, "use1-a"),
        expect![[r#"
        Degraded
        Unknown host use1-a: its node does not answer (connection refused), so nobody can say what runs there
        Degraded database ledger: its primary on use1-a cannot be asked, but other keepers hear it and gateways lead to it
        Degraded service ticker: 1 of 2 instances are ready
    "#]],
    );
}

#[test]
fn what_hinders_a_watch_is_named() {
    check_why(
        |gathered| {
            let watch = node(gathered, "use1-a").watch.as_mut().expect("asked");
            let board = watch.value.as_mut().expect("answered");
            board.troubles = vec!["it is deaf".to_owned(), "7 alerts do not fit".to_owned()];
        },
        expect![[r#"
            Degraded
            Degraded watch on use1-a: it is deaf
            Degraded watch on use1-a: 7 alerts do not fit
        "#]],
    );
}
