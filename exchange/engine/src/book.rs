//! One instrument's resting orders, in price-time priority.
//!
//! Two shelves, one per side. A shelf is a sorted map of price levels; a level is a queue sorted by the
//! sequence at which its orders entered the log, which *is* time. The best bid is the highest, the best ask
//! the lowest. Both maps are ordered trees, so that walking them is the same on every machine and a snapshot
//! that lists the orders restores the queue exactly.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;

use crate::command::Terms;
use crate::outcome::{OrderState, Outcome};
use crate::units::{Account, Price, Quantity, Reference, Sequence, Side};

/// An order in the book; always a limit order with something left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resting {
    pub account: Account,
    pub reference: Reference,
    pub sequence: Sequence,
    pub side: Side,
    pub price: Price,
    pub quantity: Quantity,
    pub left: Quantity,
}

impl Resting {
    pub fn state(&self, status: Outcome) -> OrderState {
        OrderState {
            account: self.account,
            reference: self.reference,
            sequence: self.sequence,
            status,
            side: self.side,
            terms: Terms::Limit(self.price),
            quantity: self.quantity,
            filled: self.quantity.less(self.left),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Level {
    /// Sum of what is left, kept so that depth is read without walking the orders.
    total: i128,
    orders: BTreeMap<Sequence, Resting>,
}

/// What everybody may see of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelView {
    pub price: Price,
    /// In 10^-8 of the base asset; many orders may add up to more than one may ask for.
    pub quantity: i128,
    pub orders: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Book {
    bids: BTreeMap<Price, Level>,
    asks: BTreeMap<Price, Level>,
}

impl Book {
    fn shelf(&mut self, side: Side) -> &mut BTreeMap<Price, Level> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    /// The best price that `side` offers.
    pub fn best(&self, side: Side) -> Option<Price> {
        match side {
            Side::Buy => self.bids.keys().next_back().copied(),
            Side::Sell => self.asks.keys().next().copied(),
        }
    }

    /// The order that trades next on `side`.
    pub fn first(&self, side: Side) -> Option<Resting> {
        let level = match side {
            Side::Buy => self.bids.values().next_back(),
            Side::Sell => self.asks.values().next(),
        }?;
        level.orders.values().next().copied()
    }

    pub fn insert(&mut self, order: Resting) {
        assert!(
            !order.left.is_zero(),
            "an order with nothing left does not rest"
        );
        let level = self.shelf(order.side).entry(order.price).or_default();
        level.total += order.left.amount().units();
        let before = level.orders.insert(order.sequence, order);
        assert!(before.is_none(), "one sequence, one order");
    }

    /// Takes `quantity` from an order and returns it as it is afterwards; with nothing left it is out of the book.
    /// `None` if no such order rests here.
    pub fn take(
        &mut self,
        side: Side,
        price: Price,
        sequence: Sequence,
        quantity: Quantity,
    ) -> Option<Resting> {
        let Entry::Occupied(mut level) = self.shelf(side).entry(price) else {
            return None;
        };
        let order = level.get_mut().orders.get_mut(&sequence)?;
        order.left = order.left.less(quantity);
        let after = *order;
        level.get_mut().total -= quantity.amount().units();
        if after.left.is_zero() {
            level.get_mut().orders.remove(&sequence);
        }
        if level.get().orders.is_empty() {
            assert_eq!(level.get().total, 0, "an empty level has no quantity");
            level.remove();
        }
        Some(after)
    }

    pub fn find(&self, side: Side, price: Price, sequence: Sequence) -> Option<Resting> {
        let shelf = match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        };
        shelf.get(&price)?.orders.get(&sequence).copied()
    }

    /// Levels from the best outwards.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = LevelView> + '_ {
        let view = |(price, level): (&Price, &Level)| LevelView {
            price: *price,
            quantity: level.total,
            orders: level.orders.len(),
        };
        let (bids, asks) = match side {
            Side::Buy => (Some(self.bids.iter().rev().map(view)), None),
            Side::Sell => (None, Some(self.asks.iter().map(view))),
        };
        bids.into_iter().flatten().chain(asks.into_iter().flatten())
    }

    /// Every order in the order in which it would trade, bids first.
    pub fn orders(&self) -> impl Iterator<Item = &Resting> + '_ {
        let bids = self.bids.values().rev();
        bids.chain(self.asks.values())
            .flat_map(|level| level.orders.values())
    }
}
