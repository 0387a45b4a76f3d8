//! The output of a child on its way to a rotated file.
//!
//! A child that writes to a full pipe stands still, and a child that stands still because a disk is slow
//! or full is an outage made by its own log. So two threads share a bounded queue: one empties the pipe
//! as fast as the child fills it, the other writes. When the writer does not keep up, the reader waits
//! for it only briefly; what then does not fit is dropped and counted, and the file says how much.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use mainstay_record::process::LogSpec;

/// How much output may wait for the disk.
const QUEUE_BYTES: usize = 1 << 20;
/// How long one piece of output may wait for room before it is dropped.
const PATIENCE: Duration = Duration::from_millis(100);
const PIECE_BYTES: usize = 64 << 10;

/// Counts and a queue that reader, writer and owner share.
#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The child's end of the pipe is closed.
    ended: bool,
    /// The last byte is in the file.
    written: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running log of one child.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
}

impl Log {
    /// Starts to copy `output` into the file of `spec`.
    ///
    /// # Errors
    /// When no thread can be started. A file that cannot be opened is no error: output is then dropped
    /// and counted, and opening is tried again with every piece.
    pub fn start(output: PipeReader, spec: &LogSpec) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut rotated = Rotated::new(spec);
        let (reader, writer) = (Arc::clone(&shared), Arc::clone(&shared));
        let _: JoinHandle<()> = std::thread::Builder::new()
            .name("log-write".into())
            .spawn(move || write_all(&writer, &mut rotated))?;
        let _: JoinHandle<()> = std::thread::Builder::new()
            .name("log-read".into())
            .spawn(move || read_all(&reader, output))?;
        Ok(Self { shared })
    }

    pub fn dropped_bytes(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything the child wrote is in the file, but not longer than `limit`: somebody
    /// unknown may hold the pipe, or the disk may hang.
    pub fn finish(&self, limit: Duration) -> bool {
        let queue = self.shared.lock();
        match self
            .shared
            .changed
            .wait_timeout_while(queue, limit, |queue| !queue.written)
        {
            Ok((queue, _)) => queue.written,
            Err(poisoned) => poisoned.into_inner().0.written,
        }
    }
}

fn read_all(shared: &Shared, mut output: PipeReader) {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => enqueue(shared, buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    shared.lock().ended = true;
    shared.changed.notify_all();
}

fn enqueue(shared: &Shared, piece: &[u8]) {
    let full = |queue: &mut Queue| queue.bytes + piece.len() > QUEUE_BYTES;
    let mut queue = match shared
        .changed
        .wait_timeout_while(shared.lock(), PATIENCE, full)
    {
        Ok((queue, _)) => queue,
        Err(poisoned) => poisoned.into_inner().0,
    };
    if full(&mut queue) {
        shared
            .dropped
            .fetch_add(piece.len() as u64, Ordering::Relaxed);
        return;
    }
    queue.bytes += piece.len();
    queue.pieces.push_back(piece.to_vec());
    drop(queue);
    shared.changed.notify_all();
}

fn write_all(shared: &Shared, rotated: &mut Rotated) {
    let mut reported = 0;
    while let Some(piece) = dequeue(shared) {
        let dropped = shared.dropped.load(Ordering::Relaxed);
        if dropped > reported {
            let line = format!(
                "\n[{} bytes of output could not be written here and were dropped]\n",
                dropped - reported
            );
            if rotated.write(line.as_bytes()).is_ok() {
                reported = dropped;
            }
        }
        if rotated.write(&piece).is_err() {
            shared
                .dropped
                .fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    }
    shared.lock().written = true;
    shared.changed.notify_all();
}

/// The next piece; `None` when there will be no more.
fn dequeue(shared: &Shared) -> Option<Vec<u8>> {
    let waiting = |queue: &mut Queue| queue.pieces.is_empty() && !queue.ended;
    let mut queue = match shared.changed.wait_while(shared.lock(), waiting) {
        Ok(queue) => queue,
        Err(poisoned) => poisoned.into_inner(),
    };
    let piece = queue.pieces.pop_front()?;
    queue.bytes -= piece.len();
    drop(queue);
    shared.changed.notify_all();
    Some(piece)
}

/// A file that is renamed to `.1`, `.2`, … when it has grown to its limit.
#[derive(Debug)]
struct Rotated {
    spec: LogSpec,
    file: Option<File>,
    length: u64,
}

impl Rotated {
    fn new(spec: &LogSpec) -> Self {
        Self {
            spec: spec.clone(),
            file: None,
            length: 0,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length > 0 && self.length + bytes.len() as u64 > self.spec.max_bytes {
            self.rotate()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&self.spec.path)?;
                self.length = file.metadata()?.len();
                self.file.insert(file)
            }
        };
        file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        self.length = 0;
        if self.spec.keep == 0 {
            return std::fs::remove_file(&self.spec.path);
        }
        for number in (1..self.spec.keep).rev() {
            let from = numbered(&self.spec.path, number);
            if from.exists() {
                std::fs::rename(from, numbered(&self.spec.path, number + 1))?;
            }
        }
        std::fs::rename(&self.spec.path, numbered(&self.spec.path, 1))
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(folder: &Path, max_bytes: u64, keep: u32) -> LogSpec {
        LogSpec {
            path: folder.join("log"),
            max_bytes,
            keep,
        }
    }

    #[test]
    fn rotated_at_the_limit_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut rotated = Rotated::new(&spec(folder.path(), 10, 2));
        for piece in ["aaaaaa", "bbbbbb", "cccccc", "dddddd", "dd"] {
            rotated.write(piece.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            (read("log"), read("log.1"), read("log.2")),
            ("dddddddd".into(), "cccccc".into(), "bbbbbb".into())
        );
        assert!(!folder.path().join("log.3").exists());
        // Opened again, the length of what is there counts.
        let mut again = Rotated::new(&spec(folder.path(), 10, 2));
        again.write(b"e").unwrap();
        again.write(b"ff").unwrap();
        assert_eq!(
            (read("log"), read("log.1")),
            ("ff".into(), "dddddddde".into())
        );
    }

    #[test]
    fn a_log_that_cannot_be_written_never_stops_the_child() {
        let (reader, mut writer) = io::pipe().unwrap();
        let log = Log::start(reader, &spec(Path::new("/proc/no-such-folder"), 1_000, 1)).unwrap();
        let total = 3 * QUEUE_BYTES;
        writer.write_all(&vec![b'x'; total]).unwrap();
        drop(writer);
        assert!(log.finish(Duration::from_secs(20)));
        assert_eq!(log.dropped_bytes(), total as u64);
    }
}
