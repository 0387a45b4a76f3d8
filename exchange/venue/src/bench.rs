//! How many commands per second the engine plays, without network, database or JSON: the ceiling of a cell.
//!
//! A generated flow with the proportions of a real venue: about half of all commands cancel, few trade.

use exchange_engine::command::{Action, Command, Order, Terms};
use exchange_engine::engine::Engine;
use exchange_engine::units::{
    Account, Amount, Asset, Instrument, Price, Quantity, Reference, Side,
};

use crate::clock;

const ACCOUNTS: u64 = 100;
/// Enough of both assets that the flow never runs dry.
const FUNDS: i128 = 1_000_000_000_000_000_000_000;

/// A small generator with a fixed seed: the same flow every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The flow: deposits for every account, then `orders` commands.
pub fn flow(orders: u64) -> Vec<Command> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut references = vec![0u64; ACCOUNTS as usize + 1];
    let mut commands = Vec::new();
    let mut push = |number: u64, action: Action| {
        references[number as usize] += 1;
        let (account, reference) = (
            Account::customer(number),
            Reference::new(references[number as usize]),
        );
        if let (Some(account), Some(reference)) = (account, reference) {
            commands.push(Command {
                account,
                reference,
                deadline_ms: u64::MAX,
                action,
            });
        }
        references[number as usize]
    };
    for number in 1..=ACCOUNTS {
        for asset in Asset::ALL {
            push(
                number,
                Action::Deposit {
                    asset,
                    amount: Amount::from_units(FUNDS),
                },
            );
        }
    }
    let mut resting: Vec<(u64, u64)> = Vec::new();
    for _ in 0..orders {
        if !resting.is_empty() && dice.below(100) < 48 {
            let at = dice.below(resting.len() as u64) as usize;
            let (number, target) = resting.swap_remove(at);
            if let Some(target) = Reference::new(target) {
                push(number, Action::Cancel { target });
            }
            continue;
        }
        let number = 1 + dice.below(ACCOUNTS);
        let side = if dice.below(2) == 0 {
            Side::Buy
        } else {
            Side::Sell
        };
        let away = dice.below(500) as i64;
        let cents = match side {
            Side::Buy => 23_600 - away + 5,
            Side::Sell => 23_600 + away - 5,
        };
        let quantity = Quantity::positive(1 + dice.below(500_000_000) as i64);
        if let (Some(price), Some(quantity)) = (Price::from_cents(cents), quantity) {
            let order = Order {
                instrument: Instrument::BtcUsd,
                side,
                terms: Terms::Limit(price),
                quantity,
            };
            let reference = push(number, Action::Order(order));
            resting.push((number, reference));
        }
    }
    commands
}

/// Plays the flow and prints what it took.
pub fn engine(orders: u64) -> anyhow::Result<()> {
    let commands = flow(orders);
    let mut engine = Engine::default();
    let (mut trades, mut postings) = (0, 0);
    let started_ns = clock::boot_ns();
    for command in &commands {
        let applied = engine.apply(1, command)?;
        trades += applied.trades.len();
        postings += applied.postings.len();
    }
    let seconds = (clock::boot_ns() - started_ns) as f64 / 1e9;
    let count = commands.len();
    println!(
        "engine: {count} commands in {seconds:.3} s: {:.0} commands/s (generated flow, one thread)",
        count as f64 / seconds
    );
    println!(
        "  {trades} trades, {postings} postings, {} orders left open",
        engine.open_orders()
    );
    let started_ns = clock::boot_ns();
    let state = engine.snapshot();
    let taken_ns = clock::boot_ns();
    let restored = Engine::restore(&state)?;
    let restored_ns = clock::boot_ns();
    anyhow::ensure!(
        restored.snapshot() == state,
        "the snapshot did not restore to itself"
    );
    println!(
        "  snapshot: {} bytes, written in {} µs, restored in {} µs",
        state.len(),
        (taken_ns - started_ns) / 1_000,
        (restored_ns - taken_ns) / 1_000
    );
    Ok(())
}
