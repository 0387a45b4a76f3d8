//! The list of everything in a pack, signed. Text of a C2SP signed note: a head of six lines, then one line a file.
//!
//! | form | head |
//! |---|---|
//! | 1 | title, origin, `subject`, `made`, `log`; which rules made the items it does not say |
//! | 2 | the same, and `rules NUMBER PROGRAM` before `log` |
//!
//! Whatever the form: the first line begins with [`TITLE`], and the second is the name of the keys that sign.

use std::str::Lines;

use mainstay_journal::Hash;
use mainstay_journal::tree::Head;

use super::scope::Subject;
use super::tar::Files;

/// The file that all others are named in.
pub const MANIFEST: &str = "manifest";
/// Not of the form of a checkpoint, so that no signature of one kind passes for the other.
const TITLE: &str = "mainstay evidence pack ";
/// The form that this version writes. It reads all before.
const FORM: u32 = 2;
/// By which rules items follow from entries: raised with every change of what a log makes of them, be it a word. Packs name
/// the number; whoever verifies one of another number says so, and takes no difference for a forgery.
pub const RULES: u32 = 2;
const PATH_BYTES_MAX: usize = 200;

/// By what the items of a pack were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub number: u32,
    /// The version of Mainstay that packed.
    pub program: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The name of the log, and of the keys that sign.
    pub origin: String,
    pub subject: Subject,
    pub made_ms: u64,
    /// Nothing in a pack of the first form.
    pub rules: Option<Rules>,
    /// Of the log that the pack carries.
    pub head: Head,
    /// By path: SHA-256 and length.
    pub files: Vec<(String, Hash, usize)>,
}

/// Why a text is no manifest that can be read here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    Wrong(&'static str),
    /// A version that is newer than this one wrote it, and says so.
    Newer(String),
}

impl Manifest {
    pub fn of(origin: &str, subject: &Subject, made_ms: u64, head: Head, files: &Files) -> Self {
        let files = files.iter();
        Self {
            origin: origin.to_owned(),
            subject: subject.clone(),
            made_ms,
            rules: Some(Rules {
                number: RULES,
                program: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            head,
            files: files
                .map(|(path, bytes)| (path.clone(), Hash::of(bytes), bytes.len()))
                .collect(),
        }
    }

    pub fn text(&self) -> String {
        let (form, rules) = match &self.rules {
            Some(rules) => (FORM, format!("rules {} {}\n", rules.number, rules.program)),
            None => (1, String::new()),
        };
        let mut text = format!(
            "{TITLE}{form}\n{}\nsubject {} {}\nmade {}\n{rules}log {} {}\n",
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

    /// Whose keys have to have signed a manifest of any form.
    pub(crate) fn origin_of(text: &str) -> Option<&str> {
        let (title, rest) = text.split_once('\n')?;
        let origin = rest.split('\n').next()?;
        title.starts_with(TITLE).then_some(origin)
    }

    /// Exactly what [`Manifest::text`] writes, or why it is not.
    pub(crate) fn parse(text: &str) -> Result<Self, Unread> {
        let mut lines = text.lines();
        let title = lines.next().and_then(|line| line.strip_prefix(TITLE));
        let form: Option<u32> = title.and_then(|form| form.parse().ok());
        match form {
            Some(1..=FORM) => {}
            Some(form) if form > FORM => {
                return Err(Unread::Newer(format!(
                    "it is an evidence pack of form {form}, and this version knows forms up to {FORM}"
                )));
            }
            Some(_) | None => {
                return Err(Unread::Wrong(
                    "its first line is not that of an evidence pack",
                ));
            }
        }
        let manifest = Self::parse_head(&mut lines, form == Some(1)).map_err(Unread::Wrong)?;
        if let Some(rules) = &manifest.rules
            && rules.number > RULES
        {
            return Err(Unread::Newer(format!(
                "Mainstay {} made its items by rules {}, and this version knows rules up to {RULES}",
                rules.program, rules.number
            )));
        }
        let ordered = manifest.files.windows(2).all(|two| two[0].0 < two[1].0);
        match ordered && manifest.text() == text {
            true => Ok(manifest),
            false => Err(Unread::Wrong(
                "it is not as it is written: order, numbers or names",
            )),
        }
    }

    fn parse_head(lines: &mut Lines<'_>, is_first_form: bool) -> Result<Self, &'static str> {
        let mut next = || lines.next().ok_or("it ends within its head");
        let origin = next()?.to_owned();
        let subject = next()?.strip_prefix("subject ");
        let subject = subject.and_then(|subject| subject.split_once(' '));
        let subject = subject.and_then(|(kind, id)| Subject::of(kind, id));
        let made = next()?.strip_prefix("made ");
        let rules = match is_first_form {
            true => None,
            false => {
                Some(rules(next()?).ok_or("it does not say by which rules its items were made")?)
            }
        };
        let log = next()?.strip_prefix("log ");
        let log = log.and_then(|log| log.split_once(' '));
        Ok(Self {
            origin,
            subject: subject.ok_or("it names no subject that is known here")?,
            made_ms: made
                .and_then(|made| made.parse().ok())
                .ok_or("it does not say when it was made")?,
            rules,
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
        })
    }
}

fn rules(line: &str) -> Option<Rules> {
    let (number, program) = line.strip_prefix("rules ")?.split_once(' ')?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    let number = number.parse().ok().filter(|number| *number > 0)?;
    let is_version = !program.is_empty() && program.len() <= 64 && program.bytes().all(is_plain);
    is_version.then(|| Rules {
        number,
        program: program.to_owned(),
    })
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
