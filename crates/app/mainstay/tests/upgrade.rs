//! A database in three regions takes new versions of this program, good ones and bad ones, as real processes.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use mainstay_testkit::child::GuardedChild;
use mainstay_testkit::platform::{self, said, until};

const EXAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../examples/database/platform.yaml"
);
const HOSTS: [&str; 3] = ["use1-a", "usw2-a", "euw1-a"];

struct Platform(platform::Platform);

impl Deref for Platform {
    type Target = platform::Platform;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Platform {
    fn start() -> Self {
        let platform = Self(platform::Platform::new(env!("CARGO_BIN_EXE_mainstay")));
        platform.0.start(EXAMPLE);
        platform
    }

    fn upgrade(&self, program: &Path) -> Output {
        let program = program.display().to_string();
        let reason = "a test";
        self.mainstay(&["upgrade", "--program", &program, "--reason", reason])
    }

    /// A program of its own digest: this one, with bytes that nobody reads.
    fn build(&self, name: &str) -> PathBuf {
        let mut bytes = std::fs::read(env!("CARGO_BIN_EXE_mainstay")).expect("read");
        bytes.extend_from_slice(name.as_bytes());
        PathBuf::from(self.write(name, &bytes, 0o755))
    }

    /// A program that is this one, but for one of its parts.
    fn broken(&self, part: &str) -> PathBuf {
        let real = env!("CARGO_BIN_EXE_mainstay");
        let text = format!(
            "#!/bin/sh\ncase \"$1\" in --version) echo mainstay 9.9.9-{part};; {part}) exit 1;; *) exec {real} \"$@\";; esac\n"
        );
        PathBuf::from(self.write(&format!("broken-{part}"), &text, 0o755))
    }

    /// The file that a host's node and its keeper run.
    fn programs(&self, host: &str) -> Option<(PathBuf, PathBuf)> {
        let keeper = self.instance(host, "keeper-orders")?;
        let program = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        Some((program(self.node(host)?)?, program(keeper)?))
    }

    /// The digest below which both stand; nothing while they differ.
    fn digest(&self, host: &str) -> Option<String> {
        let (node, keeper) = self.programs(host)?;
        let digest = node.parent()?.file_name()?.to_string_lossy().into_owned();
        (node == keeper).then_some(digest)
    }

    fn servers(&self) -> BTreeMap<&'static str, String> {
        let pid = |host: &'static str| {
            let path = format!("hosts/{host}/databases/orders/pgdata/postmaster.pid");
            let text = std::fs::read_to_string(self.data().join(path)).expect("a server");
            (host, text.lines().next().unwrap_or_default().to_owned())
        };
        HOSTS.map(pid).into()
    }

    fn journal(&self, kind: &str) -> String {
        let shown = self.mainstay(&["journal", "show", "--kind", kind]);
        assert!(shown.status.success(), "{}", said(&shown));
        String::from_utf8_lossy(&shown.stdout).into_owned()
    }
}

#[test]
fn versions_go_host_by_host_and_bad_ones_no_further_than_the_first() {
    let platform = Platform::start();
    let servers = platform.servers();

    let taken = platform.upgrade(&platform.build("second"));
    assert!(taken.status.success(), "{}", said(&taken));
    let second = platform.digest(HOSTS[0]).expect("one program");
    assert_eq!(second.len(), 64, "{second}");
    for host in HOSTS {
        assert_eq!(platform.digest(host).as_deref(), Some(second.as_str()));
        let node = platform.node(host).expect("a node");
        let told = std::fs::read(format!("/proc/{node}/environ")).expect("its environment");
        let program = platform.data().join(format!("programs/{second}/mainstay"));
        let said = format!("MAINSTAY_PROGRAM={}", program.display());
        let mut told = told.split(|byte| *byte == 0);
        assert!(told.any(|known| known == said.as_bytes()), "{said}");
    }
    let again = platform.upgrade(&platform.folder().join("second"));
    assert_eq!(again.status.code(), Some(3), "{}", said(&again));

    for (part, why) in [("keeper", "again and again"), ("node", "its node ended")] {
        let refused = platform.upgrade(&platform.broken(part));
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        assert!(said(&refused).contains(why), "{}", said(&refused));
        for host in HOSTS {
            until("the program of before", || {
                platform.digest(host).filter(|digest| *digest == second)
            });
        }
    }
    let stopped = platform.journal("upgrade.ended");
    assert_eq!(stopped.matches("stopped").count(), 2, "{stopped}");
    // One host was told of each of the bad ones.
    let ordered = platform.journal("upgrade.ordered");
    assert_eq!(ordered.lines().count(), HOSTS.len() + 2, "{ordered}");

    // A node that is killed while its program is on trial goes on with it.
    let third = platform.build("third").display().to_string();
    let begun = [
        "upgrade",
        "--program",
        &third,
        "--detach",
        "--reason",
        "a test",
    ];
    let begun = platform.mainstay(&begun);
    assert!(begun.status.success(), "{}", said(&begun));
    let killed = until("a trial", || {
        let on_trial = |host: &&&str| {
            let record = platform.record(&format!("hosts/{host}/node/program.json"));
            record.is_some_and(|record| !record["trial"].is_null())
        };
        let host = HOSTS.iter().find(on_trial)?;
        let node = platform.node(host)?;
        let on = std::fs::read_link(format!("/proc/{node}/exe")).ok()?;
        (!on.to_string_lossy().contains(&second)).then_some(node)
    });
    let killed = rustix::process::Pid::from_raw(killed).expect("a process");
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).ok();
    until("the end of the upgrade", || {
        let digests: Vec<_> = HOSTS.iter().filter_map(|h| platform.digest(h)).collect();
        let all = digests.len() == HOSTS.len() && digests.iter().all(|d| *d != second);
        (all && platform
            .journal("upgrade.ended")
            .matches("complete")
            .count()
            == 2)
            .then_some(())
    });

    assert_eq!(platform.servers(), servers, "PostgreSQL was not touched");
    let primaries = platform.journal("reflex.recorded");
    let came = primaries.matches("became_primary").count();
    assert_eq!(came, 1, "no promotion followed: {primaries}");
    who_watches_leaves_when_others_stop_the_platform(&platform);
}

/// `mainstay up` without `--detach` shows the platform until it is interrupted, or until there is nothing left to show.
fn who_watches_leaves_when_others_stop_the_platform(platform: &Platform) {
    let mut up = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    up.args(["up", EXAMPLE]).arg("--data").arg(platform.data());
    let said = std::fs::File::create(platform.folder().join("said")).expect("a file");
    let said_too = said.try_clone().expect("the same file");
    let mut watching = GuardedChild::spawn(up.stdout(said).stderr(said_too)).expect("started");
    let text = || std::fs::read_to_string(platform.folder().join("said")).ok();
    until("a picture of the platform", || {
        text().filter(|text| text.contains("Ctrl-C stops everything"))
    });
    assert!(watching.exited().is_none());
    let down = platform.mainstay(&["down", "--reason", "a test"]);
    assert!(down.status.success());
    let ended = watching
        .wait(Duration::from_secs(30))
        .expect("it leaves by itself");
    let text = text().unwrap_or_default();
    assert!(
        ended.success() && text.contains("stopped elsewhere"),
        "{text}"
    );
}
