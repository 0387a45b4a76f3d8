//! What a node holds of the journal: it follows, it appends, it remembers.
//!
//! Following and appending go through the same [`Log`], so what this node writes it would also accept. After
//! every step forward the newest checkpoint is remembered in the node's own folder before anybody is told of
//! the entries.

use std::time::Duration;

use mainstay_journal::{
    Damage, Entry, Followed, Log, NodeKey, PublicKey, SealError, SignedCheckpoint,
};
use mainstay_units::Position;
use thiserror::Error;

use crate::meaning::meaning_of;
use crate::node_folder::{NodeFolder, NodeFolderError};
use crate::port::{Coordination, PortError, PublishError};

/// Parts taken in by one call of [`Journal::catch_up`].
const PARTS_PER_STEP: usize = 256;

/// Why the journal cannot be followed. The node goes on with its reflexes and may not lead.
#[derive(Debug, Error)]
pub enum FollowError {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("part at position {position}: {damage}")]
    Damaged { position: Position, damage: Damage },
    #[error(
        "journal ends at position {end}, but this node has seen {remembered} entries: it was rolled back or replaced"
    )]
    RolledBack { end: Position, remembered: u64 },
    #[error(
        "journal is not the one that this node has seen up to entry {remembered}: it was rewritten or replaced"
    )]
    Rewritten { remembered: u64 },
    #[error(transparent)]
    Node(#[from] NodeFolderError),
}

/// Why entries were not appended.
#[derive(Debug, Error)]
pub enum AppendError {
    #[error("entries cannot be sealed")]
    Seal(#[from] SealError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Node(#[from] NodeFolderError),
}

/// Entries that are durable and covered by a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first: Position,
    pub end: Position,
}

#[derive(Debug)]
pub struct Journal<C> {
    port: C,
    node: NodeFolder,
    key: NodeKey,
    log: Log,
    /// What this node saw in earlier runs, until following has come past it.
    remembered: Option<SignedCheckpoint>,
    /// Followed, and not yet handed out: an error on the way must not swallow them.
    untold: Vec<(Position, Entry)>,
}

impl<C: Coordination> Journal<C> {
    /// Nothing is read yet: [`Journal::catch_up`] until it returns nothing.
    pub fn open(port: C, node: NodeFolder) -> Result<Self, FollowError> {
        let key = node.key()?;
        let remembered = node.checkpoint()?;
        Ok(Self {
            port,
            node,
            key,
            log: Log::new(meaning_of),
            remembered,
            untold: Vec::new(),
        })
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    pub fn port(&mut self) -> &mut C {
        &mut self.port
    }

    /// The next entries, some at a time; empty at the end of the journal. What was followed before an error is
    /// handed out by the next call that succeeds: every entry is handed out once, in order.
    pub fn catch_up(&mut self) -> Result<Vec<(Position, Entry)>, FollowError> {
        for _ in 0..PARTS_PER_STEP {
            match self.follow_next() {
                Ok(true) => {}
                Ok(false) => break,
                // What is sound is told first; the error comes again.
                Err(FollowError::Damaged { .. } | FollowError::Port(_))
                    if !self.untold.is_empty() =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if !self.untold.is_empty() {
            self.remember()?;
        }
        Ok(std::mem::take(&mut self.untold))
    }

    /// Takes in the next part; whether there was one.
    fn follow_next(&mut self) -> Result<bool, FollowError> {
        let position = self.log.end();
        self.check_against_memory()?;
        let Some(part) = self.port.read_from(position)? else {
            self.check_not_rolled_back()?;
            return Ok(false);
        };
        let Followed { first, entries, .. } = self
            .log
            .follow(position, &part)
            .map_err(|damage| FollowError::Damaged { position, damage })?;
        self.check_against_memory()?;
        self.untold.extend((first.0..).map(Position).zip(entries));
        Ok(true)
    }

    /// Publishes the entries as the next part. After any error the caller follows until it knows what the
    /// journal holds, and claims anew before it appends again.
    pub fn append(&mut self, entries: Vec<Entry>) -> Result<Appended, AppendError> {
        let first = self.log.end();
        let part = self.log.seal(entries, &self.key)?;
        self.port.append_at(first, &part)?;
        self.log
            .follow(first, &part)
            .map_err(|damage| AppendError::Seal(SealError::Rule(damage)))?;
        self.remember()?;
        Ok(Appended {
            first,
            end: self.log.end(),
        })
    }

    /// Waits until something may have changed, or for `limit`: whether it may.
    pub fn wait(&mut self, limit: Duration) -> Result<bool, PortError> {
        self.port.wait(limit)
    }

    fn check_not_rolled_back(&self) -> Result<(), FollowError> {
        match &self.remembered {
            Some(memory) => Err(FollowError::RolledBack {
                end: self.log.end(),
                remembered: memory.checkpoint.size,
            }),
            None => Ok(()),
        }
    }

    /// A remembered checkpoint stood under a part, so the log passes through its size.
    fn check_against_memory(&mut self) -> Result<(), FollowError> {
        let Some(memory) = &self.remembered else {
            return Ok(());
        };
        let remembered = memory.checkpoint.size;
        if self.log.end().0 < remembered {
            return Ok(());
        }
        let same = self.log.end().0 == remembered
            && self.log.root() == memory.checkpoint.root
            && self.log.origin() == Some(memory.checkpoint.origin.as_str())
            && memory.verify(&self.log.keys_ever()).is_ok();
        if !same {
            return Err(FollowError::Rewritten { remembered });
        }
        self.remembered = None;
        Ok(())
    }

    /// Nothing is remembered before following has come to what was remembered: memory only grows.
    fn remember(&self) -> Result<(), NodeFolderError> {
        match (self.log.checkpoint(), &self.remembered) {
            (Some(checkpoint), None) => self.node.remember(checkpoint),
            (Some(_) | None, _) => Ok(()),
        }
    }
}
