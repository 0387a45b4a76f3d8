//! Looks at the local server while this instance is active: is it still a primary, and is it still the same term?
//!
//! A lost connection is noticed at once by the sessions themselves; this finds what leaves connections open. It runs
//! beside the writer, on a connection of its own, so that no batch waits for it, and it waits for no read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_postgres::Client;

use crate::activate;
use crate::inactive::Inactive;
use crate::shared::Shared;

/// How often the server is asked, and the lease looked at.
const LOOK: Duration = Duration::from_millis(50);
/// A server that has not answered for so long is not just busy. Whoever becomes active anew has new connections.
const SILENCE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Sentinel {
    found: watch::Receiver<Option<Inactive>>,
    looking: JoinHandle<()>,
}

impl Sentinel {
    pub fn start(shared: Arc<Shared>, client: Arc<Client>, term: u64) -> Self {
        let (finding, found) = watch::channel(None);
        let looking = tokio::spawn(async move { look(&shared, &client, term, finding).await });
        Self { found, looking }
    }

    /// Waits until there is a reason to stop.
    pub async fn found(&mut self) -> Inactive {
        match self.found.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or(Inactive::Deactivated),
            Err(_) => Inactive::Deactivated,
        }
    }

    /// Waits until the server is not the primary that it was. That this connection is gone or silent does not say so.
    pub async fn deposed(&mut self) -> Inactive {
        let deposed = |found: &Option<Inactive>| found.is_some_and(is_deposed);
        match self.found.wait_for(deposed).await {
            Ok(reason) => reason.unwrap_or(Inactive::Deactivated),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

fn is_deposed(reason: Inactive) -> bool {
    matches!(reason, Inactive::DatabaseIsStandby | Inactive::TermChanged)
}

async fn look(
    shared: &Shared,
    client: &Client,
    term: u64,
    finding: watch::Sender<Option<Inactive>>,
) {
    let mut over = std::pin::pin!(term_is_over(shared, term));
    let reason = tokio::select! {
        reason = server_is_lost(client) => reason,
        () = &mut over => Inactive::TermChanged,
    };
    finding.send_replace(Some(reason));
    if !is_deposed(reason) {
        tracing::info!(%reason, "the server does not say any more whether it is the primary");
        // The lease still does.
        over.await;
        finding.send_replace(Some(Inactive::TermChanged));
    }
}

fn looks() -> Interval {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

async fn server_is_lost(client: &Client) -> Inactive {
    let mut looks = looks();
    loop {
        looks.tick().await;
        match tokio::time::timeout(SILENCE_MAX, activate::in_recovery(client)).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => return Inactive::DatabaseIsStandby,
            Ok(Err(_)) => return Inactive::ConnectionLost,
            Err(_) => return Inactive::DatabaseSilent,
        }
    }
}

async fn term_is_over(shared: &Shared, term: u64) {
    let mut looks = looks();
    loop {
        looks.tick().await;
        let lease = shared.lease.check();
        if lease.allows() && lease.term() != term {
            return;
        }
    }
}
