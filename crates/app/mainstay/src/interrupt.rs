//! Ctrl-C, and SIGTERM from whoever looks after this command, seen as a flag that loops look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Failure;

/// Set for good by the first signal; further ones change nothing.
pub struct Interrupt {
    flag: Arc<AtomicBool>,
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
        let flag = Arc::new(AtomicBool::new(false));
        let (bell, rung) = channel();
        let signals = {
            let _inside = runtime.enter();
            let terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
            let interrupt = signal(SignalKind::interrupt()).context("wait for Ctrl-C")?;
            (terminate, interrupt)
        };
        let raised = Arc::clone(&flag);
        std::thread::spawn(move || runtime.block_on(raise(signals, &raised, &bell)));
        Ok(Self { flag, rung })
    }

    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
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
    flag: &AtomicBool,
    bell: &Sender<()>,
) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    flag.store(true, Ordering::Relaxed);
    bell.send(()).ok();
}
