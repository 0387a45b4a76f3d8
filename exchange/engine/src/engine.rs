//! The transition function: one command in, its whole meaning out.
//!
//! The way of an order: deadline → mode → price (a market order gets its collar here) → limits → hold → match against
//! the opposite shelf → rest or release what is left. Because the hold covers the worst price the order may pay,
//! no later step can fail for money, and a refusal always comes before the first change.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::book::{Book, Resting};
use crate::command::{Action, Command, Mode, Order, Terms};
use crate::ledger::{Insufficient, Ledger, Place};
use crate::limits::{
    ACCOUNTS_MAX, COLLAR_BASIS_POINTS, OPEN_ORDERS_MAX, OPEN_ORDERS_PER_ACCOUNT_MAX,
    PRICE_MAX_CENTS,
};
use crate::outcome::{Applied, OrderState, Outcome, Posting, Reason, Trade};
use crate::units::{
    Account, Amount, Asset, Instrument, Price, Quantity, Reference, Sequence, Side,
};

/// Why a command cannot stand in the log at all. The engine is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("the account's references must increase: the highest is {highest}")]
    ReferenceNotAbove { highest: u64 },
    #[error("recorded time went back: the last command was recorded at {last_ms}")]
    TimeWentBack { last_ms: u64 },
    #[error("the cell has no room for another account")]
    TooManyAccounts,
}

/// Where an open order stands in its book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub instrument: Instrument,
    pub side: Side,
    pub price: Price,
    pub sequence: Sequence,
}

/// What the engine remembers of a customer besides the money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Customer {
    pub highest_reference: u64,
    pub open_orders: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Engine {
    pub(crate) sequence: Sequence,
    pub(crate) recorded_ms: u64,
    pub(crate) ledger: Ledger,
    pub(crate) customers: BTreeMap<Account, Customer>,
    pub(crate) book: Book,
    pub(crate) open: BTreeMap<(Account, Reference), Location>,
    pub(crate) mode: Mode,
    /// The highest reference of account 0, which is no customer.
    pub(crate) house_reference: u64,
}

/// What one command has done so far.
#[derive(Default)]
struct Work {
    postings: Vec<Posting>,
    trades: Vec<Trade>,
    orders: Vec<OrderState>,
    filled: Quantity,
    cancelled: Quantity,
}

/// An order on its way through the opposite shelf.
struct Taker {
    account: Account,
    reference: Reference,
    order: Order,
    /// The worst price it may trade at: its own, or the collar.
    limit: Price,
    left: Quantity,
}

impl Engine {
    /// The sequence of the last command; zero at genesis.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The time at which the last command was recorded; the next may not be earlier.
    pub fn recorded_ms(&self) -> u64 {
        self.recorded_ms
    }

    pub fn book(&self, instrument: Instrument) -> &Book {
        match instrument {
            Instrument::BtcUsd => &self.book,
        }
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Orders in all books.
    pub fn open_orders(&self) -> usize {
        self.open.len()
    }

    /// Entries that a snapshot has to write: accounts and open orders.
    pub fn size(&self) -> usize {
        self.customers.len() + self.open.len()
    }

    /// Which commands are taken.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The highest reference that this account has used; zero if none.
    pub fn highest_reference(&self, account: Account) -> u64 {
        if account == Account::OUTSIDE {
            return self.house_reference;
        }
        self.customers
            .get(&account)
            .map_or(0, |customer| customer.highest_reference)
    }

    /// Plays one command, recorded at `recorded_ms` (Unix milliseconds).
    pub fn apply(&mut self, recorded_ms: u64, command: &Command) -> Result<Applied, ApplyError> {
        let house = command.account == Account::OUTSIDE;
        assert!(
            house == matches!(command.action, Action::Mode(_)),
            "account 0 changes the mode, and nobody else does"
        );
        if recorded_ms < self.recorded_ms {
            return Err(ApplyError::TimeWentBack {
                last_ms: self.recorded_ms,
            });
        }
        let known = self.customers.len();
        let highest = self.highest_reference(command.account);
        if command.reference.number() <= highest {
            return Err(ApplyError::ReferenceNotAbove { highest });
        }
        if highest == 0 && known >= ACCOUNTS_MAX && !house {
            return Err(ApplyError::TooManyAccounts);
        }
        let number = command.reference.number();
        match house {
            true => self.house_reference = number,
            false => {
                let customer = self.customers.entry(command.account).or_default();
                customer.highest_reference = number;
            }
        }
        self.sequence = self.sequence.next();
        self.recorded_ms = recorded_ms;

        let mut work = Work::default();
        let outcome = if recorded_ms > command.deadline_ms {
            Outcome::Expired
        } else if let Some(reason) = self.mode.bars(&command.action) {
            Outcome::Rejected(reason)
        } else {
            match &command.action {
                Action::Mode(mode) => {
                    self.mode = *mode;
                    Outcome::Accepted
                }
                Action::Deposit { asset, amount } => {
                    self.deposit(&mut work, command.account, *asset, *amount)
                }
                Action::Cancel { target } => self.cancel(&mut work, command.account, *target),
                Action::Order(order) => self.order(&mut work, command, *order),
            }
        };
        if let Action::Order(order) = &command.action {
            work.orders.push(OrderState {
                account: command.account,
                reference: command.reference,
                sequence: self.sequence,
                status: outcome,
                side: order.side,
                terms: order.terms,
                quantity: order.quantity,
                filled: work.filled,
            });
        }
        Ok(Applied {
            sequence: self.sequence,
            outcome,
            filled: work.filled,
            cancelled: work.cancelled,
            postings: work.postings,
            trades: work.trades,
            orders: work.orders,
        })
    }

    fn deposit(
        &mut self,
        work: &mut Work,
        account: Account,
        asset: Asset,
        amount: Amount,
    ) -> Outcome {
        let (from, to) = (
            Place::available(Account::OUTSIDE),
            Place::available(account),
        );
        match self
            .ledger
            .transfer(&mut work.postings, asset, amount, from, to)
        {
            Ok(()) => Outcome::Accepted,
            Err(Insufficient) => Outcome::Rejected(Reason::IssueLimit),
        }
    }

    fn cancel(&mut self, work: &mut Work, account: Account, target: Reference) -> Outcome {
        let Some(location) = self.open.get(&(account, target)).copied() else {
            return Outcome::Rejected(Reason::OrderNotOpen);
        };
        let found = self
            .book
            .find(location.side, location.price, location.sequence);
        let Some(order) = found else {
            unreachable!("the index of open orders points into the book");
        };
        let left = order.left;
        self.book
            .take(location.side, location.price, location.sequence, left);
        self.forget(account, target);
        let (asset, amount) = hold(location.instrument, location.side, location.price, left);
        self.must_transfer(
            work,
            asset,
            amount,
            Place::held(account),
            Place::available(account),
        );
        work.cancelled = left;
        // The order's own row keeps what it had filled before.
        work.orders.push(order.state(Outcome::Cancelled));
        Outcome::Cancelled
    }

    fn order(&mut self, work: &mut Work, command: &Command, order: Order) -> Outcome {
        let account = command.account;
        let limit = match order.terms {
            Terms::Limit(price) | Terms::ImmediateOrCancel(price) => price,
            Terms::Market => match self.book.best(order.side.opposite()) {
                Some(best) => collar(order.side, best),
                None => return Outcome::Rejected(Reason::NoLiquidity),
            },
        };
        let rests = matches!(order.terms, Terms::Limit(_));
        let own = self
            .customers
            .get(&account)
            .map_or(0, |customer| customer.open_orders);
        if rests && (own >= OPEN_ORDERS_PER_ACCOUNT_MAX || self.open.len() >= OPEN_ORDERS_MAX) {
            return Outcome::Rejected(Reason::TooManyOpenOrders);
        }
        let (asset, amount) = hold(order.instrument, order.side, limit, order.quantity);
        let (available, held) = (Place::available(account), Place::held(account));
        if self
            .ledger
            .transfer(&mut work.postings, asset, amount, available, held)
            .is_err()
        {
            return Outcome::Rejected(Reason::InsufficientFunds);
        }
        let mut taker = Taker {
            account,
            reference: command.reference,
            order,
            limit,
            left: order.quantity,
        };
        while !taker.left.is_zero() && self.trade(work, &mut taker) {}
        work.filled = order.quantity.less(taker.left);
        if taker.left.is_zero() {
            return Outcome::Filled;
        }
        if rests {
            self.rest(&taker, limit);
            return if work.filled.is_zero() {
                Outcome::Accepted
            } else {
                Outcome::PartlyFilled
            };
        }
        let (asset, amount) = hold(order.instrument, order.side, limit, taker.left);
        self.must_transfer(work, asset, amount, held, available);
        work.cancelled = taker.left;
        Outcome::Cancelled
    }

    /// One trade with the first order of the opposite shelf; false when none is within the limit.
    fn trade(&mut self, work: &mut Work, taker: &mut Taker) -> bool {
        let Order {
            instrument, side, ..
        } = taker.order;
        let Some(maker) = self.book.first(side.opposite()) else {
            return false;
        };
        let crosses = match side {
            Side::Buy => maker.price <= taker.limit,
            Side::Sell => maker.price >= taker.limit,
        };
        if !crosses {
            return false;
        }
        let quantity = maker.left.min(taker.left);
        let taken = self
            .book
            .take(maker.side, maker.price, maker.sequence, quantity);
        let Some(maker) = taken else {
            unreachable!("the first order of a shelf is in the book");
        };
        taker.left = taker.left.less(quantity);
        let (own, other) = (
            (taker.account, taker.reference),
            (maker.account, maker.reference),
        );
        let (buyer, seller, buyer_limit) = match side {
            Side::Buy => (own, other, taker.limit),
            Side::Sell => (other, own, maker.price),
        };
        self.settle(
            work,
            Trade {
                instrument,
                price: maker.price,
                quantity,
                buyer,
                seller,
            },
            buyer_limit,
        );
        if maker.left.is_zero() {
            self.forget(maker.account, maker.reference);
            work.orders.push(maker.state(Outcome::Filled));
        } else {
            work.orders.push(maker.state(Outcome::PartlyFilled));
        }
        true
    }

    /// Pays for a trade out of both holds; a buyer who held at a higher price gets the difference back.
    fn settle(&mut self, work: &mut Work, trade: Trade, buyer_limit: Price) {
        let ((buyer, _), (seller, _)) = (trade.buyer, trade.seller);
        let (quote, base) = (trade.instrument.quote(), trade.instrument.base());
        let paid = trade.price.notional(trade.quantity);
        self.must_transfer(
            work,
            quote,
            paid,
            Place::held(buyer),
            Place::available(seller),
        );
        if let Some(better) = Price::from_cents(buyer_limit.cents() - trade.price.cents()) {
            let back = better.notional(trade.quantity);
            self.must_transfer(
                work,
                quote,
                back,
                Place::held(buyer),
                Place::available(buyer),
            );
        }
        self.must_transfer(
            work,
            base,
            trade.quantity.amount(),
            Place::held(seller),
            Place::available(buyer),
        );
        work.trades.push(trade);
    }

    fn rest(&mut self, taker: &Taker, price: Price) {
        let Order {
            instrument,
            side,
            quantity,
            ..
        } = taker.order;
        let (account, reference, sequence) = (taker.account, taker.reference, self.sequence);
        self.book.insert(Resting {
            account,
            reference,
            sequence,
            side,
            price,
            quantity,
            left: taker.left,
        });
        self.open.insert(
            (account, reference),
            Location {
                instrument,
                side,
                price,
                sequence,
            },
        );
        self.customers.entry(account).or_default().open_orders += 1;
    }

    fn forget(&mut self, account: Account, reference: Reference) {
        let known = self.open.remove(&(account, reference));
        assert!(known.is_some(), "an order leaves the index once");
        let customer = self.customers.entry(account).or_default();
        assert!(
            customer.open_orders > 0,
            "an account with an open order counts it"
        );
        customer.open_orders -= 1;
    }

    /// A transfer out of a hold, which is there by construction.
    fn must_transfer(
        &mut self,
        work: &mut Work,
        asset: Asset,
        amount: Amount,
        from: Place,
        to: Place,
    ) {
        let moved = self
            .ledger
            .transfer(&mut work.postings, asset, amount, from, to);
        assert!(moved.is_ok(), "a hold covers what its order may cost");
    }
}

/// What an order of this size at this price must set aside.
pub(crate) fn hold(
    instrument: Instrument,
    side: Side,
    price: Price,
    quantity: Quantity,
) -> (Asset, Amount) {
    match side {
        Side::Buy => (instrument.quote(), price.notional(quantity)),
        Side::Sell => (instrument.base(), quantity.amount()),
    }
}

/// The worst price of a market order: [`COLLAR_BASIS_POINTS`] beyond the best, rounded towards the best.
fn collar(side: Side, best: Price) -> Price {
    let cents = best.cents();
    let room = (i128::from(cents) * i128::from(COLLAR_BASIS_POINTS) / 10_000) as i64;
    let limit = match side {
        Side::Buy => cents.saturating_add(room).min(PRICE_MAX_CENTS),
        Side::Sell => cents - room,
    };
    // With 5 % of a positive price the result stays between one cent and the maximum.
    Price::from_cents(limit).unwrap_or(best)
}
