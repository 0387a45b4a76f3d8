//! Three kernels over one journal, in one process: opening, leading, losing the lead, commands.
//!
//! Every case is played over a folder, over etcd with one member and over etcd with three. Nodes are runners here, without processes: a node is "killed" by dropping it and "frozen" by not turning
//! it. Time is real, so this stays small.
#![allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_kernel::{
    Actor, Answer, Ask, Command, Desired, DesiredDatabase, DesiredOperator, DesiredService, Effect,
    FaultDetail, FaultKind, FaultSpec, FaultTarget, Outcome, Reflex, Report, Role, Signal,
};
use mainstay_model::EnvironmentKind;
use mainstay_model::people::{Permission, UnixIdentity};
use mainstay_node::kernel_runner::{KernelRunner, Places, node_folders};
use mainstay_record::journal::VerifyReport;
use mainstay_rt::clock;
use mainstay_storage::{ArchiveFolder, Endpoint, EtcdPlace, Place, Reach, verify};
use mainstay_testkit::etcd::{Cluster, or_skip};
use mainstay_units::{Epoch, Term};

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
/// Longer than anything takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn desired() -> Desired {
    let region = |host: &str| host.replace('h', "r").parse().unwrap();
    let operator = DesiredOperator {
        identity: UnixIdentity::Owner,
        permissions: Permission::ALL.into(),
    };
    let hosts: Vec<mainstay_model::name::HostName> = HOSTS.map(|h| h.parse().unwrap()).into();
    Desired {
        platform: "test".parse().unwrap(),
        environment: EnvironmentKind::Rehearsal,
        hosts: HOSTS
            .iter()
            .map(|h| (h.parse().unwrap(), region(h)))
            .collect(),
        databases: BTreeMap::from([(
            "ledger".parse().unwrap(),
            DesiredDatabase {
                home: "r1".parse().unwrap(),
                replicas: hosts.clone(),
                fingerprint: u64::MAX,
            },
        )]),
        services: BTreeMap::from([(
            "web".parse().unwrap(),
            DesiredService {
                replicas: 2,
                hosts: hosts.clone(),
                follows: None,
                fingerprint: 1,
            },
        )]),
        gateways: BTreeMap::from([("edge".parse().unwrap(), (hosts, 7))]),
        watches: std::collections::BTreeSet::new(),
        routes: Vec::new(),
        gates: Vec::new(),
        objectives: BTreeMap::new(),
        oncall: Default::default(),
        operators: BTreeMap::from([("owner".parse().unwrap(), operator)]),
    }
}

fn actor() -> Actor {
    Actor {
        uid: 1000,
        user: Some("ada".to_string()),
    }
}

/// The data folder of a platform, and where its journal stands.
struct Ground {
    data: tempfile::TempDir,
    journal: Place,
}

impl Ground {
    fn in_folder() -> Self {
        let data = tempfile::tempdir().unwrap();
        let journal = Place::folder(&data.path().join("journal"));
        Self { data, journal }
    }

    fn in_etcd(cluster: &Cluster, name: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let endpoints = cluster.addresses().into_iter().map(|address| Endpoint {
            host: address.ip().to_string(),
            port: address.port(),
            prove: None,
        });
        let journal = Place::Etcd(EtcdPlace {
            endpoints: endpoints.collect(),
            identity: None,
            prefix: format!("mainstay/{name}"),
            archive: Some(Arc::new(ArchiveFolder::at(&data.path().join("journal")))),
        });
        Self { data, journal }
    }

    fn open(&self, host: &str) -> KernelRunner {
        KernelRunner::open(&Places {
            data: self.data.path().to_path_buf(),
            host: host.parse().unwrap(),
            platform: "test".parse().unwrap(),
            journal: self.journal.clone(),
        })
        .unwrap()
    }

    fn verified(&self) -> VerifyReport {
        let report = verify(&self.journal, &node_folders(self.data.path()).unwrap());
        assert_eq!(report.findings, []);
        report
    }
}

type Case = (&'static str, fn(&Ground));

const CASES: [Case; 3] = [
    (
        "commands",
        a_platform_opens_its_journal_and_carries_out_commands_given_anywhere,
    ),
    (
        "frozen",
        leadership_moves_from_a_frozen_node_which_stops_when_it_thaws,
    ),
    (
        "minority",
        a_node_without_a_majority_neither_leads_nor_follows_until_it_has_one_again,
    ),
];

#[test]
fn every_case_holds_over_a_folder() {
    for (name, case) in CASES {
        eprintln!("{name}");
        case(&Ground::in_folder());
    }
}

fn play_over_etcd(members: u8) {
    if !or_skip("kernels over etcd") {
        return;
    }
    let cluster = Cluster::start(members).unwrap();
    for (name, case) in CASES {
        eprintln!("{name}");
        case(&Ground::in_etcd(&cluster, name));
    }
}

#[test]
fn every_case_holds_over_etcd_with_one_member() {
    play_over_etcd(1);
}

#[test]
fn every_case_holds_over_etcd_with_three_members() {
    play_over_etcd(3);
}

/// Etcd loses its quorum under three kernels: all are deaf and say so, nothing is decided. It returns: commands of
/// meanwhile are carried out once, and the journal has no gap.
#[test]
fn kernels_are_deaf_while_etcd_has_no_quorum_and_go_on_after_it() {
    if !or_skip("kernels over etcd without a quorum") {
        return;
    }
    let mut cluster = Cluster::start(3).unwrap();
    let ground = Ground::in_etcd(&cluster, "quorum");
    let mut nodes = start(&ground);
    cluster.freeze(0).unwrap();
    cluster.freeze(1).unwrap();
    turn_until(&mut nodes, "deafness", |nodes| {
        nodes.values().all(|node| node.facts().role == "deaf")
    });
    let next = |node: &KernelRunner| node.state().next;
    let known: BTreeMap<&str, _> = nodes
        .iter()
        .map(|(host, node)| (*host, next(node)))
        .collect();
    let why = nodes["h2"].facts().problem.unwrap();
    assert!(why.starts_with("coordination is out of reach: "), "{why}");
    assert!(nodes["h2"].facts().out_of_reach);
    let cause = nodes
        .get_mut("h2")
        .unwrap()
        .submit_and_watch(command(Ask::Pause))
        .unwrap();
    for _ in 0..2 {
        for (host, node) in &mut nodes {
            node.turn();
            assert_eq!(node.state().next, known[host], "{host}");
            assert!(node.state().paused.is_none());
        }
    }
    cluster.thaw(0).unwrap();
    cluster.thaw(1).unwrap();
    turn_until(&mut nodes, "the answer", |nodes| {
        let answered = nodes.get_mut("h2").unwrap().poll_answer();
        answered.is_some_and(|(answered, answer)| {
            answered == cause && matches!(answer, Answer::Done { .. })
        })
    });
    turn_until(&mut nodes, "all to follow", |nodes| {
        nodes.values().all(|node| node.state().paused.is_some())
    });
    ground.verified();
}

/// Turns all nodes until the condition holds for them.
fn turn_until(
    nodes: &mut BTreeMap<&str, KernelRunner>,
    what: &str,
    mut holds: impl FnMut(&mut BTreeMap<&str, KernelRunner>) -> bool,
) {
    let give_up = clock::now() + PATIENCE;
    loop {
        for node in nodes.values_mut() {
            node.turn();
        }
        if holds(nodes) {
            return;
        }
        assert!(clock::now() < give_up, "waited in vain for: {what}");
        if let Some(node) = nodes.values_mut().next() {
            node.wait(Duration::from_millis(20));
        }
    }
}

/// The epoch in which a node leads.
fn led(node: &KernelRunner) -> Option<Epoch> {
    let Role::Leading(epoch) = node.role() else {
        return None;
    };
    Some(epoch)
}

/// Who leads, and not who has not heard yet that another does.
fn leader<'a>(nodes: &BTreeMap<&'a str, KernelRunner>) -> Option<&'a str> {
    let leaders = nodes
        .iter()
        .filter_map(|(name, node)| Some((led(node)?, *name)));
    leaders.max().map(|(_, name)| name)
}

/// Turns a node alone until it has read of a later epoch than that in which it led. Coordination may be slow; but from the
/// first turn on it does not lead.
fn learns_of_another(node: &mut KernelRunner, before: Epoch) {
    let give_up = clock::now() + PATIENCE;
    loop {
        node.turn();
        assert_eq!(led(node), None);
        if node.state().epoch > before {
            return assert_eq!(node.role(), Role::Following);
        }
        assert!(clock::now() < give_up, "nothing was read after {before:?}");
        node.wait(Duration::from_millis(20));
    }
}

fn command(ask: Ask) -> Signal {
    Signal::Commanded(Command {
        actor: actor(),
        reason: "a test".to_string(),
        ask,
        readings: Vec::new(),
        overrides: Default::default(),
    })
}

/// Gives the command at `at`, plays executor for its effects, and returns the answer.
fn carry_out(nodes: &mut BTreeMap<&str, KernelRunner>, at: &str, ask: Ask) -> Answer {
    let cause = nodes
        .get_mut(at)
        .unwrap()
        .submit_and_watch(command(ask))
        .unwrap();
    let mut answer = None;
    turn_until(nodes, "an answer", |nodes| {
        for (host, node) in nodes.iter_mut() {
            while let Some(assigned) = node.poll_effect() {
                let detail = format!("{host} did {:?}", std::mem::discriminant(&assigned.effect));
                if let Effect::Switchover { database, to } = &assigned.effect {
                    node.submit(Signal::Reported(Report {
                        host: to.clone(),
                        at_ms: clock::wall_ms(),
                        reflex: Reflex::BecamePrimary {
                            database: database.clone(),
                            term: Term(3),
                        },
                    }));
                }
                node.submit(Signal::Answered {
                    effect: assigned.id,
                    outcome: Outcome::Done { detail },
                });
            }
        }
        if let Some((answered, what)) = nodes.get_mut(at).unwrap().poll_answer() {
            assert_eq!(answered, cause);
            answer = Some(what);
        }
        answer.is_some()
    });
    answer.unwrap()
}

fn start(ground: &Ground) -> BTreeMap<&'static str, KernelRunner> {
    let mut nodes: BTreeMap<&str, KernelRunner> = HOSTS
        .into_iter()
        .map(|host| (host, ground.open(host)))
        .collect();
    for node in nodes.values_mut() {
        node.submit(Signal::FileRead {
            digest: "aa".to_string(),
            desired: Box::new(desired()),
            actor: actor(),
        });
    }
    turn_until(
        &mut nodes,
        "a file in force, all keys admitted, and a leader",
        |nodes| {
            let knows = |node: &KernelRunner| {
                node.state().keys.len() == 3 && node.state().desired.is_some()
            };
            nodes.values().all(knows) && leader(nodes).is_some()
        },
    );
    nodes
}

fn a_platform_opens_its_journal_and_carries_out_commands_given_anywhere(ground: &Ground) {
    let mut nodes = start(ground);
    let leads = leader(&nodes).unwrap();
    let follower = HOSTS.into_iter().find(|host| *host != leads).unwrap();
    let state = nodes[follower].state();
    assert_eq!(state.placed["web"].len(), 2);
    assert_eq!(state.owner, Some(1000));
    assert!(matches!(
        carry_out(&mut nodes, follower, Ask::Pause),
        Answer::Done { .. }
    ));
    match carry_out(&mut nodes, leads, Ask::Pause) {
        Answer::Refused { why, .. } => assert_eq!(why.code(), "already_paused"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        carry_out(&mut nodes, leads, Ask::Resume),
        Answer::Done { .. }
    ));
    let spec = FaultSpec {
        kind: FaultKind::RegionFreeze,
        target: FaultTarget::Region("r2".parse().unwrap()),
        lasts_ms: 300,
        one_way: false,
        delay_us: 0,
        detail: FaultDetail::default(),
    };
    let set = carry_out(&mut nodes, follower, Ask::InjectFault(spec));
    assert!(matches!(set, Answer::Done { .. }), "{set:?}");
    // It ends by itself, in the journal too.
    turn_until(&mut nodes, "the fault's end", |nodes| {
        for node in nodes.values_mut() {
            while let Some(assigned) = node.poll_effect() {
                let detail = String::new();
                node.submit(Signal::Answered {
                    effect: assigned.id,
                    outcome: Outcome::Done { detail },
                });
            }
        }
        nodes.values().all(|node| node.state().faults.is_empty())
    });
    switch_over(&mut nodes, follower);
    assert_eq!(ground.verified().vouched.len(), 3);
}

fn switch_over(nodes: &mut BTreeMap<&str, KernelRunner>, follower: &str) {
    let ask = || Ask::Switchover {
        database: "ledger".parse().unwrap(),
        to: "r3".parse().unwrap(),
    };
    match carry_out(nodes, follower, ask()) {
        Answer::Refused { why, .. } => assert_eq!(why.code(), "primary_unknown"),
        other => panic!("{other:?}"),
    }
    nodes
        .get_mut(follower)
        .unwrap()
        .submit(Signal::Reported(Report {
            host: "h1".parse().unwrap(),
            at_ms: 5,
            reflex: Reflex::BecamePrimary {
                database: "ledger".parse().unwrap(),
                term: Term(2),
            },
        }));
    turn_until(nodes, "the primary", |nodes| {
        nodes
            .values()
            .all(|node| !node.state().databases.is_empty())
    });
    match carry_out(nodes, follower, ask()) {
        Answer::Done { detail, .. } => assert!(detail.starts_with("h1 did"), "{detail}"),
        other => panic!("{other:?}"),
    }
}

fn leadership_moves_from_a_frozen_node_which_stops_when_it_thaws(ground: &Ground) {
    let mut nodes = start(ground);
    let first = leader(&nodes).unwrap();
    let mut frozen = nodes.remove(first).unwrap();
    let epoch = led(&frozen).unwrap();
    turn_until(&mut nodes, "another leader", |nodes| {
        leader(nodes).is_some()
    });
    let second = leader(&nodes).unwrap();
    assert!(matches!(
        carry_out(&mut nodes, second, Ask::Pause),
        Answer::Done { .. }
    ));
    // It thaws with work in hand, believing that it leads.
    assert_eq!(frozen.role(), Role::Leading(epoch));
    let cause = frozen.submit_and_watch(command(Ask::Resume)).unwrap();
    learns_of_another(&mut frozen, epoch);
    nodes.insert(first, frozen);
    // Its command is not lost: it travels to the new leader.
    turn_until(&mut nodes, "the answer", |nodes| {
        nodes
            .get_mut(first)
            .unwrap()
            .poll_answer()
            .is_some_and(|(answered, answer)| {
                answered == cause && matches!(answer, Answer::Done { .. })
            })
    });
    // All are killed; whoever led comes back and leads again at once.
    turn_until(&mut nodes, "a leader", |nodes| leader(nodes).is_some());
    let second = leader(&nodes).unwrap();
    drop(nodes);
    let mut nodes: BTreeMap<&str, KernelRunner> = HOSTS
        .into_iter()
        .map(|host| (host, ground.open(host)))
        .collect();
    turn_until(&mut nodes, "a leader", |nodes| leader(nodes).is_some());
    assert_eq!(leader(&nodes), Some(second));
    assert!(nodes[first].state().paused.is_none());
    ground.verified();
}

fn a_node_without_a_majority_neither_leads_nor_follows_until_it_has_one_again(ground: &Ground) {
    let mut nodes = start(ground);
    let first = leader(&nodes).unwrap();
    let epoch = led(&nodes[first]).unwrap();
    nodes.get_mut(first).unwrap().set_reach(&Reach::Minority {
        heard: 1,
        regions: 3,
    });
    turn_until(&mut nodes, "another leader", |nodes| {
        leader(nodes).is_some_and(|now| now != first)
    });
    assert_eq!(
        nodes[first].facts().problem.as_deref(),
        Some("coordination is out of reach: 1 of 3 regions answer")
    );
    let first = nodes.get_mut(first).unwrap();
    first.set_reach(&Reach::Majority);
    learns_of_another(first, epoch);
}
