//! A disk that is full: a file may become so long and no longer.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::path::{Path, PathBuf};
use std::process::Command;

use mainstay_promql::labels::Labels;
use mainstay_samples::{Head, Limits};

const FOLDER: &str = "MAINSTAY_TEST_FULL_FOLDER";
const SAMPLES: i64 = 60_000;

fn labels() -> Labels {
    Labels::of(&[("__name__", "load")])
}

/// Numbers that do not pack well.
fn value(at: i64) -> f64 {
    let mixed = at.wrapping_mul(0x5851_f42d_4c95_7f2d);
    f64::from_bits(mixed.unsigned_abs() >> 2)
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("log")).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

/// In a process that may write files of 64 KiB at most.
fn open_without_room(folder: &Path) {
    let error = Head::open(folder, Limits::default()).expect_err("there is no room");
    assert!(error.to_string().contains("write"), "{error}");
}

#[test]
fn a_full_disk_is_not_filled_further() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return open_without_room(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (mut head, _) = Head::open(folder.path(), Limits::default()).expect("open");
    let labels = labels();
    let samples = (0..SAMPLES).map(|at| (&labels, at, value(at)));
    head.append(samples).expect("stored");
    head.sync().expect("synced");
    drop(head);
    let before = logs(folder.path());
    assert_eq!(before.len(), 1);
    let itself = std::env::current_exe().expect("a path");
    for attempt in 0..3 {
        // The signal is ignored, so that the write fails as it does where a disk is full.
        let output = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 128; exec \"$@\"", "sh"])
            .arg(&itself)
            .args(["--exact", "a_full_disk_is_not_filled_further"])
            .env(FOLDER, folder.path())
            .output()
            .expect("run");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
        assert_eq!(logs(folder.path()), before, "attempt {attempt}");
    }
    let (_, opened) = Head::open(folder.path(), Limits::default()).expect("open");
    assert_eq!(opened.samples, usize::try_from(SAMPLES).expect("a number"));
}
