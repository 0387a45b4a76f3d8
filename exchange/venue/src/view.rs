//! What the outside may see: the state of the last cleanly committed batch, and nothing newer.
//!
//! The writer's engine runs one batch ahead of what is durable. So the HTTP side never looks at the engine; after each
//! clean commit the writer publishes a small picture (levels, liquidity, sequence) and the balances that changed.
//! What stands only in tables is read from the tables, where rows of a batch whose commit is still unsettled could show:
//! such an answer waits for the [`Barrier`] before it leaves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exchange_engine::book::LevelView;
use exchange_engine::command::Mode;
use exchange_engine::engine::Engine;
use exchange_engine::ledger::Balances;
use exchange_engine::units::{Account, Instrument, Side};
use tokio::sync::watch;

use crate::clock;
use crate::inactive::Inactive;
use crate::reader::Reader;

/// Levels per side that a published picture holds.
pub const DEPTH_MAX: usize = 200;
/// Liquidity counts what rests within this of the middle: 1 %.
pub const LIQUIDITY_BAND_BASIS_POINTS: i128 = 100;
/// A commit that takes longer makes the instance unready: a quorum that lost a member has another one by then.
const COMMIT_OVERDUE: Duration = Duration::from_secs(3);

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

/// The instance is active: under which epoch, and by whom tables are read.
#[derive(Clone, Debug)]
pub struct Active {
    pub epoch: u64,
    pub term: u64,
    pub picture: Arc<Picture>,
    pub reader: Arc<Reader>,
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
    commits: Commits,
}

/// How long commits take.
#[derive(Debug, Default)]
struct Commits {
    /// Boot-clock nanoseconds at which the batch in flight was sent; zero while none is.
    sent_ns: AtomicU64,
    /// The last one took too long.
    late: AtomicBool,
}

impl Commits {
    fn begin(&self, now_ns: u64) {
        self.sent_ns.store(now_ns, Ordering::Relaxed);
    }

    fn end(&self, now_ns: u64) {
        let late = self.age(now_ns) > COMMIT_OVERDUE;
        self.late.store(late, Ordering::Relaxed);
        self.sent_ns.store(0, Ordering::Relaxed);
    }

    /// Another life of the writer begins or ends.
    fn forget(&self) {
        self.late.store(false, Ordering::Relaxed);
        self.sent_ns.store(0, Ordering::Relaxed);
    }

    fn age(&self, now_ns: u64) -> Duration {
        match self.sent_ns.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            sent_ns => Duration::from_nanos(now_ns.saturating_sub(sent_ns)),
        }
    }

    /// After a commit that took too long the next one is not trusted until it is back, also while it is young: batch
    /// after batch that takes four seconds would be ready for three of them. With nothing to do there is another try.
    fn is_overdue(&self, now_ns: u64, waiting: usize) -> bool {
        let is_busy = self.sent_ns.load(Ordering::Relaxed) != 0 || waiting > 0;
        self.age(now_ns) > COMMIT_OVERDUE || (is_busy && self.late.load(Ordering::Relaxed))
    }
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
            commits: Commits::default(),
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
        self.commits.forget();
        self.set(Phase::Active(active));
    }

    pub fn deactivate(&self, reason: Inactive) {
        self.set(Phase::Standby(reason));
        self.commits.forget();
        self.progress
            .send_if_modified(|progress| progress.epoch.take().is_some());
        if let Ok(mut balances) = self.balances.lock() {
            balances.clear();
        }
    }

    /// A batch is about to be sent.
    pub fn sent(&self) {
        self.commits.begin(clock::boot_ns());
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
        self.commits.end(clock::boot_ns());
        self.progress
            .send_modify(|progress| progress.clean = progress.sent);
    }

    /// How long the commit that is under way has been.
    pub fn commit_age(&self) -> Duration {
        self.commits.age(clock::boot_ns())
    }

    /// Would a command that comes now wait behind commits that take too long? `waiting` are before it.
    pub fn is_commit_overdue(&self, waiting: usize) -> bool {
        self.commits.is_overdue(clock::boot_ns(), waiting)
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

    #[test]
    fn commits_that_take_a_little_too_long_do_not_make_it_ready_in_between() {
        const SECOND: u64 = 1_000_000_000;
        let commits = Commits::default();
        commits.begin(10 * SECOND);
        assert!(!commits.is_overdue(13 * SECOND, 5), "it may take so long");
        assert!(commits.is_overdue(13 * SECOND + 1, 0));
        commits.end(14 * SECOND);
        assert!(commits.is_overdue(14 * SECOND, 5), "the next is taken up");
        commits.begin(14 * SECOND);
        assert!(commits.is_overdue(15 * SECOND, 0), "it may be as slow");
        commits.end(18 * SECOND);
        assert!(!commits.is_overdue(18 * SECOND, 0), "nothing to do");
        commits.begin(20 * SECOND);
        assert!(commits.is_overdue(20 * SECOND, 0));
        commits.end(21 * SECOND);
        commits.begin(21 * SECOND);
        assert!(!commits.is_overdue(22 * SECOND, 9), "fast again");
        commits.end(30 * SECOND);
        commits.forget();
        assert!(!commits.is_overdue(30 * SECOND, 9), "another life");
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
