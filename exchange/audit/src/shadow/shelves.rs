//! What rests, best first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::request::{Key, Side};

/// Resting orders of an instrument, best first; the sequence is the time.
#[derive(Debug, Default)]
pub struct Shelves {
    pub bids: BTreeMap<(Reverse<i64>, i64), Key>,
    pub asks: BTreeMap<(i64, i64), Key>,
}

impl Shelves {
    pub fn put(&mut self, side: Side, price: i64, sequence: i64, key: Key) {
        match side {
            Side::Buy => self.bids.insert((Reverse(price), sequence), key),
            Side::Sell => self.asks.insert((price, sequence), key),
        };
    }

    pub fn take(&mut self, side: Side, price: i64, sequence: i64) {
        match side {
            Side::Buy => self.bids.remove(&(Reverse(price), sequence)),
            Side::Sell => self.asks.remove(&(price, sequence)),
        };
    }

    /// Orders that an order of `side` would meet, best first, with their price.
    pub fn opposite(&self, side: Side) -> Box<dyn Iterator<Item = (i64, Key)> + '_> {
        match side {
            Side::Buy => Box::new(self.asks.iter().map(|((price, _), key)| (*price, *key))),
            Side::Sell => Box::new(self.bids.iter().map(|((price, _), key)| (price.0, *key))),
        }
    }
}

/// A trade from the point of view of the command that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    pub maker: Key,
    pub price: i64,
    pub quantity: i64,
}
