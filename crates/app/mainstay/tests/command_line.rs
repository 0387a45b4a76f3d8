//! The program as a shell meets it: exit codes, and readers that leave.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use mainstay_backup::{Access, DataKey, MasterKey, Stores};
use mainstay_record::backup::IdentityRecord;

fn mainstay(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(arguments).env_remove("MAINSTAY_DATA");
    command
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly() {
    let mut child = mainstay(&["schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    let mut first = String::new();
    // As `| head -1` does: one line, and the pipe is closed while more would come.
    let mut reader = BufReader::with_capacity(16, child.stdout.take().expect("a pipe"));
    reader.read_line(&mut first).expect("a line");
    drop(reader);
    let ended = child.wait_with_output().expect("ended");
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn a_folder_without_a_platform_is_told_with_the_next_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().display().to_string();
    let commands: [&[&str]; 7] = [
        &["status"],
        &["down"],
        &["pause", "--reason", "x"],
        &["fault", "list"],
        &["journal", "verify"],
        &["switchover", "ledger", "--to", "a", "--reason", "x"],
        &["database", "solo", "ledger", "--reason", "x"],
    ];
    for command in commands {
        let mut arguments = command.to_vec();
        arguments.extend(["--data", &data]);
        let ended = mainstay(&arguments).output().expect("ended");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{command:?}: {said}");
        assert!(said.contains("next: "), "{command:?}: {said}");
    }
    let left = std::fs::read_dir(folder.path()).expect("list").count();
    assert_eq!(left, 0, "looking changes nothing");
}

#[test]
fn an_invalid_file_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("platform.yaml");
    std::fs::write(&file, "apiVersion: mainstay/v1\nkind: Platform\nbogus: 1\n").expect("write");
    let data = folder.path().join("data");
    let ended = mainstay(&["up", &file.display().to_string(), "--detach"])
        .args(["--data", &data.display().to_string()])
        .output()
        .expect("ended");
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("platform.yaml:3:1"), "{said}");
    assert!(!data.exists());
}

fn rules(arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../edge/rules/tests/data");
    let mut command = mainstay(&["rules"]);
    let output = command
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("run");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn rule_files_are_checked_tested_and_criticised() {
    let (code, out, _) = rules(&["check", "configmap.yaml", "operator.yaml"]);
    assert_eq!(code, Some(0));
    assert_eq!(out, "valid: 2 groups, 4 alerting and 1 recording rules\n");
    let (code, out, _) = rules(&["test", "unit.yaml"]);
    assert_eq!((code, out.as_str()), (Some(0), "passed: 1 tests\n"));
    let (code, out, _) = rules(&["lint", "repaired.yaml"]);
    assert_eq!((code, out.as_str()), (Some(0), "nothing to say\n"));
    let (code, _, problems) = rules(&["lint", "configmap.yaml"]);
    assert_eq!(code, Some(1));
    assert!(problems.contains("configmap.yaml#desk.yml:15:19: SlowOrders: quantile-without-le"));
    let (code, out, _) = rules(&["lint", "--json", "configmap.yaml"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("\"code\": \"no-traffic-floor\""));
    assert_eq!(rules(&["check", "unit.yaml"]).0, Some(1));
    assert_eq!(rules(&["check", "nothing.yaml"]).0, Some(2));
}

/// What is made of objectives is good enough for whoever criticises rules, and fires when it should.
#[test]
fn rules_made_of_objectives_pass_check_lint_and_unit_tests() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let example = root
        .join("examples/exchange/platform.yaml")
        .display()
        .to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let made = mainstay(&["slo", &example, "--rules"])
        .output()
        .expect("ended");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let rules = folder.path().join("slo.yaml");
    std::fs::write(&rules, &made.stdout).expect("written");
    let tests = folder.path().join("slo.test.yaml");
    std::fs::write(&tests, include_str!("slo/slo.test.yaml")).expect("written");
    for (what, file) in [("check", &rules), ("lint", &rules), ("test", &tests)] {
        let file = file.display().to_string();
        let ended = mainstay(&["rules", what, &file]).output().expect("ended");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&ended.stdout),
            String::from_utf8_lossy(&ended.stderr)
        );
        assert!(ended.status.success(), "{what}: {said}");
    }
}

/// As promtool reads them, from where the tests stand.
#[test]
fn rule_tests_name_rule_files_by_patterns() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("rules")).expect("made");
    for (file, alert) in [("a.yaml", "A"), ("b.yaml", "B"), ("c.txt", "C")] {
        let text = format!("groups: [{{name: g, rules: [{{alert: {alert}, expr: up == 0}}]}}]");
        std::fs::write(at("rules").join(file), text).expect("written");
    }
    let suite = |named: &str, alert: &str| {
        let text = format!(
            "rule_files: ['{named}']\ntests:\n- interval: 1m\n  input_series: [{{series: up, values: '0x5'}}]\n  \
             alert_rule_test: [{{eval_time: 2m, alertname: {alert}, exp_alerts: [{{}}]}}]\n"
        );
        std::fs::write(at("suite.yaml"), text).expect("written");
        let file = at("suite.yaml").display().to_string();
        let ended = mainstay(&["rules", "test", &file]).output().expect("ended");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        (ended.status.code(), said)
    };
    for (alert, code) in [("A", 0), ("B", 0), ("C", 1)] {
        let (ended, said) = suite("rules/*.yaml", alert);
        assert_eq!(ended, Some(code), "{alert}: {said}");
    }
    let (ended, said) = suite("rules/[x-z]*.yaml", "A");
    assert_eq!(ended, Some(2), "{said}");
    assert!(said.contains("no file fits this pattern"), "{said}");
}

/// The rules that are shipped, too.
#[test]
fn shipped_rules_pass_check_lint_and_unit_tests() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    for (what, file) in [
        ("check", "exchange.yaml"),
        ("lint", "exchange.yaml"),
        ("test", "exchange.test.yaml"),
        ("check", "backup.yaml"),
        ("lint", "backup.yaml"),
        ("test", "backup.test.yaml"),
    ] {
        let file = root
            .join("examples/exchange/rules")
            .join(file)
            .display()
            .to_string();
        let ended = mainstay(&["rules", what, &file]).output().expect("ended");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{what}: {said}");
    }
}

/// A folder in which a platform lived is refused as it is: what it says of its machine and its wires stays what it was.
#[test]
fn nothing_is_rebuilt_over_a_platform_that_lived() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../examples/exchange/platform-backup.yaml")
        .display()
        .to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let (data, key) = (folder.path().join("data"), folder.path().join("key"));
    std::fs::create_dir_all(data.join("journal")).expect("a journal");
    std::fs::write(&key, "00\n").expect("a key");
    let rebuild = |more: &[&str]| {
        let ended = mainstay(&["rebuild", &file])
            .args(["--key", &key.display().to_string()])
            .args(["--data", &data.display().to_string()])
            .args(more)
            .output()
            .expect("ended");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        (ended.status.code(), said)
    };
    let (code, said) = rebuild(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("a platform lived here"), "{said}");
    let left = || {
        let entries = std::fs::read_dir(&data).expect("list");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    assert_eq!(left(), ["journal"]);
    // One that was begun for another moment is not taken for this one.
    let begun = r#"{ "version": 1, "to": "0/5000000", "stores": ["/mnt/backups"] }"#;
    std::fs::write(data.join("rebuild.json"), begun).expect("a record");
    let (code, said) = rebuild(&["--to", "latest"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("--to 0/5000000 --store /mnt/backups"),
        "{said}"
    );
    assert_eq!(left(), ["journal", "rebuild.json"]);
}

/// A rehearsal's archive lies beside production's in one store, and was begun later: none is taken before somebody says which.
/// What else the store holds is named.
#[test]
fn of_two_archives_a_rebuild_takes_the_one_that_was_named() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../examples/exchange/platform-backup.yaml")
        .display()
        .to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let key = MasterKey::read_or_create(&at("key")).expect("a key");
    let store = at("store").display().to_string();
    let stores = Stores::open(std::slice::from_ref(&store), &Access::default(), key);
    let stores = stores.expect("a store");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    for (database, platform, archive, created_ms) in [
        ("ledger", "exchange", "aaaaaaaaaaaaaaaa", 1_000_000_000_000),
        ("ledger", "exchange", "bbbbbbbbbbbbbbbb", 1_100_000_000_000),
        ("ledger", "staging", "cccccccccccccccc", 1_200_000_000_000),
        ("orders", "exchange", "dddddddddddddddd", 1_000_000_000_000),
    ] {
        let identity = IdentityRecord {
            version: 1,
            archive: archive.to_owned(),
            platform: platform.to_owned(),
            database: database.to_owned(),
            system_identifier: 7,
            segment_bytes: 16 << 20,
            created_ms,
        };
        let bytes = serde_json::to_vec(&identity).expect("a record");
        let name = format!("{database}/{archive}/identity");
        runtime
            .block_on(stores.put(&name, &bytes, &DataKey::draw()))
            .expect("put");
    }
    let rebuild = |data: &str, more: &[&str]| {
        let ended = mainstay(&["rebuild", &file, "--store", &store])
            .args(["--key", &at("key").display().to_string()])
            .args(["--data", &at(data).display().to_string()])
            .args(more)
            .output()
            .expect("ended");
        let said = [ended.stdout, ended.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (ended.status.code(), said)
    };
    let (code, said) = rebuild("one", &[]);
    assert_eq!(code, Some(3), "{said}");
    for expected in [
        "there are 2 archives of database ledger of the platform exchange",
        "aaaaaaaaaaaaaaaa: begun 2001-09-09",
        "bbbbbbbbbbbbbbbb: begun 2004-11-09",
        "--archive ledger=ID",
        "orders: there are backups of it in",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("cccccccccccccccc"), "{said}");
    // Whichever is named is looked into; there is no backup in it.
    for named in ["aaaaaaaaaaaaaaaa", "ledger=aaaaaaaaaaaaaaaa"] {
        let (code, said) = rebuild("two", &["--archive", named]);
        assert_eq!(code, Some(1), "{said}");
        assert!(!said.contains("there are 2 archives"), "{said}");
    }
    // A database that the file does not name makes a folder one in which a platform lived.
    let pgdata = at("three").join("hosts/use1-a/databases/orders/pgdata");
    std::fs::create_dir_all(&pgdata).expect("a folder");
    let (code, said) = rebuild("three", &["--archive", "aaaaaaaaaaaaaaaa"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("orders/pgdata is there: a platform lived here"),
        "{said}"
    );
}
