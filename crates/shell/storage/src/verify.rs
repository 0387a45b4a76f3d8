//! Reading a whole journal again, believing nothing, repairing nothing.
//!
//! The walk goes from the first part to the last through the same [`Log`] that leaders and followers use:
//! form, chain, tree, signatures, the right to sign. What each node remembers is compared on the way. Where
//! the walk cannot go on, what lies beyond is still looked at part by part, so that one report names every
//! place that a person has to look at; only what hangs together can no longer be said there.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_journal::{Damage, Log, Part, PartError, SignedCheckpoint};
use mainstay_record::journal::{Finding, FindingCode, VerifyReport, Vouched};
use mainstay_rt::error::chain;
use mainstay_units::Position;

use crate::folder::{Listing, part_name};
use crate::meaning::meaning_of;
use crate::node_folder::NodeFolder;
use crate::place::Place;

/// Verifies the journal that is kept in `place`. `nodes` are the nodes' names and folders (`DATA/hosts/HOST/node`); one that
/// holds no checkpoint vouches for nothing.
pub fn verify(place: &Place, nodes: &[(String, PathBuf)]) -> VerifyReport {
    let mut walk = Walk::new(place);
    let memories = memories(nodes, &mut walk.report);
    let opened = place.kept().map_err(io::Error::other);
    let listed = opened.and_then(|mut kept| {
        // The head first: parts that come meanwhile are behind it.
        let head = kept.head()?;
        let listing = kept.list()?;
        Ok((kept, head, listing))
    });
    let (mut kept, head, listing) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            walk.find(
                FindingCode::Unreadable,
                None,
                format!("cannot list the parts: {}", chain(&error)),
            );
            return walk.report;
        }
    };
    walk.look_at_names(&listing);
    walk.head = head;
    walk.run(&listing.parts, &memories, &mut |position| {
        kept.read(position)
    });
    if memories.is_empty() {
        let note = "no node remembers a checkpoint: a rolled-back journal could not be told from a short one";
        walk.report.notes.push(note.to_string());
    }
    walk.report
}

/// What a node saw last.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) node: String,
    pub(crate) checkpoint: SignedCheckpoint,
}

pub(crate) fn memories(nodes: &[(String, PathBuf)], report: &mut VerifyReport) -> Vec<Memory> {
    let mut memories = Vec::new();
    for (node, folder) in nodes {
        match NodeFolder::at(folder).checkpoint() {
            Ok(Some(checkpoint)) => memories.push(Memory {
                node: node.clone(),
                checkpoint,
            }),
            Ok(None) => {}
            Err(error) => report.findings.push(Finding {
                code: FindingCode::Memory,
                position: None,
                part: None,
                node: Some(node.clone()),
                what: error.to_string(),
            }),
        }
    }
    memories
}

/// How a walk over the parts went.
pub(crate) struct Walk {
    pub(crate) log: Log,
    pub(crate) report: VerifyReport,
    beyond: BeyondDamage,
    /// Where the journal says beside its parts that it ends.
    head: Option<Position>,
}

/// Whether parts behind the first damage are looked at as well.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BeyondDamage {
    Look,
    Stop,
}

type ReadPart<'a> = dyn FnMut(Position) -> io::Result<Vec<u8>> + 'a;

impl Walk {
    pub(crate) fn new(place: &Place) -> Self {
        Self::from_log(Log::new(meaning_of), place)
    }

    /// Goes on where `log` stands; what is before it was verified already. Stops at the first damage.
    pub(crate) fn until_damage(log: Log, place: &Place) -> Self {
        Self {
            beyond: BeyondDamage::Stop,
            ..Self::from_log(log, place)
        }
    }

    fn from_log(log: Log, place: &Place) -> Self {
        Self {
            log,
            beyond: BeyondDamage::Look,
            head: None,
            report: VerifyReport {
                version: 1,
                folder: place.to_string(),
                origin: None,
                parts: 0,
                entries: 0,
                epoch: 0,
                root: None,
                vouched: Vec::new(),
                findings: Vec::new(),
                notes: Vec::new(),
            },
        }
    }

    /// `parts` are the positions of the parts there are, in order.
    pub(crate) fn run(&mut self, parts: &[Position], memories: &[Memory], read: &mut ReadPart<'_>) {
        let mut by_size: BTreeMap<u64, Vec<&Memory>> = BTreeMap::new();
        for memory in memories {
            let size = memory.checkpoint.checkpoint.size;
            by_size.entry(size).or_default().push(memory);
        }
        let start = self.log.end();
        let mut parts = parts.iter().copied().filter(|p| *p >= start);
        let stopped = self.follow_all(&mut parts, &mut by_size, read);
        if self.beyond == BeyondDamage::Look {
            for position in parts {
                self.look_at_part_alone(position, read);
            }
        }
        match stopped {
            Stopped::AtDamage => {
                let note = format!(
                    "entries from position {} on hang on what is damaged and could not be verified",
                    self.log.end()
                );
                self.report.notes.push(note);
            }
            Stopped::AtTheEnd => {
                self.look_at_head();
                for memory in by_size.into_values().flatten() {
                    self.find_rolled_back(memory);
                }
            }
        }
        self.conclude();
    }

    fn follow_all(
        &mut self,
        parts: &mut dyn Iterator<Item = Position>,
        memories: &mut BTreeMap<u64, Vec<&Memory>>,
        read: &mut ReadPart<'_>,
    ) -> Stopped {
        for position in parts {
            let expected = self.log.end();
            if position != expected {
                let (code, what) = (
                    FindingCode::Missing,
                    format!(
                        "part {} is missing; the next part there is begins at position {position}",
                        part_name(expected)
                    ),
                );
                self.find(code, Some(expected), what);
                self.look_at_part_alone(position, read);
                return Stopped::AtDamage;
            }
            let followed = match read(position) {
                Ok(bytes) => self.log.follow(position, &bytes).map(|_| ()),
                Err(error) => {
                    self.find(
                        FindingCode::Unreadable,
                        Some(position),
                        format!("cannot be read: {}", chain(&error)),
                    );
                    return Stopped::AtDamage;
                }
            };
            if let Err(damage) = followed {
                self.find(code_of(&damage), Some(position), damage.to_string());
                return Stopped::AtDamage;
            }
            self.report.parts += 1;
            self.compare_memories(memories);
        }
        Stopped::AtTheEnd
    }

    fn compare_memories(&mut self, memories: &mut BTreeMap<u64, Vec<&Memory>>) {
        let beyond = memories.split_off(&(self.log.end().0 + 1));
        for memory in std::mem::replace(memories, beyond).into_values().flatten() {
            let checkpoint = &memory.checkpoint.checkpoint;
            let same = checkpoint.size == self.log.end().0
                && checkpoint.root == self.log.root()
                && Some(checkpoint.origin.as_str()) == self.log.origin();
            let problem = if !same {
                "another journal up to here than the one that stands here".to_string()
            } else if let Err(error) = memory.checkpoint.verify(&self.log.keys_ever()) {
                format!("a checkpoint that nobody of this journal signed: {error}")
            } else {
                self.report.vouched.push(Vouched {
                    node: memory.node.clone(),
                    size: checkpoint.size,
                });
                continue;
            };
            self.report.findings.push(Finding {
                code: FindingCode::Rewritten,
                position: Some(checkpoint.size),
                part: None,
                node: Some(memory.node.clone()),
                what: format!("node {} remembers {problem}", memory.node),
            });
        }
    }

    fn find_rolled_back(&mut self, memory: &Memory) {
        let size = memory.checkpoint.checkpoint.size;
        let end = self.log.end();
        self.report.findings.push(Finding {
            code: FindingCode::RolledBack,
            position: Some(end.0),
            part: None,
            node: Some(memory.node.clone()),
            what: format!(
                "node {} has seen {size} entries; the journal ends after {end}",
                memory.node
            ),
        });
    }

    /// Only what a part shows by itself.
    fn look_at_part_alone(&mut self, position: Position, read: &mut ReadPart<'_>) {
        match read(position).map(|bytes| Part::parse(&bytes)) {
            Err(error) => self.find(
                FindingCode::Unreadable,
                Some(position),
                format!("cannot be read: {}", chain(&error)),
            ),
            Ok(Err(error)) => self.find(form_code(&error), Some(position), error.to_string()),
            Ok(Ok(part)) if part.first != position => {
                let what = format!("holds the part that begins at position {}", part.first);
                self.find(FindingCode::Misplaced, Some(position), what);
            }
            Ok(Ok(_)) => {}
        }
    }

    /// The end that the journal tells beside its parts: beyond the last part, parts are missing.
    fn look_at_head(&mut self) {
        let end = self.log.end();
        if let Some(head) = self.head.filter(|head| *head > end) {
            let what = format!("the journal goes to position {head}; its parts end at {end}");
            self.find(FindingCode::Missing, Some(end), what);
        }
    }

    fn look_at_names(&mut self, listing: &Listing) {
        for name in &listing.foreign {
            self.report.findings.push(Finding {
                code: FindingCode::Foreign,
                position: None,
                part: Some(name.clone()),
                node: None,
                what: "is not named as a part is".to_string(),
            });
        }
        if !listing.temporary.is_empty() {
            let note = format!(
                "{} temporary files of writers that were interrupted; they hold nothing that was published",
                listing.temporary.len()
            );
            self.report.notes.push(note);
        }
    }

    fn find(&mut self, code: FindingCode, position: Option<Position>, what: String) {
        self.report.findings.push(Finding {
            code,
            position: position.map(|position| position.0),
            part: position.map(part_name),
            node: None,
            what,
        });
    }

    fn conclude(&mut self) {
        self.report.origin = self.log.origin().map(str::to_string);
        self.report.entries = self.log.end().0;
        self.report.epoch = self.log.leadership().epoch.0;
        self.report.root = Some(STANDARD.encode(self.log.root().0));
        if self.log.end() == Position::ZERO && self.report.findings.is_empty() {
            self.find(FindingCode::Empty, None, "there are no parts".to_string());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopped {
    AtTheEnd,
    AtDamage,
}

fn form_code(error: &PartError) -> FindingCode {
    match error {
        PartError::Torn => FindingCode::Torn,
        PartError::Header
        | PartError::NotUtf8(_)
        | PartError::Count(_)
        | PartError::Entry { .. }
        | PartError::Checkpoint(_)
        | PartError::NotCanonical => FindingCode::Form,
    }
}

fn code_of(damage: &Damage) -> FindingCode {
    match damage {
        Damage::Form(error) => form_code(error),
        Damage::Origin { .. } | Damage::Position { .. } => FindingCode::Misplaced,
        Damage::Chain { .. } => FindingCode::Chain,
        Damage::Size { .. } | Damage::Root => FindingCode::Tree,
        Damage::Signature(_) | Damage::SignatureCount(_) => FindingCode::Signature,
        Damage::NotTheLeader { .. } | Damage::Claim { .. } | Damage::KeyReused { .. } => {
            FindingCode::Authority
        }
        Damage::Unreadable { .. } | Damage::Opening { .. } => FindingCode::Entry,
    }
}
