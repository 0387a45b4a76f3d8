//! Who carries a drill, and whether anybody still does.
//!
//! A command that carries a drill holds a lock for as long as it lives, and wrote into the locked file which drill it is.
//! A lock goes with its holder, however that ends; so whoever finds the file free, with the name of the run that is
//! under way in it, knows that nobody carries that run any more. A file that is not there, or names another run, says
//! nothing: the command may be one of another version, or in its first moment.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use mainstay_rt::{clock, files};
use rustix::fs::{FlockOperation, flock};

use crate::shim::try_lock;

/// Whoever only looks holds the lock for an instant.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// `d` and a number.
const NAME_BYTES_MAX: u64 = 64;

/// Held by the command that carries a drill.
#[derive(Debug)]
pub struct Carrier(File);

impl Carrier {
    /// The lock, or `None` if another command has it.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let deadline = clock::now() + LOCK_LIMIT;
        loop {
            match try_lock(path)? {
                Some(file) => return Ok(Some(Self(file))),
                None if clock::now() < deadline => std::thread::park_timeout(LOCK_PAUSE),
                None => return Ok(None),
            }
        }
    }

    /// Says which drill is carried: from now on its end is seen.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn name(&mut self, drill: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.write_all(drill.as_bytes())?;
        self.0.sync_data()
    }
}

/// Whether `drill` was carried by a command that lives no more. What cannot be read says nothing.
pub fn is_gone(path: &Path, drill: &str) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    if flock(&file, FlockOperation::NonBlockingLockShared).is_err() {
        return false;
    }
    // Read under the lock: nobody writes another name meanwhile.
    files::read_limited(path, NAME_BYTES_MAX).is_ok_and(|name| name == drill.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a test says what it expects")]

    use super::{Carrier, is_gone};

    #[test]
    fn a_run_is_left_when_its_carrier_is_gone_and_not_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("drills/carrier");
        assert!(!is_gone(&path, "d1"), "nobody ever carried one");
        let mut carrier = Carrier::take(&path).expect("a file").expect("the lock");
        assert!(!is_gone(&path, "d1"), "it is held");
        drop(carrier);
        assert!(!is_gone(&path, "d1"), "it has no name");
        carrier = Carrier::take(&path).expect("a file").expect("the lock");
        carrier.name("d1").expect("written");
        assert!(!is_gone(&path, "d1"), "it is held");
        assert!(
            Carrier::take(&path).expect("a file").is_none(),
            "one at a time"
        );
        drop(carrier);
        assert!(is_gone(&path, "d1"));
        assert!(!is_gone(&path, "d2") && !is_gone(&path, "d11"), "another");
        carrier = Carrier::take(&path).expect("a file").expect("the lock");
        carrier.name("d2").expect("written");
        drop(carrier);
        assert!(is_gone(&path, "d2") && !is_gone(&path, "d1"));
    }
}
