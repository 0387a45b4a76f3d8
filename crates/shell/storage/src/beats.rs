//! What each node last said, in a file of its own.
//!
//! It is said a few times a second, and most of the time nothing happens beside it: so it must cost the disk nothing
//! that commits wait for. Two files take turns ([`files::alternate`]), neither of which is made or removed, and a file
//! that has not changed is not read again.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use mainstay_rt::files::{self, Stamp};

/// A beat carries at most this much: signals wait at their node for the next one.
pub const BYTES_MAX: u64 = 4 << 20;
const SUFFIX: &str = ".json";
const SPARE_SUFFIX: &str = ".tmp";
/// A file that its writer took back while it was read is read again, so often.
const READINGS_MAX: u32 = 4;

#[derive(Debug)]
pub struct Beats {
    folder: PathBuf,
    /// Who speaks here, and the file that takes the next beat.
    own: Option<(String, PathBuf)>,
    heard: BTreeMap<String, (Stamp, Vec<u8>)>,
}

impl Beats {
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            own: None,
            heard: BTreeMap::new(),
        }
    }

    fn path(&self, node: &str) -> PathBuf {
        self.folder.join(format!("{node}{SUFFIX}"))
    }

    /// Not durable on purpose: a beat is worth nothing after a crash.
    pub fn say(&mut self, node: &str, beat: &[u8]) -> io::Result<()> {
        let path = self.path(node);
        let spare = match &self.own {
            Some((own, spare)) if own == node => spare.clone(),
            Some(_) | None => self.begin(node)?,
        };
        files::alternate(&path, &spare, beat)
    }

    /// The spare file of whoever spoke for the node before is litter.
    fn begin(&mut self, node: &str) -> io::Result<PathBuf> {
        let prefix = format!(".{node}.");
        for file in fs::read_dir(&self.folder)? {
            let name = file?.file_name();
            let is_spare = |name: &str| name.starts_with(&prefix) && name.ends_with(SPARE_SUFFIX);
            if name.to_str().is_some_and(is_spare) {
                fs::remove_file(self.folder.join(name)).ok();
            }
        }
        let name = format!("{prefix}{}{SPARE_SUFFIX}", std::process::id());
        let spare = self.folder.join(name);
        self.own = Some((node.to_owned(), spare.clone()));
        Ok(spare)
    }

    /// What every node last said, in order of their names.
    pub fn hear(&mut self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut heard = BTreeMap::new();
        for file in fs::read_dir(&self.folder)? {
            let name = file?.file_name();
            let name = name.to_str().filter(|name| !name.starts_with('.'));
            let Some(node) = name.and_then(|name| name.strip_suffix(SUFFIX)) else {
                continue;
            };
            let known = self.heard.remove(node);
            heard.extend(read(&self.path(node), known)?.map(|beat| (node.to_owned(), beat)));
        }
        self.heard = heard;
        let beats = self.heard.iter();
        Ok(beats
            .map(|(node, (_, beat))| (node.clone(), beat.clone()))
            .collect())
    }

    /// Whether what happened to this file is news to whoever speaks here.
    pub fn is_news(&self, file: &Path) -> bool {
        let Some((own, spare)) = &self.own else {
            return true;
        };
        let spare = spare.file_name().map(Path::new);
        Some(file) != spare && file != Path::new(&format!("{own}{SUFFIX}"))
    }
}

/// A beat as it was while its file had one stamp: the writer may take the file back while it is read. `None`: it is
/// gone, or changes faster than it can be read, and nothing is known from before.
fn read(path: &Path, known: Option<(Stamp, Vec<u8>)>) -> io::Result<Option<(Stamp, Vec<u8>)>> {
    let is_gone = |error: &io::Error| error.kind() == ErrorKind::NotFound;
    for _ in 0..READINGS_MAX {
        let before = match Stamp::of(path) {
            Err(error) if is_gone(&error) => return Ok(None),
            stamp => stamp?,
        };
        if known.as_ref().is_some_and(|(stamp, _)| *stamp == before) {
            return Ok(known);
        }
        let beat = match files::read_limited(path, BYTES_MAX) {
            Err(error) if is_gone(&error) => return Ok(None),
            beat => beat?,
        };
        if Stamp::of(path).is_ok_and(|after| after == before) {
            return Ok(Some((before, beat)));
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_last_is_heard_and_two_files_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let mut speaker = Beats::new(folder.path().to_owned());
        let mut listener = Beats::new(folder.path().to_owned());
        for said in ["a long beat", "short", "", "a longer beat than before"] {
            speaker.say("a", said.as_bytes()).unwrap();
            let heard = listener.hear().unwrap();
            assert_eq!(heard, [("a".to_owned(), said.as_bytes().to_vec())]);
            assert_eq!(listener.hear().unwrap(), heard);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        fs::remove_file(folder.path().join("a.json")).unwrap();
        assert_eq!(listener.hear().unwrap(), []);
        speaker.say("a", b"again").unwrap();
        assert_eq!(listener.hear().unwrap().len(), 1);
    }

    /// Also when the old one was only frozen, and says something more.
    #[test]
    fn what_a_predecessor_left_is_removed_and_both_are_heard_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut old = Beats::new(folder.path().to_owned());
        old.own = Some(("a".to_owned(), folder.path().join(".a.1.tmp")));
        old.say("a", b"one").unwrap();
        old.say("a", b"two").unwrap();
        let mut new = Beats::new(folder.path().to_owned());
        new.say("a", b"three").unwrap();
        new.say("a", b"four").unwrap();
        let spares = || {
            let files = fs::read_dir(folder.path()).unwrap();
            files
                .filter(|file| {
                    let name = file.as_ref().unwrap().file_name();
                    name.to_string_lossy().starts_with('.')
                })
                .count()
        };
        assert_eq!(spares(), 1);
        assert_eq!(new.hear().unwrap()[0].1, b"four");
        old.say("a", b"five, of the old one").unwrap();
        assert_eq!(new.hear().unwrap()[0].1, b"five, of the old one");
        new.say("a", b"six").unwrap();
        assert_eq!(new.hear().unwrap()[0].1, b"six");
    }

    #[test]
    fn ones_own_files_are_no_news() {
        let folder = tempfile::tempdir().unwrap();
        let mut beats = Beats::new(folder.path().to_owned());
        assert!(beats.is_news(Path::new("a.json")));
        beats.say("a", b"{}").unwrap();
        assert!(!beats.is_news(Path::new("a.json")));
        assert!(beats.is_news(Path::new("b.json")));
        for file in fs::read_dir(folder.path()).unwrap() {
            assert!(!beats.is_news(Path::new(&file.unwrap().file_name())));
        }
    }
}
