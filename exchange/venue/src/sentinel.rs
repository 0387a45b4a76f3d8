//! Looks at the local server while this instance is active: is it still a primary, and is it still the same term?
//!
//! A lost connection is noticed at once by the sessions themselves; this finds what leaves connections open. It runs
//! beside the writer, on the reading connection, so that no batch waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::activate;
use crate::inactive::Inactive;
use crate::shared::Shared;

/// How often the server is asked.
const LOOK: Duration = Duration::from_millis(50);
/// A server that has not answered for so long is not just busy. Whoever becomes active anew has new connections.
const SILENCE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Sentinel {
    found: watch::Receiver<Option<Inactive>>,
    looking: JoinHandle<()>,
}

impl Sentinel {
    pub fn start(shared: Arc<Shared>, reader: Arc<Client>, term: u64) -> Self {
        let (finding, found) = watch::channel(None);
        let looking = tokio::spawn(async move {
            let reason = look(&shared, &reader, term).await;
            finding.send_replace(Some(reason));
        });
        Self { found, looking }
    }

    /// Waits until there is a reason to stop.
    pub async fn found(&mut self) -> Inactive {
        match self.found.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or(Inactive::Deactivated),
            Err(_) => Inactive::Deactivated,
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

async fn look(shared: &Shared, reader: &Client, term: u64) -> Inactive {
    let mut interval = tokio::time::interval(LOOK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match tokio::time::timeout(SILENCE_MAX, activate::in_recovery(reader)).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => return Inactive::DatabaseIsStandby,
            Ok(Err(_)) => return Inactive::ConnectionLost,
            Err(_) => return Inactive::DatabaseSilent,
        }
        let lease = shared.lease.check();
        if lease.allows() && lease.term() != term {
            return Inactive::TermChanged;
        }
    }
}
