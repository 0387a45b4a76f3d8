//! What the outside may see: the state of the last cleanly committed batch, and nothing newer.
//!
//! The writer's engine runs one batch ahead of what is durable. So the HTTP side never looks at the engine; after each
//! clean commit the writer publishes a small picture (levels, liquidity, sequence) and the balances that changed.
//! What stands only in tables is read from the tables, where rows of a batch whose commit is still unsettled could show:
//! such an answer waits for the [`Barrier`] before it leaves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exchange_engine::book::LevelView;
use exchange_engine::command::Mode;
use exchange_engine::engine::Engine;
use exchange_engine::ledger::Balances;
use exchange_engine::units::{Account, Instrument, Side};
use tokio::sync::watch;
use tokio_postgres::Client;

use crate::clock;
use crate::inactive::Inactive;

/// Levels per side that a published picture holds.
pub const DEPTH_MAX: usize = 200;
/// Liquidity counts what rests within this of the middle: 1 %.
pub const LIQUIDITY_BAND_BASIS_POINTS: i128 = 100;

/// The market after a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    pub sequence: u64,
    pub bids: Vec<LevelView>,
    pub asks: Vec<LevelView>,
    pub liquidity_usd: f64,
    pub open_orders: usize,
    pub mode: Mode,
}

impl Picture {
    pub fn of(engine: &Engine) -> Self {
        let book = engine.book(Instrument::BtcUsd);
        let side = |side| book.levels(side).take(DEPTH_MAX).collect();
        Self {
            sequence: engine.sequence().0,
            bids: side(Side::Buy),
            asks: side(Side::Sell),
            liquidity_usd: liquidity_usd(engine),
            open_orders: engine.open_orders(),
            mode: engine.mode(),
        }
    }
}

/// The smaller of what rests on both sides within [`LIQUIDITY_BAND_BASIS_POINTS`] of the middle, in dollars; zero
/// without a middle.
fn liquidity_usd(engine: &Engine) -> f64 {
    let book = engine.book(Instrument::BtcUsd);
    let (Some(bid), Some(ask)) = (book.best(Side::Buy), book.best(Side::Sell)) else {
        return 0.0;
    };
    // Twice the middle, so that it stays whole; distances are doubled with it.
    let middle = i128::from(bid.cents()) + i128::from(ask.cents());
    let notional = |side| -> i128 {
        let near = |level: &LevelView| {
            (2 * i128::from(level.price.cents()) - middle).abs() * 10_000
                <= middle * LIQUIDITY_BAND_BASIS_POINTS
        };
        book.levels(side)
            .take_while(near)
            .map(|level| i128::from(level.price.cents()) * level.quantity)
            .sum()
    };
    // For a gauge; money itself never becomes a floating-point number.
    notional(Side::Buy).min(notional(Side::Sell)) as f64 / 1e10
}

/// The instance is active: under which epoch, and through which connection tables may be read.
#[derive(Clone, Debug)]
pub struct Active {
    pub epoch: u64,
    pub term: u64,
    pub picture: Arc<Picture>,
    pub reader: Arc<Client>,
}

#[derive(Clone, Debug)]
pub enum Phase {
    /// Why this instance does not serve.
    Standby(Inactive),
    Active(Active),
}

/// Batches sent and batches cleanly committed since the process started.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    epoch: Option<u64>,
    sent: u64,
    clean: u64,
}

#[derive(Debug)]
pub struct Published {
    phase: Mutex<Phase>,
    balances: Mutex<HashMap<Account, Balances>>,
    progress: watch::Sender<Progress>,
    /// Boot-clock nanoseconds at which the batch in flight was sent; zero while none is.
    sent_ns: AtomicU64,
}

/// The instance ceased to be active while an answer waited.
#[derive(Debug, PartialEq, Eq)]
pub struct Deactivated;

impl Default for Published {
    fn default() -> Self {
        Self {
            phase: Mutex::new(Phase::Standby(Inactive::Starting)),
            balances: Mutex::default(),
            progress: watch::Sender::new(Progress::default()),
            sent_ns: AtomicU64::new(0),
        }
    }
}

impl Published {
    pub fn phase(&self) -> Phase {
        self.phase
            .lock()
            .map_or(Phase::Standby(Inactive::Deactivated), |phase| phase.clone())
    }

    pub fn active(&self) -> Result<Active, Inactive> {
        match self.phase() {
            Phase::Active(active) => Ok(active),
            Phase::Standby(reason) => Err(reason),
        }
    }

    /// `None` while nothing may be shown.
    pub fn balances(&self, account: Account) -> Option<Balances> {
        self.balances
            .lock()
            .ok()
            .map(|all| all.get(&account).copied().unwrap_or_default())
    }

    pub fn activate(&self, active: Active, engine: &Engine) {
        if let Ok(mut balances) = self.balances.lock() {
            *balances = engine
                .ledger()
                .accounts()
                .map(|(account, balances)| (account, *balances))
                .collect();
        }
        // What an earlier activation left unsettled is settled: this state was read after it.
        self.progress.send_modify(|progress| {
            progress.epoch = Some(active.epoch);
            progress.clean = progress.sent;
        });
        self.sent_ns.store(0, Ordering::Relaxed);
        self.set(Phase::Active(active));
    }

    pub fn deactivate(&self, reason: Inactive) {
        self.set(Phase::Standby(reason));
        self.sent_ns.store(0, Ordering::Relaxed);
        self.progress
            .send_if_modified(|progress| progress.epoch.take().is_some());
        if let Ok(mut balances) = self.balances.lock() {
            balances.clear();
        }
    }

    /// A batch is about to be sent.
    pub fn sent(&self) {
        self.sent_ns.store(clock::boot_ns(), Ordering::Relaxed);
        self.progress.send_modify(|progress| progress.sent += 1);
    }

    /// The batch is cleanly committed: this is how the world looks now.
    pub fn committed(
        &self,
        picture: Picture,
        changed: impl Iterator<Item = Account>,
        engine: &Engine,
    ) {
        if let Ok(mut balances) = self.balances.lock() {
            for account in changed {
                balances.insert(account, engine.ledger().balances(account));
            }
        }
        if let Ok(mut phase) = self.phase.lock()
            && let Phase::Active(active) = &mut *phase
        {
            active.picture = Arc::new(picture);
        }
        self.sent_ns.store(0, Ordering::Relaxed);
        self.progress
            .send_modify(|progress| progress.clean = progress.sent);
    }

    /// How long the commit that is under way has been.
    pub fn commit_age(&self) -> Duration {
        match self.sent_ns.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            sent_ns => Duration::from_nanos(clock::boot_ns().saturating_sub(sent_ns)),
        }
    }

    /// Waits until every batch that was sent so far is cleanly committed under `epoch`. What was read from the
    /// tables before this call may be shown after it.
    pub async fn barrier(&self, epoch: u64) -> Result<(), Deactivated> {
        let mut progress = self.progress.subscribe();
        let sent = progress.borrow_and_update().sent;
        let settled = progress
            .wait_for(|progress| progress.epoch != Some(epoch) || progress.clean >= sent)
            .await;
        match settled {
            Ok(progress) if progress.epoch == Some(epoch) => Ok(()),
            Ok(_) | Err(_) => Err(Deactivated),
        }
    }

    fn set(&self, to: Phase) {
        if let Ok(mut phase) = self.phase.lock() {
            *phase = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{self, Kind};

    fn play(engine: &mut Engine, kind: Kind, body: &str) {
        let command = request::parse(kind, body).unwrap();
        engine.apply(0, &command).unwrap();
    }

    fn order(engine: &mut Engine, reference: u64, side: &str, price: &str, quantity: &str) {
        let body = format!(
            r#"{{"account":1,"reference":{reference},"instrument":"BTC-USD","side":"{side}","type":"limit","price":"{price}","quantity":"{quantity}","deadline_ms":9}}"#
        );
        play(engine, Kind::Order, &body);
    }

    #[test]
    fn liquidity_is_the_smaller_side_within_one_percent_of_the_middle() {
        let mut engine = Engine::default();
        for (reference, asset) in [(1, "USD"), (2, "BTC")] {
            let body = format!(
                r#"{{"account":1,"reference":{reference},"asset":"{asset}","amount":"1000000","deadline_ms":9}}"#
            );
            play(&mut engine, Kind::Deposit, &body);
        }
        assert_eq!(Picture::of(&engine).liquidity_usd, 0.0);
        order(&mut engine, 3, "buy", "99.50", "10");
        assert_eq!(
            Picture::of(&engine).liquidity_usd,
            0.0,
            "no middle with one side"
        );
        order(&mut engine, 4, "sell", "100.50", "5");
        assert_eq!(Picture::of(&engine).liquidity_usd, 502.5);
        // The middle is 100: 101 is at the edge of the band, 101.01 outside.
        order(&mut engine, 5, "sell", "101", "1");
        order(&mut engine, 6, "sell", "101.01", "100");
        assert_eq!(Picture::of(&engine).liquidity_usd, 603.5);
        order(&mut engine, 7, "sell", "101", "100");
        assert_eq!(Picture::of(&engine).liquidity_usd, 995.0);
    }

    #[tokio::test]
    async fn a_read_waits_for_the_batch_in_flight_and_is_dropped_when_it_is_unknown() {
        let published = Arc::new(Published::default());
        assert_eq!(
            published.barrier(1).await,
            Err(Deactivated),
            "nobody is active"
        );
        published
            .progress
            .send_modify(|progress| progress.epoch = Some(1));
        assert_eq!(published.barrier(1).await, Ok(()));
        assert_eq!(published.barrier(2).await, Err(Deactivated), "another life");

        let read = |published: &Arc<Published>| {
            let published = Arc::clone(published);
            tokio::spawn(async move { published.barrier(1).await })
        };
        published.sent();
        let waiting = read(&published);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "the batch is in flight");
        let engine = Engine::default();
        published.committed(Picture::of(&engine), std::iter::empty(), &engine);
        assert_eq!(waiting.await.unwrap(), Ok(()));

        published.sent();
        let waiting = read(&published);
        tokio::task::yield_now().await;
        published.deactivate(Inactive::CommitUnknown);
        assert_eq!(waiting.await.unwrap(), Err(Deactivated));
    }
}
