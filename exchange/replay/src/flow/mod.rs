//! What a crowd of customers does, one pass of it: orders entered and withdrawn, each at its time.
//!
//! Both sources (a recorded day, a seeded generator) give the same form, so nothing behind them knows the difference.

pub mod generated;
pub mod random;
pub mod recorded;

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Buy,
    Sell,
}

impl Side {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// An order is named by its ordinal among the orders of its flow, counted from 0.
pub type OrderOrdinal = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A limit order; price in cents, quantity in 10^-8 of the base asset.
    Enter {
        order: OrderOrdinal,
        side: Side,
        price: i64,
        quantity: i64,
    },
    Withdraw {
        order: OrderOrdinal,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Since the beginning of the flow, in the flow's own (uncompressed) time.
    pub at: Duration,
    pub deed: Deed,
}

/// One pass, in order of time; an order is entered before it is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    pub events: Vec<Event>,
    /// Length in the flow's own time; at least the time of the last event.
    pub span: Duration,
    pub orders: u32,
}

/// Where passes come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The same recorded pass again and again.
    Recorded(Flow),
    /// Another pass of the same statistics each time.
    Generated { seed: u64, orders: u32 },
}

impl Source {
    /// The flow of pass `pass`, counted from 0.
    #[must_use]
    pub fn pass(&self, pass: u32) -> Flow {
        match self {
            Self::Recorded(flow) => flow.clone(),
            Self::Generated { seed, orders } => {
                generated::generate(seed.wrapping_add(u64::from(pass)), *orders)
            }
        }
    }

    /// How results are labelled: figures from a real day and from a generator are never mixed up.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Recorded(_) => "recorded",
            Self::Generated { .. } => "generated",
        }
    }
}
