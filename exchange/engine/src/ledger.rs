//! Who has what: double-entry balances in two buckets per account and asset.
//!
//! There is one verb, [`Ledger::transfer`]: the same amount leaves one bucket and enters another. A fill is
//! several transfers, one asset each; never one posting across assets.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::limits::ISSUED_MAX;
use crate::outcome::{Bucket, Posting};
use crate::units::{Account, Amount, Asset};

/// The four balances of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balances {
    amounts: [[Amount; 2]; 2],
}

impl Balances {
    pub const fn get(&self, bucket: Bucket, asset: Asset) -> Amount {
        self.amounts[bucket as usize][asset as usize]
    }

    fn slot(&mut self, bucket: Bucket, asset: Asset) -> &mut Amount {
        &mut self.amounts[bucket as usize][asset as usize]
    }

    /// For a snapshot: balances exactly as they were written.
    pub fn with(mut self, bucket: Bucket, asset: Asset, amount: Amount) -> Self {
        *self.slot(bucket, asset) = amount;
        self
    }

    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// A bucket of an account: one end of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub account: Account,
    pub bucket: Bucket,
}

impl Place {
    pub const fn available(account: Account) -> Self {
        Self {
            account,
            bucket: Bucket::Available,
        }
    }

    pub const fn held(account: Account) -> Self {
        Self {
            account,
            bucket: Bucket::Held,
        }
    }

    const fn posting(self, asset: Asset, amount: Amount) -> Posting {
        Posting {
            account: self.account,
            bucket: self.bucket,
            asset,
            amount,
        }
    }
}

/// The source has less than the transfer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insufficient;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    accounts: BTreeMap<Account, Balances>,
}

impl Ledger {
    pub fn balances(&self, account: Account) -> Balances {
        self.accounts.get(&account).copied().unwrap_or_default()
    }

    pub fn accounts(&self) -> impl Iterator<Item = (Account, &Balances)> + '_ {
        self.accounts
            .iter()
            .map(|(account, balances)| (*account, balances))
    }

    /// Moves a positive amount and writes both lines to `postings`; on refusal nothing has changed.
    pub fn transfer(
        &mut self,
        postings: &mut Vec<Posting>,
        asset: Asset,
        amount: Amount,
        from: Place,
        to: Place,
    ) -> Result<(), Insufficient> {
        assert!(amount > Amount::ZERO, "a transfer moves something");
        assert!(from != to, "a transfer goes somewhere");
        let source = self.balances(from.account).get(from.bucket, asset);
        let left = source.minus(amount).ok_or(Insufficient)?;
        let floor = if from.account == Account::OUTSIDE && from.bucket == Bucket::Available {
            Amount::from_units(-ISSUED_MAX)
        } else {
            Amount::ZERO
        };
        if left < floor {
            return Err(Insufficient);
        }
        *self.slot(from, asset) = left;
        let target = self.slot(to, asset);
        // All that customers have is what the outside owes, which is bounded far below 128 bits.
        *target = target.plus(amount).ok_or(Insufficient)?;
        postings.push(from.posting(asset, amount.negated()));
        postings.push(to.posting(asset, amount));
        Ok(())
    }

    fn slot(&mut self, place: Place, asset: Asset) -> &mut Amount {
        self.accounts
            .entry(place.account)
            .or_default()
            .slot(place.bucket, asset)
    }

    /// For a snapshot: the account as it was written.
    pub fn restore(&mut self, account: Account, balances: Balances) {
        if !balances.is_zero() {
            self.accounts.insert(account, balances);
        }
    }
}
