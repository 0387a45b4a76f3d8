//! The model of PostgreSQL against real servers: the same scripts, the same answers.
//!
//! Real servers listen on addresses of this process's own (127.201.0.0/16), run as `postgres` when the test
//! runs as root, and are stopped by their process ids however the test ends. Without PostgreSQL's server
//! programs there is nothing to compare with, and the test says so and passes.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mainstay_sim::postgres::script::{Model, Step, parse};

const SCRIPTS: [&str; 3] = [
    include_str!("../cases/timelines.script"),
    include_str!("../cases/quorum.script"),
    include_str!("../cases/read-write.script"),
];

/// How long a condition is waited for, and how often it is looked at.
const LOOKS: u32 = 1_600;
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);
/// Looks in a row that must find a commit waiting for its standbys before it counts as waiting.
const PATIENCE: u32 = 60;
/// Of each server's log, when a test fails.
const LOG_LINES: usize = 40;

struct Real {
    programs: PathBuf,
    folder: tempfile::TempDir,
    script: usize,
    servers: BTreeMap<String, Child>,
    names: Vec<String>,
    waiting: Option<Child>,
}

fn user() -> Option<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let root = std::fs::metadata("/proc/self").ok().map(|meta| {
        use std::os::unix::fs::MetadataExt;
        meta.uid() == 0
    })?;
    let line = passwd.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    root.then_some((uid, gid))
}

/// Waits for a condition with a limit.
fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    for _ in 0..LOOKS {
        if holds() {
            return true;
        }
        // Nobody sends: a bounded pause.
        let _ = receiver.recv_timeout(BETWEEN_LOOKS);
    }
    drop(sender);
    false
}

impl Real {
    fn new(programs: &Path, script: usize) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("msdiff")
            .tempdir_in("/tmp")
            .expect("folder");
        if let Some((uid, gid)) = user() {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).expect("chown");
        }
        Self {
            programs: programs.to_path_buf(),
            folder,
            script,
            servers: BTreeMap::new(),
            names: Vec::new(),
            waiting: None,
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path());
        command.env("PGCONNECT_TIMEOUT", "60");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some((uid, gid)) = user() {
            command.gid(gid).uid(uid);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self
            .command(program)
            .args(arguments)
            .output()
            .expect("starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    }

    fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&mut self, name: &str) -> String {
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_string());
        }
        let place = self
            .names
            .iter()
            .position(|known| known == name)
            .unwrap_or(0);
        let own = std::process::id() % 250 + 1;
        format!("127.201.{own}.{}", 10 * self.script + place + 1)
    }

    fn sql(&mut self, name: &str, sql: &str) -> String {
        let address = self.address(name);
        let arguments = [
            "-h", &address, "-p", "5499", "-U", "postgres", "-d", "postgres", "-AtXqc", sql,
        ];
        self.run("psql", &arguments)
    }

    fn answers(&mut self, name: &str) -> bool {
        let address = self.address(name);
        let status = self
            .command("pg_isready")
            .args(["-q", "-h", &address, "-p", "5499"])
            .status();
        status.is_ok_and(|status| status.success())
    }

    fn configure(&mut self, name: &str, standby: bool) {
        let address = self.address(name);
        let settings = format!(
            "listen_addresses = '{address}'\nport = 5499\nunix_socket_directories = ''\nfsync = off\nshared_buffers = 8MB\n\
             max_wal_senders = 8\nwal_keep_size = 64MB\nhot_standby = on\nwal_retrieve_retry_interval = 100ms\n\
             restart_after_crash = off\nautovacuum = off\nlogging_collector = off\n"
        );
        let data = self.data(name);
        std::fs::write(data.join("postgresql.conf"), settings).expect("write");
        std::fs::write(
            data.join("pg_hba.conf"),
            "host all all 127.0.0.0/8 trust\nhost replication all 127.0.0.0/8 trust\n",
        )
        .expect("write");
        std::fs::write(data.join("postgresql.auto.conf"), "").expect("write");
        let signal = data.join("standby.signal");
        if standby {
            std::fs::write(signal, "").expect("write");
        } else {
            let _ = std::fs::remove_file(signal);
        }
        self.give(&data);
    }

    fn give(&self, data: &Path) {
        if let Some((uid, gid)) = user() {
            for file in [
                "postgresql.conf",
                "pg_hba.conf",
                "postgresql.auto.conf",
                "standby.signal",
            ] {
                let _ = std::os::unix::fs::chown(data.join(file), Some(uid), Some(gid));
            }
        }
    }

    fn start(&mut self, name: &str, standby: bool) {
        self.configure(name, standby);
        let data = self.data(name);
        let log =
            std::fs::File::create(self.folder.path().join(format!("{name}.log"))).expect("log");
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().expect("postgres starts");
        self.servers.insert(name.to_string(), child);
        assert!(eventually(|| self.answers(name)), "{name} does not answer");
    }

    fn kill(&mut self, name: &str) {
        if let Some(mut child) = self.servers.remove(name) {
            let pid = child.id().to_string();
            // Immediate shutdown, so that the postmaster takes its children along.
            let _ = Command::new("kill").args(["-QUIT", &pid]).status();
            let _ = child.wait();
        }
    }

    fn setting(&mut self, name: &str, setting: &str, value: &str) {
        self.sql(name, &format!("ALTER SYSTEM SET {setting} = '{value}'"));
        self.sql(name, "SELECT pg_reload_conf()");
        let shown = value.replace("''", "'");
        assert!(eventually(
            || self.sql(name, &format!("SHOW {setting}")) == shown
        ));
    }

    fn follow(&mut self, name: &str, source: &str) -> String {
        let address = self.address(source);
        let conninfo = format!("host={address} port=5499 user=postgres application_name={name}");
        self.setting(name, "primary_conninfo", &conninfo);
        let log = self.folder.path().join(format!("{name}.log"));
        let before = std::fs::read_to_string(&log).unwrap_or_default().len();
        let mut answer = "neither".to_string();
        eventually(|| {
            let caught_up = format!(
                "SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}' \
                 AND state = 'streaming' AND flush_lsn >= pg_current_wal_flush_lsn()"
            );
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let news = text.get(before..).unwrap_or_default();
            if self.sql(source, &caught_up) == "1" {
                answer = "streaming".to_string();
            } else if news.contains("is ahead of the WAL flush position")
                || news.contains("is not in this server's history")
                || news.contains("is not a child of this server's history")
                || news.contains("forked off current database system timeline")
            {
                answer = "refused".to_string();
            }
            answer != "neither"
        });
        answer
    }

    fn commit(&mut self, name: &str) -> String {
        let address = self.address(name);
        let mut child = self
            .command("psql")
            .args([
                "-h", &address, "-p", "5499", "-U", "postgres", "-d", "postgres", "-AtXqc",
            ])
            .arg("INSERT INTO t VALUES (1)")
            .spawn()
            .expect("psql starts");
        let done = self.ends(name, &mut child);
        if done {
            return "done".to_string();
        }
        self.waiting = Some(child);
        "waits".to_string()
    }

    /// Whether a commit ends; it does not when the server shows it waiting for standbys for long.
    fn ends(&mut self, name: &str, child: &mut Child) -> bool {
        let question = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        let mut waiting = 0;
        let mut ended = false;
        let decided = eventually(|| {
            if child.try_wait().expect("waits").is_some() {
                ended = true;
            } else if self.sql(name, question) == "0" {
                waiting = 0;
            } else {
                waiting += 1;
            }
            ended || waiting >= PATIENCE
        });
        assert!(decided, "the commit neither ends nor waits for standbys");
        ended
    }

    fn play(&mut self, step: &Step) -> Option<String> {
        match step {
            Step::Create(name) => self.create(name),
            Step::Copy(from, to) => self.copy(from, to),
            Step::Kill(name) => self.kill(name),
            Step::Standby(name) => self.start(name, true),
            Step::ReadWrite(name) => self.start(name, false),
            Step::Placeholders(name, below) => self.placeholders(name, *below),
            Step::Promote(name) => return Some(self.promote(name)),
            Step::Follow(name, source) => return Some(self.follow(name, source)),
            Step::Detach(name) => self.setting(name, "primary_conninfo", ""),
            Step::Write(name) => {
                let sql = "SET synchronous_commit = local; INSERT INTO t VALUES (1)";
                self.sql(name, sql);
            }
            Step::Wait(name, names) => {
                let value = match names.split_first() {
                    None => String::new(),
                    Some((count, names)) => format!("ANY {count} ({})", names.join(", ")),
                };
                self.setting(name, "synchronous_standby_names", &value);
            }
            Step::Commit(name) => return Some(self.commit(name)),
            Step::EmptyWhileWaiting(name) => {
                self.setting(name, "synchronous_standby_names", "");
                let mut child = self.waiting.take().expect("a commit waits");
                let ended = eventually(|| child.try_wait().expect("waits").is_some());
                return Some(if ended { "done" } else { "waits" }.to_string());
            }
        }
        None
    }

    fn create(&mut self, name: &str) {
        let data = self.data(name).display().to_string();
        self.run(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "--no-sync",
                "-k",
            ],
        );
        self.start(name, false);
        self.sql(name, "CREATE TABLE t (a int)");
    }

    fn copy(&mut self, from: &str, to: &str) {
        let address = self.address(from);
        let data = self.data(to).display().to_string();
        let arguments = [
            "-h",
            &address,
            "-p",
            "5499",
            "-U",
            "postgres",
            "-D",
            &data,
            "-c",
            "fast",
            "--no-sync",
        ];
        self.run("pg_basebackup", &arguments);
        self.start(to, true);
    }

    fn placeholders(&mut self, name: &str, below: u32) {
        let own: u32 = self
            .sql(name, "SELECT timeline_id FROM pg_control_checkpoint()")
            .parse()
            .expect("a timeline");
        for timeline in own + 1..below {
            let path = self
                .data(name)
                .join(format!("pg_wal/{timeline:08X}.history"));
            std::fs::write(&path, "").expect("write");
            if let Some((uid, gid)) = user() {
                std::os::unix::fs::chown(&path, Some(uid), Some(gid)).expect("chown");
            }
        }
    }

    /// What the servers said at the end: the folder goes with the test.
    fn print_logs(&self) {
        for name in &self.names {
            let log = self.folder.path().join(format!("{name}.log"));
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.len().saturating_sub(LOG_LINES);
            eprintln!("---- {name} ----\n{}", lines[last..].join("\n"));
        }
    }

    fn promote(&mut self, name: &str) -> String {
        self.sql(name, "SELECT pg_promote(true, 20)");
        self.sql(name, "CHECKPOINT");
        self.sql(name, "SELECT timeline_id FROM pg_control_checkpoint()")
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let names: Vec<String> = self.servers.keys().cloned().collect();
        for name in &names {
            self.kill(name);
        }
        if std::thread::panicking() {
            self.print_logs();
        }
        if let Some(mut child) = self.waiting.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn programs() -> Option<PathBuf> {
    if let Ok(folder) = std::env::var("PG_BIN") {
        return Some(PathBuf::from(folder));
    }
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("postgres").exists())
        .collect();
    versions.sort();
    versions.pop()
}

#[test]
fn the_model_answers_as_real_servers_do() {
    let Some(programs) = programs() else {
        eprintln!("skipped: no PostgreSQL server programs here");
        return;
    };
    for (number, script) in SCRIPTS.iter().enumerate() {
        let mut model = Model::default();
        let mut real = Real::new(&programs, number);
        for step in parse(script).expect("a script") {
            let expected = model.play(&step);
            let seen = real.play(&step);
            assert_eq!(
                seen, expected,
                "{step:?}: real servers on the left, the model on the right"
            );
        }
    }
}

/// What the model answers, for a person to read; the test above says that real servers answer the same.
#[test]
fn the_answers_are_the_known_ones() {
    let answers = |script: &str| {
        let mut model = Model::default();
        let steps = parse(script).expect("a script");
        let answers: Vec<String> = steps.iter().filter_map(|step| model.play(step)).collect();
        answers.join(" ")
    };
    expect_test::expect!["streaming streaming 2 2 streaming 7 streaming"]
        .assert_eq(&answers(SCRIPTS[0]));
    expect_test::expect!["streaming streaming done done done waits done done"]
        .assert_eq(&answers(SCRIPTS[1]));
    expect_test::expect!["streaming 2 refused"].assert_eq(&answers(SCRIPTS[2]));
}
