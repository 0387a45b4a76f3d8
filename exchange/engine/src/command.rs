//! What a client can ask for.

use crate::units::{Account, Amount, Asset, Instrument, Price, Quantity, Reference, Side};

/// One intent of one client. Equal commands are equal in every field: that is what "the same content" means
/// when a client sends a reference again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub account: Account,
    pub reference: Reference,
    /// Unix milliseconds. Recorded later than this, the command has no effect but its outcome *expired*.
    pub deadline_ms: u64,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Order(Order),
    Cancel { target: Reference },
    Deposit { asset: Asset, amount: Amount },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub instrument: Instrument,
    pub side: Side,
    pub terms: Terms,
    /// Positive.
    pub quantity: Quantity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// Trades at this price or better; what is left rests in the book.
    Limit(Price),
    /// Trades at this price or better; what is left is cancelled.
    ImmediateOrCancel(Price),
    /// An immediate-or-cancel order whose price is the collar around the best opposite price.
    Market,
}

impl Terms {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limit(_) => "limit",
            Self::ImmediateOrCancel(_) => "ioc",
            Self::Market => "market",
        }
    }

    /// The price that the client named.
    pub const fn price(self) -> Option<Price> {
        match self {
            Self::Limit(price) | Self::ImmediateOrCancel(price) => Some(price),
            Self::Market => None,
        }
    }
}
