//! The bounded queue between the HTTP side and the writer.
//!
//! A counter with two lines. Orders and deposits stand in the ordinary line; a cancel goes to the express line, which
//! the writer empties first, *unless* its own account still has something in the ordinary line: an account's commands
//! are never reordered, because their references increase. Each line is bounded; a full one refuses at once
//! and says when to come back. So under ten times too much load cancels still get through.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use exchange_engine::command::{Action, Command};
use exchange_engine::units::Account;
use tokio::sync::{Notify, oneshot};

use crate::chain::Hash;
use crate::inactive::Inactive;

/// Commands other than cancels that may wait.
pub const ORDINARY_MAX: usize = 4_096;
/// Cancels that may wait, in whichever line.
pub const CANCELS_MAX: usize = 4_096;

/// A command on its way, with the way back.
#[derive(Debug)]
pub struct Submission {
    pub command: Command,
    pub canonical: String,
    pub reply: oneshot::Sender<Reply>,
}

/// What the writer says to one submission. Whoever gets none at all (the sender is dropped) knows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Answer {
        stored: String,
        hash: Hash,
        replayed: bool,
    },
    /// The reference was used for another content.
    Conflict,
    /// Not above the account's highest reference, and too old to be answered from memory.
    Older { highest: u64 },
    /// Nothing was done: this instance cannot write now.
    NotActive(Inactive),
    /// Nothing was done: the lease ran out before it was sequenced.
    LeaseExpired,
    /// Nothing was done: the cell has no room for another account.
    NoRoom,
    /// It was sent to the database and no clean commit came back.
    Unknown,
}

/// Nothing was taken and nothing was done.
#[derive(Debug, PartialEq, Eq)]
pub enum PushError {
    Full,
    /// The writer has stopped.
    Closed,
}

#[derive(Debug, Default)]
struct Lines {
    express: VecDeque<Submission>,
    ordinary: VecDeque<Submission>,
    /// How many of each account stand in the ordinary line.
    waiting: BTreeMap<Account, u32>,
    /// Cancels and modes in both lines.
    cancels: usize,
    closed: bool,
}

#[derive(Debug, Default)]
pub struct Intake {
    lines: Mutex<Lines>,
    arrived: Notify,
}

/// A mode is told when there is trouble, and trouble is when the line is long.
fn is_urgent(command: &Command) -> bool {
    matches!(command.action, Action::Cancel { .. } | Action::Mode(_))
}

impl Lines {
    fn push(&mut self, submission: Submission) -> Result<(), PushError> {
        if self.closed {
            return Err(PushError::Closed);
        }
        let cancel = is_urgent(&submission.command);
        let (count, most) = if cancel {
            (self.cancels, CANCELS_MAX)
        } else {
            (self.len() - self.cancels, ORDINARY_MAX)
        };
        if count >= most {
            return Err(PushError::Full);
        }
        self.cancels += usize::from(cancel);
        let account = submission.command.account;
        if cancel && !self.waiting.contains_key(&account) {
            self.express.push_back(submission);
        } else {
            *self.waiting.entry(account).or_default() += 1;
            self.ordinary.push_back(submission);
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<Submission> {
        let submission = match self.express.pop_front() {
            Some(submission) => submission,
            None => {
                let submission = self.ordinary.pop_front()?;
                let account = submission.command.account;
                if let Some(count) = self.waiting.get_mut(&account) {
                    *count -= 1;
                    if *count == 0 {
                        self.waiting.remove(&account);
                    }
                }
                submission
            }
        };
        self.cancels -= usize::from(is_urgent(&submission.command));
        Some(submission)
    }

    fn len(&self) -> usize {
        self.express.len() + self.ordinary.len()
    }
}

impl Intake {
    pub fn push(&self, submission: Submission) -> Result<(), PushError> {
        let mut lines = self.lines.lock().map_err(|_| PushError::Closed)?;
        lines.push(submission)?;
        drop(lines);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits until something is there, then takes up to `most` in their order.
    pub async fn take(&self, most: usize) -> Vec<Submission> {
        loop {
            let batch = self.take_now(most);
            if !batch.is_empty() {
                return batch;
            }
            self.arrived.notified().await;
        }
    }

    /// Lets nothing more in; what waits can still be taken.
    pub fn close(&self) {
        if let Ok(mut lines) = self.lines.lock() {
            lines.closed = true;
        }
    }

    pub fn take_now(&self, most: usize) -> Vec<Submission> {
        let Ok(mut lines) = self.lines.lock() else {
            return Vec::new();
        };
        let count = lines.len().min(most);
        (0..count).filter_map(|_| lines.pop()).collect()
    }

    pub fn len(&self) -> usize {
        self.lines.lock().map_or(0, |lines| lines.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exchange_engine::units::{Amount, Asset, Reference};
    use proptest::prelude::*;

    fn submission(account: u64, reference: u64, cancel: bool) -> Submission {
        let action = if cancel {
            Action::Cancel {
                target: Reference::new(1).unwrap(),
            }
        } else {
            Action::Deposit {
                asset: Asset::Usd,
                amount: Amount::from_units(1),
            }
        };
        let account = Account::customer(account).unwrap();
        let reference = Reference::new(reference).unwrap();
        let command = Command {
            account,
            reference,
            deadline_ms: 0,
            action,
        };
        Submission {
            command,
            canonical: String::new(),
            reply: oneshot::channel().0,
        }
    }

    fn order(intake: &Intake) -> Vec<(u64, u64)> {
        let batch = intake.take_now(usize::MAX);
        batch
            .iter()
            .map(|one| (one.command.account.number(), one.command.reference.number()))
            .collect()
    }

    #[test]
    fn cancels_go_first_but_never_before_their_own_account() {
        let intake = Intake::default();
        for (account, reference, cancel) in [
            (1, 1, false),
            (2, 1, false),
            (1, 2, true),
            (3, 9, true),
            (3, 10, false),
        ] {
            intake.push(submission(account, reference, cancel)).unwrap();
        }
        assert_eq!(order(&intake), [(3, 9), (1, 1), (2, 1), (1, 2), (3, 10)]);
        assert!(intake.is_empty());
        intake.close();
        assert_eq!(intake.push(submission(1, 9, false)), Err(PushError::Closed));
    }

    #[test]
    fn a_flood_of_orders_is_refused_and_cancels_still_get_in() {
        let intake = Intake::default();
        for reference in 1..=ORDINARY_MAX as u64 {
            intake.push(submission(1, reference, false)).unwrap();
        }
        assert_eq!(intake.push(submission(2, 1, false)), Err(PushError::Full));
        intake.push(submission(2, 1, true)).unwrap();
        assert_eq!(intake.take_now(1)[0].command.account.number(), 2);
        for reference in 1..=CANCELS_MAX as u64 {
            intake.push(submission(2, reference, true)).unwrap();
        }
        assert_eq!(intake.push(submission(3, 1, true)), Err(PushError::Full));
    }

    proptest! {
        #[test]
        fn an_account_is_never_reordered(arrivals in prop::collection::vec((1u64..4, any::<bool>()), 0..60), taken in 1usize..8) {
            let intake = Intake::default();
            let mut served: BTreeMap<u64, u64> = BTreeMap::new();
            let mut serve = |most: usize| {
                for one in intake.take_now(most) {
                    let last = served.insert(one.command.account.number(), one.command.reference.number());
                    assert!(last < Some(one.command.reference.number()));
                }
            };
            for (reference, (account, cancel)) in (1..).zip(&arrivals) {
                intake.push(submission(*account, reference, *cancel)).unwrap();
                if reference % 5 == 0 {
                    serve(taken);
                }
            }
            serve(usize::MAX);
            prop_assert!(intake.is_empty());
        }
    }
}
