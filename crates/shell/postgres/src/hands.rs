//! Doing what the core says to the local server: one command at a time, in a thread of its own.
//!
//! Two commands are out of line. A checkpoint takes as long as the disk likes and runs beside the others.
//! An immediate stop overtakes: the command under way is dropped, with the tools it runs, and it and all
//! that wait are answered as cancelled before the stop begins.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use mainstay_keeper::{Command, Failure, OperationId, Outcome};
use mainstay_record::keeper::SeedingStatus;
use tokio::sync::{mpsc, watch};

use crate::commands;
use crate::server::Local;
use crate::setup::Setup;

/// A command and what became of it.
pub type Order = (OperationId, Command);
pub type Done = (OperationId, Outcome);

struct Hands {
    local: Local,
    waiting: VecDeque<Order>,
    done: mpsc::UnboundedSender<Done>,
    progress: watch::Sender<Option<SeedingStatus>>,
    /// No rewind can have left anything.
    is_in_order: bool,
}

/// Between two tries to finish what a rewind left.
const LOOK_BACK: Duration = Duration::from_secs(1);

/// Performs orders until nobody gives any.
pub async fn work(
    setup: Rc<Setup>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    done: mpsc::UnboundedSender<Done>,
    progress: watch::Sender<Option<SeedingStatus>>,
    mut news: watch::Receiver<u64>,
    mut certificates: watch::Receiver<u64>,
) {
    // What the file says may be other than what a predecessor wrote.
    news.mark_changed();
    certificates.mark_changed();
    let mut hands = Hands {
        local: Local::new(setup),
        waiting: VecDeque::new(),
        done,
        progress,
        is_in_order: false,
    };
    loop {
        let order = match hands.waiting.pop_front() {
            Some(order) => order,
            None => tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(order) => order,
                    None => return,
                },
                () = tokio::time::sleep(LOOK_BACK), if !hands.is_in_order => {
                    hands.is_in_order = commands::go_back(&hands.local.setup);
                    continue;
                }
                Ok(()) = certificates.changed() => {
                    hands.local.show_certificate();
                    continue;
                }
                Ok(()) = news.changed() => {
                    if hands.renew_parameters(&mut orders).await.is_none() {
                        return;
                    }
                    continue;
                }
            },
        };
        if hands.perform(order, &mut orders).await.is_none() {
            return;
        }
    }
}

impl Hands {
    /// Performs one order; `None` when nobody gives any more.
    async fn perform(
        &mut self,
        (operation, command): Order,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Option<()> {
        if command == Command::Checkpoint {
            self.checkpoint(operation);
            return Some(());
        }
        let stopping = command == Command::StopImmediate;
        self.is_in_order &= !matches!(command, Command::Rewind { .. });
        let mut stop = None;
        let outcome = {
            let performing = commands::perform(&mut self.local, command, &self.progress);
            tokio::pin!(performing);
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut performing => break outcome,
                    order = orders.recv() => {
                        let order = order?;
                        if order.1 == Command::StopImmediate && !stopping {
                            stop = Some(order);
                            break Outcome::Failed(Failure::Cancelled);
                        }
                        self.waiting.push_back(order);
                    }
                }
            }
        };
        self.done.send((operation, outcome)).ok()?;
        if let Some(stop) = stop {
            for (operation, _) in self.waiting.drain(..) {
                let cancelled = Outcome::Failed(Failure::Cancelled);
                self.done.send((operation, cancelled)).ok()?;
            }
            self.waiting.push_back(stop);
        }
        Some(())
    }

    /// Between two orders; a stop does not wait for it.
    async fn renew_parameters(
        &mut self,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Option<()> {
        let renewing = self.local.renew_parameters();
        tokio::pin!(renewing);
        loop {
            tokio::select! {
                biased;
                () = &mut renewing => return Some(()),
                order = orders.recv() => {
                    let order = order?;
                    let stops = order.1 == Command::StopImmediate;
                    self.waiting.push_back(order);
                    if stops {
                        return Some(());
                    }
                }
            }
        }
    }

    fn checkpoint(&self, operation: OperationId) {
        let setup = Rc::clone(&self.local.setup);
        let done = self.done.clone();
        tokio::task::spawn_local(async move {
            let outcome = commands::checkpoint(&setup).await;
            done.send((operation, outcome)).ok();
        });
    }
}
