//! Files that are whole after a crash at any moment.
//!
//! There are two ways to make a file appear: *replace* it (readers see the old or the new, never a
//! mixture) and *publish* it under a name that must not exist yet (of two who try, one learns that it
//! lost). Both write and fsync under a temporary name first and fsync the folder last. What only has to
//! be whole for programs that run now, and is written anew before the next start, can be *swapped*:
//! replaced without waiting for the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Room for this much is had before a file is read.
const READ_LEAST: u64 = 1_024;

/// Replaces `path` with `bytes`, durably. Mode 0600 if `path` is new, unless changed afterwards.
///
/// # Errors
/// Whatever the file system says; the old content is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomic_mode(path, bytes, 0o600)
}

/// As [`write_atomic`], with the mode given.
///
/// # Errors
/// Whatever the file system says; the old content is then untouched.
pub fn write_atomic_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_prepared(path, bytes, mode, |_| Ok(()))
}

/// As [`write_atomic`], for another user: `prepare` (which may change the owner) sees the file before it has
/// its name, so that whoever looks for the name meets it ready.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_for(
    path: &Path,
    bytes: &[u8],
    prepare: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    write_prepared(path, bytes, 0o600, prepare)
}

fn write_prepared(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    prepare: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary_name(path);
    let result = write_new(&temporary, bytes, mode)
        .and_then(|()| prepare(&temporary))
        .and_then(|()| std::fs::rename(&temporary, path));
    if result.is_err() {
        // The temporary file is litter at worst: its name is never read.
        std::fs::remove_file(&temporary).ok();
    }
    result?;
    fsync_dir(folder_of(path))
}

/// Replaces `path` with `bytes` for those who read it from now on. After a crash of the machine it may be
/// old, empty or damaged.
///
/// # Errors
/// Whatever the file system says; the old content is then untouched.
pub fn swap(path: &Path, bytes: &[u8]) -> io::Result<()> {
    swap_for(path, bytes, |_| Ok(()))
}

/// As [`swap`], for another user; see [`write_atomic_for`].
///
/// # Errors
/// As [`swap`].
pub fn swap_for(
    path: &Path,
    bytes: &[u8],
    prepare: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary_name(path);
    let result = create_new(&temporary, bytes, 0o600)
        .and_then(|_| prepare(&temporary))
        .and_then(|()| std::fs::rename(&temporary, path));
    if result.is_err() {
        // The temporary file is litter at worst: its name is never read.
        std::fs::remove_file(&temporary).ok();
    }
    result
}

/// Publishes `bytes` as `path`, durably, if nothing has that name yet.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if the name is taken; otherwise whatever the file system says. After
/// an error other than that, whether the file exists is unknown until it has been looked for.
pub fn publish_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path);
    let result =
        write_new(&temporary, bytes, 0o600).and_then(|()| std::fs::hard_link(&temporary, path));
    std::fs::remove_file(&temporary).ok();
    result?;
    fsync_dir(folder_of(path))
}

/// Replaces `path` with `bytes` for those who read it from now on, as [`swap`], by the one who does so again and again:
/// `spare` takes the bytes, the two change names, and what was replaced is the next spare. No file is made or removed
/// by it, and the disk has nothing to do at once. Whoever still reads the old file may meet the bytes after next: a
/// reader compares [`Stamp`]s.
///
/// # Errors
/// Whatever the file system says; the content is then untouched.
pub fn alternate(path: &Path, spare: &Path, bytes: &[u8]) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(spare)?;
    file.write_all(bytes)?;
    if file.metadata()?.len() != bytes.len() as u64 {
        file.set_len(bytes.len() as u64)?;
    }
    match renameat_with(CWD, spare, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // There is nothing to change names with yet, or the file system cannot.
        Err(_) => std::fs::rename(spare, path),
    }
}

/// What tells two contents of a file apart: which file it is, when it was last written, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    file: u64,
    written: (i64, i64),
    length: u64,
}

impl Stamp {
    /// # Errors
    /// Whatever the file system says.
    pub fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            file: metadata.ino(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            length: metadata.len(),
        })
    }
}

/// What was made of a file, kept until the file is another one.
#[derive(Debug)]
pub struct Remembered<T> {
    stamp: Option<Stamp>,
    value: Option<T>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self {
            stamp: None,
            value: None,
        }
    }
}

impl<T> Remembered<T> {
    /// What `read` makes of the file as it is now. For files that are replaced as a whole.
    pub fn get(&mut self, path: &Path, read: impl FnOnce(&Path) -> Option<T>) -> Option<&T> {
        // The stamp first: what is replaced in between is read again the next time.
        let stamp = Stamp::of(path).ok();
        if stamp.is_none() || stamp != self.stamp {
            self.value = read(path);
            // A failure is not remembered: the next reading of the same file may succeed.
            self.stamp = stamp.filter(|_| self.value.is_some());
        }
        self.value.as_ref()
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Whatever the file system says.
pub fn fsync_dir(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] beyond the limit; otherwise whatever the file system says.
pub fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // Room for all of it and for the end to be seen: one reading for most. Files of /proc do not know how long they are.
    let length = file
        .metadata()?
        .len()
        .clamp(READ_LEAST, limit.max(READ_LEAST));
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 64);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("{} is larger than {limit} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    create_new(path, bytes, mode)?.sync_all()
}

fn create_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

/// Unique among the processes of this machine, and recognisable as litter by its leading dot.
fn temporary_name(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    folder_of(path).join(format!(
        ".{name}.{}-{count}-{:08x}.tmp",
        std::process::id(),
        super::entropy::u64()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody meets a file under its name that is not prepared for him.
    #[test]
    fn a_file_for_another_has_its_name_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("00000002.history");
        let refuse = |temporary: &Path| {
            assert!(temporary.exists() && !path.exists());
            Err(io::ErrorKind::PermissionDenied.into())
        };
        assert!(write_atomic_for(&path, b"x", refuse).is_err());
        assert!(swap_for(&path, b"x", refuse).is_err());
        assert!(!path.exists());
        write_atomic_for(&path, b"x", |_| Ok(())).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn what_is_remembered_is_made_of_the_file_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut remembered = Remembered::default();
        swap(&path, b"zero").unwrap();
        assert!(remembered.get(&path, |_| None).is_none());
        let mut get = || {
            let text = remembered.get(&path, |path| std::fs::read_to_string(path).ok());
            text.cloned()
        };
        assert_eq!(get().as_deref(), Some("zero"), "a failure was remembered");
        for text in ["one", "two", "three"] {
            swap(&path, text.as_bytes()).unwrap();
            assert_eq!(get().as_deref(), Some(text));
            assert_eq!(get().as_deref(), Some(text));
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(get(), None);
    }

    #[test]
    fn replaced_and_published_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(read_limited(&path, 3).unwrap(), b"two");
        assert_eq!(
            read_limited(&path, 2).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        swap(&path, b"four").unwrap();
        assert_eq!(read_limited(&path, 4).unwrap(), b"four");
        assert_eq!(
            publish_new(&path, b"three").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        publish_new(&folder.path().join("part"), b"three").unwrap();
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            2,
            "no temporary files stay"
        );
    }
}
