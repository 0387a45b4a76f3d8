//! Doing what the core says to the local server: one command at a time, in a thread of its own.
//!
//! An immediate stop overtakes: the command under way is dropped, with the tools it runs, and answered as
//! cancelled before the stop begins.

use std::collections::VecDeque;
use std::rc::Rc;

use mainstay_keeper::{Command, Failure, OperationId, Outcome};
use mainstay_record::keeper::SeedingStatus;
use tokio::sync::{mpsc, watch};

use crate::commands;
use crate::server::Local;
use crate::setup::Setup;

/// A command and what became of it.
pub type Order = (OperationId, Command);
pub type Done = (OperationId, Outcome);

/// Performs orders until nobody gives any.
pub async fn work(
    setup: Rc<Setup>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    done: mpsc::UnboundedSender<Done>,
    progress: watch::Sender<Option<SeedingStatus>>,
) {
    let mut local = Local::new(setup);
    let mut waiting: VecDeque<Order> = VecDeque::new();
    loop {
        let next = match waiting.pop_front() {
            Some(order) => Some(order),
            None => orders.recv().await,
        };
        let Some((operation, command)) = next else {
            return;
        };
        let stopping = command == Command::StopImmediate;
        let outcome = {
            let performing = commands::perform(&mut local, command, &progress);
            tokio::pin!(performing);
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut performing => break outcome,
                    order = orders.recv() => match order {
                        None => return,
                        Some(order) => {
                            let overtakes = order.1 == Command::StopImmediate && !stopping;
                            waiting.push_back(order);
                            if overtakes {
                                break Outcome::Failed(Failure::Cancelled);
                            }
                        }
                    },
                }
            }
        };
        if done.send((operation, outcome)).is_err() {
            return;
        }
    }
}
