//! The whole state as bytes, and back.
//!
//! Format, version 1, integers big-endian: magic `MSX1`; sequence u64; recorded_ms u64; count u32 of accounts,
//! each number u64, highest reference u64, four balances i128 (available USD, available BTC, held USD, held BTC),
//! ascending by number, account 0 first if it has balances; count u32 of orders in trading order, bids first, each
//! account u64, reference u64, sequence u64, side u8 (0 buy), price i64, quantity i64, left i64. Equal states have
//! equal bytes. Version 2, magic `MSX2`, has after recorded_ms the mode u8 (0 open, 1 reduceOnly, 2 cancelOnly) and account
//! 0's highest reference u64; it is written once account 0 has sent a command, so that an engine whose mode was never
//! changed is read by programs that know version 1 alone. Reading checks everything that an engine relies on, so a damaged snapshot is refused and not played on.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::book::Resting;
use crate::command::Mode;
use crate::engine::{Customer, Engine, Location, hold};
use crate::ledger::Balances;
use crate::limits::{ACCOUNTS_MAX, OPEN_ORDERS_MAX};
use crate::outcome::Bucket;
use crate::units::{
    Account, Amount, Asset, Instrument, Price, Quantity, Reference, Sequence, Side,
};

const MAGIC: &[u8; 4] = b"MSX1";
const MAGIC_WITH_MODE: &[u8; 4] = b"MSX2";

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("not a snapshot of version 1 or 2")]
    Magic,
    #[error("the snapshot ends early")]
    Short,
    #[error("bytes follow the end of the snapshot")]
    Long,
    #[error("a value is out of its range: {0}")]
    Range(&'static str),
    #[error("entries are not in their order: {0}")]
    Unordered(&'static str),
    #[error("holds and open orders disagree")]
    Holds,
    #[error("the balances of an asset do not sum to zero")]
    Unbalanced,
    #[error("the book is crossed")]
    Crossed,
}

/// The order in which balances are written.
const SLOTS: [(Bucket, Asset); 4] = [
    (Bucket::Available, Asset::Usd),
    (Bucket::Available, Asset::Btc),
    (Bucket::Held, Asset::Usd),
    (Bucket::Held, Asset::Btc),
];

pub fn hash(state: &[u8]) -> [u8; 32] {
    Sha256::digest(state).into()
}

impl Engine {
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.customers.len() * 80 + self.open.len() * 49);
        let told = self.house_reference > 0;
        out.extend_from_slice(if told { MAGIC_WITH_MODE } else { MAGIC });
        out.extend_from_slice(&self.sequence.0.to_be_bytes());
        out.extend_from_slice(&self.recorded_ms.to_be_bytes());
        if told {
            out.push(self.mode as u8);
            out.extend_from_slice(&self.house_reference.to_be_bytes());
        }
        let outside = self.ledger.balances(Account::OUTSIDE);
        let with_outside = u32::from(!outside.is_zero());
        out.extend_from_slice(&(self.customers.len() as u32 + with_outside).to_be_bytes());
        if with_outside == 1 {
            write_account(&mut out, Account::OUTSIDE, 0, &outside);
        }
        for (account, customer) in &self.customers {
            write_account(
                &mut out,
                *account,
                customer.highest_reference,
                &self.ledger.balances(*account),
            );
        }
        out.extend_from_slice(&(self.open.len() as u32).to_be_bytes());
        for order in self.book.orders() {
            write_order(&mut out, order);
        }
        out
    }

    /// SHA-256 of the snapshot: equal states, equal hashes.
    pub fn state_hash(&self) -> [u8; 32] {
        hash(&self.snapshot())
    }

    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut reader = Reader { rest: bytes };
        let magic = reader.take::<4>()?;
        if magic != *MAGIC && magic != *MAGIC_WITH_MODE {
            return Err(SnapshotError::Magic);
        }
        let mut engine = Self {
            sequence: Sequence(reader.u64()?),
            recorded_ms: reader.u64()?,
            ..Self::default()
        };
        if magic == *MAGIC_WITH_MODE {
            (engine.mode, engine.house_reference) = read_mode(&mut reader)?;
        }
        let accounts = reader.u32()? as usize;
        if accounts > ACCOUNTS_MAX + 1 {
            return Err(SnapshotError::Range("accounts"));
        }
        let mut last = None;
        for _ in 0..accounts {
            let account = read_account(&mut reader, &mut engine)?;
            if last.is_some_and(|last| account <= last) {
                return Err(SnapshotError::Unordered("accounts"));
            }
            last = Some(account);
        }
        let orders = reader.u32()? as usize;
        if orders > OPEN_ORDERS_MAX {
            return Err(SnapshotError::Range("orders"));
        }
        let mut before: Option<Resting> = None;
        for _ in 0..orders {
            let order = read_order(&mut reader)?;
            if before.is_some_and(|before| !in_trading_order(&before, &order)) {
                return Err(SnapshotError::Unordered("orders"));
            }
            before = Some(order);
            engine.restore_order(order)?;
        }
        if !reader.rest.is_empty() {
            return Err(SnapshotError::Long);
        }
        engine.check()?;
        Ok(engine)
    }

    fn restore_order(&mut self, order: Resting) -> Result<(), SnapshotError> {
        let customer = self
            .customers
            .get_mut(&order.account)
            .ok_or(SnapshotError::Range("order's account"))?;
        if order.sequence > self.sequence || order.reference.number() > customer.highest_reference {
            return Err(SnapshotError::Range("order's sequence or reference"));
        }
        customer.open_orders += 1;
        let instrument = Instrument::BtcUsd;
        let Resting {
            side,
            price,
            sequence,
            ..
        } = order;
        let location = Location {
            instrument,
            side,
            price,
            sequence,
        };
        if self
            .open
            .insert((order.account, order.reference), location)
            .is_some()
        {
            return Err(SnapshotError::Unordered("orders"));
        }
        self.book.insert(order);
        Ok(())
    }

    /// What must hold of every state: sums of zero, holds equal to what open orders need, no crossed book.
    pub fn check(&self) -> Result<(), SnapshotError> {
        let mut sums = [0i128; 2];
        let mut held = alloc::collections::BTreeMap::<(Account, Asset), i128>::new();
        for order in self.book.orders() {
            let (asset, amount) = hold(Instrument::BtcUsd, order.side, order.price, order.left);
            *held.entry((order.account, asset)).or_default() += amount.units();
        }
        for (account, balances) in self.ledger.accounts() {
            for (bucket, asset) in SLOTS {
                let amount = balances.get(bucket, asset).units();
                let sum = &mut sums[asset as usize];
                *sum = sum.checked_add(amount).ok_or(SnapshotError::Unbalanced)?;
                let may_owe = account == Account::OUTSIDE && bucket == Bucket::Available;
                if amount < 0 && !may_owe {
                    return Err(SnapshotError::Range("balance"));
                }
                if bucket == Bucket::Held && held.remove(&(account, asset)).unwrap_or(0) != amount {
                    return Err(SnapshotError::Holds);
                }
            }
        }
        if !held.is_empty() {
            return Err(SnapshotError::Holds);
        }
        if sums != [0, 0] {
            return Err(SnapshotError::Unbalanced);
        }
        match (self.book.best(Side::Buy), self.book.best(Side::Sell)) {
            (Some(bid), Some(ask)) if bid >= ask => Err(SnapshotError::Crossed),
            _ => Ok(()),
        }
    }
}

fn read_mode(reader: &mut Reader<'_>) -> Result<(Mode, u64), SnapshotError> {
    let [number] = reader.take::<1>()?;
    let mode = Mode::ALL.into_iter().find(|mode| *mode as u8 == number);
    let mode = mode.ok_or(SnapshotError::Range("mode"))?;
    let reference = reader.u64()?;
    match Reference::new(reference) {
        Some(_) => Ok((mode, reference)),
        None => Err(SnapshotError::Range("reference of account 0")),
    }
}

fn write_account(out: &mut Vec<u8>, account: Account, highest_reference: u64, balances: &Balances) {
    out.extend_from_slice(&account.number().to_be_bytes());
    out.extend_from_slice(&highest_reference.to_be_bytes());
    for (bucket, asset) in SLOTS {
        out.extend_from_slice(&balances.get(bucket, asset).units().to_be_bytes());
    }
}

fn read_account(reader: &mut Reader<'_>, engine: &mut Engine) -> Result<Account, SnapshotError> {
    let number = reader.u64()?;
    let highest_reference = reader.u64()?;
    let account = match (number, Account::customer(number)) {
        (0, _) => Account::OUTSIDE,
        (_, Some(account)) => account,
        (_, None) => return Err(SnapshotError::Range("account")),
    };
    let outside = account == Account::OUTSIDE;
    if outside != (highest_reference == 0) || highest_reference > i64::MAX as u64 {
        return Err(SnapshotError::Range("highest reference"));
    }
    let mut balances = Balances::default();
    for (bucket, asset) in SLOTS {
        balances = balances.with(
            bucket,
            asset,
            Amount::from_units(i128::from_be_bytes(reader.take()?)),
        );
    }
    engine.ledger.restore(account, balances);
    if !outside {
        engine.customers.insert(
            account,
            Customer {
                highest_reference,
                open_orders: 0,
            },
        );
    }
    Ok(account)
}

fn write_order(out: &mut Vec<u8>, order: &Resting) {
    out.extend_from_slice(&order.account.number().to_be_bytes());
    out.extend_from_slice(&order.reference.number().to_be_bytes());
    out.extend_from_slice(&order.sequence.0.to_be_bytes());
    out.push(match order.side {
        Side::Buy => 0,
        Side::Sell => 1,
    });
    out.extend_from_slice(&order.price.cents().to_be_bytes());
    out.extend_from_slice(&order.quantity.units().to_be_bytes());
    out.extend_from_slice(&order.left.units().to_be_bytes());
}

fn read_order(reader: &mut Reader<'_>) -> Result<Resting, SnapshotError> {
    let account = Account::customer(reader.u64()?).ok_or(SnapshotError::Range("account"))?;
    let reference = Reference::new(reader.u64()?).ok_or(SnapshotError::Range("reference"))?;
    let sequence = Sequence(reader.u64()?);
    let side = match reader.take::<1>()? {
        [0] => Side::Buy,
        [1] => Side::Sell,
        _ => return Err(SnapshotError::Range("side")),
    };
    let price = Price::from_cents(reader.i64()?).ok_or(SnapshotError::Range("price"))?;
    let quantity = Quantity::positive(reader.i64()?).ok_or(SnapshotError::Range("quantity"))?;
    let left = Quantity::positive(reader.i64()?).ok_or(SnapshotError::Range("left"))?;
    if left > quantity {
        return Err(SnapshotError::Range("left"));
    }
    Ok(Resting {
        account,
        reference,
        sequence,
        side,
        price,
        quantity,
        left,
    })
}

/// Bids from the highest, then asks from the lowest; within a price by sequence.
fn in_trading_order(before: &Resting, after: &Resting) -> bool {
    match (before.side, after.side) {
        (Side::Buy, Side::Sell) => true,
        (Side::Sell, Side::Buy) => false,
        (Side::Buy, Side::Buy) => (after.price, before.sequence) < (before.price, after.sequence),
        (Side::Sell, Side::Sell) => (before.price, before.sequence) < (after.price, after.sequence),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(SnapshotError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, SnapshotError> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, SnapshotError> {
        self.take().map(u64::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, SnapshotError> {
        self.take().map(i64::from_be_bytes)
    }
}
