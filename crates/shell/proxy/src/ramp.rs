//! How many connections to one instance may be in the making at once.
//!
//! An instance that becomes active meets everybody who waited for it. If all of them shake hands at once, each takes
//! as long as all together, and none is there for the next request. So few are made at a time, fewer where that
//! takes too long, and whoever waits takes the first connection that somebody else is done with.

use std::cell::Cell;

use tokio::sync::Notify;

const WIDEST: u32 = 16;

#[derive(Debug)]
pub struct Ramp {
    width: Cell<u32>,
    busy: Cell<u32>,
    /// A turn is free, or a connection.
    change: Notify,
    sent_back: Notify,
}

/// Whoever waited was sent back.
#[derive(Debug)]
pub struct SentBack;

/// Leave to make one connection.
#[derive(Debug)]
pub struct Turn<'a>(&'a Ramp);

impl Ramp {
    pub fn new() -> Self {
        Self {
            width: Cell::new(WIDEST),
            busy: Cell::new(0),
            change: Notify::new(),
            sent_back: Notify::new(),
        }
    }

    pub fn enter(&self) -> Option<Turn<'_>> {
        if self.busy.get() >= self.width.get() {
            return None;
        }
        self.busy.set(self.busy.get() + 1);
        Some(Turn(self))
    }

    /// Returns when it may be worth another look.
    pub async fn changed(&self) -> Result<(), SentBack> {
        tokio::select! {
            biased;
            sent_back = self.sent_back() => Err(sent_back),
            () = self.change.notified() => Ok(()),
        }
    }

    /// A connection is free.
    pub fn pass_on(&self) {
        self.change.notify_one();
    }

    pub async fn sent_back(&self) -> SentBack {
        self.sent_back.notified().await;
        SentBack
    }

    /// The instance is not there, or not the one any longer: nobody waits for it here.
    pub fn send_back(&self) {
        self.sent_back.notify_waiters();
    }
}

impl Turn<'_> {
    pub fn made(self) {
        let ramp = self.0;
        if ramp.width.get() < WIDEST {
            ramp.width.set(ramp.width.get() + 1);
            ramp.change.notify_one();
        }
    }

    /// It took longer than it may.
    pub fn late(self) {
        let ramp = self.0;
        ramp.width.set((ramp.width.get() / 2).max(1));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
        self.0.change.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(ramp: &Ramp) -> Vec<Turn<'_>> {
        std::iter::from_fn(|| ramp.enter()).collect()
    }

    #[test]
    fn lateness_narrows_it_and_every_connection_widens_it_again() {
        let ramp = Ramp::new();
        let turns = entered(&ramp);
        assert_eq!(turns.len(), 16);
        turns.into_iter().for_each(Turn::late);
        let turns = entered(&ramp);
        assert_eq!(turns.len(), 1, "never none");
        turns.into_iter().for_each(Turn::made);
        assert_eq!(entered(&ramp).len(), 2);
    }
}
