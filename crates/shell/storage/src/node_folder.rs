//! What one node remembers by itself, outside of the journal: its key, and the last checkpoint it saw.
//!
//! A journal that was replaced by an older copy of itself is perfectly sound. Only somebody who remembers more
//! can tell; so every node remembers.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mainstay_journal::{CheckpointError, NodeKey, SignedCheckpoint};
use mainstay_rt::{entropy, files};
use thiserror::Error;

use crate::folder::create_private;

const CHECKPOINT: &str = "checkpoint";
const KEY: &str = "key";
const NOTE_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, Error)]
pub enum NodeFolderError {
    #[error("{operation}")]
    Io {
        operation: String,
        source: std::io::Error,
    },
    #[error("remembered checkpoint {}", path.display())]
    Checkpoint {
        path: PathBuf,
        source: CheckpointError,
    },
    #[error(
        "key {} is not 32 bytes long: restore it, or remove it so that the node gets a new one",
        path.display()
    )]
    Key { path: PathBuf },
}

impl NodeFolderError {
    fn io(operation: String) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}

/// `DATA/hosts/HOST/node`.
#[derive(Clone, Debug)]
pub struct NodeFolder {
    path: PathBuf,
}

impl NodeFolder {
    /// Opens the folder, creating it if need be (mode 0700).
    pub fn open(path: &Path) -> Result<Self, NodeFolderError> {
        create_private(path).map_err(NodeFolderError::io(format!("create {}", path.display())))?;
        Ok(Self::at(path))
    }

    /// The folder as it is, for reading only.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The node's own key, drawn at first use. The file has mode 0600.
    pub fn key(&self) -> Result<NodeKey, NodeFolderError> {
        let path = self.path.join(KEY);
        let read = |path: &Path| files::read_limited(path, 64);
        let bytes = match read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut seed = [0; 32];
                entropy::fill(&mut seed);
                match files::publish_new(&path, &seed) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                    // Of two processes of this node, both take what was published.
                    Ok(()) | Err(_) => read(&path),
                }
            }
            other => other,
        };
        let bytes = bytes.map_err(NodeFolderError::io(format!("read {}", path.display())))?;
        let seed = bytes
            .try_into()
            .map_err(|_| NodeFolderError::Key { path })?;
        Ok(NodeKey::from_seed(&seed))
    }

    /// The last checkpoint that the node saw. Its signature is checked by whoever knows the keys.
    pub fn checkpoint(&self) -> Result<Option<SignedCheckpoint>, NodeFolderError> {
        let path = self.path.join(CHECKPOINT);
        let bytes = match files::read_limited(&path, NOTE_BYTES_MAX) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(NodeFolderError::io(format!("read {}", path.display())))?,
        };
        String::from_utf8(bytes)
            .map_err(|_| CheckpointError::NotUtf8)
            .and_then(|note| SignedCheckpoint::parse(&note))
            .map(Some)
            .map_err(|source| NodeFolderError::Checkpoint { path, source })
    }

    /// Durable when it returns. The caller has followed the journal up to this checkpoint.
    pub fn remember(&self, checkpoint: &SignedCheckpoint) -> Result<(), NodeFolderError> {
        let path = self.path.join(CHECKPOINT);
        files::write_atomic(&path, checkpoint.note().as_bytes())
            .map_err(NodeFolderError::io(format!("write {}", path.display())))
    }
}
