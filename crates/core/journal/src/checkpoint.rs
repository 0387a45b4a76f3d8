//! C2SP checkpoints (c2sp.org/tlog-checkpoint): origin, size and root of the tree, signed.

use alloc::format;
use alloc::string::{String, ToString};

use thiserror::Error;

use crate::base64;
use crate::hash::Hash;
use crate::note::{NodeKey, Note, NoteError, PublicKey};
use crate::tree::Head;

/// What a checkpoint says. Without extension lines: those would not be auditable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("checkpoint text is not the three lines origin, size and root")]
    Lines,
    #[error("checkpoint is not UTF-8")]
    NotUtf8,
}

impl Checkpoint {
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            base64::encode(&self.root.0)
        )
    }

    pub const fn head(&self) -> Head {
        Head {
            size: self.size,
            root: self.root,
        }
    }

    pub fn sign(&self, key: &NodeKey) -> SignedCheckpoint {
        SignedCheckpoint {
            checkpoint: self.clone(),
            note: key.sign(&self.origin, &self.text()),
        }
    }

    /// Strict: exactly the text that [`Checkpoint::text`] writes.
    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root), Some(""), None) = (
            lines.next(),
            lines.next(),
            lines.next(),
            lines.next(),
            lines.next(),
        ) else {
            return Err(CheckpointError::Lines);
        };
        let checkpoint = Self {
            origin: origin.to_string(),
            size: size.parse().map_err(|_| CheckpointError::Lines)?,
            root: Hash(
                base64::decode(root)
                    .and_then(|root| root.try_into().ok())
                    .ok_or(CheckpointError::Lines)?,
            ),
        };
        if origin.is_empty() || checkpoint.text() != text {
            return Err(CheckpointError::Lines);
        }
        Ok(checkpoint)
    }
}

/// A checkpoint with the note it came in. Parsed, not yet believed: [`SignedCheckpoint::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    pub checkpoint: Checkpoint,
    note: String,
}

impl SignedCheckpoint {
    pub fn parse(note: &str) -> Result<Self, CheckpointError> {
        let parsed = Note::parse(note)?;
        Ok(Self {
            checkpoint: Checkpoint::parse(&parsed.text)?,
            note: note.to_string(),
        })
    }

    pub fn note(&self) -> &str {
        &self.note
    }

    /// The one of `keys` that signed it.
    pub fn verify(&self, keys: &[PublicKey]) -> Result<PublicKey, CheckpointError> {
        let note = Note::parse(&self.note)?;
        Ok(note.verify(&self.checkpoint.origin, keys)?)
    }

    /// How many signatures the note carries.
    pub fn signature_count(&self) -> usize {
        Note::parse(&self.note).map_or(0, |note| note.signatures.len())
    }
}
