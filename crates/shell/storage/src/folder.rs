//! Coordination embedded in a local folder.
//!
//! Publishing is [`files::publish_new`]: write and fsync under a temporary name, link(2) to the name of the
//! position, fsync the folder. A part can be *seen* before its name is durable, so a reader makes the folder
//! durable itself before it believes a part: what any node has acted on survives a power cut.
//!
//! The folder is on this machine and survives every simulated loss of a region. So that a cut region is
//! treated as it would be by a distributed store, the node closes the port while it reaches no majority of
//! regions ([`LocalFolder::refuse`]).

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_journal::PART_BYTES_MAX;
use mainstay_rt::{clock, files};
use mainstay_units::Position;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::beats::{self, Beats};
use crate::port::{Coordination, PortError, PublishError};

/// Writing a part takes milliseconds.
const TEMPORARY_AGE_MS_MAX: u128 = 60_000;
const PARTS: &str = "parts";
const BEATS: &str = "beats";
const PART_SUFFIX: &str = ".part";

#[derive(Debug)]
pub struct LocalFolder {
    root: PathBuf,
    refused: Option<String>,
    /// Parts up to here have durable names: there were others after them, or the folder was made durable since.
    settled: Option<Position>,
    beats: Beats,
    /// Absent where the system has no watches left: then `wait` only waits.
    watch: Option<OwnedFd>,
}

impl LocalFolder {
    /// Opens the folder, creating it if need be (mode 0700).
    pub fn open(root: &Path) -> Result<Self, PortError> {
        for folder in [root.to_path_buf(), root.join(PARTS), root.join(BEATS)] {
            create_private(&folder)
                .map_err(PortError::io(format!("create {}", folder.display())))?;
        }
        let mut folder = Self {
            root: root.to_path_buf(),
            refused: None,
            settled: None,
            beats: Beats::new(root.join(BEATS)),
            watch: None,
        };
        folder.watch = folder.watch_folders().ok();
        folder.sweep();
        folder
            .settle()
            .map_err(PortError::io("list and fsync the folder of parts"))?;
        Ok(folder)
    }

    /// Makes durable in one go what a long journal already has.
    fn settle(&mut self) -> io::Result<()> {
        let last = list_parts(&self.root)?.parts.last().copied();
        files::fsync_dir(&self.root.join(PARTS))?;
        self.settled = last;
        Ok(())
    }

    /// Removes temporary files of writers that died. A writer that is only frozen finds its file gone when it
    /// wakes and fails, which is what it should do after so long.
    fn sweep(&self) {
        let parts = self.root.join(PARTS);
        let Ok(listing) = list_parts(&self.root) else {
            return;
        };
        for name in listing.temporary {
            let path = parts.join(name);
            let age = fs::metadata(&path)
                .and_then(|meta| meta.modified())
                .ok()
                .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
                .map(|since| u128::from(clock::wall_ms()).saturating_sub(since.as_millis()));
            if age.is_some_and(|age_ms| age_ms > TEMPORARY_AGE_MS_MAX) {
                fs::remove_file(path).ok();
            }
        }
    }

    /// Closes the port with a reason, or opens it again.
    pub fn refuse(&mut self, why: Option<String>) {
        self.refused = why;
    }

    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn watch_folders(&self) -> io::Result<OwnedFd> {
        use inotify::{CreateFlags, WatchFlags};
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // Parts are linked to their names, beats moved there; what is only begun is no news.
        for (folder, events) in [(PARTS, WatchFlags::CREATE), (BEATS, WatchFlags::MOVED_TO)] {
            inotify::add_watch(&watch, self.root.join(folder), events)?;
        }
        Ok(watch)
    }

    fn open_or<E>(&self, error: impl FnOnce(String) -> E) -> Result<(), E> {
        match &self.refused {
            Some(why) => Err(error(why.clone())),
            None => Ok(()),
        }
    }
}

impl Coordination for LocalFolder {
    fn append_at(&mut self, position: Position, part: &[u8]) -> Result<(), PublishError> {
        self.open_or(PublishError::Refused)?;
        let path = part_path(&self.root, position);
        files::publish_new(&path, part).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => PublishError::Taken(position),
            _ => PublishError::Unknown { position, source },
        })
    }

    fn read_from(&mut self, position: Position) -> Result<Option<Vec<u8>>, PortError> {
        self.open_or(PortError::Refused)?;
        let path = part_path(&self.root, position);
        match files::read_limited(&path, PART_BYTES_MAX as u64) {
            Ok(bytes) => {
                if self.settled.is_none_or(|settled| position > settled) {
                    files::fsync_dir(&self.root.join(PARTS))
                        .map_err(PortError::io("fsync the folder of parts"))?;
                    self.settled = Some(position);
                }
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(PortError::io(format!("read {}", path.display()))(error)),
        }
    }

    fn heartbeat(&mut self, node: &str, beat: &[u8]) -> Result<(), PortError> {
        self.open_or(PortError::Refused)?;
        let said = self.beats.say(node, beat);
        said.map_err(PortError::io(format!("say that {node} lives")))
    }

    fn heartbeats(&mut self) -> Result<Vec<(String, Vec<u8>)>, PortError> {
        self.open_or(PortError::Refused)?;
        self.beats
            .hear()
            .map_err(PortError::io("read the heartbeats"))
    }

    fn beat_bytes_max(&self) -> usize {
        usize::try_from(beats::BYTES_MAX).unwrap_or(usize::MAX)
    }

    fn wait(&mut self, limit: Duration) -> Result<bool, PortError> {
        let until = clock::now() + limit;
        let Some(watch) = &self.watch else {
            let limit = Timespec::try_from(limit).ok();
            poll(&mut [], limit.as_ref()).map_err(|e| PortError::io("wait")(e.into()))?;
            return Ok(true);
        };
        loop {
            let left = Timespec::try_from(until.since(clock::now())).ok();
            match poll(&mut [PollFd::new(watch, PollFlags::IN)], left.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) if has_news(watch, &self.beats) => return Ok(true),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(PortError::io("wait for changes")(error.into())),
            }
        }
    }
}

/// Takes in all that happened. What one did oneself is no news.
fn has_news(watch: &OwnedFd, beats: &Beats) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    let mut has_news = false;
    while let Ok(event) = events.next() {
        let file = event
            .file_name()
            .map(|name| OsStr::from_bytes(name.to_bytes()));
        // What has no name tells that some were lost.
        has_news |= file.is_none_or(|file| beats.is_news(Path::new(file)));
    }
    has_news
}

/// The file of the part that begins at `position`.
pub(crate) fn part_path(root: &Path, position: Position) -> PathBuf {
    root.join(PARTS).join(part_name(position))
}

pub(crate) fn part_name(position: Position) -> String {
    format!("{:020}{PART_SUFFIX}", position.0)
}

/// What lies among the parts.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Positions of the parts, in order.
    pub parts: Vec<Position>,
    /// Names that no part has. Temporary files of writers that died are not among them.
    pub foreign: Vec<String>,
    pub temporary: Vec<String>,
}

pub(crate) fn list_parts(root: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for file in fs::read_dir(root.join(PARTS))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        let position = name
            .strip_suffix(PART_SUFFIX)
            .and_then(|digits| digits.parse().ok())
            .map(Position)
            .filter(|position| part_name(*position) == name);
        match position {
            Some(position) => listing.parts.push(position),
            None if name.starts_with('.') && name.ends_with(".tmp") => listing.temporary.push(name),
            None => listing.foreign.push(name),
        }
    }
    listing.parts.sort();
    listing.foreign.sort();
    Ok(listing)
}

/// Creates a folder that only its owner can enter; an existing one is left as it is.
pub(crate) fn create_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if folder.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => files::fsync_dir(parent),
        Some(_) | None => Ok(()),
    }
}
