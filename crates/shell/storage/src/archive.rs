//! Where sealed parts lie when etcd has let go of them.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use mainstay_journal::PART_BYTES_MAX;
use mainstay_rt::files;
use mainstay_units::Position;

use crate::folder::{Listing, create_private, list_parts, part_path};

/// Parts by their positions, never changed once they are there.
pub trait Archive: Send + Sync {
    /// Durable when it returns. A part that is there already stays as it is.
    fn put(&self, position: Position, part: &[u8]) -> io::Result<()>;

    fn get(&self, position: Position) -> io::Result<Option<Vec<u8>>>;

    fn list(&self) -> io::Result<Listing>;
}

/// An archive in a folder, which has the form of the embedded journal.
#[derive(Clone, Debug)]
pub struct ArchiveFolder {
    root: PathBuf,
}

impl ArchiveFolder {
    /// Made when something is put into it.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }
}

impl Archive for ArchiveFolder {
    fn put(&self, position: Position, part: &[u8]) -> io::Result<()> {
        create_private(&self.root)?;
        create_private(&self.root.join("parts"))?;
        match files::publish_new(&part_path(&self.root, position), part) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Its name may not be durable yet.
                files::fsync_dir(&self.root.join("parts"))
            }
            other => other,
        }
    }

    fn get(&self, position: Position) -> io::Result<Option<Vec<u8>>> {
        match files::read_limited(&part_path(&self.root, position), PART_BYTES_MAX as u64) {
            Ok(part) => Ok(Some(part)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Listing> {
        match list_parts(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Listing::default()),
            other => other,
        }
    }
}
