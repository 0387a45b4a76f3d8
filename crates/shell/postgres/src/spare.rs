//! A copy of the data folder, made before a rewind that must not cost what the folder had.
//!
//! Three folders beside the keeper's record, all on the file system of the data folder: the copy while it is being made
//! (it has a name of its own, so that nobody takes it for whole), the *spare* folder, and what is left of a rewind that
//! did not end well, after the spare folder took its place. With the filling mark they say at every instant what is
//! whole, so that a keeper that starts can finish what its predecessor began:
//!
//! | mark | spare | left over | means |
//! |---|---|---|---|
//! | no | – | – | the data folder is whole; the others go |
//! | yes | yes | – | a rewind was interrupted: the spare folder takes the place of the data folder |
//! | yes | no | yes | it has; the mark goes |
//! | yes | no | no | filled without a spare one: broken |

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::data::{DataError, at};
use crate::setup::Layout;

/// What must be left of the disk beside the copy.
const ROOM: u64 = 64 << 20;

/// Copies the data folder of a stopped server, flushed.
///
/// # Errors
/// When the disk has no room for it, or fails. The data folder is as it was.
pub fn make(layout: &Layout) -> Result<(), DataError> {
    remove(&layout.spare_part)?;
    remove(&layout.spare)?;
    remove(&layout.left_over)?;
    let bytes = size(&layout.pgdata).map_err(at("measure", &layout.pgdata))?;
    let room = room(&layout.folder).map_err(at("measure the room in", &layout.folder))?;
    if room < bytes.saturating_add(ROOM) {
        return Err(DataError::NoRoom {
            path: layout.folder.clone(),
            needed: bytes.saturating_add(ROOM),
            room,
        });
    }
    copy(&layout.pgdata, &layout.spare_part).map_err(at("copy", &layout.pgdata))?;
    let part = File::open(&layout.spare_part).map_err(at("open", &layout.spare_part))?;
    rustix::fs::syncfs(&part).map_err(|error| at("flush", &layout.spare_part)(error.into()))?;
    rename(&layout.spare_part, &layout.spare)?;
    flush(layout)
}

/// Ends what a rewind with a spare folder has begun and not finished; otherwise does nothing. Nothing may run on the
/// data folder.
///
/// # Errors
/// When the disk fails; the next attempt goes on from there.
pub fn settle(layout: &Layout) -> Result<(), DataError> {
    if layout.filling.exists() {
        if layout.spare.exists() {
            remove(&layout.left_over)?;
            if layout.pgdata.exists() {
                rename(&layout.pgdata, &layout.left_over)?;
            } else {
                // Says of the two below that the second one is what has happened.
                fs::create_dir(&layout.left_over).map_err(at("make", &layout.left_over))?;
            }
            rename(&layout.spare, &layout.pgdata)?;
            flush(layout)?;
        } else if !layout.left_over.exists() {
            return Ok(());
        }
        fs::remove_file(&layout.filling).map_err(at("remove", &layout.filling))?;
        flush(layout)?;
        tracing::warn!("a rewind did not end well: the data folder is again what it was before");
    }
    remove(&layout.spare_part)?;
    remove(&layout.spare)?;
    remove(&layout.left_over)
}

/// Whether a rewind did not end, and the folder that was kept for that has not taken its place yet.
pub fn is_owed(layout: &Layout) -> bool {
    layout.filling.exists() && layout.spare.exists()
}

/// Before the data folder is filled in another way. A whole copy that a failed rewind left is moved aside, since it
/// may be the last one.
///
/// # Errors
/// When the disk fails.
pub fn put_away(layout: &Layout) -> Result<(), DataError> {
    if layout.spare.exists() {
        let target = layout
            .aside("data")
            .map_err(at("read", &layout.quarantine))?;
        rename(&layout.spare, &target)?;
    }
    remove(&layout.spare_part)?;
    remove(&layout.left_over)?;
    flush(layout)
}

fn flush(layout: &Layout) -> Result<(), DataError> {
    mainstay_rt::files::fsync_dir(&layout.folder).map_err(at("flush", &layout.folder))?;
    let beside = layout.pgdata.parent().unwrap_or(Path::new("/"));
    mainstay_rt::files::fsync_dir(beside).map_err(at("flush", beside))
}

fn rename(from: &Path, to: &Path) -> Result<(), DataError> {
    fs::rename(from, to).map_err(at("rename", from))
}

fn remove(folder: &Path) -> Result<(), DataError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", folder)(error)),
        _ => Ok(()),
    }
}

fn room(folder: &Path) -> io::Result<u64> {
    let state = rustix::fs::statvfs(folder)?;
    Ok(state.f_bavail.saturating_mul(state.f_frsize))
}

/// What the files take on the disk. Links are followed, here and in copying: a log that lies on another disk is a part
/// of the folder.
fn size(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = fs::metadata(&path)?;
        bytes = bytes.saturating_add(if metadata.is_dir() {
            size(&path)?
        } else {
            metadata.blocks().saturating_mul(512)
        });
    }
    Ok(bytes)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::metadata(from)?;
    if metadata.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if metadata.is_file() {
        // Shares the blocks where the file system can.
        fs::copy(from, to)?;
    } else {
        // A socket: whoever made it makes it again.
        return Ok(());
    }
    like(to, &metadata)
}

/// Owner and rights of what it is a copy of.
fn like(path: &Path, original: &Metadata) -> io::Result<()> {
    std::os::unix::fs::chown(path, Some(original.uid()), Some(original.gid()))?;
    fs::set_permissions(path, original.permissions())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let beside = |name| folder.path().join(name);
        let layout = Layout::at(folder.path().to_owned(), beside("data"), beside("run"));
        fs::create_dir_all(layout.pgdata.join("base/1")).unwrap();
        fs::create_dir_all(&layout.quarantine).unwrap();
        fs::write(layout.pgdata.join("base/1/2"), b"old").unwrap();
        let rights = fs::Permissions::from_mode(0o700);
        fs::set_permissions(layout.pgdata.join("base"), rights).unwrap();
        (folder, layout)
    }

    fn content(layout: &Layout) -> Vec<u8> {
        fs::read(layout.pgdata.join("base/1/2")).unwrap()
    }

    fn alone(layout: &Layout) {
        for gone in [
            &layout.filling,
            &layout.spare,
            &layout.spare_part,
            &layout.left_over,
        ] {
            assert!(!gone.exists(), "{}", gone.display());
        }
    }

    /// What a keeper leaves that ends here.
    type Interrupted = fn(&Layout);

    /// Every instant at which a keeper can end: what is whole is found, and nothing is left lying about.
    #[test]
    fn whatever_is_interrupted_the_folder_is_whole_again() {
        let steps: [(&str, Interrupted); 5] = [
            ("the copy is not whole", |layout| {
                fs::create_dir(&layout.spare_part).unwrap();
            }),
            ("the copy is whole", |layout| make(layout).unwrap()),
            ("pg_rewind is in the middle", |layout| {
                make(layout).unwrap();
                fs::write(&layout.filling, b"").unwrap();
                fs::write(layout.pgdata.join("base/1/2"), b"half").unwrap();
            }),
            ("the half folder is out of the way", |layout| {
                make(layout).unwrap();
                fs::write(&layout.filling, b"").unwrap();
                fs::rename(&layout.pgdata, &layout.left_over).unwrap();
            }),
            ("the spare folder has taken its place", |layout| {
                make(layout).unwrap();
                fs::write(&layout.filling, b"").unwrap();
                fs::rename(&layout.pgdata, &layout.left_over).unwrap();
                fs::rename(&layout.spare, &layout.pgdata).unwrap();
            }),
        ];
        for (what, interrupt) in steps {
            let (_folder, layout) = layout();
            interrupt(&layout);
            settle(&layout).unwrap();
            assert_eq!(content(&layout), b"old", "{what}");
            let rights = fs::metadata(layout.pgdata.join("base")).unwrap().mode();
            assert_eq!(rights & 0o777, 0o700, "{what}");
            alone(&layout);
        }
    }

    #[test]
    fn what_was_filled_without_a_spare_folder_stays_broken() {
        let (_folder, layout) = layout();
        fs::write(&layout.filling, b"").unwrap();
        settle(&layout).unwrap();
        assert!(layout.filling.exists());
    }

    #[test]
    fn a_whole_copy_is_moved_aside_before_another_filling() {
        let (_folder, layout) = layout();
        make(&layout).unwrap();
        put_away(&layout).unwrap();
        alone(&layout);
        assert_eq!(fs::read_dir(&layout.quarantine).unwrap().count(), 1);
    }
}
