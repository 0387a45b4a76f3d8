//! Supervision with real shims and probes: restart, adoption, replacement, order.

#![allow(clippy::unwrap_used, reason = "a test may fail at once")]

mod harness;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use harness::{FIXTURE, Scene};
use mainstay_host::identity;
use mainstay_host::supervisor::{Hold, Moved, Settings, Supervisor};
use mainstay_identity::Identity;
use mainstay_identity::authority::Authority;
use mainstay_record::identity::IdentityFiles;
use mainstay_record::process::{
    InstanceSpec, InstanceStatus, ProbeCheck, ProbeSpec, ProbesSpec, ProcessExit, RestartSpec,
};
use mainstay_supervision::Phase;
use rustix::process::Signal;
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_secs(60);

fn instance(scene: &Scene, name: &str, script: &str) -> InstanceSpec {
    InstanceSpec {
        shim: scene.shim_spec("h", name, script),
        probes: ProbesSpec::default(),
        restart: RestartSpec {
            initial_ms: 20,
            maximum_ms: 100,
            crash_loop_exits: 4,
            ..RestartSpec::default()
        },
        drain_ms: 0,
        order: 0,
        labels: BTreeMap::new(),
    }
}

fn probe(check: ProbeCheck) -> Option<ProbeSpec> {
    Some(ProbeSpec {
        period_ms: 20,
        ..ProbeSpec::new(check)
    })
}

fn supervise(scene: &Scene) -> (Supervisor, mpsc::Receiver<Moved>) {
    supervise_as(scene, None)
}

fn supervise_as(
    scene: &Scene,
    identity: Option<Arc<Identity>>,
) -> (Supervisor, mpsc::Receiver<Moved>) {
    Supervisor::start(Settings {
        identity,
        shim: vec![FIXTURE.into(), "shim".into()],
        folder: scene.path().join("hosts/h/instances"),
        seed: 1,
    })
}

/// Runs one life of a node.
fn live<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(LIMIT, life)
            .await
            .expect("it takes too long")
    })
}

async fn until(
    supervisor: &Supervisor,
    mut holds: impl FnMut(&[InstanceStatus]) -> bool,
) -> Vec<InstanceStatus> {
    let mut changes = supervisor.status_changes();
    changes
        .wait_for(|status| holds(status))
        .await
        .unwrap()
        .clone()
}

async fn ready(supervisor: &Supervisor, name: &str) -> InstanceStatus {
    let name = format!("h/{name}");
    let found = |status: &[InstanceStatus]| {
        status
            .iter()
            .find(|one| one.instance == name && one.ready)
            .cloned()
    };
    found(
        &until(supervisor, |status| {
            found(status).is_some_and(|one| one.process.is_some())
        })
        .await,
    )
    .unwrap()
}

/// Stops everything however the test ends well; the scene's own broom does not know the shims.
async fn end(supervisor: &Supervisor) {
    supervisor.stop_all().await.unwrap();
    assert!(supervisor.status().is_empty());
}

#[test]
fn a_crash_is_restarted_and_probes_decide_readiness() {
    let scene = Scene::new();
    let mut spec = instance(
        &scene,
        "web",
        "trap 'exit 0' TERM; rm -f up; sleep 0.1; touch up; while :; do sleep 0.02; done",
    );
    let exists = ProbeCheck::Exec {
        command: vec!["/usr/bin/test".into(), "-e".into(), "up".into()],
    };
    spec.probes.startup = probe(exists.clone()).map(|probe| ProbeSpec {
        failure_threshold: 1_000,
        ..probe
    });
    spec.probes.readiness = probe(exists);
    live(async {
        let (supervisor, mut moves) = supervise(&scene);
        supervisor.set_desired(vec![spec.clone()]).await.unwrap();
        let first = ready(&supervisor, "web").await;
        identity::signal(first.process.unwrap(), Signal::KILL).unwrap();
        until(&supervisor, |status| {
            status.iter().any(|one| one.restarts == 1)
        })
        .await;
        let second = ready(&supervisor, "web").await;
        assert_ne!(first.process, second.process);
        assert_eq!(second.last_exit, Some(ProcessExit::Signal(9)));
        end(&supervisor).await;
        let mut phases = Vec::new();
        while let Ok(moved) = moves.try_recv() {
            phases.push(moved.to);
        }
        use Phase::{Draining, Launching, Ready, Starting, Stopped, Stopping, Unready, Waiting};
        let run = [Launching, Starting, Unready, Ready];
        let expected: Vec<Phase> = run
            .into_iter()
            .chain([Waiting])
            .chain(run)
            .chain([Draining, Stopping, Stopped])
            .collect();
        assert_eq!(phases, expected);
    });
}

#[test]
fn a_crash_loop_is_seen_and_an_unwanted_one_goes() {
    let scene = Scene::new();
    let spec = instance(&scene, "loop", "exit 3");
    live(async {
        let (supervisor, _moves) = supervise(&scene);
        supervisor.set_desired(vec![spec]).await.unwrap();
        let status = until(&supervisor, |status| {
            status.iter().any(|one| one.phase == "crash_loop")
        })
        .await;
        assert_eq!(status[0].last_exit, Some(ProcessExit::Code(3)));
        supervisor.set_desired(Vec::new()).await.unwrap();
        until(&supervisor, <[InstanceStatus]>::is_empty).await;
    });
}

#[test]
fn a_new_node_adopts_what_runs_replaces_what_changed_and_ends_what_is_unwanted() {
    let scene = Scene::new();
    let specs: Vec<InstanceSpec> = ["same", "changed", "unwanted"]
        .map(|name| instance(&scene, name, "sleep 1000"))
        .to_vec();
    let before = live(async {
        let (supervisor, _moves) = supervise(&scene);
        supervisor.set_desired(specs.clone()).await.unwrap();
        [
            ready(&supervisor, "same").await,
            ready(&supervisor, "changed").await,
            ready(&supervisor, "unwanted").await,
        ]
    });
    let pids = before.map(|status| status.process.unwrap());
    assert!(
        pids.iter().all(|process| identity::is_alive(*process)),
        "nothing dies with the node"
    );
    live(async {
        let (supervisor, _moves) = supervise(&scene);
        let mut changed = specs[1].clone();
        changed.shim.environment.insert("NEW".into(), "1".into());
        supervisor
            .set_desired(vec![specs[0].clone(), changed])
            .await
            .unwrap();
        assert_eq!(ready(&supervisor, "same").await.process, Some(pids[0]));
        let changed = until(&supervisor, |status| {
            status.iter().any(|one| {
                one.instance == "h/changed"
                    && one.ready
                    && one.process != Some(pids[1])
                    && one.process.is_some()
            })
        });
        assert_eq!(changed.await[0].generation, 2);
        until(&supervisor, |status| status.len() == 2).await;
        assert!(!identity::is_alive(pids[1]) && !identity::is_alive(pids[2]));
        end(&supervisor).await;
        assert!(!identity::is_alive(pids[0]));
    });
}

#[test]
fn a_higher_generation_of_the_same_description_is_another_process() {
    let scene = Scene::new();
    let mut spec = instance(&scene, "counted", "sleep 1000");
    live(async {
        let (supervisor, _moves) = supervise(&scene);
        supervisor.set_desired(vec![spec.clone()]).await.unwrap();
        let first = ready(&supervisor, "counted").await.process.unwrap();
        spec.shim.generation = 7;
        supervisor.set_desired(vec![spec.clone()]).await.unwrap();
        let replaced = |status: &[InstanceStatus]| {
            let mut ready = status.iter().filter(|one| one.ready);
            ready.any(|one| one.process.is_some_and(|it| it != first))
        };
        assert_eq!(until(&supervisor, replaced).await[0].generation, 7);
        // What was counted up by a restart is not counted down again by whoever wishes for the same.
        spec.shim.generation = 1;
        let second = ready(&supervisor, "counted").await.process;
        supervisor.set_desired(vec![spec]).await.unwrap();
        supervisor.hold(Hold::Pause).await.unwrap();
        until(&supervisor, |status| status.len() == 1).await;
        assert_eq!(ready(&supervisor, "counted").await.process, second);
        end(&supervisor).await;
    });
}

#[test]
fn a_killed_shim_takes_nothing_with_it_that_its_successor_would_meet() {
    let scene = Scene::new();
    let spec = instance(&scene, "shimless", "sleep 1000");
    live(async {
        let (supervisor, _moves) = supervise(&scene);
        supervisor.set_desired(vec![spec.clone()]).await.unwrap();
        let first = ready(&supervisor, "shimless").await.process.unwrap();
        let shim = mainstay_host::shim::read_state(&spec.shim.state)
            .unwrap()
            .shim;
        identity::signal(shim, Signal::KILL).unwrap();
        until(&supervisor, |status| {
            status
                .iter()
                .any(|one| one.ready && one.process.is_some_and(|it| it != first))
        })
        .await;
        assert!(!identity::is_alive(first));
        end(&supervisor).await;
    });
}

#[test]
fn a_frozen_process_fails_its_probe_and_is_replaced() {
    let scene = Scene::new();
    let mut spec = instance(&scene, "frozen", "rm -f sick; touch begun; sleep 1000");
    spec.probes.liveness = probe(ProbeCheck::Exec {
        command: ["/usr/bin/test", "!", "-e", "sick"]
            .map(str::to_owned)
            .to_vec(),
    });
    live(async {
        let (supervisor, _moves) = supervise(&scene);
        supervisor.set_desired(vec![spec.clone()]).await.unwrap();
        let first = ready(&supervisor, "frozen").await.process.unwrap();
        while !spec.shim.directory.join("begun").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        identity::signal(first, Signal::STOP).unwrap();
        std::fs::write(spec.shim.directory.join("sick"), "").unwrap();
        until(&supervisor, |status| {
            status
                .iter()
                .any(|one| one.ready && one.process.is_some_and(|it| it != first))
        })
        .await;
        assert!(
            !identity::is_alive(first),
            "stopped processes end by SIGKILL"
        );
        end(&supervisor).await;
    });
}

#[test]
fn what_starts_last_stops_first_and_a_deaf_one_is_killed() {
    let scene = Scene::new();
    let script = |name: &str| {
        format!(
            "trap 'sleep 0.05; echo {name} >> ../order; exit 0' TERM; touch ../set-{name}; while :; do sleep 0.01; done"
        )
    };
    let mut specs = vec![
        instance(&scene, "base", &script("base")),
        InstanceSpec {
            order: 5,
            ..instance(&scene, "top", &script("top"))
        },
        InstanceSpec {
            order: 9,
            ..instance(
                &scene,
                "deaf",
                "trap '' TERM; touch ../set-deaf; while :; do sleep 0.05; done",
            )
        },
    ];
    for (spec, grace_ms) in specs.iter_mut().zip([20_000, 20_000, 100]) {
        spec.shim.stop.grace_ms = grace_ms;
    }
    let folder = scene.path().join("hosts/h/instances");
    live(async {
        let (supervisor, _moves) = supervise(&scene);
        supervisor.set_desired(specs).await.unwrap();
        for name in ["base", "top", "deaf"] {
            ready(&supervisor, name).await;
            // The trap is set a moment after the start.
            while !folder.join(format!("set-{name}")).exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        end(&supervisor).await;
    });
    let order = std::fs::read_to_string(folder.join("order")).unwrap();
    assert_eq!(order, "top\nbase\n");
}

#[test]
fn nothing_starts_on_a_host_that_is_down() {
    let scene = Scene::new();
    let spec = instance(&scene, "held", "sleep 1000");
    live(async {
        let (supervisor, _moves) = supervise(&scene);
        supervisor.hold(Hold::HostDown).await.unwrap();
        supervisor.set_desired(vec![spec.clone()]).await.unwrap();
        until(&supervisor, |status| {
            status.iter().any(|one| one.phase == "held")
        })
        .await;
        assert!(!spec.shim.state.exists());
        supervisor.hold(Hold::HostBack).await.unwrap();
        ready(&supervisor, "held").await;
        end(&supervisor).await;
    });
}

#[test]
fn an_answer_over_http_and_a_port_that_opens_are_health() {
    let scene = Scene::new();
    live(async {
        let listener = tokio::net::TcpListener::bind("127.208.40.1:0")
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (healthy, served) = tokio::sync::watch::channel("503 Service Unavailable");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = format!("HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n", *served.borrow());
                tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes())
                    .await
                    .ok();
            }
        });
        let mut spec = instance(&scene, "http", "sleep 1000");
        spec.probes.startup = probe(ProbeCheck::Tcp { address });
        spec.probes.readiness = probe(ProbeCheck::Http {
            address,
            path: "/health/ready".into(),
            name: None,
        });
        let (supervisor, _moves) = supervise(&scene);
        supervisor.set_desired(vec![spec]).await.unwrap();
        until(&supervisor, |status| {
            status.iter().any(|one| one.phase == "unready")
        })
        .await;
        healthy.send("200 OK").unwrap();
        ready(&supervisor, "http").await;
        healthy.send("500 Oh").unwrap();
        until(&supervisor, |status| {
            status.iter().any(|one| one.phase == "unready")
        })
        .await;
        end(&supervisor).await;
    });
}

#[test]
fn a_probe_proves_who_asks_and_believes_nobody_of_another_name() {
    let scene = Scene::new();
    let authority = Authority::new(&scene.path().join("authority"), "exchange");
    let identity = |name: &str| {
        let leaf = authority
            .issue(name, mainstay_rt::clock::wall_ms())
            .unwrap();
        let own = scene.path().join(name);
        std::fs::write(&own, leaf.pem).unwrap();
        let roots = authority.roots();
        Identity::open(IdentityFiles { own, roots }).unwrap()
    };
    let (asker, asked) = (identity("node.h.mainstay"), identity("venue.h.mainstay"));
    live(async {
        let listener = tokio::net::TcpListener::bind("127.208.40.2:0")
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok((mut stream, peer)) = asked.accept(stream).await else {
                    continue;
                };
                assert!(peer.is("node.h.mainstay"));
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
                    .await
                    .ok();
            }
        });
        let named = |instance: &str, name: &str| {
            let mut spec = self::instance(&scene, instance, "sleep 1000");
            spec.probes.readiness = probe(ProbeCheck::Http {
                address,
                path: "/health/ready".into(),
                name: Some(name.to_owned()),
            });
            spec
        };
        let (supervisor, _moves) = supervise_as(&scene, Some(asker));
        let specs = vec![
            named("known", "venue.h.mainstay"),
            named("taken", "venue.other.mainstay"),
        ];
        supervisor.set_desired(specs).await.unwrap();
        ready(&supervisor, "known").await;
        until(&supervisor, |status| {
            status
                .iter()
                .any(|one| one.instance.ends_with("taken") && one.phase == "unready")
        })
        .await;
        end(&supervisor).await;
    });
}
