//! A platform of the program under test, as real processes, asked as a user asks: by the command.
//!
//! It is stopped in order when it is dropped, also when a test panics half-way; where a test passed, none of its [`secrets`] may
//! stand anywhere by then. What does not come within
//! [`PATIENCE`] is a failed test that says what it waited for.

#![allow(
    clippy::expect_used,
    reason = "a test that cannot begin says at once why"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::secrets;
use crate::wait::{now, pause};

/// Longer than anything takes, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(240);
/// Between two looks that each start a program.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Two platforms that begin in the same moment may claim the same addresses.
static STARTING: Mutex<()> = Mutex::new(());

pub struct Platform {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Platform {
    /// Nothing runs yet. Others than this user pass through its folder: PostgreSQL's, and whoever runs steps.
    #[must_use]
    pub fn new(program: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        allow(folder.path(), 0o755);
        let program = PathBuf::from(program);
        Self { program, folder }
    }

    /// Brings it to health.
    pub fn start(&self, file: &str) {
        let turn = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        self.act(&["up", file, "--detach", "--timeout", "180s"]);
        drop(turn);
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// A file beside its data; where it is.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>, mode: u32) -> String {
        let path = self.folder().join(name);
        std::fs::write(&path, text).expect("written");
        allow(&path, mode);
        path.display().to_string()
    }

    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--data").arg(self.data());
        command
    }

    #[must_use]
    pub fn mainstay(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("ended")
    }

    /// With a reason, however it ends.
    #[must_use]
    pub fn attempt(&self, arguments: &[&str]) -> Output {
        self.mainstay(&[arguments, &["--reason", "a test"]].concat())
    }

    /// With a reason, and it must succeed; what it said.
    pub fn act(&self, arguments: &[&str]) -> String {
        let output = self.attempt(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    }

    /// With a reason, again and again until it is done: what is rightly refused for a while, and of which an attempt may have come through
    /// whose answer did not.
    ///
    /// # Panics
    /// With what it said last, when [`PATIENCE`] is over.
    pub fn insist(&self, arguments: &[&str], mut is_done: impl FnMut() -> bool) {
        let begun = now();
        while !is_done() {
            let last = said(&self.attempt(arguments));
            let waited = now().saturating_sub(begun);
            assert!(waited < PATIENCE, "{arguments:?}, in vain: {last}");
            pause(LOOK_EVERY);
        }
    }

    /// What a command prints as JSON; nothing where it does not answer just now.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.mainstay(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Entries of a kind, the oldest first.
    #[must_use]
    pub fn entries(&self, kind: &str) -> Vec<Value> {
        let shown = self.mainstay(&["journal", "show", "--kind", kind, "--json"]);
        let lines = String::from_utf8_lossy(&shown.stdout).into_owned();
        let entries = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("an entry"));
        entries.collect()
    }

    /// The host that leads, if anybody knows.
    #[must_use]
    pub fn leader(&self) -> Option<String> {
        let status = self.json(&["status", "--json"]);
        Some(status["leadership"]["leader"].as_str()?.to_owned())
    }

    /// A file of its data that is written as JSON.
    #[must_use]
    pub fn record(&self, path: &str) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.data().join(path)).ok()?).ok()
    }

    /// The process of a host's node.
    #[must_use]
    pub fn node(&self, host: &str) -> Option<i32> {
        let launch = self.record(&format!("hosts/{host}/node/launch.json"))?;
        i32::try_from(launch["process"]["pid"].as_i64()?).ok()
    }

    /// The process of an instance of a host, such as `keeper-ledger`.
    #[must_use]
    pub fn instance(&self, host: &str, instance: &str) -> Option<i32> {
        let state = self.record(&format!("hosts/{host}/instances/{instance}/state.json"))?;
        i32::try_from(state["child"]["pid"].as_i64()?).ok()
    }

    /// Where the sockets of its hosts are.
    #[must_use]
    pub fn run_folder(&self) -> PathBuf {
        let record = self.record("machine.json").expect("a record");
        PathBuf::from(record["run_folder"].as_str().expect("a folder"))
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // While it runs, since arguments go with their processes.
        let betrayed = match std::thread::panicking() {
            true => Vec::new(),
            false => secrets::betrayed(self),
        };
        // What never ran answers that there is nothing.
        let _ = self.mainstay(&["down", "--reason", "the test is over"]);
        assert!(betrayed.is_empty(), "{}", betrayed.join("\n"));
    }
}

fn allow(path: &Path, mode: u32) {
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).expect("opened");
}

/// Both its outputs.
#[must_use]
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Looks until there is something.
///
/// # Panics
/// When [`PATIENCE`] is over.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let waited = now().saturating_sub(begun);
        assert!(
            waited < PATIENCE,
            "waited {} s for {what}, in vain",
            waited.as_secs()
        );
        pause(LOOK_EVERY);
    }
}
