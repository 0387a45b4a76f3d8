//! Who pays what to whom: the postings that a command must have, as sums per account, bucket and asset.

use std::collections::BTreeMap;

use super::shelves::Match;
use crate::finding::{Class, Findings};
use crate::request::{Account, Asset, Order, OrderType, Side};
use crate::rows::PostingRow;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    Available,
    Held,
}

impl Bucket {
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "available" => Some(Self::Available),
            "held" => Some(Self::Held),
            _ => None,
        }
    }
}

pub type Place = (Account, Bucket, Asset);
/// The outside world, where deposits come from.
pub const OUTSIDE: Account = 0;

pub fn notional(price: i64, quantity: i64) -> i128 {
    i128::from(price) * i128::from(quantity)
}

/// What stands behind an order that rests.
pub fn hold(order: &Order, price: i64, left: i64) -> (Asset, i128) {
    match order.side {
        Side::Buy => (Asset::Usd, notional(price, left)),
        Side::Sell => (Asset::Btc, i128::from(left)),
    }
}

pub fn deposit(account: Account, asset: Asset, amount: i128) -> BTreeMap<Place, i128> {
    BTreeMap::from([
        ((account, Bucket::Available, asset), amount),
        ((OUTSIDE, Bucket::Available, asset), -amount),
    ])
}

/// Who pays what to whom for an order's trades, and what is held for its rest.
pub fn payments(
    account: Account,
    order: &Order,
    matches: &[Match],
    left: i64,
) -> BTreeMap<Place, i128> {
    let mut expected = BTreeMap::new();
    for Match {
        maker,
        price,
        quantity,
    } in matches
    {
        let (money, coins) = (notional(*price, *quantity), i128::from(*quantity));
        // A taker pays from what is available, a maker from what is held.
        let (buyer, seller) = match order.side {
            Side::Buy => ((account, Bucket::Available), (maker.0, Bucket::Held)),
            Side::Sell => ((maker.0, Bucket::Held), (account, Bucket::Available)),
        };
        add(&mut expected, (buyer.0, buyer.1, Asset::Usd), -money);
        add(
            &mut expected,
            (seller.0, Bucket::Available, Asset::Usd),
            money,
        );
        add(&mut expected, (seller.0, seller.1, Asset::Btc), -coins);
        add(
            &mut expected,
            (buyer.0, Bucket::Available, Asset::Btc),
            coins,
        );
    }
    if let (OrderType::Limit, Some(price)) = (order.order_type, order.price) {
        let (asset, held) = hold(order, price, left);
        add(&mut expected, (account, Bucket::Available, asset), -held);
        add(&mut expected, (account, Bucket::Held, asset), held);
    }
    expected
}

pub fn add(sums: &mut BTreeMap<Place, i128>, place: Place, amount: i128) {
    *sums.entry(place).or_default() += amount;
}

/// The net effect on each place is what counts, not into how many lines the books divide it.
pub fn compare_postings(
    sequence: i64,
    mut expected: BTreeMap<Place, i128>,
    postings: &[PostingRow],
    findings: &mut Findings,
) {
    for posting in postings {
        if let (Some(bucket), Some(asset)) = (
            Bucket::from_name(&posting.bucket),
            Asset::from_name(&posting.asset),
        ) {
            add(
                &mut expected,
                (posting.account, bucket, asset),
                -posting.amount,
            );
        }
    }
    if let Some(((account, bucket, asset), difference)) =
        expected.iter().find(|(_, difference)| **difference != 0)
    {
        findings.add(Class::Posting, || {
            let (bucket, asset) = (format!("{bucket:?}").to_lowercase(), asset.name());
            format!(
                "sequence {sequence}: account {account} {bucket} {asset} differs by {difference}"
            )
        });
    }
}
