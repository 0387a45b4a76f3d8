//! The metronome: hands each intent to the crowd at its planned moment.
//!
//! A thread of its own, which does nothing else, so that neither timers rounded to a millisecond nor a busy runtime
//! delay it. It sleeps on an absolute clock: being late once does not make it late for the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::ReplayError;
use crate::clock::Origin;
use crate::plan::{Intent, Plan};

/// Intents handed over but not yet taken up. A full channel blocks the pacer, which then shows as lag.
const HANDOVER_LIMIT: usize = 65_536;

#[derive(Debug)]
pub struct Pacer {
    pub intents: mpsc::Receiver<Intent>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Pacer {
    /// Starts the plan at `begin` of the run; intents come out with their planned time counted from the run's start.
    pub fn start(plan: Plan, origin: Origin, begin: Duration) -> Result<Self, ReplayError> {
        let (sender, intents) = mpsc::channel(HANDOVER_LIMIT);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let beat = move || {
            for mut intent in plan {
                intent.planned += begin;
                origin.sleep_until(intent.planned);
                if stopped.load(Ordering::Relaxed) || sender.blocking_send(intent).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(beat)
            .map_err(|source| ReplayError::Start {
                operation: "the pacer's thread",
                source,
            })?;
        Ok(Self {
            intents,
            stop,
            thread,
        })
    }

    /// No more intents after the one that is due next.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends the thread; call after the last intent was received.
    pub fn join(self) {
        self.stop();
        drop(self.intents);
        // A panic of the pacer has ended the flow early and was printed; the counts show it.
        let _ = self.thread.join();
    }
}
