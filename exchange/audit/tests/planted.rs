//! Every planted fault is found in its class, and nothing is found where nothing was planted.

mod support;

use clap::ValueEnum;
use exchange_audit::plant::Kind;

use support::{CELL, audit, check, history, server};

#[test]
fn a_sound_cell_is_clean_and_every_planted_fault_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let witness = folder.path().join("witness");
    std::fs::create_dir(&witness).expect("a witness folder");
    let cell = history();
    std::fs::write(witness.join("client.jsonl"), &cell.witness).expect("write the notes");
    let server = server(&cell);

    let (output, json) = check(&server, CELL, folder.path());
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let classes = [
        ("intents", 9),
        ("acknowledged_present", 7),
        ("refused_present", 1),
        ("unknown_absent", 1),
        ("unanswered", 1),
    ];
    for (class, count) in classes {
        assert_eq!(json["classes"][class], count, "{class}: {text}");
    }

    assert_eq!(
        audit(&server, CELL, &["plant", "lost-row", "--scratch"])
            .status
            .code(),
        Some(2),
        "no scratch database"
    );
    for kind in Kind::value_variants() {
        let name = kind
            .to_possible_value()
            .expect("every kind has a name")
            .get_name()
            .to_owned();
        let database = format!("scratch_{}", name.replace('-', "_"));
        server
            .copy_database(CELL, &database)
            .expect("copy the cell");
        assert_eq!(
            audit(&server, &database, &["plant", &name]).status.code(),
            Some(2),
            "without --scratch"
        );
        let planted = audit(&server, &database, &["plant", &name, "--scratch"]);
        assert!(
            planted.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&planted.stderr)
        );
        let (output, json) = check(&server, &database, folder.path());
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        let class = serde_json::to_value(kind.class()).expect("a class has a name");
        let found = &json["findings"]["counts"][class.as_str().expect("a name")];
        assert!(
            found.as_u64() > Some(0),
            "{name} must be found as {class}: {text}"
        );
        println!("{name}: {}", json["findings"]["counts"]);
    }
}

#[test]
fn what_cannot_be_read_gets_no_verdict() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("client.jsonl");
    std::fs::write(&path, "garbage\n").expect("write");
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_exchange-audit"))
            .args(["check", "--witness"])
            .arg(folder.path())
            .args(arguments)
            .output()
            .expect("run the auditor");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, text) = run(&["--database", "postgres://nobody@127.204.0.99:1/none"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("client.jsonl line 1"), "{text}");
    std::fs::write(&path, history_notes()).expect("write");
    let (code, text) = run(&["--database", "postgres://nobody@127.204.0.99:1/none"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("connect in the database"), "{text}");
}

fn history_notes() -> String {
    history().witness
}
