//! What a client can ask for.

use crate::outcome::Reason;
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
    Cancel {
        target: Reference,
    },
    Deposit {
        asset: Asset,
        amount: Amount,
    },
    /// The exchange's own: from account 0, and from nobody else.
    Mode(Mode),
}

/// Which commands the exchange takes. Whatever rests in the book stays there and can be traded with: a mode is asked when a
/// command enters, and takes nothing out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    #[default]
    Open,
    /// Of orders only those that can but reduce their account's position. This ledger knows no debts, so a position is
    /// what an account has of the instrument's base asset: selling reduces it, buying does not. Deposits and cancels are
    /// taken as ever.
    ReduceOnly,
    /// Cancels, and nothing else.
    CancelOnly,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Open, Self::ReduceOnly, Self::CancelOnly];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::ReduceOnly => "reduceOnly",
            Self::CancelOnly => "cancelOnly",
        }
    }

    /// Why a command is not taken in this mode.
    pub(crate) fn bars(self, action: &Action) -> Option<Reason> {
        let raises = match action {
            Action::Order(order) => order.side == Side::Buy,
            Action::Deposit { .. } => false,
            Action::Cancel { .. } | Action::Mode(_) => return None,
        };
        match self {
            Self::Open => None,
            Self::ReduceOnly => raises.then_some(Reason::ReduceOnly),
            Self::CancelOnly => Some(Reason::CancelOnly),
        }
    }
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
