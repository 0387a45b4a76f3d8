//! What is known after following every part: tree, chain, keys and leader.
//!
//! Rules that a part must keep, checked by the same code whether a node follows, a leader writes or somebody
//! verifies:
//!
//! 1. Parts touch: a part begins where the one before ended, in position, chain and origin.
//! 2. The first entry of the log opens it: names it and names the first key. It is believed because it is the
//!    first (whoever replaced the whole journal is noticed by what the nodes remember).
//! 3. Later keys are admitted by entries, so every key is vouched for by one that was known before it. A node
//!    has one key at a time: admitting another one retires the first.
//! 4. A part is signed by the node that leads. Leading begins with a claim of the next epoch, which is the
//!    first entry of a part signed by the claiming node. So a signature by anybody else than the leader of
//!    the moment is as bad as a wrong one.
//! 5. The checkpoint under a part names exactly the tree that the entries so far make.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mainstay_units::{Epoch, Position};
use thiserror::Error;

use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::entry::Entry;
use crate::hash::{Hash, chain_genesis, chain_next, leaf_hash};
use crate::note::{NodeKey, PublicKey};
use crate::part::{PART_ENTRIES_MAX, Part, PartError};
use crate::tree::Frontier;

/// What an entry means to the log itself. The caller reads the JSON, see the crate's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The first entry: the log's name, and the node and key that opened it.
    Opened {
        origin: String,
        node: String,
        key: PublicKey,
    },
    KeyAdmitted {
        node: String,
        key: PublicKey,
    },
    Claimed {
        epoch: Epoch,
        node: String,
    },
    /// Everything that concerns others.
    Other,
    /// Not readable as an entry of a journal at all.
    Unreadable,
}

/// Who leads, since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    pub epoch: Epoch,
    pub node: String,
}

/// Why a part cannot follow on what is known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    #[error(transparent)]
    Form(#[from] PartError),
    #[error("part belongs to the journal {found}, not to {expected}")]
    Origin { expected: String, found: String },
    #[error("part begins at position {found}; position {expected} was expected")]
    Position { expected: Position, found: Position },
    #[error("chain is broken {at}")]
    Chain { at: ChainEnd },
    #[error("checkpoint names a tree of {found} entries; there are {expected}")]
    Size { expected: u64, found: u64 },
    #[error("checkpoint's root is not the root of the entries")]
    Root,
    #[error("checkpoint's signature: {0}")]
    Signature(crate::checkpoint::CheckpointError),
    #[error("checkpoint carries {0} signatures instead of one")]
    SignatureCount(usize),
    #[error("part is signed by {signer}, but {leader} leads")]
    NotTheLeader { signer: String, leader: String },
    #[error("entry {position} is not readable")]
    Unreadable { position: Position },
    #[error("entry {position}: the journal is opened by its first entry and only by it")]
    Opening { position: Position },
    #[error(
        "entry {position} claims epoch {found} after epoch {current}, or not as the first entry of a part, or for another node than the signer"
    )]
    Claim {
        position: Position,
        current: Epoch,
        found: Epoch,
    },
    #[error("entry {position} admits a key that another node has or had")]
    KeyReused { position: Position },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainEnd {
    Before,
    After,
}

impl core::fmt::Display for ChainEnd {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Before => "before the part: it does not follow on the one before",
            Self::After => "within the part: an entry is not the one that was written",
        })
    }
}

/// Why a part was not sealed; nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    #[error("a part has between 1 and {PART_ENTRIES_MAX} entries, not {0}")]
    Count(usize),
    #[error("entries would not be accepted by a reader")]
    Rule(#[from] Damage),
}

/// What a followed part brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    pub first: Position,
    pub entries: Vec<Entry>,
    pub leaves: Vec<Hash>,
}

/// The state of a log after some of its parts. Clone it to try a part.
#[derive(Clone, Debug)]
pub struct Log {
    /// `None` before the first part.
    origin: Option<String>,
    frontier: Frontier,
    chain: Option<Hash>,
    keys: BTreeMap<String, PublicKey>,
    retired: Vec<PublicKey>,
    leadership: Leadership,
    checkpoint: Option<SignedCheckpoint>,
    meaning: fn(&Entry) -> Meaning,
}

impl Log {
    pub fn new(meaning: fn(&Entry) -> Meaning) -> Self {
        Self {
            origin: None,
            frontier: Frontier::default(),
            chain: None,
            keys: BTreeMap::new(),
            retired: Vec::new(),
            leadership: Leadership {
                epoch: Epoch::ZERO,
                node: String::new(),
            },
            checkpoint: None,
            meaning,
        }
    }

    /// Where the next part begins.
    pub fn end(&self) -> Position {
        Position(self.frontier.size())
    }

    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    pub fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    pub fn key_of(&self, node: &str) -> Option<PublicKey> {
        self.keys.get(node).copied()
    }

    /// Every key that may have signed a checkpoint of this log, retired ones included.
    pub fn keys_ever(&self) -> Vec<PublicKey> {
        self.keys.values().chain(&self.retired).copied().collect()
    }

    pub fn checkpoint(&self) -> Option<&SignedCheckpoint> {
        self.checkpoint.as_ref()
    }

    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Takes in the part stored under `position`. On damage nothing changes.
    pub fn follow(&mut self, position: Position, bytes: &[u8]) -> Result<Followed, Damage> {
        let part = Part::parse(bytes)?;
        if part.first != position || part.first != self.end() {
            let expected = if part.first == position {
                self.end()
            } else {
                position
            };
            return Err(Damage::Position {
                expected,
                found: part.first,
            });
        }
        let (next, leaves) = self.with_entries(&part.entries, &part.origin)?;
        next.check_header(self, &part)?;
        let signer = next.check_signature(&part)?;
        self.check_rights(&next, &signer)?;
        *self = next;
        self.checkpoint = Some(part.checkpoint);
        Ok(Followed {
            first: part.first,
            entries: part.entries,
            leaves,
        })
    }

    /// A part with these entries at the end of the log, signed. The log itself moves on only when the part was
    /// published and is followed.
    pub fn seal(&self, entries: Vec<Entry>, key: &NodeKey) -> Result<Vec<u8>, SealError> {
        if entries.is_empty() || entries.len() > PART_ENTRIES_MAX {
            return Err(SealError::Count(entries.len()));
        }
        let origin = match (&self.origin, (self.meaning)(&entries[0])) {
            (Some(origin), _) => origin.clone(),
            (None, Meaning::Opened { origin, .. }) => origin,
            (
                None,
                Meaning::KeyAdmitted { .. }
                | Meaning::Claimed { .. }
                | Meaning::Other
                | Meaning::Unreadable,
            ) => {
                return Err(SealError::Rule(Damage::Opening {
                    position: Position::ZERO,
                }));
            }
        };
        let (next, _) = self.with_entries(&entries, &origin)?;
        let checkpoint = Checkpoint {
            origin: origin.clone(),
            size: next.end().0,
            root: next.root(),
        };
        let part = Part {
            chain_before: self.chain.unwrap_or_else(|| chain_genesis(&origin)),
            chain_after: next.chain.unwrap_or_else(|| chain_genesis(&origin)),
            checkpoint: checkpoint.sign(key),
            first: self.end(),
            origin,
            entries,
        };
        let signer = next.check_signature(&part)?;
        self.check_rights(&next, &signer)?;
        Ok(part.encode())
    }

    /// The log with these entries added and understood; signatures are looked at elsewhere.
    fn with_entries(&self, entries: &[Entry], origin: &str) -> Result<(Self, Vec<Hash>), Damage> {
        let mut next = self.clone();
        let mut leaves = Vec::with_capacity(entries.len());
        let mut chain = self.chain.unwrap_or_else(|| chain_genesis(origin));
        for (offset, entry) in entries.iter().enumerate() {
            let position = next.end();
            next.take_meaning(position, offset, (self.meaning)(entry))?;
            let leaf = leaf_hash(entry.as_bytes());
            next.frontier.push(leaf);
            chain = chain_next(&chain, &leaf);
            leaves.push(leaf);
        }
        next.chain = Some(chain);
        Ok((next, leaves))
    }

    fn take_meaning(
        &mut self,
        position: Position,
        offset: usize,
        meaning: Meaning,
    ) -> Result<(), Damage> {
        let opening = matches!(meaning, Meaning::Opened { .. });
        if opening != (position == Position::ZERO) {
            return Err(Damage::Opening { position });
        }
        match meaning {
            Meaning::Other => Ok(()),
            Meaning::Unreadable => Err(Damage::Unreadable { position }),
            Meaning::Opened { origin, node, key } => {
                self.origin = Some(origin);
                self.leadership.node.clone_from(&node);
                self.keys.insert(node, key);
                Ok(())
            }
            Meaning::KeyAdmitted { node, key } => self.admit(position, node, key),
            Meaning::Claimed { epoch, node } => {
                let next = self.leadership.epoch.next() == Some(epoch);
                // The opener claims the first epoch in the part that opens the log.
                let first = offset == 0 || (offset == 1 && position.0 == 1);
                if !next || !first {
                    return Err(Damage::Claim {
                        position,
                        current: self.leadership.epoch,
                        found: epoch,
                    });
                }
                self.leadership = Leadership { epoch, node };
                Ok(())
            }
        }
    }

    fn admit(&mut self, position: Position, node: String, key: PublicKey) -> Result<(), Damage> {
        let elsewhere = self
            .keys
            .iter()
            .any(|(other, known)| *known == key && *other != node);
        if elsewhere || self.retired.contains(&key) {
            return Err(Damage::KeyReused { position });
        }
        match self.keys.insert(node, key) {
            Some(before) if before != key => self.retired.push(before),
            Some(_) | None => {}
        }
        Ok(())
    }

    /// `self` is the log after the part, `before` the one it follows on.
    fn check_header(&self, before: &Self, part: &Part) -> Result<(), Damage> {
        let origin = self.origin.as_deref().unwrap_or_default();
        for found in [&part.origin, &part.checkpoint.checkpoint.origin] {
            if found != origin {
                return Err(Damage::Origin {
                    expected: origin.to_string(),
                    found: found.clone(),
                });
            }
        }
        let chain_before = before.chain.unwrap_or_else(|| chain_genesis(origin));
        if part.chain_before != chain_before {
            return Err(Damage::Chain {
                at: ChainEnd::Before,
            });
        }
        if Some(part.chain_after) != self.chain {
            return Err(Damage::Chain {
                at: ChainEnd::After,
            });
        }
        let head = part.checkpoint.checkpoint.head();
        if head.size != self.end().0 {
            return Err(Damage::Size {
                expected: self.end().0,
                found: head.size,
            });
        }
        if head.root != self.root() {
            return Err(Damage::Root);
        }
        Ok(())
    }

    /// The node that signed, if its key is known after the part.
    fn check_signature(&self, part: &Part) -> Result<String, Damage> {
        let count = part.checkpoint.signature_count();
        if count != 1 {
            return Err(Damage::SignatureCount(count));
        }
        // The leader's key first: then one signature is checked, not one per key with a clashing id.
        let keys: Vec<PublicKey> = self.keys.values().copied().collect();
        let signer = part.checkpoint.verify(&keys).map_err(Damage::Signature)?;
        let node = self.keys.iter().find(|(_, key)| **key == signer);
        Ok(node.map(|(node, _)| node.clone()).unwrap_or_default())
    }

    /// The signer leads after the part, and its key was known before it (the opener's excepted), or it
    /// replaced its own key in the part.
    fn check_rights(&self, next: &Self, signer: &str) -> Result<(), Damage> {
        let known_before = self.origin.is_none() || self.keys.get(signer) == next.keys.get(signer);
        if signer != next.leadership.node || !known_before {
            return Err(Damage::NotTheLeader {
                signer: signer.to_string(),
                leader: next.leadership.node.clone(),
            });
        }
        Ok(())
    }
}
