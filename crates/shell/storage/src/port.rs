//! The coordination port: what the journal needs from whatever keeps it.
//!
//! Four things: publish a part at a position that must be free, read the part at a position, say that one
//! lives and hear who does, and wait for news. Everything else (signing, following, leading) stands above the
//! port and is the same for a local folder and for etcd.

use std::time::Duration;

use mainstay_units::Position;
use thiserror::Error;

/// Why a part was not published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// Another part begins there: somebody else leads, or this is an earlier attempt of one's own.
    #[error("position {0} is taken")]
    Taken(Position),
    /// The host is cut from the majority of regions, so coordination is not to be had.
    #[error("coordination is out of reach: {0}")]
    Refused(String),
    /// Whether the part is there is not known; read before going on.
    #[error("publishing the part at {position} ended in an error")]
    Unknown {
        position: Position,
        source: std::io::Error,
    },
}

/// Why nothing was read or said.
#[derive(Debug, Error)]
pub enum PortError {
    #[error("coordination is out of reach: {0}")]
    Refused(String),
    #[error("{operation}")]
    Io {
        operation: String,
        source: std::io::Error,
    },
}

impl PortError {
    pub(crate) fn io(operation: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Io { operation, source }
    }
}

/// Where the parts are kept and the beats are heard.
pub trait Coordination {
    /// Publishes `part` as the one that begins at `position`, durably, if no part begins there.
    fn append_at(&mut self, position: Position, part: &[u8]) -> Result<(), PublishError>;

    /// The part that begins at `position`, if there is one. What was read once does not vanish again.
    fn read_from(&mut self, position: Position) -> Result<Option<Vec<u8>>, PortError>;

    /// Replaces what `node` last said.
    fn heartbeat(&mut self, node: &str, beat: &[u8]) -> Result<(), PortError>;

    /// What every node last said, in order of their names.
    fn heartbeats(&mut self) -> Result<Vec<(String, Vec<u8>)>, PortError>;

    /// No heartbeat may have more bytes; what has no room waits at its node.
    fn beat_bytes_max(&self) -> usize;

    /// Returns when something was published or said, or after `limit`: whether there may be news.
    fn wait(&mut self, limit: Duration) -> Result<bool, PortError>;
}
