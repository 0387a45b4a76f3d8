//! Rows of the books, as the tables of a cell hold them.

use crate::request::{Account, Key};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRow {
    pub sequence: i64,
    pub epoch: i64,
    pub recorded_ms: i64,
    pub account: Account,
    pub reference: i64,
    pub kind: String,
    pub request: String,
    pub outcome: String,
    pub hash: Vec<u8>,
}

impl CommandRow {
    #[must_use]
    pub fn key(&self) -> Key {
        (self.account, self.reference)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostingRow {
    pub sequence: i64,
    pub line: i32,
    pub account: Account,
    pub bucket: String,
    pub asset: String,
    pub amount: i128,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeRow {
    pub sequence: i64,
    pub line: i32,
    pub instrument: String,
    pub price: i64,
    pub quantity: i64,
    pub buy: Key,
    pub sell: Key,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    pub key: Key,
    pub sequence: i64,
    pub status: String,
    pub side: String,
    pub order_type: String,
    pub price: Option<i64>,
    pub quantity: i64,
    pub filled: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceRow {
    pub account: Account,
    pub bucket: String,
    pub asset: String,
    pub amount: i128,
}
