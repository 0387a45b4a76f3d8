//! The list of everything in a pack, signed. Text of a C2SP signed note: a head of five lines, then one line a file.

use mainstay_journal::Hash;
use mainstay_journal::tree::Head;

use super::scope::Subject;
use super::tar::Files;

/// The file that all others are named in.
pub const MANIFEST: &str = "manifest";
/// Not of the form of a checkpoint, so that no signature of one kind passes for the other.
const TITLE: &str = "mainstay evidence pack 1";
const PATH_BYTES_MAX: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The name of the log, and of the keys that sign.
    pub origin: String,
    pub subject: Subject,
    pub made_ms: u64,
    /// Of the log that the pack carries.
    pub head: Head,
    /// By path: SHA-256 and length.
    pub files: Vec<(String, Hash, usize)>,
}

impl Manifest {
    pub fn of(origin: &str, subject: &Subject, made_ms: u64, head: Head, files: &Files) -> Self {
        let files = files.iter();
        Self {
            origin: origin.to_owned(),
            subject: subject.clone(),
            made_ms,
            head,
            files: files
                .map(|(path, bytes)| (path.clone(), Hash::of(bytes), bytes.len()))
                .collect(),
        }
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "{TITLE}\n{}\nsubject {} {}\nmade {}\nlog {} {}\n",
            self.origin,
            self.subject.kind(),
            self.subject.id(),
            self.made_ms,
            self.head.size,
            self.head.root
        );
        for (path, hash, length) in &self.files {
            text.push_str(&format!("{hash} {length} {path}\n"));
        }
        text
    }

    /// Exactly what [`Manifest::text`] writes, or why it is not.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        let mut next = || lines.next().ok_or("it ends within its head");
        if next()? != TITLE {
            return Err("its first line is not that of an evidence pack of version 1");
        }
        let origin = next()?.to_owned();
        let subject = next()?.strip_prefix("subject ");
        let subject = subject.and_then(|subject| subject.split_once(' '));
        let subject = subject.and_then(|(kind, id)| Subject::of(kind, id));
        let made = next()?.strip_prefix("made ");
        let log = next()?.strip_prefix("log ");
        let log = log.and_then(|log| log.split_once(' '));
        let manifest = Self {
            origin,
            subject: subject.ok_or("it names no subject that is known here")?,
            made_ms: made
                .and_then(|made| made.parse().ok())
                .ok_or("it does not say when it was made")?,
            head: log
                .and_then(|(size, root)| {
                    Some(Head {
                        size: size.parse().ok()?,
                        root: root.parse().ok()?,
                    })
                })
                .ok_or("it does not say which log it carries")?,
            files: lines
                .map(file)
                .collect::<Option<_>>()
                .ok_or("a line names no file")?,
        };
        let ordered = manifest.files.windows(2).all(|two| two[0].0 < two[1].0);
        match ordered && manifest.text() == text {
            true => Ok(manifest),
            false => Err("it is not as it is written: order, numbers or names"),
        }
    }
}

fn file(line: &str) -> Option<(String, Hash, usize)> {
    let (hash, rest) = line.split_once(' ')?;
    let (length, path) = rest.split_once(' ')?;
    is_path(path).then_some((path.to_owned(), hash.parse().ok()?, length.parse().ok()?))
}

/// Whether a file may be called so: below the pack, and the same on every machine.
pub(crate) fn is_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let mut parts = path.split('/');
    path.len() <= PATH_BYTES_MAX
        && path != MANIFEST
        && parts
            .all(|part| !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_plain))
}
