//! Programs in their cells: each door is tried twice, once by a program that is bound and once by the same program without,
//! so that a door which would not have been open anyway proves nothing.
//!
//! As root the programs become nobody; otherwise they stay who runs the test.

#![allow(clippy::unwrap_used, reason = "a test may fail at once")]

mod harness;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use harness::FIXTURE;
use mainstay_host::confine::{self, ConfineError, Offered};
use mainstay_record::process::{ConfineSpec, VERSION};
use rustix::process::{Pid, Signal, getuid, kill_process_group};

const NOBODY: u32 = 65_534;

/// A folder in which everything is open to everybody, but for what binds a program.
struct Building {
    folder: tempfile::TempDir,
    /// The kernel counts processes by user, so one program's many would be another one's none.
    _alone: MutexGuard<'static, ()>,
}

/// How a program ended, and what it said.
#[derive(Debug)]
struct Said {
    went_well: bool,
    text: String,
}

impl Building {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let building = Self {
            folder: tempfile::tempdir().unwrap(),
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
        };
        building.open(Path::new(""), 0o755);
        for name in ["place", "data", "open", "other", "tools"] {
            fs::create_dir(building.path(name)).unwrap();
            building.open(Path::new(name), 0o777);
        }
        for (file, text) in [("data/key", "the key"), ("other/file", "of another")] {
            fs::write(building.path(file), text).unwrap();
            building.open(Path::new(file), 0o644);
        }
        if getuid().is_root() {
            chown(building.path("place"), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        building
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, name: &Path, mode: u32) {
        let path = self.folder.path().join(name);
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn tool(&self, from: &str, name: &str, mode: u32) -> String {
        let path = self.path("tools").join(name);
        fs::copy(from, &path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn spec(&self, program: &str, arguments: &[&str]) -> ConfineSpec {
        ConfineSpec {
            version: VERSION,
            program: program.to_owned(),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            place: self.path("place"),
            reads: Vec::new(),
            connects: Vec::new(),
            processor_seconds: 10,
            user: getuid().is_root().then_some(NOBODY),
        }
    }

    fn script(&self, script: &str) -> ConfineSpec {
        self.spec("/bin/sh", &["-c", script])
    }
}

fn bound(spec: &ConfineSpec) -> Said {
    let mut command = Command::new(FIXTURE);
    command
        .arg("confine")
        .arg(serde_json::to_string(spec).unwrap());
    said(command, spec)
}

/// The same program as the same user, with every door as it stands.
fn free(spec: &ConfineSpec) -> Said {
    let mut command = Command::new(&spec.program);
    command.args(&spec.arguments);
    if let Some(user) = spec.user {
        command.uid(user).gid(user);
    }
    said(command, spec)
}

fn said(mut command: Command, spec: &ConfineSpec) -> Said {
    let child = command
        .current_dir(&spec.place)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let group = Pid::from_child(&child);
    let output = child.wait_with_output().unwrap();
    // Nothing may be left of it.
    kill_process_group(group, Signal::KILL).ok();
    let text = [output.stdout, output.stderr].concat();
    Said {
        went_well: output.status.success(),
        text: String::from_utf8_lossy(&text).into_owned(),
    }
}

/// Without being bound it goes well, and bound it does not.
fn only_free(spec: &ConfineSpec) {
    let bound = bound(spec);
    assert!(!bound.went_well, "it was not bound: {bound:?}");
    let free = free(spec);
    assert!(
        free.went_well,
        "it would not have gone well anyway: {free:?}"
    );
}

/// A kernel of before Landlock proves nothing of it.
fn watches_paths() -> bool {
    confine::offered() != Offered::Nothing
}

#[test]
fn what_the_platform_keeps_is_not_read() {
    let building = Building::new();
    let key = building.path("data/key");
    let key = key.to_str().unwrap();
    if watches_paths() {
        only_free(&building.spec("/bin/cat", &[key]));
        // Nor by way of what may be read.
        only_free(&building.script(&format!("cat /proc/self/root{key}")));
        only_free(&building.script(&format!("ln -sf {key} link && cat link")));
    }
    let mut spec = building.spec("/bin/cat", &["../other/file"]);
    spec.reads = vec![building.path("other")];
    let read = bound(&spec);
    assert_eq!((read.went_well, read.text.as_str()), (true, "of another"));
}

#[test]
fn nothing_is_allowed_that_leads_to_what_is_kept() {
    let building = Building::new();
    let data = building.path("data");
    let refused = |reads: &[&str]| {
        let mut spec = building.spec("/bin/cat", &[]);
        spec.reads = reads.iter().map(|name| building.path(name)).collect();
        confine::check(&spec, &[&data])
    };
    assert!(refused(&["other"]).is_ok());
    for leads in ["data", "data/key", ""] {
        let found = refused(&["other", leads]);
        assert!(matches!(found, Err(ConfineError::Kept { .. })), "{leads}");
    }
    assert!(matches!(refused(&["nothing"]), Err(ConfineError::Path(..))));
    std::os::unix::fs::symlink(&data, building.path("other/door")).unwrap();
    let found = refused(&["other/door"]);
    assert!(matches!(found, Err(ConfineError::Kept { .. })), "a link");
}

#[test]
fn it_writes_in_its_own_folder_and_nowhere_else() {
    let building = Building::new();
    let wrote = bound(&building.script("mkdir d && echo well > d/x && mv d/x y && cat y"));
    assert_eq!((wrote.went_well, wrote.text.as_str()), (true, "well\n"));
    if watches_paths() {
        only_free(&building.script("echo x > ../open/x"));
        only_free(&building.script("mv ../other/file ../other/x && mv ../other/x ../other/file"));
        only_free(
            &building.script("echo x > /tmp/mainstay-confine-$$ && rm /tmp/mainstay-confine-$$"),
        );
    }
}

#[test]
fn a_program_with_more_rights_gives_it_none() {
    let building = Building::new();
    let told = bound(&building.spec("/bin/grep", &["NoNewPrivs", "/proc/self/status"]));
    assert_eq!(told.text.split_whitespace().last(), Some("1"), "{told:?}");
    if !getuid().is_root() {
        return;
    }
    let mut spec = building.spec(&building.tool("/usr/bin/id", "id", 0o4755), &[]);
    spec.reads = vec![building.path("tools")];
    let free = free(&spec);
    assert!(
        free.text.contains("euid=0"),
        "the file system allows it: {free:?}"
    );
    let bound = bound(&spec);
    assert!(bound.went_well && !bound.text.contains("=0("), "{bound:?}");
}

#[test]
fn it_forks_until_its_limit() {
    let building = Building::new();
    only_free(
        &building
            .script("i=0; while [ $i -lt 150 ]; do sleep 20 >/dev/null 2>&1 & i=$((i+1)); done"),
    );
}

#[test]
fn a_file_and_a_folder_can_be_full() {
    let building = Building::new();
    let place = building.path("place");
    let wrote = bound(&building.script("head -c 80000000 /dev/zero > big; wc -c < big"));
    assert!(wrote.text.contains("67108864"), "{wrote:?}");
    assert!(!confine::fills(&place));
    fs::File::create(place.join("larger"))
        .unwrap()
        .set_len(200 << 20)
        .unwrap();
    assert!(confine::fills(&place), "in bytes");
    fs::remove_file(place.join("larger")).unwrap();
    let many = bound(&building.script("seq -f f%g 5000 | xargs touch"));
    assert!(
        many.went_well && confine::fills(&place),
        "in files: {many:?}"
    );
}

#[test]
fn every_limit_is_set_for_good() {
    let building = Building::new();
    let told = bound(&building.spec(
        "/bin/cat",
        &["/proc/self/limits", "/proc/self/oom_score_adj"],
    ));
    for (limit, most) in [
        ("Max cpu time", "10"),
        ("Max file size", "67108864"),
        ("Max core file size", "0"),
        ("Max open files", "256"),
        ("Max address space", "2147483648"),
    ] {
        let row = told.text.lines().find_map(|line| line.strip_prefix(limit));
        let row: Vec<&str> = row.unwrap_or_default().split_whitespace().collect();
        assert_eq!(row.get(..2), Some(&[most, most][..]), "{limit}: {told:?}");
    }
    assert!(told.text.ends_with("1000\n"), "{told:?}");
}

#[test]
fn it_reaches_the_ports_that_it_may() {
    let building = Building::new();
    let listeners = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let [port, other] = listeners.each_ref().map(|l| l.local_addr().unwrap().port());
    let call = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let mut spec = building.spec("/bin/bash", &["-c", &call]);
    only_free(&spec);
    spec.connects = vec![port];
    let reached = bound(&spec);
    assert!(reached.went_well, "{reached:?}");
    spec.connects = vec![other];
    if confine::offered() == Offered::All {
        only_free(&spec);
    }
}

#[test]
fn no_socket_of_a_host_answers_it() {
    let building = Building::new();
    let socket = building.path("open/node.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    building.open(Path::new("open/node.sock"), 0o777);
    let program = building.tool(FIXTURE, "fixture", 0o755);
    let mut spec = building.spec(&program, &["call", socket.to_str().unwrap()]);
    spec.reads = vec![building.path("open"), building.path("tools")];
    only_free(&spec);
}

#[test]
fn it_neither_leaves_its_group_nor_reaches_into_others() {
    let building = Building::new();
    only_free(&building.script("setsid -w true"));
    let elsewhere = building.script("unshare -U true");
    // Some systems let nobody do so.
    if free(&elsewhere).went_well {
        only_free(&elsewhere);
    }
    let mut other = Command::new("/bin/sleep");
    if getuid().is_root() {
        other.uid(NOBODY).gid(NOBODY);
    }
    let mut other = other.arg("60").spawn().unwrap();
    let kill = building.script(&format!("kill -0 {}", other.id()));
    let limit = building.script(&format!("prlimit --pid {} --nofile=9", other.id()));
    let outcome = std::panic::catch_unwind(|| {
        only_free(&limit);
        if confine::offered() == Offered::All {
            only_free(&kill);
        }
    });
    other.kill().unwrap();
    other.wait().unwrap();
    outcome.unwrap();
}

#[test]
fn what_cannot_be_started_says_so() {
    let building = Building::new();
    let none = bound(&building.spec("/bin/no-such-program", &[]));
    assert!(!none.went_well);
    assert!(
        none.text
            .contains("start /bin/no-such-program: No such file"),
        "{none:?}"
    );
    let mut broken = Command::new(FIXTURE);
    broken.args(["confine", "{}"]);
    let broken = said(broken, &building.spec("/bin/true", &[]));
    assert!(
        !broken.went_well && broken.text.contains("read what is to be confined"),
        "{broken:?}"
    );
}
