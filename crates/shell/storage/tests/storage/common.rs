//! A journal of a few nodes in a temporary folder.

use std::path::{Path, PathBuf};

use mainstay_journal::Entry;
use mainstay_storage::{AppendError, Appended, FollowError, Journal, LocalFolder, NodeFolder};
use mainstay_units::Position;

pub const ORIGIN: &str = "mainstay/test/00000000000000aa";

pub struct Platform {
    pub folder: tempfile::TempDir,
}

impl Platform {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    pub fn node_folder(&self, node: &str) -> PathBuf {
        self.folder.path().join("hosts").join(node).join("node")
    }

    pub fn nodes(&self, names: &[&str]) -> Vec<(String, PathBuf)> {
        names
            .iter()
            .map(|name| (name.to_string(), self.node_folder(name)))
            .collect()
    }

    pub fn journal(&self, node: &str) -> Journal<LocalFolder> {
        let port = LocalFolder::open(&self.root()).unwrap();
        Journal::open(port, NodeFolder::open(&self.node_folder(node)).unwrap()).unwrap()
    }

    /// `a` leads; `b` and `c` are known.
    pub fn opened(&self) -> Journal<LocalFolder> {
        let mut a = self.journal("a");
        let key = a.public_key();
        let mut first = vec![
            entry(
                "journal.opened",
                1,
                &format!(r#"{{"origin":"{ORIGIN}","platform":"test","node":"a","key":"{key}"}}"#),
            ),
            claim(1, "a"),
        ];
        for node in ["b", "c"] {
            let key = self.journal(node).public_key();
            first.push(entry(
                "key.admitted",
                1,
                &format!(r#"{{"node":"{node}","key":"{key}"}}"#),
            ));
        }
        a.append(first).unwrap();
        a
    }
}

pub fn entry(kind: &str, epoch: u64, body: &str) -> Entry {
    Entry::new(format!(
        r#"{{"kind":"{kind}","version":1,"at_ms":1000,"epoch":{epoch},"body":{body}}}"#
    ))
    .unwrap()
}

pub fn claim(epoch: u64, node: &str) -> Entry {
    let body = format!(r#"{{"epoch":{epoch},"node":"{node}","why":"first"}}"#);
    entry("leadership.claimed", epoch, &body)
}

pub fn work(epoch: u64, number: u64) -> Entry {
    entry("work.done", epoch, &format!(r#"{{"number":{number}}}"#))
}

pub fn append_work(
    journal: &mut Journal<LocalFolder>,
    epoch: u64,
    numbers: std::ops::Range<u64>,
) -> Result<Appended, AppendError> {
    journal.append(numbers.map(|n| work(epoch, n)).collect())
}

pub fn catch_up_all(
    journal: &mut Journal<LocalFolder>,
) -> Result<Vec<(Position, Entry)>, FollowError> {
    let mut all = Vec::new();
    loop {
        let step = journal.catch_up()?;
        if step.is_empty() {
            return Ok(all);
        }
        all.extend(step);
    }
}

pub fn part_files(root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root.join("parts"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}
