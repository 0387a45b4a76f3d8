//! What the two threads of the venue have in common: the HTTP side reads requests and shows the published picture, the
//! writer side sequences and commits. Commands go one way through the intake, replies come back one by one.

use tokio::sync::watch;

use crate::intake::Intake;
use crate::lease::LeaseFile;
use crate::metrics::Metrics;
use crate::view::Published;

#[derive(Debug)]
pub struct Shared {
    pub cell: String,
    pub instance: String,
    /// Names whose owners may change the mode.
    pub controllers: Vec<String>,
    pub intake: Intake,
    pub lease: LeaseFile,
    pub published: Published,
    pub metrics: Metrics,
    /// True once the process has been told to stop: nothing new comes in.
    pub draining: watch::Sender<bool>,
    /// Boot-clock nanoseconds at which the writer last gave a sign of life.
    pub writer_alive_ns: std::sync::atomic::AtomicU64,
}

impl Shared {
    pub fn new(cell: String, instance: String, lease: LeaseFile) -> Self {
        Self {
            cell,
            instance,
            controllers: Vec::new(),
            intake: Intake::default(),
            lease,
            published: Published::default(),
            metrics: Metrics::default(),
            draining: watch::Sender::new(false),
            writer_alive_ns: std::sync::atomic::AtomicU64::new(crate::clock::boot_ns()),
        }
    }

    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}
