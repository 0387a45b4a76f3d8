//! A journal of a few nodes: in a temporary folder, or in an etcd that is there already.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_journal::Entry;
use mainstay_storage::{
    AppendError, Appended, ArchiveFolder, Endpoint, Etcd, EtcdPlace, FollowError, Journal,
    NodeFolder, Place, Port,
};
use mainstay_testkit::etcd::Cluster;
use mainstay_units::Position;
use serde_json::json;

pub const ORIGIN: &str = "mainstay/test/00000000000000aa";

pub struct Platform<'a> {
    pub folder: tempfile::TempDir,
    /// Etcd with the prefix of this platform in it; a folder if absent.
    pub etcd: Option<(&'a Cluster, String)>,
}

impl Platform<'static> {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            etcd: None,
        }
    }
}

pub fn endpoint(address: std::net::SocketAddr) -> Endpoint {
    Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        prove: None,
    }
}

impl<'a> Platform<'a> {
    pub fn in_etcd(cluster: &'a Cluster, name: &str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            etcd: Some((cluster, format!("mainstay/{name}"))),
        }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    pub fn place(&self) -> Place {
        match &self.etcd {
            None => Place::folder(&self.root()),
            Some((cluster, _)) => Place::Etcd(
                self.etcd_place(cluster.addresses().into_iter().map(endpoint).collect()),
            ),
        }
    }

    pub fn etcd_place(&self, endpoints: Vec<Endpoint>) -> EtcdPlace {
        EtcdPlace {
            endpoints,
            identity: None,
            prefix: self.etcd.as_ref().unwrap().1.clone(),
            archive: Some(Arc::new(ArchiveFolder::at(&self.root()))),
        }
    }

    pub fn etcd(&self) -> Etcd {
        match self.place() {
            Place::Etcd(place) => Etcd::open(&place).unwrap(),
            Place::Folder(_) => panic!("this platform stands on a folder"),
        }
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

    pub fn journal(&self, node: &str) -> Journal<Port> {
        self.journal_at(&self.place(), node)
    }

    pub fn journal_at(&self, place: &Place, node: &str) -> Journal<Port> {
        let folder = NodeFolder::open(&self.node_folder(node)).unwrap();
        Journal::open(place.open().unwrap(), folder).unwrap()
    }

    /// `a` leads; `b` and `c` are known.
    pub fn opened(&self) -> Journal<Port> {
        self.opened_at(&self.place())
    }

    pub fn opened_at(&self, place: &Place) -> Journal<Port> {
        self.opened_with(place, &self.place())
    }

    /// `others` is where `b` and `c` find the journal.
    pub fn opened_with(&self, place: &Place, others: &Place) -> Journal<Port> {
        let mut a = self.journal_at(place, "a");
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
            let key = self.journal_at(others, node).public_key();
            first.push(entry(
                "key.admitted",
                1,
                &format!(r#"{{"node":"{node}","key":"{key}"}}"#),
            ));
        }
        a.append(first).unwrap();
        a
    }

    /// What is kept, read past the port.
    pub fn parts(&self) -> Vec<(Position, Vec<u8>)> {
        let mut kept = self.place().kept().unwrap();
        let parts = kept.list().unwrap().parts;
        parts
            .into_iter()
            .map(|position| (position, kept.read(position).unwrap()))
            .collect()
    }

    /// Puts these bytes in the place of a part, as no node would.
    pub fn damage(&self, position: Position, bytes: &[u8]) {
        match &self.etcd {
            None => {
                let name = format!("parts/{:020}.part", position.0);
                std::fs::write(self.root().join(name), bytes).unwrap();
            }
            Some(_) => self.put(&format!("parts/{:020}", position.0), bytes),
        }
    }

    pub fn remove(&self, position: Position) {
        match &self.etcd {
            None => {
                let name = format!("parts/{:020}.part", position.0);
                std::fs::remove_file(self.root().join(name)).unwrap();
            }
            Some(_) => self.delete(&format!("parts/{:020}", position.0)),
        }
    }

    /// As after the restore of an older copy that ends at a part's beginning.
    pub fn roll_back(&self, end: Position) {
        for (position, _) in self.parts() {
            if position >= end {
                self.remove(position);
            }
        }
        if self.etcd.is_some() {
            self.put("head", end.0.to_string().as_bytes());
        }
    }

    pub fn wipe(&self) {
        self.roll_back(Position(0));
        if self.etcd.is_some() {
            self.delete("head");
        }
    }

    /// As an etcd is that was made anew; what is archived stays.
    pub fn wipe_etcd(&self) {
        let (cluster, prefix) = self.etcd.as_ref().unwrap();
        let key = STANDARD.encode(format!("/{prefix}/"));
        let end = STANDARD.encode(format!("/{prefix}0"));
        let body = json!({ "key": key, "range_end": end });
        cluster.ask("/v3/kv/deleterange", &body).unwrap();
    }

    pub fn put(&self, key: &str, value: &[u8]) {
        let (cluster, prefix) = self.etcd.as_ref().unwrap();
        let key = STANDARD.encode(format!("/{prefix}/{key}"));
        let body = json!({ "key": key, "value": STANDARD.encode(value) });
        cluster.ask("/v3/kv/put", &body).unwrap();
    }

    pub fn delete(&self, key: &str) {
        let (cluster, prefix) = self.etcd.as_ref().unwrap();
        let key = STANDARD.encode(format!("/{prefix}/{key}"));
        cluster
            .ask("/v3/kv/deleterange", &json!({ "key": key }))
            .unwrap();
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
    journal: &mut Journal<Port>,
    epoch: u64,
    numbers: std::ops::Range<u64>,
) -> Result<Appended, AppendError> {
    journal.append(numbers.map(|n| work(epoch, n)).collect())
}

pub fn catch_up_all(journal: &mut Journal<Port>) -> Result<Vec<(Position, Entry)>, FollowError> {
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
