//! Where a journal is kept, and the two ways to it: as a port for those who follow and lead, and as *kept* parts for
//! those who only read.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_journal::PART_BYTES_MAX;
use mainstay_rt::files;
use mainstay_units::Position;

use crate::etcd::{Etcd, EtcdPlace};
use crate::folder::{Listing, LocalFolder, list_parts, part_path};
use crate::port::{Coordination, PortError, PublishError};

#[derive(Clone, Debug)]
pub enum Place {
    Folder(PathBuf),
    Etcd(EtcdPlace),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(root) => root.display().fmt(f),
            Self::Etcd(place) => place.fmt(f),
        }
    }
}

impl Place {
    pub fn folder(root: &Path) -> Self {
        Self::Folder(root.to_path_buf())
    }

    /// For those who follow and lead. A folder is made if need be; etcd is not asked yet.
    pub fn open(&self) -> Result<Port, PortError> {
        match self {
            Self::Folder(root) => LocalFolder::open(root).map(Port::Folder),
            Self::Etcd(place) => Etcd::open_watching(place).map(|etcd| Port::Etcd(Box::new(etcd))),
        }
    }

    /// For those who read what is there.
    pub fn kept(&self) -> Result<Kept, PortError> {
        match self {
            Self::Folder(root) => Ok(Kept::Folder(root.clone())),
            Self::Etcd(place) => Etcd::open(place).map(|etcd| Kept::Etcd(Box::new(etcd))),
        }
    }
}

/// The parts of a journal, read without following.
pub enum Kept {
    Folder(PathBuf),
    Etcd(Box<Etcd>),
}

impl Kept {
    /// What there is.
    pub fn list(&mut self) -> io::Result<Listing> {
        match self {
            Self::Folder(root) => list_parts(root),
            Self::Etcd(etcd) => etcd.list().map_err(io::Error::other),
        }
    }

    /// The part at a position.
    pub fn read(&mut self, position: Position) -> io::Result<Vec<u8>> {
        match self {
            Self::Folder(root) => {
                files::read_limited(&part_path(root, position), PART_BYTES_MAX as u64)
            }
            Self::Etcd(etcd) => etcd.read(position).map_err(io::Error::other),
        }
    }

    /// Where the journal says that it ends, if it says so beside its parts.
    pub fn head(&mut self) -> io::Result<Option<Position>> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Etcd(etcd) => etcd.head().map_err(io::Error::other),
        }
    }
}

/// Either form of the port.
#[derive(Debug)]
pub enum Port {
    Folder(LocalFolder),
    Etcd(Box<Etcd>),
}

impl Port {
    /// Closes the port with a reason, or opens it again.
    pub fn refuse(&mut self, why: Option<String>) {
        match self {
            Self::Folder(folder) => folder.refuse(why),
            Self::Etcd(etcd) => etcd.refuse(why),
        }
    }

    pub fn refused(&self) -> Option<&str> {
        match self {
            Self::Folder(folder) => folder.refused(),
            Self::Etcd(etcd) => etcd.refused(),
        }
    }

    fn inner(&mut self) -> &mut dyn Coordination {
        match self {
            Self::Folder(folder) => folder,
            Self::Etcd(etcd) => etcd.as_mut(),
        }
    }
}

impl Coordination for Port {
    fn append_at(&mut self, position: Position, part: &[u8]) -> Result<(), PublishError> {
        self.inner().append_at(position, part)
    }

    fn read_from(&mut self, position: Position) -> Result<Option<Vec<u8>>, PortError> {
        self.inner().read_from(position)
    }

    fn heartbeat(&mut self, node: &str, beat: &[u8]) -> Result<(), PortError> {
        self.inner().heartbeat(node, beat)
    }

    fn heartbeats(&mut self) -> Result<Vec<(String, Vec<u8>)>, PortError> {
        self.inner().heartbeats()
    }

    fn beat_bytes_max(&self) -> usize {
        match self {
            Self::Folder(folder) => folder.beat_bytes_max(),
            Self::Etcd(etcd) => etcd.beat_bytes_max(),
        }
    }

    fn wait(&mut self, limit: Duration) -> Result<bool, PortError> {
        self.inner().wait(limit)
    }
}
