//! A copy of a data folder while it is made: whether it comes further, and whether it will fit.

use std::path::Path;
use std::time::Duration;

use mainstay_units::Instant;

/// For more of the copy to come. As long as more comes it goes on: who ends it has it begin anew.
pub const STALL_LIMIT: Duration = Duration::from_secs(30 * 60);
/// What must be left of the disk beside the copy.
const BESIDE: u64 = 64 << 20;
/// File systems that may take less room than what is written to them: ZFS, btrfs.
const COMPRESSING: [u64; 2] = [0x2fc1_2fc1, 0x9123_683e];

/// Why a copy is not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    NoRoom { needed: u64, room: u64 },
    Stalled,
}

#[derive(Debug)]
pub struct Copying {
    bytes: u64,
    total: u64,
    /// That there was when it began; `None` if nobody can say what will fit.
    room: Option<u64>,
    until: Instant,
}

impl Copying {
    pub fn new(room: Option<u64>, now: Instant) -> Self {
        Self {
            bytes: 0,
            total: 0,
            room,
            until: now + STALL_LIMIT,
        }
    }

    pub fn note(&mut self, bytes: u64, total: u64, now: Instant) {
        if bytes > self.bytes {
            self.until = now + STALL_LIMIT;
        }
        self.bytes = self.bytes.max(bytes);
        self.total = total;
    }

    pub fn trouble(&self, now: Instant) -> Option<Trouble> {
        let needed = self.total.saturating_add(BESIDE);
        match self.room {
            Some(room) if self.total > 0 && room < needed => Some(Trouble::NoRoom { needed, room }),
            _ if now >= self.until => Some(Trouble::Stalled),
            _ => None,
        }
    }
}

/// The room there is for a copy in this folder, where what is written takes the room that it is long.
pub fn room(folder: &Path) -> Option<u64> {
    let kind = u64::try_from(rustix::fs::statfs(folder).ok()?.f_type).ok()?;
    let state = rustix::fs::statvfs(folder).ok()?;
    let room = state.f_bavail.saturating_mul(state.f_frsize);
    (!COMPRESSING.contains(&kind)).then_some(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(minutes: u64) -> Instant {
        Instant::from_nanos(0) + Duration::from_secs(minutes * 60)
    }

    #[test]
    fn a_copy_takes_as_long_as_more_of_it_comes() {
        let mut copying = Copying::new(None, after(0));
        for hour in 1..=100 {
            for half in 0..2 {
                let now = after(hour * 60 - 31 + half * 29);
                copying.note(hour * 2 + half, 1_000, now);
                assert_eq!(copying.trouble(now), None, "hour {hour}");
            }
        }
        let last = 100 * 60 - 2;
        // The same line again and again is no progress.
        copying.note(201, 1_000, after(last + 29));
        assert_eq!(copying.trouble(after(last + 29)), None);
        assert_eq!(copying.trouble(after(last + 30)), Some(Trouble::Stalled));
    }

    #[test]
    fn what_will_not_fit_is_known_as_soon_as_its_size_is() {
        let mut copying = Copying::new(Some(1 << 30), after(0));
        assert_eq!(copying.trouble(after(0)), None);
        copying.note(0, 1 << 29, after(0));
        assert_eq!(copying.trouble(after(0)), None);
        copying.note(0, 1 << 30, after(0));
        let (needed, room) = ((1 << 30) + BESIDE, 1 << 30);
        let trouble = Some(Trouble::NoRoom { needed, room });
        assert_eq!(copying.trouble(after(0)), trouble);
    }
}
