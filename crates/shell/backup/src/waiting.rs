//! How much log waits to be put away, and for how long: what the primary had written, by when.

use std::collections::VecDeque;

use mainstay_units::Lsn;

/// One look a second, for an hour; of a longer wait the beginning is kept.
const LOOKS_MAX: usize = 3_600;
const LOOK_EVERY_MS: u64 = 1_000;

#[derive(Debug, Default)]
pub struct Waiting {
    /// Positions that were not put away when they were last looked at, with the first moment at which each was seen.
    looks: VecDeque<(Lsn, u64)>,
    written: Lsn,
    shipped: Lsn,
}

impl Waiting {
    pub fn handle_written(&mut self, written: Lsn, at_ms: u64) {
        self.written = written;
        let is_due = self.looks.back().is_none_or(|(known, seen_ms)| {
            written > *known && at_ms >= seen_ms.saturating_add(LOOK_EVERY_MS)
        });
        if is_due && written > self.shipped && self.looks.len() < LOOKS_MAX {
            self.looks.push_back((written, at_ms));
        }
    }

    pub fn handle_shipped(&mut self, shipped: Lsn) {
        self.shipped = self.shipped.max(shipped);
        while self
            .looks
            .front()
            .is_some_and(|(lsn, _)| *lsn <= self.shipped)
        {
            self.looks.pop_front();
        }
    }

    /// With another primary it begins anew; what was put away stays so.
    pub fn forget(&mut self) {
        self.looks.clear();
    }

    pub fn bytes(&self) -> u64 {
        self.written.0.saturating_sub(self.shipped.0)
    }

    /// Since when the oldest of it waits.
    pub fn since_ms(&self) -> Option<u64> {
        self.looks.front().map(|(_, at_ms)| *at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_as_old_as_the_first_byte_that_was_not_put_away() {
        let mut waiting = Waiting::default();
        waiting.handle_written(Lsn(100), 1_000);
        waiting.handle_written(Lsn(200), 5_000);
        assert_eq!((waiting.bytes(), waiting.since_ms()), (200, Some(1_000)));
        waiting.handle_shipped(Lsn(150));
        assert_eq!((waiting.bytes(), waiting.since_ms()), (50, Some(5_000)));
        waiting.handle_shipped(Lsn(200));
        assert_eq!((waiting.bytes(), waiting.since_ms()), (0, None));
        waiting.handle_written(Lsn(200), 9_000);
        assert_eq!(waiting.since_ms(), None, "nothing was written");
        waiting.handle_written(Lsn(201), 10_000);
        assert_eq!((waiting.bytes(), waiting.since_ms()), (1, Some(10_000)));
    }
}
