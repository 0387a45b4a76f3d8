//! The shim with real processes: it outlives its launcher, ends whole families, and never lets a log
//! or a zombie stand in the way.

mod harness;

use harness::{FIXTURE, Scene, exited, gone, state, told, wait_for};
use mainstay_host::launch::{Adoption, adopt};
use mainstay_host::{identity, launch};
use mainstay_record::process::{LogSpec, ProcessExit, SecretVariable, ShimPhase};
use rustix::process::Signal;

#[test]
fn a_child_that_leaves_is_reported_with_its_code() {
    let mut scene = Scene::new();
    let mut spec = scene.shim_spec("h", "code", "echo out; echo err >&2; env; exit 7");
    spec.environment.insert("GREETING".into(), "hello".into());
    let shim = scene.start_shim(&spec);
    let state = exited(&spec);
    assert_eq!(state.exit, Some(ProcessExit::Code(7)));
    gone(shim);
    let log = std::fs::read_to_string(&spec.log.path).unwrap();
    assert!(log.starts_with("out\nerr\n"), "{log}");
    assert!(log.contains("GREETING=hello"));
    assert!(!log.contains("CARGO"), "the environment is clean: {log}");
    assert!(matches!(adopt(&spec.state), Adoption::Gone(_)));
}

#[test]
fn a_program_that_is_missing_is_an_exit_of_its_own() {
    let mut scene = Scene::new();
    let mut spec = scene.shim_spec("h", "missing", "");
    spec.command = vec!["/no/such/program".into()];
    scene.start_shim(&spec);
    assert!(
        matches!(exited(&spec).exit, Some(ProcessExit::Failed(reason)) if reason.contains("/no/such/program"))
    );
}

#[test]
fn a_secret_is_in_the_environment_of_the_child_and_nowhere_else() {
    let mut scene = Scene::new();
    let script = r#"test "$PROXY" = "http://me:$(cat secret)@there""#;
    let mut spec = scene.shim_spec("h", "told", script);
    let file = spec.directory.join("secret");
    let proxy = SecretVariable {
        before: "http://me:".to_owned(),
        file: file.clone(),
        after: "@there".to_owned(),
    };
    spec.secrets.insert("PROXY".into(), proxy);
    std::fs::write(&file, "s3cret\n").unwrap();
    scene.start_shim(&spec);
    assert_eq!(exited(&spec).exit, Some(ProcessExit::Code(0)));
    for entry in std::fs::read_dir(&spec.directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.contains("s3cret"), path == file, "{}", path.display());
    }

    let mut spec = scene.shim_spec("h", "untold", "exit 0");
    let unread = scene.path().join("no such secret");
    let (before, after) = (String::new(), String::new());
    let variable = SecretVariable {
        before,
        file: unread,
        after,
    };
    spec.secrets.insert("TOKEN".into(), variable);
    scene.start_shim(&spec);
    assert!(
        matches!(exited(&spec).exit, Some(ProcessExit::Failed(reason)) if reason.contains("no such secret"))
    );
}

#[test]
fn the_shim_survives_its_launcher() {
    let mut scene = Scene::new();
    let spec = scene.shim_spec("h", "survivor", "while :; do sleep 0.05; echo tick; done");
    let path = scene.write_spec(&spec);
    let launcher = scene.start_fixture(&["launch", FIXTURE, "shim", path.to_str().unwrap()]);
    let running = wait_for("the child to run", || {
        state(&spec).filter(|state| state.phase == ShimPhase::Running)
    });
    scene.own(running.shim);
    let row = identity::row_of(running.shim).unwrap().unwrap();
    assert_eq!(row.parent, launcher.pid);
    let shim = rustix::process::Pid::from_raw(i32::try_from(running.shim.pid).unwrap());
    let session = rustix::process::getsid(shim).unwrap();
    assert_eq!(Some(session), shim, "no terminal's signals reach it");
    identity::signal(launcher, Signal::KILL).unwrap();
    gone(launcher);
    let length = std::fs::metadata(&spec.log.path).map_or(0, |metadata| metadata.len());
    wait_for("the log to grow", || {
        (std::fs::metadata(&spec.log.path).ok()?.len() > length).then_some(())
    });
    assert!(matches!(adopt(&spec.state), Adoption::Alive(state) if state.child == running.child));
    identity::signal(running.shim, Signal::TERM).unwrap();
    assert_eq!(exited(&spec).exit, Some(ProcessExit::Signal(15)));
}

#[test]
fn stopping_ends_the_whole_family_however_deaf_and_far() {
    let mut scene = Scene::new();
    // The child ignores SIGTERM; its grandchild leads a session of its own and lost its parent.
    let script = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$ > far; sleep 1000 & wait' &) ; \
                  echo $$ > near; while :; do sleep 0.1; done";
    let spec = scene.shim_spec("h", "family", script);
    let running = scene.running(&spec);
    let far = scene.own(told(&spec, "far"));
    let below = scene.own(
        wait_for("the far one's child", || {
            identity::descendants(&identity::table().unwrap(), far.pid)
                .first()
                .copied()
        })
        .identity,
    );
    assert_eq!(told(&spec, "near"), running.child.unwrap());
    identity::signal(running.shim, Signal::TERM).unwrap();
    assert_eq!(exited(&spec).exit, Some(ProcessExit::Signal(9)));
    for process in [running.child.unwrap(), far, below] {
        assert!(
            !identity::is_alive(process),
            "the exit is written after the whole family has gone"
        );
    }
}

#[test]
fn a_crashed_child_takes_its_family_along_and_leaves_no_zombie() {
    let mut scene = Scene::new();
    let spec = scene.shim_spec(
        "h",
        "crash",
        "setsid sleep 1000 & echo $! > far; true & true & sleep 1000",
    );
    let running = scene.running(&spec);
    let far = scene.own(told(&spec, "far"));
    let zombies = || {
        let rows = identity::descendants(&identity::table().unwrap(), running.shim.pid);
        rows.iter()
            .filter(|row| row.parent == running.shim.pid && !row.is_alive())
            .count()
    };
    wait_for("no zombie below the shim", || {
        (zombies() == 0).then_some(())
    });
    identity::signal(running.child.unwrap(), Signal::KILL).unwrap();
    assert_eq!(exited(&spec).exit, Some(ProcessExit::Signal(9)));
    assert!(!identity::is_alive(far));
}

#[test]
fn a_shim_that_was_started_to_outlive_its_family_does() {
    let mut scene = Scene::new();
    let inner = scene.shim_spec("h", "server", "sleep 1000");
    let path = scene.write_spec(&inner);
    let script = format!(
        "env -u MAINSTAY_LAUNCH MAINSTAY_OUTLIVES=1 {FIXTURE} shim {} & sleep 1000",
        path.display()
    );
    let outer = scene.shim_spec("h", "keeper", &script);
    let keeper = scene.running(&outer);
    let server = wait_for("the inner child to run", || {
        state(&inner).filter(|state| state.phase == ShimPhase::Running)
    });
    identity::signal(keeper.child.unwrap(), Signal::KILL).unwrap();
    exited(&outer);
    gone(keeper.shim);
    assert!(identity::is_alive(server.shim) && identity::is_alive(server.child.unwrap()));
    identity::signal(server.shim, Signal::TERM).unwrap();
    exited(&inner);
}

#[test]
fn as_root_a_child_runs_as_the_user_of_its_spec() {
    if !rustix::process::geteuid().is_root() {
        println!("not available here: only root may become another user");
        return;
    }
    let mut scene = Scene::new();
    let mut spec = scene.shim_spec("h", "user", "id -u; id -G; cat /proc/$PPID/status");
    spec.user = Some("daemon".into());
    spec.directory = "/".into();
    let path = scene.path().join("spec.json");
    std::fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
    scene.start_fixture(&["shim", path.to_str().unwrap()]);
    exited(&spec);
    let log = std::fs::read_to_string(&spec.log.path).unwrap();
    assert!(
        log.starts_with("1\n1\n"),
        "user daemon and only its own group: {log}"
    );
}

#[test]
fn one_state_file_has_one_shim() {
    let mut scene = Scene::new();
    let spec = scene.shim_spec("h", "once", "echo x >> starts; sleep 1000");
    let running = scene.running(&spec);
    let path = scene.write_spec(&spec);
    let status = std::process::Command::new(FIXTURE)
        .arg("shim")
        .arg(&path)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(75));
    assert_eq!(
        state(&spec),
        Some(running),
        "the second one touched nothing"
    );
    assert_eq!(
        std::fs::read_to_string(spec.directory.join("starts")).unwrap(),
        "x\n"
    );
}

#[test]
fn a_new_shim_ends_what_a_killed_one_left() {
    let mut scene = Scene::new();
    // The far one is no longer below the child when the shim is killed: only its mark tells.
    let spec = scene.shim_spec(
        "h",
        "orphan",
        "(setsid sleep 1000 & echo $! > far); sleep 1000",
    );
    let first = scene.running(&spec);
    let far = scene.own(told(&spec, "far"));
    identity::signal(first.shim, Signal::KILL).unwrap();
    gone(first.shim);
    assert!(matches!(adopt(&spec.state), Adoption::Orphaned(_)));
    let second = scene.running(&spec);
    assert_ne!(second.child, first.child);
    assert!(!identity::is_alive(first.child.unwrap()));
    assert!(!identity::is_alive(far));
}

#[test]
fn logs_are_rotated_while_the_child_writes() {
    let mut scene = Scene::new();
    let mut spec = scene.shim_spec("h", "chatty", "seq 1 20000; sleep 1000");
    spec.log = LogSpec {
        max_bytes: 70_000,
        keep: 1,
        ..spec.log
    };
    let running = scene.running(&spec);
    let read = |name: &str| std::fs::read_to_string(spec.directory.join(name)).unwrap_or_default();
    wait_for("the last line", || {
        read("log").ends_with("\n20000\n").then_some(())
    });
    let both = read("log.1") + &read("log");
    let lines: Vec<u32> = both
        .lines()
        .skip(1)
        .map(|line| line.parse().unwrap())
        .collect();
    assert!(
        lines.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "no line is lost at the seam"
    );
    assert!(!spec.directory.join("log.2").exists());
    identity::signal(running.shim, Signal::TERM).unwrap();
    exited(&spec);
}

#[test]
fn a_reused_pid_is_never_hit() {
    let mut scene = Scene::new();
    let process = launch::spawn_detached(&["/bin/sleep".into(), "1000".into()], None).unwrap();
    let process = scene.own(process);
    let mut other = process;
    other.start_ticks += 1;
    assert!(!identity::signal(other, Signal::KILL).unwrap());
    assert!(identity::is_alive(process));
    assert!(identity::signal(process, Signal::KILL).unwrap());
    gone(process);
}
