//! Damaging copies of a journal to see that verify finds it.
//!
//! A verifier that never complains proves nothing. This takes a journal that verifies, makes copies, damages
//! each in one way and counts what is found: single bytes changed, parts dropped, parts swapped, the end cut
//! off (rolled back). The original is only read.
//!
//! Most copies are made in memory, and the walk over a copy begins at the first part that differs, with the
//! state that the parts before it left: that is what a walk from the start would come to. Some copies of
//! every kind are made on disk and verified whole, as `journal verify` does it, so that the shortcut is
//! checked as well.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use mainstay_journal::Log;
use mainstay_record::journal::{MutationKind, MutationReport, VerifyReport};
use mainstay_rt::entropy;
use mainstay_units::Position;

use crate::folder::{create_private, part_path};
use crate::meaning::meaning_of;
use crate::place::Place;
use crate::verify::{Memory, Walk, memories, verify};

/// Copies of each kind that are made on disk and verified whole.
const WHOLE_COPIES_PER_KIND: u64 = 5;

/// Makes `count` copies with one byte changed each, and `count / 10` (at least 10) each with parts dropped,
/// swapped and rolled back. The same seed does the same to the same journal.
pub fn mutate_and_verify(
    place: &Place,
    nodes: &[(String, PathBuf)],
    count: u64,
    seed: u64,
) -> io::Result<MutationReport> {
    let bench = Bench::load(place, nodes)?;
    let mut report = MutationReport {
        version: 1,
        seed,
        parts: bench.parts.len() as u64,
        entries: bench.entries,
        ..MutationReport::default()
    };
    if !bench.sound.findings.is_empty() {
        let finding = format!(
            "the journal itself does not verify: {:?}",
            bench.sound.findings
        );
        report.skipped.push(finding);
        return Ok(report);
    }
    let mut random = Random(seed);
    let few = (count / 10).max(10);
    for (kind, wanted) in [
        (Kind::ByteChanged, count),
        (Kind::PartDropped, few),
        (Kind::PartsSwapped, few),
        (Kind::RolledBack, few),
    ] {
        bench.try_kind(kind, wanted, &mut random, &mut report)?;
    }
    Ok(report)
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    ByteChanged,
    PartDropped,
    PartsSwapped,
    RolledBack,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::ByteChanged => "byte changed",
            Self::PartDropped => "part dropped",
            Self::PartsSwapped => "parts swapped",
            Self::RolledBack => "rolled back",
        }
    }
}

/// What one copy has instead of the original: other bytes under a position, or nothing.
struct Mutation {
    changes: BTreeMap<Position, Option<Vec<u8>>>,
    what: String,
}

struct Bench {
    place: Place,
    memories: Vec<Memory>,
    parts: BTreeMap<Position, Vec<u8>>,
    /// The log as it is before the part at each position.
    before: BTreeMap<Position, Log>,
    /// How many entries the node with the best memory has seen.
    remembered: u64,
    entries: u64,
    sound: VerifyReport,
}

impl Bench {
    fn load(place: &Place, nodes: &[(String, PathBuf)]) -> io::Result<Self> {
        let mut sound = verify(place, nodes);
        let memories = memories(nodes, &mut sound);
        let mut bench = Self {
            place: place.clone(),
            remembered: memories
                .iter()
                .map(|m| m.checkpoint.checkpoint.size)
                .max()
                .unwrap_or(0),
            memories,
            parts: BTreeMap::new(),
            before: BTreeMap::new(),
            entries: 0,
            sound,
        };
        let mut log = Log::new(meaning_of);
        let mut kept = place.kept().map_err(io::Error::other)?;
        for position in kept.list()?.parts {
            let bytes = kept.read(position)?;
            bench.before.insert(position, log.clone());
            if log.follow(position, &bytes).is_err() {
                break;
            }
            bench.parts.insert(position, bytes);
        }
        bench.entries = log.end().0;
        Ok(bench)
    }

    fn try_kind(
        &self,
        kind: Kind,
        wanted: u64,
        random: &mut Random,
        report: &mut MutationReport,
    ) -> io::Result<()> {
        let mut tally = MutationKind {
            kind: kind.name().to_string(),
            made: 0,
            found: 0,
        };
        for number in 0..wanted {
            let Some(mutation) = self.mutation(kind, random) else {
                let why = format!(
                    "{}: the journal is too short, or no node remembers its end",
                    kind.name()
                );
                report.skipped.push(why);
                break;
            };
            let found = if number < WHOLE_COPIES_PER_KIND {
                self.verify_on_disk(&mutation)?
            } else {
                self.verify_in_memory(&mutation)
            };
            tally.made += 1;
            if found {
                tally.found += 1;
            } else {
                report.missed.push(mutation.what);
            }
        }
        report.kinds.push(tally);
        Ok(())
    }

    fn mutation(&self, kind: Kind, random: &mut Random) -> Option<Mutation> {
        match kind {
            Kind::ByteChanged => self.byte_changed(random),
            Kind::PartDropped => {
                let covered = self.parts.keys().filter(|p| p.0 < self.remembered);
                let position = *random.choose(&covered.collect::<Vec<_>>())?;
                Some(Mutation {
                    changes: [(*position, None)].into(),
                    what: format!("part at {position} dropped"),
                })
            }
            Kind::PartsSwapped => {
                let positions: Vec<&Position> = self.parts.keys().collect();
                let one = *random.choose(&positions)?;
                let others: Vec<&Position> = positions.into_iter().filter(|p| *p != one).collect();
                let other = *random.choose(&others)?;
                let bytes = |position| self.parts.get(position).cloned();
                Some(Mutation {
                    changes: [(*one, bytes(other)), (*other, bytes(one))].into(),
                    what: format!("parts at {one} and {other} swapped"),
                })
            }
            Kind::RolledBack => {
                let covered = self.parts.keys().filter(|p| p.0 < self.remembered);
                let end = **random.choose(&covered.collect::<Vec<_>>())?;
                Some(Mutation {
                    changes: self.parts.range(end..).map(|(p, _)| (*p, None)).collect(),
                    what: format!("rolled back to position {end}"),
                })
            }
        }
    }

    fn byte_changed(&self, random: &mut Random) -> Option<Mutation> {
        // Every byte of the journal is equally likely, not every part.
        let total: u64 = self.parts.values().map(|bytes| bytes.len() as u64).sum();
        let mut at = random.below(total)?;
        let change = 1 + u8::try_from(random.below(255)?).ok()?;
        for (position, bytes) in &self.parts {
            let length = bytes.len() as u64;
            if at < length {
                let mut bent = bytes.clone();
                let byte = bent.get_mut(usize::try_from(at).ok()?)?;
                *byte ^= change;
                return Some(Mutation {
                    changes: [(*position, Some(bent))].into(),
                    what: format!("byte {at} of the part at {position} changed by {change:#04x}"),
                });
            }
            at -= length;
        }
        None
    }

    fn verify_in_memory(&self, mutation: &Mutation) -> bool {
        let Some((first, _)) = mutation.changes.first_key_value() else {
            return false;
        };
        let Some(log) = self.before.get(first) else {
            return false;
        };
        let mut parts: Vec<Position> = self.parts.keys().copied().collect();
        parts.retain(|position| !matches!(mutation.changes.get(position), Some(None)));
        let ahead: Vec<Memory> = self
            .memories
            .iter()
            .filter(|memory| memory.checkpoint.checkpoint.size > log.end().0)
            .cloned()
            .collect();
        let mut walk = Walk::until_damage(log.clone(), &self.place);
        let mut read = |position: Position| {
            let changed = mutation.changes.get(&position).cloned().flatten();
            changed
                .or_else(|| self.parts.get(&position).cloned())
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        walk.run(&parts, &ahead, &mut read);
        !walk.report.is_sound()
    }

    fn verify_on_disk(&self, mutation: &Mutation) -> io::Result<bool> {
        let name = format!("mainstay-journal-copy-{:016x}", entropy::u64());
        let copy = Copy(std::env::temp_dir().join(name));
        create_private(&copy.0.join("parts"))?;
        for (position, bytes) in &self.parts {
            match mutation.changes.get(position) {
                Some(None) => {}
                Some(Some(changed)) => fs::write(part_path(&copy.0, *position), changed)?,
                None => fs::write(part_path(&copy.0, *position), bytes)?,
            }
        }
        // The nodes' memories as they were when the copies were taken: the platform may be running.
        let mut nodes = Vec::new();
        for memory in &self.memories {
            let folder = copy.0.join("nodes").join(&memory.node);
            create_private(&folder)?;
            fs::write(folder.join("checkpoint"), memory.checkpoint.note())?;
            nodes.push((memory.node.clone(), folder));
        }
        Ok(!verify(&Place::folder(&copy.0), &nodes).is_sound())
    }
}

/// A folder that goes away with its owner.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        // Litter in the temporary folder at worst.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same damage from the same seed on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`; the slight preference for small values does not matter here.
    fn below(&mut self, limit: u64) -> Option<u64> {
        self.next().checked_rem(limit)
    }

    fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let at = self.below(items.len() as u64)?;
        items.get(usize::try_from(at).ok()?)
    }
}
