//! One cluster ahead: while a scenario waits for what it broke, the next one's servers are filled.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::Result;

use crate::cluster::Cluster;

static AHEAD: Mutex<Ahead> = Mutex::new(Ahead {
    wanted: false,
    next: None,
});

struct Ahead {
    wanted: bool,
    next: Option<JoinHandle<Result<Cluster>>>,
}

fn ahead() -> MutexGuard<'static, Ahead> {
    AHEAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on there is more than one scenario.
pub fn begin() {
    ahead().wanted = true;
}

/// A healthy cluster, and the next one is begun.
pub fn take() -> Result<Cluster> {
    let mut ahead = ahead();
    let cluster = match ahead.next.take() {
        Some(next) => {
            let cluster = joined(next)?;
            // It was healthy when it was filled; much may have happened on a busy machine since.
            cluster.await_healthy()?;
            cluster
        }
        None => Cluster::healthy_with(&[])?,
    };
    if ahead.wanted {
        ahead.next = Some(std::thread::spawn(|| Cluster::healthy_with(&[])));
    }
    Ok(cluster)
}

/// Nobody takes another one: what was begun is stopped.
pub fn end() {
    let next = ahead().next.take();
    drop(next.map(joined));
}

fn joined(next: JoinHandle<Result<Cluster>>) -> Result<Cluster> {
    next.join()
        .unwrap_or_else(|_| anyhow::bail!("the thread that filled it panicked"))
}
