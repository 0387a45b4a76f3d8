//! Rule files: which text of each was adopted, and which text each watch follows.
//!
//! Two things are told apart. *Adopted* is an order: somebody ran `mainstay up` with this text, and the entry holds it.
//! *Followed* is what a watch says that it does, by the digest of the file that it has read. The second one says what held
//! at an instant; the first one says what stands behind a digest, who wanted it, and why.
//!
//! A text that is too long for one entry is adopted in parts, one after the other. It counts with the last of them; whoever
//! is interrupted in between begins again with the first.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use mainstay_model::name::HostName;
use mainstay_model::people::Permission;
use mainstay_units::Position;

use crate::authority::{By, authorize};
use crate::decide::Decision;
use crate::event::{Event, Record};
use crate::signal::Command;
use crate::state::State;
use crate::why::{Refusal, Why};

/// Of a part's text, as it is written; an entry has 64 KiB.
pub const RULES_PART_BYTES_MAX: usize = 48 * 1_024;
/// Of one text: 4 MiB and more, which is what a rule file may have.
pub const RULES_PARTS_MAX: u32 = 256;
/// Files that a platform has at most, here and in what a watch follows.
const FILES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 255;
/// Of all names and digests that a watch follows.
const FOLLOWED_BYTES_MAX: usize = 48 * 1_024;
/// SHA-256, hexadecimal.
const DIGEST_BYTES: usize = 64;

/// A part of a rule file's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesText {
    /// What the file is called where it is followed.
    pub file: String,
    /// SHA-256 of the whole text, hexadecimal.
    pub digest: String,
    /// From 1.
    pub part: u32,
    pub parts: u32,
    pub text: String,
}

/// What a watch follows: digests by files.
pub type FollowedRules = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulesNews {
    Adopted {
        text: RulesText,
        by: By,
        reason: String,
    },
    Followed {
        /// The host of the watch.
        watch: HostName,
        /// Since when, by its clock.
        at_ms: u64,
        files: FollowedRules,
    },
}

/// The text that was adopted last of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedRules {
    pub digest: String,
    /// Of the entry with its last part.
    pub position: Position,
    pub at_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub adopted: BTreeMap<String, AdoptedRules>,
    pub followed: BTreeMap<HostName, FollowedRules>,
    /// File, digest and last part of a text that is not whole yet.
    growing: Option<(String, String, u32)>,
}

impl Rules {
    pub(crate) fn apply(&mut self, record: &Record, news: &RulesNews) {
        match news {
            RulesNews::Adopted { text, .. } if text.part < text.parts => {
                self.growing = Some((text.file.clone(), text.digest.clone(), text.part));
            }
            RulesNews::Adopted { text, .. } => {
                self.growing = None;
                let adopted = AdoptedRules {
                    digest: text.digest.clone(),
                    position: record.position,
                    at_ms: record.at_ms,
                };
                self.adopted.insert(text.file.clone(), adopted);
            }
            RulesNews::Followed { watch, files, .. } => {
                self.followed.insert(watch.clone(), files.clone());
            }
        }
    }

    /// The part with this number is the next one of its text.
    fn takes(&self, text: &RulesText) -> bool {
        let before = (
            text.file.clone(),
            text.digest.clone(),
            text.part.wrapping_sub(1),
        );
        text.part == 1 || self.growing == Some(before)
    }
}

/// What somebody asked.
pub(crate) fn asked(
    state: &State,
    command: &Command,
    text: &RulesText,
) -> Result<Vec<Event>, Refusal> {
    let by = authorize(state, &command.actor, Permission::PlatformApply)?;
    let known = state.rules.adopted.get(&text.file);
    if known.is_some_and(|known| known.digest == text.digest) {
        return Err(Refusal::RulesInForce(text.file.clone()));
    }
    if let Some(why) = misfit(text) {
        return Err(Refusal::Rules(why));
    }
    if known.is_none() && state.rules.adopted.len() >= FILES_MAX {
        return Err(Refusal::Rules("there are too many files already"));
    }
    if !state.rules.takes(text) {
        return Err(Refusal::Rules("the part before it is not here"));
    }
    Ok(vec![Event::Rules(RulesNews::Adopted {
        text: text.clone(),
        by,
        reason: command.reason.clone(),
    })])
}

fn misfit(text: &RulesText) -> Option<&'static str> {
    let is_hexadecimal = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if text.file.is_empty() || text.file.len() > NAME_BYTES_MAX || text.file.contains('/') {
        return Some("it needs the name of a file");
    }
    if text.digest.len() != DIGEST_BYTES || !text.digest.bytes().all(is_hexadecimal) {
        return Some("its digest is none");
    }
    if text.part == 0 || text.part > text.parts || text.parts > RULES_PARTS_MAX {
        return Some("its parts are counted from 1 to 256");
    }
    let written: usize = text.text.bytes().map(written_bytes).sum();
    (written > RULES_PART_BYTES_MAX).then_some("a part has at most 48 KiB")
}

/// What a byte of a text takes in an entry, which is JSON.
pub const fn written_bytes(byte: u8) -> usize {
    match byte {
        b'\n' | b'\r' | b'\t' | b'"' | b'\\' => 2,
        0..=0x1f => 6,
        _ => 1,
    }
}

/// What a watch follows, as the node of its host says. Nothing is recorded before a text was adopted: a platform that was
/// never told of rules has versions among its nodes that would not know the word.
pub(crate) fn told(state: &State, watch: &HostName, at_ms: u64, files: &FollowedRules) -> Decision {
    let desired = state.desired.as_ref();
    if !desired.is_some_and(|desired| desired.watches.contains(watch)) {
        return Decision::nothing(Why::NotAWatch);
    }
    let lengths = files.iter().map(|(file, digest)| file.len() + digest.len());
    let is_bounded = files.len() <= FILES_MAX && lengths.sum::<usize>() <= FOLLOWED_BYTES_MAX;
    if !is_bounded || !state.rules.is_news(watch, files) {
        return Decision::nothing(Why::AlreadyRecorded);
    }
    Decision::of(vec![Event::Rules(RulesNews::Followed {
        watch: watch.clone(),
        at_ms,
        files: files.clone(),
    })])
}

impl Rules {
    /// Whether the journal does not say yet that the watch follows these.
    pub fn is_news(&self, watch: &HostName, files: &FollowedRules) -> bool {
        !self.adopted.is_empty() && self.followed.get(watch) != Some(files)
    }
}

impl RulesNews {
    /// What became of a command, in words.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Adopted { text, .. } if text.part < text.parts => {
                alloc::format!("part {} of {} of {}", text.part, text.parts, text.file)
            }
            Self::Adopted { text, .. } => alloc::format!("rules {} are in force", text.file),
            Self::Followed { watch, .. } => watch.to_string(),
        }
    }
}
