//! Short forms for tests: numbers that are known to be valid.
#![allow(dead_code, reason = "each test file uses its own part")]

use exchange_engine::command::{Order, Terms};
use exchange_engine::units::{Account, Amount, Instrument, Price, Quantity, Reference, Side};

pub fn account(number: u64) -> Account {
    Account::customer(number).expect("a customer's number")
}

pub fn reference(number: u64) -> Reference {
    Reference::new(number).expect("a reference")
}

pub fn price(cents: i64) -> Price {
    Price::from_cents(cents).expect("a price")
}

pub fn quantity(units: i64) -> Quantity {
    Quantity::positive(units).expect("a quantity")
}

pub fn amount(units: i128) -> Amount {
    Amount::from_units(units)
}

pub fn limit(side: Side, cents: i64, units: i64) -> Order {
    Order {
        instrument: Instrument::BtcUsd,
        side,
        terms: Terms::Limit(price(cents)),
        quantity: quantity(units),
    }
}
