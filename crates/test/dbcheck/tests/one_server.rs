//! The checker's whole way on a real server: clients, history, judgement, planted wrongs, exit codes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mainstay_testkit::postgres::{SUPERUSER, TemporaryServer};
use mainstay_testkit::wait::wait_for;

const LIMIT: Duration = Duration::from_secs(60);

struct Stage {
    server: TemporaryServer,
    folder: tempfile::TempDir,
}

/// The clients, killed should the test fail before it ends them.
struct Clients(Child);

impl Drop for Clients {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Stage {
    fn new() -> Self {
        let server = TemporaryServer::start(204).expect("a server");
        let folder = tempfile::tempdir().expect("a folder");
        let stage = Self { server, folder };
        std::fs::write(stage.password_file(), "*:*:*:*:unused\n").expect("written");
        assert_eq!(stage.exit_code("prepare"), 0);
        stage
    }

    fn password_file(&self) -> std::path::PathBuf {
        self.folder.path().join("pgpass")
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay-dbcheck"));
        command
            .env("PGUSER", SUPERUSER)
            .env("PGDATABASE", "postgres")
            .env("PGPASSFILE", self.password_file())
            .arg(what)
            .args(["--to", &self.server.address().to_string()])
            .arg("--folder")
            .arg(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    fn exit_code(&self, what: &str) -> i32 {
        let status = self.command(what).status().expect("started");
        status.code().expect("an exit code")
    }

    fn clients(&self) -> Clients {
        let mut command = self.command("run");
        Clients(command.stdin(Stdio::piped()).spawn().expect("started"))
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn await_acknowledged(&self, more: u64) {
        let count = || self.read("progress").parse().unwrap_or(0);
        let goal = count() + more;
        wait_for("acknowledgements", LIMIT, || {
            (count() >= goal).then_some(())
        })
        .expect("in time");
    }

    fn sql(&self, statement: &str) {
        self.server.psql("postgres", statement).expect(statement);
    }

    fn violations(&self) -> String {
        let verdict: serde_json::Value =
            serde_json::from_str(&self.read("verdict.json")).expect("a verdict");
        verdict["violations"].to_string()
    }
}

fn end(mut clients: Clients) {
    drop(clients.0.stdin.take());
    assert!(clients.0.wait().expect("ended").success());
}

#[test]
fn a_cancelled_wait_is_no_acknowledgement_and_a_loss_is_found() {
    let stage = Stage::new();
    let clients = stage.clients();
    stage.await_acknowledged(50);
    // From here on no commit ends but by a cancel, which the server answers as a success, with a warning.
    stage.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    stage.sql("SELECT pg_reload_conf()");
    wait_for("a warning", LIMIT, || {
        stage
            .read("history.jsonl")
            .contains(r#""why":"warned""#)
            .then_some(())
    })
    .expect("a client cancels");
    stage.sql("ALTER SYSTEM RESET synchronous_standby_names");
    stage.sql("SELECT pg_reload_conf()");
    stage.await_acknowledged(50);
    end(clients);

    assert_eq!(stage.exit_code("check"), 0, "{}", stage.violations());
    assert_eq!(stage.exit_code("plant"), 0);
    let last = acknowledged(&stage.read("history.jsonl"));
    stage.sql(&format!("DELETE FROM dbcheck.elements WHERE id = {last}"));
    assert_eq!(stage.exit_code("check"), 1);
    let expected = format!("Lost {{ what: Element, id: {last} }}");
    assert!(
        stage.violations().contains(&expected),
        "{}",
        stage.violations()
    );
    assert_eq!(stage.exit_code("remove"), 0);
    assert_eq!(
        stage.exit_code("check"),
        2,
        "without tables nothing can be said"
    );
    assert!(Path::new(&stage.folder.path().join("history.jsonl")).exists());
}

/// An element that was acknowledged, by the history's own words.
fn acknowledged(history: &str) -> u64 {
    let lines: Vec<serde_json::Value> = history
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line"))
        .collect();
    let adds = lines
        .iter()
        .filter(|line| line["begin"]["action"] == "add")
        .filter_map(|line| line["begin"]["id"].as_u64());
    let is_acknowledged = |id: &u64| {
        lines
            .iter()
            .any(|line| line["end"]["id"] == *id && line["end"]["outcome"] == "acknowledged")
    };
    adds.rev()
        .find(is_acknowledged)
        .expect("one was acknowledged")
}
