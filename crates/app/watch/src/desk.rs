//! The store as rules see it: what they read, and where they write.
//!
//! Whoever hears targets writes, rules and questions read, on threads of their own. Rules read as of the moment at which
//! their evaluation began, so that both sides of a division are of one moment whatever is heard meanwhile.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use mainstay_promql::ast::Expr;
use mainstay_promql::eval::Options;
use mainstay_promql::matcher::Matcher;
use mainstay_promql::sample::{Series, Source};
use mainstay_rules::group::{Given, Storage, Unanswered, Write, measured};
use mainstay_samples::{Head, SamplesError};
use mainstay_scraper::server::{NoReply, Server};
use tokio::runtime::{self, Runtime};

use crate::far::{self, Moments, Own};

/// The samples, shared between threads. A lock is held for one look or one write, never for an evaluation.
#[derive(Clone, Debug)]
pub struct Store(Arc<RwLock<Head>>);

impl Store {
    pub fn new(head: Head) -> Self {
        Self(Arc::new(RwLock::new(head)))
    }

    /// A thread that panicked with the lock ends the watch; until then, what is there is read.
    pub fn read(&self) -> RwLockReadGuard<'_, Head> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, Head> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Store {
    fn select(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Arc<Series>> {
        self.read().select(matchers, from, to)
    }
}

/// The store as of the moment at which its view was opened.
struct Viewed<'s>(&'s Store);

impl Source for Viewed<'_> {
    fn select(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Arc<Series>> {
        self.0.read().view().select(matchers, from, to)
    }
}

/// The server that scrapes for us, as rules ask it: one question after the other.
#[derive(Debug)]
pub struct Beyond {
    server: Server,
    runtime: Runtime,
    limit: Duration,
    own: Own,
    /// Why no more is asked in this evaluation: whoever was not heard would let every rule wait as long.
    given_up: RefCell<Option<String>>,
}

impl Beyond {
    pub fn new(server: Server, limit: Duration) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            server,
            runtime,
            limit,
            own: Own::default(),
            given_up: RefCell::new(None),
        })
    }

    fn ask(
        &self,
        local: &dyn Source,
        expr: &Expr,
        at: i64,
        options: &Options,
    ) -> Result<Given, Unanswered> {
        if let Some(why) = &*self.given_up.borrow() {
            return Err(Unanswered::Unheard(why.clone()));
        }
        let (own, moment) = (&self.own, Moments::At(at));
        let asked = far::ask(&self.server, own, local, expr, moment, options, self.limit);
        match self.runtime.block_on(asked) {
            Ok(found) => Ok(Given {
                output: found.output,
                partial: found.partial,
            }),
            Err(NoReply::Refused(why)) => Err(Unanswered::Failed(why)),
            Err(NoReply::Unheard(why)) => {
                self.given_up.replace(Some(why.clone()));
                Err(Unanswered::Unheard(why))
            }
        }
    }
}

#[derive(Debug)]
pub struct Desk {
    store: Store,
    /// Who has what our store has not, if not everything is in there.
    beyond: Option<Beyond>,
    /// Why nothing is known in this evaluation, if so.
    deaf: Option<String>,
    /// A write that failed while rules were evaluated: they cannot be told.
    failed: Option<SamplesError>,
}

impl Desk {
    pub fn new(store: Store, beyond: Option<Beyond>) -> Self {
        Self {
            store,
            beyond,
            deaf: None,
            failed: None,
        }
    }

    /// Before an evaluation: which metrics are ours, and why it would look at nothing, if so.
    pub fn begin(&mut self, own: Own, deaf: Option<String>) {
        self.deaf = deaf;
        if let Some(beyond) = &mut self.beyond {
            beyond.own = own;
            beyond.given_up.replace(None);
        }
    }

    /// The first write that failed since the last call.
    pub fn take_failure(&mut self) -> Result<(), SamplesError> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl Storage for Desk {
    fn ask(&self, expr: &Expr, at: i64, options: &Options) -> Result<Given, Unanswered> {
        if let Some(why) = &self.deaf {
            return Err(Unanswered::Unheard(why.clone()));
        }
        let local = Viewed(&self.store);
        match &self.beyond {
            Some(beyond) => beyond.ask(&local, expr, at, options),
            None => measured(expr, &local, at, options),
        }
    }

    fn write(&mut self, writes: &[Write]) {
        // The store keeps floats only; rules over scraped floats give nothing else.
        let floats = writes.iter().filter_map(|write| {
            let value = write.value.float()?;
            Some((&write.labels, write.at, value))
        });
        if let Err(error) = self.store.write().append_in_view(floats) {
            self.failed.get_or_insert(error);
        }
    }
}
