//! Proofs take turns.
//!
//! A proof costs milliseconds of computing. When a crowd comes at once (everybody who waited for this instance to become
//! active), whoever is already here would wait until all have been let in, and the instance would look dead meanwhile.
//! So one step of one proof is computed at a time, and whatever else is ready has its turn before the next.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

type Turn = Result<OwnedSemaphorePermit, AcquireError>;

/// A future of which one step is taken a turn.
pub struct Paced<F> {
    turns: Turns,
    waiting: Option<Pin<Box<dyn Future<Output = Turn> + Send>>>,
    inner: Pin<Box<F>>,
}

impl Turns {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    pub fn pace<F: Future>(&self, inner: F) -> Paced<F> {
        Paced {
            turns: self.clone(),
            waiting: None,
            inner: Box::pin(inner),
        }
    }
}

impl<F: Future> Future for Paced<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let turns = &this.turns.0;
        let waiting = this
            .waiting
            .get_or_insert_with(|| Box::pin(Arc::clone(turns).acquire_owned()));
        let turn = ready!(waiting.as_mut().poll(context));
        this.waiting = None;
        let step = this.inner.as_mut().poll(context);
        if let Ok(turn) = turn {
            tokio::spawn(async move {
                // Comes back after everything else that is ready, and after a look at what has arrived.
                tokio::task::yield_now().await;
                drop(turn);
            });
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A crowd of proofs of five steps each, and somebody who is here already: between two of his turns there is one
    /// step of theirs, however many they are.
    #[tokio::test]
    async fn whoever_is_here_already_waits_for_one_step_at_a_time() {
        let turns = Turns::new();
        let steps = Arc::new(AtomicU32::new(0));
        let crowd: Vec<_> = (0..100)
            .map(|_| {
                let steps = Arc::clone(&steps);
                tokio::spawn(turns.pace(async move {
                    for _ in 0..5 {
                        steps.fetch_add(1, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                    }
                }))
            })
            .collect();
        let mut most = 0;
        while steps.load(Ordering::Relaxed) < 500 {
            let before = steps.load(Ordering::Relaxed);
            tokio::task::yield_now().await;
            most = most.max(steps.load(Ordering::Relaxed) - before);
        }
        assert!((1..=2).contains(&most), "{most} steps in a row");
        for one in crowd {
            one.await.expect("a proof");
        }
    }
}
