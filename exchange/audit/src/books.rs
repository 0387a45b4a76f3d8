//! All checks, fed row by row in the order of the sequence; no IO.

use std::collections::BTreeMap;

use crate::chain::Chain;
use crate::epochs::{EpochRow, Epochs};
use crate::finding::{Class, Findings};
use crate::intents::{Classes, Intents};
use crate::request::Asset;
use crate::rows::{BalanceRow, CommandRow, OrderRow, PostingRow, TradeRow};
use crate::shadow::Market;
use crate::shadow::money::{Bucket, OUTSIDE};
use crate::witness::Witnesses;

/// How much of each was read.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub struct Volumes {
    pub epochs: u64,
    pub commands: u64,
    pub postings: u64,
    pub trades: u64,
    pub orders: u64,
    pub balances: u64,
}

#[derive(Debug)]
pub struct Judge<'a> {
    intents: Intents<'a>,
    epochs: Epochs,
    chain: Chain,
    market: Market,
    orders_found: usize,
    stored_balances: BTreeMap<(i64, Bucket, Asset), i128>,
    pub volumes: Volumes,
    pub findings: Findings,
}

impl<'a> Judge<'a> {
    #[must_use]
    pub fn new(witnesses: &'a Witnesses, epochs: Vec<EpochRow>) -> Self {
        let mut findings = Findings::default();
        let epochs = Epochs::new(epochs, &mut findings);
        let volumes = Volumes {
            epochs: epochs.len() as u64,
            ..Volumes::default()
        };
        Self {
            intents: Intents::new(witnesses),
            epochs,
            chain: Chain::new(),
            market: Market::default(),
            orders_found: 0,
            stored_balances: BTreeMap::new(),
            volumes,
            findings,
        }
    }

    /// One command with the postings and trades of its sequence.
    pub fn command(&mut self, row: &CommandRow, postings: &[PostingRow], trades: &[TradeRow]) {
        self.volumes.commands += 1;
        self.volumes.trades += trades.len() as u64;
        self.chain.check(row, &mut self.findings);
        self.epochs
            .check(row.sequence, row.epoch, &mut self.findings);
        self.intents.check(row, &mut self.findings);
        self.market.play(row, postings, trades, &mut self.findings);
        self.post(row.sequence, postings);
    }

    /// Postings of a sequence that no command has.
    pub fn orphan_postings(&mut self, postings: &[PostingRow]) {
        let Some(first) = postings.first() else {
            return;
        };
        let sequence = first.sequence;
        self.findings.add(Class::Invented, || {
            format!("sequence {sequence}: postings without a command")
        });
        self.post(sequence, postings);
    }

    /// A trade of a sequence that no command has.
    pub fn orphan_trade(&mut self, trade: &TradeRow) {
        self.volumes.trades += 1;
        self.findings.add(Class::Invented, || {
            format!("sequence {}: a trade without a command", trade.sequence)
        });
    }

    fn post(&mut self, sequence: i64, postings: &[PostingRow]) {
        let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
        let mut touched = Vec::with_capacity(postings.len());
        for posting in postings {
            self.volumes.postings += 1;
            *sums.entry(&posting.asset).or_default() += posting.amount;
            let (Some(bucket), Some(asset)) = (
                Bucket::from_name(&posting.bucket),
                Asset::from_name(&posting.asset),
            ) else {
                self.findings.add(Class::Unreadable, || {
                    format!(
                        "sequence {sequence} line {}: bucket or asset of a posting",
                        posting.line
                    )
                });
                continue;
            };
            let place = (posting.account, bucket, asset);
            *self.market.balances.entry(place).or_default() += posting.amount;
            touched.push(place);
        }
        for (asset, sum) in sums.into_iter().filter(|(_, sum)| *sum != 0) {
            self.findings.add(Class::Unbalanced, || {
                format!("sequence {sequence}: {asset} sums to {sum}")
            });
        }
        for place @ (account, bucket, asset) in touched {
            let amount = self.market.balances.get(&place).copied().unwrap_or(0);
            if account != OUTSIDE && amount < 0 {
                self.findings.add(Class::Overdrawn, || {
                    format!(
                        "sequence {sequence}: account {account} has {amount} {} {bucket:?}",
                        asset.name()
                    )
                });
            }
        }
    }

    pub fn order(&mut self, row: &OrderRow) {
        self.volumes.orders += 1;
        self.orders_found += usize::from(self.market.check_order(row, &mut self.findings));
    }

    pub fn balance(&mut self, row: &BalanceRow) {
        self.volumes.balances += 1;
        let (account, amount) = (row.account, row.amount);
        let (Some(bucket), Some(asset)) =
            (Bucket::from_name(&row.bucket), Asset::from_name(&row.asset))
        else {
            return self.findings.add(Class::Unreadable, || {
                format!("bucket or asset of a balance of account {account}")
            });
        };
        let place = (account, bucket, asset);
        self.stored_balances.insert(place, amount);
        let folded = self.market.balances.get(&place).copied().unwrap_or(0);
        if folded != amount {
            self.findings.add(Class::Balance, || {
                format!(
                    "account {account} {} {}: stored {amount}, postings say {folded}",
                    row.bucket, row.asset
                )
            });
        }
    }

    /// What can only be said when everything was read.
    pub fn finish(&mut self, answers_required: bool) -> Classes {
        let missing = self.market.entered().saturating_sub(self.orders_found);
        for _ in 0..missing {
            self.findings.add(Class::Order, || {
                format!("{missing} orders have no row in the orders table")
            });
        }
        for ((account, bucket, asset), folded) in &self.market.balances {
            if *folded != 0
                && !self
                    .stored_balances
                    .contains_key(&(*account, *bucket, *asset))
            {
                self.findings.add(Class::Balance, || {
                    format!(
                        "account {account} {bucket:?} {}: no row, postings say {folded}",
                        asset.name()
                    )
                });
            }
        }
        let mut sums: BTreeMap<Asset, i128> = BTreeMap::new();
        for ((_, _, asset), amount) in &self.stored_balances {
            *sums.entry(*asset).or_default() += amount;
        }
        for (asset, sum) in sums.into_iter().filter(|(_, sum)| *sum != 0) {
            self.findings.add(Class::Unbalanced, || {
                format!("all balances of {} sum to {sum}", asset.name())
            });
        }
        self.intents.finish(answers_required, &mut self.findings)
    }
}
