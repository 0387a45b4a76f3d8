//! The room that many requests share for what they keep in memory: bodies that come, answers that wait.
//!
//! Each worker has its own. A request takes as much as it keeps and gives it back with what was kept, whoever holds that
//! by then.

use std::sync::Arc;

use bytes::Bytes;

use crate::stats::Count;

/// What one request takes of the room that a worker has for all of them, for as long as it lives.
#[derive(Debug)]
pub struct Room {
    /// Taken by all together.
    all: Arc<Count>,
    limit: u64,
    taken: u64,
}

impl Room {
    pub fn of(all: &Arc<Count>, limit: u64) -> Self {
        Self {
            all: Arc::clone(all),
            limit,
            taken: 0,
        }
    }

    /// False if there is none.
    pub fn take(&mut self, bytes: usize) -> bool {
        let all = self.all.get() + bytes as u64;
        let fits = all <= self.limit;
        if fits {
            self.all.set(all);
            self.taken += bytes as u64;
        }
        fits
    }

    /// False if there is none for so many in all.
    pub fn reach(&mut self, bytes: usize) -> bool {
        let more = (bytes as u64).saturating_sub(self.taken);
        self.take(usize::try_from(more).unwrap_or(usize::MAX))
    }

    /// The bytes that the room was taken for. It is given back when the last of them is gone, from a socket's buffer
    /// as well.
    pub fn with(self, bytes: Bytes) -> Bytes {
        if self.taken == 0 {
            return bytes;
        }
        Bytes::from_owner(Kept { bytes, _room: self })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.taken);
    }
}

struct Kept {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_share_a_room_and_give_it_back() {
        let all = Arc::default();
        let mut first = Room::of(&all, 10);
        let mut second = Room::of(&all, 10);
        assert!(first.take(6) && second.take(4));
        assert!(!second.take(1), "the room is full");
        assert!(second.reach(4) && !second.reach(5), "it has four");
        drop(first);
        assert!(second.reach(10), "what is over makes room");
        let kept = second.with(Bytes::from_static(b"0123456789"));
        let part = kept.slice(3..5);
        drop(kept);
        assert_eq!((all.get(), &part[..]), (10, &b"34"[..]));
        drop(part);
        assert_eq!(all.get(), 0);
    }
}
