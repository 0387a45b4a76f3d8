//! Ctrl-C, and SIGTERM from whoever looks after this command, seen as a flag that loops look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Failure;

/// Set for good by the first signal; further ones are counted, for whoever was begun after it.
pub struct Interrupt {
    signals: Arc<AtomicU32>,
    /// Wakes whoever waits.
    rung: Receiver<()>,
}

impl Interrupt {
    /// From here on the process no longer ends by itself on Ctrl-C.
    pub fn catch() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("wait for Ctrl-C")?;
        let count = Arc::new(AtomicU32::new(0));
        let (bell, rung) = channel();
        let signals = {
            let _inside = runtime.enter();
            let terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
            let interrupt = signal(SignalKind::interrupt()).context("wait for Ctrl-C")?;
            (terminate, interrupt)
        };
        let raised = Arc::clone(&count);
        std::thread::spawn(move || runtime.block_on(raise(signals, &raised, &bell)));
        Ok(Self {
            signals: count,
            rung,
        })
    }

    pub fn is_set(&self) -> bool {
        self.times() > 0
    }

    /// How often.
    pub fn times(&self) -> u32 {
        self.signals.load(Ordering::Relaxed)
    }

    /// Waits, and no longer once interrupted.
    pub fn wait(&self, time: Duration) {
        if !self.is_set() {
            // Timed out or rung: the caller looks at the flag either way.
            self.rung.recv_timeout(time).ok();
        }
    }
}

async fn raise(
    (mut terminate, mut interrupt): (tokio::signal::unix::Signal, tokio::signal::unix::Signal),
    count: &AtomicU32,
    bell: &Sender<()>,
) {
    loop {
        let heard = tokio::select! {
            heard = terminate.recv() => heard,
            heard = interrupt.recv() => heard,
        };
        if heard.is_none() {
            return;
        }
        count.fetch_add(1, Ordering::Relaxed);
        bell.send(()).ok();
    }
}
