//! Faults on real processes and wires: they end whoever dies, and nothing is left.

#![allow(clippy::unwrap_used, reason = "a test may fail at once")]

mod harness;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use harness::{FIXTURE, Scene, gone, wait_for};
use mainstay_host::faults::{self, FaultError, FaultRequest, Place, Residue};
use mainstay_host::{identity, launch, wire};
use mainstay_record::process::{
    FaultDetail, FaultDoor, FaultKind, FaultParameters, FaultRecord, FaultState, FaultUndo,
    FaultWays, ProcessIdentity, ShimState, VERSION, WireDoor, WireEffect, WireLane, WireShape,
    WireSpec,
};
use mainstay_rt::clock;
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(60);

fn place(scene: &Scene) -> Place {
    Place {
        data: scene.path().into(),
        guardian: vec![FIXTURE.into(), "guardian".into()],
    }
}

fn request(id: &str, kind: FaultKind, target: &str, lasting: Duration) -> FaultRequest {
    FaultRequest {
        id: id.into(),
        kind,
        target: target.into(),
        parameters: FaultParameters::default(),
        lasting,
    }
}

fn inject(scene: &mut Scene, request: &FaultRequest) -> FaultRecord {
    let record = faults::inject(&place(scene), request).unwrap();
    record.guardian.map(|guardian| scene.own(guardian));
    record
}

fn launch_path(scene: &Scene, host: &str) -> PathBuf {
    scene
        .path()
        .join("hosts")
        .join(host)
        .join("node/launch.json")
}

/// Starts a host's node and one instance with a child of its own.
fn start_host(scene: &mut Scene, host: &str, region: &str) -> (ProcessIdentity, ShimState) {
    std::fs::create_dir_all(scene.path().join("hosts").join(host).join("node")).unwrap();
    let data = scene.path().to_str().unwrap().to_owned();
    let node = scene.start_fixture(&["node", &data, host, region]);
    wait_for("the node to note its launch", || {
        launch::read_launch(&launch_path(scene, host))
            .ok()
            .filter(|launch| launch.process == node)
    });
    let spec = scene.shim_spec(
        host,
        "work",
        "setsid sleep 1000 & while :; do sleep 0.05; done",
    );
    let shim = scene.running(&spec);
    (node, shim)
}

fn is_stopped(process: ProcessIdentity) -> bool {
    let row = identity::row_of(process).unwrap();
    row.is_some_and(|row| row.is_stopped())
}

fn undone(scene: &Scene, id: &str) -> FaultRecord {
    wait_for("the fault to be undone", || {
        faults::find(scene.path(), id).filter(|record| record.state == FaultState::Undone)
    })
}

/// Whether a worker of stress has read its record: its busy threads run only then.
fn is_at_work(worker: ProcessIdentity) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", worker.pid));
    threads.into_iter().flatten().flatten().any(|thread| {
        std::fs::read_to_string(thread.path().join("comm"))
            .is_ok_and(|name| name.trim() == "busy-0")
    })
}

/// Wires both ways between the regions `a` and `b`, whose processes run.
fn start_wires(scene: &mut Scene, block: u8) -> [WireSpec; 2] {
    [("a", "b", 1), ("b", "a", 2)].map(|(from, to, number)| {
        let folder = scene.path().join("wires").join(format!("{from}--{to}"));
        std::fs::create_dir_all(&folder).unwrap();
        let spec = WireSpec {
            version: VERSION,
            from: from.into(),
            to: to.into(),
            doors: vec![WireDoor {
                listen: SocketAddr::from(([127, 208, block, 10 + number], 4_000)),
                target: SocketAddr::from(([127, 208, block, number], 4_000)),
                host: format!("{to}1"),
            }],
            shape: WireShape::default(),
            state: folder.join("state.json"),
            control: scene.path().join(format!("{from}--{to}.sock")),
        };
        let path = folder.join("spec.json");
        std::fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
        scene.start_fixture(&["wire", path.to_str().unwrap()]);
        wait_for("the wire to answer", || wire::status(&spec.control).ok());
        spec
    })
}

fn effects(spec: &WireSpec) -> Vec<WireEffect> {
    let status = wire::status(&spec.control).unwrap();
    status
        .state
        .conditions
        .iter()
        .map(|condition| condition.effect)
        .collect()
}

#[test]
fn a_frozen_host_thaws_although_its_injector_was_killed() {
    let mut scene = Scene::new();
    let (node, work) = start_host(&mut scene, "a1", "a");
    std::fs::create_dir_all(scene.path().join("hosts/b1/node")).unwrap();
    let data = scene.path().to_str().unwrap().to_owned();
    let injector = scene.start_fixture(&[
        "node",
        &data,
        "b1",
        "b",
        "freeze",
        "host-freeze",
        "a1",
        "10000",
    ]);
    wait_for("the fault to be set", || {
        faults::find(scene.path(), "freeze").filter(|record| record.state == FaultState::Set)
    });
    identity::signal(injector, Signal::KILL).unwrap();
    gone(injector);
    let far = identity::descendants(&identity::table().unwrap(), work.shim.pid);
    assert!(far.len() >= 3, "{far:?}");
    // A signal takes effect when its process is next scheduled.
    for process in far.iter().map(|row| row.identity).chain([node, work.shim]) {
        wait_for("a process of the host to stand still", || {
            is_stopped(process).then_some(())
        });
    }
    assert!(
        faults::residue(scene.path()).unwrap().is_empty(),
        "what a record explains is no residue"
    );
    let listed = faults::in_force(scene.path());
    assert!(listed[0].guardian_alive && listed[0].remaining_ms <= 10_000);
    let record = undone(&scene, "freeze");
    assert!(!is_stopped(node) && !is_stopped(work.shim) && !is_stopped(work.child.unwrap()));
    gone(record.guardian.unwrap());
    assert!(faults::in_force(scene.path()).is_empty());
}

#[test]
fn a_host_that_freezes_itself_thaws() {
    let mut scene = Scene::new();
    std::fs::create_dir_all(scene.path().join("hosts/a1/node")).unwrap();
    let data = scene.path().to_str().unwrap().to_owned();
    let node = scene.start_fixture(&[
        "node",
        &data,
        "a1",
        "a",
        "self",
        "region-freeze",
        "a",
        "5000",
    ]);
    wait_for("the node to stand still", || is_stopped(node).then_some(()));
    undone(&scene, "self");
    wait_for("the node to go on", || (!is_stopped(node)).then_some(()));
    assert!(identity::is_alive(node));
}

#[test]
fn a_node_that_freezes_itself_does_not_freeze_its_guardian() {
    let mut scene = Scene::new();
    std::fs::create_dir_all(scene.path().join("hosts/a1/node")).unwrap();
    let data = scene.path().to_str().unwrap().to_owned();
    let arguments = [
        "node",
        &data,
        "a1",
        "a",
        "own",
        "process-freeze",
        "a1/node",
        "5000",
    ];
    let node = scene.start_fixture(&arguments);
    wait_for("the fault to be set", || {
        faults::find(scene.path(), "own").filter(|record| record.state == FaultState::Set)
    });
    assert!(is_stopped(node));
    // The guardian is a child of the node that asked for it: nobody else is there to end the fault.
    undone(&scene, "own");
    wait_for("the node to go on", || (!is_stopped(node)).then_some(()));
}

#[test]
fn without_guardian_a_sweep_mends_and_without_record_it_reports() {
    let mut scene = Scene::new();
    let (_, work) = start_host(&mut scene, "a1", "a");
    let child = work.child.unwrap();
    let record = inject(
        &mut scene,
        &request(
            "p",
            FaultKind::ProcessFreeze,
            "a1/work",
            Duration::from_secs(8),
        ),
    );
    let guardian = record.guardian.unwrap();
    assert!(is_stopped(child) && !is_stopped(work.shim));
    identity::signal(guardian, Signal::KILL).unwrap();
    gone(guardian);
    assert_eq!(
        faults::sweep(scene.path(), clock::now()).undone,
        Vec::<String>::new(),
        "it is not over yet"
    );
    assert!(is_stopped(child));
    let deadline = mainstay_units::Instant::from_nanos(record.deadline_boottime_ns);
    wait_for("the deadline", || (clock::now() >= deadline).then_some(()));
    let report = faults::sweep(scene.path(), clock::now());
    assert_eq!(report.undone, ["p"]);
    assert!(faults::residue(scene.path()).unwrap().is_empty());
    wait_for("the child to go on", || (!is_stopped(child)).then_some(()));
    identity::signal(child, Signal::STOP).unwrap();
    wait_for("the child to stand still", || {
        is_stopped(child).then_some(())
    });
    assert_eq!(
        faults::residue(scene.path()).unwrap(),
        [Residue::StoppedProcess {
            host: "a1".into(),
            process: child
        }]
    );
}

#[test]
fn a_crashed_host_falls_silent_first_and_its_node_comes_back() {
    let mut scene = Scene::new();
    let wires = start_wires(&mut scene, 60);
    let (node, work) = start_host(&mut scene, "a1", "a");
    let (other, _) = start_host(&mut scene, "b1", "b");
    let request = request("crash", FaultKind::HostCrash, "a1", Duration::from_secs(10));
    let record = inject(&mut scene, &request);
    assert_eq!(record.state, FaultState::Set);
    for process in [node, work.shim, work.child.unwrap()] {
        assert!(!identity::is_alive(process));
    }
    assert!(identity::is_alive(other));
    assert!(
        faults::host_down(scene.path(), "a1").is_some()
            && faults::host_down(scene.path(), "b1").is_none()
    );
    for spec in &wires {
        assert_eq!(effects(spec), [WireEffect::Crash]);
    }
    undone(&scene, "crash");
    assert!(faults::host_down(scene.path(), "a1").is_none());
    for spec in &wires {
        assert_eq!(effects(spec), []);
    }
    let again = wait_for("the node to run again", || {
        launch::read_launch(&launch_path(&scene, "a1"))
            .ok()
            .filter(|launch| launch.process != node)
    });
    scene.own(again.process);
    assert!(identity::is_alive(again.process));
}

#[test]
fn a_cut_is_told_to_both_wires_and_can_be_ended_early() {
    let mut scene = Scene::new();
    let [there, back] = start_wires(&mut scene, 61);
    let mut one_way = request("one-way", FaultKind::Cut, "a", LONG);
    one_way.parameters = FaultParameters {
        to: Some("b".into()),
        one_way: true,
        ..FaultParameters::default()
    };
    let record = inject(&mut scene, &one_way);
    assert_eq!(
        (effects(&there), effects(&back)),
        (vec![WireEffect::CutForward], vec![WireEffect::CutBackward])
    );
    let mut delay = request("delay", FaultKind::Delay, "b", LONG);
    delay.parameters.delay_us = 1_000;
    inject(&mut scene, &delay);
    assert_eq!(effects(&there).len(), 2);
    faults::clear(scene.path(), "one-way").unwrap();
    assert_eq!(
        effects(&there),
        [WireEffect::Delay {
            delay_us: 1_000,
            jitter_us: 0
        }]
    );
    gone(record.guardian.unwrap());
    assert_eq!(
        faults::clear(scene.path(), "one-way").unwrap().state,
        FaultState::Undone
    );
    assert!(matches!(
        faults::clear(scene.path(), "other"),
        Err(FaultError::UnknownFault(_))
    ));
    // A condition that nobody answers for.
    std::fs::remove_file(scene.path().join("faults/delay.json")).unwrap();
    assert_eq!(faults::residue(scene.path()).unwrap().len(), 2);
}

#[test]
fn killing_a_process_is_over_at_once() {
    let mut scene = Scene::new();
    let (node, work) = start_host(&mut scene, "a1", "a");
    let record = inject(
        &mut scene,
        &request("kill", FaultKind::ProcessKill, "a1/work", LONG),
    );
    assert_eq!(record.state, FaultState::Undone);
    assert!(record.set_wall_ms.is_some());
    gone(work.shim);
    gone(record.guardian.unwrap());
    // Also when whoever asks is the victim.
    identity::signal(node, Signal::KILL).unwrap();
    gone(node);
    let data = scene.path().to_str().unwrap().to_owned();
    let node = scene.start_fixture(&[
        "node",
        &data,
        "a1",
        "a",
        "self",
        "process-kill",
        "a1/node",
        "60000",
    ]);
    gone(node);
    undone(&scene, "self");
}

#[test]
fn what_cannot_be_done_breaks_nothing() {
    let mut scene = Scene::new();
    let (_, work) = start_host(&mut scene, "a1", "a");
    let place = place(&scene);
    let refused = |request: &FaultRequest| faults::inject(&place, request).unwrap_err();
    let known = |error: FaultError| match error {
        FaultError::UnknownTarget { known, .. } => known,
        other => unreachable!("{other}"),
    };
    assert_eq!(
        known(refused(&request("x", FaultKind::HostCrash, "z", LONG))),
        ["a1"]
    );
    assert_eq!(
        known(refused(&request("x", FaultKind::RegionFreeze, "z", LONG))),
        ["a"]
    );
    assert_eq!(
        known(refused(&request("x", FaultKind::ProcessKill, "a1/z", LONG))),
        ["a1/node", "a1/work"]
    );
    assert!(matches!(
        refused(&request("x", FaultKind::Cut, "a", LONG)),
        FaultError::NotAvailable(_)
    ));
    assert!(matches!(
        refused(&request("../x", FaultKind::HostCrash, "a1", LONG)),
        FaultError::BadRequest(_)
    ));
    assert!(matches!(
        refused(&request("x", FaultKind::HostCrash, "a1", LONG * 100)),
        FaultError::BadRequest(_)
    ));
    assert!(faults::in_force(scene.path()).is_empty());
    let unguarded = Place {
        guardian: vec!["/bin/true".into()],
        ..place.clone()
    };
    let error =
        faults::inject(&unguarded, &request("y", FaultKind::HostFreeze, "a1", LONG)).unwrap_err();
    assert!(matches!(error, FaultError::Guardian { .. }), "{error}");
    assert_eq!(undone(&scene, "y").state, FaultState::Undone);
    assert!(identity::is_alive(work.shim) && !is_stopped(work.shim));
    let again =
        faults::inject(&place, &request("y", FaultKind::HostFreeze, "a1", LONG)).unwrap_err();
    assert!(
        matches!(again, FaultError::Record { .. }),
        "an id is used once"
    );
}

fn detailed(id: &str, kind: FaultKind, target: &str, detail: FaultDetail) -> FaultRequest {
    let mut request = request(id, kind, target, LONG);
    request.parameters.detail = detail;
    request
}

#[test]
fn who_is_asked_to_leave_and_stays_is_killed_when_its_grace_is_over() {
    let mut scene = Scene::new();
    start_host(&mut scene, "a1", "a");
    let spec = scene.shim_spec("a1", "deaf", "trap '' TERM; while :; do sleep 0.05; done");
    let child = scene.running(&spec).child.unwrap();
    let detail = FaultDetail {
        grace_ms: Some(1_000),
        ..FaultDetail::default()
    };
    let mut kill = detailed("k", FaultKind::ProcessKill, "a1/deaf", detail);
    kill.lasting = Duration::from_secs(5);
    let record = inject(&mut scene, &kill);
    assert_eq!(
        record.state,
        FaultState::Set,
        "in force until the grace is over"
    );
    assert!(identity::is_alive(child), "it was asked, and is deaf");
    undone(&scene, "k");
    gone(child);
}

#[test]
fn stress_ends_with_its_fault_although_its_guardian_was_killed() {
    let mut scene = Scene::new();
    start_host(&mut scene, "a1", "a");
    let detail = FaultDetail {
        cpu_workers: Some(1),
        cpu_load_percent: Some(20),
        memory_bytes: Some(1 << 20),
        ..FaultDetail::default()
    };
    let mut request = detailed("s", FaultKind::Stress, "a1", detail);
    request.lasting = Duration::from_secs(8);
    let record = inject(&mut scene, &request);
    let worker = match record.undo.as_slice() {
        [FaultUndo::End { processes }] => processes[0],
        other => panic!("{other:?}"),
    };
    assert!(identity::is_alive(worker));
    assert!(faults::residue(scene.path()).unwrap().is_empty());
    let guardian = record.guardian.unwrap();
    identity::signal(guardian, Signal::KILL).unwrap();
    gone(guardian);
    // Its own deadline ends it: nobody else is left to.
    gone(worker);
    let deadline = mainstay_units::Instant::from_nanos(record.deadline_boottime_ns);
    assert!(clock::now() >= deadline, "and not before");
    assert_eq!(faults::sweep(scene.path(), clock::now()).undone, ["s"]);
    assert!(faults::residue(scene.path()).unwrap().is_empty());
}

#[test]
fn a_worker_that_no_record_explains_is_residue() {
    let mut scene = Scene::new();
    start_host(&mut scene, "a1", "a");
    let detail = FaultDetail {
        cpu_workers: Some(1),
        cpu_load_percent: Some(1),
        ..FaultDetail::default()
    };
    let record = inject(&mut scene, &detailed("s", FaultKind::Stress, "a1", detail));
    let [FaultUndo::End { processes }] = record.undo.as_slice() else {
        panic!("{record:?}");
    };
    let (worker, guardian) = (scene.own(processes[0]), record.guardian.unwrap());
    // Who has not read its record yet ends by itself when that is gone: wait until it works.
    wait_for("the worker to be busy", || is_at_work(worker).then_some(()));
    identity::signal(guardian, Signal::KILL).unwrap();
    gone(guardian);
    std::fs::remove_file(scene.path().join("faults/s.json")).unwrap();
    let expected = Residue::Worker {
        id: "s".into(),
        process: worker,
    };
    assert_eq!(faults::residue(scene.path()).unwrap(), [expected]);
    identity::signal(worker, Signal::KILL).unwrap();
    gone(worker);
    assert!(faults::residue(scene.path()).unwrap().is_empty());
}

#[test]
fn what_is_held_down_is_killed_and_named_until_it_is_over() {
    let mut scene = Scene::new();
    let (_, work) = start_host(&mut scene, "a1", "a");
    let down = request("d", FaultKind::ProcessDown, "a1/work", LONG);
    inject(&mut scene, &down);
    gone(work.child.unwrap());
    assert!(faults::instances_down(scene.path(), "a1").contains("a1/work"));
    assert!(faults::instances_down(scene.path(), "b1").is_empty());
    faults::clear(scene.path(), "d").unwrap();
    assert!(faults::instances_down(scene.path(), "a1").is_empty());
}

#[test]
fn what_is_ended_while_it_is_being_set_does_not_stay() {
    // Where the word comes so late that the fault is set by then, nothing was shown.
    assert!((0..5).any(|_| end_while_it_is_being_set()));
}

/// Whether it was still being set.
fn end_while_it_is_being_set() -> bool {
    let mut scene = Scene::new();
    let (_, work) = start_host(&mut scene, "a1", "a");
    let down = request("d", FaultKind::ProcessDown, "a1/work", LONG);
    let place = place(&scene);
    let setting = std::thread::spawn(move || faults::inject(&place, &down));
    // Its guardian has killed it, and looks for another second whether it stays away.
    gone(work.child.unwrap());
    let guardian = faults::find(scene.path(), "d").unwrap().guardian.unwrap();
    scene.own(guardian);
    let ended = faults::clear(scene.path(), "d").unwrap();
    assert_eq!(ended.state, FaultState::Undone);
    let injected = setting.join().unwrap();
    gone(guardian);
    let record = faults::find(scene.path(), "d").unwrap();
    assert_eq!(record.state, FaultState::Undone);
    assert!(faults::instances_down(scene.path(), "a1").is_empty());
    let Err(injected) = injected else {
        return false;
    };
    assert!(matches!(injected, FaultError::Set { .. }), "{injected}");
    assert_eq!(record.set_wall_ms, None);
    true
}

#[test]
fn what_is_ended_before_it_is_set_is_not_set() {
    let mut scene = Scene::new();
    let (_, work) = start_host(&mut scene, "a1", "a");
    let unknown = faults::clear(scene.path(), "late").unwrap_err();
    assert!(matches!(unknown, FaultError::UnknownFault(_)), "{unknown}");
    let late = request("late", FaultKind::ProcessKill, "a1/work", LONG);
    let refused = faults::inject(&place(&scene), &late).unwrap_err();
    assert!(matches!(refused, FaultError::NotAvailable(_)), "{refused}");
    assert!(identity::is_alive(work.child.unwrap()));
    // A name that is none makes no file anywhere.
    faults::clear(scene.path(), "../launch").unwrap_err();
    assert!(!scene.path().join("launch.over").exists());
}

#[test]
fn what_two_faults_stop_stands_still_until_both_are_over() {
    let mut scene = Scene::new();
    let (node, work) = start_host(&mut scene, "a1", "a");
    let child = work.child.unwrap();
    let process = request("p", FaultKind::ProcessFreeze, "a1/work", LONG);
    let host = request("h", FaultKind::HostFreeze, "a1", LONG);
    for [first, second] in [[&process, &host], [&host, &process]] {
        let again = |request: &FaultRequest| FaultRequest {
            id: format!("{}-of-{}", request.id, first.id),
            ..request.clone()
        };
        let (first, second) = (again(first), again(second));
        inject(&mut scene, &first);
        inject(&mut scene, &second);
        faults::clear(scene.path(), &first.id).unwrap();
        assert!(is_stopped(child), "{} ended alone", first.id);
        faults::clear(scene.path(), &second.id).unwrap();
        assert!(!is_stopped(child) && !is_stopped(node));
        assert!(faults::residue(scene.path()).unwrap().is_empty());
    }
}

#[test]
fn what_a_fault_took_down_stays_down_with_its_platform() {
    let mut scene = Scene::new();
    let (node, _) = start_host(&mut scene, "a1", "a");
    let crash = request("c", FaultKind::HostCrash, "a1", LONG);
    let guardian = inject(&mut scene, &crash).guardian.unwrap();
    gone(node);
    let over = faults::end_for_good(scene.path(), "c").unwrap();
    assert_eq!(over.state, FaultState::Undone);
    gone(guardian);
    let launch = launch::read_launch(&launch_path(&scene, "a1")).unwrap();
    assert_eq!(launch.process, node, "nobody was started");
    assert!(faults::host_down(scene.path(), "a1").is_none());
}

#[test]
fn only_what_its_node_starts_is_held_down() {
    let mut scene = Scene::new();
    start_host(&mut scene, "a1", "a");
    let mut server = scene.shim_spec("a1", "postgres-ledger", "sleep 1000");
    let folder = scene.path().join("hosts/a1/databases/ledger");
    std::fs::create_dir_all(&folder).unwrap();
    server.state = folder.join("postgres-state.json");
    let server = scene.running(&server);
    for target in ["a1/postgres-ledger", "a1/node"] {
        let down = request("d", FaultKind::ProcessDown, target, LONG);
        let refused = faults::inject(&place(&scene), &down).unwrap_err();
        assert!(matches!(refused, FaultError::NotAvailable(_)), "{refused}");
    }
    assert!(identity::is_alive(server.child.unwrap()));
}

#[test]
fn one_door_is_slowed_alone() {
    let mut scene = Scene::new();
    let [there, back] = start_wires(&mut scene, 65);
    let door = |port| FaultDetail {
        jitter_us: Some(2),
        door: Some(FaultDoor {
            host: "b1".into(),
            port,
            ways: FaultWays::Back,
        }),
        ..FaultDetail::default()
    };
    let mut slow = detailed("slow", FaultKind::Delay, "a", door(4_000));
    slow.parameters.to = Some("b".into());
    slow.parameters.delay_us = 7;
    inject(&mut scene, &slow);
    let backward = WireLane {
        delay_us: 7,
        ..WireLane::default()
    };
    let shape = WireEffect::Shape {
        forward: WireLane::default(),
        backward,
    };
    assert_eq!((effects(&there), effects(&back)), (vec![shape], vec![]));
    let held = wire::status(&there.control).unwrap().state.conditions;
    assert_eq!(held[0].port, Some(4_000));
    faults::clear(scene.path(), "slow").unwrap();
    assert_eq!(effects(&there), []);
    let mut elsewhere = detailed("none", FaultKind::Delay, "a", door(4_001));
    elsewhere.parameters.delay_us = 7;
    let refused = faults::inject(&place(&scene), &elsewhere).unwrap_err();
    assert!(matches!(refused, FaultError::NotAvailable(_)), "{refused}");
}
