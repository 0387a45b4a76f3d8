//! Packs of evidence as an auditor gets them: verified with nothing but the key, by our code and by somebody else's, and refused,
//! with the place, as soon as one byte of any part is another.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::c2sp::Peer;
use crate::platform::Platform;

/// What a pack is always made of; a log has more tiles than these.
const PARTS: [&str; 9] = [
    "manifest",
    "log/checkpoint",
    "log/keys",
    "log/tile/0/",
    "log/tile/entries/",
    "items.json",
    "proofs.jsonl",
    "summary.md",
    "controls.tsv",
];

/// A pack in a folder, and the key that it is verified with.
pub struct Pack {
    mainstay: PathBuf,
    folder: PathBuf,
    key: String,
}

impl Pack {
    /// Packs what the journal shows: `subject` names it as the command does.
    pub fn make(platform: &Platform, subject: &[&str], folder: &Path) -> Result<Self> {
        let path = folder.to_str().context("a folder with a name in UTF-8")?;
        let packed = [&["evidence", "pack"], subject, &["--out", path]].concat();
        let said = platform.mainstay(&packed)?;
        print!("{said}");
        Ok(Self {
            mainstay: platform.program("mainstay")?,
            folder: folder.to_owned(),
            key: key_in(&said)?,
        })
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What is told of an item, by its number.
    pub fn item(&self, number: u64) -> Result<Value> {
        let text = std::fs::read_to_string(self.folder.join("items.json")).context("read items")?;
        let told: Value = serde_json::from_str(&text).context("read items")?;
        let items = told["items"].as_array().context("there are items")?;
        let item = items.iter().find(|item| item["item"] == number);
        item.cloned().with_context(|| format!("no item {number}"))
    }

    /// With nothing but the pack and the key.
    pub fn verified(&self) -> Result<String> {
        let (is_believed, said) = self.verify(&self.folder)?;
        ensure!(is_believed, "the pack is refused: {said}");
        Ok(said)
    }

    /// One byte of each file is another, one after the other; each time the file is named. `peer` must refuse what it reads, too.
    pub fn refused_flipped(&self, peer: Option<&Peer>) -> Result<usize> {
        let mut files = Vec::new();
        collect(&self.folder, &self.folder, &mut files)?;
        for part in PARTS {
            ensure!(
                files.iter().any(|file| file.starts_with(part)),
                "the pack has no {part}"
            );
        }
        for file in &files {
            let flipped = Flipped::byte_of(self.folder.join(file))?;
            let (is_believed, said) = self.verify(&self.folder)?;
            ensure!(!is_believed, "{file} has another byte and is believed");
            ensure!(
                said.contains(&format!("refused: {file}: ")),
                "{file} has another byte, and what is said is: {said}"
            );
            // The table, the words and the keys mean nothing to a reader of logs.
            let is_log = file.starts_with("log/tile/") || file == "log/checkpoint";
            if let Some(peer) = peer.filter(|_| is_log || file == "manifest") {
                ensure!(
                    peer.refuses(&self.log(), std::slice::from_ref(&self.key))?,
                    "{file} has another byte, and somebody else's code takes it"
                );
            }
            drop(flipped);
        }
        self.verified().context("with every byte as it was")?;
        Ok(files.len())
    }

    /// The same of one archive: a byte in each part of it, headers and padding too.
    pub fn archive_refused_flipped(&self, archive: &Path) -> Result<usize> {
        let (is_believed, said) = self.verify(archive)?;
        ensure!(is_believed, "the archive is refused: {said}");
        let length = std::fs::metadata(archive).context("look at it")?.len();
        let places = (0..16).map(|part| part * length / 16);
        let mut count = 0;
        for place in places.chain([length - 1]) {
            let flipped = Flipped::byte_at(archive.to_owned(), place)?;
            let (is_believed, said) = self.verify(archive)?;
            ensure!(
                !is_believed && said.contains("refused: "),
                "byte {place} of the archive is another: {said}"
            );
            drop(flipped);
            count += 1;
        }
        Ok(count)
    }

    fn verify(&self, pack: &Path) -> Result<(bool, String)> {
        let output = Command::new(&self.mainstay)
            .args(["evidence", "verify"])
            .arg(pack)
            .args(["--key", &self.key])
            .stdin(Stdio::null())
            .output()
            .context("start mainstay")?;
        let said = [output.stdout, output.stderr].concat();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        ))
    }
}

/// The verifier key in what a command printed.
pub fn key_in(said: &str) -> Result<String> {
    said.split_whitespace()
        .map(|word| word.trim_matches('\''))
        .find(|word| word.starts_with("mainstay/") && word.matches('+').count() >= 2)
        .map(str::to_owned)
        .context("no verifier key was printed")
}

/// A file in which one bit is another until this is dropped.
struct Flipped {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Flipped {
    fn byte_of(path: PathBuf) -> Result<Self> {
        let length = std::fs::metadata(&path).context("look at a part")?.len();
        Self::byte_at(path, length / 2)
    }

    fn byte_at(path: PathBuf, place: u64) -> Result<Self> {
        let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let mut other = bytes.clone();
        let place = usize::try_from(place).context("a place in a file")?;
        *other.get_mut(place).context("an empty part")? ^= 1;
        std::fs::write(&path, other).with_context(|| format!("write {}", path.display()))?;
        Ok(Self { path, bytes })
    }
}

impl Drop for Flipped {
    fn drop(&mut self) {
        // Whoever verifies it next would find out.
        std::fs::write(&self.path, &self.bytes).ok();
    }
}

/// Every file below a folder, by its path from `root`.
fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
            continue;
        }
        let below = path.strip_prefix(root).context("it lies below")?;
        files.push(below.display().to_string());
    }
    files.sort();
    Ok(())
}
