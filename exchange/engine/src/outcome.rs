//! What a command meant: the answer to its client and the rows that record it.

use alloc::vec::Vec;

use crate::command::Terms;
use crate::units::{
    Account, Amount, Asset, Instrument, Price, Quantity, Reference, Sequence, Side,
};

/// Everything that one command did. The postings sum to zero per asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub sequence: Sequence,
    pub outcome: Outcome,
    /// Of an order: what traded at entry.
    pub filled: Quantity,
    /// What was taken out of the market: an order's remainder, or what a cancel found still resting.
    pub cancelled: Quantity,
    pub postings: Vec<Posting>,
    pub trades: Vec<Trade>,
    pub orders: Vec<OrderState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// A deposit stands in the ledger; an order rests without a fill; a mode is in force.
    Accepted,
    /// An order traded in part and the rest is in the book.
    PartlyFilled,
    Filled,
    /// A cancel did its work; or the rest of an immediate order was cancelled.
    Cancelled,
    Rejected(Reason),
    /// Recorded after its deadline; nothing happened.
    Expired,
}

impl Outcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::PartlyFilled => "partly_filled",
            Self::Filled => "filled",
            Self::Cancelled => "cancelled",
            Self::Rejected(_) => "rejected",
            Self::Expired => "expired",
        }
    }
}

/// Why the business of the exchange refused a command that was well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    InsufficientFunds,
    /// A market order met an empty book.
    NoLiquidity,
    /// The target of a cancel is not in the book: never was, filled, or cancelled before.
    OrderNotOpen,
    TooManyOpenOrders,
    /// The cell would hold more of the asset than it can count.
    IssueLimit,
    /// The exchange takes orders that reduce a position, and this one would not.
    ReduceOnly,
    /// The exchange takes cancels, and nothing else.
    CancelOnly,
}

impl Reason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::InsufficientFunds => "insufficient_funds",
            Self::NoLiquidity => "no_liquidity",
            Self::OrderNotOpen => "order_not_open",
            Self::TooManyOpenOrders => "too_many_open_orders",
            Self::IssueLimit => "issue_limit",
            Self::ReduceOnly => "reduce_only",
            Self::CancelOnly => "cancel_only",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// Free to use.
    Available,
    /// Stands behind open orders.
    Held,
}

impl Bucket {
    pub const ALL: [Self; 2] = [Self::Available, Self::Held];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Held => "held",
        }
    }
}

/// One line of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    pub account: Account,
    pub bucket: Bucket,
    pub asset: Asset,
    pub amount: Amount,
}

/// A trade happens at the price of the order that rested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    pub instrument: Instrument,
    pub price: Price,
    pub quantity: Quantity,
    pub buyer: (Account, Reference),
    pub seller: (Account, Reference),
}

/// An order as it stands after a command that touched it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderState {
    pub account: Account,
    pub reference: Reference,
    /// Where the order itself stands in the log, not the command that touched it.
    pub sequence: Sequence,
    pub status: Outcome,
    pub side: Side,
    pub terms: Terms,
    pub quantity: Quantity,
    pub filled: Quantity,
}
