//! Identifiers and numbers of the exchange. Each is parsed once, at the edge, and is valid ever after.

use crate::limits::{PRICE_MAX_CENTS, QUANTITY_MAX};

/// Largest identifier that a signed 64-bit column holds.
const IDENTIFIER_MAX: u64 = i64::MAX as u64;

/// Whose money it is. Number 0 is the outside world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(u64);

impl Account {
    /// Where deposits come from; the only account that may be below zero.
    pub const OUTSIDE: Self = Self(0);

    /// A customer's account: 1 to 2^63 − 1.
    pub const fn customer(number: u64) -> Option<Self> {
        if number == 0 || number > IDENTIFIER_MAX {
            None
        } else {
            Some(Self(number))
        }
    }

    pub const fn number(self) -> u64 {
        self.0
    }
}

/// The client's own number of a command, strictly increasing per account: 1 to 2^63 − 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(u64);

impl Reference {
    pub const fn new(number: u64) -> Option<Self> {
        if number == 0 || number > IDENTIFIER_MAX {
            None
        } else {
            Some(Self(number))
        }
    }

    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A command's place in the log of its cell; the first is 1, there are no gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asset {
    /// Counted in 10^-10 dollars.
    Usd,
    /// Counted in 10^-8 bitcoin.
    Btc,
}

impl Asset {
    pub const ALL: [Self; 2] = [Self::Usd, Self::Btc];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Usd => "USD",
            Self::Btc => "BTC",
        }
    }

    /// Decimal digits behind the point.
    pub const fn scale(self) -> u32 {
        match self {
            Self::Usd => 10,
            Self::Btc => 8,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Instrument {
    BtcUsd,
}

impl Instrument {
    pub const ALL: [Self; 1] = [Self::BtcUsd];

    pub const fn name(self) -> &'static str {
        match self {
            Self::BtcUsd => "BTC-USD",
        }
    }

    /// What is bought and sold.
    pub const fn base(self) -> Asset {
        match self {
            Self::BtcUsd => Asset::Btc,
        }
    }

    /// What it is paid with.
    pub const fn quote(self) -> Asset {
        match self {
            Self::BtcUsd => Asset::Usd,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Buy,
    Sell,
}

impl Side {
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// Cents per bitcoin, positive and bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(i64);

impl Price {
    pub const SCALE: u32 = 2;
    pub const MAX: Self = Self(PRICE_MAX_CENTS);

    pub const fn from_cents(cents: i64) -> Option<Self> {
        if cents < 1 || cents > PRICE_MAX_CENTS {
            None
        } else {
            Some(Self(cents))
        }
    }

    pub const fn cents(self) -> i64 {
        self.0
    }

    /// Price × quantity in 10^-10 USD: exact, at most 2.1 × 10^26.
    pub const fn notional(self, quantity: Quantity) -> Amount {
        Amount(self.0 as i128 * quantity.0 as i128)
    }
}

/// Bitcoin in 10^-8, zero or more: what an order asks for, has filled, has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i64);

impl Quantity {
    pub const SCALE: u32 = 8;
    pub const ZERO: Self = Self(0);

    /// Zero is allowed here; a command's quantity is checked to be positive by [`Quantity::positive`].
    pub const fn from_units(units: i64) -> Option<Self> {
        if units < 0 || units > QUANTITY_MAX {
            None
        } else {
            Some(Self(units))
        }
    }

    pub const fn positive(units: i64) -> Option<Self> {
        if units == 0 {
            None
        } else {
            Self::from_units(units)
        }
    }

    pub const fn units(self) -> i64 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// What is left after taking `other`, which must not be more.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        assert!(other.0 <= self.0, "a fill larger than what is left");
        Self(self.0 - other.0)
    }

    /// As an amount of the base asset, which has the same scale.
    pub const fn amount(self) -> Amount {
        Amount(self.0 as i128)
    }
}

/// An amount of some asset in that asset's smallest unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i128);

impl Amount {
    pub const ZERO: Self = Self(0);

    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    pub const fn units(self) -> i128 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `None` on overflow of 128 bits.
    pub const fn plus(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `None` on overflow of 128 bits.
    pub const fn minus(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    #[must_use]
    pub const fn negated(self) -> Self {
        Self(-self.0)
    }
}
